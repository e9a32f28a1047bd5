//! Manifests to plans, with the kinds of `kinds.rs`.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod kinds;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use self::kinds::TestKinds;
use super::*;

/// The example of the manifest's documentation.
pub(crate) const SPARSE: &str = r#"
talkflow: 1
name: movielens-sparse
params:
  dataset: movielens/100k
  genres: [Western, Film-Noir]
  seed: 1
  talk: { rounds: 1, weights: { interact: 0.1 } }
stages:
  ratings:
    dataset: { name: "${dataset}", otherwise: movielens/synthetic }
  split:
    split: { rows: ratings, fractions: { train: 0.8, validation: 0.1, test: 0.1 }, seed: "${seed}" }
  teacher:
    pretrain:
      rows: split
      model: { ncf: { embedding: 64, hidden: [128, 64] } }
      optimizer: { adam: { rate: 1e-3 } }
      stop: { epochs: 30, patience: 3 }
      seed: "${seed}"
  features:
    cache_features: { teacher: teacher, rows: split, taps: [low, high, output] }
  student:
    matrix:
      genre: "${genres}"
      method:
        scratch: scratch
        label: { label: { weight: 0.5 } }
        talk: { talk: "${talk}" }
    resources: { cores: 1, memory: 2 GiB }
    timeout: 10m
    description: a student for ${matrix.genre} by ${matrix.method}
    distill:
      rows: split
      where: { genre: "${matrix.genre}" }
      teacher: teacher
      features: features
      model: { ncf: { embedding: 8, hidden: [32, 16] } }
      method: "${matrix.method}"
      seed: "${seed}"
  scores:
    evaluate: { models: student, teacher: teacher, rows: split, part: test, metrics: [rmse, mae, gap_recovery] }
"#;

fn no_env(_: &str) -> Option<OsString> {
    None
}

/// A folder with manifests.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn load(&self, name: &str, sets: &[&str]) -> Result<Plan<String>, Diagnostics> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        super::load(&self.0.path().join(name), &sets, &no_env, &TestKinds)
    }

    /// The mistakes of a manifest, with the folder's path taken out.
    fn mistakes(&self, name: &str, sets: &[&str]) -> String {
        let text = self.load(name, sets).unwrap_err().render();
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// Plans a text.
pub(crate) fn load(text: &str, sets: &[&str]) -> Result<Plan<String>, Diagnostics> {
    Folder::new(&[("m.yaml", text)]).load("m.yaml", sets)
}

fn instance<'p>(plan: &'p Plan<String>, name: &str) -> &'p Instance<String> {
    plan.instances.iter().find(|instance| instance.name == name).unwrap()
}

fn setting(plan: &Plan<String>, name: &str, path: &str) -> String {
    instance(plan, name).settings.get(path).unwrap().to_string()
}

/// `port <- a, b` for each input.
fn inputs(plan: &Plan<String>, name: &str) -> Vec<String> {
    let line = |input: &Input| {
        let names: Vec<&str> = input.from.iter().map(|place| plan.instances[*place].name.as_str()).collect();
        format!("{} <- {}", input.port.0, names.join(" "))
    };
    instance(plan, name).inputs.iter().map(line).collect()
}

#[test]
fn the_documented_example_becomes_a_plan() {
    let plan = load(SPARSE, &[]).unwrap();
    let names: Vec<&str> = plan.instances.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ratings",
            "split",
            "teacher",
            "features",
            "student[genre=Western,method=scratch]",
            "student[genre=Western,method=label]",
            "student[genre=Western,method=talk]",
            "student[genre=Film-Noir,method=scratch]",
            "student[genre=Film-Noir,method=label]",
            "student[genre=Film-Noir,method=talk]",
            "scores",
        ]
    );
    assert_eq!(inputs(&plan, "split"), ["rows <- ratings"]);
    assert_eq!(inputs(&plan, "teacher"), ["rows <- split", "ratings <- ratings"]);
    let talk = "student[genre=Western,method=talk]";
    assert_eq!(inputs(&plan, talk), ["rows <- split", "ratings <- ratings", "teacher <- teacher", "features <- features"]);
    // What a method does not use is no input.
    assert_eq!(inputs(&plan, "student[genre=Western,method=scratch]"), ["rows <- split", "ratings <- ratings"]);
    assert_eq!(setting(&plan, talk, "method.talk.rounds"), "1");
    assert_eq!(setting(&plan, talk, "where.genre"), "\"Western\"");
    let talk = instance(&plan, talk);
    assert_eq!(talk.resources, Resources { cores: Some(1), memory: Some(2 << 30) });
    assert_eq!(talk.timeout, Some(Duration::from_secs(600)));
    assert_eq!(talk.description.as_deref(), Some("a student for Western by talk"));
    assert_eq!(plan.name, "movielens-sparse");
}

