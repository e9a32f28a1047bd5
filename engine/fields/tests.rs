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
    probe(text, &[("ratings", ArtifactKind::Ratings), ("split", ArtifactKind::Split)], with).unwrap_err().render()
}

/// Settings as `path: canonical` lines.
fn settings<R>(text: &str, with: impl FnOnce(&mut Fields<'_>) -> R) -> (R, Vec<String>) {
    let stages = [("ratings", ArtifactKind::Ratings), ("split", ArtifactKind::Split)];
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
