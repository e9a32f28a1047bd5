//! For a pull request or a summary of a job: what failed in a table, what passed folded away.

use super::{Checked, Located, number};

pub(super) fn render(checked: &Checked) -> String {
    let mark = if checked.ok { "\u{2705}" } else { "\u{274c}" };
    let mut text = format!("### {mark} talkflow check: {}\n\n{}\n", code(&checked.manifest), plain(&checked.summary()));
    text += &format!("\nBaseline {}, measured by talkflow {}.\n", code(&checked.baseline), plain(&checked.baseline_talkflow));
    if !checked.failed.is_empty() {
        text += "\n| stage | reason |\n|---|---|\n";
        for failed in &checked.failed {
            let reason = failed.reason.lines().next().unwrap_or_default();
            text += &format!("| {} | {} |\n", code(&failed.stage), plain(reason));
        }
    }
    let (passed, others): (Vec<&Located>, Vec<&Located>) =
        checked.findings.iter().partition(|located| located.finding.verdict == crate::check::Verdict::Pass);
    if !others.is_empty() {
        text += &table(&others);
    }
    if !passed.is_empty() {
        text += &format!("\n<details><summary>{} passed</summary>\n{}\n</details>\n", passed.len(), table(&passed));
    }
    if !checked.gates.is_empty() {
        text += "\n";
        checked.gates.iter().for_each(|(gate, rule)| text += &format!("- gate {}: {}\n", code(gate), plain(rule)));
    }
    text
}

fn table(findings: &[&Located]) -> String {
    let mut text = "\n| gate | | of | baseline | now | |\n|---|---|---|---:|---:|---|\n".to_owned();
    for located in findings {
        let finding = &located.finding;
        let verdict =
            if finding.verdict.fails() { format!("**{}**", finding.verdict.word()) } else { finding.verdict.word().to_owned() };
        text += &format!(
            "| {} | {verdict} | {} | {} | {} | {} |\n",
            code(&finding.gate),
            finding.place.as_ref().map_or_else(String::new, |place| code(&place.to_string())),
            number(finding.before),
            number(finding.now),
            plain(&located.said())
        );
    }
    text
}

/// A name as code, in which nothing is Markdown, not even a name that would call somebody (`hr@10`). A pipe would end a table's cell.
fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A sentence as it is. Names in it, between backticks, stay code.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for (at, piece) in one_line(text).split('`').enumerate() {
        match at % 2 {
            1 => out += &code(piece),
            _ => piece.chars().for_each(|letter| match letter {
                '&' => out += "&amp;",
                '<' => out += "&lt;",
                '>' => out += "&gt;",
                '@' => out += "&#64;",
                '\\' | '*' | '_' | '[' | ']' | '|' | '~' => out.extend(['\\', letter]),
                letter => out.push(letter),
            }),
        }
    }
    out
}

fn one_line(text: &str) -> String {
    crate::visible::visible(&text.replace(['\n', '\r', '\t'], " ")).into_owned()
}
