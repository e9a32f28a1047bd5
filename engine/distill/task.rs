//! What a training is about: what its rows are, how a batch of them is put through a model, and how a model of them is judged.
//!
//! The trainer, checkpoints, costs and methods know a task by these two traits alone. [`Task`] is implemented by a training's data and
//! [`Body`] by what is trained on it, on a device: [`TaskData`](crate::TaskData) and `Student` for ratings, [`ClassData`](crate::ClassData) and `Net` for classes.

use serde::{Deserialize, Serialize};

use crate::batches::order;
use crate::config::TrainConfig;
use crate::error::{ModelError, TrainError};
use crate::graph::Graph;
use crate::models::ModelSpec;
use crate::models::student::Dropout;
use crate::monitor::Monitor;
use crate::ops::{Layer, Link, Ops, Pool, Var};
use crate::optim::{Optimizer, Rule};
use crate::params::Params;
use crate::stream::RowFeatures;
use crate::table::Table;
use crate::tensors::Tensors;

/// What the rows of a batch should have been predicted as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Targets<'a> {
    /// A rating each.
    Ratings(&'a [f32]),
    /// A class each.
    Classes(&'a [u32]),
}

impl Targets<'_> {
    /// Of each row a number that is the same for rows of one rating level or class, and no other.
    pub(crate) fn levels(&self) -> Vec<u32> {
        match self {
            Targets::Ratings(ratings) => ratings.iter().map(|rating| rating.to_bits()).collect(),
            Targets::Classes(labels) => labels.to_vec(),
        }
    }
}

/// What the deep path makes of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Deep<D: Ops> {
    /// (batch, low width); of a state that is a sequence the mean over it.
    pub(crate) low: Var<D>,
    /// (batch, high width)
    pub(crate) high: Var<D>,
    /// (batch, outputs): what is added to the wide part, or is the prediction itself.
    pub(crate) output: Var<D>,
}

/// A batch, forward, as methods see it.
#[derive(Clone, Debug)]
pub(crate) struct Forward<D: Ops> {
    /// (batch, 2 e): the user's embedding, then the item's; of ratings by models that have some.
    pub(crate) embeddings: Option<Var<D>>,
    /// (batch, 1): mean and bias terms, which are added to what the head makes; of ratings.
    pub(crate) wide: Option<Var<D>>,
    pub(crate) deep: Option<Deep<D>>,
    /// (batch, outputs): the predicted rating, not clipped.
    pub(crate) output: Var<D>,
}

/// What a model is judged by on validation rows; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The root of the mean squared error of ratings, clipped to their scale and with rows that fall back.
    Rmse,
    /// The share of rows that were taken for another class than their own.
    Error,
}

impl Measure {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Rmse => "rmse",
            Measure::Error => "error",
        }
    }
}

/// What validation rows said of a model.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// What epochs are judged by; less is better.
    pub(crate) error: f64,
    /// The values of [`Task::columns`], in their order.
    pub(crate) columns: Vec<f64>,
    pub(crate) monitor: Monitor,
    /// A prediction that is no finite number, if there is one.
    pub(crate) not_finite: Option<f32>,
}

/// A training's data, and what is to be learnt of them.
pub(crate) trait Task {
    /// Rows taken out for a batch, in memory that the next batch uses again.
    type Batch: Default;
    /// What is trained, on a device.
    type Body<D: Ops>: Body<D, Batch = Self::Batch>;
    /// What comes of it.
    type Model;

    /// Whether these data can be trained on, with this configuration.
    fn check(&self, config: &TrainConfig) -> Result<(), TrainError>;

    /// What epochs are judged by.
    fn measure(&self) -> Measure;

    /// The ids of the training rows.
    fn train_rows(&self) -> &[u32];

    /// The item of each training row, where rows are of items.
    fn train_items(&self) -> Option<&[u32]> {
        None
    }

    /// How many numbers a prediction has.
    fn outputs(&self) -> usize;

    /// All data, as columns of words to hash.
    fn words(&self, column: &mut dyn FnMut(&mut dyn Iterator<Item = u32>));

    /// The columns that [`Judged`] adds to the curves.
    fn columns(&self, spec: &ModelSpec) -> Vec<&'static str>;

    fn fresh<D: Ops>(&self, device: &D, spec: &ModelSpec, seed: u64) -> Result<Self::Body<D>, D::Err>;

    fn import<D: Ops>(&self, device: &D, spec: &ModelSpec, weights: &Tensors) -> Result<Self::Body<D>, ModelError>;

    /// Takes the training rows at some places, those that are next in the order of an epoch of a seed, into a batch for a model.
    fn pick(&self, spec: &ModelSpec, places: &[u32], epoch: (u64, usize), batch: &mut Self::Batch) -> Result<(), TrainError>;

    /// The training rows in the order of an epoch, counted from 0.
    fn order(&self, seed: u64, epoch: usize) -> Vec<u32> {
        order(seed, epoch, self.train_rows().len())
    }

