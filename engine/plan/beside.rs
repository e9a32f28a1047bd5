//! What may stand beside a stage's kind and says how it runs, not what it yields; no part of it enters a key.

use std::time::Duration;

use indexmap::IndexMap;

use super::{Resources, Retries};
use crate::{fields::Fields, source::one_of};

/// What may stand beside a stage's kind.
pub const BESIDE: [&str; 5] = ["matrix", "resources", "timeout", "retries", "description"];

/// What stood there, but for the matrix.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// What it may use.
    pub resources: Resources,
    /// After how long it is stopped.
    pub timeout: Option<Duration>,
    /// Whether it is tried again.
    pub retries: Retries,
    /// What is said about it.
    pub description: Option<String>,
}

/// In milliseconds; the first that fits counts.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 9] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("B", 1),
];

/// Most that a pool can hold.
pub const MOST_IN_POOL: u64 = 1 << 20;

/// Reads it. `pools` are those that the manifest declares.
pub fn read(fields: &mut Fields<'_>, pools: &IndexMap<String, u64>) -> Beside {
    let resources = fields.section("resources", |fields| {
        let cores = fields.optional_int("cores", 1..=1024);
        let memory = fields.optional_text("memory").and_then(|text| {
            let size = bytes(&text);
            if size.is_none() {
                fields.mistake(
                    "memory",
                    format!("`{text}` is not an amount of memory"),
                    Some("write a number and B, KB, MB, GB, KiB, MiB or GiB: \"4 GiB\""),
                );
            }
            size
        });
        let gpus = fields.optional_int("gpus", 0..=1024);
        let pools = fields.amounts("pools", 1..=MOST_IN_POOL, |name| {
            pools.get_index_of(name).ok_or_else(|| {
                let declare = format!("declare it at the top of the manifest: `pools: {{ {name}: 1 }}`");
                let help = one_of(name, pools.keys().map(String::as_str)).unwrap_or(declare);
                (format!("no pool is called `{name}`"), help)
            })
        });
        let number = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
        Resources { cores: number(cores), memory, gpus: number(gpus), pools }
    });
    let timeout = time(fields, "timeout");
    let retries = match fields.is_mapping("retries") {
        false => Retries { times: times(fields, "retries", 0), ..Retries::default() },
        true => fields.section("retries", |fields| Retries {
            times: times(fields, "times", 3),
            wait: time(fields, "wait").unwrap_or(WAIT),
            factor: fields.float("factor", Some(FACTOR), 1.0..=100.0),
        }),
    };
    let description = fields.optional_text("description");
    Beside { resources, timeout, retries, description }
}

/// How long a stage rests after its first failure where `retries` has settings and none for that,
const WAIT: Duration = Duration::from_secs(1);
/// and how many times longer after each further one.
const FACTOR: f64 = 2.0;

fn times(fields: &mut Fields<'_>, key: &str, default: u64) -> u32 {
    u32::try_from(fields.int(key, Some(default), 0..=100)).unwrap_or(0)
}

fn time(fields: &mut Fields<'_>, key: &str) -> Option<Duration> {
    let text = fields.optional_text(key)?;
    let time = duration(&text);
    if time.is_none() {
        let help = "write numbers with ms, s, m, h or d: \"90s\", \"10m\", \"1h 30m\"";
        fields.mistake(key, format!("`{text}` is not a length of time"), Some(help));
    }
    time
}

/// `1h 30m` and the like, above 0.
pub fn duration(text: &str) -> Option<Duration> {
    let mut sum = 0_u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|letter: char| letter.is_alphabetic())?;
        let next = rest[end..].find(|letter: char| !letter.is_alphabetic()).map_or(rest.len(), |length| end + length);
        sum = sum.checked_add(amount(&rest[..next], &TIMES)?)?;
        rest = rest[next..].trim_start();
    }
    (sum > 0).then(|| Duration::from_millis(sum))
}

/// An amount of memory: `8GiB`, `500 MB`.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    amount(text, &SIZES)
}

/// A whole number above 0 and a unit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (unit, factor) = units.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    number.checked_mul(*factor).filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        let time = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(time("90s"), Some(90));
        assert_eq!(duration("1s 250ms"), Some(Duration::from_millis(1250)));
        assert_eq!(time("10m"), Some(600));
        assert_eq!(time("1h 30m"), Some(5400));
        assert_eq!(time("1d2h"), Some(93600));
        for text in ["", "10", "0s", "m", "10x", "-5m", "1.5h", "99999999999999999999d", "9999999999999999999d"] {
            assert_eq!(time(text), None, "{text:?}");
        }
        let size = bytes;
        assert_eq!(size("4 GiB"), Some(4 << 30));
        assert_eq!(size("500MB"), Some(500_000_000));
        assert_eq!(size("12B"), Some(12));
        for text in ["", "4", "GiB", "4 gib", "0 B", "-1 GB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }
}
