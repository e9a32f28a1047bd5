//! A matrix: one instance of a stage for each combination of values, less what `exclude` names, more what `include` names.
//!
//! A named value may be made of the values that an instance has on other axes: a method whose weight is an axis of its own. Such a value
//! is set aside until the combinations are known, and then resolved once for each instance.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::build::World;
use crate::fields::{Labels, glob::Pattern};
use crate::manifest::{AxisValue, Entry, Interpolation, Map, Node, Scope, Value, is_name, matrix_uses};
use crate::source::{Diagnostic, Span, one_of};
use crate::space;

/// The most instances of one stage, and of a whole manifest.
pub(super) const MOST_INSTANCES: usize = 100_000;
/// Keys of a matrix that are no axes.
const EXCLUDE: &str = "exclude";
const INCLUDE: &str = "include";

/// The values of one instance: those of its axes first, then what `include` adds.
pub(super) type Values = IndexMap<String, AxisValue>;

/// The instances a matrix makes.
#[derive(Debug)]
pub(super) struct Matrix {
    /// The axes, in the order written.
    pub axes: Vec<String>,
    /// The values of each instance; the last axis changes fastest.
    pub rows: Vec<Values>,
}

impl Matrix {
    /// The labels of a row: the names of its values on the axes.
    pub(super) fn labels(&self, row: &Values) -> Labels {
        let name = |axis: &String| row.get(axis).map(|value| (axis.clone(), value.name.clone()));
        self.axes.iter().filter_map(name).collect()
    }
}

/// Reads a matrix whose `${...}` are resolved. After a mistake there is still a matrix where its axes are known: one row, whose values
/// are broken, so that the rest of the stage can be checked; then the flag is false.
pub(super) fn read(node: &Node, at: Span, world: World<'_>, mistakes: &mut Vec<Diagnostic>) -> (Matrix, bool) {
    let mut reader = Reader { world, mistakes: Vec::new() };
    let (axes, rows) = reader.matrix(node, at);
    let rows = rows.filter(|_| reader.mistakes.is_empty());
    mistakes.append(&mut reader.mistakes);
    match rows {
        Some(rows) => (Matrix { axes, rows }, true),
        None => {
            let broken = |axis: &String| {
                let node = Node::new(node.span, Value::Broken);
                (axis.clone(), value(String::new(), node))
            };
            let row = axes.iter().map(broken).collect();
            (Matrix { axes, rows: vec![row] }, false)
        }
    }
}

/// The named values of axes that are made of other axes' values, as written: by axis, then by name.
#[derive(Debug, Default)]
pub(super) struct Dependent(IndexMap<String, IndexMap<String, Node>>);

impl Dependent {
    /// Takes them out of a matrix as written; what is left can be resolved without an instance.
    pub(super) fn taken(node: &Node) -> (Node, Self) {
        let mut taken = Self::default();
        let Value::Map(map) = &node.value else { return (node.clone(), taken) };
        let mut left = (**map).clone();
        for (axis, entry) in &mut left {
            let drawn = pattern(&entry.node).is_some() || random(&entry.node).is_some();
            let Value::Map(values) = &mut entry.node.value else { continue };
            let uses = |value: &Entry| !matrix_uses(&value.node).is_empty();
            if drawn || !values.values().any(uses) {
                continue;
            }
            for (name, value) in Arc::make_mut(values).iter_mut().filter(|(_, value)| uses(value)) {
                let empty = Node::new(value.node.span, Value::Null);
                let written = std::mem::replace(&mut value.node, empty);
                taken.0.entry(axis.clone()).or_default().insert(name.clone(), written);
            }
        }
        (Node { value: Value::Map(Arc::new(left)), ..node.clone() }, taken)
    }

    fn written(&self, axis: &str, value: &AxisValue) -> Option<&Node> {
        self.0.get(axis)?.get(&value.name)
    }

    /// Puts them back, resolved with the other values of each instance. False after a mistake, which is said for the first instance that has it.
    pub(super) fn resolve(&self, matrix: &mut Matrix, values: &mut Interpolation<'_>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let before = values.mistakes.len();
        for row in &mut matrix.rows {
            let plain: Values = (row.iter())
                .filter(|(axis, value)| self.written(axis, value).is_none())
                .map(|(axis, value)| (axis.clone(), value.clone()))
                .collect();
            for (axis, value) in row.iter_mut() {
                let Some(written) = self.written(axis, value) else { continue };
                let both = |(name, _): &(String, Span)| self.0.contains_key(name) && !plain.contains_key(name);
                match matrix_uses(written).into_iter().find(both) {
                    Some((other, span)) => {
                        let message = format!("this value of `{other}` is made of other axes' values itself");
                        let help = "a value can take those of axes that take none".to_owned();
                        values.mistakes.push(Diagnostic::new(span, message).help(help));
                    }
                    None => value.node = values.expand(written, Scope::stage(Some(&plain))),
                }
            }
            if values.mistakes.len() > before {
                return false;
            }
        }
        true
    }
}

