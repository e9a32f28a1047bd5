//! `probe`: a head on a frozen encoder's states: what such a teacher knows of the classes, and its predictions for students to learn from.
//!
//! Its input is cached features, so the encoder runs for it once at most. It is fitted to train rows alone, and stopped by validation rows. What it
//! predicts for every row that features are of is kept with it, test rows too, where only evaluations look. States are in memory while it is
//! trained, or stream by; its predictions are made and written shard by shard.

use std::sync::Arc;

use anyhow::Context;
use talkflow_datasets::split::Part;
use talkflow_distill::{
    Classifier, InputShape, Inputs, Linear, Method, ModelSpec, NetSpec, Standard, TrainConfig, Vectors, Words,
};

use super::{
    cache_features::{Index, Tap, refuse_other_examples},
    examples::{ClassRows, Held, ReadExamples, ReadPart},
    files, settings, streaming, training,
    training::Training,
};
use crate::{
    artifact::ArtifactKind,
    fields::Fields,
    stage::{Device, Stage, StageCx},
};

mod outputs;

pub use outputs::{LyingOutputs, OUTPUTS, outputs};

pub(super) use outputs::Writer;

/// States that predictions are made of at once.
const AT_ONCE: usize = 1024;

/// Its settings.
#[derive(Clone, Debug)]
pub struct Probe {
    training: Training,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Probe {
    f.stage("rows", ArtifactKind::Split);
    f.through("rows", "rows", "examples");
    f.stage("features", ArtifactKind::Features);
    // How wide the states are is not known yet.
    let model = ModelSpec::Net(NetSpec::Linear(Linear { width: 1 }));
    Probe { training: training::read_head(f, model) }
}

impl Stage for Probe {
    fn kind(&self) -> &'static str {
        "probe"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, device: Device) -> Option<String> {
        Some(settings::backend(device))
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let rows = ClassRows::of(cx)?;
        let input = cx.input("features")?;
        refuse_other_examples(input, rows.digest)?;
        let instance = input.instance.to_owned();
        let index = Arc::new(Index::open(input)?);
        let width = index.stat(Tap::High).map(|(width, _)| width);
        let width = width.with_context(|| format!("`{instance}` holds no high states: add `high` to its `taps`"))?;
        for (part, word) in [(Part::Train, "`train`"), (Part::Validation, "`validation`")] {
            index.refuse_missing(&rows.part(part), word)?;
        }
        let read = match self.training.stream {
            Some(stream) => stream.states(&rows, &index, width, &[rows.digest, input.digest()])?,
            None => in_memory(&rows, &index, width)?,
        };
        let begin = self.training.begin(cx)?;
        let model = ModelSpec::Net(NetSpec::Linear(Linear { width }));
        let config = TrainConfig { model, method: Method::Scratch, ..begin.config };
        self.training.train_classes(cx, (config, None), &rows, &read, "probe", None)?;
        drop(read);
        // Read back, so that what is predicted is what the weights that are kept predict.
        let config: files::ModelConfig = files::json(&cx.out.join(files::CONFIG))?;
        let model = Classifier::load(&std::fs::read(cx.out.join(files::WEIGHTS))?, &config.model)?;
        let mut writer = Writer::create(cx.out, model.classes())?;
        for shard in 0..index.shards() {
            for rows in index.rows()[index.places(shard)].chunks(AT_ONCE) {
                let states = streaming::high_states(&index, rows)?;
                let logits = model.logits(&states).with_context(|| format!("the states of `{instance}`"))?;
                writer.add(rows, logits)?;
            }
        }
        writer.finish()
    }
}

/// The states of the rows for training and validation, all of them.
fn in_memory(rows: &ClassRows, index: &Index, width: usize) -> anyhow::Result<ReadExamples> {
    let of = |part: Part| -> anyhow::Result<(ReadPart, Standard)> {
        let row = rows.part(part);
        let mut values = Vec::with_capacity(row.len() * width);
        for some in row.chunk_by(|a, b| index.shard_of(*a) == index.shard_of(*b)) {
            if let Inputs::Vectors(vectors) = streaming::high_states(index, some)? {
                values.extend(vectors.values);
            }
        }
        let inputs = Inputs::Vectors(Vectors { width, values });
        let standard = Standard::of(&inputs);
        Ok((ReadPart { label: rows.labels(&row), row, inputs: Held::Memory(inputs) }, standard))
    };
    let ((train, standard), (validation, _)) = (of(Part::Train)?, of(Part::Validation)?);
    Ok(ReadExamples { train, validation, shape: InputShape::Vectors { width }, words: Arc::new(Words::default()), standard })
}
