//! `dkd`: the divergence from the teacher's probabilities, taken apart (Zhao, Cui, Song, Qiu and Liang, *Decoupled Knowledge Distillation*, 2022,
//! equations 5 to 7). With p = softmax(z / T) and q = softmax(yhat / T), y a row's class, and p', q' the probabilities of the other classes
//! among themselves:
//!
//! ```text
//! task + alpha * T^2 KL( (p_y, 1 - p_y) || (q_y, 1 - q_y) ) + beta * T^2 KL( p' || q' )
//! ```
//!
//! each a mean over rows. In the whole divergence the second term has the weight 1 - p_y, so that the surer the teacher is, the less is learnt
//! of what it knows about other classes. Of two classes one is left, and the second term is 0.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds};
use crate::error::SpecError;
use crate::losses::log_softmax;
use crate::objective::Term;
use crate::ops::Ops;
use crate::optim::{not_negative, positive};
use crate::task::Targets;

/// Settings of `dkd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dkd {
    /// Weight of the divergence over a row's own class and all others together; at least 0. Default 1.
    pub alpha: f64,
    /// Weight of the divergence among the other classes; at least 0, and one of both above. Default 8.
    pub beta: f64,
    /// T: how much the probabilities are evened out; above 0. Default 4.
    pub temperature: f64,
    /// Epochs over which both weights rise from 0; at least 0. Default 0; the paper's on CIFAR-100 is 20.
    pub warm_up: f64,
}

impl Default for Dkd {
    fn default() -> Self {
        Dkd { alpha: 1.0, beta: 8.0, temperature: 4.0, warm_up: 0.0 }
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { output: true, ..TeacherNeeds::NONE };

impl Dkd {
    /// The terms beside the task's.
    pub(super) fn terms(&self) -> impl Iterator<Item = Term> + use<> {
        [(Term::OwnClass, self.alpha), (Term::OtherClasses, self.beta)]
            .into_iter()
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(term, _)| term)
    }

    pub(super) fn check(&self) -> Result<(), SpecError> {
        not_negative("alpha", self.alpha)?;
        not_negative("beta", self.beta)?;
        positive("temperature", self.temperature)?;
        not_negative("warm_up", self.warm_up)?;
        if self.alpha == 0.0 && self.beta == 0.0 {
            return Err(SpecError::Contradiction {
                method: "dkd",
                what: "neither term has a weight, so nothing would be distilled".to_owned(),
                advice: "give `alpha` or `beta` a value above 0, or use the method `scratch`",
            });
        }
        Ok(())
    }
}

impl<D: Ops> Learner<D> for Dkd {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let (teacher, forward, targets) = (step.teacher, step.forward, step.targets);
        let (Some(target), Targets::Classes(labels)) = (&teacher.output, targets) else { return Ok(()) };
        let ramp = step.ramp(self.warm_up);
        for term in self.terms() {
            let own = term == Term::OwnClass;
            let weight = ramp * if own { self.alpha } else { self.beta };
            step.loss(term, weight, &forward.output, |made, gradient| {
                decoupled((made, target), labels, self.temperature, own, weight, gradient)
            });
        }
        Ok(())
    }
}

/// What log probabilities say of a class: its own, that of all others together, and those of the others among themselves, with the class itself at
/// minus infinity.
fn apart(logs: &[f64], label: usize) -> (f64, f64, Vec<f64>) {
    let others = || logs.iter().enumerate().filter(|(class, _)| *class != label).map(|(_, log)| *log);
    let most = others().fold(f64::NEG_INFINITY, f64::max);
    let all = most + others().map(|log| (log - most).exp()).sum::<f64>().ln();
    let among = logs.iter().enumerate().map(|(class, log)| if class == label { f64::NEG_INFINITY } else { log - all });
    (logs[label], all, among.collect())
}

/// One of the two terms. Its gradient with regard to the logits `made`, times `scale`, goes into `gradient`.
fn decoupled(
    (made, target): (&[f32], &[f32]),
    labels: &[u32],
    temperature: f64,
    own: bool,
    scale: f64,
    gradient: &mut [f32],
) -> f64 {
    let (rows, classes) = (labels.len() as f64, made.len() / labels.len());
    let factor = scale * temperature / rows;
    let mut sum = 0.0;
    let batch = made.chunks_exact(classes).zip(target.chunks_exact(classes)).zip(gradient.chunks_exact_mut(classes));
    for (((made, target), gradient), &label) in batch.zip(labels) {
        let label = label as usize;
        let (q, q_rest, q_among) = apart(&log_softmax(made, temperature), label);
        let (p, p_rest, p_among) = apart(&log_softmax(target, temperature), label);
        // The class moves by q_y - p_y and the others share out the opposite as they share their probability; or they move among themselves.
        let moved = q.exp() - p.exp();
        for (class, gradient) in gradient.iter_mut().enumerate() {
            let slope = match (own, class == label) {
                (true, true) => moved,
                (true, false) => -moved * q_among[class].exp(),
                (false, true) => 0.0,
                (false, false) => q_among[class].exp() - p_among[class].exp(),
            };
            *gradient = (factor * slope) as f32;
        }
        // Of what is as good as impossible to the teacher nothing is learnt.
        let part = |p: f64, q: f64| if p.exp() > 0.0 { p.exp() * (p - q) } else { 0.0 };
        sum += match own {
            true => part(p, q) + part(p_rest, q_rest),
            false => p_among.iter().zip(&q_among).map(|(p, q)| part(*p, *q)).sum(),
        };
    }
    temperature.powi(2) * sum / rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::divergence;
    use crate::losses::tests::{LOGITS, TARGET, assert_slopes};

    const LABELS: [u32; 3] = [2, 0, 3];

    #[test]
    fn slopes_are_those_of_finite_differences() {
        for temperature in [1.0, 4.0] {
            for own in [true, false] {
                assert_slopes(&LOGITS, |x, gradient| decoupled((x, &TARGET), &LABELS, temperature, own, 1.0, gradient));
            }
        }
    }

    /// Equation 6: the whole divergence is the first term and the second, weighed in each row by 1 - p_y.
    #[test]
    fn both_terms_make_up_the_divergence() {
        let mut gradient = [0.0; 4];
        for (row, label) in LABELS.into_iter().enumerate() {
            let [made, target] = [&LOGITS, &TARGET].map(|logits| &logits[row * 4..][..4]);
            for temperature in [1.0, 3.0] {
                let mut term = |own| decoupled((made, target), &[label], temperature, own, 1.0, &mut gradient);
                let sure = log_softmax(target, temperature)[label as usize].exp();
                let parts = term(true) + (1.0 - sure) * term(false);
                let whole = divergence((made, target), 4, temperature, 1.0, &mut [0.0; 4]);
                assert!((parts - whole).abs() < 1e-9, "{parts} {whole}");
            }
        }
    }

    /// Two classes, or one that is as good as certain: no term is no number.
    #[test]
    fn extremes_stay_finite() {
        let mut gradient = [f32::NAN; 2];
        for (made, target) in [([1e4f32, 0.0], [0.0f32, 1e4]), ([0.0, 1e4], [0.0, 1e4]), ([0.0, 1.0], [1.0, 0.0])] {
            assert!(decoupled((&made, &target), &[0], 1.0, true, 1.0, &mut gradient).is_finite());
            assert!(gradient.iter().all(|g| g.is_finite()));
            assert_eq!(decoupled((&made, &target), &[0], 1.0, false, 1.0, &mut gradient), 0.0);
            assert_eq!(gradient, [0.0; 2]);
        }
    }
}
