//! Every method of classes against an independent computation, as [`oracle`](super::oracle) holds those of ratings: students that are a bag of
//! words, an encoder of texts and one of images, and a small frozen transformer as the teacher, all written down in double precision.
//!
//! Here too what is stopped is computed from weights that finite differences do not move.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;

use super::oracle::{States64, Weights64, dense64, distance64, module64, numbers, refilled64, rkd64, rows64, sp64, srd64, vid64};
use super::*;
use crate::Standard;
use crate::augment::{Augment, ImageShape};
use crate::classes::{Bag, ClassData, ClassExamples, InputShape, Inputs, NetSpec, Pixels, TextTransformer, Vit, Words};
use crate::ops::{Layer, Pool, Sequences};
use crate::optim::{Optimizer, Sgd};
use crate::task::{Body, Task};
use crate::teacher::{Aligned, By, Interpreting, TeacherUpper, TokenStates, means, variances};
use crate::testing::{DEVICE, Tested, device};
use crate::transformer::operations::Norm;
use crate::transformer::oracle::small;
use crate::transformer::stack::Order;
use crate::transformer::{Hidden, Pooling, Until};

/// Rows in the batch.
const ROWS: usize = 11;
const CLASSES: usize = 3;

/// A student of one kind, a teacher's features, and one batch.
struct Bench {
    spec: NetSpec,
    shape: InputShape,
    standard: Standard,
    examples: ClassExamples,
    words: Words,
    upper: TeacherUpper,
    pooling: Pooling,
    /// Of the teacher's low states: tokens of each row, and their numbers.
    lengths: Vec<usize>,
    tokens: Vec<f32>,
    low: Vec<f32>,
    high: Vec<f32>,
    output: Vec<f32>,
    width: usize,
}

fn bag() -> NetSpec {
    NetSpec::Bag(Bag { embedding: 3, hidden: vec![5, 4], ..Bag::default() })
}

fn encoder() -> NetSpec {
    NetSpec::TextTransformer(TextTransformer {
        width: 4,
        layers: 1,
        heads: 2,
        inner: 5,
        longest: 4,
        ..TextTransformer::default()
    })
}

fn vit() -> NetSpec {
    NetSpec::Vit(Vit { patch: 2, width: 4, layers: 2, heads: 1, inner: 3 })
}

