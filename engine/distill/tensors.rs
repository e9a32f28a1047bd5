//! Named tensors on the host, and the one place that turns them into safetensors bytes and back.
//!
//! Models and checkpoints are such maps. The bytes depend on the contents alone: names are ordered, and no metadata map
//! is written (its order would be a hash map's). The room knows no models.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::{Dtype, SafeTensors, TensorInfo, TensorView, serialize};

use crate::error::ModelError;

/// The numbers of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U8(Vec<u8>),
    U32(Vec<u32>),
    U64(Vec<u64>),
}

/// A tensor on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Numbers,
}

/// Tensors by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tensors(BTreeMap<String, HostTensor>);

/// Kinds of numbers a tensor may hold, by their Rust type.
pub(crate) trait Number: Copy {
    fn wrap(numbers: Vec<Self>) -> Numbers;
    fn unwrap(numbers: &Numbers) -> Option<&[Self]>;
}

macro_rules! numbers {
    ($($variant:ident: $type:ty),+) => {
        $(impl Number for $type {
            fn wrap(numbers: Vec<Self>) -> Numbers {
                Numbers::$variant(numbers)
            }
            fn unwrap(numbers: &Numbers) -> Option<&[Self]> {
                match numbers {
                    Numbers::$variant(numbers) => Some(numbers),
                    _ => None,
                }
            }
        })+

        impl HostTensor {
            fn dtype(&self) -> Dtype {
                match self.numbers {
                    $(Numbers::$variant(_) => Dtype::$variant,)+
                }
            }

            fn bytes(&self) -> Vec<u8> {
                match &self.numbers {
                    $(Numbers::$variant(numbers) => numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),)+
                }
            }

            fn of(view: &TensorView<'_>) -> Option<Self> {
                let numbers = match view.dtype() {
                    $(Dtype::$variant => {
                        let (numbers, _) = view.data().as_chunks::<{ size_of::<$type>() }>();
                        Numbers::$variant(numbers.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect())
                    })+
                    _ => return None,
                };
                Some(HostTensor { shape: view.shape().to_vec(), numbers })
            }
        }
    };
}
numbers!(F32: f32, F64: f64, U8: u8, U32: u32, U64: u64);

impl Tensors {
    /// Adds a tensor of as many numbers as its shape says.
    pub(crate) fn put<T: Number>(&mut self, name: impl Into<String>, shape: &[usize], numbers: Vec<T>) {
        debug_assert_eq!(shape.iter().product::<usize>(), numbers.len());
        self.0.insert(name.into(), HostTensor { shape: shape.to_vec(), numbers: T::wrap(numbers) });
    }

