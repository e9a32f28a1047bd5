//! What makes a result the result it is: a [`Fingerprint`], an ordered list of labelled values. Hashed it is the [`ActionKey`]
//! a result is filed under; kept beside the result it explains, by comparison, why a later key differs. One list serves both,
//! so the explanation cannot drift from the hash. Knows nothing of manifests or files.
//!
//! | in the key | not in the key |
//! |---|---|
//! | store format, stage kind and its version | names of manifests and stages |
//! | matrix values of inputs, where a kind makes a table of them | matrix values otherwise |
//! | every setting the kind reads, defaults filled in | settings it does not read |
//! | digests of input artifacts and of external files | paths, times, host, user |
//! | numeric backend and device class, where floats are computed | threads, cores, memory, time limits |

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::artifact::Digest;

/// The name a result is filed under: the digest of its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionKey(pub Digest);

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a line of a fingerprint speaks of. The one list of what a key can hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// The store's format version.
    Format,
    /// The stage kind.
    Kind,
    /// The version of the kind's code: raised when its output changes.
    Version,
    /// Numeric library and device class.
    Backend,
    /// A setting by its path, such as `optimizer.adam.rate`.
    Setting(String),
    /// An input artifact by its port, such as `rows` or `models.3`.
    Input(String),
    /// A file from outside by its role.
    File(String),
    /// Something the stage found out before it ran, such as which data set stands in.
    Fact(String),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("store format"),
            Self::Kind => f.write_str("stage kind"),
            Self::Version => f.write_str("version of the stage kind"),
            Self::Backend => f.write_str("numeric backend"),
            Self::Setting(path) => f.write_str(path),
            Self::Input(port) => write!(f, "input `{port}`"),
            Self::File(role) => write!(f, "file `{role}`"),
            Self::Fact(what) => f.write_str(what),
        }
    }
}

/// The ordered, labelled values a result depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Vec<(Label, String)>);

impl Fingerprint {
    /// Adds a line.
    pub fn add(&mut self, label: Label, value: impl Into<String>) {
        self.0.push((label, value.into()));
    }

    /// Its lines, in order.
    pub fn lines(&self) -> &[(Label, String)] {
        &self.0
    }

    /// The digest of the list: every label and value with its length before it, so that no two lists run together.
    pub fn key(&self) -> ActionKey {
        let mut bytes = Vec::with_capacity(1024);
        let mut field = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        for (label, value) in &self.0 {
            // The variant's own name keeps a setting called `rows` apart from an input called `rows`.
            field(label.tag());
            field(label.name());
            field(value);
        }
        ActionKey(blake3::hash(&bytes).into())
    }

    /// Where this list differs from an older one.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let before: BTreeMap<&Label, &String> = old.0.iter().map(|(label, value)| (label, value)).collect();
        let now: BTreeMap<&Label, &String> = self.0.iter().map(|(label, value)| (label, value)).collect();
        let changed = self.0.iter().filter(|(label, value)| before.get(label) != Some(&value));
        let gone = old.0.iter().filter(|(label, _)| !now.contains_key(label));
        let change = |label: &Label| Change {
            label: label.clone(),
            old: before.get(label).map(|value| (*value).clone()),
            new: now.get(label).map(|value| (*value).clone()),
        };
        changed.chain(gone).map(|(label, _)| change(label)).collect()
    }
}

impl Label {
    fn tag(&self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Kind => "kind",
            Self::Version => "version",
            Self::Backend => "backend",
            Self::Setting(_) => "setting",
            Self::Input(_) => "input",
            Self::File(_) => "file",
            Self::Fact(_) => "fact",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Format | Self::Kind | Self::Version | Self::Backend => "",
            Self::Setting(name) | Self::Input(name) | Self::File(name) | Self::Fact(name) => name,
        }
    }

    /// Whether its values are digests, of which people want to see the beginning only.
    fn is_digest(&self) -> bool {
        matches!(self, Self::Input(_) | Self::File(_))
    }
}

/// One differing line of two fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which line.
    pub label: Label,
    /// Its value before; `None` where the line is new.
    pub old: Option<String>,
    /// Its value now; `None` where the line is gone.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &String| match self.label.is_digest() {
            true => value.chars().take(12).collect(),
            false => value.clone(),
        };
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if self.label.is_digest() => {
                write!(f, "{} changed ({} -> {})", self.label, show(old), show(new))
            }
            (Some(old), Some(new)) => write!(f, "{}: {old} -> {new}", self.label),
            (None, Some(new)) => write!(f, "{} is new: {}", self.label, show(new)),
            (Some(old), None) => write!(f, "{} is gone: was {}", self.label, show(old)),
            (None, None) => write!(f, "{}", self.label),
        }
    }
}

