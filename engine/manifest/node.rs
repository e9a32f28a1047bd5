//! The tree a manifest is read into: every value with its place, and with how it came there.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::source::Span;

/// A mapping in the order it was written.
pub type Map = IndexMap<String, Entry>;

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where the key stands.
    pub key: Span,
    /// The value.
    pub node: Node,
}

/// A value and where it stands. Cloning is cheap: lists and mappings are shared.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value stands. A value that came through `${...}` keeps the place where it was written.
    pub span: Span,
    /// The value.
    pub value: Value,
    /// The `${...}` it came through.
    pub via: Option<Arc<Via>>,
}

/// What a node holds, typed by the core schema of YAML 1.2.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: `null`, `~`, or nothing after the colon.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point or an exponent; also `.inf` and `.nan`.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[Node]>),
    /// A mapping.
    Map(Arc<Map>),
    /// A value that could not be made, which was reported; nothing more is to be said about it.
    Broken,
}

/// How a value came to stand where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Where the value was taken from.
    pub variable: Variable,
    /// The `${...}` that took it.
    pub used: Span,
}

/// What a `${...}` can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// A parameter, or a field of one: `talk.rounds`.
    Param(String),
    /// The value of a matrix axis.
    Matrix(String),
    /// An environment variable.
    Env(String),
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(path) => write!(f, "parameter `{path}`"),
            Self::Matrix(axis) => write!(f, "matrix axis `{axis}`"),
            Self::Env(name) => write!(f, "environment variable `{name}`"),
        }
    }
}

impl Node {
    /// A value at a place.
    #[must_use]
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value, via: None }
    }

    /// What a message calls the value: `text`, `a list`, ...
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Broken => "a mistake",
        }
    }
}
