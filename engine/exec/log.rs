//! A stage's log: what it said while it worked, line by line, in one file. A program that the stage starts appends to the same file.
//! What a stage says passes here before it leaves the process.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{event::Progress, stage::Said};

/// Progress is written no more often than this, the last one always.
const BETWEEN: Duration = Duration::from_millis(100);

/// Appends to a stage's log, which is made with the first line.
#[derive(Debug)]
pub struct StageLog {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<fs::File>,
    last: Option<Instant>,
    held_back: Option<String>,
}

impl StageLog {
    /// The log in the file `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// Writes what the stage said.
    pub fn hear(&self, said: &Said) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Said::Note(note) => {
                state.flush(&self.path);
                state.write(&self.path, note);
            }
            Said::Progress(progress) => {
                let due = state.last.is_none_or(|last| last.elapsed() >= BETWEEN);
                state.held_back = Some(line(progress));
                if due {
                    state.flush(&self.path);
                    state.last = Some(Instant::now());
                }
            }
        }
    }

    /// Writes what was held back, and then why the stage failed, if it did.
    pub fn end(&self, causes: &[String]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.flush(&self.path);
        for (depth, cause) in causes.iter().enumerate() {
            state.write(&self.path, &format!("{}{cause}", if depth == 0 { "failed: " } else { "caused by: " }));
        }
    }
}

impl State {
    fn flush(&mut self, path: &PathBuf) {
        if let Some(line) = self.held_back.take() {
            self.write(path, &line);
        }
    }

    /// A log that cannot be written is no reason to lose the stage's work.
    fn write(&mut self, path: &PathBuf, line: &str) {
        if self.file.is_none() {
            let _ = path.parent().map(fs::create_dir_all);
            self.file = fs::File::options().create(true).append(true).open(path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

fn line(progress: &Progress) -> String {
    match progress.total {
        Some(total) => format!("{}/{total}  {}", progress.done, progress.what),
        None => format!("{}  {}", progress.done, progress.what),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn the_last_progress_is_always_there_and_nothing_said_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/0.log");
        let log = StageLog::new(path.clone());
        log.end(&[]);
        assert!(!path.exists());
        for done in 1..=1000 {
            log.hear(&Said::Progress(Progress { done, total: Some(2000), what: format!("rmse {done}") }));
        }
        log.hear(&Said::Note("stopped early".to_owned()));
        log.end(&["cannot".to_owned(), "no room".to_owned()]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("1/2000  rmse 1\n"), "{text}");
        assert!(text.ends_with("1000/2000  rmse 1000\nstopped early\nfailed: cannot\ncaused by: no room\n"), "{text}");
    }
}
