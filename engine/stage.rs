//! What a stage kind is to the engine: something with a kind, a version and a `run` that reads inputs and writes files into a
//! draft. What a run may use of the world is in [`StageCx`]. Knows no kind by name.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::{
    artifact::{Artifact, Digest},
    event::Progress,
    store::{Store, Usage},
};

/// Where floats are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs a build with the feature `cuda`.
    Cuda,
}

impl Device {
    /// The one list of devices.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Cuda];

    /// As in keys and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// A GPU that a stage may use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gpu {
    /// Its number among those that this process sees.
    pub ordinal: usize,
    /// What `CUDA_VISIBLE_DEVICES` calls it.
    pub name: String,
}

/// Where files from outside are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    /// The user's own folder of data sets.
    pub data: Option<PathBuf>,
    /// Where downloads are kept.
    pub cache: PathBuf,
    /// Whether the network may not be used.
    pub offline: bool,
}

/// Files from outside the store that a stage reads, and what else it found out about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Role and place of each file. Contents enter the key, places do not.
    pub files: Vec<(String, PathBuf)>,
    /// Findings that enter the key, such as which data set stands in.
    pub facts: Vec<(String, String)>,
    /// Sentences to show and to keep with the result, such as where data came from.
    pub notes: Vec<String>,
}

/// The answer to "which files would you read?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// These.
    Here(Outside),
    /// They have to be downloaded first: what, in words.
    Elsewhere(String),
}

/// One variant of the closed set of stage kinds, with its settings.
pub trait Stage: Send + Sync {
    /// The word in the manifest.
    fn kind(&self) -> &'static str;

    /// Raised whenever the same inputs and settings give other bytes.
    fn version(&self) -> u32;

    /// The numeric backend and device class, where the kind computes floats with one.
    fn backend(&self, device: Device) -> Option<String>;

    /// How many cores it can make use of, where the manifest does not say.
    fn cores(&self) -> usize {
        1
    }

    /// Whether its own code computes, and is given threads to do so.
    fn computes(&self) -> bool {
        true
    }

    /// Whether the matrix values of the inputs on a port matter to it, as they do to a table.
    fn reads_labels(&self, _port: &str) -> bool {
        false
    }

    /// Whether its result is read at the end of a run, to be shown.
    fn is_shown(&self) -> bool {
        false
    }

    /// Whether it reads files from outside the store.
    fn reads_outside(&self) -> bool {
        false
    }

    /// The files it would read, without touching the network.
    ///
    /// # Errors
    /// Where they are wanted and cannot be had.
    fn locate(&self, _places: &Places) -> anyhow::Result<Located> {
        Ok(Located::Here(Outside::default()))
    }

    /// The same, downloading what is not there.
    ///
    /// # Errors
    /// Where the data cannot be had, or are not what they should be.
    fn fetch(&self, places: &Places, _cx: &Talk<'_>) -> anyhow::Result<Outside> {
        match self.locate(places)? {
            Located::Here(outside) => Ok(outside),
            Located::Elsewhere(what) => anyhow::bail!("{what} is not here and this stage cannot download"),
        }
    }

    /// Does the work: reads `cx`'s inputs, writes plain files into `cx.out`.
    ///
    /// # Errors
    /// Whatever goes wrong, in words that say where, what and what to do.
    fn run(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()>;
}

/// The wish that work end before it is done.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    signal: Arc<AtomicUsize>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// Watches a signal number, 0 while there is none.
    pub fn on(signal: Arc<AtomicUsize>) -> Self {
        Self { signal, deadline: None }
    }

    /// The same, with a time limit from now.
    pub fn within(&self, limit: Option<Duration>) -> Self {
        Self { signal: self.signal.clone(), deadline: limit.map(|limit| Instant::now() + limit) }
    }

