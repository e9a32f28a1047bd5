//! `search`: of trainings with different settings, those that are best on validation rows. What it takes are models, and of a model it reads what that says
//! of its own training; there are no test rows in it, so no search can come near them. Trials are ordinary stages: they are cached, shared,
//! run side by side and gone on with like any other.
//!
//! Trainings that differ in nothing but their seed and their rows are trials of one candidate, and the mean of what validation rows say of them is its
//! score. All candidates are tried on the same seeds and rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use talkflow_distill::{Measure, TrainConfig};

use super::{
    files::{self, STATE, TRAINING},
    settings::LARGEST,
};
use crate::{
    artifact::{ArtifactKind, Digest},
    fields::Fields,
    stage::{Device, Input, Stage, StageCx},
};

/// The file of a settings artifact.
pub const SETTINGS: &str = "settings.json";

/// What a search chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// How to train; the seed is of no meaning.
    pub training: TrainConfig,
}

/// Its settings.
#[derive(Clone, Debug)]
pub struct Search {
    /// Which of the candidates, from 1, the best.
    pub(super) place: usize,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Search {
    f.stages("trials", ArtifactKind::Model);
    Search { place: f.count("place", Some(1), 1..=LARGEST) }
}

/// One trial, and what its model says of it.
struct Trial<'a> {
    input: &'a Input<'a>,
    training: TrainConfig,
    /// The seed, and the rows it was fitted to.
    replicate: (u64, Digest),
    measure: Measure,
    validation: f64,
    best_epoch: usize,
    epochs: usize,
}

/// Trials that differ in nothing but seed and rows.
struct Candidate<'a> {
    /// As data, without the seed.
    settings: Value,
    trials: Vec<Trial<'a>>,
}

impl Candidate<'_> {
    fn score(&self) -> f64 {
        self.trials.iter().map(|trial| trial.validation).sum::<f64>() / self.trials.len() as f64
    }

    fn replicates(&self) -> BTreeSet<(u64, Digest)> {
        self.trials.iter().map(|trial| trial.replicate).collect()
    }
}

impl Stage for Search {
    fn kind(&self) -> &'static str {
        "search"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, _device: Device) -> Option<String> {
        None
    }

    fn reads_labels(&self, _port: &str) -> bool {
        true
    }

    fn is_shown(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let candidates = ranked(cx.inputs("trials"))?;
        let Some(chosen) = candidates.get(self.place - 1) else {
            bail!("`place` is {}, and there are {} candidates", self.place, candidates.len());
        };
        let training = chosen.trials[0].training.clone();
        files::write_json(&cx.out.join(SETTINGS), &Chosen { training })?;
        // What a longer training of these settings goes on from.
        let states: Vec<_> = chosen.trials.iter().filter_map(|trial| trial.input.file(STATE).ok()).collect();
        if states.len() == chosen.trials.len() {
            for (at, state) in states.iter().enumerate() {
                let to = cx.out.join(format!("{at}.{STATE}"));
                fs::write(&to, fs::read(state)?).with_context(|| format!("cannot copy {}", state.display()))?;
            }
        }
        let score = chosen.score();
        let tie = candidates.iter().filter(|one| one.score() == score).count();
        let once = chosen.trials.len() == 1 && candidates.len() > 1;
        let told = told(&candidates, self.place);
        cx.metric(&validation(chosen.trials[0].measure), score);
        cx.metrics.extend(told);
        if tie > 1 {
            cx.note(format!("{tie} candidates have the very same score: they stand in the order of their settings as text"));
        }
        if once {
            cx.note("each candidate was tried once: another seed or split may well choose another");
        }
        Ok(())
    }
}

