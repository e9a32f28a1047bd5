//! Why stages ran, and what is kept of a run.

use serde_json::Value;

use crate::space::{METHODS, Space, small};

const ONE: &str = "bias_only: bias_only";

/// The line of `text` that speaks of a stage.
#[track_caller]
fn line<'t>(text: &'t str, stage: &str) -> &'t str {
    let of_stage = |line: &&str| line.split_whitespace().any(|word| word == stage);
    text.lines().find(of_stage).unwrap_or_else(|| panic!("no line of `{stage}` in:\n{text}"))
}

#[test]
fn every_line_of_a_run_says_why() {
    let space = Space::with(&small(ONE));
    let first = space.run(&["run", "m.yaml"]).ok().stderr;
    for stage in ["ratings", "split", "teacher", "features", "student[genre=Drama,method=bias_only]", "scores"] {
        assert!(line(&first, stage).ends_with("(first run)"), "{first}");
    }
    // What changed of its own, what changed because of it, and what did not.
    let second = space.run(&["run", "m.yaml", "--set", "seed=2"]).ok().stderr;
    assert!(line(&second, "ratings").contains("cached"), "{second}");
    assert!(line(&second, "split").ends_with("(seed: 1 -> 2)"), "{second}");
    assert!(line(&second, "teacher").ends_with("(seed: 1 -> 2 (and 1 more))"), "{second}");
    assert!(line(&second, "features").ends_with("(`split` changed: seed: 1 -> 2)"), "{second}");
    // Back again, without work, and saying so.
    let plan = space.run(&["plan", "m.yaml"]).ok().says("0 to run, 7 cached").stdout;
    assert!(line(&plan, "split").ends_with("(an earlier result: seed: 2 -> 1)"), "{plan}");
    assert!(line(&plan, "ratings").ends_with("ratings"), "{plan}");
    let third = space.run(&["run", "m.yaml"]).ok().says("0 ran, 7 cached").stderr;
    assert!(line(&third, "split").ends_with("(an earlier result: seed: 2 -> 1)"), "{third}");
    assert!(line(&third, "features").ends_with("(an earlier result: `split` changed: seed: 2 -> 1)"), "{third}");
    let fourth = space.run(&["run", "m.yaml", "--force", "split"]).ok().stderr;
    assert!(line(&fourth, "split").ends_with("(forced)"), "{fourth}");
    space.nothing_to_do(&[]);
}

#[test]
fn plan_counts_what_can_be_known() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    let plan = space.run(&["plan", "m.yaml", "--set", "seed=2"]).ok().says("1 to run, 9 depend on those, 1 cached").stdout;
    assert!(line(&plan, "features").ends_with("(depends on `teacher`)"), "{plan}");
    // What is forced runs whatever comes out before it.
    space.run(&["plan", "m.yaml", "--set", "seed=2", "--force", "features"]).ok().says("2 to run, 8 depend on those, 1 cached");
    space.nothing_to_do(&[]);
}

#[test]
fn a_result_keeps_its_log_and_what_it_took() {
    let space = Space::with(&small(ONE));
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    let record = space.run(&["show", "teacher", "--format", "json"]).ok().json();
    let usage = &record["provenance"]["usage"];
    assert!(usage["cpu_seconds"].as_f64().unwrap() > 0.0 && usage["peak_memory"].as_u64().unwrap() > 1 << 20, "{usage}");
    let log = record["log"]["digest"].as_str().unwrap();
    let kept = space.read(&format!(".talkflow/blobs/{}/{log}", &log[..2]));
    assert!(kept.contains("/3  rmse "), "{kept}");
    assert_eq!(kept, space.read(&format!(".talkflow/runs/{run}/logs/2.log")));
    let events = space.read(&format!(".talkflow/runs/{run}/events.jsonl"));
    let finished = |line: &Value| line["event"] == "finished" && line["stage"] == "teacher";
    let event = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(finished).unwrap();
    assert_eq!((&event["usage"], &event["reason"]), (usage, &"first_run".into()));
    space.nothing_to_do(&[]);
}
