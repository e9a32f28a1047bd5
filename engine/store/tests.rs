//! The store's promises, one by one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::key::Label;

mod damage;
mod power;

pub(super) fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s")).unwrap();
    (folder, store)
}

pub(super) fn record(what: &str) -> Record {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(Label::Kind, what);
    testing::record(what, fingerprint)
}

pub(super) fn publish(store: &Store, what: &str, text: &str) -> Published {
    let draft = store.draft().unwrap();
    fs::write(draft.folder().join("out"), text).unwrap();
    store.publish(draft, record(what)).unwrap()
}

pub(super) fn found(store: &Store, what: &str) -> Option<String> {
    match store.lookup(&record(what).key).unwrap() {
        Lookup::Found(record) => Some(fs::read_to_string(store.blob(&record.files.0["out"].digest)).unwrap()),
        Lookup::Unknown | Lookup::Lost(_) => None,
    }
}

/// Its name is as long as a digest, and has no place to cut where a digest is cut for people.
#[test]
fn a_file_of_somebody_else_in_the_store_is_neither_read_nor_removed() {
    let (_folder, store) = store();
    publish(&store, "a", "one");
    let strays = ["blobs", "actions"].map(|table| store.root().join(table).join("00").join(format!("x{}", "\u{e9}".repeat(40))));
    for stray in &strays {
        fs::create_dir_all(stray.parent().unwrap()).unwrap();
        fs::write(stray, "notes").unwrap();
    }
    let damage = store.verify(None, &|_, _| {}).unwrap().damage;
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(store.records().unwrap().len(), 1);
    assert!(strays.iter().all(|stray| stray.exists()));
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
fn of_a_draft_that_says_what_is_the_result_the_rest_is_removed() {
    let (_folder, store) = store();
    let mut draft = store.draft().unwrap();
    let left = draft.folder().to_owned();
    fs::create_dir(left.join("work")).unwrap();
    fs::write(left.join("work/made"), "made").unwrap();
    fs::write(left.join("work/other"), "other").unwrap();
    draft.only(vec![("a/b".to_owned(), left.join("work/made"))]);
    let record = store.publish(draft, record("a")).unwrap().record;
    assert_eq!(record.files.0.keys().collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(fs::read_to_string(store.blob(&record.files.0["a/b"].digest)).unwrap(), "made");
    assert!(!left.exists() && store.shards("blobs").unwrap().len() == 1);
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
    let damage = store.verify(None, &|_, _| {}).unwrap().damage;
    assert_eq!(damage.len(), 2);
    // Made again, it is found again.
    publish(&store, "a", "one");
    assert_eq!(found(&store, "a").as_deref(), Some("one"));
    assert_eq!(store.verify(None, &|_, _| {}).unwrap().damage, []);
}

#[test]
fn a_lease_is_one_holders_and_is_free_once_dropped() {
    let (_folder, store) = store();
    let key = record("a").key;
    let lease = store.lease(&key).unwrap();
    assert!(lease.is_ok());
    assert!(store.lease(&key).unwrap().is_err());
    assert!(store.lease(&record("b").key).unwrap().is_ok());
    drop(lease);
    assert!(store.lease(&key).unwrap().is_ok());
    assert_eq!(list(&store.root.join("leases")).unwrap(), Vec::<PathBuf>::new(), "a lease that ended leaves nothing");
}

#[test]
fn a_lease_is_never_held_twice_however_many_want_it() {
    let (_folder, store) = store();
    let key = record("a").key;
    let (holders, most, taken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let lease = match store.lease(&key).unwrap() {
                        Ok(lease) => lease,
                        Err(other) => other.wait().unwrap(),
                    };
                    most.fetch_max(holders.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    taken.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
    assert_eq!((most.into_inner(), taken.into_inner()), (1, 1600));
}

#[test]
fn the_last_keys_survive_a_torn_line_and_strange_names() {
    let (_folder, store) = store();
    for name in ["plain", "with/slash", "..", "ä".repeat(200).as_str()] {
        let mut latest = store.latest(name).unwrap();
        latest.set("stage", &record("a")).unwrap();
        latest.set("stage", &record("b")).unwrap();
        assert_eq!(store.latest(name).unwrap().get("stage"), Some(&record("b").key), "{name}");
    }
    let path = store.root.join("latest/plain.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"instance\":\"st");
    fs::write(&path, text).unwrap();
    assert_eq!(store.latest("plain").unwrap().get("stage"), Some(&record("b").key));
    assert_eq!(store.manifests().unwrap().len(), 4);
    // An editor's copy is not another manifest.
    fs::copy(&path, store.root.join("latest/plain.jsonl~")).unwrap();
    assert_eq!(store.manifests().unwrap().len(), 4);
}

#[test]
fn a_note_after_a_torn_line_is_a_line_of_its_own() {
    let (_folder, store) = store();
    let path = store.root.join("latest/m.jsonl");
    // Torn within an `é`: the rest of the file can still be read.
    for torn in [&b"{\"instance\":\"stage[genre=Caf\xc3"[..], b"{\"instance\":\"st", b"{\"instance\":\"stage\",\"key\":\"00\"}"] {
        fs::write(&path, torn).unwrap();
        assert_eq!(store.latest("m").unwrap().get("stage"), None);
        store.latest("m").unwrap().set("stage", &record("a")).unwrap();
        store.latest("m").unwrap().set("other", &record("b")).unwrap();
        let latest = store.latest("m").unwrap();
        assert_eq!((latest.get("stage"), latest.get("other")), (Some(&record("a").key), Some(&record("b").key)));
        assert_eq!(fs::read(&path).unwrap().split(|byte| *byte == b'\n').count(), 4, "one torn, two whole, the end");
    }
}

#[test]
fn no_note_is_lost_while_others_rewrite_the_file() {
    let (folder, store) = store();
    let root = folder.path().join("s");
    let records = [record("a"), record("b")];
    let lost: usize = std::thread::scope(|scope| {
        let note = |name: String| {
            let store = Store::open(&root).unwrap();
            let one = |n: usize| {
                // Reading rewrites the file whenever most of it is outdated.
                store.latest("m").unwrap().set(&name, &records[n % 2]).unwrap();
                usize::from(store.latest("m").unwrap().get(&name) != Some(&records[n % 2].key))
            };
            (0..150).map(one).sum::<usize>()
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || note(format!("stage-{thread}")))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(lost, 0);
    let lines = fs::read_to_string(store.root.join("latest/m.jsonl")).unwrap().lines().count();
    assert!(lines < 150, "{lines} lines: it was rewritten");
}

#[test]
fn what_is_remembered_can_be_read_where_nothing_can_be_written() {
    let (_folder, store) = store();
    let mut latest = store.latest("m").unwrap();
    for n in 0..201 {
        latest.set("stage", &record(["a", "b"][n % 2])).unwrap();
    }
    // As on a full disk: no draft can be made.
    fs::remove_dir(store.root.join("tmp")).unwrap();
    fs::write(store.root.join("tmp"), "").unwrap();
    assert_eq!(store.latest("m").unwrap().get("stage"), Some(&record("a").key));
}

#[test]
fn an_instance_is_expected_to_take_as_long_as_its_last_result_or_as_its_kind() {
    let (_folder, store) = store();
    let of = |what: &str, seconds: f64| {
        let mut made = record(what);
        made.provenance.seconds = seconds;
        made
    };
    let mut latest = store.latest("m").unwrap();
    assert_eq!(latest.expected([("a", "test")].into_iter()), [None]);
    latest.set("a", &of("one", 9.0)).unwrap();
    latest.set("a", &of("two", 1.0)).unwrap();
    latest.set("b", &of("one", 4.0)).unwrap();
    // A line of a store that knew no durations.
    fs::write(store.root.join("latest/n.jsonl"), line_without_seconds()).unwrap();
    assert_eq!(store.latest("n").unwrap().expected([("a", "test")].into_iter()), [None]);
    let asked = [("a", "test"), ("b", "test"), ("new", "test"), ("new", "other")];
    assert_eq!(store.latest("m").unwrap().expected(asked.into_iter()), [Some(1.0), Some(4.0), Some(2.5), None]);
}

fn line_without_seconds() -> String {
    format!("{{\"instance\":\"a\",\"key\":\"{}\"}}\n", record("a").key)
}

#[test]
fn a_log_is_kept_with_its_result_and_outlives_the_run() {
    let (folder, store) = store();
    let (_, run) = store.new_run(Duration::from_secs(1)).unwrap();
    let log = run.join("0.log");
    let draft = store.draft().unwrap();
    assert_eq!(store.publish_with_log(&draft, record("silent"), &log).unwrap().record.log, None);
    fs::write(&log, "said\n").unwrap();
    let made = record("a");
    let draft = store.draft().unwrap();
    store.publish_with_log(&draft, made, &log).unwrap();
    store.latest("m").unwrap().set("stage", &record("a")).unwrap();
    fs::remove_dir_all(&run).unwrap();
    drop(store);
    let store = Store::open(&folder.path().join("s")).unwrap();
    store.collect(&days(0), false).unwrap();
    let store = Store::open(&folder.path().join("s")).unwrap();
    let Lookup::Found(record) = store.lookup(&record("a").key).unwrap() else { panic!("it is gone") };
    assert_eq!(fs::read_to_string(store.blob(&record.log.unwrap().digest)).unwrap(), "said\n");
    // A log is no part of the artifact: without it the result is still whole.
    fs::remove_file(store.blob(&record.log.unwrap().digest)).unwrap();
    assert!(matches!(store.lookup(&record.key).unwrap(), Lookup::Found(_)));
}

#[test]
fn runs_that_begin_in_the_same_moment_have_names_and_folders_of_their_own() {
    let (folder, store) = store();
    let others: Vec<Store> = (0..4).map(|_| Store::open(&folder.path().join("s")).unwrap()).collect();
    let now = Duration::from_millis(1_767_225_600_999);
    let mut names: Vec<String> = std::thread::scope(|scope| {
        let one = |store| scope.spawn(move || (0..25).map(|_| Store::new_run(store, now).unwrap().0).collect::<Vec<_>>());
        let threads: Vec<_> = others.iter().map(one).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(store.new_run(Duration::from_secs(1_767_225_599)).unwrap().0, "20251231-235959-000");
    names.sort();
    names.dedup();
    assert_eq!((names.len(), names[0].as_str(), names[1].as_str()), (100, "20260101-000000-999", "20260101-000001-000"));
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
    let then = SystemTime::now() - Duration::from_secs(3600);
    old.set_modified(then).unwrap();
    let second = files.digest(&path).unwrap();
    fs::write(&path, "six").unwrap();
    old.set_modified(then).unwrap();
    assert_ne!(files.digest(&path).unwrap(), second, "the change time gives it away");
}

fn days(days: u64) -> Policy {
    Policy { older_than: Some(Duration::from_secs(days * 86_400)), ..Policy::default() }
}

/// Sets the time of a folder and what is in it to so many days ago.
fn age(folder: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 86_400);
    for path in list(folder).unwrap().iter().map(PathBuf::as_path).chain([folder]) {
        fs::File::open(path).unwrap().set_modified(then).unwrap();
    }
}

#[test]
fn checkpoints_that_a_training_could_go_on_from_are_no_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path()).unwrap();
    let checkpoint = |what: &str, days: u64| {
        let partial = open().partial(&record(what).key);
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("checkpoint"), "12345").unwrap();
        age(&partial, days);
    };
    let left = || {
        let whose = ["fresh", "week", "month", "done", "outdated"];
        whose.into_iter().filter(|what| open().partial(&record(what).key).exists()).collect::<Vec<_>>()
    };
    let collect = |keep: Policy| {
        let dry = open().collect(&keep, true).unwrap();
        let real = open().collect(&keep, false).unwrap();
        assert_eq!(dry, real);
        (real.checkpoints, real.checkpoint_bytes, real.kept_checkpoints)
    };
    publish(&open(), "done", "1");
    publish(&open(), "outdated", "2");
    open().latest("m").unwrap().set("stage", &record("done")).unwrap();
    for (what, days) in [("fresh", 0), ("week", 7), ("month", 30), ("done", 0), ("outdated", 0)] {
        checkpoint(what, days);
    }
    // A folder that is old, with a file in it that is not: a training wrote to it.
    let week = open().partial(&record("week").key);
    fs::File::open(&week).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(collect(days(60)), (2, 10, 3), "those of results, whether kept or not, are of no use");
    assert_eq!(left(), ["fresh", "week", "month"]);
    assert_eq!(collect(Policy::default()), (1, 5, 2));
    assert_eq!(left(), ["fresh", "week"]);
    assert_eq!(collect(days(3)), (1, 5, 1));
    assert_eq!(left(), ["fresh"]);
    assert_eq!(collect(days(0)), (1, 5, 0));
    assert_eq!(left(), Vec::<&str>::new());
}

#[test]
fn a_checkpoint_of_a_result_that_was_lost_is_still_of_use() {
    let (folder, store) = store();
    publish(&store, "a", "1");
    let (damaged, partial) = (store.record_path(&record("a").key), store.partial(&record("a").key));
    fs::write(damaged, "{").unwrap();
    fs::create_dir_all(&partial).unwrap();
    let collected = store.collect(&Policy::default(), false).unwrap();
    assert_eq!((collected.records, collected.checkpoints), (1, 0));
    assert!(partial.exists());
    drop(folder);
}

#[test]
fn the_last_runs_stay_and_those_within_the_time_kept() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path()).unwrap();
    for n in 0..8 {
        let run = open().new_run(Duration::from_secs(1_767_225_600 + 86_400 * n)).unwrap().1;
        fs::write(run.join("events.jsonl"), "{}").unwrap();
        age(&run, 10 * (8 - n));
    }
    let left = || list(&open().runs()).unwrap().len();
    for (keep, removed) in [(Policy { keep_runs: 2, ..days(45) }, 4), (Policy { keep_runs: 3, ..Policy::default() }, 1)] {
        let before = left();
        let dry = open().collect(&keep, true).unwrap();
        assert_eq!((dry.runs, dry.run_bytes, dry.kept_runs, left()), (removed, 2 * removed as u64, before - removed, before));
        assert_eq!(open().collect(&keep, false).unwrap(), dry);
        assert_eq!(left(), before - removed);
    }
    assert!(open().runs().join("20260108-000000-000").exists());
    assert_eq!(open().collect(&days(0), false).unwrap().runs, 0, "the last hundred stay");
}

#[test]
fn any_number_of_processes_may_make_a_store_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let root = folder.path().join(round.to_string());
        let begin = std::sync::Barrier::new(16);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (root, begin) = (&root, &begin);
                scope.spawn(move || {
                    begin.wait();
                    let what = thread.to_string();
                    let store = Store::open(root).unwrap();
                    assert!(is_made(&store.root).unwrap());
                    publish(&store, &what, &what);
                    assert_eq!(found(&store, &what), Some(what));
                });
            }
        });
        let store = Store::open(&root).unwrap();
        assert_eq!(store.records().unwrap().len(), 16);
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), format!("{FORMAT}\n"));
        assert!(fs::read_to_string(root.join("CACHEDIR.TAG")).unwrap().ends_with("talkflow\n"));
        assert_eq!(list(&root.join("tmp")).unwrap(), Vec::<PathBuf>::new());
    }
}

