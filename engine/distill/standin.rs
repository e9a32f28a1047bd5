//! A stand-in for the CUDA driver and cuBLAS, linked into tests with the feature `cuda-check`: so what runs on the host for a GPU can be
//! tested without one, and without the toolkit.
//!
//! The GPU's memory is the host's, and work is done as it is asked for. The kernels of dfdx that dense layers need are here as plain
//! loops. Memory that nobody has written holds NaN, and whatever is read or written must lie in memory that is allocated. What this cannot
//! show is what a GPU does: whether kernels load, in which order they add, and how fast they are.

#![expect(unsafe_code, reason = "a driver is its C functions")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Address = u64;

const NO_ERROR: c_int = 0;
const INVALID_VALUE: c_int = 1;
const INVALID_DEVICE: c_int = 101;
/// `CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED`.
const MEMORY_POOLS: c_int = 115;

/// What is allocated: 8 bytes a word, and how many bytes were asked for.
static MEMORY: Mutex<BTreeMap<Address, (Vec<u64>, usize)>> = Mutex::new(BTreeMap::new());

fn memory() -> MutexGuard<'static, BTreeMap<Address, (Vec<u64>, usize)>> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `len` values at an address, which must be allocated.
fn at<T>(address: Address, len: usize) -> *mut T {
    let bytes = (len * size_of::<T>()) as u64;
    let inside = |(from, (_, size)): (&Address, &(Vec<u64>, usize))| address + bytes <= from + *size as u64;
    if bytes > 0 && !memory().range(..=address).next_back().is_some_and(inside) {
        eprintln!("stand-in: {bytes} bytes at {address:#x} are not allocated");
        std::process::abort();
    }
    address as *mut T
}

/// The same, to read.
fn values<T: Copy>(address: Address, len: usize) -> Vec<T> {
    let from = at::<T>(address, len);
    // SAFETY: `at` has seen that they are allocated; nobody else uses a training's memory meanwhile.
    (0..len).map(|index| unsafe { from.add(index).read() }).collect()
}

fn write<T: Copy>(address: Address, values: &[T]) {
    let to = at::<T>(address, values.len());
    for (index, value) in values.iter().enumerate() {
        // SAFETY: as in `values`.
        unsafe { to.add(index).write(*value) };
    }
}

/// A kernel's arguments.
struct Arguments(*mut *mut c_void);

impl Arguments {
    fn get<T: Copy>(&self, place: usize) -> T {
        // SAFETY: the kernels below ask for the types of dfdx's.
        unsafe { self.0.add(place).read().cast::<T>().read() }
    }
}

/// Where the entries of a matrix with these strides lie, row-major.
fn places(dims: &[usize], strides: &[usize]) -> Vec<usize> {
    let count = dims.iter().product::<usize>();
    let place = |mut index: usize| {
        let digits = dims.iter().zip(strides).rev().map(|(dim, stride)| {
            let digit = index % dim;
            index /= dim;
            digit * stride
        });
        digits.sum()
    };
    (0..count).map(place).collect()
}

/// The entries of a matrix with these strides.
fn gather<T: Copy>(address: Address, dims: &[usize], strides: &[usize]) -> Vec<T> {
    let places = places(dims, strides);
    let values = values::<T>(address, places.iter().max().map_or(0, |last| last + 1));
    places.into_iter().map(|place| values[place]).collect()
}

/// (op, count, dimensions, dims and strides, left, right, out); of the sides one may be none: then it is what is in `out`.
fn binary(arguments: &Arguments, f: fn(f32, f32) -> f32) {
    let (count, rank) = (arguments.get::<usize>(1), arguments.get::<usize>(2));
    let info: Vec<usize> = values(arguments.get(3), 3 * rank);
    let out: Address = arguments.get(6);
    let side = |place: usize, strides: &[usize]| match arguments.get::<Address>(place) {
        0 => values::<f32>(out, count),
        address => gather(address, &info[..rank], strides),
    };
    let (left, right) = (side(4, &info[rank..2 * rank]), side(5, &info[2 * rank..]));
    write(out, &left.into_iter().zip(right).map(|(x, y)| f(x, y)).collect::<Vec<f32>>());
}

