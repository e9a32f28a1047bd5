//! A bit flipped in each kind of stored file, and each file cut off at each length: what was written comes back, or nothing
//! does, or a clear error; never anything else.

use super::*;

/// A file's contents with one bit flipped, for each bit, and its beginnings, the empty one first.
fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..whole.len() * 8).map(|bit| {
        let mut other = whole.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        other
    });
    flipped.chain((0..whole.len()).map(|length| whole[..length].to_vec()))
}

/// Puts other contents into a file, write-protected or not.
fn overwrite(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// As another process would: what this one has read is forgotten.
fn forget(store: &Store) {
    store.proven.lock().unwrap().clear();
}

#[test]
fn a_damaged_record_is_no_result() {
    let (_folder, store) = store();
    publish(&store, "a", "one");
    let path = store.record_path(&record("a").key);
    let whole = fs::read(&path).unwrap();
    for damaged in damaged(&whole) {
        overwrite(&path, &damaged);
        assert!(matches!(store.lookup(&record("a").key).unwrap(), Lookup::Lost(_)), "{}", String::from_utf8_lossy(&damaged));
        assert_eq!(store.records().unwrap().len(), 0);
    }
    // Made again, it takes the damaged one's place, which is kept for whoever wants to see it.
    publish(&store, "a", "one");
    assert_eq!(found(&store, "a").as_deref(), Some("one"));
    assert_eq!(list(&store.root.join("damaged")).unwrap().len(), 1);
}

#[test]
fn a_damaged_blob_is_noticed_before_it_is_read_and_set_aside() {
    let (_folder, store) = store();
    let files = publish(&store, "a", "contents").record.files;
    let blob = store.blob(&files.0["out"].digest);
    for damaged in damaged(b"contents") {
        overwrite(&blob, &damaged);
        forget(&store);
        let not_whole = store.prove(&files).unwrap();
        assert_eq!(not_whole.len(), 1);
        let aside = not_whole[0].aside.clone().unwrap();
        assert_eq!(fs::read(aside).unwrap(), damaged);
        assert!(!blob.exists());
        assert!(matches!(store.lookup(&record("a").key).unwrap(), Lookup::Lost(_)));
    }
    forget(&store);
    assert!(store.prove(&files).unwrap()[0].aside.is_some(), "it is still there");
    fs::remove_dir_all(store.root.join("damaged")).unwrap();
    fs::create_dir(store.root.join("damaged")).unwrap();
    let missing = NotWhole { file: "out".to_owned(), aside: None };
    assert_eq!(store.prove(&files).unwrap(), [missing]);
    publish(&store, "a", "contents");
    forget(&store);
    assert_eq!(store.prove(&files).unwrap(), []);
    assert_eq!(store.proven("out", &files.0["out"]).unwrap(), blob);
}

#[test]
fn a_blob_is_made_again_over_a_damaged_one_of_the_same_name_and_size() {
    let (_folder, store) = store();
    let blob = store.blob(&publish(&store, "a", "contents").record.files.0["out"].digest);
    overwrite(&blob, b"CONTENTS");
    forget(&store);
    publish(&store, "b", "contents");
    assert_eq!((found(&store, "a").as_deref(), found(&store, "b").as_deref()), (Some("contents"), Some("contents")));
}

#[test]
fn a_whole_blob_is_not_replaced_by_an_equal_one() {
    let (_folder, store) = store();
    let blob = store.blob(&publish(&store, "a", "same").record.files.0["out"].digest);
    let before = fs::metadata(&blob).unwrap().ino();
    forget(&store);
    publish(&store, "b", "same");
    assert_eq!(fs::metadata(&blob).unwrap().ino(), before);
}

#[test]
fn a_damaged_note_is_no_note_and_the_others_stay() {
    let (_folder, store) = store();
    for (stage, what) in [("stage", "a"), ("stage", "b"), ("other", "a")] {
        store.latest("m").unwrap().set(stage, &record(what)).unwrap();
    }
    let path = store.root.join("latest/m.jsonl");
    let whole = fs::read(&path).unwrap();
    let (a, b) = (record("a").key, record("b").key);
    for damaged in damaged(&whole) {
        overwrite(&path, &damaged);
        let latest = store.latest("m").unwrap();
        assert!([None, Some(&a), Some(&b)].contains(&latest.get("stage")));
        assert!([None, Some(&a)].contains(&latest.get("other")));
        assert!(latest.iter().all(|(name, _)| ["stage", "other"].contains(&name)));
        assert!(
            damaged.len() < whole.len() || latest.get("stage").is_some() || latest.get("other").is_some(),
            "one bit, two lines"
        );
    }
}

#[test]
fn damaged_digests_of_outside_files_are_not_believed() {
    let (folder, store) = store();
    let data = folder.path().join("data.csv");
    fs::write(&data, "one").unwrap();
    age(folder.path(), 1);
    let mut files = store.outside_files(false);
    // The change time is of now: so that it is remembered, later.
    files.now = later;
    let digest = files.digest(&data).unwrap();
    store.remember(&files).unwrap();
    let path = store.root.join("files.json");
    let whole = fs::read(&path).unwrap();
    assert!(String::from_utf8_lossy(&whole).contains("data.csv"), "it is remembered");
    for damaged in damaged(&whole) {
        overwrite(&path, &damaged);
        let mut files = store.outside_files(false);
        files.now = later;
        assert_eq!(files.digest(&data).unwrap(), digest);
    }
}

/// An hour from now.
fn later() -> i64 {
    let since = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap() + 3600
}

#[test]
fn what_was_remembered_by_a_clock_ahead_of_this_one_is_read_again() {
    let (folder, store) = store();
    let data = folder.path().join("data.csv");
    fs::write(&data, "one").unwrap();
    let mut files = store.outside_files(false);
    files.now = later;
    files.digest(&data).unwrap();
    // The clock went back by an hour, so what was remembered then proves nothing: as a sign, a wrong digest.
    files.corrupt(&data, Digest::of(b"wrong"));
    assert_eq!(files.digest(&data).unwrap(), Digest::of(b"wrong"));
    files.now = now;
    assert_eq!(files.digest(&data).unwrap(), Digest::of(b"one"));
}

fn now() -> i64 {
    later() - 3600
}

#[test]
fn files_with_times_in_the_future_are_read_each_time() {
    let (folder, store) = store();
    let data = folder.path().join("data.csv");
    fs::write(&data, "one").unwrap();
    let future = SystemTime::now() + Duration::from_secs(86_400);
    let set = |text: &str| {
        fs::write(&data, text).unwrap();
        fs::File::options().write(true).open(&data).unwrap().set_modified(future).unwrap();
    };
    let files = store.outside_files(false);
    for text in ["one", "two", "six"] {
        set(text);
        assert_eq!(files.digest(&data).unwrap(), Digest::of(text.as_bytes()));
    }
    store.remember(&files).unwrap();
    assert!(!String::from_utf8_lossy(&fs::read(store.root.join("files.json")).unwrap()).contains("data.csv"));
}

#[test]
fn a_damaged_format_is_a_clear_error_and_nothing_is_touched() {
    let (folder, store) = store();
    publish(&store, "a", "one");
    let root = store.root.clone();
    drop(store);
    let whole = fs::read(root.join("format")).unwrap();
    for damaged in damaged(&whole) {
        overwrite(&root.join("format"), &damaged);
        match Store::open(&root) {
            // Another line end.
            Ok(store) => assert_eq!(found(&store, "a").as_deref(), Some("one")),
            Err(StoreError::Format { .. }) => {}
            Err(error @ StoreError::Unreadable { .. }) => assert!(error.to_string().contains("store verify"), "{error}"),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(fs::read(root.join("format")).unwrap(), damaged);
    }
    overwrite(&root.join("format"), &whole);
    assert_eq!(found(&Store::open(&root).unwrap(), "a").as_deref(), Some("one"));
    drop(folder);
}

#[test]
fn files_that_say_nothing_may_say_anything() {
    let (_folder, store) = store();
    publish(&store, "a", "one");
    let root = store.root.clone();
    drop(store);
    for name in ["lock", ".gitignore", "CACHEDIR.TAG"] {
        for contents in [&b""[..], b"\xff\xfe", b"anything"] {
            overwrite(&root.join(name), contents);
            assert_eq!(found(&Store::open(&root).unwrap(), "a").as_deref(), Some("one"), "{name}");
        }
    }
}
