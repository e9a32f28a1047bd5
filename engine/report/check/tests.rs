//! Each output of one check that has everything in it, names that want to be markup included.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use quick_xml::{Reader, XmlVersion, events::Event};

use super::*;
use crate::check::Place;

fn at(line: usize) -> At {
    At { file: "a,b:c%.yaml".to_owned(), line }
}

fn finding(gate: &str, place: Option<[&str; 4]>, verdict: Verdict, said: &str) -> Located {
    let place = place.map(|[stage, metric, row, column]| Place {
        stage: stage.to_owned(),
        metric: metric.to_owned(),
        row: Some(row.to_owned()),
        column: Some(column.to_owned()),
    });
    let finding = Finding {
        gate: gate.to_owned(),
        place,
        verdict,
        said: said.to_owned(),
        notes: if verdict == Verdict::Regression { vec!["left out: `seed=4`".to_owned()] } else { Vec::new() },
        before: Some(1.0),
        now: (verdict != Verdict::Missing).then_some(1.25),
        worse: Some(0.25),
        tested: None,
    };
    Located { finding, at: at(7) }
}

fn checked(findings: Vec<Located>, failed: Vec<FailedStage>) -> Checked {
    let mut counts = BTreeMap::new();
    findings.iter().for_each(|located| *counts.entry(located.finding.verdict).or_default() += 1);
    Checked {
        ok: failed.is_empty() && findings.iter().all(|located| !located.finding.verdict.fails()),
        manifest: "quick|start".to_owned(),
        file: "a,b:c%.yaml".to_owned(),
        baseline: "m.baseline.json".to_owned(),
        baseline_talkflow: "0.0.9".to_owned(),
        talkflow: "0.1.0".to_owned(),
        run: "20260101-000000-000".to_owned(),
        failed,
        stopped: false,
        gates: BTreeMap::from([("rmse".to_owned(), "paired, tolerance 0.002, alpha 0.05".to_owned())]),
        counts,
        findings,
    }
}

fn everything() -> Checked {
    checked(
        vec![
            finding("rmse", None, Verdict::OtherGate, "the baseline does not have this gate"),
            finding("rmse", Some(["scores", "rmse", "Sci-Fi", "talk"]), Verdict::Pass, "no regression shown: 100 % of a < b & c"),
            finding(
                "rmse",
                Some(["scores", "hr@10", "<b>|`x`", "talk\u{1b}[31m"]),
                Verdict::Regression,
                "regression: worse by \"0.25\" | @all",
            ),
            finding(
                "rmse",
                Some(["scores", "rmse", "mean", "new_one"]),
                Verdict::New,
                "it is not in the baseline, and so not gated yet",
            ),
            finding(
                "loss",
                Some(["train", "loss", "a]]>b\u{ffff}", "c\nd"]),
                Verdict::Missing,
                "it is in the baseline and not measured any more",
            ),
        ],
        Vec::new(),
    )
}

fn failed() -> Checked {
    let reason = "program failed: <exit> 3\nlast line: 100%\r\nof `it`".to_owned();
    checked(Vec::new(), vec![FailedStage { stage: "train[seed=1]".to_owned(), reason, at: at(3) }])
}

#[test]
fn people_see_gate_by_gate_what_failed_and_what_did_not() {
    insta::assert_snapshot!("human", crate::visible::visible(&everything().human()));
    insta::assert_snapshot!("human_failed", failed().human());
}

#[test]
fn a_pull_request_shows_what_failed_and_folds_the_rest() {
    insta::assert_snapshot!("markdown", everything().markdown());
    insta::assert_snapshot!("markdown_failed", failed().markdown());
    // Each line of a table has as many cells as its head, whatever the names hold.
    for line in everything().markdown().lines().filter(|line| line.starts_with('|')) {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 7, "{line}");
    }
}

