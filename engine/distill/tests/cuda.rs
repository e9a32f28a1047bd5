//! Holds CPU and CUDA to parity: the same trainings on both, for whoever has a GPU.
//!
//! `cargo test -p talkflow-distill --features cuda --test cuda`. The two devices sum in different orders, so numbers agree within a
//! tolerance rather than exactly.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use talkflow_distill::{
    DeviceKind, Examples, Feature, Label, Method, ModelSpec, Ncf, OneWay, Scale, States, Talk, TaskData, TeacherUpper,
    TeacherView, TrainConfig, Trained, train, variances,
};

const USERS: u32 = 30;
const ITEMS: u32 = 20;

/// Ratings with a simple structure: every third pair of a user and an item.
fn examples(offset: u32) -> Examples {
    let mut examples = Examples::default();
    for index in (0..USERS * ITEMS).filter(|index| index % 3 == offset) {
        let (user, item) = (index / ITEMS, index % ITEMS);
        examples.row.push(index);
        examples.user.push(user);
        examples.item.push(item);
        examples.rating.push(1.0 + ((user * 7 + item * 3 + user * item) % 5) as f32);
    }
    examples
}

fn config(method: Method) -> TrainConfig {
    TrainConfig {
        model: ModelSpec::Ncf(Ncf { embedding: 6, hidden: vec![12, 8], dropout: 0.1, ..Ncf::default() }),
        method,
        batch: 32,
        epochs: 4,
        patience: None,
        ..TrainConfig::default()
    }
}

#[test]
fn cpu_and_cuda_agree() {
    DeviceKind::Cuda(0).check().unwrap();
    let (train_rows, validation) = (examples(0), examples(1));
    let data = TaskData {
        train: &train_rows,
        validation: &validation,
        users: USERS as usize,
        items: ITEMS as usize,
        scale: Scale { min: 1.0, max: 5.0 },
    };
    let run = |method: Method, teacher: Option<TeacherView<'_>>, device| -> Trained {
        train(&config(method), &data, teacher, device, &mut ()).unwrap()
    };
    let teacher = run(Method::Scratch, None, DeviceKind::Cpu).model;
    let upper = TeacherUpper::load(std::io::Cursor::new(teacher.to_safetensors().unwrap()), &teacher.config()).unwrap();
    let taps = teacher.taps(&train_rows.user, &train_rows.item).unwrap();
    let (low, high) = (variances(&taps.low, taps.low_width), variances(&taps.high, taps.high_width));
    let view = TeacherView {
        row: &train_rows.row,
        low: Some(States { width: taps.low_width, values: &taps.low, variance: &low }),
        high: Some(States { width: taps.high_width, values: &taps.high, variance: &high }),
        output: Some(&taps.output),
        upper: Some(&upper),
    };
    for method in [
        Method::BiasOnly,
        Method::Scratch,
        Method::Label(Label::default()),
        Method::Feature(Feature::default()),
        Method::OneWay(OneWay::default()),
        Method::Talk(Talk { rounds: 2, ..Talk::default() }),
    ] {
        let cpu = run(method.clone(), Some(view), DeviceKind::Cpu);
        let cuda = run(method.clone(), Some(view), DeviceKind::Cuda(0));
        for ((name, a), (_, b)) in cpu.curves.columns().iter().zip(cuda.curves.columns()) {
            for (a, b) in a.iter().zip(b) {
                let name = format!("{} {name}", method.name());
                assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{name}: cpu {a}, cuda {b}");
            }
        }
    }
}
