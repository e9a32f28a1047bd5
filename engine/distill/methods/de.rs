//! `de`: distillation experts (Kang, Hwang, Kweon and Yu, *DE-RRD: A Knowledge Distillation Framework for Recommender System*, 2020,
//! equations 2 to 5). What the teacher knows of a user, and of an item, is in its embedding. Small networks, the experts, make it from the
//! student's embedding, and each user and item is left to few of them, so that those which are alike to the teacher share an expert:
//!
//! ```text
//! task + weight * sum over user, item of d( sum_m s_m E_m(student's embedding), teacher's embedding )
//! s = softmax( (S(teacher's embedding) + Gumbel's noise) / tau )
//! ```
//!
//! S is a linear selection network. tau falls from `start` to `end` over some epochs, by the same factor in each: at first every expert learns
//! from everybody, at last from those that chose it. Users and items have experts of their own. The distance is taken over the rows of the
//! batch, so who rates more is seen oftener; the paper takes each user and item of a batch once.
//!
//! With the default distance an error is divided by the variance of the cached teacher's numbers, so the loss does not depend on how large
//! embeddings are; `mse` is the paper's, over the number of dimensions.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, TeacherNeeds, check_corr, missing};
use crate::distance::{Distance, frozen_weights};
use crate::error::{SpecError, TrainError};
use crate::models::ModelSpec;
use crate::modules::{Mlp, Shape, last};
use crate::objective::Term;
use crate::ops::{Activation, Ops, Var};
use crate::optim::{at_least_one, not_negative, positive};
use crate::params::{LayerId, Params};
use crate::random::{Rng, Role};
use crate::teacher::{TeacherSpec, TeacherView};

/// Settings of `de`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct De {
    /// Weight of the two distances; above 0. Default 0.1.
    pub weight: f64,
    /// Experts for users, and as many for items; at least 1. Default 5.
    pub experts: usize,
    /// Hidden width of an expert, at least 1; none: halfway between the widths of the two embeddings. Default none.
    pub expert_hidden: Option<usize>,
    /// The distance. Default `mse_frozen_std`.
    pub distance: Distance,
    /// How soft the choice of experts is.
    pub temperature: Annealed,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

/// A temperature that falls by the same factor in each epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Annealed {
    /// Where it begins; above 0. Default 1.
    pub start: f64,
    /// Where it ends; above 0, at most `start`. Default 0.01.
    pub end: f64,
    /// Epochs until then; above 0. Default 10.
    pub epochs: f64,
}

impl Default for De {
    fn default() -> Self {
        De {
            weight: 0.1,
            experts: 5,
            expert_hidden: None,
            distance: Distance::MseFrozenStd,
            temperature: Annealed::default(),
            warm_up: 0.0,
        }
    }
}

impl Default for Annealed {
    fn default() -> Self {
        Annealed { start: 1.0, end: 0.01, epochs: 10.0 }
    }
}

