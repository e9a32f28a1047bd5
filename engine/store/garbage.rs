//! Collecting garbage: results that nobody keeps, then blobs that no record names, checkpoints that nobody goes on from, old runs,
//! and damaged files that were set aside. First everything is looked through, and a dry run ends there. Then, with the gate to
//! itself (see `users.rs`), a collection looks again at what changed meanwhile, decides, and moves what goes out of the tables;
//! it is deleted after that. Processes at work go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{Held, Lease, PARSED, Pinned, Store, StoreError, Survey, empty, list, unless_gone, users::InUse};
use crate::{artifact::Digest, key::ActionKey};

/// Which results go. Pinned ones stay with all they were made from, and so does what a running process uses. Of the rest, those
/// go that every rule given here lets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Lets go what was not used for so long.
    pub older_than: Option<Duration>,
    /// Lets go all but the last so many results of each stage instance.
    pub keep_last: Option<usize>,
    /// Lets go the least recently used, until the files of all results have so many bytes or fewer.
    pub max_size: Option<u64>,
    /// Lets go the least recently used, until so many results are left.
    pub max_count: Option<usize>,
    /// Lets go what none of these runs used, however far upstream; otherwise, what is not the last result of any stage.
    pub reachable_from: Option<Vec<String>>,
    /// Lets go last results of stages too.
    pub include_latest: bool,
    /// Manifests whose last results are forgotten.
    pub forget: Vec<String>,
    /// So many runs stay, the last ones; and those that `older_than` does not let go.
    pub keep_runs: usize,
}

const DAY: Duration = Duration::from_secs(86_400);
/// For how long checkpoints and damaged files stay, where no other age is given.
const IDLE: Duration = DAY.saturating_mul(14);

impl Default for Policy {
    /// Everything but the last result of each stage, and the last hundred runs.
    fn default() -> Self {
        Self {
            older_than: None,
            keep_last: None,
            max_size: None,
            max_count: None,
            reachable_from: None,
            include_latest: false,
            forget: Vec::new(),
            keep_runs: 100,
        }
    }
}

/// A result that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Its key.
    pub key: ActionKey,
    /// The instance that made it.
    pub stage: String,
    /// The manifest that made it.
    pub manifest: String,
    /// Of its files, which other results may share.
    pub bytes: u64,
    /// When it was last used, in seconds since 1970.
    pub used: u64,
}

/// What a collection removed, or would remove, and what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// The results that go.
    pub results: Vec<Gone>,
    /// Keys of trainings whose checkpoints go.
    pub partials: Vec<String>,
    /// Runs that go.
    pub run_ids: Vec<String>,
    /// Records, damaged ones included.
    pub records: usize,
    /// Files of results.
    pub blobs: usize,
    /// Of those files.
    pub bytes: u64,
    /// Trainings whose checkpoints go.
    pub checkpoints: usize,
    /// Of those checkpoints.
    pub checkpoint_bytes: u64,
    /// Runs.
    pub runs: usize,
    /// Of those runs.
    pub run_bytes: u64,
    /// Damaged files that were set aside.
    pub damaged: usize,
    /// Of those.
    pub damaged_bytes: u64,
    /// Results that stay.
    pub kept: usize,
    /// Of the files of these.
    pub kept_bytes: u64,
    /// Of those that stay, how many are pinned, with what they were made from.
    pub kept_pinned: usize,
    /// Of those that stay, how many a running process uses.
    pub kept_in_use: usize,
    /// Trainings whose checkpoints stay.
    pub kept_checkpoints: usize,
    /// Runs that stay.
    pub kept_runs: usize,
}

/// What is to go, in the order in which it may go: a record before its files, lest one without them is taken for a result.
#[derive(Debug, Default)]
struct Garbage {
    collected: Collected,
    /// The artifacts that stay.
    live: BTreeSet<Digest>,
    tables: Vec<PathBuf>,
    /// With the lease of the key, which whoever writes a checkpoint holds.
    partials: Vec<(PathBuf, Option<Lease>)>,
    others: Vec<PathBuf>,
}

impl Store {
    /// Removes what `policy` lets go. With `dry_run` only says what that is. Runs that `policy` names have to be there.
    ///
    /// # Errors
    /// Where the disk refuses, or a pin or a run cannot be understood.
    pub fn collect(&self, policy: &Policy, dry_run: bool) -> Result<Collected, StoreError> {
        let mut survey = self.survey()?;
        let gate = self.enter_alone()?;
        self.refresh(&mut survey)?;
        let garbage = self.garbage(&survey, policy, &self.in_use(&gate)?)?;
        if dry_run {
            return Ok(garbage.collected);
        }
        let aside = self.draft()?;
        let mut serial = 0..;
        let mut move_out = |path: &Path| -> Result<(), StoreError> {
            let to = aside.folder().join(serial.next().unwrap_or_default().to_string());
            unless_gone(fs::rename(path, to)).map_err(StoreError::io("remove", path)).map(drop)
        };
        for manifest in &policy.forget {
            self.forget(manifest)?;
        }
        garbage.tables.iter().try_for_each(|path| move_out(path))?;
        garbage.others.iter().try_for_each(|path| move_out(path))?;
        for (path, lease) in garbage.partials {
            move_out(&path)?;
            drop(lease);
        }
        drop(gate);
        // Deleting large files takes long; nobody has to wait for it.
        drop(aside);
        // Only a cache: whoever reads those manifests makes it again.
        empty(&self.root.join(PARSED))?;
        self.prune_views(&garbage.live, &policy.forget)?;
        Ok(garbage.collected)
    }

