//! Names of stage instances in past runs, chosen by what was typed: a stage, one instance in full, or a glob.

use globset::{GlobBuilder, GlobMatcher};

use super::Failure;

/// What was typed.
#[derive(Debug)]
pub struct Pattern {
    typed: String,
    glob: GlobMatcher,
}

impl Pattern {
    /// Reads it. Brackets are those of an instance's name, not a glob's.
    pub fn new(typed: &str) -> Result<Self, Failure> {
        let literal: String = typed.chars().map(|c| if "[]".contains(c) { format!("[{c}]") } else { c.to_string() }).collect();
        let glob = GlobBuilder::new(&literal).literal_separator(false).build();
        match glob {
            Ok(glob) => Ok(Self { typed: typed.to_owned(), glob: glob.compile_matcher() }),
            Err(error) => Err(Failure::Wrong(format!("`{typed}` is no pattern: {}", error.kind()))),
        }
    }

    /// Whether an instance's name, or its stage's, is meant.
    pub fn matches(&self, name: &str) -> bool {
        let stage = name.split('[').next().unwrap_or(name);
        name == self.typed || self.glob.is_match(name) || self.glob.is_match(stage)
    }
}

/// The matrix values in an instance's name, by axis: `genre` and `Western` of `student[genre=Western]`.
pub fn labels(name: &str) -> Vec<(&str, &str)> {
    let inside = name.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']')).unwrap_or_default();
    inside.split(',').filter_map(|label| label.split_once('=')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_meant_by_their_stage_in_full_or_by_a_glob() -> Result<(), Failure> {
        let name = "student[genre=Western,method=talk]";
        for typed in ["student", name, "stud*", "*talk]", "student[genre=W*", "*"] {
            assert!(Pattern::new(typed)?.matches(name), "{typed}");
        }
        for typed in ["studen", "teacher", "student[genre=D*", "student[genre=Western]"] {
            assert!(!Pattern::new(typed)?.matches(name), "{typed}");
        }
        assert!(Pattern::new("a{").is_err());
        assert_eq!(labels(name), [("genre", "Western"), ("method", "talk")]);
        assert!(labels("teacher").is_empty());
        Ok(())
    }
}
