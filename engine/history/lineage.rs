//! Where a digest comes from: the records of a store, by the digest of what they made. An input that changed is traced to the stage
//! that changed first, from record to record.

use std::collections::HashMap;

use crate::{
    key::{Change, Stale},
    store::{Record, Store, StoreError},
};

/// All records by the digest of their files.
#[derive(Debug)]
pub struct Lineage(HashMap<String, Vec<Record>>);

/// A chain is followed no further than this.
const LONGEST: usize = 10_000;
/// Nor are more inputs of one stage.
const MOST: usize = 100;

impl Lineage {
    /// Of all results in a store.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let mut made: HashMap<String, Vec<Record>> = HashMap::new();
        for record in store.records()? {
            made.entry(record.files.digest().to_string()).or_default().push(record);
        }
        Ok(Self(made))
    }

    /// A record of what has this digest.
    #[must_use]
    pub fn made(&self, digest: &str) -> Option<&Record> {
        self.0.get(digest)?.first()
    }

    /// The stages, from the nearest to the first, whose changed results made these inputs change, each with what differs in its own key.
    /// Ends where a stage differs in something of its own, or where the store does not hold both results any more.
    pub fn trace(&self, changes: &[Change]) -> Vec<(String, Vec<Change>)> {
        let mut chain: Vec<(String, Vec<Change>)> = Vec::new();
        let mut next = self.step(changes);
        while let Some((stage, changes)) = next {
            let further = changes.iter().all(Change::is_of_input).then(|| self.step(&changes)).flatten();
            chain.push((stage, changes));
            next = further.filter(|_| chain.len() < LONGEST);
        }
        chain
    }

    /// The reason with its first cause, where it lies in what is read and can still be told; else with the one that is known.
    pub fn explain(&self, reason: Stale) -> Stale {
        let changes = reason.changes();
        if changes.is_empty() || !changes.iter().all(Change::is_of_input) {
            return reason;
        }
        let mut first = changes.iter().take(MOST).filter_map(|change| self.trace(std::slice::from_ref(change)).pop());
        match first.next() {
            Some((stage, own)) => {
                let others = first.any(|(other, _)| other != stage);
                Stale::Upstream { changes: changes.to_vec(), stage, reason: Box::new(Stale::Changed(own)), others }
            }
            None => reason,
        }
    }

    /// The stage behind the first of the inputs that can be told.
    fn step(&self, changes: &[Change]) -> Option<(String, Vec<Change>)> {
        changes.iter().filter(|change| change.is_of_input()).find_map(|change| {
            let (old, new) = (self.0.get(change.old.as_ref()?)?, self.0.get(change.new.as_ref()?)?);
            let pairs =
                new.iter().flat_map(|new| old.iter().map(move |old| (new, old))).filter(|(new, old)| new.kind == old.kind);
            // Several keys may give the same bytes: those of one instance first, then the likest.
            let best = pairs
                .map(|(new, old)| (new.instance != old.instance, new.fingerprint.changes_since(&old.fingerprint), new))
                .filter(|(_, changes, _)| !changes.is_empty())
                .min_by_key(|(other, changes, _)| (*other, changes.len()));
            best.map(|(_, changes, new)| (new.instance.clone(), changes))
        })
    }
}
