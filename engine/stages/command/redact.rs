//! Secrets out of what is written down: text, values, and output as it streams by, in whatever pieces it comes.

use std::sync::Arc;

use serde_json::Value;

/// What stands for a secret.
const STARS: &str = "***";

/// Knows the secrets, and replaces them.
#[derive(Clone)]
pub(super) struct Redactor {
    /// The longest first: one may hold another.
    secrets: Arc<Vec<Vec<u8>>>,
    /// What may be the beginning of one.
    held: Vec<u8>,
}

impl Redactor {
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut secrets: Vec<Vec<u8>> =
            secrets.filter(|secret| !secret.is_empty()).map(|secret| secret.as_bytes().to_vec()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets: Arc::new(secrets), held: Vec::new() }
    }

    /// Takes the next piece of a stream; what is safe to show is added to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.secrets.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            // More may come that makes this a secret, or another one than the shorter that is there already.
            if self.secrets.iter().any(|secret| secret.len() > rest.len() && secret.starts_with(rest)) {
                break;
            }
            at += self.step(rest, out);
        }
        self.held = held[at..].to_vec();
    }

    /// The stream has ended: what was held was no secret, or a shorter one.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < held.len() {
            at += self.step(&held[at..], out);
        }
    }

    /// Passes a secret or a byte on; how many bytes that were.
    fn step(&self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        match self.secrets.iter().find(|secret| rest.starts_with(secret)) {
            Some(secret) => {
                out.extend_from_slice(STARS.as_bytes());
                secret.len()
            }
            None => {
                out.push(rest[0]);
                1
            }
        }
    }

    /// A text without them.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = Vec::new();
        let mut stream = Self { secrets: self.secrets.clone(), held: Vec::new() };
        stream.push(text.as_bytes(), &mut out);
        stream.end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// A metric's value without them.
    pub(super) fn value(&self, value: Value) -> Value {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let clean = self.text(&text);
        if clean == text { value } else { Value::String(clean) }
    }

    /// An error without them; one that has none stays as it is.
    pub(super) fn error(&self, error: anyhow::Error) -> anyhow::Error {
        let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        let clean: Vec<String> = causes.iter().map(|cause| self.text(cause)).collect();
        if clean == causes {
            return error;
        }
        causes = clean;
        let innermost = causes.pop().unwrap_or_default();
        causes.into_iter().rev().fold(anyhow::anyhow!(innermost), |error, cause| error.context(cause))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn a_secret_is_found_however_the_stream_is_cut() {
        let text = "a tok tokentoken2 secret-token toke";
        let secrets = ["token", "token2", "secret-token"];
        let whole = Redactor::new(secrets.into_iter()).text(text);
        assert_eq!(whole, "a tok ****** *** toke");
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut redactor = Redactor::new(secrets.into_iter());
                let mut out = Vec::new();
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    redactor.push(piece.as_bytes(), &mut out);
                }
                redactor.end(&mut out);
                assert_eq!(String::from_utf8(out).unwrap(), whole);
            }
        }
    }

    #[test]
    fn errors_and_metrics_are_cleaned() {
        let redactor = Redactor::new(["12"].into_iter());
        let error = redactor.error(anyhow::anyhow!("in 12").context("out"));
        assert_eq!(format!("{error:#}"), "out: in ***");
        assert_eq!(redactor.value(512.into()), Value::String("5***".into()));
        assert_eq!(redactor.value(3.into()), Value::from(3));
        assert_eq!(Redactor::new([].into_iter()).text("12"), "12");
    }
}
