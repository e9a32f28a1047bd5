//! `label`: learning from the teacher's predictions z of the same rows (Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural
//! Network*, 2015):
//!
//! ```text
//! classes:  task + weight * T^2 KL( softmax(z / T) || softmax(yhat / T) )
//! ratings:  task + weight * (yhat - z)^2
//! ```

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds, check_temperature};
use crate::error::SpecError;
use crate::models::ModelSpec;
use crate::ops::Ops;
use crate::optim::{not_negative, positive};

/// Settings of `label`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Weight of the term; above 0. Default 0.5.
    pub weight: f64,
    /// T: how much the probabilities of classes are evened out, above 0; ratings have none. Default 4, of classes.
    pub temperature: Option<f64>,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Label {
    fn default() -> Self {
        Label { weight: 0.5, temperature: None, warm_up: 0.0 }
    }
}

/// The temperature where none is given.
pub(super) const TEMPERATURE: f64 = 4.0;

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { output: true, ..TeacherNeeds::NONE };

impl Label {
    pub(super) fn check(&self, student: &ModelSpec) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        check_temperature("label", self.temperature, student)?;
        not_negative("warm_up", self.warm_up)
    }
}

impl<D: Ops> Learner<D> for Label {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let weight = self.weight * step.ramp(self.warm_up);
        step.label(weight, self.temperature);
        Ok(())
    }
}
