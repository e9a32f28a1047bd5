//! Files that a setting names.

use std::path::{Path, PathBuf};

use super::reader::{Fields, Found};
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
        match self.take(key) {
            Some(found) => self.file_found(key, &found),
            None => {
                self.missing(key, "the path of a file");
                None
            }
        }
    }

    /// Reads the path of a file that may be left out.
    pub fn optional_file(&mut self, key: &str) -> Option<PathBuf> {
        match self.take(key) {
            Some(found) if !matches!(found.node.value, Value::Null) => self.file_found(key, &found),
            _ => None,
        }
    }

    fn file_found(&mut self, key: &str, found: &Found) -> Option<PathBuf> {
        let Value::Text(text) = &found.node.value else {
            self.wrong(found, "the path of a file", None);
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
