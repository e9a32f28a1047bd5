//! The artifact store on disk. Two tables carry it: `actions/` holds a record for each key, `blobs/` holds file contents by
//! digest. Everything is written under `tmp/` on the same file system and renamed into place, the record last, so a process
//! killed at any moment leaves rubbish in `tmp/` and nothing else. What a machine that goes down may leave is in `unsynced.rs`,
//! what a bad disk may do in `proof.rs`. Knows keys and artifacts; not what stages are.
//!
//! ```text
//! format                 version of this layout
//! lock                   shared by every process for as long as it uses the store, taken alone to clear away what killed ones left
//! actions/ab/KEY.json    what was made under a key: files, metrics, fingerprint, provenance; sealed
//! blobs/ab/DIGEST        file contents, read-only
//! damaged/               what was not as it was written, set aside; nothing reads it
//! gate                   shared while results are looked up or published, taken alone while garbage is chosen
//! latest/MANIFEST.jsonl  the last key of each stage instance and how long its result took, appended, each line sealed
//! leases/KEY             locked by whoever makes KEY just now, and gone afterwards
//! out/MANIFEST/STAGE/    links to the files of last results, under readable names
//! parsed/                what was read, to be read again quicker: trees of long manifests, copies of the records of last results, and
//!                        what a run saw that had nothing to do
//! partial/KEY/           checkpoints of an unfinished training, each with a hash of its own
//! pins/NAME.json         results that stay, and why
//! runs/ID/               a run: run.json, resolved.json, events.jsonl, a log for each stage that said something; what a sweep goes over and found
//! tmp/                   drafts
//! unsynced/              a marker for each run whose results may not survive a power cut yet; sealed
//! using/                 the keys that each running process uses, in a file that it holds locked
//! files.json             digests of files outside the store, by their stat; sealed
//! ```

use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    artifact::{Artifact, Digest, FileEntry},
    key::{ActionKey, Fingerprint},
};

mod copies;
mod draft;
mod garbage;
mod latest;
mod lease;
mod lookup;
mod outside;
mod pins;
mod put;
mod proof;
mod seal;
mod survey;
mod transfer;
mod unsynced;
mod remove;
mod rest;
mod usage;
mod users;
mod verify;
mod view;

pub use draft::{Draft, Published};
pub use garbage::{Collected, Gone, Policy};
pub use latest::Latest;
pub use lease::{Lease, Taken};
pub use lookup::Lookup;
pub use outside::OutsideFiles;
pub use pins::{Pin, Pinned};
pub use proof::NotWhole;
pub use put::{Placed, Put};
pub use remove::remove_tree;
pub use rest::{Kept, Marks, Rest};
pub use survey::{Held, Survey};
pub use transfer::{Lost, Transferred};
pub use unsynced::Recovered;
pub use usage::{Group, Space};
pub use verify::{Damage, Verified};
pub use view::readable;

/// The version of the layout above.
pub const FORMAT: &str = "2";
/// The version of a key's canonical form. It enters keys, so results of an older layout keep theirs.
pub const KEY_FORMAT: &str = "1";

/// A store that cannot be used: exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("the store could not {what} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Made by another version of talkflow.
    #[error("{} holds a store of format {found}, this talkflow reads format {FORMAT}: use another folder (--store) or the talkflow that made it", path.display())]
    Format {
        /// The store's root.
        path: PathBuf,
        /// What its `format` file says.
        found: String,
    },
    /// Its `format` file says nothing that makes sense.
    #[error("{} is damaged, it says {found:?}. If this is a store of yours, write {FORMAT} into it and run `talkflow store verify`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// Not a store, and not empty either.
    #[error("{} is not a talkflow store and is not empty: name another folder with --store, or empty this one", path.display())]
    NotAStore {
        /// The folder named.
        path: PathBuf,
    },
    /// A file of a result is damaged or missing, found by a command that makes nothing again.
    #[error("{not_whole}: `talkflow run` makes it again")]
    NotWhole {
        /// Which, and where it is now.
        not_whole: NotWhole,
    },
    /// The log beside a result is damaged or missing; a result whose log is lost is whole.
    #[error(
        "{not_whole}: it held what `{stage}` said. The result itself is whole; `talkflow run` with --force '{stage}' makes both again"
    )]
    LostLog {
        /// The stage that said it.
        stage: String,
        /// Where it is now.
        not_whole: NotWhole,
    },
    /// What is written there changes.
    #[error("{file} of `{stage}` was damaged again and again after it had been made: do not trust the disk under {}, use another one", path.display())]
    Forgetful {
        /// The stage that made it.
        stage: String,
        /// Its file.
        file: String,
        /// The store's root.
        path: PathBuf,
    },
    /// There is no store where one was to be read.
    #[error("there is no store in {}", path.display())]
    NoStore {
        /// The folder named.
        path: PathBuf,
    },
}

