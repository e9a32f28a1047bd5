//! One model on one set of rows each: which split a model belongs to, which rows it is scored on, and its entry. Refuses what
//! would make entries incomparable. What all entries say together is not known here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use indexmap::IndexMap;
use talkflow_datasets::{
    ratings::Summary,
    selection::Selection,
    split::{Part, Split},
};
use talkflow_distill::{Examples, Rank, metrics};

use super::{
    likeness::{Likeness, Teachers},
    ranking::{Ranked, Ranking, Rated},
    users::{self, UserErrors},
};
use crate::{
    artifact::Digest,
    scores::{Entry, TEACHER},
    stage::{Input, StageCx},
    stages::{
        files::{self, ModelFiles},
        settings::Filter,
    },
};

/// How entries are placed in the table.
pub struct Placing<'a> {
    /// Whose rows are scored.
    pub part: Part,
    /// The axis whose values are the table's rows.
    pub row_axis: &'a str,
    /// The axis whose values are its columns.
    pub column_axis: &'a str,
    /// How items are ranked, where they are.
    pub ranking: Option<&'a Ranking>,
}

/// One split with its ratings.
struct SplitWorld<'a> {
    labels: &'a IndexMap<String, String>,
    split: Split,
    /// Place in `World::ratings`.
    ratings: usize,
}

/// All ratings and splits of an evaluation.
pub struct World<'a> {
    /// Of each ratings artifact what some model is scored on, read once for all of them.
    ratings: Vec<(Selection, Digest)>,
    splits: Vec<SplitWorld<'a>>,
}

impl<'a> World<'a> {
    /// Of the ports `rows` and `ratings`, as far as the models are scored on them.
    pub fn open(cx: &'a StageCx<'_>) -> anyhow::Result<Self> {
        let labels = |port: &str| cx.inputs(port).iter().map(|input| input.labels).collect::<Vec<_>>();
        let (ratings, splits) = (labels("ratings"), labels("rows"));
        let places: Vec<usize> =
            cx.inputs("rows").iter().map(|input| joined(input, &ratings, "ratings")).collect::<anyhow::Result<_>>()?;
        // The genres of each model, which are its teachers' as well.
        let mut scored: Vec<BTreeSet<Vec<String>>> = vec![BTreeSet::new(); ratings.len()];
        for model in cx.inputs("models") {
            let genres = files::model_config(model)?.genres;
            for input in cx.inputs("teacher").iter().filter(|teacher| agrees(teacher, model)).chain([model]) {
                scored[places[joined(input, &splits, "rows")?]].insert(genres.clone());
            }
        }
        let open = |(input, scored): (&Input<'_>, BTreeSet<Vec<String>>)| {
            // No genres are all rows.
            let all = scored.contains::<[String]>(&[]);
            let genres: Vec<String> = if all { Vec::new() } else { scored.into_iter().flatten().collect() };
            Ok((files::selection(input, &genres)?, input.digest()))
        };
        let ratings = cx.inputs("ratings").iter().zip(scored).map(open).collect::<anyhow::Result<Vec<_>>>()?;
        let splits = cx.inputs("rows").iter().zip(places).map(|(input, place)| {
            Ok(SplitWorld { labels: input.labels, split: files::split(input, ratings[place].0.summary())?, ratings: place })
        });
        Ok(Self { splits: splits.collect::<anyhow::Result<_>>()?, ratings })
    }

    /// What is known of each ratings artifact.
    pub fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.ratings.iter().map(|(selection, _)| selection.summary())
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

/// Whether the values of two on shared axes are the same.
pub fn agrees(a: &Input<'_>, b: &Input<'_>) -> bool {
    a.labels.iter().all(|(axis, value)| b.labels.get(axis).is_none_or(|own| own == value))
}

/// Rows to score.
struct Selected {
    /// What they are, in words.
    filter: Filter,
    /// The rows, ascending.
    examples: Examples,
    /// How many rows of the same genres are for training.
    train_rows: usize,
}

/// An entry, and what has to be known of it to hold it against others.
pub struct Scored<'a> {
    /// The entry.
    pub entry: Entry,
    instance: &'a str,
    /// The rows it was scored on, in words.
    filter: Filter,
    /// What it got wrong, by user.
    pub users: Vec<UserErrors>,
    /// The rank of each row's item, where items are ranked.
    pub ranks: Vec<Ranked>,
}

