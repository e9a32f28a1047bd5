# The commands of everyday work. `just` lists them.

default:
    @just --list

# The tests of the whole workspace: nothing but Rust is needed.
test:
    cargo test --workspace

# What CI checks beside the tests.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo check -p talkflow --features cuda-check

# Tests on real data; TALKFLOW_DATA names a folder with MovieLens 100K and latest-small.
real-data:
    cargo test --release --test real_data
    cargo test -p talkflow-datasets --test real_data

# Transformers beside what PyTorch computes; TALKFLOW_DATA and TALKFLOW_PARITY name folders, see engine/distill/tests/parity.rs.
parity:
    cargo test -p talkflow-distill --test parity -- --nocapture

# Everything that learns, on a GPU, and CPU and CUDA side by side: for whoever has a GPU and the CUDA toolkit.
cuda:
    cargo test --release -p talkflow-distill --features cuda

# The same on a stand-in for a GPU, which needs neither.
cuda-stand-in:
    cargo test -p talkflow-distill --features cuda-check

# The smallest whole pipeline.
quickstart:
    cargo run --release -- run manifests/quickstart.yaml

# Times training and preprocessing, talkflow alone; benches/README.md compares.
bench:
    cargo bench -p talkflow-distill --bench training -- step
    cargo bench -p talkflow-datasets --bench preprocess

# Where the time of a training step goes, by sampling with perf. Other arguments: `just profile talk --rounds 1 --batch 256`.
profile *ARGS="step --threads 1 --batch 1024":
    benches/profile.sh perf {{ARGS}}

# Which functions a training step's instructions are in, by callgrind: slow, and the same on every run.
profile-instructions *ARGS="--batch 256":
    benches/profile.sh callgrind {{ARGS}}

# Instructions of a training step beside the counts that are committed; CI runs this.
instructions *ARGS:
    benches/instructions.sh {{ARGS}}

# Fuzzes everything that is read, by default half a minute a target; `just fuzz 600 manifest` ten minutes one of them.
fuzz *ARGS="30":
    fuzz/run.sh {{ARGS}}
