//! Whether a metric got worse than its reference by more than a tolerance.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::Invalid,
    estimate::{Estimate, Variance},
    paired::{Paired, mean, same},
    power::Sides,
    settings::{Alpha, Direction, Power, Tolerance},
    words,
};

/// A regression gate: one-sided, against a tolerance.
///
/// What it tests is "the metric is worse by at most the tolerance", so that an alarm is false in at most a share alpha of cases, however the
/// true change lies within the tolerance. The tolerance is also the floor for drift between machines: 0.002 RMSE is more than the same
/// training differs by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// Which way the metric is good.
    pub direction: Direction,
    /// It may get worse by this much.
    pub tolerance: Tolerance,
    /// How often an alarm may be false.
    pub alpha: Alpha,
    /// Regressions that are caught less often than this, the gate calls itself blind to.
    pub power: Power,
}

/// Why a gate cannot decide.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GateError {
    /// A value is no number. A metric that became NaN is no regression of a size; it is to be reported as what it is.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Too few seeds.
    #[error(
        "{shared} seeds in common with the reference, {current} in all against {reference}: a gate needs two in common, or two on each side"
    )]
    TooFew {
        /// Seeds that both have.
        shared: usize,
        /// Seeds now.
        current: usize,
        /// Seeds of the reference.
        reference: usize,
    },
}

/// The closed set of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No regression beyond the tolerance is shown; `blind_below` says which would not have been.
    Pass,
    /// The metric is worse by more than the tolerance.
    Regression,
}

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// The same seeds on both sides: what seeds differ by cancels out.
    Paired {
        /// Seeds in common.
        seeds: usize,
        /// Seeds of one side only, which are left out.
        left_out: usize,
    },
    /// Other seeds: Welch's test, which has what seeds differ by against it.
    Unpaired {
        /// Seeds now.
        current: usize,
        /// Seeds of the reference.
        reference: usize,
    },
}

/// What a gate found. Its `Display` is one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    /// Whether it lets pass.
    pub outcome: Outcome,
    /// What was compared.
    pub pairing: Pairing,
    /// By how much the metric is worse; negative where it is better.
    pub regression: f64,
    /// What is tolerated.
    pub tolerance: f64,
    /// p of "worse by at most the tolerance"; null where nothing varies, so that the number alone decides.
    pub p: Option<f64>,
    /// A true regression below this may pass unseen in more than a share 1 - power of cases. The tolerance, where nothing varies.
    pub blind_below: f64,
    /// The share of larger regressions that are caught.
    pub power: f64,
}

impl Gate {
    /// A gate with the usual level and power.
    pub fn new(direction: Direction, tolerance: Tolerance) -> Self {
        Self { direction, tolerance, alpha: Alpha::default(), power: Power::default() }
    }

    /// Compares values by seed. Paired on the seeds in common where there are at least two, by the one-sided paired t-test with the plain
    /// variance: it is about these seeds and this data. Otherwise all values of each side, by Welch's.
    ///
    /// # Errors
    /// [`GateError`] for a value that is no number, and for too few seeds.
    pub fn check<S: Ord + Clone + Display>(
        &self,
        current: &BTreeMap<S, f64>,
        reference: &BTreeMap<S, f64>,
    ) -> Result<Gated, GateError> {
        let paired = Paired::of(current, reference)?;
        let seeds = paired.blocks.len();
        if seeds >= 2 {
            let pairing = Pairing::Paired { seeds, left_out: paired.only_method + paired.only_reference };
            return match Estimate::paired(&paired.differences, Variance::Plain) {
                Ok(estimate) => Ok(self.decide(pairing, &estimate)),
                Err(_) => Ok(self.compare(pairing, mean(paired.differences.values()), paired.differences.same())),
            };
        }
        if current.len() < 2 || reference.len() < 2 {
            return Err(GateError::TooFew { shared: seeds, current: current.len(), reference: reference.len() });
        }
        let pairing = Pairing::Unpaired { current: current.len(), reference: reference.len() };
        let [now, then] = [current, reference].map(|values| values.values().copied().collect::<Vec<f64>>());
        let rounding = same(now.iter().chain(&then).fold(0.0, |size, value| value.abs().max(size)));
        Ok(match Estimate::welch(&now, &then, rounding) {
            Some(estimate) => self.decide(pairing, &estimate),
            None => self.compare(pairing, mean(&now) - mean(&then), rounding),
        })
    }

    /// By a test.
    fn decide(&self, pairing: Pairing, estimate: &Estimate) -> Gated {
        let tolerance = self.tolerance.get();
        let p = match self.direction {
            Direction::LowerIsBetter => estimate.p_greater(tolerance),
            Direction::HigherIsBetter => estimate.p_less(-tolerance),
        };
        let seen = estimate.distribution().shift_found(Sides::One, self.alpha.get(), self.power.get());
        Gated {
            outcome: if p <= self.alpha.get() { Outcome::Regression } else { Outcome::Pass },
            pairing,
            regression: self.direction.worse_by(estimate.mean()),
            tolerance,
            p: Some(p),
            blind_below: tolerance + seen * estimate.standard_error(),
            power: self.power.get(),
        }
    }

    /// Where nothing varies.
    fn compare(&self, pairing: Pairing, difference: f64, rounding: f64) -> Gated {
        let (regression, tolerance) = (self.direction.worse_by(difference), self.tolerance.get());
        Gated {
            outcome: if regression > tolerance + rounding { Outcome::Regression } else { Outcome::Pass },
            pairing,
            regression,
            tolerance,
            p: None,
            blind_below: tolerance,
            power: self.power.get(),
        }
    }
}

impl Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = words::number;
        match self.outcome {
            Outcome::Pass => write!(f, "no regression shown: ")?,
            Outcome::Regression => write!(f, "regression: ")?,
        }
        match self.regression {
            0.0 => write!(f, "no change over ")?,
            worse if worse > 0.0 => write!(f, "worse by {} over ", number(worse))?,
            better => write!(f, "better by {} over ", number(-better))?,
        }
        match self.pairing {
            Pairing::Paired { seeds, left_out } => {
                write!(f, "{seeds} seeds in common with the reference")?;
                if left_out > 0 {
                    write!(f, " and {left_out} left out")?;
                }
            }
            Pairing::Unpaired { current, reference } => {
                write!(f, "{current} seeds against {reference} others, whose spread does not cancel out")?;
            }
        }
        match self.p {
            Some(p) => write!(f, ", tolerance {} ({})", self.tolerance, words::p(p))?,
            None => write!(f, ", tolerance {} (all alike)", self.tolerance)?,
        }
        if self.outcome == Outcome::Pass && self.p.is_some() {
            let missed = words::digits(100.0 * (1.0 - self.power));
            write!(f, "; the gate misses regressions below {} more often than in {missed} % of cases", number(self.blind_below))?;
        }
        Ok(())
    }
}
