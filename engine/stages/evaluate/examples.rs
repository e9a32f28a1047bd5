//! Which examples models of classes are scored on, and what they say of them: of a network by running it, of a probe by what it kept. What
//! entries say together is not known here.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use indexmap::IndexMap;
use talkflow_datasets::split::Part;
use talkflow_distill::Classifier;

use super::{
    DATA, classes,
    likeness::Likeness,
    placing::{self, Placing, Scoring, joined, labels_of, refuse_leaks, scored_on},
};
use crate::{
    stage::{Input, StageCx},
    stages::{
        examples::ClassRows,
        files::{self, ModelConfig},
        probe,
    },
};

/// An entry of classes.
pub type Scored<'a> = placing::Scored<'a, ()>;

/// Which examples are scored.
pub struct Exam<'a> {
    /// How entries are placed in the table.
    pub placing: &'a Placing<'a>,
    /// Whose rows are scored.
    pub part: Part,
}

/// All splits of an evaluation, with their examples.
pub struct World<'a> {
    splits: Vec<(&'a IndexMap<String, String>, ClassRows)>,
}

impl<'a> World<'a> {
    /// Of the ports `rows` and `data`.
    pub fn open(cx: &'a StageCx<'_>) -> anyhow::Result<Self> {
        let data = cx.inputs(DATA);
        let labels: Vec<_> = data.iter().map(|input| input.labels).collect();
        let open = |input: &'a Input<'_>| Ok((input.labels, ClassRows::open(input, &data[joined(input, &labels, DATA)?])?));
        Ok(Self { splits: cx.inputs("rows").iter().map(open).collect::<anyhow::Result<_>>()? })
    }

    /// What each data set is called, and what it holds.
    pub fn described(&self) -> impl Iterator<Item = String> {
        self.splits.iter().map(|(_, rows)| format!("{}: {} classes", rows.name(), rows.classes().len()))
    }

    fn of(&self, input: &Input<'_>) -> anyhow::Result<&ClassRows> {
        let labels: Vec<_> = self.splits.iter().map(|(labels, _)| *labels).collect();
        Ok(&self.splits[joined(input, &labels, "rows")?].1)
    }
}

impl Exam<'_> {
    /// A model on the rows of its split.
    pub fn score<'a>(&self, world: &World<'_>, teachers: &[Input<'_>], input: &Input<'a>) -> anyhow::Result<Scored<'a>> {
        let (config, rows) = (files::model_config(input)?, world.of(input)?);
        let place = self.placing.place(input.labels, &config.rows, &config.method);
        if self.part == Part::Test {
            refuse_leaks(input, teachers, &rows.part(self.part))?;
        }
        self.scored(rows, (&config, input), place)
    }

    /// The teachers in each row and block of the table.
    pub fn teachers<'a>(
        &self,
        world: &World<'_>,
        teachers: &[Input<'a>],
        students: &[Scored<'_>],
    ) -> anyhow::Result<Vec<Scored<'a>>> {
        let mut made = Vec::new();
        let mut seen = BTreeMap::new();
        for input in teachers {
            let (config, rows) = (files::model_config(input)?, world.of(input)?);
            for (_, place) in self.placing.taught(input, students.iter().map(|student| &student.entry), &mut seen)? {
                made.push(self.scored(rows, (&config, input), place)?);
            }
        }
        Ok(made)
    }

    fn scored<'a>(
        &self,
        of: &ClassRows,
        (config, input): (&ModelConfig, &Input<'a>),
        place: [String; 3],
    ) -> anyhow::Result<Scored<'a>> {
        files::refuse_other_data(config, input.instance, of.digest)?;
        let rows = of.part(self.part);
        if rows.is_empty() {
            bail!("`{}` has no {} rows to be scored on", input.instance, self.part.name());
        }
        let logits = match input.files.0.contains_key(probe::OUTPUTS) {
            true => probe::outputs(input)?.of(&rows)?,
            false => ran(of, config, input, &rows)?,
        };
        let scoring = Scoring {
            place,
            model: input.digest(),
            labels: labels_of(input),
            method: config.method.clone(),
            train_rows: of.part(Part::Train).len(),
            on: scored_on(of.digest, &rows),
            serving_parameters: config.serving_parameters,
            training_parameters: config.training_parameters,
            likeness: Likeness::default(),
        };
        let entry = classes::entry(scoring, &logits, &of.labels(&rows), of.classes());
        let entry = entry.with_context(|| format!("cannot score `{}`", input.instance))?;
        let subject = format!("{} of {}", entry.rows, of.name());
        Ok(Scored { entry, instance: input.instance, subject, beside: () })
    }
}

/// What a network says of some rows, ascending, of which one shard is read at a time.
fn ran(of: &ClassRows, config: &ModelConfig, input: &Input<'_>, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
    let run = || -> anyhow::Result<Vec<f32>> {
        let model = Classifier::load(&std::fs::read(input.file(files::WEIGHTS)?)?, &config.model)?;
        let reading = of.reading_with(model.spec(), model.words().clone())?;
        let mut logits = Vec::with_capacity(rows.len() * model.classes());
        for rows in rows.chunk_by(|a, b| reading.shard_of(*a) == reading.shard_of(*b)) {
            logits.extend(model.logits(&reading.inputs(rows)?)?);
        }
        Ok(logits)
    };
    run().with_context(|| format!("cannot score the model of `{}`", input.instance))
}
