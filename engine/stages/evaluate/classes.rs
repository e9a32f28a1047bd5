//! Models of classes: from the logits of the rows scored, their labels and what the classes are called to an entry. Where logits come from is
//! not known here, and nothing of other entries.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use talkflow_distill::metrics::ClassPredictions;

use super::placing::Scoring;
use crate::scores::{ClassCounts, Details, Entry, Measures, Metric};

/// The entry of a model of classes. `logits` are of shape (rows, classes), row by row, `labels` of shape (rows); a label is the place of its class
/// in `classes`. Classes without rows are in the entry too, with none.
///
/// # Errors
/// No rows, two classes of one name, shapes that do not fit, a label that names no class, or a logit that is no finite number.
pub fn entry(scoring: Scoring, logits: &[f32], labels: &[u32], classes: &[String]) -> anyhow::Result<Entry> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = classes.iter().find(|class| !seen.insert(class.as_str())) {
        bail!("two of the classes are called `{twice}`");
    }
    let predicted = ClassPredictions::new(logits, labels, classes.len())?;
    let confusion = predicted.confusion();
    let measures = [
        (Metric::Accuracy, predicted.accuracy()),
        (Metric::MacroAccuracy, confusion.macro_accuracy()),
        (Metric::Nll, predicted.nll()),
        (Metric::Ece, predicted.ece()),
    ];
    let measured = |(metric, value): (Metric, Option<f64>)| Some((metric, value?));
    let measures: Measures = measures.into_iter().map(measured).collect::<Option<_>>().context("there are no rows to score")?;
    let counts = classes.iter().enumerate().map(|(label, class)| {
        let others = classes.iter().zip(confusion.of(label)).filter(|(other, count)| *other != class && **count > 0);
        let taken_for: BTreeMap<String, u64> = others.map(|(other, count)| (other.clone(), *count)).collect();
        ClassCounts { class: class.clone(), rows: confusion.rows(label), right: confusion.right(label), taken_for }
    });
    Ok(scoring.entry(labels.len(), measures, Details::Classes(counts.collect())))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use talkflow_statistics::Verdict;

    use super::*;
    use crate::{
        artifact::{ArtifactKind, Digest},
        fields::probe::probe,
        scores::{Scores, TEACHER, Task},
        stages::evaluate::{Evaluate, likeness::Likeness, read},
    };

    fn scoring(column: &str, block: &str) -> Scoring {
        Scoring {
            place: ["all", column, block].map(str::to_owned),
            model: Digest::of(format!("{column} {block}").as_bytes()),
            labels: BTreeMap::from([("method".to_owned(), column.to_owned())]),
            method: if column == TEACHER { "pretrain" } else { column }.to_owned(),
            train_rows: 800,
            on: Digest::of(block.as_bytes()),
            serving_parameters: 7,
            training_parameters: 2,
            likeness: Likeness { low: Some(0.5), high: None },
        }
    }

    fn names(classes: &[&str]) -> Vec<String> {
        classes.iter().map(|class| (*class).to_owned()).collect()
    }

    #[test]
    fn an_entry_has_the_measures_and_the_counts_of_each_class() {
        let logits = [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0];
        let made = entry(scoring("label", "1"), &logits, &[0, 0, 0, 1], &names(&["cat", "dog", "eel"])).unwrap();
        assert_eq!((made.rows, made.train_rows, made.serving_parameters), (4, 800, 7));
        assert_eq!([&made.row, &made.column, &made.block], ["all", "label", "1"]);
        assert_eq!((made.cka_low, made.cka_high, &made.labels["method"]), (Some(0.5), None, &"label".to_owned()));
        let measured: Vec<(&str, f64)> = made.measures.iter().map(|(metric, value)| (metric.name(), *value)).collect();
        let sure = 2f64.exp() / (2f64.exp() + 2.0);
        let expected = [
            ("accuracy", 0.25),
            // A third of the cats, and no dog; of eels there are none.
            ("macro_accuracy", 1.0 / 6.0),
            ("nll", (2f64.exp() + 2.0).ln() - 0.5),
            ("ece", sure - 0.25),
        ];
        for ((metric, found), (word, value)) in measured.iter().zip(expected) {
            assert!(*metric == word && (found - value).abs() < 1e-12, "{metric} is {found}: {word}, {value}");
        }
        let told: Vec<_> = made.classes().iter().map(|of| (of.class.as_str(), of.rows, of.right, of.taken_for.clone())).collect();
        let taken_for = |of: &[(&str, u64)]| of.iter().map(|(class, rows)| ((*class).to_owned(), *rows)).collect();
        let (cats, dogs) = (taken_for(&[("dog", 1), ("eel", 1)]), taken_for(&[("cat", 1)]));
        assert_eq!(told, [("cat", 3, 1, cats), ("dog", 1, 0, dogs), ("eel", 0, 0, BTreeMap::new())]);
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let refused = |logits: &[f32], labels: &[u32], classes: &[&str]| {
            entry(scoring("label", "1"), logits, labels, &names(classes)).unwrap_err().to_string()
        };
        assert_eq!(refused(&[0.0; 2], &[0], &["cat", "cat"]), "two of the classes are called `cat`");
        assert_eq!(refused(&[], &[], &["cat", "dog"]), "there are no rows to score");
        assert_eq!(refused(&[0.0; 2], &[2], &["cat", "dog"]), "row 0 is labelled 2, and there are 2 classes, counted from 0");
        assert!(refused(&[f32::NAN; 2], &[0], &["cat", "dog"]).contains("may have diverged"));
    }

    /// Of 100 rows a class, as many right as said of each.
    fn model(column: &str, block: usize, right: [usize; 2]) -> Entry {
        let labels: Vec<u32> = (0..200).map(|row| row / 100).collect();
        let answer = |row: usize| if row % 100 < right[row / 100] { row / 100 } else { 1 - row / 100 };
        let logits: Vec<f32> = (0..200).flat_map(|row| if answer(row) == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        entry(scoring(column, &block.to_string()), &logits, &labels, &names(&["eel", "cat"])).unwrap()
    }

    fn evaluation(metrics: Vec<Metric>, compare: &str, blocks: usize) -> Scores {
        let text = format!("models: model\nteacher: model\nrows: split\n{compare}");
        let stages = [("model", ArtifactKind::Model), ("split", ArtifactKind::Split)];
        let evaluate = Evaluate { metrics, ..probe(&text, &stages, read).unwrap().value };
        let mut entries = Vec::new();
        for (block, (eel, cat)) in [(0, 1), (2, 0), (1, 3), (3, 2), (2, 2)].into_iter().enumerate().take(blocks) {
            let luck = [70 + eel, 80 + cat];
            entries.push(model("scratch", block, luck));
            entries.push(model("label", block, [luck[0] + 10 + block % 2, luck[1] - 12 + block % 3]));
            entries.push(model("talk", block, [luck[0] + 9 + block % 3, luck[1] + block % 2]));
            entries.push(model(TEACHER, block, [90 + block % 2, 92]));
        }
        evaluate.concluded(Task::Classes, entries, Vec::new()).unwrap()
    }

    /// What follows from entries of classes: gap recovery and comparisons of accuracy, and the classes that a method is worse on.
    #[test]
    fn an_evaluation_of_classes_marks_those_that_a_method_is_worse_on() {
        let scores = evaluation(Task::Classes.default_metrics(true), "compare: { margin: 0.01 }", 5);
        assert_eq!((scores.task, scores.blocks, scores.entries.len()), (Task::Classes, 5, 20));
        assert_eq!((scores.declared.metric.as_str(), scores.declared.reference.as_deref()), ("accuracy", Some("scratch")));
        assert!(scores.checks.is_empty() && scores.cells.iter().all(|cell| cell.measures.len() == 4), "{:?}", scores.cells);
        let talk = scores.cells.iter().find(|cell| cell.row.is_none() && cell.column == "talk").unwrap();
        assert!(talk.gap_recovery.is_some_and(|gap| gap > 0.0), "{talk:?}");
        let better = scores.compared.iter().find(|of| of.method == "talk").unwrap();
        assert_eq!(better.judgement.verdict, Verdict::Better, "{better:?}");
        let per_class = scores.per_class.unwrap();
        assert_eq!((per_class.declared.metric.as_str(), per_class.declared.margin), ("accuracy", 0.01));
        let [of] = &per_class.rows[..] else { panic!("one row: {per_class:#?}") };
        // Classes are in the order of their labels; the teacher is what methods are measured by.
        let told: Vec<_> = of.compared.iter().map(|of| (of.method.as_str(), of.row.as_str(), of.judgement.family)).collect();
        assert_eq!(told, [("label", "eel", 2), ("label", "cat", 2), ("talk", "eel", 2), ("talk", "cat", 2)]);
        assert_eq!(of.compared[0].judgement.verdict, Verdict::Better, "{:?}", of.compared[0]);
        assert!(of.compared[0].gap_recovery.is_some_and(|gap| gap > 0.0), "{:?}", of.compared[0]);
        assert_eq!(of.worse, BTreeMap::from([("label".to_owned(), names(&["cat"])), ("talk".to_owned(), Vec::new())]));
    }

    #[test]
    fn a_margin_of_another_metric_is_none_of_accuracy() {
        let scores = evaluation(vec![Metric::GapRecovery, Metric::Nll], "compare: { margin: 0.1 }", 5);
        assert_eq!((scores.declared.metric.as_str(), scores.declared.margin), ("nll", 0.1));
        let declared = scores.per_class.unwrap().declared;
        assert_eq!((declared.metric.as_str(), declared.margin), ("accuracy", 0.005));
        // What nobody names is what the task asks for.
        assert_eq!(evaluation(Vec::new(), "", 1).metrics, Task::Classes.default_metrics(true));
        // Of one block nothing can be told.
        assert_eq!(evaluation(vec![Metric::Accuracy], "", 1).per_class, None);
    }
}
