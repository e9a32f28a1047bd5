//! Examples with classes: every format from its files to the loaded artifact, subsets, splits.

use std::path::{Path, PathBuf};

use talkflow_datasets::Input;
use talkflow_datasets::cards::{Card, Encoding, Kind, Published, Rows, find};
use talkflow_datasets::examples::{
    Content, Contents, Examples, ExamplesFiles, Fit, Folders, Picture, Shape, Source, Subset, Summary, Texts, make as run,
    synthetic, synthetic::Synthetic,
};
use talkflow_datasets::locate::{Files, Found, Origin, Places, locate_local};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::Provenance;
use talkflow_datasets::split::{ClassSplit, Fractions, Part, PartCounts, Split};

use super::contents;

/// Prepares a source in a folder of its own and opens the artifact; the folder must outlive what reads it again.
fn made(source: &Source, subset: Option<&Subset>) -> (tempfile::TempDir, Examples) {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(source, subset, folder.path(), &mut Silent).unwrap();
    let examples = Examples::open(&ExamplesFiles::in_folder(folder.path())).unwrap();
    assert_eq!(*examples.summary(), summary);
    (folder, examples)
}

/// The message of a source that cannot be prepared.
fn refused(source: &Source) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = run(source, None, folder.path(), &mut Silent).unwrap_err();
    assert!(!folder.path().join("dataset.json").exists(), "a failed preparation leaves no summary");
    error.to_string()
}

fn texts(examples: &Examples) -> Vec<String> {
    match examples.contents().unwrap() {
        Contents::Texts(texts) => texts,
        Contents::Images(_) => panic!("these are images"),
    }
}

fn images(examples: &Examples) -> Vec<u8> {
    match examples.contents().unwrap() {
        Contents::Images(bytes) => bytes,
        Contents::Texts(_) => panic!("these are texts"),
    }
}

/// A card of published files, made smaller: other counts, the same files.
fn smaller(name: &str, counts: PartCounts) -> &'static Card {
    let mut card = find(name).unwrap().clone();
    match &mut card.rows {
        Rows::Examples { counts: published, .. } => *published = counts,
        Rows::Ratings { .. } => panic!("{name} holds ratings"),
    }
    Box::leak(Box::new(card))
}

/// So many of CIFAR's records, all different; the first bytes are labels.
fn records(labels: &[&[u8]]) -> Vec<u8> {
    let record = |(n, labels): (usize, &&[u8])| [labels.to_vec(), (0..3072).map(|at| (at * 7 + n * 31) as u8).collect()].concat();
    labels.iter().enumerate().flat_map(record).collect()
}

fn found(card: &'static Card, folder: &Path, files: &[(Part, &str, Vec<u8>)]) -> Source {
    let input = |(part, name, bytes): &(Part, &str, Vec<u8>)| {
        std::fs::write(folder.join(name), bytes).unwrap();
        (*part, Input::File(folder.join(name)))
    };
    let files = Files::Parts(files.iter().map(input).collect());
    Source::Card(Found { card, files, origin: Origin::Data(folder.to_owned()) })
}

#[test]
fn cifar_10_keeps_the_order_of_its_files() {
    let card = smaller("cifar/10", PartCounts { train: 3, validation: 0, test: 1 });
    let folder = tempfile::tempdir().unwrap();
    let files = [
        (Part::Train, "one", records(&[&[9], &[0]])),
        (Part::Train, "two", records(&[&[3]])),
        (Part::Test, "test", records(&[&[7]])),
    ];
    let (_folder, examples) = made(&found(card, folder.path(), &files), None);
    assert_eq!(examples.labels(), [9, 0, 3, 7]);
    assert_eq!(examples.ids(), ["train/0", "train/1", "train/2", "test/0"]);
    assert_eq!(examples.parts(), [Some(Part::Train), Some(Part::Train), Some(Part::Train), Some(Part::Test)]);
    let pixels = images(&examples);
    assert_eq!(pixels.len(), 4 * 3072);
    assert_eq!((pixels[0], pixels[3072], pixels[2 * 3072], pixels[3 * 3072]), (0, 31, 0, 0));
    let summary = examples.summary();
    assert_eq!(summary.content, Content::Images(Shape { channels: 3, height: 32, width: 32 }));
    assert_eq!(summary.parts, Some(PartCounts { train: 3, validation: 0, test: 1 }));
    let counts: Vec<u64> = summary.classes.iter().map(|count| count.rows).collect();
    assert_eq!((summary.classes[9].class.as_str(), counts), ("truck", vec![1, 0, 0, 1, 0, 0, 0, 1, 0, 1]));
    assert_eq!((summary.source, &summary.subset), (Provenance::Real, &None));
}

