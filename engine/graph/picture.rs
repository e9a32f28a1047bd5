//! Where the boxes and edges of a graph are in a picture. Knows sizes, and nothing of how it is drawn.

use std::fmt::Write;

use super::Graph;
use super::layered::{Input, Layout, layout};

/// Sizes in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The width of a letter.
    pub letter: f64,
    /// Free space beside the text of a box.
    pub padding: f64,
    /// No box is narrower.
    pub narrowest: f64,
    /// The height of a box.
    pub height: f64,
    /// Free space between boxes in a row.
    pub gap: f64,
    /// From the top of a row to that of the next.
    pub row: f64,
    /// Free space around everything.
    pub margin: f64,
}

/// A graph with its places.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// The boxes, in the order of the nodes.
    pub boxes: Vec<Placed>,
    /// The edges as SVG paths, in whole numbers.
    pub edges: Vec<String>,
}

/// A box.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Its middle, from the left.
    pub middle: f64,
    /// Its top.
    pub top: f64,
    /// Its width.
    pub width: f64,
}

impl Graph {
    /// Places the graph.
    #[must_use]
    pub fn picture(&self, sizes: &Sizes) -> Picture {
        let letters = |text: &str| text.chars().count() as f64;
        let width = |node: &super::Node| {
            (letters(&node.name).max(letters(&node.about)) * sizes.letter + 2.0 * sizes.padding).max(sizes.narrowest)
        };
        let widths: Vec<f64> = self.nodes.iter().map(width).collect();
        let edges: Vec<(usize, usize)> = self.edges.iter().copied().collect();
        let layout = layout(&Input { widths: &widths, edges: &edges, gap: sizes.gap });
        let place =
            |at: usize| Placed { middle: layout.middles[at] + sizes.margin, top: sizes.top(layout.rows[at]), width: widths[at] };
        let below = (layout.height as f64 * sizes.row - (sizes.row - sizes.height)).max(0.0);
        Picture {
            width: layout.width + 2.0 * sizes.margin,
            height: below + 2.0 * sizes.margin,
            boxes: (0..widths.len()).map(place).collect(),
            edges: edges.iter().zip(&layout.bends).map(|((from, to), bends)| sizes.curve(&layout, *from, *to, bends)).collect(),
        }
    }
}

impl Sizes {
    /// The top of a row's boxes.
    fn top(&self, row: usize) -> f64 {
        row as f64 * self.row + self.margin
    }

    /// From the bottom of one box through the bends to the top of the other.
    fn curve(&self, layout: &Layout, from: usize, to: usize, bends: &[f64]) -> String {
        let (mut x, mut y) = (layout.middles[from] + self.margin, self.top(layout.rows[from]) + self.height);
        let mut path = format!("M{x:.0} {y:.0}");
        let ends = bends.iter().copied().chain([layout.middles[to]]);
        for (row, end) in (layout.rows[from] + 1..).zip(ends) {
            // An edge too many to bend goes straight to its end.
            let row = if bends.is_empty() { layout.rows[to] } else { row };
            let (next_x, next_y) = (end + self.margin, self.top(row));
            let half = (next_y - y) / 2.0;
            let _ = write!(path, "C{x:.0} {:.0} {next_x:.0} {:.0} {next_x:.0} {next_y:.0}", y + half, next_y - half);
            (x, y) = (next_x, next_y);
            if row < layout.rows[to] {
                y += self.height;
                let _ = write!(path, "V{y:.0}");
            }
        }
        path
    }
}
