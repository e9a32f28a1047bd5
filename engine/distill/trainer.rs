//! Training: epochs, batches, validation, early stopping; the same loop for teachers, students and every method.
//!
//! Everything random is named by (seed, role, path, index), and all sums run in a fixed order, so a training's result depends on its
//! configuration and data alone: not on threads, not on being interrupted. The clock decides when a checkpoint is due, and
//! nothing else. Progress, cancelling and the place for checkpoints come through [`TrainIo`]; the room knows no files of the engine.

use std::time::Instant;

use crate::batches::{batch_start, batches};
use crate::checkpoint;
use crate::config::{Kept, TrainConfig};
use crate::cost::{Cost, task_cost};
use crate::curves::Curves;
use crate::data::TaskData;
use crate::device::{DeviceKind, failed};
use crate::error::TrainError;
use crate::graph::Graph;
use crate::io::{Earlier, Progress, TrainIo};
use crate::methods::{Learner, Step};
use crate::model::RatingModel;
use crate::models::student::Dropout;
use crate::monitor::Monitor;
use crate::objective::{EpochSums, Term};
use crate::ops::{Ops, Pool};
use crate::optim::clip_scale;
use crate::params::Params;
use crate::task::{Body, Measure, Task};
use crate::teacher::{Aligned, TeacherBatch, TeacherView};
use crate::tensors::Tensors;

/// A finished training, of a [`RatingModel`] or another.
#[derive(Clone, Debug)]
pub struct Trained<M = RatingModel> {
    /// The model of the epoch that is kept: the best, or the last.
    pub model: M,
    /// One row an epoch.
    pub curves: Curves,
    /// What was seen at that epoch.
    pub monitor: Monitor,
    /// What it costs.
    pub cost: Cost,
    /// That epoch, from 1; 0 where none was trained.
    pub best_epoch: usize,
    /// What the validation rows are judged by.
    pub measure: Measure,
    /// That, of the model.
    pub validation: f64,
}

/// Trains a model of ratings.
///
/// Runs on the calling thread; large products use the rayon pool it is called in, without changing the result.
///
/// # Errors
/// [`TrainError`]: settings or data that cannot be trained, a teacher that does not fit, a loss that is not finite, cancelling,
/// a failed device or checkpoint.
pub fn train(
    config: &TrainConfig,
    data: &TaskData<'_>,
    teacher: Option<TeacherView<'_>>,
    device: DeviceKind,
    io: &mut dyn TrainIo,
) -> Result<Trained, TrainError> {
    train_task(config, data, teacher, device, io)
}

/// Trains on any task.
pub(crate) fn train_task<T: Task>(
    config: &TrainConfig,
    data: &T,
    teacher: Option<TeacherView<'_>>,
    device: DeviceKind,
    io: &mut dyn TrainIo,
) -> Result<Trained<T::Model>, TrainError> {
    config.check(None)?;
    data.check(config)?;
    let teacher = teacher.unwrap_or_default();
    match device {
        DeviceKind::Cpu => Session::new(config, data, teacher, dfdx::tensor::Cpu::default())?.run(io),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda(ordinal) => Session::new(config, data, teacher, crate::device::cuda(ordinal)?)?.run(io),
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda(ordinal) => match crate::device::cuda(ordinal)? {},
    }
}

/// The epoch to be kept so far.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    /// From 1.
    pub(crate) epoch: usize,
    /// What the validation rows said.
    pub(crate) error: f64,
    pub(crate) weights: Tensors,
}

/// All that changes while training: what a checkpoint holds.
#[derive(Clone)]
pub(crate) struct State<D: Ops, B> {
    pub(crate) student: B,
    pub(crate) modules: Params<D>,
    pub(crate) curves: Curves,
    pub(crate) sums: EpochSums,
    pub(crate) best: Option<Best>,
    /// Epochs done.
    pub(crate) epoch: usize,
    /// Batches of the next epoch done.
    pub(crate) step: usize,
}

/// One training on one device.
struct Session<'a, D: Ops, T: Task> {
    config: &'a TrainConfig,
    data: &'a T,
    device: D,
    view: TeacherView<'a>,
    teacher: Option<Aligned<'a>>,
    learner: Box<dyn Learner<D>>,
    terms: Vec<Term>,
    tables: <T::Body<D> as Body<D>>::Gradients,
    /// The memory of one step's matrices, for the next.
    pool: Pool,
    batch: T::Batch,
    state: State<D, T::Body<D>>,
}

