//! The package from outside: files in, artifacts out.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod download;
mod examples;
mod hostile;
mod prepare;
mod selection;
mod server;
mod split;
mod synthetic;

use std::collections::BTreeMap;
use std::path::Path;

use talkflow_datasets::prepare::{Source, prepare as run};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::{Ratings, RatingsFiles};
use talkflow_datasets::selection::Selection;

/// Prepares a source in a folder of its own and loads the artifact; the folder must outlive what reads it again.
fn prepared(source: &Source) -> (tempfile::TempDir, Ratings) {
    let folder = tempfile::tempdir().unwrap();
    run(source, folder.path(), &mut Silent).unwrap();
    let ratings = Ratings::open(&RatingsFiles::in_folder(folder.path())).unwrap();
    (folder, ratings)
}

/// The rows of a genre of the artifact in `folder`.
fn rows_of_genre(folder: &Path, genre: &str) -> Vec<u32> {
    let selection = Selection::open(&RatingsFiles::in_folder(folder), &[genre.to_owned()]).unwrap();
    selection.columns().row.clone()
}

/// The message of a source that cannot be prepared.
fn refused(source: &Source) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = run(source, folder.path(), &mut Silent).unwrap_err();
    assert!(!folder.path().join("dataset.json").exists(), "a failed preparation leaves no summary");
    error.to_string()
}

/// The contents of every file of a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}
