//! Tables with a row a user or an item: embeddings, and bias terms (width 1). They live on the host for every device.
//!
//! A batch touches few rows, so gradients are summed per distinct row and only touched rows move. What that means:
//! - *Decay is exact*: a row that was left out catches up when it is next read, by the product of the factors it missed
//!   (kept as a running sum of logarithms), so each row has always been decayed in every step, as a dense optimiser would.
//! - *Moments are the row's own*: they neither fade nor move the row while it is not touched, and bias correction counts the row's
//!   own updates. A dense optimiser would fade them and let old momentum move the row on.
//!
//! Where every row is touched in every step, both are the same (tested).

use crate::optim::{Group, Moments, Optimizer, Rule, squares};
use crate::random::{Rng, Role};

/// A table of `rows` x `width` numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
    pub(crate) moments: Moments,
    /// Updates of each row.
    pub(crate) counts: Vec<u32>,
    /// Sum of the logarithms of all decay factors so far.
    pub(crate) log_decay: f64,
    /// The same sum, as far as it has been applied to each row; empty without decay.
    pub(crate) applied: Vec<f64>,
    group: Group,
}

/// A batch's gradient with regard to the distinct rows it touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowGradients {
    /// The rows, in the order they were first met.
    rows: Vec<u32>,
    /// rows x width
    sums: Vec<f32>,
    /// Where in `rows` each row of the table stands; `u32::MAX` where it does not.
    slots: Vec<u32>,
}

impl RowGradients {
    /// The sum of squares over all touched rows.
    pub(crate) fn squares(&self) -> f64 {
        squares(&self.sums)
    }
}

impl Table {
    /// A table of given numbers, row-major.
    pub(crate) fn new(name: &str, group: Group, width: usize, values: Vec<f32>) -> Self {
        Table {
            name: name.to_owned(),
            width,
            values,
            moments: Moments::default(),
            counts: Vec::new(),
            log_decay: 0.0,
            applied: Vec::new(),
            group,
        }
    }

    /// A table of random numbers, uniform, of standard deviation `sd`.
    pub(crate) fn fresh(name: &str, group: Group, (rows, width): (usize, usize), sd: f32, seed: u64) -> Self {
        let mut rng = Rng::stream(seed, Role::Init, name, 0);
        let bound = sd * 3f32.sqrt();
        let values = (0..rows * width).map(|_| rng.symmetric(bound)).collect();
        Table::new(name, group, width, values)
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Gives the table the memory its optimiser needs.
    pub(crate) fn prepare(&mut self, optimizer: &Optimizer) {
        self.moments = optimizer.moments(self.values.len());
        self.counts = vec![0; self.rows()];
        let decays = optimizer.rule(1.0, 1.0).shrink(self.group) < 1.0;
        self.applied = vec![0.0; if decays { self.rows() } else { 0 }];
    }

    /// One row as last read or updated.
    pub(crate) fn row(&self, row: u32) -> &[f32] {
        let from = row as usize * self.width;
        &self.values[from..from + self.width]
    }

    /// One row, all decay applied.
    pub(crate) fn current(&mut self, row: u32) -> &[f32] {
        self.catch_up(row as usize);
        self.row(row)
    }

    fn catch_up(&mut self, row: usize) {
        if let Some(applied) = self.applied.get_mut(row)
            && *applied != self.log_decay
        {
            let factor = (self.log_decay - *applied).exp() as f32;
            *applied = self.log_decay;
            for value in &mut self.values[row * self.width..(row + 1) * self.width] {
                *value *= factor;
            }
        }
    }

    /// Applies all missed decay, so that `values` is what a dense optimiser would hold.
    pub(crate) fn settle(&mut self) {
        for row in 0..self.rows() {
            self.catch_up(row);
        }
    }

    /// Sums a batch's gradients by row: `gradient` has a row of `stride` numbers for each of `rows`, of which this table's
    /// begin at `offset`.
    pub(crate) fn collect(&self, into: &mut RowGradients, rows: &[u32], gradient: &[f32], stride: usize, offset: usize) {
        into.slots.resize(self.rows(), u32::MAX);
        for &row in &into.rows {
            into.slots[row as usize] = u32::MAX;
        }
        into.rows.clear();
        into.sums.clear();
        for (&row, gradient) in rows.iter().zip(gradient.chunks_exact(stride)) {
            let gradient = &gradient[offset..offset + self.width];
            let slot = &mut into.slots[row as usize];
            if *slot == u32::MAX {
                *slot = into.rows.len() as u32;
                into.rows.push(row);
                into.sums.extend_from_slice(gradient);
            } else {
                let from = *slot as usize * self.width;
                for (sum, g) in into.sums[from..from + self.width].iter_mut().zip(gradient) {
                    *sum += g;
                }
            }
        }
    }

    /// Moves the touched rows, and notes the decay of all others.
    pub(crate) fn update(&mut self, rule: &Rule<'_>, gradients: &RowGradients) {
        let shrink = rule.shrink(self.group);
        for (&row, gradient) in gradients.rows.iter().zip(gradients.sums.chunks_exact(self.width)) {
            let row = row as usize;
            self.catch_up(row);
            self.counts[row] += 1;
            let range = row * self.width..(row + 1) * self.width;
            let part = |moment: &'_ Vec<f32>| if moment.is_empty() { 0..0 } else { range.clone() };
            let (first, second) = (part(&self.moments.first), part(&self.moments.second));
            rule.at(u64::from(self.counts[row]), shrink as f32).apply(
                &mut self.values[range.clone()],
                gradient,
                &mut self.moments.first[first],
                &mut self.moments.second[second],
            );
        }
        if !self.applied.is_empty() {
            self.log_decay += shrink.ln();
            for &row in &gradients.rows {
                self.applied[row as usize] = self.log_decay;
            }
        }
    }
}
