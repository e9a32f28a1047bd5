//! Ratings in the likeness of MovieLens, made from latent factors: for trying things out without a network, and for tests and benches.
//!
//! Every user and item has a bias and a point in the same small space of tastes; an item's point lies near those of its
//! genres. A rating is the mean plus both biases plus the inner product plus noise, rounded to stars. Because tastes are shared by all
//! genres, what a model learns of a user from all genres holds in a genre with few ratings: an all-genre teacher has something to
//! teach a sparse genre's student. Sparse are Western, Film-Noir, Fantasy and Documentary with under 2 % of the ratings each, as in
//! MovieLens 100K; popularity falls off as a power of the rank, activity is log-normal.
//!
//! It knows no files but the two of [`write_csv`]. The bytes depend on the settings alone: a test holds their digest.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::cards::Scale;
use crate::error::Error;
use crate::progress::Progress;
use crate::readers::items::{Details, Items};
use crate::readers::rows::{Ids, Rows};
use crate::rng::{Rng, exp};

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Users; each has some ratings.
    pub users: u32,
    /// Items that can be rated.
    pub items: u32,
    /// Ratings, all of different (user, item).
    pub ratings: u64,
    /// Half stars from 0.5 to 5, as MovieLens since 10M, instead of whole ones from 1 to 5.
    pub half_stars: bool,
    /// Everything random derives from it.
    pub seed: u64,
}

impl Default for Synthetic {
    /// The sizes of MovieLens 100K.
    fn default() -> Self {
        Self { users: 943, items: 1_682, ratings: 100_000, half_stars: false, seed: 1 }
    }
}

impl Synthetic {
    /// The ratings that can occur.
    pub fn scale(&self) -> Scale {
        if self.half_stars {
            Scale { min: 0.5, max: 5.0, step: Some(0.5) }
        } else {
            Scale { min: 1.0, max: 5.0, step: Some(1.0) }
        }
    }

    /// How many items one user rates at most: so few that most of what is drawn for a user is new.
    fn most(&self) -> u64 {
        u64::from(self.items) * 2 / 5
    }

    /// How many items one user rates at least: 20 as in MovieLens, fewer where there are not enough ratings.
    fn least(&self) -> u64 {
        (self.ratings / u64::from(self.users.max(1)) / 2).clamp(1, 20)
    }

    /// Whether such ratings can be made.
    ///
    /// # Errors
    /// [`Error::Setting`] says what does not fit, and what would.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Setting(format!("synthetic ratings: {what}")));
        if self.users == 0 || self.items < 50 {
            return refuse(format!("{} users and {} items; at least 1 and 50 are needed", self.users, self.items));
        }
        let (least, most) = (u64::from(self.users), u64::from(self.users) * self.most());
        if !(least..=most).contains(&self.ratings) || self.ratings > u64::from(u32::MAX) {
            let most = most.min(u64::from(u32::MAX));
            return refuse(format!(
                "{} ratings; {} users and {} items can have {least} to {most}",
                self.ratings, self.users, self.items
            ));
        }
        Ok(())
    }
}

/// A genre: its share of the ratings as an item's first genre, and how often it comes along as a further one.
struct Genre {
    name: &'static str,
    first: f64,
    further: f64,
}

/// MovieLens' genres. The shares add up to 1. The sparse four never come along, so that their share stays what it says.
const GENRES: [Genre; 18] = [
    Genre { name: "Action", first: 0.120, further: 0.14 },
    Genre { name: "Adventure", first: 0.050, further: 0.09 },
    Genre { name: "Animation", first: 0.025, further: 0.01 },
    Genre { name: "Children's", first: 0.035, further: 0.04 },
    Genre { name: "Comedy", first: 0.210, further: 0.09 },
    Genre { name: "Crime", first: 0.045, further: 0.04 },
    Genre { name: "Documentary", first: 0.009, further: 0.0 },
    Genre { name: "Drama", first: 0.230, further: 0.16 },
    Genre { name: "Fantasy", first: 0.014, further: 0.0 },
    Genre { name: "Film-Noir", first: 0.016, further: 0.0 },
    Genre { name: "Horror", first: 0.040, further: 0.02 },
    Genre { name: "Musical", first: 0.020, further: 0.03 },
    Genre { name: "Mystery", first: 0.020, further: 0.03 },
    Genre { name: "Romance", first: 0.050, further: 0.15 },
    Genre { name: "Sci-Fi", first: 0.038, further: 0.08 },
    Genre { name: "Thriller", first: 0.040, further: 0.16 },
    Genre { name: "War", first: 0.020, further: 0.05 },
    Genre { name: "Western", first: 0.018, further: 0.0 },
];

