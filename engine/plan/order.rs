//! In which order instances can run, and what is wrong where there is none. The only file that knows the graph library.
//!
//! Its `toposort` breaks ties as it likes and names one node of a cycle; here ties fall to the manifest's order, and a message shows
//! the whole cycle.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// An order in which each number comes after those it needs: of those that could come next the least does.
///
/// `needs[n]` are the numbers that `n` needs. `Err` holds a cycle for each knot of numbers that need each other, as the numbers on it in
/// the order of the data (each is needed by the next, and the last by the first), beginning with the least.
pub(super) fn order(needs: &[BTreeSet<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    let mut graph: DiGraph<(), (), usize> = DiGraph::with_capacity(needs.len(), 0);
    for _ in needs {
        graph.add_node(());
    }
    for (number, needed) in needs.iter().enumerate() {
        for other in needed {
            graph.add_edge(NodeIndex::new(*other), NodeIndex::new(number), ());
        }
    }
    let mut cycles: Vec<Vec<usize>> = kosaraju_scc(&graph).iter().filter_map(|knot| cycle(needs, knot)).collect();
    if !cycles.is_empty() {
        cycles.sort();
        return Err(cycles);
    }
    let mut waiting: Vec<usize> = graph.node_indices().map(|node| graph.neighbors_directed(node, Incoming).count()).collect();
    let mut ready: BinaryHeap<Reverse<NodeIndex<usize>>> = graph.externals(Incoming).map(Reverse).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node.index());
        for next in graph.neighbors_directed(node, Outgoing) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    Ok(order)
}

/// A cycle in a knot of numbers that need each other; none where the knot is a single number that does not need itself.
fn cycle(needs: &[BTreeSet<usize>], knot: &[NodeIndex<usize>]) -> Option<Vec<usize>> {
    let knot: BTreeSet<usize> = knot.iter().map(|node| node.index()).collect();
    let mut at = *knot.first()?;
    let mut path: Vec<usize> = Vec::new();
    // Whoever is in a knot needs someone who is in it too, so going back must come round.
    loop {
        if let Some(from) = path.iter().position(|known| *known == at) {
            let mut cycle = path.split_off(from);
            cycle.reverse();
            let least = cycle.iter().enumerate().min_by_key(|(_, number)| **number).map_or(0, |(place, _)| place);
            cycle.rotate_left(least);
            return Some(cycle);
        }
        path.push(at);
        at = *needs[at].iter().find(|other| knot.contains(other))?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needs(edges: &[(usize, usize)], count: usize) -> Vec<BTreeSet<usize>> {
        let mut needs = vec![BTreeSet::new(); count];
        for (from, to) in edges {
            needs[*to].insert(*from);
        }
        needs
    }

    #[test]
    fn ties_fall_to_the_least() {
        assert_eq!(order(&needs(&[(3, 0), (1, 0)], 4)), Ok(vec![1, 2, 3, 0]));
        assert_eq!(order(&needs(&[], 3)), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn a_cycle_is_shown_whole_and_each_on_its_own() {
        let edges = [(0, 1), (1, 2), (2, 1), (5, 4), (4, 3), (3, 5), (3, 0)];
        assert_eq!(order(&needs(&edges, 6)), Err(vec![vec![1, 2], vec![3, 5, 4]]));
    }

    #[test]
    fn a_long_chain_is_no_trouble() {
        let edges: Vec<(usize, usize)> = (1..100_000).map(|number| (number, number - 1)).collect();
        let order = order(&needs(&edges, 100_000)).unwrap_or_default();
        assert_eq!(order.first(), Some(&99_999));
    }

    proptest! {
        #[test]
        fn what_is_needed_comes_first(pairs in proptest::collection::vec((0_usize..30, 0_usize..30), 0..80)) {
            // An edge from the lesser to the greater of a shuffled numbering never closes a cycle.
            let shuffled = |number: usize| (number * 7 + 3) % 30;
            let edges: Vec<(usize, usize)> = (pairs.iter())
                .filter(|(a, b)| a != b)
                .map(|(a, b)| (shuffled(*a.min(b)), shuffled(*a.max(b))))
                .collect();
            let order = order(&needs(&edges, 30)).map_err(|_| TestCaseError::fail("a cycle in a DAG"))?;
            let place = |number: usize| order.iter().position(|known| *known == number);
            prop_assert_eq!(order.len(), 30);
            for (from, to) in edges {
                prop_assert!(place(from) < place(to));
            }
        }

        #[test]
        fn every_cycle_found_is_one(pairs in proptest::collection::vec((0_usize..12, 0_usize..12), 0..40)) {
            let edges: Vec<(usize, usize)> = pairs.into_iter().filter(|(a, b)| a != b).collect();
            let needs = needs(&edges, 12);
            for cycle in order(&needs).err().unwrap_or_default() {
                for (at, number) in cycle.iter().enumerate() {
                    prop_assert!(needs[cycle[(at + 1) % cycle.len()]].contains(number));
                }
            }
        }
    }
}