#[test]
fn cifar_100_takes_the_fine_label() {
    let card = smaller("cifar/100", PartCounts { train: 2, validation: 0, test: 1 });
    let folder = tempfile::tempdir().unwrap();
    let files = [(Part::Train, "train.bin", records(&[&[19, 99], &[0, 1]])), (Part::Test, "test.bin", records(&[&[5, 50]]))];
    let (_folder, examples) = made(&found(card, folder.path(), &files), None);
    assert_eq!(examples.labels(), [99, 1, 50]);
    assert_eq!(examples.summary().classes[99].class, "worm");
}

#[test]
fn published_files_must_have_what_their_publisher_says() {
    let card = find("cifar/10").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let of = |train| [(Part::Train, "train", train), (Part::Test, "test", records(&[&[0]]))];
    let message = refused(&found(card, folder.path(), &of(records(&[&[1]]))));
    let expected = "cifar/10: found 1 train, 0 validation and 1 test rows, expected the 50000 train, 0 validation and 10000 test rows of CIFAR-10";
    assert!(message.starts_with(expected), "{message}");
    let mut cut = records(&[&[1], &[2]]);
    cut.truncate(6000);
    let message = refused(&found(card, folder.path(), &of(cut)));
    assert!(message.contains("train: found 6000 bytes, expected a whole number of records of 3073 bytes each"), "{message}");
    let message = refused(&found(card, folder.path(), &of(records(&[&[1], &[10]]))));
    assert!(message.ends_with("train, row 2, column `label`: found 10, expected a number below 10"), "{message}");
}

/// A tape archive packed by gzip, with these files in a folder.
fn tape(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tape = Vec::new();
    for (name, bytes) in files {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar  \0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tape.extend_from_slice(&block);
        tape.extend_from_slice(bytes);
        tape.resize(tape.len().next_multiple_of(512), 0);
    }
    tape.resize(tape.len() + 1024, 0);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, &tape).unwrap();
    packer.finish().unwrap()
}

#[test]
fn an_archive_and_its_unpacked_folder_give_the_same_bytes() {
    let card = smaller("cifar/100", PartCounts { train: 2, validation: 0, test: 1 });
    let (train, test) = (records(&[&[19, 99], &[0, 1]]), records(&[&[5, 50]]));
    let data = tempfile::tempdir().unwrap();
    let places = Places { data: Some(data.path().to_owned()), cache: PathBuf::from("/nowhere") };
    assert_eq!(locate_local(card, &places), None);
    let unpacked = data.path().join("cifar-100-binary");
    std::fs::create_dir(&unpacked).unwrap();
    std::fs::write(unpacked.join("train.bin"), &train).unwrap();
    assert_eq!(locate_local(card, &places), None, "half an unpacked folder does not count");
    std::fs::write(unpacked.join("test.bin"), &test).unwrap();
    let in_folder = locate_local(card, &places).unwrap();
    assert_eq!(in_folder.paths(), [unpacked.join("train.bin"), unpacked.join("test.bin")]);
    let archive = data.path().join("cifar-100-binary.tar.gz");
    std::fs::write(&archive, tape(&[("x/meta.txt", b"names"), ("x/test.bin", &test), ("x/train.bin", &train)])).unwrap();
    let in_archive = locate_local(card, &places).unwrap();
    assert_eq!((in_archive.paths(), &in_archive.origin), (vec![archive.as_path()], &Origin::Data(archive.clone())));
    let (one, _) = made(&Source::Card(in_folder), None);
    let (other, _) = made(&Source::Card(in_archive), None);
    assert_eq!(contents(one.path()), contents(other.path()));
}

