//! The examples artifact: texts or images, each with the label of its class, as Parquet and a summary.
//!
//! `examples.parquet` has a row an example: `row` (its place, from 0), `id` (what it is called in its source, which a subset keeps),
//! `part` (of those its publisher made, where there are any), `label` (from 0), and `text` or `image`. An image is its bytes, plane
//! after plane, each row after row. `dataset.json` has the names of the classes and the size of images.
//!
//! A row group holds no more than some megabytes, so that a data set larger than memory can be read group by group: a group is a [`Shard`].
//! [`make`] writes the artifact, `sources` knows where examples come from, `subset` which of them are kept, [`synthetic`] makes some.

mod artifact;
mod make;
mod sources;
mod subset;
pub mod synthetic;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use artifact::{Contents, Examples, Shard};
pub use make::make;
pub use sources::{Fit, Folders, Picture, Source, Texts};
pub use subset::{Kept, Subset};

use crate::columns::not_an_artifact;
use crate::error::Error;
use crate::ratings::{DATASET, Provenance};
use crate::split::PartCounts;

/// The file of examples.
pub const EXAMPLES: &str = "examples.parquet";

/// The paths of the artifact's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExamplesFiles {
    /// `examples.parquet`
    pub examples: PathBuf,
    /// `dataset.json`
    pub dataset: PathBuf,
}

impl ExamplesFiles {
    /// The files under their own names in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { examples: folder.join(EXAMPLES), dataset: folder.join(DATASET) }
    }
}

/// What an example is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A text.
    Texts,
    /// An image of this size.
    Images(Shape),
}

impl Content {
    /// What people call it.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Texts => "texts",
            Self::Images(_) => "images",
        }
    }

    /// The name of its column.
    pub(crate) const fn column(self) -> &'static str {
        match self {
            Self::Texts => "text",
            Self::Images(_) => "image",
        }
    }
}

/// The size of an image; the order of its bytes is that of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Planes: 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

/// No side of an image is longer.
pub const LONGEST_SIDE: usize = 1024;

impl Shape {
    /// How many bytes an image has.
    pub const fn bytes(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::Setting`] where there are neither 1 nor 3 channels, or a side is 0 or longer than [`LONGEST_SIDE`].
    pub fn check(self) -> Result<(), Error> {
        let sides = 1..=LONGEST_SIDE;
        match matches!(self.channels, 1 | 3) && sides.contains(&self.height) && sides.contains(&self.width) {
            true => Ok(()),
            false => Err(Error::Setting(format!(
                "images of {} x {} pixels in {} channels: sides go from 1 to {LONGEST_SIDE}, and channels are 1 or 3",
                self.width, self.height, self.channels
            ))),
        }
    }
}

/// A class, and how much of the data it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassCount {
    /// The class's name.
    pub class: String,
    /// Its rows.
    pub rows: u64,
}

/// What was prepared, kept as `dataset.json`. It holds no path and no time: the same rows give the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The data set's name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Whether a generator made them.
    pub source: Provenance,
    /// What an example is.
    pub content: Content,
    /// Rows.
    pub rows: u64,
    /// The classes in the order of their labels.
    pub classes: Vec<ClassCount>,
    /// Rows of each part that the data came with; `None` where they came without parts.
    pub parts: Option<PartCounts>,
    /// What was kept, where not all was.
    pub subset: Option<Kept>,
    /// The terms of use.
    pub licence: String,
    /// What to cite.
    pub citation: String,
}

impl Summary {
    /// Reads a `dataset.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NotAnArtifact`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(Error::io(path, "read the file"))?;
        let summary: Self = serde_json::from_slice(&text).map_err(|e| not_an_artifact(path, e.to_string()))?;
        if let Content::Images(shape) = summary.content {
            shape.check().map_err(|error| not_an_artifact(path, error.to_string()))?;
        }
        Ok(summary)
    }

    /// The names of the classes in the order of their labels.
    pub fn class_names(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|count| count.class.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_sides_and_channels() {
        let shape = |channels, height, width| Shape { channels, height, width };
        assert!(shape(1, 1, 1024).check().is_ok() && shape(3, 32, 32).check().is_ok());
        for bad in [shape(2, 8, 8), shape(0, 8, 8), shape(3, 0, 8), shape(3, 8, 1025), shape(usize::MAX, usize::MAX, 1)] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert_eq!(shape(3, 32, 32).bytes(), 3072);
    }
}
