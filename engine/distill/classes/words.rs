//! Words: the vocabulary of a network that learns from texts and nothing else.
//!
//! A *token* is a run of letters and digits in lower case, or any other character by itself that is neither white space nor a control
//! character. Only training texts say which tokens are words, or a model would know something of those it is tested on.

use std::collections::{BTreeMap, HashMap};

use super::inputs::Texts;
use super::spec::Vocabulary;
use crate::error::ModelError;

/// Some tokens with ids from 1; all others have the id 0, the unknown one's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    list: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Words {
    /// The id of what is no word.
    pub const UNKNOWN: u32 = 0;

    /// The words of training texts: the most frequent tokens, as many as `vocabulary` says, and of those that are as frequent the ones
    /// whose bytes come first.
    pub fn learn<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, vocabulary: &Vocabulary) -> Self {
        let mut counts = TokenCounts::default();
        counts.add(texts);
        counts.words(vocabulary)
    }

    /// Words in the order of their ids, as [`Words::list`] gives them.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the first that is twice in the list, or no token.
    pub fn of_list(list: Vec<String>) -> Result<Self, ModelError> {
        for (place, word) in list.iter().enumerate() {
            let mut tokens = Vec::new();
            each_token(word, |token| {
                tokens.push(token.to_owned());
                true
            });
            if tokens != [word.as_str()] {
                return Err(ModelError::Config(format!("word {} of its list, {word:?}, is no single token", place + 1)));
            }
        }
        let words = Self::numbered(list);
        let last = |(place, word): &(usize, &String)| words.ids.get(*word) == Some(&(*place as u32 + 1));
        match words.list.iter().enumerate().find(|entry| !last(entry)) {
            Some((place, word)) => Err(ModelError::Config(format!("word {} of its list, {word:?}, is there twice", place + 1))),
            None => Ok(words),
        }
    }

    fn numbered(list: Vec<String>) -> Self {
        let ids = list.iter().cloned().zip(1..).collect();
        Words { list, ids }
    }

    /// The words, in the order of their ids, from 1.
    pub fn list(&self) -> &[String] {
        &self.list
    }

    /// How many ids there are, the unknown one's among them.
    pub fn vocabulary(&self) -> usize {
        self.list.len() + 1
    }

    /// The ids of a text's tokens, the first `longest` of them. A text without any has the unknown one, so that there is something to read.
    pub fn encode(&self, text: &str, longest: Option<usize>) -> Vec<u32> {
        let longest = longest.unwrap_or(usize::MAX);
        let mut ids = Vec::new();
        each_token(text, |token| {
            ids.push(self.ids.get(token).copied().unwrap_or(Self::UNKNOWN));
            ids.len() < longest
        });
        if ids.is_empty() {
            ids.push(Self::UNKNOWN);
        }
        ids
    }

    /// The same of many texts.
    pub fn encode_all<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>, longest: Option<usize>) -> Texts {
        texts.into_iter().map(|text| self.encode(text.as_ref(), longest)).collect()
    }
}

/// How often each token has been seen in texts that come piece by piece. Of a text nothing is kept but its tokens, each of them once.
#[derive(Clone, Debug, Default)]
pub struct TokenCounts(BTreeMap<String, usize>);

impl TokenCounts {
    /// Counts the tokens of some texts more.
    pub fn add<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) {
        for text in texts {
            each_token(text.as_ref(), |token| {
                match self.0.get_mut(token) {
                    Some(count) => *count += 1,
                    None => drop(self.0.insert(token.to_owned(), 1)),
                }
                true
            });
        }
    }

    /// What [`Words::learn`] makes of all texts so far, in whatever pieces they came.
    pub fn words(self, vocabulary: &Vocabulary) -> Words {
        let mut frequent: Vec<(String, usize)> = self.0.into_iter().filter(|(_, n)| *n >= vocabulary.min_count).collect();
        // They are in the order of their bytes, and a stable sort leaves them so where they are as frequent.
        frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        frequent.truncate(vocabulary.size);
        Words::numbered(frequent.into_iter().map(|(word, _)| word).collect())
    }
}

/// Calls `each` for every token, until it says that this was the last.
fn each_token(text: &str, mut each: impl FnMut(&str) -> bool) {
    let mut token = String::new();
    // Lower case by characters, so that a token is the same wherever it stands. White space behind the end ends the last one.
    for character in text.chars().flat_map(char::to_lowercase).chain(std::iter::once(' ')) {
        if character.is_alphanumeric() {
            token.push(character);
            continue;
        }
        if !token.is_empty() {
            if !each(&token) {
                return;
            }
            token.clear();
        }
        if !character.is_whitespace() && !character.is_control() && !each(character.encode_utf8(&mut [0; 4])) {
            return;
        }
    }
}
