//! A training's state on disk, so that a killed training goes on where it was, bit for bit.
//!
//! One file, replaced atomically: safetensors bytes and their hash. It holds everything that changes while training (weights and
//! moments as they are, not tidied; the best weights; curves; sums of the unfinished epoch), and an identity of the configuration and
//! data. A file that is damaged, or of another training, is as good as none. Random streams need no storing: they are named by epoch
//! and step.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::config::TrainConfig;
use crate::error::{ModelError, TrainError};
use crate::ops::Ops;
use crate::params::Params;
use crate::random::Fnv;
use crate::table::Table;
use crate::task::{Body, Task};
use crate::teacher::{By, TeacherView};
use crate::tensors::Tensors;
use crate::trainer::{Best, State};

/// Changes with what is stored, and with what training computes.
const FORMAT: u64 = 2;

const FILE: &str = "checkpoint.talkflow";

/// What makes a training this one: its configuration, data, teacher and device.
pub(crate) fn identity(config: &TrainConfig, data: &impl Task, teacher: &TeacherView<'_>, device: &'static str) -> u64 {
    let mut hash = Fnv::new();
    hash.field(&FORMAT.to_le_bytes());
    hash.field(format!("{config:?}").as_bytes());
    hash.field(device.as_bytes());
    let mut words = |words: &mut dyn Iterator<Item = u32>| {
        let mut column = Fnv::new();
        let mut count = 0u64;
        for word in words {
            column.word(u64::from(word));
            count += 1;
        }
        hash.field(&count.to_le_bytes());
        hash.field(&column.finish().to_le_bytes());
    };
    data.words(&mut words);
    words(&mut teacher.row.iter().copied());
    // Nor is one by rows another than it was before items had features.
    if teacher.by == By::Item {
        words(&mut std::iter::once(By::Item as u32));
    }
    for states in [teacher.low, teacher.high, teacher.embeddings].into_iter().flatten() {
        words(&mut states.values.iter().chain(states.variance).map(|v| v.to_bits()));
    }
    // A training without tokens is what it was before there were any.
    if let Some(tokens) = teacher.tokens {
        words(&mut tokens.starts.iter().map(|&start| start as u32));
        words(&mut tokens.values.iter().map(|v| v.to_bits()));
    }
    words(&mut teacher.output.into_iter().flatten().map(|v| v.to_bits()));
    words(&mut teacher.upper.into_iter().flat_map(|upper| upper.words()));
    hash.finish()
}

/// Writes a checkpoint into `dir`, in place of the last one.
pub(crate) fn save<D: Ops, B: Body<D>>(dir: &Path, identity: u64, state: &State<D, B>) -> Result<(), TrainError> {
    save_as(&dir.join(FILE), identity, state)
}

/// Writes the state into a file, in place of what is there.
pub(crate) fn save_as<D: Ops, B: Body<D>>(path: &Path, identity: u64, state: &State<D, B>) -> Result<(), TrainError> {
    let mut bytes = pack(identity, state).to_bytes()?;
    bytes.extend(Fnv::new().field(&bytes).finish().to_le_bytes());
    let temporary = path.with_extension("tmp");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    written.map_err(|source| TrainError::Checkpoint { path: path.to_owned(), source })
}

/// Goes back to the checkpoint in `dir`, if there is one of this training, whose epochs have `steps` batches; else leaves `state` as
/// it is.
pub(crate) fn resume<D: Ops, B: Body<D>>(dir: &Path, identity: impl FnOnce() -> u64, steps: usize, state: &mut State<D, B>) {
    resume_from(&dir.join(FILE), identity, steps, state);
}

/// Goes back to the state in a file, if it is one of this training; whether it did.
pub(crate) fn resume_from<D: Ops, B: Body<D>>(
    path: &Path,
    identity: impl FnOnce() -> u64,
    steps: usize,
    state: &mut State<D, B>,
) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let Some((bytes, hash)) = bytes.split_last_chunk::<8>() else { return false };
    if Fnv::new().field(bytes).finish().to_le_bytes() != *hash {
        return false;
    }
    let Ok(tensors) = Tensors::from_bytes(bytes, |_| true) else { return false };
    // Nothing is half taken over: all shapes are checked in unpacking into a copy.
    let mut resumed = state.clone();
    let sound = unpack(&tensors, identity(), steps, &mut resumed).is_ok();
    if sound {
        *state = resumed;
    }
    sound
}

