//! Each verdict, and how often a gate is right, on values that are made up.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, json};

use super::*;
use crate::{
    artifact::Digest,
    fields::Labels,
    scores::{
        Entry, Metric, Scores, TEACHER, Task,
        testing::{self, entry},
    },
    selector::{Pattern, Selector},
};

fn gate(name: &str, rule: Rule) -> Gate {
    Gate { name: name.to_owned(), rule, ..gates(Vec::new()).remove(0) }
}

fn paired() -> Gate {
    gate("rmse", Rule::Paired { tolerance: 0.002, alpha: 0.05 })
}

fn scores(entries: Vec<Entry>) -> Scores {
    Scores {
        data: String::new(),
        ..testing::scores(Task::Ratings, &[Metric::Rmse, Metric::Mae, Metric::GapRecovery], 3, entries)
    }
}

/// An evaluation of two genres and three seeds, each value moved by what `by` says.
fn table(by: impl Fn(&str, &str, usize) -> f64) -> Scores {
    let mut entries = Vec::new();
    for row in ["Drama", "Western"] {
        for column in ["talk", TEACHER] {
            for seed in 1..=3 {
                let value = 1.0 + seed as f64 / 10.0 + by(row, column, seed);
                entries.push(entry([row, column, &format!("seed={seed}")], value));
            }
        }
    }
    scores(entries)
}

fn data() -> BTreeMap<String, Digest> {
    BTreeMap::from([("ratings".to_owned(), Digest::of(b"ratings")), ("split[seed=1]".to_owned(), Digest::of(b"1"))])
}

fn evaluation<'a>(scores: &'a Scores, labels: &'a Labels) -> Measured<'a> {
    Measured { name: "scores", stage: "scores", labels, scores: Some(scores), metrics: Map::new(), data: data() }
}

fn selected(gate: &Gate, scores: &Scores) -> Selected {
    measure(gate, &[evaluation(scores, &Labels::new())]).unwrap()
}

/// What a gate says of `now` beside a baseline made of `before`.
fn found(gate: &Gate, before: &Scores, now: &Scores) -> Vec<Finding> {
    let baseline = Baseline::of("m", &[(gate.clone(), selected(gate, before))]).unwrap();
    compare(&[(gate.clone(), selected(gate, now))], &baseline)
}

/// The findings that did not pass: `what verdict`.
fn failing(findings: &[Finding]) -> Vec<String> {
    let one = |finding: &Finding| {
        format!("{} {}", finding.place.as_ref().map_or_else(|| finding.gate.clone(), ToString::to_string), finding.verdict.word())
    };
    findings.iter().filter(|finding| finding.verdict != Verdict::Pass).map(one).collect()
}

#[test]
fn an_evaluation_is_series_by_row_column_and_block_with_the_mean_over_rows() {
    let selected = selected(&paired(), &table(|row, _, _| if row == "Drama" { 0.0 } else { 0.5 }));
    let places: Vec<String> = selected.series.keys().map(ToString::to_string).collect();
    // Of what was asked for; gap recovery has no value a block.
    let expected: Vec<String> = ["mae", "rmse"]
        .into_iter()
        .flat_map(|metric| {
            ["Drama", "Western", MEAN].map(|row| ["talk", TEACHER].map(|column| format!("scores: {metric}, {row}, {column}")))
        })
        .flatten()
        .collect();
    assert_eq!(places, expected);
    let mean = selected.series.iter().find(|(place, _)| place.to_string() == "scores: rmse, mean, talk").unwrap().1;
    assert_eq!(mean.values.keys().collect::<Vec<_>>(), ["seed=1", "seed=2", "seed=3"]);
    assert!((mean.values["seed=2"] - 1.45).abs() < 1e-12, "{mean:?}");
}

#[test]
fn a_gate_narrows_metrics_rows_and_columns_and_says_what_fits_nothing() {
    let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text).unwrap()).collect::<Vec<_>>();
    let gate = Gate {
        stages: vec![Selector::parse("sc*").unwrap()],
        metrics: patterns(&["user_rmse"]),
        rows: patterns(&["W*", "mean"]),
        columns: patterns(&["talk", "lable"]),
        ..paired()
    };
    let selected = selected(&gate, &table(|_, _, _| 0.0));
    let places: Vec<String> = selected.series.keys().map(ToString::to_string).collect();
    assert_eq!(places, ["scores: user_rmse, Western, talk", "scores: user_rmse, mean, talk"]);
    assert_eq!(selected.unfit, [("columns", "lable".to_owned())]);
    assert!(Baseline::of("m", &[(gate.clone(), selected.clone())]).unwrap_err().contains("nothing fits `lable`"));
    // Nor does it pass by being in neither.
    let right = Gate { columns: patterns(&["talk"]), ..gate.clone() };
    let baseline = Baseline::of("m", &[(right.clone(), self::selected(&right, &table(|_, _, _| 0.0)))]).unwrap();
    assert_eq!(failing(&compare(&[(gate, selected)], &baseline)), ["rmse nothing"]);
}

