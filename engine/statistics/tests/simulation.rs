//! How often intervals cover the truth and tests raise a false alarm, on data whose truth is known. Seeded: every run has the same numbers.
//!
//! `cargo test -p talkflow-statistics --test main simulation -- --nocapture` prints them, and `docs/statistics.md` has the table. A rate
//! that a theorem gives is held to it within four binomial standard deviations.

use std::collections::BTreeMap;

use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use talkflow_statistics::{
    Aggregate, Alpha, Clusters, Confidence, Differences, Direction, Estimate, Family, Gate, Margin, Outcome, Overlap, Power,
    Resampling, Sd, SignFlips, Tolerance, Variance, bca, resolvable, sign_flip,
};

/// A source of data.
struct Source(Xoshiro256PlusPlus);

impl Source {
    fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Exponential less its mean: skewed, with mean 0 and variance 1.
    fn skewed(&mut self) -> f64 {
        -(1.0 - self.unit()).ln() - 1.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    fn sample(&mut self, n: usize, one: impl Fn(&mut Self) -> f64) -> Differences {
        Differences::new((0..n).map(|_| one(self)).collect()).unwrap()
    }

    /// Differences on `n` random splits of one data set: they have a part in common, as large as `ratio` says (Nadeau and Bengio's model:
    /// correlation ratio / (1 + ratio)). Mean 0, variance 1.
    fn overlapping(&mut self, n: usize, ratio: f64) -> Differences {
        let shared = ratio / (1.0 + ratio);
        let common = shared.sqrt() * self.normal();
        self.sample(n, |source| common + (1.0 - shared).sqrt() * source.normal())
    }
}

/// A rate that was measured.
struct Rate {
    hits: u32,
    tries: u32,
}

impl Rate {
    fn measure(what: &str, tries: u32, mut one: impl FnMut() -> bool) -> Self {
        let hits = (0..tries).filter(|_| one()).count() as u32;
        let rate = Self { hits, tries };
        eprintln!("{what}: {:.3} of {tries}", rate.share());
        rate
    }

    fn share(&self) -> f64 {
        f64::from(self.hits) / f64::from(self.tries)
    }

    /// Four standard deviations of a rate that is truly `p`.
    fn reach(&self, p: f64) -> f64 {
        4.0 * (p * (1.0 - p) / f64::from(self.tries)).sqrt()
    }

    #[track_caller]
    fn is(&self, p: f64) {
        assert!((self.share() - p).abs() <= self.reach(p), "{} of {} is not {p}", self.hits, self.tries);
    }

