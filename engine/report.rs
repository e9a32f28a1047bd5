//! Consumers of events and results: what people, files and programs are shown. The engine knows none of them.

use std::{fs, io, path::Path};

pub mod check;
pub mod comparisons;
pub mod document;
pub mod journal;
pub mod live;
pub mod page;
pub mod points;
pub mod results;
mod screen;
pub mod search;
pub mod table;
pub mod terminal;
pub mod track;

/// Writes a file aside and renames it, so that no reader sees half of it.
///
/// # Errors
/// Where the disk refuses.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let aside = path.with_file_name(name);
    fs::write(&aside, bytes)?;
    fs::rename(&aside, path)
}
