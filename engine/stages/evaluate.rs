//! `evaluate`: scores models on a part of their split, and says what follows from all of them together. The only stage that
//! reads test rows, and it comes after every selection.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use indexmap::IndexMap;
use talkflow_datasets::{
    ratings::{Provenance, Ratings},
    split::{Part, Split},
};
use talkflow_distill::metrics;

use super::{
    cache_features::PartWord,
    files::{self, ModelFiles},
    settings::{self, Filter},
};
use crate::{
    artifact::{ArtifactKind, Digest},
    fields::{Choice, Fields},
    scores::{self, Cell, Check, Entry, Metric, Scores, Spread},
    stage::{Device, Input, Stage, StageCx},
};

impl Choice for Metric {
    const WORDS: &'static [(&'static str, Self)] = &Self::ALL;
}

/// Its settings.
#[derive(Clone, Debug)]
pub struct Evaluate {
    part: PartWord,
    metrics: Vec<Metric>,
    row_axis: String,
    column_axis: String,
}

/// The column of the teacher.
const TEACHER: &str = "teacher";

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
    if metrics.contains(&Metric::GapRecovery) && !teacher {
        f.mistake(
            "metrics",
            "`gap_recovery` measures against a teacher, and none is named",
            Some("add `teacher:`, or leave `gap_recovery` out"),
        );
    }
    let part = f.choice("part", Some(PartWord(Part::Test)));
    let (row_axis, column_axis) = f.section("by", |f| (f.text("rows", Some("genre")), f.text("columns", Some("method"))));
    Evaluate { part, metrics, row_axis, column_axis }
}

impl Stage for Evaluate {
    fn kind(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        1
    }

    fn backend(&self, _device: Device) -> Option<String> {
        Some(settings::backend(Device::Cpu))
    }

    fn reads_labels(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let world = World::open(cx)?;
        let mut entries = Vec::new();
        let models = cx.inputs("models");
        for (done, input) in models.iter().enumerate() {
            if cx.talk.cancelled() {
                bail!("cancelled");
            }
            cx.talk.progress(done as u64, Some(models.len() as u64), input.instance);
            entries.push(self.score(&world, cx.inputs("teacher"), input)?);
        }
        entries.extend(self.teachers(&world, cx.inputs("teacher"), &entries)?);
        entries.sort_by(|a, b| (&a.row, &a.column, &a.block).cmp(&(&b.row, &b.column, &b.block)));
        if let Some(twice) = entries
            .windows(2)
            .find(|two| (&two[0].row, &two[0].column, &two[0].block) == (&two[1].row, &two[1].column, &two[1].block))
        {
            bail!(
                "two models stand for {} {}, {} {} in block `{}`: give them an axis that tells them apart, or name another axis in `by`",
                self.row_axis,
                twice[0].row,
                self.column_axis,
                twice[0].column,
                twice[0].block
            );
        }
        let scores = self.summarise(entries, &world);
        files::write_json(&cx.out.join(scores::FILE), &scores)?;
        for cell in scores.cells.iter().filter(|cell| cell.row.is_none()) {
            cx.metric(&format!("rmse.{}", cell.column), cell.rmse.mean);
        }
        if scores.checks.iter().any(|check| check.invalid) {
            cx.note("INVALID: scratch is worse than bias_only somewhere, see the table");
        }
        Ok(())
    }
}

/// One split with its ratings.
struct SplitWorld<'a> {
    labels: &'a IndexMap<String, String>,
    split: Split,
    /// Place in `World::ratings`.
    ratings: usize,
}

struct World<'a> {
    ratings: Vec<(Ratings, Digest)>,
    splits: Vec<SplitWorld<'a>>,
}

