//! `srd`: a plain projector, normalised, and a loss that goes for the largest errors (Miles and Mikolajczyk, *Understanding the Role of the
//! Projector in Knowledge Distillation*, 2024, equations 6 and 7):
//!
//! ```text
//! task + weight * log( mean over rows and dimensions of |norm(r(s)) - norm(t)|^power )
//! ```
//!
//! s and t being the high states, r a trainable linear projector, and norm bringing each dimension to mean 0 and variance 1 over the
//! batch. The paper's sum is a mean here, so that the value does not depend on the batch; the gradient is the same.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, check_corr, check_high, high_ends};
use crate::distance::Distance;
use crate::error::{SpecError, TrainError};
use crate::models::ModelSpec;
use crate::modules::last;
use crate::objective::Term;
use crate::ops::{Activation, Ops};
use crate::optim::positive;
use crate::params::{LayerId, Params};
use crate::random::Role;
use crate::teacher::{TeacherSpec, TeacherView};

/// Settings of `srd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Srd {
    /// Weight of the term; above 0. Default 0.1.
    pub weight: f64,
    /// The power of the errors; above 0. Default 4.
    pub power: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Srd {
    fn default() -> Self {
        Srd { weight: 0.1, power: 4.0, warm_up: 0.0 }
    }
}

/// Added to a variance before its root divides.
const EPS: f64 = 1e-5;
/// Added to the mean before its logarithm: states that agree have one too.
const TINY: f64 = 1e-12;

impl Srd {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        positive("power", self.power)?;
        // Means and variances over the batch ask for as many rows as correlations do.
        check_corr("srd", Distance::Corr, batch)?;
        check_high("srd", (self.weight, self.warm_up), student, teacher)
    }

    pub(super) fn build<D: Ops>(
        &self,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Built, TrainError> {
        let (inputs, states) = high_ends(student, teacher)?;
        let ends = (inputs, states.width);
        let projector = modules.fresh(seed, Role::Modules, "srd.projector", ends, Activation::None.gain());
        Ok(Built { settings: self.clone(), projector: projector.map_err(crate::device::failed::<D>)? })
    }
}

/// `srd`, with its projector.
pub(super) struct Built {
    settings: Srd,
    projector: LayerId,
}

impl<D: Ops> Learner<D> for Built {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let (forward, teacher) = (step.forward, step.teacher);
        let (Some(deep), Some(target)) = (&forward.deep, &teacher.high) else { return Ok(()) };
        let links = vec![step.modules.layer(self.projector).then(Activation::None)];
        let projected = last(step.graph.run(&deep.high, links)?);
        let Srd { weight, power, warm_up } = self.settings;
        let weight = weight * step.ramp(warm_up);
        let (cols, target) = (target.cols(), target.host());
        step.loss(Term::Srd, weight, &projected, |made, gradient| log_sum((made, &target), cols, power, weight, gradient));
        Ok(())
    }
}

/// Each dimension brought to mean 0 and variance 1 over the batch, and what it was divided by.
fn normalised(x: &[f32], cols: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = (x.len() / cols) as f64;
    let mut mean = vec![0.0f64; cols];
    x.chunks_exact(cols).for_each(|row| mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / rows));
    let mut root = vec![0.0f64; cols];
    for row in x.chunks_exact(cols) {
        root.iter_mut().zip(row.iter().zip(&mean)).for_each(|(root, (&x, mean))| *root += (f64::from(x) - mean).powi(2) / rows);
    }
    root.iter_mut().for_each(|root| *root = (*root + EPS).sqrt());
    let normal = x.iter().enumerate().map(|(at, &x)| (f64::from(x) - mean[at % cols]) / root[at % cols]).collect();
    (normal, root)
}

/// The value; its gradient with regard to `s`, times `scale`, goes into `gradient`.
fn log_sum((s, t): (&[f32], &[f32]), cols: usize, power: f64, scale: f64, gradient: &mut [f32]) -> f64 {
    let ((own, root), (other, _)) = (normalised(s, cols), normalised(t, cols));
    let count = own.len() as f64;
    let errors: Vec<f64> = own.iter().zip(&other).map(|(a, b)| a - b).collect();
    let mean = errors.iter().map(|d| d.abs().powf(power)).sum::<f64>() / count + TINY;
    let slope = |d: &f64| if *d == 0.0 { 0.0 } else { scale * power * d.abs().powf(power - 1.0) * d.signum() / (count * mean) };
    let slopes: Vec<f64> = errors.iter().map(slope).collect();
    // With z = (x - mean) / root and g the slope with regard to z: (g - mean(g) - z mean(g z)) / root.
    let rows = count / cols as f64;
    let (mut means, mut along) = (vec![0.0f64; cols], vec![0.0f64; cols]);
    for (at, (g, z)) in slopes.iter().zip(&own).enumerate() {
        means[at % cols] += g / rows;
        along[at % cols] += g * z / rows;
    }
    for (at, gradient) in gradient.iter_mut().enumerate() {
        let j = at % cols;
        *gradient = ((slopes[at] - means[j] - own[at] * along[j]) / root[j]) as f32;
    }
    mean.ln()
}
