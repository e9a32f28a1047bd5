//! Manifests that are meant to hurt, and large ones that are not.

use super::*;

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
fn shared_parameters_are_shown_in_short() {
    use std::fmt::Write;
    let mut params = "\n  a0: [x, x]\n  m0: { k: 1 }".to_owned();
    for n in 1..60 {
        let last = n - 1;
        write!(params, "\n  a{n}: [\"${{a{last}}}\", \"${{a{last}}}\"]\n  m{n}: {{ k: \"${{m{last}}}\", l: \"${{m{last}}}\" }}")
            .unwrap();
    }
    let text = small(
        &params,
        "  more:\n    matrix: { a: { one: \"${a59}\" }, m: { one: \"${m59}\" } }\n    dataset: { name: movielens/100k }\n",
    );
    let plan = load(&text, &[]).unwrap();
    let lines = plan.resolution().params;
    assert_eq!(lines.len(), 10_000);
    assert!(lines.iter().all(|line| line.value.len() < 500));
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

/// Each of these would take minutes if every mistake were looked at with every other.
#[test]
fn thousands_of_mistakes_are_not_all_explored() {
    let many = |line: &dyn Fn(usize) -> String| (0..10_000).map(line).collect::<String>();
    let texts = [
        format!("talkflow: 1\n{}stages:\n", many(&|n| format!("stagse{n}: 1\n"))),
        small(
            &many(&|n| format!("\n  param{n}: \"${{lost{n}}}\"")),
            &many(&|n| format!("  s{n}:\n    dataset: {{ name: \"${{parma{n}}}\" }}\n")),
        ),
        small("", &many(&|n| format!("  stage{n}:\n    split: {{ rows: stgae{n} }}\n"))),
        small("", &format!("  one:\n{}    dataset:\n", many(&|n| format!("    dateset{n}: 1\n")))),
        small("", &format!("  one:\n    dataset:\n{}", many(&|n| format!("      nmae{n}: 1\n")))),
        small("", &many(&|n| format!("  stage{n}:\n    split: {{ rows: {}{n} }}\n", "x".repeat(200)))),
        format!("talkflow: 1\n{}", "a: 1\n".repeat(10_000)),
    ];
    for text in texts {
        let mistakes = load(&text, &[]).unwrap_err();
        assert!((50..5000).contains(&mistakes.list().len()), "{}", mistakes.list().len());
        assert!(mistakes.render().len() < 200_000);
    }
}

#[test]
fn a_huge_matrix_selects_from_a_huge_matrix() {
    let axes = "a: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], b: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], c: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], d: [0, 1, 2, 3]";
    let stages = format!(
        "  split:\n    matrix: {{ {axes} }}\n    split: {{ rows: ratings, fractions: {{ train: 1, validation: 0, test: 0 }} }}\n  model:\n    matrix: {{ {axes} }}\n    pretrain: {{ rows: \"split[a=${{matrix.a}},b=${{matrix.b}},c=${{matrix.c}},d=${{matrix.d}}]\", model: mf }}\n"
    );
    let plan = load(&small("", &stages), &[]).unwrap();
    assert_eq!(plan.instances.len(), 8001);
    assert_eq!(inputs(&plan, "model[a=3,b=1,c=4,d=1]")[0], "rows <- split[a=3,b=1,c=4,d=1]");
}
