//! Ratings of the user's own, and generated ones: what a manifest says about them.

use std::path::PathBuf;

use talkflow_datasets::{
    ColumnNames,
    cards::Scale,
    prepare::{OwnFiles, OwnFormat, OwnItems},
    synthetic::Synthetic,
};

use super::super::split::columns;
use crate::fields::{Choice, Fields};

/// How a file of the user's is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormatWord {
    Csv,
    Tsv,
    Atomic,
    Parquet,
}

impl Choice for FormatWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("csv", Self::Csv), ("tsv", Self::Tsv), ("atomic", Self::Atomic), ("parquet", Self::Parquet)];
}

impl FormatWord {
    fn format(self) -> OwnFormat {
        match self {
            Self::Csv => OwnFormat::Csv { separator: b',' },
            Self::Tsv => OwnFormat::Csv { separator: b'\t' },
            Self::Atomic => OwnFormat::Atomic,
            Self::Parquet => OwnFormat::Parquet,
        }
    }

    /// What a file's name says.
    fn of(path: &std::path::Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Self::Parquet,
            Some("inter" | "item") => Self::Atomic,
            Some("tsv" | "tab") => Self::Tsv,
            _ => Self::Csv,
        }
    }
}

/// The settings of the generator.
pub(super) fn synthetic(f: &mut Fields<'_>) -> Synthetic {
    let d = Synthetic::default();
    let small = |f: &mut Fields<'_>, key: &str, default: u32| {
        u32::try_from(f.int(key, Some(default.into()), 1..=1 << 24)).unwrap_or(default)
    };
    let spec = Synthetic {
        users: small(f, "users", d.users),
        items: small(f, "items", d.items),
        ratings: f.int("ratings", Some(d.ratings), 1..=32_000_000),
        half_stars: f.bool("half_stars", Some(d.half_stars)),
        seed: f.int("seed", Some(d.seed), ..),
    };
    if let (true, Err(error)) = (f.sound(), spec.check()) {
        f.mistake("ratings", error.to_string(), None);
    }
    spec
}

/// The user's own files.
pub(super) fn own(f: &mut Fields<'_>) -> OwnFiles {
    let ratings = f.file("file").unwrap_or_default();
    let format = f.choice("format", Some(FormatWord::of(&ratings))).format();
    let by_format = if format == OwnFormat::Atomic { ColumnNames::recbole() } else { ColumnNames::default() };
    OwnFiles {
        name: f.text("title", Some("own")),
        columns: f.optional_section("columns", |f| columns(f, &by_format)).unwrap_or(by_format),
        items: f.optional_section("items", items),
        scale: f.optional_section("scale", |f| {
            let min = f.float("min", None, ..);
            let max = f.float("max", None, ..);
            if f.sound() && min >= max {
                f.mistake("max", format!("the scale from {min} to {max} is empty"), Some("`max` has to be above `min`"));
            }
            Scale { min: min as f32, max: max as f32, step: f.optional_float("step", 0.0..).map(|step| step as f32) }
        }),
        licence: f.optional_text("licence"),
        citation: f.optional_text("citation"),
        ratings,
        format,
    }
}

fn items(f: &mut Fields<'_>) -> OwnItems {
    let path: PathBuf = f.file("file").unwrap_or_default();
    OwnItems {
        format: f.choice("format", Some(FormatWord::of(&path))).format(),
        id: f.text("id", Some("item")),
        title: f.optional_text("title"),
        genres: f.optional_text("genres"),
        between: f.text("between", Some("|")),
        path,
    }
}
