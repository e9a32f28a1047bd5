//! Collecting garbage: records nobody keeps, then blobs no record names, then what killed processes left.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{Record, Store, StoreError, empty, list, open_lock};
use crate::key::ActionKey;

/// Which results stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The last result of every stage instance of every manifest that ran here.
    Latest,
    /// Those, and all that were made within this time.
    LatestAnd(Duration),
}

/// What a collection removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Results.
    pub records: usize,
    /// Files.
    pub blobs: usize,
    /// Of those files.
    pub bytes: u64,
    /// Results that stay.
    pub kept: usize,
}

impl Store {
    /// Removes what `keep` does not name. With `dry_run` only counts.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process uses the store; or where the disk refuses.
    pub fn collect(self, keep: Keep, dry_run: bool) -> Result<Collected, StoreError> {
        let lock = self.root.join("lock");
        // Trade the shared lock for the only one: nobody may be reading what is about to go.
        let Self { root, serial, _in_use: shared } = self;
        drop(shared);
        let alone = open_lock(&lock)?;
        match alone.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse { path: root }),
            Err(fs::TryLockError::Error(error)) => return Err(StoreError::io("lock", &lock)(error)),
        }
        let store = Self { root, serial, _in_use: alone };
        let mut wanted: BTreeSet<ActionKey> = BTreeSet::new();
        for (_, latest) in store.manifests()? {
            wanted.extend(latest.iter().map(|(_, key)| *key));
        }
        let mut collected = Collected::default();
        let mut live = BTreeSet::new();
        for path in store.shards("actions")? {
            let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
            let record = serde_json::from_slice::<Record>(&text).ok();
            match record.filter(|record| wanted.contains(&record.key) || young(&path, keep)) {
                Some(record) => {
                    collected.kept += 1;
                    live.extend(record.files.0.values().map(|entry| store.blob(&entry.digest)));
                }
                None => {
                    collected.records += 1;
                    remove(&path, dry_run)?;
                }
            }
        }
        for path in store.shards("blobs")? {
            if !live.contains(&path) {
                collected.blobs += 1;
                collected.bytes += fs::metadata(&path).map_err(StoreError::io("read", &path))?.len();
                remove(&path, dry_run)?;
            }
        }
        if !dry_run {
            empty(&store.root.join("tmp"))?;
            empty(&store.root.join("leases"))?;
            // Checkpoints of trainings whose key nobody asked for within the time kept.
            for path in list(&store.root.join("partial"))? {
                if !young(&path, keep) {
                    fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
                }
            }
        }
        Ok(collected)
    }
}

fn young(path: &Path, keep: Keep) -> bool {
    let Keep::LatestAnd(age) = keep else { return false };
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    // A clock that went back makes a file from the future: young.
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).map_or(true, |since| since <= age))
}

fn remove(path: &Path, dry_run: bool) -> Result<(), StoreError> {
    match dry_run {
        true => Ok(()),
        false => fs::remove_file(path).map_err(StoreError::io("remove", path)),
    }
}
