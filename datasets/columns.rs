//! Parquet as talkflow writes and reads it: zstd, fixed row groups, columns encoded side by side, the same bytes every time.
//!
//! It knows tables, not what is in them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{DataType as ParquetType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{DEFAULT_WRITE_BATCH_SIZE, EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use crate::error::Error;
use crate::sound;

/// Rows of a row group. Fixed, so that the bytes of a file depend on its rows alone.
pub(crate) const GROUP: usize = 1 << 20;

/// How the values of a column are best written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Differences of neighbours, bit-packed: ascending or clustered integers.
    Differences,
    /// A dictionary: few different values.
    Dictionary,
    /// As they are: texts and images, each of its own.
    Plain,
}

/// How the rows of a table are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Rows of a row group.
    pub rows: usize,
    /// Rows that the library encodes before it looks whether a page is full.
    pub step: usize,
}

/// Rows that are encoded at a time. A row group is a whole number of them, and they a whole number of the library's own steps, so that
/// its pages end where they would if the group were written in one go.
pub(crate) const SLAB: usize = 1 << 14;

/// Writes one table, some rows at a time; no more than what one row group takes encoded is in memory.
pub(crate) struct TableWriter {
    path: PathBuf,
    schema: SchemaRef,
    file: SerializedFileWriter<BufWriter<File>>,
    factory: ArrowRowGroupWriterFactory,
    /// Rows of a row group.
    rows: usize,
    /// Row groups begun.
    groups: usize,
    /// The row group that has room left.
    open: Option<Group>,
}

/// A row group that is being encoded.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl TableWriter {
    /// Begins the file at `path`; `packing` is given for each column of `schema`.
    pub(crate) fn create(path: &Path, schema: SchemaRef, packing: &[Packing]) -> Result<Self, Error> {
        Self::grouped(path, schema, packing, Grouping { rows: GROUP, step: DEFAULT_WRITE_BATCH_SIZE })
    }

    /// As [`TableWriter::create`], with row groups of another size. Slabs are then whole groups, but for the last.
    pub(crate) fn grouped(path: &Path, schema: SchemaRef, packing: &[Packing], grouping: Grouping) -> Result<Self, Error> {
        let file = File::create(path).map_err(Error::io(path, "create the file"))?;
        let mut properties = properties().set_write_batch_size(grouping.step);
        for (field, packing) in schema.fields().iter().zip(packing) {
            let column = ColumnPath::from(field.name().as_str());
            properties = match packing {
                Packing::Dictionary => properties,
                Packing::Plain => properties.set_column_dictionary_enabled(column, false),
                Packing::Differences => properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            };
        }
        let buffered = BufWriter::with_capacity(1 << 18, file);
        let (file, factory) = ArrowWriter::try_new(buffered, Arc::clone(&schema), Some(properties.build()))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(Error::parquet(path))?;
        Ok(Self { path: path.to_owned(), schema, file, factory, rows: grouping.rows, groups: 0, open: None })
    }

    /// Writes the next rows, in slabs of [`SLAB`] rows; the last of the table may be shorter. Row groups, and the columns of each, are
    /// encoded side by side, and appended in order.
    pub(crate) fn write(&mut self, slabs: Vec<Vec<ArrayRef>>) -> Result<(), Error> {
        self.write_slabs(slabs).map_err(Error::parquet(&self.path))
    }

    fn write_slabs(&mut self, slabs: Vec<Vec<ArrayRef>>) -> Result<(), ParquetError> {
        let mut work: Vec<Work> = Vec::new();
        for slab in slabs {
            let rows = slab.first().map_or(0, |column| column.len());
            if work.last().is_none_or(|group| group.rows >= self.rows) {
                let group = match self.open.take() {
                    Some(group) => group,
                    None => {
                        self.groups += 1;
                        Group { columns: self.factory.create_column_writers(self.groups - 1)?, rows: 0 }
                    }
                };
                let columns = group.columns.into_iter().map(|writer| (writer, Vec::new())).collect();
                work.push(Work { columns, rows: group.rows });
            }
            if let Some(group) = work.last_mut() {
                group.rows += rows;
                group.columns.iter_mut().zip(slab).for_each(|((_, parts), part)| parts.push(part));
            }
        }
        let encode = |group: Work| {
            let encode = |(field, (mut writer, parts)): (&Arc<Field>, (ArrowColumnWriter, Vec<ArrayRef>))| {
                for part in parts {
                    // No column of ours has more than one leaf.
                    for leaf in compute_leaves(field, &part)? {
                        writer.write(&leaf)?;
                    }
                }
                let whole = group.rows >= self.rows;
                Ok(if whole { Encoded::Whole(Box::new(writer.close()?)) } else { Encoded::Part(Box::new(writer)) })
            };
            let fields: Vec<_> = self.schema.fields().iter().zip(group.columns).collect();
            let encoded = fields.into_par_iter().with_max_len(1).map(encode).collect::<Result<Vec<_>, ParquetError>>();
            encoded.map(|columns| (group.rows, columns))
        };
        let encoded = work.into_par_iter().with_max_len(1).map(encode).collect::<Result<Vec<_>, _>>()?;
        for (rows, columns) in encoded {
            let (mut whole, mut part) = (Vec::new(), Vec::new());
            for column in columns {
                match column {
                    Encoded::Whole(chunk) => whole.push(*chunk),
                    Encoded::Part(writer) => part.push(*writer),
                }
            }
            if part.is_empty() {
                self.append(whole)?;
            } else {
                self.open = Some(Group { columns: part, rows });
            }
        }
        Ok(())
    }

    fn append(&mut self, chunks: Vec<ArrowColumnChunk>) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close().map(|_| ())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if let Some(group) = self.open.take() {
            let chunks = group.columns.into_iter().map(ArrowColumnWriter::close).collect::<Result<Vec<_>, _>>();
            chunks.and_then(|chunks| self.append(chunks)).map_err(Error::parquet(&self.path))?;
        }
        let mut buffered = self.file.into_inner().map_err(Error::parquet(&self.path))?;
        buffered.flush().map_err(Error::io(&self.path, "write the file"))
    }
}

