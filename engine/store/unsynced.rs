//! What a power cut may take, and how a store gets over it.
//!
//! Publication does not sync each file: that costs a millisecond or more a file, and most stages take less. Files are written,
//! renamed into place, and left to the system. The argument that nothing is taken for good wrongly:
//!
//! - **A process that dies** (`kill -9`, a crash, memory gone) takes nothing with it. What it wrote is in the system's cache, and
//!   a rename is there or is not, for every process that looks.
//! - **A machine that goes down** may leave files short, zeroed or missing, in any combination. Before a process publishes its
//!   first result of a run it writes a *marker*, `unsynced/NAME`, with the id of the machine's boot and of the run, and syncs
//!   it. At its end it syncs the file system in one call and removes the marker. So a marker of another boot says: results of
//!   this run may not be whole. Whoever opens the store next finds it, before any result is used, and reads again every record,
//!   every file that a record of such a run names, and every file that no record names. What is not whole is set aside, and
//!   made again when it is wanted. Records of other runs were synced with their files when those runs ended; publication never
//!   replaces a whole file by an equal one, so nothing later can have taken that back.
//! - **A marker that a killed process left** in this boot stays until some later process has synced the file system.
//! - **Files that change later**, on a disk that forgets, are found when they are read: see `proof.rs`.
//!
//! Markers are locked by their holders, so that nobody takes a living process for a dead one, also where several machines share
//! a folder and boots differ. During a long run the file system is synced every few seconds, so that little is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Record, Store, StoreError, list,
    seal::{seal, unseal},
    sync_folder_of,
};

/// How often a long run syncs the file system.
const EVERY: Duration = Duration::from_secs(5);

/// A marker's contents.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The machine's boot.
    pub(super) boot: String,
    /// The run whose results it speaks of.
    run: String,
}

/// The markers that this process holds.
#[derive(Debug)]
pub struct Unsynced {
    held: Mutex<Held>,
    /// Whether a sync is under way on a thread of its own.
    syncing: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Held {
    markers: BTreeMap<String, (PathBuf, fs::File)>,
    synced: Instant,
}

impl Default for Unsynced {
    fn default() -> Self {
        let held = Held { markers: BTreeMap::new(), synced: Instant::now() };
        Self { held: Mutex::new(held), syncing: Arc::default() }
    }
}

/// What was found after the machine went down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many records and files were read again.
    pub read: usize,
    /// Those that were not whole, where they are now.
    pub damaged: Vec<PathBuf>,
}

impl Store {
    /// To be called before the first file of a publication is renamed: marks the run as not synced yet.
    pub(super) fn mark_unsynced(&self, run: &str) -> Result<(), StoreError> {
        let mut held = self.unsynced.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.markers.contains_key(run) {
            let folder = self.root.join("unsynced");
            let marker = self.make_marker(&folder, run).map_err(StoreError::io("write in", &folder))?;
            held.markers.insert(run.to_owned(), marker);
        }
        if held.synced.elapsed() >= EVERY && !self.unsynced.syncing.swap(true, Ordering::AcqRel) {
            held.synced = Instant::now();
            let (root, syncing) = (fs::File::open(&self.root), self.unsynced.syncing.clone());
            // On the way only to lose less; whether it worked is asked at the end.
            std::thread::spawn(move || {
                let _ = root.map(rustix::fs::syncfs);
                syncing.store(false, Ordering::Release);
            });
        }
        Ok(())
    }

