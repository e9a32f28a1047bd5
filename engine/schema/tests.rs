//! The schema against the manifests there are, the mistakes there are, and the reference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use super::{validator::refused as mistakes_of, *};
use crate::{
    manifest::{Node, Value as Yaml, parse},
    plan,
    source::Sources,
};

static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A manifest as an editor sees it: as written, before anything is resolved. Nothing where it is not YAML.
fn tree(text: &str) -> Option<Value> {
    let mut sources = Sources::default();
    let id = sources.add_text("m.yaml", text.to_owned());
    let mut mistakes = Vec::new();
    let node = parse(&sources, sources.whole(id), &mut mistakes)?;
    mistakes.is_empty().then(|| json_of(&node))
}

fn json_of(node: &Node) -> Value {
    match &node.value {
        Yaml::Null | Yaml::Broken => Value::Null,
        Yaml::Bool(value) => json!(value),
        Yaml::Int(value) => json!(value),
        Yaml::Float(value) => json!(value),
        Yaml::Text(text) => json!(&**text),
        Yaml::List(items) => items.iter().map(json_of).collect(),
        Yaml::Map(map) => map.iter().map(|(key, entry)| (key.clone(), json_of(&entry.node))).collect::<Map<_, _>>().into(),
    }
}

fn mistakes(schema: &Value, text: &str) -> Vec<String> {
    mistakes_of(schema, &tree(text).unwrap_or_else(|| panic!("no YAML:\n{text}")))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// The manifests in the documents, with a name for each.
fn documented() -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().path()).collect();
    files.push(root().join("README.md"));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (at, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            if block.lines().any(|line| line.starts_with("talkflow: 1")) {
                found.push((format!("{} {}", file.display(), at + 1), block.to_owned()));
            }
        }
    }
    assert!(found.len() > 6, "{found:?}");
    found
}

#[test]
fn every_reference_leads_somewhere() {
    let schema = &*SCHEMA;
    // Every reference leads somewhere.
    let text = schema.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(schema.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(text.contains("\"$ref\":\"#/definitions/changed/distill\""));
}

#[test]
fn every_manifest_there_is_fits() {
    let schema = &*SCHEMA;
    let files = yaml_files("manifests");
    assert!(files.len() > 4);
    for file in files.into_iter().chain([root().join("docs/coming-from/talkflow.yaml")]) {
        assert_eq!(mistakes(schema, &fs::read_to_string(&file).unwrap()), [""; 0], "{}", file.display());
    }
    for (name, text) in documented() {
        assert_eq!(mistakes(schema, &text), [""; 0], "{name}");
    }
}

#[test]
fn names_are_told_by_what_every_validator_reads() {
    // Python's regular expressions, for one, know no classes of Unicode.
    assert!(!SCHEMA.to_string().contains("\\\\p"), "{NAME}");
    let manifest = |name: &str| format!("talkflow: 1\nstages:\n  \"{name}\": {{ dataset: {{ name: movielens/synthetic }} }}\n");
    for name in ["student", "a-b_1", "\u{dc}bung", "\u{4e2d}"] {
        assert_eq!(mistakes(&SCHEMA, &manifest(name)), [""; 0], "{name}");
    }
    for name in ["", "a b", "a.b", "a[", "x=1", "a,b", "a@", "`a`", "~", "^"] {
        assert_ne!(mistakes(&SCHEMA, &manifest(name)), [""; 0], "{name}");
    }
}

#[test]
fn what_a_schema_can_know_is_refused() {
    let schema = &*SCHEMA;
    let mut refused = BTreeSet::new();
    let mut left = BTreeSet::new();
    for file in ["tests/bad", "tests/wrong"].into_iter().flat_map(yaml_files) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(tree) = String::from_utf8(fs::read(&file).unwrap()).ok().and_then(|text| tree(&text)) else { continue };
        match mistakes_of(schema, &tree).is_empty() {
            true => left.insert(name),
            false => refused.insert(name),
        };
    }
    insta::assert_debug_snapshot!((refused, left));
}

