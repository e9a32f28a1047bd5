//! `talkflow show`: past runs, one run, a stage's result, or the effective values of a manifest.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::{
    Answer, Common, Failure, Format, ManifestArgs, answer, load,
    store::{bytes, count, scaled},
    sweep,
};
use crate::{
    artifact::ArtifactKind,
    history::{self, Lineage, Run},
    key::{ActionKey, Label},
    plan::{Line, Resolution},
    report::{comparisons::Sheet, results::parquet_of, search, table, write_whole},
    selector::{Name, Selector},
    stages::made_by,
    store::{Lookup, Record, Store, StoreError},
    time,
};

mod runs;

/// Its arguments.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A run (its name or the beginning of it, `last`, `last~1`), or a stage in the store: `teacher`, `student[genre=W*,seed=1]`,
    /// `MANIFEST:teacher`; with --resolved a manifest [default: all runs].
    what: Option<String>,
    /// Every effective value of a manifest with where it came from.
    #[arg(long, requires = "what")]
    resolved: bool,
    /// Of an evaluation, write its comparisons into this folder: comparisons.parquet, .csv, .md, .tex.
    #[arg(short, long, value_name = "DIR", requires = "what", conflicts_with = "resolved")]
    output: Option<PathBuf>,
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
                Ok(run) if is_run && args.output.is_none() => runs::one(&run, common),
                Err(error) if is_run && latest_of(&store, what).is_err() => Err(Failure::Wrong(error)),
                _ => stage(&store, &all, what, args.output.as_deref(), common),
            }
        }
    }
}

