//! Encoders that read the titles and genres of items, as teachers of students of ratings.

use serde_json::Value;

use crate::space::Space;

/// Ratings, an encoder of their items' texts, and a student for each of the methods that learn from states.
const ITEMS: &str = "talkflow: 1
name: items
stages:
  ratings: { dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 1500 } }
  split: { split: { rows: ratings, fractions: { train: 0.8, validation: 0.1, test: 0.1 }, seed: 1 } }
  reader: { encoder: { drawn: { family: bert, width: 8, heads: 2, positions: 64 }, longest: 24 } }
  known: { cache_features: { teacher: reader, rows: ratings, tokens: true } }
  student:
    matrix:
      method:
        bias_only: bias_only
        scratch: scratch
        feature: feature
        one_way: one_way
        one_way_wide: { one_way: { widened: true, message_dim: 4 } }
        sp: sp
        rkd: rkd
        vid: vid
        srd: srd
        refilled: refilled
        iakd_adapter: { iakd_adapter: { probability: 1 } }
        talk: { talk: { message_dim: 4, tokens: 2 } }
        ask_answer: { talk: { protocol: ask_answer, message_dim: 4, rounds: 2 } }
        beside: { talk: { message_dim: 4, beside: input } }
    distill:
      rows: split
      where: { genre: Drama }
      teacher: reader
      features: known
      model: { ncf: { embedding: 4, hidden: [8, 6] } }
      stop: { epochs: 2 }
      method: \"${matrix.method}\"
  scores: { evaluate: { models: student, rows: split, part: test, metrics: [rmse] } }
";

fn stage<'a>(document: &'a Value, name: &str) -> &'a Value {
    let stages = document["stages"].as_array().unwrap();
    stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {document:#}"))
}

/// What `plan` says of the manifest with some text replaced.
fn refused(changes: &[(&str, &str)]) -> String {
    let space = Space::with(&changed(changes));
    space.run(&["plan", "m.yaml"]).code(2).stderr
}

fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(ITEMS.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn students_of_ratings_learn_from_what_an_encoder_makes_of_items() {
    let space = Space::with(ITEMS);
    let document = space.document(&[]);
    let items = &stage(&document, "ratings")["metrics"]["items"];
    assert_eq!(&stage(&document, "known")["metrics"]["rows"], items, "a row an item, and not a rating");
    let cells = document["metrics"]["scores"]["cells"].as_array().unwrap();
    let means = cells.iter().filter(|cell| cell["row"].is_null());
    let rmse = |cell: &Value| cell["measures"]["rmse"]["mean"].as_f64().unwrap();
    let means: Vec<(&str, f64)> = means.map(|cell| (cell["column"].as_str().unwrap(), rmse(cell))).collect();
    assert_eq!(means.len(), 14, "{means:?}");
    let scratch = means.iter().find(|(column, _)| *column == "scratch").unwrap().1;
    for (column, rmse) in means.iter().filter(|(column, _)| *column != "scratch") {
        // Each has learnt something else than from ratings alone.
        assert!(rmse.is_finite() && *rmse != scratch, "{column} {rmse}");
    }
    assert!(stage(&document, "student[method=talk]")["metrics"]["decoded_state_ratio"].as_f64().unwrap() > 0.0);
    space.run(&["export", "known", "-o", "known"]).ok();
    let teacher: Value = serde_json::from_str(&space.read("known/teacher.json")).unwrap();
    assert_eq!((&teacher["rows"], &teacher["data"]), (&"items".into(), &"movielens/synthetic".into()));
    space.nothing_to_do(&[]);
    // Another encoder teaches others; who learns from none stays.
    space.write("m.yaml", &changed(&[("positions: 64 }", "positions: 64, seed: 2 }")]));
    let again = space.document(&[]);
    for (method, state) in [("scratch", "reused"), ("bias_only", "reused"), ("feature", "ran"), ("talk", "ran")] {
        assert_eq!(stage(&again, &format!("student[method={method}]"))["state"] == "ran", state == "ran", "{method}");
    }
    space.nothing_to_do(&[]);
}

/// Title and genres in a sentence, in the order of items: the same numbers as of a data set of these sentences.
#[test]
fn items_are_read_as_sentences_of_title_and_genres() {
    let space = Space::with(
        "talkflow: 1
stages:
  ratings: { dataset: { file: r.csv, items: { file: i.csv, title: title, genres: genres } } }
  texts: { dataset: { texts: { train: t.txt, test: u.txt }, title: texts } }
  reader: { encoder: { drawn: { family: bert, width: 8, heads: 2 } } }
  of_items: { cache_features: { teacher: reader, rows: ratings } }
  of_texts: { cache_features: { teacher: reader, rows: texts } }
",
    );
    space.write("i.csv", "item,title,genres\n7,Toy Story (1995),Animation|Comedy\n8,Oliver!,\n9,,Drama\n");
    // Numbers go by the order in which items are rated; of item 10 nothing is known.
    space.write("r.csv", "user,item,rating\n1,8,4\n1,7,5\n2,10,1\n2,9,3\n");
    space.write("t.txt", "a Oliver!\nb Toy Story (1995). Animation, Comedy.\na 10.\n");
    space.write("u.txt", "b 9. Drama.\n");
    space.document(&[]);
    let shard = |name: &str| {
        space.run(&["export", name, "-o", name]).ok();
        std::fs::read(space.path(&format!("{name}/features/00000.safetensors"))).unwrap()
    };
    assert_eq!(shard("of_items"), shard("of_texts"));
    space.nothing_to_do(&[]);
}

#[test]
fn what_such_a_teacher_cannot_give_is_said_before_anything_runs() {
    let feature = "feature: feature\n";
    for (name, method) in
        [("label", "label"), ("bounded", "bounded"), ("dist", "dist"), ("talk", "{ talk: { weights: { label: 1 } } }")]
    {
        let said = refused(&[(feature, &format!("feature: {method}\n"))]);
        let part = format!("method `{name}` needs a teacher that predicts ratings, but the teacher has only states");
        assert!(said.contains(&part) && !said.contains("does not cache"), "{said}");
    }
    for (change, part) in [
        ((feature, "feature: de\n"), "method `de` needs embeddings, but the teacher has none (model `encoder`)"),
        (
            ("rows: ratings, tokens: true", "rows: split"),
            "an encoder reads the items of ratings, which are in no part of a split",
        ),
        (("rows: ratings, tokens: true", "rows: ratings, parts: [train]"), "`rows` is a data set, all of whose rows are taken"),
        (
            ("{ family: bert, width: 8, heads: 2, positions: 64 }, longest: 24", "{ family: vit, width: 8, heads: 2 }"),
            "`reader` reads images, and the items of `ratings` are texts",
        ),
        ((", tokens: true", ""), "the method `talk` needs the tokens of the teacher's low states, which `known` does not cache"),
        (
            ("{ teacher: reader, rows: ratings,", "{ teacher: reader, rows: texts,"),
            "`known` was made from `texts`, which holds texts, and these are rows of `ratings`, which holds ratings",
        ),
    ] {
        let said = refused(&[change, ("stages:\n", "stages:\n  texts: { dataset: { name: synthetic/text } }\n")]);
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = refused(&[
        ("model: { ncf: { embedding: 4, hidden: [8, 6] } }", "model: { bag: { hidden: [8, 6] } }"),
        ("rows: split\n      where: { genre: Drama }\n", "rows: words\n"),
        (
            "stages:\n",
            "stages:\n  texts: { dataset: { name: synthetic/text } }\n  words: { split: { rows: texts, by: given } }\n",
        ),
        ("        bias_only: bias_only\n", ""),
        ("  scores: { evaluate: { models: student, rows: split, part: test, metrics: [rmse] } }\n", ""),
    ]);
    assert!(said.contains("`known` was made from `ratings`, which holds ratings, and these are rows of `texts`"), "{said}");
}

#[test]
fn what_only_data_tell_stops_the_student() {
    let other = [
        ("rows: ratings, tokens: true", "rows: others, tokens: true"),
        (
            "stages:\n",
            "stages:\n  others: { dataset: { name: movielens/synthetic, users: 60, items: 80, ratings: 1500, seed: 2 } }\n",
        ),
    ];
    let space = Space::with(&changed(&other));
    space.run(&["run", "m.yaml", "student[method=feature]"]).code(1).says("was made from the items of other ratings");
    // Features of another encoder than the one whose layers answer.
    let another = [
        ("{ teacher: reader, rows: ratings, tokens: true }", "{ teacher: stranger, rows: ratings, tokens: true }"),
        ("stages:\n", "stages:\n  stranger: { encoder: { drawn: { family: bert, width: 8, heads: 2, seed: 9 } } }\n"),
    ];
    let space = Space::with(&changed(&another));
    space.run(&["run", "m.yaml", "student[method=talk]"]).code(1).says("are another teacher's than `reader`");
}

/// Features that a user made of items elsewhere.
#[test]
fn states_of_items_can_be_imported() {
    let import = "{ rows: ratings, import: { from: a model of my own, high: { file: own.npy } } }";
    let text = changed(&[("{ teacher: reader, rows: ratings, tokens: true }", import)]);
    // Only high states are imported: of the methods, one that reads no others.
    let other = |line: &&str| line.starts_with("        ") && !line.contains("feature:");
    let text: String = text.lines().filter(|line| !other(line)).map(|line| format!("{line}\n")).collect();
    let space = Space::with(&text);
    let npy = |rows: usize| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 3), }}");
        let header = format!("{header:<117}\n");
        let numbers = (0..rows * 3).flat_map(|n| ((n * 7 % 11) as f32).to_le_bytes());
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes()].concat().into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    std::fs::write(space.path("own.npy"), npy(80)).unwrap();
    let only = ["run", "m.yaml", "--offline", "student[method=feature]"];
    space.run(&only).ok();
    std::fs::write(space.path("own.npy"), npy(79)).unwrap();
    space.run(&only).code(1).says("has 79 rows, and there are 80 in the data set");
    std::fs::write(space.path("own.npy"), npy(80)).unwrap();
    // Whose predictions a student learns from is a probe, or a rating model.
    space.write("m.yaml", &text.replace("high: { file: own.npy }", "output: { file: own.npy }"));
    space.run(&["run", "m.yaml", "--offline", "known"]).code(2).says("unknown setting `output` in `import`");
}
