//! The task of classes: examples with labels, as the trainer takes them, and a network trained on them.
//!
//! Epochs are judged by the share of validation rows that are taken for another class than their own.

use serde::{Deserialize, Serialize};

use super::inputs::{InputShape, Inputs, Pixels, Standard, Vectors};
use super::model::Classifier;
use super::net::{Net, NetForward, TableGradients};
use super::spec::NetSpec;
use super::words::Words;
use crate::augment::Augment;
use crate::batches::{batches, order};
use crate::config::TrainConfig;
use crate::device::{DeviceKind, failed};
use crate::error::{ModelError, TrainError};
use crate::graph::Graph;
use crate::io::TrainIo;
use crate::losses::{log_softmax, softmax};
use crate::models::ModelSpec;
use crate::models::student::Dropout;
use crate::monitor::Monitor;
use crate::ops::{Layer, Link, Ops, Pool, Var};
use crate::optim::Rule;
use crate::params::Params;
use crate::stream::{RowFeatures, Shard, Stream};
use crate::table::Table;
use crate::task::{Body, Deep, Forward, Heard, Interpreter, Judged, Measure, Sample, Sizes, Targets, Task};
use crate::teacher::TeacherView;
use crate::tensors::Tensors;
use crate::trainer::{Trained, train_task};

/// Examples with their classes; of each list one entry a row.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassExamples {
    /// The row's id in the data set, by which a teacher's features are found.
    pub row: Vec<u32>,
    /// The class, counted from 0.
    pub label: Vec<u32>,
    /// What is read.
    pub inputs: Inputs,
}

/// Where examples are.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// In memory.
    Memory(&'a Inputs),
    /// Read when they are needed, in the order of their rows.
    Stream(&'a Stream),
}

/// Rows with their classes; of each list one entry a row.
#[derive(Clone, Copy, Debug)]
pub struct ClassPart<'a> {
    /// The row's id in the data set.
    pub row: &'a [u32],
    /// The class, counted from 0.
    pub label: &'a [u32],
    /// What is read.
    pub inputs: Source<'a>,
}

impl ClassExamples {
    /// The same, as a training takes it.
    pub fn part(&self) -> ClassPart<'_> {
        ClassPart { row: &self.row, label: &self.label, inputs: Source::Memory(&self.inputs) }
    }
}

impl Source<'_> {
    fn len(self) -> usize {
        match self {
            Source::Memory(inputs) => inputs.len(),
            Source::Stream(stream) => stream.rows(),
        }
    }

    /// Hands all examples on in pieces, each with the place of its first.
    fn each(self, mut read: impl FnMut(usize, &Inputs) -> Result<(), TrainError>) -> Result<(), TrainError> {
        match self {
            Source::Memory(inputs) => read(0, inputs),
            Source::Stream(stream) => stream.each().try_for_each(|shard| {
                let (start, shard) = shard?;
                read(start, &shard.inputs)
            }),
        }
    }
}

/// What a training of classes reads.
#[derive(Clone, Copy, Debug)]
pub struct ClassData<'a> {
    /// Rows that weights are fitted to.
    pub train: ClassPart<'a>,
    /// Rows that epochs are judged by.
    pub validation: ClassPart<'a>,
    /// What images and vectors are standardised by: [`Standard::of`] the training examples, or [`Standard::of_stream`].
    pub standard: &'a Standard,
    /// What all examples have in common.
    pub shape: InputShape,
    /// How many classes there are.
    pub classes: usize,
    /// The words of texts, which the model keeps; empty for what is no text.
    pub words: &'a Words,
    /// What is done to images before they are learnt from.
    pub augment: Augment,
}

/// Trains a model of classes.
///
/// # Errors
/// As [`train`](crate::train).
pub fn train_classes(
    config: &TrainConfig,
    data: &ClassData<'_>,
    teacher: Option<TeacherView<'_>>,
    device: DeviceKind,
    io: &mut dyn TrainIo,
) -> Result<Trained<Classifier>, TrainError> {
    train_task(config, data, teacher, device, io)
}

