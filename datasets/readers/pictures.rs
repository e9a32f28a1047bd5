//! Images in files, PNG and JPEG, brought to one size.
//!
//! What a file is says its contents, not its name. Before pixels are decoded, its header has to claim sizes that can be: a few bytes can
//! stand for gigabytes. Transparency is left out, notes on how the camera was held are not followed.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel};

use crate::error::{Error, Malformed};
use crate::examples::Shape;
use crate::sound::caught;

/// The largest file.
const LARGEST_FILE: u64 = 64 << 20;
/// The longest side of an image before it is brought to size.
const LONGEST_SIDE: u32 = 16_384;
/// The most memory that a decoder may take.
const MOST_MEMORY: u64 = 256 << 20;
/// The most pixels of an image before it is brought to size. Few bytes a pixel in the file may be several in memory, more than once.
const MOST_PIXELS: u64 = 32 << 20;
/// Images with more pixels than this are read one at a time, whatever the number of threads: each may take some hundred megabytes for a moment.
const LARGE: u64 = 4 << 20;

static ONE_LARGE: Mutex<()> = Mutex::new(());

/// How an image gets the wanted size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The largest piece around its middle that has the wanted proportions is resized.
    Crop,
    /// It is resized, whatever becomes of its proportions.
    Stretch,
    /// It has to have the size.
    Exact,
}

/// Whether a file is to be an image, by its name.
pub(crate) fn is_picture(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| matches!(extension.as_str(), "png" | "jpg" | "jpeg"))
}

/// The bytes of an image: plane after plane, each row after row.
pub(crate) fn read(path: &Path, shape: Shape, fit: Fit) -> Result<Vec<u8>, Error> {
    let wrong = |found: String, expected: String| {
        Error::from(Malformed { file: path.display().to_string(), at: None, column: None, found, expected })
    };
    let size = std::fs::metadata(path).map_err(Error::io(path, "read the file's size"))?.len();
    if size > LARGEST_FILE {
        return Err(wrong(format!("{size} bytes"), format!("an image of at most {LARGEST_FILE} bytes")));
    }
    let file = File::open(path).map_err(Error::io(path, "open the file"))?;
    // The libraries may fall over what a damaged file holds.
    let decoded = caught(|| decode(BufReader::new(file))).and_then(|decoded| decoded);
    let (image, _alone) = decoded.map_err(|why| wrong(why, "a PNG or JPEG image that can be decoded".to_owned()))?;
    let (width, height) = (shape.width as u32, shape.height as u32);
    if fit == Fit::Exact && (image.width(), image.height()) != (width, height) {
        let found = format!("{} x {} pixels", image.width(), image.height());
        return Err(wrong(found, format!("{width} x {height}: resize them, or let `fit` be `crop` or `stretch`")));
    }
    Ok(planes(image, shape, fit))
}

/// Decodes a file of a format that is known, within limits; an error is said in words. While a large image is held, so is what keeps others waiting.
fn decode(file: BufReader<File>) -> Result<(DynamicImage, Option<MutexGuard<'static, ()>>), String> {
    let mut reader = ImageReader::new(file).with_guessed_format().map_err(|error| error.to_string())?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err("neither of both".to_owned());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MOST_PIXELS || decoder.total_bytes() > MOST_MEMORY {
        return Err(format!("{width} x {height} pixels, beyond the limit of {MOST_PIXELS} pixels and {MOST_MEMORY} bytes"));
    }
    // What it guards is nothing, so a holder that panicked broke nothing.
    let alone = (pixels > LARGE).then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let image = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    Ok((image, alone))
}

/// Brings an image to size and takes its channels apart.
fn planes(image: DynamicImage, shape: Shape, fit: Fit) -> Vec<u8> {
    let piece = piece((image.width(), image.height()), shape, fit);
    let pixels = match shape.channels {
        1 => resized(&image.into_luma8(), piece, shape).into_raw(),
        _ => resized(&image.into_rgb8(), piece, shape).into_raw(),
    };
    (0..shape.channels).flat_map(|channel| pixels.iter().skip(channel).step_by(shape.channels).copied()).collect()
}

/// A piece of an image (left, top, width, height) in the wanted size. Looked at where it is: an image may be large.
fn resized<P: Pixel<Subpixel = u8> + 'static>(
    image: &ImageBuffer<P, Vec<u8>>,
    (left, top, wide, high): (u32, u32, u32, u32),
    shape: Shape,
) -> ImageBuffer<P, Vec<u8>> {
    let (width, height) = (shape.width as u32, shape.height as u32);
    let piece = imageops::crop_imm(image, left, top, wide, high);
    match (wide, high) == (width, height) {
        true => piece.to_image(),
        false => imageops::resize(&*piece, width, height, FilterType::Triangle),
    }
}

