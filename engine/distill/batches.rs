//! How an epoch's rows are shared out into batches, and in what order.

use crate::random::{Rng, Role};

/// How many batches `rows` rows make.
pub(crate) fn batches(rows: usize, batch: usize) -> usize {
    rows.div_ceil(batch)
}

/// Where batch `index` of `count` begins, of `rows` rows shared out evenly.
pub(crate) fn batch_start(rows: usize, count: usize, index: usize) -> usize {
    index * (rows / count) + index.min(rows % count)
}

/// The training rows in the order of an epoch, counted from 0. It depends on the seed and on how many rows there are, not on the method.
pub(crate) fn order(seed: u64, epoch: usize, rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    Rng::stream(seed, Role::Order, "", epoch as u64).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn batches_share_rows_evenly() {
        for (rows, batch) in [(10, 4), (3, 8), (64, 64), (65, 64), (1, 1)] {
            let count = batches(rows, batch);
            let sizes: Vec<usize> = (0..count).map(|i| batch_start(rows, count, i + 1) - batch_start(rows, count, i)).collect();
            assert_eq!(sizes.iter().sum::<usize>(), rows);
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1 && *most <= batch, "{sizes:?}");
        }
        let mut sorted = order(1, 0, 50);
        assert_ne!(sorted, order(1, 1, 50));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
    }
}
