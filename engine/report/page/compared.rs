//! Methods against their reference, as evaluations and sweeps compared them: differences, intervals, verdicts; and by row, or by class, the
//! effect of each method, with those on which distilling one way hurts. Every number comes from there.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde::Serialize;
use talkflow_statistics::{Direction, Verdict};

use super::{
    stages::Known,
    tables::{Evaluation, Size, size},
};
use crate::{
    compare::{Compared, Declared, OverUsers, ROWS, UsersFound},
    report::{
        comparisons::Line as Found,
        results::{Judged, Results},
    },
    scores::Metric,
};

/// Comparisons of one evaluation, or of a sweep's.
#[derive(Clone, Debug, Serialize)]
pub struct Comparisons {
    /// The stage, or its instance.
    pub stage: String,
    /// The metric, by its word.
    pub metric: String,
    /// Whether less of it is better.
    pub lower: bool,
    /// Differences below this do not matter.
    pub margin: f64,
    /// The level of verdicts.
    pub alpha: f64,
    /// How often intervals cover the truth, in percent.
    pub confidence: f64,
    /// Whether they are about users, of one block.
    pub users: bool,
    /// What tells the settings of a sweep apart.
    pub settings: Vec<String>,
    /// The comparisons.
    pub lines: Vec<Line>,
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The setting of the sweep.
    pub setting: Vec<String>,
    /// The row, or the group that the mean is over.
    pub row: String,
    /// Whether it is about one row.
    pub single: bool,
    /// The method.
    pub method: String,
    /// What it is compared with.
    pub reference: String,
    /// Blocks, or users.
    pub blocks: usize,
    /// Mean difference; none where there is no telling.
    pub difference: Option<f64>,
    /// The interval for data like these.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The interval about these splits alone.
    pub plain_low: Option<f64>,
    /// Its upper end.
    pub plain_high: Option<f64>,
    /// The p of the verdict, corrected in its family.
    pub p: Option<f64>,
    /// The smallest difference that so many blocks find.
    pub resolvable: Option<f64>,
    /// The verdict; of users none is given.
    pub verdict: Verdict,
    /// All of it in a sentence.
    pub sentence: String,
}

/// The effect of each method by row, or by class.
#[derive(Clone, Debug, Serialize)]
pub struct Effects {
    /// The stage, or its instance; of classes with the row of the table, where it has several.
    pub stage: String,
    /// What the rows are: an axis, such as `genre`, or `class`.
    pub axis: String,
    /// What it takes for a row to be hurt, in words.
    pub hurt: &'static str,
    /// The metric.
    pub metric: String,
    /// Whether less of it is better.
    pub lower: bool,
    /// What methods are compared with.
    pub reference: String,
    /// By row.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub row: String,
    /// Its group, or whether it is dense or sparse.
    pub group: Option<String>,
    /// Ratings in training, mean over blocks.
    pub train_rows: Option<f64>,
    /// One line a method.
    pub lines: Vec<Line>,
    /// One-way methods that hurt here.
    pub hurt_by: Vec<String>,
    /// What talking does here.
    pub talk: Vec<Talk>,
}

/// A method that talks, on a row.
#[derive(Clone, Debug, Serialize)]
pub struct Talk {
    /// The method.
    pub method: String,
    /// What its interval says.
    pub effect: Effect,
}

/// On which side of 0 an interval lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Wholly on the better side.
    Helps,
    /// It holds 0.
    Unresolved,
    /// Wholly on the worse side.
    Hurts,
}

/// What hurts a row: its families hold all methods and rows together, so its own interval is looked at.
const HURT_ROW: &str = "its interval lying wholly on the worse side of 0";
/// What hurts a class: of so many, some would lie there by chance.
const HURT_CLASS: &str = "its verdict being worse after Holm's correction over the classes";

/// How models of a column learnt, by which it is told who talks and who is only told.
const TWO_WAY: &str = "talk";
/// Methods that take nothing from a teacher, and one that is neither: it goes through the teacher's layers, and nobody answers.
const NOT_DISTILLED: [&str; 4] = ["scratch", "bias_only", "pretrain", "iakd_adapter"];

