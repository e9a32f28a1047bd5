//! The situations of docs/store-and-faults.md, as a user meets them. What needs a file system of its own is in faults_mounted.rs,
//! two hundred kills are in endurance.rs, several processes in processes.rs.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use crate::space::{Space, small};

const TALK: &str = r#"talk: { talk: "${talk}" }"#;

/// A data set of the user's own and a split of it.
const OWN: &str = "talkflow: 1\nname: own\nstages:\n  ratings:\n    dataset: { file: r.csv }\n  split:\n    split: { rows: ratings, seed: 1 }\n";

fn ratings() -> String {
    "user,item,rating\n".to_owned() + &(0..60).map(|n| format!("{},{},{}\n", n / 6, n % 11, 1 + n % 5)).collect::<String>()
}

fn own() -> Space {
    let space = Space::with(OWN);
    space.write("r.csv", &ratings());
    space
}

/// The files of a stage's results.
fn blobs(space: &Space, stage: &str) -> Vec<std::path::PathBuf> {
    let of = space.results().into_iter().filter(|(instance, _, _)| instance == stage);
    let mut paths: Vec<_> = of.map(|(_, _, digest)| space.path(&format!(".talkflow/blobs/{}/{digest}", &digest[..2]))).collect();
    paths.sort();
    paths.dedup();
    assert!(!paths.is_empty(), "{stage} has no files");
    paths
}

