//! One forward and backward pass over a batch: operations in the order they are called, and dfdx's tape behind them.
//!
//! A [`Graph`] is made for a batch and used up by [`Graph::backward`]. Only dense layers differ between devices; what is small beside
//! them (adding the bias terms, joining states, products of embeddings, losses) is computed on the host and its gradient put
//! into the tape, the same way for each device. The room knows no models.

use dfdx::tensor::{OwnedTape, PutTape, Tape};
use dfdx::tensor_ops::Backward;

use crate::ops::{Buffer, Link, Ops, Pool, Var, kernels};
use crate::trace::{Trace, Work};

/// Operations on matrices of one device, recorded where gradients are wanted.
pub(crate) struct Graph<D: Ops> {
    device: D,
    pool: Pool,
    tape: Option<OwnedTape<f32, D>>,
    trace: Option<Trace<D>>,
}

impl<D: Ops> Graph<D> {
    /// A graph that records the way back.
    pub(crate) fn training(device: &D, pool: &Pool) -> Self {
        Graph { device: device.clone(), pool: pool.clone(), tape: Some(OwnedTape::default()), trace: None }
    }

    /// A graph that records the way back, and what it was asked to do, as a row of a batch of `rows`.
    pub(crate) fn tracing(device: &D, pool: &Pool, rows: u64) -> Self {
        Graph { trace: Some(Trace::new(rows)), ..Graph::training(device, pool) }
    }

    /// A graph that only computes.
    pub(crate) fn inference(device: &D, pool: &Pool) -> Self {
        Graph { device: device.clone(), pool: pool.clone(), tape: None, trace: None }
    }

    /// Where the batch's memory comes from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A matrix from the host, row-major, without gradient.
    pub(crate) fn constant(&self, values: Buffer, rows: usize, cols: usize) -> Result<Var<D>, D::Err> {
        Ok(Var { value: self.device.matrix(values, rows, cols)?, wanted: false })
    }

    /// A matrix from the host, row-major, whose gradient is wanted.
    pub(crate) fn leaf(&self, values: Buffer, rows: usize, cols: usize) -> Result<Var<D>, D::Err> {
        let mut leaf = self.constant(values, rows, cols)?;
        leaf.wanted = true;
        Ok(leaf)
    }

    /// A batch through dense layers, one after the other: what each of them made, first to last.
    pub(crate) fn run(&mut self, x: &Var<D>, links: Vec<Link<D>>) -> Result<Vec<Var<D>>, D::Err> {
        let Some(trace) = &mut self.trace else {
            return self.device.run(&self.pool, self.tape.as_mut(), x, links);
        };
        let made = self.device.run(&self.pool, self.tape.as_mut(), x, links.clone())?;
        trace.run(x, &links, &made);
        Ok(made)
    }

