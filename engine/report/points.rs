//! How far the points of a sweep are, told by what happens to the stage instances that each needs. A stage that many share counts for all.

use std::fmt;

use crate::event::Event;

/// The points of a run that is a sweep.
#[derive(Clone, Debug)]
pub struct Points {
    points: Vec<Point>,
    /// The points that need each instance.
    of: Vec<Vec<usize>>,
    over: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Point {
    name: String,
    /// Instances that have not ended.
    left: usize,
    /// Whether any of them did work in this run.
    ran: bool,
    /// The first that failed, or was not tried because another failed.
    failed: Option<String>,
}

/// How a point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All it needs is there, some of it made in this run.
    Done,
    /// All it needs was there.
    Cached,
    /// Something that it needs failed.
    Failed,
    /// Its turn has not come.
    Left,
}

/// How many points stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// As [`State`].
    pub done: usize,
    /// As [`State`].
    pub cached: usize,
    /// As [`State`].
    pub failed: usize,
    /// As [`State`].
    pub left: usize,
}

impl Points {
    /// Points by name, each with the instances it needs, of so many.
    pub fn new(points: Vec<(String, Vec<usize>)>, instances: usize) -> Self {
        let mut of = vec![Vec::new(); instances];
        for (point, (_, needed)) in points.iter().enumerate() {
            needed.iter().for_each(|index| of[*index].push(point));
        }
        let point = |(name, needed): (String, Vec<usize>)| Point { name, left: needed.len(), ran: false, failed: None };
        Self { points: points.into_iter().map(point).collect(), of, over: vec![false; instances] }
    }

    /// Takes note of what happened; the points that are done or have failed by it.
    pub fn on(&mut self, event: &Event) -> Vec<usize> {
        let (index, ran, failed) = match event {
            Event::Finished { index, .. } => (*index, true, None),
            Event::Cached { index, .. } => (*index, false, None),
            Event::Failed { index, retry: false, stage, causes } => {
                (*index, false, Some(format!("{stage}: {}", causes.join(": "))))
            }
            Event::Skipped { index, stage, because } => (*index, false, Some(format!("{stage}: {because}"))),
            _ => return Vec::new(),
        };
        let Some(of) = self.of.get(index) else { return Vec::new() };
        let again = std::mem::replace(&mut self.over[index], true);
        let mut ended = Vec::new();
        for place in of {
            let point = &mut self.points[*place];
            let before = point.state();
            point.left -= usize::from(!again);
            point.ran |= ran;
            if point.failed.is_none() {
                point.failed.clone_from(&failed);
            }
            if point.state() != before && matches!(point.state(), State::Done | State::Failed) {
                ended.push(*place);
            }
        }
        ended
    }

    /// How a point stands.
    pub fn state(&self, point: usize) -> State {
        self.points[point].state()
    }

    /// Why a point failed: the first stage that did, and its cause.
    pub fn failure(&self, point: usize) -> Option<&str> {
        self.points[point].failed.as_deref()
    }

    /// What a point is called.
    pub fn name(&self, point: usize) -> &str {
        &self.points[point].name
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// How many stand how.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for point in &self.points {
            *match point.state() {
                State::Done => &mut tally.done,
                State::Cached => &mut tally.cached,
                State::Failed => &mut tally.failed,
                State::Left => &mut tally.left,
            } += 1;
        }
        tally
    }
}

impl Point {
    fn state(&self) -> State {
        match self {
            Self { failed: Some(_), .. } => State::Failed,
            Self { left: 0, ran: true, .. } => State::Done,
            Self { left: 0, ran: false, .. } => State::Cached,
            _ => State::Left,
        }
    }
}

/// `3 done, 1 cached, 1 failed, 7 left`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, cached, failed, left } = self;
        write!(f, "{done} done, {cached} cached, ")?;
        if *failed > 0 {
            write!(f, "{failed} failed, ")?;
        }
        write!(f, "{left} left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Fingerprint, Stale};

    fn cached(index: usize) -> Event {
        let key = Fingerprint::default().key();
        Event::Cached { index, stage: String::new(), key, metrics: serde_json::Map::new(), notes: Vec::new(), back: None }
    }

    fn finished(index: usize) -> Event {
        Event::Finished {
            index,
            stage: String::new(),
            key: Fingerprint::default().key(),
            seconds: 1.0,
            metrics: serde_json::Map::new(),
            reason: Stale::FirstRun,
            usage: crate::store::Usage::default(),
        }
    }

    #[test]
    fn a_shared_stage_counts_for_all_and_a_failed_one_for_those_that_need_it() {
        let needs = [vec![0, 1], vec![0, 2], vec![0, 3], vec![4]];
        let named = needs.into_iter().enumerate().map(|(at, needed)| (format!("x={at}"), needed)).collect();
        let mut points = Points::new(named, 5);
        assert_eq!(points.on(&cached(0)), [0; 0]);
        assert_eq!(points.on(&cached(1)), [0; 0], "who waits for nothing is not told of");
        assert_eq!(points.on(&finished(2)), [1]);
        let failed = |retry| Event::Failed { index: 3, stage: "s".into(), causes: vec!["a".into(), "b".into()], retry };
        assert_eq!(points.on(&failed(true)), [0; 0]);
        assert_eq!(points.on(&failed(false)), [2]);
        assert_eq!((points.failure(2), points.failure(1)), (Some("s: a: b"), None));
        assert_eq!([0, 1, 2, 3].map(|at| points.state(at)), [State::Cached, State::Done, State::Failed, State::Left]);
        assert_eq!(points.tally().to_string(), "1 done, 1 cached, 1 failed, 1 left");
        // A result that was damaged is made again: the point ends once.
        assert_eq!(points.on(&finished(0)), [0]);
        assert_eq!(points.tally(), Tally { done: 2, cached: 0, failed: 1, left: 1 });
    }
}
