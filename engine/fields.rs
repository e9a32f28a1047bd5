//! How a stage kind reads its settings: from located nodes, collecting every mistake, recording every value.
//!
//! A kind asks [`Fields`] for what it wants: "a number called `rate`, 0.001 if not given, more than 0". One walk reads the
//! value, checks it, and records it as part of the stage's key, so that nothing can be read that the key does not know.
//! A wrong value is reported with its place and replaced by a harmless one, and the walk goes on: a user sees all mistakes
//! at once. What is written and never asked for is a mistake too. This room knows no stage kind and no YAML.

mod describe;
mod directory;
mod environment;
mod files;
pub(crate) mod glob;
mod number;
mod places;
mod reader;
mod reference;
mod settings;
mod shape;
mod stages;
mod tagged;
mod text;

pub use describe::{Field, Form, describe};
pub use directory::{Directory, Labels};
pub use environment::{EnvValue, EnvVar};
pub use files::{File, PlacedFile};
pub use places::Place;
pub use reader::{Fields, Outside, Reading, read};
pub use settings::{Leaf, Origin, Setting, Settings};
pub use shape::Shape;
pub use stages::{Accepts, NamedStages, Port, Wanted, WantedFrom};
pub use text::Choice;

#[cfg(test)]
pub(crate) mod probe;

#[cfg(test)]
mod tests;
