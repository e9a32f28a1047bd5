//! Comparisons of methods as people and programs take them: what was found becomes one [`Sheet`], and a sheet is text, Markdown, LaTeX, csv,
//! JSON and Parquet. Computes no statistics.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde_json::{Map, Value};
use talkflow_statistics::{Interval, Verdict};

use super::results::{Column, Values, csv_of, escaped_latex, escaped_markdown, json_of};
use crate::{
    compare::{Compared, Declared, OverUsers, ROWS, UsersFound},
    scores::{ClassesOf, PerClass, Scores},
};

/// One comparison, and in a sweep the setting that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The value under each head of the settings.
    pub setting: Vec<String>,
    /// What was found.
    pub compared: Compared,
}

/// A table with its title and what has to be said under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// What it shows.
    pub title: String,
    head: Vec<String>,
    /// How many of the columns are text; the others are numbers, but for the last.
    texts: usize,
    cells: Vec<Vec<String>>,
    /// The method's own mean on each line, for papers and reports: on a terminal the table of the evaluation stands above. Empty over users.
    means: Vec<String>,
    /// What its lines are about.
    over: Over,
    /// How many lines are about single rows, where others are not, or about single classes.
    single: usize,
    /// Those of them that resolve nothing.
    idle: BTreeSet<usize>,
    notes: Vec<String>,
    /// All that is known of each line, tidy.
    pub columns: Vec<Column>,
}

/// What the lines of a sheet are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Methods on rows, and on means over them.
    Blocks,
    /// Two models, and other users.
    Users,
    /// Methods on single classes.
    Classes,
}

/// The sheets of an evaluation that have lines: over blocks, those of single classes, and of one block over users. `order` brings rows and methods into an order.
#[must_use]
pub fn of_scores(scores: &Scores, order: &dyn Fn(&str, &str) -> usize) -> Vec<Sheet> {
    let mut sheets = Vec::new();
    // Of one block nothing can be told over blocks, and each line would say so.
    if scores.blocks > 1 {
        let mut lines: Vec<Line> =
            scores.compared.iter().map(|compared| Line { setting: Vec::new(), compared: compared.clone() }).collect();
        let place = |of: &Compared| (order(&scores.row_axis, &of.row), order(&scores.column_axis, &of.method));
        lines.sort_by_key(|line| (line.compared.family == ROWS, place(&line.compared)));
        sheets.extend(over_blocks(&scores.declared, &[], &scores.row_axis, &lines));
    }
    sheets.extend(scores.per_class.as_ref().and_then(|of| over_classes(of, &scores.row_axis, order, &scores.column_axis)));
    let mut users = scores.over_users.clone();
    users.sort_by_key(|of| (of.family == ROWS, order(&scores.row_axis, &of.row), order(&scores.column_axis, &of.method)));
    sheets.extend(over_users(&scores.declared, &scores.row_axis, &users));
    sheets
}

/// Comparisons on single classes, which are in their order. Each row of the table is said where there are several.
fn over_classes(of: &PerClass, row_axis: &str, order: &dyn Fn(&str, &str) -> usize, column_axis: &str) -> Option<Sheet> {
    let mut rows: Vec<&ClassesOf> = of.rows.iter().collect();
    rows.sort_by_key(|of| order(row_axis, &of.row));
    let heads = if rows.len() > 1 { vec![row_axis.to_owned()] } else { Vec::new() };
    let (mut lines, mut worse) = (Vec::new(), Vec::new());
    for ClassesOf { row, compared, worse: of_methods } in rows {
        let setting = if heads.is_empty() { Vec::new() } else { vec![row.clone()] };
        let mut compared: Vec<&Compared> = compared.iter().collect();
        compared.sort_by_key(|of| order(column_axis, &of.method));
        lines.extend(compared.into_iter().map(|compared| Line { setting: setting.clone(), compared: compared.clone() }));
        let mut methods: Vec<_> = of_methods.iter().filter(|(_, classes)| !classes.is_empty()).collect();
        methods.sort_by_key(|(method, _)| order(column_axis, method));
        let on = if heads.is_empty() { String::new() } else { format!(" on {row}") };
        worse.extend(methods.into_iter().map(|(method, classes)| format!("{method}{on}: {}", classes.join(", "))));
    }
    let shown = distinct(&lines);
    let idle = shown.iter().enumerate().filter(|(_, (_, of))| of.judgement.verdict == Verdict::Unresolved);
    let (single, idle) = (shown.len(), idle.map(|(at, _)| at).collect());
    let sheet = over_blocks(&of.declared, &heads, "class", &lines)?;
    let worse = if worse.is_empty() { "none".to_owned() } else { worse.join("; ") };
    let note = format!("classes on which a method is worse, which are undistillable where it distils: {worse}");
    let notes = sheet.notes.iter().cloned().chain([note]).collect();
    Some(Sheet { title: format!("{} by class", sheet.title), over: Over::Classes, single, idle, notes, ..sheet })
}

