//! How long instances are expected to take, from how long they took, and the order that follows: the longest expected path first.

use crate::{plan::Plan, store::Latest};

/// Of a stage about which nothing is known.
const UNKNOWN: f64 = 1.0;

/// The seconds each instance is expected to take: what its last result took; else the mean of its kind; else one second.
pub fn expected_seconds<S>(plan: &Plan<S>, latest: &Latest) -> Vec<f64> {
    let known = latest.expected(plan.instances.iter().map(|instance| (instance.name.as_str(), instance.kind.as_str())));
    known.into_iter().map(|seconds| seconds.unwrap_or(UNKNOWN).max(0.0)).collect()
}

/// All places, the one to prefer first: by the seconds of the longest chain of wanted instances that it begins, itself included.
/// Ties are in the plan's order.
pub fn longest_path_first<S>(plan: &Plan<S>, wanted: &[bool], seconds: &[f64]) -> Vec<usize> {
    let mut path = vec![0.0_f64; plan.instances.len()];
    // Backwards, so that all followers of an instance are done when it comes.
    for (index, instance) in plan.instances.iter().enumerate().rev().filter(|(index, _)| wanted[*index]) {
        path[index] += seconds[index];
        for from in instance.reads() {
            path[from] = path[from].max(path[index]);
        }
    }
    let mut order: Vec<usize> = (0..path.len()).collect();
    order.sort_by(|a, b| path[*b].total_cmp(&path[*a]));
    order
}
