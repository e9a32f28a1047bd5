//! The files of artifacts of examples, one of them changed, read and split as later stages do; and a csv of parts.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use talkflow_datasets::examples::{Content, EXAMPLES, Examples, ExamplesFiles, Shape, Source, make, synthetic::Synthetic};
use talkflow_datasets::progress::Silent;
use talkflow_datasets::ratings::DATASET;
use talkflow_datasets::split::{ClassSplit, Fractions, Split};
use talkflow_fuzz::{choice, chosen, scratch, written};

/// Texts, and images.
const CONTENTS: [Content; 2] = [Content::Texts, Content::Images(Shape { channels: 3, height: 12, width: 12 })];

/// The folder, and its files as they should be.
fn whole(content: usize) -> &'static (std::path::PathBuf, [Vec<u8>; 2]) {
    static WHOLE: [OnceLock<(std::path::PathBuf, [Vec<u8>; 2])>; 2] = [const { OnceLock::new() }; 2];
    WHOLE[content].get_or_init(|| {
        let folder = scratch().join(format!("examples-{content}"));
        std::fs::create_dir_all(&folder).expect("TMPDIR can be written");
        let spec = Synthetic { train: 20, test: 10, ..Synthetic::default_of(CONTENTS[content]) };
        make(&Source::Synthetic(spec), None, &folder, &mut Silent).expect("generated examples can be prepared");
        let read = |name: &str| std::fs::read(Path::new(&folder).join(name)).expect("a file of the artifact");
        let files = [read(EXAMPLES), read(DATASET)];
        (folder, files)
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let file = |(content, file): (u8, u8)| chosen(2 * content + file, &whole(content.into()).1[usize::from(file)]);
    let parts: String = (0..30).map(|row| format!("{row},{}\n", ["train", "validation", "test"][row % 3])).collect();
    [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().map(file).chain([chosen(4, format!("row,part\n{parts}"))]).collect()
}

fuzz_target!(init: talkflow_fuzz::begin_guarded(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    let (folder, good) = whole(usize::from(kind / 2 % 2));
    let files = ExamplesFiles::in_folder(folder);
    if kind % 5 == 4 {
        let csv = written("split.csv", bytes);
        let examples = Examples::open(&files).expect("the artifact");
        let _ = Split::of_examples(&examples, &ClassSplit::Rows(csv), 1);
        return;
    }
    let changed = usize::from(kind % 2);
    let path = if changed == 0 { &files.examples } else { &files.dataset };
    std::fs::write(path, bytes).expect("TMPDIR can be written");
    if let Ok(examples) = Examples::open(&files) {
        let _ = (examples.contents(), examples.shard(0), examples.ids().len());
        let _ = Split::of_examples(&examples, &ClassSplit::Given(None), 1);
        let _ = Split::of_examples(&examples, &ClassSplit::ByClass(Fractions::new(0.5, 0.25, 0.25).expect("shares of 1")), 1);
    }
    std::fs::write(path, &good[changed]).expect("TMPDIR can be written");
});
