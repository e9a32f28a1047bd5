//! `cache_features`: a frozen teacher's states and predictions for given rows, computed once, or taken from files of the user's. They are functions of the
//! row alone; what depends on a student's messages is computed live by whoever trains the student.
//!
//! Of a rating model all lies in one file, `features.parquet`. Of an encoder there is more, and it lies in [`shards`], which `encode` makes
//! and `import` takes over. Their rows are examples with classes, or the items of ratings, by whose texts (`texts`) an encoder knows them.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, UInt32Array},
    datatypes::{DataType, Field},
};
use serde::{Deserialize, Serialize};
use talkflow_datasets::{
    examples::Examples,
    ratings::{self, DATASET, ITEMS, RATINGS, Summary},
    split::Part,
};
use talkflow_distill::{means, variances};

use super::{
    encoder::{self, About},
    files,
    files::Rows,
    settings,
    settings::{Filter, LARGEST},
    training,
};
use crate::{
    artifact::{ArtifactKind, Digest},
    fields::{Choice, Fields},
    stage::{Device, Input, Stage, StageCx},
};

mod encode;
mod import;
mod index;
mod matrix;
mod moments;
mod open;
pub mod shards;
mod texts;

pub use index::Index;
pub use open::Features;

use encode::{Loaded, Pace, Source, Wanted};
use import::Import;
use moments::{Moments, Stat, Stats};
use shards::{Dtype, Shard};

/// The features of a rating model.
pub const FEATURES: &str = "features.parquet";
/// Mean and variance of each dimension.
pub const STATS: &str = "stats.json";

/// Whose features they are.
pub const TEACHER: &str = "teacher.json";

/// A teacher, by what it computes with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// Digest of a model's weights, or of all of an encoder; none of a teacher that is not here.
    weights: Option<Digest>,
}

/// The weights of a teacher's artifact. What an encoder makes depends on more than its weights: tokens, sizes, pooling.
pub fn weights_of(teacher: &Input<'_>) -> Weights {
    let weights = match encoder::is(teacher) {
        true => Some(teacher.digest()),
        false => teacher.files.0.get(files::WEIGHTS).map(|entry| entry.digest),
    };
    Weights { weights }
}

/// What the rows of an encoder's features are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Examples with classes.
    #[default]
    Examples,
    /// Items of ratings, by their dense numbers.
    Items,
}

impl Counted {
    fn is_examples(&self) -> bool {
        *self == Self::Examples
    }
}

/// `teacher.json` of an encoder's features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Digest of the encoder; none where features were imported and no encoder was named.
    pub weights: Option<Digest>,
    /// What the encoder is.
    pub encoder: Option<About>,
    /// The data set's name.
    pub data: String,
    /// Digest of the data set that rows are counted in.
    pub examples: Digest,
    /// What rows are; not written where they are examples.
    #[serde(default, skip_serializing_if = "Counted::is_examples")]
    pub rows: Counted,
    /// The precision of what is cached.
    pub dtype: Dtype,
    /// Where features came from that were not made here.
    pub imported: Option<import::Provenance>,
}

/// Whose features of examples or items an input holds.
///
/// # Errors
/// Where `teacher.json` cannot be read: features of a rating model have another.
pub fn origin(features: &Input<'_>) -> anyhow::Result<Origin> {
    let read = features.file(TEACHER).and_then(|path| files::json(&path));
    read.with_context(|| format!("`{}` holds no features of examples", features.instance))
}

/// Whether features are those of examples or items, and not a rating model's of ratings.
pub fn has_origin(features: &Input<'_>) -> bool {
    Features::shards(features).is_ok_and(|shards| !shards.is_empty())
}

/// Refuses features of other examples than `examples`: row ids mean nothing across data sets.
///
/// # Errors
/// Where they are, or are features of ratings or of items.
pub fn refuse_other_examples(features: &Input<'_>, examples: Digest) -> anyhow::Result<()> {
    let origin = origin(features)?;
    ensure!(
        origin.rows == Counted::Examples,
        "`{}` holds features of the items of ratings ({}), and not of examples: let `rows` of its `cache_features` name the examples",
        features.instance,
        origin.data
    );
    ensure!(
        origin.examples == examples,
        "`{}` was made from other examples ({}) than the rows used here; let both name the same data set",
        features.instance,
        origin.data
    );
    Ok(())
}

