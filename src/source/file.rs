//! Finite files, read once from start to end: the source of a replay.

use super::cutter::Cutter;
use super::{Chunk, Chunking, Next, Part, Progress, Source, SourceError};
use dataflows::Tick;
use std::fs::{self, File};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// All parts of a replay, handed out in log order.
///
/// Shared by all workers. Each call of `next` takes one chunk under a lock. So reading and decompressing by one worker
/// overlaps with the work of the others on their chunks. The tick of a chunk is the number of decompressed bytes before
/// it, divided by [`Chunking::tick_bytes`]. These are counted at the end of the chunk before.
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
            let failed = |error| SourceError::io("open", &part.path, error);
            let metadata = fs::metadata(&part.path).map_err(failed)?;
            // Trying to open a pipe would wait for its writer.
            if metadata.is_file() {
                File::open(&part.path).map_err(failed)?;
                end += metadata.len();
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
        })
    }
}

impl Source for Chunks {
    fn next(&self, limit: Tick, chunk: &mut Chunk) -> Result<Next, SourceError> {
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

    fn tick(&self) -> Tick {
        self.tick.load(Ordering::Acquire)
    }

    fn progress(&self) -> Progress {
        Progress {
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.ends.last().copied().unwrap_or(0),
            parts_read: self.parts_read.load(Ordering::Relaxed),
            parts_total: self.parts.len(),
        }
    }
}

impl Chunks {
    fn advance(&self, reader: &mut Reader, chunk: &mut Chunk) -> Result<Next, SourceError> {
        while let Some(part) = self.parts.get(reader.part) {
            let cutter = match &mut reader.open {
                Some(cutter) => cutter,
                closed => closed.insert(Cutter::open(reader.part, part, self.chunking, self.bytes_read.clone())?),
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
