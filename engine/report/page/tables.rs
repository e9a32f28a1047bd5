//! Evaluations as tables: rows, columns, and the numbers of each cell over blocks, as the evaluations give them.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::Serialize;

use super::{PageError, stages::Known};
use crate::{
    report::{results::has_scores, table},
    scores::{self, Metric, Scores, Spread, TEACHER},
    store::{Store, StoreError},
};

/// More evaluations than this are not shown one by one: a sweep's numbers are in its own table.
const MOST: usize = 12;

/// An evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Its instance's name.
    pub title: String,
    /// Which part of the split was scored.
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

/// Reads them.
pub fn of(store: &Store, known: &Known, remarks: &mut Vec<String>) -> Result<Vec<Table>, PageError> {
    let is_evaluation = |place: &usize| known.records[*place].as_ref().is_some_and(has_scores);
    let evaluations: Vec<usize> = (0..known.instances.len()).filter(is_evaluation).collect();
    let order: table::Order = known.order().into_iter().map(|(axis, values)| (axis, values.into_iter().collect())).collect();
    let mut tables = Vec::new();
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
            Ok(scores) => tables.push(Table::of(name, &scores, &order)),
            Err(why) => remarks.push(format!("The scores of {name} cannot be shown: {why}")),
        }
    }
    if let left @ 1.. = evaluations.len().saturating_sub(MOST) {
        remarks.push(format!("{left} more evaluations are not shown one by one."));
    }
    Ok(tables)
}

impl Table {
    fn of(title: &str, scores: &Scores, order: &table::Order) -> Self {
        let values = |of: fn(&scores::Entry) -> &str, axis: &str| -> Vec<String> {
            table::in_order(scores.entries.iter().map(of), axis, order).into_iter().map(str::to_owned).collect()
        };
        let rows = values(|entry| &entry.row, &scores.row_axis);
        let mut columns = values(|entry| &entry.column, &scores.column_axis);
        columns.sort_by_key(|column| column == TEACHER);
        let place = |of: &[String], name: &str| of.iter().position(|known| known == name);
        let collapsed: IndexMap<(&str, &str), BTreeSet<&str>> =
            scores.entries.iter().filter(|entry| entry.collapsed == Some(true)).fold(IndexMap::new(), |mut all, entry| {
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
            rows,
            columns,
        }
    }
}
