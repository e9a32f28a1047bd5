//! Copies of the records of a manifest's last results in one file, so that a run with nothing to do opens one file and not a thousand.
//! A copy is good for as long as the record's own file has the stat it had when it was read and proven: what has another one, or is
//! gone, is looked up itself. So nothing is believed that a look at the record would not show, and what a bad disk does to the record
//! without its stat is not believed either.
//!
//! ```text
//! for each record: key 32 bytes | stat 7 x i64 | length u32 | the record as JSON        and at the end: digest of all before
//! ```

use std::{
    collections::{HashMap, HashSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{PARSED, Record, Store, StoreError, latest::escape, lookup::used_lately};
use crate::{
    artifact::Digest,
    key::ActionKey,
    looks::{Stat, stat_of},
};

const DIGEST: usize = 32;
/// Key, stat and length.
const HEAD: usize = DIGEST + 7 * 8 + 4;
/// Fewer records are read about as fast one by one.
const WORTH: usize = 32;

/// The copies in a file.
#[derive(Debug, Default)]
pub(super) struct Copies {
    bytes: Vec<u8>,
    places: HashMap<ActionKey, (Stat, Range<usize>)>,
}

/// A record to copy, as it was read and proven.
pub(super) struct Copied {
    pub key: ActionKey,
    /// Of its file.
    pub stat: Stat,
    /// It, as JSON.
    pub object: Vec<u8>,
}

impl Copies {
    /// Those in a file's contents; `None` where these are not as they were written.
    pub(super) fn of(bytes: Vec<u8>) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<DIGEST>()?;
        if blake3::hash(body) != *check {
            return None;
        }
        let mut places = HashMap::new();
        let mut at = 0;
        while at < body.len() {
            let head: &[u8; HEAD] = body.get(at..)?.first_chunk()?;
            let (key, rest) = head.split_first_chunk::<DIGEST>()?;
            let (stat, length) = rest.split_last_chunk::<4>()?;
            let mut numbers = stat.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok().map(i64::from_le_bytes));
            let stat: Stat = std::array::from_fn(|_| numbers.next().unwrap_or_default());
            let begin = at + HEAD;
            at = begin + u32::from_le_bytes(*length) as usize;
            body.get(begin..at)?;
            places.insert(ActionKey(Digest::from(blake3::Hash::from_bytes(*key))), (stat, begin..at));
        }
        Some(Self { bytes, places })
    }

    /// The stat that a record's file had when the record was proven.
    pub(super) fn stat(&self, key: &ActionKey) -> Option<Stat> {
        self.places.get(key).map(|(stat, _)| *stat)
    }

    /// The record of a key whose file is at `path`, where its copy is good and its use need not be noted in the file's time.
    pub(super) fn get(&self, key: &ActionKey, path: &Path) -> Option<Record> {
        let (stat, object) = self.places.get(key)?;
        let meta = fs::metadata(path).ok().filter(used_lately)?;
        if stat_of(&meta) != *stat {
            return None;
        }
        serde_json::from_slice(self.bytes.get(object.clone())?).ok().filter(|record: &Record| record.key == *key)
    }
}

impl Store {
    /// The copies for a manifest; none where there are none, or they are not as they were written.
    pub(super) fn copies(&self, manifest: &str) -> Copies {
        fs::read(self.copies_path(manifest)).ok().and_then(Copies::of).unwrap_or_default()
    }

    /// Keeps copies of the records that were `found`: new ones, and of the others the old.
    pub(super) fn keep_copies(
        &self,
        manifest: &str,
        found: &[ActionKey],
        old: &Copies,
        new: &[Copied],
    ) -> Result<(), StoreError> {
        if found.len() < WORTH {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut add = |key: &ActionKey, stat: &Stat, object: &[u8]| {
            let Ok(length) = u32::try_from(object.len()) else { return };
            bytes.extend_from_slice(key.0.as_bytes());
            stat.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(object);
        };
        new.iter().for_each(|copied| add(&copied.key, &copied.stat, &copied.object));
        let known: HashSet<&ActionKey> = new.iter().map(|copied| &copied.key).collect();
        for key in found.iter().filter(|key| !known.contains(key)) {
            if let Some((stat, object)) = old.places.get(key) {
                add(key, stat, old.bytes.get(object.clone()).unwrap_or_default());
            }
        }
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        self.write_whole(&self.copies_path(manifest), &bytes)
    }

    fn copies_path(&self, manifest: &str) -> PathBuf {
        self.root.join(PARSED).join(format!("{}.records", escape(manifest)))
    }
}
