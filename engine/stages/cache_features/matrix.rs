//! Matrices of numbers in files, read where they lie: safetensors and NumPy's npy.
//!
//! Of a file only its header is read until rows are asked for, and nothing is allocated by what a header says before the file is seen to be that
//! long. Numbers become single precision, whatever the file has. The room knows no features.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use serde::Deserialize;

/// No header is longer: of a longer one nothing is read.
const LONGEST_HEADER: u64 = 1 << 20;

/// About so many bytes are made numbers of together.
const BLOCK: usize = 1 << 19;

/// Kinds of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    BF16,
    F32,
    F64,
    U32,
    I32,
    U64,
    I64,
}

impl Number {
    const ALL: [(Self, &'static str, &'static str, usize); 8] = [
        (Self::F16, "F16", "<f2", 2),
        // NumPy has none.
        (Self::BF16, "BF16", "", 2),
        (Self::F32, "F32", "<f4", 4),
        (Self::F64, "F64", "<f8", 8),
        (Self::U32, "U32", "<u4", 4),
        (Self::I32, "I32", "<i4", 4),
        (Self::U64, "U64", "<u8", 8),
        (Self::I64, "I64", "<i8", 8),
    ];

    fn bytes(self) -> usize {
        Self::ALL.iter().find(|(number, ..)| *number == self).map_or(1, |(.., bytes)| *bytes)
    }

    fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }
}

/// A matrix in a file, row after row.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    path: PathBuf,
    file: Arc<File>,
    /// Where its numbers begin, in bytes.
    start: u64,
    number: Number,
    /// Rows.
    pub(super) rows: usize,
    /// Numbers a row; 1 for a list.
    pub(super) width: usize,
}

impl Matrix {
    /// Checks that the file holds it.
    fn new(path: &Path, file: Arc<File>, start: u64, number: Number, shape: &[u64]) -> anyhow::Result<Self> {
        let (rows, width) = match *shape {
            [rows] => (rows, 1),
            [rows, width] => (rows, width),
            _ => bail!("its shape {shape:?} is neither that of a list nor of a matrix"),
        };
        let bytes = rows.checked_mul(width).and_then(|numbers| numbers.checked_mul(number.bytes() as u64));
        let end = bytes.and_then(|bytes| bytes.checked_add(start));
        let size = file.metadata()?.len();
        ensure!(end.is_some_and(|end| end <= size), "its shape {shape:?} has more numbers than the file");
        Ok(Self { path: path.to_owned(), file, start, number, rows: usize::try_from(rows)?, width: usize::try_from(width)? })
    }

    fn bytes(&self, rows: Range<usize>) -> anyhow::Result<Vec<u8>> {
        ensure!(rows.end <= self.rows, "{} has {} rows, and {} were asked for", self.path.display(), self.rows, rows.end);
        let row = self.width * self.number.bytes();
        let mut bytes = vec![0; rows.len() * row];
        let at = self.start + (rows.start * row) as u64;
        self.file.read_exact_at(&mut bytes, at).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(bytes)
    }

    /// Some rows, in single precision.
    pub(super) fn floats(&self, rows: Range<usize>) -> anyhow::Result<Vec<f32>> {
        ensure!(rows.end <= self.rows, "{} has {} rows, and {} were asked for", self.path.display(), self.rows, rows.end);
        // Bytes are there beside their numbers for some rows only.
        let step = (BLOCK / (self.width * self.number.bytes()).max(1)).max(1);
        if rows.len() <= step {
            return self.converted(&self.bytes(rows)?);
        }
        let mut floats = Vec::with_capacity(rows.len() * self.width);
        for start in rows.clone().step_by(step) {
            floats.extend(self.converted(&self.bytes(start..(start + step).min(rows.end))?)?);
        }
        Ok(floats)
    }

    fn converted(&self, bytes: &[u8]) -> anyhow::Result<Vec<f32>> {
        Ok(match self.number {
            Number::F16 => {
                let halves: Vec<f16> = bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
                let mut floats = vec![0.0; halves.len()];
                // As many at a time as the processor can.
                halves.convert_to_f32_slice(&mut floats);
                floats
            }
            Number::BF16 => bytes.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
            Number::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Number::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
            number => bail!("{} holds {number:?} where F16, BF16, F32 or F64 are needed", self.path.display()),
        })
    }