impl Line {
    fn of(Found { setting, compared }: &Found) -> Self {
        let of = compared.numbers();
        let Compared { row, method, reference, .. } = compared;
        Self {
            setting: setting.clone(),
            row: row.clone(),
            single: compared.family == ROWS,
            method: method.clone(),
            reference: reference.clone(),
            blocks: compared.blocks,
            difference: of.map(|of| of.mean),
            low: of.map(|of| of.corrected.interval.low),
            high: of.map(|of| of.corrected.interval.high),
            plain_low: of.map(|of| of.plain.interval.low),
            plain_high: of.map(|of| of.plain.interval.high),
            p: compared.judgement.p_difference,
            resolvable: of.map(|of| of.resolvable.effect),
            verdict: compared.judgement.verdict,
            sentence: compared.sentence.clone(),
        }
    }

    fn of_users(of: &OverUsers) -> Self {
        let found = match &of.found {
            UsersFound::Compared(found) => Ok(found),
            UsersFound::Degenerate(why) => Err(why),
        };
        let number = |number: fn(&talkflow_statistics::ClusterBootstrap) -> f64| found.ok().map(number);
        Self {
            setting: Vec::new(),
            row: of.row.clone(),
            single: true,
            method: of.method.clone(),
            reference: of.reference.clone(),
            blocks: found.map_or(0, |found| found.clusters),
            difference: number(|found| found.difference),
            low: number(|found| found.bca.low),
            high: number(|found| found.bca.high),
            plain_low: None,
            plain_high: None,
            p: None,
            resolvable: None,
            verdict: Verdict::Unresolved,
            sentence: match found {
                Ok(found) => format!("{} users; about these two models, so there is no verdict on the methods", found.clusters),
                Err(why) => why.to_string(),
            },
        }
    }

    /// On which side of 0 the interval lies.
    fn effect(&self, lower: bool) -> Effect {
        let (Some(low), Some(high)) = (self.low, self.high) else { return Effect::Unresolved };
        let (below, above) = if lower { (Effect::Helps, Effect::Hurts) } else { (Effect::Hurts, Effect::Helps) };
        if high < 0.0 {
            below
        } else if low > 0.0 {
            above
        } else {
            Effect::Unresolved
        }
    }
}

impl Comparisons {
    fn new(stage: &str, declared: &Declared, settings: Vec<String>, lines: Vec<Line>) -> Self {
        Self {
            stage: stage.to_owned(),
            metric: declared.metric.clone(),
            lower: declared.direction == Direction::LowerIsBetter,
            margin: declared.margin,
            alpha: declared.alpha,
            confidence: (1000.0 * declared.confidence).round() / 10.0,
            users: false,
            settings,
            lines,
        }
    }
}

/// Of a sweep that ended its own; else of each evaluation. With why there are none of some.
pub fn of(evaluations: &[Evaluation], results: Option<&Results>) -> (Vec<Comparisons>, Vec<String>) {
    if let Some(results) = results {
        let (judged, remarks) = results.judged();
        let one = |of: Judged| Comparisons::new(&of.stage, &of.declared, of.heads, of.lines.iter().map(Line::of).collect());
        return (judged.into_iter().map(one).collect(), remarks);
    }
    let mut all = Vec::new();
    for evaluation in evaluations {
        let scores = &evaluation.scores;
        let lines: Vec<Line> =
            scores.compared.iter().map(|compared| Line::of(&Found { setting: Vec::new(), compared: compared.clone() })).collect();
        let users: Vec<Line> = scores.over_users.iter().map(Line::of_users).collect();
        // Of one block nothing can be told over blocks, and each line would say so.
        if scores.blocks > 1 && !lines.is_empty() {
            all.push(Comparisons::new(&evaluation.name, &scores.declared, Vec::new(), lines));
        }
        if !users.is_empty() {
            all.push(Comparisons { users: true, ..Comparisons::new(&evaluation.name, &scores.declared, Vec::new(), users) });
        }
    }
    (all, Vec::new())
}

/// How the columns of evaluations learnt.
struct Learnt<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Learnt<'a> {
    fn of(evaluations: &'a [Evaluation]) -> Self {
        let entries = evaluations.iter().flat_map(|evaluation| &evaluation.scores.entries);
        Self(entries.map(|entry| (entry.column.as_str(), entry.method.as_str())).collect())
    }

    fn one_way(&self, column: &str) -> bool {
        self.0.get(column).is_some_and(|method| *method != TWO_WAY && !NOT_DISTILLED.contains(method))
    }

    fn talks(&self, column: &str) -> bool {
        self.0.get(column) == Some(&TWO_WAY)
    }
}

