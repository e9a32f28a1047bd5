//! Rows that do not fit into memory: read shard by shard, and mixed in a buffer before they are learnt from.
//!
//! In every epoch shards come in another order, and their rows, one after the other, go through a buffer of a given size: each row that is learnt
//! from is drawn from it, and the next row takes its place. The order follows from the seed, the epoch and the shards' sizes alone, so it is known
//! before anything is read, and a training that goes on in the middle of an epoch finds it again. What is held is one shard and the rows in
//! the buffer; only what a row is called and its class are in memory for all of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::classes::Inputs;
use crate::error::TrainError;
use crate::random::{Rng, Role};

/// Rows of a training in shards, in some place that is not memory.
pub trait Shards: Sync {
    /// The rows of each shard.
    fn sizes(&self) -> &[usize];

    /// Reads a shard, counted from 0.
    ///
    /// # Errors
    /// [`TrainError::Data`] where it cannot be read, or has other rows than [`Shards::sizes`] says.
    fn read(&self, shard: usize) -> Result<Shard, TrainError>;

    /// Words that tell these contents from others, such as those of a digest: contents are too many to be looked at whenever a training wants to
    /// know whether a checkpoint is its own. Without any, trainings of the same rows count as the same.
    fn identity(&self) -> &[u32] {
        &[]
    }
}

/// The rows of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// What is read of them.
    pub inputs: Inputs,
    /// What a teacher makes of them, as far as the method needs it.
    pub features: RowFeatures,
}

/// A teacher's features of some rows, row-major; empty where they are not needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowFeatures {
    /// (rows, low width)
    pub low: Vec<f32>,
    /// (rows, high width)
    pub high: Vec<f32>,
    /// Tokens of low states.
    pub tokens: Option<RowTokens>,
    /// (rows, outputs)
    pub output: Vec<f32>,
}

/// Tokens of some rows, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowTokens {
    /// How many each row has.
    pub lengths: Vec<usize>,
    /// (tokens, low width)
    pub values: Vec<f32>,
}

impl RowFeatures {
    /// Those of one row of `rows`.
    fn of(&self, row: usize, rows: usize) -> Self {
        let part = |values: &[f32]| {
            let width = values.len() / rows;
            values[row * width..(row + 1) * width].to_vec()
        };
        let tokens = self.tokens.as_ref().map(|RowTokens { lengths, values }| {
            let all: usize = lengths.iter().sum();
            let width = values.len().checked_div(all).unwrap_or(0);
            let start = lengths[..row].iter().sum::<usize>() * width;
            RowTokens { lengths: vec![lengths[row]], values: values[start..start + lengths[row] * width].to_vec() }
        });
        RowFeatures { low: part(&self.low), high: part(&self.high), tokens, output: part(&self.output) }
    }

    fn append(&mut self, other: Self) {
        self.low.extend(other.low);
        self.high.extend(other.high);
        self.output.extend(other.output);
        if let Some(RowTokens { lengths, values }) = other.tokens {
            let own = self.tokens.get_or_insert_default();
            own.lengths.extend(lengths);
            own.values.extend(values);
        }
    }
}

/// Rows that stream by.
pub struct Stream {
    shards: Box<dyn Shards + Send>,
    /// Where each shard begins.
    starts: Vec<usize>,
    /// The most rows that wait to be learnt from.
    buffer: usize,
    window: Mutex<Option<Window>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("sizes", &self.shards.sizes()).field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

/// Where an epoch is.
struct Window {
    seed: u64,
    epoch: usize,
    /// Shards that are still to be read, last one first.
    ahead: Vec<usize>,
    /// Where each row stands in the epoch's order.
    turn: Vec<u32>,
    /// Rows that have been learnt from.
    done: usize,
    /// The shard that rows are taken from, and how many have been.
    current: Option<(usize, Shard, usize)>,
    waiting: HashMap<u32, Shard>,
    /// The most rows that have waited.
    most: usize,
}

impl Stream {
    /// Rows of these shards, of which at most `buffer`, 1 or more, wait to be learnt from.
    pub fn new(shards: Box<dyn Shards + Send>, buffer: usize) -> Self {
        let starts = shards.sizes().iter().scan(0, |start, size| {
            *start += size;
            Some(*start - size)
        });
        Stream { starts: starts.collect(), shards, buffer: buffer.max(1), window: Mutex::new(None) }
    }

