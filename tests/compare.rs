//! Comparisons of methods, end to end: what an evaluation and a sweep tell of them, against the same numbers computed once more from the
//! scores themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::space::Space;

/// Two methods and a teacher on two genres, over the seeds of a matrix.
fn manifest(seeds: &str, compare: &str) -> String {
    format!(
        r#"talkflow: 1
name: compared
params: {{ seeds: {seeds} }}
stages:
  ratings:
    dataset: {{ name: movielens/synthetic, users: 120, items: 90, ratings: 4000 }}
  split:
    matrix: {{ seed: "${{seeds}}" }}
    split: {{ rows: ratings, seed: "${{matrix.seed}}" }}
  teacher:
    matrix: {{ seed: "${{seeds}}" }}
    pretrain: {{ rows: "split[seed=${{matrix.seed}}]", model: {{ mf: {{ embedding: 4, damping: 5 }} }}, stop: {{ epochs: 2 }}, seed: "${{matrix.seed}}" }}
  student:
    matrix: {{ seed: "${{seeds}}", genre: [Drama, Comedy], method: [bias_only, scratch] }}
    distill:
      rows: "split[seed=${{matrix.seed}}]"
      where: {{ genre: "${{matrix.genre}}" }}
      model: {{ ncf: {{ embedding: 4, hidden: [8, 4] }} }}
      stop: {{ epochs: 3 }}
      method: "${{matrix.method}}"
      seed: "${{matrix.seed}}"
  scores:
    evaluate: {{ models: student, teacher: teacher, rows: split, metrics: [rmse], compare: {{ {compare} }} }}
"#
    )
}

/// Differences by block of one column and another, on the mean over some rows.
fn differences(scores: &Value, rows: &[&str], method: &str, reference: &str) -> Vec<f64> {
    let mut by_block: BTreeMap<&str, f64> = BTreeMap::new();
    for entry in scores["entries"].as_array().unwrap() {
        let sign = match entry["column"].as_str().unwrap() {
            column if column == method => 1.0,
            column if column == reference => -1.0,
            _ => continue,
        };
        if rows.contains(&entry["row"].as_str().unwrap()) {
            *by_block.entry(entry["block"].as_str().unwrap()).or_default() +=
                sign * entry["measures"]["rmse"].as_f64().unwrap() / rows.len() as f64;
        }
    }
    by_block.into_values().collect()
}

/// Of three differences: mean, sd, ends of the 95 % t interval, Nadeau and Bengio's p, sign-flip p. For two degrees of freedom Student's t has
/// closed forms: `scipy.stats.t.ppf(0.975, 2)` is 4.302652729749464, and `2 * scipy.stats.t.sf(t, 2)` is 1 - t / sqrt(2 + t * t).
fn by_hand(differences: &[f64], ratio: f64) -> [f64; 6] {
    let [a, b, c] = differences[..] else { panic!("{differences:?}") };
    let mean = (a + b + c) / 3.0;
    let sd = (((a - mean).powi(2) + (b - mean).powi(2) + (c - mean).powi(2)) / 2.0).sqrt();
    let reach = 4.302_652_729_749_464 * sd / 3.0_f64.sqrt();
    let t = (mean / (sd * (1.0 / 3.0 + ratio).sqrt())).abs();
    let signs = [[1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [1.0, -1.0, 1.0], [1.0, -1.0, -1.0]];
    let as_far = signs.iter().filter(|[x, y, z]| (a * x + b * y + c * z).abs() >= (a + b + c).abs() - 1e-12).count();
    [mean, sd, mean - reach, mean + reach, 1.0 - t / (2.0 + t * t).sqrt(), as_far as f64 / 4.0]
}

/// Test rows to training rows of an evaluation, over some rows of its table.
fn ratio(scores: &Value, rows: &[&str]) -> f64 {
    let of = |field: &str| {
        let entries = scores["entries"].as_array().unwrap().iter().filter(|entry| rows.contains(&entry["row"].as_str().unwrap()));
        entries.map(|entry| entry[field].as_f64().unwrap()).sum::<f64>()
    };
    of("rows") / of("train_rows")
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-9, "{what}: {found} {expected}");
}