impl Bench {
    /// With a teacher that norms its sums, as BERT, or what its layers read, as a ViT.
    fn new(spec: NetSpec, order: Order, pooling: Pooling) -> Self {
        let upper = small(order);
        let lengths: Vec<usize> = (0..ROWS).map(|row| 1 + row * 7 % 4).collect();
        let width = upper.width();
        let tokens = numbers("tokens", lengths.iter().sum::<usize>() * width, 1.5);
        let first = Hidden { state: Some(0), width, lengths: lengths.clone(), values: tokens.clone() };
        let high = upper.run(&first, Until::Pooled(pooling), DEVICE).unwrap().values;
        let mut from = 0;
        let low = lengths.iter().flat_map(|length| {
            let own = &tokens[from..from + length * width];
            from += length * width;
            means(own, width)
        });
        let (shape, inputs) = match spec {
            NetSpec::Vit(_) => {
                let shape = ImageShape { channels: 2, height: 4, width: 4 };
                // Planes of different brightness, so that states differ from row to row.
                let plane = shape.height * shape.width;
                let bright = numbers("bright", ROWS * shape.channels, 70.0);
                let noise = numbers("bytes", ROWS * shape.bytes(), 50.0);
                let bytes = noise.iter().enumerate().map(|(at, noise)| (128.0 + noise + bright[at / plane]) as u8).collect();
                (InputShape::Images(shape), Inputs::Images(Pixels { shape, bytes }))
            }
            _ => {
                let text = |row: usize| (0..1 + row % 4).map(|place| ((row * 5 + place * 3) % 7) as u32).collect::<Vec<u32>>();
                (InputShape::Texts { vocabulary: 7 }, Inputs::Texts((0..ROWS).map(text).collect()))
            }
        };
        let low: Vec<f32> = low.collect();
        let label = (0..ROWS as u32).map(|row| row * 5 % CLASSES as u32).collect();
        Bench {
            words: Words::of_list(["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec()).unwrap(),
            upper: TeacherUpper::encoder(upper, pooling),
            standard: Standard::of(&inputs),
            examples: ClassExamples { row: (0..ROWS as u32).map(|row| 100 - row).collect(), label, inputs },
            output: numbers("logits", ROWS * CLASSES, 2.0),
            spec,
            shape,
            pooling,
            lengths,
            tokens,
            low,
            high,
            width,
        }
    }

    fn data(&self) -> ClassData<'_> {
        ClassData {
            train: self.examples.part(),
            validation: self.examples.part(),
            standard: &self.standard,
            shape: self.shape,
            classes: CLASSES,
            words: &self.words,
            augment: Augment::default(),
        }
    }
}

/// What our implementation says: the parts of the loss, gradients by name, and the weights they belong to.
struct Found {
    parts: Vec<Part>,
    decoded: Option<f64>,
    gradients: BTreeMap<String, Vec<f64>>,
    weights: Weights64,
}

/// A step at rate 1 moves each weight by its gradient.
const PLAIN: Optimizer = Optimizer::Sgd(Sgd {
    rate: 1.0,
    momentum: 0.0,
    decay: crate::optim::Decay { weights: 0.0, embeddings: 0.0, bias_terms: 0.0 },
});

/// All weights of a student, tables first.
fn weights_of(body: &impl Body<Tested>) -> Vec<(String, usize, Vec<f32>)> {
    let tables =
        body.tables().into_iter().map(|table| (table.name.clone(), table.width, table.values.clone())).collect::<Vec<_>>();
    let params = body.params().iter().map(|param| (param.name.clone(), param.cols, param.host.clone()));
    tables.into_iter().chain(params).collect()
}

/// Runs one step of `method`.
fn run(bench: &Bench, method: &Method) -> Found {
    let (device, data) = (&device(), bench.data());
    let model = ModelSpec::Net(bench.spec.clone());
    let mut student = data.fresh(device, &model, 1).unwrap();
    // Weights that are not what they begin as, so that an oracle which forgets one is found out.
    let stir = |name: &str, host: &mut [f32]| {
        let stirred = numbers(name, host.len(), 0.5);
        host.iter_mut().zip(stirred).for_each(|(value, stir)| *value += stir);
    };
    student.tables_mut().into_iter().for_each(|table| stir(&table.name, &mut table.values));
    let stirred = |params: &mut Params<Tested>| {
        let stirred = params.overwrite(|param| {
            if param.rows == 1 && param.name != "vid.alpha" {
                stir(&param.name, &mut param.host);
            }
            Ok::<_, std::convert::Infallible>(())
        });
        stirred.unwrap();
    };
    stirred(student.params_mut());
    let (low_variance, high_variance) = (variances(&bench.low, bench.width), variances(&bench.high, bench.width));
    let starts: Vec<usize> = std::iter::once(0).chain(Sequences::new(&bench.lengths).ranges().map(|rows| rows.end)).collect();
    let view = TeacherView {
        by: By::Row,
        streams: false,
        row: &bench.examples.row,
        low: Some(States { width: bench.width, values: &bench.low, variance: &low_variance }),
        high: Some(States { width: bench.width, values: &bench.high, variance: &high_variance }),
        embeddings: None,
        tokens: Some(TokenStates { width: bench.width, starts: &starts, values: &bench.tokens }),
        output: Some(&bench.output),
        upper: Some(&bench.upper),
    };
    let before_upper: Vec<u32> = bench.upper.words().collect();
    method.check(&model, Some(&TeacherSpec::Encoder { width: bench.width, layers: 2 }), ROWS).unwrap();
    let mut modules = Params::new(device);
    let learner = method.learner(device, &model, &view, 1, &mut modules).unwrap();
    stirred(&mut modules);
    student.prepare(&PLAIN);
    modules.prepare(&PLAIN);
    let order: Vec<u32> = (0..ROWS as u32).collect();
    let mut batch = Default::default();
    data.pick(&model, &order, (0, 0), &mut batch).unwrap();
    let pool = Pool::default();
    let mut graph = Graph::training(device, &pool);
    let forward = student.forward(&mut graph, &batch, &Dropout::NONE).unwrap();
    let teacher = Aligned::new(view, &bench.examples.row, method.needs(), CLASSES).unwrap().batch(&graph, &order).unwrap();
    let mut step = Step {
        graph: &mut graph,
        student: &student,
        modules: &modules,
        forward: <<ClassData<'_> as Task>::Body<Tested> as Body<Tested>>::seen(&forward),
        targets: ClassData::targets(&batch),
        teacher: &teacher,
        dropout: Dropout::NONE,
        progress: 1.0,
        parts: Vec::new(),
        decoded: None,
    };
    learner.terms(&mut step).unwrap();
    let (parts, decoded) = (step.parts, step.decoded);
    graph.backward().unwrap();
    assert!(bench.upper.words().eq(before_upper), "the teacher is left as it was");
    let mut before = weights_of(&student);
    let rule = PLAIN.rule(1.0, 1.0);
    let mut tables = Default::default();
    student.collect(&forward, &batch, &mut tables).unwrap();
    student.update(&rule, &tables);
    let mut after = weights_of(&student);
    let of = |params: &Params<Tested>| {
        params.iter().map(|param| (param.name.clone(), param.cols, param.host.clone())).collect::<Vec<_>>()
    };
    before.extend(of(&modules));
    modules.collect().unwrap();
    modules.update(&rule);
    after.extend(of(&modules));
    let mut found = Found { parts, decoded, gradients: BTreeMap::new(), weights: Weights64::new() };
    for ((name, cols, before), (_, _, after)) in before.into_iter().zip(after) {
        let moved = before.iter().zip(&after).map(|(before, after)| f64::from(*before) - f64::from(*after)).collect();
        found.gradients.insert(name.clone(), moved);
        found.weights.insert(name, (cols, before.into_iter().map(f64::from).collect()));
    }
    found
}

/// The normal distribution function, by its series around 0.
fn below(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return f64::from(u8::from(x > 0.0));
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..120 {
        term *= -x * x / (2.0 * f64::from(n));
        sum += term / (2.0 * f64::from(n) + 1.0);
    }
    0.5 + sum / (2.0 * std::f64::consts::PI).sqrt()
}

/// How an encoder's layers are put together.
#[derive(Clone, Copy)]
struct Encoder64 {
    layers: usize,
    heads: usize,
    order: Order,
    eps: f64,
    end: bool,
}

fn added64(a: &States64, b: &States64) -> States64 {
    States64 { cols: a.cols, values: a.values.iter().zip(&b.values).map(|(a, b)| a + b).collect() }
}

impl Encoder64 {
    fn norm(self, x: &States64, weights: &Weights64, name: &str) -> States64 {
        let (gain, bias) = (&weights[&format!("{name}.gain")].1, &weights[&format!("{name}.bias")].1);
        let normal = |row: &[f64]| -> Vec<f64> {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let root = (variance + self.eps).sqrt();
            row.iter().zip(gain.iter().zip(bias)).map(|(x, (gain, bias))| (x - mean) / root * gain + bias).collect()
        };
        States64 { cols: x.cols, values: rows64(x).into_iter().flat_map(normal).collect() }
    }

