//! `${...}`: parameters, matrix values and environment variables take their places in the tree.
//!
//! Parameters may refer to each other; each is resolved once, when first asked for, by its path, so that `a.x` may refer to
//! `a.y`. What is resolved is never read again for `${`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;

use super::Env;
use super::node::{Entry, Map, Node, Value, Variable, Via};
use super::template::{Piece, is_template, pieces};
use crate::source::{Diagnostic, Sources, Span, did_you_mean};

/// The longest text that interpolation may make: far above any name, far below what doubling can reach.
const LONGEST: usize = 64 << 10;
/// With more mistakes than this in parameters, the rest is not looked at.
const MOST_MISTAKES: usize = 100;
/// How many parameters may refer to each other in a row.
const DEEPEST: usize = 64;
/// How many values interpolation may visit in one manifest: 100 000 instances of a hundred values.
const MOST_WORK: usize = 10_000_000;

/// The value an instance has on one axis of its matrix.
#[derive(Clone, Debug)]
pub struct AxisValue {
    /// Its name, which is part of the instance's name.
    pub name: String,
    /// What stands for it inside longer text: its name, or of a file the path.
    pub text: String,
    /// The value.
    pub node: Node,
}

/// Where a text stands that is interpolated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// The values of `${matrix.x}`; `None` outside of a matrix stage.
    pub axes: Option<&'a IndexMap<String, AxisValue>>,
    /// The path of the parameter it is part of.
    param: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// In a stage: with `axes` where it has a matrix.
    #[must_use]
    pub fn stage(axes: Option<&'a IndexMap<String, AxisValue>>) -> Self {
        Self { axes, param: None }
    }
}

/// The axes that the `${matrix.x}` in a tree, as written, name, and where.
#[must_use]
pub fn matrix_uses(node: &Node) -> Vec<(String, Span)> {
    match &node.value {
        Value::Text(text) if is_template(text) => {
            // What is wrong with a text is said where it is resolved.
            let pieces = pieces(text, |_, _| node.span, &mut Vec::new()).unwrap_or_default();
            let axis = |piece: Piece<'_>| match piece {
                Piece::Reference { path, .. } => {
                    path.strip_prefix("matrix.").map(|rest| rest.split('.').next().unwrap_or(rest).to_owned())
                }
                Piece::Text(_) => None,
            };
            pieces.into_iter().filter_map(axis).map(|axis| (axis, node.span)).collect()
        }
        Value::List(items) => items.iter().flat_map(matrix_uses).collect(),
        Value::Map(map) => map.values().flat_map(|entry| matrix_uses(&entry.node)).collect(),
        _ => Vec::new(),
    }
}

/// Resolves the `${...}` of one manifest.
pub struct Interpolation<'a> {
    sources: &'a Sources,
    params: Arc<Map>,
    env: Env<'a>,
    resolved: HashMap<String, Node>,
    /// The parameters being resolved, each with the `${...}` that asked for it.
    stack: Vec<(String, Span)>,
    work: usize,
    /// Every `${env.X}` that was resolved: the variable, and where its value stands.
    pub env_uses: BTreeSet<(String, Span)>,
    /// What was found to be wrong.
    pub mistakes: Vec<Diagnostic>,
}

impl<'a> Interpolation<'a> {
    /// For the parameters of a manifest, as written.
    #[must_use]
    pub fn new(sources: &'a Sources, params: Arc<Map>, env: Env<'a>) -> Self {
        Self {
            sources,
            params,
            env,
            resolved: HashMap::new(),
            stack: Vec::new(),
            work: 0,
            env_uses: BTreeSet::new(),
            mistakes: Vec::new(),
        }
    }

