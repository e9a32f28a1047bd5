//! What a comparison of two methods over seeds can say, and what it cannot.
//!
//! Knows numbers only: neither manifests nor stores nor models nor what a metric measures. From the bottom up:
//!
//! - `distributions`, `random`: the normal and Student's t, and seeded streams;
//! - [`Alpha`], [`Confidence`], [`Power`], [`Overlap`], [`Sd`], [`Margin`], [`Tolerance`], [`Resampling`], [`Direction`]: settings that cannot be
//!   out of range, so that what takes them cannot fail for them;
//! - [`Paired`], [`Differences`]: two methods, block by block;
//! - [`Estimate`]: a mean difference and how uncertain it is, from which the t-tests, intervals, equivalence and power follow;
//! - [`bca`], [`Clusters`], [`sign_flip`]: what assumes no distribution;
//! - [`Family`]: Holm's correction over hypotheses that were declared together;
//! - [`Comparison`], [`Judgement`], [`Verdict`]: all of it about one comparison, and what is known by it, in a sentence;
//! - [`Gate`]: whether a metric got worse than its reference by more than a tolerance.
//!
//! Two kinds of error: [`Invalid`] is input that has no meaning, such as a NaN; [`Degenerate`] is data that are sound but cannot
//! answer, such as two blocks, and is a result that belongs in a report. No function returns a NaN.
//!
//! A difference is always *the method minus what it is compared with*, in the metric's own unit.

mod distributions;
mod random;
mod root;
mod error;
mod settings;
mod paired;
mod estimate;
mod power;
mod bootstrap;
mod clusters;
mod sign_flip;
mod family;
mod words;
mod comparison;
mod verdict;
mod gate;

pub use bootstrap::bca;
pub use clusters::{Aggregate, Cluster, ClusterBootstrap, Clusters};
pub use comparison::{Comparison, Design};
pub use error::{Degenerate, Invalid};
pub use estimate::{Equivalence, Estimate, Interval, TTest, Variance};
pub use family::Family;
pub use gate::{Gate, GateError, Gated, Outcome, Pairing};
pub use paired::{Differences, Paired};
pub use power::{Resolvable, resolvable};
pub use settings::{Alpha, Confidence, Direction, Margin, Overlap, Power, Resampling, Sd, SignFlips, Tolerance};
pub use sign_flip::{SignFlip, sign_flip};
pub use verdict::{Evidence, Judgement, Verdict, judge};

/// The examples of the guide are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/statistics.md")]
pub struct Guide;
