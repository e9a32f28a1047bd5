//! Families of hypotheses that are tested together, and Holm's correction for their number.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use crate::error::Invalid;

/// Hypotheses declared together, before any was tested. All of them count, whether they could be tested or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family<L> {
    name: String,
    members: BTreeSet<L>,
}

impl<L: Ord + Clone + Display> Family<L> {
    /// Declares a family.
    ///
    /// # Errors
    /// [`Invalid`] without members, and with one twice.
    pub fn declare(name: impl Into<String>, members: impl IntoIterator<Item = L>) -> Result<Self, Invalid> {
        let mut family = Self { name: name.into(), members: BTreeSet::new() };
        for member in members {
            if let Some(twice) = family.members.replace(member) {
                return Err(Invalid::DeclaredTwice { family: family.name, label: twice.to_string() });
            }
        }
        if family.members.is_empty() {
            return Err(Invalid::EmptyFamily { family: family.name });
        }
        Ok(family)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many hypotheses it declares.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Refuses labels that were not declared.
    pub(crate) fn holds<'a>(&self, labels: impl IntoIterator<Item = &'a L>) -> Result<(), Invalid>
    where
        L: 'a,
    {
        match labels.into_iter().find(|label| !self.members.contains(*label)) {
            Some(label) => Err(Invalid::Undeclared { family: self.name.clone(), label: label.to_string() }),
            None => Ok(()),
        }
    }

    /// p-values adjusted by Holm's step-down procedure ("A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    /// Statistics 6, 1979): refusing all with an adjusted p of at most alpha refuses any true hypothesis in at most a share alpha of
    /// families, whatever the tests have to do with each other. A declared hypothesis without a p-value counts as not refused.
    ///
    /// # Errors
    /// [`Invalid`] for a label that was not declared, and for a p-value that is not in 0..1.
    pub fn holm(&self, p_values: &BTreeMap<L, f64>) -> Result<BTreeMap<L, f64>, Invalid> {
        self.holds(p_values.keys())?;
        if let Some((label, &p)) = p_values.iter().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
            return Err(Invalid::P { of: label.to_string(), p });
        }
        let mut ascending: Vec<(&L, f64)> = p_values.iter().map(|(label, p)| (label, *p)).collect();
        ascending.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let mut adjusted = 0.0_f64;
        let step = |(place, (label, p)): (usize, (&L, f64))| {
            adjusted = adjusted.max(p * (self.size() - place) as f64).min(1.0);
            (label.clone(), adjusted)
        };
        Ok(ascending.into_iter().enumerate().map(step).collect())
    }
}
