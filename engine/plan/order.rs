//! In which order instances can run, and what is wrong where there is none.
//!
//! Written out rather than taken from a graph library: ties must fall to the manifest's order, a message must show a whole
//! cycle, and a chain of 10 000 stages must not recurse.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// An order in which each number comes after those it needs: of those that could come next the least does.
///
/// `needs[n]` are the numbers that `n` needs. `Err` holds cycles, each as the numbers on it in the order of the data (each is
/// needed by the next, and the last by the first), beginning with the least; together they break every cycle there is.
pub(super) fn order(needs: &[BTreeSet<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (number, needed) in needs.iter().enumerate() {
        for other in needed {
            needed_by[*other].push(number);
        }
    }
    let mut waiting: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut ready: BinaryHeap<Reverse<usize>> = (0..needs.len()).filter(|number| waiting[*number] == 0).map(Reverse).collect();
    let mut done = vec![false; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    let mut cycles = Vec::new();
    let mut first = 0;
    loop {
        while let Some(Reverse(number)) = ready.pop() {
            if std::mem::replace(&mut done[number], true) {
                continue;
            }
            order.push(number);
            for next in &needed_by[number] {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    ready.push(Reverse(*next));
                }
            }
        }
        // Whoever is left waits for someone who is left too, so going back must come round.
        while first < done.len() && done[first] {
            first += 1;
        }
        if first == done.len() {
            break;
        }
        let cycle = come_round(first, needs, &done);
        ready.extend(cycle.iter().copied().map(Reverse));
        cycles.push(cycle);
    }
    if cycles.is_empty() { Ok(order) } else { Err(cycles) }
}

/// Goes back from `start`, to the least that is not done, until a number comes again; the cycle found, in the order of the data.
fn come_round(start: usize, needs: &[BTreeSet<usize>], done: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut place: Vec<Option<usize>> = vec![None; needs.len()];
    let mut at = start;
    loop {
        if let Some(from) = place[at] {
            let mut cycle = path.split_off(from);
            cycle.reverse();
            let least = cycle.iter().enumerate().min_by_key(|(_, number)| **number).map_or(0, |(place, _)| place);
            cycle.rotate_left(least);
            return cycle;
        }
        place[at] = Some(path.len());
        path.push(at);
        match needs[at].iter().find(|other| !done[**other]) {
            Some(next) => at = *next,
            None => return vec![at],
        }
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
        assert_eq!(order(&needs(&edges, 6)), Err(vec![vec![3, 5, 4], vec![1, 2]]));
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
