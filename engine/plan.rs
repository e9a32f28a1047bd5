//! A manifest and the stage kinds become a plan: every instance of every stage, what it reads, and in which order.
//!
//! Everything that can be known before anything runs is decided here, and every mistake is reported at once. This room knows
//! stage kinds only through [`Kinds`], and nothing of how a stage runs.

mod agree;
mod beside;
mod build;
mod matrix;
mod order;
mod resolved;
mod select;
mod union;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::artifact::ArtifactKind;
use crate::check::{self, Gate};
use crate::fields::{Fields, File, Labels, Port, Settings};
use crate::looks::Looks;
use crate::manifest::{Env, Node, ReadFile, Texts, load as load_manifest, read_file};
use crate::source::{Diagnostics, Sources, Span};
use crate::space;

use build::{Built, World};

pub use agree::{Disagreement, Seen};
pub use beside::{BESIDE, Beside, MOST_IN_POOL, bytes, duration, read as beside};
pub use resolved::{Line, Resolution, Resolved};
pub use select::{Chosen, Wish};
pub use union::Union;

/// The stage kinds there are.
pub trait Kinds {
    /// What a kind makes of its settings: all it needs to run.
    type Spec;

    /// Every kind by the word a manifest uses for it.
    fn words(&self) -> &[&str];

    /// What stages of a kind yield.
    fn output(&self, word: &str) -> ArtifactKind;

