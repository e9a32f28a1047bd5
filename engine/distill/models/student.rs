//! A rating model while it is trained or applied: tables on the host, dense layers on a device.
//!
//! One type for every kind of model, for students and teachers alike. Users and items are dense indices; those that no training row had are
//! marked, and a row with one of them is predicted by the mean and the bias terms that remain, without the deep path (whose embedding
//! would be noise). The room knows no methods and no optimiser's schedule.

use std::sync::Arc;

use rayon::prelude::*;

use crate::data::Pairs;
use crate::error::ModelError;
use crate::graph::Graph;
use crate::models::{ModelSpec, Wide, mf, ncf};
use crate::modules::last;
use crate::ops::{Buffer, Layer, Link, Ops, Pool, Var};
use crate::optim::{Group, Rule};
use crate::params::{LayerId, Params};
use crate::random::{Rng, Role};
use crate::table::{RowGradients, Table};
use crate::task::{Body, Deep, Forward, Heard, Interpreter};
use crate::tensors::Tensors;

/// Rows that are predicted together; a fixed number, so that the same rows always meet the same arithmetic.
pub(crate) const CHUNK: usize = 4096;

/// Dropout in one step of training, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    pub(crate) rate: f32,
    pub(crate) seed: u64,
    pub(crate) step: u64,
}

impl Dropout {
    /// No dropout: evaluation.
    pub(crate) const NONE: Dropout = Dropout { rate: 0.0, seed: 0, step: 0 };

    /// The mask for a state of `len` numbers at `place` in the network, in this step.
    pub(crate) fn mask(&self, pool: &Pool, place: &str, len: usize) -> Option<Arc<Buffer>> {
        (self.rate > 0.0).then(|| {
            let mut mask = pool.take(len);
            Rng::stream(self.seed, Role::Dropout, place, self.step).dropout_mask(self.rate, &mut mask);
            Arc::new(mask)
        })
    }
}

/// Scratch for the gradients of tables.
#[derive(Debug, Default)]
pub(crate) struct TableGradients {
    user_bias: RowGradients,
    item_bias: RowGradients,
    user: RowGradients,
    item: RowGradients,
}

/// A rating model on device `D`.
#[derive(Clone, Debug)]
pub(crate) struct Student<D: Ops> {
    pub(crate) spec: ModelSpec,
    /// The mean of the training ratings.
    pub(crate) mean: f32,
    pub(crate) user_bias: Table,
    pub(crate) item_bias: Table,
    /// Users' and items' embeddings.
    pub(crate) embeddings: Option<(Table, Table)>,
    pub(crate) params: Params<D>,
    hidden: Vec<LayerId>,
    head: Option<LayerId>,
    /// 1 for those that training has seen.
    pub(crate) seen_users: Vec<u8>,
    pub(crate) seen_items: Vec<u8>,
    device: D,
    pool: Pool,
}

/// Predictions of some rows, as a model makes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    /// Not clipped.
    pub(crate) ratings: Vec<f32>,
    /// The deep path's part; 0 for rows that fell back.
    pub(crate) deep: Vec<f32>,
    /// Whether the row was predicted without the deep path, or with a bias term missing.
    pub(crate) fallback: Vec<bool>,
}

