//! Each network against finite differences of itself, convolution against its definition, and what all of them promise, on the device that tests
//! run on.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use dfdx::tensor::Cpu;

use super::net::{Net, NetForward, NetStates, TableGradients};
use super::operations::Map;
use super::*;
use crate::ImageShape;
use crate::graph::Graph;
use crate::models::student::Dropout;
use crate::ops::{Activation, Layer, Ops, Pool, Var};
use crate::optim::{Adam, Decay, Optimizer, Sgd};
use crate::random::{Rng, Role};
use crate::tensors::Tensors;
use crate::testing::{Tested, device};

const CLASSES: usize = 3;

fn numbers(name: &str, len: usize) -> Vec<f32> {
    let mut rng = Rng::stream(1, Role::Init, name, 0);
    (0..len).map(|_| rng.symmetric(1.0)).collect()
}

fn close(found: &[f32], expected: &[f64], within: f64) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(f, e)| (f64::from(*f) - e).abs() <= within * (1.0 + e.abs()))
}

/// A kind of network, and examples that it can read.
#[derive(Debug)]
struct Case {
    spec: NetSpec,
    shape: InputShape,
    inputs: Inputs,
}

fn of_texts(spec: NetSpec, vocabulary: usize, texts: &[&[u32]]) -> Case {
    Case { spec, shape: InputShape::Texts { vocabulary }, inputs: Inputs::Texts(texts.iter().collect()) }
}

fn of_images(spec: NetSpec, [channels, height, width]: [usize; 3], count: usize) -> Case {
    let shape = ImageShape { channels, height, width };
    let mut rng = Rng::stream(1, Role::Init, "images", 0);
    let bytes = (0..count * shape.bytes()).map(|_| rng.below(256) as u8).collect();
    Case { spec, shape: InputShape::Images(shape), inputs: Inputs::Images(Pixels { shape, bytes }) }
}

const TEXTS: [&[u32]; 3] = [&[1, 2, 1], &[0], &[3, 6, 2, 2]];

fn bag(hidden: &[usize]) -> NetSpec {
    NetSpec::Bag(Bag { embedding: 3, hidden: hidden.to_vec(), embedding_sd: 1.0, ..Bag::default() })
}

fn transformer() -> NetSpec {
    let transformer = TextTransformer { width: 6, layers: 2, heads: 2, inner: 5, longest: 5, ..TextTransformer::default() };
    NetSpec::TextTransformer(transformer)
}

fn vit() -> NetSpec {
    NetSpec::Vit(Vit { patch: 2, width: 6, layers: 2, heads: 3, inner: 5 })
}

fn conv(channels: &[usize]) -> NetSpec {
    NetSpec::Conv(Conv { channels: channels.to_vec(), dropout: 0.0 })
}

/// Every kind, those with one layer and images with odd sides among them.
fn cases() -> Vec<Case> {
    vec![
        of_texts(bag(&[5, 4]), 7, &TEXTS),
        of_texts(bag(&[5]), 7, &TEXTS),
        of_texts(transformer(), 7, &TEXTS),
        of_images(vit(), [2, 4, 6], 3),
        of_images(conv(&[3, 4, 3]), [2, 5, 6], 3),
        of_images(conv(&[3]), [1, 3, 2], 2),
    ]
}

impl Case {
    fn fresh<D: Ops>(&self, device: &D) -> Net<D> {
        self.spec.check().unwrap();
        self.spec.fits(&self.shape).unwrap();
        self.spec.reads(&self.shape, &self.inputs).unwrap();
        Net::fresh(device, &self.spec, &self.shape, CLASSES, 1, Standard::of(&self.inputs)).unwrap()
    }

