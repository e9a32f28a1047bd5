//! Where examples come from: the files of a card, the user's own texts and folders of images, the generator.
//!
//! Gathering finds out what there is: every row with its id, part and label, in the order in which they will stand. Contents are held or
//! made later, a few rows at a time, once it is known which rows are kept. It knows which reader fits which source, and nothing of Parquet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use rayon::prelude::*;

use crate::cards::{self, Encoding, ExampleFormat, Kind, Rows};
use crate::error::{Error, Malformed, Place, shown};
use crate::input::Input;
use crate::locate::{Files, Found};
use crate::ratings::Provenance;
use crate::readers::labelled::{self, Line};
use crate::readers::pictures;
use crate::readers::records::Records;
use crate::split::{Part, PartCounts};

use super::synthetic::{Synthetic, Text};
use super::{Content, Shape};

pub use crate::readers::pictures::Fit;

/// Where examples come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The files of a card.
    Card(Found),
    /// The user's own texts.
    Texts(Texts),
    /// The user's own images.
    Folders(Folders),
    /// Generated examples.
    Synthetic(Synthetic),
}

/// The user's own files of `label text` lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// What the user calls the data set.
    pub name: String,
    /// A file for each part, or one without.
    pub files: Vec<(Option<Part>, PathBuf)>,
    /// How they are to be read.
    pub encoding: Encoding,
    /// The names of the classes in the order of their labels; read off the lines where `None`.
    pub classes: Option<Vec<String>>,
    /// The terms of use, for the record.
    pub licence: Option<String>,
    /// What to cite, for the record.
    pub citation: Option<String>,
}

/// The user's own folders of images, each with a folder a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// What the user calls the data set.
    pub name: String,
    /// All images of a folder for each part, or of one without.
    pub images: Vec<(Option<Part>, Vec<Picture>)>,
    /// The size that all images get.
    pub shape: Shape,
    /// How they get it.
    pub fit: Fit,
    /// The terms of use, for the record.
    pub licence: Option<String>,
    /// What to cite, for the record.
    pub citation: Option<String>,
}

/// A file of the user's folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picture {
    /// Its path within the folder, with `/` between the parts: `cat/001.png`.
    pub place: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What is known of a row before its content is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// What it is called in its source: unique, and the same whatever subset is taken.
    pub id: String,
    /// The part that its publisher put it in.
    pub part: Option<Part>,
    /// The place of its class.
    pub label: u32,
}

/// A source whose rows are known.
pub(super) struct Gathered {
    pub name: String,
    pub title: String,
    pub source: Provenance,
    pub licence: String,
    pub citation: String,
    pub content: Content,
    pub classes: Vec<String>,
    /// What the publisher counts.
    pub counts: Option<PartCounts>,
    /// What messages call the source.
    pub label: String,
    pub rows: Vec<Row>,
    pub held: Held,
}

/// The contents of all rows, or where they are.
pub(super) enum Held {
    Texts(Vec<String>),
    Records(Vec<Records>),
    Pictures { paths: Vec<PathBuf>, shape: Shape, fit: Fit },
    Sentences(Synthetic, Text),
    Figures(Synthetic),
}

/// The most rows of a data set of texts: their ids and labels are held in memory until it is written.
const MOST_TEXTS: usize = 4_000_000;

impl Held {
    /// The contents of the rows at these places, as a column.
    pub(super) fn column(&self, places: &[u32]) -> Result<ArrayRef, Error> {
        let bytes = |images: Vec<Vec<u8>>| -> ArrayRef { Arc::new(BinaryArray::from_iter_values(images)) };
        Ok(match self {
            Self::Texts(texts) => Arc::new(StringArray::from_iter_values(places.iter().map(|&place| &texts[place as usize]))),
            Self::Records(files) => {
                let mut starts = vec![0];
                starts.extend(files.iter().scan(0, |sum, file| {
                    *sum += file.len();
                    Some(*sum)
                }));
                let pixels = places.iter().map(|&place| {
                    let file = starts.partition_point(|&start| start <= place as usize) - 1;
                    files[file].pixels(place as usize - starts[file])
                });
                Arc::new(BinaryArray::from_iter_values(pixels))
            }
            Self::Pictures { paths, shape, fit } => {
                let read = |&place: &u32| pictures::read(&paths[place as usize], *shape, *fit);
                bytes(places.par_iter().map(read).collect::<Result<_, _>>()?)
            }
            Self::Sentences(spec, text) => {
                let sentences: Vec<String> = places.par_iter().map(|&place| spec.sentence(text, place)).collect();
                Arc::new(StringArray::from_iter_values(sentences))
            }
            Self::Figures(spec) => bytes(places.par_iter().map(|&place| spec.image(place)).collect()),
        })
    }
}

