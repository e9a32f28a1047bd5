//! `encoder`: a frozen transformer as a teacher: a model's folder as Hugging Face keeps it, or one whose weights are drawn.
//!
//! The result is such a folder again, and `encoder.json`, which says what the model reads and what of it a head reads. Whoever learns from one
//! gets it by [`open`] and [`upper`].

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use talkflow_datasets::examples::LONGEST_SIDE;
use talkflow_distill::{
    CHARACTER_TOKENS, Family, IMAGENET, Pooling, Reads, TeacherSpec, TeacherUpper, Tokenizer, Transformer, TransformerConfig,
    TransformerFiles, TransformerUpper, tokenizer_of_characters,
};

use super::{files, settings::LARGEST};
use crate::{
    fields::{Choice, Fields, PlacedFile},
    stage::{Device, Input, Stage, StageCx},
};

/// What the encoder is.
pub const ENCODER: &str = "encoder.json";
const CONFIG: &str = TransformerFiles::NAMES[0];
const WEIGHTS: &str = TransformerFiles::NAMES[1];
const TOKENIZER: &str = TransformerFiles::NAMES[2];
/// What a publisher's own program does to images, where that is said.
const PREPROCESSOR: &str = "preprocessor_config.json";

/// The largest side of images where neither settings nor the model ask for less: what the publishers of ViTs resize images to.
const USUAL_SIZE: usize = 224;

/// Its settings.
#[derive(Clone, Debug)]
pub struct Encoder {
    from: From,
    pooling: Option<Pooling>,
    longest: Option<usize>,
    size: Option<usize>,
}

#[derive(Clone, Debug)]
enum From {
    /// A model's folder; with a seed, a model of its shape whose weights are drawn.
    Folder { files: Vec<PlacedFile>, seed: Option<u64> },
    /// A model that is drawn.
    Drawn { config: TransformerConfig, seed: u64 },
}

impl Choice for Pooling {
    const WORDS: &'static [(&'static str, Self)] = &[("mean", Self::Mean), ("first", Self::First)];
}

impl Choice for Family {
    const WORDS: &'static [(&'static str, Self)] =
        &[("bert", Self::Bert), ("vit", Self::Vit), ("deit", Self::Deit), ("dinov2", Self::Dinov2)];
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Encoder {
    let from = match f.has("drawn") {
        true => drawn(f),
        false => {
            let seed = f.optional_int("drawn_weights", ..);
            let needed = if seed.is_some() { &[CONFIG][..] } else { &[CONFIG, WEIGHTS] };
            From::Folder { files: f.files_of_folder("folder", needed, &[TOKENIZER, PREPROCESSOR]), seed }
        }
    };
    let pooling = match f.has("pooling") {
        true => Some(f.choice("pooling", None)),
        false => None,
    };
    let longest = optional_size(f, "longest", LARGEST);
    let size = optional_size(f, "size", LONGEST_SIDE);
    let encoder = Encoder { from, pooling, longest, size };
    if f.sound() && longest.is_some() && size.is_some() {
        f.mistake(
            "size",
            "a model reads texts, which have a `longest`, or images, which have a `size`",
            Some("leave one of the two out"),
        );
    } else if let (true, From::Drawn { config, .. }) = (f.sound(), &encoder.from)
        && let Err(Misfit { field, message, help }) = encoder.reading(config)
    {
        f.mistake(field, message, Some(help));
    }
    encoder
}

fn optional_size(f: &mut Fields<'_>, key: &str, most: usize) -> Option<usize> {
    f.optional_int(key, 1..=most as u64).and_then(|size| usize::try_from(size).ok())
}

/// A model that is drawn.
fn drawn(f: &mut Fields<'_>) -> From {
    f.refuse("folder", "`drawn` says what the model is", "leave one of the two out");
    f.section("drawn", |f| {
        let family: Family = f.choice("family", None);
        let width = f.count("width", Some(32), 1..=4096);
        let layers = f.count("layers", Some(2), 1..=256);
        let heads = f.count("heads", Some(4), 1..=256);
        let inner = optional_size(f, "inner", LARGEST).unwrap_or(4 * width);
        let reads = match family.reads_texts() {
            true => {
                let positions = f.count("positions", Some(128), 3..=LARGEST);
                Reads::Texts { vocabulary: CHARACTER_TOKENS, positions, types: 2 }
            }
            false => {
                let patch = f.count("patch", Some(8), 1..=LONGEST_SIDE);
                let image = optional_size(f, "image", LONGEST_SIDE).unwrap_or(4 * patch);
                Reads::Images { channels: 3, patch, image, qkv_bias: true }
            }
        };
        let seed = f.int("seed", Some(1), ..);
        if f.sound() {
            if width % heads != 0 {
                f.mistake(
                    "heads",
                    format!("{heads} heads do not share a width of {width} evenly"),
                    Some("take a divisor of `width`"),
                );
            }
            if let Reads::Images { patch, image, .. } = reads
                && image % patch != 0
            {
                f.mistake(
                    "image",
                    format!("a side of {image} is no whole number of patches of {patch}"),
                    Some("take a multiple of `patch`"),
                );
            }
        }
        From::Drawn { config: TransformerConfig { family, width, layers, heads, inner, eps: 1e-6, reads }, seed }
    })
}

