//! A run as people see it, on standard error: one line a stage as it ends, and on a terminal a bar for each stage at work.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde_json::{Map, Value};

use super::{
    live::{Expected, Live},
    points::Points,
    screen::{Screen, Size},
};
use crate::{
    event::{Event, Listener},
    visible::visible,
};

/// Shows events.
#[derive(Debug)]
pub struct Terminal {
    /// Where standard error is a terminal that can move its cursor.
    view: Option<View>,
    /// Where it is not: what the view would show.
    unseen: Option<Live>,
    /// Where each stage stands in the manifest, by place in the plan.
    places: Vec<String>,
    journal: Option<PathBuf>,
    /// Lines to print where there is no live view.
    lines: String,
}

/// The live view: drawn again and again by a thread of its own, so that clocks go on while nothing happens.
#[derive(Debug)]
struct View {
    state: Arc<Mutex<ViewState>>,
    /// Dropped, it ends the thread.
    tick: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct ViewState {
    live: Live,
    /// Lines to print with the next frame.
    lines: Vec<String>,
    screen: Screen,
}

/// How often the live view is drawn.
const FRAME: Duration = Duration::from_millis(100);

impl Terminal {
    /// Shows to standard error. `places` says where each instance stands in its manifest, `stages` what is expected of each, `journal`
    /// where the log is; `points` which of them the points of a sweep need, where the run is one.
    pub fn new(places: Vec<String>, stages: Vec<Expected>, points: Option<Points>, journal: Option<PathBuf>) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let moves = std::io::stderr().is_terminal() && set("TERM").is_some_and(|term| term != "dumb");
        let live = Live::new(stages, points, set("NO_COLOR").is_none());
        let (view, unseen) = if moves { (Some(View::begin(live)), None) } else { (None, Some(live)) };
        Self { view, unseen, places, journal, lines: String::new() }
    }

    /// The points of a sweep as they stand.
    pub fn points(&self) -> Option<Points> {
        match &self.view {
            Some(view) => view.state().live.points().cloned(),
            None => self.unseen.as_ref().and_then(Live::points).cloned(),
        }
    }

    fn take_note(&mut self, event: &Event) -> Vec<String> {
        match (&self.view, &mut self.unseen) {
            (Some(view), _) => view.state().live.on(event),
            (None, Some(live)) => live.on(event),
            (None, None) => Vec::new(),
        }
    }

    /// Prints a line, above the bars where there are any.
    fn line(&mut self, line: &str) {
        let line = visible(line);
        match &self.view {
            Some(view) => view.state().lines.extend(line.lines().map(str::to_owned)),
            None => {
                self.lines.push_str(&line);
                self.lines.push('\n');
                if self.lines.len() >= TOGETHER {
                    self.pause();
                }
            }
        }
    }
}

/// Many lines at once are printed together; but not more than this.
const TOGETHER: usize = 16 << 10;

impl Listener for Terminal {
    /// Shows one event.
    fn on(&mut self, event: &Event) {
        let ended = self.take_note(event);
        lines(event).iter().for_each(|line| self.line(line));
        match event {
            Event::Waiting { stage, .. } if self.view.is_none() => {
                self.line(&format!("{:>9}  {stage}: another process is making this; its result will be used", "waiting"));
            }
            Event::Failed { index, stage, causes, retry } => {
                self.line(&format!("{:>9}  {stage}{}", "FAILED", if *retry { " (trying again)" } else { "" }));
                if let Some(place) = self.places.get(*index) {
                    self.line(&format!("{:>9}  at {place}", ""));
                }
                for (depth, cause) in causes.iter().enumerate() {
                    for (n, line) in cause.lines().enumerate() {
                        let lead = if depth > 0 && n == 0 { "caused by: " } else { "" };
                        self.line(&format!("{:>9}  {:depth$}{lead}{line}", "", ""));
                    }
                }
                if let Some(journal) = self.journal.as_ref().filter(|_| !retry) {
                    self.line(&format!("{:>9}  log: {}", "", journal.display()));
                }
            }
            Event::RunFinished { .. } => {
                if let Some(points) = self.points() {
                    self.line(&format!("points: {}", points.tally()));
                }
                self.pause();
                // The view ends, and what it knows stays.
                self.unseen = self.view.take().map(View::end).or(self.unseen.take());
            }
            _ => {}
        }
        ended.iter().for_each(|line| self.line(line));
    }

