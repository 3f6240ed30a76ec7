//! The remap: the offsets that each tick takes, and its `now_ms`. Its record is the commit point: when it is durable,
//! the tick has happened, and everything after it can be computed again.
//!
//! It is durable by a sync of the remap, or by that of what the tick has published, which says what the record was
//! ([`Step`]). So a tick costs one sync, and nothing is published of a tick that has not happened:
//!
//! ```text
//! bind ── record in memory ── workers ── block with the step ── sync ── published
//! start: remap, and the steps of the blocks behind it
//! ```

use super::error::LogError;
use super::partition::{Context, Partition, Place, Reader};
use super::segment::Record;
use super::vfs::Role;
use crate::Tick;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const VERSION: u8 = 1;

/// Offset after the last one taken, by source and part.
pub type Uppers = BTreeMap<(u16, u32), u64>;

/// The records of a tick: of each part, the offsets from the upper of the tick before (else 0) to its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its number.
    pub tick: Tick,
    /// Generation that minted the tick.
    pub epoch: u64,
    /// The only clock of the dataflows: milliseconds since 1970-01-01T00:00:00Z, never less than the tick before.
    pub now_ms: i64,
    /// Digest of the record before; zeros at tick 0.
    pub previous: [u8; 32],
    /// Offsets up to which it takes records.
    pub uppers: Uppers,
}

impl Binding {
    /// Returns the digest that the next record holds as `previous`.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.encode()).as_bytes()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(61 + 14 * self.uppers.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.tick.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.now_ms.to_le_bytes());
        bytes.extend_from_slice(&self.previous);
        encode_uppers(&self.uppers, &mut bytes);
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Binding> {
        let [VERSION] = take(&mut bytes)? else { return None };
        let tick = u64::from_le_bytes(take(&mut bytes)?);
        let epoch = u64::from_le_bytes(take(&mut bytes)?);
        let now_ms = i64::from_le_bytes(take(&mut bytes)?);
        let previous = take(&mut bytes)?;
        let uppers = decode_uppers(&mut bytes)?;
        bytes.is_empty().then_some(Binding { tick, epoch, now_ms, previous, uppers })
    }
}

/// What makes a tick's record of the one before: blocks of outputs hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Generation that minted the tick.
    pub epoch: u64,
    /// Of the record.
    pub digest: [u8; 32],
    /// Those that are others than before.
    pub uppers: Uppers,
}

impl Step {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(44 + 14 * self.uppers.len());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.digest);
        encode_uppers(&self.uppers, &mut bytes);
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Step> {
        let (epoch, digest) = (u64::from_le_bytes(take(&mut bytes)?), take(&mut bytes)?);
        let uppers = decode_uppers(&mut bytes)?;
        bytes.is_empty().then_some(Step { epoch, digest, uppers })
    }
}

fn encode_uppers(uppers: &Uppers, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(uppers.len() as u32).to_le_bytes());
    for ((source, part), upper) in uppers {
        bytes.extend_from_slice(&source.to_le_bytes());
        bytes.extend_from_slice(&part.to_le_bytes());
        bytes.extend_from_slice(&upper.to_le_bytes());
    }
}

