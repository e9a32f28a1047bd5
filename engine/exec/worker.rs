//! One stage's work on a worker thread: the proof of its inputs, the draft, the attempt itself, publication. Tells the loop what became of it.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use indexmap::IndexMap;

use super::{
    log::StageLog,
    usage::{Meter, Peak},
};
use crate::{
    key::{Fingerprint, Label},
    plan::{Instance, Plan},
    stage::{Cancel, Device, Gpu, Input, Outside, Places, Said, Stage, StageCx, Talk},
    store::{Draft, Lease, Lookup, NotWhole, OutsideFiles, Provenance, Record, Store, StoreError, Usage},
};

/// Everything one piece of work needs.
pub struct Job<'a, S> {
    /// The resolved manifest.
    pub plan: &'a Plan<S>,
    /// Which instance.
    pub instance: &'a Instance<S>,
    /// Where its result goes.
    pub store: &'a Store,
    /// What its key is made from.
    pub fingerprint: Fingerprint,
    /// The right to make it.
    pub _lease: Lease,
    /// Its inputs' results by port.
    pub inputs: Vec<(String, Vec<(usize, Record)>)>,
    /// What it reads from outside.
    pub outside: Outside,
    /// Digests of such files.
    pub files: &'a OutsideFiles,
    /// Where that is looked for.
    pub places: &'a Places,
    /// Where to compute.
    pub device: Device,
    /// Threads it may use.
    pub cores: usize,
    /// GPUs it may use.
    pub gpus: Vec<Gpu>,
    /// Run it even if a result is there.
    pub forced: bool,
    /// The run's name.
    pub run: &'a str,
    /// Where its log goes.
    pub log: PathBuf,
    /// The most memory seen while it works.
    pub peak: Peak,
    /// The wish to stop.
    pub cancel: Cancel,
}

/// What became of it.
pub enum Ended {
    /// It did its work. Second: a differing digest of an earlier result.
    Ran(Box<Record>, Option<String>),
    /// Another process had made the result meanwhile.
    Hit(Box<Record>),
    /// It failed, with the causes, outermost first.
    Failed(Vec<String>),
    /// Files of these inputs, by place in the plan, are not as they were made; they were set aside.
    Damaged(Vec<(usize, NotWhole)>),
    /// The store cannot be used. Second: what the stage says of it.
    Unusable(StoreError, Vec<String>),
    /// It was told to stop.
    Stopped,
}

