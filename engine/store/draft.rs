//! Publication: a folder under `tmp/` becomes blobs and, last of all, a record. Until that rename nothing is visible.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{Lookup, Record, Store, StoreError, into_folder, remove_tree, seal::seal, users::Gate};
use crate::{
    artifact::{Artifact, Digest, FileEntry},
    key::ActionKey,
};

/// A folder a stage writes into. Dropped without publication, it is removed.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
    /// The files of the result by name, where it is not all that lies in the folder.
    files: Option<Vec<(String, PathBuf)>>,
}

impl Draft {
    /// Where to write; plain files, maybe in folders.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says by name what of it is the result: the rest is removed.
    pub fn only(&mut self, files: Vec<(String, PathBuf)>) {
        self.files = Some(files);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Best effort: what stays is cleared by the next process that opens the store alone.
        let _ = remove_tree(&self.folder);
    }
}

/// How a publication went.
#[derive(Debug)]
pub struct Published {
    /// What the store now holds under the key.
    pub record: Record,
    /// The digest just made, where an earlier result of the same key differs from it. The earlier one stands.
    pub conflict: Option<Digest>,
}

impl Store {
    /// A new, empty draft.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn draft(&self) -> Result<Draft, StoreError> {
        let tmp = self.root.join("tmp");
        let (folder, ()) = self.aside(|folder| fs::create_dir(folder)).map_err(StoreError::io("make a folder in", &tmp))?;
        Ok(Draft { folder, files: None })
    }

    /// Moves a draft's files into the store and files `record` (whose `files` are filled in here) under its key. The first
    /// result of a key stays: a differing second one is kept as blobs and reported, not swapped in.
    ///
    /// # Errors
    /// Where the disk refuses, or the draft holds anything but plain files.
    pub fn publish(&self, draft: Draft, record: Record) -> Result<Published, StoreError> {
        self.publish_in(&self.enter()?, &draft, record)
    }

    /// The same with a stage's log, where it said anything: kept beside its result, so that it lasts as long as that.
    ///
    /// # Errors
    /// As for `publish`.
    pub fn publish_with_log(&self, draft: &Draft, mut record: Record, log: &Path) -> Result<Published, StoreError> {
        let gate = self.enter()?;
        record.log = self.keep_log(log, &record.provenance.run)?;
        self.publish_in(&gate, draft, record)
    }

    /// In the gate: until the record is there, nobody may take its files for garbage.
    fn publish_in(&self, gate: &Gate, draft: &Draft, mut record: Record) -> Result<Published, StoreError> {
        self.mark_unsynced(&record.provenance.run)?;
        let files = match &draft.files {
            Some(files) => files.clone(),
            None => files_in(&draft.folder)?,
        };
        let entries: Result<Vec<_>, StoreError> = files.into_par_iter().map(|(name, path)| self.keep(name, &path)).collect();
        record.files = Artifact(entries?.into_iter().collect());
        let path = self.record_path(&record.key);
        if let Lookup::Found(mut first) = self.look(&record.key)? {
            self.note_use(&record.key, gate)?;
            let second = record.files.digest();
            let conflict = (first.files.digest() != second).then_some(second);
            // A log that is lost is no reason to run, but whoever runs makes a new one.
            if conflict.is_none() && first.log.is_some_and(|log| !self.blob(&log.digest).exists()) {
                first.log = record.log;
                self.write_whole(&path, &seal(&first).map_err(StoreError::io("write", &path))?)?;
            }
            self.clear_partial(&record.key)?;
            return Ok(Published { record: *first, conflict });
        }
        // What is there is no result: a damaged record, or one that has lost its files. Only the first is worth a look.
        if fs::read(&path).is_ok_and(|text| Record::read(&text).is_none()) {
            self.set_aside(&path)?;
        }
        self.write_whole(&path, &seal(&record).map_err(StoreError::io("write", &path))?)?;
        self.note_use(&record.key, gate)?;
        self.clear_partial(&record.key)?;
        Ok(Published { record, conflict: None })
    }

    /// Makes a log a blob; nothing where it is empty or not there.
    fn keep_log(&self, log: &Path, run: &str) -> Result<Option<FileEntry>, StoreError> {
        match fs::metadata(log) {
            Ok(meta) if meta.len() > 0 => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", log)(error)),
        }
        self.mark_unsynced(run)?;
        let keep = self.draft()?;
        let copy = keep.folder().join("log");
        fs::copy(log, &copy).map_err(StoreError::io("keep", log))?;
        self.keep("log".to_owned(), &copy).map(|(_, entry)| Some(entry))
    }

    /// Forgets the checkpoints of a key, so that its next training begins at the beginning.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn clear_partial(&self, key: &ActionKey) -> Result<(), StoreError> {
        let partial = self.partial(key);
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &partial)(error)),
            _ => Ok(()),
        }
    }

    /// Makes one file of a draft a blob: hashed, read-only, renamed.
    fn keep(&self, name: String, path: &Path) -> Result<(String, FileEntry), StoreError> {
        let look = || -> io::Result<FileEntry> {
            let meta = fs::symlink_metadata(path)?;
            if !meta.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, NO_FILE));
            }
            Ok(FileEntry { digest: Digest::of_file(path)?, size: meta.len() })
        };
        let entry = look().map_err(StoreError::io("keep", path))?;
        let blob = self.blob(&entry.digest);
        // One that is there and whole stays: others may be reading it, and it may be safe from a power cut already.
        if blob.exists() && self.prove(&Artifact([(name.clone(), entry)].into()))?.is_empty() {
            return Ok((name, entry));
        }
        let put = || -> io::Result<()> {
            fs::set_permissions(path, fs::Permissions::from_mode(0o444))?;
            into_folder(&blob, || fs::rename(path, &blob))
        };
        put().map_err(StoreError::io("keep", path))?;
        self.now_proven(entry.digest);
        Ok((name, entry))
    }
}

const NO_FILE: &str = "an artifact holds plain files with UTF-8 names only";

/// All that lies in a folder and those in it, but for the folders, each called by its path from there.
fn files_in(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let (mut files, mut left) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(inner) = left.pop() {
        for path in super::list(&inner)? {
            let meta = fs::symlink_metadata(&path).map_err(StoreError::io("read", &path))?;
            if meta.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).ok().and_then(Path::to_str).map(str::to_owned);
            let no_name = || StoreError::io("keep", &path)(io::Error::new(io::ErrorKind::InvalidData, NO_FILE));
            files.push((name.ok_or_else(no_name)?, path));
        }
    }
    Ok(files)
}
