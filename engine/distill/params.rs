//! Dense layers' weights by name: on the host, where the optimiser works, and on the device, where they are used.
//!
//! A [`Params`] holds the layers of one owner (a student, or the modules of a method). Names are the tensors' names in files, and
//! name the random stream of the initial weights too. The room knows no models.

use dfdx::tensor::Gradients;

use crate::ops::{Layer, Mat, Ops, Var};
use crate::optim::{Group, Moments, Optimizer, Rule, squares};
use crate::random::{Rng, Role};

/// One tensor of weights.
#[derive(Clone, Debug)]
pub(crate) struct Param<D: Ops> {
    pub(crate) name: String,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) host: Vec<f32>,
    pub(crate) moments: Moments,
    group: Group,
    device: Mat<D>,
    /// This step's gradient, between [`Params::collect`] and [`Params::update`].
    gradient: Vec<f32>,
}

/// A layer of a [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(usize);

/// The dense layers of one owner.
#[derive(Clone, Debug)]
pub(crate) struct Params<D: Ops> {
    device: D,
    params: Vec<Param<D>>,
    /// Updates made so far.
    pub(crate) count: u64,
}

impl<D: Ops> Params<D> {
    pub(crate) fn new(device: &D) -> Self {
        Params { device: device.clone(), params: Vec::new(), count: 0 }
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

    fn push(&mut self, name: String, group: Group, rows: usize, cols: usize, host: Vec<f32>) -> Result<(), D::Err> {
        let device = self.device.try_tensor_from_vec(host.clone(), (rows, cols))?;
        self.params.push(Param { name, rows, cols, host, moments: Moments::default(), group, device, gradient: Vec::new() });
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
    pub(crate) fn collect(&mut self, gradients: &mut Gradients<f32, D>) -> Result<(), D::Err> {
        for param in &mut self.params {
            param.gradient = self.device.take_gradient(gradients, &param.device)?;
        }
        Ok(())
    }

    /// The sum of the squares of all gradients collected.
    pub(crate) fn squares(&self) -> f64 {
        self.params.iter().map(|param| squares(&param.gradient)).sum()
    }

    /// The gradients collected, by name.
    #[cfg(test)]
    pub(crate) fn gradients(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.params.iter().map(|param| (param.name.as_str(), param.gradient.as_slice()))
    }

    /// Moves the weights against the gradients collected.
    pub(crate) fn update(&mut self, rule: &Rule<'_>) {
        self.count += 1;
        for param in &mut self.params {
            let update = rule.at(self.count, rule.shrink(param.group) as f32);
            let Moments { first, second } = &mut param.moments;
            update.apply(&mut param.host, &param.gradient, first, second);
            param.device.copy_from(&param.host);
        }
    }

    /// Overwrites the host's numbers through `read`, and the device's with them.
    pub(crate) fn overwrite<E>(&mut self, mut read: impl FnMut(&mut Param<D>) -> Result<(), E>) -> Result<(), E> {
        for param in &mut self.params {
            read(param)?;
            param.device.copy_from(&param.host);
        }
        Ok(())
    }
}
