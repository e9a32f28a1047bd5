//! A trained rating model: saved, loaded, and asked.
//!
//! Two files: the weights (safetensors; dense layers as (in, out), `user.seen` and `item.seen` marking what training had), and a
//! configuration (JSON). Asking runs on the host's processor. The room knows no training.

use dfdx::tensor::Cpu;
use serde::{Deserialize, Serialize};

use crate::data::Scale;
use crate::error::ModelError;
use crate::models::student::{Raw, Student};
use crate::models::{ModelSpec, TaskKind};
use crate::task::Body;
use crate::tensors::Tensors;

/// The format written.
const FORMAT: u32 = 1;

/// Rows whose states are computed together.
const CHUNK: usize = 4096;

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
        if config.model.task() != TaskKind::Ratings {
            return Err(ModelError::Config(format!("`{}` is no model of ratings", config.model.name())));
        }
        let Scale { min, max } = config.scale;
        if !(min.is_finite() && max.is_finite() && min < max) {
            return Err(ModelError::Config(format!("its scale goes from {min} to {max}")));
        }
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
    /// Numbers in the embeddings of a user and an item together; 0 for a model without.
    pub embeddings_width: usize,
    /// (rows, `embeddings_width`), row-major: the user's, then the item's.
    pub embeddings: Vec<f32>,
    /// (rows): predictions, not clipped; rows with an unseen user or item fall back as in [`RatingModel::predict`].
    pub output: Vec<f32>,
}

/// A trained rating model.
#[derive(Clone)]
pub struct RatingModel {
    config: ModelConfig,
    tensors: Tensors,
    student: Student<Cpu>,
}

impl std::fmt::Debug for RatingModel {
    /// The configuration; thousands of numbers would help nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RatingModel").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PartialEq for RatingModel {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.tensors == other.tensors
    }
}

impl RatingModel {
    pub(crate) fn new(model: ModelSpec, scale: Scale, tensors: Tensors) -> Result<Self, ModelError> {
        let mut student = Student::import(&Cpu::default(), &model, &tensors)?;
        if let Some(name) = tensors.stranger_to(&student.export()) {
            return Err(ModelError::Tensor {
                name: name.to_owned(),
                what: format!("a model of kind `{}` and these sizes has no such tensor", model.name()),
            });
        }
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
        Ok(clip(self.raw(users, items)?, self.config.scale))
    }

    /// What items are ranked by for a user: predictions that are not clipped, so that the best are not all the same.
    ///
    /// # Errors
    /// [`ModelError::Index`] for an index outside of the tables.
    pub fn scores(&self, user: u32, items: &[u32]) -> Result<Vec<f32>, ModelError> {
        let items: Vec<Option<u32>> = items.iter().copied().map(Some).collect();
        Ok(self.raw(&vec![Some(user); items.len()], &items)?.ratings)
    }

