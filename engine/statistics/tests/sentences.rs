//! Verdicts and gates in words.

use std::collections::BTreeMap;

use talkflow_statistics::{
    Degenerate, Design, Differences, Direction, Evidence, Family, Gate, Judgement, Margin, Overlap, Tolerance, Verdict, judge,
};

fn design() -> Design {
    Design::new(Direction::LowerIsBetter, Overlap::of_rows(10, 80).unwrap(), Margin::new(0.005).unwrap())
}

/// The verdict on differences that spread evenly about their mean, alone in a family of `size`.
fn judged(design: &Design, mean: f64, spread: f64, n: i32, size: usize) -> Judgement {
    let values = (0..n).map(|at| mean + spread * (2.0 * f64::from(at) / f64::from(n - 1) - 1.0)).collect();
    of(design, values, size)
}

fn of(design: &Design, values: Vec<f64>, size: usize) -> Judgement {
    let family = Family::declare("methods", 0..size).unwrap();
    judge(&family, &BTreeMap::from([(0, Differences::new(values).unwrap())]), design).unwrap()[&0].clone()
}

#[test]
fn a_verdict_is_a_sentence() {
    let cases = [
        (judged(&design(), -0.03, 0.02, 10, 6), Verdict::Better),
        (judged(&design(), 0.03, 0.02, 10, 1), Verdict::Worse),
        (judged(&design(), -0.002, 0.0008, 10, 1), Verdict::Better),
        (judged(&design(), 0.0003, 0.003, 10, 6), Verdict::Equivalent),
        (judged(&design(), 0.01, 0.03, 10, 6), Verdict::Unresolved),
        (judged(&design(), -0.031, 0.03, 5, 1), Verdict::Unresolved),
        (of(&design(), vec![0.0; 10], 1), Verdict::Equivalent),
        (of(&design(), vec![-0.25; 10], 1), Verdict::Unresolved),
        (of(&design(), vec![0.1], 1), Verdict::Unresolved),
        (of(&design(), vec![], 1), Verdict::Unresolved),
    ];
    let found: Vec<String> = cases.iter().map(|(judged, _)| judged.to_string()).collect();
    for (judged, verdict) in &cases {
        assert_eq!(judged.verdict, *verdict, "{judged}");
        assert!(judged.to_string().starts_with(&verdict.to_string()), "{judged}");
    }
    let expected = [
        "better by 0.0300, with 95 % confidence between 0.0156 and 0.0444 for data like these (p = 0.0067 after Holm's correction over 6 \
         tests, 10 blocks)",
        "worse by 0.0300, with 95 % confidence between 0.0156 and 0.0444 for data like these (p = 0.0011, 10 blocks)",
        "better by 0.00200, with 95 % confidence between 0.00142 and 0.00258 for data like these (p < 0.0001, 10 blocks), which is less \
         than the margin of 0.005 that matters",
        "equivalent: the difference of 0.000300 is shown to be smaller than the margin of 0.005 (p = 0.0025 after Holm's correction over \
         6 tests, 10 blocks)",
        "unresolved: the difference of 0.0100 may be chance (p = 1.0 after Holm's correction over 6 tests), since 10 blocks that vary by \
         0.0202 resolve differences from 0.0302, and more splits of this data set from 0.0200 at best",
        "unresolved: the difference of -0.0310 may be chance (p = 0.084), since 5 blocks that vary by 0.0237 resolve differences from \
         0.0509, and more splits of this data set from 0.0235 at best; no sign-flip p of 5 blocks goes below 0.0625",
        "equivalent: the values are the same in all 10 blocks, to the last digits",
        "unresolved: the difference is -0.250 in each of 10 blocks, as if their seeds changed nothing, so that nothing says how much \
         another would vary",
        "unresolved: 1 block in common, and a test needs 2 at least",
        "unresolved: 0 blocks in common, and a test needs 2 at least",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_direction_turns_better_into_worse() {
    let mut higher = design();
    higher.direction = Direction::HigherIsBetter;
    assert_eq!(judged(&higher, 0.03, 0.02, 10, 1).verdict, Verdict::Better);
    assert_eq!(judged(&higher, -0.03, 0.02, 10, 1).verdict, Verdict::Worse);
}

#[test]
fn a_family_asks_for_more() {
    // Alone it is shown; among twenty, the same numbers are not.
    assert_eq!(judged(&design(), -0.02, 0.03, 20, 1).verdict, Verdict::Better);
    assert_eq!(judged(&design(), -0.02, 0.03, 20, 20).verdict, Verdict::Unresolved);
}

#[test]
fn a_verdict_is_read_back_from_json() {
    for judged in [judged(&design(), -0.03, 0.02, 10, 6), of(&design(), vec![0.1], 1)] {
        let value = serde_json::to_value(&judged).unwrap();
        assert_eq!(serde_json::from_value::<Judgement>(value).unwrap(), judged);
    }
    let few = of(&design(), vec![0.1], 1).evidence;
    assert_eq!(few, Evidence::Degenerate(Degenerate::TooFew { n: 1, needed: 2 }));
    assert_eq!(serde_json::to_string(&few).unwrap(), r#"{"degenerate":{"reason":"too_few","n":1,"needed":2}}"#);
}

#[test]
fn a_gate_is_a_sentence() {
    let gate = Gate::new(Direction::LowerIsBetter, Tolerance::new(0.002).unwrap());
    let reference: BTreeMap<u32, f64> =
        [0.951, 0.948, 0.957, 0.944, 0.950].into_iter().enumerate().map(|(at, x)| (at as u32, x)).collect();
    let again = |by: [f64; 5], from: u32| {
        reference.iter().map(|(seed, x)| (seed + from, x + by[*seed as usize])).collect::<BTreeMap<u32, f64>>()
    };
    let found: Vec<String> = [
        again([0.0; 5], 0),
        again([0.001, 0.002, 0.0, 0.003, -0.001], 0),
        again([0.006, 0.007, 0.005, 0.008, 0.006], 0),
        again([0.006, 0.007, 0.005, 0.008, 0.006], 2),
        again([-0.006, -0.007, 0.005, 0.008, 0.006], 10),
        again([0.1; 5], 0),
    ]
    .iter()
    .map(|now| gate.check(now, &reference).unwrap().to_string())
    .collect();
    let expected = [
        "no regression shown: no change over 5 seeds in common with the reference, tolerance 0.002 (all alike)",
        "no regression shown: worse by 0.00100 over 5 seeds in common with the reference, tolerance 0.002 (p = 0.88); the gate misses \
         regressions below 0.00415 more often than in 20 % of cases",
        "regression: worse by 0.00640 over 5 seeds in common with the reference, tolerance 0.002 (p = 0.00050)",
        "no regression shown: worse by 0.00767 over 3 seeds in common with the reference and 4 left out, tolerance 0.002 (p = 0.14); the \
         gate misses regressions below 0.0173 more often than in 20 % of cases",
        "no regression shown: worse by 0.00120 over 5 seeds against 5 others, whose spread does not cancel out, tolerance 0.002 \
         (p = 0.57); the gate misses regressions below 0.0141 more often than in 20 % of cases",
        "regression: worse by 0.100 over 5 seeds in common with the reference, tolerance 0.002 (all alike)",
    ];
    assert_eq!(found, expected);
}
