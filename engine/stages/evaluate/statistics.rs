//! What follows from all entries of an evaluation together: means over blocks, gap recovery, and whether scratch is worth
//! comparing with. Knows entries only, neither models nor data nor how a table is drawn.
//!
//! A matrix may have holes: then each cell is over the blocks that have a model for it, the mean over rows is over the blocks in
//! which the column has every row, and what is paired is over the blocks that have all of the pair.

use std::collections::{BTreeMap, BTreeSet};

use talkflow_distill::metrics;

use crate::scores::{Cell, Check, Entry, Measures, Metric, Spread, TEACHER, Task};

/// The numbers of a table.
pub struct Statistics {
    /// Distinct blocks.
    pub blocks: usize,
    /// By row, then column; those of the mean over rows last.
    pub cells: Vec<Cell>,
    /// By row; that of the mean over rows last.
    pub checks: Vec<Check>,
}

/// Those of some entries, with gap recovery or without. Only ratings have bias terms, which scratch is held against.
pub fn of(task: Task, entries: &[Entry], gap_recovery: bool) -> Statistics {
    let table = Table::of(task, entries);
    let mut statistics = Statistics { blocks: table.blocks.len(), cells: Vec::new(), checks: Vec::new() };
    for row in table.rows.iter().copied().map(Some).chain([None]) {
        statistics.cells.extend(table.columns.iter().filter_map(|column| table.cell(row, column, gap_recovery)));
        if task == Task::Ratings {
            statistics.checks.extend(table.check(row));
        }
    }
    statistics
}

/// The first column of this method, whatever the manifest calls it.
pub fn control<'a>(entries: &'a [Entry], method: &str) -> Option<&'a str> {
    let columns: BTreeSet<&str> = entries.iter().map(|entry| entry.column.as_str()).collect();
    columns.into_iter().find(|column| entries.iter().filter(|entry| entry.column == *column).all(|entry| entry.method == method))
}

/// Entries by row, column and block.
struct Table<'a> {
    task: Task,
    entries: &'a [Entry],
    rows: Vec<&'a str>,
    columns: Vec<&'a str>,
    blocks: Vec<&'a str>,
    by_place: BTreeMap<(&'a str, &'a str, &'a str), &'a Entry>,
}

impl<'a> Table<'a> {
    fn of(task: Task, entries: &'a [Entry]) -> Self {
        let distinct = |of: fn(&Entry) -> &str| entries.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect();
        Self {
            task,
            entries,
            rows: distinct(|e| &e.row),
            columns: distinct(|e| &e.column),
            blocks: distinct(|e| &e.block),
            by_place: entries.iter().map(|e| ((e.row.as_str(), e.column.as_str(), e.block.as_str()), e)).collect(),
        }
    }

    /// A metric by block: of one row, or as the mean over all rows, which needs each of them.
    fn by_block(&self, row: Option<&str>, column: &str, metric: Metric) -> BTreeMap<&'a str, f64> {
        let rows: Vec<&str> = row.map_or_else(|| self.rows.clone(), |row| vec![row]);
        let value = |block: &&'a str| {
            let of_rows: Option<Vec<f64>> =
                rows.iter().map(|row| self.by_place.get(&(*row, column, *block))?.metric(metric)).collect();
            Some((*block, metrics::mean(of_rows?.into_iter())?))
        };
        self.blocks.iter().filter_map(value).collect()
    }

    fn cell(&self, row: Option<&str>, column: &str, gap_recovery: bool) -> Option<Cell> {
        let of = |metric| spread(&self.by_block(row, column, metric).into_values().collect::<Vec<_>>());
        let measures: Measures<Spread> = Metric::ALL.iter().filter_map(|(_, metric)| Some((*metric, of(*metric)?))).collect();
        if measures.is_empty() {
            return None;
        }
        let gap = if gap_recovery && column != TEACHER { self.gap(row, column) } else { None };
        let (gap_recovery, gap_blocks) = gap.unwrap_or_default();
        Some(Cell { row: row.map(str::to_owned), column: column.to_owned(), measures, gap_recovery, gap_blocks })
    }

    /// The task's main metric of some columns in the blocks that have all of them.
    fn paired<const N: usize>(&self, row: Option<&str>, columns: [&str; N]) -> [Vec<f64>; N] {
        let by_block = columns.map(|column| self.by_block(row, column, self.task.main()));
        let common = || self.blocks.iter().filter(|block| by_block.iter().all(|of| of.contains_key(*block)));
        std::array::from_fn(|place| common().map(|block| by_block[place][block]).collect())
    }

    /// Gap recovery, and over how many blocks.
    fn gap(&self, row: Option<&str>, column: &str) -> Option<(Option<f64>, usize)> {
        let [scratch, method, teacher] = self.paired(row, [control(self.entries, "scratch")?, column, TEACHER]);
        Some((metrics::gap_recovery(&scratch, &method, &teacher), scratch.len()))
    }

    fn check(&self, row: Option<&str>) -> Option<Check> {
        let [scratch, bias_only] = self.paired(row, [control(self.entries, "scratch")?, control(self.entries, "bias_only")?]);
        let differences: Vec<f64> = scratch.iter().zip(&bias_only).map(|(a, b)| a - b).collect();
        let interval = metrics::paired_interval(&differences, 0.95).map(|interval| (interval.low, interval.high));
        Some(Check {
            row: row.map(str::to_owned),
            difference: spread(&differences),
            interval,
            invalid: interval.is_some_and(|(low, _)| low > 0.0),
        })
    }
}

