//! What can go wrong with a model's folder and with what a model is given. Every message says where, what, and what to do.

use std::path::PathBuf;

use crate::error::{ModelError, TrainError};

/// A transformer that cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformerError {
    /// A file of the folder cannot be read.
    #[error("cannot read {path}: {source}; a model's folder holds config.json, model.safetensors and, for texts, tokenizer.json", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The configuration is none that is known here.
    #[error("{path}: {what}; {advice}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The weights do not fit the configuration, or are none.
    #[error("{path}: {source}", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong; names the tensor and both shapes.
        source: ModelError,
    },
    /// The tokenizer is none, or is another model's.
    #[error("{path}: {what}; take tokenizer.json from the model's own folder", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What the model was given does not suit it.
    #[error("{what}; {advice}")]
    Input {
        /// What is wrong with it.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The device is not there, or failed.
    #[error(transparent)]
    Device(#[from] TrainError),
}
