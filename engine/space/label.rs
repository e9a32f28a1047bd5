//! What the values of a parameter are called in names of instances and points, and when two of them are the same.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use crate::artifact::Digest;
use crate::manifest::{Node, Value};

/// A longer name is cut.
const LONGEST: usize = 40;

/// Names the values of one parameter: the same value always alike, two values never.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<String, Arc<str>>,
    taken: HashSet<Arc<str>>,
}

impl Names {
    /// The name of a value; `wanted` where the manifest gives it one.
    pub(super) fn of(&mut self, node: &Node, wanted: Option<&str>) -> Arc<str> {
        let canonical = canonical(node);
        if let Some(known) = self.known.get(&canonical) {
            return Arc::clone(known);
        }
        let plain = wanted.map_or_else(|| short(&text(node)), short);
        let numbered = (2..).map(|n| format!("{plain}~{n}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !self.taken.contains(name.as_str()));
        let name: Arc<str> = name.unwrap_or(plain).into();
        self.taken.insert(Arc::clone(&name));
        self.known.insert(canonical, Arc::clone(&name));
        name
    }
}

/// Equal for equal values, with their types.
pub(super) fn canonical(node: &Node) -> String {
    let mut text = String::new();
    write_canonical(node, &mut text);
    text
}

fn write_canonical(node: &Node, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = match &node.value {
        Value::Null | Value::Broken => write!(text, "~"),
        Value::Bool(value) => write!(text, "{value}"),
        Value::Int(value) => write!(text, "{value}"),
        Value::Float(value) => write!(text, "{value:?}"),
        Value::Text(value) => write!(text, "{value:?}"),
        Value::List(items) => {
            text.push('[');
            for item in items.iter() {
                write_canonical(item, text);
                text.push(',');
            }
            write!(text, "]")
        }
        Value::Map(map) => {
            text.push('{');
            for (key, entry) in map.iter() {
                let _ = write!(text, "{key:?}:");
                write_canonical(&entry.node, text);
                text.push(',');
            }
            write!(text, "}}")
        }
    };
}

/// A value as a person would say it in a word: `[32, 16]` is `32+16`, `{ talk: { rounds: 2 } }` is `talk:rounds:2`.
fn text(node: &Node) -> String {
    match &node.value {
        Value::Null | Value::Broken => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(value) => match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(path) if !path.contains("${") => path.to_owned(),
            _ => value.to_string(),
        },
        Value::List(items) => items.iter().map(text).collect::<Vec<_>>().join("+"),
        Value::Map(map) => map.iter().map(|(key, entry)| format!("{key}:{}", text(&entry.node))).collect::<Vec<_>>().join("+"),
    }
}

/// A text that can be part of a name: none of the letters that take names apart, and not long.
fn short(text: &str) -> String {
    let plain =
        |letter: char| if ",=[]@".contains(letter) || letter.is_control() || letter.is_whitespace() { '_' } else { letter };
    let name: String = text.trim().chars().map(plain).collect();
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}~{}", &name[..end], Digest::of(text.as_bytes()).short()),
        None if name.is_empty() => "_".to_owned(),
        None => name,
    }
}
