//! Training: epochs, batches, validation, early stopping; the same loop for teachers, students and every method.
//!
//! Everything random is named by (seed, role, path, index), and all sums run in a fixed order, so a training's result depends on its
//! configuration and data alone: not on threads, not on being interrupted. The clock decides when a checkpoint is due, and
//! nothing else. Progress, cancelling and the place for checkpoints come through [`TrainIo`]; the room knows no files of the engine.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::checkpoint;
use crate::curves::Curves;
use crate::device::{DeviceKind, failed};
use crate::error::{SpecError, TrainError};
use crate::graph::Graph;
use crate::methods::{Learner, Method, Step};
use crate::metrics::{mae, rmse};
use crate::model::{Predictions, RatingModel, Scale, clip};
use crate::models::ModelSpec;
use crate::models::student::{Dropout, Student, TableGradients};
use crate::monitor::Monitor;
use crate::objective::{EpochSums, Term};
use crate::ops::Ops;
use crate::optim::{Optimizer, Schedule, at_least_one, clip_scale, positive};
use crate::params::Params;
use crate::random::{Rng, Role};
use crate::teacher::{Aligned, TeacherBatch, TeacherView};
use crate::tensors::Tensors;

/// Rated pairs, one entry a row; all columns of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// The row's id in the data set, by which a teacher's features are found.
    pub row: Vec<u32>,
    /// Dense index of the user.
    pub user: Vec<u32>,
    /// Dense index of the item.
    pub item: Vec<u32>,
    /// The rating.
    pub rating: Vec<f32>,
}

impl Examples {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }
}

/// What a training reads.
#[derive(Clone, Copy, Debug)]
pub struct TaskData<'a> {
    /// Rows that weights are fitted to.
    pub train: &'a Examples,
    /// Rows that epochs are judged by.
    pub validation: &'a Examples,
    /// Rows of the user table: one more than the greatest index there can be.
    pub users: usize,
    /// Rows of the item table.
    pub items: usize,
    /// The range of ratings.
    pub scale: Scale,
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The model; `bias_only` leaves its deep path out. Default `ncf` with its defaults.
    pub model: ModelSpec,
    /// The method. Default `scratch`.
    pub method: Method,
    /// The optimiser. Default `adam` with its defaults.
    pub optimizer: Optimizer,
    /// The course of the learning rate. Default constant.
    pub schedule: Schedule,
    /// Greatest number of rows in a batch, at least 1. An epoch's rows are shared out evenly over as few batches as this allows, so sizes
    /// differ by at most one. Default 256.
    pub batch: usize,
    /// Greatest number of epochs, at least 1. Default 30.
    pub epochs: usize,
    /// Stop after this many epochs without a better validation RMSE, at least 1; none: never. Either way the best epoch's weights are
    /// the result. Default 5.
    pub patience: Option<usize>,
    /// Greatest global norm of a step's gradient, above 0; larger ones are scaled down. Default none.
    pub clip: Option<f64>,
    /// Names all random streams. Default 1.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            model: ModelSpec::default(),
            method: Method::default(),
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            batch: 256,
            epochs: 30,
            patience: Some(5),
            clip: None,
            seed: 1,
        }
    }
}

impl TrainConfig {
    /// Whether this can be trained, as far as settings tell; a teacher whose model is not known yet is not looked at.
    ///
    /// # Errors
    /// [`SpecError`] names the first setting that cannot be, and what to change.
    pub fn check(&self, teacher: Option<&ModelSpec>) -> Result<(), SpecError> {
        self.model.check()?;
        self.optimizer.check()?;
        self.schedule.check()?;
        at_least_one("batch", self.batch)?;
        at_least_one("epochs", self.epochs)?;
        if let Some(patience) = self.patience {
            at_least_one("patience", patience)?;
        }
        if let Some(clip) = self.clip {
            positive("clip", clip)?;
        }
        self.method.check(&self.model, teacher, self.batch)
    }
}

/// Where a training is.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The epoch just done, from 1.
    pub epoch: usize,
    /// The greatest number of epochs.
    pub of: usize,
    /// Mean of each term over the epoch's rows.
    pub terms: &'a [(Term, f64)],
    /// RMSE on the validation rows, clipped and with fallbacks.
    pub validation_rmse: f64,
    /// The best so far.
    pub best_rmse: f64,
}

