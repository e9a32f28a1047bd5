//! What stays and what goes: policies, pins, processes at work, views, and other stores.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::time::SystemTime;
use std::{
    collections::BTreeSet,
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use super::{
    tests::{found, publish, record, store},
    *,
};
use crate::key::Label;

const DAY: u64 = 86_400;

/// Publishes as part of a chain: the result was made from `inputs`.
fn made_from(store: &Store, what: &str, text: &str, inputs: &[&Record]) -> Record {
    let draft = store.draft().unwrap();
    fs::write(draft.folder().join("out"), text).unwrap();
    let mut of = record(what);
    for (place, input) in inputs.iter().enumerate() {
        of.fingerprint.add(Label::Input(place.to_string()), input.files.digest().to_string());
    }
    of.key = of.fingerprint.key();
    store.publish(draft, of).unwrap().record
}

/// Sets when a result was last used.
fn used(store: &Store, of: &Record, days_ago: u64) {
    let then = SystemTime::now() - Duration::from_secs(days_ago * DAY);
    fs::File::open(store.record_path(&of.key)).unwrap().set_modified(then).unwrap();
}

fn names(store: &Store) -> Vec<String> {
    let mut names: Vec<String> = store.survey().unwrap().held().map(|held| held.instance.clone()).collect();
    names.sort();
    names
}

/// What a dry run says is what then goes.
fn collect(root: &Path, policy: &Policy) -> Vec<String> {
    let store = Store::open(root).unwrap();
    let before = names(&store);
    let dry = store.collect(policy, true).unwrap();
    assert_eq!(names(&store), before, "a dry run removes nothing");
    let real = store.collect(policy, false).unwrap();
    assert_eq!(real, dry);
    let left: BTreeSet<String> = names(&store).into_iter().collect();
    let gone: BTreeSet<String> = real.results.iter().map(|gone| gone.stage.clone()).collect();
    assert_eq!(before.iter().filter(|name| !left.contains(*name)).cloned().collect::<BTreeSet<_>>(), gone);
    // What is left is whole.
    assert_eq!(store.verify(None, &|_, _| {}).unwrap().damage, []);
    left.into_iter().collect()
}

/// Six results, one a day, the last of them the oldest; `a` and `b` are last results of manifests.
fn six(root: &Path) -> Vec<Record> {
    let store = Store::open(root).unwrap();
    let records: Vec<Record> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .enumerate()
        .map(|(days, what)| {
            let made = publish(&store, what, &what.repeat(100)).record;
            used(&store, &made, days as u64 * 10);
            made
        })
        .collect();
    store.latest("one").unwrap().set("stage", &records[0]).unwrap();
    store.latest("two").unwrap().set("stage", &records[1]).unwrap();
    records
}

#[test]
fn each_policy_lets_go_what_it_says_and_together_they_agree() {
    let days = |n: u64| Some(Duration::from_secs(n * DAY + DAY / 2));
    let default = Policy::default;
    let cases: [(&str, Policy); 9] = [
        ("ab", default()),
        ("abc", Policy { older_than: days(20), ..default() }),
        ("abc", Policy { max_count: Some(3), ..default() }),
        ("abcd", Policy { max_size: Some(400), ..default() }),
        ("abcd", Policy { max_size: Some(499), ..default() }),
        ("abcde", Policy { max_size: Some(100), older_than: days(40), ..default() }),
        // Last results are let go by nobody who was not asked to.
        ("ab", Policy { max_count: Some(0), ..default() }),
        ("a", Policy { max_count: Some(1), include_latest: true, ..default() }),
        ("a", Policy { forget: vec!["two".to_owned()], ..default() }),
    ];
    for (left, policy) in cases {
        let folder = tempfile::tempdir().unwrap();
        six(folder.path());
        assert_eq!(collect(folder.path(), &policy).concat(), left, "{policy:?}");
    }
}

#[test]
fn the_last_results_of_each_stage_stay_as_many_as_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for (made, what) in ["1", "2", "3", "4"].iter().enumerate() {
        for stage in ["s", "t"] {
            let draft = store.draft().unwrap();
            fs::write(draft.folder().join("out"), what).unwrap();
            let mut of = record(&format!("{stage}{what}"));
            of.instance = stage.to_owned();
            of.provenance.started = made as u64;
            of.notes = vec![(*what).to_owned()];
            store.publish(draft, of).unwrap();
        }
    }
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    store.collect(&Policy { keep_last: Some(2), ..Policy::default() }, false).unwrap();
    let mut left: Vec<String> = store.records().unwrap().iter().map(|r| format!("{}{}", r.instance, r.notes[0])).collect();
    left.sort();
    assert_eq!(left, ["s3", "s4", "t3", "t4"]);
}

