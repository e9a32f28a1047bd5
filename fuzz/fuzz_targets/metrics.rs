//! The metrics that a program leaves as JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use talkflow::stages::command::metrics;

fn seeds() -> Vec<Vec<u8>> {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    [
        r#"{"loss": 0.5, "test": {"rmse": 1, "by": {"genre": "x"}}, "ok": true}"#.to_owned(),
        r#"{"a": NaN}"#.to_owned(),
        r#"{"a": -1e-7, "b": 18446744073709551615, "c": "\ud83d\ude00\u001b[2J"}"#.to_owned(),
        r#"{"a.b": 1, "a": {"b": 2}}"#.to_owned(),
        r#"{"a": [1], "b": null}"#.to_owned(),
        nested(20),
        nested(200),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let Ok(metrics) = metrics::parse(input) else { return };
    // What was read is what a record may hold: names with values, no more of them than are said, and it can be read again.
    assert!(metrics.len() <= 1000);
    assert!(metrics.iter().all(|(name, _)| name.len() <= 1000));
    assert!(metrics.values().all(|value| matches!(value, Value::Number(_) | Value::String(_) | Value::Bool(_))));
    let written = serde_json::to_vec(&metrics).expect("JSON");
    let again: serde_json::Map<String, Value> = serde_json::from_slice(&written).expect("JSON that was just written");
    assert!(again.keys().eq(metrics.keys()));
});
