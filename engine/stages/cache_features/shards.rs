//! Shards of features: files of some rows each, as safetensors, so that reading them costs what the disk costs.
//!
//! A shard has `row`, its rows; for each tap a matrix of that name, a row a row; and with tokens `tokens`, a token a row, and `starts`, where the
//! tokens of each row begin and behind the last. Numbers are single or half precision. The room knows no teachers.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use half::f16;
use safetensors::tensor::{Dtype as Stored, TensorView};
use serde::{Deserialize, Serialize};

use super::{
    Tap,
    matrix::{self, Matrix},
};
use crate::{fields::Choice, stage::Input};

/// The folder that shards are in.
pub const SHARDS: &str = "features";
const ROW: &str = "row";
const TOKENS: &str = "tokens";
const STARTS: &str = "starts";

/// A shard is about so large, in bytes, and has at most so many rows.
const SHARD: usize = 16 << 20;
const MOST_ROWS: usize = 1 << 14;

/// The precision of cached numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Single.
    F32,
    /// Half.
    F16,
}

impl Choice for Dtype {
    const WORDS: &'static [(&'static str, Self)] = &[("f32", Self::F32), ("f16", Self::F16)];
}

impl Dtype {
    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// A number as it comes back.
    pub(super) fn rounded(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
        }
    }
}

/// States of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// The rows.
    pub row: Vec<u32>,
    /// By tap: numbers of a state, and (rows, numbers), row-major.
    pub states: BTreeMap<Tap, (usize, Vec<f32>)>,
    /// Tokens of low states.
    pub tokens: Option<Tokens>,
}

/// Tokens, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// Numbers in a token.
    pub width: usize,
    /// Where each row's tokens begin, and behind the last.
    pub starts: Vec<usize>,
    /// (tokens, width), row-major.
    pub values: Vec<f32>,
}

/// How many rows a shard has, of which each takes at most so many bytes.
pub(super) fn rows_a_shard(bytes: usize) -> usize {
    (SHARD / bytes.max(1)).clamp(1, MOST_ROWS)
}

/// What a shard is called in the artifact.
pub(super) fn name(number: usize) -> String {
    format!("{SHARDS}/{number:05}.safetensors")
}

impl Shard {
    /// Refuses numbers that are none, or are none any more in half precision.
    pub(super) fn check(&self, dtype: Dtype) -> anyhow::Result<()> {
        let row = |place: usize| self.row.get(place).copied().unwrap_or_default();
        let say = |place: usize, tap: &str, value: f32| {
            let why = if value.is_finite() { "is beyond half precision: write `dtype: f32`" } else { "is no finite number" };
            anyhow::anyhow!("the `{tap}` state of row {} holds {value}, which {why}", row(place))
        };
        let unsound = |value: &f32| !dtype.rounded(*value).is_finite();
        for (tap, (width, values)) in &self.states {
            if let Some(at) = values.iter().position(unsound) {
                return Err(say(at / width.max(&1), tap.word(), values[at]));
            }
        }
        if let Some(Tokens { width, starts, values }) = &self.tokens
            && let Some(at) = values.iter().position(unsound)
        {
            let token = at / width.max(&1);
            return Err(say(starts.partition_point(|start| *start <= token).saturating_sub(1), TOKENS, values[at]));
        }
        Ok(())
    }

