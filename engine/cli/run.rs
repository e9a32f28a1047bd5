//! `talkflow run`: brings a manifest's stages up to date, shows the tables, answers with an exit code.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{
    Answer, Common, Failure, Format, ManifestArgs, Selection,
    limits::LimitArgs,
    load, print_for_people, print_json, say,
    still::{self, Call},
    watch,
};
use crate::{
    artifact::{Artifact, ArtifactKind, Digest},
    event::{Event, Listener},
    exec::{self, Fate, Outcome},
    history::{self, About, Host, Revision, Totals, Wanted},
    looks::Looks,
    plan::{Instance, Plan},
    report::{document::RunDocument, journal::Journal, live::Expected, points::Points, search, table, terminal::Terminal},
    scores::{self, Entry, Scores},
    stage::{Cancel, Device},
    stages::{StageSpec, command::guard, dataset::STAND_IN, made_by},
    store::{Latest, Record, Store, StoreError},
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub(super) manifest: ManifestArgs,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    limits: LimitArgs,
    /// After a failure, still run what does not depend on it.
    #[arg(long)]
    keep_going: bool,
    /// Run again whenever the manifest or an input file changes.
    #[arg(long)]
    watch: bool,
}

/// Runs it.
pub fn run(args: &RunArgs, common: &Common) -> Answer {
    let cancel = on_signals()?;
    if args.watch { watch::watch(args, common, &cancel) } else { once(args, common, &cancel) }
}

/// Runs it one time.
pub(super) fn once(args: &RunArgs, common: &Common, cancel: &Cancel) -> Answer {
    let call = Call::this(&args.manifest.manifest);
    if let Some(answer) = call.as_ref().and_then(|call| still::run(call, args, common)) {
        return answer;
    }
    let looks = Looks::default();
    let plan = load::load_seen(&args.manifest, common, &looks)?;
    let options = load::options(&plan, &args.selection, common, &args.limits, args.keep_going)?;
    let seen = call.map(|call| (call, looks));
    let job = Job { plan: &plan, options: &options, manifest: &args.manifest, points: None, kept: None, seen };
    perform(job, common, cancel, |done| {
        again(done.outcome);
        answer(done.outcome, &plan, done.store, &done.about.run, common)
    })
}

/// What is to be done in one run.
pub(super) struct Job<'a> {
    pub plan: &'a Plan<StageSpec>,
    pub options: &'a exec::Options,
    pub manifest: &'a ManifestArgs,
    /// Where it is a sweep.
    pub points: Option<Points>,
    /// A file that lies in the run's folder from the beginning: its name and what is in it.
    pub kept: Option<(&'static str, Vec<u8>)>,
    /// Where a later call may find that nothing has changed since: this one, and what it saw.
    pub seen: Option<(Call, Looks)>,
}

/// A run that came to its end.
pub(super) struct Done<'a> {
    pub outcome: &'a Outcome,
    pub store: &'a Store,
    pub about: &'a About,
    pub folder: &'a Path,
    pub points: Option<Points>,
}

