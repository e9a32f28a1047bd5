//! The generator as the card and manifests use it: its bytes, its statistics, and whether it is worth distilling on.

use sha2::{Digest, Sha256};
use talkflow_datasets::Error;
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Provenance, Ratings};
use talkflow_datasets::split::{Fractions, Part, Split, SplitSpec};
use talkflow_datasets::synthetic::{Synthetic, write_csv};

use super::{contents, prepared, rows_of_genre};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const SPARSE: [&str; 4] = ["Documentary", "Fantasy", "Film-Noir", "Western"];

#[test]
fn the_default_is_in_the_likeness_of_100k() {
    let (_folder, ratings) = prepared(&Source::Synthetic(Synthetic::default()));
    let summary = ratings.summary();
    assert_eq!((summary.ratings, summary.users, summary.source), (100_000, 943, Provenance::Synthetic));
    assert!((1_600..=1_682).contains(&summary.items), "{}", summary.items);
    assert_eq!(summary.genres.len(), 18);
    for count in &summary.genres {
        let share = count.ratings as f64 / 1e5;
        if SPARSE.contains(&count.genre.as_str()) {
            assert!((0.005..0.02).contains(&share), "{count:?}");
        } else {
            assert!(share > 0.025, "{count:?}");
        }
    }
    // MovieLens 100K: mean 3.53, standard deviation 1.126, a median of 65 ratings a user and 27 an item, 20 at least and 737 at most a user.
    let mean = ratings.rating().iter().map(|&r| f64::from(r)).sum::<f64>() / 1e5;
    let variance = ratings.rating().iter().map(|&r| (f64::from(r) - mean).powi(2)).sum::<f64>() / 1e5;
    assert!((mean - 3.53).abs() < 0.06, "{mean}");
    assert!((variance.sqrt() - 1.126).abs() < 0.04, "{}", variance.sqrt());
    let counts = |of: &[u32], size: u64| {
        let mut counts = vec![0_u32; size as usize];
        of.iter().for_each(|&id| counts[id as usize] += 1);
        counts.sort_unstable();
        counts
    };
    let users = counts(ratings.user(), summary.users);
    assert!(users[0] >= 20 && users[942] <= 700 && (55..80).contains(&users[471]), "{} {} {}", users[0], users[471], users[942]);
    let items = counts(ratings.item(), summary.items);
    assert!(
        (20..40).contains(&items[items.len() / 2]) && items[items.len() - 1] > 250,
        "{} {}",
        items[items.len() / 2],
        items[items.len() - 1]
    );
    // Every rating is of another (user, item).
    let mut pairs: Vec<_> = ratings.user().iter().zip(ratings.item()).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!(pairs.len(), 100_000);
}

#[test]
fn the_seed_and_the_scale_matter() {
    let spec = Synthetic { users: 200, items: 300, ratings: 5_000, half_stars: true, seed: 3 };
    let (_one, first) = prepared(&Source::Synthetic(spec));
    let (_two, second) = prepared(&Source::Synthetic(Synthetic { seed: 4, ..spec }));
    assert_ne!(first.rating(), second.rating());
    assert!(first.rating().iter().any(|rating| rating.fract() == 0.5));
    assert_eq!(first.summary().scale.step, Some(0.5));
}

#[test]
fn sizes_at_the_edge_are_made_exactly() {
    for (users, items, ratings) in [(1, 50, 20), (7, 50, 140), (300, 60, 300), (40, 1_000, 16_000)] {
        let spec = Synthetic { users, items, ratings, ..Synthetic::default() };
        let (_folder, made) = prepared(&Source::Synthetic(spec));
        assert_eq!((made.len() as u64, made.summary().users), (ratings, u64::from(users)));
    }
    for (users, items, ratings) in [(0, 50, 10), (10, 10, 20), (10, 50, 9), (10, 50, 201)] {
        let spec = Synthetic { users, items, ratings, ..Synthetic::default() };
        let folder = tempfile::tempdir().unwrap();
        let error = write_csv(&spec, folder.path(), &mut Silent).unwrap_err();
        assert!(matches!(error, Error::Setting(_)), "{error}");
    }
}

