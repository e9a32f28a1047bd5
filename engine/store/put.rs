//! Putting the contents of a blob somewhere else: for the user, for a program that reads it, for another store. The file system
//! shares the space where it can (a reflink: two files, one copy on the disk until one of them is written to); else a hard link
//! does, where nobody can harm the blob through it; else the bytes are copied. Never are they all read into memory.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use super::{Store, StoreError};
use crate::artifact::Digest;

/// What the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The user's own from now on: may be written to, and shares nothing that writing could reach.
    Own,
    /// To be read: read-only, and maybe the same file as the blob.
    Read,
}

/// How it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Another file that shares the blob's space.
    Reflinked,
    /// Another name of the blob.
    Linked,
    /// Another file with the same bytes.
    Copied,
}

impl Store {
    /// Puts the contents with this digest at `to`, where nothing may be yet.
    ///
    /// # Errors
    /// Where the blob is not there, something is at `to`, or the disk refuses.
    pub fn put(&self, digest: &Digest, to: &Path, how: Put) -> Result<Placed, StoreError> {
        // To root a read-only file is a file like any other: through a link, root could write to the blob.
        let may_link = how == Put::Read && !rustix::process::geteuid().is_root();
        put(&self.blob(digest), to, how, may_link).map_err(StoreError::io("put a file at", to))
    }
}

fn put(blob: &Path, to: &Path, how: Put, may_link: bool) -> io::Result<Placed> {
    let from = fs::File::open(blob)?;
    if let Ok(()) = fresh(to, how, |file| reflink(file, &from)) {
        return Ok(Placed::Reflinked);
    }
    if may_link && fs::hard_link(blob, to).is_ok() {
        return Ok(Placed::Linked);
    }
    fresh(to, how, |file| io::copy(&mut &from, &mut &*file).map(drop))?;
    Ok(Placed::Copied)
}

/// A new file, filled; where that fails it is gone again.
fn fresh(to: &Path, how: Put, fill: impl FnOnce(&fs::File) -> io::Result<()>) -> io::Result<()> {
    let file = fs::File::create_new(to)?;
    let filled = fill(&file).and_then(|()| match how {
        Put::Read => file.set_permissions(fs::Permissions::from_mode(0o444)),
        Put::Own => Ok(()),
    });
    filled.inspect_err(|_| drop(fs::remove_file(to)))
}

#[cfg(target_os = "linux")]
pub(super) fn reflink(to: &fs::File, from: &fs::File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reflink(_: &fs::File, _: &fs::File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_put_can_harm_no_blob_and_nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("blob"), "contents").unwrap();
        fs::set_permissions(at("blob"), fs::Permissions::from_mode(0o444)).unwrap();
        let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o777;
        // To be read, by somebody whom the mode keeps from writing: a reflink or a link, and never a copy.
        assert_ne!(put(&at("blob"), &at("linked"), Put::Read, true).unwrap(), Placed::Copied);
        assert_eq!(mode("linked"), 0o444);
        // By root: another file.
        assert_ne!(put(&at("blob"), &at("apart"), Put::Read, false).unwrap(), Placed::Linked);
        assert_eq!((mode("apart"), inode("apart") == inode("blob")), (0o444, false));
        // The user's own: written to, it leaves the blob as it was.
        assert_ne!(put(&at("blob"), &at("own"), Put::Own, false).unwrap(), Placed::Linked);
        fs::write(at("own"), "changed").unwrap();
        for name in ["blob", "linked", "apart"] {
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "contents", "{name}");
        }
        for how in [Put::Own, Put::Read] {
            assert_eq!(put(&at("blob"), &at("own"), how, how == Put::Read).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(at("own")).unwrap(), "changed");
        assert_eq!(put(&at("gone"), &at("new"), Put::Own, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!at("new").exists());
    }
}