/// Rows that a row group is to take, and the group's rows with them.
struct Work {
    columns: Vec<(ArrowColumnWriter, Vec<ArrayRef>)>,
    rows: usize,
}

/// A column of a row group after some more rows.
enum Encoded {
    Whole(Box<ArrowColumnChunk>),
    Part(Box<ArrowColumnWriter>),
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Nothing here is ever looked up by value within a group.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // The library's version would otherwise stand in every file.
        .set_created_by("talkflow".to_owned())
}

/// Writes a small table in one go.
pub(crate) fn write_whole(path: &Path, batch: &RecordBatch) -> Result<(), Error> {
    let packing = vec![Packing::Dictionary; batch.num_columns()];
    let mut writer = TableWriter::create(path, batch.schema(), &packing)?;
    let starts = (0..batch.num_rows()).step_by(SLAB);
    writer.write(starts.map(|start| batch.slice(start, SLAB.min(batch.num_rows() - start)).columns().to_vec()).collect())?;
    writer.finish()
}

/// Rows that are decoded at once: so few that their memory stays in the cache and is not given back to the system in between.
pub(crate) const BATCH: usize = 1 << 13;

/// A number as Parquet's decoder gives it.
pub(crate) type Stored<T> = <<T as Cell>::Stored as ParquetType>::T;

/// A number as one row of a column holds it.
pub(crate) trait Cell: Copy + Default + Send + Sync {
    /// How Parquet stores it.
    type Stored: ParquetType;
    /// The reader of such a column, where `reader` is one.
    fn reader(reader: ColumnReader) -> Option<ColumnReaderImpl<Self::Stored>>;
    /// The number itself.
    fn of(stored: &Stored<Self>) -> Self;
}

impl Cell for u32 {
    type Stored = Int32Type;

    fn reader(reader: ColumnReader) -> Option<ColumnReaderImpl<Int32Type>> {
        if let ColumnReader::Int32ColumnReader(reader) = reader { Some(reader) } else { None }
    }

    fn of(stored: &i32) -> Self {
        stored.cast_unsigned()
    }
}

impl Cell for f32 {
    type Stored = FloatType;

