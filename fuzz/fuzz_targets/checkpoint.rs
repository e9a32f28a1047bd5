//! A training's checkpoint: what is read back is that of this training or as good as none, and training goes on to its end.
//!
//! The file's hash is made right, or nothing but the hash would be tried.

#![no_main]

use std::cell::Cell;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use talkflow_distill::{DeviceKind, Examples, ModelSpec, Ncf, Scale, TaskData, TrainConfig, TrainError, TrainIo, Trained, train};
use talkflow_fuzz::{choice, chosen, scratch, written};

const FILE: &str = "checkpoint.talkflow";

/// Stops after so many batches.
struct Stopped(Cell<usize>);

impl TrainIo for Stopped {
    fn cancelled(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }

    fn checkpoint_dir(&self) -> Option<&Path> {
        Some(scratch())
    }
}

fn run(batches: usize) -> Result<Trained, TrainError> {
    let rows =
        Examples { row: vec![0, 1, 2, 3], user: vec![0, 0, 1, 2], item: vec![0, 1, 1, 2], rating: vec![4.0, 2.0, 1.0, 5.0] };
    let data = TaskData { train: &rows, validation: &rows, users: 4, items: 4, scale: Scale { min: 1.0, max: 5.0 } };
    let model = ModelSpec::Ncf(Ncf { embedding: 2, hidden: vec![2, 2], ..Ncf::default() });
    let config = TrainConfig { model, epochs: 3, batch: 2, ..TrainConfig::default() };
    train(&config, &data, None, DeviceKind::Cpu, &mut Stopped(Cell::new(batches)))
}

/// FNV-1a over the length and the bytes, as the format has it.
fn hash(bytes: &[u8]) -> [u8; 8] {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let length = (bytes.len() as u64).to_le_bytes();
    length.iter().chain(bytes).fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |batches: usize| {
        let _ = std::fs::remove_file(scratch().join(FILE));
        assert!(matches!(run(batches), Err(TrainError::Cancelled { .. })));
        let mut bytes = std::fs::read(scratch().join(FILE)).expect("a checkpoint");
        let hash_at = bytes.len() - 8;
        assert_eq!(bytes[hash_at..], hash(&bytes[..hash_at]), "the format's hash is another one now");
        bytes.truncate(hash_at);
        chosen(batches as u8, bytes)
    };
    vec![seed(0), seed(1), seed(3), seed(5)]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, bytes) = choice(input);
    written(FILE, &[bytes, &hash(bytes)].concat());
    // At once, so that what was taken over is written again; or to the end.
    let _ = run(if kind % 2 == 0 { 0 } else { 100 });
});
