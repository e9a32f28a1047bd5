//! A manifest becomes a plan or mistakes, and both can be shown. Of the file system nothing is touched: texts come from memory, and what
//! looks like a pattern for files elsewhere is passed over.
//!
//! An input is a manifest, a manifest that it may extend as `base.yaml`, and what is typed after `--set`, with zero bytes between them.

#![no_main]

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use talkflow::graph::{Format, Graph};
use talkflow::plan;
use talkflow::stages::StageKinds;

fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths: Vec<_> = ["manifests", "tests/bad", "tests/wrong"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    seeds.push(
        b"extends: base.yaml\nparams: { seed: 2 }\n\0talkflow: 1\nparams: { seed: 1, x: \"${env.X}\" }\nstages:\n  ratings:\n    dataset: { name: movielens/synthetic, seed: \"${seed}\" }\n\0seed=3".to_vec(),
    );
    seeds
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    if input.contains(&b'/') && input.iter().any(|byte| matches!(byte, b'*' | b'?')) {
        return;
    }
    let mut pieces = input.split(|byte| *byte == 0);
    let (manifest, base) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    let sets: Vec<String> = pieces.take(4).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
    let read = |path: &Path, most: u64| {
        let text = match path.to_str() {
            Some("m.yaml") => manifest,
            Some("base.yaml") => base,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(text[..text.len().min(most as usize)].to_vec())
    };
    let env = |name: &str| match name {
        "X" => Some("1".into()),
        "ODD" => Some(OsString::from_vec(b"a\xff\x1b[2J\n".to_vec())),
        _ => None,
    };
    match plan::load_with(&read, Path::new("m.yaml"), &sets, &env, &StageKinds) {
        Ok(plan) => {
            plan.resolution().stages.iter().for_each(|stage| drop(stage.to_string()));
            for format in [Format::Dot, Format::Mermaid, Format::Svg] {
                let _ = Graph::new(&plan, plan.instances.len() < 50).render(format);
            }
        }
        Err(mistakes) => {
            let _ = mistakes.render();
            let _ = mistakes.render_styled();
        }
    }
});
