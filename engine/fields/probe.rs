//! For tests: reads settings from a text as a stage kind would, without a manifest around them.

use std::path::Path;

use super::directory::{Directory, Labels};
use super::reader::{Fields, Outside, Reading, read};
use crate::artifact::ArtifactKind;
use crate::looks::Looks;
use crate::manifest::parse;
use crate::source::{Diagnostics, Sources};

/// Reads `text`, the YAML of one stage's settings, with `with`. `stages` are the other stages that exist, each with one
/// instance, numbered from 0. Nothing in `text` is interpolated.
pub(crate) fn probe<R>(
    text: &str,
    stages: &[(&str, ArtifactKind)],
    with: impl FnOnce(&mut Fields<'_>) -> R,
) -> Result<Reading<R>, Diagnostics> {
    let mut sources = Sources::default();
    let id = sources.add_file(Path::new("m.yaml"), text.to_owned());
    let at = sources.whole(id).part(0, 0);
    let mut directory = Directory::default();
    for (name, yields) in stages {
        directory.insert(name, at, Some(*yields), Some(vec![Labels::new()]));
    }
    let mut mistakes = Vec::new();
    let Some(node) = parse(&sources, sources.whole(id), &mut mistakes) else {
        return Err(Diagnostics::new(sources, mistakes));
    };
    let outside =
        Outside { sources: &sources, directory: &directory, stage: "it", axes: &[], env: &|_| None, looks: &Looks::default() };
    let mut reading = read(outside, "kind", at, &node, with);
    mistakes.append(&mut reading.mistakes);
    if mistakes.is_empty() {
        return Ok(reading);
    }
    Err(Diagnostics::new(sources, mistakes))
}
