//! The contract that every source of raw records keeps, and the types that cross it. A source knows how bytes are
//! stored and how records are framed, never their meaning.
//!
//! ```text
//! expand: what the user wrote -> paths            file: parts in order, ticks, workers
//! content: path -> decompressed bytes             payloads: positions -> the records that lie there
//! cutter: decompressed bytes -> chunks of whole records
//! follow: files that grow -> deliveries to the durable queue
//! ```

use dataflows::{DeadLetter, Tick};
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod content;
mod cutter;
mod expand;
mod file;
pub mod follow;
mod payloads;
mod probe;
#[cfg(test)]
mod tests;

pub use expand::expand;
pub use file::Chunks;
pub use payloads::payloads;
pub use probe::{Probed, probe};

/// A log of raw records that all workers of a process read together, a chunk at a time.
///
/// - **Order.** Chunks are handed out in log order: parts in their order, offsets ascending within a part. Workers take
///   them as they come free, so the order in which chunks are *worked on* is not the log's; [`Chunk::tick`] and the
///   position of each record say what it is.
/// - **Once.** Each byte of the log is in at most one chunk, and each record is whole in exactly one. A framed record
///   that cannot be handed out (too large, damaged) is in exactly one [`Chunk::dead_letters`]. A source does not
///   recognise duplicates: two records with equal bytes have two positions.
/// - **Positions.** `(source, part, offset)` of a record names the same bytes whenever the log is read again, with any
///   number of workers and any chunking; an offset counts decompressed bytes. A position is no promise of progress: a
///   record that was handed out need not have had its effect yet.
/// - **Ticks.** The tick of a chunk is a function of the log and the chunking alone. Ticks start at 0 and never fall.
/// - **Resuming.** A source keeps no memory beyond the process. What was in flight when the process ended is read again
///   from the positions that the remap binds; a finite source is read again from its start.
/// - **Errors** are final: every later call, of any worker, returns the same one. Bad content is no error but data.
pub trait Source: Sync {
    /// Takes the next chunk into `chunk`, whose buffers are reused. [`Next::Wait`] leaves it as it was: the next chunk
    /// belongs to a tick after `limit`, and the caller has to let the dataflow catch up (back-pressure).
    fn next(&self, limit: Tick, chunk: &mut Chunk) -> Result<Next, SourceError>;

    /// Returns a tick that no chunk to come is before: a worker that holds no chunk may advance to it.
    fn tick(&self) -> Tick;

    /// Returns the progress of reading. Never waits.
    fn progress(&self) -> Progress;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    Chunk,
    /// Not yet: above the limit.
    Wait,
    /// Everything has been handed out.
    End,
}

/// Whole records that follow each other in a part.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub tick: Tick,
    /// Index of the part; [`dataflows::Position::part`] of its records.
    pub part: usize,
    /// Index of the source in the plan.
    pub source: u16,
    pub format: Format,
    pub framing: Framing,
    /// Of CSV: the header row, without line end. Shared by all chunks of a part.
    pub header: Option<Arc<[u8]>>,
    /// Offset of `bytes[0]` in the decompressed part.
    pub offset: u64,
    /// To be split by [`Framing::records`]. May be empty.
    pub bytes: Vec<u8>,
    /// Bytes up to here that are not records, as dead letters.
    pub dead_letters: Vec<DeadLetter>,
}

impl Default for Chunk {
    /// Returns an empty chunk, to be filled.
    fn default() -> Chunk {
        Chunk {
            tick: 0,
            part: 0,
            source: 0,
            format: Format::Json,
            framing: Framing::Lines,
            header: None,
            offset: 0,
            bytes: Vec::new(),
            dead_letters: Vec::new(),
        }
    }
}

/// One file of a replay.
#[derive(Clone, Debug)]
pub struct Part {
    /// Index of the source in the plan.
    pub source: u16,
    pub path: PathBuf,
    /// As configured; detected from the content when absent.
    pub format: Option<Format>,
}

/// Sizes in bytes of decompressed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Of a chunk that holds more than one record. Larger ones amortise the lock, smaller ones share work evenly.
    pub chunk_bytes: usize,
    /// The bytes of the input that one tick takes.
    pub tick_bytes: u64,
    /// Largest record. A larger one becomes a dead letter; the memory for reading is bounded by a small multiple.
    pub event_bytes: usize,
}

impl Default for Chunking {
    fn default() -> Chunking {
        Chunking { chunk_bytes: 1 << 20, tick_bytes: 128 << 20, event_bytes: 1 << 20 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// As stored, that is, compressed; what damage makes unreadable included.
    pub bytes_read: u64,
    /// Of regular files, when the source was opened; what is no regular file counts nothing here.
    pub bytes_total: u64,
    /// Read to their end.
    pub parts_read: usize,
    pub parts_total: usize,
}

/// Why a source cannot be read. The run fails; bad content is never one of these.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    #[error("no file matches `{}`", pattern.display())]
    NoMatch { pattern: PathBuf },
    #[error("cannot use `{}` as a pattern: {message}", pattern.display())]
    Pattern { pattern: PathBuf, message: &'static str },
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// `open`, `read`, `list`.
        doing: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    #[error(
        "cannot detect the format of `{}`: set `format = \"json\"`, `\"csv\"` or `\"clf\"` for its source",
        path.display()
    )]
    UnknownFormat { path: PathBuf },
    #[error("cannot read the header of `{}`: its first row has more than {limit} bytes; is it CSV?", path.display())]
    LongHeader { path: PathBuf, limit: usize },
    #[error("cannot follow the files of `{name}`: `max_bytes` is more than {limit}")]
    LargeRecords { name: String, limit: usize },
    #[error("cannot read the record at offset {offset} of `{}` again: the file has changed", path.display())]
    Changed { path: PathBuf, offset: u64 },
}

impl SourceError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> SourceError {
        SourceError::Io { doing, path: path.to_path_buf(), source: Arc::new(source) }
    }
}
