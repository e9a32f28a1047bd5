//! What a stage kind can be asked for, found out by asking it: its `read` is run on nothing at all, again and again, and each
//! time takes another of the ways it can take.
//!
//! Wherever `read` could go on differently (a word of a choice, whether a field is written), the run takes a *decision*. Runs go
//! on until every outcome of every decision was met, and every pair of outcomes that can be met together: a field that hangs on
//! one or two others is found. What all runs asked for, merged, is the [`Form`]. So no list of fields is kept beside the code.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use indexmap::{IndexMap, IndexSet};

use super::directory::Directory;
use super::reader::{Absent, Fields, Outside};
use super::settings::Leaf;
use super::shape::Shape;
use crate::looks::Looks;
use crate::manifest::{Node, Value};
use crate::source::Sources;

/// The fields of a mapping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    /// By name, in the order in which they are asked for.
    pub fields: IndexMap<String, Field>,
    /// The sets of fields that have to be written: one of them in full. Empty where nothing has to.
    pub needs: Vec<BTreeSet<String>>,
}

/// One field of a mapping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Field {
    /// What it takes; several where other fields decide.
    pub shapes: Vec<Shape>,
    /// What it is where it is not written, unless other fields decide that.
    pub default: Option<Leaf>,
    /// Whether its default depends on other fields.
    pub varies: bool,
    /// Whether it is asked for whatever the other fields are.
    pub always: bool,
    /// Whether `null` says that there is none.
    pub nullable: bool,
    /// The fields under it: of a section under the empty word, of a tagged choice under each of its words.
    pub under: IndexMap<String, Form>,
}

impl Form {
    /// The field at a path: `method.talk.rounds`.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Field> {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        let field = self.fields.get(key)?;
        let Some(rest) = rest else { return Some(field) };
        // Below names of the user's choosing, and of files in a folder, there is nothing of its own.
        if field.shapes.iter().any(|shape| matches!(shape, Shape::Map(_) | Shape::Named(_) | Shape::Folder)) {
            return Some(field);
        }
        if let Some(form) = field.under.get("") {
            return form.field(rest);
        }
        let (word, rest) = rest.split_once('.')?;
        field.under.get(word)?.field(rest)
    }

    /// Every field with its path, those under others too.
    #[must_use]
    pub fn paths(&self) -> Vec<(String, &Field)> {
        let mut all = Vec::new();
        for (key, field) in &self.fields {
            all.push((key.clone(), field));
            for (word, form) in &field.under {
                let prefix = if word.is_empty() { key.clone() } else { format!("{key}.{word}") };
                all.extend(form.paths().into_iter().map(|(path, field)| (format!("{prefix}.{path}"), field)));
            }
        }
        all
    }
}

/// One run of `read`: the outcomes it is to take, and what it came to.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    script: Vec<usize>,
    taken: Vec<Decision>,
    asked: Vec<Asked>,
    /// The paths of the mappings it went into, each with a dot at its end.
    entered: Vec<String>,
}

#[derive(Debug)]
struct Decision {
    name: String,
    outcome: usize,
    of: usize,
}

#[derive(Debug)]
struct Asked {
    mapping: String,
    key: String,
    shape: Shape,
    absent: Absent<Leaf>,
}

impl Sketch {
    /// The outcome of a decision, below `of`. The same decision has the same outcome throughout a run.
    fn decide(&mut self, name: &str, of: usize) -> usize {
        if let Some(known) = self.taken.iter().find(|decision| decision.name == name) {
            return known.outcome.min(of.saturating_sub(1));
        }
        let outcome = self.script.get(self.taken.len()).copied().unwrap_or(0).min(of.saturating_sub(1));
        self.taken.push(Decision { name: name.to_owned(), outcome, of });
        outcome
    }
}

impl Fields<'_> {
    /// Notes that `read` asks for a field; whether this is a run that describes.
    pub(super) fn sketch(&mut self, key: &str, shape: &Shape, absent: Absent<Leaf>) -> bool {
        let mapping = self.path().to_owned();
        let Some(sketch) = &mut self.record.sketch else { return false };
        sketch.asked.push(Asked { mapping, key: key.to_owned(), shape: shape.clone(), absent });
        true
    }

    /// Notes that `read` goes into the mapping it is now in.
    pub(super) fn sketch_entry(&mut self) {
        let mapping = self.path().to_owned();
        if let Some(sketch) = &mut self.record.sketch {
            sketch.entered.push(mapping);
        }
    }

    /// Whether a field that may be left out is there in this run; nothing where the run does not describe.
    pub(super) fn sketched(&mut self, key: &str) -> Option<bool> {
        let name = format!("{}{key}?", self.path());
        let sketch = self.record.sketch.as_mut()?;
        Some(sketch.decide(&name, 2) == 1)
    }

    /// Which of some words a field has in this run.
    pub(super) fn sketched_word<'w, W: AsRef<str>>(&mut self, key: &str, words: &'w [W]) -> Option<&'w str> {
        let name = format!("{}{key}", self.path());
        let sketch = self.record.sketch.as_mut()?;
        let outcome = sketch.decide(&name, words.len());
        words.get(outcome).map(AsRef::as_ref)
    }

    /// A value that a field could have in this run; nothing where it is not there.
    pub(super) fn sketched_value(&mut self, key: &str, shape: &Shape, absent: &Absent<Leaf>) -> Option<Node> {
        match absent {
            Absent::None if self.sketched(key) != Some(true) => return None,
            // What has a default and no words goes on in the same way, whatever the value.
            Absent::Default(_) if !matches!(shape, Shape::Word(_) | Shape::Bool) => return None,
            _ => {}
        }
        let text = |text: &str| Value::Text(text.into());
        let value = match shape {
            Shape::Word(words) => text(self.sketched_word(key, words)?),
            Shape::Bool => Value::Bool(self.sketched_word(key, &["false", "true"])? == "true"),
            // A kind may go by the ending.
            Shape::File => text(self.sketched_word(key, &["a.csv", "a.parquet"])?),
            Shape::Int { least, .. } => Value::Int(i64::try_from(*least).ok()?),
            Shape::Text => text("text"),
            _ => return None,
        };
        Some(Node::new(self.span, value))
    }
}

