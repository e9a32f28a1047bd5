//! What the settings of one stage ask of those of the stages it takes inputs from. It knows several kinds, which do not know
//! each other; whatever only data can tell is refused when the stage runs.

use std::collections::BTreeSet;

use talkflow_datasets::{
    examples::Content,
    split::{ClassSplit, Part},
};
use talkflow_distill::{ImageShape, InputShape, ModelSpec, TeacherSpec, TrainConfig};

use super::{
    StageSpec,
    cache_features::{CacheFeatures, Tap},
    distill,
    evaluate::{self, Compare, Evaluate},
    settings::Filter,
    split::{Spec, Split},
    training::{CHOSEN, Settings},
};
use crate::{
    fields::Choice,
    plan::{Disagreement, Seen},
    scores::{Metric, TEACHER, Task},
    source::one_of,
    stage::Stage,
};

mod searched;

type Stages<'a> = Seen<'a, StageSpec>;

/// What does not fit.
pub fn disagreements(seen: Stages<'_>) -> Vec<Disagreement> {
    let other = other_data(seen).or_else(|| other_examples(seen)).or_else(|| unread(seen)).or_else(|| other_features(seen));
    if let Some(other) = other {
        return vec![other];
    }
    let filter = match seen.spec() {
        StageSpec::Pretrain(pretrain) => &pretrain.0.filter,
        StageSpec::CacheFeatures(features) => &features.filter,
        StageSpec::Distill(distill) => &distill.training.filter,
        StageSpec::Search(search) => return searched::of_search(seen, search),
        StageSpec::Split(split) => return parts(seen, split).into_iter().collect(),
        StageSpec::Evaluate(evaluate) => {
            return compared(seen, evaluate)
                .into_iter()
                .chain(searched::budgets(seen, evaluate))
                .chain(measures(seen, evaluate))
                .chain(unfit(seen, evaluate))
                .collect();
        }
        StageSpec::Dataset(_) | StageSpec::Encoder(_) | StageSpec::Probe(_) | StageSpec::Command(_) => return Vec::new(),
    };
    let mut found = genres(seen, filter);
    match seen.spec() {
        StageSpec::CacheFeatures(features) => found.extend(states(seen, features)),
        StageSpec::Distill(_) => {
            let configs = configs(seen);
            found.extend(configs.iter().find_map(|config| teacher(seen, config)));
            let missing: BTreeSet<Tap> = configs.iter().flat_map(distill::taps).collect();
            found.extend(taps(seen, &configs, &missing));
            found.extend(searched::inputs(seen, &configs));
        }
        _ => {}
    }
    found
}

/// Examples with classes where ratings are needed: the port that ratings come through says that they are.
fn other_data(seen: Stages<'_>) -> Option<Disagreement> {
    let (data, content) = seen.inputs("ratings").find_map(|data| match data.spec() {
        StageSpec::Dataset(dataset) => Some((data, dataset.content()?)),
        _ => None,
    })?;
    let message = format!(
        "`{}` takes ratings, and these are rows of `{}`, which holds {} with classes",
        seen.spec().kind(),
        data.name(),
        content.noun()
    );
    Some(Disagreement { field: "rows".to_owned(), message, help: Some("name a split of ratings".to_owned()) })
}

/// Ratings where examples with classes are needed, or examples that the student's model does not read.
fn other_examples(seen: Stages<'_>) -> Option<Disagreement> {
    if seen.input("ratings").is_some() {
        return None;
    }
    let (data, dataset) = seen.inputs("examples").find_map(|data| match data.spec() {
        StageSpec::Dataset(dataset) => Some((data, dataset)),
        _ => None,
    })?;
    let say = |field: &str, message: String, help: &str| {
        Some(Disagreement { field: field.to_owned(), message, help: Some(help.to_owned()) })
    };
    let name = data.name();
    let Some(content) = dataset.content() else {
        if matches!(seen.spec(), StageSpec::CacheFeatures(_)) {
            let message = format!("an encoder reads the items of ratings, which are in no part of a split of `{name}`");
            return say("rows", message, &format!("write `rows: {name}`, whose items all splits share"));
        }
        let message =
            format!("`{}` takes examples with classes, and these are rows of `{name}`, which holds ratings", seen.spec().kind());
        return say("rows", message, "name a split of texts or images, or for ratings take an `ncf` or `mf` model");
    };
    let configs = configs(seen);
    let net = configs.iter().find_map(|config| match &config.model {
        ModelSpec::Net(net) => Some(net),
        _ => None,
    })?;
    let message = |reads: &str| format!("`{}` reads {reads}, and `{name}` holds {}", net.name(), content.noun());
    match (net.vocabulary().is_some(), content) {
        (true, Content::Images(_)) => say("model", message("texts"), "take a `vit` or `conv` model"),
        (false, Content::Texts) => say("model", message("images"), "take a `bag` or `text_transformer` model"),
        (false, Content::Images(shape)) => {
            let shape = ImageShape { channels: shape.channels, height: shape.height, width: shape.width };
            let error = net.fits(&InputShape::Images(shape)).err()?;
            Some(Disagreement { field: "model".to_owned(), message: error.to_string(), help: None })
        }
        (true, Content::Texts) => None,
    }
}

