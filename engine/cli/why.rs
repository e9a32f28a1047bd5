//! `talkflow why`: each part of a stage's key that differs, old and new, and the first cause where it lies in a stage before. Of a
//! manifest: why the stage would run now. Of the runs that are kept: why it ran.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use clap::Args;
use serde::Serialize;

use super::{Answer, Common, Failure, ManifestArgs, Selection, answer, load, plan::planned};
use crate::{
    exec::{Origins, Standing, Walk},
    history::{self, Lineage, Run, Seen, State},
    key::{Change, Fingerprint, Stale},
    plan::Plan,
    selector::{Name, Selector},
    source::one_of,
    store::{Lookup, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A manifest and a stage: why it would run now, and why it ran last. A stage alone: why it ran last.
    #[arg(value_names = ["MANIFEST", "STAGE"], num_args = 1..=2, required = true)]
    what: Vec<String>,
    /// With a manifest, change a parameter: `--set talk.rounds=2`; may be repeated.
    #[arg(long = "set", value_name = "PARAM=YAML")]
    sets: Vec<String>,
    /// Explain this run instead of the last one: its name or the beginning of it, `last`, `last~1`.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Where it would train.
    #[arg(long, default_value = "cpu", value_parser = super::devices())]
    device: crate::stage::Device,
}

/// Why a stage would run now.
#[derive(Serialize)]
struct Explained {
    name: String,
    state: &'static str,
    reason: String,
    key: Option<String>,
    last_key: Option<String>,
    changes: Vec<Change>,
    /// The stages before it whose changed results made its inputs change, with what differs in their keys.
    upstream: Vec<Upstream>,
    first_cause: Option<String>,
    fingerprint: BTreeMap<String, String>,
    /// What became of it in the last run, or in the one asked for.
    ran: Option<Past>,
}

#[derive(Serialize)]
struct Upstream {
    stage: String,
    changes: Vec<Change>,
}

/// What became of a stage in a run.
#[derive(Serialize)]
struct Past {
    run: String,
    name: String,
    state: State,
    reason: Option<String>,
    key: Option<String>,
    changes: Vec<Change>,
    upstream: Vec<Upstream>,
    /// Of a result that was there: the run that made it, and why, where that run is still kept.
    made: Option<Box<Past>>,
}

/// Explains.
pub fn why(args: &WhyArgs, common: &Common) -> Answer {
    match args.what.as_slice() {
        [manifest, stage] => now(args, manifest, stage, common),
        [stage] => {
            if !args.sets.is_empty() {
                return Err(Failure::Wrong(format!("--set changes a manifest: say `talkflow why MANIFEST {stage} --set ...`")));
            }
            let store = common.existing_store()?;
            let past = Teller::new(&store, args.run.as_deref())?.tell(stage)?;
            answer(common, &past, || past.iter().map(|past| render_past(past, "")).collect())
        }
        _ => Err(Failure::Wrong("say a manifest and a stage, or a stage alone".to_owned())),
    }
}

fn now(args: &WhyArgs, manifest: &str, stage: &str, common: &Common) -> Answer {
    let manifest = load::load(&ManifestArgs { manifest: manifest.into(), sets: args.sets.clone() }, common)?;
    let selection = Selection { stages: vec![stage.to_owned()], device: args.device, ..Selection::default() };
    let chosen = load::choose(&manifest, &selection)?;
    let store = common.open_store()?;
    let (latest, files) = (store.latest(&manifest.name)?, store.outside_files(false));
    let walk = Walk { plan: &manifest, store: &store, latest: &latest, files: &files, device: selection.device };
    let standings = walk.survey(&chosen.wanted, &chosen.forced, &common.places())?;
    let asked = manifest.marked(&selection.stages).map_err(Failure::Wrong)?;
    let lineage = Lineage::of(&store)?;
    let teller = Teller::new(&store, args.run.as_deref())?;
    let mut origins = Origins::new(manifest.instances.len());
    let mut explained = Vec::new();
    for (index, standing) in &standings {
        let p = planned(&walk, &mut origins, *index, standing)?;
        if !asked[*index] {
            continue;
        }
        let name = &manifest.instances[*index].name;
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
        let upstream = upstream(&lineage, &changes);
        explained.push(Explained {
            state: p.state,
            reason: p.reason.unwrap_or_else(|| "its result is in the store under this key".to_owned()),
            key: p.key,
            last_key: last.map(ToString::to_string),
            first_cause: first_cause(&manifest, *index, &standings, &lineage).or_else(|| first_of(&lineage, &changes)),
            changes,
            upstream,
            fingerprint: lines(fingerprint.as_ref()),
            ran: teller.last_of(name)?,
            name: p.name,
        });
    }
    answer(common, &explained, || explained.iter().map(render).collect())
}

fn lines(fingerprint: Option<&Fingerprint>) -> BTreeMap<String, String> {
    let lines = fingerprint.into_iter().flat_map(Fingerprint::lines);
    lines.map(|(label, value)| (label.to_string(), value.clone())).collect()
}

/// The stages whose changed results made these inputs change, each once.
fn upstream(lineage: &Lineage, changes: &[Change]) -> Vec<Upstream> {
    /// More inputs than these are not read.
    const MOST: usize = 100;
    let mut all: Vec<Upstream> = Vec::new();
    for change in changes.iter().filter(|change| change.is_of_input()).take(MOST) {
        for (stage, changes) in lineage.trace(std::slice::from_ref(change)) {
            if all.iter().all(|known| known.stage != stage) {
                all.push(Upstream { stage, changes });
            }
        }
    }
    all
}

/// The first cause, where nothing of the stage's own differs.
fn first_of(lineage: &Lineage, changes: &[Change]) -> Option<String> {
    match lineage.explain(Stale::Changed(changes.to_vec())) {
        Stale::Upstream { stage, reason, .. } => Some(format!("`{stage}` has another result: {reason}")),
        _ => None,
    }
}

/// Where the reason lies upstream and is still to come: the first stage, in the plan's order, that has to run for a reason of its own.
fn first_cause<S>(plan: &Plan<S>, index: usize, standings: &BTreeMap<usize, Standing>, lineage: &Lineage) -> Option<String> {
    let Some(Standing::Stale { reason: Stale::DependsOn(_), .. }) = standings.get(&index) else { return None };
    let mut seen = BTreeSet::new();
    let mut left = vec![index];
    while let Some(index) = left.pop() {
        left.extend(plan.instances[index].inputs.iter().flat_map(|input| &input.from).filter(|from| seen.insert(**from)));
    }
    seen.into_iter().find_map(|from| {
        let name = &plan.instances[from].name;
        match standings.get(&from)? {
            Standing::Fresh(_) | Standing::Stale { reason: Stale::DependsOn(_), .. } => None,
            Standing::Stale { reason, .. } => Some(format!("`{name}` runs first: {}", lineage.explain(reason.clone()))),
            Standing::Blocked(why) => Some(format!("`{name}` cannot run: {why}")),
        }
    })
}

/// Tells from the runs that are kept.
struct Teller<'a> {
    store: &'a Store,
    /// The runs to look through, the one asked for, or all, the last first.
    runs: Vec<(Run, OnceCell<Vec<Seen>>)>,
    /// All runs there are.
    all: Vec<Run>,
    lineage: Lineage,
    /// One run only.
    only: bool,
}

