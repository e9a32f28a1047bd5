//! YAML text to located nodes, in one pass over the parser's events, within a budget.
//!
//! Read from events and not through serde, because a reader of types stops at its first mistake: here every duplicate key
//! of a file is reported, with both places. Anchors and aliases work; what they unfold to counts against the budget.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle, options};
use indexmap::map::Entry as Slot;

use super::hints;
use super::node::{Entry, Map, Node, Value};
use super::scalar::scalar;
use crate::source::{Diagnostic, Sources, Span};

/// Room for 10 000 stages of a hundred nodes each.
const MOST_NODES: usize = 1_000_000;
/// Deeper than any manifest, and shallow enough for recursion.
const DEEPEST: usize = 64;
/// The most duplicate keys, unknown anchors and the like to report from one text.
const MOST_MISTAKES: usize = 1_000;

/// Reads the piece `whole` of a text, which holds one YAML document.
///
/// The mistakes found are added to `mistakes`; there is no node where the text could not be read to its end. An empty
/// document reads as [`Value::Null`].
pub fn parse(sources: &Sources, whole: Span, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    let text = sources.slice(whole);
    let mut options = options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    options.set_emit_comments(false);
    let mut builder = Builder { whole, stack: Vec::new(), root: None, anchors: HashMap::new(), nodes: 0, mistakes: Vec::new() };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok((event, span)) => (event, builder.span(&span)),
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                mistakes.append(&mut builder.mistakes);
                mistakes.push(hints::syntax(sources, whole, at, &error.info()));
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                let mistake = Diagnostic::new(span, "a second document starts here")
                    .help("a manifest is one document: put each manifest into a file of its own");
                builder.mistakes.push(mistake);
                mistakes.append(&mut builder.mistakes);
                return None;
            }
        }
        let enough = builder.mistakes.len() >= MOST_MISTAKES;
        if enough || builder.event(event, span).is_none() {
            mistakes.append(&mut builder.mistakes);
            return None;
        }
    }
    let broken = !builder.mistakes.is_empty();
    mistakes.append(&mut builder.mistakes);
    let empty = Node::new(builder.whole.part(0, 0), Value::Null);
    let node = builder.root.map_or(empty, |(node, _)| node);
    // Duplicate keys and unknown anchors leave a tree that is worth checking further; see `Builder`.
    Some(node).filter(|node| !broken || matches!(node.value, Value::Map(_)))
}

/// A list or mapping that is not complete yet.
struct Open {
    start: Span,
    anchor: usize,
    flow: bool,
    content: Content,
    /// Nodes inside, aliases unfolded.
    size: usize,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Map,
        key: Option<Key>,
    },
    /// A list or mapping that stands where a key belongs. Reported; what is inside is dropped.
    Key,
}

enum Key {
    Good(String, Span),
    /// It was reported; its value is dropped.
    Bad,
}

struct Builder {
    whole: Span,
    stack: Vec<Open>,
    root: Option<(Node, usize)>,
    /// Complete nodes with an anchor, and their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    mistakes: Vec<Diagnostic>,
}

impl Builder {
    fn span(&self, span: &granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or_default();
        self.whole.part(range.start, range.end)
    }

