//! A run as trackers of experiments know one: a tree of two levels, the run itself and below it each thing that was trained or
//! measured, with parameters, numbers by step, final numbers, and files. What a tracker makes of that is its own file: `mlflow`
//! over its REST interface, `tensorboard` as event files.
//!
//! Everything comes from the run's folder and the store, so the same run exports the same, whenever that is done.

pub mod mlflow;
pub mod tensorboard;

use std::{collections::HashMap, fs, path::PathBuf};

use super::page::{self, PageError, stages::Known};
use crate::{
    artifact::{ArtifactKind, Digest, FileEntry},
    history::{About, RESULTS, Run, State},
    plan::{Line, Resolution},
    scores::{self, Scores},
    stages::files::{CURVES, TRAIN_ROWS, read_parquet},
    store::{Record, Store, StoreError},
};

/// The column of curves that counts epochs.
const EPOCH: &str = "epoch";

/// A run.
#[derive(Debug)]
pub struct Tracked {
    /// Its name.
    pub id: String,
    /// The manifest's name.
    pub manifest: String,
    /// What was asked, where and by which versions.
    pub about: About,
    /// How it ended, in a word.
    pub outcome: &'static str,
    /// The parameters in effect.
    pub params: Vec<(String, String)>,
    /// Means of evaluations: `scores/test_rmse/Western/talk`.
    pub numbers: Vec<(String, f64)>,
    /// Files about the whole run: names, and where they are.
    pub files: Vec<(String, PathBuf)>,
    /// What was trained, or gave numbers.
    pub parts: Vec<Part>,
}

/// A stage instance that trained a model, or gave numbers.
#[derive(Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The word of its kind.
    pub kind: String,
    /// How it ended.
    pub state: State,
    /// The key of its result.
    pub key: Option<String>,
    /// Matrix values, and in a sweep the parameters it depends on; then its settings.
    pub params: Vec<(String, String)>,
    /// Numbers by name, each with the epochs it is of.
    pub curves: Vec<Curve>,
    /// Final numbers.
    pub numbers: Vec<(String, f64)>,
    /// The files of its result.
    pub files: Vec<(String, FileEntry)>,
    /// Seconds since 1970 when its work began, and how many it took.
    pub began: f64,
    /// Wall seconds of its work.
    pub seconds: f64,
}

/// A number's name, and its values by epoch.
pub type Curve = (String, Vec<(i64, f64)>);