impl<'a> World<'a> {
    fn open(cx: &'a StageCx<'_>) -> anyhow::Result<Self> {
        let ratings: Vec<(Ratings, Digest)> = cx
            .inputs("ratings")
            .iter()
            .map(|input| Ok((files::ratings(input)?, input.digest())))
            .collect::<anyhow::Result<_>>()?;
        let labels = |port: &str| cx.inputs(port).iter().map(|input| input.labels).collect::<Vec<_>>();
        let of = labels("ratings");
        let splits = cx.inputs("rows").iter().map(|input| {
            let place = joined(input, &of, "ratings")?;
            Ok(SplitWorld { labels: input.labels, split: files::split(input, &ratings[place].0)?, ratings: place })
        });
        Ok(Self { splits: splits.collect::<anyhow::Result<_>>()?, ratings })
    }

    /// The split a model belongs to: the one whose matrix values do not contradict the model's.
    fn split_of(&self, input: &Input<'_>) -> anyhow::Result<&SplitWorld<'a>> {
        let labels: Vec<_> = self.splits.iter().map(|split| split.labels).collect();
        Ok(&self.splits[joined(input, &labels, "rows")?])
    }
}

/// The one of several whose values on shared axes are those of `input`.
fn joined(input: &Input<'_>, others: &[&IndexMap<String, String>], port: &str) -> anyhow::Result<usize> {
    let agrees = |labels: &IndexMap<String, String>| {
        labels.iter().all(|(axis, value)| input.labels.get(axis).is_none_or(|own| own == value))
    };
    let found: Vec<usize> = (0..others.len()).filter(|place| agrees(others[*place])).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => bail!("none of the instances of `{port}` has the matrix values of `{}`", input.instance),
        several => bail!(
            "{} instances of `{port}` fit `{}`: give both the same axis, so that each model has one",
            several.len(),
            input.instance
        ),
    }
}

