//! A run's journal as server-sent events: each line as it is written, with its place in the file, so that a client that was cut off goes on
//! where it was.
//!
//! Beside the lines there are two events with names: `end`, when the run has ended, and `newer`, when another run has begun.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{Site, http::Answer};
use crate::{history::Run, stage::Cancel};

/// How often the journal is looked at.
const PACE: Duration = Duration::from_millis(200);
/// How often other runs are looked for, and a sign of life is sent where nothing happens: only so is it seen that a client has gone.
const REST: Duration = Duration::from_secs(3);
/// So much of a journal is read at a time.
const PIECE: u64 = 1 << 20;

/// Sends events from a place on, until the client goes, or a signal comes.
///
/// # Errors
/// Where the client has gone, which is the usual end.
pub fn send(site: &Site, run: &Run, from: u64, head: &Answer, client: &mut TcpStream, cancel: &Cancel) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.write_all(format!("{}\r\nretry: 1000\n\n", head.head()).as_bytes())?;
    Stream { run, from, ended: false, newer: None, client }.follow(site, cancel)
}

struct Stream<'a> {
    run: &'a Run,
    /// How much of the journal was sent.
    from: u64,
    ended: bool,
    newer: Option<String>,
    client: &'a mut TcpStream,
}

impl Stream<'_> {
    fn follow(&mut self, site: &Site, cancel: &Cancel) -> io::Result<()> {
        let mut looked: Option<Instant> = None;
        while cancel.signal().is_none() {
            // Asked before the journal is read: what was written until then is sent before its end is told.
            let over = !self.run.goes_on();
            let more = self.pass_on()?;
            if over && !more && !self.ended {
                self.ended = true;
                self.client.write_all(b"event: end\ndata: \n\n")?;
            }
            if looked.is_none_or(|looked| looked.elapsed() > REST) {
                looked = Some(Instant::now());
                self.look_for_newer(site)?;
            }
            if !more {
                std::thread::sleep(PACE);
            }
        }
        Ok(())
    }

    /// Sends what was added to the journal. Whether there may be more at once.
    fn pass_on(&mut self) -> io::Result<bool> {
        let Ok(mut file) = File::open(self.run.journal()) else { return Ok(false) };
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(self.from))?;
        file.take(PIECE).read_to_end(&mut piece)?;
        // The last line may be half written.
        let Some(whole) = piece.iter().rposition(|byte| *byte == b'\n') else { return Ok(false) };
        let mut out = Vec::new();
        for line in piece[..=whole].split_inclusive(|byte| *byte == b'\n') {
            self.from += line.len() as u64;
            // A line is JSON, in which no line ends are; one of a journal that was damaged is not sent on.
            let line = line.trim_ascii_end();
            if !line.is_empty() && !line.contains(&b'\r') && std::str::from_utf8(line).is_ok() {
                write!(out, "id: {}\ndata: ", self.from)?;
                out.extend_from_slice(line);
                out.extend_from_slice(b"\n\n");
            }
        }
        self.client.write_all(&out)?;
        Ok(piece.len() as u64 == PIECE)
    }

    /// Tells of a run that began after this one.
    fn look_for_newer(&mut self, site: &Site) -> io::Result<()> {
        let last = site.runs().ok().and_then(|mut runs| runs.pop()).map(|run| run.id);
        match last.filter(|last| *last > self.run.id && self.newer.as_ref() != Some(last)) {
            Some(last) => {
                write!(self.client, "event: newer\ndata: {last}\n\n")?;
                self.newer = Some(last);
            }
            None => self.client.write_all(b": nothing new\n\n")?,
        }
        Ok(())
    }
}
