//! The bootstrap: what an estimate would be on samples like this one, and the intervals that follow.

use rayon::prelude::*;

use crate::{
    distributions::{normal_cdf, normal_quantile},
    error::Degenerate,
    estimate::Interval,
    paired::{Differences, mean, sd},
    random::{Role, Stream},
    settings::{Confidence, Resampling},
};

/// The bias-corrected and accelerated bootstrap interval of a mean difference (Efron, "Better Bootstrap Confidence Intervals", JASA 82,
/// 1987; formulas 14.9 to 14.15 of Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993). It assumes no distribution but takes the
/// differences for independent, and with ten of them it is too short (`docs/statistics.md` has its coverage). The order of the
/// differences does not matter.
///
/// # Errors
/// [`Degenerate`] for fewer than three differences, and where all are the same.
pub fn bca(differences: &Differences, resampling: Resampling, confidence: Confidence) -> Result<Interval, Degenerate> {
    let (estimate, _) = differences.moments(3)?;
    let n = differences.n();
    let mut values = differences.values().to_vec();
    values.sort_by(f64::total_cmp);
    let replicates =
        replicates(resampling, Role::Differences, |stream| (0..n).map(|_| values[stream.below(n)]).sum::<f64>() / n as f64);
    let left_out: Vec<f64> = values.iter().map(|value| estimate + (estimate - value) / (n - 1) as f64).collect();
    Ok(Bootstrap { estimate, replicates, left_out: &left_out, same: differences.same() }.intervals(confidence)?.bca)
}

/// The statistic on each resample. Every resample has a stream of its own, so the numbers are the same for any number of threads.
pub(crate) fn replicates(resampling: Resampling, role: Role, statistic: impl Fn(&mut Stream) -> f64 + Sync) -> Vec<f64> {
    let one = |index: u32| statistic(&mut Stream::new(resampling.seed(), role, index.into()));
    (0..resampling.resamples()).into_par_iter().with_min_len(64).map(one).collect()
}

/// All that intervals are made of.
pub(crate) struct Bootstrap<'a> {
    /// The statistic on the sample itself.
    pub(crate) estimate: f64,
    /// On each resample.
    pub(crate) replicates: Vec<f64>,
    /// On the sample without one unit, for each unit.
    pub(crate) left_out: &'a [f64],
    /// Values that are no further apart are the same.
    pub(crate) same: f64,
}

/// Both intervals.
pub(crate) struct Intervals {
    pub(crate) standard_error: f64,
    pub(crate) percentile: Interval,
    pub(crate) bca: Interval,
}

impl Bootstrap<'_> {
    pub(crate) fn intervals(mut self, confidence: Confidence) -> Result<Intervals, Degenerate> {
        // A resample that equals the sample counts half on each side: with few units there are many.
        let side = |replicate: &f64| match replicate - self.estimate {
            above if above > self.same => 0.0,
            below if below < -self.same => 1.0,
            _ => 0.5,
        };
        let below = self.replicates.iter().map(side).sum::<f64>() / self.replicates.len() as f64;
        let (bias, acceleration) = (normal_quantile(below), self.acceleration());
        let standard_error = sd(&self.replicates);
        self.replicates.sort_by(f64::total_cmp);
        let confidence = confidence.get();
        let tails = [0.5 * (1.0 - confidence), 0.5 * (1.0 + confidence)];
        let [low, high] = tails.map(|tail| {
            let shifted = bias + normal_quantile(tail);
            normal_cdf(bias + shifted / (1.0 - acceleration * shifted))
        });
        // Where the denominator changes its sign, the ends come out crossed or not at all.
        let ordered = low < high;
        if !(bias.is_finite() && ordered) {
            return Err(Degenerate::OneSided);
        }
        let [from, to] = tails.map(|tail| quantile(&self.replicates, tail));
        Ok(Intervals {
            standard_error,
            percentile: Interval { low: from, high: to, confidence },
            bca: Interval { low: quantile(&self.replicates, low), high: quantile(&self.replicates, high), confidence },
        })
    }

    /// A sixth of the skewness of the jackknife's influence values: how fast the standard error changes with the estimate. At most 1/6.
    fn acceleration(&self) -> f64 {
        let centre = mean(self.left_out);
        let influence = || self.left_out.iter().map(|value| centre - value);
        let scale = influence().fold(0.0_f64, |scale, value| scale.max(value.abs()));
        if scale == 0.0 {
            return 0.0;
        }
        let sum = |power: i32| influence().map(|value| (value / scale).powi(power)).sum::<f64>();
        sum(3) / (6.0 * sum(2).powf(1.5))
    }
}

/// The value below which a share of `sorted` lies, between neighbours on a straight line (definition 7 of Hyndman and Fan, American
/// Statistician 50, 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len() - 1;
    let place = share * last as f64;
    let (low, between) = ((place as usize).min(last), place.fract());
    sorted[low] + between * (sorted[(low + 1).min(last)] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share)), [1.0, 3.0, 5.0, 8.0]);
    }

    #[test]
    fn an_estimate_outside_of_its_resamples_is_refused() {
        let bootstrap = Bootstrap {
            estimate: 9.0,
            replicates: (0..1000).map(f64::from).map(|x| x / 1e3).collect(),
            left_out: &[1.0, 2.0, 3.0],
            same: 0.0,
        };
        assert_eq!(bootstrap.intervals(Confidence::default()).err(), Some(Degenerate::OneSided));
    }
}
