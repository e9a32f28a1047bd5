//! `evaluate`: scores models on a part of their split, and says what follows from all of them together. The only stage that
//! reads test rows, and it comes after every selection.

use std::collections::BTreeSet;

use anyhow::bail;
use talkflow_datasets::{
    examples::EXAMPLES,
    ratings::{Provenance, Summary},
    split::Part,
};

pub use comparing::Compare;

use self::{
    placing::Placing,
    ranking::Ranking,
    ratings::{Rating, Scored, World},
    statistics::Statistics,
};
use super::{cache_features::PartWord, files, settings};
use crate::{
    artifact::ArtifactKind,
    compare::OverUsers,
    fields::{Choice, Fields},
    scores::{self, Entry, Metric, Scores, TEACHER, Task},
    stage::{Device, Input, Stage, StageCx},
};

pub mod classes;
mod comparing;
mod examples;
mod likeness;
pub mod placing;
mod ranking;
mod ratings;
mod statistics;
mod users;

impl Choice for Metric {
    const WORDS: &'static [(&'static str, Self)] = &Self::ALL;
}

/// Its settings.
#[derive(Clone, Debug)]
pub struct Evaluate {
    part: PartWord,
    /// Those that were named; where there are none, the task's own.
    pub(super) metrics: Vec<Metric>,
    pub(super) row_axis: String,
    pub(super) column_axis: String,
    pub(super) compare: Compare,
    ranking: Option<Ranking>,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Evaluate {
    f.stages("models", ArtifactKind::Model);
    let teacher = f.has("teacher");
    if teacher {
        f.stages("teacher", ArtifactKind::Model);
    }
    f.stages("rows", ArtifactKind::Split);
    // Ratings, or examples with classes: which, is known when all stages are.
    f.through("rows", "rows", DATA);
    let metrics = f.choices("metrics", Some(&[]));
    if metrics.is_empty() && f.has("metrics") {
        f.mistake("metrics", "no metric is named", Some("name at least one: the first fills the table"));
    }
    if metrics.contains(&Metric::GapRecovery) && !teacher {
        f.mistake(
            "metrics",
            "`gap_recovery` measures against a teacher, and none is named",
            Some("add `teacher:`, or leave `gap_recovery` out"),
        );
    }
    let part = f.choice("part", Some(PartWord(Part::Test)));
    let (row_axis, column_axis) = f.section("by", |f| (f.text("rows", Some("genre")), f.text("columns", Some("method"))));
    let compare = comparing::read(f);
    let (ranks, named) = (metrics.iter().any(|metric| metric.ranks()), f.has("ranking"));
    let ranking = (ranks || named).then(|| ranking::read(f));
    if named && !ranks {
        f.mistake("ranking", "nothing is ranked", Some("add `hr` or `ndcg` to `metrics`, or remove it"));
    }
    Evaluate { part, metrics, row_axis, column_axis, compare, ranking }
}

/// The port of what rows are of.
pub(super) const DATA: &str = "data";

/// Why a metric cannot be asked for of models of a task, and what to do.
pub(super) fn unfit(metric: Metric, task: Task) -> (String, String) {
    let own = metric.task().map_or("", Task::noun);
    let fitting = Metric::ALL.iter().filter(|(_, other)| other.fits(task)).map(|(word, _)| format!("`{word}`"));
    (
        format!("`{}` is measured on predicted {own}, and these models predict {}", metric.name(), task.noun()),
        format!("choose among {}", fitting.collect::<Vec<_>>().join(", ")),
    )
}

impl Stage for Evaluate {
    fn kind(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        6
    }

    fn backend(&self, _device: Device) -> Option<String> {
        Some(settings::backend(Device::Cpu))
    }

    fn is_shown(&self) -> bool {
        true
    }

    fn reads_labels(&self, _port: &str) -> bool {
        true
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        match cx.inputs(DATA).iter().any(|data| data.files.0.contains_key(EXAMPLES)) {
            true => self.of_classes(cx),
            false => self.of_ratings(cx),
        }
    }
}

impl Evaluate {
    fn placing(&self) -> Placing<'_> {
        Placing { row_axis: &self.row_axis, column_axis: &self.column_axis }
    }

    fn of_ratings(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let world = World::open(cx)?;
        let placing = self.placing();
        let rating = Rating { placing: &placing, part: self.part.0, ranking: self.ranking.as_ref() };
        let mut teachers = likeness::Teachers::new(cx.inputs("teacher"));
        let mut scored = each(cx, |input| rating.score(&world, cx.inputs("teacher"), &mut teachers, input))?;
        scored.extend(rating.teachers(&world, cx.inputs("teacher"), &scored)?);
        let scored = placing.in_order(scored)?;
        if let Some(ranking) = &self.ranking {
            ranking::write(cx.out, &scored, ranking.top)?;
        }
        let data: BTreeSet<String> = world.summaries().map(described).collect();
        let notes = std::iter::once(rule(&world)).chain(self.ranking.as_ref().map(Ranking::note)).collect();
        let entries = scored.iter().map(|scored| scored.entry.clone()).collect();
        let mut scores = self.concluded(Task::Ratings, entries, notes)?;
        scores.data = data.into_iter().collect::<Vec<_>>().join("; ");
        scores.over_users = self.over_users(&scores, &scored)?;
        self.tell(cx, &scores)
    }

