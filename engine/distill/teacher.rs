//! What a student sees of its teacher: cached functions of a row, their statistics, and the weights of the upper layers.
//!
//! The teacher's embeddings, low state, high state and prediction depend on the row alone, so they are computed once and looked up by row id.
//! What depends on the student's messages cannot be cached: for that the layers above the low state are loaded, and only
//! those; the embedding tables and the first layer stay on disk. The room knows no methods.

use std::collections::HashMap;
use std::io::{Read, Seek};
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{ModelError, TrainError};
use crate::graph::Graph;
use crate::models::ModelSpec;
use crate::ops::{Buffer, Layer, Ops, Pool, Sequences, Var};
use crate::stream::RowFeatures;
use crate::task::Task;
use crate::tensors::Tensors;
use crate::transformer::{Pooling, Stack, TransformerUpper};

/// A teacher's cached states: one row of `width` numbers for each entry of [`TeacherView::row`], with their statistics.
#[derive(Clone, Copy, Debug)]
pub struct States<'a> {
    /// Numbers in a state.
    pub width: usize,
    /// (rows, width), row-major.
    pub values: &'a [f32],
    /// Variance of each dimension, as [`variances`] computes it over whatever rows the cache was made from.
    pub variance: &'a [f32],
}

/// The tokens of a teacher's low states, sequence after sequence.
#[derive(Clone, Copy, Debug)]
pub struct TokenStates<'a> {
    /// Numbers in a token.
    pub width: usize,
    /// Where each row's tokens begin, in tokens, and behind the last: one more than there are rows.
    pub starts: &'a [usize],
    /// (tokens, width), row-major.
    pub values: &'a [f32],
}

/// What the ids of [`TeacherView::row`] are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Row ids: features are functions of the row.
    #[default]
    Row,
    /// Items: features are functions of the item alone, so that all rows of an item share them.
    Item,
}

impl By {
    fn noun(self, id: u32) -> String {
        match self {
            By::Row => format!("row {id}"),
            By::Item => format!("the item {id}"),
        }
    }

    /// The ids by which the features of each training row are found.
    pub(crate) fn ids<T: Task>(self, data: &T) -> Result<&[u32], TrainError> {
        match self {
            By::Row => Ok(data.train_rows()),
            By::Item => data.train_items().ok_or_else(|| TrainError::Teacher {
                what: "its features are those of items, and examples with classes have none".to_owned(),
                advice: "cache its features of the examples",
            }),
        }
    }
}

/// What a method may see of a teacher. Whatever its [`needs`](crate::Method::needs) do not name may be left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct TeacherView<'a> {
    /// Row ids of the cached features, in any order, each at most once; or items.
    pub row: &'a [u32],
    /// Which of the two.
    pub by: By,
    /// Whether features come with the rows of a [`Stream`](crate::Stream): then there are no rows here, and of states width and variance alone.
    pub streams: bool,
    /// Low states.
    pub low: Option<States<'a>>,
    /// High states.
    pub high: Option<States<'a>>,
    /// Embeddings: the user's, then the item's.
    pub embeddings: Option<States<'a>>,
    /// The tokens of low states, of a teacher that reads sequences.
    pub tokens: Option<TokenStates<'a>>,
    /// (rows, outputs): predictions, clipped to the rating scale or not as the cache has them, or logits of classes.
    pub output: Option<&'a [f32]>,
    /// The layers between the low and the high state.
    pub upper: Option<&'a TeacherUpper>,
}

/// What a method needs of its teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TeacherNeeds {
    /// Cached low states of the training rows.
    pub low: bool,
    /// Cached high states of the training rows.
    pub high: bool,
    /// Cached embeddings of the training rows' users and items.
    pub embeddings: bool,
    /// Cached tokens of the training rows' low states.
    pub tokens: bool,
    /// Cached predictions of the training rows.
    pub output: bool,
    /// The weights of the layers between the low and the high state.
    pub upper_layers: bool,
}

impl TeacherNeeds {
    /// Nothing.
    pub(crate) const NONE: Self =
        TeacherNeeds { low: false, high: false, embeddings: false, tokens: false, output: false, upper_layers: false };

    /// Whether there must be a teacher at all.
    pub fn any(self) -> bool {
        self.cached() || self.upper_layers
    }

