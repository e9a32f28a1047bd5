//! Which stages there are, and what a text such as `student[method=talk]` means among them.

use indexmap::IndexMap;

use crate::artifact::ArtifactKind;
use crate::source::{Diagnostic, Span, did_you_mean, one_of};

/// What sets an instance of a matrix stage apart: axis name to value name, in the order of the axes.
pub type Labels = IndexMap<String, String>;

/// The stages of a manifest, as far as references need to know them.
#[derive(Clone, Debug, Default)]
pub struct Directory(IndexMap<String, Listed>);

/// One stage of a [`Directory`].
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where the stage's name stands.
    pub at: Span,
    /// What it yields; `None` where that is unknown because of a mistake already reported.
    pub yields: Option<ArtifactKind>,
    /// Its instances: their number in the plan to be, and their labels. `None` where a mistake in the matrix,
    /// already reported, left none.
    pub instances: Option<Vec<(usize, Labels)>>,
}

/// A reference as it was written: a stage's name, and which of its instances.
#[derive(Debug, PartialEq, Eq)]
struct Written<'a> {
    stage: &'a str,
    /// Axis and value, each with the byte where it starts.
    selection: Option<Vec<(Word<'a>, Word<'a>)>>,
}

/// A word and the byte at which it starts.
type Word<'a> = (usize, &'a str);

/// The instances a reference means.
#[derive(Debug)]
pub(super) struct Found {
    pub instances: Vec<usize>,
    /// The axes of the stage's matrix.
    pub axes: Vec<String>,
}

/// Where a reference stands, and who asks.
pub(super) struct Asked<'a> {
    pub text: &'a str,
    /// The whole value.
    pub span: Span,
    /// Where exactly `text` stands, if it stands there as it is.
    pub inner: Option<Span>,
    pub accepts: ArtifactKind,
    /// The stage that asks.
    pub by: &'a str,
}

impl Asked<'_> {
    fn part(&self, (start, word): Word<'_>) -> Span {
        self.inner
            .map_or(self.span, |inner| inner.part(start, start + word.len()))
    }
}

impl Directory {
    /// Adds a stage; a second one of the same name replaces the first.
    pub fn insert(&mut self, name: &str, stage: Listed) {
        self.0.insert(name.to_owned(), stage);
    }

