//! What a program prints, kept as the stage's log as it comes: all of it up to a limit, beyond that its beginning and its end. Its
//! last lines are at hand for the error.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write},
    path::Path,
};

use super::redact::Redactor;

/// So much of an attempt's output is written as it comes.
const HEAD: u64 = 8 << 20;
/// Of what comes after it, so much of the end is kept, in memory until the program ends.
const TAIL: usize = 1 << 20;
/// Of the end so much is looked at for last lines,
const RECENT: usize = 16 << 10;
/// so many lines are shown,
const LINES: usize = 20;
/// and of each so many characters.
const WIDTH: usize = 300;

/// A log that is being written.
pub(super) struct Log<'a> {
    path: &'a Path,
    file: Option<fs::File>,
    redactor: Redactor,
    written: u64,
    /// Bytes of which nothing is kept.
    left_out: u64,
    tail: VecDeque<u8>,
    recent: VecDeque<u8>,
}

impl<'a> Log<'a> {
    /// To be appended to the file at `path`, which is made when there is something to write.
    pub(super) fn new(path: &'a Path, redactor: Redactor) -> Self {
        Self { path, file: None, redactor, written: 0, left_out: 0, tail: VecDeque::new(), recent: VecDeque::new() }
    }

    /// Takes what was printed next.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut clean = Vec::with_capacity(bytes.len());
        self.redactor.push(bytes, &mut clean);
        self.keep(&clean)
    }

    /// The program has ended: what is still held comes in.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let mut clean = Vec::new();
        self.redactor.end(&mut clean);
        self.keep(&clean)?;
        if self.left_out > 0 {
            let note = format!("\n[talkflow: {} bytes are left out here]\n", self.left_out);
            self.write(note.as_bytes())?;
        }
        let tail = Vec::from(std::mem::take(&mut self.tail));
        self.write(&tail)
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        push(&mut self.recent, bytes, RECENT);
        let room = usize::try_from(HEAD.saturating_sub(self.written)).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(room);
        self.write(now)?;
        self.written += now.len() as u64;
        self.left_out += push(&mut self.tail, later, TAIL) as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(folder) = self.path.parent() {
                    fs::create_dir_all(folder)?;
                }
                let mut file = fs::File::options().create(true).append(true).open(self.path)?;
                if file.metadata()?.len() > 0 {
                    file.write_all(b"\n[talkflow: the next attempt]\n")?;
                }
                none.insert(file)
            }
        };
        file.write_all(bytes)
    }

    /// The last lines, as they may be shown on a terminal.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.recent.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // A bar that is drawn over itself: its last state.
        let shown = text.lines().map(|line| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default());
        let plain = |line: &str| line.chars().filter(|c| *c == '\t' || !c.is_control()).take(WIDTH).collect::<String>();
        let lines: Vec<String> = shown.map(plain).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].to_vec()
    }
}

/// Adds to a queue that holds the last `most` bytes; how many fell out.
fn push(queue: &mut VecDeque<u8>, bytes: &[u8], most: usize) -> usize {
    let kept = &bytes[bytes.len().saturating_sub(most)..];
    let over = (queue.len() + kept.len()).saturating_sub(most);
    queue.drain(..over);
    queue.extend(kept);
    over + bytes.len() - kept.len()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn the_middle_of_a_long_log_is_left_out_and_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/3.log");
        let mut log = Log::new(&path, Redactor::new([].into_iter()));
        let line = format!("{}\n", "x".repeat(1023)).into_bytes();
        log.take(b"first\n").unwrap();
        for _ in 0..20 << 10 {
            log.take(&line).unwrap();
        }
        log.take(b"\x1b[1m10%\r20%\nlast\n").unwrap();
        log.end().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() < (10 << 20) && text.starts_with("first\n") && text.ends_with("last\n"), "{}", text.len());
        let left_out: u64 = text.split("[talkflow: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(left_out as usize + (8 << 20) + (1 << 20), 6 + (20 << 20) + 17);
        let lines = log.last_lines();
        assert_eq!(lines[lines.len() - 2..], ["20%", "last"]);
    }

    #[test]
    fn a_program_that_prints_nothing_has_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/3.log");
        let mut log = Log::new(&path, Redactor::new([].into_iter()));
        log.take(b"").unwrap();
        log.end().unwrap();
        assert!(!folder.path().join("logs").exists());
    }
}