/// The names of the genres.
pub(crate) fn genre_names() -> impl Iterator<Item = &'static str> {
    GENRES.iter().map(|genre| genre.name)
}

/// Dimensions of the space of tastes.
const TASTES: usize = 6;
/// The mean rating.
const MEAN: f64 = 3.42;
/// Standard deviations: of the users' biases, of the items', of the inner products, and of the noise.
const USER_BIAS: f64 = 0.42;
const ITEM_BIAS: f64 = 0.48;
const TASTE: f64 = 0.49;
const NOISE: f64 = 0.855;
/// How much of an item's point comes from its genres; the rest is its own.
const FROM_GENRES: f64 = 0.75;
/// Of the logarithm of the number of ratings a user gives.
const ACTIVITY: f64 = 0.95;
/// Ratings of a batch, about.
const BATCH: u64 = 1 << 16;
/// Midnight on the first of January 2000, and five years, in seconds.
const EPOCH: i64 = 946_684_800;
const YEARS: u64 = 5 * 365 * 86_400;

/// An item; its id is its place plus one.
struct Item {
    genres: Vec<usize>,
    bias: f64,
    tastes: [f64; TASTES],
}

/// The fixed part of a generated data set: items and how much each user rates. Users are made when their rows are.
pub(crate) struct Generator {
    spec: Synthetic,
    items: Vec<Item>,
    /// Draws items by popularity.
    popular: Alias,
    /// Ratings of all users before each one, and of all.
    before: Vec<u64>,
}

impl Generator {
    /// Makes items and activity.
    pub(crate) fn new(spec: &Synthetic) -> Result<Self, Error> {
        spec.check()?;
        let (items, weights) = items(spec);
        Ok(Self { spec: *spec, items, popular: Alias::new(&weights), before: activity(spec) })
    }

    /// Runs of users with about as many ratings each, and that number of ratings.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (u64, Range<u32>)> + Send + '_ {
        let (mut start, users) = (0, self.spec.users);
        std::iter::from_fn(move || {
            if start == users {
                return None;
            }
            let target = self.before[start as usize] + BATCH;
            let end = (self.before.partition_point(|&before| before < target) as u32).clamp(start + 1, users);
            let ratings = self.before[end as usize] - self.before[start as usize];
            let batch = start..end;
            start = end;
            Some((ratings, batch))
        })
    }

    /// The ratings of a run of users, user by user, each in the order of time.
    pub(crate) fn rows(&self, users: Range<u32>) -> Rows {
        let size = (self.before[users.end as usize] - self.before[users.start as usize]) as usize;
        let mut rows = Rows {
            users: Ids::with_capacity(size),
            items: Ids::with_capacity(size),
            ratings: Vec::with_capacity(size),
            timestamps: Vec::with_capacity(size),
            lines: size as u64,
        };
        let mut taken = vec![false; self.items.len()];
        let mut chosen = Vec::new();
        let scale = self.spec.scale();
        let step = f64::from(scale.step.unwrap_or(1.0));
        let (lowest, highest) = (f64::from(scale.min), f64::from(scale.max));
        for user in users {
            let mut rng = Rng::stream(self.spec.seed, "user", u64::from(user));
            let bias = USER_BIAS * rng.normal();
            let tastes: [f64; TASTES] = std::array::from_fn(|_| rng.normal());
            let mut time = EPOCH + rng.below(YEARS) as i64;
            let count = self.before[user as usize + 1] - self.before[user as usize];
            self.choose(count as usize, &mut rng, &mut taken, &mut chosen);
            for &place in &chosen {
                let item = &self.items[place];
                taken[place] = false;
                let inner: f64 = tastes.iter().zip(&item.tastes).map(|(user, item)| user * item).sum();
                let exact = MEAN + bias + item.bias + TASTE * inner + NOISE * rng.normal();
                let stars = ((exact / step + 0.5).floor() * step).clamp(lowest, highest);
                rows.users.push_number(user + 1);
                rows.items.push_number(place as u32 + 1);
                rows.ratings.push(stars as f32);
                rows.timestamps.push(time);
                time += 1 + rng.below(60) as i64;
            }
        }
        rows
    }

    /// Draws `count` different items by popularity into `chosen`, marking them in `taken`, which comes empty.
    fn choose(&self, count: usize, rng: &mut Rng, taken: &mut [bool], chosen: &mut Vec<usize>) {
        chosen.clear();
        let mut misses = 0;
        while chosen.len() < count {
            let mut place = self.popular.draw(rng);
            if taken[place] {
                misses += 1;
                if misses < 32 {
                    continue;
                }
                // The popular ones are used up: take the next that is free, of which there are plenty.
                while taken[place] {
                    place = (place + 1) % taken.len();
                }
            }
            misses = 0;
            taken[place] = true;
            chosen.push(place);
        }
    }

    /// Titles and genres by id.
    pub(crate) fn details(&self) -> Items {
        (1_u32..)
            .zip(&self.items)
            .map(|(id, item)| {
                let genres = item.genres.iter().map(|&genre| GENRES[genre].name.to_owned()).collect();
                (id.to_string(), Details { title: Some(title(id)), genres })
            })
            .collect()
    }
}

