//! Several talkflow processes on one store.

use std::{
    collections::BTreeMap,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::space::{METHODS, Ran, Space, small};

#[test]
fn two_processes_share_the_work_and_each_stage_runs_once() {
    let space = Space::with(&small(METHODS));
    let start = || {
        let mut command = space.command(&["run", "m.yaml", "--offline", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    let mut ran = BTreeMap::new();
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
fn eight_processes_with_overlapping_manifests_make_each_result_once() {
    let space = Space::new();
    // Other names of manifests and stages, other methods, shared stages: the same keys wherever they ask for the same.
    let manifests = [
        small("bias_only: bias_only, scratch: scratch"),
        small("scratch: scratch, label: label").replace("name: small", "name: second"),
        small(METHODS).replace("name: small", "name: third").replace("genre: [Drama, Comedy]", "genre: [Comedy, Western]"),
        small("scratch: scratch").replace("  student:", "  pupil:").replace("models: student", "models: pupil"),
    ];
    // A program among them: the same in all, once under another name.
    let program = |name: &str| {
        format!(
            "  {name}:\n    command: {{ run: 'sleep 0.2; cat split/* | wc -c > size', inputs: {{ split: split }}, outputs: [size] }}\n"
        )
    };
    for (n, manifest) in manifests.iter().enumerate() {
        space.write(&format!("m{n}.yaml"), &(manifest.clone() + &program(if n == 2 { "counted" } else { "size" })));
    }
    let start = |n: usize| {
        let manifest = format!("m{}.yaml", n % manifests.len());
        let mut command = space.command(&["run", &manifest, "--offline", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..8).map(start).collect();
    let mut ran = BTreeMap::<String, Vec<String>>::new();
    for child in children {
        let document = Ran::of(child.wait_with_output().unwrap()).ok().json();
        for stage in document["stages"].as_array().unwrap() {
            let names = ran.entry(stage["key"].as_str().unwrap().to_owned()).or_default();
            if stage["state"] == "ran" {
                names.push(stage["name"].as_str().unwrap().to_owned());
            }
        }
    }
    assert!(ran.len() >= 13, "{ran:?}");
    assert!(ran.values().all(|names| names.len() == 1), "{ran:?}");
    for n in 0..manifests.len() {
        let document = space.run(&["run", &format!("m{n}.yaml"), "--offline", "--format", "json"]).ok().json();
        assert_eq!(document["ran"], 0);
    }
}

/// The events of all runs so far.
fn events(space: &Space) -> Vec<serde_json::Value> {
    let runs = std::fs::read_dir(space.path(".talkflow/runs")).into_iter().flatten().flatten();
    let texts = runs.filter_map(|run| std::fs::read_to_string(run.path().join("events.jsonl")).ok());
    // A line may be half written just now.
    texts.flat_map(|text| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>()).collect()
}

fn until(space: &Space, what: &str, happened: impl Fn(&serde_json::Value) -> bool) {
    let began = Instant::now();
    while !events(space).iter().any(&happened) {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}: {:?}", events(space));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_waiting_stage_holds_no_cores_and_takes_over_from_a_holder_that_dies() {
    let manifest = small("bias_only: bias_only").replace("epochs: 3", "epochs: 30").replace("patience: 3", "patience: 0");
    let other = "  other:\n    split: { rows: ratings, seed: 7 }\n";
    let whole = Space::with(&(manifest.clone() + other));
    whole.document(&[]);
    let space = Space::with(&manifest);
    let mut holder = space.command(&["run", "m.yaml", "--offline"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(&space, "the teacher began", |event| event["event"] == "started" && event["stage"] == "teacher");
    signal(&holder, "-STOP");
    let held = !events(&space).iter().any(|event| event["event"] == "finished" && event["stage"] == "teacher");
    assert!(held, "it was stopped too late");
    space.write("m.yaml", &(manifest + other));
    let mut second = space.command(&["run", "m.yaml", "--offline", "-j", "1"]);
    let second = second.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until(&space, "the second one waits", |event| event["event"] == "waiting" && event["stage"] == "teacher");
    // Its one core is free for others meanwhile.
    until(&space, "other work is done", |event| event["event"] == "finished" && event["stage"] == "other");
    holder.kill().unwrap();
    holder.wait().unwrap();
    Ran::of(second.wait_with_output().unwrap()).ok().says("another process is making this");
    assert_eq!(space.results(), whole.results());
    space.nothing_to_do(&[]);
}

#[test]
fn who_waited_for_one_that_failed_tries_itself() {
    let space = Space::new();
    // Whoever comes first fails.
    let first = space.path("first");
    space.write(
        "m.yaml",
        &format!(
            "talkflow: 1\nstages:\n  s:\n    command: {{ run: 'if mkdir {}; then sleep 1; exit 7; fi; echo ok > out', outputs: [out] }}\n",
            first.display()
        ),
    );
    let start = || {
        let mut command = space.command(&["run", "m.yaml", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let holder = start();
    until(&space, "the first one began", |event| event["event"] == "started");
    let second = start();
    until(&space, "the second one waits", |event| event["event"] == "waiting");
    Ran::of(holder.wait_with_output().unwrap()).code(1).says("code 7");
    let document = Ran::of(second.wait_with_output().unwrap()).ok().json();
    assert_eq!((&document["ran"], &document["cached"]), (&1.into(), &0.into()), "{document:#}");
    space.nothing_to_do(&[]);
}

#[test]
fn instances_of_one_run_that_make_the_same_do_not_wait_for_another_process() {
    // Names of matrix values are in no key: eight instances, one result.
    let space = Space::with(
        "talkflow: 1\nstages:\n  s:\n    matrix: { n: [1, 2, 3, 4, 5, 6, 7, 8] }\n    command: { run: 'sleep 0.5; echo ok > out', outputs: [out] }\n",
    );
    let ran = space.run(&["run", "m.yaml", "-j", "8"]).ok().says("1 ran, 7 cached");
    assert!(!ran.stderr.contains("another process"), "{}", ran.stderr);
    assert!(!events(&space).iter().any(|event| event["event"] == "waiting"));
    space.nothing_to_do(&[]);
}
