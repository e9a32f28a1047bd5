//! One forward and backward pass over a batch: operations in the order they are called, and dfdx's tape behind them.
//!
//! A [`Graph`] is made for a batch and used up by [`Graph::backward`]. Only the dense layer differs between devices; what is small beside
//! it (adding the bias terms, joining states, products of embeddings, losses) is computed on the host and its gradient put
//! into the tape, the same way for each device. The room knows no models.

use dfdx::tensor::{Gradients, OwnedTape, PutTape, Tape};
use dfdx::tensor_ops::Backward;

use crate::ops::{Activation, Dense, Layer, Mat, Ops, Var, to_host};

/// Operations on matrices of one device, recorded where gradients are wanted.
pub(crate) struct Graph<D: Ops> {
    device: D,
    tape: Option<OwnedTape<f32, D>>,
}

impl<D: Ops> Graph<D> {
    /// A graph that records the way back.
    pub(crate) fn training(device: &D) -> Self {
        Graph { device: device.clone(), tape: Some(OwnedTape::default()) }
    }

    /// A graph that only computes.
    pub(crate) fn inference(device: &D) -> Self {
        Graph { device: device.clone(), tape: None }
    }

    /// A matrix from the host, row-major, without gradient.
    pub(crate) fn constant(&self, host: Vec<f32>, rows: usize, cols: usize) -> Result<Var<D>, D::Err> {
        Ok(Var { value: self.device.try_tensor_from_vec(host, (rows, cols))?, wanted: false })
    }

    /// A matrix from the host, row-major, whose gradient is wanted.
    pub(crate) fn leaf(&self, host: Vec<f32>, rows: usize, cols: usize) -> Result<Var<D>, D::Err> {
        let mut leaf = self.constant(host, rows, cols)?;
        leaf.wanted = true;
        Ok(leaf)
    }

    /// `activation((x * mask) weight + bias)`: (batch, in) to (batch, out).
    pub(crate) fn dense(
        &mut self,
        x: &Var<D>,
        layer: &Layer<D>,
        activation: Activation,
        mask: Option<Vec<f32>>,
    ) -> Result<Var<D>, D::Err> {
        let dense = Dense { x: x.clone(), layer: layer.clone(), activation, mask };
        let wanted = self.tape.is_some() && dense.wanted();
        let value = self.device.dense(self.tape.as_mut(), dense)?;
        Ok(Var { value, wanted })
    }

