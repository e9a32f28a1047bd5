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
        gradients.get_or_alloc_mut(of)?;
        Ok(to_host(&gradients.get(of)))
    }
}

/// Copies a matrix to the host, row-major.
pub(crate) fn to_host<D: Ops>(matrix: &Mat<D>) -> Vec<f32> {
    let (rows, cols) = dims(matrix);
    let mut host = vec![0.0; rows * cols];
    matrix.copy_into(&mut host);
    host
}
