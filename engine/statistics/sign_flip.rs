//! The sign-flip test: if a method made no difference, each paired difference could as well have come out with the other sign.

use serde::{Deserialize, Serialize};

use crate::{
    error::Degenerate,
    paired::Differences,
    random::{Role, Stream},
    settings::SignFlips,
};

/// Up to this many differences, all signs are gone through.
const EXACT: usize = 16;

/// p-values of "the differences lie evenly about 0".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignFlip {
    /// How many differences.
    pub n: usize,
    /// Against a mean on either side of 0.
    pub p_two_sided: f64,
    /// Against a mean above 0.
    pub p_greater: f64,
    /// Against a mean below 0.
    pub p_less: f64,
    /// The smallest two-sided p that so many differences can give, however large they are: 2 / 2^n, where differences of 0 do not count.
    pub smallest: f64,
    /// All signs were gone through; otherwise they were drawn.
    pub exact: bool,
}

/// The paired sign-flip test of the mean (Fisher, *The Design of Experiments*, 1935, section 21). Assumes no distribution, but that
/// differences lie evenly about 0 if there is no effect, and that blocks are independent: it speaks of this data set's splits.
///
/// All 2^n signs are gone through up to n = 16. Above, signs are drawn, and the sample itself counts as one draw, so that p is never 0
/// and never too small (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010). A sum that equals the
/// sample's but for rounding counts as equal.
///
/// # Errors
/// [`Degenerate::TooFew`] without differences.
pub fn sign_flip(differences: &Differences, flips: SignFlips) -> Result<SignFlip, Degenerate> {
    let n = differences.n();
    if n == 0 {
        return Err(Degenerate::TooFew { n, needed: 1 });
    }
    let mut values = differences.values().to_vec();
    values.sort_by(f64::total_cmp);
    let tie = n as f64 * differences.same();
    let mut counts = Counts { observed: values.iter().sum(), tie, total: 0, greater: 0, less: 0, either: 0 };
    let exact = n <= EXACT;
    let mut finest = 2.0;
    for value in &values {
        if value.abs() > differences.same() {
            finest *= 0.5;
        }
    }
    if exact {
        let mut sums = vec![0.0];
        for value in &values {
            sums = sums.iter().flat_map(|sum| [sum + value, sum - value]).collect();
        }
        sums.into_iter().for_each(|sum| counts.add(sum));
    } else {
        counts.add(counts.observed);
        let mut stream = Stream::new(flips.seed(), Role::Signs, 0);
        for _ in 0..flips.draws() {
            let mut sum = 0.0;
            for some in values.chunks(64) {
                let mut signs = stream.bits();
                for value in some {
                    sum += if signs & 1 == 0 { *value } else { -value };
                    signs >>= 1;
                }
            }
            counts.add(sum);
        }
        finest = f64::max(finest, 1.0 / f64::from(counts.total));
    }
    let share = |count: u32| f64::from(count) / f64::from(counts.total);
    Ok(SignFlip {
        n,
        p_two_sided: share(counts.either),
        p_greater: share(counts.greater),
        p_less: share(counts.less),
        smallest: f64::min(finest, 1.0),
        exact,
    })
}

/// How many sums are at least as extreme as the sample's.
struct Counts {
    observed: f64,
    tie: f64,
    total: u32,
    greater: u32,
    less: u32,
    either: u32,
}

impl Counts {
    fn add(&mut self, sum: f64) {
        self.total += 1;
        self.greater += u32::from(sum >= self.observed - self.tie);
        self.less += u32::from(sum <= self.observed + self.tie);
        self.either += u32::from(sum.abs() >= self.observed.abs() - self.tie);
    }
}
