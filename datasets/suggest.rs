//! "Did you mean": the nearest of a list of known names.
//!
//! It knows strings only.

/// The candidate most like `name`, where one is near enough to be worth proposing.
///
/// Case does not count. A candidate that contains what was typed (`25m` for `movielens/25m`) is near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = name.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let known = candidate.to_lowercase();
        let mut score = strsim::normalized_damerau_levenshtein(&typed, &known);
        if typed.len() >= 2 && (known.contains(&typed) || typed.contains(&known)) {
            score = score.max(0.75);
        }
        if score >= 0.6 && best.is_none_or(|(top, _)| score > top) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// ` (did you mean X?)`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |candidate| format!(" (did you mean `{candidate}`?)"))
}

/// The names in backticks, with commas between them.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENRES: [&str; 4] = ["Drama", "Film-Noir", "Sci-Fi", "Western"];

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        assert_eq!(nearest("westren", GENRES), Some("Western"));
        assert_eq!(nearest("film noir", GENRES), Some("Film-Noir"));
        assert_eq!(nearest("noir", GENRES), Some("Film-Noir"));
    }

    #[test]
    fn something_else_altogether_finds_nothing() {
        assert_eq!(nearest("Cookery", GENRES), None);
        assert_eq!(did_you_mean("x", GENRES), "");
    }
}
