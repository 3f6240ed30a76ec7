//! The output log: what was published, tick by tick, for those who come later or read slowly.
//!
//! Each worker appends a block per tick to a partition of its own. The number of workers may change at every start, so
//! each start begins a new **set** of partitions where the set before it ends:
//!
//! ```text
//! epoch 1, 2 workers  ████████████▒     ticks  0..12, both workers have them; what is torn or lone is in no set
//! epoch 2, 4 workers              ███   ticks 12..
//! ```

use super::error::LogError;
use super::partition::{Context, Full, Partition, Place, Reader, Retired};
use super::vfs::{Role, SyncSite, SyncStep};
use dataflows::Tick;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod block;
mod reader;

pub use block::{Block, Rows, changes};
pub use reader::OutputReader;

/// How much of the output log is kept. Whole segments are removed, so somewhat more is there.
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
/// - **Retention** removes the oldest ticks; what is removed is [`LogError::Gone`], and never comes back.
#[derive(Debug)]
pub struct OutputLog {
    dir: PathBuf,
    /// Of earlier starts, oldest first.
    old: Mutex<Vec<Set>>,
    /// Of this start, by worker.
    current: Vec<Mutex<Partition>>,
    base: Tick,
}

/// What is kept of one start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub base: Tick,
    /// Where the next one begins.
    pub end: Tick,
    pub workers: usize,
}

/// The partitions of one start.
#[derive(Debug)]
struct Set {
    base: Tick,
    /// Where the next set begins.
    end: Tick,
    partitions: Vec<Retired>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SetName {
    base: Tick,
    epoch: u64,
    workers: u32,
}

impl SetName {
    fn place(&self, dir: &Path, worker: u32) -> Place {
        let SetName { base, epoch, workers } = self;
        let prefix = format!("{base:020}-{epoch:020}-{worker:05}of{workers:05}-");
        Place { dir: dir.to_path_buf(), prefix, role: Role::Output, part: worker, start: *base }
    }

    /// The set and the worker of a segment file.
    fn parse(file: &str) -> Option<(SetName, u32)> {
        let mut fields = file.strip_suffix(".seg")?.split('-');
        let (base, epoch) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (worker, workers) = fields.next()?.split_once("of")?;
        Some((SetName { base, epoch, workers: workers.parse().ok()? }, worker.parse().ok()?))
    }
}

impl OutputLog {
    /// Opens the output log in the folder `dir` for `workers` workers. `start` is its first tick, should it be empty.
    ///
    /// # Errors
    /// As [`Partition::open`]; [`LogError::Foreign`] if a start had this epoch already; [`LogError::Corrupt`] if a
    /// worker's file is missing.
    pub fn open(context: &Context, dir: &Path, workers: u32, start: Tick) -> Result<OutputLog, LogError> {
        let names = list(context, dir)?;
        if let Some(last) = names.keys().map(|name| name.epoch).max().filter(|last| *last >= context.epoch) {
            let (ours, theirs) = (format!("epoch {}", context.epoch), format!("epoch {last}"));
            return Err(LogError::Foreign { dir: dir.to_path_buf(), ours, theirs });
        }
        // Before a set is removed because there is a later one: a crash of the process before may have left that one
        // visible and not durable.
        let site = SyncSite { role: Role::Output, step: SyncStep::ReopenEntries };
        context.vfs.sync_dir(dir, site).map_err(|error| context.poison.set(error))?;
        let mut old = Vec::new();
        let mut base = start;
        let mut sets = names.into_iter().peekable();
        while let Some((name, present)) = sets.next() {
            let end = sets.peek().map(|(next, _)| next.base);
            if end == Some(name.base) {
                // It never had a whole tick.
                for file in present.values().flatten() {
                    context.vfs.remove(&dir.join(file)).map_err(|error| context.poison.set(error))?;
                }
                continue;
            }
            // The next set was begun when this one was durable as far as that.
            let open = |(worker, files): (&u32, &Vec<String>)| match end {
                Some(_) => Retired::open(context.clone(), name.place(dir, *worker), files),
                None => Retired::recover(context.clone(), name.place(dir, *worker), files),
            };
            let partitions = present.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            if end.is_some_and(|end| partitions.iter().all(|partition| partition.low() >= end)) {
                partitions.into_iter().try_for_each(Retired::destroy)?;
                continue;
            }
            let complete = partitions.len() == name.workers as usize;
            let durable = partitions.iter().map(Retired::next).min().unwrap_or(name.base);
            let whole = if complete { durable } else { name.base };
            if let Some(end) = end.filter(|end| whole < *end) {
                let what = format!("the outputs of epoch {} end before tick {end}", name.epoch);
                return Err(LogError::corrupt(dir, 0, what));
            }
            base = end.unwrap_or(whole);
            old.push(Set { base: name.base, end: base, partitions });
        }
        let name = SetName { base, epoch: context.epoch, workers };
        let open = |worker| Partition::recover(context.clone(), name.place(dir, worker), &[]).map(Mutex::new);
        let current = (0..workers).map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(OutputLog { dir: dir.to_path_buf(), old: Mutex::new(old), current, base })
    }

