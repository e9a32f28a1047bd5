//! Dense layers' weights by name: on the host, where the optimiser works, and on the device, where they are used.
//!
//! A [`Params`] holds the layers of one owner (a student, or the modules of a method). Names are the tensors' names in files, and
//! name the random stream of the initial weights too. The room knows no models.

use std::sync::Arc;

use rayon::prelude::*;

use crate::ops::{Buffer, Layer, Ops, Pool, Var};
use crate::optim::{Group, Moments, Optimizer, Rule, Update, squares};
use crate::random::{Rng, Role};

/// Weights that are moved together.
const CHUNK: usize = 1 << 13;

/// One tensor of weights.
#[derive(Clone, Debug)]
pub(crate) struct Param<D: Ops> {
    pub(crate) name: String,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) host: Vec<f32>,
    pub(crate) moments: Moments,
    group: Group,
    device: D::Mat,
    /// This step's gradient, between [`Params::collect`] and [`Params::update`]; none is zeros.
    gradient: Option<Arc<Buffer>>,
}

/// Some of a tensor's weights in an update.
struct Chunk<'a> {
    update: Update,
    weights: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Chunk<'_> {
    fn apply(self) {
        self.update.apply(self.weights, self.gradients, self.first, self.second);
    }
}

/// A layer of a [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(usize);

/// A vector of a [`Params`] that belongs to no layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VectorId(usize);

/// The dense layers of one owner.
#[derive(Clone, Debug)]
pub(crate) struct Params<D: Ops> {
    device: D,
    pool: Pool,
    params: Vec<Param<D>>,
    /// Updates made so far.
    pub(crate) count: u64,
}

impl<D: Ops> Params<D> {
    pub(crate) fn new(device: &D) -> Self {
        Params { device: device.clone(), pool: Pool::default(), params: Vec::new(), count: 0 }
    }

    /// Adds a layer with fresh weights: uniform within `gain * sqrt(3 / in)`, so of standard deviation `gain / sqrt(in)`; bias 0.
    /// `gain` is sqrt(2) before a ReLU (He et al. 2015), 1 before nothing.
    pub(crate) fn fresh(
        &mut self,
        seed: u64,
        role: Role,
        name: &str,
        (inputs, outputs): (usize, usize),
        gain: f32,
    ) -> Result<LayerId, D::Err> {
        let bound = gain * (3.0 / inputs as f32).sqrt();
        let mut rng = Rng::stream(seed, role, &format!("{name}.weight"), 0);
        let weight = (0..inputs * outputs).map(|_| rng.symmetric(bound)).collect();
        self.layer_of(name, (inputs, outputs), weight, vec![0.0; outputs])
    }

    /// Adds a layer with given weights: `weight` (in, out) row-major, `bias` (out).
    pub(crate) fn layer_of(
        &mut self,
        name: &str,
        (inputs, outputs): (usize, usize),
        weight: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<LayerId, D::Err> {
        let id = LayerId(self.params.len());
        self.push(format!("{name}.weight"), Group::Weight, inputs, outputs, weight)?;
        self.push(format!("{name}.bias"), Group::LayerBias, 1, outputs, bias)?;
        Ok(id)
    }

    /// Adds a vector that is trained as bias terms of layers are.
    pub(crate) fn vector(&mut self, name: &str, values: Vec<f32>) -> Result<VectorId, D::Err> {
        let id = VectorId(self.params.len());
        self.push(name.to_owned(), Group::LayerBias, 1, values.len(), values)?;
        Ok(id)
    }

    /// The vector on the device (1, numbers), wanting its gradient.
    pub(crate) fn vector_var(&self, id: VectorId) -> Var<D> {
        Var { value: self.params[id.0].device.clone(), wanted: true }
    }

    fn push(&mut self, name: String, group: Group, rows: usize, cols: usize, host: Vec<f32>) -> Result<(), D::Err> {
        let device = self.device.matrix(self.pool.copy(&host), rows, cols)?;
        self.params.push(Param { name, rows, cols, host, moments: Moments::default(), group, device, gradient: None });
        Ok(())
    }

    /// The layer's weights on the device, wanting gradients.
    pub(crate) fn layer(&self, id: LayerId) -> Layer<D> {
        let var = |index: usize| Var { value: self.params[index].device.clone(), wanted: true };
        Layer { weight: var(id.0), bias: var(id.0 + 1) }
    }

    /// All tensors, in the order of their making.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Param<D>> {
        self.params.iter()
    }

