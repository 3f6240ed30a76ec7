//! A run file: sorted rows in blocks, and where each shard lies. Integers are little-endian; `docs/log.md` has the table.
//!
//! ```text
//! header   that of a segment: role, CRC-32C of the state's name as part, sequence number as base, tick as low
//! block    crc32c 4 │ stored bytes 4 │ bytes 4 │ rows 4 │ rows of one shard, zstd if that is smaller
//! index    crc32c 4 │ shards 4 │ by shard that has rows: shard 1, offset of its first block 8, rows 8
//! footer   crc32c 4 │ "HWLR" 4 │ offset of the index 8 │ rows 8
//! row      length, varint │ bytes │ what is added to its multiplicity, zigzag varint
//! ```
//!
//! Checksums cover everything behind them, and start from the seed of the header. So bytes of another file are damage.

use super::{ROW_BYTES, run_path, site};
use crate::error::LogError;
use crate::partition::Context;
use crate::segment::{HEADER, Header, u32_at, u64_at};
use crate::state::manifest::Listed;
use crate::vfs::{Role, VfsFile};
use std::io;
use std::path::{Path, PathBuf};

mod cursor;
mod writer;

pub(super) use cursor::Cursor;
pub(super) use writer::RunWriter;

const MAGIC: &[u8; 4] = b"HWLR";
const BLOCK: usize = 16;
const INDEX: usize = 8;
const ENTRY: usize = 17;
const FOOTER: usize = 24;
/// The bytes of one read when a file is verified.
const WINDOW_BYTES: usize = 1 << 20;
pub(super) const MISSING: &str = "the file is missing";

/// A run, open for reading.
#[derive(Debug)]
pub(super) struct Run {
    pub listed: Listed,
    path: PathBuf,
    file: Box<dyn VfsFile>,
    seed: u32,
    /// Of the shards that have rows, in order.
    index: Vec<Shard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    shard: u8,
    /// Where its blocks begin, and end.
    at: u64,
    end: u64,
    rows: u64,
}

impl Run {
    /// Opens a run and verifies all of it.
    pub fn open(context: &Context, dir: &Path, state: &str, listed: Listed) -> Result<Run, LogError> {
        let path = run_path(dir, state, listed.sequence);
        let file = match context.vfs.open(&path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                return Err(LogError::corrupt(&path, 0, MISSING));
            }
            file => file.map_err(LogError::Read)?,
        };
        let size = file.size().map_err(LogError::Read)?;
        if size != listed.bytes {
            let what = format!("the file has {size} bytes instead of {}", listed.bytes);
            return Err(LogError::corrupt(&path, size.min(listed.bytes), what));
        }
        let whole = digest(&*file, size)? == listed.digest;
        let mut run = Run { listed, path, file, seed: 0, index: Vec::new() };
        run.read_header(context, state)?;
        run.read_index()?;
        if !whole {
            return Err(run.locate());
        }
        Ok(run)
    }

    /// Stands at the first row of a shard.
    pub fn cursor(&self, shard: u8) -> Result<Cursor<'_>, LogError> {
        let entry = self.index.binary_search_by_key(&shard, |entry| entry.shard).ok().map(|at| self.index[at]);
        Cursor::new(self, entry.unwrap_or(Shard { shard, at: 0, end: 0, rows: 0 }))
    }

    fn read_header(&mut self, context: &Context, state: &str) -> Result<(), LogError> {
        let part = part(state);
        let bytes = self.bytes(0, self.listed.bytes.min(HEADER as u64) as usize)?;
        let header = Header::decode(&bytes, Role::State, part).map_err(|what| self.corrupt(0, what))?;
        if header.id != context.id || header.base != self.listed.sequence {
            return Err(self.corrupt(16, "this is a run of another snapshot"));
        }
        self.seed = header.seed();
        Ok(())
    }

    fn read_index(&mut self) -> Result<(), LogError> {
        let at =
            (self.listed.bytes.checked_sub(FOOTER as u64)).ok_or_else(|| self.corrupt(0, "the footer is cut off"))?;
        let footer = self.bytes(at, FOOTER)?;
        if self.checksum(&footer[4..]) != u32_at(&footer, 0) || &footer[4..8] != MAGIC {
            return Err(self.corrupt(at, "the checksum of the footer does not match"));
        }
        let start = u64_at(&footer, 8);
        if start < HEADER as u64 || start > at || u64_at(&footer, 16) != self.listed.rows {
            return Err(self.corrupt(at, "the footer is that of another run"));
        }
        let index = self.bytes(start, (at - start) as usize)?;
        let whole = index.len() >= INDEX && self.checksum(&index[4..]) == u32_at(&index, 0);
        if !whole || index.len() != INDEX + u32_at(&index, 4) as usize * ENTRY {
            return Err(self.corrupt(start, "the checksum of the index does not match"));
        }
        let mut end = start;
        for entry in index[INDEX..].rchunks_exact(ENTRY) {
            let shard = Shard { shard: entry[0], at: u64_at(entry, 1), end, rows: u64_at(entry, 9) };
            let ordered = self.index.last().is_none_or(|next| shard.shard < next.shard);
            if !ordered || shard.at < HEADER as u64 || shard.at >= end {
                return Err(self.corrupt(start, "the index has no order"));
            }
            end = shard.at;
            self.index.push(shard);
        }
        self.index.reverse();
        let rows: u64 = self.index.iter().fold(0, |rows, shard| rows.saturating_add(shard.rows));
        if end != HEADER as u64 || rows != self.listed.rows {
            return Err(self.corrupt(start, "the index does not have all rows"));
        }
        Ok(())
    }

    /// Finds the place of damage when the digest is wrong. Every byte is under a checksum, so a place is found unless
    /// the file as a whole is not the one that is listed.
    fn locate(&self) -> LogError {
        let read = |shard: &Shard| {
            let mut cursor = self.cursor(shard.shard)?;
            while cursor.row().is_some() {
                cursor.advance()?;
            }
            Ok(())
        };
        let found = self.index.iter().try_for_each(read).err();
        found.unwrap_or_else(|| self.corrupt(0, "the file is not the one that the manifest lists"))
    }

    fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; length];
        self.file.read_at(at, &mut bytes).map_err(LogError::Read)?;
        Ok(bytes)
    }

    fn checksum(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed, bytes)
    }

    fn corrupt(&self, at: u64, what: impl Into<String>) -> LogError {
        LogError::corrupt(&self.path, at, what)
    }
}

/// Returns the number that stands for the state in the header of its runs.
fn part(state: &str) -> u32 {
    crc32c::crc32c(state.as_bytes())
}

fn digest(file: &dyn VfsFile, size: u64) -> Result<[u8; 32], LogError> {
    let mut hasher = blake3::Hasher::new();
    let mut window = vec![0; WINDOW_BYTES.min(size as usize)];
    let mut at = 0;
    while at < size {
        let length = WINDOW_BYTES.min((size - at) as usize);
        file.read_at(at, &mut window[..length]).map_err(LogError::Read)?;
        hasher.update(&window[..length]);
        at += length as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Appends `value`, seven bits a byte, lowest first.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Returns the number that `bytes` have from `at`, which is moved behind it.
fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Encodes zigzag: small numbers of either sign become small numbers.
fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
