//! Results go from one store to another, both being folders: a result's files first, each with its contents compared to its digest
//! after it has arrived, then its record, then what is remembered of last results. So whatever moment it is broken off at, the
//! store that receives holds whole results only, and the same call again goes on with what is missing.
//!
//! The other store may be anybody's. Nothing in it is run or followed: what is read are plain files of a size that is known
//! before, names are made from digests here, and a record whose texts could trouble a terminal or a file system is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rayon::prelude::*;
use serde::Serialize;

use super::{Lookup, Pin, Pinned, Record, Store, StoreError, put::reflink, unless_gone};
use crate::{
    artifact::{Digest, FileEntry},
    key::ActionKey,
};

/// What became of a transfer, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transferred {
    /// Results that went over.
    pub results: usize,
    /// Their files that went over: those the other store had already did not.
    pub blobs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Results that were there already.
    pub there: usize,
    /// Pins that went over.
    pub pins: usize,
    /// What is missing or damaged where it should have come from; its results did not go over.
    pub lost: Vec<Lost>,
}

/// A result that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lost {
    /// Its key.
    pub key: ActionKey,
    /// The instance that made it, where its record can be read.
    pub stage: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

/// A record is no larger than this, and neither is what else is read whole from a store.
pub(super) const MOST_BYTES: u64 = 64 << 20;

/// Opens a plain file, and nothing else that a name may lead to: no link, no device, no pipe.
pub(super) fn open_plain(path: &Path) -> io::Result<(fs::File, u64)> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes())).open(path)?;
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta.len())),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file")),
    }
}

/// Reads a small plain file whole.
pub(super) fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let (file, size) = open_plain(path)?;
    if size > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than any record"));
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut text)?;
    Ok(text)
}

impl Store {
    /// Opens a store to read from it only: no lock is taken and nothing is written, so it may lie on a read-only disk. What
    /// another process collects there meanwhile is missing.
    ///
    /// # Errors
    /// Where there is none, or one of another format.
    pub fn open_other(root: &Path) -> Result<Self, StoreError> {
        if !super::is_made(root)? {
            return Err(StoreError::NoStore { path: root.to_owned() });
        }
        let root = root.canonicalize().map_err(StoreError::io("find", root))?;
        let folder = fs::File::open(&root).map_err(StoreError::io("open", &root))?;
        Ok(Self::with_lock(root, folder))
    }

