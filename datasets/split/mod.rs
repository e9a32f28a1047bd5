//! Splits: which rows train, which validate, which test.
//!
//! A split is an artifact of its own, so that every stage that names it sees the same rows. `make` draws one, `classes` one of examples
//! with classes, `import` takes the user's, `files` stores and exports it. This file knows what a split is, and whether two of its uses leak
//! into each other.

mod classes;
mod files;
mod import;
mod make;

use serde::{Deserialize, Serialize};

pub use classes::ClassSplit;
pub use files::{SPLIT, SPLIT_SUMMARY, SplitFiles};
pub use import::ImportedFiles;

use crate::error::Error;
use crate::ratings::{self, Ratings, RatingsFiles};

/// What a row is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Parameters are fitted on it.
    Train,
    /// Choices are made on it: when to stop, which settings.
    Validation,
    /// Reported on, and used for nothing else.
    Test,
}

impl Part {
    /// All parts, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The part's name in files and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The part of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// The shares of the parts, which add up to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// The share of [`Part::Train`]; more than 0.
    pub train: f64,
    /// The share of [`Part::Validation`].
    pub validation: f64,
    /// The share of [`Part::Test`].
    pub test: f64,
}

impl Fractions {
    /// Checks the shares.
    ///
    /// # Errors
    /// [`Error::Setting`] where one is negative or not a number, train is 0, or they do not add up to 1 (within 1e-6).
    pub fn new(train: f64, validation: f64, test: f64) -> Result<Self, Error> {
        let shares = [train, validation, test];
        for (part, share) in Part::ALL.into_iter().zip(shares) {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::Setting(format!("the fraction for {} is {share}; it must lie between 0 and 1", part.name())));
            }
        }
        if train <= 0.0 {
            return Err(Error::Setting("the fraction for train is 0: nothing could be learned".to_owned()));
        }
        let sum: f64 = shares.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(Error::Setting(format!("the fractions {train} + {validation} + {test} add up to {sum}, not to 1")));
        }
        Ok(Self { train, validation, test })
    }
}

/// How to split.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitSpec {
    /// Each rating falls into a part at random; the parts' sizes are exact.
    ByRating(Fractions),
    /// Each user falls into a part at random with all of their ratings; the shares are of users.
    ByUser(Fractions),
    /// The oldest ratings train, the newest test; of the same age, the one with the lower row counts as older.
    ByTime(Fractions),
    /// Of each user the newest rating tests and the one before it validates; of the same age, the one of the higher item counts as newer. A
    /// user with fewer than three ratings only trains.
    LeaveOneOut,
    /// The user's files of ratings, one a part, such as `u1.base` and `u1.test`.
    Files(ImportedFiles),
    /// The user's csv with the columns `row` and `part`, as [`Split::export_csv`] writes it.
    Rows(std::path::PathBuf),
}

/// How many rows each part has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartCounts {
    /// Rows of [`Part::Train`].
    pub train: u64,
    /// Rows of [`Part::Validation`].
    pub validation: u64,
    /// Rows of [`Part::Test`].
    pub test: u64,
}

/// What a split is, kept as `split.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSummary {
    /// `by_rating`, `by_user`, `by_time`, `leave_one_out`, `files` or `rows`; of examples `given`, `by_class` or `rows`.
    pub how: String,
    /// The shares asked for, where rows were drawn.
    pub fractions: Option<Fractions>,
    /// Rows of each part.
    pub counts: PartCounts,
}

/// The part of every row.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    parts: Vec<Part>,
    summary: SplitSummary,
}

impl Split {
    /// Splits `ratings` as `spec` says. All randomness derives from `seed`; `by_time`, `leave_one_out` and complete imports use none.
    ///
    /// # Errors
    /// [`Error::Setting`] where there are too few rows for a part or no times to split by; [`Error::Malformed`] for a bad import.
    pub fn make(ratings: &Ratings, spec: &SplitSpec, seed: u64) -> Result<Self, Error> {
        let (how, fractions, parts) = match spec {
            SplitSpec::ByRating(fractions) => {
                ("by_rating", Some(*fractions), make::by_rating(ratings.len() as u64, fractions, seed)?)
            }
            SplitSpec::ByUser(fractions) => ("by_user", Some(*fractions), make::by_user(ratings, fractions, seed)?),
            SplitSpec::ByTime(fractions) => ("by_time", Some(*fractions), make::by_time(ratings, fractions)?),
            SplitSpec::LeaveOneOut => ("leave_one_out", None, make::leave_one_out(ratings)?),
            SplitSpec::Files(files) => ("files", None, import::files(ratings, files, seed)?),
            SplitSpec::Rows(path) => ("rows", None, import::rows(ratings.len(), path)?),
        };
        Ok(Self::of(parts, how, fractions))
    }

