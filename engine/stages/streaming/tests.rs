//! What streams by beside what lies there, and what a training on it holds.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failing test may panic, and a process tells what it took")]

use std::{cell::Cell, collections::BTreeMap, path::Path, time::Duration};

use talkflow_distill::{Adam, DeviceKind, Linear, Method, ModelSpec, Optimizer, TrainConfig, TrainIo, Trained, train_classes};

use super::*;
use crate::stages::{cache_features::shards::Tokens, probe::Writer};

const WIDTH: usize = 6;
const CLASSES: usize = 3;

fn label(row: u32) -> u32 {
    row * 7 % CLASSES as u32
}

/// A state in which the class can be seen; each row has its own.
fn state(row: u32, width: usize) -> Vec<f32> {
    let seen = |at: usize| if at % CLASSES == label(row) as usize { 1.5 } else { 0.0 };
    (0..width).map(|at| seen(at) + ((row as usize * 31 + at * 17) % 101) as f32 / 50.0 - 1.0).collect()
}

fn states(rows: &[u32], scale: f32) -> Vec<f32> {
    rows.iter().flat_map(|row| state(*row, WIDTH)).map(|value| value * scale).collect()
}

fn tokens(row: u32) -> Vec<f32> {
    (0..1 + row as usize % 3).flat_map(|token| [row as f32, token as f32]).collect()
}

fn shard(rows: &[u32]) -> shards::Shard {
    let mut starts = vec![0];
    rows.iter().for_each(|row| starts.push(starts.last().unwrap() + tokens(*row).len() / 2));
    let values = rows.iter().flat_map(|row| tokens(*row)).collect();
    shards::Shard {
        row: rows.to_vec(),
        states: BTreeMap::from([(Tap::Low, (WIDTH, states(rows, -1.0))), (Tap::High, (WIDTH, states(rows, 1.0)))]),
        tokens: Some(Tokens { width: 2, starts, values }),
    }
}

fn index(folder: &Path, rows: &[u32], a_shard: usize) -> Arc<Index> {
    Arc::new(Index::planted(folder, "features", &rows.chunks(a_shard).map(shard).collect::<Vec<_>>()).unwrap())
}

fn logits(rows: &[u32]) -> Vec<f32> {
    rows.iter().flat_map(|row| [*row as f32, 0.5, -(*row as f32)]).collect()
}