impl<'a, D: Ops, T: Task> Session<'a, D, T> {
    fn new(config: &'a TrainConfig, data: &'a T, view: TeacherView<'a>, device: D) -> Result<Self, TrainError> {
        let needs = config.method.needs();
        needs.check(&view)?;
        let teacher = if needs.any() && !view.streams {
            Some(Aligned::new(view, view.by.ids(data)?, needs, data.outputs())?)
        } else {
            None
        };
        let model = config.method.trained_model(&config.model);
        let mut student = data.fresh(&device, &model, config.seed).map_err(failed::<D>)?;
        let mut modules = Params::new(&device);
        let learner = config.method.learner(&device, &model, &view, config.seed, &mut modules)?;
        student.prepare(&config.optimizer);
        modules.prepare(&config.optimizer);
        let terms = config.method.terms();
        let mut columns = vec!["epoch", "rate", "loss"];
        columns.extend(terms.iter().map(|term| term.name()));
        columns.extend(data.columns(&model));
        if config.method.converses() {
            columns.push("decoded_state_ratio");
        }
        Ok(Session {
            config,
            data,
            device,
            view,
            teacher,
            learner,
            terms,
            tables: Default::default(),
            pool: Pool::default(),
            batch: T::Batch::default(),
            state: State {
                student,
                modules,
                curves: Curves::new(columns),
                sums: EpochSums::default(),
                best: None,
                epoch: 0,
                step: 0,
            },
        })
    }

    fn run(mut self, io: &mut dyn TrainIo) -> Result<Trained<T::Model>, TrainError> {
        let identity = || checkpoint::identity(self.config, self.data, &self.view, D::NAME);
        if let Some(dir) = io.checkpoint_dir() {
            let steps = batches(self.data.train_rows().len(), self.config.batch);
            checkpoint::resume(dir, identity, steps, &mut self.state);
        }
        if (self.state.epoch, self.state.step) == (0, 0) {
            self.go_on(io);
        }
        let mut saved = Instant::now();
        while !self.finished() {
            let rows = self.data.train_rows().len();
            let count = batches(rows, self.config.batch);
            let order = self.data.order(self.config.seed, self.state.epoch);
            while self.state.step < count {
                let cancelled = io.cancelled();
                if let Some(dir) = io.checkpoint_dir()
                    && (cancelled || saved.elapsed() >= io.checkpoint_every())
                {
                    let identity = checkpoint::identity(self.config, self.data, &self.view, D::NAME);
                    checkpoint::save(dir, identity, &self.state)?;
                    saved = Instant::now();
                }
                if cancelled {
                    return Err(TrainError::Cancelled { epoch: self.state.epoch + 1 });
                }
                let from = batch_start(rows, count, self.state.step);
                let to = batch_start(rows, count, self.state.step + 1);
                self.step(&order[from..to], count)?;
                self.state.step += 1;
            }
            self.finish_epoch(io)?;
        }
        if let Some(path) = io.keep_state() {
            let identity = checkpoint::identity(self.config, self.data, &self.view, D::NAME);
            checkpoint::save_as(path, identity, &self.state)?;
        }
        self.finish()
    }

    /// Takes over what a shorter training ended with, if a longer one would have come by it.
    fn go_on(&mut self, io: &mut dyn TrainIo) {
        let Some(Earlier { epochs, states }) = io.earlier() else { return };
        if epochs > self.config.epochs || self.config.schedule.spans_all_epochs() {
            return;
        }
        let shorter = TrainConfig { epochs, ..self.config.clone() };
        let identity = checkpoint::identity(&shorter, self.data, &self.view, D::NAME);
        let steps = batches(self.data.train_rows().len(), self.config.batch);
        if states.iter().any(|path| checkpoint::resume_from(path, || identity, steps, &mut self.state)) {
            io.goes_on(self.state.epoch);
        }
    }

    fn finished(&self) -> bool {
        let state = &self.state;
        let impatient = match (self.config.patience, &state.best) {
            (Some(patience), Some(best)) => state.epoch - best.epoch >= patience,
            _ => false,
        };
        state.epoch >= self.config.epochs || (impatient && state.step == 0)
    }