/// Comparisons over blocks. `heads` name the settings of the lines.
#[must_use]
pub fn over_blocks(declared: &Declared, heads: &[String], row_axis: &str, lines: &[Line]) -> Option<Sheet> {
    if lines.is_empty() {
        return None;
    }
    let percent = digits(100.0 * declared.confidence);
    let mut head = heads.to_vec();
    head.extend([row_axis, "method", "against"].map(str::to_owned));
    let texts = head.len();
    head.extend(["difference".to_owned(), format!("{percent} % t"), format!("{percent} % BCa")]);
    head.extend(["p, Holm", "p, sign-flip", "gap recovery", "verdict"].map(str::to_owned));
    let cells = distinct(lines).into_iter().map(|(setting, compared)| {
        let of = compared.numbers();
        let none = || NONE.to_owned();
        let names =
            [row_of(&compared.family, &compared.row, &compared.over), compared.method.clone(), compared.reference.clone()];
        let numbers = [
            of.map_or_else(none, |of| figure(of.mean)),
            of.map_or_else(none, |of| ends(&of.plain.interval)),
            of.and_then(|of| of.bca.as_ref()).map_or_else(none, ends),
            compared.judgement.p_difference.map_or_else(none, p),
            of.map_or_else(none, |of| p(of.sign_flip.p_two_sided)),
            // That nothing was gained has no sign.
            compared.gap_recovery.map_or_else(none, |gap| format!("{} %", (100.0 * gap).round() + 0.0)),
            verdict(compared),
        ];
        setting.into_iter().chain(names).chain(numbers).collect()
    });
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    lines.iter().for_each(|line| _ = families.insert(&line.compared.family, line.compared.judgement.family));
    let families: Vec<String> =
        families.iter().map(|(name, size)| format!("{name} ({size} {})", if *size == 1 { "test" } else { "tests" })).collect();
    let better = match declared.direction {
        talkflow_statistics::Direction::LowerIsBetter => "negative",
        talkflow_statistics::Direction::HigherIsBetter => "positive",
    };
    let notes = vec![
        format!(
            "difference: method minus what it is against, paired by block; {better} is better; both intervals, and the sign-flip p, are about these splits"
        ),
        format!(
            "verdict: by Nadeau and Bengio's t-test at {}, for data like these, after Holm's correction in each family: {}; equivalent: smaller than {} by two \
             one-sided tests; not resolved (x): these blocks find differences from x",
            declared.alpha,
            families.join(", "),
            declared.margin
        ),
    ];
    let columns = tidy(heads, &declared.metric, lines);
    let title = format!("comparisons of {}", declared.metric);
    let shown = distinct(lines);
    let single = |of: &Compared| of.family == ROWS && families.len() > 1;
    let idle = (shown.iter().enumerate()).filter(|(_, (_, of))| single(of) && of.judgement.verdict == Verdict::Unresolved);
    let idle = idle.map(|(at, _)| at).collect();
    let single = shown.iter().filter(|(_, of)| single(of)).count();
    let means = shown.iter().map(|(_, of)| of.method_mean.map_or_else(|| NONE.to_owned(), figure)).collect();
    Some(Sheet { title, head, texts, cells: cells.collect(), means, over: Over::Blocks, single, idle, notes, columns })
}

