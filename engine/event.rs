//! Everything that happens in a run, as data. The engine tells it, reports show it; neither knows the other.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    key::{ActionKey, Stale},
    store::Usage,
};

/// How far a stage is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units of work done.
    pub done: u64,
    /// Of how many, where that is known.
    pub total: Option<u64>,
    /// What there is to say beside it, such as an epoch's loss.
    pub what: String,
}

/// One thing that happened. `stage` is an instance's name, `index` its place in the plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// The run's name.
        run: String,
        /// The manifest's name.
        manifest: String,
        /// How many stage instances it has to bring up to date.
        stages: usize,
        /// Cores it may use.
        cores: usize,
    },
    /// A result was there already.
    Cached {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// Its key.
        key: ActionKey,
        /// Its metrics.
        metrics: Map<String, Value>,
        /// What has to be said with it.
        notes: Vec<String>,
        /// What differs from the stage's last result, where an earlier result is back.
        #[serde(default)]
        back: Option<Stale>,
    },
    /// A stage's work began.
    Started {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// Why it has to run.
        reason: Stale,
        /// 1, or more after retries.
        attempt: u32,
    },
    /// Another process is making this result; it will be used.
    Waiting {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
    },
    /// A stage came further.
    Progressed {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// How far.
        progress: Progress,
    },
    /// A stage has something to say.
    Noted {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// What.
        note: String,
    },
    /// A stage's work ended well and its result is published.
    Finished {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// Its key.
        key: ActionKey,
        /// Wall time of the work.
        seconds: f64,
        /// Its metrics.
        metrics: Map<String, Value>,
        /// Why it had to run.
        reason: Stale,
        /// What it took of the machine.
        #[serde(default)]
        usage: Usage,
    },
    /// A stage failed, for good or with another attempt to come.
    Failed {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// What went wrong, outermost cause first.
        causes: Vec<String>,
        /// Whether it will be tried again.
        retry: bool,
    },
    /// A stage was not tried.
    Skipped {
        /// Place in the plan.
        index: usize,
        /// Instance.
        stage: String,
        /// Because of what.
        because: String,
    },
    /// The run ended.
    RunFinished {
        /// Stages that did work.
        ran: usize,
        /// Results that were there already.
        cached: usize,
        /// Stages that failed.
        failed: usize,
        /// Stages that were not tried.
        skipped: usize,
        /// Wall time.
        seconds: f64,
    },
}

impl Event {
    /// The stage it is about, with its place in the plan.
    pub fn of_stage(&self) -> Option<(usize, &str)> {
        match self {
            Self::RunStarted { .. } | Self::RunFinished { .. } => None,
            Self::Cached { index, stage, .. }
            | Self::Started { index, stage, .. }
            | Self::Waiting { index, stage }
            | Self::Progressed { index, stage, .. }
            | Self::Noted { index, stage, .. }
            | Self::Finished { index, stage, .. }
            | Self::Failed { index, stage, .. }
            | Self::Skipped { index, stage, .. } => Some((*index, stage)),
        }
    }
}

/// Who is told what happens.
pub trait Listener {
    /// Something happened.
    fn on(&mut self, event: &Event);

    /// Nothing more is about to happen at once: whoever kept something back to show or write it together with more does so now.
    fn pause(&mut self) {}
}

impl<F: FnMut(&Event)> Listener for F {
    fn on(&mut self, event: &Event) {
        self(event);
    }
}

/// A line of a run's journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timed<E = Event> {
    /// Seconds since the run began.
    pub at: f64,
    /// What happened then.
    #[serde(flatten)]
    pub event: E,
}
