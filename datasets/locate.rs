//! Finds a card's files: in the user's data folder, then in the download cache, then at the card's addresses.
//!
//! Two steps: [`locate_local`] only looks and never touches the network, [`fetch`] downloads where need be. What is inside the files is
//! the readers' business; how bytes travel is [`crate::download`]'s.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cards::{Archive, Card, Format, Kind};
use crate::download::{self, FetchError, Network, Wanted};
use crate::input::Input;
use crate::progress::Progress;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The user's data folder (`--data`, `TALKFLOW_DATA`).
    pub data: Option<PathBuf>,
    /// The download cache. It is created when the first file arrives.
    pub cache: PathBuf,
}

/// A card's files.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The card.
    pub card: &'static Card,
    /// The files.
    pub files: Files,
    /// Where they are from.
    pub origin: Origin,
}

/// The files of a data set, and how they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// The publisher's own, in an archive or unpacked.
    Official {
        /// How they are written.
        format: Format,
        /// The ratings.
        ratings: Input,
        /// The films.
        items: Input,
    },
    /// RecBole's atomic files.
    Atomic {
        /// The `.inter` file.
        ratings: PathBuf,
        /// The `.item` file, where there is one.
        items: Option<PathBuf>,
    },
    /// None: the ratings are generated.
    Generated,
}

/// Where files are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user's data folder.
    Data(PathBuf),
    /// The download cache, from an earlier download.
    Cache(PathBuf),
    /// This address, just now.
    Download(String),
    /// The generator.
    Generated,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(path) => write!(f, "{}", path.display()),
            Self::Cache(path) => write!(f, "{} (downloaded earlier)", path.display()),
            Self::Download(address) => write!(f, "{address} (downloaded)"),
            Self::Generated => write!(f, "generated"),
        }
    }
}

impl Found {
    /// The files that are read, in a fixed order, for whoever hashes them; empty where the ratings are generated.
    pub fn paths(&self) -> Vec<&Path> {
        match &self.files {
            Files::Official { ratings, items, .. } if ratings.path() == items.path() => vec![ratings.path()],
            Files::Official { ratings, items, .. } => vec![ratings.path(), items.path()],
            Files::Atomic { ratings, items } => std::iter::once(ratings.as_path()).chain(items.as_deref()).collect(),
            Files::Generated => Vec::new(),
        }
    }
}

/// Looks for the card's files in the data folder and in the cache; `None` where they would have to be downloaded.
///
/// In the data folder: the archive under its published name, the unpacked folder, or RecBole's atomic files (`ml-100k/ml-100k.inter`).
/// Never touches the network, reads no contents and checks no sum: [`fetch`] does.
pub fn locate_local(card: &'static Card, places: &Places) -> Option<Found> {
    let Kind::Archive(archive) = &card.kind else {
        return Some(Found { card, files: Files::Generated, origin: Origin::Generated });
    };
    if let Some(data) = &places.data
        && let Some((files, path)) = in_data(archive, data)
    {
        return Some(Found { card, files, origin: Origin::Data(path) });
    }
    let path = places.cache.join(archive.file);
    path.is_file().then(|| Found { card, files: in_archive(archive, &path), origin: Origin::Cache(path) })
}

/// Finds the card's files as [`locate_local`] does, or downloads them into the cache; then compares their sum with the published one.
///
/// Unpacked folders and RecBole's files have no published sums: what is in them is checked as it is read.
///
/// # Errors
/// [`FetchError::Unreachable`] where the files are not at hand and nobody answers or `network` is offline, the only error after which a
/// stand-in may be used. [`FetchError::WrongSum`] names both sums; a bad file in the cache is deleted, one in the user's folder is not.
pub fn fetch(card: &'static Card, places: &Places, network: &Network, progress: &mut dyn Progress) -> Result<Found, FetchError> {
    let Kind::Archive(archive) = &card.kind else {
        return Ok(Found { card, files: Files::Generated, origin: Origin::Generated });
    };
    if let Some(found) = locate_local(card, places) {
        verify(&found, progress)?;
        return Ok(found);
    }
    let path = places.cache.join(archive.file);
    let wanted = Wanted {
        name: card.name,
        addresses: archive.addresses,
        bytes: archive.bytes,
        limit: archive.limit,
        checksum: archive.checksum,
    };
    let address = download::download(&wanted, &path, network, progress)?;
    let origin = address.map_or_else(|| Origin::Cache(path.clone()), Origin::Download);
    Ok(Found { card, files: in_archive(archive, &path), origin })
}

/// Compares the files with the published sum; `Ok(false)` where none is published for files of this kind.
///
/// # Errors
/// [`FetchError::WrongSum`]; the bad file is deleted where it lies in the download cache. [`FetchError::Io`], [`FetchError::Cancelled`].
pub fn verify(found: &Found, progress: &mut dyn Progress) -> Result<bool, FetchError> {
    let (Kind::Archive(archive), Files::Official { ratings: Input::Entry { archive: path, .. }, .. }) =
        (&found.card.kind, &found.files)
    else {
        return Ok(false);
    };
    match download::check(path, archive.checksum, progress) {
        Ok(()) => Ok(true),
        Err(FetchError::WrongSum { path, algorithm, expected, found: sum, .. }) if matches!(found.origin, Origin::Cache(_)) => {
            std::fs::remove_file(&path).map_err(|source| FetchError::Io {
                path: path.clone(),
                doing: "delete the file",
                source,
            })?;
            let remedy = "the file was deleted; the next run fetches it anew";
            Err(FetchError::WrongSum { path, algorithm, expected, found: sum, remedy })
        }
        Err(error) => Err(error),
    }
}

/// The card's files in the data folder, and where they lie.
fn in_data(archive: &Archive, data: &Path) -> Option<(Files, PathBuf)> {
    let path = data.join(archive.file);
    if path.is_file() {
        return Some((in_archive(archive, &path), path));
    }
    let (ratings, items) = archive.format.files();
    for folder in archive.folders {
        let folder = data.join(folder);
        let (ratings, items) = (folder.join(ratings), folder.join(items));
        if ratings.is_file() && items.is_file() {
            let files = Files::Official { format: archive.format, ratings: Input::File(ratings), items: Input::File(items) };
            return Some((files, folder));
        }
        let name = folder.file_name()?.to_owned();
        let (ratings, items) = (folder.join(&name).with_extension("inter"), folder.join(&name).with_extension("item"));
        if ratings.is_file() {
            let items = items.is_file().then_some(items);
            return Some((Files::Atomic { ratings, items }, folder));
        }
    }
    None
}

/// The card's files inside its archive.
fn in_archive(archive: &Archive, path: &Path) -> Files {
    let (ratings, items) = archive.format.files();
    let entry = |name: &str| Input::Entry { archive: path.to_owned(), name: name.to_owned() };
    Files::Official { format: archive.format, ratings: entry(ratings), items: entry(items) }
}
