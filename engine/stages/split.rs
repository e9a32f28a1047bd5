//! `split`: which row is for training, validation or test; an artifact of its own.

use std::path::PathBuf;

use talkflow_datasets::{
    ColumnNames,
    examples::{EXAMPLES, Examples},
    split::{ClassSplit, Fractions, ImportedFiles, Split as Parts, SplitSpec},
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
    pub(super) spec: Spec,
    seed: u64,
}

/// What decides a row's part.
#[derive(Clone, Debug)]
pub(super) enum Spec {
    /// Of ratings.
    Ratings(SplitSpec),
    /// Of examples with classes.
    Examples(ClassSplit),
    /// A csv with the columns `row` and `part`, of either.
    Rows(PathBuf),
}

/// The words of `by`, which say what decides a row's part.
const BY: [&str; 8] = ["rating", "user", "time", "leave_one_out", "files", "given", "class", "parts"];

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Split {
    f.stage("rows", ArtifactKind::Data);
    let by = f.variant("by", &BY, Some("rating"), |word, f| match word {
        "user" => By::User,
        "time" => By::Time,
        "leave_one_out" => By::LeaveOneOut,
        "files" => By::Files(imported(f)),
        "given" => By::Given(f.optional_float("validation_fraction", 0.0..1.0)),
        "class" => By::Class,
        "parts" => By::Parts(f.file("file").unwrap_or_default()),
        _ => By::Rating,
    });
    let no_shares = match by {
        By::Rating | By::User | By::Time | By::Class => None,
        By::LeaveOneOut => Some("of each user two ratings are left out, whatever their share"),
        By::Given(_) => Some("the parts are those that the data came with"),
        By::Files(_) | By::Parts(_) => Some("an imported split has the parts of its files"),
    };
    let spec = match by {
        By::Files(files) => Spec::Ratings(SplitSpec::Files(files)),
        By::Parts(file) => Spec::Rows(file),
        By::Rating => Spec::Ratings(SplitSpec::ByRating(fractions(f))),
        By::User => Spec::Ratings(SplitSpec::ByUser(fractions(f))),
        By::Time => Spec::Ratings(SplitSpec::ByTime(fractions(f))),
        By::LeaveOneOut => Spec::Ratings(SplitSpec::LeaveOneOut),
        By::Given(validation) => Spec::Examples(ClassSplit::Given(validation)),
        By::Class => Spec::Examples(ClassSplit::ByClass(fractions(f))),
    };
    if let Some(message) = no_shares.filter(|_| f.has("fractions")) {
        f.mistake("fractions", message, Some("remove `fractions`"));
        f.unrecorded(fractions);
    }
    // Times, a file of parts, and given parts of which none is drawn leave nothing to draw: there a seed is no part of the key. Whether data have a validation
    // part of their own, so that given parts need no drawing either, is not known yet.
    let seed = |f: &mut Fields<'_>| f.int("seed", Some(1), ..);
    let draws = match &spec {
        Spec::Rows(_) | Spec::Ratings(SplitSpec::ByTime(_) | SplitSpec::LeaveOneOut) => false,
        Spec::Examples(ClassSplit::Given(validation)) => *validation != Some(0.0),
        Spec::Ratings(_) | Spec::Examples(_) => true,
    };
    Split { spec, seed: if draws { seed(f) } else { f.unrecorded(seed) } }
}

enum By {
    Rating,
    User,
    Time,
    LeaveOneOut,
    Files(ImportedFiles),
    Given(Option<f64>),
    Class,
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
        let of_classes = input.files.0.contains_key(EXAMPLES);
        let split = match &self.spec {
            Spec::Rows(file) if of_classes => {
                Parts::of_examples(&Examples::open(&files::examples_files(input)?)?, &ClassSplit::Rows(file.clone()), self.seed)?
            }
            Spec::Rows(file) => Parts::make_from(&files::ratings_files(input)?, &SplitSpec::Rows(file.clone()), self.seed)?,
            Spec::Ratings(spec) => Parts::make_from(&files::ratings_files(input)?, spec, self.seed)?,
            Spec::Examples(spec) => Parts::of_examples(&Examples::open(&files::examples_files(input)?)?, spec, self.seed)?,
        };
        split.write(cx.out)?;
        let counts = split.summary().counts;
        cx.metric("train", counts.train);
        cx.metric("validation", counts.validation);
        cx.metric("test", counts.test);
        Ok(())
    }
}
