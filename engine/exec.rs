//! A plan and a store become a run. One loop on one thread owns every state; workers only send messages. Knows no YAML, no
//! learning and no terminal: everything that happens is an [`Event`].
//!
//! ```text
//! Blocked --inputs done--> Ready --files found--> (looked up) --result there--> Done (cached)
//!    |                       |                        |
//!    |                    Locating                  Queued --cores and lease--> Running --> Done | Failed | Stopped
//!    |                                                +--lease taken--> Waiting (holds nothing) --> Queued or Done
//!    +--an input failed----------------------------------------------------------------> Skipped
//! ```
//!
//! A stage that finds an input damaged goes back to Blocked, and the one that made the input back to Ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use crate::{
    event::{Event, Listener},
    key::{ActionKey, Fingerprint, Stale},
    plan::{Instance, Plan, Resources},
    stage::{Cancel, Device, Located, Outside, Places, Said, Stage, Talk},
    store::{Latest, Lease, Lookup, NotWhole, OutsideFiles, Record, Store, StoreError, Taken},
};

mod expected;
mod log;
mod origin;
mod schedule;
mod usage;
mod walk;
mod worker;

pub use expected::expected_seconds;
pub use origin::Origins;
pub use schedule::Limits;
use schedule::{Begun, Demand, Schedule};
use usage::Peak;
pub use walk::{Standing, Walk};
use worker::{Ended, Job};

/// What the user may decide about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all stages together may use.
    pub limits: Limits,
    /// Whether stages that do not depend on a failed one still run.
    pub keep_going: bool,
    /// Which instances to bring up to date, by place; what they depend on has to be among them.
    pub wanted: Vec<bool>,
    /// Which instances to run even if their result is there.
    pub forced: Vec<bool>,
    /// Where to compute.
    pub device: Device,
    /// Where files from outside are looked for.
    pub places: Places,
    /// Whether to read files from outside anew although their stat has not changed.
    pub paranoid: bool,
}

/// A run's name and place.
#[derive(Clone, Copy, Debug)]
pub struct RunAt<'a> {
    /// Its name.
    pub id: &'a str,
    /// Its folder in the store.
    pub folder: &'a Path,
}

impl RunAt<'_> {
    /// The log of the instance at a place in the plan.
    pub fn log_of(&self, index: usize) -> PathBuf {
        self.folder.join("logs").join(format!("{index}.log"))
    }
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It did its work.
    Ran,
    /// Its result was there.
    Cached,
    /// It failed.
    Failed,
    /// It was not tried, since something it depends on failed or the run was stopped.
    Skipped,
}

/// One instance after the run.
#[derive(Clone, Debug)]
pub struct Step {
    /// The instance's name.
    pub name: String,
    /// How it ended.
    pub fate: Fate,
    /// Why it ran, failed or was skipped.
    pub reason: Option<String>,
    /// Its result, if it has one.
    pub record: Option<Box<Record>>,
}

impl Step {
    /// The key of its result.
    pub fn key(&self) -> Option<ActionKey> {
        self.record.as_ref().map(|record| record.key)
    }

    /// The metrics of its result.
    pub fn metrics(&self) -> Map<String, Value> {
        self.record.as_ref().map(|record| record.metrics.clone()).unwrap_or_default()
    }
}

/// A run after its end.
#[derive(Debug)]
pub struct Outcome {
    /// Every wanted instance, in the plan's order.
    pub steps: Vec<Step>,
    /// Wall time.
    pub seconds: f64,
    /// The signal that stopped it, if one did.
    pub signal: Option<usize>,
    /// What made the store unusable, if it became so.
    pub unusable: Option<StoreError>,
}

impl Outcome {
    /// How many instances ended so.
    pub fn count(&self, fate: Fate) -> usize {
        self.steps.iter().filter(|step| step.fate == fate).count()
    }
}

