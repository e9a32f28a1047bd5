//! The cards: every data set talkflow knows by name, what it is, where it lies and how to tell that it arrived whole.
//!
//! A card knows addresses and sums, and opens neither files nor connections. [`CARDS`] is the one list; adding a data set in a
//! known format is one entry there.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::examples::Content;
use crate::split::{Part, PartCounts};
use crate::suggest;

pub(crate) mod examples;

/// What is known about a data set before any of it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The name a manifest uses, such as `movielens/100k`.
    pub name: &'static str,
    /// The name people use.
    pub title: &'static str,
    /// What its rows are.
    pub rows: Rows,
    /// Where the rows come from.
    pub kind: Kind,
    /// The terms under which the data may be used.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
}

/// What the rows of a data set are, and what its publisher counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Ratings of items by users.
    Ratings {
        /// The ratings that can occur.
        scale: Scale,
        /// How many there are.
        counts: Counts,
    },
    /// Examples of classes: texts or images, each with a label.
    Examples {
        /// What an example is.
        content: Content,
        /// The names of the classes, in the order of their labels.
        classes: &'static [&'static str],
        /// Rows of each part that the publisher made.
        counts: PartCounts,
    },
}

/// Where a card's rows come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A published archive of ratings.
    Archive(Archive),
    /// Published files of examples, in parts.
    Parts(Parts),
    /// A generator makes them; there is nothing to find or to fetch.
    Synthetic,
}

/// A file that can be downloaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Download {
    /// Its name, in the data folder and in the download cache.
    pub file: &'static str,
    /// Where it can be downloaded, tried in this order.
    pub addresses: &'static [&'static str],
    /// Its size in bytes, where published; a download of another size is refused.
    pub bytes: Option<u64>,
    /// A download beyond this many bytes is refused.
    pub limit: u64,
    /// Its checksum.
    pub checksum: Checksum,
}

/// A published archive of ratings and how to read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// The archive.
    pub download: Download,
    /// The folder's names once somebody has unpacked it.
    pub folders: &'static [&'static str],
    /// How the files inside are written.
    pub format: Format,
    /// Every genre its films have.
    pub genres: &'static [&'static str],
}

/// Published files of examples and how to read them.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// What is downloaded.
    pub published: Published,
    /// The folders of a data folder in which the files may lie, unpacked; the empty name is the data folder itself.
    pub folders: &'static [&'static str],
    /// The files, each with the part it belongs to, in the order of rows.
    pub files: &'static [(Part, &'static str)],
    /// How the files are written.
    pub format: ExampleFormat,
}

impl Parts {
    /// Everything that is downloaded.
    pub fn downloads(&self) -> &[Download] {
        match &self.published {
            Published::Archive(archive) => std::slice::from_ref(archive),
            Published::Files(files) => files,
        }
    }
}

/// How files of examples are published.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// All in one archive.
    Archive(Download),
    /// Each by itself, in the order of [`Parts::files`] and under the same names.
    Files(&'static [Download]),
}

/// How files of examples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExampleFormat {
    /// CIFAR's binary records: this many bytes of labels, the last of which counts, then the pixels.
    Records {
        /// Bytes before the pixels.
        labels: usize,
    },
    /// A line an example: the number of its class, a space, the text.
    Lines(Encoding),
}

/// How the bytes of a text are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As UTF-8; anything else is a mistake.
    Utf8,
    /// As ISO 8859-1, in which every byte is a character.
    Latin1,
}

/// How a MovieLens release writes its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `u.data` (tabs) and `u.item` (bars, a flag for each genre): 100K.
    Tab,
    /// `ratings.dat` and `movies.dat` with `::` between fields: 1M and 10M.
    DoubleColon,
    /// `ratings.csv` and `movies.csv` with a header: latest-small and everything since 20M.
    Csv,
}

impl Format {
    /// The names of the file of ratings and of the file of films.
    pub const fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Tab => ("u.data", "u.item"),
            Self::DoubleColon => ("ratings.dat", "movies.dat"),
            Self::Csv => ("ratings.csv", "movies.csv"),
        }
    }
}

