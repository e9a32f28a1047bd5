//! What holds for any data.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::subsequence};
use talkflow_statistics::{
    Aggregate, Alpha, Cluster, Clusters, Comparison, Confidence, Degenerate, Design, Differences, Direction, Estimate, Family,
    Gate, GateError, Invalid, Margin, Outcome, Overlap, Paired, Power, Resampling, Sd, SignFlips, Tolerance, Variance, bca,
    judge, resolvable, sign_flip,
};

fn differences(values: &[f64]) -> Differences {
    Differences::new(values.to_vec()).unwrap()
}

fn corrected() -> Variance {
    Variance::NadeauBengio(Overlap::of_rows(10, 80).unwrap())
}

fn few_resamples() -> Resampling {
    Resampling::new(1000, 1).unwrap()
}

fn design() -> Design {
    let mut design = Design::new(Direction::LowerIsBetter, Overlap::of_rows(10, 80).unwrap(), Margin::new(0.005).unwrap());
    design.resampling = few_resamples();
    design.sign_flips = SignFlips::new(999, 1).unwrap();
    design
}

/// Between two and twenty numbers of any size a metric may have, and sometimes with ties.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let scale = prop_oneof![Just(1e-9), Just(1e-3), Just(1.0), Just(1e6)];
    let one = prop_oneof![3 => -1.0..1.0, 1 => (-2_i32..3).prop_map(f64::from)];
    (scale, prop::collection::vec(one, 2..20)).prop_map(|(scale, of)| of.into_iter().map(|x| x * scale).collect())
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_blocks_changes_nothing(values in values(), seed in 0_usize..1000) {
        let mut other = values.clone();
        other.rotate_left(seed % values.len());
        other.reverse();
        let (one, other) = (differences(&values), differences(&other));
        // To the last bit, where values are put in order first.
        prop_assert_eq!(sign_flip(&one, SignFlips::default()), sign_flip(&other, SignFlips::default()));
        match (Estimate::paired(&one, corrected()), Estimate::paired(&other, corrected())) {
            (Ok(one), Ok(other)) => {
                prop_assert!(same(one.standard_error(), other.standard_error()));
                prop_assert!((one.p_greater(0.0) - other.p_greater(0.0)).abs() < 1e-9);
            }
            (one, other) => prop_assert_eq!(one.is_err(), other.is_err()),
        }
        let ends = |of: &Differences| bca(of, few_resamples(), Confidence::default()).map(|interval| [interval.low, interval.high]);
        match (ends(&one), ends(&other)) {
            (Ok(a), Ok(b)) => prop_assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * one.sd().unwrap())),
            (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
        }
    }

    #[test]
    fn who_is_the_reference_only_turns_the_sign(values in values()) {
        let negative: Vec<f64> = values.iter().map(|value| -value).collect();
        let (one, other) = (differences(&values), differences(&negative));
        let (a, b) = (sign_flip(&one, SignFlips::default()).unwrap(), sign_flip(&other, SignFlips::default()).unwrap());
        if a.exact {
            prop_assert_eq!((a.p_two_sided, a.p_greater, a.p_less), (b.p_two_sided, b.p_less, b.p_greater));
        }
        if let (Ok(a), Ok(b)) = (Estimate::paired(&one, corrected()), Estimate::paired(&other, corrected())) {
            let (a, b) = (a.test(Confidence::default()), b.test(Confidence::default()));
            prop_assert_eq!((a.mean, a.p_two_sided, a.p_greater, a.p_less), (-b.mean, b.p_two_sided, b.p_less, b.p_greater));
            prop_assert_eq!((a.interval.low, a.interval.high), (-b.interval.high, -b.interval.low));
        }
    }

    #[test]
    fn no_number_is_missing_and_no_p_is_out_of_range(values in values()) {
        let of = differences(&values);
        let flip = sign_flip(&of, SignFlips::default()).unwrap();
        prop_assert!(flip.p_two_sided >= flip.smallest * (1.0 - 1e-12) && flip.p_two_sided <= 1.0, "{flip:?}");
        prop_assert!(flip.smallest >= 2.0 / 2_f64.powi(values.len() as i32));
        match Comparison::of(&of, &design()) {
            Ok(found) => {
                for test in [&found.corrected, &found.plain] {
                    for p in [test.p_two_sided, test.p_greater, test.p_less] {
                        prop_assert!((0.0..=1.0).contains(&p), "{test:?}");
                    }
                    prop_assert!(test.interval.low < test.mean && test.mean < test.interval.high);
                    // The interval and the test are two ways to say the same.
                    let holds_zero = test.interval.low <= 0.0 && 0.0 <= test.interval.high;
                    prop_assert!((test.p_two_sided > 0.05) == holds_zero || (test.p_two_sided - 0.05).abs() < 1e-9);
                }
                prop_assert!(found.corrected.interval.low < found.plain.interval.low);
                prop_assert!(found.corrected.p_two_sided >= found.plain.p_two_sided);
                prop_assert!((0.0..=1.0).contains(&found.equivalence.p));
                prop_assert!(found.resolvable.effect > found.resolvable.floor && found.resolvable.floor > 0.0);
                prop_assert_eq!(found.bca.is_some(), values.len() >= 3);
            }
            Err(Degenerate::NoSpread { value, .. }) => prop_assert!(same(value, values[0])),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn holm_is_monotone_between_p_and_bonferroni(p in prop::collection::vec(0.0..=1.0, 1..30), more in 0_usize..5) {
        let m = p.len() + more;
        let p: BTreeMap<usize, f64> = p.into_iter().enumerate().collect();
        let adjusted = Family::declare("any", 0..m).unwrap().holm(&p).unwrap();
        for (label, p_value) in &p {
            prop_assert!(adjusted[label] >= *p_value);
            prop_assert!(adjusted[label] <= (p_value * m as f64).min(1.0));
            for (other, other_p) in &p {
                prop_assert!(p_value > other_p || adjusted[label] <= adjusted[other]);
            }
        }
        let smallest = p.values().copied().fold(1.0, f64::min);
        let first = adjusted.values().copied().fold(1.0, f64::min);
        prop_assert!((first - (smallest * m as f64).min(1.0)).abs() < 1e-12);
    }

    #[test]
    fn a_larger_margin_and_more_blocks_only_help(values in values(), margin in 1e-6..1.0) {
        let of = differences(&values);
        if let Ok(estimate) = Estimate::paired(&of, corrected()) {
            let p = |margin: f64| estimate.equivalence(Margin::new(margin).unwrap(), Alpha::default()).p;
            prop_assert!(p(margin) >= p(2.0 * margin));
            let sd = Sd::new(of.sd().unwrap()).unwrap();
            let effect = |n: usize| resolvable(sd, n, Overlap::of_rows(10, 80).unwrap(), Alpha::default(), Power::default()).unwrap().effect;
            prop_assert!(effect(values.len()) > effect(values.len() + 1));
        }
    }

    #[test]
    fn pairs_are_of_the_blocks_that_both_have(
        method in subsequence((0..12).collect::<Vec<u8>>(), 0..12),
        reference in subsequence((0..12).collect::<Vec<u8>>(), 0..12),
    ) {
        let value = |blocks: &[u8], of: f64| -> BTreeMap<u8, f64> { blocks.iter().map(|block| (*block, of * f64::from(*block))).collect() };
        let paired = Paired::of(&value(&method, 3.0), &value(&reference, 2.0)).unwrap();
        let both: Vec<u8> = method.iter().copied().filter(|block| reference.contains(block)).collect();
        prop_assert_eq!(paired.differences.values(), both.iter().map(|block| f64::from(*block)).collect::<Vec<_>>());
        prop_assert_eq!(paired.only_method + both.len(), method.len());
        prop_assert_eq!(paired.only_reference + both.len(), reference.len());
        prop_assert_eq!(paired.blocks, both);
    }

    #[test]
    fn a_worse_metric_never_passes_where_a_better_one_failed(
        now in prop::collection::vec(0.9..1.0, 2..8), then in prop::collection::vec(0.9..1.0, 2..8), shift in 0.0..0.1, apart: bool,
    ) {
        let from = if apart { 100 } else { 0 };
        let seeds = |values: &[f64], from: usize, shift: f64| -> BTreeMap<usize, f64> {
            values.iter().enumerate().map(|(at, value)| (at + from, value + shift)).collect()
        };
        let gate = Gate::new(Direction::LowerIsBetter, Tolerance::new(0.002).unwrap());
        let reference = seeds(&then, 0, 0.0);
        let [one, worse] = [0.0, shift].map(|shift| gate.check(&seeds(&now, from, shift), &reference).unwrap());
        prop_assert!(one.p >= worse.p || one.p.is_none());
        prop_assert!(!(one.outcome == Outcome::Regression && worse.outcome == Outcome::Pass));
        prop_assert!(one.blind_below >= 0.002);
        prop_assert!(one.outcome == Outcome::Pass || one.regression > 0.002);
    }
}

#[test]
fn what_has_no_answer_says_so() {
    let level = Confidence::default();
    let few = |n, needed| Degenerate::TooFew { n, needed };
    let none = differences(&[]);
    assert_eq!((none.mean(), none.sd()), (None, None));
    assert_eq!(sign_flip(&none, SignFlips::default()), Err(few(0, 1)));
    assert_eq!(Estimate::paired(&none, Variance::Plain), Err(few(0, 2)));
    assert_eq!(Estimate::paired(&differences(&[1.0]), corrected()), Err(few(1, 2)));
    assert_eq!(bca(&differences(&[1.0, 2.0]), few_resamples(), level), Err(few(2, 3)));
    assert_eq!(bca(&differences(&[1.0, 1.0]), few_resamples(), level), Err(few(2, 3)));
    let stuck = Degenerate::NoSpread { n: 4, value: 0.5 };
    assert_eq!(bca(&differences(&[0.5; 4]), few_resamples(), level), Err(stuck));
    assert_eq!(Estimate::paired(&differences(&[0.5; 4]), corrected()), Err(stuck));
    assert_eq!(
        resolvable(Sd::new(0.1).unwrap(), 1, Overlap::new(0.1).unwrap(), Alpha::default(), Power::default()),
        Err(few(1, 2))
    );
    // With nothing but zeros, no sign makes a difference.
    let flat = sign_flip(&differences(&[0.0; 5]), SignFlips::default()).unwrap();
    assert_eq!((flat.p_two_sided, flat.p_greater, flat.p_less, flat.smallest), (1.0, 1.0, 1.0, 1.0));
}

#[test]
fn differences_that_differ_by_rounding_are_the_same() {
    // 0.9 - 0.8 and 0.4 - 0.3 are not the same number.
    let method = BTreeMap::from([(1, 0.9), (2, 0.4), (3, 0.3)]);
    let reference = BTreeMap::from([(1, 0.8), (2, 0.3), (3, 0.2)]);
    let paired = Paired::of(&method, &reference).unwrap();
    assert_ne!(paired.differences.values()[0], paired.differences.values()[1]);
    assert_eq!(paired.differences.sd(), Some(0.0));
    assert!(matches!(Estimate::paired(&paired.differences, Variance::Plain), Err(Degenerate::NoSpread { n: 3, .. })));
    // 0.1 + 0.2 is no 0.3, and still a tie: with the last two flipped, the sum is the same.
    let tied = sign_flip(&differences(&[0.1, 0.2, 0.3, -0.3]), SignFlips::default()).unwrap();
    assert_eq!(tied.p_two_sided, 12.0 / 16.0);
}

#[test]
fn few_seeds_cannot_have_a_small_sign_flip_p() {
    for (n, smallest) in [(3, 0.25), (5, 0.0625), (10, 2.0 / 1024.0), (16, 2.0 / 65536.0)] {
        let large: Vec<f64> = (1..=n).map(|x| 100.0 + f64::from(x)).collect();
        let found = sign_flip(&differences(&large), SignFlips::default()).unwrap();
        assert_eq!((found.smallest, found.p_two_sided, found.exact), (smallest, smallest, true));
    }
    // A block without a difference says nothing.
    let found = sign_flip(&differences(&[0.0, 1.0, 2.0, 3.0, 4.0]), SignFlips::default()).unwrap();
    assert_eq!((found.smallest, found.p_two_sided), (0.125, 0.125));
    // Above 16, the draws set the limit, and the sample is one of them.
    let large: Vec<f64> = (1..=40).map(|x| 100.0 + f64::from(x)).collect();
    let found = sign_flip(&differences(&large), SignFlips::new(999, 5).unwrap()).unwrap();
    assert_eq!((found.smallest, found.p_two_sided, found.p_less, found.exact), (0.001, 0.001, 1.0, false));
}

#[test]
fn drawn_signs_agree_with_all_signs() {
    // 16 differences, all signs; and one more that is so small that it changes nothing but the way it is counted.
    let mut values: Vec<f64> = (0..16).map(|x| f64::from(x).sin() + 0.2).collect();
    let exact = sign_flip(&differences(&values), SignFlips::default()).unwrap();
    values.push(1e-7);
    let drawn = sign_flip(&differences(&values), SignFlips::new(200_000, 3).unwrap()).unwrap();
    assert!(exact.exact && !drawn.exact);
    for (exact, drawn) in [(exact.p_two_sided, drawn.p_two_sided), (exact.p_greater, drawn.p_greater)] {
        // Standard deviation 0.0011 at most; hardly any sums are as close as 1e-7.
        assert!((exact - drawn).abs() < 0.006, "{exact} {drawn}");
    }
}

#[test]
fn seeds_and_not_threads_decide_what_is_drawn() {
    let clusters: Vec<Cluster> = (0..200)
        .map(|user: u32| Cluster { rows: 1 + user % 7, method: f64::from(user % 13), reference: f64::from(user % 11) })
        .collect();
    let clusters = Clusters::new(clusters, Aggregate::RootMean).unwrap();
    let of = |seed, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| clusters.bootstrap(Resampling::new(2000, seed).unwrap(), Confidence::default()).unwrap())
    };
    assert_eq!(of(1, 1), of(1, 5));
    assert_ne!(of(1, 1).bca, of(2, 1).bca);
}

