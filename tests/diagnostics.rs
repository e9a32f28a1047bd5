//! What a wrong manifest says, all at once and before anything runs. Mistakes of the language are held by `tests/bad`.

use crate::space::Space;

#[test]
fn mistakes_of_each_stage_kind_are_reported_together() {
    let space = Space::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        space.write(name, &std::fs::read_to_string(&file).unwrap());
        let ran = space.run(&["plan", name]).code(2);
        assert!(!space.path(".talkflow").exists(), "a wrong manifest made a store");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("wrong");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.trim_end_matches(".yaml"), ran.stderr));
    }
}

#[test]
fn a_manifest_made_to_harm_ends_in_an_error() {
    let space = Space::new();
    let mut bomb = "talkflow: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{before}]\n");
    }
    space.write("bomb.yaml", &bomb);
    space.run(&["plan", "bomb.yaml"]).code(2);
    space.write("large.yaml", &format!("talkflow: 1\nname: \"{}\"\n", "x".repeat(50 << 20)));
    space.run(&["plan", "large.yaml"]).code(2).says("large.yaml");
    space.write("deep.yaml", &"[".repeat(100_000));
    space.run(&["plan", "deep.yaml"]).code(2);
}
