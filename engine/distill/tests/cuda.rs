//! Holds CPU and CUDA to parity: the same trainings on both, for whoever has a GPU.
//!
//! `cargo test -p talkflow-distill --features cuda`: with that feature the unit tests of operations, gradients, methods, trainings and
//! checkpoints are on the GPU too. The two devices sum in different orders, so numbers agree within a tolerance rather than exactly.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

#[cfg(feature = "cuda-check")]
#[path = "../standin.rs"]
mod standin;

use std::io::Cursor;

use talkflow_distill::{
    Augment, Bag, Bounded, ClassData, ClassExamples, Conv, Crd, De, DeviceKind, Distance, Distances, Dkd, Examples, Feature,
    IakdAdapter, ImageShape, InputShape, Inputs, InteractInto, Label, Method, Mf, ModelSpec, Ncf, NetSpec, OneWay, Pixels,
    Protocol, QuestionPath, Refilled, Replies, Rkd, Scale, Sp, Standard, States, Talk, TaskData, TeacherUpper, TeacherView,
    TextTransformer, TrainConfig, Trained, Upper, Vid, Vit, Weights, Words, train, train_classes, variances,
};

const GPU: DeviceKind = DeviceKind::Cuda(0);

/// Every third pair of a user and an item, rated by a simple rule: what is trained on, and what is validated on.
struct World {
    users: u32,
    items: u32,
    rows: [Examples; 2],
}

impl World {
    fn new(users: u32, items: u32) -> Self {
        let examples = |offset: u32| {
            let mut examples = Examples::default();
            for index in (0..users * items).filter(|index| index % 3 == offset) {
                let (user, item) = (index / items, index % items);
                examples.row.push(index);
                examples.user.push(user);
                examples.item.push(item);
                examples.rating.push(1.0 + ((user * 7 + item * 3 + user * item) % 5) as f32);
            }
            examples
        };
        World { users, items, rows: [examples(0), examples(1)] }
    }

    fn data(&self) -> TaskData<'_> {
        let [train, validation] = &self.rows;
        let scale = Scale { min: 1.0, max: 5.0 };
        TaskData { train, validation, users: self.users as usize, items: self.items as usize, scale }
    }

    /// Trains on a device with a teacher that was trained on the processor.
    fn train(&self, config: &TrainConfig, device: DeviceKind) -> Trained {
        let of = TrainConfig { model: ncf(&[12, 8]), ..TrainConfig { batch: 32, epochs: 4, ..TrainConfig::default() } };
        let teacher = train(&of, &self.data(), None, DeviceKind::Cpu, &mut ()).unwrap().model;
        let upper = TeacherUpper::load(Cursor::new(teacher.to_safetensors().unwrap()), &teacher.config()).unwrap();
        let [rows, _] = &self.rows;
        let taps = teacher.taps(&rows.user, &rows.item).unwrap();
        let (low, high) = (variances(&taps.low, taps.low_width), variances(&taps.high, taps.high_width));
        let embeddings = variances(&taps.embeddings, taps.embeddings_width);
        let view = TeacherView {
            by: talkflow_distill::By::Row,
            streams: false,
            row: &rows.row,
            low: Some(States { width: taps.low_width, values: &taps.low, variance: &low }),
            high: Some(States { width: taps.high_width, values: &taps.high, variance: &high }),
            embeddings: Some(States { width: taps.embeddings_width, values: &taps.embeddings, variance: &embeddings }),
            tokens: None,
            output: Some(&taps.output),
            upper: Some(&upper),
        };
        train(config, &self.data(), Some(view), device, &mut ()).unwrap()
    }

    /// The same training on both, epoch by epoch.
    fn agree(&self, config: &TrainConfig) {
        let [cpu, cuda] = [DeviceKind::Cpu, GPU].map(|device| self.train(config, device));
        for ((name, a), (_, b)) in cpu.curves.columns().iter().zip(cuda.curves.columns()) {
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(b) {
                let what = format!("{} {name} at batch {}: cpu {a}, cuda {b}", config.method.name(), config.batch);
                assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{what}");
            }
        }
    }
}

