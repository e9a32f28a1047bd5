//! A mean difference and how uncertain it is: one number each, from which Student's t makes tests, intervals and equivalence.

use serde::{Deserialize, Serialize};

use crate::{
    distributions::StudentT,
    error::Degenerate,
    paired::{Differences, mean, sd},
    settings::{Alpha, Confidence, Margin, Overlap},
};

/// What the variance of a mean over blocks is taken to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variance {
    /// s^2 / n: blocks have nothing in common. True of seeds on fixed splits, and then a statement about these splits alone.
    Plain,
    /// (1/n + n_test/n_train) s^2: blocks are random splits of one data set, so that their training rows overlap (Nadeau and Bengio,
    /// "Inference for the Generalization Error", Machine Learning 52, 2003, section 3 (9)). A statement about new data of the same size.
    NadeauBengio(Overlap),
}

impl Variance {
    /// Squared standard error of a mean over `n` blocks, in squared standard deviations.
    pub(crate) fn factor(self, n: usize) -> f64 {
        1.0 / n as f64
            + match self {
                Self::Plain => 0.0,
                Self::NadeauBengio(overlap) => overlap.get(),
            }
    }
}

/// A mean difference, its standard error, and the degrees of freedom of that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    mean: f64,
    standard_error: f64,
    df: f64,
}

impl Estimate {
    /// Of paired differences, with n - 1 degrees of freedom.
    ///
    /// # Errors
    /// [`Degenerate`] for fewer than two differences, and where all are the same.
    pub fn paired(differences: &Differences, variance: Variance) -> Result<Self, Degenerate> {
        let (mean, sd) = differences.moments(2)?;
        let n = differences.n();
        Ok(Self { mean, standard_error: sd * variance.factor(n).sqrt(), df: (n - 1) as f64 })
    }

    /// Of the difference of the means of two samples with nothing in common (Welch, Biometrika 34, 1947), the degrees of freedom by
    /// Satterthwaite. The samples are of numbers that can be squared, at least two each; none where neither varies by more than `same`.
    pub(crate) fn welch(one: &[f64], other: &[f64], same: f64) -> Option<Self> {
        // Scaled by the larger spread, so that fourth powers neither vanish nor overflow.
        let scale = sd(one).max(sd(other));
        if scale <= same {
            return None;
        }
        let share = |sample: &[f64]| (sd(sample) / scale).powi(2) / sample.len() as f64;
        let (a, b) = (share(one), share(other));
        let df = (a + b).powi(2) / (a * a / (one.len() - 1) as f64 + b * b / (other.len() - 1) as f64);
        Some(Self { mean: mean(one) - mean(other), standard_error: scale * (a + b).sqrt(), df })
    }

    /// The mean difference.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// How far the mean may be off: its standard deviation over experiments like this one.
    pub fn standard_error(&self) -> f64 {
        self.standard_error
    }

    /// Degrees of freedom of the standard error.
    pub fn df(&self) -> f64 {
        self.df
    }

    /// How far the mean is above `null`, in standard errors.
    pub fn t(&self, null: f64) -> f64 {
        (self.mean - null) / self.standard_error
    }

    /// One-sided p of "the true difference is at most `null`", against its being greater.
    pub fn p_greater(&self, null: f64) -> f64 {
        self.distribution().above(self.t(null))
    }

    /// One-sided p of "the true difference is at least `null`", against its being less.
    pub fn p_less(&self, null: f64) -> f64 {
        self.distribution().above(-self.t(null))
    }

    /// Two-sided p of "the true difference is `null`".
    pub fn p_two_sided(&self, null: f64) -> f64 {
        2.0 * self.distribution().above(self.t(null).abs())
    }

    /// The differences that a two-sided test would not refuse.
    pub fn interval(&self, confidence: Confidence) -> Interval {
        self.interval_of(confidence.get())
    }

    fn interval_of(&self, confidence: f64) -> Interval {
        let reach = self.distribution().upper(0.5 * (1.0 - confidence)) * self.standard_error;
        Interval { low: self.mean - reach, high: self.mean + reach, confidence }
    }

    /// Everything at once, against a true difference of 0.
    pub fn test(&self, confidence: Confidence) -> TTest {
        TTest {
            mean: self.mean,
            standard_error: self.standard_error,
            df: self.df,
            t: self.t(0.0),
            p_two_sided: self.p_two_sided(0.0),
            p_greater: self.p_greater(0.0),
            p_less: self.p_less(0.0),
            interval: self.interval(confidence),
        }
    }

    /// Whether the difference is smaller than a margin, by two one-sided tests (Schuirmann, Journal of Pharmacokinetics and
    /// Biopharmaceutics 15, 1987). The same as asking whether the interval of confidence 1 - 2 alpha lies within the margin.
    pub fn equivalence(&self, margin: Margin, alpha: Alpha) -> Equivalence {
        let (p_above_lower, p_below_upper) = (self.p_greater(-margin.get()), self.p_less(margin.get()));
        let p = p_above_lower.max(p_below_upper);
        Equivalence {
            margin: margin.get(),
            p_above_lower,
            p_below_upper,
            p,
            interval: self.interval_of(1.0 - 2.0 * alpha.get()),
            equivalent: p <= alpha.get(),
        }
    }

    pub(crate) fn distribution(&self) -> StudentT {
        StudentT { df: self.df }
    }
}

/// An interval that covers the truth in a share `confidence` of experiments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// In 0..1.
    pub confidence: f64,
}

/// A t-test of a mean difference against 0, with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TTest {
    /// The mean difference.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// The mean in standard errors.
    pub t: f64,
    /// p of "there is no difference".
    pub p_two_sided: f64,
    /// p of "the true difference is not above 0".
    pub p_greater: f64,
    /// p of "the true difference is not below 0".
    pub p_less: f64,
    /// Of the true difference.
    pub interval: Interval,
}

/// Two one-sided tests of "the difference is at least the margin".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Equivalence {
    /// Differences below this do not matter.
    pub margin: f64,
    /// p of "the true difference is at or below minus the margin".
    pub p_above_lower: f64,
    /// p of "the true difference is at or above the margin".
    pub p_below_upper: f64,
    /// The larger of both, which decides.
    pub p: f64,
    /// Of confidence 1 - 2 alpha.
    pub interval: Interval,
    /// p is at most alpha, before any correction.
    pub equivalent: bool,
}