    /// One sequence, through all layers and what stands behind them.
    fn run(self, x: &States64, weights: &Weights64) -> States64 {
        let mut state = x.clone();
        for layer in 0..self.layers {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            let dense = |x: &States64, part: &str| dense64(x, weights, &name(part), false);
            let first = self.order == Order::NormFirst;
            let read = if first { self.norm(&state, weights, &name("attend_norm")) } else { state.clone() };
            let qkv = dense(&read, "attend");
            let (lines, width) = (rows64(&qkv), x.cols);
            let depth = width / self.heads;
            let mut attended = Vec::new();
            for query in &lines {
                for head in 0..self.heads {
                    let part = |row: &[f64], part: usize| row[part * width + head * depth..][..depth].to_vec();
                    let dot = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>();
                    let weigh = |key: &&[f64]| (dot(part(query, 0), part(key, 1)) / (depth as f64).sqrt()).exp();
                    let shares: Vec<f64> = lines.iter().map(weigh).collect();
                    let all: f64 = shares.iter().sum();
                    let values: Vec<Vec<f64>> = lines.iter().map(|row| part(row, 2)).collect();
                    attended.extend((0..depth).map(|c| shares.iter().zip(&values).map(|(s, v)| s / all * v[c]).sum::<f64>()));
                }
            }
            let mut sum = added64(&state, &dense(&States64 { cols: width, values: attended }, "gather"));
            if !first {
                sum = self.norm(&sum, weights, &name("attend_norm"));
            }
            let read = if first { self.norm(&sum, weights, &name("widen_norm")) } else { sum.clone() };
            let mut wide = dense(&read, "widen");
            wide.values.iter_mut().for_each(|x| *x *= below(*x));
            state = added64(&sum, &dense(&wide, "narrow"));
            if !first {
                state = self.norm(&state, weights, &name("widen_norm"));
            }
        }
        if self.end { self.norm(&state, weights, "end_norm") } else { state }
    }
}

/// The mean of some rows.
fn mean64(x: &States64, rows: std::ops::Range<usize>) -> Vec<f64> {
    let count = rows.len() as f64;
    (0..x.cols).map(|j| rows.clone().map(|row| x.values[row * x.cols + j]).sum::<f64>() / count).collect()
}

/// Rows cut into as many parts.
fn folded64(x: &States64, parts: usize) -> States64 {
    States64 { cols: x.cols / parts, values: x.values.clone() }
}

/// The mean of each row's tokens, of which all have as many.
fn token_means64(x: &States64, tokens: usize) -> States64 {
    let rows = x.values.len() / x.cols / tokens;
    States64 { cols: x.cols, values: (0..rows).flat_map(|row| mean64(x, row * tokens..(row + 1) * tokens)).collect() }
}

fn student_encoder(spec: &NetSpec) -> Encoder64 {
    let (layers, heads) = match spec {
        NetSpec::TextTransformer(spec) => (spec.layers, spec.heads),
        NetSpec::Vit(spec) => (spec.layers, spec.heads),
        _ => unreachable!("no encoder"),
    };
    Encoder64 { layers, heads, order: Order::NormFirst, eps: f64::from(1e-5f32), end: true }
}

/// The student's low state, its mean over each row's places; its high state; and logits.
fn student64(bench: &Bench, weights: &Weights64) -> (States64, States64, States64) {
    let row_of = |table: &str, row: usize| {
        let (width, values) = &weights[table];
        values[row * width..(row + 1) * width].to_vec()
    };
    let (mut low, mut high) = (Vec::new(), Vec::new());
    match (&bench.spec, &bench.examples.inputs) {
        (NetSpec::Bag(bag), Inputs::Texts(texts)) => {
            for text in texts.iter() {
                let words = text.iter().flat_map(|word| row_of("word.embedding", *word as usize)).collect();
                let words = States64 { cols: bag.embedding, values: words };
                let mean = States64 { cols: bag.embedding, values: mean64(&words, 0..text.len()) };
                low.extend(dense64(&mean, weights, "layers.0", true).values);
            }
            let low = States64 { cols: bag.hidden[0], values: low };
            let high = up64(bench, weights, &low, 1);
            let output = dense64(&high, weights, "head", false);
            return (low, high, output);
        }
        (NetSpec::TextTransformer(spec), Inputs::Texts(texts)) => {
            for text in texts.iter() {
                let token = |(place, word): (usize, &u32)| {
                    let (word, place) = (row_of("word.embedding", *word as usize), row_of("position.embedding", place));
                    word.into_iter().zip(place).map(|(word, place)| word + place).collect::<Vec<f64>>()
                };
                let first = States64 { cols: spec.width, values: text.iter().enumerate().flat_map(token).collect() };
                low.extend(mean64(&first, 0..text.len()));
                high.extend(mean64(&student_encoder(&bench.spec).run(&first, weights), 0..text.len()));
            }
        }
        (NetSpec::Vit(vit), Inputs::Images(Pixels { shape, bytes })) => {
            // Standardised as the training examples, which are the batch.
            let plane = shape.height * shape.width;
            let of_channel = |channel: usize| {
                let values: Vec<f64> = bytes
                    .chunks(shape.bytes())
                    .flat_map(|image| &image[channel * plane..(channel + 1) * plane])
                    .map(|byte| f64::from(*byte))
                    .collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
            };
            let standard: Vec<(f64, f64)> = (0..shape.channels).map(of_channel).collect();
            let across = shape.width / vit.patch;
            let patches = (shape.height / vit.patch) * across;
            for image in bytes.chunks(shape.bytes()) {
                let mut first = Vec::new();
                for patch in 0..patches {
                    let mut pixels = Vec::new();
                    for (channel, (mean, sd)) in standard.iter().enumerate() {
                        for (y, x) in (0..vit.patch).flat_map(|y| (0..vit.patch).map(move |x| (y, x))) {
                            let (y, x) = (patch / across * vit.patch + y, patch % across * vit.patch + x);
                            pixels.push((f64::from(image[channel * plane + y * shape.width + x]) - mean) / sd);
                        }
                    }
                    let made = dense64(&States64 { cols: pixels.len(), values: pixels }, weights, "patches", false);
                    first.extend(made.values.iter().zip(row_of("position.embedding", patch)).map(|(made, place)| made + place));
                }
                let first = States64 { cols: vit.width, values: first };
                low.extend(mean64(&first, 0..patches));
                high.extend(mean64(&student_encoder(&bench.spec).run(&first, weights), 0..patches));
            }
        }
        _ => unreachable!("what it reads"),
    }
    let [low, high] = [low, high].map(|values| States64 { cols: bench.spec.low_width(), values });
    let output = dense64(&high, weights, "head", false);
    (low, high, output)
}

/// up_S, on low states of so many tokens a row.
fn up64(bench: &Bench, weights: &Weights64, low: &States64, tokens: usize) -> States64 {
    if let NetSpec::Bag(bag) = &bench.spec {
        let layer = |state: States64, index: usize| dense64(&state, weights, &format!("layers.{index}"), true);
        return (1..bag.hidden.len()).fold(low.clone(), layer);
    }
    let encoder = student_encoder(&bench.spec);
    let made = low.values.chunks(tokens * low.cols).flat_map(|row| {
        let last = encoder.run(&States64 { cols: low.cols, values: row.to_vec() }, weights);
        mean64(&last, 0..tokens)
    });
    States64 { cols: low.cols, values: made.collect() }
}

/// The teacher's layers, from their own numbers.
fn teacher64(bench: &Bench) -> (Encoder64, Weights64) {
    let Interpreting::Encoder { stack, .. } = bench.upper.on_device(&device(), &Pool::default()).unwrap() else {
        panic!("an encoder")
    };
    let mut weights = Weights64::new();
    let mut put = |name: String, var: &Var<Tested>| {
        weights.insert(name, (var.cols(), var.host().iter().map(|x| f64::from(*x)).collect()));
    };
    let put_norm = |name: &str, norm: &Norm<Tested>, put: &mut dyn FnMut(String, &Var<Tested>)| {
        put(format!("{name}.gain"), &norm.gain);
        put(format!("{name}.bias"), &norm.bias);
    };
    let mut eps = 0.0;
    for (index, block) in stack.blocks.iter().enumerate() {
        let layers: [(&str, &Layer<Tested>); 4] =
            [("attend", &block.attend), ("gather", &block.gather), ("widen", &block.widen), ("narrow", &block.narrow)];
        for (part, layer) in layers {
            put(format!("blocks.{index}.{part}.weight"), &layer.weight);
            put(format!("blocks.{index}.{part}.bias"), &layer.bias);
        }
        put_norm(&format!("blocks.{index}.attend_norm"), &block.norms[0], &mut put);
        put_norm(&format!("blocks.{index}.widen_norm"), &block.norms[1], &mut put);
        eps = f64::from(block.norms[0].eps);
    }
    if let Some(end) = &stack.end {
        put_norm("end_norm", end, &mut put);
    }
    let encoder = Encoder64 { layers: stack.blocks.len(), heads: stack.heads, order: stack.order, eps, end: stack.end.is_some() };
    (encoder, weights)
}

/// Where each thing in a conversation takes its weights from.
struct Source<'a> {
    /// The state that questions are made of.
    state: &'a Weights64,
    /// up_S inside of the reply.
    reply: &'a Weights64,
    modules: &'a Weights64,
}

