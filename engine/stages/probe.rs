//! `probe`: a head on a frozen encoder's states: what such a teacher knows of the classes, and its predictions for students to learn from.
//!
//! Its input is cached features, so the encoder runs for it once at most. It is fitted to train rows alone, and stopped by validation rows. What it
//! predicts for every row that features are of is kept with it, test rows too, where only evaluations look.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, ensure};
use arrow::{
    array::{Array, ArrayRef, FixedSizeListArray, Float32Array, UInt32Array},
    datatypes::{DataType, Field},
};
use talkflow_distill::{Classifier, Inputs, Linear, Method, ModelSpec, NetSpec, TrainConfig, Vectors};

use super::{
    cache_features::{Features, refuse_other_examples},
    examples::ClassRows,
    files, settings, training,
    training::Training,
};
use crate::{
    artifact::ArtifactKind,
    fields::Fields,
    stage::{Device, Input, Stage, StageCx},
};

/// What it predicts, by row.
pub const OUTPUTS: &str = "outputs.parquet";

/// Its settings.
#[derive(Clone, Debug)]
pub struct Probe {
    training: Training,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Probe {
    f.stage("rows", ArtifactKind::Split);
    f.through("rows", "rows", "examples");
    f.stage("features", ArtifactKind::Features);
    // How wide the states are is not known yet.
    let model = ModelSpec::Net(NetSpec::Linear(Linear { width: 1 }));
    Probe { training: training::read_head(f, model) }
}

impl Stage for Probe {
    fn kind(&self) -> &'static str {
        "probe"
    }

    fn version(&self) -> u32 {
        1
    }

    fn backend(&self, device: Device) -> Option<String> {
        Some(settings::backend(device))
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let rows = ClassRows::of(cx)?;
        let input = cx.input("features")?;
        refuse_other_examples(input, rows.digest)?;
        let features = Features::open(input)?;
        let high =
            features.high().with_context(|| format!("`{}` holds no high states: add `high` to its `taps`", input.instance))?;
        let place: HashMap<u32, usize> = features.row.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        let state = |row: u32| {
            let place = place.get(&row).with_context(|| {
                format!("`{}` holds no state of row {row}: add `train` and `validation` to its `parts`", input.instance)
            })?;
            Ok(high.values[place * high.width..][..high.width].to_vec())
        };
        let read = rows.read_vectors(high.width, state)?;
        let begin = self.training.begin(cx)?;
        let model = ModelSpec::Net(NetSpec::Linear(Linear { width: high.width }));
        let config = TrainConfig { model, method: Method::Scratch, ..begin.config };
        let instance = input.instance.to_owned();
        self.training.train_classes(cx, (config, None), &rows, &read, "probe", None)?;
        // Read back, so that what is predicted is what the weights that are kept predict.
        let config: files::ModelConfig = files::json(&cx.out.join(files::CONFIG))?;
        let model = Classifier::load(&std::fs::read(cx.out.join(files::WEIGHTS))?, &config.model)?;
        let vectors = Inputs::Vectors(Vectors { width: high.width, values: high.values.to_vec() });
        let logits = model.taps(&vectors).with_context(|| format!("the states of `{instance}`"))?.logits;
        let field = Arc::new(Field::new("item", DataType::Float32, false));
        let width = i32::try_from(model.classes())?;
        let logits = FixedSizeListArray::try_new(field, width, Arc::new(Float32Array::from(logits)), None)?;
        let rows = UInt32Array::from(features.row.clone());
        files::write_parquet(
            &cx.out.join(OUTPUTS),
            vec![("row", Arc::new(rows) as ArrayRef), ("logits", Arc::new(logits) as ArrayRef)],
        )
    }
}

/// What a probe predicts.
pub struct Outputs {
    /// The rows, in the order of the features.
    pub row: Vec<u32>,
    width: usize,
    /// (rows, classes)
    logits: Vec<f32>,
    instance: String,
}

/// Reads the predictions of a probe.
///
/// # Errors
/// Where the model is no probe, or a file cannot be read.
pub fn outputs(input: &Input<'_>) -> anyhow::Result<Outputs> {
    let path = input.file(OUTPUTS).with_context(|| format!("`{}` is no `probe`", input.instance))?;
    let batch = files::read_parquet(&path)?;
    let row = batch.column_by_name("row").and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
    let logits = batch.column_by_name("logits").and_then(|column| column.as_any().downcast_ref::<FixedSizeListArray>());
    let values = logits.and_then(|list| list.values().as_any().downcast_ref::<Float32Array>());
    let (Some(row), Some(logits), Some(values)) = (row, logits, values) else {
        anyhow::bail!("{} has no columns `row` and `logits`", path.display());
    };
    let width = usize::try_from(logits.value_length())?;
    ensure!(values.len() == row.len() * width && width > 0, "{} has logits of other numbers", path.display());
    Ok(Outputs { row: row.values().to_vec(), width, logits: values.values().to_vec(), instance: input.instance.to_owned() })
}

impl Outputs {
    /// The logits of some rows, in their order: (rows, classes).
    ///
    /// # Errors
    /// Where one is missing.
    pub fn of(&self, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        let place: HashMap<u32, usize> = self.row.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        let mut logits = Vec::with_capacity(rows.len() * self.width);
        for row in rows {
            let place = place.get(row).with_context(|| {
                format!(
                    "`{}` predicts nothing for row {row}: let the features that it was made from have its part",
                    self.instance
                )
            })?;
            logits.extend_from_slice(&self.logits[place * self.width..][..self.width]);
        }
        Ok(logits)
    }
}