/// The lines as people are shown them: what is the same at every setting, since none matters to it, once.
fn distinct(lines: &[Line]) -> Vec<(Vec<String>, &Compared)> {
    let settings: BTreeSet<&Vec<String>> = lines.iter().map(|line| &line.setting).collect();
    let mut of: IndexMap<[&String; 4], Vec<&Line>> = IndexMap::new();
    for line in lines {
        let Compared { family, row, method, reference, .. } = &line.compared;
        of.entry([family, row, method, reference]).or_default().push(line);
    }
    let mut shown = Vec::new();
    for line in lines {
        let Compared { family, row, method, reference, .. } = &line.compared;
        let same = of.get(&[family, row, method, reference]).map_or(&[][..], Vec::as_slice);
        let everywhere =
            settings.len() > 1 && same.len() == settings.len() && same.iter().all(|other| other.compared == line.compared);
        match same.first() {
            _ if !everywhere => shown.push((line.setting.clone(), &line.compared)),
            Some(first) if std::ptr::eq(*first, line) => shown.push((vec!["all".to_owned(); line.setting.len()], &line.compared)),
            _ => {}
        }
    }
    shown
}

/// Comparisons of two models over users.
fn over_users(declared: &Declared, row_axis: &str, lines: &[OverUsers]) -> Option<Sheet> {
    if lines.is_empty() {
        return None;
    }
    let percent = digits(100.0 * declared.confidence);
    let mut head: Vec<String> = [row_axis, "method", "against", "difference"].map(str::to_owned).to_vec();
    head.extend([format!("{percent} % BCa"), "users".to_owned()]);
    let cells = lines.iter().map(|of| {
        let numbers = match &of.found {
            UsersFound::Compared(found) => [figure(found.difference), ends(&found.bca), found.clusters.to_string()],
            UsersFound::Degenerate(why) => [NONE.to_owned(), NONE.to_owned(), why.to_string()],
        };
        [row_of(&of.family, &of.row, &of.over), of.method.clone(), of.reference.clone()].into_iter().chain(numbers).collect()
    });
    let found = |of: &OverUsers| match &of.found {
        UsersFound::Compared(found) => Some(*found),
        UsersFound::Degenerate(_) => None,
    };
    let text = |name: &str, of: fn(&OverUsers) -> &str| Column {
        name: name.to_owned(),
        values: Values::Text(lines.iter().map(|line| Some(of(line).into())).collect()),
    };
    let float = |name: &str, of: fn(talkflow_statistics::ClusterBootstrap) -> f64| Column {
        name: name.to_owned(),
        values: Values::Float(lines.iter().map(|line| found(line).map(of)).collect()),
    };
    let metric = Values::Text(lines.iter().map(|_| Some(declared.metric.as_str().into())).collect());
    let users = lines.iter().map(|line| found(line).and_then(|found| i64::try_from(found.clusters).ok()));
    let over = Values::Text(lines.iter().map(|line| Some(line.over.join(";").into())).collect());
    let columns = vec![
        text("family", |of| &of.family),
        text("row", |of| &of.row),
        Column { name: "over".to_owned(), values: over },
        text("method", |of| &of.method),
        text("reference", |of| &of.reference),
        Column { name: "metric".to_owned(), values: metric },
        Column { name: "users".to_owned(), values: Values::Int(users.collect()) },
        float("method_value", |of| of.method),
        float("reference_value", |of| of.reference),
        float("difference", |of| of.difference),
        float("standard_error", |of| of.standard_error),
        float("bca_low", |of| of.bca.low),
        float("bca_high", |of| of.bca.high),
    ];
    let notes = vec![
        "one block: users are resampled, with all their rows. This is about these two trained models and other users; another seed may turn it round"
            .to_owned(),
    ];
    let title = format!("comparisons of {} over users", declared.metric);
    Some(Sheet {
        title,
        head,
        texts: 3,
        cells: cells.collect(),
        means: Vec::new(),
        over: Over::Users,
        single: 0,
        idle: BTreeSet::new(),
        notes,
        columns,
    })
}