#[test]
fn each_row_comes_with_what_belongs_to_it() {
    let folder = tempfile::tempdir().unwrap();
    // Rows of all parts, with gaps; the part that streams is every row that three does not divide.
    let all: Vec<u32> = (0..70).filter(|row| row % 5 != 4).collect();
    let part: Vec<u32> = all.iter().copied().filter(|row| row % 3 != 0).collect();
    let index = index(folder.path(), &all, 11);
    let path = folder.path().join("outputs.parquet");
    let mut writer = Writer::grouped(&path, CLASSES, 9).unwrap();
    writer.add(&all, logits(&all)).unwrap();
    writer.finish().unwrap();
    let outputs = Arc::new(LyingOutputs::at(&path, CLASSES, "probe").unwrap());
    let needs = TeacherNeeds { low: true, tokens: true, output: true, ..TeacherNeeds::default() };
    let cached = Cached::of(Some(Arc::clone(&index)), Some(outputs), needs);
    let pieces = Pieces::new(What::High(Arc::clone(&index)), cached, part.clone(), &[Digest::of(b"features")]);
    // Ends of shards and of groups are ends of pieces.
    let ends = |rows: usize| all.chunks(rows).map(|rows| part.iter().filter(|row| *row <= rows.last().unwrap()).count());
    let mut expected: Vec<usize> = ends(11).chain(ends(9)).collect();
    expected.sort_unstable();
    expected.dedup();
    let mut end = 0;
    let found: Vec<usize> = pieces
        .sizes()
        .iter()
        .map(|size| {
            end += size;
            end
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(pieces.identity().len(), 8);
    let mut rows = part.as_slice();
    for (number, size) in pieces.sizes().iter().enumerate() {
        let (here, later) = rows.split_at(*size);
        rows = later;
        let Shard { inputs, features } = pieces.read(number).unwrap();
        assert_eq!(inputs, Inputs::Vectors(Vectors { width: WIDTH, values: states(here, 1.0) }));
        assert_eq!(features.low, states(here, -1.0));
        assert_eq!(features.high, [0.0; 0], "what the method does not need is not read");
        let read = features.tokens.unwrap();
        assert_eq!(read.values, here.iter().flat_map(|row| tokens(*row)).collect::<Vec<f32>>());
        assert_eq!(read.lengths, here.iter().map(|row| 1 + *row as usize % 3).collect::<Vec<usize>>());
        assert_eq!(features.output, logits(here));
    }
    assert!(rows.is_empty());
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<u32> = (0..20).filter(|row| *row != 7).collect();
    let index = index(folder.path(), &all, 8);
    let said = index.refuse_missing(&[1, 7], "`train`").unwrap_err().to_string();
    assert_eq!(said, "`features` holds no features of row 7: add `train` to its `parts`");
    assert!(index.refuse_missing(&all, "`train`").is_ok());
    let pieces = |rows: Vec<u32>| Pieces::new(What::High(Arc::clone(&index)), Cached::default(), rows, &[]);
    let said = pieces(vec![6, 7]).read(0).unwrap_err().to_string();
    assert!(said.contains("`features` holds no features of row 7 in its shard 0"), "{said}");
    // A file that has been cut off since it was opened.
    let whole = pieces(all.clone());
    let path = folder.path().join("00001.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    assert!(whole.read(0).is_ok());
    let said = whole.read(1).unwrap_err().to_string();
    assert!(
        said.contains("00001.safetensors") && said.ends_with("let the stage that made it run again, or name another"),
        "{said}"
    );
    // Shards that overlap are those of no data set.
    let said = Index::planted(folder.path(), "features", &[shard(&[3, 4]), shard(&[4, 5])]).unwrap_err().to_string();
    assert_eq!(said, "the shards of `features` are not in the order of their rows");
    let said = Index::planted(folder.path(), "features", &[]).unwrap_err().to_string();
    assert_eq!(said, "`features` holds no features of examples");
}

/// A head on states that stream by, or without a buffer on the same in memory.
fn read(index: &Arc<Index>, width: usize, buffer: Option<usize>) -> ReadExamples {
    let part = |validates: bool| {
        let row: Vec<u32> = index.rows().iter().copied().filter(|row| (row % 4 == 3) == validates).collect();
        let pieces = Pieces::new(What::High(Arc::clone(index)), Cached::default(), row.clone(), &[]);
        let inputs = match buffer {
            Some(buffer) => Held::Stream(Box::new(Stream::new(Box::new(pieces), buffer))),
            None => {
                let mut values = Vec::with_capacity(row.len() * width);
                for number in 0..pieces.sizes.len() {
                    let Inputs::Vectors(vectors) = pieces.read(number).unwrap().inputs else { panic!("vectors") };
                    values.extend(vectors.values);
                }
                Held::Memory(Inputs::Vectors(Vectors { width, values }))
            }
        };
        ReadPart { label: row.iter().map(|row| label(*row)).collect(), row, inputs }
    };
    let train = part(false);
    let standard = match &train.inputs {
        Held::Memory(inputs) => Standard::of(inputs),
        Held::Stream(stream) => Standard::of_stream(stream).unwrap(),
    };
    let (shape, words) = (InputShape::Vectors { width }, Arc::new(Words::default()));
    ReadExamples { train, validation: part(true), shape, words, standard }
}

fn train(
    read: &ReadExamples,
    width: usize,
    epochs: usize,
    io: &mut dyn TrainIo,
) -> Result<Trained<talkflow_distill::Classifier>, TrainError> {
    let config = TrainConfig {
        model: ModelSpec::Net(NetSpec::Linear(Linear { width })),
        method: Method::Scratch,
        optimizer: Optimizer::Adam(Adam { rate: 0.02, ..Adam::default() }),
        batch: 32,
        epochs,
        patience: None,
        ..TrainConfig::default()
    };
    train_classes(&config, &read.data(CLASSES), None, DeviceKind::Cpu, io)
}

fn bytes(trained: &Trained<talkflow_distill::Classifier>) -> Vec<u8> {
    trained.model.to_safetensors().unwrap()
}

#[test]
fn a_head_learns_from_what_streams_by_the_same_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let index = index(folder.path(), &(0..600).collect::<Vec<u32>>(), 50);
    let on = |threads: usize, buffer: Option<usize>| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&read(&index, WIDTH, buffer), WIDTH, 6, &mut ()).unwrap())
    };
    let streamed = on(1, Some(40));
    assert_eq!(bytes(&on(3, Some(40))), bytes(&streamed));
    assert_ne!(bytes(&on(1, Some(41))), bytes(&streamed));
    // One shard, and a buffer that holds it, learns as well as all rows in memory.
    let whole = tempfile::tempdir().unwrap();
    let index = self::index(whole.path(), &(0..600).collect::<Vec<u32>>(), 600);
    let on = |buffer| train(&read(&index, WIDTH, buffer), WIDTH, 12, &mut ()).unwrap().validation;
    let (streamed, held) = (on(Some(600)), on(None));
    assert!(held < 0.1 && streamed < 0.1, "{streamed} of rows wrong, and {held} from memory");
}

