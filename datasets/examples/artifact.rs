//! The artifact read back: what is known of each row at once, contents shard by shard.

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{Array, BinaryArray, DictionaryArray, RecordBatch, StringArray};
use arrow::datatypes::Int8Type;
use rayon::prelude::*;

use crate::columns::{TableReader, column, not_an_artifact};
use crate::error::Error;
use crate::sound;
use crate::split::Part;

use super::make::{count_parts, shard_rows};
use super::{Content, ExamplesFiles, Summary};

/// The examples, but for their contents, which stay on disk until they are asked for. Place `i` of each list is the row `i`.
#[derive(Clone, Debug)]
pub struct Examples {
    summary: Summary,
    path: PathBuf,
    /// The column of contents of the file, which was looked through once.
    table: TableReader,
    ids: Vec<String>,
    parts: Vec<Option<Part>>,
    labels: Vec<u32>,
    /// Where each shard begins, and at last how many rows there are.
    starts: Vec<u32>,
}

/// Rows whose contents are read together.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// The rows.
    pub rows: Range<u32>,
    /// Their contents, in this order.
    pub contents: Contents,
}

/// What some examples are.
#[derive(Clone, Debug, PartialEq)]
pub enum Contents {
    /// A text each.
    Texts(Vec<String>),
    /// So many bytes each as [`super::Shape::bytes`] says: plane after plane, each row after row.
    Images(Vec<u8>),
}

impl Examples {
    /// Opens the artifact: ids, labels and parts are read.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`] where a file cannot be read, [`Error::NotAnArtifact`] where it holds something else.
    pub fn open(files: &ExamplesFiles) -> Result<Self, Error> {
        sound::guarded(&files.examples, || Self::read(files))
    }

    fn read(files: &ExamplesFiles) -> Result<Self, Error> {
        let path = &files.examples;
        let summary = Summary::open(&files.dataset)?;
        let table = TableReader::open(path, &["id", "part", "label", summary.content.column()])?;
        // Before any is read: a few bytes can stand for billions of equal labels.
        let rows: usize = table.groups().iter().sum();
        if rows as u64 != summary.rows {
            return Err(not_an_artifact(path, format!("it has {rows} rows where dataset.json says {}", summary.rows)));
        }
        // And a shard is held at once, so none may be larger than those that are written.
        let most = shard_rows(summary.content);
        if let Some(rows) = table.groups().into_iter().find(|rows| *rows > most) {
            return Err(not_an_artifact(path, format!("a group has {rows} rows, more than the {most} that are written")));
        }
        let mut starts = vec![0];
        for rows in table.groups() {
            starts.push(starts.last().copied().unwrap_or(0) + rows as u32);
        }
        let labels: Vec<u32> = table.numbers("label")?;
        let (mut ids, mut parts) = (Vec::with_capacity(labels.len()), Vec::with_capacity(labels.len()));
        for batch in table.narrowed(&["id", "part"]).all()? {
            ids.extend(column::<StringArray>(path, &batch, "id")?.iter().flatten().map(str::to_owned));
            read_parts(path, &batch, &mut parts)?;
        }
        let beyond = labels.iter().any(|&label| label as usize >= summary.classes.len());
        let counts = [labels.len(), ids.len(), parts.len()].map(|count| count as u64);
        if beyond || counts != [summary.rows; 3] || count_parts(parts.iter().copied()) != summary.parts {
            return Err(not_an_artifact(path, "its rows, parts or labels are not those of dataset.json"));
        }
        let table = table.narrowed(&[summary.content.column()]);
        Ok(Self { summary, path: path.clone(), table, ids, parts, labels, starts })
    }

    /// What was prepared.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none; prepared artifacts always have some.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What each row is called in its source: unique, and the same in every subset.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The part that its publisher put each row in: of all rows, or of none.
    pub fn parts(&self) -> &[Option<Part>] {
        &self.parts
    }