    fn of_classes(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        if let Some(metric) = self.metrics.iter().find(|metric| !metric.fits(Task::Classes)) {
            let (message, help) = unfit(*metric, Task::Classes);
            bail!("{message}; {help}");
        }
        let world = examples::World::open(cx)?;
        let placing = self.placing();
        let exam = examples::Exam { placing: &placing, part: self.part.0 };
        let mut scored = each(cx, |input| exam.score(&world, cx.inputs("teacher"), input))?;
        scored.extend(exam.teachers(&world, cx.inputs("teacher"), &scored)?);
        let scored = placing.in_order(scored)?;
        let data: BTreeSet<String> = world.described().collect();
        let mut scores = self.concluded(Task::Classes, scored.into_iter().map(|scored| scored.entry).collect(), Vec::new())?;
        scores.data = data.into_iter().collect::<Vec<_>>().join("; ");
        self.tell(cx, &scores)
    }
}

/// What comes of each model, while it is told how far this is.
fn each<'a, T>(cx: &'a StageCx<'_>, mut score: impl FnMut(&'a Input<'a>) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let models = cx.inputs("models");
    let one = |(done, input): (usize, &'a Input<'a>)| {
        if cx.talk.cancelled() {
            bail!("cancelled");
        }
        cx.talk.progress(done as u64, Some(models.len() as u64), input.instance);
        score(input)
    };
    models.iter().enumerate().map(one).collect()
}

impl Evaluate {
    /// An evaluation of these entries, whatever models predict: what follows from them together. Notes say what a reader of the table has to know.
    fn concluded(&self, task: Task, entries: Vec<Entry>, mut notes: Vec<String>) -> anyhow::Result<Scores> {
        let teacher = entries.iter().any(|entry| entry.column == TEACHER);
        let metrics = if self.metrics.is_empty() { task.default_metrics(teacher) } else { self.metrics.clone() };
        let asked = metrics.contains(&Metric::GapRecovery);
        let Statistics { blocks, cells, checks } = statistics::of(task, &entries, asked);
        let metric = comparing::metric_of(task, &metrics);
        let declared = self.compare.declared(metric, statistics::control(&entries, "scratch"));
        let compared = comparing::over_blocks(&declared, metric, &entries)?;
        if !compared.is_empty() {
            notes.extend(comparing::shared_splits(&entries, blocks));
        }
        Ok(Scores {
            format: scores::FORMAT,
            task,
            data: String::new(),
            part: self.part.0.name().to_owned(),
            metrics,
            row_axis: self.row_axis.clone(),
            column_axis: self.column_axis.clone(),
            top: self.ranking.as_ref().map(|ranking| ranking.top),
            notes,
            blocks,
            per_class: comparing::over_classes(&declared, &entries)?,
            entries,
            cells,
            checks,
            declared,
            compared,
            over_users: Vec::new(),
        })
    }

    /// Of ratings of one block, what is found over users.
    fn over_users(&self, scores: &Scores, scored: &[Scored<'_>]) -> anyhow::Result<Vec<OverUsers>> {
        match scores.blocks {
            1 => comparing::over_users(&scores.declared, comparing::metric_of(scores.task, &scores.metrics), scored),
            _ => Ok(Vec::new()),
        }
    }

    /// Writes the file, and says what matters most of it.
    fn tell(&self, cx: &mut StageCx<'_>, scores: &Scores) -> anyhow::Result<()> {
        files::write_json(&cx.out.join(scores::FILE), scores)?;
        if let Some(metric) = scores.metrics.first() {
            for cell in scores.cells.iter().filter(|cell| cell.row.is_none()) {
                if let (Some(mean), _) = cell.mean(*metric) {
                    cx.metric(&format!("{}.{}", metric.word(), cell.column), mean);
                }
            }
        }
        if scores.checks.iter().any(|check| check.invalid) {
            cx.note("INVALID: scratch is worse than bias_only somewhere, see the table");
        }
        Ok(())
    }
}

/// What happens to predictions that a model cannot make or that no rating can be.
fn rule(world: &World<'_>) -> String {
    let scale = world.summaries().next().map(|summary| summary.scale);
    let range = scale.map_or(String::new(), |scale| format!(" to {}..{}", scale.min, scale.max));
    format!(
        "users and items not seen in training fall back to the remaining bias terms; predictions are clipped{range}; \
         `fallbacks` and `clipped` count a column's predictions of each kind"
    )
}

/// Where the ratings came from, in words.
fn described(summary: &Summary) -> String {
    let generated = if summary.source == Provenance::Synthetic { ", generated and not real" } else { "" };
    format!("{}, {} ratings of {} items by {} users{generated}", summary.name, summary.ratings, summary.items, summary.users)
}
