//! Texts and images with classes: data sets, subsets, splits, and what is said where ratings are needed or missing.

use serde_json::Value;

use crate::space::Space;

/// A stage of a run's document.
fn stage<'a>(document: &'a Value, name: &str) -> &'a Value {
    let stages = document["stages"].as_array().unwrap();
    stages.iter().find(|stage| stage["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {document:#}"))
}

/// The metrics of a stage, by name.
fn metrics<const N: usize>(document: &Value, name: &str, of: [&str; N]) -> [u64; N] {
    of.map(|metric| stage(document, name)["metrics"][metric].as_u64().unwrap_or_else(|| panic!("no {metric}: {document:#}")))
}

/// What `plan` says of a manifest with these stages.
fn refused(stages: &str) -> String {
    let space = Space::with(&format!("talkflow: 1\nstages:\n{stages}"));
    space.write("texts.txt", "ham hello\nspam buy\n");
    space.run(&["plan", "m.yaml"]).code(2).stderr
}

const GENERATED: &str = "talkflow: 1
params: { subset: { per_class: 20, test_per_class: 10 }, validation: 0.25 }
stages:
  data:
    matrix: { of: [text, images] }
    dataset: { name: \"synthetic/${matrix.of}\", train: 600, test: 200, subset: \"${subset}\" }
  split:
    matrix: { of: [text, images] }
    split: { rows: \"data[of=${matrix.of}]\", by: { given: { validation_fraction: \"${validation}\" } }, seed: 3 }
  anew:
    split: { rows: \"data[of=text]\", by: class, fractions: { train: 0.6, validation: 0.2, test: 0.2 } }
";

#[test]
fn generated_examples_are_subset_and_split() {
    let space = Space::with(GENERATED);
    let document = space.document(&[]);
    assert_eq!(metrics(&document, "data[of=text]", ["examples", "classes", "fewest_of_a_class"]), [180, 6, 30]);
    assert_eq!(metrics(&document, "data[of=images]", ["examples", "classes", "fewest_of_a_class"]), [300, 10, 30]);
    assert_eq!(metrics(&document, "split[of=text]", ["train", "validation", "test"]), [90, 30, 60]);
    assert_eq!(metrics(&document, "split[of=images]", ["train", "validation", "test"]), [150, 50, 100]);
    assert_eq!(metrics(&document, "anew", ["train", "validation", "test"]), [108, 36, 36]);
    space.nothing_to_do(&[]);
    // Exported, it is what the page says: a file of examples, a summary with the names of classes, a csv of parts.
    space.run(&["export", "data[of=text]", "-o", "data"]).ok();
    let summary: Value = serde_json::from_str(&space.read("data/dataset.json")).unwrap();
    assert_eq!((&summary["classes"][5]["class"], &summary["parts"]["test"]), (&"health".into(), &60.into()));
    assert!(space.path("data/examples.parquet").is_file());
    space.run(&["export", "anew", "-o", "anew"]).ok();
    space.write(
        "parts.yaml",
        "talkflow: 1\nstages:\n  data: { dataset: { name: synthetic/text, train: 600, test: 200, subset: { per_class: 20, test_per_class: 10 } } }\n  \
         split: { split: { rows: data, by: { parts: { file: anew/split.csv } } } }\n",
    );
    let parts = space.run(&["run", "parts.yaml", "--format", "json"]).ok().json();
    assert_eq!(metrics(&parts, "split", ["train", "validation", "test"]), [108, 36, 36]);
    // The whole, by a parameter.
    let whole = space.document(&["--set", "subset=null", "--set", "validation=0"]);
    assert_eq!(metrics(&whole, "data[of=text]", ["examples"]), [800]);
    assert_eq!(metrics(&whole, "split[of=text]", ["train", "validation", "test"]), [600, 0, 200]);
}

#[test]
fn own_texts_and_images_are_read_and_their_contents_are_in_the_key() {
    let space = Space::with(
        "talkflow: 1
stages:
  mail: { dataset: { texts: { train: mail/train.txt, test: mail/test.txt, encoding: latin1 }, title: mail } }
  pets: { dataset: { images: { folder: pets, height: 8, width: 8 }, subset: { per_class: 5 } } }
  split: { split: { rows: mail, by: { given: { validation_fraction: 0.5 } } } }
",
    );
    std::fs::create_dir_all(space.path("mail")).unwrap();
    std::fs::write(space.path("mail/train.txt"), b"spam buy\nham caf\xe9 ?\nspam win\nham so\n").unwrap();
    space.write("mail/test.txt", "ham see you\n");
    let picture = |place: &str, grey: u8| {
        let path = space.path(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, png(grey)).unwrap();
    };
    picture("pets/cat/1.png", 10);
    picture("pets/cat/2.png", 20);
    picture("pets/dog/1.png", 30);
    space.write("pets/.hidden/notes.txt", "passed over");
    space.write("pets/dog/.DS_Store", "passed over");
    let document = space.document(&[]);
    assert_eq!(metrics(&document, "mail", ["examples", "classes"]), [5, 2]);
    assert_eq!(metrics(&document, "pets", ["examples", "classes", "fewest_of_a_class"]), [3, 2, 1]);
    assert_eq!(metrics(&document, "split", ["train", "validation", "test"]), [2, 2, 1]);
    space
        .run(&["show", "pets"])
        .ok()
        .says("2 of 2 classes have fewer rows in some part than were asked for, and keep all: cat, dog");
    space.nothing_to_do(&[]);
    // A file more, or another content, and it runs again; a hidden one is none.
    space.write("pets/.more", "passed over");
    space.nothing_to_do(&[]);
    picture("pets/dog/2.png", 40);
    let again = space.document(&[]);
    assert_eq!((&again["ran"], metrics(&again, "pets", ["examples"])), (&1.into(), [4]));
    // What does not belong there is an error with its path.
    space.write("pets/dog/notes.txt", "what is this?");
    space.run(&["run", "m.yaml"]).code(1).says("pets/dog/notes.txt: found a file that is no image by its name");
    std::fs::remove_file(space.path("pets/dog/notes.txt")).unwrap();
    space.write("pets/dog/3.png", "not an image");
    space.run(&["run", "m.yaml"]).code(1).says("pets/dog/3.png").says("expected a PNG or JPEG image that can be decoded");
    std::fs::remove_file(space.path("pets/dog/3.png")).unwrap();
    space.write("mail/train.txt", "spam buy\nham\n");
    space.run(&["run", "m.yaml"]).code(1).says("mail/train.txt:2: found \"ham\", expected a label, a space, and a text");
}

/// An image of 8 x 8 grey pixels, whose data are stored unpacked.
fn png(grey: u8) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let step = |sum: u32, byte: &u8| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
        };
        !bytes.iter().fold(!0, step)
    };
    let chunk = |kind: &[u8], data: &[u8]| {
        let named = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &named, &crc(&named).to_be_bytes()].concat()
    };
    let lines: Vec<u8> = (0..8).flat_map(|_| [0].into_iter().chain([grey; 8])).collect();
    let (low, high) = lines.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    let length = (lines.len() as u16).to_le_bytes();
    let inverse = (!(lines.len() as u16)).to_le_bytes();
    let packed = [&[0x78, 1, 1][..], &length, &inverse, &lines, &(high << 16 | low).to_be_bytes()].concat();
    let header = [&8_u32.to_be_bytes()[..], &8_u32.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &packed), &chunk(b"IEND", b"")].concat()
}

