//! Layer norm (Ba, Kiros, Hinton 2016) over rows of plain numbers: y = gain (x - mean) / sqrt(variance + eps) + bias, with mean and variance (divisor n) of
//! the row itself.
//!
//! The way back looks at x again instead of keeping what the way there found: two sums a row, and nothing to hold.

use multiversion::multiversion;
use rayon::prelude::*;

/// Rows that a thread does together.
const ROWS: usize = 32;
/// How many sums run side by side, in a fixed order that a processor can do at once.
const STRANDS: usize = 16;

/// `out = norm(x)`, in rows as wide as the `gain`.
pub(crate) fn norm(out: &mut [f32], x: &[f32], gain: &[f32], bias: &[f32], eps: f32) {
    let part = ROWS * gain.len();
    out.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(out, x)| rows(out, x, gain, bias, eps));
}

/// The gradient of x: `out = (w - mean(w) - h mean(w h)) / sd`, with w = g gain and h the standardised row.
pub(crate) fn norm_back(out: &mut [f32], x: &[f32], gain: &[f32], g: &[f32], eps: f32) {
    let part = ROWS * gain.len();
    let parts = out.par_chunks_mut(part).zip(x.par_chunks(part)).zip(g.par_chunks(part));
    parts.for_each(|((out, x), g)| rows_back(out, x, gain, g, eps));
}

/// Adds the gradients of gain and bias: sums over rows of g h, and of g.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn norm_weights_back(to_gain: &mut [f32], to_bias: &mut [f32], x: &[f32], g: &[f32], eps: f32) {
    let cols = to_gain.len();
    for (x, g) in x.chunks_exact(cols).zip(g.chunks_exact(cols)) {
        let (mean, scale) = moments(x, eps);
        for (((gain, bias), x), g) in to_gain.iter_mut().zip(&mut *to_bias).zip(x).zip(g) {
            *gain += g * (x - mean) * scale;
            *bias += g;
        }
    }
}

#[inline(always)]
fn sum(values: impl Fn(usize) -> f32, count: usize) -> f32 {
    let mut sums = [0.0f32; STRANDS];
    let whole = count - count % STRANDS;
    let mut at = 0;
    while at < whole {
        for (strand, sum) in sums.iter_mut().enumerate() {
            *sum += values(at + strand);
        }
        at += STRANDS;
    }
    for (strand, sum) in sums.iter_mut().enumerate().take(count - whole) {
        *sum += values(whole + strand);
    }
    sums.iter().sum()
}

/// A row's mean, and one over its standard deviation.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum(|j| x[j], x.len()) / count;
    let variance = sum(|j| (x[j] - mean) * (x[j] - mean), x.len()) / count;
    (mean, 1.0 / (variance + eps).sqrt())
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
fn rows(out: &mut [f32], x: &[f32], gain: &[f32], bias: &[f32], eps: f32) {
    let cols = gain.len();
    for (out, x) in out.chunks_exact_mut(cols).zip(x.chunks_exact(cols)) {
        let (mean, scale) = moments(x, eps);
        for (((out, x), gain), bias) in out.iter_mut().zip(x).zip(gain).zip(bias) {
            *out = (x - mean) * scale * gain + bias;
        }
    }
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
fn rows_back(out: &mut [f32], x: &[f32], gain: &[f32], g: &[f32], eps: f32) {
    let cols = gain.len();
    for ((out, x), g) in out.chunks_exact_mut(cols).zip(x.chunks_exact(cols)).zip(g.chunks_exact(cols)) {
        let (mean, scale) = moments(x, eps);
        let level = sum(|j| g[j] * gain[j], cols) / cols as f32;
        let slope = scale * sum(|j| g[j] * gain[j] * (x[j] - mean), cols) / cols as f32;
        for (((out, x), g), gain) in out.iter_mut().zip(x).zip(g).zip(gain) {
            *out = scale * (g * gain - level - (x - mean) * scale * slope);
        }
    }
}