/// The network that a task of classes is about; none where the model is one of ratings.
fn net(spec: &ModelSpec) -> Option<&NetSpec> {
    match spec {
        ModelSpec::Net(net) => Some(net),
        ModelSpec::Ncf(_) | ModelSpec::Mf(_) | ModelSpec::Bias(_) => None,
    }
}

const CHECKED: &str = "`Task::check` has been asked before";

/// Examples of a batch.
#[derive(Default)]
pub(crate) struct Picked {
    pub(super) inputs: Option<Inputs>,
    labels: Vec<u32>,
    features: Option<RowFeatures>,
}

/// A batch, forward.
pub(crate) struct ClassForward<D: Ops> {
    net: NetForward<D>,
    seen: Forward<D>,
}

impl Task for ClassData<'_> {
    type Batch = Picked;
    type Body<D: Ops> = ClassBody<D>;
    type Model = Classifier;

    fn check(&self, config: &TrainConfig) -> Result<(), TrainError> {
        let wrong = |what: String, advice| Err(TrainError::Data { what, advice });
        let Some(net) = net(&config.model) else {
            return wrong(
                format!("a model `{}` predicts ratings, and these rows have classes", config.model.name()),
                "take a network",
            );
        };
        if self.classes < 2 {
            return wrong(format!("there are {} classes", self.classes), "give rows of two classes at least");
        }
        net.fits(&self.shape)?;
        for (name, examples) in [("train", self.train), ("validation", self.validation)] {
            let rows = examples.row.len();
            if rows == 0 {
                return wrong(format!("there are no {name} rows"), "choose rows that are there in every part, or another split");
            }
            if [examples.label.len(), examples.inputs.len()] != [rows; 2] {
                return wrong(format!("the {name} rows differ in number"), "give each row an id, a label and an example");
            }
            if examples.label.iter().any(|label| *label as usize >= self.classes) {
                return wrong(format!("a {name} row has a label beyond the {} classes", self.classes), "count classes from 0");
            }
            // What streams by is looked at as it does.
            if let Source::Memory(inputs) = examples.inputs {
                net.reads(&self.shape, inputs)?;
            }
        }
        if !self.standard.suits(&self.shape) {
            return wrong(
                "examples cannot be standardised by the numbers given".to_owned(),
                "take those of the training examples",
            );
        }
        if let InputShape::Texts { vocabulary } = self.shape
            && vocabulary != self.words.vocabulary()
        {
            let what = format!("texts of {vocabulary} ids, and {} words", self.words.vocabulary());
            return wrong(what, "encode texts by the words that are given");
        }
        if !self.augment.is_none() && !matches!(self.shape, InputShape::Images(_)) {
            return wrong("what is no image cannot be mirrored or cut as images are".to_owned(), "leave augmentation out");
        }
        // A correlation is refused for small batches; so are so few rows that they make no larger one.
        let smallest = self.train.row.len() / batches(self.train.row.len(), config.batch);
        config.method.check(&config.model, None, smallest)?;
        Ok(())
    }

    fn measure(&self) -> Measure {
        Measure::Error
    }

    fn train_rows(&self) -> &[u32] {
        self.train.row
    }

    fn outputs(&self) -> usize {
        self.classes
    }

    fn words(&self, column: &mut dyn FnMut(&mut dyn Iterator<Item = u32>)) {
        for ClassPart { row, label, inputs } in [self.train, self.validation] {
            column(&mut row.iter().copied());
            column(&mut label.iter().copied());
            let inputs = match inputs {
                Source::Memory(inputs) => inputs,
                Source::Stream(stream) => {
                    column(&mut stream.words());
                    continue;
                }
            };
            match inputs {
                Inputs::Texts(texts) => {
                    column(&mut texts.iter().map(|text| text.len() as u32));
                    column(&mut texts.ids().iter().copied());
                }
                Inputs::Images(Pixels { shape, bytes }) => {
                    column(&mut [shape.channels, shape.height, shape.width].map(|side| side as u32).into_iter());
                    column(&mut bytes.iter().map(|byte| u32::from(*byte)));
                }
                Inputs::Vectors(vectors) => column(&mut vectors.values.iter().map(|value| value.to_bits())),
            }
        }
        let Augment { flip, padding } = self.augment;
        column(&mut [self.classes as u32, u32::from(flip), padding as u32].into_iter());
    }

    fn columns(&self, _: &ModelSpec) -> Vec<&'static str> {
        vec!["validation_error", "validation_nll", "deep_sd"]
    }

    fn fresh<D: Ops>(&self, device: &D, spec: &ModelSpec, seed: u64) -> Result<ClassBody<D>, D::Err> {
        let net = net(spec).expect(CHECKED);
        let net = Net::fresh(device, net, &self.shape, self.classes, seed, self.standard.clone())?;
        Ok(ClassBody { spec: spec.clone(), net })
    }

    fn import<D: Ops>(&self, device: &D, spec: &ModelSpec, weights: &Tensors) -> Result<ClassBody<D>, ModelError> {
        let net = net(spec).expect(CHECKED);
        Ok(ClassBody { spec: spec.clone(), net: Net::import(device, net, &self.shape, self.classes, weights)? })
    }

    fn order(&self, seed: u64, epoch: usize) -> Vec<u32> {
        match self.train.inputs {
            Source::Memory(inputs) => order(seed, epoch, inputs.len()),
            Source::Stream(stream) => stream.order(seed, epoch),
        }
    }

    fn features(batch: &Picked) -> Option<&RowFeatures> {
        batch.features.as_ref()
    }

    fn pick(&self, spec: &ModelSpec, places: &[u32], (seed, epoch): (u64, usize), batch: &mut Picked) -> Result<(), TrainError> {
        let mut inputs = match self.train.inputs {
            Source::Memory(inputs) => inputs.pick(places),
            Source::Stream(stream) => {
                let Shard { inputs, features } = stream.take(places, seed, epoch)?;
                net(spec).expect(CHECKED).reads(&self.shape, &inputs)?;
                batch.features = Some(features);
                inputs
            }
        };
        if let Inputs::Images(Pixels { shape, bytes }) = &mut inputs {
            let rows: Vec<u32> = places.iter().map(|&place| self.train.row[place as usize]).collect();
            self.augment.apply(bytes, &rows, *shape, seed, epoch as u64)?;
        }
        batch.inputs = Some(inputs);
        crate::data::pick(self.train.label, places, &mut batch.labels);
        Ok(())
    }

    fn targets(batch: &Picked) -> Targets<'_> {
        Targets::Classes(&batch.labels)
    }

    fn judge<D: Ops>(&self, body: &ClassBody<D>) -> Result<Judged, TrainError> {
        let ClassPart { label, inputs, .. } = self.validation;
        let (mut wrong, mut nll, mut not_finite) = (0, 0.0, None);
        let mut spread = Spread::new(self.classes);
        inputs.each(|start, inputs| {
            net(&body.spec).expect(CHECKED).reads(&self.shape, inputs)?;
            let logits = body.net.logits(inputs).map_err(failed::<D>)?;
            not_finite = not_finite.or_else(|| logits.iter().copied().find(|logit| !logit.is_finite()));
            for (row, &label) in logits.chunks_exact(self.classes).zip(&label[start..]) {
                wrong += usize::from(highest(row) != label as usize);
                nll -= log_softmax(row, 1.0)[label as usize];
                spread.add(row);
            }
            Ok(())
        })?;
        let count = label.len() as f64;
        let error = wrong as f64 / count;
        let monitor = Monitor::of_classes(&spread);
        let deep_sd = monitor.deep_sd.unwrap_or(0.0);
        Ok(Judged { error, columns: vec![error, nll / count, deep_sd], monitor, not_finite })
    }

    fn model(&self, spec: ModelSpec, weights: Tensors) -> Result<Classifier, ModelError> {
        let net = net(&spec).expect(CHECKED).clone();
        Classifier::new(net, self.shape, self.classes, self.words.clone(), weights)
    }

    fn sizes(&self, spec: &ModelSpec) -> Sizes {
        let net = net(spec).expect(CHECKED);
        let rows = [self.train, self.validation].map(|part| part.row.len() as u64);
        let held = |part: ClassPart<'_>| match part.inputs {
            Source::Memory(inputs) => numbers(inputs),
            Source::Stream(stream) => {
                let (shard, buffer) = stream.held();
                numbers_a_row(part.inputs) * (shard + buffer) as u64
            }
        };
        let read = numbers_a_row(self.train.inputs);
        let mut sizes = Sizes {
            read: read + 1,
            data: rows.iter().map(|rows| 2 * rows).sum::<u64>() + rows[0] + held(self.train) + held(self.validation),
            validated: rows[1].min(super::net::CHUNK as u64),
            ..Sizes::default()
        };
        for (place, (rows, width)) in net.tables(&self.shape).into_iter().enumerate() {
            sizes.tables += (rows * width) as u64;
            sizes.touched[place] = (rows as u64, width as u64);
            sizes.looked_up[place] = if matches!(self.shape, InputShape::Texts { .. }) { read } else { rows as u64 };
        }
        sizes
    }

    /// The first training row; of texts one of the mean length, rounded up.
    fn sample<D: Ops>(&self, device: &D, spec: &ModelSpec, seed: u64) -> Result<Sample<D, Self>, D::Err> {
        let zeros = |bytes: usize| vec![0; bytes];
        let inputs = match self.shape {
            InputShape::Texts { .. } => {
                let mean = numbers_a_row(self.train.inputs) as usize;
                Inputs::Texts([vec![Words::UNKNOWN; mean]].into_iter().collect())
            }
            InputShape::Images(shape) => Inputs::Images(Pixels { shape, bytes: zeros(shape.bytes()) }),
            InputShape::Vectors { width } => Inputs::Vectors(Vectors { width, values: vec![0.0; width] }),
        };
        Ok((self.fresh(device, spec, seed)?, Picked { inputs: Some(inputs), labels: vec![0], features: None }))
    }
}

