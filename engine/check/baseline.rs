//! The baseline: what the gates of a manifest measured when somebody last looked at it and took it for good.
//!
//! A JSON document that is committed beside the manifest and reviewed as text: everything in a fixed order, a value a line, so that the same
//! results make the same bytes and a change is a line in a diff. The rules stand in it too: one that is loosened is a change to review.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{Better, Gate, Place, Rule, Selected, Values};
use crate::artifact::Digest;

/// The version of the file.
const FORMAT: u64 = 1;
/// A larger file is no baseline.
pub const MOST_BYTES: u64 = 64 << 20;

/// A baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of the file.
    pub format: u64,
    /// The manifest it is of.
    pub manifest: String,
    /// The version of talkflow that measured.
    pub talkflow: String,
    /// The data behind the values: by stage, the digests of the data sets and splits before it, by instance.
    pub data: BTreeMap<String, BTreeMap<String, Digest>>,
    /// By name.
    pub gates: BTreeMap<String, Kept>,
}

/// A gate as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What it tolerated.
    pub rule: Rule,
    /// What it looked at, in the order of places.
    pub series: Vec<KeptSeries>,
}

/// Values of one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSeries {
    /// The stage, with the matrix values that are no blocks.
    pub stage: String,
    /// The metric.
    pub metric: String,
    /// Of an evaluation the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// Of an evaluation the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Which way it is good.
    pub better: Better,
    /// By block.
    pub values: Values,
}

impl KeptSeries {
    /// What it is of.
    pub fn place(&self) -> Place {
        let Self { stage, metric, row, column, .. } = self.clone();
        Place { stage, metric, row, column }
    }
}

/// Why a file is no baseline.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}; `talkflow check MANIFEST --update` writes a new one, once this one is gone")]
pub struct Unreadable {
    place: String,
    what: String,
}

/// Reads one from the bytes of the file at `path`.
///
/// # Errors
/// With line and column where it is not the JSON of a baseline, and in words where it says what cannot be.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Baseline, Unreadable> {
    let file = path.display();
    let at = |error: &serde_json::Error| format!("{file}:{}:{}", error.line(), error.column());
    // What serde says, without the place, which stands before it.
    let said = |error: &serde_json::Error| error.to_string().split(" at line ").next().unwrap_or_default().to_owned();
    let json =
        |error: serde_json::Error| Unreadable { place: at(&error), what: format!("this is no baseline: {}", said(&error)) };
    let wrong = |what: String| Unreadable { place: file.to_string(), what };
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong(format!("this is larger than {} MiB and no baseline", MOST_BYTES >> 20)));
    }
    /// What any version has.
    #[derive(Deserialize)]
    struct Any {
        format: u64,
    }
    let Any { format } = serde_json::from_slice(bytes).map_err(json)?;
    if format != FORMAT {
        return Err(wrong(format!("this is a baseline of format {format}, and this talkflow reads {FORMAT}")));
    }
    let baseline: Baseline = serde_json::from_slice(bytes).map_err(json)?;
    for (gate, kept) in &baseline.gates {
        let mut seen = BTreeSet::new();
        for series in &kept.series {
            let place = series.place();
            if series.values.is_empty() {
                return Err(wrong(format!("gate `{gate}`: `{place}` has no values")));
            }
            if let Some((block, value)) = series.values.iter().find(|(_, value)| !is_number(**value)) {
                return Err(wrong(format!("gate `{gate}`: `{place}` is {value} in block `{block}`, which no metric is")));
            }
            if !seen.insert(place.clone()) {
                return Err(wrong(format!("gate `{gate}`: `{place}` stands there twice")));
            }
        }
    }
    Ok(baseline)
}

/// Whether a value can be compared: no NaN, and not so large that its square is infinite.
pub(super) fn is_number(value: f64) -> bool {
    value.abs() < 1e150
}

impl Baseline {
    /// Of what the gates of a manifest look at now.
    ///
    /// # Errors
    /// In words, where a gate looks at nothing, or at something that is no number.
    pub fn of(manifest: &str, gates: &[(Gate, Selected)]) -> Result<Self, String> {
        let mut data: BTreeMap<String, BTreeMap<String, Digest>> = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (gate, selected) in gates {
            let name = &gate.name;
            if let Some((field, text)) = selected.unfit.first() {
                return Err(format!("gate `{name}`: nothing fits `{text}` of its `{field}`"));
            }
            if selected.series.is_empty() {
                return Err(format!("gate `{name}` looks at nothing: no metric fits it"));
            }
            for (stage, own) in &selected.data {
                data.entry(stage.clone()).or_default().extend(own.clone());
            }
            let series = selected.series.iter().map(|(place, series)| {
                if let Some((block, _)) = series.values.iter().find(|(_, value)| !value.is_finite()) {
                    return Err(format!(
                        "gate `{name}`: `{place}` is no number in block `{block}`, and nothing can be compared with it"
                    ));
                }
                let Place { stage, metric, row, column } = place.clone();
                Ok(KeptSeries { stage, metric, row, column, better: series.better, values: series.values.clone() })
            });
            kept.insert(name.clone(), Kept { rule: gate.rule, series: series.collect::<Result<_, String>>()? });
        }
        Ok(Self {
            format: FORMAT,
            manifest: manifest.to_owned(),
            talkflow: env!("CARGO_PKG_VERSION").to_owned(),
            data,
            gates: kept,
        })
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// Where a value cannot be written, in words.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