/// Stops at a step, and keeps checkpoints.
struct Stop<'a> {
    folder: &'a Path,
    left: Cell<usize>,
}

impl TrainIo for Stop<'_> {
    fn cancelled(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() == 0
    }

    fn checkpoint_dir(&self) -> Option<&Path> {
        Some(self.folder)
    }

    fn checkpoint_every(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_training_that_was_stopped_ends_as_it_would_have() {
    let folder = tempfile::tempdir().unwrap();
    let index = index(folder.path(), &(0..300).collect::<Vec<u32>>(), 40);
    let whole = train(&read(&index, WIDTH, Some(30)), WIDTH, 3, &mut ()).unwrap();
    for steps in [2, 6, 13] {
        let kept = tempfile::tempdir().unwrap();
        let run =
            |left| train(&read(&index, WIDTH, Some(30)), WIDTH, 3, &mut Stop { folder: kept.path(), left: Cell::new(left) });
        assert!(matches!(run(steps), Err(TrainError::Cancelled { .. })), "{steps}");
        assert_eq!(bytes(&run(usize::MAX).unwrap()), bytes(&whole));
    }
}

/// Ten times as large as the memory that a training on them is given.
const FEATURES: (usize, u32) = (512, 20_480);
const GIVEN: usize = 4 << 20;

/// A number of kilobytes that the system says of this process.
fn of_process(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}

/// How a process of its own is told which folder has the features, and whether they stream by.
const FOLDER: &str = "TALKFLOW_TEST_FEATURES";

#[test]
#[cfg(target_os = "linux")]
fn a_training_needs_a_tenth_of_what_its_features_take() {
    let (width, rows) = FEATURES;
    assert_eq!(width * rows as usize * 4, 10 * GIVEN);
    if let Ok(told) = std::env::var(FOLDER) {
        let (how, folder) = told.split_once(':').unwrap();
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        // A training has been seen before: code, threads and their tools are no rows.
        let index = Arc::new(Index::found(paths[..2].to_vec(), width).unwrap());
        train(&read(&index, width, Some(128)), width, 1, &mut ()).unwrap();
        let index = Arc::new(Index::found(paths, width).unwrap());
        let before = of_process("VmRSS");
        let read = read(&index, width, (how == "streams").then_some(128));
        let trained = train(&read, width, 2, &mut ()).unwrap();
        println!("took {} {}", of_process("VmHWM").saturating_sub(before), trained.validation);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for number in 0..rows / 128 {
        let rows: Vec<u32> = (number * 128..(number + 1) * 128).collect();
        let values = rows.iter().flat_map(|row| state(*row, width)).collect();
        let shard = shards::Shard { row: rows, states: BTreeMap::from([(Tap::High, (width, values))]), tokens: None };
        Index::plant(&folder.path().join(format!("{number:05}.safetensors")), &shard).unwrap();
    }
    let peak = |how: &str| -> usize {
        // Other tests beside it would be counted too.
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "stages::streaming::tests::a_training_needs_a_tenth_of_what_its_features_take";
        command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, format!("{how}:{}", folder.path().display())).env("RAYON_NUM_THREADS", "2");
        let ran = command.output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        let took = said.split("took ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{said}"));
        took.parse().unwrap()
    };
    let (streams, held) = (peak("streams"), peak("held"));
    println!("streaming took {} KiB, in memory it took {} KiB", streams >> 10, held >> 10);
    assert!(streams <= GIVEN, "streaming took {streams} bytes, and was given {GIVEN}");
    // Some of it may lie where the warming up has left room.
    assert!(held > 9 * GIVEN, "a training that holds all of it took {held} bytes: what is measured is something else");
}