#[test]
fn drafts_are_their_makers_and_are_cleared_once_nobody_uses_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path()).unwrap();
    open();
    // As two containers whose processes have the same number.
    let (one, two) = (open(), open());
    let (first, second) = (one.draft().unwrap(), two.draft().unwrap());
    assert_ne!(first.folder(), second.folder());
    fs::write(first.folder().join("out"), "first").unwrap();
    drop((open(), two, second));
    assert_eq!(fs::read_to_string(first.folder().join("out")).unwrap(), "first");
    // Killed: the draft stays, the lock does not.
    let left = first.folder().to_owned();
    std::mem::forget(first);
    drop(one);
    assert!(left.exists());
    open();
    assert!(!left.exists());
}

#[test]
fn a_file_that_cannot_be_written_leaves_no_draft() {
    let (_folder, store) = store();
    assert!(store.write_whole(&store.root.join("format/below/a/file"), b"text").is_err());
    assert_eq!(list(&store.root.join("tmp")).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn a_store_copied_without_its_empty_folders_is_whole_again() {
    let (folder, store) = store();
    let root = store.root.clone();
    drop(store);
    for name in FOLDERS {
        fs::remove_dir(root.join(name)).unwrap();
    }
    let store = Store::open(&folder.path().join("s")).unwrap();
    assert!(store.lease(&record("a").key).unwrap().is_ok());
    publish(&store, "a", "one");
    assert_eq!(found(&store, "a").as_deref(), Some("one"));
}

#[test]
fn several_may_verify_at_once() {
    let (_folder, store) = store();
    for n in 0..30 {
        let blob = store.blob(&publish(&store, &n.to_string(), &n.to_string()).record.files.0["out"].digest);
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, "?").unwrap();
        fs::write(store.record_path(&record(&n.to_string()).key), "{").unwrap();
    }
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| store.verify(None, &|_, _| {}).unwrap())));
    });
    assert_eq!(store.verify(None, &|_, _| {}).unwrap(), Verified::default());
}

#[test]
fn a_folder_that_is_no_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "all of it").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::NotAStore { .. })));
    fs::remove_file(folder.path().join("thesis.txt")).unwrap();
    fs::write(folder.path().join("format"), "99\n").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Format { .. })));
    assert_eq!(list(folder.path()).unwrap().len(), 1);
}

#[test]
fn folders_that_are_called_as_ours_are_not_ours_yet() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("tmp/thesis.txt");
    fs::create_dir(folder.path().join("tmp")).unwrap();
    fs::write(&theirs, "all of it").unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::NotAStore { .. })));
    assert!(theirs.exists());
    // Downloads go there where a user has no cache, before anything runs.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("downloads")).unwrap();
    Store::open(folder.path()).unwrap();
}
