//! Dense layers in terms of dfdx's own kernels, on whatever device.
//!
//! What CUDA computes with, and the yardstick that the processor's kernels are tested against. It knows dfdx's tensors alone. Gradients
//! lie beside their matrices, as on the processor: dfdx's own store of gradients can be read, and not written to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dfdx::shapes::{Axes2, Axis, HasShape};
use dfdx::tensor::{OwnedTape, Tape, Tensor};
use dfdx::tensor_ops::{BroadcastTo, ChooseFrom, Device, PermuteTo, ReshapeTo, TryAdd, TryGt, TryMatMul, TryMul};

use super::Activation;

/// (rows, columns), row-major.
pub(crate) type Values<D> = Tensor<(usize, usize), f32, D>;

/// A matrix on a device, and its gradient once there is one. Clones are the same matrix.
#[derive(Clone, Debug)]
pub(crate) struct Matrix<D: Device<f32>> {
    pub(crate) values: Values<D>,
    gradient: Arc<Mutex<Option<Values<D>>>>,
}

impl<D: Device<f32>> Matrix<D> {
    pub(crate) fn new(values: Values<D>) -> Self {
        Matrix { values, gradient: Arc::default() }
    }

    pub(crate) fn dims(&self) -> (usize, usize) {
        *self.values.shape()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Values<D>>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the gradient away; none where nothing reached the matrix.
    pub(crate) fn take(&self) -> Option<Values<D>> {
        self.slot().take()
    }

    /// Adds to the gradient.
    pub(crate) fn give(&self, addend: Values<D>) -> Result<(), D::Err> {
        let mut slot = self.slot();
        *slot = Some(match slot.take() {
            Some(gradient) => gradient.try_add(addend)?,
            None => addend,
        });
        Ok(())
    }
}

/// One dense layer applied to a batch: `activation((x * mask) weight + bias)`.
#[derive(Clone)]
pub(crate) struct Dense<D: Device<f32>> {
    /// (batch, in)
    pub(crate) x: Matrix<D>,
    /// (in, out)
    pub(crate) weight: Matrix<D>,
    /// (1, out)
    pub(crate) bias: Matrix<D>,
    pub(crate) activation: Activation,
    /// (batch * in)
    pub(crate) mask: Option<Vec<f32>>,
    /// Whether x, weight and bias want gradients.
    pub(crate) wanted: [bool; 3],
}

/// Computes the layer; where a tape is given and a gradient wanted, records how to go back.
pub(crate) fn dense<D: Device<f32>>(
    device: &D,
    tape: Option<&mut OwnedTape<f32, D>>,
    dense: Dense<D>,
) -> Result<Matrix<D>, D::Err> {
    let Dense { x, weight, bias, activation, mask, wanted } = dense;
    let (batch, inputs) = x.dims();
    let (_, outputs) = weight.dims();
    let mask = mask.map(|mask| device.try_tensor_from_vec(mask, (batch, inputs))).transpose()?;
    let input = match &mask {
        Some(mask) => x.values.clone().try_mul(mask.clone())?,
        None => x.values.clone(),
    };
    let spread: Values<D> =
        bias.values.clone().try_reshape_like(&(outputs,))?.try_broadcast_like::<_, Axis<0>>(&(batch, outputs))?;
    let affine = input.clone().try_matmul(weight.values.clone())?.try_add(spread)?;
    let y = Matrix::new(match activation {
        Activation::None => affine,
        Activation::Relu => affine.try_relu()?,
    });
    if let Some(tape) = tape.filter(|_| wanted.contains(&true)) {
        let y = y.clone();
        let device = device.clone();
        tape.add_backward_op(move |_| {
            let Some(mut g) = y.take() else { return Ok(()) };
            if activation == Activation::Relu {
                let zeros = device.try_zeros_like(&(batch, outputs))?;
                g = y.values.try_gt(0.0)?.try_choose(g, zeros)?;
            }
            let [x_wanted, weight_wanted, bias_wanted] = wanted;
            if bias_wanted {
                // A product, since dfdx's sum on CUDA adds in whatever order its blocks end.
                let ones: Values<D> = device.try_ones_like(&(1, batch))?;
                bias.give(ones.try_matmul(g.clone())?)?;
            }
            if weight_wanted {
                weight.give(input.try_permute::<(usize, usize), Axes2<1, 0>>()?.try_matmul(g.clone())?)?;
            }
            if x_wanted {
                let gx = g.try_matmul(weight.values.try_permute::<(usize, usize), Axes2<1, 0>>()?)?;
                x.give(match mask {
                    Some(mask) => gx.try_mul(mask)?,
                    None => gx,
                })?;
            }
            Ok(())
        });
    }
    Ok(y)
}

/// Copies a matrix to the host, row-major.
pub(crate) fn to_host<D: Device<f32>>(values: &Values<D>) -> Vec<f32> {
    let (rows, cols) = *values.shape();
    let mut host = vec![0.0; rows * cols];
    values.copy_into(&mut host);
    host
}