    /// Columns of `a` followed by those of `b`.
    pub(crate) fn join(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>, D::Err> {
        let (wide_a, wide_b) = (a.cols(), b.cols());
        let mut host = Vec::with_capacity(a.rows() * (wide_a + wide_b));
        for (row_a, row_b) in to_host(&a.value).chunks_exact(wide_a).zip(to_host(&b.value).chunks_exact(wide_b)) {
            host.extend_from_slice(row_a);
            host.extend_from_slice(row_b);
        }
        self.host_op([a, b], host, wide_a + wide_b, move |g, wanted| {
            let columns =
                |from: usize, to: usize| g.chunks_exact(wide_a + wide_b).flat_map(|row| row[from..to].iter().copied()).collect();
            [wanted[0].then(|| columns(0, wide_a)), wanted[1].then(|| columns(wide_a, wide_a + wide_b))]
        })
    }

    /// `a + b`, of one shape.
    pub(crate) fn add(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>, D::Err> {
        let mut host = to_host(&a.value);
        for (sum, b) in host.iter_mut().zip(to_host(&b.value)) {
            *sum += b;
        }
        self.host_op([a, b], host, a.cols(), |g, wanted| [wanted[0].then(|| g.clone()), wanted[1].then(|| g.clone())])
    }

    /// The left half of the columns times the right half, entry by entry: (batch, 2 e) to (batch, e).
    pub(crate) fn product_of_halves(&mut self, x: &Var<D>) -> Result<Var<D>, D::Err> {
        let half = x.cols() / 2;
        let input = to_host(&x.value);
        let host = input.chunks_exact(2 * half).flat_map(|row| (0..half).map(move |j| row[j] * row[half + j])).collect();
        self.host_op([x], host, half, move |g, _| {
            let mut gradient = vec![0.0; input.len()];
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
        let host = to_host(&x.value).chunks_exact(cols).map(|row| row.iter().sum()).collect();
        self.host_op([x], host, 1, move |g, _| [Some(g.iter().flat_map(|&g| std::iter::repeat_n(g, cols)).collect())])
    }

    /// Puts an operation computed on the host into the graph. `backward` gets the result's gradient, and says what to add
    /// to that of each input that wants one.
    fn host_op<const N: usize>(
        &mut self,
        inputs: [&Var<D>; N],
        host: Vec<f32>,
        cols: usize,
        backward: impl FnOnce(Vec<f32>, [bool; N]) -> [Option<Vec<f32>>; N] + 'static,
    ) -> Result<Var<D>, D::Err> {
        let rows = inputs[0].rows();
        let value: Mat<D> = self.device.try_tensor_from_vec(host, (rows, cols))?;
        let wanted = inputs.map(|input| input.wanted);
        let recorded = wanted.contains(&true);
        if let Some(tape) = self.tape.as_mut().filter(|_| recorded) {
            let of = inputs.map(|input| input.value.clone());
            let device = self.device.clone();
            let out = value.clone();
            tape.add_backward_op(move |gradients| {
                let g = device.take_gradient(gradients, &out)?;
                for ((of, wanted), gradient) in of.iter().zip(wanted).zip(backward(g, wanted)) {
                    if let Some(gradient) = gradient.filter(|_| wanted) {
                        device.accumulate(gradients, of, gradient)?;
                    }
                }
                Ok(())
            });
        }
        Ok(Var { value, wanted: self.tape.is_some() && recorded })
    }

    /// Ends a path: says that the loss has this gradient with regard to `of`.
    pub(crate) fn seed(&mut self, of: &Var<D>, gradient: Vec<f32>) {
        if let Some(tape) = self.tape.as_mut().filter(|_| of.wanted) {
            let device = self.device.clone();
            let of = of.value.clone();
            tape.add_backward_op(move |gradients| device.accumulate(gradients, &of, gradient));
        }
    }

    /// Goes back over everything recorded, last operation first.
    pub(crate) fn backward(self) -> Result<Gradients<f32, D>, D::Err> {
        // All gradients come from seeds; dfdx wants a scalar to begin at, which here is the end of no path.
        self.device.try_zeros_like(&())?.put_tape(self.tape.unwrap_or_default()).try_backward()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use dfdx::tensor::Cpu;

    use super::*;

    type Build = fn(&mut Graph<Cpu>, &Var<Cpu>, &Var<Cpu>) -> Var<Cpu>;

    /// Each operation on the host against finite differences of sum(seed * result); all are at most quadratic, so central
    /// differences are exact but for rounding.
    #[test]
    fn host_operations_have_the_gradients_of_finite_differences() {
        let device = Cpu::default();
        let operations: [(&str, Build); 4] = [
            ("join", |graph, a, b| graph.join(a, b).unwrap()),
            ("add", |graph, a, b| graph.add(a, b).unwrap()),
            ("product", |graph, a, _| graph.product_of_halves(a).unwrap()),
            ("row_sums", |graph, a, _| graph.row_sums(a).unwrap()),
        ];
        let (a, b): (Vec<f32>, Vec<f32>) = (0..8).map(|i| (i as f32 * 0.5 - 1.0, 2.0 - i as f32)).unzip();
        for (name, operation) in operations {
            let value = |a: &[f32], b: &[f32]| {
                let mut graph = Graph::inference(&device);
                let (a, b) = (graph.leaf(a.to_vec(), 2, 4).unwrap(), graph.leaf(b.to_vec(), 2, 4).unwrap());
                let out = operation(&mut graph, &a, &b);
                assert!(!out.wanted, "inference records nothing");
                to_host(&out.value)
            };
            let seed: Vec<f32> = (0..value(&a, &b).len()).map(|i| 1.0 + i as f32).collect();
            let loss = |a: &[f32], b: &[f32]| value(a, b).iter().zip(&seed).map(|(y, s)| y * s).sum::<f32>();
            let mut graph = Graph::training(&device);
            let leaves = [graph.leaf(a.clone(), 2, 4).unwrap(), graph.leaf(b.clone(), 2, 4).unwrap()];
            let out = operation(&mut graph, &leaves[0], &leaves[1]);
            graph.seed(&out, seed.clone());
            let mut gradients = graph.backward().unwrap();
            for (side, leaf) in leaves.iter().enumerate() {
                let found = device.take_gradient(&mut gradients, &leaf.value).unwrap();
                for index in 0..8 {
                    let at = |step: f32| {
                        let mut sides = [a.clone(), b.clone()];
                        sides[side][index] += step;
                        loss(&sides[0], &sides[1])
                    };
                    let expected = (at(0.5) - at(-0.5)) / 1.0;
                    assert!((found[index] - expected).abs() < 1e-3, "{name} side {side} [{index}]");
                }
            }
        }
    }

    #[test]
    fn no_gradient_flows_through_what_is_stopped() {
        let device = Cpu::default();
        let mut graph = Graph::training(&device);
        let leaf = graph.leaf(vec![1.0, 2.0], 1, 2).unwrap();
        let sum = graph.add(&leaf, &leaf.stopped()).unwrap();
        assert!(sum.wanted);
        graph.seed(&sum, vec![1.0, 1.0]);
        graph.seed(&sum.stopped(), vec![9.0, 9.0]);
        let stopped = graph.add(&leaf.stopped(), &leaf.stopped()).unwrap();
        assert!(!stopped.wanted);
        let mut gradients = graph.backward().unwrap();
        assert_eq!(device.take_gradient(&mut gradients, &leaf.value).unwrap(), [1.0, 1.0]);
    }
}