/// A program's metrics, one instance a seed.
fn program(values: &[(&str, serde_json::Value)]) -> Vec<(String, Labels, Map<String, serde_json::Value>)> {
    let one = |(seed, value): &(&str, serde_json::Value)| {
        let labels = Labels::from_iter([("size".to_owned(), "small".to_owned()), ("seed".to_owned(), (*seed).to_owned())]);
        (format!("train[size=small,seed={seed}]"), labels, Map::from_iter([("test.loss".to_owned(), value.clone())]))
    };
    values.iter().map(one).collect()
}

fn of_program(gate: &Gate, values: &[(&str, serde_json::Value)]) -> Result<Selected, String> {
    let instances = program(values);
    let one = |(name, labels, metrics): &'_ (String, Labels, Map<String, serde_json::Value>)| {
        (name.clone(), labels.clone(), metrics.clone())
    };
    let owned: Vec<_> = instances.iter().map(one).collect();
    let measured: Vec<Measured<'_>> = owned
        .iter()
        .map(|(name, labels, metrics)| Measured {
            name,
            stage: "train",
            labels,
            scores: None,
            metrics: metrics.clone(),
            data: BTreeMap::new(),
        })
        .collect();
    measure(gate, &measured)
}

#[test]
fn instances_of_other_stages_that_differ_in_their_seed_are_one_series() {
    let loss =
        Gate { stages: vec![Selector::parse("train").unwrap()], metrics: vec![Pattern::new("test.*").unwrap()], ..paired() };
    let then = of_program(&loss, &[("1", json!(0.5)), ("2", json!(0.25))]).unwrap();
    let (place, series) = then.series.first_key_value().unwrap();
    assert_eq!(place.to_string(), "train[size=small]: test.loss");
    assert_eq!(series.values, Values::from([("seed=1".to_owned(), 0.5), ("seed=2".to_owned(), 0.25)]));
    let baseline = Baseline::of("m", &[(loss.clone(), then.clone())]).unwrap();
    let passed = compare(&[(loss.clone(), then)], &baseline);
    assert_eq!(passed[0].notes, ["no data set stands before it: it would not be noticed if the data were others"]);
    let broken = of_program(&loss, &[("1", json!(0.5)), ("2", json!("diverged"))]).unwrap();
    assert!(Baseline::of("m", &[(loss.clone(), broken.clone())]).unwrap_err().contains("no number in block `seed=2`"));
    let findings = compare(&[(loss.clone(), broken)], &baseline);
    assert_eq!(failing(&findings), ["train[size=small]: test.loss no number"]);
    assert_eq!(findings[0].said, "it is no number in `seed=2`");
    // By its own axis instead, and one whose name does not tell which way it is good.
    let other = Gate { blocks: vec!["size".to_owned()], ..loss.clone() };
    let by_size = of_program(&other, &[("1", json!(0.5))]).unwrap();
    assert_eq!(by_size.series.keys().map(ToString::to_string).collect::<Vec<_>>(), ["train[seed=1]: test.loss"]);
    let unclear = Gate { metrics: vec![Pattern::new("*").unwrap()], ..loss };
    let labels = Labels::new();
    let one = Measured {
        name: "train",
        stage: "train",
        labels: &labels,
        scores: None,
        metrics: Map::from_iter([("steps".to_owned(), json!(3))]),
        data: BTreeMap::new(),
    };
    assert!(measure(&unclear, &[one]).unwrap_err().contains("which way `steps`"));
}

#[test]
fn which_way_a_metric_is_good_is_in_its_name_or_is_not_known() {
    let known = ["rmse", "validation_rmse", "test.MAE", "hr@10", "ndcg_10", "deep_share", "training_parameters"].map(Better::of);
    let (low, high) = (Some(Better::Lower), Some(Better::Higher));
    assert_eq!(known, [low, low, low, high, high, high, low]);
    assert_eq!(["steps", "", "accuracy_loss", "mapper"].map(Better::of), [None; 4]);
}