/// `encoder.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The model's family.
    pub family: Family,
    /// Numbers a token.
    pub width: usize,
    /// Layers above the embeddings.
    pub layers: usize,
    /// What it reads.
    pub reads: Reading,
    /// What of its last state a head reads.
    pub pooling: Pooling,
    /// The seed that its weights were drawn from; none where they were learnt.
    pub drawn: Option<u64>,
    /// Of `model.safetensors`, in hexadecimal digits, as publishers tell it.
    pub sha256: String,
}

/// What an encoder reads, and how that is made ready for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reading {
    /// Texts.
    Texts {
        /// Tokens that a text is cut to, special ones included.
        longest: usize,
    },
    /// Images of three channels.
    Images {
        /// The side that they are resized to.
        size: usize,
        /// Of each channel's values from 0 to 1, what is taken off.
        mean: [f32; 3],
        /// And what the rest is divided by.
        sd: [f32; 3],
    },
}

impl Reading {
    /// What people call what it reads.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Texts { .. } => "texts",
            Self::Images { .. } => "images",
        }
    }
}

/// A setting that does not fit the model.
struct Misfit {
    field: &'static str,
    message: String,
    help: &'static str,
}

impl Encoder {
    /// Whether it reads texts, as far as settings tell.
    pub fn reads_texts(&self) -> Option<bool> {
        match (&self.from, self.longest, self.size) {
            (From::Drawn { config, .. }, ..) => Some(config.family.reads_texts()),
            (From::Folder { .. }, Some(_), _) => Some(true),
            (From::Folder { .. }, None, Some(_)) => Some(false),
            (From::Folder { .. }, None, None) => None,
        }
    }

    /// What it is as a teacher, as far as settings tell.
    pub fn spec(&self) -> Option<TeacherSpec> {
        match &self.from {
            From::Drawn { config, .. } => Some(TeacherSpec::Encoder { width: config.width, layers: config.layers }),
            From::Folder { .. } => None,
        }
    }

    /// How what a model reads is made ready for it, images standardised as most are.
    fn reading(&self, config: &TransformerConfig) -> Result<Reading, Misfit> {
        let misfit = |field, message, help| Err(Misfit { field, message, help });
        match config.reads {
            Reads::Texts { positions, .. } => match (self.size, self.longest) {
                (Some(_), _) => misfit("size", "the model reads texts, which have no `size`".to_owned(), "leave it out"),
                (_, Some(longest)) if longest > positions => {
                    let message = format!("texts of {longest} tokens are longer than the {positions} that the model reads");
                    misfit("longest", message, "lower it, or leave it out")
                }
                (_, longest) => Ok(Reading::Texts { longest: longest.unwrap_or(positions) }),
            },
            Reads::Images { channels, patch, image, .. } => {
                let usual = image.min(USUAL_SIZE.max(patch));
                let size = self.size.unwrap_or(usual - usual % patch);
                if self.longest.is_some() {
                    return misfit("longest", "the model reads images, which have no `longest`".to_owned(), "leave it out");
                }
                if channels != 3 {
                    let message = format!("the model reads images of {channels} channels, and not of red, green and blue");
                    return misfit("folder", message, "use a model of images of three channels");
                }
                if !size.is_multiple_of(patch) {
                    let message = format!("images of {size} pixels a side are no whole number of patches of {patch}");
                    return misfit("size", message, "take a multiple of the patch");
                }
                Ok(Reading::Images { size, mean: IMAGENET.0, sd: IMAGENET.1 })
            }
        }
    }

    /// Where nothing is asked for: sentences are best told apart by the mean of their tokens (Reimers and Gurevych 2019), and what a ViT knows of
    /// an image as a whole is what its class token gathers (Dosovitskiy et al. 2021), which probes of DINOv2 read too (Oquab et al. 2023).
    fn pooling(&self, family: Family) -> Pooling {
        self.pooling.unwrap_or(if family.reads_texts() { Pooling::Mean } else { Pooling::First })
    }
}

/// What a publisher's program takes off images and divides them by.
#[derive(Deserialize)]
struct Preprocessor {
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

impl Preprocessor {
    fn standardise(self, path: &Path, reading: &mut Reading) -> anyhow::Result<()> {
        let Reading::Images { mean, sd, .. } = reading else { return Ok(()) };
        (*mean, *sd) = (self.image_mean.unwrap_or(*mean), self.image_std.unwrap_or(*sd));
        let sound = mean.iter().all(|mean| mean.is_finite()) && sd.iter().all(|sd| sd.is_finite() && *sd > 0.0);
        ensure!(sound, "{}: `image_mean` and `image_std` are no means and standard deviations of three channels", path.display());
        Ok(())
    }
}

impl Stage for Encoder {
    fn kind(&self) -> &'static str {
        "encoder"
    }

    fn version(&self) -> u32 {
        1
    }

