//! Text of others, such as a manifest's name, a title in a data set or a program's output, as a terminal may have it.
//!
//! A terminal obeys what it prints: an escape sequence can clear the screen, rename the window or show another text than the one that
//! stands in a file. So whatever is printed for people goes through here on its way out. What is stored and what is JSON stays as it is.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with control characters, and those that turn the direction of writing, shown as `\u{1b}` instead of obeyed. Line ends
/// and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) || matches!(byte, b'\n' | b'\t');
    if text.bytes().all(plain) || !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match hidden(character) {
            // Writing to a string cannot fail.
            true => drop(write!(shown, "{}", character.escape_unicode())),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Bytes that come in pieces, such as a log that is followed, as [`visible`] text: a piece may end within a character.
#[derive(Debug, Default)]
pub struct Stream {
    held: Vec<u8>,
}

impl Stream {
    /// Takes the next piece. What its end may be the beginning of, a character or a line end, comes with the piece after it.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let later = self.held.split_off(self.held.len() - begun(&self.held));
        shown(&std::mem::replace(&mut self.held, later))
    }

    /// What is left when nothing more comes.
    pub fn end(&mut self) -> String {
        shown(&std::mem::take(&mut self.held))
    }
}

/// How many bytes at the end may be the beginning of something.
fn begun(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => usize::from(bytes.ends_with(b"\r")),
    }
}

fn shown(bytes: &[u8]) -> String {
    visible(&String::from_utf8_lossy(bytes).replace("\r\n", "\n")).into_owned()
}

fn hidden(character: char) -> bool {
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && !matches!(character, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(visible("\u{1b}[2Jx\u{7}\r\u{9b}1m\u{7f}"), "\\u{1b}[2Jx\\u{7}\\u{d}\\u{9b}1m\\u{7f}");
        assert_eq!(visible("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
        assert!(matches!(visible("plain, \t\u{e9}\u{4e2d}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_stream_is_shown_the_same_however_it_is_cut() {
        let bytes = b"\xe9 \xe4\xb8\xad\x1b]0;x\x07 10%\r20%\r\n\xf0\x9f\x98\x80\xf0\x9f";
        let whole = "\u{fffd} \u{4e2d}\\u{1b}]0;x\\u{7} 10%\\u{d}20%\n\u{1f600}\u{fffd}";
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut stream = Stream::default();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let shown: String = pieces.map(|piece| stream.push(piece)).concat();
                assert_eq!(shown + &stream.end(), whole, "cut at {first} and {second}");
            }
        }
    }
}
