//! What a training costs: numbers kept, and the arithmetic and memory of a step, computed before anything runs.
//!
//! A step is traced on one row through the same code that trains ([`trace`](crate::trace)), with tables of one row and a teacher of the same
//! widths that says nothing but 0, and what the trace tells of shapes is multiplied out. Nothing is measured here, and no clock is read.

use dfdx::tensor::Cpu;
use serde::Serialize;

use crate::batches::batches;
use crate::config::TrainConfig;
use crate::data::TaskData;
use crate::device::failed;
use crate::error::TrainError;
use crate::graph::Graph;
use crate::methods::Step;
use crate::models::student::Dropout;
use crate::ops::Pool;
use crate::params::Params;
use crate::task::{Body, Task};
use crate::teacher::{Aligned, By, States, TeacherBatch, TeacherView, TokenStates};
use crate::trace::{RowCost, Trace};

/// What a training costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Numbers that serving needs: tables, layers, the mean.
    pub serving: u64,
    /// Trained numbers that are dropped with training: modules, projectors.
    pub training_only: u64,
    /// The teacher's numbers that must be resident in training: its upper layers.
    pub frozen: u64,
    /// Trained numbers of each training-only module, by name.
    pub modules: Vec<(String, u64)>,
    /// What its largest step costs.
    pub step: StepCost,
}

/// What the largest step of a training costs on the processor, from shapes alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepCost {
    /// Rows of the batch: the training rows, shared out evenly over as few batches as `batch` allows.
    pub rows: u64,
    /// Floating-point operations, a multiplication and an addition being two: `matmul_flops`, and for dense layers the bias terms,
    /// the sums of their gradients, activations and dropout, the deep path's products and sums outside of layers, and the relations of rows to
    /// each other that `sp`, `rkd`, `crd` and `refilled` compare, which for the first three grow with the square of `rows`.
    ///
    /// Not in it: what is looked up or summed in tables, distances and losses, clipping, and the optimiser, all of which do a few operations a number
    /// and are bound by memory.
    pub flops: u64,
    /// Those of matrix products alone, which is what a machine's peak of gemm is compared with: each dense layer forward, the gradient of
    /// its input where that is wanted, and of its weights where they are not frozen, in the student and in every round of a talk; and
    /// attention's two products, which are five on the way back, since its weights are computed again there. Of texts of different lengths
    /// all are taken to be as long as the mean, which says too little of attention: what it multiplies goes with the square of a length.
    pub matmul_flops: u64,
    /// Bytes that the step has to read and write, each number as often as it must be touched and not once more:
    ///
    /// - each trained number of dense layers and of the rows of tables that the batch touches is read and written together with its
    ///   moments, and its gradient is written and read;
    /// - each of the teacher's frozen numbers is read;
    /// - each number of the batch's matrices (embeddings, the teacher's states, the student's, messages, dropout) is written and read, and its
    ///   gradient too, where it has one;
    /// - each number that is kept of relations is written and read;
    /// - each row's user, item and rating is read.
    ///
    /// A batch is taken to touch as many rows of a table as it has itself, or all of them. Products that do not fit into caches read
    /// their operands more than once, and so move more.
    pub bytes: u64,
    /// The most bytes resident at one time in the whole training, estimated:
    ///
    /// - dense layers as the optimiser has them and as products read them, with moments and a gradient; the teacher's frozen ones twice;
    /// - tables with moments, and gradients of the rows that the batch touches;
    /// - the best epoch's weights, twice while better ones replace them;
    /// - the batch's matrices and their gradients, what is kept of relations, and the matrices of a validation's forward pass;
    /// - the rows of training and validation, and the cached features of the teacher.
    ///
    /// Not in it: the program itself, what gemm packs, and a few bytes a row of a table that are no weights.
    pub peak_bytes: u64,
}

