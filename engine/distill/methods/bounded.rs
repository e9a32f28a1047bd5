//! `bounded`: the teacher as an upper bound (Chen, Choi, Yu, Han and Chandraker, *Learning Efficient Object Detection Models with
//! Knowledge Distillation*, 2017, equation 6):
//!
//! ```text
//! task + weight * mean over rows of ( (yhat - y)^2 where (yhat - y)^2 + margin > (z - y)^2, else 0 )
//! ```
//!
//! z being the teacher's prediction. A row on which the student is already better than the teacher, by the margin, counts once.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds};
use crate::error::SpecError;
use crate::objective::Term;
use crate::ops::Ops;
use crate::optim::{not_negative, positive};
use crate::task::Targets;

/// Settings of `bounded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounded {
    /// Weight of the term; above 0. Default 0.5.
    pub weight: f64,
    /// By how much, in squared rating units, the student has to be better than the teacher to be left alone; at least 0. Default 0.
    pub margin: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Bounded {
    fn default() -> Self {
        Bounded { weight: 0.5, margin: 0.0, warm_up: 0.0 }
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { output: true, ..TeacherNeeds::NONE };

impl Bounded {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        not_negative("margin", self.margin)?;
        not_negative("warm_up", self.warm_up)
    }
}

impl<D: Ops> Learner<D> for Bounded {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let teacher = step.teacher;
        let Some(output) = &teacher.output else { return Ok(()) };
        let Targets::Ratings(ratings) = step.targets else { return Ok(()) };
        let weight = self.weight * step.ramp(self.warm_up);
        let forward = step.forward;
        step.loss(Term::Bounded, weight, &forward.output, |made, gradient| {
            bounded(made, ratings, output, self.margin, weight, gradient)
        });
        Ok(())
    }
}

/// The value; its gradient with regard to `made`, times `scale`, goes into `gradient`.
fn bounded(made: &[f32], ratings: &[f32], teacher: &[f32], margin: f64, scale: f64, gradient: &mut [f32]) -> f64 {
    let rows = made.len() as f64;
    let mut sum = 0.0;
    for (((made, rating), teacher), gradient) in made.iter().zip(ratings).zip(teacher).zip(gradient) {
        let rating = f64::from(*rating);
        let error = f64::from(*made) - rating;
        let counts = error.powi(2) + margin > (f64::from(*teacher) - rating).powi(2);
        *gradient = if counts { (2.0 * scale * error / rows) as f32 } else { 0.0 };
        sum += if counts { error.powi(2) } else { 0.0 };
    }
    sum / rows
}
