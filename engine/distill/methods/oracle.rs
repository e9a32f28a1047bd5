//! Every method against an independent computation: losses in double precision, written down from the formulas with plain loops, and
//! gradients as their finite differences.
//!
//! A stopped gradient is a constant. So the independent loss takes two sets of weights: `live`, which finite differences move, and `fixed`,
//! from which everything that is stopped is computed. Both hold the same numbers; only `live` is moved. What gradients should
//! reach is then the derivative by definition, not by following our own flags.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;

use super::*;
use crate::data::{Examples, Pairs, Scale};
use crate::model::RatingModel;
use crate::models::student::Student;
use crate::models::{Mf, Ncf, Wide};
use crate::ops::Pool;
use crate::random::{Rng, Role};
use crate::task::Body;
use crate::teacher::{Aligned, By, Interpreting, States, TeacherUpper, variances};
use crate::testing::{Tested, device};

/// Rows in the batch.
const ROWS: usize = 11;
const EMBEDDING: usize = 2;

/// Matrices by name, row-major with their number of columns.
pub(super) type Weights64 = BTreeMap<String, (usize, Vec<f64>)>;

/// A student, a teacher's features, and one batch.
struct Bench {
    spec: ModelSpec,
    student: Student<Tested>,
    examples: Examples,
    upper: TeacherUpper,
    low: Vec<f32>,
    high: Vec<f32>,
    embeddings: Vec<f32>,
    output: Vec<f32>,
    low_width: usize,
    high_width: usize,
    embeddings_width: usize,
}

pub(super) fn numbers(name: &str, len: usize, bound: f32) -> Vec<f32> {
    let mut rng = Rng::stream(5, Role::Init, name, 0);
    (0..len).map(|_| rng.symmetric(bound)).collect()
}

fn ncf(hidden: &[usize]) -> ModelSpec {
    ModelSpec::Ncf(Ncf { embedding: EMBEDDING, hidden: hidden.to_vec(), embedding_sd: 1.0, ..Ncf::default() })
}

