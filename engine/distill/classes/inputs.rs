//! What networks read: texts as ids of words, without padding, and images as bytes; all of a data set, or those of a batch.
//!
//! Nothing here is a matrix yet. Bytes stay bytes until a batch is made of them, so that a data set takes no more memory than it has to, and
//! whoever changes images at random ([`Augment`](crate::Augment)) changes those of a batch.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ImageShape;
use crate::error::TrainError;
use crate::ops::{Buffer, Pool};
use crate::stream::Stream;
use crate::teacher::moments;

/// Examples in order, without what they are of.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Texts.
    Texts(Texts),
    /// Images of one shape.
    Images(Pixels),
    /// Vectors of one width, such as the states of a teacher.
    Vectors(Vectors),
}

/// What all examples have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputShape {
    /// Texts.
    Texts {
        /// How many ids of words there are, the unknown one among them.
        vocabulary: usize,
    },
    /// Images of one size.
    Images(ImageShape),
    /// Vectors.
    Vectors {
        /// Numbers in each.
        width: usize,
    },
}

/// Ids of some texts' words, one text after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    ids: Vec<u32>,
    /// Where each text ends.
    ends: Vec<usize>,
}

impl Texts {
    /// Adds a text behind the others.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The ids of all texts.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The ids of each.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|row| self.text(row))
    }

    /// The ids of one; panics where there is no such text.
    pub fn text(&self, row: usize) -> &[u32] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.ids[start..self.ends[row]]
    }
}

impl<T: AsRef<[u32]>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Texts::default();
        texts.into_iter().for_each(|text| all.push(text.as_ref()));
        all
    }
}

/// Bytes of images, image after image, each plane after plane, each row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// The size of each.
    pub shape: ImageShape,
    /// Of all.
    pub bytes: Vec<u8>,
}

/// Some vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Numbers in each.
    pub width: usize,
    /// (vectors, `width`), row-major.
    pub values: Vec<f32>,
}

impl Inputs {
    /// How many examples there are.
    pub fn len(&self) -> usize {
        match self {
            Inputs::Texts(texts) => texts.len(),
            Inputs::Images(pixels) => pixels.bytes.len().checked_div(pixels.shape.bytes()).unwrap_or(0),
            Inputs::Vectors(vectors) => vectors.values.len().checked_div(vectors.width).unwrap_or(0),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts others behind these; whether they are of the same kind and size, without which nothing is done.
    pub(crate) fn append(&mut self, others: Inputs) -> bool {
        match (self, others) {
            (Inputs::Texts(own), Inputs::Texts(others)) => others.iter().for_each(|text| own.push(text)),
            (Inputs::Images(own), Inputs::Images(others)) if own.shape == others.shape => own.bytes.extend(others.bytes),
            (Inputs::Vectors(own), Inputs::Vectors(others)) if own.width == others.width => own.values.extend(others.values),
            _ => return false,
        }
        true
    }

    /// Some of them, in this order; panics where there is no such row.
    pub fn pick(&self, rows: &[u32]) -> Inputs {
        match self {
            Inputs::Texts(texts) => Inputs::Texts(rows.iter().map(|&row| texts.text(row as usize)).collect()),
            Inputs::Images(Pixels { shape, bytes }) => {
                let size = shape.bytes();
                let mut picked = Vec::with_capacity(rows.len() * size);
                rows.iter().for_each(|&row| picked.extend_from_slice(&bytes[row as usize * size..][..size]));
                Inputs::Images(Pixels { shape: *shape, bytes: picked })
            }
            Inputs::Vectors(Vectors { width, values }) => {
                let vector = |row: &u32| values[*row as usize * width..][..*width].iter().copied();
                Inputs::Vectors(Vectors { width: *width, values: rows.iter().flat_map(vector).collect() })
            }
        }
    }
}

/// What images and vectors are standardised by, channel by channel or dimension by dimension: a number less the `mean`, over `sd`. Empty for
/// texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standard {
    /// The mean over all training examples.
    pub mean: Vec<f32>,
    /// Their standard deviation; 1 where all are the same.
    pub sd: Vec<f32>,
}

/// What has been seen of examples, piece by piece.
#[derive(Default)]
struct Sums {
    /// Pixels a channel, and of each channel the sum of its bytes and of their squares: whole numbers, so they are exact.
    images: (u64, Vec<(u64, u64)>),
    /// Vectors, and of each dimension the mean and the sum of squared differences from it.
    vectors: (f64, Vec<(f64, f64)>),
}

impl Sums {
    fn add(&mut self, inputs: &Inputs) {
        match inputs {
            Inputs::Texts(_) => {}
            Inputs::Images(Pixels { shape, bytes }) => {
                let plane = shape.height * shape.width;
                let (pixels, sums) = &mut self.images;
                *pixels += (inputs.len() * plane) as u64;
                sums.resize(shape.channels, (0, 0));
                for (place, plane) in bytes.chunks_exact(plane.max(1)).enumerate() {
                    let (sum, squares) = &mut sums[place % shape.channels];
                    for &byte in plane {
                        *sum += u64::from(byte);
                        *squares += u64::from(byte) * u64::from(byte);
                    }
                }
            }
            Inputs::Vectors(Vectors { width, values }) => {
                let more = inputs.len() as f64;
                let (mean, variance) = moments(values, *width);
                let (count, sums) = &mut self.vectors;
                sums.resize(*width, (0.0, 0.0));
                // Chan, Golub and LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979.
                for ((own, squares), (mean, variance)) in sums.iter_mut().zip(mean.into_iter().zip(variance)) {
                    let apart = mean - *own;
                    *squares += variance * more + apart.powi(2) * *count * more / (*count + more).max(1.0);
                    *own += apart * more / (*count + more).max(1.0);
                }
                *count += more;
            }
        }
    }

