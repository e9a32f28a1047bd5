//! Weights of a model's folder, by the names under which Hugging Face keeps them.
//!
//! Tensors are read one by one and made ready for products at once, so no second copy of a model is ever in memory. A layer scale is multiplied into the
//! dense layer it follows, queries, keys and values become one layer, and dense layers are turned from (out, in) to (in, out).
//! A file may put a prefix before all names, as models with a head on top do.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use dfdx::tensor::Cpu;

use super::config::{Config, Family, Reads};
use super::error::TransformerError;
use super::operations::Norm;
use super::stack::{Block, Stack};
use crate::error::ModelError;
use crate::ops::{Layer, Ops, Pool, Var};
use crate::tensors::TensorFile;

/// A model's folder, its configuration read and its weights open.
pub(crate) struct Folder {
    pub(crate) config: Config,
    pub(crate) weights: Weights<File>,
    path: PathBuf,
}

/// The files of a model, wherever each lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformerFiles {
    /// What it is.
    pub config: PathBuf,
    /// Its numbers.
    pub weights: PathBuf,
    /// What makes tokens of texts; nothing but texts needs it.
    pub tokenizer: PathBuf,
}

impl TransformerFiles {
    /// The names under which Hugging Face keeps them: configuration, weights, tokenizer.
    pub const NAMES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

    /// The files under these names.
    pub fn in_folder(folder: &Path) -> Self {
        let [config, weights, tokenizer] = Self::NAMES.map(|name| folder.join(name));
        TransformerFiles { config, weights, tokenizer }
    }
}

impl Folder {
    pub(crate) fn open(files: &TransformerFiles) -> Result<Self, TransformerError> {
        let config = Config::open(&files.config)?;
        let path = files.weights.clone();
        let file = File::open(&path).map_err(|source| TransformerError::File { path: path.clone(), source })?;
        let weights = Weights::open(file, &config).map_err(|source| TransformerError::Weights { path: path.clone(), source })?;
        Ok(Folder { config, weights, path })
    }

    /// Reads something of the weights.
    pub(crate) fn read<T>(
        &mut self,
        what: impl FnOnce(&mut Weights<File>, &Config) -> Result<T, ModelError>,
    ) -> Result<T, TransformerError> {
        what(&mut self.weights, &self.config).map_err(|source| TransformerError::Weights { path: self.path.clone(), source })
    }
}

/// Named tensors on their way into matrices.
pub(crate) struct Weights<F> {
    file: TensorFile<F>,
    prefix: String,
    pool: Pool,
}

impl<F: Read + Seek> Weights<F> {
    pub(crate) fn open(file: F, config: &Config) -> Result<Self, ModelError> {
        let file = TensorFile::open(file)?;
        let known = match config.reads {
            Reads::Texts { .. } => "embeddings.word_embeddings.weight",
            Reads::Images { .. } => "embeddings.cls_token",
        };
        let prefix = file.names().find_map(|name| name.strip_suffix(known)).map(str::to_owned);
        let missing = || ModelError::Tensor { name: known.to_owned(), what: "it is missing".to_owned() };
        Ok(Weights { file, prefix: prefix.ok_or_else(missing)?, pool: Pool::default() })
    }

    fn has(&self, name: &str) -> bool {
        self.file.names().any(|known| known.strip_prefix(self.prefix.as_str()) == Some(name))
    }

