//! Removing a folder that a program of the user's wrote into: it may have taken away its own right to change what is in it.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

/// Removes a folder and all that is in it, folders that cannot be written to included.
///
/// # Errors
/// Where it still cannot be removed.
pub fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        other => other,
    }
}

/// Makes folders ours to change, each before what is in it is looked at.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
