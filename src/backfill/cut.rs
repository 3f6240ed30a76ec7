//! Cuts a file into units of whole records, the same whenever its content is the same; and a unit into pieces that are
//! sent.

use crate::plan::Plan;
use crate::source::{Chunk, Chunking, Cutter, Part, SourceError};
use dataflows::Reason;
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::{Block, Decoder};
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a unit with more than one record.
const UNIT_BYTES: usize = 1 << 20;
/// Bytes that are read of a record behind its limit, to find one that is not blank.
const MARGIN: usize = 1024;

/// Why a file cannot be brought in.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{path} is damaged: {what}. Its events are left out as a whole: mend it, or leave the file out")]
    Damaged { path: String, what: String },
    #[error("{path} has changed since it was looked at: put it back as it was, or begin another backfill")]
    Changed { path: String },
    #[error("{path} is no regular file, so it cannot be read twice: write it to a file first")]
    Pipe { path: String },
}

/// A file that is being cut.
pub struct Cut {
    cutter: Cutter,
    chunk: Chunk,
    path: String,
    /// Of a record.
    limit: usize,
}

/// Whole records that follow each other.
pub struct Unit<'c> {
    pub chunk: &'c Chunk,
    /// The records; or the beginning of one that is too large.
    pub bytes: &'c [u8],
    pub is_large: bool,
    /// Offset behind it.
    pub to: u64,
}

impl Cut {
    /// `limit`: bytes of a record, above which it is too large.
    ///
    /// # Errors
    /// If it cannot be read, or its format is not known.
    pub fn open(index: usize, part: &Part, limit: usize) -> Result<Cut, Trouble> {
        let path = part.path.display().to_string();
        if part.stored()?.is_none() {
            return Err(Trouble::Pipe { path });
        }
        let chunking = Chunking { chunk_bytes: UNIT_BYTES, event_bytes: limit + MARGIN, ..Chunking::default() };
        let cutter = Cutter::open(index, part, chunking, Arc::default())?;
        Ok(Cut { cutter, chunk: Chunk::default(), path, limit })
    }

    /// Returns the next unit; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn next(&mut self) -> Result<Option<Unit<'_>>, Trouble> {
        while self.cutter.next(&mut self.chunk)? {
            let damage = |letter: &&dataflows::DeadLetter| letter.reason == Reason::DamagedInput;
            if let Some(letter) = self.chunk.dead_letters.iter().find(damage) {
                return Err(Trouble::Damaged { path: self.path.clone(), what: letter.message.clone() });
            }
            let is_large = !self.chunk.dead_letters.is_empty();
            if is_large || !self.chunk.bytes.is_empty() {
                let bytes = match self.chunk.dead_letters.first() {
                    Some(letter) => beginning(&letter.payload, self.limit),
                    None => &self.chunk.bytes,
                };
                return Ok(Some(Unit { bytes, is_large, to: self.cutter.consumed(), chunk: &self.chunk }));
            }
        }
        Ok(None)
    }

    /// Returns the decompressed bytes of the file, at its end.
    pub fn bytes(&self) -> u64 {
        self.cutter.consumed()
    }
}

impl Unit<'_> {
    /// Returns what tells it from another unit, with its header.
    pub fn hash(&self) -> u64 {
        let header = self.chunk.header.as_ref().map_or(0, |header| xxh3_64(header));
        xxh3_64_with_seed(self.bytes, header ^ self.to)
    }

    fn begin(&self) -> u64 {
        match self.chunk.dead_letters.first() {
            Some(letter) => letter.position.offset,
            None => self.chunk.offset,
        }
    }
}

/// Some records of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub records: u64,
    /// Offset of the first record, and behind the last one.
    pub from: u64,
    pub to: u64,
}

/// Cuts units into pieces.
pub struct Pieces {
    /// If times are bounded.
    within: Option<Within>,
}

/// Tells which records have events in a range of times.
struct Within(Decoder);

impl Pieces {
    pub fn new(plan: &Plan, range: Range) -> Pieces {
        Pieces { within: (range != Range::default()).then(|| Within(Decoder::new(plan.spec(), range))) }
    }

    /// Returns the next piece of a unit behind `after`, of about `most` bytes; `None` if there is no other. What lies
    /// between records goes with the record behind it.
    pub fn next(&mut self, unit: &Unit<'_>, after: u64, most: usize) -> Option<Piece> {
        if unit.is_large {
            let piece = || Piece { bytes: unit.bytes.to_vec(), records: 1, from: unit.begin(), to: unit.to };
            return (unit.to > after).then(piece);
        }
        let offset = unit.chunk.offset;
        let skip = usize::try_from(after.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (mut start, mut piece) = (skip, None::<Piece>);
        let mut records = unit.chunk.framing.records(unit.bytes.get(skip..)?).peekable();
        while let Some((at, record)) = records.next() {
            let next = records.peek().map_or(unit.bytes.len(), |(next, _)| skip + next);
            let (from, to) = (offset + start as u64, offset + next as u64);
            let bytes = &unit.bytes[std::mem::replace(&mut start, next)..next];
            let block = unit.chunk.block();
            if self.within.as_mut().is_some_and(|within| !within.has(&block, skip + at, record)) {
                continue;
            }
            match &mut piece {
                Some(piece) if piece.bytes.len() + bytes.len() > most => break,
                Some(piece) => {
                    piece.bytes.extend_from_slice(bytes);
                    (piece.records, piece.to) = (piece.records + 1, to);
                }
                None => piece = Some(Piece { bytes: bytes.to_vec(), records: 1, from, to }),
            }
        }
        piece
    }

    /// Returns the number of records of a unit that are taken.
    pub fn count(&mut self, unit: &Unit<'_>) -> u64 {
        if unit.is_large {
            return 1;
        }
        let records = unit.chunk.framing.records(unit.bytes);
        match &mut self.within {
            None => records.count() as u64,
            Some(within) => {
                let block = unit.chunk.block();
                records.filter(|(at, record)| within.has(&block, *at, record)).count() as u64
            }
        }
    }
}

impl Within {
    /// Returns whether a record has an event in the range, or is none at all: dead letters are in every range.
    fn has(&mut self, block: &Block<'_>, at: usize, record: &[u8]) -> bool {
        let block = Block { position: block.position.behind(at), bytes: record, ..*block };
        let mut batch = Batch::default();
        self.0.read(&block, &mut batch);
        !batch.input.records.is_empty() || !batch.dead_letters.is_empty()
    }
}

/// Returns enough of a record that is too large for the decoder to see that. The last byte is not one that counts as a line
/// end, or as a blank behind a value.
fn beginning(record: &[u8], limit: usize) -> &[u8] {
    let behind = record.get(limit..).unwrap_or_default();
    let more = behind.iter().position(|byte| !byte.is_ascii_whitespace());
    &record[..more.map_or(record.len(), |more| limit + more + 1)]
}
