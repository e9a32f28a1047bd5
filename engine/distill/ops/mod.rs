//! The operations that differ between devices, and nothing else: [`Ops`] is implemented by dfdx's `Cpu` and `Cuda`.
//!
//! Values are dfdx tensors, gradients live in dfdx's `Gradients`, and the order of the backward pass is dfdx's tape. What is
//! ours is the dense layer (bias, activation and dropout in one operation, and gradients only for the operands that
//! need one: a frozen layer computes its input's gradient and nothing else) and the way host numbers come in and out.
//! Everything here has a default in terms of dfdx's own kernels (`generic`); `cpu` replaces it by plain loops and gemm.
//! This is the place for faster kernels. The room knows no models and no losses.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub(crate) mod generic;

use dfdx::shapes::HasShape;
use dfdx::tensor::{Gradients, OwnedTape, Tensor};
use dfdx::tensor_ops::Device;

/// A matrix on device `D`: (rows, columns), row-major.
pub(crate) type Mat<D> = Tensor<(usize, usize), f32, D>;

/// (rows, columns) of a matrix.
pub(crate) fn dims<D: Ops>(matrix: &Mat<D>) -> (usize, usize) {
    *matrix.shape()
}

/// A matrix, and whether its gradient is wanted.
///
/// Stopping a gradient is a matter of this flag: an operation neither computes nor stores what is not wanted.
#[derive(Clone, Debug)]
pub(crate) struct Var<D: Ops> {
    pub(crate) value: Mat<D>,
    pub(crate) wanted: bool,
}

impl<D: Ops> Var<D> {
    /// The same value, through which no gradient flows.
    pub(crate) fn stopped(&self) -> Self {
        Var { value: self.value.clone(), wanted: false }
    }

    pub(crate) fn rows(&self) -> usize {
        dims(&self.value).0
    }