/// Refuses features of other items than those of `ratings`: their numbers mean nothing across data sets.
///
/// # Errors
/// Where they are, or are features of examples.
pub fn refuse_other_items(features: &Input<'_>, ratings: Digest) -> anyhow::Result<()> {
    let origin = origin(features)?;
    ensure!(
        origin.rows == Counted::Items,
        "`{}` holds features of examples ({}), and not of the items of ratings: let `rows` of its `cache_features` name the ratings",
        features.instance,
        origin.data
    );
    ensure!(
        origin.examples == ratings,
        "`{}` was made from the items of other ratings ({}) than those used here; let both name the same data set",
        features.instance,
        origin.data
    );
    Ok(())
}

/// What of a teacher can be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tap {
    /// The state after its first hidden layer; of an encoder, the mean over the tokens of its embeddings' output.
    Low,
    /// The input of its last layer; of an encoder, what a head reads.
    High,
    /// Its embeddings of the user and the item.
    Embeddings,
    /// Its prediction.
    Output,
}

impl Choice for Tap {
    const WORDS: &'static [(&'static str, Self)] =
        &[("low", Self::Low), ("high", Self::High), ("embeddings", Self::Embeddings), ("output", Self::Output)];
}

/// A part of a split, as manifests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartWord(pub Part);

impl Choice for PartWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("train", Self(Part::Train)), ("validation", Self(Part::Validation)), ("test", Self(Part::Test))];
}

/// Its settings.
#[derive(Clone, Debug)]
pub struct CacheFeatures {
    pub(super) filter: Filter,
    parts: Vec<PartWord>,
    pub(super) taps: Vec<Tap>,
    from: From,
}

/// What features are made from.
#[derive(Clone, Debug)]
enum From {
    /// A rating model.
    Model,
    /// An encoder; with the tokens of its low states, or without.
    Encoder { tokens: bool, kept: Kept },
    /// The user's files.
    Imported { files: Box<Import>, kept: Kept },
}

/// How features of examples are kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    dtype: Dtype,
    /// Rows that are computed again when all is there.
    verify: usize,
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> CacheFeatures {
    if f.has("import") {
        return imported(f);
    }
    let kinds = [ArtifactKind::Model, ArtifactKind::Encoder];
    let encodes = f.yields("teacher", &kinds) == Some(ArtifactKind::Encoder);
    f.stage("teacher", kinds);
    let whole = encodes && rows(f);
    if !encodes {
        f.stage("rows", ArtifactKind::Split);
        f.through("rows", "rows", "ratings");
    }
    let filter = if encodes { Filter::of(Vec::new()) } else { settings::filter(f) };
    let parts = if whole { Vec::new() } else { parts(f) };
    let usual = if encodes { &[Tap::Low, Tap::High][..] } else { &[Tap::Low, Tap::High, Tap::Output] };
    let taps = f.choices("taps", Some(usual));
    let from = match encodes {
        true => {
            let tokens = f.bool("tokens", Some(false));
            From::Encoder { tokens, kept: kept(f, if tokens { Dtype::F16 } else { Dtype::F32 }, 4) }
        }
        false => From::Model,
    };
    match from {
        From::Encoder { .. } => {
            for (tap, help) in [
                (Tap::Embeddings, "of an encoder `low` is what its embeddings give"),
                (Tap::Output, "an encoder has no head: train one on its `high` states"),
            ] {
                if taps.contains(&tap) {
                    f.mistake("taps", format!("an encoder has no `{}`", tap.word()), Some(help));
                }
            }
        }
        _ if parts.contains(&PartWord(Part::Test)) => {
            f.mistake("parts", "a student must not learn from a teacher's states of test rows", Some("leave `test` out"));
        }
        _ => {}
    }
    let nothing = taps.is_empty() && !matches!(from, From::Encoder { tokens: true, .. });
    for (key, empty) in [("parts", parts.is_empty()), ("taps", nothing)] {
        if empty && f.has(key) {
            f.mistake(key, "there is nothing to cache", Some("name at least one"));
        }
    }
    CacheFeatures { filter, parts, taps, from }
}

/// `rows`, a split of examples, or a data set of them as it is: an encoder has learnt from none, so that all splits can share what it makes of
/// all rows. Of a data set of ratings the rows are its items, which are in no part. Whether it is a data set.
fn rows(f: &mut Fields<'_>) -> bool {
    let kinds = [ArtifactKind::Split, ArtifactKind::Data];
    let whole = f.yields("rows", &kinds) == Some(ArtifactKind::Data);
    f.stage("rows", kinds);
    if whole {
        f.refuse("parts", "`rows` is a data set, all of whose rows are taken", "leave it out, or name a split");
    } else {
        f.through("rows", "rows", "examples");
    }
    whole
}

