//! Transformers against PyTorch: what Hugging Face's implementation computes from the weights of a sentence model and of a ViT.
//!
//! A target of its own: it fails, not skips, without TALKFLOW_DATA (a folder with `minilm/` and `vit-s14/`, as Hugging Face keeps them) and
//! TALKFLOW_PARITY (a folder with what PyTorch made of them: `minilm.safetensors`, `minilm_sentences.json`, `vit_s14.safetensors`).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on may panic, and tells what it measured")]

use std::path::PathBuf;

use safetensors::SafeTensors;
use talkflow_distill::{DeviceKind, Hidden, IMAGENET, Images, Pooling, Tokenizer, Tokens, Transformer, TransformerUpper, Until};

/// Largest difference of hidden states from PyTorch's, beside the largest number among those.
const STATES: f64 = 1e-4;
/// The same of gradients through all layers.
const GRADIENTS: f64 = 1e-3;

fn folder(variable: &str, holds: &str) -> PathBuf {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    folder.unwrap_or_else(|| panic!("set {variable} to a folder with {holds}"))
}

fn model(name: &str) -> PathBuf {
    folder("TALKFLOW_DATA", "minilm/ and vit-s14/").join(name)
}

fn parity(name: &str) -> Vec<u8> {
    let path = folder("TALKFLOW_PARITY", "minilm.safetensors, minilm_sentences.json and vit_s14.safetensors").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The numbers of a tensor, and its shape.
fn tensor(file: &[u8], name: &str) -> (Vec<f32>, Vec<usize>) {
    let file = SafeTensors::deserialize(file).unwrap();
    let view = file.tensor(name).unwrap();
    let numbers = view.data().as_chunks::<4>().0;
    let numbers = match view.dtype() {
        safetensors::Dtype::F32 => numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        safetensors::Dtype::I32 => numbers.iter().map(|bytes| i32::from_le_bytes(*bytes) as f32).collect(),
        other => panic!("{name} is {other:?}"),
    };
    (numbers, view.shape().to_vec())
}

/// Compares row by row: each row's largest difference beside its largest number.
fn close(what: &str, found: &[f32], expected: &[f32], width: usize, within: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let rows = found.chunks_exact(width).zip(expected.chunks_exact(width));
    let worst = rows.map(|(found, expected)| {
        let difference = found.iter().zip(expected).map(|(f, e)| f64::from((f - e).abs())).fold(0.0, f64::max);
        difference / expected.iter().map(|e| f64::from(e.abs())).fold(0.0, f64::max)
    });
    let worst = worst.fold(0.0, |worst: f64, row| if row.is_nan() { f64::INFINITY } else { worst.max(row) });
    println!("{what}: {worst:.1e}");
    assert!(worst < within, "{what} differs by {worst:.1e} of its size");
}

/// A text model, its texts, and of each padded matrix of PyTorch's the rows that are tokens.
struct Texts {
    model: Transformer,
    tokens: Tokens,
    file: Vec<u8>,
}

impl Texts {
    fn new() -> Self {
        let folder = model("minilm");
        let model = Transformer::load(&folder).unwrap();
        let sentences: Vec<String> = serde_json::from_slice(&parity("minilm_sentences.json")).unwrap();
        let tokenizer = Tokenizer::load(&folder.join("tokenizer.json"), model.longest().unwrap()).unwrap();
        Texts { tokens: tokenizer.tokens(&sentences).unwrap(), model, file: parity("minilm.safetensors") }
    }

    fn expected(&self, name: &str) -> Vec<f32> {
        let (values, shape) = tensor(&self.file, name);
        let (mask, _) = tensor(&self.file, "attention_mask");
        let width = shape.get(2).copied().unwrap_or(1);
        let rows = values.chunks_exact(width).zip(mask).filter(|(_, mask)| *mask == 1.0);
        rows.flat_map(|(row, _)| row.to_vec()).collect()
    }

    fn first(&self) -> Hidden {
        self.model.texts(&self.tokens, DeviceKind::Cpu).unwrap()
    }
}

#[test]
fn texts_become_the_same_tokens() {
    let texts = Texts::new();
    let ids: Vec<u32> = texts.expected("input_ids").into_iter().map(|id| id as u32).collect();
    assert_eq!(texts.tokens.ids, ids);
    let (mask, shape) = tensor(&texts.file, "attention_mask");
    let lengths: Vec<usize> = mask.chunks_exact(shape[1]).map(|row| row.iter().sum::<f32>() as usize).collect();
    assert_eq!(texts.tokens.lengths, lengths);
}

#[test]
fn states_of_texts_agree() {
    let texts = Texts::new();
    let first = texts.first();
    close("minilm hidden_0", &first.values, &texts.expected("hidden_0"), first.width, STATES);
    for state in [1, 6] {
        let name = format!("hidden_{state}");
        let found = texts.model.upper().run(&first, Until::State(state), DeviceKind::Cpu).unwrap();
        close(&format!("minilm {name}"), &found.values, &texts.expected(&name), first.width, STATES);
    }
    // From a state in between on, without the layers before.
    let middle = texts.model.upper().run(&first, Until::State(4), DeviceKind::Cpu).unwrap();
    let upper = TransformerUpper::load(&model("minilm"), 4).unwrap();
    let found = upper.run(&middle, Until::State(6), DeviceKind::Cpu).unwrap();
    close("minilm hidden_6 from hidden_4", &found.values, &texts.expected("hidden_6"), first.width, STATES);

    let pooled = texts.model.upper().run(&first, Until::Pooled(Pooling::Mean), DeviceKind::Cpu).unwrap();
    let unit = pooled.values.chunks_exact(pooled.width).flat_map(|row| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(move |x| x / length)
    });
    let (expected, _) = tensor(&texts.file, "sentence_embedding");
    close("minilm sentence_embedding", &unit.collect::<Vec<f32>>(), &expected, pooled.width, STATES);
}

