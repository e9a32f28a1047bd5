//! `talkflow store verify`.

use std::sync::Mutex;

use clap::Args;

use super::{Answer, Common, Failure, answer, choose::Choice, count};
use crate::{report::terminal::Line, store::Store};

/// Its arguments.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    choice: Choice,
}

/// Reads everything again.
pub fn verify(args: &VerifyArgs, store: &Store, common: &Common) -> Answer {
    let chosen = match args.choice.is_all() {
        true => None,
        false => Some(args.choice.keys(store, &store.survey()?, &store.current()?)?),
    };
    let line = Mutex::new(Line::default());
    let progress = |done: u64, total: u64| {
        if let Ok(mut line) = line.lock() {
            let _ = line.show("reading", done, Some(total));
        }
    };
    let verified = store.verify(chosen.as_ref(), &progress)?;
    if let Ok(mut line) = line.lock() {
        line.end();
    }
    let damage = &verified.damage;
    let document =
        serde_json::json!({ "ok": damage.is_empty(), "read": verified.files, "bytes": verified.bytes, "damage": damage });
    answer(common, &document, || {
        let lines: String = damage.iter().map(|d| format!("{d}\n")).collect();
        let end = match damage.len() {
            0 => "all whole".to_owned(),
            n => format!("{n} damaged or missing: the next run makes them again"),
        };
        format!("{lines}{} and {} read, {end}\n", count(verified.files, "file"), super::bytes(verified.bytes))
    })?;
    if damage.is_empty() { Ok(()) } else { Err(Failure::Damaged) }
}
