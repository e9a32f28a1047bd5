//! Images of the user's: PNG and JPEG, brought to size in all ways.

#![no_main]

use std::sync::OnceLock;

use image::{DynamicImage, ImageFormat};
use libfuzzer_sys::fuzz_target;
use talkflow_datasets::examples::{Fit, Folders, Picture, Shape, Source};
use talkflow_fuzz::{choice, chosen, made, written};

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("memory");
    bytes.into_inner()
}

/// An image that is as it should be.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| encoded(&DynamicImage::new_luma8(8, 8), ImageFormat::Png))
}

fn seeds() -> Vec<Vec<u8>> {
    let (small, tall, clear) = (DynamicImage::new_luma8(8, 8), DynamicImage::new_rgb8(3, 9), DynamicImage::new_rgba16(5, 4));
    vec![
        chosen(0, encoded(&small, ImageFormat::Png)),
        chosen(1, encoded(&small, ImageFormat::Jpeg)),
        chosen(5, encoded(&tall, ImageFormat::Png)),
        chosen(3, encoded(&tall, ImageFormat::Jpeg)),
        chosen(4, encoded(&clear, ImageFormat::Png)),
        chosen(8, encoded(&small, ImageFormat::Jpeg)),
    ]
}

fuzz_target!(init: talkflow_fuzz::begin_guarded(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    let picture = |place: &str, bytes: &[u8]| Picture { place: place.to_owned(), path: written(&place.replace('/', "-"), bytes) };
    let source = Source::Folders(Folders {
        name: "own".to_owned(),
        images: vec![(None, vec![picture("a/1.png", bytes), picture("b/1.png", good())])],
        shape: Shape { channels: if kind & 1 == 0 { 1 } else { 3 }, height: 8, width: 8 + usize::from(kind & 2) },
        fit: [Fit::Crop, Fit::Stretch, Fit::Exact][usize::from(kind >> 2) % 3],
        licence: None,
        citation: None,
    });
    made(&source, None);
});
