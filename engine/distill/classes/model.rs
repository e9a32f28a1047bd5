//! A trained model of classes: saved, loaded, and asked.
//!
//! Two files: the weights (safetensors; dense layers as (in, out)), and a configuration (JSON) with the words that it knows. Asking runs on
//! the host's processor. The room knows no training.

use dfdx::tensor::Cpu;

use super::inputs::{InputShape, Inputs};
use super::net::{Net, NetStates};
use super::spec::NetSpec;
use super::task::ClassifierConfig;
use super::words::Words;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// The format written.
const FORMAT: u32 = 1;

/// A trained model of classes.
#[derive(Clone)]
pub struct Classifier {
    config: ClassifierConfig,
    words: Words,
    tensors: Tensors,
    net: Net<Cpu>,
}

impl std::fmt::Debug for Classifier {
    /// Its kind and what it reads; thousands of numbers would help nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ClassifierConfig { model, shape, classes, .. } = &self.config;
        f.debug_struct("Classifier").field("model", model).field("shape", shape).field("classes", classes).finish_non_exhaustive()
    }
}

impl PartialEq for Classifier {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.tensors == other.tensors
    }
}

/// What a model makes of examples, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassTaps {
    /// Numbers in a low state.
    pub low_width: usize,
    /// (examples, `low_width`): means over tokens, patches or pixels.
    pub low: Vec<f32>,
    /// Numbers in a high state.
    pub high_width: usize,
    /// (examples, `high_width`)
    pub high: Vec<f32>,
    /// (examples, classes)
    pub logits: Vec<f32>,
}

impl Classifier {
    pub(super) fn new(
        model: NetSpec,
        shape: InputShape,
        classes: usize,
        words: Words,
        tensors: Tensors,
    ) -> Result<Self, ModelError> {
        let mut net = Net::import(&Cpu::default(), &model, &shape, classes, &tensors)?;
        if let Some(name) = tensors.stranger_to(&net.export()) {
            let what = format!("a model of kind `{}` and these sizes has no such tensor", model.name());
            return Err(ModelError::Tensor { name: name.to_owned(), what });
        }
        let config = ClassifierConfig { format: FORMAT, model, shape, classes, words: words.list().to_vec() };
        Ok(Classifier { config, words, tensors, net })
    }

    /// Reads a model from its weights and its configuration.
    ///
    /// # Errors
    /// [`ModelError`] where either cannot be read, or they do not fit together.
    pub fn load(weights: &[u8], config: &serde_json::Value) -> Result<Self, ModelError> {
        let config: ClassifierConfig =
            serde_json::from_value(config.clone()).map_err(|error| ModelError::Config(error.to_string()))?;
        if config.format != FORMAT {
            return Err(ModelError::Config(format!("its format is {}, this version reads {FORMAT}", config.format)));
        }
        let words = Words::of_list(config.words)?;
        if let InputShape::Texts { vocabulary } = config.shape
            && vocabulary != words.vocabulary()
        {
            let what = format!("it reads {vocabulary} ids of words and knows {}", words.vocabulary());
            return Err(ModelError::Config(what));
        }
        let tensors = Tensors::from_bytes(weights, |_| true)?;
        Classifier::new(config.model, config.shape, config.classes, words, tensors)
    }

    /// The weights in the safetensors format. The bytes depend on the weights alone.
    ///
    /// # Errors
    /// [`ModelError::Safetensors`] where the format cannot hold them.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ModelError> {
        self.tensors.to_bytes()
    }

    /// The configuration, as `config.json` holds it.
    pub fn config(&self) -> serde_json::Value {
        let ClassifierConfig { format, model, shape, classes, words } = &self.config;
        serde_json::json!({ "classes": classes, "format": format, "model": model, "shape": shape, "words": words })
    }

    /// The kind and sizes.
    pub fn spec(&self) -> &NetSpec {
        &self.config.model
    }

    /// What it reads.
    pub fn shape(&self) -> InputShape {
        self.config.shape
    }

    /// How many classes it tells apart.
    pub fn classes(&self) -> usize {
        self.config.classes
    }

    /// The words that it knows, by which texts are encoded for it, up to [`NetSpec::longest`] tokens.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// How many numbers serving needs.
    pub fn parameters(&self) -> u64 {
        self.net.numbers()
    }

    /// What it makes of examples.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] for an example that it cannot read.
    pub fn taps(&self, inputs: &Inputs) -> Result<ClassTaps, ModelError> {
        self.config.model.reads(&self.config.shape, inputs)?;
        let NetStates { low, high, logits } = self.net.states(inputs).map_err(|error| ModelError::Device(error.to_string()))?;
        let (low_width, high_width) = (self.config.model.low_width(), self.config.model.high_width());
        Ok(ClassTaps { low_width, low, high_width, high, logits })
    }

    /// The logits of examples alone, of which fewer are held: (examples, classes).
    ///
    /// # Errors
    /// As [`Classifier::taps`].
    pub fn logits(&self, inputs: &Inputs) -> Result<Vec<f32>, ModelError> {
        self.config.model.reads(&self.config.shape, inputs)?;
        self.net.logits(inputs).map_err(|error| ModelError::Device(error.to_string()))
    }
}
