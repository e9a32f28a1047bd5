//! A run's events as JSON lines, appended as they happen: what is left of a run that was killed, and each stage's log.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use crate::event::{Event, Listener};

/// Writes `events.jsonl` in a run's folder.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: fs::File,
    /// Lines that are not in the file yet.
    lines: Vec<u8>,
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
        Ok(Self { path, file, lines: Vec::new(), clock: Instant::now(), failed: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends events as [`members`] wrote them, all as of now.
    pub fn append(&mut self, events: &[u8]) {
        let mut now = Vec::new();
        // Into memory, which takes it.
        let _ = begin_line(&mut now, self.clock);
        for event in events.split_inclusive(|byte| *byte == b'\n') {
            self.lines.extend_from_slice(&now);
            self.lines.extend_from_slice(event);
        }
        self.pause();
    }

    /// The first failure to write, if there was one.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }
}

/// Events as a journal's lines have them after the time.
///
/// # Errors
/// Where one cannot be written as JSON.
pub fn members<'a>(events: impl Iterator<Item = &'a Event>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    events.into_iter().try_for_each(|event| write_members(&mut lines, event))?;
    Ok(lines)
}

fn begin_line(lines: &mut Vec<u8>, clock: Instant) -> io::Result<()> {
    write!(lines, "{{\"at\":{:?},", clock.elapsed().as_secs_f64())
}

fn write_members(lines: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    let brace = lines.len();
    serde_json::to_writer(&mut *lines, event)?;
    lines.remove(brace);
    lines.push(b'\n');
    Ok(())
}

/// Many events at once, as of a run in which nothing has to be done, are written together; but not more than this.
const TOGETHER: usize = 64 << 10;

impl Listener for Journal {
    /// Appends an event. A disk that fills up is told once, at the end: the run itself is worth more than its journal.
    fn on(&mut self, event: &Event) {
        let begin = self.lines.len();
        // As `Timed` is read back: the time, then the members of the event.
        let written = begin_line(&mut self.lines, self.clock).and_then(|()| write_members(&mut self.lines, event));
        if let Err(error) = written {
            self.lines.truncate(begin);
            self.failed.get_or_insert(error);
        }
        if self.lines.len() >= TOGETHER {
            self.pause();
        }
    }

    fn pause(&mut self) {
        if let Err(error) = self.file.write_all(&std::mem::take(&mut self.lines)) {
            self.failed.get_or_insert(error);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.pause();
    }
}
