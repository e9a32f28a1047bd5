//! The text formats: which separator, which header, which column means what.
//!
//! It opens a text far enough to know its columns; the rows are `table`'s.

use std::io::Read;

use crate::cards::Scale;
use crate::error::{Error, Malformed, Place};
use crate::suggest;

use super::blocks::Blocks;
use super::table::{Column, Role, Separator, Table};

/// The names of the columns that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnNames {
    /// Who rates.
    pub user: String,
    /// What is rated.
    pub item: String,
    /// The rating.
    pub rating: String,
    /// The time in seconds since 1970, where there is one.
    pub timestamp: Option<String>,
}

impl ColumnNames {
    fn new(user: &str, item: &str, rating: &str, timestamp: Option<&str>) -> Self {
        Self { user: user.to_owned(), item: item.to_owned(), rating: rating.to_owned(), timestamp: timestamp.map(str::to_owned) }
    }

    /// The columns of MovieLens' `ratings.csv`.
    pub fn movielens() -> Self {
        Self::new("userId", "movieId", "rating", Some("timestamp"))
    }

    /// The columns of most RecBole `.inter` files.
    pub fn recbole() -> Self {
        Self::new("user_id", "item_id", "rating", Some("timestamp"))
    }

    /// The names with what each means.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (&str, Role)> {
        [(self.user.as_str(), Role::User), (&self.item, Role::Item), (&self.rating, Role::Rating)]
            .into_iter()
            .chain(self.timestamp.as_deref().map(|name| (name, Role::Timestamp)))
    }
}

impl Default for ColumnNames {
    /// `user`, `item`, `rating`, and no times.
    fn default() -> Self {
        Self::new("user", "item", "rating", None)
    }
}

/// How a text of ratings is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// user, item, rating and time, no header.
    Bare(Separator),
    /// A header with names.
    Named { separator: Separator, names: ColumnNames },
    /// A header with names and types, tabs between: RecBole's atomic files.
    Atomic(ColumnNames),
}

impl TextFormat {
    fn separator(&self) -> Separator {
        match self {
            Self::Bare(separator) | Self::Named { separator, .. } => *separator,
            Self::Atomic(_) => Separator::Byte { byte: b'\t', quotes: false },
        }
    }
}

/// A text whose header has been read.
pub(crate) struct Opened<R> {
    pub table: Table,
    pub blocks: Blocks<R>,
    /// The first block without its header, until it is taken.
    pub first: Option<Vec<u8>>,
    /// Lines read so far: the header.
    pub lines: u64,
}

/// Reads the header of a text called `file`.
pub(crate) fn open<R: Read>(input: R, file: &str, format: &TextFormat, scale: Option<Scale>) -> Result<Opened<R>, Error> {
    let separator = format.separator();
    let mut blocks = Blocks::new(input, matches!(separator, Separator::Byte { quotes: true, .. }));
    let mut block = blocks.next(Vec::new()).map_err(|e| read_error(file, e))?.unwrap_or_default();
    if block.starts_with(b"\xef\xbb\xbf") {
        block.drain(..3);
    }
    let missing_header = block.is_empty() && !matches!(format, TextFormat::Bare(_));
    if missing_header {
        return Err(malformed(file, None, "an empty file", "a header and ratings"));
    }
    let (columns, lines) = match format {
        TextFormat::Bare(_) => {
            let names = ["user", "item", "rating", "timestamp"];
            let roles = [Role::User, Role::Item, Role::Rating, Role::Timestamp];
            (names.into_iter().zip(roles).map(|(name, role)| Column { name: name.to_owned(), role: Some(role) }).collect(), 0)
        }
        TextFormat::Named { names, .. } => {
            let (header, end) = Table::header(separator, &block);
            block.drain(..end);
            (columns(file, header, names)?, 1)
        }
        TextFormat::Atomic(names) => {
            let (header, end) = Table::header(separator, &block);
            block.drain(..end);
            (atomic_columns(file, &header, names)?, 1)
        }
    };
    Ok(Opened { table: Table { separator, columns, scale }, blocks, first: Some(block), lines })
}

/// An input error on a text that has no path of its own to name.
pub(crate) fn read_error(file: &str, error: std::io::Error) -> Error {
    Error::Io { path: file.into(), doing: "read the file", source: error }
}

fn malformed(file: &str, at: Option<Place>, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Malformed { file: file.to_owned(), at, column: None, found: found.into(), expected: expected.into() }.into()
}

