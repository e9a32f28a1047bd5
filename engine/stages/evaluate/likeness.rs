//! How alike a student's states are to those of its teacher, on the rows that the student is scored on. A student has the teacher whose matrix
//! values do not contradict its own.

use talkflow_distill::{Examples, RatingModel, Taps, linear_cka};

use super::placing::agrees;
use crate::{
    artifact::Digest,
    stage::Input,
    stages::files::{self, ModelFiles},
};

/// Linear CKA of low and of high states.
#[derive(Clone, Copy, Debug, Default)]
pub struct Likeness {
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The teachers of an evaluation. The states of one are kept: students of the same rows come one after the other.
pub struct Teachers<'a> {
    inputs: &'a [Input<'a>],
    last: Option<(Digest, Digest, Seen)>,
}

/// A model's states of some rows, and which of these it has not really seen.
struct Seen {
    taps: Taps,
    fallback: Vec<bool>,
}

impl Seen {
    fn of(model: &RatingModel, examples: &Examples) -> anyhow::Result<Self> {
        let some = |column: &[u32]| column.iter().copied().map(Some).collect::<Vec<_>>();
        let fallback = model.predict(&some(&examples.user), &some(&examples.item))?.fallback;
        Ok(Self { taps: model.taps(&examples.user, &examples.item)?, fallback })
    }
}

impl<'a> Teachers<'a> {
    pub fn new(inputs: &'a [Input<'a>]) -> Self {
        Self { inputs, last: None }
    }

    /// Of a student on the rows `on`; nothing where it has no teacher, or several.
    pub fn likeness(
        &mut self,
        student: &Input<'_>,
        opened: &ModelFiles,
        examples: &Examples,
        on: Digest,
    ) -> anyhow::Result<Likeness> {
        let mut fitting = self.inputs.iter().filter(|teacher| agrees(teacher, student));
        let (Some(teacher), None) = (fitting.next(), fitting.next()) else { return Ok(Likeness::default()) };
        let digest = teacher.digest();
        if self.last.as_ref().is_none_or(|(of, rows, _)| (*of, *rows) != (digest, on)) {
            self.last = Some((digest, on, Seen::of(&files::model(teacher)?.model, examples)?));
        }
        let Some((.., theirs)) = &self.last else { return Ok(Likeness::default()) };
        let own = Seen::of(&opened.model, examples)?;
        let known: Vec<usize> = (0..examples.len()).filter(|row| !own.fallback[*row] && !theirs.fallback[*row]).collect();
        let cka = |a: &[f32], width_a: usize, b: &[f32], width_b: usize| {
            let of = |states: &[f32], width: usize| -> Vec<f32> {
                known.iter().flat_map(|row| states[row * width..(row + 1) * width].iter().copied()).collect()
            };
            // A model without a deep path has no states.
            (width_a > 0 && width_b > 0).then(|| linear_cka(&of(a, width_a), width_a, &of(b, width_b), width_b)).flatten()
        };
        let (own, theirs) = (&own.taps, &theirs.taps);
        Ok(Likeness {
            low: cka(&own.low, own.low_width, &theirs.low, theirs.low_width),
            high: cka(&own.high, own.high_width, &theirs.high, theirs.high_width),
        })
    }
}
