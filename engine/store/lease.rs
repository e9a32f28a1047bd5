//! A lease on a key: whoever makes a result locks it, others wait and then find it made. The system drops the lock of a
//! process that dies, so a lease never needs breaking.

use std::fs;

use super::{Store, StoreError, open_lock};
use crate::key::ActionKey;

/// The right to make the result of one key, until dropped.
#[derive(Debug)]
pub struct Lease {
    _file: fs::File,
}

impl Store {
    /// Takes the lease of a key; `None` while another process or thread holds it.
    ///
    /// # Errors
    /// Where the lock file cannot be used.
    pub fn lease(&self, key: &ActionKey) -> Result<Option<Lease>, StoreError> {
        let path = self.root.join("leases").join(key.to_string());
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lease { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
        }
    }
}
