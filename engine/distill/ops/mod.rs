//! The operations that differ between devices, and nothing else: [`Ops`] is implemented by dfdx's `Cpu` and `Cuda`.
//!
//! The order of the way back is dfdx's tape on either device, and each matrix has its own gradient. On CUDA values are dfdx tensors, and
//! every operation is dfdx's own kernels (`generic`). On the processor (`cpu`) matrices are plain numbers from a [`Pool`], and dense
//! layers are ours: one operation runs a batch through any number of them, and computes gradients only for the operands that
//! want one, so a frozen layer computes its input's and nothing else. The room knows no models and no losses.

mod attention;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod gelu;
mod gemm;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod generic;
pub(crate) mod kernels;
mod norm;
mod pool;

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use dfdx::tensor::OwnedTape;
use dfdx::tensor_ops::Device;

pub(crate) use attention::{Sequences, attention, attention_back};
pub(crate) use cpu::HostMat;
pub(crate) use gelu::{gelu, gelu_back};
#[cfg(test)]
pub(crate) use gemm::MULTIPLIED;
pub(crate) use norm::{norm, norm_back, norm_weights_back};
pub(crate) use pool::{Buffer, Pool};

/// A matrix, and whether its gradient is wanted.
///
/// Stopping a gradient is a matter of this flag: an operation neither computes nor stores what is not wanted.
#[derive(Clone, Debug)]
pub(crate) struct Var<D: Ops> {
    pub(crate) value: D::Mat,
    pub(crate) wanted: bool,
}

impl<D: Ops> Var<D> {
    /// The same value, through which no gradient flows.
    pub(crate) fn stopped(&self) -> Self {
        Var { value: self.value.clone(), wanted: false }
    }

    pub(crate) fn rows(&self) -> usize {
        D::dims(&self.value).0
    }

    pub(crate) fn cols(&self) -> usize {
        D::dims(&self.value).1
    }

    /// The numbers, row-major; copied where they are not in the host's memory.
    pub(crate) fn host(&self) -> Cow<'_, [f32]> {
        D::host(&self.value)
    }
}

/// The weights of one dense layer: `weight` (in, out) and `bias` (1, out).
#[derive(Clone, Debug)]
pub(crate) struct Layer<D: Ops> {
    pub(crate) weight: Var<D>,
    pub(crate) bias: Var<D>,
}

impl<D: Ops> Layer<D> {
    /// The same layer, whose weights receive no gradient. Its input still does.
    pub(crate) fn frozen(&self) -> Self {
        Layer { weight: self.weight.stopped(), bias: self.bias.stopped() }
    }

    /// The layer in a run.
    pub(crate) fn then(self, activation: Activation) -> Link<D> {
        Link { layer: self, activation, mask: None }
    }
}

/// What follows the affine part of a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
}

impl Activation {
    /// The factor on initial weights that keeps a signal's size through the layer (He et al. 2015).
    pub(crate) fn gain(self) -> f32 {
        match self {
            Activation::None => 1.0,
            Activation::Relu => std::f32::consts::SQRT_2,
        }
    }
}

/// One dense layer of a run: `activation((x * mask) weight + bias)`.
#[derive(Clone, Debug)]
pub(crate) struct Link<D: Ops> {
    pub(crate) layer: Layer<D>,
    pub(crate) activation: Activation,
    /// Inverted dropout on the input: (batch * in) factors.
    pub(crate) mask: Option<Arc<Buffer>>,
}

impl<D: Ops> Link<D> {
    pub(crate) fn inputs(&self) -> usize {
        self.layer.weight.rows()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.layer.weight.cols()
    }
}

/// A device that models can be trained on.
pub(crate) trait Ops: Device<f32> {
    /// The kind's name in errors.
    const NAME: &'static str;

    /// A matrix, row-major. Clones are the same matrix, with one gradient.
    type Mat: Clone + Debug + 'static;

    /// A matrix of `values`.
    fn matrix(&self, values: Buffer, rows: usize, cols: usize) -> Result<Self::Mat, Self::Err>;