#[test]
fn the_mistakes_of_each_bad_manifest_are_as_recorded() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut files: Vec<_> = fs::read_dir("tests/bad").unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    settings.bind(|| {
        for path in files {
            let result = super::load(&path, &[], &no_env, &TestKinds);
            let text = result.map_or_else(|mistakes| mistakes.render(), |_| "no mistakes".to_owned());
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), text);
        }
    });
}

/// What `SPARSE` starts with, up to its parameters.
fn small(params: &str, stages: &str) -> String {
    let params = if params.is_empty() { String::new() } else { format!("params: {params}\n") };
    format!("talkflow: 1\n{params}stages:\n  ratings:\n    dataset: {{ name: movielens/100k }}\n{stages}")
}

/// Settings of every instance, as a key would see them.
fn canonical(plan: &Plan<String>) -> Vec<(String, Vec<String>)> {
    let lines = |instance: &Instance<String>| {
        instance.settings.canonical().map(|(path, value)| format!("{path} {value}")).collect::<Vec<_>>()
    };
    plan.instances.iter().map(|instance| (instance.name.clone(), lines(instance))).collect()
}

#[test]
fn comments_and_the_order_of_keys_change_nothing() {
    let text = "# a comment\n".to_owned()
        + &SPARSE
            .replace("{ rounds: 1, weights: { interact: 0.1 } }", "\n    weights: {interact: 0.10} # here\n    rounds: 1")
            .replace("{ embedding: 8, hidden: [32, 16] }", "{ hidden: [ 32,16 ], embedding: 8 }")
            .replace("epochs: 30, patience: 3", "patience: 3, epochs: 30");
    assert_eq!(canonical(&load(&text, &[]).unwrap()), canonical(&load(SPARSE, &[]).unwrap()));
}

#[test]
fn what_is_written_and_what_is_the_default_are_one_setting() {
    let text = SPARSE.replace("part: test,", "").replace("[rmse, mae, gap_recovery]", "[rmse]");
    let plan = load(&text, &[]).unwrap();
    let same = load(&text.replace(", metrics: [rmse]", ", part: validation"), &[]).unwrap();
    assert_eq!(canonical(&plan), canonical(&same));
}

#[test]
fn set_changes_one_parameter_and_what_takes_it() {
    let plain = load(SPARSE, &[]).unwrap();
    let plan = load(SPARSE, &["talk.weights.interact=0.3", "seed=7"]).unwrap();
    let talk = "student[genre=Western,method=talk]";
    assert_eq!(setting(&plan, talk, "method.talk.weights.interact"), "0.3");
    assert_eq!(setting(&plan, talk, "seed"), "7");
    let changed: Vec<String> = (canonical(&load(SPARSE, &["talk.weights.interact=0.3"]).unwrap()).into_iter())
        .zip(canonical(&plain))
        .filter(|(new, old)| new != old)
        .map(|((name, _), _)| name)
        .collect();
    assert_eq!(changed, ["student[genre=Western,method=talk]", "student[genre=Film-Noir,method=talk]"]);
}

#[test]
fn set_takes_any_yaml_and_the_last_one_wins() {
    let plan = load(SPARSE, &["genres=[Drama]", "talk={rounds: 2}", "talk={rounds: 3}"]).unwrap();
    assert_eq!(plan.instances.len(), 8);
    let talk = "student[genre=Drama,method=talk]";
    assert_eq!(setting(&plan, talk, "method.talk.rounds"), "3");
    // A mapping merges: what it does not name stays.
    assert_eq!(setting(&plan, talk, "method.talk.weights.interact"), "0.1");
}

#[test]
fn set_of_what_is_no_parameter_is_a_mistake() {
    let folder = Folder::new(&[("m.yaml", SPARSE)]);
    let sets = ["sede=1", "talk.round=2", "talk.weights.interact.x=1", "seed", "genres=[", "other=1", "talk.message=3"];
    insta::assert_snapshot!(folder.mistakes("m.yaml", &sets));
    let none = Folder::new(&[("m.yaml", &small("", ""))]);
    insta::assert_snapshot!(none.mistakes("m.yaml", &["seed=1"]));
}