impl<D: Ops> Student<D> {
    /// A model with fresh weights. `mean` and the initial bias terms come from the training rows.
    pub(crate) fn fresh(
        device: &D,
        spec: &ModelSpec,
        seed: u64,
        (users, items): (usize, usize),
        train: &crate::data::Examples,
    ) -> Result<Self, D::Err> {
        let mut params = Params::new(device);
        let mut hidden = Vec::new();
        let mut head = None;
        if let ModelSpec::Ncf(ncf) = spec {
            for (index, shape) in ncf.shapes().enumerate() {
                let name = format!("layers.{index}");
                hidden.push(params.fresh(seed, Role::Init, &name, shape, std::f32::consts::SQRT_2)?);
            }
            let last = ncf.hidden.last().copied().unwrap_or(1);
            head = Some(params.fresh(seed, Role::Init, "head", (last, 1), 1.0)?);
        }
        let embeddings = spec.embedding().map(|width| {
            let sd = spec.embedding_sd() as f32;
            let table = |name, rows| Table::fresh(name, Group::Embedding, (rows, width), sd, seed);
            (table("user.embedding", users), table("item.embedding", items))
        });
        let mut seen_users = vec![0; users];
        let mut seen_items = vec![0; items];
        for (&user, &item) in train.user.iter().zip(&train.item) {
            seen_users[user as usize] = 1;
            seen_items[item as usize] = 1;
        }
        let sum: f64 = train.rating.iter().map(|&r| f64::from(r)).sum();
        let mean = sum / train.rating.len() as f64;
        let mut residuals: Vec<f64> = train.rating.iter().map(|&r| f64::from(r) - mean).collect();
        let mut bias = |name, rows, index: &[u32]| {
            let values = match spec.wide() {
                Some(Wide { terms: true, damping: Some(damping) }) => damped_means(&mut residuals, index, rows, *damping),
                // Without bias terms these stay 0, as no gradient reaches them.
                _ => vec![0.0; rows],
            };
            Table::new(name, Group::BiasTerm, 1, values)
        };
        let item_bias = bias("item.bias", items, &train.item);
        let user_bias = bias("user.bias", users, &train.user);
        Ok(Student {
            spec: spec.clone(),
            mean: mean as f32,
            user_bias,
            item_bias,
            embeddings,
            params,
            hidden,
            head,
            seen_users,
            seen_items,
            device: device.clone(),
            pool: Pool::default(),
        })
    }

    /// A model with the weights of `tensors`, as [`Student::export`] writes them.
    pub(crate) fn import(device: &D, spec: &ModelSpec, tensors: &Tensors) -> Result<Self, ModelError> {
        let failed = |error: D::Err| ModelError::Device(error.to_string());
        let rows = |name: &str| tensors.shape(name).map_or(0, |shape| shape.iter().product());
        let (users, items) = (rows("user.bias"), rows("item.bias"));
        let table = |name: &str, group, rows: usize, width: usize| {
            let shape: &[usize] = if group == Group::BiasTerm { &[rows] } else { &[rows, width] };
            let values = tensors.get::<f32>(name, shape)?.to_vec();
            Ok::<_, ModelError>(Table::new(name, group, width, values))
        };
        let mut params = Params::new(device);
        let mut layer = |name: &str, (inputs, outputs): (usize, usize)| {
            let weight = tensors.get::<f32>(&format!("{name}.weight"), &[inputs, outputs])?;
            let bias = tensors.get::<f32>(&format!("{name}.bias"), &[outputs])?;
            params.layer_of(name, (inputs, outputs), weight.to_vec(), bias.to_vec()).map_err(failed)
        };
        let mut hidden = Vec::new();
        let mut head = None;
        if let ModelSpec::Ncf(ncf) = spec {
            for (index, shape) in ncf.shapes().enumerate() {
                hidden.push(layer(&format!("layers.{index}"), shape)?);
            }
            head = Some(layer("head", (ncf.hidden.last().copied().unwrap_or(1), 1))?);
        }
        let embeddings = match spec.embedding() {
            Some(width) => Some((
                table("user.embedding", Group::Embedding, users, width)?,
                table("item.embedding", Group::Embedding, items, width)?,
            )),
            None => None,
        };
        Ok(Student {
            spec: spec.clone(),
            mean: tensors.get::<f32>("mean", &[1])?[0],
            user_bias: table("user.bias", Group::BiasTerm, users, 1)?,
            item_bias: table("item.bias", Group::BiasTerm, items, 1)?,
            embeddings,
            params,
            hidden,
            head,
            seen_users: tensors.get::<u8>("user.seen", &[users])?.to_vec(),
            seen_items: tensors.get::<u8>("item.seen", &[items])?.to_vec(),
            device: device.clone(),
            pool: Pool::default(),
        })
    }

    /// The hidden layers' weights, low first, wanting gradients.
    fn hidden_layers(&self) -> Vec<Layer<D>> {
        self.hidden.iter().map(|&id| self.params.layer(id)).collect()
    }

