//! Mistakes as a person reads them: file, line, column, and the line itself with a caret.

use std::fmt::Write;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Label, SourceId, Sources, Span};

/// More mistakes than this help nobody.
const SHOWN: usize = 100;
/// A longer stretch of text between two places is not worth printing; nor is a longer line.
const LONGEST: u32 = 64 * 1024;

impl Diagnostic {
    /// The mistake as plain text, without colour, ending without a line break.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        self.render_with(sources, &Renderer::plain().decor_style(DecorStyle::Ascii))
    }

    fn render_with(&self, sources: &Sources, renderer: &Renderer) -> String {
        let mut parts: Vec<Element<'_>> = Vec::new();
        for (source, labels) in self.by_source() {
            parts.extend(snippet(sources, source, &labels));
        }
        for note in &self.notes {
            parts.push(Level::NOTE.message(note.as_str()).into());
        }
        if let Some(help) = &self.help {
            parts.push(Level::HELP.message(help.as_str()).into());
        }
        let group: Group<'_> = Level::ERROR.primary_title(self.message.as_str()).elements(parts);
        renderer.render(&[group])
    }

    /// The places of each text, the text of the primary place first; whether a place is the primary one.
    fn by_source(&self) -> Vec<(SourceId, Vec<(&Label, bool)>)> {
        let first = self.primary.span.source;
        let mut groups = vec![(first, vec![(&self.primary, true)])];
        for label in &self.secondary {
            let source = label.span.source;
            match groups.iter_mut().find(|(id, _)| *id == source) {
                Some((_, labels)) => labels.push((label, false)),
                None => groups.push((source, vec![(label, false)])),
            }
        }
        groups
    }
}

/// The lines of one text that hold the given places. Only these are handed to the renderer, which would otherwise walk
/// the whole text once a mistake; places too far apart get a snippet each.
fn snippet<'a>(sources: &'a Sources, source: SourceId, labels: &[(&'a Label, bool)]) -> Vec<Element<'a>> {
    let lines = |span: Span| {
        let text = sources.text(source);
        let (line, start) = sources.line_of(source, span.start);
        let rest = text.get(span.end as usize..).unwrap_or("");
        let end = span.end as usize + rest.find('\n').unwrap_or(rest.len());
        (line, start, end)
    };
    let Some(all) = labels.iter().map(|(label, _)| label.span).reduce(Span::to) else {
        return Vec::new();
    };
    let (line, start, end) = lines(all);
    if end - start as usize > LONGEST as usize {
        if let [(label, _)] = labels {
            let position = sources.position(label.span);
            let origin = Origin::path(sources.name(source)).line(position.line).char_column(position.column);
            return vec![origin.into()];
        }
        let one = |label| snippet(sources, source, std::slice::from_ref(label));
        return labels.iter().flat_map(one).collect();
    }
    let text = sources.text(source).get(start as usize..end).unwrap_or("");
    let mut snippet = Snippet::source(text).path(sources.name(source)).line_start(line + 1);
    for (label, primary) in labels {
        let range = (label.span.start - start) as usize..(label.span.end - start) as usize;
        // Only a place has a line of its own: of a whole block the first line says enough.
        let first = text[range.clone()].find('\n').map_or(range.end, |at| range.start + at);
        let kind = match primary {
            true => AnnotationKind::Primary,
            false => AnnotationKind::Context,
        };
        let words = (!label.text.is_empty()).then_some(label.text.as_str());
        snippet = snippet.annotation(kind.span(range.start..first).label(words));
    }
    vec![snippet.into()]
}

impl Diagnostics {
    /// All mistakes as plain text, and how many there are.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_as(&Renderer::plain().decor_style(DecorStyle::Ascii))
    }

    /// The same with colours, for a terminal.
    #[must_use]
    pub fn render_styled(&self) -> String {
        self.render_as(&Renderer::styled().decor_style(DecorStyle::Ascii))
    }

    fn render_as(&self, renderer: &Renderer) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for mistake in self.list.iter().take(SHOWN) {
            text.push_str(&mistake.render_with(&self.sources, renderer));
            text.push_str("\n\n");
        }
        match self.list.len() {
            1 => text.push_str("1 mistake; nothing was run"),
            count if count > SHOWN => {
                let _ = write!(text, "the first {SHOWN} of at least {count} mistakes; nothing was run");
            }
            count => {
                let _ = write!(text, "{count} mistakes; nothing was run");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_mistake_shows_its_line_and_what_to_do() {
        let mut sources = Sources::default();
        let id = sources.add_file(Path::new("m.yaml"), "a: 1\nrows: splt\nb: 2\n".to_owned());
        let span = sources.whole(id).part(11, 15);
        let mistake = Diagnostic::new(span, "there is no stage `splt`").label("not a stage").help("did you mean `split`?");
        insta::assert_snapshot!(mistake.render(&sources), @r"
        error: there is no stage `splt`
         --> m.yaml:2:7
          |
        2 | rows: splt
          |       ^^^^ not a stage
          |
          = help: did you mean `split`?
        ");
    }

    #[test]
    fn places_in_two_files_are_both_shown() {
        let mut sources = Sources::default();
        let base = sources.add_file(Path::new("base.yaml"), "seed: x\n".to_owned());
        let typed = sources.add_text("--set", "seed=y".to_owned());
        let mistake = Diagnostic::new(sources.whole(typed).part(5, 6), "a number is needed")
            .also(sources.whole(base).part(0, 4), "the parameter");
        insta::assert_snapshot!(mistake.render(&sources), @r"
        error: a number is needed
         --> --set:1:6
          |
        1 | seed=y
          |      ^
          |
         ::: base.yaml:1:1
          |
        1 | seed: x
          | ---- the parameter
        ");
    }

    #[test]
    fn a_huge_line_is_named_but_not_printed() {
        let mut sources = Sources::default();
        let text = format!("{}oops", " ".repeat(1 << 20));
        let id = sources.add_file(Path::new("m.yaml"), text);
        let span = sources.whole(id).part(1 << 20, (1 << 20) + 4);
        let shown = Diagnostic::new(span, "wrong").render(&sources);
        assert!(shown.len() < 200, "{}", shown.len());
        assert!(shown.contains("m.yaml:1:1048577"), "{shown}");
    }
}
