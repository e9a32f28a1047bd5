//! What takes how much space. Results share files: in a sum each counts once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Held, Store, StoreError, Survey,
    garbage::{measure, size},
};
use crate::artifact::Digest;

/// Results that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Their common name.
    pub name: String,
    /// How many.
    pub results: usize,
    /// Bytes of their files, each once.
    pub bytes: u64,
    /// Of these, bytes that no other group has: what would be free without them.
    pub unique: u64,
}

/// The space of a whole store, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Results, the largest group first.
    pub groups: Vec<Group>,
    /// How many results there are.
    pub results: usize,
    /// Their files, each once.
    pub result_bytes: u64,
    /// What these would take if no two results shared a file.
    pub unshared_bytes: u64,
    /// Records.
    pub record_bytes: u64,
    /// Files that no record names: left by processes that were killed.
    pub unnamed_bytes: u64,
    /// Checkpoints of unfinished trainings.
    pub partial_bytes: u64,
    /// Events and logs of runs.
    pub run_bytes: u64,
    /// Drafts.
    pub tmp_bytes: u64,
    /// Downloads that have no other cache.
    pub download_bytes: u64,
    /// Damaged files that were set aside.
    pub damaged_bytes: u64,
}

impl Store {
    /// Sums up, results by `names`: to which groups one belongs.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn usage(&self, survey: &Survey, names: impl Fn(&Held) -> BTreeSet<String>) -> Result<Space, StoreError> {
        let mut usage = Space::default();
        let mut blobs: BTreeMap<Digest, (u64, BTreeSet<String>)> = BTreeMap::new();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for held in survey.held() {
            usage.results += 1;
            usage.unshared_bytes += held.size();
            let names = names(held);
            for name in &names {
                groups.entry(name.clone()).or_default().results += 1;
            }
            for entry in &held.blobs {
                let (size, of) = blobs.entry(entry.digest).or_default();
                *size = entry.size;
                of.extend(names.iter().cloned());
            }
        }
        for (size, of) in blobs.values() {
            usage.result_bytes += size;
            for name in of {
                let group = groups.entry(name.clone()).or_default();
                group.bytes += size;
                group.unique += if of.len() == 1 { *size } else { 0 };
            }
        }
        usage.groups = groups.into_iter().map(|(name, group)| Group { name, ..group }).collect();
        usage.groups.sort_by(|a, b| (b.bytes, &a.name).cmp(&(a.bytes, &b.name)));
        let named: BTreeSet<_> = blobs.keys().map(|digest| self.blob(digest)).collect();
        for path in self.shards("blobs")?.into_iter().filter(|path| !named.contains(path)) {
            usage.unnamed_bytes += size(&path)?.unwrap_or(0);
        }
        let folder = |name: &str| Ok::<u64, StoreError>(measure(&self.root.join(name))?.0);
        usage.record_bytes = folder("actions")?;
        usage.partial_bytes = folder("partial")?;
        usage.run_bytes = folder("runs")?;
        usage.tmp_bytes = folder("tmp")?;
        usage.download_bytes = folder(super::DOWNLOADS)?;
        usage.damaged_bytes = folder("damaged")?;
        Ok(usage)
    }
}