#[test]
fn github_shows_each_gate_at_the_line_of_its_stage() {
    insta::assert_snapshot!("github", everything().github());
    insta::assert_snapshot!("github_failed", failed().github());
    for line in everything().github().lines().chain(failed().github().lines()) {
        // As the runner takes a line apart: the properties end with the first `::` after them.
        let (head, message) = line.strip_prefix("::").unwrap().split_once("::").unwrap();
        let (level, properties) = head.split_once(' ').unwrap();
        assert!(["error", "warning", "notice"].contains(&level) && !message.is_empty(), "{line}");
        let value = |key: &str| properties.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        if level != "notice" {
            let file = value("file").unwrap().replace("%2C", ",").replace("%3A", ":").replace("%25", "%");
            assert_eq!(file, "a,b:c%.yaml");
            assert!(value("line").unwrap().parse::<usize>().unwrap() > 0);
        }
    }
}

/// An element with its attributes, its text, and what stands in it.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    inner: Vec<Element>,
}

/// What a parser makes of XML.
fn parse(text: &str) -> Element {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                let mut element = Element { name: start.name().as_ref().to_owned(), ..Element::default() };
                for attribute in start.attributes() {
                    let attribute = attribute.unwrap();
                    let key = attribute.key.as_ref().to_owned();
                    let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap().into_owned();
                    assert!(element.attributes.insert(key, value).is_none());
                }
                open.push(element);
            }
            Event::End(_) => {
                let element = open.pop().unwrap();
                open.last_mut().unwrap().inner.push(element);
            }
            Event::Text(text) => open.last_mut().unwrap().text += &text,
            Event::GeneralRef(entity) => {
                open.last_mut().unwrap().text += quick_xml::escape::resolve_predefined_entity(&entity).unwrap();
            }
            Event::Decl(_) => {}
            Event::Eof => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(open.len(), 1);
    open.pop().unwrap().inner.pop().unwrap()
}

#[test]
fn a_ci_system_reads_suites_and_tests_with_counts_that_add_up() {
    for checked in [everything(), failed()] {
        let text = checked.junit().unwrap();
        // Characters that no XML can hold, escaped or not.
        let allowed = |letter: char| matches!(letter, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(text.chars().all(allowed));
        let root = parse(&text);
        assert_eq!(root.name, "testsuites");
        let count = |element: &Element, key: &str| element.attributes[key].parse::<usize>().unwrap();
        let sum = |key: &str| root.inner.iter().map(|suite| count(suite, key)).sum::<usize>();
        for key in ["tests", "failures", "errors"] {
            assert_eq!(count(&root, key), sum(key), "{key}");
        }
        for suite in &root.inner {
            assert_eq!((suite.name.as_str(), count(suite, "skipped")), ("testsuite", 0));
            let with = |name: &str| suite.inner.iter().filter(|test| test.inner.iter().any(|inner| inner.name == name)).count();
            assert_eq!(
                [suite.inner.len(), with("failure"), with("error")],
                ["tests", "failures", "errors"].map(|key| count(suite, key))
            );
            for test in &suite.inner {
                assert_eq!(test.name, "testcase");
                for key in ["name", "classname", "file"] {
                    assert!(!test.attributes[key].is_empty(), "{key} of {test:?}");
                }
                assert!(count(test, "line") > 0 && test.attributes["time"].parse::<f64>().unwrap() >= 0.0);
                for inner in test.inner.iter().filter(|inner| inner.name != "system-out") {
                    assert!(
                        !inner.attributes["message"].is_empty() && !inner.attributes["type"].is_empty() && !inner.text.is_empty()
                    );
                }
            }
        }
    }
    let root = parse(&everything().junit().unwrap());
    let names: Vec<&str> = root.inner[0].inner.iter().map(|test| test.attributes["name"].as_str()).collect();
    assert!(names.contains(&"scores: hr@10, <b>|`x`, talk\\u{1b}[31m"), "{names:?}");
    let failure = &root.inner[0].inner[2].inner[0];
    assert_eq!((failure.name.as_str(), failure.attributes["type"].as_str()), ("failure", "regression"));
    assert_eq!(failure.text, "baseline 1.0000, now 1.2500\nregression: worse by \"0.25\" | @all; left out: `seed=4`");
    insta::assert_snapshot!("junit", everything().junit().unwrap());
    insta::assert_snapshot!("junit_failed", failed().junit().unwrap());
}
