//! `talkflow store`: what lies in the store, whether it is whole, and throwing away what nobody keeps.

use clap::Subcommand;
use serde::Serialize;

use super::{Answer, Common, Failure, answer};
use crate::store::Keep;

/// The commands on the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// List results: stage, kind, key, size, and how long each took.
    Ls,
    /// Read every file again; damaged ones are set aside, so that the next run makes them anew. Exit code 3 if there were any.
    Verify,
    /// Remove results that are not the last of any stage of any manifest that ran here, checkpoints of trainings that have ended
    /// or lay idle for 14 days, and all but the last 100 runs.
    Gc {
        /// Only count.
        #[arg(long)]
        dry_run: bool,
        /// Also keep results and runs of so many days; keep checkpoints for so many days instead of 14.
        #[arg(long, value_name = "DAYS")]
        keep_days: Option<u64>,
    },
}

#[derive(Serialize)]
struct Listed {
    stage: String,
    kind: String,
    key: String,
    bytes: u64,
    seconds: f64,
    files: Vec<String>,
}

/// Runs one of them.
pub fn store(command: &StoreCommand, common: &Common) -> Answer {
    let store = common.existing_store()?;
    match command {
        StoreCommand::Ls => {
            let mut listed: Vec<Listed> = (store.records()?.into_iter())
                .map(|record| Listed {
                    bytes: record.files.size(),
                    files: record.files.0.keys().cloned().collect(),
                    key: record.key.to_string(),
                    stage: record.instance,
                    kind: record.kind,
                    seconds: record.provenance.seconds,
                })
                .collect();
            listed.sort_by(|a, b| (&a.stage, &a.key).cmp(&(&b.stage, &b.key)));
            answer(common, &listed, || {
                let line = |l: &Listed| {
                    format!("{:>10}  {:>8.1} s  {}  {:<14}  {}\n", bytes(l.bytes), l.seconds, &l.key[..12], l.kind, l.stage)
                };
                let total = listed.iter().map(|l| l.bytes).sum();
                listed.iter().map(line).collect::<String>() + &format!("{} results, {}\n", listed.len(), bytes(total))
            })
        }
        StoreCommand::Verify => {
            let (read, damage) = store.verify()?;
            let document = serde_json::json!({ "ok": damage.is_empty(), "read": read, "damage": damage });
            answer(common, &document, || {
                let lines: String = damage.iter().map(|d| format!("{d}\n")).collect();
                let end = match damage.len() {
                    0 => "all whole".to_owned(),
                    n => format!("{n} damaged and set aside in damaged/: the next run makes them again"),
                };
                format!("{lines}{read} files read, {end}\n")
            })?;
            if damage.is_empty() { Ok(()) } else { Err(Failure::Damaged) }
        }
        StoreCommand::Gc { dry_run, keep_days } => {
            let collected = store.collect(keep_days.map_or_else(Keep::default, Keep::days), *dry_run)?;
            answer(common, &collected, || {
                let c = &collected;
                let line = |what: String, n: u64| format!("  {what}, {}\n", bytes(n));
                [
                    if *dry_run { "would remove\n" } else { "removed\n" }.to_owned(),
                    line(format!("{} results with {} files", c.records, c.blobs), c.bytes),
                    line(format!("checkpoints of {} trainings", c.checkpoints), c.checkpoint_bytes),
                    line(format!("{} runs", c.runs), c.run_bytes),
                    format!(
                        "{} results, checkpoints of {} trainings and {} runs stay\n",
                        c.kept, c.kept_checkpoints, c.kept_runs
                    ),
                ]
                .concat()
            })
        }
    }
}

/// A size as people read it.
pub fn bytes(n: u64) -> String {
    scaled(n, "B")
}

/// A number of some unit as people read it.
pub fn scaled(n: u64, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G", "T"];
    let mut value = n as f64;
    let mut prefix = 0;
    while value >= 1000.0 && prefix + 1 < prefixes.len() {
        value /= 1000.0;
        prefix += 1;
    }
    if prefix == 0 { format!("{n} {unit}") } else { format!("{value:.1} {}{unit}", prefixes[prefix]) }
}