impl StoreError {
    /// What the system refused, as a verb, and on which file.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// What to do where the system refused.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            ". Make room there (bytes or inodes; `talkflow store gc` removes what nobody keeps), or name another folder with --store, \
             and run again: finished stages are kept"
        }
        ReadOnlyFilesystem | PermissionDenied => ". Make the folder writable, or name another one with --store",
        _ => "",
    }
}

/// What the store knows about one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What it is filed under.
    pub key: ActionKey,
    /// The instance that made it, as its manifest named it: for people only.
    pub instance: String,
    /// The stage kind.
    pub kind: String,
    /// The files made.
    pub files: Artifact,
    /// Numbers about the result, in the order the stage gave them.
    pub metrics: Map<String, Value>,
    /// Sentences that belong to the result, such as where data came from.
    pub notes: Vec<String>,
    /// What the key was made from.
    pub fingerprint: Fingerprint,
    /// Where and how it was made: nothing here enters a key.
    pub provenance: Provenance,
    /// What the stage said while it made them; no part of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<FileEntry>,
}

impl Record {
    /// All contents that belong to it: its files, and its log.
    pub fn blobs(&self) -> impl Iterator<Item = &FileEntry> {
        self.files.0.values().chain(&self.log)
    }
}

/// Circumstances of a stage's run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of talkflow.
    pub talkflow: String,
    /// Seconds since 1970 when the stage started.
    pub started: u64,
    /// Wall seconds it took.
    pub seconds: f64,
    /// Cores it was given.
    pub cores: usize,
    /// The run it was made in.
    pub run: String,
    /// The manifest of that run, by its name; empty where an older talkflow made it.
    #[serde(default)]
    pub manifest: String,
    /// What it took of the machine.
    #[serde(default)]
    pub usage: Usage,
}

/// What a stage took of the machine, as far as that could be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of all its threads, or of the processes it started.
    pub cpu_seconds: Option<f64>,
    /// The most memory in bytes: of the processes it started; of a stage that works inside talkflow, that of the whole process
    /// while it ran, stages beside it included.
    pub peak_memory: Option<u64>,
}

impl Record {
    /// Reads a record's file; `None` where it is not as it was written, or does not belong to its key.
    pub fn read(text: &[u8]) -> Option<Self> {
        let record: Self = seal::unseal(text)?;
        (record.fingerprint.key() == record.key).then_some(record)
    }
}

/// An opened store. Cheap to share between threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    serial: AtomicU64,
    /// Blobs whose contents this process knows to be whole.
    proven: Mutex<HashSet<Digest>>,
    unsynced: unsynced::Unsynced,
    recovered: Recovered,
    notes: users::Notes,
    ahead: lookup::Ahead,
    /// Held, shared, for as long as the process uses the store.
    _in_use: fs::File,
}

