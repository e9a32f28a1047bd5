//! From a run that was a sweep to its table.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::{Column, Missing, PointOf, Provenance, Results, Values, column_of};
use crate::{
    artifact::{ArtifactKind, Digest},
    compare::Declared,
    exec::Outcome,
    history::About,
    manifest::{Node, Value},
    plan::Union,
    report::points::{Points, State},
    scores::Scores,
    space::{self, Given},
    stages::{StageSpec, dataset::STAND_IN, made_by},
    store::Record,
};

/// A sweep that was run.
#[derive(Clone, Copy)]
pub struct Made<'a> {
    /// What was planned.
    pub union: &'a Union<StageSpec>,
    /// The points that took part: the place of each in the space, and the instances it needs.
    pub chosen: &'a [(usize, Vec<usize>)],
    /// How they ended.
    pub points: &'a Points,
    /// What came of the stages.
    pub outcome: &'a Outcome,
    /// The run.
    pub about: &'a About,
}

/// A number that a stage instance gave.
struct Number {
    labels: Vec<(String, Arc<str>)>,
    /// Of an evaluation: row, column, block.
    place: Option<[Arc<str>; 3]>,
    metric: Arc<str>,
    value: f64,
}

/// A row before it is one.
struct Row<'a> {
    point: usize,
    stage: &'a str,
    number: &'a Number,
    seconds: f64,
}

