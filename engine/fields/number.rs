//! Numbers and switches: whole numbers, finite numbers, true and false, and lists of numbers.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};

use super::reader::{Absent, Fields, Found};
use super::settings::Leaf;
use super::shape::Shape;
use crate::manifest::{Value, scalar};

impl Fields<'_> {
    /// Reads a whole number in `range`; required where `default` is `None`.
    pub fn int(&mut self, key: &str, default: Option<u64>, range: impl RangeBounds<u64>) -> u64 {
        self.int_or(key, Absent::or(default), &range).unwrap_or_else(|| default.unwrap_or_else(|| least(&range)))
    }

    /// Reads a whole number in `range` that may be left out, or be `null`.
    pub fn optional_int(&mut self, key: &str, range: impl RangeBounds<u64>) -> Option<u64> {
        self.int_or(key, Absent::None, &range)
    }

    fn int_or(&mut self, key: &str, absent: Absent<u64>, range: &impl RangeBounds<u64>) -> Option<u64> {
        let convert = |fields: &mut Self, found: &Found| fields.int_of(key, found, range);
        self.value(key, absent, &Shape::int(range), convert, |value| Leaf::Int(*value))
    }

    /// Reads a whole number in `range` as a count or size; required where `default` is `None`.
    pub fn count(&mut self, key: &str, default: Option<usize>, range: impl RangeBounds<usize>) -> usize {
        // Lossless: a `usize` has at most 64 bits on every platform Rust knows.
        let wide = |bound: Bound<&usize>| bound.map(|value| *value as u64);
        let end = match wide(range.end_bound()) {
            Bound::Unbounded if usize::BITS < u64::BITS => Bound::Included(usize::MAX as u64),
            end => end,
        };
        let range = (wide(range.start_bound()), end);
        let value = self.int(key, default.map(|value| value as u64), range);
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    /// Reads a list of whole numbers, each in `range`; required where `default` is `None`.
    pub fn ints(&mut self, key: &str, default: Option<&[u64]>, range: impl RangeBounds<u64>) -> Vec<u64> {
        let shape = Shape::list(Shape::int(&range));
        let convert =
            |fields: &mut Self, found: &Found| fields.list_of(found, &shape, |fields, item| fields.int_of(key, item, &range));
        let leaf = |values: &Vec<u64>| Leaf::List(values.iter().copied().map(Leaf::Int).collect());
        let absent = Absent::or(default.map(<[u64]>::to_vec));
        self.value(key, absent, &shape, convert, leaf).unwrap_or_else(|| default.unwrap_or_default().to_vec())
    }

    /// Reads a finite number in `range`; required where `default` is `None`.
    pub fn float(&mut self, key: &str, default: Option<f64>, range: impl RangeBounds<f64>) -> f64 {
        self.float_or(key, Absent::or(default), &range).unwrap_or_else(|| default.unwrap_or_else(|| harmless(&range)))
    }

    /// Reads a finite number in `range` that may be left out, or be `null`.
    pub fn optional_float(&mut self, key: &str, range: impl RangeBounds<f64>) -> Option<f64> {
        self.float_or(key, Absent::None, &range)
    }

    fn float_or(&mut self, key: &str, absent: Absent<f64>, range: &impl RangeBounds<f64>) -> Option<f64> {
        let convert = |fields: &mut Self, found: &Found| fields.float_of(key, found, range);
        self.value(key, absent, &Shape::float(range), convert, |value| Leaf::Float(*value))
    }

    /// Reads true or false; required where `default` is `None`.
    pub fn bool(&mut self, key: &str, default: Option<bool>) -> bool {
        self.value(key, Absent::or(default), &Shape::Bool, Self::bool_of, |value| Leaf::Bool(*value))
            .unwrap_or(default.unwrap_or_default())
    }

    fn bool_of(&mut self, found: &Found) -> Option<bool> {
        match typed(found) {
            Value::Bool(value) => Some(value),
            Value::Text(text) => {
                let help = match text.to_lowercase().as_str() {
                    "yes" | "on" | "y" => Some("write `true`".to_owned()),
                    "no" | "off" | "n" => Some("write `false`".to_owned()),
                    _ => None,
                };
                self.wrong(found, &Shape::Bool.noun(), help);
                None
            }
            _ => {
                self.wrong(found, &Shape::Bool.noun(), None);
                None
            }
        }
    }

    fn int_of(&mut self, key: &str, found: &Found, range: &impl RangeBounds<u64>) -> Option<u64> {
        let value = match typed(found) {
            Value::Int(value) => value,
            Value::Float(value) => {
                // 1e3 is a number with an exponent in YAML, and people write it for 1000.
                let whole = value.fract() == 0.0 && (0.0..9e15).contains(&value);
                let help = whole.then(|| format!("write `{value}`"));
                self.say(found.mistake(format!("expected {}, found `{value:?}`", Shape::int(range).noun())).maybe_help(help));
                return None;
            }
            Value::Text(text) => {
                self.wrong(found, &Shape::int(range).noun(), unseparated(&text));
                return None;
            }
            _ => {
                self.wrong(found, &Shape::int(range).noun(), None);
                return None;
            }
        };
        match u64::try_from(value) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                self.out_of_range(key, found, &value, limits(range, Some(&0)));
                None
            }
        }
    }

    fn float_of(&mut self, key: &str, found: &Found, range: &impl RangeBounds<f64>) -> Option<f64> {
        let value = match typed(found) {
            Value::Float(value) => value,
            Value::Int(value) => value as f64,
            Value::Text(text) => {
                self.wrong(found, &Shape::float(range).noun(), unseparated(&text));
                return None;
            }
            _ => {
                self.wrong(found, &Shape::float(range).noun(), None);
                return None;
            }
        };
        if !value.is_finite() {
            let noun = if value.is_nan() { "not a number" } else { "infinite" };
            self.say(found.mistake(format!("`{key}` must be a finite number, and this is {noun}")));
            return None;
        }
        if !range.contains(&value) {
            self.out_of_range(key, found, &value, limits(range, None));
            return None;
        }
        // -0.0 and 0.0 are one value and must be one key.
        Some(value + 0.0)
    }

    fn out_of_range(&mut self, key: &str, found: &Found, value: &impl Display, limits: String) {
        self.say(found.mistake(format!("`{key}` must be {limits}, and this is {value}")));
    }
}