    /// Whether anything has to be cached.
    pub fn cached(self) -> bool {
        self.low || self.high || self.embeddings || self.tokens || self.output
    }

    /// Refuses a teacher that lacks any of it.
    pub(crate) fn check(self, teacher: &TeacherView<'_>) -> Result<(), TrainError> {
        for (needed, there, what) in [
            (self.low, teacher.low.is_some(), "low states"),
            (self.high, teacher.high.is_some(), "high states"),
            (self.embeddings, teacher.embeddings.is_some(), "embeddings"),
            (self.tokens, teacher.tokens.is_some(), "tokens of low states"),
            (self.output, teacher.output.is_some(), "predictions"),
            (self.upper_layers, teacher.upper.is_some(), "upper layers"),
        ] {
            if needed && !there {
                return Err(missing(what));
            }
        }
        Ok(())
    }
}

/// A teacher that lacks what the method needs.
pub(crate) fn missing(what: &'static str) -> TrainError {
    TrainError::Teacher {
        what: format!("the {what} that the method needs are not there"),
        advice: "give training everything that `Method::needs` names",
    }
}

/// The mean of each of `width` dimensions over rows of states, in double precision.
pub fn means(values: &[f32], width: usize) -> Vec<f32> {
    let (mean, _) = moments(values, width);
    mean.into_iter().map(|mean| mean as f32).collect()
}

/// The variance (divisor n) of each of `width` dimensions over rows of states, in double precision.
pub fn variances(values: &[f32], width: usize) -> Vec<f32> {
    let (_, variance) = moments(values, width);
    variance.into_iter().map(|variance| variance as f32).collect()
}

/// Mean and variance of each dimension.
pub(crate) fn moments(values: &[f32], width: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = (values.len() / width).max(1) as f64;
    let mut mean = vec![0.0f64; width];
    for row in values.chunks_exact(width) {
        for (mean, &value) in mean.iter_mut().zip(row) {
            *mean += f64::from(value);
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= rows);
    let mut variance = vec![0.0f64; width];
    for row in values.chunks_exact(width) {
        for ((variance, mean), &value) in variance.iter_mut().zip(&mean).zip(row) {
            *variance += (f64::from(value) - mean).powi(2);
        }
    }
    variance.iter_mut().for_each(|variance| *variance /= rows);
    (mean, variance)
}

/// What is known of a teacher before it is opened.
#[derive(Clone, Debug, PartialEq)]
pub enum TeacherSpec {
    /// A model that was trained here.
    Trained(ModelSpec),
    /// A frozen transformer.
    Encoder {
        /// Numbers in each of its states.
        width: usize,
        /// Its layers.
        layers: usize,
    },
}

impl From<ModelSpec> for TeacherSpec {
    fn from(spec: ModelSpec) -> Self {
        TeacherSpec::Trained(spec)
    }
}

impl TeacherSpec {
    /// The kind's name.
    pub fn name(&self) -> &'static str {
        match self {
            TeacherSpec::Trained(spec) => spec.name(),
            TeacherSpec::Encoder { .. } => "encoder",
        }
    }

    /// How many layers a talk counts: one below the low state, and those above it.
    pub fn hidden_layers(&self) -> usize {
        match self {
            TeacherSpec::Trained(spec) => spec.hidden_layers(),
            TeacherSpec::Encoder { layers, .. } => layers + 1,
        }
    }

    /// The width of the high state.
    pub fn high_width(&self) -> Option<usize> {
        match self {
            TeacherSpec::Trained(spec) => spec.high_width(),
            TeacherSpec::Encoder { width, .. } => Some(*width),
        }
    }

    /// The width of the embeddings of users and items.
    pub fn embedding(&self) -> Option<usize> {
        match self {
            TeacherSpec::Trained(spec) => spec.embedding(),
            TeacherSpec::Encoder { .. } => None,
        }
    }

    /// Whether its low state is a sequence of tokens.
    pub fn reads_sequences(&self) -> bool {
        match self {
            TeacherSpec::Trained(spec) => spec.low_is_sequence(),
            TeacherSpec::Encoder { .. } => true,
        }
    }
}

/// The teacher's layers between its low and its high state, frozen.
#[derive(Clone, Debug)]
pub struct TeacherUpper(Layers);

#[derive(Clone, Debug)]
enum Layers {
    Dense(Vec<UpperLayer>),
    Encoder { layers: Arc<TransformerUpper>, pooling: Pooling },
}