enum State {
    /// Waits for so many inputs.
    Blocked(usize),
    Locating,
    Queued(Box<Queued>),
    /// Another makes this result.
    Waiting(Box<Queued>),
    Running(Stale, ActionKey),
    Ended(Fate, Option<String>, Option<Box<Record>>),
}

struct Queued {
    fingerprint: Fingerprint,
    reason: Stale,
    outside: Outside,
    /// Whether it was said that another process makes it.
    told: bool,
}

enum Message {
    Located(usize, Result<Outside, String>),
    /// The lease that was waited for.
    Leased(usize, Result<Lease, StoreError>),
    Started(usize, Stale),
    Said(usize, Said),
    Ended(usize, Box<Ended>),
}

/// How often the loop looks for a signal while nothing happens.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// How often a stage whose result gets damaged is made again in one run.
const AGAIN: u32 = 3;

/// Brings the wanted instances up to date and tells `report` all that happens.
///
/// # Errors
/// Where the store cannot be used before anything has started; later troubles are in the [`Outcome`].
pub fn run<S: Stage>(
    plan: &Plan<S>,
    store: &Store,
    options: &Options,
    run: &RunAt<'_>,
    cancel: &Cancel,
    latest: &mut Latest,
    report: &mut dyn Listener,
) -> Result<Outcome, StoreError> {
    let last = plan.instances.iter().zip(&options.wanted).filter(|(_, wanted)| **wanted);
    store.look_ahead(&plan.name, &last.filter_map(|(instance, _)| latest.get(&instance.name)).copied().collect::<Vec<_>>())?;
    let files = store.outside_files(options.paranoid);
    files.look_ahead();
    let clock = Instant::now();
    let (sender, inbox) = mpsc::channel();
    let wanted = options.wanted.iter().filter(|wanted| **wanted).count();
    report.on(&Event::RunStarted {
        run: run.id.to_owned(),
        manifest: plan.name.clone(),
        stages: wanted,
        cores: options.limits.cores,
    });
    let order = expected::longest_path_first(plan, &options.wanted, &expected_seconds(plan, latest));
    let demands: Vec<Demand> = plan.instances.iter().map(|instance| demand(instance, options.device)).collect();
    let schedule = Schedule::new(&options.limits, &demands, order);
    let (states, unusable) = std::thread::scope(|scope| {
        let mut engine = Loop {
            plan,
            store,
            options,
            run,
            cancel,
            files: &files,
            latest,
            report,
            scope,
            sender,
            states: Vec::new(),
            followers: followers(plan),
            attempts: vec![0; plan.instances.len()],
            origins: Origins::new(plan.instances.len()),
            peaks: BTreeMap::new(),
            looked: Instant::now(),
            again: vec![0; plan.instances.len()],
            ready: BTreeSet::new(),
            schedule,
            begun: BTreeMap::new(),
            resting: BTreeMap::new(),
            busy: 0,
            waiting: 0,
            making: BTreeSet::new(),
            closing: false,
            unusable: None,
        };
        engine.go(&inbox);
        (engine.states, engine.unusable)
    });
    // Only a cache: that it could not be kept is no reason to lose a run.
    let _ = store.remember(&files);
    let steps: Vec<Step> = (plan.instances.iter().zip(states))
        .zip(&options.wanted)
        .filter(|(_, wanted)| **wanted)
        .map(|((instance, state), _)| match state {
            State::Ended(fate, reason, record) => Step { name: instance.name.clone(), fate, reason, record },
            _ => Step {
                name: instance.name.clone(),
                fate: Fate::Skipped,
                reason: Some("the run was stopped".into()),
                record: None,
            },
        })
        .collect();
    let outcome = Outcome { steps, seconds: clock.elapsed().as_secs_f64(), signal: cancel.signal(), unusable };
    report.on(&Event::RunFinished {
        ran: outcome.count(Fate::Ran),
        cached: outcome.count(Fate::Cached),
        failed: outcome.count(Fate::Failed),
        skipped: outcome.count(Fate::Skipped),
        seconds: outcome.seconds,
    });
    Ok(outcome)
}

