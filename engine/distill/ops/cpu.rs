//! The processor: runs of dense layers on plain numbers.
//!
//! A run goes through all its layers for one block of rows before the next block, so that what a layer writes is still in the cache when the next
//! one reads it; blocks are shared out over the rayon pool that training is called in. The way back is two passes: gradients
//! of states by blocks of rows, then gradients of weights by blocks of their rows, each summed over the whole batch at once. Blocks are
//! cut by shapes alone and no sum crosses threads, so any number of threads gives the same bits.
//!
//! dfdx 0.13 lets nobody borrow a tensor's numbers, only copy them, so matrices are our own here, each with a slot for its gradient; dfdx's
//! tape keeps the order of the way back.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dfdx::tensor::{Cpu, CpuError, OwnedTape, Tape};
use rayon::prelude::*;

use super::gemm::{self, Finish, Operand, Panels, multiply, multiply_deep};
use super::kernels;
use super::pool::{Buffer, Pool};
use super::{Activation, Link, Ops, Var};

/// Rows of a batch that go through a run together, about.
const ROWS: usize = 128;
/// Rows of a block of a small batch, at least, about.
const SMALL_ROWS: usize = 8;
/// Rows of a weight whose gradient is computed together.
const WEIGHT_ROWS: usize = 66;
/// Multiplications below which sharing work out costs more than it gains.
const WORTH_SHARING: usize = 1 << 21;

/// A matrix in memory, row-major, and its gradient once there is one. Clones are the same matrix.
#[derive(Clone, Debug)]
pub(crate) struct HostMat {
    rows: usize,
    cols: usize,
    values: Arc<Buffer>,
    gradient: Arc<Mutex<Option<Buffer>>>,
    /// Of a matrix that never changes: its numbers as products read them, and then `values` is empty.
    kept: Option<Arc<Kept>>,
}

/// A right side of products, packed once and for all.
#[derive(Debug)]
struct Kept {
    straight: Arc<Panels>,
    /// Made when somebody goes back through it.
    transposed: OnceLock<Arc<Panels>>,
}

impl HostMat {
    fn new(values: Buffer, rows: usize, cols: usize) -> Self {
        HostMat { rows, cols, values: Arc::new(values), gradient: Arc::default(), kept: None }
    }

    /// The same matrix to give gradients to and take them from, which holds on to its numbers only where they are `read`.
    fn held(&self, read: bool, pool: &Pool) -> Self {
        if read { self.clone() } else { HostMat { values: Arc::new(pool.take(0)), kept: None, ..self.clone() } }
    }

    /// Ready to be the right side of products.
    fn panels(&self, pool: &Pool) -> Arc<Panels> {
        match &self.kept {
            Some(kept) => kept.straight.clone(),
            None => Arc::new(Panels::of(pool, Operand::new(&self.values, self.rows, self.cols))),
        }
    }

