//! The values that a gate looks at, taken from results: series by place, each with a value a block.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Better, Gate};
use crate::{
    artifact::Digest,
    fields::Labels,
    scores::{Metric, Scores},
    selector::{Name, Pattern},
};

/// A stage instance with its result.
#[derive(Debug)]
pub struct Measured<'a> {
    /// Its name.
    pub name: &'a str,
    /// The stage.
    pub stage: &'a str,
    /// Its matrix values.
    pub labels: &'a Labels,
    /// What it found, of an evaluation.
    pub scores: Option<&'a Scores>,
    /// Its metrics.
    pub metrics: Map<String, Value>,
    /// The data that it rests on: the digests of the data sets and splits before it, by instance.
    pub data: BTreeMap<String, Digest>,
}

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The stage, with the matrix values that are no blocks.
    pub stage: String,
    /// The metric.
    pub metric: String,
    /// Of an evaluation the row; `mean` for the mean over all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// Of an evaluation the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.stage, self.metric)?;
        [&self.row, &self.column].into_iter().flatten().try_for_each(|part| write!(f, ", {part}"))
    }
}

/// The row that is the mean over all rows, taken within each block.
pub const MEAN: &str = "mean";
/// The block of a result that has no others beside it.
const ONE: &str = "one";

/// Values by block. What is no number stands there as NaN.
pub type Values = BTreeMap<String, f64>;

/// Values of one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which way the metric is good.
    pub better: Better,
    /// By block.
    pub values: Values,
}

/// All that a gate looks at.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// By place.
    pub series: BTreeMap<Place, Series>,
    /// The data behind them, by the stage of their places.
    pub data: BTreeMap<String, BTreeMap<String, Digest>>,
    /// What the gate names and nothing fits: the field, and the text.
    pub unfit: Vec<(&'static str, String)>,
}

/// Takes what a gate looks at.
///
/// # Errors
/// In words, where nothing says which way a metric is good.
pub fn measure(gate: &Gate, measured: &[Measured<'_>]) -> Result<Selected, String> {
    let mut taking = Taking { gate, used: BTreeSet::new(), selected: Selected::default() };
    for one in measured {
        let name = Name::parse(one.name);
        match (gate.stages.is_empty(), one.scores) {
            (true, None) => {}
            (false, _) if !gate.stages.iter().any(|selector| selector.matches(&name)) => {}
            (_, Some(scores)) => taking.scores(one, scores)?,
            (false, None) => taking.metrics(one)?,
        }
    }
    Ok(taking.end())
}

struct Taking<'a> {
    gate: &'a Gate,
    /// The patterns that something fitted: the field, and the text.
    used: BTreeSet<(&'static str, &'a str)>,
    selected: Selected,
}

impl<'a> Taking<'a> {
    /// Whether a text is among those that a field of the gate names; all are where it names none.
    fn fits(&mut self, field: &'static str, patterns: &'a [Pattern], text: &str) -> bool {
        let fitting: Vec<&Pattern> = patterns.iter().filter(|pattern| pattern.fits(text)).collect();
        self.used.extend(fitting.iter().map(|pattern| (field, pattern.text())));
        patterns.is_empty() || !fitting.is_empty()
    }

