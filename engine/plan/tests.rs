//! Manifests to plans, with the kinds of `kinds.rs`.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod example;
mod extends;
mod kinds;
mod language;
mod limits;
mod matrix;
mod random;
mod select;
mod set;
mod sweep;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use self::kinds::TestKinds;
use super::*;

/// The example of the manifest's documentation.
pub(crate) const SPARSE: &str = r#"
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

/// Plans a text.
pub(crate) fn load(text: &str, sets: &[&str]) -> Result<Plan<String>, Diagnostics> {
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

/// What `SPARSE` starts with, up to its parameters.
fn small(params: &str, stages: &str) -> String {
    let params = if params.is_empty() { String::new() } else { format!("params: {params}\n") };
    format!("talkflow: 1\n{params}stages:\n  ratings:\n    dataset: {{ name: movielens/100k }}\n{stages}")
}

/// Settings of every instance, as a key would see them.
fn canonical(plan: &Plan<String>) -> Vec<(String, Vec<String>)> {
    let lines = |instance: &Instance<String>| {
        instance.settings.canonical().map(|(path, value)| format!("{path} {value}")).collect::<Vec<_>>()
    };
    plan.instances.iter().map(|instance| (instance.name.clone(), lines(instance))).collect()
}
