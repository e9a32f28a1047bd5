//! Lines of a label and a text: `2 What is the full form of .com ?`, as many text data sets come.
//!
//! The label is what stands before the first space or tab. Empty lines are passed over. What labels mean is not known here.

use crate::cards::Encoding;
use crate::error::{Error, Malformed, Place, shown};
use crate::input::Input;

/// The largest file: it is read in one piece.
const LARGEST_FILE: u64 = 256 << 20;
/// The longest text, in bytes of UTF-8.
const LONGEST_TEXT: usize = 64 << 10;
/// The longest label.
const LONGEST_LABEL: usize = 256;

/// One example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The number of its line, from 1.
    pub number: u64,
    /// Its label, as it is written.
    pub label: String,
    /// Its text.
    pub text: String,
}

/// Reads a file of at most so many examples.
pub(crate) fn read(input: &Input, encoding: Encoding, most: usize) -> Result<Vec<Line>, Error> {
    let bytes = input.read(LARGEST_FILE, "a file of texts")?;
    let file = input.label();
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let wrong = |column: Option<&str>, found: String, expected: String| Malformed {
            file: file.clone(),
            at: Some(Place::Line(number)),
            column: column.map(str::to_owned),
            found,
            expected,
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = match encoding {
            Encoding::Latin1 => line.iter().copied().map(char::from).collect(),
            Encoding::Utf8 => String::from_utf8(line.to_owned()).map_err(|_| {
                wrong(None, shown(line), "text in UTF-8: where it is in ISO 8859-1, say so with `encoding: latin1`".to_owned())
            })?,
        };
        if text.trim().is_empty() {
            continue;
        }
        let (label, text) = text.split_once([' ', '\t']).unwrap_or((&text, ""));
        let text = text.trim();
        if label.is_empty() || text.is_empty() {
            return Err(wrong(None, shown(line), "a label, a space, and a text".to_owned()).into());
        }
        if label.len() > LONGEST_LABEL {
            return Err(wrong(Some("label"), shown(line), format!("a label of at most {LONGEST_LABEL} bytes")).into());
        }
        if text.len() > LONGEST_TEXT {
            return Err(
                wrong(Some("text"), format!("{} bytes", text.len()), format!("a text of at most {LONGEST_TEXT} bytes")).into()
            );
        }
        if lines.len() >= most {
            return Err(wrong(
                None,
                "one more text".to_owned(),
                format!("at most {most} in this file: of all files together so many are read"),
            )
            .into());
        }
        lines.push(Line { number, label: label.to_owned(), text: text.to_owned() });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    fn reading(bytes: &[u8], encoding: Encoding, most: usize) -> Result<Vec<(u64, String, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts");
        std::fs::write(&path, bytes).unwrap();
        let lines = read(&Input::File(path), encoding, most).map_err(|error| error.to_string())?;
        Ok(lines.into_iter().map(|line| (line.number, line.label, line.text)).collect())
    }

    #[test]
    fn a_label_ends_at_the_first_space() {
        let lines = reading(b"1 a b \r\n\n  \nHUM:ind\twho ?\n0 x", Encoding::Utf8, 10).unwrap();
        let expected = [(1, "1", "a b"), (4, "HUM:ind", "who ?"), (5, "0", "x")];
        assert_eq!(lines, expected.map(|(number, label, text)| (number, label.to_owned(), text.to_owned())));
    }

    #[test]
    fn bytes_are_read_as_the_encoding_says() {
        let error = reading(b"1 fine\n1 caf\xe9\n", Encoding::Utf8, 10).unwrap_err();
        assert!(error.contains("texts:2: found ") && error.contains("`encoding: latin1`"), "{error}");
        assert_eq!(reading(b"1 caf\xe9\n", Encoding::Latin1, 10).unwrap()[0].2, "caf\u{e9}");
        assert_eq!(reading("1 caf\u{e9}\n".as_bytes(), Encoding::Utf8, 10).unwrap()[0].2, "caf\u{e9}");
    }

    #[test]
    fn a_mistake_has_its_line() {
        for (text, expected) in [
            ("1 a\n1\n", ":2: found \"1\", expected a label, a space, and a text"),
            ("1 a\n 1 b\n", ":2: found \" 1 b\", expected a label, a space, and a text"),
            (
                &format!("1 {}\n", "x".repeat(65_537)),
                ":1, column `text`: found 65537 bytes, expected a text of at most 65536 bytes",
            ),
            (&format!("{} a\n", "x".repeat(257)), "expected a label of at most 256 bytes"),
            ("1 a\n1 b\n1 c\n", ":3: found one more text, expected at most"),
        ] {
            let error = reading(text.as_bytes(), Encoding::Utf8, 2).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
