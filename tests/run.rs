//! A whole pipeline from ratings to the table.

use crate::space::{METHODS, Space, small};

#[test]
fn a_small_pipeline_ends_with_a_table() {
    let space = Space::with(&small(METHODS));
    let ran = space.run(&["run", "m.yaml"]).ok();
    for word in ["bias_only", "scratch", "talk", "teacher", "Drama", "Comedy", "mean", "gap recovery", "deep path"] {
        assert!(ran.stdout.contains(word), "`{word}` is not in the table:\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("fall back to the remaining bias terms"), "{}", ran.stdout);
    assert!(ran.stdout.contains("clipped"), "{}", ran.stdout);
    assert!(ran.stderr.contains("11 ran, 0 cached"), "{}", ran.stderr);
    // The table is shown from the store too.
    let again = space.run(&["run", "m.yaml"]).ok();
    assert_eq!(again.stdout, ran.stdout);
    assert!(again.stderr.contains("0 ran, 11 cached"), "{}", again.stderr);
    space.nothing_to_do(&[]);
}

#[test]
fn a_metric_of_classes_is_none_of_ratings() {
    let space = Space::with(&small("scratch: scratch").replace("metrics: [rmse, mae, gap_recovery]", "metrics: [mae, accuracy]"));
    space
        .run(&["plan", "m.yaml"])
        .code(2)
        .says("`accuracy` is measured on predicted classes, and these models predict ratings")
        .says("choose among `rmse`, `mae`, `user_rmse`, `gap_recovery`, `hr`, `ndcg`\n");
}

#[test]
fn the_document_of_a_run_is_as_documented() {
    let space = Space::with(&small(METHODS));
    let document = space.document(&[]);
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&document), ["ok", "manifest", "run", "ran", "cached", "failed", "skipped", "seconds", "stages", "metrics"]);
    assert_eq!((&document["ok"], &document["manifest"], &document["ran"]), (&true.into(), &"small".into(), &11.into()));
    let stage = &document["stages"][0];
    assert_eq!(keys(stage), ["name", "state", "reason", "key", "seconds", "metrics"]);
    assert_eq!((&stage["name"], &stage["state"], &stage["reason"]), (&"ratings".into(), &"ran".into(), &"first run".into()));
    let scores = &document["metrics"]["scores"];
    let entries = scores["entries"].as_array().unwrap();
    // Two genres by three methods and the teacher, each with all that a table in a paper needs.
    assert_eq!(entries.len(), 2 * 4);
    for entry in entries {
        for field in ["serving_parameters", "training_parameters", "seconds"] {
            assert!(entry[field].is_number(), "{field} of {entry}");
        }
        assert_eq!(keys(&entry["measures"]), ["rmse", "mae", "user_rmse"], "{entry}");
    }
    // The one teacher stands in the rows of both genres, and can be told to be one.
    let teacher: Vec<_> = entries.iter().filter(|entry| entry["column"] == "teacher").collect();
    assert_eq!((&teacher[0]["instance"], &teacher[1]["instance"]), (&"teacher".into(), &"teacher".into()));
    assert_eq!(teacher[0]["model"], teacher[1]["model"]);
    let talk = entries.iter().find(|entry| entry["column"] == "talk").unwrap();
    assert_eq!(talk["instance"], "student[genre=Comedy,method=talk]");
    assert!(talk["training_parameters"].as_u64().unwrap() > 0, "modules are training-only parameters: {talk}");
    space.nothing_to_do(&[]);
}

#[test]
fn the_same_manifest_gives_the_same_bytes_on_one_core_and_on_two() {
    let one = Space::with(&small(METHODS));
    let two = Space::with(&small(METHODS).replace("    pretrain:", "    resources: { cores: 2 }\n    pretrain:"));
    one.document(&["-j", "1"]);
    two.document(&["-j", "2"]);
    assert_eq!(one.results(), two.results());
    one.nothing_to_do(&[]);
    two.nothing_to_do(&[]);
}

