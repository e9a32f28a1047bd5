//! `outputs.parquet`: what a probe predicts, a row a row, in groups of some megabytes, so that it is written and read without ever being whole in
//! memory. The rows ascend.

use std::{fs::File, path::Path, sync::Arc};

use anyhow::{Context, ensure};
use arrow::{
    array::{Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt32Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use parquet::arrow::ArrowWriter;
use talkflow_datasets::TableReader;

use crate::{stage::Input, stages::files};

/// What it predicts, by row.
pub const OUTPUTS: &str = "outputs.parquet";
const ROW: &str = "row";
const LOGITS: &str = "logits";
/// Numbers in a group: 8 MiB.
const GROUP: usize = 2 << 20;
/// Rows in a group at most.
const MOST_ROWS: usize = 1 << 14;

/// Writes predictions as they are made.
pub(in crate::stages) struct Writer {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    classes: usize,
    /// Rows of a group.
    most: usize,
    /// Rows in the group that is being written.
    rows: usize,
}

impl Writer {
    /// Begins the file in a folder.
    pub(in crate::stages) fn create(out: &Path, classes: usize) -> anyhow::Result<Self> {
        Self::grouped(&out.join(OUTPUTS), classes, (GROUP / classes.max(1)).clamp(1, MOST_ROWS))
    }

    /// Begins a file with groups of so many rows.
    pub(in crate::stages) fn grouped(path: &Path, classes: usize, most: usize) -> anyhow::Result<Self> {
        let list = DataType::FixedSizeList(item(), i32::try_from(classes)?);
        let schema = Arc::new(Schema::new(vec![Field::new(ROW, DataType::UInt32, false), Field::new(LOGITS, list, false)]));
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer: ArrowWriter::try_new(file, Arc::clone(&schema), None)?, schema, classes, most, rows: 0 })
    }

    /// Adds the predictions of some rows: (rows, classes).
    pub(in crate::stages) fn add(&mut self, rows: &[u32], logits: Vec<f32>) -> anyhow::Result<()> {
        let logits = Float32Array::from(logits);
        let mut from = 0;
        while from < rows.len() {
            let some = (self.most - self.rows).min(rows.len() - from);
            let of = logits.slice(from * self.classes, some * self.classes);
            let list = FixedSizeListArray::try_new(item(), i32::try_from(self.classes)?, Arc::new(of), None)?;
            let row = UInt32Array::from(rows[from..from + some].to_vec());
            let columns = vec![Arc::new(row) as ArrayRef, Arc::new(list) as ArrayRef];
            self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
            (self.rows, from) = (self.rows + some, from + some);
            if self.rows == self.most {
                self.writer.flush()?;
                self.rows = 0;
            }
        }
        Ok(())
    }

    pub(in crate::stages) fn finish(self) -> anyhow::Result<()> {
        self.writer.close()?;
        Ok(())
    }
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// What a probe predicts, in memory.
pub struct Outputs {
    lying: LyingOutputs,
    /// (rows, classes)
    logits: Vec<f32>,
}

/// Reads the predictions of a probe.
///
/// # Errors
/// Where the model is no probe, or a file cannot be read.
pub fn outputs(input: &Input<'_>) -> anyhow::Result<Outputs> {
    let lying = LyingOutputs::open(input)?;
    let groups = (0..lying.starts.len() - 1).map(|group| lying.group(group));
    let logits = groups.collect::<anyhow::Result<Vec<_>>>()?.concat();
    Ok(Outputs { lying, logits })
}

impl Outputs {
    /// The rows, ascending.
    pub fn rows(&self) -> &[u32] {
        &self.lying.row
    }

    /// The logits of some rows, in their order: (rows, classes).
    ///
    /// # Errors
    /// Where one is missing.
    pub fn of(&self, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        let mut logits = Vec::with_capacity(rows.len() * self.lying.classes);
        for row in rows {
            let place = self.lying.place(*row)?;
            logits.extend_from_slice(&self.logits[place * self.lying.classes..][..self.lying.classes]);
        }
        Ok(logits)
    }
}

/// What a probe predicts, where it lies: which rows there are is in memory, and a group of predictions while it is read.
pub struct LyingOutputs {
    instance: String,
    table: TableReader,
    /// The rows, ascending.
    row: Vec<u32>,
    /// The place of each group's first row, and behind the last how many rows there are.
    starts: Vec<usize>,
    classes: usize,
}

impl LyingOutputs {
    /// Opens the predictions of a probe.
    ///
    /// # Errors
    /// Where the model is no probe, or a file cannot be read.
    pub fn open(input: &Input<'_>) -> anyhow::Result<Self> {
        let path = input.file(OUTPUTS).with_context(|| format!("`{}` is no `probe`", input.instance))?;
        // A probe that is a result says how many classes it knows.
        let classes = files::model_config(input)?.classes.map_or(0, |classes| classes.len());
        Self::at(&path, classes, input.instance)
    }

    pub(in crate::stages) fn at(path: &Path, classes: usize, instance: &str) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<Self> {
            let rows = TableReader::open(path, &[ROW])?;
            let mut row = Vec::new();
            let mut starts = vec![0];
            for group in 0..rows.groups().len() {
                for batch in rows.rows_of_group(group)? {
                    let column = batch.column_by_name(ROW).and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
                    row.extend_from_slice(column.context("it has no column `row` of whole numbers")?.values());
                }
                starts.push(row.len());
            }
            ensure!(row.is_sorted_by(|a, b| a < b), "its rows do not ascend");
            ensure!(classes > 0, "it has predictions of no class");
            let table = TableReader::open(path, &[LOGITS])?;
            Ok(Self { instance: instance.to_owned(), table, row, starts, classes })
        };
        read().with_context(|| format!("cannot read the predictions of `{instance}`"))
    }

    /// The group that has a row, or would have it.
    pub fn group_of(&self, row: u32) -> usize {
        let place = self.row.partition_point(|known| *known < row);
        (self.starts.partition_point(|start| *start <= place) - 1).min(self.starts.len().saturating_sub(2))
    }

    fn place(&self, row: u32) -> anyhow::Result<usize> {
        self.row.binary_search(&row).ok().with_context(|| {
            format!("`{}` predicts nothing for row {row}: let the features that it was made from have its part", self.instance)
        })
    }

    /// Refuses rows of which some are not predicted.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn refuse_missing(&self, rows: &[u32]) -> anyhow::Result<()> {
        rows.iter().try_for_each(|row| self.place(*row).map(drop))
    }

    /// The logits of a group: (rows, classes).
    fn group(&self, group: usize) -> anyhow::Result<Vec<f32>> {
        let read = || -> anyhow::Result<Vec<f32>> {
            let mut all = Vec::new();
            for batch in self.table.rows_of_group(group)? {
                let column = batch.column_by_name(LOGITS).and_then(|column| column.as_any().downcast_ref::<FixedSizeListArray>());
                let values = column.and_then(|list| list.values().as_any().downcast_ref::<Float32Array>());
                all.extend_from_slice(values.context("it has no column `logits` of lists of floats")?.values());
            }
            let rows = self.starts[group + 1] - self.starts[group];
            ensure!(all.len() == rows * self.classes, "a group has {} logits for {rows} rows of {}", all.len(), self.classes);
            Ok(all)
        };
        read().with_context(|| format!("cannot read the predictions of `{}`", self.instance))
    }

    /// The logits of some rows, which lie in one group: (rows, classes).
    ///
    /// # Errors
    /// Where one is missing, or the group cannot be read.
    pub fn of(&self, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let group = self.group_of(*first);
        let all = self.group(group)?;
        let mut logits = Vec::with_capacity(rows.len() * self.classes);
        for row in rows {
            let place = self.place(*row)?.checked_sub(self.starts[group]).filter(|place| (place + 1) * self.classes <= all.len());
            let place = place.with_context(|| format!("row {row} of `{}` lies in another group", self.instance))?;
            logits.extend_from_slice(&all[place * self.classes..][..self.classes]);
        }
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]
    use super::*;

    #[test]
    fn predictions_are_found_in_whatever_group_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OUTPUTS);
        let rows: Vec<u32> = (0..23).map(|row| 3 * row + 1).collect();
        let of = |rows: &[u32]| rows.iter().flat_map(|row| [*row as f32, -0.5 * *row as f32]).collect::<Vec<f32>>();
        let write = || {
            let mut writer = Writer::grouped(&path, 2, 5).unwrap();
            rows.chunks(7).for_each(|rows| writer.add(rows, of(rows)).unwrap());
            writer.finish().unwrap();
            std::fs::read(&path).unwrap()
        };
        assert_eq!(write(), write());
        let lying = LyingOutputs::at(&path, 2, "probe").unwrap();
        assert_eq!(lying.starts, [0, 5, 10, 15, 20, 23]);
        for some in rows.chunk_by(|a, b| lying.group_of(*a) == lying.group_of(*b)) {
            assert_eq!(lying.of(some).unwrap(), of(some));
            assert_eq!(lying.of(&some[..1]).unwrap(), of(&some[..1]));
        }
        assert!(lying.refuse_missing(&rows).is_ok());
        let said = lying.refuse_missing(&[4, 5]).unwrap_err().to_string();
        assert!(said.starts_with("`probe` predicts nothing for row 5: "), "{said}");
        let said = lying.of(&[rows[4], rows[5]]).unwrap_err().to_string();
        assert_eq!(said, "row 16 of `probe` lies in another group");
        let said = format!("{:#}", LyingOutputs::at(&path, 3, "probe").unwrap().of(&rows[..1]).unwrap_err());
        assert_eq!(said, "cannot read the predictions of `probe`: a group has 10 logits for 5 rows of 3");
    }

    #[test]
    fn groups_end_at_some_megabytes() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), GROUP / 2).unwrap();
        (0..3).for_each(|row| writer.add(&[row], vec![row as f32; GROUP / 2]).unwrap());
        writer.finish().unwrap();
        let lying = LyingOutputs::at(&folder.path().join(OUTPUTS), GROUP / 2, "probe").unwrap();
        assert_eq!(lying.starts, [0, 2, 3]);
        assert!(lying.of(&[2]).unwrap().iter().all(|logit| *logit == 2.0));
    }
}
