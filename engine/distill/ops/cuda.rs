//! dfdx's `Cuda`, with dfdx's own kernels throughout: a run is its layers one by one, as `generic` has them.

use std::borrow::Cow;

use dfdx::tensor::{Cpu, Cuda, OwnedTape, TensorFromVec};

use super::generic::{self, Dense, Matrix};
use super::{Buffer, HostMat, Link, Ops, Pool, Var};

type Failed = <Cuda as dfdx::tensor::HasErr>::Err;

impl Ops for Cuda {
    const NAME: &'static str = "cuda";
    type Mat = Matrix<Cuda>;

    fn matrix(&self, values: Buffer, rows: usize, cols: usize) -> Result<Self::Mat, Failed> {
        Ok(Matrix::new(self.try_tensor_from_vec(values.to_vec(), (rows, cols))?))
    }

    fn dims(matrix: &Self::Mat) -> (usize, usize) {
        matrix.dims()
    }

    fn host(matrix: &Self::Mat) -> Cow<'_, [f32]> {
        Cow::Owned(generic::to_host(&matrix.values))
    }

    fn keep(&self, matrix: Self::Mat, _: &Pool) -> Self::Mat {
        matrix
    }

    fn adopt(&self, matrix: &HostMat) -> Result<Self::Mat, Failed> {
        Ok(Matrix::new(self.try_tensor_from_vec(Cpu::host(matrix).into_owned(), Cpu::dims(matrix))?))
    }

    fn for_gradients(matrix: &Self::Mat, _: &Pool) -> Self::Mat {
        matrix.clone()
    }

    fn overwrite(&self, matrix: &mut Self::Mat, values: &[f32], _: &Pool) {
        matrix.values.copy_from(values);
    }

    fn run(
        &self,
        _: &Pool,
        mut tape: Option<&mut OwnedTape<f32, Self>>,
        x: &Var<Self>,
        links: Vec<Link<Self>>,
    ) -> Result<Vec<Var<Self>>, Failed> {
        let mut states: Vec<Var<Self>> = Vec::with_capacity(links.len());
        for link in links {
            let x = states.last().unwrap_or(x);
            let wanted = [x.wanted, link.layer.weight.wanted, link.layer.bias.wanted];
            let dense = Dense {
                x: x.value.clone(),
                weight: link.layer.weight.value,
                bias: link.layer.bias.value,
                activation: link.activation,
                mask: link.mask.map(|mask| mask.to_vec()),
                wanted,
            };
            let wanted = tape.is_some() && wanted.contains(&true);
            let value = generic::dense(self, tape.as_deref_mut(), dense)?;
            states.push(Var { value, wanted });
        }
        Ok(states)
    }

    fn accumulate(&self, of: &Self::Mat, addend: Buffer) -> Result<(), Failed> {
        of.give(self.try_tensor_from_vec(addend.to_vec(), of.dims())?)
    }

    fn take_gradient(&self, of: &Self::Mat, pool: &Pool) -> Result<Option<Buffer>, Failed> {
        Ok(of.take().map(|gradient| pool.copy(&generic::to_host(&gradient))))
    }
}