/// The value as it is, but the text of an environment variable, which is read as the scalar it looks like.
fn typed(found: &Found) -> Value {
    match &found.node.value {
        Value::Text(text) if found.untyped() => scalar(text),
        value => value.clone(),
    }
}

/// Help for a number that a person groups with `_` or `,`, or quotes.
fn unseparated(text: &str) -> Option<String> {
    let plain = text.replace(['_', ','], "");
    match scalar(&plain) {
        Value::Int(_) | Value::Float(_) => Some(format!("write `{plain}`, without quotes or separators")),
        _ => None,
    }
}

/// A range in words: `at least 1`, `more than 0 and at most 1`, `from 0 to 1`. `floor` is the least value of the type.
fn limits<T: Display + PartialEq>(range: &impl RangeBounds<T>, floor: Option<&T>) -> String {
    let start = match range.start_bound() {
        Bound::Unbounded => floor.map_or(Bound::Unbounded, Bound::Included),
        bound => bound,
    };
    match (start, range.end_bound()) {
        (Bound::Included(start), Bound::Included(end)) if start == end => format!("{start}"),
        (Bound::Included(start), Bound::Included(end)) => format!("from {start} to {end}"),
        (start, end) => {
            let low = match start {
                Bound::Included(start) => Some(format!("at least {start}")),
                Bound::Excluded(start) => Some(format!("more than {start}")),
                Bound::Unbounded => None,
            };
            let high = match end {
                Bound::Included(end) => Some(format!("at most {end}")),
                Bound::Excluded(end) => Some(format!("less than {end}")),
                Bound::Unbounded => None,
            };
            match (low, high) {
                (Some(low), Some(high)) => format!("{low} and {high}"),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => "smaller".to_owned(),
            }
        }
    }
}

/// The least number of a range, which stands in for a wrong one.
fn least(range: &impl RangeBounds<u64>) -> u64 {
    match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    }
}

/// A number of a range, which stands in for a wrong one.
fn harmless(range: &impl RangeBounds<f64>) -> f64 {
    let ends = [range.start_bound(), range.end_bound()].into_iter().filter_map(|bound| match bound {
        Bound::Included(end) => Some(*end),
        Bound::Excluded(end) => Some(*end),
        Bound::Unbounded => None,
    });
    let ends: Vec<f64> = ends.collect();
    let middle = ends.iter().sum::<f64>() / ends.len().max(1) as f64;
    let tries = [0.0, 1.0, middle];
    (tries.into_iter().chain(ends)).find(|value| range.contains(value)).unwrap_or(0.0)
}
