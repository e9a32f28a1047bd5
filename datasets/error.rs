//! What can go wrong between a file of ratings and the artifact made of it, each with its place and what to do.
//!
//! Errors of fetching are in [`crate::locate`] and [`crate::download`], those of cards in [`crate::cards`].

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a data set could not be prepared, loaded or split.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file's text or table is not what its format promises.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A file could not be opened, read or written.
    #[error("{path}: cannot {doing}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done to it.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// An archive is damaged or holds what it should not.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// A Parquet file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The library's answer.
        source: parquet::errors::ParquetError,
    },
    /// A Parquet file claims what cannot be, or more than can be taken.
    #[error("{path}: not a sound Parquet file: {problem}; make it again", path = .path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What it claims.
        problem: String,
    },
    /// A file of an artifact does not hold what talkflow writes there.
    #[error("{path}: not an artifact of this version of talkflow: {problem}; delete it and run again", path = .path.display())]
    NotAnArtifact {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// A genre that no item has.
    #[error("no item has the genre `{genre}`{hint}; the genres are {known}")]
    UnknownGenre {
        /// What was asked for.
        genre: String,
        /// The nearest name, as a question.
        hint: String,
        /// All genres.
        known: String,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// A place in an input file, and how what stands there differs from what should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The file, or the archive and the file inside.
    pub file: String,
    /// The line (text) or row (tables), counted from 1.
    pub at: Option<Place>,
    /// The column's name, or its role where the format has no names.
    pub column: Option<String>,
    /// What stands there.
    pub found: String,
    /// What should stand there, and where it helps what to do.
    pub expected: String,
}

/// A line of text or a row of a table, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, its header included.
    Line(u64),
    /// A row of a table.
    Row(u64),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        match self.at {
            Some(Place::Line(line)) => write!(f, ":{line}")?,
            Some(Place::Row(row)) => write!(f, ", row {row}")?,
            None => {}
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": found {}, expected {}", self.found, self.expected)
    }
}

impl std::error::Error for Malformed {}

impl Error {
    /// Attaches the file and the deed to an input or output error.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }

    /// Attaches the file to a Parquet error.
    pub(crate) fn parquet<E: Into<parquet::errors::ParquetError>>(path: &Path) -> impl Fn(E) -> Self {
        move |source| Self::Parquet { path: path.to_owned(), source: source.into() }
    }
}

/// A piece of input as a message shows it: quoted, on one line, not longer than 40 characters.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_place_reads_as_one_sentence() {
        let error = Malformed {
            file: "ratings.csv".to_owned(),
            at: Some(Place::Line(7)),
            column: Some("rating".to_owned()),
            found: shown(b"great"),
            expected: "a number".to_owned(),
        };
        assert_eq!(error.to_string(), "ratings.csv:7, column `rating`: found \"great\", expected a number");
    }

    #[test]
    fn what_is_shown_is_short_and_visible() {
        assert_eq!(shown(b""), "nothing");
        assert_eq!(shown(b"a\tb"), "\"a\\tb\"");
        assert!(shown(&[b'x'; 1000]).chars().count() < 50);
    }
}
