//! `dataset`: ratings, or examples with classes, as Parquet: from a published data set by name, from the user's own files, or generated.

use std::ops::ControlFlow;

use anyhow::Context;
use talkflow_datasets::{
    cards::{self, CARDS, Card, Kind, Rows},
    download::{FetchError, Network},
    examples::{self as classes, Content, Subset},
    locate::{self, Found, Places as Folders, fetch, locate_local},
    prepare::{Source, prepare},
    split::Part,
};

use super::settings::LARGEST;
use crate::{
    fields::Fields,
    stage::{Device, Located, Outside, Places, Stage, StageCx, Talk},
};

mod examples;
mod ratings;

/// Its settings.
#[derive(Clone, Debug)]
pub struct Dataset {
    from: From,
    /// Which rows of examples are kept, where not all are.
    subset: Option<Subset>,
}

#[derive(Clone, Debug)]
enum From {
    /// A published data set, and what to use where it cannot be reached.
    Card { card: &'static Card, otherwise: Option<&'static str> },
    /// Ratings: generated, or the user's own files.
    Ratings(Source),
    /// Examples: generated, or the user's own files.
    Examples(classes::Source),
}

/// Reads them.
pub fn read(f: &mut Fields<'_>) -> Dataset {
    let from = if f.has("file") {
        From::Ratings(Source::Own(ratings::own(f)))
    } else if f.has("texts") {
        From::Examples(classes::Source::Texts(examples::texts(f)))
    } else if f.has("images") {
        From::Examples(classes::Source::Folders(examples::images(f)))
    } else {
        named(f)
    };
    let of_classes = match &from {
        From::Card { card, .. } => card.content().is_some(),
        From::Ratings(_) => false,
        From::Examples(_) => true,
    };
    let subset = if of_classes { examples::subset(f) } else { None };
    Dataset { from, subset }
}

/// A data set that has a card.
fn named(f: &mut Fields<'_>) -> From {
    let names: Vec<&'static str> = CARDS.iter().map(|card| card.name).collect();
    let name = f.word("name", &names, None);
    let card = CARDS.iter().find(|card| card.name == name).unwrap_or(&CARDS[0]);
    match (&card.kind, card.content()) {
        (Kind::Synthetic, None) => return From::Ratings(Source::Synthetic(ratings::synthetic(f))),
        (Kind::Synthetic, Some(content)) => {
            return From::Examples(classes::Source::Synthetic(examples::synthetic(f, content)));
        }
        (Kind::Archive(_) | Kind::Parts(_), _) => {}
    }
    let otherwise = f.optional_word("otherwise", &names);
    let otherwise = otherwise.and_then(|name| CARDS.iter().find(|card| card.name == name));
    if let Some(other) = otherwise.filter(|other| f.sound() && other.content() != card.content()) {
        let noun = |card: &Card| card.content().map_or("ratings", Content::noun);
        let message =
            format!("{} cannot stand in for {}: it holds {}, not such {}", other.name, card.name, noun(other), noun(card));
        let like = CARDS.iter().filter(|other| other.content() == card.content() && other.name != card.name);
        let like = like.map(|card| format!("`{}`", card.name)).collect::<Vec<_>>().join(", ");
        f.mistake("otherwise", message, Some(&format!("what can: {like}")));
    }
    From::Card { card, otherwise: otherwise.map(|card| card.name) }
}

impl Dataset {
    /// The card of a data set that has one; a stand-in is not looked at.
    pub(super) fn card(&self) -> Option<&'static Card> {
        match &self.from {
            From::Card { card, .. } => Some(card),
            From::Ratings(Source::Synthetic(_)) => cards::find("movielens/synthetic").ok(),
            From::Ratings(_) | From::Examples(_) => None,
        }
    }

    /// What an example is; `None` where rows are ratings.
    pub(super) fn content(&self) -> Option<Content> {
        match &self.from {
            From::Card { card, .. } => card.content(),
            From::Ratings(_) => None,
            From::Examples(classes::Source::Card(found)) => found.card.content(),
            From::Examples(classes::Source::Texts(_)) => Some(Content::Texts),
            From::Examples(classes::Source::Folders(own)) => Some(Content::Images(own.shape)),
            From::Examples(classes::Source::Synthetic(spec)) => Some(spec.content),
        }
    }

    /// The parts that examples come with; none where they come without.
    pub(super) fn parts(&self) -> Vec<Part> {
        let of_card = |card: &Card| match card.rows {
            Rows::Examples { counts, .. } => {
                let counts = [counts.train, counts.validation, counts.test];
                Part::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).map(|(part, _)| part).collect()
            }
            Rows::Ratings { .. } => Vec::new(),
        };
        match &self.from {
            From::Card { card, .. } => of_card(card),
            From::Ratings(_) => Vec::new(),
            From::Examples(classes::Source::Card(found)) => of_card(found.card),
            From::Examples(classes::Source::Texts(own)) => own.files.iter().filter_map(|(part, _)| *part).collect(),
            From::Examples(classes::Source::Folders(own)) => own.images.iter().filter_map(|(part, _)| *part).collect(),
            From::Examples(classes::Source::Synthetic(_)) => vec![Part::Train, Part::Test],
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
        matches!(self.from, From::Card { .. })
    }

    fn locate(&self, places: &Places) -> anyhow::Result<Located> {
        let From::Card { card, otherwise } = self.from else { return Ok(Located::Here(Outside::default())) };
        let name = card.name;
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
        let From::Card { card, otherwise } = self.from else { return Ok(Outside::default()) };
        let name = card.name;
        match fetch(card, &theirs(places), &network(places), &mut progress(talk)) {
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
        match &self.from {
            From::Ratings(source) => write_ratings(source, cx),
            From::Examples(source) => self.write_examples(source, cx),
            From::Card { .. } => {
                let used = cx.outside.facts.iter().find(|(what, _)| what == USED).map(|(_, name)| name.as_str());
                let card = cards::find(used.context("no data set was located")?)?;
                let found = locate_local(card, &theirs(cx.places));
                let found = found.with_context(|| format!("{} has gone since it was found", card.name))?;
                locate::verify(&found, &mut progress(&cx.talk))?;
                match card.content() {
                    Some(_) => self.write_examples(&classes::Source::Card(found), cx),
                    None => write_ratings(&Source::Card(found), cx),
                }
            }
        }
    }
}

fn write_ratings(source: &Source, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
    let summary = prepare(source, cx.out, &mut progress(&cx.talk))?;
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

impl Dataset {
    fn write_examples(&self, source: &classes::Source, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let summary = classes::make(source, self.subset.as_ref(), cx.out, &mut progress(&cx.talk))?;
        cx.metric("examples", summary.rows);
        cx.metric("classes", summary.classes.len());
        let fewest = summary.classes.iter().map(|class| class.rows).min();
        cx.metric("fewest_of_a_class", fewest.unwrap_or_default());
        if let Some(kept) = summary.subset.filter(|kept| !kept.short.is_empty()) {
            let some: Vec<&str> = kept.short.iter().take(8).map(String::as_str).collect();
            let more = if kept.short.len() > some.len() { " and others" } else { "" };
            cx.note(format!(
                "{} of {} classes have fewer rows in some part than were asked for, and keep all: {}{more}",
                kept.short.len(),
                summary.classes.len(),
                some.join(", ")
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