fn parts(f: &mut Fields<'_>) -> Vec<PartWord> {
    f.choices("parts", Some(&[PartWord(Part::Train)]))
}

fn kept(f: &mut Fields<'_>, usual: Dtype, rows: usize) -> Kept {
    let dtype = f.choice("dtype", Some(usual));
    // To look again changes no result.
    Kept { dtype, verify: f.unrecorded(|f| f.count("verify", Some(rows), 0..=LARGEST)) }
}

/// Features of the user's own.
fn imported(f: &mut Fields<'_>) -> CacheFeatures {
    let named = f.optional_stage("teacher", ArtifactKind::Encoder).is_some();
    let parts = if rows(f) { Vec::new() } else { parts(f) };
    let files = f.section("import", import::read);
    let kept = match named {
        true => kept(f, Dtype::F32, 4),
        false => Kept { dtype: f.choice("dtype", Some(Dtype::F32)), verify: 0 },
    };
    f.refuse("taps", "what is imported says which taps there are", "leave it out");
    if parts.is_empty() && f.has("parts") {
        f.mistake("parts", "there is nothing to cache", Some("name at least one"));
    }
    let taps = files.taps();
    CacheFeatures { filter: Filter::of(Vec::new()), parts, taps, from: From::Imported { files: Box::new(files), kept } }
}

impl Stage for CacheFeatures {
    fn kind(&self) -> &'static str {
        "cache_features"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, device: Device) -> Option<String> {
        match self.from {
            // A forward pass of a small model: always on the processor.
            From::Model => Some(settings::backend(Device::Cpu)),
            From::Encoder { .. } => Some(settings::backend(device)),
            From::Imported { .. } => None,
        }
    }

    fn cores(&self) -> usize {
        match self.from {
            From::Encoder { .. } => LARGEST,
            From::Model | From::Imported { .. } => 1,
        }
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        match &self.from {
            From::Model => self.of_ratings(cx),
            From::Encoder { tokens, kept } => self.encoded(cx, *tokens, *kept, None),
            From::Imported { files, kept } => self.encoded(cx, false, *kept, Some(files)),
        }
    }
}

impl CacheFeatures {
    /// Whether tokens of low states are cached.
    pub(super) fn has_tokens(&self) -> bool {
        matches!(self.from, From::Encoder { tokens: true, .. })
    }

    fn parts(&self) -> Vec<Part> {
        self.parts.iter().map(|part| part.0).collect()
    }

    fn of_ratings(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let rows = Rows::of(cx, &self.filter)?;
        let teacher = files::model(cx.input("teacher")?)?;
        files::refuse_other_data(&teacher.config, cx.input("teacher")?.instance, rows.ratings_digest)?;
        let examples = rows.examples(&self.parts());
        let taps = teacher.model.taps(&examples.user, &examples.item)?;
        let mut stats = Stats::default();
        let mut columns: Vec<(&str, ArrayRef)> = vec![("row", Arc::new(UInt32Array::from(examples.row)))];
        for (name, tap) in Tap::WORDS.iter().filter(|(_, tap)| self.taps.contains(tap)) {
            let (width, values) = match tap {
                Tap::Low => (taps.low_width, &taps.low),
                Tap::High => (taps.high_width, &taps.high),
                Tap::Embeddings => (taps.embeddings_width, &taps.embeddings),
                Tap::Output => (1, &taps.output),
            };
            stats.0.push(Stat { tap: (*name).to_owned(), width, mean: means(values, width), variance: variances(values, width) });
            columns.push((name, states(values, width, *tap)?));
        }
        files::write_parquet(&cx.out.join(FEATURES), columns)?;
        files::write_json(&cx.out.join(STATS), &stats)?;
        // Who learns from the features has to know what the teacher learnt from.
        files::copy(cx.input("teacher")?, &[files::TRAIN_ROWS, files::CONFIG], cx.out)?;
        files::write_json(&cx.out.join(TEACHER), &weights_of(cx.input("teacher")?))?;
        cx.metric("rows", examples.user.len());
        cx.metric("taps", self.taps.len());
        Ok(())
    }

