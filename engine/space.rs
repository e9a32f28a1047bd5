//! What a sweep goes over: the `sweep:` section of a manifest, and lists typed after `--set`, become points. A point gives each swept
//! parameter a value. Knows parameters as they are written, and nothing of stages.

mod label;
mod only;
mod random;
mod read;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::manifest::{Map, Node, Value, put};
use crate::source::{Diagnostic, Span};

pub use only::Only;
pub use read::{check, drawn, read};

/// What may stand in `sweep:`. The first four say how values come together; a sweep has one of them at most.
pub const FIELDS: [&str; 5] = ["grid", "zip", "list", "random", "seeds"];
/// What may stand in its `random:`, and in its `seeds:` where that is a mapping.
pub const RANDOM: [&str; 3] = ["points", "seed", "space"];
/// See [`RANDOM`].
pub const SEEDS: [&str; 2] = ["param", "values"];
/// How a parameter of `random: { space: ... }` may be drawn.
pub const DISTRIBUTIONS: [&str; 4] = ["uniform", "log_uniform", "integers", "choice"];
/// The most points of a sweep.
pub const MOST_POINTS: usize = 10_000;
/// The most parameters that it can go over: far above any table that is read.
pub const MOST_PARAMS: usize = 100;

/// The points of a sweep.
#[derive(Clone, Debug)]
pub struct Space {
    /// The swept parameters.
    pub params: Vec<Swept>,
    /// The points; of a product, the last parameter changes fastest.
    pub points: Vec<Point>,
    /// The section as it was in effect, as data.
    pub written: Json,
}

/// A swept parameter.
#[derive(Clone, Debug)]
pub struct Swept {
    /// Names joined by dots.
    pub path: String,
    /// Where it is named.
    pub at: Span,
    /// Whether its values are seeds: repetitions of the same, over which results are summarised.
    pub seed: bool,
}

/// One value for each swept parameter, in their order.
#[derive(Clone, Debug)]
pub struct Point(pub Vec<Given>);

/// A value of a parameter.
#[derive(Clone, Debug)]
pub struct Given {
    /// The value as written.
    pub node: Node,
    /// What it is called in names of instances and points.
    pub name: Arc<str>,
    /// Whether the point sets it; else it is what `params` has.
    pub set: bool,
}

impl Space {
    /// What a point is called: `rounds=2,seed=1`.
    #[must_use]
    pub fn name(&self, point: usize) -> String {
        let pairs = self.params.iter().zip(&self.points[point].0);
        pairs.map(|(param, given)| format!("{}={}", param.path, given.name)).collect::<Vec<_>>().join(",")
    }

    /// The parameters as a point has them.
    ///
    /// # Errors
    /// Where there is no such parameter.
    pub fn params_at(&self, point: usize, params: &Arc<Map>) -> Result<Arc<Map>, Box<Diagnostic>> {
        let mut params = Arc::clone(params);
        for (param, given) in self.params.iter().zip(&self.points[point].0).filter(|(_, given)| given.set) {
            params = Arc::new(put(&params, &param.path, given.node.clone(), param.at)?);
        }
        Ok(params)
    }
}

/// A value as data.
pub fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Broken => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.to_string().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(map) => {
            map.iter().map(|(key, entry)| (key.clone(), json(&entry.node))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}
