//! The store as its users meet it: listing, counting, pinning, collecting beside running processes, sending to another store,
//! and the view of last results.

use std::{
    collections::BTreeSet,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Stdio,
};

use serde_json::Value;

use crate::space::{METHODS, Ran, Space, small};

const ONE: &str = "bias_only: bias_only";

/// A manifest with nothing in it that takes time.
fn quick(seed: usize) -> String {
    format!(
        "talkflow: 1\nname: quick\nstages:\n  ratings:\n    dataset: {{ name: movielens/synthetic, users: 60, items: 80, ratings: 900, seed: {seed} }}\n  \
         split:\n    split: {{ rows: ratings, seed: {seed} }}\n"
    )
}

fn names(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|one| one["stage"].as_str().unwrap()).collect()
}

#[test]
fn results_are_listed_by_what_is_asked_for() {
    let space = Space::with(&small(METHODS));
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    let ls = |args: &[&str]| {
        let all: Vec<&str> = ["store", "ls", "--format", "json"].iter().chain(args).copied().collect();
        space.run(&all).ok().json()
    };
    assert_eq!(names(&ls(&["student"])).len(), 6);
    assert_eq!(names(&ls(&["student[genre=Dra*]", "teacher"])).len(), 4);
    assert_eq!(names(&ls(&["*er*"])), ["teacher"]);
    assert_eq!(names(&ls(&["--kind", "split"])), ["split"]);
    assert_eq!(names(&ls(&["--run", &run])).len(), 11);
    assert_eq!(names(&ls(&["--manifest", "small"])).len(), 11);
    let sizes: Vec<u64> = ls(&["--sort", "size"]).as_array().unwrap().iter().map(|one| one["bytes"].as_u64().unwrap()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    let mut back = names(&ls(&["--sort", "size", "--reverse"])).into_iter().map(str::to_owned).collect::<Vec<_>>();
    back.reverse();
    assert_eq!(back, names(&ls(&["--sort", "size"])));
    let key = ls(&["teacher"])[0]["key"].as_str().unwrap().to_owned();
    assert_eq!(names(&ls(&[&key[..10]])), ["teacher"]);
    for (args, says) in [
        (["teachr", "--sort", "used"], "did you mean `teacher`"),
        (["--run", "20200101-000000-1", "teacher"], "knows no run"),
        (["--manifest", "smal", "teacher"], "did you mean `small`"),
    ] {
        let all: Vec<&str> = ["store", "ls"].iter().chain(&args).copied().collect();
        space.run(&all).code(2).says(says);
    }
    let used = |by: &str| space.run(&["store", "du", "--by", by, "--format", "json"]).ok().json();
    let du = used("stage");
    let whole = du["result_bytes"].as_u64().unwrap();
    let groups: Vec<&str> = du["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(groups.iter().copied().collect::<BTreeSet<_>>().len(), 6, "{groups:?}");
    assert!(whole > 0 && whole <= du["unshared_bytes"].as_u64().unwrap() && du["run_bytes"].as_u64().unwrap() > 0, "{du:#}");
    for by in ["kind", "instance", "manifest", "run"] {
        let du = used(by);
        assert_eq!(du["result_bytes"].as_u64().unwrap(), whole);
        let unique: u64 = du["groups"].as_array().unwrap().iter().map(|group| group["unique"].as_u64().unwrap()).sum();
        assert!(unique <= whole, "{du:#}");
    }
    space.run(&["store", "du"]).ok().says("would be freed by `store gc`").says("11 results");
    space.nothing_to_do(&[]);
}

#[test]
fn a_dry_run_lists_what_a_collection_then_removes() {
    let space = Space::with(&quick(1));
    let mut runs = Vec::new();
    for seed in 1..5 {
        space.write("m.yaml", &quick(seed));
        runs.push(space.document(&[])["run"].as_str().unwrap().to_owned());
    }
    let gc = |args: &[&str]| {
        let all: Vec<&str> = ["store", "gc", "--format", "json"].iter().chain(args).copied().collect();
        space.run(&all).ok().json()
    };
    let left = || names(&space.run(&["store", "ls", "--format", "json"]).ok().json()).len();
    let cases: [(Vec<&str>, u64); 5] = [
        (vec!["--older-than", "1h"], 0),
        (vec!["--keep-last", "3"], 2),
        (vec!["--max-count", "5"], 1),
        (vec!["--reachable-from", &runs[0], &runs[3]], 3),
        (vec!["--max-size", "1B", "--include-latest"], 2),
    ];
    for (args, gone) in cases {
        let before = left();
        let dry = gc(&[&args[..], &["--dry-run"]].concat());
        assert_eq!(left(), before);
        assert_eq!(dry["records"], gone, "{args:?} {dry:#}");
        assert_eq!(gc(&args), dry, "{args:?}");
        assert_eq!(left(), before - usize::try_from(gone).unwrap());
        space.run(&["store", "verify"]).ok();
    }
    for (args, says) in [
        (["--older-than", "30"], "30d, 12h"),
        (["--max-size", "lots"], "20GB"),
        (["--reachable-from", "20200101-000000-1"], "no run"),
        (["--forget", "quik"], "no manifest"),
    ] {
        let all: Vec<&str> = ["store", "gc"].iter().chain(&args).copied().collect();
        space.run(&all).code(2).says(says);
    }
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn a_manifest_that_is_gone_is_forgotten_on_demand() {
    let space = Space::with(&quick(1));
    space.document(&[]);
    space.write("other.yaml", &quick(2).replace("name: quick", "name: other"));
    space.run(&["run", "other.yaml", "--offline"]).ok();
    assert_eq!(space.run(&["store", "gc", "--format", "json"]).ok().json()["records"], 0);
    assert!(space.path(".talkflow/out/other/split/split.parquet").exists());
    space.run(&["store", "gc", "--forget", "other", "--dry-run"]).ok().says("would remove\n  2 results");
    space.run(&["store", "gc", "--forget", "other"]).ok().says("removed\n  2 results");
    assert!(!space.path(".talkflow/out/other").exists());
    space.run(&["store", "gc", "--forget", "other"]).code(2).says("no manifest");
    space.nothing_to_do(&[]);
}

#[test]
fn pins_keep_results_and_runs() {
    let space = Space::with(&quick(1));
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    space.write("m.yaml", &quick(2));
    space.document(&[]);
    space.run(&["store", "pin", "split", "--note", "for the paper"]).ok().says("pinned").says("split");
    space.run(&["store", "pin", &run]).ok().says(&run);
    space.run(&["store", "pin", "splitt"]).code(2).says("did you mean `split`");
    space.run(&["store", "pins"]).ok().says("for the paper").says(&run).says("2 pins");
    assert!(
        space.run(&["store", "ls", "--format", "json"]).ok().json().as_array().unwrap().iter().all(|one| one["pinned"] == true)
    );
    let gc = || space.run(&["store", "gc", "--include-latest", "--keep-runs", "0", "--format", "json"]).ok().json();
    let collected = gc();
    assert_eq!((&collected["records"], &collected["kept_pinned"], &collected["kept_runs"]), (&0.into(), &4.into(), &1.into()));
    space.run(&["store", "unpin", &run]).ok().says("unpinned");
    assert_eq!((&gc()["records"], space.path(".talkflow/runs").join(&run).exists()), (&2.into(), false));
    space.run(&["store", "unpin", "split"]).ok().says("unpinned");
    space.run(&["store", "unpin", "split"]).code(2).says("nothing called `split` is pinned");
    assert_eq!(gc()["records"], 2);
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn garbage_is_collected_beside_a_running_process_which_keeps_what_it_uses() {
    let manifest = small("scratch: scratch").replace("epochs: 3", "epochs: 4000").replace("patience: 3", "patience: 4000");
    let space = Space::with(&quick(7));
    space.document(&[]);
    space.write("long.yaml", &manifest);
    let child = space.command(&["run", "long.yaml", "--offline"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Until the split is made and the teacher is being trained.
    let begun = || {
        let runs = space.path(".talkflow/runs").read_dir().into_iter().flatten().flatten();
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("events.jsonl")).ok())
            .any(|events| events.contains("\"progressed\",\"index\":2"))
    };
    let started = std::time::Instant::now();
    while !begun() {
        assert!(started.elapsed().as_secs() < 120, "the teacher never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let collected = space.run(&["store", "gc", "--include-latest", "--keep-runs", "0", "--format", "json"]).ok().json();
    assert_eq!((&collected["records"], &collected["kept_in_use"], &collected["kept_runs"]), (&2.into(), &2.into(), &1.into()));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    Ran::of(child.wait_with_output().unwrap()).code(130).says("2 ran, 0 cached");
    let collected = space.run(&["store", "gc", "--include-latest", "--format", "json"]).ok().json();
    assert_eq!((&collected["records"], &collected["kept_in_use"]), (&2.into(), &0.into()));
    space.document(&[]);
    space.nothing_to_do(&[]);
}

#[test]
fn runs_and_collections_side_by_side_disturb_each_other_in_nothing() {
    let space = Space::with(&quick(0));
    let reference: Vec<_> = (0..3)
        .map(|seed| {
            let alone = Space::with(&quick(seed));
            alone.document(&[]);
            alone.results().into_iter().collect::<BTreeSet<_>>()
        })
        .collect();
    for seed in 0..3 {
        space.write(&format!("{seed}.yaml"), &quick(seed));
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let space = &space;
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                space.run(&["store", "gc", "--include-latest", "--keep-runs", "0", "--store", ".talkflow"]);
            }
        });
        let runners: Vec<_> = (0..3)
            .map(|seed| {
                let reference = &reference;
                scope.spawn(move || {
                    for _ in 0..6 {
                        let manifest = format!("{seed}.yaml");
                        let ran = space.run(&["run", &manifest, "--offline", "--format", "json", "-j", "1"]);
                        if ran.code != 0 {
                            return Err(ran.stderr);
                        }
                        for stage in ran.json()["stages"].as_array().unwrap() {
                            let metrics = stage["metrics"].as_object().unwrap();
                            if metrics.is_empty() || reference[seed].is_empty() {
                                return Err(format!("{stage:#}"));
                            }
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let ended: Vec<Result<(), String>> = runners.into_iter().map(|runner| runner.join().unwrap()).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(ended, [Ok(()), Ok(()), Ok(())]);
    });
    for seed in 0..3 {
        space.run(&["run", &format!("{seed}.yaml"), "--offline"]).ok();
    }
    let all: BTreeSet<_> = reference.into_iter().flatten().collect();
    assert_eq!(space.results().into_iter().collect::<BTreeSet<_>>(), all);
    space.run(&["store", "verify"]).ok();
    space.nothing_to_do(&[]);
}

#[test]
fn what_is_sent_to_another_store_needs_no_work_there() {
    let space = Space::with(&small(ONE));
    space.document(&[]);
    space.run(&["store", "pin", "teacher", "--note", "good"]).ok();
    space.run(&["store", "push", "disk/store"]).code(2).says("mounted");
    std::fs::create_dir(space.path("disk")).unwrap();
    space.run(&["store", "push", "disk/store", "--dry-run"]).ok().says("would be sent: 7 results");
    assert!(!space.path("disk/store").exists());
    // A stage, with all it was made from; then the rest.
    space.run(&["store", "push", "disk/store", "teacher"]).ok().says("sent: 3 results");
    space.run(&["store", "push", "disk/store", "--pins"]).ok().says("sent: 4 results").says("1 pin").says("3 there already");
    space.run(&["store", "push", "disk/store"]).ok().says("sent: 0 results");
    space.run(&["store", "push", ".talkflow"]).code(2).says("this store itself");
    // Fetched from there into a store that is new, all is cached, and `why` knows the last results.
    let fresh = Space::with(&small(ONE));
    let disk = space.path("disk/store").display().to_string();
    fresh.run(&["store", "pull", &disk, "--dry-run"]).ok().says("would be fetched: 7 results");
    assert!(!fresh.path(".talkflow").exists());
    let pulled = fresh.run(&["store", "pull", &disk, "--pins", "--format", "json"]).ok().json();
    assert_eq!((&pulled["ok"], &pulled["results"], &pulled["pins"]), (&true.into(), &7.into(), &1.into()));
    fresh.nothing_to_do(&[]);
    fresh.run(&["why", "m.yaml", "teacher", "--set", "epochs=5"]).ok().says("stop.epochs: 3 -> 5");
    assert_eq!(fresh.results(), space.results());
    fresh.run(&["store", "verify"]).ok();
    fresh.run(&["store", "pins"]).ok().says("good");
    // Damage there is named and left out, and what did come is whole.
    let files = space.run(&["store", "ls", "--store", "disk/store", "split", "--format", "json"]).ok().json();
    let key = files[0]["key"].as_str().unwrap();
    let record: Value = serde_json::from_str(&space.read(&format!("disk/store/actions/{}/{key}.json", &key[..2]))).unwrap();
    let digest = record["files"]["split.parquet"]["digest"].as_str().unwrap();
    let blob = space.path(&format!("disk/store/blobs/{}/{digest}", &digest[..2]));
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let third = Space::with(&small(ONE));
    third.run(&["store", "pull", &disk]).code(3).says("left out").says("split").says("fetched: 6 results");
    third.run(&["store", "verify"]).ok();
    assert_eq!(third.document(&[])["ran"], 1);
    assert_eq!(third.results(), space.results());
    // Another layout is not read, and no store is none.
    space.write("old/format", "0\n");
    third.run(&["store", "pull", &space.path("old").display().to_string()]).code(3).says("format 0");
    third.run(&["store", "push", &space.path("old").display().to_string()]).code(3).says("format 0");
    third.run(&["store", "pull", "nowhere"]).code(3).says("no store");
    third.nothing_to_do(&[]);
}

#[test]
fn last_results_are_in_view_under_readable_names_and_cannot_be_written_to() {
    let space = Space::with(&small(ONE));
    space.document(&[]);
    let out = space.path(".talkflow/out/small");
    let student = out.join("student[genre=Drama,method=bias_only]/config.json");
    let first = std::fs::read_to_string(&student).unwrap();
    space.write("m.yaml", &small(ONE).replace("genre: [Drama, Comedy]", "genre: [Drama]").replace("epochs: 3", "epochs: 2"));
    space.document(&[]);
    assert_ne!(std::fs::read_to_string(&student).unwrap(), first);
    assert!(!out.join("student[genre=Comedy,method=bias_only]").exists(), "it is not in the manifest any more");
    // Only a part is run: what is shown of the rest stays.
    space.document(&["split"]);
    assert!(student.exists());
    // As somebody who is not root, since root may write to anything.
    let mut echo = std::process::Command::new("sh");
    echo.args(["-c", "cat \"$1\" >/dev/null && ! echo x >\"$1\"", "sh"]).arg(&student).stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        for folder in student.ancestors().take_while(|folder| *folder != std::env::temp_dir()) {
            let mode = if folder.is_dir() { 0o755 } else { 0o444 };
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        echo.uid(65534).gid(65534);
    }
    assert!(echo.status().unwrap().success(), "it can be read and not written to");
    space.run(&["store", "gc"]).ok();
    assert!(student.exists());
    space.run(&["store", "verify"]).ok();
    // The store is moved as a whole: the links are within it.
    std::fs::rename(space.path(".talkflow"), space.path("moved")).unwrap();
    assert!(space.path("moved/out/small/student[genre=Drama,method=bias_only]/config.json").exists());
    std::fs::rename(space.path("moved"), space.path(".talkflow")).unwrap();
    space.nothing_to_do(&[]);
}

#[test]
fn verification_can_be_of_some_stages_and_sets_damage_aside() {
    let space = Space::with(&quick(1));
    space.document(&[]);
    let whole = space.run(&["store", "verify", "--format", "json"]).ok().json();
    let split = space.path(".talkflow/out/quick/split/split.parquet").canonicalize().unwrap();
    std::fs::set_permissions(&split, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&split).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&split, bytes).unwrap();
    let ratings = space.run(&["store", "verify", "ratings", "--format", "json"]).ok().json();
    assert!(ratings["read"].as_u64().unwrap() < whole["read"].as_u64().unwrap(), "{ratings} {whole}");
    space.run(&["store", "verify", "split"]).code(3).says("the contents of blob").says("1 damaged");
    assert!(!split.exists());
    assert!(space.path(".talkflow/damaged").join(split.file_name().unwrap()).exists());
    assert_eq!(space.document(&[])["ran"], 1);
    space.run(&["store", "verify"]).ok().says("all whole");
    space.nothing_to_do(&[]);
}
