//! The store's own files: a record, the last keys of a manifest's instances, digests of files outside.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use talkflow::artifact::Digest;
use talkflow::key::{ActionKey, Fingerprint, Label};
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

fn seeds() -> Vec<Vec<u8>> {
    let key = fingerprint().key();
    let digest = Digest::of(b"contents");
    let record = serde_json::json!({
        "key": key, "instance": "split[seed=1]", "kind": "split",
        "files": { "split.json": { "digest": digest, "size": 8 } },
        "metrics": { "train": 80, "rmse": 0.5, "name": "x" }, "notes": ["a note"], "fingerprint": fingerprint(),
        "provenance": { "talkflow": "0.1.0", "started": 1, "seconds": 0.5, "cores": 1, "run": "20260101-000000-1" },
    });
    let latest = format!("{{\"instance\":\"a\",\"key\":\"{key}\"}}\n{{\"instance\":\"b[x=1]\",\"key\":\"{key}\"}}\n");
    let outside = serde_json::json!({ "/a/file": { "stat": [1, 2, 3, 4, 5, 6, 7], "digest": digest } });
    vec![chosen(0, record.to_string()), chosen(1, latest), chosen(2, outside.to_string())]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let store = store();
    let key = fingerprint().key();
    let name = key.to_string();
    let path = match kind % 3 {
        0 => store.root().join("actions").join(&name[..2]).join(format!("{name}.json")),
        1 => store.root().join("latest/m.jsonl"),
        _ => store.root().join("files.json"),
    };
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("TMPDIR can be written");
    std::fs::write(&path, text).expect("TMPDIR can be written");
    let blob = store.blob(&Digest::of(b"contents"));
    std::fs::create_dir_all(blob.parent().expect("a folder")).expect("TMPDIR can be written");
    std::fs::write(blob, b"contents").expect("TMPDIR can be written");
    match kind % 3 {
        0 => {
            let _ = (store.lookup(&key), store.records());
            if let Ok(Some(record)) = store.records().map(|records| records.into_iter().next()) {
                record.fingerprint.changes_since(&fingerprint()).iter().for_each(|change| drop(change.to_string()));
                let _ = (record.files.digest(), record.files.size());
                assert!(record.files.0.keys().all(|name| !name.contains("..") && !name.starts_with('/')), "{record:?}");
            }
            let _ = store.verify(None, &|_, _| {}).map(|verified| verified.damage.iter().for_each(|damage| drop(damage.to_string())));
        }
        1 => {
            let latest = store.latest("m").expect("a file that can be read");
            latest.iter().for_each(|(_, key)| drop::<ActionKey>(*key));
        }
        _ => {
            let files = store.outside_files(false);
            let _ = files.digest(&path);
            let _ = store.remember(&files);
        }
    }
    let _ = std::fs::remove_file(path);
});
