//! Manifest text becomes a tree of located nodes, and the parts of a manifest; the only room that knows YAML.
//!
//! The order of things: a file is read and parsed ([`parse`]), the manifests it extends are merged below it, `--set` is merged on
//! top of its parameters (and in a sweep, what each point says), and then `${...}` can be resolved, by parameter, matrix value or environment variable. What the
//! stages mean is not known here.

mod hints;
mod interpolate;
mod kept;
mod load;
mod merge;
mod node;
mod params;
mod refused;
mod scalar;
mod set;
mod template;
mod yaml;

pub use interpolate::{AxisValue, Interpolation, Scope, matrix_uses};
pub use load::{Manifest, TOP, load, read_file};
pub use node::{Entry, Map, Node, Value, Variable, Via};
pub use params::Reach;
pub use scalar::scalar;
pub use set::{Typed, put};
pub use template::is_name;
pub use yaml::parse;

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// How `${env.X}` is looked up: `std::env::var_os`, or a test's own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// How the text of a manifest is got, at most so many bytes of it: [`read_file`], or from memory.
pub type ReadFile<'a> = &'a dyn Fn(&Path, u64) -> io::Result<Vec<u8>>;

/// Where texts come from.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    /// How one is got.
    pub read: ReadFile<'a>,
    /// The folder in which the trees of long ones are kept.
    pub kept: Option<&'a Path>,
}