/// Collects what a sweep gave. `scores` reads those of an evaluation.
///
/// # Errors
/// Those of `scores`.
pub fn collect<E>(made: Made<'_>, mut scores: impl FnMut(&Record) -> Result<Option<Scores>, E>) -> Result<Results, E> {
    let Made { union, chosen, points, outcome, .. } = made;
    let by_name: HashMap<&str, &Record> =
        outcome.steps.iter().filter_map(|step| Some((step.name.as_str(), step.record.as_deref()?))).collect();
    let instances = &union.plan.instances;
    let whole: Vec<usize> = (0..chosen.len()).filter(|at| matches!(points.state(*at), State::Done | State::Cached)).collect();
    let mut numbers: BTreeMap<usize, Vec<Number>> = BTreeMap::new();
    let mut axes: BTreeSet<(String, String)> = BTreeSet::new();
    let mut mains: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut runs: BTreeSet<&str> = BTreeSet::new();
    let mut notes = Notes::default();
    let mut declared: BTreeMap<String, Vec<Declared>> = BTreeMap::new();
    // Of each evaluation, by row, what was scored on.
    let mut splits: BTreeMap<String, BTreeMap<String, BTreeSet<Digest>>> = BTreeMap::new();
    for (at, place) in whole.iter().flat_map(|at| chosen[*at].1.iter().map(move |place| (*at, place))) {
        let Some(record) = by_name.get(instances[*place].name.as_str()) else { continue };
        let said = record.notes.iter().filter(|note| has_scores(record) || note.starts_with(STAND_IN));
        said.for_each(|note| notes.add(note, chosen[at].0));
    }
    for place in whole.iter().flat_map(|at| &chosen[*at].1) {
        let (false, Some(record)) = (numbers.contains_key(place), by_name.get(instances[*place].name.as_str())) else { continue };
        runs.insert(&record.provenance.run);
        let labels = || instances[*place].labels.iter().map(|(axis, value)| (axis.clone(), value.as_str().into())).collect();
        let own = match scores(record)? {
            Some(scores) => {
                notes.data.insert(scores.data.clone());
                axes.insert((scores.row_axis.clone(), scores.column_axis.clone()));
                let own = of_scores(&scores);
                let stage = &instances[*place].stage;
                mains.insert(stage, main_of(&scores, &own));
                let of_stage = declared.entry(stage.clone()).or_default();
                if !of_stage.contains(&scores.declared) {
                    of_stage.push(scores.declared.clone());
                }
                for entry in &scores.entries {
                    splits.entry(stage.clone()).or_default().entry(entry.row.clone()).or_default().insert(entry.on);
                }
                own
            }
            None => {
                // Kinds give first what matters most; of a program's metrics all are somebody's choice.
                if made_by(&record.kind) != Some(ArtifactKind::Files) {
                    mains.insert(&instances[*place].stage, record.metrics.keys().next().cloned());
                }
                of_metrics(record, labels)
            }
        };
        numbers.insert(*place, own);
    }
    let seconds = |needs: &[usize]| -> f64 {
        needs
            .iter()
            .filter_map(|place| by_name.get(instances[*place].name.as_str()))
            .map(|record| record.provenance.seconds)
            .sum()
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    for at in &whole {
        let (point, needs) = &chosen[*at];
        let seconds = seconds(needs);
        for place in needs {
            let of = numbers.get(place).map_or(&[][..], Vec::as_slice);
            rows.extend(of.iter().map(|number| Row { point: *point, stage: &instances[*place].stage, number, seconds }));
        }
    }
    let columns = columns(union, &rows);
    let shown = at_the_end(made).into_iter().map(|stage| (stage.to_owned(), mains.get(stage).cloned().flatten())).collect();
    // What is declared otherwise at some points is declared for none.
    let declared = declared.into_iter().filter_map(|(stage, of)| Some((stage, <[_; 1]>::try_from(of).ok()?))).collect::<Vec<_>>();
    let declared = declared.into_iter().map(|(stage, [of])| (stage, of)).collect();
    let axes = if axes.len() == 1 { axes.pop_first() } else { None };
    let runs = runs.into_iter().map(str::to_owned).collect();
    let most = |(stage, rows): (String, BTreeMap<_, BTreeSet<_>>)| (stage, rows.values().map(BTreeSet::len).max().unwrap_or(0));
    let splits = splits.into_iter().map(most).collect();
    let provenance = Provenance { declared, splits, ..provenance(made, runs, notes.told(whole.len()), shown, axes) };
    Ok(Results { provenance, columns })
}

/// What has to be said with numbers.
#[derive(Default)]
struct Notes {
    /// Which data evaluations are about.
    data: BTreeSet<String>,
    /// What results say, each with the points of which they say it.
    said: IndexMap<String, BTreeSet<usize>>,
}

impl Notes {
    fn add(&mut self, note: &str, point: usize) {
        self.said.entry(note.to_owned()).or_default().insert(point + 1);
    }

    /// In words, of so many points.
    fn told(self, points: usize) -> Vec<String> {
        /// More points than this are not named.
        const NAMED: usize = 10;
        let note = |(note, of): (String, BTreeSet<usize>)| {
            let named: Vec<String> = of.iter().take(NAMED).map(ToString::to_string).collect();
            match of.len() {
                all if all == points => note,
                1 => format!("{note} (point {})", named[0]),
                some if some <= NAMED => format!("{note} (points {})", named.join(", ")),
                some => format!("{note} (points {} and {} more)", named.join(", "), some - NAMED),
            }
        };
        let data = self.data.into_iter().map(|data| format!("data: {data}"));
        data.chain(self.said.into_iter().map(note)).collect()
    }
}

/// Which of an evaluation's numbers matters most: the first metric it names that a model by itself has.
fn main_of(scores: &Scores, numbers: &[Number]) -> Option<String> {
    let mut words = scores.metrics.iter().map(|metric| metric.name());
    words.find(|word| numbers.iter().any(|number| *number.metric == **word)).map(str::to_owned)
}

/// The numbers of an evaluation: every number of every entry.
fn of_scores(scores: &Scores) -> Vec<Number> {
    let mut numbers = Vec::new();
    for entry in &scores.entries {
        let place = [&entry.row, &entry.column, &entry.block].map(|text| Arc::from(text.as_str()));
        let labels: Vec<(String, Arc<str>)> =
            entry.labels.iter().map(|(axis, value)| (axis.clone(), value.as_str().into())).collect();
        for (metric, value) in entry.numbers() {
            numbers.push(Number { labels: labels.clone(), place: Some(place.clone()), metric: metric.into(), value });
        }
    }
    numbers
}

fn of_metrics(record: &Record, labels: impl Fn() -> Vec<(String, Arc<str>)>) -> Vec<Number> {
    let metrics = record.metrics.iter().filter_map(|(metric, value)| Some((metric, number(value)?)));
    metrics.map(|(metric, value)| Number { labels: labels(), place: None, metric: metric.as_str().into(), value }).collect()
}

/// A metric as a number; a switch is 1 or 0.
fn number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(f64::from))
}

