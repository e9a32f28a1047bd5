//! Ranking: how high a model puts the item of each scored row among those that the row's user has not rated. Knows models by what they give an
//! item, and neither tables nor blocks.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array};
use rayon::prelude::*;
use talkflow_datasets::{Rng, selection::Selection};
use talkflow_distill::{Examples, Rank, RatingModel};

use super::{files, ratings::Scored, settings};
use crate::fields::Fields;

/// The ranks of all rows scored, by model.
pub const RANKS: &str = "ranks.parquet";

/// Settings of the section `ranking`.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// k of HR@k and NDCG@k.
    pub top: usize,
    /// Candidates that are drawn; all where there is none.
    pub sampled: Option<usize>,
    seed: u64,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Ranking {
    f.section("ranking", |f| {
        let top = settings::size(f, "top", 10);
        let sampled = settings::optional_size(f, "sampled");
        // Without a draw there is nothing for a seed to name.
        let seed = |f: &mut Fields<'_>| f.int("seed", Some(1), ..);
        Ranking { top, sampled, seed: if sampled.is_some() { seed(f) } else { f.unrecorded(seed) } }
    })
}

/// Of some genres the items, and who has rated which.
pub struct Rated {
    /// Ascending.
    items: Vec<u32>,
    /// The items of user `u`, ascending, are from `starts[u]` to `starts[u + 1]`.
    starts: Vec<usize>,
    rated: Vec<u32>,
}

impl Rated {
    /// Of all ratings, whatever part of a split they are in.
    ///
    /// # Errors
    /// A genre that there is not.
    pub fn of(selection: &Selection, genres: &[String]) -> anyhow::Result<Self> {
        let has = selection.having(genres)?;
        let rows = selection.pick(|_, item| has[item as usize]);
        let users = usize::try_from(selection.summary().users)?;
        let mut pairs: Vec<(u32, u32)> = rows.user.iter().copied().zip(rows.item.iter().copied()).collect();
        pairs.par_sort_unstable();
        let starts = (0..=users).map(|user| pairs.partition_point(|(other, _)| (*other as usize) < user)).collect();
        let items = (0..).zip(&has).filter(|(_, has)| **has).map(|(item, _)| item).collect();
        Ok(Self { items, starts, rated: pairs.into_iter().map(|(_, item)| item).collect() })
    }

    /// The items that a user has not rated, ascending.
    fn left(&self, user: u32) -> Vec<u32> {
        let user = user as usize;
        let mut rated = self.rated[self.starts[user]..self.starts[user + 1]].iter().copied().peekable();
        let new = |item: &u32| {
            while rated.next_if(|rated| rated < item).is_some() {}
            rated.peek() != Some(item)
        };
        self.items.iter().copied().filter(new).collect()
    }
}

impl Ranking {
    /// The rank of the item of each row. Rows are shared out over threads; each is ranked by itself, so the numbers are the same for any
    /// number of them.
    ///
    /// # Errors
    /// A prediction that is no finite number.
    pub fn of(&self, model: &RatingModel, rows: &Examples, rated: &Rated) -> anyhow::Result<Vec<Ranked>> {
        let rank = |place: usize| {
            let (row, user, item) = (rows.row[place], rows.user[place], rows.item[place]);
            let mut candidates = rated.left(user);
            if let Some(sampled) = self.sampled {
                self.draw(row, sampled, &mut candidates);
            }
            candidates.push(item);
            let scores = model.scores(user, &candidates)?;
            let rank = scores.split_last().and_then(|(own, others)| Rank::of(*own, others));
            let rank =
                rank.with_context(|| format!("a prediction for user {user} is no finite number, which cannot be ranked"))?;
            Ok(Ranked { user, item, rank })
        };
        (0..rows.len()).into_par_iter().map(rank).collect()
    }

    /// Leaves `count` of the candidates of a row, drawn without putting back; the same ones for every model.
    fn draw(&self, row: u32, count: usize, candidates: &mut Vec<u32>) {
        let mut rng = Rng::stream(self.seed, "ranking candidates", u64::from(row));
        for place in 0..count.min(candidates.len()) {
            let other = place + rng.below((candidates.len() - place) as u64) as usize;
            candidates.swap(place, other);
        }
        candidates.truncate(count);
    }

