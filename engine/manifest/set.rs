//! `--set talk.rounds=2`: parameters changed from the command line, and by each point of a sweep in the same way.

use std::sync::Arc;

use super::merge::merge;
use super::node::{Entry, Map, Node, Value};
use super::template::is_template;
use super::yaml::parse;
use crate::source::{Diagnostic, Sources, Span, one_of};

/// What such a text is called in messages.
const NAME: &str = "--set";

/// One `--set` taken apart: `talk.rounds=2`.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The parameter: names joined by dots.
    pub path: String,
    /// Where that stands.
    pub at: Span,
    /// Where the value stands.
    pub value: Span,
}

impl Typed {
    /// Takes apart what was typed, which becomes a text of `sources`.
    pub fn read(set: &str, sources: &mut Sources, mistakes: &mut Vec<Diagnostic>) -> Option<Self> {
        let id = sources.add_text(NAME, set.to_owned());
        let whole = sources.whole(id);
        let Some((path, value)) = set.split_once('=') else {
            let mistake = Diagnostic::new(whole, format!("`{set}` gives no value"));
            mistakes.push(mistake.help("write `--set name=value`, such as `--set talk.rounds=2`"));
            return None;
        };
        let value = whole.part(path.len() + 1, path.len() + 1 + value.len());
        Some(Self { path: path.to_owned(), at: whole.part(0, path.len()), value })
    }
}

/// Applies `sets` to the parameters, each `name=value` with the value read as YAML.
pub(super) fn apply(mut params: Arc<Map>, sets: &[String], sources: &mut Sources, mistakes: &mut Vec<Diagnostic>) -> Arc<Map> {
    for set in sets {
        let Some(typed) = Typed::read(set, sources, mistakes) else { continue };
        let Some(value) = parse(sources, typed.value, mistakes) else { continue };
        match put(&params, &typed.path, value, typed.at) {
            Ok(changed) => params = Arc::new(changed),
            Err(mistake) => mistakes.push(*mistake),
        }
    }
    params
}

/// `params` with another value for the one at `path`, which stands `at`. A mapping merges with the one it meets, as under `extends`;
/// anything else replaces what was there.
///
/// # Errors
/// Where there is no such parameter.
pub fn put(params: &Map, path: &str, value: Node, at: Span) -> Result<Map, Box<Diagnostic>> {
    if params.is_empty() {
        let mistake = Diagnostic::new(at, format!("there is no parameter `{path}`"));
        return Err(Box::new(mistake.help("the manifest has no `params`; only those can be set")));
    }
    let names: Vec<&str> = path.split('.').collect();
    replaced(params, &names, &[], value, at)
}

/// `map` with the value at `names` changed; `outer` are the names that led to `map`.
fn replaced(map: &Map, names: &[&str], outer: &[&str], value: Node, at: Span) -> Result<Map, Box<Diagnostic>> {
    let [name, rest @ ..] = names else { return Ok(map.clone()) };
    let path = [outer, &[*name]].concat();
    let Some(entry) = map.get(*name) else {
        let known = map.keys().map(String::as_str);
        let message = format!("there is no parameter `{}`", path.join("."));
        let help = match outer {
            [] => one_of(name, known),
            _ => {
                let outer = outer.join(".");
                let paths: Vec<String> = known.map(|key| format!("{outer}.{key}")).collect();
                let whole = path.join(".");
                one_of(&whole, paths.iter().map(String::as_str))
                    .map(|help| format!("{help}; only what stands in `params` can be set"))
            }
        };
        return Err(Box::new(Diagnostic::new(at, message).maybe_help(help)));
    };
    let node = match (&entry.node.value, rest) {
        (_, []) => merge(&entry.node, &value),
        (Value::Map(inner), _) => {
            let inner = replaced(inner, rest, &path, value, at)?;
            Node::new(entry.node.span, Value::Map(Arc::new(inner)))
        }
        (other, [next, ..]) => {
            let path = path.join(".");
            let mistake = Diagnostic::new(at, format!("parameter `{path}` has no field `{next}`"));
            let help = match other {
                Value::Text(text) if is_template(text) => Some(format!("it is taken from `{text}`; set that")),
                _ => Some(format!("it is {}; set `{path}` itself", entry.node.noun())),
            };
            return Err(Box::new(mistake.also(entry.node.span, "the parameter").maybe_help(help)));
        }
    };
    let mut changed = map.clone();
    // The place of the key says who had the last word on a tagged choice.
    changed.insert((*name).to_owned(), Entry { key: at, node });
    Ok(changed)
}