#[test]
fn files_of_sentences_are_found_and_their_sums_compared() {
    let card = find("trec").unwrap();
    let data = tempfile::tempdir().unwrap();
    let places = Places { data: Some(data.path().to_owned()), cache: PathBuf::from("/nowhere") };
    for file in ["TREC.train.all", "TREC.test.all"] {
        assert_eq!(locate_local(card, &places), None);
        std::fs::create_dir_all(data.path().join("text")).unwrap();
        std::fs::write(data.path().join("text").join(file), "0 why ?\n").unwrap();
    }
    let found = locate_local(card, &places).unwrap();
    assert_eq!(found.paths().len(), 2);
    let error = talkflow_datasets::locate::verify(&found, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("TREC.train.all") && error.contains("c8183fd8"), "{error}");
    assert!(data.path().join("text/TREC.train.all").exists());
    let Kind::Parts(parts) = &card.kind else { panic!("trec is published in parts") };
    assert!(matches!(parts.published, Published::Files(files) if files.len() == 2));
}

fn own(files: &[(Option<Part>, &Path)]) -> Texts {
    Texts {
        name: "own".to_owned(),
        files: files.iter().map(|(part, path)| (*part, path.to_path_buf())).collect(),
        encoding: Encoding::Utf8,
        classes: None,
        licence: None,
        citation: None,
    }
}

#[test]
fn own_texts_have_the_classes_that_their_lines_name() {
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (folder.path().join("train"), folder.path().join("test"));
    std::fs::write(&train, "spam buy this now\nham see you at nine\n\nspam free coins\n").unwrap();
    std::fs::write(&test, "ham lunch ?\n").unwrap();
    let (_folder, examples) = made(&Source::Texts(own(&[(Some(Part::Train), &train), (Some(Part::Test), &test)])), None);
    assert_eq!(texts(&examples), ["buy this now", "see you at nine", "free coins", "lunch ?"]);
    assert_eq!(
        (examples.labels(), examples.ids()),
        (&[1, 0, 1, 0][..], &["train/1", "train/2", "train/4", "test/1"].map(str::to_owned)[..])
    );
    assert_eq!(examples.summary().class_names().collect::<Vec<_>>(), ["ham", "spam"]);
    // Without parts, ids are the numbers of lines.
    let (_folder, examples) = made(&Source::Texts(own(&[(None, &train)])), None);
    assert_eq!((examples.ids(), examples.parts()), (&["1", "2", "4"].map(str::to_owned)[..], &[None; 3][..]));
    assert_eq!(examples.summary().parts, None);
}

#[test]
fn own_texts_may_name_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all");
    std::fs::write(&file, "1 good\n0 bad\npositive fine\n").unwrap();
    let classes = Some(["negative", "positive"].map(str::to_owned).to_vec());
    let source = Source::Texts(Texts { classes, ..own(&[(None, &file)]) });
    let (_folder, examples) = made(&source, None);
    assert_eq!(examples.labels(), [1, 0, 1]);
    std::fs::write(&file, "1 good\n2 odd\n").unwrap();
    let message = refused(&source);
    assert!(
        message.ends_with(
            "all:2, column `label`: found \"2\", expected one of the 2 classes, `negative`, `positive`, or its number from 0"
        ),
        "{message}"
    );
    std::fs::write(&file, "1 good\n1 fine\n").unwrap();
    let message = refused(&Source::Texts(own(&[(None, &file)])));
    assert!(message.contains("found one class, `1`, expected at least two"), "{message}");
    std::fs::write(&file, "\n").unwrap();
    assert!(refused(&Source::Texts(own(&[(None, &file)]))).contains("found no examples"));
}

const SMALL: Shape = Shape { channels: 3, height: 4, width: 4 };

/// Images of one colour, by their place in a folder.
fn folder_of(folder: &Path, places: &[(&str, u8)]) -> Vec<Picture> {
    let write = |(place, colour): &(&str, u8)| {
        let path = folder.join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(8, 6, image::Rgb([*colour, 1, 2])).save(&path).unwrap();
        Picture { place: (*place).to_owned(), path }
    };
    places.iter().map(write).collect()
}

