//! Reads single files out of an archive in place: nothing is unpacked, so nothing can land outside a folder.
//!
//! Even so an archive that names such places, or links, is refused: whoever made it meant harm. So is an entry that grows beyond
//! what it declares. This file knows zip, and nothing of what is inside; `tape` knows tar.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::tape;

/// No file of ratings we know of is larger; the largest (32M) has 0.9 GB.
pub(crate) const LARGEST_ENTRY: u64 = 2 << 30;
/// No archive we know of holds more than some dozens.
pub(crate) const MOST_ENTRIES: usize = 10_000;

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
    /// It is no tape packed by gzip, or a damaged one.
    #[error("not a whole tar.gz archive: {0}; delete it so that it is fetched again")]
    DamagedTape(io::Error),
    /// An entry would land outside the folder it is unpacked to, or is a link.
    #[error("refused: the entry {0:?} leads out of the archive's own folder, or is a link")]
    Escapes(String),
    /// An entry is neither a file nor a folder, or its name would be obeyed by a terminal.
    #[error("refused: the entry {0:?} is no plain file of a plain name")]
    Odd(String),
    /// There are more entries than any data set has.
    #[error("refused: it holds {0} entries; at most {MOST_ENTRIES} are taken")]
    TooMany(usize),
    /// Which file is meant cannot be told.
    #[error("holds `{first}` and `{second}`: which is meant cannot be told; unpack it and keep one")]
    Ambiguous {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
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
    if tape::is_tape(path) {
        return tape::with_entry(path, name, read);
    }
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
    if archive.len() > MOST_ENTRIES {
        return Err(ArchiveProblem::TooMany(archive.len()));
    }
    let (mut found, mut held) = (None::<(usize, String)>, Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(damaged)?;
        let path = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if entry.is_symlink() {
            return Err(ArchiveProblem::Escapes(path));
        }
        check_name(&path, entry.unix_mode().map_or(0, |mode| mode & KIND))?;
        if entry.is_dir() {
            continue;
        }
        let base = path.rsplit('/').next().unwrap_or(&path);
        if base == name {
            if let Some((_, first)) = found {
                return Err(ArchiveProblem::Ambiguous { first, second: path });
            }
            if entry.size() > LARGEST_ENTRY {
                return Err(ArchiveProblem::TooLarge { name: path, bytes: entry.size() });
            }
            found = Some((index, path.clone()));
        }
        held.push(path);
    }
    found.map(|(index, _)| index).ok_or_else(|| missing(name, &held))
}

/// Refuses an entry whose name leads elsewhere or would be obeyed by a terminal, and one of an odd kind.
pub(crate) fn check_name(path: &str, kind: u32) -> Result<(), ArchiveProblem> {
    if escapes(path) {
        return Err(ArchiveProblem::Escapes(path.to_owned()));
    }
    if path.contains(char::is_control) || !matches!(kind, 0 | PLAIN | FOLDER) {
        return Err(ArchiveProblem::Odd(path.to_owned()));
    }
    Ok(())
}

/// What is said of an archive that lacks a file.
pub(crate) fn missing(name: &str, held: &[String]) -> ArchiveProblem {
    let mut shown = crate::suggest::listed(held.iter().take(8).map(String::as_str));
    if held.len() > 8 {
        shown.push_str(&format!(" and {} more", held.len() - 8));
    } else if held.is_empty() {
        "nothing".clone_into(&mut shown);
    }
    ArchiveProblem::Missing { wanted: name.to_owned(), held: shown }
}

