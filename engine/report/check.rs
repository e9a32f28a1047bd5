//! What regression gates found, for whoever has to know: people, programs, a CI system's list of tests, a pull request, and the lines of the
//! manifest that it is about. All from one [`Checked`].

use std::collections::BTreeMap;

use serde::Serialize;

use crate::check::{Finding, Verdict};

mod github;
mod human;
mod junit;
mod markdown;

/// What came of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Whether no gate failed, and no stage.
    pub ok: bool,
    /// The manifest's name.
    pub manifest: String,
    /// Its file, as typed.
    pub file: String,
    /// The baseline's file.
    pub baseline: String,
    /// The version of talkflow that measured it.
    pub baseline_talkflow: String,
    /// This version.
    pub talkflow: String,
    /// The run that brought the manifest up to date.
    pub run: String,
    /// Stages that failed or were not tried: then nothing was compared.
    pub failed: Vec<FailedStage>,
    /// Whether a signal stopped it, or the store became unusable: then nothing was compared either.
    pub stopped: bool,
    /// What each gate tolerates, by name.
    pub gates: BTreeMap<String, String>,
    /// How many findings there are of each verdict.
    pub counts: BTreeMap<Verdict, usize>,
    /// In the manifest's order of gates, and within each by place.
    pub findings: Vec<Located>,
}

/// A stage without a result.
#[derive(Clone, Debug, Serialize)]
pub struct FailedStage {
    /// The instance.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// Where the stage stands.
    #[serde(flatten)]
    pub at: At,
}

/// A finding, with the place in the manifest that it is about.
#[derive(Clone, Debug, Serialize)]
pub struct Located {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// The stage's name, or the gate's.
    #[serde(flatten)]
    pub at: At,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl Checked {
    /// For people.
    pub fn human(&self) -> String {
        human::render(self)
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// For a CI system's list of tests.
    ///
    /// # Errors
    /// In words, where it cannot be written.
    pub fn junit(&self) -> Result<String, String> {
        junit::render(self).map_err(|error| format!("cannot write XML: {error}"))
    }

    /// For GitHub Actions: a command a line, which becomes a mark at a line of the manifest.
    pub fn github(&self) -> String {
        github::render(self)
    }

    fn failures(&self) -> impl Iterator<Item = &Located> {
        self.findings.iter().filter(|located| located.finding.verdict.fails())
    }

    /// All of it in a line.
    fn summary(&self) -> String {
        if self.stopped {
            return "stopped: nothing was compared".to_owned();
        }
        if !self.failed.is_empty() {
            let n = self.failed.len();
            return format!("nothing was compared: {n} {} no result", if n == 1 { "stage has" } else { "stages have" });
        }
        let counts = self.counts.iter().map(|(verdict, n)| format!("{n} {}", verdict.word())).collect::<Vec<_>>().join(", ");
        match self.failures().count() {
            0 => format!("ok: {counts}"),
            n => format!("{n} of {} failed: {counts}", self.findings.len()),
        }
    }
}

impl Located {
    /// What it is about, in words.
    fn about(&self) -> String {
        self.finding.place.as_ref().map_or_else(|| format!("gate {}", self.finding.gate), ToString::to_string)
    }

    /// What it says, with its notes.
    fn said(&self) -> String {
        let Finding { said, notes, .. } = &self.finding;
        std::iter::once(said).chain(notes).cloned().collect::<Vec<_>>().join("; ")
    }
}

/// A mean as people read it.
fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

#[cfg(test)]
mod tests;
