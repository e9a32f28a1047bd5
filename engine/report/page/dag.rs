//! The graph of stages, and that of their instances, with places.

use std::collections::BTreeSet;

use serde::Serialize;

use super::stages::Known;
use crate::graph::{Graph, Sizes};

/// With more instances than this their graph is not drawn: nobody finds anything in it.
const MOST_INSTANCES: usize = 300;

/// Boxes have three lines: the name, the kind, and what became of it.
const SIZES: Sizes = Sizes { letter: 7.8, padding: 18.0, narrowest: 168.0, height: 72.0, gap: 28.0, row: 128.0, margin: 12.0 };

/// A graph to be drawn, in whole pixels.
#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    /// Its width.
    pub width: i64,
    /// Its height.
    pub height: i64,
    /// The height of its boxes.
    pub tall: i64,
    /// The boxes, in the order of the stages or instances: left, top, width.
    pub boxes: Vec<[i64; 3]>,
    /// The edges as SVG paths.
    pub edges: Vec<String>,
}

/// The graph of stages.
pub fn of_stages(known: &Known) -> Drawn {
    let nodes = known.stages.iter().map(|stage| (stage.name.clone(), about(&stage.kind, stage.instances.len())));
    let stage = |place: usize| known.instances[place].stage;
    let edges = known.edges.iter().map(|(from, to)| (stage(*from), stage(*to))).filter(|(from, to)| from != to);
    draw(&Graph::of(nodes, acyclic(edges.collect())))
}

/// The graph of instances, unless there are too many.
pub fn of_instances(known: &Known) -> Option<Drawn> {
    if known.instances.len() > MOST_INSTANCES || known.instances.len() == known.stages.len() {
        return None;
    }
    let nodes = known.instances.iter().map(|one| (one.name.clone(), known.stages[one.stage].kind.clone()));
    Some(draw(&Graph::of(nodes, acyclic(known.edges.iter().copied().collect()))))
}

/// What stands under a stage's name.
fn about(kind: &str, count: usize) -> String {
    if count > 1 { format!("{kind} × {count}") } else { kind.to_owned() }
}

/// Edges that go forward in the order of a plan. A damaged folder could say anything, and a circle has no layout.
fn acyclic(edges: BTreeSet<(usize, usize)>) -> BTreeSet<(usize, usize)> {
    edges.into_iter().filter(|(from, to)| from < to).collect()
}

fn draw(graph: &Graph) -> Drawn {
    let whole = |value: f64| value.round() as i64;
    let picture = graph.picture(&SIZES);
    Drawn {
        width: whole(picture.width),
        height: whole(picture.height),
        tall: whole(SIZES.height),
        boxes: picture.boxes.iter().map(|one| [whole(one.middle - one.width / 2.0), whole(one.top), whole(one.width)]).collect(),
        edges: picture.edges,
    }
}
