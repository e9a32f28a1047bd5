//! `talkflow show`: past runs, one run, a stage's result, or the effective values of a manifest.

use std::fs;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Answer, Common, Failure, ManifestArgs, answer, load,
    store::{bytes, scaled},
};
use crate::{
    store::{Lookup, Record, Store},
    time,
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A run, or a stage by its name in the store; with --resolved a manifest [default: all runs].
    what: Option<String>,
    /// Every effective value of a manifest with where it came from.
    #[arg(long, requires = "what")]
    resolved: bool,
    /// With --resolved, change a parameter.
    #[arg(long = "set", value_name = "PARAM=YAML", requires = "resolved")]
    sets: Vec<String>,
}

#[derive(Serialize)]
struct RunShown {
    run: String,
    manifest: String,
    ran: Option<u64>,
    cached: Option<u64>,
    failed: Option<u64>,
    skipped: Option<u64>,
    seconds: Option<f64>,
}

/// Shows it.
pub fn show(args: &ShowArgs, common: &Common) -> Answer {
    match (&args.what, args.resolved) {
        (Some(manifest), true) => {
            let manifest = ManifestArgs { manifest: manifest.into(), sets: args.sets.clone() };
            let plan = load::load(&manifest, common)?;
            let (params, stages) = (plan.resolved_params(), plan.resolved());
            let document = serde_json::json!({ "params": params, "stages": stages });
            answer(common, &document, || {
                let param = |line: &crate::plan::Line| format!("  {} = {}  ({})\n", line.path, line.value, line.from);
                let params = params.iter().map(param).collect::<String>();
                let head = if params.is_empty() { "" } else { "params\n" };
                format!("{head}{params}{}", stages.iter().map(ToString::to_string).collect::<String>())
            })
        }
        (None, _) => runs(common),
        (Some(what), false) => {
            let store = common.existing_store()?;
            let folder = store.runs().join(what);
            // A run's name has no separators: nothing outside the store can be meant.
            match what.chars().all(|c| c.is_ascii_digit() || c == '-') && folder.is_dir() {
                true => run(&store, what, common),
                false => stage(&store, what, common),
            }
        }
    }
}

fn runs(common: &Common) -> Answer {
    let store = common.existing_store()?;
    let mut names: Vec<String> = match fs::read_dir(store.runs()) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
        Err(error) => return Err(Failure::Failed(format!("cannot read {}: {error}", store.runs().display()))),
    };
    names.sort();
    let shown: Vec<RunShown> = names.iter().map(|name| summary(&store, name)).collect();
    answer(common, &shown, || shown.iter().map(line).collect())
}

fn line(run: &RunShown) -> String {
    match (run.ran, run.cached, run.failed, run.skipped, run.seconds) {
        (Some(ran), Some(cached), Some(failed), Some(skipped), Some(seconds)) => {
            format!(
                "{}  {}: {ran} ran, {cached} cached, {failed} failed, {skipped} skipped in {seconds:.1} s\n",
                run.run, run.manifest
            )
        }
        _ => format!("{}  {}: did not end\n", run.run, run.manifest),
    }
}

