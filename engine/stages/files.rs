//! The files of artifacts as stage kinds read and write them: ratings, examples, splits, models. One place says what each file holds.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, bail};
use arrow::{
    array::{Array, ArrayRef, Float64Array, RecordBatch, UInt32Array},
    datatypes::{DataType, Field, Schema},
};
use parquet::arrow::ArrowWriter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use talkflow_datasets::{
    examples::{EXAMPLES, ExamplesFiles},
    ratings::{DATASET, ITEMS, RATINGS, RatingsFiles, Summary, USERS},
    selection::{Columns, Selection},
    sound,
    split::{self, Part, SPLIT, SPLIT_SUMMARY, Split, SplitFiles},
};
use talkflow_distill::{Cost, Examples, Measure, Monitor, RatingModel, Trained};

use super::settings::Filter;
use crate::{
    artifact::Digest,
    stage::{Input, StageCx},
};

/// A model's weights.
pub const WEIGHTS: &str = "model.safetensors";
/// What the weights are, and what they were trained on.
pub const CONFIG: &str = "config.json";
/// One row an epoch.
pub const CURVES: &str = "curves.parquet";
/// Whether the deep path collapsed, and what the teacher understood.
pub const MONITOR: &str = "monitor.json";
/// With which settings it was trained, where that is kept for a search.
pub const TRAINING: &str = "training.json";
/// The state that its training ended with, where that is kept for a longer one to go on from.
pub const STATE: &str = "state.talkflow";
/// The rows a model was fitted to.
pub const TRAIN_ROWS: &str = "train_rows.parquet";

/// Where the files of a ratings artifact are.
pub fn ratings_files(input: &Input<'_>) -> anyhow::Result<RatingsFiles> {
    Ok(RatingsFiles {
        ratings: input.file(RATINGS)?,
        users: input.file(USERS)?,
        items: input.file(ITEMS)?,
        dataset: input.file(DATASET)?,
    })
}

/// Where the files of an artifact of examples are.
pub fn examples_files(input: &Input<'_>) -> anyhow::Result<ExamplesFiles> {
    Ok(ExamplesFiles { examples: input.file(EXAMPLES)?, dataset: input.file(DATASET)? })
}

/// Opens the rows of some genres of a ratings artifact, or without genres all of them.
pub fn selection(input: &Input<'_>, genres: &[String]) -> anyhow::Result<Selection> {
    let selection = Selection::open(&ratings_files(input)?, genres);
    selection.with_context(|| format!("cannot take rows of the result of `{}`", input.instance))
}

/// Opens a split artifact and checks that it is one of the ratings that `summary` counts.
pub fn split(input: &Input<'_>, summary: &Summary) -> anyhow::Result<Split> {
    split_of(input, summary.ratings, "ratings")
}

/// Opens a split artifact and checks that it is one of `rows` rows, which are `what`.
pub fn split_of(input: &Input<'_>, rows: u64, what: &str) -> anyhow::Result<Split> {
    let files = SplitFiles { split: input.file(SPLIT)?, summary: input.file(SPLIT_SUMMARY)? };
    let split = Split::open(&files).with_context(|| format!("cannot read the result of `{}`", input.instance))?;
    if split.parts().len() as u64 != rows {
        bail!("`{}` splits {} rows and the {what} have {rows}", input.instance, split.parts().len());
    }
    Ok(split)
}

/// What a stage that names a split gets: the ratings it works on, and the split.
pub struct Rows {
    /// The ratings selected.
    pub selection: Selection,
    /// The part of each row, selected or not.
    pub split: Split,
    /// Digest of the ratings artifact.
    pub ratings_digest: Digest,
}

impl Rows {
    /// Of the ports `rows` and `ratings`.
    pub fn of(cx: &StageCx<'_>, filter: &Filter) -> anyhow::Result<Self> {
        let input = cx.input("ratings")?;
        let selection = selection(input, filter.genres())?;
        let split = split(cx.input("rows")?, selection.summary())?;
        Ok(Self { selection, split, ratings_digest: input.digest() })
    }

    /// The selected rows of a part, ascending.
    pub fn part(&self, part: Part) -> Vec<u32> {
        self.split.within(&self.selection.columns().row, part)
    }

    /// The selected rows of some parts as a training takes them, in the order of the data set.
    pub fn examples(&self, parts: &[Part]) -> Examples {
        let part_of = self.split.parts();
        examples(self.selection.pick(|row, _| parts.contains(&part_of[row as usize])))
    }
}

/// Ratings as a training takes them.
pub fn examples(Columns { row, user, item, rating }: Columns) -> Examples {
    Examples { row, user, item, rating }
}

/// `config.json` of a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The weights' own configuration.
    pub model: Value,
    /// `pretrain`, or the method of a student.
    pub method: String,
    /// The rows it learnt from, in words: genres, or `all`.
    pub rows: String,
    /// The genres it learnt from; none for all rows.
    pub genres: Vec<String>,
    /// The data set's name.
    pub data: String,
    /// Digest of the data set that rows are counted in.
    pub of: Digest,
    /// What the classes are called, in the order of logits; none for a model of ratings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Numbers that serving needs.
    pub serving_parameters: u64,
    /// Trained numbers that are dropped with training.
    pub training_parameters: u64,
    /// The epoch whose weights these are, from 1.
    pub best_epoch: usize,
    /// What validation rows are judged by; less is better.
    pub measure: Measure,
    /// That, at that epoch.
    pub validation: f64,
}

