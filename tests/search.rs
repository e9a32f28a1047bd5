//! `search`, end to end: what is chosen and from what, with which budget, and what later stages make of it.

use std::{collections::BTreeMap, os::unix::process::CommandExt, process::Stdio, time::Duration};

use serde_json::Value;

use crate::space::Space;

/// Four weights of one method on two splits, and students of two other splits with the best of them.
const SEARCH: &str = r#"talkflow: 1
name: tuned
params: { weights: [0.1, 0.5, 2, 8], epochs: 3 }
stages:
  ratings:
    dataset: { name: movielens/synthetic, users: 120, items: 90, ratings: 4000 }
  split:
    matrix: { seed: [1, 2, 11, 12] }
    split: { rows: ratings, seed: "${matrix.seed}" }
  teacher:
    matrix: { seed: [1, 2, 11, 12] }
    pretrain:
      rows: "split[seed=${matrix.seed}]"
      model: { ncf: { embedding: 8, hidden: [16, 8] } }
      stop: { epochs: 4 }
      seed: "${matrix.seed}"
  features:
    matrix: { seed: [1, 2, 11, 12] }
    cache_features: { teacher: "teacher[seed=${matrix.seed}]", rows: "split[seed=${matrix.seed}]" }
  trial:
    matrix: { seed: [11, 12], weight: "${weights}" }
    distill:
      rows: "split[seed=${matrix.seed}]"
      features: "features[seed=${matrix.seed}]"
      model: { ncf: { embedding: 4, hidden: [8, 4] } }
      optimizer: { adam: { rate: 5e-3 } }
      stop: { epochs: "${epochs}" }
      method: { label: { weight: "${matrix.weight}" } }
      seed: "${matrix.seed}"
      keep: settings
  tuned:
    search: { trials: trial }
  student:
    matrix: { seed: [1, 2] }
    distill:
      rows: "split[seed=${matrix.seed}]"
      features: "features[seed=${matrix.seed}]"
      settings: tuned
      seed: "${matrix.seed}"
"#;

/// Metrics of each stage instance of a run.
fn metrics(document: &Value) -> BTreeMap<String, Value> {
    let stages = document["stages"].as_array().unwrap().iter();
    stages.map(|stage| (stage["name"].as_str().unwrap().to_owned(), stage["metrics"].clone())).collect()
}

fn rmse(metrics: &BTreeMap<String, Value>, stage: &str) -> f64 {
    metrics[stage]["validation_rmse"].as_f64().unwrap()
}

#[test]
fn the_best_candidate_is_chosen_and_its_settings_are_what_later_stages_train_with() {
    let space = Space::with(SEARCH);
    let found = metrics(&space.document(&[]));
    // By hand: the mean over both splits of each weight.
    let mut means: Vec<(f64, &str)> = ["0.1", "0.5", "2", "8"]
        .map(|weight| {
            let of = |seed: u32| rmse(&found, &format!("trial[seed={seed},weight={weight}]"));
            ((of(11) + of(12)) / 2.0, weight)
        })
        .to_vec();
    means.sort_by(|a, b| a.0.total_cmp(&b.0));
    let tuned = &found["tuned"];
    let ranking: Vec<(f64, f64)> = (tuned["ranking"].as_array().unwrap().iter())
        .map(|of| (of["validation"].as_f64().unwrap(), of["settings"]["method.label.weight"].as_f64().unwrap()))
        .collect();
    let expected: Vec<(f64, f64)> = means.iter().map(|(mean, weight)| (*mean, weight.parse().unwrap())).collect();
    assert_eq!(ranking, expected);
    assert_eq!(tuned["chosen"]["method.label.weight"], expected[0].1);
    assert_eq!(tuned["space"], serde_json::json!({ "method.label.weight": [0.1, 0.5, 2.0, 8.0] }));
    assert_eq!((&tuned["candidates"], &tuned["trainings"], &tuned["most_epochs"]), (&4.into(), &8.into(), &24.into()));
    let trial = &tuned["ranking"][0]["trials"][0];
    assert_eq!((&trial["on"], &trial["seed"]), (&"seed=11".into(), &11.into()));
    // A student with the chosen settings is that with these settings written.
    let weight = means[0].1;
    let written = SEARCH.replace("      settings: tuned\n", "").replace(
        "features[seed=${matrix.seed}]\"\n      seed: \"${matrix.seed}\"\n",
        &format!(
            "features[seed=${{matrix.seed}}]\"\n      seed: \"${{matrix.seed}}\"\n      model: {{ ncf: {{ embedding: 4, hidden: [8, 4] }} }}\n      \
             optimizer: {{ adam: {{ rate: 5e-3 }} }}\n      stop: {{ epochs: 3 }}\n      method: {{ label: {{ weight: {weight} }} }}\n"
        ),
    );
    let by_hand = Space::with(&written);
    by_hand.document(&[]);
    let weights = |space: &Space| {
        let student = |(stage, file, _): &&(String, String, String)| stage.starts_with("student") && file == "model.safetensors";
        space.results().iter().filter(student).cloned().collect::<Vec<_>>()
    };
    assert_eq!(weights(&space).len(), 2);
    assert_eq!(weights(&space), weights(&by_hand));
    // What people are shown.
    let text = space.run(&["run", "m.yaml", "--offline"]).ok().stdout;
    assert!(
        text.contains("tuned: settings searched for on validation rows\nspace: method.label.weight 0.1, 0.5, 2.0, 8.0\n"),
        "{text}"
    );
    assert!(text.contains("budget: 4 candidates, 8 trainings, "), "{text}");
    let shown = space.run(&["show", "tuned"]).ok().stdout;
    assert!(shown.contains("1 <    ") && shown.contains("seed=11") && shown.contains(" of at most 24 epochs, "), "{shown}");
    space.nothing_to_do(&[]);
}

