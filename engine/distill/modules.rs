//! Training-only modules: small networks between the states of two models. Their weights are dropped with training.
//!
//! The room knows no protocols: it is told widths and names.

use crate::graph::Graph;
use crate::ops::{Activation, Link, Ops, Var};
use crate::params::{LayerId, Params};
use crate::random::Role;

/// Widths of a two-layer network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
}

impl Shape {
    /// With the hidden width given, or else the larger of the two ends.
    pub(crate) fn new(inputs: usize, hidden: Option<usize>, outputs: usize) -> Self {
        Shape { inputs, hidden: hidden.unwrap_or(inputs.max(outputs)), outputs }
    }

    /// Weights and biases of both layers.
    pub(crate) fn numbers(self) -> usize {
        (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.outputs
    }
}

/// Dense, ReLU, dense; a ReLU more where it writes into a state that has gone through one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mlp {
    first: LayerId,
    second: LayerId,
    end: Activation,
}

impl Mlp {
    /// Adds fresh weights to `modules`.
    pub(crate) fn fresh<D: Ops>(
        modules: &mut Params<D>,
        seed: u64,
        name: &str,
        shape: Shape,
        end: Activation,
    ) -> Result<Self, D::Err> {
        let mut layer = |index: usize, ends: (usize, usize), activation: Activation| {
            modules.fresh(seed, Role::Modules, &format!("{name}.{index}"), ends, activation.gain())
        };
        Ok(Mlp {
            first: layer(0, (shape.inputs, shape.hidden), Activation::Relu)?,
            second: layer(1, (shape.hidden, shape.outputs), end)?,
            end,
        })
    }

    /// The two layers, in a run: (batch, inputs) to (batch, outputs).
    pub(crate) fn links<D: Ops>(&self, modules: &Params<D>) -> [Link<D>; 2] {
        [modules.layer(self.first).then(Activation::Relu), modules.layer(self.second).then(self.end)]
    }

    /// (batch, inputs) to (batch, outputs).
    pub(crate) fn apply<D: Ops>(&self, graph: &mut Graph<D>, modules: &Params<D>, x: &Var<D>) -> Result<Var<D>, D::Err> {
        graph.run(x, self.links(modules).into()).map(last)
    }
}

/// What the last layer of a run made.
///
/// # Panics
/// If there was none.
pub(crate) fn last<D: Ops>(mut states: Vec<Var<D>>) -> Var<D> {
    states.pop().unwrap_or_else(|| unreachable!("a run has a layer"))
}
