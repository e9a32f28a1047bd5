//! Distances between two batches of states, with their gradients.
//!
//! A distance is a number, computed on the host in double precision, together with its gradients with regard to both sides; which of
//! them is wanted, and what it is multiplied by, the caller says. Batches are row-major, (rows, columns), rows being examples.
//! The room knows no graph and no models.

use serde::{Deserialize, Serialize};

/// How far apart two batches of states are. Each is 0 for equal batches (where no dimension is dead), and none depends on the
/// number of rows or columns by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// The mean squared difference.
    Mse,
    /// The mean over dimensions of the squared difference divided by the variance of the *cached teacher's* state in
    /// that dimension; only against a state of the teacher.
    MseFrozenStd,
    /// The mean over dimensions of 1 - Pearson's correlation over the batch. Needs at least 8 rows.
    Corr,
    /// The mean over rows of 1 - cosine.
    Cosine,
    /// The mean squared difference of rows that have been brought to mean 0 and variance 1 each.
    LayernormMse,
}

impl Distance {
    /// All distances.
    pub const ALL: [Distance; 5] =
        [Distance::Mse, Distance::MseFrozenStd, Distance::Corr, Distance::Cosine, Distance::LayernormMse];

    /// The distance's name, as in settings.
    pub fn name(self) -> &'static str {
        match self {
            Distance::Mse => "mse",
            Distance::MseFrozenStd => "mse_frozen_std",
            Distance::Corr => "corr",
            Distance::Cosine => "cosine",
            Distance::LayernormMse => "layernorm_mse",
        }
    }
}

/// The least number of rows over which a correlation is taken.
pub const CORR_ROWS: usize = 8;

/// A dimension is dead where its variance is at most this part of the mean variance over dimensions.
const DEAD: f64 = 1e-6;

/// Added to a row's variance before `layernorm_mse` divides by its root.
const LAYERNORM_EPS: f64 = 1e-5;

/// Rows shorter than this have no direction: they count as orthogonal, without gradient.
const COSINE_EPS: f64 = 1e-8;

/// A distance's value and its gradients, those multiplied by the scale asked for.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    pub(crate) value: f64,
    pub(crate) gradient_a: Vec<f32>,
    pub(crate) gradient_b: Vec<f32>,
}

/// For each dimension, 1 / (variance * live dimensions), or 0 where it is dead: what `mse_frozen_std` weighs squares with.
/// None where every dimension is dead.
pub(crate) fn frozen_weights(variances: &[f32]) -> Option<Vec<f32>> {
    let variances: Vec<f64> = variances.iter().map(|&v| f64::from(v)).collect();
    let live = live(&variances);
    let count = live.iter().filter(|&&live| live).count();
    (count > 0).then(|| {
        let weight = |(&variance, live)| if live { (1.0 / (variance * count as f64)) as f32 } else { 0.0 };
        variances.iter().zip(live).map(weight).collect()
    })
}

fn live(variances: &[f64]) -> Vec<bool> {
    let mean = variances.iter().sum::<f64>() / variances.len() as f64;
    variances.iter().map(|&variance| variance > DEAD * mean && variance > 0.0).collect()
}

/// Compares `a` with `b`, both (rows, `cols`). `frozen` are the [`frozen_weights`] that `mse_frozen_std` needs.
pub(crate) fn compare(distance: Distance, a: &[f32], b: &[f32], cols: usize, frozen: Option<&[f32]>, scale: f64) -> Compared {
    debug_assert_eq!(a.len(), b.len());
    match distance {
        Distance::Mse => {
            let weights = vec![1.0 / cols as f32; cols];
            squared(a, b, cols, &weights, scale)
        }
        Distance::MseFrozenStd => squared(a, b, cols, frozen.unwrap_or(&[]), scale),
        Distance::Corr => corr(a, b, cols, scale),
        Distance::Cosine => cosine(a, b, cols, scale),
        Distance::LayernormMse => layernorm(a, b, cols, scale),
    }
}

/// mean over rows of sum_j w_j (a_j - b_j)^2
fn squared(a: &[f32], b: &[f32], cols: usize, weights: &[f32], scale: f64) -> Compared {
    let rows = (a.len() / cols) as f64;
    let factor = (2.0 * scale / rows) as f32;
    let mut value = 0.0;
    let mut gradient_a = Vec::with_capacity(a.len());
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        let mut row = 0.0;
        for ((a, b), w) in a.iter().zip(b).zip(weights) {
            let difference = a - b;
            row += f64::from(w * difference * difference);
            gradient_a.push(factor * w * difference);
        }
        value += row;
    }
    let gradient_b = gradient_a.iter().map(|g| -g).collect();
    Compared { value: value / rows, gradient_a, gradient_b }
}

