//! `command` stages, with nothing but a POSIX shell: what a program finds, what is kept of what it leaves, and what is said where it
//! fails.

use std::fs;

use crate::space::Space;

/// A manifest of stages; each line is indented below `stages`.
fn manifest(stages: &str) -> String {
    let lines: String = stages.trim_end().lines().map(|line| format!("  {line}\n")).collect();
    format!("talkflow: 1\nname: m\nstages:\n{lines}")
}

/// A file of a stage's result in the last run.
fn result(space: &Space, instance: &str, file: &str) -> String {
    let found = space.results().into_iter().find(|(of, name, _)| of == instance && name == file);
    let (_, _, digest) = found.unwrap_or_else(|| panic!("`{instance}` has no `{file}`: {:?}", space.results()));
    fs::read_to_string(space.path(&format!(".talkflow/blobs/{}/{digest}", &digest[..2]))).unwrap()
}

#[test]
fn a_program_finds_what_is_declared_and_what_it_declares_is_kept() {
    let space = Space::with(&manifest(
        r#"
words:
  command:
    run: |
      sort words.txt > out/sorted.txt
      ls -A > seen
      echo 1 > plots/a
      mkdir plots/deep
      echo 2 > plots/deep/b
      echo undeclared > other
    files: [words.txt, "parts/*.txt"]
    outputs: [out/sorted.txt, plots/, seen]
count:
  command:
    run: [sh, count.sh]
    inputs: { words: words }
    files: { count.sh: scripts/count.sh, parts: "parts/*.txt" }
    outputs: [count]
"#,
    ));
    space.write("words.txt", "b\na\n");
    space.write("unseen.txt", "nobody declares this\n");
    space.write("parts/1.txt", "1\n");
    space.write("parts/2.txt", "2\n");
    space.write("scripts/count.sh", "cat words/out/sorted.txt words/plots/deep/b parts/*.txt > count\n");
    space.document(&[]);
    assert_eq!(result(&space, "words", "seen"), "out\nparts\nplots\nseen\nwords.txt\n");
    assert_eq!(result(&space, "words", "plots/deep/b"), "2\n");
    assert_eq!(result(&space, "count", "count"), "a\nb\n2\n1\n2\n");
    assert!(!space.results().iter().any(|(_, name, _)| name == "other"), "an undeclared output is kept");
    space.nothing_to_do(&[]);
    // A file of the glob that is new is a change; one that is not declared is not.
    space.write("unseen.txt", "changed\n");
    space.nothing_to_do(&[]);
    space.write("parts/3.txt", "3\n");
    assert_eq!(space.document(&[])["ran"], 2);
    // The same bytes come out of `words`: of the two that read the file, only the other had another result.
    space.write("scripts/count.sh", "cat words/out/sorted.txt > count\n");
    assert_eq!(space.document(&[])["ran"], 1);
    assert_eq!(fs::read_dir(space.path(".talkflow/tmp")).unwrap().count(), 0, "folders are left in tmp/");
}

/// Everything that a run wrote, beside results: events, logs, records.
fn written(space: &Space) -> String {
    let mut all = String::new();
    let mut left = vec![space.path(".talkflow")];
    while let Some(folder) = left.pop() {
        // A run that is at work makes and removes them meanwhile.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => left.push(path),
                false => {
                    all += &format!("{}\n{}\n", path.display(), String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()))
                }
            }
        }
    }
    all
}

/// The log of a stage in the last run.
fn log(space: &Space, index: usize) -> String {
    let mut runs: Vec<_> = fs::read_dir(space.path(".talkflow/runs")).unwrap().map(|run| run.unwrap().path()).collect();
    runs.sort();
    fs::read_to_string(runs.last().unwrap().join(format!("logs/{index}.log"))).unwrap_or_default()
}

