//! Which results a command on the store is about.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::Failure;
use crate::{
    history,
    key::ActionKey,
    selector::{Name, Selector},
    source::one_of,
    store::{Held, Store, Survey},
};

/// Its arguments; nothing given means all.
#[derive(Clone, Debug, Default, Args)]
pub struct Choice {
    /// Stages: `teacher`, `student[genre=Western]`, `'s*[seed=1|2]'`; or the beginning of a key, from eight digits on [default: all].
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// Only results of this stage kind.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only what this run (`last`, a name or the beginning of it) used or made; may be repeated.
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
            of_runs.extend(store.keys_of_run(&run_of(store, run)?)?);
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
    let names: Vec<Name<'_>> = survey.held().map(|held| Name::parse(&held.instance)).collect();
    let why = Selector::parse(stage).and_then(|selector| selector.pick(&names));
    match why {
        Err(why) => format!("in the store, {why}"),
        Ok(_) => format!("no result in the store fits `{stage}` and what else was asked for"),
    }
}

/// The name of the run that was typed: its name, the beginning of it, `last`, `last~1`.
pub fn run_of(store: &Store, typed: &str) -> Result<String, Failure> {
    history::find(&history::runs(store)?, typed).map(|run| run.id).map_err(Failure::Wrong)
}

/// The same where it may as well be a stage or a key.
pub fn maybe_run(store: &Store, typed: &str) -> Option<String> {
    let may_be = typed.starts_with("last") || (typed.starts_with(|c: char| c.is_ascii_digit()) && typed.contains('-'));
    may_be.then(|| run_of(store, typed).ok()).flatten()
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

/// Results as they were typed: a selector of stages, or the beginning of a key.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    stages: Selector,
}

impl Pattern {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        Ok(Self { text: text.to_owned(), stages: Selector::parse(text).map_err(Failure::Wrong)? })
    }

    /// Whether it means a result: by the name it was made under, by a name that a manifest has for it now, or by its key.
    pub fn fits(&self, held: &Held, current: &Current) -> bool {
        let names = current.get(&held.key).into_iter().flatten().map(|(_, instance)| instance.as_str());
        self.fits_named(&held.key, names.chain([held.instance.as_str()]))
    }

    /// Whether it means a result of this key under one of these names.
    pub fn fits_named<'a>(&self, key: &ActionKey, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.is_key_of(key) || names.any(|name| self.stages.matches(&Name::parse(name)))
    }

    /// Whether it is the beginning of a key.
    pub fn is_key_of(&self, key: &ActionKey) -> bool {
        self.text.len() >= 8 && key.to_string().starts_with(&self.text)
    }
}
