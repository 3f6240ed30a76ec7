//! A log in use: takes steps, crashes, is opened again.

use super::check;
use super::expected::{Expected, Low, Records, block, payload};
use headwater::queue::control::Control;
use headwater::queue::numbers::SourceNumber;
use headwater_log::error::LogError;
use headwater_log::output::Retention;
use headwater_log::partition::{Limits, Partition};
use headwater_log::remap::{Step, Uppers};
use headwater_log::segment::LogId;
use headwater_log::vfs::SyncSite;
use headwater_log::vfs::model::{Crash, ModelFs, Rng};
use headwater_log::{CONTROL, Log, QUEUE, Settings};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub const ROOT: &str = "log";
const PARTS: u32 = 2;

/// The end of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    Done,
    /// The process is gone, or has to go.
    Stopped,
}

impl Ended {
    pub fn done(self) -> Result<(), String> {
        if self == Ended::Done { Ok(()) } else { Err("the log stopped by itself".into()) }
    }
}

/// What is wrong with a log on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It leaves out a sync.
    Sync(SyncSite),
    /// Ticks are published that nothing says the contents of.
    Steps,
    /// Ticks are released that are durable in the outputs alone.
    Retention,
}

pub struct World {
    pub fs: ModelFs,
    pub log: Option<Log>,
    pub expected: Expected,
    epoch: u64,
    workers: u32,
    now_ms: i64,
    rng: Rng,
    broken: Option<Broken>,
    /// Of the ticks that this process has bound.
    steps: BTreeMap<u64, Step>,
}

/// Turns errors into what a caller makes of them: `Some` value, `None` for lack of space.
enum Call<T> {
    Ok(T),
    Full,
}

macro_rules! call {
    ($result:expr) => {
        match $result {
            Ok(value) => Call::Ok(value),
            Err(LogError::Full(_)) => Call::Full,
            Err(LogError::Poisoned(_)) => return Ok(Ended::Stopped),
            Err(error) => return Err(format!("{error} ({error:?})")),
        }
    };
}

impl World {
    pub fn new(fs: ModelFs, script: u64, broken: Option<Broken>) -> World {
        let queue = vec![Records::default(); PARTS as usize];
        let expected = Expected { queue, ..Expected::default() };
        let (rng, steps) = (Rng::new(!script), BTreeMap::new());
        World { fs, log: None, expected, epoch: 0, workers: 2, now_ms: 1_000, rng, broken, steps }
    }

    /// The same, crashed, on a file system of its own.
    pub fn fork(&self, seed: u64) -> World {
        World {
            fs: self.fs.fork(seed),
            log: None,
            expected: self.expected.clone(),
            epoch: self.epoch,
            workers: self.workers,
            now_ms: self.now_ms,
            rng: Rng::new(seed),
            broken: self.broken,
            steps: BTreeMap::new(),
        }
    }

    pub fn crash(&mut self, crash: Crash) {
        self.fs.crash(crash);
        self.log = None;
    }

    pub fn open(&mut self) -> Result<Ended, String> {
        self.log = None;
        self.steps.clear();
        self.epoch += 1;
        let limits = Limits { segment_bytes: 1_200, buffer_bytes: 300, block_bytes: 400, piece_bytes: 1_000 };
        let settings = Settings { id: LogId([7; 16]), epoch: self.epoch, parts: PARTS, workers: self.workers, limits };
        match call!(Log::open(Arc::new(self.fs.clone()), Path::new(ROOT), &settings)) {
            Call::Ok(log) => self.log = Some(log),
            // The caller tries again when there is space.
            Call::Full => return self.open(),
        }
        Ok(Ended::Done)
    }

    pub fn check(&mut self) -> Result<(), String> {
        let log = self.log.as_ref().ok_or("the log is not open")?;
        check::check(log, &mut self.expected)
    }

    /// Returns the recovered offsets and ticks, from and to.
    pub fn recovered(&self) -> Vec<(u64, u64)> {
        let Some(log) = &self.log else { return Vec::new() };
        let extent = |partition: &Partition| (partition.low(), partition.durable());
        let mut all: Vec<_> = log.queue.iter().map(|part| extent(&part.partition())).collect();
        all.push(extent(&log.control));
        all.push((log.remap.low(), log.remap.next()));
        all.push((log.outputs.oldest(), log.outputs.upper()));
        all
    }

    pub fn start_and_step(&mut self, steps: usize) -> Result<Ended, String> {
        if self.open()? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        self.step(steps)
    }

    /// Takes steps until one stops the process.
    pub fn step(&mut self, steps: usize) -> Result<Ended, String> {
        for _ in 0..steps {
            if self.one_step()? == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Done)
    }

