//! Past runs, read back from their folders in the store: what was asked, what happened, and what the stages said. Knows nothing of
//! manifests; a stage is a name here.
//!
//! ```text
//! runs/ID/run.json       what was asked, where and by which versions, and how it ended: `About`
//! runs/ID/resolved.json  parameters and every stage's settings that were in effect, each with its origin
//! runs/ID/sweep.json     of a sweep, what it goes over, and which places of the plan each point needs
//! runs/ID/results.parquet of a sweep that ended, its table
//! runs/ID/events.jsonl   what happened, a line each; locked for as long as the run goes on
//! runs/ID/logs/N.log     what the stage at place N of the plan said
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    event::{Event, Timed},
    key::{ActionKey, Stale},
    source::one_of,
    store::{Store, StoreError, Usage},
};

mod about;
mod lineage;

pub use about::{About, Formats, Git, Host, Manifest, RESOLVED, Revision, Totals, Wanted};
pub use lineage::Lineage;

/// The file of a sweep in its run's folder.
pub const SWEEP: &str = "sweep.json";
/// The file of its table there.
pub const RESULTS: &str = "results.parquet";

/// One run that began in this store.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub id: String,
    folder: PathBuf,
}

/// What became of a stage instance in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its turn has not come.
    Pending,
    /// Another process is making its result.
    Waiting,
    /// It is at work.
    Running,
    /// It did its work.
    Ran,
    /// Its result was there.
    Cached,
    /// It failed.
    Failed,
    /// It was not tried.
    Skipped,
    /// The run ended while it was at work.
    Stopped,
}

impl State {
    /// As in tables and documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
        }
    }

    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Waiting | Self::Running)
    }
}

/// A stage instance in a run.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Its place in the plan.
    pub index: usize,
    /// Its name.
    pub stage: String,
    /// What became of it.
    pub state: State,
    /// Why it ran; of a cached one, what differs from its result before where an earlier one is back.
    pub reason: Option<Stale>,
    /// Why it failed or was skipped.
    pub because: Option<String>,
    /// The key of its result.
    pub key: Option<ActionKey>,
    /// Wall seconds of its work in this run.
    pub seconds: Option<f64>,
    /// Its metrics.
    pub metrics: Map<String, Value>,
    /// What it took of the machine in this run.
    pub usage: Usage,
}

impl Run {
    /// What was asked and how it ended; `None` where the run's folder does not say, as with runs of older versions.
    pub fn about(&self) -> Option<About> {
        serde_json::from_slice(&fs::read(self.folder.join(about::FILE)).ok()?).ok()
    }

    /// Whether its process is at work.
    pub fn goes_on(&self) -> bool {
        let file = fs::File::open(self.folder.join("events.jsonl"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// How it ended, in a word.
    pub fn outcome(&self, about: Option<&About>) -> &'static str {
        match about.and_then(|about| about.exit) {
            Some(0) => "done",
            Some(130 | 143) => "stopped",
            Some(3) => "store unusable",
            Some(4) => "regression",
            Some(_) => "failed",
            None if self.goes_on() => "running",
            None => "killed",
        }
    }

    /// Whether it is one of a manifest of this name, or a sweep of it.
    pub fn is_of(&self, manifest: &str) -> bool {
        let of = self.about().map(|about| about.manifest.name);
        of.is_some_and(|of| of.strip_suffix(".sweep").unwrap_or(&of) == manifest)
    }

    /// What its folder looks like from outside: something has changed where this has.
    pub fn stamp(&self) -> String {
        let one = |file: &str| {
            let meta = fs::metadata(self.folder.join(file)).ok()?;
            Some((meta.len(), meta.modified().ok()?))
        };
        let files = ["events.jsonl", about::FILE, RESOLVED, SWEEP, RESULTS];
        format!("{:?} {}", files.map(one), self.goes_on())
    }

    /// Where its events are.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    /// What it goes over, if it is a sweep.
    pub fn sweep(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.folder.join(SWEEP)).ok()?).ok()
    }

    /// What happened, in order. A line that a killed process left torn, or that this version does not know, is left out.
    pub fn events(&self) -> Vec<Timed> {
        let text = fs::read(self.folder.join("events.jsonl")).unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Parameters and settings as they were in effect: the document that `show --resolved` prints.
    pub fn resolved(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.folder.join(RESOLVED)).ok()?).ok()
    }

    /// The parameters after resolution, by name.
    pub fn params(&self) -> BTreeMap<String, String> {
        let resolved = self.resolved().unwrap_or_default();
        let lines = resolved["params"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |line: &Value, field: &str| line[field].as_str().map(str::to_owned);
        lines.iter().filter_map(|line| Some((text(line, "path")?, text(line, "value")?))).collect()
    }

    /// Where a file of its folder is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the table of a sweep is, if the run is one that ended.
    pub fn results(&self) -> PathBuf {
        self.folder.join(RESULTS)
    }

    /// Where the log of the stage at a place in the plan is, if that stage said anything.
    pub fn log(&self, index: usize) -> PathBuf {
        self.folder.join("logs").join(format!("{index}.log"))
    }

    /// Its stage instances, in the plan's order; those whose turn has not come are there where the run says which there are.
    pub fn stages(&self) -> Vec<Seen> {
        self.stages_of(&self.events())
    }

    /// The same from events that were read already.
    pub fn stages_of(&self, events: &[Timed]) -> Vec<Seen> {
        let mut seen: BTreeMap<usize, Seen> = BTreeMap::new();
        let mut over = false;
        for Timed { event, .. } in events {
            over |= matches!(event, Event::RunFinished { .. });
            let Some((index, stage)) = event.of_stage() else { continue };
            let one = seen.entry(index).or_insert_with(|| Seen::new(index, stage));
            one.hear(event);
        }
        if !over && !seen.is_empty() && self.goes_on() {
            let resolved = self.resolved().unwrap_or_default();
            let stages = resolved["stages"].as_array().map_or(&[][..], Vec::as_slice);
            let wanted = self.about().map(|about| about.wanted);
            for (index, stage) in stages.iter().enumerate() {
                if let (Some(name), true) = (stage["name"].as_str(), wanted.as_ref().is_none_or(|wanted| wanted.contains(index)))
                {
                    seen.entry(index).or_insert_with(|| Seen::new(index, name));
                }
            }
        } else {
            for one in seen.values_mut().filter(|one| !one.state.is_over()) {
                one.state = State::Stopped;
            }
        }
        seen.into_values().collect()
    }
}

