//! Looks through a Parquet file before it is decoded: what its headers claim must be possible, and small enough.
//!
//! The library believes a header: a page of a few bytes that claims two billion values, or to unfold to two gigabytes, gets the
//! memory for them, and a process that gets none is ended. So all page headers of the columns that will be read are read here first, with
//! the few fields of their encoding (Thrift's compact protocol) that say how much is to come. It knows the format's envelope and not what
//! is in a table.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use crate::error::Error;

/// The most that a page may unfold to. Writers end pages at a megabyte, a few only at a hundred.
const LARGEST_PAGE: u64 = 128 << 20;
/// The most values that a column of lists may have in a row group of a file of the user's; any other column has one a row.
pub(crate) const MOST_LISTED: u64 = 1 << 24;
/// The same in a file of our own, where states of a teacher are lists.
const MOST_STATES: u64 = 1 << 32;
/// Rows that are decoded at once of a file that is read whole.
const BATCH: usize = 1 << 13;
/// The longest value of a fixed length; those with a meaning, such as decimals, have 16 bytes at most.
const LONGEST_FIXED: i32 = 64;
/// What the values of one column may take that are decoded at once.
const BATCH_BYTES: usize = 16 << 20;
/// The longest header of a page: it may quote the page's least and greatest value.
const LONGEST_HEADER: usize = 16 << 20;
/// The metadata at the file's end: a kilobyte for each column of each row group is plenty.
const LARGEST_METADATA: u64 = 64 << 20;

/// Reads the metadata of a file.
pub(crate) fn metadata(path: &Path, file: &File) -> Result<ArrowReaderMetadata, Error> {
    let size = file.metadata().map_err(Error::io(path, "read the file's size"))?.len();
    let mut footer = [0; 8];
    if let Some(at) = size.checked_sub(footer.len() as u64) {
        file.read_exact_at(&mut footer, at).map_err(Error::io(path, "read the file"))?;
    }
    let claimed = u64::from(u32::from_le_bytes([footer[0], footer[1], footer[2], footer[3]]));
    if claimed > LARGEST_METADATA {
        return Err(unsound(path, format!("its description takes {claimed} bytes; at most {LARGEST_METADATA} are read")));
    }
    let start = size.checked_sub(footer.len() as u64 + claimed).filter(|_| footer.ends_with(b"PAR1"));
    if let Some(start) = start {
        let mut description = vec![0; claimed as usize];
        file.read_exact_at(&mut description, start).map_err(Error::io(path, "read the file"))?;
        // The library passes over what it does not know, element by element, and there may be billions that take no byte.
        let mut thrift = Compact { bytes: &description, at: 0 };
        if thrift.skip(STRUCT, DEEPEST_DESCRIPTION).is_none() {
            return Err(unsound(path, "its description ends too early, or makes no sense".to_owned()));
        }
    }
    let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::default()).map_err(Error::parquet(path))?;
    let rows = metadata.metadata().row_groups().iter().try_fold(0_u32, |sum, group| {
        let rows = u32::try_from(group.num_rows()).ok();
        rows.and_then(|rows| sum.checked_add(rows))
    });
    match rows {
        Some(_) => Ok(metadata),
        None => Err(unsound(path, format!("its number of rows is negative, or more than {}", u32::MAX))),
    }
}

/// Reads a whole file of our own: its schema, and its rows in batches.
///
/// # Errors
/// [`Error::Io`], [`Error::Parquet`], and [`Error::Unsound`] where it claims what cannot be.
pub fn read_whole(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    guarded(path, || {
        let file = File::open(path).map_err(Error::io(path, "open the file"))?;
        let metadata = metadata(path, &file)?;
        let rows = check(path, &file, metadata.metadata(), |_| true, MOST_STATES, BATCH)?;
        let schema = Arc::clone(metadata.schema());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_batch_size(rows).build();
        let batches = reader.map_err(Error::parquet(path))?.collect::<Result<_, _>>();
        Ok((schema, batches.map_err(Error::parquet::<ArrowError>(path))?))
    })
}

/// Looks through the wanted columns (by the number of their leaf) of all row groups, of which a column of lists may have `listed`
/// values. Says how many rows may be decoded at once, of the `most` that the caller would.
pub(crate) fn check(
    path: &Path,
    file: &File,
    metadata: &ParquetMetaData,
    wanted: impl Fn(usize) -> bool,
    listed: u64,
    most: usize,
) -> Result<usize, Error> {
    let size = file.metadata().map_err(Error::io(path, "read the file's size"))?.len();
    let mut longest = 1;
    for group in metadata.row_groups() {
        for (_, column) in group.columns().iter().enumerate().filter(|(leaf, _)| wanted(*leaf)) {
            let chunk = Chunk { path, file, group, column, listed };
            longest = longest.max(chunk.check(size)?);
        }
    }
    Ok((BATCH_BYTES / longest).clamp(1, most))
}

