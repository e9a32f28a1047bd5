//! One training inside a stage: progress, cancelling, checkpoints, the artifact. Teachers and students are trained alike.

use std::{fs, path::Path, time::Duration};

use talkflow_datasets::split::Part;
use talkflow_distill::{DeviceKind, Progress, StepCost, TaskData, TeacherView, Term, TrainConfig, TrainIo, Trained, train};

use super::{files, files::Rows, settings::Filter};
use crate::{
    fields::Fields,
    stage::{Device, Gpu, StageCx, Talk},
};

/// How the note begins of a model whose deep path collapsed.
pub const COLLAPSED: &str = "the deep path collapsed to a constant";

/// What is the same for every training stage.
#[derive(Clone, Debug)]
pub struct Training {
    /// How to train.
    pub config: TrainConfig,
    /// On which rows.
    pub filter: Filter,
    /// Seconds between checkpoints.
    checkpoint_seconds: f64,
}

/// Reads `where`, `model`, `optimizer`, `schedule`, `batch`, `stop`, `clip`, `seed` and `checkpoint_seconds`.
pub fn read(f: &mut Fields<'_>, method: talkflow_distill::Method) -> Training {
    let filter = super::settings::filter(f);
    let config = super::settings::training(f, method);
    // When to write a checkpoint changes no result.
    let checkpoint_seconds = f.unrecorded(|f| f.float("checkpoint_seconds", Some(10.0), 0.0..=86_400.0));
    Training { config, filter, checkpoint_seconds }
}

impl Training {
    /// Trains on the selected rows and writes the model artifact.
    ///
    /// # Errors
    /// Whatever the training says.
    pub fn run(&self, cx: &mut StageCx<'_>, rows: &Rows, name: &str, teacher: Option<TeacherView<'_>>) -> anyhow::Result<()> {
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
        let every = Duration::from_secs_f64(self.checkpoint_seconds);
        let mut io = Io { talk: cx.talk, partial: cx.partial, every };
        let trained = train(&self.config, &data, teacher, device(cx.device, cx.gpus), &mut io)?;
        files::write_model(cx, rows, &self.filter, name, &trained)?;
        self.tell(cx, &trained, training.len());
        Ok(())
    }

    fn tell(&self, cx: &mut StageCx<'_>, trained: &Trained, train_rows: usize) {
        cx.metric("validation_rmse", trained.validation_rmse);
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
        if trained.monitor.collapsed == Some(true) {
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
}

impl TrainIo for Io<'_> {
    fn epoch(&mut self, progress: &Progress<'_>) {
        let loss = |(term, value): &(Term, f64)| format!("{} {value:.4}", term.name());
        let losses: Vec<String> = progress.terms.iter().map(loss).collect();
        let what = format!("rmse {:.4} (best {:.4}), {}", progress.validation_rmse, progress.best_rmse, losses.join(", "));
        self.talk.progress(progress.epoch as u64, Some(progress.of as u64), what);
    }

    fn cancelled(&self) -> bool {
        self.talk.cancelled()
    }

    fn checkpoint_dir(&self) -> Option<&Path> {
        Some(self.partial)
    }

    fn checkpoint_every(&self) -> Duration {
        self.every
    }
}
