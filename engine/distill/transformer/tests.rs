//! Small transformers from a seed against their definition, on the device that tests run on.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;

use safetensors::tensor::Dtype;

use super::config::Family;
use super::oracle::{HEADS, LAYERS, PATCH, POSITIONS, Sample, VOCABULARY, WIDTH};
use super::*;
use crate::random::{Rng, Role};
use crate::testing::{DEVICE, Tested, device};

const LENGTHS: [usize; 3] = [3, 1, 5];

fn numbers(name: &str, len: usize) -> Vec<f32> {
    let mut rng = Rng::stream(1, Role::Init, name, 0);
    (0..len).map(|_| rng.symmetric(1.0)).collect()
}

fn rows(values: &[f32]) -> Vec<Vec<f64>> {
    values.chunks(WIDTH).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

fn close(found: &[f32], expected: &[f64], within: f64) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(f, e)| (f64::from(*f) - e).abs() <= within * (1.0 + e.abs()))
}

fn written(sample: &Sample, prefix: &str, dtype: Dtype) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    sample.write(folder.path(), prefix, dtype);
    folder
}

fn hidden(state: usize) -> Hidden {
    let tokens: usize = LENGTHS.iter().sum();
    Hidden { state: Some(state), width: WIDTH, lengths: LENGTHS.to_vec(), values: numbers("hidden", tokens * WIDTH) }
}

/// Something of each sequence by itself, flat.
fn by_sequence(lengths: &[usize], values: &[f32], made: impl Fn(&[Vec<f64>]) -> Vec<Vec<f64>>) -> Vec<f64> {
    let (rows, mut from) = (rows(values), 0);
    let mut out = Vec::new();
    for length in lengths {
        out.extend(made(&rows[from..from + length]).concat());
        from += length;
    }
    out
}

/// What becomes of a sequence.
type Definition<'a> = &'a dyn Fn(&[Vec<f64>]) -> Vec<Vec<f64>>;

const FAMILIES: [Family; 4] = [Family::Bert, Family::Vit, Family::Deit, Family::Dinov2];

