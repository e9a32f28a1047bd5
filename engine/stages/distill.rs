//! `distill`: a student, trained by one of the methods. Its inputs are what that method reads: biases alone and a student from
//! scratch depend on no teacher, whatever the manifest names. A teacher of a student of ratings is a rating model, or an encoder that reads the items.

use std::{fs, sync::Arc};

use anyhow::bail;
use talkflow_datasets::split::Part;
use talkflow_distill::{By, NetSpec, States, TaskKind, TeacherNeeds, TeacherUpper, TeacherView, TokenStates, TrainConfig};

use super::{
    cache_features::{Features, Index, TEACHER, Tap, Weights, has_origin, refuse_other_examples, refuse_other_items, weights_of},
    encoder,
    examples::ClassRows,
    files,
    files::Rows,
    probe,
    probe::LyingOutputs,
    settings,
    streaming::{Cached, Streaming},
    training,
    training::{Begin, Settings, Training},
};
use crate::{
    artifact::{ArtifactKind, Digest},
    fields::{Accepts, Fields},
    stage::{Device, Input, Stage, StageCx},
};

/// Its settings.
#[derive(Clone, Debug)]
pub struct Distill {
    pub(super) training: Training,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Distill {
    f.stage("rows", ArtifactKind::Split);
    if f.has(training::CHOSEN) {
        // Which model and which method it will be is not known: what is named is taken.
        f.through("rows", "rows", "ratings");
        f.through("rows", "rows", "examples");
        f.optional_stage("teacher", [ArtifactKind::Model, ArtifactKind::Encoder]);
        f.optional_stage("features", ArtifactKind::Features);
        f.optional_stage(PROBE, ArtifactKind::Model);
        return Distill { training: training::read_chosen(f) };
    }
    let method = settings::method(f);
    let name = method.name();
    let training = training::read(f, method);
    let Settings::Written(config) = &training.settings else { return Distill { training } };
    // Of a model that is wrong in some way its word still tells what it predicts.
    let task = match (f.sound(), f.written_word("model")) {
        (true, _) => Some(config.model.task()),
        (false, Some(word)) => settings::task_of(&word),
        (false, None) => None,
    };
    let Some(task) = task else {
        // Which teacher it needs follows from settings that cannot be read.
        f.unrecorded(|f| f.optional_stage("teacher", [ArtifactKind::Model, ArtifactKind::Encoder]));
        f.unrecorded(|f| f.optional_stage("features", ArtifactKind::Features));
        f.unrecorded(|f| f.optional_stage(PROBE, ArtifactKind::Model));
        return Distill { training };
    };
    if config.epochs == 0 {
        f.mistake("stop", "a student that is not trained for an epoch learns nothing", Some("set `epochs` to at least 1"));
    }
    let kinds = match task {
        TaskKind::Ratings => {
            f.through("rows", "rows", "ratings");
            f.refuse(PROBE, "ratings are predicted by the teacher itself", "leave it out");
            // An encoder reads the items.
            &[ArtifactKind::Model, ArtifactKind::Encoder][..]
        }
        TaskKind::Classes => {
            f.through("rows", "rows", "examples");
            teacher_input(f, PROBE, ArtifactKind::Model, reads(config, PROBE), name);
            &[ArtifactKind::Encoder][..]
        }
    };
    teacher_input(f, "teacher", kinds, reads(config, "teacher"), name);
    teacher_input(f, "features", ArtifactKind::Features, reads(config, "features"), name);
    Distill { training }
}

/// The port of a probe, whose predictions of classes are a teacher's.
pub const PROBE: &str = "probe";

/// The ports of what students learn from.
pub(super) const PORTS: [&str; 3] = ["teacher", "features", PROBE];

/// Whether a training reads one of [`PORTS`].
pub(super) fn reads(config: &TrainConfig, port: &str) -> bool {
    let (needs, of_classes) = (config.method.needs(), config.model.task() == TaskKind::Classes);
    match port {
        "teacher" => needs.upper_layers,
        "features" if of_classes => states(needs),
        "features" => needs.cached(),
        _ => of_classes && needs.output,
    }
}

/// Whether states of a teacher have to be cached; predictions of classes are a probe's.
fn states(needs: TeacherNeeds) -> bool {
    TeacherNeeds { output: false, ..needs }.cached()
}

/// An input if the method reads it; otherwise only checked.
fn teacher_input(f: &mut Fields<'_>, key: &str, kinds: impl Into<Accepts>, needed: bool, method: &str) {
    let kinds = kinds.into();
    let noun = kinds.noun();
    let given = match needed {
        true => f.optional_stage(key, kinds),
        false => f.unrecorded(|f| f.optional_stage(key, kinds)),
    };
    if needed && given.is_none() && !f.has(key) {
        let help = format!("add `{key}:` with the name of a stage that yields {noun}");
        f.mistake(key, format!("the method `{method}` learns from a teacher and needs `{key}`"), Some(&help));
    }
}

/// What of the teacher has to be cached.
pub(super) fn taps(config: &TrainConfig) -> impl Iterator<Item = Tap> + use<> {
    let TeacherNeeds { low, high, embeddings, output, .. } = config.method.needs();
    // Predictions of classes are a probe's.
    let output = output && config.model.task() == TaskKind::Ratings;
    [(Tap::Low, low), (Tap::High, high), (Tap::Embeddings, embeddings), (Tap::Output, output)]
        .into_iter()
        .filter_map(|(tap, needed)| needed.then_some(tap))
}

impl Stage for Distill {
    fn kind(&self) -> &'static str {
        "distill"
    }

