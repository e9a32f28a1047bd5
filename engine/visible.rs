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
}
