//! A network for a task with classes while it is trained or applied: tables on the host, dense layers on a device.
//!
//! One type for every kind, for students and teachers alike. What a batch reads of tables is one matrix, the sum of the tables' rows, so its
//! gradient is that of each of them. Whoever gives examples to a network has asked [`NetSpec::fits`] and [`NetSpec::reads`] before.

use super::inputs::{InputShape, Inputs, Pixels, Standard, Texts};
use super::spec::NetSpec;
use super::{bag, conv, encoder};
use crate::ImageShape;
use crate::error::ModelError;
use crate::graph::Graph;
use crate::models::student::Dropout;
use crate::ops::{Activation, Buffer, Layer, Link, Ops, Pool, Sequences, Var};
use crate::optim::{Group, Optimizer, Rule};
use crate::params::{LayerId, Params, VectorId};
use crate::random::Role;
use crate::table::{RowGradients, Table};
use crate::tensors::Tensors;

/// Examples that go through a network together where nothing is trained; a fixed number, so that the same examples always meet the same
/// arithmetic.
pub(crate) const CHUNK: usize = 128;

/// Where a network's weights come from.
pub(super) trait Maker {
    type Err;

    /// A dense layer. `gain` is that of fresh weights ([`Params::fresh`]).
    fn layer(&mut self, name: &str, shape: (usize, usize), gain: f32) -> Result<LayerId, Self::Err>;

    /// A vector, all of this value where it is fresh.
    fn vector(&mut self, name: &str, len: usize, value: f32) -> Result<VectorId, Self::Err>;

    /// The next table, of this standard deviation where it is fresh.
    fn table(&mut self, name: &str, shape: (usize, usize), sd: f32) -> Result<(), Self::Err>;
}

/// From random streams named by the weights.
struct Fresh<D: Ops> {
    params: Params<D>,
    tables: Vec<Table>,
    seed: u64,
}

impl<D: Ops> Maker for Fresh<D> {
    type Err = D::Err;

    fn layer(&mut self, name: &str, shape: (usize, usize), gain: f32) -> Result<LayerId, D::Err> {
        self.params.fresh(self.seed, Role::Init, name, shape, gain)
    }

    fn vector(&mut self, name: &str, len: usize, value: f32) -> Result<VectorId, D::Err> {
        self.params.vector(name, vec![value; len])
    }

    fn table(&mut self, name: &str, shape: (usize, usize), sd: f32) -> Result<(), D::Err> {
        self.tables.push(Table::fresh(name, Group::Embedding, shape, sd, self.seed));
        Ok(())
    }
}

/// From a file.
struct Stored<'a, D: Ops> {
    params: Params<D>,
    tables: Vec<Table>,
    tensors: &'a Tensors,
}

impl<D: Ops> Maker for Stored<'_, D> {
    type Err = ModelError;

    fn layer(&mut self, name: &str, (inputs, outputs): (usize, usize), _: f32) -> Result<LayerId, ModelError> {
        let weight = self.tensors.get::<f32>(&format!("{name}.weight"), &[inputs, outputs])?.to_vec();
        let bias = self.tensors.get::<f32>(&format!("{name}.bias"), &[outputs])?.to_vec();
        self.params.layer_of(name, (inputs, outputs), weight, bias).map_err(failed::<D>)
    }

    fn vector(&mut self, name: &str, len: usize, _: f32) -> Result<VectorId, ModelError> {
        let values = self.tensors.get::<f32>(name, &[len])?.to_vec();
        self.params.vector(name, values).map_err(failed::<D>)
    }

    fn table(&mut self, name: &str, (rows, width): (usize, usize), _: f32) -> Result<(), ModelError> {
        let values = self.tensors.get::<f32>(name, &[rows, width])?.to_vec();
        self.tables.push(Table::new(name, Group::Embedding, width, values));
        Ok(())
    }
}

fn failed<D: Ops>(error: D::Err) -> ModelError {
    ModelError::Device(error.to_string())
}

