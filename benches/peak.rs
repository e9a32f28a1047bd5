//! How fast the machine multiplies matrices when nothing else is to be done: what a step's own products are compared with.

use std::time::Instant;

/// Rows, columns and depth: large enough that packing and starting do not count, small enough for three matrices of 4 MiB.
const SIZE: usize = 1024;
/// Products, of which the fastest counts.
const REPEATS: usize = 8;

/// Operations a second, in 10^9, of a large product in single precision by the crate `gemm`.
pub fn gemm_gflops(threads: usize) -> f64 {
    let (a, b) = (vec![0.5f32; SIZE * SIZE], vec![0.25f32; SIZE * SIZE]);
    let mut out = vec![0.0f32; SIZE * SIZE];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be made");
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let stride = SIZE as isize;
    let product = |out: &mut [f32]| {
        let begin = Instant::now();
        // SAFETY: three row-major matrices of SIZE x SIZE, of which only `out` is written.
        unsafe {
            gemm::gemm(
                SIZE,
                SIZE,
                SIZE,
                out.as_mut_ptr(),
                1,
                stride,
                false,
                a.as_ptr(),
                1,
                stride,
                b.as_ptr(),
                1,
                stride,
                1.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
        begin.elapsed().as_secs_f64()
    };
    let seconds = pool.install(|| (0..REPEATS).map(|_| product(&mut out)).fold(f64::INFINITY, f64::min));
    assert_eq!(std::hint::black_box(&out)[SIZE], 0.125 * SIZE as f32, "a product is computed");
    2.0 * (SIZE as f64).powi(3) / seconds / 1e9
}
