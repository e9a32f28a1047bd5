//! Files that a setting names.

use std::path::{Path, PathBuf};

use super::reader::{Absent, Fields, Found};
use super::settings::Leaf;
use super::shape::Shape;
use crate::manifest::Value;
use crate::source::Span;

/// A file named by a setting. Its contents, not its path, are part of the stage's key.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The path of the field in the settings.
    pub field: String,
    /// The file, relative paths taken from the folder of the manifest that names it.
    pub path: PathBuf,
    /// Where it is named.
    pub at: Span,
}

impl Fields<'_> {
    /// Reads the path of a file that must be given. A relative path is taken from the folder of the manifest it stands in
    /// (from the current folder, where it was typed or came from the environment). The file becomes one of the
    /// stage's files, by contents, and its path is not recorded. `None` after a mistake.
    pub fn file(&mut self, key: &str) -> Option<PathBuf> {
        if self.sketch(key, &Shape::File, Absent::Required) {
            return self.file_sketched(key, Absent::Required);
        }
        match self.take(key) {
            Some(found) => self.file_found(key, &found),
            None => {
                self.missing(key, &Shape::File.noun());
                None
            }
        }
    }

    /// Reads the path of a file that may be left out.
    pub fn optional_file(&mut self, key: &str) -> Option<PathBuf> {
        if self.sketch(key, &Shape::File, Absent::None) {
            return self.file_sketched(key, Absent::None);
        }
        match self.take(key) {
            Some(found) if !matches!(found.node.value, Value::Null) => self.file_found(key, &found),
            _ => None,
        }
    }

    fn file_sketched(&mut self, key: &str, absent: Absent<Leaf>) -> Option<PathBuf> {
        let node = self.sketched_value(key, &Shape::File, &absent)?;
        self.file_found(key, &Found::of(&node, None))
    }

    fn file_found(&mut self, key: &str, found: &Found) -> Option<PathBuf> {
        let Value::Text(text) = &found.node.value else {
            self.wrong(found, &Shape::File.noun(), None);
            return None;
        };
        if text.is_empty() {
            self.say(found.mistake(format!("`{key}` is empty")));
            return None;
        }
        let folder = match found.untyped() {
            true => None,
            false => self.outside.sources.path(found.node.span.source).and_then(Path::parent),
        };
        let path = folder.map_or_else(|| PathBuf::from(&**text), |folder| folder.join(&**text));
        if self.recording() {
            self.record.files.push(File { field: format!("{}{key}", self.path()), path: path.clone(), at: found.node.span });
        }
        Some(path)
    }
}
