//! Which stages there are, and which of their instances a reference means.

use std::ops::Range;

use indexmap::IndexMap;

use super::reference::{Lost, Reference, Word};
use super::stages::Accepts;
use crate::artifact::ArtifactKind;
use crate::source::{Diagnostic, Span, did_you_mean, one_of};

/// What sets an instance of a matrix stage apart: axis name to value name, in the order of the axes.
pub type Labels = IndexMap<String, String>;

/// The stages of a manifest, as far as references need to know them. Instances are numbered from 0 in the order in which
/// their stages are added.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    stages: IndexMap<String, Listed>,
    /// The labels of each instance, and the place of its stage in `stages`.
    instances: Vec<(usize, Labels)>,
}

#[derive(Clone, Debug)]
struct Listed {
    at: Span,
    /// `None` where that is unknown because of a mistake already reported.
    yields: Option<ArtifactKind>,
    /// `None` where a mistake in the matrix, already reported, left none.
    instances: Option<Range<usize>>,
    /// The instances with each value on each axis, ascending: who selects from 100 000 does not look at all of them.
    axes: IndexMap<String, IndexMap<String, Vec<usize>>>,
}

/// A reference in a setting, and who makes it.
pub(super) struct Asked<'a> {
    /// The reference.
    pub text: &'a str,
    /// The whole value.
    pub span: Span,
    /// Where exactly `text` stands, if it stands there as it is.
    pub inner: Option<Span>,
    /// The kind of output that is needed; `None` where any will do.
    pub accepts: Option<&'a Accepts>,
    /// The stage that asks.
    pub by: &'a str,
}

/// The instances a reference means.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Their numbers, ascending.
    pub instances: Vec<usize>,
    /// The axes of the stage's matrix.
    pub axes: Vec<&'a str>,
}

impl Asked<'_> {
    /// Where a word of the reference stands.
    fn part(&self, (start, word): Word<'_>) -> Span {
        self.inner.map_or(self.span, |inner| inner.part(start, start + word.len()))
    }
}

impl Directory {
    /// Adds a stage whose name stands at `at`; names are unique.
    ///
    /// `yields` is `None` where its kind is unknown and `instances` where its matrix is wrong, both of which the caller reports:
    /// references to it are then not complained about.
    pub fn insert(&mut self, name: &str, at: Span, yields: Option<ArtifactKind>, instances: Option<Vec<Labels>>) {
        let stage = self.stages.len();
        let first = self.instances.len();
        let mut axes: IndexMap<String, IndexMap<String, Vec<usize>>> = IndexMap::new();
        let instances = instances.map(|all| {
            for labels in all {
                for (axis, value) in &labels {
                    let values = axes.entry(axis.clone()).or_default();
                    values.entry(value.clone()).or_default().push(self.instances.len());
                }
                self.instances.push((stage, labels));
            }
            first..self.instances.len()
        });
        self.stages.insert(name.to_owned(), Listed { at, yields, instances, axes });
    }

    /// The stage an instance belongs to, and its labels.
    #[must_use]
    pub fn instance(&self, number: usize) -> Option<(&str, &Labels)> {
        let (stage, labels) = self.instances.get(number)?;
        let (name, _) = self.stages.get_index(*stage)?;
        Some((name, labels))
    }

    /// What a stage yields, where that is known.
    pub(super) fn yields(&self, stage: &str) -> Option<ArtifactKind> {
        self.stages.get(stage)?.yields
    }

    /// How many axes a stage's matrix has.
    pub(super) fn axes(&self, stage: &str) -> usize {
        self.stages.get(stage).map_or(0, |listed| listed.axes.len())
    }

    /// The numbers of a stage's instances.
    #[must_use]
    pub fn instances(&self, stage: &str) -> Range<usize> {
        let listed = self.stages.get(stage);
        listed.and_then(|listed| listed.instances.clone()).unwrap_or(0..0)
    }

