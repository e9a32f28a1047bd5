//! Numbers that differ in nothing but the seed, and the block of an evaluation, taken together.
//!
//! What is computed here is the mean and the sample standard deviation; methods against methods are compared in `compared`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Results, column_of};
use crate::selector::Selector;

/// What is shown to people.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What tells lines apart: parameters, and where there are several, stages; matrix values, or rows and columns of an evaluation.
    pub heads: Vec<String>,
    /// The lines, in the order of the table.
    pub lines: Vec<Line>,
}

/// A number, or several of the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Under each head.
    pub cells: Vec<String>,
    /// Which metric.
    pub metric: String,
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; none of a single number.
    pub sd: Option<f64>,
    /// How many.
    pub n: usize,
}

impl Results {
    /// The numbers that are shown to people, or those of the metrics asked for, over seeds and blocks.
    pub fn summary(&self, metrics: &[Selector]) -> Summary {
        let rows: Vec<usize> = (0..self.rows()).filter(|row| self.is_shown(*row, metrics)).collect();
        let seed = self.provenance.seed.as_deref();
        let params = self.provenance.params.iter().filter(|param| seed != Some(param)).map(|param| column_of(param));
        let mut heads: Vec<(String, String)> = params.map(|name| (name.clone(), name)).collect();
        let text = |name: &str, row: usize| self.column(name).map_or_else(String::new, |values| values.text(row));
        let mut stages: Vec<String> = rows.iter().map(|row| text("stage", *row)).collect();
        stages.sort_unstable();
        stages.dedup();
        if stages.len() > 1 {
            heads.push(("stage".to_owned(), "stage".to_owned()));
        }
        // What stands in rows and columns says what the labels say.
        let scored = |row: usize| !text("column", row).is_empty();
        for column in self.columns.iter().filter(|column| column.name.starts_with("label.")) {
            if rows.iter().any(|row| !scored(*row) && !column.values.text(*row).is_empty()) {
                heads.push((column.name.clone(), column.name["label.".len()..].to_owned()));
            }
        }
        if rows.iter().any(|row| scored(*row)) {
            let (row, column) = self.provenance.axes.clone().unwrap_or_else(|| ("row".to_owned(), "column".to_owned()));
            heads.extend([("row".to_owned(), row), ("column".to_owned(), column)]);
        }
        let cell = |name: &str, row: usize| match name.starts_with("label.") && scored(row) {
            true => String::new(),
            false => text(name, row),
        };
        let mut lines: indexmap::IndexMap<(Vec<String>, String), Vec<f64>> = indexmap::IndexMap::new();
        for row in rows {
            let cells = heads.iter().map(|(name, _)| cell(name, row)).collect();
            let value = match self.column("value") {
                Some(super::Values::Float(values)) => values[row],
                _ => None,
            };
            lines.entry((cells, text("metric", row))).or_default().extend(value);
        }
        let line = |((cells, metric), values): ((Vec<String>, String), Vec<f64>)| {
            let (mean, sd) = spread(&values);
            Line { cells, metric, mean, sd, n: values.len() }
        };
        Summary { heads: heads.into_iter().map(|(_, head)| head).collect(), lines: lines.into_iter().map(line).collect() }
    }
}

impl Summary {
    /// Whether any line is over several numbers.
    pub fn over_several(&self) -> bool {
        self.lines.iter().any(|line| line.n > 1)
    }

    /// As data: an object a line.
    pub fn json(&self) -> Value {
        let line = |line: &Line| {
            let heads = self.heads.iter().zip(&line.cells).map(|(head, cell)| (head.clone(), Value::from(cell.as_str())));
            let rest = [
                ("metric", line.metric.clone().into()),
                ("mean", line.mean.into()),
                ("sd", line.sd.into()),
                ("n", line.n.into()),
            ];
            heads.chain(rest.map(|(name, value): (&str, Value)| (name.to_owned(), value))).collect::<Map<_, _>>()
        };
        self.lines.iter().map(|one| Value::from(line(one))).collect()
    }

    /// The table as people read it: its head, and its cells; the first so many are text, the others numbers.
    pub(super) fn grid(&self) -> (Vec<String>, Vec<Vec<String>>, usize) {
        let several = self.over_several();
        let mut head = self.heads.clone();
        head.push("metric".to_owned());
        let texts = head.len();
        head.extend(if several { &["mean", "sd", "n"][..] } else { &["value"] }.iter().map(ToString::to_string));
        let cells = self.lines.iter().map(|line| {
            let numbers = match several {
                true => vec![figure(line.mean), line.sd.map_or_else(String::new, figure), line.n.to_string()],
                false => vec![figure(line.mean)],
            };
            line.cells.iter().cloned().chain([line.metric.clone()]).chain(numbers).collect()
        });
        (head, cells.collect(), texts)
    }
}

/// Mean and sample standard deviation.
fn spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// A number with as many digits as people read.
fn figure(value: f64) -> String {
    match value.abs() {
        size if value == 0.0 || (value.fract() == 0.0 && size < 1e15) => format!("{value:.0}"),
        1e-3..1e9 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}