/// A decision, by number, and its outcome.
type Taken = (usize, usize);

/// Describes what `read` reads.
pub fn describe(read: impl Fn(&mut Fields<'_>)) -> Form {
    let mut sources = Sources::default();
    let id = sources.add_text("", String::new());
    let at = sources.whole(id);
    let directory = Directory::default();
    let outside =
        Outside { sources: &sources, directory: &directory, stage: "", axes: &[], env: &|_| None, looks: &Looks::default() };
    let mut names: IndexSet<String> = IndexSet::new();
    let mut seen: HashSet<(Option<Taken>, Taken)> = HashSet::new();
    let mut scripts = vec![Vec::new()];
    let mut merged = Merged::default();
    while let Some(script) = scripts.pop() {
        let sketch = super::reader::sketch(outside, at, Sketch { script, ..Sketch::default() }, &read);
        let taken: Vec<Taken> =
            sketch.taken.iter().map(|decision| (names.insert_full(decision.name.clone()).0, decision.outcome)).collect();
        for (place, decision) in sketch.taken.iter().enumerate() {
            let before = &taken[..place];
            for outcome in 0..decision.of {
                let this = (taken[place].0, outcome);
                let mut fresh = seen.insert((None, this));
                for earlier in before {
                    fresh |= seen.insert((Some(*earlier), this));
                }
                if fresh && outcome != decision.outcome {
                    scripts.push(before.iter().map(|(_, outcome)| *outcome).chain([outcome]).collect());
                }
            }
        }
        merged.add(sketch);
    }
    merged.form("")
}

/// What all runs asked for.
#[derive(Debug, Default)]
struct Merged {
    /// By mapping, then by name.
    fields: IndexMap<String, IndexMap<String, Met>>,
    /// The sets of required fields that were met in a mapping.
    needs: BTreeMap<String, BTreeSet<BTreeSet<String>>>,
    /// How many runs went into a mapping.
    runs: BTreeMap<String, usize>,
}

/// A field as runs met it.
#[derive(Debug, Default)]
struct Met {
    shapes: Vec<Shape>,
    defaults: Vec<Option<Leaf>>,
    nullable: bool,
    /// In how many runs.
    runs: usize,
}

impl Merged {
    fn add(&mut self, sketch: Sketch) {
        let mut needs: BTreeMap<String, BTreeSet<String>> =
            sketch.entered.into_iter().map(|mapping| (mapping, BTreeSet::new())).collect();
        needs.keys().for_each(|mapping| *self.runs.entry(mapping.clone()).or_default() += 1);
        let mut seen = BTreeSet::new();
        for Asked { mapping, key, shape, absent } in sketch.asked {
            let first = seen.insert((mapping.clone(), key.clone()));
            let met = self.fields.entry(mapping.clone()).or_default().entry(key.clone()).or_default();
            met.runs += usize::from(first);
            if !met.shapes.contains(&shape) {
                met.shapes.push(shape.clone());
            }
            let default = match absent {
                Absent::Required => {
                    needs.entry(mapping).or_default().insert(key);
                    continue;
                }
                Absent::None => {
                    met.nullable = true;
                    None
                }
                Absent::Default(value) => {
                    // Whether this section needs anything is known once all runs are.
                    if shape == Shape::Section {
                        needs.entry(mapping).or_default().insert(key);
                    }
                    Some(value)
                }
            };
            if !met.defaults.contains(&default) {
                met.defaults.push(default);
            }
        }
        for (mapping, needed) in needs {
            self.needs.entry(mapping).or_default().insert(needed);
        }
    }

    /// The mapping at a path.
    fn form(&self, mapping: &str) -> Form {
        let mut fields = IndexMap::new();
        for (key, met) in self.fields.get(mapping).into_iter().flatten() {
            let mut under = IndexMap::new();
            for shape in &met.shapes {
                match shape {
                    Shape::Section => drop(under.insert(String::new(), self.form(&format!("{mapping}{key}.")))),
                    Shape::Variant(words) => {
                        under.extend(words.iter().map(|word| (word.clone(), self.form(&format!("{mapping}{key}.{word}.")))))
                    }
                    _ => {}
                }
            }
            let default = if let [default] = &met.defaults[..] { default.clone() } else { None };
            let field = Field {
                shapes: met.shapes.clone(),
                default,
                varies: met.defaults.len() > 1,
                always: Some(&met.runs) == self.runs.get(mapping),
                nullable: met.nullable,
                under,
            };
            fields.insert(key.clone(), field);
        }
        // A section is needed where it needs something itself.
        let idle = |key: &String| {
            let field: Option<&Field> = fields.get(key);
            field.and_then(|field| field.under.get("")).is_some_and(|form| form.needs.is_empty())
        };
        let needs = self.needs.get(mapping).into_iter().flatten();
        let needs: BTreeSet<BTreeSet<String>> = needs.map(|set| set.iter().filter(|key| !idle(key)).cloned().collect()).collect();
        // Where a set does, a larger one asks for nothing more.
        let least = needs.iter().filter(|set| !needs.iter().any(|other| other != *set && other.is_subset(set)));
        let needs: Vec<BTreeSet<String>> = least.filter(|set| !set.is_empty()).cloned().collect();
        Form { fields, needs }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;
    use crate::artifact::ArtifactKind;

    #[test]
    fn of_sections_among_which_one_chooses_one_is_needed() {
        let form = describe(|f| {
            f.section("always", |f| f.int("a", Some(1), ..));
            if f.has("one") {
                f.section("one", |f| drop(f.file("file")));
            } else if f.has("other") {
                f.section("other", |f| f.bool("b", None));
                f.stage("rows", ArtifactKind::Split);
            } else {
                f.text("name", None);
            }
        });
        let needs = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(form.needs, [needs(&["name"]), needs(&["one"]), needs(&["other", "rows"])]);
    }

    #[test]
    fn every_way_is_found_with_types_defaults_and_what_is_needed() {
        let form = describe(|f| {
            f.int("seed", Some(1), 1..=9);
            f.optional_float("clip", 0.0..);
            f.stage("rows", ArtifactKind::Split);
            f.variant("by", &["size", "file"], Some("size"), |word, f| match word {
                "file" => drop(f.file("path")),
                _ => f.section("deep", |f| drop(f.ints("sizes", Some(&[3]), ..))),
            });
        });
        let field = |path: &str| form.field(path).unwrap();
        assert_eq!(field("seed").shapes, [Shape::Int { least: 1, most: Some(9) }]);
        assert_eq!((&field("seed").default, field("seed").nullable), (&Some(Leaf::Int(1)), false));
        assert_eq!((&field("clip").default, field("clip").nullable), (&None, true));
        assert_eq!(field("by").default, Some(Leaf::Word("size".to_owned())));
        assert_eq!(field("by.size.deep.sizes").default, Some(Leaf::List(vec![Leaf::Int(3)])));
        assert_eq!(field("by.file.path").shapes, [Shape::File]);
        assert_eq!(form.needs, [BTreeSet::from(["rows".to_owned()])]);
        assert_eq!(field("by").under["file"].needs, [BTreeSet::from(["path".to_owned()])]);
        let paths: Vec<String> = form.paths().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["seed", "clip", "rows", "by", "by.size.deep", "by.size.deep.sizes", "by.file.path"]);
    }

    #[test]
    fn what_hangs_on_two_others_is_found() {
        let form = describe(|f| {
            let word = f.word("kind", &["a", "b", "c"], Some("a"));
            let switch = f.bool("switch", Some(false));
            let noted = f.optional_text("note").is_some();
            if word == "c" && switch {
                f.int("late", None, ..);
            }
            if noted && word == "b" {
                f.text("later", Some("x"));
            }
            f.optional_section("more", |f| f.int("inner", None, ..));
            if f.has("own") {
                f.file("own");
            } else {
                f.text("name", None);
            }
        });
        for path in ["late", "later", "more.inner", "own", "name"] {
            assert!(form.field(path).is_some(), "{path}: {form:?}");
        }
        assert!(form.field("kind").unwrap().always && !form.field("late").unwrap().always);
        // Either of the two is enough; `late` is only needed where others ask for it.
        let set = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(form.needs, [set("name"), set("own")]);
    }

    #[test]
    fn a_default_that_follows_from_others_is_none() {
        let form = describe(|f| {
            let atomic = f.file("file").is_some_and(|file| file.extension().is_some_and(|ending| ending == "parquet"));
            f.text("column", Some(if atomic { "user_id" } else { "user" }));
            f.text("other", Some("same"));
        });
        let column = form.field("column").unwrap();
        assert_eq!((&column.default, column.varies), (&None, true));
        assert_eq!(form.field("other").unwrap().default, Some(Leaf::Text("same".to_owned())));
    }
}
