//! Large ticks: the published rows of a tick that are too many for one record.
//!
//! ```text
//! blocks of tick 7    ███ ███ ███ ███ █    a partition of its own, written and synced first
//! ticks               4 5 6 ▪ 8 9          the record of tick 7 is its contents: the last mark
//! ```
//!
//! A block has rows of one collection, and about as many bytes as any other; so writing, reading and comparing a tick
//! takes the same memory, however much it changes. Blocks without contents are of a tick that is not whole: the next
//! start removes them.

use super::block::{self, Block, Canonical, take, take_text, text};
use super::set::SetName;
use crate::Tick;
use crate::error::LogError;
use crate::partition::{Context, Full, Partition, Reader, Retired, lock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

pub(super) const VERSION: u8 = 2;

/// The list of the blocks of a large tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub tick: Tick,
    /// The tick's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    /// By name. Collections without rows are not there.
    pub collections: Vec<(String, Extent)>,
}

/// The blocks of one collection in one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Offset of the first block.
    pub first: u64,
    pub blocks: u64,
    pub rows: u64,
    /// BLAKE3 of the digests of the blocks.
    pub digest: [u8; 32],
}

impl Contents {
    pub fn extent(&self, collection: &str) -> Extent {
        let at = self.collections.binary_search_by(|(name, _)| name.as_str().cmp(collection));
        at.map_or(Extent::default(), |at| self.collections[at].1)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.tick.to_le_bytes().to_vec();
        body.extend_from_slice(&self.now_ms.to_le_bytes());
        body.extend_from_slice(&(self.collections.len() as u32).to_le_bytes());
        for (name, Extent { first, blocks, rows, digest }) in &self.collections {
            text(&mut body, name.as_bytes());
            [first, blocks, rows].into_iter().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
            body.extend_from_slice(digest);
        }
        block::sealed(VERSION, &body)
    }

    /// Reads the body of a record of this version.
    pub fn decode(mut rest: &[u8]) -> Option<Contents> {
        let rest = &mut rest;
        let (tick, now_ms) = (u64::from_le_bytes(take(rest)?), i64::from_le_bytes(take(rest)?));
        let mut collections: Vec<(String, Extent)> = Vec::new();
        for _ in 0..u32::from_le_bytes(take(rest)?) {
            let name = String::from_utf8(take_text(rest)?.to_vec()).ok()?;
            let mut number = || Some(u64::from_le_bytes(take(rest)?));
            let (first, blocks, rows) = (number()?, number()?, number()?);
            if collections.last().is_some_and(|(last, _)| *last >= name) {
                return None;
            }
            collections.push((name, Extent { first, blocks, rows, digest: take(rest)? }));
        }
        rest.is_empty().then_some(Contents { tick, now_ms, collections })
    }
}

/// The blocks of the large ticks of one worker.
#[derive(Debug)]
pub(super) struct LargeTicks {
    context: Context,
    dir: PathBuf,
    set: SetName,
    worker: u32,
    by_tick: Mutex<BTreeMap<Tick, Retired>>,
}

impl LargeTicks {
    pub fn new(context: Context, dir: PathBuf, set: SetName, worker: u32) -> LargeTicks {
        LargeTicks { context, dir, set, worker, by_tick: Mutex::default() }
    }

    /// Opens what an earlier start has left, and removes the blocks of ticks outside `low..end`: those below are
    /// released, the others were never whole.
    ///
    /// # Errors
    /// As [`Retired::open`].
    pub fn open(&self, files: &BTreeMap<Tick, Vec<String>>, low: Tick, end: Tick) -> Result<(), LogError> {
        for (tick, files) in files {
            if (low..end).contains(tick) {
                let place = self.set.blocks(&self.dir, self.worker, *tick);
                let blocks = Retired::open(self.context.clone(), place, files)?;
                lock(&self.by_tick).insert(*tick, blocks);
            } else {
                super::set::remove(&self.context, &self.dir, files)?;
            }
        }
        Ok(())
    }

