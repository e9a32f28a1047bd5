//! Texts with labels: in both encodings, with named classes and without, in one file or in parts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::cards::Encoding;
use talkflow_datasets::examples::{Source, Subset, Texts};
use talkflow_datasets::split::Part;
use talkflow_fuzz::{choice, chosen, made, written};

fn seeds() -> Vec<Vec<u8>> {
    vec![
        chosen(0, "1 a stirring film\n0 apparently reassembled .\n\n1 x\r\n"),
        chosen(1, b"HUM:ind\twho ?\nABBR caf\xe9 ?\n"),
        chosen(2, "no bad\nyes good\n1 fine\n"),
        chosen(4, "10 a\n9 b\n010 c\n"),
    ]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let file = written("texts", text);
    let other = written("other", b"0 x\n1 y\n");
    let files = match kind & 4 {
        0 => vec![(None, file)],
        _ => vec![(Some(Part::Train), file), (Some(Part::Test), other)],
    };
    let source = Source::Texts(Texts {
        name: "own".to_owned(),
        files,
        encoding: if kind & 1 == 0 { Encoding::Utf8 } else { Encoding::Latin1 },
        classes: (kind & 2 == 2).then(|| ["no", "yes"].map(str::to_owned).to_vec()),
        licence: None,
        citation: None,
    });
    let subset = Subset { per_class: 2, validation: None, test: Some(1), seed: 1 };
    made(&source, (kind & 8 == 8).then_some(&subset));
});
