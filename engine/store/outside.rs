//! Digests of files outside the store, remembered by their stat (device, inode, size, modification and change time), so that
//! a large source is read once. A file touched within the last two seconds is read again: its stat may not have moved yet. So is
//! one that the clock says is of the future, and everything while the clock is behind what it was when a digest was taken: once a
//! clock has gone back, the same times may come again with other contents.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    seal::{seal, unseal},
};
use crate::{
    artifact::Digest,
    looks::{Stat, is_settled, stat},
};

/// The remembered digests.
#[derive(Debug)]
pub struct OutsideFiles {
    path: PathBuf,
    /// What relative paths are taken from.
    folder: PathBuf,
    paranoid: bool,
    known: Mutex<Known>,
    /// Seconds since 1970.
    pub(super) now: fn() -> i64,
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<PathBuf, Entry>,
    changed: bool,
    /// Where it is believed for a while that nobody writes: what was found in it.
    lately: Option<HashMap<PathBuf, Digest>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    stat: Stat,
    digest: Digest,
    /// When it was taken, by the clock of then.
    taken: i64,
}

/// The file's contents.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Store {
    /// Loads what is remembered. `paranoid` reads every file anew.
    pub fn outside_files(&self, paranoid: bool) -> OutsideFiles {
        let path = self.root.join("files.json");
        // Only a cache: unreadable is the same as empty.
        let Kept { entries } = fs::read(&path).ok().and_then(|text| unseal(&text)).unwrap_or_default();
        OutsideFiles {
            path,
            folder: std::env::current_dir().unwrap_or_default(),
            paranoid,
            known: Mutex::new(Known { entries, changed: false, lately: None }),
            now,
        }
    }

    /// Keeps what was learnt for the next process.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn remember(&self, files: &OutsideFiles) -> Result<(), StoreError> {
        let known = files.lock();
        if !known.changed {
            return Ok(());
        }
        let text = seal(&Kept { entries: known.entries.clone() });
        self.write_whole(&files.path, &text.map_err(StoreError::io("write", &files.path))?)
    }
}

impl OutsideFiles {
    /// From now on a file that many stages read is looked at once for all of them.
    pub fn look_ahead(&self) {
        self.lock().lately.get_or_insert_default();
    }

    /// From now on each file is looked at again: work begins, which may take hours.
    pub fn look_back(&self) {
        self.lock().lately = None;
    }

    /// The digest of a file's contents as they are now.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn digest(&self, file: &Path) -> io::Result<Digest> {
        // Links in it are followed by the stat, which tells which file it was.
        let path = self.folder.join(file);
        if let Some(digest) = self.lock().lately.as_ref().and_then(|lately| lately.get(&path)) {
            return Ok(*digest);
        }
        let digest = self.digest_now(path.clone())?;
        if let Some(lately) = &mut self.lock().lately {
            lately.insert(path, digest);
        }
        Ok(digest)
    }

    fn digest_now(&self, path: PathBuf) -> io::Result<Digest> {
        let (before, began) = (stat(&path)?, (self.now)());
        if let Some(entry) = self.lock().entries.get(&path)
            && entry.stat == before
            && entry.taken <= began
            && !self.paranoid
        {
            return Ok(entry.digest);
        }
        let digest = Digest::of_file(&path)?;
        // Written to while it was read, or just before reading began: true of the bytes read, not to be remembered.
        let settled = is_settled(&before, began) && stat(&path)? == before;
        let mut known = self.lock();
        known.changed = true;
        match settled {
            true => known.entries.insert(path, Entry { stat: before, digest, taken: began }),
            false => known.entries.remove(&path),
        };
        Ok(digest)
    }

    /// The stat of a file whose digest is remembered; nothing where the file may have changed without it.
    pub fn settled(&self, file: &Path) -> Option<Stat> {
        let path = self.folder.join(file);
        self.lock().entries.get(&path).map(|entry| entry.stat)
    }

    /// Remembers a wrong digest, so that a test sees whether it is believed.
    #[cfg(test)]
    pub(super) fn corrupt(&self, file: &Path, digest: Digest) {
        let mut known = self.lock();
        known.entries.values_mut().for_each(|entry| entry.digest = digest);
        assert!(known.entries.keys().any(|path| path.ends_with(file.file_name().unwrap_or_default())), "it is remembered");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Each change to the map is one call: it is whole even where another thread panicked.
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
