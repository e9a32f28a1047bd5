//! Which rows of a data set are kept: so many of each class.
//!
//! Every row has a random number of its own, made from the seed and its id; of a class, the rows with the lowest numbers are kept. So a
//! larger subset holds every smaller one of the same seed, and rows that are added to a data set later take the place of few.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rng::Rng;
use crate::split::Part;

use super::sources::Row;

/// How many rows of each class are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subset {
    /// In each part.
    pub per_class: u64,
    /// In the validation part, where it is another number.
    pub validation: Option<u64>,
    /// In the test part, where it is another number.
    pub test: Option<u64>,
    /// Which rows they are derives from it.
    pub seed: u64,
}

impl Subset {
    /// How many rows of a class are kept in a part.
    fn most(&self, part: Option<Part>) -> u64 {
        match part {
            Some(Part::Validation) => self.validation.unwrap_or(self.per_class),
            Some(Part::Test) => self.test.unwrap_or(self.per_class),
            Some(Part::Train) | None => self.per_class,
        }
    }
}

/// What a subset is of, as the summary has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Rows there were.
    pub of: u64,
    /// The most rows of a class in a part.
    pub per_class: u64,
    /// The same of the validation part.
    pub validation: u64,
    /// The same of the test part.
    pub test: u64,
    /// The seed.
    pub seed: u64,
    /// Classes that have fewer rows in some part than were asked for, of which all are kept.
    pub short: Vec<String>,
}

/// A row's random number, and its place.
type Drawn = (u64, u32);

/// The places of the rows that are kept, ascending, and what is to be said of them.
pub(super) fn choose(rows: &[Row], classes: &[String], subset: &Subset) -> Result<(Vec<u32>, Kept), Error> {
    if subset.per_class == 0 || subset.validation == Some(0) || subset.test == Some(0) {
        return Err(Error::Setting("a subset of 0 rows of each class: keep at least one".to_owned()));
    }
    let mut groups: BTreeMap<(Option<Part>, u32), Vec<Drawn>> = BTreeMap::new();
    for (place, row) in (0..).zip(rows) {
        let number = Rng::stream(subset.seed, &format!("subset {}", row.id), 0).bits();
        groups.entry((row.part, row.label)).or_default().push((number, place));
    }
    let mut kept = Vec::new();
    let mut short = vec![false; classes.len()];
    for ((part, label), mut group) in groups {
        let most = subset.most(part);
        short[label as usize] |= (group.len() as u64) < most;
        group.sort_unstable();
        kept.extend(group.into_iter().map(|(_, place)| place).take(usize::try_from(most).unwrap_or(usize::MAX)));
    }
    kept.sort_unstable();
    let said = Kept {
        of: rows.len() as u64,
        per_class: subset.per_class,
        validation: subset.most(Some(Part::Validation)),
        test: subset.most(Some(Part::Test)),
        seed: subset.seed,
        short: classes.iter().zip(short).filter(|(_, short)| *short).map(|(class, _)| class.clone()).collect(),
    };
    Ok((kept, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |place: u32| Row {
            id: format!("a/{place}"),
            part: Some(if place.is_multiple_of(4) { Part::Test } else { Part::Train }),
            label: u32::from(place.is_multiple_of(10)),
        };
        (0..400).map(row).collect()
    }

    fn chosen(rows: &[Row], subset: Subset) -> (Vec<u32>, Kept) {
        let classes = ["many".to_owned(), "few".to_owned()];
        choose(rows, &classes, &subset).unwrap_or_else(|error| panic!("{error}"))
    }

    const SUBSET: Subset = Subset { per_class: 7, validation: None, test: None, seed: 1 };

    #[test]
    fn as_many_of_each_class_and_part_are_kept_as_there_are() {
        let rows = rows();
        let (kept, said) = chosen(&rows, SUBSET);
        let count = |part, label| {
            kept.iter().filter(|&&at| rows[at as usize].part == Some(part) && rows[at as usize].label == label).count()
        };
        assert_eq!([count(Part::Train, 0), count(Part::Train, 1), count(Part::Test, 0), count(Part::Test, 1)], [7; 4]);
        assert!(kept.is_sorted() && said.short.is_empty() && said.of == 400);
        let (kept, said) = chosen(&rows, Subset { per_class: 30, test: Some(2), ..SUBSET });
        assert_eq!((kept.len(), said.short), (30 + 20 + 2 + 2, vec!["few".to_owned()]));
    }

    #[test]
    fn a_larger_subset_holds_the_smaller_one_and_another_seed_draws_others() {
        let rows = rows();
        let (small, large) = (chosen(&rows, SUBSET).0, chosen(&rows, Subset { per_class: 15, ..SUBSET }).0);
        assert!(small.iter().all(|row| large.contains(row)) && large.len() > small.len());
        assert_ne!(small, chosen(&rows, Subset { seed: 2, ..SUBSET }).0);
    }

    #[test]
    fn a_row_is_drawn_by_its_id_wherever_it_stands() {
        let mut rows = rows();
        let ids = |rows: &[Row]| {
            let mut ids: Vec<String> = chosen(rows, SUBSET).0.iter().map(|&at| rows[at as usize].id.clone()).collect();
            ids.sort();
            ids
        };
        let before = ids(&rows);
        rows.reverse();
        assert_eq!(ids(&rows), before);
    }

    #[test]
    fn nothing_of_a_class_is_no_subset() {
        for subset in [Subset { per_class: 0, ..SUBSET }, Subset { test: Some(0), ..SUBSET }] {
            assert!(choose(&rows(), &[], &subset).is_err());
        }
    }
}
