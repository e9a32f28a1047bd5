//! `talkflow run --watch`: runs again whenever something that a run reads has changed.
//!
//! What is watched is asked of the plan each time: the manifest with those it extends, the files of every wanted stage (a pattern is
//! looked through anew, so a file that appears counts), and data sets where they lie. These are compared by their stat at short
//! intervals. That needs no help from the file system, so it works the same on network mounts and in containers, and it cannot miss
//! a save that puts another file in the old one's place. A look that takes long is taken less often: at most a twentieth of the time.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{Answer, Common, Failure, Format, load, run, run::RunArgs, say};
use crate::{
    plan::Plan,
    stage::{Cancel, Located, Stage},
    stages::StageSpec,
};

/// How long to wait between two looks.
const PACE: Duration = Duration::from_millis(200);
/// How much longer than a look the wait for the next one is.
const REST: u32 = 20;
/// How often a wait asks whether a signal came.
const SLICE: Duration = Duration::from_millis(50);
/// More names than this are not listed.
const NAMES: usize = 3;

/// Runs, and runs again after each change, until a signal comes or the store cannot be used.
pub(super) fn watch(args: &RunArgs, common: &Common, cancel: &Cancel) -> Answer {
    if common.format == Format::Json {
        return Err(Failure::Wrong(
            "--watch has no end and --format json is one document: let your program call `talkflow run --format json` again"
                .to_owned(),
        ));
    }
    loop {
        // Taken before the run reads anything: what changes from now on is seen afterwards.
        let seen = View::of(args, common);
        match run::once(args, common, cancel) {
            Ok(()) => {}
            Err(failure @ (Failure::Signal(_) | Failure::Store(_) | Failure::Damaged)) => return Err(failure),
            Err(failure) => super::tell(&failure),
        }
        say(&format!("watching {}; Ctrl-C ends\n", seen.title()));
        let changed = changes(&seen, args, common, cancel)?;
        say(&format!("\nchanged: {changed}\n"));
    }
}

/// Waits until something has changed and changes no more; what it is, for people.
fn changes(seen: &View, args: &RunArgs, common: &Common, cancel: &Cancel) -> Result<String, Failure> {
    let mut pace = PACE;
    let mut before: Option<View> = None;
    loop {
        pause(pace, cancel)?;
        let clock = Instant::now();
        let now = View::of(args, common);
        pace = PACE.max(clock.elapsed() * REST);
        match before.take() {
            // Twice the same: whoever saves has finished.
            Some(before) if before == now => return Ok(now.differences(seen)),
            _ if now != *seen => before = Some(now),
            _ => {}
        }
    }
}

/// Sleeps, unless a signal asks to end.
fn pause(time: Duration, cancel: &Cancel) -> Result<(), Failure> {
    let end = Instant::now() + time;
    loop {
        if let Some(signal) = cancel.signal() {
            return Err(Failure::Signal(signal));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// The files that a run would read, each with its stat where it is there.
#[derive(Debug, Default, PartialEq)]
struct View(BTreeMap<PathBuf, Option<Stat>>);

/// Two equal ones mean: nobody wrote.
#[derive(Debug, PartialEq)]
struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl View {
    fn of(args: &RunArgs, common: &Common) -> Self {
        let paths: Vec<PathBuf> = match load::plan(&args.manifest, common) {
            Ok(plan) => plan.sources.files().map(ToOwned::to_owned).chain(inputs(&plan, args, common)).collect(),
            Err(mistakes) => mistakes.sources().files().map(ToOwned::to_owned).collect(),
        };
        let stat = |path: PathBuf| {
            let found = std::fs::metadata(&path).ok().map(|found| Stat {
                device: found.dev(),
                inode: found.ino(),
                size: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
            });
            (path, found)
        };
        Self(paths.into_iter().map(stat).collect())
    }

    /// `m.yaml and 3 more files`.
    fn title(&self) -> String {
        let count = self.0.len();
        if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
    }

    /// The files that are not as they were.
    fn differences(&self, before: &Self) -> String {
        let here = self.0.iter().filter(|(path, stat)| before.0.get(*path) != Some(stat)).map(|(path, _)| path);
        let gone = before.0.keys().filter(|path| !self.0.contains_key(*path));
        let names: Vec<String> = here.chain(gone).map(|path| path.display().to_string()).collect();
        match names.len().saturating_sub(NAMES) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names[..NAMES].join(", ")),
        }
    }
}

/// The files that the wanted stages read.
fn inputs(plan: &Plan<StageSpec>, args: &RunArgs, common: &Common) -> Vec<PathBuf> {
    let wanted = load::choose(plan, &args.selection).map(|chosen| chosen.wanted);
    let places = common.places();
    let mut paths = Vec::new();
    for (at, instance) in plan.instances.iter().enumerate() {
        // Where the selection is wrong, all of them: a change may put it right.
        if wanted.as_ref().is_ok_and(|wanted| !wanted[at]) {
            continue;
        }
        paths.extend(instance.files.iter().map(|file| file.path.clone()));
        if instance.spec.reads_outside()
            && let Ok(Located::Here(outside)) = instance.spec.locate(&places)
        {
            paths.extend(outside.files.into_iter().map(|(_, path)| path));
        }
    }
    paths
}
