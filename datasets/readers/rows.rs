//! Rows as columns: what every reader makes and the writer of the artifact takes.
//!
//! It knows how an id, a rating and a time are written, and neither files nor formats.

use std::collections::HashMap;

/// A run of rows in file order, ids still as written.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub users: Ids,
    pub items: Ids,
    pub ratings: Vec<f32>,
    /// Seconds since 1970; empty where the data set has no times.
    pub timestamps: Vec<i64>,
    /// How many lines of text (or rows of a table) were read for them.
    pub lines: u64,
}

impl Rows {
    /// Makes room for `count` more rows.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.users.reserve(count);
        self.items.reserve(count);
        self.ratings.reserve(count);
        self.timestamps.reserve(count);
    }

    /// Forgets the rows and keeps their room.
    pub(crate) fn clear(&mut self) {
        self.users.clear();
        self.items.clear();
        self.ratings.clear();
        self.timestamps.clear();
        self.lines = 0;
    }
}

/// The ids of one column.
///
/// Most are numbers, and are kept as such for as long as that loses nothing: `7` is a number, `07` and `u7` are not, because
/// they would not be written the same way again.
#[derive(Debug)]
pub(crate) enum Ids {
    Numbers(Vec<u32>),
    Texts {
        bytes: String,
        /// Where each text ends in `bytes`.
        ends: Vec<usize>,
    },
}

impl Default for Ids {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl Ids {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self::Numbers(Vec::with_capacity(rows))
    }

    fn reserve(&mut self, count: usize) {
        match self {
            Self::Numbers(numbers) => numbers.reserve(count),
            Self::Texts { ends, .. } => ends.reserve(count),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Numbers(numbers) => numbers.clear(),
            Self::Texts { .. } => *self = Self::default(),
        }
    }

    /// Appends an id as written. `None`: it is empty or not UTF-8.
    #[inline]
    pub(crate) fn push(&mut self, id: &[u8]) -> Option<()> {
        if let (Self::Numbers(numbers), Some(number)) = (&mut *self, canonical(id)) {
            numbers.push(number);
            return Some(());
        }
        self.push_text(id)
    }

    #[inline]
    pub(crate) fn push_number(&mut self, id: u32) {
        match self {
            Self::Numbers(numbers) => numbers.push(id),
            Self::Texts { bytes, ends } => {
                bytes.push_str(&id.to_string());
                ends.push(bytes.len());
            }
        }
    }

    fn push_text(&mut self, id: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(id).ok().filter(|text| !text.is_empty())?;
        if let Self::Numbers(numbers) = self {
            let (mut bytes, mut ends) = (String::new(), Vec::with_capacity(numbers.capacity()));
            for number in numbers.iter() {
                bytes.push_str(&number.to_string());
                ends.push(bytes.len());
            }
            *self = Self::Texts { bytes, ends };
        }
        if let Self::Texts { bytes, ends } = self {
            bytes.push_str(text);
            ends.push(bytes.len());
        }
        Some(())
    }
}

/// The number an id is, where writing that number gives the same id again.
fn canonical(id: &[u8]) -> Option<u32> {
    match id {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.len() <= 9 => {
            let mut value = u64::from(id[0] - b'0');
            for &byte in rest {
                let digit = byte.wrapping_sub(b'0');
                if digit > 9 {
                    return None;
                }
                value = value * 10 + u64::from(digit);
            }
            u32::try_from(value).ok()
        }
        _ => None,
    }
}

/// Gives ids dense numbers in the order in which they first appear.
#[derive(Default)]
pub(crate) struct Interner {
    /// The number of a small numeric id plus one, 0 for none: a look-up costs one load.
    small: Vec<u32>,
    large: HashMap<u32, u32>,
    texts: HashMap<Box<str>, u32>,
    /// The ids in order of their numbers.
    ids: Vec<Id>,
}

/// An id as the interner keeps it.
enum Id {
    Number(u32),
    Text(Box<str>),
}

/// The table of small ids has fewer places than this, 64 MiB, and not many more than there are ids.
const SMALL: u64 = 1 << 24;

impl Interner {
    /// How many different ids there were.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Appends the dense numbers of `ids` to `out`.
    pub(crate) fn intern(&mut self, ids: &Ids, out: &mut Vec<u32>) {
        match ids {
            Ids::Numbers(numbers) => out.extend(numbers.iter().map(|&number| self.number(number))),
            Ids::Texts { bytes, ends } => {
                let mut start = 0;
                for &end in ends {
                    out.push(self.text(&bytes[start..end]));
                    start = end;
                }
            }
        }
    }

    #[inline]
    fn number(&mut self, id: u32) -> u32 {
        if let Some(&known @ 1..) = self.small.get(id as usize) {
            return known - 1;
        }
        self.new_number(id)
    }

