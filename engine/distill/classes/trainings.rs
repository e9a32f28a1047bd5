//! Trainings of classes from end to end: every method learns, on every network that it is for, and what the trainer promises holds here too.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::cell::Cell;
use std::path::Path;

use super::planted::{Planted, bag, config, tasks, text_transformer, vit};
use super::task::highest;
use super::*;
use crate::augment::Augment;
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::io::{Progress, TrainIo};
use crate::methods::*;
use crate::task::Task;
use crate::teacher::TeacherSpec;
use crate::testing::DEVICE;
use crate::trainer::Trained;

fn run(config: &TrainConfig, planted: &Planted) -> Trained<Classifier> {
    train_classes(config, &planted.data(), Some(planted.view()), DEVICE, &mut ()).unwrap()
}

fn bytes(trained: &Trained<Classifier>) -> Vec<u8> {
    trained.model.to_safetensors().unwrap()
}

fn talk(change: impl FnOnce(&mut Talk)) -> Method {
    let mut talk = Talk { message_dim: 4, ..Talk::default() };
    change(&mut talk);
    Method::Talk(talk)
}

/// One of each method of classes, and talks of several kinds.
fn methods() -> Vec<Method> {
    let weights = || Weights { student_state: 0.1, label: 0.5, ..Weights::default() };
    vec![
        Method::Scratch,
        Method::Label(Label::default()),
        Method::Feature(Feature::default()),
        Method::Dist(Dist::default()),
        Method::Dkd(Dkd::default()),
        Method::Crd(Crd { width: 8, ..Crd::default() }),
        Method::Sp(Sp::default()),
        Method::Rkd(Rkd::default()),
        Method::Vid(Vid::default()),
        Method::Refilled(Refilled::default()),
        Method::Srd(Srd::default()),
        Method::IakdAdapter(IakdAdapter { message_dim: 4, ..IakdAdapter::default() }),
        Method::OneWay(OneWay { message_dim: 4, ..OneWay::default() }),
        Method::OneWay(OneWay { message_dim: 4, into: Tap::Low, ..OneWay::default() }),
        talk(|_| ()),
        talk(|talk| (talk.rounds, talk.tokens) = (2, 3)),
        talk(|talk| (talk.tokens, talk.beside) = (2, Beside::Input)),
        talk(|talk| (talk.protocol, talk.rounds, talk.weights) = (Protocol::AskAnswer, 2, weights())),
        talk(|talk| (talk.protocol, talk.replies) = (Protocol::AskAnswer, Replies::Shuffled)),
    ]
}

#[test]
fn every_method_learns_with_every_network() {
    for (planted, nets) in tasks(false) {
        let upper: Vec<u32> = planted.upper.words().collect();
        for net in nets {
            let mut trained_with = 0;
            for method in methods() {
                let config = TrainConfig { epochs: 12, ..config(net.clone(), method.clone()) };
                if config.check(Some(&TeacherSpec::Encoder { width: 12, layers: 2 })).is_err() {
                    continue;
                }
                trained_with += 1;
                let about = format!("{} {method:?}", net.name());
                let trained = run(&config, &planted);
                let loss = trained.curves.column("loss").unwrap();
                assert!(loss[11] < loss[0], "{about}: {loss:?}");
                assert!(trained.curves.columns().iter().flat_map(|(_, values)| values).all(|v| v.is_finite()), "{about}");
                let errors = trained.curves.column("validation_error").unwrap();
                let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
                assert_eq!((errors[trained.best_epoch - 1], trained.validation), (least, least), "{about}");
                // Two of three are wrong by chance.
                assert!(least < 0.25, "{about}: {errors:?}");
                assert_eq!(trained.monitor.collapsed, Some(false), "{about}");
                // The weights returned are those of that epoch.
                let taps = trained.model.taps(&planted.validation.inputs).unwrap();
                let rows = taps.logits.chunks(planted.data().classes).zip(&planted.validation.label);
                let wrong = rows.filter(|(row, label)| highest(row) != **label as usize).count();
                assert_eq!(wrong as f64 / planted.validation.row.len() as f64, least, "{about}");
            }
            // A map interprets no messages: no swaps, and no circular talks.
            assert_eq!(methods().len() - trained_with, if net.interprets() { 0 } else { 4 }, "{}", net.name());
        }
        assert!(planted.upper.words().eq(upper), "the teacher is left as it was");
    }
}

