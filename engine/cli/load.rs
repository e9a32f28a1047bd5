//! From a manifest's path to a plan, for every command that takes one.

use std::io::IsTerminal;

use super::{Common, Failure, Format, ManifestArgs, Selection, limits::LimitArgs, print_json};
use crate::{
    check::Gate,
    exec,
    looks::Looks,
    plan::{self, Chosen, Plan, Union, Wish},
    source::Diagnostics,
    stage::Device,
    stages::{self, StageKinds, StageSpec},
    store::PARSED,
};

/// A manifest's plan with its texts.
pub fn load(args: &ManifestArgs, common: &Common) -> Result<Plan<StageSpec>, Failure> {
    plan(args, common).map_err(|mistakes| wrong(&mistakes, common))
}

/// The same, with all that planning sees noted.
pub fn load_seen(args: &ManifestArgs, common: &Common, looks: &Looks) -> Result<Plan<StageSpec>, Failure> {
    seen(args, common, looks).map_err(|mistakes| wrong(&mistakes, common))
}

/// A manifest's plan with the regression gates that it declares.
pub fn gated(args: &ManifestArgs, common: &Common) -> Result<(Plan<StageSpec>, Vec<Gate>), Failure> {
    let environment = |name: &str| std::env::var_os(name);
    plan::load_gated(&args.manifest, &args.sets, &environment, &StageKinds, &common.store.join(PARSED))
        .map_err(|mistakes| wrong(&mistakes, common))
}

/// A manifest's sweep, its points planned together.
pub fn sweep(args: &ManifestArgs, common: &Common) -> Result<Union<StageSpec>, Failure> {
    let environment = |name: &str| std::env::var_os(name);
    plan::load_sweep(&args.manifest, &args.sets, &environment, &StageKinds, &common.store.join(PARSED))
        .map_err(|mistakes| wrong(&mistakes, common))
}

/// The same as `load`, with the mistakes as they are.
pub fn plan(args: &ManifestArgs, common: &Common) -> Result<Plan<StageSpec>, Diagnostics> {
    seen(args, common, &Looks::default())
}

/// The same, with all that is seen noted.
fn seen(args: &ManifestArgs, common: &Common, looks: &Looks) -> Result<Plan<StageSpec>, Diagnostics> {
    let environment = |name: &str| std::env::var_os(name);
    plan::load_kept(&args.manifest, &args.sets, &environment, &StageKinds, &common.store.join(PARSED), looks)
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

/// What to run and how, from what was typed.
pub fn options(
    plan: &Plan<StageSpec>,
    selection: &Selection,
    common: &Common,
    limits: &LimitArgs,
    keep_going: bool,
) -> Result<exec::Options, Failure> {
    let Chosen { wanted, forced } = choose(plan, selection)?;
    let limits = limits.of(plan, &wanted, selection.device)?;
    Ok(exec::Options {
        limits,
        keep_going,
        forced,
        wanted,
        device: selection.device,
        places: common.places(),
        paranoid: selection.paranoid,
    })
}

/// Which instances to look at, and which to run in any case.
pub fn choose(plan: &Plan<StageSpec>, selection: &Selection) -> Result<Chosen, Failure> {
    let Selection { stages, from, until, force, device, .. } = selection;
    let chosen = plan.choose(&Wish { stages, from, until, force }).map_err(Failure::Wrong)?;
    match (device, stages::check_device(*device)) {
        (Device::Cuda, Err(error)) => Err(Failure::Failed(error)),
        _ => Ok(chosen),
    }
}