#[test]
fn clusters_are_summed_in_any_order() {
    let rows: Vec<(u32, f64, f64)> = (0..60).map(|row| (row % 9, f64::from(row % 5), f64::from(row % 4))).collect();
    let one = Clusters::of_rows(rows.iter().copied(), Aggregate::Mean).unwrap();
    let other = Clusters::of_rows(rows.iter().rev().copied(), Aggregate::Mean).unwrap();
    assert_eq!(one, other);
    assert_eq!(one.clusters().iter().map(|cluster| cluster.rows).sum::<u32>(), 60);
    let found = one.bootstrap(few_resamples(), Confidence::default()).unwrap();
    assert_eq!((found.clusters, found.rows, found.difference), (9, 60, 2.0 - 1.5));
    assert!(found.percentile.low < found.difference && found.difference < found.percentile.high);
}

#[test]
fn models_that_make_the_same_errors_do_not_differ() {
    let rows = (0..30).map(|row| (row % 5, f64::from(row), f64::from(row)));
    let same = Clusters::of_rows(rows, Aggregate::RootMean).unwrap();
    assert_eq!(same.bootstrap(few_resamples(), Confidence::default()), Err(Degenerate::NoSpread { n: 5, value: 0.0 }));
    let two = Clusters::of_rows([(1, 1.0, 2.0), (2, 1.0, 3.0)], Aggregate::Mean).unwrap();
    assert_eq!(two.bootstrap(few_resamples(), Confidence::default()), Err(Degenerate::TooFew { n: 2, needed: 3 }));
}

