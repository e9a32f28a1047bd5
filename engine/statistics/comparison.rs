//! All procedures about one comparison: the evidence that a verdict and a report are made of.

use serde::{Deserialize, Serialize};

use crate::{
    bootstrap::bca,
    error::Degenerate,
    estimate::{Equivalence, Estimate, Interval, TTest, Variance},
    paired::Differences,
    power::{Resolvable, resolvable},
    settings::{Alpha, Confidence, Direction, Margin, Overlap, Power, Resampling, Sd, SignFlips},
    sign_flip::{SignFlip, sign_flip},
};

/// What is decided before a comparison is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Design {
    /// Which way the metric is good.
    pub direction: Direction,
    /// How much the blocks' splits have in common.
    pub overlap: Overlap,
    /// Differences below this do not matter.
    pub margin: Margin,
    /// How often a verdict may be wrong where it claims something.
    pub alpha: Alpha,
    /// How often an effect shall be found that is called resolvable.
    pub power: Power,
    /// Of the intervals.
    pub confidence: Confidence,
    /// Of the BCa interval.
    pub resampling: Resampling,
    /// Of the sign-flip test, where there are too many signs to go through.
    pub sign_flips: SignFlips,
}

impl Design {
    /// With the usual level, power, confidence and resamples.
    pub fn new(direction: Direction, overlap: Overlap, margin: Margin) -> Self {
        Self {
            direction,
            overlap,
            margin,
            alpha: Alpha::default(),
            power: Power::default(),
            confidence: Confidence::default(),
            resampling: Resampling::default(),
            sign_flips: SignFlips::default(),
        }
    }
}

/// One method against another over blocks. Differences are method minus reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Blocks.
    pub n: usize,
    /// Mean difference.
    pub mean: f64,
    /// Sample standard deviation of the differences.
    pub sd: f64,
    /// With the Nadeau-Bengio variance: what the verdict uses.
    pub corrected: TTest,
    /// With the plain variance: about this data set's splits alone.
    pub plain: TTest,
    /// About these splits too; null for two blocks.
    pub bca: Option<Interval>,
    /// About these splits too.
    pub sign_flip: SignFlip,
    /// With the Nadeau-Bengio variance.
    pub equivalence: Equivalence,
    /// With the plain variance.
    pub plain_equivalence: Equivalence,
    /// What so many blocks can see at all.
    pub resolvable: Resolvable,
}

impl Comparison {
    /// Of these differences.
    ///
    /// # Errors
    /// [`Degenerate`] for fewer than two, and where all are the same.
    pub fn of(differences: &Differences, design: &Design) -> Result<Self, Degenerate> {
        let variance = Variance::NadeauBengio(design.overlap);
        let (corrected, plain) = (Estimate::paired(differences, variance)?, Estimate::paired(differences, Variance::Plain)?);
        let (mean, sd) = differences.moments(2)?;
        let n = differences.n();
        let spread = Sd::new(sd).map_err(|_| Degenerate::NoSpread { n, value: mean })?;
        Ok(Self {
            n,
            mean,
            sd,
            corrected: corrected.test(design.confidence),
            plain: plain.test(design.confidence),
            bca: bca(differences, design.resampling, design.confidence).ok(),
            sign_flip: sign_flip(differences, design.sign_flips)?,
            equivalence: corrected.equivalence(design.margin, design.alpha),
            plain_equivalence: plain.equivalence(design.margin, design.alpha),
            resolvable: resolvable(spread, n, design.overlap, design.alpha, design.power)?,
        })
    }
}