#[test]
fn a_failed_stage_skips_what_follows_and_keep_going_runs_the_rest() {
    // Two independent chains: `broken` reads a file that is not a table of ratings.
    let manifest = "talkflow: 1\nname: two\nstages:\n  broken:\n    dataset: { file: bad.csv }\n  split_a:\n    split: { rows: broken, seed: 1 }\n  \
        fine:\n    dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 900 }\n  split_b:\n    split: { rows: fine, seed: 1 }\n";
    let space = Space::with(manifest);
    space.write("bad.csv", "user,item,rating\n1,2,3\n1,2,many\n");
    let document = space.run(&["run", "m.yaml", "--format", "json", "--keep-going"]).code(1).says("bad.csv:3").json();
    let state = |name: &str| {
        let stages = document["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["name"] == name).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!([state("broken"), state("split_a"), state("fine"), state("split_b")], ["failed", "skipped", "ran", "ran"]);
    // The person who reads it is shown the stage, its line and its log.
    let ran = space.run(&["run", "m.yaml"]).code(1).says("m.yaml:4").says("log: ");
    assert!(ran.stderr.contains("1 failed, 1 skipped"), "{}", ran.stderr);
    space.write(
        "bad.csv",
        &("user,item,rating\n".to_owned() + &(0..40).map(|n| format!("{},{},{}\n", n / 8, n % 8, 1 + n % 5)).collect::<String>()),
    );
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn a_stand_in_is_said_loudly_wherever_it_is_used() {
    let manifest = small("bias_only: bias_only")
        .replace(
            "{ name: movielens/synthetic, users: 120, items: 90, ratings: 4000 }",
            "{ name: movielens/1m, otherwise: movielens/synthetic }",
        )
        .replace("epochs: 3", "epochs: 1");
    let space = Space::with(&manifest);
    space.run(&["plan", "m.yaml", "--offline"]).ok().says("STAND-IN: movielens/1m could not be had");
    let ran = space.run(&["run", "m.yaml", "--offline"]).ok();
    assert!(ran.stdout.contains("STAND-IN") && ran.stderr.contains("STAND-IN"), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("data: movielens/synthetic"), "{}", ran.stdout);
    // From the store it is said again; and without `otherwise` it is an error.
    assert!(space.run(&["run", "m.yaml", "--offline"]).ok().stdout.contains("STAND-IN"));
    space.nothing_to_do(&[]);
    space.write("m.yaml", &manifest.replace(", otherwise: movielens/synthetic", ""));
    space.run(&["run", "m.yaml", "--offline"]).code(1).says("name a stand-in with `otherwise`");
}

#[test]
fn a_students_test_row_that_its_teacher_learnt_is_refused() {
    // The student's split is another one than the teacher's.
    let manifest = small("label: label")
        .replace(
            "  teacher:\n    pretrain:\n      rows: split",
            "  other:\n    split: { rows: ratings, seed: 99 }\n  teacher:\n    pretrain:\n      rows: other",
        )
        .replace(
            "cache_features: { teacher: teacher, rows: split,",
            "cache_features: { teacher: teacher, rows: split, parts: [train],",
        );
    let space = Space::with(&manifest);
    space.run(&["run", "m.yaml"]).code(1).says("test rows were train rows of its teacher").says("make both from the same split");
}

#[test]
fn a_stage_that_takes_too_long_is_stopped() {
    let manifest = small("bias_only: bias_only").replace("epochs: 3", "epochs: 100000").replace("patience: 3", "patience: 0");
    let space = Space::with(&manifest.replace("    pretrain:", "    timeout: \"1s\"\n    pretrain:"));
    space.run(&["run", "m.yaml", "teacher"]).code(1).says("timed out after 1 s");
}

#[test]
fn features_of_one_teacher_do_not_go_with_the_upper_layers_of_another() {
    let manifest = small(METHODS).replace(
        "  features:\n    cache_features: { teacher: teacher,",
        "  other:\n    pretrain: { rows: split, model: { ncf: { embedding: 8, hidden: [16, 8] } }, stop: { epochs: 1 }, seed: 7 }\n  features:\n    cache_features: { teacher: other,",
    );
    let space = Space::with(&manifest);
    space.run(&["run", "m.yaml", "student[method=talk]"]).code(1).says("another teacher's than `teacher`");
}

#[test]
fn controls_are_found_by_their_method_whatever_they_are_called() {
    let methods = "none: scratch, biases: bias_only";
    let space = Space::with(
        &small(methods)
            .replace("seed: 1\n", "seed: 1\n  seeds: [1, 2]\n")
            .replace("    matrix:\n      genre", "    matrix:\n      seed: \"${seeds}\"\n      genre"),
    );
    let document = space.document(&[]);
    let checks = document["metrics"]["scores"]["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 3, "{document:#}");
    let seconds = |column: &str| {
        let entries = document["metrics"]["scores"]["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["column"] == column).unwrap()["seconds"].as_f64().unwrap()
    };
    let of = |name: &str| {
        let stages = document["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["name"] == name).unwrap()["seconds"].as_f64().unwrap()
    };
    assert_eq!(seconds("teacher").to_bits(), of("teacher").to_bits());
    space.nothing_to_do(&[]);
}

#[test]
fn models_scored_on_different_rows_do_not_stand_in_one_row() {
    let other = "  other:\n    matrix: { genre: [Drama], method: { scratch: scratch } }\n    distill: { rows: split, where: { genre: Comedy }, \
        method: \"${matrix.method}\", model: { ncf: { embedding: 4, hidden: [8, 4] } }, stop: { epochs: 1 }, seed: 1 }\n";
    let manifest = small("bias_only: bias_only")
        .replace("  scores:\n", &format!("{other}  scores:\n"))
        .replace("models: student,", "models: [student, other],");
    let space = Space::with(&manifest);
    space
        .run(&["run", "m.yaml"])
        .code(1)
        .says("`student[genre=Drama,method=bias_only]` and `other[genre=Drama,method=scratch]` both stand for genre Drama")
        .says("are scored on different rows")
        .says("of Comedy")
        .says("give both the same `where` and the same split, or let `by.rows` name an axis that tells them apart");
    space.write("m.yaml", &manifest.replace("where: { genre: Comedy }", "where: { genre: Drama }"));
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn a_hole_in_the_matrix_is_said_where_it_shows() {
    let manifest = small("scratch: scratch, bias_only: bias_only")
        .replace("seed: 1\n", "seed: 1\n  seeds: [1, 2]\n")
        .replace(
            "    matrix:\n      genre",
            "    matrix:\n      seed: \"${seeds}\"\n      exclude: [{ seed: 2, genre: Drama, method: bias_only }]\n      genre",
        )
        .replace("      seed: \"${seed}\"\n  scores", "      seed: \"${matrix.seed}\"\n  scores")
        .replace("metrics: [rmse, mae, gap_recovery]", "metrics: [mae]");
    let space = Space::with(&manifest);
    let ran = space.run(&["run", "m.yaml"]).ok().says("scores: MAE on the test rows").says("incomplete, 1 missing");
    let line = |title: &str| ran.stdout.lines().find(|line| line.starts_with(title)).unwrap().to_owned();
    assert!(line("Drama").contains(" (1)") && line("mean").contains(" (1)") && !line("Comedy").contains('('), "{}", ran.stdout);
    assert!(!ran.stdout.lines().any(|line| line.starts_with("gap recovery")), "{}", ran.stdout);
    assert!(ran.stdout.contains("on Drama, the mean over all rows: fewer than two blocks have both"), "{}", ran.stdout);
    space.nothing_to_do(&[]);
}
