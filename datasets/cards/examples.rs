//! The cards of examples with classes: texts and images.

use super::{Card, Checksum, Download, Encoding, ExampleFormat, Kind, Parts, Published, Rows};
use crate::examples::{Content, Shape, synthetic};
use crate::split::{Part, PartCounts};

/// The folders in which files of sentences may lie.
const TEXT_FOLDERS: &[&str] = &["", "text"];
const UNSTATED: &str = "not stated by its publishers";

/// A small file of which everything is known.
const fn file(file: &'static str, addresses: &'static [&'static str], bytes: u64, sha256: &'static str) -> Download {
    Download { file, addresses, bytes: Some(bytes), limit: bytes, checksum: Checksum::Sha256(sha256) }
}

pub(super) const TREC: Card = Card {
    name: "trec",
    title: "TREC questions of six types",
    rows: Rows::Examples {
        content: Content::Texts,
        classes: &["DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"],
        counts: PartCounts { train: 5_452, validation: 0, test: 500 },
    },
    kind: Kind::Parts(Parts {
        published: Published::Files(&[
            file(
                "TREC.train.all",
                &["https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/TREC.train.all"],
                292_402,
                "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e",
            ),
            file(
                "TREC.test.all",
                &["https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/TREC.test.all"],
                19_479,
                "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566",
            ),
        ]),
        folders: TEXT_FOLDERS,
        files: &[(Part::Train, "TREC.train.all"), (Part::Test, "TREC.test.all")],
        format: ExampleFormat::Lines(Encoding::Latin1),
    }),
    licence: UNSTATED,
    citation: "Xin Li and Dan Roth. 2002. Learning Question Classifiers. COLING 2002. https://aclanthology.org/C02-1150",
};

pub(super) const SST2: Card = Card {
    name: "sst2",
    title: "Stanford Sentiment Treebank, whole sentences, two classes",
    rows: Rows::Examples {
        content: Content::Texts,
        classes: &["negative", "positive"],
        counts: PartCounts { train: 6_920, validation: 872, test: 1_821 },
    },
    kind: Kind::Parts(Parts {
        published: Published::Files(&[
            file(
                "stsa.binary.train",
                &["https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/stsa.binary.train"],
                738_844,
                "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
            ),
            file(
                "stsa.binary.dev",
                &["https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/stsa.binary.dev"],
                94_400,
                "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
            ),
            file(
                "stsa.binary.test",
                &["https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/stsa.binary.test"],
                193_562,
                "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
            ),
        ]),
        folders: TEXT_FOLDERS,
        files: &[(Part::Train, "stsa.binary.train"), (Part::Validation, "stsa.binary.dev"), (Part::Test, "stsa.binary.test")],
        format: ExampleFormat::Lines(Encoding::Utf8),
    }),
    licence: UNSTATED,
    citation: "Richard Socher, Alex Perelygin, Jean Wu, Jason Chuang, Christopher Manning, Andrew Ng and Christopher Potts. 2013. \
        Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank. EMNLP 2013. https://aclanthology.org/D13-1170",
};

const KRIZHEVSKY: &str = "Alex Krizhevsky. 2009. Learning Multiple Layers of Features from Tiny Images. Technical report, \
    University of Toronto. https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf";
const TINY: Content = Content::Images(Shape { channels: 3, height: 32, width: 32 });

pub(super) const CIFAR_10: Card = Card {
    name: "cifar/10",
    title: "CIFAR-10",
    rows: Rows::Examples {
        content: TINY,
        classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
        counts: PartCounts { train: 50_000, validation: 0, test: 10_000 },
    },
    kind: Kind::Parts(Parts {
        published: Published::Archive(file(
            "cifar-10-binary.tar.gz",
            &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        )),
        folders: &["cifar-10-batches-bin"],
        files: &[
            (Part::Train, "data_batch_1.bin"),
            (Part::Train, "data_batch_2.bin"),
            (Part::Train, "data_batch_3.bin"),
            (Part::Train, "data_batch_4.bin"),
            (Part::Train, "data_batch_5.bin"),
            (Part::Test, "test_batch.bin"),
        ],
        format: ExampleFormat::Records { labels: 1 },
    }),
    licence: UNSTATED,
    citation: KRIZHEVSKY,
};

pub(super) const CIFAR_100: Card = Card {
    name: "cifar/100",
    title: "CIFAR-100, fine classes",
    rows: Rows::Examples { content: TINY, classes: &FINE, counts: PartCounts { train: 50_000, validation: 0, test: 10_000 } },
    kind: Kind::Parts(Parts {
        published: Published::Archive(file(
            "cifar-100-binary.tar.gz",
            &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        )),
        folders: &["cifar-100-binary"],
        files: &[(Part::Train, "train.bin"), (Part::Test, "test.bin")],
        // The coarse class, then the fine one.
        format: ExampleFormat::Records { labels: 2 },
    }),
    licence: UNSTATED,
    citation: KRIZHEVSKY,
};

/// CIFAR-100's fine classes.
const FINE: [&str; 100] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];

pub(crate) const SYNTHETIC_TEXT: Card = Card {
    name: "synthetic/text",
    title: "synthetic sentences about topics",
    rows: Rows::Examples {
        content: Content::Texts,
        classes: &synthetic::TOPICS,
        counts: PartCounts { train: 2_000, validation: 0, test: 500 },
    },
    kind: Kind::Synthetic,
    licence: "made by talkflow; free of any terms",
    citation: "none needed: nobody wrote these sentences",
};

pub(crate) const SYNTHETIC_IMAGES: Card = Card {
    name: "synthetic/images",
    title: "synthetic images of figures",
    rows: Rows::Examples {
        content: Content::Images(synthetic::SHAPE),
        classes: &synthetic::FIGURES,
        counts: PartCounts { train: 2_000, validation: 0, test: 500 },
    },
    kind: Kind::Synthetic,
    licence: "made by talkflow; free of any terms",
    citation: "none needed: nobody took these pictures",
};