    /// The signal received, if any.
    pub fn signal(&self) -> Option<usize> {
        Some(self.signal.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    /// Whether the time limit has passed.
    pub fn timed_out(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether to stop now.
    pub fn wanted(&self) -> bool {
        self.signal().is_some() || self.timed_out()
    }
}

/// What a stage says while it works.
#[derive(Clone, Debug)]
pub enum Said {
    /// It came further.
    Progress(Progress),
    /// Something for people to know, also kept in its log.
    Note(String),
}

/// How a stage speaks and hears while it works. Safe to use from any thread.
#[derive(Clone, Copy)]
pub struct Talk<'a> {
    /// Takes what it says.
    pub say: &'a (dyn Fn(Said) + Sync),
    /// The wish that it stop.
    pub cancel: &'a Cancel,
}

impl Talk<'_> {
    /// Tells how far the work is.
    pub fn progress(&self, done: u64, total: Option<u64>, what: impl Into<String>) {
        (self.say)(Said::Progress(Progress { done, total, what: what.into() }));
    }

    /// Whether to stop; asked often.
    pub fn cancelled(&self) -> bool {
        self.cancel.wanted()
    }
}

/// One input: what another instance published.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// Its instance's name, for messages.
    pub instance: &'a str,
    /// Its matrix values by axis.
    pub labels: &'a IndexMap<String, String>,
    /// Its files.
    pub files: &'a Artifact,
    pub(crate) store: &'a Store,
}

impl Input<'_> {
    /// Where one of its files lies. Read-only.
    ///
    /// # Errors
    /// Where the artifact has no file of that name.
    pub fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        match self.files.0.get(name) {
            Some(entry) => Ok(self.store.blob(&entry.digest)),
            None => anyhow::bail!("the result of `{}` holds no `{name}`", self.instance),
        }
    }

    /// The digest over all its files.
    pub fn digest(&self) -> Digest {
        self.files.digest()
    }
}

/// All that a stage may use while it runs.
pub struct StageCx<'a> {
    /// Inputs by port, in canonical order.
    pub inputs: IndexMap<String, Vec<Input<'a>>>,
    /// What `locate` or `fetch` found.
    pub outside: &'a Outside,
    /// Where downloads and the user's data lie.
    pub places: &'a Places,
    /// The folder to write into.
    pub out: &'a Path,
    /// The files of the result by name, where they are not all that lies in `out`, or have other names there.
    pub files: Option<Vec<(String, PathBuf)>>,
    /// The file that the stage's log goes to, to append to; made when there is something to write.
    pub log: &'a Path,
    /// Where checkpoints go, a folder to make when there is one; survives a kill and vanishes at publication.
    pub partial: &'a Path,
    /// Where to compute.
    pub device: Device,
    /// The GPUs it was given, which no other stage of this run has meanwhile.
    pub gpus: &'a [Gpu],
    /// How it speaks and hears.
    pub talk: Talk<'a>,
    /// Numbers about the result, in the order given.
    pub metrics: Map<String, Value>,
    /// Sentences kept with the result.
    pub notes: Vec<String>,
    /// What it took of the machine, where the stage knows better than the engine: of processes that it started.
    pub usage: Usage,
}

impl<'a> StageCx<'a> {
    /// The one artifact on a port.
    ///
    /// # Errors
    /// Where the plan gave none: a fault of the kind, not of the user.
    pub fn input(&self, port: &str) -> anyhow::Result<&Input<'a>> {
        self.inputs(port).first().ok_or_else(|| anyhow::anyhow!("no input on port `{port}`"))
    }

    /// All artifacts on a port; none where the manifest names none.
    pub fn inputs(&self, port: &str) -> &[Input<'a>] {
        self.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// Keeps a number with the result. What is not finite is kept as null.
    pub fn metric(&mut self, name: &str, value: impl Into<Value>) {
        self.metrics.insert(name.to_owned(), value.into());
    }

    /// Shows a sentence and keeps it with the result.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        (self.talk.say)(Said::Note(note.clone()));
        self.notes.push(note);
    }
}