impl<'a> Teller<'a> {
    fn new(store: &'a Store, run: Option<&str>) -> Result<Self, Failure> {
        let all = history::runs(store)?;
        let chosen = match run {
            Some(name) => vec![history::find(&all, name).map_err(Failure::Wrong)?],
            None => all.iter().rev().cloned().collect(),
        };
        let runs = chosen.into_iter().map(|run| (run, OnceCell::new())).collect();
        Ok(Self { store, runs, all, lineage: Lineage::of(store)?, only: run.is_some() })
    }

    /// The runs with their stages, each read when it is come to.
    fn seen(&self) -> impl Iterator<Item = (&Run, &Vec<Seen>)> {
        self.runs.iter().map(|(run, seen)| (run, seen.get_or_init(|| run.stages())))
    }

    /// All instances that `stage` means, in the last run that had any.
    fn tell(&self, stage: &str) -> Result<Vec<Past>, Failure> {
        let selector = Selector::parse(stage).map_err(Failure::Wrong)?;
        let found = self.seen().find_map(|(run, seen)| {
            let of_stage: Vec<&Seen> = seen.iter().filter(|seen| selector.matches(&Name::parse(&seen.stage))).collect();
            (!of_stage.is_empty()).then_some((run, of_stage))
        });
        let Some((run, seen)) = found else {
            let known: BTreeSet<&str> = self.seen().flat_map(|(_, seen)| seen).map(|seen| seen.stage.as_str()).collect();
            let help = one_of(stage, known.iter().copied()).map_or(String::new(), |help| format!(": {help}"));
            let whose = if self.only { "that run" } else { "the runs kept" };
            return Err(Failure::Wrong(format!("{whose} had no stage `{stage}`{help}")));
        };
        seen.into_iter().map(|seen| self.past(run, seen, true)).collect()
    }