#[test]
fn published_files_are_found_and_stand_ins_hold_the_same() {
    let space = Space::with(
        "talkflow: 1
stages:
  questions: { dataset: { name: trec, otherwise: synthetic/text } }
  split: { split: { rows: questions, by: given } }
",
    );
    space.run(&["plan", "m.yaml", "--offline"]).ok().says("STAND-IN");
    let document = space.document(&[]);
    assert_eq!(metrics(&document, "questions", ["examples", "classes"]), [2_500, 6]);
    assert_eq!(metrics(&document, "split", ["train", "validation", "test"]), [1_802, 198, 500]);
    space.nothing_to_do(&[]);
    // Files of that name with other contents are not taken for the published ones.
    for file in ["TREC.train.all", "TREC.test.all"] {
        space.write(&format!("data/text/{file}"), "0 why ?\n");
    }
    space.run(&["run", "m.yaml", "--data", "data"]).code(1).says("TREC.train.all: wrong sha256");
    space.run(&["data", "verify", "trec", "--data", "data"]).code(1).says("WRONG");
    let listed = space.run(&["data", "ls", "--format", "json"]).ok().json();
    let card = |name: &str| listed.as_array().unwrap().iter().find(|card| card["name"] == name).unwrap().clone();
    assert_eq!((&card("cifar/10")["examples"], &card("cifar/10")["content"]), (&60_000.into(), &"images".into()));
    assert_eq!((&card("sst2")["parts"]["validation"], &card("sst2")["bytes"]), (&872.into(), &1_026_806.into()));
    assert_eq!(card("movielens/100k")["users"], 943);
    space.run(&["data", "ls"]).ok().says("cifar/100").says("100 classes");
    space.run(&["data", "get", "synthetic/images", "-o", "images"]).ok();
    assert!(space.path("images/examples.parquet").is_file());
}