    /// Writes it; what stands at that path is a whole shard or nothing, whatever interrupts.
    pub(super) fn write(&self, path: &Path, dtype: Dtype) -> anyhow::Result<()> {
        let floats = |values: &[f32]| -> Vec<u8> {
            match dtype {
                Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                Dtype::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            }
        };
        let stored = match dtype {
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
        };
        let rows: Vec<u8> = self.row.iter().flat_map(|row| row.to_le_bytes()).collect();
        let mut tensors: Vec<(&str, Stored, Vec<usize>, Vec<u8>)> = vec![(ROW, Stored::U32, vec![self.row.len()], rows)];
        for (tap, (width, values)) in &self.states {
            tensors.push((tap.word(), stored, vec![self.row.len(), *width], floats(values)));
        }
        if let Some(Tokens { width, starts, values }) = &self.tokens {
            let bytes = starts.iter().flat_map(|start| (*start as u64).to_le_bytes()).collect();
            tensors.push((STARTS, Stored::U64, vec![starts.len()], bytes));
            tensors.push((TOKENS, stored, vec![values.len() / width, *width], floats(values)));
        }
        let views =
            tensors.iter().map(|(name, stored, shape, bytes)| Ok((*name, TensorView::new(*stored, shape.clone(), bytes)?)));
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let bytes = safetensors::serialize(views, None)?;
        let begun = path.with_extension("begun");
        let write = || {
            let mut file = fs::File::create(&begun)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&begun, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// The rows at some places, ascending, in the memory that all have.
    pub(super) fn picked(mut self, places: &[usize]) -> anyhow::Result<Self> {
        let rows = self.row.len();
        if places.len() == rows {
            return Ok(self);
        }
        let within = places.iter().all(|place| *place < rows) && places.is_sorted();
        ensure!(within, "a shard of {rows} rows has no such places");
        for (width, values) in self.states.values_mut() {
            for (to, from) in places.iter().enumerate() {
                values.copy_within(from * *width..(from + 1) * *width, to * *width);
            }
            values.truncate(places.len() * *width);
        }
        if let Some(Tokens { width, starts, values }) = &mut self.tokens {
            let mut kept = vec![0];
            for &place in places {
                let to = kept.last().copied().unwrap_or(0);
                values.copy_within(starts[place] * *width..starts[place + 1] * *width, to * *width);
                kept.push(to + starts[place + 1] - starts[place]);
            }
            values.truncate(kept.last().copied().unwrap_or(0) * *width);
            *starts = kept;
        }
        self.row = places.iter().map(|place| self.row[*place]).collect();
        Ok(self)
    }

    /// Reads one back.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let tensors = Tensors::open(path)?;
        let rows = tensors.rows()?.len();
        tensors.part(0..rows, &Wanted::ALL)
    }
}

/// What of features is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Taps, of those that are there.
    pub taps: &'static [Tap],
    /// Whether tokens are, where there are some.
    pub tokens: bool,
}

impl Wanted {
    /// Whatever is there.
    const ALL: Self = Self { taps: &[Tap::Low, Tap::High, Tap::Embeddings, Tap::Output], tokens: true };
}

/// A shard's file, of which nothing but the header has been read.
pub(super) struct Tensors {
    path: PathBuf,
    tensors: BTreeMap<String, Matrix>,
}

impl Tensors {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { tensors: matrix::safetensors(path)?, path: path.to_owned() })
    }

    /// The rows that it has.
    pub(super) fn rows(&self) -> anyhow::Result<Vec<u32>> {
        let read = || -> anyhow::Result<Vec<u32>> {
            let row = self.tensors.get(ROW).context("it has no `row`")?.whole()?;
            Ok(row.into_iter().map(u32::try_from).collect::<Result<_, _>>()?)
        };
        read().with_context(|| self.about())
    }

    /// Numbers in a token, where there are tokens.
    pub(super) fn token_width(&self) -> Option<usize> {
        self.tensors.get(TOKENS).map(|tokens| tokens.width)
    }

    /// What is wanted of some of its rows, by their places; only that is read.
    pub(super) fn part(&self, places: Range<usize>, wanted: &Wanted) -> anyhow::Result<Shard> {
        let read = || -> anyhow::Result<Shard> {
            let all = self.rows()?;
            let row = all.get(places.clone()).with_context(|| format!("it has {} rows", all.len()))?.to_vec();
            let mut states = BTreeMap::new();
            for (word, tap) in Tap::WORDS.iter().filter(|(_, tap)| wanted.taps.contains(tap)) {
                let Some(matrix) = self.tensors.get(*word) else { continue };
                ensure!(matrix.rows == all.len() && matrix.width > 0, "its `{word}` are not those of {} rows", all.len());
                states.insert(*tap, (matrix.width, matrix.floats(places.clone())?));
            }
            let tokens = match (self.tensors.get(TOKENS), self.tensors.get(STARTS)) {
                (Some(tokens), Some(starts)) if wanted.tokens => {
                    let starts = starts.whole()?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
                    let whole =
                        starts.len() == all.len() + 1 && starts.first() == Some(&0) && starts.last() == Some(&tokens.rows);
                    ensure!(whole && starts.is_sorted() && tokens.width > 0, "its `starts` are not those of its `tokens`");
                    let (first, end) = (starts[places.start], starts[places.end]);
                    let starts = starts[places.start..=places.end].iter().map(|start| start - first).collect();
                    Some(Tokens { width: tokens.width, starts, values: tokens.floats(first..end)? })
                }
                _ => None,
            };
            Ok(Shard { row, states, tokens })
        };
        read().with_context(|| self.about())
    }

    fn about(&self) -> String {
        format!("cannot read the features {}", self.path.display())
    }
}

