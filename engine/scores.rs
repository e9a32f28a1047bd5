//! What an evaluation found, as data: one entry a model and set of rows, and what follows from all entries together. The
//! evaluation writes it, reports read it. In canonical order throughout, whatever order the manifest was written in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use talkflow_statistics::Direction;

use crate::{
    artifact::Digest,
    compare::{Compared, Declared, OverUsers},
};

/// The file of a scores artifact.
pub const FILE: &str = "scores.json";

/// The column of the teacher.
pub const TEACHER: &str = "teacher";

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Where the ratings came from, in words: data set, and whether it is a stand-in.
    pub data: String,
    /// Which part of the split was scored.
    pub part: String,
    /// The metrics asked for, in the order asked for.
    pub metrics: Vec<Metric>,
    /// The axis whose values are the table's rows.
    pub row_axis: String,
    /// The axis whose values are its columns.
    pub column_axis: String,
    /// k of HR@k and NDCG@k, where items were ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// What a reader of the table has to know.
    pub notes: Vec<String>,
    /// Distinct blocks of all entries. A mean over fewer of them is not comparable with one over all.
    pub blocks: usize,
    /// One model on one set of rows each.
    pub entries: Vec<Entry>,
    /// Entries of all blocks together.
    pub cells: Vec<Cell>,
    /// Whether the student from scratch is worth comparing with.
    pub checks: Vec<Check>,
    /// Which comparisons were declared.
    pub declared: Declared,
    /// What was found of each, over blocks.
    pub compared: Vec<Compared>,
    /// Of an evaluation of one block, what was found over users.
    pub over_users: Vec<OverUsers>,
}

/// The closed set of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Root of the mean squared error over rows.
    Rmse,
    /// Mean absolute error over rows.
    Mae,
    /// Mean over users of each one's RMSE.
    UserRmse,
    /// mean(scratch - method) / mean(scratch - teacher), of RMSE.
    GapRecovery,
    /// HR@k: how likely the item of a row is among the first k that are put before its user.
    Hr,
    /// NDCG@k: the same, counting less the further down it is.
    Ndcg,
}

impl Metric {
    /// The one list of metrics.
    pub const ALL: [(&'static str, Self); 6] = [
        ("rmse", Self::Rmse),
        ("mae", Self::Mae),
        ("user_rmse", Self::UserRmse),
        ("gap_recovery", Self::GapRecovery),
        ("hr", Self::Hr),
        ("ndcg", Self::Ndcg),
    ];

    /// Whether items have to be ranked for it.
    #[must_use]
    pub fn ranks(self) -> bool {
        matches!(self, Self::Hr | Self::Ndcg)
    }

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, metric)| *metric == self).map_or("", |(word, _)| word)
    }

    /// Which way it is good.
    #[must_use]
    pub fn direction(self) -> Direction {
        match self {
            Self::Rmse | Self::Mae | Self::UserRmse => Direction::LowerIsBetter,
            Self::GapRecovery | Self::Hr | Self::Ndcg => Direction::HigherIsBetter,
        }
    }
}

impl Entry {
    /// A metric of this model by itself; gap recovery is none of one, and ranks there are where they were asked for.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Rmse => Some(self.rmse),
            Metric::Mae => Some(self.mae),
            Metric::UserRmse => Some(self.user_rmse),
            Metric::GapRecovery => None,
            Metric::Hr => self.hr,
            Metric::Ndcg => self.ndcg,
        }
    }
}

/// One model on one set of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The table's row, such as a genre.
    pub row: String,
    /// The table's column, such as a method; `teacher` for the teacher.
    pub column: String,
    /// What methods are paired by: the values of all other axes.
    pub block: String,
    /// Digest of the model's artifact: a teacher has an entry for each row of the table and is still one model.
    pub model: Digest,
    /// The model's matrix values.
    pub labels: BTreeMap<String, String>,
    /// The method it was trained by; `pretrain` for a teacher.
    pub method: String,
    /// The genres the model learnt; none for all. A student is scored on these, the teacher on its students'.
    pub genres: Vec<String>,
    /// Rows scored.
    pub rows: usize,
    /// Users among them.
    pub users: usize,
    /// Rows of the same genres that the split gives to training.
    pub train_rows: usize,
    /// Digest of the ratings and of the rows scored: blocks of one split have the same.
    pub on: Digest,
    /// Root mean squared error, in rating units.
    pub rmse: f64,
    /// Mean absolute error, in rating units.
    pub mae: f64,
    /// Mean over users of each one's RMSE, in rating units.
    pub user_rmse: f64,
    /// HR@k, mean over rows; where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hr: Option<f64>,
    /// NDCG@k, mean over rows; where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ndcg: Option<f64>,
    /// Rows whose user or item the model had not seen, predicted by the bias terms that remain.
    pub fallbacks: usize,
    /// Predictions that were clipped to the rating range.
    pub clipped: usize,
    /// Parameters needed to serve the model.
    pub serving_parameters: u64,
    /// Parameters needed in training only, such as communication modules.
    pub training_parameters: u64,
    /// Share of the prediction's variance that comes from the deep path, on validation rows; null without a deep path.
    pub deep_share: Option<f64>,
    /// Whether the deep path collapsed to a constant.
    pub collapsed: Option<bool>,
    /// Linear CKA of its low state and its teacher's on the rows scored; null for a teacher, and without one or a deep path.
    pub cka_low: Option<f64>,
    /// The same of high states.
    pub cka_high: Option<f64>,
}

