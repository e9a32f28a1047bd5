//! Places in text, and mistakes that point at them.
//!
//! A run reads several texts: the manifest, the manifests it extends, and what was typed after `--set`. [`Sources`] keeps
//! them all, a [`Span`] is a piece of one of them, and a [`Diagnostic`] says what is wrong there and what to do about it.
//! This room knows nothing of YAML, of stages or of terminals: it turns a mistake into plain text or into data.

mod render;
mod suggest;

use std::path::{Path, PathBuf};

pub use suggest::{did_you_mean, one_of};

/// Names one text of a [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A piece of one text: bytes `start..end`, which lie on character boundaries.
///
/// Spans order by text in the order the texts were added, then by where they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The smallest piece that holds both this one and `other`, which must be of the same text.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The piece `start..end` of this one, in bytes counted from its start.
    #[must_use]
    pub fn part(self, start: usize, end: usize) -> Self {
        let at = |offset: usize| {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            self.start.saturating_add(offset).min(self.end)
        };
        Self { source: self.source, start: at(start), end: at(end) }
    }
}

/// Where a [`Span`] starts, as a person counts: from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

#[derive(Clone, Debug)]
struct Source {
    /// What a message calls it: the path as given, or `--set`.
    name: String,
    /// The file it was read from; `None` for what was typed on the command line.
    path: Option<PathBuf>,
    text: String,
    /// Where each line starts, in bytes.
    lines: Vec<u32>,
}

/// All the texts that one plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// Adds the text of a file. Texts must be shorter than 4 GiB; the caller checks sizes long before that.
    pub fn add_file(&mut self, path: &Path, text: String) -> SourceId {
        self.add(path.display().to_string(), Some(path.to_owned()), text)
    }

    /// Adds a text that stands in no file, called `name` in messages.
    pub fn add_text(&mut self, name: &str, text: String) -> SourceId {
        self.add(name.to_owned(), None, text)
    }

    fn add(&mut self, name: String, path: Option<PathBuf>, text: String) -> SourceId {
        let after = |(at, _): (usize, &str)| u32::try_from(at + 1).unwrap_or(u32::MAX);
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(after)).collect();
        let id = SourceId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(Source { name, path, text, lines });
        id
    }

    /// The whole of a text as a span.
    #[must_use]
    pub fn whole(&self, id: SourceId) -> Span {
        Span { source: id, start: 0, end: u32::try_from(self.text(id).len()).unwrap_or(u32::MAX) }
    }

    /// What messages call a text.
    #[must_use]
    pub fn name(&self, id: SourceId) -> &str {
        self.get(id).map_or("", |source| &source.name)
    }

    /// The file a text was read from.
    #[must_use]
    pub fn path(&self, id: SourceId) -> Option<&Path> {
        self.get(id)?.path.as_deref()
    }

    /// Every file a text was read from, or should have been.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.list.iter().filter_map(|source| source.path.as_deref())
    }

    /// Every text that was read from a file, in the order in which they were added.
    pub fn file_texts(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter(|source| source.path.is_some()).map(|source| source.text.as_str())
    }

    /// A text.
    #[must_use]
    pub fn text(&self, id: SourceId) -> &str {
        self.get(id).map_or("", |source| &source.text)
    }

    /// The piece of text a span names.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.source).get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Where a span starts.
    #[must_use]
    pub fn position(&self, span: Span) -> Position {
        let (line, start) = self.line_of(span.source, span.start);
        let before = self.slice(Span { source: span.source, start, end: span.start });
        Position { line: line + 1, column: before.chars().count() + 1 }
    }

    /// `file:line:column` of a span's start; `--set talk.rounds=2` for what was typed on the command line.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let Some(source) = self.get(span.source) else {
            return String::new();
        };
        if source.path.is_none() {
            return format!("{} {}", source.name, source.text);
        }
        let Position { line, column } = self.position(span);
        format!("{}:{line}:{column}", source.name)
    }

    /// The span of `text` within `span`, where it stands there as it is, perhaps quoted.
    #[must_use]
    pub fn find_inside(&self, span: Span, text: &str) -> Option<Span> {
        let written = self.slice(span);
        let bare = written.trim_matches(['"', '\'']);
        if bare != text {
            return None;
        }
        let start = written.find(bare)?;
        Some(span.part(start, start + bare.len()))
    }

    /// Which of two texts has the last word: what was typed, then the manifest, then what it extends, and so on. Texts are
    /// added in this order but for what was typed, which always wins, the last of it first.
    #[must_use]
    pub fn priority(&self, id: SourceId) -> impl Ord + Copy + use<> {
        match self.path(id) {
            None => (1, i64::from(id.0)),
            Some(_) => (0, -i64::from(id.0)),
        }
    }

    fn get(&self, id: SourceId) -> Option<&Source> {
        self.list.get(id.0 as usize)
    }

    /// The line (from 0) that holds byte `at`, and where that line starts.
    fn line_of(&self, id: SourceId, at: u32) -> (usize, u32) {
        let lines = self.get(id).map_or(&[0][..], |source| &source.lines);
        let line = lines.partition_point(|start| *start <= at) - 1;
        (line, lines[line])
    }
}