/// The candidates, the best first; of those with the same score, in the order of their settings as text.
fn ranked<'a>(inputs: &'a [Input<'a>]) -> anyhow::Result<Vec<Candidate<'a>>> {
    let mut candidates: BTreeMap<String, Candidate<'a>> = BTreeMap::new();
    for input in inputs {
        let trial = opened(input)?;
        let mut settings = serde_json::to_value(&trial.training)?;
        settings.as_object_mut().map(|fields| fields.remove("seed"));
        let candidate = candidates.entry(settings.to_string()).or_insert_with(|| Candidate { settings, trials: Vec::new() });
        if let Some(twice) = candidate.trials.iter().find(|known| known.replicate == trial.replicate) {
            bail!("`{}` and `{}` are the same trial: same settings, seed and rows", twice.input.instance, input.instance);
        }
        candidate.trials.push(trial);
    }
    let mut candidates: Vec<Candidate<'_>> = candidates.into_values().collect();
    if let Some((first, rest)) = candidates.split_first() {
        let replicates = first.replicates();
        if let Some(other) = rest.iter().find(|other| other.replicates() != replicates) {
            let names =
                |of: &Candidate<'_>| of.trials.iter().map(|trial| trial.input.instance.to_owned()).collect::<Vec<_>>().join(", ");
            bail!(
                "candidates are not tried on the same seeds and rows, so their scores do not compare: {} against {}",
                names(first),
                names(other)
            );
        }
    }
    candidates.sort_by(|a, b| a.score().total_cmp(&b.score()));
    Ok(candidates)
}

fn opened<'a>(input: &'a Input<'a>) -> anyhow::Result<Trial<'a>> {
    let config = files::model_config(input)?;
    let path = input.file(TRAINING).with_context(|| {
        format!("`{}` does not say with which settings it was trained: add `keep: settings` to it", input.instance)
    })?;
    let training: TrainConfig = files::json(&path)?;
    let rows = &input
        .files
        .0
        .get(files::TRAIN_ROWS)
        .with_context(|| format!("`{}` does not say which rows it learnt", input.instance))?;
    ensure!(config.validation.is_finite(), "`{}` has no validation {}", input.instance, config.measure.name());
    Ok(Trial {
        replicate: (training.seed, rows.digest),
        measure: config.measure,
        validation: config.validation,
        best_epoch: config.best_epoch,
        epochs: files::read_parquet(&input.file(files::CURVES)?)?.num_rows(),
        training,
        input,
    })
}

/// The name of the metric that candidates are ranked by.
fn validation(measure: Measure) -> String {
    format!("validation_{}", measure.name())
}

/// What is told of a search: its space, its budget, and each trial.
fn told(candidates: &[Candidate<'_>], place: usize) -> Map<String, Value> {
    let flat: Vec<BTreeMap<String, Value>> = candidates.iter().map(|one| flattened(&one.settings)).collect();
    let paths: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let value = |of: &BTreeMap<String, Value>, path: &str| of.get(path).cloned().unwrap_or(Value::Null);
    let searched: Vec<&String> =
        paths.into_iter().filter(|path| flat.iter().any(|of| of.get(*path) != flat[0].get(*path))).collect();
    let settings =
        |of: &BTreeMap<String, Value>| searched.iter().map(|path| ((*path).clone(), value(of, path))).collect::<Map<_, _>>();
    let space: Map<String, Value> = searched
        .iter()
        .map(|path| {
            let mut values: Vec<Value> = flat.iter().map(|of| value(of, path)).collect();
            values.sort_by(|a, b| match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => a.to_string().cmp(&b.to_string()),
            });
            values.dedup();
            ((*path).clone(), values.into())
        })
        .collect();
    let trials = candidates.iter().flat_map(|of| &of.trials);
    let axes = replicate_axes(candidates);
    let candidate = |(at, (of, flat)): (usize, (&Candidate<'_>, &BTreeMap<String, Value>))| {
        let trial = |trial: &Trial<'_>| {
            let labels = trial.input.labels.iter().filter(|(axis, _)| axes.contains(axis));
            let on: Vec<String> = labels.map(|(axis, value)| format!("{axis}={value}")).collect();
            json!({
                "on": on.join(","),
                "seed": trial.replicate.0,
                "validation": trial.validation,
                "best_epoch": trial.best_epoch,
                "epochs": trial.epochs,
            })
        };
        json!({
            "place": at + 1,
            "settings": settings(flat),
            "validation": of.score(),
            "trials": of.trials.iter().map(trial).collect::<Vec<_>>(),
        })
    };
    let chosen = flat.get(place - 1).map(settings);
    let fields = [
        ("place", json!(place)),
        ("measure", json!(candidates.first().map(|one| one.trials[0].measure.name()))),
        ("candidates", json!(candidates.len())),
        ("trainings", json!(trials.clone().count())),
        ("epochs", json!(trials.clone().map(|trial| trial.epochs).sum::<usize>())),
        ("most_epochs", json!(trials.map(|trial| trial.training.epochs).sum::<usize>())),
        ("chosen", json!(chosen)),
        ("space", space.into()),
        ("ranking", candidates.iter().zip(&flat).enumerate().map(candidate).collect()),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// The axes that tell the trials of a candidate apart.
fn replicate_axes<'a>(candidates: &'a [Candidate<'a>]) -> BTreeSet<&'a String> {
    let varies = |of: &Candidate<'_>, axis: &String| {
        let values: BTreeSet<Option<&String>> = of.trials.iter().map(|trial| trial.input.labels.get(axis)).collect();
        values.len() > 1
    };
    let axes = candidates.iter().flat_map(|of| of.trials.iter().flat_map(|trial| trial.input.labels.keys()));
    axes.filter(|axis| candidates.iter().any(|of| varies(of, axis))).collect()
}

/// The values without parts, by their paths.
fn flattened(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                map.iter().for_each(|(key, value)| walk(&below(key), value, into));
            }
            value => _ = into.insert(path.to_owned(), value.clone()),
        }
    }
    let mut into = BTreeMap::new();
    walk("", value, &mut into);
    into
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_by_their_paths() {
        let value =
            json!({ "method": { "talk": { "rounds": 1, "weights": { "interact": 0.1 } } }, "clip": null, "hidden": [8, 4] });
        let flat: Vec<(String, Value)> = flattened(&value).into_iter().collect();
        let expected = [
            ("clip", json!(null)),
            ("hidden", json!([8, 4])),
            ("method.talk.rounds", json!(1)),
            ("method.talk.weights.interact", json!(0.1)),
        ];
        assert_eq!(flat, expected.map(|(path, value)| (path.to_owned(), value)));
    }
}