/// An untrained model of this kind over the batch's users and items.
fn model(spec: &ModelSpec, seed: u64, examples: &Examples) -> Student<Tested> {
    let mut student = Student::fresh(&device(), spec, seed, (ROWS, ROWS), examples).unwrap();
    // Biases that are not 0, so that an oracle which forgets one is found out.
    student
        .params
        .overwrite(|param| {
            if param.name.ends_with(".bias") {
                param.host = numbers(&param.name, param.host.len(), 0.3);
            }
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
    student
}

impl Bench {
    fn new(spec: ModelSpec, teacher_hidden: &[usize]) -> Self {
        Self::with_teacher(spec, ncf(teacher_hidden))
    }

    fn with_teacher(spec: ModelSpec, teacher_spec: ModelSpec) -> Self {
        let indices: Vec<u32> = (0..ROWS as u32).collect();
        let examples = Examples {
            row: indices.iter().map(|row| 100 - row).collect(),
            user: indices.clone(),
            item: indices.iter().map(|row| (row * 4) % ROWS as u32).collect(),
            rating: indices.iter().map(|row| 1.0 + (row % 5) as f32).collect(),
        };
        let mut teacher = model(&teacher_spec, 9, &examples);
        let tensors = teacher.export();
        let teacher = RatingModel::new(teacher_spec, Scale { min: 1.0, max: 5.0 }, tensors).unwrap();
        let taps = teacher.taps(&examples.user, &examples.item).unwrap();
        Bench {
            student: model(&spec, 1, &examples),
            spec,
            upper: TeacherUpper::load(std::io::Cursor::new(teacher.to_safetensors().unwrap()), &teacher.config()).unwrap(),
            low: taps.low,
            high: taps.high,
            embeddings: taps.embeddings,
            output: taps.output,
            low_width: taps.low_width,
            high_width: taps.high_width,
            embeddings_width: taps.embeddings_width,
            examples,
        }
    }
}

/// What our implementation says: the parts of the loss, gradients by name, and the weights they belong to.
struct Found {
    parts: Vec<Part>,
    gradients: BTreeMap<String, Vec<f32>>,
    weights: Weights64,
}

/// Runs one step of `method`; `rewrite` may change the modules' weights first.
fn run(bench: &Bench, method: &Method, rewrite: impl Fn(&str, usize, usize, &mut Vec<f32>)) -> Found {
    let device = &device();
    let mut student = bench.student.clone();
    let mut modules = Params::new(device);
    let (low_variance, high_variance) = (variances(&bench.low, bench.low_width), variances(&bench.high, bench.high_width));
    let embeddings_variance = variances(&bench.embeddings, bench.embeddings_width);
    let embeddings = States { width: bench.embeddings_width, values: &bench.embeddings, variance: &embeddings_variance };
    let view = TeacherView {
        by: By::Row,
        streams: false,
        row: &bench.examples.row,
        low: Some(States { width: bench.low_width, values: &bench.low, variance: &low_variance }),
        high: Some(States { width: bench.high_width, values: &bench.high, variance: &high_variance }),
        embeddings: Some(embeddings),
        tokens: None,
        output: Some(&bench.output),
        upper: Some(&bench.upper),
    };
    method.check(&bench.spec, None, ROWS).unwrap();
    let learner = method.learner(device, &bench.spec, &view, 1, &mut modules).unwrap();
    modules
        .overwrite(|param| {
            if param.name.ends_with(".bias") {
                param.host = numbers(&param.name, param.host.len(), 0.3);
            }
            rewrite(&param.name, param.rows, param.cols, &mut param.host);
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
    let pool = Pool::default();
    let mut graph = Graph::training(device, &pool);
    let Examples { user, item, rating, .. } = bench.examples.clone();
    let batch = Pairs { users: user, items: item, ratings: rating };
    let forward = student.forward(&mut graph, &batch, &Dropout::NONE).unwrap();
    let order: Vec<u32> = (0..ROWS as u32).collect();
    let teacher = Aligned::new(view, &bench.examples.row, method.needs(), 1).unwrap().batch(&graph, &order).unwrap();
    let mut step = Step {
        graph: &mut graph,
        student: &student,
        modules: &modules,
        forward: &forward,
        targets: Targets::Ratings(&bench.examples.rating),
        teacher: &teacher,
        dropout: Dropout::NONE,
        progress: 1.0,
        parts: Vec::new(),
        decoded: None,
    };
    learner.terms(&mut step).unwrap();
    let parts = step.parts;
    graph.backward().unwrap();
    let mut found = Found { parts, gradients: BTreeMap::new(), weights: Weights64::new() };
    let mut leaf = |name: &str, var: &Var<Tested>| {
        let values = var.host().iter().copied().map(f64::from).collect();
        found.weights.insert(name.to_owned(), (var.cols(), values));
        found.gradients.insert(
            name.to_owned(),
            device.take_gradient(&var.value, &pool).unwrap().map_or_else(|| vec![0.0; var.rows() * var.cols()], |g| g.to_vec()),
        );
    };
    leaf("wide", forward.wide.as_ref().unwrap());
    if let Some(embeddings) = &forward.embeddings {
        leaf("embeddings", embeddings);
    }
    student.params.collect().unwrap();
    modules.collect().unwrap();
    for params in [&student.params, &modules] {
        for (name, gradient) in params.gradients() {
            found.gradients.insert(name.to_owned(), gradient);
        }
        for param in params.iter() {
            let values = param.host.iter().map(|&v| f64::from(v)).collect();
            found.weights.insert(param.name.clone(), (param.cols, values));
        }
    }
    found
}

/// A batch of states: columns, and numbers row by row.
#[derive(Clone)]
pub(super) struct States64 {
    pub(super) cols: usize,
    pub(super) values: Vec<f64>,
}

impl States64 {
    pub(super) fn of(cols: usize, values: &[f32]) -> Self {
        States64 { cols, values: values.iter().map(|&v| f64::from(v)).collect() }
    }

    pub(super) fn column(&self, j: usize) -> Vec<f64> {
        self.values.iter().skip(j).step_by(self.cols).copied().collect()
    }
}

pub(super) fn dense64(x: &States64, weights: &Weights64, layer: &str, relu: bool) -> States64 {
    let (cols, weight) = &weights[&format!("{layer}.weight")];
    let (_, bias) = &weights[&format!("{layer}.bias")];
    let mut values = Vec::new();
    for row in x.values.chunks(x.cols) {
        for j in 0..*cols {
            let mut sum = bias[j];
            for (i, x) in row.iter().enumerate() {
                sum += x * weight[i * cols + j];
            }
            values.push(if relu && sum < 0.0 { 0.0 } else { sum });
        }
    }
    States64 { cols: *cols, values }
}

pub(super) fn module64(x: &States64, weights: &Weights64, name: &str, relu: bool) -> States64 {
    let hidden = dense64(x, weights, &format!("{name}.0"), true);
    dense64(&hidden, weights, &format!("{name}.1"), relu)
}

pub(super) fn distance64(distance: Distance, a: &States64, b: &States64, variance: Option<&[f32]>) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let centred = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| v - mean(values)).collect() };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    // Dimensions whose variance is at most a millionth of the mean variance leave the mean.
    let alive = |variances: &[f64]| -> Vec<bool> { variances.iter().map(|v| *v > 1e-6 * mean(variances)).collect() };
    let by_row = |f: &dyn Fn(&[f64], &[f64]) -> f64| {
        let rows: Vec<f64> = a.values.chunks(a.cols).zip(b.values.chunks(b.cols)).map(|(a, b)| f(a, b)).collect();
        mean(&rows)
    };
    match distance {
        Distance::Mse => by_row(&|a, b| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64),
        Distance::MseFrozenStd => {
            let variance: Vec<f64> = variance.unwrap().iter().map(|&v| f64::from(v)).collect();
            let alive = alive(&variance);
            let errors: Vec<f64> = (0..a.cols)
                .filter(|&j| alive[j])
                .map(|j| {
                    let squares: Vec<f64> = a.column(j).iter().zip(b.column(j)).map(|(a, b)| (a - b).powi(2)).collect();
                    mean(&squares) / variance[j]
                })
                .collect();
            mean(&errors)
        }
        Distance::Corr => {
            let (columns_a, columns_b): (Vec<_>, Vec<_>) =
                (0..a.cols).map(|j| (centred(&a.column(j)), centred(&b.column(j)))).unzip();
            let squares = |columns: &[Vec<f64>]| columns.iter().map(|x| dot(x, x)).collect::<Vec<_>>();
            let (alive_a, alive_b) = (alive(&squares(&columns_a)), alive(&squares(&columns_b)));
            let parts: Vec<f64> = (0..a.cols)
                .filter(|&j| alive_a[j] && alive_b[j])
                .map(|j| {
                    let (x, y) = (&columns_a[j], &columns_b[j]);
                    1.0 - dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
                })
                .collect();
            if parts.is_empty() { 1.0 } else { mean(&parts) }
        }
        Distance::Cosine => by_row(&|a, b| {
            let norms = (dot(a, a) * dot(b, b)).sqrt();
            if norms == 0.0 { 1.0 } else { 1.0 - dot(a, b) / norms }
        }),
        Distance::LayernormMse => by_row(&|a, b| {
            let normal = |x: &[f64]| {
                let x = centred(x);
                let sigma = (dot(&x, &x) / x.len() as f64 + 1e-5).sqrt();
                x.into_iter().map(|x| x / sigma).collect::<Vec<f64>>()
            };
            let (a, b) = (normal(a), normal(b));
            a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64
        }),
    }
}

/// The student's low state, high state and prediction.
fn student64(bench: &Bench, weights: &Weights64) -> (States64, States64, States64) {
    let (_, wide) = &weights["wide"];
    let plus_wide = |deep: &[f64]| States64 { cols: 1, values: deep.iter().zip(wide).map(|(d, w)| d + w).collect() };
    let Some((cols, values)) = weights.get("embeddings") else {
        let none = States64 { cols: 1, values: vec![] };
        return (none.clone(), none, plus_wide(&[0.0; ROWS]));
    };
    let x = States64 { cols: *cols, values: values.clone() };
    match &bench.spec {
        ModelSpec::Ncf(_) => {
            let low = dense64(&x, weights, "layers.0", true);
            let high = up64(bench, weights, &low);
            let deep = dense64(&high, weights, "head", false);
            (low, high, plus_wide(&deep.values))
        }
        ModelSpec::Mf(_) => {
            let product: Vec<f64> =
                x.values.chunks(2 * EMBEDDING).flat_map(|row| (0..EMBEDDING).map(|j| row[j] * row[EMBEDDING + j])).collect();
            let deep: Vec<f64> = product.chunks(EMBEDDING).map(|row| row.iter().sum()).collect();
            let state = States64 { cols: EMBEDDING, values: product };
            (state.clone(), state, plus_wide(&deep))
        }
        ModelSpec::Bias(_) | ModelSpec::Net(_) => unreachable!("they have no embeddings of users and items"),
    }
}

/// up_S: the student's hidden layers above the first.
fn up64(bench: &Bench, weights: &Weights64, low: &States64) -> States64 {
    let mut state = low.clone();
    for index in 1..bench.spec.hidden_layers() {
        state = dense64(&state, weights, &format!("layers.{index}"), true);
    }
    state
}

/// up_T, from the teacher's own numbers.
fn teacher_up64(bench: &Bench, low: &States64) -> States64 {
    let mut weights = Weights64::new();
    let mut state = low.clone();
    let Interpreting::Dense(layers) = bench.upper.on_device(&device(), &Pool::default()).unwrap() else { panic!("dense layers") };
    for (index, layer) in layers.iter().enumerate() {
        for (part, var) in [("weight", &layer.weight), ("bias", &layer.bias)] {
            let values = var.host().iter().copied().map(f64::from).collect();
            weights.insert(format!("{index}.{part}"), (var.cols(), values));
        }
        state = dense64(&state, &weights, &index.to_string(), true);
    }
    state
}

/// Where each thing in a conversation takes its weights from.
struct Source<'a> {
    /// The state that questions are made of.
    state: &'a Weights64,
    /// up_S inside of the reply.
    reply: &'a Weights64,
    modules: &'a Weights64,
}

