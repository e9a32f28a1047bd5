//! Dense layers in terms of dfdx's own kernels, on whatever device.
//!
//! What CUDA computes with, and the yardstick that the processor's kernels are tested against. It knows dfdx's tensors alone.

use dfdx::shapes::{Axes2, Axis, HasShape};
use dfdx::tensor::{Gradients, OwnedTape, Tape, Tensor, Trace};
use dfdx::tensor_ops::{Backward, BroadcastTo, ChooseFrom, Device, PermuteTo, ReshapeTo, SumTo, TryGt, TryMatMul};

use super::Activation;

/// (rows, columns), row-major.
pub(crate) type Matrix<D> = Tensor<(usize, usize), f32, D>;

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
    let (batch, _) = *x.shape();
    let (_, outputs) = *weight.shape();
    let mask = mask.map(|mask| device.try_tensor_from_vec(mask, *x.shape())).transpose()?;
    let input = match &mask {
        Some(mask) => dfdx::tensor_ops::TryMul::try_mul(x.clone(), mask.clone())?,
        None => x.clone(),
    };
    let spread: Matrix<D> = bias.clone().try_reshape_like(&(outputs,))?.try_broadcast_like::<_, Axis<0>>(&(batch, outputs))?;
    let affine = dfdx::tensor_ops::TryAdd::try_add(input.clone().try_matmul(weight.clone())?, spread)?;
    let y = match activation {
        Activation::None => affine,
        Activation::Relu => affine.try_relu()?,
    };
    if let Some(tape) = tape.filter(|_| wanted.contains(&true)) {
        let y = y.clone();
        let device = device.clone();
        tape.add_backward_op(move |gradients| {
            gradients.get_or_alloc_mut(&y)?;
            let mut g: Matrix<D> = gradients.get(&y);
            if activation == Activation::Relu {
                let zeros = device.try_zeros_like(y.shape())?;
                g = y.try_gt(0.0)?.try_choose(g, zeros)?;
            }
            let [x_wanted, weight_wanted, bias_wanted] = wanted;
            if bias_wanted {
                let sum = g.clone().try_sum::<(usize,), Axis<0>>()?;
                accumulate(gradients, &bias, sum.try_reshape_like(&(1, outputs))?)?;
            }
            if weight_wanted {
                let transposed = input.try_permute::<(usize, usize), Axes2<1, 0>>()?;
                accumulate(gradients, &weight, transposed.try_matmul(g.clone())?)?;
            }
            if x_wanted {
                let transposed = weight.try_permute::<(usize, usize), Axes2<1, 0>>()?;
                let mut gx = g.try_matmul(transposed)?;
                if let Some(mask) = mask {
                    gx = dfdx::tensor_ops::TryMul::try_mul(gx, mask)?;
                }
                accumulate(gradients, &x, gx)?;
            }
            Ok(())
        });
    }
    Ok(y)
}

/// Adds a tensor to the gradient of `of`.
///
/// dfdx exports no way from a tensor to its storage, which is what `Gradients` holds. But the gradient of sum(t^2)/2 is t: so
/// the sum is put through dfdx's own backward pass once, and the storage that comes out is swapped in.
pub(crate) fn accumulate<D: Device<f32>>(
    gradients: &mut Gradients<f32, D>,
    of: &Matrix<D>,
    addend: Matrix<D>,
) -> Result<(), D::Err> {
    gradients.get_or_alloc_mut(of)?;
    let total: Matrix<D> = dfdx::tensor_ops::TryAdd::try_add(gradients.get(of), addend)?;
    let halves = total.leaky_trace().try_square()?.try_sum::<(), _>()?;
    let mut storage = dfdx::tensor_ops::TryMul::try_mul(halves, 0.5)?.try_backward()?;
    std::mem::swap(storage.get_or_alloc_mut(&total)?, gradients.get_or_alloc_mut(of)?);
    Ok(())
}

/// The gradient of `of`, which stays where it was; zeros where nothing reached it.
pub(crate) fn gradient<D: Device<f32>>(gradients: &mut Gradients<f32, D>, of: &Matrix<D>) -> Result<Vec<f32>, D::Err> {
    gradients.get_or_alloc_mut(of)?;
    Ok(to_host(&gradients.get(of)))
}

/// Copies a matrix to the host, row-major.
pub(crate) fn to_host<D: Device<f32>>(matrix: &Matrix<D>) -> Vec<f32> {
    let (rows, cols) = *matrix.shape();
    let mut host = vec![0.0; rows * cols];
    matrix.copy_into(&mut host);
    host
}