    /// The folder that it lies in.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends the block of a worker's next tick. It is durable after [`OutputLog::sync`].
    ///
    /// # Errors
    /// [`LogError::Refused`] if the tick is not the worker's next, or the block is too large; and as
    /// [`Partition::append`].
    pub fn append(&self, worker: usize, block: &Block) -> Result<(), LogError> {
        let mut partition = lock(&self.current[worker]);
        if block.tick != partition.next() {
            let (tick, next) = (block.tick, partition.next());
            return Err(LogError::Refused(format!("tick {tick} instead of {next}, the next of worker {worker}")));
        }
        partition.append(block.now_ms, &block.encode()).map(|_| ())
    }

    /// Makes a worker's blocks durable; gives its next tick.
    ///
    /// # Errors
    /// As [`Partition::sync`].
    pub fn sync(&self, worker: usize) -> Result<Tick, LogError> {
        lock(&self.current[worker]).sync()
    }

    /// The next tick of a worker.
    pub fn next(&self, worker: usize) -> Tick {
        lock(&self.current[worker]).next()
    }

    /// Ticks below this one can be read, from [`OutputLog::oldest`] on.
    pub fn upper(&self) -> Tick {
        self.current.iter().map(|partition| lock(partition).durable()).min().unwrap_or(self.base)
    }

    /// The oldest tick that can be read; [`OutputLog::upper`] if there is none.
    pub fn oldest(&self) -> Tick {
        let low = |partitions: &mut dyn Iterator<Item = Tick>| partitions.max().unwrap_or(self.base);
        for set in lock(&self.old).iter() {
            let low = low(&mut set.partitions.iter().map(Retired::low));
            if low < set.end {
                return low.max(set.base);
            }
        }
        low(&mut self.current.iter().map(|partition| lock(partition).low()))
    }

    /// What earlier starts have left, oldest first.
    pub fn earlier(&self) -> Vec<Kept> {
        let kept = |set: &Set| Kept { base: set.base, end: set.end, workers: set.partitions.len() };
        lock(&self.old).iter().map(kept).collect()
    }

    /// The blocks of a tick, one per worker of its time.
    ///
    /// # Errors
    /// [`LogError::Gone`], [`LogError::Refused`] if the tick is not whole yet, [`LogError::Corrupt`],
    /// [`LogError::Read`].
    pub fn read(&self, tick: Tick) -> Result<Vec<Block>, LogError> {
        let (readers, _) = self.readers(tick)?;
        let mut blocks = Vec::with_capacity(readers.len());
        for mut reader in readers {
            let mut block = None;
            reader.read(tick, tick + 1, |record| block = Block::decode(record.payload))?;
            blocks.push(block.filter(|block| block.tick == tick).ok_or_else(|| self.damaged(tick))?);
        }
        Ok(blocks)
    }

    /// Reading ends of those who wrote `tick`, and where they ended.
    fn readers(&self, tick: Tick) -> Result<(Vec<Reader>, Tick), LogError> {
        let (oldest, upper) = (self.oldest(), self.upper());
        if tick < oldest {
            return Err(LogError::Gone { position: tick, oldest });
        }
        if tick >= upper {
            return Err(LogError::Refused(format!("tick {tick} is not whole yet, {upper} is the next to be")));
        }
        Ok(match lock(&self.old).iter().find(|set| tick < set.end) {
            Some(set) => (set.partitions.iter().map(Retired::reader).collect(), set.end),
            None => (self.current.iter().map(|partition| lock(partition).reader()).collect(), Tick::MAX),
        })
    }

    fn damaged(&self, tick: Tick) -> LogError {
        LogError::corrupt(&self.dir, tick, format!("the block of tick {tick} is not canonical"))
    }

    /// Removes the oldest ticks until `retention` is kept, at `now_ms` of the ticks' clock; gives the oldest that is left.
    ///
    /// # Errors
    /// As [`Partition::truncate_prefix`].
    pub fn retain(&self, now_ms: i64, retention: Retention) -> Result<Tick, LogError> {
        let mut old = lock(&self.old);
        let mut segments: Vec<Full> = Vec::new();
        let mut bytes = 0;
        for set in old.iter() {
            for partition in &set.partitions {
                segments.extend(partition.segments().iter().map(|full| Full { end: full.end.min(set.end), ..*full }));
            }
        }
        for partition in &self.current {
            let (full, active) = lock(partition).full_segments();
            segments.extend(full);
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
        let low = low.min(self.upper());
        for set in old.iter_mut() {
            for partition in &mut set.partitions {
                partition.truncate_prefix(low.min(set.end))?;
            }
        }
        for partition in &self.current {
            lock(partition).truncate_prefix(low)?;
        }
        let gone = old.partition_point(|set| set.end <= low);
        for set in old.drain(..gone) {
            set.partitions.into_iter().try_for_each(Retired::destroy)?;
        }
        drop(old);
        Ok(self.oldest())
    }
}

/// The sets that have files, with those of each worker, sorted.
fn list(context: &Context, dir: &Path) -> Result<BTreeMap<SetName, BTreeMap<u32, Vec<String>>>, LogError> {
    let mut sets: BTreeMap<SetName, BTreeMap<u32, Vec<String>>> = BTreeMap::new();
    for file in context.vfs.list(dir).map_err(LogError::Read)? {
        if let Some((set, worker)) = SetName::parse(&file) {
            sets.entry(set).or_default().entry(worker).or_default().push(file);
        }
    }
    Ok(sets)
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
