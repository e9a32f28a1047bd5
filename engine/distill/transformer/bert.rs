//! What BERT's first layer reads: the norm of a token's embedding, that of its position and that of a text's first part, added up (Devlin et al. 2019).
//!
//! Texts come alone and not in pairs, so all of a text is its first part.

use std::io::{Read, Seek};

use super::config::Config;
use super::load::Weights;
use super::operations::Norm;
use crate::error::ModelError;
use crate::ops::{Buffer, Pool};

/// Tables of embeddings, in host memory, and the norm after them.
#[derive(Clone, Debug)]
pub(crate) struct TextEmbeddings {
    width: usize,
    /// (vocabulary, width)
    words: Vec<f32>,
    /// (positions, width), that of a first part added.
    positions: Vec<f32>,
    pub(crate) norm: Norm<dfdx::tensor::Cpu>,
}

impl TextEmbeddings {
    pub(crate) fn load<F: Read + Seek>(
        weights: &mut Weights<F>,
        config: &Config,
        [vocabulary, positions, types]: [usize; 3],
    ) -> Result<Self, ModelError> {
        let width = config.width;
        let words = weights.numbers("embeddings.word_embeddings.weight", &[vocabulary, width])?;
        let mut places = weights.numbers("embeddings.position_embeddings.weight", &[positions, width])?;
        let kinds = weights.numbers("embeddings.token_type_embeddings.weight", &[types, width])?;
        for place in places.chunks_exact_mut(width) {
            place.iter_mut().zip(&kinds[..width]).for_each(|(place, kind)| *place += kind);
        }
        Ok(TextEmbeddings { width, words, positions: places, norm: weights.norm("embeddings.LayerNorm", config)? })
    }

    /// Kinds of tokens.
    pub(crate) fn vocabulary(&self) -> usize {
        self.words.len() / self.width
    }

    /// The most tokens of a text.
    pub(crate) fn longest(&self) -> usize {
        self.positions.len() / self.width
    }

    /// Sums of embeddings, (tokens, width), which go through the norm next. Ids are below the vocabulary and lengths no longer than the longest.
    pub(crate) fn sums(&self, pool: &Pool, ids: &[u32], lengths: &[usize]) -> Buffer {
        let width = self.width;
        let mut out = pool.take(ids.len() * width);
        let places = lengths.iter().flat_map(|length| 0..*length);
        for ((row, &id), place) in out.chunks_exact_mut(width).zip(ids).zip(places) {
            let word = &self.words[id as usize * width..][..width];
            let place = &self.positions[place * width..][..width];
            row.iter_mut().zip(word).zip(place).for_each(|((to, word), place)| *to = word + place);
        }
        out
    }
}