    fn version(&self) -> u32 {
        3
    }

    fn backend(&self, device: Device) -> Option<String> {
        Some(settings::backend(device))
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let begin = self.training.begin(cx)?;
        if begin.config.model.task() == TaskKind::Classes {
            return self.run_classes(cx, begin);
        }
        let rows = Rows::of(cx, &self.training.filter)?;
        let test = rows.part(Part::Test);
        for input in ["teacher", "features"].into_iter().filter_map(|port| cx.inputs(port).first()) {
            // An encoder has learnt from none of these ratings.
            if has_origin(input) {
                refuse_other_items(input, rows.ratings_digest)?;
            } else if !encoder::is(input) {
                files::refuse_other_data(&files::model_config(input)?, input.instance, rows.ratings_digest)?;
                files::refuse_leak(input, &test)?;
            }
        }
        if let (Some(teacher), Some(features)) = (cx.inputs("teacher").first(), cx.inputs("features").first()) {
            same_teacher(features, teacher)?;
        }
        let cached = cx.inputs("features").first();
        let by = if cached.is_some_and(has_origin) { By::Item } else { By::Row };
        let needs = begin.config.method.needs();
        if by == By::Item && needs.output {
            // A search may have chosen it; where it is written, planning says so.
            bail!("`{}` learns from a teacher's ratings, and an encoder predicts none", begin.config.method.name());
        }
        let features = cached.map(Features::open).transpose()?;
        let upper = match needs.upper_layers {
            true if encoder::is(cx.input("teacher")?) => Some(encoder::upper(cx.input("teacher")?)?),
            true => {
                let input = cx.input("teacher")?;
                let config = files::model_config(input)?;
                Some(TeacherUpper::load(fs::File::open(input.file(files::WEIGHTS)?)?, &config.model)?)
            }
            false => None,
        };
        let view = features.as_ref().map(|features| TeacherView {
            by,
            streams: false,
            row: &features.row,
            low: features.low(),
            high: features.high(),
            embeddings: features.embeddings(),
            tokens: features.tokens(),
            output: features.output(),
            upper: upper.as_ref(),
        });
        let method = begin.config.method.name();
        self.training.run(cx, begin, &rows, method, view)
    }
}

