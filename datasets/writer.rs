//! Turns runs of rows into the ratings artifact: dense numbers for ids, row groups, the tables of users and items, the summary.
//!
//! It takes rows in order, keeps what is encoded of one row group in memory, and knows nothing of files of ratings.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt32Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema};

use crate::cards::Scale;
use crate::columns::{Packing, SLAB, TableWriter, write_whole};
use crate::error::{Error, Malformed};
use crate::ratings::{DATASET, ITEMS, Item, Provenance, RATINGS, Summary, USERS, count_genres};
use crate::readers::items::Items;
use crate::readers::rows::{Interner, Rows};

/// More different ratings than this are no scale with steps.
const MOST_STEPS: usize = 101;

/// What the summary says beside what is counted.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub name: String,
    pub title: String,
    pub source: Provenance,
    pub licence: String,
    pub citation: String,
    /// The scale, where it is known before the rows are.
    pub scale: Option<Scale>,
    /// Whether the rows have times.
    pub timestamps: bool,
    /// How many rows there must be, where the publisher says.
    pub ratings: Option<u64>,
}

/// Writes the artifact.
pub(crate) struct Writer {
    folder: PathBuf,
    about: About,
    table: TableWriter,
    users: Interner,
    items: Interner,
    /// How many ratings each item has.
    ratings_of: Vec<u64>,
    user: Vec<u32>,
    item: Vec<u32>,
    rating: Vec<f32>,
    timestamp: Vec<i64>,
    /// Rows cut off to be encoded.
    slabs: Vec<Vec<ArrayRef>>,
    /// How many rows have been cut off.
    cut: u64,
    seen: Seen,
}

impl Writer {
    /// Begins an artifact in the existing folder `folder`.
    pub(crate) fn create(folder: &Path, about: About) -> Result<Self, Error> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("row", DataType::UInt32, false),
            Field::new("user", DataType::UInt32, false),
            Field::new("item", DataType::UInt32, false),
            Field::new("rating", DataType::Float32, false),
            Field::new("timestamp", DataType::Int64, true),
        ]));
        let packing =
            [Packing::Differences, Packing::Differences, Packing::Differences, Packing::Dictionary, Packing::Differences];
        let table = TableWriter::create(&folder.join(RATINGS), schema, &packing)?;
        Ok(Self {
            folder: folder.to_owned(),
            about,
            table,
            users: Interner::default(),
            items: Interner::default(),
            ratings_of: Vec::new(),
            user: Vec::new(),
            item: Vec::new(),
            rating: Vec::new(),
            timestamp: Vec::new(),
            slabs: Vec::new(),
            cut: 0,
            seen: Seen::default(),
        })
    }

    /// The scale that every rating must be on, where it is known.
    pub(crate) fn scale(&self) -> Option<Scale> {
        self.about.scale
    }

    /// Takes the next rows, whose columns have equal lengths. They are encoded with the next [`Writer::encode`].
    pub(crate) fn absorb(&mut self, rows: &Rows) -> Result<(), Error> {
        let before = self.item.len();
        self.users.intern(&rows.users, &mut self.user);
        self.items.intern(&rows.items, &mut self.item);
        self.ratings_of.resize(self.items.len(), 0);
        for &item in &self.item[before..] {
            self.ratings_of[item as usize] += 1;
        }
        if self.about.scale.is_none() {
            self.seen.add(&rows.ratings);
        }
        self.rating.extend_from_slice(&rows.ratings);
        self.timestamp.extend_from_slice(&rows.timestamps);
        let whole = self.user.len() / SLAB * SLAB;
        (0..whole).step_by(SLAB).try_for_each(|start| self.slab(start..start + SLAB))?;
        self.user.drain(..whole);
        self.item.drain(..whole);
        self.rating.drain(..whole);
        if self.about.timestamps {
            self.timestamp.drain(..whole);
        }
        Ok(())
    }

    /// Encodes what can be: columns side by side.
    pub(crate) fn encode(&mut self) -> Result<(), Error> {
        self.table.write(std::mem::take(&mut self.slabs))
    }

    /// Cuts a slab off the waiting rows, which keep it until they are drained.
    fn slab(&mut self, rows: Range<usize>) -> Result<(), Error> {
        let end = self.cut + rows.len() as u64;
        if end > u64::from(u32::MAX) {
            return Err(Error::Setting(format!(
                "{}: more than {} ratings; talkflow numbers rows in 32 bits",
                self.about.name,
                u32::MAX
            )));
        }
        let timestamp: ArrayRef = if self.about.timestamps {
            Arc::new(Int64Array::from(self.timestamp[rows.clone()].to_vec()))
        } else {
            new_null_array(&DataType::Int64, rows.len())
        };
        self.slabs.push(vec![
            Arc::new(UInt32Array::from_iter_values(self.cut as u32..end as u32)),
            Arc::new(UInt32Array::from(self.user[rows.clone()].to_vec())),
            Arc::new(UInt32Array::from(self.item[rows.clone()].to_vec())),
            Arc::new(Float32Array::from(self.rating[rows].to_vec())),
            timestamp,
        ]);
        self.cut = end;
        Ok(())
    }

    /// Ends the artifact; `file` is what messages call the source, `details` what is known about items by their ids.
    pub(crate) fn finish(mut self, file: &str, mut details: Items) -> Result<Summary, Error> {
        if !self.user.is_empty() {
            self.slab(0..self.user.len())?;
        }
        self.encode()?;
        let wrong =
            |found: String, expected: String| Malformed { file: file.to_owned(), at: None, column: None, found, expected };
        if self.cut == 0 {
            return Err(wrong("no ratings".to_owned(), "at least one".to_owned()).into());
        }
        if let Some(published) = self.about.ratings.filter(|&published| published != self.cut) {
            let expected = format!("the {published} of {}: the file is cut off or has been changed", self.about.title);
            return Err(wrong(format!("{} ratings", self.cut), expected).into());
        }
        self.table.finish()?;
        let users = self.users.into_names();
        let user_count = users.len() as u64;
        write_users(&self.folder.join(USERS), users)?;
        let mut unknown = 0;
        let items: Vec<Item> = self
            .items
            .into_names()
            .into_iter()
            .map(|id| {
                let known = details.remove(&id);
                unknown += u64::from(known.is_none());
                let known = known.unwrap_or_default();
                Item { id, title: known.title, genres: known.genres }
            })
            .collect();
        write_items(&self.folder.join(ITEMS), &items)?;
        let summary = Summary {
            name: self.about.name,
            title: self.about.title,
            source: self.about.source,
            ratings: self.cut,
            users: user_count,
            items: items.len() as u64,
            items_without_details: unknown,
            timestamps: self.about.timestamps,
            scale: self.about.scale.unwrap_or_else(|| self.seen.scale()),
            genres: count_genres(&items, &self.ratings_of),
            licence: self.about.licence,
            citation: self.about.citation,
        };
        let path = self.folder.join(DATASET);
        std::fs::write(&path, summary.to_json()?).map_err(Error::io(&path, "write the file"))?;
        Ok(summary)
    }
}