/// The effect of each method by row, of comparisons that have rows and one setting; then by class.
pub fn effects(comparisons: &[Comparisons], evaluations: &[Evaluation], known: &Known, axis: &str) -> Vec<Effects> {
    let learnt = Learnt::of(evaluations);
    let mut all = Vec::new();
    for of in comparisons.iter().filter(|of| !of.users) {
        let single: Vec<&Line> = of.lines.iter().filter(|line| line.single).collect();
        let settings: BTreeSet<&Vec<String>> = single.iter().map(|line| &line.setting).collect();
        let Some(reference) = single.first().map(|line| line.reference.clone()).filter(|_| settings.len() == 1) else { continue };
        let lines: Vec<Line> = single.into_iter().filter(|line| line.reference == reference).cloned().collect();
        let mut rows = rows(lines, &learnt, |row| size(known, axis, row), |line| line.effect(of.lower));
        let order = known.order();
        let place = |row: &Row| order.get(axis).and_then(|values| values.get_index_of(&row.row)).unwrap_or(usize::MAX);
        rows.sort_by_key(place);
        let (axis, hurt) = (axis.to_owned(), HURT_ROW);
        all.push(Effects { stage: of.stage.clone(), axis, hurt, metric: of.metric.clone(), lower: of.lower, reference, rows });
    }
    for Evaluation { name, scores } in evaluations {
        for of in scores.per_class.iter().flat_map(|per_class| &per_class.rows) {
            let lines = of.compared.iter().map(|compared| Line::of(&Found { setting: Vec::new(), compared: compared.clone() }));
            let Some(reference) = of.compared.first().map(|compared| compared.reference.clone()) else { continue };
            let several = scores.per_class.as_ref().is_some_and(|per_class| per_class.rows.len() > 1);
            let effect = |line: &Line| match line.verdict {
                Verdict::Better => Effect::Helps,
                Verdict::Worse => Effect::Hurts,
                Verdict::Equivalent | Verdict::Unresolved => Effect::Unresolved,
            };
            all.push(Effects {
                stage: if several { format!("{name}: {}", of.row) } else { name.clone() },
                axis: "class".to_owned(),
                hurt: HURT_CLASS,
                metric: Metric::Accuracy.name().to_owned(),
                lower: Metric::Accuracy.direction() == Direction::LowerIsBetter,
                reference,
                rows: rows(lines.collect(), &learnt, |_| Size::default(), effect),
            });
        }
    }
    all
}