    /// The deep path on joined embeddings (batch, 2 e); none for a model without.
    fn deep(&self, graph: &mut Graph<D>, embeddings: &Var<D>, dropout: &Dropout) -> Result<Option<Deep<D>>, D::Err> {
        match (&self.spec, self.head) {
            (ModelSpec::Ncf(_), Some(head)) => {
                let head = self.params.layer(head);
                ncf::deep(graph, embeddings, &self.hidden_layers(), &head, dropout).map(Some)
            }
            (ModelSpec::Mf(_), _) => mf::deep(graph, embeddings).map(Some),
            (ModelSpec::Ncf(_), None) | (ModelSpec::Bias(_) | ModelSpec::Net(_), _) => Ok(None),
        }
    }

    fn known(seen: &[u8], index: Option<u32>) -> Option<u32> {
        index.filter(|&index| seen.get(index as usize) == Some(&1))
    }

    /// Predicts rows without clipping. An index that is none, outside of the tables, or unseen in training leaves its bias term and
    /// the deep path out. All decay must be settled.
    pub(crate) fn predict(&self, users: &[Option<u32>], items: &[Option<u32>]) -> Result<Raw, D::Err> {
        let mut raw = Raw::default();
        let mut covered = Vec::new();
        for (row, (&user, &item)) in users.iter().zip(items).enumerate() {
            let user = Self::known(&self.seen_users, user);
            let item = Self::known(&self.seen_items, item);
            let bias = |table: &Table, index: Option<u32>| index.map_or(0.0, |index| table.row(index)[0]);
            raw.ratings.push(self.mean + bias(&self.user_bias, user) + bias(&self.item_bias, item));
            raw.deep.push(0.0);
            match (user, item) {
                (Some(user), Some(item)) => {
                    covered.push((row, user, item));
                    raw.fallback.push(false);
                }
                _ => raw.fallback.push(true),
            }
        }
        for chunk in covered.chunks(CHUNK) {
            let pairs = chunk.iter().map(|&(_, user, item)| (user, item));
            let Some(deep) = self.states(pairs)? else { break };
            for (&(row, _, _), value) in chunk.iter().zip(deep.output.host().iter()) {
                raw.deep[row] = *value;
                raw.ratings[row] += value;
            }
        }
        Ok(raw)
    }

    /// The embeddings of users and items inside of the tables, side by side: (pairs, 2 e); nothing for a model without. All decay must be settled.
    pub(crate) fn embeddings_of(&self, users: &[u32], items: &[u32]) -> Vec<f32> {
        let tables = self.embeddings.as_ref();
        tables.map_or_else(Vec::new, |(user, item)| joined(&self.pool, (user, item), (users, items)).to_vec())
    }

    /// The deep path in evaluation mode on pairs of a user and an item inside of the tables. All decay must be settled.
    pub(crate) fn states(&self, pairs: impl ExactSizeIterator<Item = (u32, u32)>) -> Result<Option<Deep<D>>, D::Err> {
        let Some((user_table, item_table)) = &self.embeddings else {
            return Ok(None);
        };
        let (batch, width) = (pairs.len(), user_table.width);
        let mut graph = Graph::inference(&self.device, &self.pool);
        let (users, items): (Vec<u32>, Vec<u32>) = pairs.unzip();
        let embeddings = graph.constant(joined(&self.pool, (user_table, item_table), (&users, &items)), batch, 2 * width)?;
        self.deep(&mut graph, &embeddings, &Dropout::NONE)
    }
}

