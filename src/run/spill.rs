//! Joins the blocks that a worker publishes of one tick: one stays in memory, several go to sorted runs on disk.
//!
//! ```text
//! block ── the only one ─▶ memory
//! block, block, block ───▶ run, run, run ─▶ merged ─▶ blocks of the output log
//! ```
//! However much a tick changes, it takes a bounded part of the memory.

use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::output::{Block, Canonical, Merge, RowStream};
use headwater_log::reserve::Reserve;
use headwater_log::vfs::{Outcome, VfsError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a run that are read or written at once.
const WINDOW_BYTES: usize = 256 << 10;

/// The files for rows that do not fit in memory.
#[derive(Clone, Debug)]
pub(super) struct Overflow {
    /// Files are made here without a name, so that they are gone with the process.
    pub folder: PathBuf,
    pub reserve: Arc<Reserve>,
}

/// The blocks of one worker, as they come.
#[derive(Default)]
pub(super) struct Spill {
    /// Of the tick whose last block has not come.
    runs: Option<Runs>,
}

impl Spill {
    /// Takes a block that others of its tick follow. Waits while there is no space on the disk.
    ///
    /// # Errors
    /// [`LogError::Read`] if the rows cannot be put on disk.
    pub fn more(&mut self, block: &Block, overflow: &Overflow) -> Result<(), LogError> {
        let runs = match &mut self.runs {
            Some(runs) => runs,
            None => self.runs.insert(Runs::begin(block.tick, block.now_ms, overflow)?),
        };
        block.collections().try_for_each(|(name, rows)| runs.append(name, rows, &overflow.reserve))
    }

    /// Takes the last block of a tick: returns all rows of the tick.
    ///
    /// # Errors
    /// As [`Spill::more`].
    pub fn last(&mut self, block: Block, overflow: &Overflow) -> Result<Output, LogError> {
        if self.runs.is_none() {
            return Ok(Output::Small(block));
        }
        self.more(&block, overflow)?;
        Ok(self.runs.take().map_or(Output::Small(block), Output::Large))
    }
}

/// The rows that a worker publishes of a tick.
pub enum Output {
    Small(Block),
    Large(Runs),
}

/// Sorted rows on disk.
#[derive(Debug)]
pub struct Runs {
    tick: Tick,
    now_ms: i64,
    file: File,
    folder: PathBuf,
    written: u64,
    /// By collection: where its runs are. Rows are sorted within each, and may be in several.
    runs: BTreeMap<String, Vec<Range<u64>>>,
    /// Rows written, before those of different runs are added up.
    rows: u64,
}

impl Output {
    pub fn rows(&self) -> u64 {
        match self {
            Output::Small(block) => block.collections().map(|(_, rows)| rows.len() as u64).sum(),
            Output::Large(runs) => runs.rows,
        }
    }

    pub fn small(&self) -> Option<&Block> {
        match self {
            Output::Small(block) => Some(block),
            Output::Large(_) => None,
        }
    }

    pub fn into_small(self) -> Option<Block> {
        match self {
            Output::Small(block) => Some(block),
            Output::Large(_) => None,
        }
    }

    pub fn canonical(&self) -> &dyn Canonical {
        match self {
            Output::Small(block) => block,
            Output::Large(runs) => runs,
        }
    }
}

impl Runs {
    fn begin(tick: Tick, now_ms: i64, overflow: &Overflow) -> Result<Runs, LogError> {
        let folder = overflow.folder.clone();
        let file = overflow.reserve.patiently(|| tempfile::tempfile_in(&folder).map_err(failed(&folder)))?;
        Ok(Runs { tick, now_ms, file, folder, written: 0, runs: BTreeMap::new(), rows: 0 })
    }

    fn append(&mut self, collection: &str, rows: &[(Vec<u8>, i64)], reserve: &Reserve) -> Result<(), LogError> {
        let (start, mut window) = (self.written, Vec::with_capacity(WINDOW_BYTES));
        for (row, diff) in rows {
            window.extend_from_slice(&(row.len() as u32).to_le_bytes());
            window.extend_from_slice(&diff.to_le_bytes());
            window.extend_from_slice(row);
            if window.len() >= WINDOW_BYTES {
                self.write(&mut window, reserve)?;
            }
        }
        self.write(&mut window, reserve)?;
        self.rows += rows.len() as u64;
        self.runs.entry(collection.to_owned()).or_default().push(start..self.written);
        Ok(())
    }

    fn write(&mut self, window: &mut Vec<u8>, reserve: &Reserve) -> Result<(), LogError> {
        // What an attempt without space has written is written over.
        reserve.patiently(|| self.file.write_all_at(window, self.written).map_err(failed(&self.folder)))?;
        self.written += window.len() as u64;
        window.clear();
        Ok(())
    }
}

impl Canonical for Runs {
    fn tick(&self) -> (Tick, i64) {
        (self.tick, self.now_ms)
    }

    fn collections(&self) -> Vec<String> {
        self.runs.keys().cloned().collect()
    }

    fn rows<'r>(&'r self, collection: &str) -> Result<RowStream<'r>, LogError> {
        let ranges = self.runs.get(collection).map_or(&[][..], Vec::as_slice);
        let run = |range: &Range<u64>| Run { runs: self, at: range.start, end: range.end, window: Vec::new(), used: 0 };
        Ok(Box::new(Merge::new(collection, ranges.iter().map(run).collect())))
    }
}