#[test]
fn inputs_are_artifacts_of_any_kind_and_of_every_instance() {
    let space = Space::with(&manifest(
        r#"
ratings: { dataset: { name: movielens/synthetic, users: 60, items: 60, ratings: 1000 } }
part:
  matrix: { n: [1, 2], kind: { x/y: a } }
  command: { run: "echo ${matrix.n} > n", outputs: [n] }
seen:
  command:
    run: find data parts one -type f | sort > seen; cat parts/*/n one/n >> seen; head -c 4 data/ratings.parquet >> seen
    inputs: { data: ratings, parts: part, one: "part[n=2,kind=x/y]" }
    outputs: [seen]
"#,
    ));
    space.document(&[]);
    let seen = result(&space, "seen", "seen");
    let expected = [
        "data/dataset.json",
        "data/items.parquet",
        "data/ratings.parquet",
        "data/users.parquet",
        "one/n",
        "parts/kind=x%2Fy,n=1/n",
        "parts/kind=x%2Fy,n=2/n",
        "1",
        "2",
        "2",
        "PAR1",
    ];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    space.nothing_to_do(&[]);
    // The names of values are those of folders: they matter where all are taken, and not where one is.
    space.write("m.yaml", &space.read("m.yaml").replace("x/y", "z"));
    let document = space.document(&[]);
    assert_eq!((&document["ran"], &document["cached"]), (&1.into(), &3.into()), "{document:#}");
}

#[test]
fn whatever_a_program_does_to_its_inputs_the_store_and_the_users_files_are_unharmed() {
    let harm = [
        "echo x > data/out",
        "chmod -R u+w . && echo x >> data/out",
        "chmod u+w data && rm data/out",
        "chmod u+w own.txt && echo x > own.txt",
    ];
    for harm in harm {
        let space = Space::with(&manifest(&format!(
            r#"
source: {{ command: {{ run: "echo good > out", outputs: [out] }} }}
harmful:
  command:
    run: {harm}
    inputs: {{ data: source }}
    files: [own.txt]
"#
        )));
        space.write("own.txt", "mine\n");
        let ran = space.run(&["run", "m.yaml"]).code(1);
        // Whoever is not root is refused by the system first.
        assert!(ran.stderr.contains("inputs are read-only") || ran.stderr.contains("exit code"), "{harm}: {}", ran.stderr);
        assert_eq!(result(&space, "source", "out"), "good\n", "{harm}");
        assert_eq!(space.read("own.txt"), "mine\n", "{harm}");
        space.run(&["store", "verify"]).ok();
    }
}

#[test]
fn a_program_sees_the_variables_that_are_declared_and_no_others() {
    let space = Space::with(&manifest(
        r#"
listed: { command: { run: env | sort > env, env: [PASSED, NOT_SET], outputs: [env] } }
set: { command: { run: "[ \"$(ls -A \"$HOME\")\" = work ] && [ \"$TMPDIR\" = \"$HOME\" ] && echo x > ~/env; env | sort > env", env: { NUMBER: 8, TEXT: "${env.PASSED}-x", EMPTY: "" }, outputs: [env] } }
"#,
    ));
    let run = |passed: &str, path: &str| {
        let path = format!("{path}{}", std::env::var("PATH").unwrap());
        let output = space
            .command(&["run", "m.yaml", "--format", "json"])
            .env("PASSED", passed)
            .env("OTHER", "o")
            .env("PATH", path)
            .output();
        crate::space::Ran::of(output.unwrap()).ok().json()
    };
    assert_eq!(run("p", "")["ran"], 2);
    let names = |instance: &str| {
        let text = result(&space, instance, "env");
        text.lines()
            .map(|line| line.split('=').next().unwrap().to_owned())
            .filter(|name| !matches!(&**name, "_" | "SHLVL" | "OLDPWD"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("listed"), ["CUDA_VISIBLE_DEVICES", "HOME", "PASSED", "PATH", "PWD", "TMPDIR"]);
    assert_eq!(names("set"), ["CUDA_VISIBLE_DEVICES", "EMPTY", "HOME", "NUMBER", "PATH", "PWD", "TEXT", "TMPDIR"]);
    assert!(result(&space, "set", "env").contains("NUMBER=8\n") && result(&space, "set", "env").contains("TEXT=p-x\n"));
    assert_eq!(run("p", "/nowhere:")["ran"], 0, "PATH is no part of a key");
    assert_eq!(run("q", "")["ran"], 2, "values are part of the key");
}

const SECRET: &str = "s3cr3t-Value";

#[test]
fn a_secret_is_in_no_log_record_event_error_or_key() {
    let space = Space::with(&manifest(
        r#"
leaky:
  command:
    run: |
      echo "the token is $TOKEN and again $TOKEN"
      printf s3cr; sleep 0.1; printf '3t-Value\n' >&2
      echo "{\"a\": \"$TOKEN\", \"$TOKEN\": 1}" > metrics.json
      [ -z "$FAIL" ] || ln -s "/nowhere/$TOKEN" out
      [ -n "$FAIL" ] || echo done > out
    env: { TOKEN: { secret: "${env.TOKEN}" }, FAIL: "${env.FAIL}" }
    metrics: metrics.json
    outputs: [out]
  retries: 1
"#,
    ));
    let command = |args: &[&str], token: &str, fail: &str| {
        let output = space.command(args).env("TOKEN", token).env("FAIL", fail).output().unwrap();
        crate::space::Ran::of(output)
    };
    let shown = std::cell::RefCell::new(String::new());
    let show = |ran: crate::space::Ran, code: i32| {
        let ran = ran.code(code);
        *shown.borrow_mut() += &(ran.stdout.clone() + &ran.stderr);
        ran
    };
    for format in ["human", "json"] {
        show(command(&["run", "m.yaml", "--format", format], SECRET, "yes"), 1);
    }
    show(command(&["plan", "m.yaml"], SECRET, ""), 0);
    show(command(&["run", "m.yaml"], SECRET, ""), 0);
    show(command(&["why", "m.yaml", "leaky"], SECRET, "x"), 0);
    show(command(&["plan", "m.yaml", "--format", "json"], SECRET, "x"), 0);
    show(command(&["show", "--resolved", "m.yaml"], SECRET, ""), 0);
    show(command(&["show", "leaky"], SECRET, ""), 0);
    show(command(&["graph", "m.yaml"], SECRET, ""), 0);
    let everything = shown.borrow().clone() + &written(&space);
    assert!(!everything.contains(SECRET), "{everything}");
    assert!(everything.contains("the token is *** and again ***") && everything.contains("/nowhere/***"));
    assert!(log(&space, 0).contains("\n***\n"), "a secret that is cut is found too: {}", log(&space, 0));
    // Nor what it hashes to, from which a short one could be guessed; so a new token is no reason to run again.
    let ran = show(command(&["run", "m.yaml", "--format", "json"], "another", ""), 0);
    assert_eq!(ran.json()["cached"], 1);
}

#[test]
fn a_secret_that_also_stands_in_clear_is_a_mistake() {
    let space = Space::with(&manifest(
        r#"
a: { command: { run: "true", env: { TOKEN: { secret: "${env.TOKEN}" } } } }
b: { command: { run: "curl -H ${env.TOKEN}" } }
c: { command: { run: "true", env: [TOKEN] } }
d: { command: { run: "true", env: { T: { secret: "x" }, U: { secret: "a ${env.HOME}" } } } }
"#,
    ));
    let output = space.command(&["plan", "m.yaml"]).env("TOKEN", SECRET).output().unwrap();
    let ran = crate::space::Ran::of(output).code(2);
    assert_eq!(ran.stderr.matches("`TOKEN` stands here in clear, and is a secret elsewhere").count(), 2, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("a secret is the value of one environment variable").count(), 2, "{}", ran.stderr);
    assert!(!ran.stderr.contains(SECRET));
}

#[test]
fn a_failure_says_how_it_ended_the_command_its_last_lines_and_where_its_log_is() {
    let fails = |run: &str, extra: &str| {
        let space = Space::with(&manifest(&format!("a: {{ command: {{ run: {run}{extra} }} }}\n")));
        let ran = space.run(&["run", "m.yaml"]);
        (space, ran)
    };
    let (space, ran) = fails(r#""for n in $(seq 30); do echo line $n; done; echo oh no >&2; exit 7""#, "");
    let ran = ran.code(1).says("exit code 7: for n in $(seq 30)").says("line 30").says("oh no").says("logs/0.log");
    assert!(!ran.stderr.contains("line 10\n"), "{}", ran.stderr);
    assert!(log(&space, 0).starts_with("line 1\n") && log(&space, 0).contains("line 30\noh no\n"), "{}", log(&space, 0));
    // The first command that fails ends a text for the shell.
    fails("\"false; true\"", "").1.code(1).says("exit code 1");
    fails("\"kill -SEGV $$\"", "").1.code(1).says("killed by SIGSEGV");
    fails("[no-such-program]", "").1.code(1).says("cannot start `no-such-program`");
    fails("[./no-such-program]", "").1.code(1).says("cannot start `./no-such-program`");
    fails("exit 3", ", exit_codes: [0, 3]").1.ok();
    fails("exit 0", ", exit_codes: [3]").1.code(1).says("exit code 0");
}

#[test]
fn an_output_that_is_missing_or_no_plain_file_is_an_error() {
    let table = [
        ("echo x > typo", "did not make the output `out`, and it left `typo`"),
        ("ln -s /etc/passwd out", "is a link out of its folder, to /etc/passwd"),
        ("ln -s ../../../format out", "is a link out of its folder"),
        ("ln -s nothing out", "is a link to nothing, which is not there"),
        ("mkdir d && ln -s d out", "is a link to d, which is no file"),
        ("mkfifo out", "is neither a file nor a folder"),
        ("mkdir out && ln -s /etc/passwd out/x", "`out/x` is a link out of its folder"),
        ("mkdir out && mkfifo out/x", "`out/x` is neither"),
    ];
    for (run, says) in table {
        let space = Space::with(&manifest(&format!("a: {{ command: {{ run: \"{run}\", outputs: [out] }} }}\n")));
        space.run(&["run", "m.yaml"]).code(1).says(says);
        assert_eq!(space.results(), [], "{run}");
    }
    let behind = "a: { command: { run: \"rmdir out; ln -s $PLACE out\", env: [PLACE], outputs: [out/file] } }\n";
    let space = Space::with(&manifest(behind));
    space.write("outside/file", "the user's");
    let mut command = space.command(&["run", "m.yaml"]);
    let ran = crate::space::Ran::of(command.env("PLACE", space.path("outside")).output().unwrap());
    ran.code(1).says("`out/file` lies behind a link out of its folder");
    assert_eq!(fs::read_to_string(space.path("outside/file")).unwrap(), "the user's");
    let space = Space::with(&manifest(
        r#"
links:
  command:
    run: |
      echo inside > real
      ln -s real linked
      ln "$OUTSIDE" hard
    env: [OUTSIDE]
    outputs: [linked, hard]
"#,
    ));
    space.write("outside", "before\n");
    let run = || crate::space::Ran::of(space.command(&["run", "m.yaml"]).env("OUTSIDE", space.path("outside")).output().unwrap());
    run().ok();
    assert_eq!(result(&space, "links", "linked"), "inside\n");
    // A file with another name outside goes on being the user's, and the store has its own.
    space.write("outside", "after\n");
    assert_eq!(result(&space, "links", "hard"), "before\n");
}

#[test]
fn metrics_come_from_a_json_file() {
    let run = |text: &str| {
        let space =
            Space::with(&manifest("a: { command: { run: cp in.json out/m.json, files: [in.json], metrics: out/m.json } }\n"));
        space.write("in.json", text);
        space.run(&["run", "m.yaml", "--format", "json"])
    };
    let document = run(r#"{"test": {"rmse": 0.5, "rows": 3}, "name": "x", "ok": true}"#).ok().json();
    let metrics = &document["stages"][0]["metrics"];
    assert_eq!(metrics.to_string(), r#"{"test.rmse":0.5,"test.rows":3,"name":"x","ok":true}"#);
    run("{\"a\": NaN}").code(1).says("NaN");
    run("[]").code(1).says("metrics are an object");
    run(&format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20))).code(1).says("larger than 1 MiB");
    let space = Space::with(&manifest("a: { command: { run: \"true\", metrics: m.json } }\n"));
    space.run(&["run", "m.yaml"]).code(1).says("did not make the output `m.json`");
}

#[test]
fn a_timeout_ends_a_program_and_all_that_it_started() {
    let space = Space::with(&manifest(
        r#"
slow:
  timeout: 500ms
  command:
    run: |
      echo begins
      trap 'echo asked; exit 0' TERM
      (trap '' TERM; sleep 60; touch "$OUT/late") &
      setsid sh -c 'sleep 60; touch "$OUT/later"' &
      sleep 60 & wait
    env: [OUT]
"#,
    ));
    let clock = std::time::Instant::now();
    let ran = crate::space::Ran::of(space.command(&["run", "m.yaml"]).env("OUT", space.root()).output().unwrap());
    ran.code(1).says("timed out after 0.5 s").says("begins").says("asked");
    assert!(clock.elapsed().as_secs() < 50, "it was waited for");
    assert_eq!(running_in(&space), Vec::<String>::new());
}

/// The command lines of processes that run in a space.
fn running_in(space: &Space) -> Vec<String> {
    let root = space.root().canonicalize().unwrap();
    let inside = |process: &std::path::Path| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&root));
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| inside(process))
        .map(|process| fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

/// Waits until something holds; the reason why it never did otherwise.
fn until(what: &str, holds: impl Fn() -> bool) {
    let clock = std::time::Instant::now();
    while !holds() {
        assert!(clock.elapsed().as_secs() < 60, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn no_program_lives_on_when_the_run_is_stopped_or_killed() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("KILL", 1009)] {
        let space = Space::with(&manifest(
            "slow: { command: { run: \"(sleep 90; true) & setsid sleep 90 & touch $OUT/begun; sleep 90; true\", env: [OUT] } }\n",
        ));
        let mut command = space.command(&["run", "m.yaml"]);
        let command = command.env("OUT", space.root()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        until("the program never began", || space.path("begun").exists() && running_in(&space).len() >= 4);
        let killed = std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        crate::space::Ran::of(child.wait_with_output().unwrap()).code(code);
        until("a program lives on", || running_in(&space).is_empty());
        // What it left is cleared, and a normal run does its work.
        space.write("m.yaml", &manifest("slow: { command: { run: echo x > out, outputs: [out] } }\n"));
        space.document(&[]);
        space.nothing_to_do(&[]);
        assert_eq!(fs::read_dir(space.path(".talkflow/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_failed_stage_is_tried_again_after_a_rest_and_others_run_meanwhile() {
    let text = |retries: &str| {
        manifest(&format!(
            r#"
flaky:
  retries: {retries}
  command:
    run: |
      echo x >> "$OUT/tries"
      echo "try $(wc -l < "$OUT/tries")"
      [ $(wc -l < "$OUT/tries") -ge 3 ]
    env: [OUT]
other: {{ command: {{ run: "true" }} }}
"#
        ))
    };
    let run = |space: &Space| {
        let ran = space.command(&["run", "m.yaml", "-j", "1"]).env("OUT", space.root()).output().unwrap();
        crate::space::Ran::of(ran)
    };
    let space = Space::with(&text("{ times: 2, wait: 200ms, factor: 3 }"));
    let ran = run(&space).ok().says("tries again in 0.2 s").says("tries again in 0.6 s");
    let place = |text: &str| ran.stderr.find(text).unwrap();
    assert!(place("  other") < place("0.6 s"), "a resting stage holds cores: {}", ran.stderr);
    assert_eq!(space.read("tries").lines().count(), 3);
    let log = log(&space, 0);
    assert!(log.contains("try 1") && log.contains("try 3") && log.contains("[talkflow: the next attempt]"), "{log}");
    let space = Space::with(&text("1"));
    run(&space).code(1);
    assert_eq!(space.read("tries").lines().count(), 2);
    // A rest is no reason to wait once the run is stopped.
    let space = Space::with(&text("{ times: 2, wait: 1h }"));
    let child = space.command(&["run", "m.yaml"]).env("OUT", space.root()).stderr(std::process::Stdio::null()).spawn().unwrap();
    until("it never failed", || written(&space).contains("tries again in 3600.0 s"));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(crate::space::Ran::of(child.wait_with_output().unwrap()).code, 130);
}

#[test]
fn a_program_that_prints_without_end_fills_no_disk() {
    let space = Space::with(&manifest("loud: { command: { run: \"yes 0123456789 | head -c 50000000; echo; echo last\" } }\n"));
    space.document(&[]);
    let log = log(&space, 0);
    assert!(log.len() < 10 << 20, "{}", log.len());
    assert!(log.contains("bytes are left out here") && log.ends_with("last\n"));
    space.run(&["store", "verify"]).ok();
}

#[test]
fn a_matrix_runs_over_the_files_of_a_pattern() {
    let space = Space::with(&manifest(
        r#"
lines:
  matrix: { file: { glob: "data/*.csv" } }
  command: { run: "wc -l < data.csv > n", files: { data.csv: "${matrix.file}" }, outputs: [n] }
path:
  matrix: { file: { glob: "data/*.csv" } }
  command: { run: "wc -l < ${matrix.file} > n", files: ["${matrix.file}"], outputs: [n] }
all: { command: { run: cat lines/*/n > all, inputs: { lines: lines }, outputs: [all] } }
"#,
    ));
    space.write("data/a.csv", "1\n2\n");
    space.write("data/b.csv", "1\n");
    let document = space.document(&[]);
    let names: Vec<&str> = document["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["lines[file=a]", "lines[file=b]", "path[file=a]", "path[file=b]", "all"]);
    assert_eq!(result(&space, "all", "all").split_whitespace().collect::<Vec<_>>(), ["2", "1"]);
    space.nothing_to_do(&[]);
    // The contents are in the key: where the path is no part of the command it may change.
    fs::rename(space.path("data/b.csv"), space.path("data/c.csv")).unwrap();
    let document = space.document(&["lines"]);
    assert_eq!(document["ran"], 0, "{document:#}");
    space.write("data/a.csv", "3\n");
    space.write("data/d.csv", "1\n2\n3\n");
    assert_eq!(space.document(&["lines"])["ran"], 2);
}