/// The stages that took part and that none other reads.
fn at_the_end(made: Made<'_>) -> BTreeSet<&str> {
    let instances = &made.union.plan.instances;
    let there: BTreeSet<usize> = made.chosen.iter().flat_map(|(_, needs)| needs.iter().copied()).collect();
    let mut stages: BTreeSet<&str> = there.iter().map(|place| instances[*place].stage.as_str()).collect();
    for from in there.iter().flat_map(|place| instances[*place].reads()) {
        stages.remove(instances[from].stage.as_str());
    }
    stages
}

fn columns(union: &Union<StageSpec>, rows: &[Row<'_>]) -> Vec<Column> {
    let column = |name: &str, values: Values| Column { name: name.to_owned(), values };
    let texts = |of: &dyn Fn(&Row<'_>) -> Option<Arc<str>>| Values::Text(rows.iter().map(of).collect());
    let floats = |of: &dyn Fn(&Row<'_>) -> f64| Values::Float(rows.iter().map(|row| Some(of(row))).collect());
    let point = rows.iter().map(|row| i64::try_from(row.point + 1).ok()).collect();
    let mut columns = vec![column("point", Values::Int(point))];
    for (at, param) in union.space.params.iter().enumerate() {
        let given: Vec<&Given> = union.space.points.iter().map(|point| &point.0[at]).collect();
        columns.push(column(&column_of(&param.path), param_values(&given, rows)));
    }
    let names: HashMap<&str, Arc<str>> = rows.iter().map(|row| (row.stage, Arc::from(row.stage))).collect();
    columns.push(column("stage", texts(&|row| names.get(row.stage).cloned())));
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in rows.iter().flat_map(|row| &row.number.labels) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    for axis in axes {
        let label = |row: &Row<'_>| row.number.labels.iter().find(|(known, _)| known == axis).map(|(_, value)| value.clone());
        columns.push(column(&format!("label.{axis}"), texts(&label)));
    }
    if rows.iter().any(|row| row.number.place.is_some()) {
        for (at, name) in ["row", "column", "block"].into_iter().enumerate() {
            columns.push(column(name, texts(&|row| row.number.place.as_ref().map(|place| place[at].clone()))));
        }
    }
    columns.push(column("metric", texts(&|row| Some(row.number.metric.clone()))));
    columns.push(column("value", floats(&|row| row.number.value)));
    columns.push(column("seconds", floats(&|row| row.seconds)));
    columns
}

/// The values of a parameter, typed as all of them can be; what is no number, switch or text is there by its name.
fn param_values(given: &[&Given], rows: &[Row<'_>]) -> Values {
    fn of<'g, T>(given: &'g [&Given], rows: &[Row<'_>], value: impl Fn(&'g Node) -> Option<T>) -> Option<Vec<Option<T>>> {
        // All points decide the type, so that it is the same whichever of them took part.
        let typed = given.iter().all(|given| value(&given.node).is_some());
        typed.then(|| rows.iter().map(|row| value(&given[row.point].node)).collect())
    }
    let int = |node: &Node| if let Value::Int(value) = node.value { Some(value) } else { None };
    let float = |node: &Node| match node.value {
        Value::Int(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        _ => None,
    };
    let switch = |node: &Node| if let Value::Bool(value) = node.value { Some(value) } else { None };
    let numbers = of(given, rows, int).map(Values::Int).or_else(|| of(given, rows, float).map(Values::Float));
    numbers.or_else(|| of(given, rows, switch).map(Values::Bool)).unwrap_or_else(|| {
        let text = |given: &Given| match &given.node.value {
            Value::Text(text) if !text.contains("${") => Arc::clone(text),
            _ => Arc::clone(&given.name),
        };
        Values::Text(rows.iter().map(|row| Some(text(given[row.point]))).collect())
    })
}

fn provenance(
    made: Made<'_>,
    runs: Vec<String>,
    notes: Vec<String>,
    shown: BTreeMap<String, Option<String>>,
    axes: Option<(String, String)>,
) -> Provenance {
    let Made { union, chosen, points, about, .. } = made;
    let space = &union.space;
    let mut texts = blake3::Hasher::new();
    let sources = &union.plan.sources;
    for text in sources.file_texts() {
        texts.update(&(text.len() as u64).to_le_bytes());
        texts.update(text.as_bytes());
    }
    let params = |place: usize| {
        let given = space.params.iter().zip(&space.points[place].0);
        given.map(|(param, given)| (param.path.clone(), space::json(&given.node))).collect()
    };
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for (at, (place, _)) in chosen.iter().enumerate() {
        match points.state(at) {
            State::Done | State::Cached => there.push(PointOf { point: place + 1, params: params(*place) }),
            State::Failed | State::Left => {
                let because = points.failure(at).map(str::to_owned);
                missing.push(Missing { point: place + 1, name: points.name(at).to_owned(), because });
            }
        }
    }
    Provenance {
        manifest: union.manifest.clone(),
        path: about.manifest.path.clone(),
        digest: texts.finalize().to_hex().to_string(),
        sets: about.sets.clone(),
        talkflow: about.talkflow.clone(),
        runs,
        git: about.git.clone(),
        host: about.host.clone(),
        device: about.device.clone(),
        space: space.written.clone(),
        params: space.params.iter().map(|param| param.path.clone()).collect(),
        seed: space.params.iter().find(|param| param.seed).map(|param| param.path.clone()),
        points: there,
        missing,
        notes,
        shown,
        axes,
        declared: BTreeMap::new(),
        splits: BTreeMap::new(),
    }
}

/// Whether a result holds scores.
pub fn has_scores(record: &Record) -> bool {
    made_by(&record.kind) == Some(ArtifactKind::Scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{
        Metric, Task,
        testing::{self, class_entry, entry},
    };

    #[test]
    fn every_number_of_every_model_is_taken_and_one_matters_most() {
        let scores = |metrics: &[Metric]| {
            let entries = vec![entry(["Drama", "label", "seed=1"], 0.5), entry(["Drama", "teacher", "seed=1"], 0.25)];
            testing::scores(Task::Ratings, metrics, 1, entries)
        };
        let numbers = of_scores(&scores(&[]));
        let of = |column: &str, metric: &str| {
            let found =
                numbers.iter().find(|one| *one.metric == *metric && one.place.as_ref().is_some_and(|at| *at[1] == *column));
            found.map(|one| one.value)
        };
        assert_eq!((of("label", "rmse"), of("teacher", "mae"), of("label", "rows")), (Some(0.5), Some(0.125), Some(10.0)));
        // What is not known is no number.
        assert_eq!(of("label", "deep_share"), None);
        // How much of the gap is closed is no number of one model.
        let main = |metrics: &[Metric]| main_of(&scores(metrics), &numbers);
        assert_eq!(main(&[Metric::GapRecovery, Metric::Mae, Metric::Rmse]).as_deref(), Some("mae"));
        assert_eq!(main(&[Metric::GapRecovery]), None);
        let classes = vec![class_entry(["all", "label", "seed=1"], &[("cat", 4, 3), ("dog", 6, 6)])];
        let classes = testing::scores(Task::Classes, &[Metric::Nll, Metric::Accuracy], 1, classes);
        assert_eq!(main_of(&classes, &of_scores(&classes)).as_deref(), Some("accuracy"));
    }
}