impl Store {
    /// Opens the store in `root`, making it where there is none. Any number of processes may do so at once.
    ///
    /// # Errors
    /// Where the folder cannot be written, holds another format, or holds something else.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        if !is_made(root)? {
            // Meanwhile another process may have made all of it and begun to use it: then what lies there is more than a store begins with.
            match may_become_one(root) {
                Err(refused) if !is_made(root)? => return Err(refused),
                _ => {}
            }
            fs::create_dir_all(root).map_err(StoreError::io("make", root))?;
        }
        let root = root.canonicalize().map_err(StoreError::io("find", root))?;
        let lock = root.join("lock");
        let in_use = open_lock(&lock)?;
        // Alone here: what lies in tmp/ was left by processes that were killed. Nobody writes there without the shared lock.
        if in_use.try_lock().is_ok() {
            // Where something cannot be removed, maybe since a program that outlived its talkflow still writes there, it stays.
            let _ = empty(&root.join("tmp"));
            in_use.unlock().map_err(StoreError::io("unlock", &lock))?;
        }
        in_use.lock_shared().map_err(StoreError::io("lock", &lock))?;
        let mut store = Self::with_lock(root, in_use);
        store.complete()?;
        store.recovered = store.recover()?;
        Ok(store)
    }

    fn with_lock(root: PathBuf, in_use: fs::File) -> Self {
        Self {
            root,
            serial: AtomicU64::new(0),
            proven: Mutex::default(),
            unsynced: unsynced::Unsynced::default(),
            recovered: Recovered::default(),
            notes: users::Notes::default(),
            ahead: lookup::Ahead::default(),
            _in_use: in_use,
        }
    }

    /// Makes what a store consists of, where it is missing: all of it in a new one, empty folders in one that was copied by a
    /// tool that leaves those out. Every step may be done by several processes at once; the format comes last.
    fn complete(&self) -> Result<(), StoreError> {
        for folder in FOLDERS {
            let path = self.root.join(folder);
            fs::create_dir_all(&path).map_err(StoreError::io("make", &path))?;
        }
        if is_made(&self.root)? {
            return Ok(());
        }
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# made by talkflow\n";
        for (name, text) in [(".gitignore", "*\n"), ("CACHEDIR.TAG", tag), ("format", &format!("{FORMAT}\n"))] {
            self.write_synced(&self.root.join(name), text.as_bytes())?;
        }
        Ok(())
    }

    /// What opening it found damaged, where the machine had gone down while a process wrote.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether next to nothing more can be written here: no bytes or no inodes are left.
    pub fn is_full(&self) -> bool {
        let Ok(left) = rustix::fs::statvfs(&self.root) else { return false };
        // What is reserved for root is free for root.
        let blocks = if rustix::process::geteuid().is_root() { left.f_bfree } else { left.f_bavail };
        blocks.saturating_mul(left.f_frsize) < NOTHING_LEFT || (left.f_files > 0 && left.f_favail == 0)
    }

    /// Where the contents with this digest lie, whether or not they are there.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.sharded("blobs", &digest.to_string(), "")
    }

    /// Every record in the store, in the order of their keys; damaged ones are left out (`verify` names them).
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for path in self.shards("actions")? {
            let Some(text) = unless_gone(fs::read(&path)).map_err(StoreError::io("read", &path))? else { continue };
            records.extend(Record::read(&text));
        }
        Ok(records)
    }

    /// Where checkpoints of the stage under this key go. Not made here; kept until the result is published.
    pub fn partial(&self, key: &ActionKey) -> PathBuf {
        self.root.join("partial").join(key.to_string())
    }

    /// A new run: its name, which is when it began in UTC to the millisecond, and its folder. A name that is taken, maybe by a
    /// process in another container, is left to its owner: the next free millisecond is taken.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn new_run(&self, since_1970: Duration) -> Result<(String, PathBuf), StoreError> {
        let mut at = since_1970;
        let gate = self.enter()?;
        loop {
            let id = format!("{}-{:03}", crate::time::stamp(at.as_secs()), at.subsec_millis());
            let path = self.root.join("runs").join(&id);
            match fs::create_dir(&path) {
                Ok(()) => {
                    self.note_run(&id, &gate)?;
                    return Ok((id, path));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at += Duration::from_millis(1),
                Err(error) => return Err(StoreError::io("make", &path)(error)),
            }
        }
    }

    /// The names of runs, in the order in which they began.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn run_names(&self) -> Result<Vec<String>, StoreError> {
        let folders = list(&self.runs())?.into_iter().filter(|path| path.is_dir());
        Ok(folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    /// Where runs keep their events.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Every key that has a record, whole or not.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn all_keys(&self) -> Result<std::collections::BTreeSet<ActionKey>, StoreError> {
        let key = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok().map(ActionKey);
        Ok(self.shards("actions")?.iter().filter_map(key).collect())
    }

    fn record_path(&self, key: &ActionKey) -> PathBuf {
        self.sharded("actions", &key.to_string(), ".json")
    }

    fn sharded(&self, table: &str, name: &str, suffix: &str) -> PathBuf {
        self.root.join(table).join(&name[..2]).join(format!("{name}{suffix}"))
    }

    /// All files of a table, sorted.
    fn shards(&self, table: &str) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        for shard in list(&self.root.join(table))? {
            files.extend(list(&shard)?);
        }
        // What somebody else put there is not ours to read, nor to remove.
        let ours = |name: &str| name.get(..64).is_some_and(|digest| digest.parse::<Digest>().is_ok());
        files.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(ours));
        Ok(files)
    }

    /// A new entry of `tmp/`.
    fn aside<T>(&self, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
        self.new_in("tmp", make)
    }

    /// A new entry of a folder. `make` refuses a name that is taken: number and serial may be those of another process too, where
    /// containers share a store, or of another `Store` of this one.
    fn new_in<T>(&self, folder: &str, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
        loop {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(folder).join(format!("{}-{serial}", std::process::id()));
            match make(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|made| (path, made)),
            }
        }
    }

    /// Writes a small file whole: aside, then renamed into place.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(path, bytes, false).map_err(StoreError::io("write", path))
    }

    /// The same, and a power cut leaves either the old file or the new one.
    fn write_synced(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.write(path, bytes, true).and_then(|()| sync_folder_of(path));
        written.map_err(StoreError::io("write", path))
    }

    fn write(&self, path: &Path, bytes: &[u8], synced: bool) -> io::Result<()> {
        let (draft, mut file) = self.aside(|draft| fs::File::create_new(draft))?;
        let mut put = || -> io::Result<()> {
            file.write_all(bytes)?;
            if synced {
                file.sync_all()?;
            }
            into_folder(path, || fs::rename(&draft, path))
        };
        // On a full disk, half a draft must not lie about for as long as the process lives.
        put().inspect_err(|_| drop(fs::remove_file(&draft)))
    }
}

