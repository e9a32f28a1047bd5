//! Past runs as tables: all of them, one, and one stage through all.

use serde::Serialize;
use serde_json::Value;

use super::super::{Answer, Common, answer, columns, number, store::bytes};
use crate::{
    history::{About, Run, Seen, Totals},
    store::Usage,
    time,
};

#[derive(Serialize)]
struct Shown {
    run: String,
    /// Seconds since 1970.
    time: Option<f64>,
    manifest: Option<String>,
    outcome: &'static str,
    exit: Option<u8>,
    ran: Option<usize>,
    cached: Option<usize>,
    failed: Option<usize>,
    skipped: Option<usize>,
    seconds: Option<f64>,
}

impl Shown {
    fn of(run: &Run, about: Option<&About>) -> Self {
        let total = |count: fn(&Totals) -> usize| about?.totals.as_ref().map(count);
        Self {
            run: run.id.clone(),
            time: about.map(|about| about.started),
            manifest: about.map(|about| about.manifest.name.clone()),
            outcome: run.outcome(about),
            exit: about.and_then(|about| about.exit),
            ran: total(|totals| totals.ran),
            cached: total(|totals| totals.cached),
            failed: total(|totals| totals.failed),
            skipped: total(|totals| totals.skipped),
            seconds: about.and_then(|about| Some(about.ended? - about.started)),
        }
    }
}

/// Every run in a line.
pub fn all(runs: &[Run], common: &Common) -> Answer {
    let shown: Vec<Shown> = runs.iter().map(|run| Shown::of(run, run.about().as_ref())).collect();
    answer(common, &shown, || {
        let head = ["run", "began", "manifest", "outcome", "ran", "cached", "failed", "skipped", "time"].map(str::to_owned);
        let n = |n: Option<usize>| n.map_or("-".to_owned(), |n| n.to_string());
        let row = |s: &Shown| {
            vec![
                s.run.clone(),
                s.time.map_or("-".to_owned(), |seconds| time::read(seconds as u64)),
                s.manifest.clone().unwrap_or_else(|| "-".to_owned()),
                s.outcome.to_owned(),
                n(s.ran),
                n(s.cached),
                n(s.failed),
                n(s.skipped),
                s.seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s")),
            ]
        };
        columns(std::iter::once(head.to_vec()).chain(shown.iter().map(row)).collect())
    })
}

/// One run with its stages.
pub fn one(run: &Run, common: &Common) -> Answer {
    let about = run.about();
    let stages = run.stages();
    let shown = Shown::of(run, about.as_ref());
    let document = serde_json::json!({ "run": run.id, "outcome": shown.outcome, "about": about, "stages": stages });
    answer(common, &document, || {
        let mut text = format!("run {}: {}", run.id, shown.outcome);
        if let Some(Totals { ran, cached, failed, skipped }) = about.as_ref().and_then(|about| about.totals) {
            text += &format!(", {ran} ran, {cached} cached, {failed} failed, {skipped} skipped");
        }
        text += &shown.seconds.map_or("\n".to_owned(), |seconds| format!(" in {seconds:.1} s\n"));
        text += &about.as_ref().map(circumstances).unwrap_or_default();
        let head = ["state", "stage", "time", "CPU", "memory", "result", "reason"].map(str::to_owned);
        let row = |seen: &Seen| {
            let [wall, cpu, memory] = took(seen.seconds, seen.usage);
            let result = main_metric(seen).unwrap_or_default();
            vec![seen.state.word().to_owned(), seen.stage.clone(), wall, cpu, memory, result, seen.why().unwrap_or_default()]
        };
        text + &columns(std::iter::once(head.to_vec()).chain(stages.iter().map(row)).collect())
    })
}

fn circumstances(about: &About) -> String {
    let host = &about.host;
    let cpu = host.cpu.as_ref().map_or(String::new(), |cpu| format!(", {cpu}"));
    let memory = host.memory.map_or(String::new(), |memory| format!(", {}", bytes(memory)));
    let git = about.git.as_ref().map_or(String::new(), |git| {
        format!("  git: {}{}\n", git.revision, if git.dirty { ", with changes that are not committed" } else { "" })
    });
    format!(
        "  manifest: {} ({})\n  command: {}\n  began: {}\n  talkflow {}, store format {}, {}, {} cores\n  host: {}, {}{cpu}, {} cores{memory}\n{git}",
        about.manifest.name,
        about.manifest.path.display(),
        about.command.join(" "),
        time::read(about.started as u64),
        about.talkflow,
        about.formats.store,
        about.device,
        about.cores,
        host.name,
        host.system,
        host.cores,
    )
}

/// Wall time, CPU time and memory.
pub fn took(seconds: Option<f64>, usage: Usage) -> [String; 3] {
    let time = |seconds: Option<f64>| seconds.map_or(String::new(), |seconds| format!("{seconds:.1} s"));
    [time(seconds), time(usage.cpu_seconds), usage.peak_memory.map_or(String::new(), bytes)]
}

/// The first of its metrics, which kinds put there because it matters most.
fn main_metric(seen: &Seen) -> Option<String> {
    let (name, value) = seen.metrics.iter().next()?;
    matches!(value, Value::Number(_) | Value::String(_)).then(|| format!("{name} {}", number(value)))
}

/// What became of a stage instance in each run.
#[derive(Serialize)]
pub struct Past {
    run: String,
    #[serde(flatten)]
    seen: Seen,
}

/// Through all runs, the last first.
pub fn through(runs: &[Run], stage: &str) -> Vec<Past> {
    let seen = |run: &Run| run.stages().into_iter().find(|seen| seen.stage == stage);
    runs.iter().rev().filter_map(|run| Some(Past { run: run.id.clone(), seen: seen(run)? })).collect()
}

/// That as a table.
pub fn table(past: &[Past]) -> String {
    let head = ["run", "state", "key", "time", "result", "reason"].map(str::to_owned);
    let row = |Past { run, seen }: &Past| {
        let key = seen.key.map_or(String::new(), |key| key.0.short());
        let [wall, ..] = took(seen.seconds, seen.usage);
        let result = main_metric(seen).unwrap_or_default();
        vec![run.clone(), seen.state.word().to_owned(), key, wall, result, seen.why().unwrap_or_default()]
    };
    columns(std::iter::once(head.to_vec()).chain(past.iter().map(row)).collect())
}