    /// A teacher's features that came with the rows of a batch; none where they are looked up by row.
    fn features(_: &Self::Batch) -> Option<&RowFeatures> {
        None
    }

    /// What the rows of a batch should be predicted as.
    fn targets(batch: &Self::Batch) -> Targets<'_>;

    /// Looks at the validation rows.
    fn judge<D: Ops>(&self, body: &Self::Body<D>) -> Result<Judged, TrainError>;

    fn model(&self, spec: ModelSpec, weights: Tensors) -> Result<Self::Model, ModelError>;

    /// How much memory there is to a training's data and model beside what steps do.
    fn sizes(&self, spec: &ModelSpec) -> Sizes;

    /// For looking at what a step is made of: tables may be as small as the row needs.
    fn sample<D: Ops>(&self, device: &D, spec: &ModelSpec, seed: u64) -> Result<Sample<D, Self>, D::Err>
    where
        Self: Sized;
}

/// A body, and a batch of one usual row.
pub(crate) type Sample<D, T> = (<T as Task>::Body<D>, <T as Task>::Batch);

/// Numbers that a training holds or touches, of which no step's trace knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Of all tables.
    pub(crate) tables: u64,
    /// Of tables' rows that a batch of the given size touches, at most: rows of each table, and numbers a row.
    pub(crate) touched: [(u64, u64); 2],
    /// Looked-up rows of each table a row of the batch.
    pub(crate) looked_up: [u64; 2],
    /// Of a row of the batch as it is read.
    pub(crate) read: u64,
    /// Of the rows of training and validation.
    pub(crate) data: u64,
    /// Validation rows that are predicted together.
    pub(crate) validated: u64,
}

impl Sizes {
    /// Numbers of tables' rows that a batch touches: as many rows as it looks up, or all of them.
    pub(crate) fn touched(&self, batch: u64) -> u64 {
        let rows = self.touched.iter().zip(self.looked_up);
        rows.map(|((rows, width), looked_up)| (batch * looked_up).min(*rows) * width).sum()
    }
}

/// What is trained, on a device.
pub(crate) trait Body<D: Ops>: Clone + Interpreter<D> {
    type Batch;
    /// A batch, forward.
    type Forward;
    /// Room for the gradients of tables.
    type Gradients: Default;

    fn spec(&self) -> &ModelSpec;

    fn params(&self) -> &Params<D>;

    fn params_mut(&mut self) -> &mut Params<D>;

    fn tables(&self) -> Vec<&Table>;

    fn tables_mut(&mut self) -> Vec<&mut Table>;

    /// All weights by name.
    fn export(&mut self) -> Tensors;

    /// How many numbers serving needs.
    fn numbers(&self) -> u64;

    /// Gives all weights the memory their optimiser needs.
    fn prepare(&mut self, optimizer: &Optimizer) {
        self.params_mut().prepare(optimizer);
        self.tables_mut().into_iter().for_each(|table| table.prepare(optimizer));
    }

    /// Applies all decay that untouched rows have missed.
    fn settle(&mut self) {
        self.tables_mut().into_iter().for_each(Table::settle);
    }

    /// A training batch, forward.
    fn forward(&mut self, graph: &mut Graph<D>, batch: &Self::Batch, dropout: &Dropout) -> Result<Self::Forward, D::Err>;

    /// What methods see of it.
    fn seen(forward: &Self::Forward) -> &Forward<D>;

    /// Takes a batch's gradients to the host.
    fn collect(&mut self, forward: &Self::Forward, batch: &Self::Batch, tables: &mut Self::Gradients) -> Result<(), D::Err>;

    /// The sum of the squares of all gradients of tables.
    fn squares(tables: &Self::Gradients) -> f64;

    /// Moves all weights against the gradients collected.
    fn update(&mut self, rule: &Rule<'_>, tables: &Self::Gradients);
}

/// Message tokens decoded into a model's low state, and what is done with them.
pub(crate) struct Heard<'a, D: Ops> {
    /// (batch * tokens, low width)
    pub(crate) messages: &'a Var<D>,
    /// Tokens a row of the batch.
    pub(crate) tokens: usize,
    pub(crate) dropout: &'a Dropout,
    /// Names the dropout streams.
    pub(crate) place: &'a str,
}

/// A model's layers above its low state, as a conversation uses them.
pub(crate) trait Interpreter<D: Ops> {
    /// The last layer's weights, wanting gradients.
    fn head(&self) -> Option<Layer<D>>;

    /// The layers as a run on `rows` low states, where they are dense layers one after the other; `frozen`, their weights want no gradient.
    fn dense(&self, pool: &Pool, rows: usize, dropout: &Dropout, place: &str, frozen: bool) -> Option<Vec<Link<D>>>;

    /// What they make of messages in place of the row's own low state: (batch, high width).
    fn interpret(&self, graph: &mut Graph<D>, heard: &Heard<'_, D>, frozen: bool) -> Result<Var<D>, D::Err>;
}
