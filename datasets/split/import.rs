//! Splits that the user brings: files of ratings, one a part, or a table of rows and parts.
//!
//! Every row of the data set must be in exactly one part, and every imported row must be one of the data set: what does not fit is an
//! error with its place, never left out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{Error, Malformed, Place, shown};
use crate::input::Input;
use crate::ratings::Ratings;
use crate::readers::rows::{Ids, Rows};
use crate::readers::table::Separator;
use crate::readers::text::{self, ColumnNames, Opened, TextFormat};

use super::{Part, make};

/// Files of ratings, one a part.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedFiles {
    /// The train rows.
    pub train: PathBuf,
    /// The validation rows; where `None`, they are drawn from the train rows.
    pub validation: Option<PathBuf>,
    /// The test rows.
    pub test: PathBuf,
    /// The share of the train file that validates where there is no file for it; 0 for none.
    pub validation_fraction: f64,
    /// The names of the columns. `None`: the files have no header, and user, item, rating and time in this order.
    pub columns: Option<ColumnNames>,
}

impl ImportedFiles {
    /// The files that are read, for whoever hashes them.
    pub fn paths(&self) -> Vec<&Path> {
        self.parts().map(|(_, path)| path).collect()
    }

    fn parts(&self) -> impl Iterator<Item = (Part, &Path)> {
        [(Part::Train, Some(&self.train)), (Part::Validation, self.validation.as_ref()), (Part::Test, Some(&self.test))]
            .into_iter()
            .filter_map(|(part, path)| path.map(|path| (part, path.as_path())))
    }
}

/// Finds the row of each imported rating.
pub(super) fn files(ratings: &Ratings, files: &ImportedFiles, seed: u64) -> Result<Vec<Part>, Error> {
    let index = Index::new(ratings)?;
    let mut parts: Vec<Option<Part>> = vec![None; ratings.len()];
    for (part, path) in files.parts() {
        let input = Input::File(path.to_owned());
        let label = input.label();
        let format = format(&input, files.columns.as_ref())?;
        input.with(|reader, _| {
            let Opened { table, mut blocks, mut first, mut lines } = text::open(reader, &label, &format, None)?;
            loop {
                let block = match first.take() {
                    Some(block) => Some(block),
                    None => blocks.next(Vec::new()).map_err(|e| text::read_error(&label, e))?,
                };
                let Some(block) = block else { return Ok(()) };
                // A row at a time: imported files are small, and each row needs the number of its line.
                for line in block.split_inclusive(|&byte| byte == b'\n') {
                    lines += 1;
                    let wrong = |column, found, expected| {
                        Error::from(Malformed { file: label.clone(), at: Some(Place::Line(lines)), column, found, expected })
                    };
                    let rows = table.parse(line).map_err(|e| wrong(e.column, e.found, e.expected))?;
                    if rows.ratings.is_empty() {
                        continue;
                    }
                    index.assign(&rows, part, &mut parts).map_err(|(found, expected)| wrong(None, found, expected))?;
                }
            }
        })?;
    }
    let mut parts = complete(&parts, "the imported files")?;
    if files.validation.is_none() && files.validation_fraction > 0.0 {
        make::carve(&mut parts, files.validation_fraction, seed)?;
    }
    Ok(parts)
}

/// Reads a csv with the columns `row` and `part`.
pub(super) fn rows(count: usize, path: &Path) -> Result<Vec<Part>, Error> {
    let label = path.display().to_string();
    let wrong = |line: u64, column: Option<&str>, found: String, expected: String| {
        let (at, column) = (Some(Place::Line(line)), column.map(str::to_owned));
        Error::from(Malformed { file: label.clone(), at, column, found, expected })
    };
    let file = std::fs::File::open(path).map_err(Error::io(path, "open the file"))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(std::io::BufReader::new(file));
    let mut record = csv::StringRecord::new();
    let mut parts: Vec<Option<Part>> = vec![None; count];
    let mut header = true;
    while reader.read_record(&mut record).map_err(|e| wrong(reader_line(&e), None, e.to_string(), "a csv in UTF-8".to_owned()))? {
        let line = record.position().map_or(0, csv::Position::line);
        let (row, part) = (record.get(0).unwrap_or_default(), record.get(1).unwrap_or_default());
        if record.len() != 2 || (header && (row, part) != ("row", "part")) {
            return Err(wrong(
                line,
                None,
                shown(record.as_slice().as_bytes()),
                "the two columns row,part under that header".to_owned(),
            ));
        }
        if std::mem::take(&mut header) {
            continue;
        }
        let slot = row.parse::<usize>().ok().and_then(|row| parts.get_mut(row));
        let slot =
            slot.ok_or_else(|| wrong(line, Some("row"), shown(row.as_bytes()), format!("a row from 0 to {}", count - 1)))?;
        if slot.is_some() {
            return Err(wrong(line, Some("row"), format!("row {row} a second time"), "each row once".to_owned()));
        }
        let known = Part::from_name(part);
        *slot =
            Some(known.ok_or_else(|| wrong(line, Some("part"), shown(part.as_bytes()), "train, validation or test".to_owned()))?);
    }
    complete(&parts, &label)
}

