//! From a source of ratings to the artifact: reads, parses and writes at the same time, in order, in bounded memory.
//!
//! It knows which reader fits which source. Where files were found is `locate`'s business, what the artifact looks like `writer`'s.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::cards::{self, Format, Kind, Scale};
use crate::error::{Error, Malformed, Place};
use crate::input::Input;
use crate::locate::{Files, Found};
use crate::progress::Progress;
use crate::ratings::{Provenance, Summary};
use crate::readers::items::{self, Items, ItemsFormat};
use crate::readers::parquet;
use crate::readers::rows::Rows;
use crate::readers::table::{RowError, Separator};
use crate::readers::text::{self, ColumnNames, TextFormat};
use crate::sound;
use crate::synthetic::{Generator, Synthetic};
use crate::writer::{About, Writer};

/// Where ratings come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The files of a card.
    Card(Found),
    /// Generated ratings, of other size than those of the card `movielens/synthetic`.
    Synthetic(Synthetic),
    /// The user's own files.
    Own(OwnFiles),
}

/// The user's own files of ratings.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnFiles {
    /// What the user calls the data set.
    pub name: String,
    /// The file of ratings.
    pub ratings: PathBuf,
    /// How it is written.
    pub format: OwnFormat,
    /// The names of its columns.
    pub columns: ColumnNames,
    /// What is known about items.
    pub items: Option<OwnItems>,
    /// The ratings that can occur; read off the rows where `None`.
    pub scale: Option<Scale>,
    /// The terms of use, for the record.
    pub licence: Option<String>,
    /// What to cite, for the record.
    pub citation: Option<String>,
}

/// How a file of the user's is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnFormat {
    /// Text with a header; fields with this byte between them, in double quotes where need be.
    Csv {
        /// The byte between fields, usually a comma or a tab.
        separator: u8,
    },
    /// RecBole's atomic files: tabs, and a header with types.
    Atomic,
    /// Parquet.
    Parquet,
}

/// The user's own list of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnItems {
    /// The file.
    pub path: PathBuf,
    /// How it is written.
    pub format: OwnFormat,
    /// The column of ids.
    pub id: String,
    /// The column of titles, if any. RecBole's are found by their usual names.
    pub title: Option<String>,
    /// The column of genres, if any. RecBole's are found by their usual names.
    pub genres: Option<String>,
    /// What stands between genres; empty where an item has one at most. In Parquet, a list column needs none.
    pub between: String,
}

impl OwnFiles {
    /// The files that are read, for whoever hashes them.
    pub fn paths(&self) -> Vec<&Path> {
        let items = self.items.as_ref().map(|items| items.path.as_path());
        std::iter::once(self.ratings.as_path()).chain(items).collect()
    }
}

impl Source {
    /// The files that are read, in a fixed order, for whoever hashes them; empty where ratings are generated.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Card(found) => found.paths(),
            Self::Synthetic(_) => Vec::new(),
            Self::Own(own) => own.paths(),
        }
    }
}

/// Writes the ratings artifact into the existing folder `folder`.
///
/// The same source gives the same bytes on any machine and for any number of threads. On an error the folder holds whatever was
/// written so far, and no `dataset.json`.
///
/// # Errors
/// [`Error::Malformed`] with file, line and column where the source is not what it promises; [`Error::Cancelled`] where `progress` says so;
/// [`Error::Io`], [`Error::Archive`] and [`Error::Parquet`] where a file cannot be read or written.
pub fn prepare(source: &Source, folder: &Path, progress: &mut dyn Progress) -> Result<Summary, Error> {
    match source {
        Source::Card(found) => prepare_card(found, folder, progress),
        Source::Synthetic(spec) => generate(spec, folder, progress),
        Source::Own(own) if own.format == OwnFormat::Parquet => {
            sound::guarded(&own.ratings, || prepare_own(own, folder, progress))
        }
        Source::Own(own) => prepare_own(own, folder, progress),
    }
}

fn prepare_card(found: &Found, folder: &Path, progress: &mut dyn Progress) -> Result<Summary, Error> {
    let card = found.card;
    let cards::Rows::Ratings { scale, counts } = card.rows else {
        return Err(Error::Setting(format!("{} holds examples of classes, not ratings", card.name)));
    };
    let about = |timestamps| About {
        name: card.name.to_owned(),
        title: card.title.to_owned(),
        source: match card.kind {
            Kind::Archive(_) | Kind::Parts(_) => Provenance::Real,
            Kind::Synthetic => Provenance::Synthetic,
        },
        licence: card.licence.to_owned(),
        citation: card.citation.to_owned(),
        scale: Some(scale),
        timestamps,
        ratings: Some(counts.ratings),
    };
    match &found.files {
        Files::Generated => generate(&Synthetic::default(), folder, progress),
        Files::Parts(_) => Err(Error::Setting(format!("{} is found as files of examples, not of ratings", card.name))),
        Files::Official { format, ratings, items } => {
            let (ratings_format, items_format) = official(*format);
            let details = items::read(items, &items_format)?;
            prepare_text(ratings, &ratings_format, about(true), details, folder, progress)
        }
        Files::Atomic { ratings, items } => {
            let format = TextFormat::Atomic(ColumnNames::recbole());
            let details = match items {
                Some(path) => items::read(&Input::File(path.clone()), &ItemsFormat::Atomic { id: ColumnNames::recbole().item })?,
                None => Items::new(),
            };
            prepare_text(&Input::File(ratings.clone()), &format, about(true), details, folder, progress)
        }
    }
}