    /// Sends the results under `keys` to another store; with `dry_run`, or where there is no other store yet, only counts.
    /// `progress` is told how many bytes of how many have gone over.
    ///
    /// # Errors
    /// Where the other store cannot be written or this one not be read. What is damaged here is no error, but in the answer.
    pub fn send(
        &self,
        keys: &BTreeSet<ActionKey>,
        to: Option<&Store>,
        dry_run: bool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Transferred, StoreError> {
        let mut transferred = Transferred::default();
        let mut sent: Vec<(Record, Vec<u8>)> = Vec::new();
        for key in keys {
            if let Some(to) = to
                && matches!(to.look(key)?, Lookup::Found(_))
            {
                transferred.there += 1;
                continue;
            }
            match self.record_to_send(key)? {
                Ok(Some(record)) => sent.push(record),
                // Collected since the keys were read.
                Ok(None) => {}
                Err(what) => transferred.lost.push(Lost { key: *key, stage: None, what }),
            }
        }
        // A log is worth having, and no part of the result: where it is missing, the rest goes over without it.
        let mut needed: BTreeMap<Digest, FileEntry> = BTreeMap::new();
        for entry in sent.iter().flat_map(|(record, _)| record.blobs()) {
            if to.is_none_or(|to| !to.has(entry)) {
                needed.insert(entry.digest, *entry);
            }
        }
        let total = needed.values().map(|entry| entry.size).sum();
        let Some(to) = to.filter(|_| !dry_run) else {
            let there =
                |entry: &FileEntry| fs::symlink_metadata(self.blob(&entry.digest)).is_ok_and(|meta| meta.len() == entry.size);
            let (whole, lost): (Vec<_>, Vec<_>) = sent.into_iter().partition(|(record, _)| record.files.0.values().all(there));
            let missing = |(record, _): &(Record, Vec<u8>)| Lost {
                key: record.key,
                stage: Some(record.instance.clone()),
                what: "a file of it is missing".to_owned(),
            };
            transferred.lost.extend(lost.iter().map(missing));
            transferred.results = whole.len();
            transferred.blobs = needed.len();
            transferred.bytes = total;
            return Ok(transferred);
        };
        let done = AtomicU64::new(0);
        let lost = Mutex::new(BTreeMap::new());
        let copied: Vec<u64> = needed
            .par_iter()
            .map(|(digest, entry)| {
                match self.send_blob(entry, to)? {
                    Ok(()) => {}
                    Err(what) => drop(lost.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest, what)),
                }
                progress(done.fetch_add(entry.size, Ordering::Relaxed) + entry.size, total);
                Ok(entry.size)
            })
            .collect::<Result<_, StoreError>>()?;
        let lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
        transferred.blobs = copied.len() - lost.len();
        transferred.bytes =
            total - needed.iter().filter(|(digest, _)| lost.contains_key(digest)).map(|(_, e)| e.size).sum::<u64>();
        for (record, text) in &sent {
            let gone = record.files.0.values().find_map(|entry| lost.get(&entry.digest));
            let what = match gone {
                Some(what) => Some(what.clone()),
                None => self.send_record(record, text, to)?.err(),
            };
            match what {
                None => transferred.results += 1,
                Some(what) => transferred.lost.push(Lost { key: record.key, stage: Some(record.instance.clone()), what }),
            }
        }
        transferred.lost.sort();
        for (key, owners) in self.current()? {
            if keys.contains(&key)
                && let Lookup::Found(record) = to.look(&key)?
            {
                for (manifest, instance) in owners.iter().filter(|(manifest, instance)| is_plain(manifest) && is_plain(instance))
                {
                    let mut latest = to.latest(manifest)?;
                    // What that store made last itself is closer to what its user knows.
                    if latest.get(instance).is_none() {
                        latest.set(instance, &record)?;
                    }
                }
            }
        }
        Ok(transferred)
    }

    /// Sends the pins all of whose results the other store has; how many.
    ///
    /// # Errors
    /// Where a store cannot be read or written.
    pub fn send_pins(&self, to: &Store) -> Result<usize, StoreError> {
        let known: BTreeSet<String> = to.pins()?.into_iter().map(|pin| format!("{:?}", pin.what)).collect();
        let there = to.survey()?.held().map(|held| held.key).collect::<BTreeSet<_>>();
        let acceptable = |pin: &Pin| {
            let named = match &pin.what {
                Pinned::Result(_) => true,
                Pinned::Run(id) => id.chars().all(|c| c.is_ascii_digit() || c == '-'),
            };
            named && is_plain(&pin.of) && pin.note.as_deref().is_none_or(is_plain)
        };
        let mut sent = 0;
        for pin in self.pins()?.iter().filter(|pin| acceptable(pin)) {
            if !known.contains(&format!("{:?}", pin.what)) && pin.keys.iter().all(|key| there.contains(key)) {
                to.write_pin(pin)?;
                sent += 1;
            }
        }
        Ok(sent)
    }

