//! `ncf`: dense layers with ReLU on the concatenated embeddings of user and item (He et al., *Neural Collaborative Filtering*, 2017).
//!
//! low = the first hidden layer, high = the last; the layers between are `up`, the layer after it the head. Dropout acts on the input
//! of every dense layer but the first, so the states themselves are free of it.

use serde::{Deserialize, Serialize};

use super::Wide;
use crate::error::SpecError;
use crate::graph::Graph;
use crate::models::student::{Deep, Dropout};
use crate::ops::{Activation, Layer, Ops, Var};
use crate::optim::{at_least_one, below_one, positive};

/// Settings of an `ncf` model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ncf {
    /// Numbers in the embedding of a user, and of an item; at least 1. Default 16.
    pub embedding: usize,
    /// Widths of the hidden layers, at least one layer, each at least 1. Default 32, 16.
    pub hidden: Vec<usize>,
    /// Dropout probability on the input of every dense layer but the first; in `[0, 1)`, rounded to 1/65536. Default 0.
    pub dropout: f64,
    /// Standard deviation of the initial embeddings; above 0. Default 0.1.
    pub embedding_sd: f64,
    /// How the bias terms begin.
    pub wide: Wide,
}

impl Default for Ncf {
    fn default() -> Self {
        Ncf { embedding: 16, hidden: vec![32, 16], dropout: 0.0, embedding_sd: 0.1, wide: Wide::default() }
    }
}

impl Ncf {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        at_least_one("embedding", self.embedding)?;
        at_least_one("hidden", self.hidden.len())?;
        for &width in &self.hidden {
            at_least_one("hidden", width)?;
        }
        below_one("dropout", self.dropout)?;
        positive("embedding_sd", self.embedding_sd)
    }

    /// Inputs and outputs of the hidden layers.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (usize, usize)> {
        let inputs = std::iter::once(2 * self.embedding).chain(self.hidden.iter().copied());
        inputs.zip(self.hidden.iter().copied())
    }
}

/// The hidden layers above the low state, applied to a low state of whatever origin. `place` names the dropout streams.
pub(crate) fn up<D: Ops>(
    graph: &mut Graph<D>,
    low: &Var<D>,
    upper: &[Layer<D>],
    dropout: &Dropout,
    place: &str,
) -> Result<Var<D>, D::Err> {
    let mut state = low.clone();
    for (index, layer) in upper.iter().enumerate() {
        let mask = dropout.mask(&format!("{place}.{}", index + 1), &state);
        state = graph.dense(&state, layer, Activation::Relu, mask)?;
    }
    Ok(state)
}

/// The deep path on a batch of joined embeddings (batch, 2 e).
pub(crate) fn deep<D: Ops>(
    graph: &mut Graph<D>,
    embeddings: &Var<D>,
    hidden: &[Layer<D>],
    head: &Layer<D>,
    dropout: &Dropout,
) -> Result<Deep<D>, D::Err> {
    let (first, upper) = hidden.split_at(1);
    let low = graph.dense(embeddings, &first[0], Activation::Relu, None)?;
    let high = up(graph, &low, upper, dropout, "layers")?;
    let mask = dropout.mask("head", &high);
    let output = graph.dense(&high, head, Activation::None, mask)?;
    Ok(Deep { low, high, output })
}
