//! `label`: learning from the teacher's predictions (Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015), for
//! ratings: `task + weight * (yhat - z)^2`, z being the teacher's prediction of the same row.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds};
use crate::error::SpecError;
use crate::ops::Ops;
use crate::optim::{not_negative, positive};

/// Settings of `label`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Weight of the term; above 0. Default 0.5.
    pub weight: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Label {
    fn default() -> Self {
        Label { weight: 0.5, warm_up: 0.0 }
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { output: true, ..TeacherNeeds::NONE };

impl Label {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        not_negative("warm_up", self.warm_up)
    }
}

impl<D: Ops> Learner<D> for Label {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let weight = self.weight * step.ramp(self.warm_up);
        step.label(weight);
        Ok(())
    }
}
