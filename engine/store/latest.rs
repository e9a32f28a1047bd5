//! The last key of each stage instance and how long its result took, a file a manifest name. One appended line a change, so that a killed run loses
//! nothing it had noted; rewritten when most of its lines are outdated. Who appends or rewrites holds the file's lock, so that
//! no process loses what another notes; readers need none.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Record, Store, StoreError, is_named,
    seal::{seal, unseal},
};
use crate::{artifact::Digest, key::ActionKey};

/// Last keys by instance name.
#[derive(Debug)]
pub struct Latest {
    path: PathBuf,
    notes: BTreeMap<String, Note>,
}

/// What is known of an instance's last result.
#[derive(Clone, Debug)]
struct Note {
    key: ActionKey,
    /// The stage kind.
    kind: String,
    /// Wall seconds it took.
    seconds: Option<f64>,
}

/// A note as it is written.
#[derive(Serialize, Deserialize)]
struct Line {
    instance: String,
    key: ActionKey,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    seconds: Option<f64>,
}

/// What a file says.
struct Notes {
    notes: BTreeMap<String, Note>,
    lines: usize,
}

impl Notes {
    fn read(path: &Path) -> Result<Self, StoreError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StoreError::io("read", path)(error)),
        };
        let mut notes = Self { notes: BTreeMap::new(), lines: 0 };
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| *line != b"\n") {
            notes.lines += 1;
            // A damaged line, or the torn one of a killed process, is not a note.
            if let Some(Line { instance, key, kind, seconds }) = unseal(line) {
                notes.notes.insert(instance, Note { key, kind, seconds });
            }
        }
        Ok(notes)
    }

    fn mostly_outdated(&self) -> bool {
        self.lines > 64 + 4 * self.notes.len()
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
        Ok(Latest { path, notes: notes.notes })
    }

    /// Rewrites a file of notes without the outdated ones, alone.
    fn shorten(&self, path: &Path) -> Result<(), StoreError> {
        let _alone = open_alone(path).map_err(StoreError::io("lock", path))?;
        // Again: others may have added to it, or done the same, before it was ours.
        let notes = Notes::read(path)?;
        if !notes.mostly_outdated() {
            return Ok(());
        }
        let lines: io::Result<Vec<_>> = notes.notes.iter().map(|(instance, note)| line(instance, note)).collect();
        // Synced, for it takes the place of lines that are safe already, and by which results are kept.
        self.write_synced(path, &lines.map_err(StoreError::io("write", path))?.concat())
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

    /// Forgets a manifest.
    pub(super) fn forget(&self, manifest: &str) -> Result<(), StoreError> {
        let path = self.latest_path(manifest);
        // Alone: who waits to add to it finds it gone, and begins another.
        let _alone = open_alone(&path).map_err(StoreError::io("lock", &path))?;
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))
    }

    pub(super) fn latest_path(&self, manifest: &str) -> PathBuf {
        self.root.join("latest").join(format!("{}.jsonl", escape(manifest)))
    }
}

impl Latest {
    /// The last key of an instance.
    pub fn get(&self, instance: &str) -> Option<&ActionKey> {
        self.notes.get(instance).map(|note| &note.key)
    }

    /// All instances with their last keys, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ActionKey)> {
        self.notes.iter().map(|(instance, note)| (instance.as_str(), &note.key))
    }

    /// How many seconds each instance, given by name and kind, may be expected to take: as long as its last result took, else as
    /// the mean of its kind; `None` where nothing of that kind was ever made for this manifest.
    pub fn expected<'a>(&self, instances: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Option<f64>> {
        let mut kinds: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for note in self.notes.values() {
            if let Some(seconds) = note.seconds {
                let (sum, n) = kinds.entry(&note.kind).or_default();
                (*sum, *n) = (*sum + seconds, *n + 1.0);
            }
        }
        let of = |(name, kind): (&str, &str)| {
            let own = self.notes.get(name).and_then(|note| note.seconds);
            own.or_else(|| kinds.get(kind).map(|(sum, n)| sum / n))
        };
        instances.map(of).collect()
    }

    /// Notes the result an instance has now.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn set(&mut self, instance: &str, record: &Record) -> Result<(), StoreError> {
        if self.get(instance) == Some(&record.key) {
            return Ok(());
        }
        // To the millisecond: enough to plan by.
        let seconds = Some((record.provenance.seconds * 1000.0).round() / 1000.0);
        let note = Note { key: record.key, kind: record.kind.clone(), seconds };
        line(instance, &note).and_then(|line| append(&self.path, &line)).map_err(StoreError::io("write", &self.path))?;
        self.notes.insert(instance.to_owned(), note);
        Ok(())
    }
}

/// Adds a line, beginning a fresh one after a line that a killed process left without its end.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open_alone(path)?;
    let mut last = [b'\n'];
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, end)?;
    }
    let fresh: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    file.write_all(&[fresh, line].concat())
}

/// Opens a file of notes to add to it; until the file is dropped, nobody else adds to it or rewrites it.
fn open_alone(path: &Path) -> io::Result<fs::File> {
    loop {
        let file = fs::File::options().create(true).read(true).append(true).open(path)?;
        file.lock()?;
        // If not, it was rewritten while this waited: what is locked is no longer what the name leads to.
        if is_named(&file, path)? {
            return Ok(file);
        }
    }
}

fn line(instance: &str, note: &Note) -> io::Result<Vec<u8>> {
    let Note { key, kind, seconds } = note.clone();
    seal(&Line { instance: instance.to_owned(), key, kind, seconds })
}

/// A manifest's name as a file name: what a file system might not take is written as its digest.
pub(super) fn escape(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    match !name.is_empty() && name.len() <= 100 && name.chars().all(plain) {
        true => name.to_owned(),
        false => {
            format!("{}.{}", name.chars().filter(|c| plain(*c)).take(60).collect::<String>(), Digest::of(name.as_bytes()).short())
        }
    }
}