/// Everything that is known of each line.
fn tidy(heads: &[String], metric: &str, lines: &[Line]) -> Vec<Column> {
    let text = |name: &str, of: &dyn Fn(&Line) -> String| Column {
        name: name.to_owned(),
        values: Values::Text(lines.iter().map(|line| Some(of(line).into())).collect()),
    };
    let int = |name: &str, of: &dyn Fn(&Line) -> usize| Column {
        name: name.to_owned(),
        values: Values::Int(lines.iter().map(|line| i64::try_from(of(line)).ok()).collect()),
    };
    let float = |name: &str, of: &dyn Fn(&Line) -> Option<f64>| Column {
        name: name.to_owned(),
        values: Values::Float(lines.iter().map(of).collect()),
    };
    let of = |line: &Line| line.compared.numbers().cloned();
    let mut columns: Vec<Column> =
        heads.iter().enumerate().map(|(at, head)| text(head, &|line| line.setting[at].clone())).collect();
    columns.extend([
        text("family", &|line| line.compared.family.clone()),
        text("row", &|line| line.compared.row.clone()),
        text("over", &|line| line.compared.over.join(";")),
        text("method", &|line| line.compared.method.clone()),
        text("reference", &|line| line.compared.reference.clone()),
        text("metric", &|_| metric.to_owned()),
        int("blocks", &|line| line.compared.blocks),
        int("left_out", &|line| line.compared.left_out),
        float("method_mean", &|line| line.compared.method_mean),
        float("reference_mean", &|line| line.compared.reference_mean),
        float("difference", &|line| of(line).map(|of| of.mean)),
        float("sd", &|line| of(line).map(|of| of.sd)),
        float("t_low", &|line| of(line).map(|of| of.plain.interval.low)),
        float("t_high", &|line| of(line).map(|of| of.plain.interval.high)),
        float("bca_low", &|line| of(line).and_then(|of| Some(of.bca?.low))),
        float("bca_high", &|line| of(line).and_then(|of| Some(of.bca?.high))),
        float("nadeau_bengio_low", &|line| of(line).map(|of| of.corrected.interval.low)),
        float("nadeau_bengio_high", &|line| of(line).map(|of| of.corrected.interval.high)),
        float("p_nadeau_bengio", &|line| of(line).map(|of| of.corrected.p_two_sided)),
        float("p_holm", &|line| line.compared.judgement.p_difference),
        float("p_equivalence", &|line| of(line).map(|of| of.equivalence.p)),
        float("p_equivalence_holm", &|line| line.compared.judgement.p_equivalence),
        float("p_sign_flip", &|line| of(line).map(|of| of.sign_flip.p_two_sided)),
        float("smallest_sign_flip", &|line| of(line).map(|of| of.sign_flip.smallest)),
        float("gap_recovery", &|line| line.compared.gap_recovery),
        float("resolvable", &|line| of(line).map(|of| of.resolvable.effect)),
        float("resolvable_at_best", &|line| of(line).map(|of| of.resolvable.floor)),
        int("family_size", &|line| line.compared.judgement.family),
        float("alpha", &|line| Some(line.compared.judgement.alpha)),
        float("margin", &|line| Some(line.compared.judgement.margin)),
        text("verdict", &|line| line.compared.judgement.verdict.to_string()),
        text("sentence", &|line| line.compared.sentence.clone()),
    ]);
    columns
}

impl Sheet {
    /// As people read it on a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let grid: Vec<&Vec<String>> = std::iter::once(&self.head).chain(&self.cells).collect();
        let width = |column: usize| grid.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for (place, line) in grid.into_iter().enumerate() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match self.is_number(column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
            if place == 0 {
                text += &format!("{}\n", "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)));
            }
        }
        self.notes.iter().for_each(|note| text += &format!("{note}\n"));
        text
    }

    /// The same with the lines of rows left out that resolve nothing, and how many these are.
    #[must_use]
    pub fn brief(&self) -> Self {
        let hidden = |at: &usize| self.idle.contains(at);
        let left = self.idle.len();
        if left == 0 {
            return self.clone();
        }
        let cells = (0..self.cells.len()).filter(|at| !hidden(at)).map(|at| self.cells[at].clone()).collect();
        let means = (0..self.means.len()).filter(|at| !hidden(at)).map(|at| self.means[at].clone()).collect();
        let (all, what) = (self.single, if self.over == Over::Classes { "classes" } else { "rows" });
        let mut notes = self.notes.clone();
        notes.push(format!(
            "of {all} comparisons on single {what}, {left} are not resolved and not shown: `talkflow show` has them"
        ));
        Self { cells, means, notes, idle: BTreeSet::new(), ..self.clone() }
    }

