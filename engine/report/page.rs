//! A run or a sweep as one page: everything there is to see, put together from the run's folder and the results in the store. What is
//! shown is one [`Page`], a JSON document; how it is shown is HTML, CSS and JavaScript under `page/assets`, which `html` puts around
//! it. All numbers are computed here or before: the page only draws.
//!
//! Nothing of a page depends on when it is made, so the same run gives the same bytes. Whatever the store no longer holds is said on the
//! page and left out.

mod compared;
mod cost;
pub(super) mod curves;
mod dag;
pub mod html;
mod likeness;
mod origin;
pub(super) mod stages;
mod sweep;
mod tables;

use std::fs::File;

use indexmap::{IndexMap, IndexSet};
use serde::Serialize;

use super::results::Results;
use crate::{
    history::{About, Run},
    plan::{Line, Resolution},
    store::{Store, StoreError},
};

pub use origin::Ran;

/// Everything that is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// The manifest's name.
    pub title: String,
    /// The run.
    pub run: Ran,
    /// The axes of tables: whose values are rows, and whose are columns.
    pub axes: Axes,
    /// The values of each axis, in the manifest's order.
    pub order: IndexMap<String, IndexSet<String>>,
    /// The parameters as they were in effect.
    pub params: Vec<Line>,
    /// The stages.
    pub stages: Vec<stages::Shown>,
    /// Their instances, in the plan's order.
    pub instances: Vec<stages::Instance>,
    /// The graph of stages.
    pub graph: dag::Drawn,
    /// The graph of instances, where it is small enough to be looked at.
    pub all: Option<dag::Drawn>,
    /// What trainings were like.
    pub curves: curves::Curves,
    /// Evaluations.
    pub tables: Vec<tables::Table>,
    /// Methods against their reference.
    pub comparisons: Vec<compared::Comparisons>,
    /// The effect of each method by row.
    pub effects: Vec<compared::Effects>,
    /// How alike students' states are to their teachers'.
    pub likeness: Vec<likeness::Likeness>,
    /// What trainings took, by method.
    pub cost: Vec<cost::Cost>,
    /// A sweep's points and numbers.
    pub sweep: Option<sweep::Sweep>,
    /// Data sets and splits that results rest on.
    pub data: Vec<origin::Data>,
    /// What is not on the page, and why.
    pub remarks: Vec<String>,
}

/// The axes of tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axes {
    /// Whose values are the rows, such as genres.
    pub rows: String,
    /// Whose values are the columns, such as methods.
    pub columns: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's folder does not say what ran.
    #[error("run {0} does not say what it did: its folder is damaged, or an older talkflow made it")]
    Unreadable(String),
    /// It cannot be written as JSON.
    #[error("the page of run {0} cannot be written: {1}")]
    Unwritable(String, String),
    /// The table of a sweep is damaged.
    #[error("{path} is not the table of a sweep: {why}")]
    Table {
        /// Its file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Page {
    /// The page of a run.
    ///
    /// # Errors
    /// Where the store or the run's folder cannot be read.
    pub fn of(store: &Store, run: &Run) -> Result<Self, PageError> {
        let about: About = run.about().ok_or_else(|| PageError::Unreadable(run.id.clone()))?;
        let resolution: Resolution = (run.resolved())
            .and_then(|resolved| serde_json::from_value(resolved).ok())
            // It is written beside the run's work.
            .unwrap_or_else(|| Resolution { params: Vec::new(), stages: Vec::new() });
        let events = run.events();
        let mut remarks = Vec::new();
        let results = results(run)?;
        let mut seen = stages::Known::of(store, run, &about, &resolution, &events, &mut remarks)?;
        seen.read_logs(store, run, &mut remarks)?;
        let axes = Axes::of(&resolution);
        let evaluations = tables::read(store, &seen, &mut remarks)?;
        let (comparisons, why) = compared::of(&evaluations, results.as_ref());
        remarks.extend(why);
        let sweep = sweep::Sweep::of(run, &events, results.as_ref());
        Ok(Self {
            title: about.manifest.name.strip_suffix(".sweep").unwrap_or(&about.manifest.name).to_owned(),
            order: seen.order(),
            graph: dag::of_stages(&seen),
            all: dag::of_instances(&seen),
            curves: curves::of(store, &seen, &mut remarks)?,
            tables: match &results {
                Some(results) => tables::of_sweep(results, &seen),
                None => tables::of(&evaluations, &seen),
            },
            effects: compared::effects(&comparisons, &evaluations, &seen, &axes.rows),
            comparisons,
            likeness: likeness::of(&evaluations),
            cost: cost::of(&seen, &axes),
            data: origin::data(&seen),
            run: Ran::of(run, about, &seen, &events),
            params: resolution.params,
            axes,
            sweep,
            stages: seen.stages,
            instances: seen.instances,
            remarks,
        })
    }
}

impl Axes {
    /// As the first evaluation has them.
    fn of(resolution: &Resolution) -> Self {
        let line = |path: &str| {
            let lines = resolution.stages.iter().filter(|stage| stage.kind == "evaluate").flat_map(|stage| &stage.lines);
            let mut found = lines.filter(|line| line.path == path).map(|line| line.value.trim_matches('"').to_owned());
            found.next()
        };
        Self {
            rows: line("by.rows").unwrap_or_else(|| "genre".to_owned()),
            columns: line("by.columns").unwrap_or_else(|| "method".to_owned()),
        }
    }
}

/// The table of a sweep that ended.
fn results(run: &Run) -> Result<Option<Results>, PageError> {
    let path = run.results();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", &path)(error).into()),
    };
    let table = Results::from_parquet(file);
    table.map(Some).map_err(|error| PageError::Table { path: path.display().to_string(), why: error.to_string() })
}

#[cfg(test)]
mod tests;
