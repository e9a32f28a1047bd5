//! What the settings of one stage ask of those of the stages it takes inputs from. It knows several kinds, which do not know
//! each other; whatever only data can tell is refused when the stage runs.

use talkflow_distill::ModelSpec;

use super::{
    StageSpec,
    cache_features::{CacheFeatures, Tap},
    distill::Distill,
    settings::Filter,
};
use crate::{
    fields::Choice,
    plan::{Disagreement, Seen},
    source::one_of,
};

type Stages<'a> = Seen<'a, StageSpec>;

/// What does not fit.
pub fn disagreements(seen: Stages<'_>) -> Vec<Disagreement> {
    let filter = match seen.spec() {
        StageSpec::Pretrain(pretrain) => &pretrain.0.filter,
        StageSpec::CacheFeatures(features) => &features.filter,
        StageSpec::Distill(distill) => &distill.training.filter,
        StageSpec::Dataset(_) | StageSpec::Split(_) | StageSpec::Evaluate(_) | StageSpec::Command(_) => return Vec::new(),
    };
    let mut found = genres(seen, filter);
    match seen.spec() {
        StageSpec::CacheFeatures(features) => found.extend(states(seen, features)),
        StageSpec::Distill(distill) => {
            found.extend(teacher(seen, distill));
            found.extend(taps(seen, distill));
        }
        _ => {}
    }
    found
}

/// Genres that the named data set does not have.
fn genres(seen: Stages<'_>, filter: &Filter) -> Vec<Disagreement> {
    let Some(StageSpec::Dataset(dataset)) = seen.input("ratings").map(Seen::spec) else { return Vec::new() };
    let Some(card) = dataset.card() else { return Vec::new() };
    let known = card.genres();
    let unknown = filter.genres().iter().filter(|genre| !known.contains(&genre.as_str()));
    let field = if seen.has("where.genre") { "where.genre" } else { "where.genres" };
    let say = |genre: &String| Disagreement {
        field: field.to_owned(),
        message: format!("{} has no genre `{genre}`", card.name),
        help: one_of(genre, known.iter().copied()),
    };
    unknown.map(say).collect()
}

/// The model a stage trains.
fn model(seen: Stages<'_>) -> Option<ModelSpec> {
    match seen.spec() {
        StageSpec::Pretrain(pretrain) => Some(pretrain.0.config.model.clone()),
        StageSpec::Distill(distill) => {
            let config = &distill.training.config;
            Some(config.method.trained_model(&config.model))
        }
        _ => None,
    }
}

/// States that the teacher's model does not have.
fn states(seen: Stages<'_>, features: &CacheFeatures) -> Vec<Disagreement> {
    let Some((teacher, model)) = seen.input("teacher").and_then(|teacher| Some((teacher, model(teacher)?))) else {
        return Vec::new();
    };
    let lacks = |tap: &Tap| match tap {
        Tap::Low => model.low_width().is_none(),
        Tap::High => model.high_width().is_none(),
        Tap::Embeddings => model.embedding().is_none(),
        Tap::Output => false,
    };
    let say = |tap: &Tap| Disagreement {
        field: "taps".to_owned(),
        message: format!("the teacher `{}` has no `{}`, since its model is `{}`", teacher.name(), tap.word(), model.name()),
        help: Some("leave it out, or name another teacher".to_owned()),
    };
    features.taps.iter().filter(|tap| lacks(tap)).map(say).collect()
}

/// A teacher that the method cannot learn from.
fn teacher(seen: Stages<'_>, distill: &Distill) -> Option<Disagreement> {
    let (field, teacher) = match seen.input("teacher") {
        Some(teacher) => ("teacher", teacher),
        None => ("features", seen.input("features")?.input("teacher")?),
    };
    let error = distill.training.config.check(Some(&model(teacher)?)).err()?;
    Some(Disagreement { field: field.to_owned(), message: error.to_string(), help: None })
}

/// What the method reads of a teacher and nobody caches.
fn taps(seen: Stages<'_>, distill: &Distill) -> Vec<Disagreement> {
    let Some(features) = seen.input("features") else { return Vec::new() };
    let StageSpec::CacheFeatures(CacheFeatures { taps, .. }) = features.spec() else { return Vec::new() };
    let missing = distill.taps().filter(|tap| !taps.contains(tap));
    let say = |tap: Tap| Disagreement {
        field: "features".to_owned(),
        message: format!(
            "the method `{}` needs the teacher's `{}`, which `{}` does not cache",
            distill.training.config.method.name(),
            tap.word(),
            features.name()
        ),
        help: Some(format!("add `{}` to its `taps`", tap.word())),
    };
    missing.map(say).collect()
}
