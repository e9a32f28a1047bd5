//! The published data sets, wherever `TALKFLOW_DATA` has them: 100K and latest-small must be there, larger ones are read where they are.
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
use talkflow_datasets::locate::{Found, Places, locate_local};
use talkflow_datasets::prepare::{Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::selection::Selection;

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
