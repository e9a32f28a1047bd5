//! SIGKILL at any moment, SIGTERM and Ctrl-C: what is left is never taken for good, and the next run ends as an undisturbed one.

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::Stdio,
    time::Duration,
};

use crate::space::{METHODS, Ran, Space, small};

/// A small generator of moments: the test has to be repeatable.
fn moments(n: usize, within_ms: u64) -> impl Iterator<Item = Duration> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..n).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((state >> 33) % within_ms)
    })
}

#[test]
fn sigkill_at_thirty_random_moments_leaves_nothing_taken_for_good() {
    let manifest = small(METHODS);
    let whole = Space::with(&manifest);
    let clock = std::time::Instant::now();
    whole.document(&[]);
    let length = u64::try_from(clock.elapsed().as_millis()).unwrap().max(50);
    let space = Space::with(&manifest);
    let mut killed = 0;
    for moment in moments(30, length) {
        let mut command = space.command(&["run", "m.yaml", "--offline"]);
        let mut child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        let at_work = child.wait().unwrap().signal() == Some(9);
        killed += usize::from(at_work);
        // Start anew when there is nothing left to do, and now and then, so that early stages are hit too.
        if !at_work || killed % 5 == 4 {
            let _ = std::fs::remove_dir_all(space.path(".talkflow"));
        }
    }
    assert!(killed >= 15, "only {killed} runs were still at work when killed");
    space.document(&[]);
    assert_eq!(space.results(), whole.results());
    space.run(&["store", "verify"]).ok();
    space.nothing_to_do(&[]);
}

#[test]
fn signals_stop_cleanly_and_the_run_goes_on_from_there() {
    let manifest = small(METHODS).replace("epochs: 3", "epochs: 4000").replace("patience: 3", "patience: 4000");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let space = Space::with(&manifest);
        let child = space.command(&["run", "m.yaml", "--offline"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Until the teacher is being trained.
        let started = std::time::Instant::now();
        while !journal(&space).contains("\"progressed\",\"index\":2") {
            assert!(started.elapsed() < Duration::from_secs(60), "the teacher never began: {}", journal(&space));
            std::thread::sleep(Duration::from_millis(20));
        }
        let killed = std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ran = Ran::of(child.wait_with_output().unwrap()).code(code).says("nothing is half written");
        assert!(ran.stderr.contains("2 ran, 0 cached"), "{}", ran.stderr);
        space.write("m.yaml", &small(METHODS));
        let document = space.document(&[]);
        assert_eq!(document["cached"], 2, "ratings and split were done");
        space.nothing_to_do(&[]);
    }
}

fn journal(space: &Space) -> String {
    let runs = std::fs::read_dir(space.path(".talkflow/runs")).into_iter().flatten().flatten();
    runs.filter_map(|run| std::fs::read_to_string(run.path().join("events.jsonl")).ok()).collect()
}

#[test]
fn a_killed_training_goes_on_from_its_checkpoint_and_ends_with_the_same_bytes() {
    let manifest = small(METHODS).replace("epochs: 3", "epochs: 60").replace("patience: 3", "patience: 0");
    let manifest = manifest.replace("    pretrain:\n", "    pretrain:\n      checkpoint_seconds: 0\n");
    let whole = Space::with(&manifest);
    whole.document(&[]);
    let space = Space::with(&manifest);
    let checkpoint = || {
        let folders = std::fs::read_dir(space.path(".talkflow/partial")).into_iter().flatten().flatten();
        folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).any(|mut files| files.next().is_some())
    };
    let mut child = space.command(&["run", "m.yaml", "--offline"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = std::time::Instant::now();
    // Some epochs of the teacher's, and a checkpoint.
    while !(checkpoint() && journal(&space).matches("\"progressed\",\"index\":2").count() >= 3) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was killed");
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoint(), "the kill came after the training");
    space.run(&["store", "gc"]).ok();
    assert!(checkpoint(), "what a training can go on from is no garbage");
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    let events = space.read(&format!(".talkflow/runs/{run}/events.jsonl"));
    let first = events.lines().find(|line| line.contains("\"progressed\",\"index\":2")).unwrap();
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert!(first["progress"]["done"].as_u64().unwrap() > 1, "it began anew: {first}");
    assert_eq!(space.results(), whole.results());
    assert!(!checkpoint(), "checkpoints vanish at publication");
    space.nothing_to_do(&[]);
}
