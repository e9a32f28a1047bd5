//! Collecting garbage: records nobody keeps, then blobs no record names, checkpoints nobody goes on from, old runs, and what
//! killed processes left. First everything is looked through, then what was found is removed: a dry run stops in between.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{Record, Store, StoreError, empty, list};
use crate::key::ActionKey;

/// What stays besides the last result of every stage instance of every manifest that ran here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Other results and runs made within this time.
    pub made_within: Duration,
    /// Checkpoints written within this time, of trainings that have no result yet.
    pub checkpoints_within: Duration,
    /// So many runs, the last ones.
    pub runs: usize,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Keep {
    /// No other results, checkpoints of two weeks, a hundred runs.
    fn default() -> Self {
        Self { made_within: Duration::ZERO, checkpoints_within: 14 * DAY, runs: 100 }
    }
}

impl Keep {
    /// Whatever is younger than so many days, checkpoints too, and the usual number of runs.
    pub fn days(days: u64) -> Self {
        let within = Duration::from_secs(days.saturating_mul(DAY.as_secs()));
        Self { made_within: within, checkpoints_within: within, ..Self::default() }
    }
}

/// What a collection removed, or would remove, and what stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Results.
    pub records: usize,
    /// Files of results.
    pub blobs: usize,
    /// Of those files.
    pub bytes: u64,
    /// Trainings whose checkpoints go.
    pub checkpoints: usize,
    /// Of those checkpoints.
    pub checkpoint_bytes: u64,
    /// Events of runs.
    pub runs: usize,
    /// Of those runs.
    pub run_bytes: u64,
    /// Results that stay.
    pub kept: usize,
    /// Trainings whose checkpoints stay.
    pub kept_checkpoints: usize,
    /// Runs that stay.
    pub kept_runs: usize,
}

impl Store {
    /// Removes what `keep` does not name. With `dry_run` only counts.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process uses the store; or where the disk refuses.
    pub fn collect(self, keep: Keep, dry_run: bool) -> Result<Collected, StoreError> {
        let lock = self.root.join("lock");
        // Trade the shared lock for the only one: nobody may be reading what is about to go.
        match self.in_use.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse { path: self.root.clone() }),
            Err(fs::TryLockError::Error(error)) => return Err(StoreError::io("lock", &lock)(error)),
        }
        let (collected, garbage) = self.garbage(keep)?;
        if !dry_run {
            garbage.iter().try_for_each(|path| remove(path))?;
            for folder in ["tmp", "leases", "damaged"] {
                empty(&self.root.join(folder))?;
            }
        }
        Ok(collected)
    }

    /// What is to go, in the order in which it may go: a record before its files, lest one without them is taken for a result.
    fn garbage(&self, keep: Keep) -> Result<(Collected, Vec<PathBuf>), StoreError> {
        let mut wanted: BTreeSet<ActionKey> = BTreeSet::new();
        for (_, latest) in self.manifests()? {
            wanted.extend(latest.iter().map(|(_, key)| *key));
        }
        let mut collected = Collected::default();
        let mut garbage = Vec::new();
        let mut live = BTreeSet::new();
        let mut ended = BTreeSet::new();
        for path in self.shards("actions")? {
            let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
            let record = Record::read(&text);
            ended.extend(record.as_ref().map(|record| self.partial(&record.key)));
            let (_, modified) = measure(&path)?;
            match record.filter(|record| wanted.contains(&record.key) || young(modified, keep.made_within)) {
                Some(record) => {
                    collected.kept += 1;
                    live.extend(record.blobs().map(|entry| self.blob(&entry.digest)));
                }
                None => {
                    collected.records += 1;
                    garbage.push(path);
                }
            }
        }
        for path in self.shards("blobs")? {
            if !live.contains(&path) {
                collected.blobs += 1;
                collected.bytes += measure(&path)?.0;
                garbage.push(path);
            }
        }
        for path in list(&self.root.join("partial"))? {
            let (bytes, modified) = measure(&path)?;
            if !ended.contains(&path) && young(modified, keep.checkpoints_within) {
                collected.kept_checkpoints += 1;
            } else {
                collected.checkpoints += 1;
                collected.checkpoint_bytes += bytes;
                garbage.push(path);
            }
        }
        // Their names begin with the time: sorted, the last ones are the latest.
        let runs = list(&self.runs())?;
        let surplus = runs.len().saturating_sub(keep.runs);
        for (place, path) in runs.into_iter().enumerate() {
            let (bytes, modified) = measure(&path)?;
            if place >= surplus || young(modified, keep.made_within) {
                collected.kept_runs += 1;
            } else {
                collected.runs += 1;
                collected.run_bytes += bytes;
                garbage.push(path);
            }
        }
        Ok((collected, garbage))
    }
}

fn young(modified: SystemTime, within: Duration) -> bool {
    match SystemTime::now().duration_since(modified) {
        Ok(age) => age < within,
        // From the future, since a clock went back: as young as can be.
        Err(_) => !within.is_zero(),
    }
}

/// The bytes of a file, or of all files in a folder, and when the last of them was written.
fn measure(path: &Path) -> Result<(u64, SystemTime), StoreError> {
    let look = || -> io::Result<_> {
        let meta = fs::symlink_metadata(path)?;
        Ok((meta.is_dir(), meta.len(), meta.modified()?))
    };
    let (is_folder, bytes, modified) = look().map_err(StoreError::io("read", path))?;
    if !is_folder {
        return Ok((bytes, modified));
    }
    list(path)?.iter().try_fold((0, modified), |(sum, last), path| {
        let (bytes, modified) = measure(path)?;
        Ok((sum + bytes, last.max(modified)))
    })
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(StoreError::io("remove", path))
}
