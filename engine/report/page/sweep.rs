//! The points of a sweep, how they stand, and its numbers over seeds.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    event::Timed,
    history::Run,
    report::{
        points::{Points, State, Tally},
        results::{Line, Results},
    },
};

/// A sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The swept parameters.
    pub params: Vec<String>,
    /// That of the seeds.
    pub seed: Option<String>,
    /// What it goes over, as the manifest and the command line say.
    pub space: Value,
    /// How many points stand how.
    pub tally: Tally,
    /// The points.
    pub points: Vec<Point>,
    /// The numbers over seeds and blocks, once it has ended.
    pub numbers: Option<Numbers>,
}

/// A point.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Its number, from 1.
    pub point: u64,
    /// What it is called.
    pub name: String,
    /// Its parameters' values.
    pub values: Vec<Value>,
    /// How it stands.
    pub state: State,
    /// Why it failed.
    pub because: Option<String>,
}

/// Numbers over seeds and blocks.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// What tells the lines apart.
    pub heads: Vec<String>,
    /// The lines.
    pub lines: Vec<Line>,
    /// What has to be said with them.
    pub notes: Vec<String>,
    /// Points without results: their names, and why.
    pub missing: Vec<(String, Option<String>)>,
}

impl Sweep {
    /// Of a run that is one.
    pub fn of(run: &Run, events: &[Timed], results: Option<&Results>) -> Option<Self> {
        let kept = run.sweep()?;
        let texts = |value: &Value| -> Vec<String> {
            let all = value.as_array().map_or(&[][..], Vec::as_slice);
            all.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let params = texts(&kept["params"]);
        let listed = kept["points"].as_array().map_or(&[][..], Vec::as_slice);
        let name = |point: &Value| point["name"].as_str().unwrap_or_default().to_owned();
        let needs = |point: &Value| -> Vec<usize> {
            let all = point["stages"].as_array().map_or(&[][..], Vec::as_slice);
            all.iter().filter_map(|place| usize::try_from(place.as_u64()?).ok()).collect()
        };
        let named: Vec<(String, Vec<usize>)> = listed.iter().map(|point| (name(point), needs(point))).collect();
        let instances = named.iter().flat_map(|(_, needs)| needs).max().map_or(0, |last| last + 1);
        let mut points = Points::new(named, instances);
        for timed in events {
            points.on(&timed.event);
        }
        let point = |(at, point): (usize, &Value)| Point {
            point: point["point"].as_u64().unwrap_or_default(),
            name: name(point),
            values: params.iter().map(|param| point["params"][param.as_str()].clone()).collect(),
            state: points.state(at),
            because: points.failure(at).map(str::to_owned),
        };
        Some(Self {
            seed: kept["seed"].as_str().map(str::to_owned),
            space: match &kept["space"] {
                Value::Null => Value::Object(Map::new()),
                space => space.clone(),
            },
            tally: points.tally(),
            points: listed.iter().enumerate().map(point).collect(),
            numbers: results.map(Numbers::of),
            params,
        })
    }
}

impl Numbers {
    fn of(results: &Results) -> Self {
        let summary = results.summary(&[]);
        let missing = results.provenance.missing.iter().map(|one| (one.name.clone(), one.because.clone()));
        Self { heads: summary.heads, lines: summary.lines, notes: results.provenance.notes.clone(), missing: missing.collect() }
    }
}