#[test]
fn written_as_csv_and_read_again_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let spec = Synthetic { users: 200, items: 300, ratings: 5_000, half_stars: true, seed: 3 };
    write_csv(&spec, folder.path(), &mut Silent).unwrap();
    let own = OwnFiles {
        name: "movielens/synthetic".to_owned(),
        ratings: folder.path().join("ratings.csv"),
        format: OwnFormat::Csv { separator: b',' },
        columns: talkflow_datasets::ColumnNames::movielens(),
        items: Some(OwnItems {
            path: folder.path().join("movies.csv"),
            format: OwnFormat::Csv { separator: b',' },
            id: "movieId".to_owned(),
            title: Some("title".to_owned()),
            genres: Some("genres".to_owned()),
            between: "|".to_owned(),
        }),
        scale: None,
        licence: None,
        citation: None,
    };
    let (read, ratings) = prepared(&Source::Own(own));
    let (made, _) = prepared(&Source::Synthetic(spec));
    assert_eq!(ratings.summary().scale, spec.scale(), "read off the rows");
    let (mut read, mut made) = (contents(read.path()), contents(made.path()));
    // The summaries differ in who is said to have made the ratings.
    assert!(read.remove("dataset.json") != made.remove("dataset.json"));
    assert!(read == made);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let spec = Source::Synthetic(Synthetic { ratings: 200_000, users: 2_000, ..Synthetic::default() });
    let made: Vec<_> = [1, 3]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            contents(pool.install(|| prepared(&spec)).0.path())
        })
        .collect();
    assert!(made[0] == made[1]);
}

/// A change of these digests means that synthetic data are other data than before, on which every result has to be made anew: never
/// change the generator without that being the purpose. Contents first, so that a new Parquet library does not look like new data.
#[test]
fn the_bytes_are_what_they_always_were() {
    let (folder, ratings) = prepared(&Source::Synthetic(Synthetic::default()));
    let mut columns = Vec::new();
    let times = ratings.timestamps().unwrap().unwrap();
    for (row, time) in times.iter().enumerate() {
        columns.extend_from_slice(&ratings.user()[row].to_le_bytes());
        columns.extend_from_slice(&ratings.item()[row].to_le_bytes());
        columns.extend_from_slice(&ratings.rating()[row].to_le_bytes());
        columns.extend_from_slice(&time.to_le_bytes());
    }
    let items = format!("{:?}", ratings.items());
    let contents_digests = [hex(&columns), hex(items.as_bytes())];
    assert_eq!(
        contents_digests,
        [
            "1e7fb699500b6ccbeb5af5d06faa983a82f0fa563375282bfc26277edd14bdfb",
            "e09896b391e56dd34b740ccf4c79b57843bb8c3908af5f6b004e6d1d913b7478"
        ]
    );
    let files: Vec<String> = contents(folder.path()).iter().map(|(name, bytes)| format!("{name} {}", hex(bytes))).collect();
    assert_eq!(
        files,
        [
            "dataset.json de3426741b451efdd4fe6b63ece1ca59ac1a8bbd1b6b875d3e1a7cc135fd9a81",
            "items.parquet accff3189a0ee66a831216671d004b52fba658e5bd232245c34fe828ed4247bb",
            "ratings.parquet 777c1333aa796891bf17f56f6f81f15ac8abf1eef509b3ed5be763e78ad2d158",
            "users.parquet 3f9df4b27e2da8181ba69128605b3a29ffde69782864b523b103fba7e27c2c93"
        ]
    );
}

/// A rating model with biases and `K` factors, fitted by alternating ridge regressions; `K` = 0 is the bias-only model.
struct Model<const K: usize> {
    mean: f64,
    users: Vec<Vec<f64>>,
    items: Vec<Vec<f64>>,
}

impl<const K: usize> Model<K> {
    fn fit(ratings: &Ratings, rows: &[u32], ridge: f64) -> Self {
        let mean = rows.iter().map(|&row| f64::from(ratings.rating()[row as usize])).sum::<f64>() / rows.len() as f64;
        // A bias and K factors each; the items' start is any fixed pattern without symmetry.
        let start = |item: usize| {
            (0..=K).map(|axis| if axis == 0 { 0.0 } else { ((item * 31 + axis * 17) % 13) as f64 / 26.0 - 0.23 }).collect()
        };
        let mut model = Self {
            mean,
            users: vec![vec![0.0; K + 1]; ratings.summary().users as usize],
            items: (0..ratings.summary().items as usize).map(start).collect(),
        };
        for _ in 0..12 {
            model.users = model.solve(ratings, rows, ratings.user(), ratings.item(), &model.items, model.users.len(), ridge);
            model.items = model.solve(ratings, rows, ratings.item(), ratings.user(), &model.users, model.items.len(), ridge);
        }
        model
    }