/// How the files of a MovieLens release are written.
fn official(format: Format) -> (TextFormat, ItemsFormat) {
    match format {
        Format::Tab => (TextFormat::Bare(Separator::Byte { byte: b'\t', quotes: false }), ItemsFormat::Flags),
        Format::DoubleColon => (TextFormat::Bare(Separator::DoubleColon), ItemsFormat::DoubleColon),
        Format::Csv => {
            let separator = Separator::Byte { byte: b',', quotes: true };
            let items = ItemsFormat::Table {
                separator: b',',
                id: "movieId".to_owned(),
                title: Some("title".to_owned()),
                genres: Some("genres".to_owned()),
                between: "|".to_owned(),
            };
            (TextFormat::Named { separator, names: ColumnNames::movielens() }, items)
        }
    }
}

/// Whether the byte can stand between fields of a text with quotes and lines.
fn check_separator(separator: u8) -> Result<(), Error> {
    if matches!(separator, b'"' | b'\n' | b'\r' | b'.' | b'0'..=b'9') || !separator.is_ascii() {
        let shown = char::from(separator).escape_default();
        return Err(Error::Setting(format!(
            "`{shown}` cannot stand between the fields of a csv: take a comma, a semicolon, a tab or another ASCII character"
        )));
    }
    Ok(())
}

fn prepare_own(own: &OwnFiles, folder: &Path, progress: &mut dyn Progress) -> Result<Summary, Error> {
    if let Some(Scale { min, max, step }) = own.scale {
        Scale::new(min, max, step)?;
    }
    let mut names: Vec<&str> = own.columns.roles().map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Setting(format!("{}: the column `{}` is named for two uses", own.name, twice[0])));
    }
    let details = match &own.items {
        Some(items) => read_own_items(items)?,
        None => Items::new(),
    };
    let about = About {
        name: own.name.clone(),
        title: own.name.clone(),
        source: Provenance::Real,
        licence: own.licence.clone().unwrap_or_else(|| "not stated".to_owned()),
        citation: own.citation.clone().unwrap_or_else(|| "not stated".to_owned()),
        scale: own.scale,
        timestamps: own.columns.timestamp.is_some(),
        ratings: None,
    };
    let input = Input::File(own.ratings.clone());
    match own.format {
        OwnFormat::Csv { separator } => {
            check_separator(separator)?;
            let separator = Separator::Byte { byte: separator, quotes: true };
            let format = TextFormat::Named { separator, names: own.columns.clone() };
            prepare_text(&input, &format, about, details, folder, progress)
        }
        OwnFormat::Atomic => prepare_text(&input, &TextFormat::Atomic(own.columns.clone()), about, details, folder, progress),
        OwnFormat::Parquet => {
            let (table, batches) = parquet::open(&own.ratings, &own.columns, own.scale)?;
            let mut writer = Writer::create(folder, about)?;
            let total = batches.rows();
            let mut batches = batches;
            let next = || batches.next();
            let place = Counted { file: input.label(), kind: Place::Row, before: 0 };
            let parse = |batch, rows: &mut Rows| table.parse(&batch).map(|parsed| *rows = parsed);
            ingest(next, parse, &mut writer, place, Watch { progress, total: Some(total) })?;
            writer.finish(&input.label(), details)
        }
    }
}

fn read_own_items(own: &OwnItems) -> Result<Items, Error> {
    let input = Input::File(own.path.clone());
    match own.format {
        OwnFormat::Csv { separator } => {
            check_separator(separator)?;
            let format = ItemsFormat::Table {
                separator,
                id: own.id.clone(),
                title: own.title.clone(),
                genres: own.genres.clone(),
                between: own.between.clone(),
            };
            items::read(&input, &format)
        }
        OwnFormat::Atomic => items::read(&input, &ItemsFormat::Atomic { id: own.id.clone() }),
        OwnFormat::Parquet => sound::guarded(&own.path, || {
            parquet::read_items(&own.path, &own.id, own.title.as_deref(), own.genres.as_deref(), &own.between)
        }),
    }
}

