//! The machine goes down. The disk then has, of what was not synced, any part: simulated by a copy of the store that was taken
//! while it was in use, with the marker of another boot and files short, zeroed or missing.

use super::*;
use crate::store::{seal, unsynced::Marker};

fn in_run(what: &str, run: &str) -> Record {
    let mut record = record(what);
    record.provenance.run = run.to_owned();
    record
}

fn publish_in(store: &Store, what: &str, text: &str, run: &str) {
    let draft = store.draft().unwrap();
    fs::write(draft.folder().join("out"), text).unwrap();
    store.publish(draft, in_run(what, run)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in list(from).unwrap() {
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => assert!(fs::copy(&path, &to).is_ok()),
        }
    }
}

/// A copy of a store in use, as a disk that another boot finds.
fn after_a_power_cut(store: &Store, folder: &Path) -> PathBuf {
    let root = folder.join("after");
    copy(&store.root, &root);
    for path in list(&root.join("unsynced")).unwrap() {
        let mut marker: Marker = seal::unseal(&fs::read(&path).unwrap()).unwrap();
        marker.boot = "another".to_owned();
        fs::write(path, seal::seal(&marker).unwrap()).unwrap();
    }
    root
}

fn damage(path: &Path, contents: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, contents).unwrap();
}

fn markers(root: &Path) -> usize {
    list(&root.join("unsynced")).unwrap().len()
}

#[test]
fn a_marker_stands_from_the_first_publication_to_the_sync() {
    let (_folder, mut store) = store();
    assert_eq!(markers(&store.root), 0);
    publish(&store, "a", "1");
    publish(&store, "b", "2");
    assert_eq!(markers(&store.root), 1);
    store.sync().unwrap();
    assert_eq!(markers(&store.root), 0);
    publish(&store, "c", "3");
    assert_eq!(markers(&store.root), 1);
    let root = store.root.clone();
    drop(store);
    assert_eq!(markers(&root), 0, "a process that ends syncs");
}

#[test]
fn what_the_disk_lost_is_set_aside_and_the_rest_stays() {
    let (folder, mut store) = store();
    publish_in(&store, "old", "of an earlier run", "before");
    store.sync().unwrap();
    for what in ["whole", "zeroed", "short", "missing", "torn", "no record"] {
        publish_in(&store, what, what, "run");
    }
    let root = after_a_power_cut(&store, folder.path());
    drop(store);
    let blob = |what: &str| {
        let digest = Digest::of(what.as_bytes()).to_string();
        root.join("blobs").join(&digest[..2]).join(digest)
    };
    let record_of = |what: &str| {
        let key = record(what).key.to_string();
        root.join("actions").join(&key[..2]).join(format!("{key}.json"))
    };
    damage(&blob("zeroed"), &[0; 6]);
    damage(&blob("short"), b"sho");
    fs::remove_file(blob("missing")).unwrap();
    let text = fs::read(record_of("torn")).unwrap();
    damage(&record_of("torn"), &text[..100]);
    fs::remove_file(record_of("no record")).unwrap();
    damage(&blob("no record"), &[0; 9]);
    // A file of a run that was synced is not read again: here, as a sign, one that would be found damaged.
    damage(&blob("of an earlier run"), b"of an EARLIER run");
    let opened = Store::open(&root).unwrap();
    let mut aside: Vec<_> = opened.recovered().damaged.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    let mut expected: Vec<_> = [blob("zeroed"), blob("short"), blob("no record"), record_of("torn")]
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    aside.sort();
    expected.sort();
    assert_eq!(aside, expected);
    assert_eq!(opened.recovered().read, 6 + 5, "records, and blobs of the run or of nobody");
    assert_eq!(found(&opened, "whole").as_deref(), Some("whole"));
    for what in ["zeroed", "short", "missing", "torn", "no record"] {
        assert_eq!(found(&opened, what), None, "{what}");
        publish_in(&opened, what, what, "next");
        assert_eq!(found(&opened, what).as_deref(), Some(what));
    }
    drop(opened);
    assert_eq!(markers(&root), 0);
    assert_eq!(Store::open(&root).unwrap().recovered(), &Recovered::default(), "once");
}

#[test]
fn a_marker_that_cannot_be_read_stands_for_everything() {
    let (folder, store) = store();
    publish_in(&store, "a", "1", "one run");
    publish_in(&store, "b", "2", "another");
    let root = after_a_power_cut(&store, folder.path());
    drop(store);
    for marker in list(&root.join("unsynced")).unwrap() {
        let mut text = fs::read(&marker).unwrap();
        text[3] ^= 1;
        fs::write(marker, text).unwrap();
    }
    assert_eq!(Store::open(&root).unwrap().recovered().read, 4);
}

#[test]
fn a_killed_process_leaves_its_marker_until_somebody_has_synced() {
    let (folder, store) = store();
    publish_in(&store, "a", "1", "killed");
    // Of the same boot, and nobody holds it.
    let root = folder.path().join("after");
    copy(&store.root, &root);
    drop(store);
    let mut opened = Store::open(&root).unwrap();
    assert_eq!(opened.recovered(), &Recovered::default(), "what it wrote is in the system's cache");
    assert_eq!((found(&opened, "a").as_deref(), markers(&root)), (Some("1"), 1));
    opened.sync().unwrap();
    assert_eq!(markers(&root), 0);
}

#[test]
fn a_living_process_keeps_its_marker_whatever_others_do() {
    let (folder, store) = store();
    publish(&store, "a", "1");
    let mut other = Store::open(&folder.path().join("s")).unwrap();
    other.sync().unwrap();
    drop(other);
    assert_eq!(markers(&store.root), 1);
}

#[test]
fn any_number_of_processes_may_find_the_machine_was_down() {
    let (folder, store) = store();
    for n in 0..40 {
        publish_in(&store, &n.to_string(), &n.to_string(), "run");
    }
    let root = after_a_power_cut(&store, folder.path());
    drop(store);
    for path in store_blobs(&root).iter().step_by(2) {
        damage(path, b"");
    }
    let read: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let open = || {
            let store = Store::open(&root).unwrap();
            // Whoever is in may use it: all has been read again.
            let whole = (0..40).filter(|n: &i32| found(&store, &n.to_string()) == Some(n.to_string())).count();
            assert_eq!(whole, 20);
            (store.recovered().read, store.recovered().damaged.len())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(read.iter().filter(|read| **read == (80, 20)).count(), 1, "{read:?}");
    assert_eq!(read.iter().filter(|read| **read == (0, 0)).count(), 7, "{read:?}");
}

fn store_blobs(root: &Path) -> Vec<PathBuf> {
    list(&root.join("blobs")).unwrap().iter().flat_map(|shard| list(shard).unwrap()).collect()
}
