//! Reads the published rows of one tick, piece by piece.
//!
//! ```text
//! worker 0   rows, or blocks ─┐
//! worker 1   rows, or blocks ─┴─ merged by bytes ─ cut ─▶ piece, piece, last piece
//! ```
//!
//! Pieces are a function of the rows of a tick: the same however many workers there were. Most ticks are one piece.

use super::block::{Block, Rows};
use super::blocks::{Contents, Extent};
use super::merge::Merge;
use crate::Tick;
use crate::error::LogError;
use crate::partition::Reader;
use std::collections::{BTreeSet, VecDeque};
use std::vec::IntoIter;

/// Blocks of a worker that are read together.
const BLOCKS: u64 = 4;

/// The published rows of a tick, of all workers.
#[derive(Debug)]
pub struct TickOutput {
    /// The tick that changed the rows.
    pub tick: Tick,
    /// The tick's clock: milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    pub(super) workers: Vec<WorkerOutput>,
    pub(super) piece_bytes: usize,
}

/// The published rows of a tick, of one writer.
#[derive(Clone, Debug)]
pub(super) enum WorkerOutput {
    Whole(Block),
    Large(Contents, Box<Reader>),
}

/// Whether two rows of a collection are of one key.
pub type SameKey = fn(&[u8], &[u8]) -> bool;

/// Rows of a collection in the order of their bytes; removals come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// At most about [`Limits::piece_bytes`](crate::partition::Limits::piece_bytes).
    pub rows: Rows,
    /// No other one follows.
    pub last: bool,
}

impl TickOutput {
    /// Returns the pieces of a collection. There is at least one; rows of the same key are in the same one.
    pub fn pieces(mut self, collection: &str, same: SameKey) -> Pieces {
        let cursors = self.workers.iter_mut().map(|worker| worker.cursor(self.tick, collection)).collect();
        let merge = Merge::new(collection, cursors);
        Pieces { merge, same, limit: self.piece_bytes, head: None, begun: false, ended: false }
    }

    /// Returns the names of the collections that have rows, sorted.
    pub fn collections(&self) -> BTreeSet<String> {
        let names = self.workers.iter().flat_map(|worker| match worker {
            WorkerOutput::Whole(block) => block.collections().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(),
            WorkerOutput::Large(contents, _) => contents.collections.iter().map(|(name, _)| name.clone()).collect(),
        });
        names.collect()
    }

    /// Returns all rows of a collection, merged over the workers.
    pub fn merged(&self, collection: &str) -> Merge<impl Iterator<Item = Result<(Vec<u8>, i64), LogError>> + use<>> {
        let workers = self.workers.iter().cloned();
        Merge::new(collection, workers.map(|mut worker| worker.cursor(self.tick, collection)).collect())
    }

    /// Returns the blocks of all workers, in memory.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub(super) fn into_blocks(self) -> Result<Vec<Block>, LogError> {
        let TickOutput { tick, now_ms, workers, .. } = self;
        let whole = |worker| match worker {
            WorkerOutput::Whole(block) => Ok(block),
            WorkerOutput::Large(contents, reader) => {
                let mut block = Block::new(tick, now_ms);
                for (name, extent) in &contents.collections {
                    let rows: Result<Rows, LogError> =
                        Cursor::blocks(tick, name, *extent, Reader::clone(&reader)).collect();
                    block.add(name, rows?)?;
                }
                Ok(block)
            }
        };
        workers.into_iter().map(whole).collect()
    }
}

impl WorkerOutput {
    fn cursor(&mut self, tick: Tick, collection: &str) -> Cursor {
        match self {
            WorkerOutput::Whole(block) => Cursor::Rows(block.take(collection).into_iter()),
            WorkerOutput::Large(contents, reader) => {
                Cursor::blocks(tick, collection, contents.extent(collection), Reader::clone(reader))
            }
        }
    }
}

/// The rows of one worker, in the order of their bytes.
enum Cursor {
    Rows(IntoIter<(Vec<u8>, i64)>),
    Blocks(Box<BlockCursor>),
}

struct BlockCursor {
    tick: Tick,
    collection: String,
    extent: Extent,
    reader: Reader,
    /// Offset of the next block.
    next: u64,
    rows: VecDeque<(Vec<u8>, i64)>,
    /// So far.
    digests: blake3::Hasher,
    count: u64,
}

impl Cursor {
    fn blocks(tick: Tick, collection: &str, extent: Extent, reader: Reader) -> Cursor {
        let (digests, rows) = (blake3::Hasher::new(), VecDeque::new());
        let collection = collection.to_owned();
        let next = extent.first;
        Cursor::Blocks(Box::new(BlockCursor { tick, collection, extent, reader, next, rows, digests, count: 0 }))
    }
}

impl BlockCursor {
    fn next(&mut self) -> Result<Option<(Vec<u8>, i64)>, LogError> {
        let end = self.extent.first + self.extent.blocks;
        while self.rows.is_empty() && self.next < end {
            self.fill((self.next + BLOCKS).min(end))?;
            if self.next == end && (self.extent.rows, self.extent.digest) != (self.count, self.digest()) {
                return Err(self.damaged());
            }
        }
        Ok(self.rows.pop_front())
    }

    fn fill(&mut self, upto: u64) -> Result<(), LogError> {
        let mut intact = true;
        let BlockCursor { tick, collection, reader, next, rows, digests, count, .. } = self;
        reader.read(*next, upto, |record| match Block::decode(record.payload).filter(|block| block.tick == *tick) {
            Some(mut block) => {
                digests.update(super::block::digest_of(record.payload));
                let more = block.take(collection);
                let ordered = rows.back().zip(more.first()).is_none_or(|(last, first)| last.0 < first.0);
                intact &= ordered && block.collections().next().is_none();
                *count += more.len() as u64;
                rows.extend(more);
            }
            None => intact = false,
        })?;
        *next = upto;
        if intact { Ok(()) } else { Err(self.damaged()) }
    }

    fn digest(&self) -> [u8; 32] {
        *self.digests.finalize().as_bytes()
    }

    fn damaged(&self) -> LogError {
        let what = format!("the blocks of `{}` of tick {} are not canonical", self.collection, self.tick);
        LogError::corrupt(self.reader.dir(), self.next, what)
    }
}

impl Iterator for Cursor {
    type Item = Result<(Vec<u8>, i64), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Cursor::Rows(rows) => rows.next().map(Ok),
            Cursor::Blocks(blocks) => blocks.next().transpose(),
        }
    }
}

/// The changes of one collection in one tick.
pub struct Pieces {
    merge: Merge<Cursor>,
    same: SameKey,
    limit: usize,
    /// The first row of the next piece.
    head: Option<(Vec<u8>, i64)>,
    begun: bool,
    ended: bool,
}

impl Pieces {
    /// Returns the next piece; `None` after the last one.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]; [`LogError::Read`], also if retention has removed the tick meanwhile.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, LogError> {
        if self.ended {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.head = self.merge.next().transpose()?;
        }
        let (mut rows, mut bytes) = (Rows::new(), 0);
        while let Some(row) = self.head.take() {
            let full = bytes >= self.limit && rows.last().is_none_or(|(last, _)| !(self.same)(last, &row.0));
            if full {
                self.head = Some(row);
                break;
            }
            bytes += row.0.len();
            rows.push(row);
            self.head = self.merge.next().transpose()?;
        }
        self.ended = self.head.is_none();
        // Stable: removals first, then by bytes.
        rows.sort_by_key(|(_, diff)| *diff > 0);
        Ok(Some(Piece { rows, last: self.ended }))
    }
}
