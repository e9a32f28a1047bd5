//! What models get wrong, by user: where there are no other blocks, users are what differences can be tested over.

use std::collections::BTreeMap;

use talkflow_distill::Examples;
use talkflow_statistics::{Aggregate, Cluster};

use super::ranking::Ranked;
use crate::scores::Metric;

/// The errors of one user's rows, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UserErrors {
    /// Whose.
    pub user: u32,
    rows: u32,
    squared: f64,
    absolute: f64,
    /// HR of its rows, where items are ranked.
    hits: f64,
    /// NDCG of its rows.
    gains: f64,
}

/// The errors of predictions by user, users ascending.
pub fn errors(examples: &Examples, predicted: &[f32]) -> Vec<UserErrors> {
    let mut users: BTreeMap<u32, UserErrors> = BTreeMap::new();
    for ((user, rating), predicted) in examples.user.iter().zip(&examples.rating).zip(predicted) {
        let error = f64::from(*predicted) - f64::from(*rating);
        let sum = users.entry(*user).or_insert(UserErrors { user: *user, ..UserErrors::default() });
        sum.rows += 1;
        sum.squared += error * error;
        sum.absolute += error.abs();
    }
    users.into_values().collect()
}

/// Adds what the ranks of the rows' items are worth among the first `top`.
pub fn rank(users: &mut [UserErrors], ranks: &[Ranked], top: usize) {
    for ranked in ranks {
        if let Ok(place) = users.binary_search_by_key(&ranked.user, |of| of.user) {
            users[place].hits += ranked.rank.hit(top);
            users[place].gains += ranked.rank.gain(top);
        }
    }
}

impl UserErrors {
    /// What these rows add to a metric, and how many rows they count as; nothing where it is not made of ratings' rows.
    fn part(&self, metric: Metric) -> Option<(u32, f64)> {
        match metric {
            Metric::Rmse => Some((self.rows, self.squared)),
            Metric::Mae => Some((self.rows, self.absolute)),
            // Each user counts once, whatever the number of rows.
            Metric::UserRmse => Some((1, (self.squared / f64::from(self.rows)).sqrt())),
            Metric::Hr => Some((self.rows, self.hits)),
            Metric::Ndcg => Some((self.rows, self.gains)),
            Metric::GapRecovery | Metric::Accuracy | Metric::MacroAccuracy | Metric::Nll | Metric::Ece => None,
        }
    }
}

/// Two models on the same rows, as clusters of which a metric is made, by user.
pub fn clusters(method: &[UserErrors], reference: &[UserErrors], metric: Metric) -> BTreeMap<u32, Cluster> {
    let reference: BTreeMap<u32, &UserErrors> = reference.iter().map(|of| (of.user, of)).collect();
    let cluster = |method: &UserErrors| {
        let (rows, of_method) = method.part(metric)?;
        let (_, of_reference) = reference.get(&method.user)?.part(metric)?;
        Some((method.user, Cluster { rows, method: of_method, reference: of_reference }))
    };
    method.iter().filter_map(cluster).collect()
}

/// What a metric makes of them; nothing where it is not made of users' rows.
pub fn aggregate(metric: Metric) -> Option<Aggregate> {
    match metric {
        Metric::Rmse => Some(Aggregate::RootMean),
        Metric::Mae | Metric::UserRmse | Metric::Hr | Metric::Ndcg => Some(Aggregate::Mean),
        Metric::GapRecovery | Metric::Accuracy | Metric::MacroAccuracy | Metric::Nll | Metric::Ece => None,
    }
}

#[cfg(test)]
mod tests {
    use talkflow_distill::Rank;

    use super::*;

    /// User 7 errs by 1 and -2, and in the other model by 0 and 1; user 3 by 3, and by 1.
    #[test]
    fn each_metric_is_made_of_the_sums_it_needs() {
        let examples = Examples { row: vec![0, 1, 2], user: vec![7, 3, 7], item: vec![0; 3], rating: vec![3.0, 1.0, 4.0] };
        let (one, other) = (errors(&examples, &[4.0, 4.0, 2.0]), errors(&examples, &[3.0, 2.0, 5.0]));
        let of = |metric| {
            let clusters = clusters(&one, &other, metric);
            clusters.into_iter().map(|(user, of)| (user, of.rows, of.method, of.reference)).collect::<Vec<_>>()
        };
        assert_eq!(of(Metric::Rmse), [(3, 1, 9.0, 1.0), (7, 2, 5.0, 1.0)]);
        assert_eq!(of(Metric::Mae), [(3, 1, 3.0, 1.0), (7, 2, 3.0, 1.0)]);
        let root = (2.5_f64.sqrt(), 0.5_f64.sqrt());
        assert_eq!(of(Metric::UserRmse), [(3, 1, 3.0, 1.0), (7, 1, root.0, root.1)]);
        // User 7 has its items first and second, and in the other model both out of reach; user 3 is first in both.
        let ranked = |above: [usize; 3]| -> Vec<Ranked> {
            let rank = |above| Rank { above, equal: 0, others: 9 };
            [7, 3, 7].into_iter().zip(above).map(|(user, above)| Ranked { user, item: 0, rank: rank(above) }).collect()
        };
        let (mut one, mut other) = (one.clone(), other.clone());
        rank(&mut one, &ranked([0, 0, 1]), 5);
        rank(&mut other, &ranked([5, 0, 8]), 5);
        let of = |metric| {
            let clusters = clusters(&one, &other, metric);
            clusters.into_iter().map(|(user, of)| (user, of.rows, of.method, of.reference)).collect::<Vec<_>>()
        };
        assert_eq!(of(Metric::Hr), [(3, 1, 1.0, 1.0), (7, 2, 2.0, 0.0)]);
        assert_eq!(of(Metric::Ndcg), [(3, 1, 1.0, 1.0), (7, 2, 1.0 + 1.0 / 3.0_f64.log2(), 0.0)]);
    }
}
