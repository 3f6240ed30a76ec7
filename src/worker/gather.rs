//! Gathers the rows that a worker publishes of one tick: one block while they are few, else block after block, so that a
//! worker takes a bounded part of the memory however much a tick changes.

use super::port::{Out, Port, Told};
use crate::collections::Collection;
use crate::error::Error;
use dataflows::Tick;
use headwater_log::output::{Block, Rows};
use std::collections::BTreeMap;

/// Bytes that a worker gathers in memory, and all workers together publish as one block. A tick with more goes through the
/// disk.
pub const MEMORY_BYTES: usize = 32 << 20;
/// Memory of a row besides its bytes.
const ROW_BYTES: usize = 48;

/// Rows of a tick, as they come.
pub(super) struct Gather<'p> {
    tick: Tick,
    now_ms: i64,
    /// See [`MEMORY_BYTES`].
    memory: usize,
    rows: BTreeMap<&'static str, Rows>,
    bytes: usize,
    port: &'p mut dyn Port,
}

impl<'p> Gather<'p> {
    pub fn new(tick: Tick, now_ms: i64, memory: usize, port: &'p mut dyn Port) -> Gather<'p> {
        Gather { tick, now_ms, memory, rows: BTreeMap::new(), bytes: 0, port }
    }

    /// Adds a row, `diff` times.
    ///
    /// # Errors
    /// If the port fails, or a row is there too often.
    pub fn add(&mut self, collection: Collection, row: Vec<u8>, diff: i64) -> Result<(), Error> {
        self.bytes += row.len() + ROW_BYTES;
        self.rows.entry(collection.name()).or_default().push((row, diff));
        if self.bytes > self.memory { self.send(None) } else { Ok(()) }
    }

    /// Says that the worker makes progress.
    ///
    /// # Errors
    /// If the port fails.
    pub fn alive(&mut self) -> Result<(), Error> {
        self.port.send(Out::Alive { rows: 0 })
    }

    /// Sends the last block.
    ///
    /// # Errors
    /// As [`Gather::add`].
    pub fn finish(mut self, told: Told) -> Result<(), Error> {
        self.send(Some(told))
    }

    fn send(&mut self, told: Option<Told>) -> Result<(), Error> {
        let mut block = Block::new(self.tick, self.now_ms);
        let mut rows = std::mem::take(&mut self.rows).into_iter();
        rows.try_for_each(|(collection, rows)| block.add(collection, rows)).map_err(Error::run("publish"))?;
        self.bytes = 0;
        self.port.send(Out::Block { block, told })
    }
}