fn prepare_text(
    input: &Input,
    format: &TextFormat,
    about: About,
    details: Items,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Summary, Error> {
    let file = input.label();
    let mut writer = Writer::create(folder, about)?;
    input.with(|reader, size| {
        let mut opened = text::open(reader, &file, format, writer.scale())?;
        let mut first = opened.first.take();
        let spare = Spare::default();
        let next = || match first.take() {
            Some(block) => Ok(Some((block.len() as u64, block))),
            None => {
                let block = opened.blocks.next(spare.take()).map_err(|e| text::read_error(&file, e))?;
                Ok(block.map(|block| (block.len() as u64, block)))
            }
        };
        let parse = |block: Vec<u8>, rows: &mut Rows| {
            let parsed = opened.table.parse_into(&block, rows);
            spare.give(block);
            parsed
        };
        let place = Counted { file: file.clone(), kind: Place::Line, before: opened.lines };
        ingest(next, parse, &mut writer, place, Watch { progress, total: Some(size) })
    })?;
    writer.finish(&file, details)
}

fn generate(spec: &Synthetic, folder: &Path, progress: &mut dyn Progress) -> Result<Summary, Error> {
    let generator = Generator::new(spec)?;
    let about = About {
        name: "movielens/synthetic".to_owned(),
        title: "synthetic ratings in the likeness of MovieLens".to_owned(),
        source: Provenance::Synthetic,
        licence: "made by talkflow; free of any terms".to_owned(),
        citation: "none needed: no person gave these ratings".to_owned(),
        scale: Some(spec.scale()),
        timestamps: true,
        ratings: Some(spec.ratings),
    };
    let mut writer = Writer::create(folder, about)?;
    let mut batches = generator.batches();
    let next = || Ok(batches.next());
    let place = Counted { file: "the synthetic generator".to_owned(), kind: Place::Row, before: 0 };
    let total = Some(spec.ratings);
    let parse = |users, rows: &mut Rows| {
        *rows = generator.rows(users);
        Ok(())
    };
    ingest(next, parse, &mut writer, place, Watch { progress, total })?;
    writer.finish("the synthetic generator", generator.details())
}

/// Turns a place within a block into a place within a file.
struct Counted {
    file: String,
    kind: fn(u64) -> Place,
    /// Lines or rows before the next block.
    before: u64,
}

/// Who is told how far it is, and how far it will be.
struct Watch<'p> {
    progress: &'p mut dyn Progress,
    total: Option<u64>,
}

/// Memory that is used again instead of being given back to the system, which would have to clear it each time.
struct Spare<T>(Mutex<Vec<T>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Spare<T> {
    fn take(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, value: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
}

/// Reads blocks with `next` (each with its share of the total), turns each into rows with `parse`, which gets them empty, and has `writer` take them in order.
///
/// Three rounds are under way at once: one is read while the one before is parsed and the one before that written. What comes
/// out does not depend on how many blocks make a round, nor on the number of threads.
fn ingest<B: Send>(
    mut next: impl FnMut() -> Result<Option<(u64, B)>, Error> + Send,
    parse: impl Fn(B, &mut Rows) -> Result<(), RowError> + Sync,
    writer: &mut Writer,
    mut place: Counted,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let round = rayon::current_num_threads() * 2;
    let mut read: Vec<B> = Vec::new();
    let mut parsed: Vec<Result<Rows, RowError>> = Vec::new();
    let (mut done, mut ended, mut failure) = (0, false, None);
    let what = format!("reading {}", place.file);
    let spare = Spare::<Rows>::default();
    let parse = |block| {
        let mut rows = spare.take();
        parse(block, &mut rows).map(|()| rows)
    };
    loop {
        let fill = || {
            let (mut blocks, mut size) = (Vec::with_capacity(round), 0);
            while !ended && blocks.len() < round {
                match next() {
                    Ok(Some((share, block))) => {
                        blocks.push(block);
                        size += share;
                    }
                    Ok(None) => return (blocks, size, Ok(true)),
                    Err(error) => return (blocks, size, Err(error)),
                }
            }
            (blocks, size, Ok(ended))
        };
        let blocks = std::mem::take(&mut read);
        let rows = std::mem::take(&mut parsed);
        let ((filled, size, end), (now_parsed, taken)) = rayon::join(fill, || {
            rayon::join(
                || blocks.into_par_iter().map(&parse).collect::<Vec<_>>(),
                || {
                    for rows in rows {
                        let mut rows = take(rows, writer, &mut place)?;
                        rows.clear();
                        spare.give(rows);
                    }
                    writer.encode()
                },
            )
        });
        taken?;
        (read, parsed) = (filled, now_parsed);
        done += size;
        match end {
            Ok(end) => ended = end,
            // What was read before is looked at first: its mistakes come earlier in the file.
            Err(error) => (ended, failure) = (true, Some(error)),
        }
        if watch.progress.advance(&what, done, watch.total).is_break() {
            return Err(Error::Cancelled);
        }
        if ended && read.is_empty() && parsed.is_empty() {
            return failure.map_or(Ok(()), Err);
        }
    }
}

/// Hands parsed rows to the writer and back, or says where in the file their mistake is.
fn take(rows: Result<Rows, RowError>, writer: &mut Writer, place: &mut Counted) -> Result<Rows, Error> {
    match rows {
        Ok(rows) => {
            place.before += rows.lines;
            writer.absorb(&rows).map(|()| rows)
        }
        Err(error) => Err(Malformed {
            file: place.file.clone(),
            at: Some((place.kind)(place.before + error.before + 1)),
            column: error.column,
            found: error.found,
            expected: error.expected,
        }
        .into()),
    }
}
