//! `dist`: learning how the teacher's predictions are related, not what they are (Huang, You, Wang, Qian and Xu, *Knowledge Distillation
//! from A Stronger Teacher*, 2022, equations 7 to 10). With p = softmax(yhat / T) and q = softmax(z / T), (rows, classes),
//!
//! ```text
//! classes:  task + weight * ( mean over rows of 1 - Pearson(p_i, q_i) + mean over classes of 1 - Pearson(p_c, q_c) )
//! ratings:  task + weight * ( 1 - Pearson(yhat, z) over the batch )
//! ```
//!
//! since ratings have no classes to relate. Rows or classes that do not vary are left out of their mean, as in the distance `corr`.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds, check_corr, check_temperature};
use crate::distance::{Distance, compare};
use crate::error::SpecError;
use crate::losses::softmax;
use crate::models::ModelSpec;
use crate::objective::Term;
use crate::ops::Ops;
use crate::optim::{not_negative, positive};
use crate::task::Targets;

/// Settings of `dist`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dist {
    /// Weight of the term; above 0. Default 0.5.
    pub weight: f64,
    /// T: how much the probabilities of classes are evened out, above 0; ratings have none. Default 1, of classes.
    pub temperature: Option<f64>,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Dist {
    fn default() -> Self {
        Dist { weight: 0.5, temperature: None, warm_up: 0.0 }
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { output: true, ..TeacherNeeds::NONE };

impl Dist {
    pub(super) fn check(&self, student: &ModelSpec, batch: usize) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        check_temperature("dist", self.temperature, student)?;
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
        let (forward, targets) = (step.forward, step.targets);
        let (classes, temperature) = (forward.output.cols(), self.temperature.unwrap_or(1.0));
        step.loss(Term::Dist, weight, &forward.output, |made, gradient| match targets {
            Targets::Ratings(_) => compare(Distance::Corr, (made, output), 1, None, weight, [Some(gradient), None]),
            Targets::Classes(_) => relations((made, output), classes, temperature, weight, gradient),
        });
        Ok(())
    }
}

/// Both relations of classes' probabilities. Their gradient with regard to the logits `made`, times `scale`, goes into `gradient`.
fn relations((made, target): (&[f32], &[f32]), classes: usize, temperature: f64, scale: f64, gradient: &mut [f32]) -> f64 {
    let probabilities = |logits: &[f32]| -> Vec<f32> {
        logits.chunks_exact(classes).flat_map(|row| softmax(row, temperature)).map(|p| p as f32).collect()
    };
    let (p, q) = (probabilities(made), probabilities(target));
    let rows = made.len() / classes;
    // Over the batch each class is a column; over the classes each row is one.
    let turned = |x: &[f32]| -> Vec<f32> { (0..x.len()).map(|at| x[at % rows * classes + at / rows]).collect() };
    let (mut over_batch, mut over_classes) = (vec![0.0; made.len()], vec![0.0; made.len()]);
    let mut value = compare(Distance::Corr, (&p, &q), classes, None, scale, [Some(&mut over_batch), None]);
    value += compare(Distance::Corr, (&turned(&p), &turned(&q)), rows, None, scale, [Some(&mut over_classes), None]);
    // Through the softmax: dL/dyhat = p (g - sum p g) / T.
    for (row, (p, gradient)) in p.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes)).enumerate() {
        let slope = |class: usize| f64::from(over_batch[row * classes + class]) + f64::from(over_classes[class * rows + row]);
        let mean: f64 = p.iter().enumerate().map(|(class, &p)| f64::from(p) * slope(class)).sum();
        for (class, (gradient, &p)) in gradient.iter_mut().zip(p).enumerate() {
            *gradient = (f64::from(p) * (slope(class) - mean) / temperature) as f32;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::{LOGITS, TARGET, assert_slopes};

    #[test]
    fn slopes_are_those_of_finite_differences() {
        for temperature in [1.0, 3.0] {
            assert_slopes(&LOGITS, |x, gradient| relations((x, &TARGET), 4, temperature, 1.0, gradient));
        }
    }

    /// Two rows of two classes with probabilities (1/4, 3/4), (3/4, 1/4) and their opposites: each row, and each class, runs against its own.
    #[test]
    fn opposites_are_twice_as_far_as_can_be() {
        let three = 3f32.ln();
        let (a, b) = ([0.0, three, three, 0.0], [three, 0.0, 0.0, three]);
        let value = |a: &[f32], b: &[f32]| relations((a, b), 2, 1.0, 1.0, &mut [0.0; 4]);
        assert!((value(&a, &b) - 4.0).abs() < 1e-6);
        assert!(value(&a, &a).abs() < 1e-6);
    }
}
