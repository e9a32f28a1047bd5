//! Pins: results that stay whatever is collected, with everything they were made from, so that they can be explained and made
//! again. A pin is a file of its own in `pins/`, named after what is pinned; removing the file by hand unpins.

use std::{
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, list, transfer::read_plain, unless_gone};
use crate::key::ActionKey;

/// What a pin holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinned {
    /// One result.
    Result(ActionKey),
    /// All that a run used or made, and the run's folder.
    Run(String),
}

/// One pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What was pinned.
    pub what: Pinned,
    /// The stage instance of a result, the manifest of a run: for people only.
    pub of: String,
    /// Why, in the user's words.
    pub note: Option<String>,
    /// When, in seconds since 1970.
    pub since: u64,
    /// The results it keeps.
    pub keys: Vec<ActionKey>,
}

impl Store {
    /// Pins, or pins anew with another note.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn pin(&self, what: Pinned, of: &str, note: Option<&str>, keys: Vec<ActionKey>) -> Result<Pin, StoreError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let pin = Pin { what, of: of.to_owned(), note: note.map(str::to_owned), since, keys };
        self.write_pin(&pin)?;
        Ok(pin)
    }

    pub(super) fn write_pin(&self, pin: &Pin) -> Result<(), StoreError> {
        let path = self.pin_path(&pin.what);
        let text = serde_json::to_vec_pretty(pin).map_err(|error| StoreError::io("write", &path)(error.into()))?;
        // A collection that has begun to choose ends first: from here on, none passes the pin by.
        let _gate = self.enter()?;
        self.write_synced(&path, &text)
    }

    /// Takes a pin away; whether there was one.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn unpin(&self, what: &Pinned) -> Result<bool, StoreError> {
        let path = self.pin_path(what);
        Ok(unless_gone(fs::remove_file(&path)).map_err(StoreError::io("remove", &path))?.is_some())
    }

    /// All pins, in the order of their names.
    ///
    /// # Errors
    /// Where the disk cannot be read, or a pin says nothing that can be understood: what it keeps is not to be guessed.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for path in list(&self.root.join("pins"))? {
            // An editor's copy is not another pin.
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let Some(text) = unless_gone(read_plain(&path)).map_err(StoreError::io("read", &path))? else { continue };
            pins.push(serde_json::from_slice(&text).map_err(|error| StoreError::io("understand the pin", &path)(error.into()))?);
        }
        Ok(pins)
    }

    fn pin_path(&self, what: &Pinned) -> PathBuf {
        let name = match what {
            Pinned::Result(key) => key.to_string(),
            Pinned::Run(id) => format!("run-{id}"),
        };
        self.root.join("pins").join(format!("{name}.json"))
    }
}