impl Evaluate {
    fn score(&self, world: &World<'_>, teachers: &[Input<'_>], input: &Input<'_>) -> anyhow::Result<Entry> {
        let opened = files::model(input)?;
        let split = world.split_of(input)?;
        let row = input.labels.get(&self.row_axis).cloned().unwrap_or_else(|| opened.config.rows.clone());
        let column = input.labels.get(&self.column_axis).cloned().unwrap_or_else(|| match opened.config.method.as_str() {
            "pretrain" => TEACHER.to_owned(),
            method => method.to_owned(),
        });
        let rows = self.rows(world, split, &opened)?;
        if self.part.0 == Part::Test {
            // Its own, and those of whoever taught it.
            files::refuse_leak(input, &rows)?;
            for teacher in teachers.iter().filter(|teacher| agrees(teacher, input)) {
                files::refuse_leak(teacher, &rows)?;
            }
        }
        self.entry(world, split, &opened, input, (row, column), rows)
    }

    /// The teachers on the rows of each row and block of the table.
    fn teachers(&self, world: &World<'_>, teachers: &[Input<'_>], entries: &[Entry]) -> anyhow::Result<Vec<Entry>> {
        let mut made = Vec::new();
        let mut seen = BTreeMap::new();
        for input in teachers {
            let opened = files::model(input)?;
            let split = world.split_of(input)?;
            for student in entries {
                let fits = input.labels.iter().all(|(axis, value)| student.labels.get(axis).is_none_or(|own| own == value));
                if !fits {
                    continue;
                }
                match seen.insert((student.row.clone(), student.block.clone()), input.instance) {
                    None => {}
                    Some(same) if same == input.instance => continue,
                    Some(other) => bail!(
                        "both `{other}` and `{}` are teachers of {} {} in block `{}`: select one of them in `teacher`",
                        input.instance,
                        self.row_axis,
                        student.row,
                        student.block
                    ),
                }
                let (ratings, digest) = &world.ratings[split.ratings];
                files::refuse_other_data(&opened.config, input.instance, *digest)?;
                let rows = split.split.within(&Filter::of(student.genres.clone()).rows(ratings)?, self.part.0);
                let mut entry = self.entry(world, split, &opened, input, (student.row.clone(), TEACHER.to_owned()), rows)?;
                entry.block.clone_from(&student.block);
                made.push(entry);
            }
        }
        Ok(made)
    }

    /// The rows a model is scored on: of the part, those of the genres it learnt.
    fn rows(&self, world: &World<'_>, split: &SplitWorld<'_>, opened: &ModelFiles) -> anyhow::Result<Vec<u32>> {
        let (ratings, _) = &world.ratings[split.ratings];
        Ok(split.split.within(&Filter::of(opened.config.genres.clone()).rows(ratings)?, self.part.0))
    }

    fn entry(
        &self,
        world: &World<'_>,
        split: &SplitWorld<'_>,
        opened: &ModelFiles,
        input: &Input<'_>,
        (row, column): (String, String),
        rows: Vec<u32>,
    ) -> anyhow::Result<Entry> {
        let (ratings, digest) = &world.ratings[split.ratings];
        files::refuse_other_data(&opened.config, input.instance, *digest)?;
        if rows.is_empty() {
            bail!("`{}` has no {} rows: its genres are too rare for this split", input.instance, self.part.0.name());
        }
        let examples = files::examples(ratings, rows);
        let some = |column: &[u32]| column.iter().copied().map(Some).collect::<Vec<_>>();
        let predicted = opened.model.predict(&some(&examples.user), &some(&examples.item))?;
        let measured = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let block = input.labels.iter().filter(|(axis, _)| **axis != self.row_axis && **axis != self.column_axis);
        let mut block: Vec<String> = block.map(|(axis, value)| format!("{axis}={value}")).collect();
        block.sort();
        Ok(Entry {
            row,
            column,
            block: block.join(","),
            labels: input.labels.iter().map(|(axis, value)| (axis.clone(), value.clone())).collect(),
            genres: opened.config.genres.clone(),
            method: opened.config.method.clone(),
            rows: examples.len(),
            users: examples.user.iter().collect::<BTreeSet<_>>().len(),
            rmse: measured(metrics::rmse(&predicted.ratings, &examples.rating)),
            mae: measured(metrics::mae(&predicted.ratings, &examples.rating)),
            user_rmse: measured(metrics::per_user_rmse(&examples.user, &predicted.ratings, &examples.rating)),
            fallbacks: predicted.fallbacks(),
            clipped: predicted.clipped,
            serving_parameters: opened.config.serving_parameters,
            training_parameters: opened.config.training_parameters,
            deep_share: opened.monitor["deep_share"].as_f64(),
            collapsed: opened.monitor["collapsed"].as_bool(),
        })
    }

    fn summarise(&self, entries: Vec<Entry>, world: &World<'_>) -> Scores {
        let table = Table::of(&entries);
        let rows: Vec<Option<&str>> = table.rows.iter().copied().map(Some).chain([None]).collect();
        let mut cells = Vec::new();
        let mut checks = Vec::new();
        for row in &rows {
            for column in &table.columns {
                let of = |metric: fn(&Entry) -> f64| spread(&table.values(*row, column, metric));
                let (Some(rmse), Some(mae), Some(user_rmse)) = (of(|e| e.rmse), of(|e| e.mae), of(|e| e.user_rmse)) else {
                    continue;
                };
                let gap_recovery = (self.metrics.contains(&Metric::GapRecovery) && *column != TEACHER)
                    .then(|| table.gap(*row, column))
                    .flatten();
                cells.push(Cell {
                    row: row.map(str::to_owned),
                    column: (*column).to_owned(),
                    rmse,
                    mae,
                    user_rmse,
                    gap_recovery,
                });
            }
            checks.extend(table.check(*row));
        }
        let total = |count: fn(&Entry) -> usize| entries.iter().map(count).sum::<usize>();
        let scale = world.ratings.first().map(|(ratings, _)| ratings.summary().scale);
        let range = scale.map_or(String::new(), |scale| format!(" to {}..{}", scale.min, scale.max));
        let data: BTreeSet<String> = world.ratings.iter().map(|(ratings, _)| described(ratings)).collect();
        Scores {
            data: data.into_iter().collect::<Vec<_>>().join("; "),
            part: self.part.0.name().to_owned(),
            metrics: self.metrics.clone(),
            row_axis: self.row_axis.clone(),
            column_axis: self.column_axis.clone(),
            notes: vec![format!(
                "users and items not seen in training fall back to the remaining bias terms ({} of {} predictions); predictions are clipped{range} ({} were)",
                total(|e| e.fallbacks),
                total(|e| e.rows),
                total(|e| e.clipped),
            )],
            entries,
            cells,
            checks,
        }
    }
}

