//! What can go wrong while learning, as types. Every message says where, what, and what to do.
//!
//! [`SpecError`] is about settings and is found before anything is trained; [`TrainError`] and [`ModelError`] are about
//! data, devices and files. This room knows nothing of manifests: `field` names are those of the typed settings.

use std::path::PathBuf;

/// A setting, or a combination of settings, that cannot be trained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A number is outside of its range, or not finite.
    #[error("`{field}` is {value}, but must be {range}")]
    Range {
        /// The field, as it is called in the settings.
        field: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed, in words.
        range: &'static str,
    },
    /// A model cannot play the part that a method gives it.
    #[error("method `{method}` needs {needs}, but the {who} has {has}; {advice}")]
    Model {
        /// The method's name.
        method: &'static str,
        /// What it needs, in words.
        needs: &'static str,
        /// `student` or `teacher`.
        who: &'static str,
        /// What the model has, in words.
        has: String,
        /// What to change.
        advice: &'static str,
    },
    /// A network cannot read the examples.
    #[error("model `{model}`: {what}; {advice}")]
    Inputs {
        /// The model's name.
        model: &'static str,
        /// Why not.
        what: String,
        /// What to change.
        advice: &'static str,
    },
    /// Settings that contradict each other.
    #[error("method `{method}`: {what}; {advice}")]
    Contradiction {
        /// The method's name.
        method: &'static str,
        /// The contradiction.
        what: String,
        /// What to change.
        advice: &'static str,
    },
}

/// A training that could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The settings cannot be trained.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The rows given to training are unusable.
    #[error("training data: {what}; {advice}")]
    Data {
        /// What is wrong with them.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The teacher's features or weights do not fit.
    #[error("teacher: {what}; {advice}")]
    Teacher {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A term of the loss became infinite or not a number.
    #[error(
        "the loss term `{term}` became {value} in epoch {epoch}, step {step}; lower the learning rate, set `clip`, or lower this term's weight"
    )]
    NonFinite {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step within the epoch, counted from 1; 0 for the validation after it.
        step: usize,
        /// The term's name, as in the curves.
        term: &'static str,
        /// The value found.
        value: f64,
    },
    /// [`TrainIo::cancelled`](crate::TrainIo::cancelled) said so.
    #[error("training was cancelled in epoch {epoch}; run it again to go on from its last checkpoint")]
    Cancelled {
        /// Epoch, counted from 1.
        epoch: usize,
    },
    /// The device failed: out of memory, a lost driver.
    #[error("the device `{device}` failed: {message}")]
    Device {
        /// Device kind.
        device: &'static str,
        /// The device's own words.
        message: String,
    },
    /// The device is not there.
    #[error("the device `{device}` is not available: {message}; {advice}")]
    NoDevice {
        /// Device kind.
        device: &'static str,
        /// Why.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// A checkpoint could not be written.
    #[error("cannot write the checkpoint {path}: {source}; check that the folder is writable and the disk has room", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A model could not be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A model file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The weights are no safetensors file.
    #[error("the weights are not a readable safetensors file: {0}; produce the model again")]
    Safetensors(String),
    /// The configuration is not what this version writes.
    #[error("the model's configuration is not readable: {0}; produce the model again with this version")]
    Config(String),
    /// A tensor is missing, or has another shape or type than the configuration says.
    #[error("tensor `{name}`: {what}; the weights do not belong to this configuration")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A user or item index beyond the model's tables.
    #[error("{what} {index} is outside of the model's {count} {what}s; map unknown ids to none")]
    Index {
        /// `user` or `item`.
        what: &'static str,
        /// The index.
        index: u32,
        /// Rows of the table.
        count: u32,
    },
    /// The model has nothing of the kind asked for.
    #[error("{0}")]
    Unsupported(String),
    /// The device failed while predicting.
    #[error("the device failed while predicting: {0}")]
    Device(String),
}