    /// What a file of it is called, without its ending.
    #[must_use]
    pub fn file_name(&self) -> &'static str {
        match self.over {
            Over::Blocks => "comparisons",
            Over::Users => "comparisons_over_users",
            Over::Classes => "comparisons_by_class",
        }
    }

    /// The same with the methods' own means beside what they are compared with.
    fn with_means(&self) -> Self {
        if self.means.is_empty() {
            return self.clone();
        }
        let with = |line: &[String], mean: &str| {
            let mut line = line.to_vec();
            line.insert(self.texts, mean.to_owned());
            line
        };
        let cells = self.cells.iter().zip(&self.means).map(|(line, mean)| with(line, mean)).collect();
        Self { head: with(&self.head, "mean"), cells, means: Vec::new(), ..self.clone() }
    }

    fn is_number(&self, column: usize) -> bool {
        column >= self.texts && self.head[column] != VERDICT
    }

    /// As Markdown, without a heading.
    #[must_use]
    pub fn markdown(&self) -> String {
        let sheet = self.with_means();
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|cell| escaped_markdown(cell)).collect::<Vec<_>>().join(" | "))
        };
        let mut text = line(&sheet.head);
        let rule = |column: usize| if sheet.is_number(column) { "---:|" } else { "---|" };
        text += &format!("|{}\n", (0..sheet.head.len()).map(rule).collect::<String>());
        text.extend(sheet.cells.iter().map(|cells| line(cells)));
        text.push('\n');
        self.notes.iter().for_each(|note| text += &format!("{}\n\n", escaped_markdown(&sentence(note))));
        text
    }

    /// As a `tabular` that needs the package `booktabs`.
    #[must_use]
    pub fn latex(&self) -> String {
        let sheet = self.with_means();
        let mut text = format!("% {}\n", self.title);
        self.notes.iter().for_each(|note| text += &format!("% {note}\n"));
        let kinds: String = (0..sheet.head.len()).map(|column| if sheet.is_number(column) { 'r' } else { 'l' }).collect();
        text += &format!("\\begin{{tabular}}{{{kinds}}}\n\\toprule\n");
        let line = |cells: &[String], numbers: bool| {
            let cell = |(column, cell): (usize, &String)| match numbers && sheet.is_number(column) {
                // A hyphen is no minus.
                true => escaped_latex(cell).replace('-', "$-$"),
                false => escaped_latex(cell),
            };
            format!("{} \\\\\n", cells.iter().enumerate().map(cell).collect::<Vec<_>>().join(" & "))
        };
        text += &line(&sheet.head, false);
        text += "\\midrule\n";
        text.extend(sheet.cells.iter().map(|cells| line(cells, true)));
        text + "\\bottomrule\n\\end{tabular}\n"
    }

    /// All that is known, as csv.
    ///
    /// # Errors
    /// Where the library refuses.
    pub fn csv(&self) -> csv::Result<Vec<u8>> {
        csv_of(&self.columns)
    }

    /// All that is known, as data: an object a line.
    #[must_use]
    pub fn json(&self) -> Value {
        json_of(&self.columns).into_iter().map(|line: Map<String, Value>| Value::from(line)).collect()
    }
}

const VERDICT: &str = "verdict";
/// In place of a number that there is none of.
const NONE: &str = "-";

/// The row, or which rows the mean is over.
fn row_of(family: &str, row: &str, over: &[String]) -> String {
    match family {
        crate::compare::MEAN => crate::compare::MEAN.to_owned(),
        _ if over == [row] => row.to_owned(),
        group => format!("mean of {group}"),
    }
}

/// A verdict as a cell has it.
fn verdict(compared: &Compared) -> String {
    match (compared.judgement.verdict, compared.numbers()) {
        (Verdict::Unresolved, Some(of)) => format!("not resolved ({:.4})", of.resolvable.effect),
        (Verdict::Unresolved, None) => format!("not resolved, {} blocks", compared.blocks),
        (known, _) => known.to_string(),
    }
}

fn ends(interval: &Interval) -> String {
    format!("{} to {}", figure(interval.low), figure(interval.high))
}

/// A difference with as many digits as people read.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        5e-5..1e6 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

fn p(value: f64) -> String {
    match value {
        ..1e-4 => "<0.0001".to_owned(),
        ..0.001 => format!("{value:.5}"),
        ..0.1 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

fn digits(value: f64) -> String {
    format!("{}", (value * 10.0).round() / 10.0)
}

fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[cfg(test)]
mod tests;