#[test]
fn students_depend_on_what_is_chosen_and_not_on_what_was_tried() {
    let space = Space::with(SEARCH);
    let first = metrics(&space.document(&[]));
    let chosen = &first["tuned"]["chosen"]["method.label.weight"];
    // One more candidate that is worse for sure: it is tried, and the students stay.
    let more = space.document(&["--set", "weights=[0.1,0.5,2,8,100000]"]);
    assert_eq!((&more["ran"], &more["failed"]), (&3.into(), &0.into()), "two trials and the search");
    let now = metrics(&more);
    assert_eq!((&now["tuned"]["chosen"]["method.label.weight"], &now["tuned"]["candidates"]), (chosen, &5.into()));
    // Without the best one another is chosen, and the students with it.
    let others: Vec<&str> =
        ["0.1", "0.5", "2", "8"].into_iter().filter(|weight| weight.parse() != Ok(chosen.as_f64().unwrap())).collect();
    let fewer = space.document(&["--set", &format!("weights=[{}]", others.join(","))]);
    assert_eq!(fewer["ran"], 3, "the search and two students");
}

#[test]
fn no_search_can_reach_a_test_row() {
    // It takes models, and nothing that has test rows in it.
    for (field, other) in [("trials: trial", "trials: scores"), ("trials: trial", "trials: [trial, split]")] {
        let scores = "  scores:\n    evaluate: { models: student, rows: split }\n";
        let space = Space::with(&(SEARCH.to_owned() + scores).replace(field, other));
        space.run(&["plan", "m.yaml"]).code(2).says("search").says("yields");
    }
    for field in ["part: test", "rows: split", "metrics: [rmse]"] {
        let space = Space::with(&SEARCH.replace("trials: trial", &format!("trials: trial, {field}")));
        space.run(&["plan", "m.yaml"]).code(2).says("unknown setting");
    }
    // Whatever the test rows say, the same is chosen: here they all get another rating.
    let csv = |test: f64| {
        let mut text = "user,item,rating,part\n".to_owned();
        for row in 0..1200_u32 {
            let (user, item) = (row % 40, (row * 7) % 60);
            let part = ["train", "train", "train", "train", "validation", "test"][(row / 40 % 6) as usize];
            let rating = if part == "test" { test } else { f64::from((user * 3 + item * 5) % 9) / 2.0 + 0.5 };
            text += &format!("{user},{item},{rating},{part}\n");
        }
        text
    };
    let mut chosen = Vec::new();
    for test in [0.5, 4.5] {
        let space = Space::with(
            "talkflow: 1\nstages:\n  ratings:\n    dataset: { file: r.csv }\n  split:\n    split: { rows: ratings, by: { parts: { file: p.csv } } }\n  \
             trial:\n    matrix: { rate: [1e-4, 1e-3, 1e-2] }\n    distill: { rows: split, model: { ncf: { embedding: 4, hidden: [4] } }, method: scratch, \
             optimizer: { adam: { rate: \"${matrix.rate}\" } }, stop: { epochs: 4 }, keep: settings }\n  tuned:\n    search: { trials: trial }\n",
        );
        let ratings = csv(test);
        let rows: Vec<Vec<&str>> = ratings.lines().map(|line| line.split(',').collect()).collect();
        space.write("r.csv", &rows.iter().map(|row| format!("{},{},{}\n", row[0], row[1], row[2])).collect::<String>());
        let parts = rows.iter().enumerate().map(|(at, row)| match at {
            0 => "row,part\n".to_owned(),
            at => format!("{},{}\n", at - 1, row[3]),
        });
        space.write("p.csv", &parts.collect::<String>());
        chosen.push(metrics(&space.document(&[]))["tuned"].clone());
    }
    assert_eq!(chosen[0], chosen[1]);
}