    fn reader(reader: ColumnReader) -> Option<ColumnReaderImpl<FloatType>> {
        if let ColumnReader::FloatColumnReader(reader) = reader { Some(reader) } else { None }
    }

    fn of(stored: &f32) -> Self {
        *stored
    }
}

impl Cell for i64 {
    type Stored = Int64Type;

    fn reader(reader: ColumnReader) -> Option<ColumnReaderImpl<Int64Type>> {
        if let ColumnReader::Int64ColumnReader(reader) = reader { Some(reader) } else { None }
    }

    fn of(stored: &i64) -> Self {
        *stored
    }
}

/// Reads the wanted columns of one table.
#[derive(Clone, Debug)]
pub struct TableReader {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
}

impl TableReader {
    /// Opens the file at `path`, which must have the named columns.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`] where it cannot be read, [`Error::Unsound`] where it claims what cannot be,
    /// [`Error::NotAnArtifact`] where it lacks a column.
    pub fn open(path: &Path, columns: &[&str]) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path, "open the file"))?;
        let metadata = sound::metadata(path, &file)?;
        for column in columns {
            if metadata.schema().field_with_name(column).is_err() {
                return Err(not_an_artifact(path, format!("it has no column `{column}`")));
            }
        }
        let mask = ProjectionMask::columns(metadata.parquet_schema(), columns.iter().copied());
        // Of our own files a batch is small whatever their values are.
        sound::check(path, &file, metadata.metadata(), |leaf| mask.leaf_included(leaf), sound::MOST_LISTED, BATCH)?;
        Ok(Self { path: path.to_owned(), metadata, mask })
    }

    /// The same file, looked through already, with fewer columns: those of its own that are named.
    pub(crate) fn narrowed(&self, columns: &[&str]) -> Self {
        let mut mask = ProjectionMask::columns(self.metadata.parquet_schema(), columns.iter().copied());
        mask.intersect(&self.mask);
        Self { mask, ..self.clone() }
    }

    /// How many rows each row group has.
    pub fn groups(&self) -> Vec<usize> {
        self.metadata.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as usize).collect()
    }

    /// The numbers of a column, every row group decoded into its place: nothing is held twice.
    pub(crate) fn numbers<T: Cell>(&self, column: &str) -> Result<Vec<T>, Error> {
        let groups = self.groups();
        let mut values = vec![T::default(); groups.iter().sum()];
        cut(&mut values, &groups).into_par_iter().enumerate().try_for_each(|(group, slice)| {
            let mut numbers = self.numbers_of_group::<T>(group, column)?;
            for places in slice.chunks_mut(BATCH) {
                let stored = numbers.next(places.len())?;
                places.iter_mut().zip(stored).for_each(|(place, stored)| *place = T::of(stored));
            }
            Ok::<_, Error>(())
        })?;
        Ok(values)
    }

    /// The numbers of a column of one row group, to be taken some at a time.
    pub(crate) fn numbers_of_group<'t, T: Cell>(&'t self, group: usize, column: &'t str) -> Result<Numbers<'t, T>, Error> {
        let leaves = self.metadata.parquet_schema().columns();
        let Some(at) = leaves.iter().position(|leaf| leaf.path().string() == column) else {
            return Err(not_an_artifact(&self.path, format!("it has no column `{column}`")));
        };
        // A file handle of its own: readers share no position.
        let file = File::open(&self.path).map_err(Error::io(&self.path, "open the file"))?;
        let about = self.metadata.metadata().row_group(group);
        let rows = about.num_rows().max(0) as usize;
        let pages =
            SerializedPageReader::new(Arc::new(file), about.column(at), rows, None).map_err(Error::parquet(&self.path))?;
        let reader = T::reader(get_column_reader(Arc::clone(&leaves[at]), Box::new(pages)));
        let reader = reader.ok_or_else(|| not_an_artifact(&self.path, format!("its column `{column}` has another type")))?;
        Ok(Numbers { path: &self.path, column, reader, stored: Vec::with_capacity(BATCH), levels: Vec::new() })
    }

    /// Decodes all row groups in parallel; each has its own state, which `take` gets with one batch of that group after the other.
    pub(crate) fn each_group<S: Send>(
        &self,
        states: Vec<S>,
        take: impl Fn(&mut S, &RecordBatch) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        states.into_par_iter().enumerate().try_for_each(|(group, mut state)| {
            for batch in self.group(group)? {
                take(&mut state, &batch.map_err(Error::parquet(&self.path))?)?;
            }
            Ok(())
        })
    }

    /// All rows in order, for small tables.
    pub(crate) fn all(&self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        for group in 0..self.groups().len() {
            for batch in self.group(group)? {
                batches.push(batch.map_err(Error::parquet(&self.path))?);
            }
        }
        Ok(batches)
    }

    /// The rows of a group in order.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`] where they cannot be read.
    pub fn rows_of_group(&self, group: usize) -> Result<Vec<RecordBatch>, Error> {
        self.group(group)?.collect::<Result<_, _>>().map_err(Error::parquet::<arrow::error::ArrowError>(&self.path))
    }

    /// A reader of one row group, with a file handle of its own: readers share no position.
    fn group(&self, group: usize) -> Result<ParquetRecordBatchReader, Error> {
        let file = File::open(&self.path).map_err(Error::io(&self.path, "open the file"))?;
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(self.mask.clone())
            .with_row_groups(vec![group])
            .with_batch_size(BATCH)
            .build()
            .map_err(Error::parquet(&self.path))
    }
}