/// Why a run cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// It cannot be read.
    #[error(transparent)]
    Run(#[from] PageError),
    /// A result cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A table cannot be read.
    #[error("{path}: {why}")]
    Table {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The tracker cannot be reached, or refuses.
    #[error("{0}")]
    Tracker(String),
}

impl Tracked {
    /// Reads a run.
    ///
    /// # Errors
    /// Where its folder or a result that it names cannot be read.
    pub fn of(store: &Store, run: &Run) -> Result<Self, TrackError> {
        let about = run.about().ok_or_else(|| PageError::Unreadable(run.id.clone()))?;
        let resolution: Resolution = run
            .resolved()
            .and_then(|resolved| serde_json::from_value(resolved).ok())
            .ok_or_else(|| PageError::Unreadable(run.id.clone()))?;
        let known = Known::of(store, run, &about, &resolution, &run.events(), &mut Vec::new())?;
        let mut files =
            vec![("run.json".to_owned(), run.file("run.json")), ("resolved.json".to_owned(), run.file("resolved.json"))];
        let results = run.results();
        files.extend(results.exists().then_some((RESULTS.to_owned(), results)));
        let mut tracked = Self {
            id: run.id.clone(),
            manifest: about.manifest.name.clone(),
            outcome: run.outcome(Some(&about)),
            params: resolution.params.iter().map(pair).collect(),
            numbers: Vec::new(),
            files,
            parts: Vec::new(),
            about,
        };
        let mut models: HashMap<Digest, Vec<usize>> = HashMap::new();
        for place in 0..known.instances.len() {
            let makes = known.makes(place);
            let seen = &known.instances[place];
            let numbers = |instance: usize| {
                let stage = &known.stages[known.instances[instance].stage];
                let values = stage.metrics.iter().zip(&known.instances[instance].metrics);
                values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect::<Vec<_>>()
            };
            let programs = makes == Some(ArtifactKind::Files) && !numbers(place).is_empty();
            if makes != Some(ArtifactKind::Model) && !programs {
                continue;
            }
            let record = known.records[place].as_ref();
            let labels = seen.labels.iter().map(|(axis, value)| (axis.clone(), value.clone()));
            let own = resolution.stages.get(seen.index).filter(|resolved| resolved.name == seen.name);
            if let Some(record) = record {
                models.entry(record.files.digest()).or_default().push(tracked.parts.len());
            }
            tracked.parts.push(Part {
                name: seen.name.clone(),
                kind: known.stages[seen.stage].kind.clone(),
                state: seen.state,
                key: seen.key.clone(),
                params: labels.chain(own.into_iter().flat_map(|own| own.lines.iter().map(pair))).collect(),
                curves: record.map_or_else(|| Ok(Vec::new()), |record| curves(store, record))?,
                numbers: numbers(place),
                files: record.map_or_else(Vec::new, kept),
                began: record.map_or(tracked.about.started, |record| record.provenance.started as f64),
                seconds: record.map_or(0.0, |record| record.provenance.seconds),
            });
        }
        let evaluations: Vec<usize> =
            (0..known.instances.len()).filter(|place| known.makes(*place) == Some(ArtifactKind::Scores)).collect();
        for place in &evaluations {
            let Some(entry) = known.records[*place].as_ref().and_then(|record| record.files.0.get(scores::FILE)) else {
                continue;
            };
            let path = store.proven(scores::FILE, entry)?;
            let name = &known.instances[*place].name;
            let prefix = if evaluations.len() == 1 { String::new() } else { format!("{name}/") };
            let scores = super::table::read(&path).map_err(|why| TrackError::Table { path: path.display().to_string(), why })?;
            tracked.add_scores(&scores, name, &prefix, &models);
            tracked.files.push((format!("{name}/{}", scores::FILE), path));
        }
        Ok(tracked)
    }

    /// Numbers of an evaluation go to the models that they are of, and their means to the run.
    fn add_scores(&mut self, scores: &Scores, evaluation: &str, prefix: &str, models: &HashMap<Digest, Vec<usize>>) {
        for entry in &scores.entries {
            let rows = scores.entries.iter().filter(|other| other.model == entry.model && other.block == entry.block).count();
            let of = if rows > 1 { format!("/{}", entry.row) } else { String::new() };
            for place in models.get(&entry.model).into_iter().flatten() {
                let numbers = scores.metrics.iter().filter_map(|metric| Some((metric.name(), entry.metric(*metric)?)));
                let named = numbers.map(|(word, value)| (format!("{prefix}{}_{word}{of}", scores.part), value));
                let part = &mut self.parts[*place];
                for (name, value) in named {
                    if !part.numbers.iter().any(|(known, _)| *known == name) {
                        part.numbers.push((name, value));
                    }
                }
            }
        }
        for cell in &scores.cells {
            for metric in &scores.metrics {
                let (value, _) = cell.mean(*metric);
                let (word, row) = (metric.name(), cell.row.as_deref().unwrap_or("mean"));
                self.numbers
                    .extend(value.map(|value| (format!("{evaluation}/{}_{word}/{row}/{}", scores.part, cell.column), value)));
            }
        }
    }
}

fn pair(line: &Line) -> (String, String) {
    (line.path.clone(), line.value.clone())
}

/// The files of a result that are for others: which rows a model learnt from is for talkflow's own checks.
fn kept(record: &Record) -> Vec<(String, FileEntry)> {
    let files = record.files.0.iter().filter(|(name, _)| name.as_str() != TRAIN_ROWS);
    files.map(|(name, entry)| (name.clone(), *entry)).collect()
}

/// The curves of a training, each number under its epoch, without those that are missing.
fn curves(store: &Store, record: &Record) -> Result<Vec<Curve>, TrackError> {
    let Some(entry) = record.files.0.get(CURVES) else { return Ok(Vec::new()) };
    let path = store.proven(CURVES, entry)?;
    let table = |why: String| TrackError::Table { path: path.display().to_string(), why };
    let batch = read_parquet(&path).map_err(|error| table(format!("{error:#}")))?;
    let mut columns = page::curves::values(&batch);
    let epochs =
        columns.iter().position(|(name, _)| name == EPOCH).ok_or_else(|| table(format!("it has no column `{EPOCH}`")))?;
    let (_, epochs) = columns.remove(epochs);
    let curve = |(name, values): (String, Vec<Option<f64>>)| {
        let points = epochs.iter().zip(values).filter_map(|(epoch, value)| Some((epoch.as_ref()?, value?)));
        (tag(&name), points.filter(|(_, value)| value.is_finite()).map(|(epoch, value)| (*epoch as i64, value)).collect())
    };
    Ok(columns.into_iter().map(curve).collect())
}

/// A curve's name as trackers group by: `validation/rmse`; what is not of validation is of training.
fn tag(column: &str) -> String {
    match column.strip_prefix("validation_") {
        Some(rest) => format!("validation/{rest}"),
        None => format!("train/{column}"),
    }
}

/// Reads a whole file.
fn read(path: &std::path::Path) -> Result<Vec<u8>, TrackError> {
    fs::read(path).map_err(|source| TrackError::File { what: "read", path: path.to_owned(), source })
}
