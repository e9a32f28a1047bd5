//! Splits of examples with classes: the parts that came with the data, or each class shared out by itself.
//!
//! Drawing class by class keeps the shares of classes alike in all parts, so that no part lacks a small class by chance.

use std::path::PathBuf;

use crate::error::Error;
use crate::examples::Examples;
use crate::rng::Rng;

use super::{Fractions, Part, Split, import};

/// The share of train rows that validates where the data came without a validation part.
const VALIDATION: f64 = 0.1;

/// How to split examples.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassSplit {
    /// As the data came. Where they came without a validation part, a share of each class's train rows validates: this one, or a tenth.
    /// 0 for none.
    Given(Option<f64>),
    /// Each class falls into the parts at random, in these shares.
    ByClass(Fractions),
    /// The user's csv with the columns `row` and `part`, as [`Split::export_csv`] writes it.
    Rows(PathBuf),
}

impl Split {
    /// Splits `examples` as `spec` says. All randomness derives from `seed`; rows of a file, and parts that came whole, use none.
    ///
    /// # Errors
    /// [`Error::Setting`] where the data came without parts, or a class has too few rows for a part; [`Error::Malformed`] for a bad file.
    pub fn of_examples(examples: &Examples, spec: &ClassSplit, seed: u64) -> Result<Self, Error> {
        let (how, fractions, parts) = match spec {
            ClassSplit::Given(share) => ("given", None, given(examples, *share, seed)?),
            ClassSplit::ByClass(fractions) => {
                let mut parts = vec![Part::Train; examples.len()];
                let train = |_: Part| true;
                draw(examples, &mut parts, train, [fractions.validation, fractions.test], &mut named("split by class", seed))?;
                ("by_class", Some(*fractions), parts)
            }
            ClassSplit::Rows(path) => ("rows", None, import::rows(examples.len(), path)?),
        };
        Ok(Self::of(parts, how, fractions))
    }
}

fn given(examples: &Examples, share: Option<f64>, seed: u64) -> Result<Vec<Part>, Error> {
    let name = &examples.summary().name;
    let parts: Option<Vec<Part>> = examples.parts().iter().copied().collect();
    let mut parts = parts.ok_or_else(|| {
        Error::Setting(format!("{name} came without parts of its own: split it by class, or name a file for each part"))
    })?;
    if let Some(lacking) = [Part::Train, Part::Test].into_iter().find(|part| !parts.contains(part)) {
        return Err(Error::Setting(format!("{name} came without {} rows: split it by class", lacking.name())));
    }
    match (parts.contains(&Part::Validation), share) {
        (true, None | Some(0.0)) | (false, Some(0.0)) => {}
        (true, Some(_)) => {
            return Err(Error::Setting(format!(
                "{name} came with validation rows: leave `validation_fraction` out, or split it by class"
            )));
        }
        (false, share) => {
            let shares = [share.unwrap_or(VALIDATION), 0.0];
            draw(examples, &mut parts, |part| part == Part::Train, shares, &mut named("split class validation", seed))?;
        }
    }
    Ok(parts)
}

/// The random streams of a use, one a class.
fn named(role: &'static str, seed: u64) -> impl FnMut(u32) -> Rng {
    move |class| Rng::stream(seed, role, class.into())
}

/// Takes shares of each class's rows, of those whose part is `from`, into validation and test. Shares are rounded, and train has the rest.
fn draw(
    examples: &Examples,
    parts: &mut [Part],
    from: impl Fn(Part) -> bool,
    shares: [f64; 2],
    random: &mut impl FnMut(u32) -> Rng,
) -> Result<(), Error> {
    let summary = examples.summary();
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); summary.classes.len()];
    for (row, &label) in examples.labels().iter().enumerate().filter(|(row, _)| from(parts[*row])) {
        of_class[label as usize].push(row);
    }
    let mut taken = [0; 2];
    for ((class, mut rows), name) in (0..).zip(of_class).zip(summary.class_names()) {
        let sizes = shares.map(|share| (rows.len() as f64 * share).round() as usize);
        if !rows.is_empty() && sizes.iter().sum::<usize>() >= rows.len() {
            return Err(Error::Setting(format!(
                "the class `{name}` has {} rows to share out, which leaves none to learn from: take larger shares for train, or more data",
                rows.len()
            )));
        }
        random(class).shuffle(&mut rows);
        let mut rows = rows.into_iter();
        for ((part, size), taken) in [Part::Validation, Part::Test].into_iter().zip(sizes).zip(&mut taken) {
            rows.by_ref().take(size).for_each(|row| parts[row] = part);
            *taken += size;
        }
    }
    for ((part, share), taken) in [Part::Validation, Part::Test].into_iter().zip(shares).zip(taken) {
        if share > 0.0 && taken == 0 {
            let name = part.name();
            return Err(Error::Setting(format!("no class has so many rows that {share} of them leave one for {name}")));
        }
    }
    Ok(())
}
