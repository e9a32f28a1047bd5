//! The last results under readable names: `out/MANIFEST/STAGE/FILE`, each file a link to its blob. Links, since they cost nothing
//! whatever the file's size, and since what an editor or a program puts in a link's place is a file of its own; writing through one
//! is refused, as blobs are read-only. A stage's folder is made aside and takes the old one's place in one step.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Store, StoreError, latest::escape, list, open_lock, unless_gone};
use crate::artifact::{Artifact, Digest};

/// What each folder of a manifest's view shows.
type Shown = BTreeMap<String, Digest>;

const STATE: &str = ".view.json";

impl Store {
    /// Brings the view of a manifest up to date: of each instance its result, or `None` where what is shown may stay. What is
    /// shown of other instances goes. Where the view is.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn show_latest(&self, manifest: &str, results: &BTreeMap<&str, Option<&Artifact>>) -> Result<PathBuf, StoreError> {
        let [folder, _] = self.view_of(manifest);
        fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        let _alone = self.view_lock()?;
        let before = shown(&folder)?;
        let there = folders_in(&folder).map_err(StoreError::io("read", &folder))?;
        let (mut now, mut stale) = (Shown::new(), Vec::new());
        let digest = |(instance, result): (&&str, &Option<&Artifact>)| (readable(instance), result.map(Artifact::digest));
        let digests: Vec<(String, Option<Digest>)> = results.par_iter().map(digest).collect();
        for (result, (name, digest)) in results.values().zip(digests) {
            let at = folder.join(&name);
            match (result.zip(digest), before.get(&name)) {
                (None, Some(digest)) => drop(now.insert(name, *digest)),
                (None, None) => {}
                (Some((files, digest)), old) => {
                    if old != Some(&digest) || !there.contains(OsStr::new(&name)) {
                        stale.push((files, at));
                    }
                    now.insert(name, digest);
                }
            }
        }
        stale.par_iter().try_for_each(|(files, at)| self.show_one(files, at).map_err(StoreError::io("make", at)))?;
        for gone in before.keys().filter(|name| !now.contains_key(*name)) {
            remove(&folder.join(gone))?;
        }
        if now != before {
            self.write_shown(&folder, &now)?;
        }
        Ok(folder)
    }

    /// Where a manifest's view is, and the file that says what is in it.
    pub(super) fn view_of(&self, manifest: &str) -> [PathBuf; 2] {
        let folder = self.root.join("out").join(escape(manifest));
        let state = folder.join(STATE);
        [folder, state]
    }

    /// Removes from all views what is no longer in the store, and the whole view of a manifest that is forgotten.
    pub(super) fn prune_views(&self, live: &BTreeSet<Digest>, forgotten: &[String]) -> Result<(), StoreError> {
        let views = list(&self.root.join("out"))?;
        if views.is_empty() {
            return Ok(());
        }
        let _alone = self.view_lock()?;
        let forgotten: BTreeSet<PathBuf> =
            forgotten.iter().map(|manifest| self.root.join("out").join(escape(manifest))).collect();
        for folder in views.into_iter().filter(|path| path.is_dir()) {
            let before = shown(&folder)?;
            let mut now = before.clone();
            now.retain(|_, digest| live.contains(digest) && !forgotten.contains(&folder));
            for stale in before.keys().filter(|name| !now.contains_key(*name)) {
                remove(&folder.join(stale))?;
            }
            if now.is_empty() {
                let state = folder.join(STATE);
                unless_gone(fs::remove_file(&state)).map_err(StoreError::io("remove", &state))?;
                // Something of the user's own may lie in it.
                let _ = fs::remove_dir(&folder);
            } else if now != before {
                self.write_shown(&folder, &now)?;
            }
        }
        Ok(())
    }

    fn view_lock(&self) -> Result<fs::File, StoreError> {
        let path = self.root.join("out").join(".lock");
        let file = open_lock(&path)?;
        file.lock().map_err(StoreError::io("lock", &path))?;
        Ok(file)
    }

    fn write_shown(&self, folder: &Path, shown: &Shown) -> Result<(), StoreError> {
        let path = folder.join(STATE);
        let text = serde_json::to_vec_pretty(shown).map_err(|error| StoreError::io("write", &path)(error.into()))?;
        self.write_whole(&path, &text)
    }

    fn show_one(&self, files: &Artifact, at: &Path) -> io::Result<()> {
        let (aside, ()) = self.aside(|folder| fs::create_dir(folder))?;
        let fill = || -> io::Result<Swapped> {
            for (name, entry) in &files.0 {
                let link = aside.join(name);
                if let Some(folder) = link.parent().filter(|_| name.contains('/')) {
                    fs::create_dir_all(folder)?;
                }
                // From out/MANIFEST/STAGE, and deeper where the name is a path: the store may be moved.
                let mut to = PathBuf::from("../../..");
                (1..name.split('/').count()).for_each(|_| to.push(".."));
                let blob = self.blob(&entry.digest);
                to.push(blob.strip_prefix(&self.root).unwrap_or(&blob));
                symlink(to, link)?;
            }
            swap(&aside, at)
        };
        // What has left its name leaves it to others: only what is still there is ours to remove.
        match fill() {
            Ok(Swapped::Moved) => Ok(()),
            Ok(Swapped::Exchanged) => fs::remove_dir_all(&aside),
            Err(error) => {
                let _ = fs::remove_dir_all(&aside);
                Err(error)
            }
        }
    }
}