fn ncf(hidden: &[usize]) -> ModelSpec {
    ModelSpec::Ncf(Ncf { embedding: 6, hidden: hidden.to_vec(), dropout: 0.1, ..Ncf::default() })
}

fn config(method: Method) -> TrainConfig {
    TrainConfig { model: ncf(&[12, 8]), method, batch: 32, epochs: 4, patience: None, ..TrainConfig::default() }
}

/// Every method, and a talk in each of its ways.
///
/// Seldom by correlation: it jumps where a dimension comes alive in a batch, and then the last bits of two devices show in whole epochs. Unit
/// tests hold the gradients of each distance to finite differences.
fn methods() -> Vec<Method> {
    let mse = Distance::Mse;
    let talk = Talk {
        distances: Distances { interact: mse, message: mse, student_state: mse, ..Distances::default() },
        ..Talk::default()
    };
    let weights = Weights { student_state: 0.1, label: 0.5, ..Weights::default() };
    vec![
        Method::BiasOnly,
        Method::Scratch,
        Method::Label(Label::default()),
        Method::Feature(Feature::default()),
        Method::Bounded(Bounded::default()),
        Method::De(De::default()),
        Method::Sp(Sp::default()),
        Method::Rkd(Rkd::default()),
        Method::Vid(Vid::default()),
        Method::Refilled(Refilled::default()),
        Method::IakdAdapter(IakdAdapter::default()),
        Method::OneWay(OneWay { distance: mse, ..OneWay::default() }),
        Method::OneWay(OneWay { distance: Distance::Cosine, widened: true, ..OneWay::default() }),
        Method::Talk(Talk::default()),
        Method::Talk(Talk { rounds: 3, ..talk.clone() }),
        Method::Talk(Talk { rounds: 2, protocol: Protocol::AskAnswer, weights, ..talk.clone() }),
        Method::Talk(Talk { question_path: QuestionPath::Stop, interact_into: InteractInto::Student, ..talk.clone() }),
        Method::Talk(Talk { interact_into: InteractInto::Modules, ..talk.clone() }),
        Method::Talk(Talk { replies: Replies::Shuffled, upper: Upper::Trainable, ..talk }),
    ]
}

#[test]
fn every_method_agrees() {
    let world = World::new(30, 20);
    for method in methods() {
        world.agree(&config(method));
    }
    for method in [Method::Scratch, Method::Label(Label::default())] {
        world.agree(&TrainConfig { model: ModelSpec::Mf(Mf::default()), ..config(method) });
    }
}

