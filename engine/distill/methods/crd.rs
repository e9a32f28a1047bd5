//! `crd`: a row's state should tell which of the teacher's states is that of the same row (Tian, Krishnan and Isola, *Contrastive Representation
//! Distillation*, 2020). With u and v the high states of student and teacher, each through a trainable linear projector to one width and brought
//! to length 1:
//!
//! ```text
//! task + weight * mean over rows i of 1/2 ( -log softmax_j(u_i v_j / tau)_i - log softmax_j(u_j v_i / tau)_i )
//! ```
//!
//! where j goes over row i itself and those it is told from. Both sides are the anchor once, as in the paper. Two things are not as there. It
//! draws thousands of negatives from a memory of all rows' projected states, some epochs old; here they are the other rows of the batch, as they
//! are now: all, or those of other classes, which its supervised form draws from. And it judges pairs one by one (its equation 11, noise
//! contrastive estimation), with a constant for how many rows there are, where here all pairs of an anchor are judged together (InfoNCE; van den Oord, Li
//! and Vinyals, *Representation Learning with Contrastive Predictive Coding*, 2018, equation 4), which needs none. Either is a lower bound of what one
//! state tells of the other. Time and memory grow with the square of the batch.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::refilled::{Direction, directions};
use super::{Learner, Step, check_high, high_ends};
use crate::error::{SpecError, TrainError};
use crate::models::ModelSpec;
use crate::modules::last;
use crate::objective::Term;
use crate::ops::{Activation, Ops};
use crate::optim::{at_least_one, positive};
use crate::params::{LayerId, Params};
use crate::random::Role;
use crate::teacher::{TeacherSpec, TeacherView};
use crate::trace::Relation;

/// Settings of `crd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crd {
    /// Weight of the term; above 0. Default 0.8.
    pub weight: f64,
    /// Numbers that both states are projected to, at least 1. Default 128.
    pub width: usize,
    /// tau: how much nearer counts; above 0. Default 0.1.
    pub temperature: f64,
    /// The rows that a row is told from. Default `other_classes`.
    pub negatives: Negatives,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Crd {
    fn default() -> Self {
        Crd { weight: 0.8, width: 128, temperature: 0.1, negatives: Negatives::default(), warm_up: 0.0 }
    }
}

/// The rows of a batch that a row is told from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Negatives {
    /// All others.
    All,
    /// Those of other classes: rows of one class need not be told from each other.
    #[default]
    OtherClasses,
}

impl Crd {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        at_least_one("width", self.width)?;
        positive("temperature", self.temperature)?;
        if batch < 2 {
            return Err(SpecError::Contradiction {
                method: "crd",
                what: "a row in a batch by itself, which there is nothing to tell from".to_owned(),
                advice: "use batches of several rows",
            });
        }
        check_high("crd", (self.weight, self.warm_up), student, teacher)
    }

    pub(super) fn build<D: Ops>(
        &self,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Built, TrainError> {
        let (inputs, states) = high_ends(student, teacher)?;
        let mut projector = |name: &str, inputs: usize| {
            let layer = modules.fresh(seed, Role::Modules, &format!("crd.{name}"), (inputs, self.width), Activation::None.gain());
            layer.map_err(crate::device::failed::<D>)
        };
        let projectors = [projector("student", inputs)?, projector("teacher", states.width)?];
        Ok(Built { settings: self.clone(), projectors })
    }
}

/// `crd`, with its projectors: the student's, and the teacher's.
pub(super) struct Built {
    settings: Crd,
    projectors: [LayerId; 2],
}

impl<D: Ops> Learner<D> for Built {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let (forward, teacher) = (step.forward, step.teacher);
        let (Some(deep), Some(target)) = (&forward.deep, &teacher.high) else { return Ok(()) };
        let link = |projector: LayerId| vec![step.modules.layer(projector).then(Activation::None)];
        let [student, teacher] = self.projectors.map(link);
        let own = last(step.graph.run(&deep.high, student)?);
        let other = last(step.graph.run(target, teacher)?);
        let &Crd { weight, width, temperature, negatives, warm_up } = &self.settings;
        let weight = weight * step.ramp(warm_up);
        if let Some(trace) = step.graph.trace() {
            trace.related(|rows| cost(rows, width as u64));
        }
        let classes = match negatives {
            Negatives::All => (0..own.rows() as u32).collect(),
            Negatives::OtherClasses => step.targets.levels(),
        };
        let mut to_other = step.graph.pool().take(other.rows() * width);
        let told = other.host().into_owned();
        step.loss(Term::Crd, weight, &own, |made, gradient| {
            contrast((made, &told), (width, &classes), temperature, weight, [gradient, &mut to_other])
        });
        step.graph.seed(&other, to_other);
        Ok(())
    }
}

