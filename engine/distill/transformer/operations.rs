//! The operations of a transformer that are no products of matrices, in a graph: norm, GELU, attention, and what is read off at the end.
//!
//! They are host operations, as all that is small beside the dense layers is, so they serve any device: one that keeps its numbers elsewhere hands
//! them over and back. Each holds on to what it read and to nothing it made, and computes gradients of what wants one only, so frozen
//! layers and trained ones are the same code.

use rayon::prelude::*;

use crate::graph::Graph;
use crate::ops::{self, Buffer, Ops, Pool, Sequences, Var};
use crate::trace::Work;

/// Numbers that a thread does together.
const CHUNK: usize = 1 << 13;

/// The weights of a layer norm, (1, width) each, and what is added to a variance.
#[derive(Clone, Debug)]
pub(crate) struct Norm<D: Ops> {
    pub(crate) gain: Var<D>,
    pub(crate) bias: Var<D>,
    pub(crate) eps: f32,
}

impl<D: Ops> Graph<D> {
    /// Layer norm of each row.
    pub(crate) fn norm(&mut self, x: &Var<D>, norm: &Norm<D>) -> Result<Var<D>, D::Err> {
        let (cols, eps) = (x.cols(), norm.eps);
        let mut out = self.pool().take(x.rows() * cols);
        ops::norm(&mut out, &x.host(), &norm.gain.host(), &norm.bias.host(), eps);
        let (source, gain) = (x.clone(), norm.gain.clone());
        if let Some(trace) = self.trace() {
            [&norm.gain, &norm.bias].into_iter().for_each(|weights| trace.weights(weights));
        }
        let work = Work::small(8 * cols as u64, 14 * cols as u64);
        self.host_op([x, &norm.gain, &norm.bias], out, cols, work, move |pool, g, wanted| {
            let (x, gain) = (source.host(), gain.host());
            let to_x = wanted[0].then(|| {
                let mut out = pool.take(x.len());
                ops::norm_back(&mut out, &x, &gain, &g, eps);
                out
            });
            if !(wanted[1] || wanted[2]) {
                return [to_x, None, None];
            }
            let (mut to_gain, mut to_bias) = (pool.zeros(cols), pool.zeros(cols));
            ops::norm_weights_back(&mut to_gain, &mut to_bias, &x, &g, eps);
            [to_x, Some(to_gain), Some(to_bias)]
        })
    }

    /// x Phi(x), entry by entry.
    pub(crate) fn gelu(&mut self, x: &Var<D>) -> Result<Var<D>, D::Err> {
        let mut out = self.pool().take(x.rows() * x.cols());
        out.par_chunks_mut(CHUNK).zip(x.host().par_chunks(CHUNK)).for_each(|(out, x)| ops::gelu(out, x));
        let source = x.clone();
        let work = Work::small(30 * x.cols() as u64, 33 * x.cols() as u64);
        self.host_op([x], out, x.cols(), work, move |pool, g, _| {
            let x = source.host();
            let mut out = pool.take(x.len());
            let parts = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(g.par_chunks(CHUNK));
            parts.for_each(|((out, x), g)| ops::gelu_back(out, x, g));
            [Some(out)]
        })
    }

    /// Attention of each sequence to itself: from (rows, 3 width), which is queries, keys and values by heads, to (rows, width).
    pub(crate) fn attention(&mut self, qkv: &Var<D>, heads: usize, sequences: &Sequences) -> Result<Var<D>, D::Err> {
        let width = qkv.cols() / 3;
        let shape = (width, heads);
        let out = ops::attention(self.pool(), &qkv.host(), shape, sequences);
        let (source, parts) = (qkv.clone(), sequences.clone());
        // Of a row: products with as many rows as there are in its sequence on average, two there and five back.
        let beside = (sequences.pairs() / sequences.rows().max(1)) as u64;
        let (product, softmax) = (2 * beside * width as u64, 8 * beside * heads as u64);
        let work = Work { products: [2 * product, 5 * product], ..Work::small(softmax, 2 * softmax) };
        self.host_op([qkv], out, width, work, move |pool, g, _| {
            [Some(ops::attention_back(pool, &source.host(), &g, shape, &parts))]
        })
    }

    /// The mean of each sequence's rows: (rows, width) to (sequences, width).
    pub(crate) fn sequence_means(&mut self, x: &Var<D>, sequences: &Sequences) -> Result<Var<D>, D::Err> {
        self.gathered(x, sequences, |rows| rows)
    }