/// The layers below the head.
#[derive(Clone, Debug)]
enum Body {
    Bag(bag::Layers),
    Encoder(encoder::Layers),
    Conv(conv::Layers),
    /// Nothing.
    Linear,
}

impl Body {
    /// All weights of a network, in an order that is always the same, the head's last.
    fn make<M: Maker>(maker: &mut M, spec: &NetSpec, shape: &InputShape, classes: usize) -> Result<(Self, LayerId), M::Err> {
        let body = match spec {
            NetSpec::Bag(bag) => Body::Bag(bag::Layers::make(maker, bag, vocabulary(shape))?),
            NetSpec::TextTransformer(spec) => Body::Encoder(encoder::Layers::of_words(maker, spec, vocabulary(shape))?),
            NetSpec::Vit(vit) => Body::Encoder(encoder::Layers::of_patches(maker, vit, image(shape))?),
            NetSpec::Conv(conv) => Body::Conv(conv::Layers::make(maker, conv, image(shape))?),
            NetSpec::Linear(_) => Body::Linear,
        };
        let head = maker.layer("head", (spec.high_width(), classes), Activation::None.gain())?;
        Ok((body, head))
    }
}

const ASKED: &str = "`NetSpec::fits` and `NetSpec::reads` have been asked before";

fn vocabulary(shape: &InputShape) -> usize {
    let InputShape::Texts { vocabulary } = shape else { panic!("{ASKED}") };
    *vocabulary
}

fn image(shape: &InputShape) -> ImageShape {
    let InputShape::Images(image) = shape else { panic!("{ASKED}") };
    *image
}

fn texts(inputs: &Inputs) -> &Texts {
    let Inputs::Texts(texts) = inputs else { panic!("{ASKED}") };
    texts
}

fn pixels(inputs: &Inputs) -> &Pixels {
    let Inputs::Images(pixels) = inputs else { panic!("{ASKED}") };
    pixels
}

/// Where a batch's texts lie among its tokens.
fn sequences(texts: &Texts) -> Sequences {
    Sequences::new(&texts.iter().map(<[u32]>::len).collect::<Vec<usize>>())
}

/// What the layers below the head make of a batch.
pub(super) struct State<D: Ops> {
    /// (places, low width)
    pub(super) low: Var<D>,
    /// The places of each example.
    pub(super) places: Sequences,
    /// (batch, high width)
    pub(super) high: Var<D>,
}

/// A batch, forward.
#[derive(Clone, Debug)]
pub(crate) struct NetForward<D: Ops> {
    /// (places, low width): a row a token, a patch or a pixel; for a `bag` a row a text.
    pub(crate) low: Var<D>,
    /// The places of each example.
    pub(crate) places: Sequences,
    /// (batch, high width)
    pub(crate) high: Var<D>,
    /// (batch, classes): logits.
    pub(crate) output: Var<D>,
    /// The sum of the tables' rows, (rows, width), and which rows they are, of each table; none for a network without tables.
    embeddings: Option<(Var<D>, Vec<Vec<u32>>)>,
}

impl<D: Ops> NetForward<D> {
    /// The mean of the low state over the places of each example: (batch, low width). Computed when it is asked for, since most trainings
    /// do not.
    pub(crate) fn low_mean(&self, graph: &mut Graph<D>) -> Result<Var<D>, D::Err> {
        if self.places.rows() == self.places.len() {
            return Ok(self.low.clone());
        }
        graph.sequence_means(&self.low, &self.places)
    }
}

/// What a network makes of examples where nothing is trained, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NetStates {
    /// (examples, low width): means over places.
    pub(crate) low: Vec<f32>,
    /// (examples, high width)
    pub(crate) high: Vec<f32>,
    /// (examples, classes)
    pub(crate) logits: Vec<f32>,
}

/// The gradients of a network's tables, in their order.
#[derive(Debug, Default)]
pub(crate) struct TableGradients(Vec<RowGradients>);

impl TableGradients {
    /// The sum of the squares of all gradients collected.
    pub(crate) fn squares(&self) -> f64 {
        self.0.iter().map(RowGradients::squares).sum()
    }
}

