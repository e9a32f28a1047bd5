//! Points of a sweep, planned together.

use std::path::Path;

use super::*;

fn sweep_of(folder: &Folder, name: &str, sets: &[&str]) -> Result<Union<String>, Diagnostics> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load_sweep(&folder.0.path().join(name), &sets, &no_env, &TestKinds, Path::new("none"))
}

fn sweep(text: &str, sets: &[&str]) -> Union<String> {
    sweep_of(&Folder::new(&[("m.yaml", text)]), "m.yaml", sets).unwrap_or_else(|mistakes| panic!("{}", mistakes.render()))
}

fn wrong(text: &str, sets: &[&str]) -> String {
    let folder = Folder::new(&[("m.yaml", text)]);
    let text = sweep_of(&folder, "m.yaml", sets).unwrap_err().render();
    text.replace(&format!("{}/", folder.0.path().display()), "")
}

fn with(section: &str) -> String {
    SPARSE.replace("stages:\n", &format!("sweep: {section}\nstages:\n"))
}

fn names(union: &Union<String>) -> Vec<&str> {
    union.plan.instances.iter().map(|instance| instance.name.as_str()).collect()
}

fn points(union: &Union<String>) -> Vec<String> {
    (0..union.space.points.len()).map(|point| union.space.name(point)).collect()
}

/// Each point, planned alone with its parameters typed, is what it is in the union.
fn is_each_point_alone(text: &str, union: &Union<String>) {
    for (point, needs) in union.needs.iter().enumerate() {
        let given = union.space.params.iter().zip(&union.space.points[point].0).filter(|(_, given)| given.set);
        let sets: Vec<String> = given.map(|(param, given)| format!("{}={}", param.path, space::json(&given.node))).collect();
        let alone = load(text, &sets.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!(alone.instances.len(), needs.len());
        let plain = |name: &str| name.split('@').next().unwrap().to_owned();
        let own = |plan: &Plan<String>, places: &mut dyn Iterator<Item = usize>| {
            let one = |place: usize| {
                let instance = &plan.instances[place];
                let settings: Vec<String> =
                    instance.settings.canonical().map(|(path, value)| format!("{path} {value}")).collect();
                let inputs: Vec<String> = inputs(plan, &instance.name)
                    .iter()
                    .map(|input| input.split(' ').map(plain).collect::<Vec<_>>().join(" "))
                    .collect();
                (plain(&instance.name), settings, inputs)
            };
            let mut all: Vec<_> = places.map(one).collect();
            all.sort();
            all
        };
        assert_eq!(own(&alone, &mut (0..alone.instances.len())), own(&union.plan, &mut needs.iter().copied()), "point {point}");
        // And what one reads stands before it.
        for place in needs {
            assert!(union.plan.instances[*place].reads().all(|from| from < *place && needs.contains(&from)));
        }
    }
}

#[test]
fn what_points_have_in_common_stands_once_and_the_rest_is_named_by_what_it_depends_on() {
    let union = sweep(&with("{ grid: { talk.rounds: [1, 2] }, seeds: [1, 2] }"), &[]);
    assert_eq!(points(&union), ["talk.rounds=1,seed=1", "talk.rounds=1,seed=2", "talk.rounds=2,seed=1", "talk.rounds=2,seed=2"]);
    insta::assert_snapshot!(names(&union).join("\n"));
    assert_eq!((union.plan.name.as_str(), union.manifest.as_str()), ("movielens-sparse.sweep", "movielens-sparse"));
    is_each_point_alone(SPARSE, &union);
    // Of the parameters, those are kept that are the same for all points.
    let params: Vec<&str> = union.plan.params.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(params, ["dataset", "genres"]);
}

#[test]
fn every_form_makes_its_points_and_shares_what_it_can() {
    let cases = [
        ("{ zip: { talk.rounds: [1, 2, 3], talk.weights.interact: [0.3, 0.2, 0.1] } }", 3),
        ("{ list: [{ seed: 4 }, { talk.rounds: 3, seed: 5 }, { talk.rounds: 2 }] }", 3),
        (
            "{ grid: { talk: { usual: { rounds: 1 }, long: { rounds: 3, weights: { interact: 1 } } }, genres: [[Drama], [Drama, Western]] } }",
            4,
        ),
        (
            "{ random: { points: 7, seed: 3, space: { talk.weights.interact: { log_uniform: [1e-3, 1] }, talk.rounds: { integers: [1, 3] }, seed: { choice: [5, 6] } } } }",
            7,
        ),
        ("{ seeds: 3 }", 3),
        ("{ seeds: { param: talk.rounds, values: \"${counts}\" } }", 2),
    ];
    let text = SPARSE.replace("  seed: 1\n", "  seed: 1\n  counts: [1, 2]\n");
    for (section, count) in cases {
        // What is swept may be the only use of a parameter.
        let (text, section) = if section.contains("counts") { (text.as_str(), section) } else { (SPARSE, section) };
        let whole = text.replace("stages:\n", &format!("sweep: {section}\nstages:\n"));
        let union = sweep(&whole, &[]);
        assert_eq!(union.needs.len(), count, "{section}");
        let mut distinct = names(&union);
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), union.plan.instances.len(), "{section}: names are distinct");
        assert!(union.plan.instances.len() < union.needs.iter().map(Vec::len).sum(), "{section}: something is shared");
        is_each_point_alone(&whole, &union);
    }
}

