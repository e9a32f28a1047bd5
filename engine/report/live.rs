//! What a run looks like while it goes on: a bar for each stage at work, as many as fit, and under them a line for the whole, with the
//! time that is left by what stages took before. Makes rows of text; knows no terminal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    points::Points,
    screen::{Size, clip, shorten},
};
use crate::event::{Event, Progress};

/// A stage instance of the run, and how many seconds it may be expected to take.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// By its own or its kind's past; `None` where there is none.
    pub seconds: Option<f64>,
    /// Whether the run is to bring it up to date.
    pub wanted: bool,
}

/// A run at work.
#[derive(Debug)]
pub struct Live {
    stages: Vec<Expected>,
    running: BTreeMap<usize, Bar>,
    over: Vec<bool>,
    /// Seconds that stages of each kind took in this run: their sum and how many.
    took: BTreeMap<String, (f64, f64)>,
    began: Instant,
    colour: bool,
    /// Where the run is a sweep.
    points: Option<Points>,
}

#[derive(Debug)]
struct Bar {
    since: Instant,
    progress: Option<Progress>,
    message: String,
}

impl Live {
    /// Of a run of these stages that begins now.
    pub fn new(stages: Vec<Expected>, points: Option<Points>, colour: bool) -> Self {
        let over = vec![false; stages.len()];
        Self { stages, running: BTreeMap::new(), over, took: BTreeMap::new(), began: Instant::now(), colour, points }
    }

    /// The points, where the run is a sweep.
    pub fn points(&self) -> Option<&Points> {
        self.points.as_ref()
    }

    /// Takes note of what happened. What there is to say of the points that ended by it.
    pub fn on(&mut self, event: &Event) -> Vec<String> {
        self.take_note(event);
        let Some(points) = &mut self.points else { return Vec::new() };
        let ended = points.on(event);
        if ended.is_empty() {
            return Vec::new();
        }
        let tally = points.tally();
        let left = self.left(Instant::now()).map_or(String::new(), |left| format!(", about {}", time(left)));
        let Some(points) = &self.points else { return Vec::new() };
        let say = |point: usize| match points.failure(point) {
            Some(_) => format!("{:>9}  {} FAILED", "point", points.name(point)),
            None => format!(
                "{:>9}  {}  ({} of {} there; {} left{left})",
                "point",
                points.name(point),
                tally.done + tally.cached,
                points.len(),
                tally.left
            ),
        };
        ended.into_iter().map(say).collect()
    }

    fn take_note(&mut self, event: &Event) {
        match event {
            Event::Started { index, reason, attempt, .. } => {
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                self.begin(*index, format!("{}{again}", reason.brief()));
            }
            Event::Waiting { index, .. } => self.begin(*index, "another process is making this".to_owned()),
            Event::Progressed { index, progress, .. } => {
                if !self.running.contains_key(index) {
                    self.begin(*index, String::new());
                }
                if let Some(bar) = self.running.get_mut(index) {
                    bar.message.clone_from(&progress.what);
                    bar.progress = Some(progress.clone());
                }
            }
            Event::Finished { index, seconds, .. } => {
                if let Some(stage) = self.stages.get(*index) {
                    let (sum, n) = self.took.entry(stage.kind.clone()).or_default();
                    (*sum, *n) = (*sum + seconds, *n + 1.0);
                }
                self.end(*index);
            }
            Event::Failed { index, retry: true, .. } => drop(self.running.remove(index)),
            Event::Cached { index, .. } | Event::Failed { index, .. } | Event::Skipped { index, .. } => self.end(*index),
            Event::Noted { .. } | Event::RunStarted { .. } | Event::RunFinished { .. } => {}
        }
    }

    fn begin(&mut self, index: usize, message: String) {
        self.running.insert(index, Bar { since: Instant::now(), progress: None, message });
    }

    fn end(&mut self, index: usize) {
        self.running.remove(&index);
        if let Some(over) = self.over.get_mut(index) {
            *over = true;
        }
    }