#[test]
fn an_evaluation_compares_its_columns_over_blocks() {
    let space =
        Space::with(&manifest("[1, 2, 3]", "pairs: { teacher: bias_only }, groups: { both: [Drama, Comedy] }, margin: 0.01"));
    let document = space.document(&[]);
    let scores = &document["metrics"]["scores"];
    let compared = scores["compared"].as_array().unwrap();
    let names: Vec<String> =
        compared.iter().map(|of| format!("{} {} {}", of["family"], of["row"], of["method"]).replace('"', "")).collect();
    assert_eq!(
        names,
        [
            "both both bias_only",
            "both both teacher",
            "rows Comedy bias_only",
            "rows Comedy teacher",
            "rows Drama bias_only",
            "rows Drama teacher"
        ]
    );
    for of in compared {
        let rows: Vec<&str> = of["over"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
        let [method, reference] = ["method", "reference"].map(|name| of[name].as_str().unwrap());
        // The ratio is that of the family.
        let family: &[&str] = &["Drama", "Comedy"];
        let [mean, sd, low, high, p, flip] = by_hand(&differences(scores, &rows, method, reference), ratio(scores, family));
        let found = &of["judgement"]["evidence"]["compared"];
        let number = |path: &str| found.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {of}"));
        close(number("/mean"), mean, "mean");
        close(number("/sd"), sd, "sd");
        close(number("/plain/interval/low"), low, "low");
        close(number("/plain/interval/high"), high, "high");
        close(number("/corrected/p_two_sided"), p, "p");
        close(number("/sign_flip/p_two_sided"), flip, "sign-flip");
        assert_eq!((&of["judgement"]["margin"], &of["blocks"]), (&0.01.into(), &3.into()));
    }
    // Holm in a family of two: the smaller p twice, the larger one at least that.
    let p = |at: usize| compared[at].pointer("/judgement/evidence/compared/corrected/p_two_sided").unwrap().as_f64().unwrap();
    let adjusted = |at: usize| compared[at]["judgement"]["p_difference"].as_f64().unwrap();
    let (small, large) = if p(0) <= p(1) { (0, 1) } else { (1, 0) };
    close(adjusted(small), (2.0 * p(small)).min(1.0), "Holm");
    close(adjusted(large), p(large).max((2.0 * p(small)).min(1.0)), "Holm");
    // Gap recovery is that of the table, where the reference is the student from scratch.
    let cell =
        scores["cells"].as_array().unwrap().iter().find(|cell| cell["row"] == "Drama" && cell["column"] == "bias_only").unwrap();
    if let (Some(table), Some(own)) = (cell["gap_recovery"].as_f64(), compared[4]["gap_recovery"].as_f64()) {
        close(own, table, "gap");
    }
    // What people see, and what they take away.
    let text = space.run(&["run", "m.yaml", "--offline"]).ok().stdout;
    assert!(text.contains("comparisons of rmse\n") && text.contains("both (2 tests), rows (4 tests)"), "{text}");
    let shown = space.run(&["show", "scores", "-o", "out"]).ok();
    shown.says("mean of both");
    let csv = space.read("out/comparisons.csv");
    assert_eq!(csv.lines().count(), 7, "{csv}");
    for file in ["comparisons.csv", "comparisons.md", "comparisons.tex", "comparisons.parquet"] {
        let bytes = std::fs::read(space.path("out").join(file)).unwrap();
        space.run(&["show", "scores", "-o", "again"]).ok();
        assert_eq!(bytes, std::fs::read(space.path("again").join(file)).unwrap(), "{file}");
    }
    space.run(&["show", "student[seed=1,genre=Drama,method=scratch]", "-o", "out"]).code(2).says("compares nothing");
    space.nothing_to_do(&[]);
}

#[test]
fn of_one_block_two_models_are_compared_over_users() {
    let space = Space::with(&manifest("[1]", ""));
    let document = space.document(&[]);
    let scores = &document["metrics"]["scores"];
    let found = scores["over_users"].as_array().unwrap();
    // The mean over both genres, and each of them.
    assert_eq!(found.len(), 3, "{found:?}");
    for of in found {
        let row = of["row"].as_str().unwrap();
        let over: Vec<&str> = of["over"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
        let [difference] = differences(scores, &over, "bias_only", "scratch")[..] else { panic!() };
        let compared = &of["found"]["compared"];
        close(compared["difference"].as_f64().unwrap(), difference, row);
        let users = |row: &str| {
            let entry = scores["entries"].as_array().unwrap().iter().find(|entry| entry["row"] == row);
            entry.unwrap()["ratings"]["users"].as_u64().unwrap()
        };
        let [least, most] = [over.iter().map(|row| users(row)).max().unwrap(), over.iter().map(|row| users(row)).sum()];
        assert!((least..=most).contains(&compared["clusters"].as_u64().unwrap()), "{compared}");
        let [low, high] = ["low", "high"].map(|end| compared["bca"][end].as_f64().unwrap());
        assert!(low < high && low - 0.2 < difference && difference < high + 0.2, "{compared}");
    }
    let text = space.run(&["run", "m.yaml", "--offline"]).ok().stdout;
    assert!(text.contains("comparisons of rmse over users\n") && !text.contains("comparisons of rmse\n"), "{text}");
    space.run(&["show", "scores", "-o", "out"]).ok();
    assert!(space.read("out/comparisons_over_users.csv").starts_with("family,row,over,method,reference,metric,users,"));
    // Over several blocks nothing is resampled.
    let several = Space::with(&manifest("[1, 2]", "rows: false"));
    assert_eq!(several.document(&[])["metrics"]["scores"]["over_users"], serde_json::json!([]));
}

#[test]
fn blocks_of_one_split_are_told() {
    let text =
        manifest("[1, 2, 3]", "").replace("split: { rows: ratings, seed: \"${matrix.seed}\" }", "split: { rows: ratings }");
    let space = Space::with(&text);
    space.run(&["run", "m.yaml", "--offline"]).ok().says("3 blocks have one split between them");
}

#[test]
fn a_sweep_compares_over_its_seeds() {
    let swept = |seeds: &str| {
        manifest("[1]", "")
            .replace(
                "params: { seeds: [1] }",
                &format!("params: {{ seed: 1, epochs: 3 }}\nsweep: {{ grid: {{ epochs: [1, 3] }}, seeds: {seeds} }}"),
            )
            .replace("\"${seeds}\"", "[\"${seed}\"]")
            .replace("stop: { epochs: 3 }", "stop: { epochs: \"${epochs}\" }")
    };
    let space = Space::with(&swept("3"));
    let document = space.run(&["sweep", "m.yaml", "--offline", "-o", "out", "--format", "json"]).ok().json();
    let rows = document["results"].as_array().unwrap();
    let compared = document["comparisons"]["scores"].as_array().unwrap();
    // The mean and two rows at two settings.
    assert_eq!(compared.len(), 6);
    let of = |epochs: &Value, row: &str, column: &str, metric: &str| {
        let mut values: Vec<(i64, f64)> = (rows.iter())
            .filter(|line| line["stage"] == "scores" && line["epochs"] == *epochs && line["metric"] == metric)
            .filter(|line| line["row"] == row && line["column"] == column)
            .map(|line| (line["seed"].as_i64().unwrap(), line["value"].as_f64().unwrap()))
            .collect();
        values.sort_by_key(|(seed, _)| *seed);
        values.into_iter().map(|(_, value)| value).collect::<Vec<f64>>()
    };
    let number = |line: &Value, name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name} in {line}"));
    for line in compared {
        let epochs: Value = line["epochs"].as_str().unwrap().parse::<i64>().unwrap().into();
        let over: Vec<&str> = line["over"].as_str().unwrap().split(';').collect();
        let mean_of = |column: &str, metric: &str| {
            let each: Vec<Vec<f64>> = over.iter().map(|row| of(&epochs, row, column, metric)).collect();
            (0..3).map(|seed| each.iter().map(|row| row[seed]).sum::<f64>() / over.len() as f64).collect::<Vec<f64>>()
        };
        let differences: Vec<f64> =
            mean_of("bias_only", "rmse").iter().zip(mean_of("scratch", "rmse")).map(|(a, b)| a - b).collect();
        let all = |metric: &str| {
            let rows = rows.iter().filter(|line| line["stage"] == "scores" && line["metric"] == metric);
            rows.map(|line| line["value"].as_f64().unwrap()).sum::<f64>()
        };
        let [mean, sd, low, high, p, flip] = by_hand(&differences, all("rows") / all("train_rows"));
        let expected =
            [("difference", mean), ("sd", sd), ("t_low", low), ("t_high", high), ("p_nadeau_bengio", p), ("p_sign_flip", flip)];
        for (name, expected) in expected {
            close(number(line, name), expected, name);
        }
        // A student of biases alone takes epochs too: both settings differ, and all are one family.
        assert_eq!(line["family_size"], if over.len() == 2 { 2 } else { 4 }, "{line}");
    }
    let stdout = space.run(&["sweep", "--show", "last"]).ok().stdout;
    assert!(stdout.contains("## Comparisons of rmse\n\n| epochs | genre | method | against |"), "{stdout}");
    space.run(&["sweep", "--show", "last", "-o", "shown"]).ok();
    space.run(&["sweep", "m.yaml", "--offline", "-o", "again"]).ok();
    for file in ["comparisons.csv", "comparisons.parquet", "results.md", "results.tex"] {
        let bytes = |folder: &str| std::fs::read(space.path(folder).join(file)).unwrap();
        assert_eq!(bytes("out"), bytes("shown"), "{file}");
        assert_eq!(bytes("out"), bytes("again"), "{file}");
    }
    assert_eq!(space.read("out/results.tex").matches("\\begin{tabular}").count(), 2);
    assert_eq!(space.read("out/comparisons.csv").lines().count(), 7);
    // With one seed there is nothing to compare over.
    let one = Space::with(&swept("1"));
    let document = one.run(&["sweep", "m.yaml", "--offline", "--format", "json"]).ok().json();
    assert_eq!(document["comparisons"], serde_json::json!({}));
}
