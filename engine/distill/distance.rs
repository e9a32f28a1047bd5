//! Distances between two batches of states, with their gradients.
//!
//! A distance is a number, summed on the host in double precision, together with its gradients with regard to both sides; which of
//! them is wanted, and what it is multiplied by, the caller says. Batches are row-major, (rows, columns), rows being examples.
//! The room knows no graph and no models.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::ops::kernels;

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

/// The distance of `a` from `b`, both (rows, `cols`). Its gradients with regard to either, multiplied by `scale`, are written into those of
/// `gradients` that are there. `frozen` are the [`frozen_weights`] that `mse_frozen_std` needs.
pub(crate) fn compare(
    distance: Distance,
    (a, b): (&[f32], &[f32]),
    cols: usize,
    frozen: Option<&[f32]>,
    scale: f64,
    gradients: [Option<&mut [f32]>; 2],
) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    match distance {
        Distance::Mse => squared(a, b, &vec![1.0 / cols as f32; cols], scale, gradients),
        Distance::MseFrozenStd => squared(a, b, frozen.unwrap_or(&[]), scale, gradients),
        Distance::Corr => corr(a, b, cols, scale, gradients),
        Distance::Cosine => cosine(a, b, cols, scale, gradients),
        Distance::LayernormMse => layernorm(a, b, cols, scale, gradients),
    }
}

/// mean over rows of sum_j w_j (a_j - b_j)^2
fn squared(a: &[f32], b: &[f32], weights: &[f32], scale: f64, [to_a, to_b]: [Option<&mut [f32]>; 2]) -> f64 {
    let rows = (a.len() / weights.len()) as f64;
    let factor = (2.0 * scale / rows) as f32;
    let sum = match (to_a, to_b) {
        (Some(to_a), Some(to_b)) => {
            let sum = kernels::squares_with_gradient(a, b, weights, factor, to_a);
            kernels::negate(to_b, to_a);
            sum
        }
        (Some(to_a), None) => kernels::squares_with_gradient(a, b, weights, factor, to_a),
        (None, Some(to_b)) => kernels::squares_with_gradient(b, a, weights, factor, to_b),
        (None, None) => kernels::weighted_squares(a, b, weights),
    };
    sum / rows
}

/// With a' and b' centred over the batch and |.| the norm of a column, r = a' b' / (|a'| |b'|), and
/// d(1 - r)/da = r a' / |a'|^2 - b' / (|a'| |b'|); centring adds nothing, since both terms sum to 0 already.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
fn corr(a: &[f32], b: &[f32], cols: usize, scale: f64, gradients: [Option<&mut [f32]>; 2]) -> f64 {
    let rows = a.len() / cols;
    let mut means = [vec![0.0f64; cols], vec![0.0f64; cols]];
    for (means, values) in means.iter_mut().zip([a, b]) {
        for row in values.chunks_exact(cols) {
            for (mean, &value) in means.iter_mut().zip(row) {
                *mean += f64::from(value);
            }
        }
        means.iter_mut().for_each(|mean| *mean /= rows as f64);
    }
    let [mean_a, mean_b] = means;
    let mut squares_a = vec![0.0f64; cols];
    let mut squares_b = vec![0.0f64; cols];
    let mut products = vec![0.0f64; cols];
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        let sums = squares_a.iter_mut().zip(&mut squares_b).zip(&mut products);
        let pairs = a.iter().zip(&mean_a).zip(b.iter().zip(&mean_b));
        for (((aa, bb), ab), ((&a, mean_a), (&b, mean_b))) in sums.zip(pairs) {
            let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
            *aa += a * a;
            *bb += b * b;
            *ab += a * b;
        }
    }
    let live: Vec<bool> = live(&squares_a).into_iter().zip(live(&squares_b)).map(|(a, b)| a && b).collect();
    let count = live.iter().filter(|&&live| live).count();
    if count == 0 {
        // Nothing varies on one side or the other: as far from correlated as can be, and no direction to go.
        gradients.into_iter().flatten().for_each(|gradient| gradient.fill(0.0));
        return 1.0;
    }
    let mut value = 0.0;
    // d/da = own_a a' - cross b', d/db = own_b b' - cross a'
    let mut own = [vec![0.0f64; cols], vec![0.0f64; cols]];
    let mut cross = vec![0.0f64; cols];
    for j in (0..cols).filter(|&j| live[j]) {
        let norms = (squares_a[j] * squares_b[j]).sqrt();
        let r = products[j] / norms;
        value += 1.0 - r;
        let factor = scale / count as f64;
        own[0][j] = factor * r / squares_a[j];
        own[1][j] = factor * r / squares_b[j];
        cross[j] = factor / norms;
    }
    let sides = [(a, &mean_a, b, &mean_b), (b, &mean_b, a, &mean_a)];
    for ((gradient, own), (x, mean_x, y, mean_y)) in gradients.into_iter().zip(&own).zip(sides) {
        let Some(gradient) = gradient else { continue };
        // In single precision from here on, like the gradient itself: own x' - cross y' = own x - cross y - (own mean_x - cross mean_y).
        let own: Vec<f32> = own.iter().map(|&own| own as f32).collect();
        let crossed: Vec<f32> = cross.iter().map(|&cross| cross as f32).collect();
        let (mean_x, mean_y): (Vec<f32>, Vec<f32>) = mean_x.iter().zip(mean_y).map(|(&x, &y)| (x as f32, y as f32)).unzip();
        let batch = gradient.chunks_exact_mut(cols).zip(x.chunks_exact(cols)).zip(y.chunks_exact(cols));
        for ((gradient, x), y) in batch {
            let factors = own.iter().zip(&crossed).zip(mean_x.iter().zip(&mean_y));
            for (((g, x), y), ((own, cross), (mean_x, mean_y))) in gradient.iter_mut().zip(x).zip(y).zip(factors) {
                *g = own * (x - mean_x) - cross * (y - mean_y);
            }
        }
    }
    value / count as f64
}

