//! The page of a run that really happened is tested through the binary; here is what such runs do not bring about.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::history;

/// What a run of these stages leaves; the events come one a line, without their times.
fn run_of(folder: &Path, manifest: &str, stages: &[Value], events: &[Value]) -> (Store, Run) {
    let store = Store::open(&folder.join("store")).unwrap();
    let (id, at) = store.new_run(Duration::from_secs(1_767_225_600)).unwrap();
    let about = json!({
        "run": id, "manifest": { "name": manifest, "path": "m.yaml" }, "talkflow": "0.1.0",
        "formats": { "manifest": 1, "store": "2", "run": 1 }, "command": ["talkflow", "run", "m.yaml"], "sets": [], "wanted": "all",
        "host": { "name": "h", "system": "s", "cpu": null, "cores": 2, "memory": null }, "device": "cpu", "cores": 2, "git": null,
        "started": 1_767_225_600.0, "ended": null, "exit": null, "totals": null
    });
    fs::write(at.join("run.json"), about.to_string()).unwrap();
    fs::write(at.join("resolved.json"), json!({ "params": [], "stages": stages }).to_string()).unwrap();
    let line = |(at, event): (usize, &Value)| {
        let mut event = event.clone();
        event["at"] = json!(at as f64);
        format!("{event}\n")
    };
    fs::write(at.join("events.jsonl"), events.iter().enumerate().map(line).collect::<String>()).unwrap();
    let run = history::find(&history::runs(&store).unwrap(), "last").unwrap();
    (store, run)
}

fn stage(name: &str, takes: &[usize], lines: &[(&str, &str)]) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(path, value)| json!({ "path": path, "value": value, "from": "default" })).collect();
    json!({ "name": name, "kind": "command", "lines": lines, "takes": takes })
}

fn started(index: usize, stage: &str) -> Value {
    json!({ "event": "started", "index": index, "stage": stage, "reason": "first_run", "attempt": 1 })
}

#[test]
fn instances_of_a_stage_are_one_box_and_what_they_share_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let stages = [
        stage("data", &[], &[]),
        stage("fit[x=1]", &[0], &[("x", "1"), ("rate", "0.1")]),
        stage("fit[x=2]", &[0], &[("x", "2"), ("rate", "0.1")]),
    ];
    let (failed, long) =
        (json!({ "event": "failed", "index": 1, "stage": "fit[x=1]", "causes": ["a", "b"], "retry": false }), "y".repeat(20_000));
    let (store, run) =
        run_of(folder.path(), "m", &stages, &[started(0, "data"), started(1, "fit[x=1]"), failed, started(2, "fit[x=2]")]);
    fs::create_dir_all(run.log(2).parent().unwrap()).unwrap();
    fs::write(run.log(1), "begin\n\u{1b}[31m</script>\n").unwrap();
    fs::write(run.log(2), format!("first\n{long}\nlast\n")).unwrap();
    let page = Page::of(&store, &run).unwrap();
    assert_eq!(page.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(), ["data", "fit"]);
    assert_eq!((page.graph.boxes.len(), page.graph.edges.len()), (2, 1));
    assert_eq!(page.all.as_ref().map(|all| (all.boxes.len(), all.edges.len())), Some((3, 2)));
    let path = |lines: &[Line]| lines.iter().map(|line| format!("{}={}", line.path, line.value)).collect::<Vec<_>>();
    assert_eq!(path(&page.stages[1].lines), ["rate=0.1"]);
    assert_eq!(path(&page.instances[2].lines), ["x=2"]);
    assert_eq!(page.instances[1].failure.as_deref(), Some("a: b"));
    let log = |at: usize| page.instances[at].log.as_ref().map(|log| (log.text.as_str(), log.of));
    // What would colour a terminal is written out.
    assert_eq!(log(1), Some(("begin\n\\u{1b}[31m</script>\n", None)));
    // The torn first line of an end is left out.
    assert_eq!(log(2), Some(("last\n", Some(20_012))));
    assert!(!page.html().unwrap().contains("[31m</script>"));
}

#[test]
fn a_page_is_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (store, run) = run_of(folder.path(), "m", &[stage("a", &[], &[])], &[started(0, "a")]);
    let page = || Page::of(&store, &run).unwrap().html().unwrap();
    assert_eq!(page(), page());
}

#[test]
fn a_result_that_is_gone_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let cached =
        json!({ "event": "cached", "index": 0, "stage": "a", "key": "0".repeat(64), "metrics": { "loss": 0.5 }, "notes": [] });
    let (store, run) = run_of(folder.path(), "m", &[stage("a", &[], &[])], &[cached]);
    let page = Page::of(&store, &run).unwrap();
    assert!(page.remarks[0].contains("no longer whole in the store"), "{:?}", page.remarks);
    assert_eq!(page.instances[0].metrics, [json!(0.5)]);
}

#[test]
fn a_folder_that_says_nonsense_still_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    // Edges to nowhere, and a circle.
    let stages = [stage("a", &[1, 7], &[]), stage("b", &[0], &[])];
    let (store, run) = run_of(folder.path(), "m", &stages, &[started(0, "a"), started(1, "b"), started(9, "c")]);
    let page = Page::of(&store, &run).unwrap();
    assert_eq!((page.graph.boxes.len(), page.graph.edges.len()), (3, 1));
    fs::write(run.journal().with_file_name("run.json"), "{").unwrap();
    assert!(matches!(Page::of(&store, &run), Err(PageError::Unreadable(_))));
}

#[test]
fn the_points_of_a_sweep_are_told_by_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let stages = [stage("a@x=1", &[], &[]), stage("a@x=2", &[], &[])];
    let failed = json!({ "event": "failed", "index": 1, "stage": "a@x=2", "causes": ["no"], "retry": false });
    let (store, run) = run_of(folder.path(), "m.sweep", &stages, &[started(0, "a@x=1"), failed]);
    let point = |n: usize| json!({ "point": n, "name": format!("x={n}"), "params": { "x": n }, "stages": [n - 1] });
    let sweep = json!({ "manifest": "m", "params": ["x"], "seed": null, "space": { "grid": { "x": [1, 2] } }, "points": [point(1), point(2)] });
    fs::write(run.journal().with_file_name("sweep.json"), sweep.to_string()).unwrap();
    let page = Page::of(&store, &run).unwrap();
    let sweep = page.sweep.unwrap();
    assert_eq!(page.title, "m");
    assert_eq!((sweep.tally.failed, sweep.tally.left), (1, 1));
    assert_eq!(sweep.points[1].because.as_deref(), Some("a@x=2: no"));
    assert_eq!(page.instances[1].labels["x"], "2");
    fs::write(run.results(), "nothing").unwrap();
    assert!(matches!(Page::of(&store, &run), Err(PageError::Table { .. })));
}
