//! The kinds of devices, by name.

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::ops::Ops;

/// Where dense layers are computed. Embedding tables, losses and optimisers are on the host for every kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The host's processor, with as many threads as the rayon pool that training is called in.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, from 0, among those that the process sees; needs the cargo feature `cuda`.
    Cuda(usize),
}

impl DeviceKind {
    /// The kind's name, as in settings and keys.
    pub fn name(self) -> &'static str {
        match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda(_) => "cuda",
        }
    }

    /// Whether this build, on this machine, can use the kind.
    ///
    /// # Errors
    /// [`TrainError::NoDevice`] says why not, and what to do.
    pub fn check(self) -> Result<(), TrainError> {
        match self {
            DeviceKind::Cpu => Ok(()),
            DeviceKind::Cuda(ordinal) => cuda(ordinal).map(|_| ()),
        }
    }
}

/// A device's failure, as an error of training.
pub(crate) fn failed<D: Ops>(error: D::Err) -> TrainError {
    TrainError::Device { device: D::NAME, message: error.to_string() }
}

/// A GPU.
#[cfg(feature = "cuda")]
pub(crate) fn cuda(ordinal: usize) -> Result<dfdx::tensor::Cuda, TrainError> {
    let unavailable = |message: String| TrainError::NoDevice {
        device: "cuda",
        message,
        advice: "check that `nvidia-smi` lists a GPU, or use the device `cpu`",
    };
    crate::gpu::open(ordinal).map_err(unavailable)
}

/// There is none in this build.
#[cfg(not(feature = "cuda"))]
pub(crate) fn cuda(_ordinal: usize) -> Result<std::convert::Infallible, TrainError> {
    Err(TrainError::NoDevice {
        device: "cuda",
        message: "this build has no CUDA support".to_owned(),
        advice: "build with the cargo feature `cuda` (which needs the CUDA toolkit), or use the device `cpu`",
    })
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_the_error_says_what_to_do() {
        let message = DeviceKind::Cuda(0).check().map_or_else(|error| error.to_string(), |()| String::new());
        assert!(message.contains("`cuda` is not available"), "{message}");
        assert!(message.contains("build with the cargo feature `cuda`"), "{message}");
        assert!(DeviceKind::Cpu.check().is_ok());
    }
}
