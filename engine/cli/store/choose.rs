//! Which results a command on the store is about.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use globset::Glob;

use super::Failure;
use crate::{
    fields::Reference,
    key::ActionKey,
    source::{Sources, one_of},
    store::{Held, Store, Survey},
};

/// Its arguments; nothing given means all.
#[derive(Clone, Debug, Default, Args)]
pub struct Choice {
    /// Stages: `teacher`, `student[genre=Western]`, with `*` and `?` in names and values; or the beginning of a key, from eight
    /// digits on [default: all].
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// Only results of this stage kind.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only what this run used or made; may be repeated.
    #[arg(long, value_name = "RUN")]
    pub run: Vec<String>,
    /// Only what this manifest made, or has as the last result of a stage; may be repeated.
    #[arg(long, value_name = "MANIFEST")]
    pub manifest: Vec<String>,
}

/// Whose last results these are, by key.
pub type Current = BTreeMap<ActionKey, Vec<(String, String)>>;

impl Choice {
    /// Whether nothing was chosen.
    pub fn is_all(&self) -> bool {
        self.stages.is_empty() && self.kind.is_none() && self.run.is_empty() && self.manifest.is_empty()
    }

    /// The keys of what was chosen. A stage, run or manifest that means nothing is an error.
    pub fn keys(&self, store: &Store, survey: &Survey, current: &Current) -> Result<BTreeSet<ActionKey>, Failure> {
        let mut of_runs = BTreeSet::new();
        for run in &self.run {
            of_runs.extend(keys_of_run(store, run)?);
        }
        for manifest in &self.manifest {
            check_manifest(manifest, survey, current)?;
        }
        let manifests = |held: &Held| {
            let owners = current.get(&held.key).into_iter().flatten().map(|(manifest, _)| manifest.as_str());
            owners.chain([held.manifest.as_str()]).any(|owner| self.manifest.iter().any(|wanted| wanted == owner))
        };
        let fits = |held: &&Held| {
            self.kind.as_ref().is_none_or(|kind| held.kind == *kind)
                && (self.run.is_empty() || of_runs.contains(&held.key))
                && (self.manifest.is_empty() || manifests(held))
        };
        let left: Vec<&Held> = survey.held().filter(fits).collect();
        if self.stages.is_empty() {
            return Ok(left.into_iter().map(|held| held.key).collect());
        }
        let mut chosen = BTreeSet::new();
        for stage in &self.stages {
            let pattern = Pattern::parse(stage)?;
            let mut found = left.iter().filter(|held| pattern.fits(held, current)).map(|held| held.key).peekable();
            if found.peek().is_none() {
                return Err(Failure::Wrong(nothing_fits(stage, survey)));
            }
            chosen.extend(found);
        }
        Ok(chosen)
    }
}

fn nothing_fits(stage: &str, survey: &Survey) -> String {
    let names: BTreeSet<&str> = survey.held().map(|held| held.instance.as_str()).collect();
    let help = one_of(stage, names.iter().copied()).map_or(String::new(), |help| format!(": {help}"));
    format!("no result in the store fits `{stage}`{help}")
}

/// The keys a run used, where there is such a run.
pub fn keys_of_run(store: &Store, run: &str) -> Result<BTreeSet<ActionKey>, Failure> {
    let known = store.run_ids()?;
    if !known.iter().any(|known| known == run) {
        let last = known.last().map_or(String::new(), |last| format!(": the last one is `{last}`, `talkflow show` lists them"));
        return Err(Failure::Wrong(format!("there is no run `{run}`{last}")));
    }
    Ok(store.keys_of_run(run)?)
}

/// That a manifest is known here.
pub fn check_manifest(manifest: &str, survey: &Survey, current: &Current) -> Result<(), Failure> {
    let owners = current.values().flatten().map(|(manifest, _)| manifest.as_str());
    let known: BTreeSet<&str> =
        owners.chain(survey.held().map(|held| held.manifest.as_str())).filter(|m| !m.is_empty()).collect();
    match known.contains(manifest) {
        true => Ok(()),
        false => {
            let help = one_of(manifest, known.iter().copied()).map_or(String::new(), |help| format!(": {help}"));
            Err(Failure::Wrong(format!("the store knows no manifest `{manifest}`{help}")))
        }
    }
}

/// One stage as it was typed.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    stage: globset::GlobMatcher,
    values: Vec<(String, globset::GlobMatcher)>,
}

impl Pattern {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let parsed = parse(text).map_err(Failure::Wrong)?;
        let glob = |word: &str| match Glob::new(word) {
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(error) => Err(Failure::Wrong(format!("`{text}`: {error}"))),
        };
        let values = parsed.1.iter().map(|(axis, value)| Ok((axis.clone(), glob(value)?)));
        Ok(Self { text: text.to_owned(), stage: glob(&parsed.0)?, values: values.collect::<Result<_, Failure>>()? })
    }

    /// Whether it means a result: by the name it was made under, by a name that a manifest has for it now, or by its key.
    pub fn fits(&self, held: &Held, current: &Current) -> bool {
        let names = current.get(&held.key).into_iter().flatten().map(|(_, instance)| instance.as_str());
        self.fits_named(&held.key, names.chain([held.instance.as_str()]))
    }

    /// Whether it means a result of this key under one of these names.
    pub fn fits_named<'a>(&self, key: &ActionKey, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.is_key_of(key) || names.any(|name| self.fits_name(name))
    }

    /// Whether it is the beginning of a key.
    pub fn is_key_of(&self, key: &ActionKey) -> bool {
        self.text.len() >= 8 && key.to_string().starts_with(&self.text)
    }

    fn fits_name(&self, name: &str) -> bool {
        let Ok((stage, labels)) = parse(name) else { return name == self.text };
        let has = |(axis, value): &(String, globset::GlobMatcher)| {
            labels.iter().any(|(known, own)| known == axis && value.is_match(own))
        };
        name == self.text || (self.stage.is_match(stage) && self.values.iter().all(has))
    }
}

/// A reference taken apart: the stage's name, and values by axis.
fn parse(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let mut sources = Sources::default();
    let typed = sources.add_text("", text.to_owned());
    let parsed = Reference::parse(text, sources.whole(typed))
        .map_err(|lost| lost.0.map_or_else(|| format!("`{text}` is not a reference to a stage"), |mistake| mistake.message))?;
    let own = |((_, axis), (_, value)): ((usize, &str), (usize, &str))| (axis.to_owned(), value.to_owned());
    Ok((parsed.stage.to_owned(), parsed.selection.unwrap_or_default().into_iter().map(own).collect()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn stages_are_named_in_part_and_with_stars() {
        let fits = |pattern: &str, name: &str| Pattern::parse(pattern).unwrap().fits_name(name);
        for pattern in ["student", "stu*", "*", "student[genre=Western]", "student[genre=W*]", "student[method=t?lk,genre=*]"] {
            assert!(fits(pattern, "student[seed=1,genre=Western,method=talk]"), "{pattern}");
        }
        for pattern in ["teacher", "stud", "student[genre=West]", "student[film=Western]", "student[genre=W*,method=label]"] {
            assert!(!fits(pattern, "student[seed=1,genre=Western,method=talk]"), "{pattern}");
        }
        assert!(fits("teacher", "teacher"));
        assert!(matches!(Pattern::parse("student[genre"), Err(Failure::Wrong(_))));
        assert!(matches!(Pattern::parse("a{b"), Err(Failure::Wrong(_))));
    }
}
