//! `talkflow check`: every verdict with its exit code, every output, the update of the baseline, and what is wrong with one.

use std::fs;

use crate::space::{Ran, Space};

/// Three seeds of a program that gives the numbers of a file, and a gate of each rule.
const MANIFEST: &str = r#"talkflow: 1
name: m
stages:
  train:
    matrix: { seed: [1, 2, 3] }
    command:
      run: "sed -n ${matrix.seed}p values > metrics.json"
      files: [values]
      metrics: metrics.json
check:
  loss: { stages: train, metrics: test.loss, paired: 0.002 }
  hits: { stages: train, metrics: "hr@10", absolute: 0.01 }
  time: { stages: train, metrics: steps, relative: 10%, direction: lower }
"#;

/// A line of metrics a seed.
fn values(space: &Space, lines: &[(f64, f64, f64)]) {
    let line = |(loss, hits, steps): &(f64, f64, f64)| {
        format!("{{\"test\": {{\"loss\": {loss}}}, \"hr@10\": {hits}, \"steps\": {steps}}}\n")
    };
    space.write("values", &lines.iter().map(line).collect::<String>());
}

const GOOD: [(f64, f64, f64); 3] = [(0.5, 0.25, 100.0), (0.75, 0.5, 200.0), (0.6, 0.3, 300.0)];

/// A manifest with its baseline.
fn space() -> Space {
    let space = Space::with(MANIFEST);
    values(&space, &GOOD);
    space.run(&["check", "m.yaml", "--update"]).ok();
    space
}

fn check(space: &Space, args: &[&str]) -> Ran {
    space.run(&[&["check", "m.yaml"], args].concat())
}

