//! Values drawn at random, the same for the same seed on every machine.
//!
//! Each parameter has a stream of its own for each point, named by seed, parameter and the point's number. So more points, or another
//! parameter beside it, leave the values that were there as they were. Numbers are rounded to six digits: they can be read and
//! typed, and the last bits of a machine's exponential function are not in them.

use talkflow_datasets::Rng;

use crate::manifest::{Node, Value};

/// How a parameter is drawn.
#[derive(Clone, Debug)]
pub(super) enum Distribution {
    /// Evenly from a range.
    Uniform(f64, f64),
    /// So that the logarithm is even.
    LogUniform(f64, f64),
    /// Evenly from whole numbers, both ends included.
    Integers(i64, i64),
    /// Evenly from values.
    Choice(Vec<Node>),
}

/// Where a drawn value stands: with its distribution.
pub(super) struct Drawn<'a> {
    pub seed: u64,
    pub path: &'a str,
    pub place: &'a Node,
}

impl Drawn<'_> {
    /// The value of a point, by the point's number.
    pub(super) fn at(&self, point: usize, from: &Distribution) -> Node {
        let mut rng = Rng::stream(self.seed, &format!("sweep {}", self.path), point as u64);
        let value = match from {
            Distribution::Uniform(low, high) => Value::Float(rounded(low + (high - low) * rng.unit(), *low, *high)),
            Distribution::LogUniform(low, high) => {
                let (from, to) = (low.ln(), high.ln());
                Value::Float(rounded((from + (to - from) * rng.unit()).exp(), *low, *high))
            }
            Distribution::Integers(low, high) => {
                let count = high.abs_diff(*low).saturating_add(1);
                Value::Int(low.saturating_add_unsigned(rng.below(count)))
            }
            Distribution::Choice(values) => match values.get(rng.below(values.len().max(1) as u64) as usize) {
                Some(value) => return value.clone(),
                None => Value::Broken,
            },
        };
        Node::new(self.place.span, value)
    }
}

/// Six digits, within the range.
fn rounded(value: f64, low: f64, high: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value).clamp(low, high)
}
