//! The output log: the published ticks, for readers that come later or are slow.
//!
//! The publisher of a process appends a block per tick to a partition of its own. Up to release 0.1.0 each worker did; both
//! are read, so a writer is called a worker here. How many there are may change at every start, so each start begins a new
//! **set** of partitions where the set before it ends:
//!
//! ```text
//! epoch 1, 2 workers  ████████████▒     ticks  0..12, both workers have them; what is torn or lone is in no set
//! epoch 2, 4 workers              ███   ticks 12..
//! ```
//! A tick that is too large for one block has several (`blocks`).

use super::error::LogError;
use super::partition::{Context, Full, Partition, Reader, Retired, lock};
use super::remap::Step;
use crate::Tick;
use blocks::LargeTicks;
use set::{Files, SetName};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

mod block;
mod blocks;
mod entry;
mod merge;
mod reader;
mod set;
mod tick;

pub use block::{Block, Canonical, RowStream, Rows, changes, consolidate, too_often};
pub use merge::{Merge, Union};
pub use reader::OutputReader;
pub use tick::{Piece, Pieces, SameKey, TickOutput};

/// The bounds of the output log. Whole segments are removed, so it keeps somewhat more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of all workers.
    pub bytes: u64,
    /// Milliseconds of the ticks' own clock.
    pub ms: i64,
}

/// The output log of all workers of a process.
///
/// - **Whole.** A tick can be read once every worker's block of it is durable; until then it is absent, also after a
///   crash, and is written again.
/// - **Once.** A tick that can be read is never written again.
/// - **Bounded.** However much a tick changes, it is written and read in blocks.
/// - **Retention** removes the oldest ticks; what is removed is [`LogError::Gone`], and never comes back.
#[derive(Debug)]
pub struct OutputLog {
    dir: PathBuf,
    /// Of earlier starts, oldest first.
    old: Mutex<Vec<Set>>,
    /// Of this start, by worker.
    current: Vec<Current>,
    base: Tick,
    /// See [`Limits`](super::partition::Limits).
    pub piece_bytes: usize,
}

/// The part of the output log that one start wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The first tick.
    pub base: Tick,
    /// Where the next one begins.
    pub end: Tick,
    /// Number of its writers.
    pub workers: usize,
}

/// The partition that this start writes, of one writer.
#[derive(Debug)]
struct Current {
    ticks: Mutex<Partition>,
    large: Arc<LargeTicks>,
}

/// The files of an earlier start.
#[derive(Debug)]
struct Set {
    base: Tick,
    /// Where the next set begins.
    end: Tick,
    workers: Vec<Worker>,
}

/// The files of one writer of an earlier start.
#[derive(Debug)]
struct Worker {
    ticks: Retired,
    large: Arc<LargeTicks>,
}

/// The reading ends of one worker.
#[derive(Clone)]
struct WorkerReader {
    ticks: Reader,
    large: Arc<LargeTicks>,
}

impl OutputLog {
    /// Opens the output log in the folder `dir` for `workers` workers. `start` is its first tick, should it be empty.
    ///
    /// # Errors
    /// As [`Partition::open`]; [`LogError::Foreign`] if a start had this epoch already; [`LogError::Corrupt`] if a
    /// worker's file is missing.
    pub fn open(context: &Context, dir: &Path, workers: u32, start: Tick) -> Result<OutputLog, LogError> {
        let names = set::list(context, dir)?;
        if let Some(last) = names.keys().map(|name| name.epoch).max().filter(|last| *last >= context.epoch) {
            let (ours, theirs) = (format!("epoch {}", context.epoch), format!("epoch {last}"));
            return Err(LogError::Foreign { dir: dir.to_path_buf(), ours, theirs });
        }
        let large = |name, worker| Arc::new(LargeTicks::new(context.clone(), dir.to_path_buf(), name, worker));
        // What is not needed goes last, when the folder has been synced with the set of this start in it: until then the
        // names of the others say where outputs begin.
        let (mut never_whole, mut released_sets) = (Vec::new(), Vec::new());
        let mut old = Vec::new();
        let mut base = start;
        let mut sets = names.into_iter().peekable();
        while let Some((name, present)) = sets.next() {
            let end = sets.peek().map(|(next, _)| next.base);
            if end == Some(name.base) {
                never_whole.push(present);
                continue;
            }
            // The next set was begun when this one was durable as far as that.
            let open = |(worker, files): (&u32, &Files)| {
                let place = name.place(dir, *worker);
                let ticks = match end {
                    Some(_) => Retired::open(context.clone(), place, &files.ticks)?,
                    None => Retired::recover(context.clone(), place, &files.ticks)?,
                };
                Ok(Worker { ticks, large: large(name, *worker) })
            };
            let workers = present.iter().map(open).collect::<Result<Vec<_>, LogError>>()?;
            let durable = workers.iter().map(|worker| worker.ticks.next()).min().unwrap_or(name.base);
            let whole = if workers.len() == name.workers as usize { durable } else { name.base };
            let released = |end| workers.iter().all(|worker| worker.ticks.low() >= end);
            let last = end.unwrap_or(whole);
            for (worker, files) in workers.iter().zip(present.values()) {
                worker.large.open(&files.blocks, worker.ticks.low(), last)?;
            }
            if end.is_some_and(released) {
                released_sets.push(workers);
                continue;
            }
            if let Some(end) = end.filter(|end| whole < *end) {
                let what = format!("the outputs of epoch {} end before tick {end}", name.epoch);
                return Err(LogError::corrupt(dir, 0, what));
            }
            base = last;
            old.push(Set { base: name.base, end: base, workers });
        }
        let name = SetName { base, epoch: context.epoch, workers };
        let open = |worker| {
            let ticks = Partition::recover(context.clone(), name.place(dir, worker), &[])?;
            Ok(Current { ticks: Mutex::new(ticks), large: large(name, worker) })
        };
        let current = (0..workers).map(open).collect::<Result<Vec<_>, LogError>>()?;
        never_whole.iter().try_for_each(|files| set::remove_all(context, dir, files))?;
        released_sets.into_iter().flatten().try_for_each(Worker::destroy)?;
        Ok(OutputLog {
            dir: dir.to_path_buf(),
            old: Mutex::new(old),
            current,
            base,
            piece_bytes: context.limits.piece_bytes,
        })
    }

