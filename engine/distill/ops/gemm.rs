//! Products of matrices, fused with what a dense layer does before and after them.
//!
//! The right side is packed once into panels of 16 columns (and used for all blocks of rows); the left side is read where it lies. A tile of 6 x 16
//! sums stays in registers over the whole depth, and bias, ReLU, or the gate of the way back are applied as it is stored. The method is Goto and
//! van de Geijn's (*Anatomy of High-Performance Matrix Multiplication*, 2008), with less blocking: a dense layer's weights fit
//! into the cache as they are. Each sum runs over the depth in order, so a result does not depend on how rows are shared out.

use multiversion::multiversion;

use super::pool::{Buffer, Pool};

/// Columns of a panel.
const WIDE: usize = 16;
/// Rows of a tile.
pub(crate) const TALL: usize = 6;
/// Depth of a piece of a long sum: a panel of it stays in the first-level cache, and so does what of the left side is at work.
const DEPTH: usize = 256;

/// A matrix: numbers and strides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Operand<'a> {
    /// A row-major matrix.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix has rows * cols entries");
        Operand { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Operand { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Some of its rows.
    pub(crate) fn rows(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.rows, "rows lie inside of the matrix");
        let first = (from * self.row_stride).min(self.data.len());
        Operand { data: &self.data[first..], rows: count, ..self }
    }

    /// Some columns of a row-major matrix of more.
    pub(crate) fn within(data: &'a [f32], rows: usize, of: usize, from: usize, cols: usize) -> Self {
        Operand::new(data, rows, of).cols(from, cols)
    }

    /// Some of its columns.
    fn cols(self, from: usize, count: usize) -> Self {
        self.transposed().rows(from, count).transposed()
    }

    /// Whether every entry lies inside of the data.
    fn fits(&self) -> bool {
        let last = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        self.rows * self.cols == 0 || last(self.rows, self.row_stride) + last(self.cols, self.col_stride) < self.data.len()
    }
}

/// The right side of a product, packed.
#[derive(Debug)]
pub(crate) struct Panels {
    /// For each 16 columns, row by row; what lies beyond the last column is 0.
    data: Buffer,
    depth: usize,
    cols: usize,
}

impl Panels {
    pub(crate) fn of(pool: &Pool, b: Operand<'_>) -> Self {
        let (depth, cols) = (b.rows, b.cols);
        let mut data = pool.take(cols.div_ceil(WIDE) * depth * WIDE);
        for (panel, rows) in data.chunks_exact_mut((depth * WIDE).max(1)).enumerate() {
            pack_wide(rows, b.cols(panel * WIDE, WIDE.min(cols - panel * WIDE)).transposed());
        }
        Panels { data, depth, cols }
    }

    /// What was packed, row-major.
    pub(crate) fn unpacked(&self, pool: &Pool) -> Buffer {
        let mut rows = pool.take(self.depth * self.cols);
        for (panel, columns) in self.data.chunks_exact((self.depth * WIDE).max(1)).enumerate() {
            let wide = WIDE.min(self.cols - panel * WIDE);
            for (row, values) in rows.chunks_exact_mut(self.cols).zip(columns.chunks_exact(WIDE)) {
                row[panel * WIDE..panel * WIDE + wide].copy_from_slice(&values[..wide]);
            }
        }
        rows
    }
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
fn pack_wide(into: &mut [f32], rows: Operand<'_>) {
    pack::<WIDE>(into, rows);
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx512f+avx512vl"))]
fn pack_tall(into: &mut [f32], rows: Operand<'_>) {
    pack::<TALL>(into, rows);
}

/// Writes up to `N` rows of a matrix column by column; rows that it does not have are 0.
#[inline(always)]
fn pack<const N: usize>(into: &mut [f32], rows: Operand<'_>) {
    assert!(rows.fits() && rows.rows <= N, "rows lie inside of their data");
    if rows.rows == N && rows.row_stride == 1 {
        for (column, from) in into.chunks_exact_mut(N).zip((0..rows.cols).map(|k| k * rows.col_stride)) {
            if let (Ok(column), Ok(values)) =
                (<&mut [f32; N]>::try_from(column), <&[f32; N]>::try_from(&rows.data[from..from + N]))
            {
                *column = *values;
            }
        }
        return;
    }
    // A row at a time: read in order where its entries lie side by side.
    for i in 0..N {
        let places = into[i..].iter_mut().step_by(N);
        if i >= rows.rows {
            places.for_each(|place| *place = 0.0);
        } else {
            let values = rows.data[i * rows.row_stride..].iter().step_by(rows.col_stride.max(1));
            places.zip(values).for_each(|(place, value)| *place = *value);
        }
    }
}

/// What happens to a product before it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish<'a> {
    /// Added to what is there, instead of written over it.
    pub(crate) add: bool,
    /// Added to every row.
    pub(crate) bias: Option<&'a [f32]>,
    /// Then the larger of 0 and that.
    pub(crate) relu: bool,
    /// Then 0 wherever this, of the result's shape, is not above 0.
    pub(crate) gate: Option<&'a [f32]>,
}

#[cfg(test)]
thread_local! {
    /// Multiplications of matrix products on this thread, to compare with what is foretold.
    pub(crate) static MULTIPLIED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The left side of a product: tile after tile of 6 rows.
#[derive(Clone, Copy, Debug)]
struct Left<'a> {
    /// Row-major; or, where packed, for each tile its columns one after the other, 6 entries each, those beyond the last row 0.
    /// Either way the tile that begins in a row begins at the entry (row * depth).
    data: &'a [f32],
    rows: usize,
    depth: usize,
    packed: bool,
}

impl Left<'_> {
    /// How far apart entries are in a column, and in a row.
    fn strides(&self) -> (usize, usize) {
        if self.packed { (1, TALL) } else { (self.depth, 1) }
    }
}

