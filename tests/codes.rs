//! The table of exit codes, each by a command that ends with it. 4, a failed metric gate, is in check.rs.

use crate::space::{Space, small};

const ONE: &str = "bias_only: bias_only";

#[test]
fn each_exit_code_has_a_command_that_ends_with_it() {
    let space = Space::with(&small(ONE));
    let code = |args: &[&str], code: i32| drop(space.run(args).code(code));
    // 2: the arguments or the manifest are wrong.
    code(&["run"], 2);
    code(&["run", "nowhere.yaml"], 2);
    code(&["run", "m.yaml", "--device", "tpu"], 2);
    code(&["run", "m.yaml", "--set", "sed=2"], 2);
    code(&["run", "m.yaml", "teachr"], 2);
    code(&["run", "m.yaml", "-j", "0"], 2);
    code(&["frobnicate"], 2);
    space.write("bad.yaml", "talkflow: 1\nstages:\n  a:\n    splitt: {}\n");
    code(&["run", "bad.yaml"], 2);
    code(&["store", "ls"], 2);
    // 10: something would run; 0: it was only asked what.
    code(&["plan", "m.yaml", "--exit-code"], 10);
    code(&["plan", "m.yaml"], 0);
    code(&["run", "m.yaml"], 0);
    code(&["plan", "m.yaml", "--exit-code"], 0);
    code(&["--help"], 0);
    code(&["--version"], 0);
    // 1: a stage failed.
    space.write("fails.yaml", "talkflow: 1\nstages:\n  a:\n    dataset: { file: empty.csv }\n");
    space.write("empty.csv", "");
    code(&["run", "fails.yaml"], 1);
    // 3: the store cannot be used.
    space.write("other/format", "7\n");
    space.run(&["run", "m.yaml", "--store", "other"]).code(3).says("format 7");
    space.write("mine/thesis.txt", "all of it\n");
    space.run(&["run", "m.yaml", "--store", "mine"]).code(3).says("not a talkflow store");
    assert_eq!(space.read("mine/thesis.txt"), "all of it\n");
    space.write("file", "");
    code(&["run", "m.yaml", "--store", "file"], 3);
    // 130 and 143 are in crash.rs.
    space.nothing_to_do(&[]);
}

#[test]
fn a_wrong_manifest_is_one_json_document_too() {
    let space = Space::with("talkflow: 1\nstages:\n  a:\n    splitt: { rows: b }\n");
    let ran = space.run(&["run", "m.yaml", "--format", "json"]).code(2);
    let document = ran.json();
    assert_eq!(document["ok"], false);
    let error = &document["errors"][0];
    assert_eq!((&error["line"], &error["column"]), (&4.into(), &5.into()), "{document:#}");
    assert!(error["file"].as_str().unwrap().ends_with("m.yaml"), "{document:#}");
    assert!(error["help"].as_str().unwrap().contains("split"), "{document:#}");
}

#[test]
fn cuda_without_a_gpu_is_a_clear_error() {
    let space = Space::with(&small(ONE));
    space.run(&["run", "m.yaml", "--device", "cuda"]).code(1).says("cuda");
}