#[test]
fn what_weighs_nothing_changes_nothing() {
    let planted = Planted::texts(false);
    let tiny = 1e-30;
    let weights = Weights { interact: tiny, message: tiny, state: tiny, student_state: tiny, label: tiny };
    for net in [bag(), text_transformer()] {
        let scratch = run(&config(net.clone(), Method::Scratch), &planted);
        let silent = talk(|talk| (talk.weights, talk.tokens) = (weights.clone(), 2));
        assert_eq!(bytes(&scratch), bytes(&run(&config(net, silent), &planted)));
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (texts, images) = (Planted::texts(false), Planted::images(false));
    // Wide enough that work is shared out.
    let wide = NetSpec::TextTransformer(TextTransformer {
        width: 48,
        layers: 2,
        heads: 4,
        inner: 96,
        longest: 5,
        ..TextTransformer::default()
    });
    let said = |talk: &mut Talk| *talk = Talk { message_dim: 32, tokens: 4, beside: Beside::Input, rounds: 2, ..talk.clone() };
    for (planted, net) in [(&texts, bag()), (&texts, wide), (&images, vit())] {
        let config = TrainConfig { batch: 120, epochs: 2, ..config(net, talk(said)) };
        let results = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let trained = pool.install(|| run(&config, planted));
            (bytes(&trained), trained.curves)
        });
        assert!(results.iter().all(|result| *result == results[0]), "{}", config.model.name());
    }
}

/// Cancels before batch number `after`, and keeps checkpoints in a folder.
struct Killed<'a> {
    dir: &'a Path,
    after: Cell<usize>,
    epochs: usize,
}

impl TrainIo for Killed<'_> {
    fn epoch(&mut self, _: &Progress<'_>) {
        self.epochs += 1;
    }

    fn cancelled(&self) -> bool {
        let left = self.after.get();
        self.after.set(left.saturating_sub(1));
        left == 0
    }

    fn checkpoint_dir(&self) -> Option<&Path> {
        Some(self.dir)
    }
}

fn killed(dir: &Path, after: usize) -> Killed<'_> {
    Killed { dir, after: Cell::new(after), epochs: 0 }
}

#[test]
fn killed_and_resumed_equals_uninterrupted() {
    let augment = Augment { flip: true, padding: 1 };
    let mut images = Planted::images(false);
    images.augment = augment;
    let (texts, said) = (Planted::texts(false), |talk: &mut Talk| (talk.tokens, talk.beside) = (2, Beside::Input));
    for (planted, config) in [
        (&images, config(vit(), Method::Scratch)),
        (&texts, config(bag(), talk(said))),
        (&texts, config(text_transformer(), talk(|talk| talk.replies = Replies::Shuffled))),
    ] {
        let (data, view) = (planted.data(), planted.view());
        let whole = run(&config, planted);
        for kills in [vec![0], vec![3], vec![5], vec![7, 2, 12]] {
            let dir = tempfile::tempdir().unwrap();
            for &after in &kills {
                let error = train_classes(&config, &data, Some(view), DEVICE, &mut killed(dir.path(), after)).unwrap_err();
                assert!(matches!(error, TrainError::Cancelled { .. }), "{error}");
            }
            let mut io = killed(dir.path(), usize::MAX);
            let resumed = train_classes(&config, &data, Some(view), DEVICE, &mut io).unwrap();
            assert_eq!(bytes(&resumed), bytes(&whole), "{} {kills:?}", config.model.name());
            assert_eq!((&resumed.curves, &resumed.monitor), (&whole.curves, &whole.monitor), "{kills:?}");
            assert_eq!(io.epochs, 5 - kills.iter().sum::<usize>() / 5, "{kills:?}: it went on, and did not start over");
        }
    }
}