    /// The same of what it is transposed.
    fn transposed_panels(&self, pool: &Pool) -> Arc<Panels> {
        let pack = |values: &[f32]| Arc::new(Panels::of(pool, Operand::new(values, self.rows, self.cols).transposed()));
        match &self.kept {
            Some(kept) => kept.transposed.get_or_init(|| pack(&kept.straight.unpacked(pool))).clone(),
            None => pack(&self.values),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Buffer>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Buffer> {
        self.slot().take()
    }

    /// Adds to the gradient.
    fn give(&self, addend: Buffer) {
        let mut slot = self.slot();
        match &mut *slot {
            Some(gradient) => kernels::add(gradient, &addend),
            None => *slot = Some(addend),
        }
    }
}

/// A gradient to add to: what is there already, or memory that the first addend overwrites.
struct Target {
    buffer: Buffer,
    fresh: bool,
}

impl Target {
    fn of(there: Option<Buffer>, pool: &Pool, len: usize) -> Self {
        let fresh = there.is_none();
        Target { buffer: there.unwrap_or_else(|| pool.take(len)), fresh }
    }
}

impl Ops for Cpu {
    const NAME: &'static str = "cpu";
    type Mat = HostMat;

    fn matrix(&self, values: Buffer, rows: usize, cols: usize) -> Result<HostMat, CpuError> {
        if values.len() == rows * cols { Ok(HostMat::new(values, rows, cols)) } else { Err(CpuError::WrongNumElements) }
    }

    fn dims(matrix: &HostMat) -> (usize, usize) {
        (matrix.rows, matrix.cols)
    }

    fn host(matrix: &HostMat) -> Cow<'_, [f32]> {
        match &matrix.kept {
            Some(kept) => Cow::Owned(kept.straight.unpacked(&Pool::default()).to_vec()),
            None => Cow::Borrowed(&matrix.values),
        }
    }

    fn keep(&self, matrix: HostMat, pool: &Pool) -> HostMat {
        let kept = Kept { straight: matrix.panels(pool), transposed: OnceLock::new() };
        HostMat { values: Arc::new(pool.take(0)), kept: Some(Arc::new(kept)), ..matrix }
    }

    fn adopt(&self, matrix: &HostMat) -> Result<HostMat, CpuError> {
        Ok(HostMat { gradient: Arc::default(), ..matrix.clone() })
    }

    fn for_gradients(matrix: &HostMat, pool: &Pool) -> HostMat {
        matrix.held(false, pool)
    }

    fn overwrite(&self, matrix: &mut HostMat, values: &[f32], pool: &Pool) {
        debug_assert!(matrix.kept.is_none(), "what is kept does not change");
        match Arc::get_mut(&mut matrix.values) {
            Some(own) => own.copy_from_slice(values),
            // Somebody still holds the old numbers.
            None => matrix.values = Arc::new(pool.copy(values)),
        }
    }

    fn run(
        &self,
        pool: &Pool,
        tape: Option<&mut OwnedTape<f32, Self>>,
        x: &Var<Self>,
        links: Vec<Link<Self>>,
    ) -> Result<Vec<Var<Self>>, CpuError> {
        let batch = x.value.rows;
        let mut outputs: Vec<Buffer> = links.iter().map(|link| pool.take(batch * link.outputs())).collect();
        let masked_len = |link: &Link<Self>| link.mask.as_ref().map_or(0, |mask| mask.len());
        let mut masked: Vec<Buffer> = links.iter().map(|link| pool.take(masked_len(link))).collect();
        forward(pool, &x.value.values, batch, &links, &mut outputs, &mut masked);
        let mut wanted = x.wanted;
        let recording = tape.is_some();
        let states: Vec<Var<Self>> = (links.iter().zip(outputs))
            .map(|(link, values)| {
                wanted |= link.layer.weight.wanted || link.layer.bias.wanted;
                Var { value: HostMat::new(values, batch, link.outputs()), wanted: recording && wanted }
            })
            .collect();
        if let Some(tape) = tape.filter(|_| wanted) {
            // Of what a link reads, and of what it makes, the way back reads numbers only for a weight's gradient and for a ReLU.
            let read_by = |link: Option<&Link<Self>>| link.is_some_and(|link| link.layer.weight.wanted && link.mask.is_none());
            let held = |var: &Var<Self>, read| Var { value: var.value.held(read, pool), wanted: var.wanted };
            let states = (states.iter().enumerate())
                .map(|(place, state)| held(state, links[place].is_relu() || read_by(links.get(place + 1))))
                .collect();
            let back = Back { pool: pool.clone(), x: held(x, read_by(links.first())), links, states, masked };
            tape.add_backward_op(move |_| {
                back.run();
                Ok(())
            });
        }
        Ok(states)
    }

    fn accumulate(&self, of: &HostMat, addend: Buffer) -> Result<(), CpuError> {
        of.give(addend);
        Ok(())
    }

    fn take_gradient(&self, of: &HostMat, _: &Pool) -> Result<Option<Buffer>, CpuError> {
        Ok(of.take())
    }
}

impl Link<Cpu> {
    fn is_relu(&self) -> bool {
        self.activation == Activation::Relu
    }
}

/// Rows of a block of a batch: the batch shared out evenly, in whole tiles. A small batch is one block, unless its weights are so large
/// that there is work for several threads: then blocks are smaller, and each reads the weights for itself.
fn block_rows(batch: usize, multiplications: usize) -> usize {
    let count = match (batch + ROWS / 2) / ROWS {
        0 | 1 if multiplications >= 2 * WORTH_SHARING => (batch / SMALL_ROWS).clamp(1, 4),
        0 => 1,
        count => count,
    };
    // Of no rows too, so that matrices can be cut by it.
    batch.div_ceil(count).next_multiple_of(gemm::TALL).max(gemm::TALL)
}

/// Cuts matrices into blocks of rows: for each block, its part of every matrix. An empty matrix has empty parts.
fn blocks<'a>(matrices: impl IntoIterator<Item = (&'a mut [f32], usize)>, batch: usize, rows: usize) -> Vec<Vec<&'a mut [f32]>> {
    let mut parts: Vec<_> = matrices.into_iter().map(|(values, cols)| values.chunks_mut(rows * cols.max(1))).collect();
    (0..batch.div_ceil(rows)).map(|_| parts.iter_mut().map(|part| part.next().unwrap_or_default()).collect()).collect()
}

