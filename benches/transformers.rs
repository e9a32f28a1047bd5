//! Times what a frozen transformer costs: bench (g) of `benches/README.md`. One line of JSON a measurement, as the peers print them.
//!
//! A forward pass goes from the first hidden state to what a head reads; the way back goes on to the gradient of that first state, through weights that get
//! none. Weights are random and in the files of Hugging Face, written for the bench and loaded as any model is. A process measures one
//! thing, so that its peak of memory belongs to that.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints what it measures, and has nobody to return an error to"
)]

mod peak;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use talkflow_distill::{DeviceKind, Hidden, Pooling, TransformerUpper, Until};

#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value = "minilm")]
    model: Model,
    /// Sequences.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Tokens of each; where there are several, sequences have them in turns.
    #[arg(long, value_delimiter = ',', default_value = "32")]
    tokens: Vec<usize>,
    /// The way back too.
    #[arg(long)]
    back: bool,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seconds a measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// On the first NVIDIA GPU; needs the feature `cuda`.
    #[arg(long)]
    cuda: bool,
    /// What cargo gives every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A shape of model, with the numbers of one that people use.
#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// all-MiniLM-L6-v2: BERT, 6 layers of width 384, 12 heads.
    Minilm,
    /// DINOv2's small ViT: 12 layers of width 384, 6 heads.
    VitS,
}

const WIDTH: usize = 384;
const INNER: usize = 4 * WIDTH;

/// Uniform in [-0.05, 0.05), by splitmix64.
struct Numbers(u64);

impl Numbers {
    fn take(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32 * 0.1 - 0.05
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Writes a model's folder.
fn write(folder: &Path, model: Model) {
    let (layers, config) = match model {
        Model::Minilm => (
            6,
            r#"{"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
                "intermediate_size": 1536, "vocab_size": 2, "max_position_embeddings": 2}"#,
        ),
        Model::VitS => (
            12,
            r#"{"model_type": "dinov2", "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 14, "image_size": 14}"#,
        ),
    };
    fs::write(folder.join("config.json"), config).expect("a folder can be written");
    let dense = |name: &str, outputs: usize, inputs: usize| {
        [(format!("{name}.weight"), vec![outputs, inputs]), (format!("{name}.bias"), vec![outputs])]
    };
    let vector = |name: String| [(format!("{name}.weight"), vec![WIDTH]), (format!("{name}.bias"), vec![WIDTH])];
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    for layer in 0..layers {
        let at = |name: &str| format!("encoder.layer.{layer}.{name}");
        let [attention, widen, narrow, first, second] = match model {
            Model::Minilm => {
                ["attention.self", "intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm"]
            }
            Model::VitS => ["attention.attention", "mlp.fc1", "mlp.fc2", "norm1", "norm2"],
        };
        for part in ["query", "key", "value"] {
            shapes.extend(dense(&at(&format!("{attention}.{part}")), WIDTH, WIDTH));
        }
        shapes.extend(dense(&at("attention.output.dense"), WIDTH, WIDTH));
        shapes.extend(dense(&at(widen), INNER, WIDTH));
        shapes.extend(dense(&at(narrow), WIDTH, INNER));
        shapes.extend([first, second].into_iter().flat_map(|norm| vector(at(norm))));
        if matches!(model, Model::VitS) {
            shapes.extend(["layer_scale1.lambda1", "layer_scale2.lambda1"].map(|scale| (at(scale), vec![WIDTH])));
        }
    }
    match model {
        Model::Minilm => shapes.push(("embeddings.word_embeddings.weight".to_owned(), vec![2, WIDTH])),
        Model::VitS => {
            shapes.push(("embeddings.cls_token".to_owned(), vec![1, 1, WIDTH]));
            shapes.extend(vector("layernorm".to_owned()));
        }
    }
    let mut numbers = Numbers(1);
    let tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = (shapes.into_iter())
        .map(|(name, shape)| {
            let bytes = numbers.take(shape.iter().product()).iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, (shape, bytes))
        })
        .collect();
    let view = |shape: &Vec<usize>, bytes| TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor has its shape");
    let views = tensors.iter().map(|(name, (shape, bytes))| (name, view(shape, bytes)));
    serialize_to_file(views, None, &folder.join("model.safetensors")).expect("a folder can be written");
}

/// Seconds of processors that this process has had, to a hundredth: what others do on the machine is not in them.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time, the 12th and 13th field after the name, in ticks of which Linux tells programs 100 a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory this process has had, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

fn main() {
    let arguments = Arguments::parse();
    // The weights are made in another process: what that takes is not the model's.
    if let Ok(folder) = std::env::var("TALKFLOW_BENCH_FOLDER") {
        return write(Path::new(&folder), arguments.model);
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let own = std::env::current_exe().expect("the bench knows where it is");
    let made =
        std::process::Command::new(own).args(std::env::args_os().skip(1)).env("TALKFLOW_BENCH_FOLDER", folder.path()).status();
    assert!(made.expect("the bench can be started").success(), "weights are made");

    let Arguments { batch, threads, .. } = arguments;
    let device = if arguments.cuda { DeviceKind::Cuda(0) } else { DeviceKind::Cpu };
    let upper = TransformerUpper::load(folder.path(), 0).expect("the model is a model");
    let lengths: Vec<usize> = arguments.tokens.iter().copied().cycle().take(batch).collect();
    let rows: usize = lengths.iter().sum();
    let hidden = Hidden { state: Some(0), width: WIDTH, lengths, values: Numbers(2).take(rows * WIDTH) };
    let pooling = if matches!(arguments.model, Model::Minilm) { Pooling::Mean } else { Pooling::First };
    let seed = Numbers(3).take(batch * WIDTH);
    let pass = || {
        if arguments.back {
            upper.run_and_back(&hidden, Until::Pooled(pooling), &seed, device).expect("the model runs").1
        } else {
            upper.run(&hidden, Until::Pooled(pooling), device).expect("the model runs").values
        }
    };
    let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be made");
    let mut times = Vec::new();
    let mut cpu = 0.0;
    workers.install(|| {
        std::hint::black_box(pass());
        let begin = Instant::now();
        cpu -= cpu_seconds();
        while times.len() < 3 || begin.elapsed() < Duration::from_secs_f64(arguments.seconds) {
            let begin = Instant::now();
            std::hint::black_box(pass());
            times.push(begin.elapsed().as_secs_f64());
        }
        cpu += cpu_seconds();
    });
    let memory = peak_mib();
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    // Of products of a token: four of width x width and two of the perceptron's, as often again on the way back.
    let layers = if matches!(arguments.model, Model::Minilm) { 6.0 } else { 12.0 };
    let passes = if arguments.back { 2.0 } else { 1.0 };
    let gflops = rows as f64 * layers * passes * (24 * WIDTH * WIDTH) as f64 / median / 1e9;
    let peak = if arguments.cuda {
        String::new()
    } else {
        let peak = peak::gemm_gflops(threads);
        format!(r#", "gemm_peak_gflops": {peak:.1}, "share_of_peak": {:.3}"#, gflops / peak)
    };
    let model = arguments.model.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let tokens = arguments.tokens.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    println!(
        r#"{{"bench": "transformers", "variant": "talkflow", "model": "{model}", "batch": {batch}, "tokens": "{tokens}", "back": {}, "threads": {threads}, "samples_per_second": {:.2}, "best": {:.2}, "cpu_ms": {:.2}, "peak_mib": {memory}, "gflops": {gflops:.1}{peak}}}"#,
        arguments.back,
        batch as f64 / median,
        batch as f64 / times[0],
        cpu * 1e3 / (times.len() * batch) as f64,
    );
}
