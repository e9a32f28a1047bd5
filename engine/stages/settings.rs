//! The settings that trainings share, read from a manifest into the typed settings of `talkflow-distill`. Defaults are theirs:
//! none is repeated here.

use std::ops::Bound;

use talkflow_distill::{Adam, Course, Decay, Mf, ModelSpec, Ncf, Optimizer, Schedule, Sgd, Wide};

use crate::fields::Fields;

/// `model`: `{ ncf: {...} }` or `{ mf: {...} }`.
pub fn model(f: &mut Fields<'_>) -> ModelSpec {
    f.variant("model", &["ncf", "mf"], None, |word, f| match word {
        "mf" => {
            let d = Mf::default();
            ModelSpec::Mf(Mf {
                embedding: size(f, "embedding", d.embedding),
                embedding_sd: f.float("embedding_sd", Some(d.embedding_sd), above_zero()),
                wide: wide(f),
            })
        }
        _ => {
            let d = Ncf::default();
            ModelSpec::Ncf(Ncf {
                embedding: size(f, "embedding", d.embedding),
                hidden: sizes(f, "hidden", &d.hidden),
                dropout: f.float("dropout", Some(d.dropout), 0.0..1.0),
                embedding_sd: f.float("embedding_sd", Some(d.embedding_sd), above_zero()),
                wide: wide(f),
            })
        }
    })
}

/// `damping`, which models share.
pub fn wide(f: &mut Fields<'_>) -> Wide {
    Wide { damping: f.optional_float("damping", 0.0..) }
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
