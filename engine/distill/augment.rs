//! Images changed at random before a student sees them: mirrored, and cut out of a padded copy (He, Zhang, Ren and Sun, *Deep Residual
//! Learning for Image Recognition*, 2016, section 4.2). Labels stay what they are.
//!
//! What becomes of an image is named by the seed, the epoch and the image's row, so that it depends neither on the order of rows nor on
//! threads, and a training that goes on finds it again. Who learns from states of a teacher that were cached must not change images: the
//! states are those of the images as they were. [`Augment::is_none`] is for that question.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::random::{Rng, Role};

/// The size of an image whose bytes stand plane after plane, each row after row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// Planes.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl ImageShape {
    /// Bytes of an image.
    pub const fn bytes(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// What is done to an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Half of the images are mirrored, left to right.
    pub flip: bool,
    /// Black pixels that are put on each side before a piece of the image's size is cut out; 0 for no cutting.
    pub padding: usize,
}

impl Augment {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Changes a batch in place: `images` are those of `rows`, in this order.
    ///
    /// # Errors
    /// [`TrainError::Data`] where there are other numbers of rows and images, or the padding leaves pieces without a pixel of the image.
    pub fn apply(&self, images: &mut [u8], rows: &[u32], shape: ImageShape, seed: u64, epoch: u64) -> Result<(), TrainError> {
        if images.len() != rows.len() * shape.bytes() {
            let what = format!("{} bytes are not {} images of {} bytes", images.len(), rows.len(), shape.bytes());
            return Err(TrainError::Data { what, advice: "give an image for each row" });
        }
        if self.padding > 0 && self.padding >= shape.height.min(shape.width) {
            let what = format!("images of {} x {} pixels are padded by {}", shape.width, shape.height, self.padding);
            return Err(TrainError::Data { what, advice: "take a padding smaller than their sides" });
        }
        if self.is_none() || rows.is_empty() {
            return Ok(());
        }
        images.par_chunks_mut(shape.bytes()).zip(rows).for_each(|(image, &row)| {
            let draw = self.draw(seed, epoch, row);
            let before = image.to_vec();
            for (plane, before) in image.chunks_mut(shape.height * shape.width).zip(before.chunks(shape.height * shape.width)) {
                for y in 0..shape.height {
                    for x in 0..shape.width {
                        let from_x = if draw.mirrored { shape.width - 1 - x } else { x };
                        // Places in the padded image, and back in the image itself.
                        let from =
                            (y + draw.down).checked_sub(self.padding).zip((from_x + draw.across).checked_sub(self.padding));
                        let from = from.filter(|&(y, x)| y < shape.height && x < shape.width);
                        plane[y * shape.width + x] = from.map_or(0, |(y, x)| before[y * shape.width + x]);
                    }
                }
            }
        });
        Ok(())
    }

    fn draw(&self, seed: u64, epoch: u64, row: u32) -> Draw {
        let mut random = Rng::stream(seed, Role::Augment, &row.to_string(), epoch);
        let shifts = 2 * self.padding as u64 + 1;
        let (down, across) = (random.below(shifts) as usize, random.below(shifts) as usize);
        Draw { down, across, mirrored: self.flip && random.below(2) == 1 }
    }
}

/// What becomes of one image.
struct Draw {
    /// Where the piece begins in the padded image.
    down: usize,
    across: usize,
    mirrored: bool,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 3, width: 4 };
    const BOTH: Augment = Augment { flip: true, padding: 1 };

    /// The image of a row: no byte of it is 0, and no two of a plane are the same.
    fn image(row: u32) -> Vec<u8> {
        (0..SHAPE.bytes()).map(|at| (at as u32 * 5 + row % 100 + 1) as u8).collect()
    }

    fn changed(augment: Augment, rows: &[u32], seed: u64, epoch: u64) -> Vec<u8> {
        let mut images: Vec<u8> = rows.iter().flat_map(|&row| image(row)).collect();
        augment.apply(&mut images, rows, SHAPE, seed, epoch).unwrap();
        images
    }

    /// An image moved so that what is shown began so far down and across, outside of it black.
    fn moved(image: &[u8], down: isize, across: isize, mirrored: bool) -> Vec<u8> {
        let (height, width) = (SHAPE.height as isize, SHAPE.width as isize);
        let mut out = Vec::new();
        for plane in image.chunks(SHAPE.height * SHAPE.width) {
            for y in 0..height {
                let mut line: Vec<u8> = (0..width)
                    .map(|x| match ((0..height).contains(&(y + down)), (0..width).contains(&(x + across))) {
                        (true, true) => plane[((y + down) * width + x + across) as usize],
                        _ => 0,
                    })
                    .collect();
                if mirrored {
                    line.reverse();
                }
                out.extend(line);
            }
        }
        out
    }

    #[test]
    fn every_way_to_move_and_mirror_is_taken_about_as_often() {
        let rows: Vec<u32> = (0..1800).collect();
        let all = changed(BOTH, &rows, 1, 0);
        let mut counts = [0; 18];
        for (&row, found) in rows.iter().zip(all.chunks(SHAPE.bytes())) {
            let ways = (0..18).filter(|way| {
                let (down, across) = (way / 3 % 3 - 1, way % 3 - 1);
                moved(&image(row), down, across, *way >= 9) == found
            });
            let ways: Vec<isize> = ways.collect();
            let [way] = ways[..] else { panic!("row {row} became {found:?}, in the ways {ways:?}") };
            counts[way as usize] += 1;
        }
        assert!(counts.iter().all(|count| (60..=150).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_image_is_changed_alike_wherever_it_stands_and_for_any_number_of_threads() {
        let rows: Vec<u32> = (0..200).collect();
        let all = changed(BOTH, &rows, 7, 3);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| changed(BOTH, &rows, 7, 3)), all);
        }
        let turned: Vec<u32> = rows.iter().rev().copied().collect();
        let mut back: Vec<&[u8]> = all.chunks(SHAPE.bytes()).collect();
        back.reverse();
        assert_eq!(changed(BOTH, &turned, 7, 3), back.concat());
        // Another epoch and another seed change it otherwise.
        assert_ne!(changed(BOTH, &rows, 7, 4), all);
        assert_ne!(changed(BOTH, &rows, 8, 3), all);
    }

    #[test]
    fn what_is_not_asked_for_is_not_done() {
        let rows = [4, 9, 2];
        let before: Vec<u8> = rows.iter().flat_map(|&row| image(row)).collect();
        assert!(Augment::default().is_none() && !BOTH.is_none());
        assert_eq!(changed(Augment::default(), &rows, 1, 0), before);
        // Without cutting, an image is as it was or mirrored, each about half the time.
        let rows: Vec<u32> = (0..400).collect();
        let flipped = changed(Augment { flip: true, padding: 0 }, &rows, 1, 0);
        let same = rows.iter().zip(flipped.chunks(SHAPE.bytes())).filter(|(row, found)| image(**row) == *found).count();
        let mirrored =
            rows.iter().zip(flipped.chunks(SHAPE.bytes())).filter(|(row, found)| moved(&image(**row), 0, 0, true) == *found);
        assert!((150..250).contains(&same) && mirrored.count() == 400 - same, "{same}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |augment: Augment, rows: &[u32]| {
            let mut images = image(0);
            augment.apply(&mut images, rows, SHAPE, 1, 0).unwrap_err().to_string()
        };
        assert!(refused(BOTH, &[1, 2]).contains("24 bytes are not 2 images of 24 bytes"));
        assert!(refused(Augment { flip: false, padding: 3 }, &[1]).contains("images of 4 x 3 pixels are padded by 3"));
    }
}