fn decode_uppers(bytes: &mut &[u8]) -> Option<Uppers> {
    let count = u32::from_le_bytes(take(bytes)?);
    let mut uppers = Uppers::new();
    for _ in 0..count {
        let source = u16::from_le_bytes(take(bytes)?);
        let part = u32::from_le_bytes(take(bytes)?);
        uppers.insert((source, part), u64::from_le_bytes(take(bytes)?));
    }
    (uppers.len() == count as usize).then_some(uppers)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The remap of a log, with its one writer. Tick t is the record at offset t.
///
/// - **Contiguous.** Ticks follow each other without gaps, from 0, whatever happens.
/// - **Monotone.** No upper and no `now_ms` is ever less than that of the tick before; no part disappears.
/// - **Chained.** Each record holds the digest of the one before, so that two histories cannot be mixed.
#[derive(Debug)]
pub struct Remap {
    partition: Partition,
    epoch: u64,
    dir: PathBuf,
    last: Option<Binding>,
    /// Of the last record; zeros if there is none.
    digest: [u8; 32],
    /// Of the last tick that was bound.
    step: Option<Step>,
}

impl Remap {
    /// Opens the remap in the folder `dir`, or creates it. Reads and checks all of it.
    ///
    /// # Errors
    /// As [`Partition::open`]; [`LogError::Foreign`] if a later generation has minted.
    pub fn open(context: Context, dir: &Path) -> Result<Remap, LogError> {
        let epoch = context.epoch;
        let place = Place { dir: dir.to_path_buf(), prefix: String::new(), role: Role::Remap, part: 0, start: 0 };
        let partition = Partition::open(context, place)?;
        let mut remap = Remap { partition, epoch, dir: dir.to_path_buf(), last: None, digest: [0; 32], step: None };
        let (low, durable) = (remap.partition.low(), remap.partition.durable());
        remap.reader().bindings(low, durable, |binding| {
            remap.check(&binding)?;
            remap.digest = binding.digest();
            remap.last = Some(binding);
            Ok(())
        })?;
        if let Some(last) = remap.last.as_ref().filter(|last| last.epoch > epoch) {
            let (ours, theirs) = (format!("epoch {epoch}"), format!("epoch {}", last.epoch));
            return Err(LogError::Foreign { dir: remap.dir, ours, theirs });
        }
        Ok(remap)
    }

    /// Checks that `binding` can follow the last one that was read.
    fn check(&self, binding: &Binding) -> Result<(), LogError> {
        let broken = |what: &str| {
            let what = format!("tick {}: {what}", binding.tick);
            Err(LogError::corrupt(&self.dir, binding.tick, what))
        };
        let Some(last) = &self.last else {
            let chained = binding.tick > 0 || binding.previous == [0; 32];
            return if chained { Ok(()) } else { broken("the first tick follows another one") };
        };
        if binding.previous != self.digest {
            return broken("its digest of the tick before does not match");
        }
        if binding.now_ms < last.now_ms || binding.epoch < last.epoch {
            return broken("time or epoch go back");
        }
        if behind(&binding.uppers, &last.uppers).is_some() {
            return broken("an offset goes back");
        }
        Ok(())
    }

    /// Mints the next tick. It may be computed, and has happened when it is durable: by [`Remap::sync`], or when a block
    /// is that holds its [`Remap::step`].
    ///
    /// `now_ms` is raised to that of the tick before. Everything below `uppers` has to be durable already; parts that
    /// are not named keep their uppers.
    ///
    /// # Errors
    /// [`LogError::Refused`] if an upper goes back; [`LogError::Full`]: the tick is not minted;
    /// [`LogError::Poisoned`]: it may be.
    pub fn bind(&mut self, now_ms: i64, uppers: &Uppers) -> Result<&Binding, LogError> {
        let mut uppers = uppers.clone();
        let mut clock = now_ms;
        if let Some(last) = &self.last {
            for (key, upper) in &last.uppers {
                uppers.entry(*key).or_insert(*upper);
            }
            if let Some(((source, part), upper)) = behind(&uppers, &last.uppers) {
                let what = format!("part {part} of source {source} is bound up to {upper} already");
                return Err(LogError::Refused(what));
            }
            clock = clock.max(last.now_ms);
        }
        let binding = Binding { tick: self.next(), epoch: self.epoch, now_ms: clock, previous: self.digest, uppers };
        let record = binding.encode();
        self.partition.keep(binding.now_ms, &record)?;
        let before = self.last.as_ref().map(|last| &last.uppers);
        let moved =
            binding.uppers.iter().filter(|(key, upper)| before.and_then(|before| before.get(key)) != Some(upper));
        self.digest = *blake3::hash(&record).as_bytes();
        self.step = Some(Step {
            epoch: self.epoch,
            digest: self.digest,
            uppers: moved.map(|(key, upper)| (*key, *upper)).collect(),
        });
        Ok(self.last.insert(binding))
    }

    /// Makes all ticks that were minted durable.
    ///
    /// # Errors
    /// As [`Partition::sync`]: after [`LogError::Full`] they are still there, and can be synced later.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.partition.sync().map(drop)
    }

    /// What the outputs of the last tick that was bound have to hold.
    pub fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// Mints the next tick again, from its published block.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it does not follow the last one; as [`Remap::bind`].
    pub(super) fn restore(&mut self, now_ms: i64, step: &Step) -> Result<(), LogError> {
        let mut uppers = self.last.as_ref().map_or_else(Uppers::new, |last| last.uppers.clone());
        uppers.extend(&step.uppers);
        let binding = Binding { tick: self.next(), epoch: step.epoch, now_ms, previous: self.digest, uppers };
        if binding.digest() != step.digest {
            let what = format!("tick {} is published, and does not follow the last one here", binding.tick);
            return Err(LogError::corrupt(&self.dir, binding.tick, what));
        }
        self.check(&binding)?;
        self.partition.keep(now_ms, &binding.encode())?;
        self.digest = step.digest;
        self.last = Some(binding);
        Ok(())
    }

    /// Returns the last tick that was minted.
    pub fn last(&self) -> Option<&Binding> {
        self.last.as_ref()
    }

    /// Returns the tick that comes next.
    pub fn next(&self) -> Tick {
        self.partition.next()
    }

    /// Ticks below this one are durable here.
    pub fn durable(&self) -> Tick {
        self.partition.durable()
    }

    /// Returns the oldest tick that is kept.
    pub fn low(&self) -> Tick {
        self.partition.low()
    }

    /// Acts as [`Partition::truncate_prefix`]. The last tick always stays.
    pub fn truncate_prefix(&mut self, low: Tick) -> Result<(), LogError> {
        if low >= self.durable() {
            return Err(LogError::Refused(format!("tick {low} has not happened")));
        }
        self.partition.truncate_prefix(low)
    }

    /// Returns a reader of the ticks that are durable.
    pub fn reader(&self) -> RemapReader {
        RemapReader { reader: self.partition.reader(), dir: self.dir.clone() }
    }
}

