//! Entries and their places in the table, whatever models predict: which axis is a row, which a column, and what is left is a block. Refuses
//! what would make entries incomparable. What they measure is not known here, nor what all of them say together.

use std::collections::BTreeMap;

use anyhow::bail;
use indexmap::IndexMap;

use super::likeness::Likeness;
use crate::{
    artifact::Digest,
    scores::{Details, Entry, Measures, TEACHER},
    stage::Input,
    stages::files,
};

/// How entries are placed in the table.
pub struct Placing<'a> {
    /// The axis whose values are the table's rows.
    pub row_axis: &'a str,
    /// The axis whose values are its columns.
    pub column_axis: &'a str,
}

/// What an entry says of its model and of what it was scored on.
pub struct Scoring {
    /// Row, column and block.
    pub place: [String; 3],
    /// Digest of the model's artifact.
    pub model: Digest,
    /// The model's matrix values.
    pub labels: BTreeMap<String, String>,
    /// The method it was trained by.
    pub method: String,
    /// Rows that are there to train on.
    pub train_rows: usize,
    /// Digest of the data and of the rows scored.
    pub on: Digest,
    /// Parameters needed to serve it.
    pub serving_parameters: u64,
    /// Parameters needed in training only.
    pub training_parameters: u64,
    /// How alike its states are to its teacher's.
    pub likeness: Likeness,
}

impl Scoring {
    /// The entry, with what was found on so many rows.
    pub fn entry(self, rows: usize, measures: Measures, details: Details) -> Entry {
        let [row, column, block] = self.place;
        Entry {
            row,
            column,
            block,
            model: self.model,
            labels: self.labels,
            method: self.method,
            rows,
            train_rows: self.train_rows,
            on: self.on,
            measures,
            serving_parameters: self.serving_parameters,
            training_parameters: self.training_parameters,
            cka_low: self.likeness.low,
            cka_high: self.likeness.high,
            details,
        }
    }
}

/// An entry, and what has to be known of it to hold it against others.
pub struct Scored<'a, T> {
    /// The entry.
    pub entry: Entry,
    /// The model's instance.
    pub instance: &'a str,
    /// What it was scored on, in words.
    pub subject: String,
    /// What its task keeps of each entry.
    pub beside: T,
}

