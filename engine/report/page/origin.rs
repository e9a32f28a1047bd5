//! Where everything on a page comes from: the run, the machine, the versions, the data.

use std::collections::BTreeSet;

use serde::Serialize;

use super::stages::Known;
use crate::{
    artifact::ArtifactKind,
    event::{Event, Timed},
    history::{About, Run},
    key::Label,
    time,
};

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Ran {
    /// What is kept of it.
    pub about: About,
    /// How it ended, in a word.
    pub outcome: &'static str,
    /// When it began, for people.
    pub began: String,
    /// Wall seconds it took, or took so far.
    pub seconds: Option<f64>,
    /// The runs in which results were made.
    pub made_in: Vec<String>,
    /// The versions of talkflow that made them.
    pub made_by: Vec<String>,
}

/// A data set, or a split of one.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// The instance.
    pub name: String,
    /// What it is.
    pub what: &'static str,
    /// The digest of its contents.
    pub digest: String,
    /// Sources and what they were found to be, by name.
    pub sources: Vec<(String, String)>,
    /// What has to be said with it.
    pub notes: Vec<String>,
}

impl Ran {
    /// Of a run.
    pub fn of(run: &Run, about: About, known: &Known, events: &[Timed]) -> Self {
        let made = || known.records.iter().flatten().map(|record| &record.provenance);
        let runs: BTreeSet<&str> = made().map(|made| made.run.as_str()).collect();
        let versions: BTreeSet<&str> = made().map(|made| made.talkflow.as_str()).collect();
        let owned = |all: BTreeSet<&str>| all.into_iter().map(str::to_owned).collect();
        let finished = events.iter().rev().find_map(|timed| match timed.event {
            Event::RunFinished { seconds, .. } => Some(seconds),
            _ => None,
        });
        Self {
            outcome: run.outcome(Some(&about)),
            began: time::read(about.started as u64),
            seconds: finished.or(events.last().map(|timed| timed.at)),
            made_in: owned(runs),
            made_by: owned(versions),
            about,
        }
    }
}

/// The most sources of a data set that are shown: a folder of images may have very many.
const MOST_SOURCES: usize = 100;

/// The data sets and splits of a run.
pub fn data(known: &Known) -> Vec<Data> {
    let of = |(place, record): (usize, &Option<crate::store::Record>)| {
        let (record, kind) = (record.as_ref()?, known.makes(place)?);
        let sources = record.fingerprint.lines().iter().filter_map(|(label, value)| match label {
            Label::Fact(what) => Some((what.clone(), value.clone())),
            Label::File(role) => Some((format!("file {role}"), value.clone())),
            _ => None,
        });
        matches!(kind, ArtifactKind::Data | ArtifactKind::Split).then(|| {
            let mut sources: Vec<(String, String)> = sources.collect();
            let mut notes = record.notes.clone();
            if sources.len() > MOST_SOURCES {
                notes.push(format!(
                    "{} further sources are not on this page: `talkflow why` lists them.",
                    sources.len() - MOST_SOURCES
                ));
                sources.truncate(MOST_SOURCES);
            }
            let (name, digest) = (known.instances[place].name.clone(), record.files.digest().to_string());
            Data { name, what: kind.noun(), digest, sources, notes }
        })
    };
    known.records.iter().enumerate().filter_map(of).collect()
}