    /// (rows, columns)
    fn dims(matrix: &Self::Mat) -> (usize, usize);

    /// The numbers of a matrix, row-major.
    fn host(matrix: &Self::Mat) -> Cow<'_, [f32]>;

    /// The same matrix, which from now on never changes: a device may make it ready once for all the products it will be in.
    fn keep(&self, matrix: Self::Mat, pool: &Pool) -> Self::Mat;

    /// A matrix of the processor's on this device, without a gradient; no copy where it is there already.
    fn adopt(&self, matrix: &HostMat) -> Result<Self::Mat, Self::Err>;

    /// The same matrix for those who only give it gradients or take them; a device may let go of its numbers here.
    fn for_gradients(matrix: &Self::Mat, pool: &Pool) -> Self::Mat;

    /// Gives a matrix other numbers.
    fn overwrite(&self, matrix: &mut Self::Mat, values: &[f32], pool: &Pool);

    /// Puts a batch through dense layers, one after the other, and returns what each of them made; where a tape is given and gradients
    /// are wanted, records how to go back. Each result may be used further on, whatever follows it in the run.
    fn run(
        &self,
        pool: &Pool,
        tape: Option<&mut OwnedTape<f32, Self>>,
        x: &Var<Self>,
        links: Vec<Link<Self>>,
    ) -> Result<Vec<Var<Self>>, Self::Err>;

    /// Adds to the gradient of `of`.
    fn accumulate(&self, of: &Self::Mat, addend: Buffer) -> Result<(), Self::Err>;

    /// Takes the gradient of `of` to the host, and leaves none behind; none where nothing reached it.
    fn take_gradient(&self, of: &Self::Mat, pool: &Pool) -> Result<Option<Buffer>, Self::Err>;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use dfdx::tensor::{Cpu, PutTape, Tape, TensorFromVec, ZerosTensor};
    use dfdx::tensor_ops::Backward;

    use super::*;
    use crate::random::{Rng, Role};
    use crate::testing::device;

    const BATCH: usize = 7;
    const WIDTHS: [usize; 3] = [5, 4, 3];

    fn numbers(name: &str, len: usize) -> Vec<f32> {
        let mut rng = Rng::stream(1, Role::Init, name, 0);
        (0..len).map(|_| rng.symmetric(1.0)).collect()
    }

