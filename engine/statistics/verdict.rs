//! What is known after a comparison, in a word and in a sentence.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use serde::{Deserialize, Serialize};

use crate::{
    comparison::{Comparison, Design},
    error::{Degenerate, Invalid},
    family::Family,
    paired::Differences,
    words,
};

/// The closed set of what can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The method differs from its reference for the better.
    Better,
    /// It differs for the worse.
    Worse,
    /// The difference is within the margin, whatever its sign.
    Equivalent,
    /// None of these is shown. Not the same as "no difference".
    Unresolved,
}

impl Verdict {
    /// The one list of verdicts.
    pub const ALL: [(&'static str, Self); 4] =
        [("better", Self::Better), ("worse", Self::Worse), ("equivalent", Self::Equivalent), ("unresolved", Self::Unresolved)];
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(_, verdict)| verdict == self).map_or("", |(word, _)| word);
        f.pad(word)
    }
}

/// What there is to judge by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Everything.
    Compared(Box<Comparison>),
    /// Nothing, and why.
    Degenerate(Degenerate),
}

/// A verdict with the numbers behind it. Its `Display` is one sentence: what is known, and what these blocks cannot resolve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The two-sided Nadeau-Bengio p, after Holm's correction in its family; null where there was no test.
    pub p_difference: Option<f64>,
    /// The p of equivalence, with the Nadeau-Bengio variance, after Holm's correction in the same family; null where there was no test.
    pub p_equivalence: Option<f64>,
    /// How many hypotheses the family declares.
    pub family: usize,
    /// The level of the verdict.
    pub alpha: f64,
    /// The margin of equivalence.
    pub margin: f64,
    /// The numbers.
    pub evidence: Evidence,
}

/// Judges the comparisons of a family. `differences` holds the paired differences of each hypothesis that has any; a declared one that has none
/// gets no judgement, and counts all the same.
///
/// *Better* and *worse* need a Nadeau-Bengio p that is at most alpha after Holm's correction; *equivalent* needs the same of the two one-sided
/// tests, or no difference at all in any block. A method that is better by less than the margin is *better*, and the sentence says so.
///
/// # Errors
/// [`Invalid::Undeclared`] for a hypothesis that is not in the family.
pub fn judge<L: Ord + Clone + Display>(
    family: &Family<L>,
    differences: &BTreeMap<L, Differences>,
    design: &Design,
) -> Result<BTreeMap<L, Judgement>, Invalid> {
    family.holds(differences.keys())?;
    let compared: BTreeMap<L, Result<Comparison, Degenerate>> =
        differences.iter().map(|(label, of)| (label.clone(), Comparison::of(of, design))).collect();
    let adjusted = |p: fn(&Comparison) -> f64| {
        let tested = compared.iter().filter_map(|(label, of)| Some((label.clone(), p(of.as_ref().ok()?))));
        family.holm(&tested.collect())
    };
    let by_difference = adjusted(|of| of.corrected.p_two_sided)?;
    let by_equivalence = adjusted(|of| of.equivalence.p)?;
    let judged = compared.into_iter().map(|(label, of)| {
        let (p_difference, p_equivalence) = (by_difference.get(&label).copied(), by_equivalence.get(&label).copied());
        let alpha = design.alpha.get();
        let shown = |p: Option<f64>| p.is_some_and(|p| p <= alpha);
        let verdict = match &of {
            Ok(of) if shown(p_difference) && design.direction.worse_by(of.mean) < 0.0 => Verdict::Better,
            Ok(_) if shown(p_difference) => Verdict::Worse,
            Ok(_) if shown(p_equivalence) => Verdict::Equivalent,
            Err(Degenerate::NoSpread { value: 0.0, .. }) => Verdict::Equivalent,
            _ => Verdict::Unresolved,
        };
        let evidence = of.map_or_else(Evidence::Degenerate, |of| Evidence::Compared(Box::new(of)));
        let (family, margin) = (family.size(), design.margin.get());
        (label, Judgement { verdict, p_difference, p_equivalence, family, alpha, margin, evidence })
    });
    Ok(judged.collect())
}

impl Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.evidence {
            Evidence::Compared(of) => self.sentence(f, of),
            Evidence::Degenerate(Degenerate::NoSpread { n, value: 0.0 }) => {
                write!(f, "equivalent: the values are the same in all {n} blocks, to the last digits")
            }
            Evidence::Degenerate(Degenerate::NoSpread { n, value }) => write!(
                f,
                "unresolved: the difference is {} in each of {n} blocks, as if their seeds changed nothing, so that nothing says how much \
                 another would vary",
                words::number(*value)
            ),
            Evidence::Degenerate(Degenerate::TooFew { n, needed }) => {
                write!(f, "unresolved: {} in common, and a test needs {needed} at least", words::count(*n, "block", "blocks"))
            }
            Evidence::Degenerate(why @ Degenerate::OneSided) => write!(f, "unresolved: {why}"),
        }
    }
}

impl Judgement {
    fn sentence(&self, f: &mut fmt::Formatter<'_>, of: &Comparison) -> fmt::Result {
        let number = words::number;
        let (n, interval) = (of.n, of.corrected.interval);
        let corrected =
            if self.family == 1 { String::new() } else { format!(" after Holm's correction over {} tests", self.family) };
        let p = |p: Option<f64>| format!("{}{corrected}", words::p(p.unwrap_or(1.0)));
        let away_from_zero = if of.mean < 0.0 { [-interval.high, -interval.low] } else { [interval.low, interval.high] };
        match self.verdict {
            Verdict::Better | Verdict::Worse => {
                write!(
                    f,
                    "{} by {}, with {} % confidence between {} and {} for data like these ({}, {n} blocks)",
                    self.verdict,
                    number(of.mean.abs()),
                    words::digits(100.0 * interval.confidence),
                    number(away_from_zero[0]),
                    number(away_from_zero[1]),
                    p(self.p_difference),
                )?;
                if self.p_equivalence.is_some_and(|p| p <= self.alpha) {
                    write!(f, ", which is less than the margin of {} that matters", self.margin)?;
                }
            }
            Verdict::Equivalent => write!(
                f,
                "equivalent: the difference of {} is shown to be smaller than the margin of {} ({}, {n} blocks)",
                number(of.mean),
                self.margin,
                p(self.p_equivalence),
            )?,
            Verdict::Unresolved => {
                let seen = of.resolvable;
                write!(
                    f,
                    "unresolved: the difference of {} may be chance ({}), since {n} blocks that vary by {} resolve differences from {}",
                    number(of.mean),
                    p(self.p_difference),
                    number(of.sd),
                    number(seen.effect),
                )?;
                if seen.floor > 0.0 {
                    write!(f, ", and more splits of this data set from {} at best", number(seen.floor))?;
                }
            }
        }
        if of.sign_flip.smallest > self.alpha {
            write!(f, "; no sign-flip p of {n} blocks goes below {}", of.sign_flip.smallest)?;
        }
        Ok(())
    }
}
