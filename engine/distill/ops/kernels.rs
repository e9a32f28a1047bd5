//! Loops over plain numbers, each compiled for what the processor can do and chosen when the program runs.
//!
//! Rows are independent and every sum runs in one order, so results depend neither on threads nor on how rows are shared out.

use multiversion::multiversion;

/// The way back through a ReLU: `gradient` stays where the result `y` was above 0.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn gate(gradient: &mut [f32], y: &[f32]) {
    for (g, y) in gradient.iter_mut().zip(y) {
        *g = if *y > 0.0 { *g } else { 0.0 };
    }
}

/// `to += from`
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// `to = a + b`
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn sum(to: &mut [f32], a: &[f32], b: &[f32]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = a + b;
    }
}

/// `to = values * mask`, or `to += values * mask` where `add`
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn mask(to: &mut [f32], values: &[f32], mask: &[f32], add: bool) {
    if add {
        for ((to, value), mask) in to.iter_mut().zip(values).zip(mask) {
            *to += value * mask;
        }
    } else {
        for ((to, value), mask) in to.iter_mut().zip(values).zip(mask) {
            *to = value * mask;
        }
    }
}

/// Adds the rows of `values` to `sums`, first row first.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn add_rows(sums: &mut [f32], values: &[f32]) {
    for row in values.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// `to = -from`
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn negate(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = -from;
    }
}

/// Sums run in this many strands, which are added up last: the order is fixed, and a processor can work on them at once.
const STRANDS: usize = 8;

/// The sum over rows of sum_j w_j (a_j - b_j)^2, in double precision.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn weighted_squares(a: &[f32], b: &[f32], weights: &[f32]) -> f64 {
    let mut sums = [0.0f64; STRANDS];
    let cols = weights.len();
    for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
        for ((a, b), w) in a.chunks(STRANDS).zip(b.chunks(STRANDS)).zip(weights.chunks(STRANDS)) {
            for (((sum, a), b), w) in sums.iter_mut().zip(a).zip(b).zip(w) {
                let difference = a - b;
                *sum += f64::from(w * difference * difference);
            }
        }
    }
    sums.iter().sum()
}

/// The same, and `gradient_j = factor w_j (a_j - b_j)`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
pub(crate) fn squares_with_gradient(a: &[f32], b: &[f32], weights: &[f32], factor: f32, gradient: &mut [f32]) -> f64 {
    let cols = weights.len();
    let mut sums = [0.0f64; STRANDS];
    for ((a, b), gradient) in a.chunks_exact(cols).zip(b.chunks_exact(cols)).zip(gradient.chunks_exact_mut(cols)) {
        let pairs = a.chunks(STRANDS).zip(b.chunks(STRANDS)).zip(weights.chunks(STRANDS));
        for (((a, b), w), gradient) in pairs.zip(gradient.chunks_mut(STRANDS)) {
            for ((((sum, a), b), w), g) in sums.iter_mut().zip(a).zip(b).zip(w).zip(gradient) {
                let difference = a - b;
                *sum += f64::from(w * difference * difference);
                *g = factor * w * difference;
            }
        }
    }
    sums.iter().sum()
}

/// Asks for numbers that will be read soon.
#[inline]
pub(crate) fn prefetch(numbers: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(16) {
        // SAFETY: a prefetch reads nothing that a program could see, wherever it points; and this is the address of a number.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}