#[test]
fn ties_are_broken_by_the_settings_themselves() {
    // Norms that no gradient comes near make no difference.
    let text = SEARCH.replace("weights: [0.1, 0.5, 2, 8]", "weights: [80000, 20000, 50000]").replace(
        "      method: { label: { weight: \"${matrix.weight}\" } }",
        "      method: scratch\n      clip: \"${matrix.weight}\"",
    );
    let space = Space::with(&text);
    let tuned = metrics(&space.document(&[]))["tuned"].clone();
    let order: Vec<f64> =
        tuned["ranking"].as_array().unwrap().iter().map(|of| of["settings"]["clip"].as_f64().unwrap()).collect();
    assert_eq!(order, [20000.0, 50000.0, 80000.0]);
    space.run(&["show", "tuned"]).ok().says("3 candidates have the very same score");
    let other = Space::with(&text.replace("[80000, 20000, 50000]", "[50000, 80000, 20000]"));
    assert_eq!(metrics(&other.document(&[]))["tuned"]["chosen"], tuned["chosen"]);
}

/// Successive halving: four candidates for two epochs, of which the better two go on to six.
fn halving(course: &str) -> String {
    let rungs = r#"  better:
    matrix: { place: [1, 2] }
    search: { trials: trial, place: "${matrix.place}" }
  long:
    matrix: { seed: [11, 12], place: [1, 2] }
    distill:
      rows: "split[seed=${matrix.seed}]"
      features: "features[seed=${matrix.seed}]"
      settings: "better[place=${matrix.place}]"
      stop: { epochs: 6 }
      seed: "${matrix.seed}"
      keep: settings
  tuned:
    search: { trials: long }
"#;
    SEARCH
        .replace("epochs: 3 }", "epochs: 2 }")
        .replace("keep: settings", &format!("keep: state\n      schedule: {{ course: {course} }}"))
        .replace("  tuned:\n    search: { trials: trial }\n", rungs)
}

#[test]
fn longer_trials_go_on_from_shorter_ones_to_the_same_bytes() {
    let space = Space::with(&halving("constant"));
    let found = metrics(&space.document(&[]));
    for seed in [11, 12] {
        for place in [1, 2] {
            let long = &found[&format!("long[seed={seed},place={place}]")];
            assert_eq!((&long["epochs_gone_on_from"], &long["epochs"]), (&2.into(), &6.into()), "{long}");
        }
    }
    space.run(&["show", "long[seed=11,place=1]"]).ok().says("went on from epoch 2 of a trial");
    // Students have other seeds: there is nothing to go on from, and nothing that says so, since the last rung keeps no states.
    assert!(found["student[seed=1]"].get("epochs_gone_on_from").is_none());
    // The same settings for six epochs without a break.
    let chosen = &found["better[place=1]"]["chosen"]["method.label.weight"];
    let whole =
        SEARCH.replace("epochs: 3 }", "epochs: 6 }").replace("weights: [0.1, 0.5, 2, 8]", &format!("weights: [{chosen}]"));
    let whole = Space::with(&whole);
    whole.document(&[]);
    let of = |space: &Space, stage: &str, file: &str| {
        let found = space.results().into_iter().find(|(name, known, _)| name.starts_with(stage) && known == file);
        found.unwrap_or_else(|| panic!("no {file} of {stage}")).2
    };
    for file in ["model.safetensors", "curves.parquet", "training.json", "config.json"] {
        assert_eq!(of(&space, "long[seed=11,place=1]", file), of(&whole, "trial[seed=11", file), "{file}");
    }
    // What was spent counts every training, and each epoch once more where it was gone on from.
    assert_eq!((&found["tuned"]["trainings"], &found["tuned"]["most_epochs"]), (&4.into(), &24.into()));
    space.nothing_to_do(&[]);
}

