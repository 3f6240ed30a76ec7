//! A partition: records with contiguous offsets in segment files that follow each other, one writer, any readers.
//!
//! ```text
//! append ── buffer ── flush ── segment file ── sync ── durable ── readers
//!                                   └─ full: seal, rotate ── next segment file
//! ```

use super::error::{LogError, Poison};
use super::segment::{self, FRAME, HEADER, Header, Kind, LogId, PAYLOAD_BYTES, Seal, SparseIndex};
use super::vfs::{Role, SyncSite, SyncStep, Vfs, VfsError, VfsFile};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod open;
mod reader;
mod retired;

pub use reader::Reader;
pub(crate) use retired::Retired;

/// The common state of the partitions of an open log.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where the files lie.
    pub vfs: Arc<dyn Vfs>,
    /// Which log the files are of.
    pub id: LogId,
    /// Generation of this process.
    pub epoch: u64,
    /// Sizes of segments, blocks and pieces.
    pub limits: Limits,
    /// Set by the first failure after which nothing may be written.
    pub poison: Poison,
}

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment that has reached this is followed by another one. Retention removes whole segments, and opening reads
    /// the last one into memory.
    pub segment_bytes: u64,
    /// Records are handed to the file system when this number of bytes waits, or at a sync.
    pub buffer_bytes: usize,
    /// Bytes of rows at which a block of a large tick ends.
    pub block_bytes: usize,
    /// Bytes of rows at which a piece of a large tick ends: what one reader of outputs has in memory. Changes come in the
    /// order of pieces, and cursors of sinks count them: with another number, a sink that has handed over a part of a large
    /// tick would go on elsewhere.
    pub piece_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { segment_bytes: 64 << 20, buffer_bytes: 256 << 10, block_bytes: 1 << 20, piece_bytes: 16 << 20 }
    }
}

/// Where a partition lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Folder of its segments.
    pub dir: PathBuf,
    /// The beginning of its file names.
    pub prefix: String,
    /// Its role in the log.
    pub role: Role,
    /// Its number among the partitions of that role.
    pub part: u32,
    /// Offset of its first record ever.
    pub start: u64,
}

impl Place {
    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{}{base:020}.seg", self.prefix))
    }

    fn site(&self, step: SyncStep) -> SyncSite {
        SyncSite { role: self.role, step }
    }
}

/// The writing end of a partition.
///
/// - **Order.** The n-th record has offset `start + n`, for ever.
/// - **Durable.** A record may be acknowledged, bound or read once its offset is below [`Partition::durable`], and is
///   then there after any crash. A record that is not durable may be there after a crash or not; if it is, so are all
///   before it.
/// - **No space** ([`LogError::Full`]): what was not durable is dropped, and its offsets are given to the records that
///   follow, but for those of [`Partition::keep`]. The partition goes on. What was dropped may turn up after a crash, but
///   for [`Partition::commit`].
/// - **Any other error** of writing poisons the log: every later call fails, and the process has to exit.
#[derive(Debug)]
pub struct Partition {
    context: Context,
    place: Place,
    active: Active,
    next: u64,
    /// Records below this offset stay when there is no space: they are durable, or were appended by [`Partition::keep`].
    kept: u64,
    shared: Arc<Mutex<Shared>>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    file: Box<dyn VfsFile>,
    base: u64,
    seed: u32,
    /// Bytes handed to the file system.
    size: u64,
    /// Bytes to return to when a write fails for lack of space.
    floor: u64,
    /// Bytes up to the end of the last seal, which may be followed by others if there was no space for the next segment.
    sealed: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that stay when a write fails for lack of space.
    kept: usize,
}

/// The state that readers share.
#[derive(Debug)]
struct Shared {
    /// In order; the last one is active.
    segments: Vec<Segment>,
    durable: u64,
    low: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    base: u64,
    seed: u32,
    /// Bytes that are durable.
    size: u64,
    /// Received time of its last record.
    received_ms: i64,
    index: SparseIndex,
}