    /// All rows.
    pub fn rows(&self) -> usize {
        self.shards.sizes().iter().sum()
    }

    /// What makes a training on these rows this one: what the order of an epoch follows from, and what tells contents apart.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> + '_ {
        let shape = self.shards.sizes().iter().chain([&self.buffer]).map(|number| *number as u32);
        shape.chain(self.shards.identity().iter().copied())
    }

    /// The most rows of a shard, and the most that wait besides.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.shards.sizes().iter().copied().max().unwrap_or(0), self.buffer)
    }

    /// Every shard with its first row, in order.
    pub(crate) fn each(&self) -> impl Iterator<Item = Result<(usize, Shard), TrainError>> + '_ {
        self.starts.iter().enumerate().map(|(shard, start)| Ok((*start, self.read(shard)?)))
    }

    fn read(&self, shard: usize) -> Result<Shard, TrainError> {
        let read = self.shards.read(shard)?;
        let rows = self.shards.sizes()[shard];
        let RowFeatures { low, high, tokens, output } = &read.features;
        let uneven = [low, high, output].iter().any(|values| !values.len().is_multiple_of(rows));
        let lost = tokens.as_ref().is_some_and(|tokens| tokens.lengths.len() != rows);
        if read.inputs.len() != rows || uneven || lost {
            return Err(TrainError::Data {
                what: format!(
                    "shard {shard} has {} rows, or features of other rows, where {rows} are expected",
                    read.inputs.len()
                ),
                advice: "make the data set and the features again",
            });
        }
        Ok(read)
    }

    /// The order of an epoch, rows counted from 0 over all shards.
    pub(crate) fn order(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut rng = Rng::stream(seed, Role::Order, "", epoch as u64);
        let order = shard_order(self.shards.sizes().len(), &mut rng);
        let mut coming = self.rows_of(&order).into_iter();
        let mut waiting: Vec<u32> = coming.by_ref().take(self.buffer).collect();
        let mut out = Vec::with_capacity(self.rows());
        while !waiting.is_empty() {
            let at = rng.below(waiting.len() as u64) as usize;
            out.push(waiting[at]);
            match coming.next() {
                Some(next) => waiting[at] = next,
                None => drop(waiting.swap_remove(at)),
            }
        }
        out
    }

    /// All rows, in the order of their shards.
    fn rows_of(&self, order: &[usize]) -> Vec<u32> {
        let rows = |shard: &usize| self.starts[*shard] as u32..(self.starts[*shard] + self.shards.sizes()[*shard]) as u32;
        order.iter().flat_map(rows).collect()
    }

    fn window(&self) -> MutexGuard<'_, Option<Window>> {
        // A reader that panicked left a window that another one begins anew at worst.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rows out that are next in the order of an epoch: what is read of them, and a teacher's features.
    pub(crate) fn take(&self, places: &[u32], seed: u64, epoch: usize) -> Result<Shard, TrainError> {
        let mut held = self.window();
        // A batch that is not the next one, since a training goes on elsewhere, begins a new window.
        let next = |window: &Window| {
            (window.seed, window.epoch) == (seed, epoch)
                && places.first().is_none_or(|place| window.turn[*place as usize] as usize == window.done)
        };
        let window = match held.take() {
            Some(window) if next(&window) => held.insert(window),
            _ => held.insert(Window::begin(self, seed, epoch, places)),
        };
        let mut taken: Option<Shard> = None;
        for place in places {
            let row = window.row(self, *place)?;
            match &mut taken {
                None => taken = Some(row),
                Some(taken) => {
                    if !taken.inputs.append(row.inputs) {
                        return Err(TrainError::Data {
                            what: "shards hold examples of several kinds or sizes".to_owned(),
                            advice: "make the data set again",
                        });
                    }
                    taken.features.append(row.features);
                }
            }
        }
        window.done += places.len();
        taken.ok_or_else(|| TrainError::Data { what: "a batch has no rows".to_owned(), advice: "give training rows" })
    }

    /// The most rows that have waited in the epoch that is under way.
    #[cfg(test)]
    fn most(&self) -> usize {
        self.window().as_ref().map_or(0, |window| window.most)
    }
}