/// With a' and b' centred over the batch and |.| the norm of a column, r = a' b' / (|a'| |b'|), and
/// d(1 - r)/da = r a' / |a'|^2 - b' / (|a'| |b'|); centring adds nothing, since both terms sum to 0 already.
fn corr(a: &[f32], b: &[f32], cols: usize, scale: f64) -> Compared {
    let rows = a.len() / cols;
    let means = |x: &[f32]| {
        let mut means = vec![0.0f64; cols];
        for row in x.chunks_exact(cols) {
            for (mean, &x) in means.iter_mut().zip(row) {
                *mean += f64::from(x);
            }
        }
        means.iter_mut().for_each(|mean| *mean /= rows as f64);
        means
    };
    let (mean_a, mean_b) = (means(a), means(b));
    let mut squares_a = vec![0.0f64; cols];
    let mut squares_b = vec![0.0f64; cols];
    let mut products = vec![0.0f64; cols];
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        for j in 0..cols {
            let a = f64::from(a[j]) - mean_a[j];
            let b = f64::from(b[j]) - mean_b[j];
            squares_a[j] += a * a;
            squares_b[j] += b * b;
            products[j] += a * b;
        }
    }
    let live: Vec<bool> = live(&squares_a).into_iter().zip(live(&squares_b)).map(|(a, b)| a && b).collect();
    let count = live.iter().filter(|&&live| live).count();
    if count == 0 {
        // Nothing varies on one side or the other: as far from correlated as can be, and no direction to go.
        return Compared { value: 1.0, gradient_a: vec![0.0; a.len()], gradient_b: vec![0.0; b.len()] };
    }
    let mut value = 0.0;
    // d/da = own_a a' - cross b', d/db = own_b b' - cross a'
    let mut own_a = vec![0.0f64; cols];
    let mut own_b = vec![0.0f64; cols];
    let mut cross = vec![0.0f64; cols];
    for j in (0..cols).filter(|&j| live[j]) {
        let norms = (squares_a[j] * squares_b[j]).sqrt();
        let r = products[j] / norms;
        value += 1.0 - r;
        let factor = scale / count as f64;
        own_a[j] = factor * r / squares_a[j];
        own_b[j] = factor * r / squares_b[j];
        cross[j] = factor / norms;
    }
    let mut gradient_a = Vec::with_capacity(a.len());
    let mut gradient_b = Vec::with_capacity(b.len());
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        for j in 0..cols {
            let a = f64::from(a[j]) - mean_a[j];
            let b = f64::from(b[j]) - mean_b[j];
            gradient_a.push((own_a[j] * a - cross[j] * b) as f32);
            gradient_b.push((own_b[j] * b - cross[j] * a) as f32);
        }
    }
    Compared { value: value / count as f64, gradient_a, gradient_b }
}

/// With c = a b / (|a| |b|): d(1 - c)/da = c a / |a|^2 - b / (|a| |b|).
fn cosine(a: &[f32], b: &[f32], cols: usize, scale: f64) -> Compared {
    let rows = (a.len() / cols) as f64;
    let factor = scale / rows;
    let mut compared = Compared { value: 0.0, gradient_a: Vec::with_capacity(a.len()), gradient_b: Vec::with_capacity(b.len()) };
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        let dot = |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum() };
        let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
        let norms = (aa * bb).sqrt();
        let directed = aa.sqrt() > COSINE_EPS && bb.sqrt() > COSINE_EPS;
        let c = if directed { ab / norms } else { 0.0 };
        compared.value += 1.0 - c;
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            let (ga, gb) = if directed { (c * a / aa - b / norms, c * b / bb - a / norms) } else { (0.0, 0.0) };
            compared.gradient_a.push((factor * ga) as f32);
            compared.gradient_b.push((factor * gb) as f32);
        }
    }
    compared.value /= rows;
    compared
}

