//! The quick way through lines of plain numbers, which most files of ratings consist of: user, item, rating, time.
//!
//! It takes a line it understands wholly, or leaves it to `table`, which alone knows what a mistake is. What it takes, `table` would have
//! taken just so.

use crate::cards::Scale;

use super::rows::{Ids, Rows};
use super::table::{Column, Cut, Role, leading_digits};

/// A line and what follows it, so that whole words can be read without looking where the text ends; no line taken here is longer.
pub(super) const WINDOW: usize = 64;

/// The quick way for one layout of columns.
pub(super) struct Quick {
    times: bool,
    /// The rating written `a.b`, or just `a`, is at the place 10 a + b; not a number where it is not on the scale.
    ratings: [f32; 100],
}

/// A line, and how long it is.
struct Line {
    user: u32,
    item: u32,
    rating: f32,
    timestamp: i64,
    length: usize,
}

impl Quick {
    /// `None` where the columns are others, or come in another order.
    pub(super) fn new(columns: &[Column], scale: Option<Scale>) -> Option<Self> {
        let roles = columns.iter().map(|column| column.role);
        let expected = [Role::User, Role::Item, Role::Rating, Role::Timestamp].map(Some);
        let times = columns.len() == 4;
        if columns.len() < 3 || !roles.eq(expected.into_iter().take(3 + usize::from(times))) {
            return None;
        }
        let rating = |tenths: usize| {
            let rating = tenths as f32 / 10.0;
            if scale.is_none_or(|scale| scale.contains(rating)) { rating } else { f32::NAN }
        };
        Some(Self { times, ratings: std::array::from_fn(rating) })
    }

    /// Takes lines from `at` on, and says where the first begins that it leaves.
    pub(super) fn lines<C: Cut>(&self, cut: &C, block: &[u8], at: usize, rows: &mut Rows) -> usize {
        if self.times { self.take::<C, true>(cut, block, at, rows) } else { self.take::<C, false>(cut, block, at, rows) }
    }

    fn take<C: Cut, const TIMES: bool>(&self, cut: &C, block: &[u8], mut at: usize, rows: &mut Rows) -> usize {
        let (Ids::Numbers(users), Ids::Numbers(items)) = (&mut rows.users, &mut rows.items) else { return at };
        while let Some(window) = block.get(at..).and_then(|rest| rest.first_chunk::<WINDOW>()) {
            let Some(line) = self.line::<C, TIMES>(cut, window) else { break };
            users.push(line.user);
            items.push(line.item);
            rows.ratings.push(line.rating);
            if TIMES {
                rows.timestamps.push(line.timestamp);
            }
            rows.lines += 1;
            at += line.length;
        }
        at
    }

    #[inline(always)]
    fn line<C: Cut, const TIMES: bool>(&self, cut: &C, window: &[u8; WINDOW]) -> Option<Line> {
        let (user, at) = id(cut, window, 0)?;
        let (item, at) = id(cut, window, at)?;
        let digit = |at: usize| window.get(at).map(|byte| usize::from(byte.wrapping_sub(b'0'))).filter(|&digit| digit <= 9);
        let (whole, mut at) = (digit(at)?, at + 1);
        let mut tenths = 0;
        if window.get(at) == Some(&b'.') {
            tenths = digit(at + 1)?;
            at += 2;
        }
        let rating = *self.ratings.get(whole * 10 + tenths).filter(|rating| !rating.is_nan())?;
        let mut timestamp = 0;
        if TIMES {
            at = after_separator(cut, window, at)?;
            let (mut seconds, mut count) = leading_digits(word(window, at)?);
            if count == 8 {
                // Times have nine or ten digits: both in the same steps.
                let (further, more) = leading_digits(word(window, at + 8)?);
                if more == 8 {
                    return None;
                }
                seconds = seconds * TENS[more] + further;
                count += more;
            } else if count == 0 {
                return None;
            }
            timestamp = seconds as i64;
            at += count;
        }
        let length = match *window.get(at)? {
            b'\n' => at + 1,
            b'\r' if window.get(at + 1) == Some(&b'\n') => at + 2,
            _ => return None,
        };
        Some(Line { user, item, rating, timestamp, length })
    }
}

const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// An id of up to seven digits, written as its number is, and where the next field begins.
#[inline(always)]
fn id<C: Cut>(cut: &C, window: &[u8; WINDOW], at: usize) -> Option<(u32, usize)> {
    let (number, count) = leading_digits(word(window, at)?);
    if count == 0 || count == 8 || (count > 1 && window[at] == b'0') {
        return None;
    }
    Some((number as u32, after_separator(cut, window, at + count)?))
}

#[inline(always)]
fn after_separator<C: Cut>(cut: &C, window: &[u8; WINDOW], at: usize) -> Option<usize> {
    let length = if at < WINDOW { cut.separator(window, at) } else { 0 };
    (length > 0).then_some(at + length)
}

#[inline(always)]
fn word(window: &[u8; WINDOW], at: usize) -> Option<[u8; 8]> {
    window.get(at..)?.first_chunk().copied()
}