    /// One batch: forward, loss, backward, update.
    fn step(&mut self, examples: &[u32], steps: usize) -> Result<(), TrainError> {
        let failed = failed::<D>;
        let State { student, modules, sums, epoch, step, .. } = &mut self.state;
        self.data.pick(student.spec(), examples, (self.config.seed, *epoch), &mut self.batch)?;
        let batch = &self.batch;
        let dropout =
            Dropout { rate: student.spec().dropout() as f32, seed: self.config.seed, step: (*epoch * steps + *step) as u64 };
        let mut graph = Graph::training(&self.device, &self.pool);
        let forward = student.forward(&mut graph, batch, &dropout).map_err(failed)?;
        let teacher = match (T::features(batch), &self.teacher) {
            (Some(features), _) => TeacherBatch::streamed(&graph, features, &self.view, examples.len()).map_err(failed)?,
            (None, Some(teacher)) => teacher.batch(&graph, examples).map_err(failed)?,
            (None, None) => TeacherBatch::none(),
        };
        let mut context = Step {
            graph: &mut graph,
            student: &*student,
            modules,
            forward: T::Body::<D>::seen(&forward),
            targets: T::targets(batch),
            teacher: &teacher,
            dropout,
            progress: *epoch as f64 + (*step + 1) as f64 / steps as f64,
            parts: Vec::new(),
            decoded: None,
        };
        self.learner.terms(&mut context).map_err(failed)?;
        let (parts, decoded) = (context.parts, context.decoded);
        if let Some(part) = parts.iter().find(|part| !part.value.is_finite()) {
            return Err(TrainError::NonFinite { epoch: *epoch + 1, step: *step + 1, term: part.term.name(), value: part.value });
        }
        graph.backward().map_err(failed)?;
        student.collect(&forward, batch, &mut self.tables).map_err(failed)?;
        modules.collect().map_err(failed)?;
        let scale = match self.config.clip {
            Some(limit) => {
                let squares = T::Body::<D>::squares(&self.tables) + student.params().squares() + modules.squares();
                clip_scale(squares.sqrt(), limit)
            }
            None => 1.0,
        };
        let factor = self.config.schedule.factor(*epoch, *step, steps, self.config.epochs);
        let rate = self.config.optimizer.rate() * factor;
        let rule = self.config.optimizer.rule(rate, scale);
        student.update(&rule, &self.tables);
        modules.update(&rule);
        sums.add(examples.len(), &parts, decoded);
        Ok(())
    }

    /// Validates, keeps the weights if they are those to be kept so far, and reports.
    fn finish_epoch(&mut self, io: &mut dyn TrainIo) -> Result<(), TrainError> {
        let epoch = self.state.epoch + 1;
        self.state.student.settle();
        let judged = self.data.judge(&self.state.student)?;
        let error = judged.error;
        if let Some(value) = judged.not_finite {
            return Err(TrainError::NonFinite { epoch, step: 0, term: "validation", value: f64::from(value) });
        }
        let sums = &self.state.sums;
        let terms: Vec<(Term, f64)> = self.terms.iter().map(|&term| (term, sums.mean(term))).collect();
        let steps = batches(self.data.train_rows().len(), self.config.batch);
        let factor = self.config.schedule.factor(self.state.epoch, steps - 1, steps, self.config.epochs);
        let mut row = vec![epoch as f64, self.config.optimizer.rate() * factor, sums.loss / sums.rows];
        row.extend(terms.iter().map(|(_, mean)| mean));
        row.extend(judged.columns);
        if self.config.method.converses() {
            row.push(self.decoded_ratio().unwrap_or(f64::NAN));
        }
        self.state.curves.push(&row);
        if self.config.kept == Kept::Last || self.state.best.as_ref().is_none_or(|best| error < best.error) {
            self.state.best = Some(Best { epoch, error, weights: self.state.student.export() });
        }
        self.state.epoch = epoch;
        self.state.step = 0;
        self.state.sums = EpochSums::default();
        io.epoch(&Progress {
            epoch,
            of: self.config.epochs,
            terms: &terms,
            measure: self.data.measure(),
            validation: error,
            best: self.state.best.as_ref().map_or(error, |best| best.error),
        });
        Ok(())
    }

    /// MSE(a_1, t_l) / Var(t_l) over the epoch so far.
    fn decoded_ratio(&self) -> Option<f64> {
        let low = self.view.low?;
        let variance: f64 = low.variance.iter().map(|&v| f64::from(v)).sum::<f64>() / low.width as f64;
        let sums = &self.state.sums;
        (variance > 0.0 && sums.rows > 0.0).then(|| sums.decoded / sums.rows / variance)
    }