fn pack<D: Ops, B: Body<D>>(identity: u64, state: &State<D, B>) -> Tensors {
    let mut tensors = Tensors::default();
    tensors.put("identity", &[1], vec![identity]);
    let best = state.best.as_ref();
    let best_epoch = best.map_or(0, |best| best.epoch);
    tensors.put("position", &[3], vec![state.epoch as u64, state.step as u64, best_epoch as u64]);
    tensors.put("best_error", &[1], vec![best.map_or(f64::INFINITY, |best| best.error)]);
    if let Some(best) = best {
        tensors.extend("best.", best.weights.clone());
    }
    let sums = &state.sums;
    let mut numbers = vec![sums.rows, sums.loss, sums.decoded];
    numbers.extend(sums.terms);
    tensors.put("sums", &[numbers.len()], numbers);
    for (index, (_, values)) in state.curves.columns().iter().enumerate() {
        tensors.put(format!("curves.{index}"), &[values.len()], values.clone());
    }
    for (index, table) in state.student.tables().into_iter().enumerate() {
        pack_table(&mut tensors, &format!("tables.{index}"), table);
    }
    pack_params(&mut tensors, "student", state.student.params());
    pack_params(&mut tensors, "modules", &state.modules);
    tensors
}

fn pack_table(tensors: &mut Tensors, name: &str, table: &Table) {
    let mut put = |part: &str, numbers: &[f32]| {
        tensors.put(format!("{name}.{part}"), &[numbers.len()], numbers.to_vec());
    };
    put("values", &table.values);
    put("first", &table.moments.first);
    put("second", &table.moments.second);
    tensors.put(format!("{name}.counts"), &[table.counts.len()], table.counts.clone());
    tensors.put(format!("{name}.log_decay"), &[1], vec![table.log_decay]);
    tensors.put(format!("{name}.applied"), &[table.applied.len()], table.applied.clone());
}

fn pack_params<D: Ops>(tensors: &mut Tensors, owner: &str, params: &Params<D>) {
    tensors.put(format!("{owner}.count"), &[1], vec![params.count]);
    for (index, param) in params.iter().enumerate() {
        for (part, numbers) in [("host", &param.host), ("first", &param.moments.first), ("second", &param.moments.second)] {
            tensors.put(format!("{owner}.{index}.{part}"), &[numbers.len()], numbers.clone());
        }
    }
}