/// (q, a, c, u) of each round.
fn converse64(bench: &Bench, talk: &Talk, rounds: usize, source: &Source<'_>) -> Vec<[States64; 4]> {
    let (low, high, _) = student64(bench, source.state);
    let mut said: Vec<[States64; 4]> = Vec::new();
    for _ in 0..rounds {
        let read = match talk.protocol {
            Protocol::Circular => said.last().map_or(&high, |[.., u]| u).clone(),
            Protocol::AskAnswer if talk.rounds == 1 => low.clone(),
            Protocol::AskAnswer => {
                let zero = States64 { cols: talk.message_dim, values: vec![0.0; ROWS * talk.message_dim] };
                let last = said.last().map_or(&zero, |[_, _, c, _]| c);
                let rows = low.values.chunks(low.cols).zip(last.values.chunks(last.cols));
                let values = rows.flat_map(|(s, c)| s.iter().chain(c).copied()).collect();
                States64 { cols: low.cols + last.cols, values }
            }
        };
        let relu = matches!(bench.spec, ModelSpec::Ncf(_));
        let question = module64(&read, source.modules, "talk.student_encoder", false);
        let decoded = module64(&question, source.modules, "talk.teacher_decoder", true);
        let interpreted = match talk.upper {
            Upper::Frozen => teacher_up64(bench, &decoded),
            Upper::Trainable => (0..bench.upper.layers())
                .fold(decoded.clone(), |state, layer| dense64(&state, source.modules, &format!("talk.upper.{layer}"), true)),
        };
        let answer = module64(&interpreted, source.modules, "talk.teacher_encoder", false);
        let given = match talk.replies {
            Replies::Own => answer.clone(),
            Replies::Shuffled => {
                // `run` stands in step 0 of seed 0.
                let order = conversation::others(0, 0, said.len() + 1, ROWS);
                let row = |from: u32| answer.values[from as usize * answer.cols..][..answer.cols].to_vec();
                States64 { cols: answer.cols, values: order.into_iter().flat_map(row).collect() }
            }
        };
        let understood = match talk.protocol {
            Protocol::Circular => {
                let reply = module64(&given, source.modules, "talk.student_decoder.low", relu);
                up64(bench, source.reply, &reply)
            }
            Protocol::AskAnswer => module64(&given, source.modules, "talk.student_decoder.high", relu),
        };
        said.push([question, decoded, answer, understood]);
    }
    said
}

