//! The settings that trainings share, read from a manifest into the typed settings of `talkflow-distill`. Defaults are theirs:
//! none is repeated here.

use std::ops::Bound;

use talkflow_distill::{
    Adam, Annealed, Augment, Bag, Beside, Bounded, Conv, Course, Crd, De, Decay, Dist, Distance, Distances, Dkd, Feature,
    IakdAdapter, InteractInto, Kept, Label, Method, Mf, ModelSpec, Ncf, Negatives, NetSpec, OneWay, Optimizer, Protocol,
    QuestionPath, Refilled, Replies, Rkd, Schedule, Sgd, Sp, Srd, Talk, Tap, TaskKind, TextTransformer, TrainConfig, Upper, Vid,
    Vit, Vocabulary, Weights, Wide,
};

use crate::{
    fields::{Choice, Fields},
    stage::Device,
};

/// The numeric library, in the version that `Cargo.lock` has.
const LIBRARY: &str = "dfdx 0.13.0";

/// The numeric library and device class that trainings depend on, as keys hold it.
pub fn backend(device: Device) -> String {
    format!("{LIBRARY}, {}", device.word())
}

/// How a model, one of `models`, is trained: all fields but the method, which the caller has.
pub fn training(f: &mut Fields<'_>, method: Method, models: &[&str]) -> TrainConfig {
    let d = TrainConfig::default();
    // Of biases alone, what the deep path would be is checked, and is no part of the key.
    let model = match method {
        Method::BiasOnly => match model(f, models, false) {
            // That biases are none of its is said below.
            net @ ModelSpec::Net(_) => net,
            model => ModelSpec::Bias(model.wide().cloned().unwrap_or_default()),
        },
        _ => model(f, models, true),
    };
    rest(f, TrainConfig { model, method, ..d })
}

/// The same of a head, whose model is given.
pub fn head(f: &mut Fields<'_>, model: ModelSpec) -> TrainConfig {
    rest(f, TrainConfig { model, ..TrainConfig::default() })
}

/// All fields but the model and the method.
fn rest(f: &mut Fields<'_>, d: TrainConfig) -> TrainConfig {
    let (model, method) = (d.model.clone(), d.method.clone());
    let optimizer = optimizer(f);
    let schedule = schedule(f);
    let batch = size(f, "batch", d.batch);
    let (epochs, patience, kept) = f.section("stop", |f| {
        let epochs = f.count("epochs", Some(d.epochs), 0..=LARGEST);
        let kept = f.choice("weights", Some(d.kept));
        // Where no validation row chooses the epoch, none ends the training.
        let usual = if kept == Kept::Last { 0 } else { d.patience.unwrap_or(0) as u64 };
        let patience = f.int("patience", Some(usual), 0..=LARGEST as u64);
        (epochs, usize::try_from(patience).ok().filter(|patience| *patience > 0), kept)
    });
    let clip = f.optional_float("clip", above_zero());
    let seed = f.int("seed", Some(d.seed), ..);
    let config = TrainConfig { model, method, optimizer, schedule, batch, epochs, patience, kept, clip, seed };
    if let (true, Err(error)) = (f.sound(), config.check(None)) {
        f.mistake("method", error.to_string(), None);
    }
    config
}

/// The words for methods, in the order of tables.
pub const METHODS: [&str; 17] = [
    "bias_only",
    "scratch",
    "label",
    "dkd",
    "bounded",
    "dist",
    "feature",
    "sp",
    "rkd",
    "vid",
    "refilled",
    "srd",
    "crd",
    "de",
    "iakd_adapter",
    "one_way",
    "talk",
];

