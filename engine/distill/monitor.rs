//! What is watched besides the loss: whether the deep path has collapsed, and whether the teacher understands the student.
//!
//! A distance between two learned states is least where both are constant. A student that went there predicts like its bias terms alone, and on
//! small data that can look like success; so the deep path's spread is reported with every training. The room knows no methods.

use serde::Serialize;

use crate::data::Scale;
use crate::model::Predictions;

/// The deep path counts as collapsed where its standard deviation is at most this part of the rating scale's width.
pub const COLLAPSED: f64 = 0.01;

/// What was seen at the best epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Monitor {
    /// Standard deviation of the deep path's part over the validation rows that did not fall back; none without a deep path or such rows.
    pub deep_sd: Option<f64>,
    /// The deep path's share of the variance of predictions (before clipping), covariance(deep, prediction) / variance(prediction), over
    /// the same rows. Shares of the deep and the wide part sum to 1; one may be negative.
    pub deep_share: Option<f64>,
    /// Whether `deep_sd` is at most 1 % of the rating scale's width.
    pub collapsed: Option<bool>,
    /// Mean of (a_1 - t_l)^2 over rows and dimensions of that epoch's training batches, divided by the mean variance of t_l: 1 or more means that
    /// what the teacher hears tells it no more than its average state would. None without a conversation.
    pub decoded_state_ratio: Option<f64>,
    /// Validation rows.
    pub validation_rows: usize,
    /// Validation rows with a user or an item unseen in training.
    pub validation_fallbacks: usize,
    /// Validation rows whose prediction was clipped.
    pub validation_clipped: usize,
}

impl Monitor {
    /// Looks at the validation rows' predictions, given before clipping in `unclipped`.
    pub(crate) fn of(predictions: &Predictions, unclipped: &[f32], scale: Scale, deep: bool) -> Self {
        let mut monitor = Monitor {
            validation_rows: predictions.ratings.len(),
            validation_fallbacks: predictions.fallbacks(),
            validation_clipped: predictions.clipped,
            ..Monitor::default()
        };
        // Where every row fell back nothing was seen of the deep path, which is not the same as seeing it collapsed.
        if deep && predictions.fallback.iter().any(|fallback| !fallback) {
            let covered = || {
                let rows = predictions.deep.iter().zip(unclipped).zip(&predictions.fallback);
                rows.filter(|(_, fallback)| !**fallback).map(|((&deep, &whole), _)| (f64::from(deep), f64::from(whole)))
            };
            let mean = |values: &mut dyn Iterator<Item = f64>| crate::metrics::mean(values).unwrap_or(0.0);
            let mean_deep = mean(&mut covered().map(|(deep, _)| deep));
            let mean_whole = mean(&mut covered().map(|(_, whole)| whole));
            let variance = mean(&mut covered().map(|(deep, _)| (deep - mean_deep).powi(2)));
            let whole = mean(&mut covered().map(|(_, whole)| (whole - mean_whole).powi(2)));
            let both = mean(&mut covered().map(|(deep, whole)| (deep - mean_deep) * (whole - mean_whole)));
            let sd = variance.sqrt();
            monitor.deep_sd = Some(sd);
            monitor.deep_share = Some(if whole > 0.0 { both / whole } else { 0.0 });
            monitor.collapsed = Some(sd <= COLLAPSED * f64::from(scale.max - scale.min));
        }
        monitor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { min: 1.0, max: 5.0 };

    fn predictions(deep: &[f32], fallback: &[bool]) -> Predictions {
        Predictions { ratings: vec![3.0; deep.len()], deep: deep.to_vec(), fallback: fallback.to_vec(), clipped: 2 }
    }

    /// Deep parts 1, -1 on wide parts 2, 3: predictions 3, 2. Their deviations are 1, -1 and 1/2, -1/2: sd 1, covariance 1/2, variance 1/4, and so a
    /// share of 2 for the deep part and -1 for the wide. The third row fell back and counts nowhere.
    #[test]
    fn spread_and_share_by_hand() {
        let monitor = Monitor::of(&predictions(&[1.0, -1.0, 0.0], &[false, false, true]), &[3.0, 2.0, 9.0], SCALE, true);
        assert_eq!(monitor.deep_sd, Some(1.0));
        assert_eq!(monitor.deep_share, Some(2.0));
        assert_eq!(monitor.collapsed, Some(false));
        assert_eq!((monitor.validation_rows, monitor.validation_fallbacks, monitor.validation_clipped), (3, 1, 2));
    }

    #[test]
    fn a_deep_path_that_says_nothing_has_collapsed() {
        let flat = predictions(&[0.5, 0.52, 0.48, 0.5], &[false; 4]);
        let monitor = Monitor::of(&flat, &[3.0, 4.0, 2.0, 3.5], SCALE, true);
        assert_eq!(monitor.collapsed, Some(true));
        assert_eq!(Monitor::of(&flat, &[3.0; 4], SCALE, false).collapsed, None);
        assert_eq!(Monitor::of(&flat, &[3.0; 4], SCALE, true).deep_share, Some(0.0), "no variance has no shares");
    }
}
