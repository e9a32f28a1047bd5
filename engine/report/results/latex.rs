//! The table as LaTeX, to be taken into a paper as it is.

use super::Results;
use crate::selector::Selector;

impl Results {
    /// The summary as a `tabular`. It needs the package `booktabs`.
    pub fn latex(&self, metrics: &[Selector]) -> String {
        let summary = self.summary(metrics);
        let (head, cells, texts) = summary.grid();
        let line = |cells: &[String]| format!("{} \\\\\n", cells.iter().map(|cell| escape(cell)).collect::<Vec<_>>().join(" & "));
        let mut text = format!("% provenance: {}\n% \\usepackage{{booktabs}}\n", self.provenance_text());
        for remark in self.remarks() {
            text += &format!("% {}\n", remark.replace(['\n', '\r'], " "));
        }
        text += &format!("\\begin{{tabular}}{{{}{}}}\n\\toprule\n", "l".repeat(texts), "r".repeat(head.len() - texts));
        text += &line(&head);
        text += "\\midrule\n";
        text.extend(cells.iter().map(|cells| line(cells)));
        text += "\\bottomrule\n\\end{tabular}\n";
        self.comparisons().sheets.iter().for_each(|(_, sheet)| text += &format!("\n{}", sheet.latex()));
        text
    }
}

/// A text in which nothing is a command.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '|' => out += "\\textbar{}",
            '"' => out += "\\symbol{34}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    // Two hyphens would become a dash.
    out.replace("--", "-{}-")
}
