//! Gathers the rows that a worker publishes of one tick: in memory while they are few, else in sorted runs on disk.
//!
//! ```text
//! rows ─▶ memory ── too many ─▶ sort ─▶ run, run, run ─▶ merged ─▶ blocks of the output log
//! ```
//! However much a tick changes, it takes a bounded part of the memory.

use crate::collections::Collection;
use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::output::{Block, Canonical, Merge, RowStream, Rows, consolidate, too_often};
use headwater_log::reserve::Reserve;
use headwater_log::vfs::{Outcome, VfsError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that a worker gathers in memory, and all workers together publish as one block. A tick with more goes through the
/// disk.
pub const MEMORY_BYTES: usize = 32 << 20;
/// Memory of a row besides its bytes.
const ROW_BYTES: usize = 48;
/// Bytes of a run that are read or written at once.
const WINDOW_BYTES: usize = 256 << 10;

/// The files for rows that do not fit in memory.
#[derive(Clone, Debug)]
pub(super) struct Overflow {
    /// Files are made here without a name, so that they are gone with the process.
    pub folder: PathBuf,
    pub reserve: Arc<Reserve>,
    /// See [`MEMORY_BYTES`].
    pub memory: usize,
}

/// Rows of a tick, as they come.
pub(super) struct Gather<'s> {
    tick: Tick,
    now_ms: i64,
    overflow: &'s Overflow,
    rows: BTreeMap<&'static str, Rows>,
    bytes: usize,
    runs: Option<Runs>,
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
    runs: BTreeMap<&'static str, Vec<Range<u64>>>,
    /// Rows written, before those of different runs are added up.
    rows: u64,
}

impl<'s> Gather<'s> {
    pub fn new(tick: Tick, now_ms: i64, overflow: &'s Overflow) -> Gather<'s> {
        Gather { tick, now_ms, overflow, rows: BTreeMap::new(), bytes: 0, runs: None }
    }

    /// Adds a row, `diff` times. Waits while there is no space on the disk.
    ///
    /// # Errors
    /// [`LogError::Read`] if the rows cannot be put on disk; [`LogError::Refused`] if a row is there too often.
    pub fn add(&mut self, collection: Collection, row: Vec<u8>, diff: i64) -> Result<(), LogError> {
        self.bytes += row.len() + ROW_BYTES;
        self.rows.entry(collection.name()).or_default().push((row, diff));
        if self.bytes > self.overflow.memory { self.spill() } else { Ok(()) }
    }

    /// Returns all rows.
    ///
    /// # Errors
    /// As [`Gather::add`].
    pub fn finish(mut self) -> Result<Output, LogError> {
        if self.runs.is_some() {
            self.spill()?;
        }
        if let Some(runs) = self.runs {
            return Ok(Output::Large(runs));
        }
        let mut block = Block::new(self.tick, self.now_ms);
        self.rows.into_iter().try_for_each(|(collection, rows)| block.add(collection, rows))?;
        Ok(Output::Small(block))
    }

    /// Writes what is in memory as one run of each collection.
    fn spill(&mut self) -> Result<(), LogError> {
        let Gather { tick, now_ms, overflow, .. } = *self;
        let runs = match &mut self.runs {
            Some(runs) => runs,
            None => {
                let folder = overflow.folder.clone();
                let file = overflow.reserve.patiently(|| tempfile::tempfile_in(&folder).map_err(failed(&folder)))?;
                let runs = BTreeMap::new();
                self.runs.insert(Runs { tick, now_ms, file, folder, written: 0, runs, rows: 0 })
            }
        };
        for (collection, mut rows) in std::mem::take(&mut self.rows) {
            consolidate(&mut rows).ok_or_else(|| too_often(collection))?;
            runs.append(collection, &rows, &overflow.reserve)?;
        }
        self.bytes = 0;
        Ok(())
    }
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
    fn append(&mut self, collection: &'static str, rows: &Rows, reserve: &Reserve) -> Result<(), LogError> {
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
        self.runs.entry(collection).or_default().push(start..self.written);
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
        self.runs.keys().map(|name| (*name).to_owned()).collect()
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

    /// However little memory there is, the rows are those that are gathered in memory alone.
    #[test]
    fn runs_have_the_rows_that_memory_has() {
        let folder = tempfile::tempdir().unwrap();
        let gathered = |memory| {
            let reserve = Arc::new(Reserve::none());
            let overflow = Overflow { folder: folder.path().to_path_buf(), reserve, memory };
            let mut gather = Gather::new(7, 70, &overflow);
            for number in 0..1000_i64 {
                let collection = if number % 3 == 0 { Collection::COUNTS } else { Collection::SESSIONS };
                // Some rows come several times, some come to nothing, one is larger than a window.
                let mut row = format!("{}", number * 7 % 400).into_bytes();
                row.resize(if number == 500 { WINDOW_BYTES + 9 } else { 30 }, b'.');
                gather.add(collection, row, if number < 600 { 1 } else { -1 }).unwrap();
            }
            gather.finish().unwrap()
        };
        let rows = |output: &Output| -> Vec<(String, Rows)> {
            let all = output.canonical();
            let rows = |name: &str| all.rows(name).unwrap().collect::<Result<Rows, _>>().unwrap();
            all.collections().into_iter().map(|name| (name.clone(), rows(&name))).collect()
        };
        let (small, large) = (gathered(usize::MAX), gathered(500));
        let Output::Large(runs) = &large else { panic!("500 bytes hold all rows") };
        assert!(runs.runs["sessions"].len() > 20 && runs.tick() == (7, 70));
        assert!(matches!(small, Output::Small(_)));
        assert_eq!(rows(&large), rows(&small));
    }
}
