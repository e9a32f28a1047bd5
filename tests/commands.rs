//! The commands beside `run`.

use crate::space::{METHODS, Ran, Space, small};

#[test]
fn plan_says_what_would_run_and_why() {
    let space = Space::with(&small(METHODS));
    space.run(&["plan", "m.yaml"]).ok().says("run  ratings  (first run)").says("unknown  split  (depends on `ratings`)");
    space.document(&[]);
    space.run(&["plan", "m.yaml"]).ok().says("0 to run, 11 cached");
    let plan = space.run(&["plan", "m.yaml", "--set", "talk.rounds=2"]).ok();
    let plan =
        plan.says("student[genre=Drama,method=talk]  (method.talk.rounds: 1 -> 2)").says("2 to run, 1 depend on those, 8 cached");
    assert!(!plan.stdout.contains("run  teacher"), "{}", plan.stdout);
    let json = space.run(&["plan", "m.yaml", "--set", "talk.rounds=2", "--format", "json"]).ok().json();
    assert_eq!((&json["run"], &json["unknown"], &json["cached"]), (&2.into(), &1.into(), &8.into()));
    space.nothing_to_do(&[]);
}

#[test]
fn why_shows_each_part_of_the_key_that_differs_and_the_first_cause() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    let why = |stage: &str, set: &str| space.run(&["why", "m.yaml", stage, "--set", set]).ok();
    why("teacher", "epochs=5").says("stop.epochs: 3 -> 5");
    why("scores", "epochs=5").says("because `teacher` runs first: stop.epochs: 3 -> 5");
    space.run(&["why", "m.yaml", "teacher"]).ok().says("the same as its last result");
    space.run(&["why", "m.yaml", "teachers"]).code(2).says("did you mean `teacher`");
    space.nothing_to_do(&[]);
}

#[test]
fn graph_draws_in_three_languages() {
    let space = Space::with(&small(METHODS));
    let dot = space.run(&["graph", "m.yaml", "--as", "dot"]).ok().stdout;
    assert!(dot.starts_with("digraph") && dot.contains("teacher") && dot.contains("->"), "{dot}");
    let mermaid = space.run(&["graph", "m.yaml", "--as", "mermaid"]).ok().stdout;
    assert!(mermaid.starts_with("flowchart") || mermaid.starts_with("graph"), "{mermaid}");
    let svg = space.run(&["graph", "m.yaml", "--as", "svg"]).ok().stdout;
    assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    let one = space.run(&["graph", "m.yaml", "--instances"]).ok().stdout;
    assert!(one.contains("method=talk") && !dot.contains("method=talk"), "{one}");
}

#[test]
fn show_tells_runs_stages_and_effective_values() {
    let space = Space::with(&small(METHODS));
    let document = space.document(&[]);
    let run = document["run"].as_str().unwrap();
    space.run(&["show"]).ok().says(run).says("done  ");
    space.run(&["show", run]).ok().says("11 ran, 0 cached").says("teacher");
    space
        .run(&["show", "teacher"])
        .ok()
        .says("model.safetensors")
        .says("pretrain")
        .says("FLOP a row")
        .says(" resident, estimated");
    let metrics = &space.run(&["show", "teacher", "--format", "json"]).ok().json()["metrics"];
    for name in ["step_rows", "step_flops", "step_matmul_flops", "step_bytes", "peak_bytes"] {
        assert!(metrics[name].as_u64().unwrap() > 0, "{name}: {metrics}");
    }
    space.run(&["show", "nobody"]).code(2).says("no stage is called `nobody`");
    let shown = space.run(&["show", "--resolved", "m.yaml", "--set", "talk.rounds=2"]).ok();
    // A value typed on the command line, one written in the manifest, one that is the kind's own default.
    shown.says("--set talk.rounds=2").says("m.yaml:").says("default");
    space.nothing_to_do(&[]);
}