/// (q, mean of a, c, u) of each round.
fn converse64(
    bench: &Bench,
    teacher: &(Encoder64, Weights64),
    talk: &Talk,
    rounds: usize,
    source: &Source<'_>,
) -> Vec<[States64; 4]> {
    let (low, high, _) = student64(bench, source.state);
    let (tokens, m) = (talk.tokens, talk.message_dim * talk.tokens);
    let (encoder, frozen) = teacher;
    let bag = matches!(bench.spec, NetSpec::Bag(_));
    let mut said: Vec<[States64; 4]> = Vec::new();
    for _ in 0..rounds {
        let read = match talk.protocol {
            Protocol::Circular => said.last().map_or(&high, |[.., u]| u).clone(),
            Protocol::AskAnswer if talk.rounds == 1 => low.clone(),
            Protocol::AskAnswer => {
                let zero = States64 { cols: m, values: vec![0.0; ROWS * m] };
                let last = said.last().map_or(&zero, |[_, _, c, _]| c);
                let rows = rows64(&low).into_iter().zip(rows64(last));
                States64 { cols: low.cols + m, values: rows.flat_map(|(s, c)| s.iter().chain(c).copied()).collect() }
            }
        };
        let question = module64(&read, source.modules, "talk.student_encoder", false);
        let decoded = module64(&folded64(&question, tokens), source.modules, "talk.teacher_decoder", false);
        let mut interpreted = Vec::new();
        let mut from = 0;
        for (row, length) in bench.lengths.iter().enumerate() {
            let mut sequence = decoded.values[row * tokens * bench.width..(row + 1) * tokens * bench.width].to_vec();
            if talk.beside == Beside::Input {
                sequence.extend(bench.tokens[from..from + length * bench.width].iter().map(|x| f64::from(*x)));
            }
            from += length * bench.width;
            let made = encoder.run(&States64 { cols: bench.width, values: sequence }, frozen);
            let first = talk.beside == Beside::Nothing && bench.pooling == Pooling::First;
            interpreted.extend(mean64(&made, 0..if first { 1 } else { tokens }));
        }
        let interpreted = States64 { cols: bench.width, values: interpreted };
        let answer = module64(&interpreted, source.modules, "talk.teacher_encoder", false);
        let given = match talk.replies {
            Replies::Own => answer.clone(),
            Replies::Shuffled => {
                let order = conversation::others(0, 0, said.len() + 1, ROWS);
                let rows = rows64(&answer);
                States64 { cols: m, values: order.into_iter().flat_map(|row| rows[row as usize].to_vec()).collect() }
            }
        };
        let understood = match talk.protocol {
            Protocol::Circular if bag => {
                let reply = module64(&given, source.modules, "talk.student_decoder.low", true);
                up64(bench, source.reply, &reply, 1)
            }
            Protocol::Circular => {
                let reply = module64(&folded64(&given, tokens), source.modules, "talk.student_decoder.low", false);
                up64(bench, source.reply, &reply, tokens)
            }
            Protocol::AskAnswer => module64(&given, source.modules, "talk.student_decoder.high", bag),
        };
        said.push([question, token_means64(&decoded, tokens), answer, understood]);
    }
    said
}