/// Lines by row, rows as they come.
fn rows(lines: Vec<Line>, learnt: &Learnt<'_>, size: impl Fn(&str) -> Size, effect: impl Fn(&Line) -> Effect) -> Vec<Row> {
    let mut rows: IndexMap<String, Row> = IndexMap::new();
    for line in lines {
        let row = rows.entry(line.row.clone()).or_insert_with_key(|row| {
            let Size { train_rows, group } = size(row);
            Row { row: row.clone(), group, train_rows, lines: Vec::new(), hurt_by: Vec::new(), talk: Vec::new() }
        });
        let effect = effect(&line);
        if learnt.one_way(&line.method) && effect == Effect::Hurts {
            row.hurt_by.push(line.method.clone());
        }
        if learnt.talks(&line.method) {
            row.talk.push(Talk { method: line.method.clone(), effect });
        }
        row.lines.push(line);
    }
    rows.into_values().collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;
    use crate::scores::{ClassesOf, PerClass, Task, testing};

    fn line(row: &str, method: &str, interval: Option<(f64, f64)>) -> Line {
        Line {
            setting: Vec::new(),
            row: row.into(),
            single: true,
            method: method.into(),
            reference: "scratch".into(),
            blocks: 5,
            difference: interval.map(|(low, high)| (low + high) / 2.0),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            plain_low: None,
            plain_high: None,
            p: None,
            resolvable: None,
            verdict: Verdict::Unresolved,
            sentence: String::new(),
        }
    }

    fn known() -> Known {
        Known { stages: Vec::new(), instances: Vec::new(), records: Vec::new(), edges: Vec::new() }
    }

    /// An evaluation whose columns learnt by the method they are called after, and `both` by talking.
    fn evaluation() -> Evaluation {
        let columns = ["scratch", "one_way", "label", "bias_only", "iakd_adapter", "talk", "both"];
        let mut entries: Vec<_> = columns.iter().map(|column| testing::entry(["Drama", column, "seed=1"], 1.0)).collect();
        entries.iter_mut().filter(|entry| entry.column == "both").for_each(|entry| entry.method = "talk".into());
        let scores = testing::scores(Task::Ratings, &[], 1, entries);
        Evaluation { name: "scores".into(), scores }
    }

    #[test]
    fn a_row_is_undistillable_by_a_one_way_method_that_is_surely_worse_there() {
        let lines = vec![
            line("Drama", "one_way", Some((0.01, 0.03))),
            line("Drama", "label", Some((-0.01, 0.03))),
            line("Drama", "bias_only", Some((0.01, 0.03))),
            line("Drama", "iakd_adapter", Some((0.01, 0.03))),
            line("Drama", "talk", Some((-0.04, -0.01))),
            line("Drama", "both", Some((0.01, 0.04))),
            line("Comedy", "one_way", None),
            line("Comedy", "talk", Some((-0.01, 0.01))),
        ];
        let comparisons = Comparisons::new("scores", &testing::declared(), Vec::new(), lines);
        let found = effects(&[comparisons], &[evaluation()], &known(), "genre");
        let [Effects { rows, reference, lower: true, .. }] = &found[..] else { panic!("one evaluation: {found:#?}") };
        assert_eq!(reference, "scratch");
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.row.as_str(), row.hurt_by.join(","), row.talk.iter().map(|talk| talk.effect).collect::<Vec<_>>()))
            .collect();
        assert_eq!(told[0], ("Drama", "one_way".to_owned(), vec![Effect::Helps, Effect::Hurts]));
        assert_eq!(told[1], ("Comedy", String::new(), vec![Effect::Unresolved]));
    }

    #[test]
    fn where_more_is_better_the_sides_change_places() {
        let of = |low, high, lower| line("a", "b", Some((low, high))).effect(lower);
        assert_eq!([of(0.1, 0.2, true), of(0.1, 0.2, false)], [Effect::Hurts, Effect::Helps]);
        assert_eq!(
            [of(-0.2, -0.1, true), of(-0.2, -0.1, false), of(-0.1, 0.1, true)],
            [Effect::Helps, Effect::Hurts, Effect::Unresolved]
        );
    }

    #[test]
    fn settings_of_a_sweep_are_no_rows() {
        let mut lines = vec![line("a", "label", Some((0.0, 1.0))), line("a", "label", Some((0.0, 1.0)))];
        lines[1].setting = vec!["2".into()];
        let comparisons = Comparisons::new("scores", &testing::declared(), vec!["rounds".into()], lines);
        assert!(effects(&[comparisons], &[evaluation()], &known(), "genre").is_empty());
    }

    /// By verdict, as after Holm's correction, and not by interval.
    #[test]
    fn a_class_is_undistillable_by_a_one_way_method_whose_verdict_is_worse() {
        let mut numbers = crate::compare::Numbers::new();
        let luck = [0.0, 0.02, -0.01, 0.01, -0.02];
        for (class, lost) in [("dog", 0.2), ("cat", 0.02)] {
            for (column, lost) in [("scratch", 0.0), ("label", lost), ("bias_only", 0.2), ("talk", 0.0)] {
                let number = |(at, luck): (usize, &f64)| {
                    let own = if column == "scratch" { *luck } else { 0.0 };
                    (at.to_string(), crate::compare::Number { value: 0.8 + own - lost, rows: 100, train_rows: 800 })
                };
                let blocks = luck.iter().enumerate().map(number).collect();
                numbers.entry(class.to_owned()).or_default().insert(column.to_owned(), blocks);
            }
        }
        let declared = Declared { metric: "accuracy".into(), direction: Direction::HigherIsBetter, ..testing::declared() };
        let compared = declared.judge_each_method(&numbers, "teacher").unwrap();
        let mut evaluation = evaluation();
        evaluation.scores.per_class = Some(PerClass { declared, rows: vec![ClassesOf::new("all".into(), compared)] });
        let found = effects(&[], &[evaluation], &known(), "genre");
        let [Effects { stage, axis, rows, lower: false, .. }] = &found[..] else { panic!("one table: {found:#?}") };
        assert_eq!((stage.as_str(), axis.as_str()), ("scores", "class"));
        let told: Vec<_> =
            rows.iter().map(|row| (row.row.as_str(), row.hurt_by.join(","), row.talk.len(), row.lines.len())).collect();
        assert_eq!(told, [("cat", String::new(), 1, 3), ("dog", "label".to_owned(), 1, 3)]);
    }
}
