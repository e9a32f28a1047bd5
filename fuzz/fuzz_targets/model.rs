//! A model's two files, loaded and asked: its configuration, a zero byte, its weights in the safetensors format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_distill::{
    DeviceKind, Examples, Method, Mf, ModelSpec, Ncf, RatingModel, Scale, TaskData, TeacherUpper, TrainConfig, Wide, train,
};

fn seeds() -> Vec<Vec<u8>> {
    let rows =
        Examples { row: vec![0, 1, 2, 3], user: vec![0, 0, 1, 2], item: vec![0, 1, 1, 2], rating: vec![4.0, 2.0, 1.0, 5.0] };
    let data = TaskData { train: &rows, validation: &rows, users: 4, items: 4, scale: Scale { min: 1.0, max: 5.0 } };
    let specs = [
        (Method::Scratch, ModelSpec::Ncf(Ncf { embedding: 2, hidden: vec![3, 2], ..Ncf::default() })),
        (Method::Scratch, ModelSpec::Mf(Mf { embedding: 2, ..Mf::default() })),
        (Method::BiasOnly, ModelSpec::Bias(Wide::default())),
    ];
    let trained = |(method, model)| {
        let config = TrainConfig { method, model, epochs: 1, ..TrainConfig::default() };
        let model = train(&config, &data, None, DeviceKind::Cpu, &mut ()).expect("a model").model;
        [model.config().to_string().as_bytes(), b"\0", &model.to_safetensors().expect("weights")].concat()
    };
    specs.map(trained).to_vec()
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == 0) else { return };
    let Ok(config) = serde_json::from_slice(&input[..end]) else { return };
    let weights = &input[end + 1..];
    if let Ok(model) = RatingModel::load(weights, &config) {
        let (users, items) = model.counts();
        let some = |count: usize| (0..count.min(3) as u32).map(Some).chain([None]).collect::<Vec<_>>();
        let (users, items) = (some(users), some(items));
        let rows = users.len().min(items.len());
        model.predict(&users[users.len() - rows..], &items[..rows]).expect("indices within the tables");
        let (users, items): (Vec<u32>, Vec<u32>) = users.iter().flatten().zip(items.iter().flatten()).unzip();
        let _ = model.taps(&users, &items);
    }
    let _ = TeacherUpper::load(std::io::Cursor::new(weights), &config);
});