    /// Resolves every parameter, used or not; where very many are wrong, not all of them.
    pub fn params(&mut self) -> Vec<(String, Node)> {
        let params = Arc::clone(&self.params);
        let mut resolved = Vec::new();
        for (name, entry) in params.iter() {
            if self.mistakes.len() > MOST_MISTAKES {
                break;
            }
            resolved.push((name.clone(), self.param(name.clone(), &entry.node, entry.key)));
        }
        resolved
    }

    /// The tree with each `${...}` replaced. What could not be resolved is [`Value::Broken`], and reported.
    pub fn expand(&mut self, node: &Node, scope: Scope<'_>) -> Node {
        self.changed(node, scope).unwrap_or_else(|| node.clone())
    }

    /// The tree with each `${...}` replaced; `None` where there is none, so that the tree can be shared.
    fn changed(&mut self, node: &Node, scope: Scope<'_>) -> Option<Node> {
        self.work += 1;
        if self.work > MOST_WORK {
            if self.work == MOST_WORK + 1 {
                let message = format!("this manifest unfolds to more than {MOST_WORK} values");
                self.mistakes.push(Diagnostic::new(node.span, message).help("fewer instances, or fewer settings in each"));
            }
            return Some(Node::new(node.span, Value::Broken));
        }
        match &node.value {
            Value::Text(text) if is_template(text) => Some(self.text(node.span, text, scope)),
            Value::List(items) => {
                let mut changed: Option<Vec<Node>> = None;
                for (at, item) in items.iter().enumerate() {
                    let path = scope.param.map(|path| format!("{path}[{at}]"));
                    if let Some(new) = self.inner(path, item, scope) {
                        changed.get_or_insert_with(|| items.to_vec())[at] = new;
                    }
                }
                Some(Node { value: Value::List(changed?.into()), ..node.clone() })
            }
            Value::Map(map) => {
                let mut changed: Option<Map> = None;
                for (at, (key, entry)) in map.iter().enumerate() {
                    let path = scope.param.map(|path| format!("{path}.{key}"));
                    if let Some(new) = self.inner(path, &entry.node, scope) {
                        changed.get_or_insert_with(|| (**map).clone())[at] = Entry { key: entry.key, node: new };
                    }
                }
                Some(Node { value: Value::Map(Arc::new(changed?)), ..node.clone() })
            }
            _ => None,
        }
    }

    /// A value inside another; `path` where both are parts of a parameter.
    fn inner(&mut self, path: Option<String>, node: &Node, scope: Scope<'_>) -> Option<Node> {
        match (path, &node.value) {
            (Some(path), Value::Text(text)) if is_template(text) => Some(self.param(path, node, node.span)),
            (Some(path), Value::List(_) | Value::Map(_)) => Some(self.param(path, node, node.span)),
            _ => self.changed(node, scope),
        }
    }

    /// The value of a parameter or a part of one, whose path and written value are given, for a `${...}` at `used`.
    fn param(&mut self, path: String, node: &Node, used: Span) -> Node {
        if let Some(known) = self.resolved.get(&path) {
            return known.clone();
        }
        if let Some(again) = self.stack.iter().position(|(known, _)| *known == path) {
            let mistake = self.cycle(again, used);
            self.mistakes.push(mistake);
            return Node::new(used, Value::Broken);
        }
        if self.stack.len() == DEEPEST {
            let message = format!("more than {DEEPEST} parameters refer to each other in a row");
            self.mistakes.push(Diagnostic::new(used, message));
            return Node::new(used, Value::Broken);
        }
        self.stack.push((path.clone(), used));
        let value = self.expand(node, Scope { axes: None, param: Some(&path) });
        self.stack.pop();
        self.resolved.insert(path, value.clone());
        value
    }

