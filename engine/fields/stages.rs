//! References to other stages. They make the edges of the plan and never enter the settings: a stage's name is not part
//! of any key.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use super::directory::Asked;
use super::reader::{Absent, Fields, Found};
use super::reference::{Lost, Reference};
use super::shape::Shape;
use crate::artifact::ArtifactKind;
use crate::manifest::{Value, is_name};
use crate::source::Span;

/// The name under which a running stage asks for an input: the path of the field that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port(pub String);

/// The kinds of results that a reference may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts(Vec<ArtifactKind>);

impl From<ArtifactKind> for Accepts {
    fn from(kind: ArtifactKind) -> Self {
        Self(vec![kind])
    }
}

impl<const N: usize> From<[ArtifactKind; N]> for Accepts {
    fn from(kinds: [ArtifactKind; N]) -> Self {
        Self(kinds.into())
    }
}

impl From<&[ArtifactKind]> for Accepts {
    fn from(kinds: &[ArtifactKind]) -> Self {
        Self(kinds.to_vec())
    }
}

impl Accepts {
    /// Whether this kind is one of them.
    #[must_use]
    pub fn takes(&self, kind: ArtifactKind) -> bool {
        self.0.contains(&kind)
    }

    /// What people call them: `a model or an encoder`.
    #[must_use]
    pub fn noun(&self) -> String {
        self.0.iter().map(|kind| kind.noun()).collect::<Vec<_>>().join(" or ")
    }
}

/// An input that a stage asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The input's name.
    pub port: Port,
    /// Whether it may be several artifacts.
    pub many: bool,
    /// Where it comes from.
    pub from: WantedFrom,
    /// Where it is named.
    pub at: Span,
}

/// Inputs under a name of the user's choosing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStages {
    /// The name.
    pub name: String,
    /// Where they are asked for.
    pub port: Port,
    /// Whether they may be several.
    pub many: bool,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum WantedFrom {
    /// The outputs of these instances, by their number in the directory.
    Instances(Vec<usize>),
    /// What the stages of another port take as their input `input`.
    Through {
        /// The other port.
        port: Port,
        /// The name of their input.
        input: String,
    },
}

