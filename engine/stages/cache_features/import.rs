//! Features that the user already has: matrices of Parquet, npy or safetensors files, taken over for the rows of a split.
//!
//! Rows are in the order of the data set, or named by a list of their own. What is taken over is looked at (rows, widths, finite numbers) and
//! keeps where it came from.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    compute::cast,
    datatypes::{DataType, Float32Type, UInt64Type},
};
use serde::{Deserialize, Serialize};
use talkflow_datasets::sound;

use super::{
    Tap,
    matrix::{self, Matrix},
    shards::Shard,
};
use crate::{
    artifact::Digest,
    fields::{Choice, Fields},
    stages::encoder::About,
};

/// The taps that can be imported.
const TAPS: [Tap; 2] = [Tap::Low, Tap::High];

/// Its settings.
#[derive(Clone, Debug)]
pub(super) struct Import {
    taps: BTreeMap<Tap, Column>,
    row: Option<Column>,
    from: String,
}

/// A matrix or list of a file.
#[derive(Clone, Debug)]
struct Column {
    file: PathBuf,
    /// The column or tensor; of an npy none.
    name: Option<String>,
}

/// Where features came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// In the user's words.
    pub from: String,
    /// By tap, and `row`: what it was read from.
    pub files: BTreeMap<String, Imported>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// Of its contents.
    pub digest: Digest,
    /// The column or tensor.
    pub name: Option<String>,
}

/// Reads them.
pub(super) fn read(f: &mut Fields<'_>) -> Import {
    let from = f.text("from", None);
    let named = TAPS.into_iter().filter_map(|tap| Some((tap, column(f, tap.word())?)));
    let taps: BTreeMap<Tap, Column> = named.collect();
    let row = column(f, "row");
    if taps.is_empty() && f.sound() {
        f.mistake("from", "nothing is imported", Some("name the file of `low` or of `high`"));
    }
    Import { taps, row, from }
}

fn column(f: &mut Fields<'_>, key: &str) -> Option<Column> {
    f.optional_section(key, |f| {
        let file = f.file("file").unwrap_or_default();
        let name = f.optional_text("name");
        if f.sound() {
            match (ending(&file), &name) {
                ("npy", Some(_)) => f.mistake("name", "an npy holds one array, which has no name", Some("leave it out")),
                ("npy", None) | ("parquet" | "safetensors", Some(_)) => {}
                ("parquet" | "safetensors", None) => {
                    f.mistake("file", "which column or tensor it is is not said", Some("add `name`"))
                }
                _ => f.mistake("file", "features are read from .parquet, .npy and .safetensors", None),
            }
        }
        Column { file, name }
    })
}

fn ending(file: &Path) -> &str {
    file.extension().and_then(OsStr::to_str).unwrap_or_default()
}

/// Numbers that are imported.
enum Table {
    /// Where they lie.
    Lying(Matrix),
    /// In memory: numbers a row, and the numbers.
    Held(usize, Vec<f32>),
}

impl Table {
    fn width(&self) -> usize {
        match self {
            Self::Lying(matrix) => matrix.width,
            Self::Held(width, _) => *width,
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Lying(matrix) => matrix.rows,
            Self::Held(width, values) => values.len() / (*width).max(1),
        }
    }

    /// The rows at some places; neighbours are read in one go.
    fn gathered(&self, places: &[usize]) -> anyhow::Result<Vec<f32>> {
        let width = self.width();
        let mut out = Vec::with_capacity(places.len() * width);
        for run in places.chunk_by(|a, b| a + 1 == *b) {
            let (first, end) = (run[0], run[0] + run.len());
            match self {
                Self::Lying(matrix) => out.extend(matrix.floats(first..end)?),
                Self::Held(_, values) => {
                    out.extend_from_slice(values.get(first * width..end * width).context("a row is missing")?)
                }
            }
        }
        Ok(out)
    }
}

/// Ids of rows.
enum Ids {
    Places(Vec<u64>),
    Names(Vec<String>),
}

impl Column {
    fn about(&self) -> String {
        match &self.name {
            Some(name) => format!("`{name}` of {}", self.file.display()),
            None => self.file.display().to_string(),
        }
    }

