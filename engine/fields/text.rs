//! Text and words: free text, one of a closed set of words, and lists of these.

use super::reader::{Absent, Fields, Found};
use super::settings::Leaf;
use super::shape::Shape;
use crate::manifest::{Node, Value};
use crate::source::one_of;

/// A closed set of values, each with the word a manifest uses for it.
///
/// ```
/// use talkflow::fields::Choice;
///
/// #[derive(Clone, Copy, PartialEq, Debug)]
/// enum Metric { Rmse, Mae }
/// impl Choice for Metric {
///     const WORDS: &'static [(&'static str, Self)] = &[("rmse", Self::Rmse), ("mae", Self::Mae)];
/// }
/// assert_eq!(Metric::Mae.word(), "mae");
/// ```
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its value: the only list of them. Never empty; the first value stands in for a wrong one.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value.
    fn word(self) -> &'static str {
        let named = Self::WORDS.iter().find(|(_, value)| *value == self);
        named.map_or("", |(word, _)| word)
    }
}

impl Fields<'_> {
    /// Reads text; required where `default` is `None`. Empty text is a mistake.
    pub fn text(&mut self, key: &str, default: Option<&str>) -> String {
        let absent = Absent::or(default.map(str::to_owned));
        self.value(key, absent, &Shape::Text, Self::text_of, |text| Leaf::Text(text.clone()))
            .unwrap_or_else(|| default.unwrap_or_default().to_owned())
    }

    /// Reads text that may be left out, or be `null`.
    pub fn optional_text(&mut self, key: &str) -> Option<String> {
        self.value(key, Absent::None, &Shape::Text, Self::text_of, |text| Leaf::Text(text.clone()))
    }

    /// Reads a list of texts; required where `default` is `None`.
    pub fn texts(&mut self, key: &str, default: Option<&[&str]>) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let shape = Shape::list(Shape::Text);
        let convert = |fields: &mut Self, found: &Found| fields.list_of(found, &shape, Self::text_of);
        let leaf = |texts: &Vec<String>| Leaf::List(texts.iter().cloned().map(Leaf::Text).collect());
        self.value(key, Absent::or(default.map(owned)), &shape, convert, leaf)
            .unwrap_or_else(|| owned(default.unwrap_or_default()))
    }

    /// Reads a mapping from names of the user's choosing to a text or a list of texts, in the order written; none where it is not written.
    pub fn named_texts(&mut self, key: &str) -> Vec<(String, Vec<String>)> {
        let shape = Shape::Named(Box::new(Shape::Texts));
        if self.sketch(key, &shape, Absent::None) {
            return Vec::new();
        }
        let found = self.take(key).filter(|found| !matches!(found.node.value, Value::Null));
        let Some(found) = found else { return Vec::new() };
        self.inside_found(key, &found, |fields| {
            let names = fields.names();
            let one = |name: String| {
                let texts = fields.value(&name, Absent::Required, &Shape::Texts, Fields::one_or_more, |texts| {
                    Leaf::List(texts.iter().cloned().map(Leaf::Text).collect())
                })?;
                Some((name, texts))
            };
            names.into_iter().filter_map(one).collect()
        })
    }

    fn one_or_more(&mut self, found: &Found) -> Option<Vec<String>> {
        match &found.node.value {
            Value::List(_) => self.list_of(found, &Shape::Texts, Self::text_of),
            _ => self.text_of(found).map(|text| vec![text]),
        }
    }

    /// Reads a list of texts, numbers and switches as texts, each as `${...}` writes it out: the words of a command line. Required.
    pub fn words(&mut self, key: &str) -> Vec<String> {
        let shape = Shape::list(Shape::Scalar);
        let convert = |fields: &mut Self, found: &Found| fields.list_of(found, &shape, Self::word_written);
        let leaf = |texts: &Vec<String>| Leaf::List(texts.iter().cloned().map(Leaf::Text).collect());
        self.value(key, Absent::Required, &shape, convert, leaf).unwrap_or_default()
    }

    /// A text, number or switch, as text. It may be empty.
    pub(super) fn word_written(&mut self, found: &Found) -> Option<String> {
        match &found.node.value {
            Value::Text(text) => Some(text.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(format!("{value:?}")),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Broken => {
                self.wrong(found, &Shape::Scalar.noun(), None);
                None
            }
        }
    }

    /// Reads one of `words`, which are known only at run time (the names of data sets); required where `default` is `None`.
    pub fn word(&mut self, key: &str, words: &[&str], default: Option<&str>) -> String {
        let convert = |fields: &mut Self, found: &Found| fields.word_of(key, found, words).map(str::to_owned);
        let absent = Absent::or(default.map(str::to_owned));
        self.value(key, absent, &Shape::word(words), convert, |word| Leaf::Word(word.clone()))
            .unwrap_or_else(|| default.or(words.first().copied()).unwrap_or_default().to_owned())
    }

    /// Reads one of `words` that may be left out, or be `null`.
    pub fn optional_word(&mut self, key: &str, words: &[&str]) -> Option<String> {
        let convert = |fields: &mut Self, found: &Found| fields.word_of(key, found, words).map(str::to_owned);
        self.value(key, Absent::None, &Shape::word(words), convert, |word| Leaf::Word(word.clone()))
    }

    /// Reads one of a closed set of words; required where `default` is `None`.
    pub fn choice<T: Choice>(&mut self, key: &str, default: Option<T>) -> T {
        let words = words::<T>();
        let convert = |fields: &mut Self, found: &Found| fields.choice_of(key, found, &words);
        self.value(key, Absent::or(default), &Shape::word(&words), convert, |value| Leaf::Word(value.word().to_owned()))
            .or(default)
            .unwrap_or_else(|| T::WORDS[0].1)
    }

    /// Reads a list of words from a closed set, each at most once, in the order written; required where `default` is `None`.
    pub fn choices<T: Choice>(&mut self, key: &str, default: Option<&[T]>) -> Vec<T> {
        let words = words::<T>();
        let shape = Shape::List { item: Box::new(Shape::word(&words)), distinct: true };
        let convert = |fields: &mut Self, found: &Found| {
            let mut seen: Vec<T> = Vec::new();
            fields.list_of(found, &shape, |fields, item| {
                let value = fields.choice_of(key, item, &words)?;
                if seen.contains(&value) {
                    fields.say(item.mistake(format!("`{}` stands twice in `{key}`", value.word())));
                    return None;
                }
                seen.push(value);
                Some(value)
            })
        };
        let leaf = |values: &Vec<T>| Leaf::List(values.iter().map(|value| Leaf::Word(value.word().to_owned())).collect());
        let absent = Absent::or(default.map(<[T]>::to_vec));
        self.value(key, absent, &shape, convert, leaf).unwrap_or_else(|| default.unwrap_or_default().to_vec())
    }

    pub(super) fn text_of(&mut self, found: &Found) -> Option<String> {
        match &found.node.value {
            Value::Text(text) if text.is_empty() => {
                self.say(found.mistake("expected text, and this is empty"));
                None
            }
            Value::Text(text) => Some(text.to_string()),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                let written = self.outside.sources.slice(found.node.span);
                self.wrong(found, &Shape::Text.noun(), Some(format!("quote it: \"{written}\"")));
                None
            }
            _ => {
                self.wrong(found, &Shape::Text.noun(), None);
                None
            }
        }
    }

    fn word_of<'w>(&mut self, key: &str, found: &Found, words: &[&'w str]) -> Option<&'w str> {
        let Value::Text(text) = &found.node.value else {
            self.wrong(found, &Shape::word(words).noun(), None);
            return None;
        };
        let known = words.iter().find(|word| **word == &**text);
        if known.is_none() {
            let help = one_of(text, words.iter().copied());
            self.say(found.mistake(format!("unknown value `{text}` for `{key}`")).maybe_help(help));
        }
        known.copied()
    }

    fn choice_of<T: Choice>(&mut self, key: &str, found: &Found, words: &[&str]) -> Option<T> {
        let word = self.word_of(key, found, words)?;
        T::WORDS.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
    }

    /// Reads each item of a list. All items are read, so that all mistakes are found, before the list is given up.
    pub(super) fn list_of<T>(
        &mut self,
        found: &Found,
        shape: &Shape,
        mut item: impl FnMut(&mut Self, &Found) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(nodes) = &found.node.value else {
            let help = match &found.node.value {
                Value::Map(_) | Value::Null | Value::Broken => None,
                _ => Some(format!("write `[{}]`", self.outside.sources.slice(found.node.span))),
            };
            self.wrong(found, &shape.noun(), help);
            return None;
        };
        let values: Vec<Option<T>> = nodes.iter().map(|node: &Node| item(self, &Found::of(node, found.via.as_ref()))).collect();
        values.into_iter().collect()
    }
}

fn words<T: Choice>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}