#[test]
fn each_mistake_is_found_where_it_stands() {
    let schema = &*SCHEMA;
    let stage = |kind: &str| format!("talkflow: 1\nstages:\n  a:\n    {kind}\n");
    let refused = |kind: &str, place: &str| {
        let found = mistakes(schema, &stage(kind));
        assert!(found.iter().any(|mistake| mistake.starts_with(&format!("/stages/a{place}:"))), "{kind}: {found:?}");
    };
    refused("splitt: {}", "");
    refused("split: { rows: r }\n    dataset: { name: movielens/100k }", "");
    refused("split: {}", "/split");
    refused("split: { rows: r, sed: 1 }", "/split");
    refused("split: { rows: r, seed: -1 }", "/split/seed");
    refused("split: { rows: r, seed: 1.5 }", "/split/seed");
    refused("split: { rows: r, seed: \"7\" }", "/split/seed");
    refused("split: { rows: r, by: files }", "/split/by");
    refused("split: { rows: r, by: { user: {}, time: {} } }", "/split/by");
    refused("split: { rows: r, fractions: { train: 1.1 } }", "/split/fractions/train");
    refused("dataset: {}", "/dataset");
    refused("dataset: { name: movielens/101k }", "/dataset/name");
    refused("cache_features: { teacher: t, rows: s, taps: [low, low] }", "/cache_features/taps");
    refused("evaluate: { models: [], rows: s }", "/evaluate/models");
    refused("split: { rows: r }\n    retries: 101", "/retries");
    refused("split: { rows: r }\n    resources: { cores: 0 }", "/resources/cores");
    for right in [
        "split: { rows: \"${x}\", seed: \"${x}\", by: \"${x}\", fractions: \"${x}\" }",
        "split: { rows: r, by: { user: } }\n    retries: \"${x}\"\n    matrix: \"${x}\"",
        "split: { rows: r, by: { files: { train: a, test: b } } }",
        "evaluate: { models: [m, \"n[a=${matrix.b}]\"], rows: s }",
        "dataset: { file: a.csv, items: { file: b.csv, genres: null } }",
    ] {
        assert_eq!(mistakes(schema, &stage(right)), [""; 0], "{right}");
    }
}

#[test]
fn a_changed_manifest_may_leave_out_and_delete_and_is_checked_else() {
    let schema = &*SCHEMA;
    let with = |extends: &str, body: &str| mistakes(schema, &format!("talkflow: 1\n{extends}{body}"));
    for part in [
        "name: other\n",
        "stages: { split: { split: { seed: 2 } }, scores: null }\n",
        "stages: { split: { split: { seed: null, by: files } } }\n",
        "stages: { student: { matrix: { seed: [1] }, timeout: null } }\n",
        "stages: { teacher: { pretrain: { optimizer: { sgd: { rate: 0.1 } } } } }\n",
        "params: { genres: null }\n",
    ] {
        assert_eq!(with("extends: base.yaml\n", part), [""; 0], "{part}");
        assert_ne!(with("", part), [""; 0], "{part}");
    }
    assert_ne!(with("extends: base.yaml\n", "stages: { split: { split: { sed: 2 } } }\n"), [""; 0]);
    assert_ne!(with("extends: base.yaml\n", "stages: { split: { split: { seed: -2 } } }\n"), [""; 0]);
}

