//! `talkflow data`: the data sets known by name, what is here of them, getting one, checking sums.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use talkflow_datasets::{
    cards::{self, Card, Counts, Rows},
    download::{FetchError, Network},
    examples,
    locate::{self, Places, locate_local},
    prepare::{Source, prepare},
    split::PartCounts,
};

use super::{Answer, Common, Failure, answer, store::bytes};
use crate::report::terminal::Line;

/// The commands on data sets.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// List the data sets known by name, and which are here.
    Ls,
    /// Download a data set into the cache, checking its sum; with -o also write it as Parquet.
    Get {
        /// Its name, such as `movielens/100k`.
        name: String,
        /// Also prepare it as Parquet in this folder, which has to be empty or new.
        #[arg(short = 'o', long = "output", value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Compare the archives that are here with their published sums.
    Verify {
        /// Only this data set.
        name: Option<String>,
    },
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    title: &'static str,
    #[serde(flatten)]
    rows: Counted,
    bytes: Option<u64>,
    licence: &'static str,
    here: Option<String>,
}

/// What a publisher counts.
#[derive(Serialize)]
#[serde(untagged)]
enum Counted {
    Ratings { ratings: u64, users: u64, items: u64 },
    Examples { examples: u64, classes: usize, content: &'static str, parts: PartCounts },
}

/// Runs one of them.
pub fn data(command: &DataCommand, common: &Common) -> Answer {
    let places = common.places();
    let places = Places { data: places.data, cache: places.cache };
    match command {
        DataCommand::Ls => ls(&places, common),
        DataCommand::Get { name, output } => get(card(name)?, output.as_deref(), &places, common),
        DataCommand::Verify { name } => {
            let chosen: Vec<&'static Card> = match name {
                Some(name) => vec![card(name)?],
                None => cards::CARDS.iter().collect(),
            };
            verify(&chosen, &places, common)
        }
    }
}

fn card(name: &str) -> Result<&'static Card, Failure> {
    cards::find(name).map_err(|error| Failure::Wrong(error.to_string()))
}

fn ls(places: &Places, common: &Common) -> Answer {
    let listed = cards::CARDS.iter().map(|card| Listed {
        name: card.name,
        title: card.title,
        rows: match card.rows {
            Rows::Ratings { counts: Counts { ratings, users, items }, .. } => Counted::Ratings { ratings, users, items },
            Rows::Examples { content, classes, counts } => Counted::Examples {
                examples: counts.train + counts.validation + counts.test,
                classes: classes.len(),
                content: content.noun(),
                parts: counts,
            },
        },
        // Known only where it is of all files.
        bytes: card.downloads().iter().map(|download| download.bytes).sum::<Option<u64>>().filter(|bytes| *bytes > 0),
        licence: card.licence,
        here: locate_local(card, places).map(|found| found.origin.to_string()),
    });
    let listed: Vec<Listed> = listed.collect();
    answer(common, &listed, || {
        let line = |l: &Listed| {
            let here = l.here.clone().unwrap_or_else(|| format!("not here ({})", l.bytes.map_or("size unknown".into(), bytes)));
            let rows = match &l.rows {
                Counted::Ratings { ratings, users, items } => format!("{ratings:>10} ratings {users:>7} users {items:>6} items"),
                Counted::Examples { examples, classes, content, .. } => {
                    format!("{examples:>10} {content:<7} {classes:>7} classes {:>11}", "")
                }
            };
            format!("{:<24} {rows}  {here}\n", l.name)
        };
        listed.iter().map(line).collect()
    })
}

fn get(card: &'static Card, output: Option<&std::path::Path>, places: &Places, common: &Common) -> Answer {
    let network = Network { offline: common.offline, ..Network::default() };
    let mut progress = Line::default();
    let found = locate::fetch(card, places, &network, &mut |what: &str, done, total| progress.show(what, done, total));
    progress.end();
    let found = found.map_err(|error| match error {
        FetchError::Unreachable { .. } if common.offline => {
            Failure::Failed(format!("{error}: offline; point --data at a folder that has it"))
        }
        error => Failure::Failed(error.to_string()),
    })?;
    let mut prepared = None;
    if let Some(folder) = output {
        super::export::empty_folder(folder)?;
        let mut progress = Line::default();
        let mut show = |what: &str, done, total| progress.show(what, done, total);
        let summary = match card.content() {
            Some(_) => {
                examples::make(&examples::Source::Card(found.clone()), None, folder, &mut show).map(|summary| json!(summary))
            }
            None => prepare(&Source::Card(found.clone()), folder, &mut show).map(|summary| json!(summary)),
        };
        progress.end();
        prepared = Some(summary.map_err(|error| Failure::Failed(error.to_string()))?);
    }
    let document = serde_json::json!({ "ok": true, "name": card.name, "from": found.origin.to_string(), "licence": card.licence, "prepared": prepared });
    answer(common, &document, || {
        let prepared = output.map_or(String::new(), |folder| format!("prepared in {}\n", folder.display()));
        format!("{}: {}\n{prepared}terms: {}\n", card.name, found.origin, card.licence)
    })
}

fn verify(cards: &[&'static Card], places: &Places, common: &Common) -> Answer {
    let mut results = Vec::new();
    let mut bad = false;
    for card in cards {
        let Some(found) = locate_local(card, places) else { continue };
        let (state, detail) = match locate::verify(&found, &mut talkflow_datasets::progress::Silent) {
            Ok(true) => ("whole", found.origin.to_string()),
            Ok(false) => ("no published sum for these files", found.origin.to_string()),
            Err(error) => {
                bad = true;
                ("WRONG", error.to_string())
            }
        };
        results.push(serde_json::json!({ "name": card.name, "state": state, "detail": detail }));
    }
    answer(common, &serde_json::json!({ "ok": !bad, "data": results }), || {
        let text = |r: &serde_json::Value, field: &str| r[field].as_str().unwrap_or_default().to_owned();
        results.iter().map(|r| format!("{:<24} {}: {}\n", text(r, "name"), text(r, "state"), text(r, "detail"))).collect()
    })?;
    if bad { Err(Failure::Told) } else { Ok(()) }
}