/// Who reads the result of each instance.
fn followers<S>(plan: &Plan<S>) -> Vec<BTreeSet<usize>> {
    let mut followers = vec![BTreeSet::new(); plan.instances.len()];
    for (index, instance) in plan.instances.iter().enumerate() {
        for from in instance.reads() {
            followers[from].insert(index);
        }
    }
    followers
}

/// What an instance takes while it runs.
pub fn demand<S: Stage>(instance: &Instance<S>, device: Device) -> Demand {
    let Resources { cores, memory, gpus, pools } = &instance.resources;
    // On a GPU, what computes differs from what does on the processor.
    let on_gpu = device == Device::Cuda && instance.spec.backend(device) != instance.spec.backend(Device::Cpu);
    Demand {
        cores: cores.unwrap_or_else(|| instance.spec.cores()),
        memory: memory.unwrap_or(0),
        gpus: gpus.unwrap_or(usize::from(on_gpu)),
        pools: pools.clone(),
    }
}

struct Loop<'scope, 'env, S> {
    plan: &'env Plan<S>,
    store: &'env Store,
    options: &'env Options,
    run: &'env RunAt<'env>,
    cancel: &'env Cancel,
    files: &'env OutsideFiles,
    latest: &'env mut Latest,
    report: &'env mut dyn Listener,
    scope: &'scope std::thread::Scope<'scope, 'env>,
    sender: mpsc::Sender<Message>,
    states: Vec<State>,
    followers: Vec<BTreeSet<usize>>,
    /// How often each was begun.
    attempts: Vec<u32>,
    /// Whose change each one's own goes back to.
    origins: Origins,
    /// The memory seen while each of the running works, and when it was last looked at.
    peaks: BTreeMap<usize, Peak>,
    looked: Instant,
    /// How often each was made again since its result was damaged.
    again: Vec<u32>,
    /// Instances whose inputs are all there, to be looked at next in the plan's order: a set, so that a long chain needs no deep
    /// stack.
    ready: BTreeSet<usize>,
    /// Those that failed and will be tried again: when, and of what they failed. They hold no cores.
    resting: BTreeMap<(Instant, usize), Vec<String>>,
    /// The queued, and what is free.
    schedule: Schedule,
    /// What those at work were given, by place.
    begun: BTreeMap<usize, Begun>,
    /// Threads at work.
    busy: usize,
    /// Threads that wait for leases.
    waiting: usize,
    /// The keys that this run makes just now.
    making: BTreeSet<ActionKey>,
    /// No new work is begun any more.
    closing: bool,
    unusable: Option<StoreError>,
}

