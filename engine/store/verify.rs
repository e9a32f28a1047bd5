//! Reading everything again: does each blob still have the contents its name says, and each record the key?

use std::{fs, io};

use rayon::prelude::*;
use serde::Serialize;

use super::{Record, Store, StoreError};
use crate::artifact::Digest;

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

impl Store {
    /// Reads every blob and record. Damaged ones are set aside in `damaged/`, so that the next run makes them again; nothing else is touched.
    /// What another verification sets aside meanwhile counts as damaged here too.
    ///
    /// # Errors
    /// Where the disk cannot be read, or a damaged file cannot be moved.
    pub fn verify(&self) -> Result<(usize, Vec<Damage>), StoreError> {
        let blobs = self.shards("blobs")?;
        let records = self.shards("actions")?;
        let bad_blobs = blobs.par_iter().map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            match Digest::of_file(path) {
                Ok(digest) if digest.to_string() == name => return Ok(None),
                Ok(_) => drop(self.set_aside(path)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("read", path)(error)),
            }
            Ok(Some(Damage::Blob { digest: name }))
        });
        let mut damage: Vec<Damage> = bad_blobs.filter_map(Result::transpose).collect::<Result<_, StoreError>>()?;
        for path in &records {
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let record = match fs::read(path) {
                Ok(text) => Record::read(&text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(StoreError::io("read", path)(error)),
            };
            match record.filter(|record| record.key.to_string() == name) {
                None => {
                    self.set_aside(path)?;
                    damage.push(Damage::Record { key: name });
                }
                Some(record) => damage.extend(
                    (record.files.0.iter())
                        .filter(|(_, entry)| !self.blob(&entry.digest).exists())
                        .map(|(file, _)| Damage::Missing { instance: record.instance.clone(), file: file.clone() }),
                ),
            }
        }
        damage.sort();
        Ok((blobs.len() + records.len(), damage))
    }
}
