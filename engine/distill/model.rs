//! A trained rating model: saved, loaded, and asked.
//!
//! Two files: the weights (safetensors; dense layers as (in, out), `user.seen` and `item.seen` marking what training had), and a
//! configuration (JSON). Asking runs on the host's processor. The room knows no training.

use dfdx::tensor::Cpu;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::models::ModelSpec;
use crate::models::student::Student;
use crate::ops::to_host;
use crate::tensors::Tensors;

/// The format written.
const FORMAT: u32 = 1;

/// Rows whose states are computed together.
const CHUNK: usize = 4096;

/// The range of ratings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The least rating there is.
    pub min: f32,
    /// The greatest rating there is; above `min`.
    pub max: f32,
}

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelConfig {
    format: u32,
    pub(crate) model: ModelSpec,
    users: usize,
    items: usize,
    pub(crate) scale: Scale,
}

impl ModelConfig {
    pub(crate) fn read(config: &serde_json::Value) -> Result<Self, ModelError> {
        let config: ModelConfig =
            serde_json::from_value(config.clone()).map_err(|error| ModelError::Config(error.to_string()))?;
        if config.format != FORMAT {
            return Err(ModelError::Config(format!("its format is {}, this version reads {FORMAT}", config.format)));
        }
        config.model.check().map_err(|error| ModelError::Config(error.to_string()))?;
        Ok(config)
    }
}

/// Predictions of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Ratings, clipped to the scale.
    pub ratings: Vec<f32>,
    /// The deep path's part of each, before clipping; 0 where the row fell back.
    pub deep: Vec<f32>,
    /// Whether the row has a user or an item that training never saw, and was predicted by the bias terms that remain.
    pub fallback: Vec<bool>,
    /// Rows whose prediction was clipped.
    pub clipped: usize,
}

impl Predictions {
    /// Rows that fell back.
    pub fn fallbacks(&self) -> usize {
        self.fallback.iter().filter(|&&fallback| fallback).count()
    }
}

/// A model's states and predictions of some rows, for students to learn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taps {
    /// Numbers in a low state; 0 for a model without.
    pub low_width: usize,
    /// (rows, `low_width`), row-major.
    pub low: Vec<f32>,
    /// Numbers in a high state; 0 for a model without.
    pub high_width: usize,
    /// (rows, `high_width`), row-major.
    pub high: Vec<f32>,
    /// (rows): predictions, not clipped; rows with an unseen user or item fall back as in [`RatingModel::predict`].
    pub output: Vec<f32>,
}

/// A trained rating model.
#[derive(Clone, Debug)]
pub struct RatingModel {
    config: ModelConfig,
    tensors: Tensors,
    student: Student<Cpu>,
}

impl PartialEq for RatingModel {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.tensors == other.tensors
    }
}

impl RatingModel {
    pub(crate) fn new(model: ModelSpec, scale: Scale, tensors: Tensors) -> Result<Self, ModelError> {
        let student = Student::import(&Cpu::default(), &model, &tensors)?;
        let config =
            ModelConfig { format: FORMAT, model, users: student.seen_users.len(), items: student.seen_items.len(), scale };
        Ok(RatingModel { config, tensors, student })
    }

    /// Reads a model from its weights and its configuration.
    ///
    /// # Errors
    /// [`ModelError`] where either cannot be read, or they do not fit together.
    pub fn load(weights: &[u8], config: &serde_json::Value) -> Result<Self, ModelError> {
        let config = ModelConfig::read(config)?;
        let model = RatingModel::new(config.model.clone(), config.scale, Tensors::from_bytes(weights, |_| true)?)?;
        if model.config != config {
            return Err(ModelError::Config(format!(
                "it speaks of {} users and {} items, the weights hold {} and {}",
                config.users, config.items, model.config.users, model.config.items
            )));
        }
        Ok(model)
    }