/// Calls `work` for each task, on as many threads as there are if there is enough to do.
pub(super) fn share<T: Send>(tasks: Vec<T>, multiplications: usize, work: impl Fn(T) + Sync + Send) {
    if multiplications < WORTH_SHARING || tasks.len() < 2 {
        tasks.into_iter().for_each(work);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(work);
    }
}

fn multiplications(links: &[Link<Cpu>], batch: usize) -> usize {
    links.iter().map(|link| batch * link.inputs() * link.outputs()).sum()
}

/// Something made of each link's weight.
fn packed<T: Send>(links: &[Link<Cpu>], batch: usize, pack: impl Fn(&Link<Cpu>) -> T + Sync + Send) -> Vec<T> {
    if multiplications(links, batch) < WORTH_SHARING {
        links.iter().map(pack).collect()
    } else {
        links.par_iter().map(pack).collect()
    }
}

/// The numbers of some rows of a row-major matrix.
fn rows_of(values: &[f32], cols: usize, from: usize, rows: usize) -> &[f32] {
    &values[from * cols..(from + rows) * cols]
}

/// Fills `outputs`, and for each link with a mask its place in `masked`: the input after dropout, which the way back needs again.
fn forward(pool: &Pool, x: &[f32], batch: usize, links: &[Link<Cpu>], outputs: &mut [Buffer], masked: &mut [Buffer]) {
    let weights = packed(links, batch, |link| link.layer.weight.value.panels(pool));
    let work = multiplications(links, batch);
    let most = block_rows(batch, work);
    let outputs = blocks(outputs.iter_mut().zip(links).map(|(values, link)| (&mut **values, link.outputs())), batch, most);
    let masked = blocks(masked.iter_mut().zip(links).map(|(values, link)| (&mut **values, link.inputs())), batch, most);
    let tasks: Vec<_> = outputs.into_iter().zip(masked).enumerate().collect();
    share(tasks, work, |(block, (mut outputs, mut masked))| {
        let from = block * most;
        let rows = most.min(batch - from);
        for (place, link) in links.iter().enumerate() {
            let inputs = link.inputs();
            let (before, out) = outputs.split_at_mut(place);
            let mut input: &[f32] = match before.last() {
                Some(before) => before,
                None => rows_of(x, inputs, from, rows),
            };
            if let Some(mask) = &link.mask {
                kernels::mask(masked[place], input, rows_of(mask, inputs, from, rows), false);
                input = masked[place];
            }
            let finish = Finish { bias: Some(&link.layer.bias.value.values), relu: link.is_relu(), ..Finish::default() };
            multiply(out[0], input, rows, &weights[place], finish);
        }
    });
}

/// All that the way back through a run needs.
struct Back {
    pool: Pool,
    x: Var<Cpu>,
    links: Vec<Link<Cpu>>,
    /// What each link made.
    states: Vec<Var<Cpu>>,
    /// What each link with a mask read.
    masked: Vec<Buffer>,
}

impl Back {
    /// What a link reads, before its mask.
    fn source(&self, place: usize) -> &Var<Cpu> {
        if place == 0 { &self.x } else { &self.states[place - 1] }
    }

    fn run(self) {
        let batch = self.x.value.rows;
        // Nothing reaches links above the last state that somebody has used.
        let taken: Vec<Option<Buffer>> = self.states.iter().map(|state| state.value.take()).collect();
        let Some(last) = taken.iter().rposition(Option::is_some) else { return };
        // And nothing leads on below the first link whose output wants a gradient.
        let Some(first) = self.states.iter().position(|state| state.wanted).filter(|first| *first <= last) else { return };
        let target = |there, matrix: &HostMat| Target::of(there, &self.pool, batch * matrix.cols);
        let mut states: Vec<Target> = (self.states.iter().zip(taken).take(last + 1).skip(first))
            .map(|(state, there)| target(there, &state.value))
            .collect();
        let source = self.source(first);
        let mut end = source.wanted.then(|| target(source.value.take(), &source.value));
        self.states_back(first, &mut states, end.as_mut());
        self.weights_back(first, &states);
        if let Some(end) = end {
            source.value.give(end.buffer);
        }
    }

