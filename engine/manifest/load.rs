//! Files to a manifest: reading within limits, `extends`, the top level.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Texts;
use super::kept::parse_kept;
use super::merge::merge;
use super::node::{Entry, Map, Node, Value};
use super::set;
use super::yaml::parse;
use crate::source::{Diagnostic, SourceId, Sources, Span, one_of};

/// The manifest format this talkflow reads.
const FORMAT: i64 = 1;
/// Ten times what 10 000 stages need, and read and checked within a second.
const MOST_BYTES: u64 = 8 << 20;
/// More unknown keys than this are not listed.
const MOST_UNKNOWN: usize = 50;
/// What may stand at the top of a manifest.
pub const TOP: [&str; 9] = ["talkflow", "name", "description", "extends", "params", "pools", "sweep", "check", "stages"];

/// A manifest: merged with what it extends and with `--set`, and nothing resolved yet.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its file.
    pub path: PathBuf,
    /// Its text.
    pub source: SourceId,
    /// What it calls itself.
    pub name: Option<Node>,
    /// What it says about itself.
    pub description: Option<Node>,
    /// Its parameters, as written.
    pub params: Arc<Map>,
    /// Its pools by name, as written.
    pub pools: Arc<Map>,
    /// What a sweep of it goes over, as written.
    pub sweep: Option<Entry>,
    /// Its regression gates, as written.
    pub check: Option<Entry>,
    /// Its stages by name, as written.
    pub stages: Arc<Map>,
}

