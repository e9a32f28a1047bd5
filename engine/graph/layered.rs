//! Where the boxes of a directed graph without cycles go: in rows, each below all it takes from.
//!
//! The usual method in four steps (K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system
//! structures", IEEE Trans. SMC 11, 1981): rows by longest path, a bend in each row that an edge crosses, an order within rows by the mean
//! place of neighbours, places that keep that order. Written here because the library there is for it walks all paths of the
//! graph to check it, which does not end for a few hundred stages.

/// With more bends than this, edges go straight: a picture that large is not read edge by edge.
const MOST_BENDS: usize = 20_000;
/// How often the order and the places are improved.
const SWEEPS: usize = 8;

/// A graph to be laid out.
pub(super) struct Input<'a> {
    /// The width of each box.
    pub widths: &'a [f64],
    /// From and to; `from` may stand after `to`, but there is no cycle.
    pub edges: &'a [(usize, usize)],
    /// Free space between boxes in a row.
    pub gap: f64,
}

/// Where things are.
#[derive(Debug)]
pub(super) struct Layout {
    /// The row of each box, from 0.
    pub rows: Vec<usize>,
    /// The middle of each box, from the left edge of the leftmost.
    pub middles: Vec<f64>,
    /// For each edge the places where it crosses the rows between its ends, downwards.
    pub bends: Vec<Vec<f64>>,
    /// How many rows there are.
    pub height: usize,
    /// The right edge of the rightmost box.
    pub width: f64,
}

/// A box, or the bend of an edge.
struct Item {
    row: usize,
    width: f64,
    above: Vec<usize>,
    below: Vec<usize>,
    /// Its middle.
    x: f64,
}

pub(super) fn layout(input: &Input<'_>) -> Layout {
    let rows = longest_paths(input);
    let mut items: Vec<Item> = (rows.iter().zip(input.widths))
        .map(|(row, width)| Item { row: *row, width: *width, above: Vec::new(), below: Vec::new(), x: 0.0 })
        .collect();
    let crossed: usize = input.edges.iter().map(|(from, to)| rows[*to] - rows[*from] - 1).sum();
    let mut chains: Vec<Vec<usize>> = Vec::new();
    for (from, to) in input.edges {
        let mut chain = Vec::new();
        let mut last = *from;
        let between = if crossed > MOST_BENDS { 0..0 } else { rows[*from] + 1..rows[*to] };
        for row in between {
            let bend = items.len();
            items.push(Item { row, width: 0.0, above: vec![last], below: Vec::new(), x: 0.0 });
            items[last].below.push(bend);
            chain.push(bend);
            last = bend;
        }
        items[last].below.push(*to);
        items[*to].above.push(last);
        chains.push(chain);
    }
    let height = rows.iter().max().map_or(0, |row| row + 1);
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); height];
    for (at, item) in items.iter().enumerate() {
        order[item.row].push(at);
    }
    for row in &order {
        pack(row, &mut items, input.gap);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let each: Vec<usize> = if down { (0..height).collect() } else { (0..height).rev().collect() };
        for row in each {
            let wanted: Vec<f64> = order[row].iter().map(|at| mean(&items, *at, down)).collect();
            let mut sorted: Vec<(f64, usize)> = wanted.into_iter().zip(order[row].iter().copied()).collect();
            // A stable sort: who wants the same place keeps the order of the manifest.
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            order[row] = sorted.iter().map(|(_, at)| *at).collect();
            settle(&sorted, &mut items, input.gap);
        }
    }
    let left = items.iter().map(|item| item.x - item.width / 2.0).fold(f64::INFINITY, f64::min);
    let left = if left.is_finite() { left } else { 0.0 };
    let right = items.iter().map(|item| item.x + item.width / 2.0).fold(left, f64::max);
    let middle = |at: usize| items[at].x - left;
    Layout {
        middles: (0..rows.len()).map(middle).collect(),
        bends: chains.iter().map(|chain| chain.iter().map(|at| middle(*at)).collect()).collect(),
        rows,
        height,
        width: right - left,
    }
}