    fn pause(&mut self) {
        // A reader that is gone is no reason to stop a run.
        let _ = std::io::stderr().write_all(std::mem::take(&mut self.lines).as_bytes());
    }
}

/// What there is to print of an event whoever watches.
pub fn lines(event: &Event) -> Vec<String> {
    match event {
        Event::RunStarted { manifest, stages, cores, .. } => {
            vec![format!("{manifest}: {}, {}", count(*stages, "stage"), count(*cores, "core"))]
        }
        Event::Cached { stage, metrics, notes, back, .. } => {
            let back = back.as_ref().map_or(String::new(), |back| format!("  (an earlier result: {})", back.brief()));
            let first = format!("{:>9}  {stage}{}{back}", "cached", main_metric(metrics));
            std::iter::once(first).chain(notes.iter().map(|note| format!("{:>9}  {note}", ""))).collect()
        }
        Event::Noted { stage, note, .. } => vec![format!("{:>9}  {stage}: {note}", "note")],
        Event::Finished { stage, seconds, metrics, reason, .. } => {
            vec![format!("{seconds:>7.1} s  {stage}{}  ({})", main_metric(metrics), reason.brief())]
        }
        Event::Skipped { stage, because, .. } => vec![format!("{:>9}  {stage}: {because}", "skipped")],
        Event::RunFinished { ran, cached, failed, skipped, seconds } => {
            let mut parts = vec![format!("{ran} ran"), format!("{cached} cached")];
            parts.extend((*failed > 0).then(|| format!("{failed} failed")));
            parts.extend((*skipped > 0).then(|| format!("{skipped} skipped")));
            vec![format!("{} in {seconds:.1} s", parts.join(", "))]
        }
        Event::Started { .. } | Event::Waiting { .. } | Event::Progressed { .. } | Event::Failed { .. } => Vec::new(),
    }
}

impl View {
    fn begin(live: Live) -> Self {
        let state = Arc::new(Mutex::new(ViewState { live, lines: Vec::new(), screen: Screen::default() }));
        let (tick, ticks) = mpsc::channel();
        let drawn = state.clone();
        let thread = std::thread::spawn(move || {
            while ticks.recv_timeout(FRAME) == Err(mpsc::RecvTimeoutError::Timeout) {
                lock(&drawn).draw(true);
            }
        });
        Self { state, tick: Some(tick), thread: Some(thread) }
    }

    fn state(&self) -> MutexGuard<'_, ViewState> {
        lock(&self.state)
    }

    /// Ends it, and gives back what it showed.
    fn end(self) -> Live {
        let state = self.state.clone();
        drop(self);
        let mut state = lock(&state);
        std::mem::replace(&mut state.live, Live::new(Vec::new(), None, false))
    }
}

impl Drop for View {
    /// Leaves the lines on the screen and nothing else.
    fn drop(&mut self) {
        drop(self.tick.take());
        let _ = self.thread.take().map(JoinHandle::join);
        self.state().draw(false);
    }
}

fn lock(state: &Mutex<ViewState>) -> MutexGuard<'_, ViewState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ViewState {
    fn draw(&mut self, with_frame: bool) {
        let size = Size::of_stderr();
        let frame = if with_frame { self.live.frame(size, Instant::now()) } else { Vec::new() };
        let lines = std::mem::take(&mut self.lines);
        self.screen.show(size, &lines, &frame);
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
            bar.set_message(visible(what).into_owned());
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
