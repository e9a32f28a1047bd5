//! Cuts a stream of text into blocks that end where a line ends, so that blocks can be parsed apart and in parallel.
//!
//! It knows lines and quotes, not fields.

use std::io::{self, Read};

/// How much text a block holds: enough to keep a core busy for about a millisecond, little enough to stay in its cache.
const BLOCK: usize = 1 << 20;
/// No line of ratings is this long; what is, is one unclosed quote or no text at all.
const LONGEST_LINE: usize = 16 << 20;

/// The blocks of a text, in order.
pub(crate) struct Blocks<R> {
    input: R,
    /// What was read and not handed out: the beginning of a line.
    rest: Vec<u8>,
    quotes: bool,
    ended: bool,
    block: usize,
    longest: usize,
}

impl<R: Read> Blocks<R> {
    /// Cuts `input`; with `quotes`, a line end between double quotes does not end a line.
    pub(crate) fn new(input: R, quotes: bool) -> Self {
        Self { input, rest: Vec::new(), quotes, ended: false, block: BLOCK, longest: LONGEST_LINE }
    }

    /// As [`Blocks::new`], with sizes small enough to try every cut.
    #[cfg(test)]
    pub(crate) fn with_sizes(input: R, quotes: bool, block: usize, longest: usize) -> Self {
        Self { input, rest: Vec::new(), quotes, ended: false, block, longest }
    }

    /// The next block, whole lines only; `None` at the end. The last line may lack its line end. `spare` is a block that is no longer
    /// needed: its memory is used again.
    pub(crate) fn next(&mut self, spare: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let mut wanted = self.block;
        loop {
            let before = self.rest.len();
            self.rest.reserve(wanted.saturating_sub(before));
            let room = wanted.saturating_sub(before) as u64;
            let read = (&mut self.input).take(room).read_to_end(&mut self.rest)?;
            if (read as u64) < room {
                self.ended = true;
                let last = std::mem::take(&mut self.rest);
                return Ok((!last.is_empty()).then_some(last));
            }
            if let Some(end) = self.last_line_end() {
                let mut carried = spare;
                carried.clear();
                carried.extend_from_slice(&self.rest[end..]);
                self.rest.truncate(end);
                return Ok(Some(std::mem::replace(&mut self.rest, carried)));
            }
            if self.rest.len() >= self.longest {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a line is longer than {} bytes: not a text table, or a quote that is never closed", self.longest),
                ));
            }
            wanted = self.rest.len() * 2;
        }
    }

    /// Where the last whole line of `rest` ends.
    fn last_line_end(&self) -> Option<usize> {
        if !self.quotes || memchr::memchr(b'"', &self.rest).is_none() {
            return memchr::memrchr(b'\n', &self.rest).map(|at| at + 1);
        }
        let (mut quoted, mut end) = (false, None);
        for at in memchr::memchr2_iter(b'"', b'\n', &self.rest) {
            if self.rest[at] == b'"' {
                quoted = !quoted;
            } else if !quoted {
                end = Some(at + 1);
            }
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, quotes: bool, block: usize) -> io::Result<Vec<String>> {
        let mut blocks = Blocks::with_sizes(text.as_bytes(), quotes, block, 64);
        let mut all = Vec::new();
        while let Some(block) = blocks.next(Vec::new())? {
            all.push(String::from_utf8_lossy(&block).into_owned());
        }
        Ok(all)
    }

    #[test]
    fn any_block_size_gives_whole_lines_and_all_of_them() -> io::Result<()> {
        let text = "a,1\nbb,22\n\nccc,333\r\nlast";
        for block in 1..40 {
            let blocks = cut(text, false, block)?;
            assert_eq!(blocks.concat(), text, "block size {block}");
            assert!(blocks.iter().rev().skip(1).all(|b| b.ends_with('\n')), "block size {block}: {blocks:?}");
        }
        Ok(())
    }

    #[test]
    fn a_line_end_between_quotes_cuts_nothing() -> io::Result<()> {
        let text = "1,\"two\nlines\"\n2,\"a \"\"quote\"\"\nand more\"\n3,x\n";
        for block in 1..text.len() + 2 {
            for piece in cut(text, true, block)? {
                assert_eq!(piece.matches('"').count() % 2, 0, "block size {block}: {piece:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn an_empty_text_has_no_blocks_and_an_endless_line_is_refused() {
        assert_eq!(cut("", true, 8).ok(), Some(vec![]));
        assert!(cut(&"x".repeat(500), false, 8).is_err());
        assert!(cut(&format!("a,\"{}", "x\n".repeat(300)), true, 8).is_err());
    }
}
