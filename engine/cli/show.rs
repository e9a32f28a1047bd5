//! `talkflow show`: past runs, one run, a stage's result, or the effective values of a manifest.

use clap::Args;
use serde_json::{Map, Value};

use super::{
    Answer, Common, Failure, ManifestArgs, answer, load,
    store::{bytes, scaled},
};
use crate::{
    history::{self, Run},
    plan::{Line, Resolution},
    store::{Lookup, Record, Store},
    time,
};

mod runs;

/// Its arguments.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A run (its name or the beginning of it, `last`, `last~1`), or a stage by its name in the store; with --resolved a manifest
    /// [default: all runs].
    what: Option<String>,
    /// Every effective value of a manifest with where it came from.
    #[arg(long, requires = "what")]
    resolved: bool,
    /// With --resolved, change a parameter.
    #[arg(long = "set", value_name = "PARAM=YAML", requires = "resolved")]
    sets: Vec<String>,
}

/// Shows it.
pub fn show(args: &ShowArgs, common: &Common) -> Answer {
    match (&args.what, args.resolved) {
        (Some(manifest), true) => {
            let manifest = ManifestArgs { manifest: manifest.into(), sets: args.sets.clone() };
            let plan = load::load(&manifest, common)?;
            let resolution = plan.resolution();
            let document = serde_json::to_value(&resolution).map_err(|error| Failure::Failed(error.to_string()))?;
            answer(common, &document, || {
                let Resolution { params, stages } = &resolution;
                let param = |line: &Line| format!("  {} = {}  ({})\n", line.path, line.value, line.from);
                let params = params.iter().map(param).collect::<String>();
                let head = if params.is_empty() { "" } else { "params\n" };
                format!("{head}{params}{}", stages.iter().map(ToString::to_string).collect::<String>())
            })
        }
        (None, _) => runs::all(&history::runs(&common.existing_store()?)?, common),
        (Some(what), false) => {
            let store = common.existing_store()?;
            let all = history::runs(&store)?;
            // A stage may be called as it likes; only what looks like a run is looked for among runs.
            let is_run = what.starts_with("last") || what.starts_with(|c: char| c.is_ascii_digit());
            match history::find(&all, what) {
                Ok(run) if is_run => runs::one(&run, common),
                Err(error) if is_run && latest_of(&store, what).is_err() => Err(Failure::Wrong(error)),
                _ => stage(&store, &all, what, common),
            }
        }
    }
}

fn stage(store: &Store, all: &[Run], name: &str, common: &Common) -> Answer {
    let record = latest_of(store, name)?;
    let past = runs::through(all, &record.instance);
    let log = record.log.map(|log| store.blob(&log.digest));
    let mut document = serde_json::to_value(&record).map_err(|error| Failure::Failed(error.to_string()))?;
    document["log_path"] = serde_json::json!(log);
    document["runs"] = serde_json::json!(past);
    answer(common, &document, || {
        let mut text = format!("{} ({})\n  key: {}\n", record.instance, record.kind, record.key);
        let p = &record.provenance;
        text += &format!(
            "  made: {}, {:.1} s on {} cores, talkflow {}, run {}\n",
            time::read(p.started),
            p.seconds,
            p.cores,
            p.talkflow,
            p.run
        );
        let [_, cpu, memory] = runs::took(None, p.usage);
        if !cpu.is_empty() || !memory.is_empty() {
            text += &format!("  took: {cpu} of CPU, {memory} of memory at most\n");
        }
        record.notes.iter().for_each(|note| text += &format!("  note: {note}\n"));
        for (name, entry) in &record.files.0 {
            text += &format!("  file {name}: {}, {}\n", bytes(entry.size), store.blob(&entry.digest).display());
        }
        log.iter().for_each(|path| text += &format!("  log: {}\n", path.display()));
        let step = step(&record.metrics);
        let plain = record.metrics.iter().filter(|(name, _)| step.is_none() || !STEP.contains(&name.as_str()));
        plain.for_each(|(name, value)| text += &format!("  {name}: {value}\n"));
        text += &step.unwrap_or_default();
        text + &runs::table(&past)
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
