//! The section, and what was typed, read into points. Every mistake is found, and told at its place.
//!
//! A sweep is a product of tables: each axis of a grid is a table of one column, a zip, a list and a random sample are one table, and
//! seeds are another.

use std::collections::{HashMap, HashSet, hash_map::Entry as Slot};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map as JsonMap, Value as Json, json};

use super::label::{Names, canonical};
use super::random::{Distribution, Drawn};
use super::{DISTRIBUTIONS, FIELDS, Given, MOST_PARAMS, MOST_POINTS, Point, RANDOM, SEEDS, Space, Swept, json as data};
use crate::manifest::{Entry, Env, Interpolation, Manifest, Map, Node, Scope, Typed, Value, parse, put};
use crate::source::{Diagnostic, Sources, Span, one_of};

/// The parameter that `seeds` sets where it names none.
const SEED: &str = "seed";
/// More mistakes of a kind in one place than this are not told apart.
const ENOUGH: usize = 50;
/// What `random` is seeded with where it does not say.
const RANDOM_SEED: u64 = 1;

/// Values of some parameters that belong together.
struct Table {
    params: Vec<(String, Span)>,
    seeds: bool,
    rows: Vec<Vec<Option<Named>>>,
}

/// A value, and the name that the manifest gives it.
#[derive(Clone)]
struct Named {
    node: Node,
    name: Option<String>,
}

/// The values that were typed for a parameter.
struct Axis {
    path: String,
    at: Span,
    values: Vec<Node>,
}

/// Reports what is wrong with a manifest's section, where it has one.
pub fn check(manifest: &Manifest, sources: &Sources, env: Env<'_>, mistakes: &mut Vec<Diagnostic>) {
    if manifest.sweep.is_some() {
        let _ = Reader::new(manifest, sources, env).space(Vec::new(), mistakes);
    }
}

/// Reads a manifest's section and what was typed after `--set`, each `name=value` or `name=value,value`. What is no axis changes the
/// manifest's parameters. There is no space where the mistakes left none.
pub fn read(
    manifest: &mut Manifest,
    sets: &[String],
    sources: &mut Sources,
    env: Env<'_>,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Space> {
    let swept = named(manifest);
    let mut axes: Vec<Axis> = Vec::new();
    for set in sets {
        let Some(typed) = Typed::read(set, sources, mistakes) else { continue };
        let present = lookup(&manifest.params, &typed.path, typed.at);
        let Some((values, several)) = values(&typed, &present, sources, mistakes) else { continue };
        let Typed { path, at, .. } = typed;
        match (several || swept.contains(&path), <[Node; 1]>::try_from(values)) {
            (false, Ok([value])) => match put(&manifest.params, &path, value, at) {
                Ok(params) => manifest.params = Arc::new(params),
                Err(mistake) => mistakes.push(*mistake),
            },
            (_, values) => {
                let values = values.map_or_else(|values| values, |[value]| vec![value]);
                // What was typed last counts.
                axes.retain(|axis| axis.path != path);
                axes.push(Axis { path, at, values });
            }
        }
    }
    Reader::new(manifest, sources, env).space(axes, mistakes)
}

/// Values drawn at random, as `random` in a sweep draws its points: each a mapping of names to values. `entry` has no `${...}` any more.
pub fn drawn(entry: &Entry, sources: &Sources, mistakes: &mut Vec<Diagnostic>) -> Vec<Node> {
    let source = entry.key.source;
    let none = Manifest {
        path: PathBuf::new(),
        source,
        name: None,
        description: None,
        params: Arc::default(),
        pools: Arc::default(),
        sweep: None,
        check: None,
        stages: Arc::default(),
    };
    let env = |_: &str| None;
    let mut reader = Reader::new(&none, sources, &env);
    let mut nodes = Vec::new();
    for table in reader.random(entry) {
        for row in table.rows {
            let values = table.params.iter().zip(row);
            let values = values.filter_map(|((name, at), value)| Some((name.clone(), Entry { key: *at, node: value?.node })));
            nodes.push(Node::new(entry.node.span, Value::Map(Arc::new(values.collect()))));
        }
    }
    mistakes.append(&mut reader.mistakes);
    nodes
}