    /// Takes in one event; `None` where reading cannot go on.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let tag = match &event {
            Event::Scalar(.., tag) | Event::SequenceStart(.., tag) | Event::MappingStart(.., tag) => tag,
            _ => &None,
        };
        if let Some(tag) = tag {
            let message = format!("`{}` is a YAML tag, and a manifest has none", tag.original());
            let mistake = Diagnostic::new(span, message);
            self.mistakes.push(mistake.help("leave it out: a value's type follows from how it is written"));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                if self.at_key() {
                    self.count(1)?;
                    self.remember(anchor, &Node::new(span, Value::Text(text.as_ref().into())), 1);
                    let key = self.key(&text, plain, span);
                    self.set_key(key);
                    return Some(());
                }
                let value = match plain {
                    true => scalar(&text),
                    false => Value::Text(text.as_ref().into()),
                };
                self.count(1)?;
                let node = Node::new(span, value);
                self.remember(anchor, &node, 1);
                self.put(node, 1);
            }
            Event::SequenceStart(style, anchor, _) => {
                let content = Content::List(Vec::new());
                self.open(span, anchor, style == StructureStyle::Flow, content)?;
            }
            Event::MappingStart(style, anchor, _) => {
                let content = Content::Map { entries: Map::new(), key: None };
                self.open(span, anchor, style == StructureStyle::Flow, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    let message = "this alias stands inside of what it names";
                    self.mistakes.push(Diagnostic::new(span, message));
                    self.put_broken(span);
                    return Some(());
                };
                self.count(size)?;
                if !self.at_key() {
                    self.put(node, size);
                } else if let Value::Text(text) = node.value {
                    let key = self.key(&text, false, span);
                    self.set_key(key);
                } else {
                    self.not_a_key(span);
                    self.set_key(Key::Bad);
                }
            }
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor `&{name}` before this");
                let mistake = Diagnostic::new(span, message);
                self.mistakes.push(mistake.help("quote text that starts with `*`"));
                self.put_broken(span);
            }
            _ => {}
        }
        Some(())
    }

    /// Whether the next node is a key.
    fn at_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn set_key(&mut self, new: Key) {
        if let Some(Open { content: Content::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(new);
        }
    }

    /// A key as it is written; a bad one is reported.
    fn key(&mut self, text: &str, plain: bool, span: Span) -> Key {
        let mistake = if plain && text == "<<" {
            hints::merge_key(span)
        } else if text.contains("${") {
            Diagnostic::new(span, "`${` stands in a key").help("a key is written out; only values can be taken from parameters")
        } else {
            return Key::Good(text.to_owned(), span);
        };
        self.mistakes.push(mistake);
        Key::Bad
    }

    fn not_a_key(&mut self, span: Span) {
        let mistake = Diagnostic::new(span, "a key must be a word or text, not a list or a mapping");
        self.mistakes.push(mistake.help("quote a value that starts with `{` or `[`"));
    }

    /// A key or value that was reported.
    fn put_broken(&mut self, span: Span) {
        match self.at_key() {
            true => self.set_key(Key::Bad),
            false => self.put(Node::new(span, Value::Broken), 1),
        }
    }

    fn open(&mut self, start: Span, anchor: usize, flow: bool, content: Content) -> Option<()> {
        self.count(1)?;
        let content = match self.at_key() {
            true => {
                self.not_a_key(start);
                Content::Key
            }
            false => content,
        };
        self.stack.push(Open { start, anchor, flow, content, size: 1 });
        Some(())
    }

    fn close(&mut self, end: Span) {
        let Some(open) = self.stack.pop() else { return };
        let value = match open.content {
            Content::List(items) => Value::List(items.into()),
            Content::Map { entries, .. } => Value::Map(Arc::new(entries)),
            Content::Key => return self.set_key(Key::Bad),
        };
        // A block has no closing mark: it ends where its last value ends.
        let last = match &value {
            Value::List(items) => items.last().map(|node| node.span),
            Value::Map(map) => map.last().map(|(_, entry)| entry.key.to(entry.node.span)),
            _ => None,
        };
        let span = match last {
            _ if open.flow => open.start.to(end),
            Some(last) if last.start >= open.start.start => open.start.to(last),
            _ => open.start,
        };
        let node = Node::new(span, value);
        self.remember(open.anchor, &node, open.size);
        self.put(node, open.size);
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    /// Adds a complete value to what holds it. Of two equal keys the first stays.
    fn put(&mut self, node: Node, size: usize) {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some((node, size));
            return;
        };
        open.size += size;
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key } => {
                let Some(Key::Good(name, span)) = key.take() else {
                    return;
                };
                match entries.entry(name) {
                    Slot::Vacant(slot) => {
                        slot.insert(Entry { key: span, node });
                    }
                    Slot::Occupied(slot) => {
                        let message = format!("`{}` is written twice", slot.key());
                        let mistake = Diagnostic::new(span, message).label("the second");
                        self.mistakes.push(mistake.also(slot.get().key, "the first"));
                    }
                }
            }
            Content::Key => {}
        }
    }

    fn count(&mut self, size: usize) -> Option<()> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes <= MOST_NODES {
            return Some(());
        }
        let message = format!("this manifest unfolds to more than {MOST_NODES} values");
        let at = self.stack.first().map_or(self.whole.part(0, 0), |open| open.start);
        self.mistakes.push(
            Diagnostic::new(at, message)
                .help("aliases (`*name`) count as often as they are used; a matrix makes many stages out of few lines"),
        );
        None
    }
}
