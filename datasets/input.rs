//! Where the text of one file is: on disk, or inside an archive.
//!
//! It knows how to open it and what to call it in a message, not what it says.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::archive;
use crate::error::Error;

/// One input file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file of its own.
    File(PathBuf),
    /// A file inside an archive: zip, or tar packed by gzip.
    Entry {
        /// The archive.
        archive: PathBuf,
        /// The file's name inside, without folders.
        name: String,
    },
}

impl Input {
    /// The file on disk that is read: the archive, or the file itself.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::File(path) | Self::Entry { archive: path, .. } => path,
        }
    }

    /// What messages call it.
    pub fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Entry { archive, name } => format!("{} ({name})", archive.display()),
        }
    }

    /// Hands the contents and their size in bytes to `read`.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut (dyn Read + Send), u64) -> Result<T, Error>) -> Result<T, Error> {
        match self {
            Self::File(path) => {
                let mut file = File::open(path).map_err(Error::io(path, "open the file"))?;
                let size = file.metadata().map_err(Error::io(path, "read the file's size"))?.len();
                read(&mut file, size)
            }
            Self::Entry { archive, name } => archive::with_entry(archive, name, read),
        }
    }

    /// The whole contents, for files that are held in memory; at most `limit` bytes, which is enough for `what` it is.
    pub(crate) fn read(&self, limit: u64, what: &str) -> Result<Vec<u8>, Error> {
        self.with(|input, size| {
            let mut bytes = Vec::with_capacity(size.min(limit) as usize);
            let read = input.take(limit + 1).read_to_end(&mut bytes);
            match read {
                Ok(_) if bytes.len() as u64 > limit => {
                    Err(Error::Setting(format!("{}: larger than {limit} bytes, which is too much for {what}", self.label())))
                }
                Ok(_) => Ok(bytes),
                Err(source) => Err(Error::Io { path: self.path().to_owned(), doing: "read the file", source }),
            }
        })
    }
}
