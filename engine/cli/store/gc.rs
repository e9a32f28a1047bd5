//! `talkflow store gc`.

use std::time::Duration;

use clap::Args;

use super::{
    Answer, Common, answer, bytes,
    choose::{check_manifest, run_of},
    count,
};
use crate::{
    plan,
    store::{Collected, Gone, Policy, Store},
    time,
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Remove only what was not used for so long: `30d`, `12h`. Also for checkpoints, instead of 14 days, and for runs.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Keep the last N results of each stage instance.
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,
    /// Remove the least recently used until the files of all results take so much: `20GB`, `500MiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Remove the least recently used until N results are left.
    #[arg(long, value_name = "N")]
    max_count: Option<usize>,
    /// Keep only what these runs used, with all it was made from, instead of the last result of each stage.
    #[arg(long, value_name = "RUN", num_args = 1..)]
    reachable_from: Vec<String>,
    /// The last result of a stage may go too.
    #[arg(long)]
    include_latest: bool,
    /// Forget the last results of a manifest that is no longer in use; may be repeated.
    #[arg(long, value_name = "MANIFEST")]
    forget: Vec<String>,
    /// Keep the last N runs, as `show` lists them.
    #[arg(long, value_name = "N", default_value_t = 100)]
    keep_runs: usize,
}

fn age(text: &str) -> Result<Duration, String> {
    plan::duration(text).ok_or_else(|| "write numbers with s, m, h or d: 30d, 12h".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    plan::bytes(text).ok_or_else(|| "write a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB: 20GB".to_owned())
}

/// Collects.
pub fn gc(args: &GcArgs, store: &Store, common: &Common) -> Answer {
    let reachable_from = args.reachable_from.iter().map(|run| run_of(store, run)).collect::<Result<Vec<_>, _>>()?;
    if !args.forget.is_empty() {
        let (survey, current) = (store.survey()?, store.current()?);
        args.forget.iter().try_for_each(|manifest| check_manifest(manifest, &survey, &current))?;
    }
    let policy = Policy {
        older_than: args.older_than,
        keep_last: args.keep_last,
        max_size: args.max_size,
        max_count: args.max_count,
        reachable_from: (!reachable_from.is_empty()).then_some(reachable_from),
        include_latest: args.include_latest,
        forget: args.forget.clone(),
        keep_runs: args.keep_runs,
    };
    let collected = store.collect(&policy, args.dry_run)?;
    answer(common, &collected, || human(&collected, args))
}

fn human(c: &Collected, args: &GcArgs) -> String {
    let result = |gone: &Gone| {
        format!(
            "{:>10}  last used {}  {}  {}\n",
            bytes(gone.bytes),
            time::read(gone.used),
            &gone.key.to_string()[..12],
            gone.stage
        )
    };
    let mut text: String = c.results.iter().map(result).collect();
    text += if args.dry_run { "would remove\n" } else { "removed\n" };
    let mut line = |what: String, n: u64| text += &format!("  {what}, {}\n", bytes(n));
    line(format!("{} with {}", count(c.records, "result"), count(c.blobs, "file")), c.bytes);
    line(format!("checkpoints of {}", count(c.checkpoints, "training")), c.checkpoint_bytes);
    line(count(c.runs, "run"), c.run_bytes);
    if c.damaged > 0 {
        line(count(c.damaged, "damaged file"), c.damaged_bytes);
    }
    let pinned = if c.kept_pinned > 0 { format!(" ({} pinned)", c.kept_pinned) } else { String::new() };
    let in_use = if c.kept_in_use > 0 { format!(" ({} in use)", c.kept_in_use) } else { String::new() };
    text += &format!(
        "{}{pinned}{in_use}, {}, checkpoints of {} and {} stay\n",
        count(c.kept, "result"),
        bytes(c.kept_bytes),
        count(c.kept_checkpoints, "training"),
        count(c.kept_runs, "run")
    );
    let over_size = args.max_size.is_some_and(|limit| c.kept_bytes > limit);
    let over_count = args.max_count.is_some_and(|limit| c.kept > limit);
    if over_size || over_count {
        text +=
            "what stays is more than the limit: it is pinned, in use, kept by another option, or the last result of a stage\n";
        text += "(--include-latest lets these go too)\n";
    }
    text
}
