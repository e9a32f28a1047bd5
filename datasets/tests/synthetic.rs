//! The generator as the card and manifests use it.

use talkflow_datasets::prepare::Source;
use talkflow_datasets::synthetic::Synthetic;

use super::{contents, prepared};

#[test]
fn the_default_has_the_sizes_of_100k() {
    let (_folder, ratings) = prepared(&Source::Synthetic(Synthetic::default()));
    let summary = ratings.summary();
    assert_eq!(summary.ratings, 100_000);
    assert_eq!(summary.users, 943);
}

#[test]
fn a_generated_artifact_is_the_same_each_time() {
    let spec = Synthetic { ratings: 20_000, ..Synthetic::default() };
    let (one, _) = prepared(&Source::Synthetic(spec));
    let (two, _) = prepared(&Source::Synthetic(spec));
    assert!(contents(one.path()) == contents(two.path()));
}
