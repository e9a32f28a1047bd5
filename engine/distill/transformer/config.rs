//! What `config.json` of a model's folder says, as Hugging Face writes it.
//!
//! Such files have many fields, most of which are about training or about other programs. Read are those that say what is computed; a
//! field that is missing has the default of the library that writes it, if it has one, and what would need other mathematics than is
//! here is refused by its name.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::TransformerError;
use super::stack::Order;

/// Sizes above this are mistakes.
const LARGEST: u64 = 1 << 20;

/// The families of models that can be loaded, by the name in `model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Texts (Devlin et al. 2019).
    Bert,
    /// Images in patches (Dosovitskiy et al. 2021).
    Vit,
    /// A ViT with a second token in front, for distillation (Touvron et al. 2021).
    Deit,
    /// A ViT with layer scale, trained without labels (Oquab et al. 2023).
    Dinov2,
}

impl Family {
    /// The one list of families.
    pub const ALL: [Family; 4] = [Family::Bert, Family::Vit, Family::Deit, Family::Dinov2];

    /// Whether it reads texts; the others read images.
    pub fn reads_texts(self) -> bool {
        self == Family::Bert
    }

    /// As `model_type` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::Vit => "vit",
            Family::Deit => "deit",
            Family::Dinov2 => "dinov2",
        }
    }
}

/// What a model is, but for its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its family.
    pub family: Family,
    /// Numbers a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention, whose number divides the width.
    pub heads: usize,
    /// Width between the dense layers of the perceptron.
    pub inner: usize,
    /// What is added to variances before norms divide by their roots.
    pub eps: f32,
    /// What it reads.
    pub reads: Reads,
}

/// What a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Texts.
    Texts {
        /// Kinds of tokens.
        vocabulary: usize,
        /// The most tokens of a text.
        positions: usize,
        /// Kinds of parts.
        types: usize,
    },
    /// Images in patches.
    Images {
        /// Planes of an image.
        channels: usize,
        /// Side of a patch.
        patch: usize,
        /// Side of the images it was trained on.
        image: usize,
        /// Whether queries, keys and values have a bias.
        qkv_bias: bool,
    },
}

impl Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`TransformerError::File`] and [`TransformerError::Config`].
    pub fn open(path: &Path) -> Result<Self, TransformerError> {
        let text = std::fs::read_to_string(path).map_err(|source| TransformerError::File { path: path.to_owned(), source })?;
        let wrong = |(what, advice): (String, &'static str)| TransformerError::Config { path: path.to_owned(), what, advice };
        let json = serde_json::from_str(&text).map_err(|error| wrong((format!("it is no JSON: {error}"), MENDED)))?;
        Config::read(&json).map_err(wrong)
    }

    /// # Errors
    /// What is wrong, and what to do.
    pub(crate) fn read(config: &Value) -> Result<Self, (String, &'static str)> {
        let name = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let family = Family::ALL.into_iter().find(|family| family.name() == name).ok_or_else(|| {
            let known: Vec<_> = Family::ALL.iter().map(|family| format!("`{}`", family.name())).collect();
            (
                format!("its `model_type` is `{name}`, which is none of {}", known.join(", ")),
                "use a model of one of these families",
            )
        })?;
        let fields = Fields(config);
        fields.is("hidden_act", "gelu", "gelu")?;
        let (width, layers) = (fields.size("hidden_size", None)?, fields.size("num_hidden_layers", None)?);
        let heads = fields.size("num_attention_heads", None)?;
        if width % heads != 0 {
            return Err((format!("`hidden_size` {width} is no multiple of `num_attention_heads` {heads}"), MENDED));
        }
        let inner = match family {
            Family::Dinov2 => {
                fields.is("use_swiglu_ffn", "false", "false")?;
                let ratio = fields.number("mlp_ratio", Some(4.0))?;
                if !(1.0..=LARGEST as f64).contains(&(ratio * width as f64)) {
                    return Err((
                        format!("`mlp_ratio` is {ratio}, which of `hidden_size` {width} is not from 1 to {LARGEST}"),
                        MENDED,
                    ));
                }
                (ratio * width as f64) as usize
            }
            _ => fields.size("intermediate_size", None)?,
        };
        let eps = fields.number("layer_norm_eps", Some(if family == Family::Dinov2 { 1e-6 } else { 1e-12 }))?;
        if !(eps > 0.0 && eps < 1.0) {
            return Err((format!("`layer_norm_eps` is {eps}, but must be above 0 and below 1"), MENDED));
        }
        let reads = if family == Family::Bert {
            fields.is("position_embedding_type", "absolute", "absolute")?;
            fields.is("is_decoder", "false", "false")?;
            Reads::Texts {
                vocabulary: fields.size("vocab_size", None)?,
                positions: fields.size("max_position_embeddings", None)?,
                types: fields.size("type_vocab_size", Some(2))?,
            }
        } else {
            let (patch, image) = (fields.size("patch_size", None)?, fields.size("image_size", None)?);
            if image < patch {
                return Err((format!("`image_size` {image} is below `patch_size` {patch}"), MENDED));
            }
            let qkv_bias = config.get("qkv_bias").and_then(Value::as_bool).unwrap_or(true);
            Reads::Images { channels: fields.size("num_channels", Some(3))?, patch, image, qkv_bias }
        };
        Ok(Config { family, width, layers, heads, inner, eps: eps as f32, reads })
    }

    pub(crate) fn order(&self) -> Order {
        if self.family == Family::Bert { Order::NormLast } else { Order::NormFirst }
    }
}

