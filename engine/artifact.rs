//! What flows between stages.

/// What a stage yields, and what another may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactKind {
    /// Ratings of items by users.
    Ratings,
    /// Which part each rating belongs to.
    Split,
    /// A trained model.
    Model,
    /// What a teacher's layers yield for each rating.
    Features,
    /// Metrics.
    Scores,
}

impl ArtifactKind {
    /// What a message calls it.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Ratings => "ratings",
            Self::Split => "a split",
            Self::Model => "a model",
            Self::Features => "features",
            Self::Scores => "scores",
        }
    }
}