#[test]
fn a_wrong_value_that_was_typed_is_shown_as_typed() {
    let folder = Folder::new(&[("m.yaml", SPARSE)]);
    insta::assert_snapshot!(folder.mistakes("m.yaml", &["seed=one", "talk.rounds=9"]));
}

#[test]
fn interpolation_keeps_types_and_formats_text() {
    let params = r#"{ n: 3, r: 1e-5, half: 0.5, b: false, a: { x: "${a.y}", y: "${n}" }, name: "movielens/${size}", size: 100k, all: "${a}" }"#;
    let stages = r#"
  split:
    description: "n=${n} r=${r} b=${b} $${n} $5 ${a.x}"
    split: { rows: ratings, seed: "${all.x}", fractions: { train: "${half}", validation: "${half}", test: 0 } }
  teacher:
    pretrain: { rows: split, model: mf, shuffle: "${b}", optimizer: { adam: { rate: "${r}" } } }
  more:
    dataset: { name: "${name}" }
"#;
    let plan = load(&small(params, stages), &[]).unwrap();
    assert_eq!(instance(&plan, "split").description.as_deref(), Some("n=3 r=1e-5 b=false ${n} $5 3"));
    assert_eq!(setting(&plan, "split", "seed"), "3");
    assert_eq!(setting(&plan, "teacher", "optimizer.adam.rate"), "1e-5");
    assert_eq!(setting(&plan, "teacher", "shuffle"), "false");
    assert_eq!(setting(&plan, "more", "name"), "movielens/100k");
}

#[test]
fn an_environment_variable_is_what_the_field_needs_and_part_of_the_key() {
    let text = small(
        "",
        "  split:\n    split: { rows: ratings, seed: \"${env.SEED}\", fractions: { train: 1, validation: 0, test: 0 } }\n  more:\n    dataset: { name: \"movielens/${env.SIZE}\" }\n",
    );
    let folder = Folder::new(&[("m.yaml", &text)]);
    let env = |name: &str| match name {
        "SEED" => Some(OsString::from("17")),
        "SIZE" => Some(OsString::from("100k")),
        _ => None,
    };
    let plan = super::load(&folder.0.path().join("m.yaml"), &[], &env, &TestKinds).unwrap();
    assert_eq!(setting(&plan, "split", "seed"), "17");
    assert_eq!(setting(&plan, "more", "name"), "movielens/100k");
    let bad = |_: &str| Some(OsString::from("seven"));
    let mistakes = super::load(&folder.0.path().join("m.yaml"), &[], &bad, &TestKinds).unwrap_err().render();
    assert!(mistakes.contains("environment variable `SEED`"), "{mistakes}");
}

#[test]
fn a_matrix_excludes_and_includes() {
    let stages = r#"
  split:
    matrix:
      seed: [1, 2, 3]
      part: { half: 0.5, most: 0.75 }
      exclude:
        - { seed: 1 }
        - { seed: 2, part: half }
      include:
        - { seed: 3, rest: 0.125 }
        - { seed: 2, rest: 0.25 }
        - { seed: 9, part: all, rest: 0.0 }
    split: { rows: ratings, seed: "${matrix.seed}", fractions: { train: "${matrix.part}", validation: "${matrix.rest}", test: 0.0 } }
"#;
    let text = small("", stages).replace("part: all", "part: most");
    let mistakes = load(&text, &[]).unwrap_err().render();
    // 0.5 + 0.125 and 0.75 + 0.125 do not add up; that the values arrived is what counts here.
    assert!(mistakes.contains("the fractions add up to 0.625"), "{mistakes}");
    assert!(mistakes.contains("the fractions add up to 0.875"), "{mistakes}");
    let text = text.replace("0.125", "0.25").replace("half: 0.5", "half: 0.75").replace("rest: 0.0", "rest: 0.25");
    let plan = load(&text, &[]).unwrap();
    let names: Vec<&str> = plan.instances.iter().skip(1).map(|instance| instance.name.as_str()).collect();
    assert_eq!(
        names,
        ["split[seed=2,part=most]", "split[seed=3,part=half]", "split[seed=3,part=most]", "split[seed=9,part=most]"]
    );
    assert_eq!(setting(&plan, "split[seed=9,part=most]", "fractions.validation"), "0.25");
}

#[test]
fn a_matrix_may_be_a_list_of_its_instances() {
    let stages = r#"
  split:
    matrix: { include: [{ seed: 1, train: 0.5 }, { train: 0.75, seed: 2 }] }
    split: { rows: ratings, seed: "${matrix.seed}", fractions: { train: "${matrix.train}", validation: 0, test: 0 } }
"#;
    let mistakes = load(&small("", stages), &[]).unwrap_err();
    assert_eq!(mistakes.list().len(), 2, "{}", mistakes.render());
    let plan = load(&small("", &stages.replace("0.5", "1").replace("0.75", "1.0")), &[]).unwrap();
    let names: Vec<&str> = plan.instances.iter().skip(1).map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["split[seed=1,train=1]", "split[seed=2,train=1.0]"]);
}

