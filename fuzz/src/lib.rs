//! What the fuzz targets share: a scratch folder, small valid inputs to begin with, and a prepared data set.
//!
//! A target's inputs begin with a few bytes that choose a format or a setting; the rest is what is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use talkflow_datasets::examples::{self, Examples, ExamplesFiles, Source, Subset};
use talkflow_datasets::prepare::{self, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::synthetic::Synthetic;

/// Called once before fuzzing. Where `TALKFLOW_FUZZ_SEEDS` names a folder, writes the inputs to begin with there, and ends.
pub fn begin(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os("TALKFLOW_FUZZ_SEEDS") else { return };
    for (number, seed) in seeds().into_iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed-{number:02}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    std::process::exit(0);
}

/// As [`begin`], where `sound::guarded` stands around a library: a panic within a library goes on to it. One of our own code, or one
/// that nobody catches, still ends the process.
pub fn begin_guarded(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    begin(seeds);
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|at| !at.file().contains("/registry/")) {
            end(panic);
        }
    }));
}

/// A folder of this process, under `TMPDIR`: `run.sh` lets that lie in memory, and removes it.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("talkflow-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("TMPDIR can be written");
        folder
    })
}

/// Writes a file in the scratch folder.
pub fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    fs::write(&path, bytes).expect("TMPDIR can be written");
    path
}

/// The first byte, which chooses something, and the rest.
pub fn choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}

/// An input of a choice and contents.
pub fn chosen(choice: u8, contents: impl AsRef<[u8]>) -> Vec<u8> {
    [&[choice], contents.as_ref()].concat()
}

/// A prepared data set of a few hundred ratings; users and items are numbers from 1.
pub fn prepared() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch().join("prepared");
        fs::create_dir_all(&folder).expect("TMPDIR can be written");
        let source = prepare::Source::Synthetic(Synthetic { users: 20, items: 60, ratings: 100, ..Synthetic::default() });
        prepare(&source, &folder, &mut Silent).expect("the generator's ratings can be prepared");
        folder
    })
}

/// Prepares examples, and reads what was prepared.
pub fn made(source: &Source, subset: Option<&Subset>) {
    let out = scratch().join("out");
    fs::create_dir_all(&out).expect("TMPDIR can be written");
    if examples::make(source, subset, &out, &mut Silent).is_ok() {
        let examples = Examples::open(&ExamplesFiles::in_folder(&out)).expect("the artifact that was just made");
        examples.contents().expect("the artifact that was just made");
    }
}

/// A valid list of items as `u.item` has them: id, title, dates, address, nineteen flags.
pub const FLAGS: &str = "1|One|d||u|0|0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|1\n2|Two|||x|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n";
