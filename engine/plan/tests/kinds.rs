//! Stage kinds for tests: enough of the language's features, and nothing that runs.

use crate::artifact::ArtifactKind;
use crate::fields::{Choice, Fields};
use crate::plan::Kinds;

/// What a manifest of the tests can hold.
pub(crate) struct TestKinds;

const WORDS: [&str; 6] = ["dataset", "split", "pretrain", "cache_features", "distill", "evaluate"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Rmse,
    Mae,
    GapRecovery,
}

impl Choice for Metric {
    const WORDS: &'static [(&'static str, Self)] =
        &[("rmse", Self::Rmse), ("mae", Self::Mae), ("gap_recovery", Self::GapRecovery)];
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tap {
    Low,
    High,
    Output,
}

impl Choice for Tap {
    const WORDS: &'static [(&'static str, Self)] = &[("low", Self::Low), ("high", Self::High), ("output", Self::Output)];
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Validation,
    Test,
}

impl Choice for Part {
    const WORDS: &'static [(&'static str, Self)] = &[("validation", Self::Validation), ("test", Self::Test)];
}

impl Kinds for TestKinds {
    type Spec = String;

    fn words(&self) -> &[&str] {
        &WORDS
    }

    fn output(&self, word: &str) -> ArtifactKind {
        match word {
            "dataset" => ArtifactKind::Data,
            "split" => ArtifactKind::Split,
            "pretrain" | "distill" => ArtifactKind::Model,
            "cache_features" => ArtifactKind::Features,
            _ => ArtifactKind::Scores,
        }
    }

    fn read(&self, word: &str, fields: &mut Fields<'_>) -> String {
        match word {
            "dataset" => dataset(fields),
            "split" => split(fields),
            "pretrain" => pretrain(fields),
            "cache_features" => {
                fields.stage("teacher", ArtifactKind::Model);
                fields.stage("rows", ArtifactKind::Split);
                fields.through("rows", "rows", "ratings");
                fields.choices("taps", Some(&[Tap::Output]));
            }
            "distill" => distill(fields),
            _ => evaluate(fields),
        }
        word.to_owned()
    }
}

fn dataset(fields: &mut Fields<'_>) {
    let names = ["movielens/100k", "movielens/latest-small", "movielens/synthetic"];
    fields.word("name", &names, None);
    fields.optional_word("otherwise", &names);
    fields.optional_file("titles");
}

fn split(fields: &mut Fields<'_>) {
    fields.stage("rows", ArtifactKind::Data);
    fields.section("fractions", |fields| {
        let parts = ["train", "validation", "test"].map(|part| fields.float(part, None, 0.0..=1.0));
        let sum: f64 = parts.iter().sum();
        if fields.sound() && (sum - 1.0).abs() > 1e-9 {
            fields.mistake("test", format!("the fractions add up to {sum}"), Some("make them add up to 1"));
        }
    });
    fields.int("seed", Some(0), ..);
}

fn model(fields: &mut Fields<'_>) {
    fields.variant("model", &["ncf", "mf"], None, |word, fields| {
        fields.int("embedding", Some(32), 1..=4096);
        if word == "ncf" {
            fields.ints("hidden", Some(&[64, 32]), 1..=4096);
        }
    });
}

fn optimizer(fields: &mut Fields<'_>) {
    fields.variant("optimizer", &["adam", "sgd"], Some("adam"), |word, fields| {
        fields.float("rate", Some(1e-3), (std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(1.0)));
        if word == "sgd" {
            fields.float("momentum", Some(0.0), 0.0..1.0);
        }
    });
}

fn pretrain(fields: &mut Fields<'_>) {
    fields.stage("rows", ArtifactKind::Split);
    fields.through("rows", "rows", "ratings");
    model(fields);
    optimizer(fields);
    fields.section("stop", |fields| {
        fields.int("epochs", Some(20), 1..);
        fields.optional_int("patience", 1..);
    });
    fields.bool("shuffle", Some(true));
    fields.int("seed", Some(0), ..);
}

fn distill(fields: &mut Fields<'_>) {
    fields.stage("rows", ArtifactKind::Split);
    fields.through("rows", "rows", "ratings");
    fields.optional_section("where", |fields| fields.text("genre", None));
    let words = ["bias_only", "scratch", "label", "talk"];
    let method = fields.variant("method", &words, None, |word, fields| {
        match word {
            "label" => {
                fields.float("weight", Some(0.5), 0.0..=1.0);
            }
            "talk" => {
                fields.int("rounds", Some(1), 0..=3);
                fields.section("weights", |fields| {
                    fields.float("interact", Some(0.1), 0.0..);
                    fields.float("label", Some(0.0), 0.0..);
                });
            }
            _ => {}
        }
        word.to_owned()
    });
    match method.as_str() {
        "label" | "talk" => {
            fields.stage("teacher", ArtifactKind::Model);
            fields.optional_stage("features", ArtifactKind::Features);
        }
        _ => fields.unrecorded(|fields| {
            fields.optional_stage("teacher", ArtifactKind::Model);
            fields.optional_stage("features", ArtifactKind::Features);
        }),
    }
    match method.as_str() {
        "bias_only" => fields.unrecorded(model),
        _ => model(fields),
    }
    fields.int("seed", Some(0), ..);
}

fn evaluate(fields: &mut Fields<'_>) {
    fields.stages("models", ArtifactKind::Model);
    fields.optional_stage("teacher", ArtifactKind::Model);
    fields.stage("rows", ArtifactKind::Split);
    fields.through("rows", "rows", "ratings");
    fields.choice("part", Some(Part::Validation));
    fields.choices("metrics", Some(&[Metric::Rmse]));
}