/// Mean and spread over blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; null for one block.
    pub sd: Option<f64>,
    /// Blocks.
    pub n: usize,
}

/// One cell of the table, over the blocks that have a model for it. The mean over all rows is taken within each block first,
/// over the blocks in which the column has every row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The table's row; null for the mean over all rows.
    pub row: Option<String>,
    /// The table's column.
    pub column: String,
    /// Root mean squared error.
    pub rmse: Spread,
    /// Mean absolute error.
    pub mae: Spread,
    /// Mean of the users' RMSE.
    pub user_rmse: Spread,
    /// HR@k, where items were ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hr: Option<Spread>,
    /// NDCG@k, where items were ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ndcg: Option<Spread>,
    /// How much of the way from scratch to the teacher it went; null where the denominator's interval holds 0.
    pub gap_recovery: Option<f64>,
    /// Blocks that have scratch, this column and the teacher, which gap recovery is over; 0 where it is not asked for.
    pub gap_blocks: usize,
}

/// Scratch against bias-only on the blocks that have both; there where the table has both columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The table's row; null for the mean over all rows.
    pub row: Option<String>,
    /// RMSE of scratch minus RMSE of bias_only; null where no block has both.
    pub difference: Option<Spread>,
    /// Its paired 95 % t interval; null for fewer than two blocks.
    pub interval: Option<(f64, f64)>,
    /// The whole interval lies above 0: scratch is worse than biases alone, and no gain over it means anything.
    pub invalid: bool,
}

impl Cell {
    /// The mean of a metric, where there is one, and over how many blocks it is.
    pub fn mean(&self, metric: Metric) -> (Option<f64>, usize) {
        match (metric, self.spread(metric)) {
            (Metric::GapRecovery, _) => (self.gap_recovery, self.gap_blocks),
            (_, Some(spread)) => (Some(spread.mean), spread.n),
            (_, None) => (None, 0),
        }
    }

    /// Mean and spread of a metric; none of gap recovery, which is made of means, and of ranks where there are none.
    pub fn spread(&self, metric: Metric) -> Option<&Spread> {
        match metric {
            Metric::Rmse => Some(&self.rmse),
            Metric::Mae => Some(&self.mae),
            Metric::UserRmse => Some(&self.user_rmse),
            Metric::GapRecovery => None,
            Metric::Hr => self.hr.as_ref(),
            Metric::Ndcg => self.ndcg.as_ref(),
        }
    }
}

#[cfg(test)]
pub mod testing {
    //! Entries for tests of what is made of them.

    use super::*;

    /// Comparisons of RMSE with scratch, as they are where nothing is said.
    pub fn declared() -> Declared {
        Declared {
            metric: "rmse".into(),
            direction: Direction::LowerIsBetter,
            reference: Some("scratch".into()),
            methods: Vec::new(),
            pairs: Vec::new(),
            groups: Vec::new(),
            rows: true,
            margin: 0.005,
            alpha: 0.05,
            confidence: 0.95,
        }
    }

    /// An entry at a row, column and block, of 10 ratings, by a model of its own. The column is named after its method.
    pub fn entry([row, column, block]: [&str; 3], rmse: f64) -> Entry {
        Entry {
            row: row.into(),
            column: column.into(),
            block: block.into(),
            model: Digest::of(format!("{row} {column} {block}").as_bytes()),
            labels: BTreeMap::new(),
            method: if column == TEACHER { "pretrain" } else { column }.into(),
            genres: vec![row.into()],
            rows: 10,
            users: 5,
            train_rows: 80,
            on: Digest::of(format!("{row} {block}").as_bytes()),
            rmse,
            mae: rmse / 2.0,
            user_rmse: rmse,
            hr: None,
            ndcg: None,
            fallbacks: 0,
            clipped: 0,
            serving_parameters: 1,
            training_parameters: 0,
            deep_share: None,
            collapsed: None,
            cka_low: None,
            cka_high: None,
        }
    }
}
