//! `rkd`: rows should be as far from each other, for the student, as they are for the teacher (Park, Kim, Lu and Cho, *Relational
//! Knowledge Distillation*, 2019, equations 4 to 6; the loss over distances, without the one over angles):
//!
//! ```text
//! task + weight * mean over pairs i != j of h( |s_i - s_j| / mu_S - |t_i - t_j| / mu_T )
//! ```
//!
//! mu being the mean distance over the batch's pairs, through which the gradient flows too, and h Huber's loss: x^2 / 2 up to 1, |x| - 1/2
//! beyond. The two states may have different widths, so there are no modules. Time and memory grow with the square of the batch.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Learner, Step, check_high};
use crate::error::SpecError;
use crate::models::ModelSpec;
use crate::objective::Term;
use crate::ops::Ops;
use crate::teacher::TeacherSpec;
use crate::trace::Relation;

/// Settings of `rkd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rkd {
    /// Weight of the term; above 0. Default 1.
    pub weight: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Rkd {
    fn default() -> Self {
        Rkd { weight: 1.0, warm_up: 0.0 }
    }
}

impl Rkd {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
        check_high("rkd", (self.weight, self.warm_up), student, teacher)
    }
}

impl<D: Ops> Learner<D> for Rkd {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let weight = self.weight * step.ramp(self.warm_up);
        step.relations(Term::Rkd, weight, cost, |states, widths, gradient| relation(states, widths, weight, gradient));
        Ok(())
    }
}

/// Of each pair: squared differences of both models' states, and the student's differences on the way back, three operations a number; eighteen
/// more for roots, means, Huber's loss and slopes; and two distances and a slope that are kept.
fn cost(rows: u64, [s, t]: [u64; 2]) -> Relation {
    Relation { flops: rows * (3 * s + 3 * t + 3 * s + 18), numbers: 6 * rows }
}

/// The distances of each row from each other, row by row, and their mean over pairs.
fn distances(x: &[f32], cols: usize) -> (Vec<Vec<f64>>, f64) {
    let rows = x.len() / cols;
    let square = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>();
    let row = |own: &[f32]| x.chunks_exact(cols).map(|other| square(own, other).sqrt()).collect::<Vec<f64>>();
    let all: Vec<Vec<f64>> = x.par_chunks_exact(cols).map(row).collect();
    let sums: Vec<f64> = all.iter().map(|row| row.iter().sum()).collect();
    (all, sums.iter().sum::<f64>() / (rows * rows.saturating_sub(1)).max(1) as f64)
}

/// The value; its gradient with regard to the student's states, times `scale`, goes into `gradient`. Where all rows of one side are the
/// same there is nothing to compare: 0, without slope.
fn relation((s, t): (&[f32], &[f32]), (wide_s, wide_t): (usize, usize), scale: f64, gradient: &mut [f32]) -> f64 {
    let rows = s.len() / wide_s;
    let pairs = (rows * rows.saturating_sub(1)).max(1) as f64;
    let ((own, mean), (other, teacher_mean)) = (distances(s, wide_s), distances(t, wide_t));
    if mean <= 0.0 || teacher_mean <= 0.0 {
        gradient.fill(0.0);
        return 0.0;
    }
    // Of each row: its part of the value, and of h' times the distance; and h' for each pair.
    let parts: Vec<(f64, f64, Vec<f64>)> = (own.par_iter().zip(&other))
        .map(|(own, other)| {
            let errors: Vec<f64> = own.iter().zip(other).map(|(d, t)| d / mean - t / teacher_mean).collect();
            let slopes: Vec<f64> = errors.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
            let value = errors.iter().map(|x| if x.abs() <= 1.0 { x * x / 2.0 } else { x.abs() - 0.5 }).sum();
            (value, slopes.iter().zip(own).map(|(h, d)| h * d).sum(), slopes)
        })
        .collect();
    // Each distance moves the mean, and with it all of them.
    let through_mean = parts.iter().map(|(_, moved, _)| moved).sum::<f64>() / (pairs * mean * mean);
    gradient.par_chunks_exact_mut(wide_s).enumerate().for_each(|(i, gradient)| {
        let x = &s[i * wide_s..(i + 1) * wide_s];
        let mut sum = vec![0.0f64; wide_s];
        for (j, other) in s.chunks_exact(wide_s).enumerate() {
            let distance = own[i][j];
            if distance > 0.0 {
                // Twice: as the pair i, j and as j, i.
                let slope = 2.0 * scale * (parts[i].2[j] / mean - through_mean) / (pairs * distance);
                sum.iter_mut().zip(x.iter().zip(other)).for_each(|(sum, (&a, &b))| *sum += slope * (f64::from(a) - f64::from(b)));
            }
        }
        gradient.iter_mut().zip(sum).for_each(|(gradient, sum)| *gradient = sum as f32);
    });
    parts.iter().map(|(value, ..)| value).sum::<f64>() / pairs
}
