//! Manifests over manifests.

use super::*;

#[test]
fn extends_merges_replaces_and_deletes() {
    let child = r#"
talkflow: 1
extends: base/sparse.yaml
name: child
params: { seed: 2, genres: [Drama] }
stages:
  teacher:
    pretrain:
      optimizer: { sgd: { momentum: 0.5 } }
      stop: { epochs: 5 }
      model: { ncf: { hidden: [16] } }
  student:
    matrix: { method: { label: null, scratch: bias_only } }
    timeout: null
  mine:
    dataset: { name: movielens/100k, titles: titles.csv }
"#;
    let base = SPARSE.replace("otherwise: movielens/synthetic", "otherwise: movielens/synthetic, titles: ../data/titles.csv");
    let folder = Folder::new(&[("m.yaml", child)]);
    fs::create_dir(folder.0.path().join("base")).unwrap();
    fs::write(folder.0.path().join("base/sparse.yaml"), base).unwrap();
    let plan = folder.load("m.yaml", &[]).unwrap();
    assert_eq!(plan.name, "child");
    let names: Vec<&str> = plan.instances.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ratings",
            "split",
            "teacher",
            "features",
            "student[genre=Drama,method=scratch]",
            "student[genre=Drama,method=talk]",
            "scores",
            "mine",
        ]
    );
    let teacher = |path| setting(&plan, "teacher", path);
    // A mapping merges, a list replaces, a tagged choice replaces.
    assert_eq!(teacher("stop.epochs"), "5");
    assert_eq!(teacher("stop.patience"), "3");
    assert_eq!(teacher("model.ncf.embedding"), "64");
    assert_eq!(teacher("model.ncf.hidden"), "[16]");
    assert_eq!(teacher("optimizer"), "sgd");
    assert_eq!(teacher("optimizer.sgd.rate"), "0.001");
    assert_eq!(instance(&plan, "teacher").settings.get("optimizer.adam.rate"), None);
    assert_eq!(setting(&plan, "split", "seed"), "2");
    assert_eq!(setting(&plan, "student[genre=Drama,method=scratch]", "method"), "bias_only");
    assert_eq!(instance(&plan, names[4]).timeout, None);
    // Paths are relative to the file they stand in.
    let file = |name: &str| instance(&plan, name).files[0].path.strip_prefix(folder.0.path()).unwrap().to_owned();
    assert_eq!(file("mine"), Path::new("titles.csv"));
    assert_eq!(file("ratings"), Path::new("base/../data/titles.csv"));
}

#[test]
fn the_kind_of_a_stage_is_a_choice_that_an_extending_manifest_replaces() {
    let base = small("", "  model:\n    split: { rows: ratings }\n");
    let child = "talkflow: 1\nextends: base.yaml\nstages:\n  model:\n    dataset: { name: movielens/synthetic }\n";
    let plan = Folder::new(&[("base.yaml", &base), ("m.yaml", child)]).load("m.yaml", &[]).unwrap();
    assert_eq!(instance(&plan, "model").kind, "dataset");
}