/// softmax(row / temperature) of each row.
fn shares64(x: &States64, temperature: f64) -> States64 {
    let share = |row: &[f64]| -> Vec<f64> {
        let parts: Vec<f64> = row.iter().map(|x| (x / temperature).exp()).collect();
        let sum: f64 = parts.iter().sum();
        parts.into_iter().map(|part| part / sum).collect()
    };
    States64 { cols: x.cols, values: rows64(x).into_iter().flat_map(share).collect() }
}

fn cross_entropy64(logits: &States64, labels: &[u32]) -> f64 {
    let shares = shares64(logits, 1.0);
    rows64(&shares).iter().zip(labels).map(|(row, label)| -row[*label as usize].ln()).sum::<f64>() / ROWS as f64
}

fn divergence64(logits: &States64, target: &States64, temperature: f64) -> f64 {
    let (q, p) = (shares64(logits, temperature), shares64(target, temperature));
    let sum: f64 = p.values.iter().zip(&q.values).map(|(p, q)| p * (p / q).ln()).sum();
    temperature * temperature * sum / ROWS as f64
}

fn dist64(logits: &States64, target: &States64, temperature: f64) -> f64 {
    let (p, q) = (shares64(logits, temperature), shares64(target, temperature));
    let turned = |x: &States64| States64 { cols: ROWS, values: (0..x.cols).flat_map(|class| x.column(class)).collect() };
    distance64(Distance::Corr, &p, &q, None) + distance64(Distance::Corr, &turned(&p), &turned(&q), None)
}

