//! The layers of an encoder on a device: what turns the embeddings of a batch into its hidden states.
//!
//! A layer is attention and a perceptron of two dense layers, each added to what it reads. BERT norms the sums (Devlin et al. 2019), a ViT what each half
//! reads, and once more at the end (Dosovitskiy et al. 2021). States are numbered as Hugging Face numbers them: 0 is what the
//! first layer reads, k what the k-th has made. The room knows neither texts nor images, nor whether its weights are frozen: weights that want
//! no gradient get none, and what the layers are applied to gets its own through them.

use std::ops::Range;

use super::operations::Norm;
use crate::graph::Graph;
use crate::ops::{Activation, Layer, Ops, Sequences, Var};

/// Where the norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each half reads a norm of the state, and is added to the state.
    NormFirst,
    /// Each half is added to what it reads, and the sum is normed.
    NormLast,
}

/// One layer.
#[derive(Clone, Debug)]
pub(crate) struct Block<D: Ops> {
    /// To queries, keys and values by heads: (width, 3 width).
    pub(crate) attend: Layer<D>,
    /// From what the heads made: (width, width).
    pub(crate) gather: Layer<D>,
    /// The perceptron's: (width, inner) and (inner, width).
    pub(crate) widen: Layer<D>,
    pub(crate) narrow: Layer<D>,
    /// That of attention, and that of the perceptron.
    pub(crate) norms: [Norm<D>; 2],
}

/// An encoder's layers from `first` on, to the end.
#[derive(Clone, Debug)]
pub(crate) struct Stack<D: Ops> {
    pub(crate) first: usize,
    pub(crate) blocks: Vec<Block<D>>,
    /// What the last state goes through before a head reads it.
    pub(crate) end: Option<Norm<D>>,
    pub(crate) order: Order,
    pub(crate) heads: usize,
}

impl<D: Ops> Block<D> {
    fn run(&self, graph: &mut Graph<D>, x: &Var<D>, sequences: &Sequences, order: Order, heads: usize) -> Result<Var<D>, D::Err> {
        let read = match order {
            Order::NormFirst => graph.norm(x, &self.norms[0])?,
            Order::NormLast => x.clone(),
        };
        let qkv = dense(graph, &read, &self.attend)?;
        drop(read);
        let heads = graph.attention(&qkv, heads, sequences)?;
        drop(qkv);
        let attended = dense(graph, &heads, &self.gather)?;
        drop(heads);
        let sum = graph.add(x, &attended)?;
        drop(attended);
        let (middle, read) = match order {
            Order::NormFirst => {
                let read = graph.norm(&sum, &self.norms[1])?;
                (sum, read)
            }
            Order::NormLast => {
                let middle = graph.norm(&sum, &self.norms[0])?;
                (middle.clone(), middle)
            }
        };
        let wide = dense(graph, &read, &self.widen)?;
        drop(read);
        let bent = graph.gelu(&wide)?;
        drop(wide);
        let narrow = dense(graph, &bent, &self.narrow)?;
        drop(bent);
        let sum = graph.add(&middle, &narrow)?;
        match order {
            Order::NormFirst => Ok(sum),
            Order::NormLast => graph.norm(&sum, &self.norms[1]),
        }
    }
}

fn dense<D: Ops>(graph: &mut Graph<D>, x: &Var<D>, layer: &Layer<D>) -> Result<Var<D>, D::Err> {
    let mut made = graph.run(x, vec![layer.clone().then(Activation::None)])?;
    Ok(made.swap_remove(0))
}

impl<D: Ops> Stack<D> {
    /// How many states there are besides the first of all: the number of the last.
    pub(crate) fn last(&self) -> usize {
        self.first + self.blocks.len()
    }

    /// From state `range.start` of a batch to state `range.end`, neither before `first` nor after [`Stack::last`].
    pub(crate) fn run(
        &self,
        graph: &mut Graph<D>,
        x: &Var<D>,
        sequences: &Sequences,
        range: Range<usize>,
    ) -> Result<Var<D>, D::Err> {
        let blocks = &self.blocks[range.start - self.first..range.end - self.first];
        let mut state = x.clone();
        for block in blocks {
            state = block.run(graph, &state, sequences, self.order, self.heads)?;
        }
        Ok(state)
    }

    /// What a head reads, of the last state.
    pub(crate) fn finish(&self, graph: &mut Graph<D>, last: &Var<D>) -> Result<Var<D>, D::Err> {
        self.end.as_ref().map_or_else(|| Ok(last.clone()), |end| graph.norm(last, end))
    }
}
