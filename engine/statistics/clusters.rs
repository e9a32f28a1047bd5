//! Two models on the same rows, where rows of one user hang together: users are resampled, with all of their rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bootstrap::{Bootstrap, replicates},
    error::{Degenerate, Invalid},
    estimate::Interval,
    paired::{checked, same},
    random::Role,
    settings::{Confidence, Resampling},
};

/// The rows of one cluster, such as a user, summed up. All that a resample needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// How many rows; at least one.
    pub rows: u32,
    /// The sum of the method's per-row values, such as squared errors.
    pub method: f64,
    /// The sum of the reference's.
    pub reference: f64,
}

/// What a metric makes of per-row values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Their mean: MAE of absolute errors, accuracy of hits, hit rate, NDCG.
    Mean,
    /// The root of their mean: RMSE of squared errors.
    RootMean,
}

/// The difference of a metric between two models over the same rows, and its intervals over users like these. It speaks of these two trained
/// models, not of their methods: another seed may well turn it round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterBootstrap {
    /// Clusters, which are what is resampled.
    pub clusters: usize,
    /// Rows in all of them.
    pub rows: u64,
    /// The method's metric over all rows.
    pub method: f64,
    /// The reference's.
    pub reference: f64,
    /// Method minus reference.
    pub difference: f64,
    /// Standard deviation of the difference over resamples.
    pub standard_error: f64,
    /// From the resamples' own quantiles.
    pub percentile: Interval,
    /// Bias-corrected and accelerated; the one to report.
    pub bca: Interval,
}

/// Clusters, and what is made of their sums. They are sound.
///
/// Their rows may lie in several *strata*, such as ratings of several genres: then the metric is the mean over strata of each one's, and a
/// cluster is resampled with all its rows in all strata.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Cluster by cluster, of each its strata. Where a cluster has no rows in a stratum, they are 0.
    parts: Vec<Cluster>,
    strata: usize,
    aggregate: Aggregate,
}

impl Clusters {
    /// These clusters, in any order.
    ///
    /// # Errors
    /// [`Invalid`] for a cluster without rows, a sum that is not a finite number, and one below 0 of which a root shall be taken.
    pub fn new(clusters: Vec<Cluster>, aggregate: Aggregate) -> Result<Self, Invalid> {
        for (place, cluster) in clusters.iter().enumerate() {
            if cluster.rows == 0 {
                return Err(Invalid::Cluster { place, what: "no rows".into(), advice: "leave out users without rows" });
            }
            cluster.check(place, aggregate)?;
        }
        Ok(Self::sorted(clusters.into_iter().map(|cluster| vec![cluster]).collect(), 1, aggregate))
    }

    /// These clusters by key, in each of several strata; what one has no rows in it is not in. A resample leaves out a stratum that it has no
    /// rows of.
    ///
    /// # Errors
    /// As [`Clusters::new`].
    pub fn of_strata<K: Ord>(strata: Vec<BTreeMap<K, Cluster>>, aggregate: Aggregate) -> Result<Self, Invalid> {
        let count = strata.len();
        let none = Cluster { rows: 0, method: 0.0, reference: 0.0 };
        let mut clusters: BTreeMap<K, Vec<Cluster>> = BTreeMap::new();
        for (stratum, of) in strata.into_iter().enumerate() {
            for (place, (key, cluster)) in of.into_iter().enumerate() {
                if cluster.rows == 0 {
                    return Err(Invalid::Cluster { place, what: "no rows".into(), advice: "leave out users without rows" });
                }
                cluster.check(place, aggregate)?;
                clusters.entry(key).or_insert_with(|| vec![none; count])[stratum] = cluster;
            }
        }
        Ok(Self::sorted(clusters.into_values().collect(), count, aggregate))
    }

