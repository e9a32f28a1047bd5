//! Consumers of events and results: what people, files and programs are shown. The engine knows none of them.

pub mod check;
pub mod comparisons;
pub mod document;
pub mod journal;
pub mod live;
pub mod page;
pub mod points;
pub mod results;
mod screen;
pub mod search;
pub mod table;
pub mod terminal;
pub mod track;