#[test]
fn the_gradient_through_frozen_layers_agrees() {
    let texts = Texts::new();
    let first = texts.first();
    // The third sentence alone; and in its batch, where it is the same.
    let before: usize = texts.tokens.lengths[..2].iter().sum();
    let length = texts.tokens.lengths[2];
    let rows = before * first.width..(before + length) * first.width;
    let (seed, _) = tensor(&texts.file, "grad_weight");
    let (expected, _) = tensor(&texts.file, "grad_hidden_0");
    let alone = Hidden { lengths: vec![length], values: first.values[rows.clone()].to_vec(), ..first.clone() };
    let upper = texts.model.upper();
    let (_, gradient) = upper.run_and_back(&alone, Until::State(6), &seed, DeviceKind::Cpu).unwrap();
    close("minilm gradient at hidden_0", &gradient, &expected, first.width, GRADIENTS);
    let mut seeds = vec![0.0; first.values.len()];
    seeds[rows.clone()].copy_from_slice(&seed);
    let (_, together) = upper.run_and_back(&first, Until::State(6), &seeds, DeviceKind::Cpu).unwrap();
    close("minilm gradient in a batch", &together[rows.clone()], &expected, first.width, GRADIENTS);
    assert!(together.iter().enumerate().all(|(at, g)| rows.contains(&at) || *g == 0.0), "sequences do not see each other");
}

#[test]
fn states_of_images_agree() {
    let file = parity("vit_s14.safetensors");
    let (pixels, shape) = tensor(&file, "pixel_values");
    let bytes = SafeTensors::deserialize(&file).unwrap().tensor("image_u8").unwrap().data().to_vec();
    let images = Images::of_bytes(&bytes, (32, 32), (shape[2], shape[3]), IMAGENET).unwrap();
    close("vit-s14 pixel_values", &images.values, &pixels, shape[3], STATES);
    let vit = Transformer::load(&model("vit-s14")).unwrap();
    let first = vit.images(&images, DeviceKind::Cpu).unwrap();
    assert_eq!(first.lengths, [17; 4]);
    close("vit-s14 hidden_0", &first.values, &tensor(&file, "hidden_0").0, first.width, STATES);
    for (until, name) in [(Until::State(1), "hidden_1"), (Until::State(12), "hidden_12"), (Until::End, "last_hidden_state")] {
        let found = vit.upper().run(&first, until, DeviceKind::Cpu).unwrap();
        close(&format!("vit-s14 {name}"), &found.values, &tensor(&file, name).0, first.width, STATES);
    }
}
