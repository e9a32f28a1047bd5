//! `mf`: biased matrix factorisation (Koren, Bell and Volinsky, *Matrix Factorization Techniques for Recommender Systems*, 2009).
//!
//! The deep path is the inner product of the two embeddings. Its only state is their entrywise product, which is both low and high;
//! the head that sums it has no weights, so there is nothing above to talk through.

use serde::{Deserialize, Serialize};

use super::Wide;
use crate::error::SpecError;
use crate::graph::Graph;
use crate::ops::{Ops, Var};
use crate::optim::{at_least_one, positive};
use crate::task::Deep;

/// Settings of an `mf` model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mf {
    /// Numbers in the embedding of a user, and of an item; at least 1. Default 16.
    pub embedding: usize,
    /// Standard deviation of the initial embeddings; above 0. Default 0.1.
    pub embedding_sd: f64,
    /// How the bias terms begin.
    pub wide: Wide,
}

impl Default for Mf {
    fn default() -> Self {
        Mf { embedding: 16, embedding_sd: 0.1, wide: Wide::default() }
    }
}

impl Mf {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        at_least_one("embedding", self.embedding)?;
        positive("embedding_sd", self.embedding_sd)
    }
}

/// The deep path on a batch of joined embeddings (batch, 2 e).
pub(crate) fn deep<D: Ops>(graph: &mut Graph<D>, embeddings: &Var<D>) -> Result<Deep<D>, D::Err> {
    let product = graph.product_of_halves(embeddings)?;
    let output = graph.row_sums(&product)?;
    Ok(Deep { low: product.clone(), high: product, output })
}