/// Runs what decodes a file. A fault of the library that a damaged file sets off ends there, as an error about the file: what it asserts
/// about its input cannot all be foreseen here.
pub fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    caught(decode).unwrap_or_else(|problem| Err(unsound(path, problem)))
}

/// Runs what decodes a file, and says what a library asserted where it fell over it.
pub(crate) fn caught<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it cannot be decoded").to_owned()
    })
}

/// The error of a file that claims what cannot be.
fn unsound(path: &Path, problem: String) -> Error {
    Error::Unsound { path: path.to_owned(), problem }
}

/// A column of a row group.
struct Chunk<'f> {
    path: &'f Path,
    file: &'f File,
    group: &'f RowGroupMetaData,
    column: &'f ColumnChunkMetaData,
    /// The most values that a column of lists may have.
    listed: u64,
}

impl Chunk<'_> {
    /// Looks through its pages; the length of its longest value that a few bytes can name again and again.
    fn check(&self, size: u64) -> Result<usize, Error> {
        let start = self.column.dictionary_page_offset().unwrap_or_else(|| self.column.data_page_offset());
        let range = u64::try_from(start).ok().zip(u64::try_from(self.column.compressed_size()).ok());
        let end = range.and_then(|(start, length)| start.checked_add(length)).filter(|&end| end <= size);
        let (Some((start, _)), Some(end)) = (range, end) else {
            return Err(self.unsound("it lies outside of the file"));
        };
        let about = self.column.column_descr();
        let width = match about.physical_type() {
            Type::BOOLEAN => 1,
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY if (1..=LONGEST_FIXED).contains(&about.type_length()) => about.type_length() as u64,
            Type::FIXED_LEN_BYTE_ARRAY => {
                return Err(self.unsound(format!("its values have {} bytes; 1 to {LONGEST_FIXED} are read", about.type_length())));
            }
        };
        let strings = about.physical_type() == Type::BYTE_ARRAY;
        let (mut at, mut values, mut dictionary, mut lengths) = (start, 0_u64, false, false);
        while at < end {
            let header = self.header(at, end)?;
            if header.unfolded > LARGEST_PAGE {
                let claim = format!("a page at byte {at} unfolds to {} bytes; at most {LARGEST_PAGE} are read", header.unfolded);
                return Err(self.unsound(claim));
            }
            match header.kind {
                Kind::Dictionary if header.values.saturating_mul(width) > header.unfolded => {
                    return Err(self.unsound(format!(
                        "a dictionary at byte {at} claims {} values in {} bytes",
                        header.values, header.unfolded
                    )));
                }
                Kind::Dictionary => dictionary = true,
                Kind::Data => values = values.saturating_add(header.values),
                Kind::Other => {}
            }
            match header.encoding {
                Some(DELTA_BYTE_ARRAY) => {
                    return Err(self.unsound(
                        "its encoding is DELTA_BYTE_ARRAY, which talkflow does not read (write it plain or with a dictionary)",
                    ));
                }
                Some(DELTA_LENGTH_BYTE_ARRAY) => lengths = true,
                _ => {}
            }
            at = at.saturating_add(header.length).saturating_add(header.folded);
        }
        if at != end {
            return Err(self.unsound("its last page ends elsewhere than the column"));
        }
        let rows = u64::try_from(self.group.num_rows()).unwrap_or(0);
        let most = if about.max_rep_level() > 0 { self.listed } else { rows };
        if values > most {
            return Err(self.unsound(format!("its pages claim {values} values for {rows} rows; at most {most} are read")));
        }
        match strings && (dictionary || lengths) {
            true => self.longest(lengths),
            false => Ok(1),
        }
    }

    /// The longest value of the dictionary. Where pages have `lengths` in front, these must be as many as the page has values.
    fn longest(&self, lengths: bool) -> Result<usize, Error> {
        let failed = |error| Error::parquet::<ParquetError>(self.path)(error);
        let rows = usize::try_from(self.group.num_rows()).unwrap_or(0);
        let file = self.file.try_clone().map_err(Error::io(self.path, "read the file"))?;
        let mut pages = SerializedPageReader::new(Arc::new(file), self.column, rows, None).map_err(failed)?;
        let mut longest = 1;
        while let Some(page) = pages.get_next_page().map_err(failed)? {
            match &page {
                Page::DictionaryPage { buf, .. } => longest = longest.max(longest_plain(buf)),
                Page::DataPage { buf, num_values, encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY, .. } => {
                    // The levels come first, each kind with its length before it.
                    let about = self.column.column_descr();
                    let levels = usize::from(about.max_rep_level() > 0) + usize::from(about.max_def_level() > 0);
                    let body = (0..levels).try_fold(&buf[..], |body, _| {
                        let (length, rest) = body.split_first_chunk()?;
                        rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
                    });
                    self.check_lengths(body, *num_values)?;
                }
                Page::DataPageV2 {
                    buf,
                    num_values,
                    encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    ..
                } => {
                    let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                    self.check_lengths(usize::try_from(levels).ok().and_then(|levels| buf.get(levels..)), *num_values)?;
                }
                _ => {}
            }
            if !lengths {
                break;
            }
        }
        Ok(longest)
    }

    /// Lengths are written as differences: the size of a block of them, its parts, and how many lengths there are.
    fn check_lengths(&self, body: Option<&[u8]>, values: u32) -> Result<(), Error> {
        let mut thrift = Compact { bytes: body.unwrap_or_default(), at: 0 };
        match (thrift.varint(), thrift.varint(), thrift.varint()) {
            (Some(block), Some(_), Some(count)) if block <= 1 << 16 && count <= u64::from(values) => Ok(()),
            _ => Err(self.unsound(format!("a page of {values} values has other lengths in front of it"))),
        }
    }

    /// The header of the page at `at`.
    fn header(&self, at: u64, end: u64) -> Result<Header, Error> {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX).min(LONGEST_HEADER);
        let mut bytes = vec![0; left.min(1 << 8)];
        loop {
            self.file.read_exact_at(&mut bytes, at).map_err(Error::io(self.path, "read the file"))?;
            match Header::read(&bytes) {
                Some(header) => return Ok(header),
                None if bytes.len() < left => bytes.resize(bytes.len().saturating_mul(16).min(left), 0),
                None => return Err(self.unsound(format!("the header of a page at byte {at} cannot be read"))),
            }
        }
    }

    fn unsound(&self, problem: impl std::fmt::Display) -> Error {
        unsound(self.path, format!("column `{}`: {problem}", self.column.column_path().string()))
    }
}