/// The row of each box: one below the lowest it takes from.
fn longest_paths(input: &Input<'_>) -> Vec<usize> {
    let count = input.widths.len();
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waiting = vec![0_usize; count];
    for (from, to) in input.edges {
        below[*from].push(*to);
        waiting[*to] += 1;
    }
    let mut rows = vec![0; count];
    let mut ready: Vec<usize> = (0..count).filter(|at| waiting[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for next in &below[at] {
            rows[*next] = rows[*next].max(rows[at] + 1);
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    rows
}

/// Puts a row's items side by side around 0.
fn pack(row: &[usize], items: &mut [Item], gap: f64) {
    let total: f64 = row.iter().map(|at| items[*at].width + gap).sum::<f64>() - gap;
    let mut left = -total / 2.0;
    for at in row {
        let item = &mut items[*at];
        item.x = left + item.width / 2.0;
        left += item.width + gap;
    }
}

/// The mean place of an item's neighbours in the row before it in this sweep; its own place where it has none.
fn mean(items: &[Item], at: usize, down: bool) -> f64 {
    let item = &items[at];
    let neighbours = if down { &item.above } else { &item.below };
    match neighbours.len() {
        0 => item.x,
        count => neighbours.iter().map(|at| items[*at].x).sum::<f64>() / count as f64,
    }
}

/// Gives a row's items, in their order, places near those they want: the mean of pushing all to the right of each other and
/// of pushing all to the left, each of which keeps them apart.
fn settle(row: &[(f64, usize)], items: &mut [Item], gap: f64) {
    let apart = |items: &[Item], a: usize, b: usize| (items[a].width + items[b].width) / 2.0 + gap;
    let mut right: Vec<f64> = row.iter().map(|(wanted, _)| *wanted).collect();
    let mut left = right.clone();
    for at in 1..row.len() {
        right[at] = right[at].max(right[at - 1] + apart(items, row[at - 1].1, row[at].1));
    }
    for at in (1..row.len()).rev() {
        left[at - 1] = left[at - 1].min(left[at] - apart(items, row[at - 1].1, row[at].1));
    }
    for (at, (_, item)) in row.iter().enumerate() {
        items[*item].x = (left[at] + right[at]) / 2.0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn boxes_keep_apart_and_edges_go_down(
            widths in proptest::collection::vec(10.0_f64..100.0, 1..25),
            pairs in proptest::collection::vec((0_usize..25, 0_usize..25), 0..60),
        ) {
            let edges: Vec<(usize, usize)> = (pairs.into_iter())
                .filter(|(a, b)| a < b && *b < widths.len())
                .collect();
            let layout = layout(&Input { widths: &widths, edges: &edges, gap: 20.0 });
            for ((from, to), bends) in edges.iter().zip(&layout.bends) {
                prop_assert!(layout.rows[*from] < layout.rows[*to]);
                prop_assert_eq!(bends.len(), layout.rows[*to] - layout.rows[*from] - 1);
            }
            for a in 0..widths.len() {
                prop_assert!(layout.middles[a] - widths[a] / 2.0 > -1e-6);
                prop_assert!(layout.middles[a] + widths[a] / 2.0 < layout.width + 1e-6);
                for b in 0..a {
                    let distance = (layout.middles[a] - layout.middles[b]).abs();
                    prop_assert!(layout.rows[a] != layout.rows[b] || distance > (widths[a] + widths[b]) / 2.0 + 19.999);
                }
            }
        }
    }

    #[test]
    fn a_chain_is_straight_and_nothing_is_laid_out_too() {
        let layout_of = |widths: &[f64], edges: &[(usize, usize)]| layout(&Input { widths, edges, gap: 20.0 });
        let chain = layout_of(&[40.0, 60.0, 40.0], &[(0, 1), (1, 2)]);
        assert_eq!(chain.middles, [30.0, 30.0, 30.0]);
        let nothing = layout_of(&[], &[]);
        assert_eq!((nothing.height, nothing.width), (0, 0.0));
    }

    #[test]
    fn a_star_of_many_rows_does_not_bend() {
        let count = 1000;
        let mut edges: Vec<(usize, usize)> = (1..count).map(|at| (at - 1, at)).collect();
        edges.extend((2..count).map(|at| (0, at)));
        let layout = layout(&Input { widths: &vec![10.0; count], edges: &edges, gap: 5.0 });
        assert!(layout.bends.iter().all(Vec::is_empty));
    }
}
