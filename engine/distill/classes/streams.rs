//! Trainings whose examples and features stream by.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use super::planted::{Planted, config, text_transformer, vit};
use super::*;
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::io::TrainIo;
use crate::methods::*;
use crate::stream::{RowFeatures, RowTokens, Shard, Shards, Stream};
use crate::teacher::{By, States, TeacherView, TokenStates};
use crate::testing::DEVICE;
use crate::trainer::Trained;

/// Planted rows, cut into shards.
struct Cut {
    inputs: Inputs,
    features: RowFeatures,
    sizes: Vec<usize>,
    identity: Vec<u32>,
}

impl Shards for Cut {
    fn identity(&self) -> &[u32] {
        &self.identity
    }

    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn read(&self, shard: usize) -> Result<Shard, TrainError> {
        let start: usize = self.sizes[..shard].iter().sum();
        let rows: Vec<u32> = (start as u32..(start + self.sizes[shard]) as u32).collect();
        let all: usize = self.sizes.iter().sum();
        let part = |values: &[f32]| {
            let width = values.len() / all;
            values[start * width..(start + rows.len()) * width].to_vec()
        };
        let RowFeatures { low, high, tokens, output } = &self.features;
        let tokens = tokens.as_ref().map(|RowTokens { lengths, values }| {
            let width = values.len() / lengths.iter().sum::<usize>();
            let [from, to] = [start, start + rows.len()].map(|row| lengths[..row].iter().sum::<usize>() * width);
            RowTokens { lengths: lengths[start..start + rows.len()].to_vec(), values: values[from..to].to_vec() }
        });
        let features = RowFeatures { low: part(low), high: part(high), tokens, output: part(output) };
        Ok(Shard { inputs: self.inputs.pick(&rows), features })
    }
}

/// The training rows of a task, with all that its teacher makes of them.
fn stream(planted: &Planted, buffer: usize) -> Stream {
    named(planted, buffer, Vec::new())
}

/// The same, told from others by some words.
fn named(planted: &Planted, buffer: usize, identity: Vec<u32>) -> Stream {
    let view = planted.view();
    let rows = planted.train.row.len();
    let TokenStates { starts, values, .. } = view.tokens.unwrap();
    let features = RowFeatures {
        low: view.low.unwrap().values.to_vec(),
        high: view.high.unwrap().values.to_vec(),
        tokens: Some(RowTokens { lengths: starts.windows(2).map(|ends| ends[1] - ends[0]).collect(), values: values.to_vec() }),
        output: view.output.unwrap().to_vec(),
    };
    let sizes = vec![rows / 3, rows / 5, rows - rows / 3 - rows / 5];
    Stream::new(Box::new(Cut { inputs: planted.train.inputs.clone(), features, sizes, identity }), buffer)
}

fn validation(planted: &Planted) -> Stream {
    let rows = planted.validation.row.len();
    let cut = Cut {
        inputs: planted.validation.inputs.clone(),
        features: RowFeatures::default(),
        sizes: vec![rows - 7, 7],
        identity: vec![],
    };
    Stream::new(Box::new(cut), 1)
}

/// The teacher without its features, which come with the rows.
fn teacher(planted: &Planted) -> TeacherView<'_> {
    let view = planted.view();
    fn states(states: States<'_>) -> States<'_> {
        States { values: &[], ..states }
    }
    TeacherView {
        by: By::Row,
        streams: true,
        row: &[],
        low: view.low.map(states),
        high: view.high.map(states),
        tokens: view.tokens.map(|tokens| TokenStates { starts: &[0], values: &[], ..tokens }),
        output: Some(&[]),
        ..view
    }
}

fn run(config: &TrainConfig, planted: &Planted, buffer: usize, io: &mut dyn TrainIo) -> Result<Trained<Classifier>, TrainError> {
    run_on(config, planted, &stream(planted, buffer), io)
}

fn run_on(
    config: &TrainConfig,
    planted: &Planted,
    train: &Stream,
    io: &mut dyn TrainIo,
) -> Result<Trained<Classifier>, TrainError> {
    let validation = validation(planted);
    let whole = planted.data();
    let data = ClassData {
        train: ClassPart { inputs: Source::Stream(train), ..whole.train },
        validation: ClassPart { inputs: Source::Stream(&validation), ..whole.validation },
        ..whole
    };
    train_classes(config, &data, Some(teacher(planted)), DEVICE, io)
}

fn talk() -> Method {
    let weights = Weights { student_state: 0.1, label: 0.5, ..Weights::default() };
    Method::Talk(Talk { message_dim: 4, tokens: 2, beside: Beside::Input, weights, ..Talk::default() })
}