fn title(id: u32) -> String {
    format!("Synthetic Film No. {id}")
}

/// The items in order of their ids, and how popular each is.
fn items(spec: &Synthetic) -> (Vec<Item>, Vec<f64>) {
    let mut rng = Rng::stream(spec.seed, "items", 0);
    let centres: Vec<[f64; TASTES]> = GENRES.iter().map(|_| std::array::from_fn(|_| rng.normal())).collect();
    let count = spec.items as usize;
    // With this offset the medians of MovieLens 100K come out, and about those of the larger releases.
    let offset = 7.3 * f64::from(spec.items).sqrt();
    let (mut given, mut all) = ([0.0; GENRES.len()], 0.0);
    let mut ranked: Vec<(Item, f64)> = Vec::with_capacity(count);
    for rank in 0..count {
        let distance = rank as f64 + offset;
        let weight = 1.0 / (distance * distance);
        all += weight;
        // The genre furthest behind its share comes first: shares hold exactly, at every level of popularity.
        let behind = |genre: usize| GENRES[genre].first * all - given[genre];
        let first = (0..GENRES.len()).fold(0, |best, genre| if behind(genre) > behind(best) { genre } else { best });
        given[first] += weight;
        let genres = genres(first, &mut rng);
        let own = (1.0 - FROM_GENRES * FROM_GENRES).sqrt();
        let shared = FROM_GENRES / (genres.len() as f64).sqrt();
        let tastes = std::array::from_fn(|axis| {
            let centre: f64 = genres.iter().map(|&genre| centres[genre][axis]).sum();
            (shared * centre + own * rng.normal()) / (TASTES as f64).sqrt()
        });
        // Popular films are liked better, by a quarter star from the middle to the top.
        let popularity = 0.5 - rank as f64 / count as f64;
        ranked.push((Item { genres, bias: ITEM_BIAS * rng.normal() + 0.5 * popularity, tastes }, weight));
    }
    rng.shuffle(&mut ranked);
    ranked.into_iter().unzip()
}

/// The genres of an item by name: its first, and none to two of those that come along.
fn genres(first: usize, rng: &mut Rng) -> Vec<usize> {
    let further = match rng.unit() {
        draw if draw < 0.30 => 0,
        draw if draw < 0.75 => 1,
        _ => 2,
    };
    let total: f64 = GENRES.iter().map(|genre| genre.further).sum();
    let mut genres = vec![first];
    for _ in 0..further {
        let mut left = rng.unit() * total;
        let drawn = GENRES.iter().position(|genre| {
            left -= genre.further;
            left < 0.0
        });
        genres.extend(drawn.filter(|genre| !genres.contains(genre)));
    }
    genres.sort_unstable();
    genres
}

