//! `talkflow diff A B`: what two runs had different: parameters, stages' keys, metrics, and where and by what they ran.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Answer, Common, Failure, answer};
use crate::{
    history::{self, Lineage, Run, Seen},
    key::{ActionKey, Change, Stale},
    store::{Lookup, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The earlier run: its name or the beginning of it, `last`, `last~1`.
    #[arg(value_name = "RUN", default_value = "last~1")]
    before: String,
    /// The later run.
    #[arg(value_name = "RUN", default_value = "last")]
    after: String,
}

#[derive(Serialize)]
struct Difference {
    before: String,
    after: String,
    params: Vec<Two>,
    stages: Vec<Stage>,
    metrics: Vec<Metric>,
    circumstances: Vec<Two>,
}

/// Something with another value; null where one has none.
#[derive(Serialize)]
struct Two {
    what: String,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Stage {
    stage: String,
    before: Option<ActionKey>,
    after: Option<ActionKey>,
    /// What differs in its key, where the store still has both results.
    changes: Option<Vec<Change>>,
    reason: String,
}

#[derive(Serialize)]
struct Metric {
    stage: String,
    metric: String,
    before: Value,
    after: Value,
    difference: Option<f64>,
}

/// Compares them.
pub fn diff(args: &DiffArgs, common: &Common) -> Answer {
    let store = common.existing_store()?;
    let runs = history::runs(&store)?;
    let find = |name: &str| history::find(&runs, name).map_err(Failure::Wrong);
    let (before, after) = (find(&args.before)?, find(&args.after)?);
    let difference = difference(&store, &before, &after)?;
    answer(common, &difference, || render(&difference))
}

fn difference(store: &Store, before: &Run, after: &Run) -> Result<Difference, Failure> {
    let stages =
        |run: &Run| -> BTreeMap<String, Seen> { run.stages().into_iter().map(|seen| (seen.stage.clone(), seen)).collect() };
    let (old, new) = (stages(before), stages(after));
    let lineage = Lineage::of(store)?;
    let mut differing = Vec::new();
    let mut metrics = Vec::new();
    for name in names(&old, &new) {
        let (a, b) = (old.get(name), new.get(name));
        let (before, after) = (a.and_then(|seen| seen.key), b.and_then(|seen| seen.key));
        if before == after && a.is_some() == b.is_some() {
            continue;
        }
        let (changes, reason) = match (before, after) {
            (Some(before), Some(after)) => match (store.lookup(&before)?, store.lookup(&after)?) {
                (Lookup::Found(before), Lookup::Found(after)) => {
                    let changes = after.fingerprint.changes_since(&before.fingerprint);
                    let reason = lineage.explain(Stale::Changed(changes.clone())).to_string();
                    (Some(changes), reason)
                }
                _ => (None, "another key; the store does not hold both results any more".to_owned()),
            },
            (None, Some(_)) => (None, said("before", a)),
            (Some(_), None) => (None, said("after", b)),
            (None, None) => (None, if a.is_none() { said("before", a) } else { said("after", b) }),
        };
        differing.push(Stage { stage: name.clone(), before, after, changes, reason });
        let empty = serde_json::Map::new();
        // What has parts, such as the ranking of a search, is for `show`.
        let plain = |value: &Value| !(value.is_array() || value.is_object());
        let of = |seen: Option<&Seen>| {
            let mut metrics = seen.map_or(empty.clone(), |seen| seen.metrics.clone());
            metrics.retain(|_, value| plain(value));
            metrics
        };
        let (a, b) = (of(a), of(b));
        let all = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
        metrics.extend(all.filter(|metric| a.get(*metric) != b.get(*metric)).map(|metric| {
            let get = |map: &serde_json::Map<String, Value>| map.get(metric).cloned().unwrap_or(Value::Null);
            let (before, after) = (get(&a), get(&b));
            let difference = after.as_f64().zip(before.as_f64()).map(|(after, before)| after - before);
            Metric { stage: name.clone(), metric: metric.clone(), before, after, difference }
        }));
    }
    let (params_before, params_after) = (before.params(), after.params());
    Ok(Difference {
        before: before.id.clone(),
        after: after.id.clone(),
        params: twos(&params_before, &params_after),
        stages: differing,
        metrics,
        circumstances: twos(&circumstances(before), &circumstances(after)),
    })
}

/// Why a stage has no result in one of the runs.
fn said(which: &str, seen: Option<&Seen>) -> String {
    match seen {
        None => format!("not in the run {which}"),
        Some(seen) => format!("{} in the run {which}", seen.state.word()),
    }
}

fn names<'a, T>(old: &'a BTreeMap<String, T>, new: &'a BTreeMap<String, T>) -> impl Iterator<Item = &'a String> {
    let all: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    all.into_iter()
}

fn twos(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Two> {
    let differing = names(old, new).filter(|name| old.get(*name) != new.get(*name));
    differing.map(|name| Two { what: name.clone(), before: old.get(name).cloned(), after: new.get(name).cloned() }).collect()
}

/// Versions, host, device and revision.
fn circumstances(run: &Run) -> BTreeMap<String, String> {
    let Some(about) = run.about() else { return BTreeMap::new() };
    let mut all = BTreeMap::from([
        ("manifest".to_owned(), about.manifest.name),
        ("manifest file".to_owned(), about.manifest.path.display().to_string()),
        ("talkflow".to_owned(), about.talkflow),
        ("store format".to_owned(), about.formats.store),
        ("host".to_owned(), about.host.name),
        ("system".to_owned(), about.host.system),
        ("device".to_owned(), about.device),
        ("cores".to_owned(), about.cores.to_string()),
    ]);
    all.extend(about.host.cpu.map(|cpu| ("cpu".to_owned(), cpu)));
    if let Some(git) = about.git {
        all.insert("git revision".to_owned(), git.revision);
        all.insert("git dirty".to_owned(), git.dirty.to_string());
    }
    all
}

fn render(d: &Difference) -> String {
    let mut text = format!("{} -> {}\n", d.before, d.after);
    let two = |two: &Two| {
        let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        format!("  {}: {} -> {}\n", two.what, or(&two.before), or(&two.after))
    };
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("{title}\n{}", lines.concat());
        }
    };
    part("parameters", d.params.iter().map(two).collect());
    part("stages", d.stages.iter().map(|stage| format!("  {}: {}\n", stage.stage, stage.reason)).collect());
    part(
        "metrics",
        d.metrics
            .iter()
            .map(|m| {
                let whole = m.before.is_i64() && m.after.is_i64();
                let difference = m.difference.map_or(String::new(), |by| match whole {
                    true => format!("  ({by:+})"),
                    false => format!("  ({by:+.4})"),
                });
                format!("  {} {}: {} -> {}{difference}\n", m.stage, m.metric, super::number(&m.before), super::number(&m.after))
            })
            .collect(),
    );
    part("circumstances", d.circumstances.iter().map(two).collect());
    if d.params.is_empty() && d.stages.is_empty() && d.circumstances.is_empty() {
        text += "no difference\n";
    }
    text
}