    /// The class of each row, by its place among [`Summary::classes`].
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// How many shards the contents are in. Each has some megabytes, however many rows there are.
    pub fn shards(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number of the shard that a row is in; of a row beyond the last, as many as there are shards.
    pub fn shard_of(&self, row: u32) -> usize {
        self.starts.partition_point(|start| *start <= row) - 1
    }

    /// Reads the contents of a shard, numbered from 0 in the order of rows; of one beyond the last there are none.
    ///
    /// # Errors
    /// As [`Examples::open`].
    pub fn shard(&self, number: usize) -> Result<Shard, Error> {
        let rows = match self.starts.get(number..number + 2) {
            Some(&[start, end]) => start..end,
            _ => self.labels.len() as u32..self.labels.len() as u32,
        };
        let contents = sound::guarded(&self.path, || self.read_shard(number, rows.len()))?;
        Ok(Shard { rows, contents })
    }

    fn read_shard(&self, number: usize, rows: usize) -> Result<Contents, Error> {
        let (path, name) = (&self.path, self.summary.content.column());
        let mut contents = match self.summary.content {
            Content::Texts => Contents::Texts(Vec::with_capacity(rows)),
            Content::Images(_) => Contents::Images(Vec::new()),
        };
        if rows == 0 {
            return Ok(contents);
        }
        for batch in self.table.rows_of_group(number)? {
            match (&mut contents, self.summary.content) {
                (Contents::Images(bytes), Content::Images(shape)) => {
                    for image in column::<BinaryArray>(path, &batch, name)?.iter().flatten() {
                        if image.len() != shape.bytes() {
                            let problem = format!("an image has {} bytes where dataset.json says {}", image.len(), shape.bytes());
                            return Err(not_an_artifact(path, problem));
                        }
                        bytes.extend_from_slice(image);
                    }
                }
                (Contents::Texts(texts), _) => {
                    texts.extend(column::<StringArray>(path, &batch, name)?.iter().flatten().map(str::to_owned));
                }
                (Contents::Images(_), Content::Texts) => {}
            }
        }
        let read = match (&contents, self.summary.content) {
            (Contents::Images(bytes), Content::Images(shape)) => bytes.len() / shape.bytes(),
            (Contents::Texts(texts), _) => texts.len(),
            (Contents::Images(_), Content::Texts) => 0,
        };
        if read == rows { Ok(contents) } else { Err(not_an_artifact(path, format!("its column `{name}` lacks values"))) }
    }

    /// Reads all contents, for data that fit into memory.
    ///
    /// # Errors
    /// As [`Examples::open`].
    pub fn contents(&self) -> Result<Contents, Error> {
        let shards: Vec<Shard> = (0..self.shards()).into_par_iter().map(|number| self.shard(number)).collect::<Result<_, _>>()?;
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for shard in shards {
            match shard.contents {
                Contents::Texts(more) => texts.extend(more),
                Contents::Images(more) => images.extend(more),
            }
        }
        Ok(match self.summary.content {
            Content::Texts => Contents::Texts(texts),
            Content::Images(_) => Contents::Images(images),
        })
    }
}

/// Adds the parts of a batch's rows.
fn read_parts(path: &Path, batch: &RecordBatch, parts: &mut Vec<Option<Part>>) -> Result<(), Error> {
    let column = column::<DictionaryArray<Int8Type>>(path, batch, "part")?;
    let names = column.values().as_any().downcast_ref::<StringArray>();
    let names = names.ok_or_else(|| not_an_artifact(path, "its column `part` has another type"))?;
    // Names that no row has may be anything: where no row has a part, the library's dictionary is made up.
    let named: Vec<Option<Part>> = names.iter().map(|name| name.and_then(Part::from_name)).collect();
    let of = |key: i8| usize::try_from(key).ok().and_then(|key| named.get(key).copied().flatten());
    for key in column.keys() {
        let part = key.map(|key| of(key).ok_or_else(|| not_an_artifact(path, "its column `part` holds other names than ours")));
        parts.push(part.transpose()?);
    }
    Ok(())
}