#[test]
fn shared_files_go_with_the_last_result_that_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for (days, what) in ["new", "middle", "old"].iter().enumerate() {
        let made = publish(&store, what, if *what == "middle" { "other" } else { "shared" }).record;
        used(&store, &made, days as u64);
    }
    drop(store);
    // Letting `old` go frees nothing: `new` has the same file. So `middle` goes too.
    let policy = Policy { max_size: Some(6), ..Policy::default() };
    assert_eq!(collect(folder.path(), &policy), ["new"]);
}

#[test]
fn a_pin_keeps_a_result_and_all_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path()).unwrap();
    let chain = {
        let store = open();
        let rows = made_from(&store, "rows", "rows", &[]);
        let split = made_from(&store, "split", "split", &[&rows]);
        let model = made_from(&store, "model", "model", &[&split, &rows]);
        made_from(&store, "beside", "beside", &[&rows]);
        model
    };
    let pinned = Pinned::Result(chain.key);
    open().pin(pinned.clone(), "model", Some("for the paper"), vec![chain.key]).unwrap();
    let everything = Policy { include_latest: true, max_count: Some(0), ..Policy::default() };
    assert_eq!(collect(folder.path(), &everything), ["model", "rows", "split"]);
    assert_eq!(open().pins().unwrap()[0].note.as_deref(), Some("for the paper"));
    // A pin that cannot be understood keeps everything: what it held is not to be guessed.
    let file = folder.path().join(format!("pins/{}.json", chain.key));
    let text = fs::read(&file).unwrap();
    fs::write(&file, "{").unwrap();
    assert!(open().collect(&everything, false).is_err());
    assert_eq!(names(&open()).len(), 3);
    fs::write(&file, text).unwrap();
    assert!(open().unpin(&pinned).unwrap());
    assert!(!open().unpin(&pinned).unwrap());
    assert_eq!(collect(folder.path(), &everything), Vec::<String>::new());
}

fn write_run(store: &Store, id: &str, keys: &[ActionKey]) {
    let folder = store.runs().join(id);
    fs::create_dir_all(&folder).unwrap();
    let line = |key: &ActionKey| format!("{{\"at\":0.1,\"event\":\"cached\",\"index\":0,\"stage\":\"s\",\"key\":\"{key}\"}}\n");
    fs::write(folder.join("events.jsonl"), keys.iter().map(line).collect::<String>() + "{\"at\":0.2,\"ev").unwrap();
}

#[test]
fn what_named_runs_used_stays_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let records = six(folder.path());
    let store = Store::open(folder.path()).unwrap();
    let top = made_from(&store, "top", "top", &[&records[4]]);
    write_run(&store, "20260101-000000-1", &[top.key]);
    write_run(&store, "20260102-000000-1", &[records[2].key]);
    fs::create_dir_all(store.runs().join("20260103-000000-1")).unwrap();
    drop(store);
    let policy = |runs: &[&str]| Policy {
        reachable_from: Some(runs.iter().map(|run| (*run).to_owned()).collect()),
        keep_runs: 0,
        ..Policy::default()
    };
    let store = Store::open(folder.path()).unwrap();
    // A run that names nothing would leave nothing.
    assert!(store.collect(&policy(&["20260103-000000-1"]), false).is_err());
    assert!(store.collect(&policy(&["20260104-000000-1"]), false).is_err());
    drop(store);
    assert_eq!(collect(folder.path(), &policy(&["20260101-000000-1", "20260102-000000-1"])), ["c", "e", "top"]);
    let runs = |store: &Store| store.run_names().unwrap();
    assert_eq!(runs(&Store::open(folder.path()).unwrap()), ["20260101-000000-1", "20260102-000000-1"]);
    assert_eq!(collect(folder.path(), &policy(&["20260101-000000-1"])), ["e", "top"]);
    assert_eq!(runs(&Store::open(folder.path()).unwrap()), ["20260101-000000-1"]);
}

