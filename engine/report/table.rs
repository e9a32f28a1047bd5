//! The result table: rows and columns in the manifest's order, the first metric as mean ± sd over blocks, and under it the others
//! and what decides whether the numbers mean anything. Computes no statistics.

use std::{collections::BTreeSet, fs};

use serde::Deserialize;

use super::comparisons::{self, Sheet};
use crate::scores::{Cell, Check, Entry, FORMAT, Metric, RatingDetails, Scores, TEACHER, Task};

/// The wanted order of the values of each axis, as the manifest has them.
pub type Order = Vec<(String, Vec<String>)>;

/// Reads a scores file.
///
/// # Errors
/// Where it cannot be read, or another talkflow wrote it in another form, in words.
pub fn read(path: &std::path::Path) -> Result<Scores, String> {
    /// What a file of any version has, if it is as new as the field.
    #[derive(Deserialize)]
    struct Any {
        format: Option<u64>,
    }
    let text = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let none = |error: serde_json::Error| format!("{} holds no scores: {error}; run with --force", path.display());
    match serde_json::from_slice(&text).map_err(none)? {
        Any { format: Some(format) } if format == u64::from(FORMAT) => serde_json::from_slice(&text).map_err(none),
        Any { format } => Err(format!(
            "{} holds scores of format {}, and this talkflow reads {FORMAT}: run the manifest again, which makes them anew",
            path.display(),
            format.unwrap_or(1)
        )),
    }
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
    let mut text = format!("{name}: {} on the {} rows{over}\n", first.title(scores.top), scores.part);
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
        line(&metric.title(scores.top), &|column| cell(None, column, *metric));
    }
    if scores.task == Task::Ratings {
        line("deep path", &|column| deep_path(&models(scores, column)));
        line("fallbacks", &|column| share(scores, column, |of| of.fallbacks));
        line("clipped", &|column| share(scores, column, |of| of.clipped));
    }
    line("parameters", &|column| parameters(&models(scores, column)));
    text += &align(&grid, rows.len());
    if scores.task == Task::Ratings {
        text += "deep path: its share of the prediction's variance; `!n` where it collapsed to a constant in n models\n";
    }
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

/// The comparisons of an evaluation, in the manifest's order.
#[must_use]
pub fn comparisons(scores: &Scores, order: &Order) -> Vec<Sheet> {
    let place = |axis: &str, value: &str| {
        let values = order.iter().find(|(name, _)| name == axis).map(|(_, values)| values);
        values.and_then(|values| values.iter().position(|known| known == value)).unwrap_or(usize::MAX)
    };
    comparisons::of_scores(scores, &place)
}

/// In place of a number that there is none of.
const NONE: &str = "-";

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
pub(super) fn checks<'a>(scores: &'a Scores, rows: &[&str]) -> String {
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
    let untold: Vec<&str> = checks().filter(|check| check.interval.is_none()).map(name).collect();
    if !untold.is_empty() {
        let on = if untold.len() == checks().count() { String::new() } else { format!("on {}: ", untold.join(", ")) };
        text += &format!("{on}fewer than two blocks have both scratch and bias_only: which of them is better cannot be told\n");
    }
    text
}

pub(super) fn in_order<'a>(values: impl Iterator<Item = &'a str>, axis: &str, order: &'a Order) -> Vec<&'a str> {
    let there: BTreeSet<&str> = values.collect();
    let wanted = order.iter().find(|(name, _)| name == axis).map_or(&[][..], |(_, values)| values);
    let known = wanted.iter().map(String::as_str).filter(|value| there.contains(value));
    let named: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    let rest = there.iter().copied().filter(|value| !named.contains(value));
    known.chain(rest).collect()
}

/// One entry for each model of a column: a teacher has an entry in every row, and is one model.
fn models<'a>(scores: &'a Scores, column: &str) -> Vec<&'a Entry> {
    let mut seen = BTreeSet::new();
    scores.entries.iter().filter(|entry| entry.column == column && seen.insert(entry.model)).collect()
}

fn deep_path(models: &[&Entry]) -> String {
    let shares: Vec<f64> = models.iter().filter_map(|entry| entry.ratings()?.deep_share).collect();
    if shares.is_empty() {
        return NONE.to_owned();
    }
    let collapsed = models.iter().filter(|entry| entry.is_collapsed()).count();
    let mark = if collapsed > 0 { format!(" !{collapsed}") } else { String::new() };
    format!("{:.3}{mark}", shares.iter().sum::<f64>() / shares.len() as f64)
}

