//! `talkflow store`: what lies in the store, whether it is whole, what is pinned, throwing away what nobody keeps, and sending
//! results to another store or fetching them from there.

use clap::Subcommand;

use super::{Answer, Common, Failure, answer};

mod choose;
mod du;
mod gc;
mod ls;
mod pins;
mod transfer;
mod verify;

/// The commands on the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// List results: size, when made, how long that took, key, kind, stage. `*` before the stage: pinned.
    Ls(ls::LsArgs),
    /// Sum up what takes space: results by stage, kind, manifest or run, and everything else in the store.
    Du(du::DuArgs),
    /// Read every file again; damaged ones are set aside, so that the next run makes them anew. Exit code 3 if there were any.
    Verify(verify::VerifyArgs),
    /// Remove results that are not the last of any stage of any manifest that ran here, checkpoints of trainings that have ended
    /// or lay idle for 14 days, and all but the last 100 runs. Pinned results and what running processes use always stay. With
    /// several of the options below, a result goes only if each of them lets it go.
    Gc(gc::GcArgs),
    /// Keep a result, with all it was made from, or everything that a run used, whatever is collected.
    Pin(pins::PinArgs),
    /// Take a pin away.
    Unpin(pins::UnpinArgs),
    /// List pins.
    Pins,
    /// Send results to the store in another folder, which is made where there is none.
    Push(transfer::TransferArgs),
    /// Fetch results from the store in another folder.
    Pull(transfer::TransferArgs),
}

/// Runs one of them.
pub fn store(command: &StoreCommand, common: &Common) -> Answer {
    match command {
        // The only one that may begin a store: a first pull fills it.
        StoreCommand::Pull(args) => transfer::pull(args, common),
        StoreCommand::Ls(args) => ls::ls(args, &common.existing_store()?, common),
        StoreCommand::Du(args) => du::du(args, &common.existing_store()?, common),
        StoreCommand::Verify(args) => verify::verify(args, &common.existing_store()?, common),
        StoreCommand::Gc(args) => gc::gc(args, &common.existing_store()?, common),
        StoreCommand::Pin(args) => pins::pin(args, &common.existing_store()?, common),
        StoreCommand::Unpin(args) => pins::unpin(args, &common.existing_store()?, common),
        StoreCommand::Pins => pins::pins(&common.existing_store()?, common),
        StoreCommand::Push(args) => transfer::push(args, &common.existing_store()?, common),
    }
}

/// A size as people read it.
pub fn bytes(n: u64) -> String {
    scaled(n, "B")
}

/// A number of some unit as people read it.
pub fn scaled(n: u64, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G", "T"];
    let mut value = n as f64;
    let mut prefix = 0;
    while value >= 1000.0 && prefix + 1 < prefixes.len() {
        value /= 1000.0;
        prefix += 1;
    }
    if prefix == 0 { format!("{n} {unit}") } else { format!("{value:.1} {}{unit}", prefixes[prefix]) }
}

/// A number of things.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