/// The order of the shards, which draws first.
fn shard_order(shards: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shards).collect();
    rng.shuffle(&mut order);
    order
}

impl Window {
    /// Before the first of `places` in the order of an epoch.
    fn begin(stream: &Stream, seed: u64, epoch: usize, places: &[u32]) -> Self {
        let order = stream.order(seed, epoch);
        let mut turn = vec![0; order.len()];
        for (at, place) in (0u32..).zip(&order) {
            turn[*place as usize] = at;
        }
        let mut ahead = shard_order(stream.shards.sizes().len(), &mut Rng::stream(seed, Role::Order, "", epoch as u64));
        ahead.reverse();
        let done = places.first().map_or(0, |place| turn[*place as usize] as usize);
        Window { seed, epoch, ahead, turn, done, current: None, waiting: HashMap::new(), most: 0 }
    }

    /// The row at a place, for which as many rows are read as have to be.
    fn row(&mut self, stream: &Stream, place: u32) -> Result<Shard, TrainError> {
        loop {
            if let Some(row) = self.waiting.remove(&place) {
                return Ok(row);
            }
            let Some((shard, read, next)) = &mut self.current else {
                let shard = self.ahead.pop().ok_or_else(|| TrainError::Data {
                    what: format!("row {place} comes by twice in an epoch"),
                    advice: "this is a fault of talkflow; report it",
                })?;
                self.current = Some((shard, stream.read(shard)?, 0));
                continue;
            };
            let rows = stream.shards.sizes()[*shard];
            if *next == rows {
                self.current = None;
                continue;
            }
            let at = (stream.starts[*shard] + *next) as u32;
            // What was learnt from before a training went on here is not kept.
            if self.turn[at as usize] as usize >= self.done {
                let inputs = read.inputs.pick(&[*next as u32]);
                self.waiting.insert(at, Shard { inputs, features: read.features.of(*next, rows) });
                self.most = self.most.max(self.waiting.len());
            }
            *next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::classes::Vectors;

    /// Vectors that say which row they are; counts what is read.
    struct Counted {
        sizes: Vec<usize>,
        reads: Arc<AtomicUsize>,
    }

    impl Shards for Counted {
        fn sizes(&self) -> &[usize] {
            &self.sizes
        }

        fn read(&self, shard: usize) -> Result<Shard, TrainError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let start: usize = self.sizes[..shard].iter().sum();
            let rows = start..start + self.sizes[shard];
            let lengths: Vec<usize> = rows.clone().map(|row| row % 3).collect();
            let tokens = rows.clone().flat_map(|row| vec![row as f32; 2 * (row % 3)]).collect();
            Ok(Shard {
                inputs: Inputs::Vectors(Vectors { width: 1, values: rows.clone().map(|row| row as f32).collect() }),
                features: RowFeatures {
                    low: rows.clone().flat_map(|row| [row as f32, -(row as f32)]).collect(),
                    high: Vec::new(),
                    tokens: Some(RowTokens { lengths, values: tokens }),
                    output: rows.map(|row| row as f32 + 0.5).collect(),
                },
            })
        }
    }

    fn stream(sizes: &[usize], buffer: usize) -> (Stream, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        (Stream::new(Box::new(Counted { sizes: sizes.to_vec(), reads: reads.clone() }), buffer), reads)
    }

    fn values(shard: &Shard) -> Vec<f32> {
        let Inputs::Vectors(vectors) = &shard.inputs else { panic!("vectors") };
        vectors.values.clone()
    }

    #[test]
    fn every_row_comes_once_with_what_belongs_to_it() {
        let sizes = [7, 1, 5, 12];
        let (stream, reads) = stream(&sizes, 6);
        for epoch in 0..2 {
            let order = stream.order(3, epoch);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..25).collect::<Vec<u32>>());
            for places in order.chunks(4) {
                let taken = stream.take(places, 3, epoch).unwrap();
                let rows: Vec<f32> = places.iter().map(|place| *place as f32).collect();
                assert_eq!(values(&taken), rows);
                assert_eq!(taken.features.low, rows.iter().flat_map(|row| [*row, -row]).collect::<Vec<f32>>());
                assert_eq!(taken.features.output, rows.iter().map(|row| row + 0.5).collect::<Vec<f32>>());
                let tokens = taken.features.tokens.unwrap();
                assert_eq!(tokens.lengths, places.iter().map(|place| *place as usize % 3).collect::<Vec<usize>>());
                let expected: Vec<f32> = places.iter().flat_map(|place| vec![*place as f32; 2 * (*place as usize % 3)]).collect();
                assert_eq!(tokens.values, expected);
            }
            // No more wait than the buffer holds and a batch takes.
            assert!(stream.most() <= 6 + 4, "{}", stream.most());
        }
        // Each shard once an epoch.
        assert_eq!(reads.load(Ordering::Relaxed), 2 * sizes.len());
        assert_ne!(stream.order(3, 0), stream.order(3, 1));
        assert_ne!(stream.order(3, 0), stream.order(4, 0));
    }

    /// A buffer that holds all rows mixes them all; one of a single row mixes none within a shard.
    #[test]
    fn the_buffer_says_how_far_rows_are_mixed() {
        let (one, _) = stream(&[8, 8], 1);
        let order = one.order(1, 0);
        assert!(order.chunks(8).all(|shard| shard.is_sorted()));
        let (all, _) = stream(&[50, 50], 100);
        let order = all.order(1, 0);
        let first: usize = order[..50].iter().filter(|row| **row < 50).count();
        assert!((10..40).contains(&first), "{first} of the first shard among the first half");
    }

    /// In the middle of an epoch, from nothing.
    #[test]
    fn an_epoch_goes_on_where_it_was() {
        let (whole, _) = stream(&[9, 4, 6], 5);
        let order = whole.order(2, 1);
        let batches: Vec<Vec<f32>> = order.chunks(3).map(|places| values(&whole.take(places, 2, 1).unwrap())).collect();
        for from in 0..batches.len() {
            let (again, _) = stream(&[9, 4, 6], 5);
            for (places, expected) in order.chunks(3).zip(&batches).skip(from) {
                assert_eq!(values(&again.take(places, 2, 1).unwrap()), *expected);
            }
            assert!(again.most() <= 5 + 3);
        }
    }

    #[test]
    fn a_shard_of_other_rows_is_refused() {
        struct Short;
        impl Shards for Short {
            fn sizes(&self) -> &[usize] {
                &[3]
            }

            fn read(&self, _: usize) -> Result<Shard, TrainError> {
                let inputs = Inputs::Vectors(Vectors { width: 1, values: vec![0.0; 2] });
                Ok(Shard { inputs, features: RowFeatures::default() })
            }
        }
        let stream = Stream::new(Box::new(Short), 2);
        let error = stream.take(&[0], 1, 0).unwrap_err().to_string();
        assert!(error.contains("shard 0 has 2 rows"), "{error}");
    }
}
