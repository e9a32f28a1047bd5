//! What trainings took, by method: parameters, floating-point operations, time and memory. Means over the trainings of each.

use indexmap::IndexMap;
use serde::Serialize;

use super::{Axes, stages::Known};
use crate::artifact::ArtifactKind;

/// Trainings of one method.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Their stage.
    pub stage: String,
    /// The method, where the stage has several.
    pub method: Option<String>,
    /// How many trainings.
    pub trainings: usize,
    /// Parameters needed to serve a model.
    pub serving_parameters: Option<f64>,
    /// Parameters needed in training only.
    pub training_parameters: Option<f64>,
    /// Floating-point operations of a step, a row of its batch.
    pub row_flops: Option<f64>,
    /// Those of a whole training.
    pub training_flops: Option<f64>,
    /// Epochs trained.
    pub epochs: Option<f64>,
    /// Wall seconds.
    pub seconds: Option<f64>,
    /// CPU seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory of a step by its shapes, in bytes.
    pub step_memory: Option<f64>,
    /// The most memory that the process had meanwhile, in bytes, of any.
    pub peak_memory: Option<u64>,
}

/// By stage and method, as they come in the plan.
pub fn of(known: &Known, axes: &Axes) -> Vec<Cost> {
    let mut groups: IndexMap<(usize, Option<&str>), Vec<usize>> = IndexMap::new();
    for (place, instance) in known.instances.iter().enumerate() {
        if known.makes(place) == Some(ArtifactKind::Model) && instance.key.is_some() {
            let method = instance.labels.get(&axes.columns).map(String::as_str);
            groups.entry((instance.stage, method)).or_default().push(place);
        }
    }
    let one = |((stage, method), places): ((usize, Option<&str>), Vec<usize>)| {
        let metric = |name: &str| mean(places.iter().filter_map(|place| known.metric(*place, name)));
        let row_flops = |place: usize| {
            Some(known.metric(place, "step_flops")? / known.metric(place, "step_rows").filter(|rows| *rows > 0.0)?)
        };
        let whole = |place: usize| Some(row_flops(place)? * known.metric(place, "train_rows")? * known.metric(place, "epochs")?);
        Cost {
            stage: known.stages[stage].name.clone(),
            method: method.map(str::to_owned),
            trainings: places.len(),
            serving_parameters: metric("serving_parameters"),
            training_parameters: metric("training_parameters"),
            row_flops: mean(places.iter().filter_map(|place| row_flops(*place))),
            training_flops: mean(places.iter().filter_map(|place| whole(*place))),
            epochs: metric("epochs"),
            seconds: mean(places.iter().filter_map(|place| known.instances[*place].seconds)),
            cpu_seconds: mean(places.iter().filter_map(|place| known.instances[*place].cpu_seconds)),
            step_memory: metric("peak_bytes"),
            peak_memory: places.iter().filter_map(|place| known.instances[*place].peak_memory).max(),
        }
    };
    groups.into_iter().map(one).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