    fn standard(self) -> Standard {
        let (pixels, images) = self.images;
        let (count, vectors) = self.vectors;
        let of_channel = |(sum, squares): (u64, u64)| {
            let count = pixels.max(1) as f64;
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            // Bytes are whole: what is less than this is rounding.
            (mean as f32, if variance > 1e-6 { variance.sqrt() as f32 } else { 1.0 })
        };
        let of_dimension = |(mean, squares): (f64, f64)| {
            let variance = squares / count.max(1.0);
            (mean as f32, if variance > 0.0 { variance.sqrt() as f32 } else { 1.0 })
        };
        let (mean, sd) = images.into_iter().map(of_channel).chain(vectors.into_iter().map(of_dimension)).unzip();
        Standard { mean, sd }
    }
}

impl Standard {
    /// That of training examples.
    pub fn of(inputs: &Inputs) -> Self {
        let mut sums = Sums::default();
        sums.add(inputs);
        sums.standard()
    }

    /// That of training examples that stream by, in one pass over them. Of images it is that of all of them in memory; of vectors it may differ
    /// from that by what double precision rounds off.
    ///
    /// # Errors
    /// Where a shard cannot be read.
    pub fn of_stream(stream: &Stream) -> Result<Self, TrainError> {
        let mut sums = Sums::default();
        for shard in stream.each() {
            sums.add(&shard?.1.inputs);
        }
        Ok(sums.standard())
    }

    /// Whether examples of this shape can be standardised by it.
    pub(super) fn suits(&self, shape: &InputShape) -> bool {
        let channels = match shape {
            InputShape::Texts { .. } => 0,
            InputShape::Images(image) => image.channels,
            InputShape::Vectors { width } => *width,
        };
        let numbers = self.mean.iter().chain(&self.sd);
        (self.mean.len(), self.sd.len()) == (channels, channels)
            && numbers.into_iter().all(|number| number.is_finite())
            && self.sd.iter().all(|sd| *sd > 0.0)
    }

    fn value(&self, channel: usize, byte: u8) -> f32 {
        (f32::from(byte) - self.mean[channel]) / self.sd[channel]
    }

    /// Vectors as they are read: (vectors, width).
    pub(super) fn vectors(&self, pool: &Pool, vectors: &Vectors) -> Buffer {
        let mut out = pool.take(vectors.values.len());
        for (out, row) in out.chunks_exact_mut(vectors.width).zip(vectors.values.chunks_exact(vectors.width)) {
            for ((out, value), (mean, sd)) in out.iter_mut().zip(row).zip(self.mean.iter().zip(&self.sd)) {
                *out = (value - mean) / sd;
            }
        }
        out
    }

    /// Images as a row a pixel: (images * height * width, channels).
    pub(super) fn pixels(&self, pool: &Pool, images: &Pixels) -> Buffer {
        let shape = images.shape;
        let mut out = pool.take(images.bytes.len());
        let parts = out.par_chunks_exact_mut(shape.bytes()).zip(images.bytes.par_chunks_exact(shape.bytes()));
        parts.for_each(|(out, image)| {
            for (channel, plane) in image.chunks_exact(shape.height * shape.width).enumerate() {
                for (pixel, &byte) in out.chunks_exact_mut(shape.channels).zip(plane) {
                    pixel[channel] = self.value(channel, byte);
                }
            }
        });
        out
    }

    /// Images as a row a patch, line of patches after line: (images * patches, channels * patch * patch).
    pub(super) fn patches(&self, pool: &Pool, images: &Pixels, patch: usize) -> Buffer {
        let shape = images.shape;
        let across = shape.width / patch;
        let mut out = pool.take(images.bytes.len());
        let parts = out.par_chunks_exact_mut(shape.bytes()).zip(images.bytes.par_chunks_exact(shape.bytes()));
        parts.for_each(|(out, image)| {
            for (index, to) in out.chunks_exact_mut(patch).enumerate() {
                let (line, rest) = (index % patch, index / patch);
                let (channel, place) = (rest % shape.channels, rest / shape.channels);
                let y = place / across * patch + line;
                let from = (channel * shape.height + y) * shape.width + place % across * patch;
                to.iter_mut().zip(&image[from..from + patch]).for_each(|(to, &byte)| *to = self.value(channel, byte));
            }
        });
        out
    }
}
