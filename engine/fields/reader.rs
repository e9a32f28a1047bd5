//! The walk itself: sections, what was asked for, what was recorded.

use std::{ops::RangeBounds, sync::Arc};

use super::describe::Sketch;
use super::directory::Directory;
use super::environment::EnvUse;
use super::files::File;
use super::settings::{Leaf, Origin, Settings};
use super::shape::Shape;
use super::stages::Wanted;
use crate::looks::Looks;
use crate::manifest::{Entry, Env, Map, Node, Value, Variable, Via};
use crate::source::{Diagnostic, Sources, Span, did_you_mean, one_of};

/// More unknown settings in one mapping than this are not told apart.
const MOST_UNKNOWN: usize = 50;

/// What surrounds the settings that are read.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The texts that spans point into.
    pub sources: &'a Sources,
    /// The stages that can be named.
    pub directory: &'a Directory,
    /// The stage that reads.
    pub stage: &'a str,
    /// Its axes, if it has a matrix.
    pub axes: &'a [String],
    /// The environment.
    pub env: Env<'a>,
    /// The files that were looked for.
    pub looks: &'a Looks,
}

impl std::fmt::Debug for Outside<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").field("stage", &self.stage).field("axes", &self.axes).finish_non_exhaustive()
    }
}

/// All that came of reading one stage's settings.
#[derive(Debug)]
pub struct Reading<R> {
    /// What the stage kind made of them.
    pub value: R,
    /// Every value it read.
    pub settings: Settings,
    /// The stages it takes inputs from.
    pub wanted: Vec<Wanted>,
    /// The files it reads.
    pub files: Vec<File>,
    /// The variables it reads by themselves, not through `${env.X}`.
    pub(crate) env_uses: Vec<EnvUse>,
    /// The variables whose values it keeps secret.
    pub(crate) secrets: Vec<EnvUse>,
    /// What is wrong.
    pub mistakes: Vec<Diagnostic>,
}

/// What the walk gathers. It travels into each section and back.
#[derive(Debug, Default)]
pub(super) struct Record {
    settings: Settings,
    pub(super) wanted: Vec<Wanted>,
    pub(super) files: Vec<File>,
    pub(super) env_uses: Vec<EnvUse>,
    pub(super) secrets: Vec<EnvUse>,
    mistakes: Vec<Diagnostic>,
    /// How many values were wrong, reported here or before.
    wrong: usize,
    /// Above 0: what is read is not part of the key.
    unrecorded: u32,
    /// Above 0: the value that should hold this section is wrong and that was reported; say and record no more.
    pub(super) muted: u32,
    /// Where nothing is read and what could be is noted.
    pub(super) sketch: Option<Sketch>,
}

/// The fields of one mapping in a stage's settings, as its kind reads them.
#[derive(Debug)]
pub struct Fields<'a> {
    pub(super) outside: Outside<'a>,
    pub(super) record: Record,
    /// The mapping; `None` where it is not written and every field has its default.
    map: Option<Arc<Map>>,
    /// Where the mapping, or what should have been one, stands.
    pub(super) span: Span,
    /// The `${...}` through which the mapping came.
    via: Option<Arc<Via>>,
    /// The path of the mapping in the settings, with a dot at its end; empty at the top.
    path: String,
    /// What a message calls the mapping: the stage kind, or the last part of the path.
    name: String,
    /// The fields asked for so far.
    asked: Vec<String>,
    /// Required fields that are not written, and what each should be.
    missing: Vec<(String, String)>,
    /// Whether the mapping itself is not written.
    absent: bool,
    /// How many values were wrong before this mapping was read.
    before: usize,
}