    fn cycle(&self, again: usize, used: Span) -> Diagnostic {
        let cycle = &self.stack[again..];
        let mut names: Vec<&str> = Vec::new();
        for (path, _) in cycle {
            // A mapping on the way to its own field says nothing new.
            match names.last() {
                Some(last) if path.starts_with(last) => *names.last_mut().unwrap_or(&mut "") = path,
                _ => names.push(path),
            }
        }
        let first = names.first().copied().unwrap_or_default();
        let mut mistake = Diagnostic::new(used, format!("cycle among parameters: `{} -> {first}`", names.join(" -> ")))
            .label(format!("asks for `{first}`"));
        for (path, span) in &cycle[1..] {
            if *span != used && self.sources.slice(*span).contains("${") {
                mistake = mistake.also(*span, format!("asks for `{path}`"));
            }
        }
        mistake
    }

    /// A text with `${...}` in it.
    fn text(&mut self, span: Span, text: &str, scope: Scope<'_>) -> Node {
        let broken = Node::new(span, Value::Broken);
        let inside = self.sources.find_inside(span, text);
        let at = |start, end| inside.map_or(span, |inside: Span| inside.part(start, end));
        let Some(pieces) = pieces(text, at, &mut self.mistakes) else { return broken };
        if let [Piece::Reference { path, .. }] = pieces[..] {
            return self.reference(path, span, scope).map_or(broken, |(node, _)| node);
        }
        let mut whole = Some(String::new());
        for piece in pieces {
            let part = match piece {
                Piece::Text(text) => Some(text.to_owned()),
                Piece::Reference { path, start, end } => {
                    let place = at(start, end);
                    let found = self.reference(path, place, scope);
                    found.and_then(|(node, name)| self.format(path, &node, name, place))
                }
            };
            whole = whole.zip(part).map(|(whole, part)| whole + &part);
            if whole.as_ref().is_some_and(|whole| whole.len() > LONGEST) {
                let message = format!("this text becomes longer than {} KiB", LONGEST >> 10);
                self.mistakes.push(Diagnostic::new(span, message));
                return broken;
            }
        }
        whole.map_or(broken, |whole| Node::new(span, Value::Text(whole.into())))
    }

    /// A value as a part of a text. `name` is that of a matrix value, which is formatted by it.
    fn format(&mut self, path: &str, node: &Node, name: Option<String>, place: Span) -> Option<String> {
        match (&node.value, name) {
            (Value::Broken, _) => None,
            (_, Some(name)) => Some(name),
            (Value::Text(text), None) => Some(text.to_string()),
            (Value::Bool(value), None) => Some(value.to_string()),
            (Value::Int(value), None) => Some(value.to_string()),
            (Value::Float(value), None) => Some(format!("{value:?}")),
            (Value::Null | Value::List(_) | Value::Map(_), None) => {
                let message = format!("`{path}` is {}, which cannot be part of a text", node.noun());
                let mistake = Diagnostic::new(place, message).also(node.span, "the value");
                self.mistakes.push(mistake.help(format!("\"${{{path}}}\" alone takes the value as it is")));
                None
            }
        }
    }

    /// The value that `${path}` at `used` names, and its name where it is a whole matrix value. Nothing after a mistake.
    fn reference(&mut self, path: &str, used: Span, scope: Scope<'_>) -> Option<(Node, Option<String>)> {
        let names: Vec<&str> = path.split('.').collect();
        let (node, name, variable) = match names[..] {
            ["env", name] => (self.environment(name, used)?, None, Variable::Env(name.to_owned())),
            ["env", ..] | ["matrix"] => {
                let message = format!("`${{{path}}}` is not the name of a value");
                self.mistakes.push(Diagnostic::new(used, message).help("write `${env.NAME}` or `${matrix.axis}`"));
                return None;
            }
            ["matrix", axis, ref rest @ ..] => {
                let value = self.axis(axis, used, scope)?;
                let name = rest.is_empty().then(|| value.text.clone());
                (self.field(value.node, &names[..2], rest, used)?, name, Variable::Matrix(axis.to_owned()))
            }
            _ => (self.named(&names, used, scope)?, None, Variable::Param(path.to_owned())),
        };
        if matches!(node.value, Value::Broken) {
            return None;
        }
        Some((Node { via: Some(Arc::new(Via { variable, used })), ..node }, name))
    }

