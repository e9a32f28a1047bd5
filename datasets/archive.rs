//! Reads single files out of a zip archive in place: nothing is unpacked, so nothing can land outside a folder.
//!
//! Even so an archive that names such places, or links, is refused: whoever made it meant harm. So is an entry that grows beyond
//! what it declares. This file knows zip, and nothing of what is inside.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

/// No file of ratings we know of is larger; the largest (32M) has 0.9 GB.
const LARGEST_ENTRY: u64 = 8 << 30;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct ArchiveError {
    /// The archive.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: ArchiveProblem,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveProblem {
    /// It cannot be opened or read.
    #[error("cannot read the archive: {0}")]
    Io(#[from] io::Error),
    /// It is no zip archive, or a damaged one.
    #[error("not a whole zip archive: {0}; delete it so that it is fetched again")]
    Damaged(ZipError),
    /// An entry would land outside the folder it is unpacked to, or is a link.
    #[error("refused: the entry {0:?} leads out of the archive's own folder, or is a link")]
    Escapes(String),
    /// An entry declares a size beyond all reason.
    #[error("refused: the entry {name:?} declares {bytes} bytes; at most {LARGEST_ENTRY} are taken")]
    TooLarge {
        /// The entry.
        name: String,
        /// Its declared size.
        bytes: u64,
    },
    /// A file is missing.
    #[error("holds no file `{wanted}`; it holds {held}")]
    Missing {
        /// The file's name, without folders.
        wanted: String,
        /// What the archive holds instead.
        held: String,
    },
}

/// Opens the archive at `path`, finds the file called `name` in any of its folders, and hands its contents and size to `read`.
///
/// # Errors
/// [`ArchiveError`] where the archive is damaged, hostile or lacks the file; whatever `read` returns otherwise.
pub(crate) fn with_entry<T, E: From<ArchiveError>>(
    path: &Path,
    name: &str,
    read: impl FnOnce(&mut (dyn Read + Send), u64) -> Result<T, E>,
) -> Result<T, E> {
    let fail = |problem| ArchiveError { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|e| fail(e.into()))?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 16, file)).map_err(|e| fail(damaged(e)))?;
    let index = locate(&archive, name).map_err(fail)?;
    let entry = archive.by_index(index).map_err(|e| fail(damaged(e)))?;
    let size = entry.size();
    read(&mut Declared { inner: entry, left: size }, size)
}

/// The index of the file called `name`, once every entry has been looked at.
fn locate<R: Read + io::Seek>(archive: &ZipArchive<R>, name: &str) -> Result<usize, ArchiveProblem> {
    let (mut found, mut held) = (None, Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(damaged)?;
        let path = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if entry.is_symlink() || escapes(&path) {
            return Err(ArchiveProblem::Escapes(path));
        }
        if entry.is_dir() {
            continue;
        }
        let base = path.rsplit('/').next().unwrap_or(&path);
        if base == name && found.is_none() {
            if entry.size() > LARGEST_ENTRY {
                return Err(ArchiveProblem::TooLarge { name: path, bytes: entry.size() });
            }
            found = Some(index);
        }
        held.push(path);
    }
    found.ok_or_else(|| {
        let mut shown = crate::suggest::listed(held.iter().take(8).map(String::as_str));
        if held.len() > 8 {
            shown.push_str(&format!(" and {} more", held.len() - 8));
        } else if held.is_empty() {
            "nothing".clone_into(&mut shown);
        }
        ArchiveProblem::Missing { wanted: name.to_owned(), held: shown }
    })
}

/// Whether a path inside an archive leads elsewhere on any system.
fn escapes(path: &str) -> bool {
    path.starts_with(['/', '\\'])
        || path.as_bytes().get(1) == Some(&b':')
        || path.contains('\0')
        || path.split(['/', '\\']).any(|part| part == "..")
}

fn damaged(error: ZipError) -> ArchiveProblem {
    match error {
        ZipError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => ArchiveProblem::Io(error),
        error => ArchiveProblem::Damaged(error),
    }
}

/// An entry that may yield what it declares, and not a byte more.
struct Declared<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Declared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the entry is larger than the archive declares: refused")
        })?;
        if read == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the entry is shorter than the archive declares"));
        }
        Ok(read)
    }
}