    /// The instance of that name in the last run that had it.
    fn last_of(&self, name: &str) -> Result<Option<Past>, Failure> {
        let found = self.seen().find_map(|(run, seen)| Some((run, seen.iter().find(|seen| seen.stage == name)?)));
        found.map(|(run, seen)| self.past(run, seen, true)).transpose()
    }

    fn past(&self, run: &Run, seen: &Seen, with_making: bool) -> Result<Past, Failure> {
        let reason = seen.reason.clone().map(|reason| self.lineage.explain(reason));
        let changes = reason.as_ref().map_or(&[][..], Stale::changes).to_vec();
        let mut upstream = upstream(&self.lineage, &changes);
        // What the store does not hold any more, the run itself still says.
        if let (true, Some(Stale::Upstream { stage, reason, .. })) = (upstream.is_empty(), &reason) {
            upstream.push(Upstream { stage: stage.clone(), changes: reason.changes().to_vec() });
        }
        let made = match (seen.state, seen.key, with_making) {
            (State::Cached, Some(key), true) => match self.store.lookup(&key)? {
                Lookup::Found(record) => {
                    let run = self.all.iter().find(|run| run.id == record.provenance.run);
                    let made = run.and_then(|run| {
                        let seen = run.stages().into_iter().find(|seen| seen.key == Some(key) && seen.state == State::Ran)?;
                        Some((run, seen))
                    });
                    made.map(|(run, seen)| self.past(run, &seen, false).map(Box::new)).transpose()?
                }
                _ => None,
            },
            _ => None,
        };
        Ok(Past {
            run: run.id.clone(),
            name: seen.stage.clone(),
            state: seen.state,
            reason: match (seen.state, &seen.because) {
                (State::Failed | State::Skipped, Some(because)) => Some(because.clone()),
                _ => reason.map(|reason| reason.to_string()),
            },
            key: seen.key.map(|key| key.to_string()),
            changes,
            upstream,
            made,
        })
    }
}

fn render(e: &Explained) -> String {
    let mut text = format!("{}: {}, {}\n", e.name, e.state, e.reason);
    if let Some(cause) = &e.first_cause {
        text += &format!("  because {cause}\n");
    }
    if let Some(key) = &e.key {
        text += &format!("  key: {key}\n");
    }
    match (&e.last_key, e.changes.as_slice()) {
        (None, _) => text += "  no result of it is known\n",
        (Some(last), []) if Some(last) == e.key.as_ref() => text += "  the same as its last result\n",
        (Some(last), _) => {
            text += &format!("  last: {last}\n");
            text += &render_changes(&e.changes, &e.upstream, "  ");
        }
    }
    for (label, value) in &e.fingerprint {
        text += &format!("    {label} = {value}\n");
    }
    if let Some(past) = &e.ran {
        text += &render_past(past, "  ");
    }
    text
}

fn render_changes(changes: &[Change], upstream: &[Upstream], indent: &str) -> String {
    let own = changes.iter().map(|change| format!("{indent}{change}\n"));
    let before = upstream.iter().flat_map(|Upstream { stage, changes }| {
        let head = std::iter::once(format!("{indent}  since `{stage}` has another result\n"));
        head.chain(changes.iter().map(|change| format!("{indent}    {change}\n")))
    });
    own.chain(before).collect()
}

fn render_past(past: &Past, indent: &str) -> String {
    let reason = past.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let mut text = format!("{indent}in run {}, {} {}{reason}\n", past.run, past.name, past.state.word());
    text += &render_changes(&past.changes, &past.upstream, &format!("{indent}  "));
    if let Some(made) = &past.made {
        text += &render_past(made, &format!("{indent}  "));
    }
    text
}