/// `out = finish(a b)`, `a` (rows x depth) and `out` row-major. On the calling thread.
pub(crate) fn multiply(out: &mut [f32], a: &[f32], rows: usize, b: &Panels, finish: Finish<'_>) {
    assert_eq!(out.len(), rows * b.cols, "the result has rows * b.cols entries");
    assert!(finish.bias.is_none_or(|bias| bias.len() == b.cols), "a bias has an entry a column");
    assert!(finish.gate.is_none_or(|gate| gate.len() == out.len()), "a gate has the result's shape");
    #[cfg(test)]
    MULTIPLIED.set(MULTIPLIED.get() + (b.depth * out.len()) as u64);
    sweep(out, Left { data: a, rows, depth: b.depth, packed: false }, b, finish);
}

/// `out = a b`, or `out += a b` where `add`, for a depth that is large beside both other sides: the rows of a batch. `out` is row-major.
pub(crate) fn multiply_deep(out: &mut [f32], a: Operand<'_>, b: Operand<'_>, add: bool, pool: &Pool) {
    assert_eq!(a.cols, b.rows, "inner dimensions agree");
    assert_eq!(out.len(), a.rows * b.cols, "the result has a.rows * b.cols entries");
    #[cfg(test)]
    MULTIPLIED.set(MULTIPLIED.get() + (a.cols * out.len()) as u64);
    for from in (0..a.cols).step_by(DEPTH) {
        let depth = DEPTH.min(a.cols - from);
        let panels = Panels::of(pool, b.rows(from, depth));
        // Packed as the right side is: its rows may lie far apart.
        let left = tall(pool, a.cols(from, depth));
        let finish = Finish { add: add || from > 0, ..Finish::default() };
        sweep(out, Left { data: &left, rows: a.rows, depth, packed: true }, &panels, finish);
    }
}

/// A left side, packed.
fn tall(pool: &Pool, a: Operand<'_>) -> Buffer {
    let mut data = pool.take(a.rows.next_multiple_of(TALL) * a.cols);
    for (tile, columns) in data.chunks_exact_mut((a.cols * TALL).max(1)).enumerate() {
        pack_tall(columns, a.rows(tile * TALL, TALL.min(a.rows - tile * TALL)));
    }
    data
}

/// The product of a left side with panel after panel, each of which stays in the first-level cache while all rows go by.
fn sweep(out: &mut [f32], a: Left<'_>, b: &Panels, finish: Finish<'_>) {
    let rows = if a.packed { a.rows.next_multiple_of(TALL) } else { a.rows };
    assert!(a.data.len() == rows * a.depth && a.depth == b.depth, "operands lie inside of their data");
    assert!(out.len() == a.rows * b.cols, "so does the result");
    if a.rows == 0 {
        return;
    }
    for (panel, right) in b.data.chunks_exact((b.depth * WIDE).max(1)).enumerate() {
        let place = (panel * WIDE, b.cols);
        #[cfg(target_arch = "x86_64")]
        if b.cols - place.0 >= WIDE && std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function is compiled for.
            unsafe { sweep_fused(out, a, place, right, finish) };
            continue;
        }
        sweep_plain(out, a, place, right, finish);
    }
}

