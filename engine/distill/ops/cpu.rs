//! Kernels for dfdx's `Cpu`: plain loops around gemm.
//!
//! dfdx 0.13 lets nobody borrow a CPU tensor's numbers, only copy them; its gradients can be borrowed. So inputs are copied
//! once an operation (and kept for the way back), while gradients are added in place. Sums run in a fixed order whatever
//! the number of threads: gemm shares out rows and columns, never the inner dimension.

use dfdx::tensor::{Cpu, CpuError, Gradients, OwnedTape, Tape};

use super::{Activation, Dense, Mat, Ops, dims, to_host};

impl Ops for Cpu {
    const NAME: &'static str = "cpu";

    fn dense(&self, tape: Option<&mut OwnedTape<f32, Self>>, dense: Dense<Self>) -> Result<Mat<Self>, CpuError> {
        let wanted = dense.wanted();
        let Dense { x, layer, activation, mask } = dense;
        let (batch, inputs) = dims(&x.value);
        let (_, outputs) = dims(&layer.weight.value);
        let mut input = to_host(&x.value);
        if let Some(mask) = &mask {
            multiply(&mut input, mask);
        }
        let weight = to_host(&layer.weight.value);
        let bias = to_host(&layer.bias.value);
        let mut out = Vec::with_capacity(batch * outputs);
        for _ in 0..batch {
            out.extend_from_slice(&bias);
        }
        multiply_add(&mut out, Operand::new(&input, batch, inputs), Operand::new(&weight, inputs, outputs));
        if activation == Activation::Relu {
            for value in &mut out {
                *value = value.max(0.0);
            }
        }
        // The tensors themselves need not stay for the way back, only their names: the copies do.
        let y: Mat<Cpu> = dfdx::tensor::TensorFromVec::try_tensor_from_vec(self, out, (batch, outputs))?;
        if let Some(tape) = tape.filter(|_| wanted) {
            let y = y.clone();
            tape.add_backward_op(move |gradients| {
                let mut g = take(gradients, &y)?;
                if activation == Activation::Relu {
                    for (g, y) in g.iter_mut().zip(to_host(&y)) {
                        *g = if y > 0.0 { *g } else { 0.0 };
                    }
                }
                if layer.bias.wanted {
                    let sums = gradients.get_or_alloc_mut(&layer.bias.value)?;
                    for row in g.chunks_exact(outputs) {
                        add(sums, row);
                    }
                }
                if layer.weight.wanted {
                    let gradient = gradients.get_or_alloc_mut(&layer.weight.value)?;
                    multiply_add(gradient, Operand::new(&input, batch, inputs).transposed(), Operand::new(&g, batch, outputs));
                }
                if x.wanted {
                    let gradient = gradients.get_or_alloc_mut(&x.value)?;
                    let g = Operand::new(&g, batch, outputs);
                    let weight = Operand::new(&weight, inputs, outputs).transposed();
                    match &mask {
                        None => multiply_add(gradient, g, weight),
                        Some(mask) => {
                            // `input` has done its work, so its memory takes the product.
                            let mut product = input;
                            product.fill(0.0);
                            multiply_add(&mut product, g, weight);
                            multiply(&mut product, mask);
                            add(gradient, &product);
                        }
                    }
                }
                Ok(())
            });
        }
        Ok(y)
    }

    fn accumulate(&self, gradients: &mut Gradients<f32, Self>, of: &Mat<Self>, host: Vec<f32>) -> Result<(), CpuError> {
        add(gradients.get_or_alloc_mut(of)?, &host);
        Ok(())
    }

    fn take_gradient(&self, gradients: &mut Gradients<f32, Self>, of: &Mat<Self>) -> Result<Vec<f32>, CpuError> {
        take(gradients, of)
    }
}

fn take(gradients: &mut Gradients<f32, Cpu>, of: &Mat<Cpu>) -> Result<Vec<f32>, CpuError> {
    let storage: &mut Vec<f32> = gradients.get_or_alloc_mut(of)?;
    Ok(std::mem::take(storage))
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

fn multiply(values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}

/// A matrix as gemm sees it: numbers and strides.
#[derive(Clone, Copy)]
struct Operand<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Operand<'a> {
    /// A row-major matrix.
    fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix has rows * cols entries");
        Operand { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    fn transposed(self) -> Self {
        Operand { data: self.data, rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride }
    }
}

/// `out += a b`, with `out` row-major.
fn multiply_add(out: &mut [f32], a: Operand<'_>, b: Operand<'_>) {
    assert_eq!(a.cols, b.rows, "inner dimensions agree");
    assert_eq!(out.len(), a.rows * b.cols, "the result has a.rows * b.cols entries");
    // SAFETY: the assertions above and in `Operand::new` bound every index that gemm forms from these sizes and
    // strides; `out` is borrowed mutably and so overlaps neither operand.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            true,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(rayon::current_num_threads()),
        );
    }
}