/// What the largest step of a training costs. Takes what [`train`](crate::train) takes, and of it reads sizes alone.
///
/// # Errors
/// [`TrainError`]: settings or data that cannot be trained, a teacher that lacks what the method needs or does not fit.
pub fn step_cost(config: &TrainConfig, data: &TaskData<'_>, teacher: Option<TeacherView<'_>>) -> Result<StepCost, TrainError> {
    task_cost(config, data, teacher)
}

/// The same, of any task.
pub(crate) fn task_cost<T: Task>(
    config: &TrainConfig,
    data: &T,
    teacher: Option<TeacherView<'_>>,
) -> Result<StepCost, TrainError> {
    config.check(None)?;
    data.check(config)?;
    let view = teacher.unwrap_or_default();
    config.method.needs().check(&view)?;
    let steps = batches(data.train_rows().len(), config.batch);
    let rows = data.train_rows().len().div_ceil(steps) as u64;
    let traced = Traced::new(config, data, &view, rows)?;
    let RowCost { matmul_flops, other_flops, values, gradients, related } = traced.row;

    let sizes = data.sizes(&config.method.trained_model(&config.model));
    let (touched, tables) = (sizes.touched(rows), sizes.tables);
    let trained = traced.layers + traced.modules;
    let moments = config.optimizer.moments(1);
    let moments = (moments.first.len() + moments.second.len()) as u64;

    let moved = (trained + touched) * (2 * (1 + moments) + 2)
        + traced.frozen
        + rows * (2 * values + 2 * gradients + 2 * related + sizes.read);
    let cached = view.row.len() as u64;
    let width_of = |states: &Option<States<'_>>| states.as_ref().map_or(0, |states| states.width as u64);
    let feature_width = width_of(&view.low)
        + width_of(&view.high)
        + width_of(&view.embeddings)
        + view.output.map_or(0, |_| data.outputs() as u64);
    let tokens = view.tokens.map_or(0, |tokens| (tokens.values.len() + tokens.starts.len()) as u64);
    let resident = trained * (2 + moments + 1)
        + traced.frozen * 2
        + tables * (1 + moments)
        + touched
        + 2 * (traced.layers + tables)
        + rows * (values + gradients + related)
        + sizes.validated * traced.forward
        + sizes.data
        + cached * (1 + feature_width)
        + tokens;
    let number = size_of::<f32>() as u64;
    Ok(StepCost {
        rows,
        flops: rows * (matmul_flops + other_flops),
        matmul_flops: rows * matmul_flops,
        bytes: number * moved,
        peak_bytes: number * resident,
    })
}

/// A step of one row, and what it was made of.
struct Traced {
    row: RowCost,
    /// Numbers a row of the student's forward pass.
    forward: u64,
    /// Numbers of the student's dense layers.
    layers: u64,
    /// Numbers of the method's modules.
    modules: u64,
    /// Numbers of the teacher's layers that are needed.
    frozen: u64,
}

impl Traced {
    fn new<T: Task>(config: &TrainConfig, data: &T, teacher: &TeacherView<'_>, rows: u64) -> Result<Self, TrainError> {
        let failed = failed::<Cpu>;
        let (device, pool) = (Cpu::default(), Pool::default());
        let one_row = |states: &States<'_>| (vec![0.0; states.width], vec![1.0; states.width]);
        let [low, high, embeddings] =
            [&teacher.low, &teacher.high, &teacher.embeddings].map(|states| states.as_ref().map(one_row));
        fn states((values, variance): &(Vec<f32>, Vec<f32>)) -> States<'_> {
            States { width: values.len(), values, variance }
        }
        let output = vec![0.0; data.outputs()];
        // A sequence of the mean length.
        let mean = |tokens: TokenStates<'_>| tokens.starts.last().copied().unwrap_or(0).div_ceil(teacher.row.len().max(1));
        let starts = [0, teacher.tokens.map_or(0, mean)];
        let token_values = vec![0.0; starts[1] * teacher.tokens.map_or(0, |tokens| tokens.width)];
        let view = TeacherView {
            by: By::Row,
            streams: teacher.streams,
            row: &[0],
            low: low.as_ref().map(states),
            high: high.as_ref().map(states),
            embeddings: embeddings.as_ref().map(states),
            tokens: teacher.tokens.map(|tokens| TokenStates { values: &token_values, starts: &starts, ..tokens }),
            output: teacher.output.map(|_| &output[..]),
            upper: teacher.upper,
        };
        let needs = config.method.needs();
        let model = config.method.trained_model(&config.model);
        let (mut student, batch) = data.sample(&device, &model, config.seed).map_err(failed)?;
        let mut modules = Params::new(&device);
        let learner = config.method.dearest().learner(&device, &model, &view, config.seed, &mut modules)?;

