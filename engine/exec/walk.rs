//! The one walk that both hashes and explains: an instance, the results it reads and the files it reads give a fingerprint;
//! looked up in the store it gives either a result or the reason why there is none. `run` takes it step by step, `plan` and
//! `why` all at once without running anything.

use std::{collections::BTreeMap, path::Path};

use crate::{
    artifact::Digest,
    key::{ActionKey, Fingerprint, Label, Stale},
    plan::{Instance, Plan},
    stage::{Device, Located, Outside, Places, Stage},
    store::{self, Latest, Lookup, OutsideFiles, Record, Store, StoreError},
};

/// What the walk needs to know.
pub struct Walk<'a, S> {
    /// The resolved manifest.
    pub plan: &'a Plan<S>,
    /// Where results are looked up.
    pub store: &'a Store,
    /// The last key of each instance.
    pub latest: &'a Latest,
    /// Digests of files outside the store.
    pub files: &'a OutsideFiles,
    /// Device class of the run.
    pub device: Device,
}

/// Where an instance stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Its result is there.
    Fresh(Box<Record>),
    /// It has to run.
    Stale {
        /// What is known about where its data come from.
        notes: Vec<String>,
        /// Under which key, where that is known yet.
        fingerprint: Option<Fingerprint>,
        /// Why.
        reason: Stale,
    },
    /// Its files from outside cannot be had.
    Blocked(String),
}

