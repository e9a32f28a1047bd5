//! `talkflow plan` and `talkflow why`: the walk a run would take, without running.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::{Answer, Common, Failure, ManifestArgs, Selection, answer, load};
use crate::{
    exec::{Standing, Walk},
    key::{Change, Fingerprint, Stale},
    plan::Plan,
    stage::Stage,
    stages::dataset::STAND_IN,
    store::{Lookup, StoreError},
};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    selection: Selection,
    /// Exit with 10 where something would run.
    #[arg(long)]
    exit_code: bool,
}

/// Arguments of `why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    selection: WhySelection,
}

#[derive(Clone, Debug, Args)]
struct WhySelection {
    /// The stage, or one instance of it: `student[genre=Western,method=talk]`.
    #[arg(value_name = "STAGE")]
    stage: String,
    /// Where it would train.
    #[arg(long, default_value = "cpu", value_parser = super::devices())]
    device: crate::stage::Device,
}

#[derive(Serialize)]
struct Planned {
    name: String,
    state: &'static str,
    reason: Option<String>,
    key: Option<String>,
    notes: Vec<String>,
}

/// Shows what would run.
pub fn plan(args: &PlanArgs, common: &Common) -> Answer {
    let manifest = load::load(&args.manifest, common)?;
    let options = load::options(&manifest, &args.selection, common, None, false)?;
    let store = common.open_store()?;
    let (latest, files) = (store.latest(&manifest.name)?, store.outside_files(options.paranoid));
    let walk = Walk { plan: &manifest, store: &store, latest: &latest, files: &files, device: options.device };
    let standings = walk.survey(&options.wanted, &options.forced, &options.places)?;
    let _ = store.remember(&files);
    let planned: Vec<Planned> =
        standings.iter().map(|(index, standing)| planned(&walk, *index, standing)).collect::<Result<_, _>>()?;
    let count = |state| planned.iter().filter(|p| p.state == state).count();
    let (fresh, run, unknown, blocked) = (count("cached"), count("run"), count("unknown"), count("blocked"));
    let document = serde_json::json!({
        "ok": blocked == 0, "manifest": manifest.name, "run": run, "unknown": unknown, "cached": fresh, "blocked": blocked,
        "stages": planned,
    });
    answer(common, &document, || {
        let line = |p: &Planned| {
            let reason = p.reason.as_ref().map_or(String::new(), |reason| format!("  ({reason})"));
            let notes: String = p.notes.iter().map(|note| format!("{:>8}  {note}\n", "")).collect();
            format!("{:>8}  {}{reason}\n{notes}", p.state, p.name)
        };
        let unknown = if unknown > 0 { format!(", {unknown} depend on those") } else { String::new() };
        let blocked = if blocked > 0 { format!(", {blocked} cannot run") } else { String::new() };
        planned.iter().map(line).collect::<String>() + &format!("{run} to run{unknown}{blocked}, {fresh} cached\n")
    })?;
    match (blocked > 0, args.exit_code && run + unknown > 0) {
        (true, _) => Err(Failure::Told),
        (false, true) => Err(Failure::Work),
        (false, false) => Ok(()),
    }
}

fn planned<S: Stage>(walk: &Walk<'_, S>, index: usize, standing: &Standing) -> Result<Planned, StoreError> {
    let none = || Vec::new();
    let instance = &walk.plan.instances[index];
    let (state, reason, key, notes) = match standing {
        Standing::Fresh(record) => {
            // Of what is kept with a result, a plan says only that it is about other data than wanted.
            let loud = record.notes.iter().filter(|note| note.starts_with(STAND_IN)).cloned().collect();
            let back = walk.back(instance, record)?.map(|back| format!("an earlier result: {}", back.brief()));
            ("cached", back, Some(record.key), loud)
        }
        Standing::Stale { reason: reason @ Stale::DependsOn(_), .. } => ("unknown", Some(reason.to_string()), None, none()),
        Standing::Stale { fingerprint, reason, notes } => {
            ("run", Some(reason.to_string()), fingerprint.as_ref().map(Fingerprint::key), notes.clone())
        }
        Standing::Blocked(why) => ("blocked", Some(why.clone()), None, none()),
    };
    Ok(Planned { name: instance.name.clone(), state, reason, key: key.map(|key| key.to_string()), notes })
}