    /// An id that the table does not know: a new one, or one too large for it.
    #[cold]
    fn new_number(&mut self, id: u32) -> u32 {
        if let Some(&known) = self.large.get(&id) {
            return known;
        }
        let next = self.ids.len() as u32;
        let worthwhile = SMALL.min(self.ids.len() as u64 * 64).max(1 << 16);
        if id as usize >= self.small.len() && u64::from(id) < worthwhile {
            self.grow((id as usize + 1).next_power_of_two());
        }
        match self.small.get_mut(id as usize) {
            Some(place) => *place = next + 1,
            None => {
                self.large.insert(id, next);
            }
        }
        self.ids.push(Id::Number(id));
        next
    }

    /// Enlarges the table and moves what fits into it now.
    fn grow(&mut self, size: usize) {
        self.small.resize(size, 0);
        let small = &mut self.small;
        self.large.retain(|&id, &mut number| match small.get_mut(id as usize) {
            Some(place) => {
                *place = number + 1;
                false
            }
            None => true,
        });
    }

    fn text(&mut self, id: &str) -> u32 {
        if let Some(number) = canonical(id.as_bytes()) {
            return self.number(number);
        }
        if let Some(&known) = self.texts.get(id) {
            return known;
        }
        let next = self.ids.len() as u32;
        self.texts.insert(id.into(), next);
        self.ids.push(Id::Text(id.into()));
        next
    }

    /// The ids as written, in order of their dense numbers.
    pub(crate) fn into_names(self) -> Vec<String> {
        self.ids
            .into_iter()
            .map(|id| match id {
                Id::Number(number) => number.to_string(),
                Id::Text(text) => text.into(),
            })
            .collect()
    }
}

/// A rating in decimal notation, rounded to the nearest `f32`; `None` where it is not a finite number.
pub(crate) fn rating(field: &[u8]) -> Option<f32> {
    let text = std::str::from_utf8(field).ok()?.trim();
    text.parse::<f32>().ok().filter(|value| value.is_finite())
}

/// Whole seconds since 1970; a fraction (`978300760.0`, as RecBole writes) is dropped towards the past.
pub(crate) fn timestamp(field: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(field).ok()?.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole);
    }
    // Beyond 2^53 a double skips seconds; no time is that far away.
    let value = text.parse::<f64>().ok().filter(|value| value.abs() < 9.0e15)?;
    Some(value.floor() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(columns: &[&[&str]]) -> (Vec<u32>, Vec<String>) {
        let (mut interner, mut dense) = (Interner::default(), Vec::new());
        for column in columns {
            let mut ids = Ids::default();
            for id in *column {
                assert!(ids.push(id.as_bytes()).is_some());
            }
            interner.intern(&ids, &mut dense);
        }
        (dense, interner.into_names())
    }

    #[test]
    fn ids_are_numbered_as_they_appear_and_kept_as_written() {
        let (dense, ids) = names(&[&["7", "3", "7"], &["007", "3", "u3", "4294967296", "4294967295", "0", "u3"]]);
        assert_eq!(dense, [0, 1, 0, 2, 1, 3, 4, 5, 6, 3]);
        assert_eq!(ids, ["7", "3", "007", "u3", "4294967296", "4294967295", "0"]);
        let (dense, ids) = names(&[&["4294967295", "20000000", "4294967295", "20000000"]]);
        assert_eq!((dense, ids.len()), (vec![0, 1, 0, 1], 2));
    }

    #[test]
    fn ids_keep_their_numbers_while_the_table_grows() {
        // Sparse at first and dense later, so that ids move from the map into the table.
        let ids: Vec<u32> = (0..5_000).map(|at| (at * 7_919) % 300_007).chain([20_000_000]).collect();
        let mut column = Ids::default();
        ids.iter().chain(&ids).for_each(|&id| column.push_number(id));
        let (mut interner, mut dense) = (Interner::default(), Vec::new());
        interner.intern(&column, &mut dense);
        assert!((0..5_001).all(|at| dense[at] as usize == at && dense[at + 5_001] as usize == at));
        assert!(interner.small.len() < 1 << 20 && interner.large.contains_key(&20_000_000));
        assert_eq!(interner.large.len(), 1);
    }

    #[test]
    fn an_empty_id_is_none() {
        assert_eq!(Ids::default().push(b""), None);
        assert_eq!(Ids::default().push(&[0xff]), None);
    }

    #[test]
    fn ratings_and_times_in_every_spelling() {
        for (text, value) in [
            ("4", 4.0),
            ("4.5", 4.5),
            ("0.1", 0.1),
            (".5", 0.5),
            ("3.", 3.0),
            ("-2", -2.0),
            ("1e1", 10.0),
            ("2.236067977", 2.236_068),
        ] {
            assert_eq!(rating(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", ".", "nan", "inf", "4,5", "1e99", "1..2", "x"] {
            assert_eq!(rating(text.as_bytes()), None, "{text}");
        }
        for (text, value) in
            [("0", 0), ("881250949", 881_250_949), ("881250949.75", 881_250_949), ("-1.5", -2), ("1.3e9", 1_300_000_000)]
        {
            assert_eq!(timestamp(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "nan", "2020-01-01", "1e300"] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_is_written_as_it_was_read(id in "[0-9]{1,12}|[a-z0-9]{1,6}") {
            prop_assert_eq!(names(&[&[&id]]).1, [id]);
        }
    }
}
