//! YAML text to located nodes: `serde_saphyr` reads it through serde within a budget, and this room makes the tree.
//!
//! Every value *and key* comes with its place ([`Spanned`]), and keys that are written twice come through, so that a text's
//! mistakes are all reported and not only its first. Which type a word has is not taken from the library: `scalar` decides
//! that from the text itself. What a refused text gets for a message is decided in `refused`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use indexmap::map::Entry as Slot;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, NonFiniteFloatPolicy, Options, Spanned, Tagged};

use super::hints;
use super::node::{Entry, Map, Node, Value};
use super::refused::{Refused, refused};
use super::scalar::scalar;
use crate::source::{Diagnostic, Sources, Span};

/// Room for 10 000 stages of fifty values each, and read within a second.
pub(super) const MOST_NODES: usize = 500_000;
/// Twice as deep as any manifest. The library's reading is recursive, and each level of it needs much of the stack.
pub(super) const DEEPEST: usize = 16;
/// The most duplicate keys, tags and the like to report from one text.
const MOST_MISTAKES: usize = 1_000;
/// How often a text is read again to find what stands after an alias or a tag that ends the reading.
const MOST_READINGS: usize = 20;

/// Reads the piece `whole` of a text, which holds one YAML document.
///
/// The mistakes found are added to `mistakes`; there is no node where the text could not be read to its end. An empty
/// document reads as [`Value::Null`].
pub fn parse(sources: &Sources, whole: Span, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut text = Cow::Borrowed(sources.slice(whole));
    let mut builder =
        Builder { text: sources.slice(whole), whole, built: HashMap::new(), broken: Vec::new(), mistakes: Vec::new() };
    let mut readings = 1;
    let read: Read = loop {
        let error = match serde_saphyr::from_str_with_options(&text, options()) {
            Ok(read) => break read,
            Err(error) => error,
        };
        let Refused { mistake, passed } = refused(sources, whole, &text, &error);
        builder.mistakes.push(mistake);
        let Some(passed) = passed.filter(|_| readings < MOST_READINGS) else {
            mistakes.append(&mut builder.mistakes);
            return None;
        };
        readings += 1;
        // What was reported is written over with nothing, in as many bytes: all places stay what they are.
        text.to_mut().replace_range(passed.range.clone(), &passed.instead());
        builder.broken.extend(passed.alias.then_some(passed.range));
    };
    let mut node = builder.node(read);
    if node.span.start == node.span.end {
        // An empty document is read as a null at its end; a message about it stands at its start.
        node.span = whole.part(0, 0);
    }
    let (most, broken) = (builder.mistakes.len() >= MOST_MISTAKES, !builder.mistakes.is_empty());
    mistakes.append(&mut builder.mistakes);
    // Duplicate keys, tags and unknown anchors leave a tree that is worth checking further.
    Some(node).filter(|node| !most && (!broken || matches!(node.value, Value::Map(_))))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_NODES,
            // An end for every start, and the document's own.
            max_events: 2 * MOST_NODES + 10,
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
            max_documents: 1,
            max_aliases: MOST_NODES,
            max_anchors: MOST_NODES,
            max_recorded_anchor_events: 2 * MOST_NODES,
            // One anchor that ten thousand stages share is no bomb: what it unfolds to is counted.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_NODES,
            max_replay_stack_depth: DEEPEST,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// A value or key as the library reads it: with its tag, where it stands, and where the alias stands that it came through.
type Read = Spanned<Tagged<Shape>>;

/// What a [`Read`] is, typed no further than the tree needs.
enum Shape {
    /// Null, a switch or a number to the library, in one plain word: it is typed from the text.
    Word,
    Text(Arc<str>),
    List(Vec<Read>),
    Map(Vec<(Read, Read)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Word)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Word)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Word)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Word)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Word)
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Shape::Map(map))
    }
}

struct Builder<'a> {
    text: &'a str,
    whole: Span,
    /// Lists and mappings by where they start, for the aliases that name them: these share what is built, and what is wrong
    /// in it is said once. A mapping may start where a list does that is its first key.
    built: HashMap<(usize, bool), Node>,
    /// The aliases that were reported and passed over.
    broken: Vec<Range<usize>>,
    mistakes: Vec<Diagnostic>,
}