/// Brings what is wanted up to date, shows it as it goes, and keeps what is kept of a run. `tell` says at the end what came of it.
pub(super) fn perform(job: Job<'_>, common: &Common, cancel: &Cancel, tell: impl FnOnce(Done<'_>) -> Answer) -> Answer {
    let Job { plan, options, manifest, points, kept, seen } = job;
    let mut store = common.open_store()?;
    let binary = std::env::current_exe().map_err(|e| Failure::Failed(format!("cannot find talkflow's own binary: {e}")))?;
    guard::by(binary, super::GUARD);
    let begin = since_1970();
    let (id, folder) = store.new_run(begin)?;
    let revision = Revision::of_manifest(&plan.path);
    let at = (options.limits.cores, options.device);
    let mut about = about(&id, &plan.name, manifest, Wanted::of(&options.wanted), at, begin);
    let marks = store.marks(&plan.name);
    let keep = || kept.map_or(Ok(()), |(name, bytes)| std::fs::write(folder.join(name), bytes));
    let begun = about.write(&folder).and_then(|()| keep()).and_then(|()| Journal::begin(&folder));
    let mut journal = begun.map_err(StoreError::io("write in", &folder))?;
    let mut latest = store.latest(&plan.name)?;
    let places = plan.instances.iter().map(|instance| plan.sources.place(instance.at)).collect();
    let mut terminal = Terminal::new(places, expected(plan, &latest, options), points, Some(journal.path().to_owned()));
    let at = exec::RunAt { id: &id, folder: &folder };
    let mut reports = Reports { journal: &mut journal, terminal: &mut terminal, events: 0 };
    // Of many stages it is long, and nothing waits for it.
    let (ran, resolved) = std::thread::scope(|scope| {
        let resolved = scope.spawn(|| history::write_resolved(&folder, &plan.resolution()));
        (exec::run(plan, &store, options, &at, cancel, &mut latest, &mut reports), resolved.join())
    });
    reports.pause();
    let events = reports.events;
    let points = terminal.points();
    // Before anything is said about results: now they survive whatever happens to the machine.
    let ran = ran.and_then(|outcome| store.sync().map(|()| outcome));
    let ended = since_1970();
    about.git = revision.answer();
    let answer = match ran {
        Ok(outcome) => {
            let count = |fate| outcome.count(fate);
            about.totals = Some(Totals {
                ran: count(Fate::Ran),
                cached: count(Fate::Cached),
                failed: count(Fate::Failed),
                skipped: count(Fate::Skipped),
            });
            show_latest(&outcome, plan, &store);
            if let Some((call, looks)) = seen {
                let known = still::Known { plan, options, store: &store, folder: &folder, marks, events };
                still::note(&call, looks, &known, &outcome);
            }
            let done = Done { outcome: &outcome, store: &store, about: &about, folder: &folder, points };
            tell(done).and_then(|()| verdict(outcome, common))
        }
        Err(error) => Err(Failure::Store(error)),
    };
    about.ended = Some(ended.as_secs_f64());
    about.exit = Some(answer.as_ref().map_or_else(Failure::code, |()| 0));
    let resolved = resolved.unwrap_or_else(|_| Err(std::io::Error::other("what was in effect could not be told")));
    warn(&journal, about.write(&folder).and(resolved).err(), &folder);
    answer
}

/// Says what of a run could not be kept.
pub(super) fn warn(journal: &Journal, about: Option<std::io::Error>, folder: &Path) {
    let journal = journal.failure().map(|error| format!("{} is not complete: {error}", journal.path().display()));
    let about = about.map(|error| format!("{} is not complete: {error}", folder.display()));
    for failure in [journal, about].into_iter().flatten() {
        say(&format!("warning: {failure}\n"));
    }
}

pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Who is told of a run.
struct Reports<'a> {
    journal: &'a mut Journal,
    terminal: &'a mut Terminal,
    /// How many there were.
    events: usize,
}

impl Listener for Reports<'_> {
    fn on(&mut self, event: &Event) {
        self.events += 1;
        self.journal.on(event);
        self.terminal.on(event);
    }

    fn pause(&mut self) {
        self.journal.pause();
        self.terminal.pause();
    }
}

/// What the live view has to know of each stage.
fn expected(plan: &Plan<StageSpec>, latest: &Latest, options: &exec::Options) -> Vec<Expected> {
    let names = plan.instances.iter().map(|instance| (instance.name.as_str(), instance.kind.as_str()));
    let stages = plan.instances.iter().zip(latest.expected(names)).zip(&options.wanted);
    let one = |((instance, seconds), wanted): ((&Instance<StageSpec>, Option<f64>), &bool)| Expected {
        name: instance.name.clone(),
        kind: instance.kind.clone(),
        seconds,
        wanted: *wanted,
    };
    stages.map(one).collect()
}