    /// The keys that a run found or made.
    ///
    /// # Errors
    /// Where there is no such run, or it names none.
    pub fn keys_of_run(&self, id: &str) -> Result<BTreeSet<ActionKey>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Line {
            key: Option<ActionKey>,
        }
        let path = self.runs().join(id).join("events.jsonl");
        let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
        let lines = text.split(|byte| *byte == b'\n');
        let keys: BTreeSet<ActionKey> = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()?.key).collect();
        if keys.is_empty() {
            let nothing = io::Error::new(io::ErrorKind::InvalidData, "it ended no stage, so nothing is reachable from it");
            return Err(StoreError::io("find results in", &path)(nothing));
        }
        Ok(keys)
    }

    fn garbage(&self, survey: &Survey, policy: &Policy, in_use: &InUse) -> Result<Garbage, StoreError> {
        let mut garbage = Garbage::default();
        let going = self.results_to_go(survey, policy, in_use, &mut garbage.collected)?;
        let collected = &mut garbage.collected;
        for path in survey.damaged() {
            collected.records += 1;
            garbage.tables.push(path.to_owned());
        }
        let mut live = BTreeMap::new();
        for held in survey.held() {
            if going.contains(&held.key) {
                collected.records += 1;
                collected.results.push(Gone {
                    key: held.key,
                    stage: held.instance.clone(),
                    manifest: held.manifest.clone(),
                    bytes: held.size(),
                    used: held.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
                });
                garbage.tables.push(self.record_path(&held.key));
            } else {
                collected.kept += 1;
                garbage.live.insert(held.files.digest());
                live.extend(held.blobs.iter().map(|entry| (self.blob(&entry.digest), entry.size)));
            }
        }
        collected.results.sort_by(|a, b| (&a.stage, a.used, a.key).cmp(&(&b.stage, b.used, b.key)));
        for path in self.shards("blobs")? {
            if !live.contains_key(&path) {
                collected.blobs += 1;
                collected.bytes += size(&path)?.unwrap_or(0);
                garbage.tables.push(path);
            }
        }
        collected.kept_bytes = live.values().sum();
        let ended: BTreeSet<PathBuf> = survey.held().map(|held| self.partial(&held.key)).collect();
        let idle = policy.older_than.unwrap_or(IDLE);
        for path in list(&self.root.join("partial"))? {
            let (bytes, modified) = measure(&path)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let going = ended.contains(&path) || !young(modified, idle);
            let lease = match (going, name.parse()) {
                (true, Ok(key)) => self.lease(&ActionKey(key))?.ok(),
                _ => None,
            };
            if going && (lease.is_some() || name.parse::<Digest>().is_err()) {
                collected.checkpoints += 1;
                collected.checkpoint_bytes += bytes;
                collected.partials.push(name);
                garbage.partials.push((path, lease));
            } else {
                collected.kept_checkpoints += 1;
            }
        }
        self.runs_to_go(policy, in_use, &mut garbage)?;
        for path in list(&self.root.join("damaged"))? {
            let (bytes, modified) = measure(&path)?;
            if !young(modified, idle) {
                garbage.collected.damaged += 1;
                garbage.collected.damaged_bytes += bytes;
                garbage.others.push(path);
            }
        }
        Ok(garbage)
    }

    fn results_to_go(
        &self,
        survey: &Survey,
        policy: &Policy,
        in_use: &InUse,
        collected: &mut Collected,
    ) -> Result<BTreeSet<ActionKey>, StoreError> {
        let pinned = survey.with_upstream(self.pins()?.into_iter().flat_map(|pin| pin.keys));
        let mut kept: BTreeSet<ActionKey> = pinned.union(&in_use.keys).copied().collect();
        match &policy.reachable_from {
            Some(runs) => {
                let mut keys = BTreeSet::new();
                for run in runs {
                    keys.extend(self.keys_of_run(run)?);
                }
                kept.extend(survey.with_upstream(keys));
            }
            None if policy.include_latest => {}
            None => {
                let current = self.current()?.into_iter();
                let remembered =
                    |owners: &[(String, String)]| owners.iter().any(|(manifest, _)| !policy.forget.contains(manifest));
                kept.extend(current.filter(|(_, owners)| remembered(owners)).map(|(key, _)| key));
            }
        }
        if let Some(n) = policy.keep_last {
            let mut by_stage: BTreeMap<(&str, &str), Vec<&Held>> = BTreeMap::new();
            survey.held().for_each(|held| by_stage.entry((&held.manifest, &held.instance)).or_default().push(held));
            for mut held in by_stage.into_values() {
                held.sort_by_key(|held| std::cmp::Reverse((held.made, held.used)));
                kept.extend(held.iter().take(n).map(|held| held.key));
            }
        }
        let old = |held: &&Held| policy.older_than.is_none_or(|age| !young(held.used, age));
        let mut going: Vec<&Held> = survey.held().filter(|held| !kept.contains(&held.key)).filter(old).collect();
        if policy.max_size.is_some() || policy.max_count.is_some() {
            going.sort_by_key(|held| (held.used, held.made, held.key));
            going.truncate(surplus(survey, &going, policy));
        }
        let going: BTreeSet<ActionKey> = going.into_iter().map(|held| held.key).collect();
        let stays = |keys: &BTreeSet<ActionKey>| survey.held().filter(|held| keys.contains(&held.key)).count();
        collected.kept_pinned = stays(&pinned);
        collected.kept_in_use = stays(&in_use.keys);
        Ok(going)
    }

    fn runs_to_go(&self, policy: &Policy, in_use: &InUse, garbage: &mut Garbage) -> Result<(), StoreError> {
        let named = policy.reachable_from.iter().flatten().cloned();
        let pinned = self.pins()?.into_iter().filter_map(|pin| match pin.what {
            Pinned::Run(id) => Some(id),
            Pinned::Result(_) => None,
        });
        let kept: BTreeSet<String> = named.chain(pinned).chain(in_use.runs.iter().cloned()).collect();
        // Their names begin with the time: sorted, the last ones are the latest.
        let runs = list(&self.runs())?;
        let surplus = runs.len().saturating_sub(policy.keep_runs);
        for (place, path) in runs.into_iter().enumerate() {
            let (bytes, modified) = measure(&path)?;
            let id = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let young = policy.older_than.is_some_and(|age| young(modified, age));
            if place >= surplus || young || kept.contains(&id) {
                garbage.collected.kept_runs += 1;
            } else {
                garbage.collected.runs += 1;
                garbage.collected.run_bytes += bytes;
                garbage.collected.run_ids.push(id);
                garbage.others.push(path);
            }
        }
        Ok(())
    }
}