#[test]
fn references_select_by_the_matrix_of_who_asks() {
    let stages = r#"
  split:
    matrix: { seed: [1, 2], kind: [a, b] }
    split: { rows: ratings, seed: "${matrix.seed}", fractions: { train: 1, validation: 0, test: 0 } }
  teacher:
    matrix: { seed: [1, 2] }
    pretrain: { rows: "split[kind=b, seed=${matrix.seed}]", model: mf }
  scores:
    evaluate: { models: ["teacher[seed=2]", "teacher[seed=1]"], rows: "split[seed=1,kind=a]" }
"#;
    let plan = load(&small("", stages), &[]).unwrap();
    assert_eq!(inputs(&plan, "teacher[seed=2]"), ["rows <- split[seed=2,kind=b]", "ratings <- ratings"]);
    assert_eq!(inputs(&plan, "scores")[0], "models <- teacher[seed=2] teacher[seed=1]");
    // Who asks for the labels of its inputs has them in its key, in the order of the inputs.
    assert_eq!(setting(&plan, "scores", "models.labels"), "[\"seed=2\", \"seed=1\"]");
}

#[test]
fn stages_may_stand_in_any_order() {
    let mut lines: Vec<&str> = SPARSE.split("\n  ").collect();
    let text = lines.join("\n  ");
    assert_eq!(text, SPARSE);
    lines.clear();
    let at = SPARSE.find("  scores:").unwrap();
    let (rest, scores) = SPARSE.split_at(at);
    let stages = rest.find("  ratings:").unwrap();
    let text = format!("{}{}{}", &rest[..stages], scores, &rest[stages..]);
    let plan = load(&text, &[]).unwrap();
    assert_eq!(plan.instances.last().unwrap().name, "scores");
    assert_eq!(plan.instances.len(), 11);
}

#[test]
fn extends_merges_replaces_and_deletes() {
    let child = r#"
talkflow: 1
extends: base/sparse.yaml
name: child
params: { seed: 2, genres: [Drama] }
stages:
  teacher:
    pretrain:
      optimizer: { sgd: { momentum: 0.5 } }
      stop: { epochs: 5 }
      model: { ncf: { hidden: [16] } }
  student:
    matrix: { method: { label: null, scratch: bias_only } }
    timeout: null
  mine:
    dataset: { name: movielens/100k, titles: titles.csv }
"#;
    let base = SPARSE.replace("otherwise: movielens/synthetic", "otherwise: movielens/synthetic, titles: ../data/titles.csv");
    let folder = Folder::new(&[("m.yaml", child)]);
    fs::create_dir(folder.0.path().join("base")).unwrap();
    fs::write(folder.0.path().join("base/sparse.yaml"), base).unwrap();
    let plan = folder.load("m.yaml", &[]).unwrap();
    assert_eq!(plan.name, "child");
    let names: Vec<&str> = plan.instances.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ratings",
            "split",
            "teacher",
            "features",
            "student[genre=Drama,method=scratch]",
            "student[genre=Drama,method=talk]",
            "scores",
            "mine",
        ]
    );
    let teacher = |path| setting(&plan, "teacher", path);
    // A mapping merges, a list replaces, a tagged choice replaces.
    assert_eq!(teacher("stop.epochs"), "5");
    assert_eq!(teacher("stop.patience"), "3");
    assert_eq!(teacher("model.ncf.embedding"), "64");
    assert_eq!(teacher("model.ncf.hidden"), "[16]");
    assert_eq!(teacher("optimizer"), "sgd");
    assert_eq!(teacher("optimizer.sgd.rate"), "0.001");
    assert_eq!(instance(&plan, "teacher").settings.get("optimizer.adam.rate"), None);
    assert_eq!(setting(&plan, "split", "seed"), "2");
    assert_eq!(setting(&plan, "student[genre=Drama,method=scratch]", "method"), "bias_only");
    assert_eq!(instance(&plan, names[4]).timeout, None);
    // Paths are relative to the file they stand in.
    let file = |name: &str| instance(&plan, name).files[0].path.strip_prefix(folder.0.path()).unwrap().to_owned();
    assert_eq!(file("mine"), Path::new("titles.csv"));
    assert_eq!(file("ratings"), Path::new("base/../data/titles.csv"));
}

