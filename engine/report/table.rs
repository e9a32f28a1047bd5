//! The result table: rows and columns in the manifest's order, the first metric as mean ± sd over blocks, and under it the others
//! and what decides whether the numbers mean anything. Computes no statistics.

use std::{collections::BTreeSet, fs};

use crate::scores::{Cell, Check, Entry, Metric, Scores, TEACHER};

/// The wanted order of the values of each axis, as the manifest has them.
pub type Order = Vec<(String, Vec<String>)>;

/// Reads a scores file.
///
/// # Errors
/// Where it cannot be read, in words.
pub fn read(path: &std::path::Path) -> Result<Scores, String> {
    let text = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} holds no scores: {error}; run with --force", path.display()))
}

/// The table as people read it: the first metric of each row and column, then the others of the mean over rows.
pub fn render(name: &str, scores: &Scores, order: &Order) -> String {
    let rows = in_order(scores.entries.iter().map(|entry| entry.row.as_str()), &scores.row_axis, order);
    let mut columns = in_order(scores.entries.iter().map(|entry| entry.column.as_str()), &scores.column_axis, order);
    // The teacher is what the students are measured by, not one of them.
    columns.sort_by_key(|column| *column == TEACHER);
    let Some((first, others)) = scores.metrics.split_first() else { return String::new() };
    let over = match scores.blocks {
        1 => String::new(),
        n if *first == Metric::GapRecovery => format!(", over {n} blocks"),
        n => format!(", mean ± sd over {n} blocks"),
    };
    let mut text = format!("{name}: {} on the {} rows{over}\n", title(*first), scores.part);
    text += &format!("data: {}\n", scores.data);
    scores.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    let mut grid: Vec<Vec<String>> =
        vec![std::iter::once(scores.row_axis.clone()).chain(columns.iter().map(ToString::to_string)).collect()];
    let mut line = |title: &str, show: &dyn Fn(&str) -> String| {
        grid.push(std::iter::once(title.to_owned()).chain(columns.iter().map(|column| show(column))).collect());
    };
    let cell = |row: Option<&str>, column: &str, metric: Metric| {
        let cell = scores.cells.iter().find(|cell| cell.row.as_deref() == row && cell.column == column);
        cell.map_or(NONE.to_owned(), |cell| value(cell, metric, scores.blocks))
    };
    for row in &rows {
        line(row, &|column| cell(Some(row), column, *first));
    }
    if rows.len() > 1 {
        line("mean", &|column| cell(None, column, *first));
    }
    for metric in others {
        line(title(*metric), &|column| cell(None, column, *metric));
    }
    line("deep path", &|column| deep_path(&models(scores, column)));
    line("fallbacks", &|column| share(scores, column, |entry| entry.fallbacks));
    line("clipped", &|column| share(scores, column, |entry| entry.clipped));
    line("parameters", &|column| parameters(&models(scores, column)));
    text += &align(&grid, rows.len());
    text += "deep path: its share of the prediction's variance; `!n` where it collapsed to a constant in n models\n";
    text += "parameters: serving + training only, mean over models\n";
    let missing = (rows.len() * columns.len() * scores.blocks).saturating_sub(scores.entries.len());
    if missing > 0 {
        text += &format!(
            "incomplete, {missing} missing: `(n)` marks what is over n of the {} blocks only, those where the column has the row, and under the line \
             every row; it does not compare with what is over others\n",
            scores.blocks
        );
    }
    text + &checks(scores, &rows)
}

/// In place of a number that there is none of.
const NONE: &str = "-";

/// What the table calls a metric.
fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::Rmse => "RMSE",
        Metric::Mae => "MAE",
        Metric::UserRmse => "per-user RMSE",
        Metric::GapRecovery => "gap recovery",
    }
}

