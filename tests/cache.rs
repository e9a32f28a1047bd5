//! What runs again, and what does not.

use serde_json::Value;

use crate::space::{METHODS, Space, small};

fn ran(document: &Value) -> Vec<String> {
    let stages = document["stages"].as_array().unwrap().iter();
    stages.filter(|stage| stage["state"] == "ran").map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_parameter_reruns_only_what_reads_it() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    let changed = ["--set", "talk.weights.interact=0.3"];
    let document = space.document(&changed);
    assert_eq!(ran(&document), ["student[genre=Drama,method=talk]", "student[genre=Comedy,method=talk]", "scores"]);
    let reason = document["stages"].as_array().unwrap().iter().find(|s| s["state"] == "ran").unwrap()["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(reason, "method.talk.weights.interact: 0.1 -> 0.3");
    space.nothing_to_do(&changed);
    // Setting it back needs no work at all.
    space.nothing_to_do(&[]);
}

#[test]
fn comments_names_and_the_order_of_keys_change_nothing() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    let text = small(METHODS)
        .replace("name: small", "name: small # a comment")
        .replace("    matrix:\n      genre: [Drama, Comedy]\n", "    matrix:\n")
        .replace(
            &format!("      method: {{ {METHODS} }}\n"),
            &format!("      method: {{ {METHODS} }}\n      genre: [Comedy, Drama]\n"),
        )
        .replace("{ rounds: 1, message_dim: 4,", "{ message_dim: 4, rounds: 1,");
    assert_ne!(text, small(METHODS));
    space.write("m.yaml", &text);
    space.nothing_to_do(&[]);
    // Another name for a stage, and another for the manifest.
    space.write(
        "m.yaml",
        &small(METHODS)
            .replace("teacher", "expert")
            .replace("expert:", "teacher:")
            .replace("  teacher:\n    pre", "  expert:\n    pre"),
    );
    space.nothing_to_do(&[]);
}

#[test]
fn an_output_that_stays_the_same_leaves_what_follows_alone() {
    let manifest = "talkflow: 1\nname: own\nstages:\n  ratings:\n    dataset: { file: r.csv }\n  split:\n    split: { rows: ratings, seed: 1 }\n";
    let space = Space::with(manifest);
    let rows: String = (0..60).map(|n| format!("{},{},{}\n", n / 6, n % 11, 1 + n % 5)).collect();
    space.write("r.csv", &format!("user,item,rating\n{rows}"));
    space.document(&[]);
    // The same ratings, written differently.
    space.write("r.csv", &format!("user,item,rating\n{}", rows.replace('\n', "\r\n")));
    assert_eq!(ran(&space.document(&[])), ["ratings"]);
    space.write("r.csv", &format!("user,item,rating\n{rows}99,1,5\n"));
    assert_eq!(ran(&space.document(&[])), ["ratings", "split"]);
    space.nothing_to_do(&[]);
}

#[test]
fn force_runs_again_and_the_stored_result_stands() {
    let space = Space::with(&small("bias_only: bias_only"));
    space.document(&[]);
    let before = space.results();
    let document = space.document(&["--force", "teacher"]);
    assert_eq!(ran(&document), ["teacher"]);
    assert_eq!(space.results(), before);
    space.nothing_to_do(&[]);
}

#[test]
fn a_lost_or_damaged_file_is_made_again() {
    let space = Space::with(&small("bias_only: bias_only"));
    space.document(&[]);
    let before = space.results();
    let blob = |digest: &str| space.path(&format!(".talkflow/blobs/{}/{digest}", &digest[..2]));
    let split = &before.iter().find(|(stage, file, _)| stage == "split" && file == "split.parquet").unwrap().2;
    std::fs::remove_file(blob(split)).unwrap();
    let document = space.document(&[]);
    assert_eq!(ran(&document), ["split"]);
    // A flipped bit is not seen by a run, which trusts read-only files, and is seen by `verify`.
    let path = blob(split);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the test damages a file that belongs to it")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, bytes).unwrap();
    space.run(&["store", "verify"]).code(3).says("changed");
    assert_eq!(ran(&space.document(&[])), ["split"]);
    assert_eq!(space.results(), before);
    space.run(&["store", "verify"]).ok().says("all whole");
    space.nothing_to_do(&[]);
}

