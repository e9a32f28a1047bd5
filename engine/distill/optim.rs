//! How weights follow their gradients: optimisers, learning-rate schedules, clipping.
//!
//! Weights and the optimiser's moments live on the host for every device (dense layers here are small, and embedding tables
//! are host-resident anyway), so one set of loops serves dense layers and single rows of tables, and a checkpoint is
//! a plain copy. The room knows no models.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::error::SpecError;

/// What a weight is, as far as decay is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Weight matrices of dense layers.
    Weight,
    /// Bias vectors of dense layers: never decayed.
    LayerBias,
    /// Rows of embedding tables.
    Embedding,
    /// User and item bias terms.
    BiasTerm,
}

/// The optimiser and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adam(Adam),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::Adam(Adam::default())
    }
}

/// Adam (Kingma and Ba 2015) with decoupled decay (Loshchilov and Hutter 2019):
/// `w <- (1 - rate decay) w - rate m_hat / (sqrt(v_hat) + eps)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Learning rate, above 0. Default 1e-3.
    pub rate: f64,
    /// Decay of the two moments, each in `[0, 1)`. Default (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the root of the second moment, above 0. Default 1e-8.
    pub eps: f64,
    /// The three strengths of weight decay.
    pub decay: Decay,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { rate: 1e-3, betas: (0.9, 0.999), eps: 1e-8, decay: Decay::default() }
    }
}

/// SGD with heavy-ball momentum and decoupled decay: `v <- momentum v + g`, `w <- (1 - rate decay) w - rate v`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    /// Learning rate, above 0. Default 1e-2.
    pub rate: f64,
    /// Momentum, in `[0, 1)`. Default 0.
    pub momentum: f64,
    /// The three strengths of weight decay.
    pub decay: Decay,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { rate: 1e-2, momentum: 0.0, decay: Decay::default() }
    }
}

/// Strength of decoupled weight decay by what is decayed: each step multiplies a weight by `1 - rate * decay`.
///
/// Bias vectors of dense layers are never decayed. Each at least 0; all default to 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decay {
    /// Weight matrices of dense layers, those of training-only modules among them.
    pub weights: f64,
    /// Embedding tables.
    pub embeddings: f64,
    /// User and item bias terms.
    pub bias_terms: f64,
}

impl Optimizer {
    /// The learning rate before any schedule.
    pub fn rate(&self) -> f64 {
        match self {
            Optimizer::Adam(adam) => adam.rate,
            Optimizer::Sgd(sgd) => sgd.rate,
        }
    }

    fn decay(&self) -> &Decay {
        match self {
            Optimizer::Adam(adam) => &adam.decay,
            Optimizer::Sgd(sgd) => &sgd.decay,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        positive("rate", self.rate())?;
        match self {
            Optimizer::Adam(adam) => {
                below_one("betas", adam.betas.0)?;
                below_one("betas", adam.betas.1)?;
                positive("eps", adam.eps)?;
            }
            Optimizer::Sgd(sgd) => below_one("momentum", sgd.momentum)?,
        }
        let decay = self.decay();
        for (field, value) in
            [("decay.weights", decay.weights), ("decay.embeddings", decay.embeddings), ("decay.bias_terms", decay.bias_terms)]
        {
            not_negative(field, value)?;
            if value * self.rate() >= 1.0 {
                return Err(SpecError::Range {
                    field,
                    value,
                    range: "below 1 / rate, or weights change their sign in every step",
                });
            }
        }
        Ok(())
    }

    /// Moments an optimiser keeps for `len` weights; empty where it keeps none.
    pub(crate) fn moments(&self, len: usize) -> Moments {
        let (first, second) = match self {
            Optimizer::Adam(_) => (len, len),
            Optimizer::Sgd(sgd) if sgd.momentum > 0.0 => (len, 0),
            Optimizer::Sgd(_) => (0, 0),
        };
        Moments { first: vec![0.0; first], second: vec![0.0; second] }
    }

    /// The rule for a step at learning rate `rate`, with gradients multiplied by `scale` first.
    pub(crate) fn rule(&self, rate: f64, scale: f64) -> Rule<'_> {
        Rule { optimizer: self, rate, scale: scale as f32 }
    }
}

/// The optimiser's memory for some weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// One step's update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'a> {
    optimizer: &'a Optimizer,
    rate: f64,
    scale: f32,
}

