//! talkflow: a declarative pipeline engine for distilling big models into small ones.
//!
//! The modules stand in the order of who may know whom: each uses only those above it (a test reads the `use crate::` lines).
//!
//! The life of one `talkflow run manifests/x.yaml`:
//!
//! 1. [`cli`] turns arguments into a command.
//! 2. [`manifest`] turns text into located nodes; a bad text ends here, with a diagnostic that shows the line.
//! 3. [`plan`] resolves parameters, matrices and names into stage instances, lets each [`stages`] kind read its settings through
//!    [`fields`], and reports all mistakes at once.
//! 4. [`exec`] takes over and never looks back at the manifest. For each instance that becomes ready it builds a [`key`] from the
//!    contents of its inputs, looks it up in the [`store`], and the instance is fresh or queued with its reason.
//! 5. A worker lets the stage kind write into a draft, which the store hashes and renames into place, the record last.
//! 6. Every transition is an [`event`]; [`report`] shows events; the engine itself prints nothing.
//! 7. The outcome becomes a documented exit code.

pub mod time;
pub mod visible;
pub mod source;
pub mod selector;
pub mod artifact;
pub mod looks;
pub mod key;
pub mod store;
pub mod event;
pub mod history;
pub mod compare;
pub mod scores;
pub mod stage;
pub mod manifest;
pub mod space;
pub mod fields;
pub mod check;
pub mod plan;
pub mod graph;
pub mod stages;
pub mod schema;
pub mod exec;
pub mod report;
pub mod serve;
pub mod cli;
