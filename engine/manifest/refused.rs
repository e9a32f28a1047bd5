//! What is said where `serde_saphyr` ends the reading of a text with an error, and whether it can be read on.
//!
//! The library stops at an alias that names nothing and at a tag that its value contradicts. Neither keeps the rest of a
//! manifest from being checked: they are passed over, and the text is read again. What else ends a reading ends it for good.

use std::ops::Range;

use serde_saphyr::{DefaultMessageFormatter, Error, Location, MessageFormatter, budget::BudgetBreach};

use super::hints;
use super::yaml::{DEEPEST, MOST_NODES};
use crate::source::{Diagnostic, Sources, Span};

/// A text that was not read to its end.
pub(super) struct Refused {
    pub mistake: Diagnostic,
    /// What to pass over in order to read on.
    pub passed: Option<Passed>,
}

/// A piece of text, in bytes, that was reported and is in the way.
pub(super) struct Passed {
    pub range: Range<usize>,
    /// Whether a value or key is missing without it: it is an alias and not a tag.
    pub alias: bool,
}

impl Passed {
    /// As many bytes that say nothing. A value that is left out would make the text another; a null does not.
    pub(super) fn instead(&self) -> String {
        let first = if self.alias { "~" } else { " " };
        format!("{first:<width$}", width = self.range.len())
    }
}

/// Finds the words for an error, and the way around it where there is one.
///
/// `read` is the text as the library read it: the piece `whole`, with what was passed over before written over.
pub(super) fn refused(sources: &Sources, whole: Span, read: &str, error: &Error) -> Refused {
    let text = sources.slice(whole);
    let at = error.location().map_or(0, |location| byte(read, location));
    let mut error = error.without_snippet();
    while let Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let end = |mistake| Refused { mistake, passed: None };
    let here = whole.part(at, at + text[at..].chars().next().map_or(0, char::len_utf8));
    match error {
        Error::UnknownAnchor { .. } | Error::RecursiveReferencesRequireWeakTypes { .. } => {
            let name = text[at..].split([' ', '\t', '\r', '\n', ',', '[', ']', '{', '}']).next().unwrap_or("");
            let range = at..at + name.len();
            let span = whole.part(range.start, range.end);
            let mistake = match error {
                Error::UnknownAnchor { .. } => {
                    let name = name.trim_start_matches('*');
                    Diagnostic::new(span, format!("there is no anchor `&{name}` before this"))
                        .help("quote text that starts with `*`")
                }
                _ => Diagnostic::new(span, "this alias stands inside of what it names"),
            };
            Refused { mistake, passed: name.starts_with('*').then_some(Passed { range, alias: true }) }
        }
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => end(Diagnostic::new(
            whole.part(at, at + if text[at..].starts_with("---") { 3 } else { 0 }),
            "a second document starts here",
        )
        .help("a manifest is one document: put each manifest into a file of its own")),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            let message = format!("this stands in more than {DEEPEST} lists and mappings");
            end(Diagnostic::new(here, message).help("no setting of a manifest is that deep"))
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            let message = format!("this manifest unfolds to more than {MOST_NODES} values");
            let help = "aliases (`*name`) count as often as they are used; a matrix makes many stages out of few lines";
            end(Diagnostic::new(here, message).help(help))
        }
        Error::ExternalMessage { msg, .. } => end(hints::syntax(sources, whole, at, msg)),
        other => match hints::tag_before(text, at) {
            Some(range) => {
                let mistake = hints::tag(whole.part(range.start, range.end), &text[range.clone()]);
                Refused { mistake, passed: Some(Passed { range, alias: false }) }
            }
            None => end(hints::syntax(sources, whole, at, &DefaultMessageFormatter.format_message(other))),
        },
    }
}

/// The byte that a location names. The places of syntax errors are known in characters only.
fn byte(text: &str, location: Location) -> usize {
    let span = location.span();
    let bytes = span.byte_offset().and_then(|at| usize::try_from(at).ok());
    let characters = || text.char_indices().map(|(at, _)| at).nth(usize::try_from(span.offset()).ok()?);
    bytes.or_else(characters).unwrap_or(text.len()).min(text.len())
}