#[test]
fn the_forms_of_a_sweep_are_known() {
    let schema = &*SCHEMA;
    let with =
        |sweep: &str| mistakes(schema, &format!("talkflow: 1\nsweep: {sweep}\nstages: {{ a: {{ split: {{ rows: r }} }} }}\n"));
    for right in [
        "{ grid: { a: [1, 2], b.c: { small: { x: 1 }, large: [2] }, d: \"${list}\" }, seeds: 10 }",
        "{ zip: { a: [1, 2], b: [x, y] }, seeds: [1, 2] }",
        "{ list: [{ a: 1, b.c: 2 }, { a: 3 }], seeds: { param: s, values: 3 } }",
        "{ random: { points: 20, seed: 7, space: { a: { uniform: [0, 1] }, b: { log_uniform: [1e-4, 1] }, c: { integers: [1, 9] }, d: { choice: [x, y] } } } }",
        "{ grid: { a: null }, zip: null, seeds: \"${seeds}\" }",
        "null",
    ] {
        assert_eq!(with(right), [""; 0], "{right}");
    }
    let refused = |sweep: &str, place: &str| {
        let found = with(sweep);
        assert!(found.iter().any(|mistake| mistake.starts_with(&format!("/sweep{place}:"))), "{sweep}: {found:?}");
    };
    refused("{ gird: { a: [1] } }", "");
    refused("{ grid: { a: 1 } }", "/grid/a");
    refused("{ grid: { a: [] } }", "/grid/a");
    refused("{ grid: { \"a b\": [1] } }", "/grid");
    refused("{ list: { a: 1 } }", "/list");
    refused("{ random: { points: 0 } }", "/random/points");
    refused("{ random: { space: { a: { unifrom: [0, 1] } } } }", "/random/space/a");
    refused("{ random: { space: { a: { uniform: [0] } } } }", "/random/space/a/uniform");
    refused("{ seeds: 0 }", "/seeds");
}

/// All that planning read is in what the kinds say they read: so a field that a kind begins to read is in the schema.
#[test]
fn whatever_a_plan_reads_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = yaml_files("manifests");
    let base = fs::read_to_string(root().join("manifests/quickstart.yaml")).unwrap();
    fs::write(folder.path().join("quickstart.yaml"), base).unwrap();
    // The page that compares shows the manifest that lies beside its scripts.
    let compared = root().join("docs/coming-from");
    for name in ["ratings.csv", "scripts/prepare.py", "scripts/train.py"] {
        let place = folder.path().join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(compared.join(name), place).unwrap();
    }
    let shown = fs::read_to_string(compared.join("talkflow.yaml")).unwrap();
    assert!(
        documented().iter().any(|(_, text)| *text == shown),
        "docs/coming-from.md shows another manifest than coming-from/talkflow.yaml"
    );
    for (at, (_, text)) in documented().into_iter().enumerate() {
        files.push(folder.path().join(format!("{at}.yaml")));
        fs::write(&files[files.len() - 1], text).unwrap();
    }
    // Foundation models are where this variable says; planning looks whether their files are there, and into none.
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        for model in ["minilm", "vit-s14"] {
            let place = folder.path().join(model).join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, "").unwrap();
        }
    }
    let models = folder.path().as_os_str().to_owned();
    let forms: Vec<(&str, Form)> = kinds().collect();
    let mut met = BTreeSet::new();
    for file in files {
        let variable = |name: &str| (name == "TALKFLOW_DATA").then(|| models.clone());
        let plan = plan::load(&file, &[], &variable, &StageKinds).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()));
        for instance in &plan.instances {
            let (word, form) = forms.iter().find(|(word, _)| *word == instance.kind).unwrap();
            let settings = instance.settings.iter().map(|(path, _)| path);
            let files = instance.files.iter().map(|file| file.field.as_str());
            let inputs = instance.inputs.iter().filter(|input| !input.through).map(|input| input.port.0.as_str());
            for path in settings.chain(files).chain(inputs) {
                assert!(form.field(path).is_some(), "{word} reads {path} in {} and does not say so", file.display());
                met.insert((*word, path.to_owned()));
            }
        }
    }
    assert!(met.len() > 80, "{met:?}");
}

