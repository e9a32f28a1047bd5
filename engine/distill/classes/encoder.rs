//! `text_transformer` and `vit`: embeddings of words, or patches through a dense layer, with embeddings of their positions; layers of an
//! encoder that norm what they read; one norm at the end, and the mean.
//!
//! The layers themselves are those that frozen foundation models have ([`Stack`]), with weights that are trained.

use super::net::{Maker, State};
use super::spec::{TextTransformer, Vit};
use crate::ImageShape;
use crate::graph::Graph;
use crate::ops::{Activation, Buffer, Layer, Ops, Sequences, Var};
use crate::params::{LayerId, Params, VectorId};
use crate::transformer::operations::Norm;
use crate::transformer::stack::{Block, Order, Stack};

/// Standard deviation of initial embeddings of words, as a `bag`'s by default.
const WORD_SD: f32 = 0.1;
/// That of positions, as in a ViT.
const POSITION_SD: f32 = 0.02;
/// What norms add to a variance.
const EPS: f32 = 1e-5;

/// The weights of one norm: gain and bias.
type NormIds = [VectorId; 2];

/// The weights of one layer, as a [`Block`] has them.
#[derive(Clone, Debug)]
struct BlockIds {
    attend: LayerId,
    gather: LayerId,
    widen: LayerId,
    narrow: LayerId,
    norms: [NormIds; 2],
}

/// All weights but the tables.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    /// What patches go through; none for words.
    patches: Option<LayerId>,
    blocks: Vec<BlockIds>,
    end: NormIds,
    heads: usize,
}

/// Patches of an image.
pub(super) fn patches(vit: &Vit, image: ImageShape) -> usize {
    (image.height / vit.patch) * (image.width / vit.patch)
}

impl Layers {
    pub(super) fn of_words<M: Maker>(maker: &mut M, spec: &TextTransformer, vocabulary: usize) -> Result<Self, M::Err> {
        maker.table("word.embedding", (vocabulary, spec.width), WORD_SD)?;
        maker.table("position.embedding", (spec.longest, spec.width), POSITION_SD)?;
        Self::make(maker, None, (spec.width, spec.inner), spec.layers, spec.heads)
    }

    pub(super) fn of_patches<M: Maker>(maker: &mut M, spec: &Vit, image: ImageShape) -> Result<Self, M::Err> {
        maker.table("position.embedding", (patches(spec, image), spec.width), POSITION_SD)?;
        let layer = maker.layer("patches", (image.channels * spec.patch * spec.patch, spec.width), 1.0)?;
        Self::make(maker, Some(layer), (spec.width, spec.inner), spec.layers, spec.heads)
    }

    fn make<M: Maker>(
        maker: &mut M,
        patches: Option<LayerId>,
        (width, inner): (usize, usize),
        layers: usize,
        heads: usize,
    ) -> Result<Self, M::Err> {
        let mut blocks = Vec::new();
        for index in 0..layers {
            let name = |part: &str| format!("blocks.{index}.{part}");
            blocks.push(BlockIds {
                attend: maker.layer(&name("attend"), (width, width.saturating_mul(3)), 1.0)?,
                gather: maker.layer(&name("gather"), (width, width), 1.0)?,
                // GELU, as ReLU, lets about half of a signal through.
                widen: maker.layer(&name("widen"), (width, inner), Activation::Relu.gain())?,
                narrow: maker.layer(&name("narrow"), (inner, width), 1.0)?,
                norms: [norm(maker, &name("attend_norm"), width)?, norm(maker, &name("widen_norm"), width)?],
            });
        }
        Ok(Layers { patches, blocks, end: norm(maker, "end_norm", width)?, heads })
    }

    /// The first state of texts, from the sums of their embeddings; of images, from the embeddings of positions and the patches.
    pub(super) fn forward<D: Ops>(
        &self,
        graph: &mut Graph<D>,
        params: &Params<D>,
        (embeddings, tokens): (&Var<D>, Sequences),
        patches: Option<Buffer>,
    ) -> Result<State<D>, D::Err> {
        let low = match (self.patches, patches) {
            (Some(layer), Some(patches)) => {
                let layer = params.layer(layer);
                let patches = graph.constant(patches, embeddings.rows(), layer.weight.rows())?;
                let made = graph.run(&patches, vec![layer.then(Activation::None)])?.swap_remove(0);
                graph.add(&made, embeddings)?
            }
            _ => embeddings.clone(),
        };
        let high = self.above(graph, params, &low, &tokens, false)?;
        Ok(State { low, places: tokens, high })
    }

    /// From a first state of whatever origin to what a head reads: (sequences, width).
    pub(super) fn above<D: Ops>(
        &self,
        graph: &mut Graph<D>,
        params: &Params<D>,
        first: &Var<D>,
        tokens: &Sequences,
        frozen: bool,
    ) -> Result<Var<D>, D::Err> {
        let stack = self.stack(params, frozen);
        let last = stack.run(graph, first, tokens, 0..stack.last())?;
        let end = stack.finish(graph, &last)?;
        graph.sequence_means(&end, tokens)
    }

    /// The layers with their weights of this step.
    fn stack<D: Ops>(&self, params: &Params<D>, frozen: bool) -> Stack<D> {
        let layer = |id: LayerId| -> Layer<D> { if frozen { params.layer(id).frozen() } else { params.layer(id) } };
        let vector = |id: VectorId| if frozen { params.vector_var(id).stopped() } else { params.vector_var(id) };
        let norm = |[gain, bias]: NormIds| Norm { gain: vector(gain), bias: vector(bias), eps: EPS };
        let block = |ids: &BlockIds| Block {
            attend: layer(ids.attend),
            gather: layer(ids.gather),
            widen: layer(ids.widen),
            narrow: layer(ids.narrow),
            norms: ids.norms.map(norm),
        };
        Stack {
            first: 0,
            blocks: self.blocks.iter().map(block).collect(),
            end: Some(norm(self.end)),
            order: Order::NormFirst,
            heads: self.heads,
        }
    }
}

fn norm<M: Maker>(maker: &mut M, name: &str, width: usize) -> Result<NormIds, M::Err> {
    Ok([maker.vector(&format!("{name}.gain"), width, 1.0)?, maker.vector(&format!("{name}.bias"), width, 0.0)?])
}
