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
fn a_named_value_takes_what_its_instance_has_on_other_axes() {
    let stages = r#"
  split:
    matrix:
      part:
        even: { train: "${matrix.train}", validation: "${matrix.rest.half}", test: "${matrix.rest.half}" }
        most: { train: 1.0, validation: 0.0, test: 0.0 }
        text: { train: 1.0, validation: 0.0, test: "${zero}" }
      train: [0.5]
      rest: { a: { half: 0.25 } }
    split: { rows: ratings, fractions: "${matrix.part}" }
"#;
    let plan = load(&small("{ zero: 0.0 }", stages), &[]).unwrap();
    let names: Vec<&str> = plan.instances.iter().skip(1).map(|instance| instance.name.as_str()).collect();
    assert_eq!(
        names,
        ["split[part=even,train=0.5,rest=a]", "split[part=most,train=0.5,rest=a]", "split[part=text,train=0.5,rest=a]"]
    );
    assert_eq!(setting(&plan, names[0], "fractions.train"), "0.5");
    assert_eq!(setting(&plan, names[0], "fractions.test"), "0.25");
    assert_eq!(setting(&plan, names[1], "fractions.train"), "1.0");
    assert_eq!(setting(&plan, names[2], "fractions.test"), "0.0");
    // Said once, although both instances have it.
    let wrong = |from: &str, to: &str| load(&small("{ zero: 0.0 }", &stages.replace(from, to)), &[]).unwrap_err();
    let none = wrong("matrix.train}", "matrix.trian}");
    assert_eq!(none.list().len(), 1, "{}", none.render());
    assert!(none.render().contains("has no `trian`") && none.render().contains("`train`"), "{}", none.render());
    let each_other = wrong("[0.5]", "{ x: \"${matrix.part.train}\" }").render();
    assert!(each_other.contains("is made of other axes' values itself"), "{each_other}");
}

#[test]
fn a_list_among_the_values_of_an_axis_stands_for_its_own() {
    let stages = r#"
  split:
    matrix: { seed: ["${seeds}", "${seed}", 101] }
    split: { rows: ratings, seed: "${matrix.seed}", fractions: { train: 1, validation: 0, test: 0 } }
"#;
    let plan = load(&small("{ seeds: [1, 2], seed: 7 }", stages), &[]).unwrap();
    let names: Vec<&str> = plan.instances.iter().skip(1).map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["split[seed=1]", "split[seed=2]", "split[seed=7]", "split[seed=101]"]);
    let twice = load(&small("{ seeds: [1, 101], seed: 7 }", stages), &[]).unwrap_err().render();
    assert!(twice.contains("axis `seed` has the value `101` twice"), "{twice}");
    let deeper = load(&small("{ seeds: [[1], 2], seed: 7 }", stages), &[]).unwrap_err().render();
    assert!(deeper.contains("a value that is a list needs a name"), "{deeper}");
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