/// Numbers of examples as they are held; four bytes of an image are one.
fn numbers(inputs: &Inputs) -> u64 {
    match inputs {
        Inputs::Texts(texts) => texts.ids().len() as u64,
        Inputs::Images(pixels) => pixels.bytes.len() as u64 / 4,
        Inputs::Vectors(vectors) => vectors.values.len() as u64,
    }
}

/// The mean a row, rounded up; of what streams by that of the first shard.
fn numbers_a_row(source: Source<'_>) -> u64 {
    match source {
        Source::Memory(inputs) => numbers(inputs).div_ceil(inputs.len().max(1) as u64),
        // What cannot be read is told when it is learnt from.
        Source::Stream(stream) => match stream.each().next() {
            Some(Ok((_, shard))) => numbers(&shard.inputs).div_ceil(shard.inputs.len().max(1) as u64),
            _ => 1,
        },
    }
}

/// The class with the highest logit; of several the first.
pub(crate) fn highest(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = class;
        }
    }
    best
}

/// How far the probabilities of each class spread over rows: sums, for which no row has to be kept.
struct Spread {
    rows: usize,
    /// Of each class the sum, and the sum of squares, both less 1 / classes.
    sums: Vec<(f64, f64)>,
}

impl Spread {
    fn new(classes: usize) -> Self {
        Spread { rows: 0, sums: vec![(0.0, 0.0); classes] }
    }