    /// The numbers of a tensor of exactly this shape and kind.
    pub(crate) fn get<T: Number>(&self, name: &str, shape: &[usize]) -> Result<&[T], ModelError> {
        let wrong = |what: String| ModelError::Tensor { name: name.to_owned(), what };
        let tensor = self.0.get(name).ok_or_else(|| wrong("it is missing".into()))?;
        if tensor.shape != shape {
            return Err(wrong(format!("its shape is {:?}, expected {shape:?}", tensor.shape)));
        }
        T::unwrap(&tensor.numbers)
            .ok_or_else(|| wrong(format!("its numbers are {:?}, which is not expected here", tensor.dtype())))
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Whether both have the same names, shapes and kinds of numbers.
    pub(crate) fn like(&self, other: &Tensors) -> bool {
        let about = |tensors: &Tensors| {
            tensors.0.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone(), tensor.dtype())).collect::<Vec<_>>()
        };
        about(self) == about(other)
    }

    /// A name that `other` does not have.
    pub(crate) fn stranger_to(&self, other: &Tensors) -> Option<&str> {
        self.0.keys().find(|name| !other.0.contains_key(*name)).map(String::as_str)
    }

    /// Adds all tensors of `other`, their names preceded by `prefix`.
    pub(crate) fn extend(&mut self, prefix: &str, other: Tensors) {
        self.0.extend(other.0.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
    }

    /// The tensors whose names begin with `prefix`, without it.
    pub(crate) fn under(&self, prefix: &str) -> Tensors {
        let named = self.0.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())));
        Tensors(named.collect())
    }

    /// Bytes in the safetensors format.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let failed = |error: safetensors::SafeTensorError| ModelError::Safetensors(error.to_string());
        let bytes: Vec<Vec<u8>> = self.0.values().map(HostTensor::bytes).collect();
        let views = self
            .0
            .iter()
            .zip(&bytes)
            .map(|((name, tensor), bytes)| {
                let view = TensorView::new(tensor.dtype(), tensor.shape.clone(), bytes);
                Ok((name.as_str(), view.map_err(failed)?))
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        serialize(views, None).map_err(failed)
    }

    /// Reads the wanted tensors of a file in the safetensors format, and of the others not a byte: the header says where each lies.
    pub(crate) fn from_file(file: impl Read + Seek, wanted: impl Fn(&str) -> bool) -> Result<Self, ModelError> {
        let mut file = TensorFile::open(file)?;
        let names: Vec<String> = file.names().filter(|name| wanted(name)).map(str::to_owned).collect();
        let mut tensors = BTreeMap::new();
        for name in names {
            let wrong = |what: String| ModelError::Tensor { name: name.clone(), what };
            let (info, bytes) = file.read(&name)?;
            let view = TensorView::new(info.dtype, info.shape, &bytes).map_err(|error| wrong(error.to_string()))?;
            let tensor = HostTensor::of(&view).ok_or_else(|| wrong(unknown(view.dtype())))?;
            tensors.insert(name, tensor);
        }
        Ok(Tensors(tensors))
    }

    /// Reads the safetensors format; `wanted` chooses by name, so that the rest is not even copied.
    pub(crate) fn from_bytes(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Self, ModelError> {
        let header = bytes.first_chunk().map_or(0, |size| u64::from_le_bytes(*size));
        if header > LARGEST_HEADER {
            return Err(ModelError::Safetensors(format!("its header of {header} bytes does not fit")));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|error| ModelError::Safetensors(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter().filter(|(name, _)| wanted(name)) {
            let tensor =
                HostTensor::of(&view).ok_or_else(|| ModelError::Tensor { name: name.to_owned(), what: unknown(view.dtype()) })?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Tensors(tensors))
    }
}

/// A file in the safetensors format whose header has been read: tensors come one by one, when they are asked for.
#[derive(Debug)]
pub(crate) struct TensorFile<F> {
    file: F,
    infos: BTreeMap<String, TensorInfo>,
    /// Where the numbers begin.
    start: u64,
    /// Bytes of numbers, and how many of them nobody has read. Tensors do not share bytes: together they are no larger than the file.
    size: u64,
    left: u64,
}

impl<F: Read + Seek> TensorFile<F> {
    pub(crate) fn open(mut file: F) -> Result<Self, ModelError> {
        let failed = |what: String| ModelError::Safetensors(what);
        let io = |error: std::io::Error| failed(error.to_string());
        let length = file.seek(SeekFrom::End(0)).map_err(io)?;
        file.rewind().map_err(io)?;
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(io)?;
        let header = u64::from_le_bytes(size);
        if header > LARGEST_HEADER || header + 8 > length {
            return Err(failed(format!("its header of {header} bytes does not fit")));
        }
        let mut text = Vec::new();
        (&mut file).take(header).read_to_end(&mut text).map_err(io)?;
        let mut entries: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        // Words about the file, which say nothing of any tensor.
        entries.remove("__metadata__");
        let info = |(name, entry)| {
            let info = serde_json::from_value(entry).map_err(|error| failed(format!("`{name}`: {error}")))?;
            Ok((name, info))
        };
        let infos = entries.into_iter().map(info).collect::<Result<_, ModelError>>()?;
        let size = length - 8 - header;
        Ok(TensorFile { file, infos, start: 8 + header, size, left: size })
    }

    /// The names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.infos.keys().map(String::as_str)
    }

    /// What a tensor is, and its bytes.
    fn read(&mut self, name: &str) -> Result<(TensorInfo, Vec<u8>), ModelError> {
        let wrong = |what: String| ModelError::Tensor { name: name.to_owned(), what };
        let info = self.infos.get(name).ok_or_else(|| wrong("it is missing".into()))?.clone();
        let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        if start > end || end > self.size {
            return Err(wrong("it lies outside of the file".into()));
        }
        // The library multiplies without looking, and takes a product that went over for a small one.
        let numbers = info.shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if numbers.is_none_or(|numbers| numbers as u64 > end - start) {
            return Err(wrong(format!("its shape {:?} has more numbers than it has bytes", info.shape)));
        }
        self.left = self.left.checked_sub(end - start).ok_or_else(|| wrong("it shares its bytes with others".into()))?;
        let io = |error: std::io::Error| ModelError::Safetensors(error.to_string());
        self.file.seek(SeekFrom::Start(self.start + start)).map_err(io)?;
        let mut bytes = Vec::new();
        (&mut self.file).take(end - start).read_to_end(&mut bytes).map_err(io)?;
        Ok((info, bytes))
    }

    /// The numbers of a tensor of this shape in single precision: those of half precision (`F16`, `BF16`) are all among them.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let wrong = |what: String| ModelError::Tensor { name: name.to_owned(), what };
        if let Some(info) = self.infos.get(name).filter(|info| info.shape != shape) {
            return Err(wrong(format!("its shape is {:?}, expected {shape:?}", info.shape)));
        }
        let (info, bytes) = self.read(name)?;
        let view = TensorView::new(info.dtype, info.shape, &bytes).map_err(|error| wrong(error.to_string()))?;
        let halves = || bytes.as_chunks::<2>().0.iter();
        match view.dtype() {
            Dtype::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Dtype::F16 => Ok(halves().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()),
            Dtype::BF16 => Ok(halves().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()),
            other => Err(wrong(format!("its numbers are {other:?}, expected F32, F16 or BF16"))),
        }
    }
}

/// The header of a model or a checkpoint takes some kilobytes; of a longer one nothing is read.
const LARGEST_HEADER: u64 = 1 << 20;

fn unknown(dtype: Dtype) -> String {
    format!("its numbers are {dtype:?}, which talkflow does not write")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    /// Counts the bytes that are read.
    struct Counting<'a>(std::io::Cursor<&'a [u8]>, usize);

    impl Read for &mut Counting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1 += read;
            Ok(read)
        }
    }

    impl Seek for &mut Counting<'_> {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn of_a_file_only_the_header_and_what_is_wanted_is_read() {
        let mut tensors = sample();
        tensors.put("embeddings", &[1000, 8], vec![0.5f32; 8000]);
        let bytes = tensors.to_bytes().unwrap();
        let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        let mut file = Counting(std::io::Cursor::new(&bytes), 0);
        let read = Tensors::from_file(&mut file, |name| name == "b").unwrap();
        assert_eq!(read, Tensors::from_bytes(&bytes, |name| name == "b").unwrap());
        assert_eq!(file.1, header + 16);
        for end in [0, 7, header - 1, header, bytes.len() - 1] {
            let torn = Tensors::from_file(std::io::Cursor::new(&bytes[..end]), |_| true);
            assert!(torn.is_err(), "{end} bytes of {} were taken for whole", bytes.len());
        }
    }

    /// A file of the safetensors format with this header and as many zeros as there are bytes of data.
    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused() {
        let shared: Vec<String> =
            (0..1000).map(|n| format!(r#""layers.{n}":{{"dtype":"U8","shape":[1000],"data_offsets":[0,1000]}}"#)).collect();
        let shared = file(&format!("{{{}}}", shared.join(",")), 1000);
        let error = Tensors::from_file(std::io::Cursor::new(&shared), |_| true).unwrap_err().to_string();
        assert!(error.contains("it shares its bytes with others"), "{error}");
        assert!(Tensors::from_bytes(&shared, |_| true).is_err());
        let huge = [&(1u64 << 40).to_le_bytes()[..], b"{}"].concat();
        let long = file(&format!("{{}}{}", " ".repeat(1 << 20)), 0);
        let overflowing = file(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#, 4);
        for (bytes, part) in [(&huge, "does not fit"), (&long, "does not fit"), (&overflowing, "")] {
            for result in [Tensors::from_bytes(bytes, |_| true), Tensors::from_file(std::io::Cursor::new(bytes), |_| true)] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
        }
    }

    fn sample() -> Tensors {
        let mut tensors = Tensors::default();
        tensors.put("b", &[2, 2], vec![1.0f32, -0.0, f32::MIN_POSITIVE, 3.5]);
        tensors.put("a", &[3], vec![1u8, 0, 1]);
        tensors.put("c", &[1], vec![u64::MAX]);
        tensors.put("d", &[1], vec![0.1f64]);
        tensors.put("e", &[0], Vec::<u32>::new());
        tensors
    }

    #[test]
    fn bytes_come_back_and_are_stable() {
        let tensors = sample();
        let bytes = tensors.to_bytes().unwrap();
        assert_eq!(Tensors::from_bytes(&bytes, |_| true).unwrap(), tensors);
        assert!((0..20).all(|_| sample().to_bytes().unwrap() == bytes));
    }

    #[test]
    fn only_wanted_tensors_are_read() {
        let bytes = sample().to_bytes().unwrap();
        let tensors = Tensors::from_bytes(&bytes, |name| name == "b").unwrap();
        assert_eq!(tensors.0.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn errors_name_the_tensor() {
        let tensors = sample();
        for (result, part) in [
            (tensors.get::<f32>("x", &[1]), "`x`: it is missing"),
            (tensors.get::<f32>("b", &[4]), "`b`: its shape is [2, 2], expected [4]"),
            (tensors.get::<f32>("a", &[3]), "`a`: its numbers are U8"),
        ] {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        let damaged = &tensors.to_bytes().unwrap()[..20];
        assert!(matches!(Tensors::from_bytes(damaged, |_| true), Err(ModelError::Safetensors(_))));
    }
}
