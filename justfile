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

# CPU and CUDA side by side, for whoever has a GPU and the CUDA toolkit.
cuda:
    cargo test --release -p talkflow-distill --features cuda --test cuda

# The smallest whole pipeline.
quickstart:
    cargo run --release -- run manifests/quickstart.yaml
