//! A partition that nothing is appended to any more: it is read, shortened and removed.

use super::open::{check_chain, find};
use super::{Context, Full, Partition, Place, Reader, Segment, Shared, lock};
use crate::error::LogError;
use crate::segment::{Seal, SparseIndex};
use crate::vfs::SyncStep;
use std::sync::{Arc, Mutex, MutexGuard};

/// A partition that has been written to its end. There may be many: it keeps no file open, and is opened without being
/// read, by the seal that its last segment ends with.
#[derive(Debug)]
pub(crate) struct Retired {
    context: Context,
    place: Place,
    shared: Arc<Mutex<Shared>>,
}

impl Retired {
    /// Opens the partition at `place`, which was retired before, given the names of the files that may be its own,
    /// sorted. If its seal is not there, or says that records have been released, it is opened as any other: what is
    /// released has to be durable before anything is removed.
    ///
    /// # Errors
    /// As [`Partition::open`].
    pub fn open(context: Context, place: Place, names: &[String]) -> Result<Retired, LogError> {
        context.poison.check()?;
        let mut found = find(&context, &place, names)?;
        if let Some(last) = found.last() {
            let file = context.vfs.open(&last.path).map_err(LogError::Read)?;
            let seal = last.seal(&*file)?.filter(|seal| seal.low <= place.start && last.header.low <= place.start);
            if let Some(Seal { next, received_ms, .. }) = seal {
                let (path, base, seed, size) = (last.path.clone(), last.header.base, last.header.seed(), last.size);
                let last = Segment { path, base, seed, size, received_ms, index: SparseIndex::default() };
                found.pop();
                let (_, mut segments) = check_chain(&context, &place, found, &last, place.start)?;
                segments.push(last);
                let shared = Shared { segments, durable: next, low: place.start };
                return Ok(Retired { context, place, shared: Arc::new(Mutex::new(shared)) });
            }
        }
        Retired::new(Partition::of_segments(context, place, found)?)
    }

    /// Opens the partition at `place` as any other, and retires it.
    ///
    /// # Errors
    /// As [`Partition::open`].
    pub fn recover(context: Context, place: Place, names: &[String]) -> Result<Retired, LogError> {
        Retired::new(Partition::recover(context, place, names)?)
    }

    /// Ends the last segment with a seal. It is not synced, and everything before it is: where it is torn, the segment is
    /// read again.
    pub(crate) fn new(mut partition: Partition) -> Result<Retired, LogError> {
        match partition.seal() {
            Ok(()) | Err(LogError::Full(_)) => {}
            Err(error) => return Err(error),
        }
        let Partition { context, place, shared, .. } = partition;
        Ok(Retired { context, place, shared })
    }

    /// Returns the offset after the last record.
    pub fn next(&self) -> u64 {
        self.shared().durable
    }

    /// Records below this offset are not kept.
    pub fn low(&self) -> u64 {
        self.shared().low
    }

    pub fn reader(&self) -> Reader {
        Reader::new(self.context.vfs.clone(), self.place.clone(), self.shared.clone())
    }

    /// Returns all segments, oldest first.
    pub fn segments(&self) -> Vec<Full> {
        let shared = self.shared();
        let last = shared.segments.last().map(|last| Full {
            end: shared.durable,
            bytes: last.size,
            received_ms: last.received_ms,
        });
        shared.full().into_iter().chain(last).collect()
    }

    /// As [`Partition::truncate_prefix`].
    ///
    /// # Errors
    /// As [`Partition::truncate_prefix`].
    pub fn truncate_prefix(&mut self, low: u64) -> Result<(), LogError> {
        self.context.poison.check()?;
        if low > self.next() {
            return Err(LogError::Refused(format!("the low watermark {low} is beyond the end, {}", self.next())));
        }
        if low <= self.low() {
            return Ok(());
        }
        let poison = |error| self.context.poison.set(error);
        let last = self.last();
        let mut file = self.context.vfs.open(&last.path).map_err(LogError::Read)?;
        let at = file.size().map_err(LogError::Read)?;
        let mut seal = Vec::new();
        Seal { next: self.next(), received_ms: last.received_ms, at, low }.encode(&mut seal, last.seed);
        match file.append(&seal) {
            Err(error) if error.is_full() => {
                file.truncate(at).map_err(poison)?;
                return Err(LogError::Full(error));
            }
            appended => appended.map_err(poison)?,
        }
        file.sync(self.place.site(SyncStep::LowWatermark)).map_err(poison)?;
        let removed = self.shared().shorten(low);
        self.context.remove(&removed)
    }

    /// Removes all of it. The last segment says that the others may be missing. It is removed last, and alone, so that
    /// segments that a crash brings back do not count as damage.
    ///
    /// # Errors
    /// As [`Partition::truncate_prefix`].
    pub fn destroy(mut self) -> Result<(), LogError> {
        self.truncate_prefix(self.next())?;
        let synced = self.context.vfs.sync_dir(&self.place.dir, self.place.site(SyncStep::Destroy));
        synced.map_err(|error| self.context.poison.set(error))?;
        self.context.remove(&[self.last().path])
    }

    /// Removes all files. For a partition that nothing refers to: what a crash brings back has to be removed again.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn remove(self) -> Result<(), LogError> {
        let paths: Vec<_> = self.shared().segments.iter().map(|segment| segment.path.clone()).collect();
        self.context.remove(&paths)
    }

    fn last(&self) -> Segment {
        self.shared().active().clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}
