//! Reads ratings and lists of items that are Parquet already.
//!
//! It knows Parquet's types and nothing of the artifact that is made of the rows, though that is Parquet too.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt32Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::cards::Scale;
use crate::error::{Error, Malformed, Place, shown};
use crate::sound;
use crate::suggest;

use super::items::{Details, Items, List, genres};
use super::rows::{Ids, Rows};
use super::table::{Role, RowError, expected};
use super::text::ColumnNames;

/// Rows that are read and parsed at once.
const BATCH: usize = 1 << 16;

/// What the columns mean, and the scale.
pub(crate) struct Table {
    names: ColumnNames,
    scale: Option<Scale>,
}

/// The rows of a Parquet file, some at a time.
pub(crate) struct Batches {
    reader: ParquetRecordBatchReader,
    rows: u64,
    label: String,
}

/// Opens the file and finds its columns.
pub(crate) fn open(path: &Path, names: &ColumnNames, scale: Option<Scale>) -> Result<(Table, Batches), Error> {
    let wanted: Vec<&str> = names.roles().map(|(name, _)| name).collect();
    let (reader, rows) = select(path, &wanted)?;
    let label = path.display().to_string();
    Ok((Table { names: names.clone(), scale }, Batches { reader, rows, label }))
}

/// A reader of the wanted columns, and how many rows there are.
fn select(path: &Path, wanted: &[&str]) -> Result<(ParquetRecordBatchReader, u64), Error> {
    let file = File::open(path).map_err(Error::io(path, "open the file"))?;
    let metadata = sound::metadata(path, &file)?;
    let fields = metadata.schema().fields();
    let known = || fields.iter().map(|field| field.name().as_str());
    let mut roots = Vec::new();
    for name in wanted {
        let Some(at) = known().position(|field| field == *name) else {
            return Err(Malformed {
                file: path.display().to_string(),
                at: None,
                column: None,
                found: format!("the columns {}", suggest::listed(known())),
                expected: format!("a column `{name}`{}", suggest::did_you_mean(name, known())),
            }
            .into());
        };
        roots.push(at);
    }
    let rows = metadata.metadata().file_metadata().num_rows().max(0) as u64;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let batch = sound::check(path, &file, metadata.metadata(), |leaf| mask.leaf_included(leaf), sound::MOST_LISTED, BATCH)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let reader = builder.with_projection(mask).with_batch_size(batch).build().map_err(Error::parquet(path))?;
    Ok((reader, rows))
}

impl Batches {
    /// How many rows the file has.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The next rows and how many they are.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, RecordBatch)>, Error> {
        match self.reader.next() {
            None => Ok(None),
            Some(Ok(batch)) => Ok(Some((batch.num_rows() as u64, batch))),
            Some(Err(error)) => Err(Error::parquet(Path::new(&self.label))(error)),
        }
    }
}

impl Table {
    /// The batch as rows.
    pub(crate) fn parse(&self, batch: &RecordBatch) -> Result<Rows, RowError> {
        let mut rows = Rows { lines: batch.num_rows() as u64, ..Rows::default() };
        for (name, role) in self.names.roles() {
            let column = batch.column_by_name(name).ok_or_else(|| self.wrong(0, name, role, "no such column".to_owned()))?;
            if let Some(null) = (0..column.len()).find(|&row| column.is_null(row)) {
                return Err(self.wrong(null, name, role, "null".to_owned()));
            }
            let typed = |kind: &DataType| {
                cast(column, kind).map_err(|_| self.wrong(0, name, role, format!("values of the type {}", column.data_type())))
            };
            match role {
                Role::User => rows.users = self.ids(column, name, role)?,
                Role::Item => rows.items = self.ids(column, name, role)?,
                Role::Rating => {
                    // Through double precision, so that what is not finite in single precision is seen.
                    let values = typed(&DataType::Float64)?;
                    for (row, &value) in values.as_primitive::<Float64Type>().values().iter().enumerate() {
                        let rating = value as f32;
                        if !rating.is_finite() || self.scale.is_some_and(|scale| !scale.contains(rating)) {
                            return Err(self.wrong(row, name, role, value.to_string()));
                        }
                        rows.ratings.push(rating);
                    }
                }
                Role::Timestamp => {
                    let seconds = match column.data_type() {
                        DataType::Timestamp(_, zone) => {
                            let seconds = DataType::Timestamp(arrow::datatypes::TimeUnit::Second, zone.clone());
                            cast(&typed(&seconds)?, &DataType::Int64).map_err(|e| self.wrong(0, name, role, e.to_string()))?
                        }
                        _ => typed(&DataType::Int64)?,
                    };
                    if let Some(null) = (0..seconds.len()).find(|&row| seconds.is_null(row)) {
                        return Err(self.wrong(null, name, role, "no number of seconds".to_owned()));
                    }
                    rows.timestamps.extend_from_slice(seconds.as_primitive::<Int64Type>().values());
                }
            }
        }
        Ok(rows)
    }

