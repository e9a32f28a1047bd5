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
    assert!(line(&second, "features").ends_with("(`split` changed: seed: 1 -> 2, and others)"), "{second}");
    // Back again, without work, and saying so.
    let plan = space.run(&["plan", "m.yaml"]).ok().says("0 to run, 7 cached").stdout;
    assert!(line(&plan, "split").ends_with("(an earlier result: seed: 2 -> 1)"), "{plan}");
    assert!(line(&plan, "ratings").ends_with("ratings"), "{plan}");
    let third = space.run(&["run", "m.yaml"]).ok().says("0 ran, 7 cached").stderr;
    assert!(line(&third, "split").ends_with("(an earlier result: seed: 2 -> 1)"), "{third}");
    assert!(line(&third, "features").ends_with("(an earlier result: `split` changed: seed: 2 -> 1, and others)"), "{third}");
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

#[test]
fn why_traces_an_input_to_the_first_cause_now_and_afterwards() {
    let space = Space::with(&small(ONE));
    let first = space.document(&[])["run"].as_str().unwrap().to_owned();
    // Before it runs: the cause is still to come.
    space.run(&["why", "m.yaml", "features", "--set", "seed=2"]).ok().says("because `split` runs first: seed: 1 -> 2");
    // The stage before it runs alone; then the changed input is traced to it.
    space.document(&["split", "--set", "seed=2"]);
    let now = space.run(&["why", "m.yaml", "teacher", "--set", "seed=2"]).ok();
    now.says("input `rows` changed (").says("since `split` has another result").says("seed: 1 -> 2");
    let second = space.document(&["--set", "seed=2"])["run"].as_str().unwrap().to_owned();
    // Afterwards, without the manifest.
    std::fs::remove_file(space.path("m.yaml")).unwrap();
    let after = space.run(&["why", "features"]).ok();
    after.says(&format!(
        "in run {second}, features ran: input `rows` changed (and 1 more): `split` has another result (seed: 1 -> 2)"
    ));
    space.run(&["why", "features", "--run", &first]).ok().says("features ran: first run");
    let json = &space.run(&["why", "features", "--format", "json"]).ok().json()[0];
    let chain: Vec<&str> = json["upstream"].as_array().unwrap().iter().map(|step| step["stage"].as_str().unwrap()).collect();
    assert!(chain.contains(&"split"), "{json:#}");
    assert_eq!(json["upstream"].as_array().unwrap().last().unwrap()["changes"][0]["new"], "2");
    // Of a result that was there, why the run that made it ran it.
    space.run(&["why", "ratings"]).ok().says("ratings cached").says(&format!("in run {first}, ratings ran: first run"));
    space.run(&["why", "teachr"]).code(2).says("did you mean `teacher`");
    space.run(&["why", "teacher", "--run", "last~9"]).code(2).says("only 3 runs are kept");
    space.write("m.yaml", &small(ONE));
    space.nothing_to_do(&[]);
}

