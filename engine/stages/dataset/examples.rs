//! Examples with classes of the user's own, generated ones, and subsets: what a manifest says about them.

use std::path::PathBuf;

use talkflow_datasets::{
    cards::Encoding,
    examples::{Content, Fit, Folders, LONGEST_SIDE, Picture, Shape, Subset, Texts, synthetic, synthetic::Synthetic},
    split::Part,
};

use crate::fields::{Choice, Fields, PlacedFile};

impl Choice for Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[("utf8", Self::Utf8), ("latin1", Self::Latin1)];
}

impl Choice for Fit {
    const WORDS: &'static [(&'static str, Self)] = &[("crop", Self::Crop), ("stretch", Self::Stretch), ("exact", Self::Exact)];
}

/// The channels of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Rgb,
    Grey,
}

impl Choice for Colour {
    const WORDS: &'static [(&'static str, Self)] = &[("rgb", Self::Rgb), ("grey", Self::Grey)];
}

/// The most rows of a part that are generated.
const MOST_ROWS: u64 = 10_000_000;

/// The settings of the generator.
pub(super) fn synthetic(f: &mut Fields<'_>, content: Content) -> Synthetic {
    let d = Synthetic::default_of(content);
    let number = |f: &mut Fields<'_>, key: &str, default: u32, range: std::ops::RangeInclusive<u64>| {
        u32::try_from(f.int(key, Some(default.into()), range)).unwrap_or(default)
    };
    let classes = number(f, "classes", d.classes, 2..=Synthetic::most_classes(content).into());
    let train = number(f, "train", d.train, 1..=MOST_ROWS);
    let test = number(f, "test", d.test, 1..=MOST_ROWS);
    let content = match content {
        Content::Texts => content,
        Content::Images(shape) => {
            let side = f.count("side", Some(shape.height), synthetic::SIDES);
            Content::Images(Shape { height: side, width: side, ..shape })
        }
    };
    let spec = Synthetic { content, classes, train, test, seed: f.int("seed", Some(d.seed), ..) };
    if let (true, Err(error)) = (f.sound(), spec.check()) {
        f.mistake("train", error.to_string(), None);
    }
    spec
}

/// The user's own texts.
pub(super) fn texts(f: &mut Fields<'_>) -> Texts {
    let (files, encoding, classes) = f.section("texts", |f| {
        let files: Vec<(Option<Part>, PathBuf)> = match f.has("file") {
            true => vec![(None, f.file("file").unwrap_or_default())],
            false => {
                let train = f.file("train").unwrap_or_default();
                let others = [Part::Validation, Part::Test].map(|part| (part, f.optional_file(part.name())));
                let others = others.into_iter().filter_map(|(part, file)| Some((Some(part), file?)));
                std::iter::once((Some(Part::Train), train)).chain(others).collect()
            }
        };
        let encoding = f.choice("encoding", Some(Encoding::Utf8));
        let classes = f.has("classes").then(|| f.texts("classes", None));
        if let Some(classes) = classes.as_ref().filter(|_| f.sound()) {
            let twice = classes.iter().enumerate().find(|(at, class)| classes[..*at].contains(class));
            match twice {
                Some((_, class)) => f.mistake("classes", format!("the class `{class}` is named twice"), None),
                None if classes.len() < 2 => f.mistake("classes", "at least two classes can be told apart", None),
                None => {}
            }
        }
        (files, encoding, classes)
    });
    Texts {
        name: f.text("title", Some("own")),
        files,
        encoding,
        classes,
        licence: f.optional_text("licence"),
        citation: f.optional_text("citation"),
    }
}

/// The user's own folders of images.
pub(super) fn images(f: &mut Fields<'_>) -> Folders {
    let pictures = |files: Vec<PlacedFile>| -> Vec<Picture> {
        files.into_iter().map(|PlacedFile { place, path }| Picture { place, path }).collect()
    };
    let (images, shape, fit) = f.section("images", |f| {
        let images = match f.has("folder") {
            true => vec![(None, pictures(f.folder("folder")))],
            false => {
                let train = pictures(f.folder("train"));
                let others = [Part::Validation, Part::Test].map(|part| (part, f.optional_folder(part.name())));
                let others = others.into_iter().filter_map(|(part, files)| Some((Some(part), pictures(files?))));
                std::iter::once((Some(Part::Train), train)).chain(others).collect()
            }
        };
        let (height, width) = (f.count("height", None, 1..=LONGEST_SIDE), f.count("width", None, 1..=LONGEST_SIDE));
        let channels = match f.choice("colour", Some(Colour::Rgb)) {
            Colour::Rgb => 3,
            Colour::Grey => 1,
        };
        (images, Shape { channels, height, width }, f.choice("fit", Some(Fit::Crop)))
    });
    Folders {
        name: f.text("title", Some("own")),
        images,
        shape,
        fit,
        licence: f.optional_text("licence"),
        citation: f.optional_text("citation"),
    }
}

/// Which rows are kept; all where nothing is said.
pub(super) fn subset(f: &mut Fields<'_>) -> Option<Subset> {
    f.optional_section("subset", |f| Subset {
        per_class: f.int("per_class", None, 1..),
        validation: f.optional_int("validation_per_class", 1..),
        test: f.optional_int("test_per_class", 1..),
        seed: f.int("seed", Some(1), ..),
    })
}
