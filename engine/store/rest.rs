//! What a run that found everything made has looked at in the store, and whether it is all still there: so that a later run can tell
//! that without a look into any of the results.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{PARSED, Record, Store, StoreError, lookup::used_lately, users::Gate};
use crate::{
    artifact::Digest,
    key::ActionKey,
    looks::{Stat, is_settled, stat, stat_of},
};

/// Results at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Each record as it was when it was proven.
    records: Vec<(ActionKey, Stat)>,
    /// Lengths of the files of results.
    blobs: Vec<(Digest, u64)>,
    marks: Marks,
}

/// What a run adds to when it makes or finds another result than the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The file of last keys.
    latest: Stat,
    /// The view of last results, and the folder that has one for each.
    shown: Stat,
    view: Stat,
}

/// Until it is dropped, nothing is collected that was found at rest.
#[derive(Debug)]
pub struct Kept {
    _gate: Gate,
}

impl Store {
    /// Where a manifest stands; nothing where it has no last results or no view of them.
    pub fn marks(&self, manifest: &str) -> Option<Marks> {
        let [latest, view, shown] = self.marked(manifest);
        Some(Marks { latest: stat(&latest).ok()?, shown: stat(&shown).ok()?, view: stat(&view).ok()? })
    }

    /// That these are a manifest's results, all of which were found, if nothing has changed since `began`, in seconds since 1970, when its
    /// marks were `before`. Nothing where they were not all proven by way of copies, or a change now might not show in a stat.
    pub fn at_rest<'a>(
        &self,
        manifest: &str,
        results: impl Iterator<Item = &'a Record>,
        before: Marks,
        began: i64,
    ) -> Option<Rest> {
        let settled = [before.latest, before.shown, before.view].iter().all(|stat| is_settled(stat, began));
        if !settled || self.marks(manifest) != Some(before) {
            return None;
        }
        let copies = self.copies(manifest);
        let (mut records, mut blobs) = (BTreeMap::new(), BTreeSet::new());
        for record in results {
            records.insert(record.key, copies.stat(&record.key).filter(|stat| is_settled(stat, began))?);
            blobs.extend(record.files.0.values().map(|entry| (entry.digest, entry.size)));
        }
        Some(Rest { records: records.into_iter().collect(), blobs: blobs.into_iter().collect(), marks: before })
    }

    /// Whether all that was at rest is as it was. While the answer is held, it stays so as far as talkflow is concerned.
    ///
    /// # Errors
    /// Where the gate cannot be passed.
    pub fn is_at_rest(&self, manifest: &str, rest: &Rest) -> Result<Option<Kept>, StoreError> {
        let gate = self.enter()?;
        // A record whose use has to be noted in its file's time is looked up as ever.
        let same = |(key, then): &(ActionKey, Stat)| {
            fs::metadata(self.record_path(key)).is_ok_and(|meta| used_lately(&meta) && stat_of(&meta) == *then)
        };
        let whole = |(digest, size): &(Digest, u64)| fs::metadata(self.blob(digest)).is_ok_and(|meta| meta.len() == *size);
        let still =
            self.marks(manifest) == Some(rest.marks) && rest.records.par_iter().all(same) && rest.blobs.par_iter().all(whole);
        Ok(still.then_some(Kept { _gate: gate }))
    }

    /// What is kept in the store under a name only to be quicker the next time; nothing where there is nothing.
    pub fn shortcut(root: &Path, name: &str) -> Option<Vec<u8>> {
        fs::read(root.join(PARSED).join(name)).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn keep_shortcut(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_whole(&self.root.join(PARSED).join(name), bytes)
    }

    fn marked(&self, manifest: &str) -> [PathBuf; 3] {
        let [view, shown] = self.view_of(manifest);
        [self.latest_path(manifest), view, shown]
    }
}