/// The piece of an image that is resized: left, top, width, height. Never empty.
fn piece((width, height): (u32, u32), shape: Shape, fit: Fit) -> (u32, u32, u32, u32) {
    if fit != Fit::Crop {
        return (0, 0, width, height);
    }
    let (wanted_width, wanted_height) = (shape.width as u64, shape.height as u64);
    let scaled = |side: u32, by: u64, per: u64| ((u64::from(side) * by / per) as u32).max(1);
    let wide = scaled(height, wanted_width, wanted_height).min(width);
    let high = scaled(width, wanted_height, wanted_width).min(height);
    ((width - wide) / 2, (height - high) / 2, wide, high)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

    use image::{GrayImage, Rgb, RgbImage, RgbaImage};

    use super::*;

    const SHAPE: Shape = Shape { channels: 3, height: 2, width: 2 };

    fn reading(name: &str, save: impl FnOnce(&Path), shape: Shape, fit: Fit) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        save(&path);
        read(&path, shape, fit).map_err(|error| error.to_string())
    }

    #[test]
    fn channels_come_one_after_the_other() {
        let image = RgbImage::from_fn(2, 2, |x, y| Rgb([(10 * y + x) as u8, (100 + 10 * y + x) as u8, 200]));
        let planes = reading("a.png", |path| image.save(path).unwrap(), SHAPE, Fit::Exact).unwrap();
        assert_eq!(planes, [0, 1, 10, 11, 100, 101, 110, 111, 200, 200, 200, 200]);
        let grey = GrayImage::from_fn(2, 2, |x, y| image::Luma([(10 * y + x) as u8]));
        let shape = Shape { channels: 1, ..SHAPE };
        assert_eq!(reading("a.png", |path| grey.save(path).unwrap(), shape, Fit::Exact).unwrap(), [0, 1, 10, 11]);
        // A grey image as a coloured one, one with transparency without it, and a JPEG whatever it is called.
        assert_eq!(reading("a.png", |path| grey.save(path).unwrap(), SHAPE, Fit::Exact).unwrap()[4..8], [0, 1, 10, 11]);
        let clear = RgbaImage::from_fn(2, 2, |_, _| image::Rgba([9, 8, 7, 0]));
        assert_eq!(reading("a.png", |path| clear.save(path).unwrap(), SHAPE, Fit::Crop).unwrap()[3..5], [9, 8]);
        let save =
            |path: &Path| GrayImage::from_pixel(2, 2, image::Luma([77])).save_with_format(path, ImageFormat::Jpeg).unwrap();
        assert_eq!(reading("a.png", save, SHAPE, Fit::Exact).unwrap(), [77; 12]);
    }

    #[test]
    fn a_piece_has_the_wanted_proportions() {
        let shape = |height, width| Shape { channels: 3, height, width };
        assert_eq!(piece((100, 40), shape(8, 8), Fit::Crop), (30, 0, 40, 40));
        assert_eq!(piece((40, 100), shape(8, 8), Fit::Crop), (0, 30, 40, 40));
        assert_eq!(piece((100, 40), shape(10, 20), Fit::Crop), (10, 0, 80, 40));
        assert_eq!(piece((16_384, 1), shape(1024, 1), Fit::Crop), (8191, 0, 1, 1));
        assert_eq!(piece((100, 40), shape(8, 8), Fit::Stretch), (0, 0, 100, 40));
        // Left black, right white: stretched there are both, of a piece only what lies in the middle.
        let image = GrayImage::from_fn(40, 10, |x, _| image::Luma([if x < 15 { 0 } else { 255 }]));
        let one = Shape { channels: 1, height: 1, width: 2 };
        let of = |fit| reading("a.png", |path| image.save(path).unwrap(), one, fit).unwrap();
        let (stretched, cropped) = (of(Fit::Stretch), of(Fit::Crop));
        assert!(stretched[0] < 100 && stretched[1] > 240, "{stretched:?}");
        assert!(cropped[0] > stretched[0] + 30 && cropped[1] > 240, "{cropped:?} {stretched:?}");
    }

    #[test]
    fn what_is_no_image_or_not_of_the_size_is_refused() {
        let image = RgbImage::new(3, 2);
        let error = reading("a.png", |path| image.save(path).unwrap(), SHAPE, Fit::Exact).unwrap_err();
        assert!(error.contains("a.png: found 3 x 2 pixels, expected 2 x 2"), "{error}");
        let error = reading("a.jpg", |path| std::fs::write(path, b"GIF89a nothing").unwrap(), SHAPE, Fit::Crop).unwrap_err();
        assert!(error.contains("found neither of both, expected a PNG or JPEG image"), "{error}");
        let cut = |path: &Path| {
            image.save(path).unwrap();
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
        };
        assert!(reading("a.png", cut, SHAPE, Fit::Crop).is_err());
        assert!(is_picture("a.PNG") && is_picture("b.jpeg") && is_picture("c.x.JPG"));
        assert!(!is_picture("png") && !is_picture("a.gif") && !is_picture("a.png.txt"));
    }

    #[test]
    fn a_bomb_is_refused_by_what_its_header_claims() {
        // An image of one pixel whose header is made to claim so many in each direction, its sum put right. A grey one of 8 000 would fit into the memory
        // of its decoder, and then take several times that.
        for (side, grey, expected) in
            [(60_000_u32, false, "limit"), (16_000, false, "limit"), (8_000, true, "limit of 33554432 pixels")]
        {
            let save = |path: &Path| {
                match grey {
                    true => GrayImage::new(1, 1).save(path).unwrap(),
                    false => RgbImage::new(1, 1).save(path).unwrap(),
                }
                let mut bytes = std::fs::read(path).unwrap();
                bytes[16..20].copy_from_slice(&side.to_be_bytes());
                bytes[20..24].copy_from_slice(&side.to_be_bytes());
                let sum = crc32(&bytes[12..29]);
                bytes[29..33].copy_from_slice(&sum.to_be_bytes());
                std::fs::write(path, bytes).unwrap();
            };
            let error = reading("a.png", save, SHAPE, Fit::Crop).unwrap_err();
            assert!(error.to_lowercase().contains(expected), "{error}");
        }
    }

    /// The sum that PNG has after each of its pieces.
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |sum: u32, byte: &u8| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
        };
        !bytes.iter().fold(!0, step)
    }
}