impl<'env, S: Stage> Loop<'_, 'env, S> {
    fn go(&mut self, inbox: &mpsc::Receiver<Message>) {
        let inputs = |index: usize| self.plan.instances[index].reads().collect::<BTreeSet<_>>().len();
        self.states = (0..self.plan.instances.len()).map(|index| State::Blocked(inputs(index))).collect();
        for index in 0..self.states.len() {
            if matches!(self.states[index], State::Blocked(0)) && self.options.wanted[index] {
                self.ready.insert(index);
            }
        }
        loop {
            self.closing |= self.cancel.signal().is_some();
            self.wake();
            while let Some(index) = self.ready.pop_first().filter(|_| !self.closing) {
                self.look_at(index);
            }
            self.start_queued();
            if self.busy == 0 && (self.closing || (self.waiting == 0 && self.resting.is_empty())) {
                return self.rest_is_over();
            }
            self.look_at_memory();
            let until_next = self.resting.first_key_value().map(|((when, _), _)| when.saturating_duration_since(Instant::now()));
            let message = inbox.try_recv().or_else(|_| {
                self.report.pause();
                inbox.recv_timeout(until_next.unwrap_or(HEARTBEAT).min(HEARTBEAT))
            });
            match message {
                Ok(message) => self.hear(message),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Those that rested long enough after a failure are looked at again.
    fn wake(&mut self) {
        while let Some(first) = self.resting.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let ((_, index), _) = first.remove_entry();
            self.ready.insert(index);
        }
    }

    /// The run ends: what rests is not tried again, unless a signal ended it what it failed of stands.
    fn rest_is_over(&mut self) {
        for ((_, index), causes) in std::mem::take(&mut self.resting) {
            if self.cancel.signal().is_none() {
                self.fail(index, causes);
            }
        }
    }

    fn look_at_memory(&mut self) {
        if self.looked.elapsed() >= HEARTBEAT && !self.peaks.is_empty() {
            let now = usage::memory().0.unwrap_or(0);
            self.peaks.values().for_each(|peak| peak.saw(now));
            self.looked = Instant::now();
        }
    }

    fn walk(&self) -> Walk<'_, S> {
        Walk { plan: self.plan, store: self.store, latest: self.latest, files: self.files, device: self.options.device }
    }

    /// All inputs of an instance are there: find its files from outside, then look its result up.
    fn look_at(&mut self, index: usize) {
        if self.is_blocked_again(index) {
            return;
        }
        let spec = &self.plan.instances[index].spec;
        if !spec.reads_outside() {
            return self.look_up(index, Outside::default());
        }
        self.states[index] = State::Locating;
        self.busy += 1;
        let (sender, cancel, places) = (self.sender.clone(), self.cancel.clone(), &self.options.places);
        self.scope.spawn(move || {
            let say = |said| drop(sender.send(Message::Said(index, said)));
            let talk = Talk { say: &say, cancel: &cancel };
            let found = match spec.locate(places) {
                Ok(Located::Here(outside)) => Ok(outside),
                Ok(Located::Elsewhere(_)) => spec.fetch(places, &talk),
                Err(error) => Err(error),
            };
            drop(sender.send(Message::Located(index, found.map_err(|error| format!("{error:#}")))));
        });
    }

    /// The result of an instance that has one by now.
    fn result(&self, index: usize) -> Option<&Record> {
        match &self.states[index] {
            State::Ended(_, _, Some(record)) => Some(record),
            _ => None,
        }
    }

    /// Whether an input went back to be made again; then the instance waits for it.
    fn is_blocked_again(&mut self, index: usize) -> bool {
        let from: BTreeSet<usize> = self.plan.instances[index].inputs.iter().flat_map(|input| &input.from).copied().collect();
        let missing = from.into_iter().filter(|from| self.result(*from).is_none()).count();
        if missing > 0 {
            self.states[index] = State::Blocked(missing);
        }
        missing > 0
    }

    fn look_up(&mut self, index: usize, outside: Outside) {
        let instance = &self.plan.instances[index];
        let walk = self.walk();
        let fingerprint = match walk.fingerprint(instance, |from| self.result(from).map(|record| record.files.digest()), &outside)
        {
            Ok(fingerprint) => fingerprint,
            Err(error) => return self.fail(index, vec![error]),
        };
        match walk.standing(instance, fingerprint, self.options.forced[index]) {
            Ok(Standing::Fresh(record)) => match instance.spec.is_shown().then(|| self.store.prove(&record.files)) {
                Some(Err(error)) => self.give_up(index, error, Vec::new()),
                Some(Ok(damaged)) if !damaged.is_empty() => {
                    damaged.iter().for_each(|damaged| self.note_damage(index, damaged));
                    self.look_up(index, outside);
                }
                _ => self.cached(index, record),
            },
            Ok(Standing::Stale { fingerprint: Some(fingerprint), reason, .. }) => {
                let reason = self.origins.trace(index, instance, reason);
                self.states[index] = State::Queued(Box::new(Queued { fingerprint, reason, outside, told: false }));
                self.schedule.push(index);
            }
            Ok(Standing::Stale { fingerprint: None, .. } | Standing::Blocked(_)) => {
                self.fail(index, vec!["its key could not be made".to_owned()]);
            }
            Err(error) => self.give_up(index, error, Vec::new()),
        }
    }

    /// Begins queued work while there is something free for it.
    fn start_queued(&mut self) {
        while !self.closing
            && let Some(begun) = self.schedule.next()
        {
            let index = begun.index;
            let State::Queued(queued) = std::mem::replace(&mut self.states[index], State::Locating) else {
                self.schedule.end(begun);
                continue;
            };
            let lease = match self.store.lease(&queued.fingerprint.key()) {
                Ok(Ok(lease)) => lease,
                Ok(Err(taken)) => {
                    self.schedule.end(begun);
                    self.wait(index, queued, taken);
                    continue;
                }
                Err(error) => {
                    self.give_up(index, error, Vec::new());
                    return;
                }
            };
            self.store.look_back();
            self.files.look_back();
            self.busy += 1;
            self.begin(*queued, lease, &begun);
            self.begun.insert(index, begun);
        }
    }

    /// Lets another one make the result. Meanwhile the instance holds nothing.
    fn wait(&mut self, index: usize, mut queued: Box<Queued>, taken: Taken) {
        let own = self.making.contains(&queued.fingerprint.key());
        if !own && !std::mem::replace(&mut queued.told, true) {
            self.report.on(&Event::Waiting { index, stage: self.plan.instances[index].name.clone() });
        }
        self.states[index] = State::Waiting(queued);
        self.waiting += 1;
        let sender = self.sender.clone();
        // On its own: it cannot be told to stop, and must not keep a run that is told to from ending.
        std::thread::spawn(move || drop(sender.send(Message::Leased(index, taken.wait()))));
    }

    /// The other one is done, or dead.
    fn leased(&mut self, index: usize, lease: Result<Lease, StoreError>) {
        self.waiting -= 1;
        let State::Waiting(queued) = std::mem::replace(&mut self.states[index], State::Locating) else { return };
        let found = lease.and_then(|lease| {
            let found = self.store.lookup(&queued.fingerprint.key());
            // Whoever has cores free may have it.
            drop(lease);
            found
        });
        match found {
            Ok(Lookup::Found(record)) => self.cached(index, record),
            Ok(Lookup::Unknown | Lookup::Lost(_)) if !self.is_blocked_again(index) => {
                self.states[index] = State::Queued(queued);
                self.schedule.push(index);
            }
            Ok(Lookup::Unknown | Lookup::Lost(_)) => {}
            Err(error) => self.give_up(index, error, Vec::new()),
        }
    }

    fn begin(&mut self, queued: Queued, lease: Lease, begun: &Begun) {
        let index = begun.index;
        let Queued { fingerprint, reason, outside, .. } = queued;
        let instance = &self.plan.instances[index];
        let digest = |from: usize| self.result(from).map(|record| record.files.digest());
        let inputs = walk::in_canonical_order(self.plan, instance, digest).into_iter().map(|(port, from)| {
            let record = |from: usize| Some((from, self.result(from)?.clone()));
            (port.to_owned(), from.into_iter().filter_map(record).collect())
        });
        let job: Job<'env, S> = Job {
            plan: self.plan,
            instance,
            store: self.store,
            fingerprint,
            _lease: lease,
            inputs: inputs.collect(),
            outside,
            files: self.files,
            places: &self.options.places,
            device: self.options.device,
            cores: begun.cores,
            gpus: begun.gpus(),
            forced: self.options.forced[index],
            run: self.run.id,
            log: self.run.log_of(index),
            peak: self.peaks.entry(index).or_default().clone(),
            cancel: self.cancel.clone(),
        };
        let key = job.fingerprint.key();
        self.making.insert(key);
        self.states[index] = State::Running(reason.clone(), key);
        self.attempts[index] += 1;
        let sender = self.sender.clone();
        self.scope.spawn(move || {
            let send = |message| drop(sender.send(message));
            let say = |said| send(Message::Said(index, said));
            let started = || send(Message::Started(index, reason.clone()));
            job.work(&say, &started, |ended| send(Message::Ended(index, Box::new(ended))));
        });
    }

    fn hear(&mut self, message: Message) {
        let stage = |index: usize| self.plan.instances[index].name.clone();
        match message {
            Message::Located(index, found) => {
                self.busy -= 1;
                match found {
                    Ok(_) if self.is_blocked_again(index) => {}
                    Ok(outside) => self.look_up(index, outside),
                    Err(error) => self.fail(index, vec![error]),
                }
            }
            Message::Leased(index, lease) => self.leased(index, lease),
            Message::Started(index, reason) => {
                let attempt = self.attempts[index];
                self.report.on(&Event::Started { index, stage: stage(index), reason, attempt });
            }
            Message::Said(index, Said::Progress(progress)) => {
                self.report.on(&Event::Progressed { index, stage: stage(index), progress });
            }
            Message::Said(index, Said::Note(note)) => self.report.on(&Event::Noted { index, stage: stage(index), note }),
            Message::Ended(index, ended) => {
                self.busy -= 1;
                self.peaks.remove(&index);
                if let Some(begun) = self.begun.remove(&index) {
                    self.schedule.end(begun);
                }
                if let State::Running(_, key) = &self.states[index] {
                    self.making.remove(key);
                }
                self.ended(index, *ended);
            }
        }
    }

    fn ended(&mut self, index: usize, ended: Ended) {
        let instance = &self.plan.instances[index];
        match ended {
            Ended::Hit(record) => self.cached(index, record),
            Ended::Ran(record, conflict) => {
                if let Some(other) = conflict {
                    let note = format!(
                        "this run gave other bytes ({other}) than the stored result ({}) of the same key; the stored one stands",
                        record.files.digest().short()
                    );
                    self.report.on(&Event::Noted { index, stage: instance.name.clone(), note });
                }
                let reason = match std::mem::replace(&mut self.states[index], State::Locating) {
                    State::Running(reason, _) => reason,
                    // Nothing but what runs can end.
                    _ => Stale::FirstRun,
                };
                let event = Event::Finished {
                    index,
                    stage: instance.name.clone(),
                    key: record.key,
                    seconds: record.provenance.seconds,
                    metrics: record.metrics.clone(),
                    reason: reason.clone(),
                    usage: record.provenance.usage,
                };
                self.report.on(&event);
                self.done(index, Fate::Ran, Some(reason.to_string()), record);
            }
            Ended::Failed(causes) if self.attempts[index] <= instance.retries.times && !self.closing => {
                let stage = instance.name.clone();
                self.report.on(&Event::Failed { index, stage: stage.clone(), causes: causes.clone(), retry: true });
                let rest = instance.retries.rest(self.attempts[index]);
                if !rest.is_zero() {
                    self.report.on(&Event::Noted { index, stage, note: format!("tries again in {:.1} s", rest.as_secs_f64()) });
                }
                self.resting.insert((Instant::now() + rest, index), causes);
            }
            Ended::Failed(causes) => self.fail(index, causes),
            Ended::Damaged(damaged) => self.make_again(index, damaged),
            Ended::Unusable(error, causes) => self.give_up(index, error, causes),
            Ended::Stopped => self.states[index] = State::Ended(Fate::Skipped, Some("the run was stopped".into()), None),
        }
    }

    /// Inputs of an instance are damaged: those that made them go back to be made again, and it waits for them.
    fn make_again(&mut self, index: usize, damaged: Vec<(usize, NotWhole)>) {
        for (from, damaged) in damaged {
            // Another reader may have found it first, or another file of the same result.
            let known = self.result(from).is_none();
            if !known || damaged.aside.is_some() {
                self.note_damage(from, &damaged);
            }
            if known {
                continue;
            }
            self.again[from] += 1;
            if self.again[from] > AGAIN {
                let stage = self.plan.instances[from].name.clone();
                let error = StoreError::Forgetful { stage, file: damaged.file, path: self.store.root().to_owned() };
                return self.give_up(index, error, Vec::new());
            }
            self.states[from] = State::Locating;
            self.ready.insert(from);
            for follower in self.followers[from].clone() {
                match &mut self.states[follower] {
                    State::Blocked(left) => *left += 1,
                    State::Queued(_) => self.states[follower] = State::Blocked(1),
                    // At work: it has read what it needs, or finds out for itself.
                    _ => continue,
                }
                self.ready.remove(&follower);
                self.schedule.remove(follower);
            }
        }
        // None where all of them were made again meanwhile.
        if !self.is_blocked_again(index) {
            self.ready.insert(index);
        }
    }

    fn note_damage(&mut self, index: usize, damaged: &NotWhole) {
        let note = format!("{damaged}; this stage makes it again");
        self.report.on(&Event::Noted { index, stage: self.plan.instances[index].name.clone(), note });
    }

    fn cached(&mut self, index: usize, record: Box<Record>) {
        let instance = &self.plan.instances[index];
        let back = match self.walk().back(instance, &record) {
            Ok(back) => back.map(|reason| self.origins.trace(index, instance, reason)),
            Err(error) => return self.give_up(index, error, Vec::new()),
        };
        let event = Event::Cached {
            index,
            stage: self.plan.instances[index].name.clone(),
            key: record.key,
            metrics: record.metrics.clone(),
            notes: record.notes.clone(),
            back,
        };
        self.report.on(&event);
        self.done(index, Fate::Cached, None, record);
    }

    fn done(&mut self, index: usize, fate: Fate, reason: Option<String>, record: Box<Record>) {
        if let Err(error) = self.latest.set(&self.plan.instances[index].name, &record) {
            self.closing = true;
            self.unusable.get_or_insert(error);
        }
        self.states[index] = State::Ended(fate, reason, Some(record));
        for follower in self.followers[index].clone() {
            if let State::Blocked(left) = &mut self.states[follower] {
                *left -= 1;
                if *left == 0 && self.options.wanted[follower] {
                    self.ready.insert(follower);
                }
            }
        }
    }

    fn fail(&mut self, index: usize, causes: Vec<String>) {
        let stage = self.plan.instances[index].name.clone();
        self.states[index] = State::Ended(Fate::Failed, Some(causes.join(": ")), None);
        self.report.on(&Event::Failed { index, stage: stage.clone(), causes, retry: false });
        self.closing |= !self.options.keep_going;
        self.skip_followers(index, &format!("`{stage}` failed"));
    }

    fn skip_followers(&mut self, index: usize, because: &str) {
        let mut left: Vec<usize> = self.followers[index].iter().copied().collect();
        while let Some(index) = left.pop() {
            if matches!(self.states[index], State::Blocked(_)) && self.options.wanted[index] {
                self.states[index] = State::Ended(Fate::Skipped, Some(because.to_owned()), None);
                let stage = self.plan.instances[index].name.clone();
                self.report.on(&Event::Skipped { index, stage, because: because.to_owned() });
                left.extend(&self.followers[index]);
            }
        }
    }

    fn give_up(&mut self, index: usize, error: StoreError, mut causes: Vec<String>) {
        self.closing = true;
        causes.push(error.to_string());
        self.states[index] = State::Ended(Fate::Failed, Some(error.to_string()), None);
        self.report.on(&Event::Failed { index, stage: self.plan.instances[index].name.clone(), causes, retry: false });
        self.unusable.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests;
