//! Transformers as foundation-model teachers: BERT for texts, ViT for images, loaded from the folders that Hugging Face keeps.
//!
//! From the bottom up: `config` and `load` read a folder; `operations` and `stack` compute the layers on a device; `bert` and `vit` make
//! what the first layer reads; `tokenize`, `images` and `positions` make what those read.
//!
//! Two halves, because a talk needs the second without the first. What depends on an example alone ([`Transformer::texts`],
//! [`Transformer::images`], and any state of it) can be cached. What comes from a student's messages cannot: for that [`TransformerUpper`] has
//! the layers from any state on, and goes back through them to what they read, never to their weights. Rows are tokens,
//! sequence after sequence without padding, so a state is a matrix like any other.
//!
//! Weights are single precision whatever the file has, and live in the host's memory in the form that its products read; on another device
//! they are copied when they are used there.

mod bert;
mod config;
mod draw;
mod error;
mod images;
mod load;
pub(crate) mod operations;
#[cfg(test)]
pub(crate) mod oracle;
mod positions;
pub(crate) mod stack;
#[cfg(test)]
mod tests;
mod tokenize;
mod vit;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use dfdx::tensor::Cpu;
use serde::{Deserialize, Serialize};

pub use config::{Config as TransformerConfig, Family, Reads};
pub use draw::{CHARACTER_TOKENS, tokenizer_of_characters};
pub use error::TransformerError;
pub use images::{IMAGENET, Images};
pub use load::TransformerFiles;
pub(crate) use stack::Stack;
pub use tokenize::{Tokenizer, Tokens};

use bert::TextEmbeddings;
use load::Folder;
use operations::Norm;
use stack::Block;
use vit::ImageEmbeddings;

use crate::device::{DeviceKind, failed};
use crate::graph::Graph;
use crate::ops::{Activation, Layer, Ops, Pool, Sequences, Var};

/// A hidden state of some sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Hidden {
    /// Which state: 0 is what the first layer reads, k what the k-th made; none for the model's end and what is pooled of it, which no layer
    /// reads.
    pub state: Option<usize>,
    /// Numbers a token.
    pub width: usize,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// (tokens of all sequences, width), row-major.
    pub values: Vec<f32>,
}

/// What of a sequence a head reads, made of its last state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over its tokens.
    Mean,
    /// Its first token.
    First,
}

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At a state, by its number.
    State(usize),
    /// Behind the last state, and what there is of norm behind it.
    End,
    /// The same, one row a sequence: what a head reads.
    Pooled(Pooling),
}

/// A frozen transformer.
#[derive(Clone, Debug)]
pub struct Transformer {
    embeddings: Embeddings,
    upper: TransformerUpper,
}

#[derive(Clone, Debug)]
enum Embeddings {
    Texts(TextEmbeddings),
    Images(ImageEmbeddings),
}

/// The layers of a frozen transformer from some state on.
#[derive(Clone, Debug)]
pub struct TransformerUpper {
    width: usize,
    stack: Stack<Cpu>,
    pool: Pool,
}

/// What `body` computes on the device that is asked for.
macro_rules! on {
    ($kind:expr, |$device:ident| $body:expr) => {
        match $kind {
            DeviceKind::Cpu => {
                let $device = &Cpu::default();
                $body.map_err(failed::<Cpu>)?
            }
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda(ordinal) => {
                let $device = &crate::device::cuda(ordinal)?;
                $body.map_err(failed::<dfdx::tensor::Cuda>)?
            }
            #[cfg(not(feature = "cuda"))]
            DeviceKind::Cuda(ordinal) => match crate::device::cuda(ordinal)? {},
        }
    };
}

impl Transformer {
    /// Loads a model's folder: `config.json` and `model.safetensors` (F32, F16 or BF16), of one of the families `bert`, `vit`, `deit`, `dinov2`.
    ///
    /// # Errors
    /// [`TransformerError`] says which file, which field, or which tensor with both shapes.
    pub fn load(folder: &Path) -> Result<Self, TransformerError> {
        Self::open(&TransformerFiles::in_folder(folder))
    }

    /// As [`Transformer::load`], of files that lie anywhere.
    ///
    /// # Errors
    /// As [`Transformer::load`].
    pub fn open(files: &TransformerFiles) -> Result<Self, TransformerError> {
        let mut folder = Folder::open(files)?;
        let embeddings = folder.read(|weights, config| match config.reads {
            Reads::Texts { vocabulary, positions, types } => {
                TextEmbeddings::load(weights, config, [vocabulary, positions, types]).map(Embeddings::Texts)
            }
            Reads::Images { channels, patch, image, .. } => {
                ImageEmbeddings::load(weights, config, [channels, patch, image]).map(Embeddings::Images)
            }
        })?;
        Ok(Transformer { embeddings, upper: TransformerUpper::read(&mut folder, 0)? })
    }

