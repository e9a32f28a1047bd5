//! Manifests to plans, with the kinds of `kinds.rs`.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod kinds;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use self::kinds::TestKinds;
use super::*;

/// The example of the manifest's documentation.
const SPARSE: &str = r#"
talkflow: 1
name: movielens-sparse
params:
  dataset: movielens/100k
  genres: [Western, Film-Noir]
  seed: 1
  talk: { rounds: 1, weights: { interact: 0.1 } }
stages:
  ratings:
    dataset: { name: "${dataset}", otherwise: movielens/synthetic }
  split:
    split: { rows: ratings, fractions: { train: 0.8, validation: 0.1, test: 0.1 }, seed: "${seed}" }
  teacher:
    pretrain:
      rows: split
      model: { ncf: { embedding: 64, hidden: [128, 64] } }
      optimizer: { adam: { rate: 1e-3 } }
      stop: { epochs: 30, patience: 3 }
      seed: "${seed}"
  features:
    cache_features: { teacher: teacher, rows: split, taps: [low, high, output] }
  student:
    matrix:
      genre: "${genres}"
      method:
        scratch: scratch
        label: { label: { weight: 0.5 } }
        talk: { talk: "${talk}" }
    resources: { cores: 1, memory: 2 GiB }
    timeout: 10m
    description: a student for ${matrix.genre} by ${matrix.method}
    distill:
      rows: split
      where: { genre: "${matrix.genre}" }
      teacher: teacher
      features: features
      model: { ncf: { embedding: 8, hidden: [32, 16] } }
      method: "${matrix.method}"
      seed: "${seed}"
  scores:
    evaluate: { models: student, teacher: teacher, rows: split, part: test, metrics: [rmse, mae, gap_recovery] }
"#;

fn no_env(_: &str) -> Option<OsString> {
    None
}

/// A folder with manifests.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn load(&self, name: &str, sets: &[&str]) -> Result<Plan<String>, Diagnostics> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        super::load(&self.0.path().join(name), &sets, &no_env, &TestKinds)
    }

    /// The mistakes of a manifest, with the folder's path taken out.
    fn mistakes(&self, name: &str, sets: &[&str]) -> String {
        let text = self.load(name, sets).unwrap_err().render();
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn load(text: &str, sets: &[&str]) -> Result<Plan<String>, Diagnostics> {
    Folder::new(&[("m.yaml", text)]).load("m.yaml", sets)
}

fn instance<'p>(plan: &'p Plan<String>, name: &str) -> &'p Instance<String> {
    plan.instances.iter().find(|instance| instance.name == name).unwrap()
}

fn setting(plan: &Plan<String>, name: &str, path: &str) -> String {
    instance(plan, name).settings.get(path).unwrap().to_string()
}

/// `port <- a, b` for each input.
fn inputs(plan: &Plan<String>, name: &str) -> Vec<String> {
    let line = |input: &Input| {
        let names: Vec<&str> = input.from.iter().map(|place| plan.instances[*place].name.as_str()).collect();
        format!("{} <- {}", input.port.0, names.join(" "))
    };
    instance(plan, name).inputs.iter().map(line).collect()
}

#[test]
fn the_documented_example_becomes_a_plan() {
    let plan = load(SPARSE, &[]).unwrap();
    let names: Vec<&str> = plan.instances.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ratings",
            "split",
            "teacher",
            "features",
            "student[genre=Western,method=scratch]",
            "student[genre=Western,method=label]",
            "student[genre=Western,method=talk]",
            "student[genre=Film-Noir,method=scratch]",
            "student[genre=Film-Noir,method=label]",
            "student[genre=Film-Noir,method=talk]",
            "scores",
        ]
    );
    assert_eq!(inputs(&plan, "split"), ["rows <- ratings"]);
    assert_eq!(inputs(&plan, "teacher"), ["rows <- split", "ratings <- ratings"]);
    let talk = "student[genre=Western,method=talk]";
    assert_eq!(inputs(&plan, talk), ["rows <- split", "ratings <- ratings", "teacher <- teacher", "features <- features"]);
    // What a method does not use is no input.
    assert_eq!(inputs(&plan, "student[genre=Western,method=scratch]"), ["rows <- split", "ratings <- ratings"]);
    assert_eq!(setting(&plan, talk, "method.talk.rounds"), "1");
    assert_eq!(setting(&plan, talk, "where.genre"), "\"Western\"");
    let talk = instance(&plan, talk);
    assert_eq!(talk.resources, Resources { cores: Some(1), memory: Some(2 << 30) });
    assert_eq!(talk.timeout, Some(Duration::from_secs(600)));
    assert_eq!(talk.description.as_deref(), Some("a student for Western by talk"));
    assert_eq!(plan.name, "movielens-sparse");
}

#[test]
fn the_mistakes_of_each_bad_manifest_are_as_recorded() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut files: Vec<_> = fs::read_dir("tests/bad").unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    settings.bind(|| {
        for path in files {
            let result = super::load(&path, &[], &no_env, &TestKinds);
            let text = result.map_or_else(|mistakes| mistakes.render(), |_| "no mistakes".to_owned());
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), text);
        }
    });
}
