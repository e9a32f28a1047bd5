//! A training's way to the outside: progress, cancelling, a place for checkpoints. Knows no terminal and no store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::objective::Term;
use crate::task::Measure;

/// Where a training is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The epoch just done, from 1.
    pub epoch: usize,
    /// The greatest number of epochs.
    pub of: usize,
    /// Mean of each term over the epoch's rows.
    pub terms: &'a [(Term, f64)],
    /// What the validation rows are judged by; less is better.
    pub measure: Measure,
    /// That of this epoch.
    pub validation: f64,
    /// The least so far.
    pub best: f64,
}

/// States that trainings with fewer epochs ended with. One is taken where that training had the same settings otherwise, the same data and the same
/// teacher, so that a longer one would have come by this very state: then the result is the same, bit for bit.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// The greatest number of epochs that they had.
    pub epochs: usize,
    /// The files, of which at most one fits.
    pub states: &'a [PathBuf],
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

    /// What shorter trainings ended with, of which one may have been the beginning of this one.
    fn earlier(&self) -> Option<Earlier<'_>> {
        None
    }

    /// Told where a shorter training let this one go on: after so many epochs.
    fn goes_on(&mut self, epochs: usize) {
        let _ = epochs;
    }

    /// A file for the state that the training ends with, for a longer one to go on from; none: it is not kept.
    fn keep_state(&self) -> Option<&Path> {
        None
    }

    /// The least time between two checkpoints.
    fn checkpoint_every(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// For trainings that nobody watches.
impl TrainIo for () {}