/// Every family, under its own names: each state, the end, and what is pooled of it.
#[test]
fn states_follow_their_definition() {
    for family in FAMILIES {
        let sample = Sample::new(family);
        let folder = written(&sample, "", Dtype::F32);
        let upper = TransformerUpper::load(folder.path(), 0).unwrap();
        assert_eq!((upper.width(), upper.states()), (WIDTH, (0, LAYERS)));
        let first = hidden(0);
        for until in [0, 1, LAYERS] {
            let expected =
                by_sequence(&LENGTHS, &first.values, |x| (0..until).fold(x.to_vec(), |x, layer| sample.layer(layer, &x)));
            let found = upper.run(&first, Until::State(until), DEVICE).unwrap();
            assert_eq!((found.state, &found.lengths[..]), (Some(until), &LENGTHS[..]));
            assert!(close(&found.values, &expected, 1e-5), "{family:?} state {until}");
        }
        let whole = |x: &[Vec<f64>]| sample.end(&(0..LAYERS).fold(x.to_vec(), |x, layer| sample.layer(layer, &x)));
        let end = upper.run(&first, Until::End, DEVICE).unwrap();
        assert!(close(&end.values, &by_sequence(&LENGTHS, &first.values, whole), 1e-5), "{family:?} end");
        let mean = |x: &[Vec<f64>]| vec![(0..WIDTH).map(|c| x.iter().map(|row| row[c]).sum::<f64>() / x.len() as f64).collect()];
        for (pooling, of) in [
            (Pooling::First, &(|x: &[Vec<f64>]| whole(x)[..1].to_vec()) as Definition<'_>),
            (Pooling::Mean, &|x: &[Vec<f64>]| mean(&whole(x))),
        ] {
            let pooled = upper.run(&first, Until::Pooled(pooling), DEVICE).unwrap();
            assert_eq!(pooled.lengths, [1; LENGTHS.len()]);
            assert!(close(&pooled.values, &by_sequence(&LENGTHS, &first.values, of), 1e-5), "{family:?} {pooling:?}");
        }
        // The upper layers alone go on where the lower ones end.
        let middle = upper.run(&first, Until::State(1), DEVICE).unwrap();
        let rest = TransformerUpper::load(folder.path(), 1).unwrap();
        assert_eq!(rest.states(), (1, LAYERS));
        assert_eq!(rest.run(&middle, Until::End, DEVICE).unwrap(), end);
    }
}

/// sum(seed * result) of the definition in double precision, by central differences.
#[test]
fn gradients_through_frozen_layers_are_those_of_finite_differences() {
    for family in FAMILIES {
        let sample = Sample::new(family);
        let folder = written(&sample, "", Dtype::F32);
        let upper = TransformerUpper::load(folder.path(), 0).unwrap();
        let first = hidden(0);
        let pooled = |x: &[Vec<f64>]| {
            let end = sample.end(&(0..LAYERS).fold(x.to_vec(), |x, layer| sample.layer(layer, &x)));
            vec![(0..WIDTH).map(|c| end.iter().map(|row| row[c]).sum::<f64>() / end.len() as f64).collect()]
        };
        let all = |x: &[Vec<f64>]| (0..LAYERS).fold(x.to_vec(), |x, layer| sample.layer(layer, &x));
        let cases: [(Until, Definition<'_>, usize); 2] =
            [(Until::State(LAYERS), &all, first.values.len()), (Until::Pooled(Pooling::Mean), &pooled, LENGTHS.len() * WIDTH)];
        for (until, definition, size) in cases {
            let seed = numbers("seed", size);
            let (made, gradient) = upper.run_and_back(&first, until, &seed, DEVICE).unwrap();
            assert_eq!(made, upper.run(&first, until, DEVICE).unwrap());
            let expected: Vec<f64> = (0..first.values.len())
                .map(|at| {
                    let loss = |step: f64| {
                        let (mut x, mut from, mut sum, mut place) = (rows(&first.values), 0, 0.0, 0);
                        x[at / WIDTH][at % WIDTH] += step;
                        for length in LENGTHS {
                            for y in definition(&x[from..from + length]).concat() {
                                sum += y * f64::from(seed[place]);
                                place += 1;
                            }
                            from += length;
                        }
                        sum
                    };
                    (loss(1e-5) - loss(-1e-5)) / 2e-5
                })
                .collect();
            assert!(close(&gradient, &expected, 2e-4), "{family:?} {until:?}: {gradient:?} {expected:?}");
        }
    }
}

/// The same layers with weights that are trained: every gradient against finite differences of the layers themselves.
#[test]
fn layers_can_be_trained() {
    let (device, pool) = (device(), Pool::default());
    let inner = 5;
    // In the order of `all`: weights and biases of four dense layers, then the norms.
    let shapes = [
        (WIDTH, 3 * WIDTH),
        (1, 3 * WIDTH),
        (WIDTH, WIDTH),
        (1, WIDTH),
        (WIDTH, inner),
        (1, inner),
        (inner, WIDTH),
        (1, WIDTH),
        (1, WIDTH),
        (1, WIDTH),
        (1, WIDTH),
        (1, WIDTH),
    ];
    let tokens: usize = LENGTHS.iter().sum();
    let sequences = Sequences::new(&LENGTHS);
    for order in [stack::Order::NormFirst, stack::Order::NormLast] {
        let run = |graph: &mut Graph<Tested>, weights: &[Vec<f32>]| {
            let vars: Vec<Var<Tested>> = (weights.iter().zip(shapes))
                .map(|(values, (rows, cols))| graph.leaf(pool.copy(values), rows, cols).unwrap())
                .collect();
            let layer = |at: usize| Layer { weight: vars[at].clone(), bias: vars[at + 1].clone() };
            let norm = |at: usize| Norm { gain: vars[at].clone(), bias: vars[at + 1].clone(), eps: 1e-5 };
            let block =
                Block { attend: layer(0), gather: layer(2), widen: layer(4), narrow: layer(6), norms: [norm(8), norm(10)] };
            let stack = Stack { first: 0, blocks: vec![block], end: None, order, heads: HEADS };
            let x = graph.constant(pool.copy(&numbers("x", tokens * WIDTH)), tokens, WIDTH).unwrap();
            (stack.run(graph, &x, &sequences, 0..1).unwrap(), vars)
        };
        let weights: Vec<Vec<f32>> =
            shapes.iter().enumerate().map(|(at, (rows, cols))| numbers(&format!("weight {at}"), rows * cols)).collect();
        let seed = numbers("seed", tokens * WIDTH);
        let mut graph = Graph::training(&device, &pool);
        let (out, vars) = run(&mut graph, &weights);
        graph.seed(&out, pool.copy(&seed));
        graph.backward().unwrap();
        for (at, var) in vars.iter().enumerate() {
            let found = device.take_gradient(&var.value, &pool).unwrap().unwrap();
            for entry in (0..found.len()).step_by(found.len().div_ceil(8)) {
                let loss = |step: f32| {
                    let mut weights = weights.clone();
                    weights[at][entry] += step;
                    let (out, _) = run(&mut Graph::inference(&device, &pool), &weights);
                    out.host().iter().zip(&seed).map(|(y, s)| f64::from(*y) * f64::from(*s)).sum::<f64>()
                };
                let expected = (loss(1.0 / 128.0) - loss(-1.0 / 128.0)) * 64.0;
                let difference = (f64::from(found[entry]) - expected).abs();
                assert!(
                    difference < 5e-3 * (1.0 + expected.abs()),
                    "{order:?} weight {at} [{entry}]: {} {expected}",
                    found[entry]
                );
            }
        }
    }
}

/// Sequences of more queries than are done together, and more work than one thread does; and the same numbers for any number of threads.
#[test]
fn threads_and_pieces_change_nothing() {
    let (width, heads, lengths) = (64, 4, [200, 97, 1, 96]);
    let rows: usize = lengths.iter().sum();
    let (qkv, seed) = (numbers("qkv", rows * 3 * width), numbers("seed", rows * width));
    let run = |threads: usize| {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        workers.install(|| {
            let (device, pool) = (Cpu::default(), Pool::default());
            let mut graph = Graph::training(&device, &pool);
            let x = graph.leaf(pool.copy(&qkv), rows, 3 * width).unwrap();
            let attended = graph.attention(&x, heads, &Sequences::new(&lengths)).unwrap();
            let norm = |name: &str| graph.constant(pool.copy(&numbers(name, width)), 1, width).unwrap();
            let norm = Norm { gain: norm("gain"), bias: norm("bias"), eps: 1e-5 };
            let normed = graph.norm(&attended, &norm).unwrap();
            let out = graph.gelu(&normed).unwrap();
            let attended = attended.host().to_vec();
            graph.seed(&out, pool.copy(&seed));
            let out = out.host().to_vec();
            graph.backward().unwrap();
            [attended, out, device.take_gradient(&x.value, &pool).unwrap().unwrap().to_vec()]
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
    // A query of the first sequence beyond the first piece, by its definition.
    let (depth, query) = (width / heads, 150);
    let at = |row: usize, part: usize, column: usize| f64::from(qkv[row * 3 * width + part * width + depth + column]);
    let scores = (0..200).map(|key| (0..depth).map(|c| at(query, 0, c) * at(key, 1, c)).sum::<f64>() / (depth as f64).sqrt());
    let parts: Vec<f64> = scores.map(f64::exp).collect();
    let sum: f64 = parts.iter().sum();
    let expected: Vec<f64> =
        (0..depth).map(|c| parts.iter().enumerate().map(|(key, part)| part / sum * at(key, 2, c)).sum()).collect();
    assert!(close(&one[0][query * width + depth..query * width + 2 * depth], &expected, 1e-5));
}

#[test]
fn what_the_first_layer_reads_follows_its_definition() {
    let sample = Sample::new(Family::Bert);
    let bert = Transformer::load(written(&sample, "bert.", Dtype::F32).path()).unwrap();
    assert_eq!(bert.longest(), Some(POSITIONS));
    let tokens = Tokens { ids: vec![3, 0, 10, 3, 7, 7, 7, 7, 7, 7, 1], lengths: vec![4, POSITIONS] };
    let found = bert.texts(&tokens, DEVICE).unwrap();
    let expected = [sample.text(&tokens.ids[..4]), sample.text(&tokens.ids[4..])].concat().concat();
    assert!(found.lengths == tokens.lengths && close(&found.values, &expected, 1e-5));
    // The size of those it was trained on, and others.
    for (family, (height, width)) in [(Family::Vit, (6, 6)), (Family::Deit, (4, 6)), (Family::Dinov2, (8, 2))] {
        let sample = Sample::new(family);
        let vit = Transformer::load(written(&sample, &format!("{}.", family.name()), Dtype::F32).path()).unwrap();
        assert_eq!(vit.longest(), None);
        let images = Images { channels: 3, height, width, values: numbers("pixels", 2 * 3 * height * width) };
        let found = vit.images(&images, DEVICE).unwrap();
        let expected = images.values.chunks(3 * height * width).flat_map(|image| sample.image(image, height, width).concat());
        assert!(close(&found.values, &expected.collect::<Vec<f64>>(), 1e-5), "{family:?}");
        assert_eq!(found.lengths, [found.values.len() / WIDTH / 2; 2]);
    }
}

/// Numbers of half precision are exact in single precision; and older programs' names of a norm's numbers.
#[test]
fn half_precision_and_old_names_load() {
    for (dtype, rounded) in [
        (Dtype::F16, (|x| half::f16::from_f32(x).to_f32()) as fn(f32) -> f32),
        (Dtype::BF16, |x| half::bf16::from_f32(x).to_f32()),
    ] {
        let mut sample = Sample::new(Family::Bert);
        sample.tensors.values_mut().for_each(|(_, values)| values.iter_mut().for_each(|x| *x = rounded(*x)));
        let run = |folder: &Path| {
            let upper = TransformerUpper::load(folder, 0).unwrap();
            upper.run(&hidden(0), Until::End, DEVICE).unwrap()
        };
        let whole = run(written(&sample, "", Dtype::F32).path());
        assert_eq!(run(written(&sample, "", dtype).path()), whole);
        sample.rename("encoder.layer.1.output.LayerNorm.weight", "encoder.layer.1.output.LayerNorm.gamma");
        sample.rename("encoder.layer.1.output.LayerNorm.bias", "encoder.layer.1.output.LayerNorm.beta");
        assert_eq!(run(written(&sample, "", dtype).path()), whole);
    }
}

fn refused(folder: &Path) -> String {
    Transformer::load(folder).unwrap_err().to_string()
}

#[test]
fn errors_name_the_file_the_tensor_and_both_shapes() {
    let empty = tempfile::tempdir().unwrap();
    let error = refused(empty.path());
    assert!(error.contains("config.json") && error.contains("a model's folder holds"), "{error}");
    std::fs::write(empty.path().join("config.json"), "{").unwrap();
    assert!(refused(empty.path()).contains("config.json: it is no JSON"));
    std::fs::write(empty.path().join("config.json"), Sample::new(Family::Bert).config.to_string()).unwrap();
    assert!(refused(empty.path()).contains("model.safetensors"));

    let tensor = "encoder.layer.1.intermediate.dense.weight";
    let changed = |change: &dyn Fn(&mut Sample)| {
        let mut sample = Sample::new(Family::Bert);
        change(&mut sample);
        refused(written(&sample, "bert.", Dtype::F32).path())
    };
    let wrong = changed(&|sample| sample.tensors.get_mut(tensor).unwrap().0 = vec![WIDTH, 20]);
    assert!(wrong.contains("model.safetensors: tensor `bert.encoder.layer.1.intermediate.dense.weight`"), "{wrong}");
    assert!(wrong.contains("its shape is [12, 20], expected [20, 12]"), "{wrong}");
    let missing = changed(&|sample| drop(sample.tensors.remove(tensor)));
    assert!(missing.contains("`bert.encoder.layer.1.intermediate.dense.weight`: it is missing"), "{missing}");
    let other = changed(&|sample| drop(sample.tensors.remove("embeddings.word_embeddings.weight")));
    assert!(other.contains("`embeddings.word_embeddings.weight`: it is missing"), "{other}");
    // Another family's names.
    let other = changed(&|sample| sample.config = Sample::new(Family::Dinov2).config);
    assert!(other.contains("`embeddings.cls_token`: it is missing"), "{other}");
    let longer = changed(&|sample| sample.config["num_hidden_layers"] = 3.into());
    assert!(longer.contains("`bert.encoder.layer.2.attention.self.query.weight`: it is missing"), "{longer}");
    // A configuration of sizes that no file has is refused by the first tensor, before anything is allocated.
    let huge = changed(&|sample| sample.config["vocab_size"] = (1 << 20).into());
    assert!(huge.contains("its shape is [11, 12], expected [1048576, 12]"), "{huge}");
    // Where nothing stands before the layers, too.
    let wide = Sample::new(Family::Bert);
    let mut wide = Sample { config: wide.config.clone(), ..wide };
    wide.config["hidden_size"] = (12 << 14).into();
    let folder = written(&wide, "", Dtype::F32);
    let wide = TransformerUpper::load(folder.path(), 0).unwrap_err().to_string();
    assert!(wide.contains("expected [196608"), "{wide}");

    let sample = Sample::new(Family::Bert);
    let doubles = written(&sample, "", Dtype::F32);
    let path = doubles.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let header = &text[..text.find("}}").unwrap() + 2];
    let forged = |header: String| {
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(&path, [&length[..], header.as_bytes(), &bytes[bytes.len() - 8000..]].concat()).unwrap();
        refused(doubles.path())
    };
    let kind = forged(header.replacen("F32", "I32", usize::MAX));
    assert!(kind.contains("its numbers are I32, expected F32, F16 or BF16"), "{kind}");
    let named = r#"{"embeddings.word_embeddings.weight":{"dtype":"F32","shape":[11,12],"data_offsets":"#;
    for (offsets, part) in [
        ("[0,18446744073709551615]}}", "it lies outside of the file"),
        ("[600,528]}}", "it lies outside of the file"),
        ("[0,8]}}", "has more numbers than it has bytes"),
        ("[0,400]}}", "tensor `embeddings.word_embeddings.weight`"),
        ("[0,-1]}}", "`embeddings.word_embeddings.weight`"),
    ] {
        let error = forged(format!("{named}{offsets}"));
        assert!(error.contains(part), "{offsets}: {error}");
    }
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused(doubles.path()).contains("it lies outside of the file"));
}

#[test]
fn what_a_model_cannot_read_is_refused() {
    let said = |result: Result<Hidden, TransformerError>| result.unwrap_err().to_string();
    let folder = written(&Sample::new(Family::Bert), "", Dtype::F32);
    let bert = Transformer::load(folder.path()).unwrap();
    let texts =
        |ids: &[u32], lengths: &[usize]| said(bert.texts(&Tokens { ids: ids.to_vec(), lengths: lengths.to_vec() }, DEVICE));
    assert!(texts(&[1, VOCABULARY as u32], &[2]).contains("the token 11 is beyond the model's vocabulary of 11"));
    assert!(texts(&[1; POSITIONS + 1], &[POSITIONS + 1]).contains("a text has 8 tokens, and the model reads 1 to 7"));
    assert!(texts(&[1], &[0, 1]).contains("a text has 0 tokens"));
    assert!(texts(&[1, 1], &[1]).contains("do not add up to the 2 tokens"));
    let images = |channels, height, width, count| Images { channels, height, width, values: vec![0.0; count] };
    assert!(said(bert.images(&images(3, 2, 2, 12), DEVICE)).contains("the model reads texts"));
    let vit = Transformer::load(written(&Sample::new(Family::Vit), "", Dtype::F32).path()).unwrap();
    assert!(said(vit.texts(&Tokens::default(), DEVICE)).contains("the model reads images"));
    for (images, part) in [
        (images(1, 2, 2, 4), "images have 1 channels, the model 3"),
        (images(3, PATCH + 1, 2, 18), "images of 3 x 2 pixels are no whole number of patches of 2 x 2"),
        (images(3, 0, 2, 0), "images of 0 x 2 pixels"),
        (images(3, 2, 2, 13), "13 numbers are no whole number of images"),
    ] {
        let error = said(vit.images(&images, DEVICE));
        assert!(error.contains(part), "{error}");
    }
    let upper = TransformerUpper::load(folder.path(), 1).unwrap();
    for (from, until, part) in [
        (hidden(0), Until::End, "no way from state 0 to state 2: the layers here go from 1 to 2"),
        (hidden(1), Until::State(3), "no way from state 1 to state 3"),
        (hidden(2), Until::State(1), "no way from state 2 to state 1"),
        (Hidden { width: 4, ..hidden(1) }, Until::End, "are not 9 tokens of 12"),
        (Hidden { lengths: vec![0, 9], ..hidden(1) }, Until::End, "a sequence is empty; leave it out"),
    ] {
        let error = said(upper.run(&from, until, DEVICE));
        assert!(error.contains(part), "{error}");
    }
    let error = upper.run_and_back(&hidden(1), Until::End, &[1.0], DEVICE).unwrap_err().to_string();
    assert!(error.contains("a seed of 1 numbers for a result of 9 x 12"), "{error}");
    let error = TransformerUpper::load(folder.path(), 3).unwrap_err().to_string();
    assert!(error.contains("there is no state 3: the model has 2 layers"), "{error}");
    // Nothing in, nothing out.
    assert!(bert.texts(&Tokens::default(), DEVICE).unwrap().values.is_empty());
    let none = Hidden { lengths: Vec::new(), values: Vec::new(), ..hidden(0) };
    let upper = TransformerUpper::load(folder.path(), 0).unwrap();
    for until in [Until::State(1), Until::End, Until::Pooled(Pooling::Mean)] {
        assert!(upper.run(&none, until, DEVICE).unwrap().values.is_empty());
        assert!(upper.run_and_back(&none, until, &[], DEVICE).unwrap().1.is_empty());
        // Behind the end there is no layer that could read it.
        let made = upper.run(&hidden(0), until, DEVICE).unwrap();
        let again = upper.run(&made, Until::End, DEVICE).map_err(|error| error.to_string());
        match until {
            Until::State(_) => assert!(again.is_ok()),
            _ => assert!(again.unwrap_err().contains("no layer reads what stands at the model's end")),
        }
    }
}

const TOKENIZER: &str = r###"{
  "version": "1.0",
  "truncation": { "max_length": 128, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
  "padding": { "strategy": { "Fixed": 128 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]" },
  "added_tokens": [],
  "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
  "pre_tokenizer": { "type": "BertPreTokenizer" },
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "[SEP]", "type_id": 0 } }],
    "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
    "special_tokens": { "[CLS]": { "id": "[CLS]", "ids": [1], "tokens": ["[CLS]"] }, "[SEP]": { "id": "[SEP]", "ids": [2], "tokens": ["[SEP]"] } }
  },
  "decoder": null,
  "model": {
    "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
    "vocab": { "[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "toy": 4, "stor": 5, "##y": 6, "!": 7, "cafe": 8 }
  }
}"###;

#[test]
fn texts_become_tokens_and_no_padding() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |longest| Tokenizer::load(&folder.path().join("tokenizer.json"), longest).unwrap_err().to_string();
    assert!(refused(7).contains("tokenizer.json"));
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, "{}").unwrap();
    assert!(refused(7).contains("tokenizer.json: it is no tokenizer"));
    std::fs::write(&path, TOKENIZER).unwrap();
    assert!(refused(2).contains("it adds 2 tokens to each text, and a text may have 2 of them"));
    let tokens = Tokenizer::load(&path, 5).unwrap().tokens(&["Toy Story!", "", "café", "toy toy toy toy"]).unwrap();
    assert_eq!(tokens.lengths, [5, 2, 3, 5]);
    assert_eq!(tokens.ids, [1, 4, 5, 6, 2, 1, 2, 1, 8, 2, 1, 4, 4, 4, 2]);
}