impl Placing<'_> {
    /// A model on the rows of its own genres.
    pub fn score<'a>(
        &self,
        world: &World<'_>,
        teachers: &[Input<'_>],
        likeness: &mut Teachers<'_>,
        input: &Input<'a>,
    ) -> anyhow::Result<Scored<'a>> {
        let opened = files::model(input)?;
        let split = world.split_of(input)?;
        let row = input.labels.get(self.row_axis).cloned().unwrap_or_else(|| opened.config.rows.clone());
        let column = input.labels.get(self.column_axis).cloned().unwrap_or_else(|| match opened.config.method.as_str() {
            "pretrain" => TEACHER.to_owned(),
            method => method.to_owned(),
        });
        let selected = self.rows(world, split, &opened.config.genres)?;
        if self.part == Part::Test {
            // Its own, and those of whoever taught it.
            files::refuse_leak(input, &selected.examples.row)?;
            for teacher in teachers.iter().filter(|teacher| agrees(teacher, input)) {
                files::refuse_leak(teacher, &selected.examples.row)?;
            }
        }
        let block = input.labels.iter().filter(|(axis, _)| *axis != self.row_axis && *axis != self.column_axis);
        let mut block: Vec<String> = block.map(|(axis, value)| format!("{axis}={value}")).collect();
        block.sort();
        self.scored(world, split, (&opened, input), [row, column, block.join(",")], selected, Some(likeness))
    }

    /// The teachers on the rows of each row and block of the table.
    pub fn teachers<'a>(
        &self,
        world: &World<'_>,
        teachers: &[Input<'a>],
        students: &[Scored<'_>],
    ) -> anyhow::Result<Vec<Scored<'a>>> {
        let mut made = Vec::new();
        let mut seen = BTreeMap::new();
        for input in teachers {
            let opened = files::model(input)?;
            let split = world.split_of(input)?;
            for student in students.iter().map(|student| &student.entry) {
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
                let selected = self.rows(world, split, &student.genres)?;
                let place = [student.row.clone(), TEACHER.to_owned(), student.block.clone()];
                made.push(self.scored(world, split, (&opened, input), place, selected, None)?);
            }
        }
        Ok(made)
    }

    /// Of the part, the rows of some genres.
    fn rows(&self, world: &World<'_>, split: &SplitWorld<'_>, genres: &[String]) -> anyhow::Result<Selected> {
        let (selection, _) = &world.ratings[split.ratings];
        let (has, parts) = (selection.having(genres)?, split.split.parts());
        let of = |part: Part| selection.pick(|row, item| has[item as usize] && parts[row as usize] == part);
        let train_rows = of(Part::Train).row.len();
        Ok(Selected { filter: Filter::of(genres.to_vec()), examples: files::examples(of(self.part)), train_rows })
    }

    fn scored<'a>(
        &self,
        world: &World<'_>,
        split: &SplitWorld<'_>,
        (opened, input): (&ModelFiles, &Input<'a>),
        [row, column, block]: [String; 3],
        Selected { filter, examples, train_rows }: Selected,
        likeness: Option<&mut Teachers<'_>>,
    ) -> anyhow::Result<Scored<'a>> {
        let (selection, digest) = &world.ratings[split.ratings];
        files::refuse_other_data(&opened.config, input.instance, *digest)?;
        if examples.is_empty() {
            bail!("`{}` has no {} rows: its genres are too rare for this split", input.instance, self.part.name());
        }
        let ids = examples.row.iter().flat_map(|row| row.to_le_bytes());
        let on: Vec<u8> = digest.to_string().into_bytes().into_iter().chain(ids).collect();
        let some = |column: &[u32]| column.iter().copied().map(Some).collect::<Vec<_>>();
        let predicted = opened.model.predict(&some(&examples.user), &some(&examples.item))?;
        let ranks = match self.ranking {
            Some(ranking) => ranking.of(&opened.model, &examples, &Rated::of(selection, filter.genres())?)?,
            None => Vec::new(),
        };
        let ranked = |worth: fn(Rank, usize) -> f64| {
            let top = self.ranking?.top;
            metrics::mean(ranks.iter().map(|ranked| worth(ranked.rank, top)))
        };
        let measured = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let on = Digest::of(&on);
        let likeness = match likeness {
            Some(teachers) => teachers.likeness(input, opened, &examples, on)?,
            None => Likeness::default(),
        };
        let entry = Entry {
            row,
            column,
            block,
            model: input.digest(),
            labels: input.labels.iter().map(|(axis, value)| (axis.clone(), value.clone())).collect(),
            genres: opened.config.genres.clone(),
            method: opened.config.method.clone(),
            rows: examples.len(),
            users: examples.user.iter().collect::<BTreeSet<_>>().len(),
            train_rows,
            on,
            rmse: measured(metrics::rmse(&predicted.ratings, &examples.rating)),
            mae: measured(metrics::mae(&predicted.ratings, &examples.rating)),
            user_rmse: measured(metrics::per_user_rmse(&examples.user, &predicted.ratings, &examples.rating)),
            hr: ranked(Rank::hit),
            ndcg: ranked(Rank::gain),
            fallbacks: predicted.fallbacks(),
            clipped: predicted.clipped,
            serving_parameters: opened.config.serving_parameters,
            training_parameters: opened.config.training_parameters,
            deep_share: opened.monitor["deep_share"].as_f64(),
            collapsed: opened.monitor["collapsed"].as_bool(),
            cka_low: likeness.low,
            cka_high: likeness.high,
        };
        let mut users = users::errors(&examples, &predicted.ratings);
        if let Some(ranking) = self.ranking {
            users::rank(&mut users, &ranks, ranking.top);
        }
        Ok(Scored { entry, instance: input.instance, filter, users, ranks })
    }

    /// Brings entries into canonical order, each place of the table taken once, and one set of rows for all columns of a row.
    pub fn in_order<'a>(&self, mut scored: Vec<Scored<'a>>) -> anyhow::Result<Vec<Scored<'a>>> {
        let line = |scored: &Scored<'_>| (scored.entry.row.clone(), scored.entry.block.clone());
        scored.sort_by_cached_key(|scored| (line(scored), scored.entry.column.clone()));
        for two in scored.windows(2).filter(|two| line(&two[0]) == line(&two[1])) {
            let [a, b] = two else { continue };
            let Entry { row, column, block, .. } = &a.entry;
            let block = if block.is_empty() { String::new() } else { format!(" in block `{block}`") };
            let (rows, columns) = (self.row_axis, self.column_axis);
            if *column == b.entry.column {
                bail!(
                    "`{}` and `{}` both stand for {rows} {row}, {columns} {column}{block}: give them an axis that tells them apart, \
                     or name another axis in `by`",
                    a.instance,
                    b.instance
                );
            }
            if a.entry.on != b.entry.on {
                bail!(
                    "`{}` and `{}` both stand for {rows} {row}{block} and are scored on different rows ({}; {}), so their errors do \
                     not compare: give both the same `where` and the same split, or let `by.rows` name an axis that tells them apart",
                    a.instance,
                    b.instance,
                    a.subject(),
                    b.subject()
                );
            }
        }
        scored.sort_by_cached_key(|Scored { entry, .. }| (entry.row.clone(), entry.column.clone(), entry.block.clone()));
        Ok(scored)
    }
}

impl Scored<'_> {
    /// What it was scored on, in words.
    fn subject(&self) -> String {
        format!("{} of {}", self.entry.rows, self.filter.title())
    }
}
