//! From a manifest's path to a plan, for every command that takes one.

use std::io::IsTerminal;

use super::{Common, Failure, Format, ManifestArgs, Selection, print_json};
use crate::{
    exec,
    plan::{self, Plan},
    source::Diagnostics,
    stage::Device,
    stages::{self, StageKinds, StageSpec},
};

/// A manifest's plan with its texts.
pub fn load(args: &ManifestArgs, common: &Common) -> Result<Plan<StageSpec>, Failure> {
    let environment = |name: &str| std::env::var_os(name);
    plan::load(&args.manifest, &args.sets, &environment, &StageKinds).map_err(|mistakes| wrong(&mistakes, common))
}

/// Mistakes as an answer: rendered on standard error, or a document.
fn wrong(mistakes: &Diagnostics, common: &Common) -> Failure {
    if common.format == Format::Json {
        let _ = print_json(&serde_json::json!({ "ok": false, "errors": document(mistakes) }));
    }
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Failure::Diagnosed(if colours { mistakes.render_styled() } else { mistakes.render() })
}

/// Each mistake with its place.
fn document(mistakes: &Diagnostics) -> Vec<serde_json::Value> {
    let one = |mistake: &crate::source::Diagnostic| {
        let (span, sources) = (mistake.primary.span, mistakes.sources());
        let position = sources.position(span);
        serde_json::json!({
            "message": mistake.message,
            "file": sources.name(span.source),
            "line": position.line,
            "column": position.column,
            "help": mistake.help,
        })
    };
    mistakes.list().iter().map(one).collect()
}

/// What to run, from what was typed.
pub fn options(
    plan: &Plan<StageSpec>,
    selection: &Selection,
    common: &Common,
    cores: Option<usize>,
    keep_going: bool,
) -> Result<exec::Options, Failure> {
    let all = vec![true; plan.instances.len()];
    let wanted = match selection.stages.as_slice() {
        [] => all,
        stages => with_upstream(plan, &marked(plan, stages)?),
    };
    let forced = marked(plan, &selection.force)?;
    if let Some(place) = (0..wanted.len()).find(|place| forced[*place] && !wanted[*place]) {
        let name = &plan.instances[place].name;
        return Err(Failure::Wrong(format!(
            "--force {name}: it is not among the stages to run; name it too, or no stage for all"
        )));
    }
    if let (Device::Cuda, Err(error)) = (selection.device, stages::check_device(selection.device)) {
        return Err(Failure::Failed(error));
    }
    Ok(exec::Options {
        memory: available_memory(),
        cores: cores.unwrap_or_else(available_cores),
        keep_going,
        forced,
        wanted,
        device: selection.device,
        places: common.places(),
        paranoid: selection.paranoid,
    })
}

/// The instances that some references name.
pub fn marked<S>(plan: &Plan<S>, references: &[String]) -> Result<Vec<bool>, Failure> {
    let mut marks = vec![false; plan.instances.len()];
    for reference in references {
        let found = plan.select(reference).map_err(Failure::Wrong)?;
        found.into_iter().for_each(|index| marks[index] = true);
    }
    Ok(marks)
}

fn with_upstream<S>(plan: &Plan<S>, marks: &[bool]) -> Vec<bool> {
    let mut wanted = marks.to_vec();
    // The plan is in topological order: backwards, an instance comes before all it reads.
    for index in (0..wanted.len()).rev().filter(|index| marks[*index]).collect::<Vec<_>>() {
        let mut left = vec![index];
        while let Some(index) = left.pop() {
            for from in plan.instances[index].inputs.iter().flat_map(|input| &input.from) {
                if !std::mem::replace(&mut wanted[*from], true) {
                    left.push(*from);
                }
            }
        }
    }
    wanted
}

/// The machine's memory in bytes; without limit where the system does not say.
fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024))
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
