//! What can be wrong with what one is asked, as types. Every message says what, and what to do.

/// Input that has no meaning.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A value is not a number, infinite, or so large that its square is.
    #[error("the value of {of} is {value}, but must be a number of a size below 1e150; leave it out if it was not measured")]
    Value {
        /// Whose value.
        of: String,
        /// The value found.
        value: f64,
    },
    /// A setting is out of its range.
    #[error("the {setting} is {value}, but must be {range}")]
    Range {
        /// The setting, in words.
        setting: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed, in words.
        range: &'static str,
    },
    /// A p-value is not in 0..1.
    #[error("the p-value of {of} is {p}, but must be in 0..1; leave out a hypothesis that could not be tested")]
    P {
        /// The hypothesis.
        of: String,
        /// The p-value found.
        p: f64,
    },
    /// A family without members.
    #[error("the family `{family}` declares no hypotheses; name at least one")]
    EmptyFamily {
        /// The family.
        family: String,
    },
    /// A hypothesis that the family does not declare.
    #[error("`{label}` is no member of the family `{family}`; families are declared before their tests are looked at")]
    Undeclared {
        /// The family.
        family: String,
        /// The hypothesis.
        label: String,
    },
    /// A hypothesis is declared twice.
    #[error("the family `{family}` declares `{label}` twice; give each hypothesis a label of its own")]
    DeclaredTwice {
        /// The family.
        family: String,
        /// The hypothesis.
        label: String,
    },
    /// A cluster's sums cannot be what they are said to be.
    #[error("cluster {place} has {what}; {advice}")]
    Cluster {
        /// Its place in the list, from 0.
        place: usize,
        /// What is wrong with it.
        what: String,
        /// What to do.
        advice: &'static str,
    },
}

/// Sound data that cannot answer: a result to report, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Degenerate {
    /// Too few independent units, such as blocks or clusters.
    #[error("{n} of at least {needed} that are needed: run more seeds")]
    TooFew {
        /// How many there are.
        n: usize,
        /// How many this procedure needs.
        needed: usize,
    },
    /// All differences are the same, so nothing says how much another one would vary.
    #[error("all {n} differences are {value}: their spread, which tests measure against, is 0")]
    NoSpread {
        /// How many there are.
        n: usize,
        /// The one value.
        value: f64,
    },
    /// Every resample lies on one side of the estimate, so its bias has no finite correction.
    #[error("all resamples lie on one side of the estimate: the bootstrap cannot correct its bias")]
    OneSided,
}