/// How many of a column's predictions.
fn share(scores: &Scores, column: &str, count: fn(&RatingDetails) -> usize) -> String {
    let of = || scores.entries.iter().filter(|entry| entry.column == column);
    format!("{} of {}", of().filter_map(Entry::ratings).map(count).sum::<usize>(), of().map(|entry| entry.rows).sum::<usize>())
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;
    use crate::{
        artifact::Digest,
        scores::{Details, Measures, Spread, testing, testing::entry},
    };

    fn spread(mean: f64, n: usize) -> Spread {
        Spread { mean, sd: (n > 1).then_some(0.01), n }
    }

    fn cell(row: Option<&str>, column: &str, n: usize) -> Cell {
        Cell {
            row: row.map(str::to_owned),
            column: column.into(),
            measures: Measures::from([
                (Metric::Rmse, spread(1.0, n)),
                (Metric::Mae, spread(0.75, n)),
                (Metric::UserRmse, spread(0.875, n)),
                (Metric::Hr, spread(0.5, n)),
                (Metric::Ndcg, spread(0.25, n)),
            ]),
            gap_recovery: (column == "label").then_some(0.5),
            gap_blocks: if column == "label" { n } else { 0 },
        }
    }

    /// Two rows, two blocks, three columns; label lacks one model.
    fn scores(metrics: &[Metric]) -> Scores {
        let mut entries = Vec::new();
        for row in ["Drama", "Western"] {
            for block in ["1", "2"] {
                for column in ["label", "scratch", TEACHER] {
                    if (row, column, block) != ("Western", "label", "2") {
                        let made = entry([row, column, block], 1.0);
                        let shared = (column == TEACHER).then(|| Digest::of(block.as_bytes()));
                        entries.push(Entry {
                            model: shared.unwrap_or(made.model),
                            serving_parameters: 100,
                            details: Details::Ratings(RatingDetails {
                                fallbacks: 3,
                                clipped: usize::from(column == TEACHER),
                                deep_share: Some(0.25),
                                collapsed: Some(block == "1"),
                                ..RatingDetails::default()
                            }),
                            ..made
                        });
                    }
                }
            }
        }
        let columns = [("label", 1), ("scratch", 2), (TEACHER, 2)];
        let of = |row, with_hole: bool| columns.map(|(column, n)| cell(row, column, if with_hole { n } else { 2 }));
        let check = |row: Option<&str>, n: usize| Check {
            row: row.map(str::to_owned),
            difference: Some(spread(0.1, n)),
            interval: (n > 1).then_some((0.05, 0.15)),
            invalid: n > 1,
        };
        Scores {
            top: metrics.iter().any(|metric| metric.ranks()).then_some(5),
            cells: [of(Some("Drama"), false), of(Some("Western"), true), of(None, true)].concat(),
            checks: vec![check(Some("Drama"), 2), check(Some("Western"), 1), check(None, 1)],
            ..testing::scores(Task::Ratings, metrics, 2, entries)
        }
    }

    fn line<'t>(text: &'t str, title: &str) -> &'t str {
        text.lines()
            .find(|line| line.starts_with(&format!("{title}  ")))
            .unwrap_or_else(|| panic!("no line `{title}` in:\n{text}"))
    }

    #[test]
    fn what_is_over_fewer_blocks_is_marked() {
        let text = render("s", &scores(&[Metric::Rmse, Metric::Mae, Metric::GapRecovery]), &Order::new());
        assert!(!line(&text, "Drama").contains('('), "{text}");
        let one = "1.0000 (1)  1.0000 ± 0.0100  1.0000 ± 0.0100";
        assert!(line(&text, "Western").ends_with(one), "{text}");
        assert!(line(&text, "mean").ends_with(one), "{text}");
        assert!(line(&text, "MAE").contains("0.7500 (1)"), "{text}");
        assert!(line(&text, "gap recovery").contains("50 % (1)"), "{text}");
        assert!(text.contains("incomplete, 1 missing: `(n)` marks what is over n of the 2 blocks only"), "{text}");
        let mut whole = scores(&[Metric::Rmse]);
        whole.entries.push(entry(["Western", "label", "2"], 1.0));
        assert!(!render("s", &whole, &Order::new()).contains("incomplete"));
    }

    #[test]
    fn the_metrics_listed_are_those_shown_and_the_first_fills_the_table() {
        let text = render("s", &scores(&[Metric::Mae, Metric::UserRmse]), &Order::new());
        assert!(text.starts_with("s: MAE on the test rows, mean ± sd over 2 blocks\n"), "{text}");
        assert!(line(&text, "Drama").ends_with("0.7500 ± 0.0100  0.7500 ± 0.0100  0.7500 ± 0.0100"), "{text}");
        assert!(line(&text, "mean").contains("0.7500"), "{text}");
        assert!(line(&text, "per-user RMSE").contains("0.8750"), "{text}");
        let titles: Vec<&str> = text.lines().filter_map(|line| line.split("  ").next()).collect();
        assert!(!titles.contains(&"RMSE") && !titles.contains(&"gap recovery") && !text.contains("1.0000"), "{text}");
        let text = render("s", &scores(&[Metric::Ndcg, Metric::Hr]), &Order::new());
        assert!(text.starts_with("s: NDCG@5 on the test rows"), "{text}");
        assert!(line(&text, "Drama").contains("0.2500 ± 0.0100") && line(&text, "HR@5").contains("0.5000"), "{text}");
        let text = render("s", &scores(&[Metric::GapRecovery, Metric::Rmse]), &Order::new());
        assert!(text.starts_with("s: gap recovery on the test rows, over 2 blocks\n"), "{text}");
        let drama: Vec<&str> = line(&text, "Drama").split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(drama, ["Drama", "50 %", "-", "-"]);
        assert!(line(&text, "RMSE").contains("1.0000 (1)"), "{text}");
    }

    #[test]
    fn predictions_are_counted_by_column_and_models_once() {
        let text = render("s", &scores(&[Metric::Rmse]), &Order::new());
        let cells = |title: &str| {
            let cells = line(&text, title).split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1);
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(cells("fallbacks"), ["9 of 30", "12 of 40", "12 of 40"]);
        assert_eq!(cells("clipped"), ["0 of 30", "0 of 40", "4 of 40"]);
        // Four students from scratch, two of them collapsed; two teachers, one of them, though it stands in two rows.
        assert_eq!(cells("deep path"), ["0.250 !2", "0.250 !2", "0.250 !1"]);
    }

    #[test]
    fn a_check_that_cannot_be_made_is_told_of_its_row() {
        let text = render("s", &scores(&[Metric::Mae]), &Order::new());
        assert!(text.contains("INVALID: on Drama the RMSE of scratch is worse than that of bias_only by 0.1000"), "{text}");
        assert!(text.contains("on Western, the mean over all rows: fewer than two blocks have both"), "{text}");
        let mut none = scores(&[Metric::Mae]);
        none.checks.iter_mut().for_each(|check| (check.interval, check.invalid) = (None, false));
        assert!(render("s", &none, &Order::new()).contains("\nfewer than two blocks have both"));
    }

    #[test]
    fn of_classes_nothing_is_said_that_only_ratings_have() {
        let entries: Vec<Entry> = ["label", "scratch"]
            .iter()
            .flat_map(|column| {
                ["1", "2"].map(|block| testing::class_entry(["all", column, block], &[("cat", 4, 3), ("dog", 6, 6)]))
            })
            .collect();
        let measures = Measures::from([(Metric::Accuracy, spread(0.9, 2)), (Metric::Nll, spread(0.25, 2))]);
        // The mean over one row is that row again.
        let cell = |row: Option<&str>, column: &str| Cell {
            row: row.map(str::to_owned),
            column: column.into(),
            measures: measures.clone(),
            gap_recovery: None,
            gap_blocks: 0,
        };
        let scores = Scores {
            cells: [Some("all"), None].iter().flat_map(|row| ["label", "scratch"].map(|column| cell(*row, column))).collect(),
            ..testing::scores(Task::Classes, &[Metric::Accuracy, Metric::Nll, Metric::Ece], 2, entries)
        };
        let text = render("s", &scores, &Order::new());
        assert!(text.starts_with("s: accuracy on the test rows, mean ± sd over 2 blocks\n"), "{text}");
        assert!(line(&text, "all").ends_with("0.9000 ± 0.0100  0.9000 ± 0.0100"), "{text}");
        assert!(line(&text, "NLL").contains("0.2500") && line(&text, "ECE").trim_end().ends_with('-'), "{text}");
        assert!(line(&text, "parameters").contains('1'), "{text}");
        for word in ["deep path", "fallbacks", "clipped", "bias_only"] {
            assert!(!text.contains(word), "{word} in:\n{text}");
        }
    }

    #[test]
    fn scores_of_another_format_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.json");
        let mut json = serde_json::to_value(scores(&[Metric::Rmse])).unwrap();
        fs::write(&path, json.to_string()).unwrap();
        assert_eq!(read(&path).unwrap(), scores(&[Metric::Rmse]));
        json["format"] = 3.into();
        fs::write(&path, json.to_string()).unwrap();
        let refused = read(&path).unwrap_err();
        assert!(
            refused
                .ends_with("holds scores of format 3, and this talkflow reads 2: run the manifest again, which makes them anew")
        );
        // Those of before the field was there.
        fs::write(&path, r#"{ "data": "d", "part": "test", "metrics": ["rmse"], "entries": [] }"#).unwrap();
        assert!(read(&path).unwrap_err().contains("holds scores of format 1, and"));
        fs::write(&path, "{ \"format\": 2 }").unwrap();
        assert!(read(&path).unwrap_err().contains("holds no scores: missing field"));
    }
}
