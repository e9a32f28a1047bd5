//! Metrics that a program leaves as JSON: nested objects become names with points.

use std::{fs, io::Read};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use super::scratch::Scratch;
use crate::fields::Place;

/// A larger file is no list of metrics.
const LARGEST: u64 = 1 << 20;
/// Nor are more values,
const MOST: usize = 1000;
/// or longer names, in bytes: each of many values has all the names it stands under in its own.
const LONGEST: usize = 1000;

/// Reads the file at a place in the folder.
pub(super) fn read(scratch: &Scratch, place: &Place) -> anyhow::Result<Map<String, Value>> {
    let path = scratch.file(place).with_context(|| format!("cannot read the metrics `{place}`"))?;
    let mut text = Vec::new();
    fs::File::open(&path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= LARGEST, "the metrics `{place}` are larger than {} MiB", LARGEST >> 20);
    parse(&text).with_context(|| format!("cannot read the metrics `{place}`"))
}

/// Reads metrics from JSON.
///
/// # Errors
/// In words, where it is no JSON, or something else than named numbers, texts and switches.
pub fn parse(text: &[u8]) -> anyhow::Result<Map<String, Value>> {
    let value: Value = serde_json::from_slice(text).context("this is not JSON, which has no NaN and no Infinity")?;
    let Value::Object(object) = value else { bail!("metrics are an object: `{{\"loss\": 0.5}}`") };
    let mut metrics = Map::new();
    flatten("", object, &mut metrics)?;
    Ok(metrics)
}

fn flatten(prefix: &str, object: Map<String, Value>, metrics: &mut Map<String, Value>) -> anyhow::Result<()> {
    for (name, value) in object {
        let name = format!("{prefix}{name}");
        ensure!(name.len() <= LONGEST, "a name of more than {LONGEST} bytes: `{}...`", name.chars().take(60).collect::<String>());
        match value {
            Value::Object(inner) => flatten(&format!("{name}."), inner, metrics)?,
            Value::Number(_) | Value::String(_) | Value::Bool(_) => {
                ensure!(metrics.insert(name.clone(), value).is_none(), "`{name}` stands there twice");
                ensure!(metrics.len() <= MOST, "there are more than {MOST} metrics");
            }
            Value::Null => bail!("`{name}` is null: leave it out, or give a number"),
            Value::Array(_) => bail!("`{name}` is a list: give each number a name"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn nested_objects_become_names_with_points() {
        let metrics = parse(br#"{"loss": 0.5, "test": {"rmse": 1, "by": {"genre": "x"}}, "ok": true}"#).unwrap();
        assert_eq!(Value::Object(metrics).to_string(), r#"{"loss":0.5,"test.rmse":1,"test.by.genre":"x","ok":true}"#);
    }

    #[test]
    fn what_is_no_metric_is_refused() {
        // A long name that a thousand values stand under would be a thousand long names.
        let long = format!("{{\"{}\": {{\"b\": 1}}}}", "a".repeat(1000));
        let table: [(&[u8], &str); 8] = [
            (b"{\"a\": NaN}", "no NaN"),
            (b"{\"a\": 1e999}", "not JSON"),
            (b"", "not JSON"),
            (b"[1]", "an object"),
            (b"{\"a\": [1]}", "`a` is a list"),
            (b"{\"a\": {\"b\": null}}", "`a.b` is null"),
            (b"{\"a.b\": 1, \"a\": {\"b\": 2}}", "`a.b` stands there twice"),
            (long.as_bytes(), "more than 1000 bytes: `aaaa"),
        ];
        for (text, expected) in table {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