/// A published checksum, in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256.
    Sha256(&'static str),
    /// MD5, where the publisher gives nothing better: it tells a damaged file, not a forged one.
    Md5(&'static str),
}

impl Checksum {
    /// The algorithm's name.
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Md5(_) => "md5",
        }
    }

    /// The sum in hexadecimal.
    pub const fn hex(self) -> &'static str {
        match self {
            Self::Sha256(hex) | Self::Md5(hex) => hex,
        }
    }
}

/// The ratings that can occur.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The lowest rating.
    pub min: f32,
    /// The highest rating.
    pub max: f32,
    /// The distance between neighbouring ratings, where they come in steps.
    pub step: Option<f32>,
}

impl Scale {
    /// Checks ends and step.
    ///
    /// # Errors
    /// [`Error::Setting`] where they are not finite, the lowest is not below the highest, or the step does not lead from one to the other.
    pub fn new(min: f32, max: f32, step: Option<f32>) -> Result<Self, Error> {
        let scale = Self { min, max, step };
        if !(min.is_finite() && max.is_finite() && min < max) {
            return Err(Error::Setting(format!(
                "a rating scale from {min} to {max}: the ends must be finite, the lower one first"
            )));
        }
        if let Some(step) = step.filter(|&step| !(step > 0.0 && step <= max - min && scale.contains(max))) {
            return Err(Error::Setting(format!(
                "a rating scale from {min} to {max}: steps of {step} do not lead from one to the other"
            )));
        }
        Ok(scale)
    }

    /// Whether `rating` lies between the ends and on a step.
    pub fn contains(&self, rating: f32) -> bool {
        // Written so that a not-a-number is outside.
        if !(rating >= self.min && rating <= self.max) {
            return false;
        }
        self.step.is_none_or(|step| {
            let steps = (rating - self.min) / step;
            (steps - steps.round()).abs() <= 1e-3
        })
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.min, self.max)?;
        match self.step {
            Some(step) => write!(f, " in steps of {step}"),
            None => Ok(()),
        }
    }
}

/// What a publisher counts. Films that nobody rated are among its items and not among those of the prepared artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Rows.
    pub ratings: u64,
    /// Users.
    pub users: u64,
    /// Items.
    pub items: u64,
}

const LICENCE: &str = "GroupLens terms of use: research only, no commercial use without permission, cite the paper; \
    see the README inside the archive for redistribution";
const CITATION: &str = "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM Transactions \
    on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872";
const WHOLE_STARS: Scale = Scale { min: 1.0, max: 5.0, step: Some(1.0) };
const HALF_STARS: Scale = Scale { min: 0.5, max: 5.0, step: Some(0.5) };

/// The genres of 100K and 1M, in the order of the flags of 100K's `u.item`.
pub(crate) const EARLY_GENRES: [&str; 18] = [
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];
/// The genres of all later ones.
const GENRES: [&str; 19] = [
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];

