//! `conv`: convolutions of 3 x 3 with ReLU, each a dense layer on the windows of a map, and the mean over the last map.

use super::net::{Maker, State};
use super::operations::{Map, WINDOW};
use super::spec::Conv;
use crate::ImageShape;
use crate::graph::Graph;
use crate::ops::{Activation, Buffer, Ops, Sequences};
use crate::params::{LayerId, Params};

/// The convolutions, on images of one size.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    image: Map,
    /// The weights, and the channels that come of them.
    convolutions: Vec<(LayerId, usize)>,
}

/// How far apart the windows of a convolution are.
fn stride(index: usize) -> usize {
    if index == 0 { 1 } else { 2 }
}

impl Layers {
    pub(super) fn make<M: Maker>(maker: &mut M, conv: &Conv, image: ImageShape) -> Result<Self, M::Err> {
        let ImageShape { channels, height, width } = image;
        let inputs = std::iter::once(channels).chain(conv.channels.iter().copied());
        let mut convolutions = Vec::new();
        for (index, (inputs, outputs)) in inputs.zip(conv.channels.iter().copied()).enumerate() {
            let shape = (inputs.saturating_mul(WINDOW), outputs);
            convolutions.push((maker.layer(&format!("convolutions.{index}"), shape, Activation::Relu.gain())?, outputs));
        }
        Ok(Layers { image: Map { height, width, channels }, convolutions })
    }

    /// From images with a row a pixel: (images * pixels, channels).
    pub(super) fn forward<D: Ops>(&self, graph: &mut Graph<D>, params: &Params<D>, pixels: Buffer) -> Result<State<D>, D::Err> {
        let mut map = self.image;
        let images = pixels.len() / (map.places() * map.channels);
        let places = |map: Map| Sequences::new(&vec![map.places(); images]);
        let mut state = graph.constant(pixels, images * map.places(), map.channels)?;
        let mut low = None;
        for (index, &(layer, channels)) in self.convolutions.iter().enumerate() {
            let windows = graph.windows(&state, map, stride(index))?;
            map = map.convolved(stride(index), channels);
            state = graph.run(&windows, vec![params.layer(layer).then(Activation::Relu)])?.swap_remove(0);
            low.get_or_insert_with(|| (state.clone(), places(map)));
        }
        let high = graph.sequence_means(&state, &places(map))?;
        let (low, places) = low.unwrap_or((state, places(map)));
        Ok(State { low, places, high })
    }
}
