//! The structure holds: modules use only those above them, and every variant of a closed set is used by a manifest.

use std::{collections::BTreeSet, fs, path::Path};

fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_module_uses_only_those_declared_above_it() {
    let lib = fs::read_to_string(root().join("engine/lib.rs")).unwrap();
    let order: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(order.len() > 10, "{order:?}");
    let mut wrong = Vec::new();
    for (place, module) in order.iter().enumerate() {
        let folder = root().join("engine").join(module);
        let mut own = if folder.is_dir() { files(&folder, "rs") } else { Vec::new() };
        own.push(root().join("engine").join(format!("{module}.rs")));
        for file in own {
            let text = fs::read_to_string(&file).unwrap();
            // Tests of a room may know more than the room.
            let text = text.split("#[cfg(test)]").next().unwrap();
            for (other_place, other) in order.iter().enumerate() {
                let named = text.contains(&format!("crate::{other}::")) || group_uses(text, other);
                if named && other_place > place && !file.ends_with("tests.rs") {
                    wrong.push(format!("{} uses {other}, which stands after {module}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a `use crate::{a::B, c::{..}}` names the module at the first level.
fn group_uses(text: &str, module: &str) -> bool {
    text.split("use crate::{").skip(1).any(|group| {
        let mut depth = 1;
        let mut word = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && (c.is_alphanumeric() || c == '_') {
                word.push(c);
            } else {
                if depth == 1 && c == ':' && word == module {
                    return true;
                }
                word.clear();
            }
        }
        false
    })
}

#[test]
fn only_the_rooms_that_may_name_a_library_do() {
    let may = [
        ("serde_saphyr", "engine/manifest"),
        ("petgraph", "engine/plan"),
        ("dfdx", "engine/distill"),
        ("statrs", "engine/statistics"),
        ("indicatif", "engine/report"),
        ("clap", "engine/cli"),
        ("httparse", "engine/serve"),
    ];
    for (library, room) in may {
        for folder in ["engine", "datasets"] {
            for file in files(&root().join(folder), "rs") {
                let uses = fs::read_to_string(&file).unwrap();
                let uses = uses.contains(&format!("use {library}")) || uses.contains(&format!("{library}::"));
                let inside = file.strip_prefix(root()).unwrap().to_string_lossy().starts_with(room);
                let exempt = library == "clap" && file.ends_with("stage.rs");
                assert!(!uses || inside || exempt, "{} names {library}, which only {room} may", file.display());
            }
        }
    }
}

#[test]
fn every_stage_kind_and_every_method_is_used_by_a_manifest() {
    let manifests: String =
        files(&root().join("manifests"), "yaml").iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let words: BTreeSet<&str> = manifests.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let kinds = talkflow::stages::WORDS.iter().copied();
    let methods = talkflow::stages::METHODS.iter().copied();
    let unused: Vec<&str> = kinds.chain(methods).filter(|word| !words.contains(word)).collect();
    assert!(unused.is_empty(), "no manifest uses {unused:?}");
}

#[test]
fn every_manifest_opens_with_its_command() {
    for file in files(&root().join("manifests"), "yaml") {
        let text = fs::read_to_string(&file).unwrap();
        let extended = text.lines().find_map(|line| line.strip_prefix("extends: "));
        let extended = extended.map(|name| fs::read_to_string(file.with_file_name(name)).unwrap()).unwrap_or_default();
        let word = if [&text, &extended].iter().any(|text| text.contains("\nsweep:")) { "sweep" } else { "run" };
        let command = format!("# talkflow {word} {}", file.strip_prefix(root()).unwrap().display());
        assert!(text.starts_with(&command), "{} does not open with `{command}`", file.display());
        assert!(!text.contains("TIME"), "{} gives no measured time", file.display());
    }
}

/// What a manifest that stands still is told by is what planning noted. So it may look at the world nowhere but through `Looks`.
#[test]
fn planning_looks_outside_only_where_it_is_noted() {
    const LOOKS: [&str; 17] = [
        "fs::",
        "File::",
        "env::",
        "rustix::",
        "WalkDir",
        "OpenOptions",
        "read_dir",
        "canonicalize()",
        ".metadata()",
        ".exists()",
        ".is_file()",
        ".is_dir()",
        "Command::new",
        "SystemTime",
        "Instant",
        "available_parallelism",
        "current_dir",
    ];
    // The texts themselves, whose reader notes them; a shortcut by the digest of a text; a walk whose folders are noted; and gates,
    // which are looked at after planning.
    let may = ["manifest/load.rs", "manifest/kept.rs", "fields/glob.rs", "check/baseline.rs"];
    let engine = root().join("engine");
    let looked = |text: &str| LOOKS.iter().copied().filter(|look| text.contains(look)).collect::<Vec<_>>();
    for room in ["manifest", "space", "fields", "check", "plan"] {
        let mut own = files(&engine.join(room), "rs");
        own.push(engine.join(format!("{room}.rs")));
        for file in own.iter().filter(|file| !may.iter().any(|may| file.ends_with(may)) && !file.ends_with("tests.rs")) {
            let text = fs::read_to_string(file).unwrap();
            let code: String =
                text.split("#[cfg(test)]").next().unwrap().lines().filter(|line| !line.trim().starts_with("//")).collect();
            assert!(
                looked(&code).is_empty() || file.to_string_lossy().contains("/tests/"),
                "{} uses {:?}",
                file.display(),
                looked(&code)
            );
        }
    }
    // Of stage kinds, what reads settings; the rest runs.
    let mut readers = 0;
    for file in files(&engine.join("stages"), "rs") {
        let text = fs::read_to_string(&file).unwrap();
        for function in text.split("\n    fn ").flat_map(|part| part.split("\nfn ")).flat_map(|part| part.split("\npub fn ")) {
            let signature = function.split(" {\n").next().unwrap();
            if signature.contains("Fields<") && signature.len() < 500 {
                readers += 1;
                let body = function.split("\n}\n").next().unwrap().split("\n    }\n").next().unwrap();
                assert!(looked(body).is_empty(), "{}: {signature} uses {:?}", file.display(), looked(body));
            }
        }
    }
    assert!(readers > 10, "{readers}");
}
