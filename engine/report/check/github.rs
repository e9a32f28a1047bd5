//! For GitHub Actions: workflow commands, which it shows at the lines of a pull request. It shows ten errors and ten warnings of a step, so that
//! what is about one stage and one gate is one command.

use std::collections::BTreeMap;

use super::{At, Checked, Located};

pub(super) fn render(checked: &Checked) -> String {
    let mut text = String::new();
    for failed in &checked.failed {
        text += &command("error", &failed.at, "a stage has no result", &format!("{}: {}", failed.stage, failed.reason));
    }
    let mut marks: BTreeMap<(bool, &At, &str), Vec<&Located>> = BTreeMap::new();
    for located in checked.findings.iter().filter(|located| located.finding.verdict != crate::check::Verdict::Pass) {
        marks.entry((!located.finding.verdict.fails(), &located.at, &located.finding.gate)).or_default().push(located);
    }
    for ((warning, at, gate), findings) in marks {
        let line = |located: &&Located| {
            let finding = &located.finding;
            let values = match (finding.before, finding.now) {
                (None, None) => String::new(),
                (before, now) => format!(" ({} -> {})", super::number(before), super::number(now)),
            };
            format!("{}: {}{values}: {}", finding.verdict.word(), located.about(), located.said())
        };
        let lines: Vec<String> = findings.iter().map(line).collect();
        let level = if warning { "warning" } else { "error" };
        text += &command(level, at, &format!("talkflow check, gate {gate}"), &lines.join("\n"));
    }
    text + &format!("::notice title=talkflow check::{}\n", data(&format!("{}: {}", checked.manifest, checked.summary())))
}

fn command(level: &str, at: &At, title: &str, message: &str) -> String {
    let At { file, line } = at;
    format!("::{level} file={},line={line},title={}::{}\n", property(file), property(title), data(message))
}

/// As the runner undoes it in a message.
fn data(text: &str) -> String {
    crate::visible::visible(&text.replace("\r\n", "\n")).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same in a property, where `:` and `,` have a meaning too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
