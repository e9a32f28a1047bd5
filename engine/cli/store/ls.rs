//! `talkflow store ls`.

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Answer, Common, answer, bytes, choose::Choice, count};
use crate::{
    store::{Held, Store},
    time,
};

/// Its arguments.
#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    choice: Choice,
    /// By what to sort.
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Sort the other way round.
    #[arg(long)]
    reverse: bool,
}

/// The orders of a list.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Sort {
    /// The stage's name.
    #[default]
    Stage,
    /// The largest first.
    Size,
    /// The longest work first.
    Seconds,
    /// The newest first.
    Made,
    /// The last used first.
    Used,
}

#[derive(Serialize)]
struct Listed {
    stage: String,
    kind: String,
    key: String,
    bytes: u64,
    seconds: f64,
    /// Seconds since 1970.
    made: u64,
    /// Seconds since 1970.
    used: u64,
    manifest: String,
    run: String,
    /// Whether a pin keeps it, its own or one on what was made from it.
    pinned: bool,
    /// Whether it is the last result of a stage.
    latest: bool,
    files: Vec<String>,
}

/// Lists.
pub fn ls(args: &LsArgs, store: &Store, common: &Common) -> Answer {
    let (survey, current) = (store.survey()?, store.current()?);
    let chosen = args.choice.keys(store, &survey, &current)?;
    let pinned: BTreeSet<_> = survey.with_upstream(store.pins()?.into_iter().flat_map(|pin| pin.keys));
    let listed = |held: &Held| Listed {
        stage: held.instance.clone(),
        kind: held.kind.clone(),
        key: held.key.to_string(),
        bytes: held.size(),
        seconds: held.seconds,
        made: held.made,
        used: held.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        manifest: held.manifest.clone(),
        run: held.run.clone(),
        pinned: pinned.contains(&held.key),
        latest: current.contains_key(&held.key),
        files: held.files.0.keys().cloned().collect(),
    };
    let mut listed: Vec<Listed> = survey.held().filter(|held| chosen.contains(&held.key)).map(listed).collect();
    listed.sort_by(|a, b| (&a.stage, a.made, &a.key).cmp(&(&b.stage, b.made, &b.key)));
    match args.sort {
        Sort::Stage => {}
        Sort::Size => listed.sort_by_key(|l| std::cmp::Reverse(l.bytes)),
        Sort::Seconds => listed.sort_by(|a, b| b.seconds.total_cmp(&a.seconds)),
        Sort::Made => listed.sort_by_key(|l| std::cmp::Reverse(l.made)),
        Sort::Used => listed.sort_by_key(|l| std::cmp::Reverse(l.used)),
    }
    if args.reverse {
        listed.reverse();
    }
    answer(common, &listed, || {
        let line = |l: &Listed| {
            let (made, pin) = (time::read(l.made), if l.pinned { '*' } else { ' ' });
            let (size, key) = (bytes(l.bytes), &l.key[..12]);
            format!("{size:>10}  {made}  {:>8.1} s  {key}  {:<14} {pin}{}\n", l.seconds, l.kind, l.stage)
        };
        let total = listed.iter().map(|l| l.bytes).sum();
        listed.iter().map(line).collect::<String>() + &format!("{}, {}\n", count(listed.len(), "result"), bytes(total))
    })
}