/// `gate verdict` of each finding that is no pass.
fn verdicts(space: &Space, code: i32) -> Vec<String> {
    let document = check(space, &["--format", "json"]).code(code).json();
    assert_eq!(document["ok"], code == 0, "{document:#}");
    let findings = document["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] != "pass");
    findings.map(|finding| format!("{} {}", finding["gate"].as_str().unwrap(), finding["verdict"].as_str().unwrap())).collect()
}

#[test]
fn what_is_as_it_was_passes_and_each_kind_of_regression_is_exit_code_4() {
    let space = space();
    assert!(verdicts(&space, 0).is_empty());
    // Better is no regression.
    values(&space, &[(0.4, 0.3, 90.0), (0.6, 0.6, 190.0), (0.5, 0.4, 290.0)]);
    assert!(verdicts(&space, 0).is_empty());
    // Worse within what is tolerated.
    values(&space, &[(0.501, 0.245, 105.0), (0.751, 0.495, 210.0), (0.601, 0.295, 310.0)]);
    assert!(verdicts(&space, 0).is_empty());
    // Three times what is tolerated, one at a time.
    values(&space, &[(0.506, 0.25, 100.0), (0.756, 0.5, 200.0), (0.606, 0.3, 300.0)]);
    assert_eq!(verdicts(&space, 4), ["loss regression"]);
    values(&space, &[(0.5, 0.22, 100.0), (0.75, 0.47, 200.0), (0.6, 0.27, 300.0)]);
    assert_eq!(verdicts(&space, 4), ["hits regression"]);
    values(&space, &[(0.5, 0.25, 130.0), (0.75, 0.5, 260.0), (0.6, 0.3, 390.0)]);
    assert_eq!(verdicts(&space, 4), ["time regression"]);
    check(&space, &[]).code(4).says("1 of 3 failed: 1 regression, 2 pass").says("tolerance 10% of 200, which is 20");
    let run = space.run(&["show", "last", "--format", "json"]).ok().json();
    assert_eq!(run["about"]["exit"], 4, "{run:#}");
    space.run(&["show"]).ok().says("regression");
    // What varies too much to tell passes, and says what it is blind to.
    values(&space, &[(0.53, 0.25, 100.0), (0.72, 0.5, 200.0), (0.61, 0.3, 300.0)]);
    check(&space, &[]).code(0).says("the gate misses regressions below 0.0");
    values(&space, &GOOD);
    check(&space, &[]).ok();
    space.nothing_to_do(&[]);
}

#[test]
fn what_is_missing_new_or_no_number_is_told_apart() {
    let space = space();
    let with = |from: &str, to: &str| {
        assert!(MANIFEST.contains(from));
        space.write("m.yaml", &MANIFEST.replace(from, to));
    };
    with("[1, 2, 3]", "[1, 3]");
    assert_eq!(verdicts(&space, 4), ["loss missing_blocks", "hits missing_blocks", "time missing_blocks"]);
    with("[1, 2, 3]", "[1]");
    assert_eq!(verdicts(&space, 4), ["loss missing_blocks", "hits missing_blocks", "time missing_blocks"]);
    with("  hits: { stages: train, metrics: \"hr@10\", absolute: 0.01 }\n", "");
    assert_eq!(verdicts(&space, 4), ["hits other_gate"]);
    with("absolute: 0.01", "absolute: 0.5");
    assert_eq!(verdicts(&space, 4), ["hits other_gate"]);
    with("metrics: \"hr@10\"", "metrics: [\"hr@10\", \"hr@20\"]");
    assert_eq!(verdicts(&space, 4), ["hits nothing"]);
    with("metrics: test.loss", "metrics: [test.loss, \"hr@10\"], direction: lower");
    assert_eq!(verdicts(&space, 0), ["loss new"]);
    with("metrics: \"hr@10\"", "metrics: steps, direction: higher");
    assert_eq!(verdicts(&space, 4), ["hits missing", "hits new"]);
    space.write("m.yaml", MANIFEST);
    let text = space.read("values").replace("0.75", "\"diverged\"");
    space.write("values", &text);
    assert_eq!(verdicts(&space, 4), ["loss no_number"]);
    check(&space, &["--update"]).code(2).says("is no number in block `seed=2`");
}

#[test]
fn a_stage_that_fails_is_exit_code_1_and_nothing_is_compared() {
    let space = space();
    space.write("values", "{\"hr@10\": 1}\n");
    space.write("m.yaml", &MANIFEST.replace("> metrics.json", "> metrics.json; exit 3"));
    for format in ["human", "json", "junit", "markdown", "github"] {
        let ran = check(&space, &["--format", format]).code(1);
        assert!(ran.stdout.contains("train[seed=1]"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("regression"), "{}", ran.stdout);
    }
    check(&space, &["--update"]).code(1);
    assert!(check(&space, &["--format", "junit"]).stdout.contains("<error message=\""));
}

#[test]
fn an_update_writes_the_same_bytes_for_the_same_results_and_shows_old_and_new() {
    let space = space();
    let first = space.read("m.baseline.json");
    let same = check(&space, &["--update"]).ok();
    assert_eq!(same.stdout, "m.baseline.json is up to date: nothing was changed\n");
    assert_eq!(space.read("m.baseline.json"), first);
    values(&space, &[(0.8, 0.25, 100.0), (0.75, 0.5, 200.0), (0.6, 0.3, 300.0)]);
    check(&space, &[]).code(0);
    let changed = check(&space, &["--update"]).ok();
    assert_eq!(changed.stdout, "m.baseline.json: 1 change\n  loss: train: test.loss: 0.616667 -> 0.716667\n");
    // One line of the file is another.
    let second = space.read("m.baseline.json");
    assert_eq!(first.lines().zip(second.lines()).filter(|(a, b)| a != b).count(), 1);
    check(&space, &[]).ok();
    values(&space, &GOOD);
    let document = check(&space, &["--update", "--format", "json"]).ok().json();
    assert_eq!(document["changes"][0]["now"], "0.616667", "{document:#}");
    assert_eq!(space.read("m.baseline.json"), first);
    // Elsewhere, and a rule that cannot decide is warned of.
    space.write("m.yaml", &MANIFEST.replace("[1, 2, 3]", "[1]"));
    check(&space, &["--update", "--baseline", "one.json"]).ok().says("warning: gate loss, train: test.loss: a paired gate tests");
    check(&space, &["--baseline", "one.json"]).code(4).says("undecided");
    check(&space, &["--update", "--format", "junit"]).code(2);
}

#[test]
fn a_baseline_that_is_missing_damaged_or_of_another_manifest_is_exit_code_2() {
    let space = Space::with(MANIFEST);
    values(&space, &GOOD);
    check(&space, &[]).code(2).says("there is no baseline m.baseline.json: `talkflow check m.yaml --update` makes it");
    // Known before anything runs.
    assert!(!space.path(".talkflow").exists());
    check(&space, &["--update"]).ok();
    let good = space.read("m.baseline.json");
    space.write("m.baseline.json", &good[..good.len() / 2]);
    check(&space, &[]).code(2).says("m.baseline.json:").says("this is no baseline");
    // Nor is it written over: what it held cannot be shown.
    check(&space, &["--update"]).code(2).says("once this one is gone");
    assert_eq!(space.read("m.baseline.json"), good[..good.len() / 2]);
    let document = check(&space, &["--format", "json"]).code(2).json();
    assert_eq!(document["ok"], false);
    space.write("m.baseline.json", &good.replacen("\"m\"", "\"other\"", 1));
    check(&space, &[]).code(2).says("is the baseline of `other`, and this manifest is `m`");
    fs::create_dir(space.path("folder")).unwrap();
    check(&space, &["--baseline", "folder"]).code(2).says("cannot read the baseline folder");
    space.write("m.yaml", MANIFEST.split("check:").next().unwrap());
    check(&space, &[]).code(2).says("evaluates nothing");
    space.run(&["run", "m.yaml", "--format", "junit"]).code(2).says("only `check` writes");
}

#[test]
fn an_evaluation_is_gated_by_itself_and_other_data_are_noticed() {
    let manifest = r#"talkflow: 1
name: m
params: { ratings: 3000, damping: 5 }
stages:
  ratings:
    dataset: { name: movielens/synthetic, users: 100, items: 80, ratings: "${ratings}" }
  split:
    matrix: { seed: [1, 2] }
    split: { rows: ratings, seed: "${matrix.seed}" }
  student:
    matrix: { seed: [1, 2], genre: [Drama, Comedy], method: [bias_only] }
    distill:
      rows: "split[seed=${matrix.seed}]"
      where: { genre: "${matrix.genre}" }
      model: { ncf: { embedding: 4, hidden: [4], damping: "${damping}" } }
      stop: { epochs: 1 }
      method: "${matrix.method}"
  scores:
    evaluate: { models: student, rows: split, metrics: [rmse] }
"#;
    let space = Space::with(manifest);
    check(&space, &["--update"]).ok();
    check(&space, &[]).ok().says("gate evaluations: paired, tolerance 0.002, alpha 0.05").says("scores: rmse, mean, bias_only");
    // A worse model: as if it had been better before, in every block alike.
    let good = space.read("m.baseline.json");
    let mut better: serde_json::Value = serde_json::from_str(&good).unwrap();
    for series in better["gates"]["evaluations"]["series"].as_array_mut().unwrap() {
        series["values"]
            .as_object_mut()
            .unwrap()
            .values_mut()
            .for_each(|value| *value = (value.as_f64().unwrap() - 0.006).into());
    }
    space.write("m.baseline.json", &better.to_string());
    let document = check(&space, &["--format", "json"]).code(4).json();
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 3, "{document:#}");
    for finding in findings {
        assert_eq!(
            (&finding["verdict"], &finding["file"], &finding["line"]),
            (&"regression".into(), &"m.yaml".into(), &18.into())
        );
    }
    space.write("m.baseline.json", &good);
    let other = check(&space, &["--set", "ratings=2900"]).code(4);
    assert!(other.stdout.contains("other data") && other.stdout.contains("`ratings` is"), "{}", other.stdout);
}

#[test]
fn mistakes_in_the_section_are_told_at_their_places_by_every_command() {
    let space = Space::with(MANIFEST);
    values(&space, &GOOD);
    space.write(
        "m.yaml",
        &MANIFEST
            .replace(
                "stages: train, metrics: test.loss, paired: 0.002",
                "stages: trian, metrics: [steps], paired: -1, absolute: 1",
            )
            .replace("relative: 10%", "relative: ten, alpha: 0.1, rows: a")
            .replace("  hits:", "  \"a b\":"),
    );
    let ran = space.run(&["plan", "m.yaml"]).code(2);
    insta::assert_snapshot!(ran.stderr);
}

#[test]
fn a_manifest_that_extends_another_has_its_gates_but_for_stages_that_it_leaves_out() {
    let space = space();
    space.write("own.yaml", "talkflow: 1\nextends: m.yaml\nname: m\ncheck: { hits: null, time: { relative: 20% } }\n");
    let own = |code: i32| space.run(&["check", "own.yaml", "--baseline", "m.baseline.json"]).code(code);
    own(4).says("in the baseline it is: relative, tolerance 10%; now: relative, tolerance 20%").says("gate hits");
    let other = "talkflow: 1\nextends: m.yaml\nname: m\nstages: { train: null, a: { dataset: { name: movielens/synthetic } } }\n";
    space.write("own.yaml", other);
    space.run(&["plan", "own.yaml"]).ok();
    own(2).says("evaluates nothing");
    // In its own section it is a mistake.
    space.write("own.yaml", &format!("{other}check: {{ mine: {{ stages: train, metrics: loss }} }}\n"));
    space.run(&["plan", "own.yaml"]).code(2).says("no stage is called `train`");
}

#[test]
fn the_workflow_of_the_guide_is_yaml_that_runs_what_there_is() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/check/github-workflow.yml")).unwrap();
    let mut sources = talkflow::source::Sources::default();
    let id = sources.add_text("workflow", text.clone());
    let mut mistakes = Vec::new();
    assert!(talkflow::manifest::parse(&sources, sources.whole(id), &mut mistakes).is_some());
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    // The page shows this file.
    assert!(fs::read_to_string(root.join("docs/check.md")).unwrap().contains(&text), "docs/check.md shows another workflow");
    let commands: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once("talkflow check ")?.1)).collect();
    assert!(commands.len() >= 3, "{text}");
    let space = space();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| !matches!(*word, ">" | ">>" | "|")).collect();
        assert_eq!(words[0], "manifests/quickstart.yaml");
        check(&space, &words[1..]).ok();
    }
}

#[test]
fn the_quickstart_has_a_baseline_that_fits_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let bytes = fs::read(root.join("quickstart.baseline.json")).unwrap();
    let baseline = talkflow::check::read_baseline(&root, &bytes).unwrap();
    assert!(baseline.bytes().unwrap() == bytes, "it is not as `--update` writes it");
    assert_eq!(baseline.gates.keys().collect::<Vec<_>>(), ["genres", "means"]);
    // A fresh clone runs `check` itself in `.ci/run`.
    let ci = fs::read_to_string(root.join("../.ci/run")).unwrap();
    assert!(ci.contains("check manifests/quickstart.yaml"));
}
