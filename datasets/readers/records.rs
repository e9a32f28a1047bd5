//! Records of one length: some bytes of labels, then an image, as CIFAR's binary files have them.
//!
//! The last byte of labels is the class (CIFAR-100 has a coarse one before it). Pixels are plane after plane already.

use crate::error::{Error, Malformed, Place};
use crate::input::Input;

/// The largest file of records: CIFAR-100's train images take 154 MB.
const LARGEST_FILE: u64 = 256 << 20;

/// The records of a file.
#[derive(Debug)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    /// Bytes of labels.
    labels: usize,
    /// Bytes of a record.
    record: usize,
}

impl Records {
    /// Reads a file whose records have so many bytes of labels and of pixels; labels are below `classes`.
    pub(crate) fn read(input: &Input, labels: usize, pixels: usize, classes: usize) -> Result<Self, Error> {
        let records = Self { bytes: input.read(LARGEST_FILE, "a file of images")?, labels, record: labels + pixels };
        let wrong = |at, column: Option<&str>, found: String, expected: String| Malformed {
            file: input.label(),
            at,
            column: column.map(str::to_owned),
            found,
            expected,
        };
        if records.bytes.is_empty() || !records.bytes.len().is_multiple_of(records.record) {
            let found = format!("{} bytes", records.bytes.len());
            let expected =
                format!("a whole number of records of {} bytes each: the file is cut off, or another one", records.record);
            return Err(wrong(None, None, found, expected).into());
        }
        match (0..records.len()).find(|&place| records.label(place) as usize >= classes) {
            Some(place) => {
                let (at, found) = (Place::Row(place as u64 + 1), records.label(place).to_string());
                Err(wrong(Some(at), Some("label"), found, format!("a number below {classes}")).into())
            }
            None => Ok(records),
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / self.record
    }

    /// The class of a record.
    pub(crate) fn label(&self, place: usize) -> u32 {
        self.bytes[place * self.record + self.labels - 1].into()
    }

    /// The pixels of a record.
    pub(crate) fn pixels(&self, place: usize) -> &[u8] {
        &self.bytes[place * self.record + self.labels..(place + 1) * self.record]
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use super::*;

    fn reading(bytes: &[u8], labels: usize) -> Result<Records, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batch.bin");
        std::fs::write(&path, bytes).unwrap();
        Records::read(&Input::File(path), labels, 3, 4).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_label_is_the_class() {
        let records = reading(&[1, 7, 8, 9, 3, 4, 5, 6], 1).unwrap();
        assert_eq!((records.len(), records.label(1), records.pixels(1)), (2, 3, &[4, 5, 6][..]));
        let records = reading(&[200, 2, 7, 8, 9], 2).unwrap();
        assert_eq!((records.len(), records.label(0), records.pixels(0)), (1, 2, &[7, 8, 9][..]));
    }

    #[test]
    fn a_mistake_has_its_record() {
        let error = reading(&[1, 7, 8, 9, 4, 4, 5, 6], 1).unwrap_err();
        assert!(error.ends_with("batch.bin, row 2, column `label`: found 4, expected a number below 4"), "{error}");
        for bytes in [&[][..], &[1, 7, 8], &[1, 7, 8, 9, 1]] {
            assert!(reading(bytes, 1).unwrap_err().contains("expected a whole number of records of 4 bytes each"));
        }
    }
}
