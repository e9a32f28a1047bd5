//! One training inside a stage: progress, cancelling, checkpoints, the artifact. Teachers and students are trained alike.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use talkflow_datasets::{
    ratings::{ITEMS, USERS},
    split::Part,
};
use talkflow_distill::{
    Augment, ClassData, DeviceKind, Earlier, Method, ModelSpec, NetSpec, Progress, StepCost, TaskData, TaskKind, TeacherView,
    Term, TrainConfig, TrainIo, Trained, train, train_classes,
};

use super::{
    examples::{ClassRows, ReadExamples},
    files::{self, Learnt, Rows},
    search::{Chosen, SETTINGS},
    settings::{self, Filter, LARGEST},
    streaming::{self, Streaming},
};
use crate::{
    artifact::ArtifactKind,
    fields::{Choice, Fields},
    stage::{Device, Gpu, StageCx, Talk},
};

/// How the note begins of a model whose deep path collapsed.
pub const COLLAPSED: &str = "the deep path collapsed to a constant";

/// What is the same for every training stage.
#[derive(Clone, Debug)]
pub struct Training {
    /// How to train.
    pub settings: Settings,
    /// On which rows.
    pub filter: Filter,
    /// What is done to images before they are learnt from.
    pub augment: Augment,
    /// How rows stream by; without it they are in memory.
    pub stream: Option<Streaming>,
    /// What is kept with the model for a search.
    pub keep: Keep,
    /// Seconds between checkpoints.
    checkpoint_seconds: f64,
}

/// Where the settings of a training come from.
#[derive(Clone, Debug)]
pub enum Settings {
    /// They are written.
    Written(Box<TrainConfig>),
    /// A search chose them.
    Chosen {
        /// Names all random streams.
        seed: u64,
        /// The greatest number of epochs, where it is not the chosen one.
        epochs: Option<usize>,
    },
}

/// What is kept with a model for a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// With which settings it was trained.
    Settings,
    /// Also the state that the training ended with.
    State,
}

impl Choice for Keep {
    const WORDS: &'static [(&'static str, Self)] =
        &[("nothing", Self::Nothing), ("settings", Self::Settings), ("state", Self::State)];
}

/// The port of the settings that a search chose.
pub const CHOSEN: &str = "settings";

/// Reads `where`, `model`, `optimizer`, `schedule`, `batch`, `stop`, `clip`, `seed`, `augment`, `stream`, `keep` and `checkpoint_seconds`.
pub fn read(f: &mut Fields<'_>, method: Method) -> Training {
    let filter = settings::filter(f);
    let config = settings::training(f, method, settings::MODELS);
    if config.model.task() == TaskKind::Classes {
        f.refuse(
            "where",
            "texts and images have no genres to choose rows by",
            "leave it out, or take a `subset` of the data set",
        );
    }
    let augment = match &config.model {
        ModelSpec::Net(NetSpec::Vit(_) | NetSpec::Conv(_)) => settings::augment(f),
        _ => {
            f.refuse("augment", "only images can be mirrored and cut", "leave it out");
            Augment::default()
        }
    };
    if !augment.is_none() && config.method.needs().cached() {
        f.mistake("augment", of_cached(&config), Some("leave it out"));
    }
    let stream = match config.model.task() {
        TaskKind::Classes => streaming::read(f),
        TaskKind::Ratings => {
            f.refuse("stream", "ratings are read whole: a row is a few bytes", "leave it out");
            None
        }
    };
    rest(f, filter, Settings::Written(Box::new(config)), augment, stream)
}

/// The same of a rating model.
pub fn read_ratings(f: &mut Fields<'_>) -> Training {
    let filter = settings::filter(f);
    let config = settings::training(f, Method::Scratch, settings::RATING_MODELS);
    rest(f, filter, Settings::Written(Box::new(config)), Augment::default(), None)
}

/// Reads `optimizer`, `schedule`, `batch`, `stop`, `clip`, `seed`, `stream`, `keep` and `checkpoint_seconds` of a head, whose model and method are given.
pub fn read_head(f: &mut Fields<'_>, model: ModelSpec) -> Training {
    let config = settings::head(f, model);
    let stream = streaming::read(f);
    rest(f, Filter::of(Vec::new()), Settings::Written(Box::new(config)), Augment::default(), stream)
}

