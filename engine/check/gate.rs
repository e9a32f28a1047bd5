//! What a manifest says is gated, and how: its section `check`, a mapping from names to gates. Every mistake is told at its place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Better;
use crate::{
    artifact::ArtifactKind,
    fields::{self, Directory, Fields, Form, Outside, describe},
    looks::Looks,
    manifest::{Entry, Env, Interpolation, Map, Scope, Value, is_name},
    selector::{Name, Pattern, Selector},
    source::{Diagnostic, SourceId, Sources, Span},
};

/// One gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// Where that stands; nothing for the gate of a manifest that has none.
    pub at: Option<Span>,
    /// The stages it looks at; none for all evaluations.
    pub stages: Vec<Selector>,
    /// Their metrics; none for those that an evaluation was asked for.
    pub metrics: Vec<Pattern>,
    /// The rows of an evaluation; none for all, and their mean.
    pub rows: Vec<Pattern>,
    /// Its columns; none for all.
    pub columns: Vec<Pattern>,
    /// The axes whose values are the blocks, for stages that are no evaluations.
    pub blocks: Vec<String>,
    /// What is tolerated.
    pub rule: Rule,
    /// Which way its metrics are good, where their names do not tell.
    pub direction: Option<Better>,
}

/// What is tolerated: the closed set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// A one-sided t-test on the differences block by block.
    Paired {
        /// The mean may get worse by this much.
        tolerance: f64,
        /// How often an alarm may be false.
        alpha: f64,
    },
    /// The mean itself.
    Absolute {
        /// It may get worse by this much.
        tolerance: f64,
    },
    /// The mean itself, by its size.
    Relative {
        /// It may get worse by this many hundredths of the baseline's.
        percent: f64,
    },
}

/// The tolerance of a paired gate that names none: more than the same training differs by between machines.
const FLOOR: f64 = 0.002;
const ALPHA: f64 = 0.05;
/// The greatest tolerance.
const MOST: f64 = 1e6;
/// The axis whose values are the blocks, where a gate names none.
const SEED: &str = "seed";
/// The gate of a manifest without the section.
const DEFAULT: &str = "evaluations";

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Paired { tolerance, alpha } => write!(f, "paired, tolerance {tolerance}, alpha {alpha}"),
            Self::Absolute { tolerance } => write!(f, "absolute, tolerance {tolerance}"),
            Self::Relative { percent } => write!(f, "relative, tolerance {percent}%"),
        }
    }
}

/// A stage instance as gates are read among.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it makes.
    pub yields: ArtifactKind,
}

/// The gates of a manifest: those that it declares, or else one of all evaluations.
#[must_use]
pub fn gates(declared: Vec<Gate>) -> Vec<Gate> {
    match declared.is_empty() {
        false => declared,
        true => vec![Gate {
            name: DEFAULT.to_owned(),
            at: None,
            stages: Vec::new(),
            metrics: Vec::new(),
            rows: Vec::new(),
            columns: Vec::new(),
            blocks: Vec::new(),
            rule: Rule::Paired { tolerance: FLOOR, alpha: ALPHA },
            direction: None,
        }],
    }
}

/// What a gate can be asked for.
#[must_use]
pub fn form() -> Form {
    describe(|fields| drop(settings(fields, None)))
}

/// What the section stands among.
pub struct Around<'a> {
    /// The texts that spans point into.
    pub sources: &'a Sources,
    /// The parameters of the manifest, as written.
    pub params: Arc<Map>,
    /// The manifest's own text: what stands in another came from one that it extends.
    pub own: SourceId,
    /// The environment.
    pub env: Env<'a>,
    /// The files that were looked for.
    pub looks: &'a Looks,
    /// The manifest's stage instances; nothing where they are not known.
    pub known: Option<&'a [Known<'a>]>,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("known", &self.known).finish_non_exhaustive()
    }
}

/// Reads the section of a manifest.
pub fn declared(section: &Entry, around: &Around<'_>, mistakes: &mut Vec<Diagnostic>) -> Vec<Gate> {
    let mut values = Interpolation::new(around.sources, Arc::clone(&around.params), around.env);
    let node = values.expand(&section.node, Scope::default());
    let directory = Directory::default();
    let outside = Outside {
        sources: around.sources,
        directory: &directory,
        looks: around.looks,
        stage: "check",
        axes: &[],
        env: around.env,
    };
    let mut gates = Vec::new();
    match &node.value {
        Value::Map(map) => {
            for (name, entry) in map.iter() {
                if !is_name(name) {
                    let mistake = Diagnostic::new(entry.key, format!("`{name}` cannot be the name of a gate"));
                    values.mistakes.push(mistake.help("use letters, digits, `_` and `-`"));
                }
                let own = entry.key.source == around.own;
                let known = around.known.filter(|_| own);
                let mut reading = fields::read(outside, name, entry.key, &entry.node, |fields| settings(fields, known));
                values.mistakes.append(&mut reading.mistakes);
                let gate = Gate { name: name.clone(), at: Some(entry.key), ..reading.value };
                // As with parameters: a manifest may leave out what the gates of one that it extends are about.
                if own || around.known.is_none_or(|known| gate.is_about(known)) {
                    gates.push(gate);
                }
            }
        }
        Value::Null | Value::Broken => {}
        _ => {
            let message = format!("`check` must be a mapping from names to gates, and this is {}", node.noun());
            let help = "name the gate: `check: { rmse: { stages: scores, metrics: rmse } }`";
            values.mistakes.push(Diagnostic::new(node.span, message).help(help));
        }
    }
    mistakes.append(&mut values.mistakes);
    gates
}