    pub(crate) fn cols(&self) -> usize {
        dims(&self.value).1
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

/// One dense layer applied to a batch: `activation((x * mask) weight + bias)`.
#[derive(Clone, Debug)]
pub(crate) struct Dense<D: Ops> {
    /// (batch, in)
    pub(crate) x: Var<D>,
    pub(crate) layer: Layer<D>,
    pub(crate) activation: Activation,
    /// Inverted dropout on the input: (batch * in) factors.
    pub(crate) mask: Option<Vec<f32>>,
}

impl<D: Ops> Dense<D> {
    /// Whether any operand wants a gradient.
    pub(crate) fn wanted(&self) -> bool {
        self.x.wanted || self.layer.weight.wanted || self.layer.bias.wanted
    }
}

/// A device that models can be trained on.
pub(crate) trait Ops: Device<f32> {
    /// The kind's name in errors.
    const NAME: &'static str;

    /// Computes a dense layer; where a tape is given and a gradient wanted, records how to go back.
    fn dense(&self, tape: Option<&mut OwnedTape<f32, Self>>, dense: Dense<Self>) -> Result<Mat<Self>, Self::Err> {
        generic::dense(self, tape, dense)
    }

    /// Adds `host` to the gradient of `of`.
    fn accumulate(&self, gradients: &mut Gradients<f32, Self>, of: &Mat<Self>, host: Vec<f32>) -> Result<(), Self::Err> {
        let addend = self.try_tensor_from_vec(host, dims(of))?;
        generic::accumulate(gradients, of, addend)
    }

    /// Takes the gradient of `of` to the host; zeros where nothing reached it.
    ///
    /// What is left behind is unspecified: each gradient is taken once, by the operation that made `of`.
    fn take_gradient(&self, gradients: &mut Gradients<f32, Self>, of: &Mat<Self>) -> Result<Vec<f32>, Self::Err> {
        generic::take_gradient(gradients, of)
    }
}

/// Copies a matrix to the host, row-major.
pub(crate) fn to_host<D: Ops>(matrix: &Mat<D>) -> Vec<f32> {
    let (rows, cols) = dims(matrix);
    let mut host = vec![0.0; rows * cols];
    matrix.copy_into(&mut host);
    host
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use dfdx::tensor::{Cpu, PutTape, TensorFromVec, ZerosTensor};
    use dfdx::tensor_ops::Backward;

    use super::*;
    use crate::random::{Rng, Role};

    const BATCH: usize = 7;
    const IN: usize = 5;
    const OUT: usize = 3;

    fn numbers(name: &str, len: usize) -> Vec<f32> {
        let mut rng = Rng::stream(1, Role::Init, name, 0);
        (0..len).map(|_| rng.symmetric(1.0)).collect()
    }

    fn var(name: &str, shape: (usize, usize), wanted: bool) -> Var<Cpu> {
        let device = Cpu::default();
        Var { value: device.tensor_from_vec(numbers(name, shape.0 * shape.1), shape), wanted }
    }

    fn dense(wanted: [bool; 3], activation: Activation, dropout: bool) -> Dense<Cpu> {
        Dense {
            x: var("x", (BATCH, IN), wanted[0]),
            layer: Layer { weight: var("w", (IN, OUT), wanted[1]), bias: var("b", (1, OUT), wanted[2]) },
            activation,
            mask: dropout.then(|| Rng::stream(1, Role::Dropout, "x", 0).dropout_mask(0.4, BATCH * IN)),
        }
    }

    type Kernel = fn(&Cpu, Option<&mut OwnedTape<f32, Cpu>>, Dense<Cpu>) -> Result<Mat<Cpu>, dfdx::tensor::CpuError>;

    /// The result, and the gradients of x, weight and bias where the loss is sum(seed * result), through either kernel.
    fn run(kernel: Kernel, dense: &Dense<Cpu>, generic_seed: bool) -> (Vec<f32>, [Vec<f32>; 3]) {
        let device = Cpu::default();
        let mut tape = OwnedTape::default();
        let y = kernel(&device, Some(&mut tape), dense.clone()).unwrap();
        let seed = numbers("seed", BATCH * OUT);
        let of = y.clone();
        dfdx::tensor::Tape::add_backward_op(&mut tape, move |gradients| {
            let device = Cpu::default();
            if generic_seed {
                generic::accumulate(gradients, &of, device.try_tensor_from_vec(seed, (BATCH, OUT))?)
            } else {
                device.accumulate(gradients, &of, seed)
            }
        });
        let mut gradients = device.zeros_like(&()).put_tape(tape).backward();
        let operands = [&dense.x, &dense.layer.weight, &dense.layer.bias];
        let taken = operands.map(|var| device.take_gradient(&mut gradients, &var.value).unwrap());
        (to_host(&y), taken)
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    /// The kernels of the CPU against dfdx's own, for every choice of operands, activation and dropout.
    #[test]
    fn cpu_kernels_agree_with_dfdx() {
        for choice in 0..32u32 {
            let bit = |index: u32| choice & (1 << index) != 0;
            let activation = if bit(3) { Activation::Relu } else { Activation::None };
            let dense = dense([bit(0), bit(1), bit(2)], activation, bit(4));
            let fused = run(<Cpu as Ops>::dense, &dense, false);
            let plain = run(generic::dense, &dense, true);
            assert!(close(&fused.0, &plain.0), "{choice}: values");
            for operand in 0..3 {
                assert!(close(&fused.1[operand], &plain.1[operand]), "{choice}: gradient {operand}");
                // What is not wanted is not computed: a frozen layer passes a gradient on and gets none.
                let nothing = fused.1[operand].iter().all(|&g| g == 0.0);
                assert_eq!(nothing, !bit(operand as u32), "{choice}: gradient {operand}");
            }
        }
    }

    /// y = relu((x * mask) w + b) and its derivatives by finite differences in double precision.
    #[test]
    fn dense_layers_follow_their_definition() {
        let dense = dense([true; 3], Activation::Relu, true);
        let (y, gradients) = run(<Cpu as Ops>::dense, &dense, false);
        let mask: Vec<f64> = dense.mask.clone().unwrap().iter().map(|&m| f64::from(m)).collect();
        let seed = numbers("seed", BATCH * OUT);
        let forward = |operands: &[Vec<f64>; 3]| {
            let [x, w, b] = operands;
            let mut y = vec![0.0; BATCH * OUT];
            for (i, y) in y.iter_mut().enumerate() {
                let (row, column) = (i / OUT, i % OUT);
                let terms = (0..IN).map(|k| x[row * IN + k] * mask[row * IN + k] * w[k * OUT + column]);
                *y = (terms.sum::<f64>() + b[column]).max(0.0);
            }
            y
        };
        let operands = ["x", "w", "b"].map(|name| {
            let len = match name {
                "x" => BATCH * IN,
                "w" => IN * OUT,
                _ => OUT,
            };
            numbers(name, len).iter().map(|&n| f64::from(n)).collect::<Vec<f64>>()
        });
        let expected: Vec<f32> = forward(&operands).iter().map(|&y| y as f32).collect();
        assert!(close(&y, &expected));
        let loss =
            |operands: &[Vec<f64>; 3]| -> f64 { forward(operands).iter().zip(&seed).map(|(y, &s)| y * f64::from(s)).sum() };
        for operand in 0..3 {
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

    #[test]
    fn gradients_add_up_through_either_accumulate() {
        let device = Cpu::default();
        let of = var("x", (2, 2), true).value;
        let mut gradients = Gradients::leaky();
        device.accumulate(&mut gradients, &of, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        generic::accumulate(&mut gradients, &of, device.tensor_from_vec(vec![0.5; 4], (2, 2))).unwrap();
        assert_eq!(generic::take_gradient(&mut gradients, &of).unwrap(), [1.5, 2.5, 3.5, 4.5]);
        assert_eq!(device.take_gradient(&mut gradients, &of).unwrap(), [1.5, 2.5, 3.5, 4.5]);
        // What nothing has reached has no gradient.
        let other = var("x", (2, 2), true).value;
        assert_eq!(generic::take_gradient(&mut gradients, &other).unwrap(), [0.0; 4]);
        assert_eq!(device.take_gradient(&mut Gradients::leaky(), &other).unwrap(), [0.0; 4]);
    }
}
