//! Where the features of each row of examples lie, for whoever reads some rows at a time: which shard has it, and at which place.
//!
//! Of all rows it holds what they are called, four bytes each, and of features nothing. What is read is what is asked for: some rows of one shard,
//! some of their taps.

use std::ops::Range;

use anyhow::{Context, ensure};

use super::{
    STATS, Tap,
    moments::Stats,
    shards::{Shard, Shards, Wanted},
};
use crate::{fields::Choice, stage::Input, stages::files};

/// Bytes of a stretch.
const STRETCH: usize = 4 << 20;

/// Features of examples, opened to be read some rows at a time.
#[derive(Clone, Debug)]
pub struct Index {
    instance: String,
    shards: Shards,
    /// All rows, ascending; their places are counted over all shards.
    rows: Vec<u32>,
    /// The place of each shard's first row, and behind the last how many rows there are.
    starts: Vec<usize>,
    stats: Stats,
    token_width: Option<usize>,
}

impl Index {
    /// Opens a features artifact of examples.
    ///
    /// # Errors
    /// Where a file cannot be read, or rows do not ascend.
    pub fn open(input: &Input<'_>) -> anyhow::Result<Self> {
        Self::of(input.instance, Shards::of(input)?, files::json(&input.file(STATS)?)?)
    }

    pub(super) fn of(instance: &str, shards: Shards, stats: Stats) -> anyhow::Result<Self> {
        ensure!(!shards.is_empty(), "`{instance}` holds no features of examples");
        let (mut rows, mut starts, mut token_width) = (Vec::new(), vec![0], None);
        for number in 0..shards.len() {
            let shard = shards.open(number)?;
            rows.extend(shard.rows()?);
            starts.push(rows.len());
            token_width = token_width.or(shard.token_width());
        }
        ensure!(rows.is_sorted_by(|a, b| a < b), "the shards of `{instance}` are not in the order of their rows");
        Ok(Self { instance: instance.to_owned(), shards, rows, starts, stats, token_width })
    }

    /// The rows, ascending.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The places of a shard's rows, numbered from 0.
    pub fn places(&self, shard: usize) -> Range<usize> {
        self.starts[shard]..self.starts[shard + 1]
    }

    /// The shard that has a row, or would have it.
    pub fn shard_of(&self, row: u32) -> usize {
        let place = self.rows.partition_point(|known| *known < row);
        // Of empty shards none has it.
        (self.starts.partition_point(|start| *start <= place) - 1).min(self.shards() - 1)
    }

    /// Of the stretch of about 4 MiB that has a row, the shard and its number within that: pieces for those who read high states and nothing else.
    pub fn stretch_of(&self, row: u32) -> (usize, usize) {
        let shard = self.shard_of(row);
        let place = self.rows.partition_point(|known| *known < row);
        let width = self.stat(Tap::High).map_or(1, |(width, _)| width.max(1));
        (shard, place.saturating_sub(self.starts[shard]) / (STRETCH / (4 * width)).max(1))
    }

    /// Numbers and variances of a tap; none where it was not cached.
    pub fn stat(&self, tap: Tap) -> Option<(usize, &[f32])> {
        self.stats.of(tap.word()).map(|stat| (stat.width, stat.variance.as_slice()))
    }

    /// Numbers in a token, where tokens were cached.
    pub fn token_width(&self) -> Option<usize> {
        self.token_width
    }

    /// Refuses rows, ascending, of which some have no features here; `parts` are those they are of, in words.
    ///
    /// # Errors
    /// Names the first that has none.
    pub fn refuse_missing(&self, rows: &[u32], parts: &str) -> anyhow::Result<()> {
        let missing = rows.iter().find(|row| self.rows.binary_search(row).is_err());
        match missing {
            Some(row) => anyhow::bail!("`{}` holds no features of row {row}: add {parts} to its `parts`", self.instance),
            None => Ok(()),
        }
    }

    /// Features of some rows, ascending, which lie in one shard: only the stretch from the first to the last is read.
    ///
    /// # Errors
    /// Where a row has none, the file cannot be read, or a tap has another width than `stats.json` says.
    pub fn read(&self, rows: &[u32], wanted: &Wanted) -> anyhow::Result<Shard> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Shard::default()) };
        let number = self.shard_of(*first);
        let place = |row: &u32| {
            let place = self.rows.binary_search(row).ok().filter(|place| self.places(number).contains(place));
            place.with_context(|| format!("`{}` holds no features of row {row} in its shard {number}", self.instance))
        };
        let start = self.places(number).start;
        let (from, to) = (place(first)? - start, place(last)? + 1 - start);
        let read = self.shards.open(number)?.part(from..to, wanted)?;
        for (tap, (width, _)) in &read.states {
            let known = self.stat(*tap).is_some_and(|(known, _)| known == *width);
            ensure!(known, "the {STATS} of `{}` knows no `{}` of {width} numbers", self.instance, tap.word());
        }
        let kept = rows.iter().map(|row| Ok(place(row)? - start - from)).collect::<anyhow::Result<Vec<usize>>>()?;
        read.picked(&kept)
    }
}

#[cfg(test)]
impl Index {
    /// Of shards that are written into a folder.
    pub fn planted(folder: &std::path::Path, instance: &str, planted: &[Shard]) -> anyhow::Result<Self> {
        let mut moments: std::collections::BTreeMap<Tap, super::moments::Moments> = Default::default();
        let mut paths = Vec::new();
        for (number, shard) in planted.iter().enumerate() {
            for (tap, (width, values)) in &shard.states {
                moments.entry(*tap).or_insert_with(|| super::moments::Moments::new(*width)).add(values);
            }
            paths.push(folder.join(format!("{number:05}.safetensors")));
            Self::plant(&paths[number], shard)?;
        }
        let stats = Stats(moments.into_iter().map(|(tap, moments)| moments.stat(tap.word())).collect());
        Self::of(instance, Shards::at(paths), stats)
    }

    /// Writes a shard.
    pub fn plant(path: &std::path::Path, shard: &Shard) -> anyhow::Result<()> {
        shard.write(path, super::shards::Dtype::F32)
    }

    /// Of shards that have been written, of high states of so many numbers.
    pub fn found(paths: Vec<std::path::PathBuf>, width: usize) -> anyhow::Result<Self> {
        let stats = Stats(vec![super::moments::Moments::new(width).stat(Tap::High.word())]);
        Self::of("features", Shards::at(paths), stats)
    }
}
