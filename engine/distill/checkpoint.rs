//! A training's state on disk, so that a killed training goes on where it was, bit for bit.
//!
//! One file, replaced atomically: safetensors bytes and their hash. It holds everything that changes while training (weights and
//! moments as they are, not tidied; the best weights; curves; sums of the unfinished epoch), and an identity of the configuration and
//! data. A file that is damaged, or of another training, is as good as none. Random streams need no storing: they are named by epoch
//! and step.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{ModelError, TrainError};
use crate::ops::Ops;
use crate::params::Params;
use crate::random::Fnv;
use crate::table::Table;
use crate::teacher::TeacherView;
use crate::tensors::Tensors;
use crate::trainer::{Best, Examples, State, TaskData, TrainConfig};

/// Changes with what is stored, and with what training computes.
const FORMAT: u64 = 1;

const FILE: &str = "checkpoint.talkflow";

/// What makes a training this one: its configuration, data, teacher and device.
pub(crate) fn identity(config: &TrainConfig, data: &TaskData<'_>, teacher: &TeacherView<'_>, device: &'static str) -> u64 {
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
    for examples in [data.train, data.validation] {
        let Examples { row, user, item, rating } = examples;
        for column in [row, user, item] {
            words(&mut column.iter().copied());
        }
        words(&mut rating.iter().map(|r| r.to_bits()));
    }
    words(&mut [data.users as u32, data.items as u32].into_iter());
    words(&mut [data.scale.min, data.scale.max].into_iter().map(f32::to_bits));
    words(&mut teacher.row.iter().copied());
    for states in [teacher.low, teacher.high].into_iter().flatten() {
        words(&mut states.values.iter().chain(states.variance).map(|v| v.to_bits()));
    }
    words(&mut teacher.output.into_iter().flatten().map(|v| v.to_bits()));
    words(&mut teacher.upper.into_iter().flat_map(|upper| upper.words()));
    hash.finish()
}

/// Writes a checkpoint into `dir`, in place of the last one.
pub(crate) fn save<D: Ops>(dir: &Path, identity: u64, state: &State<D>) -> Result<(), TrainError> {
    let mut bytes = pack(identity, state).to_bytes()?;
    bytes.extend(Fnv::new().field(&bytes).finish().to_le_bytes());
    let path = dir.join(FILE);
    let temporary = dir.join(format!("{FILE}.tmp"));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    });
    written.map_err(|source| TrainError::Checkpoint { path, source })
}

/// Goes back to the checkpoint in `dir`, if there is one of this training; else leaves `state` as it is.
pub(crate) fn resume<D: Ops>(dir: &Path, identity: impl FnOnce() -> u64, state: &mut State<D>) {
    let Ok(bytes) = std::fs::read(dir.join(FILE)) else {
        return;
    };
    let Some((bytes, hash)) = bytes.split_last_chunk::<8>() else {
        return;
    };
    if Fnv::new().field(bytes).finish().to_le_bytes() != *hash {
        return;
    }
    if let Ok(tensors) = Tensors::from_bytes(bytes, |_| true) {
        // Nothing is half taken over: all shapes are checked in unpacking into a copy.
        let mut resumed = state.clone();
        if unpack(&tensors, identity(), &mut resumed).is_ok() {
            *state = resumed;
        }
    }
}

fn pack<D: Ops>(identity: u64, state: &State<D>) -> Tensors {
    let mut tensors = Tensors::default();
    tensors.put("identity", &[1], vec![identity]);
    let best = state.best.as_ref();
    let best_epoch = best.map_or(0, |best| best.epoch);
    tensors.put("position", &[3], vec![state.epoch as u64, state.step as u64, best_epoch as u64]);
    tensors.put("best_rmse", &[1], vec![best.map_or(f64::INFINITY, |best| best.rmse)]);
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
    for (index, table) in state.student.tables().enumerate() {
        pack_table(&mut tensors, &format!("tables.{index}"), table);
    }
    pack_params(&mut tensors, "student", &state.student.params);
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

fn unpack<D: Ops>(tensors: &Tensors, identity: u64, state: &mut State<D>) -> Result<(), ModelError> {
    if tensors.get::<u64>("identity", &[1])? != [identity] {
        return Err(ModelError::Unsupported("a checkpoint of another training".to_owned()));
    }
    let position = tensors.get::<u64>("position", &[3])?;
    state.epoch = position[0] as usize;
    state.step = position[1] as usize;
    let rmse = tensors.get::<f64>("best_rmse", &[1])?[0];
    state.best = (position[2] > 0).then(|| Best { epoch: position[2] as usize, rmse, weights: tensors.under("best.") });
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
    for (index, table) in state.student.tables_mut().enumerate() {
        let name = format!("tables.{index}");
        for (part, numbers) in
            [("values", &mut table.values), ("first", &mut table.moments.first), ("second", &mut table.moments.second)]
        {
            fill(tensors, &format!("{name}.{part}"), numbers)?;
        }
        fill(tensors, &format!("{name}.counts"), &mut table.counts)?;
        fill(tensors, &format!("{name}.applied"), &mut table.applied)?;
        table.log_decay = tensors.get::<f64>(&format!("{name}.log_decay"), &[1])?[0];
    }
    unpack_params(tensors, "student", &mut state.student.params)?;
    unpack_params(tensors, "modules", &mut state.modules)
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
