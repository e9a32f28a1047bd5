//! `talkflow sweep`, end to end: points that share, fail, are chosen, killed and gone on with, and what is written of them.

use std::{os::unix::process::CommandExt, process::Stdio, time::Duration};

use serde_json::Value;

use crate::space::{Ran, Space};

/// A chain of programs, each of which leaves a line in `count` when it works: `base` depends on nothing, `middle` on `a`, `end` on all.
const CHAIN: &str = r#"talkflow: 1
name: chain
params:
  a: 1
  b: { c: 10 }
  seed: 1
sweep:
  grid: { a: [1, 2], b.c: [10, 20] }
  seeds: 2
stages:
  base:
    command: { run: 'echo base >> "$COUNT"; echo 1 > out', outputs: [out], env: [COUNT] }
  middle:
    command: { run: 'echo middle >> "$COUNT"; echo "$A" > out', inputs: { base: base }, outputs: [out], env: { A: "${a}", COUNT: "${env.COUNT}" } }
  end:
    matrix: { half: [one, other] }
    command:
      run: 'echo end >> "$COUNT"; echo "{\"value\": $((`cat middle/out` * B + SEED)), \"ok\": true, \"half\": \"$HALF\"}" > m.json'
      inputs: { middle: middle }
      env: { B: "${b.c}", SEED: "${seed}", HALF: "${matrix.half}", COUNT: "${env.COUNT}" }
      metrics: m.json
"#;

fn chain() -> Space {
    Space::with(CHAIN)
}

fn sweep(space: &Space, args: &[&str]) -> Ran {
    let all: Vec<&str> = ["sweep", "m.yaml"].iter().chain(args).copied().collect();
    Ran::of(space.command(&all).env("COUNT", space.path("count")).output().unwrap())
}

fn document(space: &Space, args: &[&str]) -> Value {
    sweep(space, &[args, &["--format", "json"]].concat()).ok().json()
}

/// How often each stage did its work.
fn counts(space: &Space) -> [usize; 3] {
    let text = std::fs::read_to_string(space.path("count")).unwrap_or_default();
    ["base", "middle", "end"].map(|stage| text.lines().filter(|line| *line == stage).count())
}

fn tally(document: &Value) -> [u64; 4] {
    ["done", "cached", "failed", "left"].map(|state| document["tally"][state].as_u64().unwrap())
}

#[test]
fn what_points_have_in_common_is_done_once_and_a_second_sweep_does_nothing() {
    let space = chain();
    let ran = sweep(&space, &[]).ok();
    for text in [
        "8 points over a, b.c, seed: 19 stages, which one by one would be 32",
        "chain.sweep: 19 stages",
        // Whichever is done first.
        "  (1 of 8 there; 7 left, about ",
        "point  a=1,b.c=10,seed=1  (",
        "end[half=other]@a=2,b.c=20,seed=2",
        "points: 8 done, 0 cached, 0 left",
    ] {
        assert!(ran.stderr.contains(text), "`{text}` is not in:\n{}", ran.stderr);
    }
    assert_eq!(counts(&space), [1, 2, 16]);
    let again = document(&space, &[]);
    assert_eq!((&again["ran"], tally(&again)), (&0.into(), [0, 8, 0, 0]));
    // A plain run finds what a point made, and is another manifest to the store.
    let run = |args: &[&str]| Ran::of(space.command(args).env("COUNT", space.path("count")).output().unwrap()).ok();
    assert!(run(&["run", "m.yaml"]).stderr.contains("0 ran, 4 cached"));
    assert_eq!(counts(&space), [1, 2, 16]);
    let shown = |folder: &str| std::fs::read_dir(space.path(".talkflow/out").join(folder)).unwrap().count();
    assert!(shown("chain.sweep") >= 19 && shown("chain") < 6, "{} {}", shown("chain.sweep"), shown("chain"));
    // Instances of a sweep can be named wherever stages are.
    run(&["show", "end[half=one]@a=2,b.c=20,seed=2"]).says("value: 42");
    run(&["metrics", "end[half=one]@seed=1,a=2", "--last", "2", "-m", "value"]).says("21");
}

