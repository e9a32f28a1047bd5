//! How long work reports where it stands, and how it is told to stop.
//!
//! This file knows neither terminals nor signals: the caller decides what to show and when to cancel.

use std::ops::ControlFlow;

/// Follows a piece of work, and may end it.
pub trait Progress {
    /// `done` of `total` units (bytes or rows; `None` where the end is not known) of `what` are finished.
    ///
    /// Returning [`ControlFlow::Break`] cancels the work: it cleans up and returns its `Cancelled` error.
    fn advance(&mut self, what: &str, done: u64, total: Option<u64>) -> ControlFlow<()>;
}

/// Shows nothing and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&mut self, _what: &str, _done: u64, _total: Option<u64>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&str, u64, Option<u64>) -> ControlFlow<()>> Progress for F {
    fn advance(&mut self, what: &str, done: u64, total: Option<u64>) -> ControlFlow<()> {
        self(what, done, total)
    }
}
