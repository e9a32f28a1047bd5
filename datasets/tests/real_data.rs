//! The published data sets, wherever `TALKFLOW_DATA` has them: 100K, latest-small, TREC, SST-2 and CIFAR-10 must be there, others are read
//! where they are.
//!
//! `TALKFLOW_DATA=DIR cargo test -p talkflow-datasets --test real_data`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that fails may panic, and says what it reads"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use talkflow_datasets::cards::{CARDS, Card, Kind, Rows, find};
use talkflow_datasets::examples::{self, Contents, Examples, ExamplesFiles, Subset};
use talkflow_datasets::locate::{Found, Places, locate_local};
use talkflow_datasets::prepare::{Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::selection::Selection;
use talkflow_datasets::split::{ClassSplit, Part, PartCounts, Split};

fn places() -> Places {
    let data = std::env::var_os("TALKFLOW_DATA").map(PathBuf::from);
    let data = data.expect("set TALKFLOW_DATA to a folder with data sets: this test reads the published files");
    Places { data: Some(data), cache: PathBuf::new() }
}

fn load(found: Found) -> (tempfile::TempDir, Ratings) {
    let folder = tempfile::tempdir().unwrap();
    prepare(&Source::Card(found), folder.path(), &mut Silent).unwrap();
    let ratings = Ratings::open(&RatingsFiles::in_folder(folder.path())).unwrap();
    (folder, ratings)
}

/// The ratings of each genre as counted by hand.
fn genres(card: &Card) -> Option<BTreeMap<&'static str, u64>> {
    match card.name {
        "movielens/100k" => Some(BTreeMap::from([
            ("Action", 25_589),
            ("Documentary", 758),
            ("Drama", 39_895),
            ("Fantasy", 1_352),
            ("Film-Noir", 1_733),
            ("Western", 1_854),
        ])),
        "movielens/latest-small" => Some(BTreeMap::from([
            ("Action", 30_635),
            ("Documentary", 1_219),
            ("Drama", 41_928),
            ("Fantasy", 11_834),
            ("Film-Noir", 870),
            ("IMAX", 4_145),
            ("Western", 1_930),
        ])),
        _ => None,
    }
}

#[test]
fn every_data_set_at_hand_has_what_its_publisher_says() {
    let places = places();
    for card in CARDS.iter().filter(|card| matches!(card.kind, Kind::Archive(_))) {
        let Some(found) = locate_local(card, &places) else {
            let small = ["movielens/100k", "movielens/latest-small"].contains(&card.name);
            assert!(!small, "{} is not in TALKFLOW_DATA", card.name);
            println!("{}: not at hand", card.name);
            continue;
        };
        let (folder, ratings) = load(found);
        let files = RatingsFiles::in_folder(folder.path());
        let summary = ratings.summary();
        println!("{summary:?}");
        let Rows::Ratings { counts, .. } = card.rows else { panic!("{} holds ratings", card.name) };
        assert_eq!(summary.ratings, counts.ratings);
        assert!(summary.users <= counts.users && summary.items <= counts.items);
        assert_eq!(summary.items_without_details, 0);
        for (genre, count) in genres(card).into_iter().flatten() {
            let selection = Selection::open(&files, &[genre.to_owned()]).unwrap();
            assert_eq!(selection.columns().row.len() as u64, count, "{}: {genre}", card.name);
        }
        let there: Vec<&str> = summary.genres.iter().map(|count| count.genre.as_str()).collect();
        assert_eq!(there, card.genres(), "{}", card.name);
    }
}

#[test]
fn the_first_row_of_100k_is_the_first_line_of_its_file() {
    let found = locate_local(find("movielens/100k").unwrap(), &places()).expect("movielens/100k is not in TALKFLOW_DATA");
    let (_folder, ratings) = load(found);
    assert_eq!(ratings.user_ids().unwrap()[..3], ["196", "186", "22"]);
    assert_eq!(ratings.items()[0].id, "242");
    assert_eq!(ratings.rating()[..3], [3.0, 3.0, 1.0]);
    assert_eq!(ratings.timestamps().unwrap().unwrap()[0], 881_250_949);
    assert_eq!((ratings.summary().users, ratings.summary().items), (943, 1_682));
}