    /// Puts the kept epoch's weights back, and gathers the results.
    fn finish(mut self) -> Result<Trained<T::Model>, TrainError> {
        let best = self.state.best.take();
        let (best_epoch, weights) = match best {
            Some(best) => (best.epoch, best.weights),
            None => (0, self.state.student.export()),
        };
        let spec = self.state.student.spec().clone();
        self.state.student = self.data.import(&self.device, &spec, &weights)?;
        let judged = self.data.judge(&self.state.student)?;
        let mut monitor = judged.monitor;
        monitor.decoded_state_ratio = self
            .state
            .curves
            .column("decoded_state_ratio")
            .and_then(|ratios| ratios.get(best_epoch.checked_sub(1)?).copied())
            .filter(|ratio| ratio.is_finite());
        let talks = self.config.method.needs().upper_layers;
        let cost = Cost {
            serving: self.state.student.numbers(),
            training_only: self.state.modules.numbers(),
            frozen: self.view.upper.filter(|_| talks).map_or(0, |upper| upper.numbers()),
            modules: self.state.modules.numbers_by_owner(),
            step: task_cost(self.config, self.data, Some(self.view))?,
        };
        Ok(Trained {
            model: self.data.model(spec, weights)?,
            curves: self.state.curves,
            monitor,
            cost,
            best_epoch,
            measure: self.data.measure(),
            validation: judged.error,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::data::Examples;
    use crate::methods::{
        Bounded, De, Dist, Feature, IakdAdapter, Label, Method, OneWay, Protocol, Refilled, Replies, Rkd, Sp, Srd, Talk, Upper,
        Vid, Weights,
    };
    use crate::metrics::rmse;
    use crate::models::student::Student;
    use crate::models::{ModelSpec, Ncf, Wide};
    use crate::optim::{Optimizer, Sgd};
    use crate::teacher::{By, States};
    use crate::testing::{DEVICE, ITEMS, SCALE, Task, Teacher, Tested, USERS, config, device, rows};

    fn run(method: Method, teacher: &Teacher) -> Trained {
        run_with(&TrainConfig { method, ..config() }, teacher)
    }

    fn run_with(config: &TrainConfig, teacher: &Teacher) -> Trained {
        train(config, &Task::new().data(), Some(teacher.view()), DEVICE, &mut ()).unwrap()
    }

    fn bytes(trained: &Trained) -> Vec<u8> {
        trained.model.to_safetensors().unwrap()
    }

    fn talk(rounds: usize) -> Talk {
        Talk { rounds, message_dim: 4, ..Talk::default() }
    }

    /// One of each method.
    fn methods() -> Vec<Method> {
        vec![
            Method::BiasOnly,
            Method::Scratch,
            Method::Label(Label::default()),
            Method::Feature(Feature::default()),
            Method::Bounded(Bounded::default()),
            Method::Dist(Dist::default()),
            Method::Sp(Sp::default()),
            Method::Rkd(Rkd::default()),
            Method::Vid(Vid::default()),
            Method::Refilled(Refilled::default()),
            Method::Srd(Srd::default()),
            Method::De(De::default()),
            Method::IakdAdapter(IakdAdapter::default()),
            Method::OneWay(OneWay::default()),
            Method::Talk(talk(2)),
            Method::Talk(Talk { replies: Replies::Shuffled, upper: Upper::Trainable, ..talk(1) }),
            Method::Talk(Talk {
                protocol: Protocol::AskAnswer,
                weights: Weights { student_state: 0.1, label: 0.5, ..Weights::default() },
                ..talk(2)
            }),
        ]
    }

    #[test]
    fn every_method_learns_and_keeps_its_best_epoch() {
        let teacher = Teacher::new();
        for method in methods() {
            let config = TrainConfig { method: method.clone(), epochs: 8, ..config() };
            let trained = run_with(&config, &teacher);
            // What is sometimes swapped for the task is a task too.
            let swaps = matches!(method, Method::IakdAdapter(_));
            let task = trained.curves.column(if swaps { "loss" } else { "task" }).unwrap();
            assert!(task[7] < task[0], "{method:?}: {task:?}");
            assert!(trained.curves.columns().iter().flat_map(|(_, values)| values).all(|v| v.is_finite()), "{method:?}");
            let curve = trained.curves.column("validation_rmse").unwrap();
            let least = curve.iter().copied().fold(f64::INFINITY, f64::min);
            assert_eq!(curve[trained.best_epoch - 1], least);
            assert_eq!(trained.validation, least);
            // The weights returned are those of that epoch.
            let validation = Task::new().validation;
            let some = |indices: &[u32]| indices.iter().copied().map(Some).collect::<Vec<_>>();
            let predicted = trained.model.predict(&some(&validation.user), &some(&validation.item)).unwrap();
            assert_eq!(rmse(&predicted.ratings, &validation.rating), Some(least));
        }
    }

    /// What is planted is a product of factors that bias terms cannot express.
    #[test]
    fn a_deep_path_beats_bias_terms_where_there_is_structure() {
        let teacher = Teacher::new();
        let config = |method| TrainConfig { method, epochs: 40, ..config() };
        let bias = run_with(&config(Method::BiasOnly), &teacher);
        let scratch = run_with(&config(Method::Scratch), &teacher);
        assert!(scratch.validation < 0.95 * bias.validation);
        assert_eq!(bias.model.spec().name(), "bias");
        assert_eq!(bias.monitor.collapsed, None);
        assert_eq!(scratch.monitor.collapsed, Some(false));
    }

    /// Whatever such a model knows of users and items is in its states.
    #[test]
    fn without_bias_terms_the_deep_path_learns_everything() {
        let teacher = Teacher::new();
        let model = |terms| {
            let wide = Wide { terms, damping: None };
            ModelSpec::Ncf(Ncf { embedding: 4, hidden: vec![8, 6], wide, ..Ncf::default() })
        };
        let train = |terms, method| run_with(&TrainConfig { model: model(terms), method, epochs: 8, ..config() }, &teacher);
        for method in [Method::Scratch, Method::Label(Label::default()), Method::Talk(talk(1))] {
            let (with, without) = (train(true, method.clone()), train(false, method));
            assert_eq!(with.cost.serving - without.cost.serving, (USERS + ITEMS) as u64);
            let all = |trained: &Trained| {
                let users: Vec<_> = (0..USERS as u32).map(Some).collect();
                let items: Vec<_> = (0..USERS as u32).map(|user| Some(user % ITEMS as u32)).collect();
                trained.model.predict(&users, &items).unwrap()
            };
            let mean = without.model.predict(&[None], &[None]).unwrap().ratings[0];
            let predicted = all(&without);
            let clip = |rating: f32| rating.clamp(SCALE.min, SCALE.max);
            assert!(predicted.ratings.iter().zip(&predicted.deep).all(|(rating, deep)| *rating == clip(mean + deep)));
            let biased = all(&with);
            assert!(biased.ratings.iter().zip(&biased.deep).any(|(rating, deep)| *rating != clip(mean + deep)));
            assert_eq!(without.monitor.collapsed, Some(false));
        }
        let refused = TrainConfig { model: model(false), method: Method::BiasOnly, ..config() }.check(None).unwrap_err();
        assert!(refused.to_string().contains("method `bias_only` needs bias terms"), "{refused}");
    }

    #[test]
    fn training_again_gives_the_same_bytes() {
        let teacher = Teacher::new();
        let method = || Method::Talk(talk(1));
        assert_eq!(bytes(&run(method(), &teacher)), bytes(&run(method(), &teacher)));
        let other = TrainConfig { seed: 2, method: method(), ..config() };
        assert_ne!(bytes(&run(method(), &teacher)), bytes(&run_with(&other, &teacher)));
    }

    /// A talk whose terms weigh nothing is training from scratch, to the last bit: initial weights, batches and dropout are the
    /// method's no business.
    #[test]
    fn methods_share_initial_weights_batches_and_dropout() {
        let teacher = Teacher::new();
        let tiny = 1e-30;
        let weights = Weights { interact: tiny, message: tiny, state: tiny, student_state: tiny, label: tiny };
        let scratch = run(Method::Scratch, &teacher);
        for protocol in [Protocol::Circular, Protocol::AskAnswer] {
            let silent = run(Method::Talk(Talk { weights: weights.clone(), protocol, ..talk(2) }), &teacher);
            assert_eq!(bytes(&scratch), bytes(&silent));
        }
    }

    #[test]
    fn without_rounds_a_talk_is_one_way() {
        let teacher = Teacher::new();
        let one_way = run(Method::OneWay(OneWay { weight: 0.2, message_dim: 4, ..OneWay::default() }), &teacher);
        for protocol in [Protocol::Circular, Protocol::AskAnswer] {
            let weights = Weights { student_state: 0.2, ..Weights::default() };
            let talk = run(Method::Talk(Talk { protocol, weights, ..talk(0) }), &teacher);
            assert_eq!(bytes(&one_way), bytes(&talk));
            assert_eq!(one_way.curves, talk.curves);
            assert_eq!(one_way.cost, talk.cost);
        }
    }

    #[test]
    fn the_teacher_is_left_as_it_was() {
        let teacher = Teacher::new();
        let (weights, upper) = (teacher.model.to_safetensors().unwrap(), teacher.upper.clone());
        for method in methods() {
            run(method, &teacher);
        }
        assert_eq!(teacher.model.to_safetensors().unwrap(), weights);
        assert!(teacher.upper.words().eq(upper.words()));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let teacher = Teacher::new();
        // Products above gemm's threshold for sharing work out.
        let model = ModelSpec::Ncf(Ncf { embedding: 40, hidden: vec![96, 64], dropout: 0.1, ..Ncf::default() });
        let config = TrainConfig { model, method: Method::Talk(talk(2)), batch: 256, epochs: 2, ..config() };
        let results: Vec<(Vec<u8>, Curves)> = [1, 2, 4]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let trained = pool.install(|| run_with(&config, &teacher));
                (bytes(&trained), trained.curves)
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
    }

    #[test]
    fn a_loss_that_is_not_finite_is_an_error_with_its_place() {
        let optimizer = Optimizer::Sgd(Sgd { rate: 1e30, ..Sgd::default() });
        let config = TrainConfig { optimizer, ..config() };
        let error = train(&config, &Task::new().data(), None, DEVICE, &mut ()).unwrap_err();
        assert!(matches!(error, TrainError::NonFinite { epoch: 1, step: 2.., term: "task", .. }), "{error}");
        assert!(error.to_string().contains("the loss term `task` became"), "{error}");
    }

    #[test]
    fn clipping_tames_a_step_that_is_too_large() {
        let optimizer = Optimizer::Sgd(Sgd { rate: 3.0, ..Sgd::default() });
        let wild = TrainConfig { optimizer, ..config() };
        let task = Task::new();
        let result = |config: &TrainConfig| train(config, &task.data(), None, DEVICE, &mut ());
        assert!(result(&wild).is_err());
        assert!(result(&TrainConfig { clip: Some(0.01), ..wild }).is_ok());
    }

    /// A plain gradient step of norm above the limit moves all weights together, of tables, layers and modules, by rate * limit.
    #[test]
    fn clipping_is_by_the_norm_of_everything_trained() {
        let teacher = Teacher::new();
        let task = Task::new();
        let data = task.data();
        let config = TrainConfig {
            method: Method::Talk(talk(1)),
            optimizer: Optimizer::Sgd(Sgd { rate: 0.5, ..Sgd::default() }),
            clip: Some(0.125),
            ..config()
        };
        let mut session = Session::new(&config, &data, teacher.view(), device()).unwrap();
        let weights = |session: &mut Session<'_, Tested, TaskData<'_>>| {
            session.state.student.settle();
            let tables = session.state.student.tables().into_iter().flat_map(|table| table.values.clone());
            let params = [&session.state.student.params, &session.state.modules];
            let layers = params.into_iter().flat_map(|params| params.iter()).flat_map(|param| param.host.clone());
            tables.chain(layers).collect::<Vec<f32>>()
        };
        let before = weights(&mut session);
        session.step(&(0..64).collect::<Vec<u32>>(), 8).unwrap();
        let after = weights(&mut session);
        let moved: f64 = before.iter().zip(&after).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
        assert!((moved.sqrt() - 0.5 * 0.125).abs() < 1e-5, "{}", moved.sqrt());
    }

    /// The control of a teacher that knows nothing: its weights are those that training begins with.
    #[test]
    fn no_epoch_leaves_the_weights_as_they_were_drawn() {
        let task = Task::new();
        let untrained = |seed| {
            let config = TrainConfig { epochs: 0, seed, ..config() };
            train(&config, &task.data(), None, DEVICE, &mut ()).unwrap()
        };
        let trained = untrained(3);
        assert_eq!((trained.best_epoch, trained.curves.epochs()), (0, 0));
        let spec = config().model;
        let mut fresh = Student::fresh(&device(), &spec, 3, (USERS, ITEMS), &task.train).unwrap();
        let fresh = RatingModel::new(spec, SCALE, fresh.export()).unwrap();
        assert_eq!(trained.model, fresh);
        assert_ne!(bytes(&trained), bytes(&untrained(4)));
        let some = |indices: &[u32]| indices.iter().copied().map(Some).collect::<Vec<_>>();
        let predicted = fresh.predict(&some(&task.validation.user), &some(&task.validation.item)).unwrap();
        assert_eq!(rmse(&predicted.ratings, &task.validation.rating), Some(trained.validation));
    }

    #[test]
    fn patience_ends_training() {
        let config = TrainConfig { epochs: 200, patience: Some(2), ..config() };
        let trained = train(&config, &Task::new().data(), None, DEVICE, &mut ()).unwrap();
        assert!(trained.curves.epochs() < 200);
        assert_eq!(trained.curves.epochs(), trained.best_epoch + 2);
    }

    #[test]
    fn the_last_epoch_can_be_kept_instead_of_the_best() {
        let config = |kept, epochs| TrainConfig { epochs, patience: None, kept, ..config() };
        let run = |kept, epochs| train(&config(kept, epochs), &Task::new().data(), None, DEVICE, &mut ()).unwrap();
        let (best, last) = (run(Kept::Best, 60), run(Kept::Last, 60));
        assert!(best.best_epoch < 60, "it has to get worse for this test");
        assert_eq!((last.best_epoch, last.curves.epochs()), (60, 60));
        assert_eq!(last.curves.column("validation_rmse"), best.curves.column("validation_rmse"));
        assert_eq!(last.curves.column("validation_rmse").unwrap()[59], last.validation);
        assert_ne!(bytes(&last), bytes(&best));
        // Where the best is the last, they are the same.
        let epochs = best.best_epoch;
        assert_eq!(bytes(&run(Kept::Last, epochs)), bytes(&best));
    }

    #[test]
    fn costs_are_counted() {
        let teacher = Teacher::new();
        // Student 4 | 8, 6; teacher 12, 8; messages of 4. A network of widths a, h, b has (a + 1) h + (h + 1) b numbers.
        let trained =
            run(Method::Talk(Talk { weights: Weights { student_state: 0.1, ..Weights::default() }, ..talk(1) }), &teacher);
        let numbers = |a: u64, h: u64, b: u64| (a + 1) * h + (h + 1) * b;
        let expected = [
            ("talk.student_encoder", numbers(6, 6, 4)),
            ("talk.teacher_decoder", numbers(4, 12, 12)),
            ("talk.teacher_encoder", numbers(8, 8, 4)),
            // It writes into the low state in the conversation, and into the high state for the state term: two decoders.
            ("talk.student_decoder.low", numbers(4, 8, 8)),
            ("talk.student_decoder.high", numbers(4, 6, 6)),
        ];
        assert_eq!(trained.cost.modules, expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(trained.cost.training_only, expected.iter().map(|(_, count)| count).sum::<u64>());
        assert_eq!(trained.cost.frozen, 12 * 8 + 8);
        let tables = (USERS + ITEMS) as u64 * 5;
        assert_eq!(trained.cost.serving, 1 + tables + (8 * 8 + 8) + (8 * 6 + 6) + (6 + 1));
        assert_eq!(trained.cost.serving, trained.model.parameters());
        // Widened: about the four modules of the talk without the second decoder.
        let widened = run(Method::OneWay(OneWay { widened: true, message_dim: 4, ..OneWay::default() }), &teacher);
        let four: u64 = expected[..4].iter().map(|(_, count)| count).sum();
        assert!(widened.cost.training_only.abs_diff(four) <= (8 + 6 + 2 * 4 + 2) / 2, "{:?}", widened.cost);
        assert_eq!(widened.cost.modules.len(), 2);
        assert_eq!(run(Method::Scratch, &teacher).cost.training_only, 0);
    }

    #[test]
    fn curves_hold_every_term_and_monitor() {
        let trained =
            run(Method::Talk(Talk { weights: Weights { label: 0.2, ..Weights::default() }, ..talk(1) }), &Teacher::new());
        let names: Vec<&str> = trained.curves.columns().iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "epoch",
            "rate",
            "loss",
            "task",
            "label",
            "interact",
            "message",
            "state",
            "validation_rmse",
            "validation_mae",
            "deep_sd",
            "deep_share",
            "decoded_state_ratio",
        ];
        assert_eq!(names, expected);
        assert_eq!(trained.curves.epochs(), 5);
        let at = |name: &str| trained.curves.column(name).unwrap()[0];
        let weighted = at("task") + 0.2 * at("label") + 0.1 * (at("interact") + at("message") + at("state"));
        assert!((at("loss") - weighted).abs() < 1e-9);
        assert_eq!(trained.curves.column("epoch").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let ratio = trained.curves.column("decoded_state_ratio").unwrap()[trained.best_epoch - 1];
        assert_eq!(trained.monitor.decoded_state_ratio, Some(ratio));
    }

    #[test]
    fn teachers_that_do_not_fit_are_refused() {
        let teacher = Teacher::new();
        let task = Task::new();
        let fails = |method: Method, view: Option<TeacherView<'_>>| {
            let config = TrainConfig { method, ..config() };
            train(&config, &task.data(), view, DEVICE, &mut ()).unwrap_err().to_string()
        };
        let view = teacher.view();
        let talk = || Method::Talk(talk(1));
        let label = || Method::Label(Label::default());
        let cut = &teacher.row[..4];
        for (message, part) in [
            (fails(talk(), None), "the low states that the method needs"),
            (fails(talk(), Some(TeacherView { upper: None, ..view })), "the upper layers that the method needs"),
            (
                fails(talk(), Some(TeacherView { low: view.high, ..view })),
                "upper layers read 12 numbers, but its cached low states have 8",
            ),
            (fails(label(), Some(TeacherView { output: None, ..view })), "predictions"),
            (fails(label(), Some(TeacherView { row: cut, ..view })), "are not 4 rows of 12"),
            (
                fails(label(), Some(TeacherView { row: cut, output: Some(&teacher.taps.output[..4]), ..TeacherView::default() })),
                "of the training rows is not among the cached ones",
            ),
            (fails(Method::Feature(Feature::default()), Some(TeacherView { high: None, ..view })), "high states"),
        ] {
            assert!(message.contains(part), "{message}");
        }
        // Few rows make small batches, whatever the batch size.
        let mut few = Task::new();
        few.train = Examples { row: vec![0; 5], user: vec![0; 5], item: vec![0; 5], rating: vec![3.0; 5] };
        let config = TrainConfig { method: talk(), ..config() };
        let error = train(&config, &few.data(), Some(view), DEVICE, &mut ()).unwrap_err();
        assert!(error.to_string().contains("a correlation over batches of 5 rows"), "{error}");
    }

    #[test]
    fn features_of_items_are_those_of_each_of_their_rows() {
        let task = Task::new();
        // In an order of their own: whoever looks them up by row finds others.
        let items: Vec<u32> = (0..ITEMS as u32).rev().collect();
        let state = |item: &u32| [*item as f32, (item * 7 % 5) as f32, 1.0 / (1.0 + *item as f32)];
        let of_items: Vec<f32> = items.iter().flat_map(state).collect();
        let of_rows: Vec<f32> = task.train.item.iter().flat_map(state).collect();
        let variance = [2.0, 1.0, 0.5];
        let states = |values| Some(States { width: 3, values, variance: &variance });
        let by_item = TeacherView { by: By::Item, row: &items, high: states(&of_items), ..TeacherView::default() };
        let by_row = TeacherView { row: &task.train.row, high: states(&of_rows), ..TeacherView::default() };
        let config = TrainConfig { method: Method::Feature(Feature::default()), ..config() };
        let run = |view| train(&config, &task.data(), Some(view), DEVICE, &mut ());
        assert_eq!(bytes(&run(by_item).unwrap()), bytes(&run(by_row).unwrap()));
        let few = TeacherView { row: &items[1..], high: states(&of_items[3..]), ..by_item };
        let said = run(few).unwrap_err().to_string();
        assert!(said.contains(&format!("the item {} of the training rows is not among the cached ones", items[0])), "{said}");
    }

    #[test]
    fn methods_name_what_they_need_and_nothing_else() {
        let needs = |method: &Method| {
            let needs = method.needs();
            [needs.low, needs.high, needs.output, needs.upper_layers, needs.embeddings]
        };
        let expected = [
            [false, false, false, false, false],
            [false, false, false, false, false],
            [false, false, true, false, false],
            [false, true, false, false, false],
            // bounded, dist
            [false, false, true, false, false],
            [false, false, true, false, false],
            // sp, rkd, vid, refilled, srd
            [false, true, false, false, false],
            [false, true, false, false, false],
            [false, true, false, false, false],
            [false, true, false, false, false],
            [false, true, false, false, false],
            // de
            [false, false, false, false, true],
            // iakd_adapter, one_way
            [true, false, false, true, false],
            [false, true, false, false, false],
            // talks
            [true, false, false, true, false],
            [true, false, false, true, false],
            [true, true, true, true, false],
        ];
        let teacher = Teacher::new();
        assert_eq!(methods().len(), expected.len());
        for (method, expected) in methods().iter().zip(expected) {
            assert_eq!(needs(method), expected, "{method:?}");
            // And can be trained with just that.
            let whole = teacher.view();
            let view = TeacherView {
                by: By::Row,
                streams: false,
                row: whole.row,
                low: whole.low.filter(|_| expected[0]),
                high: whole.high.filter(|_| expected[1]),
                output: whole.output.filter(|_| expected[2]),
                upper: whole.upper.filter(|_| expected[3]),
                embeddings: whole.embeddings.filter(|_| expected[4]),
                tokens: None,
            };
            let config = TrainConfig { method: method.clone(), epochs: 1, ..config() };
            assert!(train(&config, &Task::new().data(), Some(view), DEVICE, &mut ()).is_ok(), "{method:?}");
        }
        assert!(needs(&Method::OneWay(OneWay { widened: true, ..OneWay::default() }))[0]);
    }

    #[test]
    fn students_meet_users_and_items_that_training_never_saw() {
        let train_rows = rows(0..1);
        let validation = rows(8..10);
        let data = TaskData { train: &train_rows, validation: &validation, users: USERS, items: ITEMS, scale: SCALE };
        let trained = train(&config(), &data, None, DEVICE, &mut ()).unwrap();
        let unseen = validation.user.iter().zip(&validation.item);
        let unseen = unseen.filter(|(user, item)| !train_rows.user.contains(user) || !train_rows.item.contains(item));
        let expected = unseen.count();
        assert!(expected > 0);
        assert_eq!(trained.monitor.validation_fallbacks, expected);
        assert_eq!(trained.monitor.validation_rows, validation.len());
    }
}