impl Rule<'_> {
    /// What a weight is multiplied by in this step before its gradient counts.
    pub(crate) fn shrink(&self, group: Group) -> f64 {
        let decay = self.optimizer.decay();
        let strength = match group {
            Group::Weight => decay.weights,
            Group::LayerBias => 0.0,
            Group::Embedding => decay.embeddings,
            Group::BiasTerm => decay.bias_terms,
        };
        1.0 - self.rate * strength
    }

    /// Prepares the update number `count` (from 1) of some weights.
    pub(crate) fn at(&self, count: u64, shrink: f32) -> Update {
        self.corrected(self.corrections(count), shrink)
    }

    /// What the update number `count` divides its moments by: Adam's corrections, 1 - beta^count; 1 for others.
    pub(crate) fn corrections(&self, count: u64) -> (f64, f64) {
        let correction = |beta: f64| 1.0 - beta.powf(count as f64);
        match self.optimizer {
            Optimizer::Adam(adam) => (correction(adam.betas.0), correction(adam.betas.1)),
            Optimizer::Sgd(_) => (1.0, 1.0),
        }
    }

    /// Prepares an update with these corrections.
    pub(crate) fn corrected(&self, (first, second): (f64, f64), shrink: f32) -> Update {
        match self.optimizer {
            Optimizer::Adam(adam) => Update::Adam {
                shrink,
                scale: self.scale,
                beta1: adam.betas.0 as f32,
                beta2: adam.betas.1 as f32,
                // rate m_hat / (sqrt(v_hat) + eps), with both corrections taken out of the loop.
                step: (self.rate / first) as f32,
                root: (1.0 / second.sqrt()) as f32,
                eps: adam.eps as f32,
            },
            Optimizer::Sgd(sgd) => {
                Update::Sgd { shrink, scale: self.scale, momentum: sgd.momentum as f32, rate: self.rate as f32 }
            }
        }
    }
}

/// An update, ready to be applied to as many weights as share its count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Update {
    Adam { shrink: f32, scale: f32, beta1: f32, beta2: f32, step: f32, root: f32, eps: f32 },
    Sgd { shrink: f32, scale: f32, momentum: f32, rate: f32 },
}

impl Update {
    /// Moves `weights` against `gradients`; all slices of one length, or empty where the optimiser keeps no such moment.
    pub(crate) fn apply(&self, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        apply(*self, weights, gradients, first, second);
    }
}

/// See [`Update::apply`].
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
fn apply(update: Update, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
    match update {
        Update::Adam { shrink, scale, beta1, beta2, step, root, eps } => {
            for (((w, &g), m), v) in weights.iter_mut().zip(gradients).zip(first).zip(second) {
                let g = g * scale;
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *w = shrink * *w - step * *m / (v.sqrt() * root + eps);
            }
        }
        Update::Sgd { shrink, scale, rate, .. } if first.is_empty() => {
            for (w, &g) in weights.iter_mut().zip(gradients) {
                *w = shrink * *w - rate * scale * g;
            }
        }
        Update::Sgd { shrink, scale, momentum, rate } => {
            for ((w, &g), v) in weights.iter_mut().zip(gradients).zip(first) {
                *v = momentum * *v + scale * g;
                *w = shrink * *w - rate * *v;
            }
        }
    }
}

/// How the learning rate changes over a training: a linear rise from 0 over `warm_up` epochs, times a [`Course`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Epochs (fractions too) over which the rate rises from 0; at least 0. Default 0.
    pub warm_up: f64,
    /// What the rate does besides.
    pub course: Course,
}

/// The course of the learning rate, as a factor of the optimiser's `rate`. `e` counts epochs from 0, with fractions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Always 1.
    #[default]
    Constant,
    /// `floor + (1 - floor) (1 + cos(pi e / epochs)) / 2`; `floor` in `[0, 1]`.
    Cosine {
        /// The factor at the end.
        floor: f64,
    },
    /// `factor ^ floor(e / every)`; `every` at least 1, `factor` in `(0, 1]`.
    Step {
        /// Epochs between two drops.
        every: usize,
        /// The factor of each drop.
        factor: f64,
    },
    /// `factor ^ e`; `factor` in `(0, 1]`.
    Exponential {
        /// The factor of one epoch.
        factor: f64,
    },
}

