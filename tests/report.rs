//! `talkflow report`: what is on the page of a run and of a sweep, and what is said where there is none.

use serde_json::Value;

use crate::space::{METHODS, Space, small};

/// The document of the last run of `m.yaml`.
fn document(space: &Space) -> Value {
    space.run(&["report", "m.yaml", "--format", "json"]).ok().json()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn a_run_is_one_page_with_all_there_is_to_see() {
    let space = Space::with(&small(METHODS));
    space.run(&["run", "m.yaml", "--offline"]).ok();
    let page = document(&space);
    assert_eq!(names(&page["stages"]), ["ratings", "split", "teacher", "features", "student", "scores"]);
    assert_eq!(page["graph"]["boxes"].as_array().unwrap().len(), 6);
    // The teacher is named by features, students and scores; ratings only by the split, and otherwise come through it.
    assert_eq!(page["graph"]["edges"].as_array().unwrap().len(), 10);
    let talk =
        page["instances"].as_array().unwrap().iter().find(|one| one["name"] == "student[genre=Drama,method=talk]").unwrap();
    assert_eq!((&talk["state"], talk["key"].as_str().unwrap().len()), (&"ran".into(), 64));
    assert!(talk["seconds"].as_f64().unwrap() > 0.0);
    assert!(talk["log"]["text"].as_str().unwrap().contains("rmse"), "{talk:#}");
    assert!(talk["lines"].to_string().contains("method.talk.rounds"), "{talk:#}");
    assert!(page["stages"][4]["lines"].to_string().contains("optimizer.adam.rate"));
    // A teacher and two students by each of three methods.
    let curves = page["curves"]["shown"].as_array().unwrap();
    assert_eq!((curves.len(), &page["curves"]["of"]), (7, &7.into()));
    assert!(
        curves.iter().all(|one| one["columns"]["validation_rmse"].as_array().is_some_and(|values| !values.is_empty())),
        "{curves:#?}"
    );
    let table = &page["tables"][0];
    assert_eq!(
        (&table["rows"], &table["columns"]),
        (&serde_json::json!(["Drama", "Comedy"]), &serde_json::json!(["bias_only", "scratch", "talk", "teacher"]))
    );
    assert_eq!(table["metrics"], serde_json::json!(["rmse", "mae", "gap_recovery"]));
    let scores: Value = serde_json::from_str(&space.read(".talkflow/out/small/scores/scores.json")).unwrap();
    let cell = |cells: &Value, row: Value, column: Value| {
        cells.as_array().unwrap().iter().find(|cell| cell["row"] == row && cell["column"] == column).unwrap().clone()
    };
    let expected = cell(&scores["cells"], "Drama".into(), "talk".into())["measures"]["rmse"]["mean"].clone();
    assert_eq!(cell(&table["cells"], 0.into(), 2.into())["values"][0]["mean"], expected);
    let cost = page["cost"].as_array().unwrap().iter().find(|one| one["method"] == "talk").unwrap();
    for field in
        ["trainings", "serving_parameters", "training_parameters", "row_flops", "training_flops", "seconds", "step_memory"]
    {
        assert!(cost[field].as_f64().unwrap() > 0.0, "{field}: {cost:#}");
    }
    // One block: over users.
    assert_eq!(
        (&page["comparisons"][0]["users"], &page["comparisons"][0]["lines"][0]["reference"]),
        (&true.into(), &"scratch".into())
    );
    // A model of bias terms alone has no states.
    let likeness = page["likeness"].as_array().unwrap();
    assert_eq!(likeness.iter().map(|one| one["method"].as_str().unwrap()).collect::<Vec<_>>(), ["scratch", "talk"]);
    let entry =
        scores["entries"].as_array().unwrap().iter().find(|entry| entry["row"] == "Drama" && entry["column"] == "talk").unwrap();
    let model = likeness[1]["models"].as_array().unwrap().iter().find(|model| model[0] == "Drama").unwrap();
    assert_eq!((&model[2], &model[3]), (&entry["cka_low"], &entry["cka_high"]));
    assert!(model[3].as_f64().is_some_and(|cka| (0.0..=1.0).contains(&cka)), "{model}");
    assert!(
        scores["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["column"] == "teacher")
            .all(|entry| entry["cka_high"].is_null())
    );
    assert_eq!(names(&page["data"]), ["ratings", "split"]);
    assert_eq!(page["run"]["about"]["manifest"]["name"], "small");
    assert!(page["run"]["about"]["host"]["cores"].as_u64().unwrap() > 0);
    assert_eq!(page["remarks"], serde_json::json!([]));
}

#[test]
fn a_page_needs_nothing_beside_it_and_is_the_same_bytes_each_time() {
    let space = Space::with(&small("scratch: scratch"));
    space.run(&["run", "m.yaml", "--offline"]).ok();
    space.run(&["report", "m.yaml", "-o", "a.html"]).ok().says("of small, 7 stages");
    space.run(&["report", "--run", "last", "-o", "b.html"]).ok();
    let page = space.read("a.html");
    assert_eq!(page, space.read("b.html"));
    // Nothing is fetched: what is named is names of standards, and the addresses of the libraries in their licences.
    for from in ["src=\"", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(from), "{from}");
    }
    // A run in which all was there says so, and is another run.
    space.nothing_to_do(&[]);
    let page = document(&space);
    assert!(page["instances"].as_array().unwrap().iter().all(|one| one["state"] == "cached" && one["made_in"].is_string()));
    assert_eq!(page["curves"]["of"], 3);
}

#[test]
fn what_a_stage_printed_is_text_whatever_it_is() {
    let bad = r#"</script><script>alert(1)</script><img src=x onerror=alert(2)>"#;
    let space = Space::with(&format!(
        "talkflow: 1\nname: hostile\nstages:\n  a:\n    matrix: {{ x: {{ \"<b>\": 1 }} }}\n    command: {{ run: ['printf', '%s\\n\\033[31m\\342\\200\\250', '{bad}'] }}\n  b:\n    \
         command: {{ run: ['false'] }}\n"
    ));
    space.run(&["run", "m.yaml", "--keep-going"]).code(1);
    space.run(&["report", "m.yaml", "-o", "page.html"]).ok();
    let page = space.read("page.html");
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<b>"));
    // The page's own four and no more.
    assert_eq!(page.matches("</script>").count(), 4);
    let seen = document(&space);
    let log = seen["instances"][0]["log"]["text"].as_str().unwrap();
    assert!(log.contains(bad) && log.contains("\\u{1b}[31m"), "{log}");
    assert_eq!((&seen["run"]["outcome"], &seen["instances"][1]["state"]), (&"failed".into(), &"failed".into()));
    assert!(seen["instances"][1]["failure"].as_str().unwrap().contains("exit"), "{seen:#}");
}

#[test]
fn a_sweep_is_a_page_with_its_points_and_numbers() {
    let space = Space::with(
        "talkflow: 1\nname: s\nparams: { a: 1, seed: 1 }\nsweep: { grid: { a: [1, 2] }, seeds: 2 }\nstages:\n  base:\n    command: { run: 'echo 1 > out', outputs: [out] }\n  end:\n    \
         command: { run: 'echo \"{\\\"loss\\\": $((A * 10 + SEED))}\" > m.json', inputs: { base: base }, env: { A: \"${a}\", SEED: \"${seed}\" }, metrics: m.json }\n",
    );
    space.run(&["sweep", "m.yaml"]).ok();
    let page = document(&space);
    let sweep = &page["sweep"];
    assert_eq!((&page["title"], &sweep["tally"]["done"], &sweep["seed"]), (&"s".into(), &4.into(), &"seed".into()));
    assert_eq!(sweep["points"][3]["values"], serde_json::json!([2, 2]));
    let lines = sweep["numbers"]["lines"].as_array().unwrap();
    assert_eq!(lines.iter().map(|line| line["mean"].as_f64().unwrap()).collect::<Vec<_>>(), [11.5, 21.5], "{lines:#?}");
    assert_eq!(names(&page["stages"]), ["base", "end"]);
    assert_eq!(page["instances"][1]["labels"], serde_json::json!({ "a": "1", "seed": "1" }));
    // A plain run of the same manifest is another thing to show, and the last is shown.
    space.run(&["run", "m.yaml"]).ok();
    assert_eq!(document(&space)["sweep"], Value::Null);
    space.run(&["report", "m.yaml", "--run", "last~1", "-o", "p.html"]).ok().says("5 stages");
}

#[test]
fn a_sweep_over_seeds_has_one_table_and_its_comparisons() {
    let space = Space::with(&format!("{}sweep: {{ seeds: 3 }}\n", small(METHODS)));
    let swept = space.run(&["sweep", "m.yaml", "--offline", "--format", "json"]).ok().json();
    let page = document(&space);
    let table = &page["tables"][0];
    assert_eq!((&table["blocks"], &table["rows"]), (&3.into(), &serde_json::json!(["Drama", "Comedy"])));
    assert_eq!(table["columns"], serde_json::json!(["bias_only", "scratch", "talk", "teacher"]));
    assert!(table["cells"].as_array().unwrap().iter().all(|cell| cell["values"][0]["n"] == 3), "{table:#}");
    assert!(table["sizes"][0]["train_rows"].as_f64().is_some_and(|rows| rows > 100.0) && table["sizes"][0]["group"] == "sparse");
    // The very numbers that the sweep tells.
    let told = swept["comparisons"]["scores"].as_array().unwrap();
    let shown = page["comparisons"][0]["lines"].as_array().unwrap();
    assert_eq!(shown.len(), told.len());
    for (shown, told) in shown.iter().zip(told) {
        for (own, name) in [
            ("row", "row"),
            ("method", "method"),
            ("difference", "difference"),
            ("low", "nadeau_bengio_low"),
            ("p", "p_holm"),
            ("verdict", "verdict"),
            ("sentence", "sentence"),
        ] {
            assert_eq!(shown[own], told[name], "{own}");
        }
    }
    let effects = page["effects"][0]["rows"].as_array().unwrap();
    assert_eq!(effects.iter().map(|row| row["row"].as_str().unwrap()).collect::<Vec<_>>(), ["Drama", "Comedy"]);
    assert_eq!(effects[0]["talk"][0]["method"], "talk");
    assert_eq!(page["likeness"][1]["models"].as_array().unwrap().len(), 6);
}

#[test]
fn where_there_is_no_page_it_is_said_why_and_what_to_do() {
    let space = Space::with("talkflow: 1\nname: m\nstages:\n  a:\n    command: { run: 'true' }\n");
    space.run(&["report", "m.yaml", "-o", "p.html"]).code(2).says("there is no store");
    space.write("other.yaml", "talkflow: 1\nname: other\nstages:\n  a:\n    command: { run: 'true' }\n");
    space.run(&["run", "other.yaml"]).ok();
    space
        .run(&["report", "m.yaml", "-o", "p.html"])
        .code(2)
        .says("no run of m.yaml is kept in .talkflow: `talkflow run m.yaml` makes one");
    space.run(&["report", "m.yaml", "--run", "last", "-o", "p.html"]).code(2).says("is none of m.yaml");
    space.run(&["report", "other.yaml"]).code(2).says("Say `-o report.html`");
    space.run(&["report", "-o", "p.html"]).code(2).says("which run? Name a manifest");
    space.run(&["report", "--run", "lost", "-o", "p.html"]).code(2).says("knows no run `lost`");
    space.run(&["report", "other.yaml", "-o", "none/p.html"]).code(1).says("cannot write none/p.html");
    space.write("bad.yaml", "talkflow: 1\nstages: [\n");
    space.run(&["report", "bad.yaml", "-o", "p.html"]).code(2).says("bad.yaml:");
    assert!(!space.path("p.html").exists());
}

#[test]
fn what_the_store_lost_is_said_on_the_page() {
    let space = Space::with(&small("scratch: scratch"));
    space.run(&["run", "m.yaml", "--offline"]).ok();
    let whole = document(&space);
    // A file that is gone, and one that has other contents than its name says.
    let blob = |stage: &str, file: &str| {
        let (_, _, digest) = space.results().into_iter().find(|(one, name, _)| one.starts_with(stage) && name == file).unwrap();
        space.path(&format!(".talkflow/blobs/{}/{digest}", &digest[..2]))
    };
    let put = |path: &std::path::Path, bytes: &[u8]| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let curves = blob("teacher", "curves.parquet");
    put(&curves, &vec![0; std::fs::metadata(&curves).unwrap().len() as usize]);
    std::fs::remove_file(blob("scores", "scores.json")).unwrap();
    let page = document(&space);
    let remarks = page["remarks"].to_string();
    assert!(
        remarks.contains("The curves of 1 trainings cannot be read") && remarks.contains("no longer whole in the store"),
        "{remarks}"
    );
    assert_eq!((page["tables"].as_array().unwrap().len(), page["curves"]["shown"].as_array().unwrap().len()), (0, 2));
    assert_eq!(page["graph"], whole["graph"]);
}
