//! Each procedure against scipy and statsmodels: `reference.py` made `reference.json`, and says how.

use std::collections::BTreeMap;

use serde_json::Value;
use talkflow_statistics::{
    Aggregate, Alpha, Cluster, Clusters, Confidence, Differences, Direction, Estimate, Family, Gate, Interval, Margin, Overlap,
    Pairing, Power, Resampling, Sd, SignFlips, Tolerance, Variance, bca, resolvable, sign_flip,
};

fn reference(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("reference.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Equal to `digits` relative, or to what is left of a number that came from subtracting numbers of size `size`.
#[track_caller]
fn close(ours: f64, theirs: &Value, size: f64, what: &str) {
    let theirs = number(theirs);
    assert!((ours - theirs).abs() <= 1e-10 * theirs.abs().max(1e-4 * size), "{what}: {ours:e}, the reference has {theirs:e}");
}

#[track_caller]
fn close_interval(ours: Interval, theirs: &Value, size: f64, what: &str) {
    close(ours.low, &theirs[0], size, what);
    close(ours.high, &theirs[1], size, what);
}

fn cases() -> Vec<(Differences, Value)> {
    reference("cases").into_iter().map(|case| (Differences::new(numbers(&case["differences"])).unwrap(), case)).collect()
}

fn variance(case: &Value) -> Variance {
    match number(&case["ratio"]) {
        0.0 => Variance::Plain,
        ratio => Variance::NadeauBengio(Overlap::new(ratio).unwrap()),
    }
}

#[test]
fn t_tests_plain_and_corrected() {
    for (differences, case) in cases() {
        let sd = differences.sd().unwrap();
        close(sd, &case["sd"], 0.0, "sd");
        for want in case["t"].as_array().unwrap() {
            let found = Estimate::paired(&differences, variance(want)).unwrap().test(Confidence::default());
            close(found.mean, &want["mean"], sd, "mean");
            close(found.standard_error, &want["standard_error"], 0.0, "standard error");
            close(found.p_two_sided, &want["p_two_sided"], 0.0, "two-sided p");
            close(found.p_greater, &want["p_greater"], 0.0, "p of greater");
            close(found.p_less, &want["p_less"], 0.0, "p of less");
            close_interval(found.interval, &want["interval"], sd, "t interval");
        }
    }
}

#[test]
fn equivalence() {
    for (differences, case) in cases() {
        let sd = differences.sd().unwrap();
        for want in case["tost"].as_array().unwrap() {
            let margin = Margin::new(number(&want["margin"])).unwrap();
            let estimate = Estimate::paired(&differences, variance(want)).unwrap();
            let found = estimate.equivalence(margin, Alpha::default());
            close(found.p_above_lower, &want["p_above_lower"], 0.0, "p above the lower margin");
            close(found.p_below_upper, &want["p_below_upper"], 0.0, "p below the upper margin");
            close_interval(found.interval, &want["interval"], sd, "90 % interval");
            let within = found.interval.low >= -margin.get() && found.interval.high <= margin.get();
            assert_eq!(found.equivalent, within, "{found:?}");
            assert_eq!(found.p, found.p_above_lower.max(found.p_below_upper));
        }
    }
}

#[test]
fn sign_flips() {
    let mut compared = 0;
    for (differences, case) in cases() {
        let found = sign_flip(&differences, SignFlips::default()).unwrap();
        let want = &case["sign_flip"];
        assert_eq!(found.exact, differences.n() <= 16);
        if found.exact {
            compared += 1;
            // Counts of the same signs, but scipy divides its own way.
            let p = [(found.p_two_sided, "p_two_sided"), (found.p_greater, "p_greater"), (found.p_less, "p_less")];
            for (ours, name) in p {
                assert!((ours - number(&want[name])).abs() < 1e-15, "{name} of {differences:?} is {ours}");
            }
        }
    }
    assert_eq!(compared, 9);
}

fn resampling(want: &Value) -> Resampling {
    Resampling::new(want["resamples"].as_u64().unwrap() as u32, want["seed"].as_u64().unwrap()).unwrap()
}

#[test]
fn bca_intervals_of_the_same_resamples() {
    let mut compared = 0;
    for (differences, case) in cases() {
        if let Some(want) = case.get("bca") {
            compared += 1;
            let found = bca(&differences, resampling(want), Confidence::default()).unwrap();
            // The reference rounds means to 14 decimals.
            close_interval(found, &want["bca"], 1e-2, "BCa interval");
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn clusters_of_the_same_resamples() {
    for want in reference("clusters") {
        let aggregate: Aggregate = serde_json::from_value(want["aggregate"].clone()).unwrap();
        let columns = ["rows", "method", "reference"].map(|name| numbers(&want[name]));
        let clusters = (0..columns[0].len())
            .map(|at| Cluster { rows: columns[0][at] as u32, method: columns[1][at], reference: columns[2][at] })
            .collect();
        let found = Clusters::new(clusters, aggregate).unwrap().bootstrap(resampling(&want), Confidence::default()).unwrap();
        close(found.difference, &want["difference"], 1e-2, "difference");
        close(found.standard_error, &want["standard_error"], 1e-2, "standard error");
        close_interval(found.percentile, &want["percentile"], 1e-2, "percentile interval");
        close_interval(found.bca, &want["bca"], 1e-2, "BCa interval");
    }
}

#[test]
fn holm() {
    for want in reference("holm") {
        let p: BTreeMap<usize, f64> = numbers(&want["p"]).into_iter().enumerate().collect();
        let adjusted = Family::declare("all", p.keys().copied()).unwrap().holm(&p).unwrap();
        for (label, theirs) in want["adjusted"].as_array().unwrap().iter().enumerate() {
            close(adjusted[&label], theirs, 0.0, "adjusted p");
        }
    }
}

#[test]
fn effects_that_can_be_resolved() {
    for row in reference("effects") {
        let [n, ratio, alpha, power] = [0, 1, 2, 3].map(|at| number(&row[at]));
        let found = resolvable(
            Sd::new(0.02).unwrap(),
            n as usize,
            Overlap::new(ratio).unwrap(),
            Alpha::new(alpha).unwrap(),
            Power::new(power).unwrap(),
        );
        let (found, want) = (found.unwrap().effect / 0.02, number(&row[4]));
        assert!((found / want - 1.0).abs() < 1e-10, "{row}: {found}");
    }
}

#[test]
fn gates() {
    for want in reference("gates") {
        let gate = Gate::new(Direction::LowerIsBetter, Tolerance::new(number(&want["tolerance"])).unwrap());
        let seeds = |values: &Value, from: usize| -> BTreeMap<usize, f64> {
            numbers(values).into_iter().enumerate().map(|(at, value)| (at + from, value)).collect()
        };
        let (current, reference) = (seeds(&want["current"], 0), seeds(&want["reference"], 0));
        let paired = gate.check(&current, &reference).unwrap();
        close(paired.p.unwrap(), &want["paired_p"], 0.0, "paired gate");
        assert_eq!(paired.pairing, Pairing::Paired { seeds: current.len(), left_out: 0 });
        let unpaired = gate.check(&current, &seeds(&want["reference"], 100)).unwrap();
        close(unpaired.p.unwrap(), &want["welch_p"], 0.0, "unpaired gate");
        assert_eq!(unpaired.pairing, Pairing::Unpaired { current: current.len(), reference: reference.len() });
        // The other way round, the numbers are the same.
        let higher = Gate::new(Direction::HigherIsBetter, gate.tolerance);
        let negative = |values: &BTreeMap<usize, f64>| values.iter().map(|(seed, value)| (*seed, -value)).collect();
        assert_eq!(higher.check(&negative(&current), &negative(&reference)).unwrap(), paired);
    }
}