    /// Reads the settings of a stage of the kind `word`. After a mistake the spec is never used.
    fn read(&self, word: &str, fields: &mut Fields<'_>) -> Self::Spec;

    /// What of an instance's settings does not fit those of the instances it takes inputs from. Asked once each of them is without
    /// mistakes of its own.
    fn disagreements(&self, _seen: Seen<'_, Self::Spec>) -> Vec<Disagreement> {
        Vec::new()
    }
}

/// Reads the manifest in a file and plans it. `sets` are what was typed after `--set`, each `name=value`.
///
/// # Errors
/// All mistakes there are, in one report.
pub fn load<K: Kinds>(path: &Path, sets: &[String], env: Env<'_>, kinds: &K) -> Result<Plan<K::Spec>, Diagnostics> {
    load_from(Texts { read: &read_file, kept: None }, path, sets, env, &Looks::default(), kinds).map(|(plan, _)| plan)
}

/// As [`load`], with the trees of long manifests kept in a folder, if it exists, and all that is seen noted in `looks`.
///
/// # Errors
/// As [`load`].
pub fn load_kept<K: Kinds>(
    path: &Path,
    sets: &[String],
    env: Env<'_>,
    kinds: &K,
    kept: &Path,
    looks: &Looks,
) -> Result<Plan<K::Spec>, Diagnostics> {
    let read = |path: &Path, most: u64| read_file(path, most).inspect(|text| looks.text(path, text));
    let env = |name: &str| {
        let value = env(name);
        looks.variable(name, value.as_deref());
        value
    };
    load_from(Texts { read: &read, kept: Some(kept) }, path, sets, &env, looks, kinds).map(|(plan, _)| plan)
}

/// As [`load`], with the texts from wherever `read` gets them.
///
/// # Errors
/// As [`load`].
pub fn load_with<K: Kinds>(
    read: ReadFile<'_>,
    path: &Path,
    sets: &[String],
    env: Env<'_>,
    kinds: &K,
) -> Result<Plan<K::Spec>, Diagnostics> {
    load_from(Texts { read, kept: None }, path, sets, env, &Looks::default(), kinds).map(|(plan, _)| plan)
}

/// As [`load_kept`], with the regression gates that the manifest declares.
///
/// # Errors
/// As [`load`].
pub fn load_gated<K: Kinds>(
    path: &Path,
    sets: &[String],
    env: Env<'_>,
    kinds: &K,
    kept: &Path,
) -> Result<(Plan<K::Spec>, Vec<Gate>), Diagnostics> {
    load_from(Texts { read: &read_file, kept: Some(kept) }, path, sets, env, &Looks::default(), kinds)
}

fn load_from<K: Kinds>(
    texts: Texts<'_>,
    path: &Path,
    sets: &[String],
    env: Env<'_>,
    looks: &Looks,
    kinds: &K,
) -> Result<(Plan<K::Spec>, Vec<Gate>), Diagnostics> {
    let mut sources = Sources::default();
    let mut mistakes = Vec::new();
    let Some(manifest) = load_manifest(path, sets, texts, &mut sources, &mut mistakes) else {
        return Err(Diagnostics::new(sources, mistakes));
    };
    manifest.check_params(&mut mistakes);
    space::check(&manifest, &sources, env, &mut mistakes);
    let (section, params, own) = (manifest.check.clone(), Arc::clone(&manifest.params), manifest.source);
    let built = build::build(manifest, World { sources: &sources, env, looks }, kinds, &mut mistakes);
    let instances = built.as_ref().map(Built::instances);
    let known: Option<Vec<check::Known<'_>>> = instances
        .map(|instances| instances.iter().map(|one| check::Known { name: &one.name, yields: kinds.output(&one.kind) }).collect());
    let around = check::Around { sources: &sources, params, own, env, looks, known: known.as_deref() };
    let gates = section.map_or_else(Vec::new, |section| check::declared(&section, &around, &mut mistakes));
    if let (Some(built), true) = (&built, mistakes.is_empty()) {
        agree::check(built.instances(), kinds, &mut mistakes);
    }
    match built {
        Some(built) if mistakes.is_empty() => Ok((built.with(sources), gates)),
        _ => Err(Diagnostics::new(sources, mistakes)),
    }
}

/// Reads the manifest in a file and plans every point of its sweep together. Of `sets`, `name=value,value` gives a parameter several values.
/// The trees of long manifests are kept in a folder, if it exists.
///
/// # Errors
/// As [`load`].
pub fn load_sweep<K: Kinds>(
    path: &Path,
    sets: &[String],
    env: Env<'_>,
    kinds: &K,
    kept: &Path,
) -> Result<Union<K::Spec>, Diagnostics> {
    union::load(Texts { read: &read_file, kept: Some(kept) }, path, sets, env, kinds)
}

/// What is to be done: every stage instance, each after those whose output it takes.
#[derive(Debug)]
pub struct Plan<S> {
    /// The manifest's name; that of its file, without extension, where it gives none.
    pub name: String,
    /// What the manifest says about itself.
    pub description: Option<String>,
    /// The manifest's file.
    pub path: PathBuf,
    /// The texts that spans point into.
    pub sources: Sources,
    /// The parameters after resolution, in the manifest's order.
    pub params: Vec<(String, Node)>,
    /// Sizes of the named pools that its stages share, in the manifest's order.
    pub pools: IndexMap<String, u64>,
    /// The instances in an order in which they can run: topological, and else that of the manifest.
    pub instances: Vec<Instance<S>>,
}

/// One stage with one value for each axis of its matrix.
#[derive(Debug)]
pub struct Instance<S> {
    /// `student[genre=Western,method=talk]`; the stage's name where it has no matrix.
    pub name: String,
    /// The stage.
    pub stage: String,
    /// Axis to value name, in the order of the axes.
    pub labels: Labels,
    /// In a sweep, the parameters for whose values this is one of several: parameter to value name.
    pub point: Labels,
    /// The word of its kind.
    pub kind: String,
    /// What the kind made of the settings.
    pub spec: S,
    /// Every value the kind read.
    pub settings: Settings,
    /// What it takes from others.
    pub inputs: Vec<Input>,
    /// The files it reads.
    pub files: Vec<File>,
    /// What it may use.
    pub resources: Resources,
    /// After how long it is stopped.
    pub timeout: Option<Duration>,
    /// Whether it is tried again after a failure.
    pub retries: Retries,
    /// What the manifest says about it.
    pub description: Option<String>,
    /// Where the stage's name stands.
    pub at: Span,
}

/// What an instance takes from others under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The name.
    pub port: Port,
    /// The instances whose outputs it takes, by their place in [`Plan::instances`]; exactly one unless `many`.
    pub from: Vec<usize>,
    /// Whether the kind takes several.
    pub many: bool,
    /// Whether it is taken through another input, so that the manifest does not name it.
    pub through: bool,
    /// Where the manifest names it, or that other input.
    pub at: Span,
}

/// What a stage may use while it runs; never part of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU cores; `None` leaves it to the engine.
    pub cores: Option<usize>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// GPUs; `None` leaves it to the engine.
    pub gpus: Option<usize>,
    /// Of the plan's pools, by place in [`Plan::pools`], how much.
    pub pools: Vec<(usize, u64)>,
}

/// How often a stage is tried again after a failure, and how long it rests before that; never part of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retries {
    /// How often.
    pub times: u32,
    /// How long after its first failure.
    pub wait: Duration,
    /// How many times longer after each further one.
    pub factor: f64,
}

impl Retries {
    /// The longest rest.
    const LONGEST: Duration = Duration::from_secs(86_400);

    /// How long to rest after so many failures, the first being 1.
    #[must_use]
    pub fn rest(&self, failures: u32) -> Duration {
        let times = self.factor.powi(i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(self.wait.as_secs_f64() * times).unwrap_or(Self::LONGEST).min(Self::LONGEST)
    }
}

#[cfg(test)]
pub(crate) mod tests;
