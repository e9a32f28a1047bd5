//! Which run a name means, what becomes of a stage, and where a change comes from.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::time::Duration;

use super::*;
use crate::{
    artifact::{Artifact, Digest, FileEntry},
    key::{Change, Fingerprint, Label},
    store::{Record, testing},
};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s")).unwrap();
    (folder, store)
}

#[test]
fn a_run_is_meant_by_its_name_the_beginning_of_it_or_its_place() {
    let (_folder, store) = store();
    assert!(find(&runs(&store).unwrap(), "last").unwrap_err().contains("no run is kept"));
    for second in [1_767_225_600, 1_767_225_600, 1_767_312_000] {
        store.new_run(Duration::from_secs(second)).unwrap();
    }
    let runs = runs(&store).unwrap();
    let id = |name: &str| find(&runs, name).map(|run| run.id);
    assert_eq!(id("last").unwrap(), "20260102-000000-000");
    assert_eq!(id("last~2").unwrap(), "20260101-000000-000");
    assert_eq!(id("20260102").unwrap(), "20260102-000000-000");
    assert_eq!(id("20260101-000000-000").unwrap(), "20260101-000000-000");
    assert!(id("last~3").unwrap_err().contains("only 3 runs are kept"));
    assert!(id("20260101").unwrap_err().contains("2 runs begin with `20260101`"));
    assert!(id("lost").unwrap_err().contains("knows no run `lost`") && id("last~x").is_err() && id("").is_err());
}

#[test]
fn a_stage_that_a_killed_run_left_at_work_was_stopped() {
    let (_folder, store) = store();
    let (_, folder) = store.new_run(Duration::from_secs(1)).unwrap();
    let started = Event::Started { index: 3, stage: "a".into(), reason: Stale::FirstRun, attempt: 1 };
    let line = serde_json::to_string(&Timed { at: 0.5, event: &started }).unwrap();
    fs::write(folder.join("events.jsonl"), format!("{line}\n{{\"at\":1,\"ev")).unwrap();
    let run = find(&runs(&store).unwrap(), "last").unwrap();
    let state = || run.stages().iter().map(|seen| (seen.index, seen.stage.clone(), seen.state)).collect::<Vec<_>>();
    assert_eq!(state(), [(3, "a".to_owned(), State::Stopped)]);
    let held = fs::File::open(folder.join("events.jsonl")).unwrap();
    held.lock().unwrap();
    assert_eq!(state(), [(3, "a".to_owned(), State::Running)]);
}

fn record(instance: &str, lines: &[(Label, &str)], made: &str) -> Record {
    let mut fingerprint = Fingerprint::default();
    lines.iter().for_each(|(label, value)| fingerprint.add(label.clone(), *value));
    let files = [("out".to_owned(), FileEntry { digest: Digest::of(made.as_bytes()), size: 1 })];
    Record { files: Artifact(files.into_iter().collect()), ..testing::record(instance, fingerprint) }
}

#[test]
fn a_changed_input_is_traced_to_the_stage_that_changed_first() {
    let (_folder, store) = store();
    let seed = || Label::Setting("seed".into());
    let rows = || Label::Input("rows".into());
    let digest = |record: &Record| record.files.digest().to_string();
    let publish = |record: &Record, made: &str| {
        let draft = store.draft().unwrap();
        fs::write(draft.folder().join("out"), made).unwrap();
        store.publish(draft, record.clone()).unwrap();
    };
    let (old, new) = (record("split", &[(seed(), "1")], "a1"), record("split", &[(seed(), "2")], "a2"));
    let (mid_old, mid_new) = (record("mid", &[(rows(), &digest(&old))], "b1"), record("mid", &[(rows(), &digest(&new))], "b2"));
    for (record, made) in [(&old, "a1"), (&new, "a2"), (&mid_old, "b1"), (&mid_new, "b2")] {
        publish(record, made);
    }
    let change = Change { label: rows(), old: Some(digest(&mid_old)), new: Some(digest(&mid_new)) };
    let lineage = Lineage::of(&store).unwrap();
    let chain = lineage.trace(std::slice::from_ref(&change));
    assert_eq!(chain.iter().map(|(stage, _)| stage.as_str()).collect::<Vec<_>>(), ["mid", "split"]);
    let said = lineage.explain(Stale::Changed(vec![change.clone()])).to_string();
    assert_eq!(said, "input `rows` changed: `split` has another result (seed: 1 -> 2)");
    // What the store does not hold any more cannot be told.
    let unknown = Change { old: Some("0".repeat(64)), ..change };
    assert_eq!(lineage.explain(Stale::Changed(vec![unknown.clone()])), Stale::Changed(vec![unknown]));
}
