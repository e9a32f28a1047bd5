//! Transformers whose weights are drawn: models that have learnt nothing, in the files of those that have.
//!
//! Such a model is what a teacher is held against, to see what its knowledge is worth, and it tests whatever reads models without a download. Dense layers
//! are drawn with variance 1 / inputs (LeCun et al. 1998), so that a signal keeps its size whatever the width; embeddings have a standard
//! deviation of 0.02, as the families' own programs draw them; norms and layer scales are 1, biases 0. All are uniform. The tokenizer that goes with a
//! drawn BERT knows each printable character of ASCII and no word, so it needs no texts to learn from.

use serde_json::{Map, Value, json};

use super::config::{Config, Family, Reads};
use super::load::{Names, names};
use crate::error::ModelError;
use crate::random::{Rng, Role};
use crate::tensors::Tensors;

/// The standard deviation of embeddings.
const EMBEDDINGS: f32 = 0.02;

/// What the numbers of a tensor are.
enum Drawn {
    /// Drawn with this standard deviation.
    Spread(f32),
    /// All the same.
    Level(f32),
}

/// Tensors in the making.
struct Drawing {
    tensors: Tensors,
    seed: u64,
}

impl Drawing {
    fn put(&mut self, name: &str, shape: &[usize], drawn: Drawn) {
        let count = shape.iter().product();
        let numbers = match drawn {
            Drawn::Level(level) => vec![level; count],
            Drawn::Spread(sd) => {
                let mut rng = Rng::stream(self.seed, Role::Init, name, 0);
                // A uniform number has a third of its bound's square as variance.
                (0..count).map(|_| rng.symmetric(3.0_f32.sqrt() * sd)).collect()
            }
        };
        self.tensors.put(name, shape, numbers);
    }

    fn table(&mut self, name: &str, shape: &[usize]) {
        self.put(name, shape, Drawn::Spread(EMBEDDINGS));
    }

    fn dense(&mut self, name: &str, shape: &[usize], bias: bool) {
        let inputs: usize = shape[1..].iter().product();
        self.put(&format!("{name}.weight"), shape, Drawn::Spread((inputs as f32).sqrt().recip()));
        if bias {
            self.put(&format!("{name}.bias"), &shape[..1], Drawn::Level(0.0));
        }
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.put(&format!("{name}.weight"), &[width], Drawn::Level(1.0));
        self.put(&format!("{name}.bias"), &[width], Drawn::Level(0.0));
    }
}

impl Config {
    /// The `model.safetensors` of a model like this whose weights are drawn. All randomness derives from the seed and the tensors' names.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] where it would have more numbers than memory can be expected to hold.
    pub fn drawn(&self, seed: u64) -> Result<Vec<u8>, ModelError> {
        let numbers = self.numbers();
        if numbers > MOST_DRAWN {
            return Err(ModelError::Unsupported(format!("a model of {numbers} numbers is not drawn: {MOST_DRAWN} are the most")));
        }
        let width = self.width;
        let mut drawing = Drawing { tensors: Tensors::default(), seed };
        let qkv_bias = match self.reads {
            Reads::Texts { vocabulary, positions, types } => {
                drawing.table("embeddings.word_embeddings.weight", &[vocabulary, width]);
                drawing.table("embeddings.position_embeddings.weight", &[positions, width]);
                drawing.table("embeddings.token_type_embeddings.weight", &[types, width]);
                drawing.norm("embeddings.LayerNorm", width);
                true
            }
            Reads::Images { channels, patch, image, qkv_bias } => {
                let (side, deit) = (image / patch, self.family == Family::Deit);
                drawing.table("embeddings.cls_token", &[1, 1, width]);
                if deit {
                    drawing.table("embeddings.distillation_token", &[1, 1, width]);
                }
                drawing.table("embeddings.position_embeddings", &[1, 1 + usize::from(deit) + side * side, width]);
                drawing.dense("embeddings.patch_embeddings.projection", &[width, channels, patch, patch], true);
                drawing.norm("layernorm", width);
                qkv_bias
            }
        };
        let Names { attention, gather, widen, narrow, norms, scales } = names(self.family);
        for layer in 0..self.layers {
            let at = |name: &str| format!("encoder.layer.{layer}.{name}");
            for part in ["query", "key", "value"] {
                drawing.dense(&at(&format!("{attention}.{part}")), &[width, width], qkv_bias);
            }
            drawing.dense(&at(gather), &[width, width], true);
            drawing.dense(&at(widen), &[self.inner, width], true);
            drawing.dense(&at(narrow), &[width, self.inner], true);
            norms.iter().for_each(|name| drawing.norm(&at(name), width));
            scales.iter().flatten().for_each(|name| drawing.put(&at(name), &[width], Drawn::Level(1.0)));
        }
        drawing.tensors.to_bytes()
    }