/// The shards of an artifact, to be read one at a time.
#[derive(Clone, Debug)]
pub struct Shards {
    paths: Vec<PathBuf>,
}

impl Shards {
    /// Of a features artifact; features of ratings lie in one file and have none.
    pub(super) fn of(input: &Input<'_>) -> anyhow::Result<Self> {
        let inside = |name: &&String| name.strip_prefix(SHARDS).is_some_and(|rest| rest.starts_with('/'));
        let names = input.files.0.keys().filter(inside);
        Ok(Self { paths: names.map(|name| input.file(name)).collect::<anyhow::Result<_>>()? })
    }

    /// Of files, in the order of their rows.
    #[cfg(test)]
    pub(super) fn at(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Reads one, numbered from 0: those of lower numbers have lower rows, each once.
    ///
    /// # Errors
    /// Where it cannot be read, or is beyond the last.
    pub fn read(&self, number: usize) -> anyhow::Result<Shard> {
        Shard::read(self.path(number)?)
    }

    /// Opens one, to read some of its rows.
    pub(super) fn open(&self, number: usize) -> anyhow::Result<Tensors> {
        Tensors::open(self.path(number)?)
    }

    fn path(&self, number: usize) -> anyhow::Result<&Path> {
        let path = self.paths.get(number).map(PathBuf::as_path);
        path.with_context(|| format!("there are {} shards", self.paths.len()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]
    use super::*;

    fn shard() -> Shard {
        let states = BTreeMap::from([(Tap::Low, (2, vec![0.5, -1.0, 3.0, 0.1])), (Tap::High, (1, vec![1.0, 2.0]))]);
        let tokens = Tokens { width: 2, starts: vec![0, 1, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        Shard { row: vec![3, 70_000], states, tokens: Some(tokens) }
    }

    #[test]
    fn what_is_written_comes_back_in_its_precision() {
        let folder = tempfile::tempdir().unwrap();
        for dtype in [Dtype::F32, Dtype::F16] {
            let path = folder.path().join("00000.safetensors");
            shard().write(&path, dtype).unwrap();
            let bytes = fs::read(&path).unwrap();
            let read = Shard::read(&path).unwrap();
            let mut expected = shard();
            expected.states.values_mut().for_each(|(_, values)| values.iter_mut().for_each(|v| *v = dtype.rounded(*v)));
            assert_eq!(read, expected);
            shard().write(&path, dtype).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            // A file that was cut off is no shard.
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            assert!(Shard::read(&path).is_err());
        }
    }

    #[test]
    fn numbers_that_are_lost_are_named() {
        let mut wide = shard();
        wide.states.get_mut(&Tap::Low).unwrap().1[3] = 70_000.0;
        assert!(wide.check(Dtype::F32).is_ok());
        let said = wide.check(Dtype::F16).unwrap_err().to_string();
        assert_eq!(said, "the `low` state of row 70000 holds 70000, which is beyond half precision: write `dtype: f32`");
        let mut none = shard();
        none.tokens.as_mut().unwrap().values[1] = f32::NAN;
        assert_eq!(
            none.check(Dtype::F32).unwrap_err().to_string(),
            "the `tokens` state of row 3 holds NaN, which is no finite number"
        );
    }
}