/// Every card: ratings, then texts, then images; each smallest data set first, the synthetic one last.
pub static CARDS: [Card; 14] = [
    Card {
        name: "movielens/100k",
        title: "MovieLens 100K",
        rows: Rows::Ratings { scale: WHOLE_STARS, counts: Counts { ratings: 100_000, users: 943, items: 1_682 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-100k.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-100k.zip"],
                bytes: Some(4_924_029),
                limit: 4_924_029,
                checksum: Checksum::Sha256("50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
            },
            folders: &["ml-100k"],
            format: Format::Tab,
            genres: &EARLY_GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/latest-small",
        title: "MovieLens latest-small (September 2018)",
        rows: Rows::Ratings { scale: HALF_STARS, counts: Counts { ratings: 100_836, users: 610, items: 9_742 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-latest-small.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"],
                bytes: Some(978_202),
                limit: 978_202,
                checksum: Checksum::Sha256("696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"),
            },
            folders: &["ml-latest-small"],
            format: Format::Csv,
            genres: &GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/1m",
        title: "MovieLens 1M",
        rows: Rows::Ratings { scale: WHOLE_STARS, counts: Counts { ratings: 1_000_209, users: 6_040, items: 3_883 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-1m.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-1m.zip"],
                bytes: Some(5_917_549),
                limit: 5_917_549,
                checksum: Checksum::Sha256("a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
            },
            folders: &["ml-1m"],
            format: Format::DoubleColon,
            genres: &EARLY_GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/10m",
        title: "MovieLens 10M",
        rows: Rows::Ratings { scale: HALF_STARS, counts: Counts { ratings: 10_000_054, users: 71_567, items: 10_681 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-10m.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-10m.zip"],
                bytes: None,
                limit: 100 << 20,
                checksum: Checksum::Md5("ce571fd55effeba0271552578f2648bd"),
            },
            folders: &["ml-10M100K", "ml-10m"],
            format: Format::DoubleColon,
            genres: &GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/20m",
        title: "MovieLens 20M",
        rows: Rows::Ratings { scale: HALF_STARS, counts: Counts { ratings: 20_000_263, users: 138_493, items: 27_278 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-20m.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-20m.zip"],
                bytes: Some(198_702_078),
                limit: 198_702_078,
                checksum: Checksum::Sha256("96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
            },
            folders: &["ml-20m"],
            format: Format::Csv,
            genres: &GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/25m",
        title: "MovieLens 25M",
        rows: Rows::Ratings { scale: HALF_STARS, counts: Counts { ratings: 25_000_095, users: 162_541, items: 62_423 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-25m.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-25m.zip"],
                bytes: Some(261_978_986),
                limit: 261_978_986,
                checksum: Checksum::Sha256("8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
            },
            folders: &["ml-25m"],
            format: Format::Csv,
            genres: &GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/32m",
        title: "MovieLens 32M",
        rows: Rows::Ratings { scale: HALF_STARS, counts: Counts { ratings: 32_000_204, users: 200_948, items: 87_585 } },
        kind: Kind::Archive(Archive {
            download: Download {
                file: "ml-32m.zip",
                addresses: &["https://files.grouplens.org/datasets/movielens/ml-32m.zip"],
                bytes: Some(238_950_008),
                limit: 238_950_008,
                checksum: Checksum::Md5("d472be332d4daa821edc399621853b57"),
            },
            folders: &["ml-32m"],
            format: Format::Csv,
            genres: &GENRES,
        }),
        licence: LICENCE,
        citation: CITATION,
    },
    Card {
        name: "movielens/synthetic",
        title: "synthetic ratings in the likeness of MovieLens 100K",
        rows: Rows::Ratings { scale: WHOLE_STARS, counts: Counts { ratings: 100_000, users: 943, items: 1_682 } },
        kind: Kind::Synthetic,
        licence: "made by talkflow; free of any terms",
        citation: "none needed: no person gave these ratings",
    },
    examples::TREC,
    examples::SST2,
    examples::SYNTHETIC_TEXT,
    examples::CIFAR_10,
    examples::CIFAR_100,
    examples::SYNTHETIC_IMAGES,
];

impl Card {
    /// Every genre its items have, so that a misspelt one can be told before the data are here; none where rows are no ratings.
    pub fn genres(&self) -> Vec<&'static str> {
        match (&self.kind, &self.rows) {
            (Kind::Archive(archive), _) => archive.genres.to_vec(),
            (Kind::Synthetic, Rows::Ratings { .. }) => crate::synthetic::genre_names().collect(),
            (Kind::Parts(_) | Kind::Synthetic, _) => Vec::new(),
        }
    }

    /// What an example is; `None` where rows are ratings.
    pub fn content(&self) -> Option<Content> {
        match self.rows {
            Rows::Examples { content, .. } => Some(content),
            Rows::Ratings { .. } => None,
        }
    }

    /// Everything that can be downloaded for it.
    pub fn downloads(&self) -> &[Download] {
        match &self.kind {
            Kind::Archive(archive) => std::slice::from_ref(&archive.download),
            Kind::Parts(parts) => parts.downloads(),
            Kind::Synthetic => &[],
        }
    }
}

/// A name that no card has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no data set is called `{name}`{}; known are {known}", .nearest.map_or_else(String::new, |n| format!(" (did you mean `{n}`?)")))]
pub struct UnknownCard {
    /// What was asked for.
    pub name: String,
    /// The card most like it, if any is.
    pub nearest: Option<&'static str>,
    /// All names, for the message.
    known: String,
}

/// The card called `name`.
///
/// # Errors
/// [`UnknownCard`], with the nearest name and the list of all.
pub fn find(name: &str) -> Result<&'static Card, UnknownCard> {
    CARDS.iter().find(|card| card.name == name).ok_or_else(|| UnknownCard {
        name: name.to_owned(),
        nearest: suggest::nearest(name, CARDS.iter().map(|card| card.name)),
        known: suggest::listed(CARDS.iter().map(|card| card.name)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_card_is_found_by_its_name_and_names_are_unique() {
        let names: BTreeSet<_> = CARDS.iter().map(|card| card.name).collect();
        assert_eq!(names.len(), CARDS.len());
        for card in &CARDS {
            assert_eq!(find(card.name), Ok(card));
        }
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let error = find("movielens/latest-smal").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("did you mean `movielens/latest-small`?"), "{error}");
        assert!(error.contains("`movielens/32m`"), "{error}");
        assert_eq!(find("25m").err().and_then(|e| e.nearest), Some("movielens/25m"));
        assert_eq!(find("imagenet").err().and_then(|e| e.nearest), None);
    }

    #[test]
    fn sums_addresses_and_limits_are_well_formed() {
        for card in &CARDS {
            for download in card.downloads() {
                let length = match download.checksum {
                    Checksum::Sha256(_) => 64,
                    Checksum::Md5(_) => 32,
                };
                let hex = download.checksum.hex();
                assert_eq!(hex.len(), length, "{}", card.name);
                assert!(hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{}", card.name);
                assert!(download.addresses.iter().all(|a| a.starts_with("https://") && a.ends_with(download.file)));
                assert!(download.bytes.is_none_or(|bytes| bytes <= download.limit));
            }
            assert_eq!(card.downloads().is_empty(), card.kind == Kind::Synthetic, "{}", card.name);
        }
    }

    #[test]
    fn classes_of_a_card_have_different_names_and_its_files_are_published() {
        for card in &CARDS {
            let Rows::Examples { classes, .. } = card.rows else { continue };
            let names: BTreeSet<_> = classes.iter().collect();
            assert!(names.len() == classes.len() && names.len() > 1, "{}", card.name);
            let Kind::Parts(Parts { published, files, .. }) = &card.kind else { continue };
            if let Published::Files(published) = published {
                let published: Vec<_> = published.iter().map(|download| download.file).collect();
                assert_eq!(published, files.iter().map(|(_, file)| *file).collect::<Vec<_>>(), "{}", card.name);
            }
        }
    }

    #[test]
    fn a_scale_that_cannot_be_is_refused() {
        assert!(Scale::new(1.0, 5.0, Some(1.0)).is_ok() && Scale::new(-10.0, 10.0, None).is_ok());
        for (min, max, step) in [
            (5.0, 1.0, None),
            (1.0, 1.0, None),
            (f32::NAN, 1.0, None),
            (0.0, f32::INFINITY, None),
            (1.0, 5.0, Some(0.0)),
            (1.0, 5.0, Some(-1.0)),
            (1.0, 5.0, Some(3.0)),
            (1.0, 5.0, Some(8.0)),
            (1.0, 5.0, Some(f32::NAN)),
        ] {
            assert!(Scale::new(min, max, step).is_err(), "{min} {max} {step:?}");
        }
        for card in &CARDS {
            let Rows::Ratings { scale, .. } = card.rows else { continue };
            assert!(Scale::new(scale.min, scale.max, scale.step).is_ok(), "{}", card.name);
        }
    }

    #[test]
    fn a_scale_knows_its_ends_and_steps() {
        for good in [0.5, 1.0, 3.5, 5.0] {
            assert!(HALF_STARS.contains(good), "{good}");
        }
        for bad in [0.0, 0.4, 3.25, 5.5, f32::NAN, f32::INFINITY] {
            assert!(!HALF_STARS.contains(bad), "{bad}");
        }
        assert!(!WHOLE_STARS.contains(2.5));
        assert!(Scale { min: 0.0, max: 1.0, step: None }.contains(0.123));
    }
}