impl Schedule {
    /// Whether the rate of an epoch depends on how many there are: then a longer training is another one from the beginning.
    pub fn spans_all_epochs(&self) -> bool {
        match self.course {
            Course::Cosine { .. } => true,
            Course::Constant | Course::Step { .. } | Course::Exponential { .. } => false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        not_negative("warm_up", self.warm_up)?;
        match self.course {
            Course::Constant => Ok(()),
            Course::Cosine { floor } => fraction("floor", floor),
            Course::Step { every, factor } => {
                at_least_one("every", every)?;
                positive_fraction("factor", factor)
            }
            Course::Exponential { factor } => positive_fraction("factor", factor),
        }
    }

    /// The factor after `step` of `steps` steps of the epoch `epoch` (both from 0), in a training of `epochs` epochs.
    pub(crate) fn factor(&self, epoch: usize, step: usize, steps: usize, epochs: usize) -> f64 {
        let e = epoch as f64 + step as f64 / steps as f64;
        let course = match self.course {
            Course::Constant => 1.0,
            Course::Cosine { floor } => {
                let turn = std::f64::consts::PI * e / epochs as f64;
                floor + (1.0 - floor) * (1.0 + turn.cos()) / 2.0
            }
            Course::Step { every, factor } => factor.powi((epoch / every) as i32),
            Course::Exponential { factor } => factor.powf(e),
        };
        // The rise counts the step to come, so that even the first one moves.
        let risen = e + 1.0 / steps as f64;
        if self.warm_up > 0.0 { course * (risen / self.warm_up).min(1.0) } else { course }
    }
}

/// What gradients are multiplied by so that their global norm is at most `limit`.
pub(crate) fn clip_scale(norm: f64, limit: f64) -> f64 {
    if norm > limit { limit / norm } else { 1.0 }
}

/// The sum of squares, in a fixed order.
pub(crate) fn squares(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

pub(crate) fn positive(field: &'static str, value: f64) -> Result<(), SpecError> {
    within(field, value, value > 0.0, "above 0")
}

pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<(), SpecError> {
    within(field, value, value >= 0.0, "at least 0")
}

pub(crate) fn fraction(field: &'static str, value: f64) -> Result<(), SpecError> {
    within(field, value, (0.0..=1.0).contains(&value), "from 0 to 1")
}

fn positive_fraction(field: &'static str, value: f64) -> Result<(), SpecError> {
    within(field, value, value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

pub(crate) fn below_one(field: &'static str, value: f64) -> Result<(), SpecError> {
    within(field, value, (0.0..1.0).contains(&value), "at least 0 and below 1")
}

pub(crate) fn at_least_one(field: &'static str, value: usize) -> Result<(), SpecError> {
    within(field, value as f64, value >= 1, "at least 1")
}

fn within(field: &'static str, value: f64, inside: bool, range: &'static str) -> Result<(), SpecError> {
    if inside && value.is_finite() { Ok(()) } else { Err(SpecError::Range { field, value, range }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_follow_their_formulas() {
        let at = |schedule: &Schedule, epoch, step| schedule.factor(epoch, step, 4, 10);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} instead of {b}");
        let course = |course| Schedule { warm_up: 0.0, course };
        close(at(&Schedule::default(), 7, 3), 1.0);
        close(at(&course(Course::Cosine { floor: 0.2 }), 0, 0), 1.0);
        close(at(&course(Course::Cosine { floor: 0.2 }), 5, 0), 0.6);
        close(at(&course(Course::Step { every: 3, factor: 0.5 }), 7, 0), 0.25);
        close(at(&course(Course::Exponential { factor: 0.25 }), 1, 2), 0.125);
        // Two epochs of four steps: the first step has an eighth, the eighth all.
        let rising = Schedule { warm_up: 2.0, course: Course::Constant };
        close(at(&rising, 0, 0), 0.125);
        close(at(&rising, 1, 3), 1.0);
        close(at(&rising, 3, 0), 1.0);
    }

    #[test]
    fn clipping_bounds_the_norm_and_leaves_small_gradients_alone() {
        assert_eq!(clip_scale(4.0, 1.0), 0.25);
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let adam = |change: fn(&mut Adam)| {
            let mut adam = Adam::default();
            change(&mut adam);
            Optimizer::Adam(adam).check().map_err(|error| error.to_string())
        };
        let sgd = |momentum| Optimizer::Sgd(Sgd { momentum, ..Sgd::default() }).check().map_err(|error| error.to_string());
        let schedule = |warm_up, course| Schedule { warm_up, course }.check().map_err(|error| error.to_string());
        for (result, part) in [
            (adam(|a| a.rate = 0.0), "`rate` is 0, but must be above 0"),
            (adam(|a| a.rate = f64::NAN), "`rate` is NaN"),
            (adam(|a| a.betas.1 = 1.0), "`betas` is 1, but must be at least 0 and below 1"),
            (adam(|a| a.eps = f64::INFINITY), "`eps` is inf"),
            (adam(|a| a.decay.embeddings = -1.0), "`decay.embeddings` is -1"),
            (adam(|a| a.decay.weights = 1000.0), "below 1 / rate"),
            (sgd(1.0), "`momentum` is 1"),
            (schedule(-1.0, Course::Constant), "`warm_up` is -1"),
            (schedule(0.0, Course::Cosine { floor: 2.0 }), "`floor` is 2"),
            (schedule(0.0, Course::Step { every: 0, factor: 0.5 }), "`every` is 0"),
            (schedule(0.0, Course::Exponential { factor: 0.0 }), "`factor` is 0"),
        ] {
            assert!(result.as_ref().is_err_and(|message| message.contains(part)), "{part}: {result:?}");
        }
        assert_eq!(adam(|_| {}), Ok(()));
        assert_eq!(sgd(0.9), Ok(()));
    }
}