/// `method`: one of [`METHODS`] with its settings.
pub fn method(f: &mut Fields<'_>) -> Method {
    f.variant("method", &METHODS, None, |word, f| match word {
        "scratch" => Method::Scratch,
        "label" => {
            let d = Label::default();
            Method::Label(Label {
                weight: f.float("weight", Some(d.weight), above_zero()),
                temperature: f.optional_float("temperature", above_zero()),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "dkd" => {
            let d = Dkd::default();
            Method::Dkd(Dkd {
                alpha: f.float("alpha", Some(d.alpha), 0.0..),
                beta: f.float("beta", Some(d.beta), 0.0..),
                temperature: f.float("temperature", Some(d.temperature), above_zero()),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "feature" => {
            let d = Feature::default();
            Method::Feature(Feature {
                weight: f.float("weight", Some(d.weight), above_zero()),
                distance: f.choice("distance", Some(d.distance)),
                projector_hidden: optional_size(f, "projector_hidden"),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "bounded" => {
            let d = Bounded::default();
            Method::Bounded(Bounded {
                weight: f.float("weight", Some(d.weight), above_zero()),
                margin: f.float("margin", Some(d.margin), 0.0..),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "dist" => {
            let d = Dist::default();
            Method::Dist(Dist {
                weight: f.float("weight", Some(d.weight), above_zero()),
                temperature: f.optional_float("temperature", above_zero()),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "sp" => {
            let d = Sp::default();
            Method::Sp(Sp { weight: f.float("weight", Some(d.weight), above_zero()), warm_up: warm_up(f, d.warm_up) })
        }
        "rkd" => {
            let d = Rkd::default();
            Method::Rkd(Rkd { weight: f.float("weight", Some(d.weight), above_zero()), warm_up: warm_up(f, d.warm_up) })
        }
        "vid" => {
            let d = Vid::default();
            Method::Vid(Vid {
                weight: f.float("weight", Some(d.weight), above_zero()),
                projector_hidden: optional_size(f, "projector_hidden"),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "refilled" => {
            let d = Refilled::default();
            Method::Refilled(Refilled {
                weight: f.float("weight", Some(d.weight), above_zero()),
                others: size(f, "others", d.others),
                temperature: f.float("temperature", Some(d.temperature), above_zero()),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "srd" => {
            let d = Srd::default();
            Method::Srd(Srd {
                weight: f.float("weight", Some(d.weight), above_zero()),
                power: f.float("power", Some(d.power), above_zero()),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "crd" => {
            let d = Crd::default();
            Method::Crd(Crd {
                weight: f.float("weight", Some(d.weight), above_zero()),
                width: size(f, "width", d.width),
                temperature: f.float("temperature", Some(d.temperature), above_zero()),
                negatives: f.choice("negatives", Some(d.negatives)),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "de" => {
            let d = De::default();
            Method::De(De {
                weight: f.float("weight", Some(d.weight), above_zero()),
                experts: size(f, "experts", d.experts),
                expert_hidden: optional_size(f, "expert_hidden"),
                distance: f.choice("distance", Some(d.distance)),
                temperature: f.section("temperature", |f| Annealed {
                    start: f.float("start", Some(d.temperature.start), above_zero()),
                    end: f.float("end", Some(d.temperature.end), above_zero()),
                    epochs: f.float("epochs", Some(d.temperature.epochs), above_zero()),
                }),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "iakd_adapter" => {
            let d = IakdAdapter::default();
            Method::IakdAdapter(IakdAdapter {
                probability: f.float("probability", Some(d.probability), (Bound::Excluded(0.0), Bound::Included(1.0))),
                message_dim: size(f, "message_dim", d.message_dim),
                module_hidden: optional_size(f, "module_hidden"),
            })
        }
        "one_way" => {
            let d = OneWay::default();
            Method::OneWay(OneWay {
                weight: f.float("weight", Some(d.weight), above_zero()),
                distance: f.choice("distance", Some(d.distance)),
                into: f.choice("into", Some(d.into)),
                message_dim: size(f, "message_dim", d.message_dim),
                module_hidden: optional_size(f, "module_hidden"),
                widened: f.bool("widened", Some(d.widened)),
                warm_up: warm_up(f, d.warm_up),
            })
        }
        "talk" => Method::Talk(talk(f)),
        _ => Method::BiasOnly,
    })
}

fn talk(f: &mut Fields<'_>) -> Talk {
    let d = Talk::default();
    Talk {
        protocol: f.choice("protocol", Some(d.protocol)),
        rounds: f.count("rounds", Some(d.rounds), 0..=64),
        message_dim: size(f, "message_dim", d.message_dim),
        tokens: size(f, "tokens", d.tokens),
        beside: f.choice("beside", Some(d.beside)),
        module_hidden: optional_size(f, "module_hidden"),
        weights: f.section("weights", |f| {
            let d = Weights::default();
            let mut weight = |key, default| f.float(key, Some(default), 0.0..);
            Weights {
                interact: weight("interact", d.interact),
                message: weight("message", d.message),
                state: weight("state", d.state),
                student_state: weight("student_state", d.student_state),
                label: weight("label", d.label),
            }
        }),
        distances: f.section("distances", |f| {
            let d = Distances::default();
            Distances {
                interact: f.choice("interact", Some(d.interact)),
                message: f.choice("message", Some(d.message)),
                state: f.choice("state", Some(d.state)),
                student_state: f.choice("student_state", Some(d.student_state)),
            }
        }),
        question_path: f.choice("question_path", Some(d.question_path)),
        interact_into: f.choice("interact_into", Some(d.interact_into)),
        student_state_into: f.choice("student_state_into", Some(d.student_state_into)),
        replies: f.choice("replies", Some(d.replies)),
        upper: f.choice("upper", Some(d.upper)),
        temperature: f.optional_float("temperature", above_zero()),
        warm_up: warm_up(f, d.warm_up),
    }
}

fn warm_up(f: &mut Fields<'_>, default: f64) -> f64 {
    f.float("warm_up", Some(default), 0.0..)
}

/// A width or a count that may be left out.
pub fn optional_size(f: &mut Fields<'_>, key: &str) -> Option<usize> {
    f.optional_int(key, 1..=LARGEST as u64).and_then(|size| usize::try_from(size).ok())
}

impl Choice for Distance {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("mse", Self::Mse),
        ("mse_frozen_std", Self::MseFrozenStd),
        ("corr", Self::Corr),
        ("cosine", Self::Cosine),
        ("layernorm_mse", Self::LayernormMse),
    ];
}

impl Choice for Tap {
    const WORDS: &'static [(&'static str, Self)] = &[("low", Self::Low), ("high", Self::High)];
}

impl Choice for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[("circular", Self::Circular), ("ask_answer", Self::AskAnswer)];
}

impl Choice for QuestionPath {
    const WORDS: &'static [(&'static str, Self)] = &[("open", Self::Open), ("stop", Self::Stop)];
}

impl Choice for InteractInto {
    const WORDS: &'static [(&'static str, Self)] =
        &[("both", Self::Both), ("student", Self::Student), ("modules", Self::Modules)];
}

impl Choice for Kept {
    const WORDS: &'static [(&'static str, Self)] = &[("best", Self::Best), ("last", Self::Last)];
}

impl Choice for Replies {
    const WORDS: &'static [(&'static str, Self)] = &[("own", Self::Own), ("shuffled", Self::Shuffled)];
}

impl Choice for Beside {
    const WORDS: &'static [(&'static str, Self)] = &[("nothing", Self::Nothing), ("input", Self::Input)];
}

impl Choice for Negatives {
    const WORDS: &'static [(&'static str, Self)] = &[("all", Self::All), ("other_classes", Self::OtherClasses)];
}

impl Choice for Upper {
    const WORDS: &'static [(&'static str, Self)] = &[("frozen", Self::Frozen), ("trainable", Self::Trainable)];
}

/// Which rows a stage works on: all, or those whose item has one of some genres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    genres: Vec<String>,
}

/// `where`: `{ genre: Western }` or `{ genres: [Western, Drama] }`.
pub fn filter(f: &mut Fields<'_>) -> Filter {
    let genres = f.optional_section("where", |f| match f.has("genre") {
        true => {
            if f.has("genres") {
                f.mistake("genres", "`genre` and `genres` say the same twice", Some("keep one of them"));
                f.unrecorded(|f| drop(f.texts("genres", Some(&[]))));
            }
            vec![f.text("genre", None)]
        }
        false => {
            let genres = f.texts("genres", None);
            if genres.is_empty() && f.has("genres") {
                f.mistake("genres", "no genre is named", Some("name at least one, or leave `where` out for all rows"));
            }
            genres
        }
    });
    Filter { genres: genres.unwrap_or_default() }
}

impl Filter {
    /// The rows whose item has one of these genres; all where there are none.
    pub fn of(genres: Vec<String>) -> Self {
        Self { genres }
    }

    /// The genres; none for all rows.
    pub fn genres(&self) -> &[String] {
        &self.genres
    }

    /// What it selects, for people.
    pub fn title(&self) -> String {
        if self.genres.is_empty() { "all".to_owned() } else { self.genres.join("+") }
    }
}

/// The words for models.
pub const MODELS: &[&str] = &["ncf", "mf", "bag", "text_transformer", "vit", "conv"];
/// Those of ratings.
pub const RATING_MODELS: &[&str] = &["ncf", "mf"];
/// Those of classes.
const NETWORKS: &[&str] = &["bag", "text_transformer", "vit", "conv"];

/// What a model of this word predicts; none where there is no such model.
pub fn task_of(word: &str) -> Option<TaskKind> {
    let known = [(RATING_MODELS, TaskKind::Ratings), (NETWORKS, TaskKind::Classes)];
    known.into_iter().find(|(words, _)| words.contains(&word)).map(|(_, task)| task)
}

/// `model`: a rating model or a network for classes. Without `deep`, of a rating model only what the bias terms depend on is recorded.
pub fn model(f: &mut Fields<'_>, models: &[&str], deep: bool) -> ModelSpec {
    f.variant("model", models, None, |word, f| {
        if let Some(net) = net(word, f) {
            return ModelSpec::Net(net);
        }
        let wide = wide(f);
        let rest = |f: &mut Fields<'_>| match word {
            "mf" => {
                let d = Mf::default();
                ModelSpec::Mf(Mf {
                    embedding: size(f, "embedding", d.embedding),
                    embedding_sd: f.float("embedding_sd", Some(d.embedding_sd), above_zero()),
                    wide,
                })
            }
            _ => {
                let d = Ncf::default();
                ModelSpec::Ncf(Ncf {
                    embedding: size(f, "embedding", d.embedding),
                    hidden: sizes(f, "hidden", &d.hidden),
                    dropout: f.float("dropout", Some(d.dropout), 0.0..1.0),
                    embedding_sd: f.float("embedding_sd", Some(d.embedding_sd), above_zero()),
                    wide,
                })
            }
        };
        if deep { rest(f) } else { f.unrecorded(rest) }
    })
}

/// A network for classes; none where the word is a rating model's.
fn net(word: &str, f: &mut Fields<'_>) -> Option<NetSpec> {
    Some(match word {
        "bag" => {
            let d = Bag::default();
            NetSpec::Bag(Bag {
                embedding: size(f, "embedding", d.embedding),
                hidden: sizes(f, "hidden", &d.hidden),
                dropout: f.float("dropout", Some(d.dropout), 0.0..1.0),
                embedding_sd: f.float("embedding_sd", Some(d.embedding_sd), above_zero()),
                vocabulary: vocabulary(f),
            })
        }
        "text_transformer" => {
            let d = TextTransformer::default();
            NetSpec::TextTransformer(TextTransformer {
                width: size(f, "width", d.width),
                layers: size(f, "layers", d.layers),
                heads: size(f, "heads", d.heads),
                inner: size(f, "inner", d.inner),
                longest: size(f, "longest", d.longest),
                vocabulary: vocabulary(f),
            })
        }
        "vit" => {
            let d = Vit::default();
            NetSpec::Vit(Vit {
                patch: size(f, "patch", d.patch),
                width: size(f, "width", d.width),
                layers: size(f, "layers", d.layers),
                heads: size(f, "heads", d.heads),
                inner: size(f, "inner", d.inner),
            })
        }
        "conv" => {
            let d = Conv::default();
            NetSpec::Conv(Conv {
                channels: sizes(f, "channels", &d.channels),
                dropout: f.float("dropout", Some(d.dropout), 0.0..1.0),
            })
        }
        _ => return None,
    })
}

fn vocabulary(f: &mut Fields<'_>) -> Vocabulary {
    let d = Vocabulary::default();
    f.section("vocabulary", |f| Vocabulary { size: size(f, "size", d.size), min_count: size(f, "min_count", d.min_count) })
}

/// `augment`: what is done to images before they are learnt from.
pub fn augment(f: &mut Fields<'_>) -> Augment {
    f.section("augment", |f| Augment { flip: f.bool("flip", Some(false)), padding: f.count("padding", Some(0), 0..=LARGEST) })
}

/// `bias_terms` and `damping`, which models share.
pub fn wide(f: &mut Fields<'_>) -> Wide {
    let terms = f.bool("bias_terms", Some(Wide::default().terms));
    if terms {
        return Wide { terms, damping: f.optional_float("damping", 0.0..) };
    }
    f.refuse("damping", "without bias terms there is nothing that `damping` could begin", "delete it, or `bias_terms: false`");
    Wide { terms, damping: None }
}

/// `optimizer`: `{ adam: {...} }` or `{ sgd: {...} }`.
pub fn optimizer(f: &mut Fields<'_>) -> Optimizer {
    f.variant("optimizer", &["adam", "sgd"], Some("adam"), |word, f| match word {
        "sgd" => {
            let d = Sgd::default();
            Optimizer::Sgd(Sgd {
                rate: f.float("rate", Some(d.rate), above_zero()),
                momentum: f.float("momentum", Some(d.momentum), 0.0..1.0),
                decay: decay(f),
            })
        }
        _ => {
            let d = Adam::default();
            Optimizer::Adam(Adam {
                rate: f.float("rate", Some(d.rate), above_zero()),
                betas: f.section("betas", |f| {
                    (f.float("first", Some(d.betas.0), 0.0..1.0), f.float("second", Some(d.betas.1), 0.0..1.0))
                }),
                eps: f.float("eps", Some(d.eps), above_zero()),
                decay: decay(f),
            })
        }
    })
}

fn decay(f: &mut Fields<'_>) -> Decay {
    let d = Decay::default();
    f.section("decay", |f| Decay {
        weights: f.float("weights", Some(d.weights), 0.0..),
        embeddings: f.float("embeddings", Some(d.embeddings), 0.0..),
        bias_terms: f.float("bias_terms", Some(d.bias_terms), 0.0..),
    })
}

/// `schedule`: how the learning rate changes.
pub fn schedule(f: &mut Fields<'_>) -> Schedule {
    let d = Schedule::default();
    f.section("schedule", |f| Schedule {
        warm_up: f.float("warm_up", Some(d.warm_up), 0.0..),
        course: f.variant("course", &["constant", "cosine", "step", "exponential"], Some("constant"), |word, f| match word {
            "cosine" => Course::Cosine { floor: f.float("floor", Some(0.0), 0.0..=1.0) },
            "step" => Course::Step { every: size(f, "every", 10), factor: f.float("factor", Some(0.1), 1e-12..=1.0) },
            "exponential" => Course::Exponential { factor: f.float("factor", Some(0.95), 1e-12..=1.0) },
            _ => Course::Constant,
        }),
    })
}

/// A width or a count: at least 1.
pub fn size(f: &mut Fields<'_>, key: &str, default: usize) -> usize {
    f.count(key, Some(default), 1..=LARGEST)
}

fn sizes(f: &mut Fields<'_>, key: &str, default: &[usize]) -> Vec<usize> {
    let default: Vec<u64> = default.iter().map(|width| *width as u64).collect();
    let read = f.ints(key, Some(&default), 1..=LARGEST as u64);
    read.into_iter().map(|width| usize::try_from(width).unwrap_or(LARGEST)).collect()
}

/// The numbers above 0.
pub fn above_zero() -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(0.0), Bound::Unbounded)
}

/// No width, batch or number of epochs is larger: beyond it, a typing mistake is likelier than a wish.
pub const LARGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_the_library_that_is_built_in() {
        let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
        let (name, version) = LIBRARY.split_once(' ').unwrap_or_default();
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "Cargo.lock has no {LIBRARY}");
    }
}
