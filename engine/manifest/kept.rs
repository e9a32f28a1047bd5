//! Trees of long manifests, kept between runs: reading YAML is most of what a run of a thousand stages with nothing to do would
//! take. A tree is a function of its text alone, and is kept with a digest of the text, of the version that read it, and of itself;
//! whatever is not as it was written is read from the text again. Knows nothing of what the folder is that it gets.
//!
//! ```text
//! digest of version, place among the texts, and text | the tree | digest of all before
//! node:   start u32, end u32, tag u8, then by tag
//!         0 null | 1 false | 2 true | 3 int i64 | 4 float u64 | 5 text | 6 list: count u32, nodes | 7 map: count u32, entries
//! entry:  start u32, end u32, text, node        text: bytes u32, UTF-8        numbers little-endian
//! ```

use std::{fs, path::Path, sync::Arc};

use super::{
    Entry, Map, Node, Value,
    yaml::{DEEPEST, MOST_NODES, parse},
};
use crate::source::{Diagnostic, SourceId, Sources, Span};

/// Shorter texts are read about as fast as a kept tree is.
const WORTH: usize = 16 << 10;
/// Bytes of a digest.
const DIGEST: usize = 32;
/// Bytes of the smallest node.
const NODE: usize = 9;

/// As [`parse`] of a whole text, from `folder` where its tree is kept there. A tree without mistakes is kept, if the folder exists;
/// there is one file for each path that was read.
pub fn parse_kept(sources: &Sources, id: SourceId, folder: &Path, mistakes: &mut Vec<Diagnostic>) -> Option<Node> {
    let text = sources.text(id);
    let whole = sources.whole(id);
    if text.len() < WORTH {
        return parse(sources, whole, mistakes);
    }
    let path = folder.join(blake3::hash(sources.name(id).as_bytes()).to_hex().as_str());
    let of = identity(id, text);
    if let Some(node) = fs::read(&path).ok().and_then(|bytes| decode(&bytes, &of, whole, text)) {
        return Some(node);
    }
    let before = mistakes.len();
    let node = parse(sources, whole, mistakes)?;
    if mistakes.len() == before {
        // Where it cannot be kept, the text is read the next time too.
        let _ = keep(&path, &encode(&node, &of));
    }
    Some(node)
}

/// To be raised with whatever changes the tree of a text, or how it is written.
const FORM: u32 = 1;

/// What a tree belongs to.
fn identity(id: SourceId, text: &str) -> [u8; DIGEST] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("talkflow {} tree {FORM} {id:?}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    hasher.update(text.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Aside, then renamed into place: of two processes one wins, and nobody reads half a tree.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension(std::process::id().to_string());
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    written.inspect_err(|_| drop(fs::remove_file(&aside)))
}

