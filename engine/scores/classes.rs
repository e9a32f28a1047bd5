//! What an evaluation of classes has beside its measures: the counts of each class, and what methods do to single classes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use talkflow_statistics::Verdict;

use crate::compare::{Compared, Declared};

/// One class of the rows scored, and what a model took its rows for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// What it is called.
    pub class: String,
    /// Rows that are of it.
    pub rows: u64,
    /// Those of them that the model took for it.
    pub right: u64,
    /// Those that it took for other classes: how many for each. With `right`, this is a row of the confusion matrix.
    pub taken_for: BTreeMap<String, u64>,
}

impl ClassCounts {
    /// The accuracy on this class; none without rows.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.right as f64 / self.rows as f64)
    }
}

/// What methods do to single classes, over blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerClass {
    /// How they were compared: the accuracy on a class with that of the reference, at the evaluation's levels.
    pub declared: Declared,
    /// By row of the table.
    pub rows: Vec<ClassesOf>,
}

/// The classes of one row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassesOf {
    /// The table's row.
    pub row: String,
    /// Each method on each class; the comparison's row is the class, its family is the method.
    pub compared: Vec<Compared>,
    /// By method, the classes that it is surely worse on than the reference. Of a method that distils these are the *undistillable* classes (Zhu
    /// et al., *Teach Less, Learn More: On the Undistillable Classes in Knowledge Distillation*, 2022), here by a verdict over blocks after
    /// Holm's correction over the classes.
    pub worse: BTreeMap<String, Vec<String>>,
}

impl ClassesOf {
    /// Of some comparisons; classes in their order.
    #[must_use]
    pub fn new(row: String, compared: Vec<Compared>) -> Self {
        let mut worse: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for of in &compared {
            let classes = worse.entry(of.method.clone()).or_default();
            if of.judgement.verdict == Verdict::Worse {
                classes.push(of.row.clone());
            }
        }
        Self { row, compared, worse }
    }
}
