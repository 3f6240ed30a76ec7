//! Writing a run, a block at a time.

use super::{FOOTER, MAGIC, Run, Shard, part, put_varint, run_path, site, zigzag};
use crate::Tick;
use crate::error::LogError;
use crate::failed;
use crate::partition::Context;
use crate::segment::Header;
use crate::state::manifest::Listed;
use crate::vfs::{Role, SyncStep, VfsFile};
use std::path::{Path, PathBuf};
use zstd::bulk::Compressor;

/// Rows of a block in bytes, before it is packed: what a reader has in memory of each run. Smaller if less is handed to
/// the file system at once.
const BLOCK_BYTES: usize = 64 << 10;
/// A run is synced whenever so much has gathered: one sync of all of it would make the queue wait whose file system
/// writes in order.
const SYNC_BYTES: u64 = 32 << 20;
/// Of zstd. The thread that writes takes time from those that compute.
const LEVEL: i32 = 1;

/// Makes a run of rows that come in order. There is no file before there is a block.
pub(in crate::state) struct RunWriter<'a> {
    context: &'a Context,
    path: PathBuf,
    sequence: u64,
    seed: u32,
    file: Option<Box<dyn VfsFile>>,
    /// The bytes that are handed to the file system next.
    out: Vec<u8>,
    /// Bytes before `out`.
    size: u64,
    synced: u64,
    hasher: blake3::Hasher,
    /// The rows of a block, all of one shard.
    block: Vec<u8>,
    rows: u32,
    index: Vec<Shard>,
    packer: Option<Compressor<'static>>,
    packed: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    pub fn new(context: &'a Context, dir: &Path, state: &str, sequence: u64, tick: Tick) -> RunWriter<'a> {
        let (id, epoch) = (context.id, context.epoch);
        let header = Header { role: Role::State, part: part(state), id, epoch, base: sequence, low: tick };
        RunWriter {
            context,
            path: run_path(dir, state, sequence),
            sequence,
            seed: header.seed(),
            file: None,
            out: header.encode().to_vec(),
            size: 0,
            synced: 0,
            hasher: blake3::Hasher::new(),
            block: Vec::new(),
            rows: 0,
            index: Vec::new(),
            // Without one, blocks are stored as they are.
            packer: Compressor::new(LEVEL).ok(),
            packed: Vec::new(),
        }
    }

    /// Adds a row behind all others.
    pub fn push(&mut self, row: &[u8], diff: i64) -> Result<(), LogError> {
        let full = self.block.len() >= BLOCK_BYTES.min(self.context.limits.buffer_bytes);
        if full || self.index.last().is_none_or(|shard| shard.shard != row[0]) {
            self.end_block()?;
        }
        match self.index.last_mut() {
            Some(shard) if shard.shard == row[0] => shard.rows += 1,
            _ => {
                let at = self.size + self.out.len() as u64;
                self.index.push(Shard { shard: row[0], at, end: at, rows: 1 });
            }
        }
        put_varint(&mut self.block, row.len() as u64);
        self.block.extend_from_slice(row);
        put_varint(&mut self.block, zigzag(diff));
        self.rows += 1;
        Ok(())
    }

    /// Returns the run, durable but for its name. `None` if it has no rows: then there is no file either.
    pub fn finish(mut self) -> Result<Option<Run>, LogError> {
        if self.index.is_empty() {
            return Ok(None);
        }
        self.end_block()?;
        let at = self.size + self.out.len() as u64;
        let mut index = (self.index.len() as u32).to_le_bytes().to_vec();
        for shard in &self.index {
            index.push(shard.shard);
            index.extend_from_slice(&shard.at.to_le_bytes());
            index.extend_from_slice(&shard.rows.to_le_bytes());
        }
        let rows = self.index.iter().map(|shard| shard.rows).sum();
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(MAGIC);
        footer.extend_from_slice(&at.to_le_bytes());
        footer.extend_from_slice(&u64::to_le_bytes(rows));
        for part in [index, footer] {
            self.out.extend_from_slice(&crc32c::crc32c_append(self.seed, &part).to_le_bytes());
            self.out.extend_from_slice(&part);
        }
        self.flush()?;
        self.sync()?;
        for before in 1..self.index.len() {
            self.index[before - 1].end = self.index[before].at;
        }
        self.index.last_mut().into_iter().for_each(|last| last.end = at);
        let digest = *self.hasher.finalize().as_bytes();
        let listed = Listed { sequence: self.sequence, rows, bytes: self.size, digest };
        let RunWriter { path, seed, index, .. } = self;
        Ok(self.file.map(|file| Run { listed, path, file, seed, index }))
    }

    fn end_block(&mut self) -> Result<(), LogError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.packed.clear();
        self.packed.reserve(self.block.len());
        let packed = self.packer.as_mut().map(|packer| packer.compress_to_buffer(&self.block, &mut self.packed));
        // An error is no room for what packing has made longer.
        let smaller = matches!(packed, Some(Ok(size)) if size < self.block.len());
        let stored = if smaller { &self.packed } else { &self.block };
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        for number in [stored.len() as u32, self.block.len() as u32, self.rows] {
            self.out.extend_from_slice(&number.to_le_bytes());
        }
        self.out.extend_from_slice(stored);
        let crc = crc32c::crc32c_append(self.seed, &self.out[start + 4..]);
        self.out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        self.block.clear();
        self.rows = 0;
        if self.out.len() >= self.context.limits.buffer_bytes {
            self.flush()?;
        }
        if self.size - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.context.vfs.create(&self.path).map_err(failed(self.context))?,
        };
        file.append(&self.out).map_err(failed(self.context))?;
        self.file = Some(file);
        self.hasher.update(&self.out);
        self.size += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.sync(site(SyncStep::Run)).map_err(|error| self.context.poison.set(error))?;
        self.synced = self.size;
        Ok(())
    }
}