#[test]
fn a_run_keeps_what_was_asked_where_and_how_it_ended() {
    let space = Space::with(&small(ONE));
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]).args(args);
        command.current_dir(space.root()).output().is_ok_and(|output| output.status.success())
    };
    let about = |run: &str| -> Value { serde_json::from_str(&space.read(&format!(".talkflow/runs/{run}/run.json"))).unwrap() };
    let run = space.document(&["ratings", "--set", "seed=1"])["run"].as_str().unwrap().to_owned();
    let first = about(&run);
    assert_eq!((&first["run"], &first["git"], &first["exit"]), (&run.as_str().into(), &Value::Null, &0.into()), "{first:#}");
    assert_eq!(first["manifest"], serde_json::json!({ "name": "small", "path": "m.yaml" }));
    assert_eq!(first["formats"], serde_json::json!({ "manifest": 1, "store": "2", "run": 1 }));
    assert_eq!((&first["sets"][0], &first["command"][1], &first["device"]), (&"seed=1".into(), &"run".into(), &"cpu".into()));
    assert_eq!(first["totals"], serde_json::json!({ "ran": 1, "cached": 0, "failed": 0, "skipped": 0 }));
    assert_eq!(first["wanted"], serde_json::json!([0]));
    assert!(first["host"]["cores"].as_u64().unwrap() > 0 && first["ended"].as_f64() >= first["started"].as_f64(), "{first:#}");
    let resolved: Value = serde_json::from_str(&space.read(&format!(".talkflow/runs/{run}/resolved.json"))).unwrap();
    assert_eq!(resolved["params"][0]["from"], "--set seed=1");
    assert!(resolved["stages"][0]["lines"].as_array().unwrap().iter().any(|line| line["from"] == "default"), "{resolved:#}");
    // With a repository; a machine without git has none.
    if git(&["init", "-q"]) {
        assert!(git(&["add", "m.yaml"]) && git(&["commit", "-q", "-m", "m"]));
        space.write("untracked", "");
        let run = space.document(&[])["run"].as_str().unwrap().to_owned();
        assert_eq!(about(&run)["git"]["revision"].as_str().unwrap().len(), 40);
        assert_eq!(about(&run)["git"]["dirty"], true);
        std::fs::remove_file(space.path("untracked")).unwrap();
        let run = space.document(&[])["run"].as_str().unwrap().to_owned();
        assert_eq!(about(&run)["git"]["dirty"], false);
        space.run(&["show", "last"]).ok().says("  git: ");
    }
    // Another end.
    space.write("fails.yaml", "talkflow: 1\nname: fails\nstages:\n  a:\n    dataset: { file: empty.csv }\n");
    space.write("empty.csv", "");
    space.run(&["run", "fails.yaml"]).code(1);
    let shown = space.run(&["show", "--format", "json"]).ok().json();
    let last = shown.as_array().unwrap().last().unwrap();
    assert_eq!((&last["outcome"], &last["exit"], &last["failed"]), (&"failed".into(), &1.into(), &1.into()), "{last:#}");
    space.run(&["show", "last"]).ok().says("failed  a").says("host: ");
    space.nothing_to_do(&[]);
}

#[test]
fn a_stage_is_shown_with_its_history_and_two_runs_are_compared() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    space.document(&["--set", "talk.weights.interact=0.3"]);
    let student = "student[genre=Drama,method=talk]";
    let shown = space.run(&["show", student]).ok().says("took: ").says("log: ").stdout;
    let history: Vec<&str> = shown.lines().filter(|line| line.starts_with("20")).collect();
    assert_eq!(history.len(), 2, "{shown}");
    assert!(history[0].ends_with("method.talk.weights.interact: 0.1 -> 0.3") && history[1].ends_with("first run"), "{shown}");
    let diff = space.run(&["diff", "last~1", "last", "--format", "json"]).ok().json();
    assert_eq!(diff["params"], serde_json::json!([{ "what": "talk.weights.interact", "before": "0.1", "after": "0.3" }]));
    let stages: Vec<&str> = diff["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["scores", "student[genre=Comedy,method=talk]", student]);
    assert_eq!(diff["stages"][2]["changes"][0]["new"], "0.3", "{diff:#}");
    let metric = diff["metrics"].as_array().unwrap().iter().find(|metric| metric["stage"] == student).unwrap();
    let number = |field: &str| metric[field].as_f64().unwrap();
    assert!((number("after") - number("before") - number("difference")).abs() < 1e-12, "{metric}");
    assert_eq!(diff["circumstances"], serde_json::json!([]));
    let said = space.run(&["diff"]).ok().says("parameters").says("  talk.weights.interact: 0.1 -> 0.3");
    said.says(&format!("  {student}: method.talk.weights.interact: 0.1 -> 0.3"));
    space.run(&["diff", "last", "last"]).ok().says("no difference");
    space.nothing_to_do(&[]);
}

