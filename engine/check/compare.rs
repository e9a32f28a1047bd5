//! Gates now against the baseline: one finding a series, and one for whatever keeps a gate from looking.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde::Serialize;
use talkflow_statistics::{Alpha, Gate as Test, Gated, Outcome, Tolerance};

use super::{Baseline, Better, Gate, KeptSeries, Place, Rule, Selected, Series, Values, baseline::is_number};
use crate::{artifact::Digest, selector::Pattern};

/// What a finding says: the closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worse by more than is tolerated.
    Regression,
    /// A value is no number.
    NoNumber,
    /// Other data are behind it than behind the baseline.
    OtherData,
    /// Blocks of the baseline, such as seeds, are not there.
    MissingBlocks,
    /// It is in the baseline and not measured any more.
    Missing,
    /// A paired gate with fewer than two blocks.
    Undecided,
    /// The gate is another than in the baseline.
    OtherGate,
    /// Something that the gate names is nowhere.
    Nothing,
    /// It is not in the baseline yet.
    New,
    /// No regression beyond what is tolerated.
    Pass,
}

impl Verdict {
    /// As in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::NoNumber => "no number",
            Self::OtherData => "other data",
            Self::MissingBlocks => "missing blocks",
            Self::Missing => "missing",
            Self::Undecided => "undecided",
            Self::OtherGate => "other gate",
            Self::Nothing => "nothing",
            Self::New => "new",
            Self::Pass => "pass",
        }
    }

    /// Whether the command fails for it. Only what passed, and what nobody can have made worse, does not.
    pub fn fails(self) -> bool {
        !matches!(self, Self::New | Self::Pass)
    }
}

/// What was found about one series, or about a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The gate.
    pub gate: String,
    /// The series; nothing where it is about the gate.
    pub place: Option<Place>,
    /// What it says.
    pub verdict: Verdict,
    /// In a sentence.
    pub said: String,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// The mean of the baseline over the blocks that were compared, or else over all it has.
    pub before: Option<f64>,
    /// The mean now, the same.
    pub now: Option<f64>,
    /// By how much it is worse; negative where it is better; null where nothing was compared.
    pub worse: Option<f64>,
    /// What a paired gate found.
    pub tested: Option<Gated>,
}

/// Compares what the gates look at now with a baseline.
pub fn compare(gates: &[(Gate, Selected)], baseline: &Baseline) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (gate, selected) in gates {
        let of_gate = |verdict, said: String| Finding { gate: gate.name.clone(), ..Finding::about(verdict, said) };
        let kept = baseline.gates.get(&gate.name);
        let before: BTreeMap<Place, &KeptSeries> =
            kept.map_or(&[][..], |kept| &kept.series).iter().map(|series| (series.place(), series)).collect();
        match kept {
            None => findings.push(of_gate(Verdict::OtherGate, "the baseline does not have this gate".to_owned())),
            Some(kept) if kept.rule != gate.rule => {
                findings.push(of_gate(Verdict::OtherGate, format!("in the baseline it is: {}; now: {}", kept.rule, gate.rule)));
            }
            Some(_) => {}
        }
        for (field, text) in &selected.unfit {
            // What is in the baseline and not here any more is said of each series.
            if !before.keys().any(|place| was(place, field, text)) {
                findings.push(of_gate(Verdict::Nothing, format!("nothing fits `{text}` of its `{field}`")));
            }
        }
        if selected.series.is_empty() && before.is_empty() && selected.unfit.is_empty() {
            findings.push(of_gate(Verdict::Nothing, "it looks at nothing: no metric fits it".to_owned()));
        }
        let places: BTreeSet<&Place> = selected.series.keys().chain(before.keys()).collect();
        for place in places {
            let data = |of: &BTreeMap<String, BTreeMap<String, Digest>>| of.get(&place.stage).cloned().unwrap_or_default();
            let data = [data(&baseline.data), data(&selected.data)];
            let found = match (before.get(place), selected.series.get(place)) {
                (Some(before), Some(now)) => series(gate.rule, before, now, [&data[0], &data[1]]),
                (Some(before), None) => {
                    let said = "it is in the baseline and not measured any more".to_owned();
                    Finding { before: mean(before.values.values()), ..Finding::about(Verdict::Missing, said) }
                }
                (None, Some(now)) => new(now),
                (None, None) => continue,
            };
            findings.push(Finding { gate: gate.name.clone(), place: Some(place.clone()), ..found });
        }
    }
    for gone in baseline.gates.keys().filter(|name| gates.iter().all(|(gate, _)| gate.name != **name)) {
        let said = "it is in the baseline, and the manifest does not have it".to_owned();
        findings.push(Finding { gate: gone.clone(), ..Finding::about(Verdict::OtherGate, said) });
    }
    findings
}

