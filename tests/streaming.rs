//! Students and probes whose rows stream by: what they make, what is in their keys, and what is refused.

use serde_json::Value;

use crate::space::Space;

const MANIFEST: &str = "talkflow: 1
params: { stream: { buffer: 40 }, parts: [train, validation] }
stages:
  data: { dataset: { name: synthetic/text, train: 240, test: 60 } }
  split: { split: { rows: data, by: { given: { validation_fraction: 0.25 } } } }
  encoder: { encoder: { drawn: { family: bert, width: 16, heads: 2, layers: 1 }, longest: 24 } }
  features: { cache_features: { teacher: encoder, rows: split, parts: \"${parts}\", tokens: true, verify: 0 } }
  probe: { probe: { rows: split, features: features, stop: { epochs: 3 }, stream: \"${stream}\" } }
  student:
    matrix:
      method:
        scratch: scratch
        feature: { feature: {} }
        label: { label: {} }
        talk: { talk: { rounds: 1, message_dim: 4, tokens: 2, beside: input, weights: { student_state: 0.1, label: 0.5 } } }
    distill:
      rows: split
      teacher: encoder
      features: features
      probe: probe
      method: \"${matrix.method}\"
      model: { text_transformer: { width: 8, layers: 2, heads: 2, inner: 16, longest: 16, vocabulary: { size: 200 } } }
      stop: { epochs: 2 }
      stream: \"${stream}\"
";

/// The keys of all stages, by name.
fn keys(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    document["stages"].as_array().unwrap().iter().map(|stage| (text(&stage["name"]), text(&stage["key"]))).collect()
}

/// The names of stages whose keys differ.
fn differ(a: &[(String, String)], b: &[(String, String)]) -> Vec<String> {
    a.iter().zip(b).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0.clone()).collect()
}

#[test]
fn students_and_probes_stream_and_the_buffer_is_in_their_keys_alone() {
    let space = Space::with(MANIFEST);
    let document = space.document(&[]);
    space.nothing_to_do(&[]);
    let streaming = keys(&document);
    let trained: Vec<String> = streaming.iter().map(|(name, _)| name.clone()).skip_while(|name| name != "probe").collect();
    assert_eq!(trained.len(), 5, "{trained:?}");
    let wider = keys(&space.document(&["--set", "stream.buffer=41"]));
    assert_eq!(differ(&streaming, &wider), trained);
    let held = space.document(&["--set", "stream=null"]);
    assert_eq!(differ(&streaming, &keys(&held)), trained);
    assert_eq!(differ(&wider, &keys(&held)), trained);
    // The same from another store: nothing of it depends on where files lie or on who read them before.
    let again = Space::with(MANIFEST);
    again.document(&["-j", "1"]);
    let (own, results) = (space.results(), again.results());
    let missing = results.iter().find(|result| !own.contains(result));
    assert_eq!((missing, results.len() > 30), (None, true), "{}", results.len());
}

#[test]
fn rows_without_features_and_ratings_are_refused() {
    let space = Space::with(MANIFEST);
    let said = space.run(&["run", "m.yaml", "--offline", "--set", "parts=[train]"]).code(1).stderr;
    assert!(said.contains("`features` holds no features of row") && said.contains("add `validation` to its `parts`"), "{said}");
    let said =
        space.run(&["run", "m.yaml", "--offline", "--set", "parts=[validation]", "student[method=feature]"]).code(1).stderr;
    assert!(said.contains("`features` holds no features of row") && said.contains("add `train` to its `parts`"), "{said}");
    let plan = |stream: &str, model: &str| {
        let stages = format!(
            "talkflow: 1\nstages:\n  data: {{ dataset: {{ name: movielens/synthetic }} }}\n  split: {{ split: {{ rows: data }} }}\n  \
             student: {{ distill: {{ rows: split, method: scratch, model: {{ {model}: {{}} }}, stream: {stream} }} }}\n"
        );
        Space::with(&stages).run(&["plan", "m.yaml"]).code(2).stderr
    };
    let said = plan("{ buffer: 9 }", "mf");
    assert!(said.contains("ratings are read whole"), "{said}");
    for (stream, part) in [("{ buffer: 0 }", "buffer"), ("{}", "buffer"), ("9", "stream")] {
        let said = plan(stream, "bag");
        assert!(said.contains(part), "{stream}: {said}");
    }
}
