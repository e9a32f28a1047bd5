//! Small models from a seed for tests, in the files of Hugging Face; and what they should compute, written down tensor by tensor in double
//! precision from the names in those files.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

use super::TransformerUpper;
use super::config::Family;
use super::positions::interpolated;
use super::stack::Order;
use crate::random::{Rng, Role};

pub(super) const WIDTH: usize = 12;
pub(super) const LAYERS: usize = 2;
pub(super) const HEADS: usize = 3;
const INNER: usize = 20;
pub(super) const VOCABULARY: usize = 11;
pub(super) const POSITIONS: usize = 7;
pub(super) const PATCH: usize = 2;
/// Patches along a side of the images it was trained on.
const SIDE: usize = 3;
const EPS: f64 = 1e-5;

/// All layers of a small frozen transformer: BERT's, or a ViT's.
pub(crate) fn small(order: Order) -> TransformerUpper {
    let folder = tempfile::tempdir().unwrap();
    let family = match order {
        Order::NormLast => Family::Bert,
        Order::NormFirst => Family::Vit,
    };
    Sample::new(family).write(folder.path(), "", Dtype::F32);
    TransformerUpper::load(folder.path(), 0).unwrap()
}

/// A model in the making.
pub(super) struct Sample {
    pub(super) family: Family,
    pub(super) config: Value,
    pub(super) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Sample {
    pub(super) fn new(family: Family) -> Self {
        let mut config = json!({
            "model_type": family.name(), "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "hidden_act": "gelu", "layer_norm_eps": EPS,
        });
        let more = match family {
            Family::Bert => json!({
                "intermediate_size": INNER, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
            }),
            Family::Vit | Family::Deit => {
                json!({ "intermediate_size": INNER, "patch_size": PATCH, "image_size": PATCH * SIDE, "num_channels": 3 })
            }
            Family::Dinov2 => {
                json!({ "mlp_ratio": INNER as f64 / WIDTH as f64, "patch_size": PATCH, "image_size": PATCH * SIDE, "num_channels": 3 })
            }
        };
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut sample = Sample { family, config, tensors: BTreeMap::new() };
        sample.fill();
        sample
    }

    fn put(&mut self, name: &str, shape: &[usize]) {
        let mut rng = Rng::stream(3, Role::Init, name, 0);
        // Norms and layer scales around 1, so that no half of a layer counts for nothing.
        let level = f32::from(u8::from(shape.len() == 1 && !name.ends_with("bias") && !name.ends_with("beta")));
        let values = (0..shape.iter().product()).map(|_| level + rng.symmetric(0.5)).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    fn dense(&mut self, name: &str, shape: &[usize]) {
        self.put(&format!("{name}.weight"), shape);
        self.put(&format!("{name}.bias"), &shape[..1]);
    }

    fn norm(&mut self, name: &str) {
        self.dense(name, &[WIDTH]);
    }

    fn fill(&mut self) {
        let bert = self.family == Family::Bert;
        if bert {
            self.put("embeddings.word_embeddings.weight", &[VOCABULARY, WIDTH]);
            self.put("embeddings.position_embeddings.weight", &[POSITIONS, WIDTH]);
            self.put("embeddings.token_type_embeddings.weight", &[2, WIDTH]);
            self.norm("embeddings.LayerNorm");
        } else {
            self.put("embeddings.cls_token", &[1, 1, WIDTH]);
            if self.family == Family::Deit {
                self.put("embeddings.distillation_token", &[1, 1, WIDTH]);
            }
            self.put("embeddings.position_embeddings", &[1, self.front() + SIDE * SIDE, WIDTH]);
            self.dense("embeddings.patch_embeddings.projection", &[WIDTH, 3, PATCH, PATCH]);
            self.norm("layernorm");
        }
        for layer in 0..LAYERS {
            let names = self.names(layer);
            for part in ["query", "key", "value"] {
                self.dense(&format!("{}.{part}", names.attention), &[WIDTH, WIDTH]);
            }
            self.dense(&names.gather, &[WIDTH, WIDTH]);
            self.dense(&names.widen, &[INNER, WIDTH]);
            self.dense(&names.narrow, &[WIDTH, INNER]);
            names.norms.iter().for_each(|norm| self.norm(norm));
            names.scales.iter().for_each(|scale| self.put(scale, &[WIDTH]));
        }
    }

    /// Tokens in front of the patches.
    fn front(&self) -> usize {
        if self.family == Family::Deit { 2 } else { 1 }
    }

    fn names(&self, layer: usize) -> Names {
        let at = |name: &str| format!("encoder.layer.{layer}.{name}");
        let [attention, gather, widen, narrow, first, second] = match self.family {
            Family::Bert => [
                "attention.self",
                "attention.output.dense",
                "intermediate.dense",
                "output.dense",
                "attention.output.LayerNorm",
                "output.LayerNorm",
            ],
            Family::Vit | Family::Deit => [
                "attention.attention",
                "attention.output.dense",
                "intermediate.dense",
                "output.dense",
                "layernorm_before",
                "layernorm_after",
            ],
            Family::Dinov2 => ["attention.attention", "attention.output.dense", "mlp.fc1", "mlp.fc2", "norm1", "norm2"],
        }
        .map(at);
        let scales = (self.family == Family::Dinov2).then(|| [at("layer_scale1.lambda1"), at("layer_scale2.lambda1")]);
        Names { attention, gather, widen, narrow, norms: [first, second], scales: scales.into_iter().flatten().collect() }
    }

    /// Renames a tensor.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let tensor = self.tensors.remove(from).unwrap();
        self.tensors.insert(to.to_owned(), tensor);
    }

    /// Writes the model's folder; names begin with the prefix.
    pub(super) fn write(&self, folder: &Path, prefix: &str, dtype: Dtype) {
        std::fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        let bytes: Vec<(String, &Vec<usize>, Vec<u8>)> = (self.tensors.iter())
            .map(|(name, (shape, values))| {
                let bytes = match dtype {
                    Dtype::F16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
                    Dtype::BF16 => values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect(),
                    _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                };
                (format!("{prefix}{name}"), shape, bytes)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
        // As Hugging Face's files have it.
        let words = Some([("format".to_owned(), "pt".to_owned())].into());
        std::fs::write(folder.join("model.safetensors"), serialize(views, words).unwrap()).unwrap();
    }

    fn get(&self, name: &str) -> Vec<f64> {
        self.tensors[name].1.iter().map(|value| f64::from(*value)).collect()
    }

    /// x W' + b
    fn apply(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let inputs = weight.len() / bias.len();
        let entry =
            |row: &[f64], out: usize| bias[out] + row.iter().zip(&weight[out * inputs..]).map(|(x, w)| x * w).sum::<f64>();
        x.iter().map(|row| (0..bias.len()).map(|out| entry(row, out)).collect()).collect()
    }

    fn normed(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (gain, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        x.iter()
            .map(|row| {
                let mean = row.iter().sum::<f64>() / WIDTH as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WIDTH as f64;
                let standard = row.iter().map(|x| (x - mean) / (variance + EPS).sqrt());
                standard.zip(&gain).zip(&bias).map(|((x, gain), bias)| x * gain + bias).collect()
            })
            .collect()
    }

    /// Attention of one sequence to itself, and the dense layer after it.
    fn attended(&self, names: &Names, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let [q, k, v] = ["query", "key", "value"].map(|part| self.apply(&format!("{}.{part}", names.attention), x));
        let depth = WIDTH / HEADS;
        let row = |i: usize| -> Vec<f64> {
            (0..HEADS)
                .flat_map(|head| {
                    let columns = head * depth..(head + 1) * depth;
                    let score = |j: usize| columns.clone().map(|c| q[i][c] * k[j][c]).sum::<f64>() / (depth as f64).sqrt();
                    let parts: Vec<f64> = (0..x.len()).map(|j| score(j).exp()).collect();
                    let sum: f64 = parts.iter().sum();
                    let v = &v;
                    columns.clone().map(move |c| parts.iter().zip(v).map(|(p, v)| p / sum * v[c]).sum()).collect::<Vec<f64>>()
                })
                .collect()
        };
        self.apply(&names.gather, &(0..x.len()).map(row).collect::<Vec<_>>())
    }

    fn scaled(&self, names: &Names, half: usize, mut x: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        if let Some(name) = names.scales.get(half) {
            let scale = self.get(name);
            x.iter_mut().for_each(|row| row.iter_mut().zip(&scale).for_each(|(x, scale)| *x *= scale));
        }
        x
    }

    /// One layer on one sequence.
    pub(super) fn layer(&self, layer: usize, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let names = self.names(layer);
        let perceptron = |x: &[Vec<f64>]| {
            let mut wide = self.apply(&names.widen, x);
            wide.iter_mut().flatten().for_each(|x| *x *= below(*x));
            self.apply(&names.narrow, &wide)
        };
        let [first, second] = &names.norms;
        if self.family == Family::Bert {
            let middle = self.normed(first, &added(x, &self.attended(&names, x)));
            self.normed(second, &added(&middle, &perceptron(&middle)))
        } else {
            let attended = self.attended(&names, &self.normed(first, x));
            let middle = added(x, &self.scaled(&names, 0, attended));
            let made = perceptron(&self.normed(second, &middle));
            added(&middle, &self.scaled(&names, 1, made))
        }
    }

    /// What a head reads, of the last state.
    pub(super) fn end(&self, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        if self.family == Family::Bert { x.to_vec() } else { self.normed("layernorm", x) }
    }

    /// State 0 of a text.
    pub(super) fn text(&self, ids: &[u32]) -> Vec<Vec<f64>> {
        let [words, places, kinds] =
            ["word", "position", "token_type"].map(|table| self.get(&format!("embeddings.{table}_embeddings.weight")));
        let row = |(place, id): (usize, &u32)| {
            (0..WIDTH).map(|c| words[*id as usize * WIDTH + c] + places[place * WIDTH + c] + kinds[c]).collect()
        };
        self.normed("embeddings.LayerNorm", &ids.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    /// State 0 of an image (3, height, width).
    pub(super) fn image(&self, pixels: &[f32], height: usize, width: usize) -> Vec<Vec<f64>> {
        let grid = (height / PATCH, width / PATCH);
        let mut flat = Vec::new();
        for row in 0..grid.0 {
            for column in 0..grid.1 {
                let places = (0..3).flat_map(|c| (0..PATCH).flat_map(move |y| (0..PATCH).map(move |x| (c, y, x))));
                let pixel = |(c, y, x)| f64::from(pixels[(c * height + row * PATCH + y) * width + column * PATCH + x]);
                flat.push(places.map(pixel).collect());
            }
        }
        let mut rows = vec![self.get("embeddings.cls_token")];
        if self.family == Family::Deit {
            rows.push(self.get("embeddings.distillation_token"));
        }
        rows.extend(self.apply("embeddings.patch_embeddings.projection", &flat));
        let (_, positions) = &self.tensors["embeddings.position_embeddings"];
        let (front, square) = positions.split_at(self.front() * WIDTH);
        let positions = [front, &interpolated(square, WIDTH, (SIDE, SIDE), grid)].concat();
        let place = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect();
        added(&rows, &positions.chunks(WIDTH).map(place).collect::<Vec<_>>())
    }
}

struct Names {
    attention: String,
    gather: String,
    widen: String,
    narrow: String,
    norms: [String; 2],
    scales: Vec<String>,
}

fn added(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

/// The normal distribution function: half, and the integral of the density from 0 on by Simpson's rule.
fn below(x: f64) -> f64 {
    const STEPS: usize = 400;
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let step = x / STEPS as f64;
    let weight = |i: usize| if i == 0 || i == STEPS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
    0.5 + (0..=STEPS).map(|i| weight(i) * density(i as f64 * step)).sum::<f64>() * step / 3.0
}
