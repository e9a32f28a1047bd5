//! The ratings artifact: what [`crate::prepare`] writes and every later stage loads.
//!
//! Four files in one folder. `ratings.parquet` has a row for each rating (`row`, `user`, `item`, `rating`, `timestamp`), where `row` counts
//! from 0 in the order of the source and `user` and `item` are dense numbers in order of first appearance; `users.parquet` and
//! `items.parquet` say which ids they had, and titles and genres; `dataset.json` is the [`Summary`]. This file knows nothing
//! of where the ratings came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ListArray, StringArray};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cards::Scale;
use crate::columns::{TableReader, column, not_an_artifact};
use crate::error::Error;
use crate::sound;
use crate::suggest;

/// The file of ratings.
pub const RATINGS: &str = "ratings.parquet";
/// The file of users.
pub const USERS: &str = "users.parquet";
/// The file of items.
pub const ITEMS: &str = "items.parquet";
/// The summary.
pub const DATASET: &str = "dataset.json";

/// The paths of the artifact's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatingsFiles {
    /// `ratings.parquet`
    pub ratings: PathBuf,
    /// `users.parquet`
    pub users: PathBuf,
    /// `items.parquet`
    pub items: PathBuf,
    /// `dataset.json`
    pub dataset: PathBuf,
}

impl RatingsFiles {
    /// The files under their own names in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            ratings: folder.join(RATINGS),
            users: folder.join(USERS),
            items: folder.join(ITEMS),
            dataset: folder.join(DATASET),
        }
    }
}

/// Whether people gave the ratings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// They did.
    Real,
    /// [`crate::synthetic`] made them.
    Synthetic,
}

/// How much of the data a genre has. A rating belongs to every genre of its item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenreCount {
    /// The genre's name.
    pub genre: String,
    /// Items that have it.
    pub items: u64,
    /// Ratings of those items.
    pub ratings: u64,
}

/// What was prepared, kept as `dataset.json`. It holds no path and no time: the same rows give the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The data set's name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Whether people gave the ratings.
    pub source: Provenance,
    /// Rows.
    pub ratings: u64,
    /// Users with a rating.
    pub users: u64,
    /// Items with a rating.
    pub items: u64,
    /// Rated items of which the list of items says nothing: they have no title and no genre.
    pub items_without_details: u64,
    /// Whether every rating has a time.
    pub timestamps: bool,
    /// The ratings that can occur: as the card or the user says, else as the rows show.
    pub scale: Scale,
    /// The genres by name.
    pub genres: Vec<GenreCount>,
    /// The terms of use.
    pub licence: String,
    /// What to cite.
    pub citation: String,
}

impl Summary {
    /// Reads a `dataset.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NotAnArtifact`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(Error::io(path, "read the file"))?;
        serde_json::from_slice(&text).map_err(|e| not_an_artifact(path, e.to_string()))
    }

    /// The summary as the bytes of its file.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, Error> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::Setting(format!("dataset.json: {e}")))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its id as the source writes it.
    pub id: String,
    /// Its title, where known.
    pub title: Option<String>,
    /// Its genres, in the source's order.
    pub genres: Vec<String>,
}

/// Rows that one thread goes through at a time.
pub(crate) const CHUNK: usize = 1 << 16;

/// The ratings in memory, one vector a column, all of the same length; place `i` is the row with the id `i`.
#[derive(Clone, Debug)]
pub struct Ratings {
    pub(crate) summary: Summary,
    files: RatingsFiles,
    pub(crate) user: Vec<u32>,
    pub(crate) item: Vec<u32>,
    pub(crate) rating: Vec<f32>,
    pub(crate) items: Vec<Item>,
}

impl Ratings {
    /// Loads the artifact: 12 bytes a rating. Users' ids and times stay on disk until they are asked for.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`] where a file cannot be read, [`Error::NotAnArtifact`] where it holds something else.
    pub fn open(files: &RatingsFiles) -> Result<Self, Error> {
        sound::guarded(&files.ratings, || Self::read(files))
    }

    fn read(files: &RatingsFiles) -> Result<Self, Error> {
        let (summary, table) = table(files)?;
        let users_and_items = || Ok::<_, Error>((table.numbers::<u32>("user")?, table.numbers::<u32>("item")?));
        let (columns, (rating, items)) =
            rayon::join(users_and_items, || rayon::join(|| table.numbers("rating"), || read_items(&files.items)));
        let ((user, item), rating, items) = (columns?, rating?, items?);
        let beyond = |ids: &[u32], count: u64| ids.par_chunks(CHUNK).any(|ids| beyond(ids.iter().copied(), count));
        if items.len() as u64 != summary.items || beyond(&item, summary.items) || beyond(&user, summary.users) {
            return Err(other_counts(files));
        }
        Ok(Self { summary, files: files.clone(), user, item, rating, items })
    }

    /// What was prepared.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How many ratings there are.
    pub fn len(&self) -> usize {
        self.user.len()
    }

    /// Whether there are none; prepared artifacts always have some.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    /// The user of each row, below [`Summary::users`].
    pub fn user(&self) -> &[u32] {
        &self.user
    }