/// The reading end of a run.
struct Run<'r> {
    runs: &'r Runs,
    /// The offset of the first byte that was not read yet.
    at: u64,
    end: u64,
    window: Vec<u8>,
    used: usize,
}

impl Run<'_> {
    fn row(&mut self) -> io::Result<(Vec<u8>, i64)> {
        const HEAD: usize = 12;
        self.hold(HEAD)?;
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (length, rest) = self.window[self.used..].split_first_chunk().ok_or_else(short)?;
        let diff = i64::from_le_bytes(*rest.first_chunk().ok_or_else(short)?);
        let length = u32::from_le_bytes(*length) as usize;
        self.hold(HEAD + length)?;
        let row = self.window[self.used + HEAD..self.used + HEAD + length].to_vec();
        self.used += HEAD + length;
        Ok((row, diff))
    }

    /// Reads until there are `bytes` in the window.
    fn hold(&mut self, bytes: usize) -> io::Result<()> {
        let held = self.window.len() - self.used;
        if held >= bytes {
            return Ok(());
        }
        self.window.drain(..self.used);
        self.used = 0;
        let more = (bytes - held).max(WINDOW_BYTES).min((self.end - self.at) as usize);
        self.window.resize(held + more, 0);
        self.runs.file.read_exact_at(&mut self.window[held..], self.at)?;
        self.at += more as u64;
        if self.window.len() < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Iterator for Run<'_> {
    type Item = Result<(Vec<u8>, i64), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let ended = self.at == self.end && self.used == self.window.len();
        (!ended).then(|| self.row().map_err(failed(&self.runs.folder)))
    }
}

fn failed(folder: &Path) -> impl Fn(io::Error) -> LogError {
    let folder = folder.to_path_buf();
    move |error| {
        let error = VfsError::new("keep rows of a large tick in", &folder, Outcome::Unknown, error);
        if error.is_full() { LogError::Full(error) } else { LogError::Read(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_log::output::Rows;

    /// Whether the rows come in one block or in many, they are the same.
    #[test]
    fn runs_have_the_rows_that_memory_has() {
        let folder = tempfile::tempdir().unwrap();
        let overflow = Overflow { folder: folder.path().to_path_buf(), reserve: Arc::new(Reserve::none()) };
        let joined = |each: usize| {
            let mut spill = Spill::default();
            let (mut block, mut in_block) = (Block::new(7, 70), 0);
            for number in 0..1000_i64 {
                let collection = if number % 3 == 0 { "counts" } else { "sessions" };
                // Some rows come several times, some come to nothing, one is larger than a window.
                let mut row = format!("{}", number * 7 % 400).into_bytes();
                row.resize(if number == 500 { WINDOW_BYTES + 9 } else { 30 }, b'.');
                block.add(collection, vec![(row, if number < 600 { 1 } else { -1 })]).unwrap();
                in_block += 1;
                if in_block == each {
                    spill.more(&std::mem::replace(&mut block, Block::new(7, 70)), &overflow).unwrap();
                    in_block = 0;
                }
            }
            let output = spill.last(block, &overflow).unwrap();
            assert!(spill.runs.is_none(), "the next tick begins with none");
            output
        };
        let rows = |output: &Output| -> Vec<(String, Rows)> {
            let all = output.canonical();
            let rows = |name: &str| all.rows(name).unwrap().collect::<Result<Rows, _>>().unwrap();
            all.collections().into_iter().map(|name| (name.clone(), rows(&name))).collect()
        };
        let (small, large) = (joined(usize::MAX), joined(10));
        let Output::Large(runs) = &large else { panic!("one block of many") };
        assert!(runs.runs["sessions"].len() > 20 && runs.tick() == (7, 70));
        assert!(matches!(small, Output::Small(_)));
        assert_eq!(rows(&large), rows(&small));
    }
}
