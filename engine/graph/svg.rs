//! A laid out graph as SVG: boxes, and curves between them. Whole numbers only, so that the bytes are the same everywhere.

use std::fmt::Write;

use super::Graph;
use super::layered::{Input, Layout, layout};

/// Sizes in pixels.
const LETTER: f64 = 8.0;
const PADDING: f64 = 16.0;
const BOX: f64 = 44.0;
const GAP: f64 = 32.0;
const ROW: f64 = 92.0;
const MARGIN: f64 = 16.0;

/// Draws the graph.
pub(super) fn draw(graph: &Graph) -> String {
    let letters = |text: &str| text.chars().count() as f64;
    let width = |node: &super::Node| letters(&node.name).max(letters(&node.about)) * LETTER + 2.0 * PADDING;
    let widths: Vec<f64> = graph.nodes.iter().map(width).collect();
    let edges: Vec<(usize, usize)> = graph.edges.iter().copied().collect();
    let layout = layout(&Input { widths: &widths, edges: &edges, gap: GAP });
    let (right, bottom) = (layout.width + 2.0 * MARGIN, (layout.height as f64 * ROW - (ROW - BOX)).max(0.0) + 2.0 * MARGIN);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0}" height="{1:.0}" viewBox="0 0 {0:.0} {1:.0}" "#,
            r#"font-family="ui-monospace, monospace" font-size="13">"#,
            "\n",
            r##"<style>rect{{fill:#f6f8fa;stroke:#57606a}}text{{fill:#1f2328;text-anchor:middle}}.about{{fill:#57606a}}path{{fill:none;stroke:#8c959f}}"##,
            r##"@media (prefers-color-scheme:dark){{rect{{fill:#161b22;stroke:#8b949e}}text{{fill:#e6edf3}}.about{{fill:#8b949e}}path{{stroke:#6e7681}}}}</style>"##,
            "\n",
            r##"<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#8c959f;stroke:none"/></marker></defs>"##,
        ),
        right, bottom
    );
    for ((from, to), bends) in edges.iter().zip(&layout.bends) {
        let _ = writeln!(text, r#"<path d="{}" marker-end="url(#end)"/>"#, curve(&layout, *from, *to, bends));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        let (x, y) = (layout.middles[at] + MARGIN, top(layout.rows[at]));
        let left = x - widths[at] / 2.0;
        let _ = writeln!(text, r#"<rect x="{left:.0}" y="{y:.0}" width="{:.0}" height="{BOX:.0}" rx="6"/>"#, widths[at]);
        let _ = writeln!(text, r#"<text x="{x:.0}" y="{:.0}">{}</text>"#, y + 19.0, escape(&node.name));
        let _ = writeln!(text, r#"<text class="about" x="{x:.0}" y="{:.0}">{}</text>"#, y + 35.0, escape(&node.about));
    }
    text + "</svg>\n"
}

/// The top of a row's boxes.
fn top(row: usize) -> f64 {
    row as f64 * ROW + MARGIN
}

/// From the bottom of one box through the bends to the top of the other.
fn curve(layout: &Layout, from: usize, to: usize, bends: &[f64]) -> String {
    let (mut x, mut y) = (layout.middles[from] + MARGIN, top(layout.rows[from]) + BOX);
    let mut path = format!("M{x:.0} {y:.0}");
    let ends = bends.iter().copied().chain([layout.middles[to]]);
    for (row, end) in (layout.rows[from] + 1..).zip(ends) {
        // An edge too many to bend goes straight to its end.
        let row = if bends.is_empty() { layout.rows[to] } else { row };
        let (next_x, next_y) = (end + MARGIN, top(row));
        let half = (next_y - y) / 2.0;
        let _ = write!(path, "C{x:.0} {:.0} {next_x:.0} {:.0} {next_x:.0} {next_y:.0}", y + half, next_y - half);
        (x, y) = (next_x, next_y);
        if row < layout.rows[to] {
            y += BOX;
            let _ = write!(path, "V{y:.0}");
        }
    }
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::graph;
    use super::*;

    #[test]
    fn a_picture_has_every_box_and_edge() {
        let text = draw(&graph(4, &[(0, 1), (1, 2), (0, 2), (2, 3), (0, 3)]));
        assert_eq!(text.matches("<rect ").count(), 4);
        assert_eq!(text.matches("marker-end").count(), 5);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert_eq!(escape("a<b>&c"), "a&lt;b&gt;&amp;c");
        insta::assert_snapshot!(text);
    }
}
