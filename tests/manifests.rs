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

/// The columns of an evaluation's table, and that each has a finite mean.
fn columns<'a>(document: &'a Value, stage: &str) -> Vec<&'a str> {
    let cells = document["metrics"][stage]["cells"].as_array().unwrap();
    let means = cells.iter().filter(|cell| cell["row"].is_null());
    let named = means.map(|cell| {
        assert!(cell["rmse"]["mean"].as_f64().is_some_and(f64::is_finite), "{cell}");
        cell["column"].as_str().unwrap()
    });
    named.collect()
}

#[test]
fn the_baselines_run() {
    let document = run("baselines.yaml", &["seeds=[1]", "genres=[Western]"]);
    let columns = columns(&document, "scores");
    for method in talkflow::stages::METHODS {
        assert!(columns.contains(&method), "no {method} among {columns:?}");
    }
}