/// What there is to say of a run that begins.
pub(super) fn about(
    id: &str,
    name: &str,
    manifest: &ManifestArgs,
    wanted: Wanted,
    (cores, device): (usize, Device),
    begin: Duration,
) -> About {
    About {
        run: id.to_owned(),
        manifest: history::Manifest { name: name.to_owned(), path: manifest.manifest.clone() },
        talkflow: env!("CARGO_PKG_VERSION").to_owned(),
        formats: history::Formats::default(),
        command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        sets: manifest.sets.clone(),
        wanted,
        host: Host::this(),
        device: device.word().to_owned(),
        cores,
        git: None,
        started: begin.as_secs_f64(),
        ended: None,
        exit: None,
        totals: None,
    }
}

/// What a run that ended means for the exit code.
fn verdict(outcome: Outcome, common: &Common) -> Answer {
    match (outcome.signal, outcome.unusable) {
        (Some(signal), _) => Err(Failure::Signal(signal)),
        // One document only: with `--format json` it is printed already.
        (None, Some(error)) if common.format == Format::Json => {
            say(&format!("error: {error}\n"));
            Err(Failure::Damaged)
        }
        (None, Some(error)) => Err(Failure::Store(error)),
        (None, None) if outcome.steps.iter().any(|step| step.fate == Fate::Failed) => Err(Failure::Told),
        (None, None) => Ok(()),
    }
}

/// Several failures once more together, where they have not scrolled away.
fn again(outcome: &Outcome) {
    let failed = outcome.steps.iter().filter(|step| step.fate == Fate::Failed);
    let first = |reason: &str| reason.lines().next().unwrap_or_default().to_owned();
    let lines: Vec<String> =
        failed.map(|step| format!("  {}: {}\n", step.name, first(step.reason.as_deref().unwrap_or_default()))).collect();
    if lines.len() > 1 {
        say(&format!("{} stages failed:\n{}", lines.len(), lines.concat()));
    }
}

/// Brings `out/` up to date. Only a view: that it could not be kept is no reason to lose a run.
fn show_latest(outcome: &Outcome, plan: &Plan<StageSpec>, store: &Store) {
    let mut results: BTreeMap<&str, Option<&Artifact>> = plan.instances.iter().map(|one| (one.name.as_str(), None)).collect();
    results.extend(outcome.steps.iter().map(|step| (step.name.as_str(), step.record.as_ref().map(|record| &record.files))));
    if let Err(error) = store.show_latest(&plan.name, &results) {
        say(&format!("warning: the view of last results is not complete: {error}\n"));
    }
}

/// Prints the tables, or the document.
fn answer(outcome: &Outcome, plan: &Plan<StageSpec>, store: &Store, id: &str, common: &Common) -> Answer {
    let mut metrics = Map::new();
    let order = order(plan);
    if common.format == Format::Human {
        let notes = outcome.steps.iter().filter_map(|step| step.record.as_ref()).flat_map(|record| &record.notes);
        for note in notes.filter(|note| note.starts_with(STAND_IN)) {
            print_for_people(&format!("\n{note}\n"))?;
        }
    }
    for step in &outcome.steps {
        // Those of other places of the same search say the same.
        if let (Format::Human, Some(record)) = (common.format, step.record.as_ref())
            && record.metrics.get("place").is_none_or(|place| *place == 1)
            && let Some(text) = search::render(&step.name, &record.metrics, spent(outcome, plan, &step.name))
            && made_by(&record.kind) == Some(ArtifactKind::Settings)
        {
            print_for_people(&format!("\n{text}"))?;
        }
        // A program's file may have any name.
        let scored = step.record.as_ref().filter(|record| made_by(&record.kind) == Some(ArtifactKind::Scores));
        let Some(entry) = scored.and_then(|record| record.files.0.get(scores::FILE)) else { continue };
        let scores = table::read(&store.proven(scores::FILE, entry)?).map_err(Failure::Failed)?;
        match common.format {
            Format::Json => drop(metrics.insert(step.name.clone(), document(&scores, outcome, plan, &step.name)?)),
            Format::Human => {
                let sheets = table::comparisons(&scores, &order);
                let sheets: String = sheets.iter().map(|sheet| format!("\n{}", sheet.brief().text())).collect();
                print_for_people(&format!("\n{}{sheets}", table::render(&step.name, &scores, &order)))?;
            }
        }
    }
    match common.format {
        Format::Json => print_json(&RunDocument::of(outcome, &plan.name, id, metrics)),
        Format::Human => Ok(()),
    }
}

