//! Examples of classes made up: sentences about topics, and images of figures. For trying things out without a network, and for tests.
//!
//! A sentence has some words of its topic, a few of others, and more that say nothing; so counting words helps, and no single word
//! decides. An image shows a figure anywhere, of any size, in any two colours that differ, under noise; so no pixel decides, and neither
//! does a mean of colours. Each row is made from the seed and its own id: a row stays as it is when others are added.

use crate::error::Error;
use crate::rng::Rng;
use crate::split::Part;

use super::{Content, Shape};

/// What a sentence can be about.
pub const TOPICS: [&str; 6] = ["food", "weather", "money", "music", "travel", "health"];

/// What an image can show.
pub const FIGURES: [&str; 10] = ["disc", "ring", "square", "frame", "triangle", "plus", "cross", "rows", "columns", "checks"];

/// The size of images where no other is asked for.
pub const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };

/// Sides on which figures can be told apart.
pub const SIDES: std::ops::RangeInclusive<usize> = 12..=256;

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Texts, or images of a size.
    pub content: Content,
    /// Classes: the first of [`TOPICS`] or [`FIGURES`].
    pub classes: u32,
    /// Train rows.
    pub train: u32,
    /// Test rows.
    pub test: u32,
    /// Everything random derives from it.
    pub seed: u64,
}

impl Synthetic {
    /// The examples of the card of this content.
    pub const fn default_of(content: Content) -> Self {
        let classes = match content {
            Content::Texts => TOPICS.len(),
            Content::Images(_) => FIGURES.len(),
        };
        Self { content, classes: classes as u32, train: 2_000, test: 500, seed: 1 }
    }

    /// The most classes of such examples.
    pub const fn most_classes(content: Content) -> u32 {
        Self::default_of(content).classes
    }

    /// Whether such examples can be made.
    ///
    /// # Errors
    /// [`Error::Setting`] says what does not fit, and what would.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Setting(format!("synthetic {}: {what}", self.content.noun())));
        let most = Self::most_classes(self.content);
        if !(2..=most).contains(&self.classes) {
            return refuse(format!("{} classes; there are 2 to {most}", self.classes));
        }
        if self.train < self.classes {
            return refuse(format!("{} train rows of {} classes; each class needs one", self.train, self.classes));
        }
        if self.train.checked_add(self.test).is_none() {
            return refuse(format!("{} and {} rows; rows are numbered in 32 bits", self.train, self.test));
        }
        match self.content {
            Content::Images(shape) if shape.channels != 3 || !SIDES.contains(&shape.height) || !SIDES.contains(&shape.width) => {
                refuse(format!("{} x {} pixels; sides go from {} to {}", shape.width, shape.height, SIDES.start(), SIDES.end()))
            }
            _ => Ok(()),
        }
    }

    /// The names of its classes.
    pub fn class_names(&self) -> impl Iterator<Item = &'static str> {
        let all: &[&str] = match self.content {
            Content::Texts => &TOPICS,
            Content::Images(_) => &FIGURES,
        };
        all.iter().copied().take(self.classes as usize)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u32 {
        self.train.saturating_add(self.test)
    }

    /// The part of a row, and its number in it.
    pub(super) fn part(&self, place: u32) -> (Part, u32) {
        match place.checked_sub(self.train) {
            Some(number) => (Part::Test, number),
            None => (Part::Train, place),
        }
    }

    /// The class of a row: all have as many as they can.
    pub(super) fn label(&self, place: u32) -> u32 {
        self.part(place).1 % self.classes
    }

    fn random(&self, place: u32) -> Rng {
        let (part, number) = self.part(place);
        Rng::stream(self.seed, &format!("synthetic {} {}", self.content.noun(), part.name()), number.into())
    }

    /// The sentence of a row.
    pub(super) fn sentence(&self, text: &Text, place: u32) -> String {
        let mut random = self.random(place);
        let (own, classes) = (self.label(place) as usize, u64::from(self.classes));
        let length = 6 + random.below(9);
        let words = (0..length).map(|_| {
            let kind = random.below(100);
            let words = match kind {
                0..26 => &text.topics[own],
                26..38 => &text.topics[random.below(classes) as usize],
                _ => &text.others,
            };
            words[random.below(words.len() as u64) as usize]
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// The image of a row, plane after plane.
    pub(super) fn image(&self, place: u32) -> Vec<u8> {
        let Content::Images(shape) = self.content else { return Vec::new() };
        let mut random = self.random(place);
        let figure = self.label(place) as usize;
        let side = shape.height.min(shape.width) as f64;
        let radius = side * (0.26 + 0.16 * random.unit());
        let mut middle = |length: usize| radius + (length as f64 - 2.0 * radius) * random.unit();
        let (middle_y, middle_x) = (middle(shape.height), middle(shape.width));
        // Of each colour, what lies behind and what the figure has instead.
        let colours: Vec<(f64, f64)> = (0..shape.channels)
            .map(|_| {
                let (behind, far) = (256.0 * random.unit(), 50.0 + 90.0 * random.unit());
                (behind, if behind < 128.0 { behind + far } else { behind - far })
            })
            .collect();
        let mut bytes = Vec::with_capacity(shape.bytes());
        for (behind, before) in colours {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    let across = (x as f64 + 0.5 - middle_x) / radius;
                    let down = (y as f64 + 0.5 - middle_y) / radius;
                    let colour = if within(figure, across, down) { before } else { behind };
                    // Never negative or above 255: a cast keeps to the ends.
                    bytes.push((colour + 16.0 * random.normal()) as u8);
                }
            }
        }
        bytes
    }
}