#[derive(Clone, Debug, PartialEq)]
struct UpperLayer {
    inputs: usize,
    outputs: usize,
    /// (in, out)
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl TeacherUpper {
    /// Loads the upper layers, and nothing else, from a model's weights and configuration: of the weights' file only the header and
    /// these layers are read.
    ///
    /// # Errors
    /// [`ModelError`] where the files do not fit together, or the model has no layers between its low and its high state.
    pub fn load(weights: impl Read + Seek, config: &serde_json::Value) -> Result<Self, ModelError> {
        let config = crate::model::ModelConfig::read(config)?;
        let ModelSpec::Ncf(ncf) = &config.model else {
            return Err(ModelError::Unsupported(format!(
                "a `{}` teacher has no layers between its low and its high state; use an `ncf` teacher with at least two hidden layers",
                config.model.name()
            )));
        };
        let tensors = Tensors::from_file(weights, |name| name.starts_with("layers.") && !name.starts_with("layers.0."))?;
        let layers = ncf
            .shapes()
            .enumerate()
            .skip(1)
            .map(|(index, (inputs, outputs))| {
                let weight = tensors.get(&format!("layers.{index}.weight"), &[inputs, outputs])?;
                let bias = tensors.get(&format!("layers.{index}.bias"), &[outputs])?;
                Ok(UpperLayer { inputs, outputs, weight: weight.to_vec(), bias: bias.to_vec() })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(TeacherUpper(Layers::Dense(layers)))
    }

    /// The layers of a frozen transformer above its state 0, and what a head reads of the last.
    pub fn encoder(layers: TransformerUpper, pooling: Pooling) -> Self {
        TeacherUpper(Layers::Encoder { layers: Arc::new(layers), pooling })
    }

    /// How many layers there are.
    pub fn layers(&self) -> usize {
        match &self.0 {
            Layers::Dense(layers) => layers.len(),
            Layers::Encoder { layers, .. } => {
                let (first, last) = layers.states();
                last - first
            }
        }
    }

    /// Width of the low state that they read; none without layers.
    pub fn inputs(&self) -> Option<usize> {
        match &self.0 {
            Layers::Dense(layers) => layers.first().map(|layer| layer.inputs),
            Layers::Encoder { layers, .. } => Some(layers.width()),
        }
    }

    /// Width of the high state that they write; none without layers.
    pub fn outputs(&self) -> Option<usize> {
        match &self.0 {
            Layers::Dense(layers) => layers.last().map(|layer| layer.outputs),
            Layers::Encoder { layers, .. } => Some(layers.width()),
        }
    }

    /// Whether they read sequences of tokens.
    pub fn reads_sequences(&self) -> bool {
        matches!(self.0, Layers::Encoder { .. })
    }

    /// Inputs and outputs of each, where they are dense layers.
    pub(crate) fn shapes(&self) -> Option<Vec<(usize, usize)>> {
        match &self.0 {
            Layers::Dense(layers) => Some(layers.iter().map(|layer| (layer.inputs, layer.outputs)).collect()),
            Layers::Encoder { .. } => None,
        }
    }

    /// How many numbers they are.
    pub fn numbers(&self) -> u64 {
        match &self.0 {
            Layers::Dense(layers) => layers.iter().map(|layer| (layer.weight.len() + layer.bias.len()) as u64).sum(),
            Layers::Encoder { layers, .. } => layers.matrices().map(|matrix| matrix.len() as u64).sum(),
        }
    }

    /// All numbers, as words to hash.
    pub(crate) fn words(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match &self.0 {
            Layers::Dense(layers) => {
                Box::new(layers.iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias)).map(|v| v.to_bits()))
            }
            Layers::Encoder { layers, pooling } => {
                let words = layers.matrices().flat_map(|matrix| matrix.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
                Box::new(std::iter::once(*pooling as u32).chain(words))
            }
        }
    }

    /// The layers on a device, wanting no gradient: what they are applied to gets its own through them.
    pub(crate) fn on_device<D: Ops>(&self, device: &D, pool: &Pool) -> Result<Interpreting<D>, D::Err> {
        match &self.0 {
            Layers::Dense(layers) => {
                let graph = Graph::inference(device, pool);
                let layer = |layer: &UpperLayer| {
                    Ok(Layer {
                        weight: graph.constant(pool.copy(&layer.weight), layer.inputs, layer.outputs)?,
                        bias: graph.constant(pool.copy(&layer.bias), 1, layer.outputs)?,
                    })
                };
                Ok(Interpreting::Dense(layers.iter().map(layer).collect::<Result<_, _>>()?))
            }
            Layers::Encoder { layers, pooling } => {
                Ok(Interpreting::Encoder { stack: Box::new(layers.on_device(device)?), pooling: *pooling })
            }
        }
    }
}

/// A teacher's upper layers on a device.
pub(crate) enum Interpreting<D: Ops> {
    /// Each with ReLU.
    Dense(Vec<Layer<D>>),
    /// Of sequences of tokens.
    Encoder { stack: Box<Stack<D>>, pooling: Pooling },
}

/// Rows of a batch that are gathered together.
const ROWS_A_TASK: usize = 128;

/// Cached features, lined up with the training examples.
#[derive(Clone, Debug)]
pub(crate) struct Aligned<'a> {
    view: TeacherView<'a>,
    /// For each training example, its place in the view.
    places: Vec<usize>,
    /// Numbers in a prediction.
    outputs: usize,
}

/// The teacher's features of one batch.
#[derive(Debug)]
pub(crate) struct TeacherBatch<D: Ops> {
    pub(crate) low: Option<Var<D>>,
    pub(crate) high: Option<Var<D>>,
    pub(crate) embeddings: Option<Var<D>>,
    /// Tokens of low states, and whose they are.
    pub(crate) tokens: Option<(Var<D>, Sequences)>,
    /// (batch, outputs)
    pub(crate) output: Option<Buffer>,
}

impl<D: Ops> TeacherBatch<D> {
    /// Features that came with a batch of `rows` rows.
    pub(crate) fn streamed(graph: &Graph<D>, of: &RowFeatures, view: &TeacherView<'_>, rows: usize) -> Result<Self, D::Err> {
        let copy = |values: &[f32]| (!values.is_empty()).then(|| graph.pool().copy(values));
        let states = |values: &[f32], states: &Option<States<'_>>| {
            let values = states.as_ref().and_then(|_| copy(values));
            values.map(|values| {
                let width = values.len() / rows;
                graph.constant(values, rows, width)
            })
        };
        let tokens = view.tokens.zip(of.tokens.as_ref()).map(|(TokenStates { width, .. }, tokens)| {
            let sequences = Sequences::new(&tokens.lengths);
            Ok((graph.constant(graph.pool().copy(&tokens.values), sequences.rows(), width)?, sequences))
        });
        Ok(TeacherBatch {
            low: states(&of.low, &view.low).transpose()?,
            high: states(&of.high, &view.high).transpose()?,
            embeddings: None,
            tokens: tokens.transpose()?,
            output: copy(&of.output),
        })
    }

