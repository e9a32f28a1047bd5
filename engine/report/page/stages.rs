//! Stages and their instances: states, times, settings, keys, logs. What the instances of a stage have in common is said once.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use indexmap::{IndexMap, IndexSet};
use serde::Serialize;
use serde_json::Value;

use super::PageError;
use crate::{
    artifact::ArtifactKind,
    event::Timed,
    history::{About, Run, Seen, State},
    plan::{Line, Resolution},
    selector::Name,
    stages::{COLLAPSED, made_by},
    store::{Lookup, Record, Store, StoreError},
    visible::visible,
};

/// Of a log, so many bytes at its end are shown.
const LOG_TAIL: u64 = 16 << 10;
/// Of all logs together, so many bytes.
const ALL_LOGS: usize = 2 << 20;
/// A value longer than this, such as a list of a thousand models, is cut.
const LONGEST_VALUE: usize = 2_000;

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// The word of its kind.
    pub kind: String,
    /// Its instances, by place.
    pub instances: Vec<usize>,
    /// The settings that all of them have.
    pub lines: Vec<Line>,
    /// The metrics that any of them has.
    pub metrics: Vec<String>,
}

/// An instance of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its stage, by place.
    pub stage: usize,
    /// Its place in the plan.
    pub index: usize,
    /// Its matrix values, and in a sweep the parameters that it depends on.
    pub labels: IndexMap<String, String>,
    /// What became of it.
    pub state: State,
    /// Why it ran, failed or was skipped.
    pub why: Option<String>,
    /// Why it failed, in full.
    pub failure: Option<String>,
    /// The key of its result.
    pub key: Option<String>,
    /// Wall seconds of the work that made its result.
    pub seconds: Option<f64>,
    /// CPU seconds of that.
    pub cpu_seconds: Option<f64>,
    /// The most memory of that, in bytes.
    pub peak_memory: Option<u64>,
    /// Which run made it, where that is another.
    pub made_in: Option<String>,
    /// Its metrics, in the order of the stage's.
    pub metrics: Vec<Value>,
    /// What has to be said with its result.
    pub notes: Vec<String>,
    /// Whether it is a model whose deep path collapsed to a constant.
    pub collapsed: bool,
    /// The files of its result: names and sizes in bytes.
    pub files: Vec<(String, u64)>,
    /// The settings in which it differs from others of its stage.
    pub lines: Vec<Line>,
    /// The end of what it said.
    pub log: Option<Log>,
}

/// The end of a log.
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    /// The text; control characters are written out.
    pub text: String,
    /// How long the log is in bytes, where only its end is here.
    pub of: Option<u64>,
}

/// A run's stages, with what the store knows of them.
pub struct Known {
    pub stages: Vec<Shown>,
    pub instances: Vec<Instance>,
    /// The records of the instances, where they are there.
    pub records: Vec<Option<Record>>,
    /// Who takes from whom, by place in `instances`.
    pub edges: Vec<(usize, usize)>,
}

impl Known {
    pub fn of(
        store: &Store,
        run: &Run,
        about: &About,
        resolution: &Resolution,
        events: &[Timed],
        remarks: &mut Vec<String>,
    ) -> Result<Self, PageError> {
        let seen = run.stages_of(events);
        let place: BTreeMap<usize, usize> = seen.iter().enumerate().map(|(place, seen)| (seen.index, place)).collect();
        let mut stages: IndexMap<String, Shown> = IndexMap::new();
        let mut instances = Vec::new();
        let mut records = Vec::new();
        let (mut lost, mut edges) = (0, Vec::new());
        for (at, one) in seen.iter().enumerate() {
            let resolved = resolution.stages.get(one.index).filter(|resolved| resolved.name == one.stage);
            let record = match one.key.map(|key| store.look(&key)).transpose()? {
                Some(Lookup::Found(record)) => Some(*record),
                Some(_) => {
                    lost += 1;
                    None
                }
                None => None,
            };
            let name = Name::parse(&one.stage);
            let kind = resolved.map(|resolved| resolved.kind.as_str()).or(record.as_ref().map(|record| record.kind.as_str()));
            let stage = stages.entry(name.stage.to_owned()).or_insert_with(|| Shown {
                name: name.stage.to_owned(),
                kind: kind.unwrap_or_default().to_owned(),
                instances: Vec::new(),
                lines: Vec::new(),
                metrics: Vec::new(),
            });
            stage.instances.push(at);
            for metric in one.metrics.keys().filter(|metric| !stage.metrics.contains(metric)).collect::<Vec<_>>() {
                stage.metrics.push(metric.clone());
            }
            let takes = resolved.map_or(&[][..], |resolved| &resolved.takes);
            edges.extend(takes.iter().filter_map(|from| Some((*place.get(from)?, at))));
            let lines = resolved.map_or_else(Vec::new, |resolved| resolved.lines.iter().map(cut).collect());
            let stage = stages.get_index_of(name.stage).unwrap_or_default();
            instances.push(Instance::of(one, stage, &name, lines, record.as_ref(), about));
            records.push(record);
        }
        if lost > 0 {
            remarks.push(format!(
                "The results of {lost} stages are no longer whole in the store: what comes from them is missing here."
            ));
        }
        let mut known = Self { stages: stages.into_values().collect(), instances, records, edges };
        known.settle(&seen);
        Ok(known)
    }

