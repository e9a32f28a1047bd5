//! `talkflow store pin`, `unpin` and `pins`.

use std::collections::BTreeSet;

use clap::Args;

use super::{
    Answer, Common, Failure, answer,
    choose::{Choice, Pattern, maybe_run},
    count,
};
use crate::{
    key::ActionKey,
    store::{Pin, Pinned, Store},
    time,
};

/// What to pin.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// A stage, whose last results are pinned (`teacher`, `student[genre=Western]`, with `*` and `?`), the beginning of a key, or
    /// a run.
    #[arg(value_name = "STAGE|KEY|RUN")]
    what: String,
    /// Why, for whoever reads `store pins`.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// What to unpin.
#[derive(Debug, Args)]
pub struct UnpinArgs {
    /// As for `pin`.
    #[arg(value_name = "STAGE|KEY|RUN")]
    what: String,
}

/// Pins.
pub fn pin(args: &PinArgs, store: &Store, common: &Common) -> Answer {
    let note = args.note.as_deref();
    let mut pins = Vec::new();
    if let Some(run) = maybe_run(store, &args.what) {
        let keys: Vec<ActionKey> = store.keys_of_run(&run)?.into_iter().collect();
        let survey = store.survey()?;
        let there: BTreeSet<ActionKey> = survey.held().map(|held| held.key).collect();
        if let Some(gone) = keys.iter().find(|key| !there.contains(key)) {
            let gone = gone.0.short();
            return Err(Failure::Failed(format!("result {gone} of run {} is no longer in the store: run it again", run)));
        }
        pins.push(store.pin(Pinned::Run(run), &count(keys.len(), "result"), note, keys)?);
    } else {
        let (survey, current) = (store.survey()?, store.current()?);
        let choice = Choice { stages: vec![args.what.clone()], ..Choice::default() };
        let chosen = choice.keys(store, &survey, &current)?;
        // A name means the last results of the stage, a key any result.
        let pattern = Pattern::parse(&args.what)?;
        let held: Vec<_> = survey.held().filter(|held| chosen.contains(&held.key)).collect();
        let held: Vec<_> =
            held.into_iter().filter(|held| pattern.is_key_of(&held.key) || current.contains_key(&held.key)).collect();
        if held.is_empty() {
            return Err(Failure::Wrong(format!("no last result of a stage fits `{}`: pin by key (`store ls`)", args.what)));
        }
        for held in held {
            pins.push(store.pin(Pinned::Result(held.key), &held.instance, note, vec![held.key])?);
        }
    }
    answer(common, &pins, || pins.iter().map(|pin| format!("pinned {}\n", name(pin))).collect())
}

/// Unpins.
pub fn unpin(args: &UnpinArgs, store: &Store, common: &Common) -> Answer {
    let pattern = Pattern::parse(&args.what)?;
    let run = maybe_run(store, &args.what).unwrap_or_else(|| args.what.clone());
    let mut gone = Vec::new();
    for pin in store.pins()? {
        let fits = match &pin.what {
            Pinned::Run(id) => *id == run,
            Pinned::Result(key) => pattern.fits_named(key, [pin.of.as_str()].into_iter()),
        };
        if fits && store.unpin(&pin.what)? {
            gone.push(pin);
        }
    }
    if gone.is_empty() {
        return Err(Failure::Wrong(format!("nothing called `{}` is pinned: `store pins` lists what is", args.what)));
    }
    answer(common, &gone, || gone.iter().map(|pin| format!("unpinned {}\n", name(pin))).collect())
}

/// Lists.
pub fn pins(store: &Store, common: &Common) -> Answer {
    let pins = store.pins()?;
    answer(common, &pins, || {
        let line = |pin: &Pin| {
            let note = pin.note.as_ref().map_or(String::new(), |note| format!("  {note}"));
            format!("{}  {}{note}\n", time::read(pin.since), name(pin))
        };
        pins.iter().map(line).collect::<String>() + &format!("{}\n", count(pins.len(), "pin"))
    })
}

fn name(pin: &Pin) -> String {
    match &pin.what {
        Pinned::Result(key) => format!("{}  {}", key.0.short(), pin.of),
        Pinned::Run(id) => format!("{id}  {}", pin.of),
    }
}