    /// The weights in the safetensors format. The bytes depend on the weights alone.
    ///
    /// # Errors
    /// [`ModelError::Safetensors`] where the format cannot hold them.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ModelError> {
        self.tensors.to_bytes()
    }

    /// The configuration, as `config.json` holds it.
    pub fn config(&self) -> serde_json::Value {
        serde_json::json!({
            "format": self.config.format,
            "items": self.config.items,
            "model": self.config.model,
            "scale": self.config.scale,
            "users": self.config.users,
        })
    }

    /// The kind and sizes.
    pub fn spec(&self) -> &ModelSpec {
        &self.config.model
    }

    /// The range of ratings that predictions are clipped to.
    pub fn scale(&self) -> Scale {
        self.config.scale
    }

    /// Rows of the user table and of the item table.
    pub fn counts(&self) -> (usize, usize) {
        (self.config.users, self.config.items)
    }

    /// How many numbers serving needs: tables, layers, the mean.
    pub fn parameters(&self) -> u64 {
        self.student.numbers()
    }

    /// Predicts rows. An index of none (an unknown user or item), or one that training never saw, leaves its bias term and the
    /// deep path out.
    ///
    /// # Errors
    /// [`ModelError::Index`] for an index outside of the tables.
    ///
    /// # Panics
    /// If `users` and `items` differ in length.
    pub fn predict(&self, users: &[Option<u32>], items: &[Option<u32>]) -> Result<Predictions, ModelError> {
        assert_eq!(users.len(), items.len(), "a row has a user and an item");
        self.check_indices("user", self.config.users, users.iter().copied().flatten())?;
        self.check_indices("item", self.config.items, items.iter().copied().flatten())?;
        let raw = self.student.predict(users, items).map_err(device)?;
        Ok(clip(raw, self.config.scale))
    }

    /// The states and predictions of rows, in evaluation mode.
    ///
    /// # Errors
    /// [`ModelError::Index`] for an index outside of the tables.
    ///
    /// # Panics
    /// If `users` and `items` differ in length.
    pub fn taps(&self, users: &[u32], items: &[u32]) -> Result<Taps, ModelError> {
        let some = |indices: &[u32]| indices.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(users.len(), items.len(), "a row has a user and an item");
        self.check_indices("user", self.config.users, users.iter().copied())?;
        self.check_indices("item", self.config.items, items.iter().copied())?;
        let mut taps = Taps {
            low_width: self.config.model.low_width().unwrap_or(0),
            high_width: self.config.model.high_width().unwrap_or(0),
            output: self.student.predict(&some(users), &some(items)).map_err(device)?.ratings,
            ..Taps::default()
        };
        let pairs: Vec<(u32, u32)> = users.iter().copied().zip(items.iter().copied()).collect();
        for chunk in pairs.chunks(CHUNK) {
            if let Some(deep) = self.student.states(chunk.iter().copied()).map_err(device)? {
                taps.low.extend(to_host(&deep.low.value));
                taps.high.extend(to_host(&deep.high.value));
            }
        }
        Ok(taps)
    }

    fn check_indices(&self, what: &'static str, count: usize, mut indices: impl Iterator<Item = u32>) -> Result<(), ModelError> {
        match indices.find(|&index| index as usize >= count) {
            None => Ok(()),
            Some(index) => Err(ModelError::Index { what, index, count: count as u32 }),
        }
    }
}

fn device(error: dfdx::tensor::CpuError) -> ModelError {
    ModelError::Device(error.to_string())
}

/// Clips predictions to the scale, and counts those it changed.
pub(crate) fn clip(raw: crate::models::student::Raw, scale: Scale) -> Predictions {
    let mut clipped = 0;
    let ratings = raw
        .ratings
        .into_iter()
        .map(|rating| {
            let inside = rating.clamp(scale.min, scale.max);
            clipped += usize::from(inside != rating);
            inside
        })
        .collect();
    Predictions { ratings, deep: raw.deep, fallback: raw.fallback, clipped }
}