/// A training's way to the outside. Nothing of it changes the result.
pub trait TrainIo {
    /// Called after every epoch.
    fn epoch(&mut self, progress: &Progress<'_>) {
        let _ = progress;
    }

    /// Asked before every batch; `true` saves a checkpoint and ends training with [`TrainError::Cancelled`].
    fn cancelled(&self) -> bool {
        false
    }

    /// A folder for this training's checkpoint; none: no checkpoints. It must exist.
    fn checkpoint_dir(&self) -> Option<&Path> {
        None
    }

    /// The least time between two checkpoints.
    fn checkpoint_every(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// For trainings that nobody watches.
impl TrainIo for () {}

/// What a training costs in numbers stored.
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
}

/// A finished training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model of the best epoch.
    pub model: RatingModel,
    /// One row an epoch.
    pub curves: Curves,
    /// What was seen at the best epoch.
    pub monitor: Monitor,
    /// What it costs.
    pub cost: Cost,
    /// The best epoch, from 1.
    pub best_epoch: usize,
    /// Its RMSE on the validation rows.
    pub validation_rmse: f64,
}

/// Trains a model.
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
    config.check(None)?;
    check_data(config, data)?;
    let teacher = teacher.unwrap_or_default();
    match device {
        DeviceKind::Cpu => Session::new(config, data, teacher, dfdx::tensor::Cpu::default())?.run(io),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => Session::new(config, data, teacher, crate::device::cuda()?)?.run(io),
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda => match crate::device::cuda()? {},
    }
}

fn check_data(config: &TrainConfig, data: &TaskData<'_>) -> Result<(), TrainError> {
    let wrong = |what: String, advice| Err(TrainError::Data { what, advice });
    for (name, examples) in [("train", data.train), ("validation", data.validation)] {
        let n = examples.len();
        if n == 0 {
            return wrong(
                format!("there are no {name} rows"),
                "choose rows that are there in every part, or other fractions of the split",
            );
        }
        if [examples.user.len(), examples.item.len(), examples.rating.len()] != [n; 3] {
            return wrong(
                format!("the columns of the {name} rows differ in length"),
                "give each row an id, a user, an item and a rating",
            );
        }
        let outside = |indices: &[u32], count: usize| indices.iter().any(|&index| index as usize >= count);
        if outside(&examples.user, data.users) || outside(&examples.item, data.items) {
            return wrong(
                format!("a {name} row has a user or an item outside of the tables"),
                "number users and items densely from 0",
            );
        }
        if examples.rating.iter().any(|rating| !rating.is_finite()) {
            return wrong(format!("a {name} row has a rating that is not a finite number"), "correct or drop the row");
        }
    }
    let Scale { min, max } = data.scale;
    if !(min.is_finite() && max.is_finite()) || min >= max {
        return wrong(
            format!("the rating scale {} to {} is empty", data.scale.min, data.scale.max),
            "give a least rating below the greatest",
        );
    }
    // A correlation is refused for small batches; so are so few rows that they make no larger one.
    let smallest = data.train.len() / batches(data.train.len(), config.batch);
    config.method.check(&config.model, None, smallest)?;
    Ok(())
}

/// How many batches `rows` rows make.
fn batches(rows: usize, batch: usize) -> usize {
    rows.div_ceil(batch)
}

/// Where batch `index` of `count` begins, of `rows` rows shared out evenly.
fn batch_start(rows: usize, count: usize, index: usize) -> usize {
    index * (rows / count) + index.min(rows % count)
}

/// The training rows in the order of an epoch, counted from 0. It depends on the seed and on how many rows there are, not on the method.
fn order(seed: u64, epoch: usize, rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    Rng::stream(seed, Role::Order, "", epoch as u64).shuffle(&mut order);
    order
}

/// The best epoch so far.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    /// From 1.
    pub(crate) epoch: usize,
    pub(crate) rmse: f64,
    pub(crate) weights: Tensors,
}