/// Gives each column of a header its role; every role must be found exactly once.
fn columns(file: &str, header: Vec<String>, names: &ColumnNames) -> Result<Vec<Column>, Error> {
    let mut columns: Vec<Column> = header.into_iter().map(|name| Column { name, role: None }).collect();
    for (name, role) in names.roles() {
        let places: Vec<usize> = columns.iter().enumerate().filter(|(_, column)| column.name == name).map(|(at, _)| at).collect();
        match places[..] {
            [at] if columns[at].role.is_none() => columns[at].role = Some(role),
            [_] => {
                return Err(malformed(
                    file,
                    Some(Place::Line(1)),
                    format!("the column `{name}` named twice"),
                    "a column for each use",
                ));
            }
            [] => {
                let known = || columns.iter().map(|column| column.name.as_str());
                let found = format!("the columns {}", suggest::listed(known()));
                let expected = format!("a column `{name}`{}", suggest::did_you_mean(name, known()));
                return Err(malformed(file, Some(Place::Line(1)), found, expected));
            }
            _ => {
                let found = format!("{} columns `{name}`", places.len());
                return Err(malformed(file, Some(Place::Line(1)), found, "one"));
            }
        }
    }
    Ok(columns)
}

/// As [`columns`], and the types must be those of ids and numbers.
fn atomic_columns(file: &str, header: &[String], names: &ColumnNames) -> Result<Vec<Column>, Error> {
    let mut bare = Vec::with_capacity(header.len());
    for field in header {
        let Some((name, kind)) = field.split_once(':') else {
            let expected = "name:type in each column of an atomic file's header, as in `user_id:token`";
            return Err(malformed(file, Some(Place::Line(1)), format!("the column `{field}`"), expected));
        };
        let number = names.rating == name || names.timestamp.as_deref() == Some(name);
        let id = names.user == name || names.item == name;
        if (number && kind != "float") || (id && kind != "token") {
            let expected = format!("`{name}:{}`", if number { "float" } else { "token" });
            return Err(malformed(file, Some(Place::Line(1)), format!("the column `{field}`"), expected));
        }
        bare.push(name.to_owned());
    }
    columns(file, bare, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &str, format: &TextFormat) -> Result<Vec<Option<Role>>, String> {
        let opened = open(text.as_bytes(), "f", format, None).map_err(|e| e.to_string())?;
        Ok(opened.table.columns.iter().map(|column| column.role).collect())
    }

    fn named(names: ColumnNames) -> TextFormat {
        TextFormat::Named { separator: Separator::Byte { byte: b',', quotes: true }, names }
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let format = named(ColumnNames::movielens());
        let expected = vec![Some(Role::Rating), None, Some(Role::Item), Some(Role::Timestamp), Some(Role::User)];
        assert_eq!(roles("\u{feff}rating,x,movieId,timestamp,userId\r\n1,2,3,4,5\n", &format), Ok(expected));
    }

    #[test]
    fn a_missing_or_ambiguous_column_is_named() {
        let error = |text: &str, names: ColumnNames| roles(text, &named(names)).err().unwrap_or_default();
        assert_eq!(
            error("user,itme,rating\n", ColumnNames::default()),
            "f:1: found the columns `user`, `itme`, `rating`, expected a column `item` (did you mean `itme`?)"
        );
        assert_eq!(error("user,item,rating,user\n", ColumnNames::default()), "f:1: found 2 columns `user`, expected one");
        let twice = ColumnNames { item: "user".to_owned(), ..ColumnNames::default() };
        assert_eq!(
            error("user,item,rating\n", twice),
            "f:1: found the column `user` named twice, expected a column for each use"
        );
        assert_eq!(error("", ColumnNames::default()), "f: found an empty file, expected a header and ratings");
    }

    #[test]
    fn atomic_headers_are_typed() {
        let format = TextFormat::Atomic(ColumnNames::recbole());
        let header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tnote:token_seq\n";
        let expected = vec![Some(Role::User), Some(Role::Item), Some(Role::Rating), Some(Role::Timestamp), None];
        assert_eq!(roles(header, &format), Ok(expected));
        let error = roles(&header.replace("rating:float", "rating:token"), &format).err().unwrap_or_default();
        assert_eq!(error, "f:1: found the column `rating:token`, expected `rating:float`");
        let error = roles(&header.replace("rating:float", "rating"), &format).err().unwrap_or_default();
        assert!(error.contains("expected name:type"), "{error}");
    }
}
