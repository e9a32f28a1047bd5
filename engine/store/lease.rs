//! A lease on a key: whoever makes a result locks it, others wait and then find it made. The system drops the lock of a
//! process that dies, so a lease never needs breaking. A lease that ends takes its file with it; whoever locks a file makes
//! sure that the name still leads to it, so that no two hold one lease by two files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Store, StoreError, is_named, open_lock};
use crate::key::ActionKey;

/// The right to make the result of one key, until dropped.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    _file: fs::File,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // While it is locked still. Where it cannot be removed it is in nobody's way.
        let _ = fs::remove_file(&self.path);
    }
}

/// A lease that somebody else holds.
#[derive(Debug)]
pub struct Taken {
    path: PathBuf,
}

impl Taken {
    /// Waits, for as long as it takes, until its holder is done or dead, then takes it.
    ///
    /// # Errors
    /// Where the lock file cannot be used.
    pub fn wait(self) -> Result<Lease, StoreError> {
        loop {
            let file = open_lock(&self.path)?;
            file.lock().map_err(StoreError::io("lock", &self.path))?;
            if named(&file, &self.path)? {
                return Ok(Lease { path: self.path, _file: file });
            }
        }
    }
}

impl Store {
    /// Takes the lease of a key, or says whom to wait for: another process or thread.
    ///
    /// # Errors
    /// Where the lock file cannot be used.
    pub fn lease(&self, key: &ActionKey) -> Result<Result<Lease, Taken>, StoreError> {
        let path = self.root.join("leases").join(key.to_string());
        loop {
            let file = open_lock(&path)?;
            match file.try_lock() {
                Ok(()) if named(&file, &path)? => return Ok(Ok(Lease { path, _file: file })),
                // Its holder removed it between opening and locking.
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(Err(Taken { path })),
                Err(fs::TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
            }
        }
    }
}

fn named(file: &fs::File, path: &Path) -> Result<bool, StoreError> {
    is_named(file, path).map_err(StoreError::io("read", path))
}