    fn one_step(&mut self) -> Result<Ended, String> {
        self.now_ms += self.rng.below(30) as i64 - 5;
        match self.rng.below(100) {
            0..20 => self.append(),
            20..30 => self.commit(),
            30..45 => self.acknowledge(),
            45..52 => self.control(),
            52..68 => self.mint(),
            68..88 => self.publish(),
            88..92 => self.release(),
            92..97 => self.retain(),
            _ => self.restart(),
        }
    }

    fn append(&mut self) -> Result<Ended, String> {
        let part = self.rng.below(PARTS.into()) as usize;
        for _ in 0..1 + self.rng.below(3) {
            let bytes = payload(&mut self.rng, 300);
            let partition = &mut *open(&mut self.log).queue[part].partition();
            if append(partition, &mut self.expected.queue[part], self.now_ms, bytes)? == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Done)
    }

    /// Commits records of several callers. Each caller gets the outcome of its own records, and can rely on an answer that
    /// there is no space.
    pub fn commit(&mut self) -> Result<Ended, String> {
        let part = self.rng.below(PARTS.into()) as usize;
        let payloads: Vec<_> = (0..1 + self.rng.below(5)).map(|_| payload(&mut self.rng, 300)).collect();
        let partition = &mut *open(&mut self.log).queue[part].partition();
        let expected = &mut self.expected.queue[part];
        let base = partition.next();
        for (offset, payload) in (base..).zip(&payloads) {
            expected.append(offset, self.now_ms, payload.clone());
        }
        let commit = partition.commit(payloads.iter().map(|payload| (self.now_ms, payload.as_slice())));
        for (n, offset) in (0..payloads.len() as u64).zip(base..) {
            match call!(commit.offset(n)) {
                Call::Ok(given) if given != offset => return Err(format!("offset {given} instead of {offset}")),
                Call::Ok(_) => expected.acknowledged = offset + 1,
                Call::Full => expected.refuse(offset),
            }
        }
        Ok(Ended::Done)
    }

    fn acknowledge(&mut self) -> Result<Ended, String> {
        let part = self.rng.below(PARTS.into()) as usize;
        if let Call::Ok(upper) = call!(open(&mut self.log).queue[part].partition().sync()) {
            self.expected.queue[part].acknowledged = upper;
        }
        Ok(Ended::Done)
    }

    fn control(&mut self) -> Result<Ended, String> {
        let record = Control::Source { source: SourceNumber(self.rng.below(9) as u16), name: "clicks".repeat(4) };
        let control = &mut open(&mut self.log).control;
        if append(control, &mut self.expected.control, self.now_ms, record.encode())? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
        if let Call::Ok(upper) = call!(control.sync()) {
            self.expected.control.acknowledged = upper;
        }
        Ok(Ended::Done)
    }

    fn mint(&mut self) -> Result<Ended, String> {
        let log = open(&mut self.log);
        let mut uppers: Uppers =
            (0..PARTS).map(|part| ((QUEUE, part), log.queue[part as usize].partition().durable())).collect();
        uppers.insert((CONTROL, 0), log.control.durable());
        uppers.insert((3, 1), log.remap.next() * 2);
        let now_ms = log.remap.last().map_or(self.now_ms, |last| last.now_ms.max(self.now_ms));
        let tick = log.remap.next() as usize;
        self.expected.ticks.resize_with(self.expected.ticks.len().max(tick + 1), Vec::new);
        self.expected.ticks[tick].push((now_ms, uppers.clone()));
        if let Call::Ok(binding) = call!(log.bind(self.now_ms, uppers)) {
            if binding.tick as usize != tick {
                return Err(format!("tick {} instead of {tick}", binding.tick));
            }
            self.steps.insert(tick as u64, log.remap.step().ok_or("a tick has no step")?.clone());
            // As before a snapshot.
            if self.rng.below(3) == 0 {
                return self.settle();
            }
        }
        Ok(Ended::Done)
    }

    /// The ticks that are bound happen, whether or not they are published.
    fn settle(&mut self) -> Result<Ended, String> {
        let remap = &mut open(&mut self.log).remap;
        if let Call::Ok(()) = call!(remap.sync()) {
            self.expected.happened = remap.next();
        }
        Ok(Ended::Done)
    }

    /// A worker writes its next ticks, if they are bound, and sometimes syncs them: those that all have happen with that.
    fn publish(&mut self) -> Result<Ended, String> {
        let worker = self.rng.below(self.workers.into()) as usize;
        let (ticks, synced) = (1 + self.rng.below(3), self.rng.below(3) > 0);
        self.write(worker, ticks, synced)
    }

