//! What a stage takes of the machine while it works inside this process: CPU time of its threads, and the most memory the process
//! had meanwhile. Stages that start processes of their own say it themselves.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::store::Usage;

/// The most memory seen so far while a stage works. The run's loop looks now and then, the stage's worker at both ends.
#[derive(Clone, Debug, Default)]
pub struct Peak(Arc<AtomicU64>);

impl Peak {
    /// Takes note of what the process has now, in bytes.
    pub fn saw(&self, bytes: u64) {
        self.0.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// Measures one stage from its begin to its end.
#[derive(Debug)]
pub struct Meter {
    peak: Peak,
    /// The process's own record before.
    record: Option<u64>,
}

impl Meter {
    /// Begins.
    pub fn begin(peak: &Peak) -> Self {
        let (now, record) = memory();
        now.into_iter().for_each(|bytes| peak.saw(bytes));
        Self { peak: peak.clone(), record }
    }

    /// What was taken until now by a stage whose threads are those of `pool`, which are its own and began with it.
    pub fn end(self, pool: &rayon::ThreadPool) -> Usage {
        let (now, record) = memory();
        now.into_iter().for_each(|bytes| self.peak.saw(bytes));
        // A new record was made meanwhile, so it is exact; else the most that was seen is all there is to say.
        record.filter(|_| record > self.record).into_iter().for_each(|bytes| self.peak.saw(bytes));
        let peak = self.peak.0.load(Ordering::Relaxed);
        let cpu: Vec<f64> = pool.broadcast(|_| thread_seconds());
        Usage { cpu_seconds: Some(cpu.iter().sum()), peak_memory: Some(peak).filter(|bytes| *bytes > 0) }
    }
}

/// CPU seconds of the thread that asks.
fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Bytes that this process has in memory now, and the most it ever had; nothing where the system does not say.
pub fn memory() -> (Option<u64>, Option<u64>) {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    (field("VmRSS:"), field("VmHWM:"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

    use super::*;

    #[test]
    fn work_and_memory_of_a_stage_are_measured() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let peak = Peak::default();
        let meter = Meter::begin(&peak);
        let before = peak.0.load(Ordering::Relaxed);
        let kept = pool.install(|| {
            let mut numbers = vec![0_u64; 8 << 20];
            (0..4).for_each(|round| numbers.iter_mut().for_each(|n| *n = n.wrapping_mul(31).wrapping_add(round)));
            memory().0.into_iter().for_each(|bytes| peak.saw(bytes));
            numbers.iter().sum::<u64>()
        });
        let usage = meter.end(&pool);
        assert!(kept != 1 && usage.cpu_seconds.unwrap() > 0.0, "{usage:?}");
        assert!(before > 0 && usage.peak_memory.unwrap() >= 64 << 20, "{before} {usage:?}");
    }
}