fn unpack<D: Ops, B: Body<D>>(tensors: &Tensors, identity: u64, steps: usize, state: &mut State<D, B>) -> Result<(), ModelError> {
    if tensors.get::<u64>("identity", &[1])? != [identity] {
        return Err(ModelError::Unsupported("a checkpoint of another training".to_owned()));
    }
    let impossible = || ModelError::Unsupported("a checkpoint of what cannot be".to_owned());
    let [epoch, step, best] = *tensors.get::<u64>("position", &[3])?.first_chunk().ok_or_else(impossible)?;
    // How many updates there have been at most: what grows with each is compared with it.
    let updates = epoch.checked_mul(steps as u64).and_then(|done| done.checked_add(step)).ok_or_else(impossible)?;
    if best > epoch || (best == 0) != (epoch == 0) || step > steps as u64 {
        return Err(impossible());
    }
    let weights = tensors.under("best.");
    if best > 0 && !weights.like(&state.student.export()) {
        return Err(impossible());
    }
    state.epoch = epoch as usize;
    state.step = step as usize;
    let error = tensors.get::<f64>("best_error", &[1])?[0];
    state.best = (best > 0).then_some(Best { epoch: best as usize, error, weights });
    let terms = state.sums.terms.len();
    let sums = tensors.get::<f64>("sums", &[3 + terms])?;
    state.sums.rows = sums[0];
    state.sums.loss = sums[1];
    state.sums.decoded = sums[2];
    state.sums.terms.copy_from_slice(&sums[3..]);
    for index in 0..state.curves.columns().len() {
        let values = tensors.get::<f64>(&format!("curves.{index}"), &[state.epoch])?;
        state.curves.restore(index, values.to_vec());
    }
    for (index, table) in state.student.tables_mut().into_iter().enumerate() {
        let name = format!("tables.{index}");
        for (part, numbers) in
            [("values", &mut table.values), ("first", &mut table.moments.first), ("second", &mut table.moments.second)]
        {
            fill(tensors, &format!("{name}.{part}"), numbers)?;
        }
        fill(tensors, &format!("{name}.counts"), &mut table.counts)?;
        fill(tensors, &format!("{name}.applied"), &mut table.applied)?;
        table.log_decay = tensors.get::<f64>(&format!("{name}.log_decay"), &[1])?[0];
        let counted = table.counts.iter().all(|&count| u64::from(count) <= updates);
        if !counted || !table.applied.iter().chain([&table.log_decay]).all(|decay| decay.is_finite()) {
            return Err(impossible());
        }
    }
    unpack_params(tensors, "student", state.student.params_mut())?;
    unpack_params(tensors, "modules", &mut state.modules)?;
    if state.student.params().count > updates || state.modules.count > updates {
        return Err(impossible());
    }
    Ok(())
}

fn unpack_params<D: Ops>(tensors: &Tensors, owner: &str, params: &mut Params<D>) -> Result<(), ModelError> {
    params.count = tensors.get::<u64>(&format!("{owner}.count"), &[1])?[0];
    let mut index = 0;
    params.overwrite(|param| {
        let name = format!("{owner}.{index}");
        index += 1;
        fill(tensors, &format!("{name}.host"), &mut param.host)?;
        fill(tensors, &format!("{name}.first"), &mut param.moments.first)?;
        fill(tensors, &format!("{name}.second"), &mut param.moments.second)
    })
}