    /// With biases and norms that are not what they begin as, so that one which is forgotten is found out.
    fn stirred(&self) -> Net<Tested> {
        let mut net = self.fresh(&device());
        net.params
            .overwrite(|param| {
                if param.rows == 1 {
                    let stirred = numbers(&param.name, param.host.len());
                    param.host.iter_mut().zip(stirred).for_each(|(value, stir)| *value += 0.3 * stir);
                }
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap();
        net
    }
}

/// All that can be read of a batch, low states, their means, high states, logits, each with what the loss has for a gradient there.
fn readings(graph: &mut Graph<Tested>, forward: &NetForward<Tested>) -> Vec<(Var<Tested>, Vec<f32>)> {
    let mean = forward.low_mean(graph).unwrap();
    let vars = [("low", &forward.low), ("mean", &mean), ("high", &forward.high), ("output", &forward.output)];
    vars.into_iter().map(|(name, var)| (var.clone(), numbers(name, var.rows() * var.cols()))).collect()
}

fn loss(net: &mut Net<Tested>, inputs: &Inputs) -> f64 {
    let mut graph = Graph::inference(&device(), &Pool::default());
    let forward = net.forward(&mut graph, inputs, &Dropout::NONE).unwrap();
    let products = readings(&mut graph, &forward)
        .into_iter()
        .map(|(var, seed)| var.host().iter().zip(&seed).map(|(y, s)| f64::from(*y) * f64::from(*s)).sum::<f64>());
    products.sum()
}

/// Weights by name, as files have them.
fn weights<D: Ops>(net: &mut Net<D>) -> Vec<(String, Vec<f32>)> {
    net.settle();
    let tables = net.tables().map(|table| (table.name.clone(), table.values.clone()));
    let params = net.params.iter().map(|param| (param.name.clone(), param.host.clone()));
    tables.chain(params).collect()
}

fn moved(net: &Net<Tested>, name: &str, entry: usize, step: f32) -> Net<Tested> {
    let mut net = net.clone();
    if let Some(table) = net.tables_mut().find(|table| table.name == name) {
        table.values[entry] += step;
    }
    net.params
        .overwrite(|param| {
            if param.name == name {
                param.host[entry] += step;
            }
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
    net
}

/// One step at rate 1, so that each weight moves by its gradient.
const PLAIN: Optimizer =
    Optimizer::Sgd(Sgd { rate: 1.0, momentum: 0.0, decay: Decay { weights: 0.0, embeddings: 0.0, bias_terms: 0.0 } });

#[test]
fn gradients_are_those_of_finite_differences() {
    for case in cases() {
        let mut net = case.stirred();
        net.prepare(&PLAIN);
        let before = weights(&mut net);
        let pool = Pool::default();
        let mut graph = Graph::training(&device(), &pool);
        let forward = net.forward(&mut graph, &case.inputs, &Dropout::NONE).unwrap();
        for (var, seed) in readings(&mut graph, &forward) {
            graph.seed(&var, pool.copy(&seed));
        }
        graph.backward().unwrap();
        let mut gradients = TableGradients::default();
        let mut stepped = net.clone();
        stepped.collect(&forward, &mut gradients).unwrap();
        let squares = gradients.squares() + stepped.params.squares();
        stepped.update(&PLAIN.rule(1.0, 1.0), &gradients);
        let mut sum = 0.0;
        for ((name, before), (_, after)) in before.iter().zip(weights(&mut stepped)) {
            for (entry, (before, after)) in before.iter().zip(after).enumerate() {
                let found = f64::from(before - after);
                sum += found * found;
                // A step may cross the kink of a ReLU, a smaller one need not; a wrong gradient is wrong for both.
                let wrong = [128.0f32, 1024.0].map(|steps| {
                    let at = |step: f32| loss(&mut moved(&net, name, entry, step), &case.inputs);
                    let expected = (at(1.0 / steps) - at(-1.0 / steps)) * f64::from(steps) / 2.0;
                    (expected - found).abs() / (1.0 + expected.abs())
                });
                assert!(wrong.iter().any(|wrong| *wrong < 5e-3), "{:?} {name} [{entry}]: {found}, off by {wrong:?}", case.spec);
            }
        }
        assert!((sum - squares).abs() < 1e-3 * sum, "{:?}: {sum} {squares}", case.spec);
    }
}

/// A convolution by its definition, in double precision: what it makes, and the gradients of input, weights and bias.
fn direct(x: &[f64], map: Map, stride: usize, weight: &[f64], bias: &[f64], seed: &[f64]) -> [Vec<f64>; 4] {
    let (channels, outputs) = (map.channels, bias.len());
    let (mut made, mut to_x, mut to_weight, mut to_bias) =
        (Vec::new(), vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; outputs]);
    for image in 0..x.len() / (map.height * map.width * channels) {
        for y in (0..map.height).step_by(stride) {
            for x_at in (0..map.width).step_by(stride) {
                for out in 0..outputs {
                    let g = seed[made.len()];
                    let mut sum = bias[out];
                    to_bias[out] += g;
                    for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                        let (row, column) = (y as isize + dy - 1, x_at as isize + dx - 1);
                        if (0..map.height as isize).contains(&row) && (0..map.width as isize).contains(&column) {
                            let place = (image * map.height + row as usize) * map.width + column as usize;
                            for channel in 0..channels {
                                let from = place * channels + channel;
                                let by = ((dy * 3 + dx) as usize * channels + channel) * outputs + out;
                                sum += x[from] * weight[by];
                                to_x[from] += g * weight[by];
                                to_weight[by] += g * x[from];
                            }
                        }
                    }
                    made.push(sum);
                }
            }
        }
    }
    [made, to_x, to_weight, to_bias]
}

#[test]
fn convolution_follows_its_definition() {
    let (device, pool) = (device(), Pool::default());
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    for (height, width) in [(1, 1), (1, 4), (2, 2), (3, 5), (6, 4), (7, 7)] {
        for (channels, outputs) in [(1, 2), (3, 4)] {
            for stride in [1, 2, 3] {
                let map = Map { height, width, channels };
                let after = map.convolved(stride, outputs);
                let (images, rows) = (2, 2 * map.places());
                let x = numbers("x", rows * channels);
                let (weight, bias) = (numbers("weight", 9 * channels * outputs), numbers("bias", outputs));
                let seed = numbers("seed", images * after.places() * outputs);
                let mut graph = Graph::training(&device, &pool);
                let source = graph.leaf(pool.copy(&x), rows, channels).unwrap();
                let layer = Layer {
                    weight: graph.leaf(pool.copy(&weight), 9 * channels, outputs).unwrap(),
                    bias: graph.leaf(pool.copy(&bias), 1, outputs).unwrap(),
                };
                let windows = graph.windows(&source, map, stride).unwrap();
                let made = graph.run(&windows, vec![layer.clone().then(Activation::None)]).unwrap().swap_remove(0);
                graph.seed(&made, pool.copy(&seed));
                graph.backward().unwrap();
                let take = |var: &Var<Tested>| device.take_gradient(&var.value, &pool).unwrap().unwrap().to_vec();
                let found = [made.host().to_vec(), take(&source), take(&layer.weight), take(&layer.bias)];
                let expected = direct(&wide(&x), map, stride, &wide(&weight), &wide(&bias), &wide(&seed));
                for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert!(close(found, expected, 1e-5), "{map:?} by {stride}, part {part}: {found:?} {expected:?}");
                }
            }
        }
    }
}

/// The mean cross-entropy's gradient with regard to logits.
fn slopes(logits: &[f32], labels: &[usize]) -> Vec<f32> {
    let rows = logits.chunks(CLASSES).zip(labels);
    let slopes = rows.flat_map(|(logits, &label)| {
        let parts: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
        let sum: f64 = parts.iter().sum();
        let count = labels.len() as f64;
        parts.into_iter().enumerate().map(move |(class, part)| ((part / sum - f64::from(class == label)) / count) as f32)
    });
    slopes.collect()
}

fn train<D: Ops>(net: &mut Net<D>, inputs: &Inputs, labels: &[usize], optimizer: &Optimizer, steps: u64, rate: f32) {
    let pool = Pool::default();
    let mut gradients = TableGradients::default();
    let device = net.device();
    for step in 0..steps {
        let mut graph = Graph::training(&device, &pool);
        let forward = net.forward(&mut graph, inputs, &Dropout { rate, seed: 1, step }).unwrap();
        let seed = slopes(&forward.output.host(), labels);
        graph.seed(&forward.output, pool.copy(&seed));
        graph.backward().unwrap();
        net.collect(&forward, &mut gradients).unwrap();
        net.update(&optimizer.rule(optimizer.rate(), 1.0), &gradients);
    }
}

fn adam(rate: f64) -> Optimizer {
    Optimizer::Adam(Adam { rate, decay: Decay { weights: 0.01, embeddings: 0.01, bias_terms: 0.0 }, ..Adam::default() })
}

#[test]
fn what_is_written_is_read_again() {
    for case in cases() {
        let mut net = case.stirred();
        net.prepare(&adam(0.01));
        train(&mut net, &case.inputs, &vec![1; case.inputs.len()], &adam(0.01), 2, 0.0);
        let tensors = net.export();
        let bytes = tensors.to_bytes().unwrap();
        let read = Tensors::from_bytes(&bytes, |_| true).unwrap();
        let mut again = Net::import(&device(), &case.spec, &case.shape, CLASSES, &read).unwrap();
        assert_eq!(again.export().to_bytes().unwrap(), bytes, "{:?}", case.spec);
        assert_eq!(again.numbers(), net.numbers());
        let states = net.states(&case.inputs).unwrap();
        assert_eq!(again.states(&case.inputs).unwrap(), states, "{:?}", case.spec);
        // And they are those of a training batch, one row an example.
        let mut graph = Graph::inference(&device(), &Pool::default());
        let forward = net.forward(&mut graph, &case.inputs, &Dropout::NONE).unwrap();
        let mean = forward.low_mean(&mut graph).unwrap();
        let same =
            NetStates { low: mean.host().to_vec(), high: forward.high.host().to_vec(), logits: forward.output.host().to_vec() };
        assert_eq!(states, same);
        let widths = [case.spec.low_width(), case.spec.high_width(), CLASSES].map(|width| width * case.inputs.len());
        assert_eq!([states.low.len(), states.high.len(), states.logits.len()], widths);
        assert_eq!(forward.low.cols(), case.spec.low_width());
        assert_eq!((forward.places.len(), forward.places.rows()), (case.inputs.len(), forward.low.rows()));
        // Other classes, and a tensor that is not there.
        let error = Net::import(&device(), &case.spec, &case.shape, 5, &read).unwrap_err().to_string();
        assert!(error.contains("`head.weight`: its shape is") && error.contains(", 5]"), "{error}");
        let error = Net::import(&device(), &case.spec, &case.shape, CLASSES, &Tensors::default()).unwrap_err().to_string();
        assert!(error.contains("it is missing"), "{error}");
    }
}

#[test]
fn many_examples_have_the_states_that_each_has() {
    for case in [of_images(conv(&[3, 4]), [1, 4, 3], 300), of_texts(transformer(), 7, &TEXTS.repeat(100))] {
        let net = case.stirred();
        let all = net.states(&case.inputs).unwrap();
        assert_eq!(all.logits.len(), 300 * CLASSES);
        for row in [0, 127, 128, 257, 299] {
            let one = net.states(&case.inputs.pick(&[row])).unwrap();
            for (all, one) in [(&all.low, one.low), (&all.high, one.high), (&all.logits, one.logits)] {
                let of_row = all[row as usize * one.len()..][..one.len()].iter().map(|x| f64::from(*x));
                assert!(close(&one, &of_row.collect::<Vec<f64>>(), 1e-5), "{} {row}", case.spec.name());
            }
        }
        assert_eq!(net.states(&case.inputs.pick(&[])).unwrap(), NetStates::default());
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let case = of_images(vit(), [2, 4, 6], 2);
    let read = |spec: &NetSpec, shape: InputShape, tensors: &Tensors| {
        Net::import(&device(), spec, &shape, CLASSES, tensors).unwrap_err().to_string()
    };
    let tensors = case.fresh(&device()).export();
    let texts = read(&case.spec, InputShape::Texts { vocabulary: 3 }, &tensors);
    assert!(texts.contains("`vit`: it reads images, and the examples are texts"), "{texts}");
    let larger = InputShape::Images(ImageShape { channels: 2, height: 8, width: 6 });
    let larger = read(&case.spec, larger, &tensors);
    assert!(larger.contains("`position.embedding`: its shape is [6, 6], expected [12, 6]"), "{larger}");
    let wrong = NetSpec::Vit(Vit { heads: 4, ..Vit { patch: 2, width: 6, layers: 2, heads: 3, inner: 5 } });
    assert!(read(&wrong, case.shape, &tensors).contains("`width` is 6, but must be a multiple of `heads`"));
    for sd in [0.0, f32::NAN, -1.0] {
        let mut tensors = tensors.clone();
        tensors.put("standard.sd", &[2], vec![1.0, sd]);
        let error = read(&case.spec, case.shape, &tensors);
        assert!(error.contains("`standard.sd`: images cannot be standardised"), "{error}");
    }
    // Sizes that no file has are refused by the first tensor, before anything is allocated.
    let huge = NetSpec::Conv(Conv { channels: vec![usize::MAX / 2, 3], dropout: 0.0 });
    assert!(read(&huge, case.shape, &tensors).contains("`convolutions.0.weight`"));
}

/// Sizes at which work is shared out, and dropout.
#[test]
fn threads_change_no_bit() {
    let long: Vec<u32> = (0..40).map(|at| at * 7 % 50).collect();
    let texts: Vec<&[u32]> = (0..64).map(|row| &long[row % 5..20 + row % 17]).collect();
    let wide = Bag { embedding: 64, hidden: vec![256, 128], dropout: 0.1, ..Bag::default() };
    for case in [
        of_texts(NetSpec::Bag(wide), 50, &texts),
        of_texts(NetSpec::TextTransformer(TextTransformer::default()), 50, &texts),
        of_images(NetSpec::Vit(Vit::default()), [3, 16, 16], 40),
        of_images(NetSpec::Conv(Conv { dropout: 0.2, ..Conv::default() }), [3, 17, 16], 40),
    ] {
        let labels: Vec<usize> = (0..case.inputs.len()).map(|row| row % CLASSES).collect();
        let run = |threads: usize| {
            let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            workers.install(|| {
                let mut net = case.fresh(&Cpu::default());
                net.prepare(&adam(0.01));
                train(&mut net, &case.inputs, &labels, &adam(0.01), 2, case.spec.dropout() as f32);
                (net.export().to_bytes().unwrap(), net.states(&case.inputs).unwrap())
            })
        };
        let one = run(1);
        assert_eq!(one, run(2), "{}", case.spec.name());
        assert_eq!(one, run(3), "{}", case.spec.name());
    }
}

/// How many of some examples are told right.
fn right(net: &Net<Tested>, inputs: &Inputs, labels: &[usize]) -> usize {
    let logits = net.states(inputs).unwrap().logits;
    let best = |row: &[f32]| (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    logits.chunks(CLASSES).zip(labels).filter(|(row, label)| best(row) == **label).count()
}

/// Trains on 48 examples and asks about 48 others.
fn learns(case: &Case, labels: &[usize], steps: u64) {
    let rows: Vec<u32> = (0..96).collect();
    let (train_rows, test_rows) = rows.split_at(48);
    let mut net = case.fresh(&device());
    net.prepare(&adam(0.02));
    train(&mut net, &case.inputs.pick(train_rows), &labels[..48], &adam(0.02), steps, 0.0);
    net.settle();
    let right = right(&net, &case.inputs.pick(test_rows), &labels[48..]);
    assert!(right >= 45, "{}: {right} of 48", case.spec.name());
}

#[test]
fn a_bag_learns_which_word_is_there() {
    let mut rng = Rng::stream(1, Role::Init, "texts", 0);
    let (texts, labels): (Vec<Vec<u32>>, Vec<usize>) = (0..96)
        .map(|_| {
            let label = rng.below(3);
            let mut text: Vec<u32> = (0..4).map(|_| 4 + rng.below(6) as u32).collect();
            text.insert(rng.below(5) as usize, 1 + label as u32);
            (text, label as usize)
        })
        .unzip();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    learns(&of_texts(NetSpec::Bag(Bag { embedding: 8, hidden: vec![12, 8], ..Bag::default() }), 10, &texts), &labels, 40);
}

/// Texts of the same three words, told apart by which one comes first: nothing that a bag could see.
#[test]
fn a_text_transformer_learns_what_comes_first() {
    let mut rng = Rng::stream(1, Role::Init, "texts", 0);
    let (texts, labels): (Vec<Vec<u32>>, Vec<usize>) = (0..96)
        .map(|_| {
            let mut text = vec![1, 2, 3];
            rng.shuffle(&mut text);
            let label = text[0] as usize - 1;
            (text, label)
        })
        .unzip();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let spec = TextTransformer { width: 12, layers: 1, heads: 2, inner: 12, longest: 3, ..TextTransformer::default() };
    learns(&of_texts(NetSpec::TextTransformer(spec), 4, &texts), &labels, 60);
}

/// Images of noise with a bright square in one of three places.
#[test]
fn a_vit_learns_where_it_is_bright() {
    let mut case = of_images(NetSpec::Vit(Vit { patch: 4, width: 12, layers: 1, heads: 2, inner: 12 }), [1, 8, 8], 96);
    let Inputs::Images(pixels) = &mut case.inputs else { unreachable!() };
    let mut rng = Rng::stream(1, Role::Init, "places", 0);
    let mut labels = Vec::new();
    for image in pixels.bytes.chunks_mut(64) {
        let label = rng.below(3) as usize;
        labels.push(label);
        image.iter_mut().for_each(|byte| *byte /= 8);
        let (y, x) = [(0, 0), (0, 4), (4, 0)][label];
        (0..16).for_each(|at| image[(y + at / 4) * 8 + x + at % 4] = 255);
    }
    learns(&case, &labels, 60);
}

/// Stripes across, down, or noise; stripes begin anywhere.
#[test]
fn a_conv_learns_which_way_stripes_run() {
    let mut case = of_images(NetSpec::Conv(Conv { channels: vec![6, 8], dropout: 0.0 }), [1, 7, 8], 96);
    let Inputs::Images(pixels) = &mut case.inputs else { unreachable!() };
    let mut rng = Rng::stream(1, Role::Init, "stripes", 0);
    let mut labels = Vec::new();
    for image in pixels.bytes.chunks_mut(56) {
        let (label, from) = (rng.below(3) as usize, rng.below(2) as usize);
        labels.push(label);
        for (at, byte) in image.iter_mut().enumerate() {
            let bright = [at / 8, at % 8].get(label).map(|place| (place + from) % 2 == 0);
            if let Some(bright) = bright {
                *byte = if bright { 200 } else { 50 };
            }
        }
    }
    learns(&case, &labels, 60);
}

#[test]
fn only_rows_that_were_read_move() {
    for spec in [bag(&[5, 4]), transformer()] {
        let case = of_texts(spec, 7, &[&[1, 4], &[4, 1, 5]]);
        let mut net = case.fresh(&device());
        net.prepare(&PLAIN);
        let before = net.clone();
        train(&mut net, &case.inputs, &[0, 1], &PLAIN, 1, 0.0);
        for (before, after) in before.tables().zip(net.tables()) {
            let read: &[u32] = if before.name == "word.embedding" { &[1, 4, 5] } else { &[0, 1, 2] };
            for row in 0..before.rows() as u32 {
                let moved = before.row(row) != after.row(row);
                assert_eq!(moved, read.contains(&row), "{} row {row} of {}", before.name, case.spec.name());
            }
        }
    }
}

/// A word that was left out of a step is read with the decay of that step.
#[test]
fn left_out_rows_are_read_with_their_decay() {
    let optimizer = Optimizer::Sgd(Sgd { decay: Decay { embeddings: 2.0, ..Decay::default() }, ..Sgd::default() });
    for spec in [bag(&[5, 4]), transformer()] {
        let case = of_texts(spec, 7, &[&[1, 4], &[4, 1, 5]]);
        let mut net = case.fresh(&device());
        net.prepare(&optimizer);
        train(&mut net, &case.inputs, &[0, 1], &optimizer, 1, 0.0);
        let other = Inputs::Texts([[2, 3]].iter().collect());
        let read = |net: &mut Net<Tested>| {
            let mut graph = Graph::inference(&device(), &Pool::default());
            net.forward(&mut graph, &other, &Dropout::NONE).unwrap().output.host().to_vec()
        };
        let mut settled = net.clone();
        settled.settle();
        assert_ne!(net.states(&other).unwrap(), settled.states(&other).unwrap());
        assert_eq!(read(&mut net), read(&mut settled), "{}", case.spec.name());
    }
}

/// The layers above, on the low state itself, make the high state of it; frozen, they give messages the same gradient and keep none.
#[test]
fn messages_are_interpreted_as_low_states_are() {
    let pool = Pool::default();
    for case in [
        of_texts(bag(&[5, 4]), 7, &TEXTS),
        of_texts(bag(&[5]), 7, &TEXTS),
        of_texts(transformer(), 7, &[&[1, 2, 3], &[6, 5, 4]]),
        of_images(vit(), [2, 4, 6], 3),
    ] {
        assert!(case.spec.interprets());
        let mut net = case.stirred();
        let mut graph = Graph::inference(&device(), &pool);
        let forward = net.forward(&mut graph, &case.inputs, &Dropout::NONE).unwrap();
        let (low, high) = (forward.low.host().to_vec(), forward.high.host().to_vec());
        let tokens = forward.places.rows() / forward.places.len();
        let mut run = |frozen: bool, place: &str, dropout: &Dropout| {
            let mut graph = Graph::training(&device(), &pool);
            let messages = graph.leaf(pool.copy(&low), forward.low.rows(), forward.low.cols()).unwrap();
            let made = net.interpret(&mut graph, &messages, tokens, dropout, place, frozen).unwrap();
            graph.seed(&made, pool.copy(&numbers("seed", high.len())));
            graph.backward().unwrap();
            net.params.collect().unwrap();
            let gradient = device().take_gradient(&messages.value, &pool).unwrap().unwrap().to_vec();
            (made.host().to_vec(), gradient, net.params.squares())
        };
        let (made, gradient, squares) = run(false, "talk", &Dropout::NONE);
        assert_eq!(made, high, "{:?}", case.spec);
        assert!(squares > 0.0 || case.spec == bag(&[5]));
        let (frozen, same, none) = run(true, "talk", &Dropout::NONE);
        assert_eq!((&frozen, &same, none), (&made, &gradient, 0.0), "{:?}", case.spec);
        // Masks lie between layers, and each place has its own.
        let half = Dropout { rate: 0.5, seed: 1, step: 1 };
        let (dropped, elsewhere) = (run(false, "talk", &half).0, run(false, "other", &half).0);
        let masked = case.spec == bag(&[5, 4]);
        assert_eq!((dropped != made, dropped != elsewhere), (masked, masked), "{:?}", case.spec);
    }
    assert!(!conv(&[3]).interprets());
}

#[test]
fn dropout_acts_above_the_states() {
    for (case, high_keeps) in [(of_texts(bag(&[5, 4]), 7, &TEXTS), false), (of_images(conv(&[3, 4]), [2, 5, 6], 3), true)] {
        let mut net = case.stirred();
        let mut run = |rate: f32, step: u64| {
            let mut graph = Graph::inference(&device(), &Pool::default());
            let forward = net.forward(&mut graph, &case.inputs, &Dropout { rate, seed: 1, step }).unwrap();
            [&forward.low, &forward.high, &forward.output].map(|var| var.host().to_vec())
        };
        let (whole, dropped, other) = (run(0.0, 0), run(0.5, 0), run(0.5, 1));
        assert_eq!(whole[0], dropped[0]);
        assert_eq!(whole[1] == dropped[1], high_keeps, "{}", case.spec.name());
        assert!(whole[2] != dropped[2] && dropped[2] != other[2]);
    }
}

#[test]
fn weights_begin_as_their_names_and_gains_say() {
    let case = of_images(NetSpec::Conv(Conv::default()), [3, 4, 4], 2);
    let vit = of_images(NetSpec::Vit(Vit::default()), [3, 8, 8], 2);
    let sd = |net: &mut Net<Tested>, name: &str| {
        let values = weights(net).into_iter().find(|(found, _)| found == name).unwrap().1;
        (values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let mut convolutions = case.fresh(&device());
    let mut encoder = vit.fresh(&device());
    for (found, expected) in [
        (sd(&mut convolutions, "convolutions.0.weight"), (2.0f64 / 27.0).sqrt()),
        (sd(&mut convolutions, "convolutions.2.weight"), (2.0f64 / 288.0).sqrt()),
        (sd(&mut encoder, "patches.weight"), (1.0f64 / 48.0).sqrt()),
        (sd(&mut encoder, "blocks.1.attend.weight"), 0.125),
        (sd(&mut encoder, "blocks.1.widen.weight"), 0.125 * 2.0f64.sqrt()),
        (sd(&mut encoder, "blocks.1.narrow.weight"), (1.0f64 / 128.0).sqrt()),
        (sd(&mut encoder, "position.embedding"), 0.02),
        (sd(&mut encoder, "blocks.0.attend_norm.gain"), 1.0),
        (sd(&mut encoder, "end_norm.bias"), 0.0),
    ] {
        assert!((found - expected).abs() <= 0.1 * expected, "{found} {expected}");
    }
    let seeded = |seed: u64| {
        let standard = Standard::of(&vit.inputs);
        weights(&mut Net::fresh(&device(), &vit.spec, &vit.shape, CLASSES, seed, standard).unwrap())
    };
    assert_eq!(seeded(1), weights(&mut encoder));
    for ((name, one), (_, two)) in seeded(1).iter().zip(seeded(2)) {
        let constant = name.ends_with(".gain") || name.ends_with(".bias");
        assert_eq!(*one == two, constant, "{name}");
    }
}

#[test]
fn words_are_the_most_frequent_of_training_texts() {
    let texts = ["The film: a Film, a FILM!", "the end -- 2nd\tthe\u{7}end", "ça va, Ça va b c d"];
    let words = Words::learn(texts, &Vocabulary { size: 6, min_count: 2 });
    // `film` and `the` are there 3 times, the others twice, `va` and `ça` too, whose bytes come later.
    assert_eq!(words.list(), ["film", "the", ",", "-", "a", "end"]);
    assert_eq!(words.vocabulary(), 7);
    assert_eq!(words.encode("The End, my FILM-film", None), [2, 6, 3, 0, 1, 4, 1]);
    assert_eq!(words.encode("The End, my", Some(2)), [2, 6]);
    // What is empty has a token nevertheless, an unknown one.
    for empty in ["", " \n\t\u{0}"] {
        assert_eq!(words.encode(empty, Some(5)), [Words::UNKNOWN]);
    }
    let all = words.encode_all(["the", "", "film film"], None);
    assert_eq!(all.iter().collect::<Vec<_>>(), [&[2u32][..], &[0], &[1, 1]]);
    // In whatever pieces they come.
    let mut counts = TokenCounts::default();
    texts.chunks(2).for_each(|texts| counts.add(texts));
    assert_eq!(counts.words(&Vocabulary { size: 6, min_count: 2 }), words);
    // In every order of texts the same; and fewer where there are no more.
    let back = Words::learn(texts.iter().rev(), &Vocabulary { size: 6, min_count: 2 });
    assert_eq!(back, words);
    assert_eq!(Words::learn(texts, &Vocabulary { size: 100, min_count: 3 }).list(), ["film", "the"]);
    assert_eq!(Words::learn(["Ünï x9 東京"], &Vocabulary { size: 9, min_count: 1 }).list(), ["x9", "ünï", "東京"]);
    assert_eq!(Words::learn([""; 0], &Vocabulary::default()).vocabulary(), 1);
}

#[test]
fn lists_of_words_come_back_and_damaged_ones_do_not() {
    let words = Words::learn(["one two, two -- İstanbul"], &Vocabulary { size: 9, min_count: 1 });
    assert_eq!(Words::of_list(words.list().to_vec()).unwrap(), words);
    for (list, part) in [
        (vec!["a", "b", "a"], "word 1 of its list, \"a\", is there twice"),
        (vec!["a", ""], "word 2 of its list, \"\", is no single token"),
        (vec!["a b"], "is no single token"),
        (vec!["A"], "is no single token"),
        (vec![" a"], "is no single token"),
    ] {
        let error = Words::of_list(list.into_iter().map(str::to_owned).collect()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn images_are_standardised_by_channel_and_cut_in_order() {
    let shape = ImageShape { channels: 2, height: 2, width: 4 };
    let first: Vec<u8> = (0..8).chain(std::iter::repeat_n(9, 8)).collect();
    let second: Vec<u8> = (8..16).chain(std::iter::repeat_n(9, 8)).collect();
    let pixels = Pixels { shape, bytes: [first, second].concat() };
    let inputs = Inputs::Images(pixels.clone());
    let standard = Standard::of(&inputs);
    // 0 to 15: variance (16 * 16 - 1) / 12. A channel of one value has no deviation to divide by.
    assert_eq!((&standard.mean[..], standard.sd[1]), (&[7.5, 9.0][..], 1.0));
    assert!((standard.sd[0] - (255.0f32 / 12.0).sqrt()).abs() < 1e-6);
    let plain = Standard { mean: vec![0.0, 5.0], sd: vec![1.0, 2.0] };
    let pool = Pool::default();
    assert_eq!(plain.pixels(&pool, &pixels)[..6], [0.0, 2.0, 1.0, 2.0, 2.0, 2.0]);
    assert_eq!(plain.pixels(&pool, &pixels)[16..20], [8.0, 2.0, 9.0, 2.0]);
    let patches = plain.patches(&pool, &pixels, 2);
    assert_eq!(patches[..16], [0.0, 1.0, 4.0, 5.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 6.0, 7.0, 2.0, 2.0, 2.0, 2.0]);
    assert_eq!(patches[24..28], [10.0, 11.0, 14.0, 15.0]);
    // Line of patches after line.
    let square = Pixels { shape: ImageShape { channels: 1, height: 4, width: 4 }, bytes: (0..16).collect() };
    let lines = plain.patches(&pool, &square, 2);
    assert_eq!(lines[..], [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15].map(|byte| byte as f32));
    // Rows are picked in the order asked for, as often as asked for.
    let Inputs::Images(picked) = inputs.pick(&[1, 0, 1]) else { unreachable!() };
    assert_eq!((picked.bytes.len(), picked.bytes[0], picked.bytes[16], picked.bytes[32]), (48, 8, 0, 8));
    let texts = Inputs::Texts([&[1u32, 2][..], &[3], &[4, 5, 6]].into_iter().collect());
    assert_eq!(texts.pick(&[2, 0, 2]), Inputs::Texts([&[4u32, 5, 6][..], &[1, 2], &[4, 5, 6]].into_iter().collect()));
    assert_eq!((texts.len(), inputs.len(), inputs.pick(&[]).is_empty()), (3, 2, true));
    assert_eq!(Standard::of(&texts), Standard::default());
}

#[test]
fn settings_out_of_range_and_examples_that_do_not_fit_are_named() {
    let check = |spec: NetSpec| spec.check().map_err(|error| error.to_string());
    let encoder = |change: fn(&mut TextTransformer)| {
        let mut spec = TextTransformer::default();
        change(&mut spec);
        check(NetSpec::TextTransformer(spec))
    };
    for (result, part) in [
        (check(bag(&[])), "`hidden` is 0, but must be at least 1"),
        (check(bag(&[3, 0])), "`hidden` is 0"),
        (check(NetSpec::Bag(Bag { embedding: 0, ..Bag::default() })), "`embedding` is 0"),
        (check(NetSpec::Bag(Bag { dropout: 1.0, ..Bag::default() })), "`dropout` is 1"),
        (check(NetSpec::Bag(Bag { embedding_sd: 0.0, ..Bag::default() })), "`embedding_sd` is 0"),
        (check(conv(&[])), "`channels` is 0"),
        (check(conv(&[2, 0])), "`channels` is 0"),
        (check(NetSpec::Conv(Conv { dropout: -0.1, ..Conv::default() })), "`dropout` is -0.1"),
        (check(NetSpec::Vit(Vit { patch: 0, ..Vit::default() })), "`patch` is 0"),
        (encoder(|t| t.heads = 0), "`heads` is 0"),
        (encoder(|t| t.heads = 5), "`width` is 64, but must be a multiple of `heads`"),
        (encoder(|t| t.layers = 0), "`layers` is 0"),
        (encoder(|t| t.inner = 0), "`inner` is 0"),
        (encoder(|t| t.longest = 0), "`longest` is 0"),
        (encoder(|t| t.vocabulary.size = 0), "`vocabulary.size` is 0"),
        (encoder(|t| t.vocabulary.min_count = 0), "`vocabulary.min_count` is 0"),
    ] {
        assert!(result.as_ref().is_err_and(|message| message.contains(part)), "{part}: {result:?}");
    }
    let defaults = [
        NetSpec::Bag(Bag::default()),
        NetSpec::TextTransformer(TextTransformer::default()),
        NetSpec::Vit(Vit::default()),
        NetSpec::Conv(Conv::default()),
    ];
    for spec in defaults {
        assert_eq!(check(spec.clone()), Ok(()));
        let json = serde_json::to_string(&spec).unwrap();
        assert!(json.starts_with(&format!("{{\"{}\":", spec.name())), "{json}");
        assert_eq!(serde_json::from_str::<NetSpec>(&json).unwrap(), spec);
    }
    let image = |channels, height, width| InputShape::Images(ImageShape { channels, height, width });
    for (spec, shape, part) in [
        (bag(&[2]), image(1, 2, 2), "model `bag`: it reads texts, and the examples are images; take `vit` or `conv`"),
        (conv(&[2]), InputShape::Texts { vocabulary: 2 }, "model `conv`: it reads images"),
        (transformer(), InputShape::Texts { vocabulary: 0 }, "there is no word"),
        (vit(), image(1, 4, 5), "images of 4 x 5 pixels are no whole number of patches of 2 x 2; take a `patch`"),
        (vit(), image(1, 0, 2), "have no pixel"),
        (conv(&[2]), image(0, 2, 2), "have no pixel"),
    ] {
        let error = spec.fits(&shape).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let texts = |texts: &[&[u32]]| Inputs::Texts(texts.iter().collect());
    let pixels = |channels, height, width, count| {
        let shape = ImageShape { channels, height, width };
        Inputs::Images(Pixels { shape, bytes: vec![0; count] })
    };
    let words = InputShape::Texts { vocabulary: 7 };
    for (spec, shape, inputs, part) in [
        (bag(&[2]), words, texts(&[&[1], &[]]), "text 1 has no token"),
        (bag(&[2]), words, texts(&[&[1, 7]]), "`bag`: text 0 has the word 7, and there are 7"),
        (transformer(), words, texts(&[&[1; 6]]), "text 0 has 6 tokens, and the longest may have 5"),
        (transformer(), words, pixels(1, 2, 2, 4), "it reads texts, and these are images"),
        (vit(), image(1, 2, 2), texts(&[&[1]]), "it reads images, and these are texts"),
        (vit(), image(1, 2, 2), pixels(1, 2, 4, 8), "images are 1 x 2 x 4, and the model reads 1 x 2 x 2"),
        (vit(), image(1, 2, 2), pixels(1, 2, 2, 6), "6 bytes are no whole number of 1 x 2 x 2 images"),
    ] {
        let error = spec.reads(&shape, &inputs).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(bag(&[2]).reads(&words, &texts(&[&[6; 100]])).is_ok());
}
