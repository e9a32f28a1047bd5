//! One set of comparisons in every form.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use super::*;
use crate::{
    compare::{Number, Numbers},
    report::results::parquet_of,
    scores::testing::declared,
};

/// Two rows and four blocks, with names that a document could take for something else.
fn lines() -> Vec<Line> {
    let mut numbers = Numbers::new();
    for (row, luck) in [("a_b", 0.0), ("W|x", 0.2)] {
        for (method, values) in [
            ("scratch", [1.0, 1.1, 1.05, 1.2]),
            ("good", [0.9, 1.0, 0.951, 1.1]),
            ("same", [1.0001, 1.1, 1.05, 1.2]),
            ("teacher", [0.8; 4]),
        ] {
            let blocks = values
                .iter()
                .enumerate()
                .map(|(at, value)| (at.to_string(), Number { value: value + luck, rows: 10, train_rows: 80 }));
            numbers.entry(row.to_owned()).or_default().insert(method.to_owned(), blocks.collect());
        }
    }
    let judged = declared().judge(&[&numbers], "teacher").unwrap();
    judged.into_iter().map(|(_, compared)| Line { setting: vec!["50 %".to_owned()], compared }).collect()
}

fn sheet() -> Sheet {
    over_blocks(&declared(), &["x".to_owned()], "genre", &lines()).unwrap()
}

#[test]
fn a_sheet_is_the_same_in_every_form() {
    let made = sheet();
    insta::assert_snapshot!("text", made.text());
    insta::assert_snapshot!("markdown", made.markdown());
    insta::assert_snapshot!("latex", made.latex());
    insta::assert_snapshot!("csv", String::from_utf8(made.csv().unwrap()).unwrap());
    let json = made.json();
    let line = &json[0];
    assert_eq!((&line["x"], &line["method"], &line["verdict"]), (&"50 %".into(), &"good".into(), &"better".into()));
    assert_eq!(line["difference"].as_f64().unwrap(), lines()[0].compared.numbers().unwrap().mean);
    assert_eq!(parquet_of(&made.columns, "{}".into()).unwrap(), parquet_of(&sheet().columns, "{}".into()).unwrap());
}

#[test]
fn rows_that_resolve_nothing_may_be_left_out_and_are_counted() {
    let mut lines = lines();
    for line in lines.iter_mut().filter(|line| line.compared.method == "same") {
        line.compared.judgement.verdict = Verdict::Unresolved;
    }
    let brief = over_blocks(&declared(), &["x".to_owned()], "genre", &lines).unwrap().brief();
    let text = brief.text();
    assert!(text.contains("of 4 comparisons on single rows, 2 are not resolved and not shown"), "{text}");
    // A mean is shown whatever is known of it.
    assert_eq!(text.lines().filter(|line| line.contains(" same ")).count(), 1, "{text}");
    assert_eq!(brief.columns, over_blocks(&declared(), &["x".to_owned()], "genre", &lines).unwrap().columns);
    assert!(over_blocks(&declared(), &[], "genre", &[]).is_none());
}

#[test]
fn what_no_setting_changes_is_shown_once() {
    let twice: Vec<Line> = ["1", "2"]
        .iter()
        .flat_map(|setting| lines().into_iter().map(|line| Line { setting: vec![(*setting).to_owned()], ..line }))
        .collect();
    let mut other = twice.clone();
    other
        .iter_mut()
        .filter(|line| line.setting[0] == "2" && line.compared.method == "good")
        .for_each(|line| line.compared.blocks = 3);
    let made = over_blocks(&declared(), &["x".to_owned()], "genre", &other).unwrap();
    // Three of `good` at each setting, three of `same` at all.
    assert_eq!((made.cells.len(), made.columns[0].values.len()), (9, 12));
    assert_eq!(made.cells.iter().filter(|cells| cells[0] == "all").count(), 3);
}

#[test]
fn figures_have_the_digits_that_people_read() {
    assert_eq!([0.0, -0.0265, 3.48e-4, 2e-6, 1e7].map(figure), ["0", "-0.0265", "0.0003", "2.0e-6", "1.0e7"]);
    assert_eq!([0.0, 0.000_12, 0.0123, 0.4567].map(p), ["<0.0001", "0.00012", "0.012", "0.46"]);
}
