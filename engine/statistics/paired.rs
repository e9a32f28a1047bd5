//! Two methods, block by block, and their differences.

use std::{collections::BTreeMap, fmt::Display};

use crate::error::{Degenerate, Invalid};

/// Values that differ by less than this share of their size are the same: sums in another order differ by more than the last bit.
const SAME: f64 = 1e-12;

/// By how much values of this size may differ and still be the same. Not 0: what is smaller yet has squares that vanish.
pub(crate) fn same(size: f64) -> f64 {
    (SAME * size).max(1e-160)
}

/// What is left where two methods are compared in the blocks that both have. A block is whatever both share, such as a split and the seed
/// of the initial weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired<B> {
    /// The blocks that both have, in order.
    pub blocks: Vec<B>,
    /// Method minus reference, one a block.
    pub differences: Differences,
    /// Blocks that only the method has, and so are left out.
    pub only_method: usize,
    /// Blocks that only the reference has, and so are left out.
    pub only_reference: usize,
}

impl<B: Ord + Clone + Display> Paired<B> {
    /// Pairs two methods' values by block. Blocks that one of them lacks are left out and counted; none in common is no error here, but
    /// [`Degenerate::TooFew`] for everything that is asked of the differences.
    ///
    /// # Errors
    /// [`Invalid::Value`] where a value, even one that is left out, is not a finite number.
    pub fn of(method: &BTreeMap<B, f64>, reference: &BTreeMap<B, f64>) -> Result<Self, Invalid> {
        let mut size = 0.0_f64;
        for (block, &value) in method.iter().chain(reference) {
            size = size.max(checked(value, || format!("block {block}"))?.abs());
        }
        let (blocks, values): (Vec<B>, Vec<f64>) =
            (method.iter()).filter_map(|(block, value)| Some((block.clone(), value - reference.get(block)?))).unzip();
        Ok(Self {
            only_method: method.len() - blocks.len(),
            only_reference: reference.len() - blocks.len(),
            differences: Differences { values, same: same(size) },
            blocks,
        })
    }
}

/// A value that can be squared.
pub(crate) fn checked(value: f64, of: impl Fn() -> String) -> Result<f64, Invalid> {
    if value.abs() < 1e150 { Ok(value) } else { Err(Invalid::Value { of: of(), value }) }
}

/// Paired differences, one a block: finite numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Differences {
    values: Vec<f64>,
    /// Differences that are no further apart are the same but for rounding.
    same: f64,
}

impl Differences {
    /// These numbers.
    ///
    /// # Errors
    /// [`Invalid::Value`] where one is not a finite number of a size below 1e150.
    pub fn new(values: Vec<f64>) -> Result<Self, Invalid> {
        let mut size = 0.0_f64;
        for (place, &value) in values.iter().enumerate() {
            size = size.max(checked(value, || format!("difference {place}"))?.abs());
        }
        Ok(Self { values, same: same(size) })
    }

    /// The numbers, in the order of their blocks.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many.
    pub fn n(&self) -> usize {
        self.values.len()
    }

    /// Their mean; none of none.
    pub fn mean(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| mean(&self.values))
    }

    /// Their sample standard deviation, with n - 1; none of fewer than two.
    pub fn sd(&self) -> Option<f64> {
        (self.n() >= 2).then(|| if self.spread() <= self.same { 0.0 } else { sd(&self.values) })
    }

    /// Mean and standard deviation of at least `needed`, and at least two, that are not all the same.
    pub(crate) fn moments(&self, needed: usize) -> Result<(f64, f64), Degenerate> {
        let (n, needed) = (self.n(), needed.max(2));
        match (self.mean(), self.sd()) {
            (Some(mean), Some(sd)) if n >= needed => {
                if sd > 0.0 {
                    Ok((mean, sd))
                } else {
                    Err(Degenerate::NoSpread { n, value: self.without_rounding(mean) })
                }
            }
            _ => Err(Degenerate::TooFew { n, needed }),
        }
    }

    /// What differences that differ by no more than this differ by is rounding.
    pub(crate) fn same(&self) -> f64 {
        self.same
    }

    /// A difference, 0 where it is rounding.
    fn without_rounding(&self, value: f64) -> f64 {
        if value.abs() <= self.same { 0.0 } else { value }
    }

    fn spread(&self) -> f64 {
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        high - low
    }
}

/// The mean of at least one number.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation of at least two numbers; scaled, so that the squares of small deviations do not vanish.
pub(crate) fn sd(values: &[f64]) -> f64 {
    let mean = mean(values);
    let scale = values.iter().fold(0.0_f64, |scale, value| scale.max((value - mean).abs()));
    if scale == 0.0 {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|value| ((value - mean) / scale).powi(2)).sum();
    scale * (squares / (values.len() - 1) as f64).sqrt()
}
