//! `evaluate`: scores models on a part of their split, and says what follows from all of them together. The only stage that
//! reads test rows, and it comes after every selection.

use std::collections::BTreeSet;

use anyhow::bail;
use talkflow_datasets::{
    ratings::{Provenance, Summary},
    split::Part,
};

pub use comparing::Compare;

use self::{
    ranking::Ranking,
    scoring::{Placing, World},
    statistics::Statistics,
};
use super::{cache_features::PartWord, files, settings};
use crate::{
    artifact::ArtifactKind,
    fields::{Choice, Fields},
    scores::{self, Entry, Metric, Scores},
    stage::{Device, Stage, StageCx},
};

mod comparing;
mod likeness;
mod ranking;
mod scoring;
mod statistics;
mod users;

impl Choice for Metric {
    const WORDS: &'static [(&'static str, Self)] = &Self::ALL;
}

/// Its settings.
#[derive(Clone, Debug)]
pub struct Evaluate {
    part: PartWord,
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
    f.through("rows", "rows", "ratings");
    let default = if teacher {
        &[Metric::Rmse, Metric::Mae, Metric::UserRmse, Metric::GapRecovery][..]
    } else {
        &[Metric::Rmse, Metric::Mae, Metric::UserRmse]
    };
    let metrics = f.choices("metrics", Some(default));
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

impl Stage for Evaluate {
    fn kind(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        5
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
        let world = World::open(cx)?;
        let placing = Placing {
            part: self.part.0,
            row_axis: &self.row_axis,
            column_axis: &self.column_axis,
            ranking: self.ranking.as_ref(),
        };
        let mut scored = Vec::new();
        let mut teachers = likeness::Teachers::new(cx.inputs("teacher"));
        let models = cx.inputs("models");
        for (done, input) in models.iter().enumerate() {
            if cx.talk.cancelled() {
                bail!("cancelled");
            }
            cx.talk.progress(done as u64, Some(models.len() as u64), input.instance);
            scored.push(placing.score(&world, cx.inputs("teacher"), &mut teachers, input)?);
        }
        scored.extend(placing.teachers(&world, cx.inputs("teacher"), &scored)?);
        let scored = placing.in_order(scored)?;
        if let Some(ranking) = &self.ranking {
            ranking::write(cx.out, &scored, ranking.top)?;
        }
        let entries: Vec<Entry> = scored.iter().map(|scored| scored.entry.clone()).collect();
        let Statistics { blocks, cells, checks } = statistics::of(&entries, self.metrics.contains(&Metric::GapRecovery));
        let metric = comparing::metric_of(&self.metrics);
        let declared = self.compare.declared(metric, statistics::control(&entries, "scratch"));
        let compared = comparing::over_blocks(&declared, metric, &entries)?;
        let over_users = match blocks {
            1 => comparing::over_users(&declared, metric, &scored)?,
            _ => Vec::new(),
        };
        let mut notes = vec![rule(&world)];
        notes.extend(self.ranking.as_ref().map(Ranking::note));
        if !compared.is_empty() {
            notes.extend(comparing::shared_splits(&entries, blocks));
        }
        let data: BTreeSet<String> = world.summaries().map(described).collect();
        let scores = Scores {
            data: data.into_iter().collect::<Vec<_>>().join("; "),
            part: self.part.0.name().to_owned(),
            metrics: self.metrics.clone(),
            row_axis: self.row_axis.clone(),
            column_axis: self.column_axis.clone(),
            top: self.ranking.as_ref().map(|ranking| ranking.top),
            notes,
            blocks,
            entries,
            cells,
            checks,
            declared,
            compared,
            over_users,
        };
        files::write_json(&cx.out.join(scores::FILE), &scores)?;
        if let Some(metric) = self.metrics.first() {
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
