//! Reading everything again: does each blob still have the contents its name says, and each record the key? Files are read side by
//! side, and the pieces of a large one too. It goes on beside running processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;
use serde::Serialize;

use super::{Record, Store, StoreError, garbage::size, unless_gone};
use crate::{artifact::Digest, key::ActionKey};

/// Something in the store that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// A blob with other contents than its name.
    Blob {
        /// The digest it is filed under.
        digest: String,
    },
    /// A record that cannot be read, or whose fingerprint does not give its key.
    Record {
        /// The key it is filed under.
        key: String,
    },
    /// A record whose file is not there.
    Missing {
        /// The instance that made it.
        instance: String,
        /// The file's name in the artifact.
        file: String,
    },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob { digest } => write!(f, "the contents of blob {} changed", &digest[..12]),
            Self::Record { key } => write!(f, "the record of key {} is damaged", &key[..12]),
            Self::Missing { instance, file } => write!(f, "`{file}` of {instance} is missing"),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many files were read.
    pub files: usize,
    /// How many bytes of blobs.
    pub bytes: u64,
    /// What is not whole.
    pub damage: Vec<Damage>,
}

impl Store {
    /// Reads every record and blob, or those of the results under `only`. Damaged ones are set aside in `damaged/`, so that the
    /// next run makes them again; nothing else is touched. `progress` is told how many bytes of how many have been read.
    ///
    /// # Errors
    /// Where the disk cannot be read, or a damaged file cannot be moved.
    pub fn verify(
        &self,
        only: Option<&BTreeSet<ActionKey>>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Verified, StoreError> {
        let mut damage = Vec::new();
        let mut records: Vec<(PathBuf, Record)> = Vec::new();
        let mut files = 0;
        for path in self.shards("actions")? {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            if let (Some(only), Ok(key)) = (only, name.parse())
                && !only.contains(&ActionKey(key))
            {
                continue;
            }
            let Some(text) = unless_gone(fs::read(&path)).map_err(StoreError::io("read", &path))? else { continue };
            files += 1;
            match Record::read(&text).filter(|record| record.key.to_string() == name) {
                Some(record) => records.push((path, record)),
                None => {
                    self.set_aside(&path)?;
                    damage.push(Damage::Record { key: name });
                }
            }
        }
        let blobs: BTreeSet<PathBuf> = match only {
            None => self.shards("blobs")?.into_iter().collect(),
            Some(_) => records.iter().flat_map(|(_, record)| record.blobs()).map(|entry| self.blob(&entry.digest)).collect(),
        };
        let mut sizes = BTreeMap::new();
        for path in blobs {
            if let Some(size) = size(&path)? {
                sizes.insert(path, size);
            }
        }
        let total: u64 = sizes.values().sum();
        let done = AtomicU64::new(0);
        let told = |bytes: u64| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        let bad_blobs = sizes.par_iter().map(|(path, _)| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            match Digest::of_file_told(path, &told) {
                Ok(digest) if digest.to_string() == name => Ok(None),
                Ok(_) => Ok(self.set_aside(path)?.map(|_| Damage::Blob { digest: name })),
                // Collected, or set aside by another verification: told below where a record still names it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(StoreError::io("read", path)(error)),
            }
        });
        damage.extend(bad_blobs.filter_map(Result::transpose).collect::<Result<Vec<_>, StoreError>>()?);
        let aside: BTreeSet<String> = damage
            .iter()
            .filter_map(|damage| match damage {
                Damage::Blob { digest } => Some(digest.clone()),
                _ => None,
            })
            .collect();
        for (path, record) in &records {
            let log = record.log.as_ref().map(|log| ("log", log));
            let files = record.files.0.iter().map(|(name, entry)| (name.as_str(), entry)).chain(log);
            let missing =
                files.filter(|(_, entry)| !aside.contains(&entry.digest.to_string()) && !self.blob(&entry.digest).exists());
            // A collection removes a record before its files.
            let mut missing = missing.peekable();
            if missing.peek().is_some() && path.exists() {
                let missing =
                    missing.map(|(file, _)| Damage::Missing { instance: record.instance.clone(), file: file.to_owned() });
                damage.extend(missing.collect::<Vec<_>>());
            }
        }
        damage.sort();
        Ok(Verified { files: files + sizes.len(), bytes: total, damage })
    }
}