/// Flips a bit, as a disk does: neither size nor times say so.
fn flip(path: &Path) {
    let times = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(times).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

fn damaged(space: &Space) -> usize {
    fs::read_dir(space.path(".talkflow/damaged")).unwrap().count()
}

#[test]
fn a_damaged_file_is_noticed_when_it_is_read_set_aside_and_made_again() {
    let space = Space::with(&small(TALK).replace("epochs: 3", "epochs: 1"));
    space.document(&[]);
    let before = space.results();
    let stages: std::collections::BTreeSet<&str> = before.iter().map(|(stage, _, _)| stage.as_str()).collect();
    for stage in stages {
        let files = blobs(&space, stage);
        files.iter().for_each(|file| flip(file));
        // Whoever reads them: students and the table, the table, or the command that shows it.
        let readers: &[&str] = match stage {
            "scores" => &[],
            student if student.starts_with("student") => &["--force", "scores"],
            _ => &["--force", "student", "--force", "scores"],
        };
        let ran = space.run(&[&["run", "m.yaml", "--offline"], readers].concat()).ok();
        ran.says("was damaged and is now").says("this stage makes it again");
        assert_eq!(space.results(), before, "{stage}");
        space.run(&["store", "verify"]).ok();
        assert_eq!(damaged(&space), files.len(), "{stage}");
        fs::read_dir(space.path(".talkflow/damaged")).unwrap().for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
    }
    space.nothing_to_do(&[]);
}

#[test]
fn a_missing_file_found_by_its_reader_is_made_again_too() {
    let space = Space::with(&small(TALK).replace("epochs: 3", "epochs: 1"));
    space.document(&[]);
    let before = space.results();
    blobs(&space, "split").iter().for_each(|file| fs::remove_file(file).unwrap());
    space.document(&["--force", "student"]);
    assert_eq!(space.results(), before);
    space.nothing_to_do(&[]);
}

#[test]
fn a_damaged_table_is_made_again_before_it_is_shown() {
    let space = Space::with(&small("bias_only: bias_only").replace("epochs: 3", "epochs: 1"));
    let table = space.run(&["run", "m.yaml", "--offline"]).ok().stdout;
    flip(&blobs(&space, "scores")[0]);
    let again = space.run(&["run", "m.yaml", "--offline"]).ok().says("was damaged");
    assert_eq!(again.stdout, table);
    space.nothing_to_do(&[]);
}

#[test]
fn commands_that_make_nothing_refuse_damaged_files_with_code_3() {
    let space = Space::with(&small("bias_only: bias_only").replace("epochs: 3", "epochs: 1"));
    space.document(&[]);
    let before = space.results();
    space.write("pairs.csv", "user,item\n1,1\n");
    blobs(&space, "teacher").iter().for_each(|file| flip(file));
    space.run(&["predict", "teacher", "--input", "pairs.csv"]).code(3).says("was damaged").says("`talkflow run` makes it again");
    flip(&blobs(&space, "split")[0]);
    space.run(&["export", "split", "-o", "out"]).code(3).says("was damaged").says("`talkflow run` makes it again");
    space.document(&["--force", "scores"]);
    assert_eq!(space.results(), before);
    space.run(&["predict", "teacher", "--input", "pairs.csv"]).ok();
    space.nothing_to_do(&[]);
}

#[test]
fn a_truncated_or_changed_record_is_no_result_and_is_made_again() {
    let space = own();
    space.document(&[]);
    let before = space.results();
    let records = || {
        let shards = fs::read_dir(space.path(".talkflow/actions")).unwrap().flatten();
        let mut files: Vec<_> =
            shards.flat_map(|shard| fs::read_dir(shard.path()).unwrap().flatten()).map(|f| f.path()).collect();
        files.sort();
        files
    };
    for record in records() {
        let whole = fs::read(&record).unwrap();
        // A metric, a file's name: nothing that the key is made from.
        let text = String::from_utf8(whole.clone()).unwrap();
        let changed = text.replacen("parquet", "parquex", 1).into_bytes();
        assert_ne!(changed, whole);
        for damaged in [changed, whole[..whole.len() / 2].to_vec(), Vec::new()] {
            fs::write(&record, damaged).unwrap();
            assert_eq!(space.document(&[])["ran"], 1);
            assert_eq!(space.results(), before);
        }
    }
    space.nothing_to_do(&[]);
}

#[test]
fn a_power_cut_is_noticed_by_the_next_process_and_what_it_took_is_made_again() {
    let space = own();
    space.document(&[]);
    let before = space.results();
    space.write(".talkflow/unsynced/1-0", "the marker of a run that nobody knows");
    let split = &blobs(&space, "split")[0];
    let size = fs::metadata(split).unwrap().len();
    fs::remove_file(split).unwrap();
    fs::write(split, vec![0; usize::try_from(size).unwrap()]).unwrap();
    let ran = space.run(&["run", "m.yaml", "--offline"]).ok();
    ran.says("the machine went down").says("1 were not whole").says("set aside:");
    assert_eq!(space.results(), before);
    assert!(!space.path(".talkflow/unsynced/1-0").exists());
    space.nothing_to_do(&[]);
}

#[test]
fn output_changed_on_disk_same_size_and_time() {
    let space = own();
    space.document(&[]);
    let before = space.results();
    blobs(&space, "ratings").iter().for_each(|file| flip(file));
    let document = space.document(&["--force", "split"]);
    assert_eq!((&document["ran"], space.results()), (&2.into(), before));
    space.nothing_to_do(&[]);
}

#[test]
fn output_changed_on_disk_new_time() {
    let space = own();
    space.document(&[]);
    let before = space.results();
    for file in blobs(&space, "ratings") {
        fs::remove_file(&file).unwrap();
        fs::write(&file, "somebody wrote something else here").unwrap();
    }
    // Another size: seen without reading.
    let document = space.document(&[]);
    assert_eq!((&document["ran"], space.results()), (&1.into(), before));
    space.nothing_to_do(&[]);
}

#[test]
fn edit_then_undo_hits_at_once() {
    let space = own();
    space.document(&[]);
    space.write("r.csv", &(ratings() + "99,1,5\n"));
    assert_eq!(space.document(&[])["ran"], 2);
    space.write("r.csv", &ratings());
    space.nothing_to_do(&[]);
}

#[test]
fn files_from_the_future_and_a_clock_that_went_back() {
    let space = own();
    let future = std::time::SystemTime::now() + Duration::from_secs(30 * 86_400);
    let write = |text: &str| {
        space.write("r.csv", text);
        fs::File::options().write(true).open(space.path("r.csv")).unwrap().set_modified(future).unwrap();
    };
    write(&ratings());
    space.document(&[]);
    space.nothing_to_do(&[]);
    // Same size, same times of modification.
    write(&ratings().replacen("0,0,1", "0,0,5", 1));
    assert_eq!(space.document(&[])["ran"], 2);
    // Records, runs and notes of the future.
    for folder in ["actions", "blobs", "runs", "latest"] {
        for entry in walk(&space.path(&format!(".talkflow/{folder}"))) {
            fs::File::open(entry).unwrap().set_modified(future).unwrap();
        }
    }
    space.write(".talkflow/runs/29991231-235959-000/events.jsonl", "");
    space.nothing_to_do(&[]);
    space.run(&["show"]).ok();
    space.run(&["store", "gc"]).ok();
    space.nothing_to_do(&[]);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_store_that_cannot_be_written_is_a_clear_error_with_code_3() {
    // A file where a folder has to be refuses everybody, root too.
    let space = own();
    space.document(&[]);
    let before = space.results();
    space.write("r.csv", &(ratings() + "99,1,5\n"));
    for folder in ["actions", "blobs", "damaged", "latest", "leases", "partial", "runs", "tmp", "unsynced"] {
        let (path, aside) = (space.path(&format!(".talkflow/{folder}")), space.path("aside"));
        fs::rename(&path, &aside).unwrap();
        fs::write(&path, "").unwrap();
        space.run(&["run", "m.yaml", "--offline"]).code(3).says(folder);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(space.results(), before, "nothing was published");
    // The notes of this manifest alone.
    let (notes, aside) = (space.path(".talkflow/latest/own.jsonl"), space.path("aside"));
    fs::rename(&notes, &aside).unwrap();
    fs::create_dir(&notes).unwrap();
    space.run(&["run", "m.yaml", "--offline"]).code(3).says("own.jsonl");
    fs::remove_dir(&notes).unwrap();
    fs::rename(&aside, &notes).unwrap();
    assert_eq!(space.document(&[])["ran"], 2);
    space.nothing_to_do(&[]);
}

#[test]
fn a_damaged_format_is_a_clear_error_with_code_3() {
    let space = own();
    space.document(&[]);
    let whole = space.read(".talkflow/format");
    space.write(".talkflow/format", "\u{1}");
    space.run(&["run", "m.yaml", "--offline"]).code(3).says("is damaged").says("store verify");
    space.write(".talkflow/format", &whole);
    space.nothing_to_do(&[]);
}

#[test]
fn damage_to_what_only_people_read_changes_no_result() {
    let space = own();
    let run = space.document(&[])["run"].as_str().unwrap().to_owned();
    for file in walk(&space.path(&format!(".talkflow/runs/{run}"))) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes.truncate(middle);
        bytes.extend(b"\xff\xfe\n{");
        fs::write(&file, bytes).unwrap();
    }
    space.run(&["show"]).ok();
    space.nothing_to_do(&[]);
}

/// The row of the fault table that make gets wrong and Snakemake refuses.
#[test]
fn kill_9_while_an_output_is_half_written_then_rerun() {
    let slow = "talkflow: 1\nname: k\nstages:\n  out:\n    command: { run: \"echo half > out; [ -e $MARK ] || { touch $MARK; kill -9 $PPID; exit 1; }; \
                echo whole >> out\", outputs: [out], env: { MARK: \"MARKER\" } }\n  copy:\n    command: { run: \"cat out/out > copy\", inputs: { out: \
                out }, outputs: [copy] }\n";
    let space = Space::new();
    space.write("m.yaml", &slow.replace("MARKER", space.path("mark").to_str().unwrap()));
    // The program kills talkflow while its output is half written.
    assert_eq!(space.run(&["run", "m.yaml", "--offline"]).code, 1009);
    space.document(&[]);
    for stage in ["out", "copy"] {
        assert_eq!(fs::read_to_string(&blobs(&space, stage)[0]).unwrap(), "half\nwhole\n");
    }
    space.nothing_to_do(&[]);
}

#[test]
fn a_stage_fails_after_a_partial_write_is_fixed_and_rerun() {
    let manifest = |program: &str| {
        format!(
            "talkflow: 1\nname: f\nstages:\n  out:\n    command: {{ run: \"{program}\", outputs: [out] }}\n  copy:\n    command: {{ run: \"cat out/out > copy\", inputs: {{ out: out }}, outputs: [copy] }}\n"
        )
    };
    let space = Space::with(&manifest("echo half > out; exit 3"));
    space.run(&["run", "m.yaml", "--offline"]).code(1);
    assert!(space.results().is_empty(), "half an output was taken for a result");
    space.write("m.yaml", &manifest("echo whole > out"));
    space.document(&[]);
    assert_eq!(fs::read_to_string(&blobs(&space, "copy")[0]).unwrap(), "whole\n");
    space.nothing_to_do(&[]);
}

#[test]
fn only_a_comment_of_an_input_changed() {
    let each = "  each:\n    matrix: { n: [a, b, c] }\n    command: { run: \"cat clean/clean > ${matrix.n}; echo ${matrix.n} >> ${matrix.n}\", inputs: { clean: clean }, outputs: [\"${matrix.n}\"] }\n";
    let space = Space::with(&format!(
        "talkflow: 1\nname: c\nstages:\n  clean:\n    command: {{ run: \"grep -v '^#' words > clean\", files: [words], outputs: [clean] }}\n{each}"
    ));
    space.write("words", "# one\na\n");
    assert_eq!(space.document(&[])["ran"], 4);
    space.write("words", "# another\na\n");
    assert_eq!(space.document(&[])["ran"], 1);
    space.nothing_to_do(&[]);
}
