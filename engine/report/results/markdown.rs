//! The table as Markdown.

use super::{Results, Sheets};
use crate::selector::Selector;

impl Results {
    /// The summary, with what has to be said beside it.
    pub fn markdown(&self, metrics: &[Selector]) -> String {
        let summary = self.summary(metrics);
        let (head, cells, texts) = summary.grid();
        let mut text = format!("# {}\n\n", escape(&self.provenance.manifest));
        let over = self.provenance.params.iter().map(|param| format!("`{param}`")).collect::<Vec<_>>().join(", ");
        let points = self.provenance.points.len();
        let all = points + self.provenance.missing.len();
        let counted = if points == all { points.to_string() } else { format!("{points} of {all}") };
        let what = match (summary.over_several(), &self.provenance.seed) {
            (true, Some(seed)) => format!("; mean and sample standard deviation over `{seed}` and blocks"),
            (true, None) => "; mean and sample standard deviation over blocks".to_owned(),
            (false, _) => String::new(),
        };
        text += &format!("{counted} points over {over}{what}.\n\n");
        if cells.is_empty() {
            text += "There are no numbers to show.\n\n";
        } else {
            let line =
                |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" | "));
            text += &line(&head);
            text += &format!("|{}\n", (0..head.len()).map(|at| if at < texts { "---|" } else { "---:|" }).collect::<String>());
            text.extend(cells.iter().map(|cells| line(cells)));
            text.push('\n');
        }
        let Sheets { sheets, remarks } = self.comparisons();
        for (stage, sheet) in &sheets {
            let of = if sheets.len() > 1 { format!(" in {stage}") } else { String::new() };
            text += &format!("## {}{}\n\n{}", capital(&sheet.title), escape(&of), sheet.markdown());
        }
        for remark in self.remarks().into_iter().chain(remarks) {
            text += &format!("{}\n\n", escape(&remark));
        }
        text + &format!("{}\n", escape(&self.origin()))
    }

    /// The same as a file: all that is known of its origin stands before it, in a comment.
    pub fn markdown_file(&self, metrics: &[Selector]) -> String {
        // Two dashes would end the comment.
        let provenance = self.provenance_text().replace("--", "-\\u002d");
        format!("<!-- provenance: {provenance} -->\n\n{}", self.markdown(metrics))
    }

    /// Where it comes from as JSON, in one line.
    pub fn provenance_text(&self) -> String {
        serde_json::to_string(&self.provenance).unwrap_or_default()
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), letters.as_str()))
}

/// A text that is nothing but text, within a cell and elsewhere.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push(' '),
            '<' => out += "&lt;",
            '|' | '\\' | '*' => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
    out
}