impl Fields<'_> {
    /// Reads a reference to exactly one instance of a stage whose output is `accepts`. Required.
    pub fn stage(&mut self, key: &str, accepts: impl Into<Accepts>) -> Port {
        let accepts = accepts.into();
        let shape = Shape::Stage(accepts.clone());
        self.sketch(key, &shape, Absent::Required);
        match self.take(key) {
            Some(found) => self.one(key, &found, Some(&accepts)),
            None => self.missing(key, &shape.noun()),
        }
        self.port(key)
    }

    /// Which of these kinds the stage that a field names yields. Nothing where the field is not written, or leads to no stage of these kinds, which is for
    /// whoever reads it to report.
    pub fn yields(&mut self, key: &str, kinds: &[ArtifactKind]) -> Option<ArtifactKind> {
        let nouns: Vec<&str> = kinds.iter().map(|kind| kind.noun()).collect();
        if let Some(noun) = self.sketched_word(&format!("{key}, what it yields"), &nouns) {
            return kinds.iter().copied().find(|kind| kind.noun() == noun);
        }
        let found = self.peek(key)?;
        let Value::Text(text) = &found.node.value else { return None };
        let stage = text.split('[').next().unwrap_or(text);
        self.outside.directory.yields(stage).filter(|kind| kinds.contains(kind))
    }

    /// Reads a reference to one instance of a stage, which may be left out, or be `null`.
    pub fn optional_stage(&mut self, key: &str, accepts: impl Into<Accepts>) -> Option<Port> {
        let accepts = accepts.into();
        if self.sketch(key, &Shape::Stage(accepts.clone()), Absent::None) && self.sketched(key) == Some(true) {
            return Some(self.port(key));
        }
        match self.take(key) {
            Some(found) if !matches!(found.node.value, Value::Null) => {
                self.one(key, &found, Some(&accepts));
                Some(self.port(key))
            }
            _ => None,
        }
    }

    /// Reads one or several references: a stage, or a list of stages; of a matrix stage all instances, or those selected.
    /// Required. The order is that of the references, and within one that of the matrix.
    pub fn stages(&mut self, key: &str, accepts: impl Into<Accepts>) -> Port {
        let accepts = accepts.into();
        let shape = Shape::Stages(accepts.clone());
        self.sketch(key, &shape, Absent::Required);
        match self.take(key) {
            Some(found) => self.many(key, &found, Some(&accepts)),
            None => self.missing(key, &shape.noun()),
        }
        self.port(key)
    }

    /// Reads inputs under names of the user's choosing, whatever they are; none where it is not written.
    pub fn named_stages(&mut self, key: &str) -> Vec<NamedStages> {
        if self.sketch(key, &Shape::Map(Box::new(Shape::AnyStages)), Absent::None) {
            return Vec::new();
        }
        let found = self.take(key).filter(|found| !matches!(found.node.value, Value::Null));
        let Some(found) = found else { return Vec::new() };
        self.inside_found(key, &found, |fields| {
            let names = fields.names();
            names.into_iter().filter_map(|name| fields.any_stages(name)).collect()
        })
    }

    /// The stages of one entry. They are several where it is a list, or a stage with a matrix of which not every axis is selected. How
    /// many there are does not matter, so that a matrix may grow.
    fn any_stages(&mut self, name: String) -> Option<NamedStages> {
        let found = self.take(&name)?;
        if !is_name(&name) {
            let message = format!("`{name}` cannot be the name of an input");
            self.name_mistake(&name, message, Some("use letters, digits, `_` and `-`"));
            return None;
        }
        let many = match &found.node.value {
            Value::Text(text) => {
                let selected = Reference::parse(text, found.node.span).ok().and_then(|reference| reference.selection);
                let stage = text.split('[').next().unwrap_or(text);
                self.outside.directory.axes(stage) > selected.map_or(0, |selection| selection.len())
            }
            Value::List(_) => true,
            _ => {
                self.wrong(&found, &Shape::AnyStages.noun(), None);
                return None;
            }
        };
        match many {
            true => {
                self.many(&name, &found, None);
                self.tell_apart(&name, &found);
            }
            false => self.one(&name, &found, None),
        }
        Some(NamedStages { port: self.port(&name), name, many })
    }

    /// Adds an input named `port`: whatever the stages named by `field` take as their input `input`. Who takes a split also needs the
    /// ratings it was made from: `through("rows", "rows", "ratings")`.
    ///
    /// The artifacts come in the order of `field`'s, one for each. Nothing is added where `field` is left out.
    pub fn through(&mut self, field: &str, input: &str, port: &str) -> Port {
        let name = self.port(port);
        let source = self.port(field);
        let known = self.record.wanted.iter().find(|wanted| wanted.port == source);
        if let Some(Wanted { many, at, .. }) = known {
            let wanted = Wanted {
                port: name.clone(),
                many: *many,
                from: WantedFrom::Through { port: source, input: input.to_owned() },
                at: *at,
            };
            self.record.wanted.push(wanted);
        }
        name
    }

    /// Reports several results that only the names of their stages tell apart, which no stage may depend on.
    fn tell_apart(&mut self, key: &str, found: &Found) {
        let port = self.port(key);
        let Some(Wanted { from: WantedFrom::Instances(numbers), .. }) =
            self.record.wanted.iter().find(|wanted| wanted.port == port)
        else {
            return;
        };
        let mut seen: BTreeMap<BTreeMap<&String, &String>, &str> = BTreeMap::new();
        let known = numbers.iter().filter_map(|number| self.outside.directory.instance(*number));
        let same = known.into_iter().find_map(|(stage, labels)| Some((seen.insert(labels.iter().collect(), stage)?, stage)));
        if let Some((one, other)) = same {
            let message = format!("nothing but their names tells the results of `{one}` and `{other}` apart");
            self.say(found.mistake(message).help(format!("give each a name of its own: `{{ x: {one}, y: {other} }}`")));
        }
    }

    fn port(&self, key: &str) -> Port {
        Port(format!("{}{key}", self.path()))
    }

    fn one(&mut self, key: &str, found: &Found, accepts: Option<&Accepts>) {
        if matches!(found.node.value, Value::List(_)) {
            self.wrong(found, "one stage", None);
            return;
        }
        let Some((instances, axes)) = self.resolve(found, accepts) else {
            return;
        };
        let Value::Text(text) = &found.node.value else {
            return;
        };
        let stage = text.split('[').next().unwrap_or(text);
        match instances[..] {
            [one] => self.want(key, false, vec![one], found),
            [] => self.say(found.mistake(format!("`{key}` takes one stage, and `{stage}` has no instance"))),
            [..] => {
                // A stage with the same axis almost always means the instance of its own value.
                let choose: Vec<String> = (axes.iter())
                    .map(|axis| match self.outside.axes.contains(axis) {
                        true => format!("{axis}=${{matrix.{axis}}}"),
                        false => format!("{axis}=..."),
                    })
                    .collect();
                let message = format!("`{key}` takes one stage, and `{text}` is {}", instances.len());
                let help = format!("select one: \"{stage}[{}]\"", choose.join(","));
                self.say(found.mistake(message).help(help));
            }
        }
    }

    fn many(&mut self, key: &str, found: &Found, accepts: Option<&Accepts>) {
        let list = match &found.node.value {
            Value::List(nodes) => nodes.iter().map(|node| Found::of(node, found.via.as_ref())).collect(),
            _ => vec![found.clone()],
        };
        if list.is_empty() {
            self.say(found.mistake(format!("`{key}` needs at least one stage")));
        }
        let mut all: IndexSet<usize> = IndexSet::new();
        let mut whole = !list.is_empty();
        for item in &list {
            let Some((instances, _)) = self.resolve(item, accepts) else {
                whole = false;
                continue;
            };
            for number in instances {
                if !all.insert(number) {
                    let name = self.outside.directory.instance(number).map_or("", |(name, _)| name);
                    self.say(item.mistake(format!("`{key}` names an instance of `{name}` twice")));
                    whole = false;
                    break;
                }
            }
        }
        if whole {
            self.want(key, true, all.into_iter().collect(), found);
        }
    }

    fn want(&mut self, key: &str, many: bool, instances: Vec<usize>, found: &Found) {
        if self.recording() {
            let wanted = Wanted { port: self.port(key), many, from: WantedFrom::Instances(instances), at: found.node.span };
            self.record.wanted.push(wanted);
        }
    }

    /// The instances a reference means, and the axes of their stage.
    fn resolve(&mut self, found: &Found, accepts: Option<&Accepts>) -> Option<(Vec<usize>, Vec<String>)> {
        let Value::Text(text) = &found.node.value else {
            let yields = accepts.map_or_else(String::new, |accepts| format!(" that yields {}", accepts.noun()));
            self.wrong(found, &format!("the name of a stage{yields}"), None);
            return None;
        };
        let asked = Asked {
            text,
            span: found.node.span,
            inner: self.outside.sources.find_inside(found.node.span, text),
            accepts,
            by: self.outside.stage,
        };
        match self.outside.directory.find(&asked) {
            Ok(known) => {
                let axes = known.axes.iter().map(|&axis| axis.to_owned()).collect();
                Some((known.instances, axes))
            }
            Err(Lost(mistake)) => {
                if let Some(mistake) = mistake {
                    self.say(found.bring(*mistake));
                }
                None
            }
        }
    }
}