impl<D: Ops> Body<D> for Student<D> {
    type Batch = Pairs;
    type Forward = Forward<D>;
    type Gradients = TableGradients;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn params(&self) -> &Params<D> {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params<D> {
        &mut self.params
    }

    fn tables(&self) -> Vec<&Table> {
        let embeddings = self.embeddings.iter().flat_map(|(user, item)| [user, item]);
        [&self.user_bias, &self.item_bias].into_iter().chain(embeddings).collect()
    }

    fn tables_mut(&mut self) -> Vec<&mut Table> {
        let embeddings = self.embeddings.iter_mut().flat_map(|(user, item)| [user, item]);
        [&mut self.user_bias, &mut self.item_bias].into_iter().chain(embeddings).collect()
    }

    /// Layers are stored (in, out).
    fn export(&mut self) -> Tensors {
        self.settle();
        let mut tensors = Tensors::default();
        tensors.put("mean", &[1], vec![self.mean]);
        tensors.put("user.seen", &[self.seen_users.len()], self.seen_users.clone());
        tensors.put("item.seen", &[self.seen_items.len()], self.seen_items.clone());
        for table in [&self.user_bias, &self.item_bias] {
            tensors.put(&table.name, &[table.rows()], table.values.clone());
        }
        for table in self.embeddings.iter().flat_map(|(user, item)| [user, item]) {
            tensors.put(&table.name, &[table.rows(), table.width], table.values.clone());
        }
        for param in self.params.iter() {
            // A bias is a vector in files and a one-row matrix on the device.
            let shape = [param.rows, param.cols];
            let shape = if param.name.ends_with(".bias") { &shape[1..] } else { &shape[..] };
            tensors.put(&param.name, shape, param.host.clone());
        }
        tensors
    }

    fn numbers(&self) -> u64 {
        // Tables of bias terms that there are not hold zeros, which nobody needs.
        let unneeded = if self.spec.bias_terms() { 0 } else { self.user_bias.values.len() + self.item_bias.values.len() };
        let tables = self.tables().into_iter().map(|table| table.values.len()).sum::<usize>() - unneeded;
        1 + tables as u64 + self.params.numbers()
    }

    /// All its users and items are training's own.
    fn forward(&mut self, graph: &mut Graph<D>, batch: &Pairs, dropout: &Dropout) -> Result<Forward<D>, D::Err> {
        let Pairs { users, items, .. } = batch;
        let batch = users.len();
        let mean = self.mean;
        let (user_bias, item_bias) = (&mut self.user_bias, &mut self.item_bias);
        let pairs = users.iter().zip(items);
        let wide = pairs.map(|(&user, &item)| mean + user_bias.current(user)[0] + item_bias.current(item)[0]);
        let wide = graph.leaf(graph.pool().collect(batch, wide), batch, 1)?;
        let Some((user_table, item_table)) = &mut self.embeddings else {
            return Ok(Forward { embeddings: None, output: wide.clone(), wide: Some(wide), deep: None });
        };
        user_table.catch_up_rows(users);
        item_table.catch_up_rows(items);
        let width = user_table.width;
        let joined = joined(graph.pool(), (user_table, item_table), (users, items));
        let embeddings = graph.leaf(joined, batch, 2 * width)?;
        let deep = self.deep(graph, &embeddings, dropout)?;
        let output = match &deep {
            Some(deep) => graph.add(&deep.output, &wide)?,
            None => wide.clone(),
        };
        Ok(Forward { embeddings: Some(embeddings), wide: Some(wide), deep, output })
    }

    fn seen(forward: &Forward<D>) -> &Forward<D> {
        forward
    }

    fn collect(&mut self, forward: &Forward<D>, batch: &Pairs, tables: &mut TableGradients) -> Result<(), D::Err> {
        let Pairs { users, items, .. } = batch;
        let pool = &self.pool;
        let take = |of: &Var<D>| {
            let zeros = || pool.zeros(of.rows() * of.cols());
            self.device.take_gradient(&of.value, pool).map(|gradient| gradient.unwrap_or_else(zeros))
        };
        let wide = forward.wide.as_ref().map(take).transpose()?.unwrap_or_else(|| pool.zeros(users.len()));
        let joined = forward.embeddings.as_ref().map(take).transpose()?;
        let deep = self.embeddings.as_ref().zip(joined.as_deref());
        let TableGradients { user_bias, item_bias, user, item } = tables;
        both(
            joined.as_ref().map_or(0, |joined| joined.len()),
            || {
                if self.spec.bias_terms() {
                    self.user_bias.collect(user_bias, users, &wide, 1, 0);
                }
                if let Some(((table, _), joined)) = deep {
                    table.collect(user, users, joined, 2 * table.width, 0);
                }
            },
            || {
                if self.spec.bias_terms() {
                    self.item_bias.collect(item_bias, items, &wide, 1, 0);
                }
                if let Some(((_, table), joined)) = deep {
                    table.collect(item, items, joined, 2 * table.width, table.width);
                }
            },
        );
        self.params.collect()
    }

    fn squares(tables: &TableGradients) -> f64 {
        let TableGradients { user_bias, item_bias, user, item } = tables;
        [user_bias, item_bias, user, item].map(RowGradients::squares).iter().sum()
    }

    fn update(&mut self, rule: &Rule<'_>, tables: &TableGradients) {
        let (user, item) = self.embeddings.as_mut().map(|(user, item)| (user, item)).unzip();
        both(
            tables.user.len() + tables.item.len(),
            || {
                self.user_bias.update(rule, &tables.user_bias);
                if let Some(user) = user {
                    user.update(rule, &tables.user);
                }
            },
            || {
                self.item_bias.update(rule, &tables.item_bias);
                if let Some(item) = item {
                    item.update(rule, &tables.item);
                }
            },
        );
        self.params.update(rule);
    }
}

impl<D: Ops> Interpreter<D> for Student<D> {
    fn head(&self) -> Option<Layer<D>> {
        self.head.map(|id| self.params.layer(id))
    }

