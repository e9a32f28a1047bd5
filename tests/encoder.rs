//! Frozen transformers as teachers: from a folder, or drawn.

use serde_json::Value;

use crate::space::Space;

const DRAWN: &str = "talkflow: 1
params: { seed: 1 }
stages:
  reader: { encoder: { drawn: { family: bert, width: 16, heads: 2, positions: 32, seed: \"${seed}\" }, longest: 12 } }
  viewer: { encoder: { drawn: { family: dinov2, width: 16, heads: 2, patch: 4, image: 12 } } }
";

/// What `plan` says of an encoder with these settings.
fn refused(settings: &str) -> String {
    let space = Space::with(&format!("talkflow: 1\nstages:\n  e: {{ encoder: {{ {settings} }} }}\n"));
    space.run(&["plan", "m.yaml"]).code(2).stderr
}

#[test]
fn an_encoder_is_drawn_and_is_a_folder_that_another_takes() {
    let space = Space::with(DRAWN);
    space.document(&[]);
    space.nothing_to_do(&[]);
    for name in ["reader", "viewer"] {
        space.run(&["export", name, "-o", name]).ok();
    }
    let about = |name: &str| -> Value { serde_json::from_str(&space.read(&format!("{name}/encoder.json"))).unwrap() };
    let (reader, viewer) = (about("reader"), about("viewer"));
    assert_eq!((&reader["reads"]["texts"]["longest"], &reader["pooling"]), (&12.into(), &"mean".into()));
    assert_eq!((&viewer["reads"]["images"]["size"], &viewer["pooling"]), (&12.into(), &"first".into()));
    assert_eq!((&viewer["family"], &viewer["width"], &viewer["layers"]), (&"dinov2".into(), &16.into(), &2.into()));
    // Files that do not belong to a model count for nothing.
    space.write("reader/README.md", "anything");
    let own = "talkflow: 1
params: { seed: null, first: first }
stages:
  own: { encoder: { folder: reader, drawn_weights: \"${seed}\", pooling: \"${first}\" } }
";
    space.write("own.yaml", own);
    let run = |args: &[&str]| space.run(&[&["run", "own.yaml", "--format", "json"], args].concat()).ok().json();
    run(&[]);
    space.write("reader/README.md", "something else");
    assert_eq!(run(&[])["ran"], 0);
    let exported = |place: &str| -> Value {
        space.run(&["export", "own", "-o", place]).ok();
        serde_json::from_str(&space.read(&format!("{place}/encoder.json"))).unwrap()
    };
    let own = exported("own");
    assert_eq!((&own["pooling"], &own["reads"]["texts"]["longest"]), (&"first".into(), &32.into()));
    assert_eq!((&own["sha256"], &own["drawn"]), (&reader["sha256"], &Value::Null));
}

#[test]
fn weights_of_a_folder_are_drawn_anew_and_need_not_be_there() {
    let space = Space::with(DRAWN);
    space.document(&[]);
    space.run(&["export", "reader", "-o", "reader"]).ok();
    let sha256 = |seed: &str| {
        space.write(
            "own.yaml",
            &format!("talkflow: 1\nstages: {{ own: {{ encoder: {{ folder: reader, drawn_weights: {seed} }} }} }}\n"),
        );
        space.run(&["run", "own.yaml"]).ok();
        space.run(&["export", "own", "-o", &format!("own{seed}")]).ok();
        let about: Value = serde_json::from_str(&space.read(&format!("own{seed}/encoder.json"))).unwrap();
        assert_eq!(about["drawn"].to_string(), seed);
        about["sha256"].clone()
    };
    let about: Value = serde_json::from_str(&space.read("reader/encoder.json")).unwrap();
    assert_eq!(sha256("1"), about["sha256"]);
    std::fs::remove_file(space.path("reader/model.safetensors")).unwrap();
    assert_ne!(sha256("2"), about["sha256"]);
}

#[test]
fn what_does_not_fit_is_told_before_anything_runs_where_settings_tell() {
    for (settings, part) in [
        ("folder: nowhere", "there is no folder"),
        ("folder: .", "config.json"),
        ("folder: ., drawn: { family: bert }", "`drawn` says what the model is"),
        ("drawn: { family: gpt }", "unknown value `gpt` for `family`"),
        ("drawn: { family: bert, patch: 4 }", "unknown setting `patch`"),
        ("drawn: { family: bert, width: 30 }", "4 heads do not share a width of 30 evenly"),
        ("drawn: { family: bert }, longest: 129", "texts of 129 tokens are longer than the 128 that the model reads"),
        ("drawn: { family: bert }, size: 8", "the model reads texts, which have no `size`"),
        ("drawn: { family: vit }, longest: 8", "the model reads images, which have no `longest`"),
        ("drawn: { family: vit }, size: 20", "images of 20 pixels a side are no whole number of patches of 8"),
        ("drawn: { family: deit, image: 20 }", "a side of 20 is no whole number of patches of 8"),
    ] {
        let said = refused(settings);
        assert!(said.contains(part), "{settings}: {said}");
    }
}

#[test]
fn what_a_folder_lacks_is_told_with_the_file() {
    let space = Space::with(DRAWN);
    space.document(&[]);
    space.run(&["export", "reader", "-o", "reader"]).ok();
    space.write("own.yaml", "talkflow: 1\nstages: { own: { encoder: { folder: reader, longest: 33 } } }\n");
    let failed = || space.run(&["run", "own.yaml"]).code(1).stderr;
    assert!(failed().contains("texts of 33 tokens are longer than the 32"));
    space.write("own.yaml", "talkflow: 1\nstages: { own: { encoder: { folder: reader } } }\n");
    let config = space.read("reader/config.json");
    space.write("reader/config.json", &config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));
    let said = failed();
    assert!(said.contains("reader/model.safetensors") && said.contains("encoder.layer.2."), "{said}");
    space.write("reader/config.json", &config.replace("bert", "gpt2"));
    assert!(failed().contains("reader/config.json: its `model_type` is `gpt2`"));
    space.write("reader/config.json", &config);
    let tokenizer = space.read("reader/tokenizer.json");
    space.write("reader/tokenizer.json", &tokenizer.replace("\"##~\": 191", "\"##~\": 192"));
    let said = failed();
    assert!(said.contains("tokenizer.json makes 193 kinds of tokens, and the model knows 192"), "{said}");
    std::fs::remove_file(space.path("reader/tokenizer.json")).unwrap();
    assert!(failed().contains("the folder has no tokenizer.json"));
}
