//! From a key to its record, if all its files are there. What is found is noted as used before it is believed, so that nobody's garbage
//! collection takes it away.
//!
//! A run whose stages are all done spends its time here, so the keys it had the last time are looked up ahead, all at once: by as many
//! threads as there are, behind one passing of the gate, with one note for all of them, and by copies of the records in one file
//! (`copies.rs`). Until work begins, which may take hours, that answers for the disk; then it is dropped.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rayon::prelude::*;

use super::{
    Record, Store, StoreError,
    copies::{Copied, Copies},
    seal::object,
};
use crate::{
    artifact::FileEntry,
    key::ActionKey,
    looks::{Stat, stat_of},
};

/// What a key leads to.
#[derive(Debug)]
pub enum Lookup {
    /// A result, all of it there.
    Found(Box<Record>),
    /// Nothing.
    Unknown,
    /// A result of which this is missing.
    Lost(String),
}

/// What was looked up ahead and not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<HashMap<ActionKey, Box<Record>>>);

impl Ahead {
    fn records(&self) -> MutexGuard<'_, HashMap<ActionKey, Box<Record>>> {
        // Only ever added to and taken from: whole even where another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record is used as of now: to an hour, so that looking up costs a write but rarely.
const AN_HOUR: Duration = Duration::from_secs(3600);

impl Store {
    /// The record of a key, if its files are there too. `Err(Lost)` inside tells what is missing. What is found stays for as long
    /// as this process lives, whatever is collected.
    ///
    /// # Errors
    /// Where the disk cannot be read, or the use not be noted.
    pub fn lookup(&self, key: &ActionKey) -> Result<Lookup, StoreError> {
        if let Some(record) = self.ahead.records().remove(key) {
            return Ok(Lookup::Found(record));
        }
        if self.has_noted(key) {
            return self.look(key);
        }
        let gate = self.enter()?;
        let found = self.look(key)?;
        if let Lookup::Found(_) = found {
            self.note_use(key, &gate)?;
        }
        Ok(found)
    }

    /// Looks up what will be asked for of a manifest's stages. Only what is found is kept: the rest is told when it is asked for.
    ///
    /// # Errors
    /// Where the uses cannot be noted.
    pub fn look_ahead(&self, manifest: &str, keys: &[ActionKey]) -> Result<(), StoreError> {
        let copies = self.copies(manifest);
        let gate = self.enter()?;
        let found: Vec<(Box<Record>, Option<Copied>)> =
            keys.par_iter().filter_map(|key| self.look_at_copy(key, &copies)).collect();
        let (records, copied): (Vec<Box<Record>>, Vec<Option<Copied>>) = found.into_iter().unzip();
        let found: Vec<ActionKey> = records.iter().map(|record| record.key).collect();
        self.note_uses(&found, &gate)?;
        drop(gate);
        *self.ahead.records() = records.into_iter().map(|record| (record.key, record)).collect();
        if copied.iter().any(Option::is_some) {
            // Where they cannot be kept, the records are read one by one the next time too.
            let _ = self.keep_copies(manifest, &found, &copies, &copied.into_iter().flatten().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// The record of a key, by way of its copy where that is good; where it was read itself, with what to copy of it.
    fn look_at_copy(&self, key: &ActionKey, copies: &Copies) -> Option<(Box<Record>, Option<Copied>)> {
        let path = self.record_path(key);
        if let Some(record) = copies.get(key, &path)
            && self.what_is_lost(&record).is_none()
        {
            return Some((Box::new(record), None));
        }
        let (text, stat) = read_as_used(&path).ok()?;
        let record = Record::read(&text).filter(|record| record.key == *key && self.what_is_lost(record).is_none())?;
        let copied = Copied { key: *key, stat, object: object(&text)? };
        Some((Box::new(record), Some(copied)))
    }

    /// Drops what was looked up ahead: from now on the disk answers.
    pub fn look_back(&self) {
        self.ahead.records().clear();
    }

    /// As `lookup`, for a moment: nothing keeps it from being collected.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn look(&self, key: &ActionKey) -> Result<Lookup, StoreError> {
        let path = self.record_path(key);
        let text = match read_as_used(&path) {
            Ok((text, _)) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lookup::Unknown),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let Some(record) = Record::read(&text).filter(|record| record.key == *key) else {
            return Ok(Lookup::Lost("its record".to_owned()));
        };
        Ok(match self.what_is_lost(&record) {
            Some(what) => Lookup::Lost(what),
            None => Lookup::Found(Box::new(record)),
        })
    }

    /// A file of a result that is not there, or not as long as it was.
    fn what_is_lost(&self, record: &Record) -> Option<String> {
        let whole = |entry: &FileEntry| fs::metadata(self.blob(&entry.digest)).is_ok_and(|meta| meta.len() == entry.size);
        record.files.0.iter().find(|(_, entry)| !whole(entry)).map(|(name, _)| format!("`{name}`"))
    }
}

/// Whether the time of a record's file says that it was used lately. From the future, since a clock went back, is not lately either.
pub(super) fn used_lately(meta: &fs::Metadata) -> bool {
    let age = meta.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    age.is_some_and(|age| age < AN_HOUR)
}

/// A record's text, and the stat of its file. Its time says from now on when it was last used.
fn read_as_used(path: &Path) -> io::Result<(Vec<u8>, Stat)> {
    let file = fs::File::open(path)?;
    let mut meta = file.metadata()?;
    // Where that cannot be written, what the result is worth to whom is only less well known.
    if !used_lately(&meta) && file.set_modified(SystemTime::now()).is_ok() {
        meta = file.metadata()?;
    }
    // A length is believed as far as records go. Through `take`, the file is not asked again how long it is.
    let mut text = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0).min(1 << 20) + 1);
    file.take(u64::MAX).read_to_end(&mut text)?;
    Ok((text, stat_of(&meta)))
}