    /// Nothing: for methods without a teacher.
    pub(crate) fn none() -> Self {
        TeacherBatch { low: None, high: None, embeddings: None, tokens: None, output: None }
    }
}

/// Where each cached row stands. Caches are written in ascending order, where a search is cheaper than a map of all rows for the few of
/// a student; any other order works too.
fn places(rows: &[u32]) -> Box<dyn Fn(u32) -> Option<usize> + '_> {
    if rows.is_sorted() {
        Box::new(|row| rows.binary_search(&row).ok())
    } else {
        let by_row: HashMap<u32, usize> = rows.iter().enumerate().map(|(place, &row)| (row, place)).collect();
        Box::new(move |row| by_row.get(&row).copied())
    }
}

impl<'a> Aligned<'a> {
    /// Finds each training row's features, by the ids under which the view has them. Of what is cached, only what is needed is looked up in each step.
    pub(crate) fn new(view: TeacherView<'a>, rows: &[u32], needs: TeacherNeeds, outputs: usize) -> Result<Self, TrainError> {
        let cached = view.row.len();
        let wrong = |what: String| TrainError::Teacher {
            what,
            advice: "cache the teacher's features again, over the rows that the student is trained on",
        };
        for (name, states) in [("low states", &view.low), ("high states", &view.high), ("embeddings", &view.embeddings)] {
            if let Some(states) = states
                && (states.values.len() != cached * states.width || states.variance.len() != states.width || states.width == 0)
            {
                return Err(wrong(format!(
                    "its {name} are {} numbers and {} variances, which are not {cached} rows of {}",
                    states.values.len(),
                    states.variance.len(),
                    states.width
                )));
            }
        }
        if let Some(output) = view.output
            && output.len() != cached * outputs
        {
            return Err(wrong(format!("{} numbers of predictions for {cached} rows of {outputs}", output.len())));
        }
        if let Some(TokenStates { width, starts, values }) = view.tokens {
            let ends = starts.first().zip(starts.last());
            let whole = ends.is_some_and(|(first, last)| *first == 0 && last * width == values.len());
            if starts.len() != cached + 1 || width == 0 || !starts.is_sorted() || !whole {
                return Err(wrong(format!("{} numbers of tokens do not fall into {cached} sequences of {width}", values.len())));
            }
        }
        let place = places(view.row);
        let places = rows
            .iter()
            .map(|&row| {
                place(row)
                    .ok_or_else(|| wrong(format!("{} of the training rows is not among the cached ones", view.by.noun(row))))
            })
            .collect::<Result<_, _>>()?;
        let view = TeacherView {
            low: view.low.filter(|_| needs.low),
            high: view.high.filter(|_| needs.high),
            embeddings: view.embeddings.filter(|_| needs.embeddings),
            tokens: view.tokens.filter(|_| needs.tokens),
            output: view.output.filter(|_| needs.output),
            ..view
        };
        Ok(Aligned { view, places, outputs })
    }