/// With x = (a - mean) / sigma and g the gradient with regard to x: d/da = (g - mean(g) - x mean(g x)) / sigma.
fn layernorm(a: &[f32], b: &[f32], cols: usize, scale: f64) -> Compared {
    let n = cols as f64;
    let rows = (a.len() / cols) as f64;
    let mut compared = Compared { value: 0.0, gradient_a: Vec::with_capacity(a.len()), gradient_b: Vec::with_capacity(b.len()) };
    let normalise = |x: &[f32]| {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let centred: Vec<f64> = x.iter().map(|&x| f64::from(x) - mean).collect();
        let sigma = (centred.iter().map(|x| x * x).sum::<f64>() / n + LAYERNORM_EPS).sqrt();
        (centred.into_iter().map(|x| x / sigma).collect::<Vec<f64>>(), sigma)
    };
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        let (x, sigma_x) = normalise(a);
        let (y, sigma_y) = normalise(b);
        let difference: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        compared.value += difference.iter().map(|d| d * d).sum::<f64>() / n;
        let factor = 2.0 * scale / (n * rows);
        let back = |sign: f64, x: &[f64], sigma: f64, out: &mut Vec<f32>| {
            let mean_g = difference.iter().map(|d| sign * factor * d).sum::<f64>() / n;
            let mean_gx = difference.iter().zip(x).map(|(d, x)| sign * factor * d * x).sum::<f64>() / n;
            out.extend(difference.iter().zip(x).map(|(d, x)| ((sign * factor * d - mean_g - x * mean_gx) / sigma) as f32));
        };
        back(1.0, &x, sigma_x, &mut compared.gradient_a);
        back(-1.0, &y, sigma_y, &mut compared.gradient_b);
    }
    compared.value /= rows;
    compared
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::random::{Rng, Role};

    fn batch(name: &str, len: usize) -> Vec<f32> {
        let mut rng = Rng::stream(1, Role::Init, name, 0);
        (0..len).map(|_| rng.symmetric(2.0)).collect()
    }

    /// Central differences: the values are computed in double precision from the single-precision numbers given, so a step
    /// of 2^-10 leaves an error of about 1e-6 of curvature and nothing from rounding.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (rows, cols) = (9, 4);
        let (a, b) = (batch("a", rows * cols), batch("b", rows * cols));
        let frozen = frozen_weights(&[0.5, 2.0, 0.0, 1.0]).unwrap();
        let h = 1.0 / 1024.0;
        for distance in Distance::ALL {
            let value = |a: &[f32], b: &[f32]| compare(distance, a, b, cols, Some(&frozen), 1.0).value;
            let compared = compare(distance, &a, &b, cols, Some(&frozen), 0.7);
            for i in 0..a.len() {
                for (side, gradient) in [(0, &compared.gradient_a), (1, &compared.gradient_b)] {
                    let at = |step: f32| {
                        let mut sides = [a.clone(), b.clone()];
                        sides[side][i] += step;
                        value(&sides[0], &sides[1])
                    };
                    let expected = 0.7 * (at(h) - at(-h)) / f64::from(2.0 * h);
                    let found = f64::from(gradient[i]);
                    assert!(
                        (found - expected).abs() < 1e-5 + 1e-3 * expected.abs(),
                        "{} side {side} [{i}]: {found} instead of {expected}",
                        distance.name()
                    );
                }
            }
        }
    }

    /// Values by hand. Columns (1, 2, 3, 6) and (2, 1, 4, 5): centred (-2, -1, 0, 3) and (-1, -2, 1, 2), squares 14 and 10,
    /// products 2 + 2 + 0 + 6 = 10, so r = 10 / sqrt(140).
    #[test]
    fn values_follow_the_definitions() {
        let a = [1.0, 2.0, 3.0, 6.0];
        let b = [2.0, 1.0, 4.0, 5.0];
        let value = |distance, cols, frozen: Option<&[f32]>| compare(distance, &a, &b, cols, frozen, 1.0).value;
        assert!((value(Distance::Corr, 1, None) - (1.0 - 10.0 / 140f64.sqrt())).abs() < 1e-12);
        assert!((value(Distance::Mse, 1, None) - 1.0).abs() < 1e-7);
        // Rows (1, 2) (3, 6) and (2, 1) (4, 5): cosines 4/5 and 42 / sqrt(45 * 41).
        let cosine = 1.0 - (0.8 + 42.0 / 1845f64.sqrt()) / 2.0;
        assert!((value(Distance::Cosine, 2, None) - cosine).abs() < 1e-12);
        // Variances 4 and 0.25: squares 1, 1 in each row, so (1/4 + 4) / 2.
        let frozen = frozen_weights(&[4.0, 0.25]).unwrap();
        assert!((value(Distance::MseFrozenStd, 2, Some(&frozen)) - 2.125).abs() < 1e-6);
        // Two entries a row normalise to (-1, 1) up to eps: the first rows are opposite (difference 2), the second equal.
        assert!((value(Distance::LayernormMse, 2, None) - 2.0).abs() < 1e-3);
    }

    #[test]
    fn equal_batches_are_at_distance_0_without_gradient() {
        let a = batch("a", 40);
        let frozen = frozen_weights(&[1.0; 4]).unwrap();
        for distance in Distance::ALL {
            let compared = compare(distance, &a, &a, 4, Some(&frozen), 1.0);
            assert!(compared.value.abs() < 1e-12, "{distance:?}");
            assert!(compared.gradient_a.iter().all(|g| g.abs() < 1e-7), "{distance:?}");
        }
    }

    #[test]
    fn dead_dimensions_leave_the_mean() {
        // The second column of `a` is constant: only the first counts.
        let a: Vec<f32> = (0..10).flat_map(|i| [i as f32, 3.0]).collect();
        let b: Vec<f32> = (0..10).flat_map(|i| [-(i as f32), i as f32]).collect();
        let compared = compare(Distance::Corr, &a, &b, 2, None, 1.0);
        assert!((compared.value - 2.0).abs() < 1e-9);
        assert!(compared.gradient_b.iter().skip(1).step_by(2).all(|&g| g == 0.0));
        assert_eq!(frozen_weights(&[2.0, 1e-9]).unwrap(), [0.5, 0.0]);
        assert_eq!(frozen_weights(&[0.0, 0.0]), None);
    }

    #[test]
    fn a_batch_without_variance_is_uncorrelated_rather_than_not_a_number() {
        let compared = compare(Distance::Corr, &[1.0; 16], &batch("b", 16), 2, None, 1.0);
        assert_eq!(compared.value, 1.0);
        assert!(compared.gradient_a.iter().chain(&compared.gradient_b).all(|&g| g == 0.0));
    }
}
