//! `scratch`: the task, and nothing else.

use super::{Learner, Step};
use crate::ops::Ops;

/// The task alone.
pub(super) struct Scratch;

impl<D: Ops> Learner<D> for Scratch {
    fn terms(&self, step: &mut Step<'_, D>) -> Result<(), D::Err> {
        step.task();
        Ok(())
    }
}