    #[track_caller]
    fn at_most(&self, p: f64) {
        assert!(self.share() <= p + self.reach(p), "{} of {} is more than {p}", self.hits, self.tries);
    }
}

const RATIO: f64 = 0.125;

fn corrected() -> Variance {
    Variance::NadeauBengio(Overlap::new(RATIO).unwrap())
}

fn covers(differences: &Differences, variance: Variance, truth: f64) -> bool {
    let interval = Estimate::paired(differences, variance).unwrap().interval(Confidence::default());
    interval.low <= truth && truth <= interval.high
}

fn alarm(differences: &Differences, variance: Variance) -> bool {
    Estimate::paired(differences, variance).unwrap().p_two_sided(0.0) <= 0.05
}

#[test]
fn t_intervals_cover() {
    let mut source = Source::new(1);
    for n in [5, 10, 20] {
        let what = format!("plain t interval, {n} independent normal differences");
        Rate::measure(&what, 10_000, || covers(&source.sample(n, Source::normal), Variance::Plain, 0.0)).is(0.95);
    }
    let rate = Rate::measure("plain t interval, 10 independent skewed differences", 10_000, || {
        covers(&source.sample(10, Source::skewed), Variance::Plain, 0.0)
    });
    assert!((0.88..0.95).contains(&rate.share()));
}

#[test]
fn overlapping_splits_need_the_corrected_variance() {
    let mut source = Source::new(2);
    for n in [5, 10, 20] {
        let what = |which: &str| format!("{which} t interval, {n} overlapping normal differences");
        Rate::measure(&what("corrected"), 10_000, || covers(&source.overlapping(n, RATIO), corrected(), 0.0)).is(0.95);
        let plain = Rate::measure(&what("plain"), 10_000, || covers(&source.overlapping(n, RATIO), Variance::Plain, 0.0));
        assert!(plain.share() < 0.92, "the plain interval does not know of the overlap");
    }
    let rate = Rate::measure("corrected t test, 10 overlapping differences, false alarms", 10_000, || {
        alarm(&source.overlapping(10, RATIO), corrected())
    });
    rate.is(0.05);
}

/// Two learners that are equally good on average: a regression on each of two features that say the same about the target.
fn of_real_splits(source: &mut Source, n: usize) -> Differences {
    const ROWS: usize = 90;
    let mut rows: Vec<[f64; 3]> = (0..ROWS)
        .map(|_| {
            let [one, other] = [source.normal(), source.normal()];
            [one, other, one + other + source.normal()]
        })
        .collect();
    let mut differences = Vec::new();
    for _ in 0..n {
        for end in (1..ROWS).rev() {
            rows.swap(end, source.below(end + 1));
        }
        let (test, train) = rows.split_at(ROWS / 9);
        let error = |feature: usize| {
            let sum = |of: fn(f64, f64) -> f64| train.iter().map(|row| of(row[feature], row[2])).sum::<f64>();
            let slope = sum(|x, y| x * y) / sum(|x, _| x * x);
            test.iter().map(|row| (row[2] - slope * row[feature]).powi(2)).sum::<f64>() / test.len() as f64
        };
        differences.push(error(0) - error(1));
    }
    Differences::new(differences).unwrap()
}

#[test]
fn learners_on_resplits_of_one_data_set() {
    let mut source = Source::new(3);
    let corrected = Rate::measure("corrected t test, two equal learners on 10 resplits, false alarms", 4_000, || {
        alarm(&of_real_splits(&mut source, 10), corrected())
    });
    let plain = Rate::measure("plain t test, two equal learners on 10 resplits, false alarms", 4_000, || {
        alarm(&of_real_splits(&mut source, 10), Variance::Plain)
    });
    // The correction is an approximation here; without it the test is useless.
    assert!(corrected.share() < 0.07 && plain.share() > 0.14);
}

#[test]
fn bca_intervals_cover_less_than_they_say_where_blocks_are_few() {
    let mut source = Source::new(4);
    let resampling = Resampling::new(1000, 1).unwrap();
    let mut coverage = |what: &str, n: usize, one: fn(&mut Source) -> f64| {
        Rate::measure(&format!("BCa interval, {n} independent {what} differences"), 1_500, || {
            let interval = bca(&source.sample(n, one), resampling, Confidence::default()).unwrap();
            interval.low <= 0.0 && 0.0 <= interval.high
        })
        .share()
    };
    let [five, ten, twenty, eighty] = [5, 10, 20, 80].map(|n| coverage("normal", n, Source::normal));
    assert!((0.80..0.88).contains(&five) && (0.88..0.93).contains(&ten));
    assert!((0.91..0.95).contains(&twenty) && (0.93..0.965).contains(&eighty));
    let [ten, eighty] = [10, 80].map(|n| coverage("skewed", n, Source::skewed));
    assert!((0.82..0.92).contains(&ten) && (0.91..0.96).contains(&eighty));
}

#[test]
fn sign_flips_raise_as_many_false_alarms_as_their_steps_allow() {
    let mut source = Source::new(5);
    let mut alarms = |what: &str, n: usize, tries: u32, one: fn(&mut Source) -> f64| {
        Rate::measure(&format!("sign-flip test, {n} {what} differences, false alarms"), tries, || {
            // Signs of their own for each sample: 999 drawn once for all would be off by as much as chance has it.
            let flips = SignFlips::new(999, (source.unit() * 1e9) as u64).unwrap();
            sign_flip(&source.sample(n, one), flips).unwrap().p_two_sided <= 0.05
        })
    };
    // No p below 0.0625 exists.
    assert_eq!(alarms("normal", 5, 2_000, Source::normal).hits, 0);
    // p comes in steps of 2/1024: the last one below 0.05 is the 25th. Whatever the distribution, as long as it is even about 0.
    alarms("normal", 10, 10_000, Source::normal).is(50.0 / 1024.0);
    alarms("heavy-tailed", 10, 10_000, |source| source.normal() / source.unit()).is(50.0 / 1024.0);
    // Ties only make it more careful.
    alarms("tied", 10, 10_000, |source| source.below(3) as f64 - 1.0).at_most(0.05);
    // Drawn signs, the sample among them: multiples of 1/1000.
    alarms("normal", 20, 3_000, Source::normal).is(0.05);
}

#[test]
fn holm_holds_the_level_of_a_family() {
    let mut source = Source::new(6);
    let members = 0..6_usize;
    let family = Family::declare("methods", members.clone()).unwrap();
    // All methods are compared with the same reference, so their tests have much in common. The first `better` of them are better.
    let mut false_alarm = |what: &str, better: usize, correct: bool| {
        Rate::measure(&format!("{what}, false alarms in a family of 6 with {better} true effects"), 10_000, || {
            let reference = source.overlapping(10, RATIO);
            let p: BTreeMap<usize, f64> = members
                .clone()
                .map(|method| {
                    let effect = if method < better { -3.0 } else { 0.0 };
                    let own = source.overlapping(10, RATIO);
                    let of = own.values().iter().zip(reference.values()).map(|(own, reference)| own + effect - reference);
                    let of = Differences::new(of.collect()).unwrap();
                    (method, Estimate::paired(&of, corrected()).unwrap().p_two_sided(0.0))
                })
                .collect();
            let p = if correct { family.holm(&p).unwrap() } else { p };
            p.iter().any(|(method, p)| *method >= better && *p <= 0.05)
        })
    };
    for better in [0, 3, 5] {
        false_alarm("Holm", better, true).at_most(0.05);
    }
    assert!(false_alarm("no correction", 0, false).share() > 0.12);
}

#[test]
fn equivalence_at_the_margin_is_claimed_as_often_as_alpha_says() {
    let mut source = Source::new(7);
    let margin = Margin::new(0.005).unwrap();
    let mut claims = |truth: f64, sd: f64| {
        let what = format!("TOST, 10 overlapping differences, margin 0.005, true difference {truth}, sd {sd}, claims");
        Rate::measure(&what, 10_000, || {
            let of = source.overlapping(10, RATIO);
            // The model's variance within a data set is 1 / (1 + ratio).
            let scaled = of.values().iter().map(|value| truth + sd * (1.0 + RATIO).sqrt() * value).collect();
            let estimate = Estimate::paired(&Differences::new(scaled).unwrap(), corrected()).unwrap();
            estimate.equivalence(margin, Alpha::default()).equivalent
        })
    };
    claims(0.005, 0.003).is(0.05);
    claims(-0.005, 0.003).is(0.05);
    // A spread that the margin cannot be seen in claims nothing, rightly or wrongly.
    claims(0.005, 0.02).at_most(0.05);
    assert!(claims(0.0, 0.02).share() < 0.05);
    assert!(claims(0.0, 0.003).share() > 0.8);
}

#[test]
fn what_is_called_resolvable_is_found_that_often() {
    let mut source = Source::new(8);
    for n in [5, 10, 20] {
        // Within one data set, differences have the variance 1 / (1 + ratio) in this model.
        let sd = Sd::new((1.0 / (1.0 + RATIO)).sqrt()).unwrap();
        let found = resolvable(sd, n, Overlap::new(RATIO).unwrap(), Alpha::default(), Power::default()).unwrap();
        let rate = Rate::measure(&format!("corrected t test, the resolvable effect of {n} blocks, found"), 10_000, || {
            let shifted = source.overlapping(n, RATIO).values().iter().map(|value| value + found.effect).collect();
            alarm(&Differences::new(shifted).unwrap(), corrected())
        });
        rate.is(0.8);
    }
}

/// A reference of `n` seeds, and the same seeds again: worse by `regression`, give or take `drift`.
fn rerun(source: &mut Source, n: usize, regression: f64, drift: f64, shared: bool) -> [BTreeMap<usize, f64>; 2] {
    let value = |source: &mut Source| 0.95 + 0.015 * source.normal();
    let reference: BTreeMap<usize, f64> = (0..n).map(|seed| (seed, value(source))).collect();
    let again = reference.values().enumerate().map(|(seed, before)| {
        let (seed, before) = if shared { (seed, *before) } else { (seed + n, value(source)) };
        (seed, before + regression + drift * source.normal())
    });
    [again.collect(), reference.clone()]
}

#[test]
fn a_gate_catches_three_times_its_tolerance_and_seldom_cries_wolf() {
    let mut source = Source::new(9);
    let tolerance = 0.002;
    let gate = Gate::new(Direction::LowerIsBetter, Tolerance::new(tolerance).unwrap());
    let mut alarms = |tries: u32, n: usize, regression: f64, drift: f64, shared: bool| {
        let pairing = if shared { "paired" } else { "unpaired" };
        let what = format!("{pairing} gate, tolerance 0.002, {n} seeds, drift {drift}, true regression {regression}, alarms");
        Rate::measure(&what, tries, || {
            let [now, before] = rerun(&mut source, n, regression, drift, shared);
            gate.check(&now, &before).unwrap().outcome == Outcome::Regression
        })
    };
    for n in [5, 10] {
        assert_eq!(alarms(100, n, 3.0 * tolerance, 0.0, true).hits, 100);
        assert_eq!(alarms(100, n, 3.0 * tolerance, tolerance / 2.0, true).hits, 100);
        // At the tolerance itself, alpha; without a regression, next to never.
        alarms(2_000, n, tolerance, tolerance / 2.0, true).is(0.05);
        assert!(alarms(1_000, n, 0.0, tolerance / 2.0, true).share() < 0.005);
        // Noise as large as twice the tolerance makes it blind, not wrong.
        alarms(1_000, n, 0.0, 2.0 * tolerance, true).at_most(0.05);
    }
    // Other seeds: what it misses is said.
    let blind = alarms(500, 3, 3.0 * tolerance, 0.0, false);
    assert!(blind.share() < 0.2);
    alarms(500, 3, tolerance, 0.0, false).at_most(0.05);
}

#[test]
fn an_unpaired_gate_of_three_seeds_is_blind_below_four_hundredths() {
    let mut source = Source::new(10);
    let gate = Gate::new(Direction::LowerIsBetter, Tolerance::new(0.002).unwrap());
    let mut blind: Vec<f64> = (0..201)
        .map(|_| {
            let [now, before] = rerun(&mut source, 3, 0.0, 0.0, false);
            gate.check(&now, &before).unwrap().blind_below
        })
        .collect();
    blind.sort_by(f64::total_cmp);
    eprintln!("unpaired gate, 3 seeds with a spread of 0.015, blind below (median): {:.3}", blind[100]);
    assert!((0.03..0.05).contains(&blind[100]), "{}", blind[100]);
}

/// Squared errors of two models on the rows of `users` users. How well a model does hangs on the user, for both models alike and for each by
/// itself.
fn rows(source: &mut Source, users: usize) -> Vec<(usize, f64, f64)> {
    let mut rows = Vec::new();
    for user in 0..users {
        let [taste, own, other] = [0.3, 0.4, 0.4].map(|sd| sd * source.normal());
        for _ in 0..1 + source.below(19) {
            let [one, two, noise] = [source.normal(), source.normal(), source.normal()];
            let error = |own: f64, noise_of_its_own: f64, sd: f64| (taste + own + 0.8 * noise + sd * noise_of_its_own).powi(2);
            rows.push((user, error(own, one, 0.3), error(other, two, 0.4)));
        }
    }
    rows
}

#[test]
fn intervals_over_users_cover_and_intervals_over_rows_do_not() {
    let mut source = Source::new(11);
    let mean_square = |sd: f64| 0.3_f64.powi(2) + 0.4_f64.powi(2) + 0.8_f64.powi(2) + sd * sd;
    let truth = mean_square(0.3).sqrt() - mean_square(0.4).sqrt();
    let mut coverage = |what: &str, tries: u32, by_user: bool| {
        Rate::measure(&format!("{what} bootstrap of a difference of RMSE, 80 users"), tries, || {
            let rows = rows(&mut source, 80).into_iter().enumerate();
            let rows = rows.map(|(row, (user, one, other))| (if by_user { user } else { row }, one, other));
            let clusters = Clusters::of_rows(rows, Aggregate::RootMean).unwrap();
            let found = clusters.bootstrap(Resampling::new(1000, 2).unwrap(), Confidence::default()).unwrap();
            found.bca.low <= truth && truth <= found.bca.high
        })
        .share()
    };
    let (users, rows) = (coverage("user", 500, true), coverage("row", 200, false));
    assert!((0.91..0.97).contains(&users), "{users}");
    assert!(rows < 0.85, "{rows}");
}
