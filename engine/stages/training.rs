//! One training inside a stage: progress, cancelling, checkpoints, the artifact. Teachers and students are trained alike.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use talkflow_datasets::split::Part;
use talkflow_distill::{
    DeviceKind, Earlier, Method, Progress, StepCost, TaskData, TeacherView, Term, TrainConfig, TrainIo, Trained, train,
};

use super::{
    files::{self, Rows},
    search::{Chosen, SETTINGS},
    settings::{self, Filter, LARGEST},
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

/// Reads `where`, `model`, `optimizer`, `schedule`, `batch`, `stop`, `clip`, `seed`, `keep` and `checkpoint_seconds`.
pub fn read(f: &mut Fields<'_>, method: Method) -> Training {
    let filter = settings::filter(f);
    let written = Settings::Written(Box::new(settings::training(f, method)));
    rest(f, filter, written)
}

/// Reads `settings`, which takes the place of all that a search chooses, and `where`, `stop.epochs`, `seed`, `keep` and `checkpoint_seconds`.
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
    rest(f, filter, chosen)
}

fn rest(f: &mut Fields<'_>, filter: Filter, settings: Settings) -> Training {
    let keep = f.choice("keep", Some(Keep::Nothing));
    // When to write a checkpoint changes no result.
    let checkpoint_seconds = f.unrecorded(|f| f.float("checkpoint_seconds", Some(10.0), 0.0..=86_400.0));
    Training { settings, filter, keep, checkpoint_seconds }
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
        Ok(Begin { config, earlier })
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
        let (training, validation) = (rows.examples(&[Part::Train]), rows.examples(&[Part::Validation]));
        let summary = rows.selection.summary();
        let data = TaskData {
            train: &training,
            validation: &validation,
            users: usize::try_from(summary.users)?,
            items: rows.selection.items().len(),
            scale: talkflow_distill::Scale { min: summary.scale.min, max: summary.scale.max },
        };
        fs::create_dir_all(cx.partial)?;
        let keep_state = (self.keep == Keep::State).then(|| cx.out.join(files::STATE));
        let every = Duration::from_secs_f64(self.checkpoint_seconds);
        let mut io = Io { talk: cx.talk, partial: cx.partial, every, earlier, keep_state, went_on: None };
        let trained = train(&config, &data, teacher, device(cx.device, cx.gpus), &mut io)?;
        let (had_states, went_on) = (io.earlier.is_some(), io.went_on);
        files::write_model(cx, rows, &self.filter, name, &trained)?;
        if self.keep != Keep::Nothing {
            files::write_json(&cx.out.join(files::TRAINING), &config)?;
        }
        self.tell(cx, &trained, training.len());
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

    fn tell(&self, cx: &mut StageCx<'_>, trained: &Trained, train_rows: usize) {
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