    /// The rows to show on a screen of that size, each narrower than it.
    pub fn frame(&self, size: Size, now: Instant) -> Vec<String> {
        // The last column stays free: a full row leaves the cursor where no two terminals agree.
        let width = size.columns.saturating_sub(1);
        let room = size.rows.saturating_sub(2);
        let n = self.running.len();
        let shown = if n <= room { n } else { room.saturating_sub(1) };
        // The columns of names are as wide as those shown need, and at most two fifths of the screen.
        let name = |index: &usize| self.stages.get(*index).map_or("?", |stage| stage.name.as_str());
        let longest = self.running.keys().take(shown).map(|index| name(index).chars().count()).max().unwrap_or(0);
        let names = longest.min((width * 2 / 5).max(8));
        let bars = self.running.iter().take(shown);
        let mut rows: Vec<String> = bars.map(|(index, bar)| self.row(*index, bar, name(index), names, width, now)).collect();
        if shown < n && room > 0 {
            rows.push(clip(&format!("... and {} more", n - shown), width));
        }
        rows.push(clip(&self.total(now), width));
        rows
    }

    fn row(&self, index: usize, bar: &Bar, name: &str, names: usize, width: usize, now: Instant) -> String {
        let elapsed = now.saturating_duration_since(bar.since).as_secs_f64();
        let (fraction, left) = self.of_bar(index, bar, elapsed);
        let head = format!("{:>6} {:names$} ", time(elapsed), shorten(name, names));
        let gauge = match fraction {
            Some(fraction) if width >= 60 => gauge(fraction, 16),
            _ => String::new(),
        };
        let count = match &bar.progress {
            Some(Progress { done, total: Some(total), .. }) if *total > 0 => format!(" {done}/{total}"),
            Some(Progress { done, total: None, .. }) if *done > 0 => format!(" {done}"),
            _ => String::new(),
        };
        let left = left.map_or(String::new(), |left| format!(" {} left", time(left)));
        let head = clip(&head, width);
        let room = width.saturating_sub(head.chars().count());
        let gauge_shown = clip(&gauge, room);
        let rest = clip(&format!("{count}{left}  {}", bar.message), room.saturating_sub(gauge_shown.len()));
        match self.colour && !gauge_shown.is_empty() {
            true => format!("{head}\x1b[36m{gauge_shown}\x1b[0m{rest}"),
            false => format!("{head}{gauge_shown}{rest}").trim_end().to_owned(),
        }
    }

    /// How much of a stage's work is done, and the seconds that are left.
    fn of_bar(&self, index: usize, bar: &Bar, elapsed: f64) -> (Option<f64>, Option<f64>) {
        if let Some(Progress { done, total: Some(total), .. }) = bar.progress
            && total > 0
            && done > 0
        {
            let fraction = (done as f64 / total as f64).min(1.0);
            return (Some(fraction), Some(elapsed * (1.0 - fraction) / fraction));
        }
        match self.expected(index) {
            Some(seconds) if seconds > 0.0 => (Some((elapsed / seconds).min(0.99)), Some((seconds - elapsed).max(0.0))),
            _ => (None, None),
        }
    }

    fn expected(&self, index: usize) -> Option<f64> {
        let stage = self.stages.get(index)?;
        let mean = |(sum, n): &(f64, f64)| sum / n;
        stage.seconds.or_else(|| self.took.get(&stage.kind).map(mean)).or_else(|| {
            let all = self.took.values().fold((0.0, 0.0), |(sum, n), (s, m)| (sum + s, n + m));
            (all.1 > 0.0).then(|| mean(&all))
        })
    }

    /// Seconds until the run ends if all that is left has to run, as wide as it runs now; `None` where no duration is known.
    fn left(&self, now: Instant) -> Option<f64> {
        let of_running =
            |(index, bar): (&usize, &Bar)| self.of_bar(*index, bar, now.saturating_duration_since(bar.since).as_secs_f64()).1;
        let running: Vec<f64> = self.running.iter().filter_map(of_running).collect();
        let waits = |index: &usize| self.stages[*index].wanted && !self.over[*index] && !self.running.contains_key(index);
        let waiting: Vec<f64> = (0..self.stages.len()).filter(waits).filter_map(|index| self.expected(index)).collect();
        if running.is_empty() && waiting.is_empty() {
            return None;
        }
        let work: f64 = running.iter().chain(&waiting).sum();
        let longest = running.iter().copied().fold(0.0, f64::max);
        Some((work / self.running.len().max(1) as f64).max(longest))
    }

    fn total(&self, now: Instant) -> String {
        let wanted = self.stages.iter().filter(|stage| stage.wanted).count();
        let done = self.over.iter().filter(|over| **over).count();
        let elapsed = time(now.saturating_duration_since(self.began).as_secs_f64());
        let left = self.left(now).map_or(String::new(), |left| format!(", about {} left", time(left)));
        let points = self.points.as_ref().map_or(String::new(), |points| format!("; points: {}", points.tally()));
        format!("{elapsed:>6} {done}/{wanted} done, {} running{left}{points}", self.running.len())
    }
}

