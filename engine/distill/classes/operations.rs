//! Convolution as a product of matrices: what each place of a map sees, laid out as a row, so that the rest is a dense layer.
//!
//! Maps are matrices with a row a place, line after line, image after image, and a column a channel. A window is 3 x 3 places around one,
//! those beyond the edge 0; its row has its places one after the other, each with all its channels. Three places of a line lie side by side in both, so
//! they are copied at once. Images are shared out over threads and no sum crosses them.

use rayon::prelude::*;

use crate::graph::Graph;
use crate::ops::{Ops, Var, kernels};
use crate::trace::Work;

/// Places of a window's side.
const SIDE: usize = 3;
/// Places of a window.
pub(super) const WINDOW: usize = SIDE * SIDE;

/// The size of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Map {
    /// Rows of the matrix for one image.
    pub(super) fn places(self) -> usize {
        self.height * self.width
    }

    /// The map that convolution makes of it: its windows are around every `stride`-th place of every `stride`-th line.
    pub(super) fn convolved(self, stride: usize, channels: usize) -> Self {
        Map { height: self.height.div_ceil(stride), width: self.width.div_ceil(stride), channels }
    }

    /// Calls `line` for each line of each window: where it begins among the windows' numbers, where its first place inside of the map does, and
    /// where that one's numbers and how many numbers there are in the map.
    fn each_line(self, stride: usize, mut line: impl FnMut(usize, Option<Inside>)) {
        let Map { height, width, channels } = self;
        let mut at = 0;
        for (y, x) in (0..height).step_by(stride).flat_map(|y| (0..width).step_by(stride).map(move |x| (y, x))) {
            // Places of the line beyond the left edge, and those up to the right one.
            let (first, end) = (usize::from(x == 0), SIDE.min(width + 1 - x));
            for down in 0..SIDE {
                let row = (y + down).checked_sub(1).filter(|row| *row < height);
                line(
                    at,
                    row.map(|row| Inside {
                        skipped: first * channels,
                        from: (row * width + x + first - 1) * channels,
                        count: (end - first) * channels,
                    }),
                );
                at += SIDE * channels;
            }
        }
    }
}

/// The part of a window's line that lies inside of the map.
struct Inside {
    /// Numbers of the line before it.
    skipped: usize,
    /// Where it begins in the map.
    from: usize,
    /// Numbers of it.
    count: usize,
}

impl<D: Ops> Graph<D> {
    /// The windows of maps: (images * places, channels) to (images * places of the result, 9 channels).
    pub(super) fn windows(&mut self, x: &Var<D>, map: Map, stride: usize) -> Result<Var<D>, D::Err> {
        let cols = WINDOW * map.channels;
        let (before, after) = (map.places() * map.channels, map.convolved(stride, cols).places() * cols);
        let mut out = self.pool().take(x.rows() / map.places() * after);
        let images = x.host();
        out.par_chunks_exact_mut(after).zip(images.par_chunks_exact(before)).for_each(|(out, image)| {
            map.each_line(stride, |at, inside| {
                let line = &mut out[at..at + SIDE * map.channels];
                match inside {
                    Some(Inside { skipped, from, count }) => {
                        line[..skipped].fill(0.0);
                        line[skipped..skipped + count].copy_from_slice(&image[from..from + count]);
                        line[skipped + count..].fill(0.0);
                    }
                    None => line.fill(0.0),
                }
            });
        });
        drop(images);
        let work = Work::small(0, cols as u64);
        self.host_op([x], out, cols, work, move |pool, g, _| {
            let mut gradient = pool.zeros(g.len() / after * before);
            gradient.par_chunks_exact_mut(before).zip(g.par_chunks_exact(after)).for_each(|(gradient, g)| {
                map.each_line(stride, |at, inside| {
                    if let Some(Inside { skipped, from, count }) = inside {
                        kernels::add(&mut gradient[from..from + count], &g[at + skipped..at + skipped + count]);
                    }
                });
            });
            [Some(gradient)]
        })
    }
}
