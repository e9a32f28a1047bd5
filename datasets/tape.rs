//! Reads single files out of a tape archive packed by gzip (`.tar.gz`) in place, as `archive` does for zip.
//!
//! A tape has no table of contents: it is read from its beginning to its end, so that every entry has been looked at, and gzip's own sum
//! compared, before the file that was wanted counts as read. Only plain tapes are understood: entries that carry a long name for the
//! next one are passed over, and no file we want has such a name.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::archive::{ArchiveError, ArchiveProblem, FOLDER, LARGEST_ENTRY, MOST_ENTRIES, PLAIN, check_name, missing};

/// All entries together unfold to no more.
const LARGEST_TAPE: u64 = 4 << 30;
/// A tape is made of blocks.
const BLOCK: usize = 512;

/// Whether a file is such an archive, by its name.
pub(crate) fn is_tape(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| name.ends_with(".tar.gz") || name.ends_with(".tgz"))
}

/// As [`crate::archive::with_entry`].
pub(crate) fn with_entry<T, E: From<ArchiveError>>(
    path: &Path,
    name: &str,
    read: impl FnOnce(&mut (dyn Read + Send), u64) -> Result<T, E>,
) -> Result<T, E> {
    let fail = |problem| ArchiveError { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|e| fail(e.into()))?;
    let tape = GzDecoder::new(BufReader::with_capacity(1 << 16, file)).take(LARGEST_TAPE);
    let mut walk = Walk { tape, wanted: name, found: None, held: Vec::new(), entries: 0 };
    let mut read = Some(read);
    let mut outcome = None;
    while let Some(size) = walk.next().map_err(fail)? {
        let mut entry = Entry { inner: &mut walk.tape, left: size };
        if let Some(read) = read.take() {
            outcome = Some(read(&mut entry, size)?);
        }
        let left = entry.left + padding(size);
        walk.pass(left).map_err(fail)?;
    }
    outcome.ok_or_else(|| fail(missing(name, &walk.held)).into())
}

/// The way through a tape.
struct Walk<'n, R> {
    tape: R,
    wanted: &'n str,
    found: Option<String>,
    held: Vec<String>,
    entries: usize,
}

impl<R: Read> Walk<'_, R> {
    /// Goes on to the file that is wanted, and says how large it is. `None` at the end of the tape.
    fn next(&mut self) -> Result<Option<u64>, ArchiveProblem> {
        loop {
            let Some(Header { path, kind, size }) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(ArchiveProblem::TooMany(self.entries));
            }
            let mode = match kind {
                b'0' | 0 | b'7' => PLAIN,
                b'5' => FOLDER,
                // Names and remarks for the entry that follows.
                b'L' | b'K' | b'x' | b'g' => {
                    self.pass(size + padding(size))?;
                    continue;
                }
                b'1' | b'2' => return Err(ArchiveProblem::Escapes(path)),
                _ => return Err(ArchiveProblem::Odd(path)),
            };
            check_name(&path, mode)?;
            let base = path.rsplit('/').next().unwrap_or(&path);
            if mode == PLAIN && base == self.wanted {
                if let Some(first) = self.found.take() {
                    return Err(ArchiveProblem::Ambiguous { first, second: path });
                }
                if size > LARGEST_ENTRY {
                    return Err(ArchiveProblem::TooLarge { name: path, bytes: size });
                }
                self.found = Some(path);
                return Ok(Some(size));
            }
            if mode == PLAIN {
                self.held.push(path);
            }
            self.pass(size + padding(size))?;
        }
    }

    /// The header of the next entry; at the end of the tape, all that is left has been read.
    fn header(&mut self) -> Result<Option<Header>, ArchiveProblem> {
        let mut block = [0; BLOCK];
        self.tape.read_exact(&mut block).map_err(damaged)?;
        if block == [0; BLOCK] {
            // What follows are zeros, and the sum of gzip.
            io::copy(&mut self.tape, &mut io::sink()).map_err(damaged)?;
            return Ok(None);
        }
        Header::of(&block).map(Some).ok_or_else(|| damaged(io::Error::other("an entry's header is not sound")))
    }

    /// Passes over so many bytes.
    fn pass(&mut self, bytes: u64) -> Result<(), ArchiveProblem> {
        let passed = io::copy(&mut (&mut self.tape).take(bytes), &mut io::sink()).map_err(damaged)?;
        if passed == bytes { Ok(()) } else { Err(damaged(io::ErrorKind::UnexpectedEof.into())) }
    }
}

/// What a tape says of an entry before its contents.
struct Header {
    path: String,
    kind: u8,
    size: u64,
}

impl Header {
    /// `None` where a number is none, or the block's sum is wrong.
    fn of(block: &[u8; BLOCK]) -> Option<Self> {
        let octal = |field: &[u8]| {
            let text = std::str::from_utf8(field).ok()?;
            u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
        };
        let text = |field: &[u8]| String::from_utf8_lossy(field.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
        let sum: u64 =
            (block.iter().enumerate()).map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { byte.into() }).sum();
        if octal(&block[148..156])? != sum {
            return None;
        }
        let (name, prefix) = (text(&block[..100]), text(&block[345..500]));
        // The two bytes after the word tell POSIX's tapes, which have the prefix, from GNU's.
        let path = if &block[257..263] == b"ustar\0" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name };
        Some(Self { path, kind: block[156], size: octal(&block[124..136])? })
    }
}

/// What follows an entry up to the next block.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn damaged(error: io::Error) -> ArchiveProblem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            ArchiveProblem::DamagedTape(error)
        }
        _ => ArchiveProblem::Io(error),
    }
}

