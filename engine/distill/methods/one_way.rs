//! `one_way`: a talk without rounds. The teacher's high state goes through its encoder and the student's decoder:
//! `task + weight * d(s, D_S(E_T(t_h)))`, which is feature distillation through adapters.
//!
//! It shares the code, the module names and so the initial modules of `talk`, and differs from it by the missing conversation alone.
//! Widened, its two modules have as many parameters as the four of a talk: then it differs from a talk by what is said, not by size.

use serde::{Deserialize, Serialize};

use super::talk::{Distances, Talk, Tap, Weights};
use super::{TeacherNeeds, missing};
use crate::distance::Distance;
use crate::error::{SpecError, TrainError};
use crate::models::ModelSpec;
use crate::modules::Shape;
use crate::optim::positive;
use crate::teacher::{TeacherSpec, TeacherView};

/// Settings of `one_way`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneWay {
    /// Weight of the term; above 0. Default 0.1.
    pub weight: f64,
    /// The distance. Default `corr`.
    pub distance: Distance,
    /// The student's state that is compared. Default `high`.
    pub into: Tap,
    /// Width of a message, at least 1. Default 16.
    pub message_dim: usize,
    /// Hidden width of the modules, at least 1; none: the larger of a module's two ends. Default none.
    pub module_hidden: Option<usize>,
    /// Widen the hidden layer of both modules until they have the parameters of all four modules of a circular talk
    /// with the same `message_dim` and `module_hidden`. Default false.
    pub widened: bool,
    /// Epochs over which the weight rises from 0; at least 0. Default 0.
    pub warm_up: f64,
}

impl Default for OneWay {
    fn default() -> Self {
        OneWay {
            weight: 0.1,
            distance: Distance::Corr,
            into: Tap::High,
            message_dim: 16,
            module_hidden: None,
            widened: false,
            warm_up: 0.0,
        }
    }
}

impl OneWay {
    /// The talk that this is.
    pub(super) fn as_talk(&self) -> Talk {
        Talk {
            rounds: 0,
            message_dim: self.message_dim,
            module_hidden: self.module_hidden,
            weights: Weights { interact: 0.0, message: 0.0, state: 0.0, student_state: self.weight, label: 0.0 },
            distances: Distances { student_state: self.distance, ..Distances::default() },
            student_state_into: self.into,
            warm_up: self.warm_up,
            ..Talk::default()
        }
    }

    /// Widened, the width of the low states is needed too, and nothing else of them.
    pub(super) fn needs(&self) -> TeacherNeeds {
        TeacherNeeds { low: self.widened, ..self.as_talk().needs() }
    }

    pub(super) fn check(&self, student: &ModelSpec, teacher: Option<&TeacherSpec>, batch: usize) -> Result<(), SpecError> {
        positive("weight", self.weight)?;
        self.as_talk().check("one_way", student, teacher, batch)
    }

    /// The hidden width of the modules, with widening.
    pub(super) fn module_hidden(&self, student: &ModelSpec, teacher: &TeacherView<'_>) -> Result<Option<usize>, TrainError> {
        if !self.widened {
            return Ok(self.module_hidden);
        }
        let (Some(low), Some(high)) = (&teacher.low, &teacher.high) else {
            return Err(missing("low and high states"));
        };
        let (Some(student_low), Some(student_high)) = (student.low_width(), student.high_width()) else {
            return Err(missing("student states"));
        };
        let shape = |inputs, outputs| Shape::new(inputs, self.module_hidden, outputs).numbers();
        let m = self.message_dim;
        let four = shape(student_high, m) + shape(m, low.width) + shape(high.width, m) + shape(m, student_low);
        let into = match self.into {
            Tap::Low => student_low,
            Tap::High => student_high,
        };
        // Both modules together: hidden * (high + 1 + m + m + 1 + into) + m + into, solved for the hidden width.
        let slope = (high.width + into + 2 * m + 2) as f64;
        let hidden = ((four - m - into) as f64 / slope).round() as usize;
        Ok(Some(hidden.max(1)))
    }
}
