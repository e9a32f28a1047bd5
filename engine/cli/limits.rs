//! What a run may use: as typed, else what the machine has. And whether that is enough for every stage.

use clap::Args;

use super::Failure;
use crate::{
    exec::{Limits, demand},
    plan::{self, Plan},
    source::one_of,
    stage::{Device, Gpu},
    stages::StageSpec,
};

/// What all stages together may use.
#[derive(Clone, Debug, Args)]
pub struct LimitArgs {
    /// Cores all stages together may use [default: all].
    #[arg(short = 'j', long = "jobs", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Memory that stages which name theirs may use together, such as 8GiB [default: the machine's].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// GPUs all stages together may use [default: those in CUDA_VISIBLE_DEVICES, else the machine's].
    #[arg(long, value_name = "N")]
    gpus: Option<u16>,
    /// Another size for a pool of the manifest; may be repeated.
    #[arg(long = "pool", value_name = "NAME=N", value_parser = pool)]
    pools: Vec<(String, u64)>,
}

impl LimitArgs {
    /// The limits of a run of `plan`.
    pub fn of(&self, plan: &Plan<StageSpec>, wanted: &[bool], device: Device) -> Result<Limits, Failure> {
        let mut pools: Vec<u64> = plan.pools.values().copied().collect();
        for (name, size) in &self.pools {
            let Some(place) = plan.pools.get_index_of(name) else {
                let help = one_of(name, plan.pools.keys().map(String::as_str));
                let help = help.unwrap_or_else(|| "this manifest declares no pools".to_owned());
                return Err(Failure::Wrong(format!("--pool {name}={size}: no pool is called `{name}`: {help}")));
            };
            pools[place] = *size;
        }
        let limits = Limits {
            cores: self.jobs.map_or_else(available_cores, usize::from),
            memory: self.memory.unwrap_or_else(available_memory),
            gpus: self.gpus(visible_gpus())?,
            pools,
        };
        let short: Vec<String> =
            (0..wanted.len()).filter(|index| wanted[*index]).filter_map(|index| too_much(plan, index, device, &limits)).collect();
        match short.as_slice() {
            [] => Ok(limits),
            [first] => Err(Failure::Wrong(first.clone())),
            [first, rest @ ..] => Err(Failure::Wrong(format!("{first}\nand {} more want too much", rest.len()))),
        }
    }

    fn gpus(&self, mut visible: Vec<Gpu>) -> Result<Vec<Gpu>, Failure> {
        let Some(wanted) = self.gpus.map(usize::from) else { return Ok(visible) };
        // Where none can be seen, the user may know of some that are no NVIDIA's.
        if visible.is_empty() {
            visible = (0..wanted).map(|ordinal| Gpu { ordinal, name: ordinal.to_string() }).collect();
        }
        if visible.len() < wanted {
            return Err(Failure::Wrong(format!("--gpus {wanted}: this process sees {}", visible.len())));
        }
        visible.truncate(wanted);
        Ok(visible)
    }
}

/// Where a stage wants more GPUs, or more of a pool, than there can ever be: this stage would never begin.
fn too_much(plan: &Plan<StageSpec>, index: usize, device: Device, limits: &Limits) -> Option<String> {
    let instance = &plan.instances[index];
    let place = format!("{}: `{}` wants", plan.sources.place(instance.at), instance.name);
    if let Some(gpus) = instance.resources.gpus.filter(|gpus| *gpus > limits.gpus.len()) {
        let there = limits.gpus.len();
        return Some(format!("{place} {gpus} GPUs and {there} are there: lower `resources.gpus`, or say how many with --gpus"));
    }
    demand(instance, device).pools.iter().find(|(pool, amount)| *amount > limits.pools[*pool]).map(|(pool, amount)| {
        let (name, size) = (plan.pools.get_index(*pool).map_or("", |(name, _)| name), limits.pools[*pool]);
        format!("{place} {amount} of pool `{name}`, which holds {size}: enlarge the pool, there or with --pool {name}={amount}")
    })
}

/// The GPUs this process sees.
fn visible_gpus() -> Vec<Gpu> {
    let named = |names: Vec<String>| names.into_iter().enumerate().map(|(ordinal, name)| Gpu { ordinal, name }).collect();
    if let Some(list) = std::env::var_os("CUDA_VISIBLE_DEVICES") {
        return named(listed(&list.to_string_lossy()));
    }
    let device = |file: std::fs::DirEntry| {
        let number = file.file_name().to_str()?.strip_prefix("nvidia")?.to_owned();
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
    };
    let files = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    named((0..files.filter_map(device).count()).map(|number| number.to_string()).collect())
}

/// The devices in a value of `CUDA_VISIBLE_DEVICES`. As CUDA reads it, the first that is none ends the list.
fn listed(list: &str) -> Vec<String> {
    let device = |name: &&str| !name.is_empty() && !name.starts_with('-');
    list.split(',').map(str::trim).take_while(device).map(str::to_owned).collect()
}

/// What limits depend on beside the manifest and the call, as one text.
pub fn machine() -> String {
    format!("{} {} {:?}", available_cores(), available_memory(), visible_gpus())
}

/// The machine's memory in bytes; without limit where the system does not say.
fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024))
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn size(text: &str) -> Result<u64, String> {
    plan::bytes(text).ok_or_else(|| "write a number and B, KB, MB, GB, KiB, MiB or GiB: 8GiB".to_owned())
}

fn pool(text: &str) -> Result<(String, u64), String> {
    let parts = text.split_once('=').and_then(|(name, size)| Some((name.trim().to_owned(), size.trim().parse().ok()?)));
    parts.filter(|(_, size)| *size > 0).ok_or_else(|| "write the pool's name and a whole number from 1: api=4".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visible_devices_are_read_as_cuda_reads_them() {
        assert_eq!(listed("2, 0"), ["2", "0"]);
        assert_eq!(listed("0,-1,1"), ["0"]);
        assert_eq!(listed("GPU-8932f937,MIG-x"), ["GPU-8932f937", "MIG-x"]);
        assert!(listed("").is_empty());
    }

    #[test]
    fn fewer_gpus_may_be_used_than_are_seen_but_not_more() {
        let seen = |names: &[&str]| -> Vec<Gpu> {
            names.iter().enumerate().map(|(ordinal, name)| Gpu { ordinal, name: (*name).to_owned() }).collect()
        };
        let limits = |gpus| LimitArgs { jobs: None, memory: None, gpus, pools: Vec::new() };
        let names = |gpus, visible: &[&str]| -> Option<Vec<String>> {
            limits(gpus).gpus(seen(visible)).ok().map(|gpus| gpus.into_iter().map(|gpu| gpu.name).collect())
        };
        assert_eq!(names(None, &["3", "5"]), Some(vec!["3".to_owned(), "5".to_owned()]));
        assert_eq!(names(Some(1), &["3", "5"]), Some(vec!["3".to_owned()]));
        assert_eq!(names(Some(3), &["3", "5"]), None);
        assert_eq!(names(Some(2), &[]), Some(vec!["0".to_owned(), "1".to_owned()]));
    }
}
