//! Draws splits: by rating, by user, by time, and each user's newest.
//!
//! It knows the columns of ratings and nothing of files.

use rayon::prelude::*;

use crate::error::Error;
use crate::ratings::Ratings;
use crate::rng::Rng;

use super::{Fractions, Part};

/// A uniformly random assignment among those with the exact sizes.
pub(super) fn by_rating(count: u64, fractions: &Fractions, seed: u64) -> Result<Vec<Part>, Error> {
    let sizes = sizes(count, fractions, "ratings")?;
    Ok(draw(sizes, &mut Rng::stream(seed, "split by rating", 0)))
}

/// As [`by_rating`], for users.
pub(super) fn by_user(ratings: &Ratings, fractions: &Fractions, seed: u64) -> Result<Vec<Part>, Error> {
    let sizes = sizes(ratings.summary().users, fractions, "users")?;
    let parts = draw(sizes, &mut Rng::stream(seed, "split by user", 0));
    Ok(ratings.user().par_iter().map(|&user| parts[user as usize]).collect())
}

/// The oldest ratings train, the newest test.
pub(super) fn by_time(ratings: &Ratings, fractions: &Fractions) -> Result<Vec<Part>, Error> {
    let times = times(ratings)?;
    let [train, validation, _] = sizes(times.len() as u64, fractions, "ratings")?;
    let mut rows: Vec<u32> = (0..times.len() as u32).collect();
    let key = |&row: &u32| (times[row as usize], row);
    let mut parts = vec![Part::Train; times.len()];
    // Two cuts are wanted, not an order: selection does what sorting would, in time linear in the rows.
    let mut newer = rows.as_mut_slice();
    for (older, part) in [(train, Part::Validation), (validation, Part::Test)] {
        let older = older as usize;
        if older >= newer.len() {
            break;
        }
        if older > 0 {
            newer.select_nth_unstable_by_key(older, key);
        }
        newer = &mut newer[older..];
        for &row in newer.iter() {
            parts[row as usize] = part;
        }
    }
    Ok(parts)
}

/// When each rating was given.
fn times(ratings: &Ratings) -> Result<Vec<i64>, Error> {
    ratings.timestamps()?.ok_or_else(|| {
        let name = &ratings.summary().name;
        Error::Setting(format!("{name} has no times: split by rating or by user, or name its column `timestamp`"))
    })
}

/// The fewest ratings of a user who validates and tests: one is left to learn from.
const LEAVES_ONE_OUT: u32 = 3;

/// Of each user the newest rating tests, and the one before it validates. Of the same age, the one of the higher item counts as newer, then that
/// of the higher row. Who has fewer than three ratings only trains.
pub(super) fn leave_one_out(ratings: &Ratings) -> Result<Vec<Part>, Error> {
    let times = times(ratings)?;
    let key = |row: u32| (times[row as usize], ratings.item()[row as usize], row);
    // The newest row and the one before it of each user, and how many there are.
    let mut newest: Vec<([Option<u32>; 2], u32)> = vec![([None; 2], 0); ratings.summary().users as usize];
    for (row, &user) in (0..).zip(ratings.user()) {
        let ([last, before], count) = &mut newest[user as usize];
        *count += 1;
        if last.is_none_or(|last| key(row) > key(last)) {
            *before = last.replace(row);
        } else if before.is_none_or(|before| key(row) > key(before)) {
            *before = Some(row);
        }
    }
    let mut parts = vec![Part::Train; times.len()];
    for (rows, _) in newest.iter().filter(|(_, count)| *count >= LEAVES_ONE_OUT) {
        for (row, part) in rows.iter().zip([Part::Test, Part::Validation]) {
            if let Some(row) = row {
                parts[*row as usize] = part;
            }
        }
    }
    if !parts.contains(&Part::Test) {
        return Err(Error::Setting(format!(
            "no user has {LEAVES_ONE_OUT} ratings, of which one could be left out: split by rating"
        )));
    }
    Ok(parts)
}

/// Makes a share of the train rows validate, drawn at random.
pub(super) fn carve(parts: &mut [Part], share: f64, seed: u64) -> Result<(), Error> {
    let train: Vec<usize> = (0..parts.len()).filter(|&row| parts[row] == Part::Train).collect();
    let fractions = Fractions::new(1.0 - share, share, 0.0)?;
    let sizes = sizes(train.len() as u64, &fractions, "train rows")?;
    let drawn = draw(sizes, &mut Rng::stream(seed, "split carve validation", 0));
    for (row, part) in train.into_iter().zip(drawn) {
        parts[row] = part;
    }
    Ok(())
}

/// How many of `count` things each part gets: shares rounded, train the rest.
fn sizes(count: u64, fractions: &Fractions, what: &str) -> Result<[u64; 3], Error> {
    let size = |share: f64| (count as f64 * share).round() as u64;
    let (validation, test) = (size(fractions.validation), size(fractions.test));
    let train = count.saturating_sub(validation + test);
    let shares = [fractions.train, fractions.validation, fractions.test];
    for ((part, size), share) in Part::ALL.into_iter().zip([train, validation, test]).zip(shares) {
        if share > 0.0 && size == 0 {
            return Err(Error::Setting(format!("{count} {what} are too few: {share} of them leave none for {}", part.name())));
        }
    }
    Ok([train, validation, test])
}

/// Assigns parts one after the other, each with the probability of what is still to be given out: every assignment with these
/// sizes is equally likely (Knuth, TAOCP 2, 3.4.2, algorithm S, for three parts), and memory is not needed.
fn draw(sizes: [u64; 3], rng: &mut Rng) -> Vec<Part> {
    let mut left: u64 = sizes.iter().sum();
    let mut open = sizes;
    let mut parts = Vec::with_capacity(left as usize);
    while left > 0 {
        let drawn = rng.below(left);
        // Counted, not branched on: no processor guesses what is random.
        let part = usize::from(drawn >= open[0]) + usize::from(drawn >= open[0] + open[1]);
        open[part] -= 1;
        parts.push(Part::ALL[part]);
        left -= 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_never_empty_by_rounding() {
        let fractions = Fractions { train: 0.8, validation: 0.1, test: 0.1 };
        assert_eq!(sizes(100_000, &fractions, "x").ok(), Some([80_000, 10_000, 10_000]));
        assert_eq!(sizes(17, &fractions, "x").ok(), Some([13, 2, 2]));
        let error = sizes(4, &fractions, "ratings").err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(error, "4 ratings are too few: 0.1 of them leave none for validation");
        assert_eq!(sizes(3, &Fractions { train: 1.0, validation: 0.0, test: 0.0 }, "x").ok(), Some([3, 0, 0]));
    }

    #[test]
    fn every_assignment_is_equally_likely() {
        // 2 + 1 + 1 of 4 rows: 12 assignments.
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = Rng::stream(3, "test", 0);
        for _ in 0..12_000 {
            *counts.entry(draw([2, 1, 1], &mut rng)).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 12);
        // The standard deviation of each count is 30.
        assert!(counts.values().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }

    #[test]
    fn carving_takes_from_train_only() {
        let mut parts = vec![Part::Train; 100];
        parts[90..].fill(Part::Test);
        let before = parts.clone();
        assert!(carve(&mut parts, 0.1, 1).is_ok());
        assert_eq!(parts.iter().filter(|&&part| part == Part::Validation).count(), 9);
        assert_eq!(parts[90..], before[90..]);
    }
}
