//! Files of the user's by pattern: which there are now, in one order.
//!
//! `*` and `?` stay within one part of a path, `**` crosses parts. What begins with a point is passed over unless the pattern says so,
//! as in a shell: a store beside the manifest is not among `**`.

use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use walkdir::WalkDir;

use crate::looks::Looks;

/// More files than this are taken for a mistake in the pattern.
const MOST_FILES: usize = 100_000;

/// Of a pattern that looks at more, the wrong folder was meant, such as `/`.
const MOST_SEEN: usize = 1_000_000;

/// Whether a path is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A pattern taken apart.
#[derive(Debug)]
pub(crate) struct Pattern<'a> {
    /// The pattern, without `./` before it.
    text: &'a str,
    /// The folder before the first part that is a pattern; empty, or with a `/` at its end.
    pub folder: &'a str,
}

/// A file that matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    /// Its path as the pattern would write it.
    pub text: String,
    /// Where it is.
    pub path: PathBuf,
}

impl<'a> Pattern<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let text = text.trim_start_matches("./");
        let first = text.find(['*', '?', '[', '{']).unwrap_or(text.len());
        let folder = text[..first].rfind('/').map_or("", |slash| &text[..=slash]);
        Self { text, folder }
    }

    /// The files that match, relative paths taken from `base`; by their paths in order. At least one.
    pub(crate) fn files(&self, base: Option<&Path>, looks: &Looks) -> Result<Vec<Match>, String> {
        let build = || GlobBuilder::new(self.text).literal_separator(true).build();
        let glob = build().map_err(|error| format!("`{}` is no pattern: {}", self.text, error.kind()))?.compile_matcher();
        let root = match base {
            Some(base) => base.join(self.folder),
            None => PathBuf::from(if self.folder.is_empty() { "." } else { self.folder }),
        };
        let rest = &self.text[self.folder.len()..];
        let deepest = if rest.contains("**") { usize::MAX } else { rest.split('/').count() };
        let hidden = rest.split('/').any(|part| part.starts_with('.'));
        let walk = WalkDir::new(&root).min_depth(1).max_depth(deepest).follow_links(true).sort_by_file_name();
        let shown =
            |entry: &walkdir::DirEntry| hidden || entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
        let mut files = Vec::new();
        looks.into(&root);
        for (seen, entry) in walk.into_iter().filter_entry(shown).enumerate() {
            if seen >= MOST_SEEN {
                return Err(format!(
                    "`{}` has to look at more than {MOST_SEEN} files: name a folder before the pattern",
                    self.text
                ));
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.depth() == 0 => break,
                Err(error) => return Err(format!("cannot look for `{}`: {error}", self.text)),
            };
            // Where a link leads may change without a change of the folder that it lies in.
            if entry.path_is_symlink() {
                looks.untold();
            }
            if entry.file_type().is_dir() && entry.depth() < deepest {
                looks.into(entry.path());
            }
            let inner = entry.path().strip_prefix(&root).unwrap_or(entry.path());
            if entry.file_type().is_dir() || !glob.is_match(Path::new(self.folder).join(inner)) {
                continue;
            }
            let Some(inner) = inner.to_str() else {
                return Err(format!("{} has a name that is not UTF-8", entry.path().display()));
            };
            files.push(Match { text: format!("{}{inner}", self.folder), path: entry.path().to_owned() });
            if files.len() > MOST_FILES {
                return Err(format!("`{}` matches more than {MOST_FILES} files", self.text));
            }
        }
        match files.is_empty() {
            true => Err(format!("`{}` matches no file in {}", self.text, shown_folder(base))),
            false => {
                files.sort();
                Ok(files)
            }
        }
    }

    /// The part of a match that the pattern leaves open: what stands between the text before its first wild part and after its last.
    pub(crate) fn open_part<'t>(&self, text: &'t str) -> &'t str {
        let wild = ['*', '?', '[', ']', '{', '}'];
        let first = self.text.find(wild).unwrap_or(0);
        let last = self.text.rfind(wild).map_or(0, |last| self.text.len() - last - 1);
        text.get(first..text.len().saturating_sub(last)).unwrap_or(text)
    }
}

fn shown_folder(base: Option<&Path>) -> String {
    match base {
        Some(base) if !base.as_os_str().is_empty() => base.display().to_string(),
        _ => "this folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn files_are_found_by_pattern_in_one_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["d/b.csv", "d/a.csv", "d/sub/c.csv", "d/.hidden.csv", "d/e.txt", ".store/x.csv"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let find = |pattern: &str| {
            let files = Pattern::new(pattern).files(Some(folder.path()), &Looks::default());
            files.map(|files| files.into_iter().map(|file| file.text).collect::<Vec<_>>())
        };
        assert_eq!(find("d/*.csv").unwrap(), ["d/a.csv", "d/b.csv"]);
        assert_eq!(find("./d/*.csv").unwrap(), ["d/a.csv", "d/b.csv"]);
        assert_eq!(find("**/*.csv").unwrap(), ["d/a.csv", "d/b.csv", "d/sub/c.csv"]);
        assert_eq!(find("d/.*.csv").unwrap(), ["d/.hidden.csv"]);
        assert_eq!(find("d/{a,e}.*").unwrap(), ["d/a.csv", "d/e.txt"]);
        assert!(find("d/*.parquet").unwrap_err().contains("matches no file"));
        assert!(find("none/*").unwrap_err().contains("matches no file"));
        assert!(find("d/[").unwrap_err().contains("no pattern"));
    }

    #[test]
    fn a_match_is_told_from_others_by_what_the_pattern_leaves_open() {
        let part = |pattern: &str, text: &str| Pattern::new(pattern).open_part(text).to_owned();
        assert_eq!(part("data/*.csv", "data/a.csv"), "a");
        assert_eq!(part("./*/train.csv", "x/train.csv"), "x");
        assert_eq!(part("d/**/*.csv", "d/x/y.csv"), "x/y");
        assert_eq!(part("part-?.{csv,tsv}", "part-1.tsv"), "1.tsv");
    }
}