    fn add(&mut self, logits: &[f32]) {
        self.rows += 1;
        let even = 1.0 / logits.len() as f64;
        for ((sum, squares), p) in self.sums.iter_mut().zip(softmax(logits, 1.0)) {
            *sum += p - even;
            *squares += (p - even).powi(2);
        }
    }

    /// The root of the mean of the classes' variances.
    fn sd(&self) -> f64 {
        let rows = self.rows as f64;
        let variances = self.sums.iter().map(|(sum, squares)| (squares / rows - (sum / rows).powi(2)).max(0.0));
        (variances.sum::<f64>() / self.sums.len() as f64).sqrt()
    }
}

impl Monitor {
    /// Looks at how predictions of validation rows spread: a model that says the same of every row has collapsed.
    fn of_classes(spread: &Spread) -> Self {
        let sd = spread.sd();
        Monitor {
            deep_sd: Some(sd),
            collapsed: Some(sd <= crate::monitor::COLLAPSED),
            validation_rows: spread.rows,
            ..Monitor::default()
        }
    }
}

/// A network in training.
#[derive(Clone)]
pub(crate) struct ClassBody<D: Ops> {
    spec: ModelSpec,
    net: Net<D>,
}

impl<D: Ops> Body<D> for ClassBody<D> {
    type Batch = Picked;
    type Forward = ClassForward<D>;
    type Gradients = TableGradients;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn params(&self) -> &Params<D> {
        &self.net.params
    }