#[test]
fn the_store_can_be_listed_and_verified() {
    let space = Space::with(&small("bias_only: bias_only"));
    space.document(&[]);
    space.run(&["store", "ls"]).ok().says("teacher").says("7 results");
    let listed = space.run(&["store", "ls", "--format", "json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 7);
    space.run(&["store", "verify"]).ok().says("all whole");
    space.nothing_to_do(&[]);
}

#[test]
fn data_lists_cards_and_says_what_is_here() {
    let space = Space::new();
    space.run(&["data", "ls"]).ok().says("movielens/100k").says("movielens/synthetic").says("movielens/32m");
    space.run(&["data", "get", "movielens/101k"]).code(2).says("did you mean `movielens/100k`");
    space.run(&["data", "get", "movielens/100k", "--offline"]).code(1).says("offline");
    space.run(&["data", "verify", "--offline"]).ok();
}

#[test]
fn a_student_is_exported_and_predicts() {
    let space = Space::with(&small(METHODS));
    space.document(&[]);
    let student = "student[genre=Drama,method=talk]";
    space.run(&["export", student, "-o", "out"]).ok().says("out");
    for file in ["model.safetensors", "config.json", "README.md", "users.parquet", "items.parquet"] {
        assert!(space.path("out").join(file).exists(), "{file}");
    }
    let card = space.read("out/README.md");
    for word in ["synthetic", "talk", "Drama", "rmse"] {
        assert!(card.contains(word), "`{word}` is not in the model card:\n{card}");
    }
    // Nothing that lies in the folder is overwritten.
    space.run(&["export", student, "-o", "out"]).code(2).says("not empty");
    space.write("pairs.csv", "user,item\n1,2\n1,3\nnobody,2\n");
    let predicted = space.run(&["predict", student, "--input", "pairs.csv"]).ok();
    let lines: Vec<&str> = predicted.stdout.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "user,item,prediction"));
    for line in &lines[1..] {
        let value: f32 = line.rsplit(',').next().unwrap().parse().unwrap();
        assert!((1.0..=5.0).contains(&value), "{line}");
    }
    assert!(predicted.stderr.contains("1 of 3 rows name a user"), "{}", predicted.stderr);
    space.write("wrong.csv", "user,film\n1,2\n");
    space.run(&["predict", student, "--input", "wrong.csv"]).code(1).says("item");
    space.nothing_to_do(&[]);
}

#[test]
fn init_writes_a_manifest_that_is_right_and_overwrites_nothing() {
    let space = Space::new();
    space.run(&["init"]).ok().says("talkflow run talkflow.yaml");
    space.run(&["plan", "talkflow.yaml"]).ok().says("to run");
    let before = space.read("talkflow.yaml");
    space.run(&["init"]).code(2).says("stays as it is");
    assert_eq!(space.read("talkflow.yaml"), before);
}

#[test]
fn the_schema_is_printed_or_written_for_an_editor() {
    let space = Space::new();
    let printed = space.run(&["schema"]).ok().json();
    let stage = &printed["definitions"]["whole"]["stage"]["properties"];
    for kind in talkflow::stages::WORDS {
        assert!(stage.get(kind).is_some(), "{kind}: {stage:#}");
    }
    let clip = &printed["definitions"]["whole"]["pretrain"]["properties"]["batch"];
    assert_eq!((&clip["default"], &clip["minimum"]), (&256.into(), &1.into()), "{clip:#}");
    assert!(clip["description"].as_str().unwrap().contains("Most rows in a batch"), "{clip:#}");
    space.run(&["schema", "-o", "talkflow.schema.json"]).ok().says("# yaml-language-server: $schema=talkflow.schema.json");
    let written: serde_json::Value = serde_json::from_str(&space.read("talkflow.schema.json")).unwrap();
    assert_eq!(written, printed);
    space.run(&["schema", "-o", "nowhere/x.json"]).code(1).says("nowhere/x.json");
}

#[test]
fn completions_are_made_for_each_shell_and_those_that_are_here_take_them() {
    let space = Space::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = space.run(&["completions", shell]).ok().says("talkflow").stdout;
        space.write(shell, &script);
        // These three have a switch that reads a script without running it.
        let here = ["bash", "zsh", "fish"].contains(&shell);
        let read = std::process::Command::new(shell).arg("-n").arg(space.path(shell)).output();
        if let (true, Ok(read)) = (here, read) {
            let read = Ran::of(read).ok();
            assert_eq!(read.stderr, "", "{shell}");
        }
    }
    let ask = "source ./bash; COMP_WORDS=(talkflow sch); COMP_CWORD=1; _talkflow talkflow sch talkflow; echo \"${COMPREPLY[@]}\"";
    if let Ok(asked) = std::process::Command::new("bash").args(["-c", ask]).current_dir(space.root()).output() {
        assert_eq!(Ran::of(asked).ok().stdout, "schema\n");
    }
}

#[test]
fn a_split_is_exported_as_csv_and_can_be_imported_again() {
    let manifest = "talkflow: 1\nname: s\nstages:\n  ratings:\n    dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 900 }\n  split:\n    split: { rows: ratings, seed: 3 }\n";
    let space = Space::with(manifest);
    space.document(&[]);
    space.run(&["export", "split", "-o", "out"]).ok();
    let csv = space.read("out/split.csv");
    assert!(csv.starts_with("row,part\n") && csv.lines().count() == 901, "{}", &csv[..40]);
    space.write(
        "m.yaml",
        &format!("{manifest}  again:\n    split: {{ rows: ratings, by: {{ parts: {{ file: out/split.csv }} }} }}\n"),
    );
    space.document(&[]);
    space.run(&["export", "again", "-o", "second"]).ok();
    assert_eq!(space.read("second/split.csv"), csv);
    space.nothing_to_do(&[]);
}

