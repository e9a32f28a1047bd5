//! `talkflow store push` and `pull`.

use std::{collections::BTreeSet, path::PathBuf, sync::Mutex};

use clap::Args;

use super::{Answer, Common, Failure, answer, bytes, choose::Choice, count};
use crate::{
    report::terminal::Line,
    store::{Store, Transferred},
};

/// Their arguments.
#[derive(Debug, Args)]
pub struct TransferArgs {
    /// The other store's folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// Pins too.
    #[arg(long)]
    pins: bool,
    /// Only say what would go over.
    #[arg(long)]
    dry_run: bool,
}

/// Sends.
pub fn push(args: &TransferArgs, store: &Store, common: &Common) -> Answer {
    let folder = &args.folder;
    let there = folder.join("format").exists();
    // A disk that is not mounted is not to be filled up under its name.
    if !there && !folder.is_dir() && !folder.parent().is_some_and(|parent| parent.as_os_str().is_empty() || parent.is_dir()) {
        return Err(Failure::Wrong(format!("there is no folder to make {} in: is the disk mounted?", folder.display())));
    }
    let to = match there || !args.dry_run {
        true => Some(Store::open(folder)?),
        false => None,
    };
    transfer(args, store, to.as_ref(), "sent", common)
}

/// Fetches.
pub fn pull(args: &TransferArgs, common: &Common) -> Answer {
    let from = Store::open_other(&args.folder)?;
    let to = match common.store.join("format").exists() || !args.dry_run {
        true => Some(common.open_store()?),
        false => None,
    };
    transfer(args, &from, to.as_ref(), "fetched", common)
}

fn transfer(args: &TransferArgs, from: &Store, to: Option<&Store>, done: &str, common: &Common) -> Answer {
    if to.is_some_and(|to| to.root() == from.root()) {
        return Err(Failure::Wrong(format!("{} is this store itself", args.folder.display())));
    }
    let survey = from.survey()?;
    let keys: BTreeSet<_> = match args.choice.is_all() {
        // Damaged records too, so that they are named.
        true => from.all_keys()?,
        // A result is of use together with what it was made from.
        false => survey.with_upstream(args.choice.keys(from, &survey, &from.current()?)?),
    };
    let line = Mutex::new(Line::default());
    let progress = |sent: u64, total: u64| {
        if let Ok(mut line) = line.lock() {
            let _ = line.show(done, sent, Some(total));
        }
    };
    let mut transferred = from.send(&keys, to, args.dry_run, &progress)?;
    if let Ok(mut line) = line.lock() {
        line.end();
    }
    if let (true, Some(to), false) = (args.pins, to, args.dry_run) {
        transferred.pins = from.send_pins(to)?;
    }
    let whole = transferred.lost.is_empty();
    let mut document = serde_json::to_value(&transferred).map_err(|error| Failure::Failed(error.to_string()))?;
    document["ok"] = whole.into();
    answer(common, &document, || human(&transferred, if args.dry_run { "would be" } else { "" }, done))?;
    if whole { Ok(()) } else { Err(Failure::Damaged) }
}

fn human(t: &Transferred, would: &str, done: &str) -> String {
    let lost = t.lost.iter().map(|lost| {
        let stage = lost.stage.as_ref().map_or(String::new(), |stage| format!(" {stage}"));
        format!("left out {}{stage}: {}\n", lost.key.0.short(), lost.what)
    });
    let pins = if t.pins > 0 { format!(", {}", count(t.pins, "pin")) } else { String::new() };
    let what = format!("{}, {}, {}{pins}", count(t.results, "result"), count(t.blobs, "file"), bytes(t.bytes));
    let line = format!("{would} {done}: {what}; {} there already\n", t.there);
    lost.chain([line.trim_start().to_owned()]).collect()
}
