//! What must hold on published data and models themselves. A target of its own: it fails, not skips, without TALKFLOW_DATA.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on may panic, and tells what it measured")]

use std::{path::PathBuf, process::Command};

use serde_json::Value;

fn data() -> PathBuf {
    let data = std::env::var_os("TALKFLOW_DATA").map(PathBuf::from);
    data.expect(
        "set TALKFLOW_DATA to a folder with MovieLens 100K (ml-100k/ or ml-100k.zip), ml-latest-small.zip, CIFAR-10 (cifar-10-batches-bin/), TREC and \
         SST-2 (text/), and the models minilm/ and vit-s14/",
    )
}

/// The manifests whose results are in RESULTS.md.
const EXPERIMENTS: [&str; 8] = [
    "movielens_sparse",
    "movielens_dense",
    "movielens_small",
    "ablation_losses",
    "ablation_rounds",
    "ablation_messages",
    "controls",
    "controls_dense",
];

struct World {
    store: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { store: tempfile::tempdir().unwrap() }
    }

    fn run(&self, manifest: &str, args: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talkflow"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", manifest, "--offline", "--format", "json"]).args(args);
        let command = command.env("TALKFLOW_DATA", data());
        let output = command.arg("--store").arg(self.store.path()).arg("--data").arg(data()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        println!("{manifest} {args:?}: {} ran, {} cached in {} s", document["ran"], document["cached"], document["seconds"]);
        document
    }
}

/// Mean over blocks of a column's accuracy in a table's row; `None` is the mean over rows.
fn accuracy(document: &Value, row: Option<&str>, column: &str) -> f64 {
    let cells = document["metrics"]["scores"]["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["row"].as_str() == row && cell["column"] == column);
    cell.unwrap_or_else(|| panic!("no {column} in {row:?}"))["measures"]["accuracy"]["mean"].as_f64().unwrap()
}

fn real(document: &Value) {
    let data = document["metrics"]["scores"]["data"].as_str().unwrap();
    assert!(data.contains("movielens/") && !data.contains("generated"), "{data}");
}

/// Mean over blocks of a column's RMSE in a table's row; `None` is the mean over rows.
fn rmse(document: &Value, row: Option<&str>, column: &str) -> f64 {
    let cells = document["metrics"]["scores"]["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["row"].as_str() == row && cell["column"] == column);
    cell.unwrap_or_else(|| panic!("no {column} in {row:?}"))["measures"]["rmse"]["mean"].as_f64().unwrap()
}

#[test]
fn what_is_quick_runs_and_reruns_only_what_changed() {
    let world = World::new();
    let document = world.run("manifests/movielens_quick.yaml", &[]);
    real(&document);
    assert_eq!(document["failed"], 0);
    let again = world.run("manifests/movielens_quick.yaml", &[]);
    assert_eq!(again["ran"], 0);
    let changed = world.run("manifests/movielens_quick.yaml", &["--set", "talk.weights.interact=0.3"]);
    let state = |stage: &Value| stage["state"].as_str().unwrap().to_owned();
    let (ran, stayed): (Vec<&Value>, Vec<&Value>) =
        changed["stages"].as_array().unwrap().iter().partition(|stage| state(stage) == "ran");
    let names = |stages: &[&Value]| stages.iter().map(|stage| stage["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    // The students of the talk, 4 genres in 3 blocks, and what follows from them.
    let (talks, rest): (Vec<_>, Vec<_>) = names(&ran).into_iter().partition(|name| name.ends_with("method=talk]"));
    assert_eq!((talks.len(), rest), (12, vec!["scores".to_owned()]));
    assert!(stayed.iter().all(|stage| state(stage) == "cached"));
    for column in ["bias_only", "scratch", "label", "feature", "one_way", "one_way_wide", "talk", "talk_label", "teacher"] {
        println!("  {column}: {:.4}", rmse(&document, None, column));
    }
}

#[test]
fn the_teacher_is_good_and_scratch_is_worth_comparing_with() {
    let world = World::new();
    let document = world.run("manifests/movielens_genres.yaml", &[]);
    real(&document);
    let entries = document["metrics"]["teacher_scores"]["entries"].as_array().unwrap();
    let test: Vec<f64> = entries.iter().map(|entry| entry["measures"]["rmse"].as_f64().unwrap()).collect();
    let mean = test.iter().sum::<f64>() / test.len() as f64;
    println!("  teacher on all test rows, 5 split seeds: {mean:.4} {test:.4?}");
    assert_eq!(test.len(), 5);
    assert!(mean <= 0.925, "the teacher's test RMSE is {mean}");
    let (scratch, bias_only) = (rmse(&document, None, "scratch"), rmse(&document, None, "bias_only"));
    println!("  mean over all genres: scratch {scratch:.4}, bias_only {bias_only:.4}");
    assert!(scratch <= bias_only, "scratch {scratch} is worse than bias_only {bias_only}");
}

/// Real encoders are as good as their publishers' users find them: linear probes of MiniLM on TREC, and of a ViT on a part of CIFAR-10.
#[test]
fn foundation_models_teach() {
    let world = World::new();
    let quick = ["--set", "seeds=[1]", "--set", "epochs=1"];
    let part = ["--set", "subset={ per_class: 100, test_per_class: 50 }"];
    for (manifest, args, least) in [
        ("trec_minilm", [&quick[..], &[]].concat(), 0.87),
        ("sst2_minilm", [&quick[..], &part].concat(), 0.65),
        ("cifar10_vit", [&quick[..], &part].concat(), 0.58),
    ] {
        let document = world.run(&format!("manifests/{manifest}.yaml"), &args);
        let data = document["metrics"]["scores"]["data"].as_str().unwrap();
        assert!(!data.contains("synthetic"), "{data}");
        for column in ["teacher", "scratch", "label", "feature", "one_way", "talk"] {
            println!("  {column}: {:.4}", accuracy(&document, None, column));
        }
        let teacher = accuracy(&document, None, "teacher");
        assert!(teacher >= least, "{manifest}: the probe is right on {teacher}");
        assert_eq!(world.run(&format!("manifests/{manifest}.yaml"), &args)["ran"], 0);
    }
}

/// The experiments of RESULTS.md, with a search of two candidates on one split, and one block: the machinery is the same for more.
#[test]
fn the_experiments_run_on_real_data() {
    let small = ["--set", "candidates=2", "--set", "trials=[101]", "--set", "seed=[1]"];
    let world = World::new();
    for manifest in EXPERIMENTS {
        let document = world.run(&format!("manifests/{manifest}.yaml"), &small);
        real(&document);
        assert_eq!(document["failed"], 0);
    }
    for manifest in EXPERIMENTS {
        assert_eq!(world.run(&format!("manifests/{manifest}.yaml"), &small)["ran"], 0);
    }
}