#[test]
fn what_did_not_change_passes_and_what_got_worse_is_a_regression() {
    let before = table(|_, _, _| 0.0);
    let findings = found(&paired(), &before, &before);
    assert_eq!((findings.len(), failing(&findings)), (12, Vec::new()));
    assert_eq!(
        findings[0].said,
        "no regression shown: no change over 3 seeds in common with the reference, tolerance 0.002 (all alike)"
    );
    // Drift within the tolerance passes; three times the tolerance does not, and where it is in one row it shows in the mean too.
    let drift = |by: f64| table(move |row, column, _| if (row, column) == ("Drama", "talk") { by } else { 0.0 });
    assert_eq!(failing(&found(&paired(), &before, &drift(0.0015))), [""; 0]);
    let expected = ["scores: mae, Drama, talk", "scores: rmse, Drama, talk", "scores: rmse, mean, talk"]
        .map(|place| format!("{place} regression"));
    assert_eq!(failing(&found(&paired(), &before, &drift(0.006))), expected);
    // What got better is none.
    assert_eq!(failing(&found(&paired(), &before, &drift(-0.5))), [""; 0]);
    // What varies too much to tell passes and says below what it is blind.
    let noisy = table(|row, _, seed| if row == "Drama" { [0.03, -0.03, 0.02][seed - 1] } else { 0.0 });
    let blind = found(&paired(), &before, &noisy);
    assert_eq!(failing(&blind), [""; 0]);
    assert!(blind.iter().any(|finding| finding.said.contains("the gate misses regressions below 0.")), "{blind:#?}");
}

#[test]
fn without_a_test_the_mean_decides_by_its_size_or_by_a_share_of_it() {
    let before = table(|_, _, _| 0.0);
    let worse = |by: f64| table(move |_, _, _| by);
    let only = |rule, by| {
        let findings = found(&gate("g", rule), &before, &worse(by));
        findings.into_iter().find(|finding| finding.place.as_ref().unwrap().to_string() == "scores: rmse, mean, talk").unwrap()
    };
    let absolute = Rule::Absolute { tolerance: 0.01 };
    assert_eq!(only(absolute, 0.01).said, "no regression: worse by 0.01 in the mean over 3 blocks, tolerance 0.01");
    assert_eq!(only(absolute, 0.0101).verdict, Verdict::Regression);
    let relative = Rule::Relative { percent: 1.0 };
    // One hundredth of 1.2.
    assert_eq!(only(relative, 0.0119).verdict, Verdict::Pass);
    assert_eq!(
        only(relative, 0.0121).said,
        "regression: worse by 0.0121 in the mean over 3 blocks, tolerance 1% of 1.2, which is 0.012"
    );
    assert_eq!(
        only(relative, -0.5).said,
        "no regression: better by 0.5 in the mean over 3 blocks, tolerance 1% of 1.2, which is 0.012"
    );
    // Higher is better: what falls is worse.
    let higher = Gate { direction: Some(Better::Higher), ..gate("g", absolute) };
    assert!(failing(&found(&higher, &before, &worse(0.5))).is_empty());
    assert_eq!(failing(&found(&higher, &before, &worse(-0.05))).len(), 12);
}

