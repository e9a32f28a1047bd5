//! For CI systems: JUnit's XML, as Jenkins, GitLab, Azure and the reporters of GitHub Actions read it. A gate is a suite, a series a test.

use std::io;

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::{Checked, FailedStage, Located};
use crate::visible::visible;

pub(super) fn render(checked: &Checked) -> io::Result<String> {
    let mut suites: Vec<(String, Vec<Test<'_>>)> = Vec::new();
    if !checked.failed.is_empty() {
        suites.push(("stages".to_owned(), checked.failed.iter().map(Test::Stage).collect()));
    }
    for located in &checked.findings {
        let gate = &located.finding.gate;
        match suites.last_mut() {
            Some((name, tests)) if name == gate => tests.push(Test::Gate(located)),
            _ => suites.push((gate.clone(), vec![Test::Gate(located)])),
        }
    }
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all: Vec<&Test<'_>> = suites.iter().flat_map(|(_, tests)| tests).collect();
    let name = text(&format!("talkflow check {}", checked.manifest));
    let [tests, failures, errors] = counts(&all);
    let head = [("name", name.as_str()), ("tests", &tests), ("failures", &failures), ("errors", &errors), ("time", "0")];
    writer.create_element("testsuites").with_attributes(head).write_inner_content(|writer| {
        for (name, tests) in &suites {
            suite(writer, &checked.manifest, name, tests)?;
        }
        Ok(())
    })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// What stands as a test.
enum Test<'a> {
    /// A stage without a result.
    Stage(&'a FailedStage),
    /// A finding.
    Gate(&'a Located),
}

/// How many there are, have failed, and could not be tried.
fn counts(tests: &[&Test<'_>]) -> [String; 3] {
    let failures = tests.iter().filter(|test| matches!(test, Test::Gate(located) if located.finding.verdict.fails())).count();
    let errors = tests.iter().filter(|test| matches!(test, Test::Stage(_))).count();
    [tests.len(), failures, errors].map(|n| n.to_string())
}

fn suite(writer: &mut Writer<Vec<u8>>, manifest: &str, name: &str, tests: &[Test<'_>]) -> io::Result<()> {
    let [n, failures, errors] = counts(&tests.iter().collect::<Vec<_>>());
    let name = text(name);
    let head =
        [("name", name.as_str()), ("tests", &n), ("failures", &failures), ("errors", &errors), ("skipped", "0"), ("time", "0")];
    writer.create_element("testsuite").with_attributes(head).write_inner_content(|writer| {
        for test in tests {
            let (title, at) = match test {
                Test::Stage(failed) => (failed.stage.clone(), &failed.at),
                Test::Gate(located) => (located.about(), &located.at),
            };
            let (title, class) = (text(&title), text(&format!("{manifest}.{name}")));
            let (file, line) = (text(&at.file), at.line.to_string());
            let head = [("name", title.as_str()), ("classname", &class), ("time", "0"), ("file", &file), ("line", &line)];
            writer.create_element("testcase").with_attributes(head).write_inner_content(|writer| inside(writer, test))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// What came of a test: nothing more where it passed in silence.
fn inside(writer: &mut Writer<Vec<u8>>, test: &Test<'_>) -> io::Result<()> {
    let (element, kind, said, more) = match test {
        Test::Stage(failed) => {
            ("error", "stage", failed.reason.lines().next().unwrap_or_default().to_owned(), failed.reason.clone())
        }
        Test::Gate(located) if located.finding.verdict.fails() => {
            let values =
                format!("baseline {}, now {}", super::number(located.finding.before), super::number(located.finding.now));
            ("failure", located.finding.verdict.word(), located.finding.said.clone(), format!("{values}\n{}", located.said()))
        }
        Test::Gate(located) => {
            writer.create_element("system-out").write_text_content(BytesText::new(&text(&located.said())))?;
            return Ok(());
        }
    };
    let head = [("message", text(&said)), ("type", text(kind))];
    let element = writer.create_element(element).with_attributes(head.iter().map(|(key, value)| (*key, value.as_str())));
    element.write_text_content(BytesText::new(&text(&more)))?;
    Ok(())
}

/// A text as XML can have it: some characters cannot stand there at all, not even escaped.
fn text(text: &str) -> String {
    visible(&text.replace("\r\n", "\n")).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