/// How many ratings come before each user's, and how many there are: log-normal, within bounds, and exactly the wanted sum.
fn activity(spec: &Synthetic) -> Vec<u64> {
    let (least, most) = (spec.least(), spec.most());
    let eager: Vec<f64> = (0..u64::from(spec.users))
        .into_par_iter()
        .map(|user| exp(ACTIVITY * Rng::stream(spec.seed, "activity", user).normal()))
        .collect();
    let count = |eager: f64, scale: f64| ((eager * scale) as u64).clamp(least, most);
    let sum = |scale: f64| eager.iter().map(|&eager| count(eager, scale)).sum::<u64>();
    // The largest scale whose sum is not too large; then the missing few are given out one each.
    let (mut low, mut high) = (0.0, 1.0);
    while sum(high) < spec.ratings && high < 1e18 {
        high *= 2.0;
    }
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if sum(middle) <= spec.ratings { low = middle } else { high = middle }
    }
    let mut counts: Vec<u64> = eager.iter().map(|&eager| count(eager, low)).collect();
    let mut missing = spec.ratings.saturating_sub(counts.iter().sum());
    while missing > 0 {
        for count in counts.iter_mut().filter(|count| **count < most) {
            if missing == 0 {
                break;
            }
            *count += 1;
            missing -= 1;
        }
    }
    std::iter::once(0)
        .chain(counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
        .collect()
}

/// Draws places in proportion to weights with one look-up (Vose, IEEE TSE 17, 1991).
struct Alias {
    keep: Vec<f64>,
    other: Vec<u32>,
}

impl Alias {
    fn new(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let mut keep: Vec<f64> = weights.iter().map(|weight| weight / total * weights.len() as f64).collect();
        let mut other: Vec<u32> = (0..weights.len() as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..keep.len()).partition(|&at| keep[at] < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            other[poor] = rich as u32;
            keep[rich] -= 1.0 - keep[poor];
            if keep[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        // What is left differs from 1 by rounding only.
        for at in small.into_iter().chain(large) {
            keep[at] = 1.0;
        }
        Self { keep, other }
    }

    #[inline]
    fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.below(self.keep.len() as u64) as usize;
        if rng.unit() < self.keep[at] { at } else { self.other[at] as usize }
    }
}

/// Writes `ratings.csv` and `movies.csv` as MovieLens does, into the existing folder `folder`.
///
/// # Errors
/// [`Error::Setting`] for sizes that cannot be, [`Error::Io`], [`Error::Cancelled`].
pub fn write_csv(spec: &Synthetic, folder: &Path, progress: &mut dyn Progress) -> Result<(), Error> {
    let generator = Generator::new(spec)?;
    let mut movies = String::from("movieId,title,genres\n");
    for (id, item) in (1..).zip(&generator.items) {
        let genres: Vec<&str> = item.genres.iter().map(|&genre| GENRES[genre].name).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(movies, "{id},{},{}", title(id), genres.join("|"));
    }
    let path = folder.join("movies.csv");
    std::fs::write(&path, movies).map_err(Error::io(&path, "write the file"))?;

    let path = folder.join("ratings.csv");
    let failed = || Error::io(&path, "write the file");
    let mut file = BufWriter::new(std::fs::File::create(&path).map_err(failed())?);
    file.write_all(b"userId,movieId,rating,timestamp\n").map_err(failed())?;
    let batches: Vec<(u64, Range<u32>)> = generator.batches().collect();
    let mut done = 0;
    for round in batches.chunks(rayon::current_num_threads() * 2) {
        let texts: Vec<String> = round.par_iter().map(|(_, users)| csv(&generator.rows(users.clone()))).collect();
        for text in texts {
            file.write_all(text.as_bytes()).map_err(failed())?;
        }
        done += round.iter().map(|(ratings, _)| ratings).sum::<u64>();
        if progress.advance("writing ratings.csv", done, Some(spec.ratings)).is_break() {
            return Err(Error::Cancelled);
        }
    }
    file.flush().map_err(failed())
}

fn csv(rows: &Rows) -> String {
    let mut text = String::with_capacity(rows.ratings.len() * 28);
    if let (Ids::Numbers(users), Ids::Numbers(items)) = (&rows.users, &rows.items) {
        for (((user, item), rating), time) in users.iter().zip(items).zip(&rows.ratings).zip(&rows.timestamps) {
            let _ = writeln!(text, "{user},{item},{rating:.1},{time}");
        }
    }
    text
}
