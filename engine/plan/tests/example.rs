//! The documented example, what is recorded of it, and the mistakes of each manifest in `tests/bad`.

use super::*;

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
    assert_eq!(talk.resources, Resources { cores: Some(1), memory: Some(2 << 30), ..Resources::default() });
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
            let result = crate::plan::load(&path, &[], &no_env, &TestKinds);
            let text = result.map_or_else(|mistakes| mistakes.render(), |_| "no mistakes".to_owned());
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), text);
        }
    });
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
fn every_effective_value_is_shown_with_where_it_came_from() {
    let folder = Folder::new(&[("m.yaml", SPARSE)]);
    let plan = folder.load("m.yaml", &["talk.rounds=2"]).unwrap();
    let all: Vec<String> = (plan.resolution().stages.iter())
        .filter(|resolved| resolved.name.contains("Western") || !resolved.name.contains("genre"))
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(all.concat().replace(&format!("{}/", folder.0.path().display()), ""));
}
