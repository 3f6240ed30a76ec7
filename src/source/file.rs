//! Finite files, read once from start to end: the source of a replay.

use super::cutter::Cutter;
use super::{Chunk, Chunking, Next, Part, Progress, SourceError};
use dataflows::Tick;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All parts of a replay, which the workers of a process read together, a chunk at a time.
///
/// - **Order.** Chunks are handed out in log order: parts in their order, offsets ascending within a part. Workers take
///   them as they come free, so the order in which chunks are *worked on* is not the log's; [`Chunk::tick`] and the
///   position of each record say what it is.
/// - **Once.** Each byte of the log is in at most one chunk, and each record is whole in exactly one. A framed record
///   that cannot be handed out (too large, damaged) is in exactly one [`Chunk::dead_letters`]. Duplicates are not
///   recognised: two records with equal bytes have two positions.
/// - **Positions.** `(source, part, offset)` of a record names the same bytes whenever the log is read again, with any
///   number of workers and any chunking; an offset counts decompressed bytes.
/// - **Ticks.** The tick of a chunk is the number of decompressed bytes before it, divided by [`Chunking::tick_bytes`].
///   These are counted at the end of the chunk before. Ticks start at 0 and never fall.
/// - **Sharing.** Each call of `next` takes one chunk under a lock. So reading and decompressing by one worker overlaps
///   with the work of the others on their chunks.
/// - **Errors** are final: every later call, of any worker, returns the same one. Bad content is no error but data.
pub struct Chunks {
    parts: Vec<Part>,
    chunking: Chunking,
    /// Stored bytes up to the end of each part.
    ends: Vec<u64>,
    reader: Mutex<Reader>,
    // Copies for readers that do not wait for the lock.
    tick: AtomicU64,
    bytes_read: Arc<AtomicU64>,
    parts_read: AtomicUsize,
    /// By what is worth telling: of how many parts, and the first of them.
    notes: Mutex<BTreeMap<String, (u64, PathBuf)>>,
}

struct Reader {
    /// The part that is being read.
    open: Option<Cutter>,
    /// Index of the part that is, or will be, open.
    part: usize,
    /// Decompressed bytes of all parts before.
    before: u64,
    tick: Tick,
    failed: Option<SourceError>,
}

impl Chunks {
    /// Parts are read in the order given, which should be that of their sources: it is the order of positions.
    ///
    /// # Errors
    /// A part that is not there or may not be read, before anything is.
    pub fn open(parts: Vec<Part>, chunking: Chunking) -> Result<Chunks, SourceError> {
        let mut ends = Vec::with_capacity(parts.len());
        let mut end = 0;
        for part in &parts {
            // Trying to open a pipe would wait for its writer.
            if let Some(stored) = part.stored()? {
                File::open(part.file()).map_err(|error| SourceError::io("open", &part.path, error))?;
                end += stored;
            }
            ends.push(end);
        }
        Ok(Chunks {
            parts,
            chunking,
            ends,
            reader: Mutex::new(Reader { open: None, part: 0, before: 0, tick: 0, failed: None }),
            tick: AtomicU64::new(0),
            bytes_read: Arc::default(),
            parts_read: AtomicUsize::new(0),
            notes: Mutex::default(),
        })
    }

    /// Returns what is worth telling a user about the parts that were read: of how many of them, and the first one.
    pub fn notes(&self) -> BTreeMap<String, (u64, PathBuf)> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the next chunk into `chunk`, whose buffers are reused. [`Next::Wait`] leaves it as it was: the next chunk
    /// belongs to a tick after `limit`, and the caller has to let the dataflow catch up (back-pressure).
    pub fn next(&self, limit: Tick, chunk: &mut Chunk) -> Result<Next, SourceError> {
        // Poisoned only if another worker panicked while reading: what it left half-read must not be handed out.
        let mut reader = self.reader.lock().expect("a worker panicked while it was reading");
        if let Some(error) = &reader.failed {
            return Err(error.clone());
        }
        if reader.part == self.parts.len() {
            return Ok(Next::End);
        }
        if reader.tick > limit {
            return Ok(Next::Wait);
        }
        let next = self.advance(&mut reader, chunk);
        reader.failed = next.as_ref().err().cloned();
        next
    }

    /// Returns a tick that no chunk to come is before: a worker that holds no chunk may advance to it.
    pub fn tick(&self) -> Tick {
        self.tick.load(Ordering::Acquire)
    }

    /// Returns the progress of reading. Never waits.
    pub fn progress(&self) -> Progress {
        Progress {
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.ends.last().copied().unwrap_or(0),
            parts_read: self.parts_read.load(Ordering::Relaxed),
            parts_total: self.parts.len(),
        }
    }

    fn advance(&self, reader: &mut Reader, chunk: &mut Chunk) -> Result<Next, SourceError> {
        while let Some(part) = self.parts.get(reader.part) {
            let cutter = match &mut reader.open {
                Some(cutter) => cutter,
                closed => {
                    let cutter = Cutter::open(reader.part, part, self.chunking, self.bytes_read.clone())?;
                    let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
                    for note in cutter.notes() {
                        notes.entry(note.clone()).or_insert_with(|| (0, part.path.clone())).0 += 1;
                    }
                    closed.insert(cutter)
                }
            };
            if cutter.next(chunk)? {
                chunk.tick = reader.tick;
                reader.tick = (reader.before + cutter.consumed()) / self.chunking.tick_bytes.max(1);
                self.tick.store(reader.tick, Ordering::Release);
                return Ok(Next::Chunk);
            }
            reader.before += cutter.consumed();
            reader.open = None;
            // What lies behind damage is never read, but no longer ahead of us either.
            self.bytes_read.fetch_max(self.ends[reader.part], Ordering::Relaxed);
            reader.part += 1;
            self.parts_read.store(reader.part, Ordering::Relaxed);
        }
        Ok(Next::End)
    }
}
