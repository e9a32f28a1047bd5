//! Texts to tokens, by the `tokenizer.json` of a model's folder.
//!
//! It is here and not where data sets are read, because it belongs to a model: it lies in the model's folder, its ids are rows of the model's table of
//! words, and a text has at most as many tokens as the model has positions. Another teacher reads the same texts through another one. Data
//! sets give texts and know no models.

use std::path::Path;

use tokenizers::{Tokenizer as Library, TruncationParams};

use super::error::TransformerError;

/// Tokens of some texts: ids one text after the other, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Ids of all texts.
    pub ids: Vec<u32>,
    /// How many of them each text has.
    pub lengths: Vec<usize>,
}

/// Makes tokens of texts.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    library: Library,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a model. Texts are cut to `longest` tokens, the special ones included; what the file
    /// says of padding and of cutting is left aside.
    ///
    /// # Errors
    /// [`TransformerError::File`] and [`TransformerError::Tokenizer`].
    pub fn load(path: &Path, longest: usize) -> Result<Self, TransformerError> {
        let path = path.to_owned();
        let text = std::fs::read(&path).map_err(|source| TransformerError::File { path: path.clone(), source })?;
        let wrong = |what: String| TransformerError::Tokenizer { path: path.clone(), what };
        let mut library = Library::from_bytes(text).map_err(|error| wrong(format!("it is no tokenizer: {error}")))?;
        library.with_padding(None);
        library.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        // The library subtracts them from the longest without looking.
        let special = library.encode_fast("", true).map_err(|error| wrong(error.to_string()))?.len();
        if special >= longest {
            return Err(wrong(format!("it adds {special} tokens to each text, and a text may have {longest} of them")));
        }
        let cut = TruncationParams { max_length: longest, ..TruncationParams::default() };
        library.with_truncation(Some(cut)).map_err(|error| wrong(error.to_string()))?;
        Ok(Tokenizer { library })
    }

    /// How large a model's vocabulary has to be: one more than the greatest id.
    pub fn vocabulary(&self) -> usize {
        self.library.get_vocab(true).values().max().map_or(0, |greatest| *greatest as usize + 1)
    }

    /// The tokens of texts, special ones included.
    ///
    /// # Errors
    /// [`TransformerError::Input`], where the library cannot read a text.
    pub fn tokens<T: AsRef<str>>(&self, texts: &[T]) -> Result<Tokens, TransformerError> {
        let texts = texts.iter().map(AsRef::as_ref).collect();
        let encoded = self.library.encode_batch_fast::<&str>(texts, true).map_err(|error| TransformerError::Input {
            what: format!("a text has no tokens: {error}"),
            advice: "take tokenizer.json from the model's own folder",
        })?;
        let lengths = encoded.iter().map(|encoding| encoding.len()).collect();
        Ok(Tokens { ids: encoded.iter().flat_map(|encoding| encoding.get_ids()).copied().collect(), lengths })
    }
}