fn folders(images: Vec<(Option<Part>, Vec<Picture>)>, fit: Fit) -> Source {
    Source::Folders(Folders { name: "own".to_owned(), images, shape: SMALL, fit, licence: None, citation: None })
}

#[test]
fn a_folder_has_a_class_for_each_of_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let all = folder_of(folder.path(), &[("dog/b.png", 30), ("cat/z.png", 20), ("cat/a.jpg", 100), ("dog/a.PNG", 40)]);
    let source = folders(vec![(None, all)], Fit::Crop);
    let (_folder, examples) = made(&source, None);
    assert_eq!(examples.ids(), ["cat/a.jpg", "cat/z.png", "dog/a.PNG", "dog/b.png"]);
    assert_eq!(examples.labels(), [0, 0, 1, 1]);
    let pixels = images(&examples);
    assert_eq!((pixels.len(), pixels[SMALL.bytes()], pixels[2 * SMALL.bytes()], pixels[3 * SMALL.bytes()]), (4 * 48, 20, 40, 30));
    assert!(pixels[0].abs_diff(100) < 6, "{}", pixels[0]);
    let message = refused(&folders(vec![(None, folder_of(folder.path(), &[("dog/b.png", 30), ("cat/z.png", 20)]))], Fit::Exact));
    assert!(message.contains("found 8 x 6 pixels, expected 4 x 4"), "{message}");
}

#[test]
fn folders_of_parts_share_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder_of(&folder.path().join("a"), &[("dog/1.png", 1), ("cat/1.png", 2)]);
    let test = folder_of(&folder.path().join("b"), &[("dog/1.png", 3), ("cow/1.png", 4)]);
    let (_folder, examples) = made(&folders(vec![(Some(Part::Train), train), (Some(Part::Test), test)], Fit::Stretch), None);
    assert_eq!(examples.ids(), ["train/cat/1.png", "train/dog/1.png", "test/cow/1.png", "test/dog/1.png"]);
    assert_eq!((examples.labels(), examples.summary().classes.len()), (&[0, 2, 1, 2][..], 3));
}

#[test]
fn what_is_no_image_of_a_class_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let picture = |place: &str| Picture { place: place.to_owned(), path: folder.path().join(place) };
    for (place, expected) in [
        ("cat.png", "found a file beside the classes, expected CLASS/IMAGE"),
        ("train/cat/1.png", "found a folder within a class, expected CLASS/IMAGE"),
        ("cat/notes.txt", "found a file that is no image by its name, expected a name that ends in .png, .jpg or .jpeg"),
    ] {
        let message = refused(&folders(vec![(None, vec![picture(place)])], Fit::Crop));
        assert!(message.contains(place) && message.contains(expected), "{message}");
    }
    let mut all = folder_of(folder.path(), &[("dog/b.png", 30), ("cat/z.png", 20)]);
    std::fs::write(folder.path().join("cat/broken.png"), b"\x89PNG\r\n\x1a\nand no more").unwrap();
    all.push(picture("cat/broken.png"));
    let message = refused(&folders(vec![(None, all)], Fit::Crop));
    assert!(
        message.contains("cat/broken.png: found ") && message.contains("expected a PNG or JPEG image that can be decoded"),
        "{message}"
    );
}

const TEXTS: Synthetic = Synthetic { train: 300, test: 60, ..Synthetic::default_of(Content::Texts) };
const IMAGES: Synthetic = Synthetic { train: 9_000, test: 100, ..Synthetic::default_of(Content::Images(synthetic::SHAPE)) };

#[test]
fn a_subset_keeps_ids_and_contents() {
    let all = made(&Source::Synthetic(TEXTS), None);
    let subset = Subset { per_class: 5, validation: None, test: Some(2), seed: 3 };
    let some = made(&Source::Synthetic(TEXTS), Some(&subset));
    assert_eq!(some.1.summary().parts, Some(PartCounts { train: 30, validation: 0, test: 12 }));
    assert!(some.1.summary().classes.iter().all(|count| count.rows == 7));
    let kept = some.1.summary().subset.clone().unwrap();
    assert_eq!((kept.of, kept.per_class, kept.test, kept.seed, kept.short.len()), (360, 5, 2, 3, 0));
    let (texts_of_all, texts_of_some) = (texts(&all.1), texts(&some.1));
    for (row, id) in some.1.ids().iter().enumerate() {
        let place = all.1.ids().iter().position(|other| other == id).unwrap();
        assert_eq!((&texts_of_some[row], some.1.labels()[row]), (&texts_of_all[place], all.1.labels()[place]), "{id}");
    }
    let more = Subset { per_class: 51, test: None, ..subset };
    let short = made(&Source::Synthetic(TEXTS), Some(&more)).1.summary().subset.clone().unwrap().short;
    assert_eq!(short.len(), 6, "there are 50 train rows and 10 test rows of each");
}

