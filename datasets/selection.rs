//! The rows of some genres of a ratings artifact, chosen while they are read.
//!
//! A genre may have one row in a hundred. Whole columns in memory would cost more than everything else that is done to choose them, so row
//! groups are decoded side by side, a few thousand rows at a time into memory that stays in the cache, and nothing but the chosen rows
//! is kept. This file knows what a genre's rows are and not what they are for: parts of a split come as a closure.

use std::ops::Range;

use rayon::prelude::*;

use crate::columns::{BATCH, Cell, Numbers, TableReader, cut, not_an_artifact};
use crate::error::Error;
use crate::ratings::{CHUNK, Item, Ratings, RatingsFiles, Summary, beyond, check_genre, other_counts, read_items, table};
use crate::sound;

/// Some ratings, one vector a column, all of the same length and in the order of their rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// The rows' ids, ascending.
    pub row: Vec<u32>,
    /// The user of each, below [`Summary::users`].
    pub user: Vec<u32>,
    /// The item of each, below [`Summary::items`].
    pub item: Vec<u32>,
    /// The rating of each.
    pub rating: Vec<f32>,
}

/// The ratings of some genres in memory: 16 bytes each.
#[derive(Clone, Debug)]
pub struct Selection {
    summary: Summary,
    items: Vec<Item>,
    columns: Columns,
}

impl Selection {
    /// Loads the rows whose item has at least one of `genres`, each once; without genres, all rows.
    ///
    /// Of users and ratings no more is looked at than lies near a chosen row, so what is damaged elsewhere may pass unseen.
    ///
    /// # Errors
    /// [`Error::UnknownGenre`] with the nearest name and the list of all; else as [`Ratings::open`].
    pub fn open(files: &RatingsFiles, genres: &[String]) -> Result<Self, Error> {
        sound::guarded(&files.ratings, || if genres.is_empty() { Self::whole(files) } else { Self::of(files, genres) })
    }

    fn of(files: &RatingsFiles, genres: &[String]) -> Result<Self, Error> {
        let (summary, table) = table(files)?;
        genres.iter().try_for_each(|genre| check_genre(&summary, genre))?;
        let items = read_items(&files.items)?;
        if items.len() as u64 != summary.items {
            return Err(other_counts(files));
        }
        let source = Source { files, table, users: summary.users, has: having(&items, genres) };
        let groups = source.table.groups();
        let rows = all_rows(files, groups.iter().sum())?;
        let starts = groups.iter().scan(rows.start, |next, &rows| {
            let start = *next;
            *next += rows as u32;
            Some(start)
        });
        let groups: Vec<(u32, usize)> = starts.zip(groups.iter().copied()).collect();
        let chosen = groups.into_par_iter().enumerate().map(|(group, (start, rows))| source.chosen(group, start, rows));
        let columns = Columns::concat(chosen.collect::<Result<_, _>>()?);
        Ok(Self { summary, items, columns })
    }

    /// All rows, which are loaded faster by whole columns.
    fn whole(files: &RatingsFiles) -> Result<Self, Error> {
        let Ratings { summary, items, user, item, rating, .. } = Ratings::open(files)?;
        let row = all_rows(files, user.len())?.collect();
        Ok(Self { summary, items, columns: Columns { row, user, item, rating } })
    }

    /// What was prepared, of which this is a part.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// All items, also those of no row here; place `i` is the item with the dense number `i`.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The rows.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// For each item whether it has at least one of `genres`; without genres, every item does.
    ///
    /// # Errors
    /// [`Error::UnknownGenre`].
    pub fn having(&self, genres: &[String]) -> Result<Vec<bool>, Error> {
        genres.iter().try_for_each(|genre| check_genre(&self.summary, genre))?;
        Ok(having(&self.items, genres))
    }

    /// The rows that are to be kept, by their id and their item.
    pub fn pick(&self, keep: impl Fn(u32, u32) -> bool + Sync) -> Columns {
        let Columns { row, user, item, rating } = &self.columns;
        // Chunks in order, each in parallel: the result is the same whatever the number of threads.
        let places = row.par_chunks(CHUNK).zip(item.par_chunks(CHUNK)).enumerate().map(|(chunk, (rows, items))| {
            let kept = (0..).zip(rows.iter().zip(items)).filter(|&(_, (&row, &item))| keep(row, item));
            kept.map(|(place, _)| (chunk * CHUNK + place) as u32).collect()
        });
        let places = concat(places.collect());
        Columns { row: of(row, &places), user: of(user, &places), item: of(item, &places), rating: of(rating, &places) }
    }
}

/// For each item whether it has one of `genres`, of which none means all.
fn having(items: &[Item], genres: &[String]) -> Vec<bool> {
    items.iter().map(|item| genres.is_empty() || item.genres.iter().any(|genre| genres.contains(genre))).collect()
}

/// The ids of that many rows.
fn all_rows(files: &RatingsFiles, rows: usize) -> Result<Range<u32>, Error> {
    let rows = u32::try_from(rows).map_err(|_| not_an_artifact(&files.ratings, format!("{rows} rows are too many")))?;
    Ok(0..rows)
}

/// The values at some places.
fn of<T: Copy + Send + Sync>(column: &[T], places: &[u32]) -> Vec<T> {
    places.par_iter().with_min_len(CHUNK).map(|&place| column[place as usize]).collect()
}

