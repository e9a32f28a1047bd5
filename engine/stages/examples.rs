//! Examples with classes as stage kinds read them: a split of them, and what a network reads of some rows.
//!
//! What rows are called, their labels and their parts are in memory. Contents are read shard by shard, and of each only the rows that are wanted
//! are kept: all at once, or as they stream by, which [`super::streaming`] knows more of.

use std::sync::Arc;

use anyhow::{Context, bail};
use talkflow_datasets::{
    examples::{Content, Contents, Examples},
    split::{Part, Split},
};
use talkflow_distill::{
    Augment, ClassData, ClassPart, ImageShape, InputShape, Inputs, NetSpec, Pixels, Source, Standard, Stream, TokenCounts, Words,
};

use super::files;
use crate::{
    artifact::Digest,
    stage::{Input, StageCx},
};

/// What a stage that names a split of examples gets.
pub struct ClassRows {
    examples: Arc<Examples>,
    split: Split,
    classes: Vec<String>,
    /// Digest of the data set.
    pub digest: Digest,
}

impl ClassRows {
    /// Of the ports `rows` and `examples`.
    pub fn of(cx: &StageCx<'_>) -> anyhow::Result<Self> {
        Self::open(cx.input("rows")?, cx.input("examples")?)
    }

    /// Of a split and the data set that it is of.
    pub fn open(rows: &Input<'_>, data: &Input<'_>) -> anyhow::Result<Self> {
        let examples = Examples::open(&files::examples_files(data)?)
            .with_context(|| format!("cannot read the result of `{}`", data.instance))?;
        let split = files::split_of(rows, examples.len() as u64, "examples")?;
        let classes = examples.summary().class_names().map(str::to_owned).collect();
        Ok(Self { examples: Arc::new(examples), split, classes, digest: data.digest() })
    }

    /// The data set's name.
    pub fn name(&self) -> &str {
        &self.examples.summary().name
    }

    /// What the classes are called.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The rows of a part, ascending.
    pub fn part(&self, part: Part) -> Vec<u32> {
        self.split.rows(part)
    }

    /// The class of each row.
    pub fn labels(&self, rows: &[u32]) -> Vec<u32> {
        rows.iter().map(|&row| self.examples.labels()[row as usize]).collect()
    }

    /// How a network with a vocabulary learnt from the rows of training reads these. Texts are read for it once, a shard at a time.
    ///
    /// # Errors
    /// Where it reads something else than these are, or they cannot be read.
    pub fn reading(&self, net: &NetSpec) -> anyhow::Result<Reading> {
        let mut words = Words::default();
        if let (Some(vocabulary), Content::Texts) = (net.vocabulary(), self.examples.summary().content) {
            let (train, mut counts) = (self.part(Part::Train), TokenCounts::default());
            for rows in train.chunk_by(|a, b| self.examples.shard_of(*a) == self.examples.shard_of(*b)) {
                if let Contents::Texts(texts) = contents(&self.examples, rows)? {
                    counts.add(texts);
                }
            }
            words = counts.words(vocabulary);
        }
        self.reading_with(net, words)
    }

    /// How a network that knows these words reads examples.
    ///
    /// # Errors
    /// Where it reads something else than these are.
    pub fn reading_with(&self, net: &NetSpec, words: Words) -> anyhow::Result<Reading> {
        let shape = match self.examples.summary().content {
            Content::Texts => InputShape::Texts { vocabulary: words.vocabulary() },
            Content::Images(shape) => InputShape::Images(image_shape(shape)),
        };
        net.fits(&shape).with_context(|| format!("`{}`", self.name()))?;
        Ok(Reading { examples: Arc::clone(&self.examples), shape, longest: net.longest(), words: Arc::new(words) })
    }