#[test]
fn shards_are_read_one_by_one() {
    let (_folder, examples) = made(&Source::Synthetic(IMAGES), None);
    assert_eq!((examples.shards(), examples.len()), (3, 9_100));
    let shards: Vec<_> = (0..3).map(|number| examples.shard(number).unwrap()).collect();
    assert_eq!(shards.iter().map(|shard| shard.rows.clone()).collect::<Vec<_>>(), [0..4096, 4096..8192, 8192..9100]);
    let together: Vec<u8> = shards
        .into_iter()
        .flat_map(|shard| match shard.contents {
            Contents::Images(bytes) => bytes,
            Contents::Texts(_) => panic!("these are images"),
        })
        .collect();
    assert_eq!(together, images(&examples));
    assert_eq!(examples.shard(3).unwrap().rows.len(), 0);
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_are_what_they_were() {
    let of = |spec, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| contents(made(&Source::Synthetic(spec), None).0.path()))
    };
    for spec in [TEXTS, IMAGES] {
        let one = of(spec, 1);
        assert_eq!(one, of(spec, 3));
    }
    // What is made for one seed must stay the same: a change of it is a change of everybody's data.
    let digest = |spec| {
        let (_folder, examples) = made(&Source::Synthetic(spec), None);
        let mut hash = <sha2::Sha256 as sha2::Digest>::new();
        match examples.contents().unwrap() {
            Contents::Texts(texts) => sha2::Digest::update(&mut hash, texts.join("\n")),
            Contents::Images(bytes) => sha2::Digest::update(&mut hash, bytes),
        }
        sha2::Digest::finalize(hash).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!([digest(TEXTS), digest(Synthetic { train: 100, ..IMAGES })], ["4f52cd0f3c7dfcca", "ce3aef6aee381be3"]);
}

/// Rows of each class in a part.
fn counts(examples: &Examples, split: &Split, part: Part) -> Vec<usize> {
    let mut counts = vec![0; examples.summary().classes.len()];
    split.rows(part).iter().for_each(|&row| counts[examples.labels()[row as usize] as usize] += 1);
    counts
}

#[test]
fn the_given_test_part_is_kept_and_validation_is_taken_from_train_class_by_class() {
    let (folder, examples) = made(&Source::Synthetic(TEXTS), None);
    let split = Split::of_examples(&examples, &ClassSplit::Given(Some(0.2)), 1).unwrap();
    assert_eq!(counts(&examples, &split, Part::Train), [40; 6]);
    assert_eq!(counts(&examples, &split, Part::Validation), [10; 6]);
    let test: Vec<u32> = (0..).zip(examples.parts()).filter(|(_, part)| **part == Some(Part::Test)).map(|(row, _)| row).collect();
    assert_eq!(split.rows(Part::Test), test);
    // A tenth where nothing is said, none where that is said; another seed, other rows.
    let of = |share, seed| Split::of_examples(&examples, &ClassSplit::Given(share), seed).unwrap();
    assert_eq!(counts(&examples, &of(None, 1), Part::Validation), [5; 6]);
    assert_eq!(of(Some(0.0), 1).summary().counts, PartCounts { train: 300, validation: 0, test: 60 });
    assert_ne!(of(None, 1).rows(Part::Validation), of(None, 2).rows(Part::Validation));
    // It is stored like any other, and its csv is read back.
    split.write(folder.path()).unwrap();
    let files = talkflow_datasets::split::SplitFiles::in_folder(folder.path());
    assert_eq!(Split::open(&files).unwrap(), split);
    let csv = folder.path().join("split.csv");
    split.export_csv(&csv).unwrap();
    assert_eq!(Split::of_examples(&examples, &ClassSplit::Rows(csv), 9).unwrap().parts(), split.parts());
    let error = Split::of_examples(&examples, &ClassSplit::Given(Some(0.99)), 1).unwrap_err().to_string();
    assert!(error.contains("the class `food` has 50 rows to share out, which leaves none to learn from"), "{error}");
    let error = Split::of_examples(&examples, &ClassSplit::Given(Some(0.001)), 1).unwrap_err().to_string();
    assert!(error.contains("no class has so many rows that 0.001 of them leave one for validation"), "{error}");
}