    /// Returns the folder that it lies in.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends the block of a worker's next tick. It is durable after [`OutputLog::sync`], and with it the tick, if the
    /// `step` is its [`Remap::step`](super::remap::Remap::step).
    ///
    /// # Errors
    /// [`LogError::Refused`] if the tick is not the worker's next, or the block is too large; and as
    /// [`Partition::append`].
    pub fn append(&self, worker: usize, block: &Block, step: Option<&Step>) -> Result<(), LogError> {
        self.append_record(worker, block.tick, block.now_ms, block.encode(), step)
    }

    /// Appends a worker's next tick, which may have any number of rows: they are written as blocks, one after the other.
    /// It is durable after [`OutputLog::sync`], and with it the tick, as with [`OutputLog::append`].
    ///
    /// # Errors
    /// As [`OutputLog::append`], and those of `rows`. After any error, all of it has to be appended again.
    pub fn append_large(&self, worker: usize, rows: &dyn Canonical, step: Option<&Step>) -> Result<(), LogError> {
        let ((tick, now_ms), large) = (rows.tick(), &self.current[worker].large);
        self.check_next(worker, tick)?;
        let contents = large.write(rows)?;
        self.append_record(worker, tick, now_ms, contents.encode(), step)
    }

    fn append_record(
        &self,
        worker: usize,
        tick: Tick,
        now_ms: i64,
        entry: Vec<u8>,
        step: Option<&Step>,
    ) -> Result<(), LogError> {
        self.check_next(worker, tick)?;
        let record = match step {
            Some(step) => entry::with_step(step, &entry),
            None => entry,
        };
        lock(&self.current[worker].ticks).append(now_ms, &record).map(drop)
    }

    fn check_next(&self, worker: usize, tick: Tick) -> Result<(), LogError> {
        let next = self.next(worker);
        let refused = || LogError::Refused(format!("tick {tick} instead of {next}, the next of worker {worker}"));
        if tick == next { Ok(()) } else { Err(refused()) }
    }

    /// Makes a worker's blocks durable; gives its next tick.
    ///
    /// # Errors
    /// As [`Partition::sync`].
    pub fn sync(&self, worker: usize) -> Result<Tick, LogError> {
        lock(&self.current[worker].ticks).sync()
    }

    /// Returns the next tick of a worker.
    pub fn next(&self, worker: usize) -> Tick {
        lock(&self.current[worker].ticks).next()
    }

    /// Ticks below this one can be read, from [`OutputLog::oldest`] on.
    pub fn upper(&self) -> Tick {
        self.current.iter().map(|worker| lock(&worker.ticks).durable()).min().unwrap_or(self.base)
    }

    /// Returns the oldest tick that can be read; [`OutputLog::upper`] if there is none.
    pub fn oldest(&self) -> Tick {
        let low = |partitions: &mut dyn Iterator<Item = Tick>| partitions.max().unwrap_or(self.base);
        for set in lock(&self.old).iter() {
            let low = low(&mut set.workers.iter().map(|worker| worker.ticks.low()));
            if low < set.end {
                return low.max(set.base);
            }
        }
        low(&mut self.current.iter().map(|worker| lock(&worker.ticks).low()))
    }

    /// Returns the parts that earlier starts wrote, oldest first.
    pub fn earlier(&self) -> Vec<Kept> {
        let kept = |set: &Set| Kept { base: set.base, end: set.end, workers: set.workers.len() };
        lock(&self.old).iter().map(kept).collect()
    }

    /// Reads the published rows of a tick.
    ///
    /// # Errors
    /// [`LogError::Gone`], [`LogError::Refused`] if the tick is not whole yet, [`LogError::Corrupt`],
    /// [`LogError::Read`].
    pub fn tick(&self, tick: Tick) -> Result<TickOutput, LogError> {
        let (mut readers, _) = self.readers(tick)?;
        let read = reader::read(&mut readers, tick, tick + 1, self.piece_bytes)?.pop_front();
        read.ok_or_else(|| LogError::corrupt(&self.dir, tick, format!("tick {tick} is not there")))
    }