/// Reads one gate, which has no name yet.
fn settings(f: &mut Fields<'_>, known: Option<&[Known<'_>]>) -> Gate {
    let names = several(f, "stages");
    let stages: Vec<Selector> = names.iter().filter_map(|text| sound(f, "stages", Selector::parse(text))).collect();
    let mut pick = |key: &str| {
        let texts = several(f, key);
        texts.iter().filter_map(|text| sound(f, key, Pattern::new(text))).collect::<Vec<Pattern>>()
    };
    let [metrics, rows, columns] = ["metrics", "rows", "columns"].map(&mut pick);
    let blocks = several(f, "blocks");
    let direction = f.optional_word("direction", &Better::WORDS.map(|(word, _)| word));
    let direction = Better::WORDS.into_iter().find(|(word, _)| Some(*word) == direction.as_deref()).map(|(_, better)| better);
    let rule = rule(f);
    let unsaid = !f.has("direction");
    for metric in metrics.iter().filter(|metric| unsaid && metric.plain() && Better::of(metric.text()).is_none()) {
        let message = format!("nothing says which way `{}` is good", metric.text());
        f.mistake("metrics", message, Some("add `direction: lower` or `direction: higher`"));
    }
    if let Some(known) = known {
        fits(f, known, &stages, !metrics.is_empty());
    }
    Gate { name: String::new(), at: None, stages, metrics, rows, columns, blocks, rule, direction }
}

/// Whether the stages are there and are of a kind that the other fields are for.
fn fits(f: &mut Fields<'_>, known: &[Known<'_>], stages: &[Selector], metrics: bool) {
    let names: Vec<Name<'_>> = known.iter().map(|known| Name::parse(known.name)).collect();
    let mut picked = Vec::new();
    for selector in stages {
        picked.extend(sound(f, "stages", selector.pick(&names)).unwrap_or_default());
    }
    let scores = |known: &Known<'_>| known.yields == ArtifactKind::Scores;
    if !f.has("stages") && !known.iter().any(scores) {
        f.mistake("stages", "this manifest evaluates nothing, and the gate names no stages", Some("name some: `stages: train`"));
    }
    let other = picked.iter().map(|place| known[*place]).find(|known| !scores(known));
    let evaluation = picked.iter().map(|place| known[*place]).find(scores);
    if let Some(Known { name, .. }) = other {
        if !metrics {
            f.mistake(
                "stages",
                format!("`{name}` is no evaluation: say which of its metrics are gated"),
                Some("add `metrics: loss`"),
            );
        }
        for key in ["rows", "columns"] {
            if f.has(key) {
                f.mistake(key, format!("only evaluations have {key}, and `{name}` is none"), Some("make it two gates"));
            }
        }
    }
    if let Some(Known { name, .. }) = evaluation
        && f.has("blocks")
    {
        f.mistake("blocks", format!("`{name}` is an evaluation, which knows its blocks"), Some("leave `blocks` out"));
    }
}

/// Reads what is tolerated: one of three fields.
fn rule(f: &mut Fields<'_>) -> Rule {
    let paired = f.optional_float("paired", 0.0..=MOST);
    let absolute = f.optional_float("absolute", 0.0..=MOST);
    let relative = f.optional_text("relative");
    let alpha = f.optional_float("alpha", LEAST_ALPHA..=0.5);
    let percent = relative.as_ref().map(|text| match percent(text) {
        Some(percent) => percent,
        None => {
            let help = "write a number from 0 to 1000 and %: `relative: 2%`";
            f.mistake("relative", format!("`{text}` is not a share"), Some(help));
            0.0
        }
    });
    let given = [("paired", paired.is_some()), ("absolute", absolute.is_some()), ("relative", percent.is_some())];
    let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();
    if let [first, second, ..] = given[..] {
        f.mistake(second, format!("a gate has one tolerance, and this has `{first}` and `{second}`"), Some("make it two gates"));
    }
    if alpha.is_some() && (absolute.is_some() || percent.is_some()) {
        f.mistake("alpha", "only a paired gate tests, and so can give a false alarm", Some("leave `alpha` out"));
    }
    match (absolute, percent) {
        (Some(tolerance), _) => Rule::Absolute { tolerance },
        (None, Some(percent)) => Rule::Relative { percent },
        (None, None) => Rule::Paired { tolerance: paired.unwrap_or(FLOOR), alpha: alpha.unwrap_or(ALPHA) },
    }
}

/// The least rate of false alarms that can be asked for.
const LEAST_ALPHA: f64 = 1e-4;

/// `2%` as 2.
fn percent(text: &str) -> Option<f64> {
    let number: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
    (0.0..=1000.0).contains(&number).then_some(number)
}

/// One text or a list of them.
fn several(f: &mut Fields<'_>, key: &str) -> Vec<String> {
    match f.is_list(key) {
        true => f.texts(key, Some(&[])),
        false => f.optional_text(key).into_iter().collect(),
    }
}

/// What was made of a field's text, unless that is a mistake.
fn sound<T>(f: &mut Fields<'_>, key: &str, made: Result<T, String>) -> Option<T> {
    made.map_err(|message| f.mistake(key, message, None)).ok()
}

impl Gate {
    /// Whether any of these is a stage that it looks at.
    fn is_about(&self, known: &[Known<'_>]) -> bool {
        known.iter().any(|known| match self.stages.is_empty() {
            true => known.yields == ArtifactKind::Scores,
            false => self.stages.iter().any(|selector| selector.matches(&Name::parse(known.name))),
        })
    }

    /// The axes whose values are the blocks, for stages that are no evaluations.
    pub(super) fn block_axes(&self) -> impl Fn(&str) -> bool + '_ {
        |axis| if self.blocks.is_empty() { axis == SEED } else { self.blocks.iter().any(|block| block == axis) }
    }
}