/// The outcome of records that were appended together.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Offset of the first one.
    base: u64,
    durable: u64,
    error: Option<LogError>,
}

impl Commit {
    /// Returns the offset of the n-th record, which is durable.
    ///
    /// # Errors
    /// [`LogError::Full`]: it is not there, nor will it be; else as [`Partition::append`] and [`Partition::sync`].
    pub fn offset(&self, n: u64) -> Result<u64, LogError> {
        let offset = self.base + n;
        match &self.error {
            Some(LogError::Full(_)) if offset < self.durable => Ok(offset),
            Some(error) => Err(error.clone()),
            None => Ok(offset),
        }
    }
}

/// A segment that nothing is appended to any more, for retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Offset after its last record.
    pub end: u64,
    /// Of its file.
    pub bytes: u64,
    /// Received time of its last record.
    pub received_ms: i64,
}

impl Partition {
    /// Returns the log that it belongs to.
    pub fn log(&self) -> LogId {
        self.context.id
    }

    /// Appends a record and gives its offset. The record is durable after the next [`Partition::sync`], not before.
    ///
    /// `received_ms`: milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the payload is larger than [`PAYLOAD_BYTES`]; [`LogError::Full`];
    /// [`LogError::Poisoned`].
    pub fn append(&mut self, received_ms: i64, payload: &[u8]) -> Result<u64, LogError> {
        self.context.poison.check()?;
        if payload.len() > PAYLOAD_BYTES {
            let size = payload.len();
            return Err(LogError::Refused(format!("a record of {size} bytes is larger than {PAYLOAD_BYTES}")));
        }
        let bytes = self.active.size + (self.active.buffer.len() + FRAME + payload.len()) as u64;
        if bytes > self.context.limits.segment_bytes && self.next > self.active.base {
            self.rotate()?;
        }
        let at = self.active.size + self.active.buffer.len() as u64;
        segment::encode(&mut self.active.buffer, self.active.seed, Kind::Record, self.next, received_ms, payload);
        {
            let mut shared = self.shared();
            let segment = shared.active();
            segment.index.note(self.next, at);
            segment.received_ms = received_ms;
        }
        self.next += 1;
        if self.active.buffer.len() >= self.context.limits.buffer_bytes {
            self.flush()?;
        }
        Ok(self.next - 1)
    }

    /// As [`Partition::append`], but no lack of space drops the record afterwards: for records that are acted upon before
    /// they are durable. A partition has either such records or those of [`Partition::append`].
    ///
    /// # Errors
    /// As [`Partition::append`]: the record is not there, those before it are.
    pub fn keep(&mut self, received_ms: i64, payload: &[u8]) -> Result<u64, LogError> {
        let offset = self.append(received_ms, payload)?;
        self.kept = self.next;
        self.active.kept = self.active.buffer.len();
        if self.active.kept == 0 {
            self.active.floor = self.active.size;
        }
        Ok(offset)
    }

    /// Makes everything appended so far durable, with one fdatasync, and gives the offset after it.
    ///
    /// # Errors
    /// [`LogError::Full`]; [`LogError::Poisoned`].
    pub fn sync(&mut self) -> Result<u64, LogError> {
        self.context.poison.check()?;
        if self.next > self.durable() {
            self.flush()?;
            self.sync_file(SyncStep::Group)?;
            self.mark()?;
        }
        Ok(self.next)
    }