/// A place with a few words about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What it has to do with the mistake; may be empty.
    pub text: String,
}

/// One mistake in what the user wrote: what is wrong, where, and what to do.
///
/// ```
/// use talkflow::source::{Diagnostic, Sources};
///
/// let mut sources = Sources::default();
/// let id = sources.add_text("m.yaml", "rows: splt\n".to_owned());
/// let span = sources.whole(id).part(6, 10);
/// let mistake = Diagnostic::new(span, "there is no stage `splt`").help("did you mean `split`?");
/// assert!(mistake.render(&sources).contains("m.yaml:1:7"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where it is wrong.
    pub primary: Label,
    /// Other places that explain it: the first of two equal keys, where a parameter is used.
    pub secondary: Vec<Label>,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    #[must_use]
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            message: clip(message.into()),
            primary: Label { span, text: String::new() },
            secondary: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// The same, with words under the caret.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = clip(text.into());
        self
    }

    /// The same, with another place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: clip(text.into()) });
        self
    }

    /// The same, with a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(clip(text.into()));
        self
    }

    /// The same, with what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(clip(text.into()));
        self
    }

    /// The same, with what to do where something is known.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.map(clip).or(self.help);
        self
    }

    /// What tells two mistakes apart. One value can be wrong in many places, and in each instance of a matrix stage: it is one
    /// mistake.
    fn identity(&self) -> (Span, &str) {
        (self.primary.span, &self.message)
    }
}

/// Cuts a text that holds an absurdly long name.
fn clip(text: String) -> String {
    const LONGEST: usize = 1000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// All the mistakes that were found, sorted by place, each once, with the texts they point into.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.render())]
pub struct Diagnostics {
    sources: Sources,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts mistakes by place and says each once, with the other places of all its repetitions.
    #[must_use]
    pub fn new(sources: Sources, mut list: Vec<Diagnostic>) -> Self {
        /// More places than this explain no more.
        const PLACES: usize = 3;
        list.sort_by(|a, b| a.identity().cmp(&b.identity()));
        list.dedup_by(|again, first| {
            let same = again.identity() == first.identity();
            if same {
                for label in again.secondary.drain(..) {
                    if first.secondary.len() < PLACES && !first.secondary.contains(&label) {
                        first.secondary.push(label);
                    }
                }
            }
            same
        });
        Self { sources, list }
    }

    /// The mistakes.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The texts they point into.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> (Sources, Span) {
        let mut sources = Sources::default();
        let id = sources.add_file(Path::new("m.yaml"), text.to_owned());
        let whole = sources.whole(id);
        (sources, whole)
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let (sources, whole) = text("a: ä\nß: x\n");
        let start = whole.part(10, 11);
        assert_eq!(sources.slice(start), "x");
        assert_eq!(sources.position(start), Position { line: 2, column: 4 });
        assert_eq!(sources.place(start), "m.yaml:2:4");
        let end = whole.part(12, 12);
        assert_eq!(sources.position(end), Position { line: 3, column: 1 });
    }

    #[test]
    fn what_was_typed_is_its_own_place() {
        let mut sources = Sources::default();
        let id = sources.add_text("--set", "talk.rounds=2".to_owned());
        assert_eq!(sources.place(sources.whole(id)), "--set talk.rounds=2");
    }

    #[test]
    fn mistakes_are_sorted_by_place_and_said_once() {
        let (sources, whole) = text("abc");
        let late = Diagnostic::new(whole.part(2, 3), "late");
        let early = Diagnostic::new(whole.part(0, 1), "early");
        let seen_from = |at: usize| late.clone().also(whole.part(at, at + 1), "used here");
        let all = Diagnostics::new(sources, vec![seen_from(0), early.clone(), seen_from(1), seen_from(0)]);
        assert_eq!(all.list(), [early, seen_from(0).also(whole.part(1, 2), "used here")]);
    }
}
