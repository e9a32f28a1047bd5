//! Students of classes beside frozen transformers: probes, every method, evaluations, and what is said of what does not fit.

use serde_json::Value;

use crate::space::Space;

const HEAD: &str = "talkflow: 1
params: { of: text }
stages:
  data: { dataset: { name: \"synthetic/${of}\", train: 120, test: 60 } }
  split: { split: { rows: data, by: given } }
";

const BERT: &str = "  teacher: { encoder: { drawn: { family: bert, width: 16, heads: 2, positions: 64 }, longest: 32 } }
  features: { cache_features: { teacher: teacher, rows: data } }
  probe: { probe: { rows: split, features: features, stop: { epochs: 3 } } }
";

const BAG: &str = "model: { bag: { embedding: 8, hidden: [8, 8] } }, batch: 32, stop: { epochs: 2 }";

fn with(stages: &str) -> Space {
    Space::with(&format!("{HEAD}{BERT}{stages}"))
}

/// What `plan` says of a manifest with these stages beside a teacher of texts.
fn refused(stages: &str) -> String {
    with(stages).run(&["plan", "m.yaml"]).code(2).stderr
}

fn stage<'a>(document: &'a Value, name: &str) -> &'a Value {
    let stages = document["stages"].as_array().unwrap();
    stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {document:#}"))
}

#[test]
fn a_student_of_classes_is_trained_scored_and_found_again() {
    let stages = format!(
        "  student:
    matrix: {{ method: [scratch, label, feature, talk] }}
    distill: {{ rows: split, teacher: teacher, features: features, probe: probe, method: \"${{matrix.method}}\", {BAG} }}
  scores: {{ evaluate: {{ models: student, teacher: probe, rows: split }} }}
"
    );
    let space = with(&stages);
    let document = space.document(&[]);
    space.nothing_to_do(&[]);
    let error = stage(&document, "student[method=talk]")["metrics"]["validation_error"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&error), "{error}");
    space.run(&["export", "scores", "-o", "scores"]).ok();
    let scores: Value = serde_json::from_str(&space.read("scores/scores.json")).unwrap();
    assert_eq!(scores["task"], "classes");
    let entries = scores["entries"].as_array().unwrap();
    let columns: Vec<&str> = entries.iter().map(|entry| entry["column"].as_str().unwrap()).collect();
    assert_eq!(columns, ["feature", "label", "scratch", "talk", "teacher"]);
    for entry in entries {
        let (rows, classes) = (entry["rows"].as_u64().unwrap(), entry["classes"].as_array().unwrap());
        let right: u64 = classes.iter().map(|class| class["right"].as_u64().unwrap()).sum();
        let accuracy = entry["measures"]["accuracy"].as_f64().unwrap();
        assert_eq!((rows, classes.len()), (60, 6));
        assert!((accuracy - right as f64 / rows as f64).abs() < 1e-12, "{entry:#}");
    }
    // A student from scratch depends on no teacher, and one of states on no probe.
    let changed = space.document(&["--force", "probe"]);
    assert_eq!(stage(&changed, "student[method=scratch]")["state"], "cached");
}

/// Which inputs are in which keys.
#[test]
fn what_a_method_does_not_read_changes_nothing() {
    let stages = format!(
        "  student:
    matrix: {{ method: [scratch, label, feature] }}
    distill: {{ rows: split, teacher: teacher, features: features, probe: probe, method: \"${{matrix.method}}\", {BAG} }}
"
    );
    let space = with(&stages);
    space.document(&[]);
    space.write("m.yaml", &format!("{HEAD}{BERT}{stages}").replace("epochs: 3", "epochs: 4"));
    let document = space.document(&[]);
    let state = |method: &str| stage(&document, &format!("student[method={method}]"))["state"].clone();
    assert_eq!([state("scratch"), state("label"), state("feature")], ["cached", "ran", "cached"].map(Value::from));
}

#[test]
fn what_does_not_fit_is_told_before_anything_runs() {
    let student = |fields: &str| format!("  s: {{ distill: {{ rows: split, {fields} }} }}\n");
    for (stages, part) in [
        (student("model: { conv: {} }, method: scratch"), "`conv` reads images, and `data` holds texts"),
        (student(&format!("method: label, {BAG}")), "the method `label` learns from a teacher and needs `probe`"),
        (student(&format!("method: feature, {BAG}")), "needs `features`"),
        (student(&format!("method: {{ de: {{}} }}, features: features, {BAG}")), "needs a student that predicts ratings"),
        (student(&format!("method: scratch, where: {{ genre: x }}, {BAG}")), "have no genres to choose rows by"),
        (student(&format!("method: scratch, augment: {{ flip: true }}, {BAG}")), "only images can be mirrored and cut"),
        (
            student("method: { talk: {} }, teacher: teacher, features: features, model: { bag: { hidden: [8] } }"),
            "the student has 1",
        ),
        (student(&format!("method: {{ talk: {{ beside: input }} }}, teacher: teacher, features: features, {BAG}")), "tokens"),
        (student("model: { ncf: {} }, method: scratch"), "`distill` takes ratings, and these are rows of `data`"),
        ("  t: { pretrain: { rows: split, model: { bag: {} } } }\n".to_owned(), "unknown value `bag` for `model`"),
        ("  e: { evaluate: { models: probe, rows: split, metrics: [rmse] } }\n".to_owned(), "these models predict classes"),
    ] {
        let said = refused(&stages);
        assert!(said.contains(part), "{stages}\n{said}");
    }
    let images = |fields: &str| {
        let teacher = "  teacher: { encoder: { drawn: { family: dinov2, width: 16, heads: 2, patch: 8, image: 32 } } }
  features: { cache_features: { teacher: teacher, rows: data } }
";
        let text =
            format!("{HEAD}{teacher}  s: {{ distill: {{ rows: split, teacher: teacher, features: features, {fields} }} }}\n");
        Space::with(&text).run(&["plan", "m.yaml", "--set", "of=images"]).code(2).stderr
    };
    for (fields, part) in [
        ("model: { conv: {} }, method: { talk: {} }", "use the protocol `ask_answer`"),
        ("model: { vit: { patch: 5 } }, method: scratch", "no whole number of patches of 5 x 5"),
        ("model: { conv: {} }, method: { feature: {} }, augment: { flip: true }", "cached for the images as they are"),
    ] {
        let said = images(fields);
        assert!(said.contains(part), "{fields}\n{said}");
    }
}

/// Texts that no split of these data has, and a probe of other rows.
#[test]
fn what_only_data_tell_fails_with_names() {
    let stages = "  other: { dataset: { name: synthetic/text, train: 130, test: 60 } }
  elsewhere: { split: { rows: other, by: given } }
  p: { probe: { rows: elsewhere, features: features, stop: { epochs: 1 } } }
";
    let said = with(stages).run(&["run", "m.yaml", "p"]).code(1);
    assert!(said.stderr.contains("was made from other examples"), "{}", said.stderr);
}
