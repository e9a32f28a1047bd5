//! A plan as a picture of its stages: for Graphviz, for Mermaid, or drawn as SVG.
//!
//! A matrix stage is one node with the number of its instances, unless all instances are asked for. This room knows what stages
//! and edges are, and nothing of what they do.

mod layered;
mod picture;
mod svg;

use std::collections::BTreeSet;
use std::fmt::Write;

use indexmap::IndexMap;

use crate::fields::Choice;
use crate::plan::Plan;

pub use picture::{Picture, Placed, Sizes};

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For Graphviz.
    Dot,
    /// For Mermaid, which GitHub shows.
    Mermaid,
    /// A picture.
    Svg,
}

impl Choice for Format {
    const WORDS: &'static [(&'static str, Self)] = &[("dot", Self::Dot), ("mermaid", Self::Mermaid), ("svg", Self::Svg)];
}

/// The stages of a plan and who takes from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
    /// From and to, by place in `nodes`.
    edges: BTreeSet<(usize, usize)>,
}

/// A stage, or one of its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    name: String,
    /// Its kind, and how many instances it stands for.
    about: String,
}

impl Graph {
    /// The graph of a plan: a node for each stage, or for each instance where `instances` is true.
    #[must_use]
    pub fn new<S>(plan: &Plan<S>, instances: bool) -> Self {
        let mut counts: IndexMap<&str, (&str, usize, bool)> = IndexMap::new();
        let mut place = Vec::new();
        for instance in &plan.instances {
            let name = if instances { &instance.name } else { &instance.stage };
            let matrix = !instances && !instance.labels.is_empty();
            let entry = counts.entry(name).or_insert((&instance.kind, 0, matrix));
            entry.1 += 1;
            place.push(counts.get_index_of(name.as_str()).unwrap_or_default());
        }
        let node = |(name, (kind, count, matrix)): (&str, (&str, usize, bool))| Node {
            name: name.to_owned(),
            about: if matrix { format!("{kind} × {count}") } else { kind.to_owned() },
        };
        let nodes = counts.into_iter().map(node).collect();
        let mut edges = BTreeSet::new();
        for (to, instance) in plan.instances.iter().enumerate() {
            // What is taken through another input would be an edge from nearly everywhere to nearly everything.
            let named = instance.inputs.iter().filter(|input| !input.through);
            edges.extend(named.flat_map(|input| &input.from).map(|from| (place[*from], place[to])));
        }
        Self { nodes, edges }
    }

    /// The graph of nodes, each a name and what is said about it, with edges by place.
    #[must_use]
    pub fn of(nodes: impl IntoIterator<Item = (String, String)>, edges: BTreeSet<(usize, usize)>) -> Self {
        Self { nodes: nodes.into_iter().map(|(name, about)| Node { name, about }).collect(), edges }
    }

    /// The graph as text in a format, ending with a line break.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Dot => self.dot(),
            Format::Mermaid => self.mermaid(),
            Format::Svg => svg::draw(self),
        }
    }

    fn dot(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text = "digraph plan {\n  node [shape=box];\n".to_owned();
        for (at, node) in self.nodes.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  n{at} [label=\"{}\\n{}\"];", quoted(&node.name), quoted(&node.about));
        }
        for (from, to) in &self.edges {
            let _ = writeln!(text, "  n{from} -> n{to};");
        }
        text + "}\n"
    }

    fn mermaid(&self) -> String {
        let quoted = |text: &str| text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;");
        let mut text = "flowchart TD\n".to_owned();
        for (at, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "  n{at}[\"{}<br/>{}\"]", quoted(&node.name), quoted(&node.about));
        }
        for (from, to) in &self.edges {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A graph with nodes `a`, `b`, ... and the given edges.
    pub(crate) fn graph(nodes: usize, edges: &[(usize, usize)]) -> Graph {
        let node = |at: usize| Node { name: format!("stage{at}"), about: "kind".to_owned() };
        Graph { nodes: (0..nodes).map(node).collect(), edges: edges.iter().copied().collect() }
    }

    #[test]
    fn a_matrix_is_one_node_unless_all_instances_are_asked_for() -> Result<(), crate::source::Diagnostics> {
        let plan = crate::plan::tests::load(crate::plan::tests::SPARSE, &[])?;
        insta::assert_snapshot!(Graph::new(&plan, false).render(Format::Mermaid), @r#"
        flowchart TD
          n0["ratings<br/>dataset"]
          n1["split<br/>split"]
          n2["teacher<br/>pretrain"]
          n3["features<br/>cache_features"]
          n4["student<br/>distill × 6"]
          n5["scores<br/>evaluate"]
          n0 --> n1
          n1 --> n2
          n1 --> n3
          n1 --> n4
          n1 --> n5
          n2 --> n3
          n2 --> n4
          n2 --> n5
          n3 --> n4
          n4 --> n5
        "#);
        let all = Graph::new(&plan, true);
        assert_eq!((all.nodes.len(), all.edges.len()), (plan.instances.len(), 26));
        Ok(())
    }

    #[test]
    fn text_formats_quote_what_they_must() {
        let mut graph = graph(2, &[(0, 1)]);
        graph.nodes[1].name = "a[b=\"c\\<d>\"]".to_owned();
        insta::assert_snapshot!(graph.render(Format::Dot), @r#"
        digraph plan {
          node [shape=box];
          n0 [label="stage0\nkind"];
          n1 [label="a[b=\"c\\<d>\"]\nkind"];
          n0 -> n1;
        }
        "#);
        insta::assert_snapshot!(graph.render(Format::Mermaid), @r#"
        flowchart TD
          n0["stage0<br/>kind"]
          n1["a[b=#quot;c\#lt;d>#quot;]<br/>kind"]
          n0 --> n1
        "#);
    }
}
