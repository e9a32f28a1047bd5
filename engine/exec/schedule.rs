//! Which of the queued begins next, and what it may use. Knows amounts, ranks and places in the plan; neither stages nor time.
//!
//! The rule: the first by rank that fits into what is free. One that does not fit may be overtaken by those after it, so that nothing
//! stands idle, but only [`PATIENCE`] times: then what it lacks is kept for it. So a stage that needs much begins, however many that
//! need little are queued after it; and where nothing runs all is free, so the first by rank begins and nothing waits for ever.
//!
//! Those that take the same are queued together, for where one does not fit, no other of them does: a decision looks at one of each
//! such group and costs O(groups + log n).

use std::collections::{BTreeMap, BTreeSet};

use crate::stage::Gpu;

/// How often one that does not fit is overtaken before what it lacks is kept for it.
const PATIENCE: u32 = 32;

/// What all stages together may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Cores.
    pub cores: usize,
    /// Bytes of memory that stages which name theirs may use together.
    pub memory: u64,
    /// GPUs.
    pub gpus: Vec<Gpu>,
    /// Of each of the plan's pools, in its order.
    pub pools: Vec<u64>,
}

/// What one stage takes while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Cores, at least one.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// GPUs.
    pub gpus: usize,
    /// Of pools, by place, how much.
    pub pools: Vec<(usize, u64)>,
}

const CORES: usize = 0;
const MEMORY: usize = 1;
const GPUS: usize = 2;
const FIRST_POOL: usize = 3;

/// How much of each resource: cores, memory, GPUs, then each pool.
type Amounts = Vec<u64>;

/// The queue, and what is free.
#[derive(Debug)]
pub struct Schedule {
    free: Amounts,
    /// The devices behind the free GPUs, the lowest first.
    devices: BTreeMap<usize, Gpu>,
    groups: Vec<Group>,
    /// The group of each instance.
    group_of: Vec<usize>,
    rank_of: Vec<usize>,
    /// Instances by rank.
    ranked: Vec<usize>,
    /// The first of each group that has any queued: rank and group.
    heads: BTreeSet<(usize, usize)>,
    /// How often each of the queued was overtaken, by rank.
    overtaken: BTreeMap<usize, u32>,
}

/// Instances that take the same.
#[derive(Debug)]
struct Group {
    takes: Amounts,
    /// Ranks of those queued.
    queued: BTreeSet<usize>,
}

impl Schedule {
    /// An empty queue. `demands` are those of all instances; one that wants more than there is gets all there is. `order` has the
    /// place of every instance once, the one to prefer first.
    pub fn new(limits: &Limits, demands: &[Demand], order: Vec<usize>) -> Self {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let mut free = vec![number(limits.cores.max(1)), limits.memory, number(limits.gpus.len())];
        free.extend(&limits.pools);
        let mut known: BTreeMap<Amounts, usize> = BTreeMap::new();
        let mut groups = Vec::new();
        let mut group_of = Vec::new();
        for demand in demands {
            let mut takes = vec![0; free.len()];
            takes[CORES] = number(demand.cores.max(1));
            takes[MEMORY] = demand.memory;
            takes[GPUS] = number(demand.gpus);
            for (pool, amount) in &demand.pools {
                takes[FIRST_POOL + pool] = *amount;
            }
            takes.iter_mut().zip(&free).for_each(|(takes, all)| *takes = (*takes).min(*all));
            group_of.push(*known.entry(takes).or_insert_with_key(|takes| {
                groups.push(Group { takes: takes.clone(), queued: BTreeSet::new() });
                groups.len() - 1
            }));
        }
        let mut rank_of = vec![0; demands.len()];
        order.iter().enumerate().for_each(|(rank, index)| rank_of[*index] = rank);
        let devices = limits.gpus.iter().cloned().enumerate().collect();
        Self { free, devices, groups, group_of, rank_of, ranked: order, heads: BTreeSet::new(), overtaken: BTreeMap::new() }
    }

    /// Queues an instance.
    pub fn push(&mut self, index: usize) {
        let (rank, group) = (self.rank_of[index], self.group_of[index]);
        let queued = &mut self.groups[group].queued;
        let first = queued.first().copied();
        queued.insert(rank);
        if first.is_none_or(|first| rank < first) {
            first.map(|first| self.heads.remove(&(first, group)));
            self.heads.insert((rank, group));
        }
    }

    /// Takes an instance out of the queue, if it is there, without beginning it.
    pub fn remove(&mut self, index: usize) {
        let (rank, group) = (self.rank_of[index], self.group_of[index]);
        let queued = &mut self.groups[group].queued;
        if queued.remove(&rank) && self.heads.remove(&(rank, group)) {
            self.heads.extend(queued.first().map(|next| (*next, group)));
        }
        self.overtaken.remove(&rank);
    }

    /// Takes the next one that can begin out of the queue, with what it uses out of what is free.
    pub fn next(&mut self) -> Option<Begun> {
        // Everything takes a core.
        if self.free[CORES] == 0 {
            return None;
        }
        let mut kept = vec![false; self.free.len()];
        let mut waiting = Vec::new();
        let (rank, group) = *self.heads.iter().find(|(rank, group)| {
            let takes = &self.groups[*group].takes;
            let lacks: Vec<usize> = (0..takes.len()).filter(|at| takes[*at] > self.free[*at]).collect();
            if !lacks.is_empty() {
                if self.overtaken.get(rank).is_some_and(|times| *times >= PATIENCE) {
                    lacks.iter().for_each(|at| kept[*at] = true);
                }
                waiting.push((*rank, lacks));
                return false;
            }
            takes.iter().zip(&kept).all(|(takes, kept)| *takes == 0 || !kept)
        })?;
        let Group { takes, queued } = &mut self.groups[group];
        for (behind, lacks) in waiting {
            if lacks.iter().any(|at| takes[*at] > 0) {
                *self.overtaken.entry(behind).or_default() += 1;
            }
        }
        self.overtaken.remove(&rank);
        self.heads.remove(&(rank, group));
        queued.remove(&rank);
        self.heads.extend(queued.first().map(|next| (*next, group)));
        self.free.iter_mut().zip(&*takes).for_each(|(free, takes)| *free -= takes);
        let devices: Vec<usize> = self.devices.keys().take(usize::try_from(takes[GPUS]).unwrap_or(0)).copied().collect();
        let gpus = devices.iter().filter_map(|at| Some((*at, self.devices.remove(at)?))).collect();
        let cores = usize::try_from(takes[CORES]).unwrap_or(usize::MAX);
        Some(Begun { index: self.ranked[rank], cores, gpus })
    }

    /// Frees what one that began was using.
    pub fn end(&mut self, begun: Begun) {
        let takes = &self.groups[self.group_of[begun.index]].takes;
        self.free.iter_mut().zip(takes).for_each(|(free, takes)| *free += takes);
        self.devices.extend(begun.gpus);
    }
}

/// One that may begin, and what it was given.
#[derive(Debug)]
pub struct Begun {
    /// Its place in the plan.
    pub index: usize,
    /// Cores.
    pub cores: usize,
    gpus: Vec<(usize, Gpu)>,
}

impl Begun {
    /// Its GPUs.
    pub fn gpus(&self) -> Vec<Gpu> {
        self.gpus.iter().map(|(_, gpu)| gpu.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