    /// Two layers, the first with ReLU, the second with or without; what wants a gradient, and where there is dropout.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        /// x, first weight, first bias, second weight, second bias.
        wanted: [bool; 5],
        end: Activation,
        dropout: bool,
        /// Whether the loss reads the first layer's result, and the second's.
        read: [bool; 2],
        batch: usize,
        /// Columns of x, of the first layer's result and of the second's.
        widths: [usize; 3],
    }

    const NAMES: [&str; 5] = ["x", "w0", "b0", "w1", "b1"];

    impl Case {
        fn shapes(self) -> [(usize, usize); 5] {
            let [input, middle, out] = self.widths;
            [(self.batch, input), (input, middle), (1, middle), (middle, out), (1, out)]
        }

        fn operands(self) -> [Vec<f32>; 5] {
            let mut shapes = self.shapes().into_iter();
            NAMES.map(|name| shapes.next().map_or_else(Vec::new, |(rows, cols)| numbers(name, rows * cols)))
        }

        fn mask(self) -> Option<Vec<f32>> {
            self.dropout.then(|| {
                let mut mask = vec![0.0; self.batch * self.widths[1]];
                Rng::stream(1, Role::Dropout, "x", 0).dropout_mask(0.4, &mut mask);
                mask
            })
        }

        /// What the loss is made of: sum(seed * result) over the results it reads.
        fn seeds(self) -> [Option<Vec<f32>>; 2] {
            [("seed0", self.widths[1]), ("seed1", self.widths[2])]
                .map(|(name, cols)| Some(numbers(name, self.batch * cols)).filter(|_| self.reads(name)))
        }

        fn reads(self, seed: &str) -> bool {
            self.read[usize::from(seed == "seed1")]
        }
    }

    /// Both results, and the gradients of all operands where they are wanted, in our kernels.
    fn ours<D: Ops>(device: &D, case: Case) -> ([Vec<f32>; 2], [Vec<f32>; 5]) {
        let pool = Pool::default();
        let mut tape = OwnedTape::default();
        let mut operands = case.operands().into_iter().zip(case.shapes()).zip(case.wanted);
        let vars: [Var<D>; 5] = std::array::from_fn(|_| {
            let ((values, (rows, cols)), wanted) = operands.next().unwrap();
            Var { value: device.matrix(pool.copy(&values), rows, cols).unwrap(), wanted }
        });
        let layer = |at: usize| Layer { weight: vars[at].clone(), bias: vars[at + 1].clone() };
        let mask = case.mask().map(|mask| Arc::new(pool.copy(&mask)));
        let links = vec![layer(1).then(Activation::Relu), Link { mask, ..layer(3).then(case.end) }];
        let states = device.run(&pool, Some(&mut tape), &vars[0], links).unwrap();
        for (state, seed) in states.iter().zip(case.seeds()) {
            if let Some(seed) = seed.filter(|_| state.wanted) {
                let (device, of, seed) = (device.clone(), state.value.clone(), pool.copy(&seed));
                tape.add_backward_op(move |_| device.accumulate(&of, seed));
            }
        }
        device.zeros_like(&()).put_tape(tape).backward();
        let gradients = vars.each_ref().map(|var| {
            let gradient = device.take_gradient(&var.value, &pool).unwrap();
            gradient.map_or_else(|| vec![0.0; var.rows() * var.cols()], |gradient| gradient.to_vec())
        });
        ([states[0].host().to_vec(), states[1].host().to_vec()], gradients)
    }

    /// The same in dfdx's own, on the processor.
    fn theirs(case: Case) -> ([Vec<f32>; 2], [Vec<f32>; 5]) {
        let device = Cpu::default();
        let mut tape = OwnedTape::default();
        let mut operands = case.operands().into_iter().zip(case.shapes());
        let tensors: [generic::Matrix<Cpu>; 5] = std::array::from_fn(|_| {
            let (values, shape) = operands.next().unwrap();
            generic::Matrix::new(device.tensor_from_vec(values, shape))
        });
        let [x, w0, b0, w1, b1] = tensors.clone();
        let [x_wanted, w0_wanted, b0_wanted, w1_wanted, b1_wanted] = case.wanted;
        let first = generic::Dense {
            x,
            weight: w0,
            bias: b0,
            activation: Activation::Relu,
            mask: None,
            wanted: [x_wanted, w0_wanted, b0_wanted],
        };
        let middle = generic::dense(&device, Some(&mut tape), first).unwrap();
        let second = generic::Dense {
            x: middle.clone(),
            weight: w1,
            bias: b1,
            activation: case.end,
            mask: case.mask(),
            wanted: [x_wanted || w0_wanted || b0_wanted, w1_wanted, b1_wanted],
        };
        let end = generic::dense(&device, Some(&mut tape), second).unwrap();
        for (state, seed) in [&middle, &end].into_iter().zip(case.seeds()) {
            if let Some(seed) = seed {
                let (of, cols) = (state.clone(), seed.len() / case.batch);
                tape.add_backward_op(move |_| of.give(Cpu::default().tensor_from_vec(seed, (case.batch, cols))));
            }
        }
        device.zeros_like(&()).put_tape(tape).backward();
        let gradients = tensors.each_ref().map(|tensor| {
            let (rows, cols) = tensor.dims();
            tensor.take().map_or_else(|| vec![0.0; rows * cols], |gradient| generic::to_host(&gradient))
        });
        ([generic::to_host(&middle.values), generic::to_host(&end.values)], gradients)
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs()))
    }

    /// A device against dfdx on the processor, for every choice of operands, activation, dropout and reader; and for a batch of more
    /// than one block, and matrices with one row or column.
    #[test]
    fn runs_agree_with_dfdx() {
        let device = device();
        for choice in 0..512u32 {
            let bit = |index: u32| choice & (1 << index) != 0;
            let case = Case {
                wanted: [bit(0), bit(1), bit(2), bit(3), bit(4)],
                end: if bit(5) { Activation::Relu } else { Activation::None },
                dropout: bit(6),
                read: [bit(7), bit(8)],
                batch: match choice % 37 {
                    35 => 1,
                    36 => 300,
                    _ => BATCH,
                },
                widths: if choice % 11 == 10 { [1; 3] } else { WIDTHS },
            };
            let (our_states, our_gradients) = ours(&device, case);
            let (their_states, their_gradients) = theirs(case);
            for (ours, theirs) in our_states.iter().zip(&their_states) {
                assert!(close(ours, theirs), "{case:?}: states");
            }
            for (at, name) in NAMES.iter().enumerate() {
                // What is not wanted is not computed: a frozen layer passes a gradient on and gets none.
                assert!(case.wanted[at] || our_gradients[at].iter().all(|&g| g == 0.0), "{case:?}: gradient of {name}");
                assert!(close(&our_gradients[at], &their_gradients[at]), "{case:?}: gradient of {name}");
            }
        }
    }

    /// The same numbers for any number of threads, where there is enough to share.
    #[test]
    fn threads_change_no_bit() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (device, pool) = (Cpu::default(), Pool::default());
                let mut tape = OwnedTape::default();
                let var = |name: &str, rows: usize, cols: usize| Var::<Cpu> {
                    value: device.matrix(pool.copy(&numbers(name, rows * cols)), rows, cols).unwrap(),
                    wanted: true,
                };
                let x = var("x", 700, 160);
                let layers: Vec<_> = [(160, 300), (300, 40)]
                    .map(|(inputs, outputs)| Layer { weight: var("w", inputs, outputs), bias: var("b", 1, outputs) })
                    .into();
                let links = layers.iter().map(|layer| layer.clone().then(Activation::Relu)).collect();
                let states = device.run(&pool, Some(&mut tape), &x, links).unwrap();
                let (of, seed) = (states[1].value.clone(), pool.copy(&numbers("seed", 700 * 40)));
                tape.add_backward_op(move |_| Cpu::default().accumulate(&of, seed));
                device.zeros_like(&()).put_tape(tape).backward();
                let vars = [&x, &layers[0].weight, &layers[0].bias, &layers[1].weight, &layers[1].bias];
                let mut found = vec![states[1].host().to_vec()];
                for var in vars {
                    found.push(device.take_gradient(&var.value, &pool).unwrap().unwrap().to_vec());
                }
                found
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
    }

    /// What never changes computes what it would have computed, on the way there and back; and so does a small batch through large
    /// weights, which is cut into smaller blocks.
    #[test]
    fn what_is_kept_computes_the_same() {
        let (device, pool) = (device(), Pool::default());
        for (batch, inputs, outputs) in [(7, 5, 19), (20, 330, 800)] {
            let var = |name: &str, rows: usize, cols: usize| Var::<crate::testing::Tested> {
                value: device.matrix(pool.copy(&numbers(name, rows * cols)), rows, cols).unwrap(),
                wanted: name == "x",
            };
            let weight = var("w", inputs, outputs);
            let kept = Var { value: device.keep(weight.value.clone(), &pool), wanted: false };
            assert_eq!(kept.host(), weight.host());
            let [as_is, as_kept] = [weight, kept].map(|weight| {
                let x = var("x", batch, inputs);
                let mut tape = OwnedTape::default();
                let link = Layer { weight, bias: var("b", 1, outputs) }.then(Activation::None);
                let states = device.run(&pool, Some(&mut tape), &x, vec![link]).unwrap();
                let (of, seed) = (states[0].value.clone(), pool.copy(&numbers("seed", batch * outputs)));
                tape.add_backward_op({
                    let device = device.clone();
                    move |_| device.accumulate(&of, seed)
                });
                device.zeros_like(&()).put_tape(tape).backward();
                let gradient = device.take_gradient(&x.value, &pool).unwrap().unwrap().to_vec();
                [states[0].host().to_vec(), gradient]
            });
            assert_eq!(as_is, as_kept);
            // Each row by itself.
            let weight = var("w", inputs, outputs);
            let rows = numbers("x", batch * inputs);
            for (row, expected) in rows.chunks(inputs).zip(as_is[0].chunks(outputs)) {
                let x = Var { value: device.matrix(pool.copy(row), 1, inputs).unwrap(), wanted: false };
                let link = Layer { weight: weight.clone(), bias: var("b", 1, outputs) }.then(Activation::None);
                assert!(close(&device.run(&pool, None, &x, vec![link]).unwrap()[0].host(), expected));
            }
        }
    }

    /// y = relu(relu(x w0 + b0) * mask w1 + b1) and its derivatives by finite differences in double precision.
    #[test]
    fn runs_follow_their_definition() {
        let case =
            Case { wanted: [true; 5], end: Activation::Relu, dropout: true, read: [true, true], batch: BATCH, widths: WIDTHS };
        let (states, gradients) = ours(&device(), case);
        let double = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let mask = double(&case.mask().unwrap());
        let seeds = case.seeds().map(|seed| double(&seed.unwrap()));
        let layer = |x: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
            let (outputs, inputs) = (b.len(), w.len() / b.len());
            let entry = |row: usize, column: usize| {
                let terms = (0..inputs).map(|k| x[row * inputs + k] * w[k * outputs + column]);
                (terms.sum::<f64>() + b[column]).max(0.0)
            };
            (0..BATCH * outputs).map(|i| entry(i / outputs, i % outputs)).collect()
        };
        let forward = |operands: &[Vec<f64>; 5]| {
            let [x, w0, b0, w1, b1] = operands;
            let middle = layer(x, w0, b0);
            let masked: Vec<f64> = middle.iter().zip(&mask).map(|(value, mask)| value * mask).collect();
            let end = layer(&masked, w1, b1);
            [middle, end]
        };
        let operands = case.operands().map(|operand| double(&operand));
        for (state, expected) in states.iter().zip(forward(&operands)) {
            assert!(close(state, &expected.iter().map(|&value| value as f32).collect::<Vec<f32>>()));
        }
        let loss = |operands: &[Vec<f64>; 5]| -> f64 {
            let terms = forward(operands).into_iter().zip(&seeds);
            terms.map(|(state, seed)| state.iter().zip(seed).map(|(y, s)| y * s).sum::<f64>()).sum()
        };
        for operand in 0..5 {
            for index in 0..operands[operand].len() {
                let at = |step: f64| {
                    let mut moved = operands.clone();
                    moved[operand][index] += step;
                    loss(&moved)
                };
                let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((f64::from(gradients[operand][index]) - expected).abs() < 1e-5);
            }
        }
    }

    /// A matrix read by several operations sums what reaches it.
    #[test]
    fn gradients_add_up() {
        let (device, pool) = (device(), Pool::default());
        let of = device.matrix(pool.zeros(4), 2, 2).unwrap();
        device.accumulate(&of, pool.copy(&[1.0, 2.0, 3.0, 4.0])).unwrap();
        device.accumulate(&of, pool.copy(&[0.5; 4])).unwrap();
        assert_eq!(device.take_gradient(&of, &pool).unwrap().unwrap()[..], [1.5, 2.5, 3.5, 4.5]);
        // What nothing has reached has no gradient.
        assert!(device.take_gradient(&of, &pool).unwrap().is_none());
        let device = Cpu::default();
        let of = generic::Matrix::new(device.tensor_from_vec(vec![0.0; 4], (2, 2)));
        for addend in [[1.0, 2.0, 3.0, 4.0], [0.5; 4]] {
            of.give(device.tensor_from_vec(addend.to_vec(), (2, 2))).unwrap();
        }
        assert_eq!(generic::to_host(&of.take().unwrap()), [1.5, 2.5, 3.5, 4.5]);
        assert!(of.take().is_none());
    }
}