/// Examples that the encoder does not read.
fn unread(seen: Stages<'_>) -> Option<Disagreement> {
    let teacher = seen.input("teacher")?;
    let StageSpec::Encoder(encoder) = teacher.spec() else { return None };
    let all = seen.inputs("rows").filter(|_| matches!(seen.spec(), StageSpec::CacheFeatures(_)));
    let (data, content) = seen.inputs("examples").chain(all).find_map(|data| match data.spec() {
        StageSpec::Dataset(dataset) => Some((data, dataset.content())),
        _ => None,
    })?;
    let texts = encoder.reads_texts()?;
    let Some(content) = content else {
        let message = format!("`{}` reads images, and the items of `{}` are texts", teacher.name(), data.name());
        let help = Some("name an encoder of texts".to_owned());
        return (!texts).then(|| Disagreement { field: "teacher".to_owned(), message, help });
    };
    let message = format!(
        "`{}` reads {}, and `{}` holds {}",
        teacher.name(),
        if texts { "texts" } else { "images" },
        data.name(),
        content.noun()
    );
    let help = Some("name an encoder of the other family, or other data".to_owned());
    (texts != (content == Content::Texts)).then(|| Disagreement { field: "teacher".to_owned(), message, help })
}

/// Features of examples for a student of ratings, or of ratings for one of examples.
fn other_features(seen: Stages<'_>) -> Option<Disagreement> {
    let data = |stage: Stages<'_>| {
        let all = ["ratings", "examples", "rows"].into_iter().flat_map(|port| stage.inputs(port).collect::<Vec<_>>());
        all.into_iter().find_map(|data| match data.spec() {
            StageSpec::Dataset(dataset) => Some((data.name().to_owned(), dataset.content())),
            _ => None,
        })
    };
    let features = seen.input("features")?;
    let ((name, content), (own, of_own)) = (data(features)?, data(seen)?);
    let noun = |content: Option<Content>| content.map_or("ratings", Content::noun);
    (content.is_some() != of_own.is_some()).then(|| Disagreement {
        field: "features".to_owned(),
        message: format!(
            "`{}` was made from `{name}`, which holds {}, and these are rows of `{own}`, which holds {}",
            features.name(),
            noun(content),
            noun(of_own)
        ),
        help: Some(format!("name features of `{own}`")),
    })
}

/// Data that cannot be split in the way that is asked for.
fn parts(seen: Stages<'_>, split: &Split) -> Option<Disagreement> {
    let data = seen.input("rows")?;
    let StageSpec::Dataset(dataset) = data.spec() else { return None };
    let (name, came_with) = (data.name(), dataset.parts());
    let say = |message: String, help: &str| Some(Disagreement { field: "by".to_owned(), message, help: Some(help.to_owned()) });
    let lacking = || [Part::Train, Part::Test].into_iter().find(|part| !came_with.contains(part));
    match (&split.spec, dataset.content()) {
        (Spec::Ratings(_), Some(content)) => say(
            format!("`{name}` holds {} with classes, which cannot be split like ratings", content.noun()),
            "write `by: given` to keep the parts that the data came with, or `by: class`",
        ),
        (Spec::Examples(_), None) => say(
            format!("`{name}` holds ratings, which have no classes and no parts of their own"),
            "split them by `rating`, `user` or `time`, or `leave_one_out`",
        ),
        (Spec::Examples(ClassSplit::Given(_)), Some(_)) if lacking().is_some() => {
            let lacking = lacking().map_or("", Part::name);
            say(
                format!("`{name}` comes without {lacking} rows of its own"),
                "name a file or folder for each part, or split it by `class`",
            )
        }
        (Spec::Examples(ClassSplit::Given(Some(share))), Some(_)) if *share > 0.0 && came_with.contains(&Part::Validation) => {
            say(
                format!("`{name}` comes with validation rows of its own, so that none are taken from train"),
                "leave `validation_fraction` out",
            )
        }
        _ => None,
    }
}