impl Change {
    /// Whether it only says that what a stage reads is not what it was.
    pub fn is_of_input(&self) -> bool {
        matches!(self.label, Label::Input(_))
    }

    /// The port of the input that changed, where several artifacts share it without their number: `models` of `models.3`.
    pub fn port(&self) -> Option<&str> {
        let Label::Input(name) = &self.label else { return None };
        let number = |tail: &str| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
        Some(name.rsplit_once('.').filter(|(_, tail)| number(tail)).map_or(name, |(port, _)| port))
    }

    /// In a few words: no digests, and long values cut.
    pub fn brief(&self) -> String {
        match (&self.old, &self.new) {
            (Some(_), Some(_)) if self.label.is_digest() => format!("{} changed", self.label),
            (Some(old), Some(new)) => {
                let same = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
                format!("{}: {} -> {}", self.label, cut(old, same), cut(new, same))
            }
            (None, Some(_)) if self.label.is_digest() => format!("{} is new", self.label),
            (None, Some(new)) => format!("{} is new: {}", self.label, cut(new, 0)),
            (Some(_), None) | (None, None) => format!("{} is gone", self.label),
        }
    }
}

/// A value short enough for one line among others. Of a long one that is `same` as another in its first so many characters, the
/// piece is shown in which it is not.
fn cut(value: &str, same: usize) -> String {
    const LONGEST: usize = 30;
    /// How much of what is the same stands before the difference.
    const LEAD: usize = 10;
    let length = value.chars().count();
    if length <= LONGEST {
        return value.to_owned();
    }
    let from = if same + LEAD <= LONGEST { 0 } else { (same - LEAD).min(length + 3 - LONGEST) };
    let (before, room) = if from > 0 { ("...", LONGEST - 3) } else { ("", LONGEST) };
    let (after, room) = if from + room < length { ("...", room - 3) } else { ("", room) };
    let piece: String = value.chars().skip(from).take(room).collect();
    format!("{before}{piece}{after}")
}

/// Why a stage has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stale {
    /// No result of this stage is known.
    FirstRun,
    /// Its key differs from that of its last result, here.
    Changed(Vec<Change>),
    /// Only what it reads differs, since a stage before it has another result.
    Upstream {
        /// The inputs that changed.
        changes: Vec<Change>,
        /// The first stage that changed for a reason of its own.
        stage: String,
        /// That reason.
        reason: Box<Stale>,
        /// Whether other stages changed for reasons of their own too.
        #[serde(default)]
        others: bool,
    },
    /// Its result was known and is not in the store any more.
    Lost(String),
    /// The user asked for it with `--force`.
    Forced,
    /// Cannot be told before this stage, which has to run first.
    DependsOn(String),
    /// Its data have to be downloaded first.
    Download(String),
}

impl Stale {
    /// In a few words, for a line among others.
    pub fn brief(&self) -> String {
        match self {
            Self::Changed(changes) => first_of(changes, Change::brief),
            Self::Upstream { stage, reason, others, .. } => {
                format!("`{stage}` changed: {}{}", reason.brief(), if *others { ", and others" } else { "" })
            }
            other => other.to_string(),
        }
    }

    /// The lines of the key that differ.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Changed(changes) | Self::Upstream { changes, .. } => changes,
            _ => &[],
        }
    }
}

