//! A small task for tests: ratings with a planted structure, a teacher trained on all of them, and a student's share.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use crate::config::TrainConfig;
use crate::data::Scale;
use crate::data::{Examples, TaskData};
use crate::model::RatingModel;
use crate::models::{ModelSpec, Ncf, Wide};
use crate::optim::{Adam, Decay, Optimizer};
use crate::random::{Rng, Role};
use crate::teacher::{By, States, TeacherUpper, TeacherView, variances};
use crate::trainer::train;
use crate::{DeviceKind, Taps};

/// The device that tests of operations, methods and trainings are run on: with the feature `cuda` a GPU.
pub(crate) const DEVICE: DeviceKind = if cfg!(feature = "cuda") { DeviceKind::Cuda(0) } else { DeviceKind::Cpu };

/// The same, as its type.
#[cfg(not(feature = "cuda"))]
pub(crate) type Tested = dfdx::tensor::Cpu;
#[cfg(feature = "cuda")]
pub(crate) type Tested = dfdx::tensor::Cuda;

/// The same, ready.
#[cfg(not(feature = "cuda"))]
pub(crate) fn device() -> Tested {
    Tested::default()
}

/// The same, ready; one a thread, since a test makes many.
#[cfg(feature = "cuda")]
pub(crate) fn device() -> Tested {
    thread_local!(static DEVICE: Tested = crate::device::cuda(0).unwrap());
    DEVICE.with(Tested::clone)
}

pub(crate) const USERS: usize = 40;
pub(crate) const ITEMS: usize = 30;
pub(crate) const SCALE: Scale = Scale { min: 1.0, max: 5.0 };

/// Rows whose number modulo 10 is among `digits`: half of all pairs are rated, in a scattered order.
pub(crate) fn rows(digits: std::ops::Range<u32>) -> Examples {
    let factor = |name: &str, index: usize| {
        let mut rng = Rng::stream(7, Role::Init, name, index as u64);
        [rng.symmetric(1.0), rng.symmetric(1.0), rng.symmetric(0.5)]
    };
    let mut pairs: Vec<u32> = (0..(USERS * ITEMS) as u32).collect();
    Rng::stream(7, Role::Order, "pairs", 0).shuffle(&mut pairs);
    pairs.truncate(USERS * ITEMS / 2);
    let mut examples = Examples::default();
    for (row, pair) in (0u32..).zip(pairs).filter(|(row, _)| digits.contains(&(row % 10))) {
        let (user, item) = (pair as usize / ITEMS, pair as usize % ITEMS);
        let (u, i) = (factor("user", user), factor("item", item));
        let rating = 3.0 + u[2] + i[2] + 2.0 * (u[0] * i[0] + u[1] * i[1]);
        examples.row.push(row);
        examples.user.push(user as u32);
        examples.item.push(item as u32);
        examples.rating.push(rating.round().clamp(1.0, 5.0));
    }
    examples
}

/// The rows of a test, and what can be borrowed from them.
pub(crate) struct Task {
    pub(crate) train: Examples,
    pub(crate) validation: Examples,
}

impl Task {
    pub(crate) fn new() -> Self {
        Task { train: rows(0..8), validation: rows(8..9) }
    }

    pub(crate) fn data(&self) -> TaskData<'_> {
        TaskData { train: &self.train, validation: &self.validation, users: USERS, items: ITEMS, scale: SCALE }
    }
}

/// A quick training that exercises dropout, all decays and a partial patience.
pub(crate) fn config() -> TrainConfig {
    TrainConfig {
        model: ModelSpec::Ncf(Ncf {
            embedding: 4,
            hidden: vec![8, 6],
            dropout: 0.1,
            wide: Wide { damping: Some(3.0), ..Wide::default() },
            ..Ncf::default()
        }),
        optimizer: Optimizer::Adam(Adam {
            rate: 0.01,
            decay: Decay { weights: 0.01, embeddings: 0.05, bias_terms: 0.02 },
            ..Adam::default()
        }),
        batch: 64,
        epochs: 5,
        patience: None,
        ..TrainConfig::default()
    }
}

/// A trained teacher and its cached features.
pub(crate) struct Teacher {
    pub(crate) model: RatingModel,
    pub(crate) upper: TeacherUpper,
    pub(crate) row: Vec<u32>,
    pub(crate) taps: Taps,
    low_variance: Vec<f32>,
    high_variance: Vec<f32>,
    embeddings_variance: Vec<f32>,
}

impl Teacher {
    pub(crate) fn new() -> Self {
        let task = Task::new();
        let hidden = ModelSpec::Ncf(Ncf { embedding: 6, hidden: vec![12, 8], ..Ncf::default() });
        let config = TrainConfig { model: hidden, epochs: 8, ..config() };
        let model = train(&config, &task.data(), None, DeviceKind::Cpu, &mut ()).unwrap().model;
        let cached = rows(0..10);
        let taps = model.taps(&cached.user, &cached.item).unwrap();
        Teacher {
            upper: TeacherUpper::load(std::io::Cursor::new(model.to_safetensors().unwrap()), &model.config()).unwrap(),
            low_variance: variances(&taps.low, taps.low_width),
            high_variance: variances(&taps.high, taps.high_width),
            embeddings_variance: variances(&taps.embeddings, taps.embeddings_width),
            row: cached.row,
            taps,
            model,
        }
    }

    pub(crate) fn view(&self) -> TeacherView<'_> {
        let taps = &self.taps;
        TeacherView {
            by: By::Row,
            streams: false,
            row: &self.row,
            low: Some(States { width: taps.low_width, values: &taps.low, variance: &self.low_variance }),
            high: Some(States { width: taps.high_width, values: &taps.high, variance: &self.high_variance }),
            embeddings: Some(States {
                width: taps.embeddings_width,
                values: &taps.embeddings,
                variance: &self.embeddings_variance,
            }),
            tokens: None,
            output: Some(&taps.output),
            upper: Some(&self.upper),
        }
    }
}
