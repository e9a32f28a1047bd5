//! Stage instances chosen by name: `student`, `student[genre=Western]`, `sc*`, `*[seed=1|2,method!=talk]`, and of a sweep
//! `student@rounds=2`. For every command that takes stages, whether they come from a manifest or from a store. Knows names, and nothing of what they stand for.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

use crate::source::one_of;

/// An instance's name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The stage.
    pub stage: &'a str,
    /// Axis and value, in the order of the axes.
    pub labels: Vec<(&'a str, &'a str)>,
    /// In a sweep, the parameters that this instance is one of several for, with their values.
    pub point: Vec<(&'a str, &'a str)>,
}

impl<'a> Name<'a> {
    /// Takes a name apart as it stands in records: `student[genre=Western,method=talk]@rounds=2`. What has no such form is all stage.
    pub fn parse(name: &'a str) -> Self {
        let apart = || {
            let pairs = |text: &'a str| text.split(',').map(|pair| pair.split_once('=')).collect::<Option<Vec<_>>>();
            let (own, point) = without_point(name);
            let point = point.map_or(Some(Vec::new()), pairs)?;
            match own.split_once('[') {
                None => Some(Self { stage: own, labels: Vec::new(), point }),
                Some((stage, inside)) => Some(Self { stage, labels: pairs(inside.strip_suffix(']')?)?, point }),
            }
        };
        apart().unwrap_or(Self { stage: name, labels: Vec::new(), point: Vec::new() })
    }

    fn value(&self, condition: &Condition) -> Option<&'a str> {
        self.pairs(condition.of_point).iter().find(|(known, _)| *known == condition.axis).map(|(_, value)| *value)
    }

    fn pairs(&self, of_point: bool) -> &[(&'a str, &'a str)] {
        if of_point { &self.point } else { &self.labels }
    }
}

/// What stands before the `@` of a sweep, and after it. In matrix values an `@` is a letter like any other.
fn without_point(name: &str) -> (&str, Option<&str>) {
    let at = match name.rfind(']') {
        Some(end) => name[end..].starts_with("]@").then_some(end + 1),
        None => name.find(['@', '[']).filter(|at| name[*at..].starts_with('@')),
    };
    at.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])))
}

/// Which instances are meant.
#[derive(Clone, Debug)]
pub struct Selector {
    text: String,
    stage: Pattern,
    conditions: Vec<Condition>,
}

/// What an instance's value on an axis has to be, or must not be.
#[derive(Clone, Debug)]
struct Condition {
    /// Whether it is about a parameter of a sweep, and not about an axis.
    of_point: bool,
    axis: String,
    not: bool,
    value: Pattern,
}

/// Text with `*` and `?`, or several between `|`. Text that is the same fits whatever it holds.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// One for each alternative.
    globs: Vec<GlobMatcher>,
}

impl Pattern {
    /// Reads one as typed.
    ///
    /// # Errors
    /// In words, where it is not written like one.
    pub fn new(text: &str) -> Result<Self, String> {
        let glob = |text: &str| {
            // Only `*` and `?` have a meaning; what else a glob could hold may be part of a value.
            let mut glob = String::new();
            for letter in text.chars() {
                match letter {
                    '*' if glob.ends_with('*') => {}
                    '*' | '?' => glob.push(letter),
                    _ => glob += &globset::escape(letter.encode_utf8(&mut [0; 4])),
                }
            }
            GlobBuilder::new(&glob).literal_separator(false).build().map(|glob| glob.compile_matcher())
        };
        let globs = text.split('|').map(|text| glob(text.trim())).collect::<Result<_, _>>();
        globs.map(|globs| Self { text: text.to_owned(), globs }).map_err(|error| error.to_string())
    }

    /// Whether a text fits it.
    pub fn fits(&self, text: &str) -> bool {
        self.text == text || self.globs.iter().any(|glob| glob.is_match(text))
    }

    /// As typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it can fit one text only.
    pub fn plain(&self) -> bool {
        !self.text.contains(['*', '?', '|'])
    }
}