#[test]
fn what_is_not_there_or_is_another_is_never_passed_in_silence() {
    let before = table(|_, _, _| 0.0);
    let without = |lost: &dyn Fn(&Entry) -> bool| {
        let mut now = before.clone();
        now.entries.retain(|entry| !lost(entry));
        now
    };
    // A seed.
    let findings = found(&paired(), &before, &without(&|entry| entry.block == "seed=2"));
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::MissingBlocks));
    assert_eq!(findings[0].said, "1 of the 3 blocks of the baseline are not there: `seed=2`");
    assert!(findings[0].notes[0].starts_with("over the others: no regression shown"), "{findings:#?}");
    // A seed, and a regression on the others: the worse of the two.
    let mut worse = without(&|entry| entry.block == "seed=2");
    worse.entries.iter_mut().for_each(|entry| *entry.measures.get_mut(&Metric::Rmse).unwrap() += 0.1);
    let findings = found(&paired(), &before, &worse);
    assert!(findings.iter().any(|finding| finding.verdict == Verdict::Regression && finding.notes[0].contains("not there")));
    // All seeds.
    let mut others = before.clone();
    others.entries.iter_mut().for_each(|entry| entry.block += "0");
    let findings = found(&paired(), &before, &others);
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::MissingBlocks), "{findings:#?}");
    // A column, and with it its means.
    let expected: Vec<String> = ["mae", "rmse"]
        .into_iter()
        .flat_map(|metric| ["Drama", "Western", MEAN].map(|row| format!("scores: {metric}, {row}, talk missing")))
        .collect();
    assert_eq!(failing(&found(&paired(), &before, &without(&|entry| entry.column == "talk"))), expected);
    // A new one is told and does not fail.
    let fewer = without(&|entry| entry.column == "talk");
    let findings = found(&paired(), &fewer, &before);
    assert_eq!(findings.iter().filter(|finding| finding.verdict == Verdict::New).count(), 6);
    assert!(findings.iter().all(|finding| !finding.verdict.fails()));
    // More seeds than before are left out, and that is said.
    let findings = found(&paired(), &without(&|entry| entry.block == "seed=3"), &before);
    assert_eq!(findings[0].notes, ["left out, since the baseline does not have it: `seed=3`"]);
    // One seed cannot be tested.
    let one = without(&|entry| entry.block != "seed=1");
    assert!(found(&paired(), &one, &one).iter().all(|finding| finding.verdict == Verdict::Undecided));
    assert!(
        found(&gate("g", Rule::Absolute { tolerance: 0.0 }), &one, &one).iter().all(|finding| finding.verdict == Verdict::Pass)
    );
    // Nothing at all.
    let none = compare(&[(paired(), Selected::default())], &Baseline::of("m", &[]).unwrap());
    assert_eq!(failing(&none), ["rmse other gate", "rmse nothing"]);
}

#[test]
fn other_data_are_not_compared_with() {
    let table = table(|_, _, _| 0.0);
    let before = selected(&paired(), &table);
    let baseline = Baseline::of("m", &[(paired(), before.clone())]).unwrap();
    let with = |data: &[(&str, &str)]| {
        let mut now = before.clone();
        let data = data.iter().map(|(name, text)| ((*name).to_owned(), Digest::of(text.as_bytes()))).collect();
        now.data.insert("scores".to_owned(), data);
        compare(&[(paired(), now)], &baseline)
    };
    let other = with(&[("ratings", "others"), ("split[seed=1]", "1")]);
    assert!(other.iter().all(|finding| finding.verdict == Verdict::OtherData && finding.worse.is_none()));
    let said = format!("`ratings` is {} and was {}", Digest::of(b"others").short(), Digest::of(b"ratings").short());
    assert!(other[0].said.contains(&said), "{}", other[0].said);
    // Another split of the same ratings is other test rows.
    assert!(with(&[("ratings", "ratings"), ("split[seed=1]", "2")]).iter().all(|finding| finding.verdict == Verdict::OtherData));
    // None at all, and others under other names.
    for data in [&[][..], &[("films", "films")]] {
        assert!(with(data).iter().all(|finding| finding.verdict == Verdict::OtherData));
    }
    // A split more, and the same under other names, are the same data.
    for data in [&[("ratings", "ratings"), ("split[seed=2]", "2")][..], &[("films", "ratings"), ("parts", "1")]] {
        assert!(with(data).iter().all(|finding| finding.verdict == Verdict::Pass));
    }
}

#[test]
fn a_gate_that_is_another_than_in_the_baseline_is_no_gate() {
    let table = table(|_, _, _| 0.0);
    let baseline = Baseline::of("m", &[(paired(), selected(&paired(), &table))]).unwrap();
    let now = |gate: Gate| compare(&[(gate.clone(), selected(&gate, &table))], &baseline);
    let looser = now(gate("rmse", Rule::Paired { tolerance: 0.5, alpha: 0.05 }));
    assert_eq!(failing(&looser), ["rmse other gate"]);
    assert_eq!(
        looser[0].said,
        "in the baseline it is: paired, tolerance 0.002, alpha 0.05; now: paired, tolerance 0.5, alpha 0.05"
    );
    let turned = now(Gate { direction: Some(Better::Higher), ..paired() });
    assert!(turned.iter().all(|finding| finding.verdict == Verdict::OtherGate), "{turned:#?}");
    let renamed = now(gate("error", paired().rule));
    let gates: Vec<(&str, Verdict)> = renamed
        .iter()
        .filter(|finding| finding.place.is_none())
        .map(|finding| (finding.gate.as_str(), finding.verdict))
        .collect();
    assert_eq!(gates, [("error", Verdict::OtherGate), ("rmse", Verdict::OtherGate)]);
}