    /// All numbers, which are whole and not below 0.
    pub(super) fn whole(&self) -> anyhow::Result<Vec<u64>> {
        ensure!(!self.number.is_float(), "{} holds {:?} where whole numbers are needed", self.path.display(), self.number);
        let bytes = self.bytes(0..self.rows)?;
        let signed: Vec<i128> = match self.number {
            Number::U32 => bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes).into()).collect(),
            Number::I32 => bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect(),
            Number::U64 => bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes).into()).collect(),
            _ => bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes).into()).collect(),
        };
        let whole = |number: i128| u64::try_from(number).with_context(|| format!("{} holds {number}", self.path.display()));
        signed.into_iter().map(whole).collect()
    }
}

/// The lists and matrices of a file in the safetensors format, by name; tensors of other kinds or shapes are left aside.
pub(super) fn safetensors(path: &Path) -> anyhow::Result<BTreeMap<String, Matrix>> {
    let open = || -> anyhow::Result<BTreeMap<String, Matrix>> {
        #[derive(Deserialize)]
        struct Entry {
            dtype: String,
            shape: Vec<u64>,
            data_offsets: [u64; 2],
        }
        let mut file = File::open(path)?;
        let mut size = [0; 8];
        file.read_exact(&mut size).context("it is too short for this format")?;
        let length = u64::from_le_bytes(size);
        ensure!(length <= LONGEST_HEADER, "its header of {length} bytes is too long");
        let mut text = Vec::new();
        (&mut file).take(length).read_to_end(&mut text)?;
        let mut entries: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&text).context("its header cannot be read")?;
        entries.remove("__metadata__");
        let file = Arc::new(file);
        let mut matrices = BTreeMap::new();
        for (name, entry) in entries {
            let entry: Entry = serde_json::from_value(entry).with_context(|| format!("`{name}`"))?;
            let number = Number::ALL.iter().find(|(_, dtype, ..)| *dtype == entry.dtype).map(|(number, ..)| *number);
            let (Some(number), 1..=2) = (number, entry.shape.len()) else { continue };
            let start = (8 + length).checked_add(entry.data_offsets[0]).context("it lies outside of the file")?;
            let matrix = Matrix::new(path, Arc::clone(&file), start, number, &entry.shape);
            matrices.insert(name.clone(), matrix.with_context(|| format!("`{name}`"))?);
        }
        Ok(matrices)
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// The array of a file in NumPy's format: little-endian floats or whole numbers in the order of C.
pub(super) fn npy(path: &Path) -> anyhow::Result<Matrix> {
    let open = || -> anyhow::Result<Matrix> {
        let mut file = File::open(path)?;
        let mut head = [0; 8];
        file.read_exact(&mut head).context("it is too short for this format")?;
        ensure!(&head[..6] == b"\x93NUMPY", "it does not begin as files of NumPy do");
        let (before, length) = match head[6] {
            1 => {
                let mut length = [0; 2];
                file.read_exact(&mut length)?;
                (10, u64::from(u16::from_le_bytes(length)))
            }
            2 | 3 => {
                let mut length = [0; 4];
                file.read_exact(&mut length)?;
                (12, u64::from(u32::from_le_bytes(length)))
            }
            other => bail!("version {other} of the format is not known"),
        };
        ensure!(length <= LONGEST_HEADER, "its header of {length} bytes is too long");
        let mut text = Vec::new();
        (&mut file).take(length).read_to_end(&mut text)?;
        let text = String::from_utf8(text).context("its header is no text")?;
        let (descr, fortran, shape) = header(&text).with_context(|| format!("its header `{}` cannot be read", text.trim()))?;
        ensure!(!fortran, "it is in the order of Fortran: write `numpy.ascontiguousarray(x)`");
        let known: Vec<&str> = Number::ALL.iter().map(|(_, _, descr, _)| *descr).filter(|descr| !descr.is_empty()).collect();
        let number = Number::ALL.iter().find(|(_, _, known, _)| *known == descr && !descr.is_empty()).map(|(number, ..)| *number);
        let number = number.with_context(|| format!("its numbers are `{descr}`, which are none of {}", known.join(", ")))?;
        Matrix::new(path, Arc::new(file), before + length, number, &shape)
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// What the header of an npy says: the kind of numbers, whether they are in the order of Fortran, the shape. It is a dictionary of Python's with
/// these three in any order.
fn header(text: &str) -> Option<(String, bool, Vec<u64>)> {
    let after = |key: &str| {
        let rest = text.split_once(&format!("'{key}'"))?.1.trim_start();
        Some(rest.strip_prefix(':')?.trim_start())
    };
    let descr = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_owned();
    let order = after("fortran_order")?;
    let fortran = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    let shape = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
    Some((descr, fortran, sides.map(|side| side.parse().ok()).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn npy_of(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let length = match version {
            1 => (header.len() as u16).to_le_bytes().to_vec(),
            _ => (header.len() as u32).to_le_bytes().to_vec(),
        };
        [b"\x93NUMPY", &[version, 0][..], &length, header.as_bytes(), data].concat()
    }

    fn said(error: anyhow::Error) -> String {
        format!("{error:#}")
    }

    #[test]
    fn arrays_of_numpy_are_read_row_by_row() {
        let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, -6.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        for version in [1, 2] {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }     \n";
            let (_folder, path) = file(&npy_of(version, header, &data));
            let matrix = npy(&path).unwrap();
            assert_eq!((matrix.rows, matrix.width), (3, 2));
            assert_eq!(matrix.floats(1..3).unwrap(), [3.0, 4.0, 5.0, -6.5]);
            assert!(matrix.floats(2..4).is_err());
        }
        let halves: Vec<u8> = [0.5, -2.0].iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let (_folder, path) = file(&npy_of(1, "{'shape': (2,), 'descr': '<f2', 'fortran_order': False}", &halves));
        assert_eq!(npy(&path).unwrap().floats(0..2).unwrap(), [0.5, -2.0]);
        let ids: Vec<u8> = [7_i64, 3].iter().flat_map(|x| x.to_le_bytes()).collect();
        let (_folder, path) = file(&npy_of(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", &ids));
        let ids = npy(&path).unwrap();
        assert_eq!(ids.whole().unwrap(), [7, 3]);
        assert!(said(ids.floats(0..1).unwrap_err()).contains("I64"));
    }

    #[test]
    fn what_is_no_array_is_refused_and_nothing_is_allocated_by_its_word() {
        let with = |header: &str| {
            let (_folder, path) = file(&npy_of(2, header, &[0; 16]));
            said(npy(&path).unwrap_err())
        };
        for (header, part) in [
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}", "order of Fortran"),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2)}", "its numbers are `>f4`"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}", "its numbers are `|O`"),
            ("{'descr': '', 'fortran_order': False, 'shape': (2, 2)}", "its numbers are ``"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", "has more numbers than the file"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "has more numbers than the file"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 4)}", "neither that of a list nor of a matrix"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "cannot be read"),
            ("{'descr': '<f4', 'shape': (4,)}", "cannot be read"),
            ("", "cannot be read"),
        ] {
            let said = with(header);
            assert!(said.contains(part), "{header}: {said}");
        }
        for bytes in [&b"\x93NUMPY"[..], b"not one of those", b"\x93NUMPY\x09\0\0\0\0\0", b"\x93NUMPY\x02\0\xff\xff\xff\xff"] {
            let (_folder, path) = file(bytes);
            assert!(npy(&path).is_err());
        }
    }

    #[test]
    fn tensors_are_read_by_name() {
        let header = r#"{"__metadata__":{"a":"b"},"x":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]},"cube":{"dtype":"F32","shape":[1,1,1],"data_offsets":[0,4]}}"#;
        let data: Vec<u8> = [1.5_f64, -3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let with = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        let (_folder, path) = file(&with(header));
        let tensors = safetensors(&path).unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["x"]);
        assert_eq!(tensors["x"].floats(0..1).unwrap(), [1.5, -3.0]);
        for (header, part) in [
            (
                r#"{"x":{"dtype":"F64","shape":[2,2],"data_offsets":[0,16]}}"#,
                "`x`: its shape [2, 2] has more numbers than the file",
            ),
            (r#"{"x":{"dtype":"F64","shape":[1],"data_offsets":[18446744073709551615,0]}}"#, "outside of the file"),
            (r#"{"x":{"dtype":"F64","shape":[18446744073709551615,9],"data_offsets":[0,1]}}"#, "more numbers than the file"),
            (r#"{"x":5}"#, "`x`"),
            ("[]", "its header cannot be read"),
        ] {
            let (_folder, path) = file(&with(header));
            let said = said(safetensors(&path).unwrap_err());
            assert!(said.contains(part), "{header}: {said}");
        }
        let (_folder, path) = file(&u64::MAX.to_le_bytes());
        assert!(said(safetensors(&path).unwrap_err()).contains("is too long"));
    }
}