    /// A record with its text, if it is whole and fit to be taken over; `None` where it is gone.
    #[expect(
        clippy::type_complexity,
        reason = "a disk that fails, a record that is damaged, and one that is gone are three things"
    )]
    fn record_to_send(&self, key: &ActionKey) -> Result<Result<Option<(Record, Vec<u8>)>, String>, StoreError> {
        let path = self.record_path(key);
        let text = match unless_gone(read_plain(&path)) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Ok(None)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Err(format!("its record is {error}"))),
            Err(error) if is_link(&error) => return Ok(Err("its record is a link".to_owned())),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        Ok(match Record::read(&text).filter(|record| record.key == *key) {
            None => Err("its record is damaged".to_owned()),
            Some(record) => acceptable(&record).map(|()| Some((record, text))),
        })
    }

    /// Whether a file is there, by its size.
    fn has(&self, entry: &FileEntry) -> bool {
        fs::symlink_metadata(self.blob(&entry.digest)).is_ok_and(|meta| meta.is_file() && meta.len() == entry.size)
    }

    /// Copies a blob into another store and compares what has arrived with its digest. The inner error says what is wrong here.
    fn send_blob(&self, entry: &FileEntry, to: &Store) -> Result<Result<(), String>, StoreError> {
        let from = self.blob(&entry.digest);
        let name = entry.digest.short();
        let (file, size) = match open_plain(&from) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(format!("file {name} is missing"))),
            Err(error) => return Ok(Err(format!("file {name} cannot be read: {error}"))),
        };
        if size != entry.size {
            return Ok(Err(format!("file {name} has {size} bytes and should have {}", entry.size)));
        }
        let tmp = to.root.join("tmp");
        let (draft, copy) = to.aside(|draft| fs::File::create_new(draft)).map_err(StoreError::io("make a file in", &tmp))?;
        let put = || -> io::Result<bool> {
            if reflink(&copy, &file).is_err() {
                // No more than that, should it grow.
                io::copy(&mut io::Read::take(&file, entry.size), &mut &copy)?;
            }
            if Digest::of_file(&draft)? != entry.digest {
                return Ok(false);
            }
            copy.set_permissions(fs::Permissions::from_mode(0o444))?;
            copy.sync_all()?;
            let blob = to.blob(&entry.digest);
            if let Some(shard) = blob.parent() {
                fs::create_dir_all(shard)?;
            }
            fs::rename(&draft, &blob)?;
            super::sync_folder_of(&blob)?;
            Ok(true)
        };
        match put() {
            Ok(true) => Ok(Ok(())),
            Ok(false) => {
                let _ = fs::remove_file(&draft);
                Ok(Err(format!("the contents of file {name} are not what its name says")))
            }
            Err(error) => {
                let _ = fs::remove_file(&draft);
                Err(StoreError::io("copy a file to", &to.blob(&entry.digest))(error))
            }
        }
    }

    /// Files a record in another store once all its files are there: what somebody collected there meanwhile, not knowing what it
    /// was for, is sent again.
    fn send_record(&self, record: &Record, text: &[u8], to: &Store) -> Result<Result<(), String>, StoreError> {
        loop {
            let gate = to.enter()?;
            let missing = record.files.0.values().find(|entry| !to.has(entry));
            let Some(entry) = missing else {
                to.write_synced(&to.record_path(&record.key), text)?;
                to.note_use(&record.key, &gate)?;
                return Ok(Ok(()));
            };
            drop(gate);
            if let Err(what) = self.send_blob(entry, to)? {
                return Ok(Err(what));
            }
        }
    }
}

/// Opening without following links says so in one of these ways.
fn is_link(error: &io::Error) -> bool {
    [rustix::io::Errno::LOOP, rustix::io::Errno::MLINK].iter().any(|link| error.raw_os_error() == Some(link.raw_os_error()))
}

/// Whether a record's texts are such as talkflow writes: one that somebody else made up may try a terminal or a file system.
fn acceptable(record: &Record) -> Result<(), String> {
    let circumstances = &record.provenance;
    let texts = [&record.instance, &record.kind, &circumstances.run, &circumstances.manifest, &circumstances.talkflow];
    // That names of files stay in their folder was seen to when the record was read.
    match texts.into_iter().chain(record.files.0.keys()).chain(&record.notes).find(|text| !is_plain(text)) {
        Some(text) => Err(format!("its record has control characters in {text:?}")),
        None => Ok(()),
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}
