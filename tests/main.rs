//! The one integration binary: talkflow as its users run it. Every end-to-end test ends with "run again: nothing to do".
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod cache;
mod check;
mod classes;
mod codes;
mod command;
mod commands;
mod compare;
mod crash;
mod diagnostics;
mod encoder;
mod faults;
mod history;
mod hostile;
mod items;
mod manifests;
mod order;
mod processes;
mod ranking;
mod report;
mod rooms;
mod search;
mod run;
mod serve;
mod space;
mod still;
mod store;
mod streaming;
mod students;
mod sweep;
mod terminal;
mod watch;
