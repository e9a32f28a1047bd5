//! A declarative pipeline engine.

pub mod artifact;
pub mod fields;
pub mod manifest;
pub mod plan;
pub mod source;