    /// Writes the blocks of a tick. They are durable when this returns, and count once the contents do.
    ///
    /// # Errors
    /// As [`Partition::append`] and [`Partition::sync`], and those of `rows`. Nothing is left of the tick then.
    pub fn write(&self, rows: &dyn Canonical) -> Result<Contents, LogError> {
        let (tick, now_ms) = rows.tick();
        // An attempt that had no space for the contents has left its blocks.
        self.remove(tick)?;
        let place = self.set.blocks(&self.dir, self.worker, tick);
        let mut partition = Partition::recover(self.context.clone(), place, &[])?;
        let limit = self.context.limits.block_bytes;
        let written = fill(&mut partition, rows, limit).and_then(|collections| partition.sync().map(|_| collections));
        let blocks = Retired::new(partition)?;
        match written {
            Ok(collections) => {
                lock(&self.by_tick).insert(tick, blocks);
                Ok(Contents { tick, now_ms, collections })
            }
            Err(error) => blocks.remove().and(Err(error)),
        }
    }

    /// Returns the blocks of a tick; `None` if there are none.
    pub fn reader(&self, tick: Tick) -> Option<Reader> {
        lock(&self.by_tick).get(&tick).map(Retired::reader)
    }

    /// Returns the segments with blocks, for retention. Each ends with its tick.
    pub fn segments(&self) -> Vec<Full> {
        let of_tick = |(tick, blocks): (&Tick, &Retired)| {
            let end = tick + 1;
            blocks.segments().into_iter().map(move |full| Full { end, ..full })
        };
        lock(&self.by_tick).iter().flat_map(of_tick).collect()
    }

    /// Removes the blocks of the ticks below `low`, which has to be the durable low watermark of the ticks.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn release(&self, low: Tick) -> Result<(), LogError> {
        let mut by_tick = lock(&self.by_tick);
        let kept = by_tick.split_off(&low);
        let released = std::mem::replace(&mut *by_tick, kept);
        released.into_values().try_for_each(Retired::remove)
    }

    fn remove(&self, tick: Tick) -> Result<(), LogError> {
        lock(&self.by_tick).remove(&tick).map_or(Ok(()), Retired::remove)
    }
}

/// Appends all rows as blocks of about `limit` bytes.
fn fill(partition: &mut Partition, rows: &dyn Canonical, limit: usize) -> Result<Vec<(String, Extent)>, LogError> {
    let ((tick, now_ms), mut collections) = (rows.tick(), Vec::new());
    for name in rows.collections() {
        let mut extent = Extent { first: partition.next(), ..Extent::default() };
        let mut digests = blake3::Hasher::new();
        let (mut gathered, mut bytes) = (Vec::new(), 0);
        let mut all = rows.rows(&name)?;
        loop {
            let row = all.next().transpose()?;
            let ended = row.is_none();
            if !gathered.is_empty() && (ended || bytes >= limit) {
                extent.rows += gathered.len() as u64;
                let block = Block::of(tick, now_ms, &name, std::mem::take(&mut gathered)).encode();
                digests.update(block::digest_of(&block));
                partition.append(now_ms, &block)?;
                (extent.blocks, bytes) = (extent.blocks + 1, 0);
            }
            let Some((row, diff)) = row else { break };
            bytes += row.len();
            gathered.push((row, diff));
        }
        if extent.blocks > 0 {
            extent.digest = *digests.finalize().as_bytes();
            collections.push((name, extent));
        }
    }
    Ok(collections)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output logs hold these bytes.
    #[test]
    fn the_encoding_of_version_2_is_pinned() {
        let extent = Extent { first: 3, blocks: 2, rows: 300, digest: [9; 32] };
        let contents = Contents { tick: 7, now_ms: -2, collections: vec![("late".into(), extent)] };
        let body = [
            &[7, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 4, 0, 0, 0][..],
            b"late\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x2c\x01\0\0\0\0\0\0",
            &[9; 32],
        ];
        let body = body.concat();
        let record = [&[2], &blake3::hash(&body).as_bytes()[..], &body].concat();
        assert_eq!(contents.encode(), record);
        assert_eq!(Contents::decode(&body), Some(contents));
    }
}
