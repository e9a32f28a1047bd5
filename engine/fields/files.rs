//! Files that a setting names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::glob::{self, Match, Pattern};
use super::places::Place;
use super::reader::{Absent, Fields, Found};
use super::settings::Leaf;
use super::shape::Shape;
use crate::looks::Leads;
use crate::manifest::{Node, Value};
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

/// A file of the user's that is to lie in a folder of the stage's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFile {
    /// Where it shall lie.
    pub place: String,
    /// Where it is.
    pub path: PathBuf,
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
        let path = self.folder_of(found).map_or_else(|| PathBuf::from(&**text), |folder| folder.join(&**text));
        self.keep_file(key, &path, found.node.span);
        Some(path)
    }

    /// The folder that a relative path is taken from; `None` is the current one.
    fn folder_of(&self, found: &Found) -> Option<PathBuf> {
        match found.untyped() {
            true => None,
            false => self.outside.sources.path(found.node.span.source).and_then(Path::parent).map(Path::to_owned),
        }
    }

    fn keep_file(&mut self, field: &str, path: &Path, at: Span) {
        if self.recording() {
            self.record.files.push(File { field: format!("{}{field}", self.path()), path: path.to_owned(), at });
        }
    }

    /// Reads the path of a folder that must be given. All files in it and below become files of the stage, each under its path in the folder;
    /// what begins with a point is passed over. In the key are these paths and the contents, and not where the folder is. Empty after a
    /// mistake.
    pub fn folder(&mut self, key: &str) -> Vec<PlacedFile> {
        if self.sketch(key, &Shape::Folder, Absent::Required) {
            return Vec::new();
        }
        match self.take(key) {
            Some(found) => self.folder_found(key, &found).unwrap_or_default(),
            None => {
                self.missing(key, &Shape::Folder.noun());
                Vec::new()
            }
        }
    }

    /// Reads the path of a folder that may be left out.
    pub fn optional_folder(&mut self, key: &str) -> Option<Vec<PlacedFile>> {
        if self.sketch(key, &Shape::Folder, Absent::None) {
            return None;
        }
        match self.take(key) {
            Some(found) if !matches!(found.node.value, Value::Null) => self.folder_found(key, &found),
            _ => None,
        }
    }

    /// Reads the path of a folder of which certain files count and no others: those that are `needed`, and those of `more` that are there. It
    /// must be given. In the key are names and contents of these files, and not where the folder is. Empty after a mistake.
    pub fn files_of_folder(&mut self, key: &str, needed: &[&str], more: &[&str]) -> Vec<PlacedFile> {
        if self.sketch(key, &Shape::Folder, Absent::Required) {
            return Vec::new();
        }
        let Some(found) = self.take(key) else {
            self.missing(key, &Shape::Folder.noun());
            return Vec::new();
        };
        let Some(folder) = self.whole_folder(key, &found) else { return Vec::new() };
        let mut files = Vec::new();
        for (name, must) in needed.iter().map(|name| (name, true)).chain(more.iter().map(|name| (name, false))) {
            let path = folder.join(name);
            if matches!(self.outside.looks.at(&path), Leads::File) {
                self.keep_file(&format!("{key}.{name}"), &path, found.node.span);
                files.push(PlacedFile { place: (*name).to_owned(), path });
            } else if must {
                self.say(found.mistake(format!("there is no file {}", path.display())));
                return Vec::new();
            }
        }
        files
    }

    /// The folder that a text names.
    fn whole_folder(&mut self, key: &str, found: &Found) -> Option<PathBuf> {
        let Value::Text(text) = &found.node.value else {
            self.wrong(found, &Shape::Folder.noun(), None);
            return None;
        };
        let folder = self.folder_of(found).map_or_else(|| PathBuf::from(&**text), |base| base.join(&**text));
        if glob::is_pattern(text) {
            self.say(found.mistake(format!("`{text}` is a pattern, and `{key}` takes the path of one folder")));
            return None;
        }
        if text.is_empty() || !matches!(self.outside.looks.at(&folder), Leads::Folder) {
            self.say(found.mistake(format!("there is no folder {}", folder.display())));
            return None;
        }
        Some(folder)
    }

    fn folder_found(&mut self, key: &str, found: &Found) -> Option<Vec<PlacedFile>> {
        let Value::Text(text) = &found.node.value else {
            self.wrong(found, &Shape::Folder.noun(), None);
            return None;
        };
        self.whole_folder(key, found)?;
        let base = self.folder_of(found);
        let pattern = format!("{}/**", text.trim_end_matches('/'));
        let pattern = Pattern::new(&pattern);
        match pattern.files(base.as_deref(), self.outside.looks) {
            Ok(matches) => {
                let place = |found: Match| PlacedFile { place: found.text[pattern.folder.len()..].to_owned(), path: found.path };
                let files: Vec<PlacedFile> = matches.into_iter().map(place).collect();
                for file in &files {
                    self.keep_file(&format!("{key}.{}", file.place), &file.path, found.node.span);
                }
                Some(files)
            }
            Err(message) => {
                self.say(found.mistake(message));
                None
            }
        }
    }

    /// Reads files that are to lie in a folder of the stage's own: a list of paths and patterns, each file at the path it has beside
    /// the manifest, or a mapping of places to them. A folder means all that is in it. They are there now, and each becomes one of
    /// the stage's files under its place: in the key are places and contents, and not where the files come from.
    pub fn placed_files(&mut self, key: &str) -> Vec<PlacedFile> {
        let sketched = self.sketch(key, &Shape::list(Shape::File), Absent::None);
        if sketched && self.sketch(key, &Shape::Map(Box::new(Shape::File)), Absent::None) {
            return Vec::new();
        }
        let Some(found) = self.take(key) else { return Vec::new() };
        let mut files = BTreeMap::new();
        match &found.node.value {
            Value::Null => {}
            Value::Map(map) => {
                for (place, entry) in map.iter() {
                    let item = Found::of(&entry.node, found.via.as_ref());
                    match Place::parse(place) {
                        Ok(place) => self.place_files(key, Some(&place), &item, &mut files),
                        Err(why) => {
                            let at = Found::of(&Node::new(entry.key, Value::Null), found.via.as_ref());
                            self.say(at.mistake(format!("the path `{place}` {why}")).help(INSIDE));
                        }
                    }
                }
            }
            Value::List(items) => {
                for item in items.iter() {
                    let item = Found::of(item, found.via.as_ref());
                    self.place_files(key, None, &item, &mut files);
                }
            }
            _ => {
                let help = "write `[path, \"data/*.csv\"]`, or `{ place: path }`".to_owned();
                self.wrong(&found, "a list of paths, or a mapping of places to paths", Some(help));
            }
        }
        files.into_iter().map(|(place, path)| PlacedFile { place, path }).collect()
    }

    /// The files that one entry means, each with its place.
    fn place_files(&mut self, key: &str, place: Option<&Place>, found: &Found, files: &mut BTreeMap<String, PathBuf>) {
        let Some(text) = self.text_of(found) else { return };
        let base = self.folder_of(found);
        let literal = base.as_deref().map_or_else(|| PathBuf::from(&text), |base| base.join(&text));
        let pattern = match self.outside.looks.at(&literal) {
            Leads::File => None,
            Leads::Folder => Some(format!("{}/**", text.trim_end_matches('/'))),
            _ if glob::is_pattern(&text) => Some(text.clone()),
            _ => return self.say(found.mistake(format!("there is no file {}", literal.display()))),
        };
        let matches = match &pattern {
            None => vec![Match { text: place.map_or(text, |place| place.path.clone()), path: literal }],
            Some(pattern) => {
                let pattern = Pattern::new(pattern);
                let mut matches = match pattern.files(base.as_deref(), self.outside.looks) {
                    Ok(matches) => matches,
                    Err(message) => return self.say(found.mistake(message)),
                };
                // In another place, what follows the folder that all are in tells the files apart.
                if let Some(place) = place {
                    matches.iter_mut().for_each(|m| m.text = format!("{}/{}", place.path, &m.text[pattern.folder.len()..]));
                }
                matches
            }
        };
        for Match { text, path } in matches {
            let place = match Place::parse(&text) {
                Ok(place) => place.path,
                Err(why) => {
                    let help = "write `files: { place: path }` to say where it shall lie";
                    return self.say(found.mistake(format!("the path `{text}` {why}")).help(help));
                }
            };
            match in_the_way(files, &place) {
                Some((known, other)) if *known == place && *other == path => {}
                Some((_, other)) => {
                    let message = format!("{} and {} cannot both lie at `{place}`", other.display(), path.display());
                    return self.say(found.mistake(message));
                }
                None => {
                    self.keep_file(&format!("{key}.{place}"), &path, found.node.span);
                    files.insert(place, path);
                }
            }
        }
    }
}

const INSIDE: &str = "name it by a path inside of the folder that the stage runs in";

/// The file that lies at a place, on the way to it, or below it.
fn in_the_way<'a>(files: &'a BTreeMap<String, PathBuf>, place: &str) -> Option<(&'a String, &'a PathBuf)> {
    let below = format!("{place}/");
    let outer = place.match_indices('/').map(|(at, _)| &place[..at]);
    let above = outer.chain([place]).find_map(|outer| files.get_key_value(outer));
    above.or_else(|| files.range(below.clone()..).next().filter(|(known, _)| known.starts_with(&below)))
}