#[test]
fn the_publishers_own_split_is_taken_from_its_files() {
    let row = |n: usize| format!("{}\t{}\t{}\t{}\n", n / 8, n % 8, 1 + n % 5, 880_000_000 + n);
    let (base, test): (Vec<usize>, Vec<usize>) = (0..80).partition(|n| n % 5 != 0);
    let text = |rows: &[usize]| rows.iter().map(|n| row(*n)).collect::<String>();
    let space = Space::with(
        "talkflow: 1\nname: u1\nstages:\n  ratings:\n    dataset: { file: all.csv }\n  split:\n    split: { rows: ratings, by: { files: { train: u1.base, test: u1.test, validation_fraction: 0.25 } } }\n",
    );
    let all: String = (0..80).map(|n| format!("{},{},{}\n", n / 8, n % 8, 1 + n % 5)).collect();
    space.write("all.csv", &format!("user,item,rating\n{all}"));
    space.write("u1.base", &text(&base));
    space.write("u1.test", &text(&test));
    let document = space.document(&[]);
    let metrics = &document["stages"][1]["metrics"];
    assert_eq!(
        (&metrics["train"], &metrics["validation"], &metrics["test"]),
        (&48.into(), &16.into(), &16.into()),
        "{document:#}"
    );
    // Another file, another key; and what does not fit is said with its place.
    space.write("u1.test", &(text(&test) + &row(80)));
    space.run(&["run", "m.yaml"]).code(1).says("u1.test");
    space.write("u1.test", &text(&test));
    space.nothing_to_do(&[]);
}

#[test]
fn stages_in_the_store_are_named_by_selectors() {
    let space = Space::with(&small(METHODS));
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    let talk = "student[genre=Drama,method=talk]";
    for selector in
        ["student[method=talk,genre=D*]", "s*[genre=Drama,method!=scratch|bias_only]", "small:student[genre=Drama,method=talk]"]
    {
        space.run(&["show", selector]).ok().says(&format!("{talk} (distill)\n"));
        assert_eq!(space.run(&["show", selector, "--format", "json"]).ok().json()["instance"], talk);
    }
    space.run(&["export", "*[genre=Drama,method=t*]", "-o", "out"]).ok().says(&format!("{talk} written to out"));
    space.write("pairs.csv", "user,item\n1,2\n");
    space.run(&["predict", "student[genre=Drama,method=t?lk]", "--input", "pairs.csv"]).ok();
    for command in [&["show"][..], &["export", "-o", "more"], &["predict", "--input", "pairs.csv"], &["logs"]] {
        let with = |stage: &str| space.run(&[command, &[stage]].concat());
        with("student[genre=Drama]").code(2).says("`student[genre=Drama]` is 3 instances, such as `student[genre=Drama,method=");
        with("student[genre=Drana,method=talk]").code(2).says("did you mean `");
    }
    space.run(&["export", "other:teacher", "-o", "more"]).code(2).says("no stage is called `other:teacher`");
    let count =
        |args: &[&str]| space.run(&[&["store", "ls", "--format", "json"], args].concat()).ok().json().as_array().unwrap().len();
    assert_eq!(count(&["student[method!=talk]"]), 4);
    assert_eq!(count(&["student[genre=Drama|Comedy,method=talk]", "split|ratings"]), 4);
    space
        .run(&["store", "ls", "student[genre=Drana]"])
        .code(2)
        .says("no `genre` of `student` fits `Drana`: did you mean `Drama`?");
    space.run(&["store", "pin", "student[method!=talk|scratch]"]).ok();
    space.run(&["store", "pins"]).ok().says("2 pins");
    space.run(&["store", "unpin", "s*[genre=Drama|Comedy]"]).ok();
    space.run(&["store", "pins"]).ok().says("0 pins");
    // Runs are named there as everywhere.
    for name in [run.as_str(), "last", &run[..12]] {
        assert_eq!(count(&["--run", name]), 11);
        space.run(&["store", "pin", name]).ok().says(&run);
        space.run(&["store", "unpin", name]).ok().says(&run);
        space.run(&["store", "gc", "--dry-run", "--reachable-from", name]).ok().says("  0 results");
    }
    space.run(&["store", "gc", "--dry-run", "--reachable-from", "last~7"]).code(2).says("only 1 runs are kept");
    space.nothing_to_do(&[]);
}
