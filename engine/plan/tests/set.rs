//! `--set`.

use super::*;

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
