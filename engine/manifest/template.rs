//! Text with `${...}` in it, taken apart.

use crate::source::{Diagnostic, Span};

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// What stands between `${` and `}`: names joined by dots.
    Reference {
        /// The names.
        path: &'a str,
        /// Where `${` starts, in bytes.
        start: usize,
        /// One past `}`.
        end: usize,
    },
}

/// Whether a text has anything to resolve or unescape.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("${")
}

/// Takes a text apart; `$${` is the text `${`. `at` gives the place of a range of bytes.
pub(super) fn pieces<'a>(
    text: &'a str,
    at: impl Fn(usize, usize) -> Span,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Vec<Piece<'a>>> {
    let mut pieces = Vec::new();
    let mut done = 0;
    let mut whole = true;
    while let Some(found) = text[done..].find("${") {
        let start = done + found;
        if text[..start].ends_with('$') && start > done {
            // `$${`: what stands before the first `$`, and `${` as it is.
            push(&mut pieces, &text[done..start - 1]);
            push(&mut pieces, &text[start..start + 2]);
            done = start + 2;
            continue;
        }
        push(&mut pieces, &text[done..start]);
        let Some(length) = text[start..].find('}') else {
            mistakes.push(Diagnostic::new(at(start, text.len()), "this `${` has no `}`").help("write `$${` for the text `${`"));
            return None;
        };
        let end = start + length + 1;
        let path = text[start + 2..end - 1].trim();
        if path.split('.').all(is_name) {
            pieces.push(Piece::Reference { path, start, end });
        } else {
            whole = false;
            mistakes.push(
                Diagnostic::new(at(start, end), format!("`{}` is not the name of a value", &text[start..end])).help(
                    "between `${` and `}` stand names joined by dots, and no expression: `${talk.rounds}`, `${matrix.genre}`, `${env.HOME}`",
                ),
            );
        }
        done = end;
    }
    push(&mut pieces, &text[done..]);
    whole.then_some(pieces)
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

/// Whether a word can be a name in `${...}` and in the names of stages and axes: letters, digits, `_` and `-`.
#[must_use]
pub fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn take_apart(text: &str) -> (Option<Vec<Piece<'_>>>, usize) {
        let mut sources = Sources::default();
        let id = sources.add_text("m", text.to_owned());
        let mut mistakes = Vec::new();
        let whole = sources.whole(id);
        let pieces = pieces(text, |start, end| whole.part(start, end), &mut mistakes);
        (pieces, mistakes.len())
    }

    #[test]
    fn references_and_escapes_are_found() {
        let reference = |path, start, end| Piece::Reference { path, start, end };
        let table = [
            ("${a}", vec![reference("a", 0, 4)]),
            ("x-${a.b}-${ c }", vec![Piece::Text("x-"), reference("a.b", 2, 8), Piece::Text("-"), reference("c", 9, 15)]),
            ("$${a}", vec![Piece::Text("${"), Piece::Text("a}")]),
            ("a$$b $c", vec![Piece::Text("a$$b $c")]),
            ("${a}$${b}", vec![reference("a", 0, 4), Piece::Text("${"), Piece::Text("b}")]),
        ];
        for (text, expected) in table {
            assert_eq!(take_apart(text), (Some(expected), 0), "{text}");
        }
    }

    #[test]
    fn expressions_and_open_ends_are_refused() {
        for text in ["${a", "${}", "${a+1}", "${a..b}", "${a.b.}", "${a b}"] {
            assert_eq!(take_apart(text), (None, 1), "{text}");
        }
    }
}