/// (op, count, in, out); where there is no input, it is what is in `out`.
fn relu(arguments: &Arguments) {
    let (count, from, out) = (arguments.get::<usize>(1), arguments.get::<Address>(2), arguments.get::<Address>(3));
    let x = values::<f32>(if from == 0 { out } else { from }, count);
    write(out, &x.into_iter().map(|x| x.max(0.0)).collect::<Vec<f32>>());
}

/// (count, dimensions, dims, in, its strides, scalar, out, its strides)
fn greater(arguments: &Arguments) {
    let rank = arguments.get::<usize>(1);
    let dims: Vec<usize> = values(arguments.get(2), rank);
    let x: Vec<f32> = gather(arguments.get(3), &dims, &values::<usize>(arguments.get(4), rank));
    let scalar: f32 = arguments.get(5);
    write(arguments.get(6), &x.into_iter().map(|x| u8::from(x > scalar)).collect::<Vec<u8>>());
}

/// (count, dimensions, dims, condition, its strides, left, its strides, right, its strides, out)
fn choose(arguments: &Arguments) {
    let rank = arguments.get::<usize>(1);
    let dims: Vec<usize> = values(arguments.get(2), rank);
    let strides = |place: usize| values::<usize>(arguments.get(place), rank);
    let condition: Vec<u8> = gather(arguments.get(3), &dims, &strides(4));
    let left: Vec<f32> = gather(arguments.get(5), &dims, &strides(6));
    let right: Vec<f32> = gather(arguments.get(7), &dims, &strides(8));
    let sides = left.into_iter().zip(right);
    write(arguments.get(9), &condition.into_iter().zip(sides).map(|(c, (x, y))| if c > 0 { x } else { y }).collect::<Vec<f32>>());
}

type Kernel = (&'static str, fn(&Arguments));

/// The kernels that are here, in the order of their numbers, which are from 1.
const KERNELS: [Kernel; 5] = [
    ("badd_fwd_f32", |arguments| binary(arguments, |x, y| x + y)),
    ("bmul_fwd_f32", |arguments| binary(arguments, |x, y| x * y)),
    ("relu_fwd_f32", relu),
    ("scalar_gt_fwd_f32", greater),
    ("choose_fwd_f32", choose),
];

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut usize, _: usize, name: *const c_char) -> c_int {
    // SAFETY: the caller's name and place.
    unsafe {
        let name = CStr::from_ptr(name);
        let known = KERNELS.iter().position(|(known, _)| name.to_bytes() == known.as_bytes());
        function.write(known.map_or(usize::MAX, |place| place + 1));
    }
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    blocks: c_uint,
    _: c_uint,
    _: c_uint,
    threads: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: usize,
    arguments: *mut *mut c_void,
    _: usize,
) -> c_int {
    if blocks == 0 || threads == 0 {
        return INVALID_VALUE;
    }
    let Some((_, kernel)) = KERNELS.get(function - 1) else {
        eprintln!("stand-in: a kernel is launched that is not among {:?}", KERNELS.map(|(name, _)| name));
        std::process::abort();
    };
    kernel(&Arguments(arguments));
    NO_ERROR
}

