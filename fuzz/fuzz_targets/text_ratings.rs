//! Files of ratings that are text: the user's own with commas, tabs and semicolons, RecBole's atomic files, and MovieLens' three ways.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::cards::{self, Format, Scale};
use talkflow_datasets::locate::{Files, Found, Origin};
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::{ColumnNames, Input};
use talkflow_fuzz::{FLAGS, choice, chosen, scratch, written};

fn seeds() -> Vec<Vec<u8>> {
    vec![
        chosen(0, "user,item,rating\n1,10,4\n\"a,\"\"b\",11,3.5\n2,10,1e0\n"),
        chosen(1, "user\titem\trating\n1\t10\t4\n2\t11\t5\r\n"),
        chosen(2, "item;rating;user;more\n1;2;3;x\n"),
        chosen(3, "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t4.0\t978300760.0\nu2\ti2\t3\t1\n"),
        chosen(4, "1::1193::5::978300760\n1::661::3::978302109\n".repeat(4)),
        chosen(5, "196\t242\t3\t881250949\n186\t302\t3\t891717742\n".repeat(4)),
        chosen(6, "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,1029,3.0,1260759179\n"),
        chosen(7, "user,item,rating\n1,10,4\n"),
    ]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let ratings = written("ratings", text);
    let own = |format, columns, scale| {
        let name = "own".to_owned();
        let ratings = ratings.clone();
        Source::Own(OwnFiles { name, ratings, format, columns, items: None, scale, licence: None, citation: None })
    };
    let official = |name: &str, format: Format, items: &str| {
        let card = cards::find(name).expect("a card");
        let items = Input::File(written("items", items.as_bytes()));
        let files = Files::Official { format, ratings: Input::File(ratings.clone()), items };
        Source::Card(Found { card, files, origin: Origin::Generated })
    };
    let csv = |separator| OwnFormat::Csv { separator };
    let source = match kind % 8 {
        0 => own(csv(b','), ColumnNames::default(), None),
        1 => own(csv(b'\t'), ColumnNames::default(), None),
        2 => own(csv(b';'), ColumnNames::default(), None),
        3 => own(OwnFormat::Atomic, ColumnNames::recbole(), None),
        4 => official("movielens/1m", Format::DoubleColon, "1::One::Drama\n"),
        5 => official("movielens/100k", Format::Tab, FLAGS),
        6 => official("movielens/latest-small", Format::Csv, "movieId,title,genres\n1,One,Drama\n"),
        _ => own(csv(b','), ColumnNames::default(), Scale::new(1.0, 5.0, Some(0.5)).ok()),
    };
    let out = scratch().join("out");
    std::fs::create_dir_all(&out).expect("TMPDIR can be written");
    if prepare(&source, &out, &mut Silent).is_ok() {
        // What was prepared can be read.
        Ratings::open(&RatingsFiles::in_folder(&out)).expect("the artifact that was just made");
    }
});