    /// Takes an evaluation's values by row, column and block.
    fn scores(&mut self, one: &Measured<'_>, scores: &Scores) -> Result<(), String> {
        let gate = self.gate;
        let wanted: Vec<&str> =
            scores.metrics.iter().filter(|metric| **metric != Metric::GapRecovery).map(|metric| metric.name()).collect();
        let rows: BTreeSet<&str> = scores.entries.iter().map(|entry| entry.row.as_str()).collect();
        let mut table: BTreeMap<(&str, &str, &str), Values> = BTreeMap::new();
        for entry in &scores.entries {
            if !self.fits("columns", &gate.columns, &entry.column) {
                continue;
            }
            for (metric, value) in entry.numbers() {
                let chosen =
                    if gate.metrics.is_empty() { wanted.contains(&metric) } else { self.fits("metrics", &gate.metrics, metric) };
                if chosen {
                    let block = if entry.block.is_empty() { ONE } else { &entry.block };
                    table.entry((&entry.column, metric, &entry.row)).or_default().insert(block.to_owned(), value);
                }
            }
        }
        let mut means: BTreeMap<(&str, &str), Vec<&Values>> = BTreeMap::new();
        for ((column, metric, row), values) in &table {
            means.entry((column, metric)).or_default().push(values);
            if self.fits("rows", &gate.rows, row) {
                self.take(one, one.name.to_owned(), metric, Some([row, column]), values.clone())?;
            }
        }
        // Of one row it would be that row again.
        let own = rows.contains(MEAN) || (rows.len() == 1 && gate.rows.is_empty());
        if !own && self.fits("rows", &gate.rows, MEAN) {
            for ((column, metric), of_rows) in means.into_iter().filter(|(_, of_rows)| of_rows.len() == rows.len()) {
                let Some((first, rest)) = of_rows.split_first() else { continue };
                let in_all = |(block, value): (&String, &f64)| {
                    let others = rest.iter().map(|row| row.get(block).copied()).collect::<Option<Vec<f64>>>()?;
                    Some((block.clone(), (value + others.iter().sum::<f64>()) / rows.len() as f64))
                };
                let values: Values = first.iter().filter_map(in_all).collect();
                self.take(one, one.name.to_owned(), metric, Some([MEAN, column]), values)?;
            }
        }
        Ok(())
    }

    /// Takes the metrics of a stage that is no evaluation. Instances that differ in their block only make one series.
    fn metrics(&mut self, one: &Measured<'_>) -> Result<(), String> {
        let is_block = self.gate.block_axes();
        let pairs = |block: bool| {
            let own = one.labels.iter().filter(|(axis, _)| is_block(axis) == block);
            own.map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<String>>().join(",")
        };
        let (rest, block) = (pairs(false), pairs(true));
        let stage = if rest.is_empty() { one.stage.to_owned() } else { format!("{}[{rest}]", one.stage) };
        let block = if block.is_empty() { ONE.to_owned() } else { block };
        for (metric, value) in &one.metrics {
            if self.fits("metrics", &self.gate.metrics, metric) {
                let value = value.as_f64().or_else(|| value.as_bool().map(f64::from)).unwrap_or(f64::NAN);
                self.take(one, stage.clone(), metric, None, Values::from([(block.clone(), value)]))?;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        one: &Measured<'_>,
        stage: String,
        metric: &str,
        cell: Option<[&str; 2]>,
        values: Values,
    ) -> Result<(), String> {
        if values.is_empty() {
            return Ok(());
        }
        let better = self.gate.direction.or_else(|| Better::of(metric)).ok_or_else(|| {
            let gate = &self.gate.name;
            format!(
                "gate `{gate}`: nothing says which way `{metric}` of `{}` is good: add `direction: lower` or `direction: higher`",
                one.name
            )
        })?;
        self.selected.data.entry(stage.clone()).or_default().extend(one.data.clone());
        let [row, column] = cell.map_or([None, None], |cell| cell.map(|part| Some(part.to_owned())));
        let place = Place { stage, metric: metric.to_owned(), row, column };
        let values = values.into_iter().map(|(block, value)| (block, rounded(value)));
        self.selected.series.entry(place).or_insert_with(|| Series { better, values: Values::new() }).values.extend(values);
        Ok(())
    }

    fn end(mut self) -> Selected {
        let gate = self.gate;
        for (field, patterns) in [("metrics", &gate.metrics), ("rows", &gate.rows), ("columns", &gate.columns)] {
            let unfit = patterns.iter().filter(|pattern| !self.used.contains(&(field, pattern.text())));
            self.selected.unfit.extend(unfit.map(|pattern| (field, pattern.text().to_owned())));
        }
        self.selected
    }
}

/// To twelve significant digits: what JSON holds without loss whoever reads it, and more than anybody compares.
fn rounded(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}
