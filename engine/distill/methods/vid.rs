//! `vid`: variational information distillation (Ahn, Hu, Damianou, Lawrence and Dai, *Variational Information Distillation for Knowledge
//! Transfer*, 2019, equations 4 and 6): the student's high state should tell the teacher's, each dimension as well as it can be told:
//!
//! ```text
//! task + weight * mean over rows and dimensions of 1/2 ( (t - mu(s))^2 / sigma^2 + log sigma^2 )
//! ```
//!
//! mu is a trainable projector, sigma^2 = softplus(alpha) + eps a trainable number a dimension. It begins as the cached teacher's own
//! variance, as if nothing were known yet, and eps is a millionth of the mean variance, so the loss does not depend on how large states are
//! but for a constant. Being half a negative log-likelihood it may fall below 0.

use serde::{Deserialize, Serialize};

use super::feature::Projector;
use super::{Learner, Step, check_high, high_ends};
use crate::error::{SpecError, TrainError};
use crate::models::ModelSpec;
use crate::objective::Term;
use crate::ops::Ops;
use crate::optim::at_least_one;
use crate::params::{Params, VectorId};
use crate::teacher::{TeacherSpec, TeacherView};

/// Settings of `vid`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vid {
    /// Weight of the term; above 0. Default 0.1.
    pub weight: f64,
    /// Hidden width of the projector, at least 1; none makes it a single dense layer. Default none.
    pub projector_hidden: Option<usize>,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Vid {
    fn default() -> Self {
        Vid { weight: 0.1, projector_hidden: None, warm_up: 0.0 }
    }
}

/// Of the mean variance, what sigma^2 is at least.
const FLOOR: f64 = 1e-6;

impl Vid {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
        if let Some(hidden) = self.projector_hidden {
            at_least_one("projector_hidden", hidden)?;
        }
        check_high("vid", (self.weight, self.warm_up), student, teacher)
    }

    pub(super) fn build<D: Ops>(
        &self,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Built, TrainError> {
        let (inputs, states) = high_ends(student, teacher)?;
        let failed = crate::device::failed::<D>;
        let ends = (inputs, states.width);
        let projector = Projector::fresh(modules, seed, "vid.projector", ends, self.projector_hidden).map_err(failed)?;
        let mean = states.variance.iter().map(|&v| f64::from(v)).sum::<f64>() / states.width as f64;
        if mean <= 0.0 {
            return Err(TrainError::Teacher {
                what: "its high state is the same for every row, so there is nothing to tell".to_owned(),
                advice: "train the teacher anew, or use the method `label`",
            });
        }
        let floor = FLOOR * mean;
        let alpha = states.variance.iter().map(|&variance| alpha_of(f64::from(variance).max(2.0 * floor) - floor) as f32);
        let alpha = modules.vector("vid.alpha", alpha.collect()).map_err(failed)?;
        Ok(Built { settings: self.clone(), projector, alpha, floor })
    }
}

/// The number whose softplus is `variance`: log(exp(variance) - 1).
fn alpha_of(variance: f64) -> f64 {
    variance + (-(-variance).exp_m1()).ln()
}

/// `vid`, with its projector and its variances.
pub(super) struct Built {
    settings: Vid,
    projector: Projector,
    alpha: VectorId,
    floor: f64,
}

impl<D: Ops> Learner<D> for Built {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let (forward, teacher) = (step.forward, step.teacher);
        let (Some(deep), Some(target)) = (&forward.deep, &teacher.high) else { return Ok(()) };
        let mean = self.projector.apply(step.graph, step.modules, &deep.high)?;
        let weight = self.settings.weight * step.ramp(self.settings.warm_up);
        let alpha = step.modules.vector_var(self.alpha);
        if let Some(trace) = step.graph.trace() {
            trace.weights(&alpha);
        }
        let mut slopes = step.graph.pool().take(alpha.cols());
        let (alphas, target) = (alpha.host().into_owned(), target.host());
        step.loss(Term::Vid, weight, &mean, |made, gradient| {
            likelihood((made, &target), &alphas, self.floor, weight, [gradient, &mut slopes])
        });
        step.graph.seed(&alpha, slopes);
        Ok(())
    }
}

/// The value; its gradients with regard to the means and to alpha, times `scale`, go into the two slices.
fn likelihood((mean, t): (&[f32], &[f32]), alphas: &[f32], floor: f64, scale: f64, [to_mean, to_alpha]: [&mut [f32]; 2]) -> f64 {
    let cols = alphas.len();
    let count = mean.len() as f64;
    let rows = count / cols as f64;
    // softplus, without overflow
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let variances: Vec<f64> = alphas.iter().map(|&alpha| softplus(f64::from(alpha)) + floor).collect();
    let mut squares = vec![0.0f64; cols];
    let rows_of = mean.chunks_exact(cols).zip(t.chunks_exact(cols)).zip(to_mean.chunks_exact_mut(cols));
    for ((mean, t), gradient) in rows_of {
        for j in 0..cols {
            let error = f64::from(mean[j]) - f64::from(t[j]);
            squares[j] += error * error;
            gradient[j] = (scale * error / (variances[j] * count)) as f32;
        }
    }
    let mut value = 0.0;
    for j in 0..cols {
        let variance = variances[j];
        value += (squares[j] / variance + rows * variance.ln()) / 2.0;
        let slope = (rows / variance - squares[j] / (variance * variance)) / 2.0;
        // softplus' is the logistic function
        let logistic = 1.0 / (1.0 + (-f64::from(alphas[j])).exp());
        to_alpha[j] = (scale * slope * logistic / count) as f32;
    }
    value / count
}