/// The columns that a model may stand in: by its label, or else by its method, which a search may choose.
fn columns_of(model: Stages<'_>, evaluate: &Evaluate) -> Vec<String> {
    match (model.label(&evaluate.column_axis), model.spec()) {
        (Some(label), _) => vec![label.to_owned()],
        (None, StageSpec::Pretrain(_)) => vec![TEACHER.to_owned()],
        (None, StageSpec::Probe(_)) => vec!["probe".to_owned()],
        (None, _) => configs(model).iter().map(|config| config.method.name().to_owned()).collect(),
    }
}

/// Comparisons of columns and groups of rows that the table will not have.
fn compared(seen: Stages<'_>, evaluate: &Evaluate) -> Vec<Disagreement> {
    let row = |model: Stages<'_>| {
        let title = match model.spec() {
            StageSpec::Pretrain(pretrain) => pretrain.0.filter.title(),
            StageSpec::Distill(distill) => distill.training.filter.title(),
            StageSpec::Probe(_) => Filter::of(Vec::new()).title(),
            _ => return None,
        };
        Some(model.label(&evaluate.row_axis).map_or(title, str::to_owned))
    };
    let rows: BTreeSet<String> = seen.inputs("models").filter_map(row).collect();
    let mut columns: BTreeSet<String> = seen.inputs("models").flat_map(|model| columns_of(model, evaluate)).collect();
    if seen.input("teacher").is_some() {
        columns.insert(TEACHER.to_owned());
    }
    let Compare { reference, methods, pairs, groups, unequal, .. } = &evaluate.compare;
    let column = |field: String, name: &String| (field, name.clone(), &evaluate.column_axis, &columns);
    let of_pairs =
        pairs.iter().flat_map(|(method, other)| [method, other].map(|name| column(format!("compare.pairs.{method}"), name)));
    let of_groups = groups.iter().flat_map(|(group, of)| of.iter().map(move |row| (group, row)));
    let named = (reference.iter().map(|name| column("compare.reference".to_owned(), name)))
        .chain(methods.iter().map(|name| column("compare.methods".to_owned(), name)))
        .chain(unequal.iter().map(|name| column("compare.unequal".to_owned(), name)))
        .chain(of_pairs)
        .chain(of_groups.map(|(group, row)| (format!("compare.groups.{group}"), row.clone(), &evaluate.row_axis, &rows)));
    let say = |(field, name, axis, known): (String, String, &String, &BTreeSet<String>)| Disagreement {
        message: format!("no model that is scored has the {axis} `{name}`"),
        help: one_of(&name, known.iter().map(String::as_str)),
        field,
    };
    named.filter(|(_, name, _, known)| !known.contains(name)).map(say).collect()
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

/// The settings that a stage may train with: those that are written, or those that a search may choose.
fn configs(seen: Stages<'_>) -> Vec<TrainConfig> {
    let training = match seen.spec() {
        StageSpec::Pretrain(pretrain) => &pretrain.0,
        StageSpec::Distill(distill) => &distill.training,
        _ => return Vec::new(),
    };
    match &training.settings {
        Settings::Written(config) => vec![(**config).clone()],
        Settings::Chosen { seed, epochs } => {
            let candidates = seen.input(CHOSEN).map(searched::candidates).unwrap_or_default();
            let own = |config: TrainConfig| TrainConfig { seed: *seed, epochs: epochs.unwrap_or(config.epochs), ..config };
            candidates.into_iter().map(own).collect()
        }
    }
}