#[test]
fn points_are_chosen_by_value_number_and_limit() {
    let space = chain();
    let document_of = |args: &[&str]| {
        let document = document(&space, args);
        document["points"].as_array().unwrap().iter().map(|point| point["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(document_of(&["--limit", "1"]), ["a=1,b.c=10,seed=1"]);
    assert_eq!(counts(&space), [1, 1, 2]);
    assert_eq!(document_of(&["--only", "a=2,seed=1..1"]), ["a=2,b.c=10,seed=1", "a=2,b.c=20,seed=1"]);
    assert_eq!(document_of(&["--only", "a=2", "--only", "point=1", "--limit", "2"]), ["a=1,b.c=10,seed=1", "a=2,b.c=10,seed=1"]);
    assert_eq!(counts(&space), [1, 2, 6]);
    // Values that are typed take the place of those in the manifest, or are another axis.
    assert_eq!(
        document_of(&["--set", "a=1", "--set", "b.c=10,30", "--set", "seed=1"]),
        ["a=1,b.c=10,seed=1", "a=1,b.c=30,seed=1"]
    );
    // Only a part of the graph.
    assert_eq!(document(&space, &["middle", "--set", "a=7,8"])["ran"], 2);
    sweep(&space, &["--only", "a=9"]).code(2).says("no point has `a=9`: it is one of `1`, `2`");
    sweep(&space, &["--only", "aa=1"]).code(2).says("`aa` is not swept");
    sweep(&space, &["midle"]).code(2).says("did you mean `middle`?");
    sweep(&space, &["--limit", "0"]).code(2);
    sweep(&space, &["--set", "d=1,2"]).code(2).says("there is no parameter `d`");
}

#[test]
fn a_dry_run_says_what_is_there_and_runs_nothing() {
    let space = chain();
    let dry = |args: &[&str]| document(&space, &[args, &["--dry-run"]].concat());
    let before = dry(&[]);
    assert_eq!((&before["cached"], &before["left"], &before["missing"]), (&0.into(), &8.into(), &19.into()));
    assert_eq!(counts(&space), [0, 0, 0]);
    sweep(&space, &["--only", "a=1,seed=1"]).ok();
    let after = dry(&[]);
    // Two points, and the parts of others that are shared with them: all but `end`.
    assert_eq!((&after["cached"], &after["left"], &after["missing"]), (&2.into(), &6.into(), &13.into()));
    assert_eq!((&after["points"][1]["missing"], &after["points"][1]["stages"]), (&2.into(), &4.into()));
    let text = sweep(&space, &["--dry-run", "--limit", "2"]).ok().stdout;
    assert!(text.contains("    1  a=1,b.c=10,seed=1  cached\n    2  a=1,b.c=10,seed=2  2 of 4 stages to make\n"), "{text}");
    assert!(text.ends_with("1 points cached, 1 left, 2 stages to make\n"), "{text}");
}

#[test]
fn a_manifest_without_a_section_is_swept_over_what_is_typed() {
    let plain = CHAIN.replace("sweep:\n  grid: { a: [1, 2], b.c: [10, 20] }\n  seeds: 2\n", "");
    let space = Space::with(&plain);
    sweep(&space, &[]).code(2).says("there is nothing to sweep over").says("--set seed=1,2,3");
    let document = document(&space, &["--set", "seed=1,2,3"]);
    assert_eq!((tally(&document), counts(&space)), ([3, 0, 0, 0], [1, 1, 6]));
}

#[test]
fn a_failed_point_is_reported_and_the_rest_go_on() {
    let space = Space::with(&CHAIN.replace("'echo end", "'test \"$B.$SEED\" != 20.2; echo end"));
    let ran = sweep(&space, &["--format", "json"]).code(1);
    let document = ran.json();
    assert_eq!((tally(&document), &document["ok"]), ([6, 0, 2, 0], &false.into()));
    assert!(ran.stderr.contains("2 of 8 points failed:\n  a=1,b.c=20,seed=2: end[half="), "{}", ran.stderr);
    assert!(ran.stderr.contains("points: 6 done, 0 cached, 2 failed, 0 left"), "{}", ran.stderr);
    let failed: Vec<&Value> = document["points"].as_array().unwrap().iter().filter(|point| point["state"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["params"]["seed"]), (2, &2.into()));
    assert!(failed[0]["because"].as_str().unwrap().contains("exit"), "{failed:?}");
    // The table has the others, and says which are not in it.
    let again = sweep(&space, &[]).code(1);
    assert!(again.stdout.contains("6 of 8 points"), "{}", again.stdout);
    assert!(again.stdout.contains("a stage failed: a=1,b.c=20,seed=2; a=2,b.c=20,seed=2"), "{}", again.stdout);
    // Where the first failure is to be the end, it is.
    let fresh = Space::with(&CHAIN.replace("'echo base", "'exit 3; echo base"));
    let ran = sweep(&fresh, &["--fail-fast"]).code(1);
    assert!(ran.stderr.contains("8 failed, 0 left"), "{}", ran.stderr);
}

#[test]
fn a_killed_sweep_goes_on_where_it_was() {
    let space = Space::with(&CHAIN.replace("'echo end >> \"$COUNT\";", "'sleep 0.2; echo end >> \"$COUNT\";"));
    let mut command = space.command(&["sweep", "m.yaml", "-j", "1"]);
    command.env("COUNT", space.path("count")).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let clock = std::time::Instant::now();
    while counts(&space)[2] < 5 {
        assert!(clock.elapsed() < Duration::from_secs(60), "{:?}", counts(&space));
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process_group(rustix::process::Pid::from_child(&child), rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
    let before = counts(&space);
    assert!(before[2] < 16, "the kill came too late");
    // What it goes over is kept from the beginning, its table is not there.
    let run =
        std::fs::read_dir(space.path(".talkflow/runs")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let kept: Value = serde_json::from_str(&space.read(&format!(".talkflow/runs/{run}/sweep.json"))).unwrap();
    assert_eq!((kept["points"].as_array().unwrap().len(), &kept["seed"]), (8, &"seed".into()));
    assert_eq!(kept["points"][7]["stages"].as_array().unwrap().len(), 4);
    space.run(&["sweep", "--show", &run]).code(2).says("did not come to its end");
    let document = document(&space, &[]);
    let states = tally(&document);
    assert_eq!((states[0] + states[1], states[2], states[3]), (8, 0, 0));
    assert!(states[1] >= 1, "points that were complete are not run again: {states:?}");
    // What was at work when the kill came is done again; nothing else is.
    let after = counts(&space);
    assert_eq!((after[0], after[1]), (before[0], 2));
    assert!(after[2] <= 16 + 1, "{after:?}");
    assert_eq!(document["cached"].as_u64().unwrap() + document["ran"].as_u64().unwrap(), 19);
}

#[test]
fn points_run_side_by_side_within_the_limits_of_the_run() {
    let text = |pool: &str| {
        format!(
            "talkflow: 1\nparams: {{ seed: 1 }}\npools: {{ one: 1 }}\nsweep: {{ seeds: 4 }}\nstages:\n  a:\n{pool}    command: {{ run: 'sleep 0.5; echo \"$SEED\"', \
             env: {{ SEED: \"${{seed}}\" }} }}\n"
        )
    };
    let most_at_once = |text: &str| {
        let space = Space::with(text);
        let run = document(&space, &["-j", "3"])["run"].as_str().unwrap().to_owned();
        let (mut at_work, mut most) = (0_i32, 0);
        for line in space.read(&format!(".talkflow/runs/{run}/events.jsonl")).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            at_work += i32::from(event["event"] == "started") - i32::from(event["event"] == "finished");
            most = most.max(at_work);
        }
        most
    };
    assert_eq!(most_at_once(&text("")), 3);
    assert_eq!(most_at_once(&text("    resources: { pools: { one: 1 } }\n")), 1);
}

#[test]
fn a_sweep_that_is_told_to_stop_says_what_is_left() {
    let space = Space::with(&CHAIN.replace("'echo end", "'sleep 0.2; echo end"));
    let mut command = space.command(&["sweep", "m.yaml", "-j", "1"]);
    let child = command.env("COUNT", space.path("count")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let clock = std::time::Instant::now();
    while counts(&space)[2] < 3 {
        assert!(clock.elapsed() < Duration::from_secs(60), "{:?}", counts(&space));
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).code(130);
    let line = ran.stderr.lines().find(|line| line.starts_with("points: ")).unwrap().to_owned();
    assert!(line.contains("done") && !line.contains("failed") && !line.ends_with(" 0 left"), "{line}");
}

#[test]
fn mistakes_are_told_before_anything_runs_and_as_a_document() {
    let space = Space::with(&CHAIN.replace("a: [1, 2]", "a: [1, 1], bb: [2]").replace("seeds: 2", "seeds: none"));
    let ran = sweep(&space, &["--format", "json"]).code(2);
    let errors = ran.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["message"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(!space.path(".talkflow").exists());
    // A plain run tells them too: the section is a part of the manifest.
    space.run(&["plan", "m.yaml"]).code(2).says("there is no parameter `bb`");
}

#[test]
fn three_hundred_points_of_trivial_stages_work() {
    let text = "talkflow: 1\nparams: { x: 1, seed: 1 }\nsweep: { grid: { x: [1, 2, 3] }, seeds: 100 }\nstages:\n  one:\n    command: { run: [\"true\"] }\n  two:\n    command: { run: 'echo \"{\\\"y\\\": $X.$SEED}\" > m.json', inputs: { one: one }, \
        env: { X: \"${x}\", SEED: \"${seed}\" }, metrics: m.json }\n";
    let space = Space::with(text);
    let document = document(&space, &["-o", "out"]);
    assert_eq!((tally(&document), &document["ran"]), ([300, 0, 0, 0], &301.into()));
    assert_eq!(space.read("out/results.csv").lines().count(), 301);
    let again = self::document(&space, &[]);
    assert_eq!((tally(&again), &again["ran"]), ([0, 300, 0, 0], &0.into()));
}

#[test]
fn results_are_the_same_numbers_in_every_form_and_the_same_bytes_again() {
    let space = chain();
    let stdout = sweep(&space, &["-o", "tables"]).ok().stdout;
    let csv = space.read("tables/results.csv");
    insta::assert_snapshot!("sweep_csv", seconds_hidden(&csv));
    let markdown = space.read("tables/results.md");
    assert!(markdown.ends_with(&stdout), "{markdown}\n---\n{stdout}");
    insta::assert_snapshot!(
        "sweep_markdown",
        stdout.lines().take_while(|line| !line.starts_with("m.yaml")).collect::<Vec<_>>().join("\n")
    );
    let latex = space.read("tables/results.tex");
    insta::assert_snapshot!(
        "sweep_latex",
        latex.lines().skip_while(|line| line.starts_with("% prov")).collect::<Vec<_>>().join("\n")
    );
    // Read back, Parquet has what csv has.
    let (head, rows, provenance) = parquet(&space.path("tables/results.parquet"));
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), head);
    let read: Vec<Vec<String>> = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(read, rows);
    // Where it comes from is said in each of them.
    let beside: Value = serde_json::from_str(&space.read("tables/provenance.json")).unwrap();
    assert_eq!(provenance["points"].as_array().unwrap().len(), 8);
    for field in ["manifest", "digest", "talkflow", "runs", "host", "device", "space", "params", "seed", "points"] {
        assert!(!provenance[field].is_null() && provenance[field] == beside[field], "{field}: {provenance}");
    }
    assert_eq!(provenance["space"]["grid"]["b.c"], serde_json::json!([10, 20]));
    let runs = provenance["runs"].as_array().unwrap();
    assert!(
        runs.contains(&beside["run"])
            && markdown.contains(runs[0].as_str().unwrap())
            && latex.contains(runs[0].as_str().unwrap())
    );
    // Again, from the store: the same bytes. And so the run shows it, without the manifest.
    sweep(&space, &["-o", "again"]).ok();
    let run = beside["run"].as_str().unwrap();
    space.run(&["sweep", "--show", run, "-o", "shown"]).ok();
    for file in ["results.csv", "results.md", "results.tex", "results.parquet"] {
        let bytes = |folder: &str| std::fs::read(space.path(folder).join(file)).unwrap();
        assert_eq!(bytes("tables"), bytes("again"), "{file}");
        assert_eq!(bytes("tables"), bytes("shown"), "{file}");
    }
    assert_eq!(space.run(&["sweep", "--show", "last"]).ok().stdout, stdout);
    // Other metrics are shown when they are asked for.
    space.run(&["sweep", "--show", "last", "--metric", "ok"]).ok().says("| ok |");
    space.run(&["sweep", "--show", "last", "m.yaml"]).code(2);
    Ran::of(space.command(&["run", "m.yaml"]).env("COUNT", space.path("count")).output().unwrap()).ok();
    space.run(&["sweep", "--show", "last"]).code(2).says("is no sweep");
}

#[test]
fn a_results_document_has_rows_and_summary() {
    let space = chain();
    let document = document(&space, &["--only", "a=1"]);
    let rows = document["results"].as_array().unwrap();
    // Two numbers (a switch is one) of two instances of four points.
    assert_eq!(rows.len(), 16);
    let row = &rows[0];
    assert_eq!((&row["point"], &row["a"], &row["b.c"], &row["seed"]), (&1.into(), &1.into(), &10.into(), &1.into()));
    assert_eq!(
        (&row["stage"], &row["label.half"], &row["metric"], &row["value"]),
        (&"end".into(), &"one".into(), &"value".into(), &11.0.into())
    );
    assert!(row["seconds"].as_f64().unwrap() > 0.0);
    let line = &document["summary"][0];
    assert_eq!((&line["mean"], &line["n"], &line["half"]), (&11.5.into(), &2.into(), &"one".into()));
    assert!((line["sd"].as_f64().unwrap() - 0.5_f64.sqrt()).abs() < 1e-12);
}

/// Seconds differ from machine to machine.
fn seconds_hidden(csv: &str) -> String {
    let hide = |line: &str| {
        line.rsplit_once(',').map(|(rest, last)| format!("{rest},{}", if last == "seconds" { last } else { "S" })).unwrap()
    };
    csv.lines().map(hide).collect::<Vec<_>>().join("\n")
}

/// The names of a file's columns, its cells as text, and its provenance.
fn parquet(path: &std::path::Path) -> (Vec<String>, Vec<Vec<String>>, Value) {
    use arrow::{
        array::AsArray,
        datatypes::{DataType, Float64Type, Int64Type},
    };
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let text = pairs.iter().find(|pair| pair.key == "talkflow.sweep").unwrap().value.clone().unwrap();
    let head = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let cell = |column: &arrow::array::ArrayRef, row: usize| match column.data_type() {
            _ if column.is_null(row) => String::new(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
            DataType::Boolean => column.as_boolean().value(row).to_string(),
            _ => column.as_string::<i32>().value(row).to_owned(),
        };
        rows.extend((0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()));
    }
    (head, rows, serde_json::from_str(&text).unwrap())
}

#[test]
fn the_sweep_of_the_quickstart_trains_what_it_has_to_and_no_more() {
    let space = Space::new();
    for name in ["quickstart.yaml", "quickstart_sweep.yaml"] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
        std::fs::copy(file, space.path(name)).unwrap();
    }
    let ran = space.run(&["sweep", "quickstart_sweep.yaml", "--offline", "-o", "tables"]).ok();
    // Of a seed: a split, a teacher, two sets of features, two genres by three students that do not talk; by four settings two that do, and
    // the scores. And one set of ratings.
    assert!(ran.stderr.contains("8 points over talk.rounds, talk.weights.interact, seed: 45 stages"), "{}", ran.stderr);
    assert!(ran.stderr.contains("45 ran, 0 cached"), "{}", ran.stderr);
    // One line a setting, genre and method, over two seeds.
    assert!(
        ran.stdout.contains("| talk.rounds | talk.weights.interact | genre | method | metric | mean | sd | n |"),
        "{}",
        ran.stdout
    );
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.contains("| rmse |") && line.ends_with("| 2 |")).collect();
    assert_eq!(lines.len(), 4 * 2 * 5, "{}", ran.stdout);
    // Which data the numbers are about is said beside them.
    assert!(ran.stdout.contains("data: movielens/synthetic, 100000 ratings"), "{}", ran.stdout);
    let csv = space.read("tables/results.csv");
    assert!(csv.starts_with("point,talk.rounds,talk.weights.interact,seed,stage,"), "{csv}");
    let talk = |line: &&str| line.contains(",scores,") && line.contains(",talk,") && line.contains(",rmse,");
    // Points by genres; those of other settings differ, since they are other students.
    let talks: Vec<&str> = csv.lines().filter(talk).collect();
    assert_eq!(talks.len(), 8 * 2, "{talks:?}");
    let again = space.run(&["sweep", "quickstart_sweep.yaml", "--offline", "--format", "json"]).ok().json();
    assert_eq!((&again["ran"], &again["tally"]["cached"]), (&0.into(), &8.into()));
}
