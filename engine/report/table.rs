//! The result table: rows and columns in the manifest's order, RMSE as mean ± sd over blocks, and under it what decides
//! whether the numbers mean anything.

use std::{collections::BTreeSet, fs};

use crate::scores::{Cell, Metric, Scores, Spread};

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

/// The table as people read it.
pub fn render(name: &str, scores: &Scores, order: &Order) -> String {
    let rows = in_order(scores.entries.iter().map(|entry| entry.row.as_str()), &scores.row_axis, order);
    let mut columns = in_order(scores.entries.iter().map(|entry| entry.column.as_str()), &scores.column_axis, order);
    // The teacher is what the students are measured by, not one of them.
    columns.sort_by_key(|column| *column == "teacher");
    let blocks: BTreeSet<&str> = scores.entries.iter().map(|entry| entry.block.as_str()).collect();
    let over = match blocks.len() {
        1 => String::new(),
        n => format!(", mean ± sd over {n} blocks"),
    };
    let mut text = format!("{name}: RMSE on the {} rows{over}\n", scores.part);
    text += &format!("data: {}\n", scores.data);
    scores.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    let mut grid: Vec<Vec<String>> =
        vec![std::iter::once(scores.row_axis.clone()).chain(columns.iter().map(ToString::to_string)).collect()];
    let cell =
        |row: Option<&str>, column: &str| scores.cells.iter().find(|cell| cell.row.as_deref() == row && cell.column == column);
    for row in &rows {
        let values = columns.iter().map(|column| cell(Some(row), column).map_or("-".into(), |c| spread(&c.rmse)));
        grid.push(std::iter::once((*row).to_owned()).chain(values).collect());
    }
    let mut footer = |title: &str, show: &dyn Fn(&str) -> String| {
        grid.push(std::iter::once(title.to_owned()).chain(columns.iter().map(|column| show(column))).collect());
    };
    let mean = |show: fn(&Cell) -> String| move |column: &str| cell(None, column).map_or("-".into(), show);
    if rows.len() > 1 {
        footer("mean", &mean(|c| spread(&c.rmse)));
    }
    if scores.metrics.contains(&Metric::Mae) {
        footer("MAE", &mean(|c| spread(&c.mae)));
    }
    if scores.metrics.contains(&Metric::UserRmse) {
        footer("per-user RMSE", &mean(|c| spread(&c.user_rmse)));
    }
    if scores.metrics.contains(&Metric::GapRecovery) {
        footer("gap recovery", &mean(|c| c.gap_recovery.map_or("-".into(), |gap| format!("{:.0} %", 100.0 * gap))));
    }
    footer("deep path", &|column| deep_path(scores, column));
    footer("parameters", &|column| parameters(scores, column));
    text += &align(&grid, rows.len());
    text += "deep path: its share of the prediction's variance; `!n` where it collapsed to a constant in n models\n";
    text += "parameters: serving + training only, mean over models\n";
    for check in scores.checks.iter().filter(|check| check.invalid) {
        let row = check.row.as_deref().unwrap_or("the mean over all rows");
        if let Some((low, high)) = check.interval {
            text += &format!(
                "INVALID: on {row} scratch is worse than bias_only by {:.4} (95 % interval {low:.4} to {high:.4}): tune it first, no gain over it means anything\n",
                check.difference.mean
            );
        }
    }
    if scores.checks.iter().any(|check| check.interval.is_none()) {
        text += "fewer than two blocks have both scratch and bias_only: which of them is better cannot be told\n";
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

fn spread(spread: &Spread) -> String {
    match spread.sd {
        Some(sd) => format!("{:.4} ± {sd:.4}", spread.mean),
        None => format!("{:.4}", spread.mean),
    }
}

fn deep_path(scores: &Scores, column: &str) -> String {
    let of = || scores.entries.iter().filter(|entry| entry.column == column);
    let shares: Vec<f64> = of().filter_map(|entry| entry.deep_share).collect();
    if shares.is_empty() {
        return "-".to_owned();
    }
    let collapsed = of().filter(|entry| entry.collapsed == Some(true)).count();
    let mark = if collapsed > 0 { format!(" !{collapsed}") } else { String::new() };
    format!("{:.3}{mark}", shares.iter().sum::<f64>() / shares.len() as f64)
}

fn parameters(scores: &Scores, column: &str) -> String {
    let of: Vec<_> = scores.entries.iter().filter(|entry| entry.column == column).collect();
    let mean = |sum: u64| sum / of.len().max(1) as u64;
    let serving = mean(of.iter().map(|entry| entry.serving_parameters).sum());
    match mean(of.iter().map(|entry| entry.training_parameters).sum()) {
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
