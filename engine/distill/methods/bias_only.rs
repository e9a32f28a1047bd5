//! `bias_only`: mean + user bias + item bias, and no deep path.
//!
//! Trained by the same loop, optimiser and early stopping as everything else, on the task alone, so that its RMSE says what the bias
//! terms of the very same training are worth.

use crate::models::ModelSpec;

/// The bias terms of `model`, without its deep path.
pub(super) fn model(model: &ModelSpec) -> ModelSpec {
    ModelSpec::Bias(model.wide().clone())
}
