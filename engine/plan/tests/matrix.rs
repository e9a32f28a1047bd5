//! Matrices, and references that select from them.

use super::*;

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
}