/// With c = a b / (|a| |b|): d(1 - c)/da = c a / |a|^2 - b / (|a| |b|).
fn cosine(a: &[f32], b: &[f32], cols: usize, scale: f64, mut gradients: [Option<&mut [f32]>; 2]) -> f64 {
    let rows = (a.len() / cols) as f64;
    let factor = scale / rows;
    let dot = |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum() };
    let mut value = 0.0;
    for (row, (a, b)) in a.chunks_exact(cols).zip(b.chunks_exact(cols)).enumerate() {
        let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
        let norms = (aa * bb).sqrt();
        let directed = aa.sqrt() > COSINE_EPS && bb.sqrt() > COSINE_EPS;
        let c = if directed { ab / norms } else { 0.0 };
        value += 1.0 - c;
        for (gradient, (x, y, xx)) in gradients.iter_mut().zip([(a, b, aa), (b, a, bb)]) {
            let Some(gradient) = gradient else { continue };
            let gradient = &mut gradient[row * cols..(row + 1) * cols];
            for ((g, &x), &y) in gradient.iter_mut().zip(x).zip(y) {
                *g = if directed { (factor * (c * f64::from(x) / xx - f64::from(y) / norms)) as f32 } else { 0.0 };
            }
        }
    }
    value / rows
}

/// With x = (a - mean) / sigma and g the gradient with regard to x: d/da = (g - mean(g) - x mean(g x)) / sigma.
fn layernorm(a: &[f32], b: &[f32], cols: usize, scale: f64, mut gradients: [Option<&mut [f32]>; 2]) -> f64 {
    let n = cols as f64;
    let rows = (a.len() / cols) as f64;
    let normalise = |x: &[f32]| {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let centred: Vec<f64> = x.iter().map(|&x| f64::from(x) - mean).collect();
        let sigma = (centred.iter().map(|x| x * x).sum::<f64>() / n + LAYERNORM_EPS).sqrt();
        (centred.into_iter().map(|x| x / sigma).collect::<Vec<f64>>(), sigma)
    };
    let factor = 2.0 * scale / (n * rows);
    let mut value = 0.0;
    for (row, (a, b)) in a.chunks_exact(cols).zip(b.chunks_exact(cols)).enumerate() {
        let (x, sigma_x) = normalise(a);
        let (y, sigma_y) = normalise(b);
        let difference: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        value += difference.iter().map(|d| d * d).sum::<f64>() / n;
        for (gradient, (sign, x, sigma)) in gradients.iter_mut().zip([(1.0, &x, sigma_x), (-1.0, &y, sigma_y)]) {
            let Some(gradient) = gradient else { continue };
            let mean_g = difference.iter().map(|d| sign * factor * d).sum::<f64>() / n;
            let mean_gx = difference.iter().zip(x).map(|(d, x)| sign * factor * d * x).sum::<f64>() / n;
            let gradient = &mut gradient[row * cols..(row + 1) * cols];
            for ((g, d), x) in gradient.iter_mut().zip(&difference).zip(x) {
                *g = ((sign * factor * d - mean_g - x * mean_gx) / sigma) as f32;
            }
        }
    }
    value / rows
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::random::{Rng, Role};

    struct Compared {
        value: f64,
        gradient_a: Vec<f32>,
        gradient_b: Vec<f32>,
    }

    /// With both gradients; those asked for one by one are the same.
    fn compare(distance: Distance, a: &[f32], b: &[f32], cols: usize, frozen: Option<&[f32]>, scale: f64) -> Compared {
        let nan = || vec![f32::NAN; a.len()];
        let (mut gradient_a, mut gradient_b, mut alone_a, mut alone_b) = (nan(), nan(), nan(), nan());
        let compare = |gradients| super::compare(distance, (a, b), cols, frozen, scale, gradients);
        let value = compare([Some(&mut gradient_a), Some(&mut gradient_b)]);
        assert_eq!(compare([Some(&mut alone_a), None]), value);
        assert_eq!(compare([None, Some(&mut alone_b)]), value);
        assert_eq!(compare([None, None]), value);
        assert_eq!((&alone_a, &alone_b), (&gradient_a, &gradient_b));
        Compared { value, gradient_a, gradient_b }
    }

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
