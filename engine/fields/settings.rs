//! What a stage kind read: every effective value, defaults filled in, with where it came from.
//!
//! The same record is the parameters of the stage's key and what `show --resolved` prints, so the two cannot drift apart.

use std::collections::BTreeMap;
use std::fmt;

use crate::manifest::Via;
use crate::source::{Diagnostic, Span};

/// Every value a stage kind read, by its path (`method.talk.rounds`), in the order of the paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<String, Setting>);

/// One effective value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Leaf,
    /// Where it came from; never part of a key.
    pub origin: Origin,
}

/// A value without parts, or a list of such.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// An optional field that is not given.
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(u64),
    /// A finite number.
    Float(f64),
    /// Text.
    Text(String),
    /// One of a closed set of words; of a tagged choice, the tag.
    Word(String),
    /// A list.
    List(Vec<Leaf>),
}

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The stage kind's own default.
    Default,
    /// It was written.
    Written {
        /// Where: in a manifest, or after `--set`.
        at: Span,
        /// The `${...}` through which it came.
        via: Option<Via>,
    },
}

impl Origin {
    /// Adds to a mistake in this value the `${...}` that brought it.
    #[must_use]
    pub fn bring(&self, mistake: Diagnostic) -> Diagnostic {
        match self {
            Self::Written { at, via: Some(via) } if via.used != *at => {
                mistake.also(via.used, format!("used here, through {}", via.variable))
            }
            Self::Written { via: Some(via), .. } => mistake.note(format!("the value comes from {}", via.variable)),
            Self::Written { via: None, .. } | Self::Default => mistake,
        }
    }
}

impl Settings {
    /// Where the value at a path came from.
    #[must_use]
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.0.get(path).map(|setting| &setting.origin)
    }

    /// The values with their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(path, setting)| (path.as_str(), setting))
    }

    /// The value at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Leaf> {
        self.0.get(path).map(|setting| &setting.value)
    }

    /// Path and canonical text of each value, for a key: equal texts mean equal values, and the origin is not in them.
    pub fn canonical(&self) -> impl Iterator<Item = (&str, String)> {
        self.iter().map(|(path, setting)| (path, setting.value.canonical()))
    }

    pub(super) fn insert(&mut self, path: String, value: Leaf, origin: Origin) {
        self.0.insert(path, Setting { value, origin });
    }
}

impl Leaf {
    /// One text a value, exact and still readable, since people are shown it where it explains a rerun: `1`, `1.0` and `"1"` differ, and
    /// a float is written with the fewest digits that give its very bits back.
    #[must_use]
    pub fn canonical(&self) -> String {
        match self {
            Self::None => "~".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(value) => format!("{value:?}"),
            Self::Word(value) => value.clone(),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Self::canonical).collect();
                format!("[{}]", values.join(","))
            }
        }
    }
}

/// As a person would write it in a manifest.
impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Word(value) => f.write_str(value),
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts_tell_types_and_bits_apart() {
        let values = [
            Leaf::None,
            Leaf::Bool(true),
            Leaf::Int(1),
            Leaf::Float(1.0),
            Leaf::Float(1.0 + f64::EPSILON),
            Leaf::Text("1".to_owned()),
            Leaf::Word("one".to_owned()),
            Leaf::List(vec![Leaf::Int(1)]),
            Leaf::List(vec![Leaf::Text("a,b".to_owned())]),
            Leaf::List(vec![Leaf::Text("a".to_owned()), Leaf::Text("b".to_owned())]),
            Leaf::List(vec![]),
        ];
        let texts: std::collections::BTreeSet<String> = values.iter().map(Leaf::canonical).collect();
        assert_eq!(texts.len(), values.len());
        assert_eq!(Leaf::Float(0.1).canonical(), "0.1");
    }

    #[test]
    fn values_are_shown_as_they_would_be_written() {
        let list = Leaf::List(vec![Leaf::Int(128), Leaf::Float(1e-5), Leaf::Text("a".to_owned())]);
        assert_eq!(list.to_string(), "[128, 1e-5, \"a\"]");
    }
}
