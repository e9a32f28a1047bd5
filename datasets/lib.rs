//! Everything talkflow reads: dataset cards, readers, the artifacts of ratings and of examples with classes, splits, and generators.
//!
//! The life of a data set, in the order of the modules: [`cards`] knows it by name; [`locate`] finds its files or [`download`]s them;
//! [`prepare`] turns them, with the readers, into the ratings artifact; [`ratings`] loads that artifact, [`selection`] the rows of
//! some genres of it; [`split`] says which rows train, validate and test. [`synthetic`] makes ratings where there are none.
//! [`examples`] does for texts and images with classes what `prepare` and `ratings` do for ratings. This package knows neither the engine
//! nor learning.

pub mod archive;
pub mod cards;
mod columns;
pub mod download;
mod error;
pub mod examples;
mod input;
pub mod locate;
pub mod prepare;
pub mod progress;
pub mod ratings;
mod readers;
mod rng;
pub mod selection;
pub mod sound;
pub mod split;
mod suggest;
pub mod synthetic;
mod tape;
mod writer;

pub use columns::TableReader;
pub use error::{Error, Malformed, Place};
pub use input::Input;
pub use readers::text::ColumnNames;
pub use rng::Rng;