/// Reads `settings`, which takes the place of all that a search chooses, and `where`, `stop.epochs`, `seed`, `augment`, `stream`, `keep` and
/// `checkpoint_seconds`.
pub fn read_chosen(f: &mut Fields<'_>) -> Training {
    f.stage(CHOSEN, ArtifactKind::Settings);
    for key in ["model", "method", "optimizer", "schedule", "batch", "clip"] {
        f.refuse(key, format!("`settings` says what `{key}` is"), "leave one of the two out");
    }
    let filter = settings::filter(f);
    let epochs = f.section("stop", |f| {
        let epochs = f.optional_int("epochs", 0..=LARGEST as u64);
        if epochs == Some(0) {
            f.mistake("epochs", "what is not trained has no use for settings", Some("set it to at least 1, or leave it out"));
        }
        epochs
    });
    let seed = f.int("seed", Some(TrainConfig::default().seed), ..);
    let chosen = Settings::Chosen { seed, epochs: epochs.and_then(|epochs| usize::try_from(epochs).ok()) };
    let augment = settings::augment(f);
    let stream = streaming::read(f);
    rest(f, filter, chosen, augment, stream)
}

/// Why images cannot be changed beside what a method reads of its teacher.
fn of_cached(config: &TrainConfig) -> String {
    let what = "a teacher's states were cached for the images as they are, and here they would be changed at random";
    format!("`{}` learns from cached states: {what}", config.method.name())
}

fn rest(f: &mut Fields<'_>, filter: Filter, settings: Settings, augment: Augment, stream: Option<Streaming>) -> Training {
    let keep = f.choice("keep", Some(Keep::Nothing));
    // When to write a checkpoint changes no result.
    let checkpoint_seconds = f.unrecorded(|f| f.float("checkpoint_seconds", Some(10.0), 0.0..=86_400.0));
    Training { settings, filter, augment, stream, keep, checkpoint_seconds }
}

/// What a training begins with: its settings, and where a search chose them, what shorter trainings with these settings ended with.
pub struct Begin {
    /// How to train.
    pub config: TrainConfig,
    earlier: Option<(usize, Vec<PathBuf>)>,
}

impl Training {
    /// The settings to train with.
    ///
    /// # Errors
    /// Where what a search chose cannot be read, or cannot be trained.
    pub fn begin(&self, cx: &StageCx<'_>) -> anyhow::Result<Begin> {
        let (seed, epochs) = match &self.settings {
            Settings::Written(config) => return Ok(Begin { config: (**config).clone(), earlier: None }),
            Settings::Chosen { seed, epochs } => (*seed, *epochs),
        };
        let input = cx.input(CHOSEN)?;
        let Chosen { training } = files::json(&input.file(SETTINGS)?)?;
        let states = input.files.0.keys().filter(|name| name.ends_with(files::STATE));
        let states = states.map(|name| input.file(name)).collect::<anyhow::Result<Vec<_>>>()?;
        let earlier = (!states.is_empty()).then_some((training.epochs, states));
        let config = TrainConfig { seed, epochs: epochs.unwrap_or(training.epochs), ..training };
        config.check(None).with_context(|| format!("the settings that `{}` chose", input.instance))?;
        if let Some((field, why)) = self.idle(&config) {
            bail!("{why}, which `{}` chose: leave `{field}` out", input.instance);
        }
        Ok(Begin { config, earlier })
    }

    /// Of the settings beside chosen ones, one that a training with these has no use for, and why.
    pub(super) fn idle(&self, config: &TrainConfig) -> Option<(&'static str, String)> {
        let model = config.model.name();
        let images = matches!(config.model, ModelSpec::Net(NetSpec::Vit(_) | NetSpec::Conv(_)));
        let augments = !self.augment.is_none();
        match config.model.task() {
            TaskKind::Ratings if self.stream.is_some() => Some(("stream", format!("ratings are read whole by `{model}`"))),
            TaskKind::Classes if !self.filter.genres().is_empty() => {
                Some(("where", format!("texts and images, which `{model}` reads, have no genres to choose rows by")))
            }
            _ if augments && !images => {
                Some(("augment", format!("only images can be mirrored and cut, and `{model}` reads none")))
            }
            _ if augments && config.method.needs().cached() => Some(("augment", of_cached(config))),
            _ => None,
        }
    }

