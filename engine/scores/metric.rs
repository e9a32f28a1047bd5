//! The closed set of metrics: which task each is of, and which way it is good.

use serde::{Deserialize, Serialize};
use talkflow_statistics::Direction;

/// What models are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A number on a scale.
    Ratings,
    /// One of several classes.
    Classes,
}

impl Task {
    /// The metric that matters most: what gap recovery is of, and what is compared where no metric says otherwise.
    #[must_use]
    pub fn main(self) -> Metric {
        match self {
            Self::Ratings => Metric::Rmse,
            Self::Classes => Metric::Accuracy,
        }
    }

    /// The metrics of an evaluation that names none.
    #[must_use]
    pub fn default_metrics(self, teacher: bool) -> Vec<Metric> {
        let own: &[Metric] = match self {
            Self::Ratings => &[Metric::Rmse, Metric::Mae, Metric::UserRmse],
            Self::Classes => &[Metric::Accuracy, Metric::MacroAccuracy, Metric::Nll, Metric::Ece],
        };
        own.iter().copied().chain(teacher.then_some(Metric::GapRecovery)).collect()
    }

    /// What models predict, in words.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Ratings => "ratings",
            Self::Classes => "classes",
        }
    }
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
    /// mean(scratch - method) / mean(scratch - teacher), of the task's main metric.
    GapRecovery,
    /// HR@k: how likely the item of a row is among the first k that are put before its user.
    Hr,
    /// NDCG@k: the same, counting less the further down it is.
    Ndcg,
    /// Share of rows whose class is the answer.
    Accuracy,
    /// Mean of the accuracies on single classes.
    MacroAccuracy,
    /// Mean negative log-likelihood of the classes, in nats.
    Nll,
    /// Expected calibration error.
    Ece,
}

impl Metric {
    /// The one list of metrics.
    pub const ALL: [(&'static str, Self); 10] = [
        ("rmse", Self::Rmse),
        ("mae", Self::Mae),
        ("user_rmse", Self::UserRmse),
        ("gap_recovery", Self::GapRecovery),
        ("hr", Self::Hr),
        ("ndcg", Self::Ndcg),
        ("accuracy", Self::Accuracy),
        ("macro_accuracy", Self::MacroAccuracy),
        ("nll", Self::Nll),
        ("ece", Self::Ece),
    ];

    /// The task it is of; none where any will do.
    #[must_use]
    pub fn task(self) -> Option<Task> {
        match self {
            Self::Rmse | Self::Mae | Self::UserRmse | Self::Hr | Self::Ndcg => Some(Task::Ratings),
            Self::Accuracy | Self::MacroAccuracy | Self::Nll | Self::Ece => Some(Task::Classes),
            Self::GapRecovery => None,
        }
    }

    /// Whether it can be asked for of a task.
    #[must_use]
    pub fn fits(self, task: Task) -> bool {
        self.task().is_none_or(|own| own == task)
    }

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

    /// What tables call it; ranks count up to `top`.
    #[must_use]
    pub fn title(self, top: Option<usize>) -> String {
        let top = top.map_or(String::new(), |top| format!("@{top}"));
        match self {
            Self::Rmse => "RMSE".to_owned(),
            Self::Mae => "MAE".to_owned(),
            Self::UserRmse => "per-user RMSE".to_owned(),
            Self::GapRecovery => "gap recovery".to_owned(),
            Self::Hr => format!("HR{top}"),
            Self::Ndcg => format!("NDCG{top}"),
            Self::Accuracy => "accuracy".to_owned(),
            Self::MacroAccuracy => "macro accuracy".to_owned(),
            Self::Nll => "NLL".to_owned(),
            Self::Ece => "ECE".to_owned(),
        }
    }

    /// Which way it is good.
    #[must_use]
    pub fn direction(self) -> Direction {
        match self {
            Self::Rmse | Self::Mae | Self::UserRmse | Self::Nll | Self::Ece => Direction::LowerIsBetter,
            Self::GapRecovery | Self::Hr | Self::Ndcg | Self::Accuracy | Self::MacroAccuracy => Direction::HigherIsBetter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_written_as_its_word_and_stands_in_the_list_once() {
        for (place, (word, metric)) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::json!(metric), word);
            assert_eq!((metric.name(), metric as usize), (word, place));
        }
    }

    #[test]
    fn each_task_has_metrics_of_its_own_and_asks_for_these() {
        for (task, other) in [(Task::Ratings, Task::Classes), (Task::Classes, Task::Ratings)] {
            assert!(task.main().fits(task) && !task.main().fits(other));
            assert_eq!(task.default_metrics(false)[0], task.main());
            assert!(task.default_metrics(true).iter().all(|metric| metric.fits(task)));
            assert!(task.default_metrics(true).contains(&Metric::GapRecovery));
            assert!(!task.default_metrics(false).contains(&Metric::GapRecovery));
        }
    }
}
