//! Attention of each sequence of a batch to itself (Vaswani et al., *Attention Is All You Need*, 2017, equation 1): softmax(Q K' / sqrt d) V, head by head, as
//! one operation with a way back of its own.
//!
//! Rows of a batch are its tokens, sequence after sequence, each as long as it is: there is no padding, so nothing is masked and nothing
//! is computed for nobody. A task is one head of one sequence, in pieces of some queries, so that the attention weights of a piece stay in the
//! cache and are never kept: the way back computes them again, as Dao et al. do (*FlashAttention*, 2022). Tasks are cut by shapes
//! alone and share no sum, so numbers do not depend on threads.

use std::sync::Arc;

use super::cpu::share;
use super::gelu::{softmax, softmax_back};
use super::gemm::{Finish, Operand, Panels, multiply, multiply_deep};
use super::pool::{Buffer, Pool};

/// Queries that are done together, in whole tiles of a product.
const QUERIES: usize = 96;

/// Where the sequences of a batch lie: the first row of each, and behind the last. Clones are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequences(Arc<[usize]>);

impl Sequences {
    /// One after the other, of so many rows each.
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let starts = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        Sequences(std::iter::once(0).chain(starts).collect())
    }

    /// Rows of all together.
    pub(crate) fn rows(&self) -> usize {
        self.0.last().copied().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// The rows of each.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> + '_ {
        self.0.windows(2).map(|ends| ends[0]..ends[1])
    }

    /// Sum of squared lengths: how many pairs of rows look at each other.
    pub(crate) fn pairs(&self) -> usize {
        self.ranges().map(|rows| rows.len().pow(2)).sum()
    }
}

/// A head of a sequence in the batch's matrix of (rows, 3 width): queries, keys, values, each by heads.
#[derive(Clone, Copy)]
struct Head<'a> {
    rows: &'a [f32],
    tokens: usize,
    width: usize,
    /// The head's first column, and how many it has.
    from: usize,
    depth: usize,
}

impl<'a> Head<'a> {
    /// The queries (0), keys (1) or values (2).
    fn part(self, part: usize) -> Operand<'a> {
        Operand::within(self.rows, self.tokens, 3 * self.width, part * self.width + self.from, self.depth)
    }

    /// Some of its queries' rows, side by side.
    fn queries(self, pool: &Pool, from: usize, count: usize) -> Buffer {
        columns(pool, &self.rows[from * 3 * self.width..], 3 * self.width, self.from, self.depth, count)
    }

    fn scale(self) -> f32 {
        1.0 / (self.depth as f32).sqrt()
    }

    /// Attention weights of some queries: (count, tokens).
    fn weights(self, pool: &Pool, queries: &[f32], keys: &Panels) -> Buffer {
        let count = queries.len() / self.depth;
        let mut weights = pool.take(count * self.tokens);
        multiply(&mut weights, queries, count, keys, Finish::default());
        softmax(&mut weights, self.tokens, self.scale());
        weights
    }

    /// What it makes: (tokens, depth).
    fn forward(self, pool: &Pool, out: &mut [f32]) {
        let keys = Panels::of(pool, self.part(1).transposed());
        let values = Panels::of(pool, self.part(2));
        for (piece, out) in out.chunks_mut(QUERIES * self.depth).enumerate() {
            let count = out.len() / self.depth;
            let weights = self.weights(pool, &self.queries(pool, piece * QUERIES, count), &keys);
            multiply(out, &weights, count, &values, Finish::default());
        }
    }

    /// The gradients of queries, keys and values, (tokens, depth) each, one after the other, from that of what it made, which lies in
    /// rows of all heads.
    fn back(self, pool: &Pool, g: &[f32], out: &mut [f32]) {
        let Head { tokens, depth, .. } = self;
        let (to_queries, others) = out.split_at_mut(tokens * depth);
        let (to_keys, to_values) = others.split_at_mut(tokens * depth);
        let transposed_keys = Panels::of(pool, self.part(1).transposed());
        let transposed_values = Panels::of(pool, self.part(2).transposed());
        let keys = Panels::of(pool, self.part(1));
        for (piece, to_queries) in to_queries.chunks_mut(QUERIES * depth).enumerate() {
            let (from, count) = (piece * QUERIES, to_queries.len() / depth);
            let queries = self.queries(pool, from, count);
            let weights = self.weights(pool, &queries, &transposed_keys);
            let g = columns(pool, &g[from * self.width..], self.width, self.from, depth, count);
            let mut slopes = pool.take(count * tokens);
            multiply(&mut slopes, &g, count, &transposed_values, Finish::default());
            softmax_back(&mut slopes, &weights, tokens, self.scale());
            multiply(to_queries, &slopes, count, &keys, Finish::default());
            let by_key = |of| Operand::new(of, count, tokens).transposed();
            multiply_deep(to_keys, by_key(&slopes), Operand::new(&queries, count, depth), piece > 0, pool);
            multiply_deep(to_values, by_key(&weights), Operand::new(&g, count, depth), piece > 0, pool);
        }
    }
}

