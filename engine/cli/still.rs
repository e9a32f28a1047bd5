//! A run of a manifest that has stood still since the last one: nothing that planning looked at has changed, nor any result. That is seen
//! without planning, so a run with nothing to do takes about as long as the looks themselves.
//!
//! What a run that finds everything made has looked at is written down (`Still`): the call itself, the world outside ([`Looks`]), files
//! that stages read, and results ([`Rest`]). The next run looks at all of it again, and where all is the same it keeps and says what
//! a run with nothing to do does. Where anything is not, or cannot be told, it plans as ever. So that nothing is missing from the
//! list, this is only for manifests whose stages read nothing but files that their settings name and results of each other.
//!
//! The rest is kept in the store beside other shortcuts, one file a manifest, with a digest of its own; it holds digests of variables,
//! and none of secrets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{Common, Failure, Format, limits, run};
use crate::{
    artifact::{ArtifactKind, Digest},
    event::{Event, Listener},
    exec::{Fate, Outcome},
    history::{self, Revision, Totals, Wanted},
    looks::{Looks, Seen, Stat, stat},
    plan::Plan,
    report::{
        journal::{Journal, members},
        terminal,
    },
    stage::{Device, Stage},
    stages::{StageSpec, made_by},
    store::{Marks, Rest, Store, StoreError},
};

/// To be raised with whatever changes what is written down, or what a run with nothing to do keeps or says.
const FORM: u32 = 2;
/// Of fewer stages, planning is about as quick.
const WORTH: usize = 32;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// A call of `talkflow run`: the same is about the same manifest with the same settings, by the same program on the same machine.
pub(super) struct Call {
    /// Of all that.
    identity: Digest,
    /// What a note about the manifest is kept under.
    name: String,
    /// When it began, in seconds since 1970.
    began: i64,
    clock: Instant,
}

impl Call {
    /// This one; nothing where it cannot be told apart from others.
    pub fn this(manifest: &Path) -> Option<Self> {
        let program = std::env::current_exe().ok()?;
        let folder = std::env::current_dir().ok()?;
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        };
        add(format!("talkflow {} still {FORM}", env!("CARGO_PKG_VERSION")).as_bytes());
        add(program.as_os_str().as_encoded_bytes());
        stat(&program).ok()?.iter().for_each(|number| add(&number.to_le_bytes()));
        add(folder.as_os_str().as_encoded_bytes());
        std::env::args_os().skip(1).for_each(|arg| add(arg.as_encoded_bytes()));
        for variable in ["TALKFLOW_STORE", "TALKFLOW_DATA", "TALKFLOW_CACHE"] {
            add(format!("{:?}", std::env::var_os(variable)).as_bytes());
        }
        add(limits::machine().as_bytes());
        let name = format!("{}.still", blake3::hash(folder.join(manifest).as_os_str().as_encoded_bytes()).to_hex());
        let began = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
        Some(Self { identity: Digest::from(hasher.finalize()), name, began, clock: Instant::now() })
    }
}

/// What was seen by a run that had nothing to do, and what it kept and said.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Still {
    identity: Digest,
    /// When that was. Once a clock has gone back, the same times may come again with other contents.
    began: i64,
    seen: Seen,
    /// Files that stages read.
    files: Vec<(PathBuf, Stat)>,
    rest: Rest,
    /// The manifest's name.
    manifest: String,
    cores: usize,
    stages: usize,
    /// As the journal has them, without their times.
    events: String,
    lines: String,
    resolved: String,
}

/// Runs a manifest that has stood still; nothing where it has not, or where that cannot be told.
pub(super) fn run(call: &Call, args: &run::RunArgs, common: &Common) -> Option<super::Answer> {
    let bytes = (common.format == Format::Human).then(|| Store::shortcut(&common.store, &call.name))??;
    let still = Still::decode(&bytes).filter(|still| still.identity == call.identity && still.began <= call.began)?;
    let files = || still.files.iter().all(|(path, then)| stat(path).is_ok_and(|now| now == *then));
    if !still.seen.is_as_it_was() || !files() {
        return None;
    }
    // From here on: where the store cannot be used, that is the answer.
    let mut store = match common.open_store() {
        Ok(store) => store,
        Err(failure) => return Some(Err(failure)),
    };
    match store.is_at_rest(&still.manifest, &still.rest) {
        Ok(None) => None,
        Err(error) => Some(Err(Failure::Store(error))),
        Ok(Some(kept)) => {
            let answer = still.tell(call, args, &store);
            drop(kept);
            Some(answer.and_then(|()| store.sync().map_err(Failure::Store)))
        }
    }
}

/// What a run that came to its end knows of the world.
pub(super) struct Known<'a> {
    pub plan: &'a Plan<StageSpec>,
    pub options: &'a crate::exec::Options,
    pub store: &'a Store,
    pub folder: &'a Path,
    /// Where the manifest stood in the store before.
    pub marks: Option<Marks>,
    /// How many events there were.
    pub events: usize,
}