    /// Writes up to this number of ticks.
    fn write(&mut self, worker: usize, ticks: u64, synced: bool) -> Result<Ended, String> {
        let log = open(&mut self.log);
        for _ in 0..ticks {
            let tick = log.outputs.next(worker);
            // Ticks of the outputs are never behind what the remap keeps: see `release`.
            if tick >= log.remap.next() {
                break;
            }
            let now_ms = self.expected.ticks[tick as usize].last().ok_or("a tick was never bound")?.0;
            let step = self.steps.get(&tick).filter(|_| self.broken != Some(Broken::Steps));
            let block = block(tick, now_ms, worker, self.workers as usize);
            // Some ticks are large: they have blocks of their own, in several segments.
            match tick % 3 {
                1 => call!(log.outputs.append_large(worker, &block, step)),
                _ => call!(log.outputs.append(worker, &block, step)),
            };
        }
        if synced && matches!(call!(log.outputs.sync(worker)), Call::Ok(_)) {
            let upper = log.outputs.upper();
            for tick in self.expected.upper..upper {
                self.expected.published.insert(tick, self.workers as usize);
            }
            self.expected.upper = upper;
            self.expected.happened = self.expected.happened.max(upper);
        }
        Ok(Ended::Done)
    }

    /// Nothing before a tick that is published will be replayed.
    fn release(&mut self) -> Result<Ended, String> {
        let from = self.expected.upper.saturating_sub(self.rng.below(3));
        let Some(before) = from.checked_sub(1) else { return Ok(Ended::Done) };
        let log = open(&mut self.log);
        if before < log.remap.low() {
            return Ok(Ended::Done);
        }
        let uppers = self.expected.ticks[before as usize].last().ok_or("a tick was never bound")?.1.clone();
        let ask = |low: &mut Low, to: u64| low.asked = low.asked.max(to);
        ask(&mut self.expected.remap_low, before);
        for part in 0..PARTS {
            ask(&mut self.expected.queue[part as usize].low, uppers[&(QUEUE, part)]);
        }
        if let Call::Ok(()) = call!(log.release(from)) {
            let reach = |low: &mut Low, to: u64| low.reached = low.reached.max(to);
            reach(&mut self.expected.remap_low, before);
            for part in 0..PARTS {
                reach(&mut self.expected.queue[part as usize].low, uppers[&(QUEUE, part)]);
            }
        }
        Ok(Ended::Done)
    }

    fn retain(&mut self) -> Result<Ended, String> {
        let retention = Retention { bytes: 1_500 + self.rng.below(4_000), ms: 100 + self.rng.below(400) as i64 };
        let log = open(&mut self.log);
        self.expected.output_low.asked = log.outputs.upper();
        let durable = if self.broken == Some(Broken::Retention) { u64::MAX } else { log.remap.durable() };
        if let Call::Ok(oldest) = call!(log.outputs.retain(self.now_ms, retention, durable)) {
            self.expected.output_low.reached = oldest;
        }
        Ok(Ended::Done)
    }

    /// Everything that was appended is acknowledged, all ticks are published.
    pub fn acknowledge_all(&mut self) -> Result<Ended, String> {
        for part in 0..PARTS as usize {
            if let Call::Ok(upper) = call!(open(&mut self.log).queue[part].partition().sync()) {
                self.expected.queue[part].acknowledged = upper;
            }
        }
        for worker in 0..self.workers as usize {
            if self.write(worker, u64::from(u32::MAX), true)? == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
        }
        self.settle()
    }

    /// The process ends in good order, and another one begins.
    fn restart(&mut self) -> Result<Ended, String> {
        self.workers = 1 + self.rng.below(3) as u32;
        let ended = self.open()?;
        if ended == Ended::Done {
            self.check()?;
        }
        Ok(ended)
    }
}

fn open(log: &mut Option<Log>) -> &mut Log {
    log.as_mut().expect("steps are taken with an open log")
}

fn append(partition: &mut Partition, records: &mut Records, now_ms: i64, bytes: Vec<u8>) -> Result<Ended, String> {
    let offset = partition.next();
    // Before the call: whatever becomes of it, the record may turn up from here on. A rotation may make room at a lower
    // offset first, but only where nothing was dropped.
    records.append(offset, now_ms, bytes.clone());
    match call!(partition.append(now_ms, &bytes)) {
        Call::Ok(given) if given != offset => Err(format!("offset {given} instead of {offset}")),
        _ => Ok(Ended::Done),
    }
}
