//! What a ViT's first layer reads: a class token and then the image's patches, each through one dense layer, all with the embedding of their position
//! (Dosovitskiy et al. 2021). DeiT has a second token in front, for distillation (Touvron et al. 2021).
//!
//! Positions belong to a square of patches; for images of another size they are interpolated (`positions`).

use std::io::{Read, Seek};

use super::config::{Config, Family};
use super::images::Images;
use super::load::Weights;
use super::positions::interpolated;
use crate::error::ModelError;
use crate::ops::{Buffer, Layer, Pool};

/// The dense layer of patches, and what is added to what it makes.
#[derive(Clone, Debug)]
pub(crate) struct ImageEmbeddings {
    width: usize,
    pub(crate) channels: usize,
    pub(crate) patch: usize,
    /// Patches along a side of an image it was trained on.
    side: usize,
    /// Tokens in front of the patches, their positions added: (tokens, width).
    front: Vec<f32>,
    /// (side * side, width)
    positions: Vec<f32>,
    /// From channels * patch * patch to width.
    pub(crate) patches: Layer<dfdx::tensor::Cpu>,
}

impl ImageEmbeddings {
    pub(crate) fn load<F: Read + Seek>(
        weights: &mut Weights<F>,
        config: &Config,
        [channels, patch, image]: [usize; 3],
    ) -> Result<Self, ModelError> {
        let (width, side) = (config.width, image / patch);
        let mut front = weights.numbers("embeddings.cls_token", &[1, 1, width])?;
        if config.family == Family::Deit {
            front.extend(weights.numbers("embeddings.distillation_token", &[1, 1, width])?);
        }
        let tokens = front.len() / width + side * side;
        let mut positions = weights.numbers("embeddings.position_embeddings", &[1, tokens, width])?;
        let rest = positions.split_off(front.len());
        front.iter_mut().zip(&positions).for_each(|(token, position)| *token += position);
        let projection = ["embeddings.patch_embeddings.projection".to_owned()];
        let patches = weights.dense(&projection, &[width, channels, patch, patch], true, None)?;
        Ok(ImageEmbeddings { width, channels, patch, side, front, positions: rest, patches })
    }

    /// Patches of so many images of this size, down and across.
    fn grid(&self, images: &Images) -> (usize, usize) {
        (images.height / self.patch, images.width / self.patch)
    }

    /// Rows that an image of this size becomes.
    pub(crate) fn tokens(&self, images: &Images) -> usize {
        let (down, across) = self.grid(images);
        self.front.len() / self.width + down * across
    }

    /// The patches of images, a row each: (patches of all, channels * patch * patch). Sides are whole numbers of patches.
    pub(crate) fn cut(&self, pool: &Pool, images: &Images) -> Buffer {
        let (patch, &Images { height, width, .. }) = (self.patch, images);
        let (down, across) = self.grid(images);
        let mut out = pool.take(images.values.len());
        let mut lines = out.chunks_exact_mut(patch);
        for image in images.values.chunks_exact((self.channels * height * width).max(1)) {
            for (row, column) in (0..down).flat_map(|row| (0..across).map(move |column| (row, column))) {
                for (plane, line) in
                    image.chunks_exact(height * width).flat_map(|plane| (0..patch).map(move |line| (plane, line)))
                {
                    let from = (row * patch + line) * width + column * patch;
                    if let Some(to) = lines.next() {
                        to.copy_from_slice(&plane[from..from + patch]);
                    }
                }
            }
        }
        out
    }

    /// The first layer's input, from what the dense layer made of the patches.
    pub(crate) fn assembled(&self, pool: &Pool, images: &Images, made: &[f32]) -> Buffer {
        let grid = self.grid(images);
        let positions = interpolated(&self.positions, self.width, (self.side, self.side), grid);
        let patches = grid.0 * grid.1 * self.width;
        let mut out = pool.take(images.count() * (self.front.len() + patches));
        for (image, made) in out.chunks_exact_mut(self.front.len() + patches).zip(made.chunks_exact(patches)) {
            let (front, rest) = image.split_at_mut(self.front.len());
            front.copy_from_slice(&self.front);
            rest.iter_mut().zip(made).zip(&positions).for_each(|((to, made), position)| *to = made + position);
        }
        out
    }
}