/// What validation rows say does not depend on whether they stream by, and what is learnt is as good.
#[test]
fn students_learn_from_what_streams_by() {
    for (planted, net) in [(Planted::texts(true), text_transformer()), (Planted::images(true), vit())] {
        for method in [Method::Scratch, talk()] {
            let config = TrainConfig { epochs: 12, ..config(net.clone(), method) };
            let trained = run(&config, &planted, 10, &mut ()).unwrap();
            let losses = trained.curves.column("validation_nll").unwrap();
            assert!(losses[11] < losses[0], "{losses:?}");
            let logits = trained.model.taps(&planted.validation.inputs).unwrap().logits;
            let rows = logits.chunks(planted.data().classes).zip(&planted.validation.label);
            let wrong = rows.filter(|(row, label)| task::highest(row) != **label as usize).count();
            assert_eq!(trained.validation, wrong as f64 / planted.validation.row.len() as f64);
            // The buffer is a setting of what is learnt.
            let bytes = |trained: &Trained<Classifier>| trained.model.to_safetensors().unwrap();
            assert_eq!(bytes(&run(&config, &planted, 10, &mut ()).unwrap()), bytes(&trained));
            assert_ne!(bytes(&run(&config, &planted, 40, &mut ()).unwrap()), bytes(&trained));
        }
    }
}

#[test]
fn images_are_standardised_as_if_they_were_in_memory() {
    let planted = Planted::images(true);
    assert_eq!(Standard::of_stream(&stream(&planted, 3)).unwrap(), Standard::of(&planted.train.inputs));
    let values: Vec<f32> = (0..120).map(|at| (at * 37 % 101) as f32 * 0.5 - 7.0).collect();
    let inputs = Inputs::Vectors(Vectors { width: 4, values });
    let cut = Cut { inputs: inputs.clone(), features: RowFeatures::default(), sizes: vec![11, 1, 18], identity: vec![] };
    let (streamed, whole) = (Standard::of_stream(&Stream::new(Box::new(cut), 1)).unwrap(), Standard::of(&inputs));
    for (streamed, whole) in streamed.mean.iter().chain(&streamed.sd).zip(whole.mean.iter().chain(&whole.sd)) {
        assert!((streamed - whole).abs() < 1e-5 * whole.abs(), "{streamed} beside {whole}");
    }
}

/// Stops at a step, and keeps checkpoints.
struct Stop<'a> {
    dir: &'a Path,
    left: Cell<usize>,
}

impl TrainIo for Stop<'_> {
    fn cancelled(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() == 0
    }

    fn checkpoint_dir(&self) -> Option<&Path> {
        Some(self.dir)
    }

    fn checkpoint_every(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_training_that_was_stopped_within_an_epoch_ends_as_it_would_have() {
    let planted = Planted::texts(true);
    let config = TrainConfig { epochs: 2, ..config(text_transformer(), talk()) };
    let whole = run(&config, &planted, 9, &mut ()).unwrap();
    for steps in [2, 5, 9] {
        let dir = tempfile::tempdir().unwrap();
        let stop = run(&config, &planted, 9, &mut Stop { dir: dir.path(), left: Cell::new(steps) });
        assert!(matches!(stop, Err(TrainError::Cancelled { .. })), "{steps}");
        let resumed = run(&config, &planted, 9, &mut Stop { dir: dir.path(), left: Cell::new(usize::MAX) }).unwrap();
        assert_eq!(resumed.model, whole.model);
        assert_eq!(resumed.curves, whole.curves);
    }
}

/// What a training of other contents left is not gone on from, though its rows are called the same.
#[test]
fn contents_are_told_apart_by_what_they_say_of_themselves() {
    let planted = Planted::texts(true);
    let config = TrainConfig { epochs: 2, ..config(text_transformer(), Method::Scratch) };
    let steps = |identity: Vec<u32>, dir: &Path| {
        let mut io = Stop { dir, left: Cell::new(usize::MAX) };
        run_on(&config, &planted, &named(&planted, 9, identity), &mut io).unwrap();
        usize::MAX - io.left.get()
    };
    let left = |dir: &Path| {
        let stop = run_on(&config, &planted, &named(&planted, 9, vec![1]), &mut Stop { dir, left: Cell::new(5) });
        assert!(matches!(stop, Err(TrainError::Cancelled { .. })));
    };
    let of = |identity: Vec<u32>| {
        let dir = tempfile::tempdir().unwrap();
        left(dir.path());
        steps(identity, dir.path())
    };
    assert!(of(vec![1]) < of(vec![2]), "it went on from what another training left");
}
