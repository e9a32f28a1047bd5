//! `talkflow logs STAGE`: what a stage said while it worked: its progress, its notes, and all that its command printed. Of a result
//! that was there already, the log of the run that made it. `-f` follows a stage at work until it ends. A file or a program gets a log as
//! it is; a terminal gets text that it does not obey.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Answer, Common, Failure, Format, Raw, answer, say};
use crate::{
    history::{self, Run, Seen, State},
    selector::{Name, Selector},
    source::one_of,
    store::{Lookup, Store},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The stage instance: `teacher`, `student[genre=Western,method=talk]`, or any selector that means one.
    #[arg(value_name = "STAGE")]
    stage: String,
    /// Go on until the stage ends.
    #[arg(short, long)]
    follow: bool,
    /// Of this run instead of the last one that had the stage: its name or the beginning of it, `last`, `last~1`.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Prints it.
pub fn logs(args: &LogsArgs, common: &Common) -> Answer {
    let store = common.existing_store()?;
    let (run, seen) = find(&store, args)?;
    if args.follow {
        if common.format == Format::Json {
            return Err(Failure::Wrong(
                "--follow prints a log as it grows, which is no JSON document: leave one of them out".to_owned(),
            ));
        }
        return match seen.state.is_over() {
            true => print_log(&kept(&store, &run, &seen)?),
            false => follow(&store, &run, &seen),
        };
    }
    let path = kept(&store, &run, &seen)?;
    let log = path.as_ref().map(|path| read(path)).transpose()?;
    let document = serde_json::json!({
        "run": run.id, "stage": seen.stage, "state": seen.state, "path": path,
        "log": log.as_ref().map(|log| String::from_utf8_lossy(log)),
    });
    match (common.format, log) {
        (Format::Human, Some(log)) => Raw::print(&log),
        (Format::Human, None) => {
            say(&format!("`{}` said nothing in run {}\n", seen.stage, run.id));
            Ok(())
        }
        (Format::Json, _) => answer(common, &document, String::new),
    }
}

/// The one instance that is meant, in the run that is meant.
fn find(store: &Store, args: &LogsArgs) -> Result<(Run, Seen), Failure> {
    let all = history::runs(store)?;
    let runs = match &args.run {
        Some(name) => vec![history::find(&all, name).map_err(Failure::Wrong)?],
        None => all.into_iter().rev().collect(),
    };
    let selector = Selector::parse(&args.stage).map_err(Failure::Wrong)?;
    let mut known = std::collections::BTreeSet::new();
    for run in runs {
        let stages = run.stages();
        let mut of_stage: Vec<Seen> = stages.iter().filter(|seen| selector.matches(&Name::parse(&seen.stage))).cloned().collect();
        match (of_stage.len(), of_stage.pop()) {
            (1, Some(seen)) => return Ok((run, seen)),
            (n, Some(seen)) if n > 1 => {
                let message = format!("`{}` is {n} instances, such as `{}`: name one", args.stage, seen.stage);
                return Err(Failure::Wrong(message));
            }
            _ => known.extend(stages.into_iter().map(|seen| seen.stage)),
        }
    }
    let help = one_of(&args.stage, known.iter().map(String::as_str)).map_or(String::new(), |help| format!(": {help}"));
    Err(Failure::Wrong(format!("no run that is kept had a stage `{}`{help}", args.stage)))
}

/// Where the log is: beside the result, proven, or, where this run has none, in its folder. `None` where the stage said nothing.
fn kept(store: &Store, run: &Run, seen: &Seen) -> Result<Option<PathBuf>, Failure> {
    let own = run.log(seen.index);
    let own = own.exists().then_some(own);
    let Some(key) = seen.key else { return Ok(own) };
    match store.lookup(&key)? {
        // A run that was forced has a log of its own, and its result may be that of an earlier one.
        Lookup::Found(record) if seen.state == State::Cached || record.provenance.run == run.id => Ok(store.proven_log(&record)?),
        _ if own.is_some() || seen.state != State::Cached => Ok(own),
        _ => Err(Failure::Failed(format!(
            "`{}` was cached in run {}, and its result is no longer in the store: nothing is known of what it said",
            seen.stage, run.id
        ))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))
}

fn print_log(path: &Option<PathBuf>) -> Answer {
    path.as_ref().map_or(Ok(()), |path| Raw::print(&read(path)?))
}

/// Prints what is there and what is added, until the stage or its run has ended.
fn follow(store: &Store, run: &Run, seen: &Seen) -> Answer {
    let path = run.log(seen.index);
    let mut printed = 0;
    let mut raw = Raw::new();
    loop {
        // In this order: what is written before the end is printed before it is believed.
        let now = run.stages().into_iter().find(|other| other.index == seen.index);
        let new = from(&path, printed)?;
        printed += new.len() as u64;
        if !new.is_empty() {
            raw.write(&new)?;
        }
        match now {
            Some(now) if now.state == State::Cached && printed == 0 => return print_log(&kept(store, run, &now)?),
            Some(now) if !now.state.is_over() => std::thread::sleep(POLL),
            _ => return raw.end(),
        }
    }
}

/// What a file holds from a place on.
fn from(path: &Path, start: u64) -> Result<Vec<u8>, Failure> {
    let mut new = Vec::new();
    let mut get = || -> std::io::Result<()> {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut new).map(drop)
    };
    match get() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::Failed(format!("cannot read {}: {error}", path.display())))
        }
        _ => Ok(new),
    }
}
