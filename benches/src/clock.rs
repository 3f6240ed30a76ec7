//! Wall time, CPU time and memory of this process.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Seconds that passed, and seconds of CPU that all threads took meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    pub wall: f64,
    pub cpu: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    cpu: f64,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { started: Instant::now(), cpu: cpu() }
    }

    pub fn took(&self) -> Took {
        Took { wall: self.started.elapsed().as_secs_f64(), cpu: cpu() - self.cpu }
    }
}

impl Took {
    /// Microseconds of CPU per item.
    pub fn cpu_us(&self, items: usize) -> f64 {
        self.cpu * 1e6 / items.max(1) as f64
    }

    /// Microseconds of wall time per item.
    pub fn wall_us(&self, items: usize) -> f64 {
        self.wall * 1e6 / items.max(1) as f64
    }
}

/// The one with the median CPU time.
pub fn median(mut runs: Vec<Took>) -> Took {
    runs.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    runs[runs.len() / 2]
}

/// Runs `work` this often and returns the median; the value of the last run keeps the optimiser honest.
pub fn repeat<R>(runs: usize, mut work: impl FnMut() -> R) -> (Took, R) {
    let mut took = Vec::new();
    loop {
        let clock = Clock::start();
        let value = std::hint::black_box(work());
        took.push(clock.took());
        if took.len() >= runs {
            return (median(took), value);
        }
    }
}

/// Seconds of CPU that this process has taken.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident bytes of this process now.
pub fn resident() -> usize {
    status("VmRSS:")
}

/// The most that was ever resident.
pub fn peak() -> usize {
    status("VmHWM:")
}

/// 0 where there is no `/proc`.
fn status(key: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}
