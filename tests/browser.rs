//! Pages in a real browser: written by `report` and served by `serve`, opened in headless Chromium by `tests/browser/`. Needs Node.js, what `npm ci`
//! in that folder installs, and Chromium as `chromium` in PATH or in TALKFLOW_CHROMIUM; fails without.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

#[expect(dead_code, reason = "made for the other tests too")]
mod space;

use space::{Space, small};

/// A thousand points, each with a training and an evaluation of its own.
const THOUSAND: &str = r#"talkflow: 1
name: thousand
params: { rate: 0.01, hidden: [4, 2], seed: 1 }
sweep:
  random: { points: 500, seed: 7, space: { rate: { log_uniform: [1e-4, 1e-1] }, hidden: { choice: [[4, 2], [8, 4], [16, 8]] } } }
  seeds: 2
stages:
  ratings:
    dataset: { name: movielens/synthetic, users: 60, items: 50, ratings: 900 }
  split:
    split: { rows: ratings, fractions: { train: 0.7, validation: 0.15, test: 0.15 }, seed: 1 }
  model:
    pretrain:
      rows: split
      model: { ncf: { embedding: 4, hidden: "${hidden}" } }
      optimizer: { adam: { rate: "${rate}" } }
      stop: { epochs: 3, patience: 3 }
      seed: "${seed}"
  scores:
    evaluate: { models: model, rows: split, metrics: [rmse] }
"#;

/// Two seeds of a run in small, in which every section of a page has something to show.
fn run() -> String {
    let methods = r#"bias_only: bias_only, scratch: scratch, label: { label: { weight: 1 } }, one_way: { one_way: { weight: 1 } }, talk: { talk: "${talk}" }"#;
    let matrix = "      genre: [Drama, Comedy]\n";
    let one = small(methods);
    assert!(one.contains(matrix));
    one.replace("params:\n  seed: 1\n", "params:\n  seeds: [1, 2, 3]\n")
        .replace("  split:\n    split:", "  split:\n    matrix: { seed: \"${seeds}\" }\n    split:")
        .replace("  teacher:\n    pretrain:\n      rows: split\n", "  teacher:\n    matrix: { seed: \"${seeds}\" }\n    pretrain:\n      rows: \"split[seed=${matrix.seed}]\"\n")
        .replace("cache_features: { teacher: teacher, rows: split,", "matrix: { seed: \"${seeds}\" }\n    cache_features: { teacher: \"teacher[seed=${matrix.seed}]\", rows: \"split[seed=${matrix.seed}]\",")
        .replace(matrix, "      seed: \"${seeds}\"\n      genre: [Drama, Comedy]\n")
        .replace("      rows: split\n      where:", "      rows: \"split[seed=${matrix.seed}]\"\n      where:")
        .replace("      teacher: teacher\n      features: features\n", "      teacher: \"teacher[seed=${matrix.seed}]\"\n      features: \"features[seed=${matrix.seed}]\"\n")
        .replace("\"${seed}\"", "\"${matrix.seed}\"")
}

/// Stages whose names, values and output would be markup, if anybody took them for it.
const HOSTILE: &str = r#"talkflow: 1
name: hostile
stages:
  a:
    matrix: { x: { "<img src onerror>": 1 } }
    command: { run: ["printf", "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>"] }
  b:
    command: { run: ["sh", "-c", "echo '<svg onload=window.hurt=3>' >&2; exit 1"] }
"#;

fn found(program: &str, what: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    there.unwrap_or_else(|| panic!("{program} is missing: {what}"))
}

#[test]
fn pages_work_in_a_browser() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(folder.join("node_modules/playwright-core").is_dir(), "run `npm ci` in {} first", folder.display());
    let node = found("node", "install Node.js 20 or newer");
    let chromium = std::env::var_os("TALKFLOW_CHROMIUM").map(PathBuf::from);
    let chromium = chromium
        .unwrap_or_else(|| found("chromium", "install it (Debian: `apt-get install chromium`), or name it in TALKFLOW_CHROMIUM"));
    let space = Space::new();
    space.write("run.yaml", &run());
    space.write("thousand.yaml", THOUSAND);
    space.write("hostile.yaml", HOSTILE);
    space.run(&["run", "run.yaml", "--offline"]).ok();
    space.run(&["sweep", "thousand.yaml", "--offline"]).ok();
    space.run(&["run", "hostile.yaml", "--keep-going"]).code(1);
    for page in ["run", "thousand", "hostile"] {
        space.run(&["report", &format!("{page}.yaml"), "-o", &format!("{page}.html")]).ok();
    }
    let mut tests = Command::new(node);
    tests
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .arg(folder.join("page.test.mjs"))
        .arg(folder.join("live.test.mjs"));
    tests.env("PAGES", space.root()).env("TALKFLOW", env!("CARGO_BIN_EXE_talkflow")).env("CHROMIUM", chromium);
    assert!(tests.current_dir(&folder).status().unwrap().success(), "see above");
}
