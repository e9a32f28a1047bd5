//! A run's events as JSON lines, appended as they happen: what is left of a run that was killed, and each stage's log.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use crate::event::{Event, Timed};

/// Writes `events.jsonl` in a run's folder.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: fs::File,
    clock: Instant,
    failed: Option<io::Error>,
}

impl Journal {
    /// Begins a journal in `folder`. Its file is locked until the run ends, however it ends: who reads can tell a run that goes on
    /// from one that was killed.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        let path = folder.join("events.jsonl");
        let file = fs::File::options().create(true).append(true).open(&path)?;
        // Where locks are not to be had, the run goes on without: it will look as if it had ended.
        let _ = file.try_lock();
        Ok(Self { path, file, clock: Instant::now(), failed: None })
    }

    /// Appends an event. A disk that fills up is told once, at the end: the run itself is worth more than its journal.
    pub fn on(&mut self, event: &Event) {
        let line = Timed { at: self.clock.elapsed().as_secs_f64(), event };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first failure to write, if there was one.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }
}