#[test]
fn checkpoints_of_other_data_are_as_good_as_none() {
    let planted = Planted::texts(false);
    let config = config(bag(), talk(|talk| talk.beside = Beside::Input));
    let begin = |change: &dyn Fn(&mut Planted)| {
        let dir = tempfile::tempdir().unwrap();
        train_classes(&config, &planted.data(), Some(planted.view()), DEVICE, &mut killed(dir.path(), 12)).unwrap_err();
        let mut other = Planted::texts(false);
        change(&mut other);
        let mut io = killed(dir.path(), usize::MAX);
        train_classes(&config, &other.data(), Some(other.view()), DEVICE, &mut io).unwrap();
        io.epochs
    };
    assert_eq!(begin(&|_| ()), 3);
    assert_eq!(begin(&|other| other.train.label[5] = (other.train.label[5] + 1) % 3), 5);
    assert_eq!(begin(&|other| other.validation.label[0] = (other.validation.label[0] + 1) % 3), 5);
    // The means of tokens are cached beside them, and here they stay what they were.
    assert_eq!(begin(&|other| other.tokens.swap(0, 12)), 5);
}

#[test]
fn images_change_with_the_epoch_and_not_with_the_order_of_a_batch() {
    let mut planted = Planted::images(false);
    planted.augment = Augment { flip: true, padding: 1 };
    let data = planted.data();
    let model = config(vit(), Method::Scratch).model;
    let picked = |places: &[u32], seed: u64, epoch: usize| {
        let mut batch = Default::default();
        data.pick(&model, places, (seed, epoch), &mut batch).unwrap();
        let Some(Inputs::Images(Pixels { bytes, .. })) = batch.inputs else { panic!("images") };
        bytes.chunks(32).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let places: Vec<u32> = (0..24).collect();
    let first = picked(&places, 1, 0);
    assert_eq!(picked(&places, 1, 0), first);
    for (seed, epoch) in [(1, 1), (2, 0)] {
        let other = picked(&places, seed, epoch);
        let changed = first.iter().zip(&other).filter(|(a, b)| a != b).count();
        assert!(changed > 12, "{changed} of 24 images differ");
    }
    let back: Vec<u32> = places.iter().rev().copied().collect();
    assert!(picked(&back, 1, 0).into_iter().rev().eq(first.iter().cloned()));
    // In another batch an image is the same too.
    assert_eq!(picked(&[100, 7, 3], 1, 0)[1..], [first[7].clone(), first[3].clone()]);
    // Of what is not augmented nothing changes.
    let plain = Planted::images(false);
    let mut batch = Default::default();
    plain.data().pick(&model, &places, (1, 3), &mut batch).unwrap();
    assert_eq!(batch.inputs, Some(plain.train.inputs.pick(&places)));
    // And trainings see it.
    let trained = |planted: &Planted| bytes(&run(&config(vit(), Method::Scratch), planted));
    assert_ne!(trained(&planted), trained(&plain));
}

#[test]
fn messages_of_tokens_are_refused_for_a_teacher_that_reads_a_vector() {
    let teacher = crate::testing::Teacher::new();
    let planted = Planted::texts(false);
    let mut view = planted.view();
    view.upper = Some(&teacher.upper);
    // A low state of its width.
    let low = vec![0.5; planted.train.row.len() * 12];
    view.low = Some(crate::teacher::States { width: 12, values: &low, variance: &[1.0; 12] });
    let run = |tokens| {
        let config = config(bag(), talk(|talk| talk.tokens = tokens));
        train_classes(&config, &planted.data(), Some(view), DEVICE, &mut ())
    };
    assert!(run(1).is_ok());
    let error = run(2).unwrap_err().to_string();
    assert!(error.contains("2 message tokens for a teacher that reads one vector"), "{error}");
}
