//! What an evaluation found, as data: one entry a model and set of rows, and what follows from all entries together. The
//! evaluation writes it, reports read it. In canonical order throughout, whatever order the manifest was written in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    artifact::Digest,
    compare::{Compared, Declared, OverUsers},
};

pub use classes::{ClassCounts, ClassesOf, PerClass};
pub use metric::{Metric, Task};

mod classes;
mod metric;

/// The file of a scores artifact.
pub const FILE: &str = "scores.json";

/// Version of that file.
pub const FORMAT: u32 = 2;

/// The column of the teacher.
pub const TEACHER: &str = "teacher";

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Version of the file: [`FORMAT`].
    pub format: u32,
    /// What the models predict.
    pub task: Task,
    /// Where the rows came from, in words: data set, and whether it is a stand-in.
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
    /// Of an evaluation of ratings of one block, what was found over users.
    pub over_users: Vec<OverUsers>,
    /// Of an evaluation of classes, what was found on single classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_class: Option<PerClass>,
}

/// Metrics with their numbers, in the order of [`Metric::ALL`].
pub type Measures<T = f64> = BTreeMap<Metric, T>;

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
    /// Rows scored.
    pub rows: usize,
    /// Rows of the same selection that the split gives to training.
    pub train_rows: usize,
    /// Digest of the data and of the rows scored: blocks of one split have the same.
    pub on: Digest,
    /// Every measure of the task; ranks only where they were asked for. Gap recovery is none of one model.
    pub measures: Measures,
    /// Parameters needed to serve the model.
    pub serving_parameters: u64,
    /// Parameters needed in training only, such as communication modules.
    pub training_parameters: u64,
    /// Linear CKA of its low state and its teacher's on the rows scored; null for a teacher, and without one or a deep path.
    pub cka_low: Option<f64>,
    /// The same of high states.
    pub cka_high: Option<f64>,
    /// What only its task has: a field `ratings` or a field `classes`.
    #[serde(flatten)]
    pub details: Details,
}

/// What an entry has besides, by task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Details {
    /// Of a model of ratings.
    Ratings(RatingDetails),
    /// Of a model of classes: its classes, in the order of their labels.
    Classes(Vec<ClassCounts>),
}

/// What an entry of ratings has besides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RatingDetails {
    /// The genres the model learnt; none for all. A student is scored on these, the teacher on its students'.
    pub genres: Vec<String>,
    /// Users among the rows scored.
    pub users: usize,
    /// Rows whose user or item the model had not seen, predicted by the bias terms that remain.
    pub fallbacks: usize,
    /// Predictions that were clipped to the rating range.
    pub clipped: usize,
    /// Share of the prediction's variance that comes from the deep path, on validation rows; null without a deep path.
    pub deep_share: Option<f64>,
    /// Whether the deep path collapsed to a constant.
    pub collapsed: Option<bool>,
}

impl Entry {
    /// A metric of this model by itself.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        self.measures.get(&metric).copied()
    }

    /// What only models of ratings have.
    #[must_use]
    pub fn ratings(&self) -> Option<&RatingDetails> {
        match &self.details {
            Details::Ratings(details) => Some(details),
            Details::Classes(_) => None,
        }
    }

    /// What is known of each class; nothing of a model of ratings.
    #[must_use]
    pub fn classes(&self) -> &[ClassCounts] {
        match &self.details {
            Details::Ratings(_) => &[],
            Details::Classes(classes) => classes,
        }
    }

    /// Whether its deep path collapsed to a constant.
    #[must_use]
    pub fn is_collapsed(&self) -> bool {
        self.ratings().is_some_and(|details| details.collapsed == Some(true))
    }

    /// Every number there is of this model, by the name that sweeps and gates know it by; a switch is 1 or 0. What is not known is left out.
    #[must_use]
    pub fn numbers(&self) -> Vec<(&'static str, f64)> {
        let of = self.ratings();
        let count = |name, value: Option<usize>| Some((name, value? as f64));
        let mut all = vec![count("rows", Some(self.rows)), count("users", of.map(|of| of.users))];
        all.push(count("train_rows", Some(self.train_rows)));
        all.extend(self.measures.iter().map(|(metric, value)| Some((metric.name(), *value))));
        all.extend([count("fallbacks", of.map(|of| of.fallbacks)), count("clipped", of.map(|of| of.clipped))]);
        all.push(Some(("serving_parameters", self.serving_parameters as f64)));
        all.push(Some(("training_parameters", self.training_parameters as f64)));
        all.push(of.and_then(|of| Some(("deep_share", of.deep_share?))));
        all.push(of.and_then(|of| Some(("collapsed", f64::from(of.collapsed?)))));
        all.extend([self.cka_low.map(|cka| ("cka_low", cka)), self.cka_high.map(|cka| ("cka_high", cka))]);
        all.into_iter().flatten().collect()
    }
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
    /// Each measure that every model of the column has.
    pub measures: Measures<Spread>,
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

    /// Mean and spread of a metric; none of gap recovery, which is made of means, and of what was not measured.
    pub fn spread(&self, metric: Metric) -> Option<&Spread> {
        self.measures.get(&metric)
    }
}