/// The values typed for one parameter, and whether they were several: a list is its items, and `1,2` is `[1,2]`. Where the parameter
/// is a list by itself, `present`, a list of what are no lists is one value, as it is for any other command.
fn values(typed: &Typed, present: &Node, sources: &Sources, mistakes: &mut Vec<Diagnostic>) -> Option<(Vec<Node>, bool)> {
    let parts = between_commas(sources.slice(typed.value));
    let mut nodes = Vec::new();
    for (start, end) in &parts {
        let place = typed.value.part(*start, *end);
        if parts.len() > 1 && sources.slice(place).trim().is_empty() {
            mistakes.push(Diagnostic::new(place, "a value is missing between these commas"));
            return None;
        }
        nodes.push(parse(sources, place, mistakes)?);
    }
    let is_list = |node: &Node| matches!(node.value, Value::List(_));
    match &nodes[..] {
        [Node { value: Value::List(items), .. }] if !is_list(present) || items.iter().any(is_list) => {
            Some((items.to_vec(), true))
        }
        _ => Some((nodes, parts.len() > 1)),
    }
}

/// The pieces between those commas that stand outside of quotes and brackets.
fn between_commas(text: &str) -> Vec<(usize, usize)> {
    let (mut pieces, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if text[start..at].trim_start().is_empty() || depth > 0 => quote = Some(letter),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                pieces.push((start, at));
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    pieces.push((start, text.len()));
    pieces
}

/// The parameters that the section names, as far as that can be seen without checking it.
fn named(manifest: &Manifest) -> HashSet<String> {
    let mut names = HashSet::new();
    let Some(Value::Map(section)) = manifest.sweep.as_ref().map(|entry| &entry.node.value) else { return names };
    let keys = |node: &Node| match &node.value {
        Value::Map(map) => map.keys().cloned().collect(),
        _ => Vec::new(),
    };
    for (field, entry) in section.iter() {
        match (field.as_str(), &entry.node.value) {
            ("grid" | "zip", _) => names.extend(keys(&entry.node)),
            ("list", Value::List(items)) => names.extend(items.iter().flat_map(keys)),
            ("random", Value::Map(map)) => names.extend(map.get("space").iter().flat_map(|space| keys(&space.node))),
            ("seeds", Value::Map(map)) => names.extend(map.get("param").and_then(|param| text(&param.node)).map(str::to_owned)),
            ("seeds", _) => drop(names.insert(SEED.to_owned())),
            _ => {}
        }
    }
    names
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

struct Reader<'a> {
    manifest: &'a Manifest,
    sources: &'a Sources,
    values: Interpolation<'a>,
    mistakes: Vec<Diagnostic>,
    /// The section as it is in effect.
    written: JsonMap<String, Json>,
}

impl<'a> Reader<'a> {
    fn new(manifest: &'a Manifest, sources: &'a Sources, env: Env<'a>) -> Self {
        let values = Interpolation::new(sources, Arc::clone(&manifest.params), env);
        Self { manifest, sources, values, mistakes: Vec::new(), written: JsonMap::new() }
    }

    fn say(&mut self, span: Span, message: impl Into<String>, help: Option<String>) {
        self.mistakes.push(Diagnostic::new(span, message).maybe_help(help));
    }

    /// A value with what a `${...}` in it stands for. Lists and mappings stay as they are written: what is in them belongs to points,
    /// and is resolved there.
    fn known(&mut self, node: &Node) -> Node {
        match &node.value {
            Value::Text(_) => self.values.expand(node, Scope::default()),
            _ => node.clone(),
        }
    }

    /// The points, and the mistakes to `mistakes`.
    fn space(mut self, axes: Vec<Axis>, mistakes: &mut Vec<Diagnostic>) -> Option<Space> {
        let tables = self.tables(axes);
        self.check_params(&tables);
        self.mistakes.append(&mut self.values.mistakes);
        let space = self.mistakes.is_empty().then(|| self.product(&tables)).flatten();
        mistakes.append(&mut self.mistakes);
        space
    }

    fn tables(&mut self, axes: Vec<Axis>) -> Vec<Table> {
        let manifest = self.manifest;
        let empty = Map::new();
        let section = match manifest.sweep.as_ref().map(|entry| (entry, &entry.node.value)) {
            None | Some((_, Value::Broken)) => &empty,
            Some((_, Value::Map(section))) => &**section,
            Some((entry, _)) => {
                let help = "write `sweep: { grid: { parameter: [value, value] } }`".to_owned();
                self.say(entry.node.span, format!("`sweep` must be a mapping, and this is {}", entry.node.noun()), Some(help));
                &empty
            }
        };
        self.unknown(section, &FIELDS, "sweep");
        let mut axes = axes;
        let mut tables = Vec::new();
        if let Some((form, entry)) = self.form(section) {
            let found = match form {
                "grid" => self.grid(entry, &mut axes),
                "zip" => self.zip(entry),
                "list" => self.list_of_points(entry),
                _ => self.random(entry),
            };
            let (word, there) =
                (form, |path: &str| found.iter().any(|table| table.params.iter().any(|(known, _)| known == path)));
            for axis in axes.extract_if(.., |axis| there(&axis.path)) {
                let message = format!("`{}` is swept by `{word}`, of which --set cannot change one parameter alone", axis.path);
                self.say(axis.at, message, Some("choose among its points with --only, or change it in the manifest".to_owned()));
            }
            tables.extend(found);
        }
        let seeds = section.get("seeds").and_then(|entry| self.seeds(entry, &mut axes));
        let typed: Vec<Table> = axes.into_iter().filter_map(|axis| self.typed(axis)).collect();
        tables.extend(typed);
        tables.extend(seeds);
        if tables.is_empty() && self.mistakes.is_empty() && self.values.mistakes.is_empty() {
            let start = self.sources.whole(manifest.source).part(0, 0);
            let at = manifest.sweep.as_ref().map_or(start, |entry| entry.key);
            let help = "add `sweep: { grid: { parameter: [value, value] } }` to the manifest, or type `--set seed=1,2,3`";
            self.say(at, "there is nothing to sweep over", Some(help.to_owned()));
        }
        tables
    }

    fn unknown(&mut self, map: &Map, known: &[&str], of: &str) {
        for (key, entry) in map.iter().filter(|(key, _)| !known.contains(&key.as_str())).take(ENOUGH) {
            let help = one_of(key, known.iter().copied());
            self.say(entry.key, format!("unknown key `{key}` in `{of}`"), help);
        }
    }

    /// The one form of the section. Where a manifest extends another, the form it gives counts and the other's is dropped.
    fn form<'m>(&mut self, section: &'m Map) -> Option<(&'static str, &'m Entry)> {
        let named =
            || FIELDS.into_iter().filter(|field| *field != "seeds").filter_map(|field| Some((field, section.get(field)?)));
        let top = named().map(|(_, entry)| self.sources.priority(entry.key.source)).max();
        let mut forms: Vec<_> = named().filter(|(_, entry)| Some(self.sources.priority(entry.key.source)) == top).collect();
        forms.sort_by_key(|(_, entry)| entry.key);
        if let [(first, at), rest @ ..] = &forms[..] {
            for (other, entry) in rest {
                let mistake = Diagnostic::new(entry.key, format!("a sweep has one form, and this has `{first}` and `{other}`"));
                self.mistakes
                    .push(mistake.also(at.key, "the first").help("axes of a `grid` are combined; make it two manifests"));
            }
        }
        forms.first().copied()
    }

    /// A mapping from parameters to what `of` has of each.
    fn mapping<'m>(&mut self, node: &'m Node, of: &str, example: &str) -> Option<&'m Map> {
        match &node.value {
            Value::Map(map) if map.len() > MOST_PARAMS => {
                self.say(node.span, format!("`{of}` names more than {MOST_PARAMS} parameters"), None);
            }
            Value::Map(map) if !map.is_empty() => return Some(map),
            Value::Broken => {}
            Value::Map(_) | Value::Null => {
                self.say(node.span, format!("`{of}` names no parameter"), Some(format!("write `{example}`")))
            }
            _ => {
                let message = format!("`{of}` must be a mapping of parameters, and this is {}", node.noun());
                self.say(node.span, message, Some(format!("write `{example}`")));
            }
        }
        None
    }

    /// The values of one parameter: a list, or a mapping that gives them names.
    fn axis(&mut self, path: &str, node: &Node) -> Option<Vec<Named>> {
        let node = self.known(node);
        let values: Vec<Named> = match &node.value {
            Value::List(items) => items.iter().map(|item| Named { node: item.clone(), name: None }).collect(),
            Value::Map(map) => {
                map.iter().map(|(name, entry)| Named { node: entry.node.clone(), name: Some(name.clone()) }).collect()
            }
            Value::Broken => return None,
            _ => {
                let message =
                    format!("the values of `{path}` must be a list, or a mapping that names them, and this is {}", node.noun());
                self.say(node.span, message, Some(format!("write `{path}: [value, value]`")));
                return None;
            }
        };
        if values.is_empty() {
            self.say(node.span, format!("`{path}` has no values"), None);
            return None;
        }
        let mut known: HashMap<String, Span> = HashMap::new();
        let mut again = Vec::new();
        for value in &values {
            match known.entry(canonical(&value.node)) {
                Slot::Occupied(first) => again.push((value.node.span, *first.get())),
                Slot::Vacant(slot) => drop(slot.insert(value.node.span)),
            }
        }
        for (at, first) in again.into_iter().take(ENOUGH) {
            let mistake = Diagnostic::new(at, format!("`{path}` has this value twice"));
            self.mistakes.push(mistake.also(first, "the first"));
        }
        Some(values)
    }

    fn column(&mut self, path: &str, at: Span, values: Vec<Named>, seeds: bool) -> Table {
        Table { params: vec![(path.to_owned(), at)], seeds, rows: values.into_iter().map(|value| vec![Some(value)]).collect() }
    }

    fn grid(&mut self, entry: &Entry, axes: &mut Vec<Axis>) -> Vec<Table> {
        let Some(map) = self.mapping(&entry.node, "grid", "grid: { parameter: [value, value] }") else { return Vec::new() };
        let mut tables = Vec::new();
        let mut written = JsonMap::new();
        for (path, entry) in map {
            let typed = axes.extract_if(.., |axis| axis.path == *path).next();
            let (at, values) = match typed {
                Some(axis) => (axis.at, self.axis(path, &list_node(axis.at, axis.values))),
                None => (entry.key, self.axis(path, &entry.node)),
            };
            let values = values.unwrap_or_default();
            written.insert(path.clone(), all(&values));
            tables.push(self.column(path, at, values, false));
        }
        self.written.insert("grid".to_owned(), written.into());
        tables
    }

    fn zip(&mut self, entry: &Entry) -> Vec<Table> {
        let Some(map) = self.mapping(&entry.node, "zip", "zip: { one: [value, value], other: [value, value] }") else {
            return Vec::new();
        };
        let mut table = Table { params: Vec::new(), seeds: false, rows: Vec::new() };
        let mut columns: Vec<Vec<Named>> = Vec::new();
        let mut written = JsonMap::new();
        for (path, entry) in map {
            let node = self.known(&entry.node);
            let values = match &node.value {
                // In a zip a value may come again.
                Value::List(items) if !items.is_empty() => {
                    items.iter().map(|item| Named { node: item.clone(), name: None }).collect()
                }
                _ => self.axis(path, &node).unwrap_or_default(),
            };
            if let (Some(first), false) = (columns.iter().find(|column| !column.is_empty()), values.is_empty())
                && first.len() != values.len()
            {
                let message = format!("`{path}` has {} values, and `{}` has {}", values.len(), table.params[0].0, first.len());
                let mistake = Diagnostic::new(node.span, message).also(table.params[0].1, "zipped with this");
                self.mistakes
                    .push(mistake.help("the first values make the first point, the second the second: lists of one length"));
            }
            table.params.push((path.clone(), entry.key));
            written.insert(path.clone(), all(&values));
            columns.push(values);
        }
        self.written.insert("zip".to_owned(), written.into());
        let length = columns.iter().map(Vec::len).min().unwrap_or(0);
        table.rows = (0..length).map(|at| columns.iter().map(|column| column.get(at).cloned()).collect()).collect();
        vec![table]
    }

    fn list_of_points(&mut self, entry: &Entry) -> Vec<Table> {
        let Value::List(items) = &entry.node.value else {
            if !matches!(entry.node.value, Value::Broken) {
                let help = "write `list: [{ one: 1, other: 2 }, { one: 3, other: 4 }]`".to_owned();
                self.say(entry.node.span, format!("`list` is a list of points, and this is {}", entry.node.noun()), Some(help));
            }
            return Vec::new();
        };
        if items.is_empty() {
            self.say(entry.node.span, "`list` has no points", None);
        }
        if items.len() > MOST_POINTS {
            self.say(entry.node.span, format!("`list` has more than {MOST_POINTS} points"), None);
            return Vec::new();
        }
        let mut params: IndexMap<String, Span> = IndexMap::new();
        for item in items.iter() {
            let Some(map) = self.mapping(item, "a point of list", "{ parameter: value }") else { continue };
            for (path, entry) in map {
                params.entry(path.clone()).or_insert(entry.key);
            }
            if params.len() > MOST_PARAMS {
                self.say(item.span, format!("the points of `list` name more than {MOST_PARAMS} parameters"), None);
                return Vec::new();
            }
        }
        let row = |item: &Node| match &item.value {
            Value::Map(map) => {
                let value = |path: &String| map.get(path).map(|entry| Named { node: entry.node.clone(), name: None });
                params.keys().map(value).collect()
            }
            _ => vec![None; params.len()],
        };
        self.written.insert("list".to_owned(), items.iter().map(data).collect());
        let rows = items.iter().map(row).collect();
        vec![Table { params: params.into_iter().collect(), seeds: false, rows }]
    }

    fn random(&mut self, entry: &Entry) -> Vec<Table> {
        let Value::Map(map) = &entry.node.value else {
            if !matches!(entry.node.value, Value::Broken) {
                let help = "write `random: { points: 20, space: { parameter: { uniform: [0, 1] } } }`".to_owned();
                self.say(entry.node.span, format!("`random` is a mapping, and this is {}", entry.node.noun()), Some(help));
            }
            return Vec::new();
        };
        self.unknown(map, &RANDOM, "random");
        let points = match map.get("points") {
            Some(points) => self.whole(&points.node, "`points`", 1..=MOST_POINTS as u64),
            None => {
                self.say(entry.key, "`random` does not say how many points", Some("add `points: 20`".to_owned()));
                None
            }
        };
        let seed = map.get("seed").map_or(Some(RANDOM_SEED), |seed| self.whole(&seed.node, "`seed`", 0..=i64::MAX as u64));
        let Some(space) = map.get("space") else {
            let help = "add `space: { parameter: { uniform: [0, 1] } }`".to_owned();
            self.say(entry.key, "`random` has no `space` to draw from", Some(help));
            return Vec::new();
        };
        let Some(space_map) = self.mapping(&space.node, "space", "space: { parameter: { uniform: [0, 1] } }") else {
            return Vec::new();
        };
        let mut drawn = Vec::new();
        for (path, entry) in space_map {
            drawn.push((path.clone(), entry, self.distribution(path, &entry.node)));
        }
        let (points, seed) = (points.unwrap_or(0), seed.unwrap_or(RANDOM_SEED));
        let written = json!({ "points": points, "seed": seed, "space": data(&space.node) });
        self.written.insert("random".to_owned(), written);
        let mut rows: Vec<Vec<Option<Named>>> = Vec::new();
        let mut seen = HashSet::new();
        for point in 0..usize::try_from(points).unwrap_or(0) {
            let value = |(path, entry, from): &(String, &Entry, Option<Distribution>)| {
                Some(Drawn { seed, path, place: &entry.node }.at(point, from.as_ref()?))
            };
            let row: Vec<Option<Node>> = drawn.iter().map(value).collect();
            // In a small space the same comes again: once is enough.
            if seen.insert(row.iter().flatten().map(canonical).collect::<Vec<_>>()) {
                rows.push(row.into_iter().map(|node| node.map(|node| Named { node, name: None })).collect());
            }
        }
        let params = drawn.into_iter().map(|(path, entry, _)| (path, entry.key)).collect();
        vec![Table { params, seeds: false, rows }]
    }

    fn distribution(&mut self, path: &str, node: &Node) -> Option<Distribution> {
        let wrong = |reader: &mut Self| {
            let help = "write one of `{ uniform: [0, 1] }`, `{ log_uniform: [1e-4, 1e-1] }`, `{ integers: [1, 9] }`, `{ choice: [8, 16] }`";
            reader.say(node.span, format!("this does not say how to draw `{path}`"), Some(help.to_owned()));
        };
        let Value::Map(map) = &node.value else {
            if !matches!(node.value, Value::Broken) {
                wrong(self);
            }
            return None;
        };
        let (Some((word, entry)), 1) = (map.first(), map.len()) else {
            wrong(self);
            return None;
        };
        if word == "choice" {
            let values = self.axis(path, &entry.node)?;
            return Some(Distribution::Choice(values.into_iter().map(|value| value.node).collect()));
        }
        if !DISTRIBUTIONS.contains(&word.as_str()) {
            self.say(entry.key, format!("`{word}` is no way to draw a value"), one_of(word, DISTRIBUTIONS));
            return None;
        }
        let ends = self.known(&entry.node);
        let Value::List(items) = &ends.value else {
            if !matches!(ends.value, Value::Broken) {
                self.say(ends.span, format!("`{word}` takes the two ends of a range"), Some(format!("write `{word}: [1, 9]`")));
            }
            return None;
        };
        let items: Vec<Node> = items.iter().map(|item| self.known(item)).collect();
        let number = |node: &Node| match node.value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) if value.is_finite() => Some(value),
            _ => None,
        };
        match (word.as_str(), &items[..]) {
            (_, [Node { value: Value::Broken, .. }, _] | [_, Node { value: Value::Broken, .. }]) => None,
            ("integers", [Node { value: Value::Int(low), .. }, Node { value: Value::Int(high), .. }]) if low < high => {
                Some(Distribution::Integers(*low, *high))
            }
            ("integers", _) => {
                self.say(ends.span, "`integers` takes two whole numbers, the lower one first", None);
                None
            }
            (_, [low, high]) => match (number(low), number(high)) {
                (Some(low), Some(_)) if word == "log_uniform" && low <= 0.0 => {
                    self.say(ends.span, "the range of `log_uniform` must lie above 0", None);
                    None
                }
                (Some(low), Some(high)) if low < high && (high - low).is_finite() => Some(match word.as_str() {
                    "uniform" => Distribution::Uniform(low, high),
                    _ => Distribution::LogUniform(low, high),
                }),
                _ => {
                    self.say(ends.span, format!("`{word}` takes two numbers, the lower one first"), None);
                    None
                }
            },
            _ => {
                self.say(ends.span, format!("`{word}` takes two numbers, the lower one first"), None);
                None
            }
        }
    }

    fn whole(&mut self, node: &Node, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.known(node);
        let value = match node.value {
            Value::Int(value) => u64::try_from(value).ok().filter(|value| range.contains(value)),
            Value::Broken => return None,
            _ => None,
        };
        if value.is_none() {
            self.say(node.span, format!("{what} must be a whole number from {} to {}", range.start(), range.end()), None);
        }
        value
    }

    /// `seeds: 10`, `seeds: [1, 2]`, or `seeds: { param: x, values: ... }`.
    fn seeds(&mut self, entry: &Entry, axes: &mut Vec<Axis>) -> Option<Table> {
        let (path, at, values) = match &entry.node.value {
            Value::Map(map) => {
                self.unknown(map, &SEEDS, "seeds");
                let (path, at) = match map.get("param").map(|param| (text(&param.node), param)) {
                    Some((Some(path), param)) => (path.to_owned(), param.node.span),
                    Some((None, param)) => {
                        self.say(param.node.span, "`param` must be the name of a parameter", None);
                        return None;
                    }
                    None => (SEED.to_owned(), entry.key),
                };
                match map.get("values") {
                    Some(values) => (path, at, values.node.clone()),
                    None => {
                        self.say(
                            entry.key,
                            "`seeds` has no `values`",
                            Some("add `values: 10` or `values: [1, 2, 3]`".to_owned()),
                        );
                        return None;
                    }
                }
            }
            _ => (SEED.to_owned(), entry.key, entry.node.clone()),
        };
        let values = self.known(&values);
        let typed = axes.extract_if(.., |axis| axis.path == path).next();
        let values = match (typed, &values.value) {
            (Some(axis), _) => list_node(axis.at, axis.values),
            (None, Value::List(_)) => values,
            (None, _) => {
                let most = self.whole(&values, "`seeds`, where it is no list,", 1..=MOST_POINTS as u64)?;
                let seed = |seed: u64| Node::new(values.span, Value::Int(i64::try_from(seed).unwrap_or(i64::MAX)));
                list_node(values.span, (1..=most).map(seed).collect())
            }
        };
        let values = self.axis(&path, &values)?;
        self.written.insert("seeds".to_owned(), json!({ "param": path, "values": all(&values) }));
        Some(self.column(&path, at, values, true))
    }

    /// An axis that the manifest does not have.
    fn typed(&mut self, axis: Axis) -> Option<Table> {
        let values = self.axis(&axis.path, &list_node(axis.at, axis.values))?;
        let set = self.written.entry("set").or_insert_with(|| json!({}));
        set[&axis.path] = all(&values);
        Some(self.column(&axis.path, axis.at, values, false))
    }

    /// Every swept parameter is one, and is swept once.
    fn check_params(&mut self, tables: &[Table]) {
        let params: Vec<&(String, Span)> = tables.iter().flat_map(|table| &table.params).collect();
        for (place, (path, at)) in params.iter().enumerate() {
            if let Err(mistake) = put(&self.manifest.params, path, Node::new(*at, Value::Null), *at) {
                self.mistakes.push(*mistake);
            }
            let clashes = |(other, _): &&&(String, Span)| {
                let inside = |outer: &str, inner: &str| {
                    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                };
                inside(other, path) || inside(path, other)
            };
            if let Some((other, first)) = params[..place].iter().find(clashes) {
                let message = match other == path {
                    true => format!("`{path}` is swept twice"),
                    false => format!("`{path}` and `{other}` are both swept, and one is a part of the other"),
                };
                self.mistakes.push(Diagnostic::new(*at, message).also(*first, "swept here"));
            }
        }
    }

    fn product(&mut self, tables: &[Table]) -> Option<Space> {
        let count = tables.iter().try_fold(1_usize, |count, table| count.checked_mul(table.rows.len()));
        let Some(count) = count.filter(|count| *count <= MOST_POINTS) else {
            let start = self.sources.whole(self.manifest.source).part(0, 0);
            let at = self.manifest.sweep.as_ref().map_or(start, |entry| entry.key);
            let sizes: Vec<String> = tables.iter().map(|table| table.rows.len().to_string()).collect();
            let message = format!("this sweep has more than {MOST_POINTS} points: {}", sizes.join(" times "));
            self.say(at, message, Some("draw some of them: `random: { points: 100, space: ... }`".to_owned()));
            return None;
        };
        let named_seed = tables.iter().any(|table| table.seeds);
        let params: Vec<Swept> = (tables.iter())
            .flat_map(|table| table.params.iter().map(|(path, at)| (path, at, table.seeds)))
            .map(|(path, at, seeds)| Swept { path: path.clone(), at: *at, seed: seeds || (!named_seed && path == SEED) })
            .collect();
        let mut names: Vec<Names> = params.iter().map(|_| Names::default()).collect();
        let base: Vec<Node> = params.iter().map(|param| lookup(&self.manifest.params, &param.path, param.at)).collect();
        let points = (0..count).map(|number| {
            // The last table changes fastest.
            let mut rest = number;
            let mut rows: Vec<&Vec<Option<Named>>> = Vec::new();
            for table in tables.iter().rev() {
                rows.push(&table.rows[rest % table.rows.len()]);
                rest /= table.rows.len();
            }
            let values = rows.into_iter().rev().flatten().zip(&base).zip(&mut names);
            let given = values.map(|((value, base), names)| match value {
                Some(value) => Given { name: names.of(&value.node, value.name.as_deref()), node: value.node.clone(), set: true },
                None => Given { name: names.of(base, None), node: base.clone(), set: false },
            });
            Point(given.collect())
        });
        let points = points.collect();
        Some(Space { params, points, written: std::mem::take(&mut self.written).into() })
    }
}

/// The value of a parameter as `params` has it; nothing where it is made of another.
fn lookup(params: &Map, path: &str, at: Span) -> Node {
    let mut names = path.split('.');
    let mut entry = names.next().and_then(|name| params.get(name));
    for name in names {
        entry = match entry.map(|entry| &entry.node.value) {
            Some(Value::Map(map)) => map.get(name),
            _ => None,
        };
    }
    entry.map_or_else(|| Node::new(at, Value::Null), |entry| entry.node.clone())
}

fn list_node(at: Span, items: Vec<Node>) -> Node {
    Node::new(at, Value::List(items.into()))
}

fn all(values: &[Named]) -> Json {
    match values.iter().all(|value| value.name.is_some()) && !values.is_empty() {
        true => values
            .iter()
            .map(|value| (value.name.clone().unwrap_or_default(), data(&value.node)))
            .collect::<JsonMap<_, _>>()
            .into(),
        false => values.iter().map(|value| data(&value.node)).collect(),
    }
}
