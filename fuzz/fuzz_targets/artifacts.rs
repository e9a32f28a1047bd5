//! The files of artifacts of ratings and of splits, one of them changed, read as later stages read them.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use talkflow::stages::files::{read_parquet, read_rows};
use talkflow_datasets::ratings::{DATASET, ITEMS, RATINGS, Ratings, RatingsFiles, USERS};
use talkflow_datasets::selection::Selection;
use talkflow_datasets::split::{Fractions, Part, SPLIT, SPLIT_SUMMARY, Split, SplitFiles, SplitSpec};
use talkflow_fuzz::{choice, chosen, prepared};

const NAMES: [&str; 6] = [RATINGS, USERS, ITEMS, DATASET, SPLIT, SPLIT_SUMMARY];

/// The files as they should be.
fn whole() -> &'static [Vec<u8>] {
    static WHOLE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = prepared();
        let ratings = Ratings::open(&RatingsFiles::in_folder(folder)).expect("the data set");
        let spec = SplitSpec::ByRating(Fractions::new(0.8, 0.1, 0.1).expect("shares of 1"));
        Split::make(&ratings, &spec, 1).and_then(|split| split.write(folder)).expect("a split");
        NAMES.iter().map(|name| std::fs::read(folder.join(name)).expect("a file of the artifact")).collect()
    })
}

fn seeds() -> Vec<Vec<u8>> {
    (0..).zip(whole()).map(|(number, bytes)| chosen(number, bytes)).collect()
}

fuzz_target!(init: talkflow_fuzz::begin_guarded(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    let changed = usize::from(kind) % NAMES.len();
    let good = &whole()[changed];
    let folder = prepared();
    let path = folder.join(NAMES[changed]);
    std::fs::write(&path, bytes).expect("TMPDIR can be written");
    let files = RatingsFiles::in_folder(folder);
    if let Ok(ratings) = Ratings::open(&files) {
        let _ = (ratings.timestamps(), ratings.user_ids());
    }
    let _ = Selection::open(&files, &["Drama".to_owned()]);
    if let Ok(split) = Split::open(&SplitFiles::in_folder(folder)) {
        split.rows(Part::Test);
    }
    if changed != 3 && changed != 5 {
        let _ = (read_parquet(&path), read_rows(&path));
    }
    std::fs::write(&path, good).expect("TMPDIR can be written");
});
