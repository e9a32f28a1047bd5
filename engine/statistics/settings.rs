//! Settings that cannot be out of range: what takes one of these types cannot fail for it.

use serde::Serialize;

use crate::error::Invalid;

/// Declares one setting: its range in Rust and in words.
macro_rules! setting {
    ($(#[$doc:meta])* $name:ident, $words:literal, $range:literal, $value:ident => $holds:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("The ", $words, ", ", $range, "; anything else is refused.")]
            pub fn new($value: f64) -> Result<Self, Invalid> {
                if $holds { Ok(Self($value)) } else { Err(Invalid::Range { setting: $words, value: $value, range: $range }) }
            }

            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }
    };
}

setting! {
    /// How often a test may find a difference where there is none. 0.05 unless said otherwise.
    Alpha, "significance level alpha", "above 0 and at most 0.5", value => value > 0.0 && value <= 0.5
}
setting! {
    /// How often an interval shall cover the truth. 0.95 unless said otherwise.
    Confidence, "confidence", "in 0.5..0.999", value => (0.5..=0.999).contains(&value)
}
setting! {
    /// How often a test shall find a difference that is there. 0.8 unless said otherwise.
    Power, "power", "in 0.5..0.999", value => (0.5..=0.999).contains(&value)
}
setting! {
    /// n_test / n_train of the resamplings: how much the splits of one data set have in common. 0 for data that are drawn anew.
    Overlap, "ratio of test to training rows", "a number from 0 to 1000", value => (0.0..=1000.0).contains(&value)
}
setting! {
    /// How much differences between methods vary from block to block: their sample standard deviation. In the metric's unit.
    Sd, "standard deviation", "above 0 and below 1e150", value => value > 0.0 && value < 1e150
}
setting! {
    /// Differences below this do not matter to anybody. In the metric's unit.
    Margin, "margin of equivalence", "above 0 and below 1e150", value => value > 0.0 && value < 1e150
}
setting! {
    /// A metric may get worse by this much. In the metric's unit.
    Tolerance, "tolerance", "from 0 to 1e150", value => (0.0..1e150).contains(&value)
}

impl Default for Alpha {
    fn default() -> Self {
        Self(0.05)
    }
}

impl Default for Confidence {
    fn default() -> Self {
        Self(0.95)
    }
}

impl Default for Power {
    fn default() -> Self {
        Self(0.8)
    }
}

impl Overlap {
    /// Of a split with this many rows in each part. An 80/10/10 split has 1/8: validation rows are in neither.
    pub fn of_rows(test: u64, train: u64) -> Result<Self, Invalid> {
        Self::new(test as f64 / train as f64)
    }
}

/// Which way a metric is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Such as RMSE.
    LowerIsBetter,
    /// Such as accuracy.
    HigherIsBetter,
}

impl Direction {
    /// How much worse a difference is: its size, negative where it is better.
    pub(crate) fn worse_by(self, difference: f64) -> f64 {
        match self {
            Self::LowerIsBetter => difference,
            Self::HigherIsBetter => -difference,
        }
    }
}

/// More draws than this show nothing that fewer do not.
const MOST: u32 = 10_000_000;

/// How often a bootstrap draws, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resampling {
    resamples: u32,
    seed: u64,
}

impl Resampling {
    /// 1000 resamples to 10 million: fewer leave the ends of a 95 % interval to chance, and each needs 8 bytes.
    pub fn new(resamples: u32, seed: u64) -> Result<Self, Invalid> {
        if !(1000..=MOST).contains(&resamples) {
            return Err(Invalid::Range { setting: "number of resamples", value: resamples.into(), range: "in 1000..10 million" });
        }
        Ok(Self { resamples, seed })
    }

    /// How many resamples are drawn.
    pub fn resamples(self) -> u32 {
        self.resamples
    }

    /// What they are drawn from.
    pub fn seed(self) -> u64 {
        self.seed
    }
}

impl Default for Resampling {
    /// 10 000 resamples, from seed 0.
    fn default() -> Self {
        Self { resamples: 10_000, seed: 0 }
    }
}

/// How often signs are drawn where there are too many to go through, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SignFlips {
    draws: u32,
    seed: u64,
}

impl SignFlips {
    /// 999 draws to 10 million: a p-value from fewer cannot go below 0.001.
    pub fn new(draws: u32, seed: u64) -> Result<Self, Invalid> {
        if !(999..=MOST).contains(&draws) {
            return Err(Invalid::Range { setting: "number of draws of signs", value: draws.into(), range: "in 999..10 million" });
        }
        Ok(Self { draws, seed })
    }

    /// How often signs are drawn.
    pub fn draws(self) -> u32 {
        self.draws
    }

    /// What they are drawn from.
    pub fn seed(self) -> u64 {
        self.seed
    }
}

impl Default for SignFlips {
    /// 99 999 draws, from seed 0.
    fn default() -> Self {
        Self { draws: 99_999, seed: 0 }
    }
}