    /// Trains on the selected rows and writes the model artifact.
    ///
    /// # Errors
    /// Whatever the training says.
    pub fn run(
        &self,
        cx: &mut StageCx<'_>,
        begin: Begin,
        rows: &Rows,
        name: &str,
        teacher: Option<TeacherView<'_>>,
    ) -> anyhow::Result<()> {
        let Begin { config, earlier } = begin;
        if config.model.task() != TaskKind::Ratings {
            bail!("the model `{}` predicts classes, and `{}` holds ratings", config.model.name(), rows.selection.summary().name);
        }
        let (training, validation) = (rows.examples(&[Part::Train]), rows.examples(&[Part::Validation]));
        let summary = rows.selection.summary();
        let data = TaskData {
            train: &training,
            validation: &validation,
            users: usize::try_from(summary.users)?,
            items: rows.selection.items().len(),
            scale: talkflow_distill::Scale { min: summary.scale.min, max: summary.scale.max },
        };
        let mut io = self.io(cx, earlier)?;
        let trained = train(&config, &data, teacher, device(cx.device, cx.gpus), &mut io)?;
        let ended = io.ended();
        let learnt = Learnt {
            method: name,
            filter: &self.filter,
            data: (&summary.name, rows.ratings_digest),
            classes: None,
            train_rows: rows.part(Part::Train),
        };
        files::write_model(cx.out, learnt, &trained, (trained.model.to_safetensors()?, trained.model.config()))?;
        // Whoever has the model can then say which user an index is.
        files::copy(cx.input("ratings")?, &[USERS, ITEMS], cx.out)?;
        self.tell(cx, &config, &trained, training.len(), ended)
    }

    /// The same on examples with classes, which `read` reads for a network.
    ///
    /// # Errors
    /// Whatever the training says.
    pub fn run_classes(
        &self,
        cx: &mut StageCx<'_>,
        begin: Begin,
        rows: &ClassRows,
        read: impl FnOnce(&NetSpec) -> anyhow::Result<ReadExamples>,
        teacher: Option<TeacherView<'_>>,
    ) -> anyhow::Result<()> {
        let Begin { config, earlier } = begin;
        let ModelSpec::Net(net) = &config.model else {
            bail!("the model `{}` predicts ratings, and `{}` holds examples with classes", config.model.name(), rows.name());
        };
        let (name, read) = (config.method.name(), read(net)?);
        self.train_classes(cx, (config, earlier), rows, &read, name, teacher)
    }

    /// The same on what a network reads of them.
    pub(super) fn train_classes(
        &self,
        cx: &mut StageCx<'_>,
        (config, earlier): (TrainConfig, Option<(usize, Vec<PathBuf>)>),
        rows: &ClassRows,
        read: &ReadExamples,
        name: &str,
        teacher: Option<TeacherView<'_>>,
    ) -> anyhow::Result<()> {
        let data = ClassData { augment: self.augment, ..read.data(rows.classes().len()) };
        let mut io = self.io(cx, earlier)?;
        let trained = train_classes(&config, &data, teacher, device(cx.device, cx.gpus), &mut io)?;
        let ended = io.ended();
        let learnt = Learnt {
            method: name,
            filter: &self.filter,
            data: (rows.name(), rows.digest),
            classes: Some(rows.classes().to_vec()),
            train_rows: rows.part(Part::Train),
        };
        files::write_model(cx.out, learnt, &trained, (trained.model.to_safetensors()?, trained.model.config()))?;
        self.tell(cx, &config, &trained, data.train.row.len(), ended)
    }

