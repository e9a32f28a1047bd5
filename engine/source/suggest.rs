//! What the user probably meant: the nearest of the words that would have been right.

/// The word of `candidates` that `word` was probably meant to be; `None` where nothing is near.
///
/// A word is near where about a third of its letters would have to change (optimal string alignment, so that two swapped
/// letters count once), or where only case, `-` and `_` differ. Of two equally near words the first wins.
///
/// ```
/// use talkflow::source::did_you_mean;
/// assert_eq!(did_you_mean("teahcer", ["student", "teacher"]), Some("did you mean `teacher`?".to_owned()));
/// assert_eq!(did_you_mean("teacher", ["split"]), None);
/// ```
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|best| format!("did you mean `{best}`?"))
}

/// The suggestion of [`did_you_mean`], or else the list of what would have been right.
#[must_use]
pub fn one_of<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    /// A longer list than this is no help.
    const SHOWN: usize = 12;
    did_you_mean(word, candidates.clone()).or_else(|| {
        let mut rest = candidates.into_iter();
        let shown: Vec<String> = rest.by_ref().take(SHOWN).map(|word| format!("`{word}`")).collect();
        let more = rest.count();
        let list = shown.join(", ");
        match (shown.len(), more) {
            (0, _) => None,
            (1, _) => Some(format!("it can only be {list}")),
            (_, 0) => Some(format!("it is one of {list}")),
            _ => Some(format!("it is one of {list} and {more} more")),
        }
    })
}

fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// No name is longer, and comparing takes the product of both lengths.
    const LONGEST: usize = 64;
    /// A manifest with more names was not written by hand.
    const MOST: usize = 1000;
    let plain = |word: &str| word.to_lowercase().replace(['-', ' '], "_");
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let folded = plain(word);
    // Two letters are near to everything.
    let allowed = length / 3;
    let mut best = None;
    for candidate in candidates.into_iter().take(MOST) {
        if candidate.chars().count().abs_diff(length) > allowed {
            continue;
        }
        let distance = strsim::osa_distance(&folded, &plain(candidate));
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_wins_and_a_far_one_is_not_offered() {
        let words = ["hidden", "embedding", "seed"];
        assert_eq!(nearest("embeding", words), Some("embedding"));
        assert_eq!(nearest("Film_Noir", ["Film-Noir"]), Some("Film-Noir"));
        assert_eq!(nearest("sede", words), Some("seed"));
        assert_eq!(nearest("rounds", words), None);
        assert_eq!(nearest("ad", ["adam", "sgd"]), None);
        assert_eq!(nearest("3", ["1", "2"]), None);
    }

    #[test]
    fn without_a_near_word_the_right_ones_are_listed() {
        let help = one_of("x", ["adam", "sgd"]);
        assert_eq!(help.as_deref(), Some("it is one of `adam`, `sgd`"));
        let many: Vec<String> = (0..14).map(|n| format!("stage{n}")).collect();
        let help = one_of("x", many.iter().map(String::as_str)).unwrap_or_default();
        assert!(help.ends_with("`stage11` and 2 more"), "{help}");
        assert_eq!(one_of("x", []), None);
    }
}
