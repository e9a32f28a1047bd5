//! Tagged choices: one word of several, and the settings that go with it.

use super::reader::{Absent, Fields, Found, listed};
use super::settings::{Leaf, Origin};
use super::shape::Shape;
use crate::manifest::{Entry, Map, Node, Value};
use crate::source::one_of;

impl Fields<'_> {
    /// Reads a tagged choice: `scratch`, or with settings of its own `{ talk: { rounds: 2 } }`.
    ///
    /// `read` gets the chosen word and the fields under it. Where a manifest extends another, the choice of the
    /// extending one counts and the other's is dropped. After a mistake `read` gets the first of `words`, and nothing it
    /// reads is reported or recorded.
    pub fn variant<R>(
        &mut self,
        key: &str,
        words: &[&str],
        default: Option<&str>,
        read: impl FnOnce(&str, &mut Fields<'_>) -> R,
    ) -> R {
        let shape = Shape::Variant(words.iter().map(|&word| word.to_owned()).collect());
        if self.sketch(key, &shape, Absent::or(default.map(|word| Leaf::Word(word.to_owned())))) {
            let word = self.sketched_word(key, words).unwrap_or_default();
            return self.inside(&format!("{key}.{word}"), None, self.span, None, |fields| read(word, fields));
        }
        let found = self.take(key);
        let chosen = match &found {
            None => match default {
                Some(word) => Ok((word.to_owned(), Origin::Default, None)),
                None => {
                    self.missing(key, &shape.noun());
                    Err(())
                }
            },
            Some(found) => self.chosen(key, words, found),
        };
        let Ok((word, origin, content)) = chosen else {
            self.record.muted += 1;
            let fallback = words.first().copied().unwrap_or_default();
            let value = self.inside(key, None, self.span, None, |fields| read(fallback, fields));
            self.record.muted -= 1;
            return value;
        };
        self.keep(key, Leaf::Word(word.clone()), origin);
        let inner = format!("{key}.{word}");
        match content {
            None => {
                let span = found.as_ref().map_or(self.span, |found| found.node.span);
                let via = found.and_then(|found| found.via);
                self.inside(&inner, None, span, via, |fields| read(&word, fields))
            }
            Some(content) => self.inside_found(&inner, &content, |fields| read(&word, fields)),
        }
    }

    /// The word of a tagged choice, where it came from, and what stands under it.
    fn chosen(&mut self, key: &str, words: &[&str], found: &Found) -> Result<(String, Origin, Option<Found>), ()> {
        let (word, origin, content, place) = match &found.node.value {
            Value::Text(word) => (word.to_string(), found.origin(), None, found.clone()),
            Value::Map(map) => {
                let (word, entry) = self.single(key, words, map, found)?;
                let place = Found::of(&Node::new(entry.key, Value::Null), found.via.as_ref());
                let content = Found::of(&entry.node, found.via.as_ref());
                (word, place.origin(), Some(content), place)
            }
            _ => {
                self.wrong(found, &format!("one of {}", listed(words)), None);
                return Err(());
            }
        };
        if words.contains(&word.as_str()) {
            return Ok((word, origin, content));
        }
        let help = one_of(&word, words.iter().copied());
        self.say(place.mistake(format!("unknown value `{word}` for `{key}`")).maybe_help(help));
        Err(())
    }

    /// The one entry of a tagged choice. Of a choice that was merged from several manifests, the last word counts.
    fn single(&mut self, key: &str, words: &[&str], map: &Map, found: &Found) -> Result<(String, Entry), ()> {
        let top = map.values().map(|entry| self.outside.sources.priority(entry.key.source)).max();
        let mut last = map.iter().filter(|(_, entry)| Some(self.outside.sources.priority(entry.key.source)) == top);
        let Some((word, entry)) = last.next() else {
            self.wrong(found, &format!("one of {}", listed(words)), None);
            return Err(());
        };
        if let Some((other, second)) = last.next() {
            let place = Found::of(&Node::new(second.key, Value::Null), found.via.as_ref());
            let message = format!("`{key}` is one choice, but has both `{word}` and `{other}`");
            self.say(place.mistake(message).also(entry.key, "the first"));
            return Err(());
        }
        Ok((word.clone(), entry.clone()))
    }
}