    /// In an order of their own, so that the order they came in changes nothing.
    fn sorted(mut clusters: Vec<Vec<Cluster>>, strata: usize, aggregate: Aggregate) -> Self {
        let by_part = |a: &Cluster, b: &Cluster| {
            (a.rows.cmp(&b.rows)).then(a.method.total_cmp(&b.method)).then(a.reference.total_cmp(&b.reference))
        };
        clusters.sort_by(|a, b| {
            let parts = a.iter().zip(b).map(|(a, b)| by_part(a, b));
            parts.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        Self { parts: clusters.concat(), strata: strata.max(1), aggregate }
    }

    /// Sums rows by cluster: (cluster, the method's value, the reference's value) each.
    ///
    /// # Errors
    /// As [`Clusters::new`].
    pub fn of_rows<K: Ord>(rows: impl IntoIterator<Item = (K, f64, f64)>, aggregate: Aggregate) -> Result<Self, Invalid> {
        let mut sums = BTreeMap::new();
        for (key, method, reference) in rows {
            let sum = sums.entry(key).or_insert(Cluster { rows: 0, method: 0.0, reference: 0.0 });
            (sum.rows, sum.method, sum.reference) = (sum.rows + 1, sum.method + method, sum.reference + reference);
        }
        Self::new(sums.into_values().collect(), aggregate)
    }

    /// The clusters, each with its strata one after the other.
    pub fn clusters(&self) -> &[Cluster] {
        &self.parts
    }

    /// Resamples clusters (Field and Welsh, "Bootstrapping Clustered Data", JRSS B 69, 2007; BCa as in [`bca`](crate::bca), over clusters).
    /// Memory grows with the clusters, not with their rows. The numbers are the same for any number of threads.
    ///
    /// # Errors
    /// [`Degenerate`] for fewer than three clusters, and where every resample has the same difference.
    pub fn bootstrap(&self, resampling: Resampling, confidence: Confidence) -> Result<ClusterBootstrap, Degenerate> {
        let n = self.parts.len() / self.strata;
        if n < 3 {
            return Err(Degenerate::TooFew { n, needed: 3 });
        }
        let of = |cluster: usize| &self.parts[cluster * self.strata..(cluster + 1) * self.strata];
        let sum = |clusters: &mut dyn Iterator<Item = usize>| {
            let mut sums = vec![Sums::default(); self.strata];
            clusters.for_each(|cluster| sums.iter_mut().zip(of(cluster)).for_each(|(sums, part)| *sums = sums.and(part)));
            sums
        };
        let all = sum(&mut (0..n));
        let replicates =
            replicates(resampling, Role::Clusters, |stream| self.difference(&sum(&mut (0..n).map(|_| stream.below(n)))));
        let without = |cluster: usize| all.iter().zip(of(cluster)).map(|(sums, part)| sums.without(part)).collect::<Vec<_>>();
        let left_out: Vec<f64> = (0..n).map(|cluster| self.difference(&without(cluster))).collect();
        let method = self.mean(&all, |sums| self.metric(sums.method, sums.rows));
        let reference = self.mean(&all, |sums| self.metric(sums.reference, sums.rows));
        let (estimate, same) = (method - reference, same(method.abs().max(reference.abs())));
        if replicates.iter().all(|replicate| (replicate - estimate).abs() <= same) {
            return Err(Degenerate::NoSpread { n, value: if estimate.abs() <= same { 0.0 } else { estimate } });
        }
        let found = Bootstrap { estimate, replicates, left_out: &left_out, same }.intervals(confidence)?;
        Ok(ClusterBootstrap {
            clusters: n,
            rows: all.iter().map(|sums| sums.rows).sum(),
            method,
            reference,
            difference: estimate,
            standard_error: found.standard_error,
            percentile: found.percentile,
            bca: found.bca,
        })
    }

    fn metric(&self, sum: f64, rows: u64) -> f64 {
        let mean = sum / rows as f64;
        match self.aggregate {
            Aggregate::Mean => mean,
            // What is left where a cluster was taken away may be less than 0 by rounding.
            Aggregate::RootMean => mean.max(0.0).sqrt(),
        }
    }

    /// The mean over the strata that have rows.
    fn mean(&self, strata: &[Sums], of: impl Fn(&Sums) -> f64) -> f64 {
        let there = strata.iter().filter(|sums| sums.rows > 0);
        let (count, sum) = there.fold((0.0, 0.0), |(count, sum), sums| (count + 1.0, sum + of(sums)));
        sum / f64::max(count, 1.0)
    }

    fn difference(&self, strata: &[Sums]) -> f64 {
        self.mean(strata, |sums| self.metric(sums.method, sums.rows) - self.metric(sums.reference, sums.rows))
    }
}

impl Cluster {
    /// Whether its sums can be what they are said to be.
    fn check(&self, place: usize, aggregate: Aggregate) -> Result<(), Invalid> {
        for (whose, sum) in [("method", self.method), ("reference", self.reference)] {
            checked(sum, || format!("the {whose}'s sum in cluster {place}"))?;
            if aggregate == Aggregate::RootMean && sum < 0.0 {
                let what = format!("a sum of {sum} for the {whose}, of which no root can be taken");
                return Err(Invalid::Cluster { place, what, advice: "give sums of squared errors" });
            }
        }
        Ok(())
    }
}

/// Sums over several clusters.
#[derive(Clone, Copy, Default)]
struct Sums {
    rows: u64,
    method: f64,
    reference: f64,
}

impl Sums {
    fn and(self, cluster: &Cluster) -> Self {
        Self {
            rows: self.rows + u64::from(cluster.rows),
            method: self.method + cluster.method,
            reference: self.reference + cluster.reference,
        }
    }

    fn without(self, cluster: &Cluster) -> Self {
        Self {
            rows: self.rows - u64::from(cluster.rows),
            method: self.method - cluster.method,
            reference: self.reference - cluster.reference,
        }
    }
}
