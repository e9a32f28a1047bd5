//! Cached features, opened: all of them at once, or shard by shard.

use std::path::Path;

use anyhow::{Context, ensure};
use arrow::array::{Array, FixedSizeListArray, Float32Array, UInt32Array};
use talkflow_distill::{States, TokenStates};

use super::{
    FEATURES, STATS, Tap,
    moments::Stats,
    shards::{Shards, Tokens},
};
use crate::{fields::Choice, stage::Input, stages::files};

/// Cached features in memory.
pub struct Features {
    /// The rows they are of.
    pub row: Vec<u32>,
    low: Option<Loaded>,
    high: Option<Loaded>,
    embeddings: Option<Loaded>,
    output: Option<Loaded>,
    tokens: Option<Tokens>,
}

struct Loaded {
    width: usize,
    values: Vec<f32>,
    variance: Vec<f32>,
}

impl Features {
    /// Opens a features artifact. Numbers of half precision become single.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn open(input: &Input<'_>) -> anyhow::Result<Self> {
        let stats: Stats = files::json(&input.file(STATS)?)?;
        let shards = Self::shards(input)?;
        if shards.is_empty() { Self::of_ratings(input, &stats) } else { Self::of_shards(&shards, &stats) }
    }

    /// The shards of features of examples, to be read one at a time; features of ratings have none.
    ///
    /// # Errors
    /// Where the artifact lacks one.
    pub fn shards(input: &Input<'_>) -> anyhow::Result<Shards> {
        Shards::of(input)
    }

    fn of_shards(shards: &Shards, stats: &Stats) -> anyhow::Result<Self> {
        let mut all = Self { row: Vec::new(), low: None, high: None, embeddings: None, output: None, tokens: None };
        for number in 0..shards.len() {
            let shard = shards.read(number)?;
            for (tap, (width, values)) in shard.states {
                let stat = stats.of(tap.word()).filter(|stat| stat.width == width);
                let stat = stat.with_context(|| format!("{STATS} knows no `{}` of {width} numbers", tap.word()))?;
                let slot = match tap {
                    Tap::Low => &mut all.low,
                    Tap::High => &mut all.high,
                    Tap::Embeddings => &mut all.embeddings,
                    Tap::Output => &mut all.output,
                };
                let into = slot.get_or_insert_with(|| Loaded { width, values: Vec::new(), variance: stat.variance.clone() });
                into.values.extend(values);
            }
            if let Some(tokens) = shard.tokens {
                let into = all.tokens.get_or_insert_with(|| Tokens { width: tokens.width, starts: vec![0], values: Vec::new() });
                ensure!(into.width == tokens.width, "shards have tokens of {} and of {} numbers", into.width, tokens.width);
                let before = into.starts.last().copied().unwrap_or(0);
                into.starts.extend(tokens.starts.iter().skip(1).map(|start| before + start));
                into.values.extend(tokens.values);
            }
            all.row.extend(shard.row);
        }
        let rows = all.row.len();
        let taps = [&all.low, &all.high, &all.embeddings, &all.output];
        let whole = taps.into_iter().flatten().all(|tap| tap.values.len() == rows * tap.width);
        ensure!(whole && all.tokens.as_ref().is_none_or(|tokens| tokens.starts.len() == rows + 1), "shards have different taps");
        Ok(all)
    }

    fn of_ratings(input: &Input<'_>, stats: &Stats) -> anyhow::Result<Self> {
        let path = input.file(FEATURES)?;
        let batch = files::read_parquet(&path)?;
        let load = |name: &str| -> anyhow::Result<Option<Loaded>> {
            let Some(column) = batch.column_by_name(name) else { return Ok(None) };
            let stat = stats.of(name).with_context(|| format!("{} has no `{name}`", Path::new(STATS).display()))?;
            let column = match column.as_any().downcast_ref::<FixedSizeListArray>() {
                Some(list) => list.values().clone(),
                None => column.clone(),
            };
            let values = column.as_any().downcast_ref::<Float32Array>().with_context(|| format!("`{name}` holds no floats"))?;
            Ok(Some(Loaded { width: stat.width, values: values.values().to_vec(), variance: stat.variance.clone() }))
        };
        let row = batch.column_by_name("row").and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
        let row = row.with_context(|| format!("{} has no column `row`", path.display()))?.values().to_vec();
        let (low, high, embeddings, output) = (load("low")?, load("high")?, load("embeddings")?, load("output")?);
        Ok(Self { row, low, high, embeddings, output, tokens: None })
    }

    /// Low states.
    pub fn low(&self) -> Option<States<'_>> {
        self.low.as_ref().map(Loaded::states)
    }

    /// High states.
    pub fn high(&self) -> Option<States<'_>> {
        self.high.as_ref().map(Loaded::states)
    }

    /// Embeddings of users and items, side by side.
    pub fn embeddings(&self) -> Option<States<'_>> {
        self.embeddings.as_ref().map(Loaded::states)
    }

    /// The tokens of low states.
    pub fn tokens(&self) -> Option<TokenStates<'_>> {
        self.tokens.as_ref().map(|Tokens { width, starts, values }| TokenStates { width: *width, starts, values })
    }

    /// Predictions, or logits of classes.
    pub fn output(&self) -> Option<&[f32]> {
        self.output.as_ref().map(|output| output.values.as_slice())
    }
}

impl Loaded {
    fn states(&self) -> States<'_> {
        States { width: self.width, values: &self.values, variance: &self.variance }
    }
}