impl<S: Stage> Walk<'_, S> {
    /// The fingerprint of an instance whose inputs have these results, by place in the plan.
    ///
    /// # Errors
    /// Where a file from outside cannot be read: which, and why.
    pub fn fingerprint(
        &self,
        instance: &Instance<S>,
        result: impl Fn(usize) -> Option<Digest>,
        outside: &Outside,
    ) -> Result<Fingerprint, String> {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(Label::Format, store::KEY_FORMAT);
        fingerprint.add(Label::Kind, instance.spec.kind());
        fingerprint.add(Label::Version, instance.spec.version().to_string());
        if let Some(backend) = instance.spec.backend(self.device) {
            fingerprint.add(Label::Backend, backend);
        }
        for (path, value) in instance.settings.canonical() {
            fingerprint.add(Label::Setting(path.to_owned()), value);
        }
        for file in &instance.files {
            fingerprint.add(Label::File(file.field.clone()), self.digest(&file.path)?);
        }
        for (port, from) in in_canonical_order(self.plan, instance, &result) {
            for (place, index) in from.iter().enumerate() {
                let name = if from.len() == 1 { port.to_owned() } else { format!("{port}.{place}") };
                if instance.spec.reads_labels(port) {
                    fingerprint.add(Label::Fact(format!("labels of {name}")), labels(&self.plan.instances[*index]));
                }
                let digest = result(*index).map_or_else(String::new, |digest| digest.to_string());
                fingerprint.add(Label::Input(name), digest);
            }
        }
        for (what, value) in &outside.facts {
            fingerprint.add(Label::Fact(what.clone()), value.clone());
        }
        for (role, path) in &outside.files {
            fingerprint.add(Label::File(role.clone()), self.digest(path)?);
        }
        Ok(fingerprint)
    }

    fn digest(&self, path: &Path) -> Result<String, String> {
        self.files
            .digest(path)
            .map(|digest| digest.to_string())
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    }

    /// Looks a fingerprint up.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn standing(&self, instance: &Instance<S>, fingerprint: Fingerprint, forced: bool) -> Result<Standing, StoreError> {
        let key = fingerprint.key();
        let reason = match self.store.lookup(&key)? {
            Lookup::Found(record) if !forced => return Ok(Standing::Fresh(record)),
            Lookup::Found(_) => Stale::Forced,
            Lookup::Lost(what) => Stale::Lost(what),
            Lookup::Unknown => self.why(instance, &key, &fingerprint)?,
        };
        Ok(Standing::Stale { notes: Vec::new(), fingerprint: Some(fingerprint), reason })
    }

    fn why(&self, instance: &Instance<S>, key: &ActionKey, now: &Fingerprint) -> Result<Stale, StoreError> {
        let Some(last) = self.latest.get(&instance.name) else { return Ok(Stale::FirstRun) };
        if last == key {
            return Ok(Stale::Lost("its result".to_owned()));
        }
        Ok(match self.store.lookup(last)? {
            Lookup::Found(record) => Stale::Changed(now.changes_since(&record.fingerprint)),
            Lookup::Unknown | Lookup::Lost(_) => Stale::FirstRun,
        })
    }

    /// What differs from the instance's last result where `record`, an earlier one or another stage's, is its result now.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn back(&self, instance: &Instance<S>, record: &Record) -> Result<Option<Stale>, StoreError> {
        match self.latest.get(&instance.name) {
            Some(last) if *last != record.key => self.why(instance, &record.key, &record.fingerprint).map(Some),
            _ => Ok(None),
        }
    }

    /// Where every wanted instance stands now, without running or downloading anything, in the plan's order.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn survey(&self, wanted: &[bool], forced: &[bool], places: &Places) -> Result<BTreeMap<usize, Standing>, StoreError> {
        let mut standings = BTreeMap::new();
        for (index, instance) in self.plan.instances.iter().enumerate().filter(|(index, _)| wanted[*index]) {
            let standing = self.survey_one(instance, &standings, forced[index], places)?;
            standings.insert(index, standing);
        }
        Ok(standings)
    }

    fn survey_one(
        &self,
        instance: &Instance<S>,
        before: &BTreeMap<usize, Standing>,
        forced: bool,
        places: &Places,
    ) -> Result<Standing, StoreError> {
        for index in instance.inputs.iter().flat_map(|input| &input.from) {
            if !matches!(before.get(index), Some(Standing::Fresh(_))) {
                let name = self.plan.instances[*index].name.clone();
                // What is forced runs whatever comes out before it.
                let reason = if forced { Stale::Forced } else { Stale::DependsOn(name) };
                return Ok(Standing::Stale { notes: Vec::new(), fingerprint: None, reason });
            }
        }
        let outside = match instance.spec.locate(places) {
            Ok(Located::Here(outside)) => outside,
            Ok(Located::Elsewhere(what)) => {
                return Ok(Standing::Stale { notes: Vec::new(), fingerprint: None, reason: Stale::Download(what) });
            }
            Err(error) => return Ok(Standing::Blocked(format!("{error:#}"))),
        };
        let digest = |index: usize| match before.get(&index) {
            Some(Standing::Fresh(record)) => Some(record.files.digest()),
            _ => None,
        };
        match self.fingerprint(instance, digest, &outside) {
            Ok(fingerprint) => Ok(match self.standing(instance, fingerprint, forced)? {
                Standing::Stale { fingerprint, reason, .. } => Standing::Stale { notes: outside.notes, fingerprint, reason },
                other => other,
            }),
            Err(error) => Ok(Standing::Blocked(error)),
        }
    }
}

/// An instance's inputs by port, each port's in an order that depends neither on how the manifest was written nor on what its
/// stages are called: by matrix values, then by what the results hold.
pub fn in_canonical_order<'a, S>(
    plan: &Plan<S>,
    instance: &'a Instance<S>,
    result: impl Fn(usize) -> Option<Digest>,
) -> Vec<(&'a str, Vec<usize>)> {
    let mut ports: Vec<(&str, Vec<usize>)> = Vec::new();
    for input in &instance.inputs {
        let mut from = input.from.clone();
        // The place last: it tells apart only what no stage can, and puts what is named twice side by side.
        from.sort_by_cached_key(|index| (labels(&plan.instances[*index]), result(*index), *index));
        from.dedup();
        ports.push((&input.port.0, from));
    }
    ports.sort();
    ports
}

/// An instance's matrix values in one text, axes in alphabetical order.
fn labels<S>(instance: &Instance<S>) -> String {
    let mut labels: Vec<String> = instance.labels.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    labels.sort();
    labels.join(",")
}