/// One panel, from a column on in a result of so many columns, on processors with 256-bit vectors and fused multiply-add: whole tiles never leave
/// the registers before they are finished.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn sweep_fused(out: &mut [f32], a: Left<'_>, (col, cols): (usize, usize), panel: &[f32], finish: Finish<'_>) {
    let here = col..((a.rows - 1) * cols + col + WIDE);
    let out = &mut out[here.clone()];
    let gate = finish.gate.map(|gate| &gate[here]);
    let bias = finish.bias.map(|bias| bias[col..col + WIDE].as_ptr());
    for row in (0..a.rows).step_by(TALL) {
        // SAFETY: `sweep` has seen that all entries of `a` are there, and cut the panel to its size; the slices above begin at the first
        // entry that is written or compared and end behind the last, in rows of `cols` entries; of the tile only rows that are there
        // are asked for.
        unsafe {
            let at = row * cols;
            let gate = gate.map(|gate| gate.as_ptr().add(at));
            let (out, how) = (out.as_mut_ptr().add(at), (finish.add, finish.relu));
            let (left, rows) = (a.data.as_ptr().add(row * a.depth), (a.rows - row).min(TALL));
            if a.packed {
                tile((Columns(left), panel.as_ptr(), a.depth), rows, cols, out, how, bias, gate);
            } else {
                tile((Rows(left, a.depth), panel.as_ptr(), a.depth), rows, cols, out, how, bias, gate);
            }
        }
    }
}

/// [`fused`] for so many `rows`.
///
/// # Safety
/// As there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<L: Entries>(
    operands: (L, *const f32, usize),
    rows: usize,
    cols: usize,
    out: *mut f32,
    how: (bool, bool),
    bias: Option<*const f32>,
    gate: Option<*const f32>,
) {
    // SAFETY: the caller vouches for all that `fused` asks for.
    unsafe {
        match rows {
            1 => fused::<1, L>(operands, cols, out, how, bias, gate),
            2 => fused::<2, L>(operands, cols, out, how, bias, gate),
            3 => fused::<3, L>(operands, cols, out, how, bias, gate),
            4 => fused::<4, L>(operands, cols, out, how, bias, gate),
            5 => fused::<5, L>(operands, cols, out, how, bias, gate),
            _ => fused::<TALL, L>(operands, cols, out, how, bias, gate),
        }
    }
}

/// For panels at the right edge, and for other processors.
fn sweep_plain(out: &mut [f32], a: Left<'_>, (col, cols): (usize, usize), panel: &[f32], finish: Finish<'_>) {
    for row in (0..a.rows).step_by(TALL) {
        let rows = TALL.min(a.rows - row);
        let sums = plain(a, row, rows, panel);
        store(out, cols, (row, col), &sums[..rows], finish);
    }
}

/// Finishes a tile and writes it to (`row`, `col`) of a result with `cols` columns.
#[inline(always)]
fn store(out: &mut [f32], cols: usize, (row, col): (usize, usize), sums: &[[f32; WIDE]], finish: Finish<'_>) {
    for (i, sums) in sums.iter().enumerate() {
        let at = (row + i) * cols + col;
        if cols - col >= WIDE {
            // Of one fixed width, so that it stays in registers.
            finish_row::<WIDE>(&mut out[at..at + WIDE], sums, finish, at, col);
        } else {
            for j in 0..cols - col {
                finish_row::<1>(&mut out[at + j..=at + j], &sums[j..=j], finish, at + j, col + j);
            }
        }
    }
}

/// Finishes `N` entries of a row that begin at the entry `at` of the result, in the column `col`.
#[inline(always)]
fn finish_row<const N: usize>(out: &mut [f32], sums: &[f32], finish: Finish<'_>, at: usize, col: usize) {
    let mut values = [0.0f32; N];
    values.copy_from_slice(&sums[..N]);
    let there = &mut out[..N];
    if finish.add {
        for (value, there) in values.iter_mut().zip(&*there) {
            *value += there;
        }
    }
    if let Some(bias) = finish.bias {
        for (value, bias) in values.iter_mut().zip(&bias[col..col + N]) {
            *value += bias;
        }
    }
    if finish.relu {
        for value in &mut values {
            *value = value.max(0.0);
        }
    }
    if let Some(gate) = finish.gate {
        for (value, gate) in values.iter_mut().zip(&gate[at..at + N]) {
            *value = if *gate > 0.0 { *value } else { 0.0 };
        }
    }
    there.copy_from_slice(&values);
}

