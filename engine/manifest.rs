//! Manifest text becomes a tree of located nodes, and the parts of a manifest; the only room that knows YAML.

mod hints;
mod node;
mod scalar;
mod yaml;

pub use node::{Entry, Map, Node, Value, Variable, Via};
pub use scalar::scalar;
pub use yaml::parse;
