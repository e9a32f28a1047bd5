//! Tables with a row a user or an item: embeddings, and bias terms (width 1). They live on the host for every device.
//!
//! A batch touches few rows, so gradients are summed per distinct row and only touched rows move. What that means:
//! - *Decay is exact*: a row that was left out catches up when it is next read, by the product of the factors it missed
//!   (kept as a running sum of logarithms), so each row has always been decayed in every step, as a dense optimiser would.
//! - *Moments are the row's own*: they neither fade nor move the row while it is not touched, and bias correction counts the row's
//!   own updates. A dense optimiser would fade them and let old momentum move the row on.
//!
//! Where every row is touched in every step, both are the same (tested).

use crate::ops::kernels;
use crate::optim::{Group, Moments, Optimizer, Rule, squares};
use crate::random::{Rng, Role};

/// How many rows before its turn a row is asked for.
const AHEAD: usize = 4;

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
    /// The optimiser's corrections of the first, second, ... update of a row, as far as one was needed: the powers are dear.
    corrections: Vec<(f64, f64)>,
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
    /// How many numbers the rows have.
    pub(crate) fn len(&self) -> usize {
        self.sums.len()
    }

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
            corrections: Vec::new(),
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
        self.corrections.clear();
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

    /// Applies all missed decay to some rows.
    pub(crate) fn catch_up_rows(&mut self, rows: &[u32]) {
        if !self.applied.is_empty() {
            rows.iter().for_each(|&row| self.catch_up(row as usize));
        }
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
        for (at, (&row, gradient)) in gradients.rows.iter().zip(gradients.sums.chunks_exact(self.width)).enumerate() {
            // Rows lie anywhere in tables that no cache holds: those to come are asked for early.
            if let Some(&coming) = gradients.rows.get(at + AHEAD) {
                let from = coming as usize * self.width;
                for numbers in [&self.values, &self.moments.first, &self.moments.second] {
                    kernels::prefetch(numbers.get(from..from + self.width).unwrap_or_default());
                }
            }
            let row = row as usize;
            self.catch_up(row);
            self.counts[row] += 1;
            let count = self.counts[row] as usize;
            while self.corrections.len() < count {
                self.corrections.push(rule.corrections(self.corrections.len() as u64 + 1));
            }
            let range = row * self.width..(row + 1) * self.width;
            let part = |moment: &'_ Vec<f32>| if moment.is_empty() { 0..0 } else { range.clone() };
            let (first, second) = (part(&self.moments.first), part(&self.moments.second));
            rule.corrected(self.corrections[count - 1], shrink as f32).apply(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Adam, Decay, Sgd};

    const ROWS: usize = 4;
    const WIDTH: usize = 3;

    fn decay() -> Decay {
        Decay { weights: 0.0, embeddings: 0.5, bias_terms: 0.0 }
    }

    fn optimizers() -> [Optimizer; 3] {
        [
            Optimizer::Adam(Adam { rate: 0.05, decay: decay(), ..Adam::default() }),
            Optimizer::Sgd(Sgd { rate: 0.05, momentum: 0.9, decay: decay() }),
            Optimizer::Sgd(Sgd { rate: 0.05, momentum: 0.0, decay: decay() }),
        ]
    }

    fn table(optimizer: &Optimizer) -> Table {
        let mut table = Table::fresh("user.embedding", Group::Embedding, (ROWS, WIDTH), 0.5, 1);
        table.prepare(optimizer);
        table
    }

    /// A batch's gradient: rows with repetition, each entry a function of its place and the step.
    fn batch(rows: &[u32], step: usize) -> Vec<f32> {
        (0..rows.len() * WIDTH).map(|i| ((i * 7 + step * 3) % 11) as f32 / 10.0 - 0.4).collect()
    }

    /// The dense optimisers of the definitions, in double precision, on the whole table.
    struct Dense {
        values: Vec<f64>,
        first: Vec<f64>,
        second: Vec<f64>,
        count: i32,
    }

    impl Dense {
        fn new(table: &Table) -> Self {
            let len = table.values.len();
            let values = table.values.iter().map(|&v| f64::from(v)).collect();
            Dense { values, first: vec![0.0; len], second: vec![0.0; len], count: 0 }
        }

        fn step(&mut self, optimizer: &Optimizer, rate: f64, rows: &[u32], gradient: &[f32]) {
            let mut dense = vec![0.0f64; self.values.len()];
            for (&row, gradient) in rows.iter().zip(gradient.chunks_exact(WIDTH)) {
                for (j, &g) in gradient.iter().enumerate() {
                    dense[row as usize * WIDTH + j] += f64::from(g);
                }
            }
            self.count += 1;
            for (i, g) in dense.into_iter().enumerate() {
                self.values[i] *= 1.0 - rate * 0.5;
                match optimizer {
                    Optimizer::Adam(adam) => {
                        let (b1, b2) = adam.betas;
                        self.first[i] = b1 * self.first[i] + (1.0 - b1) * g;
                        self.second[i] = b2 * self.second[i] + (1.0 - b2) * g * g;
                        let m = self.first[i] / (1.0 - b1.powi(self.count));
                        let v = self.second[i] / (1.0 - b2.powi(self.count));
                        self.values[i] -= rate * m / (v.sqrt() + adam.eps);
                    }
                    Optimizer::Sgd(sgd) => {
                        self.first[i] = sgd.momentum * self.first[i] + g;
                        self.values[i] -= rate * self.first[i];
                    }
                }
            }
        }
    }

    fn difference(table: &Table, dense: &Dense) -> f64 {
        let pairs = table.values.iter().zip(&dense.values);
        pairs.map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
    }

    fn run(optimizer: &Optimizer, rows_of: impl Fn(usize) -> Vec<u32>) -> f64 {
        let mut table = table(optimizer);
        let mut dense = Dense::new(&table);
        let mut gradients = RowGradients::default();
        for step in 0..20 {
            let rows = rows_of(step);
            // The rate changes, so that decay is not one factor to a power.
            let rate = 0.05 / (1.0 + step as f64);
            let gradient = batch(&rows, step);
            table.collect(&mut gradients, &rows, &gradient, WIDTH, 0);
            table.update(&optimizer.rule(rate, 1.0), &gradients);
            dense.step(optimizer, rate, &rows, &gradient);
        }
        table.settle();
        difference(&table, &dense)
    }

    #[test]
    fn where_every_row_is_touched_it_is_the_dense_optimiser() {
        for optimizer in optimizers() {
            let worst = run(&optimizer, |step| vec![3, 0, 1, 2, step as u32 % 4, 0]);
            assert!(worst < 2e-6, "{optimizer:?}: {worst}");
        }
    }

    /// Without momentum nothing but decay happens to a row between its visits, so even left-out rows are where a dense
    /// optimiser would have them.
    #[test]
    fn decay_reaches_rows_that_were_left_out() {
        let sgd = &optimizers()[2];
        let worst = run(sgd, |step| if step % 3 == 0 { vec![1, 2, 1] } else { vec![0] });
        assert!(worst < 1e-6, "{worst}");
        // A row that is read in between is read with its decay.
        let mut table = table(sgd);
        let before = table.row(3).to_vec();
        let mut gradients = RowGradients::default();
        table.collect(&mut gradients, &[0], &[0.1; WIDTH], WIDTH, 0);
        table.update(&sgd.rule(0.1, 1.0), &gradients);
        let expected: Vec<f32> = before.iter().map(|v| v * 0.95).collect();
        for (found, expected) in table.current(3).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7);
        }
    }

    /// A row's first update is Adam's first step whenever it comes: bias correction counts the row's own updates.
    #[test]
    fn rows_count_their_own_updates() {
        let adam = Optimizer::Adam(Adam { rate: 0.1, ..Adam::default() });
        let mut table = table(&adam);
        let before = table.row(2).to_vec();
        let mut gradients = RowGradients::default();
        for rows in [[0], [0], [2]] {
            table.collect(&mut gradients, &rows, &[0.3; WIDTH], WIDTH, 0);
            table.update(&adam.rule(0.1, 1.0), &gradients);
        }
        assert_eq!(table.counts, [2, 0, 1, 0]);
        for (found, before) in table.row(2).iter().zip(before) {
            // m_hat / sqrt(v_hat) = 1 in the first step.
            assert!((found - (before - 0.1)).abs() < 1e-6);
        }
    }

    #[test]
    fn gradients_are_summed_by_row_from_their_columns() {
        let table = Table::fresh("t", Group::Embedding, (5, 2), 1.0, 1);
        let mut gradients = RowGradients::default();
        // Stale slots of an earlier batch must not leak.
        table.collect(&mut gradients, &[0, 1], &[9.0; 4], 2, 0);
        table.collect(&mut gradients, &[4, 1, 4], &[0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 5.0, 6.0], 3, 1);
        assert_eq!(gradients.rows, [4, 1]);
        assert_eq!(gradients.sums, [6.0, 8.0, 3.0, 4.0]);
        assert_eq!(gradients.squares(), 36.0 + 64.0 + 9.0 + 16.0);
    }
}