/// A metric of a cell, marked where it is over fewer blocks than the table has.
fn value(cell: &Cell, metric: Metric, blocks: usize) -> String {
    let (Some(mean), n) = cell.mean(metric) else { return NONE.to_owned() };
    let mark = if n < blocks { format!(" ({n})") } else { String::new() };
    match cell.spread(metric).map(|spread| spread.sd) {
        Some(Some(sd)) => format!("{mean:.4} ± {sd:.4}{mark}"),
        Some(None) => format!("{mean:.4}{mark}"),
        None => format!("{:.0} %{mark}", 100.0 * mean),
    }
}

/// What decides whether the numbers mean anything.
fn checks<'a>(scores: &'a Scores, rows: &[&str]) -> String {
    let mut text = String::new();
    // With one row, the mean over rows is that row again.
    let checks = || scores.checks.iter().filter(|check| check.row.is_some() || rows.len() > 1);
    let name = |check: &'a Check| check.row.as_deref().unwrap_or("the mean over all rows");
    for check in checks().filter(|check| check.invalid) {
        let row = name(check);
        if let (Some(difference), Some((low, high))) = (check.difference, check.interval) {
            text += &format!(
                "INVALID: on {row} the RMSE of scratch is worse than that of bias_only by {:.4} (95 % interval {low:.4} to {high:.4}): tune it first, \
                 no gain over it means anything\n",
                difference.mean
            );
        }
    }
    let untold: Vec<&str> = checks().filter(|check| check.interval.is_none()).map(|check| name(check)).collect();
    if !untold.is_empty() {
        let on = if untold.len() == checks().count() { String::new() } else { format!("on {}: ", untold.join(", ")) };
        text += &format!("{on}fewer than two blocks have both scratch and bias_only: which of them is better cannot be told\n");
    }
    text
}

fn in_order<'a>(values: impl Iterator<Item = &'a str>, axis: &str, order: &'a Order) -> Vec<&'a str> {
    let there: BTreeSet<&str> = values.collect();
    let wanted = order.iter().find(|(name, _)| name == axis).map_or(&[][..], |(_, values)| values);
    let known = wanted.iter().map(String::as_str).filter(|value| there.contains(value));
    let rest = there.iter().copied().filter(|value| !wanted.iter().any(|w| w == value));
    known.chain(rest).collect()
}

/// One entry for each model of a column: a teacher has an entry in every row, and is one model.
fn models<'a>(scores: &'a Scores, column: &str) -> Vec<&'a Entry> {
    let mut seen = BTreeSet::new();
    scores.entries.iter().filter(|entry| entry.column == column && seen.insert(entry.model)).collect()
}

fn deep_path(models: &[&Entry]) -> String {
    let shares: Vec<f64> = models.iter().filter_map(|entry| entry.deep_share).collect();
    if shares.is_empty() {
        return NONE.to_owned();
    }
    let collapsed = models.iter().filter(|entry| entry.collapsed == Some(true)).count();
    let mark = if collapsed > 0 { format!(" !{collapsed}") } else { String::new() };
    format!("{:.3}{mark}", shares.iter().sum::<f64>() / shares.len() as f64)
}

/// How many of a column's predictions.
fn share(scores: &Scores, column: &str, count: fn(&Entry) -> usize) -> String {
    let of = || scores.entries.iter().filter(|entry| entry.column == column);
    format!("{} of {}", of().map(count).sum::<usize>(), of().map(|entry| entry.rows).sum::<usize>())
}

fn parameters(models: &[&Entry]) -> String {
    let mean = |count: fn(&Entry) -> u64| models.iter().map(|entry| count(entry)).sum::<u64>() / models.len().max(1) as u64;
    let serving = mean(|entry| entry.serving_parameters);
    match mean(|entry| entry.training_parameters) {
        0 => serving.to_string(),
        training => format!("{serving} + {training}"),
    }
}

/// Columns under each other, a rule under the head and before the footer.
fn align(grid: &[Vec<String>], rows: usize) -> String {
    let columns = grid.first().map_or(0, Vec::len);
    let width = |column: usize| grid.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1)) + "\n";
    let mut text = String::new();
    for (place, line) in grid.iter().enumerate() {
        if place == 1 || place == rows + 1 {
            text += &rule;
        }
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