    /// The layers, from state 0 on.
    pub fn upper(&self) -> &TransformerUpper {
        &self.upper
    }

    /// The most tokens a text may have; none where the model reads images.
    pub fn longest(&self) -> Option<usize> {
        match &self.embeddings {
            Embeddings::Texts(texts) => Some(texts.longest()),
            Embeddings::Images(_) => None,
        }
    }

    /// How many tokens an image of this size becomes; none where the model reads texts.
    pub fn tokens_of_image(&self, height: usize, width: usize) -> Option<usize> {
        match &self.embeddings {
            Embeddings::Texts(_) => None,
            Embeddings::Images(images) => {
                Some(images.tokens(&Images { channels: images.channels, height, width, values: Vec::new() }))
            }
        }
    }

    /// State 0 of texts.
    ///
    /// # Errors
    /// [`TransformerError::Input`] where the model reads images, a text is empty or too long, or an id is beyond the vocabulary.
    pub fn texts(&self, tokens: &Tokens, device: DeviceKind) -> Result<Hidden, TransformerError> {
        let Embeddings::Texts(texts) = &self.embeddings else {
            return Err(input("the model reads images, and was given texts".into(), "use a model of the family `bert`"));
        };
        let (ids, longest) = (&tokens.ids, texts.longest());
        if tokens.lengths.iter().sum::<usize>() != ids.len() {
            let what = format!("the texts' lengths do not add up to the {} tokens there are", ids.len());
            return Err(input(what, "give each text its number of tokens"));
        }
        if let Some(length) = tokens.lengths.iter().find(|length| !(1..=longest).contains(*length)) {
            let what = format!("a text has {length} tokens, and the model reads 1 to {longest}");
            return Err(input(what, if *length == 0 { "leave out empty texts" } else { "cut texts as they are tokenised" }));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= texts.vocabulary()) {
            let what = format!("the token {id} is beyond the model's vocabulary of {}", texts.vocabulary());
            return Err(input(what, "take tokenizer.json from the model's own folder"));
        }
        let values = on!(device, |device| self.upper.embedded_texts(device, texts, tokens));
        Ok(Hidden { state: Some(0), width: self.upper.width, lengths: tokens.lengths.clone(), values })
    }

    /// State 0 of images.
    ///
    /// # Errors
    /// [`TransformerError::Input`] where the model reads texts, or the images do not have its channels, or sides that are no whole number of patches.
    pub fn images(&self, images: &Images, device: DeviceKind) -> Result<Hidden, TransformerError> {
        let Embeddings::Images(embeddings) = &self.embeddings else {
            return Err(input(
                "the model reads texts, and was given images".into(),
                "use a model of the family `vit`, `deit` or `dinov2`",
            ));
        };
        let Images { channels, height, width, values } = images;
        let patch = embeddings.patch;
        if *channels != embeddings.channels {
            return Err(input(format!("images have {channels} channels, the model {}", embeddings.channels), "give it as many"));
        }
        if *height == 0 || *width == 0 || height % patch != 0 || width % patch != 0 {
            let what = format!("images of {height} x {width} pixels are no whole number of patches of {patch} x {patch}");
            return Err(input(what, "resize them to multiples of the patch"));
        }
        if values.len() % (channels * height * width) != 0 {
            return Err(input(format!("{} numbers are no whole number of images", values.len()), "give whole images"));
        }
        let values = on!(device, |device| self.upper.embedded_images(device, embeddings, images));
        let lengths = vec![embeddings.tokens(images); images.count()];
        Ok(Hidden { state: Some(0), width: self.upper.width, lengths, values })
    }
}

impl TransformerUpper {
    /// Loads the layers that follow a state, and no others: neither embeddings nor the layers before.
    ///
    /// # Errors
    /// As [`Transformer::load`]; [`TransformerError::Input`] where there is no such state.
    pub fn load(folder: &Path, state: usize) -> Result<Self, TransformerError> {
        Self::open(&TransformerFiles::in_folder(folder), state)
    }

