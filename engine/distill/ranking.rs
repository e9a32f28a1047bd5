//! How high an item is ranked among others, and what that is worth.
//!
//! Equal scores are in no order, so an item that shares its score has every place among its equals with the same probability, and what it is
//! worth is the mean over these places. A model that gives all items one score is then worth as much as chance, never more. The room knows
//! neither models nor whose items they are.

/// Where an item is among candidates, itself one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Candidates with a higher score.
    pub above: usize,
    /// Other candidates with the same score.
    pub equal: usize,
    /// All other candidates.
    pub others: usize,
}

impl Rank {
    /// That of an item with a score among others. None where a score is no finite number, which no order can hold.
    pub fn of(score: f32, others: &[f32]) -> Option<Self> {
        if !score.is_finite() || !others.iter().all(|other| other.is_finite()) {
            return None;
        }
        let count = |fits: fn(&f32, &f32) -> bool| others.iter().filter(|other| fits(other, &score)).count();
        Some(Rank { above: count(f32::gt), equal: count(f32::eq), others: others.len() })
    }

    /// HR@k: how likely it is among the first `k`.
    pub fn hit(self, k: usize) -> f64 {
        k.saturating_sub(self.above).min(self.equal + 1) as f64 / (self.equal + 1) as f64
    }

    /// NDCG@k where it is the only relevant item: 1 / log2(1 + place), and 0 beyond place `k` (He et al., *Neural Collaborative Filtering*, 2017).
    pub fn gain(self, k: usize) -> f64 {
        let last = (self.above + self.equal + 1).min(k);
        let gains = (self.above + 1..=last).map(|place| 1.0 / (1.0 + place as f64).log2());
        gains.sum::<f64>() / (self.equal + 1) as f64
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::random::{Rng, Role};

    /// All orders of `left` behind `before`.
    fn orders(before: Vec<usize>, left: &[usize]) -> Vec<Vec<usize>> {
        if left.is_empty() {
            return vec![before];
        }
        let next = |&item: &usize| {
            let rest: Vec<usize> = left.iter().copied().filter(|other| *other != item).collect();
            orders([&before[..], &[item]].concat(), &rest)
        };
        left.iter().flat_map(next).collect()
    }

    /// Against every order of the candidates that is sorted by their scores.
    #[test]
    fn worth_is_the_mean_over_all_orders_of_equals() {
        let mut rng = Rng::stream(1, Role::Init, "scores", 0);
        for _ in 0..60 {
            // Few levels, so that ties are frequent.
            let scores: Vec<f32> = (0..6).map(|_| rng.symmetric(2.0).round()).collect();
            let rank = Rank::of(scores[0], &scores[1..]).unwrap();
            let sorted: Vec<Vec<usize>> = (orders(Vec::new(), &[0, 1, 2, 3, 4, 5]).into_iter())
                .filter(|order| order.windows(2).all(|two| scores[two[0]] >= scores[two[1]]))
                .collect();
            let place = |order: &Vec<usize>| order.iter().position(|item| *item == 0).unwrap() + 1;
            for k in 0..=7 {
                let worth = |of: fn(usize) -> f64| {
                    let worths = sorted.iter().map(place).map(|place| if place <= k { of(place) } else { 0.0 });
                    worths.sum::<f64>() / sorted.len() as f64
                };
                assert!((rank.hit(k) - worth(|_| 1.0)).abs() < 1e-12, "{scores:?} at {k}");
                assert!((rank.gain(k) - worth(|place| 1.0 / (place as f64 + 1.0).log2())).abs() < 1e-12, "{scores:?} at {k}");
            }
        }
    }

    /// One score for all is worth as much as any order.
    #[test]
    fn a_constant_is_worth_what_chance_is() {
        let rank = Rank::of(3.5, &[3.5; 99]).unwrap();
        assert!((rank.hit(10) - 0.1).abs() < 1e-12);
        let chance: f64 = (1..=10).map(|place| 1.0 / (f64::from(place) + 1.0).log2()).sum::<f64>() / 100.0;
        assert!((rank.gain(10) - chance).abs() < 1e-12);
        assert_eq!((rank.hit(100), rank.hit(1000)), (1.0, 1.0));
    }

    #[test]
    fn what_is_not_finite_has_no_rank() {
        assert_eq!(Rank::of(f32::NAN, &[1.0]), None);
        assert_eq!(Rank::of(1.0, &[2.0, f32::INFINITY]), None);
        assert_eq!(Rank::of(1.0, &[]), Some(Rank { above: 0, equal: 0, others: 0 }));
    }

    /// What numpy makes of the same scores:
    ///
    /// ```python
    /// import numpy as np
    /// held = np.array([[(17 * u) % 23] for u in range(40)], dtype=np.float32)
    /// others = np.array([[(7 * u + 5 * i + u * i) % 23 for i in range(50)] for u in range(40)], dtype=np.float32)
    /// above, equal = (others > held).sum(1), (others == held).sum(1)
    /// for k in (1, 5, 10):
    ///     places = np.arange(1, 52)[None, :]
    ///     share = ((places > above[:, None]) & (places <= (above + equal + 1)[:, None])) / (equal + 1)[:, None]
    ///     first = places <= k
    ///     print(k, repr((share * first).sum(1).mean()), repr((share * first / np.log2(places + 1)).sum(1).mean()))
    /// ```
    #[test]
    fn means_are_those_of_numpy() {
        let ranks: Vec<Rank> = (0..40)
            .map(|u| {
                let others: Vec<f32> = (0..50).map(|i| ((7 * u + 5 * i + u * i) % 23) as f32).collect();
                Rank::of(((17 * u) % 23) as f32, &others).unwrap()
            })
            .collect();
        let mean = |of: &dyn Fn(&Rank) -> f64| ranks.iter().map(of).sum::<f64>() / 40.0;
        for (k, hit, gain) in NUMPY {
            assert!((mean(&|rank| rank.hit(k)) - hit).abs() < 1e-12, "{k}");
            assert!((mean(&|rank| rank.gain(k)) - gain).abs() < 1e-12, "{k}");
        }
    }

    const NUMPY: [(usize, f64, f64); 3] = [
        (1, 0.016_666_666_666_666_666, 0.016_666_666_666_666_666),
        (5, 0.1125, 0.062_309_978_738_421_63),
        (10, 0.216_666_666_666_666_65, 0.094_882_664_699_735_73),
    ];
}