fn encode(node: &Node, of: &[u8; DIGEST]) -> Vec<u8> {
    let mut bytes = of.to_vec();
    write(node, &mut bytes);
    let check = blake3::hash(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

fn write(node: &Node, bytes: &mut Vec<u8>) {
    write_span(node.span, bytes);
    match &node.value {
        // Never without a mistake, and then nothing is kept.
        Value::Null | Value::Broken => bytes.push(0),
        Value::Bool(value) => bytes.push(1 + u8::from(*value)),
        Value::Int(value) => {
            bytes.push(3);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Value::Float(value) => {
            bytes.push(4);
            bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            bytes.push(5);
            write_text(text, bytes);
        }
        Value::List(items) => {
            bytes.push(6);
            write_count(items.len(), bytes);
            items.iter().for_each(|item| write(item, bytes));
        }
        Value::Map(map) => {
            bytes.push(7);
            write_count(map.len(), bytes);
            for (key, entry) in map.iter() {
                write_span(entry.key, bytes);
                write_text(key, bytes);
                write(&entry.node, bytes);
            }
        }
    }
}

fn write_span(span: Span, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&span.start.to_le_bytes());
    bytes.extend_from_slice(&span.end.to_le_bytes());
}

fn write_text(text: &str, bytes: &mut Vec<u8>) {
    write_count(text.len(), bytes);
    bytes.extend_from_slice(text.as_bytes());
}

/// Texts are shorter than 4 GiB, and so are their parts; a count that is not makes a tree that is not read.
fn write_count(count: usize, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// The tree that was kept; `None` where it belongs to another text or is not as it was written.
fn decode(bytes: &[u8], of: &[u8; DIGEST], whole: Span, text: &str) -> Option<Node> {
    let (body, check) = bytes.split_last_chunk::<DIGEST>()?;
    let rest = body.strip_prefix(of)?;
    if blake3::hash(body) != *check {
        return None;
    }
    let mut reader = Reader { rest, left: MOST_NODES, whole, text };
    let node = reader.node(DEEPEST + 1)?;
    reader.rest.is_empty().then_some(node)
}

/// Believes nothing: whoever can write a file can write its digest too.
struct Reader<'a> {
    rest: &'a [u8],
    /// How many more nodes there may be.
    left: usize,
    whole: Span,
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn node(&mut self, deepest: usize) -> Option<Node> {
        let deepest = deepest.checked_sub(1)?;
        self.left = self.left.checked_sub(1)?;
        let span = self.span()?;
        let [tag] = self.array()?;
        let value = match tag {
            0 => Value::Null,
            1 | 2 => Value::Bool(tag == 2),
            3 => Value::Int(i64::from_le_bytes(self.array()?)),
            4 => Value::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            5 => Value::Text(self.text()?.into()),
            6 => Value::List((0..self.count(NODE)?).map(|_| self.node(deepest)).collect::<Option<Arc<[Node]>>>()?),
            7 => {
                let count = self.count(8 + 4 + NODE)?;
                let mut map = Map::with_capacity(count);
                for _ in 0..count {
                    let (key, name) = (self.span()?, self.text()?);
                    let node = self.node(deepest)?;
                    if map.insert(name.to_owned(), Entry { key, node }).is_some() {
                        return None;
                    }
                }
                Value::Map(Arc::new(map))
            }
            _ => return None,
        };
        Some(Node::new(span, value))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    /// How many follow that take at least so many bytes each: no more than there are bytes for.
    fn count(&mut self, each: usize) -> Option<usize> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        (count <= self.rest.len() / each).then_some(count)
    }

    fn text(&mut self) -> Option<&'a str> {
        let count = self.count(1)?;
        let (text, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    /// A piece of the text.
    fn span(&mut self) -> Option<Span> {
        let (start, end) = (u32::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        self.text.get(start as usize..end as usize)?;
        Some(Span { start, end, ..self.whole })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    /// A text that is worth keeping, and has everything in it.
    fn long() -> String {
        let all =
            "{ n: ~, t: true, f: false, i: -7, x: 1.5e-3, nan: .nan, s: \"a\\nb\", é: ü, l: [1, [], {}], a: &a { b: 1 }, c: *a }";
        (0..200).map(|n| format!("s{n}: {all}\n")).collect()
    }

    fn sources(text: &str) -> (Sources, SourceId) {
        let mut sources = Sources::default();
        let id = sources.add_file(Path::new("m.yaml"), text.to_owned());
        (sources, id)
    }

    /// The tree by way of `folder`, as text, and whether it was taken from there.
    fn read(text: &str, folder: &Path) -> (Option<String>, bool) {
        let (sources, id) = sources(text);
        let kept = fs::read_dir(folder).unwrap().flatten().next();
        let taken = kept.and_then(|kept| decode(&fs::read(kept.path()).ok()?, &identity(id, text), sources.whole(id), text));
        let node = parse_kept(&sources, id, folder, &mut Vec::new());
        (node.map(|node| format!("{node:?}")), taken.is_some())
    }

    #[test]
    fn a_kept_tree_is_the_one_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = long();
        let (first, kept) = read(&text, folder.path());
        assert!(first.is_some() && !kept);
        assert_eq!(read(&text, folder.path()), (first.clone(), true));
        // One byte of the text is another text; and its tree takes the place of the first.
        let other = text.replacen("-7", "-8", 1);
        assert!(!read(&other, folder.path()).1);
        assert!(read(&other, folder.path()).1);
        assert_ne!(read(&other, folder.path()).0, first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tree_that_is_not_as_it_was_written_is_read_from_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let text = long();
        let first = read(&text, folder.path()).0;
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(997) {
            let mut damaged = whole.clone();
            damaged[at] ^= 16;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&text, folder.path()), (first.clone(), false), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&text, folder.path()), (first.clone(), false), "{at} bytes");
        }
    }

    #[test]
    fn a_tree_with_a_digest_of_its_own_making_does_no_harm() {
        let text = long();
        let (sources, id) = sources(&text);
        let (of, whole) = (identity(id, &text), sources.whole(id));
        let sealed = |body: &[u8]| {
            let mut bytes = [&of[..], body].concat();
            bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
            decode(&bytes, &of, whole, &text).is_some()
        };
        let node = |tag: u8, rest: &[u8]| [&[0; 8][..], &[tag], rest].concat();
        assert!(sealed(&node(0, &[])));
        let outside = [&[0; 4][..], &u32::MAX.to_le_bytes(), &[0]].concat();
        let nested: Vec<u8> = (0..100_000).flat_map(|_| node(6, &[1, 0, 0, 0])).collect();
        let twice = [&node(7, &[2, 0, 0, 0])[..], &[0; 12], &node(0, &[]), &[0; 12], &node(0, &[])].concat();
        for body in [node(9, &[]), node(5, &[255; 4]), node(6, &[255; 4]), node(0, &[0]), outside, nested, twice, Vec::new()] {
            assert!(!sealed(&body), "{:?}", &body[..body.len().min(30)]);
        }
    }

    /// A tree that an older reader made must not be taken for what this one would make.
    #[test]
    fn another_tree_of_the_same_text_has_another_form() {
        let text = long();
        let (sources, id) = sources(&text);
        let node = parse(&sources, sources.whole(id), &mut Vec::new()).unwrap();
        let mut bytes = Vec::new();
        write(&node, &mut bytes);
        let found = (FORM, blake3::hash(&bytes).to_hex()[..16].to_owned());
        assert_eq!(
            found,
            (1, "fac341118500017d".to_owned()),
            "where the tree is meant to have changed, raise FORM and note its digest here"
        );
    }

    #[test]
    fn what_has_mistakes_or_is_short_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        for text in [long() + "s0: 1\n", "a: 1\n".to_owned()] {
            assert!(read(&text, folder.path()).0.is_some());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        // Nor is a folder made for it.
        let none = folder.path().join("none");
        let (sources, id) = sources(&long());
        assert!(parse_kept(&sources, id, &none, &mut Vec::new()).is_some() && !none.exists());
    }
}
