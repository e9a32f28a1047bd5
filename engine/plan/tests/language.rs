//! `${...}`: types, text, the environment.

use super::*;

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
    let lines: Vec<String> = plan.resolution().params.iter().map(|line| format!("{} {}", line.path, line.value)).collect();
    assert_eq!(lines[..5], ["n 3", "r 1e-5", "half 0.5", "b false", "a.x 3"]);
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
    let plan = crate::plan::load(&folder.0.path().join("m.yaml"), &[], &env, &TestKinds).unwrap();
    assert_eq!(setting(&plan, "split", "seed"), "17");
    assert_eq!(setting(&plan, "more", "name"), "movielens/100k");
    let bad = |_: &str| Some(OsString::from("seven"));
    let mistakes = crate::plan::load(&folder.0.path().join("m.yaml"), &[], &bad, &TestKinds).unwrap_err().render();
    assert!(mistakes.contains("environment variable `SEED`"), "{mistakes}");
}
