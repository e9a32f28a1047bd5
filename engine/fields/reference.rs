//! How a reference to a stage is written: `split`, or `student[genre=Western,method=talk]`.

use crate::source::{Diagnostic, Span};

/// A word and the byte at which it starts.
pub(crate) type Word<'a> = (usize, &'a str);

/// A reference taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// Axis and value of each selection; `None` where there are no brackets.
    pub selection: Option<Vec<(Word<'a>, Word<'a>)>>,
}

/// Why a reference means nothing; without a mistake where that of the stage it names was already reported.
#[derive(Debug)]
pub(crate) struct Lost(pub Option<Box<Diagnostic>>);

impl From<Diagnostic> for Lost {
    fn from(mistake: Diagnostic) -> Self {
        Self(Some(Box::new(mistake)))
    }
}

impl<'a> Reference<'a> {
    /// Takes `text`, which stands at `span`, apart.
    pub(crate) fn parse(text: &'a str, span: Span) -> Result<Self, Lost> {
        let wrong = |message: String| {
            let help = "a reference is `stage` or \"stage[axis=value,axis=value]\"";
            Lost::from(Diagnostic::new(span, message).help(help))
        };
        let Some(open) = text.find('[') else {
            if text.trim().is_empty() || text.contains([']', '=', ',']) {
                return Err(wrong(format!("`{text}` is not a reference to a stage")));
            }
            let selection = None;
            return Ok(Self { stage: text, selection });
        };
        let Some(inside) = text[open + 1..].strip_suffix(']') else {
            return Err(wrong(format!("`{text}` does not end with `]`")));
        };
        let trimmed = |start: usize, word: &'a str| {
            let skipped = word.len() - word.trim_start().len();
            (start + skipped, word.trim())
        };
        let mut selection: Vec<(Word<'a>, Word<'a>)> = Vec::new();
        let mut start = open + 1;
        for pair in inside.split(',') {
            let Some((axis, value)) = pair.split_once('=') else {
                return Err(wrong(format!("`{}` in `{text}` is not `axis=value`", pair.trim())));
            };
            let value = trimmed(start + pair.len() - value.len(), value);
            let axis = trimmed(start, axis);
            if selection.iter().any(|(known, _)| known.1 == axis.1) {
                return Err(wrong(format!("`{text}` selects `{}` twice", axis.1)));
            }
            selection.push((axis, value));
            start += pair.len() + 1;
        }
        Ok(Self { stage: &text[..open], selection: Some(selection) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn parse(text: &str) -> Option<Reference<'_>> {
        let mut sources = Sources::default();
        let id = sources.add_text("m.yaml", text.to_owned());
        Reference::parse(text, sources.whole(id)).ok()
    }

    #[test]
    fn references_are_taken_apart_with_the_place_of_each_word() {
        let plain = Reference { stage: "split", selection: None };
        assert_eq!(parse("split"), Some(plain));
        let both = vec![((2, "b"), (4, "Film-Noir")), ((15, "c"), (19, "d e"))];
        let selected = Reference { stage: "a", selection: Some(both) };
        assert_eq!(parse("a[b=Film-Noir, c = d e]"), Some(selected));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in ["", " ", "a]", "a=b", "a,b", "a[b=c", "a[b=c]d", "a[b]", "a[]", "a[b=c,b=d]"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