/// The sums of up to 6 rows, beginning at `row`, with a panel.
#[inline(always)]
fn plain(a: Left<'_>, row: usize, rows: usize, panel: &[f32]) -> [[f32; WIDE]; TALL] {
    let mut sums = [[0.0f32; WIDE]; TALL];
    let (row_stride, col_stride) = a.strides();
    // Where the rows begin; those beyond the last are the last one again, and not stored.
    let starts: [usize; TALL] = std::array::from_fn(|i| row * a.depth + i.min(rows - 1) * row_stride);
    for (k, right) in panel.chunks_exact(WIDE).enumerate() {
        for (sums, start) in sums.iter_mut().zip(starts) {
            let left = a.data[start + k * col_stride];
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    sums
}

/// Where a tile's left side lies: `N` rows, `stride` entries apart, and after each entry of a row the next.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Rows(*const f32, usize);

/// The left side of [`tall`]: the entries of a column side by side.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Columns(*const f32);

/// A tile's left side, read from left to right.
#[cfg(target_arch = "x86_64")]
trait Entries: Copy {
    /// The entry of row `i` in the `k`th column from here.
    ///
    /// # Safety
    /// It must be there.
    unsafe fn entry(self, i: usize, k: usize) -> *const f32;

    /// Where the `k`th column from here begins.
    ///
    /// # Safety
    /// No further than behind the last.
    unsafe fn after(self, k: usize) -> Self;
}

#[cfg(target_arch = "x86_64")]
impl Entries for Rows {
    #[inline(always)]
    unsafe fn entry(self, i: usize, k: usize) -> *const f32 {
        // SAFETY: the caller vouches for the entry.
        unsafe { self.0.add(i * self.1 + k) }
    }

    #[inline(always)]
    unsafe fn after(self, k: usize) -> Self {
        // SAFETY: the caller vouches for the column.
        Rows(unsafe { self.0.add(k) }, self.1)
    }
}

#[cfg(target_arch = "x86_64")]
impl Entries for Columns {
    #[inline(always)]
    unsafe fn entry(self, i: usize, k: usize) -> *const f32 {
        // SAFETY: the caller vouches for the entry.
        unsafe { self.0.add(k * TALL + i) }
    }

    #[inline(always)]
    unsafe fn after(self, k: usize) -> Self {
        // SAFETY: the caller vouches for the column.
        Columns(unsafe { self.0.add(k * TALL) })
    }
}

/// One tile of `N` rows: `left` (N x `depth`) times a panel, finished and written to `out`, rows of which are `cols` apart.
///
/// The same sums as [`plain`], but for the rounding between product and sum, which a fused multiply-add leaves out. Four columns go by at a time
/// and no address needs arithmetic of its own: beside twelve multiply-adds every further instruction of the loop costs time.
///
/// # Safety
/// `left` must be readable at its N x `depth` entries, `panel` at 16 `depth`, `bias` at 16, `out` and `gate` at N rows of 16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn fused<const N: usize, L: Entries>(
    (mut left, mut panel, depth): (L, *const f32, usize),
    cols: usize,
    out: *mut f32,
    (add, relu): (bool, bool),
    bias: Option<*const f32>,
    gate: Option<*const f32>,
) {
    use std::arch::x86_64::{
        __m256, _CMP_GT_OQ, _mm256_add_ps, _mm256_and_ps, _mm256_broadcast_ss, _mm256_cmp_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_max_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    /// Columns that go by at a time.
    const STEP: usize = 4;
    // SAFETY: the caller vouches for all that is read and written.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        let column = |sums: &mut [[__m256; 2]; N], left: L, panel: *const f32, k: usize| {
            let right = [_mm256_loadu_ps(panel.add(k * WIDE)), _mm256_loadu_ps(panel.add(k * WIDE + 8))];
            for (i, sums) in sums.iter_mut().enumerate() {
                let value = _mm256_broadcast_ss(&*left.entry(i, k));
                sums[0] = _mm256_fmadd_ps(value, right[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(value, right[1], sums[1]);
            }
        };
        for _ in 0..depth / STEP {
            for k in 0..STEP {
                column(&mut sums, left, panel, k);
            }
            (left, panel) = (left.after(STEP), panel.add(STEP * WIDE));
        }
        for k in 0..depth % STEP {
            column(&mut sums, left, panel, k);
        }
        let zero = _mm256_setzero_ps();
        for (i, sums) in sums.into_iter().enumerate() {
            for (half, mut sum) in sums.into_iter().enumerate() {
                let at = i * cols + 8 * half;
                if add {
                    sum = _mm256_add_ps(sum, _mm256_loadu_ps(out.add(at)));
                }
                if let Some(bias) = bias {
                    sum = _mm256_add_ps(sum, _mm256_loadu_ps(bias.add(8 * half)));
                }
                if relu {
                    sum = _mm256_max_ps(sum, zero);
                }
                if let Some(gate) = gate {
                    sum = _mm256_and_ps(sum, _mm256_cmp_ps::<_CMP_GT_OQ>(_mm256_loadu_ps(gate.add(at)), zero));
                }
                _mm256_storeu_ps(out.add(at), sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Rng, Role};

    fn numbers(name: &str, len: usize) -> Vec<f32> {
        let mut rng = Rng::stream(1, Role::Init, name, 0);
        (0..len).map(|_| rng.symmetric(1.0)).collect()
    }

    impl Operand<'_> {
        fn at(&self, row: usize, col: usize) -> f32 {
            self.data[row * self.row_stride + col * self.col_stride]
        }
    }

    fn slow(a: Operand<'_>, b: Operand<'_>) -> Vec<f64> {
        let entry = |i: usize, j: usize| (0..a.cols).map(|k| f64::from(a.at(i, k)) * f64::from(b.at(k, j))).sum();
        (0..a.rows).flat_map(|i| (0..b.cols).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
    }

    fn close(found: &[f32], expected: &[f64]) -> bool {
        found.len() == expected.len() && found.iter().zip(expected).all(|(&f, e)| (f64::from(f) - e).abs() < 1e-4)
    }

    /// All shapes around the sizes of tiles and panels, both ways round, against the definition.
    #[test]
    fn products_follow_their_definition() {
        let pool = Pool::default();
        for (m, k, n) in [(1, 1, 1), (6, 4, 16), (7, 5, 17), (5, 300, 3), (13, 17, 40), (64, 64, 1), (2, 1, 33), (12, 600, 32)] {
            let (a, b, c) = (numbers("a", m * k), numbers("b", k * n), numbers("c", m * n));
            let (a_t, b_t) = (Operand::new(&a, k, m).transposed(), Operand::new(&b, n, k).transposed());
            let (bias, gate) = (numbers("bias", n), numbers("gate", m * n));
            for a in [Operand::new(&a, m, k), a_t] {
                for b in [Operand::new(&b, k, n), b_t] {
                    let product = slow(a, b);
                    let panels = Panels::of(&pool, b);
                    let entries: Vec<f32> = (0..k).flat_map(|i| (0..n).map(move |j| b.at(i, j))).collect();
                    assert_eq!(panels.unpacked(&pool)[..], entries[..]);
                    let mut out = vec![f32::NAN; m * n];
                    multiply_deep(&mut out, a, b, false, &pool);
                    assert!(close(&out, &product), "deep {m} {k} {n}");
                    let mut out = c.clone();
                    multiply_deep(&mut out, a, b, true, &pool);
                    let sum: Vec<f64> = product.iter().zip(&c).map(|(p, &c)| p + f64::from(c)).collect();
                    assert!(close(&out, &sum), "deep, added {m} {k} {n}");
                    let rows: Vec<f32> = (0..m).flat_map(|i| (0..k).map(move |j| a.at(i, j))).collect();
                    let mut out = vec![f32::NAN; m * n];
                    multiply(&mut out, &rows, m, &panels, Finish::default());
                    assert!(close(&out, &product), "{m} {k} {n}");
                    let mut out = c.clone();
                    multiply(&mut out, &rows, m, &panels, Finish { add: true, bias: Some(&bias), relu: true, gate: Some(&gate) });
                    let finished = sum.iter().enumerate().map(|(at, sum)| {
                        let value = (sum + f64::from(bias[at % n])).max(0.0);
                        if gate[at] > 0.0 { value } else { 0.0 }
                    });
                    assert!(close(&out, &finished.collect::<Vec<f64>>()), "finished {m} {k} {n}");
                }
            }
        }
    }

    /// A block of rows is what these rows are in the whole.
    #[test]
    fn rows_do_not_depend_on_their_neighbours() {
        let pool = Pool::default();
        let (a, b) = (numbers("a", 20 * 9), numbers("b", 9 * 21));
        let panels = Panels::of(&pool, Operand::new(&b, 9, 21));
        let mut whole = vec![0.0; 20 * 21];
        multiply(&mut whole, &a, 20, &panels, Finish::default());
        for from in 0..20 {
            let mut part = vec![0.0; (20 - from) * 21];
            multiply(&mut part, &a[from * 9..], 20 - from, &panels, Finish::default());
            assert_eq!(part, whole[from * 21..]);
        }
    }
}
