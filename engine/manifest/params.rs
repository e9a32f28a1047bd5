//! Parameters that nothing uses: most often one that is misspelt where it is used.

use std::collections::BTreeSet;

use super::load::Manifest;
use super::node::{Map, Node, Value};
use super::template::{Piece, is_name, pieces};
use crate::source::{Diagnostic, Span, did_you_mean};

/// A `${...}` in a text: the names, and the place of the text.
type Use = (String, Span);

/// With more names that mean nothing than this, comparing all of them would take longer than it helps.
const MOST_LOST: usize = 100;
/// More parameters that nothing uses than this are not listed.
const MOST_UNUSED: usize = 100;

impl Manifest {
    /// Reports names that no parameter can have, and parameters of this manifest that no stage uses, directly or through another
    /// parameter. Those of a manifest it extends may go unused: it may have replaced what used them.
    pub fn check_params(&self, mistakes: &mut Vec<Diagnostic>) {
        for (name, entry) in self.params.iter() {
            let at = entry.key;
            if matches!(name.as_str(), "matrix" | "env") {
                mistakes.push(
                    Diagnostic::new(at, format!("a parameter cannot be called `{name}`"))
                        .help(format!("`${{{name}...}}` has a meaning of its own")),
                );
            } else if !is_name(name) {
                mistakes.push(
                    Diagnostic::new(at, format!("`{name}` cannot be the name of a parameter"))
                        .help("use letters, digits, `_` and `-`"),
                );
            }
        }
        let uses = self.uses();
        let paths: BTreeSet<&str> = uses.iter().map(|(path, _)| path.as_str()).collect();
        let mut unused = Vec::new();
        self.unused(&self.params, "", &paths, &mut unused);
        // Those that name nothing may be meant for a parameter that nothing uses.
        let lost = uses.iter().filter(|(path, _)| {
            let name = root(path);
            !self.params.contains_key(name) && !matches!(name, "matrix" | "env")
        });
        let lost: Vec<&Use> = lost.take(MOST_LOST).collect();
        for (path, at) in unused.into_iter().take(MOST_UNUSED) {
            let near = lost.iter().find(|(lost, _)| did_you_mean(lost, [path.as_str()]).is_some());
            let mistake = Diagnostic::new(at, format!("nothing uses the parameter `{path}`"));
            mistakes.push(match near {
                Some((lost, span)) => mistake.also(*span, format!("did you mean `${{{path}}}` and not `${{{lost}}}`?")),
                None => mistake.help(format!("write \"${{{path}}}\" where it belongs, or remove it")),
            });
        }
    }

    /// Every `${...}` that counts: those in stages, and those in parameters that are used.
    fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for node in [&self.name, &self.description].into_iter().flatten() {
            collect(node, &mut uses);
        }
        for entry in self.pools.values().chain(&self.sweep).chain(&self.check).chain(self.stages.values()) {
            collect(&entry.node, &mut uses);
        }
        self.follow(&mut uses, |_, _| {});
        uses
    }

    /// Adds to some uses those in the parameters that they lead to. `met` hears of each path once, and may add more.
    fn follow(&self, uses: &mut Vec<Use>, mut met: impl FnMut(&str, &mut Vec<Use>)) {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut next = 0;
        while next < uses.len() {
            let path = uses[next].0.clone();
            next += 1;
            if !seen.insert(path.clone()) {
                continue;
            }
            met(&path, uses);
            let mut map = &self.params;
            let mut names = path.split('.').peekable();
            while let Some(entry) = names.next().and_then(|name| map.get(name)) {
                match &entry.node.value {
                    Value::Map(inner) if names.peek().is_some() => map = inner,
                    _ => {
                        collect(&entry.node, uses);
                        break;
                    }
                }
            }
        }
    }

    /// The parameters and fields of `map`, which stands at `outer`, that none of `paths` needs.
    fn unused(&self, map: &Map, outer: &str, paths: &BTreeSet<&str>, unused: &mut Vec<(String, Span)>) {
        for (name, entry) in map {
            let path = if outer.is_empty() { name.clone() } else { format!("{outer}.{name}") };
            let whole = paths.contains(path.as_str());
            let field = format!("{path}.");
            let part = paths.range(field.as_str()..).next().is_some_and(|used| used.starts_with(&field));
            match &entry.node.value {
                _ if whole => {}
                Value::Map(inner) if part => self.unused(inner, &path, paths, unused),
                _ if part => {}
                _ if entry.key.source == self.source && is_name(name) => unused.push((path, entry.key)),
                _ => {}
            }
        }
    }
}

/// Which of some parameters, each of which may have one of several values, a part of a manifest depends on.
#[derive(Debug)]
pub struct Reach<'a> {
    manifest: &'a Manifest,
    /// Each parameter, with what its values use.
    params: Vec<(&'a str, Vec<Use>)>,
}

impl<'a> Reach<'a> {
    /// Of these parameters of a manifest, with all of their values.
    pub fn new(manifest: &'a Manifest, params: impl Iterator<Item = (&'a str, Vec<&'a Node>)>) -> Self {
        let used = |values: Vec<&Node>| {
            let mut uses = Vec::new();
            values.into_iter().for_each(|value| collect(value, &mut uses));
            uses
        };
        Self { manifest, params: params.map(|(path, values)| (path, used(values))).collect() }
    }

    /// A mark for each of the parameters: whether what stands in `node` depends on it, by itself or by way of other parameters.
    #[must_use]
    pub fn of(&self, node: &Node) -> Vec<bool> {
        let mut marks = vec![false; self.params.len()];
        let mut uses = Vec::new();
        collect(node, &mut uses);
        self.manifest.follow(&mut uses, |path, uses| {
            for ((param, theirs), mark) in self.params.iter().zip(&mut marks) {
                if !*mark && (is_part(path, param) || is_part(param, path)) {
                    *mark = true;
                    uses.extend_from_slice(theirs);
                }
            }
        });
        marks
    }
}

/// Whether one parameter is another or a field of it.
fn is_part(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn collect(node: &Node, uses: &mut Vec<Use>) {
    match &node.value {
        Value::Text(text) => {
            // Mistakes in the text are reported where it is resolved.
            for piece in pieces(text, |_, _| node.span, &mut Vec::new()).unwrap_or_default() {
                if let Piece::Reference { path, .. } = piece {
                    uses.push((path.to_owned(), node.span));
                }
            }
        }
        Value::List(items) => items.iter().for_each(|item| collect(item, uses)),
        Value::Map(map) => map.values().for_each(|entry| collect(&entry.node, uses)),
        _ => {}
    }
}