#[test]
fn what_a_process_has_found_or_made_stays_for_as_long_as_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path()).unwrap();
    for what in ["found", "unseen"] {
        publish(&open(), what, what);
    }
    let process = open();
    assert!(found(&process, "found").is_some());
    publish(&process, "made", "made");
    let (_, run) = process.new_run(Duration::from_secs(1)).unwrap();
    fs::write(folder.path().join(PARSED).join("m"), "a tree").unwrap();
    let everything = Policy { include_latest: true, keep_runs: 0, ..Policy::default() };
    let other = open();
    let collected = other.collect(&everything, false).unwrap();
    assert_eq!((collected.records, collected.kept_in_use, collected.kept_runs), (1, 2, 1));
    assert_eq!((found(&process, "found").as_deref(), found(&process, "made").as_deref()), (Some("found"), Some("made")));
    assert!(run.exists());
    assert_eq!(list(&folder.path().join(PARSED)).unwrap(), Vec::<PathBuf>::new());
    // A process that was killed: its notes are there, its lock is not.
    let note = list(&folder.path().join("using")).unwrap().remove(0);
    let left = fs::read(&note).unwrap();
    drop((process, other));
    assert!(!note.exists(), "a process that ends takes its notes with it");
    fs::write(&note, left).unwrap();
    let collected = open().collect(&everything, false).unwrap();
    assert_eq!((collected.records, collected.runs, collected.kept_in_use), (2, 1, 0));
    assert!(!note.exists());
}

#[test]
fn what_was_looked_up_ahead_stays_and_answers_until_work_begins() {
    let folder = tempfile::tempdir().unwrap();
    let records = six(folder.path());
    let store = Store::open(folder.path()).unwrap();
    let absent = record("absent").key;
    store.look_ahead("one", &[records[4].key, records[5].key, absent]).unwrap();
    // Neither is anybody's last result: they are kept by this process alone.
    assert_eq!(collect(folder.path(), &Policy::default()).concat(), "abef");
    fs::remove_file(store.record_path(&records[4].key)).unwrap();
    fs::remove_file(store.record_path(&records[5].key)).unwrap();
    assert!(matches!(store.lookup(&records[4].key).unwrap(), Lookup::Found(found) if found.key == records[4].key));
    assert!(matches!(store.lookup(&records[4].key).unwrap(), Lookup::Unknown), "it answers once");
    assert!(matches!(store.lookup(&absent).unwrap(), Lookup::Unknown));
    store.look_back();
    assert!(matches!(store.lookup(&records[5].key).unwrap(), Lookup::Unknown), "the disk answers");
}

#[test]
fn copies_of_records_are_good_for_the_records_they_were_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(folder.path()).unwrap();
    let keys: Vec<ActionKey> = (0..40).map(|n| publish(&open(), &format!("r{n}"), &format!("text {n}")).record.key).collect();
    let path = folder.path().join(PARSED).join("m.records");
    let good = || {
        let store = open();
        let copies = store.copies("m");
        keys.iter().filter(|key| copies.get(key, &store.record_path(key)).is_some_and(|record| record.key == **key)).count()
    };
    assert_eq!(good(), 0);
    open().look_ahead("m", &keys).unwrap();
    assert_eq!(good(), 40);
    // What was written anew, though it is the same, is read itself; and copied again.
    let record = open().record_path(&keys[3]);
    let text = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    fs::write(&record, &text).unwrap();
    assert_eq!(good(), 39);
    open().look_ahead("m", &keys).unwrap();
    assert_eq!(good(), 40);
    // A record that is damaged or gone is not found by its copy.
    fs::write(&record, &text[..text.len() - 3]).unwrap();
    fs::remove_file(open().record_path(&keys[4])).unwrap();
    let store = open();
    store.look_ahead("m", &keys).unwrap();
    assert!(
        matches!(store.lookup(&keys[3]).unwrap(), Lookup::Lost(_)) && matches!(store.lookup(&keys[4]).unwrap(), Lookup::Unknown)
    );
    assert!(matches!(store.lookup(&keys[5]).unwrap(), Lookup::Found(_)));
    // One that was not used for long says when it was used, and so is read itself.
    let old = SystemTime::now() - Duration::from_secs(7200);
    fs::File::open(open().record_path(&keys[6])).unwrap().set_modified(old).unwrap();
    assert_eq!(good(), 37);
    // Copies that are not as they were written are none, and take nothing with them.
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(good(), 0, "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(good(), 0, "{at} bytes");
        // With a digest of its own making it is read, and gives no other record than was asked for.
        let mut forged = damaged[..damaged.len() - 32].to_vec();
        forged.extend_from_slice(blake3::hash(&forged).as_bytes());
        fs::write(&path, &forged).unwrap();
        assert!(good() <= 40);
    }
    let store = open();
    store.look_ahead("m", &keys).unwrap();
    assert!(matches!(store.lookup(&keys[5]).unwrap(), Lookup::Found(_)));
}

