//! Which way a metric is good.

use serde::{Deserialize, Serialize};
use talkflow_statistics::Direction;

/// Which way a metric is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Such as an error.
    Lower,
    /// Such as an accuracy.
    Higher,
}

/// Parts of names that say it, the one list.
const KNOWN: [(Better, &[&str]); 2] = [
    (
        Better::Lower,
        &["rmse", "mae", "mse", "mape", "loss", "error", "nll", "ece", "perplexity", "logloss", "parameters", "collapsed"],
    ),
    (Better::Higher, &["accuracy", "auc", "precision", "recall", "f1", "hr", "ndcg", "mrr", "map", "r2", "share"]),
];

impl Better {
    /// As manifests and baselines have them.
    pub const WORDS: [(&'static str, Self); 2] = [("lower", Self::Lower), ("higher", Self::Higher)];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }

    /// Of a metric whose name tells: `validation_rmse`, `test.hr@10`. Nothing where its parts contradict each other.
    pub fn of(metric: &str) -> Option<Self> {
        let parts = metric.split(|letter: char| !letter.is_alphanumeric()).map(str::to_lowercase);
        let mut found =
            parts.filter_map(|part| KNOWN.iter().find(|(_, words)| words.contains(&part.as_str())).map(|(better, _)| *better));
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// How much worse a difference is; negative where it is better.
    pub(super) fn worse_by(self, difference: f64) -> f64 {
        match self {
            Self::Lower => difference,
            Self::Higher => -difference,
        }
    }
}

impl From<Better> for Direction {
    fn from(better: Better) -> Self {
        match better {
            Better::Lower => Self::LowerIsBetter,
            Better::Higher => Self::HigherIsBetter,
        }
    }
}
