//! Means and variances of columns over rows that come piece by piece: what `stats.json` says of a tap.
//!
//! Each piece gives its own sums in double precision, and pieces are put together by the formulas of Chan, Golub and LeVeque (1983), in order,
//! so the same pieces give the same numbers.

use serde::{Deserialize, Serialize};

/// `stats.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Stats(pub(super) Vec<Stat>);

/// What is known of a tap's numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stat {
    pub(super) tap: String,
    pub(super) width: usize,
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

impl Stats {
    pub(super) fn of(&self, tap: &str) -> Option<&Stat> {
        self.0.iter().find(|stat| stat.tap == tap)
    }
}

/// Sums over the rows so far.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    rows: f64,
    mean: Vec<f64>,
    /// Sums of squares about the mean.
    squares: Vec<f64>,
}

impl Moments {
    pub(super) fn new(width: usize) -> Self {
        Self { rows: 0.0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Adds a piece: (rows, width), row-major.
    pub(super) fn add(&mut self, values: &[f32]) {
        let width = self.mean.len();
        let rows = (values.len() / width) as f64;
        if rows == 0.0 {
            return;
        }
        let mut mean = vec![0.0; width];
        for row in values.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        mean.iter_mut().for_each(|mean| *mean /= rows);
        let mut squares = vec![0.0; width];
        for row in values.chunks_exact(width) {
            for ((square, mean), &value) in squares.iter_mut().zip(&mean).zip(row) {
                *square += (f64::from(value) - mean).powi(2);
            }
        }
        let all = self.rows + rows;
        for (((mean, square), new), more) in self.mean.iter_mut().zip(&mut self.squares).zip(&mean).zip(&squares) {
            let apart = new - *mean;
            *mean += apart * (rows / all);
            *square += more + apart * apart * (self.rows * rows / all);
        }
        self.rows = all;
    }

    pub(super) fn stat(self, tap: &str) -> Stat {
        let rows = self.rows.max(1.0);
        Stat {
            tap: tap.to_owned(),
            width: self.mean.len(),
            mean: self.mean.into_iter().map(|mean| mean as f32).collect(),
            variance: self.squares.into_iter().map(|square| (square / rows) as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let values: Vec<f32> = (0..300).map(|n| ((n * 37 % 101) as f32 - 50.0) * 0.1 + 1000.0).collect();
        let whole = (talkflow_distill::means(&values, 3), talkflow_distill::variances(&values, 3));
        for cut in [0, 3, 120, 297, 300] {
            let mut moments = Moments::new(3);
            moments.add(&values[..cut]);
            moments.add(&values[cut..]);
            let Stat { mean, variance, .. } = moments.stat("low");
            let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0));
            assert!(close(&mean, &whole.0) && close(&variance, &whole.1), "{cut}: {variance:?} {:?}", whole.1);
        }
    }
}