#[test]
fn the_reference_says_of_each_field_what_the_code_says() {
    let docs = Docs::reference();
    let around = beside_form();
    let mut wrong = Vec::new();
    let kinds: Vec<(&str, Form)> = kinds().chain([("beside", around), ("check", check::form())]).collect();
    for (word, form) in &kinds {
        for (path, field) in form.paths() {
            let rows = docs.about(word, &path);
            let mut say = |what: String| wrong.push(format!("{word}: `{path}` {what}"));
            if rows.is_empty() {
                say("is not in the reference".to_owned());
            }
            let types: Vec<String> = field.shapes.iter().map(type_of).collect();
            let said: BTreeSet<String> = rows.iter().map(|row| written(row, &docs, word)).collect();
            // A row for each type, or one for all.
            if said != types.iter().cloned().collect() && said != BTreeSet::from([types.join(" or ")]) {
                say(format!("has the type {said:?} in the reference, and is {types:?}"));
            }
            let needed = needs(form, &path);
            for row in rows {
                if row.text.is_empty() {
                    say("has no description".to_owned());
                }
                let said = row.default.trim_matches('`');
                let fits = match &field.default {
                    _ if needed => said == "required",
                    _ if field.varies || rows.len() > 1 => said != "required",
                    None | Some(Leaf::None) => said != "required",
                    Some(default) => same(said, default),
                };
                if !fits {
                    say(format!("has the default `{said}` in the reference, and {:?}, needed: {needed}", field.default));
                }
            }
        }
    }
    for key in TOP {
        if docs.text("top", key).is_empty() {
            wrong.push(format!("`{key}` at the top of a manifest is not in the reference"));
        }
    }
    let within =
        |outer: &'static str, fields: &[&'static str]| fields.iter().map(|field| format!("{outer}{field}")).collect::<Vec<_>>();
    let sweep = [within("", &SWEEP), within("random.", &RANDOM), within("seeds.", &SEEDS)].concat();
    for path in sweep.iter().filter(|path| docs.text("sweep", path).is_empty()) {
        wrong.push(format!("`{path}` of a sweep is not in the reference"));
    }
    for word in DISTRIBUTIONS.into_iter().filter(|word| docs.word("draw", word).is_none()) {
        wrong.push(format!("the way `{word}` of drawing values is not in the reference"));
    }
    // And nothing is described that is not there.
    for (scope, path) in docs.fields().filter(|(_, path)| !path.is_empty()) {
        let there = match scope {
            "top" => TOP.contains(&path),
            "sweep" => sweep.iter().any(|known| known == path),
            "beside" if path == "matrix" => true,
            _ => kinds.iter().any(|(word, form)| (scope.is_empty() || scope == *word) && form.field(path).is_some()),
        };
        if !there {
            wrong.push(format!("{scope}: the reference has `{path}`, which nobody reads"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether the mapping a field is in has to have it.
fn needs(form: &Form, path: &str) -> bool {
    let (parent, key) = path.rsplit_once('.').map_or((None, path), |(parent, key)| (Some(parent), key));
    let of = match parent {
        None => Some(form),
        Some(parent) => match form.field(parent) {
            Some(section) => section.under.get(""),
            None => parent.rsplit_once('.').and_then(|(choice, word)| form.field(choice)?.under.get(word)),
        },
    };
    of.is_some_and(|form| form.needs.iter().any(|set| set.contains(key)))
}

/// A row's type, with that of another row it names, or the words it links to, written out.
fn written(row: &docs::Row, docs: &Docs, word: &str) -> String {
    let other = row.kind.strip_prefix("as ").and_then(|other| docs.about(word, other.trim_matches('`')).first());
    let kind = other.map_or(&row.kind, |row| &row.kind);
    let linked = words_of(kind).map(|words| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "));
    linked.unwrap_or_else(|| kind.clone())
}

/// The words that a type links to: those of the table under that heading.
fn words_of(kind: &str) -> Option<Vec<String>> {
    let anchor = kind.split_once("](#")?.1.strip_suffix(')')?;
    let text = fs::read_to_string(root().join("docs/manifest.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.to_lowercase().starts_with(anchor))?;
    Some(section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned())).collect())
}

/// Whether a default is written like that.
fn same(said: &str, default: &Leaf) -> bool {
    match default {
        Leaf::Float(value) => said.parse() == Ok(*value),
        Leaf::Text(text) | Leaf::Word(text) => said == text,
        Leaf::List(_) if said == "all three" => true,
        default => said == default.to_string(),
    }
}