#[test]
fn collecting_garbage_keeps_the_last_results() {
    let space = Space::with(&small("bias_only: bias_only, scratch: scratch"));
    space.document(&[]);
    space.document(&["--set", "seed=2"]);
    // A training that was killed half way, and one whose result is there.
    let shards = std::fs::read_dir(space.path(".talkflow/actions")).unwrap().flatten();
    let record = std::fs::read_dir(shards.last().unwrap().path()).unwrap().flatten().next().unwrap().path();
    let ended = record.file_stem().unwrap().to_str().unwrap().to_owned();
    let checkpoint = |key: &str| format!(".talkflow/partial/{key}/checkpoint");
    let killed = "0".repeat(64);
    for key in [&ended, &killed] {
        space.write(&checkpoint(key), "half way");
    }
    let gc = |args: &[&str]| space.run(&[&["store", "gc"], args].concat()).ok();
    let dry = gc(&["--dry-run", "--format", "json"]).json();
    assert!(dry["records"].as_u64().unwrap() > 0 && dry["bytes"].as_u64().unwrap() > 0, "{dry}");
    assert_eq!((&dry["checkpoints"], &dry["checkpoint_bytes"], &dry["kept_checkpoints"]), (&1.into(), &8.into(), &1.into()));
    assert_eq!((&dry["runs"], &dry["kept_runs"]), (&0.into(), &2.into()));
    let said = gc(&["--dry-run"]).says("would remove").says("checkpoints of 1 training, 8 B").stdout;
    assert!(space.path(&checkpoint(&ended)).exists(), "a dry run removes nothing");
    let copy = |from: &str, to: &str| {
        let copied = std::process::Command::new("cp").arg("-a").args([space.path(from), space.path(to)]).status().unwrap();
        assert!(copied.success());
    };
    copy(".talkflow", "copy");
    assert_eq!(gc(&["--store", "copy"]).stdout, said.replace("would remove", "removed"));
    assert_eq!(gc(&["--format", "json"]).json(), dry);
    assert!(!space.path(&checkpoint(&ended)).exists() && space.path(&checkpoint(&killed)).exists());
    let old = std::fs::File::open(space.path(&checkpoint(&killed))).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    std::fs::File::open(space.path(&format!(".talkflow/partial/{killed}"))).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    gc(&["--older-than", "30d"]).says("checkpoints of 1 training, 8 B");
    space.nothing_to_do(&["--set", "seed=2"]);
    assert!(!ran(&space.document(&[])).is_empty());
    space.nothing_to_do(&[]);
}

#[test]
fn kinds_without_floats_make_the_bytes_of_their_version() {
    // Whoever changes these bytes raises the kind's `version()`, since results in people's stores are found by it, and then these.
    let space = Space::with(
        "talkflow: 1\nname: golden\nstages:\n  ratings:\n    dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 900 }\n  split:\n    split: { rows: ratings, seed: 3 }\n",
    );
    space.document(&[]);
    let made: Vec<String> = space.results().into_iter().map(|(_, file, digest)| format!("{file} {}", &digest[..16])).collect();
    assert_eq!(made, GOLDEN, "dataset is at version 2, split at version 1");
    space.nothing_to_do(&[]);
}

const GOLDEN: [&str; 6] = [
    "dataset.json 20d782961622011b",
    "items.parquet 557d66ee33bc05cf",
    "ratings.parquet de453a74cde91b05",
    "users.parquet 7d751d7808ebbcd3",
    "split.json 182e98e8927b5f69",
    "split.parquet 83c3e1e02f981a9e",
];

#[test]
fn biases_alone_depend_on_how_they_begin_and_not_on_the_deep_path() {
    let manifest = small("bias_only: bias_only").replace("hidden: [8, 4] }", "hidden: [8, 4], damping: 5 }");
    let space = Space::with(&manifest);
    space.document(&[]);
    space.write("m.yaml", &manifest.replace("hidden: [8, 4]", "hidden: [16, 4]"));
    space.nothing_to_do(&[]);
    space.write("m.yaml", &manifest.replace("damping: 5", "damping: 50"));
    let students = |name: &&String| name.starts_with("student");
    assert_eq!(ran(&space.document(&[])).iter().filter(students).count(), 2);
    space.nothing_to_do(&[]);
}

#[test]
fn a_forced_training_begins_at_the_beginning() {
    let manifest = small("bias_only: bias_only").replace("    pretrain:\n", "    pretrain:\n      checkpoint_seconds: 0\n");
    let space = Space::with(&manifest);
    space.document(&[]);
    for _ in 0..2 {
        let run = space.document(&["--force", "teacher"])["run"].as_str().unwrap().to_owned();
        let events = space.read(&format!(".talkflow/runs/{run}/events.jsonl"));
        let first = events.lines().find(|line| line.contains("\"progressed\",\"index\":2")).unwrap();
        let first: Value = serde_json::from_str(first).unwrap();
        assert_eq!(first["progress"]["done"], 1, "it went on from a checkpoint: {first}");
    }
    assert!(std::fs::read_dir(space.path(".talkflow/partial")).unwrap().next().is_none());
    space.run(&["run", "m.yaml", "ratings", "--force", "teacher"]).code(2).says("not among the stages to run");
    space.nothing_to_do(&[]);
}