    fn params_mut(&mut self) -> &mut Params<D> {
        &mut self.net.params
    }

    fn tables(&self) -> Vec<&Table> {
        self.net.tables().collect()
    }

    fn tables_mut(&mut self) -> Vec<&mut Table> {
        self.net.tables_mut().collect()
    }

    fn export(&mut self) -> Tensors {
        self.net.export()
    }

    fn numbers(&self) -> u64 {
        self.net.numbers()
    }

    fn forward(&mut self, graph: &mut Graph<D>, batch: &Picked, dropout: &Dropout) -> Result<ClassForward<D>, D::Err> {
        let inputs = batch.inputs.as_ref().expect("a batch has been picked");
        let net = self.net.forward(graph, inputs, dropout)?;
        let deep = Deep { low: net.low_mean(graph)?, high: net.high.clone(), output: net.output.clone() };
        let seen = Forward { embeddings: None, wide: None, output: net.output.clone(), deep: Some(deep) };
        Ok(ClassForward { net, seen })
    }

    fn seen(forward: &ClassForward<D>) -> &Forward<D> {
        &forward.seen
    }

    fn collect(&mut self, forward: &ClassForward<D>, _: &Picked, tables: &mut TableGradients) -> Result<(), D::Err> {
        self.net.collect(&forward.net, tables)
    }

    fn squares(tables: &TableGradients) -> f64 {
        tables.squares()
    }

    fn update(&mut self, rule: &Rule<'_>, tables: &TableGradients) {
        self.net.update(rule, tables);
    }
}

impl<D: Ops> Interpreter<D> for ClassBody<D> {
    fn head(&self) -> Option<Layer<D>> {
        Some(self.net.head())
    }

    fn dense(&self, _: &Pool, _: usize, _: &Dropout, _: &str, _: bool) -> Option<Vec<Link<D>>> {
        None
    }

    fn interpret(&self, graph: &mut Graph<D>, heard: &Heard<'_, D>, frozen: bool) -> Result<Var<D>, D::Err> {
        let &Heard { messages, tokens, dropout, place } = heard;
        // A vector that is decoded from a whole message is one.
        let tokens = if self.spec.low_is_sequence() { tokens } else { 1 };
        self.net.interpret(graph, messages, tokens, dropout, place, frozen)
    }
}

/// What a saved classifier says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassifierConfig {
    pub(super) format: u32,
    pub(super) model: NetSpec,
    pub(super) shape: InputShape,
    pub(super) classes: usize,
    /// In the order of their ids, from 1.
    pub(super) words: Vec<String>,
}