/// Overwrites numbers with a tensor of exactly as many.
fn fill<T: crate::tensors::Number>(tensors: &Tensors, name: &str, numbers: &mut [T]) -> Result<(), ModelError> {
    numbers.copy_from_slice(tensors.get(name, &[numbers.len()])?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::methods::{Method, Talk};
    use crate::optim::{Optimizer, Sgd};
    use crate::testing::{DEVICE, Task, Teacher, config};
    use crate::{Progress, TrainIo, Trained, train};

    fn run_with(config: &TrainConfig, teacher: &Teacher) -> Trained {
        train(config, &Task::new().data(), Some(teacher.view()), DEVICE, &mut ()).unwrap()
    }

    fn bytes(trained: &Trained) -> Vec<u8> {
        trained.model.to_safetensors().unwrap()
    }

    /// Cancels before batch number `after`, and keeps checkpoints in a folder.
    struct Killed<'a> {
        dir: &'a Path,
        after: std::cell::Cell<usize>,
        epochs: usize,
    }

    impl TrainIo for Killed<'_> {
        fn epoch(&mut self, progress: &Progress<'_>) {
            assert_eq!(progress.of, 5);
            self.epochs += 1;
        }

        fn cancelled(&self) -> bool {
            let left = self.after.get();
            self.after.set(left.saturating_sub(1));
            left == 0
        }

        fn checkpoint_dir(&self) -> Option<&Path> {
            Some(self.dir)
        }
    }

    fn killed(dir: &Path, after: usize) -> Killed<'_> {
        Killed { dir, after: std::cell::Cell::new(after), epochs: 0 }
    }

    fn interrupted(config: &TrainConfig, teacher: &Teacher, io: &mut Killed<'_>) -> Result<Trained, TrainError> {
        train(config, &Task::new().data(), Some(teacher.view()), DEVICE, io)
    }

    #[test]
    fn killed_and_resumed_equals_uninterrupted() {
        let teacher = Teacher::new();
        let sgd = Optimizer::Sgd(Sgd { rate: 0.05, momentum: 0.9, ..Sgd::default() });
        let talk = Method::Talk(Talk { message_dim: 4, ..Talk::default() });
        for (method, optimizer) in [(Method::Scratch, sgd), (talk, config().optimizer)] {
            let config = TrainConfig { method, optimizer, ..config() };
            let whole = run_with(&config, &teacher);
            // Eight batches an epoch: at the very start, within an epoch, at its end, twice in a row.
            for kills in [vec![0], vec![3], vec![8], vec![11, 2, 17]] {
                let dir = tempfile::tempdir().unwrap();
                for &after in &kills {
                    let error = interrupted(&config, &teacher, &mut killed(dir.path(), after)).unwrap_err();
                    assert!(matches!(error, TrainError::Cancelled { .. }), "{error}");
                }
                let mut io = killed(dir.path(), usize::MAX);
                let resumed = interrupted(&config, &teacher, &mut io).unwrap();
                assert_eq!(bytes(&resumed), bytes(&whole), "{kills:?}");
                assert_eq!(resumed.curves, whole.curves, "{kills:?}");
                assert_eq!(resumed.monitor, whole.monitor, "{kills:?}");
                assert_eq!(io.epochs, 5 - kills.iter().sum::<usize>() / 8, "{kills:?}: it went on, and did not start over");
            }
        }
    }

    #[test]
    fn damaged_and_foreign_checkpoints_are_as_good_as_none() {
        let teacher = Teacher::new();
        let config = config();
        let whole = run_with(&config, &teacher);
        let dir = tempfile::tempdir().unwrap();
        interrupted(&config, &teacher, &mut killed(dir.path(), 20)).unwrap_err();
        let [path] = &std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()[..] else {
            panic!("one file, and nothing temporary")
        };
        let good = std::fs::read(path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [flipped, good[..good.len() - 100].to_vec(), vec![], b"something else".to_vec()] {
            std::fs::write(path, bad).unwrap();
            let mut io = killed(dir.path(), usize::MAX);
            assert_eq!(bytes(&interrupted(&config, &teacher, &mut io).unwrap()), bytes(&whole));
            assert_eq!(io.epochs, 5);
        }
        // Another seed, and other data under the same settings.
        std::fs::write(path, &good).unwrap();
        let mut io = killed(dir.path(), usize::MAX);
        interrupted(&TrainConfig { seed: 2, ..config.clone() }, &teacher, &mut io).unwrap();
        assert_eq!(io.epochs, 5);
        let mut task = Task::new();
        task.train.rating[0] = 6.0 - task.train.rating[0];
        let mut io = killed(dir.path(), usize::MAX);
        train(&config, &task.data(), Some(teacher.view()), DEVICE, &mut io).unwrap();
        assert_eq!(io.epochs, 5);
    }

    /// Its hash is right and its numbers are not: what they would be used for never ends, or takes all memory.
    #[test]
    fn checkpoints_of_what_cannot_be_are_as_good_as_none() {
        let teacher = Teacher::new();
        let config = config();
        let whole = run_with(&config, &teacher);
        let dir = tempfile::tempdir().unwrap();
        interrupted(&config, &teacher, &mut killed(dir.path(), 20)).unwrap_err();
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        let bytes_of = bytes;
        let changed = |change: &dyn Fn(&mut Tensors)| {
            let mut tensors = Tensors::from_bytes(&good[..good.len() - 8], |_| true).unwrap();
            change(&mut tensors);
            let mut bytes = tensors.to_bytes().unwrap();
            bytes.extend(Fnv::new().field(&bytes).finish().to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
            let mut io = killed(dir.path(), usize::MAX);
            assert_eq!(bytes_of(&interrupted(&config, &teacher, &mut io).unwrap()), bytes_of(&whole));
            io.epochs
        };
        assert_eq!(changed(&|_| {}), 3, "it goes on where nothing was changed");
        for position in [[2, 4, 3], [2, 4, 0], [0, 4, 1], [2, 9, 1], [u64::MAX, 4, 1], [u64::MAX / 8, u64::MAX, 1]] {
            assert_eq!(changed(&|tensors| tensors.put("position", &[3], position.to_vec())), 5, "{position:?}");
        }
        let users = crate::testing::USERS;
        assert_eq!(changed(&|tensors| tensors.put("tables.0.counts", &[users], vec![u32::MAX; users])), 5);
        assert_eq!(changed(&|tensors| tensors.put("tables.0.log_decay", &[1], vec![f64::NAN])), 5);
        assert_eq!(changed(&|tensors| tensors.put("student.count", &[1], vec![u64::MAX])), 5);
        assert_eq!(changed(&|tensors| tensors.put("best.mean", &[2], vec![1.0f32; 2])), 5);
        assert_eq!(changed(&|tensors| tensors.put("best.more", &[1], vec![1.0f32])), 5);
    }

    /// Saves before every batch, and keeps aside what a kill before batch number `at` would have left.
    struct Periodic<'a> {
        dir: &'a Path,
        aside: &'a Path,
        at: usize,
        calls: std::cell::Cell<usize>,
    }

    impl TrainIo for Periodic<'_> {
        fn cancelled(&self) -> bool {
            self.calls.set(self.calls.get() + 1);
            if self.calls.get() == self.at {
                std::fs::copy(self.dir.join(FILE), self.aside.join(FILE)).unwrap();
            }
            false
        }

        fn checkpoint_dir(&self) -> Option<&Path> {
            Some(self.dir)
        }

        fn checkpoint_every(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }

    #[test]
    fn checkpoints_are_written_on_the_way_and_change_nothing() {
        let teacher = Teacher::new();
        let config = config();
        let whole = run_with(&config, &teacher);
        let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut io = Periodic { dir: dir.path(), aside: aside.path(), at: 30, calls: Default::default() };
        let saving = train(&config, &Task::new().data(), Some(teacher.view()), DEVICE, &mut io).unwrap();
        assert_eq!(bytes(&saving), bytes(&whole));
        // Killed without warning: what lies there is one batch old, which the resumed run repeats.
        let mut io = killed(aside.path(), usize::MAX);
        let resumed = interrupted(&config, &teacher, &mut io).unwrap();
        assert_eq!(bytes(&resumed), bytes(&whole));
        assert_eq!(io.epochs, 2, "three of five epochs of eight batches were done");
    }

    /// Keeps the state it ends with, or goes on from one.
    #[derive(Default)]
    struct Rung {
        keep: Option<std::path::PathBuf>,
        from: Option<(usize, Vec<std::path::PathBuf>)>,
        epochs: usize,
        went_on: Option<usize>,
    }

    impl TrainIo for Rung {
        fn epoch(&mut self, _: &Progress<'_>) {
            self.epochs += 1;
        }

        fn earlier(&self) -> Option<crate::Earlier<'_>> {
            self.from.as_ref().map(|(epochs, states)| crate::Earlier { epochs: *epochs, states })
        }

        fn goes_on(&mut self, epochs: usize) {
            self.went_on = Some(epochs);
        }

        fn keep_state(&self) -> Option<&Path> {
            self.keep.as_deref()
        }
    }

    #[test]
    fn a_longer_training_that_goes_on_from_a_shorter_one_equals_an_uninterrupted_one() {
        let teacher = Teacher::new();
        let data = Task::new();
        let run = |config: &TrainConfig, io: &mut Rung| train(config, &data.data(), Some(teacher.view()), DEVICE, io).unwrap();
        let sgd = Optimizer::Sgd(Sgd { rate: 0.05, momentum: 0.9, ..Sgd::default() });
        let talk = Method::Talk(Talk { message_dim: 4, ..Talk::default() });
        let dir = tempfile::tempdir().unwrap();
        let [state, other] = ["one.state", "other.state"].map(|name| dir.path().join(name));
        let step = crate::Schedule { warm_up: 2.5, course: crate::Course::Step { every: 2, factor: 0.5 } };
        for (method, optimizer, schedule) in
            [(Method::Scratch, sgd, step), (talk, config().optimizer, crate::Schedule::default())]
        {
            let short = TrainConfig { method, optimizer, schedule, epochs: 3, patience: None, ..config() };
            let long = TrainConfig { epochs: 7, ..short.clone() };
            let whole = run(&long, &mut Rung::default());
            run(&TrainConfig { seed: 9, ..short.clone() }, &mut Rung { keep: Some(other.clone()), ..Rung::default() });
            let mut rung = Rung { keep: Some(state.clone()), ..Rung::default() };
            let kept = run(&short, &mut rung);
            assert_eq!(bytes(&kept), bytes(&run(&short, &mut Rung::default())), "that it is kept changes nothing");
            // Of several states the one that fits.
            let from = Some((3, vec![other.clone(), state.clone()]));
            let mut rung = Rung { from: from.clone(), ..Rung::default() };
            let longer = run(&long, &mut rung);
            assert_eq!((rung.epochs, rung.went_on), (4, Some(3)));
            assert_eq!((bytes(&longer), &longer.curves, &longer.monitor), (bytes(&whole), &whole.curves, &whole.monitor));
            // Three rungs are as good as two.
            let middle = TrainConfig { epochs: 5, ..short.clone() };
            run(&middle, &mut Rung { from, keep: Some(other.clone()), ..Rung::default() });
            let mut rung = Rung { from: Some((5, vec![other.clone()])), ..Rung::default() };
            assert_eq!(bytes(&run(&long, &mut rung)), bytes(&whole));
            assert_eq!(rung.went_on, Some(5));
            // What was another training, had another number of epochs, or is damaged, is no beginning of this one.
            let none = |config: &TrainConfig, epochs: usize, file: &Path| {
                let mut rung = Rung { from: Some((epochs, vec![file.to_owned()])), ..Rung::default() };
                let trained = run(config, &mut rung);
                assert_eq!((rung.went_on, bytes(&trained)), (None, bytes(&run(config, &mut Rung::default()))));
            };
            none(&TrainConfig { seed: 2, ..long.clone() }, 3, &state);
            none(&TrainConfig { batch: long.batch * 2, ..long.clone() }, 3, &state);
            none(&long, 4, &state);
            none(&TrainConfig { epochs: 2, ..long.clone() }, 3, &state);
            std::fs::write(&other, b"nothing").unwrap();
            none(&long, 3, &other);
            // A course over all epochs is another one where there are more of them.
            let cosine = |config: &TrainConfig| {
                let course = crate::Course::Cosine { floor: 0.1 };
                TrainConfig { schedule: crate::Schedule { course, ..config.schedule.clone() }, ..config.clone() }
            };
            run(&cosine(&short), &mut Rung { keep: Some(other.clone()), ..Rung::default() });
            none(&cosine(&long), 3, &other);
        }
    }

    #[test]
    fn a_training_that_lost_patience_does_not_go_on() {
        let (teacher, data) = (Teacher::new(), Task::new());
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        // So large a rate that no epoch is better than the first few.
        let optimizer = Optimizer::Sgd(Sgd { rate: 0.5, ..Sgd::default() });
        let short = TrainConfig { method: Method::Scratch, optimizer, epochs: 20, patience: Some(1), ..config() };
        let run = |config: &TrainConfig, io: &mut Rung| train(config, &data.data(), Some(teacher.view()), DEVICE, io).unwrap();
        let first = run(&short, &mut Rung { keep: Some(state.clone()), ..Rung::default() });
        let done = first.curves.epochs();
        assert!(done < 20, "it has to lose patience for this test");
        let long = TrainConfig { epochs: 40, ..short };
        let mut rung = Rung { from: Some((20, vec![state])), ..Rung::default() };
        assert_eq!(bytes(&run(&long, &mut rung)), bytes(&first));
        assert_eq!((rung.epochs, rung.went_on), (0, Some(done)));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let error = interrupted(&config(), &Teacher::new(), &mut killed(&gone, 3)).unwrap_err().to_string();
        assert!(error.contains("gone/checkpoint.talkflow") && error.contains("check that the folder is writable"), "{error}");
    }
}
