//! `bias_only`: mean + user bias + item bias, and no deep path.
//!
//! Trained by the same loop, optimiser and early stopping as everything else, on the task alone, so that its RMSE says what the bias
//! terms of the very same training are worth.

use crate::error::SpecError;
use crate::models::ModelSpec;

/// Whether `model` has bias terms.
pub(super) fn check(model: &ModelSpec) -> Result<(), SpecError> {
    if model.bias_terms() {
        return Ok(());
    }
    Err(SpecError::Model {
        method: "bias_only",
        needs: "bias terms",
        who: "student",
        has: "`bias_terms: false`".to_owned(),
        advice: "leave the method out, or give the model its bias terms",
    })
}

/// The bias terms of `model`, without its deep path.
pub(super) fn model(model: &ModelSpec) -> ModelSpec {
    ModelSpec::Bias(model.wide().cloned().unwrap_or_default())
}