/// Refuses features that are not the teacher's.
fn same_teacher(features: &Input<'_>, teacher: &Input<'_>) -> anyhow::Result<()> {
    let of: Weights = files::json(&features.file(TEACHER)?)?;
    anyhow::ensure!(
        of == weights_of(teacher),
        "the features of `{}` are another teacher's than `{}`: let `cache_features` and `distill` name the same one",
        features.instance,
        teacher.instance
    );
    Ok(())
}

impl Distill {
    /// A student of classes. Its teacher is an encoder, which has learnt nothing of these rows; a probe has, and is looked at.
    fn run_classes(&self, cx: &mut StageCx<'_>, begin: Begin) -> anyhow::Result<()> {
        let rows = ClassRows::of(cx)?;
        let (teacher, cached, probe) = (cx.inputs("teacher").first(), cx.inputs("features").first(), cx.inputs(PROBE).first());
        if let (Some(teacher), Some(features)) = (teacher, cached) {
            same_teacher(features, teacher)?;
        }
        if let Some(features) = cached {
            refuse_other_examples(features, rows.digest)?;
        }
        let needs = begin.config.method.needs();
        let (cached, probe) = (cached.filter(|_| states(needs)), probe.filter(|_| needs.output));
        if let Some(probe) = probe {
            files::refuse_other_data(&files::model_config(probe)?, probe.instance, rows.digest)?;
            files::refuse_leak(probe, &rows.part(Part::Test))?;
        }
        let upper = teacher.filter(|_| needs.upper_layers).map(encoder::upper).transpose()?;
        let known = TeacherView { upper: upper.as_ref(), ..TeacherView::default() };
        if let Some(stream) = self.training.stream {
            return self.run_streaming(cx, begin, &rows, stream, known);
        }
        let features = cached.map(Features::open).transpose()?;
        let outputs = probe.map(probe::outputs).transpose()?;
        // Rows of one are put into the order of the other.
        let order = features.as_ref().map(|features| features.row.clone());
        let row = order.unwrap_or_else(|| outputs.as_ref().map_or_else(Vec::new, |outputs| outputs.rows().to_vec()));
        let output = outputs.map(|outputs| outputs.of(&row)).transpose()?;
        let view = TeacherView {
            by: By::Row,
            row: &row,
            low: features.as_ref().and_then(Features::low),
            high: features.as_ref().and_then(Features::high),
            tokens: features.as_ref().and_then(Features::tokens),
            output: output.as_deref(),
            ..known
        };
        self.training.run_classes(cx, begin, &rows, |net| rows.read_for(net), needs.any().then_some(view))
    }

    /// The same where rows stream by, and with them what is cached of the teacher: of that, only what holds for all rows is in memory.
    fn run_streaming(
        &self,
        cx: &mut StageCx<'_>,
        begin: Begin,
        rows: &ClassRows,
        stream: Streaming,
        known: TeacherView<'_>,
    ) -> anyhow::Result<()> {
        let needs = begin.config.method.needs();
        let cached = cx.inputs("features").first().filter(|_| states(needs));
        let probe = cx.inputs(PROBE).first().filter(|_| needs.output);
        let of: Vec<Digest> = [rows.digest].into_iter().chain([cached, probe].into_iter().flatten().map(Input::digest)).collect();
        let index = cached.map(Index::open).transpose()?.map(Arc::new);
        let outputs = probe.map(LyingOutputs::open).transpose()?.map(Arc::new);
        let states = |tap| {
            let (width, variance) = index.as_ref()?.stat(tap)?;
            Some(States { width, values: &[], variance })
        };
        let tokens = index.as_ref().and_then(|index| index.token_width());
        let view = TeacherView {
            streams: true,
            low: states(Tap::Low),
            high: states(Tap::High),
            tokens: tokens.map(|width| TokenStates { width, starts: &[0], values: &[] }),
            output: outputs.as_ref().map(|_| &[][..]),
            ..known
        };
        let cached = Cached::of(index.clone(), outputs.clone(), needs);
        let read = |net: &NetSpec| stream.examples(rows, net, cached, &of);
        self.training.run_classes(cx, begin, rows, read, needs.any().then_some(view))
    }
}