/// How long what a stage takes as inputs took, when it was made.
fn spent(outcome: &Outcome, plan: &Plan<StageSpec>, name: &str) -> Option<f64> {
    let instance = plan.instances.iter().find(|instance| instance.name == name)?;
    let inputs = instance.inputs.iter().filter(|input| !input.through).flat_map(|input| &input.from);
    let names: HashSet<&str> = inputs.map(|place| plan.instances[*place].name.as_str()).collect();
    let records = outcome.steps.iter().filter(|step| names.contains(step.name.as_str())).filter_map(|step| step.record.as_ref());
    Some(records.map(|record| record.provenance.seconds).sum())
}

/// The values of each axis, in the manifest's order.
fn order(plan: &Plan<StageSpec>) -> table::Order {
    // Instances are in the plan's order, and those of one stage in the order of its matrix.
    let mut order: IndexMap<&String, IndexSet<&String>> = IndexMap::new();
    for (axis, value) in plan.instances.iter().flat_map(|instance| &instance.labels) {
        order.entry(axis).or_default().insert(value);
    }
    order.into_iter().map(|(axis, values)| (axis.clone(), values.into_iter().cloned().collect())).collect()
}

/// An evaluation as data, each entry with what no artifact may hold: its model's name and the seconds its training took.
fn document(scores: &Scores, outcome: &Outcome, plan: &Plan<StageSpec>, evaluation: &str) -> Result<Value, Failure> {
    let mut document = serde_json::to_value(scores).map_err(|error| Failure::Failed(error.to_string()))?;
    let evaluation = plan.instances.iter().find(|instance| instance.name == evaluation);
    let inputs = evaluation.map_or(&[][..], |instance| &instance.inputs).iter();
    let from = inputs.filter(|input| ["models", "teacher"].contains(&input.port.0.as_str())).flat_map(|input| &input.from);
    let steps: HashMap<&str, &Record> =
        outcome.steps.iter().filter_map(|step| Some((step.name.as_str(), step.record.as_deref()?))).collect();
    let mut models: HashMap<Digest, Vec<(&Instance<StageSpec>, &Record)>> = HashMap::new();
    for instance in from.map(|place| &plan.instances[*place]) {
        if let Some(record) = steps.get(instance.name.as_str()) {
            models.entry(record.files.digest()).or_default().push((instance, record));
        }
    }
    let model = |entry: &Entry| {
        let same = |(instance, _): &&(&Instance<StageSpec>, &Record)| {
            instance.labels.len() == entry.labels.len()
                && instance.labels.iter().all(|(axis, value)| entry.labels.get(axis) == Some(value))
        };
        models.get(&entry.model).and_then(|models| models.iter().find(same))
    };
    if let Some(entries) = document["entries"].as_array_mut() {
        for (entry, scored) in entries.iter_mut().zip(&scores.entries) {
            let model = model(scored);
            entry["instance"] = model.map(|(instance, _)| instance.name.clone()).into();
            entry["seconds"] = model.map(|(_, record)| record.provenance.seconds).into();
        }
    }
    Ok(document)
}

/// Ctrl-C and SIGTERM ask the run to end; a second one ends the process, which harms nothing.
pub(super) fn on_signals() -> Result<Cancel, Failure> {
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