/// One vector of several; each of them is freed as soon as it is copied.
fn concat<T: Copy + Default + Send + Sync>(parts: Vec<Vec<T>>) -> Vec<T> {
    let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
    let mut whole = vec![T::default(); lengths.iter().sum()];
    cut(&mut whole, &lengths).into_par_iter().zip(parts).for_each(|(place, part)| place.copy_from_slice(&part));
    whole
}

impl Columns {
    fn concat(parts: Vec<Self>) -> Self {
        let (mut row, mut user, mut item, mut rating) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            row.push(part.row);
            user.push(part.user);
            item.push(part.item);
            rating.push(part.rating);
        }
        Self { row: concat(row), user: concat(user), item: concat(item), rating: concat(rating) }
    }
}

/// What rows are chosen from, and by.
struct Source<'f> {
    files: &'f RatingsFiles,
    table: TableReader,
    /// How many users there are.
    users: u64,
    /// Which items' rows are chosen.
    has: Vec<bool>,
}

impl Source<'_> {
    /// The chosen rows of a row group, the first of whose rows has the id `start`.
    fn chosen(&self, group: usize, start: u32, rows: usize) -> Result<Columns, Error> {
        let mut items: Numbers<'_, u32> = self.table.numbers_of_group(group, "item")?;
        let mut users: Numbers<'_, u32> = self.table.numbers_of_group(group, "user")?;
        let mut ratings: Numbers<'_, f32> = self.table.numbers_of_group(group, "rating")?;
        let mut chosen = Columns::default();
        let mut places = [0; BATCH];
        // Rows of which only the item has been read so far.
        let mut passed = 0;
        for first in (0..rows).step_by(BATCH) {
            let count = BATCH.min(rows - first);
            let batch = items.next(count)?;
            if beyond(batch.iter().map(u32::of), self.has.len() as u64) {
                return Err(other_counts(self.files));
            }
            // Every place is written down, and stays where its row is chosen: there is no branch that a processor could guess wrong.
            let mut found = 0;
            for (place, item) in (0..).zip(batch) {
                places[found] = place;
                found += usize::from(self.has[u32::of(item) as usize]);
            }
            let places = &places[..found];
            if places.is_empty() {
                passed += count;
                continue;
            }
            users.skip(passed)?;
            ratings.skip(passed)?;
            passed = 0;
            let start = start + first as u32;
            chosen.row.extend(places.iter().map(|&place: &u32| start + place));
            chosen.item.extend(places.iter().map(|&place| u32::of(&batch[place as usize])));
            let batch = users.next(count)?;
            if beyond(batch.iter().map(u32::of), self.users) {
                return Err(other_counts(self.files));
            }
            chosen.user.extend(places.iter().map(|&place| u32::of(&batch[place as usize])));
            let batch = ratings.next(count)?;
            chosen.rating.extend(places.iter().map(|&place| f32::of(&batch[place as usize])));
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cards::Scale;
    use crate::ratings::{GenreCount, Provenance};

    /// Every second row of four items in turns, the first two of which have a genre.
    fn selection(rows: u32) -> Selection {
        let row: Vec<u32> = (0..rows).map(|row| row * 2).collect();
        let of = |genres: &[&str]| Item {
            id: String::new(),
            title: None,
            genres: genres.iter().map(|&genre| genre.to_owned()).collect(),
        };
        let columns = Columns {
            user: row.iter().map(|row| row % 7).collect(),
            item: row.iter().map(|row| row / 2 % 4).collect(),
            rating: row.iter().map(|row| (row % 5) as f32).collect(),
            row,
        };
        let summary = Summary {
            name: String::new(),
            title: String::new(),
            source: Provenance::Synthetic,
            ratings: u64::from(rows) * 2,
            users: 7,
            items: 4,
            items_without_details: 0,
            timestamps: false,
            scale: Scale { min: 0.0, max: 4.0, step: None },
            genres: ["a", "b"].map(|genre| GenreCount { genre: genre.to_owned(), items: 2, ratings: 0 }).to_vec(),
            licence: String::new(),
            citation: String::new(),
        };
        Selection { summary, items: vec![of(&["a", "b"]), of(&["b"]), of(&[]), of(&["a"])], columns }
    }

    #[test]
    fn rows_are_picked_by_id_and_item_across_chunks() {
        let selection = selection(CHUNK as u32 * 3 - 5);
        let all = selection.columns();
        let keep = |row: u32, item: u32| !row.is_multiple_of(3) && item != 2;
        let kept: Vec<usize> = (0..all.row.len()).filter(|&place| keep(all.row[place], all.item[place])).collect();
        let expected = Columns {
            row: kept.iter().map(|&place| all.row[place]).collect(),
            user: kept.iter().map(|&place| all.user[place]).collect(),
            item: kept.iter().map(|&place| all.item[place]).collect(),
            rating: kept.iter().map(|&place| all.rating[place]).collect(),
        };
        assert!(selection.pick(keep) == expected);
        assert!(selection.pick(|_, _| true) == *all);
        assert_eq!(selection.pick(|_, _| false), Columns::default());
    }

    #[test]
    fn items_have_one_of_several_genres() -> Result<(), Error> {
        let selection = selection(4);
        let having = |genres: &[&str]| selection.having(&genres.iter().map(|&genre| genre.to_owned()).collect::<Vec<_>>());
        assert_eq!(having(&["a"])?, [true, false, false, true]);
        assert_eq!(having(&["b", "a", "b"])?, [true, true, false, true]);
        assert_eq!(having(&[])?, [true; 4]);
        assert!(matches!(having(&["a", "c"]), Err(Error::UnknownGenre { .. })));
        Ok(())
    }
}