impl Finding {
    fn about(verdict: Verdict, said: String) -> Self {
        let (gate, notes) = (String::new(), Vec::new());
        Self { gate, place: None, verdict, said, notes, before: None, now: None, worse: None, tested: None }
    }
}

/// Whether a series of the baseline is what a field of a gate means by a text.
fn was(place: &Place, field: &str, text: &str) -> bool {
    let part = match field {
        "metrics" => Some(&place.metric),
        "rows" => place.row.as_ref(),
        _ => place.column.as_ref(),
    };
    part.is_some_and(|part| Pattern::new(text).is_ok_and(|pattern| pattern.fits(part)))
}

/// A series that the baseline does not have.
fn new(now: &Series) -> Finding {
    if let Some(broken) = no_number(&now.values) {
        return broken;
    }
    let said = "it is not in the baseline, and so not gated yet".to_owned();
    Finding { now: mean(now.values.values()), ..Finding::about(Verdict::New, said) }
}

/// That some values are no numbers, if so.
fn no_number(values: &Values) -> Option<Finding> {
    let blocks: Vec<&str> = values.iter().filter(|(_, value)| !is_number(**value)).map(|(block, _)| block.as_str()).collect();
    (!blocks.is_empty()).then(|| Finding::about(Verdict::NoNumber, format!("it is no number in {}", listed(&blocks))))
}

/// A series that both have.
fn series(rule: Rule, before: &KeptSeries, now: &Series, data: [&BTreeMap<String, Digest>; 2]) -> Finding {
    if before.better != now.better {
        let said = format!("in the baseline {} is better, and now {}", before.better.word(), now.better.word());
        return Finding::about(Verdict::OtherGate, said);
    }
    if let Some(broken) = no_number(&now.values) {
        return Finding { before: mean(before.values.values()), ..broken };
    }
    let mut notes = Vec::new();
    match other_data(data[0], data[1]) {
        Data::Other(said) => {
            let (before, now) = (mean(before.values.values()), mean(now.values.values()));
            return Finding { before, now, ..Finding::about(Verdict::OtherData, said) };
        }
        Data::Unknown => notes.push("no data set stands before it: it would not be noticed if the data were others".to_owned()),
        Data::Same => {}
    }
    let shared: Vec<&String> = before.values.keys().filter(|block| now.values.contains_key(*block)).collect();
    let lost: Vec<&str> = before.values.keys().filter(|block| !now.values.contains_key(*block)).map(String::as_str).collect();
    let more: Vec<&str> = now.values.keys().filter(|block| !before.values.contains_key(*block)).map(String::as_str).collect();
    if !more.is_empty() {
        notes.push(format!("left out, since the baseline does not have it: {}", listed(&more)));
    }
    let of = |values: &Values| -> Values {
        shared.iter().filter_map(|block| Some(((*block).clone(), *values.get(*block)?))).collect()
    };
    let (then, current) = (of(&before.values), of(&now.values));
    let mut found = match shared.is_empty() {
        true => Finding::about(Verdict::MissingBlocks, "no block of the baseline is there".to_owned()),
        false => decide(rule, now.better, &then, &current),
    };
    if !lost.is_empty() {
        let said =
            format!("{} of the {} blocks of the baseline are not there: {}", lost.len(), before.values.len(), listed(&lost));
        match found.verdict {
            Verdict::Regression => notes.push(said),
            _ => {
                let rest = std::mem::replace(&mut found.said, said);
                found.verdict = Verdict::MissingBlocks;
                notes.extend((!shared.is_empty()).then(|| format!("over the others: {rest}")));
            }
        }
    }
    found.notes.splice(0..0, notes);
    found
}