/// Lets `read` read one stage's settings, and reports what was written but not asked for.
///
/// `node` is the value of the kind's key `name`, which stands at `key`; nothing at all reads as an empty mapping.
pub fn read<R>(outside: Outside<'_>, name: &str, key: Span, node: &Node, read: impl FnOnce(&mut Fields<'_>) -> R) -> Reading<R> {
    let mut fields = Fields::top(outside, name, key);
    fields.via.clone_from(&node.via);
    match &node.value {
        Value::Map(map) => fields.map = Some(Arc::clone(map)),
        Value::Null => {}
        _ => {
            fields.wrong(&Found::of(node, None), "a mapping of settings", None);
            fields.record.muted += 1;
        }
    }
    let value = read(&mut fields);
    fields.report();
    let Record { settings, wanted, files, env_uses, secrets, mistakes, .. } = fields.record;
    Reading { value, settings, wanted, files, env_uses, secrets, mistakes }
}

/// Lets `read` read nothing, and notes what it asks for on the way that the sketch says.
pub(super) fn sketch(outside: Outside<'_>, at: Span, sketch: Sketch, read: impl FnOnce(&mut Fields<'_>)) -> Sketch {
    let mut fields = Fields::top(outside, "", at);
    // No value is right or wrong here.
    fields.record.muted = 1;
    fields.record.sketch = Some(sketch);
    fields.sketch_entry();
    read(&mut fields);
    fields.record.sketch.unwrap_or_default()
}

/// A value as it was found, with the `${...}` that brought it or the section it stands in.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub node: Node,
    pub via: Option<Arc<Via>>,
}

impl Found {
    pub(super) fn of(node: &Node, outer: Option<&Arc<Via>>) -> Self {
        Self { node: node.clone(), via: node.via.clone().or_else(|| outer.cloned()) }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::Written { at: self.node.span, via: self.via.as_deref().cloned() }
    }

    /// Whether the value is the text of an environment variable, which has no type of its own.
    pub(super) fn untyped(&self) -> bool {
        matches!(self.via.as_deref(), Some(Via { variable: Variable::Env(_), .. }))
    }

    /// A mistake at this value, which also shows the `${...}` that brought it.
    pub(super) fn mistake(&self, message: impl Into<String>) -> Diagnostic {
        self.bring(Diagnostic::new(self.node.span, message))
    }

    /// Adds to a mistake in this value the `${...}` that brought it.
    pub(super) fn bring(&self, mistake: Diagnostic) -> Diagnostic {
        self.origin().bring(mistake)
    }
}

impl<'a> Fields<'a> {
    /// A mapping with nothing in it.
    fn top(outside: Outside<'a>, name: &str, span: Span) -> Self {
        Self {
            outside,
            record: Record::default(),
            map: None,
            span,
            via: None,
            path: String::new(),
            name: name.to_owned(),
            asked: Vec::new(),
            missing: Vec::new(),
            absent: false,
            before: 0,
        }
    }
}