    /// The matrix, where the file is no table.
    fn matrix(&self) -> anyhow::Result<Option<Matrix>> {
        match (ending(&self.file), &self.name) {
            ("npy", _) => matrix::npy(&self.file).map(Some),
            ("safetensors", Some(name)) => {
                let mut tensors = matrix::safetensors(&self.file)?;
                let known: Vec<String> = tensors.keys().take(20).map(|name| format!("`{name}`")).collect();
                let matrix = tensors.remove(name);
                let missing = || format!("{} has no list or matrix `{name}`; it has {}", self.file.display(), known.join(", "));
                matrix.with_context(missing).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A column of a Parquet file.
    fn column(&self) -> anyhow::Result<ArrayRef> {
        let name = self.name.as_deref().unwrap_or_default();
        let (schema, batches) = sound::read_whole(&self.file)?;
        let whole = arrow::compute::concat_batches(&schema, &batches)?;
        let column = whole.column_by_name(name).with_context(|| format!("{} has no column `{name}`", self.file.display()))?;
        ensure!(column.null_count() == 0, "{} lacks values", self.about());
        Ok(column.clone())
    }

    fn table(&self) -> anyhow::Result<Table> {
        if let Some(matrix) = self.matrix()? {
            return Ok(Table::Lying(matrix));
        }
        let column = self.column()?;
        let rows = column.len();
        let values = match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().values().slice_to(column.as_list::<i32>().value_offsets()),
            DataType::LargeList(_) => column.as_list::<i64>().values().slice_to(column.as_list::<i64>().value_offsets()),
            DataType::FixedSizeList(..) => column.as_fixed_size_list().values().clone(),
            _ => column.clone(),
        };
        let float = matches!(values.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64);
        ensure!(float, "{} holds {} where floats are needed", self.about(), values.data_type());
        ensure!(values.null_count() == 0, "{} lacks values", self.about());
        let width = values.len() / rows.max(1);
        let even = match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().value_offsets().windows(2).all(|w| (w[1] - w[0]) as usize == width),
            DataType::LargeList(_) => column.as_list::<i64>().value_offsets().windows(2).all(|w| (w[1] - w[0]) as usize == width),
            _ => true,
        };
        ensure!(even, "{} has lists of different lengths", self.about());
        let values = cast(&values, &DataType::Float32)?;
        Ok(Table::Held(width, values.as_primitive::<Float32Type>().values().to_vec()))
    }

    fn ids(&self) -> anyhow::Result<Ids> {
        if let Some(matrix) = self.matrix()? {
            ensure!(matrix.width == 1, "{} is no list", self.about());
            return Ok(Ids::Places(matrix.whole()?));
        }
        let column = self.column()?;
        match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
                let texts = cast(&column, &DataType::Utf8)?;
                let texts = texts.as_any().downcast_ref::<StringArray>().context("ids cannot be read")?;
                Ok(Ids::Names(texts.iter().flatten().map(str::to_owned).collect()))
            }
            kind if kind.is_integer() => {
                let whole = cast(&column, &DataType::UInt64)?;
                ensure!(whole.null_count() == 0, "{} has numbers below 0", self.about());
                Ok(Ids::Places(whole.as_primitive::<UInt64Type>().values().to_vec()))
            }
            other => bail!("{} holds {other} where ids are needed: texts, or whole numbers", self.about()),
        }
    }
}

/// The part of a list's numbers that its rows have.
trait SliceTo<O> {
    fn slice_to(&self, offsets: &[O]) -> ArrayRef;
}

impl<O: Copy + TryInto<usize>> SliceTo<O> for ArrayRef {
    fn slice_to(&self, offsets: &[O]) -> ArrayRef {
        let at = |offset: Option<&O>| offset.and_then(|offset| (*offset).try_into().ok()).unwrap_or(0);
        let (first, last) = (at(offsets.first()), at(offsets.last()));
        self.slice(first, last - first)
    }
}

/// What is imported, opened for some rows.
pub(super) struct Tables {
    taps: BTreeMap<Tap, Table>,
    /// Where the numbers of each row stand.
    places: HashMap<u32, usize>,
}

impl Import {
    /// What it holds.
    pub(super) fn taps(&self) -> Vec<Tap> {
        self.taps.keys().copied().collect()
    }