/// `count` rows of some columns of a matrix with `of` columns, side by side.
fn columns(pool: &Pool, rows: &[f32], of: usize, from: usize, cols: usize, count: usize) -> Buffer {
    let mut out = pool.take(count * cols);
    for (out, row) in out.chunks_exact_mut(cols).zip(rows.chunks_exact(of)) {
        out.copy_from_slice(&row[from..from + cols]);
    }
    out
}

/// Calls `work` for each head of each sequence with its part of `out`, which has `parts` numbers for each number of the head.
fn each_head(
    qkv: &[f32],
    (width, heads): (usize, usize),
    sequences: &Sequences,
    mut out: &mut [f32],
    parts: usize,
    work: impl Fn(Head<'_>, usize, &mut [f32]) + Sync + Send,
) {
    let depth = width / heads;
    let mut tasks = Vec::with_capacity(sequences.len() * heads);
    for rows in sequences.ranges().filter(|rows| !rows.is_empty()) {
        for head in 0..heads {
            let part;
            (part, out) = out.split_at_mut(rows.len() * depth * parts);
            let lines = &qkv[rows.start * 3 * width..rows.end * 3 * width];
            tasks.push((Head { rows: lines, tokens: rows.len(), width, from: head * depth, depth }, rows.start, part));
        }
    }
    share(tasks, 2 * parts * sequences.pairs() * width, |(head, start, part)| work(head, start, part));
}

/// Copies between matrices of all rows and what [`each_head`] makes: for each head, its columns of each of the `parts`, one after the other.
fn interleave(out: &mut [f32], by_head: &[f32], (width, heads): (usize, usize), sequences: &Sequences, parts: usize) {
    let (depth, wide) = (width / heads, width * parts);
    let mut from = 0;
    for rows in sequences.ranges() {
        for head in 0..heads {
            for part in 0..parts {
                for row in rows.clone() {
                    let to = row * wide + part * width + head * depth;
                    out[to..to + depth].copy_from_slice(&by_head[from..from + depth]);
                    from += depth;
                }
            }
        }
    }
}

/// Attention: from (rows, 3 width), which is queries, keys and values by heads, to (rows, width).
pub(crate) fn attention(pool: &Pool, qkv: &[f32], shape: (usize, usize), sequences: &Sequences) -> Buffer {
    let mut by_head = pool.take(qkv.len() / 3);
    each_head(qkv, shape, sequences, &mut by_head, 1, |head, _, out| head.forward(pool, out));
    let mut out = pool.take(qkv.len() / 3);
    interleave(&mut out, &by_head, shape, sequences, 1);
    out
}

/// The gradient of queries, keys and values, from that of what attention made.
pub(crate) fn attention_back(pool: &Pool, qkv: &[f32], g: &[f32], shape: (usize, usize), sequences: &Sequences) -> Buffer {
    let mut by_head = pool.take(qkv.len());
    each_head(qkv, shape, sequences, &mut by_head, 3, |head, start, out| head.back(pool, &g[start * shape.0..], out));
    let mut out = pool.take(qkv.len());
    interleave(&mut out, &by_head, shape, sequences, 3);
    out
}