    /// How many numbers they are.
    pub(crate) fn numbers(&self) -> u64 {
        self.params.iter().map(|param| param.host.len() as u64).sum()
    }

    /// How many numbers each owner of layers has: `a.b.0.weight` belongs to `a.b`, `c.weight` to `c`.
    pub(crate) fn numbers_by_owner(&self) -> Vec<(String, u64)> {
        let mut owners: Vec<(String, u64)> = Vec::new();
        for param in &self.params {
            let layer = param.name.rsplit_once('.').map_or(param.name.as_str(), |(layer, _)| layer);
            let owner = layer.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
            match owners.last_mut().filter(|(last, _)| last == owner) {
                Some((_, numbers)) => *numbers += param.host.len() as u64,
                None => owners.push((owner.to_owned(), param.host.len() as u64)),
            }
        }
        owners
    }

    /// Gives every tensor the memory its optimiser needs.
    pub(crate) fn prepare(&mut self, optimizer: &Optimizer) {
        for param in &mut self.params {
            param.moments = optimizer.moments(param.host.len());
        }
    }

    /// Takes this step's gradients to the host.
    pub(crate) fn collect(&mut self) -> Result<(), D::Err> {
        for param in &mut self.params {
            param.gradient = self.device.take_gradient(&param.device, &self.pool)?.map(Arc::new);
        }
        Ok(())
    }

    /// The sum of the squares of all gradients collected.
    pub(crate) fn squares(&self) -> f64 {
        self.params.iter().filter_map(|param| param.gradient.as_ref()).map(|gradient| squares(gradient)).sum()
    }

    /// The gradients collected, by name.
    #[cfg(test)]
    pub(crate) fn gradients(&self) -> impl Iterator<Item = (&str, Vec<f32>)> {
        let gradient = |param: &Param<D>| param.gradient.as_ref().map_or_else(|| vec![0.0; param.host.len()], |g| g.to_vec());
        self.params.iter().map(move |param| (param.name.as_str(), gradient(param)))
    }

    /// Moves the weights against the gradients collected.
    pub(crate) fn update(&mut self, rule: &Rule<'_>) {
        self.count += 1;
        let pool = &self.pool;
        let zeros = |param: &mut Param<D>| {
            let len = param.host.len();
            param.gradient.take().unwrap_or_else(|| Arc::new(pool.zeros(len)))
        };
        let gradients: Vec<Arc<Buffer>> = self.params.iter_mut().map(zeros).collect();
        let mut chunks = Vec::new();
        for (param, gradient) in self.params.iter_mut().zip(&gradients) {
            let update = rule.at(self.count, rule.shrink(param.group) as f32);
            let Moments { first, second } = &mut param.moments;
            let (mut first, mut second) = (first.chunks_mut(CHUNK), second.chunks_mut(CHUNK));
            for (weights, gradients) in param.host.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)) {
                let (first, second) = (first.next().unwrap_or_default(), second.next().unwrap_or_default());
                chunks.push(Chunk { update, weights, gradients, first, second });
            }
        }
        // Sharing out a few chunks costs more than it gains.
        if chunks.len() < 8 {
            chunks.into_iter().for_each(Chunk::apply);
        } else {
            chunks.into_par_iter().for_each(Chunk::apply);
        }
        for param in &mut self.params {
            self.device.overwrite(&mut param.device, &param.host, &self.pool);
        }
    }

    /// Overwrites the host's numbers through `read`, and the device's with them.
    pub(crate) fn overwrite<E>(&mut self, mut read: impl FnMut(&mut Param<D>) -> Result<(), E>) -> Result<(), E> {
        for param in &mut self.params {
            read(param)?;
            self.device.overwrite(&mut param.device, &param.host, &self.pool);
        }
        Ok(())
    }
}
