//! `distill`: a student, trained by one of the methods. Its inputs are what that method reads: biases alone and a student from
//! scratch depend on no teacher, whatever the manifest names.

use std::fs;

use talkflow_datasets::split::Part;
use talkflow_distill::{TeacherNeeds, TeacherUpper, TeacherView};

use super::{
    cache_features::{Features, TEACHER, Tap, Weights, weights_of},
    files,
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
pub struct Distill {
    pub(super) training: Training,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Distill {
    f.stage("rows", ArtifactKind::Split);
    f.through("rows", "rows", "ratings");
    if f.has(training::CHOSEN) {
        // Which method it will be is not known: what is named is taken.
        f.optional_stage("teacher", ArtifactKind::Model);
        f.optional_stage("features", ArtifactKind::Features);
        return Distill { training: training::read_chosen(f) };
    }
    let method = settings::method(f);
    let needs = method.needs();
    teacher_input(f, "teacher", ArtifactKind::Model, needs.upper_layers, method.name());
    teacher_input(f, "features", ArtifactKind::Features, needs.cached(), method.name());
    let training = training::read(f, method);
    if matches!(&training.settings, Settings::Written(config) if config.epochs == 0) {
        f.mistake("stop", "a student that is not trained for an epoch learns nothing", Some("set `epochs` to at least 1"));
    }
    Distill { training }
}

/// An input if the method reads it; otherwise only checked.
fn teacher_input(f: &mut Fields<'_>, key: &str, kind: ArtifactKind, needed: bool, method: &str) {
    let given = match needed {
        true => f.optional_stage(key, kind),
        false => f.unrecorded(|f| f.optional_stage(key, kind)),
    };
    if needed && given.is_none() && !f.has(key) {
        let help = format!("add `{key}:` with the name of a stage that yields {kind}");
        f.mistake(key, format!("the method `{method}` learns from a teacher and needs `{key}`"), Some(&help));
    }
}

/// What of the teacher has to be cached.
pub(super) fn taps(needs: TeacherNeeds) -> impl Iterator<Item = Tap> {
    let TeacherNeeds { low, high, embeddings, output, .. } = needs;
    [(Tap::Low, low), (Tap::High, high), (Tap::Embeddings, embeddings), (Tap::Output, output)]
        .into_iter()
        .filter_map(|(tap, needed)| needed.then_some(tap))
}

impl Stage for Distill {
    fn kind(&self) -> &'static str {
        "distill"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, device: Device) -> Option<String> {
        Some(settings::backend(device))
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let rows = Rows::of(cx, &self.training.filter)?;
        let test = rows.part(Part::Test);
        for port in ["teacher", "features"] {
            if let Some(input) = cx.inputs(port).first() {
                files::refuse_other_data(&files::model_config(input)?, input.instance, rows.ratings_digest)?;
                files::refuse_leak(input, &test)?;
            }
        }
        if let (Some(teacher), Some(features)) = (cx.inputs("teacher").first(), cx.inputs("features").first()) {
            let of: Weights = files::json(&features.file(TEACHER)?)?;
            anyhow::ensure!(
                of == weights_of(teacher),
                "the features of `{}` are another teacher's than `{}`: let `cache_features` and `distill` name the same one",
                features.instance,
                teacher.instance
            );
        }
        let features = cx.inputs("features").first().map(Features::open).transpose()?;
        let begin = self.training.begin(cx)?;
        let needs = begin.config.method.needs();
        let upper = match needs.upper_layers {
            true => {
                let input = cx.input("teacher")?;
                let config = files::model_config(input)?;
                Some(TeacherUpper::load(fs::File::open(input.file(files::WEIGHTS)?)?, &config.model)?)
            }
            false => None,
        };
        let view = features.as_ref().map(|features| TeacherView {
            row: &features.row,
            low: features.low(),
            high: features.high(),
            embeddings: features.embeddings(),
            tokens: None,
            output: features.output(),
            upper: upper.as_ref(),
        });
        let method = begin.config.method.name();
        self.training.run(cx, begin, &rows, method, view)
    }
}
