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
const LARGEST_ENTRY: u64 = 2 << 30;

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

/// An entry that must yield all that it declares; that it yields no more is seen to by the library.
struct Declared<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Declared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        if read == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the entry is smaller than its declared uncompressed size"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// An archive made by `fill`, and the message of reading `ratings.csv` from it.
    fn reading(fill: impl FnOnce(&mut ZipWriter<File>)) -> Result<String, String> {
        reading_changed(fill, |_| {})
    }

    /// As [`reading`], after `change` has had its way with the archive's bytes.
    fn reading_changed(fill: impl FnOnce(&mut ZipWriter<File>), change: impl FnOnce(&mut Vec<u8>)) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        fill(&mut archive);
        archive.finish().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        let outcome: Result<(), Box<dyn std::error::Error>> = with_entry::<_, Failed>(&path, "ratings.csv", |input, size| {
            input.read_to_string(&mut text)?;
            assert_eq!(text.len() as u64, size);
            Ok(())
        })
        .map_err(|failed| failed.0);
        outcome.map(|()| text).map_err(|e| e.to_string())
    }

    /// Any error, so that those of reading are told too.
    struct Failed(Box<dyn std::error::Error>);

    impl From<ArchiveError> for Failed {
        fn from(error: ArchiveError) -> Self {
            Self(error.into())
        }
    }

    impl From<io::Error> for Failed {
        fn from(error: io::Error) -> Self {
            Self(error.into())
        }
    }

    fn add(archive: &mut ZipWriter<File>, name: &str, bytes: &[u8]) {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }

    #[test]
    fn a_file_is_found_in_any_folder() {
        let text = reading(|archive| {
            archive.add_directory("ml/", SimpleFileOptions::default()).unwrap();
            add(archive, "ml/README", b"no");
            add(archive, "ml/ratings.csv", b"yes");
        });
        assert_eq!(text, Ok("yes".to_owned()));
    }

    #[test]
    fn names_that_lead_elsewhere_and_links_are_refused() {
        for name in ["../ratings.csv", "ml/../../x", "/etc/passwd", "C:/x", "\\x", "a\\..\\b"] {
            let message = reading_changed(
                |archive| {
                    // The library cleans such names when writing: write one of the same length and change it afterwards.
                    add(archive, &"x".repeat(name.len()), b"!");
                    add(archive, "ratings.csv", b"fine");
                },
                |bytes| {
                    let harmless = "x".repeat(name.len());
                    let places: Vec<usize> =
                        (0..bytes.len() - name.len()).filter(|&at| &bytes[at..at + name.len()] == harmless.as_bytes()).collect();
                    assert!(!places.is_empty());
                    for at in places {
                        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
                    }
                },
            )
            .unwrap_err();
            assert!(message.contains("refused: the entry"), "{name}: {message}");
        }
        let message = reading(|archive| {
            archive.add_symlink("ratings.csv", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        });
        assert!(message.unwrap_err().contains("is a link"));
    }

    /// Puts another uncompressed size into the archive's table of contents and before the entry.
    fn declare(bytes: &mut [u8], size: u32) {
        let central = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        bytes[central + 24..central + 28].copy_from_slice(&size.to_le_bytes());
        bytes[22..26].copy_from_slice(&size.to_le_bytes());
    }

    #[test]
    fn an_entry_larger_or_smaller_than_declared_is_an_error() {
        for (size, expected) in [(10, "larger than its declared"), (1_000_000, "smaller than its declared")] {
            let fill = |archive: &mut ZipWriter<File>| add(archive, "ratings.csv", &[b'0'; 100_000]);
            let message = reading_changed(fill, |bytes| declare(bytes, size)).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_entry_beyond_all_reason_is_refused_before_it_is_read() {
        let fill = |archive: &mut ZipWriter<File>| add(archive, "ratings.csv", &[b'0'; 1_000]);
        let message = reading_changed(fill, |bytes| declare(bytes, 3 << 30)).unwrap_err();
        assert!(message.ends_with("declares 3221225472 bytes; at most 2147483648 are taken"), "{message}");
    }

    #[test]
    fn damage_is_noticed() {
        let fill = |archive: &mut ZipWriter<File>| {
            add(archive, "ratings.csv", b"some text that is long enough to be worth packing, packing, packing")
        };
        assert!(reading_changed(fill, |bytes| bytes.truncate(40)).unwrap_err().contains("not a whole zip archive"));
        assert!(reading_changed(fill, |bytes| bytes[50] ^= 0x55).is_err());
        assert!(reading_changed(fill, Vec::clear).is_err());
        assert!(
            reading(|archive| add(archive, "other.csv", b"x"))
                .unwrap_err()
                .contains("holds no file `ratings.csv`; it holds `other.csv`")
        );
    }
}
