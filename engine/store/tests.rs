//! The store's promises, one by one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::key::Label;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s")).unwrap();
    (folder, store)
}

fn record(what: &str) -> Record {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(Label::Kind, what);
    Record {
        key: fingerprint.key(),
        instance: what.to_owned(),
        kind: "test".to_owned(),
        files: Artifact::default(),
        metrics: Map::new(),
        notes: Vec::new(),
        fingerprint,
        provenance: Provenance { talkflow: "0".to_owned(), started: 0, seconds: 0.0, cores: 1, run: "r".to_owned() },
    }
}

fn publish(store: &Store, what: &str, text: &str) -> Published {
    let draft = store.draft().unwrap();
    fs::write(draft.folder().join("out"), text).unwrap();
    store.publish(draft, record(what)).unwrap()
}

fn found(store: &Store, what: &str) -> Option<String> {
    match store.lookup(&record(what).key).unwrap() {
        Lookup::Found(record) => Some(fs::read_to_string(store.blob(&record.files.0["out"].digest)).unwrap()),
        Lookup::Unknown | Lookup::Lost(_) => None,
    }
}

#[test]
fn what_is_published_is_found_and_a_draft_that_is_dropped_is_gone() {
    let (_folder, store) = store();
    let draft = store.draft().unwrap();
    fs::write(draft.folder().join("out"), "half").unwrap();
    let left = draft.folder().to_owned();
    drop(draft);
    assert!(!left.exists());
    assert_eq!(found(&store, "a"), None);
    publish(&store, "a", "one");
    assert_eq!(found(&store, "a").as_deref(), Some("one"));
}

#[test]
fn blobs_are_read_only_and_shared_by_contents() {
    let (_folder, store) = store();
    let one = publish(&store, "a", "same").record;
    let two = publish(&store, "b", "same").record;
    assert_eq!(one.files, two.files);
    let blob = store.blob(&one.files.0["out"].digest);
    assert!(fs::metadata(blob).unwrap().permissions().readonly());
    assert_eq!(store.shards("blobs").unwrap().len(), 1);
}

#[test]
fn the_first_result_of_a_key_stands_and_a_second_is_reported() {
    let (_folder, store) = store();
    assert!(publish(&store, "a", "first").conflict.is_none());
    assert!(publish(&store, "a", "first").conflict.is_none());
    let second = publish(&store, "a", "second");
    assert!(second.conflict.is_some());
    assert_eq!(found(&store, "a").as_deref(), Some("first"));
}

#[test]
fn anything_but_plain_files_is_refused() {
    let (_folder, store) = store();
    let draft = store.draft().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", draft.folder().join("out")).unwrap();
    assert!(matches!(store.publish(draft, record("a")), Err(StoreError::Io { .. })));
    assert_eq!(found(&store, "a"), None);
}

#[test]
fn a_record_that_is_torn_or_another_ones_is_no_result() {
    let (_folder, store) = store();
    publish(&store, "a", "one");
    publish(&store, "b", "two");
    let path = |what: &str| store.record_path(&record(what).key);
    fs::copy(path("b"), path("a")).unwrap();
    assert!(matches!(store.lookup(&record("a").key).unwrap(), Lookup::Lost(_)));
    let whole = fs::read(path("b")).unwrap();
    fs::write(path("b"), &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(store.lookup(&record("b").key).unwrap(), Lookup::Lost(_)));
    let (_, damage) = store.verify().unwrap();
    assert_eq!(damage.len(), 2);
    // Made again, it is found again.
    publish(&store, "a", "one");
    assert_eq!(found(&store, "a").as_deref(), Some("one"));
    assert_eq!(store.verify().unwrap().1, []);
}

#[test]
fn a_lease_is_one_holders_and_is_free_once_dropped() {
    let (_folder, store) = store();
    let key = record("a").key;
    let lease = store.lease(&key).unwrap();
    assert!(lease.is_some());
    assert!(store.lease(&key).unwrap().is_none());
    assert!(store.lease(&record("b").key).unwrap().is_some());
    drop(lease);
    assert!(store.lease(&key).unwrap().is_some());
}

#[test]
fn the_last_keys_survive_a_torn_line_and_strange_names() {
    let (_folder, store) = store();
    for name in ["plain", "with/slash", "..", "ä".repeat(200).as_str()] {
        let mut latest = store.latest(name).unwrap();
        latest.set("stage", record("a").key).unwrap();
        latest.set("stage", record("b").key).unwrap();
        assert_eq!(store.latest(name).unwrap().get("stage"), Some(&record("b").key), "{name}");
    }
    let path = store.root.join("latest/plain.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"instance\":\"st");
    fs::write(&path, text).unwrap();
    assert_eq!(store.latest("plain").unwrap().get("stage"), Some(&record("b").key));
    assert_eq!(store.manifests().unwrap().len(), 4);
}

#[test]
fn outside_files_are_digested_by_contents_whatever_their_stat_says() {
    let (folder, store) = store();
    let path = folder.path().join("data.csv");
    fs::write(&path, "one").unwrap();
    let files = store.outside_files(false);
    let first = files.digest(&path).unwrap();
    // Same size, and maybe the same time: too young to be remembered.
    fs::write(&path, "two").unwrap();
    assert_ne!(files.digest(&path).unwrap(), first);
    // Old enough to be remembered, and then changed with its times set back.
    let old = fs::File::options().write(true).open(&path).unwrap();
    let then = std::time::SystemTime::now() - Duration::from_secs(3600);
    old.set_modified(then).unwrap();
    let second = files.digest(&path).unwrap();
    fs::write(&path, "six").unwrap();
    old.set_modified(then).unwrap();
    assert_ne!(files.digest(&path).unwrap(), second, "the change time gives it away");
}

#[test]
fn garbage_is_what_no_manifest_has_as_its_last() {
    let (folder, store) = store();
    publish(&store, "old", "1");
    publish(&store, "new", "2");
    store.latest("m").unwrap().set("stage", record("new").key).unwrap();
    let dry = store.collect(Keep::Latest, true).unwrap();
    assert_eq!((dry.records, dry.blobs, dry.kept), (1, 1, 1));
    let open = || Store::open(&folder.path().join("s")).unwrap();
    assert_eq!(open().collect(Keep::LatestAnd(Duration::from_secs(3600)), false).unwrap().records, 0);
    assert_eq!(open().collect(Keep::Latest, false).unwrap(), dry);
    let store = open();
    assert_eq!((found(&store, "old"), found(&store, "new").as_deref()), (None, Some("2")));
    // Two processes: neither may throw away what the other reads.
    let other = open();
    assert!(matches!(other.collect(Keep::Latest, false), Err(StoreError::InUse { .. })));
}

#[test]
fn a_folder_that_is_no_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "all of it").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::NotAStore { .. })));
    fs::remove_file(folder.path().join("thesis.txt")).unwrap();
    fs::write(folder.path().join("format"), "99\n").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Format { .. })));
}
