//! `show --resolved`: every effective value of every instance, and where it came from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Instance, Plan};
use crate::fields::Origin;
use crate::manifest::{Node, Value};
use crate::source::Sources;

/// Everything that is in effect, as `show --resolved` prints it and each run keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The parameters.
    pub params: Vec<Line>,
    /// The instances, in the order of the plan.
    pub stages: Vec<Resolved>,
}

/// The effective values of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The instance's name.
    pub name: String,
    /// The word of its kind.
    pub kind: String,
    /// Its values: settings, then files, then inputs.
    pub lines: Vec<Line>,
    /// The instances that it names as inputs, by their place in `stages`.
    #[serde(default)]
    pub takes: Vec<usize>,
}

/// One effective value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its path: `method.talk.rounds`.
    pub path: String,
    /// The value as it would be written.
    pub value: String,
    /// `default`, `m.yaml:8:12`, `--set talk.rounds=2 (parameter `talk`)`, `stage`, `stage, by way of another`, or
    /// `file at m.yaml:3:7`.
    pub from: String,
}

/// More lines than this are not read; parameters can share values and hold more of them than any text.
const MOST_LINES: usize = 10_000;
/// Nor are longer values.
const LONGEST: usize = 200;

impl<S> Plan<S> {
    /// Every parameter and every effective value.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        let stages = self.instances.iter().map(|instance| self.resolved_instance(instance)).collect();
        Resolution { params: self.resolved_params(), stages }
    }

    /// Every parameter after resolution, a line for each of its fields.
    fn resolved_params(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (name, node) in &self.params {
            self.param_lines(name.clone(), node, &mut lines);
        }
        lines
    }

    fn param_lines(&self, path: String, node: &Node, lines: &mut Vec<Line>) {
        if lines.len() >= MOST_LINES {
            return;
        }
        match &node.value {
            Value::Map(map) if !map.is_empty() => {
                for (key, entry) in map.iter() {
                    self.param_lines(format!("{path}.{key}"), &entry.node, lines);
                }
            }
            _ => {
                let mut value = String::new();
                write_value(node, &mut value);
                let origin = Origin::Written { at: node.span, via: node.via.as_deref().cloned() };
                lines.push(Line { path, value, from: self::origin(&origin, &self.sources) });
            }
        }
    }

    fn resolved_instance(&self, instance: &Instance<S>) -> Resolved {
        let settings = instance.settings.iter().map(|(path, setting)| Line {
            path: path.to_owned(),
            value: setting.value.to_string(),
            from: origin(&setting.origin, &self.sources),
        });
        let files = instance.files.iter().map(|file| Line {
            path: file.field.clone(),
            value: file.path.display().to_string(),
            from: format!("file at {}", self.sources.place(file.at)),
        });
        let inputs = instance.inputs.iter().map(|input| {
            let names: Vec<&str> = input.from.iter().map(|place| self.instances[*place].name.as_str()).collect();
            let value = match (&names[..], input.many) {
                ([one], false) => (*one).to_owned(),
                (names, _) => format!("[{}]", names.join(", ")),
            };
            Line {
                path: input.port.0.clone(),
                value,
                from: if input.through { "stage, by way of another" } else { "stage" }.to_owned(),
            }
        });
        Resolved {
            name: instance.name.clone(),
            kind: instance.kind.clone(),
            lines: settings.chain(files).chain(inputs).collect(),
            takes: instance.inputs.iter().filter(|input| !input.through).flat_map(|input| input.from.iter().copied()).collect(),
        }
    }
}

/// A value as it would be written, cut where it gets long.
fn write_value(node: &Node, text: &mut String) {
    if text.len() > LONGEST {
        if !text.ends_with("...") {
            text.push_str("...");
        }
        return;
    }
    match &node.value {
        Value::Null | Value::Broken => text.push_str("null"),
        Value::Bool(value) => text.push_str(&value.to_string()),
        Value::Int(value) => text.push_str(&value.to_string()),
        Value::Float(value) => text.push_str(&format!("{value:?}")),
        Value::Text(value) => text.push_str(&format!("{value:?}")),
        Value::List(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate().take(LONGEST) {
                text.push_str(if at == 0 { "" } else { ", " });
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Map(map) => {
            text.push('{');
            for (at, (key, entry)) in map.iter().enumerate().take(LONGEST) {
                text.push_str(if at == 0 { " " } else { ", " });
                text.push_str(&format!("{key}: "));
                write_value(&entry.node, text);
            }
            text.push_str(" }");
        }
    }
}

fn origin(origin: &Origin, sources: &Sources) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::Written { at, via: None } => sources.place(*at),
        Origin::Written { at, via: Some(via) } => format!("{} ({})", sources.place(*at), via.variable),
    }
}

/// A heading, and a line a value with its origin in a column.
impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A value longer than this does not push the origins of all others aside.
        const WIDEST: usize = 60;
        writeln!(f, "{} ({})", self.name, self.kind)?;
        let text = |line: &Line| format!("{}: {}", line.path, line.value);
        let widths = self.lines.iter().map(|line| text(line).chars().count());
        let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
        for line in &self.lines {
            writeln!(f, "  {:width$}  # {}", text(line), line.from)?;
        }
        Ok(())
    }
}