/// Each network of classes, with what is learnt of states and of logits; the teacher's are made up.
#[test]
fn every_network_of_classes_agrees() {
    const CLASSES: usize = 3;
    let shape = ImageShape { channels: 2, height: 4, width: 4 };
    let vocabulary = 7;
    let words = Words::of_list(["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec()).unwrap();
    let none = Words::of_list(Vec::new()).unwrap();
    let rows = |from: u32, images: bool| {
        let row: Vec<u32> = (from..from + 48).collect();
        let text = |row: &u32| (0..2 + row % 3).map(|place| (row * 5 + place * row) % vocabulary).collect::<Vec<u32>>();
        let pixel = |row: u32, at: u32| ((row * 37 + at * 11 + row % 3 * at) % 256) as u8;
        let inputs = match images {
            true => {
                let bytes = row.iter().flat_map(|&row| (0..shape.bytes() as u32).map(move |at| pixel(row, at))).collect();
                Inputs::Images(Pixels { shape, bytes })
            }
            false => Inputs::Texts(row.iter().map(text).collect()),
        };
        ClassExamples { label: row.iter().map(|row| row % CLASSES as u32).collect(), inputs, row }
    };
    let made_up = |count: usize| (0..count).map(|at| (at * 29 % 31) as f32 / 31.0).collect::<Vec<f32>>();
    let (high, output) = (made_up(48 * 5), made_up(48 * CLASSES));
    let variance = variances(&high, 5);
    for (net, images) in [
        (NetSpec::Bag(Bag { embedding: 5, hidden: vec![7, 6], dropout: 0.1, ..Bag::default() }), false),
        (
            NetSpec::TextTransformer(TextTransformer {
                width: 6,
                layers: 1,
                heads: 2,
                inner: 7,
                longest: 4,
                ..TextTransformer::default()
            }),
            false,
        ),
        (NetSpec::Vit(Vit { patch: 2, width: 6, layers: 1, heads: 3, inner: 5 }), true),
        (NetSpec::Conv(Conv { channels: vec![3, 5], dropout: 0.1 }), true),
    ] {
        let (examples, validation) = (rows(0, images), rows(48, images));
        let (shape, words) = if images {
            (InputShape::Images(shape), &none)
        } else {
            (InputShape::Texts { vocabulary: vocabulary as usize }, &words)
        };
        let augment = Augment::default();
        let standard = Standard::of(&examples.inputs);
        let (train, validation) = (examples.part(), validation.part());
        let data = ClassData { train, validation, standard: &standard, shape, classes: CLASSES, words, augment };
        let view = TeacherView {
            row: &examples.row,
            high: Some(States { width: 5, values: &high, variance: &variance }),
            output: Some(&output),
            ..TeacherView::default()
        };
        for method in [
            Method::Scratch,
            Method::Label(Label::default()),
            Method::Dkd(Dkd::default()),
            Method::Crd(Crd { width: 4, temperature: 0.5, ..Crd::default() }),
            Method::Sp(Sp::default()),
            Method::Feature(Feature::default()),
        ] {
            let config = TrainConfig { model: ModelSpec::Net(net.clone()), batch: 16, ..config(method) };
            let [cpu, cuda] =
                [DeviceKind::Cpu, GPU].map(|device| train_classes(&config, &data, Some(view), device, &mut ()).unwrap());
            for ((name, a), (_, b)) in cpu.curves.columns().iter().zip(cuda.curves.columns()) {
                // A row near the border of two classes may fall on either side.
                let near = |(a, b): (&f64, &f64)| name == "validation_error" || (a - b).abs() <= 1e-3 * (1.0 + a.abs());
                assert!(a.iter().zip(b).all(near), "{} {} {name}: {a:?} {b:?}", net.name(), config.method.name());
            }
        }
    }
}

/// A batch of many blocks of a kernel, widths that are no multiple of anything, and one row.
#[test]
fn every_size_of_batch_agrees() {
    let world = World::new(130, 97);
    for batch in [4096, 1000] {
        let method = Method::Talk(Talk { rounds: 2, ..Talk::default() });
        world.agree(&TrainConfig { model: ncf(&[67, 33]), batch, ..config(method) });
    }
    World::new(6, 5).agree(&TrainConfig { batch: 1, ..config(Method::Label(Label::default())) });
}

/// cuBLAS promises the same bits on the same GPU, and nothing of ours adds in an order of chance.
#[test]
fn a_gpu_gives_the_same_bytes_again() {
    let world = World::new(130, 97);
    for batch in [32, 4096] {
        let config = TrainConfig { model: ncf(&[67, 33]), batch, ..config(Method::Talk(Talk::default())) };
        let [first, second] = [(); 2].map(|()| world.train(&config, GPU));
        assert!(first.model.to_safetensors().unwrap() == second.model.to_safetensors().unwrap(), "batch {batch}");
        assert_eq!(first.curves, second.curves);
    }
}

/// As stages of one run may be, where a manifest lets them share a GPU.
#[test]
fn trainings_share_a_gpu() {
    let world = World::new(30, 20);
    let config = config(Method::Talk(Talk::default()));
    let alone = world.train(&config, GPU).model.to_safetensors().unwrap();
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..4).map(|_| scope.spawn(|| world.train(&config, GPU).model.to_safetensors().unwrap())).collect();
        assert!(others.into_iter().all(|other| other.join().unwrap() == alone));
    });
}

#[test]
fn a_gpu_that_is_not_there_is_said_to_be_missing() {
    assert!(GPU.check().is_ok());
    let error = DeviceKind::Cuda(63).check().unwrap_err().to_string();
    assert!(error.contains("there is no GPU number 63: this process sees"), "{error}");
}