    /// A stage by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Listed> {
        self.0.get(name)
    }

    /// The name of the stage an instance belongs to, and its labels.
    pub(super) fn instance(&self, number: usize) -> Option<(&str, &Labels)> {
        self.0.iter().find_map(|(name, stage)| {
            let all = stage.instances.as_ref()?;
            let (_, labels) = all.iter().find(|(known, _)| *known == number)?;
            Some((name.as_str(), labels))
        })
    }

    /// The instances that a reference means.
    ///
    /// `Err(None)` where the stage it names is broken in a way that was already reported.
    pub(super) fn find(&self, asked: &Asked<'_>) -> Result<Found, Option<Diagnostic>> {
        let written = parse(asked)?;
        let name = written.stage;
        let at = asked.part((0, name));
        let Some(stage) = self.0.get(name) else {
            let help = self.suggestion(name, asked);
            return Err(Some(
                Diagnostic::new(at, format!("there is no stage `{name}`"))
                    .label("not a stage")
                    .maybe_help(help),
            ));
        };
        if name == asked.by {
            return Err(Some(
                Diagnostic::new(at, format!("cycle among stages: `{name} -> {name}`"))
                    .label("a stage cannot take its own output"),
            ));
        }
        if let Some(yields) = stage.yields
            && yields != asked.accepts
        {
            let (takes, yields) = (asked.accepts.noun(), yields.noun());
            let fitting = (self.0.iter())
                .filter(|(name, stage)| stage.yields == Some(asked.accepts) && *name != asked.by)
                .map(|(name, _)| format!("`{name}`"))
                .collect::<Vec<_>>();
            let help = match fitting.as_slice() {
                [] => None,
                list => Some(format!("{takes} would come from {}", list.join(", "))),
            };
            return Err(Some(
                Diagnostic::new(
                    at,
                    format!("`{name}` yields {yields}, but {takes} is needed here"),
                )
                .label(format!("this is {yields}"))
                .also(stage.at, format!("`{name}` is this stage"))
                .maybe_help(help),
            ));
        }
        let instances = stage.instances.as_ref().ok_or(None)?;
        let axes = axes(instances);
        let Some(selection) = written.selection else {
            return Ok(Found {
                instances: instances.iter().map(|(number, _)| *number).collect(),
                axes,
            });
        };
        self.select(asked, name, &selection, instances)
            .map(|instances| Found { instances, axes })
            .map_err(Some)
    }

    fn select(
        &self,
        asked: &Asked<'_>,
        name: &str,
        selection: &[(Word<'_>, Word<'_>)],
        instances: &[(usize, Labels)],
    ) -> Result<Vec<usize>, Diagnostic> {
        let axes = axes(instances);
        for (axis, value) in selection {
            if axes.is_empty() {
                let message = format!("`{name}` has no matrix, so there is nothing to select");
                return Err(Diagnostic::new(asked.part(*axis), message)
                    .help(format!("write `{name}` alone")));
            }
            if !axes.iter().any(|known| known == axis.1) {
                let message = format!("the matrix of `{name}` has no axis `{}`", axis.1);
                let help = one_of(axis.1, axes.iter().map(String::as_str));
                return Err(Diagnostic::new(asked.part(*axis), message).maybe_help(help));
            }
            let has = |(_, labels): &(usize, Labels)| {
                labels.get(axis.1).map(String::as_str) == Some(value.1)
            };
            if !instances.iter().any(has) {
                let message = format!("axis `{}` of `{name}` has no value `{}`", axis.1, value.1);
                let mut values: Vec<&str> = Vec::new();
                for (_, labels) in instances {
                    if let Some(value) = labels.get(axis.1)
                        && !values.contains(&value.as_str())
                    {
                        values.push(value);
                    }
                }
                let help = one_of(value.1, values);
                return Err(Diagnostic::new(asked.part(*value), message).maybe_help(help));
            }
        }
        let chosen: Vec<usize> = (instances.iter())
            .filter(|(_, labels)| {
                let fits = |(axis, value): &(Word<'_>, Word<'_>)| {
                    labels.get(axis.1).map(String::as_str) == Some(value.1)
                };
                selection.iter().all(fits)
            })
            .map(|(number, _)| *number)
            .collect();
        if chosen.is_empty() {
            let message = format!("`{}` selects no instance of `{name}`", asked.text);
            return Err(Diagnostic::new(asked.span, message).help(
                "each of these values exists, but not together; see `exclude` and `include`",
            ));
        }
        Ok(chosen)
    }

    /// The stage that was probably meant, or else those whose output would fit.
    fn suggestion(&self, name: &str, asked: &Asked<'_>) -> Option<String> {
        let others = || self.0.iter().filter(|(other, _)| *other != asked.by);
        did_you_mean(name, others().map(|(other, _)| other.as_str())).or_else(|| {
            let fits = |(_, stage): &(&String, &Listed)| stage.yields == Some(asked.accepts);
            one_of(name, others().filter(fits).map(|(other, _)| other.as_str()))
        })
    }
}

fn axes(instances: &[(usize, Labels)]) -> Vec<String> {
    instances
        .first()
        .map(|(_, labels)| labels.keys().cloned().collect())
        .unwrap_or_default()
}

/// Takes `name[axis=value,axis=value]` apart.
fn parse<'a>(asked: &Asked<'a>) -> Result<Written<'a>, Option<Diagnostic>> {
    let text = asked.text;
    let wrong = |message: String| {
        Diagnostic::new(asked.span, message)
            .help("a reference is `stage` or \"stage[axis=value,axis=value]\"")
    };
    let Some(open) = text.find('[') else {
        if text.trim().is_empty() || text.contains([']', '=', ',']) {
            return Err(Some(wrong(format!(
                "`{text}` is not a reference to a stage"
            ))));
        }
        return Ok(Written {
            stage: text,
            selection: None,
        });
    };
    let stage = &text[..open];
    let Some(inside) = text[open + 1..].strip_suffix(']') else {
        return Err(Some(wrong(format!("`{text}` does not end with `]`"))));
    };
    let trimmed = |start: usize, word: &'a str| {
        let skipped = word.len() - word.trim_start().len();
        (start + skipped, word.trim())
    };
    let mut selection: Vec<(Word<'_>, Word<'_>)> = Vec::new();
    let mut start = open + 1;
    for pair in inside.split(',') {
        let Some((axis, value)) = pair.split_once('=') else {
            return Err(Some(wrong(format!(
                "`{}` in `{text}` is not `axis=value`",
                pair.trim()
            ))));
        };
        let axis = trimmed(start, axis);
        let value = trimmed(start + pair.len() - value.len(), value);
        if selection.iter().any(|(known, _)| known.1 == axis.1) {
            return Err(Some(wrong(format!("`{text}` selects `{}` twice", axis.1))));
        }
        selection.push((axis, value));
        start += pair.len() + 1;
    }
    Ok(Written {
        stage,
        selection: Some(selection),
    })
}
