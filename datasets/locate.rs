//! Finds a card's files: in the user's data folder, then in the download cache, then at the card's addresses.
//!
//! Two steps: [`locate_local`] only looks and never touches the network, [`fetch`] downloads where need be. What is inside the files is
//! the readers' business; how bytes travel is [`crate::download`]'s.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cards::{Archive, Card, Checksum, Download, Format, Kind, Parts, Published};
use crate::download::{self, FetchError, Network, Wanted};
use crate::input::Input;
use crate::progress::Progress;
use crate::split::Part;

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
    /// Files of examples, each with the part that it belongs to, in the order of rows.
    Parts(Vec<(Part, Input)>),
    /// None: the rows are generated.
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
            Files::Parts(inputs) => {
                let mut paths: Vec<&Path> = inputs.iter().map(|(_, input)| input.path()).collect();
                paths.dedup();
                paths
            }
            Files::Generated => Vec::new(),
        }
    }
}

/// Looks for the card's files in the data folder and in the cache; `None` where they would have to be downloaded.
///
/// In the data folder: the archive or the files under their published names, the unpacked folder, or RecBole's atomic files
/// (`ml-100k/ml-100k.inter`).
/// Never touches the network, reads no contents and checks no sum: [`fetch`] does.
pub fn locate_local(card: &'static Card, places: &Places) -> Option<Found> {
    let (in_data, in_cache) = match &card.kind {
        Kind::Synthetic => return Some(Found { card, files: Files::Generated, origin: Origin::Generated }),
        Kind::Archive(archive) => {
            let path = places.cache.join(archive.download.file);
            let data = places.data.as_ref().and_then(|data| in_data(archive, data));
            (data, path.is_file().then(|| (in_archive(archive, &path), path)))
        }
        Kind::Parts(parts) => {
            let data = places.data.as_ref().and_then(|data| parts_in_data(parts, data));
            (data, parts_in(parts, &places.cache))
        }
    };
    let found = |(files, path), origin: fn(PathBuf) -> Origin| Found { card, files, origin: origin(path) };
    in_data.map(|there| found(there, Origin::Data)).or_else(|| in_cache.map(|there| found(there, Origin::Cache)))
}

/// Finds the card's files as [`locate_local`] does, or downloads them into the cache; then compares their sums with the published ones.
///
/// Unpacked folders and RecBole's files have no published sums: what is in them is checked as it is read.
///
/// # Errors
/// [`FetchError::Unreachable`] where the files are not at hand and nobody answers or `network` is offline, the only error after which a
/// stand-in may be used. [`FetchError::WrongSum`] names both sums; a bad file in the cache is deleted, one in the user's folder is not.
pub fn fetch(card: &'static Card, places: &Places, network: &Network, progress: &mut dyn Progress) -> Result<Found, FetchError> {
    if let Some(found) = locate_local(card, places) {
        verify(&found, progress)?;
        return Ok(found);
    }
    let mut origin = None;
    let mut last = places.cache.clone();
    for download in card.downloads() {
        let Download { file, addresses, bytes, limit, checksum } = *download;
        last = places.cache.join(file);
        let wanted = Wanted { name: card.name, addresses, bytes, limit, checksum };
        let address = download::download(&wanted, &last, network, progress)?;
        origin = address.or(origin);
    }
    let origin = origin.map_or_else(|| Origin::Cache(last.clone()), Origin::Download);
    let files = match &card.kind {
        Kind::Archive(archive) => in_archive(archive, &last),
        Kind::Parts(parts) => parts_at(parts, &places.cache),
        Kind::Synthetic => Files::Generated,
    };
    Ok(Found { card, files, origin })
}

/// Compares the files with the published sums; `Ok(false)` where none is published for files of this kind.
///
/// # Errors
/// [`FetchError::WrongSum`]; the bad file is deleted where it lies in the download cache. [`FetchError::Io`], [`FetchError::Cancelled`].
pub fn verify(found: &Found, progress: &mut dyn Progress) -> Result<bool, FetchError> {
    let sums = sums(found);
    for (path, checksum) in &sums {
        match download::check(path, *checksum, progress) {
            Err(FetchError::WrongSum { path, algorithm, expected, found: sum, .. })
                if matches!(found.origin, Origin::Cache(_)) =>
            {
                std::fs::remove_file(&path).map_err(|source| FetchError::Io {
                    path: path.clone(),
                    doing: "delete the file",
                    source,
                })?;
                let remedy = "the file was deleted; the next run fetches it anew";
                return Err(FetchError::WrongSum { path, algorithm, expected, found: sum, remedy });
            }
            outcome => outcome?,
        }
    }
    Ok(!sums.is_empty())
}

/// The files of which sums are published, with these.
fn sums(found: &Found) -> Vec<(PathBuf, Checksum)> {
    match (&found.card.kind, &found.files) {
        (Kind::Archive(archive), Files::Official { ratings: Input::Entry { archive: path, .. }, .. }) => {
            vec![(path.clone(), archive.download.checksum)]
        }
        (Kind::Parts(parts), Files::Parts(inputs)) => match (&parts.published, &inputs[..]) {
            (Published::Archive(download), [(_, Input::Entry { archive, .. }), ..]) => vec![(archive.clone(), download.checksum)],
            (Published::Archive(_), _) => Vec::new(),
            (Published::Files(files), inputs) => {
                let sum = |((_, input), download): (&(Part, Input), &Download)| (input.path().to_owned(), download.checksum);
                inputs.iter().zip(*files).map(sum).collect()
            }
        },
        _ => Vec::new(),
    }
}

/// A card's files of examples in the data folder, and where they lie: as they are published, or unpacked.
fn parts_in_data(parts: &Parts, data: &Path) -> Option<(Files, PathBuf)> {
    let unpacked = |folder: &&str| {
        let folder = data.join(folder);
        let inputs: Vec<(Part, Input)> = parts.files.iter().map(|(part, file)| (*part, Input::File(folder.join(file)))).collect();
        inputs.iter().all(|(_, input)| input.path().is_file()).then_some((Files::Parts(inputs), folder))
    };
    parts_in(parts, data).or_else(|| parts.folders.iter().find_map(unpacked))
}

/// A card's files of examples in a folder, as they are published, and where they lie; `None` where one is missing.
fn parts_in(parts: &Parts, folder: &Path) -> Option<(Files, PathBuf)> {
    let there = parts.downloads().iter().all(|download| folder.join(download.file).is_file());
    let path = match &parts.published {
        Published::Archive(download) => folder.join(download.file),
        Published::Files(_) => folder.to_owned(),
    };
    there.then(|| (parts_at(parts, folder), path))
}

/// Where a card's files of examples are once they are in a folder as they are published.
fn parts_at(parts: &Parts, folder: &Path) -> Files {
    let input = |file: &str| match &parts.published {
        Published::Archive(download) => Input::Entry { archive: folder.join(download.file), name: file.to_owned() },
        Published::Files(_) => Input::File(folder.join(file)),
    };
    Files::Parts(parts.files.iter().map(|(part, file)| (*part, input(file))).collect())
}

/// The card's files in the data folder, and where they lie.
fn in_data(archive: &Archive, data: &Path) -> Option<(Files, PathBuf)> {
    let path = data.join(archive.download.file);
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