/// Column-major: `c = alpha op(a) op(b) + beta c`.
#[unsafe(no_mangle)]
unsafe extern "C" fn cublasSgemm_v2(
    _: usize,
    a_transposed: c_int,
    b_transposed: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const f32,
    a: Address,
    lda: c_int,
    b: Address,
    ldb: c_int,
    beta: *const f32,
    c: Address,
    ldc: c_int,
) -> c_int {
    // SAFETY: the caller's factors, which lie on the host.
    let (alpha, beta) = unsafe { (alpha.read(), beta.read()) };
    let [a_transposed, b_transposed] = [a_transposed, b_transposed].map(|operation| operation != 0);
    if lda < if a_transposed { k } else { m } || ldb < if b_transposed { n } else { k } || ldc < m {
        return 7; // CUBLAS_STATUS_INVALID_VALUE
    }
    let [m, n, k, lda, ldb, ldc] = [m, n, k, lda, ldb, ldc].map(|size| size as usize);
    let matrix = |address, rows: usize, cols: usize, ld: usize| values::<f32>(address, (cols - 1) * ld + rows);
    let a = if a_transposed { matrix(a, k, m, lda) } else { matrix(a, m, k, lda) };
    let b = if b_transposed { matrix(b, n, k, ldb) } else { matrix(b, k, n, ldb) };
    for j in 0..n {
        let entry = |i: usize| -> f32 {
            let left = |l: usize| if a_transposed { a[i * lda + l] } else { a[l * lda + i] };
            let right = |l: usize| if b_transposed { b[l * ldb + j] } else { b[j * ldb + l] };
            (0..k).map(|l| left(l) * right(l)).sum()
        };
        let column = c + (j * ldc * size_of::<f32>()) as u64;
        // What is there is not read where it counts for nothing: it may be NaN.
        let before = if beta == 0.0 { vec![0.0; m] } else { values::<f32>(column, m) };
        write(column, &(0..m).map(|i| alpha * entry(i) + beta * before[i]).collect::<Vec<f32>>());
    }
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut Address, bytes: usize, _: usize) -> c_int {
    let block = vec![u64::MAX; bytes.div_ceil(8).max(1)];
    let at = block.as_ptr() as Address;
    memory().insert(at, (block, bytes));
    // SAFETY: the caller's place.
    unsafe { address.write(at) };
    NO_ERROR
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: Address, _: usize) -> c_int {
    if memory().remove(&address).is_none() {
        eprintln!("stand-in: {address:#x} is freed and not allocated");
        std::process::abort();
    }
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: Address, from: *const u8, bytes: usize, _: usize) -> c_int {
    // SAFETY: the caller's memory.
    unsafe { at::<u8>(to, bytes).copy_from_nonoverlapping(from, bytes) };
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: Address, bytes: usize, _: usize) -> c_int {
    // SAFETY: the caller's memory.
    unsafe { to.copy_from_nonoverlapping(at::<u8>(from, bytes), bytes) };
    NO_ERROR
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: Address, from: Address, bytes: usize, _: usize) -> c_int {
    write(to, &values::<u8>(from, bytes));
    NO_ERROR
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: Address, value: u8, bytes: usize, _: usize) -> c_int {
    write(to, &vec![value; bytes]);
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: the caller's place.
    unsafe { count.write(1) };
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    // SAFETY: the caller's place.
    unsafe { device.write(ordinal) };
    if ordinal == 0 { NO_ERROR } else { INVALID_DEVICE }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, _: c_int) -> c_int {
    // SAFETY: the caller's place.
    unsafe { value.write(c_int::from(attribute == MEMORY_POOLS)) };
    NO_ERROR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(_: c_int, text: *mut *const c_char) -> c_int {
    // SAFETY: the caller's place.
    unsafe { text.write(c"an error of the stand-in".as_ptr()) };
    NO_ERROR
}

/// Functions that have nothing to do here: contexts, streams, events and modules are nothing but handles.
macro_rules! nothing_to_do {
    ($($name:ident),*) => { $(#[unsafe(no_mangle)] extern "C" fn $name() -> c_int { NO_ERROR })* };
}
nothing_to_do!(cuInit, cuCtxSetCurrent, cuDevicePrimaryCtxRelease_v2, cuEventDestroy_v2, cuEventRecord, cuStreamDestroy_v2);
nothing_to_do!(cuStreamSynchronize, cuStreamWaitEvent, cuModuleUnload, cublasDestroy_v2, cublasSetStream_v2);

/// Functions that make a handle, which is their first argument's.
macro_rules! handles {
    ($($name:ident),*) => { $(#[unsafe(no_mangle)] unsafe extern "C" fn $name(handle: *mut usize) -> c_int {
        // SAFETY: the caller's place.
        unsafe { handle.write(1) };
        NO_ERROR
    })* };
}
handles!(cuDevicePrimaryCtxRetain, cuEventCreate, cuStreamCreate, cuModuleLoad, cuModuleLoadData, cublasCreate_v2);

/// Functions that dfdx refers to, and nothing of ours may come to.
macro_rules! never {
    ($($name:ident),*) => { $(#[unsafe(no_mangle)] extern "C" fn $name() -> c_int {
        eprintln!("stand-in: {} is not here", stringify!($name));
        std::process::abort();
    })* };
}
never!(cuMemAlloc_v2, cuMemFree_v2, cuMemcpyDtoD_v2, cuMemcpyDtoH_v2, cuMemcpyHtoD_v2, cuMemsetD8_v2);
never!(nvrtcCompileProgram, nvrtcCreateProgram, nvrtcDestroyProgram, nvrtcGetPTX, nvrtcGetPTXSize);
never!(nvrtcGetProgramLog, nvrtcGetProgramLogSize);
