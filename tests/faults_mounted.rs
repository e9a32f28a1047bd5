//! Full disks, disks without inodes and read-only ones: file systems of their own, made for each test. Needs the right to mount, as
//! root has it, and fails without: `cargo test --test faults_mounted`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{fs, path::PathBuf, process::Command};

#[expect(dead_code, reason = "the main tests use all of it")]
mod space;

use space::{Ran, Space, small};

/// A tmpfs at `.talkflow` of a space; gone when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(space: &Space, options: &str) -> Self {
        let path = space.path(".talkflow");
        fs::create_dir_all(&path).unwrap();
        mount(&["-t", "tmpfs", "-o", options, "talkflow-test", path.to_str().unwrap()]);
        Self(path)
    }

    fn again(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }

    fn files(&self) -> usize {
        walk(&self.0).len()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str]) {
    let done = Command::new("mount").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "these tests need the right to mount (run them as root): {said}");
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn manifest() -> String {
    let programs = "  big:\n    command: { run: \"head -c 60000 /dev/zero > big\", outputs: [big] }\n  after:\n    command: { run: \"cksum big/big > sum\", \
                    inputs: { big: big }, outputs: [sum] }\n";
    small("bias_only: bias_only").replace("    pretrain:\n", "    pretrain:\n      checkpoint_seconds: 0\n") + programs
}

fn run(space: &Space) -> Ran {
    space.run(&["run", "m.yaml", "--offline"])
}

/// Runs with every amount of room from next to nothing to enough: each time it is done, or it says what to do and has the code 3.
/// Then there is room again, and the end is that of an undisturbed run.
fn with_less_room(room: impl Iterator<Item = String>, enough: &str) {
    let whole = Space::with(&manifest());
    whole.document(&[]);
    let mut refused = 0;
    for options in room {
        let space = Space::with(&manifest());
        let mounted = Mounted::at(&space, &options);
        let ran = run(&space);
        if ran.code != 0 {
            refused += 1;
            ran.code(3).says("Make room there").says("run again: finished stages are kept");
        }
        mounted.again(enough);
        // What was published is whole; nothing else was.
        if mounted.0.join("format").exists() {
            space.run(&["store", "verify"]).ok();
        }
        space.document(&[]);
        assert_eq!(space.results(), whole.results(), "{options}");
        space.run(&["store", "verify"]).ok();
        space.nothing_to_do(&[]);
    }
    assert!(refused > 10, "only {refused} runs had too little room");
}

#[test]
fn a_disk_that_is_full_at_any_moment() {
    let room = (4..400).step_by(12).map(|kib| format!("size={kib}k"));
    with_less_room(room, "size=64m");
}

#[test]
fn a_disk_without_inodes_at_any_moment() {
    let room = (2..140).step_by(5).map(|inodes| format!("size=64m,nr_inodes={inodes}"));
    with_less_room(room, "size=64m,nr_inodes=10000");
}

#[test]
fn a_disk_that_fills_up_between_two_runs() {
    let space = Space::with(&manifest());
    let mounted = Mounted::at(&space, "size=64m");
    space.document(&[]);
    let before = space.results();
    // Full to the last byte: what is there can be used, and what is new is refused.
    fs::write(mounted.0.join("runs/ballast"), vec![0; 63 << 20]).unwrap();
    let _ = fs::write(mounted.0.join("runs/more"), vec![0; 1 << 20]);
    space.run(&["run", "m.yaml", "--offline", "--set", "seed=2"]).code(3).says("Make room there");
    assert_eq!(space.results(), before);
    fs::remove_file(mounted.0.join("runs/ballast")).unwrap();
    fs::remove_file(mounted.0.join("runs/more")).unwrap();
    space.document(&["--set", "seed=2"]);
    space.nothing_to_do(&[]);
}

#[test]
fn a_read_only_store() {
    let space = Space::with(&manifest());
    let mounted = Mounted::at(&space, "size=64m");
    space.document(&[]);
    let before = (space.results(), mounted.files());
    mounted.again("ro");
    for args in [&["run", "m.yaml", "--offline"][..], &["run", "m.yaml", "--offline", "--set", "seed=2"]] {
        space.run(args).code(3).says("Make the folder writable, or name another one with --store");
    }
    assert_eq!((space.results(), mounted.files()), before);
    mounted.again("rw");
    space.nothing_to_do(&[]);
}
