//! From a key to its record, if all its files are there. What is found is noted as used before it is believed, so that nobody's garbage
//! collection takes it away.
//!
//! A run whose stages are all done spends its time here, so the keys it had the last time are looked up ahead, all at once: by as many
//! threads as there are, behind one passing of the gate, with one note for all of them. Until work begins, which may take hours, that
//! answers for the disk; then it is dropped.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rayon::prelude::*;

use super::{Record, Store, StoreError};
use crate::key::ActionKey;

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

    /// Looks up what will be asked for. Only what is found is kept: the rest is told when it is asked for.
    ///
    /// # Errors
    /// Where the uses cannot be noted.
    pub fn look_ahead(&self, keys: &[ActionKey]) -> Result<(), StoreError> {
        let gate = self.enter()?;
        let found: HashMap<ActionKey, Box<Record>> = (keys.par_iter())
            .filter_map(|key| match self.look(key) {
                Ok(Lookup::Found(record)) => Some((*key, record)),
                _ => None,
            })
            .collect();
        self.note_uses(&found.keys().copied().collect::<Vec<_>>(), &gate)?;
        *self.ahead.records() = found;
        Ok(())
    }

    /// Drops what was looked up ahead: from now on the disk answers.
    pub fn look_back(&self) {
        self.ahead.records().clear();
    }

    /// As `lookup`, for a moment: nothing keeps it from being collected.
    pub(super) fn look(&self, key: &ActionKey) -> Result<Lookup, StoreError> {
        let path = self.record_path(key);
        let text = match read_as_used(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lookup::Unknown),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let Some(record) = Record::read(&text).filter(|record| record.key == *key) else {
            return Ok(Lookup::Lost("its record".to_owned()));
        };
        for (name, entry) in &record.files.0 {
            let whole = fs::metadata(self.blob(&entry.digest)).is_ok_and(|meta| meta.len() == entry.size);
            if !whole {
                return Ok(Lookup::Lost(format!("`{name}`")));
            }
        }
        Ok(Lookup::Found(Box::new(record)))
    }
}

/// A record's text. The time of its file says from now on when it was last used.
fn read_as_used(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let meta = file.metadata()?;
    let now = SystemTime::now();
    // From the future, since a clock went back, is not now either.
    if !meta.modified().is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age < AN_HOUR)) {
        // Where that cannot be written, what the result is worth to whom is only less well known.
        let _ = file.set_modified(now);
    }
    // A length is believed as far as records go. Through `take`, the file is not asked again how long it is.
    let mut text = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0).min(1 << 20) + 1);
    file.take(u64::MAX).read_to_end(&mut text)?;
    Ok(text)
}