/// Writes down what a run has seen, where it had nothing to do and all of it can be told.
pub(super) fn note(call: &Call, looks: Looks, known: &Known<'_>, outcome: &Outcome) -> Option<()> {
    let Known { plan, options, store, folder, marks, events } = known;
    let all = plan.instances.len();
    let cached = outcome.count(Fate::Cached) == all && options.wanted.iter().all(|wanted| *wanted);
    // One event for each stage, the first, and the last: nothing else had to be said.
    if all < WORTH || !cached || *events != all + 2 || options.device != Device::Cpu || options.paranoid {
        return None;
    }
    let told = |kind: &str| made_by(kind) == Some(ArtifactKind::Scores);
    if plan.instances.iter().any(|instance| instance.spec.reads_outside() || told(&instance.kind)) {
        return None;
    }
    let records = || outcome.steps.iter().filter_map(|step| step.record.as_deref());
    let rest = store.at_rest(&plan.name, records(), (*marks)?, call.began)?;
    let outside = store.outside_files(false);
    let paths = plan.instances.iter().flat_map(|instance| &instance.files).map(|file| file.path.as_path());
    let files: BTreeMap<&Path, Stat> = paths.map(|path| Some((path, outside.settled(path)?))).collect::<Option<_>>()?;
    let seen = looks.seen(call.began)?.without(|path| files.contains_key(path));
    let events: Vec<Event> = (outcome.steps.iter().enumerate())
        .filter_map(|(index, step)| Some((index, step.record.as_deref()?)))
        .map(|(index, record)| Event::Cached {
            index,
            stage: outcome.steps[index].name.clone(),
            key: record.key,
            metrics: record.metrics.clone(),
            notes: record.notes.clone(),
            back: None,
        })
        .collect();
    let still = Still {
        identity: call.identity,
        began: call.began,
        seen,
        files: files.into_iter().map(|(path, stat)| (path.to_owned(), stat)).collect(),
        rest,
        manifest: plan.name.clone(),
        cores: options.limits.cores,
        stages: all,
        events: String::from_utf8(members(events.iter()).ok()?).ok()?,
        lines: printed(events.iter()),
        resolved: std::fs::read_to_string(folder.join(history::RESOLVED)).ok()?,
    };
    store.keep_shortcut(&call.name, &still.encode()?).ok()
}

fn printed<'a>(events: impl Iterator<Item = &'a Event>) -> String {
    events.flat_map(terminal::lines).map(|line| line + "\n").collect()
}

impl Still {
    fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = postcard::to_stdvec(self).ok()?;
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<DIGEST>()?;
        (blake3::hash(body) == *check).then(|| postcard::from_bytes(body).ok())?
    }

    /// Keeps and says what a run with nothing to do does.
    fn tell(&self, call: &Call, args: &run::RunArgs, store: &Store) -> super::Answer {
        let begin = run::since_1970();
        let (id, folder) = store.new_run(begin)?;
        let revision = Revision::of_manifest(&args.manifest.manifest);
        let mut about = run::about(&id, &self.manifest, &args.manifest, Wanted::of(&[]), (self.cores, Device::Cpu), begin);
        let written = StoreError::io("write in", &folder);
        let mut journal = about.write(&folder).and_then(|()| Journal::begin(&folder)).map_err(written)?;
        let started = Event::RunStarted { run: id, manifest: self.manifest.clone(), stages: self.stages, cores: self.cores };
        journal.on(&started);
        journal.append(self.events.as_bytes());
        let resolved = std::fs::write(folder.join(history::RESOLVED), &self.resolved);
        let (ran, cached, failed, skipped) = (0, self.stages, 0, 0);
        let ended = Event::RunFinished { ran, cached, failed, skipped, seconds: call.clock.elapsed().as_secs_f64() };
        journal.on(&ended);
        journal.pause();
        super::say(&[&*printed([&started].into_iter()), &self.lines, &printed([&ended].into_iter())].concat());
        about.git = revision.answer();
        about.totals = Some(Totals { ran, cached, failed, skipped });
        about.ended = Some(run::since_1970().as_secs_f64());
        about.exit = Some(0);
        run::warn(&journal, about.write(&folder).and(resolved).err(), &folder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    /// What a space at rest would note, as far as it can be made up.
    fn still() -> Still {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "f").unwrap();
        let rest = serde_json::from_value(serde_json::json!({
            "records": [[Digest::of(b"key"), [1, 2, 3, 4, 5, 6, 7]]],
            "blobs": [[Digest::of(b"blob"), 7]],
            "marks": { "latest": stat(&file).unwrap(), "shown": stat(&file).unwrap(), "view": stat(&file).unwrap() },
        }));
        Still {
            identity: Digest::of(b"call"),
            began: 1,
            seen: Looks::default().seen(1).unwrap(),
            files: vec![(file.clone(), stat(&file).unwrap())],
            rest: rest.unwrap(),
            manifest: "m".to_owned(),
            cores: 2,
            stages: 32,
            events: "{}\n".to_owned(),
            lines: "cached\n".to_owned(),
            resolved: "{}".to_owned(),
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        let still = still();
        let bytes = still.encode().unwrap();
        assert_eq!(Still::decode(&bytes).as_ref(), Some(&still));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x80;
            assert_eq!(Still::decode(&damaged), None, "byte {at}");
            assert_eq!(Still::decode(&bytes[..at]), None, "{at} bytes");
            // Who can write a file can write its digest too: that may be another note, and does no harm.
            let body = &damaged[..at.min(bytes.len() - DIGEST)];
            let _ = Still::decode(&[body, blake3::hash(body).as_bytes()].concat());
        }
        let count = [&[0; 0][..], &[255; 9], &[127]].concat();
        assert_eq!(Still::decode(&[&count[..], blake3::hash(&count).as_bytes()].concat()), None);
    }
}
