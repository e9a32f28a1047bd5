//! `dataset`: ratings as Parquet, from a published data set by name, from the user's own files, or generated.

use std::{ops::ControlFlow, path::PathBuf};

use anyhow::Context;
use talkflow_datasets::{
    ColumnNames,
    cards::{self, Card, Kind, Scale},
    download::{FetchError, Network},
    locate::{self, Found, Places as Folders, fetch, locate_local},
    prepare::{OwnFiles, OwnFormat, OwnItems, Source, prepare},
    synthetic::Synthetic,
};

use super::{settings::LARGEST, split::columns};
use crate::{
    fields::{Choice, Fields},
    stage::{Device, Located, Outside, Places, Stage, StageCx, Talk},
};

/// Its settings.
#[derive(Clone, Debug)]
pub struct Dataset(From);

#[derive(Clone, Debug)]
enum From {
    /// A published data set, and what to use where it cannot be reached.
    Card { name: &'static str, otherwise: Option<&'static str> },
    /// The generator.
    Synthetic(Synthetic),
    /// The user's own files.
    Own(Box<OwnFiles>),
}

/// The data set that is generated.
const SYNTHETIC: &str = "movielens/synthetic";

/// How a file of the user's is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormatWord {
    Csv,
    Tsv,
    Atomic,
    Parquet,
}

impl Choice for FormatWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("csv", Self::Csv), ("tsv", Self::Tsv), ("atomic", Self::Atomic), ("parquet", Self::Parquet)];
}

impl FormatWord {
    fn format(self) -> OwnFormat {
        match self {
            Self::Csv => OwnFormat::Csv { separator: b',' },
            Self::Tsv => OwnFormat::Csv { separator: b'\t' },
            Self::Atomic => OwnFormat::Atomic,
            Self::Parquet => OwnFormat::Parquet,
        }
    }

    /// What a file's name says.
    fn of(path: &std::path::Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Self::Parquet,
            Some("inter" | "item") => Self::Atomic,
            Some("tsv" | "tab") => Self::Tsv,
            _ => Self::Csv,
        }
    }
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Dataset {
    if f.has("file") {
        return Dataset(From::Own(Box::new(own(f))));
    }
    let names: Vec<&'static str> = cards::CARDS.iter().map(|card| card.name).collect();
    let name = f.word("name", &names, None);
    let known = |name: &str| names.iter().copied().find(|known| *known == name).unwrap_or(SYNTHETIC);
    match known(&name) {
        SYNTHETIC => Dataset(From::Synthetic(synthetic(f))),
        name => {
            let otherwise = f.optional_word("otherwise", &names);
            Dataset(From::Card { name, otherwise: otherwise.map(|name| known(&name)) })
        }
    }
}

fn synthetic(f: &mut Fields<'_>) -> Synthetic {
    let d = Synthetic::default();
    let small = |f: &mut Fields<'_>, key: &str, default: u32| {
        u32::try_from(f.int(key, Some(default.into()), 1..=1 << 24)).unwrap_or(default)
    };
    let spec = Synthetic {
        users: small(f, "users", d.users),
        items: small(f, "items", d.items),
        ratings: f.int("ratings", Some(d.ratings), 1..=32_000_000),
        half_stars: f.bool("half_stars", Some(d.half_stars)),
        seed: f.int("seed", Some(d.seed), ..),
    };
    if let (true, Err(error)) = (f.sound(), spec.check()) {
        f.mistake("ratings", error.to_string(), None);
    }
    spec
}

fn own(f: &mut Fields<'_>) -> OwnFiles {
    let ratings = f.file("file").unwrap_or_default();
    let format = f.choice("format", Some(FormatWord::of(&ratings))).format();
    let by_format = if format == OwnFormat::Atomic { ColumnNames::recbole() } else { ColumnNames::default() };
    OwnFiles {
        name: f.text("title", Some("own")),
        columns: f.optional_section("columns", |f| columns(f, &by_format)).unwrap_or(by_format),
        items: f.optional_section("items", items),
        scale: f.optional_section("scale", |f| {
            let min = f.float("min", None, ..);
            let max = f.float("max", None, ..);
            if f.sound() && min >= max {
                f.mistake("max", format!("the scale from {min} to {max} is empty"), Some("`max` has to be above `min`"));
            }
            Scale { min: min as f32, max: max as f32, step: f.optional_float("step", 0.0..).map(|step| step as f32) }
        }),
        licence: f.optional_text("licence"),
        citation: f.optional_text("citation"),
        ratings,
        format,
    }
}

fn items(f: &mut Fields<'_>) -> OwnItems {
    let path: PathBuf = f.file("file").unwrap_or_default();
    OwnItems {
        format: f.choice("format", Some(FormatWord::of(&path))).format(),
        id: f.text("id", Some("item")),
        title: f.optional_text("title"),
        genres: f.optional_text("genres"),
        between: f.text("between", Some("|")),
        path,
    }
}

