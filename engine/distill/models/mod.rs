//! The kinds of models: their settings, in one list.
//!
//! Networks for classes are in a room of their own. Every rating model predicts `mean + user bias + item bias` (its *wide* part; the mean alone without bias terms) plus what its deep path adds. A kind says how the
//! deep path is made from the embeddings of a user and an item; [`Student`](student::Student) holds what all kinds share. A new kind is a
//! file, a variant of [`ModelSpec`], and its arms below.

pub(crate) mod mf;
pub(crate) mod ncf;
pub(crate) mod student;

use serde::{Deserialize, Serialize};

pub use mf::Mf;
pub use ncf::Ncf;

use crate::classes::NetSpec;
use crate::error::SpecError;
use crate::ops::Activation;
use crate::optim::not_negative;

/// What a model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Ratings of items by users.
    Ratings,
    /// The class of a text or an image.
    Classes,
}

/// A model's kind and sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSpec {
    /// Embeddings, and dense layers on their concatenation (He et al. 2017).
    Ncf(Ncf),
    /// Biased matrix factorisation (Koren et al. 2009).
    Mf(Mf),
    /// No deep path: mean and bias terms. What the method `bias_only` trains.
    Bias(Wide),
    /// A network for a task with classes.
    Net(NetSpec),
}

/// The bias terms of users and items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wide {
    /// Whether there are any. Without, the deep path has to tell users and items apart that rate high and low, so all that a model knows
    /// is in its states, where methods that compare states can read it. Default true.
    pub terms: bool,
    /// With a number n >= 0: bias terms begin at the damped means of the training residuals, sum / (count + n), items
    /// first, then users on what items leave. Without: they begin at 0. Default: none.
    pub damping: Option<f64>,
}

impl Default for Wide {
    fn default() -> Self {
        Wide { terms: true, damping: None }
    }
}

impl Default for ModelSpec {
    fn default() -> Self {
        ModelSpec::Ncf(Ncf::default())
    }
}

impl ModelSpec {
    /// The kind's name, as in files and settings.
    pub fn name(&self) -> &'static str {
        match self {
            ModelSpec::Ncf(_) => "ncf",
            ModelSpec::Mf(_) => "mf",
            ModelSpec::Bias(_) => "bias",
            ModelSpec::Net(net) => net.name(),
        }
    }

    /// How many dense hidden layers the deep path has.
    pub fn hidden_layers(&self) -> usize {
        match self {
            ModelSpec::Ncf(ncf) => ncf.hidden.len(),
            ModelSpec::Mf(_) | ModelSpec::Bias(_) => 0,
            ModelSpec::Net(net) => net.hidden_layers(),
        }
    }

    /// The width of the low state: the first hidden layer with its activation (`mf`: the product of the embeddings).
    pub fn low_width(&self) -> Option<usize> {
        match self {
            ModelSpec::Ncf(ncf) => ncf.hidden.first().copied(),
            ModelSpec::Mf(mf) => Some(mf.embedding),
            ModelSpec::Bias(_) => None,
            ModelSpec::Net(net) => Some(net.low_width()),
        }
    }

    /// The width of the high state: the input of the last layer (`mf`: the product of the embeddings).
    pub fn high_width(&self) -> Option<usize> {
        match self {
            ModelSpec::Ncf(ncf) => ncf.hidden.last().copied(),
            ModelSpec::Mf(mf) => Some(mf.embedding),
            ModelSpec::Bias(_) => None,
            ModelSpec::Net(net) => Some(net.high_width()),
        }
    }

    /// Whether the low state is a sequence of tokens.
    pub fn low_is_sequence(&self) -> bool {
        match self {
            ModelSpec::Ncf(_) | ModelSpec::Mf(_) | ModelSpec::Bias(_) => false,
            ModelSpec::Net(net) => net.low_is_sequence(),
        }
    }

    /// Whether the layers above the low state can read a message in its place.
    pub fn interprets(&self) -> bool {
        match self {
            ModelSpec::Ncf(_) | ModelSpec::Mf(_) | ModelSpec::Bias(_) => true,
            ModelSpec::Net(net) => net.interprets(),
        }
    }

    /// What it predicts.
    pub fn task(&self) -> TaskKind {
        match self {
            ModelSpec::Ncf(_) | ModelSpec::Mf(_) | ModelSpec::Bias(_) => TaskKind::Ratings,
            ModelSpec::Net(_) => TaskKind::Classes,
        }
    }

    /// What a state has gone through, so that what is decoded into it has to go through it too.
    pub(crate) fn state_activation(&self) -> Activation {
        match self {
            ModelSpec::Ncf(_) => Activation::Relu,
            ModelSpec::Mf(_) | ModelSpec::Bias(_) => Activation::None,
            ModelSpec::Net(net) => net.state_activation(),
        }
    }

    /// The width of an embedding.
    pub fn embedding(&self) -> Option<usize> {
        match self {
            ModelSpec::Ncf(ncf) => Some(ncf.embedding),
            ModelSpec::Mf(mf) => Some(mf.embedding),
            ModelSpec::Bias(_) | ModelSpec::Net(_) => None,
        }
    }

    /// Its bias terms; none where it predicts no ratings.
    pub fn wide(&self) -> Option<&Wide> {
        match self {
            ModelSpec::Ncf(ncf) => Some(&ncf.wide),
            ModelSpec::Mf(mf) => Some(&mf.wide),
            ModelSpec::Bias(wide) => Some(wide),
            ModelSpec::Net(_) => None,
        }
    }

    /// Whether it has bias terms.
    pub(crate) fn bias_terms(&self) -> bool {
        self.wide().is_some_and(|wide| wide.terms)
    }

    /// Standard deviation of the initial embeddings.
    pub(crate) fn embedding_sd(&self) -> f64 {
        match self {
            ModelSpec::Ncf(ncf) => ncf.embedding_sd,
            ModelSpec::Mf(mf) => mf.embedding_sd,
            ModelSpec::Bias(_) | ModelSpec::Net(_) => 0.0,
        }
    }

    /// Dropout probability of the deep path's dense layers.
    pub(crate) fn dropout(&self) -> f64 {
        match self {
            ModelSpec::Ncf(ncf) => ncf.dropout,
            ModelSpec::Mf(_) | ModelSpec::Bias(_) => 0.0,
            ModelSpec::Net(net) => net.dropout(),
        }
    }

    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        if let Some(damping) = self.wide().and_then(|wide| wide.damping) {
            not_negative("damping", damping)?;
        }
        match self {
            ModelSpec::Ncf(ncf) => ncf.check(),
            ModelSpec::Mf(mf) => mf.check(),
            ModelSpec::Bias(_) => Ok(()),
            ModelSpec::Net(net) => net.check(),
        }
    }
}