    /// Appends records (received time in milliseconds since 1970-01-01T00:00:00Z, payload) and makes them durable. Where
    /// there is space for some of them only, the others are forgotten for good: they do not turn up after any crash.
    pub fn commit<'a>(&mut self, records: impl IntoIterator<Item = (i64, &'a [u8])>) -> Commit {
        let base = self.next;
        let mut records = records.into_iter();
        let appended = records.try_for_each(|(received_ms, payload)| self.append(received_ms, payload).map(drop));
        let written = appended.and_then(|()| self.sync().map(drop));
        let error = match written {
            // Whatever was dropped is cut off; the cut has to last.
            Err(LogError::Full(full)) => {
                let synced = self.active.file.sync(self.place.site(SyncStep::Forget));
                Some(synced.map_or_else(|error| self.context.poison.set(error), |()| LogError::Full(full)))
            }
            written => written.err(),
        };
        Commit { base, durable: self.durable(), error }
    }

    /// Makes `low` the low watermark: records below it are not needed any more. Segments that hold no others are
    /// removed, after the watermark is durable: whatever happens then, their absence is no damage.
    ///
    /// What was appended so far is durable afterwards. A watermark that is not higher changes nothing.
    ///
    /// # Errors
    /// [`LogError::Refused`] if records from `low` on are not durable yet; [`LogError::Full`]; [`LogError::Poisoned`].
    pub fn truncate_prefix(&mut self, low: u64) -> Result<(), LogError> {
        self.context.poison.check()?;
        if low > self.durable() {
            let durable = self.durable();
            return Err(LogError::Refused(format!("the low watermark {low} is beyond what is durable, {durable}")));
        }
        if low <= self.low() {
            return Ok(());
        }
        segment::encode(&mut self.active.buffer, self.active.seed, Kind::Low, self.next, 0, &low.to_le_bytes());
        self.flush()?;
        self.sync_file(SyncStep::LowWatermark)?;
        self.mark()?;
        let removed = self.shared().shorten(low);
        self.context.remove(&removed)
    }

    /// Returns the offset of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records below this offset are durable.
    pub fn durable(&self) -> u64 {
        self.shared().durable
    }

    /// Records below this offset are not kept.
    pub fn low(&self) -> u64 {
        self.shared().low
    }

    /// Returns a reader of what is durable.
    pub fn reader(&self) -> Reader {
        Reader::new(self.context.vfs.clone(), self.place.clone(), self.shared.clone())
    }

    /// Returns all segments but the active one, oldest first, and the bytes of that one.
    pub fn full_segments(&self) -> (Vec<Full>, u64) {
        (self.shared().full(), self.active.size)
    }

    /// Returns the file that is written to.
    pub(crate) fn last_file(&self) -> PathBuf {
        self.shared().active().path.clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Hands the buffer to the file system.
    fn flush(&mut self) -> Result<(), LogError> {
        if self.active.buffer.is_empty() {
            return Ok(());
        }
        match self.active.file.append(&self.active.buffer) {
            Ok(()) => {
                if self.active.kept > 0 {
                    self.active.floor = self.active.size + std::mem::take(&mut self.active.kept) as u64;
                }
                self.active.size += self.active.buffer.len() as u64;
                self.active.buffer.clear();
                Ok(())
            }
            Err(error) => Err(self.roll_back(error)),
        }
    }

    /// After a write that failed: forgets everything that does not stay if there was no space, else everything.
    fn roll_back(&mut self, error: VfsError) -> LogError {
        if !error.is_full() {
            return self.context.poison.set(error);
        }
        if let Err(error) = self.active.file.truncate(self.active.floor) {
            return self.context.poison.set(error);
        }
        self.active.size = self.active.floor;
        self.active.buffer.truncate(self.active.kept);
        self.next = self.kept;
        self.shared().active().index.cut(self.next);
        LogError::Full(error)
    }

    /// Makes everything that was flushed durable.
    fn sync_file(&mut self, step: SyncStep) -> Result<(), LogError> {
        self.active.file.sync(self.place.site(step)).map_err(|error| self.context.poison.set(error))?;
        self.active.floor = self.active.size;
        self.kept = self.next;
        let mut shared = lock(&self.shared);
        shared.durable = self.next;
        shared.active().size = self.active.size;
        Ok(())
    }

    /// Says in the file how much of it is durable, so that damage there is not taken for a torn write. Itself not synced:
    /// where it is lost, less is known.
    fn mark(&mut self) -> Result<(), LogError> {
        let durable = self.active.size.to_le_bytes();
        segment::encode(&mut self.active.buffer, self.active.seed, Kind::Mark, self.next, 0, &durable);
        match self.flush() {
            Ok(()) => self.active.floor = self.active.size,
            Err(LogError::Full(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Begins the next segment; the one before it is durable to its end by then, as only the last may be torn.
    fn rotate(&mut self) -> Result<(), LogError> {
        self.seal()?;
        self.sync_file(SyncStep::Rotate)?;
        self.active.sealed = self.active.size;
        let low = self.low();
        let (active, segment) = create(&self.context, &self.place, self.next, low)?;
        self.active = active;
        self.shared().segments.push(segment);
        Ok(())
    }

    /// Ends the segment with a seal, unless it ends with one, and hands everything to the file system.
    fn seal(&mut self) -> Result<(), LogError> {
        let at = self.active.size + self.active.buffer.len() as u64;
        if at != self.active.sealed {
            let low = self.low();
            let received_ms = self.shared().active().received_ms;
            Seal { next: self.next, received_ms, at, low }.encode(&mut self.active.buffer, self.active.seed);
        }
        self.flush()
    }
}

impl Context {
    pub(crate) fn remove(&self, paths: &[PathBuf]) -> Result<(), LogError> {
        paths.iter().try_for_each(|path| self.vfs.remove(path).map_err(|error| self.poison.set(error)))
    }
}

impl Shared {
    /// Makes `low` the low watermark: gives the files that hold nothing else.
    fn shorten(&mut self, low: u64) -> Vec<PathBuf> {
        self.low = low;
        let kept = self.segments.partition_point(|segment| segment.base <= low).max(1) - 1;
        self.segments.drain(..kept).map(|segment| segment.path).collect()
    }

    /// Returns all segments but the last, oldest first.
    fn full(&self) -> Vec<Full> {
        let of = |pair: &[Segment]| Full { end: pair[1].base, bytes: pair[0].size, received_ms: pair[0].received_ms };
        self.segments.windows(2).map(of).collect()
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a partition has a segment from when it is opened")
    }
}

/// Nothing panics while it holds one of these locks.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a segment without records, durable. On `Full` there is none.
fn create(context: &Context, place: &Place, base: u64, low: u64) -> Result<(Active, Segment), LogError> {
    let header = Header { role: place.role, part: place.part, id: context.id, epoch: context.epoch, base, low };
    let path = place.path(base);
    let poison = |error| context.poison.set(error);
    let mut file = match context.vfs.create(&path) {
        Err(error) if error.is_full() => return Err(LogError::Full(error)),
        created => created.map_err(poison)?,
    };
    if let Err(error) = file.append(&header.encode()) {
        return Err(abandon(context, &path, error));
    }
    file.sync(place.site(SyncStep::Header)).map_err(poison)?;
    context.vfs.sync_dir(&place.dir, place.site(SyncStep::Entry)).map_err(poison)?;
    let (seed, size) = (header.seed(), HEADER as u64);
    let active = Active { file, base, seed, size, floor: size, sealed: 0, buffer: Vec::new(), kept: 0 };
    let segment = Segment { path, base, seed, size, received_ms: i64::MIN, index: SparseIndex::complete() };
    Ok((active, segment))
}

/// Handles lack of space for the header. A file without one holds nothing, so it does no harm if it comes back.
fn abandon(context: &Context, path: &Path, error: VfsError) -> LogError {
    if !error.is_full() {
        return context.poison.set(error);
    }
    match context.vfs.remove(path) {
        Ok(()) => LogError::Full(error),
        Err(error) => context.poison.set(error),
    }
}