    /// Says once what all instances of a stage have in common, and puts their metrics in one order.
    fn settle(&mut self, seen: &[Seen]) {
        for stage in &mut self.stages {
            let common: Vec<Line> = match &stage.instances[..] {
                [first, others @ ..] => {
                    let of = |place: &usize| &self.instances[*place].lines;
                    let has = |line: &&Line| others.iter().all(|other| of(other).iter().any(|own| own == *line));
                    of(first).iter().filter(has).cloned().collect()
                }
                [] => Vec::new(),
            };
            for place in &stage.instances {
                let instance = &mut self.instances[*place];
                instance.lines.retain(|line| !common.contains(line));
                let metric = |name: &String| seen[*place].metrics.get(name).cloned().unwrap_or_default();
                instance.metrics = stage.metrics.iter().map(metric).collect();
            }
            stage.lines = common;
        }
    }

    /// Reads logs: of what failed first, as long as there is room.
    pub fn read_logs(&mut self, store: &Store, run: &Run, remarks: &mut Vec<String>) -> Result<(), PageError> {
        let mut order: Vec<usize> = (0..self.instances.len()).collect();
        order.sort_by_key(|place| self.instances[*place].state != State::Failed);
        let (mut room, mut left, mut damaged) = (ALL_LOGS, 0, 0);
        for place in order {
            let own = run.log(self.instances[place].index);
            let path = match &self.records[place] {
                // Of one that is at work, or failed, only the run's folder has it.
                _ if own.exists() => Some(own),
                Some(record) => match store.proven_log(record) {
                    Ok(path) => path,
                    Err(StoreError::LostLog { .. }) => {
                        damaged += 1;
                        None
                    }
                    Err(error) => return Err(error.into()),
                },
                None => None,
            };
            let Some(path) = path else { continue };
            match tail(&path) {
                Ok(log) if log.text.is_empty() => {}
                Ok(log) if log.text.len() <= room => {
                    room -= log.text.len();
                    self.instances[place].log = Some(log);
                }
                Ok(_) => left += 1,
                Err(_) => damaged += 1,
            }
        }
        if left > 0 {
            remarks.push(format!("{left} logs are not on this page, since it would get too long: `talkflow logs` shows them."));
        }
        if damaged > 0 {
            remarks.push(format!("{damaged} logs cannot be read."));
        }
        Ok(())
    }

    /// The values of each axis, as instances come.
    pub fn order(&self) -> IndexMap<String, IndexSet<String>> {
        let mut order: IndexMap<String, IndexSet<String>> = IndexMap::new();
        for (axis, value) in self.instances.iter().flat_map(|instance| &instance.labels) {
            order.entry(axis.clone()).or_default().insert(value.clone());
        }
        order
    }

    /// What an instance's kind makes.
    pub fn makes(&self, place: usize) -> Option<ArtifactKind> {
        made_by(&self.stages[self.instances[place].stage].kind)
    }

    /// A metric of an instance as a number.
    pub fn metric(&self, place: usize, name: &str) -> Option<f64> {
        let instance = &self.instances[place];
        let at = self.stages[instance.stage].metrics.iter().position(|metric| metric == name)?;
        instance.metrics.get(at)?.as_f64()
    }
}

impl Instance {
    fn of(seen: &Seen, stage: usize, name: &Name<'_>, lines: Vec<Line>, record: Option<&Record>, about: &About) -> Self {
        let made = record.map(|record| &record.provenance);
        let failed = matches!(seen.state, State::Failed | State::Skipped);
        Self {
            name: seen.stage.clone(),
            stage,
            index: seen.index,
            labels: name
                .labels
                .iter()
                .chain(&name.point)
                .map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()))
                .collect(),
            state: seen.state,
            why: seen.why(),
            failure: seen.because.clone().filter(|_| failed),
            key: seen.key.map(|key| key.to_string()),
            seconds: seen.seconds.or(made.map(|made| made.seconds)),
            cpu_seconds: seen.usage.cpu_seconds.or(made.and_then(|made| made.usage.cpu_seconds)),
            peak_memory: seen.usage.peak_memory.or(made.and_then(|made| made.usage.peak_memory)),
            made_in: made.map(|made| made.run.clone()).filter(|run| *run != about.run),
            metrics: Vec::new(),
            notes: record.map_or_else(Vec::new, |record| record.notes.clone()),
            collapsed: record.is_some_and(|record| record.notes.iter().any(|note| note.starts_with(COLLAPSED))),
            files: record
                .map_or_else(Vec::new, |record| record.files.0.iter().map(|(name, entry)| (name.clone(), entry.size)).collect()),
            lines,
            log: None,
        }
    }
}

/// A line with a value that people can read.
fn cut(line: &Line) -> Line {
    let mut line = line.clone();
    if let Some((end, _)) = line.value.char_indices().nth(LONGEST_VALUE) {
        line.value.truncate(end);
        line.value.push_str("...");
    }
    line
}

/// The end of a log.
fn tail(path: &Path) -> std::io::Result<Log> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LOG_TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if from > 0 {
        // The first line is torn.
        text = text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_owned());
    }
    Ok(Log { text: visible(&text).into_owned(), of: (from > 0).then_some(length) })
}
