//! Event files of TensorBoard: a folder for each training, with its curves, its final numbers, and what the dashboard of
//! hyperparameters shows. The format is that of TFRecord files whose records are the protocol buffer `Event`; of both only what is
//! needed is written here.
//!
//! ```text
//! record: length u64, masked crc32c of these 8 bytes, bytes, masked crc32c of the bytes        all little-endian
//! ```

use std::{fs, path::Path};

use super::{Part, TrackError, Tracked};
use crate::{history::State, report::write_whole, store::readable};

/// Writes a run below `folder`: `RUN/STAGE/events.out.tfevents.SECONDS.talkflow`. The same run gives the same bytes, so to do it
/// again changes nothing. How many files there are.
///
/// # Errors
/// Where a file cannot be written.
pub fn export(tracked: &Tracked, folder: &Path) -> Result<usize, TrackError> {
    for part in &tracked.parts {
        let of = folder.join(&tracked.id).join(readable(&part.name));
        fs::create_dir_all(&of).map_err(|source| TrackError::File { what: "make", path: of.clone(), source })?;
        let path = of.join(format!("events.out.tfevents.{}.talkflow", part.began as u64));
        write_whole(&path, &events(part)).map_err(|source| TrackError::File { what: "write", path, source })?;
    }
    Ok(tracked.parts.len())
}

/// The events of one training.
fn events(part: &Part) -> Vec<u8> {
    let mut file = Vec::new();
    let last = part.curves.iter().flat_map(|(_, points)| points.iter().map(|(epoch, _)| *epoch)).max().unwrap_or(0);
    // Epochs as if each had taken as long: when each ended is not kept.
    let time = |step: i64| part.began + if last > 0 { part.seconds * step as f64 / last as f64 } else { part.seconds };
    record(&mut file, &Event { time: part.began, step: 0, what: What::Version }.encode());
    let started = hparams(3, &session_start(part));
    record(&mut file, &Event { time: part.began, step: 0, what: What::Plugin("_hparams_/session_start_info", started) }.encode());
    for (name, points) in &part.curves {
        for (epoch, value) in points {
            record(&mut file, &Event { time: time(*epoch), step: *epoch, what: What::Scalar(name, *value) }.encode());
        }
    }
    for (name, value) in part.numbers.iter().filter(|(_, value)| value.is_finite()) {
        record(&mut file, &Event { time: time(last), step: last, what: What::Scalar(name, *value) }.encode());
    }
    let ended = hparams(4, &session_end(part));
    record(&mut file, &Event { time: time(last), step: last, what: What::Plugin("_hparams_/session_end_info", ended) }.encode());
    file
}

/// The message `Event` of tensorboard.
struct Event<'a> {
    /// Seconds since 1970.
    time: f64,
    step: i64,
    what: What<'a>,
}

enum What<'a> {
    Version,
    /// A tag and its value.
    Scalar(&'a str, f64),
    /// A tag, and data for the plugin of hyperparameters.
    Plugin(&'a str, Message),
}

impl Event<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut event = Message::default().double(1, self.time).int(2, self.step);
        event = match &self.what {
            What::Version => event.text(3, "brain.Event:2"),
            What::Scalar(tag, value) => {
                let value = Message::default().text(1, tag).float(2, *value as f32);
                event.message(5, &Message::default().message(1, &value))
            }
            What::Plugin(tag, data) => {
                let plugin = Message::default().text(1, "hparams").message(2, data);
                // A summary without a value is not read: an empty tensor of one dimension stands for it.
                let tensor = Message::default().int(1, 1).message(2, &Message::default());
                let value =
                    Message::default().text(1, tag).message(9, &Message::default().message(1, &plugin)).message(8, &tensor);
                event.message(5, &Message::default().message(1, &value))
            }
        };
        event.0
    }
}

/// The message `HParamsPluginData` with one of its members.
fn hparams(member: u32, info: &Message) -> Message {
    Message::default().message(member, info)
}

/// The message `SessionStartInfo`: settings by name, as text or as numbers.
fn session_start(part: &Part) -> Message {
    let mut start = Message::default();
    for (name, value) in &part.params {
        let value = match (value.parse::<f64>(), value.as_str()) {
            (Ok(number), _) if number.is_finite() => Message::default().double(2, number),
            (_, "true" | "false") => Message::default().int(4, i64::from(value == "true")),
            _ => Message::default().text(3, value.trim_matches('"')),
        };
        start = start.message(1, &Message::default().text(1, name).message(2, &value));
    }
    start.text(4, &part.name).double(5, part.began)
}

/// The message `SessionEndInfo`.
fn session_end(part: &Part) -> Message {
    let status = match part.state {
        State::Ran | State::Cached => 1,
        State::Failed => 2,
        State::Running | State::Pending | State::Waiting => 3,
        State::Skipped | State::Stopped => 0,
    };
    Message::default().int(1, status).double(2, part.began + part.seconds)
}

/// A protocol buffer.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u32, wire: u32) {
        varint(&mut self.0, u64::from(field << 3 | wire));
    }

    fn int(mut self, field: u32, value: i64) -> Self {
        self.key(field, 0);
        varint(&mut self.0, u64::from_ne_bytes(value.to_ne_bytes()));
        self
    }

    fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, 2);
        varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends a record of a TFRecord file.
fn record(file: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&masked(&length).to_le_bytes());
    file.extend_from_slice(bytes);
    file.extend_from_slice(&masked(bytes).to_le_bytes());
}

/// The sum that TFRecord files have: turned and moved, so that sums of sums are no sums.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_sums_that_the_format_asks_for() {
        // crc32c of "123456789" is e3069283, by RFC 3720.
        assert_eq!(masked(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
        let mut file = Vec::new();
        record(&mut file, b"abc");
        assert_eq!((&file[..8], &file[12..15], file.len()), (&3_u64.to_le_bytes()[..], &b"abc"[..], 19));
    }

    #[test]
    fn a_message_is_written_as_protocol_buffers_are() {
        let message = Message::default().int(1, 300).text(2, "hi").double(3, 1.0).float(4, -2.0);
        let one = 1.0_f64.to_le_bytes();
        let two = (-2.0_f32).to_le_bytes();
        let expected = [&[0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x19][..], &one, &[0x25], &two].concat();
        assert_eq!(message.0, expected);
    }
}
