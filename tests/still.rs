//! A manifest that stands still: seen without planning, and the same to everybody who looks at the run. Whatever changes, be it as
//! small as an entry of a folder, is seen too.

use std::{fs, os::unix::fs::symlink, thread::sleep, time::Duration};

use serde_json::Value;

use crate::space::{Ran, Space};

/// More stages than are worth a note, and one of everything that planning may look at.
const MANIFEST: &str = r#"talkflow: 1
extends: base.yaml
name: still
stages:
  one:
    matrix: { n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31] }
    command: { run: "cat shared.txt > out", files: [shared.txt], env: { N: "${matrix.n}", WORD: "${word}" }, outputs: [out] }
  each:
    matrix: { file: { glob: "data/*.txt" } }
    command: { run: "cat in > out", files: { in: "${matrix.file}" }, outputs: [out] }
  folder:
    command: { run: "ls given > out; echo $MODE >> out", files: { given: data }, env: { MODE: "${env.MODE}" }, outputs: [out] }
  last:
    command: { run: "cat in/out > out", inputs: { in: folder }, outputs: [out] }
"#;
const STAGES: usize = 36;

fn space(manifest: &str) -> Space {
    let space = Space::with(manifest);
    space.write("base.yaml", "talkflow: 1\nparams: { word: hello }\nstages: {}\n");
    space.write("shared.txt", "shared\n");
    space.write("data/a.txt", "a\n");
    space.write("data/b.txt", "b\n");
    space
}

fn run_with(space: &Space, mode: &str, args: &[&str]) -> Ran {
    let all: Vec<&str> = ["run", "m.yaml", "--offline", "-j1"].iter().chain(args).copied().collect();
    Ran::of(space.command(&all).env("MODE", mode).output().unwrap()).ok()
}

fn run(space: &Space) -> Ran {
    run_with(space, "fast", &[])
}

/// The folder of the last run.
fn last(space: &Space) -> String {
    let runs = fs::read_dir(space.path(".talkflow/runs")).unwrap().flatten();
    let name = runs.map(|run| run.file_name().into_string().unwrap()).max().unwrap();
    format!(".talkflow/runs/{name}")
}