fn first_of(changes: &[Change], say: impl Fn(&Change) -> String) -> String {
    match changes {
        [] => "key changed".to_owned(),
        [one] => say(one),
        [one, rest @ ..] => format!("{} (and {} more)", say(one), rest.len()),
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRun => f.write_str("first run"),
            Self::Changed(changes) => f.write_str(&first_of(changes, ToString::to_string)),
            Self::Upstream { changes, stage, reason, others } => {
                let others = if *others { ", and others" } else { "" };
                write!(f, "{}: `{stage}` has another result ({reason}){others}", first_of(changes, Change::brief))
            }
            Self::Lost(what) => write!(f, "{what} is no longer in the store"),
            Self::Forced => f.write_str("forced"),
            Self::DependsOn(stage) => write!(f, "depends on `{stage}`"),
            Self::Download(what) => write!(f, "{what} has to be downloaded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_shows_the_piece_that_changed() {
        let change = |old: &str, new: &str| {
            Change { label: Label::Setting("run".to_owned()), old: Some(old.to_owned()), new: Some(new.to_owned()) }.brief()
        };
        let text = "python3 scripts/prepare.py ratings.csv train.csv test.csv";
        assert_eq!(
            change(&format!("{text} 1"), &format!("{text} 2")),
            "run: ...gs.csv train.csv test.csv 1 -> ...gs.csv train.csv test.csv 2"
        );
        let (old, new) = (text.replace("scripts", "tools"), text.replace("scripts", "code"));
        assert_eq!(change(&old, &new), "run: python3 tools/prepare.py ra... -> python3 code/prepare.py rat...");
        let (old, new) = (text.replace("train", "one"), text.replace("train", "two"));
        assert_eq!(change(&old, &new), "run: ...atings.csv one.csv test.csv -> ...atings.csv two.csv test.csv");
        assert_eq!(change("1", "2"), "run: 1 -> 2");
        assert_eq!(change("ä".repeat(40).as_str(), "x"), format!("run: {}... -> x", "ä".repeat(27)));
    }

    fn fingerprint(lines: &[(Label, &str)]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        lines.iter().for_each(|(label, value)| fingerprint.add(label.clone(), *value));
        fingerprint
    }

    #[test]
    fn labels_and_values_do_not_run_together() {
        let one = fingerprint(&[(Label::Setting("a".into()), "bc")]);
        let two = fingerprint(&[(Label::Setting("ab".into()), "c")]);
        let three = fingerprint(&[(Label::Input("a".into()), "bc")]);
        assert_ne!(one.key(), two.key());
        assert_ne!(one.key(), three.key());
    }

    #[test]
    fn every_difference_is_named_with_both_values() {
        let rate = || Label::Setting("rate".into());
        let old = fingerprint(&[(Label::Kind, "distill"), (rate(), "0.1"), (Label::Setting("decay".into()), "0")]);
        let new = fingerprint(&[(Label::Kind, "distill"), (rate(), "0.3"), (Label::Input("rows".into()), &"ab".repeat(32))]);
        let said: Vec<String> = new.changes_since(&old).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["rate: 0.1 -> 0.3", "input `rows` is new: abababababab", "decay is gone: was 0"]);
        assert!(old.changes_since(&old).is_empty());
    }

    #[test]
    fn each_reason_is_a_sentence() {
        let change = Change { label: Label::Setting("seed".into()), old: Some("1".into()), new: Some("2".into()) };
        assert_eq!(Stale::FirstRun.to_string(), "first run");
        assert_eq!(Stale::Changed(vec![change.clone()]).to_string(), "seed: 1 -> 2");
        assert_eq!(Stale::Changed(vec![change.clone(), change]).to_string(), "seed: 1 -> 2 (and 1 more)");
        assert_eq!(Stale::Lost("`model.safetensors`".into()).to_string(), "`model.safetensors` is no longer in the store");
        assert_eq!(Stale::DependsOn("features".into()).to_string(), "depends on `features`");
        assert_eq!(Stale::Forced.to_string(), "forced");
        let input = Change { label: Label::Input("models.3".into()), old: Some("a".repeat(64)), new: Some("b".repeat(64)) };
        assert_eq!(input.port(), Some("models"));
        assert_eq!(Stale::Changed(vec![input.clone()]).brief(), "input `models.3` changed");
        let seed = Change { label: Label::Setting("seed".into()), old: Some("1".into()), new: Some("2".into()) };
        let upstream = Stale::Upstream {
            changes: vec![input],
            stage: "split".into(),
            reason: Box::new(Stale::Changed(vec![seed])),
            others: false,
        };
        assert_eq!(upstream.to_string(), "input `models.3` changed: `split` has another result (seed: 1 -> 2)");
        assert_eq!(upstream.brief(), "`split` changed: seed: 1 -> 2");
        let long = Change { label: Label::Setting("genres".into()), old: Some("x".repeat(80)), new: Some("y".into()) };
        assert_eq!(long.brief(), format!("genres: {}... -> y", "x".repeat(27)));
        assert_eq!(Stale::Download("movielens/1m".into()).to_string(), "movielens/1m has to be downloaded");
    }
}
