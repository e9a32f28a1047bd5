//! Exponentials in single precision, and what is made of them: GELU by the exact distribution function (Hendrycks and Gimpel, *Gaussian Error
//! Linear Units*, 2016: x Phi(x), not its approximation by tanh), and softmax.
//!
//! Loops are written so that a compiler can do many entries at once, which it cannot through a library's `exp` and `erf`.

use multiversion::multiversion;

/// e^x for x from -87 on and up to 88, beyond which it is that of the bound; good to two units in the last place.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Added and taken away, it leaves a whole number, which then stands in the last bits.
    const ROUND: f32 = 12_582_912.0; // 3 * 2^22
    // ln 2 in two parts, the first with so few bits that its products with whole numbers are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = x - whole * LN_2.0 - whole * LN_2.1;
    // Taylor's series: of |rest| <= ln 2 / 2 the first power left out is below 1e-8.
    let series = 1.0 / 5040.0;
    let series = series * rest + 1.0 / 720.0;
    let series = series * rest + 1.0 / 120.0;
    let series = series * rest + 1.0 / 24.0;
    let series = series * rest + 1.0 / 6.0;
    let series = series * rest + 0.5;
    let series = series * rest + 1.0;
    let series = series * rest + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(exponent)
}

/// The normal distribution: of x the probability below it, and the density there.
///
/// With z = |x| / sqrt 2, erfc(z) = e^(-z^2) P(t) in t = 1 / (1 + 0.32 z), the form of Hastings (*Approximations for Digital Computers*, 1955).
/// P, its constants rounded, is within 4.3e-8 of the value up to z = 5.5; beyond, the tail is below 1e-14.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const P: [f32; 8] =
        [0.181_493_77, 0.166_744_58, 0.257_311, -0.147_990_6, 0.767_686_9, -0.744_693_36, 0.694_625_56, -0.175_177_85];
    let t = 1.0 / (1.0 + 0.32 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut p = P[7];
    for coefficient in P[..7].iter().rev() {
        p = p * t + coefficient;
    }
    let bell = exp(-0.5 * x * x);
    let tail = 0.5 * bell * p * t;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    // 1 / sqrt(2 pi)
    (below, 0.398_942_3 * bell)
}

/// `out = x Phi(x)`
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn gelu(out: &mut [f32], x: &[f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x * normal(x).0;
    }
}

/// The way back: `out = g (Phi(x) + x phi(x))`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn gelu_back(out: &mut [f32], x: &[f32], g: &[f32]) {
    for ((out, &x), g) in out.iter_mut().zip(x).zip(g) {
        let (below, density) = normal(x);
        *out = g * (below + x * density);
    }
}

/// How many sums run side by side, in a fixed order that a processor can do at once.
const STRANDS: usize = 16;

/// Of each row of `cols` entries the softmax of `scale` times it, in place.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn softmax(rows: &mut [f32], cols: usize, scale: f32) {
    for row in rows.chunks_exact_mut(cols) {
        let mut most = [f32::NEG_INFINITY; STRANDS];
        for part in row.chunks(STRANDS) {
            for (most, x) in most.iter_mut().zip(part) {
                *most = most.max(*x);
            }
        }
        let most = most.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0f32; STRANDS];
        for part in row.chunks_mut(STRANDS) {
            for (sum, x) in sums.iter_mut().zip(part) {
                *x = exp((*x - most) * scale);
                *sum += *x;
            }
        }
        let factor = 1.0 / sums.iter().sum::<f32>();
        for x in row {
            *x *= factor;
        }
    }
}

/// The way back through [`softmax`]: `g` becomes `scale p (g - sum(p g))`, row by row.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn softmax_back(g: &mut [f32], p: &[f32], cols: usize, scale: f32) {
    for (g, p) in g.chunks_exact_mut(cols).zip(p.chunks_exact(cols)) {
        let mut sums = [0.0f32; STRANDS];
        for (g, p) in g.chunks(STRANDS).zip(p.chunks(STRANDS)) {
            for ((sum, g), p) in sums.iter_mut().zip(g).zip(p) {
                *sum += g * p;
            }
        }
        let mean: f32 = sums.iter().sum();
        for (g, p) in g.iter_mut().zip(p) {
            *g = scale * p * (*g - mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The normal distribution function by its series (Marsaglia 2004), in double precision.
    fn phi(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while f64::abs(term) > 1e-18 {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn exponentials_and_gelu_follow_their_definitions() {
        let x: Vec<f32> = (-6000..=6000).map(|i| i as f32 / 1000.0).collect();
        let (mut out, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        gelu(&mut out, &x);
        gelu_back(&mut back, &x, &vec![1.0; x.len()]);
        for ((&x, &y), &slope) in x.iter().zip(&out).zip(&back) {
            let (wide, density) = (f64::from(x), (-0.5 * f64::from(x).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt());
            let expected = wide * phi(wide);
            assert!((f64::from(y) - expected).abs() <= 1e-6 * expected.abs() + 1e-12, "gelu({x}) = {y}, expected {expected}");
            let expected = phi(wide) + wide * density;
            assert!((f64::from(slope) - expected).abs() <= 3e-7, "slope at {x}: {slope}, expected {expected}");
        }
        for x in (-870..=880).map(|i| i as f32 / 10.0) {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "e^{x} = {}, expected {expected}", exp(x));
        }
        // Far out there are no surprises.
        let mut ends = [0.0; 4];
        gelu(&mut ends, &[-1e30, -50.0, 50.0, 1e30]);
        assert!(ends[..2].iter().all(|end| end.abs() < 1e-30) && ends[2..] == [50.0, 1e30], "{ends:?}");
    }

    #[test]
    fn softmax_sums_to_one_however_large_its_entries() {
        let mut rows = vec![1e4, 1e4 - 1.0, -1e30, 0.0, 0.0, 0.0];
        softmax(&mut rows, 3, 2.0);
        let e = 1.0 / (1.0 + f32::exp(-2.0));
        for (found, expected) in rows.iter().zip([e, 1.0 - e, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{rows:?}");
        }
    }
}
