//! A Python script as a stage. A target of its own: it fails, not skips, without Python with pyarrow and numpy in PATH.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{path::Path, process::Command};

use serde_json::Value;

#[test]
fn a_script_reads_our_parquet_trains_and_gives_metrics_back() {
    let python = Command::new("python3").args(["-c", "import numpy, pyarrow"]).output();
    assert!(python.is_ok_and(|python| python.status.success()), "put a python3 with pyarrow and numpy into PATH");
    let store = tempfile::tempdir().unwrap();
    let run = || -> Value {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/bring_your_own.yaml");
        let mut talkflow = Command::new(env!("CARGO_BIN_EXE_talkflow"));
        let output = talkflow.arg("run").arg(manifest).args(["--format", "json", "--store"]).arg(store.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let document = run();
    assert_eq!(document["ran"], 5);
    let biases: Vec<&Value> = document["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["name"].as_str().unwrap().starts_with("biases["))
        .collect();
    for stage in &biases {
        let rmse = stage["metrics"]["test.rmse"].as_f64().unwrap();
        assert!((0.9..1.0).contains(&rmse) && stage["metrics"]["test.rows"] == 10_000, "{stage:#}");
    }
    assert_eq!(biases.len(), 2);
    assert_eq!(run()["ran"], 0);
}

/// What docs/coming-from.md says of talkflow.
#[test]
fn the_pipeline_that_is_compared_runs_only_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coming-from");
    std::fs::create_dir(folder.path().join("scripts")).unwrap();
    for name in ["talkflow.yaml", "ratings.csv", "scripts/prepare.py", "scripts/train.py"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let run = |more: &[&str]| -> Value {
        let mut talkflow = Command::new(env!("CARGO_BIN_EXE_talkflow"));
        let output =
            talkflow.args(["run", "talkflow.yaml", "--format", "json"]).args(more).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = run(&[]);
    assert_eq!(first["ran"], 4);
    let rmse = |place: usize| (first["stages"][place]["metrics"]["rmse"].as_f64().unwrap() * 1e4).round();
    assert_eq!([rmse(1), rmse(2), rmse(3)], [10909.0, 10833.0, 11383.0]);
    assert_eq!(run(&["--set", "seed=2"])["ran"], 4);
    assert_eq!(run(&[])["ran"], 0);
    let script = folder.path().join("scripts/prepare.py");
    let text = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, format!("{text}# a comment\n")).unwrap();
    assert_eq!(run(&[])["ran"], 1);
}
