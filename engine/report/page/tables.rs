//! Evaluations as tables: rows, columns, and the numbers of each cell over blocks, as the evaluations give them.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::Serialize;

use super::{PageError, stages::Known};
use crate::{
    report::{
        results::{Line, Results, has_scores},
        table,
    },
    scores::{self, Metric, Scores, Spread, TEACHER},
    selector::Selector,
    store::{Store, StoreError},
};

/// More evaluations than this are not read, and not more tables shown: a sweep's numbers are in its own table.
const MOST: usize = 60;
const MOST_SHOWN: usize = 12;

/// An evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Its instance's name.
    pub title: String,
    /// Which part of the split was scored; nothing where it is over several evaluations.
    pub part: String,
    /// Which data it is about.
    pub data: String,
    /// What a reader has to know.
    pub notes: Vec<String>,
    /// How many blocks it is over.
    pub blocks: usize,
    /// What the rows are, such as genres.
    pub row_axis: String,
    /// What the columns are, such as methods.
    pub column_axis: String,
    /// The rows.
    pub rows: Vec<String>,
    /// How much there is to learn from on each.
    pub sizes: Vec<Size>,
    /// The columns, the teacher last.
    pub columns: Vec<String>,
    /// The metrics by their words, the first the one that matters most.
    pub metrics: Vec<String>,
    /// The cells that there are.
    pub cells: Vec<Cell>,
    /// What decides whether the numbers mean anything.
    pub checks: String,
}

/// A cell.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The row, by place; none for the mean over all rows.
    pub row: Option<usize>,
    /// The column, by place.
    pub column: usize,
    /// By metric, in the order of the table's.
    pub values: Vec<Option<Spread>>,
    /// How many models' deep paths collapsed to a constant.
    pub collapsed: usize,
}

/// An evaluation as it was read.
pub struct Evaluation {
    /// Its instance's name.
    pub name: String,
    /// What it found.
    pub scores: Scores,
}

/// How much there is to learn from on a row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Size {
    /// Ratings that models of this row trained on, mean over them.
    pub train_rows: Option<f64>,
    /// Its group.
    pub group: Option<String>,
}

/// From so many training ratings on, a genre of MovieLens 100K counts as dense.
const DENSE: f64 = 10_000.0;
/// And below so many as sparse.
const SPARSE: f64 = 2_000.0;

