//! From a source of examples to the artifact: what is kept, then the contents, some shards at a time.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int8Array, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use rayon::prelude::*;

use crate::columns::{Grouping, Packing, TableWriter};
use crate::error::{Error, Malformed};
use crate::progress::Progress;
use crate::split::{Part, PartCounts};

use super::sources::{Gathered, Row, Source};
use super::{ClassCount, Content, ExamplesFiles, Subset, Summary, subset};

/// About how many bytes of images a shard has.
const SHARD: usize = 16 << 20;
/// Rows of a shard of texts.
const TEXTS: usize = 1 << 14;

/// Writes the examples artifact into the existing folder `folder`, of all rows or of a subset.
///
/// The same source gives the same bytes on any machine and for any number of threads. On an error the folder holds whatever was
/// written so far, and no `dataset.json`.
///
/// # Errors
/// [`Error::Malformed`] with file and line, record or image where the source is not what it promises; [`Error::Cancelled`] where `progress`
/// says so; [`Error::Io`], [`Error::Archive`] and [`Error::Parquet`] where a file cannot be read or written.
pub fn make(source: &Source, subset: Option<&Subset>, folder: &Path, progress: &mut dyn Progress) -> Result<Summary, Error> {
    let gathered = source.gather()?;
    check(&gathered)?;
    let all = || (0..gathered.rows.len() as u32).collect();
    let (places, kept) = match subset {
        Some(subset) => {
            let (places, kept) = subset::choose(&gathered.rows, &gathered.classes, subset)?;
            (places, Some(kept))
        }
        None => (all(), None),
    };
    let files = ExamplesFiles::in_folder(folder);
    write(&files.examples, &gathered, &places, progress)?;
    let rows = || places.iter().map(|&place| &gathered.rows[place as usize]);
    let mut of_class = vec![0; gathered.classes.len()];
    rows().for_each(|row| of_class[row.label as usize] += 1);
    let summary = Summary {
        name: gathered.name,
        title: gathered.title,
        source: gathered.source,
        content: gathered.content,
        rows: places.len() as u64,
        classes: gathered.classes.into_iter().zip(of_class).map(|(class, rows)| ClassCount { class, rows }).collect(),
        parts: count_parts(rows().map(|row| row.part)),
        subset: kept,
        licence: gathered.licence,
        citation: gathered.citation,
    };
    let mut text = serde_json::to_vec_pretty(&summary).map_err(|e| Error::Setting(format!("dataset.json: {e}")))?;
    text.push(b'\n');
    std::fs::write(&files.dataset, text).map_err(Error::io(&files.dataset, "write the file"))?;
    Ok(summary)
}

/// Rows of each part; `None` where rows have none.
pub(super) fn count_parts(parts: impl Iterator<Item = Option<Part>>) -> Option<PartCounts> {
    let mut counts = PartCounts::default();
    for part in parts {
        match part? {
            Part::Train => counts.train += 1,
            Part::Validation => counts.validation += 1,
            Part::Test => counts.test += 1,
        }
    }
    Some(counts)
}

/// Refuses what nothing can be learnt from, and what has other rows than its publisher says.
fn check(gathered: &Gathered) -> Result<(), Error> {
    let wrong = |found: String, expected: String| {
        Err(Malformed { file: gathered.label.clone(), at: None, column: None, found, expected }.into())
    };
    if gathered.rows.is_empty() {
        return wrong("no examples".to_owned(), "at least one".to_owned());
    }
    if gathered.rows.len() > u32::MAX as usize {
        return wrong(format!("{} examples", gathered.rows.len()), format!("at most {}", u32::MAX));
    }
    if gathered.classes.len() < 2 {
        let found = format!("one class, {}", crate::suggest::listed(gathered.classes.iter().map(String::as_str)));
        return wrong(found, "at least two to tell apart".to_owned());
    }
    if gathered.classes.len() > MOST_CLASSES {
        let found = format!("{} classes", gathered.classes.len());
        return wrong(found, format!("at most {MOST_CLASSES}: are these labels?"));
    }
    match (gathered.counts, count_parts(gathered.rows.iter().map(|row| row.part))) {
        (Some(published), Some(counts)) if published != counts => {
            let of = |counts: PartCounts| {
                format!("{} train, {} validation and {} test rows", counts.train, counts.validation, counts.test)
            };
            let expected = format!("the {} of {}: a file is cut off or has been changed", of(published), gathered.title);
            wrong(of(counts), expected)
        }
        _ => Ok(()),
    }
}

