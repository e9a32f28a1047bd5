//! `ncf`: dense layers with ReLU on the concatenated embeddings of user and item (He et al., *Neural Collaborative Filtering*, 2017).
//!
//! low = the first hidden layer, high = the last; the layers between are `up`, the layer after it the head. Dropout acts on the input
//! of every dense layer but the first, so the states themselves are free of it.

use serde::{Deserialize, Serialize};

use super::Wide;
use crate::error::SpecError;
use crate::graph::Graph;
use crate::models::student::Dropout;
use crate::ops::{Activation, Layer, Link, Ops, Pool, Var};
use crate::optim::{at_least_one, below_one, positive};
use crate::task::Deep;

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
        let inputs = std::iter::once(self.embedding.saturating_mul(2)).chain(self.hidden.iter().copied());
        inputs.zip(self.hidden.iter().copied())
    }
}

/// The hidden layers above the low state, in a run on `rows` low states of whatever origin. `place` names the dropout streams.
pub(crate) fn up<D: Ops>(pool: &Pool, rows: usize, upper: &[Layer<D>], dropout: &Dropout, place: &str) -> Vec<Link<D>> {
    let link = |(index, layer): (usize, &Layer<D>)| {
        let mask = dropout.mask(pool, &format!("{place}.{}", index + 1), rows * layer.weight.rows());
        Link { mask, ..layer.clone().then(Activation::Relu) }
    };
    upper.iter().enumerate().map(link).collect()
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
    let rows = embeddings.rows();
    let mut links = vec![first[0].clone().then(Activation::Relu)];
    links.extend(up(graph.pool(), rows, upper, dropout, "layers"));
    let mask = dropout.mask(graph.pool(), "head", rows * head.weight.rows());
    links.push(Link { mask, ..head.clone().then(Activation::None) });
    let states = graph.run(embeddings, links)?;
    Ok(Deep { low: states[0].clone(), high: states[hidden.len() - 1].clone(), output: states[hidden.len()].clone() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use dfdx::tensor::Cpu;

    use super::*;

    /// Weights chosen so that each layer hands its input on: the states are the input, and what the head sums shows which masks were
    /// applied on the way. Dropout acts on the input of the second layer and of the head, the states keep clear of their own.
    #[test]
    fn dropout_acts_on_the_input_of_every_layer_but_the_first() {
        let pool = Pool::default();
        let graph = Graph::inference(&Cpu::default(), &pool);
        let constant = |values: &[f32], rows, cols| graph.constant(pool.copy(values), rows, cols).unwrap();
        let identity = || Layer { weight: constant(&[1.0, 0.0, 0.0, 1.0], 2, 2), bias: constant(&[0.0, 0.0], 1, 2) };
        let head = Layer { weight: constant(&[1.0, 1.0], 2, 1), bias: constant(&[0.0], 1, 1) };
        let input: Vec<f32> = (1..=40).map(|value| value as f32).collect();
        let x = constant(&input, 20, 2);
        let dropout = Dropout { rate: 0.5, seed: 3, step: 4 };
        let run = |dropout: &Dropout| {
            let mut graph = Graph::inference(&Cpu::default(), &pool);
            deep(&mut graph, &x, &[identity(), identity()], &head, dropout).unwrap()
        };
        let dropped = run(&dropout);
        let mask = |dropout: &Dropout, place: &str| dropout.mask(&pool, place, input.len()).unwrap().to_vec();
        let (first, second) = (mask(&dropout, "layers.1"), mask(&dropout, "head"));
        assert_ne!(first, second);
        let high: Vec<f32> = input.iter().zip(&first).map(|(value, mask)| value * mask).collect();
        let output: Vec<f32> = high.chunks(2).zip(second.chunks(2)).map(|(h, m)| h[0] * m[0] + h[1] * m[1]).collect();
        assert_eq!(dropped.low.host(), input);
        assert_eq!(dropped.high.host(), high);
        assert_eq!(dropped.output.host(), output);
        // Without dropout everything passes.
        let sums: Vec<f32> = input.chunks(2).map(|row| row[0] + row[1]).collect();
        assert_eq!(run(&Dropout::NONE).output.host(), sums);
        // Another step, another mask.
        assert_ne!(mask(&Dropout { step: 5, ..dropout }, "head"), second);
    }
}