impl Source {
    /// The files that are read, in a fixed order, for whoever hashes them; empty where examples are generated.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Card(found) => found.paths(),
            Self::Texts(texts) => texts.files.iter().map(|(_, path)| path.as_path()).collect(),
            Self::Folders(folders) => {
                folders.images.iter().flat_map(|(_, all)| all.iter().map(|one| one.path.as_path())).collect()
            }
            Self::Synthetic(_) => Vec::new(),
        }
    }

    /// Finds out what there is.
    pub(super) fn gather(&self) -> Result<Gathered, Error> {
        match self {
            Self::Card(found) => card(found),
            Self::Texts(own) => own_texts(own),
            Self::Folders(own) => folders(own),
            Self::Synthetic(spec) => synthetic(spec),
        }
    }
}

fn unstated(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "not stated".to_owned())
}

/// The id of the row with this number in its part.
fn id(part: Option<Part>, number: u64) -> String {
    part.map_or_else(|| number.to_string(), |part| format!("{}/{number}", part.name()))
}

fn card(found: &Found) -> Result<Gathered, Error> {
    let card = found.card;
    let Rows::Examples { content, classes, counts } = card.rows else {
        return Err(Error::Setting(format!("{} holds ratings, not examples of classes", card.name)));
    };
    let (format, inputs) = match (&card.kind, &found.files) {
        (Kind::Parts(parts), Files::Parts(inputs)) => (parts.format, inputs),
        (Kind::Synthetic, Files::Generated) => return synthetic(&Synthetic::default_of(content)),
        _ => return Err(Error::Setting(format!("{} is found as files that are not its own", card.name))),
    };
    let names: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
    let (rows, held) = match (format, content) {
        (ExampleFormat::Lines(encoding), _) => {
            let files = inputs.iter().map(|(part, input)| (Some(*part), input.clone()));
            let Lines { rows, texts, .. } = lines(files.collect(), encoding, Some(&names))?;
            (rows, Held::Texts(texts))
        }
        (ExampleFormat::Records { labels }, Content::Images(shape)) => {
            let mut rows = Vec::new();
            let mut files = Vec::new();
            let mut numbers: BTreeMap<Part, u64> = BTreeMap::new();
            for (part, input) in inputs {
                let records = Records::read(input, labels, shape.bytes(), names.len())?;
                let number = numbers.entry(*part).or_default();
                for place in 0..records.len() {
                    rows.push(Row { id: id(Some(*part), *number), part: Some(*part), label: records.label(place) });
                    *number += 1;
                }
                files.push(records);
            }
            (rows, Held::Records(files))
        }
        (ExampleFormat::Records { .. }, Content::Texts) => {
            return Err(Error::Setting(format!("{}: records hold images, not texts", card.name)));
        }
    };
    Ok(Gathered {
        name: card.name.to_owned(),
        title: card.title.to_owned(),
        source: Provenance::Real,
        licence: card.licence.to_owned(),
        citation: card.citation.to_owned(),
        content,
        classes: names,
        counts: Some(counts),
        label: card.name.to_owned(),
        rows,
        held,
    })
}

fn own_texts(own: &Texts) -> Result<Gathered, Error> {
    let files: Vec<_> = own.files.iter().map(|(part, path)| (*part, Input::File(path.clone()))).collect();
    let label = files.first().map_or_else(String::new, |(_, input)| input.label());
    let Lines { classes, rows, texts } = lines(files, own.encoding, own.classes.as_deref())?;
    Ok(Gathered {
        name: own.name.clone(),
        title: own.name.clone(),
        source: Provenance::Real,
        licence: unstated(own.licence.as_ref()),
        citation: unstated(own.citation.as_ref()),
        content: Content::Texts,
        classes,
        counts: None,
        label,
        rows,
        held: Held::Texts(texts),
    })
}

/// Lines of all files: the classes, the rows, and their texts.
struct Lines {
    classes: Vec<String>,
    rows: Vec<Row>,
    texts: Vec<String>,
}

/// Reads files of lines.
fn lines(files: Vec<(Option<Part>, Input)>, encoding: Encoding, classes: Option<&[String]>) -> Result<Lines, Error> {
    let mut read: Vec<(Option<Part>, String, Vec<Line>)> = Vec::new();
    let mut left = MOST_TEXTS;
    for (part, input) in files {
        let lines = labelled::read(&input, encoding, left)?;
        left -= lines.len();
        read.push((part, input.label(), lines));
    }
    let names = match classes {
        Some(classes) => classes.to_vec(),
        None => in_order(read.iter().flat_map(|(_, _, lines)| lines).map(|line| line.label.as_str()).collect()),
    };
    let places: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let (mut rows, mut texts) = (Vec::new(), Vec::new());
    for (part, file, lines) in read {
        for Line { number, label, text } in lines {
            let named = places.get(label.as_str()).copied();
            let numbered = || label.parse::<u32>().ok().filter(|&label| (label as usize) < names.len());
            let label = named.or_else(numbered).ok_or_else(|| Malformed {
                file: file.clone(),
                at: Some(Place::Line(number)),
                column: Some("label".to_owned()),
                found: shown(label.as_bytes()),
                expected: format!("one of the {} classes, {}, or its number from 0", names.len(), few(&names)),
            })?;
            rows.push(Row { id: id(part, number), part, label });
            texts.push(text);
        }
    }
    Ok(Lines { classes: names, rows, texts })
}

