//! `talkflow store du`.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};

use super::{Answer, Common, answer, bytes, count};
use crate::store::{Group, Held, Policy, Store};

/// Its arguments.
#[derive(Debug, Args)]
pub struct DuArgs {
    /// How to group results. One that several manifests have is in the group of each.
    #[arg(long, value_enum, default_value_t)]
    by: By,
}

/// The groupings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// By the stage's name, all its instances together.
    #[default]
    Stage,
    /// By instance.
    Instance,
    /// By stage kind.
    Kind,
    /// By the manifest that made it or has it as a last result.
    Manifest,
    /// By the run that made it.
    Run,
}

/// Sums up.
pub fn du(args: &DuArgs, store: &Store, common: &Common) -> Answer {
    let (survey, current) = (store.survey()?, store.current()?);
    let names = |held: &Held| match args.by {
        By::Stage => BTreeSet::from([held.instance.split('[').next().unwrap_or_default().to_owned()]),
        By::Instance => BTreeSet::from([held.instance.clone()]),
        By::Kind => BTreeSet::from([held.kind.clone()]),
        By::Run => BTreeSet::from([held.run.clone()]),
        By::Manifest => {
            let owners = current.get(&held.key).into_iter().flatten().map(|(manifest, _)| manifest.clone());
            owners.chain([held.manifest.clone()]).filter(|manifest| !manifest.is_empty()).collect()
        }
    };
    let usage = store.usage(&survey, names)?;
    let garbage = store.collect(&Policy::default(), true)?;
    let free = garbage.bytes + garbage.checkpoint_bytes + garbage.run_bytes + garbage.damaged_bytes;
    let mut document = serde_json::to_value(&usage).map_err(|error| super::Failure::Failed(error.to_string()))?;
    document["collectable_bytes"] = free.into();
    answer(common, &document, || {
        let group = |g: &Group| {
            let shared = bytes(g.bytes - g.unique);
            format!("{:>10}  {:>10} shared  {:>6}  {}\n", bytes(g.bytes), shared, g.results, g.name)
        };
        let rest = [
            ("records", usage.record_bytes),
            ("files that no record names", usage.unnamed_bytes),
            ("checkpoints of unfinished trainings", usage.partial_bytes),
            ("events and logs of runs", usage.run_bytes),
            ("drafts", usage.tmp_bytes),
            ("downloads", usage.download_bytes),
            ("damaged files, set aside", usage.damaged_bytes),
        ];
        let rest = rest.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{:>10}  {what}\n", bytes(n)));
        let total = format!(
            "{:>10}  {}; {} if none shared a file\n",
            bytes(usage.result_bytes),
            count(usage.results, "result"),
            bytes(usage.unshared_bytes)
        );
        let gc = format!("{:>10}  would be freed by `store gc`\n", bytes(free));
        usage.groups.iter().map(group).chain([total]).chain(rest).chain([gc]).collect()
    })
}
