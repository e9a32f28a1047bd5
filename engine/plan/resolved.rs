//! `show --resolved`: every effective value of every instance, and where it came from.

use std::fmt;

use serde::Serialize;

use super::{Instance, Plan};
use crate::fields::Origin;
use crate::source::Sources;

/// The effective values of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The instance's name.
    pub name: String,
    /// The word of its kind.
    pub kind: String,
    /// Its values: settings, then files, then inputs.
    pub lines: Vec<Line>,
}

/// One effective value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its path: `method.talk.rounds`.
    pub path: String,
    /// The value as it would be written.
    pub value: String,
    /// `default`, `m.yaml:8:12`, `--set talk.rounds=2 (parameter `talk`)`, `stage`, `stage, by way of another`, or
    /// `file at m.yaml:3:7`.
    pub from: String,
}

impl<S> Plan<S> {
    /// Every effective value, instance by instance, in the order of the plan.
    #[must_use]
    pub fn resolved(&self) -> Vec<Resolved> {
        self.instances.iter().map(|instance| self.resolved_instance(instance)).collect()
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