    fn dense(&self, pool: &Pool, rows: usize, dropout: &Dropout, place: &str, frozen: bool) -> Option<Vec<Link<D>>> {
        let mut upper = self.hidden_layers();
        upper.drain(..1.min(upper.len()));
        if frozen {
            upper = upper.iter().map(Layer::frozen).collect();
        }
        Some(ncf::up(pool, rows, &upper, dropout, place))
    }

    fn interpret(&self, graph: &mut Graph<D>, heard: &Heard<'_, D>, frozen: bool) -> Result<Var<D>, D::Err> {
        let &Heard { messages, dropout, place, .. } = heard;
        match self.dense(graph.pool(), messages.rows(), dropout, place, frozen) {
            Some(links) if !links.is_empty() => graph.run(messages, links).map(last),
            _ => Ok(messages.clone()),
        }
    }
}

/// Numbers from which on work on both tables is shared between two threads.
const WORTH_SHARING: usize = 1 << 15;

/// Does two things, side by side if they are about many numbers.
fn both(numbers: usize, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    if numbers < WORTH_SHARING {
        a();
        b();
    } else {
        rayon::join(a, b);
    }
}

/// The embeddings of pairs of a user and an item, side by side: (pairs, 2 e).
fn joined(pool: &Pool, (users, items): (&Table, &Table), pairs: (&[u32], &[u32])) -> Buffer {
    let width = users.width;
    let mut joined = pool.take(pairs.0.len() * 2 * width);
    let copy = |(row, (&user, &item)): (&mut [f32], (&u32, &u32))| {
        let (left, right) = row.split_at_mut(width);
        left.copy_from_slice(users.row(user));
        right.copy_from_slice(items.row(item));
    };
    if joined.len() < WORTH_SHARING {
        joined.chunks_exact_mut(2 * width).zip(pairs.0.iter().zip(pairs.1)).for_each(copy);
    } else {
        let pairs = pairs.0.par_iter().zip(pairs.1);
        joined.par_chunks_exact_mut(2 * width).zip(pairs).with_min_len(64).for_each(copy);
    }
    joined
}

/// Means of the residuals by index, each damped towards 0 by `damping` rows of residual 0; the means are taken off the residuals.
fn damped_means(residuals: &mut [f64], index: &[u32], rows: usize, damping: f64) -> Vec<f32> {
    let mut sums = vec![0.0f64; rows];
    let mut counts = vec![damping; rows];
    for (residual, &index) in residuals.iter().zip(index) {
        sums[index as usize] += residual;
        counts[index as usize] += 1.0;
    }
    let means: Vec<f64> = sums.iter().zip(&counts).map(|(sum, count)| if *count > 0.0 { sum / count } else { 0.0 }).collect();
    for (residual, &index) in residuals.iter_mut().zip(index) {
        *residual -= means[index as usize];
    }
    means.into_iter().map(|mean| mean as f32).collect()
}