impl Seen {
    fn new(index: usize, stage: &str) -> Self {
        Self {
            index,
            stage: stage.to_owned(),
            state: State::Pending,
            reason: None,
            because: None,
            key: None,
            seconds: None,
            metrics: Map::new(),
            usage: Usage::default(),
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Waiting { .. } => self.state = State::Waiting,
            Event::Started { reason, .. } => {
                self.state = State::Running;
                self.reason = Some(reason.clone());
            }
            Event::Cached { key, metrics, back, .. } => {
                self.state = State::Cached;
                (self.key, self.metrics, self.reason) = (Some(*key), metrics.clone(), back.clone());
            }
            Event::Finished { key, metrics, seconds, reason, usage, .. } => {
                self.state = State::Ran;
                (self.key, self.metrics, self.reason) = (Some(*key), metrics.clone(), Some(reason.clone()));
                (self.seconds, self.usage) = (Some(*seconds), *usage);
            }
            Event::Failed { causes, retry, .. } => {
                self.state = if *retry { State::Running } else { State::Failed };
                self.because = Some(causes.join(": "));
            }
            Event::Skipped { because, .. } => {
                self.state = State::Skipped;
                self.because = Some(because.clone());
            }
            Event::Progressed { .. } | Event::Noted { .. } | Event::RunStarted { .. } | Event::RunFinished { .. } => {}
        }
    }

    /// Why it ran, failed or was skipped, or that an earlier result is back, in a few words.
    pub fn why(&self) -> Option<String> {
        match (self.state, &self.reason, &self.because) {
            (State::Failed | State::Skipped, _, Some(because)) => because.lines().next().map(str::to_owned),
            (State::Cached, Some(back), _) => Some(format!("an earlier result: {}", back.brief())),
            (_, Some(reason), _) => Some(reason.brief()),
            _ => None,
        }
    }
}

/// Every run, the oldest first: names begin with the time.
///
/// # Errors
/// Where the disk cannot be read.
pub fn runs(store: &Store) -> Result<Vec<Run>, StoreError> {
    let names = store.run_names()?;
    Ok(names.into_iter().map(|id| Run { folder: store.runs().join(&id), id }).collect())
}

/// The run that `name` means: its name or the beginning of it, `last`, or `last~N`, the Nth before the last.
///
/// # Errors
/// In words, where it means none or several.
pub fn find(runs: &[Run], name: &str) -> Result<Run, String> {
    if let Some(back) = name.strip_prefix("last") {
        let back = match back.strip_prefix('~') {
            None if back.is_empty() => Some(0),
            None => None,
            Some(n) => n.parse::<usize>().ok(),
        };
        let back = back.ok_or_else(|| format!("`{name}` is no run: say `last`, `last~1`, `last~2`, ..."))?;
        return match runs.len().checked_sub(back.saturating_add(1)) {
            Some(place) => Ok(runs[place].clone()),
            None if runs.is_empty() => Err("no run is kept in this store".to_owned()),
            None => Err(format!("`{name}`: only {} runs are kept, the first is {}", runs.len(), runs[0].id)),
        };
    }
    if let Some(run) = runs.iter().find(|run| run.id == name) {
        return Ok(run.clone());
    }
    let begins: Vec<&Run> = runs.iter().filter(|run| !name.is_empty() && run.id.starts_with(name)).collect();
    match begins.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let help = one_of(name, runs.iter().map(|run| run.id.as_str())).map_or(String::new(), |help| format!(": {help}"));
            Err(format!("the store knows no run `{name}`{help}"))
        }
        [first, .., last] => {
            Err(format!("{} runs begin with `{name}`, from {} to {}: type more of it", begins.len(), first.id, last.id))
        }
    }
}

/// Writes a run's settings as they are in effect.
///
/// # Errors
/// Where the disk refuses.
pub fn write_resolved(folder: &Path, resolved: &impl Serialize) -> std::io::Result<()> {
    fs::write(folder.join(RESOLVED), serde_json::to_vec(resolved)?)
}

#[cfg(test)]
mod tests;
