//! For people: gate by gate, a line a finding.

use super::{Checked, number};

pub(super) fn render(checked: &Checked) -> String {
    let Checked { manifest, baseline, baseline_talkflow, talkflow, .. } = checked;
    let by = if baseline_talkflow == talkflow { String::new() } else { format!(" (measured by talkflow {baseline_talkflow})") };
    let mut text = format!("{manifest} against {baseline}{by}\n");
    for failed in &checked.failed {
        text += &format!("  no result of {}: {}\n", failed.stage, failed.reason.lines().next().unwrap_or_default());
    }
    let mut last: Option<&str> = None;
    let about: Vec<String> = checked.findings.iter().map(super::Located::about).collect();
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let wide = width(&mut about.iter().map(|about| about.chars().count()));
    let word = width(&mut checked.findings.iter().map(|located| located.finding.verdict.word().len()));
    for (located, about) in checked.findings.iter().zip(&about) {
        let finding = &located.finding;
        if last != Some(&finding.gate) {
            let rule = checked.gates.get(&finding.gate).map_or_else(String::new, |rule| format!(": {rule}"));
            text += &format!("gate {}{rule}\n", finding.gate);
            last = Some(&finding.gate);
        }
        let mark = if finding.verdict.fails() { '!' } else { ' ' };
        let verdict = finding.verdict.word();
        let (before, now) = (number(finding.before), number(finding.now));
        text += &format!("{mark} {verdict:<word$}  {about:<wide$}  {before:>8} -> {now:<8}  {}\n", located.said());
    }
    text + &checked.summary() + "\n"
}