/// The model a stage trains.
fn model(seen: Stages<'_>) -> Option<ModelSpec> {
    let config = configs(seen).into_iter().next()?;
    match seen.spec() {
        StageSpec::Pretrain(_) => Some(config.model),
        _ => Some(config.method.trained_model(&config.model)),
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

/// What cannot be measured: a way towards a teacher that has learnt nothing.
fn measures(seen: Stages<'_>, evaluate: &Evaluate) -> Vec<Disagreement> {
    let untrained = |teacher: &Stages<'_>| configs(*teacher).iter().any(|config| config.epochs == 0);
    let say = |teacher: Stages<'_>| Disagreement {
        field: "teacher".to_owned(),
        message: format!("`gap_recovery` measures against a teacher, and `{}` is not trained", teacher.name()),
        help: Some("name the trained one, or leave `gap_recovery` out of `metrics`".to_owned()),
    };
    // With a teacher it is among those of an evaluation that names none.
    let asked = evaluate.metrics.is_empty() || evaluate.metrics.contains(&Metric::GapRecovery);
    seen.inputs("teacher").filter(untrained).filter(|_| asked).map(say).collect()
}

/// Metrics of another task than that of the data.
fn unfit(seen: Stages<'_>, evaluate: &Evaluate) -> Vec<Disagreement> {
    let contents = seen.inputs(evaluate::DATA).filter_map(|data| match data.spec() {
        StageSpec::Dataset(dataset) => Some(dataset.content().is_some()),
        _ => None,
    });
    let tasks: BTreeSet<Task> = contents.map(|of_classes| if of_classes { Task::Classes } else { Task::Ratings }).collect();
    let found = tasks.iter().flat_map(|task| {
        let unfit = evaluate.metrics.iter().filter(|metric| !metric.fits(*task));
        unfit.map(|metric| {
            let (message, help) = evaluate::unfit(*metric, *task);
            Disagreement { field: "metrics".to_owned(), message, help: Some(help) }
        })
    });
    let mixed = (tasks.len() > 1).then(|| Disagreement {
        field: "rows".to_owned(),
        message: "some of these rows are ratings, and others have classes".to_owned(),
        help: Some("write an `evaluate` stage for each".to_owned()),
    });
    found.chain(mixed).collect()
}

/// A teacher that the method cannot learn from.
fn teacher(seen: Stages<'_>, config: &TrainConfig) -> Option<Disagreement> {
    let (field, teacher) = match seen.input("teacher") {
        Some(teacher) => ("teacher", teacher),
        None => ("features", seen.input("features")?.input("teacher")?),
    };
    let spec = match teacher.spec() {
        // What is not known before a folder is read is not asked for.
        StageSpec::Encoder(encoder) => encoder.spec().unwrap_or(TeacherSpec::Encoder { width: 1, layers: 1 }),
        _ => model(teacher)?.into(),
    };
    let error = config.check(Some(&spec)).err()?;
    Some(Disagreement { field: field.to_owned(), message: error.to_string(), help: None })
}

/// What a method reads of a teacher and nobody caches.
fn taps(seen: Stages<'_>, configs: &[TrainConfig], needed: &BTreeSet<Tap>) -> Vec<Disagreement> {
    let Some(features) = seen.input("features") else { return Vec::new() };
    let StageSpec::CacheFeatures(cached @ CacheFeatures { taps, .. }) = features.spec() else { return Vec::new() };
    if let Some(config) = configs.iter().find(|config| config.method.needs().tokens && !cached.has_tokens()) {
        let (method, name) = (config.method.name(), features.name());
        return vec![Disagreement {
            field: "features".to_owned(),
            message: format!("the method `{method}` needs the tokens of the teacher's low states, which `{name}` does not cache"),
            help: Some("add `tokens: true` to it, whose teacher has to be an encoder".to_owned()),
        }];
    }
    let say = |tap: &Tap| {
        let needs = |config: &&TrainConfig| distill::taps(config).any(|needed| needed == *tap);
        let method = configs.iter().find(needs).map_or("", |config| config.method.name());
        Disagreement {
            field: "features".to_owned(),
            message: format!(
                "the method `{method}` needs the teacher's `{}`, which `{}` does not cache",
                tap.word(),
                features.name()
            ),
            help: Some(format!("add `{}` to its `taps`", tap.word())),
        }
    };
    // What an encoder has not is said of it as a teacher; nobody could cache it.
    let encodes = features.input("teacher").is_some_and(|teacher| matches!(teacher.spec(), StageSpec::Encoder(_)));
    let there = |tap: &Tap| !encodes || matches!(tap, Tap::Low | Tap::High);
    needed.iter().filter(|tap| there(tap) && !taps.contains(tap)).map(say).collect()
}
