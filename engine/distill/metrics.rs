//! Measures of predictions, and what can be said about their differences.
//!
//! The same functions serve validation while training, evaluation, and reports. All sums are in double precision and in the order of the
//! rows. The room knows no models.

use std::collections::BTreeMap;

pub use classes::{BINS, ClassPredictions, ClassesError, Confusion};

mod classes;

/// Root of the mean squared error; none without rows.
pub fn rmse(predicted: &[f32], actual: &[f32]) -> Option<f64> {
    mean(squared_errors(predicted, actual)).map(f64::sqrt)
}

/// Mean absolute error; none without rows.
pub fn mae(predicted: &[f32], actual: &[f32]) -> Option<f64> {
    mean(predicted.iter().zip(actual).map(|(&p, &a)| (f64::from(p) - f64::from(a)).abs()))
}

/// The mean over users of each user's RMSE: every user counts alike, however many ratings they gave. None without rows.
pub fn per_user_rmse(users: &[u32], predicted: &[f32], actual: &[f32]) -> Option<f64> {
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for (&user, error) in users.iter().zip(squared_errors(predicted, actual)) {
        let (sum, count) = sums.entry(user).or_default();
        *sum += error;
        *count += 1.0;
    }
    mean(sums.values().map(|(sum, count)| (sum / count).sqrt()))
}

fn squared_errors(predicted: &[f32], actual: &[f32]) -> impl Iterator<Item = f64> {
    predicted.iter().zip(actual).map(|(&p, &a)| (f64::from(p) - f64::from(a)).powi(2))
}

/// The mean; none of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Sample standard deviation (divisor n - 1); none of fewer than two values.
pub fn sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values.iter().copied())?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether 0 lies inside, ends included.
    pub fn holds_zero(&self) -> bool {
        self.low <= 0.0 && 0.0 <= self.high
    }
}

/// Student's t interval of the mean of paired differences, with `confidence` in (0, 1), e.g. 0.95.
/// None of fewer than two differences.
pub fn paired_interval(differences: &[f64], confidence: f64) -> Option<Interval> {
    let mean = mean(differences.iter().copied())?;
    let sd = sd(differences)?;
    let n = differences.len() as f64;
    let half = t_quantile(0.5 + confidence / 2.0, n - 1.0) * sd / n.sqrt();
    Some(Interval { mean, low: mean - half, high: mean + half })
}

/// Gap recovery, mean(scratch - method) / mean(scratch - teacher) over paired blocks: 0 is the student from scratch, 1 the teacher.
///
/// None (a dash in tables) where the 95 % interval of the denominator holds 0, or cannot be had (fewer than two blocks): there is no gap to
/// speak of.
pub fn gap_recovery(scratch: &[f64], method: &[f64], teacher: &[f64]) -> Option<f64> {
    let differences = |other: &[f64]| scratch.iter().zip(other).map(|(s, o)| s - o).collect::<Vec<_>>();
    let gap = paired_interval(&differences(teacher), 0.95)?;
    let gained = mean(differences(method).into_iter())?;
    (!gap.holds_zero()).then(|| gained / gap.mean)
}

/// The quantile of Student's t distribution with `freedom` > 0 degrees of freedom at probability `p` in (0, 1).
///
/// Found by bisection on the distribution function 1 - I_x(freedom/2, 1/2) / 2 with x = freedom / (freedom + t^2), so it is as
/// exact as the incomplete beta function (about 1e-14).
pub fn t_quantile(p: f64, freedom: f64) -> f64 {
    if p < 0.5 {
        return -t_quantile(1.0 - p, freedom);
    }
    let below = |t: f64| 1.0 - 0.5 * incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    let (mut low, mut high) = (0.0, 1.0);
    while below(high) < p && high < 1e300 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle == low || middle == high {
            break;
        }
        if below(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction (Press et al., *Numerical Recipes*, 6.4).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast below the mean of the distribution; above it the symmetric one does.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        result *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    result
}

/// ln of the gamma function for x > 0: Stirling's series after shifting x above 12.
fn ln_gamma(x: f64) -> f64 {
    let mut shift = 0.0;
    let mut x = x;
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn errors_by_hand() {
        let (predicted, actual) = ([3.0, 4.0, 1.0], [3.0, 2.0, 2.0]);
        assert_eq!(rmse(&predicted, &actual), Some((5f64 / 3.0).sqrt()));
        assert_eq!(mae(&predicted, &actual), Some(1.0));
        // User 7 has errors 0 and 2 (rmse sqrt 2), user 1 has 1.
        assert_eq!(per_user_rmse(&[7, 7, 1], &predicted, &actual), Some((2f64.sqrt() + 1.0) / 2.0));
        assert_eq!(rmse(&[], &[]), None);
        assert_eq!(sd(&[1.0]), None);
        assert_eq!(sd(&[1.0, 3.0]), Some(2f64.sqrt()));
    }

    /// The two-sided 95 % and one-sided 99.5 % columns of any printed t table; one degree of freedom is Cauchy's tan(pi (p - 1/2)), two have
    /// the closed form (2p - 1) / sqrt(2 p (1 - p)).
    #[test]
    fn t_quantiles_are_those_of_the_tables() {
        for (freedom, p, expected) in [
            (4.0, 0.975, 2.776_445_1),
            (9.0, 0.975, 2.262_157_2),
            (19.0, 0.975, 2.093_024_1),
            (30.0, 0.995, 2.749_995_7),
            (120.0, 0.975, 1.979_930_4),
            (4.0, 0.025, -2.776_445_1),
        ] {
            let found = t_quantile(p, freedom);
            assert!((found - expected).abs() < 1e-6, "t({freedom}, {p}) = {found}");
        }
        for p in [0.6, 0.9, 0.975, 0.9999] {
            let cauchy = (std::f64::consts::PI * (p - 0.5)).tan();
            assert!((t_quantile(p, 1.0) / cauchy - 1.0).abs() < 1e-9);
            let two = (2.0 * p - 1.0) / (2.0 * p * (1.0 - p)).sqrt();
            assert!((t_quantile(p, 2.0) / two - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn paired_interval_by_hand() {
        // Mean 2, sd 1, n = 3: half width 4.302653 / sqrt 3.
        let interval = paired_interval(&[1.0, 2.0, 3.0], 0.95).unwrap();
        assert!((interval.low - (2.0 - 4.302_652_7 / 3f64.sqrt())).abs() < 1e-6);
        assert!((interval.high - (2.0 + 4.302_652_7 / 3f64.sqrt())).abs() < 1e-6);
        assert!(interval.holds_zero());
        assert_eq!(paired_interval(&[1.0], 0.95), None);
    }

    #[test]
    fn gap_recovery_needs_a_gap() {
        let scratch = [1.0, 1.1, 1.05];
        let teacher = [0.9, 1.0, 0.95];
        let half = [0.95, 1.05, 1.0];
        assert!((gap_recovery(&scratch, &half, &teacher).unwrap() - 0.5).abs() < 1e-9);
        // The teacher is better once and worse once: no gap, no recovery.
        assert_eq!(gap_recovery(&scratch, &half, &[0.9, 1.2, 1.05]), None);
    }
}