/// A network on device `D`.
#[derive(Clone, Debug)]
pub(crate) struct Net<D: Ops> {
    spec: NetSpec,
    pub(crate) params: Params<D>,
    tables: Vec<Table>,
    body: Body,
    head: LayerId,
    standard: Standard,
    device: D,
    pool: Pool,
}

impl<D: Ops> Net<D> {
    /// A network with fresh weights. `shape` fits the `spec`; `standard` is that of the training examples.
    pub(crate) fn fresh(
        device: &D,
        spec: &NetSpec,
        shape: &InputShape,
        classes: usize,
        seed: u64,
        standard: Standard,
    ) -> Result<Self, D::Err> {
        assert!(standard.suits(shape), "images are standardised by what training images have");
        let mut maker = Fresh { params: Params::new(device), tables: Vec::new(), seed };
        let (body, head) = Body::make(&mut maker, spec, shape, classes)?;
        let Fresh { params, tables, .. } = maker;
        let (device, pool) = (device.clone(), Pool::default());
        Ok(Net { spec: spec.clone(), params, tables, body, head, standard, device, pool })
    }

    /// A network with the weights of `tensors`, as [`Net::export`] writes them.
    pub(crate) fn import(
        device: &D,
        spec: &NetSpec,
        shape: &InputShape,
        classes: usize,
        tensors: &Tensors,
    ) -> Result<Self, ModelError> {
        spec.check().and_then(|()| spec.fits(shape)).map_err(|error| ModelError::Config(error.to_string()))?;
        let standard = match shape {
            InputShape::Texts { .. } => Standard::default(),
            InputShape::Images(ImageShape { channels: numbers, .. }) | InputShape::Vectors { width: numbers } => Standard {
                mean: tensors.get::<f32>("standard.mean", &[*numbers])?.to_vec(),
                sd: tensors.get::<f32>("standard.sd", &[*numbers])?.to_vec(),
            },
        };
        if !standard.suits(shape) {
            let what = "images cannot be standardised by its numbers".to_owned();
            return Err(ModelError::Tensor { name: "standard.sd".to_owned(), what });
        }
        let mut maker = Stored { params: Params::new(device), tables: Vec::new(), tensors };
        let (body, head) = Body::make(&mut maker, spec, shape, classes)?;
        let Stored { params, tables, .. } = maker;
        let (device, pool) = (device.clone(), Pool::default());
        Ok(Net { spec: spec.clone(), params, tables, body, head, standard, device, pool })
    }

    /// All weights by name. Layers are stored (in, out).
    pub(crate) fn export(&mut self) -> Tensors {
        self.settle();
        let mut tensors = Tensors::default();
        if !self.standard.mean.is_empty() {
            let channels = [self.standard.mean.len()];
            tensors.put("standard.mean", &channels, self.standard.mean.clone());
            tensors.put("standard.sd", &channels, self.standard.sd.clone());
        }
        for table in &self.tables {
            tensors.put(&table.name, &[table.rows(), table.width], table.values.clone());
        }
        for param in self.params.iter() {
            // Weights are matrices; all else is a vector in files and a one-row matrix on the device.
            let shape = [param.rows, param.cols];
            let shape = if param.name.ends_with(".weight") { &shape[..] } else { &shape[1..] };
            tensors.put(&param.name, shape, param.host.clone());
        }
        tensors
    }

    /// Where it is.
    pub(crate) fn device(&self) -> D {
        self.device.clone()
    }

    /// How many numbers serving needs.
    pub(crate) fn numbers(&self) -> u64 {
        let tables: usize = self.tables.iter().map(|table| table.values.len()).sum();
        (tables + 2 * self.standard.mean.len()) as u64 + self.params.numbers()
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }

    pub(crate) fn tables_mut(&mut self) -> impl Iterator<Item = &mut Table> {
        self.tables.iter_mut()
    }

    /// Gives all weights the memory their optimiser needs.
    pub(crate) fn prepare(&mut self, optimizer: &Optimizer) {
        self.params.prepare(optimizer);
        self.tables.iter_mut().for_each(|table| table.prepare(optimizer));
    }

