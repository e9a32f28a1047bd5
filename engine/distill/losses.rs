//! Losses of classes: what logits are worth, and their slopes, in double precision. Logits are (rows, classes), row-major.
//!
//! Each function gives its value, and writes its gradient with regard to the logits it is about, times `scale`. The room knows no methods.

/// log softmax(row / temperature).
pub(crate) fn log_softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let logits = row.iter().map(|&logit| f64::from(logit) / temperature);
    let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.clone().map(|logit| (logit - most).exp()).sum::<f64>().ln() + most;
    logits.map(|logit| logit - log_sum).collect()
}

/// softmax(row / temperature).
pub(crate) fn softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    log_softmax(row, temperature).into_iter().map(f64::exp).collect()
}

/// mean over rows of -log p_y, whose gradient is (p - 1_y) / rows.
pub(crate) fn cross_entropy(logits: &[f32], labels: &[u32], classes: usize, scale: f64, gradient: &mut [f32]) -> f64 {
    let rows = labels.len() as f64;
    let mut sum = 0.0;
    for ((row, &label), gradient) in logits.chunks_exact(classes).zip(labels).zip(gradient.chunks_exact_mut(classes)) {
        let logs = log_softmax(row, 1.0);
        sum -= logs[label as usize];
        for (class, (gradient, log)) in gradient.iter_mut().zip(&logs).enumerate() {
            let hit = f64::from(u8::from(class == label as usize));
            *gradient = (scale * (log.exp() - hit) / rows) as f32;
        }
    }
    sum / rows
}

/// T^2 times the mean over rows of KL(softmax(target / T) || softmax(logits / T)), whose gradient is T (q - p) / rows, q being the student's
/// probabilities and p the target's (Hinton, Vinyals and Dean 2015, section 2.1).
pub(crate) fn divergence(
    (logits, target): (&[f32], &[f32]),
    classes: usize,
    temperature: f64,
    scale: f64,
    gradient: &mut [f32],
) -> f64 {
    let rows = (logits.len() / classes) as f64;
    let mut sum = 0.0;
    let batch = logits.chunks_exact(classes).zip(target.chunks_exact(classes));
    for ((own, other), gradient) in batch.zip(gradient.chunks_exact_mut(classes)) {
        let (q, p) = (log_softmax(own, temperature), log_softmax(other, temperature));
        for ((gradient, q), p) in gradient.iter_mut().zip(&q).zip(&p) {
            sum += p.exp() * (p - q);
            *gradient = (scale * temperature * (q.exp() - p.exp()) / rows) as f32;
        }
    }
    temperature.powi(2) * sum / rows
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LOGITS: [f32; 12] = [0.5, -1.0, 2.0, 0.0, 1.5, 1.0, -0.5, 0.25, 3.0, 0.0, 0.0, -2.0];
    pub(crate) const TARGET: [f32; 12] = [1.5, 0.0, 1.0, -1.0, 0.5, 2.0, 0.5, -0.25, 1.0, 1.0, -1.0, 0.0];

    /// Whether `loss` gives the gradient of its own value, by central differences.
    pub(crate) fn assert_slopes(logits: &[f32], loss: impl Fn(&[f32], &mut [f32]) -> f64) {
        let mut gradient = vec![f32::NAN; logits.len()];
        loss(logits, &mut gradient);
        let h = 1.0 / 256.0;
        for at in 0..logits.len() {
            let value = |step: f32| {
                let mut moved = logits.to_vec();
                moved[at] += step;
                loss(&moved, &mut vec![0.0; logits.len()])
            };
            let expected = (value(h) - value(-h)) / f64::from(2.0 * h);
            let found = f64::from(gradient[at]);
            assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "[{at}]: {found} instead of {expected}");
        }
    }

    /// By hand, of two classes: logits 0 and ln 3 are probabilities 1/4 and 3/4.
    #[test]
    fn values_by_hand() {
        let (logits, three) = ([0.0, 3f32.ln()], 3f64.ln());
        let mut gradient = [0.0; 2];
        assert!((cross_entropy(&logits, &[0], 2, 2.0, &mut gradient) - 4f64.ln()).abs() < 1e-7);
        assert!((gradient[0] + 1.5).abs() < 1e-6 && (gradient[1] - 1.5).abs() < 1e-6);
        // KL((1/2, 1/2) || (1/4, 3/4)) = ln 2 - (ln 3) / 2.
        let value = divergence((&logits, &[7.0, 7.0]), 2, 1.0, 1.0, &mut gradient);
        assert!((value - (2f64.ln() - three / 2.0)).abs() < 1e-7);
        assert!((gradient[0] + 0.25).abs() < 1e-6 && (gradient[1] - 0.25).abs() < 1e-6);
        // Twice the logits at twice the temperature are the same probabilities, and count four times.
        let doubled = divergence((&[0.0, 2.0 * logits[1]], &[7.0, 7.0]), 2, 2.0, 1.0, &mut gradient);
        assert!((doubled - 4.0 * value).abs() < 1e-6);
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        assert_slopes(&LOGITS, |x, gradient| cross_entropy(x, &[2, 0, 3], 4, 1.0, gradient));
        for temperature in [1.0, 4.0] {
            assert_slopes(&LOGITS, |x, gradient| divergence((x, &TARGET), 4, temperature, 1.0, gradient));
        }
    }

    /// A probability that is as good as 0, on either side, is no NaN.
    #[test]
    fn extremes_stay_finite() {
        let (far, near) = ([1e4f32, 0.0], [0.0, 1e4]);
        let mut gradient = [0.0; 2];
        assert!(cross_entropy(&far, &[1], 2, 1.0, &mut gradient).is_finite());
        for (own, other) in [(&far, &near), (&near, &far), (&far, &far)] {
            assert!(divergence((own, other), 2, 1.0, 1.0, &mut gradient).is_finite());
            assert!(gradient.iter().all(|g| g.is_finite()));
        }
    }
}