const LEGAL: &str = "a value's name is not empty and has none of `,` `=` `[` `]`";

fn is_value_name(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains([',', '=', '[', ']'])
}

struct Reader<'a> {
    world: World<'a>,
    mistakes: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn say(&mut self, span: Span, message: String, help: Option<String>) {
        self.mistakes.push(Diagnostic::new(span, message).maybe_help(help));
    }

    fn matrix(&mut self, node: &Node, at: Span) -> (Vec<String>, Option<Vec<Values>>) {
        let Value::Map(map) = &node.value else {
            if !matches!(node.value, Value::Broken) {
                let help = "write `matrix: { axis: [value, value] }`".to_owned();
                self.say(node.span, format!("a matrix is a mapping of axes, and this is {}", node.noun()), Some(help));
            }
            return (Vec::new(), None);
        };
        let mut axes: IndexMap<String, Vec<AxisValue>> = IndexMap::new();
        let mut whole = true;
        for (name, entry) in map.iter().filter(|(name, _)| *name != EXCLUDE && *name != INCLUDE) {
            if !is_name(name) {
                self.say(
                    entry.key,
                    format!("`{name}` cannot be the name of an axis"),
                    Some("use letters, digits, `_` and `-`".to_owned()),
                );
            }
            let values = self.axis(name, entry.key, &entry.node);
            whole = whole && values.is_some();
            axes.insert(name.clone(), values.unwrap_or_default());
        }
        let exclude = self.entries(EXCLUDE, map);
        let include = self.entries(INCLUDE, map);
        let mut names: Vec<String> = axes.keys().cloned().collect();
        if axes.is_empty() {
            // Only `include`: each entry is an instance, and the first says what the axes are.
            match include.first() {
                Some((entry, _)) => names = entry.keys().cloned().collect(),
                None => self.say(
                    at,
                    "this matrix has no axes".to_owned(),
                    Some("write `matrix: { axis: [value, value] }`".to_owned()),
                ),
            }
        }
        if !whole {
            return (names, None);
        }
        let size = axes.values().try_fold(1_usize, |size, values| size.checked_mul(values.len()));
        if size.is_none_or(|size| size > MOST_INSTANCES) {
            self.say(at, format!("this matrix makes more than {MOST_INSTANCES} instances"), None);
            return (names, None);
        }
        let mut rows = if axes.is_empty() { Vec::new() } else { product(&axes) };
        for (entry, span) in &exclude {
            self.exclude(entry, *span, &axes, &mut rows);
        }
        for (entry, span) in &include {
            self.include(entry, *span, &names, &axes, &mut rows);
        }
        if rows.is_empty() && !names.is_empty() {
            self.say(at, "this matrix excludes all of its combinations".to_owned(), None);
        }
        (names, Some(rows))
    }

    /// The values of one axis.
    fn axis(&mut self, axis: &str, at: Span, node: &Node) -> Option<Vec<AxisValue>> {
        let before = self.mistakes.len();
        let mut values: IndexMap<String, AxisValue> = IndexMap::new();
        let mut add = |reader: &mut Self, name: String, span: Span, node: &Node| {
            if !is_value_name(&name) {
                let help = format!("{LEGAL}; write `axis: {{ name: value }}` to give it another");
                reader.say(span, format!("`{name}` cannot be the name of a value of axis `{axis}`"), Some(help));
            }
            let value = value(name.clone(), node.clone());
            if let Some(first) = values.insert(name, value) {
                let message = format!("axis `{axis}` has the value `{}` twice", first.name);
                reader.mistakes.push(Diagnostic::new(span, message).also(first.node.span, "the first"));
            }
        };
        let mut broken = false;
        if let Some(node) = pattern(node) {
            return self.files(axis, node);
        }
        if let Some(entry) = random(node) {
            let mut mistakes = Vec::new();
            let drawn = space::drawn(entry, self.world.sources, &mut mistakes);
            let sound = mistakes.is_empty();
            self.mistakes.append(&mut mistakes);
            let values = drawn.into_iter().enumerate().map(|(at, node)| value((at + 1).to_string(), node));
            return sound.then(|| values.collect());
        }
        match &node.value {
            Value::Broken => return None,
            Value::Map(map) => map.iter().for_each(|(name, entry)| add(self, name.clone(), entry.key, &entry.node)),
            Value::List(items) => {
                // A list among the values, as of a parameter that holds several, stands for its own values.
                let spread = |item: &Node| match &item.value {
                    Value::List(inner) => inner.to_vec(),
                    _ => vec![item.clone()],
                };
                for item in &items.iter().flat_map(spread).collect::<Vec<_>>() {
                    match name_of(item) {
                        Some(name) => add(self, name, item.span, item),
                        None if matches!(item.value, Value::Broken) => broken = true,
                        None => {
                            let help = format!("write `{axis}: {{ name: value, name: value }}`");
                            self.say(item.span, format!("a value that is {} needs a name", item.noun()), Some(help));
                        }
                    }
                }
            }
            _ => {
                let message = format!("axis `{axis}` must be a list, or a mapping of named values, and this is {}", node.noun());
                self.say(node.span, message, None);
            }
        }
        let values: Vec<AxisValue> = values.into_values().collect();
        if values.is_empty() && self.mistakes.len() == before && !broken {
            self.say(at, format!("axis `{axis}` has no values"), None);
        }
        (self.mistakes.len() == before && !broken).then_some(values)
    }

    /// The files that match a pattern, each called by what the pattern leaves open, and the path its value.
    fn files(&mut self, axis: &str, node: &Node) -> Option<Vec<AxisValue>> {
        let Value::Text(text) = &node.value else {
            if !matches!(node.value, Value::Broken) {
                self.say(node.span, format!("a pattern of files is text, and this is {}", node.noun()), None);
            }
            return None;
        };
        let pattern = Pattern::new(text);
        let base = self.world.sources.path(node.span.source).and_then(Path::parent);
        let files = match pattern.files(base, self.world.looks) {
            Ok(files) => files,
            Err(message) => {
                self.say(node.span, message, None);
                return None;
            }
        };
        let mut values = Vec::new();
        for file in files {
            let name = pattern.open_part(&file.text).to_owned();
            if !is_value_name(&name) {
                let message = format!("the file `{}` would be called `{name}`, which cannot be the name of a value", file.text);
                let help = format!("name the files: `{axis}: {{ name: path }}`, or rename it; {LEGAL}");
                self.say(node.span, message, Some(help));
                return None;
            }
            let node = Node { value: Value::Text(file.text.clone().into()), ..node.clone() };
            values.push(AxisValue { name, text: file.text, node });
        }
        Some(values)
    }

    /// The entries of `exclude` or `include`.
    fn entries(&mut self, key: &str, map: &Map) -> Vec<(Map, Span)> {
        let Some(entry) = map.get(key) else { return Vec::new() };
        let Value::List(items) = &entry.node.value else {
            if !matches!(entry.node.value, Value::Broken) {
                let help = format!("write `{key}: [{{ axis: value }}]`");
                self.say(entry.node.span, format!("`{key}` is a list of mappings"), Some(help));
            }
            return Vec::new();
        };
        let mut entries = Vec::new();
        for item in items.iter() {
            match &item.value {
                Value::Map(map) if !map.is_empty() => entries.push(((**map).clone(), item.span)),
                Value::Broken => {}
                _ => self.say(item.span, format!("an entry of `{key}` is a mapping of axes to values"), None),
            }
        }
        entries
    }

    fn exclude(&mut self, entry: &Map, span: Span, axes: &IndexMap<String, Vec<AxisValue>>, rows: &mut Vec<Values>) {
        let mut wanted: Vec<(&str, String)> = Vec::new();
        for (axis, value) in entry {
            let Some(values) = axes.get(axis) else {
                let help = one_of(axis, axes.keys().map(String::as_str));
                self.say(value.key, format!("this matrix has no axis `{axis}`"), help);
                return;
            };
            let Some(name) = name_of(&value.node) else {
                self.say(
                    value.node.span,
                    format!("expected the name of a value of axis `{axis}`, found {}", value.node.noun()),
                    None,
                );
                return;
            };
            if !values.iter().any(|value| value.name == name) {
                let help = one_of(&name, values.iter().map(|value| value.name.as_str()));
                self.say(value.node.span, format!("axis `{axis}` has no value `{name}`"), help);
                return;
            }
            wanted.push((axis, name));
        }
        let before = rows.len();
        rows.retain(|row| !wanted.iter().all(|(axis, name)| row.get(*axis).is_some_and(|value| value.name == *name)));
        if rows.len() == before {
            self.say(span, "this excludes nothing that is left".to_owned(), None);
        }
    }

    /// As in GitHub Actions: what is no axis is added to the combinations that the entry's axes match; an entry that matches none, or
    /// adds nothing, is a combination of its own.
    fn include(
        &mut self,
        entry: &Map,
        span: Span,
        names: &[String],
        axes: &IndexMap<String, Vec<AxisValue>>,
        rows: &mut Vec<Values>,
    ) {
        let mut given = Values::new();
        let mut added = Values::new();
        for (key, value) in entry {
            let node = value.node.clone();
            let name = name_of(&node);
            if !names.contains(key) {
                if !is_name(key) {
                    self.say(value.key, format!("`{key}` cannot be the name of a matrix value"), None);
                }
                added.insert(key.clone(), self::value(name.unwrap_or_else(|| key.clone()), node));
                continue;
            }
            let Some(name) = name else {
                let help = format!("add it to axis `{key}` under a name, and name it here");
                self.say(node.span, format!("a value that is {} needs a name", node.noun()), Some(help));
                return;
            };
            if !is_value_name(&name) {
                self.say(node.span, format!("`{name}` cannot be the name of a value of axis `{key}`"), None);
            }
            let known = axes.get(key).and_then(|values| values.iter().find(|value| value.name == name));
            given.insert(key.clone(), known.cloned().unwrap_or_else(|| self::value(name, node)));
        }
        let fits = |row: &Values| given.iter().all(|(axis, value)| row.get(axis).is_some_and(|known| known.name == value.name));
        if !added.is_empty() && !axes.is_empty() {
            let mut any = false;
            for row in rows.iter_mut().filter(|row| fits(row)) {
                row.extend(added.clone());
                any = true;
            }
            if any {
                return;
            }
        }
        let missing: Vec<String> =
            names.iter().filter(|name| !given.contains_key(*name)).map(|name| format!("`{name}`")).collect();
        if !missing.is_empty() {
            let message = format!("this matches no combination, and a new one needs a value for {}", missing.join(", "));
            self.say(span, message, None);
        } else if axes.is_empty() && !added.is_empty() {
            let extra: Vec<&str> = added.keys().map(String::as_str).collect();
            let message = format!("this entry has `{}`, which the first one has not", extra.join("`, `"));
            self.say(span, message, Some("without axes each entry gives the same keys".to_owned()));
        } else if rows.iter().any(fits) {
            self.say(span, "this combination is there already".to_owned(), None);
        } else if rows.len() >= MOST_INSTANCES {
            self.say(span, format!("this matrix makes more than {MOST_INSTANCES} instances"), None);
        } else {
            let mut row: Values = names
                .iter()
                .filter_map(|name| given.get_key_value(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            row.extend(added);
            rows.push(row);
        }
    }
}

/// A value that is called by its name.
fn value(name: String, node: Node) -> AxisValue {
    AxisValue { text: name.clone(), name, node }
}

/// The pattern of an axis that is the files that match it: `{ glob: "data/*.csv" }`.
fn pattern(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::Map(map) if map.len() == 1 => map.get("glob").map(|entry| &entry.node),
        _ => None,
    }
}

/// What is written under `random` where that is all an axis says: how its values are drawn.
fn random(node: &Node) -> Option<&Entry> {
    match &node.value {
        Value::Map(map) if map.len() == 1 => {
            map.get("random").filter(|entry| matches!(&entry.node.value, Value::Map(inner) if inner.contains_key("space")))
        }
        _ => None,
    }
}

/// All combinations; the last axis changes fastest.
fn product(axes: &IndexMap<String, Vec<AxisValue>>) -> Vec<Values> {
    let mut rows = vec![Values::new()];
    for (axis, values) in axes {
        let extended = |row: &Values| {
            let row = row.clone();
            let with = move |value: &AxisValue| {
                let mut row = row.clone();
                row.insert(axis.clone(), value.clone());
                row
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(extended).collect();
    }
    rows
}

/// The name of a value that is its own name: text, a number, true or false.
fn name_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(format!("{value:?}")),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Broken => None,
    }
}