/// How a folder took the place of another.
enum Swapped {
    /// Nothing was there, or is any more.
    Moved,
    /// The old one is where the new one was.
    Exchanged,
}

/// Puts `new` in the place of `old`.
fn swap(new: &Path, old: &Path) -> io::Result<Swapped> {
    match fs::symlink_metadata(old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(_) => match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(Swapped::Exchanged),
            // A file system that cannot: for a moment nothing is there.
            Err(_) => fs::remove_dir_all(old)?,
        },
    }
    fs::rename(new, old).map(|()| Swapped::Moved)
}

/// The names of the folders that lie in one: cheaper than to ask for each.
fn folders_in(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.insert(entry.file_name());
        }
    }
    Ok(names)
}

/// What a view shows by now; nothing where that cannot be read, and then all is made anew.
fn shown(folder: &Path) -> Result<Shown, StoreError> {
    let path = folder.join(STATE);
    let text = unless_gone(fs::read(&path)).map_err(StoreError::io("read", &path))?;
    let mut shown: Shown = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    // By these names folders are removed: none may lead elsewhere, whoever wrote them.
    shown.retain(|name, _| !name.contains('/') && !name.starts_with('.') && !name.is_empty());
    Ok(shown)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    unless_gone(fs::remove_dir_all(path)).map_err(StoreError::io("remove", path)).map(drop)
}

/// An instance's name as a file's: what a shell or a file system might take for something else is written as `_`, and what was
/// changed so is told apart by a digest.
pub fn readable(instance: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.,=[]+@".contains(c);
    let mut name: String = instance.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if name != instance || name.len() > 200 || name.starts_with('.') {
        let mut end = name.len().min(150);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name = format!("{}~{}", name.trim_start_matches('.'), Digest::of(instance.as_bytes()).short());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_distinct() {
        assert_eq!(readable("student[seed=1,genre=Western]"), "student[seed=1,genre=Western]");
        let strange = ["a/b", "a b", "a$b", "a'b", "..", ".hidden", "a\nb", &"x".repeat(300), &"é".repeat(150), "-rf*"];
        let names: BTreeSet<String> = strange.iter().map(|name| readable(name)).collect();
        assert_eq!(names.len(), strange.len());
        for name in names {
            assert!(!name.contains(['/', ' ', '$', '\'', '\n', '*']) && !name.starts_with('.') && name.len() < 200, "{name}");
        }
    }
}
