//! `bag`: dense layers with ReLU on the mean of a text's word embeddings.
//!
//! It is `ncf` on other embeddings: low = the first hidden layer, high = the last, dropout on the input of every dense layer but the first.

use super::net::{Maker, State};
use super::spec::Bag;
use crate::graph::Graph;
use crate::models::ncf;
use crate::models::student::Dropout;
use crate::ops::{Activation, Layer, Ops, Sequences, Var};
use crate::params::{LayerId, Params};

/// The hidden layers, the first one first.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    first: LayerId,
    upper: Vec<LayerId>,
}

impl Layers {
    pub(super) fn make<M: Maker>(maker: &mut M, bag: &Bag, vocabulary: usize) -> Result<Self, M::Err> {
        maker.table("word.embedding", (vocabulary, bag.embedding), bag.embedding_sd as f32)?;
        let inputs = std::iter::once(bag.embedding).chain(bag.hidden.iter().copied());
        let mut layers = Vec::new();
        for (index, shape) in inputs.zip(bag.hidden.iter().copied()).enumerate() {
            layers.push(maker.layer(&format!("layers.{index}"), shape, Activation::Relu.gain())?);
        }
        Ok(Layers { first: layers.remove(0), upper: layers })
    }

    /// From the embeddings of the words of `texts`.
    pub(super) fn forward<D: Ops>(
        &self,
        graph: &mut Graph<D>,
        params: &Params<D>,
        (words, texts): (&Var<D>, &Sequences),
        dropout: &Dropout,
    ) -> Result<State<D>, D::Err> {
        let mean = graph.sequence_means(words, texts)?;
        let low = graph.run(&mean, vec![params.layer(self.first).then(Activation::Relu)])?.swap_remove(0);
        let high = self.above(graph, params, &low, dropout, "layers", false)?;
        Ok(State { places: Sequences::new(&vec![1; low.rows()]), low, high })
    }

    /// From low states of whatever origin to high ones. `place` names the dropout streams.
    pub(super) fn above<D: Ops>(
        &self,
        graph: &mut Graph<D>,
        params: &Params<D>,
        low: &Var<D>,
        dropout: &Dropout,
        place: &str,
        frozen: bool,
    ) -> Result<Var<D>, D::Err> {
        let layer = |&id: &LayerId| if frozen { params.layer(id).frozen() } else { params.layer(id) };
        let upper: Vec<Layer<D>> = self.upper.iter().map(layer).collect();
        let links = ncf::up(graph.pool(), low.rows(), &upper, dropout, place);
        if links.is_empty() {
            return Ok(low.clone());
        }
        Ok(graph.run(low, links)?.swap_remove(upper.len() - 1))
    }
}