fn reader_line(error: &csv::Error) -> u64 {
    error.position().map_or(0, csv::Position::line)
}

/// The part of every row, or the first row without one.
fn complete(parts: &[Option<Part>], file: &str) -> Result<Vec<Part>, Error> {
    let missing = parts.iter().filter(|part| part.is_none()).count();
    if let Some(first) = parts.iter().position(Option::is_none) {
        let found = format!("no part for {missing} of {} rows, the first of them row {first}", parts.len());
        let expected = "every row of the data set in exactly one part".to_owned();
        return Err(Malformed { file: file.to_owned(), at: None, column: None, found, expected }.into());
    }
    Ok(parts.iter().copied().flatten().collect())
}

/// How a file is written, told by its first line: the separator is the first of `::`, tab, `;` and `,` that occurs there.
fn format(input: &Input, names: Option<&ColumnNames>) -> Result<TextFormat, Error> {
    let mut start = Vec::new();
    input.with(|reader, _| {
        let read = std::io::Read::read_to_end(&mut std::io::Read::take(reader, 4096), &mut start);
        read.map_err(|e| text::read_error(&input.label(), e))
    })?;
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let separator = if line.windows(2).any(|pair| pair == b"::") {
        Separator::DoubleColon
    } else {
        let byte = [b'\t', b';', b','].into_iter().find(|byte| line.contains(byte)).unwrap_or(b',');
        Separator::Byte { byte, quotes: byte != b'\t' }
    };
    Ok(match names {
        Some(names) => TextFormat::Named { separator, names: names.clone() },
        None => TextFormat::Bare(separator),
    })
}

/// Finds rows by user and item.
struct Index<'r> {
    ratings: &'r Ratings,
    users: HashMap<String, u32>,
    items: HashMap<&'r str, u32>,
    /// User and item in one number, then the row; ascending.
    pairs: Vec<(u64, u32)>,
}

impl<'r> Index<'r> {
    fn new(ratings: &'r Ratings) -> Result<Self, Error> {
        let mut pairs: Vec<(u64, u32)> = (0..ratings.len() as u32)
            .into_par_iter()
            .map(|row| (pair(ratings.user()[row as usize], ratings.item()[row as usize]), row))
            .collect();
        pairs.par_sort_unstable();
        let users = ratings.user_ids()?.into_iter().zip(0..).collect();
        let items = ratings.items().iter().map(|item| item.id.as_str()).zip(0..).collect();
        Ok(Self { ratings, users, items, pairs })
    }

    /// Gives the row of the one rating in `rows` its part. `Err`: what was found and what was expected.
    fn assign(&self, rows: &Rows, part: Part, parts: &mut [Option<Part>]) -> Result<(), (String, String)> {
        let name = &self.ratings.summary().name;
        let (user, item) = (text_of(&rows.users), text_of(&rows.items));
        let found = |what: String| format!("user {user}, item {item}{what}");
        let missing = || (found(String::new()), format!("a rating that {name} has"));
        let user_number = *self.users.get(user.as_str()).ok_or_else(missing)?;
        let item_number = *self.items.get(item.as_str()).ok_or_else(missing)?;
        let key = pair(user_number, item_number);
        let start = self.pairs.partition_point(|&(other, _)| other < key);
        let candidates = self.pairs[start..].iter().take_while(|&&(other, _)| other == key).map(|&(_, row)| row as usize);
        let mut known = None;
        for row in candidates {
            let rating = self.ratings.rating()[row];
            known = Some((row, rating));
            if parts[row].is_none() && rows.ratings.first() == Some(&rating) {
                parts[row] = Some(part);
                return Ok(());
            }
        }
        let (row, rating) = known.ok_or_else(missing)?;
        Err(match parts[row] {
            Some(other) => (
                found(format!(" a second time (row {row}, already in {})", other.name())),
                "each rating in one part, once".to_owned(),
            ),
            None => (
                found(format!(" rated {}", rows.ratings.first().copied().unwrap_or(f32::NAN))),
                format!("{rating}, as in row {row} of {name}"),
            ),
        })
    }
}

fn pair(user: u32, item: u32) -> u64 {
    u64::from(user) << 32 | u64::from(item)
}

/// The one id of a column with one row.
fn text_of(ids: &Ids) -> String {
    match ids {
        Ids::Numbers(numbers) => numbers.iter().map(u32::to_string).collect(),
        Ids::Texts { bytes, .. } => bytes.clone(),
    }
}