#[test]
fn names_hold_only_what_an_instance_depends_on() {
    // Each point has its own weight, so every value is there once; the teacher does not depend on it, nor does a student from scratch.
    let union = sweep(&with("{ zip: { talk.weights.interact: [0.3, 0.2], seed: [1, 2] } }"), &[]);
    let names = names(&union);
    for name in [
        "ratings",
        "teacher@seed=1",
        "student[genre=Western,method=talk]@talk.weights.interact=0.3,seed=1",
        "scores@talk.weights.interact=0.2,seed=2",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let methods = with("{ grid: { method: { none: scratch, some: { talk: \"${talk}\" } }, talk.rounds: [1, 2] } }")
        .replace("  seed: 1\n", "  seed: 1\n  method: scratch\n")
        .replace("      method:\n        scratch: scratch\n        label: { label: { weight: 0.5 } }\n        talk: { talk: \"${talk}\" }\n", "")
        .replace("${matrix.method}", "${method}")
        .replace("by ${method}", "by a method");
    let union = sweep(&methods, &[]);
    let students: Vec<&str> = self::names(&union).into_iter().filter(|name| name.starts_with("student[genre=Western]")).collect();
    let student = "student[genre=Western]@method";
    // From scratch it is the same for all rounds.
    assert_eq!(
        students,
        [format!("{student}=none"), format!("{student}=some,talk.rounds=1"), format!("{student}=some,talk.rounds=2")]
    );
}

#[test]
fn what_a_matrix_says_already_is_not_said_again() {
    let seeds = with("{ grid: { talk.rounds: [1, 2] }, seeds: 2 }")
        .replace("  seed: 1\n", "  seed: 1\n  seeds: [\"${seed}\"]\n")
        .replace("      genre: \"${genres}\"\n", "      seed: \"${seeds}\"\n");
    let seeds = seeds.replace("  genres: [Western, Film-Noir]\n", "").replace("${matrix.genre}", "Western");
    let union = sweep(&seeds, &[]);
    let students: Vec<&str> = names(&union).into_iter().filter(|name| name.starts_with("student[seed=2")).collect();
    let talk = "student[seed=2,method=talk]@talk.rounds";
    assert_eq!(
        students,
        ["student[seed=2,method=scratch]", "student[seed=2,method=label]", &format!("{talk}=1"), &format!("{talk}=2")]
    );
}

#[test]
fn values_can_be_typed_for_an_axis_and_a_manifest_needs_no_section() {
    let union = sweep(SPARSE, &["seed=1,2,3", "talk.rounds=2"]);
    assert_eq!(points(&union), ["seed=1", "seed=2", "seed=3"]);
    assert_eq!(setting(&union.plan, "student[genre=Western,method=talk]@seed=2", "method.talk.rounds"), "2");
    let section = with("{ grid: { talk.rounds: [1, 2, 3] }, seeds: 2 }");
    assert_eq!(points(&sweep(&section, &["talk.rounds=[0]"])), ["talk.rounds=0,seed=1", "talk.rounds=0,seed=2"]);
    assert_eq!(points(&sweep(&section, &["talk.rounds=0", "seed=7,8"])), ["talk.rounds=0,seed=7", "talk.rounds=0,seed=8"]);
    let union = sweep(&with("{ grid: { genres: [[Drama], [Comedy]] } }"), &["genres=[Drama, Comedy]"]);
    assert_eq!(points(&union), ["genres=Drama+Comedy"]);
    let union = sweep(SPARSE, &["genres=[[Drama, Western],[Comedy]]"]);
    assert_eq!(points(&union), ["genres=Drama+Western", "genres=Comedy"]);
    let union = sweep(SPARSE, &["genres=[Drama, Western],[Comedy]", "dataset=\"movielens/100k\",'movielens/synthetic'"]);
    assert_eq!(points(&union).len(), 4);
    // A parameter that is a list takes a list as one value, as it does for a plain run.
    let union = sweep(SPARSE, &["genres=[Comedy, Drama]", "seed=1,2"]);
    assert_eq!(points(&union), ["seed=1", "seed=2"]);
    assert!(names(&union).contains(&"student[genre=Comedy,method=scratch]@seed=1"));
    // Between quotes and brackets a comma is part of the value: this is one value, and a parameter as usual.
    assert!(wrong(SPARSE, &["dataset=\"a,b\""]).contains("there is nothing to sweep over"));
    assert_eq!(points(&sweep(SPARSE, &["seed=1,2", "seed=3,4"])), ["seed=3", "seed=4"]);
    is_each_point_alone(SPARSE, &sweep(SPARSE, &["seed=1,2,3"]));
}

#[test]
fn an_extending_manifest_changes_the_sweep() {
    let base = with("{ grid: { talk.rounds: [1, 2], seed: [1, 2] } }");
    let head = "talkflow: 1\nextends: base.yaml\n";
    let of = |section: &str| {
        let folder = Folder::new(&[("base.yaml", &base), ("m.yaml", &format!("{head}{section}\n"))]);
        sweep_of(&folder, "m.yaml", &[]).map(|union| points(&union)).map_err(|mistakes| mistakes.render())
    };
    assert_eq!(of("").map(|points| points.len()), Ok(4));
    assert_eq!(
        of("sweep: { grid: { seed: [5] } }"),
        Ok(vec!["talk.rounds=1,seed=5".to_owned(), "talk.rounds=2,seed=5".to_owned()])
    );
    assert_eq!(of("sweep: { grid: { seed: null, talk.rounds: [3] } }"), Ok(vec!["talk.rounds=3".to_owned()]));
    assert_eq!(of("sweep: { zip: { seed: [5, 6] } }"), Ok(vec!["seed=5".to_owned(), "seed=6".to_owned()]));
    assert!(of("sweep: null").is_err_and(|text| text.contains("there is nothing to sweep over")));
    // A manifest that a plain run takes may extend one with a sweep.
    assert!(load(&base, &[]).is_ok());
}

#[test]
fn mistakes_of_points_are_told_with_the_point_and_those_of_all_once() {
    insta::assert_snapshot!(wrong(&with("{ grid: { talk.rounds: [1, -2, two] }, seeds: [1, x] }"), &[]));
    let both = with("{ grid: { rounds: [1, 2] } }").replace("stop: {", "stpo: {");
    let text = wrong(&both, &["seed", "sede=1,2", "talk.rounds=1,,2"]);
    insta::assert_snapshot!(text);
}

#[test]
fn what_has_to_be_one_for_all_points_is_told() {
    let pools = with("{ seeds: 2 }")
        .replace("params:\n", "pools: { api: \"${seed}\" }\nparams:\n")
        .replace("name: movielens-sparse", "name: \"m-${seed}\"");
    insta::assert_snapshot!(wrong(&pools, &[]));
}

#[test]
fn random_points_are_the_same_for_the_same_seed_and_do_not_depend_on_each_other() {
    let section = |points: usize, seed: u64, more: &str| {
        with(&format!(
            "{{ random: {{ points: {points}, seed: {seed}, space: {{ talk.weights.interact: {{ log_uniform: [1e-4, 1e-1] }}{more} }} }} }}"
        ))
    };
    let weights = |text: &str| -> Vec<String> {
        points(&sweep(text, &[])).iter().map(|name| name.split(',').next().unwrap().to_owned()).collect()
    };
    let five = weights(&section(5, 7, ""));
    assert_eq!(five, weights(&section(5, 7, "")));
    // The very values: they are the same on every machine.
    insta::assert_debug_snapshot!(five);
    assert_ne!(five, weights(&section(5, 8, "")));
    assert_eq!(five, weights(&section(9, 7, ""))[..5]);
    assert_eq!(five, weights(&section(5, 7, ", talk.rounds: { integers: [0, 3] }")));
    // In a small space, what comes again is left out.
    let text = with("{ random: { points: 40, space: { talk.rounds: { choice: [1, 2, 3] } } } }");
    assert_eq!(sweep(&text, &[]).needs.len(), 3);
}

#[test]
fn points_are_chosen_by_value_and_by_number() {
    let union = sweep(&with("{ grid: { talk.rounds: [1, 2, 3] }, seeds: 3 }"), &[]);
    let pick = |typed: &str| {
        let marks = space::Only::parse(typed)?.pick(&union.space)?;
        Ok::<_, String>((0..marks.len()).filter(|at| marks[*at]).map(|at| at + 1).collect::<Vec<_>>())
    };
    assert_eq!(pick("talk.rounds=2"), Ok(vec![4, 5, 6]));
    assert_eq!(pick("talk.rounds=2..3, seed=1|3"), Ok(vec![4, 6, 7, 9]));
    assert_eq!(pick("talk.rounds=2.0,seed!=2"), Ok(vec![4, 6]));
    assert_eq!(pick("point=1|8..9"), Ok(vec![1, 8, 9]));
    assert_eq!(pick("talk.round=2").unwrap_err(), "--only talk.round=2: `talk.round` is not swept: did you mean `talk.rounds`?");
    assert_eq!(
        pick("seed=1,talk.rounds=4").unwrap_err(),
        "--only seed=1,talk.rounds=4: no point has `talk.rounds=4`: it is one of `1`, `2`, `3`"
    );
    assert!(pick("seed").unwrap_err().contains("write `param=value`"));
}

#[test]
fn a_sweep_of_thousands_of_points_is_planned_and_more_are_refused() {
    let union = sweep(&with("{ random: { points: 500, space: { talk.weights.interact: { uniform: [0, 1] } } }, seeds: 2 }"), &[]);
    assert_eq!(union.needs.len(), 1000);
    // Whatever a section holds, reading it ends soon.
    let many = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(", ");
    let same = many(40_000, &|n| (n % 20_000).to_string());
    assert!(wrong(&with(&format!("{{ grid: {{ seed: [{same}] }} }}")), &[]).contains("has this value twice"));
    let names = many(20_000, &|n| format!("p{n}: {{ uniform: [0, 1] }}"));
    let random = format!("{{ random: {{ points: 10000, space: {{ {names} }} }} }}");
    assert!(wrong(&with(&random), &[]).contains("`space` names more than 100 parameters"));
    let list = many(2_000, &|n| format!("{{ p{n}: 1 }}"));
    assert!(wrong(&with(&format!("{{ list: [{list}] }}")), &[]).contains("the points of `list` name more than 100 parameters"));
    assert!(
        wrong(&with(&format!("{{ list: [{}] }}", many(10_001, &|_| "{ seed: 1 }".to_owned()))), &[])
            .contains("more than 10000 points")
    );
    let unknown = many(20_000, &|n| format!("k{n}: 1"));
    assert!(wrong(&with(&format!("{{ {unknown} }}")), &[]).contains("unknown key `k0`"));
    assert!(wrong(&with("{ grid: { talk.rounds: [1, 2] }, seeds: 9000 }"), &[]).contains("more than 10000 points: 2 times 9000"));
}
