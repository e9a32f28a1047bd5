//! What of a manifest runs, and within which limits: selectors, `--from`, `--until`, `--force`, `--keep-going`, resources.

use serde_json::Value;

use crate::space::{METHODS, Space, small};

/// The stages of a document in a state.
fn in_state(document: &Value, state: &str) -> Vec<String> {
    let stages = document["stages"].as_array().unwrap().iter();
    stages.filter(|stage| stage["state"] == state).map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn selectors_choose_for_run_plan_and_why() {
    let space = Space::with(&small(METHODS));
    let document = space.document(&["split", "*[genre=D*,method!=talk]"]);
    let ran = in_state(&document, "ran");
    let students = ["student[genre=Drama,method=bias_only]", "student[genre=Drama,method=scratch]"];
    assert_eq!(ran, [&["ratings", "split"][..], &students].concat());
    let plan = |args: &[&str]| {
        let plan = space.run(&[&["plan", "m.yaml", "--format", "json"], args].concat()).ok().json();
        plan["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(plan(&["--until", "t*"]), ["ratings", "split", "teacher"]);
    let from = plan(&["--from", "*[method=talk]"]);
    assert!(from.contains(&"scores".to_owned()) && from.contains(&"features".to_owned()), "{from:?}");
    assert_eq!(plan(&["--from", "teacher", "--until", "features"]), ["ratings", "split", "teacher", "features"]);
    space
        .run(&["why", "m.yaml", "student[genre=Drama,method=*s*]"])
        .ok()
        .says("method=bias_only]: cached")
        .says("scratch]: cached");
    for (args, said) in [
        (&["teahcer"][..], "did you mean `teacher`?"),
        (&["--from", "student[genra=Drama]"], "`student` has no axis `genra`: did you mean `genre`?"),
        (&["--until", "x*"], "no stage's name fits `x*`: it is one of `ratings`"),
        (&["--force", "student[genre=Dramma]"], "did you mean `Drama`?"),
        (&["split", "--force", "teacher"], "--force teacher: it is not among the stages to run"),
        (&["split", "--from", "teacher"], "--from teacher: it is not among the stages to run"),
        (&["student[genre"], "does not end with `]`"),
    ] {
        space.run(&[&["run", "m.yaml"], args].concat()).code(2).says(said);
        space.run(&[&["plan", "m.yaml"], args].concat()).code(2).says(said);
    }
    space.document(&[]);
    // What is forced runs; the bytes are the same, so nothing after it does.
    let forced = space.document(&["--force", "*[genre=Comedy]", "--from", "student"]);
    assert_eq!(in_state(&forced, "ran").len(), 3);
    assert!(in_state(&forced, "cached").contains(&"scores".to_owned()));
    space.nothing_to_do(&[]);
}

const POOLED: &str = "talkflow: 1\nname: pooled\npools: { api: 1 }\nstages:\n  ratings:\n    resources: { memory: 1 GiB, pools: { api: 2 } }\n    \
    dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 900 }\n";

#[test]
fn a_stage_that_can_never_begin_is_told_before_anything_runs() {
    let space = Space::with(POOLED);
    for command in ["run", "plan"] {
        let ran = |args: &[&str]| {
            let mut all = space.command(&[&[command, "m.yaml", "--offline"], args].concat());
            crate::space::Ran::of(all.env("CUDA_VISIBLE_DEVICES", "").output().unwrap())
        };
        space.write("m.yaml", POOLED);
        ran(&[]).code(2).says("m.yaml:5").says("`ratings` wants 2 of pool `api`, which holds 1").says("--pool api=2");
        ran(&["--pool", "apo=2"]).code(2).says("no pool is called `apo`: did you mean `api`?");
        ran(&["--pool", "api=none"]).code(2).says("api=4");
        ran(&["--pool", "api=2", "--memory", "lots"]).code(2).says("8GiB");
        ran(&["--pool", "api=2", "--memory", "1MiB"]).ok();
        space.write("m.yaml", &POOLED.replace("pools: { api: 2 }", "gpus: 2"));
        ran(&[]).code(2).says("`ratings` wants 2 GPUs and 0 are there");
        ran(&["--gpus", "2"]).ok();
    }
    assert!(space.path(".talkflow").exists());
}

#[test]
fn with_keep_going_every_failure_is_named_again_at_the_end() {
    let manifest = "talkflow: 1\nname: bad\nstages:\n  bad:\n    matrix: { n: [1, 2] }\n    dataset: { file: \"bad${matrix.n}.csv\" }\n  \
        after:\n    matrix: { n: [1, 2] }\n    split: { rows: \"bad[n=${matrix.n}]\", seed: 1 }\n  \
        fine:\n    dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 900 }\n";
    let space = Space::with(manifest);
    for n in 1..3 {
        space.write(&format!("bad{n}.csv"), "user,item,rating\n1,2,many\n");
    }
    let ran = space.run(&["run", "m.yaml", "--keep-going"]).code(1);
    let end = ran.stderr.split_once("2 stages failed:").unwrap_or_else(|| panic!("{}", ran.stderr)).1;
    assert!(end.contains("bad[n=1]: ") && end.contains("bad[n=2]: ") && end.contains("bad2.csv:2"), "{end}");
    let document = space.run(&["run", "m.yaml", "--keep-going", "--format", "json"]).code(1).json();
    assert_eq!((&document["failed"], &document["skipped"], &document["cached"]), (&2.into(), &2.into(), &1.into()));
}

#[test]
fn programs_side_by_side_see_different_gpus_and_others_see_none() {
    let manifest = "talkflow: 1\nname: g\nstages:\n  one:\n    matrix: { n: [1, 2] }\n    resources: { gpus: 1 }\n    timeout: 5m\n    \
        command: { run: \"echo ${matrix.n} > n; touch $DOOR/${matrix.n}; until [ -e $DOOR/1 ] && [ -e $DOOR/2 ]; do sleep 0.05; done; echo \\\"gpu $CUDA_VISIBLE_DEVICES\\\"\", outputs: [n], env: [DOOR] }\n  \
        none:\n    command: { run: \"echo \\\"[$CUDA_VISIBLE_DEVICES]\\\" > seen\", outputs: [seen] }\n";
    let space = Space::with(manifest);
    std::fs::create_dir(space.path("door")).unwrap();
    // Each waits for the other, so that both are at work at once.
    let mut run = space.command(&["run", "m.yaml", "-j", "2", "--gpus", "2"]);
    run.env("CUDA_VISIBLE_DEVICES", "5,GPU-a,7").env("DOOR", space.path("door"));
    crate::space::Ran::of(run.output().unwrap()).ok();
    let log = |n: u8| space.run(&["logs", &format!("one[n={n}]")]).ok().stdout;
    let mut seen: Vec<String> =
        (1..3).map(|n| log(n).lines().find_map(|line| line.split("gpu ").nth(1)).unwrap().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["5", "GPU-a"]);
    let none = space.results().into_iter().find(|(stage, ..)| stage == "none").unwrap().2;
    assert_eq!(space.read(&format!(".talkflow/blobs/{}/{none}", &none[..2])), "[]\n");
}
