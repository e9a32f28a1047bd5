//! Lists of items: `u.item`, `movies.dat`, tables with a header, RecBole's `.item`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::cards::{self, Format};
use talkflow_datasets::locate::{Files, Found, Origin};
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::{ColumnNames, Input};
use talkflow_fuzz::{FLAGS, choice, chosen, scratch, written};

fn seeds() -> Vec<Vec<u8>> {
    vec![
        chosen(0, "id,title,genres\n1,\"One, The\",Comedy|Drama\n2,X,(no genres listed)\n"),
        chosen(1, "id\ttitle\tgenres\n1\tOne\tComedy\n"),
        chosen(2, "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tThe \"Big\" One\tComedy Film-Noir\n2\t\t\n"),
        chosen(3, "1::Mission :: Possible (1990)::Action|Sci-Fi\n11::L\u{e9}on::Drama\n"),
        chosen(4, FLAGS),
        chosen(5, "movieId,title,genres\n1,One,Drama\n"),
        chosen(6, "id,title,genres\n1,One,Drama\n"),
    ]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let items = written("items", text);
    let own = |format, between: &str| {
        let id = if format == OwnFormat::Atomic { "item_id" } else { "id" };
        let list = OwnItems {
            path: items.clone(),
            format,
            id: id.to_owned(),
            title: Some("title".to_owned()),
            genres: Some("genres".to_owned()),
            between: between.to_owned(),
        };
        Source::Own(OwnFiles {
            name: "own".to_owned(),
            ratings: written("ratings", b"user,item,rating\n1,1,3\n1,2,4\n"),
            format: OwnFormat::Csv { separator: b',' },
            columns: ColumnNames::default(),
            items: Some(list),
            scale: None,
            licence: None,
            citation: None,
        })
    };
    let official = |name: &str, format: Format, ratings: &str| {
        let ratings = Input::File(written("ratings", ratings.as_bytes()));
        let files = Files::Official { format, ratings, items: Input::File(items.clone()) };
        Source::Card(Found { card: cards::find(name).expect("a card"), files, origin: Origin::Generated })
    };
    let source = match kind % 7 {
        0 => own(OwnFormat::Csv { separator: b',' }, "|"),
        1 => own(OwnFormat::Csv { separator: b'\t' }, ""),
        2 => own(OwnFormat::Atomic, " "),
        3 => official("movielens/1m", Format::DoubleColon, "1::1::3::4\n"),
        4 => official("movielens/100k", Format::Tab, "1\t1\t3\t4\n"),
        5 => official("movielens/latest-small", Format::Csv, "userId,movieId,rating,timestamp\n1,1,3,4\n"),
        _ => own(OwnFormat::Csv { separator: b',' }, ", "),
    };
    let out = scratch().join("out");
    std::fs::create_dir_all(&out).expect("TMPDIR can be written");
    if prepare(&source, &out, &mut Silent).is_ok() {
        // What was prepared can be read.
        Ratings::open(&RatingsFiles::in_folder(&out)).expect("the artifact that was just made");
    }
});