impl Placing<'_> {
    /// Row, column and block of a model: the values of its axes, and without these the rows that it learnt and its method.
    pub fn place(&self, labels: &IndexMap<String, String>, rows: &str, method: &str) -> [String; 3] {
        let row = labels.get(self.row_axis).cloned().unwrap_or_else(|| rows.to_owned());
        let column = labels.get(self.column_axis).cloned().unwrap_or_else(|| match method {
            "pretrain" => TEACHER.to_owned(),
            method => method.to_owned(),
        });
        let block = labels.iter().filter(|(axis, _)| *axis != self.row_axis && *axis != self.column_axis);
        let mut block: Vec<String> = block.map(|(axis, value)| format!("{axis}={value}")).collect();
        block.sort();
        [row, column, block.join(",")]
    }

    /// The rows and blocks of the table that a teacher stands in, each with a student that stands there too. `seen` is who stands where by now.
    ///
    /// # Errors
    /// Where another teacher stands there.
    pub fn taught<'s, 'a>(
        &self,
        teacher: &Input<'a>,
        students: impl Iterator<Item = &'s Entry>,
        seen: &mut BTreeMap<(String, String), &'a str>,
    ) -> anyhow::Result<Vec<(&'s Entry, [String; 3])>> {
        let fits =
            |student: &&Entry| teacher.labels.iter().all(|(axis, value)| student.labels.get(axis).is_none_or(|own| own == value));
        let mut places = Vec::new();
        for student in students.filter(fits) {
            let Entry { row, block, .. } = student;
            match seen.insert((row.clone(), block.clone()), teacher.instance) {
                None => places.push((student, [row.clone(), TEACHER.to_owned(), block.clone()])),
                Some(same) if same == teacher.instance => {}
                Some(other) => bail!(
                    "both `{other}` and `{}` are teachers of {} {row} in block `{block}`: select one of them in `teacher`",
                    teacher.instance,
                    self.row_axis
                ),
            }
        }
        Ok(places)
    }

    /// Brings entries into canonical order, each place of the table taken once, and one set of rows for all columns of a row.
    ///
    /// # Errors
    /// Two models for one place, or two sets of rows in one row and block.
    pub fn in_order<'a, T>(&self, mut scored: Vec<Scored<'a, T>>) -> anyhow::Result<Vec<Scored<'a, T>>> {
        let line = |scored: &Scored<'_, T>| (scored.entry.row.clone(), scored.entry.block.clone());
        scored.sort_by_cached_key(|scored| (line(scored), scored.entry.column.clone()));
        for two in scored.windows(2).filter(|two| line(&two[0]) == line(&two[1])) {
            let [a, b] = two else { continue };
            let Entry { row, column, block, .. } = &a.entry;
            let block = if block.is_empty() { String::new() } else { format!(" in block `{block}`") };
            let (rows, columns) = (self.row_axis, self.column_axis);
            if *column == b.entry.column {
                bail!(
                    "`{}` and `{}` both stand for {rows} {row}, {columns} {column}{block}: give them an axis that tells them apart, \
                     or name another axis in `by`",
                    a.instance,
                    b.instance
                );
            }
            if a.entry.on != b.entry.on {
                bail!(
                    "`{}` and `{}` both stand for {rows} {row}{block} and are scored on different rows ({}; {}), so their errors do \
                     not compare: give both the same `where` and the same split, or let `by.rows` name an axis that tells them apart",
                    a.instance,
                    b.instance,
                    a.subject,
                    b.subject
                );
            }
        }
        scored.sort_by_cached_key(|Scored { entry, .. }| (entry.row.clone(), entry.column.clone(), entry.block.clone()));
        Ok(scored)
    }
}

/// The one of several whose values on shared axes are those of `input`.
pub fn joined(input: &Input<'_>, others: &[&IndexMap<String, String>], port: &str) -> anyhow::Result<usize> {
    let agrees = |labels: &IndexMap<String, String>| {
        labels.iter().all(|(axis, value)| input.labels.get(axis).is_none_or(|own| own == value))
    };
    let found: Vec<usize> = (0..others.len()).filter(|place| agrees(others[*place])).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => bail!("none of the instances of `{port}` has the matrix values of `{}`", input.instance),
        several => bail!(
            "{} instances of `{port}` fit `{}`: give both the same axis, so that each model has one",
            several.len(),
            input.instance
        ),
    }
}

/// Whether the values of two on shared axes are the same.
pub fn agrees(a: &Input<'_>, b: &Input<'_>) -> bool {
    a.labels.iter().all(|(axis, value)| b.labels.get(axis).is_none_or(|own| own == value))
}

/// Refuses a model that learnt rows it is tested on, or was taught by one that did.
///
/// # Errors
/// Says which, and how many rows.
pub fn refuse_leaks(model: &Input<'_>, teachers: &[Input<'_>], test: &[u32]) -> anyhow::Result<()> {
    files::refuse_leak(model, test)?;
    teachers.iter().filter(|teacher| agrees(teacher, model)).try_for_each(|teacher| files::refuse_leak(teacher, test))
}

/// Names the rows that are scored, and the data that they are of.
pub fn scored_on(data: Digest, rows: &[u32]) -> Digest {
    let rows = rows.iter().flat_map(|row| row.to_le_bytes());
    Digest::of(&data.to_string().into_bytes().into_iter().chain(rows).collect::<Vec<u8>>())
}

/// Those of an instance as an entry has them.
pub fn labels_of(input: &Input<'_>) -> BTreeMap<String, String> {
    input.labels.iter().map(|(axis, value)| (axis.clone(), value.clone())).collect()
}