fn load_examples(name: &str, subset: Option<&Subset>) -> (tempfile::TempDir, Examples) {
    let found = locate_local(find(name).unwrap(), &places()).unwrap_or_else(|| panic!("{name} is not in TALKFLOW_DATA"));
    talkflow_datasets::locate::verify(&found, &mut Silent).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let summary = examples::make(&examples::Source::Card(found), subset, folder.path(), &mut Silent).unwrap();
    println!("{summary:?}");
    let examples = Examples::open(&ExamplesFiles::in_folder(folder.path())).unwrap();
    (folder, examples)
}

fn counts(examples: &Examples) -> Vec<u64> {
    examples.summary().classes.iter().map(|count| count.rows).collect()
}

#[test]
fn trec_has_six_types_and_a_line_that_is_no_utf8() {
    let (_folder, examples) = load_examples("trec", None);
    assert_eq!(examples.summary().parts, Some(PartCounts { train: 5_452, validation: 0, test: 500 }));
    assert_eq!(counts(&examples), [1_162 + 138, 1_250 + 94, 86 + 9, 1_223 + 65, 835 + 81, 896 + 113]);
    let Contents::Texts(texts) = examples.contents().unwrap() else { panic!("questions are texts") };
    assert_eq!(
        (texts[0].as_str(), examples.labels()[0], examples.ids()[0].as_str()),
        ("How did serfdom develop in and then leave Russia ?", 0, "train/1")
    );
    assert_eq!(texts.iter().filter(|text| !text.is_ascii()).count(), 1);
    assert!(texts.iter().all(|text| !text.contains('\u{fffd}')));
    let split = Split::of_examples(&examples, &ClassSplit::Given(None), 1).unwrap();
    assert_eq!(split.summary().counts.test, 500);
    let validating = split.rows(Part::Validation).iter().filter(|&&row| examples.labels()[row as usize] == 2).count();
    assert_eq!(validating, 9, "a tenth of 86");
}

#[test]
fn sst2_keeps_its_own_validation_part() {
    let (_folder, examples) = load_examples("sst2", None);
    assert_eq!(counts(&examples), [3_310 + 428 + 912, 3_610 + 444 + 909]);
    let split = Split::of_examples(&examples, &ClassSplit::Given(None), 1).unwrap();
    assert_eq!(split.summary().counts, PartCounts { train: 6_920, validation: 872, test: 1_821 });
}

#[test]
fn cifar_10_and_a_subset_of_it_have_the_published_images() {
    let (_folder, all) = load_examples("cifar/10", None);
    assert_eq!(counts(&all), [6_000; 10]);
    assert_eq!((all.len(), all.shards()), (60_000, 15));
    // The first test images are a cat, two ships and an airplane; the first train image is a frog.
    assert_eq!((all.labels()[0], &all.labels()[50_000..50_004]), (6, &[3, 8, 8, 0][..]));
    let subset = Subset { per_class: 500, validation: None, test: Some(100), seed: 1 };
    let (_folder, some) = load_examples("cifar/10", Some(&subset));
    assert_eq!(
        (some.summary().parts, counts(&some)),
        (Some(PartCounts { train: 5_000, validation: 0, test: 1_000 }), vec![600; 10])
    );
    let Contents::Images(pixels) = all.contents().unwrap() else { panic!("these are images") };
    let Contents::Images(kept) = some.contents().unwrap() else { panic!("these are images") };
    let places: BTreeMap<&str, usize> = all.ids().iter().map(String::as_str).zip(0..).collect();
    for (row, id) in some.ids().iter().enumerate() {
        let place = places[id.as_str()];
        assert_eq!(some.labels()[row], all.labels()[place]);
        assert!(kept[row * 3072..(row + 1) * 3072] == pixels[place * 3072..(place + 1) * 3072], "{id}");
    }
}