    /// What a network reads of the rows for training and validation, all of it; it knows the words of the training rows.
    pub fn read_for(&self, net: &NetSpec) -> anyhow::Result<ReadExamples> {
        let reading = self.reading(net)?;
        let of = |part: Part| -> anyhow::Result<ReadPart> {
            let row = self.part(part);
            Ok(ReadPart { label: self.labels(&row), inputs: Held::Memory(reading.inputs(&row)?), row })
        };
        let train = of(Part::Train)?;
        let standard = match &train.inputs {
            Held::Memory(inputs) => Standard::of(inputs),
            Held::Stream(_) => Standard::default(),
        };
        Ok(ReadExamples { train, validation: of(Part::Validation)?, shape: reading.shape, words: reading.words, standard })
    }
}

/// What some rows, ascending, are. Of the shards that they lie in one is in memory.
fn contents(examples: &Examples, rows: &[u32]) -> anyhow::Result<Contents> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for rows in rows.chunk_by(|a, b| examples.shard_of(*a) == examples.shard_of(*b)) {
        let shard = examples.shard(examples.shard_of(rows[0]))?;
        let places = rows.iter().map(|row| (row - shard.rows.start) as usize);
        match shard.contents {
            Contents::Texts(mut all) => texts.extend(places.map(|place| std::mem::take(&mut all[place]))),
            Contents::Images(bytes) => {
                let size = bytes.len() / (shard.rows.len()).max(1);
                places.for_each(|place| images.extend_from_slice(&bytes[place * size..][..size]));
            }
        }
    }
    Ok(match examples.summary().content {
        Content::Texts => Contents::Texts(texts),
        Content::Images(_) => Contents::Images(images),
    })
}

/// How a network reads examples.
#[derive(Clone)]
pub struct Reading {
    examples: Arc<Examples>,
    /// What they have in common.
    pub shape: InputShape,
    longest: Option<usize>,
    /// The words of texts.
    pub words: Arc<Words>,
}

impl Reading {
    /// The shard of the examples' file that a row is in.
    pub fn shard_of(&self, row: u32) -> usize {
        self.examples.shard_of(row)
    }

    /// What is read of some rows, ascending.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn inputs(&self, rows: &[u32]) -> anyhow::Result<Inputs> {
        Ok(match (contents(&self.examples, rows)?, self.shape) {
            (Contents::Texts(texts), _) => Inputs::Texts(self.words.encode_all(texts, self.longest)),
            (Contents::Images(bytes), InputShape::Images(shape)) => Inputs::Images(Pixels { shape, bytes }),
            (Contents::Images(_), _) => bail!("`{}` holds images of no size", self.examples.summary().name),
        })
    }
}

fn image_shape(shape: talkflow_datasets::examples::Shape) -> ImageShape {
    ImageShape { channels: shape.channels, height: shape.height, width: shape.width }
}

/// Where what is read of a part's rows is.
pub enum Held {
    /// In memory.
    Memory(Inputs),
    /// Where it lies, to be read shard by shard.
    Stream(Box<Stream>),
}

/// The rows of a part.
pub struct ReadPart {
    /// The rows, ascending.
    pub row: Vec<u32>,
    /// The class of each.
    pub label: Vec<u32>,
    /// What is read of them.
    pub inputs: Held,
}

impl ReadPart {
    fn part(&self) -> ClassPart<'_> {
        let inputs = match &self.inputs {
            Held::Memory(inputs) => Source::Memory(inputs),
            Held::Stream(stream) => Source::Stream(stream),
        };
        ClassPart { row: &self.row, label: &self.label, inputs }
    }
}

/// What a network reads of the rows for training and validation.
pub struct ReadExamples {
    /// Rows that weights are fitted to.
    pub train: ReadPart,
    /// Rows that epochs are judged by.
    pub validation: ReadPart,
    /// What all have in common.
    pub shape: InputShape,
    /// The words of texts, those of the training rows.
    pub words: Arc<Words>,
    /// What images and vectors are standardised by, that of the training rows.
    pub standard: Standard,
}

impl ReadExamples {
    /// The same, as a training takes it.
    pub fn data(&self, classes: usize) -> ClassData<'_> {
        let Self { train, validation, shape, words, standard } = self;
        ClassData {
            train: train.part(),
            validation: validation.part(),
            standard,
            shape: *shape,
            classes,
            words,
            augment: Augment::default(),
        }
    }
}