    /// As [`TransformerUpper::load`], of files that lie anywhere.
    ///
    /// # Errors
    /// As [`TransformerUpper::load`].
    pub fn open(files: &TransformerFiles, state: usize) -> Result<Self, TransformerError> {
        let mut folder = Folder::open(files)?;
        let layers = folder.config.layers;
        if state > layers {
            return Err(input(
                format!("there is no state {state}: the model has {layers} layers"),
                "begin at a state up to that",
            ));
        }
        TransformerUpper::read(&mut folder, state)
    }

    fn read(folder: &mut Folder, state: usize) -> Result<Self, TransformerError> {
        let stack = folder.read(|weights, config| weights.stack(config, state))?;
        Ok(TransformerUpper { width: folder.config.width, stack, pool: Pool::default() })
    }

    /// Numbers a token in each state.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The first state they read, and the last they make.
    pub fn states(&self) -> (usize, usize) {
        (self.stack.first, self.stack.last())
    }

    /// From a state to a later one, or to the end; of [`Until::Pooled`] each sequence becomes one row.
    ///
    /// # Errors
    /// [`TransformerError::Input`] where the layers do not read that state, or do not make the one asked for.
    pub fn run(&self, from: &Hidden, until: Until, device: DeviceKind) -> Result<Hidden, TransformerError> {
        let states = self.check(from, until)?;
        let (values, _) = on!(device, |device| self.computed(device, from, states, until, None));
        Ok(self.made(from, until, values))
    }

    /// The same, and the gradient of sum(`seed` * result) with regard to what it was made from. Weights get none.
    ///
    /// # Errors
    /// As [`TransformerUpper::run`], and where `seed` has not the result's size.
    pub fn run_and_back(
        &self,
        from: &Hidden,
        until: Until,
        seed: &[f32],
        device: DeviceKind,
    ) -> Result<(Hidden, Vec<f32>), TransformerError> {
        let states = self.check(from, until)?;
        let rows = if matches!(until, Until::Pooled(_)) { from.lengths.len() } else { from.lengths.iter().sum() };
        if seed.len() != rows * self.width {
            let what = format!("a seed of {} numbers for a result of {rows} x {}", seed.len(), self.width);
            return Err(input(what, "give one for each number"));
        }
        let (values, gradient) = on!(device, |device| self.computed(device, from, states, until, Some(seed)));
        Ok((self.made(from, until, values), gradient))
    }

    /// The number of the state that it begins with, and of the last that is made.
    fn check(&self, from: &Hidden, until: Until) -> Result<Range<usize>, TransformerError> {
        let (first, last) = self.states();
        let to = if let Until::State(state) = until { state } else { last };
        let tokens: usize = from.lengths.iter().sum();
        if from.width != self.width || from.values.len() != tokens * self.width {
            let what = format!("{} numbers are not {tokens} tokens of {}", from.values.len(), self.width);
            return Err(input(what, "give states of this model"));
        }
        if from.lengths.contains(&0) {
            return Err(input("a sequence is empty".to_owned(), "leave it out"));
        }
        let Some(state) = from.state else {
            return Err(input("no layer reads what stands at the model's end".to_owned(), "begin at a state"));
        };
        if state < first || to > last || state > to {
            let what = format!("there is no way from state {state} to state {to}: the layers here go from {first} to {last}");
            return Err(input(what, "begin and end inside of them"));
        }
        Ok(state..to)
    }

    fn made(&self, from: &Hidden, until: Until, values: Vec<f32>) -> Hidden {
        let state = if let Until::State(state) = until { Some(state) } else { None };
        let lengths = if matches!(until, Until::Pooled(_)) { vec![1; from.lengths.len()] } else { from.lengths.clone() };
        Hidden { state, width: self.width, lengths, values }
    }

