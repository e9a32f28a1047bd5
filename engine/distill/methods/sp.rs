//! `sp`: rows that are alike to the teacher should be alike to the student (Tung and Mori, *Similarity-Preserving Knowledge
//! Distillation*, 2019, equation 4):
//!
//! ```text
//! task + weight * (1 / b^2) || rownorm(S S') - rownorm(T T') ||_F^2
//! ```
//!
//! S and T being the batch's high states of student and teacher, b its rows, and rownorm dividing each row of a matrix by its length. The
//! two states may have different widths, so there are no modules. Time and memory grow with the square of the batch.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Learner, Step, check_high};
use crate::error::SpecError;
use crate::models::ModelSpec;
use crate::objective::Term;
use crate::ops::Ops;
use crate::teacher::TeacherSpec;
use crate::trace::Relation;

/// Settings of `sp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sp {
    /// Weight of the term; above 0. Default 1.
    pub weight: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Sp {
    fn default() -> Self {
        Sp { weight: 1.0, warm_up: 0.0 }
    }
}

impl Sp {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
        check_high("sp", (self.weight, self.warm_up), student, teacher)
    }
}

impl<D: Ops> Learner<D> for Sp {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let weight = self.weight * step.ramp(self.warm_up);
        step.relations(Term::Sp, weight, cost, |states, widths, gradient| similarity(states, widths, weight, gradient));
        Ok(())
    }
}

/// Of each pair: the products of both models' states, and of the student's again on the way back; sixteen operations more for lengths,
/// differences and slopes; and one slope that is kept.
fn cost(rows: u64, [s, t]: [u64; 2]) -> Relation {
    Relation { flops: rows * (2 * s + 2 * t + 2 * s + 16), numbers: 2 * rows }
}

/// Row `i` of the matrix of products, divided by its length, and that length. A row of nothing stays one, and has no slope.
fn normalised(x: &[f32], cols: usize, i: usize) -> (Vec<f64>, f64) {
    let own = &x[i * cols..(i + 1) * cols];
    let product = |other: &[f32]| own.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let mut row: Vec<f64> = x.chunks_exact(cols).map(product).collect();
    let length = row.iter().map(|g| g * g).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|g| *g /= length);
    }
    (row, length)
}

/// The value; its gradient with regard to the student's states, times `scale`, goes into `gradient`.
fn similarity((s, t): (&[f32], &[f32]), (wide_s, wide_t): (usize, usize), scale: f64, gradient: &mut [f32]) -> f64 {
    let rows = s.len() / wide_s;
    let square = (rows * rows) as f64;
    // Of each row its part of the value, and the slope with regard to the row of products before it was divided.
    let parts: Vec<(f64, Vec<f64>)> = (0..rows)
        .into_par_iter()
        .map(|i| {
            let ((own, length), (other, _)) = (normalised(s, wide_s, i), normalised(t, wide_t, i));
            let difference: Vec<f64> = own.iter().zip(&other).map(|(a, b)| a - b).collect();
            let along: f64 = difference.iter().zip(&own).map(|(d, g)| d * g).sum();
            let slope = |(d, g): (&f64, &f64)| if length > 0.0 { 2.0 * scale * (d - along * g) / (square * length) } else { 0.0 };
            (difference.iter().map(|d| d * d).sum(), difference.iter().zip(&own).map(slope).collect())
        })
        .collect();
    // The products are of S with itself: each state is in its own row of them, and in everybody's column.
    gradient.par_chunks_exact_mut(wide_s).enumerate().for_each(|(i, gradient)| {
        let mut sum = vec![0.0f64; wide_s];
        for (j, other) in s.chunks_exact(wide_s).enumerate() {
            let slope = parts[i].1[j] + parts[j].1[i];
            sum.iter_mut().zip(other).for_each(|(sum, &x)| *sum += slope * f64::from(x));
        }
        gradient.iter_mut().zip(sum).for_each(|(gradient, sum)| *gradient = sum as f32);
    });
    parts.iter().map(|(value, _)| value).sum::<f64>() / square
}