    fn io<'a>(&self, cx: &StageCx<'a>, earlier: Option<(usize, Vec<PathBuf>)>) -> anyhow::Result<Io<'a>> {
        fs::create_dir_all(cx.partial)?;
        let keep_state = (self.keep == Keep::State).then(|| cx.out.join(files::STATE));
        let every = Duration::from_secs_f64(self.checkpoint_seconds);
        Ok(Io { talk: cx.talk, partial: cx.partial, every, earlier, keep_state, went_on: None })
    }

    /// Tells what came of a training; `ended` is whether there were states to go on from, and from which epoch it did.
    fn tell<M>(
        &self,
        cx: &mut StageCx<'_>,
        config: &TrainConfig,
        trained: &Trained<M>,
        train_rows: usize,
        (had_states, went_on): (bool, Option<usize>),
    ) -> anyhow::Result<()> {
        if self.keep != Keep::Nothing {
            files::write_json(&cx.out.join(files::TRAINING), config)?;
        }
        tell(cx, trained, train_rows);
        if let Some(epochs) = went_on {
            cx.metric("epochs_gone_on_from", epochs);
            cx.note(format!("went on from epoch {epochs} of a trial: the result is that of a training without a break"));
        } else if had_states {
            let why = match config.schedule.spans_all_epochs() {
                true => "the rate's course depends on the number of epochs",
                false => "none of the trials had this seed and these rows",
            };
            cx.note(format!("trained anew, since no trial's state is a beginning of this training: {why}"));
        }
        Ok(())
    }
}

/// The metrics of a training, and what has to be said of it.
fn tell<M>(cx: &mut StageCx<'_>, trained: &Trained<M>, train_rows: usize) {
    cx.metric(&format!("validation_{}", trained.measure.name()), trained.validation);
    cx.metric("best_epoch", trained.best_epoch);
    cx.metric("epochs", trained.curves.epochs());
    cx.metric("train_rows", train_rows);
    cx.metric("serving_parameters", trained.cost.serving);
    cx.metric("training_parameters", trained.cost.training_only);
    let StepCost { rows, flops, matmul_flops, bytes, peak_bytes } = trained.cost.step;
    cx.metric("step_rows", rows);
    cx.metric("step_flops", flops);
    cx.metric("step_matmul_flops", matmul_flops);
    cx.metric("step_bytes", bytes);
    cx.metric("peak_bytes", peak_bytes);
    cx.metric("deep_sd", trained.monitor.deep_sd);
    cx.metric("deep_share", trained.monitor.deep_share);
    cx.metric("decoded_state_ratio", trained.monitor.decoded_state_ratio);
    if trained.curves.epochs() == 0 {
        cx.note("not trained: the weights are as they were drawn");
    } else if trained.monitor.collapsed == Some(true) {
        cx.note(format!("{COLLAPSED}: this model predicts by its bias terms alone"));
    }
}

/// The device as `talkflow-distill` names it: of the GPUs that a stage was given the first.
pub fn device(device: Device, gpus: &[Gpu]) -> DeviceKind {
    match device {
        Device::Cpu => DeviceKind::Cpu,
        Device::Cuda => DeviceKind::Cuda(gpus.first().map_or(0, |gpu| gpu.ordinal)),
    }
}

struct Io<'a> {
    talk: Talk<'a>,
    partial: &'a Path,
    every: Duration,
    earlier: Option<(usize, Vec<PathBuf>)>,
    keep_state: Option<PathBuf>,
    went_on: Option<usize>,
}

impl Io<'_> {
    /// Whether there were states to go on from, and from which epoch it did.
    fn ended(&self) -> (bool, Option<usize>) {
        (self.earlier.is_some(), self.went_on)
    }
}

impl TrainIo for Io<'_> {
    fn epoch(&mut self, progress: &Progress<'_>) {
        let loss = |(term, value): &(Term, f64)| format!("{} {value:.4}", term.name());
        let losses: Vec<String> = progress.terms.iter().map(loss).collect();
        let Progress { measure, validation, best, .. } = progress;
        let what = format!("{} {validation:.4} (best {best:.4}), {}", measure.name(), losses.join(", "));
        self.talk.progress(progress.epoch as u64, Some(progress.of as u64), what);
    }

    fn cancelled(&self) -> bool {
        self.talk.cancelled()
    }

    fn checkpoint_dir(&self) -> Option<&Path> {
        Some(self.partial)
    }

    fn earlier(&self) -> Option<Earlier<'_>> {
        self.earlier.as_ref().map(|(epochs, states)| Earlier { epochs: *epochs, states })
    }

    fn goes_on(&mut self, epochs: usize) {
        self.went_on = Some(epochs);
    }

    fn keep_state(&self) -> Option<&Path> {
        self.keep_state.as_deref()
    }

    fn checkpoint_every(&self) -> Duration {
        self.every
    }
}
