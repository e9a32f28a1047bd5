//! The operations of [`Ops`](super::Ops) in terms of dfdx's own kernels, on whatever device.
//!
//! The default for devices without kernels of ours, and the yardstick that those with such kernels are tested against.

use dfdx::shapes::{Axes2, Axis};
use dfdx::tensor::{Gradients, OwnedTape, Tape, Trace};
use dfdx::tensor_ops::{Backward, BroadcastTo, ChooseFrom, PermuteTo, ReshapeTo, SumTo, TryGt, TryMatMul};

use super::{Activation, Dense, Mat, Ops, dims, to_host};

/// See [`Ops::dense`].
pub(crate) fn dense<D: Ops>(device: &D, tape: Option<&mut OwnedTape<f32, D>>, dense: Dense<D>) -> Result<Mat<D>, D::Err> {
    let wanted = dense.wanted();
    let Dense { x, layer, activation, mask } = dense;
    let (batch, _) = dims(&x.value);
    let (_, outputs) = dims(&layer.weight.value);
    let mask = mask.map(|mask| device.try_tensor_from_vec(mask, dims(&x.value))).transpose()?;
    let input = match &mask {
        Some(mask) => dfdx::tensor_ops::TryMul::try_mul(x.value.clone(), mask.clone())?,
        None => x.value.clone(),
    };
    let bias: Mat<D> =
        layer.bias.value.clone().try_reshape_like(&(outputs,))?.try_broadcast_like::<_, Axis<0>>(&(batch, outputs))?;
    let affine = dfdx::tensor_ops::TryAdd::try_add(input.clone().try_matmul(layer.weight.value.clone())?, bias)?;
    let y = match activation {
        Activation::None => affine,
        Activation::Relu => affine.try_relu()?,
    };
    if let Some(tape) = tape.filter(|_| wanted) {
        let y = y.clone();
        let device = device.clone();
        tape.add_backward_op(move |gradients| {
            gradients.get_or_alloc_mut(&y)?;
            let mut g: Mat<D> = gradients.get(&y);
            if activation == Activation::Relu {
                let zeros = device.try_zeros_like(&dims(&y))?;
                g = y.try_gt(0.0)?.try_choose(g, zeros)?;
            }
            if layer.bias.wanted {
                let sum = g.clone().try_sum::<(usize,), Axis<0>>()?;
                accumulate(gradients, &layer.bias.value, sum.try_reshape_like(&(1, outputs))?)?;
            }
            if layer.weight.wanted {
                let transposed = input.try_permute::<(usize, usize), Axes2<1, 0>>()?;
                accumulate(gradients, &layer.weight.value, transposed.try_matmul(g.clone())?)?;
            }
            if x.wanted {
                let transposed = layer.weight.value.try_permute::<(usize, usize), Axes2<1, 0>>()?;
                let mut gx = g.try_matmul(transposed)?;
                if let Some(mask) = mask {
                    gx = dfdx::tensor_ops::TryMul::try_mul(gx, mask)?;
                }
                accumulate(gradients, &x.value, gx)?;
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
pub(crate) fn accumulate<D: Ops>(gradients: &mut Gradients<f32, D>, of: &Mat<D>, addend: Mat<D>) -> Result<(), D::Err> {
    gradients.get_or_alloc_mut(of)?;
    let total: Mat<D> = dfdx::tensor_ops::TryAdd::try_add(gradients.get(of), addend)?;
    let halves = total.leaky_trace().try_square()?.try_sum::<(), _>()?;
    let mut storage = dfdx::tensor_ops::TryMul::try_mul(halves, 0.5)?.try_backward()?;
    std::mem::swap(storage.get_or_alloc_mut(&total)?, gradients.get_or_alloc_mut(of)?);
    Ok(())
}

/// See [`Ops::take_gradient`]; this one leaves the gradient where it was.
pub(crate) fn take_gradient<D: Ops>(gradients: &mut Gradients<f32, D>, of: &Mat<D>) -> Result<Vec<f32>, D::Err> {
    gradients.get_or_alloc_mut(of)?;
    Ok(to_host(&gradients.get(of)))
}
