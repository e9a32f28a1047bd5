//! The kinds of networks for tasks with classes: their settings, in one list.
//!
//! Settings are checked in two steps, because a plan knows them before it knows what is read: [`NetSpec::check`] looks at the numbers,
//! [`NetSpec::fits`] at what a network is to read.

use serde::{Deserialize, Serialize};

use super::inputs::{InputShape, Inputs};
use crate::ImageShape;
use crate::error::{ModelError, SpecError};
use crate::ops::Activation;
use crate::optim::{at_least_one, below_one, positive};

/// A network's kind and sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetSpec {
    /// The mean of a text's word embeddings, and dense layers on it.
    Bag(Bag),
    /// A small encoder over a text's words.
    TextTransformer(TextTransformer),
    /// A small encoder over an image's patches.
    Vit(Vit),
    /// Convolutions over an image.
    Conv(Conv),
    /// A head on vectors, and nothing else: what a probe trains on a teacher's states.
    Linear(Linear),
}

/// Which words of the training texts a network knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// The most words, the unknown one not among them; at least 1. Default 10000.
    pub size: usize,
    /// How often a word occurs at least; at least 1. Default 2.
    pub min_count: usize,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Vocabulary { size: 10_000, min_count: 2 }
    }
}

impl Vocabulary {
    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one("vocabulary.size", self.size)?;
        at_least_one("vocabulary.min_count", self.min_count)
    }
}

/// Settings of a `bag`: dense layers with ReLU on the mean of a text's word embeddings (Iyyer et al., *Deep Unordered Composition Rivals
/// Syntactic Methods for Text Classification*, 2015). low = the first hidden layer, high = the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bag {
    /// Numbers in the embedding of a word; at least 1. Default 32.
    pub embedding: usize,
    /// Widths of the hidden layers, at least one layer, each at least 1. Default 32, 16.
    pub hidden: Vec<usize>,
    /// Dropout probability on the input of every dense layer but the first; in `[0, 1)`, rounded to 1/65536. Default 0.
    pub dropout: f64,
    /// Standard deviation of the initial embeddings; above 0. Default 0.1.
    pub embedding_sd: f64,
    /// The words it knows.
    pub vocabulary: Vocabulary,
}

impl Default for Bag {
    fn default() -> Self {
        Bag { embedding: 32, hidden: vec![32, 16], dropout: 0.0, embedding_sd: 0.1, vocabulary: Vocabulary::default() }
    }
}

impl Bag {
    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one("embedding", self.embedding)?;
        all_at_least_one("hidden", &self.hidden)?;
        below_one("dropout", self.dropout)?;
        positive("embedding_sd", self.embedding_sd)?;
        self.vocabulary.check()
    }
}

/// Settings of a `text_transformer`: embeddings of words and positions, and an encoder that norms what its halves read (Vaswani et al. 2017;
/// Xiong et al., *On Layer Normalization in the Transformer Architecture*, 2020). low = what the first layer reads, a row a token;
/// high = the mean of the tokens behind the norm at the end. There is no dropout: layers as few and narrow as a student's have none to give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTransformer {
    /// Numbers a token; a multiple of `heads`. Default 64.
    pub width: usize,
    /// Layers; at least 1. Default 2.
    pub layers: usize,
    /// Heads of attention; at least 1. Default 4.
    pub heads: usize,
    /// Numbers between the two dense layers of a perceptron; at least 1. Default 128.
    pub inner: usize,
    /// The most tokens of a text, which is cut behind them; at least 1. Default 64.
    pub longest: usize,
    /// The words it knows.
    pub vocabulary: Vocabulary,
}

impl Default for TextTransformer {
    fn default() -> Self {
        TextTransformer { width: 64, layers: 2, heads: 4, inner: 128, longest: 64, vocabulary: Vocabulary::default() }
    }
}

impl TextTransformer {
    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        encoder(self.width, self.layers, self.heads, self.inner)?;
        at_least_one("longest", self.longest)?;
        self.vocabulary.check()
    }
}

