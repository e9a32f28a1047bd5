//! dfdx's `Cuda`, with dfdx's own kernels throughout: the defaults of [`Ops`](super::Ops).

use dfdx::tensor::Cuda;

use super::Ops;

impl Ops for Cuda {
    const NAME: &'static str = "cuda";
}
