//! Small tasks of classes for tests: texts and images in which the class can be seen, a frozen transformer that has seen it, and what is cached of it.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use super::*;
use crate::ImageShape;
use crate::augment::Augment;
use crate::config::TrainConfig;
use crate::methods::Method;
use crate::models::ModelSpec;
use crate::optim::{Adam, Decay, Optimizer};
use crate::random::{Rng, Role};
use crate::teacher::{By, States, TeacherUpper, TeacherView, TokenStates, means, variances};
use crate::testing::DEVICE;
use crate::transformer::oracle::small;
use crate::transformer::stack::Order;
use crate::transformer::{Hidden, Pooling, Until};

pub(super) const CLASSES: usize = 3;
/// Rows, of which every fourth is for validation.
const ROWS: u32 = 160;
/// Words, and the unknown one: three of each class, and three of none.
const VOCABULARY: usize = 13;

/// A task, and what is cached of its teacher.
pub(super) struct Planted {
    pub(super) standard: Standard,
    pub(super) train: ClassExamples,
    pub(super) validation: ClassExamples,
    pub(super) shape: InputShape,
    pub(super) augment: Augment,
    words: Words,
    pub(super) upper: TeacherUpper,
    width: usize,
    starts: Vec<usize>,
    pub(super) tokens: Vec<f32>,
    low: Vec<f32>,
    high: Vec<f32>,
    output: Vec<f32>,
    variances: [Vec<f32>; 2],
}

fn label(row: u32) -> u32 {
    row * 7 % CLASSES as u32
}

fn text(row: u32, length: usize) -> Vec<u32> {
    let mut rng = Rng::stream(11, Role::Init, "text", u64::from(row));
    let of_class = |rng: &mut Rng| 1 + 3 * label(row) + rng.below(3) as u32;
    let word = |place| if place == 0 || rng.below(2) == 0 { of_class(&mut rng) } else { 10 + rng.below(3) as u32 };
    (0..length).map(word).collect()
}

/// One plane is bright, or the other, or both.
fn image(row: u32, shape: ImageShape) -> Vec<u8> {
    let mut rng = Rng::stream(11, Role::Init, "image", u64::from(row));
    let bright = [label(row) != 1, label(row) != 0];
    let plane = shape.height * shape.width;
    (0..shape.bytes()).map(|at| rng.below(120) as u8 + if bright[at / plane] { 90 } else { 0 }).collect()
}

impl Planted {
    /// Texts of 3 to 5 words, or all of 4.
    pub(super) fn texts(equal: bool) -> Self {
        let length = |row: u32| if equal { 4 } else { 3 + row as usize % 3 };
        let inputs = |rows: &[u32]| Inputs::Texts(rows.iter().map(|&row| text(row, length(row))).collect());
        Self::of(InputShape::Texts { vocabulary: VOCABULARY }, equal, inputs)
    }

    pub(super) fn images(equal: bool) -> Self {
        let shape = ImageShape { channels: 2, height: 4, width: 4 };
        let inputs =
            |rows: &[u32]| Inputs::Images(Pixels { shape, bytes: rows.iter().flat_map(|&row| image(row, shape)).collect() });
        Self::of(InputShape::Images(shape), equal, inputs)
    }

