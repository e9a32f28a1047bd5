//! What a number of blocks can resolve: the effect that a t-test finds often enough.

use serde::{Deserialize, Serialize};

use crate::{
    distributions::{StudentT, normal_quantile},
    error::Degenerate,
    estimate::Variance,
    root::crossing,
    settings::{Alpha, Overlap, Power, Sd},
};

/// The smallest effect that can be resolved. Smaller ones may be there; these blocks do not see them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolvable {
    /// A true difference of this size, either way, is found in a share `power` of experiments, by the two-sided test at `alpha`.
    pub effect: f64,
    /// What no number of blocks of this data set gets below: splits overlap, so further ones bring ever less that is new. 0 without overlap.
    pub floor: f64,
    /// The test's level, before any correction for a family.
    pub alpha: f64,
    /// The share of experiments.
    pub power: f64,
}

/// What `n` blocks resolve whose paired differences have the standard deviation `sd`, with the Nadeau-Bengio variance, by the exact
/// power of the t-test (noncentral t; Cohen, *Statistical Power Analysis for the Behavioral Sciences*, 1988, chapter 2). It takes `sd` for
/// known; from few blocks it is itself a guess.
///
/// # Errors
/// [`Degenerate::TooFew`] for fewer than two blocks.
pub fn resolvable(sd: Sd, n: usize, overlap: Overlap, alpha: Alpha, power: Power) -> Result<Resolvable, Degenerate> {
    if n < 2 {
        return Err(Degenerate::TooFew { n, needed: 2 });
    }
    let (sd, alpha, power) = (sd.get(), alpha.get(), power.get());
    let in_errors = StudentT { df: (n - 1) as f64 }.shift_found(Sides::Two, alpha, power);
    let limit = normal_quantile(power) - normal_quantile(0.5 * alpha);
    Ok(Resolvable {
        effect: in_errors * sd * Variance::NadeauBengio(overlap).factor(n).sqrt(),
        floor: limit * sd * overlap.get().sqrt(),
        alpha,
        power,
    })
}

/// Whether a test looks both ways.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sides {
    /// Upwards only.
    One,
    /// Both ways.
    Two,
}

impl StudentT {
    /// The true effect, in standard errors, that a test at `alpha` finds in a share `power` of experiments.
    pub(crate) fn shift_found(self, sides: Sides, alpha: f64, power: f64) -> f64 {
        let critical = self.upper(match sides {
            Sides::One => alpha,
            Sides::Two => 0.5 * alpha,
        });
        let found = |shift: f64| match sides {
            Sides::One => self.noncentral_above(critical, shift),
            Sides::Two => self.noncentral_above(critical, shift) + self.noncentral_above(critical, -shift),
        };
        let mut high = 1.0;
        while found(high) < power {
            high *= 2.0;
        }
        crossing(0.0, high, |shift| found(shift) - power)
    }
}
