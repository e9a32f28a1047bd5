//! Readers: from files in many formats to [`rows::Rows`] in one, and to examples of classes.
//!
//! `blocks` cuts text at line ends, `table` parses a block, `plain` its plain lines quickly, `text` knows the headers of each text
//! format, `items` reads lists of items, `parquet` reads tables that are Parquet already. Of examples, `labelled` reads lines of a label and
//! a text, `records` CIFAR's binary files, `pictures` images. None of them knows the artifact that is made of the rows.

pub(crate) mod blocks;
pub(crate) mod items;
pub(crate) mod labelled;
pub(crate) mod parquet;
pub(crate) mod pictures;
mod plain;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod table;
pub(crate) mod text;