/// The numbers of one column of one row group, in order.
pub(crate) struct Numbers<'t, T: Cell> {
    path: &'t Path,
    column: &'t str,
    reader: ColumnReaderImpl<T::Stored>,
    /// Those taken last; the memory is used again for the next.
    stored: Vec<Stored<T>>,
    levels: Vec<i16>,
}

impl<T: Cell> Numbers<'_, T> {
    /// The next `count` numbers, best no more than [`BATCH`]; it is an error where there are fewer, or one has no value.
    pub(crate) fn next(&mut self, count: usize) -> Result<&[Stored<T>], Error> {
        self.stored.clear();
        self.levels.clear();
        let read = self.reader.read_records(count, Some(&mut self.levels), None, &mut self.stored);
        let (records, values, _) = read.map_err(Error::parquet(self.path))?;
        if records == count && values == count { Ok(&self.stored) } else { Err(self.lacking()) }
    }

    /// Passes over the next `count` numbers. Pages that lie wholly among them are not decoded.
    pub(crate) fn skip(&mut self, count: usize) -> Result<(), Error> {
        let skipped = self.reader.skip_records(count).map_err(Error::parquet(self.path))?;
        if skipped == count { Ok(()) } else { Err(self.lacking()) }
    }

    fn lacking(&self) -> Error {
        not_an_artifact(self.path, format!("its column `{}` lacks values", self.column))
    }
}

/// Cuts a vector into one slice a row group.
pub(crate) fn cut<'v, T>(mut values: &'v mut [T], groups: &[usize]) -> Vec<&'v mut [T]> {
    let mut slices = Vec::with_capacity(groups.len());
    for &rows in groups {
        let (slice, rest) = values.split_at_mut(rows.min(values.len()));
        slices.push(slice);
        values = rest;
    }
    slices
}

/// Copies `values` to the front of what is left of `slice`. Nothing beyond its end: a file may have more rows than it says.
pub(crate) fn fill<T: Copy>(slice: &mut &mut [T], values: &[T]) {
    let count = values.len().min(slice.len());
    let (now, rest) = std::mem::take(slice).split_at_mut(count);
    now.copy_from_slice(&values[..count]);
    *slice = rest;
}

/// The column `name` of a batch in the type it must have.
pub(crate) fn column<'b, A: arrow::array::Array + 'static>(
    path: &Path,
    batch: &'b RecordBatch,
    name: &str,
) -> Result<&'b A, Error> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref::<A>())
        .ok_or_else(|| not_an_artifact(path, format!("its column `{name}` has another type")))
}

/// The error of an artifact whose contents are not ours.
pub(crate) fn not_an_artifact(path: &Path, problem: impl Into<String>) -> Error {
    Error::NotAnArtifact { path: path.to_owned(), problem: problem.into() }
}