/// How many of those that may go, least recently used first, have to, for the rest to be within the limits.
fn surplus(survey: &Survey, going: &[&Held], policy: &Policy) -> usize {
    let mut names: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut bytes = 0;
    let mut count = 0;
    for held in survey.held() {
        count += 1;
        for entry in unique(held) {
            let names = names.entry(entry.digest).or_default();
            *names += 1;
            bytes += if *names == 1 { entry.size } else { 0 };
        }
    }
    for (place, held) in going.iter().enumerate() {
        if policy.max_size.is_none_or(|limit| bytes <= limit) && policy.max_count.is_none_or(|limit| count <= limit) {
            return place;
        }
        count -= 1;
        for entry in unique(held) {
            if let Some(names) = names.get_mut(&entry.digest) {
                *names -= 1;
                bytes -= if *names == 0 { entry.size } else { 0 };
            }
        }
    }
    going.len()
}

/// Its blobs, each once, although two of its files may have the same contents.
fn unique(held: &Held) -> impl Iterator<Item = &crate::artifact::FileEntry> {
    let by_digest: BTreeMap<Digest, &crate::artifact::FileEntry> = held.blobs.iter().map(|entry| (entry.digest, entry)).collect();
    by_digest.into_values()
}

fn young(modified: SystemTime, within: Duration) -> bool {
    match SystemTime::now().duration_since(modified) {
        Ok(age) => age < within,
        // From the future, since a clock went back: as young as can be.
        Err(_) => !within.is_zero(),
    }
}

/// The bytes of a file; none where it is gone.
pub(super) fn size(path: &Path) -> Result<Option<u64>, StoreError> {
    Ok(unless_gone(fs::symlink_metadata(path)).map_err(StoreError::io("read", path))?.map(|meta| meta.len()))
}

/// The bytes of a file, or of all files in a folder, and when the last of them was written; nothing of what is gone meanwhile.
pub(super) fn measure(path: &Path) -> Result<(u64, SystemTime), StoreError> {
    let look = || -> io::Result<_> {
        let Some(meta) = unless_gone(fs::symlink_metadata(path))? else { return Ok((false, 0, UNIX_EPOCH)) };
        Ok((meta.is_dir(), meta.len(), meta.modified()?))
    };
    let (is_folder, bytes, modified) = look().map_err(StoreError::io("read", path))?;
    if !is_folder {
        return Ok((bytes, modified));
    }
    list(path)?.iter().try_fold((0, modified), |(sum, last), path| {
        let (bytes, modified) = measure(path)?;
        Ok((sum + bytes, last.max(modified)))
    })
}
