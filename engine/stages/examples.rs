//! Examples with classes as stage kinds read them: a split of them, and what a network reads of some rows.
//!
//! Contents are read shard by shard, and of each only the rows that are wanted are kept.

use anyhow::{Context, bail};
use talkflow_datasets::{
    examples::{Content, Contents, Examples},
    split::{Part, Split},
};
use talkflow_distill::{
    Augment, ClassData, ClassExamples, ImageShape, InputShape, Inputs, NetSpec, Pixels, Standard, Vectors, Words,
};

use super::files;
use crate::{
    artifact::Digest,
    stage::{Input, StageCx},
};

/// What a stage that names a split of examples gets.
pub struct ClassRows {
    examples: Examples,
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
        Ok(Self { examples, split, classes, digest: data.digest() })
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

    /// What some rows, ascending, are.
    fn contents(&self, rows: &[u32]) -> anyhow::Result<Contents> {
        let mut rest = rows;
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for number in 0..self.examples.shards() {
            let shard = self.examples.shard(number)?;
            let within = rest.partition_point(|row| *row < shard.rows.end);
            let (here, later) = rest.split_at(within);
            rest = later;
            let places = here.iter().map(|row| (row - shard.rows.start) as usize);
            match shard.contents {
                Contents::Texts(mut all) => texts.extend(places.map(|place| std::mem::take(&mut all[place]))),
                Contents::Images(bytes) => {
                    let size = bytes.len() / (shard.rows.len()).max(1);
                    places.for_each(|place| images.extend_from_slice(&bytes[place * size..][..size]));
                }
            }
        }
        Ok(match self.examples.summary().content {
            Content::Texts => Contents::Texts(texts),
            Content::Images(_) => Contents::Images(images),
        })
    }

    /// What a network that knows `words` reads of some rows, ascending.
    ///
    /// # Errors
    /// Where it reads something else than these are.
    pub fn inputs(&self, rows: &[u32], net: &NetSpec, words: &Words) -> anyhow::Result<Inputs> {
        let shape = match self.examples.summary().content {
            Content::Texts => InputShape::Texts { vocabulary: words.vocabulary() },
            Content::Images(shape) => InputShape::Images(image_shape(shape)),
        };
        net.fits(&shape).with_context(|| format!("`{}`", self.name()))?;
        Ok(match (self.contents(rows)?, shape) {
            (Contents::Texts(texts), _) => Inputs::Texts(words.encode_all(texts, net.longest())),
            (Contents::Images(bytes), InputShape::Images(shape)) => Inputs::Images(Pixels { shape, bytes }),
            (Contents::Images(_), _) => bail!("`{}` holds images of no size", self.name()),
        })
    }

    /// What a network reads of the rows for training and validation; it knows the words of the training rows.
    pub fn read_for(&self, net: &NetSpec) -> anyhow::Result<ReadExamples> {
        let [train, validation] = [Part::Train, Part::Validation].map(|part| self.part(part));
        let words = match (net.vocabulary(), self.contents_of_texts(&train)?) {
            (Some(vocabulary), Some(texts)) => Words::learn(texts, vocabulary),
            _ => Words::default(),
        };
        let of = |rows: Vec<u32>| -> anyhow::Result<ClassExamples> {
            Ok(ClassExamples { inputs: self.inputs(&rows, net, &words)?, label: self.labels(&rows), row: rows })
        };
        let (train, validation) = (of(train)?, of(validation)?);
        let shape = match &train.inputs {
            Inputs::Images(pixels) => InputShape::Images(pixels.shape),
            _ => InputShape::Texts { vocabulary: words.vocabulary() },
        };
        Ok(ReadExamples { standard: Standard::of(&train.inputs), train, validation, shape, words })
    }

    fn contents_of_texts(&self, rows: &[u32]) -> anyhow::Result<Option<Vec<String>>> {
        Ok(match self.examples.summary().content {
            Content::Texts => match self.contents(rows)? {
                Contents::Texts(texts) => Some(texts),
                Contents::Images(_) => None,
            },
            Content::Images(_) => None,
        })
    }

    /// The rows for training and validation with a vector each in place of what they are.
    pub fn read_vectors(&self, width: usize, vector: impl Fn(u32) -> anyhow::Result<Vec<f32>>) -> anyhow::Result<ReadExamples> {
        let of = |part: Part| -> anyhow::Result<ClassExamples> {
            let rows = self.part(part);
            let values: Vec<Vec<f32>> = rows.iter().map(|&row| vector(row)).collect::<anyhow::Result<_>>()?;
            let inputs = Inputs::Vectors(Vectors { width, values: values.concat() });
            Ok(ClassExamples { inputs, label: self.labels(&rows), row: rows })
        };
        let train = of(Part::Train)?;
        Ok(ReadExamples {
            standard: Standard::of(&train.inputs),
            train,
            validation: of(Part::Validation)?,
            shape: InputShape::Vectors { width },
            words: Words::default(),
        })
    }
}

fn image_shape(shape: talkflow_datasets::examples::Shape) -> ImageShape {
    ImageShape { channels: shape.channels, height: shape.height, width: shape.width }
}

/// What a network reads of the rows for training and validation.
pub struct ReadExamples {
    /// Rows that weights are fitted to.
    pub train: ClassExamples,
    /// Rows that epochs are judged by.
    pub validation: ClassExamples,
    shape: InputShape,
    words: Words,
    standard: Standard,
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