/// An entry that must yield all that it declares, and no more.
struct Entry<'t, R> {
    inner: &'t mut R,
    left: u64,
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut *self.inner).take(self.left).read(buffer)?;
        self.left -= read as u64;
        if read == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the entry is smaller than its declared size"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// An entry of a tape.
    fn entry(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar  \0");
        sign(&mut block);
        let mut all = block.to_vec();
        all.extend_from_slice(bytes);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
        all
    }

    fn sign(block: &mut [u8]) {
        block[148..156].fill(b' ');
        let sum: u64 = block[..BLOCK].iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    fn packed(tape: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(tape).unwrap();
        packer.finish().unwrap()
    }

    /// The text of `a.bin`, or the message.
    fn reading(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        std::fs::write(&path, bytes).unwrap();
        let read = |input: &mut (dyn Read + Send), size| {
            let mut text = String::new();
            let doing = "read the file";
            input.read_to_string(&mut text).map_err(|source| crate::Error::Io { path: path.clone(), doing, source })?;
            assert_eq!(text.len() as u64, size);
            Ok::<_, crate::Error>(text)
        };
        with_entry(&path, "a.bin", read).map_err(|error| error.to_string())
    }

    fn tape(entries: &[Vec<u8>]) -> Vec<u8> {
        [entries.concat(), vec![0; 2 * BLOCK]].concat()
    }

    #[test]
    fn a_file_is_found_wherever_it_stands() {
        let all = [
            entry("set/", b'5', b""),
            entry("set/b.bin", b'0', &[7; 600]),
            entry("set/a.bin", b'0', b"yes"),
            entry("c", 0, b"no"),
        ];
        assert_eq!(reading(&packed(&tape(&all))), Ok("yes".to_owned()));
        // A remark for the entry that follows is no file; zeros at the end are as many as the writer liked.
        let all = [entry("remark", b'x', b"30 mtime=1\n"), entry("a.bin", b'0', b"yes"), vec![0; 9000]];
        assert_eq!(reading(&packed(&tape(&all))), Ok("yes".to_owned()));
        // With a folder in POSIX's second field for names.
        let mut posix = entry("a.bin", b'0', b"yes");
        posix[257..265].copy_from_slice(b"ustar\x0000");
        posix[345..350].copy_from_slice(b"a/b/c");
        sign(&mut posix);
        assert_eq!(reading(&packed(&tape(&[posix]))), Ok("yes".to_owned()));
        assert!(is_tape(Path::new("x/A.TAR.GZ")) && is_tape(Path::new("b.tgz")) && !is_tape(Path::new("a.tar.gz/b.zip")));
    }

    #[test]
    fn names_that_lead_elsewhere_links_and_devices_are_refused() {
        let wanted = entry("a.bin", b'0', b"yes");
        for name in ["../x", "a/../../x", "/etc/passwd", "C:/x", "\\x"] {
            let message = reading(&packed(&tape(&[wanted.clone(), entry(name, b'0', b"!")]))).unwrap_err();
            assert!(message.contains("refused: the entry"), "{name}: {message}");
        }
        for (kind, expected) in [(b'1', "is a link"), (b'2', "is a link"), (b'3', "no plain file"), (b'6', "no plain file")] {
            let message = reading(&packed(&tape(&[wanted.clone(), entry("x", kind, b"")]))).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let message = reading(&packed(&tape(&[entry("\u{1b}[2J", b'0', b"")]))).unwrap_err();
        assert!(message.contains("of a plain name") && !message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn what_is_missing_or_twice_is_said() {
        let message = reading(&packed(&tape(&[entry("set/b.bin", b'0', b"no")]))).unwrap_err();
        assert!(message.ends_with("holds no file `a.bin`; it holds `set/b.bin`"), "{message}");
        let message = reading(&packed(&tape(&[entry("x/a.bin", b'0', b"1"), entry("y/a.bin", b'0', b"2")]))).unwrap_err();
        assert!(message.contains("holds `x/a.bin` and `y/a.bin`"), "{message}");
        let many = vec![entry("x", b'0', b""); MOST_ENTRIES + 1];
        assert!(reading(&packed(&tape(&many))).unwrap_err().contains("refused: it holds 10001 entries"));
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let good = packed(&tape(&[entry("a.bin", b'0', b"yes"), entry("b.bin", b'0', &[9; 3000])]));
        assert_eq!(reading(&good), Ok("yes".to_owned()));
        for end in [0, 5, 40, good.len() - 12, good.len() - 1] {
            assert!(reading(&good[..end]).unwrap_err().contains("not a whole tar.gz archive"), "{end}");
        }
        let mut flipped = good.clone();
        *flipped.iter_mut().nth_back(5).unwrap() ^= 1;
        assert!(reading(&flipped).unwrap_err().contains("not a whole tar.gz archive"));
        // Without its end, with a header of which one byte was changed, with a size beyond all.
        assert!(reading(&packed(&entry("a.bin", b'0', b"yes"))).unwrap_err().contains("not a whole tar.gz archive"));
        let mut changed = entry("a.bin", b'0', b"yes");
        changed[0] ^= 1;
        assert!(reading(&packed(&tape(&[changed]))).unwrap_err().contains("header is not sound"));
        let mut large = entry("a.bin", b'0', b"yes");
        large[124..136].copy_from_slice(b"77777777777\0");
        sign(&mut large);
        assert!(reading(&packed(&tape(&[large]))).unwrap_err().contains("declares 8589934591 bytes"));
        assert!(reading(b"PK\x03\x04 a zip archive").unwrap_err().contains("not a whole tar.gz archive"));
    }
}
