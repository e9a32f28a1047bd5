//! Splits that the user brings: files of ratings, one a part, or a table of rows and parts.
//!
//! Files of ratings stand in one input with zero bytes between them.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::ColumnNames;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::split::{Fractions, ImportedFiles, Split, SplitSpec};
use talkflow_fuzz::{choice, chosen, prepared, scratch, written};

fn ratings() -> &'static Ratings {
    static RATINGS: OnceLock<Ratings> = OnceLock::new();
    RATINGS.get_or_init(|| Ratings::open(&RatingsFiles::in_folder(prepared())).expect("the data set"))
}

fn seeds() -> Vec<Vec<u8>> {
    let ratings = ratings();
    let spec = SplitSpec::ByRating(Fractions::new(0.8, 0.1, 0.1).expect("shares of 1"));
    let csv = scratch().join("split.csv");
    Split::make(ratings, &spec, 1).and_then(|split| split.export_csv(&csv)).expect("a split");
    let users = ratings.user_ids().expect("the users");
    let lines = |separator: &str, rows: std::ops::Range<usize>| -> String {
        let (user, item) = (ratings.user(), ratings.item());
        let line = |row: usize| {
            let id = &ratings.items()[item[row] as usize].id;
            [users[user[row] as usize].as_str(), id, &ratings.rating()[row].to_string(), "1"].join(separator) + "\n"
        };
        rows.map(line).collect()
    };
    let files = |separator: &str, head: &str| {
        format!("{head}{}\0{head}{}\0{head}{}", lines(separator, 0..80), lines(separator, 80..100), lines(separator, 0..0))
    };
    vec![
        chosen(0, std::fs::read(csv).expect("the export")),
        chosen(1, files("\t", "")),
        chosen(2, files("::", "")),
        chosen(3, files(",", "user,item,rating,timestamp\n")),
    ]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let spec = if kind % 4 == 0 {
        SplitSpec::Rows(written("split.csv", text))
    } else {
        let mut parts = text.splitn(3, |byte| *byte == 0);
        let mut file = |name| written(name, parts.next().unwrap_or_default());
        let (train, test) = (file("train"), file("test"));
        let validation = (kind % 4 == 2).then(|| file("validation"));
        let columns = (kind % 4 == 3).then(ColumnNames::default);
        SplitSpec::Files(ImportedFiles { train, validation, test, validation_fraction: 0.1, columns })
    };
    let _ = Split::make(ratings(), &spec, 1);
});