/// Where trees of long manifests are kept, and copies of records; a cache, which garbage collection clears.
pub const PARSED: &str = "parsed";
const FOLDERS: [&str; 10] = ["actions", "blobs", "damaged", "latest", "leases", PARSED, "partial", "runs", "tmp", "unsynced"];
const FILES: [&str; 5] = ["format", "lock", "files.json", ".gitignore", "CACHEDIR.TAG"];
/// Fewer bytes than this are as good as none.
const NOTHING_LEFT: u64 = 32 << 10;
/// Where downloads go that have no other cache, maybe before there is a store.
const DOWNLOADS: &str = "downloads";

/// Whether a store of our format is in `root`.
fn is_made(root: &Path) -> Result<bool, StoreError> {
    let format = root.join("format");
    match fs::read(&format).map(|text| String::from_utf8_lossy(&text).trim().to_owned()) {
        Ok(found) if found == FORMAT => Ok(true),
        Ok(found) if found.parse::<u32>().is_err() => Err(StoreError::Unreadable { path: format, found }),
        Ok(found) => Err(StoreError::Format { path: root.to_owned(), found }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("read", &format)(error)),
    }
}

/// Whether a store may be made in `root`: nothing is there, or one that is just being made, of which `lock` comes first. A
/// `tmp/` or `runs/` of somebody else is not ours to empty.
fn may_become_one(root: &Path) -> Result<(), StoreError> {
    let mut found = list(root)?;
    found.retain(|path| !path.ends_with(DOWNLOADS));
    let ours = |path: &PathBuf| FOLDERS.iter().chain(&FILES).any(|known| path.ends_with(known));
    match found.is_empty() || (found.iter().all(ours) && root.join("lock").exists()) {
        true => Ok(()),
        false => Err(StoreError::NotAStore { path: root.to_owned() }),
    }
}

fn open_lock(path: &Path) -> Result<fs::File, StoreError> {
    let open = fs::File::options().create(true).truncate(false).read(true).write(true).open(path);
    open.map_err(StoreError::io("open", path))
}

/// What lies in a folder, sorted; nothing where there is none.
fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", folder)(error)),
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>().map_err(StoreError::io("read", folder))?;
    paths.sort();
    Ok(paths)
}

/// Removes what lies in a folder.
fn empty(folder: &Path) -> Result<(), StoreError> {
    for path in list(folder)? {
        let removed = if path.is_dir() { remove_tree(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::io("remove", &path)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Puts something at `path`, making the folder it goes into where that is missing.
fn into_folder(path: &Path, put: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match (put(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            put()
        }
        (done, _) => done,
    }
}

/// Whether a name still leads to the file that was opened by it.
fn is_named(file: &fs::File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `None` where what was to be used is not there: another process may have removed it.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Makes a rename survive a power cut.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
pub mod testing {
    //! Records for tests.

    use super::*;

    /// A record of no files, under a fingerprint.
    pub fn record(instance: &str, fingerprint: Fingerprint) -> Record {
        let provenance = Provenance {
            talkflow: "0".to_owned(),
            started: 0,
            seconds: 0.0,
            cores: 1,
            run: "r".to_owned(),
            manifest: "m".to_owned(),
            usage: Usage::default(),
        };
        Record {
            key: fingerprint.key(),
            instance: instance.to_owned(),
            kind: "test".to_owned(),
            files: Artifact::default(),
            metrics: Map::new(),
            notes: Vec::new(),
            fingerprint,
            provenance,
            log: None,
        }
    }
}

#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod tests;