    /// Teacher tokens of a row are 2 or 3, or all 3 where they are `equal`.
    fn of(shape: InputShape, equal: bool, inputs: impl Fn(&[u32]) -> Inputs) -> Self {
        let (validation, train): (Vec<u32>, Vec<u32>) = (0..ROWS).partition(|row| row % 4 == 3);
        let examples = |row: &[u32]| ClassExamples {
            row: row.to_vec(),
            label: row.iter().map(|&row| label(row)).collect(),
            inputs: inputs(row),
        };
        let upper = small(Order::NormLast);
        let width = upper.width();
        let lengths: Vec<usize> = train.iter().map(|row| if equal { 3 } else { 2 + *row as usize % 2 }).collect();
        let mut starts = vec![0];
        let (mut tokens, mut low, mut output) = (Vec::new(), Vec::new(), Vec::new());
        for (&row, &length) in train.iter().zip(&lengths) {
            let mut rng = Rng::stream(11, Role::Init, "tokens", u64::from(row));
            let seen = |at: usize| f32::from(u8::from(at % CLASSES == label(row) as usize));
            let own: Vec<f32> = (0..length * width).map(|at| seen(at) + rng.symmetric(0.7)).collect();
            low.extend(means(&own, width));
            tokens.extend(own);
            starts.push(starts[starts.len() - 1] + length);
            output.extend((0..CLASSES).map(|class| 3.0 * seen(class) + rng.symmetric(0.5)));
        }
        let first = Hidden { state: Some(0), width, lengths, values: tokens.clone() };
        let high = upper.run(&first, Until::Pooled(Pooling::Mean), DEVICE).unwrap().values;
        let words = match shape {
            InputShape::Texts { vocabulary } => (1..vocabulary).map(|word| format!("w{word}")).collect(),
            _ => Vec::new(),
        };
        let train = examples(&train);
        Planted {
            standard: Standard::of(&train.inputs),
            train,
            validation: examples(&validation),
            shape,
            augment: Augment::default(),
            words: Words::of_list(words).unwrap(),
            upper: TeacherUpper::encoder(upper, Pooling::Mean),
            width,
            starts,
            variances: [variances(&low, width), variances(&high, width)],
            tokens,
            low,
            high,
            output,
        }
    }

    pub(super) fn data(&self) -> ClassData<'_> {
        ClassData {
            train: self.train.part(),
            validation: self.validation.part(),
            standard: &self.standard,
            shape: self.shape,
            classes: CLASSES,
            words: &self.words,
            augment: self.augment,
        }
    }

    pub(super) fn view(&self) -> TeacherView<'_> {
        let [low, high] = &self.variances;
        TeacherView {
            by: By::Row,
            streams: false,
            row: &self.train.row,
            low: Some(States { width: self.width, values: &self.low, variance: low }),
            high: Some(States { width: self.width, values: &self.high, variance: high }),
            embeddings: None,
            tokens: Some(TokenStates { width: self.width, starts: &self.starts, values: &self.tokens }),
            output: Some(&self.output),
            upper: Some(&self.upper),
        }
    }
}

pub(super) fn bag() -> NetSpec {
    NetSpec::Bag(Bag { embedding: 6, hidden: vec![8, 6], dropout: 0.1, ..Bag::default() })
}

pub(super) fn text_transformer() -> NetSpec {
    let sizes = TextTransformer { width: 8, layers: 1, heads: 2, inner: 12, longest: 5, ..TextTransformer::default() };
    NetSpec::TextTransformer(sizes)
}

pub(super) fn vit() -> NetSpec {
    NetSpec::Vit(Vit { patch: 2, width: 8, layers: 1, heads: 2, inner: 12 })
}

pub(super) fn conv() -> NetSpec {
    NetSpec::Conv(Conv { channels: vec![6, 8], dropout: 0.1 })
}

/// Tasks with the networks that are for them.
pub(super) fn tasks(equal: bool) -> [(Planted, [NetSpec; 2]); 2] {
    [(Planted::texts(equal), [bag(), text_transformer()]), (Planted::images(equal), [vit(), conv()])]
}

/// A quick training, of five batches an epoch.
pub(super) fn config(net: NetSpec, method: Method) -> TrainConfig {
    TrainConfig {
        model: ModelSpec::Net(net),
        method,
        optimizer: Optimizer::Adam(Adam {
            rate: 0.02,
            decay: Decay { weights: 0.01, embeddings: 0.02, bias_terms: 0.0 },
            ..Adam::default()
        }),
        batch: 24,
        epochs: 5,
        patience: None,
        ..TrainConfig::default()
    }
}
