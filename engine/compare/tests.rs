//! Comparisons against what scipy says of the same numbers, and which of them are the same hypothesis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use super::*;

const BLOCKS: [&str; 5] = ["1", "2", "3", "4", "5"];

type Columns = [(&'static str, [f64; 5]); 4];

/// Two rows, five blocks.
fn numbers() -> Numbers {
    let rows: [(&str, Columns); 2] = [
        (
            "Drama",
            [
                ("scratch", [0.98, 1.01, 0.97, 1.02, 1.00]),
                ("label", [0.95, 0.97, 0.95, 0.98, 0.97]),
                ("talk", [0.98, 1.00, 0.98, 1.02, 1.01]),
                ("teacher", [0.90, 0.92, 0.91, 0.93, 0.92]),
            ],
        ),
        (
            "Western",
            [
                ("scratch", [1.20, 1.10, 1.16, 1.08, 1.14]),
                ("label", [1.15, 1.08, 1.10, 1.06, 1.07]),
                ("talk", [1.19, 1.11, 1.15, 1.09, 1.13]),
                ("teacher", [1.05, 1.00, 1.02, 1.01, 1.03]),
            ],
        ),
    ];
    let number = |value| Number { value, rows: 10, train_rows: 80 };
    let blocks = |values: [f64; 5]| BLOCKS.map(str::to_owned).into_iter().zip(values.map(number)).collect();
    let columns = |of: Columns| of.map(|(column, values)| (column.to_owned(), blocks(values))).into();
    rows.map(|(row, of)| (row.to_owned(), columns(of))).into()
}

fn declared() -> Declared {
    Declared { pairs: vec![("talk".into(), "label".into())], ..crate::scores::testing::declared() }
}

fn judged(declared: &Declared, tables: &[&Numbers]) -> Vec<(usize, Compared)> {
    declared.judge(tables, "teacher").unwrap()
}

/// The numbers of each line below: mean, standard deviation, ends of the t interval, p of Nadeau and Bengio, after Holm's correction,
/// of equivalence, of sign-flipping, and gap recovery.
///
/// ```python
/// import itertools, numpy as np
/// from scipy import stats
/// # scratch, label, talk, teacher: the values of `numbers`, each a mapping of rows to lists
/// def of(method, reference, rows):
///     m, r, t = (np.mean([x[row] for row in rows], axis=0) for x in (method, reference, teacher))
///     d, n = m - r, 5
///     s = d.std(ddof=1)
///     ci = stats.t.interval(0.95, n - 1, d.mean(), s / np.sqrt(n))
///     se = s * np.sqrt(1 / n + 10 / 80)
///     p = 2 * stats.t.sf(abs(d.mean() / se), n - 1)
///     tost = max(stats.t.sf((d.mean() + 0.005) / se, n - 1), stats.t.sf((0.005 - d.mean()) / se, n - 1))
///     flips = itertools.product([1, -1], repeat=n)
///     flip = np.mean([abs(np.dot(signs, d)) >= abs(d.sum()) - 1e-12 for signs in flips])
///     return [d.mean(), s, *ci, p, tost, flip, (r - m).mean() / (r - t).mean()]
/// def holm(ps):
///     out, top = np.empty(len(ps)), 0
///     for place, at in enumerate(np.argsort(ps)):
///         top = max(top, min(1, ps[at] * (len(ps) - place))); out[at] = top
///     return out
/// both, pairs = ["Drama", "Western"], ((label, scratch), (talk, scratch), (talk, label))
/// families = [[of(*pair, both) for pair in pairs], [of(*pair, [row]) for row in both for pair in pairs]]
/// # each line, and holm([line[4] for line in family])
/// ```
#[test]
fn every_number_is_that_of_scipy() {
    let expected: [(&str, &str, &str, [f64; 9]); 9] = [
        (
            "mean",
            "label",
            "scratch",
            [
                -0.038,
                0.00836660026534063,
                -0.0483885063368356,
                -0.0276114936631645,
                0.00134489346899428,
                0.00277121488743192,
                0.998854907365112,
                0.0625,
                0.391752577319588,
            ],
        ),
        (
            "mean",
            "talk",
            "scratch",
            [0.0, 0.00353553390593274, -0.00438994516542537, 0.00438994516542546, 1.0, 1.0, 0.0340801773578773, 1.0, 0.0],
        ),
        (
            "mean",
            "talk",
            "label",
            [
                0.038,
                0.00758287544405139,
                0.0285846165582581,
                0.0474153834417421,
                0.000923738295810641,
                0.00277121488743192,
                0.999209233560144,
                0.0625,
                -0.644067796610172,
            ],
        ),
        (
            "Drama",
            "label",
            "scratch",
            [
                -0.032,
                0.00836660026534076,
                -0.0423885063368357,
                -0.0216114936631643,
                0.00256909154830588,
                0.0128454577415294,
                0.997599645325957,
                0.0625,
                0.4,
            ],
        ),
        (
            "Drama",
            "talk",
            "scratch",
            [0.002, 0.00836660026534076, -0.00838850633683568, 0.0123885063368357, 0.696526403225339, 1.0, 0.28175, 1.0, -0.025],
        ),
        (
            "Drama",
            "talk",
            "label",
            [
                0.034,
                0.00547722557505167,
                0.0271991261934175,
                0.0408008738065826,
                0.000403841923917612,
                0.00242305154350567,
                0.999626150917185,
                0.0625,
                -0.708333333333335,
            ],
        ),
        (
            "Western",
            "label",
            "scratch",
            [
                -0.044,
                0.0230217288664426,
                -0.0725852519098701,
                -0.0154147480901298,
                0.0285017010947849,
                0.0855051032843548,
                0.979459698391259,
                0.0625,
                0.385964912280701,
            ],
        ),
        (
            "Western",
            "talk",
            "scratch",
            [
                -0.002,
                0.0109544511501033,
                -0.0156017476131651,
                0.0116017476131651,
                0.764805599024977,
                1.0,
                0.328022505971591,
                1.0,
                0.0175438596491228,
            ],
        ),
        (
            "Western",
            "talk",
            "label",
            [
                0.042,
                0.0130384048104052,
                0.025810682152913,
                0.0581893178470868,
                0.00483248980009493,
                0.0193299592003797,
                0.996195336453739,
                0.0625,
                -0.6,
            ],
        ),
    ];
    let found = judged(&declared(), &[&numbers()]);
    assert_eq!(found.len(), expected.len());
    for ((_, found), (row, method, reference, numbers)) in found.iter().zip(expected) {
        assert_eq!([&found.row, &found.method, &found.reference], [row, method, reference]);
        let of = found.numbers().unwrap();
        let all = [
            of.mean,
            of.sd,
            of.plain.interval.low,
            of.plain.interval.high,
            of.corrected.p_two_sided,
            found.judgement.p_difference.unwrap(),
            of.equivalence.p,
            of.sign_flip.p_two_sided,
            found.gap_recovery.unwrap(),
        ];
        for (at, (found, expected)) in all.into_iter().zip(numbers).enumerate() {
            assert!((found - expected).abs() < 1e-10, "{row} {method} {reference} {at}: {found} {expected}");
        }
        assert_eq!((found.blocks, found.left_out, found.family.as_str()), (5, 0, if row == "mean" { "mean" } else { "rows" }));
    }
    let verdicts: Vec<String> = found.iter().map(|(_, of)| of.judgement.verdict.to_string()).collect();
    assert_eq!(verdicts, ["better", "unresolved", "worse", "better", "unresolved", "worse", "unresolved", "unresolved", "worse"]);
}

#[test]
fn families_are_what_was_declared() {
    let numbers = numbers();
    let names = |declared: &Declared| {
        let lines = judged(declared, &[&numbers]);
        lines
            .iter()
            .map(|(_, of)| format!("{} {} {} {}/{}", of.family, of.row, of.method, of.reference, of.judgement.family))
            .collect::<Vec<_>>()
    };
    let only = Declared { rows: false, pairs: Vec::new(), ..declared() };
    assert_eq!(names(&only), ["mean mean label scratch/2", "mean mean talk scratch/2"]);
    let groups = vec![
        ("small".to_owned(), vec!["Western".to_owned()]),
        ("all".to_owned(), vec!["Drama".to_owned(), "Western".to_owned()]),
    ];
    let grouped = Declared { groups, methods: vec!["talk".into()], ..only.clone() };
    assert_eq!(names(&grouped), ["small small talk scratch/1", "all all talk scratch/1"]);
    // Without a reference there are the pairs alone; the teacher is compared only where one names it.
    let pairs = vec![("teacher".to_owned(), "scratch".to_owned())];
    let paired = Declared { reference: None, pairs, ..only };
    assert_eq!(names(&paired), ["mean mean teacher scratch/1"]);
    assert_eq!(judged(&paired, &[&numbers])[0].1.gap_recovery, None);
    // Of one row there is no mean.
    let mut one = numbers.clone();
    one.remove("Drama");
    let lines = judged(&declared(), &[&one]);
    assert!(lines.len() == 3 && lines.iter().all(|(_, of)| of.family == ROWS), "{lines:?}");
    assert_eq!(judged(&Declared { rows: false, ..declared() }, &[&one]).len(), 3);
    assert_eq!(judged(&declared(), &[]).len(), 0);
}

#[test]
fn settings_share_a_family_and_what_does_not_depend_on_them_is_tested_once() {
    let (one, mut other) = (numbers(), numbers());
    for blocks in other.values_mut().map(|row| row.get_mut("talk").unwrap()) {
        blocks.values_mut().for_each(|number| number.value -= 0.01);
    }
    let plain = Declared { rows: false, pairs: Vec::new(), ..declared() };
    let found = judged(&plain, &[&one, &other]);
    let lines: Vec<(usize, &str, usize)> =
        found.iter().map(|(table, of)| (*table, of.method.as_str(), of.judgement.family)).collect();
    // `label` stands on the same numbers in both; two of `talk` differ. So three hypotheses in four lines.
    assert_eq!(lines, [(0, "label", 3), (0, "talk", 3), (1, "label", 3), (1, "talk", 3)]);
    assert_eq!(found[0].1, found[2].1);
    assert_ne!(found[1].1.judgement, found[3].1.judgement);
}

#[test]
fn what_is_missing_is_said_and_still_counts() {
    let mut numbers = numbers();
    let western = numbers.get_mut("Western").unwrap();
    western.get_mut("talk").unwrap().retain(|block, _| ["1", "2"].contains(&block.as_str()));
    western.remove("label");
    let found = judged(&Declared { pairs: Vec::new(), ..declared() }, &[&numbers]);
    let of = |row: &str, method: &str| found.iter().map(|(_, of)| of).find(|of| of.row == row && of.method == method).unwrap();
    assert_eq!((of("mean", "talk").blocks, of("mean", "talk").left_out), (2, 3));
    let none = of("mean", "label");
    assert_eq!((none.blocks, none.method_mean, none.gap_recovery, none.judgement.family), (0, None, None, 2));
    assert!(none.sentence.contains("0 blocks in common"), "{}", none.sentence);
    // A teacher that is as good as the reference leaves no gap to speak of.
    for row in numbers.values_mut() {
        let scratch = row["scratch"].clone();
        row.insert("teacher".to_owned(), scratch);
    }
    let none = judged(&Declared { pairs: Vec::new(), ..declared() }, &[&numbers]);
    assert!(none.len() > 2 && none.iter().all(|(_, of)| of.gap_recovery.is_none()));
}

#[test]
fn a_metric_that_is_no_number_is_refused() {
    let mut numbers = numbers();
    numbers.get_mut("Drama").unwrap().get_mut("talk").unwrap().get_mut("3").unwrap().value = f64::NAN;
    let error = declared().judge(&[&numbers], "teacher").unwrap_err();
    assert!(error.to_string().contains("block 3"), "{error}");
}

/// Rows that are parts of one whole: each method has a family of its own, and pairs and groups are not looked at.
#[test]
fn each_method_is_a_family_of_all_rows() {
    let groups = vec![("both".to_owned(), vec!["Drama".to_owned(), "Western".to_owned()])];
    let declared = Declared { groups, ..declared() };
    let found = declared.judge_each_method(&numbers(), "teacher").unwrap();
    let told: Vec<_> = found.iter().map(|of| (of.family.as_str(), of.method.as_str(), of.row.as_str())).collect();
    let expected = [("label", "Drama"), ("label", "Western"), ("talk", "Drama"), ("talk", "Western")];
    assert_eq!(told, expected.map(|(method, row)| (method, method, row)));
    for two in found.chunks(2) {
        let [a, b] = two else { panic!("two rows a method: {two:?}") };
        assert!(two.iter().all(|of| of.judgement.family == 2 && of.over == [of.row.clone()]), "{two:#?}");
        // Holm's correction of two: the smaller p twice, the larger at least that.
        let (a, b) = if p_of(a).0 < p_of(b).0 { (p_of(a), p_of(b)) } else { (p_of(b), p_of(a)) };
        let smaller = (2.0 * a.0).min(1.0);
        assert!((a.1 - smaller).abs() < 1e-12 && (b.1 - smaller.max(b.0)).abs() < 1e-12, "{a:?} {b:?}");
    }
}

/// A comparison's p before and after its correction.
fn p_of(of: &Compared) -> (f64, f64) {
    (of.numbers().unwrap().corrected.p_two_sided, of.judgement.p_difference.unwrap())
}