/// Reads evaluations.
pub fn read(store: &Store, known: &Known, remarks: &mut Vec<String>) -> Result<Vec<Evaluation>, PageError> {
    let is_evaluation = |place: &usize| known.records[*place].as_ref().is_some_and(has_scores);
    let evaluations: Vec<usize> = (0..known.instances.len()).filter(is_evaluation).collect();
    let mut read = Vec::new();
    for place in evaluations.iter().take(MOST) {
        let record = known.records[*place].as_ref();
        let Some(entry) = record.and_then(|record| record.files.0.get(scores::FILE)) else { continue };
        let name = &known.instances[*place].name;
        let scores = match store.proven(scores::FILE, entry) {
            Ok(path) => table::read(&path),
            Err(error @ StoreError::NotWhole { .. }) => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        match scores {
            Ok(scores) => read.push(Evaluation { name: name.clone(), scores }),
            Err(why) => remarks.push(format!("The scores of {name} cannot be shown: {why}")),
        }
    }
    if let left @ 1.. = evaluations.len().saturating_sub(MOST) {
        remarks.push(format!("{left} more evaluations are not looked into one by one."));
    }
    Ok(read)
}

/// They as tables.
pub fn of(evaluations: &[Evaluation], known: &Known) -> Vec<Table> {
    let order: table::Order = known.order().into_iter().map(|(axis, values)| (axis, values.into_iter().collect())).collect();
    evaluations.iter().take(MOST_SHOWN).map(|evaluation| Table::of(&evaluation.name, &evaluation.scores, &order, known)).collect()
}

/// Of a sweep that ended: a table for each of its settings, over seeds and blocks, unless there are too many.
pub fn of_sweep(results: &Results, known: &Known) -> Vec<Table> {
    let Some((row_axis, column_axis)) = results.provenance.axes.clone() else { return Vec::new() };
    let order: table::Order = known.order().into_iter().map(|(axis, values)| (axis, values.into_iter().collect())).collect();
    // Gap recovery is made of means, and no number of a model.
    let words = Metric::ALL.iter().filter(|(_, metric)| *metric != Metric::GapRecovery).map(|(word, _)| *word);
    let selectors: Vec<Selector> = words.clone().filter_map(|word| Selector::parse(word).ok()).collect();
    let summary = results.summary(&selectors);
    let place = |axis: &str| summary.heads.iter().rposition(|head| head == axis);
    let (Some(at_row), Some(at_column)) = (place(&row_axis), place(&column_axis)) else { return Vec::new() };
    let mut settings: IndexMap<String, Vec<&Line>> = IndexMap::new();
    for line in summary.lines.iter().filter(|line| !line.cells[at_column].is_empty()) {
        let others = summary
            .heads
            .iter()
            .zip(&line.cells)
            .enumerate()
            .filter(|(at, (_, cell))| *at != at_row && *at != at_column && !cell.is_empty());
        let setting: Vec<String> = others.map(|(_, (head, cell))| format!("{head}={cell}")).collect();
        settings.entry(setting.join(", ")).or_default().push(line);
    }
    if settings.len() > MOST_SHOWN {
        return Vec::new();
    }
    let table = |(setting, lines): (String, Vec<&Line>)| {
        let values = |at: usize, axis: &str| -> Vec<String> {
            table::in_order(lines.iter().map(|line| line.cells[at].as_str()), axis, &order)
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let (rows, mut columns) = (values(at_row, &row_axis), values(at_column, &column_axis));
        columns.sort_by_key(|column| column == TEACHER);
        let metrics: Vec<&str> = words.clone().filter(|word| lines.iter().any(|line| line.metric == *word)).collect();
        let mut cells: IndexMap<(usize, usize), Vec<Option<Spread>>> = IndexMap::new();
        for line in &lines {
            let place = |of: &[String], at: usize| of.iter().position(|known| *known == line.cells[at]).unwrap_or_default();
            let at = cells.entry((place(&rows, at_row), place(&columns, at_column))).or_insert_with(|| vec![None; metrics.len()]);
            if let Some(metric) = metrics.iter().position(|word| *word == line.metric) {
                at[metric] = Some(Spread { mean: line.mean, sd: line.sd, n: line.n });
            }
        }
        Table {
            title: if setting.is_empty() { results.provenance.manifest.clone() } else { setting },
            part: String::new(),
            data: results.provenance.notes.join(". "),
            notes: Vec::new(),
            blocks: lines.iter().map(|line| line.n).max().unwrap_or(0),
            sizes: rows.iter().map(|row| size(known, &row_axis, row)).collect(),
            row_axis: row_axis.clone(),
            column_axis: column_axis.clone(),
            rows,
            columns,
            metrics: metrics.into_iter().map(str::to_owned).collect(),
            cells: cells
                .into_iter()
                .map(|((row, column), values)| Cell { row: Some(row), column, values, collapsed: 0 })
                .collect(),
            checks: String::new(),
        }
    };
    settings.into_iter().map(table).collect()
}

/// How much there is to learn from on a row: by what the models with that value on the axis learnt from.
pub fn size(known: &Known, axis: &str, row: &str) -> Size {
    let models =
        (0..known.instances.len()).filter(|place| known.instances[*place].labels.get(axis).is_some_and(|own| own == row));
    let rows: Vec<f64> = models.filter_map(|place| known.metric(place, "train_rows")).collect();
    let mean = rows.iter().sum::<f64>() / rows.len() as f64;
    let group = match mean {
        _ if rows.is_empty() => None,
        DENSE.. => Some("dense"),
        ..SPARSE => Some("sparse"),
        _ => Some("between"),
    };
    Size { train_rows: (!rows.is_empty()).then_some(mean), group: group.map(str::to_owned) }
}

impl Table {
    fn of(title: &str, scores: &Scores, order: &table::Order, known: &Known) -> Self {
        let values = |of: fn(&scores::Entry) -> &str, axis: &str| -> Vec<String> {
            table::in_order(scores.entries.iter().map(of), axis, order).into_iter().map(str::to_owned).collect()
        };
        let rows = values(|entry| &entry.row, &scores.row_axis);
        let mut columns = values(|entry| &entry.column, &scores.column_axis);
        columns.sort_by_key(|column| column == TEACHER);
        let place = |of: &[String], name: &str| of.iter().position(|known| known == name);
        let collapsed: IndexMap<(&str, &str), BTreeSet<&str>> =
            scores.entries.iter().filter(|entry| entry.is_collapsed()).fold(IndexMap::new(), |mut all, entry| {
                all.entry((entry.row.as_str(), entry.column.as_str())).or_default().insert(entry.block.as_str());
                all
            });
        let cell = |cell: &scores::Cell| {
            // With one row, the mean over rows is that row again.
            if cell.row.is_none() && rows.len() < 2 {
                return None;
            }
            let of = |metric: &Metric| match (cell.spread(*metric), cell.mean(*metric)) {
                (Some(spread), _) => Some(*spread),
                (None, (Some(mean), n)) => Some(Spread { mean, sd: None, n }),
                (None, (None, _)) => None,
            };
            let row = cell.row.as_deref();
            Some(Cell {
                row: row.map(|row| place(&rows, row)).unwrap_or(None),
                column: place(&columns, &cell.column)?,
                values: scores.metrics.iter().map(of).collect(),
                collapsed: row.and_then(|row| collapsed.get(&(row, cell.column.as_str()))).map_or(0, BTreeSet::len),
            })
        };
        let word = |metric: &Metric| Metric::ALL.iter().find(|(_, known)| known == metric).map_or("", |(word, _)| word);
        let names: Vec<&str> = rows.iter().map(String::as_str).collect();
        Self {
            title: title.to_owned(),
            part: scores.part.clone(),
            data: scores.data.clone(),
            notes: scores.notes.clone(),
            blocks: scores.blocks,
            row_axis: scores.row_axis.clone(),
            column_axis: scores.column_axis.clone(),
            cells: scores.cells.iter().filter_map(cell).collect(),
            metrics: scores.metrics.iter().map(|metric| word(metric).to_owned()).collect(),
            checks: table::checks(scores, &names),
            sizes: rows.iter().map(|row| size(known, &scores.row_axis, row)).collect(),
            rows,
            columns,
        }
    }
}
