//! Embeddings of positions for another number of patches than a ViT was trained with: interpolated over the image by cubic convolution (Keys, *Cubic Convolution
//! Interpolation for Digital Image Processing*, 1981), with a = -0.75 and pixels as squares, as PyTorch's `bicubic` without aligned corners has it.

/// Keys's constant, as image programs choose it.
const A: f64 = -0.75;

/// Positions (rows * columns, width) of a grid of `from` (rows, columns) for a grid of `to`.
pub(crate) fn interpolated(positions: &[f32], width: usize, from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    if from == to {
        return positions.to_vec();
    }
    let (down, across) = (taps(from.0, to.0), taps(from.1, to.1));
    let mut out = Vec::with_capacity(to.0 * to.1 * width);
    let mut sums = vec![0.0f64; width];
    for row in &down {
        for column in &across {
            sums.fill(0.0);
            for (y, wy) in row {
                for (x, wx) in column {
                    let position = &positions[(y * from.1 + x) * width..][..width];
                    sums.iter_mut().zip(position).for_each(|(sum, position)| *sum += wy * wx * f64::from(*position));
                }
            }
            out.extend(sums.iter().map(|sum| *sum as f32));
        }
    }
    out
}

/// For each of `to` places on a line of `from`: four neighbours, those beyond the ends being the last, and their weights.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    let place = |index: usize| {
        let at = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let before = at.floor();
        let beside = at - before;
        [-1.0, 0.0, 1.0, 2.0].map(|step| {
            let neighbour = (before + step).clamp(0.0, from as f64 - 1.0) as usize;
            (neighbour, kernel((beside - step).abs()))
        })
    };
    (0..to).map(place).collect()
}

/// The weight of what is so far away.
fn kernel(x: f64) -> f64 {
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: a line of 1, 2, 4, 8 at half its size lies between its numbers, where the weights are -3/32, 19/32, 19/32, -3/32.
    #[test]
    fn halfway_by_hand() {
        let found = interpolated(&[1.0, 2.0, 4.0, 8.0], 1, (1, 4), (1, 2));
        let between = |a: f32, b: f32, c: f32, d: f32| (19.0 * (b + c) - 3.0 * (a + d)) / 32.0;
        assert_eq!(found, [between(1.0, 1.0, 2.0, 4.0), between(2.0, 4.0, 8.0, 8.0)]);
    }

    /// Both sides are separable, and constants stay what they are.
    #[test]
    fn sides_are_independent_and_constants_stay() {
        let (rows, columns) = ([1.0f32, -2.0, 0.5], [3.0f32, 1.0, 4.0, 1.0, 5.0]);
        let product = |rows: &[f32], columns: &[f32]| -> Vec<f32> {
            rows.iter().flat_map(|r| columns.iter().flat_map(move |c| [r * c, 7.0])).collect()
        };
        let found = interpolated(&product(&rows, &columns), 2, (3, 5), (4, 2));
        let (r, c) = (interpolated(&rows, 1, (3, 1), (4, 1)), interpolated(&columns, 1, (1, 5), (1, 2)));
        for (found, expected) in found.iter().zip(product(&r, &c)) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        assert_eq!(interpolated(&rows, 1, (3, 1), (3, 1)), rows);
    }
}