#[test]
fn the_kind_of_a_stage_is_a_choice_that_an_extending_manifest_replaces() {
    let base = small("", "  model:\n    split: { rows: ratings }\n");
    let child = "talkflow: 1\nextends: base.yaml\nstages:\n  model:\n    dataset: { name: movielens/synthetic }\n";
    let plan = Folder::new(&[("base.yaml", &base), ("m.yaml", child)]).load("m.yaml", &[]).unwrap();
    assert_eq!(instance(&plan, "model").kind, "dataset");
}

#[test]
fn every_effective_value_is_shown_with_where_it_came_from() {
    let folder = Folder::new(&[("m.yaml", SPARSE)]);
    let plan = folder.load("m.yaml", &["talk.rounds=2"]).unwrap();
    let all: Vec<String> = (plan.resolved().iter())
        .filter(|resolved| resolved.name.contains("Western") || !resolved.name.contains("genre"))
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(all.concat().replace(&format!("{}/", folder.0.path().display()), ""));
}

#[test]
fn bombs_end_in_an_error() {
    use std::fmt::Write;
    // Aliases: ten to the ninth.
    let mut text = "talkflow: 1\nparams:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let alias = format!("*a{}", n - 1);
        writeln!(text, "  a{n}: &a{n} [{}]", [alias.as_str(); 10].join(", ")).unwrap();
    }
    let mistakes = load(&text, &[]).unwrap_err().render();
    assert!(mistakes.contains("unfolds to more than"), "{mistakes}");
    // Parameters: lists of lists are shared, and texts have an end.
    let mut params = "\n  a0: [x, x]\n  t0: 0123456789".to_owned();
    for n in 1..60 {
        write!(params, "\n  a{n}: [\"${{a{0}}}\", \"${{a{0}}}\"]\n  t{n}: \"${{t{0}}}${{t{0}}}\"", n - 1).unwrap();
    }
    let text = small(&params, "  bomb:\n    description: \"${t59}\"\n    split: { rows: ratings, seed: \"${a59}\" }\n");
    let mistakes = load(&text, &[]).unwrap_err().render();
    assert!(mistakes.contains("this text becomes longer than"), "{mistakes}");
    // Parameters that ask for each other in a long row.
    let mut params = "\n  a0: 1".to_owned();
    for n in 1..5000 {
        write!(params, "\n  a{n}: \"${{a{}}}\"", 5000 - n).unwrap();
    }
    let chain: String = (1..5000).map(|n| format!("\n  c{n}: \"${{c{}}}\"", n + 1)).collect();
    let text = small(&format!("{chain}\n  c5000: 1"), "  b:\n    split: { rows: ratings, seed: \"${c1}\" }\n");
    let mistakes = load(&text, &[]).unwrap_err().render();
    assert!(mistakes.contains("refer to each other in a row"), "{mistakes}");
    // Combinations: ten to the eighth.
    let axes: Vec<String> = (0..8).map(|n| format!("a{n}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]")).collect();
    let text = small("", &format!("  bomb:\n    matrix: {{ {} }}\n    dataset: {{ name: movielens/100k }}\n", axes.join(", ")));
    let mistakes = load(&text, &[]).unwrap_err().render();
    assert!(mistakes.contains("more than 100000 instances"), "{mistakes}");
    // Depth.
    let text = format!("talkflow: 1\nparams: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(load(&text, &[]).unwrap_err().render().contains("not YAML"));
    // Size: the text is not even read to its end.
    let text = format!("talkflow: 1\n# {}\n", "x".repeat(50_000_000));
    let mistakes = load(&text, &[]).unwrap_err().render();
    assert!(mistakes.contains("larger than 8 MiB"), "{mistakes}");
}

#[test]
fn ten_thousand_stages_are_planned() {
    use std::fmt::Write;
    let mut stages = "  split:\n    split: { rows: ratings, fractions: { train: 0.8, validation: 0.1, test: 0.1 } }\n".to_owned();
    stages.push_str("  s0:\n    pretrain: { rows: split, model: mf }\n");
    for n in 1..10_000 {
        writeln!(stages, "  s{n}:\n    distill: {{ rows: split, method: label, teacher: s{}, model: mf, seed: {n} }}", n - 1)
            .unwrap();
    }
    let plan = load(&small("", &stages), &[]).unwrap();
    assert_eq!(plan.instances.len(), 10_002);
    assert_eq!(plan.instances[10_001].inputs[2].from, [10_000]);
}
