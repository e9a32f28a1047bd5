//! Tables made by hand: what is shown of them, and that nothing in them is taken for markup.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use super::*;

fn texts<const N: usize>(texts: [&str; N]) -> Values {
    Values::Text(texts.iter().map(|text| Some(Arc::from(*text)).filter(|_| !text.is_empty())).collect())
}

/// Two settings of `x`, three seeds, two stages; names that a document could take for something else.
fn results() -> Results {
    let host = Host { name: "host_1".into(), system: "Linux".into(), cpu: None, cores: 2, memory: None };
    let missing =
        |point, because: Option<&str>| Missing { point, name: format!("x={point}"), because: because.map(str::to_owned) };
    let provenance = Provenance {
        manifest: "a|b--c".into(),
        path: "m_1.yaml".into(),
        digest: "0123456789abcdef".into(),
        sets: Vec::new(),
        talkflow: "1.2.3".into(),
        runs: vec!["r1".into(), "r2".into()],
        git: Some(Git { revision: "f".repeat(40), dirty: true }),
        host,
        device: "cpu".into(),
        space: json!({}),
        params: vec!["x".into(), "stage".into(), "seed".into()],
        seed: Some("seed".into()),
        points: vec![PointOf { point: 1, params: Map::new() }; 5],
        missing: vec![missing(6, Some("no_luck")), missing(7, None)],
        notes: vec!["data: some*thing".into()],
        shown: BTreeMap::from([("scores".to_owned(), Some("rmse".to_owned()))]),
        axes: Some(("genre".into(), "method".into())),
        declared: BTreeMap::new(),
        splits: BTreeMap::new(),
    };
    let column = |name: &str, values| Column { name: name.to_owned(), values };
    let columns = vec![
        column("point", Values::Int([1, 1, 1, 2, 3, 4].map(Some).to_vec())),
        column("x", texts(["50 %", "50 %", "50 %", "50 %", "a_b & {c}", "50 %"])),
        column("param.stage", Values::Bool([true; 6].map(Some).to_vec())),
        column("seed", Values::Int([1, 1, 1, 2, 1, 3].map(Some).to_vec())),
        column("stage", texts(["scores", "scores", "teacher", "scores", "scores", "scores"])),
        column("label.genre", texts(["W|x", "W|x", "", "W|x", "W|x", "W|x"])),
        column("row", texts(["W|x", "W|x", "", "W|x", "W|x", "W|x"])),
        column("column", texts(["bias_only", "bias_only", "", "bias_only", "bias_only", "bias_only"])),
        column("block", texts(["", "", "", "", "", ""])),
        column("metric", texts(["rmse", "mae", "rmse", "rmse", "rmse", "rmse"])),
        column("value", Values::Float([1.0, 0.5, 0.25, 2.0, 1e-5, 4.5].map(Some).to_vec())),
        column("seconds", Values::Float([1.5, 1.5, 1.5, 0.1, 0.1, 0.1].map(Some).to_vec())),
    ];
    Results { provenance, columns }
}

#[test]
fn numbers_that_differ_in_the_seed_are_taken_together() {
    let summary = results().summary(&[]);
    assert_eq!(summary.heads, ["x", "param.stage", "genre", "method"]);
    let lines: Vec<(&str, f64, Option<f64>, usize)> =
        summary.lines.iter().map(|line| (line.cells[0].as_str(), line.mean, line.sd, line.n)).collect();
    // 1, 2 and 4.5: mean 2.5, squared deviations 2.25, 0.25 and 4.
    assert_eq!(lines, [("50 %", 2.5, Some(3.25_f64.sqrt()), 3), ("a_b & {c}", 1e-5, None, 1)]);
    let asked = results().summary(&[Selector::parse("m*e").unwrap()]);
    assert_eq!(asked.lines.len(), 1);
    assert_eq!((asked.lines[0].metric.as_str(), asked.over_several()), ("mae", false));
    let both = results().summary(&[Selector::parse("rmse|mae").unwrap()]);
    assert!(both.heads.contains(&"stage".to_owned()));
    assert_eq!(both.lines.len(), 4);
}

#[test]
fn nothing_in_a_table_is_markup() {
    insta::assert_snapshot!("markdown", results().markdown_file(&[]));
    insta::assert_snapshot!("latex", results().latex(&[]));
    assert_eq!(
        latex::escape("50 % & a_b #1 $x {y} ~ ^ \\ <|> -- \"q\""),
        "50 \\% \\& a\\_b \\#1 \\$x \\{y\\} \\textasciitilde{} \\textasciicircum{} \\textbackslash{} \
         \\textless{}\\textbar{}\\textgreater{} -{}- \\symbol{34}q\\symbol{34}"
    );
}

#[test]
fn parquet_gives_back_the_very_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.parquet");
    let back = |results: &Results| {
        std::fs::write(&path, results.parquet().unwrap()).unwrap();
        Results::from_parquet(std::fs::File::open(&path).unwrap()).unwrap()
    };
    let mut table = results();
    assert_eq!(back(&table), table);
    assert_eq!(table.parquet().unwrap(), table.parquet().unwrap());
    // Of which nothing is there, the columns are.
    table.columns.iter_mut().for_each(|column| match &mut column.values {
        Values::Int(values) => values.clear(),
        Values::Float(values) => values.clear(),
        Values::Bool(values) => values.clear(),
        Values::Text(values) => values.clear(),
    });
    assert_eq!(back(&table), table);
    assert!(table.markdown(&[]).contains("There are no numbers to show."));
    std::fs::write(&path, b"PAR1").unwrap();
    assert!(Results::from_parquet(std::fs::File::open(&path).unwrap()).is_err());
}

#[test]
fn a_parameter_has_a_column_of_its_own() {
    assert_eq!(
        ["seed", "value", "label.x", "param.a", "talk.rounds"].map(column_of),
        ["seed", "param.value", "param.label.x", "param.param.a", "talk.rounds"]
    );
}