/// A run's events; a torn last line of a killed run is left out.
fn events(store: &Store, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(store.runs().join(name).join("events.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn summary(store: &Store, name: &str) -> RunShown {
    let events = events(store, name);
    let find = |kind: &str| events.iter().rfind(|event| event["event"] == kind);
    let end = |field: &str| find("run_finished").and_then(|event| event[field].as_u64());
    RunShown {
        run: name.to_owned(),
        manifest: find("run_started").and_then(|event| event["manifest"].as_str()).unwrap_or("?").to_owned(),
        ran: end("ran"),
        cached: end("cached"),
        failed: end("failed"),
        skipped: end("skipped"),
        seconds: find("run_finished").and_then(|event| event["seconds"].as_f64()),
    }
}

fn run(store: &Store, name: &str, common: &Common) -> Answer {
    let events: Vec<Value> = events(store, name).into_iter().filter(|event| event["event"] != "progressed").collect();
    answer(common, &events, || {
        let text = |event: &Value| {
            let get = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let said = match get("event").as_str() {
                "finished" => format!("{:.1} s", event["seconds"].as_f64().unwrap_or(f64::NAN)),
                "failed" => event["causes"]
                    .as_array()
                    .map_or(String::new(), |causes| causes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(": ")),
                "noted" => get("note"),
                "skipped" => get("because"),
                _ => String::new(),
            };
            let at = event["at"].as_f64().unwrap_or(f64::NAN);
            format!("{at:>9.2} s  {:<12}  {}  {said}", get("event"), get("stage")).trim_end().to_owned() + "\n"
        };
        events.iter().map(text).collect::<String>() + &line(&summary(store, name))
    })
}

fn stage(store: &Store, name: &str, common: &Common) -> Answer {
    let record = latest_of(store, name)?;
    answer(common, &record, || {
        let mut text = format!("{} ({})\n  key: {}\n", record.instance, record.kind, record.key);
        let p = &record.provenance;
        text += &format!("  made: {}, {:.1} s on {} cores, talkflow {}\n", time::read(p.started), p.seconds, p.cores, p.talkflow);
        record.notes.iter().for_each(|note| text += &format!("  note: {note}\n"));
        for (name, entry) in &record.files.0 {
            text += &format!("  file {name}: {}, {}\n", bytes(entry.size), store.blob(&entry.digest).display());
        }
        let step = step(&record.metrics);
        let plain = record.metrics.iter().filter(|(name, _)| step.is_none() || !STEP.contains(&name.as_str()));
        plain.for_each(|(name, value)| text += &format!("  {name}: {value}\n"));
        text + &step.unwrap_or_default()
    })
}

/// The metrics of a model that say what a step of its training costs.
const STEP: [&str; 5] = ["step_rows", "step_flops", "step_matmul_flops", "step_bytes", "peak_bytes"];

/// They in one line, where they are there.
fn step(metrics: &Map<String, Value>) -> Option<String> {
    let [rows, flops, matmul, moved, peak] = STEP.map(|name| metrics.get(name).and_then(Value::as_u64));
    let (rows, flops, matmul) = (rows.filter(|rows| *rows > 0)?, flops?, matmul?);
    Some(format!(
        "  step: {rows} rows, {} ({} in matrix products, {} a row), {} moved; {} resident, estimated\n",
        scaled(flops, "FLOP"),
        scaled(matmul, "FLOP"),
        scaled(matmul / rows, "FLOP"),
        bytes(moved?),
        bytes(peak?)
    ))
}

/// The last result of the stage instance of that name, in whichever manifest it stands.
pub fn latest_of(store: &Store, name: &str) -> Result<Record, Failure> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    for (manifest, latest) in store.manifests()? {
        for (instance, key) in latest.iter() {
            names.push(instance.to_owned());
            if instance == name || format!("{manifest}:{instance}") == name {
                found.push((manifest.clone(), *key));
            }
        }
    }
    match found.as_slice() {
        [(_, key)] => match store.lookup(key)? {
            Lookup::Found(record) => Ok(*record),
            _ => Err(Failure::Failed(format!("the result of `{name}` is no longer in the store: run its manifest again"))),
        },
        [] => {
            // Part of a name, as in `student[method=talk]`, is no name: show what there is of that stage.
            let stage = name.split('[').next().unwrap_or(name);
            let of_stage = names.iter().map(String::as_str).filter(|known| known.split('[').next() == Some(stage));
            let help = match of_stage.clone().next() {
                Some(_) => crate::source::one_of(name, of_stage),
                None => crate::source::one_of(name, names.iter().map(String::as_str)),
            };
            let help = help.map_or(String::new(), |help| format!(": {help}"));
            Err(Failure::Wrong(format!("the store knows no run and no stage called `{name}`{help}")))
        }
        several => {
            let list: Vec<String> = several.iter().map(|(manifest, _)| format!("`{manifest}:{name}`")).collect();
            Err(Failure::Wrong(format!("several manifests have a stage `{name}`: say {}", list.join(" or "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_step_is_one_line_for_people() {
        let numbers = [256, 113_803_776, 113_344_512, 5_815_328, 12_300_000];
        let metrics: Map<String, Value> = STEP.iter().zip(numbers).map(|(name, n)| ((*name).to_owned(), n.into())).collect();
        let expected = "  step: 256 rows, 113.8 MFLOP (113.3 MFLOP in matrix products, 442.8 kFLOP a row), 5.8 MB moved; 12.3 MB resident, \
                        estimated\n";
        assert_eq!(step(&metrics).as_deref(), Some(expected));
        // Results of stages that train nothing have none.
        assert_eq!(step(&Map::new()), None);
    }
}
