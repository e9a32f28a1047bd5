//! `dist`: learning how the teacher's predictions are related, not what they are (Huang, You, Wang, Qian and Xu, *Knowledge Distillation
//! from A Stronger Teacher*, 2022). For ratings, which have no classes to relate, its relation over the batch alone:
//! `task + weight * (1 - Pearson(yhat, z))`, z being the teacher's predictions of the batch's rows.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds, check_corr};
use crate::distance::{Distance, compare};
use crate::error::SpecError;
use crate::objective::Term;
use crate::ops::Ops;
use crate::optim::{not_negative, positive};

/// Settings of `dist`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dist {
    /// Weight of the term; above 0. Default 0.5.
    pub weight: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Dist {
    fn default() -> Self {
        Dist { weight: 0.5, warm_up: 0.0 }
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { output: true, ..TeacherNeeds::NONE };

impl Dist {
    pub(super) fn check(&self, batch: usize) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        not_negative("warm_up", self.warm_up)?;
        check_corr("dist", Distance::Corr, batch)
    }
}

impl<D: Ops> Learner<D> for Dist {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let teacher = step.teacher;
        let Some(output) = &teacher.output else { return Ok(()) };
        let weight = self.weight * step.ramp(self.warm_up);
        let forward = step.forward;
        step.loss(Term::Dist, weight, &forward.output, |made, gradient| {
            compare(Distance::Corr, (made, output), 1, None, weight, [Some(gradient), None])
        });
        Ok(())
    }
}
