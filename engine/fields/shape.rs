//! What a field takes, as data: its type, its range, its words. The readers check values against it and say it in messages; a
//! [`Form`](super::Form) hands it to whoever draws a schema. What is both said and checked is written once.

use std::ops::{Bound, RangeBounds};

use super::reader::listed;
use super::stages::Accepts;

/// What a field takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A whole number.
    Int {
        /// The least.
        least: u64,
        /// The greatest, where there is one.
        most: Option<u64>,
    },
    /// A finite number.
    Float {
        /// The lower end of its range.
        low: Bound<f64>,
        /// The upper end.
        high: Bound<f64>,
    },
    /// `true` or `false`.
    Bool,
    /// Text that is not empty.
    Text,
    /// One of these words.
    Word(Vec<String>),
    /// A list.
    List {
        /// What each item is.
        item: Box<Shape>,
        /// Whether each may stand there once only.
        distinct: bool,
    },
    /// The path of a file.
    File,
    /// The path of a folder.
    Folder,
    /// A reference to one stage.
    Stage(Accepts),
    /// References to one or more stages.
    Stages(Accepts),
    /// Text, a number or a switch, as text.
    Scalar,
    /// What a variable of a program holds: text, a number, a switch, or a secret.
    Variable,
    /// References to one or more stages, whatever they yield.
    AnyStages,
    /// A mapping of names of the user's choosing to these.
    Map(Box<Shape>),
    /// A mapping with fields of its own.
    Section,
    /// A mapping from names of the user's to this.
    Named(Box<Shape>),
    /// A text, or a list of texts.
    Texts,
    /// One of these words, or a mapping from one of them to fields of its own.
    Variant(Vec<String>),
}

impl Shape {
    pub(super) fn int(range: &impl RangeBounds<u64>) -> Self {
        let least = match range.start_bound() {
            Bound::Included(least) => *least,
            Bound::Excluded(below) => below.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let most = match range.end_bound() {
            Bound::Included(most) => Some(*most),
            Bound::Excluded(above) => Some(above.saturating_sub(1)),
            Bound::Unbounded => None,
        };
        Self::Int { least, most }
    }

    pub(super) fn float(range: &impl RangeBounds<f64>) -> Self {
        Self::Float { low: range.start_bound().cloned(), high: range.end_bound().cloned() }
    }

    pub(super) fn word(words: &[&str]) -> Self {
        Self::Word(words.iter().map(|&word| word.to_owned()).collect())
    }

    pub(super) fn list(item: Self) -> Self {
        Self::List { item: Box::new(item), distinct: false }
    }

    /// What a message calls it: `a whole number`.
    pub(super) fn noun(&self) -> String {
        let words = |words: &[String]| listed(&words.iter().map(String::as_str).collect::<Vec<_>>());
        match self {
            Self::Int { .. } => "a whole number".to_owned(),
            Self::Float { .. } => "a number".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Word(all) | Self::Variant(all) => format!("one of {}", words(all)),
            Self::List { item, .. } => match &**item {
                Self::Int { .. } => "a list of whole numbers".to_owned(),
                Self::Float { .. } => "a list of numbers".to_owned(),
                Self::Text => "a list of texts".to_owned(),
                Self::Word(all) => format!("a list of {}", words(all)),
                item => format!("a list, each {}", item.noun()),
            },
            Self::File => "the path of a file".to_owned(),
            Self::Folder => "the path of a folder".to_owned(),
            Self::Stage(kind) => format!("a stage that yields {}", kind.noun()),
            Self::Stages(kind) => format!("one or more stages that yield {}", kind.noun()),
            Self::Scalar => "text, a number or a switch".to_owned(),
            Self::Variable => "text, a number, a switch, or `{ secret: \"${env.NAME}\" }`".to_owned(),
            Self::AnyStages => "a stage, or a list of stages".to_owned(),
            Self::Map(value) => format!("a mapping of names, each to {}", value.noun()),
            Self::Texts => "text, or a list of texts".to_owned(),
            Self::Section => "a mapping of settings".to_owned(),
            Self::Named(item) => format!("a mapping from names, each {}", item.noun()),
        }
    }
}
