//! `cache_features`: a frozen teacher's states and predictions for given rows, computed once. They are functions of the row
//! alone; what depends on a student's messages is computed live by whoever trains the student.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use arrow::{
    array::{Array, ArrayRef, FixedSizeListArray, Float32Array, UInt32Array},
    datatypes::{DataType, Field},
};
use serde::{Deserialize, Serialize};
use talkflow_datasets::split::Part;
use talkflow_distill::{States, means, variances};

use super::{files, files::Rows, settings, settings::Filter};
use crate::{
    artifact::{ArtifactKind, Digest},
    fields::{Choice, Fields},
    stage::{Device, Input, Stage, StageCx},
};

/// The features.
pub const FEATURES: &str = "features.parquet";
/// Mean and variance of each dimension.
pub const STATS: &str = "stats.json";

/// Whose features they are.
pub const TEACHER: &str = "teacher.json";

/// A model by its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// Digest of the weights' file.
    weights: Option<Digest>,
}

/// The weights of a model's artifact.
pub fn weights_of(model: &Input<'_>) -> Weights {
    Weights { weights: model.files.0.get(files::WEIGHTS).map(|entry| entry.digest) }
}

/// What of a teacher can be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tap {
    /// The state after its first hidden layer.
    Low,
    /// The input of its last layer.
    High,
    /// Its embeddings of the user and the item.
    Embeddings,
    /// Its prediction.
    Output,
}

impl Choice for Tap {
    const WORDS: &'static [(&'static str, Self)] =
        &[("low", Self::Low), ("high", Self::High), ("embeddings", Self::Embeddings), ("output", Self::Output)];
}

/// A part of a split, as manifests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartWord(pub Part);

impl Choice for PartWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("train", Self(Part::Train)), ("validation", Self(Part::Validation)), ("test", Self(Part::Test))];
}

/// Its settings.
#[derive(Clone, Debug)]
pub struct CacheFeatures {
    pub(super) filter: Filter,
    parts: Vec<PartWord>,
    pub(super) taps: Vec<Tap>,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> CacheFeatures {
    f.stage("teacher", ArtifactKind::Model);
    f.stage("rows", ArtifactKind::Split);
    f.through("rows", "rows", "ratings");
    let filter = settings::filter(f);
    let parts = f.choices("parts", Some(&[PartWord(Part::Train)]));
    let taps = f.choices("taps", Some(&[Tap::Low, Tap::High, Tap::Output]));
    if parts.contains(&PartWord(Part::Test)) {
        f.mistake("parts", "a student must not learn from a teacher's states of test rows", Some("leave `test` out"));
    }
    for (key, empty) in [("parts", parts.is_empty()), ("taps", taps.is_empty())] {
        if empty && f.has(key) {
            f.mistake(key, "there is nothing to cache", Some("name at least one"));
        }
    }
    CacheFeatures { filter, parts, taps }
}

impl Stage for CacheFeatures {
    fn kind(&self) -> &'static str {
        "cache_features"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, _device: Device) -> Option<String> {
        // A forward pass of a small model: always on the processor.
        Some(settings::backend(Device::Cpu))
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let rows = Rows::of(cx, &self.filter)?;
        let teacher = files::model(cx.input("teacher")?)?;
        files::refuse_other_data(&teacher.config, cx.input("teacher")?.instance, rows.ratings_digest)?;
        let parts: Vec<Part> = self.parts.iter().map(|part| part.0).collect();
        let examples = rows.examples(&parts);
        let taps = teacher.model.taps(&examples.user, &examples.item)?;
        let mut stats = Stats::default();
        let mut columns: Vec<(&str, ArrayRef)> = vec![("row", Arc::new(UInt32Array::from(examples.row)))];
        for (name, tap) in Tap::WORDS.iter().filter(|(_, tap)| self.taps.contains(tap)) {
            let (width, values) = match tap {
                Tap::Low => (taps.low_width, &taps.low),
                Tap::High => (taps.high_width, &taps.high),
                Tap::Embeddings => (taps.embeddings_width, &taps.embeddings),
                Tap::Output => (1, &taps.output),
            };
            stats.0.push(Stat { tap: (*name).to_owned(), width, mean: means(values, width), variance: variances(values, width) });
            columns.push((name, states(values, width, *tap)?));
        }
        files::write_parquet(&cx.out.join(FEATURES), columns)?;
        files::write_json(&cx.out.join(STATS), &stats)?;
        // Who learns from the features has to know what the teacher learnt from.
        files::copy(cx.input("teacher")?, &[files::TRAIN_ROWS, files::CONFIG], cx.out)?;
        files::write_json(&cx.out.join(TEACHER), &weights_of(cx.input("teacher")?))?;
        cx.metric("rows", examples.user.len());
        cx.metric("taps", self.taps.len());
        Ok(())
    }
}

fn states(values: &[f32], width: usize, tap: Tap) -> anyhow::Result<ArrayRef> {
    let values = Float32Array::from(values.to_vec());
    if tap == Tap::Output {
        return Ok(Arc::new(values));
    }
    let field = Arc::new(Field::new("item", DataType::Float32, false));
    Ok(Arc::new(FixedSizeListArray::try_new(field, i32::try_from(width)?, Arc::new(values), None)?))
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Stats(Vec<Stat>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stat {
    tap: String,
    width: usize,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

/// Cached features, opened.
pub struct Features {
    /// The rows they are of.
    pub row: Vec<u32>,
    low: Option<Loaded>,
    high: Option<Loaded>,
    embeddings: Option<Loaded>,
    output: Option<Loaded>,
}

struct Loaded {
    width: usize,
    values: Vec<f32>,
    variance: Vec<f32>,
}

impl Features {
    /// Opens a features artifact.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn open(input: &Input<'_>) -> anyhow::Result<Self> {
        let path = input.file(FEATURES)?;
        let batch = files::read_parquet(&path)?;
        let stats: Stats = files::json(&input.file(STATS)?)?;
        let load = |name: &str| -> anyhow::Result<Option<Loaded>> {
            let Some(column) = batch.column_by_name(name) else { return Ok(None) };
            let stat = stats.0.iter().find(|stat| stat.tap == name);
            let stat = stat.with_context(|| format!("{} has no `{name}`", Path::new(STATS).display()))?;
            let column = match column.as_any().downcast_ref::<FixedSizeListArray>() {
                Some(list) => list.values().clone(),
                None => column.clone(),
            };
            let values = column.as_any().downcast_ref::<Float32Array>().with_context(|| format!("`{name}` holds no floats"))?;
            Ok(Some(Loaded { width: stat.width, values: values.values().to_vec(), variance: stat.variance.clone() }))
        };
        let row = batch.column_by_name("row").and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
        let row = row.with_context(|| format!("{} has no column `row`", path.display()))?.values().to_vec();
        Ok(Self { row, low: load("low")?, high: load("high")?, embeddings: load("embeddings")?, output: load("output")? })
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

    /// Predictions.
    pub fn output(&self) -> Option<&[f32]> {
        self.output.as_ref().map(|output| output.values.as_slice())
    }
}

impl Loaded {
    fn states(&self) -> States<'_> {
        States { width: self.width, values: &self.values, variance: &self.variance }
    }
}