impl Fields<'_> {
    /// Reads a section: a mapping with fields of its own. One that is not written has all its defaults, and its
    /// required fields are missed.
    pub fn section<R>(&mut self, key: &str, read: impl FnOnce(&mut Fields<'_>) -> R) -> R {
        self.sketch(key, &Shape::Section, Absent::Default(Leaf::None));
        match self.take(key) {
            None => self.inside(key, None, self.span, None, read),
            Some(found) => self.inside_found(key, &found, read),
        }
    }

    /// Reads a section that may be left out, or be `null`.
    pub fn optional_section<R>(&mut self, key: &str, read: impl FnOnce(&mut Fields<'_>) -> R) -> Option<R> {
        if self.sketch(key, &Shape::Section, Absent::None) && self.sketched(key) == Some(true) {
            return Some(self.inside(key, None, self.span, None, read));
        }
        match self.take(key) {
            Some(found) if !matches!(found.node.value, Value::Null) => Some(self.inside_found(key, &found, read)),
            found => {
                self.record_none(key, found.as_ref());
                None
            }
        }
    }

    /// Reads fields that are checked but are neither part of the key nor inputs: what the chosen method does not use.
    pub fn unrecorded<R>(&mut self, read: impl FnOnce(&mut Self) -> R) -> R {
        self.record.unrecorded += 1;
        let value = read(self);
        self.record.unrecorded -= 1;
        value
    }

    /// Whether a field is written here.
    #[must_use]
    pub fn has(&mut self, key: &str) -> bool {
        if let Some(there) = self.sketched(key) {
            return there;
        }
        self.map.as_ref().is_some_and(|map| map.contains_key(key))
    }

    /// Whether a field is written here as a list.
    #[must_use]
    pub fn is_list(&mut self, key: &str) -> bool {
        if let Some(form) = self.sketched_word(&format!("{key}, a list"), &["no", "yes"]) {
            return form == "yes";
        }
        self.peek(key).is_some_and(|found| matches!(found.node.value, Value::List(_)))
    }

    /// Whether a field is written here as a mapping.
    #[must_use]
    pub fn is_mapping(&mut self, key: &str) -> bool {
        if let Some(form) = self.sketched_word(&format!("{key}, a mapping"), &["no", "yes"]) {
            return form == "yes";
        }
        self.peek(key).is_some_and(|found| matches!(found.node.value, Value::Map(_)))
    }

    /// The names written here, where a user chooses them.
    #[must_use]
    pub(super) fn names(&self) -> Vec<String> {
        self.map.as_ref().map_or_else(Vec::new, |map| map.keys().cloned().collect())
    }

    /// Reports a name that cannot be one, at the name.
    pub(super) fn name_mistake(&mut self, key: &str, message: impl Into<String>, help: Option<&str>) {
        self.take(key);
        let at = self.map.as_ref().and_then(|map| map.get(key)).map_or(self.span, |entry| entry.key);
        let place = Found::of(&Node::new(at, Value::Null), self.via.as_ref());
        self.say(place.mistake(message).maybe_help(help.map(str::to_owned)));
    }

    /// Whether all that was read in this section is as it should be, and was not put in by way of a mistake: only then is it worth
    /// comparing one value with another.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.record.muted == 0 && self.missing.is_empty() && self.record.wrong == self.before
    }

    /// Reports a mistake that only the stage kind can know, at the value of `key`, or at this section where `key` is not written.
    pub fn mistake(&mut self, key: &str, message: impl Into<String>, help: Option<&str>) {
        let found = self.peek(key);
        let mistake = match found {
            Some(found) => found.mistake(message),
            None => Diagnostic::new(self.span, message),
        };
        self.say(mistake.maybe_help(help.map(str::to_owned)));
    }

    /// Reports a field that is written and has no place beside another one.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>, help: &str) {
        if self.record.sketch.is_none() && self.take(key).is_some() {
            self.mistake(key, message, Some(help));
        }
    }

    /// Reads a mapping from names to whole numbers in `range`, which may be left out. `known` gives what a name means, or the message
    /// and the help for one that means nothing.
    pub fn amounts<T>(
        &mut self,
        key: &str,
        range: impl RangeBounds<u64> + Clone,
        known: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Vec<(T, u64)> {
        if self.sketch(key, &Shape::Named(Box::new(Shape::int(&range))), Absent::None) {
            return Vec::new();
        }
        let Some(found) = self.take(key) else { return Vec::new() };
        self.inside_found(key, &found, |fields| {
            let names: Vec<(String, Span)> =
                fields.map.iter().flat_map(|map| map.iter()).map(|(name, entry)| (name.clone(), entry.key)).collect();
            let mut amounts = Vec::new();
            for (name, at) in names {
                let amount = fields.optional_int(&name, range.clone());
                match known(&name) {
                    Ok(meant) => amounts.extend(amount.map(|amount| (meant, amount))),
                    Err((message, help)) => {
                        let place = Found::of(&Node::new(at, Value::Null), fields.via.as_ref());
                        fields.say(place.mistake(message).help(help));
                    }
                }
            }
            amounts
        })
    }

    /// The path of the mapping in the settings, with a dot at its end.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The value of a field, which from now on is known to be one.
    pub(super) fn take(&mut self, key: &str) -> Option<Found> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        self.peek(key)
    }

    /// The word of a choice as it is written, right or wrong: a text, or what stands over its settings. None where nothing can be told.
    pub fn written_word(&self, key: &str) -> Option<String> {
        match &self.peek(key)?.node.value {
            Value::Text(word) => Some(word.to_string()),
            Value::Map(map) => map.keys().next().map(|word| word.to_string()),
            _ => None,
        }
    }

    pub(super) fn peek(&self, key: &str) -> Option<Found> {
        let entry = self.map.as_ref()?.get(key)?;
        Some(Found::of(&entry.node, self.via.as_ref()))
    }

    pub(super) fn inside_found<R>(&mut self, key: &str, found: &Found, read: impl FnOnce(&mut Fields<'_>) -> R) -> R {
        let via = found.via.clone();
        let span = found.node.span;
        match &found.node.value {
            Value::Map(map) => self.inside(key, Some(Arc::clone(map)), span, via, read),
            Value::Null => self.inside(key, None, span, via, read),
            _ => {
                self.wrong(found, "a mapping of settings", None);
                self.record.muted += 1;
                let value = self.inside(key, None, span, via, read);
                self.record.muted -= 1;
                value
            }
        }
    }

    pub(super) fn inside<R>(
        &mut self,
        key: &str,
        map: Option<Arc<Map>>,
        span: Span,
        via: Option<Arc<Via>>,
        read: impl FnOnce(&mut Fields<'_>) -> R,
    ) -> R {
        let absent = map.is_none() && span == self.span;
        let before = self.record.wrong;
        let mut section = Fields {
            outside: self.outside,
            record: std::mem::take(&mut self.record),
            map,
            span,
            via,
            path: format!("{}{key}.", self.path),
            name: key.rsplit('.').next().unwrap_or(key).to_owned(),
            asked: Vec::new(),
            missing: Vec::new(),
            absent,
            before,
        };
        section.sketch_entry();
        let value = read(&mut section);
        section.report();
        self.record = section.record;
        value
    }

    /// Reports what is missing, and each field that is written but was never asked for.
    fn report(&mut self) {
        self.report_missing();
        let Some(map) = self.map.take() else { return };
        let unknown = map.iter().filter(|(key, _)| !self.asked.contains(*key));
        let unknown: Vec<(&String, &Entry)> = unknown.take(MOST_UNKNOWN).collect();
        for (key, entry) in unknown {
            let asked = self.asked.iter().map(String::as_str);
            // A field that is written already may be meant (by a manifest over another), but is not worth listing.
            let free = asked.clone().filter(|asked| !map.contains_key(*asked));
            let help = match self.asked.is_empty() {
                true => Some(format!("`{}` has no settings", self.name)),
                false => did_you_mean(key, asked).or_else(|| one_of(key, free)),
            };
            let place = Found::of(&Node::new(entry.key, Value::Null), self.via.as_ref());
            let message = format!("unknown setting `{key}` in `{}`", self.name);
            self.say(place.mistake(message).maybe_help(help));
        }
    }

    pub(super) fn say(&mut self, mistake: Diagnostic) {
        self.record.wrong += 1;
        if self.record.muted == 0 {
            self.record.mistakes.push(mistake);
        }
    }

    /// Reports a value of the wrong type. `wanted` is a noun: `a whole number`.
    pub(super) fn wrong(&mut self, found: &Found, wanted: &str, help: Option<String>) {
        if matches!(found.node.value, Value::Broken) {
            self.record.wrong += 1;
            return;
        }
        let noun = match &found.node.value {
            Value::Text(text) if text.chars().count() <= 40 => format!("the text `{text}`"),
            Value::Bool(value) => format!("`{value}`"),
            _ => found.node.noun().to_owned(),
        };
        let mistake = found.mistake(format!("expected {wanted}, found {noun}")).maybe_help(help);
        self.say(mistake);
    }

    /// Notes a field that must be written and is not. `wanted` is what it should be.
    pub(super) fn missing(&mut self, key: &str, wanted: &str) {
        if self.record.muted == 0 {
            self.missing.push((key.to_owned(), wanted.to_owned()));
        }
    }

    /// Reports all missing fields of one mapping together.
    fn report_missing(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        let keys: Vec<String> = missing.iter().map(|(key, _)| format!("`{key}`")).collect();
        let place = Found::of(&Node::new(self.span, Value::Null), self.via.as_ref());
        let name = &self.name;
        let mistake = match &missing[..] {
            [] => return,
            [(key, wanted)] => place.mistake(format!("`{name}` needs `{key}`: {wanted}")),
            [..] => {
                let mistake = place.mistake(format!("`{name}` needs {}", keys.join(", ")));
                missing.iter().fold(mistake, |mistake, (key, wanted)| mistake.note(format!("`{key}`: {wanted}")))
            }
        };
        let label = match (self.absent, &keys[..]) {
            (true, _) => format!("`{name}` is missing"),
            (false, [one]) => format!("{one} is missing"),
            (false, _) => "these are missing".to_owned(),
        };
        self.say(mistake.label(label));
    }

    pub(super) fn recording(&self) -> bool {
        self.record.muted == 0 && self.record.unrecorded == 0
    }

    /// Records an effective value.
    pub(super) fn keep(&mut self, key: &str, value: Leaf, origin: Origin) {
        if self.recording() {
            self.record.settings.insert(format!("{}{key}", self.path), value, origin);
        }
    }

    pub(super) fn record_none(&mut self, key: &str, found: Option<&Found>) {
        let origin = found.map_or(Origin::Default, Found::origin);
        self.keep(key, Leaf::None, origin);
    }

    /// Reads a value that `convert` understands: the shared part of all scalars and lists. `shape` is what it
    /// takes. `convert` gives nothing after it has reported what is wrong, and then nothing is recorded.
    pub(super) fn value<T>(
        &mut self,
        key: &str,
        absent: Absent<T>,
        shape: &Shape,
        convert: impl FnOnce(&mut Self, &Found) -> Option<T>,
        leaf: impl Fn(&T) -> Leaf,
    ) -> Option<T> {
        if self.record.sketch.is_some() {
            let default = absent.as_ref().map(&leaf);
            self.sketch(key, shape, default.clone());
            return match self.sketched_value(key, shape, &default) {
                Some(node) => convert(self, &Found::of(&node, None)),
                None => absent.value(),
            };
        }
        let wanted = &shape.noun();
        let Some(found) = self.take(key) else {
            return match absent {
                Absent::Required => {
                    self.missing(key, wanted);
                    None
                }
                Absent::None => {
                    self.record_none(key, None);
                    None
                }
                Absent::Default(value) => {
                    self.keep(key, leaf(&value), Origin::Default);
                    Some(value)
                }
            };
        };
        if matches!(found.node.value, Value::Null) {
            match absent {
                Absent::None => self.record_none(key, Some(&found)),
                Absent::Required => self.wrong(&found, wanted, None),
                Absent::Default(value) => {
                    let help = format!("leave `{key}` out to get its default, {}", leaf(&value));
                    self.wrong(&found, wanted, Some(help));
                }
            }
            return None;
        }
        let value = convert(self, &found)?;
        self.keep(key, leaf(&value), found.origin());
        Some(value)
    }
}

/// What a field means that is not written.
#[derive(Clone, Debug)]
pub(super) enum Absent<T> {
    /// A mistake.
    Required,
    /// That there is no value; so does `null`.
    None,
    /// This.
    Default(T),
}

impl<T> Absent<T> {
    /// A field that is required unless there is a default.
    pub(super) fn or(default: Option<T>) -> Self {
        default.map_or(Self::Required, Self::Default)
    }

    /// The value it means, if any.
    fn value(self) -> Option<T> {
        if let Self::Default(value) = self { Some(value) } else { None }
    }

    fn as_ref(&self) -> Absent<&T> {
        match self {
            Self::Required => Absent::Required,
            Self::None => Absent::None,
            Self::Default(value) => Absent::Default(value),
        }
    }

    fn map<U>(self, with: impl FnOnce(T) -> U) -> Absent<U> {
        match self {
            Self::Required => Absent::Required,
            Self::None => Absent::None,
            Self::Default(value) => Absent::Default(with(value)),
        }
    }
}

/// Words as a message lists them.
pub(super) fn listed(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}
