//! Several talkflow processes on one store.

use std::process::Stdio;

use crate::space::{METHODS, Ran, Space, small};

#[test]
fn two_processes_share_the_work_and_each_stage_runs_once() {
    let space = Space::with(&small(METHODS));
    let start = || {
        let mut command = space.command(&["run", "m.yaml", "--offline", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    let mut ran = std::collections::BTreeMap::new();
    for child in children {
        let document = Ran::of(child.wait_with_output().unwrap()).ok().json();
        for stage in document["stages"].as_array().unwrap() {
            *ran.entry(stage["name"].as_str().unwrap().to_owned()).or_insert(0) += i32::from(stage["state"] == "ran");
        }
    }
    assert!(ran.values().all(|times| *times == 1), "{ran:?}");
    space.nothing_to_do(&[]);
}

#[test]
fn garbage_is_not_collected_under_a_running_process() {
    let manifest = small("scratch: scratch").replace("epochs: 3", "epochs: 4000").replace("patience: 3", "patience: 4000");
    let space = Space::with(&manifest);
    let mut child = space.command(&["run", "m.yaml", "--offline"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !space.path(".talkflow/runs").read_dir().is_ok_and(|mut runs| runs.next().is_some()) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it began");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    space.run(&["store", "gc"]).code(3).says("another talkflow process");
    child.kill().unwrap();
    child.wait().unwrap();
    space.run(&["store", "gc"]).ok();
}
