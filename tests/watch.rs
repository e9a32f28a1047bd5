//! `run --watch`: a change of the manifest, of one it extends or of an input brings a run; mistakes are shown and waited out.

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::space::Space;

const MANIFEST: &str = "talkflow: 1
extends: base.yaml
name: watched
stages:
  ratings:
    dataset: { file: ratings.csv }
";

const BASE: &str = "talkflow: 1
stages:
  ratings:
    dataset: { title: first }
";

const RATINGS: &str = "user,item,rating\n1,1,5\n1,2,3\n2,1,4\n";

/// A running `run --watch` and what it has said so far.
struct Watching {
    child: Child,
    said: Arc<Mutex<String>>,
    /// How much of it was looked at.
    read: usize,
}

impl Watching {
    fn start(space: &Space) -> Self {
        let mut command = space.command(&["run", "m.yaml", "--watch", "--offline"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let into = said.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child, said, read: 0 }
    }

    /// Waits for the end of the next run, and gives what was said about it.
    #[track_caller]
    fn next(&mut self) -> String {
        let begun = Instant::now();
        loop {
            let said = self.said.lock().unwrap().clone();
            if let Some(end) = said[self.read..].find("; Ctrl-C ends\n") {
                let part = said[self.read..self.read + end].to_owned();
                self.read += end + 1;
                return part;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{said}");
            assert!(begun.elapsed() < Duration::from_secs(120), "no run came:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn says(said: &str, text: &str) {
    assert!(said.contains(text), "`{text}` is not in:\n{said}");
}

#[test]
fn each_change_brings_a_run_and_ctrl_c_ends_it() {
    let space = Space::with(MANIFEST);
    space.write("base.yaml", BASE);
    space.write("ratings.csv", RATINGS);
    let mut watching = Watching::start(&space);
    let first = watching.next();
    says(&first, "1 ran, 0 cached");
    says(&first, "watching 3 files");
    // An input, put in the old one's place as editors do.
    space.write("ratings.csv.new", &format!("{RATINGS}2,2,1\n"));
    fs::rename(space.path("ratings.csv.new"), space.path("ratings.csv")).unwrap();
    let said = watching.next();
    says(&said, "changed: ");
    says(&said, "ratings.csv");
    says(&said, "1 ran, 0 cached");
    // The manifest that is extended.
    space.write("base.yaml", &BASE.replace("first", "second"));
    let said = watching.next();
    says(&said, "base.yaml");
    says(&said, "1 ran, 0 cached");
    // A mistake is shown and waited out; the old value brings the old result back.
    space.write("m.yaml", &MANIFEST.replace("file:", "fiel:"));
    let said = watching.next();
    says(&said, "unknown setting `fiel`");
    assert!(!said.contains("cached in"), "{said}");
    space.write("m.yaml", MANIFEST);
    says(&watching.next(), "0 ran, 1 cached");
    // A manifest that is not there any more, and is there again.
    fs::rename(space.path("m.yaml"), space.path("away.yaml")).unwrap();
    says(&watching.next(), "cannot read the manifest");
    fs::rename(space.path("away.yaml"), space.path("m.yaml")).unwrap();
    says(&watching.next(), "0 ran, 1 cached");
    // A failing stage is no end either.
    space.write("ratings.csv", "");
    says(&watching.next(), "failed");
    space.write("ratings.csv", RATINGS);
    says(&watching.next(), "0 cached");
    watching.signal("INT");
    assert_eq!(watching.child.wait().unwrap().code(), Some(130));
}

#[test]
fn nothing_runs_while_nothing_changes_and_what_is_not_read_does_not_count() {
    let space = Space::with(MANIFEST);
    space.write("base.yaml", BASE);
    space.write("ratings.csv", RATINGS);
    let mut watching = Watching::start(&space);
    watching.next();
    space.write("notes.txt", "nobody reads this\n");
    // What counts comes after it, so had the notes counted, there were two runs.
    space.write("base.yaml", &BASE.replace("first", "second"));
    let said = watching.next();
    assert!(!said.contains("notes.txt"), "{said}");
    watching.signal("TERM");
    assert_eq!(watching.child.wait().unwrap().code(), Some(143));
    assert_eq!(fs::read_dir(space.path(".talkflow/runs")).unwrap().count(), 2);
}

#[test]
fn a_program_is_told_that_a_watch_is_no_document() {
    let space = Space::with(MANIFEST);
    space.run(&["run", "m.yaml", "--watch", "--format", "json"]).code(2).says("--watch has no end");
}

#[test]
fn a_file_that_appears_under_a_pattern_brings_a_run() {
    let space = Space::with(
        "talkflow: 1\nname: globbed\nstages:\n  each:\n    matrix: { file: { glob: \"data/*.csv\" } }\n    command: { run: cp in.csv out, files: { in.csv: \
         \"${matrix.file}\" }, outputs: [out] }\n  all:\n    command: { run: cat texts/*.txt > out, files: [\"texts/*.txt\"], outputs: [out] }\n",
    );
    space.write("data/a.csv", "a\n");
    space.write("texts/a.txt", "a\n");
    let mut watching = Watching::start(&space);
    says(&watching.next(), "2 ran, 0 cached");
    // One more instance of a matrix.
    space.write("data/b.csv", "b\n");
    let said = watching.next();
    says(&said, "each[file=b]");
    says(&said, "1 ran, 2 cached");
    // One more file of a stage, and one less.
    space.write("texts/b.txt", "b\n");
    let said = watching.next();
    says(&said, "texts/b.txt");
    says(&said, "1 ran, 2 cached");
    fs::remove_file(space.path("texts/b.txt")).unwrap();
    says(&watching.next(), "0 ran, 3 cached");
    // The pattern fits nothing any more: a mistake that is waited out.
    fs::rename(space.path("data"), space.path("away")).unwrap();
    says(&watching.next(), "data/*.csv");
    fs::rename(space.path("away"), space.path("data")).unwrap();
    says(&watching.next(), "0 ran, 3 cached");
    watching.signal("INT");
    assert_eq!(watching.child.wait().unwrap().code(), Some(130));
}
