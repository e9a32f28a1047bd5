//! The closed set of stage kinds. A new kind is a file in `stages/`, a variant and its lines here; no kind knows another,
//! what several need is in `files`, `settings` and `training`.

use crate::{
    artifact::ArtifactKind,
    fields::Fields,
    plan::{Disagreement, Kinds, Seen},
    stage::{Device, Located, Outside, Places, Stage, StageCx, Talk},
};

mod agree;
pub mod cache_features;
pub mod command;
pub mod dataset;
pub mod distill;
pub mod encoder;
pub mod evaluate;
mod examples;
pub mod files;
pub mod pretrain;
pub mod probe;
pub mod search;
pub mod settings;
pub mod split;
mod streaming;
mod training;

pub use training::COLLAPSED;

pub use settings::METHODS;

/// A stage's kind with its settings.
#[derive(Clone, Debug)]
pub enum StageSpec {
    /// Ratings, or examples with classes, as Parquet.
    Dataset(dataset::Dataset),
    /// Which row is for what.
    Split(split::Split),
    /// A teacher.
    Pretrain(pretrain::Pretrain),
    /// A frozen transformer.
    Encoder(encoder::Encoder),
    /// A teacher's states.
    CacheFeatures(cache_features::CacheFeatures),
    /// A head on them.
    Probe(probe::Probe),
    /// A student.
    Distill(distill::Distill),
    /// Scores of models.
    Evaluate(evaluate::Evaluate),
    /// Settings that were best on validation rows.
    Search(search::Search),
    /// Files that a program made.
    Command(command::Command),
}

/// The words for the kinds, in the order of a pipeline.
pub const WORDS: [&str; 10] =
    ["dataset", "split", "pretrain", "encoder", "cache_features", "probe", "distill", "search", "evaluate", "command"];

impl StageSpec {
    fn stage(&self) -> &dyn Stage {
        match self {
            Self::Dataset(stage) => stage,
            Self::Split(stage) => stage,
            Self::Pretrain(stage) => stage,
            Self::Encoder(stage) => stage,
            Self::CacheFeatures(stage) => stage,
            Self::Probe(stage) => stage,
            Self::Distill(stage) => stage,
            Self::Evaluate(stage) => stage,
            Self::Search(stage) => stage,
            Self::Command(stage) => stage,
        }
    }
}

/// What a stage of this kind makes; `None` where no kind is called so. A file's name tells nothing of it: a program may call its own as
/// it likes.
pub fn made_by(word: &str) -> Option<ArtifactKind> {
    WORDS.contains(&word).then(|| StageKinds.output(word))
}

/// The kinds as the plan reads them.
#[derive(Clone, Copy, Debug)]
pub struct StageKinds;

/// Whether this build, on this machine, can train there.
///
/// # Errors
/// Why not, and what to do.
pub fn check_device(device: Device) -> Result<(), String> {
    training::device(device, &[]).check().map_err(|error| error.to_string())
}

impl Kinds for StageKinds {
    type Spec = StageSpec;

    fn words(&self) -> &[&str] {
        &WORDS
    }

    fn output(&self, word: &str) -> ArtifactKind {
        match word {
            "dataset" => ArtifactKind::Data,
            "split" => ArtifactKind::Split,
            "pretrain" | "distill" | "probe" => ArtifactKind::Model,
            "encoder" => ArtifactKind::Encoder,
            "cache_features" => ArtifactKind::Features,
            "search" => ArtifactKind::Settings,
            "command" => ArtifactKind::Files,
            _ => ArtifactKind::Scores,
        }
    }

    fn read(&self, word: &str, fields: &mut Fields<'_>) -> StageSpec {
        match word {
            "dataset" => StageSpec::Dataset(dataset::read(fields)),
            "split" => StageSpec::Split(split::read(fields)),
            "pretrain" => StageSpec::Pretrain(pretrain::read(fields)),
            "encoder" => StageSpec::Encoder(encoder::read(fields)),
            "cache_features" => StageSpec::CacheFeatures(cache_features::read(fields)),
            "probe" => StageSpec::Probe(probe::read(fields)),
            "distill" => StageSpec::Distill(distill::read(fields)),
            "search" => StageSpec::Search(search::read(fields)),
            "command" => StageSpec::Command(command::read(fields)),
            _ => StageSpec::Evaluate(evaluate::read(fields)),
        }
    }

    fn disagreements(&self, seen: Seen<'_, StageSpec>) -> Vec<Disagreement> {
        agree::disagreements(seen)
    }
}

impl Stage for StageSpec {
    fn kind(&self) -> &'static str {
        self.stage().kind()
    }

    fn version(&self) -> u32 {
        self.stage().version()
    }

    fn backend(&self, device: Device) -> Option<String> {
        self.stage().backend(device)
    }

    fn cores(&self) -> usize {
        self.stage().cores()
    }

    fn computes(&self) -> bool {
        self.stage().computes()
    }

    fn reads_labels(&self, port: &str) -> bool {
        self.stage().reads_labels(port)
    }

    fn is_shown(&self) -> bool {
        self.stage().is_shown()
    }

    fn reads_outside(&self) -> bool {
        self.stage().reads_outside()
    }

    fn locate(&self, places: &Places) -> anyhow::Result<Located> {
        self.stage().locate(places)
    }

    fn fetch(&self, places: &Places, talk: &Talk<'_>) -> anyhow::Result<Outside> {
        self.stage().fetch(places, talk)
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        self.stage().run(cx)
    }
}