/// All that changes while training: what a checkpoint holds.
#[derive(Clone)]
pub(crate) struct State<D: Ops> {
    pub(crate) student: Student<D>,
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
struct Session<'a, D: Ops> {
    config: &'a TrainConfig,
    data: &'a TaskData<'a>,
    device: D,
    view: TeacherView<'a>,
    teacher: Option<Aligned<'a>>,
    learner: Box<dyn Learner<D>>,
    terms: Vec<Term>,
    tables: TableGradients,
    state: State<D>,
}

impl<'a, D: Ops> Session<'a, D> {
    fn new(config: &'a TrainConfig, data: &'a TaskData<'a>, view: TeacherView<'a>, device: D) -> Result<Self, TrainError> {
        let teacher = if config.method.needs().any() { Some(Aligned::new(view, &data.train.row)?) } else { None };
        let model = config.method.trained_model(&config.model);
        let mut student =
            Student::fresh(&device, &model, config.seed, (data.users, data.items), data.train).map_err(failed::<D>)?;
        let mut modules = Params::new(&device);
        let learner = config.method.learner(&device, &model, &view, config.seed, &mut modules)?;
        student.prepare(&config.optimizer);
        modules.prepare(&config.optimizer);
        let terms = config.method.terms();
        let mut columns = vec!["epoch", "rate", "loss"];
        columns.extend(terms.iter().map(|term| term.name()));
        columns.extend(["validation_rmse", "validation_mae"]);
        if model.high_width().is_some() {
            columns.extend(["deep_sd", "deep_share"]);
        }
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
            tables: TableGradients::default(),
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

    fn run(mut self, io: &mut dyn TrainIo) -> Result<Trained, TrainError> {
        let identity = || checkpoint::identity(self.config, self.data, &self.view, D::NAME);
        if let Some(dir) = io.checkpoint_dir() {
            checkpoint::resume(dir, identity, &mut self.state);
        }
        let mut saved = Instant::now();
        while !self.finished() {
            let rows = self.data.train.len();
            let count = batches(rows, self.config.batch);
            let order = order(self.config.seed, self.state.epoch, rows);
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
        self.finish()
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
        let train = self.data.train;
        let State { student, modules, sums, epoch, step, .. } = &mut self.state;
        let pick = |column: &[u32]| examples.iter().map(|&at| column[at as usize]).collect::<Vec<_>>();
        let (users, items) = (pick(&train.user), pick(&train.item));
        let ratings: Vec<f32> = examples.iter().map(|&at| train.rating[at as usize]).collect();
        let dropout = Dropout {
            rate: match &student.spec {
                ModelSpec::Ncf(ncf) => ncf.dropout as f32,
                ModelSpec::Mf(_) | ModelSpec::Bias(_) => 0.0,
            },
            seed: self.config.seed,
            step: (*epoch * steps + *step) as u64,
        };
        let mut graph = Graph::training(&self.device);
        let forward = student.forward(&mut graph, &users, &items, &dropout).map_err(failed)?;
        let teacher = match &self.teacher {
            Some(teacher) => teacher.batch(&graph, examples).map_err(failed)?,
            None => TeacherBatch::none(),
        };
        let mut context = Step {
            graph: &mut graph,
            student,
            modules,
            forward: &forward,
            ratings: &ratings,
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
        let mut gradients = graph.backward().map_err(failed)?;
        let squares = student.collect(&mut gradients, &forward, (&users, &items), &mut self.tables).map_err(failed)?
            + modules.collect(&mut gradients).map_err(failed)?;
        let factor = self.config.schedule.factor(*epoch, *step, steps, self.config.epochs);
        let rate = self.config.optimizer.rate() * factor;
        let scale = clip_scale(squares.sqrt(), self.config.clip);
        let rule = self.config.optimizer.rule(rate, scale);
        student.update(&rule, &self.tables);
        modules.update(&rule);
        sums.add(examples.len(), &parts, decoded);
        Ok(())
    }

    /// Validates, keeps the weights if they are the best, and reports.
    fn finish_epoch(&mut self, io: &mut dyn TrainIo) -> Result<(), TrainError> {
        let epoch = self.state.epoch + 1;
        self.state.student.settle();
        let (predictions, unclipped) = self.validate()?;
        let actual = &self.data.validation.rating;
        let error = rmse(&predictions.ratings, actual).unwrap_or(f64::NAN);
        // Clipping hides an infinity, so what is clipped is looked at.
        if let Some(&value) = unclipped.iter().find(|value| !value.is_finite()) {
            return Err(TrainError::NonFinite { epoch, step: 0, term: "validation", value: f64::from(value) });
        }
        let monitor = self.monitor(&predictions, &unclipped);
        let sums = &self.state.sums;
        let terms: Vec<(Term, f64)> = self.terms.iter().map(|&term| (term, sums.mean(term))).collect();
        let steps = batches(self.data.train.len(), self.config.batch);
        let factor = self.config.schedule.factor(self.state.epoch, steps - 1, steps, self.config.epochs);
        let mut row = vec![epoch as f64, self.config.optimizer.rate() * factor, sums.loss / sums.rows];
        row.extend(terms.iter().map(|(_, mean)| mean));
        row.extend([error, mae(&predictions.ratings, actual).unwrap_or(f64::NAN)]);
        row.extend([monitor.deep_sd, monitor.deep_share].into_iter().flatten());
        if self.config.method.converses() {
            row.push(self.decoded_ratio().unwrap_or(f64::NAN));
        }
        self.state.curves.push(&row);
        if self.state.best.as_ref().is_none_or(|best| error < best.rmse) {
            self.state.best = Some(Best { epoch, rmse: error, weights: self.state.student.export() });
        }
        self.state.epoch = epoch;
        self.state.step = 0;
        self.state.sums = EpochSums::default();
        io.epoch(&Progress {
            epoch,
            of: self.config.epochs,
            terms: &terms,
            validation_rmse: error,
            best_rmse: self.state.best.as_ref().map_or(error, |best| best.rmse),
        });
        Ok(())
    }

    /// Predictions of the validation rows, clipped and not.
    fn validate(&self) -> Result<(Predictions, Vec<f32>), TrainError> {
        let some = |indices: &[u32]| indices.iter().copied().map(Some).collect::<Vec<_>>();
        let validation = self.data.validation;
        let raw = self.state.student.predict(&some(&validation.user), &some(&validation.item)).map_err(failed::<D>)?;
        let unclipped = raw.ratings.clone();
        Ok((clip(raw, self.data.scale), unclipped))
    }

    fn monitor(&self, predictions: &Predictions, unclipped: &[f32]) -> Monitor {
        let deep = self.state.student.spec.high_width().is_some();
        Monitor::of(predictions, unclipped, self.data.scale, deep)
    }

    /// MSE(a_1, t_l) / Var(t_l) over the epoch so far.
    fn decoded_ratio(&self) -> Option<f64> {
        let low = self.view.low?;
        let variance: f64 = low.variance.iter().map(|&v| f64::from(v)).sum::<f64>() / low.width as f64;
        let sums = &self.state.sums;
        (variance > 0.0 && sums.rows > 0.0).then(|| sums.decoded / sums.rows / variance)
    }

    /// Puts the best epoch's weights back, and gathers the results.
    fn finish(mut self) -> Result<Trained, TrainError> {
        let Some(best) = self.state.best.take() else {
            return Err(TrainError::Data { what: "no epoch was trained".to_owned(), advice: "set `epochs` to at least 1" });
        };
        let spec = self.state.student.spec.clone();
        self.state.student = Student::import(&self.device, &spec, &best.weights)?;
        let (predictions, unclipped) = self.validate()?;
        let mut monitor = self.monitor(&predictions, &unclipped);
        monitor.decoded_state_ratio = self
            .state
            .curves
            .column("decoded_state_ratio")
            .and_then(|ratios| ratios.get(best.epoch - 1).copied())
            .filter(|ratio| ratio.is_finite());
        let talks = self.config.method.needs().upper_layers;
        let cost = Cost {
            serving: self.state.student.numbers(),
            training_only: self.state.modules.numbers(),
            frozen: self.view.upper.filter(|_| talks).map_or(0, |upper| upper.numbers()),
            modules: self.state.modules.numbers_by_owner(),
        };
        Ok(Trained {
            model: RatingModel::new(spec, self.data.scale, best.weights)?,
            curves: self.state.curves,
            monitor,
            cost,
            best_epoch: best.epoch,
            validation_rmse: best.rmse,
        })
    }
}
