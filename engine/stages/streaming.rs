//! Trainings on examples and features that do not fit into memory: rows are read piece by piece, and mixed in a buffer.
//!
//! A *piece* is what is read at once: the rows of a part that lie in one shard of the examples, one shard of the features and one group of a
//! probe's predictions. The three files have shards of their own, which do not line up; a piece ends where any of theirs does. So whatever the
//! files' shards are, one of each is in memory at most (of states that are all that is read, a stretch of some megabytes), beside the rows in the buffer, and what rows are called and their classes for all of
//! them. How rows are mixed is `talkflow_distill`'s: this room only knows where they lie.

use std::sync::Arc;

use anyhow::Context;
use talkflow_datasets::split::Part;
use talkflow_distill::{
    InputShape, Inputs, NetSpec, RowFeatures, RowTokens, Shard, Shards, Standard, Stream, TeacherNeeds, TrainError, Vectors,
    Words,
};

use super::{
    cache_features::{Index, Tap, shards, shards::Wanted},
    examples::{ClassRows, Held, ReadExamples, ReadPart, Reading},
    probe::LyingOutputs,
    settings::LARGEST,
};
use crate::{artifact::Digest, fields::Fields};

#[cfg(test)]
mod tests;

/// `stream`: rows are read as they are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streaming {
    /// The most rows that wait to be learnt from.
    pub buffer: usize,
}

/// Reads it; without it all rows are in memory.
pub fn read(f: &mut Fields<'_>) -> Option<Streaming> {
    f.optional_section("stream", |f| Streaming { buffer: f.count("buffer", None, 1..=LARGEST) })
}

/// What is read of a row.
#[derive(Clone)]
enum What {
    /// An example.
    Example(Reading),
    /// A teacher's high state, in the example's place.
    High(Arc<Index>),
}

/// What of a teacher comes with each row.
#[derive(Clone, Default)]
pub struct Cached {
    /// States and tokens, and which of them.
    pub features: Option<(Arc<Index>, Wanted)>,
    /// Predictions.
    pub outputs: Option<Arc<LyingOutputs>>,
}

impl Cached {
    /// Of features and of a probe's predictions, what a method needs.
    pub fn of(features: Option<Arc<Index>>, outputs: Option<Arc<LyingOutputs>>, needs: TeacherNeeds) -> Self {
        const TAPS: [&[Tap]; 4] = [&[], &[Tap::Low], &[Tap::High], &[Tap::Low, Tap::High]];
        let wanted = Wanted { taps: TAPS[usize::from(needs.low) + 2 * usize::from(needs.high)], tokens: needs.tokens };
        Self { features: features.map(|index| (index, wanted)), outputs }
    }
}

/// The rows of a part, where they lie.
struct Pieces {
    what: What,
    cached: Cached,
    rows: Vec<u32>,
    sizes: Vec<usize>,
    /// Where each piece begins.
    starts: Vec<usize>,
    identity: Vec<u32>,
}

impl Pieces {
    fn new(what: What, cached: Cached, rows: Vec<u32>, of: &[Digest]) -> Self {
        let key = |row: u32| {
            let lies = match &what {
                What::Example(reading) => (reading.shard_of(row), 0),
                What::High(index) => index.stretch_of(row),
            };
            let features = cached.features.as_ref().map(|(index, _)| index.shard_of(row));
            (lies, features, cached.outputs.as_ref().map(|outputs| outputs.group_of(row)))
        };
        let sizes: Vec<usize> = rows.chunk_by(|a, b| key(*a) == key(*b)).map(<[u32]>::len).collect();
        let starts = sizes.iter().scan(0, |next, size| {
            *next += size;
            Some(*next - size)
        });
        let starts = starts.collect();
        let words = of.iter().flat_map(|digest| digest.as_bytes().as_chunks::<4>().0).map(|word| u32::from_le_bytes(*word));
        Self { identity: words.collect(), what, cached, rows, sizes, starts }
    }

    fn piece(&self, number: usize) -> anyhow::Result<Shard> {
        let (start, size) = self.starts.get(number).zip(self.sizes.get(number)).context("there is no such piece")?;
        let rows = &self.rows[*start..start + size];
        let inputs = match &self.what {
            What::Example(reading) => reading.inputs(rows)?,
            What::High(index) => high_states(index, rows)?,
        };
        let mut features = match &self.cached.features {
            Some((index, wanted)) => row_features(index.read(rows, wanted)?),
            None => RowFeatures::default(),
        };
        if let Some(outputs) = &self.cached.outputs {
            features.output = outputs.of(rows)?;
        }
        Ok(Shard { inputs, features })
    }
}

