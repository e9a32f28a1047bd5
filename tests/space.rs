//! A folder of its own for each test, and the binary run in it as a user would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// A scratch folder with a store of its own.
pub struct Space {
    folder: tempfile::TempDir,
}

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Space {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A space with `m.yaml` in it.
    pub fn with(manifest: &str) -> Self {
        let space = Self::new();
        space.write("m.yaml", manifest);
        space
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("to make a folder");
        fs::write(path, text).expect("to write a file");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary with this space as its world: no variables, no data, no network.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talkflow"));
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.root()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("the binary starts"))
    }

    /// `run m.yaml` with more arguments, as JSON.
    pub fn document(&self, args: &[&str]) -> Value {
        let all: Vec<&str> = ["run", "m.yaml", "--offline", "--format", "json"].iter().chain(args).copied().collect();
        self.run(&all).ok().json()
    }

    /// The end of every end-to-end test: run again, nothing to do.
    pub fn nothing_to_do(&self, args: &[&str]) {
        let document = self.document(args);
        assert_eq!((&document["ran"], &document["failed"]), (&0.into(), &0.into()), "{document:#}");
    }

    /// Every file of every artifact by stage and name, with its digest: what two stores are compared by.
    pub fn results(&self) -> Vec<(String, String, String)> {
        let mut results = Vec::new();
        for shard in fs::read_dir(self.path(".talkflow/actions")).expect("a store").flatten() {
            for record in fs::read_dir(shard.path()).expect("a shard").flatten() {
                let record: Value = serde_json::from_slice(&fs::read(record.path()).expect("a record")).expect("JSON");
                for (file, entry) in record["files"].as_object().expect("files") {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    results.push((text(&record["instance"]), file.clone(), text(&entry["digest"])));
                }
            }
        }
        results.sort();
        results
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output.status.code().unwrap_or_else(|| 1000 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "`{text}` is not in:\n{all}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}\n{}", self.stdout, self.stderr))
    }
}

/// A whole pipeline in small: synthetic ratings, one teacher, two genres, `methods`, one table.
pub fn small(methods: &str) -> String {
    // A parameter nobody reads is a mistake.
    let talk = "  talk: { rounds: 1, message_dim: 4, weights: { interact: 0.1, message: 0.1, state: 0.1 } }\n";
    let talk = if methods.contains("talk") { talk } else { "" };
    format!(
        r#"talkflow: 1
name: small
params:
  seed: 1
  epochs: 3
{talk}stages:
  ratings:
    dataset: {{ name: movielens/synthetic, users: 120, items: 90, ratings: 4000 }}
  split:
    split: {{ rows: ratings, fractions: {{ train: 0.8, validation: 0.1, test: 0.1 }}, seed: "${{seed}}" }}
  teacher:
    pretrain:
      rows: split
      model: {{ ncf: {{ embedding: 8, hidden: [16, 8] }} }}
      optimizer: {{ adam: {{ rate: 5e-3 }} }}
      stop: {{ epochs: "${{epochs}}", patience: 3 }}
      seed: "${{seed}}"
  features:
    cache_features: {{ teacher: teacher, rows: split, taps: [low, high, output] }}
  student:
    matrix:
      genre: [Drama, Comedy]
      method: {{ {methods} }}
    distill:
      rows: split
      where: {{ genre: "${{matrix.genre}}" }}
      teacher: teacher
      features: features
      model: {{ ncf: {{ embedding: 4, hidden: [8, 4] }} }}
      optimizer: {{ adam: {{ rate: 5e-3 }} }}
      stop: {{ epochs: "${{epochs}}", patience: 3 }}
      method: "${{matrix.method}}"
      seed: "${{seed}}"
  scores:
    evaluate: {{ models: student, teacher: teacher, rows: split, part: test, metrics: [rmse, mae, gap_recovery] }}
"#
    )
}

/// The methods most tests use.
pub const METHODS: &str = r#"bias_only: bias_only, scratch: scratch, talk: { talk: "${talk}" }"#;