/// At most `most` bytes of a file.
///
/// # Errors
/// The system's.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the manifest in a file, and those it extends, from `texts`, and applies `sets`, each `name=value` as typed after `--set`.
///
/// Texts are added to `sources` and mistakes to `mistakes`. There is no manifest where one of the files could not be read
/// or is not YAML; else the mistakes leave enough to look for more.
pub fn load(
    path: &Path,
    sets: &[String],
    texts: Texts<'_>,
    sources: &mut Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Manifest> {
    let (source, mut layers) = read_chain(path, texts, sources, mistakes)?;
    let mut root = layers.pop()?;
    while let Some(over) = layers.pop() {
        root = merge(&root, &over);
    }
    let Value::Map(top) = &root.value else { return None };
    let mut section = |key: &str| -> Option<Node> {
        let node = &top.get(key)?.node;
        match &node.value {
            Value::Map(_) => return Some(node.clone()),
            Value::Null => {}
            _ => mistakes
                .push(Diagnostic::new(node.span, format!("`{key}` must be a mapping of names, and this is {}", node.noun()))),
        }
        None
    };
    let params = section("params");
    let pools = section("pools");
    let stages = section("stages");
    let text = |key: &str| top.get(key).map(|entry| entry.node.clone());
    let part = |key: &str| top.get(key).filter(|entry| !matches!(entry.node.value, Value::Null)).cloned();
    let map = |node: Option<Node>| match node.map(|node| node.value) {
        Some(Value::Map(map)) => map,
        _ => Arc::default(),
    };
    let manifest = Manifest {
        path: path.to_owned(),
        source,
        name: text("name"),
        description: text("description"),
        params: set::apply(map(params), sets, sources, mistakes),
        pools: map(pools),
        sweep: part("sweep"),
        check: part("check"),
        stages: map(stages),
    };
    if manifest.stages.is_empty() && !top.get("stages").is_some_and(|entry| matches!(entry.node.value, Value::List(_))) {
        let place = top.get("stages").map_or_else(|| start(&root), |entry| entry.key);
        mistakes.push(Diagnostic::new(place, "this manifest has no stages").help("see `talkflow init` for a first manifest"));
    }
    Some(manifest)
}

/// The manifest and those it extends, the manifest first.
fn read_chain(
    path: &Path,
    texts: Texts<'_>,
    sources: &mut Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<(SourceId, Vec<Node>)> {
    let mut chain: Vec<(PathBuf, String)> = Vec::new();
    let mut layers = Vec::new();
    let mut first = None;
    let mut next = path.to_owned();
    let mut named: Option<Span> = None;
    loop {
        let shown = next.display().to_string();
        let real = next.canonicalize().unwrap_or_else(|_| next.clone());
        if let Some(again) = chain.iter().position(|(known, _)| *known == real) {
            let mut names: Vec<&str> = chain[again..].iter().map(|(_, shown)| shown.as_str()).collect();
            names.push(&chain[again].1);
            let message = format!("cycle of extends: `{}`", names.join(" -> "));
            mistakes.extend(named.map(|span| Diagnostic::new(span, message)));
            return None;
        }
        let source = add(&next, (texts.read)(&next, MOST_BYTES + 1), named, sources, mistakes)?;
        first = first.or(Some(source));
        let before = mistakes.len();
        let node = match texts.kept {
            Some(folder) => parse_kept(sources, source, folder, mistakes)?,
            None => parse(sources, sources.whole(source), mistakes)?,
        };
        let extends = check_top(&node, mistakes);
        let usable = matches!(node.value, Value::Map(_));
        layers.push(node);
        match extends {
            _ if !usable => return None,
            None => return Some((first?, layers)),
            Some(extends) => {
                let Value::Text(text) = &extends.value else {
                    if mistakes.len() == before {
                        let message = format!("`extends` takes the path of a manifest, and this is {}", extends.noun());
                        mistakes.push(Diagnostic::new(extends.span, message));
                    }
                    return None;
                };
                chain.push((real, shown));
                next = next.parent().unwrap_or(Path::new("")).join(&**text);
                named = Some(extends.span);
            }
        }
    }
}

/// Adds the text of one file. `named` is where a manifest names it; the first is named on the command line.
fn add(
    path: &Path,
    read: io::Result<Vec<u8>>,
    named: Option<Span>,
    sources: &mut Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<SourceId> {
    let shown = path.display();
    let (text, problem) = match read.map(|bytes| (bytes.len() as u64, String::from_utf8(bytes))) {
        Err(error) => (String::new(), Some((format!("cannot read the manifest `{shown}`: {error}"), None))),
        Ok((length, _)) if length > MOST_BYTES => {
            let message = format!("the manifest `{shown}` is larger than {} MiB", MOST_BYTES >> 20);
            (String::new(), Some((message, Some("use `matrix` to make many stages out of few lines"))))
        }
        Ok((_, Err(error))) => {
            let good = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            bytes.truncate(good);
            let message = format!("the manifest `{shown}` is not UTF-8 from here on");
            (String::from_utf8(bytes).unwrap_or_default(), Some((message, Some("save it as UTF-8"))))
        }
        Ok((_, Ok(text))) => (text, None),
    };
    let source = sources.add_file(path, text);
    let Some((message, help)) = problem else { return Some(source) };
    let whole = sources.whole(source);
    let end = Span { start: whole.end, ..whole };
    let place = match named {
        Some(named) if whole.end == 0 => named,
        _ => end,
    };
    mistakes.push(Diagnostic::new(place, message).maybe_help(help.map(str::to_owned)));
    None
}

/// Checks what stands at the top of one manifest; what it extends.
fn check_top(root: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    let Value::Map(top) = &root.value else {
        let (message, help) = match root.value {
            Value::Null => ("this manifest is empty", "begin with `talkflow: 1`; `talkflow init` writes a first manifest"),
            _ => ("a manifest is a mapping", "begin with `talkflow: 1`, then `name:` and `stages:`"),
        };
        mistakes.push(Diagnostic::new(start(root), message).help(help));
        return None;
    };
    for (key, entry) in top.iter().filter(|(key, _)| !TOP.contains(&key.as_str())).take(MOST_UNKNOWN) {
        let message = format!("unknown key `{key}` at the top of a manifest");
        mistakes.push(Diagnostic::new(entry.key, message).maybe_help(one_of(key, TOP)));
    }
    match top.get("talkflow").map(|entry| &entry.node) {
        None => mistakes.push(
            Diagnostic::new(start(root), "this manifest does not say which format it has")
                .help(format!("begin with `talkflow: {FORMAT}`")),
        ),
        Some(node) if !matches!(node.value, Value::Int(FORMAT)) => mistakes.push(
            Diagnostic::new(node.span, format!("this talkflow reads manifests of format {FORMAT}"))
                .help(format!("write `talkflow: {FORMAT}`, or use the talkflow that the manifest was written for")),
        ),
        Some(_) => {}
    }
    top.get("extends").map(|entry| entry.node.clone())
}

/// The first key of a manifest, or its first byte.
fn start(root: &Node) -> Span {
    match &root.value {
        Value::Map(top) => top.first().map_or(root.span.part(0, 0), |(_, entry)| entry.key),
        _ => root.span.part(0, 1),
    }
}