    /// Gradients of the states from `first` on, and of what the first link reads where there is an `end` for it.
    fn states_back(&self, first: usize, states: &mut [Target], end: Option<&mut Target>) {
        let batch = self.x.value.rows;
        let links = &self.links[first..first + states.len()];
        // Whether the gradient from above overwrites; of the last state there is nothing above.
        let mut fresh: Vec<bool> = states.iter().map(|state| state.fresh).collect();
        fresh.insert(0, end.as_ref().is_some_and(|end| end.fresh));
        let weights = packed(links, batch, |link| link.layer.weight.value.transposed_panels(&self.pool));
        let states = states.iter_mut().zip(links).map(|(state, link)| (&mut *state.buffer, link.outputs()));
        let end = end.map(|end| (&mut *end.buffer, links[0].inputs()));
        let leads_on = end.is_some();
        let matrices: Vec<_> = end.into_iter().chain(states).collect();
        let work = multiplications(links, batch);
        let most = block_rows(batch, work);
        let tasks: Vec<_> = blocks(matrices, batch, most).into_iter().enumerate().collect();
        share(tasks, work, |(block, mut gradients)| {
            let from = block * most;
            let rows = most.min(batch - from);
            // `gradients` begins with that of the first link's input, if it is wanted.
            let shift = usize::from(leads_on);
            let result = |place: usize| {
                let state = &self.states[first + place].value;
                links[place].is_relu().then(|| rows_of(&state.values, state.cols, from, rows))
            };
            if let (Some(gate), Some(g)) = (result(links.len() - 1), gradients.last_mut()) {
                kernels::gate(g, gate);
            }
            for (place, link) in links.iter().enumerate().rev() {
                let (below, above) = gradients.split_at_mut(place + shift);
                let Some(below) = below.last_mut() else { break };
                let inputs = link.inputs();
                let g: &[f32] = above[0];
                // What reaches a state is complete here, so it goes through that state's ReLU at once.
                let gate = place.checked_sub(1).and_then(result);
                let add = !fresh[place];
                match &link.mask {
                    None => multiply(below, g, rows, &weights[place], Finish { add, gate, ..Finish::default() }),
                    Some(mask) => {
                        let mut product = self.pool.take(rows * inputs);
                        multiply(&mut product, g, rows, &weights[place], Finish::default());
                        kernels::mask(below, &product, rows_of(mask, inputs, from, rows), add);
                        if let Some(gate) = gate {
                            kernels::gate(below, gate);
                        }
                    }
                }
            }
        });
    }

    /// Gradients of weights and biases.
    fn weights_back(&self, first: usize, states: &[Target]) {
        let batch = self.x.value.rows;
        let links = &self.links[first..first + states.len()];
        let mut targets: Vec<(usize, Target, &HostMat)> = Vec::new();
        for (place, link) in links.iter().enumerate() {
            for part in [&link.layer.weight, &link.layer.bias] {
                if part.wanted {
                    let target = Target::of(part.value.take(), &self.pool, part.value.rows * part.value.cols);
                    targets.push((place, target, &part.value));
                }
            }
        }
        let mut tasks = Vec::new();
        for (place, target, matrix) in &mut targets {
            let (link, gradient) = (&links[*place], &*states[*place].buffer);
            let is_bias = std::ptr::eq(*matrix, &link.layer.bias.value);
            let rows_a_task = if is_bias { 1 } else { WEIGHT_ROWS };
            let fresh = target.fresh;
            for (chunk, part) in target.buffer.chunks_mut(rows_a_task * link.outputs()).enumerate() {
                tasks.push((first + *place, is_bias, chunk * rows_a_task, fresh, gradient, part));
            }
        }
        share(tasks, multiplications(links, batch), |(place, is_bias, from, fresh, gradient, part)| {
            let link = &self.links[place];
            let outputs = link.outputs();
            if is_bias {
                if fresh {
                    part.fill(0.0);
                }
                kernels::add_rows(part, gradient);
                return;
            }
            let input: &[f32] = if link.mask.is_some() { &self.masked[place] } else { &self.source(place).value.values };
            let input = Operand::new(input, batch, link.inputs()).transposed().rows(from, part.len() / outputs);
            multiply_deep(part, input, Operand::new(gradient, batch, outputs), !fresh, &self.pool);
        });
        for (_, target, matrix) in targets {
            matrix.give(target.buffer);
        }
    }
}
