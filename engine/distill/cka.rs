//! How alike two models' states of the same rows are, whatever their widths: linear centered kernel alignment (S. Kornblith, M. Norouzi, H. Lee,
//! G. Hinton, "Similarity of Neural Network Representations Revisited", ICML 2019, section 3). The room knows no models.
//!
//! It is 1 for states that are the same up to a rotation, a shift and one factor for all, and 0 for states that no linear map relates.
//! With few rows beside the widths it is too high, even for states that have nothing to do with each other.

/// Linear CKA of states `a`, (rows, `width_a`), and `b`, (rows, `width_b`), both row-major: |B'A|^2 / (|A'A| |B'B|) in Frobenius norms, columns
/// centered. None for fewer than two rows or no dimension, and where either state is the same for all rows.
///
/// # Panics
/// Where the two have not the same number of whole rows.
pub fn linear_cka(a: &[f32], width_a: usize, b: &[f32], width_b: usize) -> Option<f64> {
    if width_a == 0 || width_b == 0 {
        return None;
    }
    let rows = a.len() / width_a;
    assert!(a.len() == rows * width_a && b.len() == rows * width_b, "states of the same rows");
    if rows < 2 {
        return None;
    }
    let (a, b) = (centered(a, width_a), centered(b, width_b));
    let (aa, bb) = (squared_norm(&a, width_a, &a, width_a), squared_norm(&b, width_b, &b, width_b));
    let ab = squared_norm(&b, width_b, &a, width_a);
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa.sqrt() * bb.sqrt()))
}

/// States minus the mean of each dimension.
fn centered(values: &[f32], width: usize) -> Vec<f64> {
    let rows = (values.len() / width) as f64;
    let mut means = vec![0.0; width];
    for row in values.chunks_exact(width) {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / rows);
    }
    values.chunks_exact(width).flat_map(|row| row.iter().zip(&means).map(|(value, mean)| f64::from(*value) - mean)).collect()
}

/// |X'Y|^2 in the Frobenius norm.
fn squared_norm(x: &[f64], width_x: usize, y: &[f64], width_y: usize) -> f64 {
    let mut product = vec![0.0; width_x * width_y];
    for (x, y) in x.chunks_exact(width_x).zip(y.chunks_exact(width_y)) {
        for (line, x) in product.chunks_exact_mut(width_y).zip(x) {
            line.iter_mut().zip(y).for_each(|(sum, y)| *sum += x * y);
        }
    }
    product.iter().map(|value| value * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1 that have nothing to do with each other.
    fn states(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
        };
        (0..count).map(next).collect()
    }

    fn close(found: Option<f64>, wanted: f64, by: f64) {
        assert!(found.is_some_and(|found| (found - wanted).abs() < by), "{found:?}, not {wanted}");
    }

    /// Of one dimension each it is the squared correlation: here deviations (-4, -1, 5)/3 and (-5, 1, 4)/3, whose products sum to 39/9 and whose
    /// squares to 42/9 each.
    #[test]
    fn one_dimension_by_hand() {
        close(linear_cka(&[1.0, 2.0, 4.0], 1, &[1.0, 3.0, 4.0], 1), (39.0f64 / 42.0).powi(2), 1e-12);
    }

    /// a = ((1, 0), (-1, 0), (0, 1), (0, -1)) and b its first dimension alone: A'A = 2 I with norm sqrt 8, B'B = 2, B'A = (2, 0).
    #[test]
    fn two_dimensions_by_hand() {
        let (a, b) = ([1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0], [1.0, -1.0, 0.0, 0.0]);
        close(linear_cka(&a, 2, &b, 1), 4.0 / (8.0f64.sqrt() * 2.0), 1e-12);
    }

    #[test]
    fn a_rotation_a_shift_and_a_factor_change_nothing() {
        let a = states(1, 20_000 * 2);
        let (sin, cos) = 0.7f32.sin_cos();
        let turned: Vec<f32> = a
            .chunks(2)
            .flat_map(|row| [3.0 * (cos * row[0] - sin * row[1]) + 5.0, 3.0 * (sin * row[0] + cos * row[1]) - 1.0])
            .collect();
        close(linear_cka(&a, 2, &turned, 2), 1.0, 1e-5);
        // A factor for one dimension alone is another matter.
        let stretched: Vec<f32> = a.chunks(2).flat_map(|row| [row[0], 20.0 * row[1]]).collect();
        close(linear_cka(&a, 2, &stretched, 2), std::f64::consts::FRAC_1_SQRT_2, 0.02);
    }

    #[test]
    fn what_has_nothing_in_common_is_near_0_with_many_rows_and_not_with_few() {
        let of = |rows: usize| linear_cka(&states(2, rows * 16), 16, &states(3, rows * 8), 8).unwrap_or(-1.0);
        assert!(of(20_000) < 0.01 && of(12) > 0.3, "{} {}", of(20_000), of(12));
        let (a, b) = (states(4, 50 * 3), states(5, 50 * 5));
        assert!((linear_cka(&a, 3, &b, 5).unwrap_or(0.0) - linear_cka(&b, 5, &a, 3).unwrap_or(1.0)).abs() < 1e-12);
    }

    #[test]
    fn where_nothing_varies_there_is_nothing_to_tell() {
        assert_eq!(linear_cka(&[1.0, 1.0, 1.0], 1, &[1.0, 2.0, 3.0], 1), None);
        assert_eq!(linear_cka(&[1.0], 1, &[2.0], 1), None);
        assert_eq!(linear_cka(&[], 3, &[], 2), None);
    }
}