/// A model artifact, opened.
pub struct ModelFiles {
    /// What it is.
    pub config: ModelConfig,
    /// Its monitor.
    pub monitor: Value,
    /// The model.
    pub model: RatingModel,
}

/// Reads a model's `config.json`.
pub fn model_config(input: &Input<'_>) -> anyhow::Result<ModelConfig> {
    json(&input.file(CONFIG)?).with_context(|| format!("cannot read the model of `{}`", input.instance))
}

/// Opens a whole model.
pub fn model(input: &Input<'_>) -> anyhow::Result<ModelFiles> {
    let config = model_config(input)?;
    let open = || -> anyhow::Result<ModelFiles> {
        let weights = fs::read(input.file(WEIGHTS)?)?;
        let model = RatingModel::load(&weights, &config.model)?;
        Ok(ModelFiles { monitor: json(&input.file(MONITOR)?)?, model, config: config.clone() })
    };
    open().with_context(|| format!("cannot read the model of `{}`", input.instance))
}

/// What a model learnt from.
pub struct Learnt<'a> {
    /// `pretrain`, `probe`, or the method of a student.
    pub method: &'a str,
    /// The rows, in words and as genres.
    pub filter: &'a Filter,
    /// The data set's name and digest.
    pub data: (&'a str, Digest),
    /// What the classes are called; none for ratings.
    pub classes: Option<Vec<String>>,
    /// The rows that weights were fitted to.
    pub train_rows: Vec<u32>,
}

/// Writes a model artifact into the draft, from the training, the weights' bytes and their own configuration.
pub fn write_model<M>(
    out: &Path,
    learnt: Learnt<'_>,
    trained: &Trained<M>,
    (weights, model): (Vec<u8>, Value),
) -> anyhow::Result<()> {
    let Trained { curves, monitor, cost, best_epoch, measure, validation, .. } = trained;
    let (Cost { serving, training_only, .. }, monitor): (&Cost, &Monitor) = (cost, monitor);
    let config = ModelConfig {
        model,
        method: learnt.method.to_owned(),
        rows: learnt.filter.title(),
        genres: learnt.filter.genres().to_vec(),
        data: learnt.data.0.to_owned(),
        of: learnt.data.1,
        classes: learnt.classes,
        serving_parameters: *serving,
        training_parameters: *training_only,
        best_epoch: *best_epoch,
        measure: *measure,
        validation: *validation,
    };
    fs::write(out.join(WEIGHTS), weights)?;
    write_json(&out.join(CONFIG), &config)?;
    write_json(&out.join(MONITOR), monitor)?;
    let columns = curves.columns().iter();
    let columns: Vec<(&str, ArrayRef)> =
        columns.map(|(name, values)| (name.as_str(), Arc::new(Float64Array::from(values.clone())) as ArrayRef)).collect();
    write_parquet(&out.join(CURVES), columns)?;
    write_rows(&out.join(TRAIN_ROWS), learnt.train_rows)
}

/// Takes files of an input over into the draft as they are.
pub fn copy(input: &Input<'_>, names: &[&str], out: &Path) -> anyhow::Result<()> {
    for name in names {
        let (from, to) = (input.file(name)?, out.join(name));
        // Read and written, not `fs::copy`, which would copy the write protection too.
        fs::write(&to, fs::read(&from)?).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Refuses rows of a student's test that a teacher learnt from.
pub fn refuse_leak(teacher: &Input<'_>, student_test: &[u32]) -> anyhow::Result<()> {
    let train = read_rows(&teacher.file(TRAIN_ROWS)?)?;
    if let Some(overlap) = split::overlap(&train, student_test) {
        bail!(
            "{} of the student's {} test rows were train rows of its teacher, `{}` (row {} is the first): its knowledge of them would \
             count as the student's; make both from the same split",
            overlap.count,
            student_test.len(),
            teacher.instance,
            overlap.first
        );
    }
    Ok(())
}

/// Refuses a model of other data: row ids mean nothing across data sets.
pub fn refuse_other_data(config: &ModelConfig, instance: &str, data: Digest) -> anyhow::Result<()> {
    if config.of != data {
        bail!("`{instance}` was made from other data ({}) than the rows used here; let both name the same data set", config.data);
    }
    Ok(())
}

/// Writes columns of one length as Parquet, the same bytes each time.
pub fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) -> anyhow::Result<()> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), column.null_count() > 0)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())?;
    let file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// Reads a Parquet file in one piece.
pub fn read_parquet(path: &Path) -> anyhow::Result<RecordBatch> {
    let read = || -> anyhow::Result<RecordBatch> {
        let (schema, batches) = sound::read_whole(path)?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// Writes row ids.
pub fn write_rows(path: &Path, rows: Vec<u32>) -> anyhow::Result<()> {
    write_parquet(path, vec![("row", Arc::new(UInt32Array::from(rows)))])
}

/// Reads row ids.
pub fn read_rows(path: &Path) -> anyhow::Result<Vec<u32>> {
    let batch = read_parquet(path)?;
    let column = batch.column_by_name("row").filter(|column| *column.data_type() == DataType::UInt32);
    let rows = column.and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
    Ok(rows.with_context(|| format!("{} has no column `row`", path.display()))?.values().to_vec())
}

/// Reads a JSON file.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a JSON file with a line end.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