/// Settings of a `vit`: patches of an image through a dense layer, with embeddings of their positions, and an encoder (Dosovitskiy et
/// al. 2021, without a class token). low = what the first layer reads, a row a patch; high = the mean of the patches behind the norm at the
/// end. There is no dropout, as in a `text_transformer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vit {
    /// Pixels of a patch's side, of which both sides of an image are multiples; at least 1. Default 4.
    pub patch: usize,
    /// Numbers a patch; a multiple of `heads`. Default 64.
    pub width: usize,
    /// Layers; at least 1. Default 2.
    pub layers: usize,
    /// Heads of attention; at least 1. Default 4.
    pub heads: usize,
    /// Numbers between the two dense layers of a perceptron; at least 1. Default 128.
    pub inner: usize,
}

impl Default for Vit {
    fn default() -> Self {
        Vit { patch: 4, width: 64, layers: 2, heads: 4, inner: 128 }
    }
}

impl Vit {
    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one("patch", self.patch)?;
        encoder(self.width, self.layers, self.heads, self.inner)
    }
}

/// Settings of a `conv`: convolutions of 3 x 3 with ReLU over an image padded by one pixel, each but the first with a stride of 2, which
/// halves the sides and rounds up. low = the map behind the first, a row a pixel; high = the mean over the last map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Channels that each convolution makes, at least one convolution, each at least 1. Default 16, 32, 64.
    pub channels: Vec<usize>,
    /// Dropout probability on the input of the head; in `[0, 1)`, rounded to 1/65536. Default 0. Maps have none: what is dropped from a pixel is
    /// there again in its neighbours (Tompson et al., *Efficient Object Localization Using Convolutional Networks*, 2015).
    pub dropout: f64,
}

impl Default for Conv {
    fn default() -> Self {
        Conv { channels: vec![16, 32, 64], dropout: 0.0 }
    }
}

impl Conv {
    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        all_at_least_one("channels", &self.channels)?;
        below_one("dropout", self.dropout)
    }
}

fn all_at_least_one(field: &'static str, widths: &[usize]) -> Result<(), SpecError> {
    at_least_one(field, widths.len())?;
    widths.iter().try_for_each(|&width| at_least_one(field, width))
}

fn encoder(width: usize, layers: usize, heads: usize, inner: usize) -> Result<(), SpecError> {
    for (field, value) in [("width", width), ("layers", layers), ("heads", heads), ("inner", inner)] {
        at_least_one(field, value)?;
    }
    match width.is_multiple_of(heads) {
        true => Ok(()),
        false => Err(SpecError::Range { field: "width", value: width as f64, range: "a multiple of `heads`" }),
    }
}

/// Settings of a `linear` network, which has none: logits of standardised vectors, by one dense layer (Alain and Bengio, *Understanding
/// Intermediate Layers Using Linear Classifier Probes*, 2017). What it reads is its only state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear {
    /// Numbers in a vector; at least 1.
    pub width: usize,
}