impl Shards for Pieces {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn read(&self, shard: usize) -> Result<Shard, TrainError> {
        self.piece(shard).map_err(|error| TrainError::Data {
            what: format!("{error:#}"),
            advice: "let the stage that made it run again, or name another",
        })
    }

    fn identity(&self) -> &[u32] {
        &self.identity
    }
}

/// The high states of some rows that lie in one shard, as what a head reads.
pub fn high_states(index: &Index, rows: &[u32]) -> anyhow::Result<Inputs> {
    let mut shard = index.read(rows, &Wanted { taps: &[Tap::High], tokens: false })?;
    let (width, values) = shard.states.remove(&Tap::High).context("a shard has lost its `high` states")?;
    Ok(Inputs::Vectors(Vectors { width, values }))
}

fn row_features(shard: shards::Shard) -> RowFeatures {
    let mut states = shard.states;
    let mut take = |tap| states.remove(&tap).map(|(_, values)| values).unwrap_or_default();
    let lengths = |starts: &[usize]| starts.windows(2).map(|ends| ends[1] - ends[0]).collect();
    RowFeatures {
        low: take(Tap::Low),
        high: take(Tap::High),
        tokens: shard.tokens.map(|tokens| RowTokens { lengths: lengths(&tokens.starts), values: tokens.values }),
        output: Vec::new(),
    }
}

impl Streaming {
    fn part(self, rows: &ClassRows, part: Part, pieces: impl FnOnce(Vec<u32>) -> Pieces) -> ReadPart {
        let row = rows.part(part);
        // Of rows that only judge, the order counts for nothing: one waits at a time.
        let buffer = if part == Part::Train { self.buffer } else { 1 };
        let stream = Stream::new(Box::new(pieces(row.clone())), buffer);
        ReadPart { label: rows.labels(&row), row, inputs: Held::Stream(Box::new(stream)) }
    }

    /// Examples as a network reads them; with those for training comes what is cached of a teacher. `of` are the artifacts that this is, by digest.
    ///
    /// # Errors
    /// Where a training row has no features or predictions, or something cannot be read.
    pub fn examples(self, rows: &ClassRows, net: &NetSpec, cached: Cached, of: &[Digest]) -> anyhow::Result<ReadExamples> {
        let train = rows.part(Part::Train);
        if let Some((index, _)) = &cached.features {
            index.refuse_missing(&train, "`train`")?;
        }
        if let Some(outputs) = &cached.outputs {
            outputs.refuse_missing(&train)?;
        }
        let reading = rows.reading(net)?;
        let what = What::Example(reading.clone());
        // Nothing of a teacher is read for the means of the examples.
        let bare = Stream::new(Box::new(Pieces::new(what.clone(), Cached::default(), train, &[])), 1);
        let standard = match reading.shape {
            InputShape::Texts { .. } => Standard::default(),
            InputShape::Images(_) | InputShape::Vectors { .. } => Standard::of_stream(&bare)?,
        };
        Ok(ReadExamples {
            train: self.part(rows, Part::Train, |row| Pieces::new(what.clone(), cached, row, of)),
            validation: self.part(rows, Part::Validation, |row| Pieces::new(what, Cached::default(), row, of)),
            shape: reading.shape,
            words: reading.words,
            standard,
        })
    }

    /// A teacher's high states as a head reads them; nothing is read of the examples but their labels.
    ///
    /// # Errors
    /// Where a shard cannot be read.
    pub fn states(self, rows: &ClassRows, index: &Arc<Index>, width: usize, of: &[Digest]) -> anyhow::Result<ReadExamples> {
        let part = |part: Part| {
            let pieces = |row| Pieces::new(What::High(Arc::clone(index)), Cached::default(), row, of);
            self.part(rows, part, pieces)
        };
        let train = part(Part::Train);
        let standard = match &train.inputs {
            Held::Stream(stream) => Standard::of_stream(stream)?,
            Held::Memory(inputs) => Standard::of(inputs),
        };
        Ok(ReadExamples {
            train,
            validation: part(Part::Validation),
            shape: InputShape::Vectors { width },
            words: Arc::new(Words::default()),
            standard,
        })
    }
}
