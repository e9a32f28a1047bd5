//! A declarative pipeline engine.

pub mod artifact;
pub mod fields;
pub mod graph;
pub mod manifest;
pub mod plan;
pub mod source;
