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