    /// Applies all decay that untouched rows have missed.
    pub(crate) fn settle(&mut self) {
        self.tables.iter_mut().for_each(Table::settle);
    }

    /// The last layer's weights, wanting gradients.
    pub(crate) fn head(&self) -> Layer<D> {
        self.params.layer(self.head)
    }

    /// Which rows of each table a batch reads.
    fn rows_of(&self, batch: &Inputs) -> Vec<Vec<u32>> {
        match &self.spec {
            NetSpec::Bag(_) => vec![texts(batch).ids().to_vec()],
            NetSpec::TextTransformer(_) => {
                let texts = texts(batch);
                vec![texts.ids().to_vec(), texts.iter().flat_map(|text| 0..text.len() as u32).collect()]
            }
            NetSpec::Vit(vit) => {
                let patches = encoder::patches(vit, pixels(batch).shape) as u32;
                vec![(0..batch.len()).flat_map(|_| 0..patches).collect()]
            }
            NetSpec::Conv(_) | NetSpec::Linear(_) => Vec::new(),
        }
    }

    /// A training batch, forward.
    pub(crate) fn forward(&mut self, graph: &mut Graph<D>, batch: &Inputs, dropout: &Dropout) -> Result<NetForward<D>, D::Err> {
        let rows = self.rows_of(batch);
        self.tables.iter_mut().zip(&rows).for_each(|(table, rows)| table.catch_up_rows(rows));
        self.pass(graph, batch, rows, dropout)
    }

    /// All decay of the tables' `rows` has been applied.
    fn pass(
        &self,
        graph: &mut Graph<D>,
        batch: &Inputs,
        rows: Vec<Vec<u32>>,
        dropout: &Dropout,
    ) -> Result<NetForward<D>, D::Err> {
        let embeddings = match self.tables.first() {
            Some(table) => {
                let sums = sums(graph.pool(), &self.tables, &rows);
                Some((graph.leaf(sums, rows[0].len(), table.width)?, rows))
            }
            None => None,
        };
        let State { low, places, high } = match (&self.body, &embeddings) {
            (Body::Bag(layers), Some((words, _))) => {
                layers.forward(graph, &self.params, (words, &sequences(texts(batch))), dropout)?
            }
            (Body::Encoder(layers), Some((embeddings, _))) => {
                let (tokens, patches) = match &self.spec {
                    NetSpec::Vit(vit) => {
                        let patches = self.standard.patches(graph.pool(), pixels(batch), vit.patch);
                        (Sequences::new(&vec![encoder::patches(vit, pixels(batch).shape); batch.len()]), Some(patches))
                    }
                    _ => (sequences(texts(batch)), None),
                };
                layers.forward(graph, &self.params, (embeddings, tokens), patches)?
            }
            (Body::Conv(layers), _) => layers.forward(graph, &self.params, self.standard.pixels(graph.pool(), pixels(batch)))?,
            (Body::Linear, _) => {
                let Inputs::Vectors(vectors) = batch else { panic!("{ASKED}") };
                let x = graph.constant(self.standard.vectors(graph.pool(), vectors), batch.len(), vectors.width)?;
                State { low: x.clone(), places: Sequences::new(&vec![1; batch.len()]), high: x }
            }
            (Body::Bag(_) | Body::Encoder(_), None) => unreachable!("they have tables"),
        };
        let head = self.head();
        let mask = dropout.mask(graph.pool(), "head", high.rows() * head.weight.rows());
        let output = graph.run(&high, vec![Link { mask, ..head.then(Activation::None) }])?.swap_remove(0);
        Ok(NetForward { low, places, high, output, embeddings })
    }