#[test]
fn checkpoints_of_a_training_at_work_stay() {
    let (_folder, store) = store();
    let of = record("a");
    let partial = store.partial(&of.key);
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join("checkpoint"), "12345").unwrap();
    fs::File::open(partial.join("checkpoint")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::File::open(&partial).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let lease = store.lease(&of.key).unwrap();
    assert_eq!(store.collect(&Policy::default(), false).unwrap().kept_checkpoints, 1);
    assert!(partial.exists());
    drop(lease);
    assert_eq!(store.collect(&Policy::default(), false).unwrap().partials, [of.key.to_string()]);
    assert!(!partial.exists());
}

/// Processes publish, find and read without end while others collect everything that may go: what one has found or made, it can
/// read for as long as it lives, and what a record names is there.
#[test]
fn nothing_is_lost_while_garbage_is_collected_without_end() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let stop = AtomicBool::new(false);
    let (hits, gone) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let everything = Policy { include_latest: true, ..Policy::default() };
                while !stop.load(Ordering::SeqCst) {
                    let store = Store::open(folder.path()).unwrap();
                    gone.fetch_add(store.collect(&everything, false).unwrap().records, Ordering::SeqCst);
                }
            });
        }
        let workers: Vec<_> = (0..4)
            .map(|worker: usize| {
                let (folder, hits) = (&folder, &hits);
                scope.spawn(move || {
                    for life in 0..12 {
                        let store = Store::open(folder.path()).unwrap();
                        let mut mine: BTreeSet<String> = BTreeSet::new();
                        for step in 0..15 {
                            // Few keys, and contents that several keys share, so that processes meet.
                            let what = format!("{}", (worker * 7 + life * 5 + step * 3) % 20);
                            let text = format!("contents {}", what.len());
                            match store.lookup(&record(&what).key).unwrap() {
                                Lookup::Found(_) => drop(hits.fetch_add(1, Ordering::SeqCst)),
                                Lookup::Unknown => drop(publish(&store, &what, &text)),
                                Lookup::Lost(lost) => panic!("{lost} of {what} was lost"),
                            }
                            mine.insert(what);
                            for what in &mine {
                                let digest = Digest::of(format!("contents {}", what.len()).as_bytes());
                                let read = fs::read_to_string(store.blob(&digest));
                                assert_eq!(read.unwrap(), format!("contents {}", what.len()));
                                assert!(matches!(store.lookup(&record(what).key).unwrap(), Lookup::Found(_)));
                            }
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<bool> = workers.into_iter().map(|worker| worker.join().is_ok()).collect();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(ended, [true; 4]);
    });
    assert!(hits.load(Ordering::SeqCst) > 0 && gone.load(Ordering::SeqCst) > 0, "nothing met: {hits:?} {gone:?}");
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.verify(None, &|_, _| {}).unwrap().damage, []);
}

#[test]
fn space_is_summed_with_each_file_once() {
    let (_folder, store) = store();
    for (what, text) in [("a[x=1]", "12345"), ("a[x=2]", "12345"), ("b", "12345"), ("c", "123")] {
        publish(&store, what, text);
    }
    fs::create_dir_all(store.root.join("blobs/ab")).unwrap();
    fs::write(store.blob(&Digest::of(b"nobody's")), "nobody's").unwrap_or_else(|_| {
        let path = store.blob(&Digest::of(b"nobody's"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "nobody's").unwrap();
    });
    let survey = store.survey().unwrap();
    let stage = |held: &Held| BTreeSet::from([held.instance.split('[').next().unwrap().to_owned()]);
    let usage = store.usage(&survey, stage).unwrap();
    let group = |name: &str, results, bytes, unique| Group { name: name.to_owned(), results, bytes, unique };
    assert_eq!(usage.groups, [group("a", 2, 5, 0), group("b", 1, 5, 0), group("c", 1, 3, 3)]);
    assert_eq!((usage.results, usage.result_bytes, usage.unshared_bytes, usage.unnamed_bytes), (4, 8, 18, 8));
}

#[test]
fn results_go_to_another_store_and_are_compared_with_their_digests() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let from = Store::open(&here).unwrap();
    let rows = made_from(&from, "rows", "rows", &[]);
    let model = made_from(&from, "model", "model", &[&rows]);
    let other = made_from(&from, "other", "rows", &[]);
    from.latest("m").unwrap().set("model", &model).unwrap();
    from.pin(Pinned::Result(model.key), "model", None, vec![model.key]).unwrap();
    let all: BTreeSet<ActionKey> = [rows.key, model.key, other.key].into();
    let send = |to: &Store, dry: bool| from.send(&all, Some(to), dry, &|_, _| {}).unwrap();
    let to = Store::open(&there).unwrap();
    let dry = send(&to, true);
    assert_eq!((dry.results, dry.blobs, dry.bytes, dry.lost.len()), (3, 2, 9, 0));
    assert_eq!(names(&to), Vec::<String>::new());
    assert_eq!(send(&to, false), dry);
    assert_eq!(from.send_pins(&to).unwrap(), 1);
    assert_eq!(from.send_pins(&to).unwrap(), 0);
    assert_eq!(names(&to), ["model", "other", "rows"]);
    assert_eq!(to.latest("m").unwrap().get("model"), Some(&model.key));
    assert!(fs::metadata(to.blob(&rows.files.0["out"].digest)).unwrap().permissions().readonly());
    let again = send(&to, false);
    assert_eq!((again.results, again.blobs, again.there), (0, 0, 3));
    assert_eq!(to.verify(None, &|_, _| {}).unwrap().damage, []);
    // A last result of that store's own stays its last.
    let own = publish(&to, "own", "own").record;
    to.latest("m").unwrap().set("model", &own).unwrap();
    send(&to, false);
    assert_eq!(to.latest("m").unwrap().get("model"), Some(&own.key));
}

#[test]
fn a_transfer_that_was_broken_off_goes_on_and_what_is_damaged_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let from = Store::open(&folder.path().join("here")).unwrap();
    let records: Vec<Record> =
        ["1", "2", "3", "4", "5"].iter().map(|what| publish(&from, what, &what.repeat(10)).record).collect();
    let keys: BTreeSet<ActionKey> = records.iter().map(|record| record.key).collect();
    let blob = |n: usize| from.blob(&records[n].files.0["out"].digest);
    let rewrite = |path: &Path, text: &str| {
        fs::remove_file(path).unwrap();
        fs::write(path, text).unwrap();
    };
    rewrite(&blob(0), "other text");
    rewrite(&blob(1), "short");
    fs::remove_file(blob(2)).unwrap();
    rewrite(&from.record_path(&records[3].key), "{");
    let to = Store::open(&folder.path().join("there")).unwrap();
    // As after a kill: a file without its record, and half a draft.
    let arrived = to.blob(&records[4].files.0["out"].digest);
    fs::create_dir_all(arrived.parent().unwrap()).unwrap();
    fs::copy(blob(4), &arrived).unwrap();
    let sent = from.send(&keys, Some(&to), false, &|_, _| {}).unwrap();
    assert_eq!((sent.results, sent.blobs, sent.lost.len()), (1, 0, 4), "{:?}", sent.lost);
    let what: Vec<&str> = sent.lost.iter().map(|lost| lost.what.as_str()).collect();
    for said in ["not what its name says", "has 5 bytes and should have 10", "is missing", "record is damaged"] {
        assert!(what.iter().any(|what| what.contains(said)), "{said}: {what:?}");
    }
    assert_eq!(names(&to), ["5"]);
    assert_eq!(to.verify(None, &|_, _| {}).unwrap().damage, []);
}

#[test]
fn a_hostile_store_puts_nothing_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let from = Store::open(&folder.path().join("theirs")).unwrap();
    let mut keys = BTreeSet::new();
    let mut forge = |what: &str, change: &dyn Fn(&mut Record)| {
        let draft = from.draft().unwrap();
        fs::write(draft.folder().join("out"), what).unwrap();
        let mut of = record(what);
        change(&mut of);
        let made = from.publish(draft, of).unwrap().record;
        keys.insert(made.key);
        made
    };
    let escape = forge("escape", &|_| {});
    let link = forge("link", &|_| {});
    let pipe = forge("pipe", &|_| {});
    forge("terminal", &|of| of.instance = "\u{1b}]0;owned\u{7}".to_owned());
    let record_link = forge("record link", &|_| {});
    let good = forge("good", &|_| {});
    // Names that lead out of a folder, in a record that is otherwise right.
    let mut named = escape.clone();
    named.files.0.insert("../../../../secret".to_owned(), named.files.0["out"]);
    fs::write(from.record_path(&named.key), seal::seal(&named).unwrap()).unwrap();
    let blob = |of: &Record| from.blob(&of.files.0["out"].digest);
    fs::remove_file(blob(&link)).unwrap();
    symlink(&secret, blob(&link)).unwrap();
    fs::remove_file(blob(&pipe)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, blob(&pipe), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
        .unwrap();
    let path = from.record_path(&record_link.key);
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    symlink(folder.path().join("elsewhere"), &path).unwrap();
    let to = Store::open(&folder.path().join("ours")).unwrap();
    let before: BTreeSet<PathBuf> = list(folder.path()).unwrap().into_iter().collect();
    let other = Store::open_other(&folder.path().join("theirs")).unwrap();
    assert!(other.survey().unwrap().held().all(|held| held.instance != "record link"));
    let sent = other.send(&keys, Some(&to), false, &|_, _| {}).unwrap();
    assert_eq!((sent.results, sent.lost.len()), (1, 5), "{:#?}", sent.lost);
    assert_eq!(names(&to), ["good"]);
    assert_eq!(list(folder.path()).unwrap().into_iter().collect::<BTreeSet<_>>(), before);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert!(matches!(to.lookup(&good.key).unwrap(), Lookup::Found(_)));
    assert!(matches!(Store::open_other(&folder.path().join("nowhere")), Err(StoreError::NoStore { .. })));
}

#[test]
fn the_view_shows_last_results_and_nothing_else() {
    let (_folder, store) = store();
    let (one, two) = (publish(&store, "one", "1").record, publish(&store, "two", "2").record);
    let show = |results: &[(&'static str, Option<&Record>)]| {
        let results = results.iter().map(|(name, of)| (*name, of.map(|of| &of.files))).collect();
        store.show_latest("m", &results).unwrap()
    };
    let folder = show(&[("teacher", Some(&one)), ("student[genre=a/b]", Some(&two))]);
    let read = |name: &str| fs::read_to_string(folder.join(name).join("out")).ok();
    assert_eq!(read("teacher").as_deref(), Some("1"));
    let shown = |folder: &Path| {
        let names = list(folder).unwrap().into_iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.')).collect::<Vec<_>>()
    };
    assert_eq!(shown(&folder).len(), 2);
    // Another result takes the place of the first, one that was not asked for stays, one that is gone from the manifest goes.
    let strange = shown(&folder).into_iter().find(|name| name.starts_with("student")).unwrap();
    show(&[("teacher", Some(&two)), ("student[genre=a/b]", None)]);
    assert_eq!((read("teacher").as_deref(), read(&strange).as_deref()), (Some("2"), Some("2")));
    show(&[("teacher", Some(&one))]);
    assert_eq!(shown(&folder), ["teacher"]);
    // What was put there by hand stays; what was removed by hand comes back.
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    fs::remove_dir_all(folder.join("teacher")).unwrap();
    show(&[("teacher", Some(&one))]);
    assert_eq!((shown(&folder).concat().as_str(), read("teacher").as_deref()), ("notes.txtteacher", Some("1")));
    // An editor puts a file of its own in the link's place; what is written through a link is refused to all but root.
    let link = folder.join("teacher/out");
    assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o222, 0);
    fs::write(folder.join("teacher/new"), "edited").unwrap();
    fs::rename(folder.join("teacher/new"), &link).unwrap();
    assert_eq!(fs::read_to_string(store.blob(&one.files.0["out"].digest)).unwrap(), "1");
    // What is collected is not shown any more.
    let root = store.root.clone();
    drop(store);
    let store = Store::open(&root).unwrap();
    store.collect(&Policy { include_latest: true, ..Policy::default() }, false).unwrap();
    assert_eq!(shown(&folder), ["notes.txt"]);
    assert_eq!(list(&root.join("tmp")).unwrap(), Vec::<PathBuf>::new());
}
