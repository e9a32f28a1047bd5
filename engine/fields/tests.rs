//! What a stage kind gets for what was written.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use super::probe::probe;
use super::*;
use crate::artifact::ArtifactKind;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Rmse,
    Mae,
}

impl Choice for Metric {
    const WORDS: &'static [(&'static str, Self)] = &[("rmse", Self::Rmse), ("mae", Self::Mae)];
}

fn mistakes<R: std::fmt::Debug>(text: &str, with: impl FnOnce(&mut Fields<'_>) -> R) -> String {
    probe(text, &[("ratings", ArtifactKind::Data), ("split", ArtifactKind::Split)], with).unwrap_err().render()
}

/// Settings as `path: canonical` lines.
fn settings<R>(text: &str, with: impl FnOnce(&mut Fields<'_>) -> R) -> (R, Vec<String>) {
    let stages = [("ratings", ArtifactKind::Data), ("split", ArtifactKind::Split)];
    let reading = probe(text, &stages, with).unwrap();
    let lines = reading.settings.canonical().map(|(path, value)| format!("{path} {value}"));
    let lines = lines.collect();
    (reading.value, lines)
}

#[test]
fn what_is_read_is_recorded_with_defaults_filled_in() {
    let (value, lines) = settings("rate: 1\nmetrics: [mae]", |fields| {
        (
            fields.float("rate", None, 0.0..),
            fields.int("epochs", Some(30), 1..),
            fields.choices("metrics", Some(&[Metric::Rmse])),
            fields.optional_text("note"),
        )
    });
    assert_eq!(value, (1.0, 30, vec![Metric::Mae], None));
    assert_eq!(lines, ["epochs 30", "metrics [mae]", "note ~", "rate 1.0"]);
}

fn no_settings(_: &mut Fields<'_>) {}

#[test]
fn what_is_written_and_not_asked_for_is_a_mistake() {
    insta::assert_snapshot!(mistakes("rate: 1\nhiden: 2\nother: 3", |fields| {
        fields.optional_float("rate", ..);
        fields.optional_int("hidden", ..);
    }), @r"
    error: unknown setting `hiden` in `kind`
     --> m.yaml:2:1
      |
    2 | hiden: 2
      | ^^^^^
      |
      = help: did you mean `hidden`?

    error: unknown setting `other` in `kind`
     --> m.yaml:3:1
      |
    3 | other: 3
      | ^^^^^
      |
      = help: it can only be `hidden`

    2 mistakes; nothing was run
    ");
    insta::assert_snapshot!(mistakes("{ a: 1 }", no_settings), @r"
    error: unknown setting `a` in `kind`
     --> m.yaml:1:3
      |
    1 | { a: 1 }
      |   ^
      |
      = help: `kind` has no settings

    1 mistake; nothing was run
    ");
}

#[test]
fn what_is_wrong_is_replaced_by_something_harmless() {
    let stages = [];
    let mut seen = None;
    let result = probe(
        "{ rate: -1, width: 0, on: maybe, name: 7, metric: rsme, method: { tlak: { rounds: 9 } }, sizes: [1, x] }",
        &stages,
        |fields| {
            let rate = fields.float("rate", None, (std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(0.5)));
            let method = fields
                .variant("method", &["scratch", "talk"], None, |word, fields| (word.to_owned(), fields.int("rounds", None, 1..)));
            seen = Some((
                rate,
                fields.count("width", None, 8..),
                fields.bool("on", Some(true)),
                fields.text("name", Some("x")),
                fields.choice::<Metric>("metric", None),
                method,
                fields.ints("sizes", Some(&[3]), ..),
            ));
        },
    );
    let (rate, width, on, name, metric, method, sizes) = seen.unwrap();
    assert!(rate > 0.0 && rate <= 0.5);
    assert_eq!((width, on, name.as_str(), metric), (8, true, "x", Metric::Rmse));
    assert_eq!((method, sizes), (("scratch".to_owned(), 1), vec![3]));
    assert_eq!(result.unwrap_err().list().len(), 7);
}

#[test]
fn limits_are_said_in_words() {
    let say = |text: &str, with: fn(&mut Fields<'_>)| probe(text, &[], with).unwrap_err().list()[0].message.clone();
    assert_eq!(
        say("a: 9", |f| {
            f.int("a", None, 1..=3);
        }),
        "`a` must be from 1 to 3, and this is 9"
    );
    assert_eq!(
        say("a: 9", |f| {
            f.int("a", None, ..3);
        }),
        "`a` must be at least 0 and less than 3, and this is 9"
    );
    assert_eq!(
        say("a: 0", |f| {
            f.int("a", None, 1..);
        }),
        "`a` must be at least 1, and this is 0"
    );
    assert_eq!(
        say("a: 1.5", |f| {
            f.float("a", None, 0.0..1.0);
        }),
        "`a` must be at least 0 and less than 1, and this is 1.5"
    );
    assert_eq!(
        say("a: 1.5", |f| {
            f.float("a", None, ..=1.0);
        }),
        "`a` must be at most 1, and this is 1.5"
    );
    assert_eq!(
        say("a: 2", |f| {
            f.int("a", None, 1..=1);
        }),
        "`a` must be 1, and this is 2"
    );
}

#[test]
fn a_tagged_choice_is_a_word_or_a_word_with_settings() {
    let read = |fields: &mut Fields<'_>| {
        fields.variant("optimizer", &["adam", "sgd"], Some("adam"), |word, fields| match word {
            "adam" => fields.float("rate", Some(1e-3), 0.0..),
            _ => fields.float("momentum", Some(0.5), 0.0..),
        })
    };
    assert_eq!(settings("{}", read).1, ["optimizer adam", "optimizer.adam.rate 0.001"]);
    assert_eq!(settings("optimizer: adam", read).1, settings("{}", read).1);
    assert_eq!(settings("optimizer: { adam: }", read).1, settings("{}", read).1);
    assert_eq!(
        settings("optimizer: { sgd: { momentum: 1 } }", read),
        (1.0, vec!["optimizer sgd".to_owned(), "optimizer.sgd.momentum 1.0".to_owned(),])
    );
    for wrong in [
        "optimizer: adan",
        "optimizer: 3",
        "optimizer: {}",
        "optimizer: null",
        "optimizer: { adam: 1 }",
        "optimizer: { sgd: { rate: 1 } }",
    ] {
        assert!(probe(wrong, &[], read).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_unrecorded_is_checked_and_neither_setting_nor_input() {
    let read = |fields: &mut Fields<'_>| {
        fields.unrecorded(|fields| {
            fields.section("model", |fields| fields.int("width", Some(8), 1..));
            fields.optional_stage("rows", ArtifactKind::Data);
        });
    };
    let reading = probe("{ model: { width: 4 }, rows: ratings }", &[("ratings", ArtifactKind::Data)], read).unwrap();
    assert_eq!((reading.settings.iter().count(), reading.wanted.len()), (0, 0));
    assert!(probe("{ model: { width: 0 } }", &[], read).is_err());
    assert!(probe("{ rows: ratngs }", &[("ratings", ArtifactKind::Data)], read).is_err());
}

#[test]
fn stages_are_inputs_and_not_settings() {
    let (_, lines) = settings("{ rows: split, nested: { ratings: [ratings] } }", |fields| {
        assert_eq!(fields.stage("rows", ArtifactKind::Split), Port("rows".to_owned()));
        fields.section("nested", |fields| {
            assert_eq!(fields.stages("ratings", ArtifactKind::Data), Port("nested.ratings".to_owned()));
        });
        assert_eq!(fields.optional_stage("more", ArtifactKind::Split), None);
    });
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_section_is_sound_until_something_in_it_is_wrong() {
    let mut sound = Vec::new();
    let result = probe("{ a: { x: 1 }, b: { x: -1 }, c: { } }", &[], |fields| {
        for key in ["a", "b", "c"] {
            fields.section(key, |fields| {
                fields.int("x", None, ..);
                sound.push(fields.sound());
            });
        }
        sound.push(fields.sound());
    });
    assert_eq!(sound, [true, false, false, false]);
    assert!(result.is_err());
}

#[test]
fn a_file_is_found_beside_the_manifest_and_is_no_setting() {
    let reading = probe("{ a: data/x.csv, b: /y.csv }", &[], |fields| {
        (fields.file("a"), fields.optional_file("b"), fields.optional_file("c"))
    });
    let reading = reading.unwrap();
    assert_eq!(reading.value, (Some("data/x.csv".into()), Some("/y.csv".into()), None));
    assert_eq!(reading.files.iter().map(|file| file.field.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(reading.settings.iter().count(), 0);
    assert_eq!(probe("a: [x]", &[], |fields| fields.file("a")).unwrap_err().list().len(), 1);
}

#[test]
fn minus_zero_is_zero() {
    let read = |fields: &mut Fields<'_>| fields.float("x", None, ..);
    assert_eq!(settings("x: -0.0", read).1, settings("x: 0", read).1);
}