impl Dataset {
    /// The card of a data set that has one; a stand-in is not looked at.
    pub(super) fn card(&self) -> Option<&'static Card> {
        match self.0 {
            From::Card { name, .. } => cards::find(name).ok(),
            From::Synthetic(_) => cards::find(SYNTHETIC).ok(),
            From::Own(_) => None,
        }
    }
}

impl Stage for Dataset {
    fn kind(&self) -> &'static str {
        "dataset"
    }

    fn version(&self) -> u32 {
        2
    }

    fn backend(&self, _device: Device) -> Option<String> {
        None
    }

    fn cores(&self) -> usize {
        // Text is parsed in parallel; as many as there are.
        LARGEST
    }

    fn reads_outside(&self) -> bool {
        matches!(self.0, From::Card { .. })
    }

    fn locate(&self, places: &Places) -> anyhow::Result<Located> {
        let From::Card { name, otherwise } = self.0 else { return Ok(Located::Here(Outside::default())) };
        let card = cards::find(name)?;
        if let Some(found) = locate_local(card, &theirs(places)) {
            return Ok(Located::Here(here(&found)));
        }
        match (places.offline, otherwise) {
            (false, _) => Ok(Located::Elsewhere(name.to_owned())),
            (true, Some(stand_in)) => instead(name, stand_in, "it is not here and --offline forbids the network", places),
            (true, None) => anyhow::bail!(
                "{name} is not here and --offline forbids the network: point --data (or TALKFLOW_DATA) at a folder that has it, or name a stand-in with `otherwise`"
            ),
        }
    }

    fn fetch(&self, places: &Places, talk: &Talk<'_>) -> anyhow::Result<Outside> {
        let From::Card { name, otherwise } = self.0 else { return Ok(Outside::default()) };
        match fetch(cards::find(name)?, &theirs(places), &network(places), &mut progress(talk)) {
            Ok(found) => Ok(here(&found)),
            // Only where it cannot be reached: wrong contents are never papered over.
            Err(error @ FetchError::Unreachable { .. }) => match otherwise {
                Some(stand_in) => match instead(name, stand_in, &error.to_string(), places)? {
                    Located::Here(outside) => Ok(outside),
                    Located::Elsewhere(_) => Err(error).with_context(|| format!("nor is its stand-in {stand_in} here")),
                },
                None => Err(error).with_context(|| format!("cannot get {name}")),
            },
            Err(error) => Err(error).with_context(|| format!("cannot get {name}")),
        }
    }

    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let source = match &self.0 {
            From::Synthetic(spec) => Source::Synthetic(*spec),
            From::Own(own) => Source::Own((**own).clone()),
            From::Card { .. } => {
                let used = cx.outside.facts.iter().find(|(what, _)| what == USED).map(|(_, name)| name.as_str());
                let card = cards::find(used.context("no data set was located")?)?;
                match card.kind {
                    Kind::Synthetic => Source::Synthetic(Synthetic::default()),
                    Kind::Archive(_) => {
                        let found = locate_local(card, &theirs(cx.places));
                        let found = found.with_context(|| format!("{} has gone since it was found", card.name))?;
                        locate::verify(&found, &mut progress(&cx.talk))?;
                        Source::Card(found)
                    }
                }
            }
        };
        let summary = prepare(&source, cx.out, &mut progress(&cx.talk))?;
        cx.metric("ratings", summary.ratings);
        cx.metric("users", summary.users);
        cx.metric("items", summary.items);
        if summary.items_without_details > 0 {
            cx.note(format!(
                "{} of {} items are not in the list of items: they have no title and no genre",
                summary.items_without_details, summary.items
            ));
        }
        Ok(())
    }
}

/// The fact that says which data set is used.
const USED: &str = "data set";

fn theirs(places: &Places) -> Folders {
    Folders { data: places.data.clone(), cache: places.cache.clone() }
}

fn network(places: &Places) -> Network {
    Network { offline: places.offline, ..Network::default() }
}

fn here(found: &Found) -> Outside {
    let file = |path: &std::path::Path| {
        let role = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        (role, path.to_owned())
    };
    Outside {
        files: found.paths().into_iter().map(file).collect(),
        facts: vec![(USED.to_owned(), found.card.name.to_owned())],
        notes: vec![format!("{} from {}", found.card.name, found.origin)],
    }
}

/// How the note begins that says that the numbers are about other data than wanted.
pub const STAND_IN: &str = "STAND-IN";

/// The stand-in, loudly.
fn instead(wanted: &str, stand_in: &'static str, why: &str, places: &Places) -> anyhow::Result<Located> {
    let card: &'static Card = cards::find(stand_in)?;
    let Some(found) = locate_local(card, &theirs(places)) else {
        return Ok(Located::Elsewhere(stand_in.to_owned()));
    };
    let mut outside = here(&found);
    outside.notes = vec![format!(
        "{STAND_IN}: {wanted} could not be had ({why}); every number below is about {stand_in}, not about {wanted}"
    )];
    Ok(Located::Here(outside))
}

fn progress<'a>(talk: &'a Talk<'_>) -> impl FnMut(&str, u64, Option<u64>) -> ControlFlow<()> + 'a {
    |what, done, total| {
        talk.progress(done, total, what);
        if talk.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
