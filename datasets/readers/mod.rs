//! Readers: from files in many formats to [`rows::Rows`] in one.
//!
//! `blocks` cuts text at line ends, `table` parses a block, `plain` its plain lines quickly, `text` knows the headers of each text
//! format, `items` reads lists of items, `parquet` reads tables that are Parquet already. None of them knows the artifact that is made
//! of the rows.

pub(crate) mod blocks;
pub(crate) mod items;
pub(crate) mod parquet;
mod plain;
pub(crate) mod rows;
pub(crate) mod table;
pub(crate) mod text;
