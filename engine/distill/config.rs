//! How a model is trained: all settings in one place, and whether they can be trained at all. Knows no data.

use serde::{Deserialize, Serialize};

use crate::error::SpecError;
use crate::methods::Method;
use crate::models::ModelSpec;
use crate::optim::{Optimizer, Schedule, at_least_one, positive};
use crate::teacher::TeacherSpec;

/// The epoch whose weights are a training's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The one with the least validation RMSE.
    #[default]
    Best,
    /// The last. With few validation rows the best of many epochs is chosen by their noise, and its score is too good; the number of epochs
    /// is then better a setting like any other, which trainings on several splits choose together.
    Last,
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The model; `bias_only` leaves its deep path out. Default `ncf` with its defaults.
    pub model: ModelSpec,
    /// The method. Default `scratch`.
    pub method: Method,
    /// The optimiser. Default `adam` with its defaults.
    pub optimizer: Optimizer,
    /// The course of the learning rate. Default constant.
    pub schedule: Schedule,
    /// Greatest number of rows in a batch, at least 1. An epoch's rows are shared out evenly over as few batches as this allows, so sizes
    /// differ by at most one. Default 256.
    pub batch: usize,
    /// Greatest number of epochs; 0 leaves the weights as they were drawn. Default 30.
    pub epochs: usize,
    /// Stop after this many epochs without a better validation RMSE, at least 1; none: never. Default 5.
    pub patience: Option<usize>,
    /// The epoch whose weights are the result. The last only without patience. Default the best.
    pub kept: Kept,
    /// Greatest global norm of a step's gradient, above 0; larger ones are scaled down. Default none.
    pub clip: Option<f64>,
    /// Names all random streams. Default 1.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            model: ModelSpec::default(),
            method: Method::default(),
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            batch: 256,
            epochs: 30,
            patience: Some(5),
            kept: Kept::Best,
            clip: None,
            seed: 1,
        }
    }
}

impl TrainConfig {
    /// Whether this can be trained, as far as settings tell; a teacher whose model is not known yet is not looked at.
    ///
    /// # Errors
    /// [`SpecError`] names the first setting that cannot be, and what to change.
    pub fn check(&self, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
        self.model.check()?;
        self.optimizer.check()?;
        self.schedule.check()?;
        at_least_one("batch", self.batch)?;
        if let Some(patience) = self.patience {
            at_least_one("patience", patience)?;
            if self.kept == Kept::Last {
                return Err(SpecError::Contradiction {
                    method: self.method.name(),
                    what: format!(
                        "the last epoch is kept, and which one that is would depend on validation rows by `patience` {patience}"
                    ),
                    advice: "set `patience` to 0, or keep the best epoch",
                });
            }
        }
        if let Some(clip) = self.clip {
            positive("clip", clip)?;
        }
        self.method.check(&self.model, teacher, self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{Feature, InteractInto, OneWay, Protocol, Talk, Weights};
    use crate::models::Ncf;

    fn talk(rounds: usize) -> Talk {
        Talk { rounds, message_dim: 4, ..Talk::default() }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_before_training() {
        let ncf = |hidden: &[usize]| ModelSpec::Ncf(Ncf { hidden: hidden.to_vec(), ..Ncf::default() });
        let mf = || ModelSpec::Mf(crate::models::Mf::default());
        let good = || TrainConfig { method: Method::Talk(talk(1)), ..TrainConfig::default() };
        let check = |config: TrainConfig, teacher: &ModelSpec| {
            config.check(Some(&teacher.clone().into())).map_err(|error| error.to_string())
        };
        let with = |change: &dyn Fn(&mut Talk)| {
            let mut talk = talk(1);
            change(&mut talk);
            TrainConfig { method: Method::Talk(talk), ..TrainConfig::default() }
        };
        let deep = ncf(&[8, 4]);
        assert_eq!(check(good(), &deep), Ok(()));
        assert_eq!(check(with(&|talk| talk.protocol = Protocol::AskAnswer), &deep), Ok(()));
        let modules_only = |talk: &mut Talk| {
            talk.interact_into = InteractInto::Student;
            talk.weights = Weights { message: 0.0, state: 0.0, ..Weights::default() };
        };
        for (result, part) in [
            (check(TrainConfig { batch: 7, ..good() }, &deep), "a correlation over batches of 7 rows"),
            (check(TrainConfig { batch: 0, ..good() }, &deep), "`batch` is 0"),
            (check(TrainConfig { patience: Some(0), ..good() }, &deep), "`patience` is 0"),
            (check(TrainConfig { kept: Kept::Last, ..good() }, &deep), "set `patience` to 0"),
            (check(TrainConfig { clip: Some(0.0), ..good() }, &deep), "`clip` is 0"),
            (check(TrainConfig { model: ncf(&[8]), ..good() }, &deep), "the student has 1; give its model a second hidden layer"),
            (check(TrainConfig { model: mf(), ..good() }, &deep), "the student has 0"),
            (check(TrainConfig { model: ncf(&[]), ..good() }, &deep), "`hidden` is 0"),
            (check(good(), &ncf(&[8])), "the teacher has 1"),
            (check(good(), &mf()), "the teacher has 0"),
            (check(with(&modules_only), &deep), "leaves the modules without any gradient"),
            (check(with(&|talk| talk.rounds = 0), &deep), "nothing would be distilled"),
            (check(with(&|talk| talk.message_dim = 0), &deep), "`message_dim` is 0"),
            (check(with(&|talk| talk.weights.state = -0.1), &deep), "`weights.state` is -0.1"),
            (check(with(&|talk| talk.weights.label = f64::NAN), &deep), "`weights.label` is NaN"),
            (check(with(&|talk| talk.distances.message = crate::Distance::MseFrozenStd), &deep), "a term other than `state`"),
            (
                check(TrainConfig { method: Method::OneWay(OneWay { weight: 0.0, ..OneWay::default() }), ..good() }, &deep),
                "`weight` is 0",
            ),
            (
                check(
                    TrainConfig { method: Method::Feature(Feature::default()), ..good() },
                    &ModelSpec::Bias(Default::default()),
                ),
                "the teacher has none (model `bias`)",
            ),
        ] {
            assert!(result.as_ref().is_err_and(|message| message.contains(part)), "{part}: {result:?}");
        }
    }
}