#[test]
fn logs_are_there_for_results_that_were_there_already_and_outlive_their_run() {
    let space = Space::with(&small(ONE));
    let first = space.document(&[])["run"].as_str().unwrap().to_owned();
    space.document(&[]);
    let log = space.run(&["logs", "teacher"]).ok().stdout;
    assert!(log.contains("/3  rmse "), "{log}");
    assert_eq!(space.run(&["logs", "teacher", "--run", &first]).ok().stdout, log);
    std::fs::remove_dir_all(space.path(&format!(".talkflow/runs/{first}"))).unwrap();
    let json = space.run(&["logs", "teacher", "--format", "json"]).ok().json();
    assert_eq!((&json["state"], &json["log"]), (&"cached".into(), &log.as_str().into()));
    assert_eq!(space.run(&["logs", "-f", "teacher"]).ok().stdout, log);
    space.run(&["logs", "split"]).ok().says("said nothing");
    space.run(&["logs", "student"]).code(2).says("2 instances");
    space.run(&["logs", "teachers"]).code(2).says("did you mean `teacher`");
    space.run(&["logs", "-f", "teacher", "--format", "json"]).code(2).says("no JSON document");
    // A stage that failed says why at the end of its log.
    space.write("fails.yaml", "talkflow: 1\nname: fails\nstages:\n  a:\n    dataset: { file: empty.csv }\n");
    space.write("empty.csv", "");
    space.run(&["run", "fails.yaml"]).code(1);
    space.run(&["logs", "a"]).ok().says("failed: ");
    space.nothing_to_do(&[]);
}