#[derive(Serialize)]
struct Explained {
    name: String,
    state: &'static str,
    reason: String,
    key: Option<String>,
    last_key: Option<String>,
    changes: Vec<Change>,
    first_cause: Option<String>,
    fingerprint: BTreeMap<String, String>,
}

/// Explains a stage's key.
pub fn why(args: &WhyArgs, common: &Common) -> Answer {
    let manifest = load::load(&args.manifest, common)?;
    let selection = Selection {
        stages: vec![args.selection.stage.clone()],
        force: Vec::new(),
        device: args.selection.device,
        paranoid: false,
    };
    let options = load::options(&manifest, &selection, common, None, false)?;
    let store = common.open_store()?;
    let (latest, files) = (store.latest(&manifest.name)?, store.outside_files(false));
    let walk = Walk { plan: &manifest, store: &store, latest: &latest, files: &files, device: options.device };
    let standings = walk.survey(&options.wanted, &options.forced, &options.places)?;
    let asked = load::marked(&manifest, &selection.stages)?;
    let mut explained = Vec::new();
    for (index, standing) in standings.iter().filter(|(index, _)| asked[**index]) {
        let name = &manifest.instances[*index].name;
        let p = planned(&walk, *index, standing)?;
        let last = latest.get(name);
        let fingerprint = match standing {
            Standing::Fresh(record) => Some(record.fingerprint.clone()),
            Standing::Stale { fingerprint, .. } => fingerprint.clone(),
            Standing::Blocked(_) => None,
        };
        // Compared with the last result also where the key is one of an older result: going back is a change too.
        let changes = match (last, &fingerprint) {
            (Some(last), Some(now)) => match store.lookup(last)? {
                Lookup::Found(record) => now.changes_since(&record.fingerprint),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        explained.push(Explained {
            state: p.state,
            reason: p.reason.unwrap_or_else(|| "its result is in the store under this key".to_owned()),
            key: p.key,
            last_key: last.map(ToString::to_string),
            changes,
            first_cause: first_cause(&manifest, *index, &standings),
            fingerprint: fingerprint
                .iter()
                .flat_map(|f| f.lines())
                .map(|(label, value)| (label.to_string(), value.clone()))
                .collect(),
            name: p.name,
        });
    }
    answer(common, &explained, || explained.iter().map(render).collect())
}

/// Where the reason lies upstream: the first stage, in the plan's order, that has to run for a reason of its own.
fn first_cause<S>(plan: &Plan<S>, index: usize, standings: &BTreeMap<usize, Standing>) -> Option<String> {
    let Some(Standing::Stale { reason: Stale::DependsOn(_), .. }) = standings.get(&index) else { return None };
    let mut seen = std::collections::BTreeSet::new();
    let mut left = vec![index];
    while let Some(index) = left.pop() {
        left.extend(plan.instances[index].inputs.iter().flat_map(|input| &input.from).filter(|from| seen.insert(**from)));
    }
    seen.into_iter().find_map(|from| match standings.get(&from)? {
        Standing::Fresh(_) | Standing::Stale { reason: Stale::DependsOn(_), .. } => None,
        Standing::Stale { reason, .. } => Some(format!("`{}`: {reason}", plan.instances[from].name)),
        Standing::Blocked(why) => Some(format!("`{}`: {why}", plan.instances[from].name)),
    })
}

fn render(e: &Explained) -> String {
    let mut text = format!("{}: {}, {}\n", e.name, e.state, e.reason);
    if let Some(cause) = &e.first_cause {
        text += &format!("  first cause: {cause}\n");
    }
    if let Some(key) = &e.key {
        text += &format!("  key: {key}\n");
    }
    match (&e.last_key, e.changes.as_slice()) {
        (None, _) => text += "  no result of it is known\n",
        (Some(last), []) if Some(last) == e.key.as_ref() => text += "  the same as its last result\n",
        (Some(last), changes) => {
            text += &format!("  last: {last}\n");
            changes.iter().for_each(|change| text += &format!("  {change}\n"));
        }
    }
    for (label, value) in &e.fingerprint {
        text += &format!("    {label} = {value}\n");
    }
    text
}
