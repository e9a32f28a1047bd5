//! talkflow: a declarative pipeline engine.
pub mod artifact;
pub mod key;
pub mod store;