fn bounded64(made: &States64, ratings: &[f32], teacher: &[f32], margin: f64) -> f64 {
    let rows = made.values.iter().zip(ratings.iter().zip(teacher));
    let part = |(made, (rating, teacher)): (&f64, (&f32, &f32))| {
        let (own, others) = ((made - f64::from(*rating)).powi(2), (f64::from(*teacher) - f64::from(*rating)).powi(2));
        if own + margin > others { own } else { 0.0 }
    };
    rows.map(part).sum::<f64>() / made.values.len() as f64
}

pub(super) fn rows64(x: &States64) -> Vec<&[f64]> {
    x.values.chunks(x.cols).collect()
}

fn dot64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn sp64(s: &States64, t: &States64) -> f64 {
    let normalised = |x: &States64| -> Vec<Vec<f64>> {
        let rows = rows64(x);
        let products = rows.iter().map(|a| rows.iter().map(|b| dot64(a, b)).collect::<Vec<f64>>());
        let unit = |row: Vec<f64>| row.iter().map(|g| g / dot64(&row, &row).sqrt().max(f64::MIN_POSITIVE)).collect();
        products.map(unit).collect()
    };
    let (s, t) = (normalised(s), normalised(t));
    let squares = s.iter().flatten().zip(t.iter().flatten()).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    squares / (s.len() * s.len()) as f64
}