    /// Where it comes from.
    pub(super) fn provenance(&self) -> anyhow::Result<Provenance> {
        let taps = self.taps.iter().map(|(tap, column)| (tap.word(), column));
        let named = taps.chain(self.row.iter().map(|column| ("row", column)));
        let file = |(word, Column { file, name }): (&str, &Column)| {
            let digest = Digest::of_file(file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok((word.to_owned(), Imported { digest, name: name.clone() }))
        };
        Ok(Provenance { from: self.from.clone(), files: named.map(file).collect::<anyhow::Result<_>>()? })
    }

    /// Opens the files, and checks that each of `rows` is there, once. `names` are what all rows of the data set are called. States have
    /// the width of the encoder where one is named.
    pub(super) fn open(&self, names: &[String], rows: &[u32], encoder: Option<&About>) -> anyhow::Result<Tables> {
        let mut tables = Tables { taps: BTreeMap::new(), places: HashMap::new() };
        let ids = self.row.as_ref().map(|column| Ok::<_, anyhow::Error>((column, column.ids()?))).transpose()?;
        let count = match &ids {
            None => names.len(),
            Some((_, Ids::Places(ids))) => ids.len(),
            Some((_, Ids::Names(ids))) => ids.len(),
        };
        for (tap, column) in &self.taps {
            let table = column.table()?;
            let about = column.about();
            let help = if ids.is_some() { "the list of rows" } else { "the data set: name the rows by `row`" };
            ensure!(table.rows() == count, "{about} has {} rows, and there are {count} in {help}", table.rows());
            ensure!(table.width() > 0, "{about} has no numbers in a row");
            if let Some(width) = encoder.map(|encoder| encoder.width) {
                ensure!(
                    table.width() == width,
                    "{about} has {} numbers a row, and these are not the {width} numbers of a state of the teacher",
                    table.width()
                );
            }
            tables.taps.insert(*tap, table);
        }
        let twice = |column: &Column, id: &str| anyhow::anyhow!("{} names `{id}` twice", column.about());
        match ids {
            None => tables.places = rows.iter().map(|row| (*row, *row as usize)).collect(),
            Some((column, Ids::Places(ids))) => {
                for (place, id) in ids.into_iter().enumerate() {
                    let row = u32::try_from(id).ok().filter(|row| (*row as usize) < names.len());
                    let row = row.with_context(|| format!("{} names row {id} of {}", column.about(), names.len()))?;
                    if tables.places.insert(row, place).is_some() {
                        return Err(twice(column, &id.to_string()));
                    }
                }
            }
            Some((column, Ids::Names(ids))) => {
                let rows: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
                for (place, id) in ids.into_iter().enumerate() {
                    let row = rows.get(id.as_str());
                    let row = row.with_context(|| format!("{} names `{id}`, which no row is called", column.about()))?;
                    if tables.places.insert(*row, place).is_some() {
                        return Err(twice(column, &id));
                    }
                }
            }
        }
        let lacking: Vec<u32> = rows.iter().copied().filter(|row| !tables.places.contains_key(row)).collect();
        if let Some(first) = lacking.first() {
            bail!(
                "{} of {} rows have no features; row {first} is the first (`{}`)",
                lacking.len(),
                rows.len(),
                names[*first as usize]
            );
        }
        Ok(tables)
    }
}

impl Tables {
    /// Bytes that a row's features take.
    pub(super) fn bytes_a_row(&self, number: usize) -> usize {
        self.taps.values().map(|table| table.width().saturating_mul(number)).fold(0, usize::saturating_add)
    }

    /// Some rows of it.
    pub(super) fn shard(&self, rows: &[u32]) -> anyhow::Result<Shard> {
        let places = rows.iter().map(|row| self.places.get(row).copied().context("a row is missing"));
        let places = places.collect::<anyhow::Result<Vec<usize>>>()?;
        let state = |(tap, table): (&Tap, &Table)| Ok((*tap, (table.width(), table.gathered(&places)?)));
        let states = self.taps.iter().map(state).collect::<anyhow::Result<_>>()?;
        Ok(Shard { row: rows.to_vec(), states, tokens: None })
    }
}
