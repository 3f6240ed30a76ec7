//! Reading a shard of a run, a block at a time.

use super::{BLOCK, ROW_BYTES, Run, Shard, take_varint, u32_at, unzigzag};
use crate::error::LogError;
use std::ops::Range;
use zstd::bulk::Decompressor;

/// Stands at a row of a shard, or behind the last one.
pub(in crate::state) struct Cursor<'a> {
    run: &'a Run,
    shard: Shard,
    /// Where the next block begins.
    at: u64,
    /// Where the block began that is read now, for what is wrong in it.
    began: u64,
    /// Rows of the shard that follow those of the block.
    rows: u64,
    stored: Vec<u8>,
    block: Vec<u8>,
    /// Where the next row begins.
    next: usize,
    row: Option<(Range<usize>, i64)>,
    unpacker: Option<Decompressor<'static>>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(run: &'a Run, shard: Shard) -> Result<Cursor<'a>, LogError> {
        let mut cursor = Cursor {
            run,
            shard,
            at: shard.at,
            began: shard.at,
            rows: shard.rows,
            stored: Vec::new(),
            block: Vec::new(),
            next: 0,
            row: None,
            unpacker: None,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    pub fn row(&self) -> Option<(&[u8], i64)> {
        self.row.as_ref().map(|(row, diff)| (&self.block[row.clone()], *diff))
    }

    pub fn advance(&mut self) -> Result<(), LogError> {
        if self.next == self.block.len() {
            if self.at == self.shard.end {
                self.row = None;
                let all = self.rows == 0;
                return if all { Ok(()) } else { Err(self.corrupt("a shard has fewer rows than the index says")) };
            }
            self.read_block()?;
        }
        self.row = Some(self.take().ok_or_else(|| self.corrupt("a row that cannot be"))?);
        Ok(())
    }

    fn take(&mut self) -> Option<(Range<usize>, i64)> {
        let length = take_varint(&self.block, &mut self.next)? as usize;
        let row = self.next..self.next.checked_add(length)?;
        if *self.block.get(row.clone())?.first()? != self.shard.shard {
            return None;
        }
        self.next = row.end;
        let diff = unzigzag(take_varint(&self.block, &mut self.next)?);
        Some((row, diff))
    }

    fn read_block(&mut self) -> Result<(), LogError> {
        self.began = self.at;
        let rest = (self.shard.end - self.at) as usize;
        if rest < BLOCK {
            return Err(self.corrupt("a block is cut off"));
        }
        let mut head = [0; BLOCK];
        self.run.file.read_at(self.at, &mut head).map_err(LogError::Read)?;
        let (stored, size, rows) = (u32_at(&head, 4) as usize, u32_at(&head, 8) as usize, u32_at(&head, 12));
        // Before the checksum: a damaged length asks for no more memory than the shard has bytes.
        if stored > rest - BLOCK {
            return Err(self.corrupt("the checksum of a block does not match"));
        }
        self.stored.resize(stored, 0);
        self.run.file.read_at(self.at + BLOCK as u64, &mut self.stored).map_err(LogError::Read)?;
        if crc32c::crc32c_append(self.run.checksum(&head[4..]), &self.stored) != u32_at(&head, 0) {
            return Err(self.corrupt("the checksum of a block does not match"));
        }
        self.rows = match self.rows.checked_sub(rows.into()) {
            Some(rows) if rows < self.rows && (stored..=2 * ROW_BYTES).contains(&size) => rows,
            _ => return Err(self.corrupt("a block has more rows or bytes than it can have")),
        };
        self.unpack(size)?;
        self.at += (BLOCK + stored) as u64;
        self.next = 0;
        Ok(())
    }

    fn unpack(&mut self, size: usize) -> Result<(), LogError> {
        if self.stored.len() == size {
            std::mem::swap(&mut self.block, &mut self.stored);
            return Ok(());
        }
        let unpacker = match self.unpacker.take() {
            Some(unpacker) => Ok(unpacker),
            None => Decompressor::new(),
        };
        self.block.clear();
        self.block.reserve(size);
        let unpacked = unpacker.and_then(|unpacker| {
            let unpacker = self.unpacker.insert(unpacker);
            unpacker.decompress_to_buffer(&self.stored, &mut self.block)
        });
        match unpacked {
            Ok(unpacked) if unpacked == size => Ok(()),
            Ok(_) => Err(self.corrupt("a block has another length than it says")),
            Err(error) => Err(self.corrupt(&format!("a block cannot be unpacked: {error}"))),
        }
    }

    fn corrupt(&self, what: &str) -> LogError {
        self.run.corrupt(self.began, what)
    }
}