fn stage(store: &Store, all: &[Run], name: &str, output: Option<&Path>, common: &Common) -> Answer {
    let record = latest_of(store, name)?;
    // What an older talkflow wrote may say less.
    let (scores, unread) = match sweep::read_scores(&record, store) {
        Ok(scores) => (scores, None),
        Err(Failure::Failed(why)) => (None, Some(why)),
        Err(error) => return Err(error),
    };
    let sheets = scores.as_ref().map(|scores| table::comparisons(scores, &table::Order::new())).unwrap_or_default();
    if let Some(folder) = output {
        write(&record, &sheets, folder)?;
    }
    let past = runs::through(all, &record.instance);
    // That a log is lost keeps nobody from the rest.
    let (log, lost) = match store.proven_log(&record) {
        Ok(log) => (log, None),
        Err(lost @ StoreError::LostLog { .. }) => (None, Some(lost)),
        Err(error) => return Err(error.into()),
    };
    let mut document = serde_json::to_value(&record).map_err(|error| Failure::Failed(error.to_string()))?;
    document["log_path"] = serde_json::json!(log);
    document["log_lost"] = serde_json::json!(lost.as_ref().map(ToString::to_string));
    document["runs"] = serde_json::json!(past);
    answer(common, &document, || {
        let mut text = format!("{} ({})\n  key: {}\n", record.instance, record.kind, record.key);
        let p = &record.provenance;
        text += &format!(
            "  made: {}, {:.1} s on {}, talkflow {}, run {}\n",
            time::read(p.started),
            p.seconds,
            count(p.cores, "core"),
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
        let search = searched(&record, store);
        let told = |name: &str| match search.is_some() {
            true => ["place", "candidates", "trainings", "epochs", "most_epochs", "chosen", "space", "ranking"].contains(&name),
            false => step.is_some() && STEP.contains(&name),
        };
        let plain = record.metrics.iter().filter(|(name, _)| !told(name));
        plain.for_each(|(name, value)| text += &format!("  {name}: {value}\n"));
        text += &step.unwrap_or_default();
        text += &runs::table(&past);
        unread.iter().for_each(|why| text += &format!("\nno table: {why}\n"));
        if let Some(scores) = &scores {
            text += &format!("\n{}", table::render(&record.instance, scores, &table::Order::new()));
        }
        search.iter().for_each(|search| text += &format!("\n{search}"));
        sheets.iter().for_each(|sheet| text += &format!("\n{}", sheet.text()));
        text
    })?;
    match lost {
        Some(lost) if common.format == Format::Human => Err(Failure::Store(lost)),
        Some(_) => Err(Failure::Damaged),
        None => Ok(()),
    }
}

/// A search in words, with how long its trials took where the store still has them.
fn searched(record: &Record, store: &Store) -> Option<String> {
    if made_by(&record.kind) != Some(ArtifactKind::Settings) {
        return None;
    }
    let lineage = Lineage::of(store).ok();
    let inputs = record.fingerprint.lines().iter().filter(|(label, _)| matches!(label, Label::Input(_)));
    let seconds = inputs.map(|(_, digest)| Some(lineage.as_ref()?.made(digest)?.provenance.seconds)).sum::<Option<f64>>();
    search::render(&record.instance, &record.metrics, seconds)
}

/// Writes the comparisons of an evaluation in all their forms.
fn write(record: &Record, sheets: &[Sheet], folder: &Path) -> Answer {
    if sheets.is_empty() {
        return Err(Failure::Wrong(format!("`{}` compares nothing that could be written", record.instance)));
    }
    let failed = |path: &Path, error: std::io::Error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let text = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let origin =
        serde_json::json!({ "instance": record.instance, "key": record.key, "talkflow": record.provenance.talkflow }).to_string();
    for sheet in sheets {
        let files = [
            ("parquet", parquet_of(&sheet.columns, origin.clone()).map_err(|error| text(&error))?),
            ("csv", sheet.csv().map_err(|error| text(&error))?),
            ("md", format!("<!-- provenance: {} -->\n\n{}", origin.replace("--", "-\\u002d"), sheet.markdown()).into_bytes()),
            ("tex", format!("% provenance: {origin}\n{}", sheet.latex()).into_bytes()),
        ];
        for (ending, bytes) in files {
            let path = folder.join(format!("{}.{ending}", sheet.file_name()));
            write_whole(&path, &bytes).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
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

/// The last result of the one stage instance that a selector means, in whichever manifest it stands; `MANIFEST:` before it names one.
pub fn latest_of(store: &Store, typed: &str) -> Result<Record, Failure> {
    let all: Vec<(String, String, ActionKey)> = (store.manifests()?.into_iter())
        .flat_map(|(manifest, latest)| {
            latest.iter().map(|(instance, key)| (manifest.clone(), instance.to_owned(), *key)).collect::<Vec<_>>()
        })
        .collect();
    let of_manifest = all.iter().find_map(|(manifest, ..)| Some((manifest, typed.strip_prefix(manifest)?.strip_prefix(':')?)));
    let (known, selector): (Vec<_>, &str) = match of_manifest {
        Some((named, selector)) => (all.iter().filter(|(manifest, ..)| manifest == named).collect(), selector),
        None => (all.iter().collect(), typed),
    };
    let names: Vec<Name<'_>> = known.iter().map(|(_, instance, _)| Name::parse(instance)).collect();
    let found = Selector::parse(selector).and_then(|selector| selector.pick(&names));
    let found = found.map_err(|why| Failure::Wrong(format!("in the store, {why}")))?;
    let found: Vec<&(String, String, ActionKey)> = found.into_iter().map(|place| known[place]).collect();
    match found.as_slice() {
        [(_, instance, key)] => match store.lookup(key)? {
            Lookup::Found(record) => Ok(*record),
            _ => Err(Failure::Failed(format!("the result of `{instance}` is no longer in the store: run its manifest again"))),
        },
        [(_, first, _), others @ ..] if others.iter().all(|(_, instance, _)| instance == first) => {
            let list: Vec<String> = found.iter().map(|(manifest, ..)| format!("`{manifest}:{typed}`")).collect();
            Err(Failure::Wrong(format!("several manifests have a stage `{first}`: say {}", list.join(" or "))))
        }
        [(_, instance, _), ..] => {
            let n = found.len();
            Err(Failure::Wrong(format!("`{typed}` is {n} instances, such as `{instance}`: name one")))
        }
        // A selector that means nothing has said so.
        [] => Err(Failure::Wrong(format!("the store has no result of `{typed}`"))),
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
