//! `refilled`: relations across tasks, without anything that depends on labels being shared (Ye, Lu and Zhan, *Distilling Cross-Task
//! Knowledge via Relationship Matching*, 2020, equation 5). In a tuple, an anchor has a partner of its own class and others of other
//! classes; how likely each of them is to be the partner, by how near it lies, is what the student learns:
//!
//! ```text
//! task + weight * mean over anchors of KL( softmax(-D_T / tau) || softmax(-D_S / tau) )
//! ```
//!
//! For ratings a class is a rating level. D is the squared distance of high states that were brought to length 1, so that states of
//! different widths and sizes can be compared. Tuples are made within the batch: an anchor's partner is the next row of its level, the
//! others are the next rows of other levels, going round; an anchor without partner or others is left out.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Learner, Step, check_high};
use crate::error::SpecError;
use crate::models::ModelSpec;
use crate::objective::Term;
use crate::ops::Ops;
use crate::optim::{at_least_one, positive};
use crate::teacher::TeacherSpec;
use crate::trace::Relation;

/// Settings of `refilled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refilled {
    /// Weight of the term; above 0. Default 1.
    pub weight: f64,
    /// Rows of other levels in a tuple, at least 1. Default 8.
    pub others: usize,
    /// tau: how much nearer counts; above 0. Default 0.5.
    pub temperature: f64,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Refilled {
    fn default() -> Self {
        Refilled { weight: 1.0, others: 8, temperature: 0.5, warm_up: 0.0 }
    }
}

impl Refilled {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
        at_least_one("others", self.others)?;
        positive("temperature", self.temperature)?;
        check_high("refilled", (self.weight, self.warm_up), student, teacher)
    }
}

impl<D: Ops> Learner<D> for Refilled {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let weight = self.weight * step.ramp(self.warm_up);
        let tuples = tuples(&step.targets.levels(), self.others);
        let cost = |rows, widths| cost(rows, widths, self.others as u64);
        step.relations(Term::Refilled, weight, cost, |states, widths, gradient| {
            relation(states, widths, &tuples, self.temperature, weight, gradient)
        });
        Ok(())
    }
}

/// Of each row: three operations a number to bring both models' states to length 1, and four on the way back. Of each pair in its tuple: squared
/// differences of both, three a number, and five for slopes; eighteen more for exponentials, logarithms and sums; and a slope that is kept, beside
/// directions of both models and what moves the student's.
fn cost(rows: u64, [s, t]: [u64; 2], others: u64) -> Relation {
    let pairs = (others + 1).min(rows - 1);
    Relation { flops: 3 * (s + t) + 4 * s + pairs * (3 * (s + t) + 5 * s + 18), numbers: 2 * (s + t + s + pairs) }
}

/// An anchor, then its partner, then the others.
type Tuple = Vec<usize>;

/// The tuples of a batch of these rating levels or classes.
pub(super) fn tuples(levels: &[u32], others: usize) -> Vec<Tuple> {
    let rows = levels.len();
    let tuple = |anchor: usize| {
        let following = || (1..rows).map(move |step| (anchor + step) % rows);
        let same = |row: &usize| levels[*row] == levels[anchor];
        let partner = following().find(same)?;
        let others: Vec<usize> = following().filter(|row| !same(row)).take(others).collect();
        (!others.is_empty()).then(|| [&[anchor, partner][..], &others].concat())
    };
    (0..rows).filter_map(tuple).collect()
}

/// A row brought to length 1, and its length.
pub(super) type Direction = (Vec<f64>, f64);

/// Rows brought to length 1, and their lengths; a row of nothing stays one.
pub(super) fn directions(x: &[f32], cols: usize) -> Vec<Direction> {
    let direction = |row: &[f32]| {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        (row.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect(), length)
    };
    x.par_chunks_exact(cols).map(direction).collect()
}

/// How likely each of a tuple is to be the anchor's partner.
fn likely(directions: &[Direction], tuple: &[usize], temperature: f64) -> Vec<f64> {
    let (anchor, rest) = (&directions[tuple[0]].0, &tuple[1..]);
    let square = |row: &usize| anchor.iter().zip(&directions[*row].0).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let logits: Vec<f64> = rest.iter().map(|row| -square(row) / temperature).collect();
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let parts: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

/// The value; its gradient with regard to the student's states, times `scale`, goes into `gradient`.
fn relation(
    (s, t): (&[f32], &[f32]),
    (wide_s, wide_t): (usize, usize),
    tuples: &[Tuple],
    temperature: f64,
    scale: f64,
    gradient: &mut [f32],
) -> f64 {
    gradient.fill(0.0);
    if tuples.is_empty() {
        return 0.0;
    }
    let (own, other) = (directions(s, wide_s), directions(t, wide_t));
    // Of each anchor its part of the value, and the slope with regard to each squared distance.
    let parts: Vec<(f64, Vec<f64>)> = (tuples.par_iter())
        .map(|tuple| {
            let (p, q) = (likely(&other, tuple, temperature), likely(&own, tuple, temperature));
            // Of what is as good as impossible to the teacher nothing is learnt.
            let value = p.iter().zip(&q).map(|(p, q)| if *p > 0.0 { p * (p / q.max(f64::MIN_POSITIVE)).ln() } else { 0.0 }).sum();
            let factor = scale / (tuples.len() as f64 * temperature);
            (value, p.iter().zip(&q).map(|(p, q)| factor * (p - q)).collect())
        })
        .collect();
    // With regard to the directions first: d|u - v|^2 = 2 (u - v) (du - dv).
    let mut slopes = vec![0.0f64; s.len()];
    for (tuple, (_, parts)) in tuples.iter().zip(&parts) {
        for (&row, slope) in tuple[1..].iter().zip(parts) {
            for j in 0..wide_s {
                let part = 2.0 * slope * (own[tuple[0]].0[j] - own[row].0[j]);
                slopes[tuple[0] * wide_s + j] += part;
                slopes[row * wide_s + j] -= part;
            }
        }
    }
    for ((gradient, slope), (direction, length)) in gradient.chunks_exact_mut(wide_s).zip(slopes.chunks_exact(wide_s)).zip(&own) {
        let along: f64 = slope.iter().zip(direction).map(|(g, u)| g * u).sum();
        for ((gradient, g), u) in gradient.iter_mut().zip(slope).zip(direction) {
            *gradient = if *length > 0.0 { ((g - along * u) / length) as f32 } else { 0.0 };
        }
    }
    parts.iter().map(|(value, _)| value).sum::<f64>() / tuples.len() as f64
}