    /// The instances that a reference means.
    pub(super) fn find(&self, asked: &Asked<'_>) -> Result<Found<'_>, Lost> {
        let reference = Reference::parse(asked.text, asked.span)?;
        let name = reference.stage;
        let at = asked.part((0, name));
        let Some(stage) = self.stages.get(name) else {
            let mistake = Diagnostic::new(at, format!("there is no stage `{name}`"));
            return Err(mistake.maybe_help(self.suggestion(name, asked)).into());
        };
        if name == asked.by {
            let mistake = Diagnostic::new(at, format!("cycle among stages: `{name} -> {name}`"));
            return Err(mistake.label("a stage cannot take its own output").into());
        }
        if let (Some(yields), Some(accepts)) = (stage.yields, asked.accepts)
            && !accepts.takes(yields)
        {
            return Err(self.mismatch(name, at, stage, (yields, accepts), asked).into());
        }
        let all = stage.instances.clone().ok_or(Lost(None))?;
        let instances = match &reference.selection {
            None => all.collect(),
            Some(selection) => self.select(asked, name, selection, stage)?,
        };
        Ok(Found { instances, axes: stage.axes.keys().map(String::as_str).collect() })
    }

    fn select(
        &self,
        asked: &Asked<'_>,
        name: &str,
        selection: &[(Word<'_>, Word<'_>)],
        stage: &Listed,
    ) -> Result<Vec<usize>, Lost> {
        let mut chosen: Option<Vec<usize>> = None;
        for (axis, value) in selection {
            if stage.axes.is_empty() {
                let message = format!("`{name}` has no matrix, so there is nothing to select");
                return Err(Diagnostic::new(asked.part(*axis), message).help(format!("write `{name}` alone")).into());
            }
            let Some(values) = stage.axes.get(axis.1) else {
                let message = format!("the matrix of `{name}` has no axis `{}`", axis.1);
                let help = one_of(axis.1, stage.axes.keys().map(String::as_str));
                return Err(Diagnostic::new(asked.part(*axis), message).maybe_help(help).into());
            };
            let Some(with) = values.get(value.1) else {
                let message = format!("axis `{}` of `{name}` has no value `{}`", axis.1, value.1);
                let help = one_of(value.1, values.keys().map(String::as_str));
                return Err(Diagnostic::new(asked.part(*value), message).maybe_help(help).into());
            };
            chosen = Some(match chosen {
                None => with.clone(),
                Some(mut chosen) => {
                    chosen.retain(|number| with.binary_search(number).is_ok());
                    chosen
                }
            });
        }
        let chosen = chosen.unwrap_or_default();
        if chosen.is_empty() {
            let message = format!("`{}` selects no instance of `{name}`", asked.text);
            let help = "each of these values exists, but not together; see `exclude` and `include`";
            return Err(Diagnostic::new(asked.span, message).help(help).into());
        }
        Ok(chosen)
    }

    fn mismatch(
        &self,
        name: &str,
        at: Span,
        stage: &Listed,
        (yields, accepts): (ArtifactKind, &Accepts),
        asked: &Asked<'_>,
    ) -> Diagnostic {
        let (takes, yields) = (accepts.noun(), yields.noun());
        let fitting: Vec<&str> = self.fitting(asked).collect();
        let help = (!fitting.is_empty()).then(|| format!("{takes}: {}", super::reader::listed(&fitting)));
        Diagnostic::new(at, format!("`{name}` yields {yields}, but {takes} is needed here"))
            .also(stage.at, format!("this stage yields {yields}"))
            .maybe_help(help)
    }

    /// The stages whose output would fit.
    fn fitting<'a>(&'a self, asked: &'a Asked<'_>) -> impl Iterator<Item = &'a str> + Clone {
        let fits = |(name, stage): &(&String, &Listed)| {
            let taken = asked.accepts.is_none_or(|accepts| stage.yields.is_some_and(|yields| accepts.takes(yields)));
            taken && *name != asked.by
        };
        self.stages.iter().filter(fits).map(|(name, _)| name.as_str())
    }

    /// The stage that was probably meant, or else those whose output would fit.
    fn suggestion(&self, name: &str, asked: &Asked<'_>) -> Option<String> {
        let others = self.stages.keys().filter(|other| *other != asked.by);
        did_you_mean(name, others.map(String::as_str)).or_else(|| one_of(name, self.fitting(asked)))
    }
}
