//! What an update of the baseline changes, old and new.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Baseline, KeptSeries, Place,
    compare::{mean, short},
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What changes.
    pub what: String,
    /// What it was; null where it is new.
    pub before: Option<String>,
    /// What it is; null where it is gone.
    pub now: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, before, now } = self;
        match (before, now) {
            (Some(before), Some(now)) => write!(f, "{what}: {before} -> {now}"),
            (None, Some(now)) => write!(f, "{what}: new, {now}"),
            (Some(before), None) => write!(f, "{what}: gone, was {before}"),
            (None, None) => write!(f, "{what}"),
        }
    }
}

/// What is different between a baseline, or none, and the next one.
pub fn changes(before: Option<&Baseline>, now: &Baseline) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |what: String, before: Option<String>, now: Option<String>| {
        if before != now {
            changes.push(Change { what, before, now });
        }
    };
    add("manifest".to_owned(), before.map(|before| before.manifest.clone()), Some(now.manifest.clone()));
    add("talkflow".to_owned(), before.map(|before| before.talkflow.clone()), Some(now.talkflow.clone()));
    let data = |of: Option<&Baseline>| -> BTreeMap<String, String> {
        let all = of.into_iter().flat_map(|of| &of.data);
        all.flat_map(|(stage, data)| data.iter().map(move |(name, digest)| (format!("data of {stage}, {name}"), digest.short())))
            .collect()
    };
    let (old, new) = (data(before), data(Some(now)));
    for what in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        add(what.clone(), old.get(what).cloned(), new.get(what).cloned());
    }
    let gates = |of: Option<&Baseline>| of.map(|of| of.gates.clone()).unwrap_or_default();
    let (old, new) = (gates(before), gates(Some(now)));
    for gate in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(gate), new.get(gate));
        add(format!("gate {gate}"), old.map(|kept| kept.rule.to_string()), new.map(|kept| kept.rule.to_string()));
        let series = |of: Option<&super::Kept>| -> BTreeMap<Place, KeptSeries> {
            of.into_iter().flat_map(|kept| &kept.series).map(|series| (series.place(), series.clone())).collect()
        };
        let (old, new) = (series(old), series(new));
        for place in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (old.get(place), new.get(place));
            if old != new {
                let [was, is] = said(old, new);
                // Where the means agree in what is shown, what changed still has to be seen.
                let same = was == is;
                let of = |text: Option<String>, series: Option<&KeptSeries>| match (text, series) {
                    (Some(text), Some(series)) if same => Some(format!("{text} {:?}", series.values)),
                    (text, _) => text,
                };
                add(format!("{gate}: {place}"), of(was, old), of(is, new));
            }
        }
    }
    changes
}

/// Mean, blocks and direction, each where it has to be said.
fn said(old: Option<&KeptSeries>, new: Option<&KeptSeries>) -> [Option<String>; 2] {
    let both = old.zip(new);
    let blocks = both.is_none_or(|(old, new)| !old.values.keys().eq(new.values.keys()));
    let better = both.is_some_and(|(old, new)| old.better != new.better);
    [old, new].map(|series| {
        let series = series?;
        let mut text = mean(series.values.values()).map_or_else(|| "-".to_owned(), short);
        if blocks {
            let n = series.values.len();
            text += &if n == 1 { " (1 block)".to_owned() } else { format!(" ({n} blocks)") };
        }
        if better {
            text += &format!(", {} is better", series.better.word());
        }
        Some(text)
    })
}