#[test]
fn a_file_of_a_program_may_be_called_as_those_of_other_kinds() {
    let names = ["scores.json", "model.safetensors", "config.json", "split.parquet", "split.json", "train_rows.parquet"];
    let run: Vec<String> = names.iter().map(|name| format!("echo {name} > {name}")).collect();
    let (run, outputs) = (run.join("; "), names.join(", "));
    let space = Space::with(&manifest(&format!("a:\n  command: {{ run: \"{run}\", outputs: [{outputs}] }}\n")));
    let said = space.run(&["run", "m.yaml"]).ok().stdout;
    assert_eq!(said, "", "no table is made of it");
    assert_eq!(space.document(&[])["metrics"], serde_json::json!({}));
    space.run(&["export", "a", "-o", "out"]).ok();
    let mut exported: Vec<String> =
        fs::read_dir(space.path("out")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    exported.sort();
    let mut all = names.map(str::to_owned);
    all.sort();
    assert_eq!(exported, all);
    space.write("pairs.csv", "user,item\n1,1\n");
    space.run(&["predict", "a", "--input", "pairs.csv"]).code(2).says("`a` is no model: its kind is `command`");
    space.nothing_to_do(&[]);
}

#[test]
fn what_several_programs_failed_of_is_told_in_a_line_each() {
    let space = Space::with(&manifest(
        "a:\n  command: { run: 'echo one; exit 3' }\nb:\n  timeout: 100ms\n  command: { run: sleep 60 }\n",
    ));
    let said = space.run(&["run", "m.yaml", "--keep-going"]).code(1).stderr;
    let (before, list) = said.split_once("2 stages failed:\n").unwrap();
    // A cause of several lines is one cause.
    assert!(before.contains("caused by: stopped: sleep 60\n") && !before.contains("caused by: it printed nothing"), "{said}");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "  a: exit code 3: echo one; exit 3"), "{said}");
    assert!(lines[1].starts_with("  b: timed out after 0.1 s"), "{said}");
    space.write("m.yaml", &manifest("a:\n  command: { run: 'true' }\n"));
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn a_program_s_memory_is_its_own_and_not_that_of_talkflow() {
    let space = Space::with(&manifest(
        "small:\n  command: { run: 'sleep 1; echo 1 > out', outputs: [out] }\nlarge:\n  command: { run: 'head -c 200000000 /dev/zero | tail -n 1 | wc -c > out', \
         outputs: [out] }\n",
    ));
    space.document(&[]);
    let memory = |stage: &str| {
        let record = space.run(&["show", stage, "--format", "json"]).ok().json();
        record["provenance"]["usage"]["peak_memory"].as_u64().unwrap()
    };
    // A shell that sleeps has a megabyte or two; `tail` keeps a line of two hundred.
    let (small, large) = (memory("small"), memory("large"));
    assert!((100_000..10_000_000).contains(&small) && large > 200_000_000, "{small} {large}");
    space.nothing_to_do(&[]);
}