    /// The numbers of a tensor of this shape.
    pub(crate) fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.file.floats(&format!("{}{name}", self.prefix), shape)
    }

    pub(crate) fn matrix(&self, values: &[f32], rows: usize, cols: usize) -> Result<Var<Cpu>, ModelError> {
        let matrix = Cpu::default().matrix(self.pool.copy(values), rows, cols);
        Ok(Var { value: matrix.map_err(|error| ModelError::Device(error.to_string()))?, wanted: false })
    }

    /// A frozen dense layer of such weights, (in, out).
    fn layer(&self, weight: &[f32], bias: &[f32], (inputs, outputs): (usize, usize)) -> Result<Layer<Cpu>, ModelError> {
        let mut weight = self.matrix(weight, inputs, outputs)?;
        weight.value = Cpu::default().keep(weight.value, &self.pool);
        Ok(Layer { weight, bias: self.matrix(bias, 1, outputs)? })
    }

    /// Dense layers of one input side by side; without `bias` theirs is 0. `shape` is that of each weight in the file, which begins with
    /// its outputs. What comes out is multiplied by the numbers of `scale`, where there is one.
    pub(crate) fn dense(
        &mut self,
        names: &[String],
        shape: &[usize],
        bias: bool,
        scale: Option<&str>,
    ) -> Result<Layer<Cpu>, ModelError> {
        // Nothing is allocated by what a configuration says before the file is seen to hold it.
        let weights: Vec<Vec<f32>> =
            names.iter().map(|name| self.numbers(&format!("{name}.weight"), shape)).collect::<Result<_, _>>()?;
        let (outputs, inputs) = (shape[0], shape[1..].iter().product::<usize>());
        let all = outputs * names.len();
        let (mut weight, mut biases) = (self.pool.take(inputs * all), vec![0.0; all]);
        let scale = scale.map(|name| self.numbers(name, &[outputs])).transpose()?;
        for (place, (name, mut rows)) in names.iter().zip(weights).enumerate() {
            let into = &mut biases[place * outputs..(place + 1) * outputs];
            if bias {
                into.copy_from_slice(&self.numbers(&format!("{name}.bias"), &[outputs])?);
            }
            if let Some(scale) = &scale {
                for ((row, bias), scale) in rows.chunks_exact_mut(inputs).zip(into).zip(scale) {
                    row.iter_mut().for_each(|weight| *weight *= scale);
                    *bias *= scale;
                }
            }
            for (output, row) in rows.chunks_exact(inputs).enumerate() {
                let column = weight[place * outputs + output..].iter_mut().step_by(all);
                column.zip(row).for_each(|(to, weight)| *to = *weight);
            }
        }
        self.layer(&weight, &biases, (inputs, all))
    }

    /// A layer norm; files of older programs call its numbers `gamma` and `beta`.
    pub(crate) fn norm(&mut self, name: &str, config: &Config) -> Result<Norm<Cpu>, ModelError> {
        let old = self.has(&format!("{name}.gamma"));
        let [gain, bias] = if old { ["gamma", "beta"] } else { ["weight", "bias"] };
        let gain = self.numbers(&format!("{name}.{gain}"), &[config.width])?;
        let bias = self.numbers(&format!("{name}.{bias}"), &[config.width])?;
        Ok(Norm { gain: self.matrix(&gain, 1, config.width)?, bias: self.matrix(&bias, 1, config.width)?, eps: config.eps })
    }

    /// The layers from state `first` on; those before are not read.
    pub(crate) fn stack(&mut self, config: &Config, first: usize) -> Result<Stack<Cpu>, ModelError> {
        let blocks = (first..config.layers).map(|index| self.block(config, index)).collect::<Result<_, _>>()?;
        let end = match config.family {
            Family::Bert => None,
            Family::Vit | Family::Deit | Family::Dinov2 => Some(self.norm("layernorm", config)?),
        };
        Ok(Stack { first, blocks, end, order: config.order(), heads: config.heads })
    }

    fn block(&mut self, config: &Config, index: usize) -> Result<Block<Cpu>, ModelError> {
        let Names { attention, gather, widen, narrow, norms, scales } = names(config.family);
        let at = |name: &str| format!("encoder.layer.{index}.{name}");
        let square = [config.width, config.width];
        let bias = !matches!(config.reads, Reads::Images { qkv_bias: false, .. });
        let attend = ["query", "key", "value"].map(|part| at(&format!("{attention}.{part}")));
        let scale = |half: usize| scales.map(|names| at(names[half]));
        Ok(Block {
            attend: self.dense(&attend, &square, bias, None)?,
            gather: self.dense(&[at(gather)], &square, true, scale(0).as_deref())?,
            widen: self.dense(&[at(widen)], &[config.inner, config.width], true, None)?,
            narrow: self.dense(&[at(narrow)], &[config.width, config.inner], true, scale(1).as_deref())?,
            norms: [self.norm(&at(norms[0]), config)?, self.norm(&at(norms[1]), config)?],
        })
    }
}

/// What a family calls the parts of a layer.
pub(crate) struct Names {
    pub(crate) attention: &'static str,
    pub(crate) gather: &'static str,
    pub(crate) widen: &'static str,
    pub(crate) narrow: &'static str,
    pub(crate) norms: [&'static str; 2],
    pub(crate) scales: Option<[&'static str; 2]>,
}

pub(crate) fn names(family: Family) -> Names {
    let plain = Names {
        attention: "attention.attention",
        gather: "attention.output.dense",
        widen: "intermediate.dense",
        narrow: "output.dense",
        norms: ["layernorm_before", "layernorm_after"],
        scales: None,
    };
    match family {
        Family::Bert => Names { attention: "attention.self", norms: ["attention.output.LayerNorm", "output.LayerNorm"], ..plain },
        Family::Vit | Family::Deit => plain,
        Family::Dinov2 => Names {
            widen: "mlp.fc1",
            narrow: "mlp.fc2",
            norms: ["norm1", "norm2"],
            scales: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
            ..plain
        },
    }
}