fn events(space: &Space) -> Vec<Value> {
    space.read(&format!("{}/events.jsonl", last(space))).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether the last run was told without planning: then all its results were there at one moment.
fn was_quick(space: &Space) -> bool {
    let times: Vec<f64> =
        events(space).iter().filter(|event| event["event"] == "cached").map(|event| event["at"].as_f64().unwrap()).collect();
    times.len() > 1 && times.iter().all(|time| *time == times[0])
}

/// A space in which nothing has changed for so long that stats tell, and whose last run has noted it.
fn at_rest(manifest: &str) -> Space {
    let space = space(manifest);
    run(&space);
    sleep(Duration::from_secs(3));
    run(&space).says(&format!("0 ran, {STAGES} cached"));
    assert!(!was_quick(&space));
    space
}

#[test]
fn what_stands_still_is_told_without_planning_and_all_the_same() {
    let space = at_rest(MANIFEST);
    let slow = (last(&space), run_with(&space, "fast", &["--paranoid"]).stderr, events(&space));
    let quick = run(&space).stderr;
    assert!(was_quick(&space));
    let without_time = |text: &str| text.rsplit_once(" in ").map(|(before, _)| before.to_owned()).unwrap();
    assert_eq!(without_time(&quick), without_time(&slow.1));
    let timeless = |events: &[Value]| -> Vec<Value> {
        let mut events = events.to_vec();
        for event in &mut events {
            ["at", "run", "seconds"].into_iter().for_each(|key| drop(event.as_object_mut().unwrap().remove(key)));
        }
        events
    };
    assert_eq!(timeless(&events(&space)), timeless(&slow.2));
    let file = |folder: &str, name: &str| space.read(&format!("{folder}/{name}"));
    assert_eq!(file(&last(&space), "resolved.json"), file(&slow.0, "resolved.json"));
    let about = |folder: &str| {
        let mut about: Value = serde_json::from_str(&file(folder, "run.json")).unwrap();
        ["run", "started", "ended"].into_iter().for_each(|key| drop(about.as_object_mut().unwrap().remove(key)));
        about
    };
    assert_eq!(about(&last(&space)), about(&slow.0));
    // And again: a quick run leaves all as it was.
    run(&space);
    assert!(was_quick(&space));
    space.run(&["show", "--format", "json"]).ok();
    assert_eq!(fs::read_dir(space.path(".talkflow/using")).unwrap().count(), 0);
}

/// Changes something at rest; the next run is not told quickly, and says `says`.
#[track_caller]
fn changed(change: impl FnOnce(&Space), mode: &str, says: &str) {
    let space = at_rest(MANIFEST);
    run(&space);
    assert!(was_quick(&space));
    change(&space);
    run_with(&space, mode, &[]).says(says);
    assert!(!was_quick(&space));
}

#[test]
fn a_text_that_changes_is_seen() {
    changed(|space| space.write("m.yaml", &format!("{MANIFEST}# more\n")), "fast", "0 ran, 36 cached");
}

#[test]
fn an_extended_text_that_changes_is_seen() {
    let text = "talkflow: 1\nparams: { word: other }\nstages: {}\n";
    changed(|space| space.write("base.yaml", text), "fast", "32 ran, 4 cached");
}

#[test]
fn a_variable_that_changes_is_seen() {
    changed(|_| {}, "slow", "2 ran, 34 cached");
}

#[test]
fn a_file_of_the_same_length_and_time_is_seen() {
    let change = |space: &Space| {
        let file = fs::File::options().write(true).open(space.path("shared.txt")).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        fs::write(space.path("shared.txt"), "SHARED\n").unwrap();
        file.set_modified(time).unwrap();
    };
    changed(change, "fast", "32 ran, 4 cached");
}

#[test]
fn a_file_that_comes_into_a_folder_is_seen() {
    // One more of `each`, and `folder` with what follows it.
    changed(|space| space.write("data/c.txt", "c\n"), "fast", "3 ran, 34 cached");
}

#[test]
fn a_file_that_leaves_a_folder_is_seen() {
    changed(|space| fs::remove_file(space.path("data/b.txt")).unwrap(), "fast", "2 ran, 33 cached");
}

fn first_file(space: &Space, folder: &str) -> std::path::PathBuf {
    let mut folders: Vec<_> = fs::read_dir(space.path(folder)).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    fs::read_dir(&folders[0]).unwrap().flatten().next().unwrap().path()
}

#[test]
fn a_record_that_is_gone_is_seen() {
    changed(|space| fs::remove_file(first_file(space, ".talkflow/actions")).unwrap(), "fast", "1 ran, 35 cached");
}

#[test]
fn contents_that_are_gone_are_seen() {
    changed(|space| fs::remove_file(first_file(space, ".talkflow/blobs")).unwrap(), "fast", " ran, ");
}

#[test]
fn a_view_that_was_changed_is_put_right() {
    let gone = ".talkflow/out/still/last";
    let space = at_rest(MANIFEST);
    fs::remove_dir_all(space.path(gone)).unwrap();
    run(&space).says("0 ran, 36 cached");
    assert!(!was_quick(&space) && space.path(gone).exists());
}

#[test]
fn results_that_others_have_made_since_are_seen() {
    let change = |space: &Space| drop(run_with(space, "fast", &["--set", "word=other"]).says("32 ran"));
    changed(change, "fast", "an earlier result");
}

#[test]
fn a_damaged_note_is_not_believed() {
    let change = |space: &Space| {
        let notes = fs::read_dir(space.path(".talkflow/parsed")).unwrap().flatten().map(|entry| entry.path());
        let note = notes.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "still")).unwrap();
        let mut bytes = fs::read(&note).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&note, bytes).unwrap();
    };
    changed(change, "fast", "0 ran, 36 cached");
}

#[test]
fn another_call_is_another_matter() {
    let space = at_rest(MANIFEST);
    run_with(&space, "fast", &["--force", "last"]).says("1 ran");
    let json = run_with(&space, "fast", &["--format", "json"]).json();
    assert_eq!(json["cached"], 36);
}

/// What of the world cannot be told again, or must not be written down, is looked at by planning every time.
#[test]
fn links_in_folders_and_secrets_are_never_passed_over() {
    let linked = space(MANIFEST);
    linked.write("elsewhere.txt", "e\n");
    symlink(linked.path("elsewhere.txt"), linked.path("data/z.txt")).unwrap();
    let secret = space(&MANIFEST.replace("MODE: \"${env.MODE}\"", "MODE: { secret: \"${env.MODE}\" }"));
    let both = [&linked, &secret];
    both.iter().for_each(|space| drop(run(space)));
    sleep(Duration::from_secs(3));
    for space in both {
        for _ in 0..3 {
            run(space).says("0 ran");
            assert!(!was_quick(space));
        }
    }
}