    /// The features of the examples of a batch.
    pub(crate) fn batch<D: Ops>(&self, graph: &Graph<D>, examples: &[u32]) -> Result<TeacherBatch<D>, D::Err> {
        let states = |states: &Option<States<'_>>| {
            states
                .as_ref()
                .map(|states| {
                    let mut values = graph.pool().take(examples.len() * states.width);
                    let copy = |(row, &example): (&mut [f32], &u32)| {
                        let from = self.places[example as usize] * states.width;
                        row.copy_from_slice(&states.values[from..from + states.width]);
                    };
                    let rows = values.par_chunks_exact_mut(states.width).zip(examples);
                    rows.with_min_len(ROWS_A_TASK).for_each(copy);
                    graph.constant(values, examples.len(), states.width)
                })
                .transpose()
        };
        Ok(TeacherBatch {
            low: states(&self.view.low)?,
            high: states(&self.view.high)?,
            embeddings: states(&self.view.embeddings)?,
            tokens: self.view.tokens.map(|tokens| self.tokens(graph, tokens, examples)).transpose()?,
            output: self.view.output.map(|output| {
                let of = |&example: &u32| {
                    let from = self.places[example as usize] * self.outputs;
                    output[from..from + self.outputs].iter().copied()
                };
                graph.pool().collect(examples.len() * self.outputs, examples.iter().flat_map(of))
            }),
        })
    }

    fn tokens<D: Ops>(
        &self,
        graph: &Graph<D>,
        TokenStates { width, starts, values }: TokenStates<'_>,
        examples: &[u32],
    ) -> Result<(Var<D>, Sequences), D::Err> {
        let of = |&example: &u32| {
            let place = self.places[example as usize];
            starts[place]..starts[place + 1]
        };
        let lengths: Vec<usize> = examples.iter().map(|example| of(example).len()).collect();
        let sequences = Sequences::new(&lengths);
        let numbers = examples.iter().map(of).flat_map(|tokens| values[tokens.start * width..tokens.end * width].iter().copied());
        let tokens = graph.pool().collect(sequences.rows() * width, numbers);
        Ok((graph.constant(tokens, sequences.rows(), width)?, sequences))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_by_hand() {
        // Columns 1, 3, 5 and 2, 2, 2.
        let values = [1.0, 2.0, 3.0, 2.0, 5.0, 2.0];
        assert_eq!(means(&values, 2), [3.0, 2.0]);
        assert_eq!(variances(&values, 2), [8.0 / 3.0, 0.0]);
    }

    #[test]
    fn rows_are_found_in_any_order() {
        for rows in [[2, 5, 9], [9, 2, 5]] {
            let place = places(&rows);
            assert!(rows.iter().enumerate().all(|(index, &row)| place(row) == Some(index)));
            assert_eq!(place(3), None);
        }
    }
}
