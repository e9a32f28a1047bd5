//! What running processes use, and the gate between them and garbage collection: any number of processes go on while one
//! collects, and none of them loses what it has found or made.
//!
//! - **Notes.** Each process that finds or publishes a result writes its key into a file of its own in `using/`, which it holds
//!   locked for as long as it lives. The system drops the lock of a process that dies; its notes then count no more.
//! - **The gate**, a lock on the file `gate`: a process holds it, shared, from before it looks a record up until the key is noted,
//!   and from before the first file of a result is put in place until its record is written and the key is noted. Whoever collects
//!   holds it alone while it decides and moves what is to go out of the tables (deleting follows after), so for milliseconds.
//!
//! Why nothing is lost: say P finds the record R of key K, and C collects. Looking up and noting are one step to C, deciding and
//! moving are one step to P, since the gate keeps the two apart; so one comes first. If P's does, C reads K among the notes of a
//! file that is locked, and keeps R and every file that R names, for as long as P lives. If C's does, P finds no R, and makes the
//! result. Publication is the same with "puts files and R" for "finds R": if P's comes first, C sees R whole and K noted; if C's does, P
//! puts its files after it. No step of P lies between, so C never sees files whose record is still to come, and P never counts on a
//! file that C has chosen. A file that two results share goes only when no record that stays names it, which C decides in the
//! same step. Who holds the gate waits for nothing but the disk, so nobody waits for ever.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::{Store, StoreError, list, open_lock, unless_gone};
use crate::key::ActionKey;

/// Held while the tables are read or added to; let go when dropped.
#[derive(Debug)]
pub(super) struct Gate {
    _file: fs::File,
}

/// What this process has noted.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    file: Option<(PathBuf, fs::File)>,
    keys: BTreeSet<ActionKey>,
}

/// What all running processes have noted.
#[derive(Debug, Default)]
pub(super) struct InUse {
    pub keys: BTreeSet<ActionKey>,
    pub runs: BTreeSet<String>,
}

impl Store {
    /// Passes the gate, together with others.
    pub(super) fn enter(&self) -> Result<Gate, StoreError> {
        let path = self.root.join("gate");
        let file = open_lock(&path)?;
        file.lock_shared().map_err(StoreError::io("lock", &path))?;
        Ok(Gate { _file: file })
    }

    /// Passes the gate once nobody else is in it, and keeps others out.
    pub(super) fn enter_alone(&self) -> Result<Gate, StoreError> {
        let path = self.root.join("gate");
        let file = open_lock(&path)?;
        file.lock().map_err(StoreError::io("lock", &path))?;
        Ok(Gate { _file: file })
    }

    /// Whether this process has noted a key, and so keeps its result.
    pub(super) fn has_noted(&self, key: &ActionKey) -> bool {
        self.lock_notes().keys.contains(key)
    }

    /// Notes that this process uses the result of a key. The gate is what makes it count.
    pub(super) fn note_use(&self, key: &ActionKey, gate: &Gate) -> Result<(), StoreError> {
        self.note_uses(std::slice::from_ref(key), gate)
    }

    /// The same for many, in one writing.
    pub(super) fn note_uses(&self, keys: &[ActionKey], _gate: &Gate) -> Result<(), StoreError> {
        let mut noted = self.lock_notes();
        let new: Vec<ActionKey> = keys.iter().copied().filter(|key| noted.keys.insert(*key)).collect();
        let lines: String = new.iter().flat_map(|key| ["\nkey ".to_owned(), key.to_string()]).collect();
        if !new.is_empty()
            && let Err(error) = self.write_note(&mut noted, &lines)
        {
            for key in &new {
                noted.keys.remove(key);
            }
            return Err(error);
        }
        Ok(())
    }

    /// Notes that this process writes in the folder of a run.
    pub(super) fn note_run(&self, id: &str, _gate: &Gate) -> Result<(), StoreError> {
        self.write_note(&mut self.lock_notes(), &format!("\nrun {id}"))
    }

    /// Each note begins with the end of the line before it: one that a full disk cut short spoils no other.
    fn write_note(&self, noted: &mut Noted, line: &str) -> Result<(), StoreError> {
        if noted.file.is_none() {
            let folder = self.root.join("using");
            // Locked at once: whoever reads notes is kept out by the gate.
            fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
            let made =
                self.new_in("using", |path| fs::File::create_new(path)).map_err(StoreError::io("make a file in", &folder))?;
            made.1.lock().map_err(StoreError::io("lock", &made.0))?;
            noted.file = Some(made);
        }
        match &mut noted.file {
            Some((path, file)) => file.write_all(line.as_bytes()).map_err(StoreError::io("write", path)),
            None => Ok(()),
        }
    }

    fn lock_notes(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What running processes use, this one included. Files of notes whose process has ended are removed.
    pub(super) fn in_use(&self, _alone: &Gate) -> Result<InUse, StoreError> {
        let mut in_use = InUse::default();
        for path in list(&self.root.join("using"))? {
            // A process that ends takes its file with it.
            let Some(file) = unless_gone(fs::File::open(&path)).map_err(StoreError::io("open", &path))? else { continue };
            if file.try_lock().is_ok() {
                unless_gone(fs::remove_file(&path)).map_err(StoreError::io("remove", &path))?;
                continue;
            }
            let mut text = String::new();
            (&file).read_to_string(&mut text).map_err(StoreError::io("read", &path))?;
            for line in text.lines() {
                match line.split_once(' ') {
                    Some(("key", key)) => in_use.keys.extend(key.parse().ok().map(ActionKey)),
                    Some(("run", id)) => drop(in_use.runs.insert(id.to_owned())),
                    _ => {}
                }
            }
        }
        Ok(in_use)
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        // Best effort: what stays is of a process that has ended, and removed by whoever collects.
        let noted = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, _)) = noted.file.take() {
            let _ = fs::remove_file(path);
        }
    }
}
