//! `talkflow plan`: the walk a run would take, without running.

use clap::Args;
use serde::Serialize;

use super::{Answer, Common, Failure, ManifestArgs, Selection, answer, limits::LimitArgs, load};
use crate::{
    exec::{Origins, Standing, Walk},
    key::{Fingerprint, Stale},
    stage::Stage,
    stages::dataset::STAND_IN,
    store::StoreError,
};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    limits: LimitArgs,
    /// Exit with 10 where something would run.
    #[arg(long)]
    exit_code: bool,
}

#[derive(Serialize)]
pub struct Planned {
    pub name: String,
    pub state: &'static str,
    pub reason: Option<String>,
    pub key: Option<String>,
    pub notes: Vec<String>,
}

/// Shows what would run.
pub fn plan(args: &PlanArgs, common: &Common) -> Answer {
    let manifest = load::load(&args.manifest, common)?;
    let options = load::options(&manifest, &args.selection, common, &args.limits, false)?;
    let store = common.open_store()?;
    let (latest, files) = (store.latest(&manifest.name)?, store.outside_files(options.paranoid));
    let walk = Walk { plan: &manifest, store: &store, latest: &latest, files: &files, device: options.device };
    let standings = walk.survey(&options.wanted, &options.forced, &options.places)?;
    let _ = store.remember(&files);
    let mut origins = Origins::new(manifest.instances.len());
    let planned: Vec<Planned> =
        (standings.iter()).map(|(index, standing)| planned(&walk, &mut origins, *index, standing)).collect::<Result<_, _>>()?;
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

/// Where an instance stands, in words. Asked in the plan's order, since `origins` learns of the stages before.
pub fn planned<S: Stage>(
    walk: &Walk<'_, S>,
    origins: &mut Origins,
    index: usize,
    standing: &Standing,
) -> Result<Planned, StoreError> {
    let none = || Vec::new();
    let instance = &walk.plan.instances[index];
    let (state, reason, key, notes) = match standing {
        Standing::Fresh(record) => {
            // Of what is kept with a result, a plan says only that it is about other data than wanted.
            let loud = record.notes.iter().filter(|note| note.starts_with(STAND_IN)).cloned().collect();
            let back = walk.back(instance, record)?.map(|back| origins.trace(index, instance, back));
            ("cached", back.map(|back| format!("an earlier result: {}", back.brief())), Some(record.key), loud)
        }
        Standing::Stale { reason: reason @ Stale::DependsOn(_), .. } => ("unknown", Some(reason.to_string()), None, none()),
        Standing::Stale { fingerprint, reason, notes } => {
            let reason = origins.trace(index, instance, reason.clone());
            ("run", Some(reason.brief()), fingerprint.as_ref().map(Fingerprint::key), notes.clone())
        }
        Standing::Blocked(why) => ("blocked", Some(why.clone()), None, none()),
    };
    Ok(Planned { name: instance.name.clone(), state, reason, key: key.map(|key| key.to_string()), notes })
}
