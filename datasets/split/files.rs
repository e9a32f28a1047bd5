//! The split artifact on disk: `split.parquet` (`row`, `part`) and `split.json`; and its export as csv.
//!
//! It knows files and not how a split came about.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, Int8Array, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Int8Type, Schema};

use crate::columns::{GROUP, Packing, SLAB, TableReader, TableWriter, column, cut, fill, not_an_artifact};
use crate::error::Error;
use crate::sound;

use super::{Part, Split, SplitSummary};

/// The file of parts.
pub const SPLIT: &str = "split.parquet";
/// The summary.
pub const SPLIT_SUMMARY: &str = "split.json";

/// The paths of the artifact's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitFiles {
    /// `split.parquet`
    pub split: PathBuf,
    /// `split.json`
    pub summary: PathBuf,
}

impl SplitFiles {
    /// The files under their own names in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { split: folder.join(SPLIT), summary: folder.join(SPLIT_SUMMARY) }
    }
}

impl Split {
    /// Writes the artifact into the existing folder `folder`. The same split gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`].
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let files = SplitFiles::in_folder(folder);
        let kind = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let schema = Schema::new(vec![Field::new("row", DataType::UInt32, false), Field::new("part", kind, false)]);
        let mut table = TableWriter::create(&files.split, Arc::new(schema), &[Packing::Differences, Packing::Dictionary])?;
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(Part::ALL.map(Part::name)));
        let columns = |(slab, parts): (usize, &[Part])| -> Result<Vec<ArrayRef>, Error> {
            let row = (slab * SLAB) as u32;
            let rows = UInt32Array::from_iter_values(row..row + parts.len() as u32);
            let keys = Int8Array::from_iter_values(parts.iter().map(|&part| part as i8));
            let parts = DictionaryArray::<Int8Type>::try_new(keys, Arc::clone(&names)).map_err(Error::parquet(&files.split))?;
            Ok(vec![Arc::new(rows), Arc::new(parts)])
        };
        let slabs: Vec<_> = self.parts.chunks(SLAB).enumerate().collect();
        // As many row groups at a time as there are cores, so that not all of a large split is in memory twice.
        for slabs in slabs.chunks(GROUP / SLAB * rayon::current_num_threads()) {
            table.write(slabs.iter().copied().map(columns).collect::<Result<Vec<_>, _>>()?)?;
        }
        table.finish()?;
        let mut text = serde_json::to_vec_pretty(&self.summary).map_err(|e| Error::Setting(format!("{SPLIT_SUMMARY}: {e}")))?;
        text.push(b'\n');
        std::fs::write(&files.summary, text).map_err(Error::io(&files.summary, "write the file"))
    }

    /// Loads the artifact: one byte a row.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Parquet`], and [`Error::NotAnArtifact`] where a file holds something else.
    pub fn open(files: &SplitFiles) -> Result<Self, Error> {
        let text = std::fs::read(&files.summary).map_err(Error::io(&files.summary, "read the file"))?;
        let summary: SplitSummary = serde_json::from_slice(&text).map_err(|e| not_an_artifact(&files.summary, e.to_string()))?;
        let path = &files.split;
        let parts = sound::guarded(path, || Self::read_parts(path))?;
        let split = Self::of(parts, &summary.how, summary.fractions);
        if split.summary.counts != summary.counts {
            return Err(not_an_artifact(
                path,
                format!("it has {:?} where split.json says {:?}", split.summary.counts, summary.counts),
            ));
        }
        Ok(split)
    }

    fn read_parts(path: &Path) -> Result<Vec<Part>, Error> {
        let table = TableReader::open(path, &["part"])?;
        let groups = table.groups();
        let mut parts = vec![Part::Train; groups.iter().sum()];
        table.each_group(cut(&mut parts, &groups), |slice, batch| {
            let column = column::<DictionaryArray<Int8Type>>(path, batch, "part")?;
            let names = column.values().as_any().downcast_ref::<StringArray>();
            let named: Option<Vec<Part>> = names.and_then(|names| names.iter().map(|name| Part::from_name(name?)).collect());
            let named = named.ok_or_else(|| not_an_artifact(path, "its column `part` holds other names than ours"))?;
            let part = |&key: &i8| usize::try_from(key).ok().and_then(|key| named.get(key).copied());
            let values: Option<Vec<Part>> = column.keys().values().iter().map(part).collect();
            fill(slice, &values.ok_or_else(|| not_an_artifact(path, "a row has no part"))?);
            Ok(())
        })?;
        Ok(parts)
    }

    /// Writes `row,part` as csv, which [`super::SplitSpec::Rows`] reads back.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn export_csv(&self, path: &Path) -> Result<(), Error> {
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(std::fs::File::create(path)?);
            writeln!(file, "row,part")?;
            for (row, part) in self.parts.iter().enumerate() {
                writeln!(file, "{row},{}", part.name())?;
            }
            file.flush()
        };
        write().map_err(Error::io(path, "write the file"))
    }
}
