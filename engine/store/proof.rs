//! Nothing is read that has not been proven: before a stage or a command reads a file of the store, its contents are compared
//! with its digest, once a process and file. What is damaged is set aside in `damaged/`, where nobody takes it for a result, so
//! that the stage that made it makes it again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use rayon::prelude::*;

use super::{Record, Store, StoreError};
use crate::artifact::{Artifact, Digest, FileEntry};

/// A file of an artifact that is not there as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotWhole {
    /// Its name in the artifact.
    pub file: String,
    /// Where the damaged contents were set aside; `None` where the file was missing.
    pub aside: Option<PathBuf>,
}

impl std::fmt::Display for NotWhole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.aside {
            Some(aside) => write!(f, "`{}` was damaged and is now {}", self.file, aside.display()),
            None => write!(f, "`{}` was missing", self.file),
        }
    }
}

impl Store {
    /// Reads the files of an artifact that this process has not read yet, and sets damaged ones aside. Those that are not whole.
    ///
    /// # Errors
    /// Where the disk cannot be read, or a damaged file cannot be moved.
    pub fn prove(&self, files: &Artifact) -> Result<Vec<NotWhole>, StoreError> {
        let unproven: Vec<_> = files.0.iter().filter(|(_, entry)| !self.is_proven(entry)).collect();
        let damaged = unproven.into_par_iter().map(|(file, entry)| Ok(self.prove_file(file, entry)?.err()));
        damaged.filter_map(Result::transpose).collect()
    }

    /// Where a file of an artifact lies, proven: for commands, which make nothing again.
    ///
    /// # Errors
    /// [`StoreError::NotWhole`], or where the disk cannot be read.
    pub fn proven(&self, file: &str, entry: &FileEntry) -> Result<PathBuf, StoreError> {
        self.prove_file(file, entry)?.map_err(|not_whole| StoreError::NotWhole { not_whole })
    }

    /// Where the log beside a result lies, proven; `None` where its stage said nothing.
    ///
    /// # Errors
    /// [`StoreError::LostLog`], or where the disk cannot be read.
    pub fn proven_log(&self, record: &Record) -> Result<Option<PathBuf>, StoreError> {
        let Some(log) = &record.log else { return Ok(None) };
        let lost = |not_whole| StoreError::LostLog { stage: record.instance.clone(), not_whole };
        self.prove_file("log", log)?.map(Some).map_err(lost)
    }

    fn prove_file(&self, file: &str, entry: &FileEntry) -> Result<Result<PathBuf, NotWhole>, StoreError> {
        let path = self.blob(&entry.digest);
        let not_whole = |aside| Ok(Err(NotWhole { file: file.to_owned(), aside }));
        if self.is_proven(entry) {
            return Ok(Ok(path));
        }
        match self.prove_blob(&path)? {
            Some(aside) => not_whole(Some(aside)),
            None if !path.exists() => {
                // Maybe another reader was there a moment ago.
                let aside = self.aside_of(&path);
                not_whole(aside.exists().then_some(aside))
            }
            None => {
                self.now_proven(entry.digest);
                Ok(Ok(path))
            }
        }
    }

    /// Whether this process knows the file's contents, and it is still there.
    fn is_proven(&self, entry: &FileEntry) -> bool {
        let known = self.proven.lock().unwrap_or_else(PoisonError::into_inner).contains(&entry.digest);
        known && fs::metadata(self.blob(&entry.digest)).is_ok_and(|meta| meta.len() == entry.size)
    }

    /// Remembers that this process knows a blob's contents.
    pub(super) fn now_proven(&self, digest: Digest) {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }

    /// Reads a blob. Where it has other contents than its name says it is set aside, and this says where; one that is missing is
    /// no damage.
    pub(super) fn prove_blob(&self, path: &Path) -> Result<Option<PathBuf>, StoreError> {
        match is_whole(path) {
            Ok(true) => Ok(None),
            Ok(false) => self.set_aside(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", path)(error)),
        }
    }

    fn aside_of(&self, path: &Path) -> PathBuf {
        self.root.join("damaged").join(path.file_name().unwrap_or_default())
    }

    /// Moves a damaged record or blob to `damaged/`, out of everybody's way, and says where it is. `None` where it has gone
    /// meanwhile: another process did the same.
    ///
    /// # Errors
    /// Where it cannot be moved.
    pub(super) fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>, StoreError> {
        let aside = self.aside_of(path);
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            moved => moved.map_err(StoreError::io("set aside", path))?,
        }
        // Between reading and moving, another process may have put a whole one in its place. Then that one goes back.
        if is_whole(&aside).unwrap_or(false) {
            fs::rename(&aside, path).map_err(StoreError::io("put back", path))?;
            return Ok(None);
        }
        Ok(Some(aside))
    }
}

/// Whether a blob has the contents, or a record the key, that its name says.
fn is_whole(path: &Path) -> io::Result<bool> {
    let name = match path.extension() {
        None => Some(Digest::of_file(path)?),
        Some(_) => Record::read(&fs::read(path)?).map(|record| record.key.0),
    };
    Ok(name.is_some_and(|name| path.file_stem().is_some_and(|stem| *stem == *name.to_string())))
}
