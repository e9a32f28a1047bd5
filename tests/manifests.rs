//! The manifests that generate their ratings run, in part.

use serde_json::Value;

use crate::space::Space;

/// What a manifest of ours gives with some parameters changed, and that it then has nothing more to do.
fn run(name: &str, changed: &[&str]) -> Value {
    let space = Space::new();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    let path = path.to_str().unwrap();
    let mut args = vec!["run", path, "--offline", "--format", "json"];
    changed.iter().for_each(|change| args.extend(["--set", *change]));
    let document = space.run(&args).ok().json();
    let again = space.run(&args).ok().json();
    assert_eq!((&again["ran"], &again["failed"]), (&0.into(), &0.into()), "{again:#}");
    document
}

/// The columns of an evaluation's table, and that each has a finite mean of a metric.
fn columns<'a>(document: &'a Value, stage: &str, metric: &str) -> Vec<&'a str> {
    let cells = document["metrics"][stage]["cells"].as_array().unwrap();
    let means = cells.iter().filter(|cell| cell["row"].is_null());
    let named = means.map(|cell| {
        assert!(cell["measures"][metric]["mean"].as_f64().is_some_and(f64::is_finite), "{cell}");
        cell["column"].as_str().unwrap()
    });
    named.collect()
}

#[test]
fn the_baselines_run() {
    let document = run("baselines.yaml", &["seeds=[1]", "genres=[Western]"]);
    let columns = columns(&document, "scores", "rmse");
    let of_classes = ["dkd", "crd"];
    for method in talkflow::stages::METHODS.into_iter().filter(|method| !of_classes.contains(method)) {
        assert!(columns.contains(&method), "no {method} among {columns:?}");
    }
}

#[test]
fn students_of_classes_run() {
    let document = run("students_tiny.yaml", &["seeds=[1]", "epochs=1", "rows={ train: 120, test: 60 }"]);
    let texts = columns(&document, "texts", "accuracy");
    for method in
        ["scratch", "label", "dist", "dkd", "feature", "sp", "rkd", "vid", "refilled", "srd", "crd", "iakd", "talk", "teacher"]
    {
        assert!(texts.contains(&method), "no {method} among {texts:?}");
    }
    assert!(columns(&document, "images", "accuracy").contains(&"ask"));
}

#[test]
fn the_controls_run() {
    let changed = ["candidates=1", "trials=[101]", "seed=[1]", "genres=[Western]", "teacher_epochs=3"];
    let document = run("controls.yaml", &changed);
    let expected = [
        "biased_teacher",
        "modules_only",
        "one_way",
        "one_way_wide",
        "random_teacher",
        "scratch",
        "shuffled_replies",
        "talk",
        "teacher",
        "trainable_upper",
    ];
    assert_eq!(columns(&document, "scores", "rmse"), expected);
    // A teacher that has not learnt anything is another one, and its student too.
    let stages = document["stages"].as_array().unwrap();
    let metric = |name: &str, metric: &str| {
        let stage = stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        stage["metrics"][metric].as_f64().unwrap()
    };
    assert_eq!(metric("teacher[seed=1,knows=nothing]", "best_epoch"), 0.0);
    let [much, nothing] = ["much", "nothing"].map(|knows| metric(&format!("teacher[seed=1,knows={knows}]"), "validation_rmse"));
    assert!(much < nothing, "{much} {nothing}");
    let [talk, random] = ["talk", "random_teacher"]
        .map(|method| metric(&format!("student[seed=1,genre=Western,method={method}]"), "decoded_state_ratio"));
    assert_ne!(talk, random);
}

/// Each method, tuned by a search of its own, in small; the columns are those of `methods`.
#[test]
fn the_experiments_run() {
    let changed = ["candidates=1", "trials=[101]", "seed=[1]", "genres=[Western]"];
    let experiments = [
        (
            "movielens_sparse.yaml",
            vec!["bias_only", "feature", "label", "one_way", "one_way_wide", "scratch", "talk", "talk_label"],
        ),
        (
            "ablation_losses.yaml",
            vec!["no_interact", "no_message", "no_state", "one_way", "scratch", "state_only", "student_state", "talk"],
        ),
        ("ablation_rounds.yaml", vec!["rounds_2", "rounds_3", "rounds_5", "scratch", "talk"]),
        (
            "ablation_messages.yaml",
            vec!["ask_answer", "message_2", "message_64", "message_8", "question_stop", "scratch", "talk", "warm_up"],
        ),
    ];
    for (manifest, mut expected) in experiments {
        expected.push("teacher");
        expected.sort_unstable();
        let document = run(manifest, &changed);
        assert_eq!(columns(&document, "scores", "rmse"), expected, "{manifest}");
        // Settings come from the searches: each chose one candidate of one.
        let stages = document["stages"].as_array().unwrap();
        let tuned = stages.iter().filter(|stage| stage["name"].as_str().unwrap().starts_with("tuned[")).count();
        assert_eq!(tuned + 1, expected.len(), "{manifest}");
    }
}

#[test]
fn the_ranking_runs() {
    let document = run("movielens_ranking.yaml", &["seeds=[1]", "epochs=2"]);
    let methods = ["bias_only", "de", "feature", "label", "one_way", "scratch", "talk", "talk_label", "teacher"];
    for metric in ["hr", "ndcg", "rmse"] {
        assert_eq!(columns(&document, "scores", metric), methods);
    }
    let split = document["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "split").unwrap();
    assert_eq!((split["metrics"]["test"].as_u64(), split["metrics"]["validation"].as_u64()), (Some(943), Some(943)));
}

/// Where no model was fetched, planning says so; any model's folder does.
#[test]
fn the_language_model_teaches() {
    let space = Space::with(
        "talkflow: 1\nstages: { own: { encoder: { drawn: { family: bert, width: 16, heads: 2, positions: 64 } } } }\n",
    );
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/movielens_lm_teacher.yaml");
    let manifest = manifest.to_str().unwrap();
    space.run(&["plan", manifest, "--offline"]).code(2).says("TALKFLOW_DATA");
    space.run(&["plan", manifest, "--offline", "--set", "model=nowhere"]).code(2).says("there is no folder").says("nowhere");
    space.run(&["run", "m.yaml"]).ok();
    space.run(&["export", "own", "-o", "own"]).ok();
    let folder = format!("model={}", space.path("own").display());
    let document = run("movielens_lm_teacher.yaml", &[&folder, "seeds=[1]", "genres=[Western]", "epochs=1"]);
    let expected = [
        "ask_answer",
        "bias_only",
        "circular",
        "drawn_ask_answer",
        "drawn_feature",
        "feature",
        "one_way",
        "one_way_wide",
        "scratch",
    ];
    assert_eq!(columns(&document, "scores", "rmse"), expected);
}