/// Whether a point belongs to a figure, whose middle is at 0 and whose radius is 1.
fn within(figure: usize, across: f64, down: f64) -> bool {
    let squared = across * across + down * down;
    let largest = across.abs().max(down.abs());
    let inside = largest <= 0.9;
    let stripe = |at: f64| ((at + 0.9) / 0.36) as u32;
    match FIGURES[figure] {
        "disc" => squared <= 0.9,
        "ring" => (0.3..=0.9).contains(&squared),
        "square" => largest <= 0.8,
        "frame" => (0.45..=0.9).contains(&largest),
        "triangle" => inside && across.abs() <= (down + 0.9) / 2.0,
        "plus" => inside && across.abs().min(down.abs()) <= 0.28,
        "cross" => inside && (across.abs() - down.abs()).abs() <= 0.36,
        "rows" => inside && stripe(down) % 2 == 0,
        "columns" => inside && stripe(across) % 2 == 0,
        _ => inside && (stripe(down) + stripe(across)) % 2 == 0,
    }
}

/// The words of sentences.
pub(super) struct Text {
    /// Those of each topic, in the order of [`TOPICS`].
    topics: Vec<Vec<&'static str>>,
    /// Those that say nothing.
    others: Vec<&'static str>,
}

impl Text {
    pub(super) fn new() -> Self {
        let words = |text: &'static str| text.split_whitespace().collect();
        Self { topics: TOPIC_WORDS.iter().map(|text| words(text)).collect(), others: words(OTHER_WORDS) }
    }
}

/// Some words belong to two topics.
const TOPIC_WORDS: [&str; 6] = [
    "bread soup cheese apple kitchen salt dinner taste recipe oven butter sugar rice fruit meal spoon cook sweet fresh hungry plate juice hot pepper",
    "rain storm cloud sunny wind snow thunder cold warm forecast fog umbrella degrees frost humid breeze sky shower dry hot wet season flood hail",
    "bank price loan coin salary tax invest rent cash market debt budget bill trade wallet credit profit cheap cost savings fair interest note change",
    "song guitar melody piano concert drum singer band rhythm tune violin chorus album note stage loud dance opera record listen beat sharp play jazz",
    "train ticket hotel airport journey map luggage bridge harbour road flight passport tourist beach mountain ferry border station coast fair taxi guide trip bus",
    "doctor fever sleep medicine heart pain exercise hospital cough diet nurse pulse bandage vitamin tired clinic allergy beat muscle headache cold rest breath sharp",
];