#[test]
fn a_log_is_followed_until_its_stage_ends() {
    let manifest = small(ONE).replace("epochs: 3", "epochs: 100000").replace("patience: 3", "patience: 0");
    let space = Space::with(&manifest);
    let mut run = space.command(&["run", "m.yaml", "teacher", "--offline"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while !space.run(&["logs", "teacher"]).stdout.contains("rmse") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(120), "the teacher never began");
    }
    space.run(&["show", "last"]).ok().says("running  teacher");
    let follower = space.command(&["logs", "-f", "teacher"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let killed = std::process::Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(run.wait().unwrap().code(), Some(143));
    // It ends by itself, with all that the stage said.
    let followed = crate::space::Ran::of(follower.wait_with_output().unwrap()).ok().stdout;
    assert_eq!(followed, space.run(&["logs", "teacher"]).ok().stdout);
    space.run(&["show"]).ok().says("  stopped  ");
    space.write("m.yaml", &small(ONE));
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn metrics_of_all_runs_are_one_tidy_table() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    space.document(&["--set", "talk.weights.interact=0.3"]);
    let rows = space.run(&["metrics", "student", "-m", "validation_rmse", "--format", "json"]).ok().json();
    let rows = rows.as_array().unwrap();
    // Two genres, three methods, two runs.
    assert_eq!(rows.len(), 12);
    let talk = rows.iter().rfind(|row| row["stage"] == "student[genre=Drama,method=talk]").unwrap();
    assert_eq!(talk["labels"], serde_json::json!({ "genre": "Drama", "method": "talk" }));
    assert_eq!(talk["params"], serde_json::json!({ "talk.weights.interact": "0.3" }));
    assert_eq!((&talk["metric"], &talk["manifest"], &talk["text"]), (&"validation_rmse".into(), &"small".into(), &Value::Null));
    assert!(talk["value"].as_f64().unwrap() > 0.0 && talk["time"].as_f64().unwrap() > 1.7e9, "{talk}");
    let count = |args: &[&str]| {
        let all = [&["metrics", "--format", "json"], args].concat();
        space.run(&all).ok().json().as_array().unwrap().len()
    };
    assert_eq!(count(&["student[genre=D*]", "-m", "validation_rmse", "--last", "1"]), 3);
    assert_eq!(count(&["teacher", "-m", "validation_*", "--run", "last"]), 1);
    space.run(&["metrics", "student"]).ok().says("param.talk.weights.interact").says("validation_rmse");
    // The same in files.
    let csv = space.run(&["metrics", "student", "-m", "validation_rmse", "--csv"]).ok().stdout;
    let head = "run,time,manifest,stage,label.genre,label.method,param.talk.weights.interact,metric,value,text";
    assert_eq!((csv.lines().next(), csv.lines().count()), (Some(head), 13));
    for file in ["m.csv", "m.json", "m.parquet"] {
        space.run(&["metrics", "student", "-m", "validation_rmse", "-o", file]).ok().says("12 rows");
    }
    assert_eq!(space.read("m.csv"), csv);
    let file = std::fs::File::open(space.path("m.parquet")).unwrap();
    let batch = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = batch.map(Result::unwrap).next().unwrap();
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!((batch.num_rows(), names.join(",").as_str()), (12, head));
    space.run(&["metrics", "-o", "m.xlsx"]).code(2).says("end it in .csv, .json or .parquet");
    space.nothing_to_do(&[]);
}

#[test]
fn a_command_is_followed_while_it_prints() {
    // It goes on when the test says so, by way of a file outside of its folder.
    let space = Space::new();
    let gate = space.path("go").display().to_string();
    space.write(
        "m.yaml",
        &format!(
            "talkflow: 1\nname: c\nstages:\n  a:\n    command:\n      run: |\n        echo before\n        while [ ! -e '{gate}' ]; do sleep 0.05; done\n        \
             echo after\n        echo 1 > out\n      outputs: [out]\n"
        ),
    );
    let mut run = space.command(&["run", "m.yaml"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while space.run(&["logs", "a"]).stdout != "before\n" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(120), "it never began");
    }
    let mut follower = space.command(&["logs", "-f", "a"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = [0; 7];
    std::io::Read::read_exact(follower.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!((&first, run.try_wait().unwrap()), (b"before\n", None));
    space.write("go", "");
    assert!(run.wait().unwrap().success());
    assert_eq!(crate::space::Ran::of(follower.wait_with_output().unwrap()).ok().stdout, "after\n");
    let record = space.run(&["show", "a", "--format", "json"]).ok().json();
    assert!(record["provenance"]["usage"]["peak_memory"].as_u64().unwrap() > 0 && record["log"]["size"] == 13, "{record:#}");
    space.nothing_to_do(&[]);
}

#[test]
fn a_damaged_log_is_noticed_and_never_shown() {
    let space = Space::with(
        "talkflow: 1\nname: c\nstages:\n  a:\n    command: { run: 'echo it went well; echo 1 > out', outputs: [out] }\n",
    );
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    let record = space.run(&["show", "a", "--format", "json"]).ok().json();
    let log = std::path::PathBuf::from(record["log_path"].as_str().unwrap());
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, "it went bell\n").unwrap();
    // The folder of its run has another copy; what is shown is the one that can be proven.
    for args in [&["logs", "a"][..], &["logs", "-f", "a"], &["logs", "a", "--run", &run], &["logs", "a", "--format", "json"]] {
        let ran = space.run(args).code(3).says("`log`").says("what `a` said").says("--force 'a'");
        assert!(!ran.stdout.contains("bell"), "{args:?}: {}", ran.stdout);
    }
    // The rest of the result is shown, and it is whole.
    space.run(&["show", "a"]).code(3).says("file out: 2 B").says("`log` was damaged");
    let json = space.run(&["show", "a", "--format", "json"]).code(3).json();
    assert_eq!((&json["log_path"], json["log_lost"].is_string()), (&Value::Null, true), "{json:#}");
    space.run(&["store", "verify"]).code(3).says("`log` of a is missing");
    space.nothing_to_do(&[]);
    // Made again, it has a log again.
    space.run(&["run", "m.yaml", "--force", "a"]).ok();
    space.run(&["show", "a"]).ok().says("log: ");
    assert_eq!(space.run(&["logs", "a"]).ok().stdout, "it went well\n");
    space.run(&["store", "verify"]).ok().says("all whole");
    space.nothing_to_do(&[]);
}