/// The values of the same blocks, then and now. There is at least one.
fn decide(rule: Rule, better: Better, then: &Values, now: &Values) -> Finding {
    let (before, current) = (mean(then.values()), mean(now.values()));
    let compared = |finding: Finding| Finding { before, now: current, ..finding };
    let (Some(old), Some(new)) = (before, current) else {
        return compared(Finding::about(Verdict::Undecided, "there are no values".to_owned()));
    };
    let worse = better.worse_by(new - old);
    let blocks = if then.len() == 1 { "1 block".to_owned() } else { format!("{} blocks", then.len()) };
    match rule {
        Rule::Paired { tolerance, alpha } => {
            if then.len() < 2 {
                let said = "a paired gate tests what varies between blocks, and there is 1: run more seeds, or make the gate `absolute` or \
                            `relative`";
                return compared(Finding { worse: Some(worse), ..Finding::about(Verdict::Undecided, said.to_owned()) });
            }
            let gated = Tolerance::new(tolerance).and_then(|tolerance| Ok((tolerance, Alpha::new(alpha)?)));
            let gated = gated.map_err(|error| error.to_string()).and_then(|(tolerance, alpha)| {
                let test = Test { alpha, ..Test::new(better.into(), tolerance) };
                test.check(now, then).map_err(|error| error.to_string())
            });
            match gated {
                Ok(gated) => {
                    let verdict = if gated.outcome == Outcome::Regression { Verdict::Regression } else { Verdict::Pass };
                    compared(Finding {
                        worse: Some(gated.regression),
                        tested: Some(gated),
                        ..Finding::about(verdict, gated.to_string())
                    })
                }
                Err(said) => compared(Finding::about(Verdict::Undecided, said)),
            }
        }
        Rule::Absolute { tolerance } => compared(by_mean(worse, tolerance, format!("tolerance {tolerance}"), &blocks, old)),
        Rule::Relative { percent } => {
            let tolerance = old.abs() * percent / 100.0;
            let said = format!("tolerance {percent}% of {}, which is {}", short(old), short(tolerance));
            compared(by_mean(worse, tolerance, said, &blocks, old))
        }
    }
}

/// Sums in another order differ by more than the last bit.
const ROUNDING: f64 = 1e-12;

/// By the mean alone.
fn by_mean(worse: f64, tolerance: f64, tolerated: String, blocks: &str, old: f64) -> Finding {
    let rounding = ROUNDING * old.abs();
    let change = match worse {
        worse if worse.abs() <= rounding => "no change".to_owned(),
        worse if worse > 0.0 => format!("worse by {}", short(worse)),
        better => format!("better by {}", short(-better)),
    };
    let (verdict, start) = match worse > tolerance + rounding {
        true => (Verdict::Regression, "regression"),
        false => (Verdict::Pass, "no regression"),
    };
    let said = format!("{start}: {change} in the mean over {blocks}, {tolerated}");
    Finding { worse: Some(worse), ..Finding::about(verdict, said) }
}

enum Data {
    Same,
    Other(String),
    Unknown,
}

/// Whether two results rest on the same data. Seeds that come or go bring and take splits: only what both have can be another. What is
/// called otherwise now is the same data if its digest is there.
fn other_data(before: &BTreeMap<String, Digest>, now: &BTreeMap<String, Digest>) -> Data {
    if before.is_empty() && now.is_empty() {
        return Data::Unknown;
    }
    let mut said = String::new();
    let both = before.iter().filter_map(|(name, old)| Some((name, old, now.get(name)?)));
    for (name, old, new) in both.clone().filter(|(_, old, new)| old != new) {
        let comma = if said.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(said, "{comma}`{name}` is {} and was {}", new.short(), old.short());
    }
    let digests: BTreeSet<&Digest> = now.values().collect();
    if said.is_empty() && both.count() == 0 && !before.values().all(|old| digests.contains(old)) {
        said = match now.is_empty() {
            true => "the baseline rests on data sets, and nothing of the kind stands before it now".to_owned(),
            false => "none of the data sets before it is one of the baseline's".to_owned(),
        };
    }
    if said.is_empty() { Data::Same } else { Data::Other(format!("it rests on other data, so nothing was compared: {said}")) }
}

fn listed(blocks: &[&str]) -> String {
    /// More names than this say no more.
    const SHOWN: usize = 5;
    let shown: Vec<String> = blocks.iter().take(SHOWN).map(|block| format!("`{block}`")).collect();
    let more = blocks.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

/// The mean of some values; none of none.
pub(super) fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0_usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// A number with as many digits as a sentence needs.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        size if (1e-4..1e6).contains(&size) => {
            let text = format!("{value:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}
