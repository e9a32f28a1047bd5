//! What flows between stages: a named set of files with one digest. Knows nothing of where the files lie or who made them.

use std::{collections::BTreeMap, fmt, io::Read, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A BLAKE3 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest (64 hexadecimal digits)")]
pub struct NotADigest(String);

/// As much is read at a time. Not mapped into memory: a disk that fails, or a file that is cut short meanwhile, has to be an error.
const PIECE: u64 = 16 << 20;
/// Pieces from this size on are hashed by several threads.
const WORTH_THREADS: usize = 1 << 20;

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's contents.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        Self::of_file_told(path, &|_| {})
    }

    /// The digest of a file's contents, read in pieces: `told` hears the size of each. A piece is hashed by several threads.
    pub fn of_file_told(path: &Path, told: &dyn Fn(u64)) -> std::io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        let mut piece = vec![0; usize::try_from((size + 1).min(PIECE)).unwrap_or(0)];
        let mut hasher = blake3::Hasher::new();
        loop {
            let mut filled = 0;
            while filled < piece.len() {
                match file.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            match filled >= WORTH_THREADS {
                true => hasher.update_rayon(&piece[..filled]),
                false => hasher.update(&piece[..filled]),
            };
            told(filled as u64);
            if filled < piece.len() {
                return Ok(Self(*hasher.finalize().as_bytes()));
            }
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve digits: enough for people to tell results apart.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every key and every file's name is written so: byte by byte through the formatter it takes thirty times as long.
        f.write_str(blake3::Hash::from(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short())
    }
}

// By hand: keys and files are named by digests everywhere, and a `String` for each takes several times as long.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest (64 hexadecimal digits)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        // Small letters only: one spelling alone may name a file in the store.
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        let whole = text.len() == 64
            && bytes.iter_mut().zip(pairs).all(|(byte, pair)| match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                _ => false,
            });
        if whole { Ok(Self(bytes)) } else { Err(NotADigest(text.to_owned())) }
    }
}

/// The closed set of things a stage can hand to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A data set as Parquet: ratings with users and items, or examples with classes.
    Data,
    /// Which row belongs to which part.
    Split,
    /// A trained rating model.
    Model,
    /// A frozen transformer.
    Encoder,
    /// A frozen teacher's states for given rows.
    Features,
    /// An evaluation of models.
    Scores,
    /// Settings that a search chose.
    Settings,
    /// Files of the user's own making.
    Files,
}

impl ArtifactKind {
    /// The one list of kinds.
    pub const ALL: [Self; 8] =
        [Self::Data, Self::Split, Self::Model, Self::Encoder, Self::Features, Self::Scores, Self::Settings, Self::Files];

    /// What people call it, with its article.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Data => "a data set",
            Self::Split => "a split",
            Self::Model => "a model",
            Self::Encoder => "an encoder",
            Self::Features => "cached features",
            Self::Scores => "scores",
            Self::Settings => "settings",
            Self::Files => "files",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

/// One file of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Of its contents.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// The files a stage made, by name. Names are paths that stay within a folder: a record that says otherwise is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Artifact(#[serde(deserialize_with = "entries")] pub BTreeMap<String, FileEntry>);

/// Reads the files of an artifact, whose names must stay within a folder: `export` and others write under them.
fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, FileEntry>, D::Error> {
    let entries = BTreeMap::<String, FileEntry>::deserialize(deserializer)?;
    match entries.keys().find(|name| !stays_inside(name)) {
        Some(name) => Err(de::Error::custom(format!("the file name {name:?} leads out of its folder"))),
        None => Ok(entries),
    }
}

/// Whether a relative path names a file in the folder it is taken from, or below.
pub fn stays_inside(name: &str) -> bool {
    !name.contains('\0') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl Artifact {
    /// One digest over names and contents: what enters the keys of the stages that read this artifact.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (name, entry) in &self.0 {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&entry.digest.0);
        }
        hasher.finalize().into()
    }

    /// The sum of its files' sizes, in bytes.
    pub fn size(&self) -> u64 {
        self.0.values().map(|entry| entry.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_its_text() -> Result<(), NotADigest> {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string().parse::<Digest>()?, digest);
        assert!("abc".parse::<Digest>().is_err());
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        Ok(())
    }

    #[test]
    fn a_file_name_that_leads_out_of_its_folder_is_refused() {
        let read = |name: &str| {
            let entry = FileEntry { digest: Digest::of(b"x"), size: 1 };
            serde_json::from_value::<Artifact>(serde_json::json!({ name: entry })).map_err(|error| error.to_string())
        };
        for name in ["../x", "/etc/passwd", "a/../../x", "", ".", "..", "a//b", "a/", "./a", "a\0b"] {
            let message = read(name).err().unwrap_or_default();
            assert!(message.contains("leads out of its folder"), "{name:?}: {message}");
        }
        for name in ["a", "a/b.c", "..a", "a b", "...", "\u{e9}"] {
            assert_eq!(read(name).map(|artifact| artifact.0.len()), Ok(1), "{name}");
        }
    }

    #[test]
    fn a_file_is_hashed_in_pieces_to_the_digest_of_the_whole() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        let piece = usize::try_from(PIECE).unwrap_or(0);
        for size in [0, 1, WORTH_THREADS, piece - 1, piece, 2 * piece + 3] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            std::fs::write(&path, &bytes)?;
            let told = std::sync::atomic::AtomicU64::new(0);
            let add = |n| _ = told.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(Digest::of_file_told(&path, &add)?, Digest::of(&bytes), "{size}");
            assert_eq!(told.into_inner(), size as u64);
        }
        Ok(())
    }

    #[test]
    fn an_artifact_is_named_by_names_and_contents() {
        let entry = FileEntry { digest: Digest::of(b"x"), size: 1 };
        let of = |name: &str, entry| Artifact(BTreeMap::from([(name.to_owned(), entry)])).digest();
        assert_ne!(of("a", entry), of("b", entry));
        assert_ne!(of("a", entry), of("a", FileEntry { digest: Digest::of(b"y"), size: 1 }));
        // A size is not contents: two records of one blob agree.
        assert_eq!(of("a", entry), of("a", FileEntry { size: 2, ..entry }));
    }
}
