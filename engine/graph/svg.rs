//! A placed graph as SVG. Whole numbers only, so that the bytes are the same everywhere.

use std::fmt::Write;

use super::{
    Graph,
    picture::{Picture, Sizes},
};

const SIZES: Sizes = Sizes { letter: 8.0, padding: 16.0, narrowest: 0.0, height: 44.0, gap: 32.0, row: 92.0, margin: 16.0 };

/// Draws the graph.
pub(super) fn draw(graph: &Graph) -> String {
    let Picture { width: right, height: bottom, boxes, edges } = graph.picture(&SIZES);
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
    for edge in edges {
        let _ = writeln!(text, r#"<path d="{edge}" marker-end="url(#end)"/>"#);
    }
    let height = SIZES.height;
    for (place, node) in boxes.iter().zip(&graph.nodes) {
        let (x, y) = (place.middle, place.top);
        let left = x - place.width / 2.0;
        let _ = writeln!(text, r#"<rect x="{left:.0}" y="{y:.0}" width="{:.0}" height="{height:.0}" rx="6"/>"#, place.width);
        let _ = writeln!(text, r#"<text x="{x:.0}" y="{:.0}">{}</text>"#, y + 19.0, escape(&node.name));
        let _ = writeln!(text, r#"<text class="about" x="{x:.0}" y="{:.0}">{}</text>"#, y + 35.0, escape(&node.about));
    }
    text + "</svg>\n"
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
