//! `pretrain`: a teacher, trained on the task alone.

use talkflow_distill::{Method, TaskKind};

use super::{
    files::Rows,
    settings, training,
    training::{Settings, Training},
};
use crate::{
    artifact::ArtifactKind,
    fields::Fields,
    stage::{Device, Stage, StageCx},
};

/// Its settings.
#[derive(Clone, Debug)]
pub struct Pretrain(pub(super) Training);

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Pretrain {
    f.stage("rows", ArtifactKind::Split);
    f.through("rows", "rows", "ratings");
    let training = training::read(f, Method::Scratch);
    if let Settings::Written(config) = &training.settings
        && f.sound()
        && config.model.task() == TaskKind::Classes
    {
        let message = format!("`{}` predicts classes, whose teachers are encoders with a `probe`", config.model.name());
        f.mistake("model", message, Some("take an `ncf` or `mf` model, or write `encoder` and `probe` stages"));
    }
    Pretrain(training)
}

impl Stage for Pretrain {
    fn kind(&self) -> &'static str {
        "pretrain"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, device: Device) -> Option<String> {
        Some(settings::backend(device))
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let rows = Rows::of(cx, &self.0.filter)?;
        let begin = self.0.begin(cx)?;
        self.0.run(cx, begin, &rows, "pretrain", None)
    }
}