impl Annealed {
    /// What it is when so many epochs are done.
    fn after(&self, epochs: f64) -> f64 {
        self.start * (self.end / self.start).powf((epochs / self.epochs).min(1.0))
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { embeddings: true, ..TeacherNeeds::NONE };

impl De {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        not_negative("warm_up", self.warm_up)?;
        at_least_one("experts", self.experts)?;
        if let Some(hidden) = self.expert_hidden {
            at_least_one("expert_hidden", hidden)?;
        }
        let Annealed { start, end, epochs } = self.temperature;
        for (field, value) in [("temperature.start", start), ("temperature.end", end), ("temperature.epochs", epochs)] {
            positive(field, value)?;
        }
        if end > start {
            return Err(SpecError::Contradiction {
                method: "de",
                what: format!("a temperature that rises from {start} to {end}"),
                advice: "let `temperature.end` be at most `temperature.start`",
            });
        }
        check_corr("de", self.distance, batch)?;
        let student = ("student", student.embedding(), student.name());
        let teacher = teacher.map(|teacher| ("teacher", teacher.embedding(), teacher.name()));
        for (who, embedding, name) in [Some(student), teacher].into_iter().flatten() {
            if embedding.is_none() {
                return Err(SpecError::Model {
                    method: "de",
                    needs: "embeddings",
                    who,
                    has: format!("none (model `{name}`)"),
                    advice: "give it an `ncf` or `mf` model",
                });
            }
        }
        Ok(())
    }

    pub(super) fn build<D: Ops>(
        &self,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Built, TrainError> {
        let failed = crate::device::failed::<D>;
        let (own, states) = student.embedding().zip(teacher.embeddings).ok_or_else(|| missing("embeddings"))?;
        let theirs = states.width / 2;
        let shape = Shape::new(own, Some(self.expert_hidden.unwrap_or_else(|| own.midpoint(theirs))), theirs);
        let mut side = |name: &'static str, from: usize| -> Result<Side, TrainError> {
            let expert = |m: usize, modules: &mut Params<D>| {
                Mlp::fresh(modules, seed, &format!("de.{name}.expert.{m}"), shape, Activation::None)
            };
            let selection = format!("de.{name}.selection");
            Ok(Side {
                name,
                at: usize::from(from > 0),
                selection: modules
                    .fresh(seed, Role::Modules, &selection, (theirs, self.experts), Activation::None.gain())
                    .map_err(failed)?,
                experts: (0..self.experts).map(|m| expert(m, modules)).collect::<Result<_, _>>().map_err(failed)?,
                frozen: frozen_weights(&states.variance[from..from + theirs]),
            })
        };
        let sides = [side("user", 0)?, side("item", theirs)?];
        Ok(Built { settings: self.clone(), widths: (own, theirs), sides })
    }
}

/// `de`, with its experts.
pub(super) struct Built {
    settings: De,
    /// Of an embedding of the student's, and of the teacher's.
    widths: (usize, usize),
    sides: [Side; 2],
}

/// The experts for users, or those for items.
struct Side {
    name: &'static str,
    /// 0 where embeddings of users are, 1 behind them.
    at: usize,
    selection: LayerId,
    experts: Vec<Mlp>,
    frozen: Option<Vec<f32>>,
}

impl Side {
    /// What the experts make of the student's embeddings, each as much as it is chosen by the teacher's.
    fn reconstruct<D: Ops>(
        &self,
        step: &mut Step<'_, D>,
        (own, theirs): (&Var<D>, &Var<D>),
        temperature: f64,
    ) -> Result<Option<Var<D>>, D::Err> {
        let selection = step.modules.layer(self.selection).then(Activation::None);
        let logits = step.graph.run(theirs, vec![selection]).map(last)?;
        let noise = noise(self.name, step.dropout.seed, step.dropout.step, logits.rows() * logits.cols());
        let chosen = step.graph.softmax(&logits, &noise, temperature)?;
        let mut sum = None;
        for (m, expert) in self.experts.iter().enumerate() {
            let made = expert.apply(step.graph, step.modules, own)?;
            let part = step.graph.times_column(&made, &chosen, m)?;
            sum = Some(match sum {
                Some(sum) => step.graph.add(&sum, &part)?,
                None => part,
            });
        }
        Ok(sum)
    }
}

/// What is added to the choices of a step's rows.
pub(super) fn noise(side: &str, seed: u64, step: u64, len: usize) -> Vec<f32> {
    let mut rng = Rng::stream(seed, Role::Step, &format!("experts.{side}"), step);
    (0..len).map(|_| rng.gumbel()).collect()
}

impl<D: Ops> Learner<D> for Built {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let (forward, teacher) = (step.forward, step.teacher);
        let (Some(own), Some(theirs)) = (&forward.embeddings, &teacher.embeddings) else { return Ok(()) };
        let De { weight, distance, ref temperature, warm_up, .. } = self.settings;
        let (weight, temperature) = (weight * step.ramp(warm_up), temperature.after(step.progress));
        for side in &self.sides {
            let mut half = |of: &Var<D>, width: usize| step.graph.columns(of, side.at * width, (side.at + 1) * width);
            let (own, theirs) = (half(own, self.widths.0)?, half(theirs, self.widths.1)?);
            if let Some(made) = side.reconstruct(step, (&own, &theirs), temperature)? {
                step.distance(Term::De, weight, distance, (&made, &theirs), side.frozen.as_deref());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_fall_by_the_same_factor() {
        let annealed = Annealed { start: 8.0, end: 0.5, epochs: 4.0 };
        let found = [0.0, 1.0, 2.0, 4.0, 9.0].map(|epochs| annealed.after(epochs));
        for (found, expected) in found.into_iter().zip([8.0, 4.0, 2.0, 0.5, 0.5]) {
            assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
        }
    }

    /// Mean Euler's constant, variance pi^2 / 6; of each row, step and side another.
    #[test]
    fn noise_is_gumbels() {
        let drawn = noise("user", 1, 0, 40_000);
        let mean = drawn.iter().map(|&x| f64::from(x)).sum::<f64>() / 4e4;
        let variance = drawn.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 4e4;
        assert!((mean - 0.577_2).abs() < 0.02, "{mean}");
        assert!((variance - 1.644_9).abs() < 0.05, "{variance}");
        assert_ne!(noise("user", 1, 1, 5), drawn[..5]);
        assert_ne!(noise("item", 1, 0, 5), drawn[..5]);
    }
}
