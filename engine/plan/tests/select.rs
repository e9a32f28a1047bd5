//! Which instances `stages`, `from`, `until` and `force` leave together.

use super::*;

const MANIFEST: &str = r#"
talkflow: 1
stages:
  ratings:
    dataset: { name: movielens/100k }
  split:
    split: { rows: ratings, fractions: { train: 0.8, validation: 0.1, test: 0.1 } }
  teacher:
    pretrain: { rows: split, model: { ncf: { embedding: 8, hidden: [8, 8] } } }
  features:
    cache_features: { teacher: teacher, rows: split, taps: [low] }
  student:
    matrix: { genre: [Western, Drama] }
    distill:
      rows: split
      where: { genre: "${matrix.genre}" }
      teacher: teacher
      features: features
      model: { ncf: { embedding: 8, hidden: [8, 8] } }
      method: { talk: { rounds: 1, weights: { interact: 0.1 } } }
  scores:
    evaluate: { models: "student[genre=Drama]", rows: split, metrics: [rmse] }
"#;

/// The names that are left, and those of them that are forced.
fn chosen(stages: &[&str], from: &[&str], until: &[&str], force: &[&str]) -> Result<(String, String), String> {
    let plan = load(MANIFEST, &[]).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()));
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let (stages, from, until, force) = (owned(stages), owned(from), owned(until), owned(force));
    let chosen = plan.choose(&Wish { stages: &stages, from: &from, until: &until, force: &force })?;
    let names = |marks: Vec<bool>| {
        let name = |(instance, mark): (&Instance<String>, bool)| {
            mark.then(|| instance.name.replace("student[genre=Western]", "western").replace("student[genre=Drama]", "drama"))
        };
        plan.instances.iter().zip(marks).filter_map(name).collect::<Vec<_>>().join(" ")
    };
    Ok((names(chosen.wanted), names(chosen.forced)))
}

fn wanted(stages: &[&str], from: &[&str], until: &[&str]) -> String {
    chosen(stages, from, until, &[]).unwrap().0
}

#[test]
fn stages_and_until_bring_what_they_depend_on_and_nothing_after() {
    let all = "ratings split teacher features western drama scores";
    assert_eq!(wanted(&[], &[], &[]), all);
    assert_eq!(wanted(&["teacher"], &[], &[]), "ratings split teacher");
    assert_eq!(wanted(&[], &[], &["teacher"]), "ratings split teacher");
    assert_eq!(wanted(&["split", "*[genre=D*]"], &[], &[]), "ratings split teacher features drama");
    // Both: what leads to the one and to the other.
    assert_eq!(wanted(&["scores"], &[], &["student"]), "ratings split teacher features drama");
    assert_eq!(wanted(&["teacher"], &[], &["scores"]), "ratings split teacher");
}

#[test]
fn from_leaves_what_follows_and_what_that_needs() {
    // `western` needs the features, and follows nothing that was named: it is left out.
    assert_eq!(wanted(&[], &["student[genre=Drama]"], &[]), "ratings split teacher features drama scores");
    assert_eq!(wanted(&[], &["features"], &["student"]), "ratings split teacher features western drama");
    assert_eq!(wanted(&["scores"], &["teacher"], &[]), "ratings split teacher features drama scores");
    assert_eq!(wanted(&[], &["split", "scores"], &["teacher", "scores"]), "ratings split teacher features drama scores");
}

#[test]
fn forced_are_those_that_run_at_all() {
    let forced = |stages: &[&str], force: &[&str]| chosen(stages, &[], &[], force).map(|(_, forced)| forced);
    assert_eq!(forced(&[], &["t*", "student"]).as_deref(), Ok("teacher western drama"));
    assert_eq!(forced(&["scores"], &["student"]).as_deref(), Ok("drama"));
    let error = forced(&["split"], &["student"]).unwrap_err();
    assert!(error.starts_with("--force student: it is not among the stages to run"), "{error}");
    let error = chosen(&["split"], &["scores"], &[], &[]).unwrap_err();
    assert!(error.starts_with("--from scores: it is not among the stages to run"), "{error}");
    assert!(chosen(&[], &[], &["techer"], &[]).unwrap_err().contains("did you mean `teacher`?"));
}