    /// What a reader of the numbers has to know.
    pub fn note(&self) -> String {
        let Self { top, sampled, .. } = self;
        match sampled {
            None => format!(
                "HR@{top} and NDCG@{top} rank the item of each row among all items of the model's genres that its user has not rated; equal \
                 predictions count as in every order"
            ),
            Some(drawn) => format!(
                "HR@{top} and NDCG@{top} rank the item of each row among {drawn} drawn of the items that its user has not rated: such numbers \
                 can order models otherwise than all items do"
            ),
        }
    }
}

/// Writes the ranks of all models: for each the row, column and block of its entry, and for each of its rows the user, the item, and its place.
pub fn write(out: &Path, scored: &[Scored<'_>], top: usize) -> anyhow::Result<()> {
    let ranked = || scored.iter().flat_map(|one| one.beside.ranks.iter().map(move |ranked| (&one.entry, ranked)));
    let texts =
        |of: fn(&crate::scores::Entry) -> &str| Arc::new(StringArray::from_iter_values(ranked().map(|(entry, _)| of(entry))));
    let counts = |of: fn(&Ranked) -> u32| Arc::new(UInt32Array::from_iter_values(ranked().map(|(_, ranked)| of(ranked))));
    let worth =
        |of: fn(Rank, usize) -> f64| Arc::new(Float64Array::from_iter_values(ranked().map(|(_, ranked)| of(ranked.rank, top))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_row", texts(|entry| &entry.row)),
        ("table_column", texts(|entry| &entry.column)),
        ("block", texts(|entry| &entry.block)),
        ("user", counts(|ranked| ranked.user)),
        ("item", counts(|ranked| ranked.item)),
        ("above", counts(|ranked| ranked.rank.above as u32)),
        ("equal", counts(|ranked| ranked.rank.equal as u32)),
        ("others", counts(|ranked| ranked.rank.others as u32)),
        ("hr", worth(Rank::hit)),
        ("ndcg", worth(Rank::gain)),
    ];
    files::write_parquet(&out.join(RANKS), columns)
}

/// A row's item, ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Whose row.
    pub user: u32,
    /// Its item.
    pub item: u32,
    /// Its place among the candidates.
    pub rank: Rank,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use talkflow_distill::{DeviceKind, Method, Mf, ModelSpec, Scale, TaskData, TrainConfig, train};
    use talkflow_statistics::{Aggregate, Clusters, Confidence, Resampling};

    use super::*;

    const USERS: u32 = 30;
    const ITEMS: u32 = 40;

    /// Two ratings in three, of which the last of each user is held out.
    fn world() -> (Examples, Examples, Rated) {
        let (mut train, mut held) = (Examples::default(), Examples::default());
        let (mut starts, mut rated) = (vec![0], Vec::new());
        for user in 0..USERS {
            let own: Vec<u32> = (0..ITEMS).filter(|item| (user * 7 + item * 5) % 3 != 0).collect();
            for &item in &own {
                let into = if Some(&item) == own.last() { &mut held } else { &mut train };
                into.row.push(user * ITEMS + item);
                into.user.push(user);
                into.item.push(item);
                into.rating.push(1.0 + ((user * 3 + item * item) % 5) as f32);
            }
            rated.extend(own);
            starts.push(rated.len());
        }
        (train, held, Rated { items: (0..ITEMS).collect(), starts, rated })
    }

    fn model(train_rows: &Examples, seed: u64, method: Method) -> RatingModel {
        let scale = Scale { min: 1.0, max: 5.0 };
        let data = TaskData { train: train_rows, validation: train_rows, users: USERS as usize, items: ITEMS as usize, scale };
        let model = ModelSpec::Mf(Mf { embedding: 4, ..Mf::default() });
        let config = TrainConfig { model, method, epochs: 4, seed, ..TrainConfig::default() };
        train(&config, &data, None, DeviceKind::Cpu, &mut ()).unwrap().model
    }

    const ALL: Ranking = Ranking { top: 5, sampled: None, seed: 1 };

    /// By a loop over all items, and all places of an item that shares its score.
    #[test]
    fn ranks_are_those_of_a_loop_over_all_items() {
        let (rows, held, rated) = world();
        let model = model(&rows, 1, Method::Scratch);
        let ranked = ALL.of(&model, &held, &rated).unwrap();
        assert_eq!(ranked.len(), USERS as usize);
        for (place, ranked) in ranked.iter().enumerate() {
            let (user, item) = (held.user[place], held.item[place]);
            assert_eq!((ranked.user, ranked.item), (user, item));
            let score = |item: u32| model.taps(&[user], &[item]).unwrap().output[0];
            let others: Vec<u32> = (0..ITEMS).filter(|item| (user * 7 + item * 5) % 3 == 0).collect();
            let count = |fits: &dyn Fn(f32) -> bool| others.iter().filter(|other| fits(score(**other))).count();
            let own = score(item);
            let expected = Rank { above: count(&|s| s > own), equal: count(&|s| s == own), others: others.len() };
            assert_eq!(ranked.rank, expected, "user {user}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let (rows, held, rated) = world();
        let model = model(&rows, 1, Method::Scratch);
        for ranking in [ALL, Ranking { sampled: Some(6), ..ALL }] {
            let by = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| ranking.of(&model, &held, &rated).unwrap())
            };
            assert_eq!(by(1), by(2));
            assert_eq!(by(1), by(5));
        }
    }

    #[test]
    fn draws_are_of_what_is_left_and_the_same_for_every_model() {
        let (.., rated) = world();
        let left = rated.left(3);
        let drawn = |seed: u64, row: u32, count: usize| {
            let mut candidates = left.clone();
            Ranking { seed, ..ALL }.draw(row, count, &mut candidates);
            candidates
        };
        let one = drawn(1, 9, 6);
        assert_eq!(one.len(), 6);
        let distinct: std::collections::BTreeSet<&u32> = one.iter().collect();
        assert!(distinct.len() == 6 && one.iter().all(|item| left.contains(item)));
        assert_eq!(one, drawn(1, 9, 6));
        assert_ne!(one, drawn(1, 10, 6));
        assert_ne!(one, drawn(2, 9, 6));
        let mut all = drawn(1, 9, 1000);
        all.sort_unstable();
        assert_eq!(all, left);
        // Each of what is left is drawn as often: 3000 draws of 6 from 13 or 14.
        let mut counts = std::collections::BTreeMap::new();
        (0..3000).flat_map(|row| drawn(1, row, 6)).for_each(|item| *counts.entry(item).or_insert(0) += 1);
        let expected = 3000.0 * 6.0 / left.len() as f64;
        assert_eq!(counts.len(), left.len());
        assert!(counts.values().all(|count| (f64::from(*count) - expected).abs() < 0.1 * expected), "{counts:?}");
    }

    /// What is kept of each user is what users are resampled by.
    #[test]
    fn two_models_compare_over_users() {
        let (rows, held, rated) = world();
        let ranks = |method| ALL.of(&model(&rows, 1, method), &held, &rated).unwrap();
        let (one, other) = (ranks(Method::Scratch), ranks(Method::BiasOnly));
        let pairs = one.iter().zip(&other).map(|(a, b)| (a.user, a.rank.gain(5), b.rank.gain(5)));
        let found = Clusters::of_rows(pairs, Aggregate::Mean).unwrap();
        let found = found.bootstrap(Resampling::default(), Confidence::default()).unwrap();
        assert_eq!((found.clusters, found.rows), (USERS as usize, u64::from(USERS)));
        let mean = |ranks: &[Ranked]| ranks.iter().map(|ranked| ranked.rank.gain(5)).sum::<f64>() / f64::from(USERS);
        assert!((found.difference - (mean(&one) - mean(&other))).abs() < 1e-12);
        assert!(found.bca.low <= found.difference && found.difference <= found.bca.high);
    }
}