/// The divergence over a row's own class and all others together, and that among the others.
fn dkd64(logits: &States64, target: &States64, labels: &[u32], temperature: f64) -> [f64; 2] {
    let (q, p) = (shares64(logits, temperature), shares64(target, temperature));
    let mut sums = [0.0; 2];
    for ((q, p), label) in rows64(&q).into_iter().zip(rows64(&p)).zip(labels) {
        let own = *label as usize;
        sums[0] += p[own] * (p[own] / q[own]).ln() + (1.0 - p[own]) * ((1.0 - p[own]) / (1.0 - q[own])).ln();
        for other in (0..CLASSES).filter(|class| *class != own) {
            let (q, p) = (q[other] / (1.0 - q[own]), p[other] / (1.0 - p[own]));
            sums[1] += p * (p / q).ln();
        }
    }
    sums.map(|sum| temperature * temperature * sum / ROWS as f64)
}

fn crd64(s: &States64, t: &States64, labels: &[u32], crd: &Crd) -> f64 {
    let unit = |row: &[f64]| -> Vec<f64> {
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(|x| x / length).collect()
    };
    let (u, v): (Vec<_>, Vec<_>) = rows64(s).into_iter().zip(rows64(t)).map(|(s, t)| (unit(s), unit(t))).unzip();
    let weigh = |i: usize, j: usize| (u[i].iter().zip(&v[j]).map(|(u, v)| u * v).sum::<f64>() / crd.temperature).exp();
    let row = |i: usize| {
        let candidates = || (0..ROWS).filter(move |j| *j == i || crd.negatives == Negatives::All || labels[*j] != labels[i]);
        let [by_student, by_teacher]: [f64; 2] =
            [candidates().map(|j| weigh(i, j)).sum(), candidates().map(|j| weigh(j, i)).sum()];
        -((weigh(i, i) / by_student).ln() + (weigh(i, i) / by_teacher).ln()) / 2.0
    };
    (0..ROWS).map(row).sum::<f64>() / ROWS as f64
}

/// The loss by its formula.
fn loss64(
    bench: &Bench,
    teacher: &(Encoder64, Weights64),
    method: &Method,
    live: &Weights64,
    fixed: &Weights64,
) -> Vec<(Term, f64, f64)> {
    let (low, high, output) = student64(bench, live);
    let labels = &bench.examples.label;
    let target = States64::of(bench.width, &bench.high);
    let logits = States64::of(CLASSES, &bench.output);
    let variance = variances(&bench.high, bench.width);
    let projected = |name: &str, hidden: Option<usize>| match hidden {
        None => dense64(&high, live, name, false),
        Some(_) => module64(&high, live, name, false),
    };
    let task = (Term::Task, 1.0, cross_entropy64(&output, labels));
    let more = |term, weight, value| vec![task, (term, weight, value)];
    let talk = match method {
        Method::Scratch => return vec![task],
        Method::Label(label) => {
            let temperature = label.temperature.unwrap_or(4.0);
            return more(Term::Label, label.weight, divergence64(&output, &logits, temperature));
        }
        Method::Dist(dist) => {
            return more(Term::Dist, dist.weight, dist64(&output, &logits, dist.temperature.unwrap_or(1.0)));
        }
        Method::Feature(feature) => {
            let projected = projected("feature.projector", feature.projector_hidden);
            let value = distance64(feature.distance, &projected, &target, Some(&variance));
            return more(Term::Feature, feature.weight, value);
        }
        Method::Sp(sp) => return more(Term::Sp, sp.weight, sp64(&high, &target)),
        Method::Rkd(rkd) => return more(Term::Rkd, rkd.weight, rkd64(&high, &target)),
        Method::Refilled(refilled) => {
            let tuples = refilled::tuples(labels, refilled.others);
            return more(Term::Refilled, refilled.weight, refilled64(&high, &target, &tuples, refilled.temperature));
        }
        Method::Vid(vid) => {
            let mean = projected("vid.projector", vid.projector_hidden);
            return more(Term::Vid, vid.weight, vid64(&mean, &target, &live["vid.alpha"].1));
        }
        Method::Srd(srd) => {
            let projected = projected("srd.projector", None);
            return more(Term::Srd, srd.weight, srd64(&projected, &target, srd.power));
        }
        Method::IakdAdapter(iakd) => {
            let source = Source { state: live, reply: live, modules: live };
            let [.., understood] = &converse64(bench, teacher, &iakd.as_talk(), 1, &source)[0];
            let made = dense64(understood, live, "head", false);
            return vec![(Term::Swapped, 1.0, cross_entropy64(&made, labels))];
        }
        Method::OneWay(one_way) => &one_way.as_talk(),
        Method::Talk(talk) => talk,
        Method::Dkd(dkd) => {
            let mut parts = vec![task];
            let [own, others] = dkd64(&output, &logits, labels, dkd.temperature);
            for (term, weight, value) in [(Term::OwnClass, dkd.alpha, own), (Term::OtherClasses, dkd.beta, others)] {
                if weight > 0.0 {
                    parts.push((term, weight, value));
                }
            }
            return parts;
        }
        Method::Crd(crd) => {
            let [u, v] = [(&high, "crd.student"), (&target, "crd.teacher")].map(|(x, name)| dense64(x, live, name, false));
            return more(Term::Crd, crd.weight, crd64(&u, &v, labels, crd));
        }
        Method::BiasOnly | Method::Bounded(_) | Method::De(_) => unreachable!("of ratings"),
    };
    let mut parts = vec![task];
    let (weights, distances) = (&talk.weights, &talk.distances);
    if talk.converses() {
        let question = if talk.question_path == QuestionPath::Stop { fixed } else { live };
        let converse = |state, reply, modules| converse64(bench, teacher, talk, talk.rounds, &Source { state, reply, modules });
        let open = converse(question, live, live);
        let (targets, conversation) = match talk.interact_into {
            InteractInto::Both => (high.clone(), open.clone()),
            InteractInto::Student => (high.clone(), converse(fixed, fixed, fixed)),
            InteractInto::Modules => (student64(bench, fixed).1, converse(fixed, fixed, live)),
        };
        if weights.interact > 0.0 {
            let sum = conversation.iter().map(|[.., u]| distance64(distances.interact, &targets, u, None)).sum();
            parts.push((Term::Interact, weights.interact, sum));
        }
        let [question, decoded, answer, _] = &open[0];
        if weights.message > 0.0 {
            parts.push((Term::Message, weights.message, distance64(distances.message, question, answer, None)));
        }
        if weights.state > 0.0 {
            let own = States64::of(bench.width, &bench.low);
            let variance = variances(&bench.low, bench.width);
            parts.push((Term::State, weights.state, distance64(distances.state, decoded, &own, Some(&variance))));
        }
    }
    if weights.student_state > 0.0 {
        let message = module64(&target, live, "talk.teacher_encoder", false);
        let bag = matches!(bench.spec, NetSpec::Bag(_));
        let (state, decoded) = match talk.student_state_into {
            Tap::Low if bag => (&low, module64(&message, live, "talk.student_decoder.low", true)),
            Tap::Low => {
                let decoded = module64(&folded64(&message, talk.tokens), live, "talk.student_decoder.low", false);
                (&low, token_means64(&decoded, talk.tokens))
            }
            Tap::High => (&high, module64(&message, live, "talk.student_decoder.high", bag)),
        };
        let value = distance64(distances.student_state, state, &decoded, None);
        parts.push((Term::StudentState, weights.student_state, value));
    }
    if weights.label > 0.0 {
        parts.push((Term::Label, weights.label, divergence64(&output, &logits, talk.temperature.unwrap_or(4.0))));
    }
    parts
}

