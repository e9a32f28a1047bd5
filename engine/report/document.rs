//! The one JSON document `run --format json` prints, in the shape README documents.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::exec::{Fate, Outcome};

/// `run`'s document.
#[derive(Debug, Serialize)]
pub struct RunDocument {
    /// Whether every wanted stage has its result.
    pub ok: bool,
    /// The manifest's name.
    pub manifest: String,
    /// The run's name.
    pub run: String,
    /// How many stages did work.
    pub ran: usize,
    /// How many results were there.
    pub cached: usize,
    /// How many stages failed.
    pub failed: usize,
    /// How many were not tried.
    pub skipped: usize,
    /// Wall time of this run.
    pub seconds: f64,
    /// Every wanted stage instance, in the plan's order.
    pub stages: Vec<StageDocument>,
    /// The metrics of each evaluation, by instance name.
    pub metrics: Map<String, Value>,
}

/// One stage in it.
#[derive(Debug, Serialize)]
pub struct StageDocument {
    /// Instance.
    pub name: String,
    /// `ran`, `cached`, `failed` or `skipped`.
    pub state: Fate,
    /// Why it ran, failed or was skipped; null where its result was there.
    pub reason: Option<String>,
    /// Its key; null without a result.
    pub key: Option<String>,
    /// Wall seconds its result took when it was made; null without a result.
    pub seconds: Option<f64>,
    /// Its metrics.
    pub metrics: Map<String, Value>,
}

impl RunDocument {
    /// Of a run that ended; `metrics` as evaluations gave them.
    pub fn of(outcome: &Outcome, manifest: &str, run: &str, metrics: Map<String, Value>) -> Self {
        let count = |fate| outcome.count(fate);
        let stages = outcome.steps.iter().map(|step| StageDocument {
            name: step.name.clone(),
            state: step.fate,
            reason: step.reason.clone(),
            key: step.key().map(|key| key.to_string()),
            seconds: step.record.as_ref().map(|record| record.provenance.seconds),
            metrics: step.metrics(),
        });
        Self {
            ok: outcome.steps.iter().all(|step| matches!(step.fate, Fate::Ran | Fate::Cached)),
            manifest: manifest.to_owned(),
            run: run.to_owned(),
            ran: count(Fate::Ran),
            cached: count(Fate::Cached),
            failed: count(Fate::Failed),
            skipped: count(Fate::Skipped),
            seconds: outcome.seconds,
            stages: stages.collect(),
            metrics,
        }
    }
}
