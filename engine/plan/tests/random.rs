//! Properties of random manifests.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

/// A random chain of models: each takes one of those before it as its teacher, or none.
#[derive(Clone, Debug)]
struct Model {
    teacher: Option<usize>,
    seed: u8,
    copies: u8,
}

fn models() -> impl Strategy<Value = Vec<Model>> {
    let model = (any::<Option<prop::sample::Index>>(), any::<u8>(), 0_u8..3);
    prop::collection::vec(model, 1..12).prop_map(|models| {
        let model = |(at, (teacher, seed, copies)): (usize, (Option<prop::sample::Index>, u8, u8))| Model {
            teacher: teacher.filter(|_| at > 0).map(|index| index.index(at)),
            seed,
            copies,
        };
        models.into_iter().enumerate().map(model).collect()
    })
}

/// The manifest of some models, its stages written in the order of `order`, and the keys of each turned round where `turned`.
fn manifest(models: &[Model], order: &[usize], turned: bool) -> String {
    let mut text = small("", "  split:\n    split: { rows: ratings, fractions: { train: 1, validation: 0, test: 0 } }\n");
    for at in order {
        let Model { teacher, seed, copies } = &models[*at];
        let mut keys = vec!["rows: split".to_owned(), "model: { mf: { embedding: 4 } }".to_owned(), format!("seed: {seed}")];
        match teacher {
            // The first instance stands for a teacher with several.
            Some(teacher) if models[*teacher].copies > 0 => keys.push(format!("teacher: \"m{teacher}[copy=0]\"")),
            Some(teacher) => keys.push(format!("teacher: m{teacher}")),
            None => {}
        }
        keys.push(format!("method: {}", if teacher.is_some() { "label" } else { "scratch" }));
        let mut body = vec![format!("    distill: {{ {} }}\n", keys.join(", "))];
        if *copies > 0 {
            let values: Vec<String> = (0..*copies).map(|copy| copy.to_string()).collect();
            body.push(format!("    matrix: {{ copy: [{}] }}\n", values.join(", ")));
        }
        if turned {
            keys.reverse();
            body[0] = format!("    distill: {{ {} }}  # turned\n", keys.join(", "));
            body.reverse();
        }
        write!(text, "  m{at}:\n{}", body.concat()).unwrap();
    }
    text
}

/// Name, settings and inputs of each instance, whatever the order.
fn contents(plan: &Plan<String>) -> Vec<(String, Vec<String>, Vec<String>)> {
    let mut all: Vec<_> = canonical(plan).into_iter().map(|(name, lines)| (name.clone(), lines, inputs(plan, &name))).collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_instance_comes_after_what_it_takes(models in models()) {
        let order: Vec<usize> = (0..models.len()).rev().collect();
        let plan = load(&manifest(&models, &order, false), &[]).unwrap();
        let instances: usize = models.iter().map(|model| usize::from(model.copies.max(1))).sum();
        prop_assert_eq!(plan.instances.len(), instances + 2);
        for (place, instance) in plan.instances.iter().enumerate() {
            for input in &instance.inputs {
                prop_assert!(input.from.iter().all(|from| *from < place));
                prop_assert!(input.many || input.from.len() == 1);
            }
        }
    }

    #[test]
    fn the_order_of_stages_and_keys_changes_no_instance(models in models()) {
        let order: Vec<usize> = (0..models.len()).collect();
        let turned: Vec<usize> = order.iter().rev().copied().collect();
        let plan = load(&manifest(&models, &order, false), &[]).unwrap();
        let other = load(&manifest(&models, &turned, true), &[]).unwrap();
        prop_assert_eq!(contents(&plan), contents(&other));
        // The same text is the same plan, order included.
        let again = load(&manifest(&models, &order, false), &[]).unwrap();
        prop_assert_eq!(canonical(&plan), canonical(&again));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(talkflow: 1\n)?(stages|params|extends|[a-z]{1,4}): ?[\\[\\]{}:,#&*!|>'\"%@`a-z0-9äé€$ \n\t-]{0,60}") {
        let _ = load(&text, &[]);
        let _ = load(SPARSE, &[&text]);
    }

    #[test]
    fn no_change_to_a_good_manifest_makes_it_panic(at in 0_usize..1500, with in "[\\[\\]{}:,#&*!|>'\"a-z0-9äé€$ \n\t=-]{0,3}", cut in 0_usize..6) {
        let start = at.min(SPARSE.len());
        let end = (start + cut).min(SPARSE.len());
        let text = format!("{}{with}{}", &SPARSE[..start], &SPARSE[end..]);
        if let Err(mistakes) = load(&text, &[]) {
            prop_assert!(!mistakes.list().is_empty());
            prop_assert!(mistakes.render().contains("error"));
        }
    }
}