/// `[====>     ]`.
fn gauge(fraction: f64, width: usize) -> String {
    let full = ((fraction * width as f64).floor() as usize).min(width);
    let head = if full < width { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat(width - full - head.len()))
}

/// Seconds in two units at most.
fn time(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Stale;

    fn live(n: usize, seconds: Option<f64>) -> Live {
        let stage = |n: usize| Expected {
            name: format!("student[genre=Western,number={n}]"),
            kind: "distill".into(),
            seconds,
            wanted: true,
        };
        Live::new((0..n).map(stage).collect(), None, false)
    }

    fn start(live: &mut Live, index: usize) {
        live.on(&Event::Started { index, stage: String::new(), reason: Stale::FirstRun, attempt: 1 });
    }

    #[test]
    fn as_many_bars_as_fit_and_the_number_of_the_others() {
        let mut live = live(200, None);
        (0..200).for_each(|index| start(&mut live, index));
        for (columns, rows) in [(80, 24), (20, 10), (200, 300), (5, 3), (1, 1)] {
            let frame = live.frame(Size { columns, rows }, Instant::now());
            assert!(frame.len() < rows.max(2), "{} rows on {rows}", frame.len());
            assert!(frame.iter().all(|row| row.chars().count() < columns.max(1)), "{columns}: {frame:?}");
        }
        let frame = live.frame(Size { columns: 80, rows: 24 }, Instant::now());
        assert_eq!((frame.len(), frame[21].as_str()), (23, "... and 179 more"));
        assert!(frame[0].contains(" student[genre=Western,number=0] "), "{}", frame[0]);
        assert!(frame[10].contains(" student[genre=..tern,number=10] "), "{}", frame[10]);
        assert!(frame[22].contains("0/200 done, 200 running"), "{}", frame[22]);
    }

    #[test]
    fn of_a_sweep_the_points_are_told_too() {
        let live = live(3, Some(10.0));
        let needs = vec![("seed=1".to_owned(), vec![0, 1]), ("seed=2".to_owned(), vec![0, 2])];
        let mut live = Live { points: Some(Points::new(needs, 3)), ..live };
        let cached = |index| Event::Skipped { index, stage: "s".into(), because: "no".into() };
        assert!(live.total(live.began).ends_with("0/3 done, 0 running, about 30s left; points: 0 done, 0 cached, 2 left"));
        assert_eq!(live.on(&cached(1)), ["    point  seed=1 FAILED"]);
        assert!(live.total(live.began).ends_with("points: 0 done, 0 cached, 1 failed, 1 left"), "{}", live.total(live.began));
    }

    #[test]
    fn gauges_are_coloured_where_colour_is_wanted() {
        for colour in [true, false] {
            let mut live = Live { colour, ..live(1, Some(10.0)) };
            start(&mut live, 0);
            let frame = live.frame(Size { columns: 80, rows: 24 }, Instant::now());
            assert_eq!(frame[0].contains("\x1b[36m[>"), colour, "{}", frame[0]);
        }
    }

    #[test]
    fn what_is_left_is_told_by_what_stages_took_before() {
        let mut live = live(4, Some(10.0));
        let now = live.began;
        assert!(live.total(now).ends_with("0/4 done, 0 running, about 40s left"), "{}", live.total(now));
        live.on(&Event::Cached {
            index: 3,
            stage: String::new(),
            key: crate::key::Fingerprint::default().key(),
            metrics: serde_json::Map::new(),
            notes: Vec::new(),
            back: None,
        });
        start(&mut live, 0);
        start(&mut live, 1);
        let since = live.running[&1].since;
        // Three of ten seconds each, two at once; one of them knows better.
        let later = since + Duration::from_secs(10);
        let progress = Progress { done: 1, total: Some(3), what: "rmse 0.9".into() };
        live.on(&Event::Progressed { index: 1, stage: String::new(), progress });
        assert_eq!(live.left(later).map(f64::round), Some(20.0));
        let row = &live.frame(Size { columns: 100, rows: 10 }, later)[1];
        assert!(row.contains("[=====>          ] 1/3 20s left  rmse 0.9"), "{row}");
        assert_eq!([59.4, 61.0, 7200.0, 90_000.0].map(time), ["59s", "1m01s", "2h00m", "1d01h"]);
    }
}