    /// The item of each row, below [`Summary::items`].
    pub fn item(&self) -> &[u32] {
        &self.item
    }

    /// The rating of each row.
    pub fn rating(&self) -> &[f32] {
        &self.rating
    }

    /// The time of each row in seconds since 1970, where the data set has times. Read from disk on each call.
    ///
    /// # Errors
    /// As [`Ratings::open`].
    pub fn timestamps(&self) -> Result<Option<Vec<i64>>, Error> {
        if !self.summary.timestamps {
            return Ok(None);
        }
        sound::guarded(&self.files.ratings, || table(&self.files)?.1.numbers("timestamp").map(Some))
    }

    /// The items; place `i` is the item with the dense number `i`.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The users' ids as the source writes them; place `i` is the user with the dense number `i`. Read from disk on each call.
    ///
    /// # Errors
    /// As [`Ratings::open`].
    pub fn user_ids(&self) -> Result<Vec<String>, Error> {
        let path = &self.files.users;
        sound::guarded(path, || {
            let mut ids = Vec::new();
            for batch in TableReader::open(path, &["id"])?.all()? {
                ids.extend(column::<StringArray>(path, &batch, "id")?.iter().flatten().map(str::to_owned));
            }
            Ok(ids)
        })
    }
}

/// Whether some item has `genre`; cheap, for checks before anything runs.
///
/// # Errors
/// [`Error::UnknownGenre`].
pub fn check_genre(summary: &Summary, genre: &str) -> Result<(), Error> {
    let names = || summary.genres.iter().map(|count| count.genre.as_str());
    if names().any(|name| name == genre) {
        return Ok(());
    }
    let known =
        if summary.genres.is_empty() { "none: this data set came without genres".to_owned() } else { suggest::listed(names()) };
    Err(Error::UnknownGenre { genre: genre.to_owned(), hint: suggest::did_you_mean(genre, names()), known })
}

/// Counts each genre's items and ratings; `ratings_of` has the number of ratings of each item.
pub(crate) fn count_genres(items: &[Item], ratings_of: &[u64]) -> Vec<GenreCount> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (item, ratings) in items.iter().zip(ratings_of) {
        for genre in &item.genres {
            let count = counts.entry(genre).or_default();
            count.0 += 1;
            count.1 += ratings;
        }
    }
    counts.into_iter().map(|(genre, (items, ratings))| GenreCount { genre: genre.to_owned(), items, ratings }).collect()
}

/// How many ratings the artifact has: as many as `dataset.json` says, or it is an error.
pub(crate) fn count(files: &RatingsFiles) -> Result<u64, Error> {
    table(files).map(|(summary, _)| summary.ratings)
}

/// Whether one of `ids`, of which there are some, is not below `count`. The highest, then one comparison: the loop does not stop early,
/// and so takes several ids at a time.
pub(crate) fn beyond(ids: impl Iterator<Item = u32>, count: u64) -> bool {
    u64::from(ids.fold(0, u32::max)) >= count
}

/// The error of an artifact whose rows have users or items that it does not count.
pub(crate) fn other_counts(files: &RatingsFiles) -> Error {
    not_an_artifact(&files.ratings, "its users or items are not those of dataset.json")
}

/// The summary, and the rows, which are as many as it says.
pub(crate) fn table(files: &RatingsFiles) -> Result<(Summary, TableReader), Error> {
    let summary = Summary::open(&files.dataset)?;
    let table = TableReader::open(&files.ratings, &["user", "item", "rating"])?;
    let rows: usize = table.groups().iter().sum();
    if rows as u64 != summary.ratings {
        return Err(not_an_artifact(&files.ratings, format!("it has {rows} rows where dataset.json says {}", summary.ratings)));
    }
    Ok((summary, table))
}

/// The items of an `items.parquet`, in the order of their dense numbers; no ratings are read.
///
/// # Errors
/// [`Error::Io`] and [`Error::Parquet`] where the file cannot be read, [`Error::NotAnArtifact`] where it holds something else.
pub fn items(path: &Path) -> Result<Vec<Item>, Error> {
    sound::guarded(path, || read_items(path))
}

/// The items, in the order of their dense numbers.
pub(crate) fn read_items(path: &Path) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    for batch in TableReader::open(path, &["id", "title", "genres"])?.all()? {
        let ids = column::<StringArray>(path, &batch, "id")?;
        let titles = column::<StringArray>(path, &batch, "title")?;
        let lists = column::<ListArray>(path, &batch, "genres")?;
        for at in 0..batch.num_rows() {
            let genres = lists.value(at);
            let genres = genres
                .as_any()
                .downcast_ref::<StringArray>()
                .ok_or_else(|| not_an_artifact(path, "its column `genres` has another type"))?;
            items.push(Item {
                id: ids.value(at).to_owned(),
                title: titles.is_valid(at).then(|| titles.value(at).to_owned()),
                genres: genres.iter().flatten().map(str::to_owned).collect(),
            });
        }
    }
    Ok(items)
}