    /// As [`Split::make`], from the artifact on disk, of which no more is read than the split needs.
    ///
    /// # Errors
    /// As [`Split::make`] and [`Ratings::open`].
    pub fn make_from(files: &RatingsFiles, spec: &SplitSpec, seed: u64) -> Result<Self, Error> {
        match spec {
            SplitSpec::ByRating(fractions) => {
                let parts = make::by_rating(ratings::count(files)?, fractions, seed)?;
                Ok(Self::of(parts, "by_rating", Some(*fractions)))
            }
            _ => Self::make(&Ratings::open(files)?, spec, seed),
        }
    }

    fn of(parts: Vec<Part>, how: &str, fractions: Option<Fractions>) -> Self {
        let mut counts = [0; 3];
        parts.iter().for_each(|&part| counts[part as usize] += 1);
        let [train, validation, test] = counts;
        let counts = PartCounts { train, validation, test };
        Self { parts, summary: SplitSummary { how: how.to_owned(), fractions, counts } }
    }

    /// The part of each row.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What it is.
    pub fn summary(&self) -> &SplitSummary {
        &self.summary
    }

    /// The rows of a part, ascending.
    pub fn rows(&self, part: Part) -> Vec<u32> {
        (0..).zip(&self.parts).filter(|&(_, &other)| other == part).map(|(row, _)| row).collect()
    }

    /// Those of `rows` that are in `part`, in their order. A row beyond the split's last is in no part.
    pub fn within(&self, rows: &[u32], part: Part) -> Vec<u32> {
        rows.iter().copied().filter(|&row| self.parts.get(row as usize) == Some(&part)).collect()
    }
}

/// Rows that one model learned from and another is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// How many.
    pub count: u64,
    /// The first of them, in the order of the tested rows.
    pub first: u32,
}

/// The rows of `test` that are among `train`: where a student is tested on what its teacher has seen, the result is worth nothing.
/// `None`: there are none. Neither list needs an order.
pub fn overlap(train: &[u32], test: &[u32]) -> Option<Overlap> {
    let mut seen = vec![0_u64; train.iter().max().map_or(0, |&row| row as usize / 64 + 1)];
    for &row in train {
        seen[row as usize / 64] |= 1 << (row % 64);
    }
    let mut leaked = test.iter().filter(|&&row| seen.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1));
    let first = *leaked.next()?;
    Some(Overlap { count: 1 + leaked.count() as u64, first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_must_be_shares_of_one() {
        assert!(Fractions::new(0.8, 0.1, 0.1).is_ok());
        assert!(Fractions::new(1.0, 0.0, 0.0).is_ok());
        let error = |train, validation, test| match Fractions::new(train, validation, test) {
            Ok(_) => String::new(),
            Err(e) => e.to_string(),
        };
        assert_eq!(error(0.8, 0.1, 0.2), "the fractions 0.8 + 0.1 + 0.2 add up to 1.1, not to 1");
        assert_eq!(error(1.1, -0.1, 0.0), "the fraction for train is 1.1; it must lie between 0 and 1");
        assert_eq!(error(0.9, f64::NAN, 0.1), "the fraction for validation is NaN; it must lie between 0 and 1");
        assert_eq!(error(0.0, 0.5, 0.5), "the fraction for train is 0: nothing could be learned");
    }

    #[test]
    fn a_leak_is_counted_and_shown() {
        assert_eq!(overlap(&[5, 1, 200], &[2, 3, 64]), None);
        assert_eq!(overlap(&[], &[0]), None);
        assert_eq!(overlap(&[5, 1, 200, 64], &[2, 200, 5, 1_000_000]), Some(Overlap { count: 2, first: 200 }));
    }

    #[test]
    fn parts_have_names() {
        for part in Part::ALL {
            assert_eq!(Part::from_name(part.name()), Some(part));
        }
        assert_eq!(Part::from_name("dev"), None);
    }

    #[test]
    fn rows_of_a_part_and_of_a_choice() {
        let split = Split::of(vec![Part::Train, Part::Test, Part::Train, Part::Validation], "rows", None);
        assert_eq!(split.rows(Part::Train), [0, 2]);
        assert_eq!(split.within(&[3, 2, 9, 0], Part::Train), [2, 0]);
        assert_eq!(split.summary().counts, PartCounts { train: 2, validation: 1, test: 1 });
    }
}
