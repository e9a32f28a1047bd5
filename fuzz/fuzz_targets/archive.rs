//! Zip archives of a published data set, read in place.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::Input;
use talkflow_datasets::cards::{self, Format};
use talkflow_datasets::locate::{Files, Found, Origin};
use talkflow_datasets::prepare::{Source, prepare};
use talkflow_datasets::progress::Silent;
use talkflow_fuzz::{FLAGS, scratch, written};
use zip::write::SimpleFileOptions;

fn seeds() -> Vec<Vec<u8>> {
    let zipped = |method, folder: &str| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        let ratings = "1\t1\t3\t881250949\n2\t2\t4\t891717742\n".repeat(3);
        for (name, text) in [("u.data", ratings.as_str()), ("u.item", FLAGS), ("README", "text")] {
            archive.start_file(format!("{folder}{name}"), options).expect("an entry");
            std::io::Write::write_all(&mut archive, text.as_bytes()).expect("memory");
        }
        archive.finish().expect("an archive").into_inner()
    };
    vec![zipped(zip::CompressionMethod::Stored, ""), zipped(zip::CompressionMethod::Deflated, "ml-100k/")]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let archive = written("a.zip", input);
    let entry = |name: &str| Input::Entry { archive: archive.clone(), name: name.to_owned() };
    let files = Files::Official { format: Format::Tab, ratings: entry("u.data"), items: entry("u.item") };
    let card = cards::find("movielens/100k").expect("a card");
    let out = scratch().join("out");
    std::fs::create_dir_all(&out).expect("TMPDIR can be written");
    let _ = prepare(&Source::Card(Found { card, files, origin: Origin::Generated }), &out, &mut Silent);
});