#[cfg(test)]
pub mod testing {
    //! Entries for tests of what is made of them.

    use talkflow_statistics::Direction;

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

    /// An evaluation of some entries that computed nothing from them.
    pub fn scores(task: Task, metrics: &[Metric], blocks: usize, entries: Vec<Entry>) -> Scores {
        Scores {
            format: FORMAT,
            task,
            data: "some".into(),
            part: "test".into(),
            metrics: metrics.to_vec(),
            row_axis: "genre".into(),
            column_axis: "method".into(),
            top: None,
            notes: Vec::new(),
            blocks,
            entries,
            cells: Vec::new(),
            checks: Vec::new(),
            declared: declared(),
            compared: Vec::new(),
            over_users: Vec::new(),
            per_class: None,
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
            rows: 10,
            train_rows: 80,
            on: Digest::of(format!("{row} {block}").as_bytes()),
            measures: Measures::from([(Metric::Rmse, rmse), (Metric::Mae, rmse / 2.0), (Metric::UserRmse, rmse)]),
            serving_parameters: 1,
            training_parameters: 0,
            cka_low: None,
            cka_high: None,
            details: Details::Ratings(RatingDetails { genres: vec![row.into()], users: 5, ..RatingDetails::default() }),
        }
    }

    /// The same of classes with so many rows, of which so many are right; the others are taken for the first other class.
    pub fn class_entry(place: [&str; 3], classes: &[(&str, u64, u64)]) -> Entry {
        let counts = |(class, rows, right): &(&str, u64, u64)| {
            let other = classes.iter().find(|(other, ..)| other != class).filter(|_| rows > right);
            let taken_for = other.map(|(other, ..)| ((*other).to_owned(), rows - right)).into_iter().collect();
            ClassCounts { class: (*class).to_owned(), rows: *rows, right: *right, taken_for }
        };
        let counts: Vec<ClassCounts> = classes.iter().map(counts).collect();
        let (rows, right) = counts.iter().fold((0, 0), |(rows, right), of| (rows + of.rows, right + of.right));
        Entry {
            rows: rows as usize,
            train_rows: 8 * rows as usize,
            measures: Measures::from([(Metric::Accuracy, right as f64 / rows as f64)]),
            details: Details::Classes(counts),
            ..entry(place, 0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_has_the_fields_of_its_task() {
        let ratings = testing::entry(["Drama", "talk", "1"], 0.1 + 0.2);
        let classes = testing::class_entry(["all", "label", "1"], &[("cat", 3, 2), ("dog", 4, 4)]);
        for (entry, own, other) in [(&ratings, "ratings", "classes"), (&classes, "classes", "ratings")] {
            let text = serde_json::to_value(entry).unwrap();
            assert!(text.get(own).is_some() && text.get(other).is_none(), "{text:#}");
            assert_eq!(serde_json::from_str::<Entry>(&text.to_string()).unwrap(), *entry);
        }
        let text = serde_json::to_value(&classes).unwrap();
        assert_eq!(text["classes"][0], serde_json::json!({ "class": "cat", "rows": 3, "right": 2, "taken_for": { "dog": 1 } }));
        assert_eq!(text["measures"], serde_json::json!({ "accuracy": 6.0 / 7.0 }));
        // One of neither task, or of both, is no entry.
        let mut neither = serde_json::to_value(&ratings).unwrap();
        neither.as_object_mut().unwrap().shift_remove("ratings");
        assert!(serde_json::from_value::<Entry>(neither).is_err());
    }

    #[test]
    fn numbers_are_those_that_there_are() {
        let mut ratings = testing::entry(["Drama", "talk", "1"], 0.5);
        ratings.details = Details::Ratings(RatingDetails { users: 5, collapsed: Some(true), ..RatingDetails::default() });
        let names = |entry: &Entry| entry.numbers().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        assert_eq!(
            names(&ratings),
            "rows users train_rows rmse mae user_rmse fallbacks clipped serving_parameters training_parameters collapsed"
        );
        assert_eq!(ratings.numbers().last(), Some(&("collapsed", 1.0)));
        let classes = testing::class_entry(["all", "label", "1"], &[("cat", 3, 2)]);
        assert_eq!(names(&classes), "rows train_rows accuracy serving_parameters training_parameters");
        assert!(ratings.is_collapsed() && !classes.is_collapsed());
    }
}