/// The most classes.
const MOST_CLASSES: usize = 100_000;

/// How many rows a shard has: a power of two, so that it does not look as if it meant anything.
pub(super) fn shard_rows(content: Content) -> usize {
    match content {
        Content::Texts => TEXTS,
        Content::Images(shape) => 1 << (SHARD / shape.bytes()).max(1).ilog2(),
    }
}

/// Writes the rows at these places.
fn write(path: &Path, gathered: &Gathered, places: &[u32], progress: &mut dyn Progress) -> Result<(), Error> {
    let part = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let content = match gathered.content {
        Content::Texts => DataType::Utf8,
        Content::Images(_) => DataType::Binary,
    };
    let schema = Schema::new(vec![
        Field::new("row", DataType::UInt32, false),
        Field::new("id", DataType::Utf8, false),
        Field::new("part", part, true),
        Field::new("label", DataType::UInt32, false),
        Field::new(gathered.content.column(), content, false),
    ]);
    let packing = [Packing::Differences, Packing::Plain, Packing::Dictionary, Packing::Dictionary, Packing::Plain];
    let rows = shard_rows(gathered.content);
    // A page ends after a step of the library, so that a step must not be large.
    let step = (rows / 16).clamp(1, 1024);
    let mut table = TableWriter::grouped(path, Arc::new(schema), &packing, Grouping { rows, step })?;
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(Part::ALL.map(Part::name)));
    let what = format!("writing {}", gathered.name);
    let total = places.len() as u64;
    let mut done = 0;
    // As many shards at a time as there are cores.
    for round in places.chunks(rows * rayon::current_num_threads()) {
        let shards: Vec<(usize, &[u32])> =
            round.chunks(rows).enumerate().map(|(number, shard)| (done + number * rows, shard)).collect();
        let columns = |(first, shard): (usize, &[u32])| -> Result<Vec<ArrayRef>, Error> {
            let of = || shard.iter().map(|&place| &gathered.rows[place as usize]);
            let keys: Int8Array = of().map(|row| row.part.map(|part| part as i8)).collect();
            let parts = DictionaryArray::<Int8Type>::try_new(keys, Arc::clone(&names)).map_err(Error::parquet(path))?;
            Ok(vec![
                Arc::new(UInt32Array::from_iter_values(first as u32..(first + shard.len()) as u32)),
                Arc::new(of().map(|Row { id, .. }| Some(id)).collect::<StringArray>()),
                Arc::new(parts) as ArrayRef,
                Arc::new(UInt32Array::from_iter_values(of().map(|row| row.label))),
                gathered.held.column(shard)?,
            ])
        };
        table.write(shards.into_par_iter().map(columns).collect::<Result<_, _>>()?)?;
        done += round.len();
        if progress.advance(&what, done as u64, Some(total)).is_break() {
            return Err(Error::Cancelled);
        }
    }
    table.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Shape;

    #[test]
    fn a_shard_has_some_megabytes() {
        let rows = |side| shard_rows(Content::Images(Shape { channels: 3, height: side, width: side }));
        assert_eq!((rows(32), rows(224), rows(1024), rows(1)), (4096, 64, 4, 4_194_304));
    }

    #[test]
    fn rows_have_parts_all_or_none() {
        let counts = count_parts([Some(Part::Train), Some(Part::Test), Some(Part::Train)].into_iter());
        assert_eq!(counts, Some(PartCounts { train: 2, validation: 0, test: 1 }));
        assert_eq!(count_parts([None, None].into_iter()), None);
    }
}
