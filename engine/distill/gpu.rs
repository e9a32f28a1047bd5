//! The NVIDIA GPUs that this process sees: finding one, and making it ready.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaDevice, DriverError, result};
use dfdx::tensor::Cuda;

/// The GPUs that were used. A context takes a good part of a second to make, and goes with the last that holds it: this holds it until
/// the process ends.
static KEPT: Mutex<BTreeMap<usize, Arc<CudaDevice>>> = Mutex::new(BTreeMap::new());

/// The GPU of this number, or why there is none, in words.
pub(crate) fn open(ordinal: usize) -> Result<Cuda, String> {
    // dfdx would panic where the driver finds nothing, or nothing of this number.
    let count = count().map_err(said)?;
    if ordinal >= count {
        return Err(format!("there is no GPU number {ordinal}: this process sees {count}, numbered from 0"));
    }
    if let Entry::Vacant(place) = KEPT.lock().unwrap_or_else(PoisonError::into_inner).entry(ordinal) {
        place.insert(CudaDevice::new(ordinal).map_err(said)?);
    }
    Cuda::try_build(ordinal, 0).map_err(|error| error.to_string())
}

fn count() -> Result<usize, DriverError> {
    result::init()?;
    result::device::get_count().map(|count| usize::try_from(count).unwrap_or(0))
}

/// What the driver says of an error.
fn said(error: DriverError) -> String {
    error.error_string().map_or_else(|_| format!("CUDA error {}", error.0 as u32), |text| text.to_string_lossy().into_owned())
}