fn described(ratings: &Ratings) -> String {
    let summary = ratings.summary();
    let generated = if summary.source == Provenance::Synthetic { ", generated and not real" } else { "" };
    format!("{}, {} ratings of {} items by {} users{generated}", summary.name, summary.ratings, summary.items, summary.users)
}

fn agrees(a: &Input<'_>, b: &Input<'_>) -> bool {
    a.labels.iter().all(|(axis, value)| b.labels.get(axis).is_none_or(|own| own == value))
}

fn spread(values: &[f64]) -> Option<Spread> {
    let mean = metrics::mean(values.iter().copied())?;
    Some(Spread { mean, sd: metrics::sd(values), n: values.len() })
}

/// Entries by row, column and block.
struct Table<'a> {
    rows: Vec<&'a str>,
    columns: Vec<&'a str>,
    blocks: Vec<&'a str>,
    by_place: BTreeMap<(&'a str, &'a str, &'a str), &'a Entry>,
}

impl<'a> Table<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let distinct = |of: fn(&Entry) -> &str| entries.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect();
        Self {
            rows: distinct(|e| &e.row),
            columns: distinct(|e| &e.column),
            blocks: distinct(|e| &e.block),
            by_place: entries.iter().map(|e| ((e.row.as_str(), e.column.as_str(), e.block.as_str()), e)).collect(),
        }
    }

    /// A metric by block: of one row, or as the mean over all rows, which needs each of them.
    fn by_block(&self, row: Option<&str>, column: &str, metric: fn(&Entry) -> f64) -> BTreeMap<&'a str, f64> {
        let rows: Vec<&str> = row.map_or_else(|| self.rows.clone(), |row| vec![row]);
        let value = |block: &&'a str| {
            let of_rows: Option<Vec<f64>> =
                rows.iter().map(|row| self.by_place.get(&(*row, column, *block)).map(|entry| metric(entry))).collect();
            Some((*block, metrics::mean(of_rows?.into_iter())?))
        };
        self.blocks.iter().filter_map(value).collect()
    }

    fn values(&self, row: Option<&str>, column: &str, metric: fn(&Entry) -> f64) -> Vec<f64> {
        self.by_block(row, column, metric).into_values().collect()
    }

    /// RMSEs of some columns in the blocks that have all of them.
    fn paired<const N: usize>(&self, row: Option<&str>, columns: [&str; N]) -> [Vec<f64>; N] {
        let by_block = columns.map(|column| self.by_block(row, column, |entry| entry.rmse));
        let common = || self.blocks.iter().filter(|block| by_block.iter().all(|of| of.contains_key(*block)));
        std::array::from_fn(|place| common().map(|block| by_block[place][block]).collect())
    }

    /// The first column of this method, whatever the manifest calls it.
    fn control(&self, method: &str) -> Option<&'a str> {
        self.columns.iter().copied().find(|column| {
            let mut of = self.by_place.values().filter(|entry| entry.column == *column).peekable();
            of.peek().is_some() && of.all(|entry| entry.method == method)
        })
    }

    fn gap(&self, row: Option<&str>, column: &str) -> Option<f64> {
        let [scratch, method, teacher] = self.paired(row, [self.control("scratch")?, column, TEACHER]);
        metrics::gap_recovery(&scratch, &method, &teacher)
    }

    fn check(&self, row: Option<&str>) -> Option<Check> {
        let [scratch, bias_only] = self.paired(row, [self.control("scratch")?, self.control("bias_only")?]);
        let differences: Vec<f64> = scratch.iter().zip(&bias_only).map(|(a, b)| a - b).collect();
        let interval = metrics::paired_interval(&differences, 0.95).map(|interval| (interval.low, interval.high));
        Some(Check {
            row: row.map(str::to_owned),
            difference: spread(&differences)?,
            interval,
            invalid: interval.is_some_and(|(low, _)| low > 0.0),
        })
    }
}
