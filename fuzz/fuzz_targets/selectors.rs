//! References to stages: as typed on the command line, and as a manifest's settings have them.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use talkflow::plan::{self, Plan};
use talkflow::stages::{StageKinds, StageSpec};

fn manifest(reference: &str) -> String {
    let reference = serde_json::Value::from(reference);
    format!(
        "talkflow: 1\nstages:\n  ratings: {{ dataset: {{ name: movielens/synthetic }} }}\n  split:\n    matrix: {{ seed: [1, 2], part: {{ a: 1, b: 2 }} }}\n    split: {{ rows: ratings, fractions: {{ train: 0.8, validation: 0.1, test: 0.1 }}, seed: \"${{matrix.seed}}\" }}\n  teacher: {{ pretrain: {{ rows: {reference}, model: mf }} }}\n"
    )
}

fn planned(reference: &str) -> Option<Plan<StageSpec>> {
    let text = manifest(reference).into_bytes();
    let planned = plan::load_with(&|_, _| Ok(text.clone()), Path::new("m.yaml"), &[], &|_| None, &StageKinds);
    planned.map_err(|mistakes| mistakes.render()).ok()
}

fn seeds() -> Vec<Vec<u8>> {
    ["split[seed=1,part=a]", "split", "split[seed=2, part=b]", "*", "split[seed=*]", "t*r", "split[", "sp[{]}"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    static PLAN: OnceLock<Plan<StageSpec>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| planned("split[seed=1,part=a]").expect("the manifest is sound"));
    let Ok(reference) = std::str::from_utf8(input) else { return };
    let _ = plan.select(reference);
    planned(reference);
});
