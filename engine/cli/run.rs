//! `talkflow run`: brings a manifest's stages up to date, shows the tables, answers with an exit code.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::{Map, Value};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Answer, Common, Failure, Format, ManifestArgs, Selection, load, print, print_json};
use crate::{
    artifact::ArtifactKind,
    event::Event,
    exec::{self, Fate, Outcome},
    plan::Plan,
    report::{
        document::RunDocument,
        journal::Journal,
        table,
        terminal::Terminal,
    },
    stage::Cancel,
    stages::StageSpec,
    store::Store,
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    selection: Selection,
    /// Cores all stages together may use [default: all].
    #[arg(short = 'j', long = "jobs", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// After a failure, still run what does not depend on it.
    #[arg(long)]
    keep_going: bool,
}

/// Runs it.
pub fn run(args: &RunArgs, common: &Common) -> Answer {
    let loaded = load::load(&args.manifest, common)?;
    let options = load::options(&loaded, &args.selection, common, args.jobs.map(usize::from), args.keep_going)?;
    let store = common.open_store()?;
    let cancel = on_signals()?;
    let id = run_id();
    let folder = store.run_folder(&id)?;
    let mut journal = Journal::begin(&folder).map_err(|e| Failure::Failed(format!("cannot write in {}: {e}", folder.display())))?;
    let places = loaded.plan.instances.iter().map(|instance| loaded.sources.place(instance.at)).collect();
    let mut terminal = Terminal::new(places, Some(journal.path().to_owned()));
    let mut report = |event: &Event| {
        journal.on(event);
        terminal.on(event);
    };
    let outcome = exec::run(&loaded.plan, &store, &options, &id, &cancel, &mut report)?;
    if let Some(error) = journal.failure() {
        let note = format!("warning: {} is not complete: {error}\n", journal.path().display());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes());
    }
    answer(&outcome, &loaded.plan, &store, &id, common)?;
    match (outcome.signal, outcome.unusable) {
        (Some(signal), _) => Err(Failure::Signal(signal)),
        (None, Some(error)) => Err(Failure::Store(error)),
        (None, None) if outcome.steps.iter().any(|step| step.fate == Fate::Failed) => Err(Failure::Told),
        (None, None) => Ok(()),
    }
}

/// Prints the tables, or the document.
fn answer(outcome: &Outcome, plan: &Plan<StageSpec>, store: &Store, id: &str, common: &Common) -> Answer {
    let mut metrics = Map::new();
    for step in &outcome.steps {
        let (Some(record), Some(instance)) = (&step.record, plan.instances.iter().find(|i| i.name == step.name)) else { continue };
        if instance.yields != ArtifactKind::Scores {
            continue;
        }
        let scores = table::Scores::read(store, record)?;
        match common.format {
            Format::Json => drop(metrics.insert(step.name.clone(), scores.document(outcome, plan, instance))),
            Format::Human => print(&format!("\n{}\n", scores.render(&step.name, plan, instance)))?,
        }
    }
    match common.format {
        Format::Json => print_json(&RunDocument::of(outcome, &plan.name, id, metrics)),
        Format::Human => Ok(()),
    }
}

/// Ctrl-C and SIGTERM ask the run to end; a second one ends the process, which harms nothing.
fn on_signals() -> Result<Cancel, Failure> {
    let signal = Arc::new(AtomicUsize::new(0));
    let again = Arc::new(AtomicBool::new(false));
    for (number, value) in [(SIGINT, 2), (SIGTERM, 15)] {
        let register = || -> std::io::Result<()> {
            // In this order: the first signal arms the exit that the second one takes.
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, again.clone())?;
            signal_hook::flag::register(number, again.clone())?;
            signal_hook::flag::register_usize(number, signal.clone(), value)?;
            Ok(())
        };
        register().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    }
    Ok(Cancel::on(signal))
}

/// A run's name: when it began, in UTC, and which process it was.
fn run_id() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{}-{}", super::time::stamp(seconds), std::process::id())
}
