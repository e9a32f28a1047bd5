//! The last key of each stage instance, a file a manifest name. One appended line a change, so that a killed run loses
//! nothing it had noted; rewritten when most of its lines are outdated.

use std::{collections::BTreeMap, fs, io::Write, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::{artifact::Digest, key::ActionKey};

/// Last keys by instance name.
#[derive(Debug)]
pub struct Latest {
    path: PathBuf,
    keys: BTreeMap<String, ActionKey>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    instance: String,
    key: ActionKey,
}

impl Store {
    /// What this store remembers of a manifest's instances.
    ///
    /// # Errors
    /// Where the disk cannot be read or written.
    pub fn latest(&self, manifest: &str) -> Result<Latest, StoreError> {
        let path = self.latest_path(manifest);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let mut keys = BTreeMap::new();
        let mut lines = 0;
        for line in text.lines() {
            lines += 1;
            // A torn last line of a killed process is not a note.
            if let Ok(Line { instance, key }) = serde_json::from_str(line) {
                keys.insert(instance, key);
            }
        }
        let latest = Latest { path, keys };
        if lines > 64 + 4 * latest.keys.len() {
            let text: String = latest.keys.iter().map(|(instance, key)| line(instance, *key)).collect();
            self.write_whole(&latest.path, text.as_bytes())?;
        }
        Ok(latest)
    }

    /// The names of manifests that ran here, and what is remembered of them.
    ///
    /// # Errors
    /// Where the disk cannot be read.
    pub fn manifests(&self) -> Result<Vec<(String, Latest)>, StoreError> {
        let name = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        let names = super::list(&self.root.join("latest"))?.iter().filter_map(name).collect::<Vec<_>>();
        names.into_iter().map(|name| Ok((name.clone(), self.latest(&name)?))).collect()
    }

    fn latest_path(&self, manifest: &str) -> PathBuf {
        self.root.join("latest").join(format!("{}.jsonl", escape(manifest)))
    }
}

impl Latest {
    /// The last key of an instance.
    pub fn get(&self, instance: &str) -> Option<&ActionKey> {
        self.keys.get(instance)
    }

    /// All instances with their last keys, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ActionKey)> {
        self.keys.iter().map(|(instance, key)| (instance.as_str(), key))
    }

    /// Notes the key an instance has now.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn set(&mut self, instance: &str, key: ActionKey) -> Result<(), StoreError> {
        if self.keys.get(instance) == Some(&key) {
            return Ok(());
        }
        let append = fs::File::options().create(true).append(true).open(&self.path);
        let written = append.and_then(|mut file| file.write_all(line(instance, key).as_bytes()));
        written.map_err(StoreError::io("write", &self.path))?;
        self.keys.insert(instance.to_owned(), key);
        Ok(())
    }
}

fn line(instance: &str, key: ActionKey) -> String {
    let line = Line { instance: instance.to_owned(), key };
    // A struct of two strings always has a JSON form.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

/// A manifest's name as a file name: what a file system might not take is written as its digest.
fn escape(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    match !name.is_empty() && name.len() <= 100 && name.chars().all(plain) {
        true => name.to_owned(),
        false => {
            format!("{}.{}", name.chars().filter(|c| plain(*c)).take(60).collect::<String>(), Digest::of(name.as_bytes()).short())
        }
    }
}