    fn raw(&self, users: &[Option<u32>], items: &[Option<u32>]) -> Result<Raw, ModelError> {
        assert_eq!(users.len(), items.len(), "a row has a user and an item");
        self.check_indices("user", self.config.users, users.iter().copied().flatten())?;
        self.check_indices("item", self.config.items, items.iter().copied().flatten())?;
        self.student.predict(users, items).map_err(device)
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
            embeddings_width: self.config.model.embedding().map_or(0, |width| 2 * width),
            embeddings: self.student.embeddings_of(users, items),
            output: self.student.predict(&some(users), &some(items)).map_err(device)?.ratings,
            ..Taps::default()
        };
        let pairs: Vec<(u32, u32)> = users.iter().copied().zip(items.iter().copied()).collect();
        for chunk in pairs.chunks(CHUNK) {
            if let Some(deep) = self.student.states(chunk.iter().copied()).map_err(device)? {
                taps.low.extend_from_slice(&deep.low.host());
                taps.high.extend_from_slice(&deep.high.host());
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
pub(crate) fn clip(raw: Raw, scale: Scale) -> Predictions {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::data::Examples;
    use crate::models::{Mf, Ncf, Wide};
    use crate::teacher::TeacherUpper;

    /// Users 0 to 3 and items 0 to 3, of which 3 and 3 are unseen.
    fn examples() -> Examples {
        Examples { row: vec![0, 1, 2, 3], user: vec![0, 0, 1, 2], item: vec![0, 1, 1, 2], rating: vec![4.0, 2.0, 1.0, 5.0] }
    }

    fn model(spec: ModelSpec) -> RatingModel {
        let mut student = Student::fresh(&Cpu::default(), &spec, 1, (4, 4), &examples()).unwrap();
        RatingModel::new(spec, Scale { min: 1.0, max: 5.0 }, student.export()).unwrap()
    }

    fn wide() -> Wide {
        Wide { damping: Some(1.0), ..Wide::default() }
    }

    fn specs() -> [ModelSpec; 3] {
        [
            ModelSpec::Ncf(Ncf { embedding: 3, hidden: vec![5, 4], embedding_sd: 1.0, wide: wide(), ..Ncf::default() }),
            ModelSpec::Mf(Mf { embedding: 3, embedding_sd: 1.0, wide: wide() }),
            ModelSpec::Bias(wide()),
        ]
    }

    /// The engine trains and predicts on threads of its own.
    #[test]
    fn models_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<RatingModel>();
        shared::<crate::Trained>();
        shared::<TeacherUpper>();
    }

    #[test]
    fn models_come_back_from_their_files() {
        for spec in specs() {
            let model = model(spec);
            let (weights, config) = (model.to_safetensors().unwrap(), model.config());
            let text = config.to_string();
            let loaded = RatingModel::load(&weights, &serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(loaded, model);
            assert_eq!(loaded.to_safetensors().unwrap(), weights);
            assert_eq!(loaded.config().to_string(), text);
            let rows = [Some(0), Some(2), None, Some(3)];
            assert_eq!(loaded.predict(&rows, &rows).unwrap(), model.predict(&rows, &rows).unwrap());
        }
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let [ncf, mf, _] = specs().map(model);
        let (weights, config) = (ncf.to_safetensors().unwrap(), ncf.config());
        let with = |field: &str, value: serde_json::Value| {
            let mut config = config.clone();
            config[field] = value;
            RatingModel::load(&weights, &config).unwrap_err().to_string()
        };
        for (message, part) in [
            (with("format", 2.into()), "its format is 2"),
            (with("users", 5.into()), "it speaks of 5 users and 4 items"),
            (with("model", mf.config()["model"].clone()), "`head.bias`: a model of kind `mf` and these sizes has no such tensor"),
            (with("model", "svd".into()), "not readable"),
            (
                with(
                    "model",
                    serde_json::json!({ "ncf": { "embedding": u64::MAX, "hidden": [1], "dropout": 0.0, "embedding_sd": 0.1, "wide": { "terms": true, "damping": null } } }),
                ),
                "its shape is",
            ),
            (with("scale", serde_json::json!({ "min": 5.0, "max": 1.0 })), "its scale goes from 5 to 1"),
            (with("scale", serde_json::json!({ "min": 1.0, "max": 1e300 })), "its scale goes from 1 to inf"),
            (RatingModel::load(&weights[..50], &config).unwrap_err().to_string(), "safetensors"),
            (
                RatingModel::load(&mf.to_safetensors().unwrap(), &config).unwrap_err().to_string(),
                "`layers.0.weight`: it is missing",
            ),
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    /// Ratings 4, 2, 1, 5 have mean 3 and residuals 1, -1, -2, 2. Items with damping 1: 1/2, -3/3, 2/2; what is left: 1/2, 0, -1, 1;
    /// users: 0.5/3, -1/2, 1/2.
    #[test]
    fn bias_terms_begin_at_damped_means() {
        let model = model(ModelSpec::Bias(wide()));
        let predicted = model.predict(&[Some(0), Some(1), Some(2)], &[Some(0), Some(1), Some(2)]).unwrap();
        let expected = [3.0 + 0.5 + 0.5 / 3.0, 3.0 - 1.0 - 0.5, 3.0 + 1.0 + 0.5];
        for (found, expected) in predicted.ratings.iter().zip(expected) {
            assert!((found - expected as f32).abs() < 1e-6);
        }
    }

    #[test]
    fn what_training_never_saw_falls_back_to_the_bias_terms_that_remain() {
        for spec in specs() {
            let model = model(spec);
            let predicted = model.predict(&[Some(0), Some(3), None, None], &[None, Some(2), Some(0), Some(3)]).unwrap();
            // User 0 alone, item 2 alone (user 3 is unseen), item 0 alone, nothing but the mean.
            let expected = [3.0 + 0.5 / 3.0, 3.0 + 1.0, 3.0 + 0.5, 3.0];
            for (found, expected) in predicted.ratings.iter().zip(expected) {
                assert!((found - expected as f32).abs() < 1e-6);
            }
            assert_eq!(predicted.fallbacks(), 4);
            assert_eq!(predicted.deep, [0.0; 4]);
            assert_eq!(model.predict(&[Some(1)], &[Some(2)]).unwrap().fallbacks(), 0);
        }
    }

    #[test]
    fn predictions_are_clipped_and_counted() {
        let [ncf, ..] = specs();
        let mut model = model(ncf);
        model.config.scale = Scale { min: 2.9, max: 3.1 };
        let all = [Some(0), Some(1), Some(2)];
        let predicted = model.predict(&all, &[Some(0), Some(1), None]).unwrap();
        assert!(predicted.ratings.iter().all(|rating| (2.9..=3.1).contains(rating)));
        let taps = model.taps(&[0, 1], &[0, 1]).unwrap();
        let outside = taps.output.iter().filter(|rating| !(2.9..=3.1).contains(*rating)).count();
        assert_eq!(predicted.clipped, outside + 1, "user 2 alone is at 3.5");
        // What items are ranked by is not.
        assert_eq!(model.scores(0, &[0, 1]).unwrap(), model.taps(&[0, 0], &[0, 1]).unwrap().output);
        assert!(model.scores(0, &[9]).is_err());
    }

    #[test]
    fn taps_are_the_states_that_predictions_are_made_of() {
        let [ncf, mf, bias] = specs().map(model);
        let taps = ncf.taps(&[0, 1], &[1, 2]).unwrap();
        assert_eq!((taps.low_width, taps.low.len(), taps.high_width, taps.high.len()), (5, 10, 4, 8));
        let head = ncf.tensors.get::<f32>("head.weight", &[4, 1]).unwrap();
        let predicted = ncf.predict(&[Some(0), Some(1)], &[Some(1), Some(2)]).unwrap();
        for (state, deep) in taps.high.chunks(4).zip(&predicted.deep) {
            let sum: f32 = state.iter().zip(head).map(|(s, w)| s * w).sum();
            assert!((sum - deep).abs() < 1e-6);
        }
        let upper = TeacherUpper::load(std::io::Cursor::new(ncf.to_safetensors().unwrap()), &ncf.config()).unwrap();
        assert_eq!((upper.layers(), upper.inputs(), upper.outputs(), upper.numbers()), (1, Some(5), Some(4), 24));
        let taps = mf.taps(&[0], &[1]).unwrap();
        let sum: f32 = taps.high.iter().sum();
        assert!((sum - mf.predict(&[Some(0)], &[Some(1)]).unwrap().deep[0]).abs() < 1e-6);
        assert_eq!(bias.taps(&[0], &[1]).unwrap().low_width, 0);
    }

    /// A file with nothing but the upper layers is enough for a student's training.
    #[test]
    fn only_the_upper_layers_of_a_teacher_are_read() {
        let [ncf, mf, _] = specs().map(model);
        let mut upper = Tensors::default();
        upper.put("layers.1.weight", &[5, 4], ncf.tensors.get::<f32>("layers.1.weight", &[5, 4]).unwrap().to_vec());
        upper.put("layers.1.bias", &[4], vec![0.0f32; 4]);
        let bytes = upper.to_bytes().unwrap();
        let whole = TeacherUpper::load(std::io::Cursor::new(ncf.to_safetensors().unwrap()), &ncf.config()).unwrap();
        let alone = TeacherUpper::load(std::io::Cursor::new(&bytes), &ncf.config()).unwrap();
        assert!(alone.words().eq(whole.words()));
        let error = TeacherUpper::load(std::io::Cursor::new(mf.to_safetensors().unwrap()), &mf.config()).unwrap_err();
        assert!(error.to_string().contains("use an `ncf` teacher"), "{error}");
    }

    #[test]
    fn indices_outside_of_the_tables_are_errors() {
        let [ncf, ..] = specs().map(model);
        let message = |result: Result<Predictions, ModelError>| result.unwrap_err().to_string();
        assert!(message(ncf.predict(&[Some(4)], &[Some(0)])).contains("user 4 is outside of the model's 4 users"));
        assert!(message(ncf.predict(&[None], &[Some(9)])).contains("item 9"));
        assert!(ncf.taps(&[0], &[4]).is_err());
    }
}