    fn environment(&mut self, name: &str, used: Span) -> Option<Node> {
        let Some(value) = (self.env)(name) else {
            let mistake = Diagnostic::new(used, format!("the environment variable `{name}` is not set"));
            self.mistakes.push(mistake.help(format!("run with `{name}=... talkflow ...`")));
            return None;
        };
        match value.into_string() {
            Ok(value) => {
                self.env_uses.insert((name.to_owned(), used));
                Some(Node::new(used, Value::Text(value.into())))
            }
            Err(_) => {
                let message = format!("the environment variable `{name}` is not UTF-8");
                self.mistakes.push(Diagnostic::new(used, message));
                None
            }
        }
    }

    fn axis(&mut self, axis: &str, used: Span, scope: Scope<'_>) -> Option<AxisValue> {
        let mistake = match (scope.axes, scope.param) {
            (Some(axes), _) => match axes.get(axis) {
                Some(value) => return Some(value.clone()),
                None => Diagnostic::new(used, format!("the matrix of this stage has no `{axis}`"))
                    .maybe_help(crate::source::one_of(axis, axes.keys().map(String::as_str))),
            },
            (None, Some(_)) => Diagnostic::new(used, "a parameter cannot take a matrix value")
                .help("a parameter is one value for all stages; use `${matrix...}` in the stage"),
            (None, None) => {
                Diagnostic::new(used, "there is no matrix here").help("`${matrix...}` belongs into a stage with a `matrix`")
            }
        };
        self.mistakes.push(mistake);
        None
    }

    /// The parameter, or the part of one, that `names` lead to.
    fn named(&mut self, names: &[&str], used: Span, scope: Scope<'_>) -> Option<Node> {
        let params = Arc::clone(&self.params);
        let first = *names.first()?;
        let Some(entry) = params.get(first) else {
            let near = did_you_mean(first, params.keys().map(String::as_str));
            let axis =
                scope.axes.is_some_and(|axes| axes.contains_key(first)).then(|| format!("did you mean `${{matrix.{first}}}`?"));
            let help = axis.or(near).unwrap_or_else(|| format!("add `{first}` to `params`"));
            self.mistakes.push(Diagnostic::new(used, format!("there is no parameter `{first}`")).help(help));
            return None;
        };
        // As long as nothing has to be resolved on the way, a field is asked for alone: it may be what is asking.
        let mut node = &entry.node;
        for depth in 1..names.len() {
            match &node.value {
                Value::Map(map) if map.contains_key(names[depth]) => node = &map[names[depth]].node,
                _ => {
                    let known = self.param(names[..depth].join("."), node, used);
                    return self.field(known, &names[..depth], &names[depth..], used);
                }
            }
        }
        Some(self.param(names.join("."), node, used))
    }

    /// The part of a resolved value that `rest` leads to; `names` led to the value.
    fn field(&mut self, node: Node, names: &[&str], rest: &[&str], used: Span) -> Option<Node> {
        let mut node = node;
        for (at, name) in rest.iter().enumerate() {
            let path = || names.iter().chain(&rest[..at]).copied().collect::<Vec<_>>().join(".");
            let mistake = match &node.value {
                Value::Broken => return None,
                Value::Map(map) => match map.get(*name) {
                    Some(entry) => {
                        node = entry.node.clone();
                        continue;
                    }
                    None => Diagnostic::new(used, format!("`{}` has no field `{name}`", path()))
                        .maybe_help(crate::source::one_of(name, map.keys().map(String::as_str))),
                },
                _ => Diagnostic::new(used, format!("`{}` is {}, which has no field `{name}`", path(), node.noun())),
            };
            self.mistakes.push(mistake.also(node.span, "the value"));
            return None;
        }
        Some(node)
    }
}
