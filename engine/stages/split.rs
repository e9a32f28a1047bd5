//! `split`: which row is for training, validation or test; an artifact of its own.

use std::path::PathBuf;

use talkflow_datasets::{
    ColumnNames,
    split::{Fractions, ImportedFiles, Split as Parts, SplitSpec},
};

use super::files;
use crate::{
    artifact::ArtifactKind,
    fields::Fields,
    stage::{Device, Stage, StageCx},
};

/// Its settings.
#[derive(Clone, Debug)]
pub struct Split {
    spec: SplitSpec,
    seed: u64,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Split {
    f.stage("rows", ArtifactKind::Ratings);
    let spec =
        f.variant("by", &["rating", "user", "time", "leave_one_out", "files", "parts"], Some("rating"), |word, f| match word {
            "user" => By::User,
            "time" => By::Time,
            "leave_one_out" => By::LeaveOneOut,
            "files" => By::Files(imported(f)),
            "parts" => By::Parts(f.file("file").unwrap_or_default()),
            _ => By::Rating,
        });
    let shared = matches!(spec, By::Rating | By::User | By::Time);
    let left_out = matches!(spec, By::LeaveOneOut);
    let spec = match spec {
        By::Files(files) => SplitSpec::Files(files),
        By::Parts(file) => SplitSpec::Rows(file),
        By::Rating => SplitSpec::ByRating(fractions(f)),
        By::User => SplitSpec::ByUser(fractions(f)),
        By::Time => SplitSpec::ByTime(fractions(f)),
        By::LeaveOneOut => SplitSpec::LeaveOneOut,
    };
    if !shared && f.has("fractions") {
        let message = match left_out {
            true => "of each user two ratings are left out, whatever their share",
            false => "an imported split has the parts of its files",
        };
        f.mistake("fractions", message, Some("remove `fractions`"));
        f.unrecorded(fractions);
    }
    // Times and a file of parts leave nothing to draw: there a seed is no part of the key.
    let seed = |f: &mut Fields<'_>| f.int("seed", Some(1), ..);
    let draws = !matches!(spec, SplitSpec::ByTime(_) | SplitSpec::LeaveOneOut | SplitSpec::Rows(_));
    Split { spec, seed: if draws { seed(f) } else { f.unrecorded(seed) } }
}

enum By {
    Rating,
    User,
    Time,
    LeaveOneOut,
    Files(ImportedFiles),
    Parts(PathBuf),
}

fn fractions(f: &mut Fields<'_>) -> Fractions {
    let (train, validation, test, sound) = f.section("fractions", |f| {
        let mut share = |key, default| f.float(key, Some(default), 0.0..=1.0);
        (share("train", 0.8), share("validation", 0.1), share("test", 0.1), f.sound())
    });
    Fractions::new(train, validation, test).unwrap_or_else(|error| {
        if sound {
            f.mistake("fractions", error.to_string(), None);
        }
        Fractions { train: 0.8, validation: 0.1, test: 0.1 }
    })
}

fn imported(f: &mut Fields<'_>) -> ImportedFiles {
    let train = f.file("train").unwrap_or_default();
    let validation = f.optional_file("validation");
    let test = f.file("test").unwrap_or_default();
    let validation_fraction = match validation {
        Some(_) => 0.0,
        None => f.float("validation_fraction", Some(0.1), 0.0..1.0),
    };
    let columns = f.optional_section("columns", |f| columns(f, &ColumnNames::default()));
    ImportedFiles { train, validation, test, validation_fraction, columns }
}

/// Names of columns, which ratings files and imported splits share; those that are not given are `d`'s.
pub fn columns(f: &mut Fields<'_>, d: &ColumnNames) -> ColumnNames {
    ColumnNames {
        user: f.text("user", Some(&d.user)),
        item: f.text("item", Some(&d.item)),
        rating: f.text("rating", Some(&d.rating)),
        timestamp: if f.has("timestamp") { f.optional_text("timestamp") } else { d.timestamp.clone() },
    }
}

impl Stage for Split {
    fn kind(&self) -> &'static str {
        "split"
    }

    fn version(&self) -> u32 {
        1
    }

    fn backend(&self, _device: Device) -> Option<String> {
        None
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let input = cx.input("rows")?;
        let split = Parts::make_from(&files::ratings_files(input)?, &self.spec, self.seed)?;
        split.write(cx.out)?;
        let counts = split.summary().counts;
        cx.metric("train", counts.train);
        cx.metric("validation", counts.validation);
        cx.metric("test", counts.test);
        Ok(())
    }
}