#[test]
fn a_course_over_all_epochs_is_trained_anew_and_said() {
    let space = Space::with(&halving("{ cosine: { floor: 0.1 } }"));
    let found = metrics(&space.document(&[]));
    assert!(found["long[seed=11,place=1]"].get("epochs_gone_on_from").is_none());
    let shown = space.run(&["show", "long[seed=11,place=1]"]).ok();
    shown.says("trained anew").says("the rate's course depends on the number of epochs");
}

#[test]
fn a_killed_search_goes_on_where_it_was() {
    let text = SEARCH
        .replace("epochs: 3 }", "epochs: 40 }")
        .replace("stop: { epochs: \"${epochs}\" }", "stop: { epochs: \"${epochs}\", patience: 0 }");
    let whole = Space::with(&text);
    whole.document(&[]);
    let space = Space::with(&text);
    let mut command = space.command(&["run", "m.yaml", "--offline", "-j", "1"]);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let clock = std::time::Instant::now();
    let trials = || {
        let results = if space.path(".talkflow/actions").exists() { space.results() } else { Vec::new() };
        results.iter().filter(|(stage, file, _)| stage.starts_with("trial") && file == "config.json").count()
    };
    while trials() < 3 {
        assert!(clock.elapsed() < Duration::from_secs(120), "{}", trials());
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process_group(rustix::process::Pid::from_child(&child), rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
    let before = trials();
    assert!(before < 8, "the kill came too late");
    let document = space.document(&[]);
    let cached = document["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["name"].as_str().unwrap().starts_with("trial") && stage["state"] == "cached");
    assert_eq!(cached.count(), before);
    assert_eq!(space.results(), whole.results());
}

#[test]
fn points_of_a_search_can_be_drawn_at_random() {
    let text = SEARCH
        .replace("weight: \"${weights}\" }", "point: { random: { points: 3, seed: 7, space: { weight: { log_uniform: [0.01, 10] }, rate: { choice: [1e-3, 5e-3] } } } } }")
        .replace("\"${matrix.weight}\"", "\"${matrix.point.weight}\"")
        .replace("optimizer: { adam: { rate: 5e-3 } }", "optimizer: { adam: { rate: \"${matrix.point.rate}\" } }")
        .replace("params: { weights: [0.1, 0.5, 2, 8], epochs: 3 }", "params: { epochs: 1 }");
    let space = Space::with(&text);
    let found = metrics(&space.document(&[]));
    let tuned = &found["tuned"];
    assert_eq!((&tuned["candidates"], &tuned["trainings"]), (&3.into(), &6.into()));
    let weights: Vec<f64> =
        tuned["space"]["method.label.weight"].as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap()).collect();
    assert!(weights.len() == 3 && weights.iter().all(|weight| (0.01..=10.0).contains(weight)), "{weights:?}");
    // The same on every machine, and the first of more.
    let more = Space::with(&text.replace("points: 3", "points: 4"));
    let values = metrics(&more.document(&[]))["tuned"]["space"]["method.label.weight"].clone();
    let values: Vec<f64> = values.as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap()).collect();
    assert!(values.len() == 4 && weights.iter().all(|weight| values.contains(weight)), "{values:?} {weights:?}");
    for (wrong, said) in
        [("points: 3, ", "does not say how many points"), ("log_uniform: [0.01, 10]", "did you mean `log_uniform`?")]
    {
        let other = if wrong.starts_with("points") { "" } else { "log_uniformly: [1, 2]" };
        Space::with(&text.replace(wrong, other)).run(&["plan", "m.yaml"]).code(2).says(said);
    }
}

#[test]
fn columns_with_other_budgets_are_refused_unless_that_is_declared() {
    let others = r#"  talk_trial:
    matrix: { seed: [11, 12], weight: [0.1, 1] }
    distill:
      rows: "split[seed=${matrix.seed}]"
      features: "features[seed=${matrix.seed}]"
      teacher: "teacher[seed=${matrix.seed}]"
      model: { ncf: { embedding: 4, hidden: [8, 4] } }
      stop: { epochs: "${epochs}" }
      method: { talk: { message_dim: 4, weights: { interact: "${matrix.weight}" } } }
      seed: "${matrix.seed}"
      keep: settings
  talk_tuned:
    search: { trials: talk_trial }
  talker:
    matrix: { seed: [1, 2] }
    distill:
      rows: "split[seed=${matrix.seed}]"
      features: "features[seed=${matrix.seed}]"
      teacher: "teacher[seed=${matrix.seed}]"
      settings: talk_tuned
      seed: "${matrix.seed}"
  scores:
    evaluate: { models: [student, talker], rows: split }
"#;
    let text = SEARCH.to_owned() + others;
    let ran = Space::with(&text).run(&["plan", "m.yaml"]).code(2);
    let said = "method `label` was tuned with 8 trainings of at most 24 epochs together, and `talk` with 4 trainings of at most 12 epochs together";
    ran.says(said).says("compare: { unequal: [...] }");
    let plan = |text: &str| Space::with(text).run(&["plan", "m.yaml", "--offline"]);
    plan(&text.replace("rows: split }", "rows: split, compare: { unequal: [talk] } }")).code(0);
    plan(&text.replace("weight: [0.1, 1] }", "weight: [0.1, 0.3, 1, 3] }")).code(0);
    // One that was not tuned at all beside one that was.
    let scratch = "  plain:\n    matrix: { seed: [1, 2] }\n    distill: { rows: \"split[seed=${matrix.seed}]\", model: mf, method: scratch, seed: \"${matrix.seed}\" }\n  scores:\n    evaluate: { models: [student, plain], rows: split }\n";
    plan(&(SEARCH.to_owned() + scratch)).code(2).says("`scratch` with no search");
}

#[test]
fn what_does_not_fit_is_told_before_anything_runs() {
    let space = Space::new();
    let wrong = |from: &str, to: &str, said: &str| {
        assert!(SEARCH.contains(from), "{from}");
        space.write("m.yaml", &SEARCH.replace(from, to));
        space.run(&["plan", "m.yaml"]).code(2).says(said);
    };
    wrong("      keep: settings\n", "", "`trial[seed=11,weight=0.1]` does not keep with which settings it was trained");
    wrong("trials: trial }", "trials: trial, place: 5 }", "there are 4 candidates, and no place 5");
    wrong(
        "matrix: { seed: [11, 12], weight: \"${weights}\" }",
        "matrix: { seed: [11, 12], weight: \"${weights}\", exclude: [{ seed: 11, weight: 2 }] }",
        "not tried on the same seeds and rows",
    );
    wrong(
        "      settings: tuned\n",
        "      settings: tuned\n      method: scratch\n      batch: 8\n",
        "`settings` says what `batch` is",
    );
    wrong("      settings: tuned\n", "      settings: teacher\n", "settings");
    wrong(
        "      features: \"features[seed=${matrix.seed}]\"\n      settings: tuned\n",
        "      settings: tuned\n",
        "the method `label`, which may be chosen, needs `features`",
    );
    wrong(
        "method: { label: { weight: \"${matrix.weight}\" } }",
        "method: { label: { weight: 1 } }",
        "is another trial once more",
    );
}

#[test]
fn the_search_of_the_quickstart_halves_and_spends_the_same_on_each_method() {
    let space = Space::new();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/quickstart_search.yaml");
    std::fs::copy(file, space.path("m.yaml")).unwrap();
    let found = metrics(&space.document(&[]));
    for method in ["label", "one_way", "talk_label"] {
        let better = &found[&format!("better[method={method},place=1]")];
        let tuned = &found[&format!("tuned[method={method}]")];
        assert_eq!((&better["candidates"], &better["trainings"], &better["most_epochs"]), (&4.into(), &8.into(), &64.into()));
        assert_eq!((&tuned["candidates"], &tuned["trainings"], &tuned["most_epochs"]), (&2.into(), &4.into(), &160.into()));
        assert_eq!(found[&format!("long[seed=11,method={method},place=2]")]["epochs_gone_on_from"], 8);
    }
    space.nothing_to_do(&[]);
}
