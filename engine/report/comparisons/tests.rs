//! One set of comparisons in every form.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use super::*;
use crate::{
    compare::{Number, Numbers},
    report::results::parquet_of,
    scores::{
        Metric, Task,
        testing::{self, declared},
    },
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

/// An evaluation of classes over four blocks: `label` loses cats and wins dogs, `talk` changes little.
fn by_class(rows: &[&str]) -> Scores {
    let mut numbers = Numbers::new();
    for (class, label) in [("cat", -0.2), ("dog", 0.1)] {
        for (column, moved) in [("scratch", 0.0), ("label", label), ("talk", 0.0)] {
            let luck = [0.0, 0.02, 0.01, 0.03].into_iter().enumerate();
            let value = |(at, luck): (usize, f64)| {
                let own = if column == "scratch" { luck } else { 0.015 };
                (at.to_string(), Number { value: 0.7 + own + moved, rows: 100, train_rows: 800 })
            };
            numbers.entry(class.to_owned()).or_default().insert(column.to_owned(), luck.map(value).collect());
        }
    }
    let direction = talkflow_statistics::Direction::HigherIsBetter;
    let declared = Declared { metric: "accuracy".into(), direction, ..declared() };
    let compared = declared.judge_each_method(&numbers, "teacher").unwrap();
    let rows = rows.iter().map(|row| ClassesOf::new((*row).to_owned(), compared.clone())).collect();
    Scores { per_class: Some(PerClass { declared, rows }), ..testing::scores(Task::Classes, &[Metric::Accuracy], 4, Vec::new()) }
}

#[test]
fn classes_have_a_sheet_of_their_own_that_names_the_undistillable() {
    let order = |_: &str, name: &str| usize::from(name == "label");
    let sheets = of_scores(&by_class(&["all"]), &order);
    let [sheet] = &sheets[..] else { panic!("one sheet: {sheets:#?}") };
    assert_eq!(sheet.file_name(), "comparisons_by_class");
    insta::assert_snapshot!("classes", sheet.text());
    // On a terminal those of which something is known.
    let brief = sheet.brief().text();
    assert!(brief.contains("of 4 comparisons on single classes, 2 are not resolved and not shown"), "{brief}");
    assert_eq!(brief.lines().filter(|line| line.starts_with("cat ") || line.starts_with("dog ")).count(), 2, "{brief}");
    // With several rows of the table, each line says which it is of.
    let mut scores = by_class(&["few", "all"]);
    if let Some(of) = &mut scores.per_class {
        of.rows[1].compared.iter_mut().for_each(|compared| compared.blocks = 3);
    }
    let sheets = of_scores(&scores, &order);
    assert_eq!(sheets[0].cells.len(), 8);
    assert!(
        sheets[0].text().contains("undistillable where it distils: label on few: cat; label on all: cat\n"),
        "{}",
        sheets[0].text()
    );
    assert_eq!(sheets[0].columns[0].name, "genre");
}