impl<S: Stage> Job<'_, S> {
    /// Does it. `say` takes what the stage says, `started` is called before the stage's own code, `ended` once its result is there for
    /// others; what is left of its draft is removed after that, when nobody waits any more.
    pub fn work(self, say: &(dyn Fn(Said) + Sync), started: &dyn Fn(), ended: impl FnOnce(Ended)) {
        let mut draft = None;
        let end = self.try_work(say, started, &mut draft).unwrap_or_else(|error| Ended::Unusable(error, Vec::new()));
        // With it goes the lease.
        drop(self);
        ended(end);
    }

    fn try_work(&self, say: &(dyn Fn(Said) + Sync), started: &dyn Fn(), draft: &mut Option<Draft>) -> Result<Ended, StoreError> {
        let key = self.fingerprint.key();
        // Whoever held the lease before may have made what is wanted.
        if !self.forced
            && let Lookup::Found(record) = self.store.lookup(&key)?
        {
            return Ok(Ended::Hit(record));
        }
        let damaged = self.damaged_inputs()?;
        if !damaged.is_empty() {
            return Ok(Ended::Damaged(damaged));
        }
        if self.forced {
            self.store.clear_partial(&key)?;
        }
        started();
        let cancel = self.cancel.within(self.instance.timeout);
        let clock = Instant::now();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let draft = draft.insert(self.store.draft()?);
        let partial = self.store.partial(&key);
        let log = StageLog::new(self.log.clone());
        let say = |said: Said| {
            log.hear(&said);
            say(said);
        };
        let mut cx = StageCx {
            inputs: self.inputs_by_port(),
            outside: &self.outside,
            places: self.places,
            out: draft.folder(),
            files: None,
            log: &self.log,
            partial: &partial,
            device: self.device,
            gpus: &self.gpus,
            talk: Talk { say: &say, cancel: &cancel },
            metrics: serde_json::Map::new(),
            notes: Vec::new(),
            usage: Usage::default(),
        };
        for note in &self.outside.notes {
            cx.note(note);
        }
        let attempt = self.attempt(&mut cx);
        let (metrics, notes, usage) = (cx.metrics, cx.notes, cx.usage);
        cx.files.into_iter().for_each(|files| draft.only(files));
        let failed = match attempt {
            Err(error) => Some(self.failure(&error, &cancel)),
            Ok(()) => self
                .changed_meanwhile()
                .map(|changed| Ended::Failed(vec![format!("{changed} changed while it was read: run again")])),
        };
        log.end(if let Some(Ended::Failed(causes)) = &failed { causes } else { &[] });
        if let Some(failed) = failed {
            return Ok(failed);
        }
        let record = Record {
            key,
            instance: self.instance.name.clone(),
            kind: self.instance.spec.kind().to_owned(),
            files: crate::artifact::Artifact::default(),
            metrics,
            notes,
            fingerprint: self.fingerprint.clone(),
            provenance: Provenance {
                talkflow: env!("CARGO_PKG_VERSION").to_owned(),
                started: since_1970.as_secs(),
                seconds: clock.elapsed().as_secs_f64(),
                cores: self.cores,
                run: self.run.to_owned(),
                manifest: self.plan.name.clone(),
                usage,
            },
            log: None,
        };
        let published = self.store.publish_with_log(draft, record, &self.log)?;
        Ok(Ended::Ran(Box::new(published.record), published.conflict.map(|digest| digest.short())))
    }

    /// Reads the files of its inputs that nobody in this process has read yet.
    fn damaged_inputs(&self) -> Result<Vec<(usize, NotWhole)>, StoreError> {
        let mut damaged = Vec::new();
        for (index, record) in self.inputs.iter().flat_map(|(_, from)| from) {
            damaged.extend(self.store.prove(&record.files)?.into_iter().map(|what| (*index, what)));
        }
        Ok(damaged)
    }

    /// Runs the stage's own code, what computes in a thread pool of its cores, a panic being a failure like any other.
    fn attempt(&self, cx: &mut StageCx<'_>) -> anyhow::Result<()> {
        let mut run = || catch_unwind(AssertUnwindSafe(|| self.instance.spec.run(&mut *cx)));
        let ran = match self.instance.spec.computes() {
            false => run(),
            true => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(self.cores).build()?;
                let meter = Meter::begin(&self.peak);
                let ran = pool.install(&mut run);
                let measured = meter.end(&pool);
                cx.usage.cpu_seconds = cx.usage.cpu_seconds.or(measured.cpu_seconds);
                cx.usage.peak_memory = cx.usage.peak_memory.or(measured.peak_memory);
                ran
            }
        };
        ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            anyhow::bail!("a fault in talkflow itself, please report it: {}", text.unwrap_or("panic"))
        })
    }

    /// A file from outside that is not what the key was made from any more.
    fn changed_meanwhile(&self) -> Option<String> {
        let settings = self.instance.files.iter().map(|file| (&file.field, &file.path));
        let mut files = settings.chain(self.outside.files.iter().map(|(role, path)| (role, path)));
        let known: HashMap<&str, &str> = (self.fingerprint.lines().iter())
            .filter_map(|(label, value)| match label {
                Label::File(role) => Some((role.as_str(), value.as_str())),
                _ => None,
            })
            .collect();
        let same = |role: &String, path: &PathBuf| {
            let now = self.files.digest(path).map(|digest| digest.to_string()).ok();
            now.is_some() && known.get(role.as_str()).copied() == now.as_deref()
        };
        files.find(|(role, path)| !same(role, path)).map(|(_, path)| path.display().to_string())
    }

    fn failure(&self, error: &anyhow::Error, cancel: &Cancel) -> Ended {
        if cancel.signal().is_some() {
            return Ended::Stopped;
        }
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        if let (true, Some(limit)) = (cancel.timed_out(), self.instance.timeout) {
            let limit = limit.as_secs_f64();
            let late = format!("timed out after {limit} s: raise the stage's `timeout`, or give it more cores");
            return Ended::Failed([late].into_iter().chain(causes).collect());
        }
        // A disk that is full or read-only is the store's trouble, not the stage's, in whatever words a stage tells it.
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        let trouble = io.filter(|kind| matches!(kind, QuotaExceeded | ReadOnlyFilesystem | StorageFull));
        match trouble.or_else(|| self.store.is_full().then_some(StorageFull)) {
            Some(kind) => {
                let store = StoreError::Io { what: "write in", path: self.store.root().to_owned(), source: kind.into() };
                Ended::Unusable(store, causes)
            }
            None => Ended::Failed(causes),
        }
    }

    fn inputs_by_port(&self) -> IndexMap<String, Vec<Input<'_>>> {
        self.inputs
            .iter()
            .map(|(port, from)| {
                let inputs = from.iter().map(|(index, record)| {
                    let instance = &self.plan.instances[*index];
                    Input { instance: &instance.name, labels: &instance.labels, files: &record.files, store: self.store }
                });
                (port.clone(), inputs.collect())
            })
            .collect()
    }
}