    fn wrong(&self, row: usize, name: &str, role: Role, found: String) -> RowError {
        RowError { before: row as u64, column: Some(name.to_owned()), found, expected: expected(Some(role), self.scale) }
    }

    fn ids(&self, column: &ArrayRef, name: &str, role: Role) -> Result<Ids, RowError> {
        let mut ids = Ids::with_capacity(column.len());
        let kind = column.data_type();
        if kind.is_integer()
            && let Ok(numbers) = cast(column, &DataType::UInt32)
            && numbers.null_count() == 0
        {
            numbers.as_primitive::<UInt32Type>().values().iter().for_each(|&number| ids.push_number(number));
            return Ok(ids);
        }
        let texts = strings(column).filter(|_| !kind.is_floating()).ok_or_else(|| {
            let found = format!("values of the type {kind}");
            RowError { before: 0, column: Some(name.to_owned()), found, expected: "whole numbers or strings".to_owned() }
        })?;
        for (row, text) in texts.iter().flatten().enumerate() {
            if ids.push(text.as_bytes()).is_none() {
                return Err(self.wrong(row, name, role, shown(text.as_bytes())));
            }
        }
        Ok(ids)
    }
}

/// The values as strings, where their type allows it.
fn strings(column: &ArrayRef) -> Option<StringArray> {
    cast(column, &DataType::Utf8).ok()?.as_string_opt::<i32>().cloned()
}

/// Reads a list of items; genres are a list column, or a string with `between` between them.
pub(crate) fn read_items(path: &Path, id: &str, title: Option<&str>, genre: Option<&str>, between: &str) -> Result<Items, Error> {
    let wanted: Vec<&str> = std::iter::once(id).chain(title).chain(genre).collect();
    let (reader, _) = select(path, &wanted)?;
    let file = path.display().to_string();
    let mut list = List::new(file.clone());
    let mut before = 0;
    let wrong = |column: &str, found: String| Malformed {
        file: file.clone(),
        at: None,
        column: Some(column.to_owned()),
        found,
        expected: "strings or whole numbers (genres: also lists of strings)".to_owned(),
    };
    for batch in reader {
        let batch = batch.map_err(Error::parquet(path))?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| wrong(name, "no such column".to_owned()));
        let texts = |name: &str| {
            let column = column(name)?;
            strings(column).ok_or_else(|| wrong(name, format!("values of the type {}", column.data_type())))
        };
        let (ids, titles) = (texts(id)?, title.map(texts).transpose()?);
        let lists: Option<Vec<Vec<String>>> = match genre {
            None => None,
            Some(name) => {
                let list = column(name)?;
                Some(match list.data_type() {
                    DataType::List(_) | DataType::LargeList(_) => {
                        let list =
                            cast(list, &DataType::new_list(DataType::Utf8, true)).map_err(|e| wrong(name, e.to_string()))?;
                        let of = |names: Option<ArrayRef>| {
                            names.map_or_else(Vec::new, |names| genres(names.as_string::<i32>().iter().flatten()))
                        };
                        list.as_list::<i32>().iter().map(of).collect()
                    }
                    _ => texts(name)?.iter().map(|text| genres(super::items::cut(text.unwrap_or_default(), between))).collect(),
                })
            }
        };
        for row in 0..batch.num_rows() {
            let details = Details {
                title: titles.as_ref().filter(|titles| titles.is_valid(row)).map(|titles| titles.value(row).to_owned()),
                genres: lists.as_ref().map_or_else(Vec::new, |lists| lists[row].clone()),
            };
            let id = if ids.is_valid(row) { ids.value(row) } else { "" };
            list.add(Place::Row(before + row as u64 + 1), id.to_owned(), details)?;
        }
        before += batch.num_rows() as u64;
    }
    Ok(list.into_items())
}