fn spread(values: &[f64]) -> Option<Spread> {
    let mean = metrics::mean(values.iter().copied())?;
    Some(Spread { mean, sd: metrics::sd(values), n: values.len() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;
    use crate::scores::testing::{class_entry, entry};

    /// Two rows and three blocks of three columns and the teacher, less what `hole` says.
    fn with_holes(hole: impl Fn(&str, &str, &str) -> bool) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (row, easy) in [("Drama", 0.0), ("Western", 0.3)] {
            for (block, luck) in [("1", 0.0), ("2", 0.01), ("3", 0.05)] {
                for (column, rmse) in [("bias_only", 1.0), ("label", 0.8), ("scratch", 0.9), (TEACHER, 0.7)] {
                    // The luck of a block strikes all, but not alike, so that paired differences have a spread.
                    let own = if column == "scratch" { luck / 10.0 } else { 0.0 };
                    if !hole(row, column, block) {
                        entries.push(entry([row, column, block], rmse + easy + luck + own));
                    }
                }
            }
        }
        entries
    }

    fn cell<'s>(statistics: &'s Statistics, row: Option<&str>, column: &str) -> Option<&'s Cell> {
        statistics.cells.iter().find(|cell| cell.row.as_deref() == row && cell.column == column)
    }

    #[test]
    fn a_cell_is_over_its_own_blocks_and_the_mean_over_those_with_every_row() {
        let found = of(Task::Ratings, &with_holes(|row, column, block| (row, column, block) == ("Western", "label", "2")), true);
        assert_eq!(found.blocks, 3);
        let of = |row, column| cell(&found, row, column).unwrap();
        assert_eq!(of(Some("Western"), "label").measures[&Metric::Rmse].n, 2);
        assert_eq!(of(Some("Drama"), "label").measures[&Metric::Rmse].n, 3);
        // Block 2 has no mean of label: that of one row would be easier than that of both.
        let mean = of(None, "label").measures[&Metric::Rmse];
        assert_eq!(mean.n, 2);
        assert!((mean.mean - (0.8 + 0.15 + 0.025)).abs() < 1e-12, "{mean:?}");
        assert_eq!(of(None, "scratch").measures[&Metric::Rmse].n, 3);
        // What is paired takes the blocks that all have, and says how many.
        assert_eq!((of(None, "label").gap_blocks, of(None, "bias_only").gap_blocks), (2, 3));
        let gap = of(None, "label").gap_recovery.unwrap();
        // Blocks 1 and 3: scratch is 0.0025 worse than its 0.9 on average.
        assert!((gap - 0.1025 / 0.2025).abs() < 1e-9, "{gap}");
    }

    #[test]
    fn a_column_that_lacks_a_row_has_no_mean() {
        let found = of(Task::Ratings, &with_holes(|row, column, _| (row, column) == ("Western", "label")), true);
        assert!(cell(&found, Some("Western"), "label").is_none());
        assert!(cell(&found, None, "label").is_none());
        assert_eq!(cell(&found, None, "scratch").unwrap().measures[&Metric::Rmse].n, 3);
    }

    #[test]
    fn a_check_takes_the_blocks_of_both_and_stays_where_there_are_none() {
        let hole = |row: &str, column: &str, block: &str| match (row, column) {
            ("Drama", "scratch") => block != "1",
            ("Drama", "bias_only") => block == "1",
            ("Western", "scratch") => block == "1",
            _ => false,
        };
        let found = of(Task::Ratings, &with_holes(hole), false);
        let checks: Vec<(Option<&str>, Option<usize>, bool)> = (found.checks.iter())
            .map(|check| (check.row.as_deref(), check.difference.map(|d| d.n), check.interval.is_some()))
            .collect();
        assert_eq!(checks, [(Some("Drama"), None, false), (Some("Western"), Some(2), true), (None, None, false)]);
        assert!(found.cells.iter().all(|cell| cell.gap_recovery.is_none() && cell.gap_blocks == 0));
    }

    #[test]
    fn classes_recover_a_gap_of_accuracy_and_are_not_held_against_biases() {
        let mut entries = Vec::new();
        for (block, luck) in [("1", 0), ("2", 2), ("3", 1)] {
            for (column, right) in [("bias_only", 90), ("label", 75), ("scratch", 60), (TEACHER, 90)] {
                // Blocks differ, and the gaps in them too.
                let own = if column == "scratch" { luck } else { 0 };
                entries.push(class_entry(["all", column, block], &[("cat", 100, right + luck + own), ("dog", 100, 80)]));
            }
        }
        let found = of(Task::Classes, &entries, true);
        assert!(found.checks.is_empty(), "{:?}", found.checks);
        let label = cell(&found, Some("all"), "label").unwrap();
        assert_eq!(label.measures.keys().collect::<Vec<_>>(), [&Metric::Accuracy]);
        assert!((label.measures[&Metric::Accuracy].mean - 0.78).abs() < 1e-12, "{label:?}");
        // mean(label - scratch) / mean(teacher - scratch): (15 - 1) / (30 - 1), since scratch has 61 + 1 on average.
        assert!((label.gap_recovery.unwrap() - 14.0 / 29.0).abs() < 1e-12, "{label:?}");
        assert_eq!(label.gap_blocks, 3);
    }
}