impl Selector {
    /// Reads one as typed.
    ///
    /// # Errors
    /// In words, where it is not written like one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: String| {
            format!("{what}: write `stage`, \"stage[axis=value,axis=value]\" or a pattern, \"st*[axis=one|other,axis!=value]\"")
        };
        let typed = text.trim();
        let (own, point) = without_point(typed);
        let (stage, inside) = match own.split_once('[') {
            None if own.is_empty() || own.contains([']', '=', ',']) => {
                return Err(wrong(format!("`{text}` does not name stages")));
            }
            None => (own, None),
            Some(("", _)) => return Err(wrong(format!("`{text}` names no stage before `[`, such as `*`"))),
            Some((stage, rest)) => match rest.strip_suffix(']') {
                Some(inside) => (stage, Some(inside)),
                None => return Err(wrong(format!("`{text}` does not end with `]`"))),
            },
        };
        let mut conditions: Vec<Condition> = Vec::new();
        let pairs = |text: Option<&str>, of_point: bool| -> Vec<(bool, String)> {
            text.into_iter().flat_map(|text| text.split(',')).map(|pair| (of_point, pair.to_owned())).collect()
        };
        for (of_point, pair) in pairs(inside, false).into_iter().chain(pairs(point, true)) {
            let Some((axis, value)) = pair.split_once('=') else {
                return Err(wrong(format!("`{}` in `{text}` is not `axis=value`", pair.trim())));
            };
            let (axis, not) = match axis.trim_end().strip_suffix('!') {
                Some(axis) => (axis.trim(), true),
                None => (axis.trim(), false),
            };
            if conditions.iter().any(|known| known.axis == axis && (known.not, known.of_point) == (not, of_point)) {
                return Err(wrong(format!("`{text}` selects `{axis}` twice")));
            }
            conditions.push(Condition { of_point, axis: axis.to_owned(), not, value: Pattern::new(value.trim())? });
        }
        Ok(Self { text: typed.to_owned(), stage: Pattern::new(stage.trim_end())?, conditions })
    }

    /// Whether it means this instance. One without an axis that is asked for is not meant.
    pub fn matches(&self, name: &Name<'_>) -> bool {
        let holds =
            |condition: &Condition| name.value(condition).is_some_and(|value| condition.value.fits(value) != condition.not);
        self.stage.fits(name.stage) && self.conditions.iter().all(holds)
    }

    /// The places of those it means.
    ///
    /// # Errors
    /// In words, with what was probably meant, where it means none.
    pub fn pick(&self, names: &[Name<'_>]) -> Result<Vec<usize>, String> {
        let found: Vec<usize> = (0..names.len()).filter(|place| self.matches(&names[*place])).collect();
        if found.is_empty() { Err(self.nothing(names)) } else { Ok(found) }
    }

    /// Why it means none of them.
    fn nothing(&self, names: &[Name<'_>]) -> String {
        let with = |message: String, help: Option<String>| help.map_or(message.clone(), |help| format!("{message}: {help}"));
        let of_stage = || names.iter().filter(|name| self.stage.fits(name.stage));
        let stage = &self.stage.text;
        if of_stage().next().is_none() {
            let known = distinct(names.iter().map(|name| name.stage));
            let message = match self.stage.plain() {
                true => format!("no stage is called `{stage}`"),
                false => format!("no stage's name fits `{stage}`"),
            };
            return with(message, one_of(stage, known));
        }
        for condition in &self.conditions {
            let Condition { of_point, axis, not, value } = condition;
            let values = distinct(of_stage().filter_map(|name| name.value(condition)));
            let message = match (values.is_empty(), not) {
                (true, _) => {
                    let axes = distinct(of_stage().flat_map(|name| name.pairs(*of_point)).map(|(axis, _)| *axis));
                    let noun = if *of_point { "swept parameter" } else { "axis" };
                    return with(format!("`{stage}` has no {noun} `{axis}`"), one_of(axis, axes));
                }
                (false, true) if values.iter().all(|known| value.fits(known)) => {
                    format!("every `{axis}` of `{stage}` fits `{}`", value.text)
                }
                (false, false) if !values.iter().any(|known| value.fits(known)) => {
                    format!("no `{axis}` of `{stage}` fits `{}`", value.text)
                }
                _ => continue,
            };
            return with(message, one_of(&value.text, values).filter(|_| !not));
        }
        let names: Vec<String> = of_stage().map(written).collect();
        with(format!("no instance fits `{}`", self.text), one_of(&self.text, names.iter().map(String::as_str)))
    }
}

/// Each once, in the order of their first.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(*word)).collect()
}

