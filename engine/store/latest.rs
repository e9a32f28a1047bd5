//! The last key of each stage instance, a file a manifest name. One appended line a change, so that a killed run loses
//! nothing it had noted; rewritten when most of its lines are outdated. Who appends or rewrites holds the file's lock, so that
//! no process loses what another notes; readers need none.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::{artifact::Digest, key::ActionKey};

/// Last keys by instance name.
#[derive(Debug)]
pub struct Latest {
    path: PathBuf,
    keys: BTreeMap<String, ActionKey>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    instance: String,
    key: ActionKey,
}

/// What a file says.
struct Notes {
    keys: BTreeMap<String, ActionKey>,
    lines: usize,
}

impl Notes {
    fn read(path: &Path) -> Result<Self, StoreError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StoreError::io("read", path)(error)),
        };
        let mut notes = Self { keys: BTreeMap::new(), lines: 0 };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            notes.lines += 1;
            // A torn line of a killed process, maybe torn within a character, is not a note.
            if let Ok(Line { instance, key }) = serde_json::from_slice(line) {
                notes.keys.insert(instance, key);
            }
        }
        Ok(notes)
    }

    fn mostly_outdated(&self) -> bool {
        self.lines > 64 + 4 * self.keys.len()
    }
}

impl Store {
    /// What this store remembers of a manifest's instances.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn latest(&self, manifest: &str) -> Result<Latest, StoreError> {
        let path = self.latest_path(manifest);
        let notes = Notes::read(&path)?;
        if notes.mostly_outdated() {
            // Housekeeping only: on a full disk what is remembered can still be read, and garbage be collected by it.
            let _ = self.shorten(&path);
        }
        Ok(Latest { path, keys: notes.keys })
    }

    /// Rewrites a file of notes without the outdated ones, alone.
    fn shorten(&self, path: &Path) -> Result<(), StoreError> {
        let _alone = open_alone(path).map_err(StoreError::io("lock", path))?;
        // Again: others may have added to it, or done the same, before it was ours.
        let notes = Notes::read(path)?;
        if !notes.mostly_outdated() {
            return Ok(());
        }
        let text: String = notes.keys.iter().map(|(instance, key)| line(instance, *key)).collect();
        self.write_whole(path, text.as_bytes())
    }

    /// The names of manifests that ran here, and what is remembered of them.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn manifests(&self) -> Result<Vec<(String, Latest)>, StoreError> {
        let mut files = super::list(&self.root.join("latest"))?;
        // An editor's copy is not another manifest.
        files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        let name = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        files.iter().filter_map(name).map(|name| Ok((name.clone(), self.latest(&name)?))).collect()
    }

    fn latest_path(&self, manifest: &str) -> PathBuf {
        self.root.join("latest").join(format!("{}.jsonl", escape(manifest)))
    }
}

impl Latest {
    /// The last key of an instance.
    pub fn get(&self, instance: &str) -> Option<&ActionKey> {
        self.keys.get(instance)
    }

    /// All instances with their last keys, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ActionKey)> {
        self.keys.iter().map(|(instance, key)| (instance.as_str(), key))
    }

    /// Notes the key an instance has now.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn set(&mut self, instance: &str, key: ActionKey) -> Result<(), StoreError> {
        if self.keys.get(instance) == Some(&key) {
            return Ok(());
        }
        append(&self.path, &line(instance, key)).map_err(StoreError::io("write", &self.path))?;
        self.keys.insert(instance.to_owned(), key);
        Ok(())
    }
}

/// Adds a line, beginning a fresh one after a line that a killed process left without its end.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = open_alone(path)?;
    let mut last = [b'\n'];
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, end)?;
    }
    let fresh = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{fresh}{line}").as_bytes())
}

/// Opens a file of notes to add to it; until the file is dropped, nobody else adds to it or rewrites it.
fn open_alone(path: &Path) -> io::Result<fs::File> {
    loop {
        let file = fs::File::options().create(true).read(true).append(true).open(path)?;
        file.lock()?;
        let held = file.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok(file),
            // Rewritten while this waited: what is locked is no longer what the name leads to.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

fn line(instance: &str, key: ActionKey) -> String {
    let line = Line { instance: instance.to_owned(), key };
    // A struct of two strings always has a JSON form.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

/// A manifest's name as a file name: what a file system might not take is written as its digest.
fn escape(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    match !name.is_empty() && name.len() <= 100 && name.chars().all(plain) {
        true => name.to_owned(),
        false => {
            format!("{}.{}", name.chars().filter(|c| plain(*c)).take(60).collect::<String>(), Digest::of(name.as_bytes()).short())
        }
    }
}