#[test]
fn what_has_no_meaning_is_refused_by_name() {
    let message = |error: Invalid| error.to_string();
    let nan = BTreeMap::from([("split 1, seed 2", f64::NAN)]);
    assert_eq!(
        message(Paired::of(&nan, &BTreeMap::new()).unwrap_err()),
        "the value of block split 1, seed 2 is NaN, but must be a number of a size below 1e150; leave it out if it was not measured"
    );
    assert!(message(Differences::new(vec![1.0, f64::INFINITY]).unwrap_err()).contains("difference 1 is inf"));
    assert!(Differences::new(vec![1e200]).is_err());
    assert_eq!(message(Alpha::new(0.0).unwrap_err()), "the significance level alpha is 0, but must be above 0 and at most 0.5");
    for out in [-1.0, 0.0, f64::NAN, f64::INFINITY] {
        assert!(Alpha::new(out).is_err() && Confidence::new(out).is_err() && Power::new(out).is_err());
        assert!(Margin::new(out).is_err() && Sd::new(out).is_err());
    }
    assert!(Tolerance::new(-0.1).is_err() && Tolerance::new(0.0).is_ok());
    assert!(Overlap::of_rows(10, 0).is_err() && Overlap::of_rows(0, 0).is_err() && Overlap::of_rows(0, 10).is_ok());
    for out in [998, 10_000_001, u32::MAX] {
        assert!(Resampling::new(out, 0).is_err() && SignFlips::new(out, 0).is_err());
    }
    let cluster = |rows, method| Clusters::new(vec![Cluster { rows, method, reference: 1.0 }], Aggregate::RootMean).unwrap_err();
    assert_eq!(message(cluster(0, 1.0)), "cluster 0 has no rows; leave out users without rows");
    assert!(message(cluster(1, -1.0)).contains("of which no root can be taken"));
    assert!(message(cluster(1, f64::NAN)).contains("the method's sum in cluster 0 is NaN"));
}

