//! Parquet files of the user's own: as ratings, and as a list of items.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::ColumnNames;
use talkflow_datasets::prepare::{OwnFiles, OwnFormat, OwnItems, Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{ITEMS, RATINGS, Ratings, RatingsFiles, USERS};
use talkflow_fuzz::{choice, chosen, prepared, scratch, written};

fn seeds() -> Vec<Vec<u8>> {
    let file = |name: &str| std::fs::read(prepared().join(name)).expect("a file of the data set");
    vec![chosen(0, file(RATINGS)), chosen(1, file(RATINGS)), chosen(2, file(ITEMS)), chosen(2, file(USERS))]
}

fuzz_target!(init: talkflow_fuzz::begin_guarded(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    let file = written("own.parquet", bytes);
    let items = OwnItems {
        path: file.clone(),
        format: OwnFormat::Parquet,
        id: "id".to_owned(),
        title: Some("title".to_owned()),
        genres: Some("genres".to_owned()),
        between: "|".to_owned(),
    };
    let (ratings, format) = match kind % 3 {
        2 => (written("ratings", b"user,item,rating\n1,1,3\n1,2,4\n"), OwnFormat::Csv { separator: b',' }),
        _ => (file, OwnFormat::Parquet),
    };
    let timestamp = (kind % 3 == 1).then(|| "timestamp".to_owned());
    let source = Source::Own(OwnFiles {
        name: "own".to_owned(),
        ratings,
        format,
        columns: ColumnNames { timestamp, ..ColumnNames::default() },
        items: (kind % 3 == 2).then_some(items),
        scale: None,
        licence: None,
        citation: None,
    });
    let out = scratch().join("out");
    std::fs::create_dir_all(&out).expect("TMPDIR can be written");
    if prepare(&source, &out, &mut Silent).is_ok() {
        // What was prepared can be read.
        Ratings::open(&RatingsFiles::in_folder(&out)).expect("the artifact that was just made");
    }
});