const MENDED: &str = "take config.json from the model's own folder";
const OTHER: &str = "use a model without it";

struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str, default: Option<usize>) -> Result<usize, (String, &'static str)> {
        let Some(value) = self.get(field) else {
            return default.ok_or_else(|| (format!("`{field}` is missing"), MENDED));
        };
        let size = value.as_u64().filter(|size| (1..=LARGEST).contains(size));
        let size =
            size.ok_or_else(|| (format!("`{field}` is {value}, but must be a whole number from 1 to {LARGEST}"), MENDED))?;
        Ok(size as usize)
    }

    fn number(&self, field: &str, default: Option<f64>) -> Result<f64, (String, &'static str)> {
        let Some(value) = self.get(field) else {
            return default.ok_or_else(|| (format!("`{field}` is missing"), MENDED));
        };
        value.as_f64().ok_or_else(|| (format!("`{field}` is {value}, but must be a number"), MENDED))
    }

    /// Refuses any other value; `default` is what a missing field means.
    fn is(&self, field: &str, value: &str, default: &str) -> Result<(), (String, &'static str)> {
        let found = self.get(field).map_or_else(|| default.to_owned(), |found| found.to_string().trim_matches('"').to_owned());
        if found == value {
            return Ok(());
        }
        Err((format!("`{field}` is `{found}`, and only `{value}` is known here"), OTHER))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    fn bert() -> Value {
        serde_json::json!({
            "model_type": "bert", "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
            "hidden_act": "gelu", "vocab_size": 30, "max_position_embeddings": 16, "layer_norm_eps": 1e-12,
            "_name_or_path": "whatever", "a_field_of_tomorrow": { "x": 1 },
        })
    }

    #[test]
    fn fields_about_other_things_are_left_alone() {
        let config = Config::read(&bert()).unwrap();
        assert_eq!((config.family, config.width, config.layers, config.heads, config.inner), (Family::Bert, 12, 2, 3, 20));
        assert_eq!(config.reads, Reads::Texts { vocabulary: 30, positions: 16, types: 2 });
    }

    #[test]
    fn what_cannot_be_computed_is_refused_by_name() {
        let cases = [
            ("model_type", Value::from("gpt2"), "`model_type` is `gpt2`, which is none of `bert`, `vit`, `deit`, `dinov2`"),
            ("hidden_size", Value::Null, "`hidden_size` is missing"),
            ("hidden_size", Value::from(13), "`hidden_size` 13 is no multiple of `num_attention_heads` 3"),
            ("hidden_size", Value::from(1u64 << 40), "`hidden_size` is 1099511627776, but must be a whole number from 1"),
            ("num_hidden_layers", Value::from(-1), "`num_hidden_layers` is -1, but must be"),
            ("num_attention_heads", Value::from(0), "`num_attention_heads` is 0, but must be"),
            ("hidden_act", Value::from("gelu_new"), "`hidden_act` is `gelu_new`, and only `gelu` is known here"),
            ("position_embedding_type", Value::from("relative_key"), "`position_embedding_type` is `relative_key`"),
            ("is_decoder", Value::from(true), "`is_decoder` is `true`, and only `false`"),
            ("layer_norm_eps", Value::from(0), "`layer_norm_eps` is 0"),
            ("layer_norm_eps", Value::from("small"), "`layer_norm_eps` is \"small\", but must be a number"),
        ];
        for (field, value, part) in cases {
            let mut config = bert();
            config[field] = value;
            let (what, advice) = Config::read(&config).unwrap_err();
            assert!(what.contains(part) && !advice.is_empty(), "{what}");
        }
        let dinov2 = |field: &str, value: Value| {
            let mut config = serde_json::json!({
                "model_type": "dinov2", "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 2, "image_size": 8,
            });
            config[field] = value;
            Config::read(&config)
        };
        assert_eq!(dinov2("mlp_ratio", Value::from(2)).unwrap().inner, 24);
        assert!(dinov2("mlp_ratio", Value::from(1e300)).unwrap_err().0.contains("`mlp_ratio` is 1000"));
        assert!(dinov2("use_swiglu_ffn", Value::from(true)).unwrap_err().0.contains("`use_swiglu_ffn` is `true`"));
        assert!(dinov2("image_size", Value::from(1)).unwrap_err().0.contains("`image_size` 1 is below `patch_size` 2"));
    }
}
