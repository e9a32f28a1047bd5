//! `feature`: learning from the teacher's high state (FitNets; Romero et al., *FitNets: Hints for Thin Deep Nets*, 2015):
//! `task + weight * d(r(s), t)`, s the student's high state, t the teacher's, r a trainable projector.
//!
//! With the default distance, d = mean over dimensions of (t - r(s))^2 / var(t), the variance being the cached teacher's.

use serde::{Deserialize, Serialize};

use super::{Learner, Step, check_corr, check_high, high_ends};
use crate::distance::{Distance, frozen_weights};
use crate::error::{SpecError, TrainError};
use crate::graph::Graph;
use crate::models::ModelSpec;
use crate::modules::{Mlp, Shape, last};
use crate::objective::Term;
use crate::ops::{Activation, Ops, Var};
use crate::optim::at_least_one;
use crate::params::{LayerId, Params};
use crate::random::Role;
use crate::teacher::{TeacherSpec, TeacherView};

/// Settings of `feature`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Weight of the term; above 0. Default 0.1.
    pub weight: f64,
    /// The distance. Default `mse_frozen_std`.
    pub distance: Distance,
    /// Hidden width of the projector, at least 1; none makes it a single dense layer. Default none.
    pub projector_hidden: Option<usize>,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for Feature {
    fn default() -> Self {
        Feature { weight: 0.1, distance: Distance::MseFrozenStd, projector_hidden: None, warm_up: 0.0 }
    }
}

impl Feature {
    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        if let Some(hidden) = self.projector_hidden {
            at_least_one("projector_hidden", hidden)?;
        }
        check_corr("feature", self.distance, batch)?;
        check_high("feature", (self.weight, self.warm_up), student, teacher)
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
        let projector = Projector::fresh(modules, seed, "feature.projector", ends, self.projector_hidden);
        let projector = projector.map_err(crate::device::failed::<D>)?;
        Ok(Built { settings: self.clone(), projector, frozen: frozen_weights(states.variance) })
    }
}

/// Refuses a teacher without a high state.
pub(super) fn check_teacher_high(method: &'static str, teacher: Option<&TeacherSpec>) -> Result<(), SpecError> {
    match teacher {
        Some(teacher) if teacher.high_width().is_none() => Err(SpecError::Model {
            method,
            needs: "a teacher with hidden states",
            who: "teacher",
            has: format!("none (model `{}`)", teacher.name()),
            advice: "give the teacher an `ncf` model, or use the method `label`",
        }),
        _ => Ok(()),
    }
}

/// From the student's state to one of the teacher's width.
pub(super) enum Projector {
    Linear(LayerId),
    Deep(Mlp),
}

impl Projector {
    /// A fresh one: two layers where a hidden width is given.
    pub(super) fn fresh<D: Ops>(
        modules: &mut Params<D>,
        seed: u64,
        name: &str,
        (inputs, outputs): (usize, usize),
        hidden: Option<usize>,
    ) -> Result<Self, D::Err> {
        let end = Activation::None;
        Ok(match hidden {
            Some(hidden) => Self::Deep(Mlp::fresh(modules, seed, name, Shape::new(inputs, Some(hidden), outputs), end)?),
            None => Self::Linear(modules.fresh(seed, Role::Modules, name, (inputs, outputs), end.gain())?),
        })
    }

    /// (batch, inputs) to (batch, outputs).
    pub(super) fn apply<D: Ops>(&self, graph: &mut Graph<D>, modules: &Params<D>, x: &Var<D>) -> Result<Var<D>, D::Err> {
        match self {
            Self::Linear(id) => graph.run(x, vec![modules.layer(*id).then(Activation::None)]).map(last),
            Self::Deep(mlp) => mlp.apply(graph, modules, x),
        }
    }
}

/// `feature`, with its projector.
pub(super) struct Built {
    settings: Feature,
    projector: Projector,
    frozen: Option<Vec<f32>>,
}

impl<D: Ops> Learner<D> for Built {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        let (Some(deep), Some(target)) = (&step.forward.deep, &step.teacher.high) else {
            return Ok(());
        };
        let projected = self.projector.apply(step.graph, step.modules, &deep.high)?;
        let weight = self.settings.weight * step.ramp(self.settings.warm_up);
        step.distance(Term::Feature, weight, self.settings.distance, (&projected, target), self.frozen.as_deref());
        Ok(())
    }
}