/// What a file is, as Unix has it in its mode.
const KIND: u32 = 0o170_000;
pub(crate) const PLAIN: u32 = 0o100_000;
pub(crate) const FOLDER: u32 = 0o040_000;

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

    /// Changes the mode that the table of contents gives the first entry.
    fn mode(bytes: &mut [u8], mode: u32) {
        let central = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        bytes[central + 5] = 3;
        bytes[central + 38..central + 42].copy_from_slice(&(mode << 16).to_le_bytes());
    }

    #[test]
    fn only_files_and_folders_of_plain_names_are_taken() {
        let fill = |archive: &mut ZipWriter<File>| add(archive, "ratings.csv", b"1");
        for kind in [0o020_000, 0o060_000, 0o010_000, 0o140_000] {
            let message = reading_changed(fill, |bytes| mode(bytes, kind | 0o644)).unwrap_err();
            assert!(message.contains("is no plain file"), "{message}");
        }
        let message = reading_changed(fill, |bytes| mode(bytes, 0o120_777)).unwrap_err();
        assert!(message.contains("is a link"), "{message}");
        assert_eq!(reading_changed(fill, |bytes| mode(bytes, 0o100_644)), Ok("1".to_owned()));
        for name in ["a\nratings.csv", "\u{1b}[2J"] {
            let message = reading(|archive| add(archive, name, b"1")).unwrap_err();
            assert!(message.contains("of a plain name") && !message.contains(['\n', '\u{1b}']), "{message:?}");
        }
        // A name in another encoding is another name.
        let change = |bytes: &mut Vec<u8>| {
            let places: Vec<usize> = (0..bytes.len() - 4).filter(|&at| &bytes[at..at + 4] == b"nois").collect();
            places.into_iter().for_each(|at| bytes[at] = 0xff);
        };
        let fill = |archive: &mut ZipWriter<File>| {
            add(archive, "noise", b"x");
            add(archive, "ratings.csv", b"1");
        };
        assert_eq!(reading_changed(fill, change), Ok("1".to_owned()));
    }

    #[test]
    fn a_name_that_is_there_twice_is_not_guessed() {
        let message = reading(|archive| {
            add(archive, "a/ratings.csv", b"1");
            add(archive, "b/ratings.csv", b"2");
        });
        assert!(message.unwrap_err().contains("holds `a/ratings.csv` and `b/ratings.csv`"));
        // The same path twice: one of them is read, whole.
        let twice = |bytes: &mut Vec<u8>| {
            let places: Vec<usize> = (0..bytes.len() - 11).filter(|&at| &bytes[at..at + 11] == b"ratingz.csv").collect();
            places.into_iter().for_each(|at| bytes[at + 6] = b's');
        };
        let fill = |archive: &mut ZipWriter<File>| {
            add(archive, "ratings.csv", b"1");
            add(archive, "ratingz.csv", b"2");
        };
        let read = reading_changed(fill, twice);
        assert!(read.as_ref().map_or_else(|message| message.contains("ratings.csv"), |text| text.len() == 1), "{read:?}");
    }

    #[test]
    fn archives_within_archives_and_other_formats_are_not_opened() {
        let mut inner = ZipWriter::new(io::Cursor::new(Vec::new()));
        inner.start_file("ratings.csv", SimpleFileOptions::default()).unwrap();
        let inner = inner.finish().unwrap().into_inner();
        let message = reading(|archive| add(archive, "ml.zip", &inner)).unwrap_err();
        assert!(message.contains("holds no file `ratings.csv`; it holds `ml.zip`"), "{message}");
        // A tape archive, packed or not: with links out of its folder, or whatever it holds.
        let mut tape = vec![0_u8; 1536];
        tape[..11].copy_from_slice(b"ratings.csv");
        tape[156] = b'2';
        tape[157..168].copy_from_slice(b"/etc/passwd");
        tape[257..262].copy_from_slice(b"ustar");
        for bytes in [tape, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec()] {
            let message = reading_changed(|_| {}, |archive| *archive = bytes).unwrap_err();
            assert!(message.contains("not a whole zip archive"), "{message}");
        }
    }

    /// What is packed a thousandfold is unfolded as it is read, and no further than its reader goes.
    #[test]
    fn a_bomb_is_not_unfolded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        archive.start_file("ratings.csv", SimpleFileOptions::default()).unwrap();
        (0..20).for_each(|_| archive.write_all(&[b'1'; 1 << 20]).unwrap());
        archive.finish().unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
        let mut taken = 0;
        let first = with_entry::<_, Failed>(&path, "ratings.csv", |input, size| {
            assert_eq!(size, 20 << 20);
            let mut some = [0; 1000];
            input.read_exact(&mut some)?;
            taken += some.len();
            Ok(())
        });
        assert!(first.is_ok());
        // As ratings: a line without end is given up after 16 MiB. As a list of items: more than one may have.
        let input = crate::Input::Entry { archive: path.clone(), name: "ratings.csv".to_owned() };
        let lines = input.with(|reader, _| {
            let mut blocks = crate::readers::blocks::Blocks::new(reader, false);
            blocks.next(Vec::new()).map_err(crate::Error::io(&path, "read the file"))
        });
        assert!(lines.unwrap_err().to_string().contains("a line is longer than 16777216 bytes"));
        assert!(input.read(1 << 20, "a list").unwrap_err().to_string().contains("larger than 1048576 bytes"));
    }

    #[test]
    fn an_archive_of_very_many_entries_is_refused() {
        let message =
            reading(|archive| (0..=MOST_ENTRIES).for_each(|number| add(archive, &number.to_string(), b""))).unwrap_err();
        assert!(message.ends_with("refused: it holds 10001 entries; at most 10000 are taken"), "{message}");
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