/// Of each row: three operations a number to bring both sides to length 1, and four on the way back. Of each pair: the product of both sides, and
/// on the way back one for either; twelve more for exponentials, sums and slopes of both directions; and a product and a slope that are kept, beside
/// both directions.
fn cost(rows: u64, width: u64) -> Relation {
    Relation { flops: 14 * width + rows * (2 * width + 4 * width + 12), numbers: 2 * (2 * width + 2 * rows) }
}

/// The value; its gradients with regard to both sides, times `scale`, go into the two slices. A row is told from those of other `classes`.
fn contrast(
    (s, t): (&[f32], &[f32]),
    (width, classes): (usize, &[u32]),
    temperature: f64,
    scale: f64,
    [to_s, to_t]: [&mut [f32]; 2],
) -> f64 {
    let rows = classes.len();
    let (own, other) = (directions(s, width), directions(t, width));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scores: Vec<Vec<f64>> =
        own.par_iter().map(|(u, _)| other.iter().map(|(v, _)| product(u, v) / temperature).collect()).collect();
    // Of an anchor on one side its part of the value, and its probabilities of the other side's rows.
    let told = |anchor: usize, score: &dyn Fn(usize) -> f64| -> (f64, Vec<f64>) {
        let among = |row: usize| row == anchor || classes[row] != classes[anchor];
        let most = (0..rows).filter(|&row| among(row)).map(score).fold(f64::NEG_INFINITY, f64::max);
        let parts: Vec<f64> = (0..rows).map(|row| if among(row) { (score(row) - most).exp() } else { 0.0 }).collect();
        let sum: f64 = parts.iter().sum();
        (sum.ln() + most - score(anchor), parts.into_iter().map(|part| part / sum).collect())
    };
    let of_own: Vec<(f64, Vec<f64>)> = (0..rows).into_par_iter().map(|i| told(i, &|j| scores[i][j])).collect();
    let of_other: Vec<(f64, Vec<f64>)> = (0..rows).into_par_iter().map(|j| told(j, &|i| scores[i][j])).collect();
    // With regard to the product of a student's direction and a teacher's.
    let factor = scale / (2.0 * rows as f64 * temperature);
    let slope = |i: usize, j: usize| factor * (of_own[i].1[j] + of_other[j].1[i] - if i == j { 2.0 } else { 0.0 });
    back(to_s, &own, &other, slope);
    back(to_t, &other, &own, |j, i| slope(i, j));
    of_own.iter().chain(&of_other).map(|(value, _)| value).sum::<f64>() / (2.0 * rows as f64)
}

/// The gradient with regard to rows before they were brought to length 1; `slope` is that with regard to a row's product with one of the `others`.
fn back(gradient: &mut [f32], rows: &[Direction], others: &[Direction], slope: impl Fn(usize, usize) -> f64 + Sync) {
    let width = gradient.len() / rows.len();
    gradient.par_chunks_exact_mut(width).zip(rows).enumerate().for_each(|(row, (gradient, (direction, length)))| {
        let mut sum = vec![0.0f64; width];
        for (place, (other, _)) in others.iter().enumerate() {
            let slope = slope(row, place);
            sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += slope * x);
        }
        let along: f64 = sum.iter().zip(direction).map(|(g, u)| g * u).sum();
        for ((gradient, g), u) in gradient.iter_mut().zip(sum).zip(direction) {
            *gradient = if *length > 0.0 { ((g - along * u) / length) as f32 } else { 0.0 };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::{LOGITS, TARGET, assert_slopes};

    fn value(s: &[f32], t: &[f32], width: usize, classes: &[u32], [to_s, to_t]: [&mut [f32]; 2]) -> f64 {
        contrast((s, t), (width, classes), 0.5, 1.0, [to_s, to_t])
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        for classes in [[0, 1, 2, 3, 4, 5], [0, 1, 0, 2, 1, 0]] {
            let rest = || vec![0.0; LOGITS.len()];
            assert_slopes(&LOGITS, |x, gradient| value(x, &TARGET, 2, &classes, [gradient, &mut rest()]));
            assert_slopes(&TARGET, |x, gradient| value(&LOGITS, x, 2, &classes, [&mut rest(), gradient]));
        }
    }

    /// Three rows at right angles, at temperature 1/2: the same row's score is 2 and another's 0.
    #[test]
    fn values_by_hand() {
        let rows = [3.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0];
        let found = |classes: &[u32]| value(&rows, &rows, 3, classes, [&mut [0.0; 9], &mut [0.0; 9]]);
        let told_from = |others: f64| (2f64.exp() + others).ln() - 2.0;
        assert!((found(&[0, 1, 2]) - told_from(2.0)).abs() < 1e-12);
        // Of the first two, each has the third to be told from; that one has both.
        assert!((found(&[0, 0, 1]) - (2.0 * told_from(1.0) + told_from(2.0)) / 3.0).abs() < 1e-12);
        // Where there is no other class there is nothing to learn.
        assert_eq!(found(&[4, 4, 4]), 0.0);
    }
}