    /// All weights, in an order of their own.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = Cow<'_, [f32]>> {
        let dense = |layer: &'_ Layer<Cpu>| [layer.weight.clone(), layer.bias.clone()];
        let normed = |norm: &'_ Norm<Cpu>| [norm.gain.clone(), norm.bias.clone()];
        let of_block = move |block: &'_ Block<Cpu>| {
            let layers = [&block.attend, &block.gather, &block.widen, &block.narrow].map(dense);
            layers.into_iter().chain(block.norms.each_ref().map(normed)).flatten().collect::<Vec<_>>()
        };
        let end = self.stack.end.iter().flat_map(normed);
        self.stack.blocks.iter().flat_map(of_block).chain(end).map(|matrix| Cow::Owned(matrix.host().into_owned()))
    }

    /// The layers on a device, wanting no gradient: what they are applied to gets its own through them.
    pub(crate) fn on_device<D: Ops>(&self, device: &D) -> Result<Stack<D>, D::Err> {
        let Stack { first, blocks, end, order, heads } = &self.stack;
        let block = |block: &Block<Cpu>| {
            Ok(Block {
                attend: adopted_layer(device, &block.attend)?,
                gather: adopted_layer(device, &block.gather)?,
                widen: adopted_layer(device, &block.widen)?,
                narrow: adopted_layer(device, &block.narrow)?,
                norms: [adopted_norm(device, &block.norms[0])?, adopted_norm(device, &block.norms[1])?],
            })
        };
        let blocks = blocks.iter().map(block).collect::<Result<_, D::Err>>()?;
        let end = end.as_ref().map(|end| adopted_norm(device, end)).transpose()?;
        Ok(Stack { first: *first, blocks, end, order: *order, heads: *heads })
    }

    /// The result, and where there is a seed the gradient of what it was made from.
    fn computed<D: Ops>(
        &self,
        device: &D,
        from: &Hidden,
        states: Range<usize>,
        until: Until,
        seed: Option<&[f32]>,
    ) -> Result<(Vec<f32>, Vec<f32>), D::Err> {
        // Nothing in, nothing out: a GPU refuses matrices without rows.
        if from.values.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let pool = &self.pool;
        let stack = self.on_device(device)?;
        let sequences = Sequences::new(&from.lengths);
        let mut graph = if seed.is_some() { Graph::training(device, pool) } else { Graph::inference(device, pool) };
        let x = graph.leaf(pool.copy(&from.values), sequences.rows(), self.width)?;
        let mut out = stack.run(&mut graph, &x, &sequences, states)?;
        if !matches!(until, Until::State(_)) {
            out = stack.finish(&mut graph, &out)?;
        }
        if let Until::Pooled(pooling) = until {
            out = match pooling {
                Pooling::Mean => graph.sequence_means(&out, &sequences)?,
                Pooling::First => graph.sequence_firsts(&out, &sequences)?,
            };
        }
        let values = out.host().into_owned();
        let Some(seed) = seed else { return Ok((values, Vec::new())) };
        graph.seed(&out, pool.copy(seed));
        drop(out);
        graph.backward()?;
        let gradient = device.take_gradient(&x.value, pool)?;
        Ok((values, gradient.map_or_else(|| vec![0.0; from.values.len()], |gradient| gradient.to_vec())))
    }

    fn embedded_texts<D: Ops>(&self, device: &D, texts: &TextEmbeddings, tokens: &Tokens) -> Result<Vec<f32>, D::Err> {
        let mut graph = Graph::inference(device, &self.pool);
        let sums = texts.sums(&self.pool, &tokens.ids, &tokens.lengths);
        let sums = graph.constant(sums, tokens.ids.len(), self.width)?;
        let norm = adopted_norm(device, &texts.norm)?;
        Ok(graph.norm(&sums, &norm)?.host().into_owned())
    }

    fn embedded_images<D: Ops>(&self, device: &D, embeddings: &ImageEmbeddings, images: &Images) -> Result<Vec<f32>, D::Err> {
        let mut graph = Graph::inference(device, &self.pool);
        let patches = embeddings.cut(&self.pool, images);
        let numbers = embeddings.patches.weight.rows();
        let patches = graph.constant(patches, images.values.len() / numbers, numbers)?;
        let layer = adopted_layer(device, &embeddings.patches)?;
        let made = graph.run(&patches, vec![layer.then(Activation::None)])?;
        Ok(embeddings.assembled(&self.pool, images, &made[0].host()).to_vec())
    }
}

fn adopted<D: Ops>(device: &D, var: &Var<Cpu>) -> Result<Var<D>, D::Err> {
    Ok(Var { value: device.adopt(&var.value)?, wanted: false })
}

fn adopted_layer<D: Ops>(device: &D, layer: &Layer<Cpu>) -> Result<Layer<D>, D::Err> {
    Ok(Layer { weight: adopted(device, &layer.weight)?, bias: adopted(device, &layer.bias)? })
}

fn adopted_norm<D: Ops>(device: &D, norm: &Norm<Cpu>) -> Result<Norm<D>, D::Err> {
    Ok(Norm { gain: adopted(device, &norm.gain)?, bias: adopted(device, &norm.bias)?, eps: norm.eps })
}

fn input(what: String, advice: &'static str) -> TransformerError {
    TransformerError::Input { what, advice }
}
