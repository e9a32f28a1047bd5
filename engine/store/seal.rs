//! Texts that prove themselves. A sealed text is one JSON object in one line whose last member, `check`, is the digest of all
//! that stands before it: any tool reads it, and no byte of it changes unnoticed. Records, notes and whatever else the store
//! writes for itself are sealed; blobs need no seal, their name is their digest.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use crate::artifact::Digest;

const BEFORE: &[u8] = b",\"check\":\"";
const AFTER: &[u8] = b"\"}\n";
const DIGITS: usize = 64;

/// An object as sealed text, with a line end.
///
/// # Errors
/// Where `value` has no JSON form, or one that is no object with members.
pub fn seal(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(value)?;
    if text.len() <= 2 || text.pop() != Some(b'}') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "only an object with members can be sealed"));
    }
    let check = Digest::of(&text).to_string();
    text.extend_from_slice(BEFORE);
    text.extend_from_slice(check.as_bytes());
    text.extend_from_slice(AFTER);
    Ok(text)
}

/// The object of a sealed text that was proven before, as plain JSON.
pub fn object(text: &[u8]) -> Option<Vec<u8>> {
    let (rest, _) = text.strip_suffix(AFTER)?.split_last_chunk::<DIGITS>()?;
    Some([rest.strip_suffix(BEFORE)?, b"}"].concat())
}

/// What was sealed; `None` where a single bit of the text is not as it was written.
pub fn unseal<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let (rest, check) = text.strip_suffix(AFTER)?.split_last_chunk::<DIGITS>()?;
    let body = rest.strip_suffix(BEFORE)?;
    if Digest::of(body).to_string().as_bytes() != check {
        return None;
    }
    serde_json::from_slice(&[body, b"}"].concat()).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_sealed_comes_back_and_is_plain_json() {
        let value = BTreeMap::from([("name".to_owned(), "a\"b\n".to_owned())]);
        let text = seal(&value).unwrap();
        assert_eq!(unseal::<BTreeMap<String, String>>(&text), Some(value));
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&json["name"], json["check"].as_str().unwrap().len()), (&"a\"b\n".into(), 64));
        assert!(seal(&BTreeMap::<String, u8>::new()).is_err() && seal(&[1]).is_err() && seal(&1).is_err());
    }

    #[test]
    fn each_bit_and_each_length_counts() {
        let text = seal(&BTreeMap::from([("count", 3)])).unwrap();
        for bit in 0..text.len() * 8 {
            let mut other = text.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal::<BTreeMap<String, u8>>(&other), None, "bit {bit}");
        }
        for length in 0..text.len() {
            assert_eq!(unseal::<BTreeMap<String, u8>>(&text[..length]), None, "{length} bytes");
        }
    }
}
