//! What trainings were like, epoch by epoch, from the files they left.

use arrow::array::{Float64Array, RecordBatch};
use indexmap::IndexMap;
use serde::Serialize;

use super::{PageError, stages::Known};
use crate::{
    artifact::ArtifactKind,
    stages::files::{CURVES, read_parquet},
    store::{Store, StoreError},
};

/// Of more trainings than this, evenly chosen ones are shown.
const MOST: usize = 400;

/// The trainings that are shown.
#[derive(Clone, Debug, Serialize)]
pub struct Curves {
    /// How many there are.
    pub of: usize,
    /// Those that are shown.
    pub shown: Vec<Training>,
}

/// A training.
#[derive(Clone, Debug, Serialize)]
pub struct Training {
    /// Its instance, by place.
    pub instance: usize,
    /// The best epoch, whose model was kept.
    pub best: Option<f64>,
    /// Values by name, one an epoch; null where there is none.
    pub columns: IndexMap<String, Vec<Option<f64>>>,
}

/// Reads them.
pub fn of(store: &Store, known: &Known, remarks: &mut Vec<String>) -> Result<Curves, PageError> {
    let has = |place: &usize| {
        let files = known.records[*place].as_ref().map(|record| &record.files.0);
        known.makes(*place) == Some(ArtifactKind::Model) && files.is_some_and(|files| files.contains_key(CURVES))
    };
    let trainings: Vec<usize> = (0..known.instances.len()).filter(has).collect();
    let step = trainings.len().div_ceil(MOST).max(1);
    let mut shown = Vec::new();
    let mut unreadable = 0;
    for instance in trainings.iter().copied().step_by(step) {
        let Some(entry) = known.records[instance].as_ref().and_then(|record| record.files.0.get(CURVES)) else { continue };
        let batch = match store.proven(CURVES, entry) {
            Ok(path) => read_parquet(&path).ok(),
            Err(StoreError::NotWhole { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(batch) = batch else {
            unreadable += 1;
            continue;
        };
        let mut columns = IndexMap::new();
        for (name, values) in values(&batch) {
            columns.insert(name, values.into_iter().map(|value| value.and_then(short)).collect());
        }
        shown.push(Training { instance, best: known.metric(instance, "best_epoch"), columns });
    }
    if unreadable > 0 {
        remarks.push(format!("The curves of {unreadable} trainings cannot be read."));
    }
    Ok(Curves { of: trainings.len(), shown })
}

/// The columns of a training's curves by name, one value an epoch.
pub fn values(batch: &RecordBatch) -> Vec<(String, Vec<Option<f64>>)> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let numbers = columns.filter_map(|(field, column)| Some((field.name(), column.as_any().downcast_ref::<Float64Array>()?)));
    numbers.map(|(name, values)| (name.clone(), values.iter().collect())).collect()
}

/// A number with as many digits as a line shows; none where it is no number.
fn short(value: f64) -> Option<f64> {
    value.is_finite().then(|| format!("{value:.4e}").parse().unwrap_or(value))
}
