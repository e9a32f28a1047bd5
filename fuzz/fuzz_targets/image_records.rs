//! CIFAR's binary files. They have to have as many records as their publisher says, so that cards with other numbers stand in here.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::Input;
use talkflow_datasets::cards::{self, Card, Rows};
use talkflow_datasets::examples::Source;
use talkflow_datasets::locate::{Files, Found, Origin};
use talkflow_datasets::split::{Part, PartCounts};
use talkflow_fuzz::{choice, chosen, made, written};

/// The cards with one to four train images.
fn cards() -> &'static [Card] {
    static CARDS: std::sync::OnceLock<Vec<Card>> = std::sync::OnceLock::new();
    CARDS.get_or_init(|| {
        let card = |(name, images): (&str, u64)| {
            let mut card = cards::find(name).expect("a card").clone();
            if let Rows::Examples { counts, .. } = &mut card.rows {
                *counts = PartCounts { train: images, validation: 0, test: 0 };
            }
            card
        };
        (1..5).flat_map(|images| [("cifar/10", images), ("cifar/100", images)]).map(card).collect()
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let records = |labels: &[&[u8]]| labels.iter().flat_map(|labels| [labels, &[9; 3072][..]].concat()).collect::<Vec<u8>>();
    vec![chosen(0, records(&[&[3]])), chosen(3, records(&[&[1, 99], &[0, 7]])), chosen(4, records(&[&[1], &[2], &[9]]))]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    let card = &cards()[usize::from(kind) % cards().len()];
    let files = Files::Parts(vec![(Part::Train, Input::File(written("batch.bin", bytes)))]);
    made(&Source::Card(Found { card, files, origin: Origin::Generated }), None);
});