    /// Upper bound of a model's numbers.
    fn numbers(&self) -> u64 {
        let [width, inner, layers] = [self.width, self.inner, self.layers].map(|size| size as u64);
        let embeddings = match self.reads {
            Reads::Texts { vocabulary, positions, types } => (vocabulary + positions + types) as u64 * width,
            Reads::Images { channels, patch, image, .. } => {
                let (side, inputs) = ((image / patch) as u64, (patch as u64).pow(2).saturating_mul(channels as u64));
                side.pow(2).saturating_add(3).saturating_add(inputs).saturating_mul(width)
            }
        };
        let layer = (4 * (width + 1) * width) + (2 * width + 1) * inner + 8 * width;
        layers.saturating_mul(layer).saturating_add(embeddings).saturating_add(2 * width)
    }

    /// The `config.json` that this is read from.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |field: &str, value: Value| drop(fields.insert(field.to_owned(), value));
        put("model_type", json!(self.family.name()));
        put("hidden_act", json!("gelu"));
        put("hidden_size", json!(self.width));
        put("num_hidden_layers", json!(self.layers));
        put("num_attention_heads", json!(self.heads));
        put("layer_norm_eps", json!(self.eps));
        match self.family {
            Family::Dinov2 => {
                let (inner, width) = (self.inner as f64, self.width as f64);
                // Whoever reads it rounds the product down.
                let ratio = if inner / width * width < inner { (inner / width).next_up() } else { inner / width };
                put("mlp_ratio", json!(ratio));
            }
            _ => put("intermediate_size", json!(self.inner)),
        }
        match self.reads {
            Reads::Texts { vocabulary, positions, types } => {
                put("vocab_size", json!(vocabulary));
                put("max_position_embeddings", json!(positions));
                put("type_vocab_size", json!(types));
            }
            Reads::Images { channels, patch, image, qkv_bias } => {
                put("num_channels", json!(channels));
                put("patch_size", json!(patch));
                put("image_size", json!(image));
                put("qkv_bias", json!(qkv_bias));
            }
        }
        Value::Object(fields)
    }
}

/// Four gigabytes of numbers: more than a model for tests and comparisons needs.
const MOST_DRAWN: u64 = 1 << 30;

/// Tokens that stand for no character.
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// The characters that a tokenizer of characters knows: all of ASCII that leave ink.
const CHARACTERS: std::ops::RangeInclusive<char> = '!'..='~';

/// How many tokens the tokenizer of characters has: each character at the beginning of a word and inside of one, and the special ones.
pub const CHARACTER_TOKENS: usize = SPECIAL.len() + 2 * ('~' as usize - '!' as usize + 1);

