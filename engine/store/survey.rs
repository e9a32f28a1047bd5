//! All results at a glance: of each record what listing, counting, collecting and sending it need, and no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rayon::prelude::*;

use super::{
    Record, Store, StoreError,
    transfer::{MOST_BYTES, read_plain},
    unless_gone,
};
use crate::{
    artifact::{Artifact, Digest, FileEntry},
    key::{ActionKey, Label},
};

/// A result, in short.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it is filed under.
    pub key: ActionKey,
    /// The instance that made it.
    pub instance: String,
    /// The stage kind.
    pub kind: String,
    /// The manifest that made it; empty where that is not known.
    pub manifest: String,
    /// The run that made it.
    pub run: String,
    /// When, in seconds since 1970.
    pub made: u64,
    /// Wall seconds that took.
    pub seconds: f64,
    /// When a process last found or made it, give or take an hour.
    pub used: SystemTime,
    /// Its files by name.
    pub files: Artifact,
    /// All blobs that belong to it.
    pub blobs: Vec<FileEntry>,
    /// The digests of the artifacts it was made from.
    pub inputs: Vec<Digest>,
}

impl Held {
    pub(super) fn of(record: &Record, used: SystemTime) -> Self {
        let input = |(label, value): &(Label, String)| match label {
            Label::Input(_) => value.parse().ok(),
            _ => None,
        };
        Self {
            key: record.key,
            instance: record.instance.clone(),
            kind: record.kind.clone(),
            manifest: record.provenance.manifest.clone(),
            run: record.provenance.run.clone(),
            made: record.provenance.started,
            seconds: record.provenance.seconds,
            used,
            blobs: record.blobs().copied().collect(),
            inputs: record.fingerprint.lines().iter().filter_map(input).collect(),
            files: record.files.clone(),
        }
    }

    /// The sum of its blobs' sizes, in bytes.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|entry| entry.size).sum()
    }
}

/// All records of a store as they were at one time.
#[derive(Debug, Default)]
pub struct Survey {
    files: BTreeMap<PathBuf, (Stamp, Option<Held>)>,
}

/// What tells one state of a record's file from another.
type Stamp = (u64, u64, SystemTime);

impl Survey {
    /// The results, in the order of their keys.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.files.values().filter_map(|(_, held)| held.as_ref())
    }

    /// The files of records that cannot be read.
    pub(super) fn damaged(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|(_, (_, held))| held.is_none()).map(|(path, _)| path.as_path())
    }

    /// The results that some results were made from, however far back, with these themselves. Where several results have the same
    /// contents, any of them may have been the input: all of them are upstream.
    pub fn with_upstream(&self, keys: impl IntoIterator<Item = ActionKey>) -> BTreeSet<ActionKey> {
        let by_key: BTreeMap<ActionKey, &Held> = self.held().map(|held| (held.key, held)).collect();
        let mut by_contents: BTreeMap<Digest, Vec<ActionKey>> = BTreeMap::new();
        self.held().for_each(|held| by_contents.entry(held.files.digest()).or_default().push(held.key));
        let mut found = BTreeSet::new();
        let mut left: Vec<ActionKey> = keys.into_iter().collect();
        while let Some(key) = left.pop() {
            if found.insert(key) {
                let inputs = by_key.get(&key).into_iter().flat_map(|held| &held.inputs);
                left.extend(inputs.filter_map(|digest| by_contents.get(digest)).flatten());
            }
        }
        found
    }
}

impl Store {
    /// Reads every record.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn survey(&self) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        self.refresh(&mut survey)?;
        Ok(survey)
    }

    /// Reads the records that came or changed since, and forgets those that are gone.
    pub(super) fn refresh(&self, survey: &mut Survey) -> Result<(), StoreError> {
        let before = std::mem::take(&mut survey.files);
        let look = |path: &PathBuf| -> io::Result<Option<(Stamp, Option<Held>)>> {
            let Some(meta) = unless_gone(fs::symlink_metadata(path))? else { return Ok(None) };
            let used = meta.modified()?;
            let stamp = (meta.ino(), meta.len(), used);
            if let Some((_, held)) = before.get(path).filter(|(known, _)| *known == stamp) {
                return Ok(Some((stamp, held.clone())));
            }
            let text = match unless_gone(read_plain(path)) {
                Ok(Some(text)) => text,
                Ok(None) => return Ok(None),
                // A link, a pipe, or something as large as no record.
                Err(_) if !meta.is_file() || meta.len() > MOST_BYTES => Vec::new(),
                Err(error) => return Err(error),
            };
            Ok(Some((stamp, Record::read(&text).map(|record| Held::of(&record, used)))))
        };
        let found = self.shards("actions")?.into_par_iter().map(|path| {
            let seen = look(&path).map_err(StoreError::io("read", &path))?;
            Ok(seen.map(|seen| (path, seen)))
        });
        survey.files = found.filter_map(Result::transpose).collect::<Result<_, StoreError>>()?;
        Ok(())
    }

    /// Whose last results these are: for each key the manifests and instances that ended with it.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn current(&self) -> Result<BTreeMap<ActionKey, Vec<(String, String)>>, StoreError> {
        let mut current: BTreeMap<ActionKey, Vec<(String, String)>> = BTreeMap::new();
        for (manifest, latest) in self.manifests()? {
            for (instance, key) in latest.iter() {
                current.entry(*key).or_default().push((manifest.clone(), instance.to_owned()));
            }
        }
        Ok(current)
    }
}
