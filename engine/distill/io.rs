//! A training's way to the outside: progress, cancelling, a place for checkpoints. Knows no terminal and no store.

use std::path::Path;
use std::time::Duration;

use crate::objective::Term;

/// Where a training is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The epoch just done, from 1.
    pub epoch: usize,
    /// The greatest number of epochs.
    pub of: usize,
    /// Mean of each term over the epoch's rows.
    pub terms: &'a [(Term, f64)],
    /// RMSE on the validation rows, clipped and with fallbacks.
    pub validation_rmse: f64,
    /// The best so far.
    pub best_rmse: f64,
}

/// A training's way to the outside. Nothing of it changes the result.
pub trait TrainIo {
    /// Called after every epoch.
    fn epoch(&mut self, progress: &Progress<'_>) {
        let _ = progress;
    }

    /// Asked before every batch; `true` saves a checkpoint and ends training with [`TrainError::Cancelled`](crate::TrainError::Cancelled).
    fn cancelled(&self) -> bool {
        false
    }

    /// A folder for this training's checkpoint; none: no checkpoints. It must exist.
    fn checkpoint_dir(&self) -> Option<&Path> {
        None
    }

    /// The least time between two checkpoints.
    fn checkpoint_every(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// For trainings that nobody watches.
impl TrainIo for () {}