/// Holds `method` to the oracle: every term's value, and gradients of all tensors, of small ones every number and of large ones some.
fn hold(bench: &Bench, method: &Method) {
    let found = run(bench, method);
    let about = || format!("{} {:?} {method:?}", bench.spec.name(), bench.pooling);
    let teacher = teacher64(bench);
    let expected = loss64(bench, &teacher, method, &found.weights, &found.weights);
    assert_eq!(found.parts.len(), expected.len(), "{}", about());
    for (term, weight, value) in &expected {
        let part = found.parts.iter().find(|part| part.term == *term).unwrap();
        assert!(
            (part.value - value).abs() < 1e-4 * (1.0 + value.abs()),
            "{}: {term:?} {} instead of {value}",
            about(),
            part.value
        );
        assert_eq!(part.weight, *weight, "{}: {term:?}", about());
    }
    let total = |live: &Weights64| -> f64 {
        loss64(bench, &teacher, method, live, &found.weights).iter().map(|(_, weight, value)| weight * value).sum()
    };
    let mut live = found.weights.clone();
    let mut reached = 0;
    for (name, gradient) in &found.gradients {
        // Shifted, so that it is not always the same column.
        let stride = if gradient.len() > 6 { gradient.len() / 5 + 1 } else { 1 };
        for index in (name.len() % stride..gradient.len()).step_by(stride) {
            let original = found.weights[name].1[index];
            let mut at = |step: f64| {
                live.get_mut(name).unwrap().1[index] = original + step;
                total(&live)
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            at(0.0);
            reached += usize::from(expected.abs() > 1e-3);
            let gradient = gradient[index];
            // Correlations of states that hardly vary have lost some digits in single precision.
            assert!(
                (gradient - expected).abs() < 1e-3 * (1.0 + expected.abs()),
                "{}: {name}[{index}] {gradient} instead of {expected}",
                about()
            );
        }
    }
    assert!(reached > 10, "{}: gradients that are none would not be found out", about());
    // What is decoded from the first question, whatever the terms are.
    assert_eq!(found.decoded.is_some(), matches!(method, Method::Talk(talk) if talk.converses()), "{}", about());
}

fn benches() -> Vec<Bench> {
    vec![
        Bench::new(bag(), Order::NormLast, Pooling::Mean),
        Bench::new(encoder(), Order::NormLast, Pooling::First),
        Bench::new(vit(), Order::NormFirst, Pooling::First),
    ]
}

fn talk(change: impl Fn(&mut Talk)) -> Method {
    let mut talk = Talk {
        message_dim: 3,
        weights: Weights { interact: 0.7, message: 0.5, state: 0.3, student_state: 0.0, label: 0.0 },
        ..Talk::default()
    };
    change(&mut talk);
    Method::Talk(talk)
}

#[test]
fn methods_without_a_conversation() {
    for bench in benches() {
        hold(&bench, &Method::Scratch);
        for temperature in [None, Some(1.5)] {
            hold(&bench, &Method::Label(Label { temperature, ..Label::default() }));
            hold(&bench, &Method::Dist(Dist { temperature, ..Dist::default() }));
        }
        for (alpha, beta, temperature) in [(1.0, 8.0, 4.0), (0.5, 0.0, 1.0), (0.0, 2.0, 1.5)] {
            hold(&bench, &Method::Dkd(Dkd { alpha, beta, temperature, ..Dkd::default() }));
        }
        for negatives in [Negatives::All, Negatives::OtherClasses] {
            hold(&bench, &Method::Crd(Crd { width: 5, temperature: 0.4, negatives, ..Crd::default() }));
        }
        hold(&bench, &Method::Feature(Feature::default()));
        hold(&bench, &Method::Feature(Feature { projector_hidden: Some(5), distance: Distance::Cosine, ..Feature::default() }));
        hold(&bench, &Method::Sp(Sp { weight: 3.0, ..Sp::default() }));
        hold(&bench, &Method::Rkd(Rkd { weight: 3.0, ..Rkd::default() }));
        for others in [2, 100] {
            hold(&bench, &Method::Refilled(Refilled { others, weight: 2.0, ..Refilled::default() }));
        }
        hold(&bench, &Method::Vid(Vid::default()));
        hold(&bench, &Method::Srd(Srd::default()));
        for into in [Tap::Low, Tap::High] {
            hold(&bench, &Method::OneWay(OneWay { into, widened: into == Tap::Low, message_dim: 3, ..OneWay::default() }));
        }
        let swapped = IakdAdapter { probability: 1.0, message_dim: 3, ..IakdAdapter::default() };
        hold(&bench, &Method::IakdAdapter(swapped));
    }
}

#[test]
fn talks_in_both_protocols_with_messages_of_one_and_more_tokens() {
    for bench in benches() {
        for protocol in [Protocol::Circular, Protocol::AskAnswer] {
            for (rounds, tokens, beside) in
                [(1, 1, Beside::Nothing), (2, 3, Beside::Nothing), (2, 1, Beside::Input), (1, 3, Beside::Input)]
            {
                hold(&bench, &talk(|talk| *talk = Talk { protocol, rounds, tokens, beside, ..talk.clone() }));
            }
        }
    }
}

#[test]
fn talks_of_teachers_with_the_other_pooling() {
    for (spec, order) in [(bag(), Order::NormFirst), (vit(), Order::NormLast), (encoder(), Order::NormFirst)] {
        for pooling in [Pooling::Mean, Pooling::First] {
            let bench = Bench::new(spec.clone(), order, pooling);
            for beside in [Beside::Nothing, Beside::Input] {
                hold(&bench, &talk(|talk| (talk.tokens, talk.beside) = (2, beside)));
            }
        }
    }
}

#[test]
fn talks_with_every_gradient_option() {
    for bench in benches() {
        for protocol in [Protocol::Circular, Protocol::AskAnswer] {
            for interact_into in [InteractInto::Student, InteractInto::Modules] {
                let question_path = QuestionPath::Open;
                let talk = talk(|talk| *talk = Talk { protocol, interact_into, question_path, tokens: 2, ..talk.clone() });
                hold(&bench, &talk);
            }
            hold(&bench, &talk(|talk| (talk.protocol, talk.question_path) = (protocol, QuestionPath::Stop)));
        }
    }
}

#[test]
fn talks_with_all_terms_and_with_others_replies() {
    for bench in benches() {
        for student_state_into in [Tap::Low, Tap::High] {
            let weights = Weights { interact: 0.7, message: 0.5, state: 0.3, student_state: 0.4, label: 0.6 };
            hold(
                &bench,
                &talk(|talk| {
                    let weights = weights.clone();
                    let temperature = Some(2.0).filter(|_| student_state_into == Tap::Low);
                    *talk = Talk { student_state_into, weights, temperature, tokens: 2, ..talk.clone() };
                }),
            );
        }
        for protocol in [Protocol::Circular, Protocol::AskAnswer] {
            hold(
                &bench,
                &talk(|talk| *talk = Talk { protocol, replies: Replies::Shuffled, rounds: 2, tokens: 2, ..talk.clone() }),
            );
        }
    }
}

/// The distance that the monitor reports is the one from the means over message tokens.
#[test]
fn what_was_decoded_is_compared_by_the_mean_of_its_tokens() {
    let bench = Bench::new(encoder(), Order::NormLast, Pooling::Mean);
    let method = talk(|talk| talk.tokens = 3);
    let Method::Talk(settings) = &method else { unreachable!() };
    let found = run(&bench, &method);
    let source = Source { state: &found.weights, reply: &found.weights, modules: &found.weights };
    let [_, decoded, ..] = &converse64(&bench, &teacher64(&bench), settings, 1, &source)[0];
    let expected = distance64(Distance::Mse, decoded, &States64::of(bench.width, &bench.low), None);
    assert!((found.decoded.unwrap() - expected).abs() < 1e-4 * (1.0 + expected));
}