const OTHER_WORDS: &str = "the a this that one some any every we they you it he she there here now then today often maybe just really \
    was is are will would could should had has made saw took went came found said thinks knows wants with without about after before near \
    for from into very quite little more less good bad new old long short first last next again always never because and but or so";

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: Synthetic = Synthetic::default_of(Content::Texts);
    const IMAGES: Synthetic = Synthetic::default_of(Content::Images(SHAPE));

    #[test]
    fn what_cannot_be_made_is_refused() {
        assert!(TEXTS.check().is_ok() && IMAGES.check().is_ok());
        let shape = |height, width| Content::Images(Shape { channels: 3, height, width });
        for bad in [
            Synthetic { classes: 1, ..TEXTS },
            Synthetic { classes: 7, ..TEXTS },
            Synthetic { classes: 11, ..IMAGES },
            Synthetic { train: 5, ..TEXTS },
            Synthetic { test: u32::MAX, ..TEXTS },
            Synthetic { content: shape(11, 32), ..IMAGES },
            Synthetic { content: shape(32, 257), ..IMAGES },
            Synthetic { content: Content::Images(Shape { channels: 1, ..SHAPE }), ..IMAGES },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_row_stays_as_it_is_when_others_are_added() {
        let text = Text::new();
        let more = Synthetic { train: 3_000, ..TEXTS };
        assert_eq!(TEXTS.sentence(&text, 7), more.sentence(&text, 7));
        assert_eq!(TEXTS.sentence(&text, 2_003), more.sentence(&text, 3_003));
        assert_ne!(TEXTS.sentence(&text, 3), TEXTS.sentence(&text, 2_003));
        assert_ne!(IMAGES.image(3), Synthetic { seed: 2, ..IMAGES }.image(3));
    }

    #[test]
    fn no_word_is_twice_in_a_list_and_few_are_in_two() {
        let text = Text::new();
        let mut count = std::collections::BTreeMap::new();
        for words in &text.topics {
            assert_eq!(words.iter().collect::<std::collections::BTreeSet<_>>().len(), 24);
            words.iter().for_each(|word| *count.entry(*word).or_insert(0) += 1);
        }
        assert!((4..12).contains(&count.values().filter(|&&count| count > 1).count()));
        assert!(text.others.iter().all(|word| !count.contains_key(word)));
    }

    /// Counting words finds most topics, and not all of them.
    #[test]
    fn sentences_can_be_learnt_and_are_not_trivial() {
        let text = Text::new();
        let mut counts = vec![std::collections::BTreeMap::<String, f64>::new(); TOPICS.len()];
        for place in 0..TEXTS.train {
            for word in TEXTS.sentence(&text, place).split(' ') {
                *counts[TEXTS.label(place) as usize].entry(word.to_owned()).or_default() += 1.0;
            }
        }
        let totals: Vec<f64> = counts.iter().map(|counts| counts.values().sum()).collect();
        let guess = |sentence: &str| {
            let score = |class: usize| -> f64 {
                let likely = |word: &str| (counts[class].get(word).copied().unwrap_or(0.0) + 0.5) / totals[class];
                sentence.split(' ').map(|word| likely(word).ln()).sum()
            };
            (0..TOPICS.len()).max_by(|&a, &b| score(a).total_cmp(&score(b)))
        };
        let test = TEXTS.train..TEXTS.rows();
        let right = test.filter(|&place| guess(&TEXTS.sentence(&text, place)) == Some(TEXTS.label(place) as usize)).count();
        assert!((390..490).contains(&right), "{right} of 500");
    }

    /// The mean image of a class says little about its images; the figures themselves can be told apart.
    #[test]
    fn images_are_not_trivial_and_figures_differ() {
        let spec = Synthetic { train: 600, test: 300, ..IMAGES };
        let mut means = vec![vec![0.0; SHAPE.bytes()]; FIGURES.len()];
        for place in 0..spec.train {
            let mean = &mut means[spec.label(place) as usize];
            mean.iter_mut().zip(spec.image(place)).for_each(|(mean, byte)| *mean += f64::from(byte) / 60.0);
        }
        let near = |image: &[u8]| {
            let far = |mean: &[f64]| -> f64 { mean.iter().zip(image).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum() };
            (0..FIGURES.len()).min_by(|&a, &b| far(&means[a]).total_cmp(&far(&means[b])))
        };
        let right =
            (spec.train..spec.rows()).filter(|&place| near(&spec.image(place)) == Some(spec.label(place) as usize)).count();
        assert!(right < 90, "{right} of 300 by the nearest mean");
        let grid = |figure| -> Vec<bool> {
            let at = |n: usize| n as f64 / 10.0 - 1.0;
            (0..441).map(|n| within(figure, at(n % 21), at(n / 21))).collect()
        };
        for (a, name) in FIGURES.iter().enumerate() {
            for (b, other) in FIGURES.iter().enumerate().take(a) {
                let differ = grid(a).iter().zip(grid(b)).filter(|(one, other)| **one != *other).count();
                assert!(differ > 40, "{name} and {other}: {differ}");
            }
        }
    }
}
