//! What came of a sweep, as one tidy table: a row for each number that a stage of a point gave, with the point's parameters beside it. Every
//! file and every view is made from this one table; it holds no time of day, so the same results give the same bytes.
//!
//! `parquet` is also the form in which a run keeps its table, to be shown again.

mod collect;
mod compared;
mod latex;
mod markdown;
mod parquet;
mod summary;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    compare::Declared,
    history::{Git, Host},
    selector::{Name, Selector},
};

pub use collect::{Made, collect, has_scores};
pub use compared::{Judged, Sheets};
pub(super) use latex::escape as escaped_latex;
pub(super) use markdown::escape as escaped_markdown;
pub use parquet::parquet_of;
pub use summary::{Line, Summary};

/// The table, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Where it comes from.
    pub provenance: Provenance,
    /// `point`; the swept parameters; `stage`; the axes of matrices as `label.AXIS`; of evaluations `row`, `column`, `block`; `metric`,
    /// `value`, `seconds`.
    pub columns: Vec<Column>,
}

/// Values under a name, one a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers.
    Int(Vec<Option<i64>>),
    /// Numbers.
    Float(Vec<Option<f64>>),
    /// Switches.
    Bool(Vec<Option<bool>>),
    /// Texts.
    Text(Vec<Option<Arc<str>>>),
}

/// Where results come from. Nothing in it changes when they are only looked at again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// What the manifest calls itself.
    pub manifest: String,
    /// Its file, as typed.
    pub path: PathBuf,
    /// The digest of its text, and of those it extends.
    pub digest: String,
    /// Parameters changed on the command line, as typed.
    pub sets: Vec<String>,
    /// The version of talkflow.
    pub talkflow: String,
    /// The runs that made the results.
    pub runs: Vec<String>,
    /// The git revision of the manifest's folder.
    pub git: Option<Git>,
    /// The machine.
    pub host: Host,
    /// Where floats were computed.
    pub device: String,
    /// What the sweep goes over, as the manifest and the command line say.
    pub space: Value,
    /// The swept parameters.
    pub params: Vec<String>,
    /// That of the seeds, over which results are summarised.
    pub seed: Option<String>,
    /// The points that have results.
    pub points: Vec<PointOf>,
    /// Those that have none, and why.
    pub missing: Vec<Missing>,
    /// Which data evaluations are about, and what has to be said with results, such as that other data stand in.
    pub notes: Vec<String>,
    /// Stages that no other reads, each with the metric that matters most where its kind says so: what is shown to people.
    pub shown: BTreeMap<String, Option<String>>,
    /// The axes that evaluations make rows and columns of, where all agree.
    pub axes: Option<(String, String)>,
    /// The comparisons that evaluations declare, by stage, where all points agree.
    #[serde(default)]
    pub declared: BTreeMap<String, Declared>,
    /// On how many splits each evaluation scored.
    #[serde(default)]
    pub splits: BTreeMap<String, usize>,
}

/// A point by number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointOf {
    /// Its number, from 1.
    pub point: usize,
    /// Its parameters.
    pub params: Map<String, Value>,
}

/// A point without results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// Its number, from 1.
    pub point: usize,
    /// What it is called.
    pub name: String,
    /// What failed; nothing where its turn has not come.
    pub because: Option<String>,
}

/// The column of a swept parameter: its own name, unless that is taken.
pub fn column_of(param: &str) -> String {
    const TAKEN: [&str; 8] = ["point", "stage", "row", "column", "block", "metric", "value", "seconds"];
    let taken = TAKEN.contains(&param) || param.starts_with("label.") || param.starts_with("param.");
    if taken { format!("param.{param}") } else { param.to_owned() }
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One as text, exact; nothing where there is none.
    pub fn text(&self, row: usize) -> String {
        match self {
            Self::Int(values) => values[row].map_or_else(String::new, |value| value.to_string()),
            Self::Float(values) => values[row].map_or_else(String::new, |value| value.to_string()),
            Self::Bool(values) => values[row].map_or_else(String::new, |value| value.to_string()),
            Self::Text(values) => values[row].as_deref().unwrap_or_default().to_owned(),
        }
    }

    fn json(&self, row: usize) -> Value {
        match self {
            Self::Int(values) => json!(values[row]),
            Self::Float(values) => json!(values[row]),
            Self::Bool(values) => json!(values[row]),
            Self::Text(values) => json!(values[row].as_deref()),
        }
    }
}

impl Results {
    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Values> {
        self.columns.iter().find(|column| column.name == name).map(|column| &column.values)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// Whether a row is shown to people: what stands at the end of the graph, or where metrics are asked for, those of any stage.
    fn is_shown(&self, row: usize, metrics: &[Selector]) -> bool {
        let text = |name: &str| self.column(name).map_or_else(String::new, |values| values.text(row));
        let metric = text("metric");
        match metrics {
            [] => self.provenance.shown.get(&text("stage")).is_some_and(|main| main.as_ref().is_none_or(|main| *main == metric)),
            metrics => metrics.iter().any(|wanted| wanted.matches(&Name::parse(&metric))),
        }
    }

    /// As csv.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn csv(&self) -> csv::Result<Vec<u8>> {
        csv_of(&self.columns)
    }

    /// As data: an object a row.
    pub fn json(&self) -> Value {
        json_of(&self.columns).into_iter().map(Value::from).collect()
    }

    /// What has to be said beside the numbers: which data they are about, and of the points without results.
    fn remarks(&self) -> Vec<String> {
        let holes = self.holes();
        self.provenance.notes.iter().cloned().chain((!holes.is_empty()).then_some(holes)).collect()
    }

    fn holes(&self) -> String {
        let missing = &self.provenance.missing;
        let failed: Vec<&str> = missing.iter().filter(|one| one.because.is_some()).map(|one| one.name.as_str()).collect();
        let left = missing.len() - failed.len();
        let later = match left {
            0 => String::new(),
            1 => "One point is left.".to_owned(),
            left => format!("{left} points are left."),
        };
        match &failed[..] {
            [] => later,
            failed => format!("Without results, since a stage failed: {}. {later}", failed.join("; ")).trim_end().to_owned(),
        }
    }

    /// Where it comes from, in a line.
    fn origin(&self) -> String {
        let Provenance { path, digest, talkflow, runs, git, host, device, .. } = &self.provenance;
        let git = git.as_ref().map_or(String::new(), |git| {
            let short: String = git.revision.chars().take(12).collect();
            format!(", git {short}{}", if git.dirty { " with changes" } else { "" })
        });
        let runs = match &runs[..] {
            [] => String::new(),
            [one] => format!(", run {one}"),
            [first, .., last] => format!(", {} runs from {first} to {last}", runs.len()),
        };
        let digest: String = digest.chars().take(12).collect();
        format!("{} ({digest}){git}, talkflow {talkflow}, {device} of {}{runs}", path.display(), host.name)
    }
}

/// Columns of one length as csv.
pub(super) fn csv_of(columns: &[Column]) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| &column.name))?;
    for row in 0..columns.first().map_or(0, |column| column.values.len()) {
        writer.write_record(columns.iter().map(|column| column.values.text(row)))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Columns of one length as data: an object a row.
pub(super) fn json_of(columns: &[Column]) -> Vec<Map<String, Value>> {
    let row = |row: usize| columns.iter().map(|column| (column.name.clone(), column.values.json(row))).collect();
    (0..columns.first().map_or(0, |column| column.values.len())).map(row).collect()
}

#[cfg(test)]
mod tests;
