//! What planning sees of the world outside: texts of manifests, variables, what paths lead to, which files are in a folder. It looks
//! nowhere else (a test reads its rooms for that), and each look is noted: so a later process can tell, without planning, that
//! planning would come to the same. Knows nothing of what is looked for.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::artifact::Digest;

/// Device, inode, size, modification and change time: what tells a file as it is from the same one changed.
pub type Stat = [i64; 7];

/// A stat whose times are closer to the present may not have moved with the last change yet.
const SETTLED_SECONDS: i64 = 2;

/// The stat of what a path leads to.
///
/// # Errors
/// Where there is nothing, or it may not be looked at.
pub fn stat(path: &Path) -> io::Result<Stat> {
    fs::metadata(path).map(|meta| stat_of(&meta))
}

/// The same of what was looked at already.
pub fn stat_of(meta: &fs::Metadata) -> Stat {
    let fixed = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
    [fixed(meta.dev()), fixed(meta.ino()), fixed(meta.size()), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]
}

/// Whether a stat was taken long enough after the last change, seconds since 1970, to move with the next one. Not where it is of the
/// future, since a clock went back.
pub fn is_settled(stat: &Stat, taken: i64) -> bool {
    taken.saturating_sub(stat[3].max(stat[5])) >= SETTLED_SECONDS
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leads {
    /// Nowhere.
    Nowhere,
    /// To a file.
    File,
    /// To a folder.
    Folder,
    /// To something else, such as a pipe.
    Elsewhere,
}

impl Leads {
    fn now(path: &Path) -> Self {
        match path.metadata().map(|meta| meta.file_type()) {
            Err(_) => Self::Nowhere,
            Ok(found) if found.is_file() => Self::File,
            Ok(found) if found.is_dir() => Self::Folder,
            Ok(_) => Self::Elsewhere,
        }
    }
}

/// The text of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    length: u64,
    digest: Digest,
}

impl Text {
    fn of(text: &[u8]) -> Self {
        Self { length: text.len() as u64, digest: Digest::of(text) }
    }

    /// Reads no more than shows whether it is another one, whatever lies there by now.
    fn now(path: &Path, length: u64) -> io::Result<Self> {
        let mut text = Vec::new();
        fs::File::open(path)?.take(length.saturating_add(1)).read_to_end(&mut text)?;
        Ok(Self::of(&text))
    }
}

/// The looks of one planning.
#[derive(Debug, Default)]
pub struct Looks {
    texts: RefCell<HashMap<PathBuf, Text>>,
    variables: RefCell<HashMap<String, Option<Digest>>>,
    paths: RefCell<HashMap<PathBuf, Leads>>,
    folders: RefCell<HashMap<PathBuf, Option<Stat>>>,
    untold: RefCell<bool>,
}

impl Looks {
    /// What a path leads to: looked at once, for a thousand stages may name the same.
    pub fn at(&self, path: &Path) -> Leads {
        if let Some(known) = self.paths.borrow().get(path) {
            return *known;
        }
        let found = Leads::now(path);
        self.paths.borrow_mut().insert(path.to_owned(), found);
        found
    }

    /// Notes a folder whose entries are about to be read.
    pub fn into(&self, folder: &Path) {
        self.folders.borrow_mut().entry(folder.to_owned()).or_insert_with(|| stat(folder).ok());
    }

    /// Notes the text of a manifest.
    pub fn text(&self, path: &Path, text: &[u8]) {
        self.texts.borrow_mut().insert(path.to_owned(), Text::of(text));
    }

    /// Notes the value of a variable.
    pub fn variable(&self, name: &str, value: Option<&OsStr>) {
        if !self.variables.borrow().contains_key(name) {
            self.variables.borrow_mut().insert(name.to_owned(), digest(value));
        }
    }

    /// Notes that something was seen which shall not be written down, or of which a later look could not tell that it is the same.
    pub fn untold(&self) {
        *self.untold.borrow_mut() = true;
    }

    /// All that was seen since `began`, in seconds since 1970; nothing where not all of it can be told.
    pub fn seen(self, began: i64) -> Option<Seen> {
        fn sorted<K: Ord, V>(map: RefCell<HashMap<K, V>>) -> Vec<(K, V)> {
            let mut all: Vec<(K, V)> = map.into_inner().into_iter().collect();
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            all
        }
        let folders: Option<Vec<(PathBuf, Stat)>> = sorted(self.folders)
            .into_iter()
            .map(|(path, stat)| Some((path, stat.filter(|stat| is_settled(stat, began))?)))
            .collect();
        let seen =
            Seen { texts: sorted(self.texts), variables: sorted(self.variables), paths: sorted(self.paths), folders: folders? };
        (!self.untold.into_inner()).then_some(seen)
    }
}

fn digest(value: Option<&OsStr>) -> Option<Digest> {
    value.map(|value| Digest::of(value.as_encoded_bytes()))
}

/// All that one planning saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    texts: Vec<(PathBuf, Text)>,
    /// Their values only as digests.
    variables: Vec<(String, Option<Digest>)>,
    paths: Vec<(PathBuf, Leads)>,
    folders: Vec<(PathBuf, Stat)>,
}

impl Seen {
    /// Leaves out what is looked at in any case: paths to files of which a stat is known.
    #[must_use]
    pub fn without(mut self, known: impl Fn(&Path) -> bool) -> Self {
        self.paths.retain(|(path, leads)| *leads != Leads::File || !known(path));
        self
    }

    /// Whether planning would see the same now.
    pub fn is_as_it_was(&self) -> bool {
        self.variables.iter().all(|(name, then)| digest(std::env::var_os(name).as_deref()) == *then)
            && self.texts.iter().all(|(path, then)| Text::now(path, then.length).is_ok_and(|now| now == *then))
            && self.folders.iter().all(|(path, then)| stat(path).is_ok_and(|now| now == *then))
            && self.paths.iter().all(|(path, then)| Leads::now(path) == *then)
    }
}
