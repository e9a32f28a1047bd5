#!/bin/sh
# Stands before rustc (RUSTC_WRAPPER): puts libFuzzer's counters into our own crates and into those that parse what we give them.
# They are the ones with settings of their own in Cargo.toml; all other crates are built as ever and shared with the workspace.
rustc=$1
shift
crate=
previous=
for argument in "$@"; do
    [ "$previous" = --crate-name ] && crate=$argument && break
    previous=$argument
done
case $crate in
talkflow | talkflow_datasets | talkflow_distill | csv | csv_core | fdeflate | granit_parser | image | parquet | png | safetensors | serde_saphyr | \
    serde_json | zip | zlib_rs | zune_jpeg)
    # What cargo-fuzz passes without a sanitizer; stable Rust takes it.
    exec "$rustc" "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
    ;;
esac
exec "$rustc" "$@"