        let dropout = Dropout { rate: model.dropout() as f32, seed: config.seed, step: 0 };
        let mut graph = Graph::tracing(&device, &pool, rows);
        let forward = student.forward(&mut graph, &batch, &dropout).map_err(failed)?;
        let forward_values = graph.trace().map_or(0, |trace| trace.values());
        let features = match needs.any() {
            true => Aligned::new(view, &[0], needs, data.outputs())?.batch(&graph, &[0]).map_err(failed)?,
            false => TeacherBatch::none(),
        };
        if let Some(trace) = graph.trace() {
            let tokens = features.tokens.as_ref().map(|(tokens, _)| tokens);
            let states = features.low.iter().chain(&features.high).chain(&features.embeddings).chain(tokens);
            states.for_each(|states| trace.matrix(states));
        }
        learner
            .terms(&mut Step {
                graph: &mut graph,
                student: &student,
                modules: &modules,
                forward: T::Body::<Cpu>::seen(&forward),
                targets: T::targets(&batch),
                teacher: &features,
                dropout,
                progress: 1.0,
                parts: Vec::new(),
                decoded: None,
            })
            .map_err(failed)?;
        Ok(Traced {
            row: graph.into_trace().map(Trace::cost).unwrap_or_default(),
            forward: forward_values,
            layers: student.params().numbers(),
            modules: modules.numbers(),
            frozen: teacher.upper.filter(|_| needs.upper_layers).map_or(0, |upper| upper.numbers()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use std::cell::RefCell;

    use super::*;
    use crate::data::{Examples, Scale};
    use crate::device::DeviceKind;
    use crate::io::{Progress, TrainIo};
    use crate::methods::{
        Bounded, De, Dist, Feature, IakdAdapter, InteractInto, Label, Method, OneWay, Protocol, QuestionPath, Refilled, Replies,
        Rkd, Sp, Srd, Talk, Tap, Upper, Vid, Weights,
    };
    use crate::model::RatingModel;
    use crate::models::student::Student;
    use crate::models::{Mf, ModelSpec, Ncf};
    use crate::ops::MULTIPLIED;
    use crate::optim::{Optimizer, Sgd};
    use crate::teacher::TeacherUpper;
    use crate::trainer::train;

    const SCALE: Scale = Scale { min: 1.0, max: 5.0 };
    /// Rows of a batch.
    const BATCH: u64 = 16;

    fn ncf(embedding: usize, hidden: &[usize]) -> ModelSpec {
        ModelSpec::Ncf(Ncf { embedding, hidden: hidden.to_vec(), ..Ncf::default() })
    }

    fn examples(rows: usize, users: usize, items: usize) -> Examples {
        let index = |of: usize| (0..rows).map(|row| (row % of) as u32).collect();
        let rating = (0..rows).map(|row| 1.0 + (row * 7 % 5) as f32).collect();
        Examples { row: index(rows), user: index(users), item: index(items), rating }
    }

    /// Rows, and a teacher of hidden widths 12 and 8.
    struct World {
        rows: Examples,
        validation: Examples,
        upper: TeacherUpper,
        features: Vec<f32>,
    }

    impl World {
        fn new() -> Self {
            let rows = examples(2 * BATCH as usize, 10, 9);
            let spec = ncf(3, &[12, 8]);
            let weights = Student::fresh(&Cpu::default(), &spec, 1, (10, 9), &rows).unwrap().export();
            let model = RatingModel::new(spec, SCALE, weights).unwrap();
            let bytes = std::io::Cursor::new(model.to_safetensors().unwrap());
            World {
                upper: TeacherUpper::load(bytes, &model.config()).unwrap(),
                // Numbers of some variance, which are no model's: only the amount of work is looked at.
                features: (0..rows.len() * 12).map(|at| (at * 31 % 17) as f32 / 17.0).collect(),
                validation: examples(1, 10, 9),
                rows,
            }
        }

        fn data(&self) -> TaskData<'_> {
            TaskData { train: &self.rows, validation: &self.validation, users: 10, items: 9, scale: SCALE }
        }

        fn view(&self) -> TeacherView<'_> {
            let rows = self.rows.len();
            let states = |width: usize| States { width, values: &self.features[..rows * width], variance: &[1.0; 12][..width] };
            TeacherView {
                by: By::Row,
                streams: false,
                row: &self.rows.row,
                low: Some(states(12)),
                high: Some(states(8)),
                embeddings: Some(states(6)),
                tokens: None,
                output: Some(&self.features[..rows]),
                upper: Some(&self.upper),
            }
        }

        fn config(method: Method) -> TrainConfig {
            TrainConfig { model: ncf(4, &[8, 6]), method, batch: BATCH as usize, ..TrainConfig::default() }
        }

        fn cost(&self, config: &TrainConfig) -> StepCost {
            step_cost(config, &self.data(), Some(self.view())).unwrap()
        }

        /// Multiplications that a row costs in the student of [`Self::config`].
        fn a_row(&self, method: Method) -> u64 {
            let cost = self.cost(&Self::config(method));
            assert_eq!(cost.rows, BATCH);
            assert_eq!(cost.matmul_flops % (2 * BATCH), 0);
            cost.matmul_flops / (2 * BATCH)
        }
    }

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
    fn counted(config: &TrainConfig, world: &World) -> u64 {
        let mut watch = Watch::default();
        train(config, &world.data(), Some(world.view()), DeviceKind::Cpu, &mut watch).unwrap_err();
        let counts = watch.counts.into_inner();
        counts[1] - counts[0]
    }

    fn talk(rounds: usize, change: impl FnOnce(&mut Talk)) -> Method {
        let mut talk = Talk { rounds, message_dim: 4, ..Talk::default() };
        change(&mut talk);
        Method::Talk(talk)
    }

    /// Every setting that decides what is computed, and what the kernels multiply then.
    #[test]
    fn what_is_foretold_is_what_the_kernels_multiply() {
        let world = World::new();
        let one_way = |into, widened| Method::OneWay(OneWay { into, widened, message_dim: 4, ..OneWay::default() });
        let feature = |projector_hidden| Method::Feature(Feature { projector_hidden, ..Feature::default() });
        let mut methods = vec![
            Method::BiasOnly,
            Method::Scratch,
            Method::Label(Label::default()),
            feature(None),
            feature(Some(5)),
            one_way(Tap::High, false),
            one_way(Tap::Low, false),
            one_way(Tap::High, true),
            Method::Bounded(Bounded::default()),
            Method::De(De { experts: 3, ..De::default() }),
            Method::De(De { experts: 1, expert_hidden: Some(7), ..De::default() }),
            Method::Dist(Dist::default()),
            Method::Sp(Sp::default()),
            Method::Rkd(Rkd::default()),
            Method::Refilled(Refilled::default()),
            Method::Vid(Vid::default()),
            Method::Vid(Vid { projector_hidden: Some(5), ..Vid::default() }),
            Method::Srd(Srd::default()),
            Method::IakdAdapter(IakdAdapter { probability: 1.0, message_dim: 4, module_hidden: None }),
            talk(2, |talk| talk.replies = Replies::Shuffled),
            talk(2, |talk| (talk.upper, talk.protocol) = (Upper::Trainable, Protocol::AskAnswer)),
            talk(1, |talk| (talk.upper, talk.replies) = (Upper::Trainable, Replies::Shuffled)),
        ];
        let weights = |[interact, message, state, student_state]: [f64; 4]| Weights {
            interact,
            message,
            state,
            student_state,
            ..Weights::default()
        };
        let terms = [
            [0.1, 0.1, 0.1, 0.0],
            [0.1, 0.0, 0.0, 0.0],
            [0.0, 0.1, 0.0, 0.0],
            [0.0, 0.0, 0.1, 0.1],
            [0.1, 0.0, 0.1, 0.1],
            [0.0, 0.0, 0.0, 0.1],
        ];
        for protocol in [Protocol::Circular, Protocol::AskAnswer] {
            for question_path in [QuestionPath::Open, QuestionPath::Stop] {
                for interact_into in [InteractInto::Both, InteractInto::Student, InteractInto::Modules] {
                    for rounds in 0..=3 {
                        for terms in terms {
                            methods.push(talk(rounds, |talk| {
                                let student_state_into = if rounds == 2 { Tap::Low } else { Tap::High };
                                let module_hidden = Some(7).filter(|_| rounds == 3);
                                let weights = weights(terms);
                                let settings = Talk { protocol, question_path, interact_into, weights, ..talk.clone() };
                                *talk = Talk { student_state_into, module_hidden, ..settings };
                            }));
                        }
                    }
                }
            }
        }
        let mut looked_at = 0;
        for method in methods {
            for dropout in [0.0, 0.4] {
                let model = ModelSpec::Ncf(Ncf { dropout, embedding: 4, hidden: vec![8, 7, 6], ..Ncf::default() });
                let config = TrainConfig { model, ..World::config(method.clone()) };
                if config.check(None).is_ok() {
                    assert_eq!(2 * counted(&config, &world), world.cost(&config).matmul_flops, "{config:?}");
                    looked_at += 1;
                }
            }
        }
        assert!(looked_at > 200, "{looked_at}");
        let mf = ModelSpec::Mf(Mf { embedding: 4, ..Mf::default() });
        for method in [feature(None), one_way(Tap::High, false), talk(2, |talk| talk.protocol = Protocol::AskAnswer)] {
            let config = TrainConfig { model: mf.clone(), ..World::config(method) };
            assert_eq!(2 * counted(&config, &world), world.cost(&config).matmul_flops, "{config:?}");
        }
    }

    /// 128-256-128-64-1: 73 792 multiplications forward, as many for gradients of inputs and of weights; 443 kFLOP a row.
    #[test]
    fn a_known_model_by_hand() {
        let rows = examples(512, 610, 512);
        let data = TaskData { train: &rows, validation: &examples(3, 3, 3), users: 610, items: 9724, scale: SCALE };
        let config = TrainConfig { model: ncf(64, &[256, 128, 64]), ..TrainConfig::default() };
        let cost = step_cost(&config, &data, None).unwrap();
        assert_eq!(cost.rows, 256);
        assert_eq!(cost.matmul_flops, 256 * 442_752);
        // Of 448 hidden numbers: bias, its gradient, ReLU, its gradient; of the head's one: bias and its gradient; one sum with the bias terms.
        assert_eq!(cost.flops, 256 * (442_752 + 4 * 448 + 2 + 1));
        let layers = 128 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 64 + 1;
        let (touched, tables) = (2 * 256 * 65, (610 + 9724) * 65);
        // Bias terms, joined embeddings, hidden layers, the head's output, the prediction; each with its gradient.
        let matrices = 1 + 128 + 256 + 128 + 64 + 1 + 1;
        // With Adam, three numbers are read and written, and a gradient written and read.
        assert_eq!(cost.bytes, 4 * ((layers + touched) * 8 + 256 * (4 * matrices + 3)));
        let resident = layers * 5 + tables * 3 + touched + 2 * (layers + tables) + 256 * 2 * matrices;
        let forward = 3 * (matrices);
        assert_eq!(cost.peak_bytes, 4 * (resident + forward + 512 * 5 + 3 * 4));
        // Without moments, and with fewer users and items than rows.
        let few = TaskData { users: 512, items: 512, train: &examples(512, 30, 20), ..data };
        let few = TaskData { users: 30, items: 20, ..few };
        let config = TrainConfig { optimizer: Optimizer::Sgd(Sgd::default()), ..config };
        let cost = step_cost(&config, &few, None).unwrap();
        assert_eq!(cost.bytes, 4 * ((layers + 50 * 65) * 4 + 256 * (4 * matrices + 3)));
    }

    /// A batch is what the rows allow.
    #[test]
    fn the_largest_batch_of_an_epoch_counts() {
        let rows = examples(100, 10, 10);
        let data = TaskData { train: &rows, validation: &rows, users: 10, items: 10, scale: SCALE };
        let rows = |batch| step_cost(&TrainConfig { batch, ..TrainConfig::default() }, &data, None).unwrap().rows;
        assert_eq!([256, 100, 99, 40].map(rows), [100, 100, 50, 34]);
    }

    /// Student 4 | 8, 6; teacher 12, 8; messages of 4. Numbers are multiplications a row, and a trained layer multiplies three times.
    #[test]
    fn methods_by_hand() {
        let world = World::new();
        let row = |method| world.a_row(method);
        let student = 3 * (8 * 8 + 8 * 6 + 6);
        assert_eq!(row(Method::BiasOnly), 0);
        assert_eq!(row(Method::Scratch), student);
        assert_eq!(row(Method::Label(Label::default())), student);
        assert_eq!(row(Method::Feature(Feature::default())), student + 3 * 6 * 8);
        let deep = Feature { projector_hidden: Some(5), ..Feature::default() };
        assert_eq!(row(Method::Feature(deep)), student + 3 * (6 * 5 + 5 * 8));

        // Three experts 4 | 3 | 3 for either side, of whose inputs gradients are wanted, and the choice among them, which reads what is cached.
        let de = De { experts: 3, ..De::default() };
        assert_eq!(row(Method::De(de)), student + 2 * (3 * 3 * (4 * 3 + 3 * 3) + 2 * 3 * 3));

        // The teacher's encoder reads cached states, which want no gradient.
        let one_way = |hidden: u64, change: fn(&mut OneWay)| {
            let mut one_way = OneWay { message_dim: 4, ..OneWay::default() };
            change(&mut one_way);
            assert_eq!(row(Method::OneWay(one_way)), student + 3 * (8 + 4 + 4 + 6) * hidden - 8 * hidden, "{hidden}");
        };
        one_way(7, |one_way| one_way.module_hidden = Some(7));
        // Four modules: (6 + 1) 6 + 7 4, 5 12 + 13 12, 9 8 + 9 4, 5 8 + 9 8 numbers; 506 - 4 - 6 of them over 8 + 6 + 2 4 + 2 a hidden number.
        one_way(21, |one_way| one_way.widened = true);
        let encoder = 8 * 8 + 8 * 4;
        let by_default = OneWay { message_dim: 4, ..OneWay::default() };
        let expected = student + 3 * encoder - 8 * 8 + 3 * (4 * 6 + 6 * 6);
        assert_eq!(row(Method::OneWay(by_default)), expected);
        let state_alone = Weights { student_state: 0.1, ..Weights::default() };
        assert_eq!(row(talk(0, |talk| talk.weights = state_alone)), expected);
    }

    #[test]
    fn talks_by_hand() {
        let world = World::new();
        let row = |method| world.a_row(method);
        let student = 3 * (8 * 8 + 8 * 6 + 6);
        // The teacher's part is the same for both protocols: it decodes and encodes, and its own layer is frozen.
        let (decoder, upper, encoder) = (4 * 12 + 12 * 12, 12 * 8, 8 * 8 + 8 * 4);
        let teacher = 3 * decoder + 2 * upper + 3 * encoder;

        // Circular: the student encodes its high state, decodes into its low state, and its second layer interprets.
        let (asks, hears, interprets) = (6 * 6 + 6 * 4, 4 * 8 + 8 * 8, 8 * 6);
        let forward = asks + decoder + upper + encoder + hears + interprets;
        let round = 3 * asks + teacher + 3 * hears + 3 * interprets;
        for k in 1..=3 {
            let rounds = k as u64;
            assert_eq!(row(talk(k, |_| ())), student + rounds * round);
            // The first question's input gets no gradient; the later ones are made of answers, which do.
            assert_eq!(row(talk(k, |talk| talk.question_path = QuestionPath::Stop)), student + rounds * round - 6 * 6);
            // Only what was said first is compared, up to its answer; what was made of it is only computed.
            let first = 3 * asks + teacher + hears + interprets;
            let into_student = row(talk(k, |talk| talk.interact_into = InteractInto::Student));
            assert_eq!(into_student, student + first + (rounds - 1) * forward);
            // A conversation for the consistency terms, and another in which nothing of the student's is trained.
            let closed = rounds * (3 * asks + teacher + 3 * hears + 2 * interprets) - 6 * 6;
            assert_eq!(row(talk(k, |talk| talk.interact_into = InteractInto::Modules)), student + first + closed);
            // Consistency alone needs one round, however many there may be.
            let consistency = row(talk(k, |talk| talk.weights = Weights { interact: 0.0, ..Weights::default() }));
            assert_eq!(consistency, student + first);
            // The state term ends at the teacher's low state.
            let decoded = row(talk(k, |talk| talk.weights = Weights { interact: 0.0, message: 0.0, ..Weights::default() }));
            assert_eq!(decoded, student + 3 * (asks + decoder) + upper + encoder + hears + interprets);
        }

        // Asking and answering: the student encodes its low state, and decodes into its high state.
        let ask_answer = |rounds, question_path| {
            talk(rounds, |talk| *talk = Talk { protocol: Protocol::AskAnswer, question_path, ..talk.clone() })
        };
        let hears = 4 * 6 + 6 * 6;
        let (asks, asks_again) = (8 * 8 + 8 * 4, 12 * 12 + 12 * 4);
        assert_eq!(row(ask_answer(1, QuestionPath::Open)), student + 3 * asks + teacher + 3 * hears);
        assert_eq!(row(ask_answer(1, QuestionPath::Stop)), student + 3 * asks - 8 * 8 + teacher + 3 * hears);
        for k in 2..=3 {
            let rounds = k as u64 * (3 * asks_again + teacher + 3 * hears);
            assert_eq!(row(ask_answer(k, QuestionPath::Open)), student + rounds);
            assert_eq!(row(ask_answer(k, QuestionPath::Stop)), student + rounds - 12 * 12);
        }
    }

    /// What a talk keeps beside scratch.
    #[test]
    fn bytes_of_a_talk_by_hand() {
        let world = World::new();
        let scratch = world.cost(&World::config(Method::Scratch));
        let cost = world.cost(&World::config(talk(1, |_| ())));
        let numbers = |a: u64, h: u64, b: u64| (a + 1) * h + (h + 1) * b;
        let modules = numbers(6, 6, 4) + numbers(4, 12, 12) + numbers(8, 8, 4) + numbers(4, 8, 8);
        let frozen = 12 * 8 + 8;
        // Both layers of four modules, the teacher's layer, the student's; and its cached low state, which wants no gradient.
        let made = (6 + 4) + (12 + 12) + 8 + (8 + 4) + (8 + 8) + 6;
        assert_eq!(cost.bytes - scratch.bytes, 4 * (modules * 8 + frozen + BATCH * (4 * made + 2 * 12)));
        assert_eq!(cost.peak_bytes - scratch.peak_bytes, 4 * (modules * 5 + frozen * 2 + BATCH * (2 * made + 12)));
        // Dropout: masks on the second layer's input and the head's, and what they leave of them.
        let dropped = |method| {
            let model = ModelSpec::Ncf(Ncf { dropout: 0.4, embedding: 4, hidden: vec![8, 6], ..Ncf::default() });
            world.cost(&TrainConfig { model, ..World::config(method) })
        };
        assert_eq!(dropped(Method::Scratch).bytes - scratch.bytes, 4 * BATCH * 2 * 2 * (8 + 6));
        assert_eq!(dropped(Method::Scratch).flops - scratch.flops, BATCH * 2 * (8 + 6));
        // The student's layer inside of the reply has one of its own.
        assert_eq!(dropped(talk(1, |_| ())).bytes - cost.bytes, 4 * BATCH * 2 * 2 * (8 + 6 + 8));
    }

    /// Student's high state of 6, teacher's of 8, sixteen rows, beside scratch.
    #[test]
    fn relations_by_hand() {
        let world = World::new();
        let scratch = world.cost(&World::config(Method::Scratch));
        // What is left of bytes is the cached state, without gradient.
        let beside = |method| {
            let cost = world.cost(&World::config(method));
            assert_eq!(cost.matmul_flops, scratch.matmul_flops);
            let [flops, bytes, peak] =
                [(cost.flops, scratch.flops), (cost.bytes, scratch.bytes), (cost.peak_bytes, scratch.peak_bytes)]
                    .map(|(a, b)| a - b);
            [flops, bytes - 4 * BATCH * 2 * 8, peak - 4 * BATCH * 8]
        };
        let pairs = BATCH * BATCH;
        assert_eq!(beside(Method::Sp(Sp::default())), [pairs * (4 * 6 + 2 * 8 + 16), 4 * pairs * 2 * 2, 4 * pairs * 2]);
        assert_eq!(beside(Method::Rkd(Rkd::default())), [pairs * (6 * 6 + 3 * 8 + 18), 4 * pairs * 6 * 2, 4 * pairs * 6]);
        let refilled = |others, pairs| {
            let [flops, numbers] = [3 * 14 + 4 * 6 + pairs * (3 * 14 + 5 * 6 + 18), 2 * (14 + 6 + pairs)];
            let expected = [BATCH * flops, 4 * BATCH * numbers * 2, 4 * BATCH * numbers];
            assert_eq!(beside(Method::Refilled(Refilled { others, ..Refilled::default() })), expected);
        };
        refilled(3, 4);
        // No row has more pairs than there are others.
        refilled(99, BATCH - 1);
    }

    /// Twice the rows in a step are four times the pairs.
    #[test]
    fn relations_grow_with_the_square_of_the_batch() {
        let world = World::new();
        let cost = |method, batch| world.cost(&TrainConfig { batch, ..World::config(method) }).flops;
        for method in [Method::Sp(Sp::default()), Method::Rkd(Rkd::default())] {
            let related = |batch| cost(method.clone(), batch) - cost(Method::Scratch, batch);
            assert_eq!(related(32), 4 * related(16));
        }
    }

    #[test]
    fn a_deep_path_without_layers_multiplies_no_matrices() {
        let world = World::new();
        let mf = TrainConfig { model: ModelSpec::Mf(Mf { embedding: 4, ..Mf::default() }), ..World::config(Method::Scratch) };
        let cost = world.cost(&mf);
        assert_eq!(cost.matmul_flops, 0);
        // Products, their sum, and its sum with the bias terms; back, two products each.
        assert_eq!(cost.flops, BATCH * (4 + 3 + 1 + 2 * 4));
        assert_eq!(world.cost(&World::config(Method::BiasOnly)).flops, 0);
    }

    #[test]
    fn what_a_method_lacks_is_refused() {
        let world = World::new();
        let error = step_cost(&World::config(Method::Label(Label::default())), &world.data(), None).unwrap_err();
        assert!(error.to_string().contains("predictions"), "{error}");
    }
}
