//! What a YAML mistake probably was: the parser names a rule of the syntax, a person wants to know what to change.

use std::ops::Range;

use crate::source::{Diagnostic, Sources, Span};

/// A mistake in the syntax at byte `at` of the piece `whole`, with help where the text around it shows a usual cause.
pub(super) fn syntax(sources: &Sources, whole: Span, at: usize, info: &str) -> Diagnostic {
    let text = sources.slice(whole);
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let start = line_start(text, at);
    // The parser often notices at the start of a line what went wrong at the end of the one before.
    for start in [start, line_start(text, start.saturating_sub(1))] {
        let line = text[start..].lines().next().unwrap_or("");
        if let Some(found) = tab(line) {
            return Diagnostic::new(whole.part(start + found, start + found + 1), "a tab where YAML wants spaces")
                .label("a tab")
                .help("indent with spaces");
        }
    }
    let block = block_start(text, start);
    let end = start + text[start..].find('\n').unwrap_or(text.len() - start);
    let flow = flow(&text[block..end]);
    if let Some((offset, value)) = flow.unquoted {
        let at = block + offset;
        return Diagnostic::new(whole.part(at, at + value.len()), format!("`{value}` must be quoted here"))
            .label("inside `{ }` and `[ ]` these are YAML's own marks")
            .help(format!("write \"{value}\""));
    }
    let end = text[at..].chars().next().map_or(0, |next| match next {
        '\n' => 0,
        next => next.len_utf8(),
    });
    let mistake = Diagnostic::new(whole.part(at, at + end), format!("this is not YAML: {info}"));
    match flow.open {
        Some(open) if info.contains("flow") => mistake.also(whole.part(block + open, block + open + 1), "this is not closed"),
        _ => mistake,
    }
}

/// A merge key, which YAML 1.2 has dropped.
pub(super) fn merge_key(span: Span) -> Diagnostic {
    Diagnostic::new(span, "`<<` merges mappings in YAML 1.1 only")
        .help("give the shared part a parameter and write \"${name}\", or put it into a manifest and use `extends`")
}

/// A tag, which a manifest has none of, as it is `written`.
pub(super) fn tag(span: Span, written: &str) -> Diagnostic {
    Diagnostic::new(span, format!("`{written}` is a YAML tag, and a manifest has none"))
        .help("leave it out: a value's type follows from how it is written")
}

/// Where the tag stands of the value at byte `at`: right before it, or with only an anchor or the mark of a block between.
pub(super) fn tag_before(text: &str, at: usize) -> Option<Range<usize>> {
    let mut before = text.get(..at)?.trim_end();
    loop {
        let start = before.rfind(|letter: char| letter.is_whitespace() || ",[{".contains(letter)).map_or(0, |end| end + 1);
        match before[start..].chars().next() {
            Some('!') => return Some(start..before.len()),
            Some('&' | '|' | '>') => before = before[..start].trim_end(),
            _ => return None,
        }
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the top-level block that holds byte `at` starts: the last line before it that is not indented.
fn block_start(text: &str, at: usize) -> usize {
    /// A block may be the whole manifest; a mistake is not noticed this far from its cause.
    const FARTHEST: usize = 64 * 1024;
    let mut start = at;
    while start > 0 && at - start < FARTHEST {
        if text[start..].starts_with(|first: char| first.is_alphanumeric() || first == '"') {
            break;
        }
        start = line_start(text, start - 1);
    }
    start
}

/// A tab in the indentation of a line.
fn tab(line: &str) -> Option<usize> {
    let indent = line.len() - line.trim_start().len();
    line[..indent].find('\t')
}

/// What went wrong within `{ }` and `[ ]`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flow<'a> {
    /// The first value that holds `${` or `[` without quotes: its byte, and the value.
    unquoted: Option<(usize, &'a str)>,
    /// Where the innermost bracket opens that is open at the end of the text.
    open: Option<usize>,
}

/// Follows the brackets of a text that begins outside of any.
fn flow(text: &str) -> Flow<'_> {
    let bytes = text.as_bytes();
    let after = |at: usize| bytes.get(at + 1).copied();
    let mut quote = None;
    let mut open: Vec<usize> = Vec::new();
    // Whether a value or key may begin here, and where the present one began.
    let (mut fresh, mut start) = (true, 0);
    let mut comment = false;
    for (at, letter) in text.char_indices() {
        let depth = open.len();
        if comment || quote.is_some() {
            comment = comment && letter != '\n';
            quote = quote.filter(|open| *open != letter);
            fresh = fresh || (letter == '\n' && depth == 0);
            continue;
        }
        match letter {
            '\n' => fresh = fresh || depth == 0,
            '#' if at == 0 || bytes[at - 1].is_ascii_whitespace() => comment = true,
            ' ' | '\t' | '\r' => {}
            '"' | '\'' if fresh => {
                quote = Some(letter);
                fresh = false;
            }
            '$' if depth > 0 && after(at) == Some(b'{') => {
                let from = if fresh { at } else { start };
                let close = text[at..].find('}').map_or(text.len(), |length| at + length + 1);
                let rest = text[close..].find([',', '}', ']', ' ', '\n']);
                let value = &text[from..rest.map_or(text.len(), |rest| close + rest)];
                return Flow { unquoted: Some((from, value)), open: None };
            }
            '[' if depth > 0 && !fresh => {
                let close = text[at..].find(']').map_or(text.len(), |length| at + length + 1);
                return Flow { unquoted: Some((start, &text[start..close])), open: None };
            }
            '{' | '[' if fresh || depth > 0 => {
                open.push(at);
                fresh = true;
            }
            '}' | ']' if depth > 0 => {
                open.pop();
                fresh = false;
            }
            ',' if depth > 0 => fresh = true,
            ':' if depth > 0 || after(at).is_none_or(|next| next.is_ascii_whitespace()) => fresh = true,
            '-' if fresh && after(at) == Some(b' ') => {}
            _ if fresh => {
                fresh = false;
                start = at;
            }
            _ => {}
        }
    }
    Flow { unquoted: None, open: open.last().copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_open_bracket_is_found() {
        assert_eq!(flow("a: { b: [1, 2], c: [3").open, Some(19));
        assert_eq!(flow("a: { b: 1 }\nc: {").open, Some(15));
        assert_eq!(flow("a: { b: \"{\" }").open, None);
    }

    #[test]
    fn values_that_need_quotes_are_found() {
        let value = |text| flow(text).unquoted.map(|(_, value)| value);
        assert_eq!(value("    split: { rows: a, seed: ${seed} }"), Some("${seed}"));
        assert_eq!(value("  a: { name: run-${seed}, b: 1 }"), Some("run-${seed}"));
        assert_eq!(value("  a: { name: ${x}-run }"), Some("${x}-run"));
        assert_eq!(value("  a: { models: student[method=talk] }"), Some("student[method=talk]"));
        assert_eq!(value("  a: { hidden: [128, 64], name: \"${x}\" }"), None);
        assert_eq!(value("a: { b: 1,\n  c: ${x},\n  d: 2 }"), Some("${x}"));
        assert_eq!(value("  a: { b: 1 }  # { c: ${x} }"), None);
        assert_eq!(value("  - [a, b]\n  - c[d]\n  - ${e}\n  - \"{\"\n  - don't { ${f} }"), None);
    }
}