#[test]
fn a_baseline_is_the_same_bytes_for_the_same_results_and_read_back() {
    let gates = [(paired(), selected(&paired(), &table(|_, _, seed| 1.0 / 3.0 / seed as f64)))];
    let baseline = Baseline::of("m", &gates).unwrap();
    let bytes = baseline.bytes().unwrap();
    let back = read_baseline(Path::new("b.json"), &bytes).unwrap();
    assert_eq!(back, baseline);
    assert_eq!(back.bytes().unwrap(), bytes);
    assert!(changes(Some(&back), &baseline).is_empty());
    assert!(compare(&gates, &back).iter().all(|finding| finding.verdict == Verdict::Pass));
}

#[test]
fn a_damaged_baseline_is_refused_at_its_place() {
    let gates = [(paired(), selected(&paired(), &table(|_, _, _| 0.0)))];
    let bytes = Baseline::of("m", &gates).unwrap().bytes().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let refused = |text: &str| read_baseline(Path::new("b.json"), text.as_bytes()).unwrap_err().to_string();
    for (damaged, says) in [
        (String::new(), "b.json:1:0: this is no baseline: EOF"),
        (text.replacen("\"manifest\"", "<<<<<<< HEAD\n\"manifest\"", 1), "b.json:3:3: this is no baseline: key must be a string"),
        (text.replacen("\"format\": 1", "\"format\": 2", 1), "b.json: this is a baseline of format 2, and this talkflow reads 1"),
        (text.replacen("1.1", "1e200", 1), "1000000"),
        (text.replacen("1.1", "\"1.1\"", 1), "invalid type: string \"1.1\", expected f64"),
        (text.replacen("\"Drama\"", "\"Western\"", 1), "stands there twice"),
        (text.replacen("\"paired\"", "\"unpaired\"", 1), "unknown variant `unpaired`"),
        (text.replacen("\"row\"", "\"rwo\"", 1), "unknown field `rwo`"),
        (text.replacen(&data()["ratings"].to_string(), "abc", 1), "`abc` is not a digest"),
    ] {
        assert!(damaged != text && refused(&damaged).contains(says), "{says}: {}", refused(&damaged));
    }
    // Whatever is cut off or turned, it is refused or read, and nothing else.
    for at in (0..bytes.len() - 1).step_by(7) {
        assert!(read_baseline(Path::new("b"), &bytes[..at]).is_err(), "{at}");
        let mut turned = bytes.clone();
        turned[at] ^= 16;
        if let Ok(read) = read_baseline(Path::new("b"), &turned) {
            let _ = compare(&gates, &read);
        }
    }
}

#[test]
fn an_update_says_what_it_changes() {
    let of = |gate: &Gate, scores: &Scores| Baseline::of("m", &[(gate.clone(), selected(gate, scores))]).unwrap();
    let rows = vec![Pattern::new("mean").unwrap()];
    let gate = Gate { rows, metrics: vec![Pattern::new("rmse").unwrap()], ..paired() };
    let before = of(&gate, &table(|_, _, _| 0.0));
    let mut next = table(|_, column, _| if column == "talk" { 0.1 } else { 0.0 });
    next.entries.retain(|entry| entry.column == "talk" || entry.block != "seed=3");
    let looser = Gate { rule: Rule::Absolute { tolerance: 0.1 }, ..gate.clone() };
    let lines: Vec<String> = changes(Some(&before), &of(&looser, &next)).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "gate rmse: paired, tolerance 0.002, alpha 0.05 -> absolute, tolerance 0.1",
            "rmse: scores: rmse, mean, talk: 1.2 -> 1.3",
            "rmse: scores: rmse, mean, teacher: 1.2 (3 blocks) -> 1.15 (2 blocks)",
        ]
    );
    // The first is all new.
    let first: Vec<String> = changes(None, &before).iter().map(ToString::to_string).collect();
    assert!(first.contains(&"rmse: scores: rmse, mean, talk: new, 1.2 (3 blocks)".to_owned()), "{first:#?}");
    assert!(first.iter().any(|line| line.starts_with("data of scores, ratings: new, ")), "{first:#?}");
    // A change too small for the digits that are shown is shown whole.
    let tiny = changes(Some(&before), &of(&gate, &table(|_, column, _| if column == "talk" { 1e-9 } else { 0.0 })));
    assert_eq!(tiny.len(), 1);
    assert!(tiny[0].to_string().contains("1.100000001"), "{}", tiny[0]);
}

