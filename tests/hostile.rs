//! Manifests, names and texts that are meant to hurt: they end in an error that says where, and reach the terminal as text.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt};

use crate::space::Space;

/// What clears a screen, renames a window, and writes from right to left.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}";

#[track_caller]
fn plain(text: &str) {
    let obeyed = |c: &char| (c.is_control() && !matches!(c, '\n' | '\t')) || *c == '\u{202e}';
    assert_eq!(text.chars().find(obeyed), None, "{text:?}");
}

#[test]
fn what_a_terminal_would_obey_reaches_it_as_text() {
    let name = serde_json::Value::from(format!("small{ESCAPES}"));
    let ratings = "ratings: { dataset: { file: r.csv } }";
    let space = Space::with(&format!("talkflow: 1\nname: {name}\nstages:\n  {ratings}\n"));
    // A column's name, an id, and a rating that cannot be read are quoted in messages.
    for table in [format!("user,{ESCAPES}item,rating\n1,1,3\n"), format!("user,item,rating\n1,{ESCAPES},x{ESCAPES}\n")] {
        space.write("r.csv", &table);
        let ran = space.run(&["run", "m.yaml"]).code(1);
        plain(&ran.stderr);
        plain(&ran.stdout);
    }
    space.write("r.csv", "user,item,rating\n1,1,3\n2,2,4\n");
    let ran = space.run(&["run", "m.yaml"]).ok();
    plain(&ran.stderr);
    assert!(ran.stderr.contains("small\\u{1b}[2J"), "{}", ran.stderr);
    for args in [
        &["show"][..],
        &["show", "ratings"],
        &["plan", "m.yaml"],
        &["show", "--resolved", "m.yaml"],
        &["store", "gc", "--dry-run"],
    ] {
        let shown = space.run(args);
        plain(&shown.stdout);
        plain(&shown.stderr);
    }
    // For programs it stays what it is.
    let document: serde_json::Value = space.run(&["run", "m.yaml", "--format", "json"]).ok().json();
    assert_eq!(document["manifest"], format!("small{ESCAPES}"));
}

#[test]
fn mistakes_quote_a_manifest_as_text() {
    let space = Space::with(&format!("talkflow: 1\nstages:\n  a:\n    dataset: {{ name: \"x{ESCAPES}\" }}\n"));
    let ran = space.run(&["plan", "m.yaml"]).code(2);
    plain(&ran.stderr);
    let typed = space.run(&["run", "m.yaml", "--set", &format!("x{ESCAPES}=1")]).code(2);
    plain(&typed.stderr);
}

#[test]
fn a_variable_of_odd_bytes_is_a_mistake_with_a_place() {
    let space = Space::with("talkflow: 1\nstages:\n  a:\n    dataset: { name: \"${env.ODD}\" }\n");
    let mut command = space.command(&["plan", "m.yaml"]);
    let ran = crate::space::Ran::of(command.env("ODD", OsString::from_vec(b"a\xff\x1b[2J".to_vec())).output().unwrap()).code(2);
    plain(&ran.stderr);
    assert!(ran.stderr.contains("m.yaml:4:") && ran.stderr.contains("ODD"), "{}", ran.stderr);
}

/// A record may have come from another store. Its names are paths that `export` would write to.
#[test]
fn a_record_that_names_a_file_elsewhere_is_no_record() {
    let space = Space::with(
        "talkflow: 1\nname: m\nstages:\n  ratings:\n    dataset: { name: movielens/synthetic, users: 20, items: 60, ratings: 100 }\n",
    );
    space.run(&["run", "m.yaml"]).ok();
    let shard = fs::read_dir(space.path(".talkflow/actions")).unwrap().next().unwrap().unwrap().path();
    let record = fs::read_dir(shard).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&record).unwrap();
    let mut permissions = fs::metadata(&record).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test's own file")]
    permissions.set_readonly(false);
    fs::set_permissions(&record, permissions).unwrap();
    fs::write(&record, text.replace("\"dataset.json\"", "\"../../escaped.json\"")).unwrap();
    let ran = space.run(&["export", "ratings", "-o", "out/deep"]);
    assert_ne!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(!space.path("escaped.json").exists() && !space.path("out/escaped.json").exists());
    // It is made again.
    let document = space.document(&[]);
    assert_eq!((&document["ran"], &document["failed"]), (&1.into(), &0.into()), "{document:#}");
    space.nothing_to_do(&[]);
}

#[test]
fn brackets_and_depth_have_an_end() {
    let space = Space::new();
    let deep = |open: &str, close: &str, n: usize| format!("talkflow: 1\nparams: {}{}\n", open.repeat(n), close.repeat(n));
    let maps: String = (0..2000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    for text in [
        deep("[", "]", 4 << 20),
        deep("[", "", 7 << 20),
        deep("{a: ", "}", 1 << 20),
        format!("talkflow: 1\n{maps}"),
        format!("talkflow: 1\nparams: {}", "- ".repeat(4 << 20)),
        format!("talkflow: 1\nname: {}", "&a ".repeat(2 << 20)),
        format!("talkflow: 1\nname: \"{}\"", "${".repeat(3 << 20)),
        format!("{}\n", "? ".repeat(4 << 20)),
    ] {
        space.write("m.yaml", &text);
        let ran = space.run(&["plan", "m.yaml"]).code(2);
        assert!(ran.stderr.len() < 200_000, "a message of {} bytes", ran.stderr.len());
        assert!(ran.stderr.contains("m.yaml"), "{}", &ran.stderr[..ran.stderr.len().min(500)]);
    }
}
