//! How alike students' states are to their teachers', by method: linear CKA, as evaluations found it.

use indexmap::IndexMap;
use serde::Serialize;

use super::tables::Evaluation;
use crate::scores::TEACHER;

/// The models of one method.
#[derive(Clone, Debug, Serialize)]
pub struct Likeness {
    /// The method.
    pub method: String,
    /// Of low states, mean over models.
    pub low: Option<f64>,
    /// Of high states, mean over models.
    pub high: Option<f64>,
    /// Each model.
    pub models: Vec<Compared>,
}

/// A model: row, block, and the likeness of its low and high states.
type Compared = (String, String, Option<f64>, Option<f64>);

/// By method, those whose states were compared.
pub fn of(evaluations: &[Evaluation]) -> Vec<Likeness> {
    let mut methods: IndexMap<&str, Vec<Compared>> = IndexMap::new();
    for entry in evaluations.iter().flat_map(|evaluation| &evaluation.scores.entries) {
        if entry.column != TEACHER && (entry.cka_low.is_some() || entry.cka_high.is_some()) {
            methods.entry(&entry.column).or_default().push((
                entry.row.clone(),
                entry.block.clone(),
                entry.cka_low,
                entry.cka_high,
            ));
        }
    }
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let one = |(method, models): (&str, Vec<Compared>)| Likeness {
        method: method.to_owned(),
        low: mean(models.iter().filter_map(|(.., low, _)| *low).collect()),
        high: mean(models.iter().filter_map(|(.., high)| *high).collect()),
        models,
    };
    methods.into_iter().map(one).collect()
}