/// Reads ticks that are durable here.
#[derive(Clone, Debug)]
pub struct RemapReader {
    reader: Reader,
    dir: PathBuf,
}

impl RemapReader {
    /// # Errors
    /// As [`Reader::read`].
    pub fn binding(&mut self, tick: Tick) -> Result<Binding, LogError> {
        let mut found = None;
        self.bindings(tick, tick + 1, |binding| {
            found = Some(binding);
            Ok(())
        })?;
        found.ok_or_else(|| unreadable(&self.dir, tick))
    }

    /// Calls `each` with the ticks from `from` up to, not including, `upto`, in order, until it fails.
    ///
    /// # Errors
    /// As [`Reader::read`]; those of `each`.
    pub fn bindings(
        &mut self,
        from: Tick,
        upto: Tick,
        mut each: impl FnMut(Binding) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let RemapReader { reader, dir } = self;
        let mut outcome = Ok(());
        reader.read(from, upto, |Record { offset, received_ms, payload }| {
            let binding = Binding::decode(payload).filter(|found| found.tick == offset && found.now_ms == received_ms);
            if outcome.is_ok() {
                outcome = binding.ok_or_else(|| unreadable(dir, offset)).and_then(&mut each);
            }
        })?;
        outcome
    }

    /// Ticks below this one can be read.
    pub fn upper(&self) -> Tick {
        self.reader.durable()
    }
}

fn unreadable(dir: &Path, tick: Tick) -> LogError {
    LogError::corrupt(dir, tick, format!("tick {tick} cannot be read"))
}

/// Returns a part that `uppers` takes back behind `last`, and how far `last` is.
fn behind(uppers: &Uppers, last: &Uppers) -> Option<((u16, u32), u64)> {
    let behind = last.iter().find(|(key, upper)| uppers.get(key).is_none_or(|new| new < *upper));
    behind.map(|(key, upper)| (*key, *upper))
}
