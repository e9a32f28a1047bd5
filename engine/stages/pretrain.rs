//! `pretrain`: a teacher, trained on the task alone.

use super::{files::Rows, settings, training, training::Training};
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
    // Whose classes are to be learnt from is an encoder with a `probe`.
    Pretrain(training::read_ratings(f))
}

impl Stage for Pretrain {
    fn kind(&self) -> &'static str {
        "pretrain"
    }

    fn version(&self) -> u32 {
        3
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