    /// The first row of each sequence: (rows, width) to (sequences, width).
    pub(crate) fn sequence_firsts(&mut self, x: &Var<D>, sequences: &Sequences) -> Result<Var<D>, D::Err> {
        self.gathered(x, sequences, |rows| rows.start..rows.start + 1)
    }

    /// Rows cut into `parts` each: (rows, parts n) to (rows parts, n), the numbers as they stand.
    pub(crate) fn folded(&mut self, x: &Var<D>, parts: usize) -> Result<Var<D>, D::Err> {
        let cols = x.cols() / parts;
        let out = self.pool().copy(&x.host());
        self.host_op([x], out, cols, Work::small(0, 0), |_, g, _| [Some(g)])
    }

    /// Before each sequence of `own` its `count` rows of `before`: the whole, and whose rows they are.
    pub(crate) fn prefixed(
        &mut self,
        before: &Var<D>,
        count: usize,
        own: &Var<D>,
        of: &Sequences,
    ) -> Result<(Var<D>, Sequences), D::Err> {
        let width = own.cols();
        let lengths: Vec<usize> = of.ranges().map(|rows| count + rows.len()).collect();
        let whole = Sequences::new(&lengths);
        let mut out = self.pool().take(whole.rows() * width);
        {
            let (before, own) = (before.host(), own.host());
            for ((to, rows), first) in whole.ranges().zip(of.ranges()).zip(before.chunks_exact(count * width)) {
                let (head, rest) = out[to.start * width..to.end * width].split_at_mut(count * width);
                head.copy_from_slice(first);
                rest.copy_from_slice(&own[rows.start * width..rows.end * width]);
            }
        }
        let (parts, from) = (whole.clone(), of.clone());
        let out = self.host_op([before, own], out, width, Work::small(0, 0), move |pool, g, wanted| {
            let (mut first, mut rest) = (pool.take(parts.len() * count * width), pool.take(from.rows() * width));
            for ((to, rows), first) in parts.ranges().zip(from.ranges()).zip(first.chunks_exact_mut(count * width)) {
                let (head, tail) = g[to.start * width..to.end * width].split_at(count * width);
                first.copy_from_slice(head);
                rest[rows.start * width..rows.end * width].copy_from_slice(tail);
            }
            [wanted[0].then_some(first), wanted[1].then_some(rest)]
        })?;
        Ok((out, whole))
    }

    /// The mean of the first `count` rows of each sequence: (rows, width) to (sequences, width).
    pub(crate) fn prefix_means(&mut self, x: &Var<D>, count: usize, sequences: &Sequences) -> Result<Var<D>, D::Err> {
        self.gathered(x, sequences, move |rows| rows.start..rows.start + count)
    }

    /// The mean of some of each sequence's rows.
    fn gathered(
        &mut self,
        x: &Var<D>,
        sequences: &Sequences,
        of: impl Fn(std::ops::Range<usize>) -> std::ops::Range<usize> + Copy + 'static,
    ) -> Result<Var<D>, D::Err> {
        let (width, parts) = (x.cols(), sequences.clone());
        let out = means(self.pool(), &x.host(), width, sequences, of);
        let work = Work::small(width as u64, width as u64);
        self.host_op([x], out, width, work, move |pool, g, _| {
            let mut out = pool.zeros(parts.rows() * width);
            for (rows, g) in parts.ranges().map(of).zip(g.chunks_exact(width)) {
                let share = 1.0 / rows.len() as f32;
                for row in out[rows.start * width..rows.end * width].chunks_exact_mut(width) {
                    row.iter_mut().zip(g).for_each(|(to, g)| *to = g * share);
                }
            }
            [Some(out)]
        })
    }
}

fn means(
    pool: &Pool,
    x: &[f32],
    width: usize,
    sequences: &Sequences,
    of: impl Fn(std::ops::Range<usize>) -> std::ops::Range<usize>,
) -> Buffer {
    let mut out = pool.zeros(sequences.len() * width);
    for (rows, mean) in sequences.ranges().map(of).zip(out.chunks_exact_mut(width)) {
        for row in x[rows.start * width..rows.end * width].chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
        }
        let share = 1.0 / rows.len() as f32;
        mean.iter_mut().for_each(|mean| *mean *= share);
    }
    out
}
