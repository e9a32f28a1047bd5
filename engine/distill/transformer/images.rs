//! Images as a ViT reads them: resized, and standardised channel by channel.
//!
//! Resizing is bilinear with pixels as squares; where an image shrinks, each new pixel is the mean of all it covers, weighted by a triangle as wide, so
//! that nothing between two samples is lost. That is what Pillow's and torchvision's `bilinear` do.

use rayon::prelude::*;

use super::error::TransformerError;

/// Mean and standard deviation of ImageNet's channels (red, green, blue), of values from 0 to 1: what most ViTs are trained with.
pub const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// Images of one size, ready to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Channels of each.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// (images, channels, height, width), row-major.
    pub values: Vec<f32>,
}

impl Images {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.channels * self.height * self.width).unwrap_or(0)
    }

    /// Of bytes (images, 3, height, width), each from 0 to 255, images of `to` (height, width): resized, then as values from 0 to 1 less the
    /// mean of their channel, over its standard deviation.
    ///
    /// # Errors
    /// [`TransformerError::Input`] where a side is 0 or the bytes are no whole number of images.
    pub fn of_bytes(
        bytes: &[u8],
        (height, width): (usize, usize),
        to: (usize, usize),
        (mean, sd): ([f32; 3], [f32; 3]),
    ) -> Result<Self, TransformerError> {
        if [height, width, to.0, to.1].contains(&0) || !bytes.len().is_multiple_of(3 * height * width) {
            return Err(TransformerError::Input {
                what: format!("{} bytes are no images of 3 x {height} x {width} to make {} x {} of", bytes.len(), to.0, to.1),
                advice: "give whole images of three channels, and sides of at least one pixel",
            });
        }
        let (down, across) = (taps(height, to.0), taps(width, to.1));
        let mut values = vec![0.0; bytes.len() / (height * width) * to.0 * to.1];
        let planes = values.par_chunks_exact_mut(to.0 * to.1).zip(bytes.par_chunks_exact(height * width));
        planes.enumerate().for_each(|(plane, (out, bytes))| {
            let (mean, sd) = (mean[plane % 3], sd[plane % 3]);
            let narrow = |row: &[u8]| across.iter().map(|tap| tap.of(|x| f32::from(row[x]))).collect::<Vec<f32>>();
            let rows: Vec<Vec<f32>> = bytes.chunks_exact(width).map(narrow).collect();
            for (out, tap) in out.chunks_exact_mut(to.1).zip(&down) {
                for (x, out) in out.iter_mut().enumerate() {
                    *out = (tap.of(|y| rows[y][x]) / 255.0 - mean) / sd;
                }
            }
        });
        Ok(Images { channels: 3, height: to.0, width: to.1, values })
    }
}

/// What a new pixel is made of, along a line.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

impl Tap {
    fn of(&self, pixel: impl Fn(usize) -> f32) -> f32 {
        self.weights.iter().enumerate().map(|(place, weight)| weight * pixel(self.first + place)).sum()
    }
}

/// For each of `to` pixels what of a line of `from` it is made of.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let tap = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (first..end).map(|pixel| (1.0 - ((pixel as f64 + 0.5 - center) / reach).abs()).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        Tap { first, weights: weights.into_iter().map(|weight| (weight / sum) as f32).collect() }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    const PLAIN: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0 / 255.0; 3]);

    fn line(bytes: &[u8], to: usize) -> Vec<f32> {
        let channel = bytes.repeat(3);
        let images = Images::of_bytes(&channel, (1, bytes.len()), (1, to), PLAIN).unwrap();
        assert_eq!((images.count(), images.width), (1, to));
        images.values[..to].to_vec()
    }

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-3)
    }

    #[test]
    fn lines_by_hand() {
        assert!(close(&line(&[10, 20], 2), &[10.0, 20.0]));
        // New pixels lie at -1/4, 1/4, 3/4 and 5/4 of the way from the first to the second.
        assert!(close(&line(&[0, 100], 4), &[0.0, 25.0, 75.0, 100.0]));
        // Half as many: weights 3, 3, 1 of what is there at the ends, out of 8 with what is not.
        assert!(close(&line(&[0, 8, 16, 80], 2), &[(0.0 + 24.0 + 16.0) / 7.0, (8.0 + 48.0 + 240.0) / 7.0]));
    }

    #[test]
    fn channels_are_standardised_each_by_its_own() {
        let images = Images::of_bytes(&[0, 255, 51], (1, 1), (1, 1), ([0.0, 0.5, 0.2], [1.0, 0.25, 2.0])).unwrap();
        assert!(close(&images.values, &[0.0, 2.0, 0.0]), "{:?}", images.values);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for (bytes, from, to) in [(4, (1, 1), (1, 1)), (3, (0, 1), (1, 1)), (3, (1, 1), (2, 0))] {
            let error = Images::of_bytes(&vec![0; bytes], from, to, PLAIN).unwrap_err().to_string();
            assert!(error.contains(&format!("{bytes} bytes are no images")), "{error}");
        }
        assert_eq!(Images::of_bytes(&[], (1, 1), (2, 2), PLAIN).unwrap().count(), 0);
    }
}