    /// Features of texts or images: made by an encoder, or taken from files.
    fn encoded(&self, cx: &mut StageCx<'_>, tokens: bool, kept: Kept, import: Option<&Import>) -> anyhow::Result<()> {
        let Data { input, name, counted, mut source, ids, rows } = self.data(cx)?;
        ensure!(!rows.is_empty(), "there is no row in the parts that are asked for");
        let wanted = Wanted { taps: self.taps.clone(), tokens };
        let device = training::device(cx.device, cx.gpus);
        let teacher = cx.inputs("teacher").first();
        let loaded = match teacher.filter(|_| import.is_none() || kept.verify > 0) {
            Some(teacher) => Some(Loaded::open(teacher, device)?),
            None => None,
        };
        if let Some(loaded) = &loaded {
            loaded.reads(source.content())?;
        }
        let origin = Origin {
            weights: teacher.and_then(|teacher| weights_of(teacher).weights),
            encoder: teacher.map(|teacher| encoder::open(teacher).map(|opened| opened.about)).transpose()?,
            data: name,
            examples: input,
            rows: counted,
            dtype: kept.dtype,
            imported: import.map(|import| import.provenance()).transpose()?,
        };
        let made = match (import, &loaded) {
            (Some(import), _) => {
                let tables = import.open(&ids, &rows, origin.encoder.as_ref())?;
                self.write(cx, &rows, shards::rows_a_shard(tables.bytes_a_row(kept.dtype.bytes())), kept.dtype, |rows, _| {
                    tables.shard(rows)
                })?
            }
            (None, Some(loaded)) => {
                let size = shards::rows_a_shard(loaded.bytes_a_row(&wanted, kept.dtype.bytes()));
                self.write(cx, &rows, size, kept.dtype, |rows, tell| {
                    let items = source.items(rows)?;
                    loaded.states(rows, &items, &wanted, tell)
                })?
            }
            (None, None) => anyhow::bail!("no teacher was given"),
        };
        if let Some(loaded) = loaded.filter(|_| kept.verify > 0) {
            self.verify(cx, &made, (&loaded, &mut source), &wanted, kept)?;
        }
        self.tell(cx, &made, &rows, &origin)?;
        if origin.weights.is_some() {
            cx.metric("verified", kept.verify);
        }
        files::write_json(&cx.out.join(TEACHER), &origin)?;
        // It learnt from none of these rows, as far as anybody here knows.
        files::write_rows(&cx.out.join(files::TRAIN_ROWS), Vec::new())
    }

    /// What is to be read, and which rows of it.
    fn data(&self, cx: &StageCx<'_>) -> anyhow::Result<Data> {
        let whole = cx.inputs("examples").is_empty();
        let input = cx.input(if whole { "rows" } else { "examples" })?;
        let wrong = || format!("cannot take rows of the result of `{}`", input.instance);
        if whole && input.files.0.contains_key(RATINGS) {
            let items = ratings::items(&input.file(ITEMS)?).with_context(wrong)?;
            return Ok(Data {
                input: input.digest(),
                name: Summary::open(&input.file(DATASET)?).with_context(wrong)?.name,
                counted: Counted::Items,
                source: Source::Texts(items.iter().map(texts::of_item).collect()),
                rows: (0..u32::try_from(items.len())?).collect(),
                ids: items.into_iter().map(|item| item.id).collect(),
            });
        }
        let examples = Examples::open(&files::examples_files(input)?).with_context(wrong)?;
        let rows = if whole {
            (0..u32::try_from(examples.len())?).collect()
        } else {
            let split = files::split_of(cx.input("rows")?, examples.len() as u64, "examples")?;
            let parts = self.parts();
            (0..).zip(split.parts()).filter(|(_, part)| parts.contains(part)).map(|(row, _)| row).collect()
        };
        Ok(Data {
            input: input.digest(),
            name: examples.summary().name.clone(),
            counted: Counted::Examples,
            ids: examples.ids().to_vec(),
            source: Source::of(examples),
            rows,
        })
    }

    /// Makes the shards that are not there from an earlier try.
    fn write(
        &self,
        cx: &StageCx<'_>,
        rows: &[u32],
        size: usize,
        dtype: Dtype,
        mut make: impl FnMut(&[u32], &mut dyn FnMut(usize) -> std::ops::ControlFlow<()>) -> anyhow::Result<Shard>,
    ) -> anyhow::Result<Made> {
        fs::create_dir_all(cx.partial)?;
        let mut made = Made { shards: Vec::new(), note: String::new() };
        let (mut pace, mut done) = (Pace::new(), 0);
        for (number, rows_of) in rows.chunks(size).enumerate() {
            let path = cx.partial.join(format!("{number:05}.safetensors"));
            let there = Shard::read(&path).is_ok_and(|shard| shard.row == rows_of);
            if !there {
                let shard = make(rows_of, &mut |more| pace.tell(&cx.talk, done, more, rows.len()))?;
                shard.check(dtype)?;
                shard.write(&path, dtype)?;
                pace.made += rows_of.len();
            }
            done += rows_of.len();
            if pace.tell(&cx.talk, done, 0, rows.len()).is_break() {
                anyhow::bail!("cancelled; run it again to go on from here");
            }
            made.shards.push(path);
        }
        made.note = match pace.made {
            all if all == rows.len() => pace.words(0),
            some => format!("{}; {} rows were there from an earlier try", pace.words(0), rows.len() - some),
        };
        Ok(made)
    }

