//! What a step of a class training costs, against what kernels multiply in it, and by hand.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::cell::RefCell;

use super::planted::{CLASSES, Planted, config, tasks, text_transformer};
use super::*;
use crate::config::TrainConfig;
use crate::cost::{StepCost, task_cost};
use crate::device::DeviceKind;
use crate::io::{Progress, TrainIo};
use crate::methods::*;
use crate::ops::MULTIPLIED;
use crate::teacher::TeacherSpec;

/// Reads the count before every step, and ends after the first.
#[derive(Default)]
struct Watch {
    counts: RefCell<Vec<u64>>,
}

impl TrainIo for Watch {
    fn epoch(&mut self, _: &Progress<'_>) {}

    fn cancelled(&self) -> bool {
        self.counts.borrow_mut().push(MULTIPLIED.get());
        self.counts.borrow().len() > 1
    }
}

/// What the kernels really multiply in a step.
fn counted(config: &TrainConfig, planted: &Planted) -> u64 {
    let mut watch = Watch::default();
    train_classes(config, &planted.data(), Some(planted.view()), DeviceKind::Cpu, &mut watch).unwrap_err();
    let counts = watch.counts.into_inner();
    counts[1] - counts[0]
}

fn cost(config: &TrainConfig, planted: &Planted) -> StepCost {
    task_cost(config, &planted.data(), Some(planted.view())).unwrap()
}

fn methods() -> Vec<Method> {
    let mut methods = vec![
        Method::Scratch,
        Method::Label(Label::default()),
        Method::Feature(Feature::default()),
        Method::Vid(Vid { projector_hidden: Some(5), ..Vid::default() }),
        Method::Sp(Sp::default()),
        Method::Srd(Srd::default()),
        Method::Dkd(Dkd::default()),
        Method::Crd(Crd { width: 6, ..Crd::default() }),
        Method::IakdAdapter(IakdAdapter { probability: 1.0, message_dim: 4, module_hidden: None }),
        Method::OneWay(OneWay { into: Tap::Low, message_dim: 4, ..OneWay::default() }),
        Method::OneWay(OneWay { widened: true, message_dim: 4, ..OneWay::default() }),
    ];
    for protocol in [Protocol::Circular, Protocol::AskAnswer] {
        for (rounds, tokens, beside) in
            [(1, 1, Beside::Nothing), (2, 3, Beside::Nothing), (1, 1, Beside::Input), (2, 2, Beside::Input)]
        {
            for interact_into in [InteractInto::Both, InteractInto::Student, InteractInto::Modules] {
                for question_path in [QuestionPath::Open, QuestionPath::Stop] {
                    let terms = [[0.1, 0.1, 0.1, 0.0], [0.0, 0.0, 0.1, 0.1], [0.0, 0.1, 0.0, 0.0]];
                    for [interact, message, state, student_state] in terms {
                        let weights = Weights { interact, message, state, student_state, label: 0.0 };
                        let student_state_into = if tokens > 1 { Tap::Low } else { Tap::High };
                        let settings = Talk { protocol, rounds, tokens, beside, interact_into, question_path, ..Talk::default() };
                        methods.push(Method::Talk(Talk { message_dim: 4, weights, student_state_into, ..settings }));
                    }
                }
            }
        }
    }
    methods
}

/// Texts are of one length here, since of others attention is foretold by their mean.
#[test]
fn what_is_foretold_is_what_the_kernels_multiply() {
    let mut looked_at = 0;
    for (planted, nets) in tasks(true) {
        for net in nets {
            for method in methods() {
                let config = config(net.clone(), method);
                if config.check(Some(&TeacherSpec::Encoder { width: 12, layers: 2 })).is_ok() {
                    assert_eq!(2 * counted(&config, &planted), cost(&config, &planted).matmul_flops, "{config:?}");
                    looked_at += 1;
                }
            }
        }
    }
    assert!(looked_at > 300, "{looked_at}");
}

/// A head on vectors: three classes of five numbers.
#[test]
fn a_head_by_hand() {
    let planted = Planted::texts(true);
    let vectors = |rows: usize| Inputs::Vectors(Vectors { width: 5, values: (0..rows * 5).map(|at| at as f32).collect() });
    let [train, validation] = [&planted.train, &planted.validation]
        .map(|examples| ClassExamples { inputs: vectors(examples.row.len()), ..examples.clone() });
    let words = Words::of_list(Vec::new()).unwrap();
    let shape = InputShape::Vectors { width: 5 };
    let standard = Standard::of(&train.inputs);
    let parts = (train.part(), validation.part());
    let data = ClassData { train: parts.0, validation: parts.1, standard: &standard, shape, words: &words, ..planted.data() };
    let config = config(NetSpec::Linear(Linear { width: 5 }), Method::Scratch);
    let cost = task_cost(&config, &data, None).unwrap();
    // Forward, and the gradient of the weights; what is read wants none.
    assert_eq!(cost.matmul_flops, 24 * 2 * 2 * 5 * CLASSES as u64);
}

/// One layer on texts of four words: what a row keeps. Gains and biases of norms are there once for all rows.
#[test]
fn bytes_of_an_encoder_by_hand() {
    let planted = Planted::texts(true);
    let cost = cost(&config(text_transformer(), Method::Scratch), &planted);
    let (tokens, width, inner, classes) = (4, 8, 12, CLASSES as u64);
    let dense = |inputs: u64, outputs: u64| (inputs + 1) * outputs;
    let layers =
        dense(width, 3 * width) + dense(width, width) + dense(width, inner) + dense(inner, width) + dense(width, classes);
    let norms = 3 * 2 * width;
    // Words, and positions of which there are five: as many rows as a batch reads of them, or all.
    let touched = (13 + 5) * width;
    // Embeddings, two norms, heads, what is gathered, two sums, what is narrowed, the norm at the end; queries, keys and values; inside of
    // the perceptron; what a head reads, and logits.
    let graded = tokens * (9 * width + 3 * width + 2 * inner) + width + classes;
    // The mean of the low state, which nobody reads.
    let values = graded + width;
    let read = 4 + 1;
    assert_eq!(cost.bytes, 4 * ((layers + norms + touched) * 8 + 24 * (2 * values + 2 * graded + read)));
}