/// The first few names.
fn few(names: &[String]) -> String {
    let listed = crate::suggest::listed(names.iter().take(8).map(String::as_str));
    if names.len() > 8 { format!("{listed} and so on") } else { listed }
}

/// The names of classes in order: by number where all are whole numbers, else by their bytes.
fn in_order(names: BTreeSet<&str>) -> Vec<String> {
    let numbers: Option<BTreeMap<u64, &str>> = names.iter().map(|name| Some((name.parse().ok()?, *name))).collect();
    match numbers.filter(|numbers| numbers.len() == names.len()) {
        Some(numbers) => numbers.into_values().map(str::to_owned).collect(),
        None => names.into_iter().map(str::to_owned).collect(),
    }
}

fn folders(own: &Folders) -> Result<Gathered, Error> {
    own.shape.check()?;
    let mut found: Vec<(Option<Part>, &str, &Picture)> = Vec::new();
    for (part, images) in &own.images {
        let mut images: Vec<&Picture> = images.iter().collect();
        images.sort();
        for image in images {
            found.push((*part, class_of(image)?, image));
        }
    }
    let classes = in_order(found.iter().map(|(_, class, _)| *class).collect());
    let places: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let row = |(part, class, image): &(Option<Part>, &str, &Picture)| Row {
        id: part.map_or_else(|| image.place.clone(), |part| format!("{}/{}", part.name(), image.place)),
        part: *part,
        label: places.get(class).copied().unwrap_or_default(),
    };
    Ok(Gathered {
        name: own.name.clone(),
        title: own.name.clone(),
        source: Provenance::Real,
        licence: unstated(own.licence.as_ref()),
        citation: unstated(own.citation.as_ref()),
        content: Content::Images(own.shape),
        rows: found.iter().map(row).collect(),
        counts: None,
        label: own.name.clone(),
        held: Held::Pictures {
            paths: found.iter().map(|(_, _, image)| image.path.clone()).collect(),
            shape: own.shape,
            fit: own.fit,
        },
        classes: classes.clone(),
    })
}

/// The class of a file, which is the folder that it lies in.
fn class_of(image: &Picture) -> Result<&str, Error> {
    let wrong = |found: &str, expected: &str| Malformed {
        file: image.path.display().to_string(),
        at: None,
        column: None,
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    let parts: Vec<&str> = image.place.split('/').collect();
    let [class, file] = parts[..] else {
        let found = if parts.len() < 2 { "a file beside the classes" } else { "a folder within a class" };
        return Err(wrong(
            found,
            "CLASS/IMAGE, a folder for each class with its images: where there is a folder for each part, name these",
        )
        .into());
    };
    if !pictures::is_picture(file) {
        return Err(wrong(
            "a file that is no image by its name",
            "a name that ends in .png, .jpg or .jpeg; files whose names begin with a point are passed over",
        )
        .into());
    }
    Ok(class)
}

fn synthetic(spec: &Synthetic) -> Result<Gathered, Error> {
    spec.check()?;
    let rows = (0..spec.rows()).map(|place| {
        let (part, number) = spec.part(place);
        Row { id: id(Some(part), number.into()), part: Some(part), label: spec.label(place) }
    });
    let (card, held) = match spec.content {
        Content::Texts => (&cards::examples::SYNTHETIC_TEXT, Held::Sentences(*spec, Text::new())),
        Content::Images(_) => (&cards::examples::SYNTHETIC_IMAGES, Held::Figures(*spec)),
    };
    Ok(Gathered {
        name: card.name.to_owned(),
        title: card.title.to_owned(),
        source: Provenance::Synthetic,
        licence: card.licence.to_owned(),
        citation: card.citation.to_owned(),
        content: spec.content,
        classes: spec.class_names().map(str::to_owned).collect(),
        counts: None,
        label: "the synthetic generator".to_owned(),
        rows: rows.collect(),
        held,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_in_the_order_of_their_numbers_or_names() {
        assert_eq!(in_order(BTreeSet::from(["10", "9", "2"])), ["2", "9", "10"]);
        assert_eq!(in_order(BTreeSet::from(["dog", "10", "cat"])), ["10", "cat", "dog"]);
        // Two spellings of a number are two classes.
        assert_eq!(in_order(BTreeSet::from(["1", "01"])), ["01", "1"]);
    }
}
