//! Models of ratings, one on one set of rows each: which split a model belongs to, which rows it is scored on, and its entry. What all entries
//! say together is not known here.

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
    DATA,
    likeness::{Likeness, Teachers},
    placing::{self, Placing, Scoring, agrees, joined, labels_of, refuse_leaks, scored_on},
    ranking::{Ranked, Ranking, Rated},
    users::{self, UserErrors},
};
use crate::{
    artifact::Digest,
    scores::{Details, Measures, Metric, RatingDetails},
    stage::{Input, StageCx},
    stages::{
        files::{self, ModelFiles},
        settings::Filter,
    },
};

/// Which ratings are scored, and how.
pub struct Rating<'a> {
    /// How entries are placed in the table.
    pub placing: &'a Placing<'a>,
    /// Whose rows are scored.
    pub part: Part,
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
    /// Of the ports `rows` and `data`, as far as the models are scored on them.
    pub fn open(cx: &'a StageCx<'_>) -> anyhow::Result<Self> {
        let labels = |port: &str| cx.inputs(port).iter().map(|input| input.labels).collect::<Vec<_>>();
        let (ratings, splits) = (labels(DATA), labels("rows"));
        let places: Vec<usize> =
            cx.inputs("rows").iter().map(|input| joined(input, &ratings, DATA)).collect::<anyhow::Result<_>>()?;
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
        let ratings = cx.inputs(DATA).iter().zip(scored).map(open).collect::<anyhow::Result<Vec<_>>>()?;
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

/// Rows to score.
struct Selected {
    /// What they are, in words.
    filter: Filter,
    /// The rows, ascending.
    examples: Examples,
    /// How many rows of the same genres are for training.
    train_rows: usize,
}

/// What is kept of each entry, for what is found over users and for the file of ranks.
pub struct Beside {
    /// What it got wrong, by user.
    pub users: Vec<UserErrors>,
    /// The rank of each row's item, where items are ranked.
    pub ranks: Vec<Ranked>,
}

/// An entry of ratings.
pub type Scored<'a> = placing::Scored<'a, Beside>;

impl Rating<'_> {
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
        let place = self.placing.place(input.labels, &opened.config.rows, &opened.config.method);
        let selected = self.rows(world, split, &opened.config.genres)?;
        if self.part == Part::Test {
            refuse_leaks(input, teachers, &selected.examples.row)?;
        }
        self.scored(world, split, (&opened, input), place, selected, Some(likeness))
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
            for (student, place) in self.placing.taught(input, students.iter().map(|student| &student.entry), &mut seen)? {
                let Some(details) = student.ratings() else { continue };
                let selected = self.rows(world, split, &details.genres)?;
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
        place: [String; 3],
        Selected { filter, examples, train_rows }: Selected,
        likeness: Option<&mut Teachers<'_>>,
    ) -> anyhow::Result<Scored<'a>> {
        let (selection, digest) = &world.ratings[split.ratings];
        files::refuse_other_data(&opened.config, input.instance, *digest)?;
        if examples.is_empty() {
            bail!("`{}` has no {} rows: its genres are too rare for this split", input.instance, self.part.name());
        }
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
        let on = scored_on(*digest, &examples.row);
        let likeness = match likeness {
            Some(teachers) => teachers.likeness(input, opened, &examples, on)?,
            None => Likeness::default(),
        };
        let measures = [
            (Metric::Rmse, metrics::rmse(&predicted.ratings, &examples.rating)),
            (Metric::Mae, metrics::mae(&predicted.ratings, &examples.rating)),
            (Metric::UserRmse, metrics::per_user_rmse(&examples.user, &predicted.ratings, &examples.rating)),
            (Metric::Hr, ranked(Rank::hit)),
            (Metric::Ndcg, ranked(Rank::gain)),
        ];
        let details = RatingDetails {
            genres: opened.config.genres.clone(),
            users: examples.user.iter().collect::<BTreeSet<_>>().len(),
            fallbacks: predicted.fallbacks(),
            clipped: predicted.clipped,
            deep_share: opened.monitor["deep_share"].as_f64(),
            collapsed: opened.monitor["collapsed"].as_bool(),
        };
        let scoring = Scoring {
            place,
            model: input.digest(),
            labels: labels_of(input),
            method: opened.config.method.clone(),
            train_rows,
            on,
            serving_parameters: opened.config.serving_parameters,
            training_parameters: opened.config.training_parameters,
            likeness,
        };
        let measures: Measures = measures.into_iter().filter_map(|(metric, value)| Some((metric, value?))).collect();
        let entry = scoring.entry(examples.len(), measures, Details::Ratings(details));
        let mut users = users::errors(&examples, &predicted.ratings);
        if let Some(ranking) = self.ranking {
            users::rank(&mut users, &ranks, ranking.top);
        }
        let subject = format!("{} of {}", entry.rows, filter.title());
        Ok(Scored { entry, instance: input.instance, subject, beside: Beside { users, ranks } })
    }
}
