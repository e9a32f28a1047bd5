//! The loss as a weighted sum of named terms, and their means over an epoch.
//!
//! A method adds terms to a [`Step`](crate::methods::Step); each is recorded under its [`Term`] with its value before weighting. The room
//! knows no methods.

/// The terms a loss may have, in the order of the curves' columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// The squared error against the rating.
    Task,
    /// The squared error against the teacher's prediction.
    Label,
    /// The distance of the projected high state from the teacher's.
    Feature,
    /// The distance of the student's high state from the one it made of the teacher's replies, summed over rounds.
    Interact,
    /// Message consistency: the distance of the first question from the first answer.
    Message,
    /// State consistency: the distance of the decoded low state from the teacher's own.
    State,
    /// The distance of the student's state from the one decoded from the teacher's high state.
    StudentState,
    /// The squared error of rows on which the student is not better than the teacher.
    Bounded,
    /// How little predictions go with the teacher's over the batch.
    Dist,
    /// How differently rows are alike.
    Sp,
    /// How differently rows are far from each other.
    Rkd,
    /// How unlikely the teacher's state is, told from the student's.
    Vid,
    /// How differently partners are found among rows.
    Refilled,
    /// The logarithm of the projected state's normalised errors.
    Srd,
    /// The squared error of the prediction made from the state that a reply was understood as.
    Swapped,
    /// The distances of what experts make of the student's embeddings from the teacher's.
    De,
    /// How far the probability of a row's own class is from the teacher's.
    OwnClass,
    /// How differently the other classes share out what is left.
    OtherClasses,
    /// How badly a row's state is told from those of others.
    Crd,
}

impl Term {
    /// All terms.
    pub const ALL: [Term; 19] = [
        Term::Task,
        Term::Label,
        Term::Feature,
        Term::Interact,
        Term::Message,
        Term::State,
        Term::StudentState,
        Term::Bounded,
        Term::Dist,
        Term::Sp,
        Term::Rkd,
        Term::Vid,
        Term::Refilled,
        Term::Srd,
        Term::Swapped,
        Term::De,
        Term::OwnClass,
        Term::OtherClasses,
        Term::Crd,
    ];

    /// The term's name in curves and errors.
    pub fn name(self) -> &'static str {
        match self {
            Term::Task => "task",
            Term::Label => "label",
            Term::Feature => "feature",
            Term::Interact => "interact",
            Term::Message => "message",
            Term::State => "state",
            Term::StudentState => "student_state",
            Term::Bounded => "bounded",
            Term::Dist => "dist",
            Term::Sp => "sp",
            Term::Rkd => "rkd",
            Term::Vid => "vid",
            Term::Refilled => "refilled",
            Term::Srd => "srd",
            Term::Swapped => "swapped",
            Term::De => "de",
            Term::OwnClass => "own_class",
            Term::OtherClasses => "other_classes",
            Term::Crd => "crd",
        }
    }
}

/// One term of one step's loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) term: Term,
    pub(crate) weight: f64,
    pub(crate) value: f64,
}

/// Sums over the rows of an epoch so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EpochSums {
    pub(crate) rows: f64,
    /// Weighted sum of all terms.
    pub(crate) loss: f64,
    /// By position in [`Term::ALL`].
    pub(crate) terms: [f64; Term::ALL.len()],
    /// Squared error of the teacher's low state as decoded from the first question.
    pub(crate) decoded: f64,
}

impl EpochSums {
    /// Adds a step of `rows` rows.
    pub(crate) fn add(&mut self, rows: usize, parts: &[Part], decoded: Option<f64>) {
        let rows = rows as f64;
        self.rows += rows;
        for part in parts {
            self.loss += rows * part.weight * part.value;
            self.terms[part.term as usize] += rows * part.value;
        }
        self.decoded += rows * decoded.unwrap_or(0.0);
    }

    /// The mean of a term.
    pub(crate) fn mean(&self, term: Term) -> f64 {
        self.terms[term as usize] / self.rows
    }
}
