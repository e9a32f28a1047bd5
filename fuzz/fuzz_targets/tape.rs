//! Archives of a published data set that are tapes packed by gzip, read in place.
//!
//! An input is the tape, which is packed here; where its first byte is odd, it is what is packed already.

#![no_main]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use talkflow_datasets::Input;
use talkflow_datasets::cards;
use talkflow_datasets::examples::Source;
use talkflow_datasets::locate::{Files, Found, Origin};
use talkflow_datasets::split::Part;
use talkflow_fuzz::{choice, chosen, made, written};

fn packed(tape: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(tape).and_then(|()| packer.finish()).expect("memory")
}

fn seeds() -> Vec<Vec<u8>> {
    let entry = |name: &str, kind: u8, bytes: &[u8]| {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar  \0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        [&block[..], bytes, &vec![0; bytes.len().next_multiple_of(512) - bytes.len()]].concat()
    };
    let record = [&[1, 7][..], &[9; 3072]].concat();
    let parts = [
        entry("cifar-100-binary/", b'5', b""),
        entry("cifar-100-binary/train.bin", b'0', &record),
        entry("remark", b'x', b"30 mtime=1\n"),
        entry("cifar-100-binary/test.bin", b'0', &record),
        vec![0; 1024],
    ];
    let tape = parts.concat();
    vec![chosen(0, &tape), chosen(1, packed(&tape))]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    let archive = if kind % 2 == 0 { written("a.tar.gz", &packed(bytes)) } else { written("a.tar.gz", bytes) };
    let entry = |name: &str| Input::Entry { archive: archive.clone(), name: name.to_owned() };
    let files = Files::Parts(vec![(Part::Train, entry("train.bin")), (Part::Test, entry("test.bin"))]);
    let card = cards::find("cifar/100").expect("a card");
    made(&Source::Card(Found { card, files, origin: Origin::Generated }), None);
});