    /// By tick, from `from` on: its clock, and what made its record of the one before, unless that was durable before.
    ///
    /// # Errors
    /// As [`OutputLog::tick`].
    pub(super) fn steps(&self, from: Tick) -> Result<Vec<(i64, Option<Step>)>, LogError> {
        let (mut next, upper, mut steps) = (from, self.upper(), Vec::new());
        while next < upper {
            let (readers, end) = self.readers(next)?;
            let upto = upper.min(end);
            steps.resize((upto - from) as usize, (0, None));
            for mut reader in readers {
                reader.ticks.read(next, upto, |record| {
                    let (now_ms, step) = &mut steps[(record.offset - from) as usize];
                    *now_ms = record.received_ms;
                    *step = step.take().or_else(|| entry::step_of(record.payload));
                })?;
            }
            next = upto;
        }
        Ok(steps)
    }

    /// Returns the blocks of a tick, one per worker of its time, however large they are.
    ///
    /// # Errors
    /// As [`OutputLog::tick`].
    pub fn read(&self, tick: Tick) -> Result<Vec<Block>, LogError> {
        self.tick(tick)?.into_blocks()
    }

    /// Reads all of a tick, block by block.
    ///
    /// # Errors
    /// As [`OutputLog::tick`].
    pub fn verify(&self, tick: Tick) -> Result<(), LogError> {
        let output = self.tick(tick)?;
        output.collections().iter().try_for_each(|name| output.merged(name).try_for_each(|row| row.map(drop)))
    }

    /// Says why a tick could not be read to its end: retention may have removed it meanwhile.
    pub fn gone(&self, tick: Tick, error: LogError) -> LogError {
        let oldest = self.oldest();
        if tick < oldest { LogError::Gone { position: tick, oldest } } else { error }
    }

    /// Returns readers of the writers of `tick`, and the tick at which they ended.
    fn readers(&self, tick: Tick) -> Result<(Vec<WorkerReader>, Tick), LogError> {
        let (oldest, upper) = (self.oldest(), self.upper());
        if tick < oldest {
            return Err(LogError::Gone { position: tick, oldest });
        }
        if tick >= upper {
            return Err(LogError::Refused(format!("tick {tick} is not whole yet, {upper} is the next to be")));
        }
        let reader = |ticks, large: &Arc<LargeTicks>| WorkerReader { ticks, large: Arc::clone(large) };
        Ok(match lock(&self.old).iter().find(|set| tick < set.end) {
            Some(set) => {
                let of = |worker: &Worker| reader(worker.ticks.reader(), &worker.large);
                (set.workers.iter().map(of).collect(), set.end)
            }
            None => {
                let of = |worker: &Current| reader(lock(&worker.ticks).reader(), &worker.large);
                (self.current.iter().map(of).collect(), Tick::MAX)
            }
        })
    }

    /// Removes the oldest ticks until `retention` is kept, at `now_ms` of the ticks' clock; gives the oldest that is left.
    /// `durable`: the next tick whose record may be durable here alone, in the blocks. From it on all are kept.
    ///
    /// # Errors
    /// As [`Partition::truncate_prefix`].
    pub fn retain(&self, now_ms: i64, retention: Retention, durable: Tick) -> Result<Tick, LogError> {
        let mut old = lock(&self.old);
        let mut segments: Vec<Full> = Vec::new();
        let mut bytes = 0;
        for set in old.iter() {
            for Worker { ticks, large } in &set.workers {
                let all = ticks.segments().into_iter().chain(large.segments());
                segments.extend(all.map(|full| Full { end: full.end.min(set.end), ..full }));
            }
        }
        for Current { ticks, large } in &self.current {
            let (full, active) = lock(ticks).full_segments();
            segments.extend(full.into_iter().chain(large.segments()));
            bytes += active;
        }
        bytes += segments.iter().map(|segment| segment.bytes).sum::<u64>();
        segments.sort_unstable_by_key(|segment| segment.end);
        let mut low = 0;
        for segment in segments {
            if bytes <= retention.bytes && segment.received_ms >= now_ms.saturating_sub(retention.ms) {
                break;
            }
            bytes -= segment.bytes;
            low = segment.end;
        }
        // A worker may be ahead of the others.
        let low = low.min(self.upper()).min(durable);
        for set in old.iter_mut() {
            for worker in &mut set.workers {
                worker.ticks.truncate_prefix(low.min(set.end))?;
                worker.large.release(low)?;
            }
        }
        for worker in &self.current {
            lock(&worker.ticks).truncate_prefix(low)?;
            worker.large.release(low)?;
        }
        let gone = old.partition_point(|set| set.end <= low);
        for set in old.drain(..gone) {
            set.workers.into_iter().try_for_each(Worker::destroy)?;
        }
        drop(old);
        Ok(self.oldest())
    }
}

impl Worker {
    fn destroy(self) -> Result<(), LogError> {
        self.large.release(Tick::MAX)?;
        self.ticks.destroy()
    }
}