/// The different ratings seen, for a scale that nobody gave.
#[derive(Default)]
struct Seen {
    /// Ascending, without repetition; once there are too many, the lowest and the highest.
    values: Vec<f32>,
    too_many: bool,
}

impl Seen {
    fn add(&mut self, ratings: &[f32]) {
        for &rating in ratings {
            let at = self.values.partition_point(|&value| value < rating);
            if self.values.get(at) == Some(&rating) {
                continue;
            }
            if !self.too_many {
                self.values.insert(at, rating);
                if self.values.len() > MOST_STEPS {
                    self.too_many = true;
                    self.values.drain(1..MOST_STEPS);
                }
            } else if at == 0 {
                self.values[0] = rating;
            } else if at == self.values.len() {
                self.values[at - 1] = rating;
            }
        }
    }

    /// From the lowest to the highest; with steps, where all ratings lie on them.
    fn scale(&self) -> Scale {
        let (min, max) = (self.values.first().copied().unwrap_or(0.0), self.values.last().copied().unwrap_or(0.0));
        let smallest = self.values.windows(2).map(|pair| pair[1] - pair[0]).min_by(f32::total_cmp).filter(|_| !self.too_many);
        let step = smallest.filter(|&step| {
            let scale = Scale { min, max, step: Some(step) };
            self.values.iter().all(|&value| scale.contains(value))
        });
        Scale { min, max, step }
    }
}

fn write_users(path: &Path, ids: Vec<String>) -> Result<(), Error> {
    let schema = Schema::new(vec![Field::new("user", DataType::UInt32, false), Field::new("id", DataType::Utf8, false)]);
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..ids.len() as u32));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![numbers, ids]).map_err(Error::parquet(path))?;
    write_whole(path, &batch)
}

fn write_items(path: &Path, items: &[Item]) -> Result<(), Error> {
    let mut genres = ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false));
    for item in items {
        for genre in &item.genres {
            genres.values().append_value(genre);
        }
        genres.append(true);
    }
    let genres = genres.finish();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(0..items.len() as u32)),
        Arc::new(StringArray::from_iter_values(items.iter().map(|item| &item.id))),
        Arc::new(items.iter().map(|item| item.title.as_deref()).collect::<StringArray>()),
        Arc::new(genres),
    ];
    let schema = Schema::new(vec![
        Field::new("item", DataType::UInt32, false),
        Field::new("id", DataType::Utf8, false),
        Field::new("title", DataType::Utf8, true),
        Field::new("genres", DataType::List(Arc::new(Field::new("item", DataType::Utf8, false))), false),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), columns).map_err(Error::parquet(path))?;
    write_whole(path, &batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(ratings: &[f32]) -> Scale {
        let mut seen = Seen::default();
        seen.add(ratings);
        seen.scale()
    }

    #[test]
    fn a_scale_is_read_off_the_ratings() {
        assert_eq!(scale(&[3.0, 1.0, 5.0, 4.0, 3.0]), Scale { min: 1.0, max: 5.0, step: Some(1.0) });
        assert_eq!(scale(&[0.5, 3.0, 3.5]), Scale { min: 0.5, max: 3.5, step: Some(0.5) });
        assert_eq!(scale(&[1.0, 2.0, 2.75]), Scale { min: 1.0, max: 2.75, step: None });
        assert_eq!(scale(&[4.0]), Scale { min: 4.0, max: 4.0, step: None });
    }

    #[test]
    fn ratings_without_steps_keep_their_ends() {
        let many: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32).collect();
        assert_eq!(scale(&many), Scale { min: 0.0, max: 999.0, step: None });
    }
}