#[test]
fn a_validation_part_that_came_with_the_data_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "a x\nb y\n").unwrap();
        path
    };
    let (train, validation, test) = (write("1"), write("2"), write("3"));
    let files = [(Some(Part::Train), train.as_path()), (Some(Part::Validation), &validation), (Some(Part::Test), &test)];
    let (_folder, examples) = made(&Source::Texts(own(&files)), None);
    let split = Split::of_examples(&examples, &ClassSplit::Given(None), 1).unwrap();
    assert_eq!(split.summary().counts, PartCounts { train: 2, validation: 2, test: 2 });
    let error = Split::of_examples(&examples, &ClassSplit::Given(Some(0.5)), 1).unwrap_err().to_string();
    assert!(error.starts_with("own came with validation rows: leave `validation_fraction` out"), "{error}");
    for (files, expected) in
        [(&files[..1], "own came without test rows"), (&[(None, train.as_path())], "own came without parts of its own")]
    {
        let (_folder, examples) = made(&Source::Texts(own(files)), None);
        let error = Split::of_examples(&examples, &ClassSplit::Given(None), 1).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn each_class_is_shared_out_by_itself() {
    let (_folder, examples) = made(&Source::Synthetic(TEXTS), None);
    let split = Split::of_examples(&examples, &ClassSplit::ByClass(Fractions::new(0.5, 0.25, 0.25).unwrap()), 1).unwrap();
    assert_eq!(
        [Part::Train, Part::Validation, Part::Test].map(|part| counts(&examples, &split, part)),
        [vec![30; 6], vec![15; 6], vec![15; 6]]
    );
    assert_eq!(split.summary().how, "by_class");
    let again = Split::of_examples(&examples, &ClassSplit::ByClass(Fractions::new(0.5, 0.25, 0.25).unwrap()), 1).unwrap();
    assert_eq!(again, split);
}

#[test]
fn an_artifact_that_is_not_whole_is_refused() {
    let (folder, examples) = made(&Source::Synthetic(TEXTS), None);
    let files = ExamplesFiles::in_folder(folder.path());
    let summary = examples.summary();
    let refused = |change: &dyn Fn(&mut Summary)| {
        let mut changed = summary.clone();
        change(&mut changed);
        std::fs::write(&files.dataset, serde_json::to_vec(&changed).unwrap()).unwrap();
        Examples::open(&files)
            .map(|examples| examples.contents())
            .map_or_else(|e| e.to_string(), |read| read.unwrap_err().to_string())
    };
    let other = "its rows, parts or labels are not those of dataset.json";
    assert!(refused(&|summary| summary.rows -= 1).contains("it has 360 rows where dataset.json says 359"));
    assert!(refused(&|summary| summary.classes.truncate(5)).contains(other));
    assert!(refused(&|summary| summary.parts = None).contains(other));
    assert!(refused(&|summary| summary.content = Content::Images(SMALL)).contains("it has no column `image`"));
    assert!(refused(&|summary| summary.content = Content::Images(Shape { height: 0, ..SMALL })).contains("sides go from 1"));
    let (folder, examples) = made(&Source::Synthetic(Synthetic { train: 20, ..IMAGES }), None);
    let mut changed = examples.summary().clone();
    changed.content = Content::Images(SMALL);
    let files = ExamplesFiles::in_folder(folder.path());
    std::fs::write(&files.dataset, serde_json::to_vec(&changed).unwrap()).unwrap();
    let error = Examples::open(&files).unwrap().contents().unwrap_err().to_string();
    assert!(error.contains("an image has 3072 bytes where dataset.json says 48"), "{error}");
}