    /// Columns of `a` followed by those of `b`.
    pub(crate) fn join(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>, D::Err> {
        let (rows, wide_a, wide_b) = (a.rows(), a.cols(), b.cols());
        let mut joined = self.pool.take(rows * (wide_a + wide_b));
        let sources = a.host();
        let others = b.host();
        let parts = sources.chunks_exact(wide_a).zip(others.chunks_exact(wide_b));
        for (row, (a, b)) in joined.chunks_exact_mut(wide_a + wide_b).zip(parts) {
            row[..wide_a].copy_from_slice(a);
            row[wide_a..].copy_from_slice(b);
        }
        let work = Work::small(0, 0);
        self.host_op([a, b], joined, wide_a + wide_b, work, move |pool, g, wanted| {
            let columns = |from: usize, to: usize| {
                let rows = g.chunks_exact(wide_a + wide_b);
                pool.collect(rows.len() * (to - from), rows.flat_map(|row| row[from..to].iter().copied()))
            };
            [wanted[0].then(|| columns(0, wide_a)), wanted[1].then(|| columns(wide_a, wide_a + wide_b))]
        })
    }

    /// Columns `from` to `to` of `x`, without the last.
    pub(crate) fn columns(&mut self, x: &Var<D>, from: usize, to: usize) -> Result<Var<D>, D::Err> {
        let cols = x.cols();
        let part = {
            let x = x.host();
            let rows = x.chunks_exact(cols);
            self.pool.collect(rows.len() * (to - from), rows.flat_map(|row| row[from..to].iter().copied()))
        };
        let work = Work::small(0, 0);
        self.host_op([x], part, to - from, work, move |pool, g, _| {
            let mut gradient = pool.zeros(g.len() / (to - from) * cols);
            for (row, g) in gradient.chunks_exact_mut(cols).zip(g.chunks_exact(to - from)) {
                row[from..to].copy_from_slice(g);
            }
            [Some(gradient)]
        })
    }

    /// Of each row the softmax of `(x + added) / temperature`, in double precision: sums to 1, and picks the largest as `temperature` goes to 0.
    pub(crate) fn softmax(&mut self, x: &Var<D>, added: &[f32], temperature: f64) -> Result<Var<D>, D::Err> {
        let cols = x.cols();
        let shares = {
            let x = x.host();
            let rows = x.chunks_exact(cols).zip(added.chunks_exact(cols));
            let shares = rows.flat_map(|(x, added)| {
                let logits: Vec<f64> = x.iter().zip(added).map(|(x, a)| (f64::from(*x) + f64::from(*a)) / temperature).collect();
                let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let parts: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
                let sum: f64 = parts.iter().sum();
                parts.into_iter().map(move |part| (part / sum) as f32)
            });
            self.pool.collect(x.len(), shares)
        };
        let made = self.pool.copy(&shares);
        // Added, divided, taken off the most, raised to a power, summed, divided; back, the mean slope and what differs from it.
        let work = Work::small(6 * cols as u64, 4 * cols as u64);
        self.host_op([x], shares, cols, work, move |pool, g, _| {
            let rows = made.chunks_exact(cols).zip(g.chunks_exact(cols));
            let slopes = rows.flat_map(|(shares, g)| {
                let mean: f64 = shares.iter().zip(g).map(|(s, g)| f64::from(*s) * f64::from(*g)).sum();
                shares.iter().zip(g).map(move |(s, g)| (f64::from(*s) * (f64::from(*g) - mean) / temperature) as f32)
            });
            [Some(pool.collect(made.len(), slopes))]
        })
    }

    /// Each row of `x` times its number in column `column` of `by`.
    pub(crate) fn times_column(&mut self, x: &Var<D>, by: &Var<D>, column: usize) -> Result<Var<D>, D::Err> {
        let (cols, factors) = (x.cols(), by.cols());
        let product = {
            let (x, by) = (x.host(), by.host());
            let rows = x.chunks_exact(cols).zip(by.chunks_exact(factors));
            self.pool.collect(x.len(), rows.flat_map(|(x, by)| x.iter().map(|x| x * by[column])))
        };
        let (source, scale) = (x.clone(), by.clone());
        let work = Work::small(cols as u64, 3 * cols as u64);
        self.host_op([x, by], product, cols, work, move |pool, g, wanted| {
            let (x, by) = (source.host(), scale.host());
            let rows = || g.chunks_exact(cols).zip(by.chunks_exact(factors));
            let to_x = wanted[0].then(|| pool.collect(x.len(), rows().flat_map(|(g, by)| g.iter().map(|g| g * by[column]))));
            let to_by = wanted[1].then(|| {
                let mut gradient = pool.zeros(by.len());
                for ((row, g), x) in gradient.chunks_exact_mut(factors).zip(g.chunks_exact(cols)).zip(x.chunks_exact(cols)) {
                    row[column] = g.iter().zip(x).map(|(g, x)| g * x).sum();
                }
                gradient
            });
            [to_x, to_by]
        })
    }

    /// The rows of `x` in another order: row `i` is row `order[i]` of `x`. `order` names each row once.
    pub(crate) fn reorder(&mut self, x: &Var<D>, order: Vec<u32>) -> Result<Var<D>, D::Err> {
        let cols = x.cols();
        let rows = {
            let x = x.host();
            let row = |&from: &u32| x[from as usize * cols..(from as usize + 1) * cols].to_vec();
            self.pool.collect(x.len(), order.iter().flat_map(row))
        };
        let work = Work::small(0, 0);
        self.host_op([x], rows, cols, work, move |pool, g, _| {
            let mut gradient = pool.zeros(g.len());
            for (&from, g) in order.iter().zip(g.chunks_exact(cols)) {
                gradient[from as usize * cols..(from as usize + 1) * cols].copy_from_slice(g);
            }
            [Some(gradient)]
        })
    }

    /// `a + b`, of one shape.
    pub(crate) fn add(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>, D::Err> {
        let sum = {
            let (a, b) = (a.host(), b.host());
            let mut sum = self.pool.take(a.len());
            kernels::sum(&mut sum, &a, &b);
            sum
        };
        let work = Work::small(a.cols() as u64, 0);
        self.host_op([a, b], sum, a.cols(), work, |pool, g, wanted| {
            // One of the two can have the gradient itself.
            match wanted {
                [true, false] => [Some(g), None],
                [first, _] => [first.then(|| pool.copy(&g)), Some(g)],
            }
        })
    }

    /// The left half of the columns times the right half, entry by entry: (batch, 2 e) to (batch, e).
    pub(crate) fn product_of_halves(&mut self, x: &Var<D>) -> Result<Var<D>, D::Err> {
        let half = x.cols() / 2;
        let product = {
            let x = x.host();
            let rows = x.chunks_exact(2 * half);
            self.pool.collect(rows.len() * half, rows.flat_map(|row| (0..half).map(move |j| row[j] * row[half + j])))
        };
        let source = x.clone();
        let work = Work::small(half as u64, 2 * half as u64);
        self.host_op([x], product, half, work, move |pool, g, _| {
            let input = source.host();
            let mut gradient = pool.take(input.len());
            for ((out, row), g) in gradient.chunks_exact_mut(2 * half).zip(input.chunks_exact(2 * half)).zip(g.chunks_exact(half))
            {
                for j in 0..half {
                    out[j] = g[j] * row[half + j];
                    out[half + j] = g[j] * row[j];
                }
            }
            [Some(gradient)]
        })
    }

    /// The sum of each row: (batch, n) to (batch, 1).
    pub(crate) fn row_sums(&mut self, x: &Var<D>) -> Result<Var<D>, D::Err> {
        let cols = x.cols();
        let sums = self.pool.collect(x.rows(), x.host().chunks_exact(cols).map(|row| row.iter().sum()));
        let work = Work::small(cols as u64 - 1, 0);
        self.host_op([x], sums, 1, work, move |pool, g, _| {
            [Some(pool.collect(g.len() * cols, g.iter().flat_map(|&g| std::iter::repeat_n(g, cols))))]
        })
    }

    /// Puts an operation computed on the host into the graph. `backward` gets the result's gradient, and says what to add
    /// to that of each input that wants one.
    pub(crate) fn host_op<const N: usize>(
        &mut self,
        inputs: [&Var<D>; N],
        values: Buffer,
        cols: usize,
        work: Work,
        backward: impl FnOnce(&Pool, Buffer, [bool; N]) -> [Option<Buffer>; N] + 'static,
    ) -> Result<Var<D>, D::Err> {
        let rows = values.len().checked_div(cols).unwrap_or(0);
        let value = self.device.matrix(values, rows, cols)?;
        let wanted = inputs.map(|input| input.wanted);
        let recorded = wanted.contains(&true);
        if let Some(tape) = self.tape.as_mut().filter(|_| recorded) {
            let of = inputs.map(|input| D::for_gradients(&input.value, &self.pool));
            let (device, pool) = (self.device.clone(), self.pool.clone());
            let out = D::for_gradients(&value, &self.pool);
            tape.add_backward_op(move |_| {
                let Some(g) = device.take_gradient(&out, &pool)? else { return Ok(()) };
                for ((of, wanted), gradient) in of.iter().zip(wanted).zip(backward(&pool, g, wanted)) {
                    if let Some(gradient) = gradient.filter(|_| wanted) {
                        device.accumulate(of, gradient)?;
                    }
                }
                Ok(())
            });
        }
        let made = Var { value, wanted: self.tape.is_some() && recorded };
        if let Some(trace) = &mut self.trace {
            trace.small(&inputs, &made, work);
        }
        Ok(made)
    }

    /// Ends a path: says that the loss has this gradient with regard to `of`.
    pub(crate) fn seed(&mut self, of: &Var<D>, gradient: Buffer) {
        if let Some(trace) = &mut self.trace {
            trace.seed(of);
        }
        if let Some(tape) = self.tape.as_mut().filter(|_| of.wanted) {
            let device = self.device.clone();
            let of = D::for_gradients(&of.value, &self.pool);
            tape.add_backward_op(move |_| device.accumulate(&of, gradient));
        }
    }

    /// What it was asked to do so far, if it was told to keep that.
    pub(crate) fn trace(&mut self) -> Option<&mut Trace<D>> {
        self.trace.as_mut()
    }

    /// The same, at the end.
    pub(crate) fn into_trace(self) -> Option<Trace<D>> {
        self.trace
    }

    /// Goes back over everything recorded, last operation first.
    pub(crate) fn backward(self) -> Result<(), D::Err> {
        // All gradients come from seeds; dfdx wants a scalar to begin at, which here is the end of no path.
        self.device.try_zeros_like(&())?.put_tape(self.tape.unwrap_or_default()).try_backward().map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::testing::{Tested, device};

    type Build = fn(&mut Graph<Tested>, &Var<Tested>, &Var<Tested>) -> Var<Tested>;

    /// Each operation on the host against finite differences of sum(seed * result); all but softmax are at most quadratic, so central
    /// differences are exact but for rounding.
    #[test]
    fn host_operations_have_the_gradients_of_finite_differences() {
        let (device, pool) = (device(), Pool::default());
        let operations: [(&str, Build); 7] = [
            ("join", |graph, a, b| graph.join(a, b).unwrap()),
            ("add", |graph, a, b| graph.add(a, b).unwrap()),
            ("product", |graph, a, _| graph.product_of_halves(a).unwrap()),
            ("row_sums", |graph, a, _| graph.row_sums(a).unwrap()),
            ("columns", |graph, a, _| graph.columns(a, 1, 3).unwrap()),
            ("softmax", |graph, a, _| graph.softmax(a, &[0.5, -0.25, 0.0, 1.0, 0.0, 2.0, -1.0, 0.5], 2.0).unwrap()),
            ("times_column", |graph, a, b| graph.times_column(a, b, 2).unwrap()),
        ];
        let (a, b): (Vec<f32>, Vec<f32>) = (0..8).map(|i| (i as f32 * 0.5 - 1.0, 2.0 - i as f32)).unzip();
        for (name, operation) in operations {
            let value = |a: &[f32], b: &[f32]| {
                let mut graph = Graph::inference(&device, &pool);
                let (a, b) = (graph.leaf(pool.copy(a), 2, 4).unwrap(), graph.leaf(pool.copy(b), 2, 4).unwrap());
                let out = operation(&mut graph, &a, &b);
                assert!(!out.wanted, "inference records nothing");
                out.host().to_vec()
            };
            let seed: Vec<f32> = (0..value(&a, &b).len()).map(|i| 1.0 + i as f32).collect();
            let loss = |a: &[f32], b: &[f32]| value(a, b).iter().zip(&seed).map(|(y, s)| y * s).sum::<f32>();
            let mut graph = Graph::training(&device, &pool);
            let leaves = [graph.leaf(pool.copy(&a), 2, 4).unwrap(), graph.leaf(pool.copy(&b), 2, 4).unwrap()];
            let out = operation(&mut graph, &leaves[0], &leaves[1]);
            graph.seed(&out, pool.copy(&seed));
            graph.backward().unwrap();
            for (side, leaf) in leaves.iter().enumerate() {
                let found = device.take_gradient(&leaf.value, &pool).unwrap();
                let found = found.map_or_else(|| vec![0.0; 8], |gradient| gradient.to_vec());
                for index in 0..8 {
                    let at = |step: f32| {
                        let mut sides = [a.clone(), b.clone()];
                        sides[side][index] += step;
                        loss(&sides[0], &sides[1])
                    };
                    // Softmax is no polynomial: a small step, and the rounding that goes with it.
                    let (step, close) = if name == "softmax" { (1.0 / 64.0, 2e-3) } else { (0.5, 1e-3) };
                    let expected = (at(step) - at(-step)) / (2.0 * step);
                    assert!((found[index] - expected).abs() < close, "{name} side {side} [{index}]: {found:?} {expected}");
                }
            }
        }
    }

    #[test]
    fn no_gradient_flows_through_what_is_stopped() {
        let (device, pool) = (device(), Pool::default());
        let mut graph = Graph::training(&device, &pool);
        let leaf = graph.leaf(pool.copy(&[1.0, 2.0]), 1, 2).unwrap();
        let sum = graph.add(&leaf, &leaf.stopped()).unwrap();
        assert!(sum.wanted);
        graph.seed(&sum, pool.copy(&[1.0, 1.0]));
        graph.seed(&sum.stopped(), pool.copy(&[9.0, 9.0]));
        let stopped = graph.add(&leaf.stopped(), &leaf.stopped()).unwrap();
        assert!(!stopped.wanted);
        graph.backward().unwrap();
        assert_eq!(device.take_gradient(&leaf.value, &pool).unwrap().unwrap()[..], [1.0, 1.0]);
    }
}
