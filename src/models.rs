//! Models of hand-written threading, under many schedules: `shuttle` chooses the next thread at each lock, wait,
//! notification and atomic. The code under test is the real one, over [`crate::sync`]. A model is the world around it.
//!
//! `cargo test --lib --features models models::`. A schedule that fails is printed and can be run again (`shuttle::replay`).
//! What `shuttle` does not try: weak memory orderings, and time-outs (see [`crate::sync`]).

mod clock;
mod group;
mod hub;
mod reads;

use headwater_log::partition::Limits;
use headwater_log::segment::LogId;
use headwater_log::vfs::model::ModelFs;
use headwater_log::{Log, Settings};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::path::Path;
use std::sync::Arc;

const SEED: u64 = 13;

/// Runs `model` under many schedules: `HEADWATER_MODEL_SCHEDULES`, or `schedules`. Half of them are random; in the others
/// each thread goes on until it has to wait, but for a few moments at which another one goes first.
fn check(schedules: usize, model: fn()) {
    let schedules = match std::env::var("HEADWATER_MODEL_SCHEDULES") {
        Ok(wanted) => wanted.parse().expect("a number of schedules"),
        Err(_) => schedules,
    };
    fn run(scheduler: impl Scheduler + 'static, model: fn()) {
        let mut config = Config::new();
        // Opening a log takes more than the 32 KiB that there are by default.
        config.stack_size = 1 << 20;
        Runner::new(scheduler, config).run(model);
    }
    run(RandomScheduler::new_from_seed(SEED, schedules.div_ceil(2)), model);
    run(PctScheduler::new_from_seed(SEED, 3, schedules.div_ceil(2)), model);
}

/// An empty log, in memory.
fn log(vfs: &ModelFs, parts: u32, workers: u32) -> Log {
    let limits = Limits { segment_bytes: 100_000, buffer_bytes: 5_000, block_bytes: 400, piece_bytes: 1_000 };
    let settings = Settings { id: LogId([7; 16]), epoch: 1, parts, workers, limits };
    Log::open(Arc::new(vfs.clone()), Path::new("log"), &settings).unwrap()
}