impl Builder<'_> {
    /// The bytes a location names, counted from the start of the piece.
    fn range(&self, location: Location) -> (usize, usize) {
        let span = location.span();
        let bytes = |count: Option<u64>| count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        let start = bytes(span.byte_offset());
        (start, start + bytes(span.byte_len()))
    }

    fn span(&self, location: Location) -> Span {
        let (start, end) = self.range(location);
        self.whole.part(start, end)
    }

    /// A value. One that came through an alias keeps the place where it was written.
    fn node(&mut self, read: Read) -> Node {
        let Spanned { value: Tagged(shape, tag), referenced, defined } = read;
        let (start, end) = self.range(defined);
        let is_map = matches!(shape, Shape::Map(_));
        if referenced == defined {
            self.tag(tag.as_deref(), defined);
        } else if let Some(node) = self.built.get(&(start, is_map)) {
            return node.clone();
        }
        let (value, last) = match shape {
            Shape::Text(text) => (Value::Text(text), None),
            Shape::Word => match self.broken(start) {
                Some(alias) => return Node::new(self.whole.part(alias.start, alias.end), Value::Broken),
                None => (scalar(&self.text[start..end]), None),
            },
            Shape::List(items) => {
                let last = items.last().map(|item| item.referenced);
                let items: Vec<Node> = items.into_iter().map(|item| self.node(item)).collect();
                let last = last.map(|last| self.end(last, items.last()));
                (Value::List(items.into()), last)
            }
            Shape::Map(entries) => {
                let last = entries.last().map(|(_, value)| value.referenced);
                let (map, node) = self.map(entries);
                let last = last.map(|last| self.end(last, node.as_ref()));
                (Value::Map(Arc::new(map)), last)
            }
        };
        let end = match value {
            Value::List(_) | Value::Map(_) => self.closed(start, end, last),
            _ => end,
        };
        let node = Node::new(self.whole.part(start, end), value);
        if matches!(node.value, Value::List(_) | Value::Map(_)) {
            self.built.insert((start, is_map), node.clone());
        }
        node
    }

    /// Where the last value of a list or mapping ends: the alias, or the value that stands there.
    fn end(&self, referenced: Location, node: Option<&Node>) -> usize {
        let (start, end) = self.range(referenced);
        let within = |byte: u32| (byte - self.whole.start) as usize;
        let there = node.filter(|node| within(node.span.start) == start);
        there.map_or(end, |node| within(node.span.end))
    }

    /// Where a list or mapping ends: at its bracket, or, having none, where its last value ends.
    fn closed(&self, start: usize, opened: usize, last: Option<usize>) -> usize {
        let last = last.unwrap_or(opened).max(opened);
        if !self.text[start..].starts_with(['{', '[']) {
            return last;
        }
        let mut rest = &self.text[last..];
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',', ':', '?']);
            match rest.chars().next() {
                Some('#') => rest = rest.find('\n').map_or("", |newline| &rest[newline..]),
                Some('}' | ']') => return self.text.len() - rest.len() + 1,
                _ => return last,
            }
        }
    }

    /// The alias that stood at byte `start`, where it was passed over.
    fn broken(&self, start: usize) -> Option<&Range<usize>> {
        self.broken.iter().find(|alias| alias.start == start)
    }

    /// The entries of a mapping, and its last value. Of two equal keys the first stays.
    fn map(&mut self, entries: Vec<(Read, Read)>) -> (Map, Option<Node>) {
        let mut map = Map::with_capacity(entries.len());
        let mut last = None;
        for (key, value) in entries {
            let key = self.key(key);
            let node = self.node(value);
            last = Some(node.clone());
            let Some((name, span)) = key else { continue };
            match map.entry(name) {
                Slot::Vacant(slot) => {
                    slot.insert(Entry { key: span, node });
                }
                Slot::Occupied(slot) => {
                    let mistake = Diagnostic::new(span, format!("`{}` is written twice", slot.key())).label("the second");
                    self.report(mistake.also(slot.get().key, "the first"));
                }
            }
        }
        (map, last)
    }

    /// A key as it is written, and where; `None` for a bad one, which is reported.
    fn key(&mut self, read: Read) -> Option<(String, Span)> {
        let Spanned { value: Tagged(shape, tag), referenced, defined } = read;
        let span = self.span(referenced);
        self.tag(tag.as_deref().filter(|_| referenced == defined), defined);
        let (start, end) = self.range(defined);
        let written = &self.text[start..end];
        let name = match &shape {
            Shape::Text(text) => text.as_ref(),
            Shape::Word if self.broken(start).is_some() => return None,
            Shape::Word if written.is_empty() => "~",
            Shape::Word => written,
            Shape::List(_) | Shape::Map(_) => {
                let mistake = Diagnostic::new(span, "a key must be a word or text, not a list or a mapping");
                self.report(mistake.help("quote a value that starts with `{` or `[`"));
                return None;
            }
        };
        if written == "<<" {
            self.report(hints::merge_key(span));
        } else if name.contains("${") {
            let mistake = Diagnostic::new(span, "`${` stands in a key");
            self.report(mistake.help("a key is written out; only values can be taken from parameters"));
        } else {
            return Some((name.to_owned(), span));
        }
        None
    }

    fn tag(&mut self, tag: Option<&str>, at: Location) {
        if let Some(tag) = tag {
            let found = hints::tag_before(self.text, self.range(at).0);
            self.report(match found {
                Some(range) => hints::tag(self.whole.part(range.start, range.end), &self.text[range]),
                None => hints::tag(self.span(at), tag),
            });
        }
    }

    fn report(&mut self, mistake: Diagnostic) {
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(mistake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text reads as, each value and key with the text it stands for, and then what is wrong with it.
    fn read(text: &str) -> String {
        let mut sources = Sources::default();
        // A piece of a longer text, as after `--set name=`: places count from the start of all of it.
        let id = sources.add_text("test", format!("name={text}"));
        let whole = sources.whole(id);
        let mut mistakes = Vec::new();
        let node = parse(&sources, whole.part(5, 5 + text.len()), &mut mistakes);
        let mut shown = node.map_or("nothing".to_owned(), |node| show(&sources, &node));
        for mistake in mistakes {
            shown += &format!("\n{}: {}", sources.slice(mistake.primary.span), mistake.message);
        }
        shown
    }

    fn show(sources: &Sources, node: &Node) -> String {
        let all = |parts: Vec<String>| parts.join(", ");
        let value = match &node.value {
            Value::List(items) => return format!("[{}]", all(items.iter().map(|item| show(sources, item)).collect())),
            Value::Map(map) => {
                let entry = |(name, entry): (&String, &Entry)| {
                    let key = sources.slice(entry.key);
                    let key = if key == name { key.to_owned() } else { format!("{name}<{key}>") };
                    format!("{key}: {}", show(sources, &entry.node))
                };
                return format!("{{{}}}", all(map.iter().map(entry).collect()));
            }
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => format!("{value:?}"),
            Value::Text(text) => format!("{text:?}"),
            Value::Broken => "broken".to_owned(),
        };
        format!("{value}<{}>", sources.slice(node.span))
    }

    /// The text that a value `x` of a mapping spans.
    fn spanned(text: &str) -> String {
        let mut sources = Sources::default();
        let id = sources.add_text("test", text.to_owned());
        let node = parse(&sources, sources.whole(id), &mut Vec::new());
        let Some(Node { value: Value::Map(map), .. }) = node else { panic!("no mapping") };
        sources.slice(map["x"].node.span).to_owned()
    }

    #[test]
    fn keys_and_values_of_every_type_have_their_places() {
        let table = [
            ("a: 1\ntrue: no\n~: 1e-3", "{a: 1<1>, true: \"no\"<no>, ~: 0.001<1e-3>}"),
            ("{5: 007, \"b c\": '7', 0x1F: 0b1}", "{5: \"007\"<007>, b c<\"b c\">: \"7\"<'7'>, 0x1F: \"0b1\"<0b1>}"),
            ("é: ü # ñ\nö: [ä, 1_000]", "{é: \"ü\"<ü>, ö: [\"ä\"<ä>, \"1_000\"<1_000>]}"),
            ("a:\nb: .nan\nc: -.inf", "{a: null<>, b: NaN<.nan>, c: -inf<-.inf>}"),
            ("a: 18446744073709551616", "{a: 1.8446744073709552e19<18446744073709551616>}"),
            ("a: >-\n  5\n  6", "{a: \"5 6\"<5\n  6>}"),
            ("- a\n- - 1\n  -", "[\"a\"<a>, [1<1>, null<>]]"),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lists_and_mappings_end_at_their_bracket_or_last_value() {
        let table = [
            ("x: [1, [2, ], # ]\n  ] # end", "[1, [2, ], # ]\n  ]"),
            ("x: { a: , b }\ny: 1", "{ a: , b }"),
            ("x: []\ny: 1", "[]"),
            ("x:\n  a: 1\n  b:\n  - 2\ny: 1", "a: 1\n  b:\n  - 2"),
            ("y: &y [1]\nx: [0, *y ]", "[0, *y ]"),
            ("y: &y [1]\nx: { a: *y}", "{ a: *y}"),
            ("y: { x: &x [1, 2 ] }\nx: *x", "[1, 2 ]"),
        ];
        for (text, expected) in table {
            assert_eq!(spanned(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_mistake_of_a_text_is_reported() {
        let twice = read("a: { b: 1, b: 2, b: 3 }\nc: 1\n\"a\": 2\nc: 3");
        let expected = "{a: {b: 1<1>}, c: 1<1>}\nb: `b` is written twice\nb: `b` is written twice\n\"a\": `a` is written twice\nc: `c` is written twice";
        assert_eq!(twice, expected);
        // What an alias unfolds to is not reported again.
        let shared = read("a: &a { b: !t 1, b: 2 }\nc: [*a, *a]");
        assert_eq!(
            shared,
            "{a: {b: 1<1>}, c: [{b: 1<1>}, {b: 1<1>}]}\n!t: `!t` is a YAML tag, and a manifest has none\nb: `b` is written twice"
        );
        // The library stops at each of these.
        let stops = read("a: *é\nb: &b [*b, *c]\nc: !!int &x foo\nd: !!float |\n  bar\ne: { *f : 1, e: 2, e: 3 }");
        let expected = [
            "{a: broken<*é>, b: [broken<*b>, broken<*c>], c: \"foo\"<foo>, d: \"bar\\n\"<bar\n>, e: {e: 2<2>}}",
            "*é: there is no anchor `&é` before this",
            "*b: this alias stands inside of what it names",
            "*c: there is no anchor `&c` before this",
            "!!int: `!!int` is a YAML tag, and a manifest has none",
            "!!float: `!!float` is a YAML tag, and a manifest has none",
            "*f: there is no anchor `&f` before this",
            "e: `e` is written twice",
        ];
        assert_eq!(stops, expected.join("\n"));
        let keys = read("<<: 1\n\"${x}\": 2\n[a]: 3\nd: 4");
        assert_eq!(keys.lines().count(), 4, "{keys}");
        assert!(keys.starts_with("{d: 4<4>}"), "{keys}");
    }

    #[test]
    fn aliases_stand_for_what_they_name() {
        assert_eq!(read("? &k a\n: &v 5\n*v : *k"), "{a: 5<5>, 5<*v>: \"a\"<a>}");
        assert_eq!(read("a: &a 1\nb: &a 2\nc: *a"), "{a: 1<1>, b: 2<2>, c: 2<2>}");
    }

    #[test]
    fn what_unfolds_or_nests_too_much_is_refused() {
        let wide = "- \n".repeat(MOST_NODES);
        assert!(read(&wide).contains("unfolds to more than 500000 values"));
        let nested = |times| format!("{}x", "- ".repeat(times));
        assert!(read(&nested(DEEPEST)).ends_with("\"x\"<x>]]]]]]]]]]]]]]]]"));
        let deep = nested(100_000);
        assert!(read(&deep).contains("this stands in more than 16 lists and mappings"));
        let deep = "{a: ".repeat(100_000);
        assert!(read(&deep).contains("this is not YAML"));
        // A shared setting is no bomb.
        let shared = format!("a: &a {{ b: 1, c: [2, 3] }}\nd: [{}]", "*a,".repeat(10_000));
        assert!(!read(&shared).contains("\n"));
    }

    #[test]
    fn a_text_is_one_document() {
        assert_eq!(read("# nothing"), "null<>");
        assert_eq!(read("---\na: 1\n---\na: ["), "nothing\n---: a second document starts here");
        assert_eq!(read("a: b: c"), "nothing\n:: this is not YAML: mapping values are not allowed in this context");
    }
}