    /// For each of `count` things: the bias and factors that fit its ratings best, the other side being `fixed`.
    #[expect(clippy::too_many_arguments, reason = "the two sides of the model in one function")]
    fn solve(
        &self,
        ratings: &Ratings,
        rows: &[u32],
        own: &[u32],
        other: &[u32],
        fixed: &[Vec<f64>],
        count: usize,
        ridge: f64,
    ) -> Vec<Vec<f64>> {
        let size = K + 1;
        let mut normal = vec![vec![0.0; size * (size + 1)]; count];
        for &row in rows {
            let row = row as usize;
            let side = &fixed[other[row] as usize];
            let target = f64::from(ratings.rating()[row]) - self.mean - side[0];
            let system = &mut normal[own[row] as usize];
            let feature = |axis: usize| if axis == 0 { 1.0 } else { side[axis] };
            for a in 0..size {
                for b in 0..size {
                    system[a * (size + 1) + b] += feature(a) * feature(b);
                }
                system[a * (size + 1) + size] += feature(a) * target;
            }
        }
        normal.into_iter().map(|system| Self::eliminate(system, ridge)).collect()
    }

    /// Solves one system of size K + 1 by elimination; the ridge keeps every pivot above 0.
    fn eliminate(mut system: Vec<f64>, ridge: f64) -> Vec<f64> {
        let (size, width) = (K + 1, K + 2);
        for a in 0..size {
            // Biases are shrunk less.
            system[a * width + a] += if a == 0 { 4.0 } else { ridge };
        }
        for a in 0..size {
            for b in a + 1..size {
                let factor = system[b * width + a] / system[a * width + a];
                for column in a..width {
                    system[b * width + column] -= factor * system[a * width + column];
                }
            }
        }
        let mut solution = vec![0.0; size];
        for a in (0..size).rev() {
            let known: f64 = (a + 1..size).map(|b| system[a * width + b] * solution[b]).sum();
            solution[a] = (system[a * width + size] - known) / system[a * width + a];
        }
        solution
    }

    fn rmse(&self, ratings: &Ratings, rows: &[u32]) -> f64 {
        let scale = ratings.summary().scale;
        let squares: f64 = rows
            .iter()
            .map(|&row| {
                let row = row as usize;
                let (user, item) = (&self.users[ratings.user()[row] as usize], &self.items[ratings.item()[row] as usize]);
                let inner: f64 = (1..=K).map(|axis| user[axis] * item[axis]).sum();
                let predicted = (self.mean + user[0] + item[0] + inner).clamp(f64::from(scale.min), f64::from(scale.max));
                (f64::from(ratings.rating()[row]) - predicted).powi(2)
            })
            .sum();
        (squares / rows.len() as f64).sqrt()
    }
}

#[test]
fn an_all_genre_teacher_has_something_to_teach() {
    let (folder, ratings) = prepared(&Source::Synthetic(Synthetic::default()));
    let split = Split::make(&ratings, &SplitSpec::ByRating(Fractions::new(0.8, 0.1, 0.1).unwrap()), 1).unwrap();
    let (train, test) = (split.rows(Part::Train), split.rows(Part::Test));
    let biases = Model::<0>::fit(&ratings, &train, 0.0).rmse(&ratings, &test);
    let teacher = Model::<6>::fit(&ratings, &train, 8.0);
    let factors = teacher.rmse(&ratings, &test);
    // The bands of MovieLens 100K: 0.940 for biases, 0.90 to 0.91 for good factor models.
    assert!((0.930..0.950).contains(&biases), "{biases}");
    assert!((0.885..0.910).contains(&factors), "{factors}");
    let mut gains = Vec::new();
    for genre in SPARSE {
        let rows = rows_of_genre(folder.path(), genre);
        let (genre_train, genre_test) = (split.within(&rows, Part::Train), split.within(&rows, Part::Test));
        let own = Model::<0>::fit(&ratings, &genre_train, 0.0).rmse(&ratings, &genre_test);
        gains.push(own - teacher.rmse(&ratings, &genre_test));
    }
    assert!(gains.iter().all(|&gain| gain > 0.03), "{gains:?}");
    assert!(gains.iter().sum::<f64>() / 4.0 > 0.06, "{gains:?}");
}
