//! Frozen transformers as teachers: from a folder, or drawn.

use serde_json::Value;

use crate::space::Space;

const DRAWN: &str = "talkflow: 1
params: { seed: 1 }
stages:
  reader: { encoder: { drawn: { family: bert, width: 16, heads: 2, positions: 32, seed: \"${seed}\" }, longest: 12 } }
  viewer: { encoder: { drawn: { family: dinov2, width: 16, heads: 2, patch: 4, image: 12 } } }
";

/// What `plan` says of an encoder with these settings.
fn refused(settings: &str) -> String {
    let space = Space::with(&format!("talkflow: 1\nstages:\n  e: {{ encoder: {{ {settings} }} }}\n"));
    space.run(&["plan", "m.yaml"]).code(2).stderr
}

#[test]
fn an_encoder_is_drawn_and_is_a_folder_that_another_takes() {
    let space = Space::with(DRAWN);
    space.document(&[]);
    space.nothing_to_do(&[]);
    for name in ["reader", "viewer"] {
        space.run(&["export", name, "-o", name]).ok();
    }
    let about = |name: &str| -> Value { serde_json::from_str(&space.read(&format!("{name}/encoder.json"))).unwrap() };
    let (reader, viewer) = (about("reader"), about("viewer"));
    assert_eq!((&reader["reads"]["texts"]["longest"], &reader["pooling"]), (&12.into(), &"mean".into()));
    assert_eq!((&viewer["reads"]["images"]["size"], &viewer["pooling"]), (&12.into(), &"first".into()));
    assert_eq!((&viewer["family"], &viewer["width"], &viewer["layers"]), (&"dinov2".into(), &16.into(), &2.into()));
    // Files that do not belong to a model count for nothing.
    space.write("reader/README.md", "anything");
    let own = "talkflow: 1
params: { seed: null, first: first }
stages:
  own: { encoder: { folder: reader, drawn_weights: \"${seed}\", pooling: \"${first}\" } }
";
    space.write("own.yaml", own);
    let run = |args: &[&str]| space.run(&[&["run", "own.yaml", "--format", "json"], args].concat()).ok().json();
    run(&[]);
    space.write("reader/README.md", "something else");
    assert_eq!(run(&[])["ran"], 0);
    let exported = |place: &str| -> Value {
        space.run(&["export", "own", "-o", place]).ok();
        serde_json::from_str(&space.read(&format!("{place}/encoder.json"))).unwrap()
    };
    let own = exported("own");
    assert_eq!((&own["pooling"], &own["reads"]["texts"]["longest"]), (&"first".into(), &32.into()));
    assert_eq!((&own["sha256"], &own["drawn"]), (&reader["sha256"], &Value::Null));
}

#[test]
fn weights_of_a_folder_are_drawn_anew_and_need_not_be_there() {
    let space = Space::with(DRAWN);
    space.document(&[]);
    space.run(&["export", "reader", "-o", "reader"]).ok();
    let sha256 = |seed: &str| {
        space.write(
            "own.yaml",
            &format!("talkflow: 1\nstages: {{ own: {{ encoder: {{ folder: reader, drawn_weights: {seed} }} }} }}\n"),
        );
        space.run(&["run", "own.yaml"]).ok();
        space.run(&["export", "own", "-o", &format!("own{seed}")]).ok();
        let about: Value = serde_json::from_str(&space.read(&format!("own{seed}/encoder.json"))).unwrap();
        assert_eq!(about["drawn"].to_string(), seed);
        about["sha256"].clone()
    };
    let about: Value = serde_json::from_str(&space.read("reader/encoder.json")).unwrap();
    assert_eq!(sha256("1"), about["sha256"]);
    std::fs::remove_file(space.path("reader/model.safetensors")).unwrap();
    assert_ne!(sha256("2"), about["sha256"]);
}

#[test]
fn what_does_not_fit_is_told_before_anything_runs_where_settings_tell() {
    for (settings, part) in [
        ("folder: nowhere", "there is no folder"),
        ("folder: .", "config.json"),
        ("folder: ., drawn: { family: bert }", "`drawn` says what the model is"),
        ("drawn: { family: gpt }", "unknown value `gpt` for `family`"),
        ("drawn: { family: bert, patch: 4 }", "unknown setting `patch`"),
        ("drawn: { family: bert, width: 30 }", "4 heads do not share a width of 30 evenly"),
        ("drawn: { family: bert }, longest: 129", "texts of 129 tokens are longer than the 128 that the model reads"),
        ("drawn: { family: bert }, size: 8", "the model reads texts, which have no `size`"),
        ("drawn: { family: vit }, longest: 8", "the model reads images, which have no `longest`"),
        ("drawn: { family: vit }, size: 20", "images of 20 pixels a side are no whole number of patches of 8"),
        ("drawn: { family: deit, image: 20 }", "a side of 20 is no whole number of patches of 8"),
    ] {
        let said = refused(settings);
        assert!(said.contains(part), "{settings}: {said}");
    }
}

#[test]
fn what_a_folder_lacks_is_told_with_the_file() {
    let space = Space::with(DRAWN);
    space.document(&[]);
    space.run(&["export", "reader", "-o", "reader"]).ok();
    space.write("own.yaml", "talkflow: 1\nstages: { own: { encoder: { folder: reader, longest: 33 } } }\n");
    let failed = || space.run(&["run", "own.yaml"]).code(1).stderr;
    assert!(failed().contains("texts of 33 tokens are longer than the 32"));
    space.write("own.yaml", "talkflow: 1\nstages: { own: { encoder: { folder: reader } } }\n");
    let config = space.read("reader/config.json");
    space.write("reader/config.json", &config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));
    let said = failed();
    assert!(said.contains("reader/model.safetensors") && said.contains("encoder.layer.2."), "{said}");
    space.write("reader/config.json", &config.replace("bert", "gpt2"));
    assert!(failed().contains("reader/config.json: its `model_type` is `gpt2`"));
    space.write("reader/config.json", &config);
    let tokenizer = space.read("reader/tokenizer.json");
    space.write("reader/tokenizer.json", &tokenizer.replace("\"##~\": 191", "\"##~\": 192"));
    let said = failed();
    assert!(said.contains("tokenizer.json makes 193 kinds of tokens, and the model knows 192"), "{said}");
    std::fs::remove_file(space.path("reader/tokenizer.json")).unwrap();
    assert!(failed().contains("the folder has no tokenizer.json"));
}

const CACHED: &str = "talkflow: 1
params: { seed: 1, tokens: true }
stages:
  texts: { dataset: { name: synthetic/text, train: 300, test: 60 } }
  pictures: { dataset: { name: synthetic/images, train: 60, test: 20, side: 16 } }
  of_texts: { split: { rows: texts, by: { given: { validation_fraction: 0.2 } } } }
  of_pictures: { split: { rows: pictures, by: { given: { validation_fraction: 0.2 } } } }
  reader: { encoder: { drawn: { family: bert, width: 16, heads: 2, seed: \"${seed}\" } } }
  viewer: { encoder: { drawn: { family: dinov2, width: 16, heads: 2, patch: 8, image: 16 } } }
  read: { cache_features: { teacher: reader, rows: of_texts, parts: [train, test], tokens: \"${tokens}\", dtype: f32, verify: 20 } }
  viewed: { cache_features: { teacher: viewer, rows: of_pictures, taps: [high], dtype: f16 } }
";

/// Numbers of a tensor of an exported shard, by their bytes.
fn tensor<const N: usize, T>(space: &Space, file: &str, name: &str, of: fn([u8; N]) -> T) -> (Vec<usize>, Vec<T>) {
    let bytes = std::fs::read(space.path(file)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().as_chunks::<N>().0.iter().map(|bytes| of(*bytes)).collect())
}

#[test]
fn states_of_an_encoder_are_cached_in_shards() {
    let space = Space::with(CACHED);
    let document = space.document(&[]);
    space.nothing_to_do(&[]);
    let stages = document["stages"].as_array().unwrap();
    let metrics = |name: &str| &stages.iter().find(|stage| stage["name"] == name).unwrap()["metrics"];
    assert_eq!((&metrics("read")["rows"], &metrics("read")["verified"]), (&300.into(), &20.into()));
    assert_eq!((&metrics("viewed")["rows"], &metrics("viewed")["taps"]), (&50.into(), &1.into()));
    space.run(&["export", "read", "-o", "read"]).ok();
    space.run(&["export", "viewed", "-o", "viewed"]).ok();
    let shard = "read/features/00000.safetensors";
    let (_, rows) = tensor(&space, shard, "row", u32::from_le_bytes);
    assert!(rows.is_sorted() && rows.len() == 300 && rows.iter().filter(|row| **row >= 300).count() == 60, "{rows:?}");
    let (shape, low) = tensor(&space, shard, "low", f32::from_le_bytes);
    assert_eq!(shape, [300, 16]);
    let (_, starts) = tensor(&space, shard, "starts", u64::from_le_bytes);
    let (shape, tokens) = tensor(&space, shard, "tokens", f32::from_le_bytes);
    assert_eq!((starts.len(), shape), (301, vec![starts[300] as usize, 16]));
    // `low` is the mean of its tokens, and `stats.json` says what all have in common.
    let of_row = &tokens[starts[7] as usize * 16..starts[8] as usize * 16];
    let mean = of_row.iter().step_by(16).sum::<f32>() / (of_row.len() / 16) as f32;
    assert!((mean - low[7 * 16]).abs() < 1e-5, "{mean} {}", low[7 * 16]);
    let stats: Value = serde_json::from_str(&space.read("read/stats.json")).unwrap();
    let all = low.iter().step_by(16).map(|x| f64::from(*x)).sum::<f64>() / 300.0;
    assert!((stats[0]["mean"][0].as_f64().unwrap() - all).abs() < 1e-6);
    let (shape, _) = tensor(&space, "viewed/features/00000.safetensors", "high", u16::from_le_bytes);
    assert_eq!(shape, [50, 16]);
    // Another seed is another teacher; other texts are read by it alone.
    let other = space.document(&["--set", "seed=2"]);
    assert_eq!((&other["ran"], &other["cached"]), (&2.into(), &6.into()));
    // To look again changes no key.
    space.write("m.yaml", &CACHED.replace("verify: 20", "verify: 3"));
    space.nothing_to_do(&[]);
}

/// More rows than a shard takes, killed after the first, and threads: the bytes are those of a run that nothing disturbed.
#[test]
fn a_killed_cache_goes_on_with_the_next_shard() {
    let manifest = "talkflow: 1
stages:
  texts: { dataset: { name: synthetic/text, train: 1500, test: 10 } }
  split: { split: { rows: texts, by: { given: { validation_fraction: 0 } } } }
  reader: { encoder: { drawn: { family: bert, width: 256, layers: 1, inner: 64 } } }
  read: { cache_features: { teacher: reader, rows: split, tokens: true, dtype: f16 } }
";
    let whole = Space::with(manifest);
    whole.document(&["-j", "1"]);
    let space = Space::with(manifest);
    let mut child = space.command(&["run", "m.yaml", "-j", "2"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let began = std::time::Instant::now();
    let there = || {
        let keys = std::fs::read_dir(space.path(".talkflow/partial")).into_iter().flatten().flatten();
        keys.into_iter().any(|key| key.path().join("00000.safetensors").is_file())
    };
    while !there() {
        assert!(began.elapsed() < std::time::Duration::from_secs(120), "no shard was ever made");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let went_on = space.run(&["run", "m.yaml"]).ok();
    assert!(went_on.stderr.contains("rows were there from an earlier try"), "{}", went_on.stderr);
    assert_eq!(space.results(), whole.results());
    space.nothing_to_do(&[]);
}

#[test]
fn features_of_the_users_are_imported_with_their_provenance() {
    let space = Space::with(&CACHED.replace("tokens: true", "tokens: false"));
    space.document(&[]);
    space.run(&["export", "read", "-o", "read"]).ok();
    let shard = "read/features/00000.safetensors";
    let (_, rows) = tensor(&space, shard, "row", u32::from_le_bytes);
    let (_, low) = tensor(&space, shard, "low", f32::from_le_bytes);
    // As npy: rows the other way round, in double precision; whole numbers with a sign.
    let npy = |name: &str, descr: &str, shape: &str, data: Vec<u8>| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let head = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
        std::fs::write(space.path(name), [head, data].concat()).unwrap();
    };
    let backwards = low.chunks(16).rev().flatten().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
    npy("low.npy", "<f8", "300, 16", backwards);
    npy("rows.npy", "<i8", "300,", rows.iter().rev().flat_map(|row| i64::from(*row).to_le_bytes()).collect());
    let stages = |features: &str| {
        let own = CACHED.replace("tokens: true", "tokens: false");
        space.write(
            "own.yaml",
            &format!("{own}  own: {{ cache_features: {{ rows: of_texts, parts: [train, test], {features} }} }}\n"),
        );
    };
    let low = "low: { file: low.npy }, row: { file: rows.npy }";
    let high = format!("high: {{ file: {shard}, name: high }}, row: {{ file: {shard}, name: row }}");
    let stats = |place: &str| -> Value { serde_json::from_str(&space.read(&format!("{place}/stats.json"))).unwrap() };
    for (number, (import, tap)) in [(low, 0), (high.as_str(), 1)].into_iter().enumerate() {
        for teacher in ["", "teacher: reader, verify: 30, "] {
            stages(&format!("{teacher}import: {{ {import}, from: \"the cluster, in spring\" }}"));
            let ran = space.run(&["run", "own.yaml"]).ok();
            assert!(ran.stderr.contains("imported: the cluster, in spring"), "{}", ran.stderr);
            let place = format!("own{number}{}", teacher.len());
            space.run(&["export", "own", "-o", &place]).ok();
            assert_eq!(stats(&place)[0], stats("read")[tap]);
            let about: Value = serde_json::from_str(&space.read(&format!("{place}/teacher.json"))).unwrap();
            assert_eq!(about["imported"]["from"], "the cluster, in spring");
            assert!(about["imported"]["files"]["row"]["digest"].is_string());
            assert_eq!(about["weights"].is_null(), teacher.is_empty());
        }
    }
    let failed = |features: &str, part: &str| {
        stages(features);
        let said = space.run(&["run", "own.yaml"]).code(1).stderr;
        assert!(said.contains(part), "{features}: {said}");
    };
    // Another teacher's, or rows that were mixed up.
    failed(
        &format!(
            "teacher: reader, verify: 30, import: {{ from: x, low: {{ file: {shard}, name: high }}, row: {{ file: {shard}, name: row }} }}"
        ),
        "is not what the teacher makes of it: its `low` has ",
    );
    failed(
        &format!("import: {{ from: x, low: {{ file: {shard}, name: low }} }}"),
        "has 300 rows, and there are 360 in the data set",
    );
    failed(
        &format!("import: {{ from: x, low: {{ file: {shard}, name: lo }} }}"),
        "has no list or matrix `lo`; it has `high`, `low`, `row`",
    );
    npy("rows.npy", "<i8", "300,", [5_i64; 300].iter().flat_map(|row| row.to_le_bytes()).collect());
    failed(&format!("import: {{ from: x, {low} }}"), "rows.npy names `5` twice");
    npy("rows.npy", "<i8", "300,", (0..300_i64).flat_map(|row| row.to_le_bytes()).collect());
    failed(&format!("import: {{ from: x, {low} }}"), "60 of 300 rows have no features; row 300 is the first");
    npy("rows.npy", "<i8", "300,", (100..400_i64).flat_map(|row| row.to_le_bytes()).collect());
    failed(&format!("import: {{ from: x, {low} }}"), "rows.npy names row 360 of 360");
    npy("low.npy", "<f4", "360, 1", (0..360).flat_map(|row| (if row == 9 { f32::NAN } else { 1.0 }).to_le_bytes()).collect());
    failed("import: { from: x, low: { file: low.npy } }", "the `low` state of row 9 holds NaN, which is no finite number");
}

#[test]
fn features_are_imported_from_parquet_by_the_names_of_rows() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, ListArray, RecordBatch, StringArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field, Schema};

    let space = Space::with(
        "talkflow: 1
stages:
  mail: { dataset: { texts: { file: mail.txt } } }
  split: { split: { rows: mail, by: class, fractions: { train: 1, validation: 0, test: 0 } } }
  own: { cache_features: { rows: split, import: { from: mine, high: { file: own.parquet, name: state }, row: { file: own.parquet, name: id } } } }
",
    );
    space.write("mail.txt", "ham hello\nspam buy\nham so\nspam win\n");
    space.write("only.yaml", "talkflow: 1\nstages: { mail: { dataset: { texts: { file: mail.txt } } } }\n");
    space.run(&["run", "only.yaml"]).ok();
    space.run(&["export", "mail", "-o", "mail"]).ok();
    let file = std::fs::File::open(space.path("mail/examples.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let ids: Vec<String> = reader
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let ids = batch.column_by_name("id").unwrap().as_any().downcast_ref::<StringArray>().unwrap();
            ids.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let write = |ids: &[String], lengths: &[usize]| {
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..lengths.iter().sum()).map(|n| n as f64)));
        let states = ListArray::new(item, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None);
        let schema = Schema::new(vec![
            Field::new("state", arrow::array::Array::data_type(&states).clone(), false),
            Field::new("id", DataType::Utf8, false),
        ]);
        let columns: Vec<ArrayRef> = vec![Arc::new(states), Arc::new(StringArray::from(ids.to_vec()))];
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let file = std::fs::File::create(space.path("own.parquet")).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    let backwards: Vec<String> = ids.iter().rev().cloned().collect();
    write(&backwards, &[2; 4]);
    space.document(&[]);
    space.run(&["export", "own", "-o", "own"]).ok();
    let (shape, high) = tensor(&space, "own/features/00000.safetensors", "high", f32::from_le_bytes);
    assert_eq!((shape, high), (vec![4, 2], vec![6.0, 7.0, 4.0, 5.0, 2.0, 3.0, 0.0, 1.0]));
    write(&backwards, &[2, 2, 3, 1]);
    space.run(&["run", "m.yaml"]).code(1).says("has lists of different lengths");
    let mut other = backwards.clone();
    other[1] = "nobody".to_owned();
    write(&other, &[2; 4]);
    space.run(&["run", "m.yaml"]).code(1).says("names `nobody`, which no row is called");
}

#[test]
fn what_cannot_be_cached_is_told_before_anything_runs() {
    let refused = |cache: &str, part: &str| {
        let space = Space::with(&format!(
            "{CACHED}  ratings: {{ dataset: {{ name: movielens/synthetic }} }}\n  of_ratings: {{ split: {{ rows: ratings }} }}\n  x: {{ cache_features: {{ {cache} }} }}\n"
        ));
        space.write("a.npy", "");
        let said = space.run(&["plan", "m.yaml"]).code(2).stderr;
        assert!(said.contains(part), "{cache}: {said}");
    };
    refused("teacher: viewer, rows: of_texts", "`viewer` reads images, and `texts` holds texts");
    refused("teacher: reader, rows: of_pictures", "`reader` reads texts, and `pictures` holds images");
    refused(
        "teacher: reader, rows: of_ratings",
        "an encoder reads the items of ratings, which are in no part of a split of `ratings`",
    );
    refused("teacher: of_texts, rows: of_texts", "`of_texts` yields a split, but a model or an encoder is needed here");
    refused("teacher: reader, rows: of_texts, taps: [low, output]", "an encoder has no `output`");
    refused("teacher: reader, rows: of_texts, taps: [embeddings]", "an encoder has no `embeddings`");
    refused("teacher: reader, rows: of_texts, taps: []", "there is nothing to cache");
    refused("teacher: reader, rows: of_texts, where: { genre: Drama }", "unknown setting `where`");
    refused("rows: of_texts, import: { from: x }", "nothing is imported");
    refused("rows: of_texts, import: { low: { file: a.npy } }", "needs `from`");
    refused("rows: of_texts, import: { from: x, low: { file: a.npy, name: b } }", "an npy holds one array");
    refused(
        "rows: of_texts, import: { from: x, low: { file: a.txt } }",
        "features are read from .parquet, .npy and .safetensors",
    );
    refused("rows: of_texts, import: { from: x, low: { file: a.parquet } }", "which column or tensor it is is not said");
    refused(
        "rows: of_texts, taps: [low], import: { from: x, low: { file: a.npy } }",
        "what is imported says which taps there are",
    );
}