    /// Computes some rows again, each alone, and compares.
    fn verify(
        &self,
        cx: &StageCx<'_>,
        made: &Made,
        (loaded, source): (&Loaded, &mut Source),
        wanted: &Wanted,
        kept: Kept,
    ) -> anyhow::Result<()> {
        // What the kernels may differ by when rows stand in other batches, and what half precision rounds off.
        let within = match kept.dtype {
            Dtype::F32 => 1e-4,
            Dtype::F16 => 2e-3,
        };
        let mut chosen: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let seed = weights_of(cx.input("teacher")?).weights.context("the teacher has no digest")?;
        for index in 0..kept.verify as u64 {
            let drawn = Digest::of(&[seed.as_bytes(), &index.to_le_bytes()[..]].concat());
            let drawn = drawn.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            chosen.entry((drawn % made.shards.len() as u64) as usize).or_default().push(drawn >> 32);
        }
        for (number, drawn) in chosen {
            let shard = Shard::read(&made.shards[number])?;
            for drawn in drawn {
                let place = (drawn % shard.row.len() as u64) as usize;
                let row = [shard.row[place]];
                let items = source.items(&row)?;
                let live = loaded.states(&row, &items, wanted, &mut |_| std::ops::ControlFlow::Continue(()))?;
                if let Some(what) = encode::differs(&shard, place, &live, within) {
                    anyhow::bail!("row {} is not what the teacher makes of it: {what}", row[0]);
                }
            }
        }
        Ok(())
    }

    /// Puts the shards into the result, and says what is in them.
    fn tell(&self, cx: &mut StageCx<'_>, made: &Made, rows: &[u32], origin: &Origin) -> anyhow::Result<()> {
        let mut moments: BTreeMap<Tap, Moments> = BTreeMap::new();
        let (mut bytes, mut tokens) = (0, 0);
        fs::create_dir_all(cx.out.join(shards::SHARDS))?;
        for (number, path) in made.shards.iter().enumerate() {
            let shard = Shard::read(path)?;
            for (tap, (width, values)) in &shard.states {
                moments.entry(*tap).or_insert_with(|| Moments::new(*width)).add(values);
            }
            tokens += shard.tokens.and_then(|tokens| tokens.starts.last().copied()).unwrap_or(0);
            bytes += fs::metadata(path)?.len();
            let to = cx.out.join(shards::name(number));
            fs::rename(path, &to).with_context(|| format!("cannot move {}", path.display()))?;
        }
        let stats = moments.into_iter().map(|(tap, moments)| moments.stat(tap.word())).collect();
        files::write_json(&cx.out.join(STATS), &Stats(stats))?;
        cx.metric("rows", rows.len());
        cx.metric("taps", self.taps.len());
        if tokens > 0 {
            cx.metric("tokens", tokens);
        }
        cx.metric("bytes", bytes);
        cx.note(match &origin.imported {
            Some(imported) => format!("imported: {}", imported.from),
            None => made.note.clone(),
        });
        Ok(())
    }
}

/// A data set to be read.
struct Data {
    /// Its digest.
    input: Digest,
    name: String,
    counted: Counted,
    source: Source,
    /// What each row of it is called.
    ids: Vec<String>,
    /// The rows that features are wanted of, ascending.
    rows: Vec<u32>,
}

/// Shards that are written.
struct Made {
    shards: Vec<PathBuf>,
    /// How fast, in words.
    note: String,
}

fn states(values: &[f32], width: usize, tap: Tap) -> anyhow::Result<ArrayRef> {
    let values = Float32Array::from(values.to_vec());
    if tap == Tap::Output {
        return Ok(Arc::new(values));
    }
    let field = Arc::new(Field::new("item", DataType::Float32, false));
    Ok(Arc::new(FixedSizeListArray::try_new(field, i32::try_from(width)?, Arc::new(values), None)?))
}
