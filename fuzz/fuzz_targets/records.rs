//! The store's own files: records, last keys, digests of files outside, pins, views, and what a run's folder keeps.
//!
//! What is sealed is sealed here, line by line, or nothing but the seal would be tried.

#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use talkflow::artifact::{Artifact, Digest};
use talkflow::history;
use talkflow::key::{Fingerprint, Label};
use talkflow::store::Store;
use talkflow_fuzz::{choice, chosen, scratch};

fn store() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| Store::open(&scratch().join("store")).expect("a store"))
}

fn fingerprint() -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    for (label, value) in [(Label::Format, "1"), (Label::Kind, "split"), (Label::Setting("seed".to_owned()), "1")] {
        fingerprint.add(label, value);
    }
    fingerprint
}

/// The bytes with a seal in each line that is an object: `,"check":"DIGEST"` before its last bracket.
fn sealed(text: &[u8]) -> Vec<u8> {
    let seal = |line: &[u8]| match line.trim_ascii_end().strip_suffix(b"}") {
        Some(body) => [body, b",\"check\":\"", Digest::of(body).to_string().as_bytes(), b"\"}\n"].concat(),
        None => [line, b"\n"].concat(),
    };
    text.split(|byte| *byte == b'\n').flat_map(seal).collect()
}

/// The files by the byte that chooses them, and whether they are sealed.
fn files() -> [(PathBuf, bool); 8] {
    let root = store().root();
    let name = fingerprint().key().to_string();
    let run = root.join("runs/20260101-000000-1");
    [
        (root.join("actions").join(&name[..2]).join(format!("{name}.json")), true),
        (root.join("latest/m.jsonl"), true),
        (root.join("files.json"), true),
        (root.join("pins").join(format!("{name}.json")), false),
        (run.join("events.jsonl"), false),
        (run.join("run.json"), false),
        (run.join("resolved.json"), false),
        (root.join("out/m/.view.json"), false),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let key = fingerprint().key();
    let digest = Digest::of(b"contents");
    let record = serde_json::json!({
        "key": key, "instance": "split[seed=1]", "kind": "split",
        "files": { "split.json": { "digest": digest, "size": 8 } },
        "metrics": { "train": 80, "rmse": 0.5, "name": "x" }, "notes": ["a note"], "fingerprint": fingerprint(),
        "provenance": {
            "talkflow": "0.1.0", "started": 1, "seconds": 0.5, "cores": 1, "run": "20260101-000000-1", "manifest": "m",
            "usage": { "cpu_seconds": 0.5, "peak_memory": 1000 },
        },
    });
    let latest = format!(
        "{{\"instance\":\"a\",\"key\":\"{key}\",\"kind\":\"split\",\"seconds\":0.5}}\n{{\"instance\":\"b[x=1]\",\"key\":\"{key}\"}}"
    );
    let outside =
        serde_json::json!({ "entries": { "/a/file": { "stat": [1, 2, 3, 4, 5, 6, 7], "digest": digest, "taken": 1 } } });
    let pin = serde_json::json!({ "what": { "result": key }, "of": "split", "note": "keep", "since": 1, "keys": [key] });
    let events = [
        r#"{"at":0.0,"event":"run_started","run":"20260101-000000-1","manifest":"m","stages":1,"cores":2}"#,
        r#"{"at":0.1,"event":"started","index":0,"stage":"split","reason":"first_run","attempt":1}"#,
        r#"{"at":0.2,"event":"failed","index":0,"stage":"split","causes":["a","b"],"retry":false}"#,
        r#"{"at":0.3,"event":"run_finished","ran":0,"cached":0,"failed":1,"skipped":0,"seconds":0.3}"#,
    ];
    let about = r#"{"run":"20260101-000000-1","manifest":{"name":"m","path":"m.yaml"},"wanted":"all","started":1.0,"ended":2.0,"exit":0}"#;
    let resolved = r#"{"params":[{"path":"seed","value":"1"}],"stages":[{"name":"split"}]}"#;
    let view = serde_json::json!({ "split": digest });
    let texts = [
        record.to_string(),
        latest,
        outside.to_string(),
        pin.to_string(),
        events.join("\n"),
        about.to_owned(),
        resolved.to_owned(),
        view.to_string(),
    ];
    (0..).zip(texts).map(|(number, text)| chosen(number, text)).collect()
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let store = store();
    let key = fingerprint().key();
    let number = usize::from(kind) % 8;
    let (path, seal) = files().into_iter().nth(number).expect("one of eight");
    let write = |path: &PathBuf, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("TMPDIR can be written");
        let _ = std::fs::remove_file(path);
        std::fs::write(path, bytes).expect("TMPDIR can be written");
    };
    write(&path, &if seal { sealed(text) } else { text.to_vec() });
    let blob = store.blob(&Digest::of(b"contents"));
    write(&blob, b"contents");
    match number {
        0 => {
            let _ = store.lookup(&key);
            for record in store.records().expect("files that can be read") {
                record.fingerprint.changes_since(&fingerprint()).iter().for_each(|change| drop(change.to_string()));
                let _ = (record.files.digest(), record.files.size());
                let inside = |name: &String| !name.starts_with('/') && name.split('/').all(|part| part != "..");
                assert!(record.files.0.keys().all(inside), "{record:?}");
            }
            let _ = store.verify(None, &|_, _| {}).map(|found| found.damage.iter().for_each(|damage| drop(damage.to_string())));
        }
        1 => {
            let latest = store.latest("m").expect("a file that can be read");
            assert!(latest.iter().all(|(instance, key)| latest.get(instance) == Some(key)));
        }
        2 => {
            let files = store.outside_files(false);
            let _ = files.digest(&path);
            let _ = store.remember(&files);
        }
        3 => drop(store.pins()),
        4..=6 => {
            for run in history::runs(store).expect("a folder that can be read") {
                let _ = (run.about(), run.params(), run.goes_on(), store.keys_of_run(&run.id));
                run.stages().iter().for_each(|stage| drop(stage.why()));
            }
        }
        _ => {
            let artifact = Artifact::default();
            let _ = store.show_latest("m", &BTreeMap::from([("split", Some(&artifact))]));
        }
    }
    let _ = std::fs::remove_file(path);
});