fn written(name: &Name<'_>) -> String {
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(",");
    let labels = if name.labels.is_empty() { String::new() } else { format!("[{}]", pairs(&name.labels)) };
    let point = if name.point.is_empty() { String::new() } else { format!("@{}", pairs(&name.point)) };
    format!("{}{labels}{point}", name.stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = [
        "ratings",
        "split[seed=1]",
        "split[seed=2]",
        "student[seed=1,genre=Western,method=talk]",
        "student[seed=2,genre=Film-Noir,method=talk]",
        "student[seed=2,genre=Western,method=scratch]",
        "scores",
    ];

    fn pick(selector: &str) -> Result<Vec<usize>, String> {
        let names: Vec<Name<'_>> = NAMES.iter().map(|name| Name::parse(name)).collect();
        Selector::parse(selector)?.pick(&names)
    }

    fn wrong(selector: &str) -> String {
        pick(selector).expect_err(selector)
    }

    #[test]
    fn names_values_and_patterns_choose() {
        let cases: [(&str, &[usize]); 14] = [
            ("ratings", &[0]),
            ("split", &[1, 2]),
            ("s*", &[1, 2, 3, 4, 5, 6]),
            ("sc*", &[6]),
            ("*", &[0, 1, 2, 3, 4, 5, 6]),
            ("*[seed=1]", &[1, 3]),
            ("split|scores", &[1, 2, 6]),
            ("student[genre=Western]", &[3, 5]),
            ("student[genre=W*]", &[3, 5]),
            ("student[genre=????-N**]", &[4]),
            ("student[ genre = Western|Film-Noir , method=talk ]", &[3, 4]),
            ("student[method!=talk]", &[5]),
            ("*[seed!=1,seed=*]", &[2, 4, 5]),
            ("student[seed=2,genre=Western,method=scratch]", &[5]),
        ];
        for (selector, places) in cases {
            assert_eq!(pick(selector).as_deref(), Ok(places), "{selector}");
        }
    }

    #[test]
    fn what_a_glob_would_read_is_text_in_a_value() {
        for value in ["{a}", "a\\b", "!x", "a|b", "a*b", "data/x.csv", "é"] {
            let name = format!("s[file={value}]");
            let selector = Selector::parse(&name).unwrap_or_else(|error| panic!("{error}"));
            assert!(selector.matches(&Name::parse(&name)), "{value}");
        }
        let selector = Selector::parse("s[file={a}]").unwrap_or_else(|error| panic!("{error}"));
        assert!(!selector.matches(&Name::parse("s[file=a]")));
        let deep = Selector::parse("s[file=data/*]").unwrap_or_else(|error| panic!("{error}"));
        assert!(deep.matches(&Name::parse("s[file=data/x/y.csv]")));
    }

    #[test]
    fn what_means_nothing_says_what_was_meant() {
        assert_eq!(wrong("studnet"), "no stage is called `studnet`: did you mean `student`?");
        let stages = "it is one of `ratings`, `split`, `student`, `scores`";
        assert_eq!(wrong("x*"), format!("no stage's name fits `x*`: {stages}"));
        assert_eq!(wrong("student[gnere=Western]"), "`student` has no axis `gnere`: did you mean `genre`?");
        assert_eq!(wrong("student[genre=Westren]"), "no `genre` of `student` fits `Westren`: did you mean `Western`?");
        assert_eq!(wrong("split[seed!=1|2]"), "every `seed` of `split` fits `1|2`");
        assert!(wrong("student[seed=1,method=scratch]").starts_with("no instance fits `student[seed=1,method=scratch]`"));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", " ", "a]", "a=b", "a,b", "a[b=c", "a[b=c]d", "a[b]", "a[]", "[b=c]", "a[b=c,b=d]"] {
            assert!(Selector::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_come_apart() {
        let labels = || vec![("genre", "Film-Noir"), ("method", "talk")];
        let student = Name { stage: "student", labels: labels(), point: Vec::new() };
        assert_eq!(Name::parse("student[genre=Film-Noir,method=talk]"), student);
        assert_eq!(Name::parse("split"), Name { stage: "split", labels: Vec::new(), point: Vec::new() });
        let swept = Name { point: vec![("talk.rounds", "2"), ("seed", "1")], ..student };
        assert_eq!(Name::parse("student[genre=Film-Noir,method=talk]@talk.rounds=2,seed=1"), swept);
        assert_eq!(Name::parse("split@seed=1"), Name { stage: "split", labels: Vec::new(), point: vec![("seed", "1")] });
        assert_eq!(Name::parse("a[user=x@y]"), Name { stage: "a", labels: vec![("user", "x@y")], point: Vec::new() });
        for odd in ["odd[x]", "odd@x", "odd[x=1]@y", "odd[x=1]y@z=1"] {
            assert_eq!(Name::parse(odd).stage, odd);
        }
        for name in ["student[genre=Film-Noir,method=talk]@talk.rounds=2,seed=1", "split@seed=1", "a[user=x@y]"] {
            let selector = Selector::parse(name).unwrap_or_else(|error| panic!("{error}"));
            assert!(selector.matches(&Name::parse(name)), "{name}");
        }
    }

    #[test]
    fn instances_of_a_sweep_are_chosen_by_stage_and_by_point() {
        let names = ["a", "b@seed=1", "b@seed=2", "c[x=1]@rounds=1,seed=1", "c[x=2]@rounds=2,seed=1"];
        let pick = |selector: &str| {
            let names: Vec<Name<'_>> = names.iter().map(|name| Name::parse(name)).collect();
            Selector::parse(selector)?.pick(&names)
        };
        let cases: [(&str, &[usize]); 7] = [
            ("b", &[1, 2]),
            ("b@seed=2", &[2]),
            ("*@seed=1", &[1, 3, 4]),
            ("c[x=1]", &[3]),
            ("c[x=*]@rounds=2,seed=1", &[4]),
            ("*@seed!=1", &[2]),
            ("c@rounds=1|2", &[3, 4]),
        ];
        for (selector, places) in cases {
            assert_eq!(pick(selector).as_deref(), Ok(places), "{selector}");
        }
        assert_eq!(pick("c@sed=1").expect_err("no such parameter"), "`c` has no swept parameter `sed`: did you mean `seed`?");
        assert!(pick("b@seed").is_err() && pick("@seed=1").is_err() && pick("b@").is_err());
    }
}
