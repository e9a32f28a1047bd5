//! `iakd_adapter`: interaction by swapping layers (after Fu et al., *Interactive Knowledge Distillation for Image Classification*, 2021).
//! There, blocks of a student are replaced by the teacher's at random while it is trained, which asks for models of one shape. Here the
//! modules of a talk make them fit: in each step, with a given probability, the task is solved from the state that the student makes of
//! the teacher's reply, by its own upper layers and head, instead of from its own:
//!
//! ```text
//! task( head_S(s_h) )   or, with probability p,   task( head_S(u_1) ),   u_1 = up_S(D_S(E_T(up_T(D_T(E_S(s_h))))))
//! ```
//!
//! It has the modules and the conversation of `talk` with one round of `circular`, and no other loss than the task's.

use serde::{Deserialize, Serialize};

use super::conversation;
use super::talk::{Talk, Weights};
use super::{Learner, Step, TeacherNeeds};
use crate::error::{SpecError, TrainError};
use crate::models::ModelSpec;
use crate::modules::last;
use crate::objective::Term;
use crate::ops::{Activation, Link, Ops};
use crate::optim::positive;
use crate::params::Params;
use crate::random::{Rng, Role};
use crate::teacher::{TeacherSpec, TeacherView};

/// Settings of `iakd_adapter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IakdAdapter {
    /// How likely a step is to go by way of the teacher; above 0, at most 1. Default 0.5.
    pub probability: f64,
    /// Width of a message, at least 1. Default 16.
    pub message_dim: usize,
    /// Hidden width of the modules, at least 1; none: the larger of a module's two ends. Default none.
    pub module_hidden: Option<usize>,
}

impl Default for IakdAdapter {
    fn default() -> Self {
        IakdAdapter { probability: 0.5, message_dim: 16, module_hidden: None }
    }
}

pub(super) const NEEDS: TeacherNeeds = TeacherNeeds { low: true, upper_layers: true, ..TeacherNeeds::NONE };

impl IakdAdapter {
    /// The talk whose modules these are.
    pub(super) fn as_talk(&self) -> Talk {
        let none = Weights { interact: 1.0, message: 0.0, state: 0.0, student_state: 0.0, label: 0.0 };
        let (message_dim, module_hidden) = (self.message_dim, self.module_hidden);
        Talk { rounds: 1, message_dim, module_hidden, weights: none, ..Talk::default() }
    }

    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        positive("probability", self.probability)?;
        if self.probability > 1.0 {
            return Err(SpecError::Contradiction {
                method: "iakd_adapter",
                what: format!("a probability of {}", self.probability),
                advice: "give `probability` a value above 0 and at most 1",
            });
        }
        // Nothing is correlated: any batch will do.
        self.as_talk().check("iakd_adapter", student, teacher, batch.max(crate::distance::CORR_ROWS))
    }

    pub(super) fn build<D: Ops>(
        &self,
        device: &D,
        student: &ModelSpec,
        teacher: &TeacherView<'_>,
        seed: u64,
        modules: &mut Params<D>,
    ) -> Result<Built<D>, TrainError> {
        let talk = self.as_talk().build(device, self.module_hidden, student, teacher, seed, modules)?;
        Ok(Built { probability: self.probability, talk })
    }
}

/// `iakd_adapter`, with its modules.
pub(super) struct Built<D: Ops> {
    probability: f64,
    talk: conversation::Built<D>,
}

/// Whether a step goes by way of the teacher.
pub(super) fn swaps(probability: f64, seed: u64, step: u64) -> bool {
    let draw = Rng::stream(seed, Role::Step, "iakd", step).next_u64() >> 11;
    (draw as f64) < probability * (1u64 << 53) as f64
}

impl<D: Ops> Learner<D> for Built<D> {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        if !swaps(self.probability, step.dropout.seed, step.dropout.step) {
            step.task();
            return Ok(());
        }
        let (forward, student) = (step.forward, step.student);
        let (Some(deep), Some(head)) = (&forward.deep, student.head()) else { return Ok(()) };
        let Some(understood) = self.talk.first_reply(step, &deep.low, &deep.high)? else { return Ok(()) };
        let mask = step.dropout.mask(step.graph.pool(), "reply.head", understood.rows() * understood.cols());
        let deep = last(step.graph.run(&understood, vec![Link { mask, ..head.then(Activation::None) }])?);
        let made = match &forward.wide {
            Some(wide) => step.graph.add(&deep, wide)?,
            None => deep,
        };
        step.task_of(Term::Swapped, &made);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_swap_as_often_as_asked_for() {
        let share = |probability| (0..10_000).filter(|step| swaps(probability, 3, *step)).count();
        assert_eq!(share(1.0), 10_000);
        // Five standard deviations of a binomial count.
        assert!(share(0.3).abs_diff(3_000) < 230 && share(0.5).abs_diff(5_000) < 250);
        assert_ne!(
            (0..64).map(|step| swaps(0.5, 1, step)).collect::<Vec<_>>(),
            (0..64).map(|step| swaps(0.5, 2, step)).collect::<Vec<_>>()
        );
    }
}