mod simulation {
    //! How often a gate is right, through what the command compares with, on values whose truth is known.
    #![expect(clippy::print_stdout, reason = "what is printed stands in the guide")]

    use super::*;

    /// Numbers like those of a standard normal, from a seed: SplitMix64 and the sum of twelve uniforms.
    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
        }
    }

    const TOLERANCE: f64 = 0.002;

    /// Whether a gate over `blocks` seeds fails where the metric is worse by `shift`, and each seed drifts by a normal of sd `drift`. What
    /// seeds differ by is fifty times the tolerance, and in both.
    fn alarm(gate: &Gate, seed: u64, blocks: usize, shift: f64, drift: f64) -> bool {
        let mut noise = Noise(seed);
        let base: Vec<f64> = (0..blocks).map(|_| 1.0 + 0.1 * noise.normal()).collect();
        let moved: Vec<f64> = base.iter().map(|value| value + shift + drift * noise.normal()).collect();
        let of = |values: &[f64]| {
            scores(values.iter().enumerate().map(|(at, value)| entry(["Drama", "talk", &format!("seed={at}")], *value)).collect())
        };
        // By way of the file, as the command does.
        let bytes = Baseline::of("m", &[(gate.clone(), selected(gate, &of(&base)))]).unwrap().bytes().unwrap();
        let baseline = read_baseline(Path::new("b"), &bytes).unwrap();
        let findings = compare(&[(gate.clone(), selected(gate, &of(&moved)))], &baseline);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(matches!(findings[0].verdict, Verdict::Pass | Verdict::Regression), "{findings:#?}");
        findings[0].verdict.fails()
    }

    fn alarms(rule: Rule, n: u64, blocks: usize, shift: f64, drift: f64) -> u64 {
        let gate = Gate { metrics: vec![Pattern::new("rmse").unwrap()], ..gate("rmse", rule) };
        (0..n).filter(|seed| alarm(&gate, seed.wrapping_mul(0x5851_f42d_4c95_7f2d), blocks, shift, drift)).count() as u64
    }

    fn rules() -> [(&'static str, Rule); 3] {
        [
            ("paired", Rule::Paired { tolerance: TOLERANCE, alpha: 0.05 }),
            ("absolute", Rule::Absolute { tolerance: TOLERANCE }),
            ("relative", Rule::Relative { percent: 100.0 * TOLERANCE }),
        ]
    }

    #[test]
    fn a_regression_of_three_times_the_tolerance_is_caught_in_100_of_100_seeds() {
        for (name, rule) in rules() {
            for (blocks, drift) in [(5, 0.0), (5, TOLERANCE / 2.0), (10, TOLERANCE / 2.0), (10, TOLERANCE)] {
                let caught = alarms(rule, 100, blocks, 3.0 * TOLERANCE, drift);
                println!("{name}, {blocks} blocks, drift {drift}: {caught} of 100");
                assert_eq!(caught, 100, "{name}, {blocks} blocks, drift {drift}");
            }
        }
    }

    #[test]
    fn false_alarms_are_as_rare_as_they_should_be() {
        const N: u64 = 1000;
        // Three standard deviations of a count whose rate is as declared.
        let most = |rate: f64| (N as f64 * rate + 3.0 * (N as f64 * rate * (1.0 - rate)).sqrt()) as u64;
        let least = |rate: f64| (N as f64 * rate - 3.0 * (N as f64 * rate * (1.0 - rate)).sqrt()) as u64;
        let paired = |alpha| Rule::Paired { tolerance: TOLERANCE, alpha };
        for (alpha, blocks) in [(0.05, 5), (0.05, 10), (0.01, 10)] {
            // Worse by exactly what is tolerated: as often as declared.
            let edge = alarms(paired(alpha), N, blocks, TOLERANCE, TOLERANCE);
            println!("alpha {alpha}, {blocks} blocks, at the tolerance: {edge} of {N}");
            assert!((least(alpha)..=most(alpha)).contains(&edge), "{edge}: {}..={}", least(alpha), most(alpha));
            // No worse at all: far less often, however it drifts.
            for drift in [TOLERANCE / 2.0, 5.0 * TOLERANCE] {
                let none = alarms(paired(alpha), N, blocks, 0.0, drift);
                println!("alpha {alpha}, {blocks} blocks, unchanged, drift {drift}: {none} of {N}");
                assert!(none <= most(alpha), "{none}");
            }
        }
    }
}