/// The `tokenizer.json` of a tokenizer to which each character is a token. Words end at white space and at punctuation, as BERT's do; one with a
/// character outside of ASCII is unknown as a whole.
pub fn tokenizer_of_characters() -> Value {
    let single = CHARACTERS.map(|character| character.to_string());
    let inner = CHARACTERS.map(|character| format!("##{character}"));
    let tokens = SPECIAL.into_iter().map(str::to_owned).chain(single).chain(inner);
    let vocabulary: Map<String, Value> = tokens.zip(0..).map(|(token, id)| (token, Value::from(id))).collect();
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let named = |token: &str| json!({ "id": token, "ids": [vocabulary[token]], "tokens": [token] });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": true, "lowercase": false,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, special("[SEP]")],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "[CLS]": named("[CLS]"), "[SEP]": named("[SEP]") },
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::super::{Images, Pooling, Tokenizer, Transformer, TransformerFiles, Until};
    use super::*;
    use crate::testing::DEVICE;

    fn config(family: Family) -> Config {
        let reads = match family {
            Family::Bert => Reads::Texts { vocabulary: CHARACTER_TOKENS, positions: 24, types: 2 },
            _ => Reads::Images { channels: 3, patch: 4, image: 12, qkv_bias: family != Family::Vit },
        };
        Config { family, width: 24, layers: 3, heads: 4, inner: 40, eps: 1e-6, reads }
    }

    fn written(config: &Config, seed: u64) -> (tempfile::TempDir, TransformerFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = TransformerFiles::in_folder(folder.path());
        std::fs::write(&files.config, config.to_json().to_string()).unwrap();
        std::fs::write(&files.weights, config.drawn(seed).unwrap()).unwrap();
        std::fs::write(&files.tokenizer, tokenizer_of_characters().to_string()).unwrap();
        (folder, files)
    }

    #[test]
    fn what_is_drawn_loads_and_tells_what_it_reads_apart() {
        for family in Family::ALL {
            let config = config(family);
            let (_folder, files) = written(&config, 3);
            assert_eq!(Config::open(&files.config).unwrap(), config);
            let model = Transformer::open(&files).unwrap();
            let first = if family.reads_texts() {
                let tokens = Tokenizer::load(&files.tokenizer, 24).unwrap().tokens(&["ab c!", "Ab c!"]).unwrap();
                assert_eq!(tokens.lengths, [6, 6]);
                model.texts(&tokens, DEVICE).unwrap()
            } else {
                let values = (0..2 * 3 * 144).map(|pixel| if pixel < 3 * 144 { 0.5 } else { (pixel % 7) as f32 - 3.0 });
                model.images(&Images { channels: 3, height: 12, width: 12, values: values.collect() }, DEVICE).unwrap()
            };
            let pooled = model.upper().run(&first, Until::Pooled(Pooling::Mean), DEVICE).unwrap();
            let (a, b) = pooled.values.split_at(24);
            let apart: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
            assert!(pooled.values.iter().all(|x| x.is_finite()) && apart > 1e-3, "{family:?}: {apart}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_gives_others() {
        for family in Family::ALL {
            let config = config(family);
            let bytes = config.drawn(1).unwrap();
            assert!(bytes == config.drawn(1).unwrap() && bytes != config.drawn(2).unwrap());
        }
    }

    /// A tensor's spread is that which was asked for: all of it would be wrong by the same factor otherwise.
    #[test]
    fn dense_layers_keep_the_size_of_a_signal() {
        let tensors = Tensors::from_bytes(&config(Family::Bert).drawn(1).unwrap(), |_| true).unwrap();
        let variance = |name: &str, shape: &[usize]| {
            let numbers: &[f32] = tensors.get(name, shape).unwrap();
            numbers.iter().map(|x| x * x).sum::<f32>() / numbers.len() as f32
        };
        let narrow = variance("encoder.layer.0.output.dense.weight", &[24, 40]);
        assert!((narrow * 40.0 - 1.0).abs() < 0.1, "{narrow}");
        let words = variance("embeddings.word_embeddings.weight", &[CHARACTER_TOKENS, 24]);
        assert!((words / (EMBEDDINGS * EMBEDDINGS) - 1.0).abs() < 0.1, "{words}");
        assert_eq!(variance("embeddings.LayerNorm.weight", &[24]), 1.0);
    }

    #[test]
    fn a_configuration_comes_back_whatever_its_sizes() {
        for (width, inner) in (1..60).flat_map(|width| (width..200).map(move |inner| (width, inner))) {
            let config = Config { width, inner, heads: 1, ..config(Family::Dinov2) };
            assert_eq!(Config::read(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn what_is_too_large_is_not_drawn() {
        let huge = Config { width: 1 << 20, inner: 1 << 20, layers: 1 << 20, ..config(Family::Vit) };
        assert!(huge.drawn(1).unwrap_err().to_string().contains("is not drawn"));
    }

    #[test]
    fn characters_are_tokens() {
        let (_folder, files) = written(&config(Family::Bert), 1);
        let ids = |text: &str| Tokenizer::load(&files.tokenizer, 24).unwrap().tokens(&[text]).unwrap().ids;
        let (single, inner) = (|c: char| 4 + c as u32 - 33, |c: char| 4 + 94 + c as u32 - 33);
        assert_eq!(ids("aB ~"), [2, single('a'), inner('B'), single('~'), 3]);
        assert_eq!(ids("no: \u{4e00}"), [2, single('n'), inner('o'), single(':'), 1, 3]);
        assert_eq!(Tokenizer::load(&files.tokenizer, 24).unwrap().vocabulary(), CHARACTER_TOKENS);
    }
}