#[test]
fn whoever_needs_ratings_says_so_before_anything_runs() {
    let data = "  images: { dataset: { name: synthetic/images } }\n  split: { split: { rows: images, by: given } }\n";
    let pretrain = "  teacher: { pretrain: { rows: split, model: { mf: { embedding: 4 } } } }\n";
    let said = refused(&format!("{data}{pretrain}"));
    assert!(said.contains("`pretrain` takes ratings, and these are rows of `images`, which holds images with classes"), "{said}");
    assert!(said.contains("m.yaml:5:"), "{said}");
    let said = refused(&format!(
        "{data}  student: {{ distill: {{ rows: split, method: scratch, model: {{ mf: {{ embedding: 4 }} }} }} }}\n"
    ));
    assert!(said.contains("`distill` takes ratings"), "{said}");
    let said = refused("  images: { dataset: { name: cifar/10 } }\n  split: { split: { rows: images } }\n");
    assert!(said.contains("`images` holds images with classes, which cannot be split like ratings"), "{said}");
    assert!(said.contains("write `by: given`"), "{said}");
    for by in ["given", "class"] {
        let said =
            refused(&format!("  r: {{ dataset: {{ name: movielens/synthetic }} }}\n  s: {{ split: {{ rows: r, by: {by} }} }}\n"));
        assert!(said.contains("`r` holds ratings, which have no classes and no parts of their own"), "{said}");
    }
    let said = refused("  r: { dataset: { name: movielens/synthetic, subset: { per_class: 5 } } }\n");
    assert!(said.contains("unknown setting `subset`"), "{said}");
}

#[test]
fn what_the_data_cannot_give_is_said_before_anything_runs() {
    let split =
        |data: &str, by: &str| refused(&format!("  d: {{ dataset: {data} }}\n  s: {{ split: {{ rows: d, by: {by} }} }}\n"));
    let said = split("{ texts: { file: texts.txt } }", "given");
    assert!(said.contains("`d` comes without train rows of its own"), "{said}");
    let said = split("{ texts: { train: texts.txt } }", "given");
    assert!(said.contains("`d` comes without test rows of its own"), "{said}");
    let said = split("{ name: sst2 }", "{ given: { validation_fraction: 0.1 } }");
    assert!(said.contains("`d` comes with validation rows of its own"), "{said}");
    let said = refused("  d: { dataset: { name: cifar/10, otherwise: synthetic/text } }\n");
    assert!(said.contains("synthetic/text cannot stand in for cifar/10: it holds texts, not such images"), "{said}");
    assert!(said.contains("`cifar/100`") && said.contains("`synthetic/images`"), "{said}");
    let said = refused("  d: { dataset: { texts: { file: texts.txt, classes: [ham, ham] } } }\n");
    assert!(said.contains("the class `ham` is named twice"), "{said}");
    let said = refused("  d: { dataset: { images: { folder: nowhere, height: 8, width: 8 } } }\n");
    assert!(said.contains("there is no folder") && said.contains("nowhere"), "{said}");
    let said = refused(
        "  d: { dataset: { name: synthetic/text, subset: { per_class: 0 } } }\n  s: { split: { rows: d, by: { given: {} }, fractions: { train: 1 } } }\n",
    );
    assert!(said.contains("per_class") && said.contains("the parts are those that the data came with"), "{said}");
}
