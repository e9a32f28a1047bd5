//! Everything talkflow reads: dataset cards, readers, the ratings artifact, splits, and a generator of synthetic ratings.
//!
//! The life of a data set, in the order of the modules: [`cards`] knows it by name; [`locate`] finds its files or [`download`]s them;
//! [`prepare`] turns them, with the readers, into the ratings artifact; [`ratings`] loads that artifact, [`selection`] the rows of
//! some genres of it; [`split`] says which rows train, validate and test. [`synthetic`] makes ratings where there are none. This package knows neither the engine nor learning.

pub mod archive;
pub mod cards;
mod columns;
pub mod download;
mod error;
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
mod writer;

pub use error::{Error, Malformed, Place};
pub use input::Input;
pub use readers::text::ColumnNames;
pub use rng::Rng;