pub(super) fn rkd64(s: &States64, t: &States64) -> f64 {
    let distances = |x: &States64| -> Vec<f64> {
        let rows = rows64(x);
        let pairs = (0..rows.len()).flat_map(|i| (0..rows.len()).filter(move |j| *j != i).map(move |j| (i, j)));
        let all: Vec<f64> =
            pairs.map(|(i, j)| rows[i].iter().zip(rows[j]).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        all.into_iter().map(|distance| distance / mean).collect()
    };
    let huber = |x: f64| if x.abs() <= 1.0 { x * x / 2.0 } else { x.abs() - 0.5 };
    let (s, t) = (distances(s), distances(t));
    s.iter().zip(&t).map(|(a, b)| huber(a - b)).sum::<f64>() / s.len() as f64
}

pub(super) fn refilled64(s: &States64, t: &States64, tuples: &[Vec<usize>], temperature: f64) -> f64 {
    let likely = |x: &States64, tuple: &[usize]| -> Vec<f64> {
        let rows = rows64(x);
        let length = |row: usize| dot64(rows[row], rows[row]).sqrt().max(f64::MIN_POSITIVE);
        let unit = |row: usize| rows[row].iter().map(|v| v / length(row)).collect::<Vec<f64>>();
        let anchor = unit(tuple[0]);
        let weigh = |row: &usize| {
            let square: f64 = anchor.iter().zip(unit(*row)).map(|(a, b)| (a - b).powi(2)).sum();
            (-square / temperature).exp()
        };
        let parts: Vec<f64> = tuple[1..].iter().map(weigh).collect();
        let sum: f64 = parts.iter().sum();
        parts.into_iter().map(|part| part / sum).collect()
    };
    let divergence =
        |tuple: &Vec<usize>| likely(t, tuple).iter().zip(likely(s, tuple)).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
    tuples.iter().map(divergence).sum::<f64>() / tuples.len() as f64
}

pub(super) fn vid64(mean: &States64, t: &States64, alphas: &[f64]) -> f64 {
    let variance: Vec<f64> = (0..t.cols)
        .map(|j| {
            let column = t.column(j);
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64
        })
        .collect();
    let floor = 1e-6 * variance.iter().sum::<f64>() / variance.len() as f64;
    let part = |(at, (made, target)): (usize, (&f64, &f64))| {
        let variance = (1.0 + alphas[at % alphas.len()].exp()).ln() + floor;
        0.5 * ((target - made).powi(2) / variance + variance.ln())
    };
    mean.values.iter().zip(&t.values).enumerate().map(part).sum::<f64>() / mean.values.len() as f64
}

pub(super) fn srd64(s: &States64, t: &States64, power: f64) -> f64 {
    let normalised = |x: &States64, j: usize| -> Vec<f64> {
        let column = x.column(j);
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64;
        column.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect()
    };
    let column =
        |j: usize| -> f64 { normalised(s, j).iter().zip(normalised(t, j)).map(|(a, b)| (a - b).abs().powf(power)).sum() };
    ((0..s.cols).map(column).sum::<f64>() / s.values.len() as f64).ln()
}

/// Columns `from` to `to`, without the last.
fn columns64(x: &States64, from: usize, to: usize) -> States64 {
    States64 { cols: to - from, values: rows64(x).into_iter().flat_map(|row| row[from..to].to_vec()).collect() }
}

fn de64(bench: &Bench, de: &De, weights: &Weights64) -> f64 {
    let (cols, own) = &weights["embeddings"];
    let own = States64 { cols: *cols, values: own.clone() };
    let theirs = States64::of(bench.embeddings_width, &bench.embeddings);
    // `run` stands at the end of the first epoch.
    let Annealed { start, end, epochs } = de.temperature;
    let temperature = if epochs <= 1.0 { end } else { start * (end / start).powf(1.0 / epochs) };
    let side = |name: &str, second: usize| -> f64 {
        let (half_own, half_theirs) = (own.cols / 2, theirs.cols / 2);
        let own = columns64(&own, second * half_own, (second + 1) * half_own);
        let theirs = columns64(&theirs, second * half_theirs, (second + 1) * half_theirs);
        let logits = dense64(&theirs, weights, &format!("de.{name}.selection"), false);
        let noise = de::noise(name, 0, 0, logits.values.len());
        let made: Vec<States64> =
            (0..de.experts).map(|m| module64(&own, weights, &format!("de.{name}.expert.{m}"), false)).collect();
        let mut values = Vec::new();
        for row in 0..ROWS {
            let choice =
                |m: usize| ((logits.values[row * de.experts + m] + f64::from(noise[row * de.experts + m])) / temperature).exp();
            let all: f64 = (0..de.experts).map(choice).sum();
            for j in 0..half_theirs {
                values.push((0..de.experts).map(|m| choice(m) / all * made[m].values[row * half_theirs + j]).sum());
            }
        }
        let single: Vec<f32> = theirs.values.iter().map(|&v| v as f32).collect();
        let variance = variances(&single, half_theirs);
        distance64(de.distance, &States64 { cols: half_theirs, values }, &theirs, Some(&variance))
    };
    side("user", 0) + side("item", 1)
}

/// The loss by its formula.
fn loss64(bench: &Bench, method: &Method, live: &Weights64, fixed: &Weights64) -> Vec<(Term, f64, f64)> {
    let (low, high, output) = student64(bench, live);
    let against = |target: &[f32]| distance64(Distance::Mse, &output, &States64::of(1, target), None);
    let teacher_low = States64::of(bench.low_width, &bench.low);
    let teacher_high = States64::of(bench.high_width, &bench.high);
    let mut parts = vec![(Term::Task, 1.0, against(&bench.examples.rating))];
    let (states, targets) = (&high, &teacher_high);
    let (ratings, outputs) = (&bench.examples.rating, &bench.output);
    let talk = match method {
        Method::Bounded(bounded) => {
            parts.push((Term::Bounded, bounded.weight, bounded64(&output, ratings, outputs, bounded.margin)));
            return parts;
        }
        Method::De(de) => {
            parts.push((Term::De, de.weight, de64(bench, de, live)));
            return parts;
        }
        Method::Dist(dist) => {
            parts.push((Term::Dist, dist.weight, distance64(Distance::Corr, &output, &States64::of(1, outputs), None)));
            return parts;
        }
        Method::Sp(sp) => {
            parts.push((Term::Sp, sp.weight, sp64(states, targets)));
            return parts;
        }
        Method::Rkd(rkd) => {
            parts.push((Term::Rkd, rkd.weight, rkd64(states, targets)));
            return parts;
        }
        Method::Refilled(refilled) => {
            let tuples = refilled::tuples(&Targets::Ratings(ratings).levels(), refilled.others);
            parts.push((Term::Refilled, refilled.weight, refilled64(states, targets, &tuples, refilled.temperature)));
            return parts;
        }
        Method::Vid(vid) => {
            let mean = match vid.projector_hidden {
                None => dense64(states, live, "vid.projector", false),
                Some(_) => module64(states, live, "vid.projector", false),
            };
            parts.push((Term::Vid, vid.weight, vid64(&mean, targets, &live["vid.alpha"].1)));
            return parts;
        }
        Method::Srd(srd) => {
            let projected = dense64(states, live, "srd.projector", false);
            parts.push((Term::Srd, srd.weight, srd64(&projected, targets, srd.power)));
            return parts;
        }
        Method::IakdAdapter(iakd) => {
            let source = Source { state: live, reply: live, modules: live };
            let [.., understood] = &converse64(bench, &iakd.as_talk(), 1, &source)[0];
            let (_, wide) = &live["wide"];
            let deep = dense64(understood, live, "head", false);
            let made = States64 { cols: 1, values: deep.values.iter().zip(wide).map(|(d, w)| d + w).collect() };
            return vec![(Term::Swapped, 1.0, distance64(Distance::Mse, &made, &States64::of(1, ratings), None))];
        }
        Method::BiasOnly | Method::Scratch => return parts,
        Method::Dkd(_) | Method::Crd(_) => unreachable!("of classes"),
        Method::Label(label) => {
            parts.push((Term::Label, label.weight, against(&bench.output)));
            return parts;
        }
        Method::Feature(feature) => {
            let projected = match feature.projector_hidden {
                None => dense64(&high, live, "feature.projector", false),
                Some(_) => module64(&high, live, "feature.projector", false),
            };
            let variance = variances(&bench.high, bench.high_width);
            let value = distance64(feature.distance, &projected, &teacher_high, Some(&variance));
            parts.push((Term::Feature, feature.weight, value));
            return parts;
        }
        Method::OneWay(one_way) => &one_way.as_talk(),
        Method::Talk(talk) => talk,
    };
    let (weights, distances) = (&talk.weights, &talk.distances);
    if talk.converses() {
        let question = match talk.question_path {
            QuestionPath::Open => live,
            QuestionPath::Stop => fixed,
        };
        let open = converse64(bench, talk, talk.rounds, &Source { state: question, reply: live, modules: live });
        let (_, fixed_high, _) = student64(bench, fixed);
        let (targets, conversation) = match talk.interact_into {
            InteractInto::Both => (&high, open.clone()),
            InteractInto::Student => {
                (&high, converse64(bench, talk, talk.rounds, &Source { state: fixed, reply: fixed, modules: fixed }))
            }
            InteractInto::Modules => {
                (&fixed_high, converse64(bench, talk, talk.rounds, &Source { state: fixed, reply: fixed, modules: live }))
            }
        };
        if weights.interact > 0.0 {
            let sum = conversation.iter().map(|[.., u]| distance64(distances.interact, targets, u, None)).sum();
            parts.push((Term::Interact, weights.interact, sum));
        }
        let [question, decoded, answer, _] = &open[0];
        if weights.message > 0.0 {
            parts.push((Term::Message, weights.message, distance64(distances.message, question, answer, None)));
        }
        if weights.state > 0.0 {
            let variance = variances(&bench.low, bench.low_width);
            let value = distance64(distances.state, decoded, &teacher_low, Some(&variance));
            parts.push((Term::State, weights.state, value));
        }
    }
    if weights.student_state > 0.0 {
        let message = module64(&teacher_high, live, "talk.teacher_encoder", false);
        let (state, name) = match talk.student_state_into {
            Tap::Low => (&low, "talk.student_decoder.low"),
            Tap::High => (&high, "talk.student_decoder.high"),
        };
        let decoded = module64(&message, live, name, matches!(bench.spec, ModelSpec::Ncf(_)));
        parts.push((Term::StudentState, weights.student_state, distance64(distances.student_state, state, &decoded, None)));
    }
    if weights.label > 0.0 {
        parts.push((Term::Label, weights.label, against(&bench.output)));
    }
    parts
}

/// Holds `method` to the oracle: every term's value, and every gradient, of embeddings, bias terms, layers and modules.
fn hold(bench: &Bench, method: &Method) {
    let found = run(bench, method, |_, _, _, _| {});
    let expected = loss64(bench, method, &found.weights, &found.weights);
    assert_eq!(found.parts.len(), expected.len(), "{method:?}");
    for (term, weight, value) in &expected {
        let part = found.parts.iter().find(|part| part.term == *term).unwrap();
        assert!(
            (part.value - value).abs() < 1e-4 * (1.0 + value.abs()),
            "{method:?}: {term:?} {} instead of {value}",
            part.value
        );
        assert_eq!(part.weight, *weight, "{method:?}: {term:?}");
    }
    let total = |live: &Weights64| -> f64 {
        loss64(bench, method, live, &found.weights).iter().map(|(_, weight, value)| weight * value).sum()
    };
    let mut live = found.weights.clone();
    for (name, gradient) in &found.gradients {
        // Every number of small tensors, and every third of large ones.
        let stride = if gradient.len() > 40 { 3 } else { 1 };
        for index in (0..gradient.len()).step_by(stride) {
            let original = found.weights[name].1[index];
            let mut at = |step: f64| {
                live.get_mut(name).unwrap().1[index] = original + step;
                total(&live)
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            at(0.0);
            let gradient = f64::from(gradient[index]);
            assert!(
                (gradient - expected).abs() < 2e-4 * (1.0 + expected.abs()),
                "{method:?}: {name}[{index}] {gradient} instead of {expected}"
            );
        }
    }
}

fn bench() -> Bench {
    Bench::new(ncf(&[5, 4]), &[6, 3])
}

fn talk(change: impl Fn(&mut Talk)) -> Method {
    let mut talk = Talk {
        message_dim: 3,
        weights: Weights { interact: 0.7, message: 0.5, state: 0.3, student_state: 0.4, label: 0.6 },
        ..Talk::default()
    };
    change(&mut talk);
    Method::Talk(talk)
}

#[test]
fn simple_methods() {
    let bench = bench();
    hold(&bench, &Method::Scratch);
    hold(&bench, &Method::Label(Label { weight: 0.3, ..Label::default() }));
    for projector_hidden in [None, Some(7)] {
        hold(&bench, &Method::Feature(Feature { projector_hidden, ..Feature::default() }));
    }
    // A model with one hidden layer (low = high), a deeper one, and matrix factorisation.
    for spec in [ncf(&[5]), ncf(&[5, 4, 3]), ModelSpec::Mf(Mf { embedding: EMBEDDING, embedding_sd: 1.0, ..Mf::default() })] {
        let bench = Bench::new(spec, &[6, 3]);
        hold(&bench, &Method::Scratch);
        hold(&bench, &Method::Feature(Feature::default()));
        hold(&bench, &Method::OneWay(OneWay { message_dim: 3, ..OneWay::default() }));
    }
    let wide = Wide { damping: Some(1.0), ..Wide::default() };
    hold(&Bench::new(ModelSpec::Bias(wide), &[6, 3]), &Method::BiasOnly);
}

#[test]
fn methods_of_relations_and_likelihoods() {
    for bench in [bench(), Bench::new(ncf(&[5, 4, 3]), &[6, 5, 3])] {
        for margin in [0.0, 0.5, 100.0] {
            hold(&bench, &Method::Bounded(Bounded { margin, ..Bounded::default() }));
        }
        hold(&bench, &Method::Dist(Dist::default()));
        hold(&bench, &Method::Sp(Sp { weight: 3.0, warm_up: 0.0 }));
        hold(&bench, &Method::Rkd(Rkd { weight: 3.0, warm_up: 0.0 }));
        for others in [1, 3, 100] {
            hold(&bench, &Method::Refilled(Refilled { others, weight: 2.0, ..Refilled::default() }));
        }
        for projector_hidden in [None, Some(4)] {
            hold(&bench, &Method::Vid(Vid { projector_hidden, ..Vid::default() }));
        }
        for power in [1.5, 2.0, 4.0] {
            hold(&bench, &Method::Srd(Srd { power, ..Srd::default() }));
        }
        for probability in [1.0, 1e-9] {
            let method = Method::IakdAdapter(IakdAdapter { probability, message_dim: 3, ..IakdAdapter::default() });
            match probability < 0.5 {
                true => assert_eq!(run(&bench, &method, |_, _, _, _| {}).parts[0].term, Term::Task),
                false => hold(&bench, &method),
            }
        }
    }
    // What has states but no layers between them can be related too.
    let mf = Bench::new(ModelSpec::Mf(Mf { embedding: EMBEDDING, embedding_sd: 1.0, ..Mf::default() }), &[6, 3]);
    hold(&mf, &Method::Sp(Sp::default()));
    hold(&mf, &Method::Vid(Vid::default()));
}

/// Experts between embeddings of different widths, for students of each kind, with hard and soft choices.
#[test]
fn experts() {
    let wide = ModelSpec::Ncf(Ncf { embedding: 3, hidden: vec![6, 3], embedding_sd: 1.0, ..Ncf::default() });
    let annealed = |start, end, epochs| Annealed { start, end, epochs };
    for spec in [ncf(&[5, 4]), ncf(&[5]), ModelSpec::Mf(Mf { embedding: EMBEDDING, embedding_sd: 1.0, ..Mf::default() })] {
        let bench = Bench::with_teacher(spec, wide.clone());
        for experts in [1, 2, 5] {
            for temperature in [annealed(1.0, 1.0, 10.0), annealed(2.0, 0.5, 2.0), annealed(1.0, 0.3, 1.0)] {
                hold(&bench, &Method::De(De { experts, temperature, ..De::default() }));
            }
        }
        for distance in Distance::ALL {
            let temperature = annealed(1.0, 0.5, 4.0);
            hold(&bench, &Method::De(De { distance, expert_hidden: Some(4), temperature, weight: 0.7, ..De::default() }));
        }
    }
}

#[test]
fn talks_with_others_replies_and_with_layers_of_their_own() {
    let bench = Bench::new(ncf(&[5, 4]), &[6, 5, 3]);
    for protocol in [Protocol::Circular, Protocol::AskAnswer] {
        for interact_into in [InteractInto::Both, InteractInto::Student, InteractInto::Modules] {
            for (replies, upper) in
                [(Replies::Shuffled, Upper::Frozen), (Replies::Own, Upper::Trainable), (Replies::Shuffled, Upper::Trainable)]
            {
                hold(
                    &bench,
                    &talk(|talk| {
                        talk.protocol = protocol;
                        talk.rounds = 2;
                        talk.interact_into = interact_into;
                        talk.replies = replies;
                        talk.upper = upper;
                    }),
                );
            }
        }
    }
    // Each round of each step has an order of its own, in which every row is once.
    let order = |step, round| conversation::others(1, step, round, 50);
    assert!(order(0, 1) != order(0, 2) && order(0, 1) != order(1, 1));
    let mut sorted = order(0, 1);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
}

#[test]
fn one_way() {
    for into in [Tap::Low, Tap::High] {
        for widened in [false, true] {
            hold(&bench(), &Method::OneWay(OneWay { into, widened, message_dim: 3, ..OneWay::default() }));
        }
    }
}

#[test]
fn talks_of_0_to_3_rounds_in_both_protocols_with_every_gradient_option() {
    let bench = bench();
    for protocol in [Protocol::Circular, Protocol::AskAnswer] {
        for rounds in 0..=3 {
            for interact_into in [InteractInto::Both, InteractInto::Student, InteractInto::Modules] {
                for question_path in [QuestionPath::Open, QuestionPath::Stop] {
                    hold(
                        &bench,
                        &talk(|talk| {
                            talk.protocol = protocol;
                            talk.rounds = rounds;
                            talk.interact_into = interact_into;
                            talk.question_path = question_path;
                        }),
                    );
                }
            }
        }
    }
}

#[test]
fn talks_with_every_distance_and_a_deeper_teacher() {
    let bench = Bench::new(ncf(&[5, 4, 4]), &[6, 5, 3]);
    for distance in Distance::ALL {
        hold(
            &bench,
            &talk(|talk| {
                talk.rounds = 2;
                talk.module_hidden = Some(4);
                talk.student_state_into = Tap::Low;
                talk.distances.state = distance;
                if distance != Distance::MseFrozenStd {
                    talk.distances =
                        Distances { interact: distance, message: distance, state: distance, student_state: distance };
                }
            }),
        );
    }
}

#[test]
fn terms_without_weight_are_not_there() {
    let bench = bench();
    for (weights, terms) in [
        (Weights { interact: 1.0, message: 0.0, state: 0.0, student_state: 0.0, label: 0.0 }, vec![Term::Task, Term::Interact]),
        (Weights { interact: 0.0, message: 1.0, state: 0.0, student_state: 0.0, label: 0.0 }, vec![Term::Task, Term::Message]),
        (Weights { interact: 0.0, message: 0.0, state: 1.0, student_state: 0.0, label: 0.0 }, vec![Term::Task, Term::State]),
        (Weights { interact: 0.0, message: 0.0, state: 0.0, student_state: 0.0, label: 1.0 }, vec![Term::Task, Term::Label]),
    ] {
        let method = talk(|talk| {
            talk.weights = weights.clone();
            talk.rounds = 2;
        });
        hold(&bench, &method);
        let found: Vec<Term> = run(&bench, &method, |_, _, _, _| {}).parts.iter().map(|part| part.term).collect();
        assert_eq!(found, terms);
        assert_eq!(method.terms(), terms);
    }
}

/// A teacher that talks to itself through modules that change nothing: u_1 = up(s_l) = s_h and a_1 = s_l = t_l, so the interaction and state terms are 0,
/// and since a squared difference has no slope at 0, so are all gradients. The task is made to have none either: the ratings are the predictions.
#[test]
fn a_model_talking_to_itself_through_identities_has_nothing_to_learn() {
    let mut bench = Bench::new(ncf(&[4, 4]), &[4, 4]);
    bench.student = model(&bench.spec, 9, &bench.examples);
    bench.examples.rating = bench.output.clone();
    let method = talk(|talk| {
        talk.protocol = Protocol::AskAnswer;
        talk.message_dim = 4;
        talk.weights = Weights { interact: 1.0, message: 0.0, state: 1.0, student_state: 0.0, label: 0.0 };
        talk.distances.interact = Distance::Mse;
    });
    let found = run(&bench, &method, |name, rows, cols, host| {
        let identity = |index: usize| if index / cols == index % cols && rows > 1 { 1.0 } else { 0.0 };
        *host = (0..rows * cols).map(identity).collect();
        assert!(rows == cols || rows == 1, "{name} is square");
    });
    for part in &found.parts {
        assert!(part.value.abs() < 1e-12, "{:?}: {}", part.term, part.value);
    }
    assert_eq!(found.parts.len(), 3);
    for (name, gradient) in &found.gradients {
        assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{name}: {gradient:?}");
    }
}

#[test]
fn weights_rise_while_warming_up() {
    let bench = bench();
    // `run` stands at the end of the first epoch.
    let method = talk(|talk| talk.warm_up = 4.0);
    for part in run(&bench, &method, |_, _, _, _| {}).parts {
        let Method::Talk(talk) = &method else { unreachable!() };
        let full = match part.term {
            Term::Task => 4.0,
            Term::Interact => talk.weights.interact,
            Term::Message => talk.weights.message,
            Term::State => talk.weights.state,
            Term::StudentState => talk.weights.student_state,
            Term::Label => talk.weights.label,
            _ => unreachable!(),
        };
        assert_eq!(part.weight, full / 4.0, "{:?}", part.term);
    }
}
