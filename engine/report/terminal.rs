//! A run as people see it, on standard error: one line a stage as it ends, and on a terminal a bar for each stage at work.

use std::{collections::BTreeMap, io::IsTerminal, path::PathBuf, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use crate::event::Event;

/// Shows events.
#[derive(Debug)]
pub struct Terminal {
    bars: MultiProgress,
    open: BTreeMap<usize, ProgressBar>,
    live: bool,
    /// Where each stage stands in the manifest, by place in the plan.
    places: Vec<String>,
    journal: Option<PathBuf>,
}

impl Terminal {
    /// Shows to standard error. `places` says where each instance stands in its manifest, `journal` where its log is.
    pub fn new(places: Vec<String>, journal: Option<PathBuf>) -> Self {
        let live = std::io::stderr().is_terminal();
        Self { bars: MultiProgress::new(), open: BTreeMap::new(), live, places, journal }
    }

    /// Shows one event.
    pub fn on(&mut self, event: &Event) {
        match event {
            Event::RunStarted { manifest, stages, cores, .. } => {
                self.line(&format!("{manifest}: {}, {}", count(*stages, "stage"), count(*cores, "core")));
            }
            Event::Cached { stage, metrics, notes, back, .. } => {
                let back = back.as_ref().map_or(String::new(), |back| format!("  (an earlier result: {})", back.brief()));
                self.line(&format!("{:>9}  {stage}{}{back}", "cached", main_metric(metrics)));
                notes.iter().for_each(|note| self.line(&format!("{:>9}  {note}", "")));
            }
            Event::Started { index, stage, reason, attempt } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                self.open(*index, stage, &format!("{}{again}", reason.brief()));
            }
            Event::Waiting { index, stage } => {
                self.open(*index, stage, "another process is making this; waiting for its result");
                if !self.live {
                    self.line(&format!("{:>9}  {stage}: another process is making this; its result will be used", "waiting"));
                }
            }
            Event::Progressed { index, progress, stage } => {
                if !self.open.contains_key(index) {
                    self.open(*index, stage, "");
                }
                if let Some(bar) = self.open.get(index) {
                    bar.set_length(progress.total.unwrap_or(0));
                    bar.set_position(progress.done);
                    bar.set_message(progress.what.clone());
                }
            }
            Event::Noted { stage, note, .. } => self.line(&format!("{:>9}  {stage}: {note}", "note")),
            Event::Finished { index, stage, seconds, metrics, reason, .. } => {
                self.close(*index);
                self.line(&format!("{seconds:>7.1} s  {stage}{}  ({})", main_metric(metrics), reason.brief()));
            }
            Event::Failed { index, stage, causes, retry } => {
                self.close(*index);
                self.line(&format!("{:>9}  {stage}{}", "FAILED", if *retry { " (trying again)" } else { "" }));
                if let Some(place) = self.places.get(*index) {
                    self.line(&format!("{:>9}  at {place}", ""));
                }
                for (depth, cause) in causes.iter().enumerate() {
                    let lead = if depth == 0 { "" } else { "caused by: " };
                    cause.lines().for_each(|line| self.line(&format!("{:>9}  {:depth$}{lead}{line}", "", "")));
                }
                if let Some(journal) = self.journal.as_ref().filter(|_| !retry) {
                    self.line(&format!("{:>9}  log: {}", "", journal.display()));
                }
            }
            Event::Skipped { stage, because, .. } => self.line(&format!("{:>9}  {stage}: {because}", "skipped")),
            Event::RunFinished { ran, cached, failed, skipped, seconds } => {
                for index in self.open.keys().copied().collect::<Vec<_>>() {
                    self.close(index);
                }
                let mut parts = vec![format!("{ran} ran"), format!("{cached} cached")];
                parts.extend((*failed > 0).then(|| format!("{failed} failed")));
                parts.extend((*skipped > 0).then(|| format!("{skipped} skipped")));
                self.line(&format!("{} in {seconds:.1} s", parts.join(", ")));
            }
        }
    }

    /// Prints a line above the bars.
    fn line(&self, line: &str) {
        if self.live {
            // A terminal that is gone is no reason to stop a run.
            let _ = self.bars.println(line);
        } else {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
        }
    }

    fn open(&mut self, index: usize, stage: &str, message: &str) {
        self.close(index);
        if !self.live {
            return;
        }
        let template = "{elapsed:>7}    {prefix} {bar:16.cyan/dim} {pos}/{len} {wide_msg:.dim} {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(ProgressBar::new(0)).with_style(style);
        bar.set_prefix(stage.to_owned());
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.open.insert(index, bar);
    }

    fn close(&mut self, index: usize) {
        if let Some(bar) = self.open.remove(&index) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}

/// The first of a result's metrics, which kinds put there because it matters most.
fn main_metric(metrics: &Map<String, Value>) -> String {
    match metrics.iter().next() {
        Some((name, Value::Number(number))) => match number.as_u64() {
            Some(whole) => format!("  {name} {whole}"),
            None => format!("  {name} {:.4}", number.as_f64().unwrap_or(f64::NAN)),
        },
        Some((name, Value::String(text))) => format!("  {name} {text}"),
        _ => String::new(),
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// One line of progress for a command that is no run: shown on a terminal only.
#[derive(Debug, Default)]
pub struct Line(Option<ProgressBar>);

impl Line {
    /// Shows how far the work is; never asks it to stop.
    pub fn show(&mut self, what: &str, done: u64, total: Option<u64>) -> std::ops::ControlFlow<()> {
        if std::io::stderr().is_terminal() {
            let bar = self.0.get_or_insert_with(|| ProgressBar::new(0));
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
            bar.set_message(what.to_owned());
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Clears the line.
    pub fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