    /// What the layers above the low state make of messages decoded into it, in the place of an example's own rows: from (batch * tokens, low
    /// width), `tokens` for each example, to (batch, high width). A `bag` reads one for each. With `frozen` layers' weights get no gradient, and
    /// messages get theirs. `place` names the dropout streams. Asked of networks that interpret alone ([`NetSpec::interprets`]).
    pub(crate) fn interpret(
        &self,
        graph: &mut Graph<D>,
        messages: &Var<D>,
        tokens: usize,
        dropout: &Dropout,
        place: &str,
        frozen: bool,
    ) -> Result<Var<D>, D::Err> {
        match &self.body {
            Body::Bag(layers) => {
                assert_eq!(tokens, 1, "a bag's low state is one row");
                layers.above(graph, &self.params, messages, dropout, place, frozen)
            }
            Body::Encoder(layers) => {
                let sequences = Sequences::new(&vec![tokens; messages.rows() / tokens]);
                layers.above(graph, &self.params, messages, &sequences, frozen)
            }
            Body::Conv(_) | Body::Linear => panic!("`NetSpec::interprets` says that a map reads no messages"),
        }
    }

    /// Takes a batch's gradients to the host.
    pub(crate) fn collect(&mut self, forward: &NetForward<D>, gradients: &mut TableGradients) -> Result<(), D::Err> {
        gradients.0.resize_with(self.tables.len(), RowGradients::default);
        if let Some((embeddings, rows)) = &forward.embeddings {
            let zeros = || self.pool.zeros(embeddings.rows() * embeddings.cols());
            let gradient = self.device.take_gradient(&embeddings.value, &self.pool)?.unwrap_or_else(zeros);
            for ((table, rows), into) in self.tables.iter().zip(rows).zip(&mut gradients.0) {
                table.collect(into, rows, &gradient, table.width, 0);
            }
        }
        self.params.collect()
    }

    /// Moves all weights against the gradients collected.
    pub(crate) fn update(&mut self, rule: &Rule<'_>, gradients: &TableGradients) {
        self.tables.iter_mut().zip(&gradients.0).for_each(|(table, gradients)| table.update(rule, gradients));
        self.params.update(rule);
    }

    /// What it makes of examples that it can read ([`NetSpec::reads`]), without dropout. All decay must be settled.
    pub(crate) fn states(&self, inputs: &Inputs) -> Result<NetStates, D::Err> {
        let mut states = NetStates::default();
        self.each_chunk(inputs, |graph, forward| {
            states.low.extend_from_slice(&forward.low_mean(graph)?.host());
            states.high.extend_from_slice(&forward.high.host());
            states.logits.extend_from_slice(&forward.output.host());
            Ok(())
        })?;
        Ok(states)
    }

    /// The logits of examples, whatever their number, without the states that they are made of: (examples, classes).
    pub(crate) fn logits(&self, inputs: &Inputs) -> Result<Vec<f32>, D::Err> {
        let mut logits = Vec::new();
        self.each_chunk(inputs, |_, forward| {
            logits.extend_from_slice(&forward.output.host());
            Ok(())
        })?;
        Ok(logits)
    }

    fn each_chunk(
        &self,
        inputs: &Inputs,
        mut seen: impl FnMut(&mut Graph<D>, NetForward<D>) -> Result<(), D::Err>,
    ) -> Result<(), D::Err> {
        let rows: Vec<u32> = (0..inputs.len() as u32).collect();
        for rows in rows.chunks(CHUNK) {
            let batch = inputs.pick(rows);
            let mut graph = Graph::inference(&self.device, &self.pool);
            let forward = self.pass(&mut graph, &batch, self.rows_of(&batch), &Dropout::NONE)?;
            seen(&mut graph, forward)?;
        }
        Ok(())
    }
}

/// The sums of rows of tables of one width.
fn sums(pool: &Pool, tables: &[Table], rows: &[Vec<u32>]) -> Buffer {
    let width = tables[0].width;
    let mut out = pool.take(rows[0].len() * width);
    for (place, (table, rows)) in tables.iter().zip(rows).enumerate() {
        for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
            match place {
                0 => out.copy_from_slice(table.row(row)),
                _ => out.iter_mut().zip(table.row(row)).for_each(|(sum, value)| *sum += value),
            }
        }
    }
    out
}