    fn backend(&self, _device: Device) -> Option<String> {
        // Numbers are copied or drawn, and drawing is exact.
        None
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let out = TransformerFiles::in_folder(cx.out);
        let (config, drawn, preprocessor) = match &self.from {
            From::Drawn { config, seed } => {
                files::write_json(&out.config, &config.to_json())?;
                fs::write(&out.weights, config.drawn(*seed)?)?;
                if config.family.reads_texts() {
                    files::write_json(&out.tokenizer, &tokenizer_of_characters())?;
                }
                (config.clone(), Some(*seed), None)
            }
            From::Folder { files, seed } => {
                let at = |name: &str| files.iter().find(|file| file.place == name).map(|file| file.path.as_path());
                let config = at(CONFIG).context("no folder was given")?;
                copy(config, &out.config)?;
                let config = TransformerConfig::open(config)?;
                match (seed, at(WEIGHTS)) {
                    (None, Some(weights)) => copy(weights, &out.weights)?,
                    (Some(seed), _) => fs::write(&out.weights, config.drawn(*seed)?)?,
                    (None, None) => bail!("the folder has no {WEIGHTS}"),
                }
                match (config.family.reads_texts(), at(TOKENIZER)) {
                    (true, Some(tokenizer)) => copy(tokenizer, &out.tokenizer)?,
                    (true, None) => bail!(
                        "the folder has no {TOKENIZER}, which makes tokens of texts: take it from where the model comes from"
                    ),
                    (false, _) => {}
                }
                (config, *seed, at(PREPROCESSOR))
            }
        };
        let reading = self.reading(&config);
        let mut reads = reading.map_err(|Misfit { message, help, .. }| anyhow::anyhow!("{message}: {help}"))?;
        if let Some(path) = preprocessor {
            files::json::<Preprocessor>(path)?.standardise(path, &mut reads)?;
        }
        self.check(&config, &reads, &out)?;
        let about = About {
            family: config.family,
            width: config.width,
            layers: config.layers,
            reads,
            pooling: self.pooling(config.family),
            drawn,
            sha256: sha256(&out.weights)?,
        };
        files::write_json(&cx.out.join(ENCODER), &about)?;
        cx.metric("width", about.width);
        cx.metric("layers", about.layers);
        cx.metric("bytes", fs::metadata(&out.weights)?.len());
        Ok(())
    }
}

impl Encoder {
    /// Loads what was written, so that nothing is published that cannot be read. What is wrong is told of the user's own files.
    fn check(&self, config: &TransformerConfig, reads: &Reading, out: &TransformerFiles) -> anyhow::Result<()> {
        let mut named = out.clone();
        if let From::Folder { files, .. } = &self.from {
            for file in files {
                match file.place.as_str() {
                    CONFIG => named.config.clone_from(&file.path),
                    WEIGHTS => named.weights.clone_from(&file.path),
                    TOKENIZER => named.tokenizer.clone_from(&file.path),
                    _ => {}
                }
            }
        }
        Transformer::open(&named)?;
        if let (Reading::Texts { longest }, Reads::Texts { vocabulary, .. }) = (reads, config.reads) {
            let tokens = Tokenizer::load(&named.tokenizer, *longest)?.vocabulary();
            ensure!(
                tokens <= vocabulary,
                "{} makes {tokens} kinds of tokens, and the model knows {vocabulary}: take it from the model's own folder",
                named.tokenizer.display()
            );
        }
        Ok(())
    }
}

/// Copies contents, and not the rights to a file.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = File::open(from).and_then(|mut from| io::copy(&mut from, &mut File::create(to)?));
    copied.map(|_| ()).with_context(|| format!("cannot copy {}", from.display()))
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// An encoder's artifact, its weights not yet read.
pub struct Opened {
    /// What it is.
    pub about: About,
    /// Where its files lie.
    pub files: TransformerFiles,
}

/// Whether an input is an encoder.
pub fn is(input: &Input<'_>) -> bool {
    input.files.0.contains_key(ENCODER)
}

/// Opens an encoder's artifact. Its model is loaded by `Transformer::open(&opened.files)`.
///
/// # Errors
/// Where it lacks a file, or `encoder.json` cannot be read.
pub fn open(input: &Input<'_>) -> anyhow::Result<Opened> {
    let about: About =
        files::json(&input.file(ENCODER)?).with_context(|| format!("cannot read the encoder of `{}`", input.instance))?;
    let tokenizer = match about.reads {
        Reading::Texts { .. } => input.file(TOKENIZER)?,
        // There is none, and nobody asks for it.
        Reading::Images { .. } => TOKENIZER.into(),
    };
    Ok(Opened { files: TransformerFiles { config: input.file(CONFIG)?, weights: input.file(WEIGHTS)?, tokenizer }, about })
}

/// An encoder's layers above its embeddings, and what a head reads of the last.
///
/// # Errors
/// As [`open`], and where weights cannot be read.
pub fn upper(input: &Input<'_>) -> anyhow::Result<TeacherUpper> {
    let Opened { about, files } = open(input)?;
    Ok(TeacherUpper::encoder(TransformerUpper::open(&files, 0)?, about.pooling))
}