#[test]
fn families_are_what_they_were_declared_to_be() {
    let family = Family::declare("losses", ["talk", "label", "one_way"]).unwrap();
    assert_eq!((family.name(), family.size()), ("losses", 3));
    // What could not be tested still counts.
    assert_eq!(family.holm(&BTreeMap::from([("talk", 0.02)])).unwrap()["talk"], 0.06);
    let refused = |p: &[(&'static str, f64)]| family.holm(&p.iter().copied().collect()).unwrap_err().to_string();
    assert!(refused(&[("scratch", 0.1)]).starts_with("`scratch` is no member of the family `losses`"));
    assert!(refused(&[("talk", f64::NAN)]).starts_with("the p-value of talk is NaN"));
    assert!(refused(&[("talk", 1.1)]).contains("1.1"));
    assert!(judge(&family, &BTreeMap::from([("scratch", differences(&[]))]), &design()).is_err());
    assert!(matches!(Family::<u8>::declare("none", []), Err(Invalid::EmptyFamily { .. })));
    assert!(matches!(Family::declare("twice", [1, 1]), Err(Invalid::DeclaredTwice { .. })));
}

#[test]
fn gates_without_enough_seeds_or_spread() {
    let gate = Gate::new(Direction::LowerIsBetter, Tolerance::new(0.002).unwrap());
    let seeds = |values: &[(u32, f64)]| values.iter().copied().collect::<BTreeMap<u32, f64>>();
    let reference = seeds(&[(1, 0.9), (2, 0.91), (3, 0.92)]);
    let few = gate.check(&seeds(&[(1, 0.9)]), &reference);
    assert_eq!(few, Err(GateError::TooFew { shared: 1, current: 1, reference: 3 }));
    assert!(matches!(gate.check(&seeds(&[(1, f64::NAN), (2, 0.9)]), &reference), Err(GateError::Invalid(_))));
    // The same by rounding, to the tolerance and just beyond it.
    let shifted = |by: f64| gate.check(&reference.iter().map(|(seed, value)| (*seed, value + by)).collect(), &reference).unwrap();
    assert_eq!((shifted(0.0).outcome, shifted(0.0).p), (Outcome::Pass, None));
    assert_eq!(shifted(0.002).outcome, Outcome::Pass);
    assert_eq!(shifted(0.002_001).outcome, Outcome::Regression);
    assert_eq!(shifted(-0.1).outcome, Outcome::Pass);
}

/// Users with squared errors in two genres: who has rows in both, is resampled with both.
#[test]
fn strata_are_means_of_their_differences_and_share_their_clusters() {
    let cluster = |rows, method, reference| Cluster { rows, method, reference };
    let one: BTreeMap<u32, Cluster> =
        (0..12).map(|user| (user, cluster(1 + user % 3, f64::from(user) + 1.0, f64::from(13 - user)))).collect();
    let found = |strata: Vec<BTreeMap<u32, Cluster>>| {
        let clusters = Clusters::of_strata(strata, Aggregate::RootMean).unwrap();
        clusters.bootstrap(Resampling::default(), Confidence::default()).unwrap()
    };
    // Of one stratum it is what it is without strata, and of the same twice too: their resamples go together.
    let alone = Clusters::new(one.values().copied().collect(), Aggregate::RootMean).unwrap();
    let alone = alone.bootstrap(Resampling::default(), Confidence::default()).unwrap();
    assert_eq!(found(vec![one.clone()]), alone);
    let twice = found(vec![one.clone(), one.clone()]);
    assert_eq!((twice.difference, twice.bca, twice.clusters, twice.rows), (alone.difference, alone.bca, 12, 2 * alone.rows));
    // Other users, fewer of them: the mean of both differences, whichever comes first.
    let other: BTreeMap<u32, Cluster> = (8..16).map(|user| (user, cluster(2, 3.0, f64::from(user)))).collect();
    let both = found(vec![one.clone(), other.clone()]);
    let by_hand = |of: &BTreeMap<u32, Cluster>| {
        let rows: u32 = of.values().map(|cluster| cluster.rows).sum();
        let root = |sum: f64| (sum / f64::from(rows)).sqrt();
        root(of.values().map(|cluster| cluster.method).sum()) - root(of.values().map(|cluster| cluster.reference).sum())
    };
    assert!((both.difference - 0.5 * (by_hand(&one) + by_hand(&other))).abs() < 1e-12, "{both:?}");
    assert_eq!(both.clusters, 16);
    assert!(both.bca.low < both.difference && both.difference < both.bca.high, "{both:?}");
    let wrong = BTreeMap::from([(1, cluster(0, 1.0, 1.0))]);
    assert!(Clusters::of_strata(vec![one, wrong], Aggregate::RootMean).unwrap_err().to_string().contains("no rows"));
}