impl NetSpec {
    /// The kind's name, as in files and settings.
    pub fn name(&self) -> &'static str {
        match self {
            NetSpec::Bag(_) => "bag",
            NetSpec::TextTransformer(_) => "text_transformer",
            NetSpec::Vit(_) => "vit",
            NetSpec::Conv(_) => "conv",
            NetSpec::Linear(_) => "linear",
        }
    }

    /// Numbers a row of the low state.
    pub fn low_width(&self) -> usize {
        match self {
            NetSpec::Bag(bag) => bag.hidden.first().copied().unwrap_or(0),
            NetSpec::TextTransformer(transformer) => transformer.width,
            NetSpec::Vit(vit) => vit.width,
            NetSpec::Conv(conv) => conv.channels.first().copied().unwrap_or(0),
            NetSpec::Linear(linear) => linear.width,
        }
    }

    /// Numbers of the high state.
    pub fn high_width(&self) -> usize {
        match self {
            NetSpec::Bag(bag) => bag.hidden.last().copied().unwrap_or(0),
            NetSpec::TextTransformer(transformer) => transformer.width,
            NetSpec::Vit(vit) => vit.width,
            NetSpec::Conv(conv) => conv.channels.last().copied().unwrap_or(0),
            NetSpec::Linear(linear) => linear.width,
        }
    }

    /// Rows and numbers a row of each table of a network for such examples.
    pub(crate) fn tables(&self, shape: &InputShape) -> Vec<(usize, usize)> {
        match (self, shape) {
            (NetSpec::Bag(bag), InputShape::Texts { vocabulary }) => vec![(*vocabulary, bag.embedding)],
            (NetSpec::TextTransformer(spec), InputShape::Texts { vocabulary }) => {
                vec![(*vocabulary, spec.width), (spec.longest, spec.width)]
            }
            (NetSpec::Vit(vit), InputShape::Images(image)) => {
                vec![((image.height / vit.patch) * (image.width / vit.patch), vit.width)]
            }
            _ => Vec::new(),
        }
    }

    /// How many layers a talk counts: one below the low state, and those above it.
    pub fn hidden_layers(&self) -> usize {
        match self {
            NetSpec::Bag(bag) => bag.hidden.len(),
            NetSpec::TextTransformer(transformer) => transformer.layers + 1,
            NetSpec::Vit(vit) => vit.layers + 1,
            NetSpec::Conv(conv) => conv.channels.len(),
            NetSpec::Linear(_) => 0,
        }
    }

    /// What a state has gone through.
    pub(crate) fn state_activation(&self) -> Activation {
        match self {
            NetSpec::Bag(_) | NetSpec::Conv(_) => Activation::Relu,
            NetSpec::TextTransformer(_) | NetSpec::Vit(_) | NetSpec::Linear(_) => Activation::None,
        }
    }

    /// Whether the low state is a row a token or a patch.
    pub fn low_is_sequence(&self) -> bool {
        matches!(self, NetSpec::TextTransformer(_) | NetSpec::Vit(_))
    }

    /// Dropout probability; 0 for those that have none.
    pub fn dropout(&self) -> f64 {
        match self {
            NetSpec::Bag(bag) => bag.dropout,
            NetSpec::Conv(conv) => conv.dropout,
            NetSpec::TextTransformer(_) | NetSpec::Vit(_) | NetSpec::Linear(_) => 0.0,
        }
    }

    /// How its words are chosen; none for what reads images.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            NetSpec::Bag(bag) => Some(&bag.vocabulary),
            NetSpec::TextTransformer(transformer) => Some(&transformer.vocabulary),
            NetSpec::Vit(_) | NetSpec::Conv(_) | NetSpec::Linear(_) => None,
        }
    }

    /// The most tokens of a text that it reads; none where any number will do.
    pub fn longest(&self) -> Option<usize> {
        match self {
            NetSpec::TextTransformer(transformer) => Some(transformer.longest),
            NetSpec::Bag(_) | NetSpec::Vit(_) | NetSpec::Conv(_) | NetSpec::Linear(_) => None,
        }
    }

    /// Whether its layers above the low state can read messages in that state's place. Those of a `conv` cannot: a map is no sequence, and
    /// messages are no neighbours of each other.
    pub fn interprets(&self) -> bool {
        !matches!(self, NetSpec::Conv(_) | NetSpec::Linear(_))
    }

    /// Whether all numbers are inside of their ranges.
    ///
    /// # Errors
    /// [`SpecError::Range`] names the first that is not.
    pub fn check(&self) -> Result<(), SpecError> {
        match self {
            NetSpec::Bag(bag) => bag.check(),
            NetSpec::TextTransformer(transformer) => transformer.check(),
            NetSpec::Vit(vit) => vit.check(),
            NetSpec::Conv(conv) => conv.check(),
            NetSpec::Linear(linear) => at_least_one("width", linear.width),
        }
    }

    /// Whether it can read such examples.
    ///
    /// # Errors
    /// [`SpecError::Inputs`] says why not.
    pub fn fits(&self, shape: &InputShape) -> Result<(), SpecError> {
        let wrong = |what: String, advice| Err(SpecError::Inputs { model: self.name(), what, advice });
        match (self, shape) {
            (NetSpec::Linear(linear), InputShape::Vectors { width }) if linear.width == *width => return Ok(()),
            (NetSpec::Linear(linear), InputShape::Vectors { width }) => {
                let what = format!("it reads vectors of {} numbers, and these have {width}", linear.width);
                return wrong(what, "train it anew on these");
            }
            (NetSpec::Linear(_), _) => return wrong("it reads vectors".to_owned(), "give it a teacher's states"),
            (_, InputShape::Vectors { .. }) => return wrong("the examples are vectors".to_owned(), "take `linear`"),
            _ => {}
        }
        match (self.vocabulary().is_some(), shape) {
            (true, InputShape::Images(_)) => {
                return wrong("it reads texts, and the examples are images".to_owned(), "take `vit` or `conv`");
            }
            (false, InputShape::Texts { .. }) => {
                return wrong("it reads images, and the examples are texts".to_owned(), "take `bag` or `text_transformer`");
            }
            (true, InputShape::Texts { vocabulary: 0 }) => {
                return wrong("there is no word, not even the unknown one".to_owned(), "learn its words from training texts");
            }
            (true, InputShape::Texts { .. }) | (false, InputShape::Images(_)) | (_, InputShape::Vectors { .. }) => {}
        }
        let InputShape::Images(image) = shape else { return Ok(()) };
        let (height, width) = (image.height, image.width);
        if [image.channels, height, width].contains(&0) {
            let what = format!("images of {} x {height} x {width} have no pixel", image.channels);
            return wrong(what, "give images of at least one channel and one pixel a side");
        }
        match self {
            NetSpec::Vit(vit) if !height.is_multiple_of(vit.patch) || !width.is_multiple_of(vit.patch) => wrong(
                format!("images of {height} x {width} pixels are no whole number of patches of {0} x {0}", vit.patch),
                "take a `patch` that both sides are multiples of",
            ),
            _ => Ok(()),
        }
    }

    /// Whether a network of this kind for examples of this shape can read these: what has to be asked of all examples before any of them are given
    /// to it.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] names the first example that it cannot read.
    pub fn reads(&self, shape: &InputShape, inputs: &Inputs) -> Result<(), ModelError> {
        let wrong = |what: String| Err(ModelError::Unsupported(format!("`{}`: {what}", self.name())));
        match (shape, inputs) {
            (InputShape::Texts { vocabulary }, Inputs::Texts(texts)) => {
                let longest = self.longest().unwrap_or(usize::MAX);
                for (row, text) in texts.iter().enumerate() {
                    if text.is_empty() {
                        return wrong(format!("text {row} has no token; give it an unknown one, as `Words` does"));
                    }
                    if text.len() > longest {
                        return wrong(format!(
                            "text {row} has {} tokens, and the longest may have {longest}; cut it",
                            text.len()
                        ));
                    }
                    if let Some(word) = text.iter().find(|&&word| word as usize >= *vocabulary) {
                        return wrong(format!(
                            "text {row} has the word {word}, and there are {vocabulary}; encode texts with the model's own words"
                        ));
                    }
                }
                Ok(())
            }
            (InputShape::Images(expected), Inputs::Images(pixels)) => {
                let sides = |shape: &ImageShape| format!("{} x {} x {}", shape.channels, shape.height, shape.width);
                if pixels.shape != *expected {
                    let (found, expected) = (sides(&pixels.shape), sides(expected));
                    return wrong(format!("images are {found}, and the model reads {expected}; scale them to that"));
                }
                match pixels.bytes.len().is_multiple_of(expected.bytes()) {
                    true => Ok(()),
                    false => wrong(format!("{} bytes are no whole number of {} images", pixels.bytes.len(), sides(expected))),
                }
            }
            (InputShape::Vectors { width }, Inputs::Vectors(vectors)) => {
                if vectors.width != *width || vectors.values.len() % width != 0 {
                    let found = format!("{} numbers of vectors of {}", vectors.values.len(), vectors.width);
                    return wrong(format!("{found}, and it reads vectors of {width}"));
                }
                match vectors.values.iter().position(|value| !value.is_finite()) {
                    None => Ok(()),
                    Some(place) => wrong(format!("vector {} has a number that is not finite", place / width)),
                }
            }
            (InputShape::Vectors { .. }, _) => wrong("it reads vectors, and these are none".to_owned()),
            (_, Inputs::Vectors(_)) => wrong("it reads no vectors, and these are some".to_owned()),
            (InputShape::Texts { .. }, Inputs::Images(_)) => wrong("it reads texts, and these are images".to_owned()),
            (InputShape::Images(_), Inputs::Texts(_)) => wrong("it reads images, and these are texts".to_owned()),
        }
    }
}