/// The length of the longest of values that each have their length before them.
fn longest_plain(mut values: &[u8]) -> usize {
    let mut longest = 0;
    while let Some((length, rest)) = values.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some(rest) = rest.get(length..) else { break };
        (longest, values) = (longest.max(length), rest);
    }
    longest
}

/// What a page is.
enum Kind {
    Data,
    Dictionary,
    Other,
}

/// What the header of a page claims.
struct Header {
    kind: Kind,
    /// Bytes of the page, and of what it unfolds to.
    folded: u64,
    unfolded: u64,
    values: u64,
    encoding: Option<i64>,
    /// Bytes of the header itself.
    length: u64,
}

/// Encodings by their number in the format.
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;

impl Header {
    /// `None` where the bytes end too early, or make no sense.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut thrift = Compact { bytes, at: 0 };
        let mut header = Self { kind: Kind::Other, folded: 0, unfolded: 0, values: 0, encoding: None, length: 0 };
        thrift.fields(|thrift, field, kind| {
            match (field, kind) {
                (2, I32) => header.unfolded = u64::try_from(thrift.zigzag()?).ok()?,
                (3, I32) => header.folded = u64::try_from(thrift.zigzag()?).ok()?,
                (5 | 7 | 8, STRUCT) => {
                    header.kind = if field == 7 { Kind::Dictionary } else { Kind::Data };
                    let encoding = if field == 8 { 4 } else { 2 };
                    thrift.fields(|thrift, inner, kind| {
                        match (inner, kind) {
                            (1, I32) => header.values = u64::try_from(thrift.zigzag()?).ok()?,
                            (inner, I32) if inner == encoding => header.encoding = Some(thrift.zigzag()?),
                            _ => thrift.skip(kind, DEEPEST)?,
                        }
                        Some(())
                    })?;
                }
                _ => thrift.skip(kind, DEEPEST)?,
            }
            Some(())
        })?;
        header.length = thrift.at as u64;
        Some(header)
    }
}

/// Deeper than any header goes.
const DEEPEST: usize = 8;
/// Deeper than the description of any file goes.
const DEEPEST_DESCRIPTION: usize = 32;

/// Types of Thrift's compact protocol.
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

/// Bytes in Thrift's compact protocol, as far as Parquet uses it. `None`: they end too early, or make no sense.
struct Compact<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Hands the number and type of each field of a structure to `take`, which must take its value.
    fn fields(&mut self, mut take: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut field = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => self.zigzag()?,
                more => field.checked_add(i64::from(more))?,
            };
            take(self, field, head & 0x0f)?;
        }
    }

    fn skip(&mut self, kind: u8, deep: usize) -> Option<()> {
        let deep = deep.checked_sub(1)?;
        match kind {
            // Truth is in the type itself.
            1 | 2 => {}
            BYTE => self.pass(1)?,
            I16 | I32 | I64 => self.varint().map(|_| ())?,
            DOUBLE => self.pass(8)?,
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.pass(length)?;
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..count {
                    // In a list truth has a byte of its own, so that every element takes some.
                    match head & 0x0f {
                        1 | 2 => self.pass(1)?,
                        kind => self.skip(kind, deep)?,
                    }
                }
            }
            STRUCT => self.fields(|thrift, _, kind| thrift.skip(kind, deep))?,
            _ => return None,
        }
        Some(())
    }

    fn pass(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|&at| at <= self.bytes.len())?;
        Some(())
    }
}