    /// A marker on the disk, locked before it says anything: an empty one is nobody's yet and protects nothing.
    fn make_marker(&self, folder: &Path, run: &str) -> io::Result<(PathBuf, fs::File)> {
        let text = seal(&Marker { boot: boot(), run: run.to_owned() })?;
        for n in 0_u32.. {
            let path = folder.join(format!("{}-{n}", std::process::id()));
            let mut file = match fs::File::create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            };
            let put = file.lock().and_then(|()| file.write_all(&text)).and_then(|()| file.sync_all());
            return match put.and_then(|()| sync_folder_of(&path)) {
                Ok(()) => Ok((path, file)),
                Err(error) => {
                    let _ = fs::remove_file(&path);
                    Err(error)
                }
            };
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Makes all that was published here survive a power cut. Alone with the store in this process, so that nothing is published
    /// meanwhile.
    ///
    /// # Errors
    /// Where the system cannot write what it holds: then results of this run may be lost when the machine goes down.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let held = std::mem::take(&mut self.unsynced);
        let held = held.held.into_inner().unwrap_or_else(PoisonError::into_inner).markers;
        let folder = self.root.join("unsynced");
        // Markers that killed processes left in this boot: one sync serves them too.
        let dead: Vec<_> = list(&folder)?.into_iter().filter_map(|path| Some((take(&path)?, path))).collect();
        if held.is_empty() && dead.is_empty() {
            return Ok(());
        }
        let synced = fs::File::open(&self.root).and_then(|root| Ok(rustix::fs::syncfs(root)?));
        synced.map_err(StoreError::io("sync", &self.root))?;
        for path in held.values().map(|(path, _)| path).chain(dead.iter().map(|(_, path)| path)) {
            remove(path)?;
        }
        Ok(())
    }

    /// Reads again what a machine that went down may have left damaged. Only one process does; the others wait, since until
    /// then nothing may be used.
    pub(super) fn recover(&self) -> Result<Recovered, StoreError> {
        let folder = self.root.join("unsynced");
        if self.stale_markers(&folder)?.is_empty() {
            return Ok(Recovered::default());
        }
        let alone = fs::File::open(&folder).map_err(StoreError::io("open", &folder))?;
        alone.lock().map_err(StoreError::io("lock", &folder))?;
        let stale = self.stale_markers(&folder)?;
        if stale.is_empty() {
            return Ok(Recovered::default());
        }
        let runs: Option<BTreeSet<String>> = stale.iter().map(|(_, run)| run.clone()).collect();
        let recovered = self.read_again(&|record| runs.as_ref().is_none_or(|runs| runs.contains(&record.provenance.run)))?;
        for (path, _) in &stale {
            remove(path)?;
        }
        Ok(recovered)
    }

    /// Markers of other boots that nobody holds, and the run that each is about: none where it cannot be told.
    fn stale_markers(&self, folder: &Path) -> Result<Vec<(PathBuf, Option<String>)>, StoreError> {
        let boot = boot();
        let stale = |path: PathBuf| {
            let _unheld = take(&path)?;
            let marker: Option<Marker> = unseal(&fs::read(&path).ok()?);
            match marker {
                Some(marker) if marker.boot == boot && !boot.is_empty() => None,
                marker => Some((path, marker.map(|marker| marker.run))),
            }
        };
        Ok(list(folder)?.into_iter().filter_map(stale).collect())
    }

    fn read_again(&self, suspect: &(dyn Fn(&Record) -> bool + Sync)) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let mut beyond_doubt = BTreeSet::new();
        for path in self.shards("actions")? {
            recovered.read += 1;
            let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
            match Record::read(&text).filter(|record| self.record_path(&record.key) == path) {
                None => recovered.damaged.extend(self.set_aside(&path)?),
                Some(record) if !suspect(&record) => {
                    beyond_doubt.extend(record.blobs().map(|entry| self.blob(&entry.digest)));
                }
                Some(_) => {}
            }
        }
        let doubted: Vec<PathBuf> = self.shards("blobs")?.into_iter().filter(|path| !beyond_doubt.contains(path)).collect();
        recovered.read += doubted.len();
        let damaged: Vec<Option<PathBuf>> =
            doubted.par_iter().map(|path| self.prove_blob(path)).collect::<Result<_, StoreError>>()?;
        recovered.damaged.extend(damaged.into_iter().flatten());
        Ok(recovered)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever wants to know how it went calls `sync`. Where it fails the markers stay, which is what they are for.
        let _ = self.sync();
    }
}

/// Locks a marker that nobody holds, and that says something.
fn take(path: &Path) -> Option<fs::File> {
    let file = fs::File::open(path).ok()?;
    file.try_lock().ok()?;
    (file.metadata().ok()?.len() > 0).then_some(file)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The id of the machine's boot; empty where the system does not say, which no marker agrees with.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
